"""Base class of transformers of windows."""

from __future__ import annotations

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import FLOAT_DTYPES, validate_data

from sk_b2s.preprocessing._windows import Windows, check_windows_equal_shapes


class WindowsTransformer(TransformerMixin, BaseEstimator):
    """Transformer that accepts Windows and three-dimensional arrays."""

    def _validate_fit(self, X, **options):
        """Set ``n_features_in_``, and return Windows or a validated array."""
        if isinstance(X, Windows):
            self.n_features_in_ = X.shape[1]
            return X
        return self._validate_array(X, **options)

    def _validate_transform(self, X, fitted=None):
        """Return a validated array, if ``fit`` has set ``fitted``."""
        X = self._validate_array(X, reset=False)
        if fitted is not None and not hasattr(self, fitted):
            raise ValueError(
                f"This {type(self).__name__} was fitted on Windows. Call fit with an array before transforming an array."
            )
        return X

    def _validate_array(self, X, **options):
        return validate_data(
            self, check_windows_equal_shapes(X), allow_nd=True, dtype=FLOAT_DTYPES, **options
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

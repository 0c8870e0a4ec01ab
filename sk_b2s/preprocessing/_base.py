"""Base class of transformers of windows."""

from __future__ import annotations

from functools import wraps

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._set_output import _wrap_data_with_container
from sklearn.utils.validation import FLOAT_DTYPES, check_is_fitted, validate_data

from sk_b2s._utils._estimators import DocLinkMixin
from sk_b2s.preprocessing._windows._checks import check_windows_equal_shapes
from sk_b2s.preprocessing._windows._windows import Windows


class TableOutputMixin(DocLinkMixin, TransformerMixin, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Transformer with ``set_output`` for matrices, but not for windows.

    scikit-learn would also convert windows, which have three dimensions.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)
        method = getattr(cls, "transform", None)
        if callable(method) and not hasattr(method, "respects_set_output"):
            cls.transform = _convert_output(method)
        cls._sklearn_auto_wrap_output_keys = {"transform"}

    def fit_transform(self, X, y=None):
        """Call ``fit`` and then ``transform``.

        Parameters
        ----------
        X : object
            Input of ``fit`` and ``transform``.
        y : object, default=None
            Target of ``fit``.

        Returns
        -------
        X : object
            Output of ``transform``.
        """
        return self.fit(X, y).transform(X)


def _convert_output(transform):
    """Wrap a method so that it respects ``set_output``."""

    @wraps(transform)
    def wrapped(self, X):
        out = transform(self, X)
        if not isinstance(out, Windows) and np.ndim(out) == 2:
            return _wrap_data_with_container("transform", out, X, self)
        wanted = getattr(self, "_sklearn_output_config", {}).get("transform", "default")
        if wanted != "default":
            raise ValueError(
                f"set_output(transform={wanted!r}) requires a transformer that returns rows and columns, but "
                f"{type(self).__name__} returned windows of shape {out.shape}. Use set_output(transform='default'). "
                f"get_feature_names_out() returns the names of the second axis."
            )
        return out

    wrapped.respects_set_output = True
    return wrapped


def make_base_feature_names(estimator, n_features):
    """Make names such as "featurepca0" of fitted features: ndarray of str."""
    check_is_fitted(estimator)
    return np.array([f"{type(estimator).__name__.lower()}{index}" for index in range(n_features)], object)


class WindowsTransformer(OneToOneFeatureMixin, TableOutputMixin, BaseEstimator):
    """Transformer that accepts Windows and three-dimensional arrays."""

    def _validate_fit(self, X, **options):
        """Set ``n_features_in_``, and return Windows or a validated array."""
        if isinstance(X, Windows):
            vars(self).pop("feature_names_in_", None)  # of an earlier fit
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

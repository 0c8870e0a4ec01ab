"""Union of several speech features."""

from __future__ import annotations

from functools import partial
from numbers import Real

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from sk_b2s.preprocessing._base import TableOutputMixin
from sk_b2s.preprocessing._scalers import AffineScaling
from sk_b2s.preprocessing._windows._signals import Signal, SignalPart, load_signal
from sk_b2s.preprocessing._windows._windows import Windows


class SpeechFeatureUnion(TableOutputMixin, _BaseComposition):
    """Concatenate several sets of speech features in every frame.

    Unlike :class:`~sklearn.pipeline.FeatureUnion` it returns lazy windows.
    Each transformer computes each distinct stimulus once, and windows are cut
    when they are needed.

    Parameters
    ----------
    transformer_list : list of (str, transformer)
        Names and transformers. Each transformer turns the stimulus table into
        :class:`~sk_b2s.Windows`, and all windows have the same rate.
    transformer_weights : None, "balanced" or dict of str to float, \
default=None
        Factor of the features of each transformer. "balanced" uses ``1 /
        sqrt(n_features)``, so that standardized sets contribute equally to a
        similarity. A dict contains factors by name, 1 for other names. A
        scaler after the union undoes the factors, so standardize each set:
        ``make_pipeline(MelSpectrogram(), FeatureScaler())``.

    Attributes
    ----------
    transformer_list_ : list of (str, transformer)
        The fitted transformers.
    feature_ranges_ : dict of str to (int, int)
        First feature of each transformer, and one past its last feature.
    n_features_out_ : int
        Number of features of all transformers.

    Raises
    ------
    ValueError
        If names are not unique, or if rates or windows differ between
        transformers.

    See Also
    --------
    compare_feature_sets : Score of each feature set, alone and left out.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sk_b2s import AcousticOnsets, Envelope, FeatureScaler
    >>> from sk_b2s import SpeechFeatureUnion
    >>> union = SpeechFeatureUnion(
    ...     [("envelope", Envelope()), ("onsets", AcousticOnsets())]
    ... )
    >>> speech = make_pipeline(union, FeatureScaler())
    """

    def __init__(self, transformer_list, transformer_weights=None):
        self.transformer_list = transformer_list
        self.transformer_weights = transformer_weights

    def get_params(self, deep=True):
        """Get the parameters of the union and of its transformers.

        Parameters
        ----------
        deep : bool, default=True
            If True, also return the transformers and their parameters.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        return self._get_params("transformer_list", deep=deep)

    def set_params(self, **params):
        """Set parameters of the union or of its transformers.

        Parameters
        ----------
        **params : dict
            ``name`` replaces a transformer. ``name__parameter`` sets one of
            its parameters.

        Returns
        -------
        self : SpeechFeatureUnion
            The union.
        """
        self._set_params("transformer_list", **params)
        return self

    def fit(self, X, y=None):
        """Fit every transformer.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, n_columns)
            Stimulus table, the ``y`` of :func:`~sk_b2s.make_segments`.
        y : None
            Not used, present for API consistency by convention.

        Returns
        -------
        self : SpeechFeatureUnion
            The fitted union.
        """
        if not self.transformer_list:
            raise ValueError(
                "The 'transformer_list' parameter of SpeechFeatureUnion is empty. Give pairs of a name and a "
                "transformer."
            )
        self._validate_names([name for name, _ in self.transformer_list])
        self._check_weights()
        self.transformer_list_ = [(name, clone(one).fit(X)) for name, one in self.transformer_list]
        edges = np.cumsum([0, *(part.shape[1] for part in self._transform_each(X))]).tolist()
        names = [name for name, _ in self.transformer_list_]
        self.feature_ranges_ = dict(zip(names, zip(edges[:-1], edges[1:], strict=True), strict=True))
        self.n_features_out_ = edges[-1]
        return self

    def get_feature_names_out(self, input_features=None):
        """Return the names of features, with those of transformers in front.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used, present for API consistency by convention.

        Returns
        -------
        names : ndarray of str of shape (n_features,)
            Such as "sound__envelope0".
        """
        check_is_fitted(self)
        return np.array(
            [f"{name}__{feature}" for name, part in self.transformer_list_ for feature in part.get_feature_names_out()],
            dtype=object,
        )  # fmt: skip

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # tables of stimuli
        return tags

    def _check_weights(self):
        """Raise unless weights are valid."""
        weights, names = self.transformer_weights, [name for name, _ in self.transformer_list]
        is_valid = weights is None or weights == "balanced"
        if isinstance(weights, dict):
            is_valid = set(weights) <= set(names) and all(
                isinstance(w, Real) and 0 < w < np.inf for w in weights.values()
            )
        if not is_valid:
            raise ValueError(
                f"The 'transformer_weights' parameter of SpeechFeatureUnion must be None, 'balanced' or a dict of positive "
                f"factors of {names}. Got {weights!r} instead."
            )

    def _transform_each(self, X):
        return [transformer.transform(X) for _, transformer in self.transformer_list_]

    def _weight(self, name, part):
        """Multiply the features of a transformer by its factor."""
        if self.transformer_weights == "balanced":
            factor = part.shape[1] ** -0.5
        else:
            factor = (self.transformer_weights or {}).get(name, 1.0)
        return (
            part if factor == 1 else part.then(AffineScaling(np.zeros((1, 1)), np.full((1, 1), 1 / factor)))
        )

    def transform(self, X):
        """Compute windows with the features of all transformers.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, n_columns)
            Stimulus table.

        Returns
        -------
        windows : Windows of shape (n_segments, n_features, n_frames)
            Lazy windows of all features.
        """
        check_is_fitted(self)
        names = [name for name, _ in self.transformer_list_]
        parts = map(self._weight, names, self._transform_each(X))
        return concatenate_features(list(parts), names)


def concatenate_features(parts, names):
    """Concatenate windows on the same stimuli along the feature axis.

    Parameters
    ----------
    parts : list of Windows of shape (n_windows, n_features, n_frames)
        Windows of equal rate and length, at the same places.
    names : list of str
        Names of the parts for error messages.

    Returns
    -------
    windows : Windows of shape (n_windows, n_features of all parts, n_frames)
    """
    reference = parts[0]
    for name, part in zip(names, parts, strict=True):
        _check_union_parts_compatible(name, part, names[0], reference)
    widths = tuple(part.n_channels_read for part in parts)
    indices, rows = np.unique(reference.which, return_index=True)
    signals = list(reference.signals)
    for index, row in zip(indices, rows, strict=True):
        length = reference.signals[index].shape[0]
        sources = [(part.signals[index], int(part.start[row] - reference.start[row])) for part in parts]
        further = _list_further_union_parts(sources, widths, length)
        signals[index] = Signal(
            partial(_concatenate_union_signals, sources, length), (length, sum(widths)), further
        )
    has_steps = any(part.steps for part in parts)
    steps = (_ApplyStepsSeparately([part.steps for part in parts], widths),) if has_steps else ()
    return Windows(
        signals, reference.which, reference.start, reference.n_read, reference.sfreq, rows=reference.rows,
        extent=reference.extent, steps=steps, n_valid=reference.n_valid, is_continuous=reference.is_continuous,
    )  # fmt: skip


def _check_union_parts_compatible(name, part, first_name, reference):
    """Raise if windows cannot be concatenated with the first ones."""
    if not isinstance(part, Windows):
        raise ValueError(
            f"Transformer {name!r} must return Windows. Got {type(part).__name__} instead. Use a speech feature "
            f"of sk_b2s, or a pipeline that begins with one."
        )
    if part.sfreq != reference.sfreq or part.n_times != reference.n_times or part.n_read != reference.n_read:
        raise ValueError(
            f"Transformer {name!r} returns {part.n_times} frames at {part.sfreq} Hz, but {first_name!r} returns "
            f"{reference.n_times} at {reference.sfreq} Hz. Set the same sfreq for all transformers."
        )
    if not np.array_equal(part.which, reference.which):
        raise ValueError(
            f"Transformers {first_name!r} and {name!r} return their stimuli in different orders, so their "
            f"windows cannot be concatenated."
        )


def _concatenate_union_signals(sources, length):
    """Concatenate signals, each from its own first sample, edges repeated."""
    out = []
    for signal, first in sources:
        data = load_signal(signal, keep=False)
        out.append(data[np.clip(np.arange(first, first + length), 0, len(data) - 1)])
    return np.concatenate(out, axis=1)


def _list_further_union_parts(sources, widths, length):
    """List the parts that the signals leave out, at their new places."""
    found = []
    stops = np.cumsum(widths).tolist()
    for (signal, shift), width, stop in zip(sources, widths, stops, strict=True):
        for part in getattr(signal, "further", ()):
            first, last = max(part.first - shift, 0), min(part.stop - shift, length)
            if first < last:
                rows = slice(first + shift - part.first, last + shift - part.first)
                recipe = partial(_compute_union_rows, part.recipe, rows)
                found.append(SignalPart(first, last, slice(stop - width, stop), recipe))
    return found


def _compute_union_rows(recipe, rows):
    """Compute some samples of a part."""
    return recipe()[rows]


class _ApplyStepsSeparately:
    """Apply to the features of each transformer its own lazy steps."""

    def __init__(self, steps, widths):
        self.steps, self.widths = steps, widths

    @property
    def n_past(self):
        """Frames before the current one that the steps read."""
        return max(sum(getattr(step, "n_past", 0) for step in steps) for steps in self.steps)

    @property
    def is_per_signal(self):
        """Whether a step has other values for each signal."""
        return any(getattr(step, "is_per_signal", False) for steps in self.steps for step in steps)

    def n_channels(self, n_channels):
        """Return the number of features after the steps of each part."""
        widths = list(self.widths)
        for index, steps in enumerate(self.steps):
            for step in steps:
                widths[index] = getattr(step, "n_channels", lambda n: n)(widths[index])
        return sum(widths)

    def __call__(self, batch, which):
        parts = []
        for steps, part in zip(self.steps, batch.split(self.widths, dim=1), strict=True):
            part = part.transpose(1, 2).contiguous().transpose(1, 2)  # time-major: steps may write into it
            for step in steps:
                part = step(part, which)
            parts.append(part.transpose(1, 2))
        return torch.cat(parts, dim=2).transpose(1, 2)

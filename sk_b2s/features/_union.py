"""Union of several speech features."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from sklearn.base import TransformerMixin, clone
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from sk_b2s.preprocessing._signals import Signal, loaded
from sk_b2s.preprocessing._windows import Windows

# --- several spaces --------------------------------------------------------------------------------


class SpeechFeatureUnion(TransformerMixin, _BaseComposition):
    """Put several spaces of features side by side in every frame.

    Unlike :class:`~sklearn.pipeline.FeatureUnion` it keeps windows lazy: a sound is computed once for each space and
    nothing is cut before it is needed.

    Parameters
    ----------
    spaces : list of (str, transformer)
        Names, and transformers of the table of what was heard into Windows of one rate.

    Attributes
    ----------
    spaces_ : list of (str, transformer)
        Fitted.
    places_ : dict of str to (int, int)
        First feature of each space, and the one after its last.
    n_features_out_ : int

    Raises
    ------
    ValueError
        If names are not unique, or rates or windows differ between spaces.

    See Also
    --------
    compare_feature_sets : What each space adds.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sk_b2s import AcousticOnsets, Envelope, FeatureScaler, SpeechFeatureUnion
    >>> speech = make_pipeline(SpeechFeatureUnion([("level", Envelope()), ("onsets", AcousticOnsets())]), FeatureScaler())
    """

    def __init__(self, spaces):
        self.spaces = spaces

    def get_params(self, deep=True):
        """Parameters, with those of the spaces under their names.

        Parameters
        ----------
        deep : bool, default=True
            With those of the spaces.

        Returns
        -------
        params : dict
        """
        return self._get_params("spaces", deep=deep)

    def set_params(self, **params):
        """Set parameters; a space's name sets the space, "name__parameter" one of its own.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : SpeechFeatureUnion
        """
        self._set_params("spaces", **params)
        return self

    def fit(self, X, y=None):
        """Fit every space.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, ...)
            The table of what was heard.
        y : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        self : SpeechFeatureUnion
        """
        if not self.spaces:
            raise ValueError("spaces is empty; give pairs of a name and a transformer.")
        self._validate_names([name for name, _ in self.spaces])
        self.spaces_ = [(name, clone(space).fit(X)) for name, space in self.spaces]
        edges = np.cumsum([0, *(part.shape[1] for part in self._parts(X))])
        names = [name for name, _ in self.spaces_]
        self.places_ = {
            name: (int(a), int(b)) for name, a, b in zip(names, edges[:-1], edges[1:], strict=True)
        }
        self.n_features_out_ = int(edges[-1])
        return self

    def _parts(self, X):
        return [space.transform(X) for _, space in self.spaces_]

    def transform(self, X):
        """Lay windows on the features of all spaces.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, ...)
            The table of what was heard.

        Returns
        -------
        windows : Windows of shape (n_segments, n_features, n_frames)
        """
        check_is_fitted(self)
        return concatenate_features(self._parts(X), [name for name, _ in self.spaces_])


def concatenate_features(parts, names):
    """Join Windows on the same sounds, feature after feature.

    Parameters
    ----------
    parts : list of Windows of shape (n_windows, ..., n_frames)
    names : list of str
        What messages call them.

    Returns
    -------
    windows : Windows of shape (n_windows, n_features of all, n_frames)

    Raises
    ------
    ValueError
        If they are not Windows of one rate, length and place.
    """
    one = parts[0]
    for name, part in zip(names, parts, strict=True):
        if not isinstance(part, Windows):
            raise ValueError(
                f"space {name!r} gives {type(part).__name__}, not Windows, which only can stand side by side."
            )
        if part.sfreq != one.sfreq or part.n_times != one.n_times or part.n_read != one.n_read:
            raise ValueError(
                f"space {name!r} has {part.n_times} frames at {part.sfreq} Hz, but {names[0]!r} has "
                f"{one.n_times} at {one.sfreq} Hz: give all spaces one sfreq."
            )
        if not np.array_equal(part.which, one.which):
            raise ValueError(
                f"spaces {names[0]!r} and {name!r} order their sounds differently and cannot be joined."
            )
    widths = tuple(part.shape[1] for part in parts)
    firsts = np.unique(one.which, return_index=True)
    signals = list(one.signals)
    for index, row in zip(*firsts, strict=True):
        length = one.signals[index].shape[0]
        sources = [(part.signals[index], int(part.start[row] - one.start[row])) for part in parts]
        signals[index] = Signal(partial(_beside, sources, length), (length, sum(widths)))
    steps = (_Apart([part.steps for part in parts], widths),) if any(part.steps for part in parts) else ()
    return Windows(
        signals, one.which, one.start, one.n_read, one.sfreq, rows=one.rows, extent=one.extent, steps=steps
    )


def _beside(sources, length):
    """Signals side by side, each from its own first sample on; what one lacks repeats its ends."""
    out = []
    for signal, first in sources:
        data = loaded(signal, keep=False)
        out.append(data[np.clip(np.arange(first, first + length), 0, len(data) - 1)])
    return np.concatenate(out, axis=1)


class _Apart:
    """Put each space's features through the steps of that space."""

    def __init__(self, steps, widths):
        self.steps, self.widths = steps, widths

    def __call__(self, batch, which):
        parts = []
        for steps, part in zip(self.steps, batch.split(self.widths, dim=1), strict=True):
            part = part.transpose(1, 2).contiguous().transpose(1, 2)  # steps may write into it, time-major
            for step in steps:
                part = step(part, which)
            parts.append(part.transpose(1, 2))
        return torch.cat(parts, dim=2).transpose(1, 2)

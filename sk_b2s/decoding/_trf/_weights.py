"""Weights of forward models and patterns of linear decoders over lags."""

from __future__ import annotations

from os import PathLike

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sk_b2s.preprocessing._windows._checks import find_window_positions


def list_trf_feature_names(trf):
    """Return the name of each feature, such as "envelope" or "mel 3"."""
    sets = getattr(trf, "feature_sets_", None) or {"feature": (0, trf.n_features_out_)}
    return [
        name if stop - first == 1 else f"{name} {index}"
        for name, (first, stop) in sets.items()
        for index in range(stop - first)
    ]


def select_trf_weights(trf, feature=0, subject=None):
    """Return weights or patterns of one feature over lags.

    They are those of a subject, or the mean over models without those in which
    a channel is masked. ``feature`` is an index or a name. The shape is
    (n_lags, n_channels).
    """
    check_is_fitted(trf)
    names = list_trf_feature_names(trf)
    index = names.index(feature) if isinstance(feature, str) and feature in names else feature
    if not (isinstance(index, (int, np.integer)) and 0 <= index < trf.n_features_out_):
        named = f", or one of {names[:8]}" if len(names) > 1 else ""
        raise ValueError(
            f"feature must be an integer from 0 to {trf.n_features_out_ - 1}{named}. Got {feature!r}."
        )
    if subject is not None and str(subject) not in (known := list(map(str, trf.subjects_))):
        raise ValueError(f"subject must be one of {known}, the subjects of fit. Got {subject!r}.")
    is_forward = not hasattr(trf, "patterns_")
    weights = trf.coef_[:, :, index] if is_forward else trf.patterns_[..., index]
    if subject is None or not trf.per_subject:
        n_models = np.maximum(find_trf_channels_in_use(trf).sum(0), 1)
        return (weights.sum(0, dtype=float) / n_models).astype(weights.dtype)
    return weights[known.index(str(subject))]


def find_trf_channels_in_use(trf):
    """Return whether each model has weights of a channel.

    Channels that are masked or constant have weights of 0. The shape is
    (n_models, n_channels).
    """
    is_forward = not hasattr(trf, "patterns_")
    return trf.coef_.any((1, 2)) if is_forward else trf.patterns_.any((1, 3))


def set_trf_channels(estimator, X):
    """Set the names and the positions of channels of a fitted model.

    A position is that of the first recording in which the channel has one.
    """
    is_known = X.ch_names is not None and len(X.ch_names) == X.shape[1]  # steps may reduce channels
    estimator.ch_names_ = X.ch_names if is_known else None
    has_place = X.positions is not None and X.positions.shape[1] == X.shape[1]
    estimator.positions_ = find_window_positions(X) if has_place else None


def _make_trf_evoked(trf, weights, comment, info=None):
    """Return weights of shape (n_lags, n_channels) as an EvokedArray."""
    import mne

    from sk_b2s.io._sensors import make_sensor_info

    if len(trf.lags_) < 2:
        raise ValueError(f"to_evoked requires two lags or more. Got lags={trf.lags_!r}.")
    rate = float(1 / np.diff(trf.lags_).mean())
    names = list(trf.ch_names_ or map(str, range(trf.n_features_in_)))
    if isinstance(info, (str, PathLike)):
        info = _read_trf_channels(info, names)
    if info is None:
        info = make_sensor_info(names, rate, trf.positions_)
    elif len(info["ch_names"]) != trf.n_features_in_:
        raise ValueError(
            f"info must have the {trf.n_features_in_} channels of fit. Got {len(info['ch_names'])}. Pick them first."
        )
    elif trf.ch_names_ is not None and list(info["ch_names"]) != names:
        raise ValueError(
            f"info must have the channels of fit in their order, {names[:3]}... Got {info['ch_names'][:3]}... "
            f"Use info = mne.pick_info(...)."
        )
    if info["sfreq"] != rate:
        info = info.copy()
        with info._unlock():
            info["sfreq"] = rate
            info["lowpass"] = min(info["lowpass"], rate / 2)
    return mne.EvokedArray(
        weights.T.astype(float), info, tmin=float(trf.lags_[0]), comment=comment, verbose="ERROR"
    )


def _read_trf_channels(path, names):
    """Return the info of channels of a recording."""
    import mne

    from sk_b2s.io._raw._read_raw import read_raw

    header = read_raw(path).info
    if lacking := [name for name in names if name not in header["ch_names"]]:
        raise ValueError(
            f"The recording {str(path)!r} lacks the channels {lacking[:8]} of fit. Pass a recording with the same channels, or "
            f"info."
        )
    return mne.pick_info(header, [header["ch_names"].index(name) for name in names], verbose="ERROR")


class TRFWeightsMixin:
    """Weights or patterns over lags as evoked responses."""

    def to_evoked(self, feature=0, subject=None, info=None):
        """Return weights of one feature over lags as an evoked response.

        Parameters
        ----------
        feature : int or str, default=0
            Index or name of the speech feature, such as "envelope" of a
            :class:`~sk_b2s.SpeechFeatureUnion`, or "mel 3".
        subject : str, default=None
            One of ``subjects_``. If None, the mean over models, for each
            channel those of subjects in which it is not masked.
        info : path-like or mne.Info, default=None
            Recording with the channels of ``fit``, whose types and positions
            are used, or their ``mne.Info`` in the order of ``fit``. Its rate
            is not used. If None, EEG channels with the names and the projected
            positions in ``fit``, on a sphere. Pass it for MEG.

        Returns
        -------
        evoked : mne.EvokedArray
            Time is the lag in seconds, to which that of
            :class:`~sk_b2s.Epocher` adds. The weights of a forward model and
            the patterns of a decoder have the unit of X per unit of the
            feature. MNE takes them for volts or tesla.

        Raises
        ------
        ValueError
            If the subject, the feature or the number of channels is not that
            of ``fit``, or there is only one lag.
        """
        who = "mean" if subject is None else str(subject)
        return _make_trf_evoked(self, select_trf_weights(self, feature, subject), who, info)

"""Average of the temporal response functions of several fits."""

from __future__ import annotations

import copy
from functools import reduce
from operator import or_

import numpy as np

from sk_b2s._utils._estimators import find_innermost_estimator
from sk_b2s.decoding._trf._weights import TRFWeightsMixin

SHAPED = ("coef_", "intercept_", "mean_", "patterns_", "cv_scores_")
GEOMETRIC = ("alpha_", "band_alphas_")


def average_trfs(estimators):
    """Average the weights of models of several folds, or join subjects.

    Parameters
    ----------
    estimators : list of estimator
        Fitted :class:`ForwardTRF`, :class:`RidgeDecoder` or Pipelines that end
        in one, with equal lags, features and channels, as returned by
        :func:`~sk_b2s.cross_val_encoding`.

    Returns
    -------
    trf : ForwardTRF or RidgeDecoder
        Its weights, intercepts, means, patterns and ``cv_scores_`` are means
        over the estimators. Regularization parameters are geometric means.
        Each subject is averaged over the estimators that were fitted to it, so
        that models of one subject each become one model of all of them. Fit
        them on windows with the name of the subject.
        Other attributes, such as ``segments_``, are those of the first
        estimator.

    Raises
    ------
    TypeError
        If an estimator does not end in a ForwardTRF or RidgeDecoder.
    ValueError
        If the list is empty, or weights differ in shape, features or context.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.decoding import ForwardTRF, average_trfs
    >>> speech, eeg = np.random.default_rng(0).standard_normal((2, 40, 1, 30))
    >>> trf = ForwardTRF(lags=(0, 0.2), alphas=(1.0,), sfreq=10)
    >>> halves = [trf.fit(eeg[:20], speech[:20])]
    >>> halves += [ForwardTRF(**trf.get_params()).fit(eeg[20:], speech[20:])]
    >>> average_trfs(halves).coef_.shape
    (1, 3, 1, 1)
    """
    found = [find_innermost_estimator(one, fitted=True)[0] for one in estimators]
    if not found:
        raise ValueError("average_trfs requires one estimator or more. Got none.")
    for index, one in enumerate(found):
        if not isinstance(one, TRFWeightsMixin) or type(one) is not type(found[0]):
            raise TypeError(
                f"average_trfs requires fitted ForwardTRF or RidgeDecoder of one class. Got {type(one).__name__} at "
                f"index {index}."
            )
        same = one.coef_.shape[1:] == found[0].coef_.shape[1:] and np.array_equal(one.lags_, found[0].lags_)
        if not same or one.ch_names_ != found[0].ch_names_ or one.per_subject != found[0].per_subject:
            raise ValueError(
                f"The estimators must have equal lags, features, channels and per_subject. Index {index} has weights of "
                f"shape {one.coef_.shape[1:]} and channels {one.ch_names_}, index 0 has {found[0].coef_.shape[1:]} and "
                f"{found[0].ch_names_}."
            )
        if hasattr(one, "_context_frames") != hasattr(found[0], "_context_frames"):
            raise ValueError(
                f"The estimators must be fitted with equal context. Index {index} and index 0 differ, so that their lags "
                f"read other samples at the ends of windows. Fit all with context=True, or all with False."
            )
        sets = [getattr(model, "feature_sets_", None) for model in (found[0], one)]
        if sets[0] != sets[1]:
            raise ValueError(
                f"The estimators must have equal feature sets in equal order. Got {sets[1]} at index {index}, and "
                f"{sets[0]} at index 0."
            )
    trf = copy.deepcopy(found[0])
    vars(trf).pop("moments_", None)  # partial_fit cannot continue from an average
    trf.subjects_ = np.unique(np.concatenate([one.subjects_ for one in found]))
    intervals = [one.stimulus_intervals_ for one in found]
    trf.stimulus_intervals_ = None if None in intervals else reduce(or_, intervals)
    if trf.positions_ is not None:  # bad channels of a recording have no position
        for one in found:
            if one.positions_ is not None:
                trf.positions_ = np.where(np.isfinite(trf.positions_), trf.positions_, one.positions_)
    for name in SHAPED + GEOMETRIC:
        if hasattr(trf, name):
            values = _average_trf_models([getattr(one, name) for one in found], found, trf, name in GEOMETRIC)
            setattr(trf, name, values)
    return trf


def _average_trf_models(values, found, trf, is_geometric):
    """Average the values of each model over the fits that have it."""
    values = [np.log(one) for one in values] if is_geometric else values
    if trf.per_subject:
        means = [
            np.mean([v[one.subjects_ == name][0] for v, one in zip(values, found, strict=True) if name in one.subjects_], 0)
            for name in trf.subjects_
        ]  # fmt: skip
        means = np.stack(means)
    else:
        means = np.mean(values, axis=0)
    return np.exp(means) if is_geometric else means

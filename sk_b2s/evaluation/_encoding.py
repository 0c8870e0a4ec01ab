"""Cross-validated encoding scores and unique variance of feature sets."""

from __future__ import annotations

import joblib
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing

from sk_b2s._utils._estimators import find_innermost_estimator, unwrap_innermost_estimator
from sk_b2s._utils._validation import validate_count
from sk_b2s.decoding._trf._forward import ForwardTRF
from sk_b2s.evaluation._fit_score import fit_and_score_fold, fit_fold, make_fit_score_rows
from sk_b2s.evaluation._statistics._subjects import compute_subject_statistics
from sk_b2s.features._union import SpeechFeatureUnion
from sk_b2s.model_selection._split import list_split_folds
from sk_b2s.preprocessing._scalers import FeatureScaler


def cross_val_encoding(estimator, X, y, cv, n_shifts=100, random_state=0, n_jobs=None):
    r"""Correlate held-out EEG/MEG with the prediction of a forward model.

    Parameters
    ----------
    estimator : estimator
        A :class:`~sk_b2s.ForwardTRF`, or a Pipeline that ends in one. It is
        cloned and fitted in each fold.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimulus segments or features, one row per window.
    cv : splitter or iterable of (train, test)
        Folds by stimulus, for example ``StimulusKFold(5)``.
    n_shifts : int, default=100
        Number of circular shifts of each null.
    random_state : int, default=0
        Draws the shifts.
    n_jobs : int or None, default=None
        Number of folds run in parallel.

    Returns
    -------
    topography : DataFrame of shape (n_folds * n_subjects * n_channels, ...)
        ``fold`` and the columns of :meth:`~sk_b2s.ForwardTRF.correlations`.
        Mean of each channel over subjects: ``mean_and_sem(topography, "r",
        by="channel")``.

    Raises
    ------
    TypeError
        If the estimator does not end in a ForwardTRF, or ``cv`` is a number,
        which would split overlapping windows.

    See Also
    --------
    sk_b2s.split_half_reliability : Noise ceiling with repeated stimuli.

    Notes
    -----
    In EEG, a correlation of 0.05 is usual and 0.1 is high, because most
    activity is unrelated to the stimulus. Compare it with its null and its
    noise ceiling, not with 1. Artifacts that follow the stimulus, such as
    earphones near the sensors, are predicted best, at a lag of 0 s.
    """
    validate_count("n_shifts", n_shifts, least=0)
    last, _ = find_innermost_estimator(estimator)
    if not isinstance(last, ForwardTRF):
        raise TypeError(
            f"cross_val_encoding requires a ForwardTRF, or a Pipeline that ends in one. Got {type(last).__name__}."
        )
    parts = joblib.Parallel(n_jobs)(
        joblib.delayed(_correlate_fold)(estimator, X, y, train, test, n_shifts, random_state)
        for train, test in list_split_folds(cv, X, y)
    )
    return pd.concat([part.assign(fold=fold) for fold, part in enumerate(parts)], ignore_index=True)


def _correlate_fold(estimator, X, y, train, test, n_shifts, random_state):
    """Compute the correlations of one fold."""
    estimator = fit_fold(estimator, X, y, train, test)
    X, y = _safe_indexing(X, test), _safe_indexing(y, test)
    forward, X = unwrap_innermost_estimator(estimator, X)
    return forward.correlations(X, y, n_shifts, random_state)


def compare_feature_sets(estimator, X, y, cv, feature_sets, n_jobs=None):
    """Score an estimator on each feature set, on all, and on all but each.

    A score on one feature set shows that it, or something correlated with it,
    is represented: loud stimuli have onsets, phonemes and words. The
    difference between all sets and all but one is the unique contribution of
    that set, see :func:`unique_variance`.

    Parameters
    ----------
    estimator : estimator
        A decoder, a :class:`~sk_b2s.ForwardTRF`, or a Pipeline that ends in
        one. It is cloned, and its parameter ``speech`` is replaced.
    X : DataFrame or Windows of shape (n_windows, ...)
        EEG/MEG windows.
    y : DataFrame of shape (n_windows, ...)
        Stimulus segments.
    cv : splitter or iterable of (train, test)
        The folds, the same for all feature sets.
    feature_sets : dict of str to transformer
        Two or more, of the same sampling rate: ``{"envelope":
        Envelope(sfreq=25), "onsets": AcousticOnsets(sfreq=25)}``. Each feature
        is standardized.
    n_jobs : int or None, default=None
        Number of fits run in parallel.

    Returns
    -------
    scores : DataFrame of shape (n_rows, ...)
        One row per ``features`` ("envelope", ..., "all", "all but envelope",
        ...), ``fold`` and ``subject``, with ``n_windows``. Of a decoder also
        ``n_candidates, k, chance, top_1, top_k, median_relative_rank``, of a
        forward model ``r``, the mean over channels. Means:
        ``mean_and_sem(scores, "r", by="features")``.

    Raises
    ------
    ValueError
        If there are fewer than two feature sets, or the estimator has no
        parameter ``speech``.

    Notes
    -----
    One regularization parameter is chosen for all feature sets together, and
    similarity gives each feature equal weight. A set of many features has more
    weight than one of few.
    """
    names = list(feature_sets)
    if len(names) < 2:
        raise ValueError(f"feature_sets must have two entries or more. Got {names}.")
    chosen_of = {name: (name,) for name in names} | {"all": tuple(names)}
    chosen_of |= {f"all but {name}": tuple(other for other in names if other != name) for name in names}
    parameter = _find_speech_parameter(estimator)
    folds = list_split_folds(cv, X, y)
    distinct = list(dict.fromkeys(chosen_of.values()))  # with two sets, all but one is the other
    tasks = [(chosen, fold) for chosen in distinct for fold in range(len(folds))]
    found = joblib.Parallel(n_jobs)(
        joblib.delayed(_score_features)(
            estimator, parameter, [(name, feature_sets[name]) for name in chosen], X, y, folds[fold]
        )
        for chosen, fold in tasks
    )
    tables = {task: table.assign(fold=task[1]) for task, table in zip(tasks, found, strict=True)}
    return pd.concat(
        [
            tables[chosen, fold].assign(features=label)
            for label, chosen in chosen_of.items()
            for fold in range(len(folds))
        ],
        ignore_index=True,
    )


def _find_speech_parameter(estimator):
    """Return the name of the parameter that holds the features."""
    last, prefix = find_innermost_estimator(estimator)
    if "speech" not in last.get_params(deep=False):
        raise ValueError(
            f"{type(last).__name__} has no parameter 'speech' for the feature sets. Use a decoder, a ForwardTRF, or a "
            f"Pipeline or search that ends in one."
        )
    return f"{prefix}speech"


def _score_features(estimator, parameter, feature_sets, X, y, fold):
    """Score one fold: a DataFrame with one row per subject."""
    params = {parameter: make_pipeline(SpeechFeatureUnion(feature_sets), FeatureScaler())}
    train, test = fold
    if isinstance(find_innermost_estimator(estimator)[0], ForwardTRF):
        channels = _correlate_fold(clone(estimator).set_params(**params), X, y, train, test, 0, 0)
        return (
            channels.groupby("subject", sort=False)
            .agg(r=("r", "mean"), n_windows=("n_windows", "first"))
            .reset_index()
        )
    return pd.DataFrame(make_fit_score_rows(fit_and_score_fold(estimator, X, y, train, test, params).result))


def unique_variance(scores, score="top_k"):
    """Compute the unique contribution of each feature set per subject.

    Parameters
    ----------
    scores : DataFrame
        Return value of :func:`compare_feature_sets`.
    score : str, default="top_k"
        Column of the scores, "r" of a forward model.

    Returns
    -------
    contributions : DataFrame of shape (n_feature_sets * n_subjects, ...)
        ``features`` (the feature set), ``subject, alone, without, all`` and
        ``unique``, which is ``all`` minus ``without``. Means over folds,
        weighted by windows. Test whether it differs from zero with
        ``compute_comparison_p(contributions.query(...)["unique"])`` of
        :mod:`sk_b2s.evaluation._statistics._comparison`, and correct for the
        number of feature sets with ``holm``.
    """
    means = compute_subject_statistics(scores, score, ["features"])
    names = [name for name in pd.unique(scores["features"]) if f"all but {name}" in set(scores["features"])]
    parts = []
    for name in names:
        columns = {"alone": means[name], "without": means[f"all but {name}"], "all": means["all"]}
        parts.append(pd.DataFrame(columns).rename_axis("subject").reset_index().assign(features=name))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(unique=table["all"] - table["without"])[
        ["features", "subject", "alone", "without", "all", "unique"]
    ]

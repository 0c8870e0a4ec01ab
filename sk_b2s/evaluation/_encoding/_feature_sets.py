"""Scores and unique variance of feature sets."""

from __future__ import annotations

import joblib
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sk_b2s._utils._estimators import find_innermost_estimator
from sk_b2s._utils._logging import run_in_parallel_with_logging
from sk_b2s.decoding._trf._forward import ForwardTRF
from sk_b2s.evaluation._encoding._cross_val import correlate_encoding_fold
from sk_b2s.evaluation._fit_score import fit_and_score_fold, make_fit_score_rows
from sk_b2s.evaluation._statistics._subject_means import compute_subject_statistics
from sk_b2s.features._union import SpeechFeatureUnion
from sk_b2s.model_selection._split import list_split_folds
from sk_b2s.preprocessing._scalers import FeatureScaler


def compare_feature_sets(estimator, X, y, cv, feature_sets, n_jobs=None, groups=None):
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
    groups : array-like of shape (n_windows,), default=None
        Group of each row, passed to the splitter.

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
    weight than one of few. ``ForwardTRF(bands="union")`` chooses one parameter
    per set, except for scores on one set.
    """
    names = list(feature_sets)
    if len(names) < 2:
        raise ValueError(f"feature_sets must have two entries or more. Got {names}.")
    chosen_of = {name: (name,) for name in names} | {"all": tuple(names)}
    chosen_of |= {f"all but {name}": tuple(other for other in names if other != name) for name in names}
    parameter = _find_speech_parameter(estimator)
    folds = list_split_folds(cv, X, y, groups)
    distinct = list(dict.fromkeys(chosen_of.values()))  # with two sets, all but one is the other
    tasks = [(chosen, fold) for chosen in distinct for fold in range(len(folds))]
    found = run_in_parallel_with_logging(
        (
            joblib.delayed(_score_feature_set)(
                estimator, parameter, [(name, feature_sets[name]) for name in chosen], X, y, folds[fold]
            )
            for chosen, fold in tasks
        ),
        "fits",
        n_jobs,
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


def _score_feature_set(estimator, parameter, feature_sets, X, y, fold):
    """Score one fold: a DataFrame with one row per subject."""
    params = {parameter: make_pipeline(SpeechFeatureUnion(feature_sets), FeatureScaler())}
    train, test = fold
    last, prefix = find_innermost_estimator(estimator)
    if isinstance(last, ForwardTRF):
        if last.bands is not None:  # other numbers of features
            params[f"{prefix}bands"] = "union" if len(feature_sets) > 1 else None
        channels, _ = correlate_encoding_fold(clone(estimator).set_params(**params), X, y, train, test, 0, 0)
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

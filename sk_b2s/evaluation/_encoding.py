"""Cross-validated encoding scores and unique variance of feature sets."""

from __future__ import annotations

import joblib
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing

from sk_b2s._utils._estimators import find_last, unwrap_last
from sk_b2s.decoding._forward_trf import ForwardTRF
from sk_b2s.decoding._scoring import retrieve
from sk_b2s.evaluation._statistics import subject_means
from sk_b2s.features._union import SpeechFeatureUnion
from sk_b2s.model_selection._split import folds_of
from sk_b2s.preprocessing._scalers import FeatureScaler


def cross_val_encoding(estimator, X, y, cv, n_shifts=100, random_state=0, n_jobs=None):
    r"""Correlate the brain with what a forward model predicts of it, on held-out sound: a topography.

    Parameters
    ----------
    estimator : estimator
        A :class:`~sk_b2s.ForwardTRF`, or a Pipeline that ends in one. It is cloned and fitted anew in each fold.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        What the brain did.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        What was heard.
    cv : splitter or iterable of (train, test)
        Folds by sound, such as ``StimulusKFold(5)``.
    n_shifts : int, default=100
        Shifts of each null.
    random_state : int, default=0
        Draws them.
    n_jobs : int or None, default=None
        Folds at once.

    Returns
    -------
    topography : DataFrame of shape (n_folds * n_subjects * n_channels, ...)
        ``fold`` and what :meth:`~sk_b2s.ForwardTRF.correlations` gives. Mean of each channel over people:
        ``mean_and_sem(topography, "r", by="channel")``.

    Raises
    ------
    TypeError
        If the estimator is or ends in none, or ``cv`` is a number, which would split overlapping windows.

    See Also
    --------
    sk_b2s.split_half_reliability : The highest correlation there could be, where sounds are repeated.

    Notes
    -----
    Of real EEG a correlation of 0.05 is usual and 0.1 is high, for most of the brain's activity has nothing to
    do with the sound: compare it with its null and its ceiling, not with 1. Artifacts that follow the sound, such
    as earphones near the sensors, are predicted best of all, and at 0 s.
    """
    last, _ = find_last(estimator)
    if not isinstance(last, ForwardTRF):
        raise TypeError(
            f"cross_val_encoding needs a ForwardTRF, or a Pipeline that ends in one, got {type(last).__name__}."
        )
    parts = joblib.Parallel(n_jobs)(
        joblib.delayed(_one_fold)(estimator, X, y, train, test, n_shifts, random_state)
        for train, test in folds_of(cv, X, y)
    )
    return pd.concat([part.assign(fold=fold) for fold, part in enumerate(parts)], ignore_index=True)


def _one_fold(estimator, X, y, train, test, n_shifts, random_state):
    """Topography of one fold."""
    estimator = clone(estimator).fit(_safe_indexing(X, train), _safe_indexing(y, train))
    X, y = _safe_indexing(X, test), _safe_indexing(y, test)
    forward, X = unwrap_last(estimator, X)
    return forward.correlations(X, y, n_shifts, random_state)


def compare_feature_sets(estimator, X, y, cv, spaces, n_jobs=None):
    """Scores of an estimator on each feature space alone, on all, and on all but each.

    A score on one space says that it is about something in the brain, or about something that goes with it: sounds that
    are loud have onsets, phones and words. What the others cannot replace is the difference between all and all but
    one, see :func:`unique_variance`.

    Parameters
    ----------
    estimator : estimator
        A decoder, a :class:`~sk_b2s.ForwardTRF`, or a Pipeline that ends in one. It is cloned, and its parameter
        ``speech`` replaced.
    X : DataFrame or Windows of shape (n_windows, ...)
        What the brain did.
    y : DataFrame of shape (n_windows, ...)
        What was heard.
    cv : splitter or iterable of (train, test)
        The folds, the same for all.
    spaces : dict of str to transformer
        Two or more, of one rate: ``{"envelope": Envelope(sfreq=25), "onsets": AcousticOnsets(sfreq=25), "phones":
        EventFeatures(events, classes=PHONETIC_FEATURES, sfreq=25)}``. All features are standardized one by one.
    n_jobs : int or None, default=None
        Fits at once.

    Returns
    -------
    scores : DataFrame of shape (n_rows, ...)
        A row for each of ``features`` ("envelope", ..., "all", "all but envelope", ...), ``fold`` and ``subject``,
        with ``n_windows``; of a decoder ``n_candidates, k, chance, top_1, top_k, median_relative_rank``; of a forward
        model ``r``, mean over channels. Means: ``mean_and_sem(scores, "r", by="features")``.

    Raises
    ------
    ValueError
        If there are fewer than two spaces, or no parameter ``speech``.

    Notes
    -----
    One strength of regularization is chosen for all spaces together, and similarity counts each feature alike: a
    space of many features has more weight than one of few.
    """
    names = list(spaces)
    if len(names) < 2:
        raise ValueError(f"spaces must be two or more to be compared, got {names}.")
    wanted = {name: (name,) for name in names} | {"all": tuple(names)}
    wanted |= {f"all but {name}": tuple(other for other in names if other != name) for name in names}
    parameter = _name_speech(estimator)
    folds = folds_of(cv, X, y)
    distinct = list(dict.fromkeys(wanted.values()))  # of two spaces, all but one is the other
    tasks = [(chosen, fold) for chosen in distinct for fold in range(len(folds))]
    found = joblib.Parallel(n_jobs)(
        joblib.delayed(_scores)(estimator, parameter, [(n, spaces[n]) for n in chosen], X, y, folds[fold])
        for chosen, fold in tasks
    )
    tables = {task: table.assign(fold=task[1]) for task, table in zip(tasks, found, strict=True)}
    return pd.concat(
        [
            tables[chosen, fold].assign(features=label)
            for label, chosen in wanted.items()
            for fold in range(len(folds))
        ],
        ignore_index=True,
    )


def _name_speech(estimator):
    """Return the name of the parameter that holds the speech features."""
    last, prefix = find_last(estimator)
    if "speech" not in last.get_params(deep=False):
        raise ValueError(
            f"{type(last).__name__} has no parameter 'speech' for the features to compare. Pass a decoder, a "
            f"ForwardTRF, or a Pipeline or search that ends in one."
        )
    return f"{prefix}speech"


def _scores(estimator, parameter, spaces, X, y, fold):
    """Scores of one fold: a row for each subject."""
    speech = make_pipeline(SpeechFeatureUnion(spaces), FeatureScaler())
    estimator = clone(estimator).set_params(**{parameter: speech})
    if isinstance(find_last(estimator)[0], ForwardTRF):
        channels = cross_val_encoding(estimator, X, y, [fold], n_shifts=0)
        return (
            channels.groupby("subject", sort=False)
            .agg(r=("r", "mean"), n_windows=("n_windows", "first"))
            .reset_index()
        )
    train, test = fold
    estimator.fit(_safe_indexing(X, train), _safe_indexing(y, train))
    answers = retrieve(estimator, _safe_indexing(X, test), _safe_indexing(y, test))
    table = answers.by_subject().rename_axis("subject").reset_index()
    counts = table["subject"].map(answers.rows["subject"].value_counts())
    return table.assign(
        n_windows=counts, n_candidates=answers.n_candidates, k=answers.k, chance=answers.chance
    )


def unique_variance(scores, score="top_k"):
    """What each space adds to all the others, person by person.

    Parameters
    ----------
    scores : DataFrame
        From :func:`compare_feature_sets`.
    score : str, default="top_k"
        Column of the scores: "r" of a forward model.

    Returns
    -------
    contributions : DataFrame of shape (n_spaces * n_subjects, ...)
        ``features`` (the space), ``subject, alone, without, all`` and ``unique``, all minus without; means over folds,
        windows counting alike. Whether it is above zero: ``signed_rank_p(contributions.query(...)["unique"])`` of
        :mod:`sk_b2s.evaluation._statistics`, corrected for the number of spaces by ``holm``.
    """
    means = subject_means(scores, score, ["features"])
    names = [name for name in pd.unique(scores["features"]) if f"all but {name}" in set(scores["features"])]
    parts = []
    for name in names:
        columns = {"alone": means[name], "without": means[f"all but {name}"], "all": means["all"]}
        parts.append(pd.DataFrame(columns).rename_axis("subject").reset_index().assign(features=name))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(unique=table["all"] - table["without"])[
        ["features", "subject", "alone", "without", "all", "unique"]
    ]

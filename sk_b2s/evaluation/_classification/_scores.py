"""Cross-validated classification of EEG/MEG windows by class."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length

from sk_b2s._utils._logging import run_in_parallel_with_logging
from sk_b2s._utils._text import shorten_list
from sk_b2s._utils._validation import (
    get_validated_recordings,
    validate_count,
    validate_rows_in_step,
    validate_table,
)
from sk_b2s.evaluation._classification._classifiers import (
    classify_with_timing_classifier,
    fit_classifier_features,
    is_template_classifier,
)
from sk_b2s.metrics._average_examples import average_drawn_examples, draw_examples
from sk_b2s.model_selection._split import list_split_folds


def cross_val_classification(
    estimator, X, y, labels, cv, n_averaged=1, per_subject=True, n_shifts=100, random_state=0, n_jobs=None
):
    r"""Classify held-out EEG/MEG windows, and averages of several windows.

    Parameters
    ----------
    estimator : estimator
        A classifier of scikit-learn, a Pipeline that ends in one, such as
        ``make_pipeline(Epocher(sfreq=25), RobustChannelScaler(),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))``, or a
        decoder of speech features. It is cloned and fitted in each fold. The
        windows are flattened for the classifier. Its parameter ``priors`` or
        ``class_weight``, if None, is set to equal classes. The estimates
        of a decoder are compared with the mean true features of each class in
        training.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimulus segments.
    labels : array-like of shape (n_windows,)
        Class of each window, see :func:`label_segments`. Windows without a
        class, None or NaN, are left out.
    cv : splitter or iterable of (train, test)
        Folds by stimulus, for example ``StimulusKFold(5)``.
    n_averaged : int or sequence of int, default=1
        Number of test windows of a class that are averaged. Windows are drawn
        without repetition from the test windows of a subject and fold.
        Training windows are not averaged.
    per_subject : bool, default=True
        If True, fit one classifier per subject. If False, fit one to all, for
        unseen subjects. A decoder has its own parameter for it.
    n_shifts : int, default=100
        Number of circular shifts of each null.
    random_state : int, default=0
        Draws averages and shifts.
    n_jobs : int or None, default=None
        Number of folds run in parallel.

    Returns
    -------
    scores : DataFrame of shape (n_rows, ...)
        One row per ``fold``, ``control``, ``subject`` and ``n_averaged``, with

        * ``control``, "decoder", or "timing_only" for a classifier that has
          only the intervals between windows, see
          :func:`~sk_b2s.metrics.timing_probabilities`;
        * ``f1_macro``, the mean over classes of the F1 score;
        * ``balanced_accuracy``, the mean over classes of the recall;
        * ``chance``, one over the number of classes;
        * ``null_mean, null_low`` and ``null_high`` of ``f1_macro``, with the
          labels of each recording circularly shifted, NaN without shifts or if
          a recording is too short;
        * ``n_classes, n_windows``, ``n_averages`` and ``n_train``.

        Means over subjects: ``mean_and_sem(scores, "f1_macro")``.

    Raises
    ------
    TypeError
        If the estimator is not a classifier or decoder of features, or ``cv``
        is a number, which would split overlapping windows.
    ValueError
        If lengths differ, a subject has fewer than two classes with
        ``n_averaged`` test windows, or a subject without training windows is
        tested with ``per_subject=True``.

    Warns
    -----
    UserWarning
        If classes are left out, because a subject has fewer than
        ``max(n_averaged)`` test windows of them in a fold, or none in
        training. All values of ``n_averaged`` have the same classes, because
        scores of fewer classes are higher.

    Notes
    -----
    A guess with the probability q of a class whose frequency is p has the F1
    score :math:`2 p q / (p + q) \le (p + q) / 2`. The mean over C classes is
    thus at most 1 / C for any guess, which is the chance level. If one class
    is always predicted it is lower: with 80 % speech, 0.44.

    Averages are published for phonemes [1]_, where training windows are
    averaged as well. Averages of n examples need n occurrences of the same
    unknown class, so their scores do not apply to decoding of speech.

    The intervals between the onsets of phonemes and words depend on their
    class. A score is evidence of decoding only if it is above that of
    "timing_only". A model that has several overlapping windows also has the
    intervals.

    References
    ----------
    .. [1] Landau, Özdogan, Elvers et al. (2025). The 2025 PNPL competition:
       speech detection and phoneme classification in the LibriBrain dataset.
       https://arxiv.org/abs/2506.10165
    """
    labels = pd.Series(np.asarray(labels, dtype=object))
    check_consistent_length(X, y, labels)
    validate_rows_in_step(X, y)
    validate_count("n_shifts", n_shifts, least=0)
    sizes = np.atleast_1d(n_averaged).tolist()
    for size in sizes:
        validate_count("n_averaged", size, least=1)
    rows = _make_classification_rows(X, len(labels))
    parts = run_in_parallel_with_logging(
        (
            joblib.delayed(_score_classification_fold)(
                estimator, X, y, labels, rows, train, test, sizes, per_subject, n_shifts, random_state
            )
            for train, test in list_split_folds(cv, X, y)
        ),
        "folds",
        n_jobs,
    )
    if lost := sorted(set().union(*(names for _, names in parts))):
        warnings.warn(
            f"{len(lost)} classes are left out, because a subject has fewer than {max(sizes)} test windows of them in a "
            f"fold, or no training window: {shorten_list(lost, 10)}. Merge classes, or use fewer folds or averages.",
            stacklevel=2,
        )
    tables = [table.assign(fold=fold) for fold, (table, _) in enumerate(parts)]
    return pd.concat(tables, ignore_index=True)


def _make_classification_rows(X, n_rows):
    """Return subject, recording, onset and duration of rows, if known."""
    table = validate_table(X)
    table = pd.DataFrame(index=range(n_rows)) if table is None else table.reset_index(drop=True)
    defaults = {name: "" for name in ("subject", "recording") if name not in table}
    return table.assign(**defaults)


def _score_classification_fold(
    estimator, X, y, labels, rows, train, test, sizes, per_subject, n_shifts, seed
):
    """Score one fold: a DataFrame, and the classes that are left out."""
    labeled = labels.notna().to_numpy()
    make, fit = fit_classifier_features(estimator, X, y, np.asarray(train), np.asarray(test), labeled)
    train, test = (np.asarray(part)[labeled[part]] for part in (train, test))
    labels = labels.to_numpy()
    subject = rows["subject"].to_numpy()
    joint, is_joint = None, not per_subject or is_template_classifier(estimator)
    out, lost = [], set()
    for name in pd.unique(subject[test]):
        own_test, own_train = test[subject[test] == name], train[subject[train] == name]
        use_own = per_subject and len(own_train)
        if not use_own:
            if not is_joint:
                raise ValueError(
                    f"Subject {name!r} has no training window. Use per_subject=False for unseen subjects."
                )
            own_train = train
        chosen, own_lost = _select_classes(labels, own_train, own_test, max(sizes), name)
        lost |= own_lost
        own_train, own_test = (
            part[np.isin(labels[part].astype(str), chosen)] for part in (own_train, own_test)
        )
        about = {
            "subject": name,
            "n_classes": len(chosen),
            "n_windows": len(own_test),
            "n_train": len(own_train),
        }
        about |= {"study": rows["study"].iloc[own_test[0]]} if "study" in rows else {}
        if use_own:
            classifier = fit(own_train, labels[own_train].astype(str))
        else:
            classifier = joint = joint or fit(train, labels[train].astype(str))
        kinds = [("decoder", make(own_test), classifier)]
        if {"onset"} <= set(rows):
            kinds.append(
                (
                    "timing_only",
                    *classify_with_timing_classifier(rows, labels.astype(str), own_train, own_test),
                )
            )
        shifts = draw_classification_score_shifts(rows.iloc[own_test], n_shifts, seed)
        for control, features, model in kinds:
            for n in sizes:
                scores = _score_classification_averages(
                    features, labels[own_test].astype(str), model, n, chosen, shifts, seed
                )
                out.append(
                    {"control": control, **about, "n_averaged": n, "chance": 1 / len(chosen), **scores}
                )
    return pd.DataFrame(out), lost


def _select_classes(labels, train, test, least, subject):
    """Select classes with enough windows, and name the others."""
    counts = pd.Series(labels[test].astype(str)).value_counts()
    known = set(labels[train].astype(str))
    chosen = sorted(name for name, n in counts.items() if n >= least and name in known)
    if len(chosen) < 2:
        raise ValueError(
            f"Subject {subject!r} has {len(chosen)} classes with {least} or more test windows and a training window, and 2 "
            f"are required. The counts in a test set are {counts.head(5).to_dict()}. Use fewer folds or a smaller n_averaged."
        )
    return chosen, set(counts.index) - set(chosen)


def _score_classification_averages(features, labels, model, n, classes, shifts, seed):
    """Score averages of n windows, with the null of shifted labels."""
    classes = pd.Index(classes)
    labels = classes.get_indexer(labels)
    single = classes.get_indexer(model.predict(features)) if n == 1 else None  # does not depend on labels

    def score(labels):
        if n == 1:
            return compute_class_scores(labels, single, len(classes)), len(labels)
        index = draw_examples(labels, n, random_state=seed)
        predicted = classes.get_indexer(model.predict(average_drawn_examples(features, index)))
        return compute_class_scores(labels[index[:, 0]], predicted, len(classes)), len(index)

    found, n_averages = score(labels)
    null = (
        np.array([score(labels[order])[0]["f1_macro"] for order in shifts])
        if len(shifts)
        else np.array([np.nan])
    )
    low, high = np.quantile(null, [0.025, 0.975])
    return {**found, "null_mean": null.mean(), "null_low": low, "null_high": high, "n_averages": n_averages}


def compute_class_scores(true, predicted, n_classes):
    """Compute the mean F1 score and the mean recall of classes.

    Parameters
    ----------
    true, predicted : ndarray of int of shape (n_windows,)
        Classes from 0. A prediction of -1, another class, is an error.
    n_classes : int

    Returns
    -------
    scores : dict of str to float
    """
    n_true, right = (np.bincount(part, minlength=n_classes) for part in (true, true[true == predicted]))
    n_predicted = np.bincount(predicted + 1, minlength=n_classes + 1)[1:]
    f1 = 2 * right / np.maximum(n_true + n_predicted, 1)
    return {"f1_macro": float(f1.mean()), "balanced_accuracy": float((right / np.maximum(n_true, 1)).mean())}


def draw_classification_score_shifts(rows, n_shifts, random_state):
    """Draw circular shifts of labels within recordings.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        ``recording``, and ``onset`` and ``duration`` if known.
    n_shifts : int
    random_state : int

    Returns
    -------
    orders : ndarray of int of shape (n_shifts, n_windows)
        Row whose label each window gets. Empty if a recording is shorter than
        two windows, or times are unknown.
    """
    if not n_shifts or not {"onset", "duration"} <= set(rows):
        return np.empty((0, len(rows)), int)
    random, recording = np.random.RandomState(random_state), get_validated_recordings(rows)
    onset, duration = rows["onset"].to_numpy(float), float(rows["duration"].max())
    orders = np.empty((n_shifts, len(rows)), int)
    for name in pd.unique(recording):
        own = np.flatnonzero(recording == name)
        own = own[np.argsort(onset[own], kind="stable")]
        n = len(own)
        least = int((np.searchsorted(onset[own], onset[own] + duration) - np.arange(n)).max())
        if 2 * least > n:
            return np.empty((0, len(rows)), int)
        shifts = random.randint(least, n - least + 1, size=n_shifts)
        orders[:, own] = own[(np.arange(n) + shifts[:, None]) % n]
    return orders

"""Learning curves and validation curves of retrieval scores."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import joblib
import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from sk_b2s._utils._logging import run_in_parallel_with_logging
from sk_b2s._utils._validation import validate_table
from sk_b2s.evaluation._fit_score import fit_and_score_fold, make_fit_score_rows
from sk_b2s.events._intervals import sum_recorded_intervals
from sk_b2s.model_selection._split import list_split_folds

SHARES = (1 / 8, 1 / 4, 1 / 2, 1)  # of the training duration that all subjects have
LEAST_BLOCKS = 2  # of each subject, without which most decoders select no regularization
ROUNDING = 1e-6  # s


# --- training data -----------------------------------------------------------------------------------


def retrieval_learning_curve(estimator, X, y, cv, minutes=None, subjects=None, random_state=0, n_jobs=None):
    """Score decoders by training duration or number of training subjects.

    In each fold the blocks and the subjects of the training windows are put in
    a random order once. A training set of m minutes of n subjects contains,
    for each of the first n subjects, the first blocks until they last m
    minutes of recording. So training sets are nested: a larger set with at
    least as many minutes and subjects contains the smaller one. The test
    windows of a fold are the same for all sets.

    Unlike :func:`sklearn.model_selection.learning_curve`, this function counts
    blocks and minutes instead of rows. Because windows overlap, a random tenth
    of the rows contains nearly the whole stimulus, and the first tenth of the
    rows is the first tenth of the subjects.

    Parameters
    ----------
    estimator : estimator
        A decoder of the package, a Pipeline that ends in one, or a search over
        either. It is cloned.
    X : DataFrame or Windows of shape (n_windows, ...)
        EEG/MEG windows with the columns ``recording, onset, duration`` and, if
        there are several, ``subject``.
    y : DataFrame or Windows of shape (n_windows, ...)
        Stimulus segments with the column ``block``.
    cv : splitter or iterable of (train, test)
        The folds. Training sets are subsets of their training rows.
    minutes : None or sequence of float, default=None
        Minutes of recording per subject, as the union of its windows. If None,
        an eighth, a quarter, half and all of the duration that all subjects
        have, or everything if ``subjects`` is given. Shares for which a
        subject has only one block are left out, because a decoder that
        selects a parameter by cross-validation needs two.
    subjects : None or sequence of int, default=None
        Numbers of training subjects, each with all ``minutes``. If None, all
        subjects. Test subjects must not be in training, as with
        ``LeaveOneSubjectOut()``.
    random_state : None, int or RandomState, default=0
        Orders blocks and subjects. Equal numbers give all estimators the same
        training sets.
    n_jobs : int or None, default=None
        Number of fits run in parallel.

    Returns
    -------
    curve : DataFrame of shape (n_rows, ...)
        One row per ``minutes`` (the requested value, NaN for everything),
        ``n_subjects``, ``fold`` and test ``subject``: ``minutes_used`` (mean
        over training subjects, because blocks are not divided), ``n_train``
        windows, ``n_windows``, ``n_candidates, k, chance, top_1, top_k,
        median_relative_rank``. Means: ``mean_and_sem(curve, "top_k",
        by=["minutes"])``.

    Raises
    ------
    ValueError
        If a fold has fewer minutes or subjects than requested, a subject is on
        both sides of a curve over subjects, or a table lacks a column.
    """
    rows, blocks = _make_curve_training_rows(X, y)
    random, tasks = check_random_state(random_state), []
    folds = list_split_folds(cv, X, y)
    sets = [_NestedTrainingSets(rows, blocks, train, random) for train, _ in folds]
    if minutes is None:
        minutes = [None] if subjects is not None else _choose_minutes(sets)
    for fold, ((_, test), nested) in enumerate(zip(folds, sets, strict=True)):
        if subjects is not None and (both := set(nested.subjects) & set(rows["subject"].to_numpy()[test])):
            raise ValueError(
                f"Subjects {sorted(map(str, both))} are in the training and test rows of fold {fold}. A curve over "
                f"subjects needs folds that hold subjects out, for example cv=LeaveOneSubjectOut()."
            )
        for n_subjects in [len(nested.subjects)] if subjects is None else subjects:
            for value in minutes:
                own, used = nested.rows(n_subjects, value, fold)
                row = {"minutes": np.nan if value is None else value, "n_subjects": n_subjects, "fold": fold}
                tasks.append((own, test, row | {"minutes_used": used, "n_train": len(own)}))
    tasks.sort(key=lambda task: len(task[0]))  # sets too small to fit raise first
    curve = _run_curve_tasks(estimator, X, y, tasks, n_jobs)
    return curve.sort_values(["n_subjects", "minutes", "fold"], kind="stable", ignore_index=True)


def _choose_minutes(sets):
    """Return the shares of the duration that all subjects have in all folds.

    Those for which a subject has too few blocks are left out, except for all.
    """
    available = min(nested.find_least_minutes() for nested in sets)
    parts = [share * available for share in SHARES]
    return [
        part for part in parts
        if part == available or all(nested.count_blocks(part) >= LEAST_BLOCKS for nested in sets)
    ]  # fmt: skip


class _NestedTrainingSets:
    """Nested training sets of one fold."""

    def __init__(self, rows, blocks, train, random):
        self.table, self.blocks, self.train = rows, blocks, np.asarray(train)
        subjects = pd.unique(rows["subject"].to_numpy()[train])
        self.subjects = subjects[random.permutation(len(subjects))]
        self.order = random.permutation(pd.unique(blocks[train]))

    def rows(self, n_subjects, minutes, fold):
        """Return rows of the first subjects and their mean minutes."""
        if not 1 <= n_subjects <= len(self.subjects):
            raise ValueError(
                f"subjects={n_subjects} was requested, but fold {fold} has {len(self.subjects)} training subjects. Use "
                f"1 to {len(self.subjects)}."
            )
        parts = [self._rows_of_subject(subject, minutes, fold) for subject in self.subjects[:n_subjects]]
        used = np.mean([sum_recorded_intervals(self.table.iloc[part]) for part in parts]) / 60
        return np.sort(np.concatenate(parts)), used

    def find_least_minutes(self):
        """Return the minutes that every subject has."""
        return (
            min(sum_recorded_intervals(own) for _, own in self.table.iloc[self.train].groupby("subject")) / 60
        )

    def count_blocks(self, minutes):
        """Return the least number of blocks of a subject."""
        return min(
            len(np.unique(self.blocks[self._rows_of_subject(subject, minutes, None)]))
            for subject in self.subjects
        )

    def _rows_of_subject(self, subject, minutes, fold):
        own = self.train[self.table["subject"].to_numpy()[self.train] == subject]
        if minutes is None:
            return own
        place, table = pd.Index(self.order).get_indexer(self.blocks[own]), self.table.iloc[own]
        places, needed = np.unique(place), 60 * minutes - ROUNDING
        n_before = bisect_left(places, needed, key=lambda last: sum_recorded_intervals(table[place <= last]))
        if n_before < len(places):
            return own[place <= places[n_before]]
        seconds = sum_recorded_intervals(table)
        raise ValueError(
            f"minutes={minutes:g} was requested, but fold {fold} has only {seconds / 60:.3f} training minutes of "
            f"subject {subject!r}. Use fewer minutes."
        )


def _make_curve_training_rows(X, y):
    """Return a table with subject and time of each row, and its block."""
    tables = validate_table(X), validate_table(y)
    needed = ("X", tables[0], ("recording", "onset", "duration")), ("y", tables[1], ("block",))
    for name, table, columns in needed:
        if missing := [column for column in columns if table is None or column not in table]:
            raise ValueError(
                f"{name} lacks {missing}, which are needed to count minutes in blocks. Use the tables of "
                f"make_segments."
            )
    rows = tables[0] if "subject" in tables[0] else tables[0].assign(subject="")
    columns = [name for name in ("study", "subject", "recording", "onset", "duration") if name in rows]
    rows = rows[columns].reset_index(drop=True)
    return rows, tables[1]["block"].to_numpy()


# --- parameters --------------------------------------------------------------------------------------


def retrieval_validation_curve(estimator, X, y, cv, parameter, values, n_jobs=None):
    """Score refits of a decoder with different values of a parameter.

    Typical parameters are the lag, the frequency band and the sensors.
    Evidence for a response to speech is a score that is highest some hundred
    milliseconds after the stimulus, in slow bands and over temporal sensors. A
    score that is as high at a negative lag has another origin. Unlike
    :class:`~sklearn.model_selection.GridSearchCV`, this function does not
    choose a value, and it returns one row per subject, so that errors are over
    subjects.

    Parameters
    ----------
    estimator : estimator
        A decoder of the package, a Pipeline that ends in one, or a search over
        either. It is cloned.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimulus segments or features, one row per window.
    cv : splitter or iterable of (train, test)
        The folds, the same for all values.
    parameter : str or sequence of str
        Name in ``estimator.get_params()``, or several that change together:
        ``"epochs__lag"``, ``("epochs__l_freq", "epochs__h_freq")``,
        ``"epochs__picks"``.
    values : sequence, or dict of str to value
        Values, or named values: ``{"delta": (1, 4), "theta": (4, 8)}``. With
        several parameters each value is a tuple.
    n_jobs : int or None, default=None
        Number of fits run in parallel.

    Returns
    -------
    scores : DataFrame of shape (n_rows, ...)
        One row per ``value`` (or its name), ``fold`` and ``subject``:
        ``n_train, n_windows, n_candidates, k, chance, top_1, top_k,
        median_relative_rank``. Means: ``mean_and_sem(scores, "top_k",
        by="value")``. Comparisons: ``compare_estimators(scores,
        score="top_k", estimator="value")``.

    Raises
    ------
    ValueError
        If a parameter does not exist, or a value has the wrong length.

    Notes
    -----
    The best of many values is optimistically biased. To *choose* a lag, search
    it within the training rows. If the highest mean is at the first or last of
    several numbers, the title of :func:`~sk_b2s.plotting.plot_curve` warns. A
    window covers several seconds, so neighboring lags share most samples, and
    short windows separate lags better. Zero-phase filters smear in time, more
    in narrower bands.
    """
    names = [parameter] if isinstance(parameter, str) else list(parameter)
    known = estimator.get_params()
    if missing := [name for name in names if name not in known]:
        ends = [name for name in known if name.rsplit("__", 1)[-1] == missing[0].rsplit("__", 1)[-1]]
        hint = f" Did you mean {ends[0]!r}?" if ends else ""
        raise ValueError(f"parameter: {missing[0]!r} is not a parameter of {type(estimator).__name__}.{hint}")
    named = list(values.items()) if isinstance(values, Mapping) else [(value, value) for value in values]
    tasks = []
    for label, value in named:
        each = (value,) if isinstance(parameter, str) else tuple(value)
        if len(each) != len(names):
            raise ValueError(f"A value of {names} must have {len(names)} parts. Got {value!r}.")
        label = label if np.isscalar(label) else str(label)
        for fold, (train, test) in enumerate(list_split_folds(cv, X, y)):
            row = {"value": label, "fold": fold, "n_train": len(train)}
            tasks.append((train, test, row, dict(zip(names, each, strict=True))))
    return _run_curve_tasks(estimator, X, y, tasks, n_jobs)


def describe_learning_curve_edge(scores):
    """Describe a highest mean at the first or last value, or return "".

    Parameters
    ----------
    scores : DataFrame of shape (n_values, n_subjects)
        Indexed by increasing values.

    Returns
    -------
    note : str
        "" for names, fewer than three values, a highest mean between the
        ends, or one that exceeds the mean of the neighboring value by no more
        than the standard error of the difference.
    """
    means = scores.mean(axis=1)
    best = int(np.argmax(means)) if means.notna().all() else 0
    if len(scores) < 3 or not pd.api.types.is_numeric_dtype(scores.index) or 0 < best < len(scores) - 1:
        return ""
    gain = (scores.iloc[best] - scores.iloc[1 if best == 0 else -2]).dropna()
    error = gain.std() / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
    if not gain.mean() > error:
        return ""
    return f"Highest at {scores.index[best]:.3g}, the {'last' if best else 'first'} value: it may be higher beyond."


# --- folds -------------------------------------------------------------------------------------------


def _run_curve_tasks(estimator, X, y, tasks, n_jobs):
    """Fit and score (train, test, row, params) in order.

    DataFrame with one row per test subject of each task.
    """
    parts = run_in_parallel_with_logging(
        (joblib.delayed(_score_curve_task)(estimator, X, y, *task) for task in tasks), "fits", n_jobs
    )
    return pd.DataFrame([row for part in parts for row in part])


def _score_curve_task(estimator, X, y, train, test, row, params=None):
    fold = fit_and_score_fold(estimator, X, y, train, test, params)
    return [{**row, **scores} for scores in make_fit_score_rows(fold.result)]

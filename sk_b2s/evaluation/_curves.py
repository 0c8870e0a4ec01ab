"""Learning curves and validation curves of retrieval scores."""

from __future__ import annotations

from collections.abc import Mapping

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_random_state

from sk_b2s._utils._validation import table_of
from sk_b2s.decoding._scoring import retrieve
from sk_b2s.events._intervals import recorded_seconds
from sk_b2s.model_selection._split import folds_of

SHARES = (1 / 8, 1 / 4, 1 / 2, 1)  # of the minutes that everybody has
ROUNDING = 1e-6  # s


# --- data ------------------------------------------------------------------------------------------


def retrieval_learning_curve(estimator, X, y, cv, minutes=None, subjects=None, random_state=0, n_jobs=None):
    """Scores on the same test windows of decoders trained on more and more minutes, or more and more people.

    In each fold the blocks of sound and the people of the training windows are put in a random order, once. A
    training set of m minutes of n people holds, of each of the first n people, the first blocks in that order
    until they last m minutes of recording. So sets are nested: whatever a smaller one holds, a larger one with as
    many minutes and as many people or more holds too. The test windows of a fold are always all of them.

    Unlike :func:`sklearn.model_selection.retrieval_learning_curve` it counts blocks and minutes instead of rows. Windows
    overlap: a tenth of the rows drawn at random touches nearly all of the sound and is no tenth of the data, and
    the first tenth of the rows is the first tenth of the people.

    Parameters
    ----------
    estimator : estimator
        A decoder of the package, a Pipeline that ends in one, or a search over either. It is cloned.
    X : DataFrame or Windows of shape (n_windows, ...)
        What the brain did; its table has ``recording, onset, duration`` and, where there are several, ``subject``.
    y : DataFrame or Windows of shape (n_windows, ...)
        What was heard, with ``block``.
    cv : splitter or iterable of (train, test)
        The folds. Subsets of its training rows keep clear of what it holds out.
    minutes : None or sequence of float, default=None
        Minutes of recording of each person, distinct time that windows cover. None takes an eighth, a quarter, half
        and all of what everybody has, or, where ``subjects`` is given, everything.
    subjects : None or sequence of int, default=None
        Numbers of people to train on, every one with all ``minutes``. None takes all people. People tested must not
        be in training, as by ``LeaveOneSubjectOut()``: the curve is of *other* people.
    random_state : None, int or RandomState, default=0
        Orders blocks and people. The same number gives every estimator the same sets.
    n_jobs : int or None, default=None
        Fits at once.

    Returns
    -------
    curve : DataFrame of shape (n_rows, ...)
        A row for each ``minutes`` (asked for; NaN for everything), ``n_subjects``, ``fold`` and tested ``subject``:
        ``minutes_used`` (mean over people in training; blocks are whole), ``n_train`` windows, ``n_windows``,
        ``n_candidates, k, chance, top_1, top_k, median_relative_rank``. Means:
        ``mean_and_sem(curve, "top_k", by=["minutes"])``.

    Raises
    ------
    ValueError
        If a fold has fewer minutes or people, people are on both sides of a curve over people, or a table
        lacks a column.
    """
    rows, blocks = _training_rows(X, y)
    random, tasks = check_random_state(random_state), []
    folds = folds_of(cv, X, y)
    if minutes is None:
        shares = (None,) if subjects is not None else SHARES
        least = (
            min(recorded_seconds(own) for train, _ in folds for _, own in rows.iloc[train].groupby("subject"))
            / 60
        )
        minutes = [None if share is None else share * least for share in shares]
    for fold, (train, test) in enumerate(folds):
        ladder = _Ladder(rows, blocks, train, random)
        if subjects is not None and (both := set(ladder.people) & set(rows["subject"].to_numpy()[test])):
            raise ValueError(
                f"fold {fold} tests {sorted(map(str, both))}, who are in its training rows: a curve over people "
                f"needs folds that hold people out, such as cv=LeaveOneSubjectOut()."
            )
        for n_subjects in [len(ladder.people)] if subjects is None else subjects:
            for asked in minutes:
                own, used = ladder.rows(n_subjects, asked, fold)
                row = {"minutes": np.nan if asked is None else asked, "n_subjects": n_subjects, "fold": fold}
                tasks.append((own, test, row | {"minutes_used": used, "n_train": len(own)}))
    tasks.sort(key=lambda task: len(task[0]))  # what is too little to fit raises first
    curve = _run(estimator, X, y, tasks, n_jobs)
    return curve.sort_values(["n_subjects", "minutes", "fold"], kind="stable", ignore_index=True)


class _Ladder:
    """Nested training sets of one fold."""

    def __init__(self, rows, blocks, train, random):
        self.table, self.blocks, self.train = rows, blocks, np.asarray(train)
        people = pd.unique(rows["subject"].to_numpy()[train])
        self.people = people[random.permutation(len(people))]
        self.order = random.permutation(pd.unique(blocks[train]))

    def rows(self, n_subjects, minutes, fold):
        """Rows of the first people, as many minutes of each, and the mean of what they are."""
        if not 1 <= n_subjects <= len(self.people):
            raise ValueError(
                f"subjects={n_subjects} were asked for, but fold {fold} has 1 to {len(self.people)} to train on."
            )
        parts = [self._of_person(person, minutes, fold) for person in self.people[:n_subjects]]
        used = np.mean([recorded_seconds(self.table.iloc[part]) for part in parts]) / 60
        return np.sort(np.concatenate(parts)), used

    def _of_person(self, person, minutes, fold):
        own = self.train[self.table["subject"].to_numpy()[self.train] == person]
        if minutes is None:
            return own
        place = pd.Index(self.order).get_indexer(self.blocks[own])
        for last in np.unique(place):
            some = own[place <= last]
            if (seconds := recorded_seconds(self.table.iloc[some])) >= 60 * minutes - ROUNDING:
                return some
        raise ValueError(
            f"{minutes:g} minutes were asked for, but fold {fold} has {seconds / 60:.3f} of subject {person!r} to "
            f"train on."
        )


def _training_rows(X, y):
    """Table with person and time of each row, and the block of each."""
    table, heard = table_of(X), table_of(y)
    for name, data, wanted in (("X", table, ("recording", "onset", "duration")), ("y", heard, ("block",))):
        if missing := [column for column in wanted if data is None or column not in data]:
            raise ValueError(
                f"minutes are counted in whole blocks, but {name} lacks {missing}; see make_segments."
            )
    rows = table if "subject" in table else table.assign(subject="")
    return rows[["subject", "recording", "onset", "duration"]].reset_index(drop=True), heard[
        "block"
    ].to_numpy()


# --- parameters ------------------------------------------------------------------------------------


def retrieval_validation_curve(estimator, X, y, cv, parameter, values, n_jobs=None):
    """Scores of refits in which a parameter has one value after the other: by lag, by band, by sensors.

    What reviewers ask first is whether the score is where speech is known to be in the brain: some hundred
    milliseconds after the sound, in slow bands, over temporal sensors. A score that is as high at a negative
    lag comes from something else. Unlike :class:`~sklearn.model_selection.GridSearchCV`, nothing is chosen, and
    there is a row for each person, so that errors are over people.

    Parameters
    ----------
    estimator : estimator
        A decoder of the package, a Pipeline that ends in one, or a search over either. It is cloned.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        What the brain did.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        What was heard.
    cv : splitter or iterable of (train, test)
        The folds, the same for all values.
    parameter : str or sequence of str
        Name in ``estimator.get_params()``, or several that change together: ``"epochs__lag"``,
        ``("epochs__l_freq", "epochs__h_freq")``, ``"epochs__picks"``.
    values : sequence, or dict of str to value
        The values, or names of values: ``{"delta": (1, 4), "theta": (4, 8)}``, ``{"left": [...names]}``. A value
        of several parameters is a tuple.
    n_jobs : int or None, default=None
        Fits at once.

    Returns
    -------
    scores : DataFrame of shape (n_rows, ...)
        A row for each ``value`` (or its name), ``fold`` and ``subject``: ``n_train, n_windows, n_candidates, k, chance,
        top_1, top_k, median_relative_rank``. Means: ``mean_and_sem(scores, "top_k", by="value")``;
        comparisons: ``compare_estimators(scores, score="top_k", estimator="value")``.

    Raises
    ------
    ValueError
        If there is no such parameter, or a value does not fit several.

    Notes
    -----
    The best of many values is too good by chance: to *choose* a lag, search it inside the training rows. If the
    highest mean is at the first or last of several numbers, :func:`~sk_b2s.plotting.plot_curve` states it. A window
    reads the brain throughout its seconds, so neighboring lags share nearly all of it; short windows tell
    lags apart better. Zero-phase filters smear in time, the narrower the band the further.
    """
    names = [parameter] if isinstance(parameter, str) else list(parameter)
    known = estimator.get_params()
    if missing := [name for name in names if name not in known]:
        ends = [name for name in known if name.rsplit("__", 1)[-1] == missing[0].rsplit("__", 1)[-1]]
        hint = f" Did you mean {ends[0]!r}?" if ends else ""
        raise ValueError(f"parameter: {missing[0]!r} is none of {type(estimator).__name__}'s.{hint}")
    named = list(values.items()) if isinstance(values, Mapping) else [(value, value) for value in values]
    tasks = []
    for label, value in named:
        each = (value,) if isinstance(parameter, str) else tuple(value)
        if len(each) != len(names):
            raise ValueError(f"a value of {names} must have {len(names)} parts, got {value!r}.")
        label = label if np.isscalar(label) else str(label)
        for fold, (train, test) in enumerate(folds_of(cv, X, y)):
            row = {"value": label, "fold": fold, "n_train": len(train)}
            tasks.append((train, test, row, dict(zip(names, each, strict=True))))
    return _run(estimator, X, y, tasks, n_jobs)


def highest_at_end(people):
    """State that the highest mean is at the first or last of several numbers, beyond which it may rise.

    Parameters
    ----------
    people : DataFrame of shape (n_values, n_subjects)
        Scores, indexed by rising values.

    Returns
    -------
    note : str
        Empty for names, fewer than three values, a highest mean within, and one that is not above that of the
        neighboring value by more than the standard error of the difference.
    """
    means = people.mean(axis=1)
    best = int(np.argmax(means)) if means.notna().all() else 0
    if len(people) < 3 or not pd.api.types.is_numeric_dtype(people.index) or 0 < best < len(people) - 1:
        return ""
    gain = (people.iloc[best] - people.iloc[1 if best == 0 else -2]).dropna()
    error = gain.std() / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
    if not gain.mean() > error:
        return ""
    return f"Highest at {people.index[best]:.3g}, the {'last' if best else 'first'} value: it may be higher beyond."


# --- length of a decision --------------------------------------------------------------------------


def attention_decision_accuracy(attended, ignored, rows, lengths=(1, 2, 5, 10, 20, 30)):
    r"""How often the talker attended to is told from the one ignored, by how long one listens.

    With :math:`a_i` and :math:`b_i` the similarities of window i to what the talker attended to said then, and to what
    the other said, a decision of L seconds is right if

    .. math:: \sum_{i \in L} a_i - b_i > 0

    over the windows that lie within it [1]_. Decisions follow one another without overlap from the first window of a
    recording on; one without a window is none. A tie is wrong.

    Parameters
    ----------
    attended, ignored : array-like of shape (n_windows,)
        Similarities of each window to both talkers.
    rows : DataFrame of shape (n_windows, ...)
        ``subject, recording, onset`` and ``duration`` of each window, in seconds.
    lengths : sequence of float, default=(1, 2, 5, 10, 20, 30)
        Seconds of a decision. None of them may be shorter than a window.

    Returns
    -------
    scores : DataFrame of shape (n_lengths * n_subjects, ...)
        ``length, subject, accuracy, n_decisions`` and ``chance``, 0.5. Means: ``mean_and_sem(scores, "accuracy",
        by="length", weight=None)``.

    Raises
    ------
    ValueError
        If lengths differ, a column is missing, a similarity is NaN, or a window is longer than a decision.

    References
    ----------
    .. [1] O'Sullivan, Power, Mesgarani et al. (2015). Attentional selection in a cocktail party environment can be
       decoded from single-trial EEG. Cerebral Cortex 25:1697. https://doi.org/10.1093/cercor/bht355
    """
    difference = np.asarray(attended, float) - np.asarray(ignored, float)
    if missing := [name for name in ("subject", "recording", "onset", "duration") if name not in rows]:
        raise ValueError(f"rows must have the columns {missing}.")
    if difference.shape != (len(rows),) or np.isnan(difference).any():
        raise ValueError(
            f"attended and ignored must be one number for each of {len(rows)} rows, and not NaN."
        )
    if min(lengths) < rows["duration"].max() - ROUNDING:
        raise ValueError(
            f"a decision of {min(lengths):g} s cannot hold a window of {rows['duration'].max():g} s: take longer "
            f"decisions, or make_segments(tmin=..., tmax=...) with shorter windows."
        )
    table = rows[["subject", "recording"]].reset_index(drop=True).assign(difference=difference)
    onset = rows["onset"].reset_index(drop=True)
    since = onset - onset.groupby([table["subject"], table["recording"]]).transform("min")
    out = []
    for length in lengths:
        index = np.floor((since + ROUNDING) / length)
        inside = since + rows["duration"].to_numpy() <= (index + 1) * length + ROUNDING
        keys = [table["subject"], table["recording"], index.rename("decision")]
        total = table["difference"].where(inside).groupby(keys, sort=False).sum(min_count=1).dropna()
        right = (total > 0).groupby("subject", sort=False).agg(["mean", "size"])
        out.append(
            pd.DataFrame({
                "length": length, "subject": right.index, "accuracy": right["mean"].to_numpy(),
                "n_decisions": right["size"].to_numpy(), "chance": 0.5,
            })
        )  # fmt: skip
    return pd.concat(out, ignore_index=True)


# --- folds -----------------------------------------------------------------------------------------


def _run(estimator, X, y, tasks, n_jobs):
    """Fit and score (train, test, row, changed parameters) in order: a row for each person tested."""
    parts = joblib.Parallel(n_jobs)(joblib.delayed(_scores)(estimator, X, y, *task) for task in tasks)
    return pd.DataFrame([row for part in parts for row in part])


def _scores(estimator, X, y, train, test, row, changed=None):
    """Rows of one fit."""
    estimator = clone(estimator).set_params(**(changed or {}))
    estimator.fit(_safe_indexing(X, train), _safe_indexing(y, train))
    answers = retrieve(estimator, _safe_indexing(X, test), _safe_indexing(y, test))
    counts = answers.rows["subject"].value_counts()
    common = {"n_candidates": answers.n_candidates, "k": answers.k, "chance": answers.chance}
    return [
        {**row, "subject": subject, "n_windows": int(counts[subject]), **common, **scores}
        for subject, scores in answers.by_subject().to_dict("index").items()
    ]

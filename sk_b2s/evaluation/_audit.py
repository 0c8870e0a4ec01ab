"""Scores of similarities that were computed elsewhere."""

from __future__ import annotations

import warnings
from numbers import Integral

import numpy as np
import pandas as pd

from sk_b2s.decoding._candidates import find_distinct_segments
from sk_b2s.decoding._retrieval_result import RetrievalResult
from sk_b2s.evaluation._controls._registry import LEAK_TESTS
from sk_b2s.evaluation._controls._run import outcome_of
from sk_b2s.evaluation._results._lines import outcome_to_dict
from sk_b2s.evaluation._results._plan import AUDIT, read_plan
from sk_b2s.evaluation._results._table import table_of_lines
from sk_b2s.evaluation._scores import score_rows
from sk_b2s.metrics._ranking import check_scores


def score_similarities(
    similarity, table, candidates=None, controls=None, k=10, n_candidates=50, n_shifts=1000, random_state=0,
    name="similarity",
):  # fmt: skip
    """Score anybody's similarities as :func:`~sk_b2s.benchmark` scores a decoder's: same table, null, verdict.

    Parameters
    ----------
    similarity : array-like of shape (n_windows, n_candidates)
        Higher is more similar.
    table : DataFrame of shape (n_windows, ...)
        Of each window ``segment``, the identity of what was heard, or ``target``, its column in ``similarity``.
        ``subject`` and ``recording`` where there are several (recordings of two people are two, however they
        are named; without names each person has one); ``onset`` and ``duration`` in the recording (s), without
        which there is no null; ``condition`` and ``study`` where known.
    candidates : DataFrame of shape (n_candidates, ...), default=None
        What the columns are: ``segment``, and ``sound, sound_onset`` (s) and ``word`` for the questions that
        need them. None are the distinct segments of ``table`` in order of first appearance.
    controls : dict of str to array-like of shape (n_windows, n_candidates), default=None
        Similarities from the same training on what cannot be decoded: "phase_randomized", "white_noise", "shifted
        pairing". If one is not at chance, there is a leak. They cannot be made from ``similarity``.
    k : int, default=10
        Null and verdict are those of top-k.
    n_candidates : int or None, default=50
        Size of the pools beside all; left out where there are fewer candidates.
    n_shifts : int, default=1000
        Shifts of which the null is made.
    random_state : int, default=0
        Draws the shifts.
    name : str, default="similarity"
        Stands in the column ``estimator``.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        As :func:`~sk_b2s.benchmark` returns, of one fold; what it cannot know is NaN.

    Raises
    ------
    ValueError
        If the tables do not fit the similarities, a score, subject, recording or time is missing, or there are no
        more candidates than ``k``.

    See Also
    --------
    summarize : Means over subjects.

    Notes
    -----
    The null and the controls are made of similarities and do not see how these came about. A choice of epoch, seed,
    parameter or estimator by the test is not seen: the best of 60 decoders of noise is above its null. Neither is state
    that an estimator of one's own keeps from fold to fold, nor preprocessing that was fitted on test windows before
    the folds were made.

    Examples
    --------
    >>> table = pd.DataFrame({"segment": np.arange(60), "onset": 3.0 * np.arange(60), "duration": 3.0})
    >>> results = score_similarities(np.eye(60), table)
    >>> results[["pool", "n_candidates", "chance", "top_10", "verdict"]]
      pool  n_candidates    chance  top_10     verdict
    0  all            60  0.166667     1.0  above_null
    1   50            50  0.200000     1.0  above_null
    """
    if wrong := [control for control in controls or {} if control not in LEAK_TESTS]:
        raise ValueError(f"controls: {wrong[0]!r} is none of {list(LEAK_TESTS)}.")
    for parameter, value, least in (("k", k, 1), ("n_shifts", n_shifts, 0)):
        if isinstance(value, bool) or not (isinstance(value, Integral) and value >= least):
            raise ValueError(f"{parameter} must be an integer of {least} or more, got {value!r}.")
    if controls and (missing := [column for column in ("onset", "duration") if column not in table]):
        raise ValueError(f"controls need to know when the windows were, but table lacks {missing} (s).")
    lines = []
    _warn_of_ties(similarity)
    for control, scores in {"decoder": similarity, **(controls or {})}.items():
        answers = _answers_of(np.asarray(scores), table, candidates, k)
        leaky = control in LEAK_TESTS
        lines.append({
            "common": {"estimator": name, "seed": random_state, "fold": 0, "control": control},
            "rows": score_rows(answers, n_candidates, n_shifts, random_state),
            "outcome": outcome_to_dict(outcome_of([answers], n_shifts, random_state)) if leaky else None,
            "about": {}, "cost": {}, "error": "", "key": "", "plan": read_plan(AUDIT), "made": {},
        })  # fmt: skip
    return table_of_lines(lines)


def _warn_of_ties(similarity):
    """Warn of windows whose similarities are all equal, which say nothing of what was heard."""
    scores = np.asarray(similarity)
    if scores.ndim != 2 or scores.shape[1] < 2:
        return
    if n := int((scores == scores[:, :1]).all(1).sum()):
        warnings.warn(
            f"in {n} of {len(scores)} rows of similarity all candidates are equally similar: ties count against the "
            f"decoder, so these windows are wrong answers. Look for windows, sounds or estimates that are constant.",
            stacklevel=3,
        )


def _answers_of(scores, table, candidates, k):
    """Make answers of similarities and tables, or say why they do not fit."""
    if scores.ndim != 2 or len(table) != len(scores):
        raise ValueError(
            f"similarity must be (n_windows, n_candidates) with a row for each of table's {len(table)}; got shape "
            f"{scores.shape}."
        )
    if not len(scores):
        raise ValueError(
            "similarity and table have no rows, so there is nothing to score; give one window at least."
        )
    if not {"segment", "target"} & set(table):
        raise ValueError(
            f"table must say what was heard in the column 'segment' (an identity) or 'target' (a column of "
            f"similarity); it has {list(table.columns)[:8]}."
        )
    if candidates is None:
        known = "segment" in table and "target" not in table
        first = find_distinct_segments(table).first if known else None
        candidates = table.iloc[first] if known else pd.DataFrame(index=range(scores.shape[1]))
    candidates = candidates.reset_index(drop=True)
    if len(candidates) != scores.shape[1]:
        raise ValueError(
            f"similarity has {scores.shape[1]} columns, but there are {len(candidates)} candidates; give candidates=, "
            f"a table of one row for each column, in their order."
        )
    if "target" in table:
        target = _whole(table["target"])
    else:
        target = _columns_of(table["segment"], candidates)
    check_scores(scores, target)
    if scores.shape[1] <= k:
        raise ValueError(f"there are {scores.shape[1]} candidates, no more than k={k}; use a smaller k.")
    return RetrievalResult(scores, target, candidates, _named(table), k)


def _whole(column):
    """Columns of similarity as integers, or raise a ValueError that names the first row without one."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(float)
    if lost := np.flatnonzero(~np.isfinite(numbers) | (numbers % 1 != 0)).tolist():
        raise ValueError(
            f"table row {column.index.tolist()[lost[0]]!r}, column 'target': expected the number of a column of "
            f"similarity, got {column.tolist()[lost[0]]!r} ({len(lost)} such rows). Correct these rows, or leave them "
            f"out of table and similarity."
        )
    return numbers.astype(np.int64)


def _named(table):
    """Table whose windows all have a subject and a recording."""
    for column in ("subject", "recording", "onset", "duration"):
        if column in table and (lost := table.index[table[column].isna()].tolist()):
            raise ValueError(
                f"table row {lost[0]!r} has no {column} ({len(lost)} such rows): fill it in, or leave the rows out of "
                f"table and similarity."
            )
    unnamed = {column: "" for column in ("subject", "recording") if column not in table}
    return table.assign(**unnamed).reset_index(drop=True)


def _columns_of(segment, candidates):
    """Column of each window's segment."""
    names = pd.Index(candidates["segment"])
    if not names.is_unique:
        raise ValueError(
            f"candidates: segment {names[names.duplicated()][0]!r} stands in several columns, so none is the right "
            f"one; keep one of each."
        )
    target = names.get_indexer(segment)
    if (target < 0).any():
        row = int(np.flatnonzero(target < 0)[0])
        raise ValueError(
            f"table row {segment.index.tolist()[row]!r}: its segment {segment.tolist()[row]!r} is no candidate "
            f"({np.count_nonzero(target < 0)} such rows)."
        )
    return target

"""Scores of similarities that were computed elsewhere."""

from __future__ import annotations

import warnings
from numbers import Integral

import numpy as np
import pandas as pd

from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.evaluation._controls._registry import CONTROLS, LEAK_TESTS, find_control
from sk_b2s.evaluation._controls._run import run_control_outcome
from sk_b2s.evaluation._controls._timing import add_timing_loudness, has_timing_of_rows, rank_by_timing
from sk_b2s.evaluation._results._details import describe_rank_details
from sk_b2s.evaluation._results._lines import format_result_line_outcome
from sk_b2s.evaluation._results._plan import AUDIT, read_plan
from sk_b2s.evaluation._results._table import make_results_table
from sk_b2s.evaluation._scores import compute_all_scores
from sk_b2s.metrics._ranks_and_top_k import check_rank_scores


def score_similarities(
    similarity, table, candidates=None, controls=None, k=10, n_candidates=50, n_shifts=1000, random_state=0,
    name="similarity",
):  # fmt: skip
    """Score a precomputed similarity matrix like :func:`~sk_b2s.benchmark`.

    Parameters
    ----------
    similarity : array-like of shape (n_windows, n_candidates)
        Higher is more similar.
    table : DataFrame of shape (n_windows, ...)
        One row per window with ``segment``, the identity of its target, or
        ``target``, the column of its target in ``similarity``. ``subject`` and
        ``recording`` if there are several. Recordings of two subjects are
        different even if they have the same name, and without names each
        subject has one. ``onset`` and ``duration`` (s) in the recording are
        needed for a null. ``condition`` and ``study`` if known. ``word``,
        ``word_duration`` (s), ``loudness`` (dB), ``sequence`` and
        ``word_index`` if known, for scores of timing.
    candidates : DataFrame of shape (n_candidates, ...), default=None
        One row per column of ``similarity``: ``segment``, and ``sound,
        sound_onset`` (s) and ``word`` for the scores that need them. If None,
        the distinct segments of ``table`` in order of first appearance.
    controls : dict of str to array-like, default=None
        Similarities of shape (n_windows, n_candidates) of the same decoder,
        trained on data that cannot be decoded: "phase_randomized",
        "white_noise", "shifted_labels", see :func:`~sk_b2s.run_controls`. If
        one is above chance, there is a leak.
    k : int, default=10
        Number of guesses of ``top_k``, its null and its verdict.
    n_candidates : int or None, default=50
        Size of the candidate pools, which are omitted if there are fewer
        candidates.
    n_shifts : int, default=1000
        Number of circular shifts of the null.
    random_state : int, default=0
        Draws the shifts.
    name : str, default="similarity"
        Value of the column ``estimator``.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        As :func:`~sk_b2s.benchmark` returns, of one fold. Unknown values are
        NaN. If ``table`` has ``onset``, ``duration`` and words, or windows of
        unequal duration, there is a row of the control "timing_only", in which
        each fifth of the windows is predicted from the other four fifths.

    Raises
    ------
    ValueError
        If the tables do not match the similarities, a score, subject,
        recording or time is missing, or there are no more than ``k``
        candidates.

    See Also
    --------
    summarize : Means over subjects.

    Notes
    -----
    Nulls and controls are computed from similarities. They do not detect the
    choice of an epoch, seed, parameter or estimator on the test data: the best
    of 60 decoders of noise is above its null. They do not detect state that a
    custom estimator keeps between folds, or preprocessing that was fitted on
    test windows before the folds were made.

    Examples
    --------
    >>> table = pd.DataFrame({"segment": np.arange(60), "duration": 3.0})
    >>> table["onset"] = 3.0 * np.arange(60)
    >>> results = score_similarities(np.eye(60), table)
    >>> results[["pool", "n_candidates", "chance", "top_10", "verdict"]]
      pool  n_candidates    chance  top_10     verdict
    0  all            60  0.166667     1.0  above_null
    1   50            50  0.200000     1.0  above_null
    """
    for control in controls or {}:
        if control not in LEAK_TESTS:
            find_control(control)
            raise ValueError(f"controls: {control!r} is not one of {list(LEAK_TESTS)}.")
    for parameter, value, lowest in (("k", k, 1), ("n_shifts", n_shifts, 0)):
        if isinstance(value, bool) or not (isinstance(value, Integral) and value >= lowest):
            raise ValueError(f"{parameter} must be an integer of at least {lowest}. Got {value!r}.")
    if controls and (missing := [column for column in ("onset", "duration") if column not in table]):
        raise ValueError(
            f"controls need the times of the windows, but table lacks the columns {missing} (s)."
        )
    lines = []
    _warn_of_ties(similarity)
    given = {"decoder": similarity, **(controls or {})}
    timing = _rank_similarities_by_timing(
        _make_result_of_similarities(np.asarray(similarity), table, candidates, k), random_state
    )
    for control, scores in (given if timing is None else given | {"timing_only": timing}).items():
        result = _make_result_of_similarities(np.asarray(scores), table, candidates, k)
        is_leak_test = control in LEAK_TESTS
        lines.append({
            "common": {"estimator": name, "seed": random_state, "fold": 0, "control": control},
            "rows": compute_all_scores(result, n_candidates, n_shifts, random_state),
            "outcome": _format_outcome(result, control, n_shifts, random_state) if is_leak_test else None,
            "about": {}, "cost": {}, "error": "", "key": "", "plan": read_plan(AUDIT), "made": {},
            "details": {"ranks": describe_rank_details(result)},
        })  # fmt: skip
    return make_results_table(lines)


def _format_outcome(result, control, n_shifts, random_state):
    """Return the outcome of a leak test as plain data."""
    is_permuted = CONTROLS[control].is_permuted
    return format_result_line_outcome(
        run_control_outcome([result], n_shifts, random_state, is_permuted=is_permuted)
    )


def _rank_similarities_by_timing(result, random_state):
    """Return similarities of timing alone, None if times are unknown."""
    if not has_timing_of_rows(result.rows):
        return None
    return rank_by_timing(result.rows, result.target, result.candidates, random_state=random_state)


def _warn_of_ties(similarity):
    """Warn of windows whose similarities are all equal."""
    scores = np.asarray(similarity)
    if scores.ndim != 2 or scores.shape[1] < 2:
        return
    if n := int((scores == scores[:, :1]).all(1).sum()):
        warnings.warn(
            f"All candidates have the same similarity in {n} of {len(scores)} rows. Ties count against the decoder, so "
            f"these windows are wrong. Check for constant windows, stimuli or estimates.",
            stacklevel=3,
        )


def _make_result_of_similarities(scores, table, candidates, k):
    """Make a RetrievalResult, or raise if the tables do not match."""
    if scores.ndim != 2 or len(table) != len(scores):
        raise ValueError(
            f"similarity must have shape (n_windows, n_candidates) with one row for each of the {len(table)} rows of "
            f"table. Got shape {scores.shape}."
        )
    if not len(scores):
        raise ValueError("similarity and table have no rows. Pass at least one window.")
    if not {"segment", "target"} & set(table):
        raise ValueError(
            f"table must have the column 'segment' (identity of the target) or 'target' (its column in similarity). It "
            f"has {list(table.columns)[:8]}."
        )
    if candidates is None:
        has_names = "segment" in table and "target" not in table
        first = find_distinct_candidates(table).first if has_names else None
        candidates = table.iloc[first] if has_names else pd.DataFrame(index=range(scores.shape[1]))
    candidates = candidates.reset_index(drop=True)
    if len(candidates) != scores.shape[1]:
        raise ValueError(
            f"similarity has {scores.shape[1]} columns, but there are {len(candidates)} candidates. Pass candidates, a "
            f"table with one row per column in the same order."
        )
    if "target" in table:
        target = _check_similarity_targets(table["target"])
    else:
        target = _find_similarity_targets(table["segment"], candidates)
    check_rank_scores(scores, target)
    if scores.shape[1] <= k:
        raise ValueError(
            f"There are {scores.shape[1]} candidates, which is not more than k={k}. Use a smaller k."
        )
    rows = _check_similarity_rows(table)
    rows = add_timing_loudness(rows) if has_timing_of_rows(rows) else rows
    if "word" in rows and "word" not in candidates:
        names = pd.Series(rows["word"].to_numpy(object), index=target)
        candidates = candidates.assign(word=names[~names.index.duplicated()].reindex(range(len(candidates))))
    return RetrievalResult(scores, target, candidates, rows, k)


def _check_similarity_targets(column):
    """Return columns of similarity as integers, or raise for invalid rows."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(float)
    if invalid := np.flatnonzero(~np.isfinite(numbers) | (numbers % 1 != 0)).tolist():
        raise ValueError(
            f"table row {column.index.tolist()[invalid[0]]!r}, column 'target': expected the number of a column of "
            f"similarity, got {column.tolist()[invalid[0]]!r} ({len(invalid)} such rows). Correct these rows, or remove "
            f"them from table and similarity."
        )
    return numbers.astype(np.int64)


def _check_similarity_rows(table):
    """Return a table in which all windows have a subject and a recording."""
    for column in ("subject", "recording", "onset", "duration"):
        if column in table and (invalid := table.index[table[column].isna()].tolist()):
            raise ValueError(
                f"table row {invalid[0]!r} has no {column} ({len(invalid)} such rows). Fill it in, or remove the rows "
                f"from table and similarity."
            )
    unnamed = {column: "" for column in ("subject", "recording") if column not in table}
    return table.assign(**unnamed).reset_index(drop=True)


def _find_similarity_targets(segment, candidates):
    """Return the column of the segment of each window."""
    names = pd.Index(candidates["segment"])
    if not names.is_unique:
        raise ValueError(
            f"candidates: segment {names[names.duplicated()][0]!r} has several columns, so the target is ambiguous. "
            f"Keep one of each."
        )
    target = names.get_indexer(segment)
    if (target < 0).any():
        row = int(np.flatnonzero(target < 0)[0])
        raise ValueError(
            f"table row {segment.index.tolist()[row]!r}: its segment {segment.tolist()[row]!r} is not a candidate "
            f"({np.count_nonzero(target < 0)} such rows). Add it to candidates and similarity, or remove the rows."
        )
    return target

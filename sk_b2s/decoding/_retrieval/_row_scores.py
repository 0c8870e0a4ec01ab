"""Similarities of windows with their own candidates, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.decoding._retrieval._row_candidates import RowCandidateSets, find_row_candidates_sharing_stimulus

GROUP = 128  # consecutive windows of a recording that are compared together


class RowScores(NamedTuple):
    """Similarities of windows with their own candidates.

    Attributes
    ----------
    sets : RowCandidateSets
    scores : ndarray of shape (n_kept, n_candidates)
    null_ranks : ndarray of int16 of shape (n_kept, n_places)
        Rank of the target of the window some places later in the group, among
        its candidates. -1 if both windows share a part of the stimulus.
    group : ndarray of int of shape (n_kept,)
        Stretch of a recording.
    """

    sets: RowCandidateSets
    scores: np.ndarray
    null_ranks: np.ndarray
    group: np.ndarray


def compute_row_scores(score, sets, found, rows, line):
    """Compute similarities with the candidates of each row, and their null.

    Up to ``GROUP`` consecutive windows of a recording are compared with all of
    their candidates at once, so that memory and time are linear in the number
    of windows.

    Parameters
    ----------
    score : callable
        ``score(rows, columns)`` returns the similarities of some rows with
        some distinct segments.
    sets : RowCandidateSets
    found : Candidates
        Distinct segments of y.
    rows : DataFrame of shape (n_rows, ...)
        Joined table of X and y.
    line : None or tuple
        Stimulus, start and stop of each row.

    Returns
    -------
    row_scores : RowScores
    """
    n_kept, n_candidates = sets.columns.shape
    scores = np.empty((n_kept, n_candidates), np.float32)
    null_ranks = np.full((n_kept, min(GROUP, n_kept)), -1, np.int16)
    group = np.empty(n_kept, np.int64)
    table = rows.iloc[sets.kept]
    for code, own in enumerate(_iter_row_groups(table)):
        union, place = np.unique(sets.columns[own], return_inverse=True)
        place = place.reshape(len(own), n_candidates)
        found_scores = score(sets.kept[own], union)
        scores[own] = np.take_along_axis(found_scores, place, axis=1)
        group[own] = code
        null_ranks[own, : len(own)] = _rank_other_row_candidates(
            found_scores,
            place,
            sets.target[own],
            _find_possible_row_candidates(sets, own, found, table, line),
        )
    return RowScores(sets, scores, null_ranks, group)


def _iter_row_groups(table):
    """Yield the rows of consecutive windows of a recording."""
    recording = get_validated_recordings(table)
    onset = table["onset"].to_numpy(float) if "onset" in table else np.zeros(len(table))
    order = np.lexsort([np.arange(len(table)), onset])
    _, codes = np.unique(recording[order].astype(str), return_inverse=True)
    for code in range(codes.max() + 1):
        own = order[codes == code]
        yield from np.array_split(own, -(-len(own) // GROUP))


def _find_possible_row_candidates(sets, own, found, table, line):
    """Return which windows share nothing with the candidates of others.

    Array of shape (n_own, n_own), row i and candidates of row j.
    """
    columns = sets.columns[own]
    segment = columns[np.arange(len(own)), sets.target[own]]
    shared = (segment[:, None, None] == columns).any(2)
    if line is not None:
        first = found.first[columns]
        for place in range(columns.shape[1]):
            shared |= find_row_candidates_sharing_stimulus(line, sets.kept[own][:, None], first[:, place])
    if {"onset", "duration"} <= set(table):
        start = table["onset"].to_numpy(float)[own]
        stop = start + table["duration"].to_numpy(float)[own]
        shared |= (start[:, None] < stop) & (start < stop[:, None])
    else:
        shared[:] = True  # neighbors in time are unknown
    return ~shared


def _rank_other_row_candidates(scores, place, target, possible):
    """Rank targets of other windows among their candidates, -1 if impossible.

    Array of shape (n_own, n_own), row i and the window s places later.
    """
    n = len(scores)
    later = (np.arange(n)[:, None] + np.arange(n)) % n
    out = np.empty((n, n), np.int16)
    for row in range(n):
        among = scores[row][place[later[row]]]  # (n_own, n_candidates)
        own = np.take_along_axis(among, target[later[row]][:, None], axis=1)
        out[row] = (among >= own).sum(1) - 1
    out[~possible[np.arange(n)[:, None], later]] = -1
    return out

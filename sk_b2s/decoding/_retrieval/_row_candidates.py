"""Candidates of each window, such as impostors of match-mismatch."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import pandas as pd

from sk_b2s._utils._chunks import slice_rows_into_chunks
from sk_b2s._utils._text import make_suggestion_text
from sk_b2s._utils._validation import get_validated_recordings, validate_table
from sk_b2s.events._stimuli import digest_stimuli
from sk_b2s.preprocessing._overlap_line import NEEDED, make_overlap_line_of_windows

RULES = ("random", "balanced", "next")
SLACK = 1.0  # s by which a neighbor may begin later than ``gap``, since words are not on a grid
TINY = 1e-6  # s, rounding of times
CHUNK = 512  # rows whose candidates are drawn at a time


@dataclass(frozen=True)
class RowCandidates:
    """Rule for a few candidates of each window among the test segments.

    Pass it as ``candidates_per_row`` to :func:`~sk_b2s.retrieve`,
    :func:`~sk_b2s.benchmark` and others. A number n means
    ``RowCandidates(n)``. Candidates are always segments of other test
    windows, so that no decoder was trained on the candidates only.

    Parameters
    ----------
    n_candidates : int, default=2
        Number of candidates of each window, its target included.
    rule : {"random", "balanced", "next"}, default="random"
        "random" draws the other candidates of each window. "balanced" gives
        the same candidates to ``n_candidates`` windows, each of which begins
        ``gap`` after the end of the one before. Every candidate is then the
        target of exactly one of them. "next" takes the segments that follow
        each window by ``gap``, so that the target is always the earliest.
    within : str or None, default="recording"
        Column of the table of windows. Candidates come from windows of the
        same subject with the same value. If None, all test windows are used.
        Tables without the column count as one recording.
    gap : float, default=1.0
        Seconds between two candidates of a window: at least this for
        "random", this up to one second more for the other rules.
    match : str or sequence of str, default=()
        Columns that must be equal for all candidates of a window, for example
        "duration" for sentences of unequal length.
    random_state : int, default=0
        Draws the candidates.

    Notes
    -----
    Windows without enough candidates, such as those at the end of a recording,
    are left out and counted in ``n_left_out`` of the result.

    With rule "next", a decoder that prefers later segments, whatever the
    EEG/MEG contains, is always wrong, and one that prefers earlier segments is
    always right. The null of the result has the same preference and shows it.
    With rule "balanced" each preference is right exactly once per set, so that
    its score is the chance level.

    ``RowCandidates(2, "balanced")`` with windows of 3 s every second has the
    candidates of the match-mismatch task of the auditory EEG challenge of 2023
    [1]_, where the impostor begins one second after the end of the target or
    ends one second before its start. ``RowCandidates(5, "random", gap=0)``
    with windows of 5 s has those of 2024 [2]_, four segments of the same
    story.

    References
    ----------
    .. [1] https://exporl.github.io/auditory-eeg-challenge-2023
    .. [2] https://exporl.github.io/auditory-eeg-challenge-2024

    Examples
    --------
    >>> RowCandidates(5, "balanced").n_candidates
    5
    """

    n_candidates: int = 2
    rule: str = "random"
    within: str | None = "recording"
    gap: float = 1.0
    match: str | tuple = ()
    random_state: int = 0

    def __post_init__(self):
        if isinstance(self.n_candidates, bool) or not (
            isinstance(self.n_candidates, Integral) and self.n_candidates >= 2
        ):
            raise ValueError(f"n_candidates must be an integer of at least 2. Got {self.n_candidates!r}.")
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {list(RULES)}. Got {self.rule!r}.")
        if isinstance(self.gap, bool) or not (isinstance(self.gap, Real) and 0 <= self.gap < np.inf):
            raise ValueError(f"gap must be a number of seconds of at least 0. Got {self.gap!r}.")
        if not (self.within is None or isinstance(self.within, str)):
            raise ValueError(f"within must be the name of a column, or None. Got {self.within!r}.")
        if isinstance(self.random_state, bool) or not (
            isinstance(self.random_state, Integral) and self.random_state >= 0
        ):
            raise ValueError(f"random_state must be an integer of at least 0. Got {self.random_state!r}.")
        names = (self.match,) if isinstance(self.match, str) else self.match
        if not (isinstance(names, (tuple, list)) and all(isinstance(name, str) for name in names)):
            raise ValueError(
                f"match must be a name or a sequence of names of columns, () for none. Got {self.match!r}."
            )
        if not isinstance(self.match, str):
            object.__setattr__(self, "match", tuple(self.match))  # lists of saved settings


class RowCandidateSets(NamedTuple):
    """Candidates of the windows that have them.

    Attributes
    ----------
    kept : ndarray of int of shape (n_kept,)
        Rows with candidates.
    columns : ndarray of int of shape (n_kept, n_candidates)
        Distinct segments, ascending, so that the place of the target is
        unrelated to the rule.
    target : ndarray of int of shape (n_kept,)
        Place of the target in ``columns``.
    is_balanced : bool
        Whether each candidate of a set is the target of one of its windows.
    """

    kept: np.ndarray
    columns: np.ndarray
    target: np.ndarray
    is_balanced: bool


def make_row_candidate_sets(candidates_per_row, found, rows, line):
    """Return the candidates of each row: RowCandidateSets.

    Parameters
    ----------
    candidates_per_row : int, RowCandidates or array-like of int
        An array of shape (n_rows, n_candidates) contains rows of y.
    found : Candidates
        Distinct segments of y.
    rows : DataFrame of shape (n_rows, ...)
        Joined table of X and y.
    line : None or tuple of three ndarrays of shape (n_rows,)
        Stimulus, start and stop (s) of each row.
    """
    if _is_pool_size(candidates_per_row):
        candidates_per_row = RowCandidates(int(candidates_per_row))
    if isinstance(candidates_per_row, RowCandidates):
        columns = _draw_columns(candidates_per_row, found.target, rows, line)
    else:
        columns = _check_given_row_candidates(candidates_per_row, found.target)
    kept = np.flatnonzero((columns >= 0).all(1))
    if not len(kept):
        rule = candidates_per_row if isinstance(candidates_per_row, RowCandidates) else "candidates_per_row"
        raise ValueError(
            f"No window has {columns.shape[1]} candidates by {rule}. Use fewer candidates, a smaller gap, windows on a "
            f"grid (make_segments(anchor=1.0)) or more test windows of each recording."
        )
    columns = np.sort(columns[kept], axis=1)
    if (again := (np.diff(columns, axis=1) == 0).any(1)).any():
        row = kept[again][0]
        raise ValueError(
            f"candidates_per_row, row {row}: a segment is a candidate twice ({again.sum()} such rows). Use rows of "
            f"distinct segments."
        )
    is_target = columns == found.target[kept, None]
    is_balanced = getattr(candidates_per_row, "rule", None) == "balanced"
    return RowCandidateSets(kept, columns, is_target.argmax(1), is_balanced)


def _is_pool_size(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_row_candidate_number(candidates_per_row):
    """Return a rule for all folds, None for all segments."""
    if candidates_per_row is None or isinstance(candidates_per_row, RowCandidates):
        return candidates_per_row
    if not _is_pool_size(candidates_per_row):
        raise ValueError(
            f"candidates_per_row must be a number of candidates or RowCandidates, because test windows differ between "
            f"folds. Got {type(candidates_per_row).__name__}. Lists of rows are accepted by retrieve."
        )
    return RowCandidates(int(candidates_per_row))


def check_row_candidate_columns(rule, rows):
    """Raise a ValueError if rows lack a column of a rule.

    Parameters
    ----------
    rule : None or RowCandidates
    rows : DataFrame of shape (n_rows, ...)
        Joined table of X and y.
    """
    if rule is None:
        return
    known = list(map(str, rows))
    match = (rule.match,) if isinstance(rule.match, str) else rule.match
    if missing := [column for column in match if column not in rows]:
        raise ValueError(
            f"RowCandidates(match={rule.match!r}): X and y have no columns {missing}{make_suggestion_text(missing[0], known)}. "
            f"They have {known[:12]}."
        )
    if rule.within not in (None, "recording") and rule.within not in rows:
        raise ValueError(
            f"RowCandidates(within={rule.within!r}): X and y have no such column"
            f"{make_suggestion_text(rule.within, ['recording', *known])}. They have {known[:12]}."
        )


def describe_row_candidates(rule):
    """Describe the candidates of a rule as a noun phrase.

    Examples
    --------
    >>> describe_row_candidates(RowCandidates(5, gap=0))
    'the target and 4 random segments of the same recording'
    """
    n_others = rule.n_candidates - 1
    noun = "segment" + "s" * (n_others > 1)
    where = "of all test windows" if rule.within is None else f"of the same {rule.within}"
    if rule.rule == "random":
        others = f"{n_others} random {noun} {where}"
        others += f", at least {rule.gap:g} s away" if rule.gap else ""
    elif rule.rule == "next":
        others = f"the {n_others} {noun} {where} after it, at a distance of {rule.gap:g} s"
    else:
        others = (
            f"{n_others} {noun} {where} at a distance of {rule.gap:g} s, where each candidate is the "
            f"target of one window"
        )
    match = (rule.match,) if isinstance(rule.match, str) else rule.match
    return f"the target and {others}" + (f", with equal {', '.join(match)}" if match else "")


def warn_of_unequal_row_candidates(y, rows=None, stacklevel=4):
    """Warn if candidates of a window have unequal lengths.

    ``rows`` are the rows of y of each window's candidates. If None, all are
    candidates.
    """
    table = validate_table(y)
    if table is None or "padded_duration" not in table:
        return
    lengths = table["duration"].to_numpy(float)
    lengths = lengths[None] if rows is None else lengths[rows]
    if n_unequal := int((np.ptp(lengths, axis=1) > TINY).sum()):
        n_windows = f"{n_unequal} of {len(lengths)} windows" if rows is not None else "all windows"
        warnings.warn(
            f"Candidates of unequal length: those of {n_windows} last {lengths.min():g} to {lengths.max():g} s. The length "
            f"of a window reveals its target, so that noise is decoded as well. Use "
            f"candidates_per_row=RowCandidates(n, match='duration'), or windows of equal length "
            f"(make_segments(anchor='sentence', tmax=2.0)).",
            stacklevel=stacklevel,
        )


def locate_row_candidate_stimuli(y, table):
    """Return stimulus, start and stop (s) of each row, None if unknown."""
    if table is not None and set(NEEDED) <= set(table):
        start = table["sound_onset"].to_numpy(float)
        try:
            code = pd.factorize(digest_stimuli(table["sound"]))[0]
        except FileNotFoundError:  # features of audio files that are not on this computer
            code = pd.factorize(table["sound"].astype(str))[0]
        return code, start, start + table["duration"].to_numpy(float)
    if make_overlap_line_of_windows(y) is None:
        return None
    start = y.start / (y.sfreq or 1.0)
    return y.which, start, start + y.n_read / (y.sfreq or 1.0)


def _check_given_row_candidates(given, target):
    """Return the distinct segments of given rows of y, -1 if left out."""
    try:
        given = np.asarray(given)
    except ValueError:  # ragged
        given = np.empty(0)
    if given.ndim != 2 or len(given) != len(target) or given.shape[1] < 2 or given.dtype.kind not in "iu":
        raise ValueError(
            f"candidates_per_row must be a number of candidates, RowCandidates, or integers of shape (n_windows, "
            f"n_candidates) with rows of y and one row for each of the {len(target)} windows. Got "
            f"{getattr(given, 'dtype', None)} of shape {given.shape}. Rows of -1 leave a window out."
        )
    if given.max() >= len(target) or given.min() < -1:
        raise ValueError(
            f"candidates_per_row must contain rows of y, 0 to {len(target) - 1}, or -1 to leave a window out. Got "
            f"{given.min()} to {given.max()}."
        )
    columns = np.where(given < 0, -1, target[given])
    lacking = (columns >= 0).all(1) & ~(columns == target[:, None]).any(1)
    if lacking.any():
        raise ValueError(
            f"candidates_per_row, row {np.flatnonzero(lacking)[0]}: its own segment is not a candidate "
            f"({lacking.sum()} such rows). Add the row itself to its candidates."
        )
    return columns


# --- rules -------------------------------------------------------------------------------------------


def _draw_columns(spec, target, rows, line):
    """Return (n_rows, n_candidates) distinct segments, -1 if too few."""
    columns = np.full((len(target), spec.n_candidates), -1)
    start, stop = _times_of_rows(spec, rows, line)
    random = np.random.default_rng(spec.random_state)
    for own in _iter_row_pools(spec, rows):
        own = own[np.argsort(start[own], kind="stable")] if start is not None else own
        if spec.rule == "random":
            _draw_random_row_candidates(columns, own, spec, target, start, stop, line, random)
        else:
            _draw_chains(columns, own, spec, target, start, stop, line)
    return columns


def _times_of_rows(spec, rows, line):
    """Return start and stop of each row in its recording or stimulus (s)."""
    if {"onset", "duration"} <= set(rows):
        start = rows["onset"].to_numpy(float)
        return start, start + rows["duration"].to_numpy(float)
    if line is not None:
        return line[1], line[2]
    if spec.rule != "random":
        raise ValueError(
            f"RowCandidates(rule={spec.rule!r}) needs the times of windows, but X and y have no columns 'onset' and "
            f"'duration'. Pass tables of make_segments or Windows with these columns in rows, or rule='random'."
        )
    return None, None


def _iter_row_pools(spec, rows):
    """Yield the rows that share candidates."""
    match = (spec.match,) if isinstance(spec.match, str) else spec.match
    check_row_candidate_columns(spec, rows)
    keys = [rows[column].to_numpy() for column in match]
    if spec.within == "recording":
        keys.append(get_validated_recordings(rows))
    elif spec.within is not None:
        keys += [rows["subject"].astype(str).to_numpy(), rows[spec.within].to_numpy()]
    if not keys:
        yield np.arange(len(rows))
        return
    yield from pd.DataFrame(dict(enumerate(keys))).groupby(list(range(len(keys)))).indices.values()


def find_row_candidates_sharing_stimulus(line, one, others, gap=0.0):
    """Return which rows are less than ``gap`` apart in the stimulus."""
    if line is None:
        return np.zeros(np.broadcast(one, others).shape, bool)
    code, start, stop = line
    near = (start[one] < stop[others] + gap - TINY) & (start[others] < stop[one] + gap - TINY)
    return near & (code[one] == code[others])


def _draw_random_row_candidates(columns, own, spec, target, start, stop, line, random):
    """Draw other segments of a pool for each of its windows.

    A few segments are drawn per window until enough of them are free. All
    segments are compared only for windows that still lack some, so that time
    is linear in the number of windows.
    """
    first = own[np.unique(target[own], return_index=True)[1]]  # a row of each distinct segment
    n_others = spec.n_candidates - 1
    if len(first) <= n_others:
        return
    is_one_recording = spec.within == "recording" and start is not None

    def is_free(mine, drawn):
        free = target[mine] != target[drawn]
        free &= ~find_row_candidates_sharing_stimulus(line, mine, drawn, spec.gap)
        if is_one_recording:
            free &= ~(
                (start[mine] < stop[drawn] + spec.gap - TINY) & (start[drawn] < stop[mine] + spec.gap - TINY)
            )
        return free

    n_draws = 4 * n_others + 12
    for part in slice_rows_into_chunks(len(own), CHUNK):
        mine = own[part]
        places = random.integers(len(first), size=(len(mine), n_draws))
        chosen, enough = _take_distinct(places, is_free(mine[:, None], first[places]), n_others)
        for row in np.flatnonzero(~enough):
            free = np.flatnonzero(is_free(mine[row], first))
            if len(free) >= n_others:
                chosen[row], enough[row] = random.permutation(free)[:n_others], True
        drawn = np.c_[target[mine], target[first][chosen]]
        columns[mine[enough]] = drawn[enough]


def _take_distinct(places, is_free, n):
    """Take the first n distinct free draws of rows, and mark complete rows."""
    order = np.argsort(places, axis=1, kind="stable")
    ordered = np.take_along_axis(places, order, axis=1)
    is_first = np.ones(places.shape, bool)
    np.put_along_axis(is_first, order[:, 1:], ordered[:, 1:] != ordered[:, :-1], axis=1)
    usable = is_first & is_free
    at = np.argsort(~usable, axis=1, kind="stable")[:, :n]
    return np.take_along_axis(places, at, axis=1), usable.sum(1) >= n


def _draw_chains(columns, own, spec, target, start, stop, line):
    """Take windows that follow each other by ``gap``."""
    begin, used = start[own], np.zeros(len(own), bool)
    is_balanced = spec.rule == "balanced"
    for place in range(len(own)):
        if is_balanced and used[place]:
            continue
        chain = [place]
        while len(chain) < spec.n_candidates:
            after = stop[own[chain[-1]]] + spec.gap
            following = np.arange(*np.searchsorted(begin, [after - TINY, after + SLACK - TINY]))
            following = next(
                (
                    other
                    for other in following
                    if not (is_balanced and used[other])
                    and not any(
                        target[own[one]] == target[own[other]]
                        or find_row_candidates_sharing_stimulus(line, own[one], own[other])
                        for one in chain
                    )
                ),
                None,
            )
            if following is None:
                break
            chain.append(following)
        if len(chain) < spec.n_candidates:
            continue
        if is_balanced:
            used[chain] = True
        columns[own[chain] if is_balanced else own[place]] = target[own[chain]]

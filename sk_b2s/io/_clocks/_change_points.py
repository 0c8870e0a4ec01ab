"""Change points in the relation between two clocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import f as f_distribution

MIN_DEVIATION = 0.003  # s, minimum distance of the broken line from the straight one
MAX_MARKS = 300  # more marks are replaced by medians of neighbors
MAX_BREAKS = 4  # maximum number of breaks
FALSE_ALARMS = 1e-3  # rate in straight lines
N_PLACES = 20  # approximate number of independent places of a break
MIN_NOISE = 5e-4  # s, minimum standard deviation of marks
MAX_COST = 0.4  # of one mark, relative to the gain of a term, so that two false marks make no break
N_TRIED = 4  # best places that are fitted robustly
JUMP_PENALTY = 1.5  # relative to a change of rate, because a steep segment looks like a jump
MAX_DISTANCE = 0.06  # s from the line, and 6 times the median distance, of marks that are used
MIN_EXCESS = 3  # minimum number of marks minus unknowns


class ClockChangePoint(NamedTuple):
    """Change in the relation between two clocks.

    Attributes
    ----------
    time : float
        Seconds in the recording.
    kind : "rate" or "jump"
    size : float
        Change of the drift (seconds per second), or of the time (seconds).
    """

    time: float
    kind: str
    size: float


def find_change_points(which, in_sound, in_recording, line, resolution=0.0, overlap=1):
    r"""Find where several marks leave a straight line.

    The model is :math:`r = o_k + (1 + d) s + \sum_i a_i (r - t_i)_+ + \sum_j
    b_j [r > t_j, k = k_j]`: one slope for all stimuli, changes of rate, and
    jumps within a stimulus. Terms are added one by one while the robust sum of
    squares decreases by more than it does in one of a thousand straight lines.
    The noise is estimated from the distance of each mark to the chord through
    its neighbors, so that a break does not increase it.

    Parameters
    ----------
    which : ndarray of int of shape (n_marks,)
        Stimulus of each mark, from 0.
    in_sound, in_recording : ndarray of shape (n_marks,)
        Times in seconds.
    line : ndarray of shape (n_marks,)
        Times in the recording by the straight line.
    resolution : float, default=0.0
        Rounding of times in the recording, in seconds.
    overlap : int, default=1
        Number of successive marks that share data.

    Returns
    -------
    breaks : tuple of ClockChangePoint
        In order of time, empty if the line is straight.
    worst : float
        Largest distance of the broken line from the straight one at the marks,
        in seconds.
    """
    off = np.abs(in_recording - line)
    order = np.lexsort([in_sound, which])
    order = order[off[order] <= max(MAX_DISTANCE, 6 * float(np.median(off)))]
    which, s, r, line = _thin_clock_marks(
        *(values[order] for values in (which, in_sound, in_recording, line))
    )
    n_left = len(s) - len(np.unique(which)) - 1
    base = np.column_stack([which[:, None] == np.unique(which), s])
    noise, dof = _estimate_clock_noise(which, s, r - s, base, overlap) if n_left >= MIN_EXCESS else (0.0, 0)
    if dof < 2:
        return (), 0.0
    noise = max(noise, MIN_NOISE, resolution / np.sqrt(12))
    limit = overlap * f_distribution.isf(FALSE_ALARMS / N_PLACES, 1, dof)
    least = max(MIN_DEVIATION, 1.25 * resolution)  # rounding alone deviates by at most one step
    terms, columns = _list_change_point_candidates(which, r)
    kinds = np.array([kind for _, kind in terms])
    search = _ChangePointSearch(
        base, columns, r - s, noise, limit * np.where(kinds == "jump", JUMP_PENALTY, 1.0)
    )
    rates, jumps = (np.flatnonzero(kinds == kind) for kind in ("rate", "jump"))
    found = [search.extend((), rates), search.extend((), jumps)]
    chosen = search.extend(min(found, key=search.cost), np.arange(len(terms)))
    worst = float(np.abs(search.fit(chosen)[0] + s - line).max())
    if not chosen or worst < least:
        return (), 0.0
    sizes = search.solve(chosen)[-len(chosen) :]
    return tuple(
        sorted(ClockChangePoint(*terms[i], float(size)) for i, size in zip(chosen, sizes, strict=True))
    ), worst


def _thin_clock_marks(which, s, r, line):
    """Replace successive marks of a stimulus by their medians."""
    step = -(-len(s) // MAX_MARKS)
    if step == 1:
        return which, s, r, line
    place = np.arange(len(s)) - np.searchsorted(which, which)  # index in its stimulus
    starts = np.flatnonzero(place % step == 0)
    shift = [np.median(part) for part in np.split(r - s, starts[1:])]
    away = [np.median(part) for part in np.split(line - s, starts[1:])]
    s = np.array([np.median(part) for part in np.split(s, starts[1:])])
    return which[starts], s, s + shift, s + away


def _estimate_clock_noise(which, s, shift, base, overlap):
    """Return the standard deviation of marks, and degrees of freedom."""
    left, middle, right = (np.arange(i, len(s) - 2 * overlap + i) for i in (0, overlap, 2 * overlap))
    same = (which[left] == which[right]) & (s[right] > s[left])
    left, middle, right = left[same], middle[same], right[same]
    if len(left) >= 4:
        a = (s[right] - s[middle]) / (s[right] - s[left])
        off = (shift[middle] - a * shift[left] - (1 - a) * shift[right]) / np.sqrt(1 + a**2 + (1 - a) ** 2)
        return 1.4826 * float(np.median(np.abs(off))), len(off) // 2
    error = shift - base @ np.linalg.lstsq(base, shift, rcond=None)[0]
    step = np.diff(
        error[np.flatnonzero(np.diff(which, append=-1))]
    )  # between the last marks of successive stimuli
    return (1.4826 * float(np.median(np.abs(step))), len(step) // 2) if len(step) >= 4 else (0.0, 0)


def _list_change_point_candidates(which, r):
    """Return the terms (time, kind) of breaks and their columns."""
    terms, columns = [], []
    times = np.sort(r)
    for time in np.unique((times[1:] + times[:-1]) / 2):
        terms.append((float(time), "rate"))
        columns.append(np.maximum(r - time, 0))
    for i in np.flatnonzero(which[1:] == which[:-1]):
        terms.append((float(r[i] + r[i + 1]) / 2, "jump"))
        columns.append((which == which[i]) & (np.arange(len(r)) > i))
    return terms, np.array(columns, float).T


class _ChangePointSearch:
    """Forward search for terms that lower a robust sum of squares."""

    def __init__(self, base, columns, shift, noise, limit):
        self.base, self.columns, self.shift, self.noise, self.limit = base, columns, shift, noise, limit
        self.max_cost = MAX_COST * limit.min()
        self.max_terms = (len(shift) - base.shape[1] - 1) // 2

    def design(self, chosen):
        """Return the columns of the line and of the chosen terms."""
        return np.column_stack([self.base, self.columns[:, list(chosen)]])

    def weights(self, fitted):
        """Return Huber weights with a threshold of one standard deviation."""
        return 1 / np.maximum(np.abs(self.shift - fitted) / self.noise, 1.0)

    def solve(self, chosen):
        """Return coefficients by iteratively reweighted least squares."""
        design, root = self.design(chosen), np.ones(len(self.shift))
        for _ in range(8):
            coef = np.linalg.lstsq(design * root[:, None], self.shift * root, rcond=None)[0]
            root = np.sqrt(self.weights(design @ coef))
        return coef

    def fit(self, chosen):
        """Return fitted values and the bounded sum of squares."""
        fitted = self.design(chosen) @ self.solve(chosen)
        return fitted, float(np.minimum(((self.shift - fitted) / self.noise) ** 2, self.max_cost).sum())

    def cost(self, chosen):
        """Return the criterion that is minimized."""
        return self.fit(chosen)[1] + float(self.limit[list(chosen)].sum())

    def extend(self, chosen, among):
        """Add one or two terms at a time while the criterion decreases."""
        best = self.cost(chosen)
        while len(chosen) < min(MAX_BREAKS, self.max_terms):
            more = [
                (*chosen, *new)
                for new in self.places(chosen, among)
                if len(chosen) + len(new) <= self.max_terms
            ]
            more = min(more, key=self.cost, default=chosen)
            for j in range(len(more) * (len(more) > 1)):
                others = (*more[:j], *more[j + 1 :])
                shifted = [(*others, *new) for new in self.places(others, among, pairs=False)]
                more = min([more, *shifted], key=self.cost)
            if (cost := self.cost(more)) >= best:
                break
            chosen, best = more, cost
        return chosen

    def places(self, chosen, among, pairs=True):
        """Yield the terms, and pairs, that lower the sum of squares most."""
        root = np.sqrt(self.weights(self.fit(chosen)[0]))[:, None]
        basis = np.linalg.qr(self.design(chosen) * root)[0]
        columns = self.columns[:, among] * root
        rest = columns - basis @ (basis.T @ columns)
        error = self.shift * root[:, 0] - basis @ (basis.T @ (self.shift * root[:, 0]))
        size = np.linalg.norm(rest, axis=0)
        rest = np.where(size > 1e-6 * np.linalg.norm(columns, axis=0), rest / np.maximum(size, 1e-300), 0.0)
        along = error @ rest
        for i in np.argsort(along**2)[-N_TRIED:]:
            yield (int(among[i]),)
        if pairs and len(among) > 1:
            similarity = rest.T @ rest
            gain = along[:, None] ** 2 + along**2 - 2 * along[:, None] * along * similarity
            gain = np.where(np.abs(similarity) < 0.999, gain / np.maximum(1 - similarity**2, 1e-9), 0.0)
            for i in np.argsort(np.triu(gain, 1), axis=None)[-N_TRIED:]:
                yield tuple(int(among[j]) for j in np.unravel_index(i, gain.shape))


def format_change_points(breaks):
    """Format clock breaks for a message.

    Examples
    --------
    >>> format_change_points([ClockChangePoint(188.0, "rate", 600e-6)])
    'at 188.0 s the rate changes by +600 ppm'
    >>> format_change_points([ClockChangePoint(428.0, "jump", -0.02)])
    'at 428.0 s the clock jumps by -20.0 ms'
    """
    return ", ".join(
        f"at {clock_break.time:.1f} s the rate changes by {clock_break.size * 1e6:+.0f} ppm"
        if clock_break.kind == "rate"
        else f"at {clock_break.time:.1f} s the clock jumps by {clock_break.size * 1e3:+.1f} ms"
        for clock_break in breaks
    )

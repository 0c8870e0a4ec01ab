"""Change points in the relation between two clocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import f as f_distribution

BENT = 0.003  # s between the bent and the straight line, below which a bend does no harm
MOST = 300  # marks that are looked at; more are replaced by medians of neighbors
AT_MOST = 4  # bends that are looked for
RARE = 1e-3  # false alarms in straight lines
PLACES = 20  # independent places of a bend, about
LEAST_NOISE = 5e-4  # s; marks are never more exact
FAR = 0.4  # of what a term must gain; a mark that is further off costs no more, so that two false ones make no bend
TRIED = 4  # best places that are fitted robustly
JUMPS = 1.5  # times what a change of rate must gain, a jump must: a steep stretch between two marks looks like one
STRAY = 0.06  # s off the straight line, and 6 times the median distance, beyond which a mark is false
FEW = 3  # marks more than unknowns, without which nothing is looked for


class ClockBreak(NamedTuple):
    """A place where the relation between two clocks changes.

    Attributes
    ----------
    time : float
        Seconds in the recording.
    kind : "rate" or "jump"
    size : float
        Change of the drift (seconds a second), or of the time (seconds).
    """

    time: float
    kind: str
    size: float


def find_clock_breaks(which, in_sound, in_recording, line, resolution=0.0, overlap=1):
    r"""Find where marks leave a straight line together.

    The model is :math:`r = o_k + (1 + d) s + \sum_i a_i (r - t_i)_+ + \sum_j b_j [r > t_j, k = k_j]`: one slope for
    all sounds, changes of rate, and jumps within a sound. Terms are added one by one while the robust sum of squares
    falls by more than it does in one of a thousand straight lines. The noise is that of each mark around the
    chord through its neighbors, so that a bend does not enlarge it.

    Parameters
    ----------
    which : ndarray of int of shape (n_marks,)
        Sound of each mark, from 0.
    in_sound, in_recording : ndarray of shape (n_marks,)
        Times in seconds.
    line : ndarray of shape (n_marks,)
        Times in the recording by the straight line.
    resolution : float, default=0.0
        Seconds to which times in the recording are rounded. Rounding makes steps of this size.
    overlap : int, default=1
        Number of successive marks that share data.

    Returns
    -------
    bends : tuple of ClockBreak
        In order of time, empty if the line is straight.
    worst : float
        Largest distance of the bent line from the straight one at the marks, in seconds.
    """
    off = np.abs(in_recording - line)
    order = np.lexsort([in_sound, which])
    order = order[off[order] <= max(STRAY, 6 * float(np.median(off)))]
    which, s, r, line = _thinned(*(values[order] for values in (which, in_sound, in_recording, line)))
    n_left = len(s) - len(np.unique(which)) - 1
    base = np.column_stack([which[:, None] == np.unique(which), s])
    noise, dof = _noise(which, s, r - s, base, overlap) if n_left >= FEW else (0.0, 0)
    if dof < 2:
        return (), 0.0
    noise = max(noise, LEAST_NOISE, resolution / np.sqrt(12))
    limit = overlap * f_distribution.isf(RARE / PLACES, 1, dof)
    least = max(BENT, 1.25 * resolution)  # rounding alone bends by one step at most
    terms, columns = _candidates(which, r)
    kinds = np.array([kind for _, kind in terms])
    search = _Search(base, columns, r - s, noise, limit * np.where(kinds == "jump", JUMPS, 1.0))
    rates, jumps = (np.flatnonzero(kinds == kind) for kind in ("rate", "jump"))
    found = [search.extend((), rates), search.extend((), jumps)]
    chosen = search.extend(min(found, key=search.cost), np.arange(len(terms)))
    worst = float(np.abs(search.fit(chosen)[0] + s - line).max())
    if not chosen or worst < least:
        return (), 0.0
    sizes = search.solve(chosen)[-len(chosen) :]
    return tuple(
        sorted(ClockBreak(*terms[i], float(size)) for i, size in zip(chosen, sizes, strict=True))
    ), worst


def _thinned(which, s, r, line):
    """Replace successive marks of a sound by their medians where there are many."""
    step = -(-len(s) // MOST)
    if step == 1:
        return which, s, r, line
    place = np.arange(len(s)) - np.searchsorted(which, which)  # in its sound
    starts = np.flatnonzero(place % step == 0)
    shift = [np.median(part) for part in np.split(r - s, starts[1:])]
    away = [np.median(part) for part in np.split(line - s, starts[1:])]
    s = np.array([np.median(part) for part in np.split(s, starts[1:])])
    return which[starts], s, s + shift, s + away


def _noise(which, s, shift, base, overlap):
    """Standard deviation of single marks, from what no bend changes much, and its degrees of freedom."""
    left, middle, right = (np.arange(i, len(s) - 2 * overlap + i) for i in (0, overlap, 2 * overlap))
    same = (which[left] == which[right]) & (s[right] > s[left])
    left, middle, right = left[same], middle[same], right[same]
    if len(left) >= 4:
        a = (s[right] - s[middle]) / (s[right] - s[left])
        off = (shift[middle] - a * shift[left] - (1 - a) * shift[right]) / np.sqrt(1 + a**2 + (1 - a) ** 2)
        return 1.4826 * float(np.median(np.abs(off))), len(off) // 2
    error = shift - base @ np.linalg.lstsq(base, shift, rcond=None)[0]
    step = np.diff(error[np.flatnonzero(np.diff(which, append=-1))])  # of the last marks of successive sounds
    return (1.4826 * float(np.median(np.abs(step))), len(step) // 2) if len(step) >= 4 else (0.0, 0)


def _candidates(which, r):
    """Places of a bend: terms (time, kind), and their columns of shape (n_marks, n_terms)."""
    terms, columns = [], []
    times = np.sort(r)
    for time in np.unique((times[1:] + times[:-1]) / 2):
        terms.append((float(time), "rate"))
        columns.append(np.maximum(r - time, 0))
    for i in np.flatnonzero(which[1:] == which[:-1]):
        terms.append((float(r[i] + r[i + 1]) / 2, "jump"))
        columns.append((which == which[i]) & (np.arange(len(r)) > i))
    return terms, np.array(columns, float).T


class _Search:
    """Forward search for the terms that lower a robust sum of squares by more than their limit."""

    def __init__(self, base, columns, shift, noise, limit):
        self.base, self.columns, self.shift, self.noise, self.limit = base, columns, shift, noise, limit
        self.far = FAR * limit.min()
        self.most = (len(shift) - base.shape[1] - 1) // 2

    def design(self, chosen):
        """Columns of the line and of the chosen terms."""
        return np.column_stack([self.base, self.columns[:, list(chosen)]])

    def weights(self, fitted):
        """Huber's, of one standard deviation."""
        return 1 / np.maximum(np.abs(self.shift - fitted) / self.noise, 1.0)

    def solve(self, chosen):
        """Coefficients of a robust regression, by reweighted least squares."""
        design, root = self.design(chosen), np.ones(len(self.shift))
        for _ in range(8):
            coef = np.linalg.lstsq(design * root[:, None], self.shift * root, rcond=None)[0]
            root = np.sqrt(self.weights(design @ coef))
        return coef

    def fit(self, chosen):
        """Fitted values, and the sum of squares in units of the noise where no mark costs more than FAR."""
        fitted = self.design(chosen) @ self.solve(chosen)
        return fitted, float(np.minimum(((self.shift - fitted) / self.noise) ** 2, self.far).sum())

    def cost(self, chosen):
        """The criterion that is minimized."""
        return self.fit(chosen)[1] + float(self.limit[list(chosen)].sum())

    def extend(self, chosen, among):
        """Add one or two terms at a time as long as the criterion falls."""
        best = self.cost(chosen)
        while len(chosen) < min(AT_MOST, self.most):
            more = [
                (*chosen, *new) for new in self.places(chosen, among) if len(chosen) + len(new) <= self.most
            ]
            more = min(more, key=self.cost, default=chosen)
            for j in range(len(more) * (len(more) > 1)):
                others = (*more[:j], *more[j + 1 :])
                moved = [(*others, *new) for new in self.places(others, among, pairs=False)]
                more = min([more, *moved], key=self.cost)
            if (cost := self.cost(more)) >= best:
                break
            chosen, best = more, cost
        return chosen

    def places(self, chosen, among, pairs=True):
        """Yield single terms and pairs of them that lower a weighted sum of squares most."""
        root = np.sqrt(self.weights(self.fit(chosen)[0]))[:, None]
        basis = np.linalg.qr(self.design(chosen) * root)[0]
        columns = self.columns[:, among] * root
        rest = columns - basis @ (basis.T @ columns)
        error = self.shift * root[:, 0] - basis @ (basis.T @ (self.shift * root[:, 0]))
        size = np.linalg.norm(rest, axis=0)
        rest = np.where(size > 1e-6 * np.linalg.norm(columns, axis=0), rest / np.maximum(size, 1e-300), 0.0)
        along = error @ rest
        for i in np.argsort(along**2)[-TRIED:]:
            yield (int(among[i]),)
        if pairs and len(among) > 1:
            alike = rest.T @ rest
            gain = along[:, None] ** 2 + along**2 - 2 * along[:, None] * along * alike
            gain = np.where(np.abs(alike) < 0.999, gain / np.maximum(1 - alike**2, 1e-9), 0.0)
            for i in np.argsort(np.triu(gain, 1), axis=None)[-TRIED:]:
                yield tuple(int(among[j]) for j in np.unravel_index(i, gain.shape))


def format_clock_breaks(bends):
    """Write where a clock bends, and how much.

    Parameters
    ----------
    bends : sequence of ClockBreak

    Returns
    -------
    text : str

    Examples
    --------
    >>> format_clock_breaks([ClockBreak(188.0, "rate", 600e-6), ClockBreak(428.0, "jump", -0.02)])
    'at 188.0 s its rate changes by +600 ppm, at 428.0 s it jumps by -20.0 ms'
    """
    return ", ".join(
        f"at {bend.time:.1f} s its rate changes by {bend.size * 1e6:+.0f} ppm"
        if bend.kind == "rate"
        else f"at {bend.time:.1f} s it jumps by {bend.size * 1e3:+.1f} ms"
        for bend in bends
    )

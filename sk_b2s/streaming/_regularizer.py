"""Regular samples of a stream with lost samples, drift and dead channels."""

from __future__ import annotations

import warnings
from collections import deque

import numpy as np
import pandas as pd

from sk_b2s.io._clocks._clock_fit import MAX_DRIFT
from sk_b2s.streaming._timeline import BLOCK, StreamTimeline

REPEATED = 2.0  # s of samples that are compared with later ones
PIECE = 5.0  # s, longest piece of a bridged gap
FLAT = 0.5  # s of equal values after which a channel is dead
N_ALIVE = 4  # blocks of changing values after which it is not
OLD_AGAIN = 60.0  # s, after which samples that are too old are reported again
WARNED = 0.1  # s, shortest clock jump with a warning
MAX_FAULTS = 10_000  # rows of the table of faults
RECEIVED = ("used", "discarded", "repeated", "dropped", "waiting")
PLACED = ("used", "discarded", "interpolated", "inserted", "lost")
COUNTS = ("received", *dict.fromkeys(RECEIVED + PLACED), "replaced")
FAULTS = ("time", "kind", "seconds", "n_samples", "channel")


class RegularizerMask:
    """Step that sets channels of windows to zero.

    Parameters
    ----------
    is_masked : ndarray of bool of shape (n_channels,)
    """

    def __init__(self, is_masked):
        self.is_masked = is_masked

    def __call__(self, batch, which):
        batch[:, self.is_masked] = 0.0
        return batch


class StreamRegularizer:
    """Make the samples of a stream regular, and mark what was not received.

    Without threads, sockets and clocks. The output does not depend on the
    sizes of chunks.

    Parameters
    ----------
    sfreq : float
        Nominal sampling rate in Hz.
    ch_names : sequence of str
    max_gap : float, default=0.05
        Longest gap in seconds that is interpolated. Longer ones are bridged
        by a line, and marked.
    max_age : float, default=2.0
        Seconds after which received samples are too old for a prediction.
    settle : float, default=0.0
        Seconds after a gap that are marked, too, while filters settle.
    is_bad : array-like of bool of shape (n_channels,), default=None
        Channels that are not observed.

    Attributes
    ----------
    counts : dict of str to int
        "received" is the sum of ``RECEIVED``, and ``n_grid`` of ``PLACED``.
    faults : deque of dict
    is_aligned : bool
        False after a change of the clock that could hide lost samples, until
        it is set to True.
    """

    def __init__(self, sfreq, ch_names, max_gap=0.05, max_age=2.0, settle=0.0, is_bad=None):
        n_channels = len(ch_names)
        self.sfreq, self.ch_names, self.max_age = float(sfreq), list(ch_names), max_age
        self.n_gap, self._n_settle = int(max_gap * sfreq + 1e-6), int(np.ceil(settle * sfreq))
        self._n_block, self._n_flat = max(1, round(BLOCK * sfreq)), max(2, round(FLAT * sfreq))
        self._n_piece = max(1, round(PIECE * sfreq))
        self.timeline = StreamTimeline(self.sfreq)
        self.counts = dict.fromkeys(COUNTS, 0)
        self.faults: deque = deque(maxlen=MAX_FAULTS)
        self.n_grid, self.is_aligned = 0, True
        self.is_bad = np.zeros(n_channels, bool) if is_bad is None else np.asarray(is_bad, bool)
        self._gaps: deque = deque()  # [first, last) places of the time line
        self._old: deque = deque()
        self._waiting, self._stamps, self._arrived = np.empty((n_channels, 0)), np.empty(0), np.empty(0)
        self._recent: deque = deque(maxlen=max(1, round(REPEATED * sfreq)))
        self._last, self._finite = None, np.zeros(n_channels)
        self._insert, self._is_late, self._is_warned = [], False, False
        self._is_wrong_rate = False
        self._old_fault, self._old_place = None, 0  # the latest row, and where it was changed
        self._run, self._alive = np.zeros(n_channels, int), np.zeros(n_channels, int)
        self.is_dead = np.zeros(n_channels, bool)
        self._dead: deque = deque()  # [channel, first, last), without last while it is dead

    # --- marks ---------------------------------------------------------------------------------------

    def is_marked(self, first, last):
        """Return whether samples [first, last) touch a gap."""
        touched = any(start < last and first < stop for start, stop in self._gaps)
        return touched or bool((self.find_dead(first, last) | self.is_bad).all())

    def is_old(self, place):
        """Return whether a sample came too late."""
        return any(start <= place < stop for start, stop in self._old)

    def find_dead(self, first, last):
        """Return which channels were dead within [first, last)."""
        dead = np.zeros(len(self.is_bad), bool)
        for channel, start, stop in self._dead:
            dead[channel] |= start < last and (stop is None or first < stop)
        return dead

    def forget(self, place):
        """Forget marks before a sample."""
        for marks in (self._gaps, self._old):
            while marks and marks[0][1] <= place:
                marks.popleft()
        if any(stop is not None and stop <= place for _, _, stop in self._dead):
            self._dead = deque(mark for mark in self._dead if mark[2] is None or mark[2] > place)

    def make_faults(self):
        """Return the faults so far as a table."""
        return pd.DataFrame(list(self.faults), columns=list(FAULTS))

    # --- samples -------------------------------------------------------------------------------------

    def push(self, samples, stamps, arrived=None):
        """Add samples, and yield those of the regular time line.

        Each piece has the marks that were known at its end, so predictions
        must be made between pieces.

        Parameters
        ----------
        samples : ndarray of shape (n_channels, n_times)
        stamps : array-like of shape (n_times,)
            Seconds.
        arrived : float or None, default=None
            Time of arrival, in seconds of a steady clock.

        Yields
        ------
        piece : ndarray of shape (n_channels, n_piece)
        """
        stamps = np.asarray(stamps, float)
        if stamps.shape != samples.shape[1:] or not np.isfinite(stamps).all():
            raise ValueError(
                f"timestamps must have one finite number per sample ({samples.shape[1]}). Got the shape {stamps.shape}"
                f"{', and values that are not finite' if stamps.shape == samples.shape[1:] else ''}."
            )
        self.counts["received"] += len(stamps)
        is_new = self._find_new(samples, stamps)
        self.counts["repeated"] += int((~is_new).sum())
        samples, stamps = samples[:, is_new], stamps[is_new]
        self._waiting = np.concatenate([self._waiting, samples], axis=1)
        self._stamps = np.concatenate([self._stamps, stamps])
        self._arrived = np.r_[self._arrived, np.full(len(stamps), np.nan if arrived is None else arrived)]
        steps = self.timeline.place(stamps, arrived)
        self.counts["waiting"] = self.timeline.n_held
        for step in steps:
            yield from self._apply(step)
        if abs(self.timeline.drift) > MAX_DRIFT and not self._is_wrong_rate:
            self._is_wrong_rate = True
            warnings.warn(
                f"The time stamps imply a sampling rate of {self.sfreq / (1 + self.timeline.drift):.3f} Hz instead of "
                f"{self.sfreq:g} Hz. Samples are inserted or dropped to follow them. Pass the true rate as sfreq.",
                stacklevel=4,
            )

    def _find_new(self, samples, stamps):
        """Return which samples were not received before."""
        is_new = np.ones(len(stamps), bool)
        columns = np.ascontiguousarray(samples.T)
        for place, stamp in enumerate(stamps.tolist()):
            value = columns[place].tobytes()
            if self._recent and stamp <= self._recent[-1][0] and (stamp, value) in self._recent:
                is_new[place] = False
            else:
                self._recent.append((stamp, value))
        return is_new

    def _apply(self, step):
        """Yield the samples of a step of the time line."""
        if step.kind == "jump":
            self._note("clock jump", step.seconds, 0)
            if abs(step.seconds) >= WARNED and step.is_sure:
                self._warn_of_jump(step.seconds, "No samples were lost, and decoding continues.")
        elif step.kind in ("gap", "slip"):
            self._insert.append(step)
        else:
            samples, self._waiting = np.split(self._waiting, [step.n], axis=1)
            stamps, self._stamps = np.split(self._stamps, [step.n])
            arrived, self._arrived = np.split(self._arrived, [step.n])
            if step.kind == "drop":
                self.counts["dropped"] += step.n
                return
            samples = self._replace(samples)
            for inserted in self._insert:
                yield from self._bridge(inserted, samples[:, 0])
            self._insert.clear()
            is_old = arrived - stamps > self.timeline.lag + self.max_age  # False without a time of arrival
            self._mark_old(is_old)
            self.counts["discarded"] += int(is_old.sum())
            self.counts["used"] += int((~is_old).sum())
            yield from self._emit(samples)
        if not step.is_sure and self.is_aligned:
            self.is_aligned = False
            self._warn_of_jump(
                step.seconds or step.n / self.sfreq,
                "Lost samples and a changed clock cannot be distinguished, so there are no predictions before the next start.",
            )

    def _replace(self, samples):
        """Replace values that are not finite by the last one that is."""
        is_finite = np.isfinite(samples)
        if not is_finite.all():
            self.counts["replaced"] += int((~is_finite[~self.is_bad]).any(0).sum())
            known = np.concatenate([self._finite[:, None], samples], axis=1)
            at = np.where(np.c_[np.ones(len(samples), bool), is_finite], np.arange(known.shape[1]), 0)
            samples = np.take_along_axis(known, np.maximum.accumulate(at, axis=1), axis=1)[:, 1:]
        self._finite = samples[:, -1].copy()
        return samples

    def _bridge(self, step, after):
        """Yield samples of a line over a gap."""
        before, n = (after if self._last is None else self._last), step.n
        is_lost = step.kind == "gap" and step.n > self.n_gap
        self.counts["inserted" if step.kind == "slip" else "lost" if is_lost else "interpolated"] += n
        if step.kind == "gap":
            self._note("gap" if is_lost else "interpolated gap", n / self.sfreq, n)
        if is_lost:
            self._gaps.append((self.n_grid, self.n_grid + n + self._n_settle))
        if is_lost and not self._is_warned:
            self._is_warned = True
            warnings.warn(
                f"{n} samples ({n / self.sfreq:.3f} s) were lost at {self.n_grid / self.sfreq:.3f} s of the stream. Windows "
                f"that touch lost samples have no predictions. Later gaps are counted without a warning.",
                stacklevel=4,
            )
        for first in range(0, n, self._n_piece):
            part = (np.arange(first, min(first + self._n_piece, n)) + 1) / (n + 1)
            yield from self._emit(before[:, None] + (after - before)[:, None] * part)

    def _emit(self, samples):
        """Yield samples up to each end of a block, and observe channels."""
        first = 0
        while first < samples.shape[1]:
            piece = samples[:, first : first + self._n_block - self.n_grid % self._n_block]
            first += piece.shape[1]
            self._observe(piece)
            self.n_grid += piece.shape[1]
            self._last = piece[:, -1].copy()
            yield piece
            if self.n_grid % self._n_block == 0:
                self._judge_channels()

    def _mark_old(self, is_old):
        """Mark runs of samples that came too late."""
        edges = np.flatnonzero(np.diff(np.r_[False, is_old, False]))
        for start, stop in edges.reshape(-1, 2):
            if self._old and self._old[-1][1] == self.n_grid + start:
                self._old[-1] = (self._old[-1][0], self.n_grid + stop)
            else:
                self._old.append((self.n_grid + start, self.n_grid + stop))
            is_new = self._old_fault is None or self.n_grid - self._old_place > OLD_AGAIN * self.sfreq
            self._old_place = self.n_grid
            if is_new:
                self._note("too old", 0.0, 0)
                self._old_fault = self.faults[-1]
            self._old_fault["n_samples"] += int(stop - start)
            self._old_fault["seconds"] = self._old_fault["n_samples"] / self.sfreq
            if is_new:
                warnings.warn(
                    f"At {(self.n_grid + start) / self.sfreq:.3f} s of the stream, samples came more than max_age="
                    f"{self.max_age:g} s late. They are filtered but discarded for predictions, until the decoder has caught "
                    f"up. Use a larger step or a smaller decoder if this happens often.",
                    stacklevel=4,
                )

    # --- channels ------------------------------------------------------------------------------------

    def _observe(self, piece):
        """Update the number of equal values at the end of each channel."""
        known = piece if self._last is None else np.concatenate([self._last[:, None], piece], axis=1)
        is_equal = known[:, 1:] == known[:, :-1]
        n = is_equal.shape[1]
        if n:
            self._run = np.where(is_equal.all(1), self._run + n, np.argmin(is_equal[:, ::-1], axis=1))

    def _judge_channels(self):
        """Find channels that died or recovered, at the end of a block."""
        is_flat = self._run >= self._n_flat
        self._alive = np.where(self._run < self._n_block, self._alive + 1, 0)
        for channel in np.flatnonzero(is_flat & ~self.is_dead & ~self.is_bad):
            self._dead.append([channel, int(self.n_grid - self._run[channel]), None])
            self._note("dead channel", 0.0, 0, self.ch_names[channel])
            self._warn_of_channel(channel, "is constant and therefore masked")
        for channel in np.flatnonzero(self.is_dead & (self._alive >= N_ALIVE)):
            for mark in self._dead:
                if mark[0] == channel and mark[2] is None:
                    mark[2] = self.n_grid + self._n_settle
            self._note("recovered channel", 0.0, 0, self.ch_names[channel])
            self._warn_of_channel(channel, "has changing values again and is no longer masked")
        self.is_dead = (self.is_dead | is_flat) & (self._alive < N_ALIVE) & ~self.is_bad

    # --- messages ------------------------------------------------------------------------------------

    def _note(self, kind, seconds, n_samples, channel=None):
        time = self.n_grid / self.sfreq
        self.faults.append(dict(zip(FAULTS, (time, kind, seconds, n_samples, channel), strict=True)))

    def _warn_of_channel(self, channel, text):
        warnings.warn(
            f"Channel {self.ch_names[channel]!r} {text}, at {self.n_grid / self.sfreq:.3f} s of the stream.",
            stacklevel=4,
        )

    def _warn_of_jump(self, seconds, outcome):
        warnings.warn(
            f"The time stamps jump by {seconds:+.3f} s at {self.n_grid / self.sfreq:.3f} s of the stream. {outcome}",
            stacklevel=4,
        )

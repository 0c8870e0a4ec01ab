"""Places of streamed samples on a time line, from their time stamps."""

from __future__ import annotations

import math
from collections import deque
from statistics import median
from typing import NamedTuple

import numpy as np

from sk_b2s.io._clocks._clock_fit import fit_clock_line

BLOCK = 0.25  # s, over which residuals of time stamps are summarized
N_LEVEL, N_SPREAD, N_MARKS = 4, 80, 120  # blocks of the level, of the spread, and marks of the clock fit
FIRST_FIT, FIT_EVERY = 30, 10  # marks, one per second
SLIP = 0.002  # s, smallest deviation that is corrected
FIRST_TOLERANCE = 0.1  # s, before the spread of time stamps is known
N_PERSISTENT = 3  # samples after a step of the time stamps, in addition to their spread
MAX_HELD = 2.0  # s, until a step is accepted although time stamps are not stable
MAX_UNKNOWN = 1.0  # s, longest step that is taken for lost samples without a time of arrival
MAX_BRIDGED = 60.0  # s, same, after which the alignment is unknown
AHEAD = 1.0  # s, by which the time stamp of a marker may be later than that of the newest sample
N_JUMPS = 100  # latest jumps, for time stamps from before
CLOSE = 0.25  # s, accuracy of times of arrival
N_ARRIVED, N_STEADY = 20, 20  # times of arrival and blocks until they prove a shorter step
SHARE = 0.25  # of a shorter step, by which times of arrival may be wrong or become earlier in these blocks
CLOCK_RATE = 1e-4  # largest drift of the receiver's clock


class TimelineStep(NamedTuple):
    """Operation on the next samples, in the order of the stream.

    Attributes
    ----------
    kind : {"take", "drop", "gap", "slip", "jump"}
        "take" and "drop" refer to received samples, "gap" and "slip" to
        inserted ones.
    n : int
        Number of samples.
    seconds : float
        Change of the clock of a "jump".
    is_sure : bool
        False if lost samples and a changed clock cannot be distinguished.
    """

    kind: str
    n: int = 0
    seconds: float = 0.0
    is_sure: bool = True


class StreamTimeline:
    """Compare the time stamps of samples with their number.

    Each decision depends on the sequence of samples and not on chunks. Samples
    after a step of the time stamps wait until the step persists, so that late
    time stamps are not taken for lost samples.

    Parameters
    ----------
    sfreq : float
        Nominal sampling rate in Hz.
    """

    def __init__(self, sfreq):
        self.sfreq = sfreq
        self.origin = None  # time stamp of the sample 0 by the present clock
        self.n_sampled = self.n_grid = 0  # samples of the amplifier, and places of the time line
        self.level = self.anchor = 0.0  # s, deviation of recent time stamps, and of the first ones
        self.spread, self.lag, self.drift = None, math.inf, 0.0
        self._n_block = max(1, round(BLOCK * sfreq))
        self._block, self._levels, self._spreads = [], deque(maxlen=N_LEVEL), deque(maxlen=N_SPREAD)
        self._marks, self._n_marks, self._line = deque(maxlen=N_MARKS), 0, None
        self._jumps, self._newest = deque(maxlen=N_JUMPS), -math.inf
        self._held, self._last, self._is_ahead, self._n_arrived = [], None, False, 0
        self._lags = deque(maxlen=N_STEADY)  # lag at the end of each block

    @property
    def n_held(self):
        """Number of samples that wait for a decision."""
        return len(self._held)

    @property
    def tolerance(self):
        """Largest deviation of a time stamp that is not a step, in seconds."""
        return FIRST_TOLERANCE if self.spread is None else 0.6 / self.sfreq + 1.5 * self.spread

    def place(self, stamps, arrived=None):
        """Place samples.

        Parameters
        ----------
        stamps : ndarray of shape (n_times,)
            Seconds.
        arrived : float or None, default=None
            Time of arrival, in seconds of a steady clock.

        Returns
        -------
        steps : list of Step
        """
        steps, stamps = [], stamps.tolist()
        lag = None if arrived is None or not stamps else arrived - stamps[-1]
        self._n_arrived += lag is not None
        for stamp in stamps:
            if self.origin is None:
                self.origin = stamp
            deviation = stamp - self.origin - (self.n_sampled + len(self._held)) / self.sfreq - self.level
            if abs(deviation) > self.tolerance:
                self._held.append((stamp, deviation, lag))
                self._decide(steps)
                continue
            while self._held:  # the time stamps were late
                self._take(self._held.pop(0)[0], None, steps)
            self._take(stamp, arrived, steps)
        return steps

    def find_time(self, stamp):
        """Return the time of a time stamp on the time line, in seconds.

        Time stamps that the present clock cannot have are from before a jump.
        """
        shift = 0.0
        for last, jump in reversed(self._jumps):
            if stamp > last + jump / 2 if jump > 0 else stamp <= self._newest + AHEAD:
                break
            shift += jump
        return stamp + shift - self.origin - self.anchor

    def _take(self, stamp, arrived, steps):
        """Place a sample after the last one."""
        kind = "drop" if self._is_ahead else "take"
        if steps and steps[-1].kind == kind == "take":
            steps[-1] = TimelineStep(kind, steps[-1].n + 1)
        else:
            steps.append(TimelineStep(kind, 1))
        self._block.append(stamp - self.origin - self.n_sampled / self.sfreq)
        self._newest = stamp
        self.n_sampled += 1
        self.n_grid += not self._is_ahead
        self._is_ahead = False
        if arrived is not None:
            rise = 0.0 if self._last is None else CLOCK_RATE * max(0.0, arrived - self._last)
            self.lag, self._last = min(self.lag + rise, arrived - stamp), arrived
        if len(self._block) >= self._n_block:
            self._end_block(steps)

    # --- clock ---------------------------------------------------------------------------------------

    def _end_block(self, steps):
        """Update level and spread, fit the clock, and correct its drift."""
        self._levels.append(self._block)
        residuals = [value for block in self._levels for value in block]
        self.level = median(residuals)
        self._spreads.append(max(abs(value - self.level) for value in self._block))
        self._block = []
        self._lags.append(self.lag)
        if len(self._levels) == N_LEVEL and self.spread is None:
            self.anchor = self.level
        if len(self._levels) == N_LEVEL:
            self.spread = float(np.quantile(self._spreads, 0.9))
        self._n_marks += 1
        if self._n_marks % N_LEVEL == 0:
            middle = (self.n_sampled - len(residuals) / 2) / self.sfreq
            self._marks.append((middle, middle + self.level))
            n_seconds = self._n_marks // N_LEVEL
            if n_seconds >= FIRST_FIT and n_seconds % FIT_EVERY == 0:
                at, stamped = np.array(self._marks).T
                (self._line,), self.drift, _ = fit_clock_line(np.zeros(len(at), int), at, stamped, SLIP)
        if self._line is None:
            return
        expected = self._line + (1 + self.drift) * self.n_sampled / self.sfreq - self.anchor
        behind = expected - self.n_grid / self.sfreq
        if abs(behind) > max(0.75 / self.sfreq, SLIP):
            self._is_ahead = behind < 0
            if behind > 0:
                steps.append(TimelineStep("slip", 1))
                self.n_grid += 1

    # --- steps of the time stamps ----------------------------------------------------------------------

    def _decide(self, steps):
        """Accept a step of the time stamps, if it persists."""
        spread = FIRST_TOLERANCE if self.spread is None else self.spread
        n = N_PERSISTENT + math.ceil(4 * spread * self.sfreq)  # so that stamps of a late burst are not stable
        recent = [deviation for _, deviation, _ in self._held[-n:]]
        is_stable = len(recent) == n and max(recent) - min(recent) <= 2 * self.tolerance
        if not is_stable and len(self._held) < max(2 * n, MAX_HELD * self.sfreq):
            return
        change = median(recent)
        lost, is_sure = self._find_lost(change)
        if not is_sure and self._held[-1][2] is not None and len(self._held) < MAX_HELD * self.sfreq:
            return  # the next times of arrival can be closer
        n_lost = max(0, round(lost * self.sfreq))
        jump = change - n_lost / self.sfreq
        if abs(jump) > self.tolerance:
            self._jumps.append((self._newest, jump))
            self.origin += jump
            self.lag -= jump
            self._lags = deque((lag - jump for lag in self._lags), N_STEADY)
            steps.append(TimelineStep("jump", 0, jump, is_sure))
        if n_lost:
            steps.append(TimelineStep("gap", n_lost, 0.0, is_sure))
            self.n_sampled += n_lost
            self.n_grid += n_lost
        held, self._held = self._held, []
        for stamp, _, _ in held:
            self._take(stamp, None, steps)

    def _find_lost(self, change):
        """Return seconds of lost samples, and whether they are known."""
        lags = [lag for _, _, lag in self._held if lag is not None]
        if not lags or self.lag == math.inf:
            if abs(change) <= MAX_UNKNOWN:
                return change, True
            return change if change <= MAX_BRIDGED else 0.0, False
        later = min(lags) - self.lag  # 0 after lost samples, -change after a change of the clock
        elapsed = change + later
        if abs(change) <= CLOSE:
            # Samples cannot arrive earlier than ever before by as much as their clock changed, except from a queue.
            is_clock = self._n_arrived > N_ARRIVED and abs(elapsed) <= SHARE * change
            is_steady = len(self._lags) == N_STEADY and self._lags[0] - self.lag <= SHARE * change
            return 0.0 if is_clock and is_steady else change, True
        if abs(elapsed) <= CLOSE and abs(elapsed) < abs(later):
            return 0.0, True
        if change > 0 and abs(later) <= CLOSE:
            return change, True
        return max(0.0, elapsed), False

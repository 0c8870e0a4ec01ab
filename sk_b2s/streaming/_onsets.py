"""Onset of stimuli in a trigger or audio channel of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

import numpy as np

from sk_b2s._utils._validation import validate_positive
from sk_b2s.events._stimuli import stimulus_duration, stimulus_name
from sk_b2s.io._clocks._audio_alignment import (
    TIE,
    compute_audio_stimulus_envelopes,
    compute_channel_envelopes,
    compute_min_audio_correlation,
    correlate_audio_envelopes,
)

EVERY = 0.5  # s, between searches
EDGE = 1.0  # s, half of the filter of envelopes
SHORTEST = 2.0  # s of audio that are compared
AGREE = 0.05  # s between onsets by two candidates
STORED = 60.0  # s of time stamps, for onsets that are found late
MARGIN = 0.1  # s before the latest place, where a maximum could still rise


class LostOnsetError(ValueError):
    """Samples after an onset are no longer stored."""


class TriggerOnset:
    """Find onsets in a trigger channel of a stream.

    An onset is the first sample of a pulse, or of a pulse with the value
    ``code``.

    Parameters
    ----------
    code : int or None, default=None
        Value of the channel. If None, each rise above ``threshold`` counts.
    threshold : float, default=0.5
        Pulses exceed this value. Not used with a ``code``.

    See Also
    --------
    AudioOnset : Find onsets in an audio channel.

    Examples
    --------
    >>> from sk_b2s.streaming import TriggerOnset
    >>> TriggerOnset().push([0, 0, 5, 5, 0, 2])
    [2, 5]
    """

    def __init__(self, code=None, threshold=0.5):
        self.code, self.threshold = code, threshold
        if code is not None and not (isinstance(code, Real) and np.isfinite(code) and code == round(code)):
            raise ValueError(f"code must be an integer or None. Got {code!r}.")
        self.reset()

    def reset(self):
        """Forget all samples."""
        self.n_samples_, self._was_on = 0, True  # a pulse at the first sample has begun before
        return self

    def __repr__(self):
        return f"TriggerOnset(code={self.code!r}, threshold={self.threshold:g})"

    def push(self, samples):
        """Add samples of the channel, and return the onsets in them.

        Parameters
        ----------
        samples : array-like of shape (n_times,)
            Any number of samples.

        Returns
        -------
        onsets : list of int
            Samples since the first one.
        """
        samples = np.nan_to_num(np.asarray(samples, float).ravel())
        is_on = samples > self.threshold if self.code is None else np.round(samples) == self.code
        rises = np.flatnonzero(is_on & ~np.r_[self._was_on, is_on[:-1]])
        found = [int(rise) + self.n_samples_ for rise in rises]
        if len(is_on):
            self._was_on = bool(is_on[-1])
        self.n_samples_ += len(samples)
        return found


class AudioOnset:
    """Find the onset of candidates in an audio channel of a stream.

    The first seconds of each audio file are compared with the channel by the
    correlation of envelopes, every 0.5 s of the stream. The channel may have a
    lower rate than the files, contain their envelope, or be a mixture of two
    talkers.

    Parameters
    ----------
    candidates : dict of str to (str, Path or tuple), str or Path
        Audio files, as those of :class:`StreamingDecoder`.
    sfreq : float
        Sampling rate of the channel in Hz.
    duration : float, default=5.0
        Seconds of each file that are compared, at least 2. An onset is found
        about 1.5 s later. ``history`` of the decoder must be longer. Shorter
        ones find other audio more often.
    audio_delay : float, default=0.0
        Delay in seconds from the channel to the ear.

    Attributes
    ----------
    correlation_ : float
        Largest correlation of the last search. Onsets require 0.51 with 5 s,
        which the envelope of other speech rarely has.
    name_ : str or None
        Candidate that was found last.

    Raises
    ------
    ValueError
        If a candidate is not an audio file, or is shorter than 2 s.

    See Also
    --------
    align_to_audio : Onset and drift in a whole recording.

    Notes
    -----
    Searches are at fixed samples, so that the size of chunks has no effect.
    After an onset, the next one can only begin when the shortest candidate has
    ended.
    """

    def __init__(self, candidates, sfreq, duration=5.0, audio_delay=0.0):
        candidates = dict(candidates) if isinstance(candidates, Mapping) else {"audio": candidates}
        pairs = {
            name: value if isinstance(value, tuple) else (value, 0.0) for name, value in candidates.items()
        }
        lengths = {name: stimulus_duration(sound) for name, (sound, _) in pairs.items()}
        for name, seconds in (("sfreq", sfreq), ("duration", duration)):
            validate_positive(name, seconds)
        if not pairs or min(duration, *lengths.values()) < SHORTEST:
            raise ValueError(
                f"AudioOnset compares at least {SHORTEST:g} s of each candidate. Got duration={duration!r}, and candidates "
                f"with a shortest one of {min(lengths.values(), default=0.0):.2f} s."
            )
        self.candidates, self.sfreq, self.duration, self.audio_delay = (
            candidates,
            sfreq,
            duration,
            audio_delay,
        )
        self._rate = min(100.0, float(sfreq))
        self._shortest = min(lengths.values())
        n = round(min(duration, self._shortest) * self._rate)
        self._references = [
            (name, delay, envelope[:n])
            for name, (sound, delay) in pairs.items()
            for envelope in compute_audio_stimulus_envelopes(sound, float(sfreq), self._rate)
        ]
        if short := [name for name, _, reference in self._references if not np.any(reference)]:
            raise ValueError(
                f"The first {n / self._rate:.1f} s of {stimulus_name(pairs[short[0]][0])!r} are silent. Use a longer duration."
            )
        self._length = n / self._rate
        self.reset()

    def reset(self):
        """Forget all samples."""
        self.n_samples_, self._every = 0, max(1, round(EVERY * self.sfreq))
        self._kept, self._not_before = np.empty(0), 0.0
        self.correlation_, self.name_ = np.nan, None
        return self

    def __repr__(self):
        return f"AudioOnset({list(self.candidates)}, sfreq={self.sfreq:g}, duration={self.duration:g})"

    def push(self, samples):
        """Add samples of the channel, and return the onsets that are found.

        Parameters
        ----------
        samples : array-like of shape (n_times,)
            Any number of samples.

        Returns
        -------
        onsets : list of float
            Samples from the first one to the onset of the candidates, not
            rounded.
        """
        samples, found = np.nan_to_num(np.asarray(samples, float).ravel()), []
        while len(samples):
            n = self._every - self.n_samples_ % self._every
            self._kept = np.concatenate([self._kept, samples[:n]])
            self.n_samples_ += len(samples[:n])
            samples = samples[n:]
            if self.n_samples_ % self._every == 0:
                found += self._search()
        return found

    def _search(self):
        """Compare the latest seconds of the channel: a list of onsets."""
        n_needed = round((self._length + 3 * EDGE + 2 * EVERY) * self.sfreq)
        self._kept = self._kept[-n_needed:]
        begin = (self.n_samples_ - len(self._kept)) / self.sfreq
        if len(self._kept) < (self._length + EDGE) * self.sfreq or not np.ptp(self._kept):
            return []
        places = [place for place in map(self._compare_reference, self._references) if place is not None]
        if not places:
            return []
        self.correlation_ = max(place[0] for place in places)
        if self.correlation_ < compute_min_audio_correlation(self._length):
            return []
        _, at, n_places, delay, name = max(places)
        onset = begin + at / self._rate - delay
        similar = [begin + p[1] / self._rate - p[3] for p in places if p[0] > self.correlation_ - TIE]
        is_unclear = np.ptp(similar) > AGREE  # another candidate is as similar elsewhere
        is_early = at > n_places - MARGIN * self._rate  # the maximum may be later
        if is_unclear or is_early or begin + at / self._rate < self._not_before:
            return []
        self.name_, self._not_before = name, begin + at / self._rate + self._shortest
        return [(onset + self.audio_delay) * self.sfreq]

    def _compare_reference(self, named):
        """Return correlation, place, number of places, delay and name."""
        name, delay, reference = named
        best = None
        for signal in compute_channel_envelopes(self._kept, self.sfreq, self._rate):
            signal = signal[: len(signal) - round(EDGE * self._rate)]
            if len(signal) < len(reference) or not np.any(signal):
                continue
            correlation = correlate_audio_envelopes(reference, signal)
            at = int(correlation.argmax())
            if best is None or correlation[at] > best[0]:
                best = float(correlation[at]), at, len(correlation), delay, name
        return best


class OnsetDetector:
    """Onsets of a channel in seconds of the stream.

    Parameters
    ----------
    finder : TriggerOnset or AudioOnset
    decoder : StreamingDecoder
    """

    def __init__(self, finder, decoder):
        self.finder, self.decoder = finder, decoder
        self._stamps, self._from = np.empty(0), 0  # time stamps of the latest samples

    def find(self, samples, stamps):
        """Return the onsets that are found with these samples."""
        if stamps is not None:
            n_old = max(0, len(self._stamps) - round(STORED * self.decoder.sfreq))
            self._stamps, self._from = np.concatenate([self._stamps[n_old:], stamps]), self._from + n_old
        found = self.finder.push(samples)
        if stamps is None:
            return [onset / self.decoder.sfreq for onset in found]
        places = self._from + np.arange(len(self._stamps))
        return [self.decoder.find_time(float(np.interp(onset, places, self._stamps))) for onset in found]

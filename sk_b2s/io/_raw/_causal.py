"""Causal filters and decimation, whole or in chunks with their state."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.signal import (
    butter,
    firwin,
    freqz,
    iirnotch,
    minimum_phase,
    sosfilt,
    sosfilt_zi,
    sosfreqz,
    tf2sos,
    upfirdn,
)

from sk_b2s._utils._caching import get_cache_code

CODE = get_cache_code(__file__)
ORDER = 4  # of the Butterworth filters
NOTCH_QUALITY = 30.0  # frequency divided by bandwidth
ZERO_CROSSINGS, CUTOFF = (
    8,
    0.9,
)  # of the anti-aliasing filter; the cutoff in units of the new Nyquist frequency
DELAY_STEP = 0.01  # Hz, over which phases are differentiated


class CausalState(NamedTuple):
    """What a causal chain remembers between chunks.

    Attributes
    ----------
    sections : ndarray of shape (n_sections, n_channels, 2)
        State of the recursive filters.
    past : ndarray of shape (n_channels, n_past)
        Last filtered samples at the rate of the recording.
    n_read : int
        Samples that were read.
    """

    sections: np.ndarray
    past: np.ndarray
    n_read: int


class CausalChain:
    """Causal notch, band-pass and resampling of continuous signals.

    Recursive Butterworth filters of order 4 and a minimum-phase anti-aliasing
    filter. No output sample depends on later input. Before the first sample,
    each channel is assumed to be constant, so that a large offset has no
    transient. Chunks of any size give the same output as the whole.

    Parameters
    ----------
    sfreq_in, sfreq_out : float
        Sampling rates in Hz. The ratio is approximated by a fraction.
    l_freq, h_freq : float or None, default=None
        Limits of the band-pass filter in Hz.
    notch : sequence of float, default=()
        Line frequencies to remove, in Hz.

    Examples
    --------
    >>> chain = CausalChain(250.0, 50.0, 0.5, 20.0)
    >>> signal = np.random.default_rng(0).normal(size=(3, 1000))
    >>> whole, _ = chain(signal)
    >>> first, state = chain(signal[:, :333])
    >>> rest, _ = chain(signal[:, 333:], state)
    >>> whole.shape, np.allclose(whole, np.hstack([first, rest]))
    ((3, 200), True)
    """

    def __init__(self, sfreq_in, sfreq_out, l_freq=None, h_freq=None, notch=()):
        ratio = Fraction(sfreq_out / sfreq_in).limit_denominator(10000)
        self.sfreq_in, self.up, self.down = float(sfreq_in), ratio.numerator, ratio.denominator
        self.sections = _design_causal_sections(float(sfreq_in), l_freq, h_freq, tuple(notch or ()))
        self.taps = _design_causal_taps(self.up, self.down)
        self.n_past = -(-len(self.taps) // self.up) - 1

    def __call__(self, chunk, state=None):
        """Process a chunk of a signal.

        Parameters
        ----------
        chunk : ndarray of shape (n_channels, n_times)
        state : CausalState or None, default=None
            State after the preceding chunk. None begins a recording.

        Returns
        -------
        output : ndarray of shape (n_channels, n_outputs)
            All samples that the input so far determines: ``ceil(n_read *
            sfreq_out / sfreq_in)`` in total.
        state : CausalState
        """
        chunk = np.asarray(chunk, np.float64)
        if state is None:
            if not chunk.shape[1]:
                return np.empty((len(chunk), 0)), None
            state = self._begin(chunk[:, 0])
        filtered, sections = chunk, state.sections
        if len(self.sections) and chunk.shape[1]:
            filtered, sections = sosfilt(self.sections, chunk, axis=1, zi=sections)
        known = np.concatenate([state.past, filtered], axis=1)
        n_read = state.n_read + chunk.shape[1]
        output = self._decimate(known, state.n_read, n_read)
        return output, CausalState(sections, known[:, known.shape[1] - self.n_past :].copy(), n_read)

    def _begin(self, first):
        """Return the state of channels that have always been constant."""
        steady = np.zeros((0, len(first), 2))
        level = first
        if len(self.sections):
            steady = sosfilt_zi(self.sections)[:, None, :] * first[:, None]
            gain = np.prod(self.sections[:, :3].sum(1) / self.sections[:, 3:].sum(1))
            level = first * gain
        return CausalState(steady, np.repeat(level[:, None], self.n_past, axis=1), 0)

    def _decimate(self, known, first, last):
        """Return the output at input times ``first`` to ``last`` - 1.

        ``known`` begins ``n_past`` samples before ``first``.
        """
        if self.up == self.down:
            return known[:, self.n_past :]
        begin, end = -(-first * self.up // self.down), -(-last * self.up // self.down)
        if begin == end:
            return np.empty((len(known), 0))
        # upfirdn starts at a sample of the output, so the signal is aligned with the start of the recording.
        lead = (first - self.n_past) % self.down
        aligned = np.concatenate([np.zeros((len(known), lead)), known], axis=1)
        skip = begin - (first - self.n_past - lead) * self.up // self.down
        return upfirdn(self.taps, aligned, self.up, self.down, axis=1)[:, skip : skip + end - begin]

    def delay(self, frequencies):
        """Compute the group delay of the chain.

        Parameters
        ----------
        frequencies : array-like of shape (n_frequencies,)
            Hz.

        Returns
        -------
        delay : ndarray of shape (n_frequencies,)
            Seconds.
        """
        frequencies = np.atleast_1d(np.asarray(frequencies, float))
        edges = np.stack([frequencies - DELAY_STEP, frequencies + DELAY_STEP])
        response = np.ones(edges.shape, complex)
        if len(self.sections):
            response = sosfreqz(self.sections, edges.ravel(), fs=self.sfreq_in)[1].reshape(edges.shape)
        if self.up != self.down:
            rate = self.sfreq_in * self.up
            response = response * freqz(self.taps, worN=edges.ravel(), fs=rate)[1].reshape(edges.shape)
        return -np.angle(response[1] / response[0]) / (2 * np.pi * 2 * DELAY_STEP)


@lru_cache(maxsize=64)
def _design_causal_sections(sfreq, l_freq, h_freq, notch):
    """Design the recursive filters: (n_sections, 6)."""
    sections = [tf2sos(*iirnotch(frequency, NOTCH_QUALITY, fs=sfreq)) for frequency in notch]
    if l_freq is not None or h_freq is not None:
        kind = "lowpass" if l_freq is None else "highpass" if h_freq is None else "bandpass"
        edges = [edge for edge in (l_freq, h_freq) if edge is not None]
        sections.append(butter(ORDER, edges if len(edges) == 2 else edges[0], kind, fs=sfreq, output="sos"))
    return np.concatenate(sections) if sections else np.empty((0, 6))


@lru_cache(maxsize=64)
def _design_causal_taps(up, down):
    """Design the minimum-phase anti-aliasing filter at the rate times up."""
    if up == down:
        return np.ones(1)
    slower = max(up, down)
    taps = firwin(2 * ZERO_CROSSINGS * slower + 1, CUTOFF / slower, window="hann")
    taps = minimum_phase(np.convolve(taps, taps))  # has the square root of this magnitude
    for phase in range(up):  # so that an offset has no ripple
        taps[phase::up] /= taps[phase::up].sum()
    return taps


def process_causally(data, sfreq, processing):
    """Filter and resample one part of a recording without later samples.

    Returns floor(n_times * sfreq_out / sfreq_in) samples.
    """
    chain = CausalChain(sfreq, processing.sfreq, processing.l_freq, processing.h_freq, processing.notch or ())
    return chain(data)[0][:, : data.shape[1] * chain.up // chain.down]

"""Guesses of the unit in which times were given, for messages."""

from __future__ import annotations

__all__ = ["guess_unit"]


def guess_unit(time, limit, sfreq=None, start=0.0):
    """Guess why a time in seconds is later than it can be.

    Parameters
    ----------
    time : float
        The latest time, in what should be seconds.
    limit : float
        What it may be at most, in seconds.
    sfreq : float, default=None
        Rate of the recording in Hz, if samples may have been meant.
    start : float, default=0.0
        Seconds between the start of the acquisition and the first sample.

    Returns
    -------
    text : str
        A sentence, " Are times in milliseconds?", that begins with a space. Empty if no unit explains the time.
    """
    if not limit > 0 or not limit < time:
        return ""
    fits = {"Are times in milliseconds?": time / 1000, "Are times in microseconds?": time / 1e6}
    if sfreq:
        fits[f"Are times in samples of {sfreq:g} Hz?"] = time / sfreq
    fits = {text: value / limit for text, value in fits.items() if value <= 1.02 * limit}
    if start > 0 and 0 <= time - start <= 1.02 * limit:
        fits[f"Do times count from the start of the acquisition, {start:.3f} s before the first sample?"] = (
            1.0
        )
    return f" {max(fits, key=fits.get)}" if fits and max(fits.values()) > 0.01 else ""

"""Checks of filter parameters, with each other and with the rate of a recording."""

from __future__ import annotations

__all__ = ["check_band", "check_filters_fit"]


def check_band(l_freq, h_freq, sfreq, notch=None):
    """Raise a ValueError if filters contradict each other or the rate that is read at.

    Parameters
    ----------
    l_freq, h_freq : float or None
        Edges of the pass band in Hz.
    sfreq : float
        Rate in Hz that recordings are resampled to.
    notch : tuple of float or None, default=None
        Line frequencies in Hz.
    """
    if notch is not None and not (notch and all(0 < frequency < float("inf") for frequency in notch)):
        raise ValueError(
            f"notch must be one or more frequencies above 0 Hz, got {notch!r}. Set notch=None to filter none."
        )
    if None not in (l_freq, h_freq) and l_freq >= h_freq:
        raise ValueError(
            f"l_freq must be below h_freq, got l_freq={l_freq:g} and h_freq={h_freq:g} Hz: such a filter would remove "
            f"the band between them instead of keeping one."
        )
    if l_freq is not None and l_freq >= sfreq / 2:
        raise ValueError(
            f"l_freq must be below half of sfreq, got l_freq={l_freq:g} Hz at sfreq={sfreq:g} Hz, which leaves nothing "
            f"of the signal. Lower l_freq or raise sfreq."
        )


def check_filters_fit(processing, file_sfreq, name):
    """Raise a ValueError if a filter lies at or above half of the rate of a recording.

    Parameters
    ----------
    processing : Processing
        ``l_freq, h_freq`` and ``notch`` in Hz.
    file_sfreq : float
        Rate of the recording in Hz.
    name : str
        The recording, in messages.
    """
    edges = [("l_freq", processing.l_freq), ("h_freq", processing.h_freq)]
    edges += [("notch", frequency) for frequency in processing.notch or ()]
    for parameter, frequency in edges:
        if frequency is not None and frequency >= file_sfreq / 2:
            raise ValueError(
                f"{parameter}={frequency:g} Hz must be below {file_sfreq / 2:g} Hz, half of the rate of {name}. Lower "
                f"it or set it to None."
            )

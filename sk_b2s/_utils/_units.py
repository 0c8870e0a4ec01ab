"""Units of samples, and guesses of the unit of times for error messages."""

from __future__ import annotations

UNITS = ("V", "mV", "uV", "nV", "T", "nT", "pT", "fT", "T/m", "fT/cm")
PREFIXES = {
    ("", ""): 1.0,
    ("milli", "m"): 1e-3,
    ("micro", "u", "µ", "μ"): 1e-6,  # the last two are the sign of micro and the Greek letter
    ("nano", "n"): 1e-9,
    ("pico", "p"): 1e-12,
    ("femto", "f"): 1e-15,
}
FACTORS = {"t/m": 1.0, "ft/cm": 1e-13}
for (word, *symbols), factor in PREFIXES.items():
    FACTORS |= {f"{word}{name}": factor for name in ("volt", "volts", "tesla", "teslas")}
    FACTORS |= {f"{symbol}{name}": factor for symbol in symbols for name in ("v", "t")}


def get_unit_factor(unit):
    """Return the factor from a unit of samples to V, T or T/m.

    Parameters
    ----------
    unit : str, int or float
        Name ("microvolts"), symbol ("uV") or exponent of ten (-6) as a string
        or a number, as LSL streams have it. Case is ignored.

    Returns
    -------
    factor : float or None
        None if the unit is not known.
    """
    name = str(unit).strip().lower()
    if name in FACTORS:
        return FACTORS[name]
    try:
        exponent = float(name)
    except ValueError:
        return None
    return 10.0**exponent if exponent.is_integer() and abs(exponent) <= 24 else None


def format_unknown_unit(unit):
    """Return the error about a unit that is not known, with those that are."""
    return f"unit must be one of {', '.join(UNITS)}, or a name such as 'microvolts'. Got {unit!r}."


def guess_unit(time, limit, sfreq=None, start=0.0):
    """Guess why a time in seconds is later than it can be.

    Parameters
    ----------
    time : float
        The latest time, in what should be seconds.
    limit : float
        Largest possible time, in seconds.
    sfreq : float, default=None
        Rate of the recording in Hz, if samples may have been meant.
    start : float, default=0.0
        Seconds between the start of the acquisition and the first sample.

    Returns
    -------
    text : str
        A sentence such as " Are times in milliseconds?", which begins with a
        space. Empty if no unit explains the time.
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
    return f" {max(fits, key=fits.get)}" if fits and max(fits.values()) > 0.1 else ""


def guess_unit_factor(ratio):
    """Guess the unit of times that are a factor too large or too small.

    Parameters
    ----------
    ratio : float
        A time that was given by one that was expected.

    Returns
    -------
    text : str
        A sentence that begins with a space. Empty if no unit has this factor.
    """
    units = {
        1000: "milliseconds",
        1e6: "microseconds",
        1e9: "nanoseconds",
        1 / 60: "minutes",
        1 / 3600: "hours",
    }
    for factor, unit in units.items():
        if abs(ratio / factor - 1) < 0.02:
            return f" Are times in {unit}?"
    if ratio > 20:
        return f" Times are {ratio:.4g} times as large as expected: are they in samples?"
    return ""

"""Test units of samples and guesses of the unit of times."""

import pytest

from sk_b2s._utils._units import FACTORS, UNITS, get_unit_factor, guess_unit


def test_get_unit_factor_reads_names_and_exponents():
    assert [get_unit_factor(unit) for unit in ("microvolts", "uV", "µV", "-6", -6)] == [1e-6] * 5
    assert [get_unit_factor(unit) for unit in ("V", "0", "fT", "teslas")] == [1.0, 1.0, 1e-15, 1.0]
    assert get_unit_factor("none") is None
    assert get_unit_factor("0.5") is None
    assert get_unit_factor("nan") is get_unit_factor("inf") is None
    assert set(map(str.lower, UNITS)) <= set(FACTORS)
    assert get_unit_factor("fT/cm") == 1e-13


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((12_000, 60.0, 250.0), "samples of 250 Hz"), ((50_000, 60.0, 250.0), "milliseconds"),
        ((75.0, 60.0, 250.0, 20.0), "20.000 s before the first sample"), ((61.0, 60.0, 250.0), ""), ((50.0, 60.0), ""),
    ],
)  # fmt: skip
def test_guess_unit_suggests_units(numbers, expected):
    text = guess_unit(*numbers)
    assert (expected in text) if expected else (text == "")

"""Tests for clock drift from triggers during a stimulus."""

import warnings

import numpy as np
import pytest
from helpers.sync_recordings import make_pulses, write_raw

from sk_b2s import events_from_raw
from sk_b2s.io._clocks._clock_fit import fit_clock


def test_fit_sync_warns_two_marks(tmp_path, wavs):
    fit = fit_clock([0, 0], [0.0, 60.0], [4.0, 64.02])
    assert np.isnan(fit.residual)
    path = write_raw(
        tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, make_pulses([4, 64.02], 140, [1, 9])
    )
    with pytest.warns(UserWarning, match=r"the marks imply a drift of \+333 ppm.* too few"):
        events = events_from_raw(path, {1: wavs[0]}, sync={9: "end"})
    assert events["residual_ms"].isna().all()


@pytest.mark.parametrize("sync", [{9: 1.0}, {9: list(np.arange(1.0, 60))}, {9: "end"}])
@pytest.mark.parametrize("missing", [0, 3])
def test_fit_sync_recovers_drift(tmp_path, wavs, sync, missing):
    ends = [*np.arange(1.0, 60), 60.0] if sync[9] != "end" else [60.0]
    times, codes = [], []
    for onset in (4.0, 75.0):
        kept = ends[missing:] if len(ends) > 1 else ends
        times += [onset, *(onset + np.array(kept) * (1 + 300e-6))]
        codes += [1, *[9] * len(kept)]
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, make_pulses(times, 140, codes))
    events = events_from_raw(path, {1: wavs}, sync=sync)
    np.testing.assert_allclose(events["onset"], [4, 75], atol=0.002)
    np.testing.assert_allclose(events["drift_ppm"], 300, atol=50 if sync[9] == "end" else 15)
    assert (events["residual_ms"] < 2).all()


def test_fit_sync_counts_missing_triggers(tmp_path, wavs):
    times = [4.0, *(4.0 + np.arange(1.0, 60)), 75.0]  # no mark in the second stimulus
    codes = [1, *[9] * 59, 1]
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, make_pulses(times, 140, codes))
    with pytest.warns(UserWarning, match=r"59 of 118 triggers are missing .* all of them in 'b\.wav'"):
        events_from_raw(path, {1: wavs}, sync={9: 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        events_from_raw(path, {1: wavs})

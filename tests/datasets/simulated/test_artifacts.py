"""Tests of simulated artifacts."""

import numpy as np
import pytest
from helpers.simulated import get_single
from scipy.fft import rfft, rfftfreq

from sk_b2s.datasets.simulated._artifacts import (
    ADDED,
    ARTIFACTS,
    USUAL,
    check_artifact_names,
    draw_attention_artifact,
)

RARE = {"minutes": 10, "sfreq": 64}  # duration in which jumps and bursts occur
CASES = [(name, "meg", RARE if name in ("jumps", "bursts") else {"minutes": 1}) for name in ADDED]
CASES += [(name, "eeg", changes) for name, _, changes in CASES if changes is not RARE]


@pytest.mark.parametrize(("name", "modality", "changes"), CASES, ids=[f"{m}-{name}" for name, m, _ in CASES])
def test_added_artifact_is_the_only_change(make, name, modality, changes):
    clean, _ = get_single(make(False, modality=modality, **changes))
    changed, truth = get_single(make(name, modality=modality, **changes))
    tolerance = 1e-4 * clean.std() + 1e-6 * np.abs(changed).max()  # the files are float32
    np.testing.assert_allclose(changed - clean, truth.artifacts(), atol=tolerance)
    assert np.abs(truth.artifacts()).max() > 0.1 * clean.std()


def test_add_blinks_position_rate_and_height(make):
    _, truth = get_single(make("blinks", modality="eeg"))
    course = truth.artifacts()
    front = np.argmax(np.abs(course).max(axis=1))
    assert truth.context.directions[front, 1] > 0.7  # y points to the front
    peaks = np.abs(course[front])
    assert 60e-6 < peaks.max() < 300e-6  # two blinks may overlap
    onsets = np.count_nonzero(np.diff((peaks > 30e-6).astype(int)) == 1)
    assert 15 < onsets < 50  # in 2.5 minutes


@pytest.mark.parametrize(("name", "touched"), [("jumps", 1), ("bursts", 16)])
def test_add_jumps_and_bursts_channels(make, name, touched):
    _, truth = get_single(make(name, modality="meg", **RARE))
    course = np.abs(truth.artifacts())
    assert 0.0005 < np.mean((course > 0).any(axis=0)) < 0.03
    first = np.flatnonzero((course > 0).any(axis=0))[3]
    assert np.count_nonzero(course[:, first]) == touched
    assert (course.max(axis=1) / truth.context.noise_sd).max() > 10


def test_add_line_artifact_and_drift_frequencies(make):
    for name, band in (("line", (49.5, 50.5)), ("drift", (0, 0.2))):
        _, truth = get_single(make(name))
        power = np.abs(rfft(truth.artifacts()[0])) ** 2
        frequency = rfftfreq(truth.sources.shape[1], 1 / 128)
        kept = (frequency >= band[0]) & (frequency <= band[1])
        assert power[kept].sum() > 0.9 * power.sum(), name


def test_add_earphones_without_delay(make):
    data, truth = get_single(make("earphones"))
    leak = truth.artifacts()
    ear = np.argmax(leak.std(axis=1))
    assert abs(truth.context.directions[ear, 0]) > 0.7  # lateral sensor
    lags = range(-20, 21)
    match = [abs(np.corrcoef(np.roll(truth.context.loudness, lag), data[ear])[0, 1]) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 1


def test_shift_and_gain_differ_by_session(make):
    _, still, _ = make(False, sessions=2, minutes=1)
    _, moved, _ = make("shift", sessions=2, minutes=1)
    _, louder, _ = make("gain", sessions=2, minutes=1)
    one, two = (truth.patterns for truth in still.values())
    np.testing.assert_array_equal(one, two)
    one, two = (truth.patterns for truth in moved.values())
    match = [np.corrcoef(a, b)[0, 1] for a, b in zip(one, two, strict=True)]
    assert 0.5 < min(match) < 0.999
    first, second = louder.values()
    ratio = second.patterns / first.patterns
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    assert 0.5 < ratio[0, 0] < 2
    assert ratio[0, 0] != 1
    assert second.context.noise_sd.mean() / first.context.noise_sd.mean() == pytest.approx(
        ratio[0, 0], rel=0.05
    )


def test_draw_attention_artifact_range():
    times = np.arange(0, 2400, 0.5)
    walks = np.array([draw_attention_artifact(np.random.default_rng(seed), times) for seed in range(20)])
    assert walks.min() >= 0.5
    assert walks.max() <= 1.3
    assert np.abs(np.diff(walks, axis=1)).max() < 0.03  # in half a second
    assert walks.std(axis=1).min() > 0.05


def test_check_artifact_names():
    assert check_artifact_names(True) == list(USUAL)
    assert check_artifact_names(False) == []
    assert check_artifact_names("line") == ["line"]
    assert check_artifact_names(["line", "blinks"]) == ["blinks", "line"]
    assert set(ADDED) < set(ARTIFACTS)
    with pytest.raises(ValueError, match=r"'artifacts' must be True, False or names of .* Got 'blink'"):
        check_artifact_names(["blink"])
    with pytest.raises(ValueError, match="Got None"):
        check_artifact_names(None)

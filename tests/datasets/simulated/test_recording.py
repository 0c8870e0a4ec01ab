"""Tests of simulated recordings."""

import numpy as np
import pytest
import soundfile
from helpers.simulated import PARAMETERS, get_single, read_recording
from scipy.signal import butter, sosfiltfilt, stft

from sk_b2s.datasets import make_listening
from sk_b2s.datasets.simulated._experiment import VERSION
from sk_b2s.datasets.simulated._recording import _vary_responses


def compute_features(path, weights):
    """Compute weighted onsets and envelopes at 128 Hz by independent code."""
    samples, rate = soundfile.read(path)
    frequencies, _, bins = stft(samples, rate, nperseg=400, noverlap=400 - rate // 128)
    mel = 2595 * np.log10(1 + frequencies / 700)
    band = np.minimum((8 * mel / mel[-1]).astype(int), 7)
    bands = np.array([(np.abs(bins[band == b]) ** 2).sum(axis=0) for b in range(8)]) ** 0.3
    return weights[0] @ np.maximum(np.gradient(bands, axis=1), 0), weights[1] @ bands


@pytest.mark.parametrize("subject", ["01", "02"])
def test_simulated_kernels_are_recovered(small_experiment, subject):
    """Deconvolve the projected sensors by independently computed features."""
    events, truth = small_experiment
    truth = truth[subject]
    raw = read_recording(events, subject)
    recording_truth = truth.recordings[events.loc[events["subject"] == subject, "recording"].iloc[0]]
    found = np.linalg.pinv(recording_truth.patterns.T) @ raw.get_data()
    sound = events[(events["subject"] == subject) & (events["type"] == "sound")].iloc[0]
    sfreq, begin = raw.info["sfreq"], round(sound["onset"] * raw.info["sfreq"])
    weights = [truth.weights[name][0] for name in ("onset", "envelope")]
    features = compute_features(sound["sound"], weights)
    kernels = [truth.kernels[name] for name in ("onset", "envelope")]
    for feature, response, kernel in zip(features, found[:2], kernels, strict=True):
        n_lags = round(0.4 * sfreq)
        lagged = np.array([np.roll(np.pad(feature, (0, n_lags)), lag) for lag in range(n_lags)])
        data = response[begin : begin + lagged.shape[1]]
        gram = lagged @ lagged.T
        estimate = np.linalg.solve(gram + 1e-3 * np.trace(gram) / n_lags * np.eye(n_lags), lagged @ data)
        true_kernel = np.interp(np.arange(n_lags) / sfreq, truth.lags, kernel)
        match = [np.corrcoef(np.roll(true_kernel, shift), estimate)[0, 1] for shift in range(-12, 13)]
        assert abs(np.argmax(match) - 12) <= 1  # sample, 8 ms
        assert max(match) > 0.95


@pytest.mark.parametrize("modality", ["meg", "eeg"])
def test_simulated_snr_at_best_channel(root, modality):
    events, truth = make_listening(**PARAMETERS, modality=modality, root=root, return_truth=True)
    for subject, subject_truth in truth.items():
        raw = read_recording(events, subject)
        (recording_truth,) = subject_truth.recordings.values()
        evoked = recording_truth.patterns.T @ recording_truth.sources
        noise = raw.get_data() - evoked
        band = butter(4, (0.5, 20), "bandpass", fs=raw.info["sfreq"], output="sos")
        sound = events[(events["subject"] == subject) & (events["type"] == "sound")].iloc[0]
        is_audio = np.abs(raw.times - sound["onset"] - sound["duration"] / 2) < sound["duration"] / 2
        ratio = sosfiltfilt(band, evoked)[:, is_audio].std(axis=1) / sosfiltfilt(band, noise).std(axis=1)
        assert 20 * np.log10(ratio.max()) == pytest.approx(subject_truth.snr_db, abs=0.5)


def test_simulated_noise_spectrum(root):
    events, truth = make_listening(**PARAMETERS, modality="eeg", root=root, return_truth=True)
    raw = read_recording(events, "01")
    (recording_truth,) = truth["01"].recordings.values()
    noise = raw.get_data() - recording_truth.patterns.T @ recording_truth.sources
    power = np.mean(np.abs(np.fft.rfft(noise)) ** 2, axis=0)
    frequency = np.fft.rfftfreq(noise.shape[1], 1 / 128)

    def level(low, high):
        return np.mean(power[(frequency > low) & (frequency < high)])

    assert level(9, 11) > 3 * level(13, 15)
    assert 2**0.8 < level(0.75, 1.5) / level(1.5, 3) < 2**1.6  # 1/f^1.2 over an octave


@pytest.mark.parametrize(
    ("name", "strength", "delay"),
    [("attention", (0.49, 1.31), 1e-3), ("clock", (0.9, 1.1), 0.061), ("jitter", (0.3, 3.0), 0.06)],
)
def test_vary_responses_amplitude_and_delay(name, strength, delay):
    """A ramp shows the delay, and a constant the amplitude."""
    times = np.arange(12000) / 10
    courses = np.array([np.ones_like(times), times])
    sentences = np.arange(0, 1200, 6.0)
    constant, ramp = _vary_responses([0, 0, 0, 0], [name], courses, sentences, 10)
    late = times - ramp / constant
    inside = slice(100, -100)
    assert strength[0] < constant[inside].min() <= constant[inside].max() < strength[1]
    assert np.abs(late[inside]).max() < delay
    changed = {"attention": constant.std(), "clock": np.abs(late[-200]), "jitter": late[inside].std()}[name]
    assert changed > 0.005


def test_fingerprint_differs_by_read_recording(make):
    _, common, _ = make(False, runs=2)
    _, own, _ = make("fingerprint", runs=2)
    for truths, equal in ((common, True), (own, False)):
        one, two = (truth.noise.covariance(5.0) for truth in truths.values())
        match = np.corrcoef(one[np.triu_indices(16)], two[np.triu_indices(16)])[0, 1]
        assert (match > 0.999) == equal
    assert len({truth.noise.exponent for truth in own.values()}) == 2
    for truths in (common, own):
        one, two = (truth.patterns / np.linalg.norm(truth.patterns) for truth in truths.values())
        np.testing.assert_allclose(one, two)  # equal response


def test_simulation_of_version_is_unchanged(make):
    """If these numbers change, increase VERSION, calibrate and update them."""
    assert VERSION == 4
    found = {}
    for modality, unit in (("meg", 1e-12), ("eeg", 1e-6)):
        data, truth = get_single(make(True, modality=modality))
        found[modality] = [
            data[3].std() / unit, np.median(np.abs(data)) / unit, truth.noise.sensor_sd[0] / unit,
            np.abs(truth.patterns[0]).max() / unit, truth.sources[3].std(), truth.artifacts()[5].std() / unit,
        ]  # fmt: skip
    expected = {
        "meg": [0.72473, 0.74711, 0.10501, 0.0070439, 0.77293, 1.0982],
        "eeg": [34.954, 41.567, 5.6005, 0.56362, 0.77293, 56.983],
    }
    for modality, values in found.items():
        np.testing.assert_allclose(values, expected[modality], rtol=1e-3)

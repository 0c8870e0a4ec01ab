"""Simulation of one recording with response, noise and artifacts."""

import numpy as np
from scipy.fft import irfft, rfft

from sk_b2s.datasets.simulated._artifacts import ArtifactContext, add_artifacts, draw_attention_artifact
from sk_b2s.datasets.simulated._ground_truth import RecordingTruth, make_ground_truth_rng
from sk_b2s.datasets.simulated._head import compute_head_lead_field, find_head_sensor_directions, move_head
from sk_b2s.datasets.simulated._noise import (
    BAND,
    EXPONENT,
    compute_noise_band_rms,
    draw_noise,
    is_inside_noise_band,
)
from sk_b2s.datasets.simulated._sources import (
    FEATURE_RATE,
    KERNEL_SECONDS,
    SOURCES,
    compute_source_levels,
    compute_source_responses,
    draw_dipole_sources,
    split_source_gain,
)

NOISE_LEVEL = {"meg": 150e-15, "eeg": 8e-6}  # T, V; brain noise from 0.5 to 20 Hz
GAIN = (0.7, 1.4)
CLOCK = (10e-6, 50e-6)
GAIN_JITTER, LATENCY_JITTER = 0.3, 0.015  # log-normal; s
IGNORED_AMPLITUDE = 0.4
FINGERPRINT_EXPONENT = (0.3, 0.9)


def simulate_recording(
    seed, subject, sensors, modality, names, features, schedule, n_times, scale=None, sources=SOURCES
):
    """Simulate a recording of a subject who is presented stimuli.

    Parameters
    ----------
    seed : list of int
        Seed of the experiment, and indices of subject, session and run.
    subject : SimulatedSubjectSources
        Subject.
    sensors : Info and ConductorModel
        Output of ``make_sensors_on_head``.
    modality : {"meg", "eeg"}
        Type of the sensors.
    names : list of str
        Names of artifacts.
    features : list of dict
        Output of ``compute_source_features`` for each stimulus, or the
        features of each image.
    schedule : dict
        ``onsets`` of the stimuli (s, NaN if not presented), onsets of
        ``sentences`` (s), and ``ignored`` (features) and ``ignored_onsets`` of
        the concurrent stream. If ``drifting`` is given, it replaces
        ``features`` in the recording, but not in the expected response.
    n_times : int
        Number of samples.
    scale : float, default=None
        T or V per unit of response. If None, set it to the ``snr_db`` of the
        subject at the channel where it is largest.
    sources : dict of str to dict, default=SOURCES
        Sources of the subject.

    Returns
    -------
    data : ndarray of shape (n_channels, n_times)
        Recording in T or V, as float32.
    truth : RecordingTruth
        Ground truth of the recording.
    scale : float
        Scale for other recordings of the subject.
    """
    sfreq, session = sensors[0]["sfreq"], seed[:3]
    positions, orientations, exponent = _choose_recording_dipoles(seed, subject, names)
    if "shift" in names:
        positions, orientations = move_head(make_ground_truth_rng(session, "shift"), positions, orientations)
    gain = make_ground_truth_rng(session, "gain").uniform(*GAIN) if "gain" in names else 1.0
    patterns, noise_gain, eyes = split_source_gain(
        compute_head_lead_field(*sensors, positions, orientations), subject.weights
    )
    noise_level = gain * NOISE_LEVEL[modality]
    data, noise = draw_noise(
        make_ground_truth_rng(seed, "noise"), noise_gain, noise_level, n_times, sfreq, exponent
    )
    patterns, onsets = gain * patterns, schedule["onsets"]
    level = compute_source_levels(subject, features)
    expected = compute_source_responses(subject, features, onsets, n_times, sfreq, level, sources)
    if scale is None:
        is_evoked = _find_evoked(features, onsets, n_times, sfreq)
        scale = _find_response_scale(patterns, expected, data, is_evoked, subject.snr_db, sfreq)
    courses = expected
    if "drifting" in schedule:
        courses = compute_source_responses(
            subject, schedule["drifting"], onsets, n_times, sfreq, level, sources
        )
    if "ignored" in names:
        courses = courses + IGNORED_AMPLITUDE * compute_source_responses(
            subject, schedule["ignored"], schedule["ignored_onsets"], n_times, sfreq, level
        )
    courses = _vary_responses(seed, names, courses, schedule["sentences"], sfreq)
    loudness = _compute_loudness(features, onsets, n_times, sfreq)
    context = ArtifactContext(
        modality, sfreq, data.std(axis=1), find_head_sensor_directions(sensors[0]), eyes, loudness
    )
    truth = RecordingTruth(scale * patterns, courses, expected, noise, names, seed, context)
    data += truth.patterns.T.astype(np.float32) @ courses
    add_artifacts(data, names, lambda name: make_ground_truth_rng(seed, name), context)
    return data, truth, scale


def _choose_recording_dipoles(seed, subject, names):
    """Return the dipoles and the exponent of the noise of a recording."""
    if "fingerprint" not in names:
        return subject.positions, subject.orientations, EXPONENT
    rng = make_ground_truth_rng(seed, "fingerprint")
    positions, orientations = subject.positions.copy(), subject.orientations.copy()
    drawn = draw_dipole_sources(rng)
    noise = slice(-2 - len(drawn[0]), -2)
    positions[noise], orientations[noise] = drawn
    return positions, orientations, rng.uniform(*FINGERPRINT_EXPONENT)


def _vary_responses(seed, names, courses, sentences, sfreq):
    """Apply attention, jitter and clock error to time courses."""
    if not {"attention", "jitter", "clock"} & set(names):
        return courses
    times = np.arange(courses.shape[1]) / sfreq
    amplitude, when = np.ones_like(times), times
    if "clock" in names:
        rng = make_ground_truth_rng(seed, "clock")
        when = times / (1 + rng.choice([-1, 1]) * rng.uniform(*CLOCK))
    if "attention" in names:
        amplitude = draw_attention_artifact(make_ground_truth_rng(seed, "attention"), times)
    if "jitter" in names:
        rng = make_ground_truth_rng(seed, "jitter")
        louder = np.exp(GAIN_JITTER * rng.standard_normal(len(sentences)))
        later = LATENCY_JITTER * rng.standard_normal(len(sentences))
        amplitude = amplitude * np.interp(times, sentences, louder)
        when = when - np.interp(times, sentences, later)
    return np.array([amplitude * np.interp(when, times, course) for course in courses], np.float32)


def _find_response_scale(patterns, courses, noise, is_evoked, snr_db, sfreq):
    """Find the scale for a largest signal-to-noise ratio of ``snr_db``."""
    spectrum = rfft(courses)
    spectrum[:, ~is_inside_noise_band(np.fft.rfftfreq(courses.shape[1], 1 / sfreq), BAND)] = 0
    filtered = irfft(spectrum, courses.shape[1])[:, is_evoked]
    covariance = filtered @ filtered.T / filtered.shape[1]
    evoked = np.sqrt(np.einsum("ic,ij,jc->c", patterns, covariance, patterns))
    return 10 ** (snr_db / 20) / np.max(evoked / compute_noise_band_rms(noise, sfreq))


def _find_evoked(features, onsets, n_times, sfreq):
    """Return which samples have audio, or the response to an image."""
    times, is_evoked = np.arange(n_times) / sfreq, np.zeros(n_times, bool)
    for onset, feature in zip(onsets, features, strict=True):
        if np.isfinite(onset):
            seconds = feature["envelope"].shape[1] / FEATURE_RATE if "envelope" in feature else KERNEL_SECONDS
            is_evoked |= (times >= onset) & (times < onset + seconds)
    return is_evoked


def _compute_loudness(features, onsets, n_times, sfreq):
    """Compute the audio envelope, of root mean square 1 during audio.

    It is 0 without audio.
    """
    times, course = np.arange(n_times) / sfreq, np.zeros(n_times)
    if "envelope" not in features[0]:
        return course.astype(np.float32)
    for onset, feature in zip(onsets, features, strict=True):
        if np.isfinite(onset):
            envelope = feature["envelope"].mean(axis=0)
            when = onset + np.arange(len(envelope)) / FEATURE_RATE
            course += np.interp(times, when, envelope, left=0, right=0)
    has_audio = _find_evoked(features, onsets, n_times, sfreq)
    return (course / np.sqrt(np.mean(course[has_audio] ** 2))).astype(np.float32)

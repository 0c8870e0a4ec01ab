"""One simulated recording: response, noise and artifacts."""

import numpy as np
from scipy.fft import irfft, rfft

from sk_b2s.datasets.simulated._artifacts import SimulationContext, add_artifacts, attention_walk
from sk_b2s.datasets.simulated._ground_truth import RecordingTruth, make_rng
from sk_b2s.datasets.simulated._head import lead_field, move, sensor_directions
from sk_b2s.datasets.simulated._noise import BAND, EXPONENT, band_rms, draw_noise, inside
from sk_b2s.datasets.simulated._sources import (
    FEATURE_RATE,
    draw_noise_dipoles,
    iter_nested,
    respond,
    split_gain,
)

NOISE_LEVEL = {"meg": 150e-15, "eeg": 8e-6}  # T, V: brain noise, 0.5 to 20 Hz
GAIN = (0.7, 1.4)
CLOCK = (10e-6, 50e-6)
GAIN_JITTER, LATENCY_JITTER = 0.3, 0.015  # log-normal; s
IGNORED = 0.4
OWN_EXPONENT = (0.3, 0.9)  # of a recording with a fingerprint


def simulate_recording(seed, listener, sensors, modality, names, features, schedule, n_times, scale=None):
    """Simulate what the sensors record while a listener hears sounds.

    Parameters
    ----------
    seed : list of int
        Experiment, subject, session, run.
    listener : Listener
    sensors : Info and ConductorModel
        From :func:`~sk_b2s.datasets.simulated._head.make_sensors`.
    modality : "meg" or "eeg"
    names : list of str
        Artifacts that are on.
    features : list of dict
        By sound, from :func:`~sk_b2s.datasets.simulated._sources.sound_features`.
    schedule : dict
        ``onsets`` (n_sounds,), s, NaN if not heard; ``sentences``, when sentences begin, s; and of what is
        heard beside, ``ignored`` (features by sound) and ``ignored_onsets``.
    n_times : int
        Length of the recording in samples.
    scale : float, default=None
        T or V per unit of response; None sets it so that evoked over noise is the listener's ``snr_db``
        at the channel where it is largest.

    Returns
    -------
    data : ndarray of shape (n_channels, n_times)
        T or V, float32.
    truth : RecordingTruth
    scale : float
        For the listener's further recordings.
    """
    sfreq, session = sensors[0]["sfreq"], seed[:3]
    positions, orientations, exponent = _brain(seed, listener, names)
    if "shift" in names:
        positions, orientations = move(make_rng(session, "shift"), positions, orientations)
    strength = make_rng(session, "gain").uniform(*GAIN) if "gain" in names else 1.0
    patterns, noise_gain, eyes = split_gain(lead_field(*sensors, positions, orientations))
    noise_level = strength * NOISE_LEVEL[modality]
    data, noise = draw_noise(make_rng(seed, "noise"), noise_gain, noise_level, n_times, sfreq, exponent)
    patterns, onsets = strength * patterns, schedule["onsets"]
    level = iter_nested(listener, features)
    expected = respond(listener, features, onsets, n_times, sfreq, level)
    if scale is None:
        heard = _heard(features, onsets, n_times, sfreq)
        scale = _find_scale(patterns, expected, data, heard, listener.snr_db, sfreq)
    sources = expected
    if "ignored" in names:
        sources = sources + IGNORED * respond(
            listener, schedule["ignored"], schedule["ignored_onsets"], n_times, sfreq, level
        )
    sources = _as_it_happens(seed, names, sources, schedule["sentences"], sfreq)
    loudness = _loudness(features, onsets, n_times, sfreq)
    bench = SimulationContext(
        modality, sfreq, data.std(axis=1), sensor_directions(sensors[0]), eyes, loudness
    )
    truth = RecordingTruth(scale * patterns, sources, expected, noise, names, seed, bench)
    data += truth.patterns.T.astype(np.float32) @ sources
    add_artifacts(data, names, lambda name: make_rng(seed, name), bench)
    return data, truth, scale


def _brain(seed, listener, names):
    """Dipoles of a recording and the exponent of its noise: the listener's, or of its own."""
    if "fingerprint" not in names:
        return listener.positions, listener.orientations, EXPONENT
    rng = make_rng(seed, "fingerprint")
    positions, orientations = listener.positions.copy(), listener.orientations.copy()
    drawn = draw_noise_dipoles(rng)
    noise = slice(-2 - len(drawn[0]), -2)
    positions[noise], orientations[noise] = drawn
    return positions, orientations, rng.uniform(*OWN_EXPONENT)


def _as_it_happens(seed, names, courses, sentences, sfreq):
    """Let attention, jitter and the recorder's clock change the courses: (n_courses, n_times)."""
    if not {"attention", "jitter", "clock"} & set(names):
        return courses
    times = np.arange(courses.shape[1]) / sfreq
    strength, when = np.ones_like(times), times
    if "clock" in names:
        rng = make_rng(seed, "clock")
        when = times / (1 + rng.choice([-1, 1]) * rng.uniform(*CLOCK))
    if "attention" in names:
        strength = attention_walk(make_rng(seed, "attention"), times)
    if "jitter" in names:
        rng = make_rng(seed, "jitter")
        louder = np.exp(GAIN_JITTER * rng.standard_normal(len(sentences)))
        later = LATENCY_JITTER * rng.standard_normal(len(sentences))
        strength = strength * np.interp(times, sentences, louder)
        when = when - np.interp(times, sentences, later)
    return np.array([strength * np.interp(when, times, course) for course in courses], np.float32)


def _find_scale(patterns, courses, noise, heard, snr_db, sfreq):
    """Find the scale at which evoked over noise is ``snr_db`` where it is largest."""
    spectrum = rfft(courses)
    spectrum[:, ~inside(np.fft.rfftfreq(courses.shape[1], 1 / sfreq), BAND)] = 0
    filtered = irfft(spectrum, courses.shape[1])[:, heard]
    covariance = filtered @ filtered.T / filtered.shape[1]
    evoked = np.sqrt(np.einsum("ic,ij,jc->c", patterns, covariance, patterns))
    return 10 ** (snr_db / 20) / np.max(evoked / band_rms(noise, sfreq))


def _heard(features, onsets, n_times, sfreq):
    """Tell at which samples sound is on: (n_times,)."""
    times, heard = np.arange(n_times) / sfreq, np.zeros(n_times, bool)
    for onset, feature in zip(onsets, features, strict=True):
        if np.isfinite(onset):
            stop = onset + feature["envelope"].shape[1] / FEATURE_RATE
            heard |= (times >= onset) & (times < stop)
    return heard


def _loudness(features, onsets, n_times, sfreq):
    """Envelope of what is played: (n_times,) float32, of root mean square 1 while sound is on."""
    times, course = np.arange(n_times) / sfreq, np.zeros(n_times)
    for onset, feature in zip(onsets, features, strict=True):
        if np.isfinite(onset):
            envelope = feature["envelope"].mean(axis=0)
            when = onset + np.arange(len(envelope)) / FEATURE_RATE
            course += np.interp(times, when, envelope, left=0, right=0)
    on = _heard(features, onsets, n_times, sfreq)
    return (course / np.sqrt(np.mean(course[on] ** 2))).astype(np.float32)

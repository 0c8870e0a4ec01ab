"""Auditory sources of simulated subjects, and their responses to stimuli.

Functions draw from the given random number generator in a fixed order, so a
seed defines a subject.
"""

from typing import NamedTuple

import numpy as np
import soundfile as sf
from scipy.signal import fftconvolve

from sk_b2s.datasets.simulated._head import HEAD_RADIUS, move_into_head, normalize_head_vectors
from sk_b2s.features._stft import compute_stft, make_stft_filter_bank

SNR_SPREAD = 3.0  # dB, s.d. over subjects
FEATURE_RATE = 250  # Hz
N_BANDS = 8
N_FFT = 400  # samples, 25 ms at 16 kHz
KERNEL_SECONDS = 0.6

# Positions (mm) in the right hemisphere, relative to the center of the head; +x is right, +y is anterior.
# A peak of a kernel is its latency (s), width (s) and weight.
SOURCES = {
    "onset": {"position": (48, 5, 12), "amplitude": 1.0,
              "peaks": [(0.050, 0.012, 1.0), (0.100, 0.020, -1.3), (0.190, 0.035, 0.9)]},
    "envelope": {"position": (55, -10, 10), "amplitude": 0.6,
                 "peaks": [(0.070, 0.020, 0.5), (0.120, 0.030, -1.0), (0.220, 0.045, 0.5)]},
    "phonetic": {"position": (58, -25, 15), "amplitude": 0.6,
                 "peaks": [(0.110, 0.025, 1.0), (0.200, 0.045, -0.7)]},
    "word": {"position": (45, 35, 15), "amplitude": 0.35,
             "peaks": [(0.180, 0.040, 0.4), (0.380, 0.080, -1.0)]},
}  # fmt: skip
# Time courses are equal in both hemispheres, except for phonetic classes, which have other weights.
COURSES = ("onset", "envelope", "phonetic left", "phonetic right", "word")
PHONETIC_CLASSES = {
    "front vowel": "iy ih ey eh ae", "central vowel": "ah ax er", "back vowel": "aa ao ow uh uw",
    "diphthong": "aw ay oy", "voiced stop": "b d g", "voiceless stop": "p t k", "voiced fricative": "v dh z zh",
    "voiceless fricative": "f th s sh hh", "affricate": "ch jh", "nasal": "m n ng", "liquid": "l r",
    "glide": "w y",
}  # fmt: skip
CLASS_OF = {phone: i for i, phones in enumerate(PHONETIC_CLASSES.values()) for phone in phones.split()}
UP_AND_FORWARD = np.array([0.0, 0.5, 0.85])
POSITION_SPREAD, ORIENTATION_SPREAD = 0.006, 0.25  # m, rad
LATENCY_SPREAD, WEIGHT_SPREAD = 0.012, 0.2  # s, relative
N_NOISE_DIPOLES, N_ALPHA_DIPOLES = 150, 6
EYES = np.array([[-0.032, 0.070, -0.020], [0.032, 0.070, -0.020]])  # m


class SimulatedSubjectSources(NamedTuple):
    """Traits of a subject that do not depend on sensors and stimuli."""

    snr_db: float
    lags: np.ndarray  # (n_lags,), s
    kernels: dict  # source: (n_lags,)
    latencies: dict  # source: (n_peaks,), s
    weights: dict  # source: (n_courses, n_features)
    # (n_dipoles, 3), m from the center of the head: left and right of each source, noise, alpha, eyes
    positions: np.ndarray
    orientations: np.ndarray  # (n_dipoles, 3), unit vectors


def draw_source_weights(rng):
    """Draw the weights of each source of speech."""
    return {
        "onset": rng.gamma(4, 1 / 4, (1, N_BANDS)),
        "envelope": rng.gamma(2, 1 / 2, (1, N_BANDS)),
        "phonetic": rng.standard_normal((2, len(PHONETIC_CLASSES))),
        "word": np.ones((1, 1)),
    }


def draw_subject_sources(rng, snr_db, sources=SOURCES, draw_weights=draw_source_weights):
    """Draw a subject with a signal-to-noise ratio around ``snr_db``.

    Parameters
    ----------
    rng : Generator
        Random number generator.
    snr_db : float
        Mean signal-to-noise ratio over subjects.
    sources : dict of str to dict, default=SOURCES
        Position, amplitude and peaks of each source.
    draw_weights : callable, default=draw_source_weights
        ``draw_weights(rng)`` returns the weights of each source, of shape
        (n_courses, n_features). Two courses are those of both hemispheres, and
        one course is equal in both.

    Returns
    -------
    subject : SimulatedSubjectSources
        Subject.
    """
    snr_db = snr_db + SNR_SPREAD * rng.standard_normal()
    lags = np.arange(0, KERNEL_SECONDS, 1 / FEATURE_RATE)
    weights = draw_weights(rng)
    kernels, latencies, positions, orientations = {}, {}, [], []
    for name, source in sources.items():
        latency, width, weight = np.array(source["peaks"]).T
        latency = np.maximum(latency + LATENCY_SPREAD * rng.standard_normal(len(latency)), 0.010)
        weight = weight * (1 + WEIGHT_SPREAD * rng.standard_normal(len(weight)))
        kernels[name] = np.exp(-0.5 * ((lags[:, None] - latency) / width) ** 2) @ weight
        latencies[name] = latency
        for side in (-1, 1):
            position = np.array(source["position"]) * (side, 1, 1) / 1000
            positions.append(position + POSITION_SPREAD * rng.standard_normal(3))
            orientations.append(
                normalize_head_vectors(
                    normalize_head_vectors(UP_AND_FORWARD) + ORIENTATION_SPREAD * rng.standard_normal(3)
                )
            )
    noise = draw_dipole_sources(rng)
    positions = move_into_head(np.concatenate([positions, noise[0], EYES]))
    orientations = np.concatenate(
        [orientations, noise[1], np.tile(normalize_head_vectors(np.array([0.0, 1.0, 0.6])), (2, 1))]
    )
    return SimulatedSubjectSources(snr_db, lags, kernels, latencies, weights, positions, orientations)


def draw_dipole_sources(rng):
    """Draw positions (m) and orientations of brain noise and alpha dipoles."""
    all_over = normalize_head_vectors(rng.standard_normal((N_NOISE_DIPOLES, 3))) * rng.uniform(
        0.4, 0.85, (N_NOISE_DIPOLES, 1)
    )
    posterior = np.array([0.0, -0.7, 0.1]) + rng.normal(0, (0.25, 0.08, 0.15), (N_ALPHA_DIPOLES, 3))
    positions = move_into_head(np.concatenate([all_over, posterior]) * HEAD_RADIUS)
    return positions, normalize_head_vectors(np.cross(positions, rng.standard_normal(positions.shape)))


def split_source_gain(gain, weights):
    """Split the lead field of a subject into sources, noise and eyes.

    Parameters
    ----------
    gain : ndarray of shape (n_channels, n_dipoles)
        Lead field of the dipoles of a subject.
    weights : dict of str to ndarray of shape (n_courses, n_features)
        Weights of each source of the subject.

    Returns
    -------
    patterns : ndarray of shape (n_courses, n_channels)
        Sensor pattern of each course, of ``COURSES`` for speech.
    noise : ndarray of shape (n_channels, 156)
        Lead field of brain noise and alpha.
    eyes : ndarray of shape (n_channels,)
        Sensor pattern of the eyes.
    """
    sides = {name: gain[:, 2 * i : 2 * i + 2].T for i, name in enumerate(weights)}
    rows = []
    for name, (left, right) in sides.items():
        rows += [left, right] if len(weights[name]) == 2 else [left + right]
    return np.array(rows), gain[:, 2 * len(weights) : -2], gain[:, -2:].sum(axis=1)


def compute_source_features(path, stop, spoken=None):
    """Compute the features of an audio file that subjects respond to.

    Parameters
    ----------
    path : path-like
        Audio file.
    stop : float
        Duration in s from the beginning.
    spoken : DataFrame, default=None
        Rows of type "word" and "phoneme". If None, these features are 0.

    Returns
    -------
    features : dict of str to ndarray of shape (n_features, n_frames)
        Features of each source. ``envelope`` is the mel spectrum with power
        0.3 in eight bands, and ``onset`` is its increase. ``phonetic`` has a
        pulse at the onset of each phone, in one of twelve classes, and
        ``word`` has a pulse at the onset of each word. Frame k is at k / 250
        s, and spectra cover the 25 ms around it.
    """
    samples, rate = sf.read(path, frames=round(stop * sf.info(path).samplerate), dtype="float32")
    spectrum = compute_stft(np.pad(samples, N_FFT // 2), N_FFT, rate // FEATURE_RATE)
    filters = make_stft_filter_bank(rate, N_FFT, N_BANDS, htk=False)
    mel = np.einsum("ft,mf->mt", np.abs(spectrum) ** 2, filters, optimize=True)
    envelope = mel**0.3
    rise = np.maximum(np.gradient(envelope, axis=1), 0) * FEATURE_RATE
    phonetic, word = np.zeros((len(PHONETIC_CLASSES), mel.shape[1])), np.zeros((1, mel.shape[1]))
    if spoken is not None:
        frame = np.minimum(np.round(spoken["sound_onset"] * FEATURE_RATE).astype(int), mel.shape[1] - 1)
        phones, words = spoken["type"] == "phoneme", spoken["type"] == "word"
        np.add.at(phonetic, (spoken["text"][phones].map(CLASS_OF).to_numpy(), frame[phones].to_numpy()), 1.0)
        np.add.at(word[0], frame[words].to_numpy(), 1.0)
    return {"onset": rise, "envelope": envelope, "phonetic": phonetic, "word": word}


def compute_source_levels(subject, features):
    """Compute the root mean square of each unscaled source over stimuli."""
    responses = {
        name: [compute_source_response(subject, name, f) for f in features] for name in subject.weights
    }
    return {name: np.sqrt(np.mean(np.concatenate(r, axis=1) ** 2)) for name, r in responses.items()}


def compute_source_response(subject, name, features):
    """Compute the response (n_courses, n_frames) of a source to a stimulus."""
    return fftconvolve(subject.weights[name] @ features[name], subject.kernels[name][None], axes=1)


def compute_source_responses(subject, features, onsets, n_times, sfreq, level, sources=SOURCES):
    """Compute the time courses of the sources in a recording.

    Parameters
    ----------
    subject : SimulatedSubjectSources
        Subject.
    features : list of dict
        Features of each stimulus.
    onsets : ndarray of shape (n_stimuli,)
        Onset of each stimulus in s, NaN if it is not presented.
    n_times : int
        Number of samples.
    sfreq : float
        Sampling rate in Hz.
    level : dict of str to float
        Output of :func:`compute_source_levels` for all stimuli.
    sources : dict of str to dict, default=SOURCES
        Sources with their amplitude.

    Returns
    -------
    courses : ndarray of shape (n_courses, n_times)
        Time courses as float32. Their root mean square over all stimuli is 1,
        0.6, 0.6 and 0.35 for onsets, envelope, phonetic classes (mean of both
        hemispheres) and words.
    """
    courses, times = [], np.arange(n_times) / sfreq
    for name, source in sources.items():
        course = np.zeros((len(subject.weights[name]), n_times))
        for onset, feature in zip(onsets, features, strict=True):
            if np.isfinite(onset):
                response = compute_source_response(subject, name, feature)
                when = onset + np.arange(response.shape[1]) / FEATURE_RATE
                own = slice(*np.searchsorted(times, [when[0], when[-1]]) + [0, 1])  # the others are 0
                course[:, own] += [np.interp(times[own], when, row, left=0, right=0) for row in response]
        courses.append(course * (source["amplitude"] / level[name] if level[name] > 0 else 0.0))
    return np.concatenate(courses).astype(np.float32)

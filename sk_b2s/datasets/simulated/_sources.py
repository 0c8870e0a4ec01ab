"""Auditory sources of a simulated subject.

Everything here is drawn from the generator it is given, in one order, so that one seed is one person.
"""

from typing import NamedTuple

import librosa
import numpy as np
import soundfile as sf
from scipy.signal import fftconvolve

from sk_b2s.datasets.simulated._head import HEAD_RADIUS, inside_skull, unit

SNR_SPREAD = 3.0  # dB, s.d. over subjects
FEATURE_RATE = 250  # Hz
N_BANDS = 8
KERNEL_SECONDS = 0.6

# Positions (mm) are relative to the center of the spherical head, right hemisphere; +x right, +y front.
# A bump of a kernel is its latency (s), width (s) and weight.
SOURCES = {
    "onset": {"position": (48, 5, 12), "amplitude": 1.0,
              "bumps": [(0.050, 0.012, 1.0), (0.100, 0.020, -1.3), (0.190, 0.035, 0.9)]},
    "envelope": {"position": (55, -10, 10), "amplitude": 0.6,
                 "bumps": [(0.070, 0.020, 0.5), (0.120, 0.030, -1.0), (0.220, 0.045, 0.5)]},
    "phonetic": {"position": (58, -25, 15), "amplitude": 0.6,
                 "bumps": [(0.110, 0.025, 1.0), (0.200, 0.045, -0.7)]},
    "word": {"position": (45, 35, 15), "amplitude": 0.35,
             "bumps": [(0.180, 0.040, 0.4), (0.380, 0.080, -1.0)]},
}  # fmt: skip
# Both hemispheres follow one course, but for the phonetic classes, which they weigh differently.
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


class SimulatedSubject(NamedTuple):
    """Who a subject is: the traits that do not depend on sensors, sounds or length."""

    snr_db: float
    lags: np.ndarray  # (n_lags,), s
    kernels: dict  # source: (n_lags,)
    latencies: dict  # source: (n_bumps,), s
    weights: dict  # source: (n_courses, n_features)
    positions: (
        np.ndarray
    )  # (n_dipoles, 3), m from the head's center: left, right of each source; noise; alpha; eyes
    orientations: np.ndarray  # (n_dipoles, 3), of length 1


def draw_listener(rng, snr_db):
    """Draw one subject, whose signal-to-noise ratio is 3 dB (s.d.) around ``snr_db``.

    Parameters
    ----------
    rng : Generator
        The subject's own.
    snr_db : float
        Mean over subjects, in dB.

    Returns
    -------
    listener : Listener
    """
    snr_db = snr_db + SNR_SPREAD * rng.standard_normal()
    lags = np.arange(0, KERNEL_SECONDS, 1 / FEATURE_RATE)
    weights = {
        "onset": rng.gamma(4, 1 / 4, (1, N_BANDS)),
        "envelope": rng.gamma(2, 1 / 2, (1, N_BANDS)),
        "phonetic": rng.standard_normal((2, len(PHONETIC_CLASSES))),
        "word": np.ones((1, 1)),
    }
    kernels, latencies, positions, orientations = {}, {}, [], []
    for name, source in SOURCES.items():
        latency, width, weight = np.array(source["bumps"]).T
        latency = np.maximum(latency + LATENCY_SPREAD * rng.standard_normal(len(latency)), 0.010)
        weight = weight * (1 + WEIGHT_SPREAD * rng.standard_normal(len(weight)))
        kernels[name] = np.exp(-0.5 * ((lags[:, None] - latency) / width) ** 2) @ weight
        latencies[name] = latency
        for side in (-1, 1):
            place = np.array(source["position"]) * (side, 1, 1) / 1000
            positions.append(place + POSITION_SPREAD * rng.standard_normal(3))
            orientations.append(unit(unit(UP_AND_FORWARD) + ORIENTATION_SPREAD * rng.standard_normal(3)))
    noise = draw_noise_dipoles(rng)
    positions = inside_skull(np.concatenate([positions, noise[0], EYES]))
    orientations = np.concatenate([orientations, noise[1], np.tile(unit(np.array([0.0, 1.0, 0.6])), (2, 1))])
    return SimulatedSubject(snr_db, lags, kernels, latencies, weights, positions, orientations)


def draw_noise_dipoles(rng):
    """Draw where brain noise and alpha come from: positions (m) and orientations, (n_dipoles, 3) each."""
    anywhere = unit(rng.standard_normal((N_NOISE_DIPOLES, 3))) * rng.uniform(0.4, 0.85, (N_NOISE_DIPOLES, 1))
    back = np.array([0.0, -0.7, 0.1]) + rng.normal(0, (0.25, 0.08, 0.15), (N_ALPHA_DIPOLES, 3))
    positions = inside_skull(np.concatenate([anywhere, back]) * HEAD_RADIUS)
    return positions, unit(np.cross(positions, rng.standard_normal(positions.shape)))


def split_gain(gain):
    """Part a lead field by the listener's dipoles.

    Parameters
    ----------
    gain : ndarray of shape (n_channels, n_dipoles)
        Of the listener's positions.

    Returns
    -------
    patterns : ndarray of shape (n_courses, n_channels)
        What each of ``COURSES`` does to the sensors.
    noise : ndarray of shape (n_channels, 156)
        Of brain noise and alpha.
    eyes : ndarray of shape (n_channels,)
    """
    sides = {name: gain[:, 2 * i : 2 * i + 2].T for i, name in enumerate(SOURCES)}
    rows = []
    for name, (left, right) in sides.items():
        rows += [left, right] if name == "phonetic" else [left + right]
    return np.array(rows), gain[:, 2 * len(SOURCES) : -2], gain[:, -2:].sum(axis=1)


def sound_features(path, stop, spoken=None):
    """Compute what the simulated listeners respond to in a sound.

    Parameters
    ----------
    path : path-like
        An audio file.
    stop : float
        Take its first ``stop`` seconds.
    spoken : DataFrame, default=None
        Rows of type "word" and "phoneme" of the sound; without them there are no such responses.

    Returns
    -------
    features : dict of str to ndarray of shape (n_features, n_frames)
        By source. ``envelope``: the Mel spectrum's power to the 0.3 in eight bands; ``onset``: its rise;
        ``phonetic``: a pulse at the onset of each phone, in one of twelve classes; ``word``: a pulse at
        the onset of each word. Frame k is at k / 250 s; spectra are of the 25 ms around it.
    """
    samples, rate = sf.read(path, frames=round(stop * sf.info(path).samplerate), dtype="float32")
    mel = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_fft=400, hop_length=rate // FEATURE_RATE, n_mels=N_BANDS, power=2.0
    )
    envelope = mel**0.3
    rise = np.maximum(np.gradient(envelope, axis=1), 0) * FEATURE_RATE
    phonetic, word = np.zeros((len(PHONETIC_CLASSES), mel.shape[1])), np.zeros((1, mel.shape[1]))
    if spoken is not None:
        frame = np.minimum(np.round(spoken["sound_onset"] * FEATURE_RATE).astype(int), mel.shape[1] - 1)
        phones, words = spoken["type"] == "phoneme", spoken["type"] == "word"
        np.add.at(phonetic, (spoken["text"][phones].map(CLASS_OF).to_numpy(), frame[phones].to_numpy()), 1.0)
        np.add.at(word[0], frame[words].to_numpy(), 1.0)
    return {"onset": rise, "envelope": envelope, "phonetic": phonetic, "word": word}


def iter_nested(listener, features):
    """Find how strong the sources answer before they are scaled: root mean square over sounds, {source: float}."""
    answers = {name: [_answer(listener, name, f) for f in features] for name in SOURCES}
    return {name: np.sqrt(np.mean(np.concatenate(a, axis=1) ** 2)) for name, a in answers.items()}


def _answer(listener, name, features):
    """Answer of a source to a sound: (n_courses, n_frames)."""
    return fftconvolve(listener.weights[name] @ features[name], listener.kernels[name][None], axes=1)


def respond(listener, features, onsets, n_times, sfreq, level):
    """Compute the time courses of the sources.

    Parameters
    ----------
    listener : Listener
    features : list of dict
        By sound, from :func:`sound_features`.
    onsets : ndarray of shape (n_sounds,)
        When each sound begins, in s; NaN for those not heard.
    n_times : int
        Length of the recording in samples.
    sfreq : float
        Its rate.
    level : dict of str to float
        From :func:`iter_nested` of all sounds of the experiment.

    Returns
    -------
    courses : ndarray of shape (n_courses, n_times)
        float32; root mean square 1, 0.6, 0.6 and 0.35 over all sounds for onsets, envelope, phonetic classes
        (mean of both sides) and words.
    """
    courses, times = [], np.arange(n_times) / sfreq
    for name, source in SOURCES.items():
        course = np.zeros((len(listener.weights[name]), n_times))
        for onset, feature in zip(onsets, features, strict=True):
            if np.isfinite(onset):
                answer = _answer(listener, name, feature)
                when = onset + np.arange(answer.shape[1]) / FEATURE_RATE
                course += [np.interp(times, when, row, left=0, right=0) for row in answer]
        courses.append(course * (source["amplitude"] / level[name] if level[name] > 0 else 0.0))
    return np.concatenate(courses).astype(np.float32)

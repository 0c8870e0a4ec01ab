"""A simulated listener: a spherical head, auditory sources that follow the sound, and noise.

Everything here is drawn from the generator it is given, in one order, so that one seed is one person.
"""

from dataclasses import dataclass
from typing import NamedTuple

import librosa
import mne
import numpy as np
import soundfile as sf
from mne.io.constants import FIFF
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve

__all__ = ["ListenerTruth"]

# What differs between the two: sensors, mean signal-to-noise ratio, and in-band brain noise in T or V.
MODALITIES = {
    "meg": {"n_channels": 208, "snr_db": -18.0, "noise": 150e-15},
    "eeg": {"n_channels": 128, "snr_db": -22.0, "noise": 8e-6},
}
EEG_CAPS = (16, 32, 64, 128)  # BioSemi's, as MNE knows them
SNR_SPREAD = 3.0  # dB, s.d. over subjects
BAND = (0.5, 20.0)  # Hz, where signal and noise are compared
FEATURE_RATE = 250  # Hz
N_BANDS = 8
KERNEL_SECONDS = 0.6

# Positions (mm) are relative to the centre of the spherical head, right hemisphere; +x right, +y front.
HEAD_CENTRE, HEAD_RADIUS, HELMET_RADIUS = np.array([0.0, 0.0, 0.040]), 0.095, 0.115
SOURCES = {
    "onset": {"position": (48, 5, 12), "amplitude": 1.0, "bands": 4,
              "bumps": [(0.050, 0.012, 1.0), (0.100, 0.020, -1.3), (0.190, 0.035, 0.9)]},
    "envelope": {"position": (55, -10, 10), "amplitude": 0.6, "bands": 2,
                 "bumps": [(0.070, 0.020, 0.5), (0.120, 0.030, -1.0), (0.220, 0.045, 0.5)]},
}  # fmt: skip
UP_AND_FORWARD = np.array([0.0, 0.5, 0.85])
POSITION_SPREAD, ORIENTATION_SPREAD = 0.009, 0.4  # m, rad
LATENCY_SPREAD, WEIGHT_SPREAD = 0.025, 0.3  # s, relative
N_NOISE_DIPOLES, N_ALPHA_DIPOLES = 150, 6
ALPHA_BAND, ALPHA_LEVEL, SENSOR_LEVEL = (8.5, 11.5), 0.7, 0.3  # levels relative to the brain noise


@dataclass
class ListenerTruth:
    """What a simulated listener's recording was made from.

    The evoked part of the recording, in the order of its channels, is ``patterns.T @ sources``.

    Attributes
    ----------
    snr_db : float
        20 log10 of evoked over noise amplitude (root mean square, 0.5 to 20 Hz, evoked while sound was
        heard) at the channel where it is largest.
    lags : ndarray of shape (n_lags,)
        Lags of the kernels after the sound, in s.
    kernels : ndarray of shape (2, n_lags)
        Responses to the onsets and to the envelope, without unit.
    latencies : ndarray of shape (2, 3)
        Centres of the three bumps of each kernel, in s.
    band_weights : ndarray of shape (2, 8)
        Weights of the Mel bands in onsets and envelope.
    patterns : ndarray of shape (2, n_channels)
        What one unit of each source does to the sensors, in T or V.
    sources : ndarray of shape (2, n_times)
        Time courses of the two responses at the recording's rate.
    """

    snr_db: float
    lags: np.ndarray
    kernels: np.ndarray
    latencies: np.ndarray
    band_weights: np.ndarray
    patterns: np.ndarray
    sources: np.ndarray


class Listener(NamedTuple):
    """Who a subject is: the traits that do not depend on sensors, sounds or length."""

    snr_db: float
    lags: np.ndarray  # (n_lags,), s
    kernels: np.ndarray  # (2, n_lags)
    latencies: np.ndarray  # (2, 3), s
    band_weights: np.ndarray  # (2, 8)
    positions: np.ndarray  # (n_dipoles, 3), m from the head's centre: left, right; left, right; noise; alpha
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
    kernels, latencies, band_weights, positions, orientations = [], [], [], [], []
    for source in SOURCES.values():
        latency, width, weight = np.array(source["bumps"]).T
        latency = np.maximum(latency + LATENCY_SPREAD * rng.standard_normal(len(latency)), 0.010)
        weight = weight * (1 + WEIGHT_SPREAD * rng.standard_normal(len(weight)))
        kernels.append(np.exp(-0.5 * ((lags[:, None] - latency) / width) ** 2) @ weight)
        latencies.append(latency)
        band_weights.append(rng.gamma(source["bands"], 1 / source["bands"], N_BANDS))
        for side in (-1, 1):
            place = np.array(source["position"]) * (side, 1, 1) / 1000
            positions.append(place + POSITION_SPREAD * rng.standard_normal(3))
            orientations.append(_unit(_unit(UP_AND_FORWARD) + ORIENTATION_SPREAD * rng.standard_normal(3)))
    noise = _unit(rng.standard_normal((N_NOISE_DIPOLES, 3))) * rng.uniform(0.4, 0.85, (N_NOISE_DIPOLES, 1))
    back = np.array([0.0, -0.7, 0.1]) + rng.normal(0, (0.25, 0.08, 0.15), (N_ALPHA_DIPOLES, 3))
    others = np.concatenate([noise, back]) * HEAD_RADIUS
    tangential = _unit(np.cross(others, rng.standard_normal(others.shape)))
    positions = np.concatenate([positions, others])
    # A dipole drawn into the skull would be dropped by MNE; it is moved to the brain's edge.
    positions *= np.minimum(1, 0.85 * HEAD_RADIUS / np.linalg.norm(positions, axis=1, keepdims=True))
    orientations = np.concatenate([orientations, tangential])
    return Listener(
        snr_db, lags, np.array(kernels), np.array(latencies), np.array(band_weights), positions, orientations
    )


def simulate_recording(rng, listener, sensors, features, onsets, n_times, noise_level):
    """Simulate what the sensors record while a listener hears sounds.

    Parameters
    ----------
    rng : Generator
        For the noise.
    listener : Listener
        Who listens.
    sensors : Info and ConductorModel
        From :func:`make_sensors`.
    features : list of ndarray of shape (2, 8, n_frames)
        By sound, from :func:`sound_features`.
    onsets : ndarray of shape (n_sounds,)
        When each sound begins, in s.
    n_times : int
        Length of the recording in samples.
    noise_level : float
        Root mean square over channels of the brain noise, 0.5 to 20 Hz, in T or V.

    Returns
    -------
    data : ndarray of shape (n_channels, n_times)
        T or V, float32.
    truth : ListenerTruth
    """
    sfreq, n_auditory = sensors[0]["sfreq"], 2 * len(SOURCES)
    gain = _lead_field(*sensors, listener.positions, listener.orientations)
    patterns = gain[:, :n_auditory].reshape(len(gain), len(SOURCES), 2).sum(axis=2).T
    sources = _respond(listener, features, onsets, n_times, sfreq)
    data = _make_noise(rng, gain[:, n_auditory:], noise_level, n_times, sfreq)
    times = np.arange(n_times) / sfreq
    heard = np.zeros(n_times, bool)
    for onset, feature in zip(onsets, features, strict=True):
        heard |= (times >= onset) & (times < onset + feature.shape[-1] / FEATURE_RATE)
    patterns = _scale_patterns(patterns, sources, data, heard, listener.snr_db, sfreq)
    data += patterns.T.astype(np.float32) @ sources
    return data, ListenerTruth(*listener[:5], patterns, sources)


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_sensors(modality, n_channels, sfreq):
    """Make sensors around a spherical head.

    Parameters
    ----------
    modality : "meg" or "eeg"
        Axial gradiometers (KIT's, of 50 mm baseline) spread over a sphere of 115 mm, or a BioSemi cap on
        a four-layer head of 95 mm.
    n_channels : int
        How many; for EEG one of the caps of that name.
    sfreq : float
        Rate in Hz.

    Returns
    -------
    info : Info
        With the sensors' positions.
    sphere : ConductorModel
    """
    if modality == "eeg":
        montage = mne.channels.make_standard_montage(f"biosemi{n_channels}")
        info = mne.create_info(montage.ch_names, sfreq, "eeg", verbose="ERROR")
        info.set_montage(montage, verbose="ERROR")
        return info, mne.make_sphere_model(HEAD_CENTRE, HEAD_RADIUS, info, verbose="ERROR")
    info = mne.create_info([f"MEG {i + 1:03d}" for i in range(n_channels)], sfreq, "mag", verbose="ERROR")
    for channel, normal in zip(info["chs"], _cap(n_channels), strict=True):
        ex = _unit(np.cross(np.eye(3)[np.argmin(np.abs(normal))], normal))
        place = HEAD_CENTRE + HELMET_RADIUS * normal
        channel["loc"] = np.concatenate([place, ex, np.cross(normal, ex), normal])
        channel["coil_type"] = FIFF.FIFFV_COIL_KIT_GRAD
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head")
    return info, mne.make_sphere_model(HEAD_CENTRE, None, verbose="ERROR")


def _cap(n_points, lowest=-0.2):
    """Points spread evenly (along Fibonacci's spiral) over the unit sphere above ``lowest``."""
    i = np.arange(n_points) + 0.5
    z = 1 - (1 - lowest) * i / n_points
    angle = np.pi * (3 - np.sqrt(5)) * i
    return np.column_stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z])


def _lead_field(info, sphere, positions, orientations):
    """What a dipole moment of 1 Am does to each sensor: (n_channels, n_dipoles), T or V."""
    is_eeg = info.get_channel_types(unique=True) == ["eeg"]
    source = {"rr": HEAD_CENTRE + positions, "nn": orientations}
    source = mne.setup_volume_source_space(pos=source, verbose="ERROR")
    forward = mne.make_forward_solution(
        info, None, source, sphere, meg=not is_eeg, eeg=is_eeg, mindist=0.0, verbose="ERROR"
    )
    forward = mne.convert_forward_solution(forward, force_fixed=True, use_cps=False, verbose="ERROR")
    gain = forward["sol"]["data"]
    return gain - gain.mean(axis=0) if is_eeg else gain


def sound_features(path, stop):
    """Compute onsets and envelope of a sound, what the simulated listeners respond to.

    Parameters
    ----------
    path : path-like
        An audio file.
    stop : float
        Take its first ``stop`` seconds.

    Returns
    -------
    features : ndarray of shape (2, 8, n_frames)
        Rise and value of the Mel envelope (power to the 0.3) in eight bands; frame k comes from the 25 ms
        (at 16 kHz) around k / 250 s.
    """
    samples, rate = sf.read(path, frames=round(stop * sf.info(path).samplerate), dtype="float32")
    mel = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_fft=400, hop_length=rate // FEATURE_RATE, n_mels=N_BANDS, power=2.0
    )
    envelope = mel**0.3
    rise = np.maximum(np.gradient(envelope, axis=1), 0) * FEATURE_RATE
    return np.stack([rise, envelope])


def _respond(listener, features, onsets, n_times, sfreq):
    """Compute the time courses of the two sources, (2, n_times), of root mean square 1 and 0.6 in sound."""
    sources = np.zeros((len(SOURCES), n_times))
    times = np.arange(n_times) / sfreq
    for i, source in enumerate(SOURCES.values()):
        drives = [listener.band_weights[i] @ feature[i] for feature in features]
        responses = [fftconvolve(drive, listener.kernels[i]) for drive in drives]
        level = source["amplitude"] / np.sqrt(np.mean(np.concatenate(responses) ** 2))
        for onset, response in zip(onsets, responses, strict=True):
            when = onset + np.arange(len(response)) / FEATURE_RATE
            sources[i] += np.interp(times, when, response * level, left=0, right=0)
    return sources.astype(np.float32)


def _shaped_noise(rng, gain, shape, n_times, group=16):
    """Make noise of dipoles at the sensors, (n_channels, n_times); ``shape`` is its amplitude spectrum."""
    data = np.zeros((len(gain), n_times), np.float32)
    n_fft = next_fast_len(n_times, real=True)
    for start in range(0, gain.shape[1], group):  # a few dipoles at a time, to bound the memory
        mix = gain[:, start : start + group].astype(np.float32)
        white = rng.standard_normal((mix.shape[1], n_fft), dtype=np.float32)
        waves = irfft(rfft(white) * shape(n_fft).astype(np.float32), n_fft)
        data += mix @ waves[:, :n_times]
    return data


def _band_rms(data, sfreq):
    """Root mean square of each row between 0.5 and 20 Hz, by Parseval's theorem."""
    n_times = data.shape[1]
    inside = _inside(np.fft.rfftfreq(n_times, 1 / sfreq), BAND)
    power = [np.sum(np.abs(rfft(row)[inside]) ** 2, dtype=float) for row in data]
    return np.sqrt(2 * np.array(power)) / n_times


def _inside(frequencies, band):
    return (frequencies >= band[0]) & (frequencies <= band[1])


def _make_noise(rng, gain, level, n_times, sfreq):
    """Make brain noise of the given level, alpha and sensor noise: (n_channels, n_times) in T or V."""

    def pink(n_fft):
        return np.maximum(np.fft.rfftfreq(n_fft, 1 / sfreq), 0.1) ** -0.6  # power 1/f^1.2, flat below 0.1 Hz

    def alpha(n_fft):
        return _inside(np.fft.rfftfreq(n_fft, 1 / sfreq), ALPHA_BAND)

    def scaled(data, level):
        data *= level / np.sqrt(np.mean(_band_rms(data, sfreq) ** 2))
        return data

    gain = gain / np.abs(gain).max()
    data = scaled(_shaped_noise(rng, gain[:, :N_NOISE_DIPOLES], pink, n_times), level)
    data += scaled(_shaped_noise(rng, gain[:, N_NOISE_DIPOLES:], alpha, n_times), ALPHA_LEVEL * level)
    in_band = (BAND[1] - BAND[0]) / (sfreq / 2)
    for row in data:
        row += SENSOR_LEVEL * level / np.sqrt(in_band) * rng.standard_normal(n_times, dtype=np.float32)
    return data


def _scale_patterns(patterns, sources, noise, heard, snr_db, sfreq):
    """Scale patterns so that evoked over noise is ``snr_db`` where it is largest."""
    spectrum = rfft(sources)
    spectrum[:, ~_inside(np.fft.rfftfreq(sources.shape[1], 1 / sfreq), BAND)] = 0
    filtered = irfft(spectrum, sources.shape[1])[:, heard]
    covariance = filtered @ filtered.T / filtered.shape[1]
    evoked = np.sqrt(np.einsum("ic,ij,jc->c", patterns, covariance, patterns))
    return patterns * 10 ** (snr_db / 20) / np.max(evoked / _band_rms(noise, sfreq))

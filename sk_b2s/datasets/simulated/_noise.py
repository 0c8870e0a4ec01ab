"""Simulated background activity, alpha oscillations and sensor noise."""

from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

BAND = (0.5, 20.0)  # Hz, for the signal-to-noise ratio
ALPHA_BAND, ALPHA_LEVEL, SENSOR_LEVEL = (8.5, 11.5), 0.7, 0.3  # relative to brain noise
EXPONENT = 0.6  # amplitude spectrum 1/f^0.6, power 1/f^1.2; flat below FLAT
FLAT = 0.1  # Hz
N_ALPHA = 6  # the last dipoles


class SimulatedNoiseModel(NamedTuple):
    """Sources and levels of the noise of a recording.

    Attributes
    ----------
    brain : ndarray of shape (n_channels, 150)
        Sensor pattern of each dipole of brain noise, in T or V.
    alpha : ndarray of shape (n_channels, 6)
        Sensor pattern of each alpha dipole, in T or V.
    sensor_sd : ndarray of shape (n_channels,)
        Standard deviation of the white noise of each sensor.
    exponent : float
        Exponent of the amplitude spectrum 1/f of brain noise.
    """

    brain: np.ndarray
    alpha: np.ndarray
    sensor_sd: np.ndarray
    exponent: float

    def spectra(self, frequencies):
        """Return the amplitude spectra of brain and alpha dipoles."""
        brain = np.maximum(frequencies, FLAT) ** -self.exponent
        return brain, is_inside_noise_band(frequencies, ALPHA_BAND).astype(float)

    def covariance(self, frequency):
        """Return the noise covariance at a frequency in Hz."""
        brain, alpha = self.spectra(np.atleast_1d(float(frequency)))
        common = brain[0] ** 2 * self.brain @ self.brain.T + alpha[0] ** 2 * self.alpha @ self.alpha.T
        return common + np.diag(self.sensor_sd**2)


def is_inside_noise_band(frequencies, band):
    """Return which frequencies lie in a band."""
    return (frequencies >= band[0]) & (frequencies <= band[1])


def draw_noise(rng, gain, level, n_times, sfreq, exponent=EXPONENT):
    """Draw brain noise, alpha oscillations and sensor noise.

    Parameters
    ----------
    rng : Generator
        Random number generator.
    gain : ndarray of shape (n_channels, 156)
        Lead field of the noise dipoles, with the alpha dipoles last.
    level : float
        Root mean square over channels of brain noise from 0.5 to 20 Hz, in
        T or V.
    n_times, sfreq : int, float
        Number of samples, and sampling rate in Hz.
    exponent : float, default=0.6
        Exponent of the amplitude spectrum of brain noise.

    Returns
    -------
    data : ndarray of shape (n_channels, n_times)
        Noise as float32.
    model : SimulatedNoiseModel
        Sources and levels of the noise.
    """
    gain = gain / np.abs(gain).max()
    white = SimulatedNoiseModel(gain[:, :-N_ALPHA], gain[:, -N_ALPHA:], np.zeros(len(gain)), exponent)
    data = _draw_dipole_noise(rng, white.brain, lambda f: white.spectra(f)[0], n_times, sfreq)
    scale = level / np.sqrt(np.mean(compute_noise_band_rms(data, sfreq) ** 2))
    data *= scale
    alpha = _draw_dipole_noise(rng, white.alpha, lambda f: white.spectra(f)[1], n_times, sfreq)
    alpha_scale = ALPHA_LEVEL * level / np.sqrt(np.mean(compute_noise_band_rms(alpha, sfreq) ** 2))
    data += alpha_scale * alpha
    sensor_sd = SENSOR_LEVEL * level / np.sqrt((BAND[1] - BAND[0]) / (sfreq / 2))
    for row in data:
        row += sensor_sd * rng.standard_normal(n_times, dtype=np.float32)
    sensors = np.full(len(gain), sensor_sd)
    return data, SimulatedNoiseModel(scale * white.brain, alpha_scale * white.alpha, sensors, exponent)


def _draw_dipole_noise(rng, gain, spectrum, n_times, sfreq, group=16):
    """Draw dipole noise with an amplitude spectrum, (n_channels, n_times)."""
    data = np.zeros((len(gain), n_times), np.float32)
    n_fft = next_fast_len(n_times, real=True)
    amplitude = spectrum(rfftfreq(n_fft, 1 / sfreq)).astype(np.float32)
    for start in range(0, gain.shape[1], group):  # a few dipoles at a time, to limit the memory
        mix = gain[:, start : start + group].astype(np.float32)
        white = rng.standard_normal((mix.shape[1], n_fft), dtype=np.float32)
        waves = irfft(rfft(white) * amplitude, n_fft)
        data += mix @ waves[:, :n_times]
    return data


def compute_noise_band_rms(data, sfreq):
    """Compute the root mean square of each row from 0.5 to 20 Hz."""
    n_times = data.shape[1]
    in_band = is_inside_noise_band(np.fft.rfftfreq(n_times, 1 / sfreq), BAND)
    power = [np.sum(np.abs(rfft(row)[in_band]) ** 2, dtype=float) for row in data]
    return np.sqrt(2 * np.array(power)) / n_times

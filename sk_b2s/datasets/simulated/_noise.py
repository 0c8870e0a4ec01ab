"""Simulated background activity, alpha oscillations and sensor noise."""

from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

BAND = (0.5, 20.0)  # Hz, where signal and noise are compared
ALPHA_BAND, ALPHA_LEVEL, SENSOR_LEVEL = (8.5, 11.5), 0.7, 0.3  # levels relative to the brain noise
EXPONENT = 0.6  # amplitude spectrum 1/f^0.6, power 1/f^1.2; flat below FLAT
FLAT = 0.1  # Hz
N_ALPHA = 6  # the last dipoles


class NoiseModel(NamedTuple):
    """Where noise comes from and how strong it is; with :meth:`covariance` at each frequency.

    Attributes
    ----------
    brain : ndarray of shape (n_channels, 150)
        What one unit of each noise dipole does to the sensors, in T or V.
    alpha : ndarray of shape (n_channels, 6)
        The same of the alpha dipoles.
    sensor_sd : ndarray of shape (n_channels,)
        Standard deviation of the white noise of each sensor.
    exponent : float
        The brain's amplitude spectrum is 1/f to this power.
    """

    brain: np.ndarray
    alpha: np.ndarray
    sensor_sd: np.ndarray
    exponent: float

    def shapes(self, frequencies):
        """Amplitude spectra of brain and alpha dipoles, of white noise of variance 1 before."""
        brain = np.maximum(frequencies, FLAT) ** -self.exponent
        return brain, inside(frequencies, ALPHA_BAND).astype(float)

    def covariance(self, frequency):
        """Covariance of the noise at one frequency (Hz) as if it were white: (n_channels, n_channels)."""
        brain, alpha = self.shapes(np.atleast_1d(float(frequency)))
        common = brain[0] ** 2 * self.brain @ self.brain.T + alpha[0] ** 2 * self.alpha @ self.alpha.T
        return common + np.diag(self.sensor_sd**2)


def inside(frequencies, band):
    """Tell which frequencies lie in a band."""
    return (frequencies >= band[0]) & (frequencies <= band[1])


def draw_noise(rng, gain, level, n_times, sfreq, exponent=EXPONENT):
    """Draw brain noise of the given level, alpha and sensor noise.

    Parameters
    ----------
    rng : Generator
    gain : ndarray of shape (n_channels, 156)
        Lead field of the noise dipoles, alpha's last.
    level : float
        Root mean square over channels of the brain noise, 0.5 to 20 Hz, in T or V.
    n_times, sfreq : int, float
        Length in samples, and their rate.
    exponent : float, default=0.6
        Of the brain's amplitude spectrum.

    Returns
    -------
    data : ndarray of shape (n_channels, n_times)
        float32.
    model : NoiseModel
    """
    gain = gain / np.abs(gain).max()
    white = NoiseModel(gain[:, :-N_ALPHA], gain[:, -N_ALPHA:], np.zeros(len(gain)), exponent)
    data = _shaped_noise(rng, white.brain, lambda f: white.shapes(f)[0], n_times, sfreq)
    scale = level / np.sqrt(np.mean(band_rms(data, sfreq) ** 2))
    data *= scale
    rhythm = _shaped_noise(rng, white.alpha, lambda f: white.shapes(f)[1], n_times, sfreq)
    alpha_scale = ALPHA_LEVEL * level / np.sqrt(np.mean(band_rms(rhythm, sfreq) ** 2))
    data += alpha_scale * rhythm
    sensor_sd = SENSOR_LEVEL * level / np.sqrt((BAND[1] - BAND[0]) / (sfreq / 2))
    for row in data:
        row += sensor_sd * rng.standard_normal(n_times, dtype=np.float32)
    sensors = np.full(len(gain), sensor_sd)
    return data, NoiseModel(scale * white.brain, alpha_scale * white.alpha, sensors, exponent)


def _shaped_noise(rng, gain, shape, n_times, sfreq, group=16):
    """Make noise of dipoles at the sensors, (n_channels, n_times); ``shape`` is its amplitude spectrum."""
    data = np.zeros((len(gain), n_times), np.float32)
    n_fft = next_fast_len(n_times, real=True)
    spectrum = shape(rfftfreq(n_fft, 1 / sfreq)).astype(np.float32)
    for start in range(0, gain.shape[1], group):  # a few dipoles at a time, to bound the memory
        mix = gain[:, start : start + group].astype(np.float32)
        white = rng.standard_normal((mix.shape[1], n_fft), dtype=np.float32)
        waves = irfft(rfft(white) * spectrum, n_fft)
        data += mix @ waves[:, :n_times]
    return data


def band_rms(data, sfreq):
    """Root mean square of each row between 0.5 and 20 Hz, by Parseval's theorem."""
    n_times = data.shape[1]
    kept = inside(np.fft.rfftfreq(n_times, 1 / sfreq), BAND)
    power = [np.sum(np.abs(rfft(row)[kept]) ** 2, dtype=float) for row in data]
    return np.sqrt(2 * np.array(power)) / n_times

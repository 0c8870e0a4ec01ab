"""Griffin-Lim vocoder: audio of a log mel spectrogram."""

from __future__ import annotations

import numpy as np
import torch
from scipy.signal import resample_poly
from sklearn.utils import check_random_state

from sk_b2s._utils._validation import validate_count
from sk_b2s.features._acoustic_spectra import compute_power_spectrogram, make_mel_filters
from sk_b2s.features._read_audio import AUDIO_SFREQ

HOP = 160  # samples at 16 kHz between frames of the vocoder
FLOOR = 1e-5  # power that MelSpectrogram adds before the logarithm
SILENCE = -5.0  # log10 of the floor
LEVEL = 0.1  # standard deviation of audio whose features have full level, -20 dB of full scale
N_UPDATES = 50  # multiplicative updates of the mel inversion
MOMENTUM = 0.99  # of the fast Griffin-Lim algorithm


def mel_to_audio(mel, mel_sfreq=50, sfreq=16000, n_fft=512, n_rounds=32, random_state=0):
    r"""Synthesize audio of a log mel spectrogram without a trained network.

    The power spectrum of each frame is the non-negative solution of the mel
    filters, and phases are found by the fast Griffin-Lim algorithm [1]_ [2]_.
    No speech was learned, so the audio has nothing that the mel spectrogram
    lacks.

    Parameters
    ----------
    mel : array-like of shape (n_frames, n_mels)
        Features of :class:`~sk_b2s.MelSpectrogram`, ``log10(power + 1e-5)``.
        Frames with NaN are silent.
    mel_sfreq : float, default=50
        Frames per second of ``mel``.
    sfreq : int, default=16000
        Sampling rate of the audio in Hz.
    n_fft : int, default=512
        Length of a frame in samples at 16 kHz, as in the features.
    n_rounds : int, default=32
        Number of iterations of the phases.
    random_state : None, int or RandomState, default=0
        Draws the initial phases.

    Returns
    -------
    audio : ndarray of shape (n_samples,)
        float32 from -1 to 1. Features of the level of a whole stimulus have
        the standard deviation 0.1.

    Raises
    ------
    ValueError
        If ``mel`` has another shape or is empty, or a number is not positive.

    Notes
    -----
    Features at less than 100 Hz are interpolated linearly.

    References
    ----------
    .. [1] Griffin, Lim (1984). Signal estimation from modified short-time
       Fourier transform. IEEE Transactions on Acoustics, Speech, and Signal
       Processing 32:236. https://doi.org/10.1109/TASSP.1984.1164317
    .. [2] Perraudin, Balazs, Søndergaard (2013). A fast Griffin-Lim algorithm.
       IEEE WASPAA. https://doi.org/10.1109/WASPAA.2013.6701851

    Examples
    --------
    >>> import numpy as np
    >>> audio = mel_to_audio(np.full((50, 40), -5.0))
    >>> audio.shape, float(abs(audio).max())
    ((16000,), 0.0)
    """
    mel = check_vocoder_mel(mel)
    for name, value in {"mel_sfreq": mel_sfreq, "sfreq": sfreq}.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"The {name!r} parameter must be a positive rate in Hz. Got {value!r} instead.")
    if sfreq != int(sfreq):
        raise ValueError(f"The 'sfreq' parameter must be a whole number of Hz. Got {sfreq!r} instead.")
    validate_count("n_rounds", n_rounds, least=0)
    validate_count("n_fft", n_fft, least=2 * HOP)
    n_samples = round(len(mel) * AUDIO_SFREQ / mel_sfreq)
    frames = interpolate_vocoder_mel(mel, mel_sfreq, n_samples // HOP + 1)
    window_power = (np.hanning(n_fft + 1)[:-1] ** 2).sum()
    amplitude = np.sqrt(invert_vocoder_mel(frames, n_fft) * window_power)
    audio = LEVEL * find_vocoder_phases(amplitude, n_fft, n_samples, n_rounds, random_state)
    if int(sfreq) != AUDIO_SFREQ:
        audio = resample_poly(audio, int(sfreq), AUDIO_SFREQ)
    return (audio / max(1.0, abs(audio).max(initial=0.0))).astype(np.float32)


def check_vocoder_mel(mel):
    """Return a float64 array of shape (n_frames, n_mels), NaN if unknown."""
    mel = np.asarray(mel, float)
    if mel.ndim != 2 or not mel.size:
        raise ValueError(
            f"The 'mel' parameter must have the shape (n_frames, n_mels), with at least one frame. Got an array of shape "
            f"{mel.shape} instead. Pass one recording of predict."
        )
    return mel


def interpolate_vocoder_mel(mel, mel_sfreq, n_frames):
    """Interpolate log mel spectra to the vocoder's frames, NaN to silence."""
    mel = np.where(np.isfinite(mel).all(1, keepdims=True), mel, SILENCE)
    center = (np.arange(len(mel)) + 0.5) / mel_sfreq
    times = np.arange(n_frames) * HOP / AUDIO_SFREQ
    return np.stack([np.interp(times, center, band) for band in mel.T], 1)


def invert_vocoder_mel(mel, n_fft=512):
    """Find non-negative power spectra: (n_frames, n_fft // 2 + 1).

    Multiplicative updates of the Kullback-Leibler divergence fit quiet bands
    as well as loud ones, unlike those of the squared error.
    """
    filters = make_mel_filters(n_fft, mel.shape[1])
    power = np.maximum(10.0 ** np.clip(mel, SILENCE, 6) - FLOOR, 0)
    total = filters.sum(0) + 1e-12
    spectrum = power @ filters / total
    for _ in range(N_UPDATES):
        ratio = power / np.maximum(spectrum @ filters.T, 1e-20)
        spectrum = spectrum * (ratio @ filters / total)
    return spectrum


def find_vocoder_phases(amplitude, n_fft, n_samples, n_rounds=32, random_state=0):
    """Find a signal with given amplitudes of its spectrogram.

    Parameters
    ----------
    amplitude : ndarray of shape (n_frames, n_fft // 2 + 1)
        At intervals of HOP samples, the first centered on sample 0.
    n_fft, n_samples, n_rounds : int
    random_state : None, int or RandomState, default=0

    Returns
    -------
    audio : ndarray of shape (n_samples,)
    """
    random = check_random_state(random_state)
    if not amplitude.any():
        return np.zeros(n_samples)
    target = torch.from_numpy(np.ascontiguousarray(amplitude.T))
    angle = torch.from_numpy(random.uniform(0, 2 * np.pi, target.shape))
    window = torch.hann_window(n_fft, dtype=target.dtype)
    options = {"n_fft": n_fft, "hop_length": HOP, "window": window, "center": True}
    length = (target.shape[1] - 1) * HOP  # torch pads by reflection, which requires half a frame
    phases, before = torch.polar(torch.ones_like(target), angle), torch.zeros_like(target)
    if length <= n_fft // 2:
        target = torch.nn.functional.pad(target, (0, n_fft // HOP))
        phases, before = (torch.nn.functional.pad(part, (0, n_fft // HOP)) for part in (phases, before))
        length = (target.shape[1] - 1) * HOP
    for _ in range(n_rounds):
        audio = torch.istft(target * phases, length=length, **options)
        rebuilt = torch.stft(audio, return_complex=True, **options)
        phases = rebuilt - MOMENTUM / (1 + MOMENTUM) * before
        phases = phases / (phases.abs() + 1e-16)
        before = rebuilt
    audio = torch.istft(target * phases, length=length, **options).numpy()
    return np.pad(audio, (0, max(n_samples - length, 0)))[:n_samples]


def make_vocoder_mel(audio, sfreq=50, n_mels=120, n_fft=512):
    """Compute log mel spectra of 16 kHz audio, of shape (n_frames, n_mels).

    They equal those of :class:`~sk_b2s.MelSpectrogram` of a file.
    """
    audio = np.asarray(audio, float)
    audio = (audio - audio.mean()) / (audio.std() or 1.0)
    window_power = (np.hanning(n_fft + 1)[:-1] ** 2).sum()
    power = compute_power_spectrogram(audio, sfreq, n_fft) / window_power
    return np.log10(make_mel_filters(n_fft, n_mels) @ power + FLOOR).T

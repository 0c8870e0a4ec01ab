"""Spectral speech features: mel spectrogram, envelope, acoustic onsets."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral, Real
from typing import Any

import librosa
import numpy as np
from sklearn.utils._param_validation import Interval

from sk_b2s._utils._caching import FromFile, code_of
from sk_b2s.events._audio._files import readable
from sk_b2s.features._audio import AUDIO_SFREQ, read_audio
from sk_b2s.features._base import CODE as BASE_CODE
from sk_b2s.features._base import SpeechFeatures, check_is_file, sound_stamp

CODE = BASE_CODE + code_of(__file__, librosa)


def power_spectrogram(audio, sfreq, n_fft):
    """Power spectra of the frames that brain steps are pooled to.

    Frame j is a Hann window of ``n_fft`` samples around the middle of [j / sfreq, (j + 1) / sfreq).

    Parameters
    ----------
    audio : ndarray of shape (n_samples,)
        At 16 kHz.
    sfreq : float
        Frames per second; divides 16 kHz.
    n_fft : int
        Samples in a frame.

    Returns
    -------
    power : ndarray of shape (n_fft // 2 + 1, n_frames)
        With n_frames = ceil(n_samples · sfreq / 16000).
    """
    hop = round(AUDIO_SFREQ / sfreq)
    n_frames = -(-len(audio) // hop)
    before = (n_fft - hop) // 2
    padded = np.pad(audio, (max(before, 0), n_fft + hop))[max(-before, 0) :]
    spectrum = librosa.stft(padded, n_fft=n_fft, hop_length=hop, window="hann", center=False)
    return np.abs(spectrum[:, :n_frames]) ** 2


def mel_filters(n_fft, n_mels):
    """Triangular filters on the HTK mel scale up to 8 kHz: (n_mels, n_fft // 2 + 1).

    The paper's 120 bands over 257 bins leave the lowest filters without a bin; they are constant.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters detected")
        return librosa.filters.mel(sr=AUDIO_SFREQ, n_fft=n_fft, n_mels=n_mels, htk=True, norm=None)


def mel_spectrogram(path, stamp, sfreq, n_mels, n_fft):
    """Log mel spectrogram of a sound file, see :class:`MelSpectrogram`: (n_frames, n_mels)."""
    audio = read_audio(path)
    audio = (audio - audio.mean()) / (audio.std() or 1.0)
    window_power = (np.hanning(n_fft + 1)[:-1] ** 2).sum()
    power = power_spectrogram(audio, sfreq, n_fft) / window_power
    return np.log10(mel_filters(n_fft, n_mels) @ power + 1e-5).T


def envelope(path, stamp, sfreq, n_bands, exponent, n_fft):
    """Auditory envelope of a sound file, see :class:`Envelope`: (n_frames, 1)."""
    power = power_spectrogram(read_audio(path), sfreq, n_fft)
    return ((mel_filters(n_fft, n_bands) @ power) ** (exponent / 2)).mean(0)[:, None]


class SpectralFeatures(SpeechFeatures):
    """Common to what is computed from the spectrogram of an audio file by a function of the parameters' names."""

    _parameter_constraints = {
        **SpeechFeatures._parameter_constraints,
        "n_fft": [Interval(Integral, 2, None, closed="left")],
    }
    _compute: Any  # function of path, stamp and the parameters but memory
    _code: tuple = (CODE,)  # of what it runs

    def _features(self, sound):
        check_is_file(sound, type(self).__name__)
        parameters = self.get_params(deep=False)
        stamp_of = partial(sound_stamp, code=self._code)
        return FromFile(self._compute, readable(sound), stamp_of, **parameters)


class MelSpectrogram(SpectralFeatures):
    """Log mel spectrogram: ``log10(mel power + 1e-5)`` of the standardized waveform.

    The paper's 120 bands from windows of 512 samples at 16 kHz. The paper computes 125 frames a
    second and repeats or drops some for 120 Hz; here frames come at a rate of their own, to which
    the encoder pools the brain (equal scores at less than half the cost).

    Parameters
    ----------
    n_mels : int, default=120
        Number of bands (HTK scale, 0 to 8 kHz).
    sfreq : float, default=50
        Frames per second; must divide 16,000.
    n_fft : int, default=512
        Samples of 1/16000 s in a frame.
    memory : None, str or joblib.Memory, default=None
        Folder where the features of each sound are kept.
        The folder holds pickle, which runs code when it is read. Use one that only you can write.

    Attributes
    ----------
    n_features_out_ : int

    Notes
    -----
    Silence, in and around a sound, is log10(1e-5) = -5.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive brain recordings.
       Nature Machine Intelligence 5:1097. https://doi.org/10.1038/s42256-023-00714-5
    """

    _silence = -5.0
    _compute = staticmethod(mel_spectrogram)
    _parameter_constraints = {
        **SpectralFeatures._parameter_constraints,
        "n_mels": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, n_mels=120, sfreq=50, n_fft=512, memory=None):
        self.n_mels = n_mels
        self.sfreq = sfreq
        self.n_fft = n_fft
        self.memory = memory

    def _n_features(self, sounds):
        return self.n_mels


class Envelope(SpectralFeatures):
    """Auditory envelope: amplitudes of mel bands, each to the power 0.6, averaged.

    The compression follows the auditory nerve; it tracks attention better than the broadband
    envelope [1]_. One feature.

    Parameters
    ----------
    sfreq : float, default=50
        Frames per second; must divide 16,000.
    n_bands : int, default=28
        Bands that are averaged.
    exponent : float, default=0.6
        Power to which the amplitude of each band is raised.
    n_fft : int, default=512
        Samples of 1/16000 s in a frame.
    memory : None, str or joblib.Memory, default=None
        Folder where the features of each sound are kept.
        The folder holds pickle, which runs code when it is read. Use one that only you can write.

    Attributes
    ----------
    n_features_out_ : int

    Notes
    -----
    Silence is 0.

    References
    ----------
    .. [1] Biesmans et al. (2017). Auditory-inspired speech envelope extraction methods for improved
       EEG-based auditory attention detection in a cocktail party scenario. IEEE TNSRE 25:402.
       https://doi.org/10.1109/TNSRE.2016.2571900
    """

    _compute = staticmethod(envelope)
    _parameter_constraints = {
        **SpectralFeatures._parameter_constraints,
        "n_bands": [Interval(Integral, 1, None, closed="left")],
        "exponent": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, sfreq=50, n_bands=28, exponent=0.6, n_fft=512, memory=None):
        self.sfreq = sfreq
        self.n_bands = n_bands
        self.exponent = exponent
        self.n_fft = n_fft
        self.memory = memory

    def _n_features(self, sounds):
        return 1


def acoustic_onsets(path, stamp, sfreq, n_bands, exponent, n_fft):
    """Onsets of a sound file, see :class:`AcousticOnsets`: (n_frames, n_bands)."""
    power = power_spectrogram(read_audio(path), sfreq, n_fft)
    bands = (mel_filters(n_fft, n_bands) @ power) ** (exponent / 2)
    return np.maximum(np.diff(bands, axis=1, prepend=0.0), 0.0).T


class AcousticOnsets(SpectralFeatures):
    r"""Rises of the auditory envelope, band by band: where a sound begins or becomes louder.

    .. math:: o_b(j) = \max\bigl(0, \, e_b(j) - e_b(j - 1)\bigr), \qquad e_b(j) = a_b(j)^p

    with :math:`a_b` the amplitude of mel band b in frame j. Auditory cortex answers to onsets more than to the
    level itself, and much that looks phonetic is explained by them [1]_ [2]_.

    Parameters
    ----------
    sfreq : float, default=50
        Frames per second; must divide 16,000.
    n_bands : int, default=8
        Mel bands, each one feature.
    exponent : float, default=0.6
        p, as of :class:`~sk_b2s.Envelope`.
    n_fft : int, default=512
        Samples of 1/16000 s in a frame.
    memory : None, str or joblib.Memory, default=None
        Folder where the features of each sound are kept.
        The folder holds pickle, which runs code when it is read. Use one that only you can write.

    Attributes
    ----------
    n_features_out_ : int

    Notes
    -----
    Silence is 0.

    References
    ----------
    .. [1] Daube, Ince, Gross (2019). Simple acoustic features can explain phoneme-based predictions of cortical
       responses to speech. Current Biology 29:1924. https://doi.org/10.1016/j.cub.2019.04.067
    .. [2] Brodbeck, Presacco, Simon (2018). Neural source dynamics of brain responses to continuous stimuli.
       NeuroImage 172:162. https://doi.org/10.1016/j.neuroimage.2018.01.042
    """

    _compute, _code = staticmethod(acoustic_onsets), (CODE,)
    _parameter_constraints = Envelope._parameter_constraints

    def __init__(self, sfreq=50, n_bands=8, exponent=0.6, n_fft=512, memory=None):
        self.sfreq = sfreq
        self.n_bands = n_bands
        self.exponent = exponent
        self.n_fft = n_fft
        self.memory = memory

    def _n_features(self, sounds):
        return self.n_bands

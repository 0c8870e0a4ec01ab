"""Speech features: from a table of what was heard to windows on the features of each distinct sound."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import joblib
import librosa
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

import sk_b2s.audio as audio_files
from sk_b2s.audio import read_samples, readable
from sk_b2s.caching import FromFile, code_of
from sk_b2s.signals import Signal
from sk_b2s.sounds import chosen_sounds, facts_of, holds_nothing, named, warn_of_level, warn_of_tracks
from sk_b2s.stimuli import SoundArray, digests, sound_digest, sound_duration, sound_state
from sk_b2s.tables import window_length
from sk_b2s.windows import Windows

__all__ = ["Envelope", "MelSpectrogram", "StoredFeatures"]

AUDIO_SFREQ = 16000  # Hz, of every sound before features are taken, as in the paper
CODE = code_of(__file__, librosa) + code_of(audio_files.__file__)
SILENCE = 5.0  # s; the silence around a sound is laid in multiples of this


def read_audio(sound, start=0.0, stop=None):
    """Read a sound, or a stretch of it, as mono at 16 kHz.

    Parameters
    ----------
    sound : str or SoundTrack
        A file that soundfile reads. Of several tracks the mean is taken, unless one is chosen.
    start, stop : float, default=0.0, None
        The stretch in seconds; None reads to the end. It is cut before it is resampled, so that no
        sample depends on what lies outside.

    Returns
    -------
    audio : ndarray of shape (n_samples,)
        float32.

    Raises
    ------
    ValueError
        If the file cannot be read, or samples are not finite or beyond 1e10. The message names the file.
    """
    audio, sfreq = read_samples(sound, sound_state(sound), start, stop)
    return librosa.resample(audio, orig_sr=sfreq, target_sr=AUDIO_SFREQ)


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


def _between_silence(features, pad, silence):
    """Lay silence around the features of a sound: float32, time-major."""
    features = np.asarray(features() if callable(features) else features, np.float32)
    return np.pad(features, ((pad, pad), (0, 0)), constant_values=silence)


class SpeechFeatures(TransformerMixin, BaseEstimator):
    """Common to the features: each distinct sound once, silence around it, windows on it."""

    _parameter_constraints: dict = {
        "sfreq": [Interval(Real, 0, None, closed="neither")],
        "memory": [str, Path, joblib.Memory, None],
    }
    _silence = 0.0
    _reads_audio = True  # whether features are computed from audio files

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the parameters; nothing is learnt.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, ...)
            The table of what was heard: ``sound``, ``sound_onset`` and ``duration``.
        y : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        self : object
        """
        _check_table(X, type(self).__name__)
        self._check_rate()
        self.n_features_out_ = self._n_features(X["sound"])
        return self

    def transform(self, X):
        """Lay windows on the features of the sounds.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, ...)
            The table of what was heard.

        Returns
        -------
        windows : Windows of shape (n_segments, n_features, n_frames)
            ``floor(duration · sfreq) + 1`` frames each; silence beyond the ends of a sound. One
            signal for each distinct sound, however many people heard it.

        Warns
        -----
        UserWarning
            If features of a sound are constant from beginning to end, tracks of a file differ and none is
            chosen (column ``sound_channel``), or samples are far beyond full scale. Each names the file.
        """
        check_is_fitted(self, "n_features_out_")
        _check_table(X, type(self).__name__)
        X = X.assign(sound=chosen_sounds(X)) if "sound_channel" in X else X
        if (n_features := self._n_features(X["sound"])) != self.n_features_out_:
            raise ValueError(
                f"the sounds have {n_features} features, those of fit had {self.n_features_out_}."
            )
        codes, _ = pd.factorize(digests(X["sound"]))
        sounds = X["sound"].iloc[np.unique(codes, return_index=True)[1]]
        self._check_content(list(sounds))
        n_frames = window_length(X, self._rate(sounds))
        sfreq = self._rate(sounds)
        reach = SILENCE * np.ceil(n_frames / sfreq / SILENCE)  # no window reaches further than itself
        pad = int(round(reach * sfreq))
        parts = self._parts(X, codes, sounds)
        signals = [self._signal(sound, pad, part) for sound, part in zip(sounds, parts, strict=True)]
        extent = np.array([(pad, signal.shape[0] - pad) for signal in signals])
        start = np.round(X["sound_onset"].to_numpy(float) * sfreq).astype(np.int64) + pad
        self._check_inside(X, start, n_frames, np.array([s.shape[0] for s in signals])[codes], reach)
        return Windows(signals, codes, start, n_frames, sfreq, rows=X, extent=extent)

    def _check_content(self, sounds):
        """Warn of sounds without content, of tracks that differ and of absurd levels."""
        if self._reads_audio:
            for sound in sounds:
                if not isinstance(sound, SoundArray):
                    facts_of(sound, self.memory)  # kept where the features are kept
        if empty := self._without_content(sounds):
            warnings.warn(
                f"{self._emptiness(empty)}. Windows of such a sound cannot be told apart and lower every score: "
                f"leave its rows out, or give the right file.",
                stacklevel=4,
            )
        if self._reads_audio and not any(isinstance(sound, SoundArray) for sound in sounds):
            warn_of_tracks(sounds, stacklevel=4)
            warn_of_level(sounds, stacklevel=4)

    def _without_content(self, sounds):
        """Return the sounds whose features are constant."""
        stored = [isinstance(sound, SoundArray) for sound in sounds]
        if self._reads_audio and any(stored):
            return []  # refused where they are read
        return [sound for sound in sounds if holds_nothing(sound)]

    def _emptiness(self, sounds):
        """Name sounds whose features are constant, in a sentence."""
        kind = "silent or constant" if self._reads_audio else "constant in all features"
        cancel = self._reads_audio and any(facts_of(sound).n_tracks > 1 for sound in sounds)
        way_out = " (or their tracks cancel each other: choose one in the column 'sound_channel')" * cancel
        return f"{named(sounds)} {'is' if len(sounds) == 1 else 'are'} {kind} from beginning to end{way_out}"

    def _parts(self, X, codes, sounds):
        """Say of each sound in which stretches it is computed; None is the whole in one."""
        return [None] * len(sounds)

    def _n_frames(self, sound):
        return int(np.ceil(round(sound_duration(sound) * self._rate([sound]), 6)))

    def _signal(self, sound, pad, part):
        length = self._n_frames(sound) + 2 * pad
        recipe = partial(_between_silence, self._features(sound), pad, self._silence)
        return Signal(partial(fitted_length, recipe, length), (length, self.n_features_out_))

    def _rate(self, sounds):
        return float(self.sfreq)

    def _check_rate(self):
        if AUDIO_SFREQ % self.sfreq:
            raise ValueError(
                f"sfreq must divide {AUDIO_SFREQ} Hz so that frames fall on samples (20, 25, 32, 40, 50, 64, 80, "
                f"100, 125 do), got {self.sfreq!r}."
            )

    @staticmethod
    def _check_inside(X, start, n_frames, length, reach):
        beyond = (start < 0) | (start + n_frames > length)
        if beyond.any():
            row = np.flatnonzero(beyond)[0]
            raise ValueError(
                f"y row {X.index.tolist()[row]!r}: the window at sound_onset={X['sound_onset'].iloc[row]} s reaches "
                f"more than {reach:g} s off its sound {X['sound'].iloc[row]!r} ({beyond.sum()} such rows)."
            )


def fitted_length(recipe, n_frames):
    """Cut or repeat the last frame where decoding and rounding differ by a frame."""
    signal = recipe() if callable(recipe) else recipe
    if len(signal) < n_frames:
        signal = np.pad(signal, ((0, n_frames - len(signal)), (0, 0)), mode="edge")
    return np.ascontiguousarray(signal[:n_frames])


def _check_table(X, owner):
    needed = ["sound", "sound_onset", "duration"]
    if not isinstance(X, pd.DataFrame) or (missing := [c for c in needed if c not in X]):
        came = f"a table without {missing}" if isinstance(X, pd.DataFrame) else type(X).__name__
        raise ValueError(
            f"{owner} needs the table of what was heard (the y of make_segments, with {', '.join(needed)}), "
            f"got {came}."
        )


def check_is_file(sound, owner):
    if isinstance(sound, SoundArray):
        raise ValueError(
            f"{owner} needs audio files, but {sound!r} holds features already: use StoredFeatures()."
        )


def sound_stamp(path, code):
    """Return what the features of a sound file are kept under: digest of its content and code."""
    return (sound_digest(path), *code)


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
    """Log mel spectrogram: ``log10(mel power + 1e-5)`` of the standardised waveform.

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


class StoredFeatures(SpeechFeatures):
    """Features that the sounds bring along as :class:`~sk_b2s.SoundArray`, at their own rate.

    Attributes
    ----------
    n_features_out_ : int
        Number of features, equal in all sounds.

    Notes
    -----
    Silence is 0.
    """

    _parameter_constraints: dict = {}
    _reads_audio = False

    def _n_features(self, sounds):
        distinct = pd.unique(sounds)
        for sound in distinct:
            if not isinstance(sound, SoundArray):
                raise ValueError(f"StoredFeatures needs sounds of type SoundArray, got {sound!r}.")
        widths = {sound.data.shape[1] for sound in distinct}
        if len(widths) > 1:
            raise ValueError(f"all sounds must have as many features, got {sorted(widths)}.")
        return widths.pop()

    def _rate(self, sounds):
        rates = {sound.sfreq for sound in sounds}
        if len(rates) > 1:
            raise ValueError(f"all sounds must have one rate, got {sorted(rates)} Hz.")
        return rates.pop()

    def _check_rate(self):
        pass

    def _features(self, sound):
        return sound.data

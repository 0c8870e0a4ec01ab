"""Voice of a speaker, synthesized from nearest frames of their speech."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._estimators import DocLinkMixin
from sk_b2s.datasets.simulated._speech import load_speech
from sk_b2s.features._pretrained import Wav2Vec2Features
from sk_b2s.features._read_audio import AUDIO_SFREQ
from sk_b2s.synthesis import _voice_frames as frames
from sk_b2s.synthesis._voice_sounds import list_voice_sounds, read_voice_sound
from sk_b2s.synthesis._wav_files import write_wav

LEAST_SECONDS, FEWEST_BANDS = 1.0, 4
FLITE = (
    "CMU Flite voice {!r}, a synthetic voice of Carnegie Mellon University. Its license puts no limit on what is made "
    "with it."
)


class SpeakerVoice(DocLinkMixin, TransformerMixin, BaseEstimator):
    """Voice of a speaker who agreed to it, fitted to about ten sentences.

    For each frame of other speech, the frames of the speaker with the most
    similar pretrained features are selected (nearest neighbors, as in kNN-VC
    [1]_). The mean of their log mel spectra is synthesized with the algorithm
    of Griffin and Lim [2]_. Nothing is trained, and no language model adds
    words. ``fit`` raises an error without the consent of the speaker.

    A fitted voice is also a vocoder, ``voice(mel, sfreq)``, so that
    reconstructed speech features sound in this voice. It can make fluent sound
    from noise. Compare with the sound of surrogate recordings.

    Parameters
    ----------
    model : str or Path, default="whisper-tiny.en"
        Pretrained speech model of :class:`~sk_b2s.Wav2Vec2Features`, with 50
        frames per second.
    layers : "auto", int or sequence of int, default="auto"
        Hidden states to average, as in :class:`~sk_b2s.Wav2Vec2Features`.
        "auto" uses 2 and 3 of "whisper-tiny.en".
    n_neighbors : int, default=4
        Number of frames to average.
    n_iter : int, default=32
        Number of iterations of Griffin-Lim.
    watermark : callable, default=None
        ``watermark(sound, sfreq)`` returns the sound with a watermark, of the
        same length. If None, the samples are not marked.
    device : str, default="auto"
        Device of the model. "auto" uses a GPU if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="float32"
        Precision of the products in the model.
    random_state : int, RandomState instance or None, default=0
        Initial phases of Griffin-Lim. Pass an int for equal sounds in each
        call.

    Attributes
    ----------
    consent_ : str
        Who agreed to what. It is part of saved voices and of their WAV files.
    synthetic_ : bool
        Always True, part of saved voices.
    duration_ : float
        Speech of the speaker in seconds.
    features_ : ndarray of shape (n_frames, n_features)
        Pretrained features of the speaker's frames of 20 ms.
    mel_ : ndarray of shape (n_frames, 160)
        Two log mel spectra of 80 bands of each frame.

    Notes
    -----
    Frames are selected by the cosine similarity. Silence and sounds of a
    constant level raise an error, but other sounds than speech do not.

    References
    ----------
    .. [1] Baas, van Niekerk, Kamper (2023). Voice conversion with just nearest
       neighbors. Interspeech 2023:2053.
       https://doi.org/10.21437/Interspeech.2023-419
    .. [2] Griffin, Lim (1984). Signal estimation from modified short-time
       Fourier transform. IEEE TASSP 32:236.
       https://doi.org/10.1109/TASSP.1984.1164317

    Examples
    --------
    >>> from sk_b2s.synthesis import SpeakerVoice
    >>> voice = SpeakerVoice(n_neighbors=4)
    """

    _parameter_constraints = {
        "model": [str, Path],
        "layers": [StrOptions({"auto"}), "array-like", Integral],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "n_iter": [Interval(Integral, 1, None, closed="left")],
        "watermark": [callable, None],
        "device": [str],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        model="whisper-tiny.en",
        layers="auto",
        n_neighbors=4,
        n_iter=32,
        watermark=None,
        device="auto",
        precision="float32",
        random_state=0,
    ):
        self.model = model
        self.layers = layers
        self.n_neighbors = n_neighbors
        self.n_iter = n_iter
        self.watermark = watermark
        self.device = device
        self.precision = precision
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # sounds
        return tags

    def fit(self, sounds, consent=None):
        """Store the frames of a speaker.

        Parameters
        ----------
        sounds : list or DataFrame
            Speech of the speaker, about ten sentences. A list of audio files
            (str, Path or AudioTrack) or of tuples (samples, sfreq), or a table
            with ``sound``, ``sound_onset`` and ``duration`` (s). Channels are
            averaged.
        consent : str
            Who agreed to what, for example "Ada Example agreed on 2026-05-01
            to the use of her voice in this study". Required.

        Returns
        -------
        self : SpeakerVoice
            The fitted voice.

        Raises
        ------
        ValueError
            If ``consent`` is missing, or if a sound is too short, silent, not
            finite or without changes of level.
        """
        self._validate_params()
        sounds = list_voice_sounds(sounds)
        _check_consent(consent)
        audios = [read_voice_sound(sound, f"'sounds' item {i}") for i, sound in enumerate(sounds)]
        duration = sum(map(len, audios)) / AUDIO_SFREQ
        if duration < LEAST_SECONDS:
            raise ValueError(
                f"'sounds' must last at least {LEAST_SECONDS} s in total. Got {duration:.2f} s instead. Use about ten "
                f"sentences."
            )
        self.features_ = np.concatenate([self._compute_features(audio) for audio in audios])
        self.mel_ = np.concatenate([frames.compute_voice_frame_mel(audio) for audio in audios])
        self.consent_, self.synthetic_, self.duration_ = consent.strip(), True, float(duration)
        return self

    def convert(self, sound):
        """Convert speech to this voice.

        Parameters
        ----------
        sound : str, Path, AudioTrack or tuple (samples, sfreq)
            Speech of any speaker.

        Returns
        -------
        sound : ndarray of float32 of shape (n_samples,)
            Sound at 16 kHz, of the same duration up to one frame of 20 ms.

        Raises
        ------
        ValueError
            If the sound is too short, silent, not finite or without changes of
            level, or if the watermark is invalid.
        """
        check_is_fitted(self)
        return self._synthesize(self._compute_features(read_voice_sound(sound)), self.features_)

    def transform(self, sounds):
        """Convert several sounds to this voice.

        Parameters
        ----------
        sounds : list or DataFrame
            Sounds as in :meth:`fit`.

        Returns
        -------
        sounds : list of ndarray of float32 of shape (n_samples,)
            Sounds at 16 kHz.
        """
        check_is_fitted(self)
        return [self.convert(sound) for sound in list_voice_sounds(sounds)]

    def __call__(self, mel, sfreq):
        """Synthesize estimated speech features in this voice.

        Parameters
        ----------
        mel : array-like of shape (n_frames, n_features)
            Estimated features of the same model and layers, matched directly,
            or a log mel spectrogram of any number of bands, matched with the
            speaker's after both are standardized over time.
        sfreq : float
            Frames per second.

        Returns
        -------
        sound : ndarray of float32 of shape (n_samples,)
            Sound at 16 kHz.

        Raises
        ------
        ValueError
            If ``mel`` is not a finite matrix, or if the watermark is invalid.
        """
        check_is_fitted(self)
        given = np.asarray(mel)
        if (
            given.ndim != 2
            or not len(given)
            or given.shape[1] < FEWEST_BANDS
            or given.dtype.kind not in "fiu"
        ):
            raise ValueError(
                f"'mel' must be numbers of shape (n_frames, n_features), with at least {FEWEST_BANDS} bands. Got shape "
                f"{given.shape} of {given.dtype} instead."
            )
        if not np.isfinite(given).all():
            raise ValueError(
                f"'mel' must be finite. Got a NaN or infinite value in frame "
                f"{np.argwhere(~np.isfinite(given))[0][0]} instead."
            )
        if not (np.isreal(sfreq) and np.isfinite(sfreq) and sfreq > 0):
            raise ValueError(
                f"'sfreq' must be a positive number of frames per second. Got {sfreq!r} instead."
            )
        queries = frames.resample_voice_frames(given, sfreq)
        if given.shape[1] == self.features_.shape[1]:
            return self._synthesize(queries, self.features_)
        own = self.mel_.reshape(-1, frames.PER_FRAME, frames.N_MELS).mean(1)
        return self._synthesize(
            frames.standardize_voice_frames(queries, frames.N_MELS), frames.standardize_voice_frames(own)
        )

    @property
    def metadata(self):
        """Metadata for WAV files: that the voice is synthetic, and consent."""
        check_is_fitted(self)
        _check_consent(self.consent_)
        return {"synthetic": True, "consent": self.consent_}

    def write(self, path, sound):
        """Write sound of this voice to a WAV file with its metadata.

        Parameters
        ----------
        path : str, Path or file object
            WAV file. An existing file is replaced.
        sound : array-like of shape (n_samples,)
            Output of this voice, at 16 kHz.
        """
        write_wav(path, sound, AUDIO_SFREQ, self.metadata)

    def has_features_of(self, speech):
        """Return whether speech features are those that the voice matches.

        Parameters
        ----------
        speech : Wav2Vec2Features
            Pretrained speech features, not necessarily fitted.

        Returns
        -------
        has_features : bool
            Whether the model and the layers are equal.
        """
        own = Wav2Vec2Features(self.model, layers=self.layers)
        return str(speech.model) == str(self.model) and speech._select_layers() == own._select_layers()

    def _compute_features(self, audio):
        return frames.compute_voice_frame_features(
            audio, self.model, self.layers, self.device, self.precision
        )

    def _synthesize(self, queries, library):
        _check_consent(self.consent_)
        chosen = frames.match_voice_frames(queries, library, self.n_neighbors)
        mel = np.stack([self.mel_[rows].mean(0) for rows in chosen])
        mel[np.linalg.norm(queries, axis=1) < 1e-6] = self.mel_.mean(0)  # no direction, so no nearest frame
        sound = frames.invert_voice_frame_mel(mel, self.n_iter, check_random_state(self.random_state))
        return sound if self.watermark is None else self._mark(sound)

    def _mark(self, sound):
        marked = np.asarray(self.watermark(sound.copy(), AUDIO_SFREQ))
        if marked.shape != sound.shape or marked.dtype.kind != "f" or not np.isfinite(marked).all():
            raise ValueError(
                f"'watermark' must return finite floats of shape {sound.shape}. Got shape {marked.shape} of "
                f"{marked.dtype} instead."
            )
        if np.abs(marked).max() > 1:
            raise ValueError(
                f"'watermark' must return samples from -1 to 1. Got {np.abs(marked).max():.3g} instead."
            )
        return marked.astype(np.float32)


def make_example_voice(speaker="slt", n_sentences=10, **parameters):
    """Fit a voice to sentences of the synthetic speech of the package.

    Parameters
    ----------
    speaker : {"slt", "rms", "awb"}, default="slt"
        Voice of flite: a woman and a man from the US, and a man from Scotland.
    n_sentences : int, default=10
        Number of sentences, from the first one.
    **parameters
        Parameters of :class:`SpeakerVoice`.

    Returns
    -------
    voice : SpeakerVoice
        The fitted voice.

    Raises
    ------
    ValueError
        If the speaker or so many sentences do not exist.
    """
    sentences = list_voice_sentences(speaker)
    if not isinstance(n_sentences, Integral) or not 1 <= n_sentences <= len(sentences):
        raise ValueError(
            f"'n_sentences' must be an integer from 1 to {len(sentences)}. Got {n_sentences!r} instead."
        )
    return SpeakerVoice(**parameters).fit(sentences.head(n_sentences), consent=FLITE.format(speaker))


def list_voice_sentences(speaker):
    """List sentences of 2 to 20 s of a speaker of the package."""
    words = load_speech().query("type == 'word'")
    speakers = words["speaker"].unique().tolist()
    if speaker not in speakers:
        raise ValueError(f"'speaker' must be one of {speakers}. Got {speaker!r} instead.")
    words = words[words["speaker"] == speaker].assign(stop=lambda t: t["sound_onset"] + t["duration"])
    rows = words.groupby(["sound", (words["word_index"] == 0).cumsum().rename("nth")], sort=False)
    table = rows.agg(sound_onset=("sound_onset", "min"), stop=("stop", "max"), text=("text", " ".join))
    table = table.reset_index().assign(duration=lambda t: t["stop"] - t["sound_onset"])
    return table[table["duration"].between(2, 20)].drop(columns=["stop", "nth"]).reset_index(drop=True)


def _check_consent(consent):
    if not isinstance(consent, str) or not consent.strip():
        raise ValueError(
            f"The 'consent' parameter of SpeakerVoice.fit must be a text that states who agreed to what, for example "
            f"consent='Ada Example agreed on 2026-05-01 to the use of her voice in study X'. Got {consent!r} instead. "
            f"Get the consent of the speaker before fitting a voice."
        )

"""Spaces of speech features beyond the spectrum: onsets, phones and words, and several spaces side by side."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.base import TransformerMixin, clone
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from sk_b2s.caching import code_of
from sk_b2s.signals import Signal, loaded
from sk_b2s.sounds import chosen_sounds, named
from sk_b2s.speech import CODE as SPEECH_CODE
from sk_b2s.speech import (
    Envelope,
    SpectralFeatures,
    SpeechFeatures,
    mel_filters,
    power_spectrogram,
    read_audio,
)
from sk_b2s.stimuli import digests, sound_digest
from sk_b2s.windows import Windows

__all__ = ["PHONETIC_FEATURES", "AcousticOnsets", "EventFeatures", "FeatureSpaces"]

CODE = code_of(__file__)
SILENT = {"", "sp", "sil", "spn", "pau", "nan", "<sil>"}  # labels of pauses in aligners' tables
# Manner, place and voice of consonants, and height, place and glide of vowels: phones of ARPAbet with each.
PHONETIC_FEATURES = {
    "plosive": "p t k b d g", "fricative": "f v th dh s z sh zh hh", "affricate": "ch jh", "nasal": "m n ng",
    "approximant": "l r w y", "voiced": "b d g v dh z zh jh m n ng l r w y", "labial": "p b m f v w",
    "coronal": "t d n th dh s z sh zh ch jh l r", "dorsal": "k g ng y w", "glottal": "hh",
    "high": "iy ih uw uh", "mid": "eh ey er ah ax ow ao", "low": "ae aa aw ay", "front": "iy ih eh ey ae",
    "central": "ah ax er", "back": "uw uh ow ao aa", "diphthong": "ey ay ow aw oy",
}  # fmt: skip


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

    _compute, _code = staticmethod(acoustic_onsets), (SPEECH_CODE, CODE)
    _parameter_constraints = Envelope._parameter_constraints

    def __init__(self, sfreq=50, n_bands=8, exponent=0.6, n_fft=512, memory=None):
        self.sfreq = sfreq
        self.n_bands = n_bands
        self.exponent = exponent
        self.n_fft = n_fft
        self.memory = memory

    def _n_features(self, sounds):
        return self.n_bands


class EventFeatures(SpeechFeatures):
    """What the events table says of a sound: phones by their classes, or the beginnings of words.

    Feature f of a frame is 1 if an event with that feature begins in it (or lasts in it, with ``hold``), else 0. Unlike
    features of the sound they know what was said, not how it sounded.

    Parameters
    ----------
    events : DataFrame
        The events table, of one person or of all: ``type, sound, sound_onset, duration`` and, with ``classes``,
        ``text``. :func:`~sk_b2s.check_events` fills in sounds and times that are missing. The same event, heard by
        many, counts once.
    kind : str, default="phoneme"
        Type of the events: "phoneme" or "word".
    classes : None or dict of str to str or list of str, default=None
        Features, and the texts of events that have each, in a list or one string with spaces; a text may be in
        several. ``sk_b2s.features.PHONETIC_FEATURES`` is such a dict for phones in ARPAbet. None is one feature, which
        every event has. Texts are compared in lower case and without the digit of stress.
    hold : bool, default=False
        A feature stays 1 for as long as the event lasts.
    sfreq : float, default=50
        Frames per second.

    Attributes
    ----------
    n_features_out_ : int
    rows_ : DataFrame
        Distinct events: ``sound`` (digest), ``sound_onset, duration, text``.

    Warns
    -----
    UserWarning
        If texts are in no class, pauses aside.

    Raises
    ------
    ValueError
        If the table lacks a column or value, or holds no event of that kind.

    References
    ----------
    .. [1] Di Liberto, O'Sullivan, Lalor (2015). Low-frequency cortical entrainment to speech reflects phoneme-level
       processing. Current Biology 25:2457. https://doi.org/10.1016/j.cub.2015.08.030

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sk_b2s import SoundArray
    >>> story = SoundArray(np.zeros(64), sfreq=64)
    >>> events = pd.DataFrame({"type": "phoneme", "sound": story, "sound_onset": [0.1, 0.5], "duration": 0.1,
    ...                        "text": ["B", "IY1"]})
    >>> y = pd.DataFrame({"sound": [story], "sound_onset": 0.0, "duration": 0.7})
    >>> np.asarray(EventFeatures(events, classes={"stop": "b p", "vowel": "iy ae"}, sfreq=10).fit_transform(y))[0]
    array([[0., 1., 0., 0., 0., 0., 0., 0.],
           [0., 0., 0., 0., 0., 1., 0., 0.]], dtype=float32)
    """

    _parameter_constraints = {
        "sfreq": SpeechFeatures._parameter_constraints["sfreq"],
        "events": [pd.DataFrame],
        "kind": [str],
        "classes": [dict, None],
        "hold": ["boolean"],
    }

    _reads_audio = False

    def __init__(self, events, kind="phoneme", classes=None, hold=False, sfreq=50):
        self.events = events
        self.kind = kind
        self.classes = classes
        self.hold = hold
        self.sfreq = sfreq

    def _n_features(self, sounds):
        return 1 if self.classes is None else len(self.classes)

    def _check_rate(self):
        """Look at the table, where others look at their rate: any rate will do here."""
        self.rows_ = rows = self._rows()
        if self.classes is None:
            return
        known = set().union(*map(_texts, self.classes.values())) | SILENT
        strange = rows.loc[~rows["text"].isin(known), "text"].value_counts()
        if len(strange):
            warnings.warn(
                f"{strange.sum()} of {len(rows)} events of type {self.kind!r} have a text that is in no class: "
                f"{', '.join(strange.index[:8])}. They have no feature; add them to classes, or their like in "
                f"ARPAbet.",
                stacklevel=3,
            )

    def _rows(self):
        """Distinct events of the kind: digest of the sound, onset, duration, text."""
        needed = ["type", "sound", "sound_onset", "duration", *(["text"] if self.classes is not None else [])]
        if missing := [column for column in needed if column not in self.events]:
            raise ValueError(f"events lacks {missing}; check_events(events) returns what may be left out.")
        rows = self.events[self.events["type"] == self.kind]
        if not len(rows):
            kinds = sorted(map(str, self.events["type"].unique()))
            raise ValueError(f"events has no row of type {self.kind!r}, only {kinds}.")
        if (lost := rows[["sound", "sound_onset"]].isna().any(axis=1)).any():
            raise ValueError(
                f"events row {rows.index[lost][0]!r} says not in which sound it is, or when ({lost.sum()} such "
                f"rows): give check_events(events)."
            )
        text = rows["text"].astype(str).str.lower().str.rstrip("012") if self.classes is not None else ""
        out = (
            rows[["sound_onset", "duration"]]
            .astype(float)
            .assign(sound=digests(chosen_sounds(rows)), text=text)
        )
        return out.drop_duplicates()

    def _without_content(self, sounds):
        """Return the sounds in which no event of the kind begins."""
        known = set(self.rows_["sound"])
        return [sound for sound in sounds if sound_digest(sound) not in known]

    def _emptiness(self, sounds):
        return f"the events have no {self.kind} in {named(sounds)}"

    def _features(self, sound):
        rows = self.rows_[self.rows_["sound"] == sound_digest(sound)]
        out = np.zeros((self._n_frames(sound), self.n_features_out_), np.float32)
        first = np.floor(rows["sound_onset"].to_numpy() * self.sfreq + 1e-6).astype(int)
        stop = rows["sound_onset"].to_numpy() + rows["duration"].to_numpy()
        last = np.ceil(stop * self.sfreq - 1e-6).astype(int) if self.hold else first + 1
        classes = [None] if self.classes is None else list(self.classes.values())
        for column, texts in enumerate(classes):
            own = slice(None) if texts is None else np.flatnonzero(rows["text"].isin(_texts(texts)))
            for begin, end in zip(first[own], np.maximum(last, first + 1)[own], strict=True):
                out[begin:end, column] = 1
        return out


def _texts(texts):
    """Texts of a class: set of str."""
    return {text.lower() for text in (texts.split() if isinstance(texts, str) else texts)}


# --- several spaces --------------------------------------------------------------------------------


class FeatureSpaces(TransformerMixin, _BaseComposition):
    """Put several spaces of features side by side in every frame.

    Unlike :class:`~sklearn.pipeline.FeatureUnion` it keeps windows lazy: a sound is computed once for each space and
    nothing is cut before it is needed.

    Parameters
    ----------
    spaces : list of (str, transformer)
        Names, and transformers of the table of what was heard into Windows of one rate.

    Attributes
    ----------
    spaces_ : list of (str, transformer)
        Fitted.
    places_ : dict of str to (int, int)
        First feature of each space, and the one after its last.
    n_features_out_ : int

    Raises
    ------
    ValueError
        If names are not unique, or rates or windows differ between spaces.

    See Also
    --------
    score_feature_spaces : What each space adds.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sk_b2s import AcousticOnsets, Envelope, FeatureScaler, FeatureSpaces
    >>> speech = make_pipeline(FeatureSpaces([("level", Envelope()), ("onsets", AcousticOnsets())]), FeatureScaler())
    """

    def __init__(self, spaces):
        self.spaces = spaces

    def get_params(self, deep=True):
        """Parameters, with those of the spaces under their names.

        Parameters
        ----------
        deep : bool, default=True
            With those of the spaces.

        Returns
        -------
        params : dict
        """
        return self._get_params("spaces", deep=deep)

    def set_params(self, **params):
        """Set parameters; a space's name sets the space, "name__parameter" one of its own.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : FeatureSpaces
        """
        self._set_params("spaces", **params)
        return self

    def fit(self, X, y=None):
        """Fit every space.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, ...)
            The table of what was heard.
        y : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        self : FeatureSpaces
        """
        if not self.spaces:
            raise ValueError("spaces is empty; give pairs of a name and a transformer.")
        self._validate_names([name for name, _ in self.spaces])
        self.spaces_ = [(name, clone(space).fit(X)) for name, space in self.spaces]
        edges = np.cumsum([0, *(part.shape[1] for part in self._parts(X))])
        names = [name for name, _ in self.spaces_]
        self.places_ = {
            name: (int(a), int(b)) for name, a, b in zip(names, edges[:-1], edges[1:], strict=True)
        }
        self.n_features_out_ = int(edges[-1])
        return self

    def _parts(self, X):
        return [space.transform(X) for _, space in self.spaces_]

    def transform(self, X):
        """Lay windows on the features of all spaces.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, ...)
            The table of what was heard.

        Returns
        -------
        windows : Windows of shape (n_segments, n_features, n_frames)
        """
        check_is_fitted(self)
        return side_by_side(self._parts(X), [name for name, _ in self.spaces_])


def side_by_side(parts, names):
    """Join Windows on the same sounds, feature after feature.

    Parameters
    ----------
    parts : list of Windows of shape (n_windows, ..., n_frames)
    names : list of str
        What messages call them.

    Returns
    -------
    windows : Windows of shape (n_windows, n_features of all, n_frames)

    Raises
    ------
    ValueError
        If they are not Windows of one rate, length and place.
    """
    one = parts[0]
    for name, part in zip(names, parts, strict=True):
        if not isinstance(part, Windows):
            raise ValueError(
                f"space {name!r} gives {type(part).__name__}, not Windows, which only can stand side by side."
            )
        if part.sfreq != one.sfreq or part.n_times != one.n_times or part.n_read != one.n_read:
            raise ValueError(
                f"space {name!r} has {part.n_times} frames at {part.sfreq} Hz, but {names[0]!r} has "
                f"{one.n_times} at {one.sfreq} Hz: give all spaces one sfreq."
            )
        if not np.array_equal(part.which, one.which):
            raise ValueError(
                f"spaces {names[0]!r} and {name!r} order their sounds differently and cannot be joined."
            )
    widths = tuple(part.shape[1] for part in parts)
    firsts = np.unique(one.which, return_index=True)
    signals = list(one.signals)
    for index, row in zip(*firsts, strict=True):
        length = one.signals[index].shape[0]
        sources = [(part.signals[index], int(part.start[row] - one.start[row])) for part in parts]
        signals[index] = Signal(partial(_beside, sources, length), (length, sum(widths)))
    steps = (_Apart([part.steps for part in parts], widths),) if any(part.steps for part in parts) else ()
    return Windows(
        signals, one.which, one.start, one.n_read, one.sfreq, rows=one.rows, extent=one.extent, steps=steps
    )


def _beside(sources, length):
    """Signals side by side, each from its own first sample on; what one lacks repeats its ends."""
    out = []
    for signal, first in sources:
        data = loaded(signal, keep=False)
        out.append(data[np.clip(np.arange(first, first + length), 0, len(data) - 1)])
    return np.concatenate(out, axis=1)


class _Apart:
    """Put each space's features through the steps of that space."""

    def __init__(self, steps, widths):
        self.steps, self.widths = steps, widths

    def __call__(self, batch, which):
        parts = []
        for steps, part in zip(self.steps, batch.split(self.widths, dim=1), strict=True):
            part = part.transpose(1, 2).contiguous().transpose(1, 2)  # steps may write into it, time-major
            for step in steps:
                part = step(part, which)
            parts.append(part.transpose(1, 2))
        return torch.cat(parts, dim=2).transpose(1, 2)

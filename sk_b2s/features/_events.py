"""Speech features of words and phonemes."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from sk_b2s.events._audio._checks import named, select_tracks
from sk_b2s.events._silence import SILENT
from sk_b2s.events._stimuli import digests, stimulus_digest
from sk_b2s.features._base import SpeechFeatures

# Manner, place and voice of consonants, and height, place and glide of vowels: phones of ARPAbet with each.
PHONETIC_FEATURES = {
    "plosive": "p t k b d g", "fricative": "f v th dh s z sh zh hh", "affricate": "ch jh", "nasal": "m n ng",
    "approximant": "l r w y", "voiced": "b d g v dh z zh jh m n ng l r w y", "labial": "p b m f v w",
    "coronal": "t d n th dh s z sh zh ch jh l r", "dorsal": "k g ng y w", "glottal": "hh",
    "high": "iy ih uw uh", "mid": "eh ey er ah ax ow ao", "low": "ae aa aw ay", "front": "iy ih eh ey ae",
    "central": "ah ax er", "back": "uw uh ow ao aa", "diphthong": "ey ay ow aw oy",
}  # fmt: skip


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
        several. ``sk_b2s.features._events.PHONETIC_FEATURES`` is such a dict for phones in ARPAbet. None is one feature, which
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
    >>> from sk_b2s import StimulusArray
    >>> story = StimulusArray(np.zeros(64), sfreq=64)
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
            .assign(sound=digests(select_tracks(rows)), text=text)
        )
        return out.drop_duplicates()

    def _without_content(self, sounds):
        """Return the sounds in which no event of the kind begins."""
        known = set(self.rows_["sound"])
        return [sound for sound in sounds if stimulus_digest(sound) not in known]

    def _emptiness(self, sounds):
        return f"the events have no {self.kind} in {named(sounds)}"

    def _features(self, sound):
        rows = self.rows_[self.rows_["sound"] == stimulus_digest(sound)]
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

"""Speech features of words and phonemes."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from sk_b2s.events._audio._selection import select_audio_tracks
from sk_b2s.events._silence import is_silence
from sk_b2s.events._stimuli import digest_stimuli, format_stimulus_names, get_stimulus_digest
from sk_b2s.features._speech_features import SpeechFeatures

#: Phones in ARPAbet by manner, place and voicing of consonants, and by height, place and glide of vowels.
PHONETIC_FEATURES = {
    "plosive": "p t k b d g", "fricative": "f v th dh s z sh zh hh", "affricate": "ch jh", "nasal": "m n ng",
    "approximant": "l r w y", "voiced": "b d g v dh z zh jh m n ng l r w y", "labial": "p b m f v w",
    "coronal": "t d n th dh s z sh zh ch jh l r", "dorsal": "k g ng y w", "glottal": "hh",
    "high": "iy ih uw uh", "mid": "eh ey er ah ax ow ao", "low": "ae aa aw ay", "front": "iy ih eh ey ae",
    "central": "ah ax er", "back": "uw uh ow ao aa", "diphthong": "ey ay ow aw oy",
}  # fmt: skip


class EventFeatures(SpeechFeatures):
    """Encode phonemes by class, or word onsets, from an events table.

    A feature is 1 in the frame where an event of its class begins, and 0
    elsewhere. With ``hold`` it is 1 in all frames of the event. Unlike
    acoustic features, these features describe the linguistic content of the
    speech, such as its phonetic features [1]_.

    Parameters
    ----------
    events : DataFrame
        Events table of one or of all subjects, with the columns ``type``,
        ``sound``, ``sound_onset`` and ``duration``, and ``text`` if
        ``classes`` is given. :func:`~sk_b2s.check_events` fills in missing
        stimuli and times. An event that was presented to several subjects
        counts once.
    kind : str, default="phoneme"
        Type of the events, "phoneme" or "word".
    classes : None or dict of str to str or list of str, default=None
        Name of each feature, with the texts of its events as a list or as one
        string separated by spaces. A text may belong to several features.
        ``sk_b2s.features.PHONETIC_FEATURES`` is such a dict for phones in
        ARPAbet. If None, there is one feature, which includes every event.
        Texts are compared in lower case and without the digit of stress.
    hold : bool, default=False
        If True, a feature is 1 for the whole duration of the event.
    sfreq : float, default=50
        Frames per second.

    Attributes
    ----------
    n_features_out_ : int
        Number of features.
    rows_ : DataFrame of shape (n_events, 4)
        Distinct events: ``sound`` (digest), ``sound_onset``, ``duration`` and
        ``text``.

    Warns
    -----
    UserWarning
        If texts belong to no class, except for labels of silence.

    Raises
    ------
    ValueError
        If ``events`` lacks a column or value, or has no event of this type.

    References
    ----------
    .. [1] Di Liberto, O'Sullivan, Lalor (2015). Low-frequency cortical
       entrainment to speech reflects phoneme-level processing. Current Biology
       25:2457. https://doi.org/10.1016/j.cub.2015.08.030

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sk_b2s import StimulusArray
    >>> story = StimulusArray(np.zeros(64), sfreq=64)
    >>> events = pd.DataFrame(
    ...     {"type": "phoneme", "sound": story, "sound_onset": [0.1, 0.5],
    ...      "duration": 0.1, "text": ["B", "IY1"]}
    ... )
    >>> y = pd.DataFrame(
    ...     {"sound": [story], "sound_onset": 0.0, "duration": 0.7}
    ... )
    >>> classes = {"stop": "b p", "vowel": "iy ae"}
    >>> features = EventFeatures(events, classes=classes, sfreq=10)
    >>> np.asarray(features.fit_transform(y))[0]
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

    def _count_features(self, sounds):
        return 1 if self.classes is None else len(self.classes)

    def _list_feature_names(self):
        return [self.kind] if self.classes is None else list(self.classes)

    def _check_rate(self):
        """Check the events table. Every rate is valid."""
        self.rows_ = rows = self._select_rows()
        if self.classes is None:
            return
        known = set().union(*map(_split_event_texts, self.classes.values()))
        unknown = rows.loc[~(rows["text"].isin(known) | is_silence(rows["text"])), "text"].value_counts()
        if len(unknown):
            warnings.warn(
                f"{unknown.sum()} of {len(rows)} events of type {self.kind!r} have a text that belongs to no class: "
                f"{', '.join(unknown.index[:8])}. They are ignored. Add these texts to 'classes', or convert them to "
                f"ARPAbet.",
                stacklevel=3,
            )

    def _select_rows(self):
        """Select the distinct events of the type."""
        needed = ["type", "sound", "sound_onset", "duration", *(["text"] if self.classes is not None else [])]
        if missing := [column for column in needed if column not in self.events]:
            raise ValueError(
                f"'events' is missing required columns {missing}. Pass the output of check_events(events)."
            )
        rows = self.events[self.events["type"] == self.kind]
        if not len(rows):
            kinds = sorted(map(str, self.events["type"].unique()))
            raise ValueError(f"'events' has no row of type {self.kind!r}, only {kinds}.")
        if (lost := rows[["sound", "sound_onset"]].isna().any(axis=1)).any():
            raise ValueError(
                f"events row {rows.index[lost][0]!r} has no value of sound or sound_onset ({lost.sum()} such rows). "
                f"Pass the output of check_events(events)."
            )
        text = rows["text"].astype(str).str.lower().str.rstrip("012") if self.classes is not None else ""
        out = (
            rows[["sound_onset", "duration"]]
            .astype(float)
            .assign(sound=digest_stimuli(select_audio_tracks(rows)), text=text)
        )
        return out.drop_duplicates()

    def _find_constant(self, sounds):
        """Return the stimuli in which no event of the type begins."""
        known = set(self.rows_["sound"])
        return [sound for sound in sounds if get_stimulus_digest(sound) not in known]

    def _describe_constant(self, sounds):
        return f"'events' has no {self.kind} in {format_stimulus_names(sounds)}"

    def _compute_features(self, sound):
        rows = self.rows_[self.rows_["sound"] == get_stimulus_digest(sound)]
        out = np.zeros((self._count_frames(sound), self.n_features_out_), np.float32)
        first = np.floor(rows["sound_onset"].to_numpy() * self.sfreq + 1e-6).astype(int)
        stop = rows["sound_onset"].to_numpy() + rows["duration"].to_numpy()
        last = np.ceil(stop * self.sfreq - 1e-6).astype(int) if self.hold else first + 1
        classes = [None] if self.classes is None else list(self.classes.values())
        for column, texts in enumerate(classes):
            own = (
                slice(None) if texts is None else np.flatnonzero(rows["text"].isin(_split_event_texts(texts)))
            )
            for begin, end in zip(first[own], np.maximum(last, first + 1)[own], strict=True):
                out[begin:end, column] = 1
        return out


def _split_event_texts(texts):
    """Return the texts of a class as a set in lower case."""
    return {text.lower() for text in (texts.split() if isinstance(texts, str) else texts)}

"""Labels of segments: speech or silence, and phonemes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.events._silence import is_silence
from sk_b2s.events._stimuli import StimulusArray, digest_stimuli
from sk_b2s.features._activity import SpeechActivity

KINDS = {"speech": "word", "phoneme": "phoneme"}  # task: type of the events
NEEDED = ("sound", "sound_onset", "duration")
SPEECH = ("speech", "silence")
ROUNDING = 1e-6  # s


def label_segments(y, events=None, kind="phoneme", at=None):
    """Label segments by the speech, silence or phoneme at a time in them.

    Parameters
    ----------
    y : DataFrame of shape (n_segments, ...)
        Stimulus segments, as :func:`~sk_b2s.make_segments` returns them.
    events : DataFrame, default=None
        Events table with words or phonemes. If None, speech is detected in the
        audio by :class:`~sk_b2s.SpeechActivity`, or read from the feature
        "speech" of a :class:`~sk_b2s.StimulusArray`, and phonemes are those of
        ``make_segments(anchor="phoneme")``.
    kind : {"phoneme", "speech"}, default="phoneme"
        Label. "phoneme" is the phoneme that is spoken, in lower case and
        without the digit of stress. "speech" is "speech" during a word, and
        "silence" otherwise.
    at : float, default=None
        Time of the label in seconds from the start of the segment. It is
        ``-tmin`` for the anchor of :func:`~sk_b2s.make_segments`. If None, the
        phoneme at the anchor of ``make_segments(anchor="phoneme")``, otherwise
        the start of the segment.

    Returns
    -------
    labels : Series of shape (n_segments,)
        Indexed as ``y``. None where no phoneme is spoken.

    Raises
    ------
    ValueError
        If ``kind`` is unknown, or ``y`` or ``events`` lack a column or rows.

    See Also
    --------
    cross_val_classification : Classify EEG/MEG windows by these labels.
    """
    if kind not in KINDS:
        raise ValueError(
            f"The 'kind' parameter of label_segments must be one of {list(KINDS)}. Got {kind!r} instead."
        )
    if kind == "phoneme" and at is None and "phoneme" in y:
        return _normalize_phoneme_labels(y["phoneme"])
    if missing := [column for column in NEEDED if column not in y]:
        raise ValueError(f"y lacks the columns {missing}. Use the y of make_segments.")
    times = y["sound_onset"].to_numpy(float) + (at or 0.0)
    if events is None:
        if kind == "phoneme":
            raise ValueError(
                "kind='phoneme' requires the phonemes. Pass events=, or make segments with anchor='phoneme' and at=None."
            )
        is_active = _detect_speech_at_times(y["sound"].to_numpy(object), times, y)
    else:
        texts = _find_label_texts(y, times, events, KINDS[kind])
        if kind == "phoneme":
            return _normalize_phoneme_labels(texts)
        is_active = texts.notna().to_numpy()
    return pd.Series(np.where(is_active, *SPEECH), index=y.index, dtype=object)


def _detect_speech_at_times(sounds, times, y):
    """Return whether there is speech at a time of each stimulus."""
    is_active, heard = np.zeros(len(y), bool), np.ones(len(y), bool)
    for row, (sound, time) in enumerate(zip(sounds, times, strict=True)):
        if isinstance(sound, StimulusArray) and "speech" in sound.features:
            frame = int(np.floor(time * sound.sfreq + ROUNDING))
            inside = 0 <= frame < len(sound.data)
            is_active[row] = inside and sound.data[frame, sound.features.index("speech")] > 0
            heard[row] = False
    if heard.any():
        at = y[heard].assign(sound_onset=times[heard].round(6), duration=0.0)
        is_active[heard] = np.asarray(SpeechActivity().fit_transform(at))[:, 0, 0] > 0
    return is_active


def _normalize_phoneme_labels(texts):
    """Return phonemes in lower case without stress, None for silences."""
    plain = [
        None if is_silent else str(text).strip().lower().rstrip("012")
        for text, is_silent in zip(texts, is_silence(texts), strict=True)
    ]
    return pd.Series(plain, index=texts.index, dtype=object)


def _find_label_texts(y, times, events, kind):
    """Return the text of the event at each time, None without an event."""
    rows = events[events["type"] == kind] if "type" in events else events.iloc[:0]
    if missing := [column for column in (*NEEDED, "text") if column not in events]:
        raise ValueError(f"events lacks the columns {missing}. Pass the output of check_events(events).")
    rows = rows[~is_silence(rows["text"], are_words=kind == "word") & rows["sound_onset"].notna()]
    if not len(rows):
        raise ValueError(
            f"events has no row of type {kind!r} with a time in its stimulus. Pass check_events(events)."
        )
    rows = rows.assign(digest=digest_stimuli(rows["sound"])).sort_values("sound_onset", kind="stable")
    known, out = dict(iter(rows.groupby("digest"))), np.full(len(y), None, object)
    digests = digest_stimuli(y["sound"])
    for digest in pd.unique(digests):
        if (own := known.get(digest)) is None:
            continue
        places = np.flatnonzero(digests == digest)
        begin = own["sound_onset"].to_numpy(float)
        last = np.searchsorted(begin, times[places] + ROUNDING, side="right") - 1
        end = begin + own["duration"].to_numpy(float)
        inside = (last >= 0) & (times[places] < end[last] - ROUNDING)
        out[places[inside]] = own["text"].to_numpy(object)[last[inside]]
    return pd.Series(out, index=y.index, dtype=object)

"""Sentences, sequences and audio delay of an events table."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import plain_text, shorten_list

ROUNDING = 1e-9  # s by which a silent gap may be shorter than asked for


def number_sentences(onset, stop, sentence_gap=0.4):
    """Number words by sentence, where a silent gap ends a sentence.

    Parameters
    ----------
    onset, stop : array-like of shape (n_words,)
        Seconds, in temporal order.
    sentence_gap : float, default=0.4
        Shortest silence between two sentences, in seconds.

    Returns
    -------
    number : ndarray of int of shape (n_words,)
    """
    onset, stop = np.asarray(onset, float), np.asarray(stop, float)
    is_first = onset[1:] - stop[:-1] >= sentence_gap - ROUNDING
    return np.r_[0, np.cumsum(is_first)][: len(onset)]


def fill_sentences(events, sentence_gap=0.4):
    """Tell the sentences of recordings whose words name none.

    With a ``word_index`` a sentence begins where it does not rise, without where nobody speaks for
    ``sentence_gap`` seconds; it is named by its text. Words that name their sentence and not their place
    in it are counted. A word without a duration lasts until the next one begins; of recordings in which no
    word has any, and none an index, sentences are not told.

    Parameters
    ----------
    events : DataFrame
        With ``recording, type, onset, duration, text``.
    sentence_gap : float, default=0.4
        Seconds.

    Returns
    -------
    events : DataFrame
        With ``sequence`` and ``word_index``.

    Warns
    -----
    UserWarning
        If sentences cannot be told.
    """
    labels, events, untold = events.index, events.reset_index(drop=True), []
    for column, empty in [("text", None), ("sequence", None), ("word_index", np.nan), ("stream", "single")]:
        if column not in events:
            events[column] = pd.Series(empty, index=events.index, dtype=float if empty is np.nan else object)
    events["stream"] = events["stream"].where(events["stream"].notna(), "single")
    for (recording, _), words in events[events["type"] == "word"].groupby(
        ["recording", "stream"], sort=False
    ):
        words = words.sort_values("onset", kind="stable")
        if words["sequence"].notna().any():
            if words["word_index"].isna().all():
                runs = (words["sequence"] != words["sequence"].shift()).cumsum()
                events.loc[words.index, "word_index"] = words.groupby(runs).cumcount().astype(float)
            continue
        place, lasts = words["word_index"].to_numpy(float), words["duration"].to_numpy(float)
        if np.isnan(place).all():
            if len(words) > 1 and not (lasts > 0).any():
                untold.append(recording)
                continue
            onset = words["onset"].to_numpy(float)
            stop = np.where(lasts > 0, onset + lasts, np.r_[onset[1:], np.inf])
            sentence = number_sentences(onset, stop, sentence_gap)
        else:
            sentence = np.r_[0, np.cumsum(~(place[1:] > place[:-1]))]
        of_sentence = words.groupby(sentence)["text"]
        events.loc[words.index, "sequence"] = of_sentence.transform(plain_text).astype(object)
        if np.isnan(place).all():
            events.loc[words.index, "word_index"] = of_sentence.cumcount().astype(float)
    if untold:
        names = [repr(Path(recording).name) for recording in dict.fromkeys(map(str, untold))]
        warnings.warn(
            f"{len(untold)} recordings, {shorten_list(names, 30)}, have words without a duration, a sentence or a place in "
            f"it, so where sentences begin cannot be told; columns={{'duration': ...}}, 'sequence' or "
            f"'word_index' says where these are.",
            stacklevel=3,
        )
    return events.set_axis(labels)


def disambiguate_sequences(events, stimuli):
    """Put the sound before the number of a sentence, and before a name that means other words in another sound.

    Tables that number their sentences often begin anew with each run. The name of a sentence is to be one for all who
    heard it, and for no other sentence, whatever else is read with it; so a number is always that of its sound.

    Parameters
    ----------
    events : DataFrame
        Checked, with ``recording, type, onset, text, sequence`` and the path of the ``sound``.
    stimuli : path-like
        Folder of the sounds; their names are those in it.

    Returns
    -------
    events : DataFrame
    """
    words = events[(events["type"] == "word") & events["sequence"].notna()]
    said = words.groupby(["sequence", "sound", "recording", "stream"], sort=False)["text"].agg(plain_text)
    whole = said.str.len().groupby(level=[0, 1], sort=False).idxmax()  # somebody's recording may be cut
    texts = said[whole].groupby(level="sequence").nunique()
    clash = [name for name, n_texts in texts.items() if n_texts > 1 or name.removeprefix("-").isdigit()]
    sounds = events["sound"].dropna().unique()
    names = {sound: str(Path(os.path.relpath(sound, stimuli)).with_suffix("")) for sound in sounds}
    prefixed = events["sound"].map(names) + "/" + events["sequence"]
    return events.assign(sequence=events["sequence"].mask(events["sequence"].isin(clash), prefixed))


def delay_events(events, audio_delay):
    """Move what was heard later by the time the sound took to the ear.

    Parameters
    ----------
    events : DataFrame
        With ``recording, type, onset``.
    audio_delay : float or dict of str to float
        Seconds, or seconds for each recording by the beginning of its file's name ("sub-01",
        "sub-01_ses-02"); the longest that fits counts, 0 where none does.

    Returns
    -------
    events : DataFrame
        A copy.

    Raises
    ------
    ValueError
        If a delay is no finite number, or an entry fits no recording.
    """
    table = audio_delay if isinstance(audio_delay, dict) else {"": audio_delay}
    for name, delay in table.items():
        if not (isinstance(delay, (int, float, np.number)) and np.isfinite(delay)):
            raise ValueError(f"audio_delay must be seconds, or a dict of seconds; got {audio_delay!r}.")
        if abs(delay) > 5:
            raise ValueError(
                f"audio_delay is in seconds, got {delay!r} for {name!r}: were milliseconds meant?"
            )
    delays, fits = {}, set()
    for recording in events["recording"].unique():
        stem = Path(recording).name.split(".")[0]
        names = [name for name in table if f"{stem}_".startswith(f"{name}_") or name in ("", stem)]
        fits |= set(names)
        delays[recording] = table[max(names, key=len)] if names else 0.0
    if lost := sorted(set(table) - fits):
        raise ValueError(f"audio_delay has an entry {lost[0]!r} that no recording's name begins with.")
    moved = events["onset"] + events["recording"].map(delays).astype(float)
    return events.assign(onset=events["onset"].where(events["type"] == "bad", moved))

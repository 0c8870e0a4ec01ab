"""Sentences, sequences and audio delay of an events table."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import make_plain_text, shorten_list

ROUNDING = 1e-9  # s by which a silent gap may be shorter than ``sentence_gap``


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
    """Fill in the sentences of recordings whose words have none.

    If words have a ``word_index``, a sentence begins where it does not
    increase, otherwise after a silence of ``sentence_gap`` seconds. The name
    of a sentence is its text. Words that have a sentence but no index are
    numbered. A word without a duration lasts until the next word. A recording
    without any index or duration stays without sentences.

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
        If sentences of a recording cannot be found.
    """
    labels, events, unknown = events.index, events.reset_index(drop=True), []
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
                unknown.append(recording)
                continue
            onset = words["onset"].to_numpy(float)
            stop = np.where(lasts > 0, onset + lasts, np.r_[onset[1:], np.inf])
            sentence = number_sentences(onset, stop, sentence_gap)
        else:
            sentence = np.r_[0, np.cumsum(~(place[1:] > place[:-1]))]
        of_sentence = words.groupby(sentence)["text"]
        events.loc[words.index, "sequence"] = of_sentence.transform(make_plain_text).astype(object)
        if np.isnan(place).all():
            events.loc[words.index, "word_index"] = of_sentence.cumcount().astype(float)
    if unknown:
        names = [repr(Path(recording).name) for recording in dict.fromkeys(map(str, unknown))]
        warnings.warn(
            f"The sentences of {len(unknown)} recordings cannot be found, because their words have no duration, sentence "
            f"or word index: {shorten_list(names, 30)}. Name the column that has one of them, for example "
            f"columns={{'duration': ...}}, 'sequence' or 'word_index'.",
            stacklevel=3,
        )
    return events.set_axis(labels)


def disambiguate_sentences(events, stimuli):
    """Prefix sentence names that are ambiguous with the stimulus name.

    These are all numbers, because tables often restart them in each run, and
    names that have other words in another stimulus.

    Parameters
    ----------
    events : DataFrame
        Checked, with ``recording, type, onset, text, sequence`` and the path
        in ``sound``.
    stimuli : path-like
        Folder of the stimuli. Names are relative to it.

    Returns
    -------
    events : DataFrame
    """
    words = events[(events["type"] == "word") & events["sequence"].notna()]
    found = words.groupby(["sequence", "sound", "recording", "stream"], sort=False)["text"].agg(
        make_plain_text
    )
    whole = found.str.len().groupby(level=[0, 1], sort=False).idxmax()  # a recording may end in the sentence
    texts = found[whole].groupby(level="sequence").nunique()
    clash = [name for name, n_texts in texts.items() if n_texts > 1 or name.removeprefix("-").isdigit()]
    is_clash = events["sequence"].isin(clash)
    if not is_clash.any():
        return events
    sounds = events.loc[is_clash, "sound"].dropna().unique()
    names = {sound: str(Path(os.path.relpath(sound, stimuli)).with_suffix("")) for sound in sounds}
    prefixed = events["sound"].map(names) + "/" + events["sequence"]
    return events.assign(sequence=events["sequence"].mask(is_clash, prefixed))

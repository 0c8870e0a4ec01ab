"""Warnings for TextGrids that do not fit their audio file."""

from __future__ import annotations

import warnings

import numpy as np

from sk_b2s._utils._text import shorten_text
from sk_b2s._utils._units import guess_unit
from sk_b2s.events._stimuli import stimulus_duration
from sk_b2s.events._table_times import check_last_word

LONG = 10.0  # s that no word lasts
DIFFERS = 1.0  # s by which a sound and its TextGrid are seldom apart
SAME = 1e-3  # s by which intervals of one length differ
FEW = 10  # words of which nothing is said
MANY = 30  # words among which phonemes are known
SHORT = 0.05  # s that half of all words never fall below
EMPTY = 20.0  # s without a word, and a third of the sound, which is doubted
PHONEME = r"[A-Z]{1,3}[0-2]|B|CH|D|DH|F|G|HH|JH|K|L|M|N|NG|P|R|S|SH|T|TH|V|W|Y|Z|ZH"
UNKNOWN = {
    "spn",
    "<unk>",
    "[unk]",
    "unk",
    "<oov>",
    "{nsn}",
}  # what aligners write for words that they do not know


def check_tiers(path, words, phonemes=None, all_words=None, all_phonemes=None):
    """Warn of tiers that hold no words, other entries than they should, or intervals that nobody measured.

    Parameters
    ----------
    path : path-like
        The TextGrid, for the message.
    words : DataFrame of shape (n_words, 3)
        ``onset, duration, text`` of the entries in which somebody speaks.
    phonemes : DataFrame of shape (n_phonemes, 3), default=None
        Likewise, None if there is no such tier.
    all_words, all_phonemes : DataFrame, default=None
        The whole tiers, with silences.

    Warns
    -----
    UserWarning
        For each of: no words at all, words longer than 10 s, half of the words shorter than 50 ms, words of equal
        length that follow each other without a pause, one word alone, sentences or phonemes in their place, no word in
        20 s and a third of the sound, fewer phonemes than words, and most words without a phoneme.
    """
    said = [*_of_words(words, all_words), *_of_phonemes(words, phonemes, all_phonemes)]
    for text in said:
        warnings.warn(f"{str(path)!r}: {text}", stacklevel=4)


def _of_words(words, tier):
    if words.empty:
        texts = [] if tier is None else list(tier["text"])
        distinct = shorten_text(", ".join(sorted(set(texts))))
        yield (
            f"its tier of words holds no word, only {len(texts)} entries {distinct}. Align the sound "
            f"again, or name another tier by tiers={{'word': ...}}."
        )
        return
    long = words["duration"].to_numpy(float) > LONG
    if long.any():
        row = words.iloc[int(np.argmax(long))]
        yield (
            f"{long.sum()} of {len(words)} words last longer than {LONG:g} s, the first, {shorten_text(row['text'])} at "
            f"{row['onset']:.3f} s, {row['duration']:.3f} s. Did the alignment fail, or does the tier hold sentences?"
        )
    lasts, steps = words["duration"].to_numpy(float), np.diff(words["onset"])
    if len(words) >= FEW and np.ptp(lasts) < SAME and np.ptp(steps) < SAME and steps[0] < lasts[0] + SAME:
        yield (
            f"all {len(words)} words last {words['duration'].iloc[0]:.3f} s and follow each other without a pause, "
            f"so that they seem to be divided evenly and not aligned. Align the sound again."
        )
    if len(words) >= FEW:
        yield from _of_content(words, tier)
    unknown = words["text"].str.lower().isin(UNKNOWN)
    if 2 * unknown.sum() > len(words):
        yield (
            f"{unknown.sum()} of {len(words)} words are {shorten_text(words.loc[unknown, 'text'].iloc[0])}, which "
            f"aligners write for unknown words. Is the dictionary of the language of the sound?"
        )


def _of_content(words, tier):
    """Remarks on words that are too short, no words, or in a part of the sound alone."""
    median = float(words["duration"].median())
    if median < SHORT:
        yield (
            f"half of the {len(words)} words last {median:.3f} s or less, where words last 0.1 to 0.6 s. Did the "
            f"alignment fail, was it of another sampling rate, or does the tier hold phonemes?"
        )
    texts = words["text"].str.strip()
    if 2 * (several := int(texts.str.contains(r"\s").sum())) > len(words):
        yield (
            f"{several} of {len(words)} entries of its tier of words are several words, {shorten_text(texts.iloc[0])}. "
            f"Does it hold sentences? Name the tier of words by tiers={{'word': ...}}."
        )
    elif texts.nunique() == 1:
        yield f"all {len(words)} words are {shorten_text(texts.iloc[0])}. Is it the right tier?"
    elif len(words) >= MANY and texts.str.fullmatch(PHONEME).mean() > 0.5:
        yield f"most of its words are {shorten_text(', '.join(texts[:3]))}, phonemes of ARPAbet. Are the tiers swapped?"
    stop = tier.attrs.get("stop", 0.0) if tier is not None else 0.0
    begins, ends = (np.r_[0.0, words["onset"] + words["duration"]], np.r_[words["onset"], stop])
    if (ends - begins).max() > max(EMPTY, stop / 3):
        at = int(np.argmax(ends - begins))
        yield (
            f"no word is between {begins[at]:.1f} and {ends[at]:.1f} s of {stop:.1f} s. If somebody speaks there, the "
            f"alignment stopped or began late: align the sound again."
        )


def _of_phonemes(words, phonemes, tier):
    if phonemes is None or len(words) < FEW:
        return
    onset = phonemes["onset"].to_numpy(float)
    first = np.searchsorted(onset, words["onset"].to_numpy(float) - SAME)
    last = np.searchsorted(onset, (words["onset"] + words["duration"]).to_numpy(float) - SAME)
    without = int((last <= first).sum())
    if len(phonemes) < 0.9 * len(words) and phonemes["duration"].median() > 1.2 * words["duration"].median():
        yield (
            f"its tier of phonemes has {len(phonemes)} entries of {phonemes['duration'].median():.3f} s (median), its "
            f"tier of words {len(words)} of {words['duration'].median():.3f} s. Are the tiers swapped? Name them by "
            f"tiers={{'word': ..., 'phoneme': ...}}."
        )
    elif 2 * without > len(words):
        most = "" if tier is None else ", ".join(tier["text"].value_counts().index[:3])
        yield (
            f"{without} of {len(words)} words have no phoneme; most entries of that tier are {shorten_text(most)}. Was "
            f"the dictionary of another language? tiers={{'phoneme': None}} leaves the tier out."
        )


def check_whole(sound, rows, source):
    """Raise if words begin after the file of their sound has ended, and warn if the two differ in length.

    Parameters
    ----------
    sound : path-like
    rows : DataFrame of shape (n_words, ...)
        ``sound_onset`` in seconds.
    source : path-like
        What tells the words, for the message.

    Raises
    ------
    ValueError
        Naming both files.
    """
    check_last_word(str(sound), rows["sound_onset"].max(), repr(str(source)))
    length = stimulus_duration(str(sound))
    if abs((stop := rows.attrs.get("stop", length)) - length) > DIFFERS:
        warnings.warn(
            f"{str(source)!r} says that its sound lasts {stop:.1f} s, but {str(sound)!r} lasts {length:.1f} s; are "
            f"they of one sound?{guess_unit(stop, length)}",
            stacklevel=5,
        )

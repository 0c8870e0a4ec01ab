"""Warnings about TextGrids that do not match their audio file."""

from __future__ import annotations

import warnings

import numpy as np

from sk_b2s._utils._text import shorten_text
from sk_b2s._utils._units import guess_unit
from sk_b2s.events._stimuli import stimulus_duration
from sk_b2s.events._table_times import check_table_times_of_last_word

MAX_WORD = 10.0  # s, maximum duration of a word
MAX_DIFFERENCE = 1.0  # s between the durations of an audio file and its TextGrid
TOLERANCE = 1e-3  # s, maximum difference between equal durations
MIN_WORDS = 10  # below which no statistics are checked
MIN_WORDS_FOR_PHONEMES = 30  # below which words may all look like phonemes
MIN_MEDIAN = 0.05  # s, minimum median duration of words
MAX_SILENCE = 20.0  # s without a word, if also a third of the stimulus
PHONEME = r"[A-Z]{1,3}[0-2]|B|CH|D|DH|F|G|HH|JH|K|L|M|N|NG|P|R|S|SH|T|TH|V|W|Y|Z|ZH"
UNKNOWN = {
    "spn",
    "<unk>",
    "[unk]",
    "unk",
    "<oov>",
    "{nsn}",
}  # labels of aligners for unknown words


def check_tiers(path, words, phonemes=None, all_words=None, all_phonemes=None):
    """Warn about tiers that do not look like an alignment.

    Parameters
    ----------
    path : path-like
        TextGrid, for the message.
    words : DataFrame of shape (n_words, 3)
        ``onset``, ``duration`` and ``text`` of the entries with speech.
    phonemes : DataFrame of shape (n_phonemes, 3), default=None
        The same for phonemes. None if the tier is absent.
    all_words, all_phonemes : DataFrame, default=None
        Complete tiers, with silences.

    Warns
    -----
    UserWarning
        For each fault: no word, words longer than 10 s, a median duration
        below 50 ms, words of equal duration without silence between them, only
        one distinct word, sentences or phonemes instead of words, no word in
        20 s and a third of the stimulus, fewer phonemes than words, or most
        words without a phoneme.
    """
    faults = [
        *_check_textgrid_words(words, all_words),
        *_check_textgrid_phonemes(words, phonemes, all_phonemes),
    ]
    for text in faults:
        warnings.warn(f"{str(path)!r}: {text}", stacklevel=4)


def _check_textgrid_words(words, tier):
    """Yield messages about the durations and labels of words."""
    if words.empty:
        texts = [] if tier is None else list(tier["text"])
        distinct = shorten_text(", ".join(sorted(set(texts))))
        yield (
            f"the tier of words has no word, only {len(texts)} entries {distinct}. Align the audio file again, "
            f"or name another tier with tiers={{'word': ...}}."
        )
        return
    long = words["duration"].to_numpy(float) > MAX_WORD
    if long.any():
        row = words.iloc[int(np.argmax(long))]
        yield (
            f"{long.sum()} of {len(words)} words last longer than {MAX_WORD:g} s. The first one, "
            f"{shorten_text(row['text'])} at {row['onset']:.3f} s, lasts {row['duration']:.3f} s. Check whether "
            "the alignment failed, or the tier holds sentences."
        )
    lasts, steps = words["duration"].to_numpy(float), np.diff(words["onset"])
    if (
        len(words) >= MIN_WORDS
        and np.ptp(lasts) < TOLERANCE
        and np.ptp(steps) < TOLERANCE
        and steps[0] < lasts[0] + TOLERANCE
    ):
        yield (
            f"all {len(words)} words last {words['duration'].iloc[0]:.3f} s without silence between them. They "
            "seem to be evenly divided instead of aligned. Align the audio file again."
        )
    if len(words) >= MIN_WORDS:
        yield from _check_textgrid_content(words, tier)
    unknown = words["text"].str.lower().isin(UNKNOWN)
    if 2 * unknown.sum() > len(words):
        yield (
            f"{unknown.sum()} of {len(words)} words are {shorten_text(words.loc[unknown, 'text'].iloc[0])}, the "
            "label of aligners for unknown words. Check that the dictionary has the language of the stimulus."
        )


def _check_textgrid_content(words, tier):
    """Yield messages about short words, other entries and long silences."""
    median = float(words["duration"].median())
    if median < MIN_MEDIAN:
        yield (
            f"the median duration of the {len(words)} words is {median:.3f} s, but words last 0.1 to 0.6 s. "
            "Check whether the alignment failed, used another sampling rate, or the tier holds phonemes."
        )
    texts = words["text"].str.strip()
    if 2 * (several := int(texts.str.contains(r"\s").sum())) > len(words):
        yield (
            f"{several} of {len(words)} entries in the tier of words hold several words, such as "
            f"{shorten_text(texts.iloc[0])}. If it holds sentences, name the tier of words with tiers={{'word': "
            f"...}}."
        )
    elif texts.nunique() == 1:
        yield (
            f"all {len(words)} words are {shorten_text(texts.iloc[0])}. Name the tier of words with "
            f"tiers={{'word': ...}}."
        )
    elif len(words) >= MIN_WORDS_FOR_PHONEMES and texts.str.fullmatch(PHONEME).mean() > 0.5:
        yield (
            f"most words are ARPAbet phonemes, such as {shorten_text(', '.join(texts[:3]))}. Check whether the "
            "tiers are swapped."
        )
    stop = tier.attrs.get("stop", 0.0) if tier is not None else 0.0
    begins, ends = (np.r_[0.0, words["onset"] + words["duration"]], np.r_[words["onset"], stop])
    if (ends - begins).max() > max(MAX_SILENCE, stop / 3):
        at = int(np.argmax(ends - begins))
        yield (
            f"there is no word between {begins[at]:.1f} and {ends[at]:.1f} s of {stop:.1f} s. If there is "
            "speech, the alignment is incomplete. Align the audio file again."
        )


def _check_textgrid_phonemes(words, phonemes, tier):
    """Yield messages about phonemes that do not match the words."""
    if phonemes is None or len(words) < MIN_WORDS:
        return
    onset = phonemes["onset"].to_numpy(float)
    first = np.searchsorted(onset, words["onset"].to_numpy(float) - TOLERANCE)
    last = np.searchsorted(onset, (words["onset"] + words["duration"]).to_numpy(float) - TOLERANCE)
    without = int((last <= first).sum())
    if len(phonemes) < 0.9 * len(words) and phonemes["duration"].median() > 1.2 * words["duration"].median():
        yield (
            f"the tier of phonemes has {len(phonemes)} entries with a median of "
            f"{phonemes['duration'].median():.3f} s, and the tier of words {len(words)} entries with a median "
            f"of {words['duration'].median():.3f} s. If the tiers are swapped, name them with tiers={{'word': "
            f"..., 'phoneme': ...}}."
        )
    elif 2 * without > len(words):
        most = "" if tier is None else ", ".join(tier["text"].value_counts().index[:3])
        yield (
            f"{without} of {len(words)} words have no phoneme. The most frequent entries of that tier are "
            f"{shorten_text(most)}. If the dictionary was of another language, ignore the tier with "
            f"tiers={{'phoneme': None}}."
        )


def check_textgrid_is_whole(sound, rows, source):
    """Raise if words begin after the end of their audio file.

    Also warn if the durations of the TextGrid and the audio file differ. The
    rows have ``sound_onset`` in seconds, and ``source`` is the file they are
    from.
    """
    check_table_times_of_last_word(str(sound), rows["sound_onset"].max(), repr(str(source)))
    length = stimulus_duration(str(sound))
    if abs((stop := rows.attrs.get("stop", length)) - length) > MAX_DIFFERENCE:
        warnings.warn(
            f"the duration in {str(source)!r} is {stop:.1f} s, but {str(sound)!r} lasts {length:.1f} s. Check "
            f"that both files belong to the same stimulus.{guess_unit(stop, length)}",
            stacklevel=5,
        )

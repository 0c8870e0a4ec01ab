"""Select calibration sentences by duration and phonemes."""

import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from sk_b2s import StimulusArray, StimulusIntervals, select_calibration_sentences
from sk_b2s.model_selection._calibration_sentences import (
    _count_phonemes_of_sentences,
    select_calibration_sentences_greedily,
)

SFREQ = 16.0


@pytest.fixture(scope="module")
def sentences():
    """Windows, phonemes and texts of two stimuli, for two subjects."""
    rng = np.random.default_rng(0)
    rows, spoken, saying = [], [], {}
    for name in "ab":
        sound = StimulusArray(rng.standard_normal((int(SFREQ) * 100, 3)), SFREQ, name)
        for index in range(10):
            key, begin = f"{name}/{index}", 10.0 * index
            text = rng.choice(list("ptkbdg"), rng.integers(3, 25))
            saying[key] = list(text)
            onsets = begin + np.linspace(0.1, 5.9, len(text))
            spoken.append(
                pd.DataFrame({"type": "phoneme", "sound": sound, "sound_onset": onsets, "text": text})
            )
            block = int(f"{ord(name)}{index}")
            rows += [
                {"sound": sound, "sound_onset": begin + step, "duration": 3.0, "sequence": key, "block": block}
                for _ in range(2) for step in (0.0, 1.0, 2.0, 3.0)
            ]  # fmt: skip
    return pd.DataFrame(rows), pd.concat(spoken, ignore_index=True), saying


def chosen(y, rows):
    return list(dict.fromkeys(y["sequence"].iloc[rows]))


@pytest.mark.parametrize("minutes", [0.1, 0.33, 1.0, 5.0])
def test_select_whole_sentences_within_minutes(sentences, minutes):
    y, phonemes, _ = sentences
    rows = select_calibration_sentences(y, minutes, phonemes)
    assert StimulusIntervals.from_table(y.iloc[rows]).seconds <= 60 * minutes
    names = chosen(y, rows)
    assert sorted(rows) == np.flatnonzero(y["sequence"].isin(names)).tolist()
    assert len(names) == min(20, int(60 * minutes / 6)), "another one would have fitted in"
    order = np.random.default_rng(0).permutation(len(y))
    shuffled = y.iloc[order]
    assert chosen(shuffled, select_calibration_sentences(shuffled, minutes, phonemes)) == names


def test_count_phonemes_by_onset(sentences):
    y, phonemes, saying = sentences
    heard = [StimulusIntervals.from_table(part) for _, part in y.groupby("sequence", sort=False)]
    twice = pd.concat([phonemes, phonemes])  # as in the events of two subjects
    silent = phonemes.assign(text="sp", sound_onset=phonemes["sound_onset"] + 0.01)
    stressed = phonemes.assign(text=phonemes["text"].str.upper() + "1")
    words = phonemes.assign(type="word", text="word")
    for table in (phonemes, twice, pd.concat([phonemes, silent, words]), stressed):
        counts = _count_phonemes_of_sentences(heard, table)
        names = sorted(
            set("".join(map("".join, saying.values()))), key="".join(map("".join, saying.values())).index
        )
        expected = [[text.count(name) for name in names] for text in saying.values()]
        np.testing.assert_array_equal(np.sort(counts, axis=1), np.sort(expected, axis=1))
        np.testing.assert_array_equal(np.sort(counts.sum(0)), np.sort(np.sum(expected, axis=0)))


def test_select_largest_gain_per_second(sentences):
    y, phonemes, saying = sentences

    def worth(names):
        text = [phone for name in names for phone in saying[name]]
        return sum(np.sqrt(text.count(phone)) for phone in set(text))

    names = chosen(y, select_calibration_sentences(y, 0.8, phonemes=phonemes))
    for place, name in enumerate(names):
        values = {one: worth([*names[:place], one]) for one in saying if one not in names[:place]}
        assert values[name] == pytest.approx(max(values.values()))
    sets = list(combinations(saying, 3))
    best = max(map(worth, sets))
    assert worth(names[:3]) >= (1 - 1 / np.e) * best, "what a greedy choice is known to reach"


def test_select_repeated_sentence_last(sentences):
    story = sentences[0]["sound"][0]
    y = pd.DataFrame({
        "sound": [story] * 3, "sound_onset": [0.0, 10.0, 20.0], "duration": 6.0, "sequence": ["much", "again", "new"],
    })  # fmt: skip
    says = {0: "aaaabbbb", 10: "aaaabbb", 20: "cc"}
    phonemes = pd.DataFrame(
        [{"type": "phoneme", "sound": story, "sound_onset": begin + 0.5 * i, "text": phone}
         for begin, text in says.items() for i, phone in enumerate(text)]
    )  # fmt: skip
    assert chosen(y, select_calibration_sentences(y, 0.2, phonemes=phonemes)) == ["much", "again"]
    rare = phonemes.assign(
        text=phonemes["text"].where(phonemes["sound_onset"] < 20, ["c", "d"] * 7 + ["c", "d", "e"])
    )
    assert chosen(y, select_calibration_sentences(y, 0.2, phonemes=rare)) == ["much", "new"]


def test_select_blocks_without_sentences(sentences):
    y, phonemes, _ = sentences
    by_block = chosen(y, select_calibration_sentences(y.assign(sequence=np.nan), 1.0, phonemes=phonemes))
    assert by_block == chosen(
        y, select_calibration_sentences(y.drop(columns="sequence"), 1.0, phonemes=phonemes)
    )
    assert by_block == chosen(y, select_calibration_sentences(y, 1.0, phonemes=phonemes))


def test_select_sentences_greedily_by_gain_per_cost():
    def worth(chosen):
        return 2.0 * len(chosen) + np.array([3.0, 2.0, 1.0])

    assert select_calibration_sentences_greedily(worth, np.array([10.0, 1.0, 1.0]), 3.0) == [1, 2]
    assert select_calibration_sentences_greedily(worth, np.array([10.0, 1.0, 1.0]), 0.5) == []


ERRORS = {
    "table": (lambda y, p: select_calibration_sentences(y.drop(columns="sound"), 1.0, p), r"the columns \['sound'\]"),
    "minutes": (lambda y, p: select_calibration_sentences(y, 0, p), r"minutes must be a number above 0\. Got 0 instead\."),
    "too few": (lambda y, p: select_calibration_sentences(y, 0.05, p), r"minutes=0\.05 must be at least the 6\.0 s that the windows of the shortest of 20 sentences cover\."),
    "other sounds": (lambda y, p: select_calibration_sentences(y, 1.0, p[p["sound"] != p["sound"][0]].assign(sound_onset=999.0)),
                     r"phonemes must have rows of type 'phoneme' in the stimuli of y, got none\. Pass the events table of y\."),
    "no rows": (lambda y, p: select_calibration_sentences(y[:0], 1.0, p), r"y must have rows, got an empty table\. Check how the test segments were excluded\."),
    "no duration": (lambda y, p: select_calibration_sentences(y.assign(duration=y["duration"].where(y.index != 7, 0)), 1.0, p),
                    r"y row 7, column 'duration' must be above 0, got 0\.0 s \(1 such rows\)\. Remove them: y\[y\['duration'\] > 0\]\."),
    "unnamed": (lambda y, p: select_calibration_sentences(y, 1.0, p.assign(text=p["text"].where(p.index != 4))),
                r"phonemes row 4 must have a value in 'text' \(1 such rows\)\. Fill them.*'sound_onset', 'text'\]\)\."),
    "no text": (lambda y, p: select_calibration_sentences(y, 1.0, p.drop(columns=["text", "sound"])),
                r"phonemes must have the columns \['sound', 'text'\], like an events table\."),
    "words alone": (lambda y, p: select_calibration_sentences(y, 1.0, p.assign(type="word")), r"phonemes must have rows of type 'phoneme' in the stimuli of y, got none\. Pass the events table of y\."),
    "no names": (lambda y, p: select_calibration_sentences(y.drop(columns=["sequence", "block"]), 1.0, p),
                 r"y row 0 must have a value in 'sequence' or 'block' \(160 such rows\)\. See make_segments\."),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_select_errors_name_fix(sentences, name):
    function, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        function(*sentences[:2])


def test_select_requires_tables(sentences):
    y, phonemes, _ = sentences
    with pytest.raises(
        TypeError,
        match=r"phonemes must be an events table with rows of type 'phoneme'\. Got NoneType instead\. Pass the events of y\.",
    ):
        select_calibration_sentences(y, 1.0, None)
    with pytest.raises(
        TypeError,
        match=r"y must be the DataFrame of segments that make_segments returns\. Got ndarray instead\.",
    ):
        select_calibration_sentences(np.zeros((3, 2)), 1.0, phonemes)


def test_select_calibration_sentences_warns():
    story = StimulusArray(np.zeros((64 * 30, 1)), 64, "story")
    y = pd.DataFrame({
        "sound": [story] * 2, "sound_onset": [0.0, 10.0], "duration": 6.0, "sequence": ["one", "two"]
    })  # fmt: skip
    phonemes = pd.DataFrame(
        {"type": "phoneme", "sound": story, "text": list("ab"), "sound_onset": [1.0, 11.0]}
    )
    with pytest.warns(UserWarning, match=r"minutes=1, but the 2 sentences of y have only 0.20"):
        assert len(select_calibration_sentences(y, 1, phonemes)) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for minutes in (0.1, 0.2, np.inf):
            select_calibration_sentences(y, minutes, phonemes)

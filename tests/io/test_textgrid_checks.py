"""Tests for warnings about TextGrids."""

import warnings

import numpy as np
import pytest
import soundfile
from helpers.bids_folders import HEADER
from helpers.raw_files import spoken_words, write_textgrid, write_tiers
from helpers.recorded_warnings import record_warnings

from sk_b2s import read_bids
from sk_b2s.io._textgrid import textgrid_events


def make_words(n=12, lasts=0.3, text="w"):
    at = np.round(np.cumsum(np.random.default_rng(0).uniform(0.5, 1.2, n)), 3)
    return [
        (begin, round(begin + lasts * (1 + 0.1 * (i % 3)), 3), f"{text}{i}") for i, begin in enumerate(at)
    ]


def split_words(words, n=2, text="P"):
    return [(a + k * (b - a) / n, a + (k + 1) * (b - a) / n, text) for a, b, _ in words for k in range(n)]


ABSURD = {
    "no words": (([(0, 20, "")], None), "has no word, only 1 entries"),
    "all sil": (([(0, 5, "sil"), (5, 20, "sp")], None), "only 2 entries 'sil, sp'"),
    "all spn": (([(0, 5, "spn")], None), "entries 'spn'"),
    "60 s": (
        ([*make_words(), (13.5, 73.5, "long")], None, 80.0),
        "1 of 13 words last longer than 10 s.*'long' at 13.500",
    ),
    "even": (([(i, i + 1, "w") for i in range(20)], None), "20 words last 1.000 s.*evenly divided"),
    "swapped": (
        (split_words(make_words(), 3), [(a, b, t) for a, b, t in make_words()]),
        "the tiers are swapped",
    ),
    "phones silent": ((make_words(), [(a, b, "spn") for a, b, _ in make_words()]), "another language"),
    "unknown": (([(a, b, "<unk>") for a, b, _ in make_words()], None), "12 of 12 words are '<unk>'"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_check_tiers_warns_implausible_alignment(name, tmp_path):
    tiers, message = ABSURD[name]
    path = write_tiers(tmp_path / "a.TextGrid", *tiers)
    with pytest.warns(UserWarning, match=rf"(?s)a\.TextGrid'.*{message}"):
        textgrid_events(path)


def test_check_tiers_accepts_alignment(tmp_path):
    words = make_words()
    assert (
        record_warnings(textgrid_events, write_tiers(tmp_path / "a.TextGrid", words, split_words(words)))[1]
        == ""
    )
    assert record_warnings(textgrid_events, write_tiers(tmp_path / "a.TextGrid", words[:4]))[1] == ""


def test_check_textgrid_is_whole_guesses_milliseconds(folder):
    (folder.root / "stimuli/story.wav").unlink()
    soundfile.write(folder.root / "stimuli/story.wav", np.random.default_rng(0).standard_normal(20_000), 1000)
    words = [(1000 * a, 1000 * (b - a), text) for a, b, text in make_words()]
    write_textgrid(folder.root / "stimuli/story.TextGrid", words, 20_000.0)
    folder.write_table(HEADER + "2.0\tn/a\tsound\tstory.wav\tn/a\n")
    with pytest.raises(ValueError, match=r"has 20\.000 s.*Are times in milliseconds\?"):
        read_bids(folder.root)


WORDS = spoken_words(60, 3)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (
            [(onset, lasts / 6, text) for onset, lasts, text in WORDS],
            r"the median duration of the \d+ words is 0.042 s",
        ),
        ([(onset, lasts, "the") for onset, lasts, _ in WORDS], "words are 'the'"),
        ([(onset, lasts, "a whole sentence") for onset, lasts, _ in WORDS], "hold several words,"),
        (
            [(word[0], 0.06, ("AH0", "T", "IY1")[i % 3]) for i, word in enumerate(WORDS)],
            "words are ARPAbet phonemes",
        ),
        ([word for word in WORDS if word[0] > 40], "there is no word between 0.0 and 40"),
        ([word for word in WORDS if word[0] < 20], "there is no word between .* and 60.0 s of 60.0 s"),
    ],
)
def test_check_tiers_warns_implausible_words(tmp_path, words, match):
    write_textgrid(tmp_path / "s.TextGrid", words, 60.0)
    with pytest.warns(UserWarning, match=match):
        textgrid_events(tmp_path / "s.TextGrid")


@pytest.mark.parametrize(
    "words",
    [WORDS, WORDS[:5], [(1 + 2 * index, 0.4, f"digit{index % 9}") for index in range(25)],
     [(onset, lasts, "I A T".split()[i % 3] + "lf" * (i % 2)) for i, (onset, lasts, _) in enumerate(WORDS)]],
)  # fmt: skip
def test_check_tiers_accepts_usual_tiers(tmp_path, words):
    write_textgrid(tmp_path / "s.TextGrid", words, 60.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        textgrid_events(tmp_path / "s.TextGrid")

"""Test warnings for implausible alignments in TextGrids."""

import warnings

import pytest
from helpers.raw_files import spoken_words, write_textgrid

from sk_b2s.io._textgrid import textgrid_events

WORDS = spoken_words(60, 3)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([(onset, lasts / 6, text) for onset, lasts, text in WORDS], r"last 0.042 s or less"),
        ([(onset, lasts, "the") for onset, lasts, _ in WORDS], "words are 'the'"),
        ([(onset, lasts, "a whole sentence") for onset, lasts, _ in WORDS], "are several words,"),
        (
            [(word[0], 0.06, ("AH0", "T", "IY1")[i % 3]) for i, word in enumerate(WORDS)],
            "phonemes of ARPAbet",
        ),
        ([word for word in WORDS if word[0] > 40], "no word is between 0.0 and 40"),
        ([word for word in WORDS if word[0] < 20], "no word is between .* and 60.0 s of 60.0 s"),
    ],
)
def test_check_tiers_warns_of_implausible_tiers(tmp_path, words, match):
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

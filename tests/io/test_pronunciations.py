"""Tests of words of a transcript and their pronunciations."""

import pytest

from sk_b2s.io._pronunciations import PHONEMES, SPELLINGS, find_pronunciations, split_into_pronounced_words

KNOWN = {"rabbit": "R AE B AH T", "hole": "HH OW L", "mouse": "M AW S", "cafe": "K AH F EY", "it's": "IH T S",
         "dinah": "D AY N AH", "the": "DH AH", "'tis": "T IH Z", "x-ray": "EH K S R EY"}  # fmt: skip


def find(text, **params):
    tokens, added = find_pronunciations(split_into_pronounced_words(text), KNOWN.get, **params)
    return [token.parts for token in tokens], added


def test_split_transcript_removes_punctuation():
    text = "“Oh dear!” — it’s the _Mouse's_ rabbit-hole, 'tis... (no)--yes; Café … 7"
    words = ["Oh", "dear", "it's", "the", "Mouse's", "rabbit-hole", "'tis", "no", "yes", "Café", "7"]
    assert split_into_pronounced_words(text) == words
    assert split_into_pronounced_words(text.split(" ")) == words
    assert split_into_pronounced_words(" -- ... ''") == []
    with pytest.raises(ValueError, match="string or a sequence of strings. Got 5 in it"):
        split_into_pronounced_words(["one", 5])


def test_find_pronunciations_looks_up_folded_words():
    parts, added = find("The Café; IT'S 'the' rabbit-hole 'tis x-ray")
    assert parts == [("the",), ("cafe",), ("it's",), ("the",), ("rabbit", "hole"), ("'tis",), ("x-ray",)]
    assert added == {}


def test_find_pronunciations_inflects_known_words():
    _, added = find("mouse's rabbits Dinah's")
    assert added == {"mouse's#": "M AW S IH Z", "rabbits#": "R AE B AH T S", "dinah's#": "D AY N AH Z"}


def test_find_pronunciations_prefers_given_phonemes():
    parts, added = find("the Stigand", pronunciations={"STIGAND": "S T IH1 G AH0 N D", "the": "dh iy"})
    assert parts == [("the#",), ("stigand#",)]
    assert added == {"stigand#": "S T IH G AH N D", "the#": "DH IY"}


def test_find_pronunciations_names_unknown_words():
    with pytest.raises(
        ValueError, match=r"2 words that are not in the dictionary: 'Stigand', '12'\. .*'Stigand': 'S "
    ):
        find("the Stigand 12 Stigand")
    with pytest.raises(ValueError, match="2 words .*: '12', 'привет'") as caught:
        find("the Stigand 12 привет ro\0se", unknown="guess")
    assert "unknown='guess'" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "S T QQ", 5, "S,T", None])
def test_find_pronunciations_rejects_wrong_phonemes(value):
    with pytest.raises(ValueError, match=r"pronunciations\['x'\] must be ARPAbet phonemes"):
        find("the", pronunciations={"x": value})


def test_find_pronunciations_guesses_from_spelling():
    _, added = find("waistcoat housemaid thine", unknown="guess")
    assert added["waistcoat#"] == "W EY S T K OW T"
    assert added["thine#"] == "TH IH N"
    assert all(set(sounds.split()) <= PHONEMES for sounds in [*SPELLINGS.values(), *added.values()])

"""Fixed vocabularies of words."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s import Windows, WordVocabulary, make_vocabulary


def test_make_vocabulary_counts_segments_once():
    """A word that many subjects were presented is not more frequent."""
    y = pd.DataFrame({
        "word": ["Hare,", "hare", "the", "the", "the", "end", None], "segment": [0, 1, 2, 2, 2, 3, 4],
    })  # fmt: skip
    assert make_vocabulary(y, 2).words == ("hare", "end"), "ties in alphabetical order"
    assert make_vocabulary(y["word"], 2).words == ("the", "hare")
    rows = Windows.from_array(np.zeros((7, 1, 1)), rows=y)
    assert make_vocabulary(rows, 3) == make_vocabulary(y, 3)


def test_encode_ignores_case_and_punctuation():
    vocabulary = WordVocabulary(["don't", "The"])
    assert vocabulary.encode(["the", "DON'T!", "a", None, np.nan]).tolist() == [1, 0, -1, -1, -1]
    assert vocabulary.coverage(["the", "a", None]) == 0.5
    assert np.isnan(vocabulary.coverage([None]))
    assert len(vocabulary) == 2
    assert list(vocabulary) == ["don't", "the"]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["a"], "1 words"),
        ("abc", "1 words"),
        (["a", "A!"], r"repeated words \(a\)"),
        (["a", "?"], "empty word"),
    ],
)
def test_vocabulary_rejects_bad_words(words, match):
    with pytest.raises(ValueError, match=match):
        WordVocabulary(words)


def test_make_vocabulary_rejects_few_words():
    with pytest.raises(ValueError, match="n_words=3 distinct words. y has 2"):
        make_vocabulary(["a", "b", "a"], 3)
    with pytest.raises(ValueError, match="int of at least 2"):
        make_vocabulary(["a", "b"], 1.5)
    with pytest.raises(ValueError, match="column 'word'"):
        make_vocabulary(pd.DataFrame({"segment": [1]}))

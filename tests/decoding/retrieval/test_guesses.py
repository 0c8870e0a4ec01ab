"""Tests of guesses and representations of retrieval results."""

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from sk_b2s.decoding import RetrievalResult
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult


@pytest.fixture
def result():
    """Six windows of two subjects among four candidates."""
    scores = np.random.default_rng(0).standard_normal((6, 4)).astype("f4")
    text = ["the queen", "of hearts", "<b>she</b> made", "some tarts"]
    candidates = pd.DataFrame(
        {"segment": [11, 12, 13, 14], "text": text, "word": ["the", "of", "she", "some"]}
    )
    rows = pd.DataFrame(
        {"subject": list("aaabbb"), "recording": list("xxxyyy"), "onset": np.arange(6.0)[::-1]}
    )
    return RetrievalResult(scores, np.array([0, 1, 2, 3, 0, 1]), candidates, rows, k=2)


def test_guesses_equal_softmax(result):
    found = result.guesses()
    probability = np.exp(result.scores) / np.exp(result.scores).sum(1, keepdims=True)
    best = result.scores.argmax(1)
    np.testing.assert_allclose(found["probability"], probability.max(1), rtol=1e-5)
    np.testing.assert_allclose(found["target_probability"], probability[range(6), result.target], rtol=1e-5)
    assert found["guess"].tolist() == result.candidates["text"].iloc[best].tolist()
    assert found["target_word"].tolist() == ["the", "of", "she", "some", "the", "of"]
    assert found["guess_segment"].tolist() == result.candidates["segment"].iloc[best].tolist()
    assert (found["is_correct"] == (best == result.target)).all()
    assert (
        found["rank"] == 1 + (result.scores > result.scores[range(6), result.target][:, None]).sum(1)
    ).all()
    assert (found.index == result.rows.index).all()


def test_guesses_without_text_are_segments(result):
    plain = RetrievalResult(result.scores, result.target, result.candidates[["segment"]], result.rows, k=2)
    assert plain.guesses()["target"].tolist() == [11, 12, 13, 14, 11, 12]
    candidates = result.candidates.astype({"text": "category"})
    named = RetrievalResult(result.scores, result.target, candidates, result.rows, k=2)
    assert named.guesses()["target"].tolist() == result.guesses()["target"].tolist()


def test_guesses_among_own_candidates(result):
    columns = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [0, 2], [1, 3]])
    scores = np.take_along_axis(result.scores, columns, 1)
    rows = RowRetrievalResult(
        scores, np.zeros(6, int), result.candidates, result.rows, k=1, columns=columns, kept=np.arange(6)
    )
    found = rows.guesses()
    assert found["target_segment"].tolist() == [11, 12, 13, 14, 11, 12]
    chosen = columns[np.arange(6), scores.argmax(1)]
    assert found["guess"].tolist() == result.candidates["text"].iloc[chosen].tolist()


def test_result_is_short_as_text_and_drawn_in_html(result):
    assert re.fullmatch(
        r"RetrievalResult\(6 windows x 4 candidates, 2 subjects, top-2 \S+ %, chance 50\.0 %\)", repr(result)
    )
    page = ElementTree.fromstring(result._repr_html_())
    assert len(page.findall(".//polyline")) == 2
    assert len(page.findall(".//tbody/tr")) == 6
    assert [one.text for one in page.findall("p")][1] == "The first 6 of 6 windows. Dashed line: chance."
    assert page.find(".//b") is None, "text of stimuli is not markup"

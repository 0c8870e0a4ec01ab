"""Words and classes as candidates of a task."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import make_retrieval_result

from sk_b2s.evaluation._tasks import _judge_words_and_speech
from sk_b2s.evaluation._tasks._judge_words_and_speech import (
    JudgedSpeechRows,
    judge_phonemes,
    judge_types,
    judge_word_types,
    judge_words,
)


def make_fold(words):
    y = pd.DataFrame({"word": words, "segment": np.arange(len(words))})
    return SimpleNamespace(y=y, train=np.arange(len(y)))


def test_judge_words_selects_words_of_training():
    result = make_retrieval_result(gain=3.0)
    judgment = judge_words(result, make_fold(["w0", "w0", "w1", "w2", "w2", "other"]), n_words=4, k=1)
    assert set(result.rows["word"]) == {f"w{i}" for i in range(6)}
    assert set(judgment.rows["word"]) == {"w0", "w1", "w2"}
    assert judgment.worth.shape == (30, 15)
    (row, _) = judgment.make_rows("top_k", 20)
    assert (row["n_candidates"], row["chance"]) == (3, pytest.approx(1 / 3))
    assert row["top_1"] == row["top_k"] > 0.5


def test_judge_words_does_not_prefer_frequent_words():
    result = make_retrieval_result(gain=0.0)
    result.candidates.loc[:20, "word"] = "often"
    result.scores[:] = 0.01 * result.scores  # correlations, whose softmax is almost flat
    judgment = judge_words(result, make_fold(["often", "w3", "w4", "w5"]), n_words=4, k=1)
    best = judgment.worth.sum(0)
    assert best[judgment.types == judgment.types[0]].max() < len(result.target) / 2


def test_judge_words_requires_words():
    fold = make_fold(["w0", "w1"])
    with pytest.raises(ValueError, match="has 2 words of the vocabulary"):
        judge_words(make_retrieval_result(), fold, n_words=2, k=2)
    fold.y = fold.y.drop(columns="word")
    with pytest.raises(ValueError, match="require the column 'word'"):
        judge_words(make_retrieval_result(), fold)


def test_judge_types_averages_over_types():
    rows = make_retrieval_result(subjects="a").rows
    codes = np.r_[np.zeros(24, int), np.ones(5, int), -1]
    target, own = np.arange(30), np.arange(29)
    scores = np.tile([1.0, 0.0], (30, 1))  # always the first type
    judgment = judge_types(scores, codes, target, rows, has_f1=True)
    (row,) = judgment.make_rows("top_k", 20)
    assert (row["top_k"], row["chance"], row["n_windows"]) == (pytest.approx(0.5), 0.5, len(own))
    assert row["f1_macro"] == pytest.approx((2 * 24 / (24 + 29)) / 2)
    assert row["null_mean"] == pytest.approx(0.5)
    scores[own, codes[own]] += 2
    (row,) = judge_types(scores, codes, target, rows, has_f1=True).make_rows("top_k", 20)
    assert (row["top_k"], row["f1_macro"]) == pytest.approx((1, 1))


def make_timed_fold(labels):
    """Rows whose label is revealed by the interval to the next onset."""
    codes = pd.factorize(np.asarray(labels))[0]
    n = len(labels)
    rows = pd.DataFrame(
        {"subject": "a", "recording": "a", "onset": np.cumsum(0.3 + 0.2 * codes), "duration": 0.3}
    )
    y = pd.DataFrame({"segment": np.arange(n), "word": labels, "sound": "a", "sound_onset": rows["onset"]})
    train, test = np.arange(n // 2), np.arange(n // 2, n)
    return SimpleNamespace(
        X=np.zeros((n, 1)),
        y=y,
        rows=rows.assign(word=labels),
        train=train,
        test=test,
        seed=0,
        has_own_stimuli=True,
    )


def test_judge_word_types_timing_ranks_the_same_words():
    fold = make_timed_fold([f"w{i}" for i in np.random.RandomState(0).randint(12, size=480)])
    result = JudgedSpeechRows.of_timing(fold.X[fold.test], fold.y.iloc[fold.test])
    judgment = judge_word_types(result, fold, n_words=12, k=3)
    assert (judgment.n_candidates, judgment.chance) == (12, 0.25)
    (row,) = judgment.make_rows("top_k", 20)
    assert row["top_k"] > 0.7


@pytest.mark.parametrize(("spread", "low", "high"), [(0.2, 0.8, 1), (0.0, 0.3, 0.7)])
def test_judge_phonemes_scores_timing_alone(spread, low, high, monkeypatch):
    fold = make_timed_fold(np.random.RandomState(0).choice(["AA", "B"], 200))
    fold.rows["onset"] = np.cumsum(0.3 + spread * (fold.y["word"] == "B"))
    monkeypatch.setattr(_judge_words_and_speech, "label_segments", lambda table, **_: table["word"])
    (row,) = judge_phonemes(
        JudgedSpeechRows.of_timing(fold.X[fold.test], fold.y.iloc[fold.test]), fold
    ).make_rows("top_k", 20)
    assert row["chance"] == 0.5
    assert low < row["top_k"] <= high

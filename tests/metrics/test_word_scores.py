"""Laws of the word level: probabilities of segments, summed."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from sk_b2s import RetrievalResult
from sk_b2s.metrics._ranks_and_top_k import ranks
from sk_b2s.metrics._word_scores import word_confusion, word_probabilities, word_ranks, word_scores
from sk_b2s.metrics._word_timing import timing_probabilities, timing_scores


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def zipf(rng, n_candidates=400, n_words=60):
    """Draw words of candidates by Zipf's law, each at least once."""
    p = 1 / np.arange(1, n_words + 1)
    drawn = rng.choice(n_words, n_candidates - n_words, p=p / p.sum())
    return np.array([f"w{i}" for i in np.r_[np.arange(n_words), drawn]], object)


def test_probabilities_equal_a_sum_by_hand(rng):
    scores, words = rng.normal(size=(6, 8)), ["a", "b", None, "a", "c", "b", "a", None]
    probabilities, vocabulary = word_probabilities(scores, words)
    p = softmax(scores, axis=1)
    assert vocabulary.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(probabilities, np.c_[p[:, [0, 3, 6]].sum(1), p[:, [1, 5]].sum(1), p[:, 4]])


def test_word_scores_of_distinct_words(rng):
    scores, target = rng.normal(size=(40, 12)), rng.integers(0, 12, 40)
    found, n_words = word_ranks(scores, [f"w{i}" for i in range(12)], target)
    assert n_words == 12
    np.testing.assert_array_equal(found, ranks(scores, target))


def test_pieces_and_words_without_a_name(rng, monkeypatch):
    scores, words, target = rng.normal(size=(90, 400)), zipf(rng), rng.integers(0, 400, 90)
    words[rng.integers(0, 400, 50)] = None
    whole, _ = word_ranks(scores, words, target)
    monkeypatch.setattr("sk_b2s.metrics._group_context.CHUNK_BYTES", 8 * 400 * 7)
    np.testing.assert_array_equal(word_ranks(scores, words, target)[0], whole)
    np.testing.assert_array_equal(whole < 0, [words[c] is None for c in target])


@pytest.mark.parametrize("k", [1, 10, 30])
def test_noise_scores_the_chance_printed(rng, k):
    """Near-equal scores break ties at random, here across rank k."""
    words, subject = zipf(rng), np.repeat(["a", "b"], [250, 400])
    target = np.r_[rng.choice(400, 250), np.arange(400)]  # one subject with some words, one with all
    tables = [word_scores(1e-4 * rng.normal(size=(650, 400)), words, target, subject, k=k) for _ in range(30)]
    scores = pd.DataFrame([table["top_k"] for table in tables])
    printed = tables[0]["chance"]
    error = scores.sem()
    assert (error < 0.01).all()
    assert (abs(scores.mean() - printed) < 4 * error + 1e-9).all()


def test_distinct_words_have_the_chance_of_a_guess(rng):
    words, target = np.array([f"w{i}" for i in range(100)], object), np.arange(100)
    table = word_scores(np.zeros((100, 100), np.float32), words, target, ["a"] * 100, k=10)
    assert table["chance"].tolist() == pytest.approx([0.1, 0.1])
    assert (table["top_k"] == 0).all(), "ties count against"


def test_word_scores_of_peaked_noise(rng):
    words, target = zipf(rng), np.arange(400)
    tables = [
        word_scores(5 * rng.normal(size=(400, 400)), words, target, ["a"] * 400, k=10) for _ in range(20)
    ]
    scores = pd.DataFrame([table["top_k"] for table in tables])
    assert tables[0].loc["plain", "chance"] > 0.4, "the commonest words are most of what is said"
    assert scores["plain"].mean() < tables[0].loc["plain", "chance"] - 0.05
    assert tables[0].loc["balanced", "chance"] == pytest.approx(10 / 60)
    assert abs(scores["balanced"].mean() - 10 / 60) < 4 * scores["balanced"].sem()


def test_scores_equal_loops_over_subjects_and_words(rng):
    words, target = zipf(rng, 100, 20), rng.integers(0, 100, 300)
    scores = rng.normal(size=(300, 100))
    scores[np.arange(300), target] += 2
    words[target[:5]] = None
    subject = rng.choice(["a", "b", "c"], 300)
    table = word_scores(scores, words, target, subject, k=3)
    found, n_words = word_ranks(scores, words, target)
    balanced, plain = [], []
    for name in "abc":
        own = [i for i in range(300) if subject[i] == name and found[i] >= 0]
        plain.append(np.mean([found[i] < 3 for i in own]))
        said = {words[target[i]] for i in own}
        balanced.append(
            np.mean([np.mean([found[i] < 3 for i in own if words[target[i]] == w]) for w in said])
        )
    for name, values in {"balanced": balanced, "plain": plain}.items():
        assert table.loc[name, "top_k"] == pytest.approx(np.mean(values))
        assert table.loc[name, "sem"] == pytest.approx(np.std(values, ddof=1) / np.sqrt(3))
    assert table.loc["plain", "n_words"] == n_words
    assert (table["n_windows"] + table["n_wordless"] == 300).all()
    assert (table["n_wordless"] == (found < 0).sum()).all()


def test_what_cannot_be_scored_is_refused(rng):
    scores, target = rng.normal(size=(6, 4)), [0, 1, 2, 3, 0, 1]
    with pytest.raises(ValueError, match="No target segment has a word"):
        word_scores(scores, [None] * 4, target, ["a"] * 6, k=1)
    with pytest.raises(ValueError, match="k=2 and 2 candidates"):
        word_scores(scores, ["x", "y", "x", "y"], target, ["a"] * 6, k=2)
    scores[2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        word_scores(scores, ["x", "y", "z", "y"], target, ["a"] * 6, k=1)


# --- timing alone ------------------------------------------------------------------------------------


def spoken(random, n=300, n_words=24, distinct=True, subjects="ab"):
    """Make words with own intervals if ``distinct``, for several subjects."""
    word = random.integers(0, n_words, n)
    length = (
        np.exp(0.7 * random.standard_normal(n_words))[word]
        if distinct
        else np.exp(0.7 * random.standard_normal(n))
    )
    onset = np.cumsum(np.r_[0, 0.3 * length * np.exp(0.1 * random.standard_normal(n))])[:-1]
    rows = pd.DataFrame({"subject": "", "recording": "", "onset": onset + 5, "sound": "s", "sound_onset": onset,
                         "word": [f"w{one}" for one in word]})  # fmt: skip
    return pd.concat([rows.assign(subject=who, recording=who) for who in subjects], ignore_index=True)


def balanced(rows, k=5, **options):
    hits = timing_scores(rows, rows["word"], sorted(set(rows["word"])), k, **options)
    return hits.groupby(rows["word"]).mean().mean()


def test_words_of_their_own_length_are_known_by_timing():
    random = np.random.default_rng(0)
    rows, chance = spoken(random), 5 / 24
    assert balanced(rows) > 2 * chance
    later = spoken(np.random.default_rng(0), n=300)
    assert balanced(later, train=rows) > 2 * chance
    alone = rows[rows["subject"] == "a"].drop(columns=["sound", "sound_onset"])
    assert balanced(alone.reset_index(drop=True)) == pytest.approx(balanced(rows)), (
        "twice the same is no more"
    )


def test_words_without_timing_are_at_chance():
    found = [balanced(spoken(np.random.default_rng(seed), 150, 40, False)) for seed in range(12)]
    assert np.mean(found) == pytest.approx(5 / 40, abs=3 * np.std(found) / np.sqrt(12))
    rows = spoken(np.random.default_rng(1))
    even = rows.assign(onset=np.tile(np.arange(300) * 0.4, 2), sound_onset=np.tile(np.arange(300) * 0.4, 2))
    assert balanced(even) == pytest.approx(5 / 24, abs=0.06)
    new = even.assign(word="new")
    hits = timing_scores(even, even["word"], sorted(set(even["word"])), 5, train=new)
    np.testing.assert_allclose(hits, 5 / 24)


def test_words_have_a_row_of_timing_alone():
    random = np.random.default_rng(2)
    rows = spoken(random, subjects="a").assign(segment=np.arange(300), duration=3.0)
    rows.loc[:4, "word"] = None
    answers = RetrievalResult(random.standard_normal((300, 300)), np.arange(300), rows, rows, 5)
    table = answers.score_words()
    assert list(table.index) == ["balanced", "plain", "timing alone"]
    row = table.loc["timing alone"]
    assert row["top_k"] > 2 * row["chance"]
    assert row["chance"] == row["guess"] == pytest.approx(5 / 24)
    assert (table["n_wordless"] == 5).all()
    assert answers.score_words(train=rows).loc["timing alone", "top_k"] > row["top_k"]
    assert list(answers.score_words(timing=False).index) == ["balanced", "plain"]
    blind = RetrievalResult(answers.scores, answers.target, rows, rows.drop(columns="onset"), 5).score_words()
    assert np.isnan(blind.loc["timing alone", "top_k"])
    with pytest.raises(ValueError, match="timing is fitted on train, but columns"):
        answers.score_words(train=rows.drop(columns="word"))


@pytest.mark.parametrize(("distinct", "least", "most"), [(True, 0.5, 4), (False, -0.15, 0.05)])
def test_timing_probabilities_bits(distinct, least, most):
    rows = spoken(np.random.default_rng(0), distinct=distinct, subjects="a")
    words, code = pd.factorize(rows["word"])[::-1]
    found = timing_probabilities(rows, rows["word"], words)
    np.testing.assert_allclose(found.sum(1), 1)
    assert least < np.log2(found[np.arange(300), code] * len(words)).mean() < most
    train = rows[rows["word"] != "w1"]
    found = timing_probabilities(rows, rows["word"], words, train=train)
    np.testing.assert_allclose(found[:, list(words).index("w1")], 1 / len(words))
    np.testing.assert_allclose(found.sum(1), 1)


def test_word_confusion_leaves_other_words_out():
    found = word_confusion([0, 0, 2, -1], [0, 2, 2, 1], 3)
    assert found.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert word_confusion([0, 0, 2], [0, 2, 2], 3, "true")[0].tolist() == [0.5, 0, 0.5]
    assert not word_confusion([-1], [1], 3).any()

"""Word results over a fixed vocabulary, by tokens."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.words import N_WORDS, N, make_word_retrieval

from sk_b2s import WordResult, WordVocabulary
from sk_b2s.metrics import word_scores


@pytest.fixture(scope="module")
def noise():
    """Return eight results without information."""
    return [make_word_retrieval(seed=seed) for seed in range(8)]


def is_at(values, chance):
    """Return whether the mean of draws is at a chance level."""
    values = np.asarray(values, float)
    return abs(values.mean() - chance) < 4 * values.std(ddof=1) / np.sqrt(len(values)) + 1e-9


# --- limits ------------------------------------------------------------------------------------------


def test_perfect_words():
    words = make_word_retrieval(60.0).to_words()
    table, bits, spotted = words.score(timing=False), words.information(timing=False), words.spot_keywords()
    assert (table["top_k"] == 1).all()
    assert np.diag(words.confusion()).min() == 1
    assert bits.loc["decoder", "mutual_information"] == pytest.approx(bits.loc["decoder", "entropy"])
    assert 2 < bits.loc["decoder", "log_loss_gain"] == pytest.approx(bits.loc["decoder", "entropy"], rel=0.2)
    assert spotted.loc["mean", "auprc"] == 1
    assert spotted.loc["mean", "false_alarms_per_hour"] == 0


def test_noise_scores_each_chance_level(noise):
    words = [one.to_words() for one in noise]
    tables = [one.score(timing=False) for one in words]
    assert tables[0].loc["balanced", ["chance", "guess"]].tolist() == [3 / N_WORDS] * 2
    assert is_at([table.loc["balanced", "top_k"] for table in tables], 3 / N_WORDS)
    assert is_at([np.diag(one.confusion()).mean() for one in words], 1 / N_WORDS)
    assert is_at([one.information(timing=False).loc["decoder", "mutual_information"] for one in words], 0)
    spotted = [one.spot_keywords(recall=0.3, timing=False) for one in words]
    last = spotted[0].loc["mean"]
    for score, chance in (("auprc", "auprc_chance"), ("false_alarms_per_hour", "false_alarms_chance")):
        assert is_at([one.loc["mean", score] - one.loc["mean", chance] for one in spotted], 0), score
    assert last["prevalence"] == pytest.approx(1 / N_WORDS)
    assert all(
        one.scale_temperature().information(timing=False).loc["decoder", "log_loss_gain"] < 0.02
        for one in words
    )


def test_frequency_alone_scores_nothing_balanced():
    """The same probabilities in all windows are right for frequent words."""
    result = make_word_retrieval()
    flat = replace(result, scores=1e-6 * result.scores)
    words = flat.to_words()
    table = words.score(timing=False)
    assert table.loc["plain", "top_k"] > 0.5
    assert table.loc["balanced", "top_k"] == pytest.approx(3 / N_WORDS)
    assert np.diag(words.confusion()).mean() == pytest.approx(1 / N_WORDS)
    bits = words.information(timing=False).loc["decoder"]
    assert bits["mutual_information"] == pytest.approx(0, abs=1e-9)
    assert bits["log_loss_gain"] == pytest.approx(0, abs=1e-4)


def test_equal_prior_removes_frequencies():
    """The mean over segments does not prefer frequent words."""
    result = make_word_retrieval(2.0)
    for prior, same in (("candidates", False), ("equal", True)):
        words = result.to_words(prior=prior)
        table = words.score(1, timing=False)
        assert (table.loc["plain", "chance"] == pytest.approx(1 / N_WORDS)) == same
        assert (words.confusion().mean().max() < 0.3) == same, "not only the most frequent word is decoded"
    assert table.loc["balanced", "top_k"] > result.score_words(1, timing=False).loc["balanced", "top_k"]
    np.testing.assert_allclose(words.probabilities.sum(1), 1)
    noise = [make_word_retrieval(seed=seed).score_words(timing=False, prior="equal") for seed in range(8)]
    assert is_at([table.loc["balanced", "top_k"] for table in noise], 3 / N_WORDS)
    with pytest.raises(ValueError, match="'prior' parameter"):
        result.to_words(prior="flat")


# --- vocabulary --------------------------------------------------------------------------------------


def test_to_words_without_vocabulary_has_all_words():
    result = make_word_retrieval(2.0, wordless=5)
    table = result.score_words(timing=False)
    words = [word or None for word in result.candidates["word"]]
    old = word_scores(result.scores, words, result.target, result.rows["subject"], 3)
    pd.testing.assert_frame_equal(table[old.columns], old, check_dtype=False)
    assert (table["n_outside"] == 0).all()
    assert (table["coverage"] == 1).all()


def test_vocabulary_of_training_rows():
    result = make_word_retrieval(2.0, wordless=4)
    train = result.rows.assign(onset=result.rows["onset"] + 1e4)
    words = result.to_words(3, train)
    assert words.vocabulary.words == tuple(train["word"].value_counts().index[:3])
    table = words.score(k=1, timing=False)
    is_known = result.rows["word"].isin(words.vocabulary.words)
    row = table.loc["balanced"]
    assert row["n_windows"] == is_known.sum()
    assert row["n_wordless"] == 8
    assert row["n_outside"] == len(is_known) - is_known.sum() - 8
    assert row["coverage"] == words.coverage == is_known.sum() / (len(is_known) - 8)
    assert row["chance"] == row["guess"] == pytest.approx(1 / 3)
    probabilities = result.word_probabilities(["w2", "w5"])
    assert list(probabilities) == ["w2", "w5"]
    expected = np.exp(result.scores.astype(float))
    of_word = (result.candidates["word"] == "w5").to_numpy()
    np.testing.assert_allclose(probabilities["w5"], expected[:, of_word].sum(1) / expected.sum(1))


def test_words_without_candidate_are_left_out():
    words = make_word_retrieval().to_words(WordVocabulary(["w1", "absent", "w4"]))
    assert words.missing == ("absent",)
    assert words.vocabulary.words == ("w1", "w4")
    assert words.score(1)["chance"].iloc[0] == 0.5


def test_to_words_rejects_test_rows_and_few_words():
    result = make_word_retrieval()
    with pytest.raises(ValueError, match="requires 'train'"):
        result.score_words(vocabulary=3)
    with pytest.raises(ValueError, match="contains 480 of the 480 windows"):
        result.score_words(vocabulary=3, train=result.rows)
    with pytest.raises(ValueError, match="Only 1 of 2 words"):
        result.to_words(["w1", "absent"])
    with pytest.raises(ValueError, match=r"\['absent'\] are not in it"):
        result.spot_keywords(["w1", "absent"])
    with pytest.raises(ValueError, match="less than the number of candidates"):
        result.score_words(k=12)
    words = result.to_words()
    with pytest.raises(ValueError, match="No window has a word"):
        replace(words, target=np.full(480, -1))
    with pytest.raises(ValueError, match="480, 480, 11"):
        replace(words, vocabulary=WordVocabulary(words.vocabulary.words[1:]))


# --- tables ------------------------------------------------------------------------------------------


def test_tables_are_means_over_subjects():
    words = make_word_retrieval(3.0, n_subjects=3).to_words()
    table, own = words.score(2), words.score(2, by_subject=True)
    assert list(own.index) == ["s0", "s1", "s2"]
    assert table.loc["balanced", "top_k"] == pytest.approx(own["balanced"].mean())
    assert table.loc["balanced", "sem"] == pytest.approx(own["balanced"].sem())
    assert table.loc["timing alone", "top_k"] == pytest.approx(own["timing_alone"].mean())
    spotted, each = words.spot_keywords("w1"), words.spot_keywords("w1", by_subject=True)
    assert spotted.loc["w1", "auprc"] == pytest.approx(each["auprc"].mean())
    assert spotted.loc["w1", "sem"] == pytest.approx(each["auprc"].sem())
    assert spotted.loc["w1", "n_targets"] == each["n_targets"].sum()
    bits, each = words.information(), words.information(by_subject=True)
    assert bits.loc["decoder", "log_loss_gain"] == pytest.approx(each.loc["decoder", "log_loss_gain"].mean())
    by_word = words.by_word(2)
    assert by_word["top_k"].mean() == pytest.approx(table.loc["balanced", "top_k"])
    assert by_word["n_windows"].sum() == table.loc["balanced", "n_windows"]
    assert by_word["chance"].mean() == pytest.approx(table.loc["balanced", "chance"])


def test_hours_count_overlaps_once():
    result = make_word_retrieval(n_subjects=2)
    each = result.spot_keywords("w1", by_subject=True)
    np.testing.assert_allclose(each["hours"], ((N - 1) * 0.5 + 1.5) / 3600)
    gaps = replace(result, rows=result.rows.assign(onset=result.rows["onset"] * 10))
    assert gaps.spot_keywords("w1").loc["w1", "hours"] == pytest.approx(2 * N * 1.5 / 3600)
    blind = replace(result, rows=result.rows.drop(columns="duration")).spot_keywords("w1")
    assert np.isnan(blind.loc["w1", "false_alarms_per_hour"])
    assert blind.loc["w1", "auprc"] > 0


def test_timing_alone_finds_words_of_own_length():
    """Each figure has the score of onsets, here of words of a fixed length."""
    result = make_word_retrieval(n_subjects=1)
    length = 0.2 + 0.1 * result.rows["word"].str[1:].astype(int)
    length *= np.exp(0.03 * np.random.default_rng(0).standard_normal(N))
    result = replace(result, rows=result.rows.assign(onset=np.r_[0, np.cumsum(length)[:-1]]))
    words = result.to_words()
    table = words.score(k=1)
    assert table.loc["timing alone", "top_k"] > 4 * table.loc["balanced", "chance"]
    assert np.nanmean(np.diag(words.confusion("timing"))) == pytest.approx(
        table.loc["timing alone", "top_k"], abs=0.1
    )
    bits = words.information()
    assert bits.loc["timing alone", "mutual_information"] > 1 > bits.loc["decoder", "mutual_information"]
    assert bits.loc["timing alone", "log_loss_gain"] > 1
    spotted = words.spot_keywords().loc["mean"]
    assert spotted["timing_auprc"] > 3 * spotted["auprc"]
    assert spotted["timing_false_alarms"] < spotted["false_alarms_per_hour"] / 3
    assert words.by_word(1)["timing_alone"].mean() == pytest.approx(table.loc["timing alone", "top_k"])


def test_timing_is_nan_without_onsets():
    result = make_word_retrieval()
    words = replace(result, rows=result.rows.drop(columns="onset")).to_words()
    assert np.isnan(words.score().loc["timing alone", "top_k"])
    assert np.isnan(words.information().loc["timing alone", "mutual_information"])
    assert words.spot_keywords()["timing_auprc"].isna().all()
    assert words.by_word()["timing_alone"].isna().all()
    with pytest.raises(ValueError, match="Timing requires the columns"):
        words.confusion("timing")
    with pytest.raises(ValueError, match="'source' parameter"):
        words.confusion("audio")


def test_confusion_counts_and_shares():
    words = make_word_retrieval(3.0).to_words()
    counts = words.confusion(normalize=None)
    assert counts.to_numpy().sum() == 480
    assert counts.loc["w3"].sum() == (words.rows["word"] == "w3").sum()
    np.testing.assert_allclose(words.confusion().sum(axis=1), 1)
    assert isinstance(words, WordResult)


def test_scale_temperature_improves_the_log_loss():
    words = make_word_retrieval(2.5).to_words()
    sure = replace(words, log_probabilities=20 * words.log_probabilities)
    scaled = sure.scale_temperature()
    gains = [one.information(timing=False).loc["decoder", "log_loss_gain"] for one in (sure, scaled)]
    assert gains[0] < 0 < gains[1]
    np.testing.assert_array_equal(scaled.probabilities.sum(1).round(9), 1)
    other = make_word_retrieval(2.5, seed=1).to_words()
    other = replace(other, rows=other.rows.assign(onset=other.rows["onset"] + 1e4))
    assert len(set(other.scale_temperature(words).rows["temperature"])) == 1
    with pytest.raises(ValueError, match="other windows"):
        words.scale_temperature(words)
    with pytest.raises(ValueError, match="must have the vocabulary"):
        other.scale_temperature(make_word_retrieval().to_words(["w1", "w2"]))
    with pytest.raises(ValueError, match="at least two groups"):
        replace(words, rows=words.rows.assign(sequence=0)).scale_temperature()

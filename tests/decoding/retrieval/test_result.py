"""Tests of RetrievalResult and of retrieval scores."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    RetrievalResult,
    RidgeDecoder,
    StimulusKFold,
    StimulusLeakWarning,
    Windows,
    circular_shift_null,
    concat_results,
    retrieval_scores,
    retrieve,
)
from sk_b2s.metrics._ranks_and_top_k import ranks, top_k_accuracy

WORDS = ["The", "the,", "a", "hare", "queen", "of", "Of", "hearts", "ran", "--"]


def made_up(signal=2.0, n_subjects=3, n_repeats=2, seed=0):
    """Subjects with sentences of ten words, 20 words of one subject only."""
    rng = np.random.default_rng(seed)
    segments = np.arange(120)
    rows, target = [], []
    for subject in range(n_subjects):
        for repeat in range(n_repeats):
            heard = (
                segments[:40] if subject == 0 else np.r_[segments[:20], segments[20 + 20 * subject :][:20]]
            )
            target.append(heard)
            rows.append(
                pd.DataFrame({
                    "subject": f"s{subject}", "recording": f"s{subject}/{repeat}", "duration": 3.0,
                    "onset": 10.0 + np.arange(40), "segment": 7 * heard, "sound_onset": heard.astype(float),
                })
            )  # fmt: skip
    target, rows = np.concatenate(target), pd.concat(rows, ignore_index=True)
    candidates = pd.DataFrame({
        "segment": 7 * segments, "sound": "story.wav", "sound_onset": segments.astype(float),
        "sequence": [f"sentence {i // 10}" for i in segments], "word": [WORDS[i % 10] for i in segments],
    })  # fmt: skip
    rows = rows.assign(**{c: candidates[c].to_numpy()[target] for c in ("sequence", "word")})
    scores = rng.normal(size=(len(target), len(segments))).astype(np.float32)
    scores[np.arange(len(target)), target] += signal
    return RetrievalResult(scores, target, candidates, rows, k=5)


@pytest.fixture
def answers():
    return made_up()


# How well


def test_scores_equal_metrics(answers):
    found = ranks(answers.scores, answers.target)
    assert answers.top_k() == top_k_accuracy(found, 5, 120)
    assert answers.top_k(1) == np.mean(found == 0)
    assert answers.median_relative_rank() == np.median(found) / 119
    assert answers.chance == 5 / 120
    by_hand = [np.mean(found[answers.rows["subject"] == s] < 3) for s in ("s0", "s1", "s2")]
    assert answers.by_subject(3)["top_k"].tolist() == by_hand
    summary = answers.summary(3, n_shifts=20)
    assert summary["top_k"] == np.mean(by_hand)
    assert summary["top_k_sem"] == pytest.approx(np.std(by_hand, ddof=1) / np.sqrt(3))
    assert summary["chance"] == 3 / 120
    assert summary[["n_subjects", "n_windows", "n_candidates", "k"]].tolist() == [3, 240, 120, 3]


def test_scores_ignore_candidate_order(answers):
    order = np.random.default_rng(1).permutation(120)
    moved = replace(
        answers, scores=answers.scores[:, order], target=np.argsort(order)[answers.target],
        candidates=answers.candidates.iloc[order].reset_index(drop=True),
    )  # fmt: skip
    pd.testing.assert_series_equal(moved.summary(n_shifts=50), answers.summary(n_shifts=50))
    pd.testing.assert_frame_equal(moved.score_within_recording(), answers.score_within_recording())
    pd.testing.assert_frame_equal(moved.score_words(), answers.score_words())
    for how in (RetrievalResult.average, RetrievalResult.pool_groups):
        np.testing.assert_allclose(how(moved).scores, how(answers).scores[:, order], rtol=1e-4, atol=1e-4)


def test_null_is_mean_over_subjects(answers):
    few = answers.rows.index[(answers.rows["subject"] != "s1") | (answers.rows["recording"] == "s1/0")]
    some = replace(answers, scores=answers.scores[few], target=answers.target[few],
                   rows=answers.rows.loc[few].reset_index(drop=True))  # fmt: skip
    null = some.null(n_shifts=30, random_state=3)
    weight = 1 / some.rows.groupby("subject")["subject"].transform("size")
    expected = circular_shift_null(some.scores, some.target, some.rows["recording"], some.rows["onset"], 3.0, k=5,
                          n_shifts=30, random_state=3, sample_weight=weight)  # fmt: skip
    np.testing.assert_array_equal(null, expected)
    summary = some.summary(n_shifts=200)
    assert summary["null_mean"] == pytest.approx(summary["chance"], abs=0.02)
    assert summary["top_k"] > summary["null_high"]


def test_retrieval_result_rejects_missing_columns(answers):
    with pytest.raises(
        ValueError, match=r"shifts labels in time, but columns \['onset'\] are missing.*n_shifts=0"
    ):
        replace(answers, rows=answers.rows.drop(columns="onset")).summary()
    with pytest.raises(
        ValueError, match=r"labels must be shifted by .* summary\(n_shifts=0\) to skip the null"
    ):
        replace(answers, rows=answers.rows.assign(duration=30.0)).summary()
    assert "null_mean" not in replace(answers, rows=answers.rows.drop(columns="onset")).summary(n_shifts=0)
    with pytest.raises(ValueError, match=r"columns \['word'\] are missing"):
        replace(answers, candidates=answers.candidates.drop(columns="word")).score_words()
    with pytest.raises(ValueError, match=r"columns \['sequence'\] are missing"):
        replace(answers, candidates=answers.candidates.drop(columns="sequence")).pool_groups()
    with pytest.raises(ValueError, match=r"columns \['stream'\] are missing"):
        answers.score_within_recording("stream")
    with pytest.raises(ValueError, match="over must be 'subject' or 'repeat'. Got 'person'"):
        answers.average("person")
    with pytest.raises(ValueError, match=r"scores have the shape \(240, 120\).*\(239, 240, 120\) entries"):
        replace(answers, target=answers.target[1:])


# Other questions


def test_score_within_recording_equals_subset(answers):
    pools = answers.score_within_recording(k=4)
    assert len(pools) == 6
    assert (pools["n_candidates"] == 40).all()
    assert (pools["chance"] == 0.1).all()
    for _, pool in pools.iterrows():
        rows = np.flatnonzero(answers.rows["recording"] == pool["recording"])
        columns = sorted(set(answers.target[rows]))
        hits = [
            sum(answers.scores[r, c] >= answers.scores[r, answers.target[r]] for c in columns) - 1 < 4
            for r in rows
        ]
        assert pool["top_k"] == pytest.approx(np.mean(hits))
    assert not pools.isna().any(axis=None)
    with pytest.raises(ValueError, match="of recording 's0/0' have 40 distinct segments, so top-40 accuracy"):
        answers.score_within_recording(k=40)


def test_score_within_recording_ignores_identity():
    answers = made_up(signal=0)
    own = (
        pd.crosstab(answers.rows["recording"], answers.target)
        .reindex(columns=range(120), fill_value=0)
        .to_numpy()
    )
    recording = pd.factorize(answers.rows["recording"])[0]
    told = replace(answers, scores=answers.scores + 5 * own[recording].astype(np.float32))
    assert told.top_k() > 2 * told.chance
    pd.testing.assert_frame_equal(told.score_within_recording(), answers.score_within_recording())


@pytest.mark.parametrize("over", ["repeat", "subject"])
def test_average_equals_loop(answers, over):
    mean = answers.average(over)
    assert len(mean.rows) == (120 if over == "repeat" else len(set(answers.target)))
    for i, row in mean.rows.iterrows():
        same = answers.target == mean.target[i]
        same &= (answers.rows["subject"] == row["subject"]) if over == "repeat" else True
        np.testing.assert_allclose(mean.scores[i], answers.scores[same].mean(0), rtol=1e-4, atol=1e-5)
        assert row["n_averaged"] == same.sum()
        sums = answers.average(over, total=True).scores[i] if i < 3 else mean.scores[i] * same.sum()
        np.testing.assert_allclose(sums, answers.scores[same].sum(0), rtol=1e-4, atol=1e-4)
        assert row["segment"] == mean.candidates["segment"][mean.target[i]]
    assert mean.top_k() > answers.top_k() + 0.05
    assert mean.null(n_shifts=100).mean() == pytest.approx(mean.chance, abs=0.03)


def test_average_of_one_repeat_is_identity():
    answers = made_up(n_repeats=1)
    mean = answers.average("repeat")
    np.testing.assert_array_equal(mean.scores, answers.scores)
    np.testing.assert_array_equal(mean.ranks, answers.ranks)
    assert mean.average("subject").average("subject").top_k() == mean.average("subject").top_k()


def test_pool_groups_does_not_use_target(answers):
    pooled = answers.pool_groups(weight=2)
    assert pooled.top_k() > answers.top_k() + 0.05
    np.testing.assert_array_equal(answers.pool_groups(weight=0).scores, answers.scores)
    elsewhere = replace(answers, target=np.roll(answers.target, 1))
    np.testing.assert_array_equal(elsewhere.pool_groups(weight=2).scores, pooled.scores)


def test_pool_groups_random_groups_do_not_help():
    answers = made_up(n_subjects=1, n_repeats=8)  # a group does not identify the recording
    answers = replace(answers, scores=answers.scores[:, :40], candidates=answers.candidates[:40])
    assert answers.pool_groups().top_k() > answers.top_k() + 0.05
    timeless = answers.rows.drop(columns="onset")  # or neighbors of one name would still be grouped
    for seed in range(5):
        drawn = np.random.default_rng(seed).permutation(answers.rows["sequence"])
        pooled = replace(answers, rows=timeless.assign(sequence=drawn)).pool_groups()
        assert pooled.top_k() < answers.top_k() + 0.01


@pytest.mark.parametrize("n_before", [0, 4])
def test_causal_pooling_uses_preceding_windows(answers, n_before):
    pooled = answers.pool_groups(weight=2, causal=True, n_before=n_before)
    assert pooled.top_k() > answers.top_k() + 0.05
    first = answers.rows["onset"].to_numpy() == 10
    np.testing.assert_array_equal(pooled.scores[first], answers.scores[first])
    order = np.random.default_rng(0).permutation(240)
    again = answers.select(order).pool_groups(weight=2, causal=True, n_before=n_before)
    np.testing.assert_allclose(again.scores, pooled.scores[order], rtol=1e-4, atol=1e-4)
    elsewhere = replace(answers, target=np.roll(answers.target, 1))
    np.testing.assert_array_equal(
        elsewhere.pool_groups(weight=2, causal=True, n_before=n_before).scores, pooled.scores
    )
    with pytest.raises(ValueError, match=r"orders windows in time, but columns \['onset'\] are missing"):
        replace(answers, rows=answers.rows.drop(columns="onset")).pool_groups(causal=True)


def test_causal_pooling_of_random_groups_vanishes():
    answers = made_up(n_subjects=1, n_repeats=8)
    answers = replace(answers, scores=answers.scores[:, :40], candidates=answers.candidates[:40])
    assert answers.pool_groups(causal=True).top_k() > answers.top_k() + 0.03
    # Times of sentences would still group neighbors of one name.
    rows = answers.rows.drop(columns="sound_onset")
    scores = []
    for seed in range(5):
        drawn = np.random.default_rng(seed).permutation(rows["sequence"])
        scores.append(replace(answers, rows=rows.assign(sequence=drawn)).pool_groups(causal=True).top_k())
    assert np.mean(scores) < answers.top_k() + 0.01


def test_agreement_gives_repeats_equal_norm(answers):
    rng = np.random.default_rng(0)
    norm = np.exp(rng.normal(size=(240, 1))).astype("f4")
    uneven = replace(answers, scores=norm * answers.scores)
    plain, agreeing = uneven.average("repeat"), uneven.average("repeat", agreement=2)
    assert agreeing.top_k() > plain.top_k()
    same = answers.average("repeat", agreement=2)
    np.testing.assert_allclose(agreeing.scores, same.scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(answers.average("repeat", agreement=0).ranks, same.ranks)
    with pytest.raises(ValueError, match="agreement must be None or at least 0. Got -1"):
        answers.average(agreement=-1)


# Confidence


def halves(answers):
    block = answers.rows["sound_onset"].to_numpy() // 10 % 2
    return answers.select(block == 0), answers.select(np.flatnonzero(block == 1))


def test_select_keeps_candidates(answers):
    part = answers.select(answers.rows["subject"] == "s1")
    assert part.by_subject().loc["s1"].equals(answers.by_subject().loc["s1"])
    assert part.n_candidates == 120


def calibration_error(result):
    table = result.reliability(5)
    return (table["probability"] - table["accuracy"]).abs().mean()


def test_scaled_probabilities_are_reliable():
    answers = made_up(n_repeats=10)
    answers = replace(answers, scores=7 * answers.scores)
    reference, own = halves(answers)
    assert calibration_error(own) > 0.2, "too sure"
    for scaled in (own.scale_temperature(reference), answers.scale_temperature()):
        assert calibration_error(scaled) < 0.05
    assert scaled.top_k() == answers.top_k()
    assert scaled.rows["temperature"].nunique() == 5, "of the other folds"


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_pooling_by_reference_is_reliable(causal):
    answers = made_up(n_repeats=10)
    reference, own = halves(replace(answers, scores=7 * answers.scores))
    pooled = own.pool_groups(causal=causal, reference=reference)
    assert calibration_error(pooled) < 0.06
    assert pooled.top_k(1) > own.top_k(1) + 0.03
    sure = replace(own, scores=own.scores / 7).pool_groups(causal=causal, weight=20)
    assert calibration_error(sure) > 0.08
    with pytest.raises(ValueError, match="'reference' parameter of pool_groups"):
        own.pool_groups(reference=own)


def test_abstain_uses_threshold_of_reference():
    reference, own = halves(made_up(n_repeats=10))
    accepted = own.abstain(reference, coverage=0.4)
    threshold = np.sort(reference.confidence())[::-1][int(np.ceil(0.4 * len(reference.rows))) - 1]
    is_sure = own.confidence() >= threshold
    np.testing.assert_array_equal(accepted.scores, own.scores[is_sure])
    np.testing.assert_array_equal(accepted.rows["confidence"], own.confidence()[is_sure])
    assert np.mean(is_sure) == pytest.approx(0.4, abs=0.07)
    assert accepted.top_k(1) > own.top_k(1) + 0.1
    curve = own.risk_coverage()
    at = np.abs(curve["threshold"] - accepted.rows["confidence"].min()).argmin()
    assert curve["accuracy"][at] == accepted.top_k(1)
    assert curve["coverage"][at] == np.mean(is_sure)
    assert curve["accuracy"].iloc[-1] == own.top_k(1)
    assert len(own.abstain(reference, 0.05, "margin").rows) < 60


def test_confidence_rejects_windows_of_reference(answers):
    reference, own = halves(answers)
    with pytest.raises(ValueError, match="other windows .* It contains 120 of 120"):
        own.abstain(answers)
    with pytest.raises(ValueError, match="'reference' parameter of scale_temperature .* contains 240 of 240"):
        answers.scale_temperature(answers)
    with pytest.raises(ValueError, match="coverage must be above 0 and at most 1. Got 90"):
        own.abstain(reference, coverage=90)
    with pytest.raises(ValueError, match="No window has the confidence"):
        replace(own, scores=0 * own.scores).abstain(reference, coverage=0.01)
    with pytest.raises(ValueError, match="at least two groups in column 'duration'. Got 1"):
        answers.scale_temperature(by="duration")


def test_score_words_chance_of_equal_scores(answers):
    table = answers.score_words(k=2)
    assert (table["n_words"] == 7).all(), "the, a, hare, queen, of, hearts, ran"
    assert (table["n_wordless"] == 24).all(), "a dash is no word"
    assert table.loc["balanced", "top_k"] > table.loc["balanced", "chance"]
    blank = replace(answers, scores=np.zeros_like(answers.scores)).score_words(k=2)
    assert (blank["top_k"] == blank["chance"])[:2].all()
    assert (blank["chance"] == table["chance"]).all()
    assert blank.loc["timing alone"].equals(table.loc["timing alone"]), "no EEG/MEG has a say in it"
    assert blank.loc["balanced", "chance"] == pytest.approx(2 / 7), "'the' and 'of' are twice as common"
    assert blank.loc["plain", "chance"] == pytest.approx(4 / 9)


def test_concat_results_equals_whole(answers):
    rng = np.random.default_rng(0)
    parts = []
    for name in ("s0", "s1", "s2"):
        rows, order = np.flatnonzero(answers.rows["subject"] == name), rng.permutation(120)
        parts.append(RetrievalResult(
            answers.scores[np.ix_(rows, order)], np.argsort(order)[answers.target[rows]],
            answers.candidates.iloc[order].reset_index(drop=True), answers.rows.iloc[rows].reset_index(drop=True),
            k=5,
        ))  # fmt: skip
    whole = concat_results(parts)
    pd.testing.assert_series_equal(whole.summary(n_shifts=20), answers.summary(n_shifts=20))
    np.testing.assert_array_equal(whole.ranks, answers.ranks)
    assert (whole.candidates["segment"].to_numpy()[whole.target] == answers.rows["segment"]).all()
    with pytest.raises(ValueError, match="Part 1 has 120 segments, 120 of them in part 0, and k=4"):
        concat_results([parts[0], replace(parts[1], k=4)])
    fewer = replace(parts[1], scores=parts[1].scores[:, :99], candidates=parts[1].candidates[:99])
    with pytest.raises(ValueError, match="Part 1 has 99 segments, 99 of them in part 0"):
        concat_results([parts[0], fewer])


# End to end


@pytest.fixture(scope="module")
def heard(listening, tiny_pipeline):
    X, y = listening
    train, test = next(StimulusKFold(3).split(X, y))
    pipe = tiny_pipeline(max_epochs=12).fit(X.iloc[train], y.iloc[train])
    return pipe, X.iloc[test], y.iloc[test], X.iloc[train], y.iloc[train]


def test_retrieve_equals_retrieval_scores(heard):
    pipe, X, y, *_ = heard
    answers = retrieve(pipe, X, y)
    scores = retrieval_scores(pipe, X, y)
    assert answers.top_k() == scores["top_k"] == pipe.score(X, y)
    assert answers.top_k(1) == scores["top_1"]
    assert answers.median_relative_rank() == scores["median_relative_rank"]
    assert answers.n_candidates == scores["n_candidates"]
    assert answers.scores.dtype == np.float32
    np.testing.assert_array_equal(answers.scores, pipe[-1].similarity(pipe[:-1].transform(X), y))
    assert (answers.candidates["segment"].to_numpy()[answers.target] == y["segment"].to_numpy()).all()
    assert answers.rows["subject"].tolist() == X["subject"].tolist()
    assert {"recording", "onset", "duration", "segment", "sequence", "word"} <= set(answers.rows)
    assert list(answers.rows.index) == list(range(len(X)))


def test_retrieval_result_on_recorded_tables(heard):
    pipe, X, y, *_ = heard
    answers = retrieve(pipe, X, y)
    assert not answers.summary(n_shifts=50).isna().any()
    assert answers.average().top_k(1) >= answers.top_k(1)
    assert np.isfinite(answers.pool_groups().scores).all()
    assert (answers.score_within_recording()["n_candidates"] == answers.n_candidates).all(), (
        "both heard the same"
    )
    words = answers.score_words()
    assert (words["n_windows"] + words["n_wordless"] == len(X)).all()
    assert words.loc["balanced", "n_wordless"] == y["word"].isna().sum() > 0


def test_retrieve_accepts_searches_and_warns(heard, tiny_pipeline):
    pipe, X, y, X_train, y_train = heard
    search = GridSearchCV(
        tiny_pipeline(max_epochs=1), {"encoder__lr": [1e-3]}, cv=StimulusKFold(2), scoring=retrieval_scores,
        refit="top_k",
    ).fit(X_train, y_train)  # fmt: skip
    np.testing.assert_array_equal(
        retrieve(search, X, y).scores, retrieve(search.best_estimator_, X, y).scores
    )
    with pytest.warns(StimulusLeakWarning) as record:
        retrieve(pipe, X_train, y_train)
    assert record[0].filename == __file__


def test_retrieve_arrays_have_one_subject():
    rng = np.random.default_rng(0)
    brain = rng.normal(size=(60, 4, 20)).astype(np.float32)
    speech = brain[:, :2] + 0.1 * rng.normal(size=(60, 2, 20)).astype(np.float32)
    decoder = RidgeDecoder(lags=(0, 0), sfreq=10, k=1).fit(brain[:30], speech[:30])
    answers = retrieve(decoder, brain[30:], speech[30:])
    assert answers.top_k() == decoder.score(brain[30:], speech[30:])
    assert answers.by_subject()["top_k"].index.tolist() == [""]
    assert answers.candidates["segment"].is_unique
    rows = pd.DataFrame({"subject": "a", "recording": "r", "onset": 3.0 * np.arange(30), "duration": 2.0})
    windows = Windows.from_array(brain[30:], rows=rows, sfreq=10)
    assert retrieve(decoder, windows, speech[30:]).null(n_shifts=5).shape == (5,)


def test_concat_results_matches_array_rows():
    rng = np.random.default_rng(0)
    brain = rng.normal(size=(60, 4, 20)).astype(np.float32)
    speech = brain[:, :2] + 0.5 * rng.normal(size=(60, 2, 20)).astype(np.float32)
    decoder = RidgeDecoder(lags=(0, 0), sfreq=10, k=1).fit(brain[:30], speech[:30])
    first, order = np.arange(30, 45), rng.permutation(np.arange(30, 45))
    parts = [retrieve(decoder, brain[rows], speech[rows]) for rows in (first, order)]
    whole = concat_results(parts)
    np.testing.assert_array_equal(whole.target, np.r_[first, order] - 30)
    np.testing.assert_array_equal(whole.ranks, np.r_[parts[0].ranks, parts[1].ranks])
    with pytest.raises(ValueError, match="Part 1 has 15 segments, 0 of them in part 0"):
        concat_results([parts[0], retrieve(decoder, brain[45:], speech[45:])])
    nameless = retrieve(decoder, brain[first], Windows.from_array(speech[first], sfreq=10))
    np.testing.assert_array_equal(nameless.ranks, parts[0].ranks)
    with pytest.raises(ValueError, match="candidates of part 1 lack the column 'segment'"):
        concat_results([parts[0], nameless])
    with pytest.raises(ValueError, match="requires at least one part"):
        concat_results([])


@pytest.mark.parametrize("ask", [retrieve, retrieval_scores])
def test_retrieve_rejects_other_estimators(ask):
    with pytest.raises(TypeError, match=rf"{ask.__name__} needs a decoder, .* Got Ridge"):
        ask(make_pipeline(Ridge()), np.eye(3), np.eye(3))
    with pytest.raises(TypeError, match="Got BaseEstimator"):
        ask(BaseEstimator(), np.eye(3), np.eye(3))

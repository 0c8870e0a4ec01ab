"""Timing as a control, and decoders that read it from overlaps of windows."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.audio_files import write
from helpers.decoders import planted, ridge
from helpers.joint_decoder import (
    make_joint_decoder,
    make_silent_brains,
    make_slow_responses,
    randomize_windows,
)

from sk_b2s import (
    StimulusKFold,
    SurrogateRecordings,
    Windows,
    benchmark,
    run_controls,
    score_similarities,
    summarize,
    write_report,
)
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.evaluation._controls._run import run_control_outcome
from sk_b2s.evaluation._controls._timing import add_timing_loudness, has_timing_of_rows, rank_by_timing
from sk_b2s.evaluation._results._lines import (
    _find_problem_of_outcome,
    format_result_line_outcome,
    parse_result_line_outcome,
)
from sk_b2s.reporting._scores_text import format_scores


@pytest.fixture(scope="module")
def silent():
    return make_silent_brains()


@pytest.fixture(scope="module")
def joint(silent):
    """Results of a joint decoder on recordings without a response."""
    names = ["phase_randomized", "shifted_labels"]
    return benchmark(
        {"joint": make_joint_decoder()}, *silent, StimulusKFold(2), controls=names, n_shifts=50, n_candidates=None,
        verbose=0,
    )  # fmt: skip


def test_joint_decoder_is_called_leak_by_name(joint, tmp_path):
    table = summarize(joint).set_index("control")
    assert table.loc["decoder", "top_10"] > 0.3 > 5 * table.loc["decoder", "chance"]
    assert table["verdict"].to_dict() == {
        "decoder": "leak", "phase_randomized": "leak", "shifted_labels": "at_null", "timing_only": "context",
    }  # fmt: skip
    assert table.loc["decoder", "leak_sources"] == "phase_randomized, overlap"
    assert "overlapping windows reveal the intervals between words" in table.loc["decoder", "verdict_text"]
    page = write_report(joint, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "overlapping windows reveal the intervals between words, and the score disappears" in page
    assert "may come from rhythm alone" in page


def test_timing_columns_are_next_to_word_scores(joint):
    table = summarize(joint).set_index("control")
    words = table.loc[["decoder", "phase_randomized"]]
    assert (words["word_top_10_timing"] > words["word_top_10"]).all()
    assert (words["word_top_10_timing"] > 0.7).all()
    assert table.loc["shifted_labels", "word_top_10_timing"] == pytest.approx(0.2, abs=0.08)
    assert (table["word_timing_chance"] == 0.2).all()
    assert table.loc["timing_only", "top_10"] > table.loc["decoder", "top_10"]
    assert (table["timing_matched_share"] > 0.9).all()


def test_run_controls_always_adds_timing(silent):
    X, y = silent
    decoder, names = ridge(k=10), ["phase_randomized", "timing_matched"]
    table = run_controls(decoder, X, y, StimulusKFold(2), controls=names, n_shifts=50)
    assert list(table.index) == [*names, "timing_only"]
    assert table.loc["phase_randomized", "verdict"] == "at_null"
    assert table.loc["timing_only", "verdict"] == "context"
    assert table.loc["timing_matched", "top_k"] == pytest.approx(
        table.loc["timing_matched", "chance"], abs=0.03
    )
    assert 500 < table.loc["timing_matched", "n_windows"] < 600
    results = benchmark(
        decoder, X, y, StimulusKFold(2), controls=False, n_candidates=None, n_shifts=0, verbose=0
    )
    assert set(results["control"]) == {"decoder", "timing_only"}


def test_timing_matched_is_nan_in_small_strata(silent):
    X, y = silent
    few = np.arange(len(y)) % 12 == 0
    rng = np.random.default_rng(0)
    y = y.assign(word_duration=rng.uniform(0.1, 2, len(y)), loudness=rng.uniform(-60, 0, len(y)))
    table = run_controls(
        ridge(k=3), X[few], y[few], StimulusKFold(2), controls=["timing_matched"], n_shifts=20
    )
    assert np.isnan(table.loc["timing_matched", "top_k"])
    assert table.loc["timing_matched", "verdict"] == "no_null"
    assert "fewer than 10% of the windows have 6 candidates" in table.loc["timing_matched", "verdict_text"]


def test_timing_controls_need_words():
    X, y = planted(0.0, 0.5, n_recordings=2, n=60)
    for name in ("timing_only", "timing_matched"):
        with pytest.raises(ValueError, match=f"'{name}' needs windows at words"):
            run_controls(ridge(k=3), X, y, controls=[name])
    assert not has_timing_of_rows(X.rows)
    with pytest.raises(ValueError, match="'timing_matched' is a score of all rows"):
        benchmark(ridge(), X.rows, y.assign(word="a"), StimulusKFold(2), controls=["timing_matched"])


def test_rank_by_timing_uses_durations():
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"subject": "s", "recording": "r", "onset": 5.0 * np.arange(40),
                         "duration": random.uniform(1, 4, 40)})  # fmt: skip
    scores = rank_by_timing(rows, np.arange(40), pd.DataFrame(index=range(40)))
    assert (scores.argmax(1) == np.arange(40)).all()
    equal = rank_by_timing(rows.assign(duration=3.0), np.arange(40), pd.DataFrame(index=range(40)))
    assert (equal.argmax(1) == np.arange(40)).mean() < 0.2  # guesses


def test_score_similarities_adds_timing(silent):
    X, y = silent
    table = X.rows.join(y.drop(columns=["sound", "duration"])).iloc[:300]
    noise = np.random.default_rng(0).standard_normal((300, 300))
    rows = summarize(score_similarities(noise, table, n_candidates=None, n_shifts=20)).set_index("control")
    assert rows["verdict"].to_dict() == {"decoder": "at_null", "timing_only": "context"}
    assert rows.loc["decoder", "word_top_10"] < 0.3 < 0.5 < rows.loc["decoder", "word_top_10_timing"]
    assert rows.loc["decoder", "timing_matched"] == pytest.approx(0.5, abs=0.05)
    assert rows.loc["decoder", "timing_matched_p"] > 0.05
    low, high = rows.loc["decoder", ["timing_matched_null_low", "timing_matched_null_high"]]
    assert low < rows.loc["decoder", "timing_matched"] < high
    exact = score_similarities(np.eye(300), table, n_candidates=None, n_shifts=0).set_index("control")
    assert exact.loc["decoder", "timing_matched_p"] == pytest.approx(1 / 201)
    assert summarize(exact.reset_index()).loc[0, "timing_matched_p"] == pytest.approx(1 / 201)
    assert "timing-matched" in format_scores(summarize(exact.reset_index()))
    untimed = score_similarities(noise, table.drop(columns="onset"), n_candidates=None, n_shifts=0)
    assert untimed["control"].tolist() == ["decoder"]
    assert untimed["word_top_10_timing"].isna().all()


def test_separate_outcomes_survive_files(silent):
    rows, scores = silent[0].rows.iloc[:60], np.random.default_rng(0).standard_normal((60, 60))
    result = RetrievalResult(scores, np.arange(60), pd.DataFrame(index=range(60)), rows, 10)
    separate = run_control_outcome([result], 20, 0)
    line = format_result_line_outcome(run_control_outcome([result], 20, 0, separate=separate))
    found = parse_result_line_outcome(json.loads(json.dumps(line, default=float))).separate
    np.testing.assert_array_equal(found.records[0]["null"], separate.records[0]["null"])
    assert _find_problem_of_outcome(line) is None
    line["separate"]["records"][0]["null"]["shape"] = [3]
    with pytest.raises(ValueError, match="does not have 24 bytes"):
        _find_problem_of_outcome(line)


def test_randomized_windows_keep_slow_responses():
    X, y = make_slow_responses()
    train, test = next(StimulusKFold(2).split(X, y))
    scores = [
        ridge(k=5, alphas=(1.0,)).fit(data[train], y.iloc[train]).score(data[test], y.iloc[test])
        for data in (X, randomize_windows(X), SurrogateRecordings().fit_transform(X))
    ]
    chance = 5 / len(test)
    assert scores[0] > scores[1] > 2.5 * chance > 1.7 * chance > scores[2]
    np.testing.assert_allclose(
        np.asarray(randomize_windows(X[:9])).mean(2), np.asarray(X[:9]).mean(2), atol=1e-4
    )


def test_randomized_windows_hide_overlap(silent):
    X = silent[0][:60]
    reader = make_joint_decoder()[0]
    assert reader.fit_transform(SurrogateRecordings().fit_transform(X))[0].max() > 0.5
    assert np.asarray(reader.fit_transform(randomize_windows(X))).max() < 0.1
    windows = list(np.asarray(X).transpose(0, 2, 1))
    separate = Windows(windows, np.arange(60), np.zeros(60), X.shape[2], X.sfreq)
    with pytest.raises(ValueError, match="All 60 recordings consist of one window.*not a null"):
        SurrogateRecordings().fit_transform(separate)
    assert SurrogateRecordings("white").fit_transform(separate).shape == X.shape


def test_surrogates_without_overlap(silent):
    X, _ = silent
    decoder = make_joint_decoder()[0]
    for kind in ("phase", "white"):
        own, other = (
            SurrogateRecordings(kind, overlap=overlap).fit_transform(X) for overlap in (True, False)
        )
        assert own.shape == other.shape == X.shape
        assert np.asarray(decoder.fit_transform(own)[:20]).max() > 0.5
        assert np.asarray(decoder.fit_transform(other)).max() < 0.1
        assert other.overlaps([0], [1]).tolist() == [False]
    np.testing.assert_allclose(np.asarray(own).std(), np.asarray(other).std(), rtol=0.1)
    with pytest.warns(UserWarning, match="windows overlap in time, but X has no common samples"):
        SurrogateRecordings().fit_transform(Windows.from_array(np.asarray(X), X.rows, sfreq=X.sfreq))


def test_add_loudness_measures_words(tmp_path):
    tone = np.resize([1.0, -1.0], 16000)
    sound = write(tmp_path / "a.wav", tone * np.repeat([0.1, 0.01], 8000))
    rows = pd.DataFrame({"sound": sound, "sound_onset": [-0.5, 0.0], "duration": 1.5, "word_onset": [0.1, 0.6],
                         "word_duration": 0.2})  # fmt: skip
    np.testing.assert_allclose(add_timing_loudness(rows)["loudness"], [-20, -40], atol=0.1)
    windows = rows.drop(columns="word_onset")  # the level of the windows
    np.testing.assert_allclose(add_timing_loudness(windows)["loudness"], [-23, -23], atol=0.1)
    assert add_timing_loudness(rows.assign(sound="no such file"))["loudness"].isna().all()

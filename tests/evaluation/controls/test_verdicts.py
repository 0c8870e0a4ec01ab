"""Verdicts on scores."""

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import control_outcome, people, ridge
from scipy.stats import binom

from sk_b2s import (
    RidgeDecoder,
    StimulusKFold,
    benchmark,
    circular_shift_test,
    generate_methods_text,
    retrieve,
    run_controls,
    score_similarities,
    summarize,
    write_report,
)
from sk_b2s.evaluation._benchmark_summary import BenchmarkSummary
from sk_b2s.evaluation._controls._leak_test import pool_leak_test_rows
from sk_b2s.evaluation._controls._verdicts import (
    BELOW_MEANS,
    TEXTS,
    Verdict,
    add_verdict_texts,
    control_verdicts,
    decide_verdict_against_null,
)
from sk_b2s.plotting import plot_controls
from sk_b2s.reporting._findings import get_finding_style, write_findings_headline
from sk_b2s.reporting._scores_text import format_scores

BELOW = Verdict.BELOW_NULL


class Turned(RidgeDecoder):
    """A ridge whose estimates have the wrong sign."""

    def _make_embedder(self, X):
        embed, n_windows = super()._make_embedder(X)
        return lambda rows: -embed(rows), n_windows


def turned():
    return Turned(**ridge(k=10, alphas=(1.0,)).get_params(deep=False))


@pytest.fixture(scope="module")
def inverted():
    X, y = people(n_recordings=2, n=120, together=2)
    return benchmark(
        {"turned": turned(), "right": ridge(k=10, alphas=(1.0,))}, X, y, StimulusKFold(2),
        controls=["phase_randomized"], n_candidates=30, n_shifts=200, verbose=0,
    )  # fmt: skip


def test_against_null_compares_both_sides():
    table = pd.DataFrame({
        "top_k": [0.5, 0.1, 0.02, 0.05, 0.2, 0.0], "null_low": [0.05] * 5 + [np.nan],
        "null_high": [0.2] * 5 + [np.nan],
    })  # fmt: skip
    assert decide_verdict_against_null(table).tolist() == [
        "above_null", "at_null", "below_null", "at_null", "at_null", "no_null",
    ]  # fmt: skip
    assert decide_verdict_against_null(table.drop(columns="null_low")).tolist()[2] == "at_null"
    rounded = pd.DataFrame({"top_k": [0.1 + 0.2], "null_low": [0.3], "null_high": [0.3]})
    assert decide_verdict_against_null(rounded).tolist() == ["at_null"]


def test_benchmark_reports_an_inverted_decoder(inverted):
    of = inverted[inverted["control"] == "decoder"].groupby("estimator")["verdict"].unique()
    assert BELOW in of["turned"]
    assert set(of["right"]) == {"above_null"}
    summary = summarize(inverted).query("control == 'decoder' and pool == 'all'").set_index("estimator")
    assert summary["verdict"].to_dict() == {"turned": BELOW, "right": "above_null"}
    assert (
        summary.loc["turned", "top_k"]
        < summary.loc["turned", "null_low"]
        < summary.loc["turned", "null_mean"]
    )
    assert summarize(inverted).query("control != 'decoder'")["verdict"].eq("at_null").all()


def test_report_states_inverted_decoder_first(inverted, tmp_path):
    kind, said, _ = write_findings_headline(BenchmarkSummary(inverted))
    assert kind == "bad"
    assert said.startswith(f"turned scored below its null: {BELOW_MEANS}.")
    assert said.endswith("right decodes speech better than the null.")
    assert get_finding_style(BELOW) == "bad"
    page = write_report(inverted, tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.index("turned scored below its null") < page.index("<h2>Scores")
    assert "Subjects below their own null: turned" in page
    text = generate_methods_text(inverted)
    assert f"; below its null: {BELOW_MEANS}." in text.split("turned: top-10")[1].split("right: top-10")[0]
    assert "below its null" not in text.split("right: top-10")[1]
    printed = format_scores(summarize(inverted))
    assert "  below its null" in printed
    assert "null from" in printed
    assert "signs or pairs" in printed
    one = inverted[inverted["estimator"] == "right"]
    assert "null from" not in format_scores(summarize(one))


def test_score_similarities_of_wrong_sign():
    X, y = people(n_recordings=2, n=120, together=2)
    train, test = next(StimulusKFold(2).split(X, y))
    answers = retrieve(ridge(k=10, alphas=(1.0,)).fit(X[train], y.iloc[train]), X[test], y.iloc[test])
    table = answers.rows.assign(target=answers.target)
    assert summarize(score_similarities(answers.scores, table))["verdict"].eq("above_null").all()
    turned = score_similarities(-answers.scores, table)
    assert summarize(turned)["verdict"].eq(BELOW).all()
    assert (turned["match_mismatch"] < 0.5).all()
    test = circular_shift_test(
        type(answers)(-answers.scores, answers.target, answers.candidates, answers.rows, 10)
    )
    assert test["p_below"] < 0.01 < 0.99 < test["p"]
    assert test["null_low"] <= test["null_mean"]


def test_run_controls_reports_inverted_decoder():
    X, y = people(n_recordings=2, n=120, together=2)
    table = run_controls(
        turned(), X, y, StimulusKFold(2), controls=["decoder", "phase_randomized"], n_shifts=200
    )
    assert table["verdict"].to_dict() == {"decoder": BELOW, "phase_randomized": "at_null"}
    assert table["inverted_below"].notna().to_dict() == {"decoder": False, "phase_randomized": True}


def test_control_verdicts_of_inverted_control():
    null = np.random.default_rng(0).normal(0.7, 0.01, (6, 1000))
    low = pool_leak_test_rows(
        control_outcome(np.ones((6, 6)), null)
    )  # 0.4 where the null is 0.7, and chance 0.1
    assert low["inverted_below"] == pytest.approx(0.1 - 2.4 * 0.01 / np.sqrt(6), abs=0.005)
    table = pd.DataFrame({"decoder": low, "phase_randomized": low | {"leak_threshold": 0.9}}).T
    assert (
        control_verdicts(table)["verdict"]["phase_randomized"] == "at_null"
    )  # below its null, but not below chance
    table.loc["phase_randomized", "inverted_below"] = 0.5
    assert control_verdicts(table)["verdict"].to_dict() == {"decoder": BELOW, "phase_randomized": BELOW}


def test_report_marks_inverted_control(inverted):
    own = inverted["control"] == "phase_randomized"
    marked = inverted.assign(verdict=inverted["verdict"].mask(own, BELOW))
    summary = BenchmarkSummary(marked)
    rows = summary.table
    assert rows.loc[rows["control"] == "phase_randomized", "verdict"].eq(BELOW).all()
    notes = write_findings_headline(summary)[2]
    assert any(note.startswith("phase_randomized scored further below chance than") for note in notes)
    assert TEXTS[BELOW] in {text.get_text() for text in plot_controls(marked).texts}


def test_verdicts_of_noise_are_rarely_wrong():
    rng, n, n_draws = np.random.default_rng(3), 60, 100
    table = pd.DataFrame({
        "subject": "a", "recording": "a", "onset": np.arange(n) * 1.0, "duration": 3.0, "segment": np.arange(n),
    })  # fmt: skip
    found = []
    for _ in range(n_draws):
        brain = rng.standard_normal((n + 2, 12))
        window = brain[:-2] + brain[1:-1] + brain[2:]  # neighbors overlap
        found += score_similarities(
            window @ rng.standard_normal((n, 12)).T, table, n_shifts=80, n_candidates=None
        )["verdict"].tolist()
    most = binom.isf(0.001, n_draws, 0.04)  # short recordings: 3.8 % above, see summarize
    assert found.count("above_null") <= most
    assert 0 < found.count(BELOW) <= most


def test_verdict_texts_compare_with_timing_alone():
    table = pd.DataFrame({
        "task": ["word"] * 5 + [""], "estimator": ["a", "a", "b", "b", "c", "d"], "top_k": [0.989, 0.999, 0.9, 0.5, 0.7, 0.7],
        "control": ["decoder", "timing_only"] * 2 + ["decoder"] * 2, "k": 10, "leak_sources": "", "fold": [0, 0, 1, 1, 2, 3],
        "verdict": ["above_null", "context"] * 2 + ["above_null"] * 2, "word_top_10_timing": [np.nan] * 4 + [0.75] * 2,
    })  # fmt: skip
    texts = add_verdict_texts(table)["verdict_text"].tolist()
    assert texts[0] == "above its null, not above timing alone (.989 vs .999)"
    assert texts[1:4] == ["no neural data", "above its null", "no neural data"]
    assert texts[4:] == ["above its null, not above timing alone (.700 vs .750)", "above its null"]
    plain = add_verdict_texts(table.drop(columns="task"))["verdict_text"].tolist()  # of benchmark
    assert plain == [*texts[:4], "above its null", "above its null"]


@pytest.mark.parametrize(("control", "name"), [("envelope_only", "loudness"), ("timing_only", "timing")])
def test_verdict_texts_follow_one_rule(control, name):
    """A control is compared with all decoders if it is above its null."""
    table = pd.DataFrame({
        "estimator": ["a", "a", "b", "c"], "control": ["decoder", control, "decoder", "decoder"], "k": [10, 10, 10, 5],
        "top_k": [0.06, 0.08, 0.5, 0.06], "null_high": 0.05, "leak_sources": "",
        "verdict": ["above_null", "context", "above_null", "above_null"],
    })  # fmt: skip
    texts = add_verdict_texts(table)["verdict_text"].tolist()
    assert texts[0] == f"above its null, not above {name} alone (.060 vs .080)"
    assert texts[2:] == ["above its null"] * 2
    above = add_verdict_texts(table.assign(top_k=[0.06, 0.8, 0.5, 0.06]))["verdict_text"]
    assert above[2] == f"above its null, not above {name} alone (.500 vs .800)"
    for high in (0.08, 0.08 - 1e-12, 0.2):  # the control is at its null, or below it
        own = table.assign(null_high=[0.05, high, 0.05, 0.05])
        assert add_verdict_texts(own)["verdict_text"].tolist()[0] == "above its null"
    unknown = table.assign(null_high=[0.05, np.nan, 0.05, 0.05])
    assert add_verdict_texts(unknown)["verdict_text"].tolist()[0] == texts[0]


def test_verdict_texts_compare_with_two_controls():
    table = pd.DataFrame({
        "control": ["decoder", "envelope_only", "timing_only"], "top_k": [0.06, 0.08, 0.81], "null_high": 0.05,
        "leak_sources": "", "verdict": ["above_null", "above_null", "context"],
    })  # fmt: skip
    expected = "above its null, not above loudness alone (.060 vs .080) or timing alone (.060 vs .810)"
    assert add_verdict_texts(table)["verdict_text"][0] == expected
    own = add_verdict_texts(table[:2].set_index("control"))["verdict_text"]  # of run_controls
    assert own["decoder"] == "above its null, not above loudness alone (.060 vs .080)"

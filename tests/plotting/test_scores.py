"""Figures of score tables show the numbers of the table."""

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import make_retrieval_result, make_score_table

from sk_b2s import compare_estimators, mean_and_sem, summarize
from sk_b2s._utils._text import HIDDEN, make_text_visible
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.evaluation._benchmark_summary import average_summary_scores
from sk_b2s.evaluation._statistics._subject_means import select_subject_rows_for_statistics
from sk_b2s.plotting import (
    plot_comparison,
    plot_controls,
    plot_curve,
    plot_rank_curve,
    plot_scores,
    plot_subjects,
)


def test_plot_scores_shows_subjects_and_chance():
    scores = pd.DataFrame({"ridge": [0.1, 0.2, 0.3], "encoder": [0.4, 0.5, 0.6]}, index=list("abc"))
    ax = plot_scores(scores, chance=0.05)
    points = np.concatenate([c.get_offsets() for c in ax.collections if len(c.get_offsets()) == 3])
    np.testing.assert_allclose(sorted(points[:, 1]), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert "chance 5.0 %" in ax.get_legend_handles_labels()[1]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["ridge", "encoder"]


def test_plot_scores_of_one_subject_has_no_error():
    ax = plot_scores(pd.DataFrame({"ridge": [0.1]}, index=["a"]), chance=0.05)
    assert ax.get_title() == "One subject"
    curve = pd.DataFrame(
        {"length": [1, 10], "subject": "a", "accuracy": [0.6, 0.8], "chance": 0.5, "n_decisions": 9}
    )
    assert "one subject" in plot_curve(curve).get_title()


def test_plot_scores_accepts_retrieval_results():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"subject": np.repeat(["a", "b", "c"], 20)})
    result = RetrievalResult(
        rng.normal(size=(60, 20)), np.tile(np.arange(20), 3), pd.DataFrame(index=range(20)), rows, k=5
    )
    ax = plot_scores({"encoder": result})
    assert "chance 25.0 %" in ax.get_legend_handles_labels()[1]
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 1], result.by_subject()["top_k"])
    curve = plot_rank_curve(result, label="encoder").lines[-1].get_ydata()
    np.testing.assert_allclose(curve, [np.mean(result.ranks < k) for k in range(1, 21)])
    with pytest.raises(ValueError, match="one chance level"):
        plot_scores({"encoder": result, "other": replace(result, k=4)})
    with pytest.raises(ValueError, match="'chance' parameter"):
        plot_scores(pd.DataFrame({"encoder": result.by_subject()["top_k"]}))


def test_average_summary_scores_equals_summary():
    results = make_score_table()
    summary = summarize(results).set_index(["estimator", "control", "pool"])
    drawn = average_summary_scores(results, by=["estimator", "control", "pool"]).loc[summary.index]
    names = {
        "score": "top_k",
        "sem": "top_k_sem",
        "chance": "chance",
        "null_mean": "null_mean",
        "null_high": "null_high",
    }
    for mine, theirs in names.items():
        np.testing.assert_allclose(drawn[mine], summary[theirs], rtol=1e-12)
    one = results[(results["subject"] == "b") & (results["estimator"] == "ridge")]
    summary = summarize(one).set_index(["control", "pool"]).loc[("decoder", "all")]
    row = average_summary_scores(results, by=["estimator", "control", "pool", "subject"]).loc[
        ("ridge", "decoder", "all", "b")
    ]
    for mine in ("score", "null_mean", "null_high"):
        assert row[mine] == pytest.approx(summary[names[mine]])


def test_means_over_subjects_agree():
    results = make_score_table(("ridge",)).query("control == 'decoder' and pool == 'all'")
    some_failed = (results["seed"] == 0) | (results["fold"] == 0) | (results["subject"] == "a")
    results = results[some_failed]
    means = results.groupby(["subject", "seed"])[["top_k", "n_windows"]].apply(
        lambda rows: np.average(rows["top_k"], weights=rows["n_windows"])
    )
    means = means.groupby("subject").mean()
    summary, drawn = summarize(results).iloc[0], average_summary_scores(results, by=["estimator"]).iloc[0]
    row = mean_and_sem(results, "top_k").iloc[0]
    assert [summary["top_k"], drawn["score"], row["mean"]] == pytest.approx([means.mean()] * 3, rel=1e-12)
    assert [summary["top_k_sem"], drawn["sem"], row["sem"]] == pytest.approx([means.sem()] * 3, rel=1e-12)


def test_summarize_ignores_recordings_without_null():
    results = make_score_table(("ridge",))
    short = (results["subject"] == "a") & (results["fold"] == 1)
    partly = results.assign(
        **{name: results[name].mask(short) for name in ("null_mean", "null_low", "null_high")}
    )
    rows, rest = (summarize(table).set_index(["control", "pool"]) for table in (partly, results[~short]))
    whole = summarize(results).set_index(["control", "pool"])
    assert rows["verdict"].tolist() == whole["verdict"].tolist() == ["above_null"] * 2 + ["at_null"] * 2
    assert rows["n_without_null"].tolist() == [1] * 4
    assert whole["n_without_null"].tolist() == [0] * 4
    np.testing.assert_allclose(rows["top_k"], whole["top_k"])
    for name in ("null_mean", "null_high", "top_k_judged"):
        np.testing.assert_allclose(rows[name], rest[name])
    np.testing.assert_allclose(rest["top_k_judged"], rest["top_k"])
    drawn = average_summary_scores(partly, by=["control", "pool"]).loc[rows.index]
    np.testing.assert_allclose(drawn["null_high"], rows["null_high"])
    without = summarize(results.assign(null_low=np.nan, null_mean=np.nan, null_high=np.nan))
    assert set(without["verdict"]) == {"no_null"}
    assert without["top_k"].notna().all()


def test_summarize_verdict_needs_null_of_subject():
    results = make_score_table(("ridge",)).query("control == 'decoder' and pool == 'all'")
    strong = results["subject"] == "a"
    results = results.assign(
        top_k=np.where(strong, 0.9, results["null_mean"]), null_high=results["null_high"].mask(strong)
    )
    row = summarize(results).iloc[0]
    assert row["top_k"] > row["null_high"], "the subject without a null raises the mean"
    assert (row["verdict"], row["n_without_null"]) == ("at_null", 2)


def test_summarize_keeps_order_and_rejects_several_k():
    results = make_score_table(("ridge", "encoder", "clip"))
    assert pd.unique(summarize(results)["estimator"]).tolist() == ["ridge", "encoder", "clip"]
    other = results.assign(k=results["k"].mask(results["estimator"] == "clip", 5))
    assert summarize(other).groupby("estimator")["k"].unique().explode().to_dict() == {
        "ridge": 10, "encoder": 10, "clip": 5
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"'encoder'.*\[5, 10\]"):
        summarize(
            results.assign(
                k=results["k"].mask((results["estimator"] == "encoder") & (results["fold"] == 1), 5)
            )
        )
    with pytest.raises(ValueError, match="several values of k"):
        compare_estimators(other, score="top_k")
    assert len(compare_estimators(other, score="top_10")) == 3
    assert [label.get_text() for label in plot_scores(other).get_xticklabels()][-1] == "clip, k = 5"


def test_plot_scores_shows_null_of_benchmark():
    results = make_score_table()
    own = average_summary_scores(select_subject_rows_for_statistics(results), by=["estimator", "subject"])
    ax = plot_scores(results)
    drawn = [c.get_offsets()[:, 1] for c in ax.collections if len(c.get_offsets()) == 4]
    for points, name in zip(drawn, ["ridge", "encoder"], strict=True):
        np.testing.assert_allclose(points, own.loc[name, "score"])
    assert {"chance 10.0 %", "95 % of the null"} <= {text.get_text() for text in ax.get_legend().get_texts()}
    shades = [c.get_paths()[0].get_extents() for c in ax.collections if len(c.get_offsets()) != 4]
    shades = [box for box in shades if box.height > 0.01 and box.width > 0.5]
    null = average_summary_scores(select_subject_rows_for_statistics(results), by=["estimator"])
    np.testing.assert_allclose([box.ymax for box in shades], null["null_high"])
    np.testing.assert_allclose([box.ymin for box in shades], null["null_low"])


def test_plot_subjects_shows_null_of_each():
    results = make_score_table()
    own = average_summary_scores(select_subject_rows_for_statistics(results), by=["estimator", "subject"])
    ax = plot_subjects(results)
    points = {
        c.get_label(): c.get_offsets()[:, 1] for c in ax.collections if not c.get_label().startswith("_")
    }
    for name in ("ridge", "encoder"):
        np.testing.assert_allclose(points[name], own.loc[name, "score"])
    tops = sorted(
        c.get_paths()[0].get_extents().ymax for c in ax.collections if c.get_label().startswith("_")
    )
    np.testing.assert_allclose(tops, sorted(own["null_high"]))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list("abcd")


def test_plot_subjects_differ_in_color_or_marker():
    results = make_score_table([f"decoder{place}" for place in range(8)], subjects="ab")
    points = [c for c in plot_subjects(results).collections if str(c.get_label()).startswith("decoder")]
    styles = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in points}
    assert len(styles) == len(points) == 8


def test_plot_scores_shows_range_of_chance():
    results = make_score_table()
    results.loc[results["estimator"] == "ridge", "chance"] = 0.05
    labels = [text.get_text() for text in plot_scores(results).get_legend().get_texts()]
    assert "chance 5.0 to 10.0 %" in labels


def test_plot_comparison_shows_tested_differences():
    results = make_score_table()
    row = compare_estimators(results, "ridge", "top_k").iloc[0]
    ax = plot_comparison(results, "ridge")
    points = ax.collections[0].get_offsets()[:, 0]
    assert points.mean() == pytest.approx(row["mean_difference"])
    assert len(points) == row["n_subjects"] == 4
    assert ax.containers[0][0].get_xdata()[0] == pytest.approx(row["mean_difference"])
    assert (
        f"p = {row['p_holm']:.2g} (smallest possible {row['smallest_p_holm']:.2g})" in ax.texts[0].get_text()
    )


def test_plot_comparison_has_better_one_first():
    results = make_score_table()  # encoder is better than ridge in all subjects
    ax = plot_comparison(results)
    assert ax.get_yticklabels()[0].get_text() == "encoder\n− ridge"
    assert ax.containers[0][0].get_xdata()[0] > 0
    assert ax.texts[0].get_text().endswith("better in 4, worse in 0 of 4")
    assert plot_comparison(results, "encoder").texts[0].get_text().endswith("better in 0, worse in 4 of 4")


def test_plot_controls_marks_leak():
    ax = plot_controls(make_score_table(leak="ridge"))
    assert [text.get_text() for text in ax.texts] == ["LEAK", "LEAK"]  # the decoder and its control
    assert not plot_controls(make_score_table()).texts
    assert "phase_randomized\n(must be at chance)" in [tick.get_text() for tick in ax.get_yticklabels()]


# --- hidden characters -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:.*layout")
@pytest.mark.parametrize("plot", [plot_scores, plot_subjects, plot_controls, plot_comparison])
def test_figures_show_hidden_characters(plot):
    text = "a\ud800ba\0ba\x1b[31mb\x07a\u202eb\u2066a\u2067b\u2068c"
    results = make_score_table(("ridge", text), subjects=[f"{name}{text}" for name in "ab"])
    figure = plot(results).figure
    shown = " ".join(found.get_text() for found in figure.findobj(matplotlib.text.Text)).replace("\n", "")
    assert make_text_visible(text) in shown
    assert not HIDDEN.search(shown)


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:.*layout")
def test_figure_with_hidden_characters_is_drawn():
    figure = plot_rank_curve(make_retrieval_result(), label="a\ud800b\0c\u202e").figure
    figure.canvas.draw()
    plot_comparison(make_score_table(("ridge", "a\ud800b\0c\u202e"))).figure.canvas.draw()

"""Pictures show the numbers they are given."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import answers_of, curve_of, table_of_scores

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pytest.importorskip("matplotlib.pyplot")

from sk_b2s import mean_and_sem, summarize  # noqa: E402
from sk_b2s.decoding._retrieval_result import RetrievalResult  # noqa: E402
from sk_b2s.evaluation._statistics import compare_estimators  # noqa: E402
from sk_b2s.plotting import (  # noqa: E402
    plot_attention,
    plot_comparison,
    plot_controls,
    plot_curve,
    plot_history,
    plot_rank_curve,
    plot_ranks,
    plot_scores,
    plot_similarity,
    plot_subjects,
    plot_topography,
    plot_words,
)
from sk_b2s.plotting._retrieval import longest_sentence, rank_shares, word_confusions  # noqa: E402
from sk_b2s.plotting._scores import scores_over  # noqa: E402
from sk_b2s.plotting._style import COLORS  # noqa: E402
from sk_b2s.plotting._topomap import attention_map, places_of  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    """Leave no figure behind."""
    yield
    matplotlib.pyplot.close("all")


# --- people and decoders -----------------------------------------------------------------------------


def test_scores_show_every_subject_and_chance():
    scores = pd.DataFrame({"ridge": [0.1, 0.2, 0.3], "encoder": [0.4, 0.5, 0.6]}, index=list("abc"))
    ax = plot_scores(scores, chance=0.05)
    points = np.concatenate([c.get_offsets() for c in ax.collections if len(c.get_offsets()) == 3])
    np.testing.assert_allclose(sorted(points[:, 1]), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert "chance 5.0 %" in ax.get_legend_handles_labels()[1]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["ridge", "encoder"]


def test_rank_curve_is_the_accuracy_at_every_k():
    ax = plot_rank_curve([0, 0, 3, 9], 10, label="encoder")
    curve = next(line for line in ax.lines if line.get_label() == "encoder")
    np.testing.assert_allclose(curve.get_ydata(), [0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75, 1])
    assert len(plot_rank_curve([1], 10, ax=ax).lines) == 3, "a second curve joins the first and its chance"


def test_answers_bring_what_is_plotted():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"subject": np.repeat(["a", "b", "c"], 20)})
    answers = RetrievalResult(
        rng.normal(size=(60, 20)), np.tile(np.arange(20), 3), pd.DataFrame(index=range(20)), rows, k=5
    )
    ax = plot_scores({"encoder": answers})
    assert "chance 25.0 %" in ax.get_legend_handles_labels()[1]
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 1], answers.by_subject()["top_k"])
    curve = plot_rank_curve(answers, label="encoder").lines[-1].get_ydata()
    np.testing.assert_allclose(curve, [np.mean(answers.ranks < k) for k in range(1, 21)])
    with pytest.raises(ValueError, match="one chance level"):
        plot_scores({"encoder": answers, "other": replace(answers, k=4)})
    with pytest.raises(ValueError, match="chance must be given"):
        plot_scores(pd.DataFrame({"encoder": answers.by_subject()["top_k"]}))


def test_history_marks_the_best_epoch():
    from skorch.history import History

    history = History()
    for epoch, loss in enumerate([3.0, 2.0, 2.5], 1):
        history.new_epoch()
        for name, value in {
            "epoch": epoch,
            "train_loss": 1.0,
            "valid_loss": loss,
            "valid_candidates": 7,
        }.items():
            history.record(name, value)
    ax = plot_history(history)
    assert ax.lines[-1].get_xdata()[0] == 2
    assert ax.get_ylabel() == "loss", "a history does not know which"
    for loss, label in (("clip", "cross-entropy (nats)"), ("symmetric_clip", "cross-entropy (nats)")):
        ax = plot_history(SimpleNamespace(history_=history, loss=loss))
        assert ax.get_ylabel() == label
        assert len(ax.figure.axes) == 1
    for loss, label in (("mse", "mean squared error"), ("siglip", "loss of pairs (nats)")):
        left, right = plot_history(SimpleNamespace(history_=history, loss=loss)).figure.axes
        assert (left.get_ylabel(), right.get_ylabel()) == ("cross-entropy (nats)", label)
        np.testing.assert_allclose(right.lines[0].get_ydata(), 1.0)
        np.testing.assert_allclose(left.lines[0].get_ydata(), [3.0, 2.0, 2.5])
        assert f"training {label}, over a batch" in [
            text.get_text() for text in left.get_legend().get_texts()
        ]


# --- what a benchmark says ---------------------------------------------------------------------------


def test_scores_over_people_are_those_of_the_summary():
    results = table_of_scores()
    said = summarize(results).set_index(["estimator", "control", "pool"])
    drawn = scores_over(results, by=["estimator", "control", "pool"]).loc[said.index]
    names = {
        "score": "top_k",
        "sem": "top_k_sem",
        "chance": "chance",
        "null_mean": "null_mean",
        "null_high": "null_high",
    }
    for mine, theirs in names.items():
        np.testing.assert_allclose(drawn[mine], said[theirs], rtol=1e-12)
    one = results[(results["subject"] == "b") & (results["estimator"] == "ridge")]
    said = summarize(one).set_index(["control", "pool"]).loc[("decoder", "all")]
    row = scores_over(results, by=["estimator", "control", "pool", "subject"]).loc[
        ("ridge", "decoder", "all", "b")
    ]
    for mine in ("score", "null_mean", "null_high"):
        assert row[mine] == pytest.approx(said[names[mine]])


def test_all_ways_to_a_mean_over_people_are_one():
    results = table_of_scores(("ridge",)).query("control == 'decoder' and pool == 'all'")
    results = results[
        (results["seed"] == 0) | (results["fold"] == 0) | (results["subject"] == "a")
    ]  # fits failed
    means = results.groupby(["subject", "seed"])[["top_k", "n_windows"]].apply(
        lambda rows: np.average(rows["top_k"], weights=rows["n_windows"])
    )
    means = means.groupby("subject").mean()
    said, drawn = summarize(results).iloc[0], scores_over(results, by=["estimator"]).iloc[0]
    row = mean_and_sem(results, "top_k").iloc[0]
    assert [said["top_k"], drawn["score"], row["mean"]] == pytest.approx([means.mean()] * 3, rel=1e-12)
    assert [said["top_k_sem"], drawn["sem"], row["sem"]] == pytest.approx([means.sem()] * 3, rel=1e-12)


def test_one_recording_too_short_for_a_null_leaves_the_verdict_to_the_others():
    results = table_of_scores(("ridge",))
    short = (results["subject"] == "a") & (results["fold"] == 1)
    partly = results.assign(
        **{name: results[name].mask(short) for name in ("null_mean", "null_low", "null_high")}
    )
    rows, rest = (summarize(table).set_index(["control", "pool"]) for table in (partly, results[~short]))
    whole = summarize(results).set_index(["control", "pool"])
    assert rows["verdict"].tolist() == whole["verdict"].tolist() == ["above its null"] * 2 + ["at chance"] * 2
    assert rows["n_without_null"].tolist() == [1] * 4
    assert whole["n_without_null"].tolist() == [0] * 4
    np.testing.assert_allclose(rows["top_k"], whole["top_k"])
    for name in ("null_mean", "null_high", "top_k_judged"):
        np.testing.assert_allclose(rows[name], rest[name])
    np.testing.assert_allclose(rest["top_k_judged"], rest["top_k"])
    drawn = scores_over(partly, by=["control", "pool"]).loc[rows.index]
    np.testing.assert_allclose(drawn["null_high"], rows["null_high"])
    nobody = summarize(results.assign(null_low=np.nan, null_mean=np.nan, null_high=np.nan))
    assert set(nobody["verdict"]) == {"no null"}
    assert nobody["top_k"].notna().all()


def test_the_score_that_is_judged_is_that_of_those_who_have_a_null():
    results = table_of_scores(("ridge",)).query("control == 'decoder' and pool == 'all'")
    strong = results["subject"] == "a"
    results = results.assign(
        top_k=np.where(strong, 0.9, results["null_mean"]), null_high=results["null_high"].mask(strong)
    )
    row = summarize(results).iloc[0]
    assert row["top_k"] > row["null_high"], "the one who is not judged lifts the mean"
    assert (row["verdict"], row["n_without_null"]) == ("at chance", 2)


def test_a_summary_keeps_the_order_and_refuses_to_mix_several_k():
    results = table_of_scores(("ridge", "encoder", "clip"))
    assert pd.unique(summarize(results)["estimator"]).tolist() == ["ridge", "encoder", "clip"]
    other = results.assign(k=results["k"].mask(results["estimator"] == "clip", 5))
    assert summarize(other).groupby("estimator")["k"].unique().explode().to_dict() == {
        "ridge": 10, "encoder": 10, "clip": 5
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"of 'encoder' is of k = \[5, 10\]"):
        summarize(
            results.assign(
                k=results["k"].mask((results["estimator"] == "encoder") & (results["fold"] == 1), 5)
            )
        )
    with pytest.raises(ValueError, match="several k"):
        compare_estimators(other, score="top_k")
    assert len(compare_estimators(other, score="top_10")) == 3
    assert [label.get_text() for label in plot_scores(other).get_xticklabels()][-1] == "clip, k = 5"


def test_a_table_of_a_benchmark_brings_people_chance_and_null():
    results = table_of_scores()
    own = scores_over(
        results[(results["control"] == "decoder") & (results["pool"] == "all")], by=["estimator", "subject"]
    )
    ax = plot_scores(results)
    drawn = [c.get_offsets()[:, 1] for c in ax.collections if len(c.get_offsets()) == 4]
    for points, name in zip(drawn, ["ridge", "encoder"], strict=True):
        np.testing.assert_allclose(points, own.loc[name, "score"])
    assert {"chance 10.0 %", "95 % of the null"} <= {text.get_text() for text in ax.get_legend().get_texts()}
    shades = [c.get_paths()[0].get_extents() for c in ax.collections if len(c.get_offsets()) != 4]
    shades = [box for box in shades if box.height > 0.01 and box.width > 0.5]
    null = scores_over(
        results[(results["control"] == "decoder") & (results["pool"] == "all")], by=["estimator"]
    )
    np.testing.assert_allclose([box.ymax for box in shades], null["null_high"])
    np.testing.assert_allclose([box.ymin for box in shades], null["null_low"])


def test_each_person_stands_over_a_null_of_their_own():
    results = table_of_scores()
    own = scores_over(
        results[(results["control"] == "decoder") & (results["pool"] == "all")], by=["estimator", "subject"]
    )
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


def test_chance_that_differs_is_drawn_at_each():
    results = table_of_scores()
    results.loc[results["estimator"] == "ridge", "chance"] = 0.05
    labels = [text.get_text() for text in plot_scores(results).get_legend().get_texts()]
    assert "chance 5.0 to 10.0 %" in labels


def test_a_comparison_shows_the_differences_that_are_tested():
    results = table_of_scores()
    row = compare_estimators(results, "ridge", "top_k").iloc[0]
    ax = plot_comparison(results, "ridge")
    points = ax.collections[0].get_offsets()[:, 0]
    assert points.mean() == pytest.approx(row["mean_difference"])
    assert len(points) == row["n_subjects"] == 4
    assert ax.containers[0][0].get_xdata()[0] == pytest.approx(row["mean_difference"])
    assert f"p = {row['p_holm']:.2g} (least possible {row['smallest_p_holm']:.2g})" in ax.texts[0].get_text()


def test_a_leaking_control_is_marked():
    ax = plot_controls(table_of_scores(leak="ridge"))
    assert [text.get_text() for text in ax.texts] == ["LEAK", "LEAK"]  # the decoder and its control
    assert not plot_controls(table_of_scores()).texts
    assert "surrogate\n(must be at chance)" in [tick.get_text() for tick in ax.get_yticklabels()]


@pytest.mark.parametrize(("column", "values", "scale"), [
    ("minutes", [1.0, 2.0, 8.0], "log"), ("n_subjects", [1, 2, 4], "log"), ("value", [-0.1, 0.0, 0.1], "linear"),
    ("value", ["theta", "alpha", "delta"], "linear"),
])  # fmt: skip
def test_a_curve_is_the_mean_of_its_people_beside_chance(column, values, scale):
    curve = curve_of(column, values)
    ax = plot_curve(curve, label="ridge")
    line = ax.containers[0][0]
    np.testing.assert_allclose(line.get_ydata(orig=False), [0.21, 0.31, 0.41])
    chance = next(line for line in ax.lines if line.get_label() == "chance")
    np.testing.assert_allclose(chance.get_ydata(), 0.1)
    assert ax.get_xscale() == scale
    assert len([line for line in ax.lines if line.get_alpha()]) == 3, "a line for each person"
    plot_curve(curve.assign(top_k=0.5), label="other", ax=ax)
    assert ax.containers[1][0].get_color() == COLORS[1]
    assert sum(line.get_label() == "chance" for line in ax.lines) == 1
    if isinstance(values[0], str):
        assert [tick.get_text() for tick in ax.get_xticklabels()] == values, "names keep their order"


def test_decisions_have_a_chance_of_one_half():
    scores = pd.DataFrame({"length": [1, 1, 10, 10], "subject": list("abab"), "accuracy": [0.6, 0.7, 0.8, 0.9],
                           "chance": 0.5, "n_decisions": 9})  # fmt: skip
    ax = plot_curve(scores)
    np.testing.assert_allclose(ax.containers[0][0].get_ydata(orig=False), [0.65, 0.85])
    chance = next(line for line in ax.lines if line.get_label() == "chance")
    np.testing.assert_allclose(chance.get_ydata(), 0.5)
    assert ax.get_xlabel() == "seconds of a decision"
    with pytest.raises(ValueError, match="must have the columns"):
        plot_curve(scores, x="minutes")
    # Folds of few decisions count for less.
    folds = pd.concat([scores.assign(fold=0), scores.assign(fold=1, accuracy=0.0, n_decisions=1)])
    ax = plot_curve(folds)
    np.testing.assert_allclose(ax.containers[0][0].get_ydata(orig=False), np.array([0.65, 0.85]) * 0.9)


# --- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_candidates", "bins"), [(30, 20), (7, 20), (100, 10)])
def test_bars_of_ranks_are_shares_of_windows(n_candidates, bins):
    ranks = np.random.default_rng(0).integers(0, n_candidates, 200)
    edges, share, chance = rank_shares(ranks, n_candidates, bins)
    assert share.sum() == pytest.approx(1)
    assert chance.sum() == pytest.approx(1)
    for i in range(len(share)):
        assert share[i] == pytest.approx(np.mean((ranks >= edges[i]) & (ranks < edges[i + 1])))
    every = rank_shares(np.arange(n_candidates), n_candidates, bins)
    np.testing.assert_allclose(every[1], every[2])  # all ranks equally often is chance


def test_the_histogram_draws_these_bars_and_chance():
    answers = answers_of()
    ax = plot_ranks(answers, bins=10)
    _, share, chance = rank_shares(answers.ranks, answers.n_candidates, 10)
    bars = [patch for patch in ax.patches if isinstance(patch, matplotlib.patches.Rectangle)]
    np.testing.assert_allclose([bar.get_height() for bar in bars], share)
    np.testing.assert_allclose(next(p for p in ax.patches if p not in bars).get_data().values, chance)


def test_a_sentence_is_the_similarities_of_one_person_in_order():
    answers = answers_of(gain=20.0)
    rows, columns = longest_sentence(answers)
    assert answers.rows.iloc[rows]["subject"].nunique() == 1
    assert answers.rows.iloc[rows]["sequence"].nunique() == 1
    np.testing.assert_array_equal(columns, answers.target[rows])
    ax = plot_similarity(answers)
    part = answers.scores[rows]
    part = (part - part.mean(1, keepdims=True)) / part.std(1, keepdims=True)
    np.testing.assert_allclose(ax.images[0].get_array(), part[:, columns], atol=1e-5)
    assert ax.get_title() == "a: 6 of 6 right, 1.0 by chance"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [f"w{i}" for i in range(6)]
    with pytest.raises(ValueError, match="two distinct segments"):
        plot_similarity(answers, rows=[0])


def test_confusions_of_words_are_one_where_nothing_is_known():
    flat = answers_of(gain=0.0)
    flat = replace(flat, scores=np.zeros_like(flat.scores))
    np.testing.assert_allclose(word_confusions(flat), 1)
    sure = word_confusions(answers_of(gain=30.0), n_words=4)
    assert sure.shape == (4, 4)
    np.testing.assert_allclose(np.diag(sure), 6, rtol=1e-3)  # certain, of six words that are equally frequent
    ax = plot_words(answers_of(), n_words=4)
    np.testing.assert_allclose(ax.images[0].get_array(), word_confusions(answers_of(), n_words=4))
    wordless = replace(flat, candidates=flat.candidates.drop(columns="word"))
    with pytest.raises(ValueError, match="two words"):
        word_confusions(wordless)


# --- heads -------------------------------------------------------------------------------------------


def test_sensors_at_one_place_are_averaged_and_unknown_ones_left_out():
    positions = [[0.5, 0.5], [0.5, 0.5], [0.2, 0.5], [0.8, 0.5], [0.5, 0.9], [np.nan, np.nan]]
    values, places = places_of([1, 3, 5, 6, 7, 100], positions)
    assert sorted(values) == [2, 5, 6, 7]
    np.testing.assert_allclose(places[values == 2], 0, atol=1e-12)  # the middle of the head
    assert places[values == 7][0, 1] > 0  # nose up
    with pytest.raises(ValueError, match="four places"):
        places_of([1, 2, 3], [[0.1, 0.1], [0.2, 0.4], [0.4, 0.2]])
    with pytest.raises(ValueError, match=r"positions\[0\]"):
        places_of([1, 2], np.zeros((1, 2, 2)))


def test_a_topography_is_highest_where_the_values_are():
    rng = np.random.default_rng(0)
    positions = rng.uniform(0.2, 0.8, (40, 2))
    ax = plot_topography(np.exp(-np.square(positions - [0.3, 0.6]).sum(1) / 0.02), positions, "r")
    image = np.ma.filled(ax.images[0].get_array(), -1)
    y, x = np.unravel_index(image.argmax(), image.shape)
    assert x < 0.45 * image.shape[1]  # left
    assert y > 0.5 * image.shape[0]  # front
    assert ax.images[0].get_clim() == pytest.approx((0, 1), abs=0.3)
    assert plot_topography(positions[:, 0] - 0.5, positions).images[0].get_clim()[0] < 0, "zero in the middle"


def test_attention_is_that_of_the_module_without_dropout():
    import torch

    from sk_b2s import BrainEncoder, RidgeDecoder, Windows

    rng = np.random.default_rng(0)
    positions = rng.uniform(size=(9, 2))
    X = Windows.from_array(rng.normal(size=(40, 9, 20)).astype(np.float32), positions=positions)
    encoder = BrainEncoder(
        hidden=4, depth=2, n_virtual_channels=5, max_epochs=1, k=3, validation=None, random_state=0, verbose=0
    ).fit(X, rng.normal(size=(40, 3)))
    module = encoder.net_.module_.spatial_attention.train()
    values = attention_map(encoder, positions)
    assert module.training, "left as it was"
    weights = module.eval().weights(torch.as_tensor(positions, dtype=torch.float32)[None])[0]
    np.testing.assert_allclose(values, 9 * weights.mean(0).detach().numpy(), rtol=1e-5)
    assert np.mean(values) == pytest.approx(1)
    partly = np.where(np.arange(9)[:, None] < 2, np.nan, positions)
    assert np.isnan(attention_map(encoder, partly)).sum() == 2
    assert np.nanmean(attention_map(encoder, partly, virtual=2)) == pytest.approx(1)
    assert plot_attention(encoder, positions).get_title() == "mean of all virtual channels"
    with pytest.raises(ValueError, match="spatial_attention=True"):
        attention_map(RidgeDecoder(), positions)

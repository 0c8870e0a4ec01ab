"""Tests of CalibratedDecoder and of curves over calibration durations."""

import time
import warnings
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers.decoders import Adapting, planted
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    CalibratedDecoder,
    CovarianceAlignment,
    FeatureScaler,
    LeaveOneSubjectOut,
    PrecomputedFeatures,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusKFold,
    benchmark,
    compare_estimators,
    generate_methods_text,
    mean_and_sem,
    read_results,
    retrieval_scores,
    retrieve,
    run_controls,
    summarize,
    write_report,
)
from sk_b2s._utils._estimators import find_decoder_in_estimator, was_estimator_interrupted
from sk_b2s.evaluation._controls._inputs import make_control_speech_inputs
from sk_b2s.plotting import plot_adaptation, plot_scores
from sk_b2s.reporting import _html
from sk_b2s.reporting._scores_text import format_scores

FAST = {"k": 5, "n_shifts": 50, "verbose": 0, "n_candidates": None}
AMOUNTS = [0, 0.3, np.inf]


def speech():
    return make_pipeline(PrecomputedFeatures(), FeatureScaler())


@pytest.fixture(scope="module")
def listeners():
    """Three subjects with different stimuli and different sensor mixing."""
    X, y = planted(0.0, 0.5, n_recordings=3, n=100)
    rng = np.random.default_rng(1)
    signals = [(signal @ np.linalg.qr(rng.standard_normal((6, 6)))[0]).astype("f4") for signal in X.signals]
    X = X._replace(signals=signals, rows=X.rows.assign(subject="s" + X.rows["recording"].str[1:]))
    return X, y, (X.rows["subject"] == "s2").to_numpy()


def made(listeners, own=30):
    """Training rows, the calibration mask and test rows."""
    new = np.flatnonzero(listeners[2])
    train = np.r_[np.flatnonzero(~listeners[2]), new[:own]]
    return train, listeners[2][train], new[50:]


KINDS = {
    "alone": Adapting(speech()),
    "pipeline": make_pipeline(RobustChannelScaler(), Adapting(speech())),
    "search": GridSearchCV(
        make_pipeline(RobustChannelScaler(), Adapting(speech())), {"adapting__alphas": [(1.0,), (1e3,)]},
        scoring=retrieval_scores, refit="top_k", cv=StimulusKFold(2),
    ),
}  # fmt: skip


# --- what it is made of ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_calibrated_decoder_equals_fit_and_adapt(listeners, kind):
    X, y, _ = listeners
    train, own, test = made(listeners)
    decoder = CalibratedDecoder(KINDS[kind], "ridge").fit(X[train], y.iloc[train], calibration=own)
    base = clone(KINDS[kind]).fit(X[train[~own]], y.iloc[train[~own]])
    base = getattr(base, "best_estimator_", base)
    steps, last = (base[:-1], base[-1]) if kind != "alone" else (None, base)
    through = (lambda X: X) if steps is None else steps.transform
    adapted = last.adapt(through(X[train[own]]), y.iloc[train[own]], "ridge")
    asked, heard = through(X[test]), y.iloc[test]
    np.testing.assert_array_equal(decoder.similarity(X[test], heard), adapted.similarity(asked, heard))
    np.testing.assert_array_equal(decoder.transform(X[test]), adapted.transform(asked))
    np.testing.assert_array_equal(decoder.predict(X[test]), adapted.predict(asked))
    np.testing.assert_array_equal(decoder.predict_proba(X[test], heard), adapted.predict_proba(asked, heard))
    np.testing.assert_array_equal(decoder.ranks(X[test], heard)[0], adapted.ranks(asked, heard)[0])
    assert decoder.score(X[test], heard) == adapted.score(asked, heard)
    assert decoder.decoder_.method_ == "ridge"
    assert decoder.n_calibration_ == own.sum()
    assert "s2" not in last.subjects_, "the decoder of the others is left as it was"
    answers = retrieve(decoder, X[test], heard)
    np.testing.assert_array_equal(answers.scores, adapted.similarity(asked, heard))
    assert retrieval_scores(decoder, X[test], heard)["top_k"] == decoder.score(X[test], heard)


@pytest.mark.parametrize("kind", KINDS)
def test_method_none_and_scratch_equal_subsets(listeners, kind):
    X, y, _ = listeners
    train, own, test = made(listeners)
    for method, rows in (("none", train[~own]), ("scratch", train[own])):
        decoder = CalibratedDecoder(KINDS[kind], method).fit(X[train], y.iloc[train], calibration=own)
        alone = clone(KINDS[kind]).fit(X[rows], y.iloc[rows])
        expected = retrieve(alone, X[test], y.iloc[test]).scores
        np.testing.assert_array_equal(retrieve(decoder, X[test], y.iloc[test]).scores, expected)


def test_fit_without_calibration_rows(listeners):
    X, y, new = listeners
    expected = CalibratedDecoder(KINDS["alone"], "none").fit(X[~new], y[~new]).transform(X[new])
    for method in ("auto", "ridge", "layer", "all"):
        decoder = CalibratedDecoder(KINDS["alone"], method)
        with pytest.warns(
            UserWarning, match="Nothing is adapted .*, because fit got no .* benchmark.cv=LeaveOneSub"
        ):
            decoder.fit(X[~new], y[~new])
        np.testing.assert_array_equal(decoder.transform(X[new]), expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decoder.fit(X[~new], y[~new], calibration=np.zeros((~new).sum(), bool))
        np.testing.assert_array_equal(decoder.transform(X[new]), expected)
    with pytest.raises(ValueError, match="Leave 0 minutes out"):
        CalibratedDecoder(KINDS["alone"], "scratch").fit(X, y)


def test_cross_validate_warns_without_calibration(listeners):
    X, y, _ = listeners
    decoder, folds = (
        CalibratedDecoder(KINDS["alone"], "ridge"),
        LeaveOneSubjectOut(1, calibration_minutes=0.3),
    )
    with pytest.warns(UserWarning, match="cross_validate does not") as said:
        cross_val_score(decoder, X, y, cv=folds)
    assert len(said) == 3


@pytest.mark.parametrize("routing", [False, True])
def test_calibrated_decoder_as_last_step(listeners, routing):
    X, y, _ = listeners
    train, own, test = made(listeners)
    pipe = make_pipeline(RobustChannelScaler(), CalibratedDecoder(Adapting(speech()), "layer"))
    with sklearn.config_context(enable_metadata_routing=routing):
        name = "calibration" if routing else "calibrateddecoder__calibration"
        pipe.fit(X[train], y.iloc[train], **{name: own})
        found = pipe.predict(X[test], candidates=y.iloc[test])
    around = CalibratedDecoder(KINDS["pipeline"], "layer").fit(X[train], y.iloc[train], calibration=own)
    np.testing.assert_array_equal(found, around.predict(X[test], y.iloc[test]))


# --- what is shared ----------------------------------------------------------------------------------


def test_memory_shares_fit_among_methods(listeners, tmp_path):
    X, y, _ = listeners
    Adapting.fits = 0
    for own in (10, 30):
        train, mask, test = made(listeners, own)
        for method in ("ridge", "layer", "none"):
            fit = CalibratedDecoder(KINDS["pipeline"], method, memory=tmp_path).fit
            kept = fit(X[train], y.iloc[train], calibration=mask)
            assert Adapting.fits == 1
            without = CalibratedDecoder(KINDS["pipeline"], method).fit(
                X[train], y.iloc[train], calibration=mask
            )
            Adapting.fits = 1
            np.testing.assert_array_equal(kept.transform(X[test]), without.transform(X[test]))
    again = clone(KINDS["pipeline"]).set_params(adapting__alphas=(10.0,))
    CalibratedDecoder(again, "none", memory=tmp_path).fit(X[train], y.iloc[train], calibration=mask)
    assert Adapting.fits == 2, "another estimator is another fit"
    CalibratedDecoder(again, "none", memory=tmp_path).fit(
        X[train[1:]], y.iloc[train[1:]], calibration=mask[1:]
    )
    assert Adapting.fits == 3, "and so are other rows"


class LoggedRidge(RidgeDecoder):
    """Ridge decoder that writes down each fit."""

    def __init__(self, log=None, k=1):
        super().__init__(k=k)
        self.log = log

    def fit(self, X, y):
        with Path(self.log).open("a") as file:
            file.write("fit\n")
        time.sleep(0.2)
        return super().fit(X, y)


def fit_cached(folder):
    X, y = (np.random.default_rng(seed).standard_normal((12, 3)) for seed in range(2))
    decoder = CalibratedDecoder(LoggedRidge(str(folder / "log")), "none", folder)
    return decoder.fit(X, y, calibration=np.arange(12) > 8).transform(X)


def test_calibrated_decoder_fits_once_among_processes(tmp_path):
    work = joblib.Parallel(3, backend="multiprocessing", batch_size=1)
    first, *others = work(joblib.delayed(fit_cached)(tmp_path) for _ in range(3))
    for other in others:
        np.testing.assert_array_equal(other, first)
    assert (tmp_path / "log").read_text() == "fit\n"


def test_memory_drops_interrupted_fits(listeners, tmp_path):
    X, y, _ = listeners
    train, own, _ = made(listeners)

    class Stopped(Adapting):
        def fit(self, X, y):
            super().fit(X, y).interrupted_ = True
            return self

    with pytest.raises(KeyboardInterrupt):
        CalibratedDecoder(Stopped(speech()), "none", tmp_path).fit(X[train], y.iloc[train], calibration=own)
    assert not list(tmp_path.rglob("output.pkl"))
    decoder = CalibratedDecoder(Stopped(speech()), "ridge").fit(X[train], y.iloc[train], calibration=own)
    assert was_estimator_interrupted(decoder)


# --- with benchmark, plots and report ----------------------------------------------------------------


@pytest.fixture(scope="module")
def curve(listeners, tmp_path_factory):
    """A benchmark over amounts of calibration."""
    X, y, _ = listeners
    folder = tmp_path_factory.mktemp("curve")
    pipe = make_pipeline(RobustChannelScaler(), CovarianceAlignment(), Adapting(speech()))
    estimators = {
        "adapted": CalibratedDecoder(pipe, "ridge", folder),
        "average": CalibratedDecoder(pipe, "none", folder),
        "plain": Adapting(speech()),
    }
    cv = LeaveOneSubjectOut(1, calibration_minutes=AMOUNTS)
    Adapting.fits = 0
    results = benchmark(estimators, X, y, cv, folder / "results.jsonl", controls=["shifted_labels"], **FAST)
    return cv, estimators, results, folder


def test_benchmark_passes_calibration(listeners, curve):
    X, y, _ = listeners
    cv, estimators, results, folder = curve
    for fold, (train, test) in enumerate(cv.split(X, y)):
        own = X.rows["subject"].to_numpy()[train] == X.rows["subject"].iloc[test[0]]
        decoder = clone(estimators["adapted"]).fit(X[train], y.iloc[train], calibration=own)
        mine = results.query(f"estimator == 'adapted' and control == 'decoder' and fold == {fold}")
        assert mine["top_k"].item() == decoder.score(X[test], y.iloc[test])
        assert mine["calibration_minutes"].item() == AMOUNTS[fold % 3]
        assert mine["calibration_minutes_used"].item() * 60 <= 60 * AMOUNTS[fold % 3]
        assert (mine["calibration_minutes_used"].item() > 0) == own.any()
    means = (
        results.query("control == 'decoder'").groupby(["estimator", "calibration_minutes"])["top_k"].mean()
    )
    assert means["adapted", np.inf] > means["adapted", 0] + 0.3
    np.testing.assert_allclose(means["average"], means["average", 0])
    assert (results["verdict"] != "error").all()
    pd.testing.assert_frame_equal(read_results(folder / "results.jsonl"), results)


def test_controls_of_calibrated_decoder_at_chance(listeners, curve):
    X, y, _ = listeners
    _, estimators, results, _ = curve
    assert not results["verdict"].eq("leak").any()
    folds = list(LeaveOneSubjectOut(1, calibration_minutes=np.inf).split(X, y))
    table = run_controls(
        estimators["adapted"], X, y, folds, ["decoder", "phase_randomized", "shifted_labels"], n_shifts=100
    )
    assert table.loc["decoder", "verdict"] == "above_null"
    assert table["verdict"].tolist()[1:] == ["at_null"] * 2


def test_benchmark_names_transductive_steps(listeners, curve):
    X, y, _ = listeners
    results = curve[2]
    said = results.drop_duplicates("estimator").set_index("estimator")["transductive_steps"]
    assert said["adapted"] == said["average"] == "RobustChannelScaler, CovarianceAlignment"
    assert said["plain"] == ""
    nearest = make_pipeline(RobustChannelScaler(), Adapting(speech(), unseen_subject="nearest"))
    both = {
        "ridge": CalibratedDecoder(nearest, "ridge"),
        "none": CalibratedDecoder(nearest, "none"),
        "plain": nearest,
        "last": make_pipeline(RobustChannelScaler(), CalibratedDecoder(Adapting(speech()), "ridge")),
    }
    found = benchmark(both, X, y, LeaveOneSubjectOut(1, calibration_minutes=AMOUNTS), controls=False, **FAST)
    said = found.set_index(["estimator", "calibration_minutes"])["transductive_steps"]
    assert (said["last"] == "RobustChannelScaler").all()
    said = said.str.contains("unseen_subject='nearest'")
    assert said["ridge"].groupby("calibration_minutes").all().tolist() == [True, False, False]
    assert said["none"].all()
    assert said["plain"].groupby("calibration_minutes").all().tolist() == [True, False, False]


def test_benchmark_names_steps_of_best_estimator(listeners):
    X, y, _ = listeners
    pipe = make_pipeline(RobustChannelScaler(), "passthrough", Adapting(speech()))
    grids = {
        "nearest": {"adapting__unseen_subject": ["nearest"]},
        "recentred": {"passthrough": [CovarianceAlignment()]},
        "both, and it is not taken": {"passthrough": [CovarianceAlignment(), "passthrough"]},
    }

    def no_recentring(estimator, X, y):
        return -float(isinstance(estimator[1], CovarianceAlignment))

    searches = {
        name: GridSearchCV(pipe, grid, scoring=no_recentring, cv=StimulusKFold(2))
        for name, grid in grids.items()
    }
    nearest = clone(pipe).set_params(adapting__unseen_subject="nearest")
    searches["calibrated"] = GridSearchCV(
        CalibratedDecoder(nearest),
        {"method": ["none"]},
        scoring=retrieval_scores,
        refit="top_k",
        cv=StimulusKFold(2),
    )
    cv = LeaveOneSubjectOut(1, calibration_minutes=np.inf)
    found = benchmark(searches, X, y, cv, controls=False, only=0, **FAST).set_index("estimator")[
        "transductive_steps"
    ]
    cv = LeaveOneSubjectOut(1)
    strange = benchmark(searches, X, y, cv, controls=False, only=0, **FAST).set_index("estimator")[
        "transductive_steps"
    ]
    assert strange["nearest"] == "RobustChannelScaler, unseen_subject='nearest'"
    assert strange["recentred"] == "RobustChannelScaler, CovarianceAlignment"
    assert strange["both, and it is not taken"] == "RobustChannelScaler"
    assert found["nearest"] == "RobustChannelScaler"
    assert found["calibrated"] == "RobustChannelScaler, unseen_subject='nearest'"


def test_summarize_keeps_amounts_separate(curve):
    _, _, results, _ = curve
    table = summarize(results)
    mine = table.query("estimator == 'adapted' and control == 'decoder'").set_index("calibration_minutes")
    assert list(mine.index) == AMOUNTS
    assert (mine["n_subjects"] == 3).all()
    for minutes in AMOUNTS:
        alone = summarize(results[results["calibration_minutes"] == minutes])
        assert "calibration_minutes" not in alone
        alone = alone.query("estimator == 'adapted' and control == 'decoder'").iloc[0]
        pd.testing.assert_series_equal(alone, mine.loc[minutes][alone.index], check_names=False)
    means = mean_and_sem(results, "top_k")
    assert means.loc[("adapted", "decoder", "", "all", np.inf), "mean"] == pytest.approx(
        mine.loc[np.inf, "top_k"]
    )
    with pytest.raises(
        ValueError, match=r"several amounts of calibration, \[0.0, 0.3, inf\] minutes. Select one"
    ):
        compare_estimators(results)
    assert len(compare_estimators(results[results["calibration_minutes"] == 0.3], score="top_k")) == 3
    said = generate_methods_text(results)
    n_windows = results.query("estimator == 'plain' and control == 'decoder' and calibration_minutes == 0")[
        "n_windows"
    ]
    assert f"Decoding was tested on {n_windows.sum()} windows (" in said
    assert "used without labels to fit RobustChannelScaler and CovarianceAlignment." in said
    assert "adapted, 0.3 min: top-5 accuracy" in said
    assert "adapted, all minutes: top-5 accuracy" in said
    assert "all minutes" in format_scores(table)


def test_plot_adaptation_shows_every_amount(curve):
    _, _, results, _ = curve
    ax = plot_adaptation(results)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.3", "all"]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["95 % of the nulls", "chance", "adapted", "average", "plain"]
    drawn = {line.get_label(): line for line in ax.containers}
    means = mean_and_sem(results.query("estimator == 'adapted' and control == 'decoder'"), "top_k")["mean"]
    np.testing.assert_allclose(drawn["adapted"][0].get_ydata().astype(float), means.to_numpy())
    assert "adapted, 0.3 min" in [
        tick.get_text().replace("\n", " ") for tick in plot_scores(results).get_xticklabels()
    ]
    with pytest.raises(ValueError, match="must have calibration durations"):
        plot_adaptation(results.drop(columns="calibration_minutes"))
    plt.close("all")


def hollow(line):
    return line.get_markerfacecolor() == "white"


def test_plot_adaptation_marks_missing_subjects(curve):
    results = curve[2].query("control == 'decoder'")
    lost = (results["subject"] == "s1") & (results["calibration_minutes"] == np.inf)
    for some in (
        results[~(lost & (results["estimator"] == "average"))],
        results.assign(top_k=results["top_k"].mask(lost & (results["estimator"] == "average"))),
    ):
        with pytest.warns(
            UserWarning, match="1 of 9 points .* fewer than 3 subjects.* 'average', all minutes, over 2"
        ):
            ax = plot_adaptation(some)
        assert ax.get_title() == "mean ± s.e.m. of 3 subjects"
        mine = [bars[0] for bars in ax.containers if bars[0].get_color() == ax.containers[1][0].get_color()]
        assert [(hollow(line), line.get_linestyle(), len(line.get_xdata())) for line in mine] == [
            (False, "-", 2), (True, "None", 1)
        ]  # fmt: skip
        assert not any(hollow(bars[0]) for bars in ax.containers if bars[0] not in mine)
    nameless = results.assign(top_k=results["top_k"].mask(results["estimator"] == "plain"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = plot_adaptation(nameless)
    assert "plain" not in [text.get_text() for text in ax.get_legend().get_texts()]
    plt.close("all")


def test_plot_adaptation_rejects_unplottable_rows(curve):
    results = curve[2]
    with pytest.raises(ValueError, match=r"Got 'top_3' instead. The columns are \['study', 'estimator'"):
        plot_adaptation(results, "top_3")
    with pytest.raises(ValueError, match="Of 27 rows, 27 are of fits that failed, the first with Oh"):
        plot_adaptation(results.assign(error="Oh"))
    with pytest.raises(ValueError, match="Of 0 rows"):
        plot_adaptation(results[:0])


def test_report_contains_adaptation_curve(curve, tmp_path, monkeypatch):
    monkeypatch.setattr(_html, "_draw_svg", lambda drawn, alt: "")  # the text is the subject
    results = curve[2]
    page = write_report(results, tmp_path / "report.html").read_text()
    assert "Calibration to the test subject" in page
    assert "adapted, all minutes" in page
    assert "several amounts of calibration" in page
    one = write_report(results[results["calibration_minutes"] == 0.3], tmp_path / "one.html").read_text()
    assert "Calibration to the test subject" not in one


def test_benchmark_row_has_error_of_calibration(listeners):
    X, y, _ = listeners
    scratch = {"scratch": CalibratedDecoder(RidgeDecoder(speech(), lags=(0, 0), alphas=(1.0,)), "scratch")}
    with pytest.warns(FitFailedWarning, match="Leave 0 minutes out"):
        results = benchmark(
            scratch, X, y, LeaveOneSubjectOut(1, calibration_minutes=AMOUNTS), controls=False, **FAST
        )
    assert (results["verdict"] == "error").tolist() == [True, False, False] * 3
    summary = summarize(results)
    assert summary["calibration_minutes"].tolist() == [0.3, np.inf]
    assert [tick.get_text() for tick in plot_adaptation(results).get_xticklabels()] == ["0.3", "all"]
    plt.close("all")


def test_calibrated_brain_encoder(listening, tiny_pipeline, tmp_path):
    """Rows of the benchmark equal fit and adapt, with one fit of networks."""
    X, y = (table.iloc[::3].reset_index(drop=True) for table in listening)
    pipe = tiny_pipeline(max_epochs=1, unseen_subject="nearest")
    estimators = {name: CalibratedDecoder(pipe, name, tmp_path) for name in ("none", "ridge", "layer", "all")}
    cv = LeaveOneSubjectOut(1, calibration_minutes=[0, np.inf])
    results = benchmark(estimators, X, y, cv, controls=False, **{**FAST, "n_shifts": 10})
    assert len(list(tmp_path.rglob("output.pkl"))) == 2
    assert (results["error"] == "").all()
    results = results[results["control"] == "decoder"].groupby(["estimator", "fold"])["top_k"].agg(list)
    assert results["none"].tolist() == [results["none"][fold - fold % 2] for fold in range(4)]
    for fold, (train, test) in enumerate(cv.split(X, y)):
        own = (X["subject"].iloc[train] == X["subject"].iloc[test[0]]).to_numpy()
        if not own.any():
            assert results["ridge", fold] == results["layer", fold] == results["none", fold]
            continue
        base = clone(pipe).set_params(encoder__random_state=0).fit(X.iloc[train[~own]], y.iloc[train[~own]])
        windows, heard = base[:-1].transform(X.iloc[train[own]]), y.iloc[train[own]]
        for method in ("ridge", "layer", "all"):
            adapted = base[-1].adapt(windows, heard, method=method)
            answers = retrieve(adapted, base[:-1].transform(X.iloc[test]), y.iloc[test])
            condition = answers.rows["condition"].fillna("").to_numpy()
            hits = pd.Series(answers.ranks < 5).groupby(condition, sort=False).mean()
            assert results[method, fold] == pytest.approx(hits.tolist())


def test_find_decoder_in_calibrated_decoder():
    decoder, prefix = find_decoder_in_estimator(CalibratedDecoder(KINDS["search"]))
    assert isinstance(decoder, Adapting)
    assert prefix == "estimator__estimator__adapting__"
    other = make_control_speech_inputs(CalibratedDecoder(KINDS["pipeline"], "ridge"), PrecomputedFeatures())
    assert isinstance(find_decoder_in_estimator(other)[0].speech, PrecomputedFeatures)
    assert other.k == 5


ERRORS = {
    "rows": (lambda X, y, new: CalibratedDecoder(Adapting(speech())).fit(X, y, calibration=[1, 2]), ValueError,
             r"boolean mask of 300 rows. Got int64 of shape \(2,\)"),
    "numbers": (lambda X, y, new: CalibratedDecoder(Adapting(speech())).fit(X, y, calibration=new.astype(int)),
                ValueError, "boolean mask of 300 rows"),
    "everybody": (lambda X, y, new: CalibratedDecoder(Adapting(speech())).fit(X, y, calibration=new | True),
                  ValueError, "no rows of other subjects are left"),
    "part of a person": (
        lambda X, y, new: CalibratedDecoder(Adapting(speech())).fit(X, y, calibration=new & (np.arange(300) % 2 == 0)),
        ValueError, "calibration marks 50 of 100 rows of subject 's2', .* Mark all rows of a new subject"),
    "nameless": (lambda X, y, new: CalibratedDecoder(Adapting(k=1)).fit(
                     np.zeros((300, 2)), np.zeros((300, 2)), calibration=new), ValueError,
                 r"marks 100 of 300 rows of subject '', .* Windows.from_array\(X, rows="),
    "no adapt": (lambda X, y, new: CalibratedDecoder(RidgeDecoder(speech())).fit(X, y, calibration=new), TypeError,
                 "method='auto' requires a decoder with a method adapt, .* RidgeDecoder does not have it"),
    "method": (lambda X, y, new: CalibratedDecoder(Adapting(speech()), "lora").fit(X, y), ValueError, "'method'"),
    "no decoder": (lambda X, y, new: CalibratedDecoder(FeatureScaler()).fit(X, y), TypeError, "must be a decoder"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_calibrated_decoder_rejects_bad_input(listeners, name):
    function, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        function(*listeners)

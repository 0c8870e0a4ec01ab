"""Tests of the classification of windows and of their averages."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    EnsembleDecoder,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusArray,
    StimulusKFold,
    Windows,
    cross_val_classification,
    mean_and_sem,
)
from sk_b2s.evaluation._classification._classifiers import TemplateClassifier, balance_classifier
from sk_b2s.evaluation._classification._scores import compute_class_scores, draw_classification_score_shifts

RATE = 10.0
CV = StimulusKFold(2, gap=0)


def simulate(distance=1.0, n=600, share=0.5, subjects="ab", gap=None, seed=0):
    """Windows of two classes, whose means differ by ``distance``.

    ``gap`` are the seconds between onsets after a window of each class.
    """
    rng = np.random.default_rng(seed)
    is_b = rng.random(n) < share
    steps = np.full(n, 0.5) if gap is None else np.where(is_b, gap[1], gap[0]) + rng.uniform(0, 0.05, n)
    onset = np.tile((np.cumsum(steps) - steps).round(6), len(subjects))
    speech = np.repeat(np.where(is_b, 0.5, -0.5), 5)[:, None]
    data = rng.standard_normal((len(subjects), len(speech), 2))
    data[:, :, :1] += distance / np.sqrt(5) * speech  # of all five samples together
    which = np.repeat(np.arange(len(subjects)), n)
    start = np.tile(np.arange(n) * 5, len(subjects))
    rows = pd.DataFrame({
        "subject": np.array(list(subjects))[which], "recording": "run", "onset": onset, "duration": 0.5,
    })  # fmt: skip
    sounds = pd.DataFrame({
        "sound": StimulusArray(speech, RATE), "sound_onset": start / RATE, "duration": 0.5, "segment": start,
        "block": start // 200,
    })  # fmt: skip
    X = Windows(list(data), which, start, 5, RATE, rows=rows)
    y = Windows([speech], 0 * which, start, 5, RATE, rows=sounds)
    return X, y, np.tile(np.where(is_b, "b", "a"), len(subjects))


def make_lda():
    return make_pipeline(
        RobustChannelScaler(clip=None), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    )


@pytest.mark.parametrize("route", ["classifier", "templates"])
def test_averages_raise_scores_by_root_n(route):
    distance = 0.8
    X, y, labels = simulate(distance, n=2000)
    estimator = make_lda() if route == "classifier" else RidgeDecoder(lags=(0, 0), alphas=(1e-3,), k=1)
    scores = cross_val_classification(estimator, X, y, labels, CV, n_averaged=(1, 4, 16), n_shifts=5)
    own = scores[scores["control"] == "decoder"]
    means = mean_and_sem(own, "balanced_accuracy")
    for n in (1, 4, 16):
        expected = norm.cdf(distance * np.sqrt(n) / 2)
        assert means["mean"].xs(n, level="n_averaged").item() == pytest.approx(expected, abs=0.03)
    np.testing.assert_allclose(own["f1_macro"], own["balanced_accuracy"], atol=0.03)  # equal frequencies
    assert (own["n_averages"] <= own["n_windows"] / own["n_averaged"]).all()
    assert (own["f1_macro"] > own["null_high"]).all()
    assert (own["chance"] == 0.5).all()
    timing = scores.loc[scores["control"] == "timing_only", "balanced_accuracy"]  # equal intervals
    assert abs(timing.mean() - 0.5) < 0.1


def test_classification_of_noise_is_within_its_null():
    X, y, labels = simulate(0, share=0.8, n=400)
    scores = cross_val_classification(make_lda(), X, y, labels, StimulusKFold(4, gap=0), n_shifts=40)
    own = scores[scores["control"] == "decoder"]
    assert own["f1_macro"].between(own["null_low"] - 1e-9, own["null_high"] + 1e-9).mean() >= 0.75
    assert own["null_mean"].mean() < 0.49, "the chance level is a limit"  # other draws give 0.46
    assert abs(own["balanced_accuracy"].mean() - 0.5) < 0.06


def test_timing_only_finds_classes_in_intervals():
    X, y, labels = simulate(0, gap=(0.6, 1.2))
    scores = cross_val_classification(make_lda(), X, y, labels, CV, n_averaged=[1, 4], n_shifts=0)
    means = mean_and_sem(scores, "f1_macro")["mean"]
    assert (means.loc["timing_only"] > 0.95).all()
    assert (abs(means.loc["decoder"] - 0.5) < 0.1).all()
    assert scores["null_high"].isna().all()


def test_classification_selects_classes_and_subjects():
    X, y, labels = simulate(3, n=400)
    labels = labels.astype(object)
    labels[:5] = "rare"
    labels[10:20] = None
    with pytest.warns(UserWarning, match="1 classes are left out, .* fewer than 10 test windows .*: rare"):
        scores = cross_val_classification(make_lda(), X, y, labels, CV, n_averaged=(1, 10), n_shifts=0)
    assert (scores["n_classes"] == 2).all(), "the same classes for all n"
    unseen = [(np.flatnonzero(X.rows["subject"] == "a"), np.flatnonzero(X.rows["subject"] == "b"))]
    with pytest.raises(ValueError, match="Use per_subject=False for unseen"):
        cross_val_classification(make_lda(), X, y, labels, unseen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scores = cross_val_classification(make_lda(), X, y, labels, unseen, per_subject=False, n_shifts=0)
    assert scores["subject"].tolist() == ["b", "b"]
    assert scores["f1_macro"][0] > 0.75
    with pytest.raises(ValueError, match="0 classes with 1000 or more"):
        cross_val_classification(make_lda(), X, y, labels, CV, n_averaged=1000)
    with pytest.raises(ValueError, match="n_averaged must be an integer of 1 or more, got 0"):
        cross_val_classification(make_lda(), X, y, labels, CV, n_averaged=(1, 0))
    ensemble = EnsembleDecoder(
        [("one", RidgeDecoder(lags=(0, 0), k=1)), ("two", RidgeDecoder(lags=(0, 0.1), k=1))]
    )
    with pytest.raises(TypeError, match="EnsembleDecoder does not estimate speech features"):
        cross_val_classification(ensemble, X, y, labels, CV)
    with pytest.raises(TypeError, match="must be a classifier or decoder"):
        cross_val_classification(RobustChannelScaler(), X, y, labels, CV)


def test_templates_do_not_prefer_a_frequent_class():
    labels = np.repeat(["often", "rare"], [40, 10])
    targets = np.where(labels == "often", 1.0, -1.0)[:, None] * np.ones((50, 3))
    classifier = TemplateClassifier(targets, targets, labels)  # perfect in training
    shrunk = targets.mean(0) + 0.1 * (targets - targets.mean(0))
    assert (classifier.predict(shrunk) == labels).all()


def test_class_scores_of_known_counts():
    found = compute_class_scores(np.array([0, 0, 0, 1]), np.array([0, 0, -1, 1]), 2)
    assert found == {
        "f1_macro": pytest.approx((0.8 + 1) / 2),
        "balanced_accuracy": pytest.approx((2 / 3 + 1) / 2),
    }
    assert balance_classifier(LinearDiscriminantAnalysis(), list("aab")).priors.tolist() == [0.5, 0.5]
    assert balance_classifier(RidgeClassifier(), list("aab")).class_weight == "balanced"


def test_label_shifts_are_longer_than_a_window():
    rows = pd.DataFrame({
        "subject": "a", "recording": np.repeat(["x", "y"], 30), "onset": np.tile(np.arange(30) * 0.25, 2), "duration": 1.0,
    })  # fmt: skip
    orders = draw_classification_score_shifts(rows, 50, 0)
    assert (np.sort(orders, axis=1) == np.arange(60)).all()
    distance = abs(orders - np.arange(60))
    assert distance.min() >= 4
    assert (orders[:, :30] < 30).all(), "within recordings"
    assert len(draw_classification_score_shifts(rows[::8], 50, 0)) == 50  # windows that do not overlap
    assert len(draw_classification_score_shifts(rows[:6], 50, 0)) == 0

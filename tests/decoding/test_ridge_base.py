"""Tests of the selection of the regularization parameter."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from sk_b2s import (
    ForwardTRF,
    RidgeDecoder,
    Windows,
)
from sk_b2s.decoding._ridge_base import _sum_fold_moments, extend_ridge_alphas, find_better_ridge_alpha
from sk_b2s.decoding._ridge_solver import RidgeMoments

SFREQ = 10


def listened(noise=1.0, n=120, n_channels=12, subjects=("a", "b"), seed=0):
    """Smooth speech and channels that follow it in noise, so alpha matters."""
    rng = np.random.default_rng(seed)
    speech = np.cumsum(rng.standard_normal((n, 2, 30)), axis=2)
    speech -= speech.mean(2, keepdims=True)
    brain = noise * np.cumsum(rng.standard_normal((n, n_channels, 30)), axis=2)
    brain += np.einsum("nft,fc->nct", np.roll(speech, 1, axis=2), rng.standard_normal((2, n_channels)))
    brain += 0.3 * rng.standard_normal(brain.shape)
    rows = pd.DataFrame({"subject": np.repeat(subjects, n // len(subjects))})
    return Windows.from_array(brain.astype("f4"), rows=rows, sfreq=SFREQ), speech.astype("f4")


def make(kind, **parameters):
    if kind is RidgeDecoder:
        parameters["k"] = 1
    return kind(lags=(0, 0.3), **parameters)


def said_by(estimator, X, y):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        estimator.fit(X, y)
    return [str(one.message) for one in said if one.category is ConvergenceWarning]


KINDS = pytest.mark.parametrize("kind", [RidgeDecoder, ForwardTRF])


CLEAR = {"noise": 0.1, "n": 12, "seed": 1}


POOR = {RidgeDecoder: {"noise": 3.0, "n": 24, "seed": 2}, ForwardTRF: {"noise": 10.0, "n": 24, "seed": 3}}


@KINDS
@pytest.mark.parametrize(
    ("alphas", "word"),
    [
        pytest.param((1e-4, 1e-3, 1e-2), "higher", id="high"),
        pytest.param((1e-3, 1e-2, 1e-4), "higher", id="in any order"),
        pytest.param((1e-9, 1e-8, 1e-7), "higher", id="flat within"),
        pytest.param(np.array([1e2, 1e3, 1e4]), "lower", id="low"),
        pytest.param((1e9, 1e10, 1e11), "lower", id="flat above"),
    ],
)
def test_fit_warns_of_best_alpha_at_edge(kind, alphas, word):
    X, y = listened(**(POOR[kind] if word == "higher" else CLEAR))
    estimator, wide = make(kind, alphas=alphas), make(kind)
    (text,) = said_by(estimator, X, y)
    assert said_by(wide, X, y) == []
    outside = wide.alpha_ > max(alphas) if word == "higher" else wide.alpha_ < min(alphas)
    assert outside.all(), "the right strength is outside"
    assert f"{word} values than the" in text
    assert f"Add {word} values" in text
    for subject, score, alpha in zip("ab", estimator.cv_scores_.max(1), estimator.alpha_, strict=True):
        assert f"subject {subject!r} ({score:.3f} at alpha={alpha:g}, " in text


@KINDS
@pytest.mark.parametrize("seed", range(3))
def test_fit_does_not_warn_of_wide_search(kind, seed):
    """Also if the best alpha of a subject is at the end of a flat curve."""
    assert said_by(make(kind), *listened(3.0, n=40, seed=seed)) == []


@KINDS
def test_fit_does_not_warn_of_few_alphas(kind):
    X, y = listened(**CLEAR)
    assert said_by(make(kind, alphas=(1e2, 1e3)), X, y) == []
    assert said_by(make(kind, alphas=(1e3,)), X, y) == []


def test_alphas_warning_names_subjects():
    (X, y), (other, heard) = listened(**CLEAR), listened(**POOR[RidgeDecoder])
    rows = pd.DataFrame({"subject": ["clear"] * 6 + ["poor"] * 12})
    both = Windows.from_array(
        np.concatenate([np.asarray(X)[:6], np.asarray(other)[:12]]), rows=rows, sfreq=SFREQ
    )
    (text,) = said_by(
        make(RidgeDecoder, alphas=(1e-4, 1e-3, 1e-2)), both, np.concatenate([y[:6], heard[:12]])
    )
    assert "subject 'poor'" in text
    assert "subject 'clear'" not in text


@KINDS
def test_fit_warns_of_no_relation(kind):
    """Subjects with opposite responses have a relation only one by one."""
    X, y = listened(0.0, n=24, n_channels=2)
    data = np.concatenate([np.asarray(X)[:12], -np.asarray(X)[:12]])
    y = np.concatenate([y[:12], y[:12]])
    rows = pd.DataFrame({"subject": np.repeat(["a", "b"], 12)})
    both = Windows.from_array(data, rows=rows, sfreq=SFREQ)
    (text,) = said_by(make(kind, per_subject=False), both, y)
    assert "found no relation between X and y for all subjects together" in text
    assert said_by(make(kind), both, y) == []
    (text,) = said_by(make(kind, alphas=(1.0, 10.0)), Windows.from_array(data, sfreq=SFREQ), y)
    assert "found no relation between X and y for all rows (" in text


def test_extend_alphas_stays_within_precision():
    assert extend_ridge_alphas((1e-12, 1.0, 1e12)) == []
    assert extend_ridge_alphas((1e-300, 1e-200, 1e-100))[0] >= 1e-12
    assert extend_ridge_alphas((1.0, 1.0, 1.0, 2.0)) == []


def test_find_better_ridge_alpha_needs_all_folds():
    tried = [1.0, 2.0, 3.0, 0.1, 30.0]

    def found(*beyond):
        return find_better_ridge_alpha(
            3, 3.0, tried, np.array([[0.1, 0.2, 0.3, 0.0, score] for score in beyond])
        )

    assert found(0.4, 0.5) == (30.0, pytest.approx(0.45))
    assert np.isnan(found(0.29, 0.9)).all(), "one fold is worse"
    assert np.isnan(found(0.31, 0.31)).all(), "flat"
    assert np.isnan(find_better_ridge_alpha(3, 3.0, tried, -np.array([[0.1, 0.2, 0.3, 0.4, 0.05]]))).all(), (
        "nothing"
    )


def test_fold_moments_equal_direct_sums():
    values, read = np.random.default_rng(0).standard_normal((12, 2)), []
    rows = np.arange(2, 12)

    def moments(rows):
        read.extend(rows)
        x = values[rows]
        return RidgeMoments(len(x), x.sum(0), x.sum(0), x.T @ x, x.T @ x, np.square(x).sum(0))

    folds = [(rows[4:], rows[:3]), (rows[:5], rows[6:]), (rows[5:], rows[:2])]
    found = _sum_fold_moments(moments, rows, folds)
    assert sorted(read) == list(rows)  # each row is read once
    expected = [
        moments(rows),
        *(moments(test) for _, test in folds),
        *(moments(np.setdiff1d(rows, np.concatenate(fold))) for fold in folds),
    ]
    for one, other in zip([found[0], *found[1], *found[2]], expected, strict=True):
        for name, value in vars(other).items():
            np.testing.assert_allclose(getattr(one, name), value, atol=1e-12)

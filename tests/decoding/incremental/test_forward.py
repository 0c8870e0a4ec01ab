"""Tests of forward models on the moments of several calls."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sk_b2s import ForwardTRF, StimulusArray, Windows, average_trfs, concat_windows, load, save
from sk_b2s.features import PrecomputedFeatures

FITTED = ("coef_", "intercept_", "mean_", "alpha_", "cv_scores_", "positions_")
BANDS = {"bands": {"a": 1, "b": 2}, "alphas": [(0.01, 3.0)]}


def make_parts(sfreq=20, n=14):
    """Two parts with other subjects, stimuli, scales and offsets."""
    rng, parts = np.random.default_rng(0), []
    for place, subjects in enumerate([("b", "c"), ("a", "b")]):
        story = StimulusArray(rng.standard_normal((120, 3)) + [1, 5, 9 * place], 20, f"story {place}")
        y = pd.DataFrame(
            {
                "sound": [story] * n,
                "sound_onset": np.arange(n) * 0.4,
                "duration": 0.95,
                "segment": n * place + np.arange(n),
            }
        )
        rows = pd.DataFrame({"subject": np.repeat(subjects, n // 2)})
        data = (1 + place) * rng.standard_normal((n, 4, round(0.95 * sfreq) + 1)) + 30 * place
        positions = rng.random((4, 2))
        positions[place] = np.nan
        X = Windows.from_array(data, rows=rows, sfreq=sfreq, ch_names=list("wxyz"), positions=positions)
        parts.append((X, y))
    return parts


def join(parts):
    return concat_windows([X for X, _ in parts]), pd.concat([y for _, y in parts], ignore_index=True)


def assert_equal_models(one, other):
    for name in FITTED + ("band_alphas_",) * hasattr(other, "band_alphas_"):
        found, expected = getattr(one, name), getattr(other, name)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.nanmax(np.abs(expected)))
    assert one.subjects_.tolist() == other.subjects_.tolist()
    assert vars(one).keys() - {"moments_"} == vars(other).keys()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"per_subject": False},
        BANDS,
        {"bands": [1, 2], "n_ratios": 1},
        {"lags": (0.1, 0.3)},
        {"lags": (-2.0, -1.8)},
    ],
    ids=["context", "together", "bands", "equal bands", "late", "beyond"],
)
@pytest.mark.parametrize("sfreq", [20, 40])
def test_partial_fit_equals_fit_on_all_rows(params, sfreq):
    """Lags read the stimulus beyond windows, and the mean beyond its ends."""
    parts = make_parts(sfreq)
    trf = ForwardTRF(PrecomputedFeatures(), **{"lags": (-0.2, 0.3), "alphas": (0.1,), **params})
    whole = clone(trf).fit(*join(parts))
    for part in parts:
        trf.partial_fit(*part)
    assert_equal_models(trf, whole)
    X, y = join(parts)
    subjects = X.rows["subject"].to_numpy()
    np.testing.assert_allclose(trf.predict(y, subjects), whole.predict(y, subjects), rtol=1e-3, atol=1e-3)
    found, expected = trf.stimulus_intervals_.intervals, whole.stimulus_intervals_.intervals
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in found)


def test_partial_fit_of_arrays_equals_fit():
    rng = np.random.default_rng(1)
    eeg, speech = rng.standard_normal((20, 3, 30)) + 7, rng.standard_normal((20, 2, 15)) - 3
    trf = ForwardTRF(lags=(-0.4, 0.6), alphas=(0.1,), sfreq=10)
    whole = clone(trf).fit(eeg, speech)
    for first in (0, 1, 12):  # single windows, too
        rows = slice(first, {0: 1, 1: 12, 12: 20}[first])
        trf.partial_fit(eeg[rows], speech[rows])
    np.testing.assert_allclose(trf.coef_, whole.coef_, atol=1e-6)
    np.testing.assert_allclose(trf.intercept_, whole.intercept_, atol=1e-5)


def test_partial_fit_continues_after_load(tmp_path):
    parts = make_parts()
    trf = ForwardTRF(PrecomputedFeatures(), **BANDS).partial_fit(*parts[0])
    save(trf, tmp_path / "trf.safetensors")
    loaded = load(tmp_path / "trf.safetensors").partial_fit(*parts[1])
    np.testing.assert_array_equal(loaded.coef_, trf.partial_fit(*parts[1]).coef_)
    changed = trf.set_params(bands=None, alphas=(10.0,)).partial_fit(*parts[1])
    assert not hasattr(changed, "band_alphas_")
    once = clone(trf).fit(*join([*parts, parts[1]]))
    np.testing.assert_allclose(changed.coef_, once.coef_, atol=1e-6)
    for other in (once, average_trfs([changed])):
        with pytest.raises(ValueError, match="cannot continue after fit"):
            other.partial_fit(*parts[0])


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"alphas": (0.1, 1.0)}, "selection among 2 alphas compares"),
        ({"alphas": (0.1,), "bands": [1, 2]}, "1 alphas with 20 ratios .* one row with a value for each"),
        ({"alphas": [(0.1, 1.0), (1.0, 0.1)], "bands": [1, 2]}, "among 2 alphas compares"),
    ],
)
def test_partial_fit_is_absent_with_selection(params, text):
    trf = ForwardTRF(**params)
    assert not hasattr(trf, "partial_fit")
    with pytest.raises(AttributeError) as caught:
        _ = trf.partial_fit
    assert re.search(text, str(caught.value.__cause__))


@pytest.mark.parametrize(
    ("params", "change", "text"),
    [
        ({"lags": (0, 0.4)}, None, "lags=.* differs from the former calls"),
        ({"per_subject": False}, None, "per_subject=False differs"),
        ({}, "names", "channels of the first call"),
        ({}, "length", "but the first call of partial_fit was given"),
        ({}, "nan", "X contains NaN"),
        ({}, "empty", "has no windows"),
    ],
)
def test_partial_fit_refuses_changes(params, change, text):
    parts = make_parts()
    trf = ForwardTRF(PrecomputedFeatures(), alphas=(0.1,)).partial_fit(*parts[0])
    before, (X, y) = trf.coef_.copy(), parts[1]
    if change == "names":
        X = X._replace(ch_names=list("zyxw"))
    elif change == "length":
        X = Windows.from_array(np.asarray(X)[..., :-4], rows=X.rows, sfreq=20)
        y = y.assign(duration=0.75)
    elif change == "nan":
        data = np.asarray(X)
        data[3, 2, 1] = np.nan
        X = Windows.from_array(data, rows=X.rows, sfreq=20)
    elif change == "empty":
        X, y = X[:0], y[:0]
    with pytest.raises(ValueError, match=text):
        trf.set_params(**params).partial_fit(X, y)
    np.testing.assert_array_equal(trf.coef_, before)
    assert len(trf.stimulus_intervals_.intervals) == 1


@pytest.mark.parametrize(
    "params", [{"bands": [2, 1], "alphas": [(0.01, 3.0)]}, {"bands": None, "alphas": (0.01,)}]
)
def test_partial_fit_refits_all_models_with_new_bands(params):
    """Models of subjects without new windows are fitted again, too."""
    parts = make_parts()
    trf = ForwardTRF(PrecomputedFeatures(), **BANDS).partial_fit(*parts[0]).set_params(**params)
    trf.partial_fit(*parts[1])
    whole = clone(trf).fit(*join(parts))
    assert_equal_models(trf, whole)
    assert trf.feature_sets_ == whole.feature_sets_


def test_partial_fit_adds_bands():
    parts = make_parts()
    trf = ForwardTRF(PrecomputedFeatures(), alphas=(0.1,)).partial_fit(*parts[0])
    assert_equal_models(trf.set_params(**BANDS).partial_fit(*parts[1]), clone(trf).fit(*join(parts)))


def test_partial_fit_ignores_constant_channels():
    """Rounding of sums gives them no weights."""
    (X, y), _ = make_parts()
    data = X.gather(np.arange(14)).numpy()
    data[:, 3] = 5e-6
    X = Windows.from_array(data, rows=X.rows, sfreq=20)
    trf = ForwardTRF(PrecomputedFeatures(), alphas=(0.1,))
    trf.partial_fit(X[:3], y[:3]).partial_fit(X[3:], y[3:])
    assert trf.coef_.any((1, 2)).tolist() == [[True, True, True, False]] * 2
    np.testing.assert_allclose(trf.intercept_[:, 3], 5e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_beyond_windows_are_finite(value):
    """A call that raises changes no sums."""
    rng = np.random.default_rng(0)
    speech, eeg = rng.standard_normal((2, 200, 1)).astype(np.float32)
    lost = speech.copy()
    lost[2] = value
    good, bad, X = (
        Windows([signal], np.zeros(8, int), 5 + 20 * np.arange(8), 10, sfreq=10)
        for signal in (speech, lost, eeg)
    )
    trf = ForwardTRF(lags=(0, 0.5), alphas=(0.1,))
    for method in (trf.fit, trf.partial_fit):
        with pytest.raises(ValueError, match=r"y contains NaN or infinity in features \[0\]"):
            method(X, bad)
    trf.partial_fit(X, good)
    with pytest.raises(ValueError, match="y contains NaN"):
        trf.partial_fit(X, bad)
    np.testing.assert_allclose(trf.partial_fit(X, good).coef_, clone(trf).fit(X, good).coef_, atol=1e-6)

"""Tests of ridge regression on the moments of several calls."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.windows import make_planted_windows
from sklearn.base import clone
from sklearn.utils import estimator_checks

from sk_b2s import RidgeDecoder, StimulusArray, Windows, concat_windows, load, save
from sk_b2s.features import PrecomputedFeatures

SMALL = {"lags": (-0.02, 0.04), "alphas": (0.1,), "k": 1}
FITTED = ("coef_", "intercept_", "mean_", "patterns_")


def make_halves(**changes):
    """Two parts with other subjects, scales and offsets of channels."""
    one, y_one = make_planted_windows(30, n_times=24, subjects=("b", "c"))
    two, y_two = make_planted_windows(20, n_times=24, subjects=("a", "b"), seed=1)
    parts = []
    for place, (X, y) in enumerate([(one, y_one), (two, y_two)]):
        data = np.asarray(X) * (1 + place) + 30 * place + np.arange(5)[:, None]
        X = Windows.from_array(data, rows=X.rows, positions=X.positions[0], sfreq=100)
        parts.append((X, y[..., ::2] + 3 if changes.get("pooled") else y + 3))
    return parts


def assert_equal_models(one, other):
    for name in FITTED:
        found, expected = getattr(one, name), getattr(other, name)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert one.subjects_.tolist() == other.subjects_.tolist()
    np.testing.assert_array_equal(one.alpha_, other.alpha_)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("per_subject", [True, False])
def test_partial_fit_equals_fit_on_all_rows(per_subject, pooled):
    (one, y_one), (two, y_two) = make_halves(pooled=pooled)
    decoder = RidgeDecoder(**SMALL, per_subject=per_subject)
    X, y = concat_windows([one, two]), np.concatenate([y_one, y_two])
    whole = clone(decoder).fit(X, y)
    parts = decoder.partial_fit(one, y_one).partial_fit(two, y_two)
    assert_equal_models(parts, whole)
    np.testing.assert_array_equal(parts.segments_, whole.segments_)
    np.testing.assert_allclose(parts.transform(X), whole.transform(X), rtol=1e-3, atol=1e-3)
    assert parts.subjects_.tolist() == ["a", "b", "c"]


def test_partial_fit_continues_after_load(tmp_path):
    (one, y_one), (two, y_two) = make_halves()
    decoder = RidgeDecoder(**SMALL).partial_fit(one, y_one)
    save(decoder, tmp_path / "ridge.safetensors")
    loaded = load(tmp_path / "ridge.safetensors").partial_fit(two, y_two)
    decoder.partial_fit(two, y_two)
    for name in FITTED:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(decoder, name))
    assert not hasattr(decoder.fit(one, y_one), "moments_")
    with pytest.raises(ValueError, match="cannot continue after fit"):
        decoder.partial_fit(two, y_two)


def test_partial_fit_uses_a_new_alpha():
    (one, y_one), (two, y_two) = make_halves()
    X, y = concat_windows([one, two]), np.concatenate([y_one, y_two])
    first = RidgeDecoder(**SMALL).partial_fit(one, y_one).set_params(alphas=(10.0,)).partial_fit(two, y_two)
    assert_equal_models(first, RidgeDecoder(**{**SMALL, "alphas": (10.0,)}).fit(X, y))


def test_partial_fit_unites_tables():
    rng = np.random.default_rng(0)
    stories = [StimulusArray(rng.standard_normal((400, 2)), sfreq=100, name=name) for name in "ab"]
    table = pd.DataFrame({
        "sound": np.repeat(np.array(stories, object), 6), "sound_onset": np.tile(np.arange(6) * 0.5, 2), "duration": 0.23,
        "segment": np.arange(12), "recording": "one", "onset": np.arange(12.0),
    })  # fmt: skip
    X = Windows.from_array(rng.standard_normal((12, 3, 24)), rows=table.assign(subject="a")[["subject", "recording", "onset", "duration"]], sfreq=100)  # fmt: skip
    decoder = RidgeDecoder(PrecomputedFeatures(), **SMALL)
    whole = clone(decoder).fit(X, table)
    parts = decoder.partial_fit(X[:7], table[:7]).partial_fit(X[5:], table[5:])
    pd.testing.assert_frame_equal(parts.segments_, whole.segments_)
    for name in ("stimulus_intervals_", "recording_intervals_"):
        found, expected = getattr(parts, name).intervals, getattr(whole, name).intervals
        assert found.keys() == expected.keys()
        assert all(np.allclose(found[key], expected[key]) for key in found)


def test_partial_fit_warns_of_audio_in_new_recordings():
    rng = np.random.default_rng(0)
    speech = rng.standard_normal((40, 1, 40)).astype("f4")
    brain = rng.standard_normal((40, 6, 40)).astype("f4")
    brain[20:, 4] = np.roll(speech[20:, 0], 2, axis=1)
    onset = 5.0 * np.arange(40)
    story = StimulusArray(np.zeros((2000, 1)), 10, "noise")
    heard = pd.DataFrame(
        {"sound": [story] * 40, "sound_onset": onset, "duration": 4.0, "segment": np.arange(40)}
    )
    rows = pd.DataFrame(
        {
            "recording": np.repeat(["a.fif", "b.fif"], 20),
            "subject": "01",
            "onset": onset,
            "duration": 4.0,
        }
    )
    X, y = Windows.from_array(brain, rows=rows, sfreq=10), Windows.from_array(speech, rows=heard, sfreq=10)
    decoder = RidgeDecoder(alphas=(1.0,), k=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder.partial_fit(X[:20], y[:20])
    with pytest.warns(UserWarning, match="Channels of X that hold the sound, counted from 0: 4"):
        decoder.partial_fit(X, y)


def test_partial_fit_keeps_state_if_segments_differ():
    (one, y_one), (two, y_two) = make_halves()
    one_y, two_y = (Windows.from_array(part, sfreq=100) for part in (y_one, y_two))
    decoder = RidgeDecoder(**SMALL).partial_fit(one, one_y).partial_fit(one, one_y)
    assert len(decoder.segments_) == len(one)
    assert decoder.segments_.signals[0] is one_y.signals[0]
    frames = {name: sums.n_frames for name, sums in decoder.moments_.items()}
    with pytest.raises(ValueError, match="kind of rows"):
        decoder.partial_fit(two, two_y._replace(rows=two.rows))
    assert {name: sums.n_frames for name, sums in decoder.moments_.items()} == frames
    assert decoder.subjects_.tolist() == ["b", "c"]


@pytest.mark.parametrize(
    ("params", "text"),
    [({"alphas": (0.1, 1.0)}, "requires a single alpha"), ({"n_components": 3}, "n_components=None")],
)
def test_partial_fit_is_absent_with_selection(params, text):
    decoder = RidgeDecoder(**{**SMALL, **params})
    assert not hasattr(decoder, "partial_fit")
    with pytest.raises(AttributeError) as caught:
        _ = decoder.partial_fit
    assert text in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("params", "change", "text"),
    [
        ({"lags": (0, 0.04)}, {}, "lags=.* differs from the former calls"),
        ({"per_subject": False}, {}, "per_subject=False differs"),
        ({}, {"sfreq": 50}, "50 Hz"),
        ({}, {"nan": True}, "NaN"),
        ({}, {"features": True}, "1 features x 24 frames"),
    ],
)
def test_partial_fit_refuses_changes(params, change, text):
    (one, y_one), (two, y_two) = make_halves()
    decoder = RidgeDecoder(**SMALL).partial_fit(one, y_one)
    before = decoder.coef_.copy()
    if "nan" in change:
        data = np.asarray(two)
        data[3, 2, 1] = np.nan
        two = Windows.from_array(data, rows=two.rows, sfreq=100)
    two = two._replace(sfreq=50) if "sfreq" in change else two
    y_two = y_two[:, :1] if "features" in change else y_two
    with pytest.raises(ValueError, match=text):
        decoder.set_params(**params).partial_fit(two, y_two)
    np.testing.assert_array_equal(decoder.coef_, before)
    assert len(decoder.segments_) == 30


@pytest.mark.parametrize(
    "check",
    [
        "check_estimators_partial_fit_n_features",
        "check_n_features_in_after_fitting",
        "check_dataframe_column_names_consistency",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_partial_fit_passes_checks_of_sklearn(check):
    getattr(estimator_checks, check)("RidgeDecoder", RidgeDecoder(alphas=(1.0,), k=1))

"""Leaks by shared samples and by decoders that were trained elsewhere."""

import functools

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import FAST, people, ridge
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sk_b2s import (
    RidgeDecoder,
    StimulusArray,
    StimulusKFold,
    StimulusLeakWarning,
    Windows,
    benchmark,
    check_leakage,
    load,
    make_segments,
    retrieval_scores,
    retrieve,
    run_controls,
    save,
)
from sk_b2s.model_selection._exposure import find_exposure

ONE = ridge(k=3, alphas=(1.0,))
QUIET = {"controls": False, "n_candidates": None, "k": 3, **FAST}


class Given(BaseEstimator, TransformerMixin):
    """Step that holds an object."""

    def __init__(self, inner=None):
        self.inner = inner

    def fit(self, X, y=None):
        self.held_ = {"deep": [self.inner]}
        return self

    def transform(self, X):
        return X


class Uncloned(Given):
    """A step that clone does not copy."""

    def __sklearn_clone__(self):
        return self


class Shared(Given):
    """A step whose class holds a decoder."""

    found = None


@pytest.fixture(scope="module")
def study():
    X, y = people(n_recordings=2, n=60, together=2)
    return X, y, ONE.fit(X, y)


def saved(decoder, folder):
    save(decoder, folder / "d.safetensors")
    return load(folder / "d.safetensors")


HOLDERS = {
    "frozen": FrozenEstimator,
    "end of a pipeline": lambda d: make_pipeline(Given(), FrozenEstimator(d)),
    "pipeline in a pipeline": lambda d: make_pipeline(Given(), make_pipeline(Given(), FrozenEstimator(d))),
    "parameter of a step": lambda d: make_pipeline(Given(FrozenEstimator(d)), ONE),
    "not cloned": lambda d: make_pipeline(Uncloned(d), ONE),
    "closure": lambda d: make_pipeline(FunctionTransformer(functools.partial(lambda X, held: X, held=d)), ONE),
    "search": lambda d: GridSearchCV(
        Pipeline([("g", Uncloned(d)), ("d", ONE)]), {"d__alphas": [(1.0,)]}, cv=StimulusKFold(2),
        scoring=retrieval_scores, refit="top_k",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOLDERS)
@pytest.mark.filterwarnings("ignore::sk_b2s.model_selection._leak_warning.StimulusLeakWarning")
def test_find_exposure_of_nested_decoder(study, name):
    X, y, decoder = study
    results = benchmark({"held": HOLDERS[name](decoder)}, X, y, StimulusKFold(2), **QUIET)
    assert (results["error"] == "").all(), results["error"].iloc[0]
    assert set(results["verdict"]) == {"leak"}
    assert set(results["leak_sources"]) == {"sound of training"}
    folds = results.groupby("fold")[["n_windows", "n_train_overlap"]].agg(
        {"n_windows": "sum", "n_train_overlap": "first"}
    )
    assert (folds["n_train_overlap"] == folds["n_windows"]).all()
    assert results["leakage"].str.contains(r"the fitted estimator was trained on \(").all()


def test_find_exposure_of_clean_folds(study):
    X, y, decoder = study
    results = benchmark({"one": make_pipeline(Given(ONE), ONE)}, X, y, StimulusKFold(2), **QUIET)
    assert (results["n_train_overlap"] == 0).all()
    assert set(results["verdict"]) == {"above_null"}
    train, test = next(StimulusKFold(2).split(X, y))
    elsewhere = ridge(k=3, alphas=(1.0,)).fit(X[train], y.iloc[train])  # trained on other sound alone
    held = benchmark({"held": FrozenEstimator(elsewhere)}, X, y, [(train, test)], **QUIET)
    assert set(held["verdict"]) == {"above_null"}
    random = benchmark(ONE, X, y, KFold(2, shuffle=True, random_state=0), **QUIET)
    assert random["leakage"].str.match(r"LEAK: \d+ % of the test windows contain sound").all()


def test_find_exposure_names_attribute(study, tmp_path):
    X, y, decoder = study
    table = y.iloc[:5]
    found = find_exposure(make_pipeline(Given(), FrozenEstimator(saved(decoder, tmp_path))), table)
    assert found.where == ["steps[1][1].estimator.stimulus_intervals_"]
    assert found.rows.all()
    Shared.found = decoder
    try:
        assert find_exposure(Shared().fit(X), table).rows.all()
    finally:
        Shared.found = None
    elsewhere = table.assign(sound=StimulusArray(np.zeros(100), 10, "other"))
    assert not find_exposure(decoder, elsewhere).where
    assert not find_exposure(decoder, np.zeros((5, 3))).rows.any()


def test_find_exposure_of_features():
    rng = np.random.default_rng(0)
    brain, heard = rng.standard_normal((40, 4, 6)).astype("f4"), rng.standard_normal((40, 2, 6)).astype("f4")
    heard[:5] = 0.0  # windows of silence are not a stimulus
    decoder = RidgeDecoder(lags=(0, 0), alphas=(1.0,), sfreq=8, k=3).fit(brain[:20], heard[:20])
    assert find_exposure(FrozenEstimator(decoder), heard).rows.nonzero()[0].tolist() == list(range(5, 20))


def test_find_exposure_ignores_word_embeddings():
    rng = np.random.default_rng(0)
    word = rng.integers(0, 12, 120)
    heard = rng.standard_normal((12, 5))[word].astype("f4")
    brain = np.repeat(heard[:, :, None], 4, axis=2) + rng.standard_normal((120, 5, 4)).astype("f4")
    decoder = RidgeDecoder(lags=(0, 0), alphas=(1.0,), sfreq=8, k=3)
    results = benchmark(decoder, brain.mean(2), heard, KFold(2), **QUIET)
    assert (results["error"] == "").all(), results["error"].iloc[0]
    assert not results["verdict"].eq("leak").any()


def test_warn_of_exposure_in_retrieve(study):
    X, y, decoder = study
    train, test = next(StimulusKFold(2).split(X, y))
    pipe = make_pipeline(Uncloned(decoder), ridge(k=3, alphas=(1.0,))).fit(X[train], y.iloc[train])
    for ask in (retrieve, retrieval_scores):
        with pytest.warns(
            StimulusLeakWarning, match=r"a part of this Pipeline was trained on \(steps\[0\]\[1\]"
        ):
            ask(pipe, X[test], y.iloc[test])


@pytest.mark.filterwarnings("ignore::sk_b2s.model_selection._leak_warning.StimulusLeakWarning")
def test_run_controls_names_exposure(study):
    X, y, decoder = study
    options = {"controls": ["decoder"], "k": 3, "n_shifts": 50}
    held = run_controls(make_pipeline(Given(), FrozenEstimator(decoder)), X, y, StimulusKFold(2), **options)
    assert held["leak_sources"].tolist() == ["sound of training"]
    random = run_controls(ONE, X, y, KFold(2, shuffle=True, random_state=0), **options)
    assert random["leak_sources"].tolist() == ["sound of training"]
    honest = run_controls(ONE, X, y, StimulusKFold(2), **options)
    assert honest["verdict"].tolist() == ["above_null"]


# --- samples of recordings ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halves():
    """Windows of 2 s each second in two recordings, and arrays of features."""
    n, rng = 80, np.random.default_rng(1)
    signals = [rng.standard_normal((10 * (n + 1), 6)).astype("f4") for _ in range(2)]
    rows = pd.DataFrame({
        "subject": "a", "recording": np.repeat(["r0", "r1"], n), "onset": np.tile(np.arange(n) * 1.0, 2) + 3,
        "duration": 2.0,
    })  # fmt: skip
    windows = Windows(signals, np.repeat([0, 1], n), np.tile(np.arange(n) * 10, 2), 20, 10.0, rows=rows)
    cut = np.asarray(windows)
    heard = cut[:, :3] + rng.standard_normal((2 * n, 3, 20)).astype("f4")
    return windows, heard


def blocks(rows, gap):
    """Two folds of contiguous rows, seconds apart."""
    first = rows["onset"].to_numpy() < 43
    near = abs(rows["onset"].to_numpy() - 43) < gap
    return [(np.flatnonzero(side & ~near), np.flatnonzero(~side & ~near)) for side in (first, ~first)]


def test_check_leakage_of_shared_samples(halves):
    W, F = halves
    shuffled = KFold(5, shuffle=True, random_state=0)
    decoder = RidgeDecoder(lags=(0, 0), alphas=(1.0,), k=3)
    results = benchmark(decoder, W, F, shuffled, **QUIET)
    assert set(results["verdict"]) == {"leak"}
    assert set(results["leak_sources"]) == {"samples of training"}
    honest = benchmark(decoder, W, F, blocks(W.rows, 3), **QUIET)
    assert set(honest["verdict"]) == {"above_null"}
    assert (
        honest["leakage"]
        .str.startswith("no leak: no sample of a recording is on both sides; the nearest")
        .all()
    )
    table = check_leakage(W.rows, F, shuffled)
    # By hand: a window begins each second and lasts two.
    place = np.arange(80)
    for (train, test), (_, row) in zip(shuffled.split(F), table.iterrows(), strict=True):
        held = [np.isin([r * 1000 + i - 1, r * 1000 + i, r * 1000 + i + 1], train // 80 * 1000 + train % 80)
                for r, i in zip(test // 80, place[test % 80], strict=True)]  # fmt: skip
        assert row["brain_leaking"] == np.mean([one.any() for one in held])


@pytest.mark.parametrize("drop", ["nothing", "rows", "sound_onset", "all but segment"])
def test_check_leakage_by_samples_alone(halves, drop):
    W, F = halves
    shuffled = KFold(5, shuffle=True, random_state=0)
    sounds = [StimulusArray(np.zeros(50) + i, 10, str(i)) for i in range(2)]
    y = pd.DataFrame({"sound": np.repeat(pd.Series(sounds, dtype=object), 80).to_numpy(),
                      "sound_onset": np.tile(np.arange(80) * 1.0, 2), "duration": 2.0,
                      "segment": np.arange(160)})  # fmt: skip
    X = W
    if drop == "rows":  # the samples read are known
        X, y = Windows(W.signals, W.which, W.start, 20, 10.0), F
    elif drop == "sound_onset":
        y = y.drop(columns=drop)
    elif drop == "all but segment":
        y = y[["segment"]]
    else:
        X = W.rows
        y = y.drop(columns="duration")  # that of X is taken
    said = check_leakage(X, y, shuffled)["verdict_text"]
    what = "contain sound of training" if drop == "nothing" else "share samples of their recording"
    assert said.str.contains(f"LEAK: (?:100|9.) % of the test windows {what}").all()


def test_check_leakage_of_neighbors_and_arrays(halves):
    W, F = halves
    touching = [(np.arange(0, 41), np.arange(43, 80))]  # half a second between
    rows = W.rows.assign(onset=W.rows["onset"] + np.where(W.rows["onset"] > 45, -0.5, 0))
    said = check_leakage(rows, F, touching)["verdict_text"][0]
    assert said.startswith(
        "CAUTION: no sample of a recording is on both sides; the nearest training window is 0.50 s"
    )
    for X in (np.asarray(W), Windows.from_array(np.asarray(W))):
        assert check_leakage(X, F, touching)["verdict_text"][0].startswith(
            "not checked: X does not have recording"
        )
    equal = F.copy()
    equal[43] = equal[0]
    assert check_leakage(np.asarray(W), equal, touching)["verdict_text"][0].startswith(
        "LEAK: 1 segments are on both sides"
    )
    words = equal[:, :, :1]  # embeddings are equal for repetitions of a word
    assert check_leakage(np.asarray(W), words, touching)["verdict"][0] == "not_checked"
    assert check_leakage(np.asarray(W), words[:, :, 0], touching)["verdict"][0] == "not_checked"
    equal[[0, 43]] = 0.0
    assert check_leakage(np.asarray(W), equal, touching)["verdict"][0] == "not_checked"


def test_check_leakage_of_renamed_stimulus(halves):
    W, _ = halves
    cut = [
        StimulusArray(np.full(20, i), 10, str(i)) for i in range(160)
    ]  # each window was cut into a sound of its own
    y = pd.DataFrame({"sound": pd.Series(cut, dtype=object), "sound_onset": 0.0, "duration": 2.0})
    table = check_leakage(W, y, KFold(5, shuffle=True, random_state=0))
    assert (
        table["verdict_text"]
        .str.match("CAUTION: .* of the tested seconds are in training with other sound")
        .all()
    )
    assert check_leakage(W, y, blocks(W.rows, 3))["verdict"].eq("no_leak").all()


def test_check_leakage_of_feature_arrays():
    sounds = [StimulusArray(np.zeros(600) + i, 10, str(i)) for i in range(4)]
    rows = [{"type": "sound", "onset": 2.0 + 65 * i, "duration": 60.0, "sound": sounds[i],
             "subject": "a", "recording": "a.fif", "recording_duration": 300.0} for i in range(4)]  # fmt: skip
    X, y = make_segments(pd.DataFrame(rows), anchor=1.0, tmin=0, tmax=3)
    F = np.random.default_rng(0).standard_normal((len(y), 4))
    assert check_leakage(X, F, list(StimulusKFold(2).split(X, y)))["verdict"].eq("no_leak").all()

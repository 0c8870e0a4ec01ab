"""Tests of adaptation to unseen subjects."""

import copy
import os
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from sk_b2s import BrainEncoder, StimulusArray, load, save
from sk_b2s.decoding._adaptation import AdaptingNet
from sk_b2s.features._precomputed import PrecomputedFeatures
from sk_b2s.model_selection._leak_warning import StimulusLeakWarning
from sk_b2s.preprocessing._covariance_alignment import compute_covariance_distance
from sk_b2s.preprocessing._scalers import FeatureScaler, RobustChannelScaler
from sk_b2s.preprocessing._windows._windows import Windows

N_CHANNELS, N_FEATURES, N_TIMES, SFREQ = 8, 4, 60, 50
SMALL = {
    "hidden": 16, "depth": 2, "n_virtual_channels": 8, "spatial_attention": False, "max_epochs": 15, "lr": 3e-3,
    "validation": None, "random_state": 0, "verbose": 0, "k": 1,
}  # fmt: skip
RANDOM = np.random.default_rng(0)
COMMON = RANDOM.standard_normal((N_CHANNELS, N_FEATURES))
MIXINGS = {name: COMMON + 0.3 * RANDOM.standard_normal(COMMON.shape) for name in ("1", "2", "3")}
MIXINGS |= {name: COMMON + 0.8 * RANDOM.standard_normal(COMMON.shape) for name in ("new", "other")}


def person(name, n_windows=80, mixing=None, n_channels=N_CHANNELS, **more):
    """Make windows of a subject and the features of their stimuli."""
    random = np.random.default_rng(sum(map(ord, name)))
    heard = np.cumsum(random.standard_normal((n_windows, N_FEATURES, N_TIMES)), 2).astype("f4")
    heard -= heard.mean(2, keepdims=True)
    mixing = MIXINGS[name] if mixing is None else mixing
    brain = np.einsum("cf,nft->nct", mixing, np.roll(heard, 3, 2))
    brain = brain + random.standard_normal(brain.shape)
    rows = pd.DataFrame({"subject": name, "recording": name}, index=range(n_windows))
    return Windows.from_array(brain, rows=rows, sfreq=SFREQ, **more), heard


def people(*names, **more):
    """Several of them, one after the other."""
    parts = [person(name, **more) for name in names]
    rows = pd.concat([windows.rows for windows, _ in parts], ignore_index=True)
    brain = np.concatenate([np.asarray(windows) for windows, _ in parts])
    return Windows.from_array(brain, rows=rows, sfreq=SFREQ), np.concatenate([heard for _, heard in parts])


def fitted(**changes):
    return BrainEncoder(**{**SMALL, **changes}).fit(*people("1", "2", "3"))


@pytest.fixture(scope="module")
def encoder():
    return fitted(unseen_subject="nearest")


@pytest.fixture(scope="module")
def embedded():
    return fitted(subject_layer="embedding")


@pytest.fixture(scope="module")
def alike():
    return fitted(subject_layer=None)


CALIBRATION, TEST = slice(0, 50), slice(50, 80)


def minutes_of(name, part=CALIBRATION):
    X, y = person(name)
    return X[np.arange(80)[part]], y[part]


# --- after minutes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ridge", "layer", "all", "auto"])
def test_adapt_helps_only_new_subjects(encoder, method):
    X, y = people("1", "2", "3")
    before, digest = encoder.transform(X), encoder.digest()
    kept = copy.deepcopy({name: value for name, value in vars(encoder).items() if name != "net_"})
    new = encoder.adapt(*minutes_of("new"), method=method)
    assert new.score(*minutes_of("new", TEST)) > encoder.score(*minutes_of("new", TEST)) + 0.1
    np.testing.assert_array_equal(new.transform(X), before)
    np.testing.assert_array_equal(encoder.transform(X), before)
    assert encoder.digest() == digest
    assert list(encoder.subjects_) == ["1", "2", "3"]
    assert vars(encoder).keys() == kept.keys() | {"net_"}
    assert list(new.subjects_) == ["1", "2", "3", "new"]


@pytest.mark.parametrize("method", ["ridge", "layer", "all"])
def test_adapt_keeps_unseen_subjects(encoder, method):
    """Neither the average nor the nearest subject includes adapted ones."""
    X, _ = person("other")
    new = encoder.adapt(*minutes_of("new"), method=method)
    for one, other in ((encoder, new), (average(encoder), average(new))):
        np.testing.assert_array_equal(one.transform(X), other.transform(X))


def average(encoder):
    return copy.copy(encoder).set_params(unseen_subject="average")


def test_adapt_keeps_results_in_mixed_batches():
    """Also where batches are many and rounding shows."""
    encoder = fitted(
        hidden=33,
        n_virtual_channels=13,
        batch_size=32,
        max_epochs=1,
        precision="float32",
        unseen_subject="nearest",
    )
    X, _ = people("1", "new", "2", "other")
    order = np.random.default_rng(0).permutation(len(X))[:250]
    others = X.rows["subject"].to_numpy()[order] != "new"
    for method in ("ridge", "all"):
        new = encoder.adapt(*minutes_of("new"), method=method)
        before, after = encoder.transform(X[order]), new.transform(X[order])
        np.testing.assert_array_equal(after[others], before[others])
        assert (after[~others] != before[~others]).any((1, 2)).all()


def test_adapt_records_adaptations(encoder):
    new = encoder.adapt(*minutes_of("new"), method="ridge").adapt(*minutes_of("other"))
    told = new.adaptations_
    assert told["subject"].tolist() == ["new", "other"]
    assert told["method"].tolist() == ["ridge", "layer"]
    assert told["n_windows"].tolist() == [50, 50]
    np.testing.assert_allclose(told["minutes"], 50 * N_TIMES / SFREQ / 60)
    assert new.parent_ == encoder.digest() != new.digest()


def test_adapt_counts_overlapping_windows_once(encoder):
    X, y = person("new")
    twice = np.r_[np.arange(50), np.arange(25)]
    told = encoder.adapt(X[twice], y[twice], "ridge").adaptations_
    np.testing.assert_allclose(told["minutes"], 50 * N_TIMES / SFREQ / 60)


def test_adapt_auto_depends_on_duration(encoder):
    X, y = person("new", n_windows=110)
    minutes = {90: 1.8, 110: 2.2}
    methods = [encoder.adapt(X[:n], y[:n]).adaptations_["method"][0] for n in minutes]
    assert methods == ["layer", "all"]


def test_adapt_auto_without_duration_or_segments(encoder, embedded):
    X, y = person("new", n_windows=110)
    without_rate = Windows.from_array(np.asarray(X), rows=X.rows)
    told = encoder.adapt(without_rate, y).adaptations_
    assert np.isnan(told["minutes"][0])
    assert told["method"][0] == "layer"
    assert encoder.adapt(X[:1], y[:1]).adaptations_["method"].tolist() == ["ridge"]
    with pytest.raises(ValueError, match="has one. Use more calibration data[.]"):
        embedded.adapt(X[:1], y[:1])


def test_adapt_several_subjects_equals_sequence(encoder):
    first, second = minutes_of("new"), minutes_of("other")
    rows = pd.concat([first[0].rows, second[0].rows], ignore_index=True)
    both = Windows.from_array(
        np.concatenate([np.asarray(first[0]), np.asarray(second[0])]), rows=rows, sfreq=SFREQ
    )
    at_once = encoder.adapt(both, np.concatenate([first[1], second[1]]), "ridge")
    in_turn = encoder.adapt(*first, "ridge").adapt(*second, "ridge")
    X, _ = people("new", "other")
    np.testing.assert_allclose(at_once.transform(X), in_turn.transform(X), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["layer", "all"])
def test_adapt_is_reproducible(encoder, method):
    X, _ = person("new")
    one, other = (encoder.adapt(*minutes_of("new"), method=method).transform(X) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_adapt_does_not_change_encoder():
    class Counter(Callback):
        def initialize(self):
            self.n_epochs = 0
            return self

        def on_epoch_end(self, net, **kwargs):
            self.n_epochs += 1

    counter, random = Counter(), np.random.RandomState(3)
    encoder = fitted(max_epochs=2, callbacks=[counter], random_state=random)
    state = random.get_state()[1].copy()
    answers = [
        encoder.adapt(*minutes_of("new"), method="layer").transform(person("new")[0]) for _ in range(2)
    ]
    np.testing.assert_array_equal(*answers)
    np.testing.assert_array_equal(random.get_state()[1], state)
    assert counter.n_epochs == 2


@pytest.mark.parametrize("method", ["layer", "all"])
def test_adapt_raises_on_interruption(encoder, monkeypatch, method):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    digest = encoder.digest()
    monkeypatch.setattr(AdaptingNet, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoder.adapt(*minutes_of("new"), method=method)
    assert encoder.digest() == digest


@pytest.mark.parametrize("method", ["layer", "all"])
def test_adapt_uses_lr_and_max_epochs(encoder, method):
    none = encoder.adapt(*minutes_of("new"), method=method, lr=1e-12, max_epochs=1)
    ridge = encoder.adapt(*minutes_of("new"), method="ridge")
    X, _ = person("new")
    np.testing.assert_allclose(none.transform(X), ridge.transform(X), atol=1e-4)
    long = encoder.adapt(*minutes_of("new"), method=method, max_epochs=20)
    assert abs(long.transform(X) - ridge.transform(X)).max() > 0.01


def test_adapt_layer_freezes_other_weights(encoder):
    new = encoder.adapt(*minutes_of("new"), method="layer")
    before, after = encoder.net_.state(), new.net_.state()
    for name, value in before.items():
        kept = after[name][:3] if name == "subject_layer.matrices" else after[name]
        np.testing.assert_array_equal(value, kept)


@pytest.mark.parametrize("loss", ["symmetric_clip", "siglip"])
def test_adapt_estimates_have_similar_norms(loss):
    """Estimates are scaled by the temperature that was learned in fit."""
    encoder = fitted(loss=loss, max_epochs=2)
    X, _ = people("1", "new")
    for method in ("layer", "all"):
        new = encoder.adapt(*minutes_of("new"), method=method, lr=0.01, max_epochs=2)
        lengths = np.linalg.norm(new.transform(X).reshape(len(X), -1), axis=1)
        np.testing.assert_allclose(lengths, lengths[0], rtol=1e-5)


def test_adapt_ignores_repeated_windows(encoder):
    X, y = person("new")
    for twice in (np.repeat(np.arange(20), 2), np.r_[np.arange(20), np.arange(20)]):
        once, again = (encoder.adapt(X[rows], y[rows], "ridge") for rows in (np.arange(20), twice))
        layers = [new.net_.module_.subject_layer.matrices[-1].detach() for new in (once, again)]
        torch.testing.assert_close(*layers, rtol=1e-4, atol=1e-6)


def test_adapt_uses_no_dropout():
    random = np.random.default_rng(0)
    places = random.random((N_CHANNELS, 2))
    changes = {"spatial_attention": True, "spatial_dropout": 0.4, "max_epochs": 1}
    encoder = BrainEncoder(**{**SMALL, **changes}).fit(*person("1", positions=places))
    X, y = person("new", positions=places)
    answers = [encoder.adapt(X, y, "ridge").transform(X) for _ in range(3)]
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


@pytest.mark.parametrize("n_times", [1, 4])
def test_adapt_windows_of_one_frame(n_times):
    """The layer begins at the mean, and similarity to targets increases."""
    (X, y), (new, heard) = people("1", "2", "3"), person("new")
    X, new = (
        Windows.from_array(np.asarray(part)[:, :, 20 : 20 + n_times], rows=part.rows) for part in (X, new)
    )
    y, heard = (part[:, :, 18] for part in (y, heard))
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 3}).fit(X, y)
    before = np.diag(encoder.predict_proba(new, heard)).mean()
    unmoved = encoder.adapt(new, heard, "layer", lr=1e-12)
    np.testing.assert_allclose(unmoved.transform(new), encoder.transform(new), atol=1e-3)
    for method in ("layer", "all", "auto"):
        adapted = encoder.adapt(new, heard, method, lr=3e-3, max_epochs=12)
        assert np.diag(adapted.predict_proba(new, heard)).mean() > before
    with pytest.raises(ValueError, match="constant or have one frame. Use method='all'"):
        encoder.adapt(new, heard, "ridge")


def test_adapt_all_in_mixed_batches(encoder):
    new = encoder.adapt(*minutes_of("new"), method="all")
    X, _ = people("1", "new", "2")
    order = np.random.default_rng(0).permutation(len(X))
    alone, _ = person("new")
    mixed = np.empty((len(X), N_FEATURES, N_TIMES), "f4")
    mixed[order] = new.transform(X[order])
    np.testing.assert_allclose(mixed[80:160], new.transform(alone), atol=1e-5)
    np.testing.assert_allclose(mixed[:80], encoder.transform(X[:80]), atol=1e-5)


def test_adapt_without_subject_layers(embedded, alike):
    for encoder in (embedded, alike):
        new = encoder.adapt(*minutes_of("new"), method="all", lr=1e-3)
        assert new.score(*minutes_of("new", TEST)) > encoder.score(*minutes_of("new", TEST))
    new = embedded.adapt(*minutes_of("new"), method="layer")
    own = new.net_.module_.subject_layer.vectors.detach()
    assert abs(own[3] - own[:3].mean(0)).max() > 1e-3
    assert embedded.adapt(*minutes_of("new")).adaptations_["method"].tolist() == ["layer"]
    assert alike.adapt(*minutes_of("new")).adaptations_["method"].tolist() == ["all"]
    for encoder, method in ((embedded, "ridge"), (alike, "ridge"), (alike, "layer")):
        with pytest.raises(ValueError, match="Use method='all'"):
            encoder.adapt(*minutes_of("new"), method=method)


def test_adapt_accepts_other_sensors():
    random = np.random.default_rng(1)
    places = {n: random.random((n, 2)) for n in (8, 11)}
    wave = random.standard_normal((2, N_FEATURES))
    mixing = {n: np.cos(5 * place @ wave) for n, place in places.items()}
    X, y = person("1", mixing=mixing[8], positions=places[8])
    encoder = BrainEncoder(**{**SMALL, "spatial_attention": True}).fit(X, y)
    new, heard = person("new", mixing=mixing[11], positions=places[11])
    for method in ("ridge", "layer", "all"):
        adapted = encoder.adapt(new[:50], heard[:50], method)
        assert adapted.transform(new[50:]).shape == (30, N_FEATURES, N_TIMES)
        assert adapted.score(new[50:], heard[50:]) > 2 / 30


@pytest.mark.parametrize(
    "changes",
    [{"speech_embedding_dim": 6}, {"target_dim": 6, "weight_decay": 0.1, "time_dropout": 0.1}],
    ids=str,
)
def test_adapt_keeps_speech_embedding(tmp_path, changes):
    encoder = fitted(**changes, max_epochs=4)
    new = encoder.adapt(*minutes_of("new"), method="all")
    _, y = person("1")
    for name, value in encoder.net_.state().items():
        if name.startswith("speech."):
            np.testing.assert_array_equal(value, new.net_.state()[name])
    assert new.transform(person("new")[0]).shape[1] == 6
    save(new, tmp_path / "new.safetensors")
    X, _ = person("new")
    np.testing.assert_array_equal(load(tmp_path / "new.safetensors").transform(X), new.transform(X))
    np.testing.assert_array_equal(
        encoder.similarity(person("1")[0], y[:5]), new.similarity(person("1")[0], y[:5])
    )


def test_adapt_in_pipeline():
    X, y = people("1", "2", "3")
    pipeline = make_pipeline(RobustChannelScaler(), BrainEncoder(**SMALL)).fit(X, y)
    new, heard = minutes_of("new")
    adapted = pipeline[-1].adapt(pipeline[:-1].transform(new), heard, "ridge")
    assert list(adapted.subjects_) == ["1", "2", "3", "new"]


# --- tables ------------------------------------------------------------------------------------------


def table_of(heard, sound):
    """A table in which a sound holds some windows side by side."""
    data = StimulusArray(np.moveaxis(heard, 1, 2).reshape(-1, N_FEATURES), SFREQ, name=sound)
    return pd.DataFrame({
        "sound": [data] * len(heard), "sound_onset": np.arange(len(heard)) * N_TIMES / SFREQ,
        "duration": (N_TIMES - 1) / SFREQ,
        "segment": [f"{sound} {i}" for i in range(len(heard))],
    })  # fmt: skip


def test_score_warns_on_calibration_stimuli():
    (X, y), (new, heard) = people("1", "2", "3"), person("new")
    speech = make_pipeline(PrecomputedFeatures(), FeatureScaler())
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 2}, speech=speech).fit(X, table_of(y, "old"))
    table = table_of(heard, "new")
    table["segment"] = pd.factorize(table["segment"])[0] + 1000
    adapted = encoder.adapt(new[:50], table[:50], "ridge")
    np.testing.assert_allclose(adapted.adaptations_["minutes"], 50 * (N_TIMES - 1) / SFREQ / 60)
    for brain, heard_before in ((new[:50], table[:50]), (X[:50], table_of(y, "old")[:50])):
        with pytest.warns(StimulusLeakWarning):
            adapted.score(brain, heard_before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.score(new[:50], table[:50])
        adapted.score(new[51:], table[51:])


def test_score_warns_on_calibration_arrays(encoder):
    """Also stimuli of an earlier adaptation, for targets that are arrays."""
    adapted = encoder.adapt(*minutes_of("new"), method="ridge").adapt(*minutes_of("other"), method="ridge")
    for name in ("1", "new", "other"):
        with pytest.warns(StimulusLeakWarning, match="50 of 50 scored windows"):
            adapted.score(*minutes_of(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.score(*minutes_of("new"))
        adapted.score(*minutes_of("new", TEST))


# --- what fit notes for them -----------------------------------------------------------------------------


def test_shared_response_excludes_validation():
    X, y = people("1", "2", "3")
    watched = np.arange(len(y)) % 4 == 0

    class Split:
        def split(self, X, y):
            yield np.flatnonzero(~watched), np.flatnonzero(watched)

    y[watched] += 100
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1, "validation": Split()}).fit(X, y)
    np.testing.assert_allclose(encoder.shared_response_.mean, y[~watched].mean((0, 2)), atol=1e-4)


def test_shared_response_ignores_overlap():
    X, y = people("1", "2", "3")
    twice = np.r_[np.arange(len(y)), np.arange(len(y))]
    unmoved = {**SMALL, "max_epochs": 1, "lr": 1e-12}
    once, again = (
        BrainEncoder(**unmoved).fit(X[rows], y[rows]).shared_response_ for rows in (twice[: len(y)], twice)
    )
    for name in ("mean", "spread", "noise"):
        np.testing.assert_allclose(getattr(again, name), getattr(once, name), rtol=1e-4, atol=1e-6)


def test_covariances_average_recordings():
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"subject": list("1122"), "recording": list("abcc")}).loc[np.repeat(range(4), 10)]
    scale = np.array([1.0, 3.0, 1.0, 1.0])[rows.index][:, None, None]
    brain = scale * random.standard_normal((40, N_CHANNELS, N_TIMES)) + random.standard_normal(
        (40, N_CHANNELS, 1)
    )
    X = Windows.from_array(brain, rows=rows.reset_index(drop=True), sfreq=SFREQ)
    y = random.standard_normal((40, N_FEATURES, N_TIMES))
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, unseen_subject="nearest").fit(X, y)

    def covariance(part):
        with torch.no_grad():
            read = encoder.net_.module_.virtual_channels(torch.as_tensor(brain[part]).float(), None).numpy()
        return np.mean([np.cov(window, bias=True) for window in read], 0)

    first, second, third = (covariance(part) for part in (slice(10), slice(10, 20), slice(20, 40)))
    np.testing.assert_allclose(encoder.covariances_, [(first + second) / 2, third], rtol=1e-4, atol=1e-5)


# --- mistakes ----------------------------------------------------------------------------------------


def spoilt(row=None, of=0, **columns):
    """Calibration data with NaN in a row, or with other columns."""
    X, y = minutes_of("new")
    data = np.array([X, y][of])
    if row is not None:
        data[row, 2, 30] = np.nan
    if of == 1:
        return Windows.from_array(data, sfreq=SFREQ)
    return Windows.from_array(data, rows=X.rows.assign(**columns), sfreq=SFREQ), y


@pytest.mark.parametrize(
    ("calibration", "method", "message"),
    [
        (lambda: people("1", "new"), "ridge", r"X has subjects that the encoder was fitted on: \['1'\]"),
        (lambda: minutes_of("new"), "gradient", "method must be one of .*'ridge'.* Got 'gradient'"),
        (
            lambda: (minutes_of("new")[0], minutes_of("new")[1][:-1]),
            "ridge",
            "inconsistent numbers of samples",
        ),
        (
            lambda: (minutes_of("new")[0], minutes_of("new")[1][:, :3]),
            "ridge",
            "3 features x 60 frames, but fit was given 4 x 60",
        ),
        (lambda: minutes_of("new", slice(0, 1)), "layer", "subject 'new' has one.* use method='ridge'"),
        (lambda: minutes_of("new", slice(0, 0)), "ridge", "X has no windows"),
        (
            lambda: spoilt(subject=None),
            "ridge",
            r"X row 0, column 'subject': expected a name, got .* \(50 such rows\)",
        ),
        (lambda: spoilt(subject=[*["new"] * 49, np.nan]), "auto", "X row 49, column .subject.*.1 such"),
        (lambda: spoilt(row=7), "ridge", "X contains NaN or infinite values in row 7 of subject 'new'"),
        (lambda: spoilt(row=7), "all", "X contains NaN or infinite values in row 7 of subject 'new'"),
        (
            lambda: (minutes_of("new")[0], spoilt(row=3, of=1)),
            "layer",
            "y contains NaN or infinite values in row 3 of subject 'new'",
        ),
    ],
)
def test_adapt_rejects_invalid_data(encoder, calibration, method, message):
    with pytest.raises(ValueError, match=message):
        encoder.adapt(*calibration(), method=method)


@pytest.mark.parametrize("method", ["ridge", "layer", "all"])
@pytest.mark.parametrize(
    ("name", "value"), [("lr", 0), ("lr", "fast"), ("lr", np.nan), ("max_epochs", 0), ("max_epochs", 1.5)]
)
def test_adapt_validates_lr_and_max_epochs(encoder, method, name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of BrainEncoder.adapt must be"):
        encoder.adapt(*minutes_of("new"), method=method, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", "siglip"),
        ("hidden", 4),
        ("speech_embedding_dim", 5),
        ("target_dim", 5),
        ("subject_layer", None),
    ],
)
def test_adapt_rejects_changed_parameters(encoder, name, value):
    changed = copy.copy(encoder).set_params(**{name: value})
    with pytest.raises(ValueError, match=f"^{name}={value!r} was set after a fit with {name}="):
        changed.adapt(*minutes_of("new"))
    free = copy.copy(encoder).set_params(k=3, batch_size=20, unseen_subject="average", duplicates="mask")
    assert free.adapt(*minutes_of("new")).k == 3


def test_adapt_requires_names_for_unnamed():
    X, y = person("1")
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}).fit(np.asarray(X), y)
    new, heard = minutes_of("new")
    with pytest.raises(ValueError, match=r"Name the new subject with Windows.from_array\(X, rows="):
        encoder.adapt(np.asarray(new), heard)
    rows = pd.DataFrame({"subject": ["new"] * len(new)})
    assert list(encoder.adapt(Windows.from_array(np.asarray(new), rows=rows), heard).subjects_) == ["", "new"]


def test_adapt_warns_about_similar_names(encoder):
    X, y = minutes_of("new")
    for strange in ("01", "2.0"):
        renamed = Windows.from_array(np.asarray(X), rows=X.rows.assign(subject=strange), sfreq=SFREQ)
        with pytest.warns(
            UserWarning, match=f"Subject '{strange}' was not in fit, but '{strange.strip('0.')}' was"
        ):
            encoder.adapt(renamed, y, "ridge")


def test_fit_drops_adaptations(encoder):
    new = encoder.adapt(*minutes_of("new"), method="all")
    again = clone(new).set_params(max_epochs=1).fit(*people("1", "2"))
    new.set_params(max_epochs=1).fit(*people("1", "2"))
    for one in (again, new):
        assert list(one.subjects_) == ["1", "2"]
        assert not hasattr(one, "adaptations_")
        assert not hasattr(one, "parent_")
        assert not hasattr(one, "adaptation_rows_")
    np.testing.assert_array_equal(new.transform(person("1")[0]), again.transform(person("1")[0]))


# --- without a label ---------------------------------------------------------------------------------


def test_nearest_subjects_finds_similar_mixing(encoder):
    for known in ("1", "2", "3"):
        X, _ = person("other", mixing=MIXINGS[known])
        assert encoder.nearest_subjects(X).to_dict() == {"other": known}
        renamed = Windows.from_array(np.asarray(X), rows=X.rows.assign(subject=known), sfreq=SFREQ)
        np.testing.assert_array_equal(encoder.transform(X), encoder.transform(renamed))


def test_nearest_subjects_uses_whole_recordings(encoder):
    X, _ = person("new")
    np.testing.assert_allclose(encoder.transform(X[7:9]), encoder.transform(X)[7:9], atol=1e-5)


def test_nearest_subjects_rejects_shared_recording(encoder):
    X, y = people("1", "2", "3")
    rows = X.rows[["subject"]]
    together = Windows.from_array(np.asarray(X), rows=rows, sfreq=SFREQ)
    with pytest.raises(ValueError, match=r"windows of subjects \['1', '2', '3'\]. Add a column 'recording'"):
        clone(encoder).fit(together, y)
    strangers = Windows.from_array(np.asarray(X), rows="stranger " + rows, sfreq=SFREQ)
    with pytest.raises(ValueError, match="a recording of X has windows of subjects"):
        encoder.transform(strangers)
    assert encoder.transform(together).shape == y.shape  # all subjects are known


def test_nearest_subjects_skips_nan(encoder):
    data = np.array(person("other", mixing=MIXINGS["2"])[0])
    rows = pd.DataFrame({"subject": "other", "recording": "other"}, index=range(len(data)))
    data[5, 3, 7] = np.nan
    assert encoder.nearest_subjects(Windows.from_array(data, rows=rows)).to_dict() == {"other": "2"}
    with pytest.raises(ValueError, match="a recording of subject 'other' has no window without NaN"):
        encoder.nearest_subjects(Windows.from_array(data * np.nan, rows=rows))


def test_nearest_subjects_requires_setting_in_fit(alike):
    with pytest.raises(ValueError, match="Set unseen_subject='nearest' and fit again"):
        copy.copy(alike).set_params(unseen_subject="nearest").transform(person("new")[0])


def test_fit_drops_old_covariances(encoder):
    again = copy.deepcopy(encoder).set_params(unseen_subject="average", max_epochs=1).fit(*people("1", "2"))
    with pytest.raises(ValueError, match="Set unseen_subject='nearest' and fit again"):
        again.nearest_subjects(person("new")[0])


def test_unseen_subject_error_names_subjects(encoder):
    strict = copy.copy(encoder).set_params(unseen_subject="error")
    message = "subjects that were not in fit: ['new']"
    with pytest.raises(ValueError, match=f"{re.escape(message)}.*'average'.*'nearest'.*adapt"):
        strict.transform(person("new")[0])


def test_compute_covariance_distance_is_a_metric():
    random = np.random.default_rng(0)
    a, b, c = (part @ part.T for part in random.standard_normal((3, 5, 9)))
    mixing = random.standard_normal((5, 5))

    def distance(a, b):
        return compute_covariance_distance(a, b, shrinkage=0)

    np.testing.assert_allclose(distance(a, b), distance(b, a))
    np.testing.assert_allclose(distance(mixing @ a @ mixing.T, mixing @ b @ mixing.T), distance(a, b))
    np.testing.assert_allclose(distance(a, a), 0, atol=1e-6)
    assert distance(a, c) < distance(a, b) + distance(b, c)
    lacking = a - np.outer(a[0], a[0]) / a[0, 0]
    assert np.isfinite(compute_covariance_distance(lacking, b))
    shrunk = [0.9 * c + 0.1 * np.trace(c) / 5 * np.eye(5) for c in (lacking, b)]
    ratios = np.linalg.eigvals(np.linalg.solve(*shrunk)).real
    np.testing.assert_allclose(compute_covariance_distance(lacking, b), np.sqrt(np.sum(np.log(ratios) ** 2)))


# --- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ridge", "layer", "all"])
@pytest.mark.parametrize("kind", ["encoder", "embedded"])
def test_save_relative_to_parent(request, tmp_path, kind, method):
    parent = request.getfixturevalue(kind)
    if (kind, method) == ("embedded", "ridge"):
        pytest.skip("an embedding has no layer to find in closed form")
    new = parent.adapt(*minutes_of("new"), method=method)
    save(parent, tmp_path / "parent.safetensors")
    save(new, tmp_path / "new.safetensors", parent=tmp_path / "parent.safetensors")
    save(new, tmp_path / "whole.safetensors")
    sizes = {path.stem: os.path.getsize(path) for path in tmp_path.iterdir()}
    assert sizes["new"] < sizes["whole"] / (5 if method == "all" else 50)
    X, _ = people("1", "new", "other")
    for name in ("new", "whole"):
        loaded = load(tmp_path / f"{name}.safetensors")
        np.testing.assert_array_equal(loaded.transform(X), new.transform(X))
        pd.testing.assert_frame_equal(loaded.adaptations_, new.adaptations_)
        assert loaded.parent_ == new.parent_
        save(loaded, tmp_path / "again.safetensors", parent=tmp_path / "parent.safetensors")
        assert os.path.getsize(tmp_path / "again.safetensors") == sizes["new"]
        more = loaded.adapt(*minutes_of("other"), method="layer")
        assert list(more.subjects_) == ["1", "2", "3", "new", "other"]


def test_save_relative_after_second_adapt(encoder, tmp_path):
    grandchild = encoder.adapt(*minutes_of("new"), method="all").adapt(*minutes_of("other"), method="ridge")
    save(encoder, tmp_path / "parent.safetensors")
    save(grandchild, tmp_path / "both.safetensors", parent=tmp_path / "parent.safetensors")
    X, _ = people("new", "other")
    np.testing.assert_array_equal(load(tmp_path / "both.safetensors").transform(X), grandchild.transform(X))


def test_save_pipeline_relative_to_pipeline(encoder, tmp_path):
    scaler = RobustChannelScaler().fit(person("1")[0])
    save(make_pipeline(scaler, encoder), tmp_path / "parent.safetensors")
    new = make_pipeline(scaler, encoder.adapt(*minutes_of("new"), method="ridge"))
    (tmp_path / "people").mkdir()
    save(new, tmp_path / "people" / "new.safetensors", parent=tmp_path / "parent.safetensors")
    loaded = load(tmp_path / "people" / "new.safetensors")
    np.testing.assert_array_equal(loaded.transform(person("new")[0]), new.transform(person("new")[0]))


def test_load_requires_right_parent(encoder, embedded, tmp_path):
    new = encoder.adapt(*minutes_of("new"), method="ridge")
    right, wrong, child = (tmp_path / f"{name}.safetensors" for name in ("right", "wrong", "child"))
    save(encoder, right)
    save(embedded, wrong)
    with pytest.raises(ValueError, match="does not contain the encoder that this one was adapted from"):
        save(new, child, parent=wrong)
    with pytest.raises(ValueError, match="was not adapted"):
        save(encoder, child, parent=right)
    save(new, child, parent=right)
    right.rename(tmp_path / "moved.safetensors")
    with pytest.raises(FileNotFoundError, match=r"right.safetensors.*parent="):
        load(child)
    X, _ = person("new")
    np.testing.assert_array_equal(
        load(child, parent=tmp_path / "moved.safetensors").transform(X), new.transform(X)
    )
    wrong.rename(right)
    with pytest.raises(ValueError, match="does not contain the encoder that this one was adapted from"):
        load(child)

"""Tests of training in several calls."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers.windows import make_planted_windows
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback
from torch import nn

from sk_b2s import BrainEncoder, MaskedEncoder, Windows, concat_windows, load, save
from sk_b2s.nn import _time_estimate

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = {
    "hidden": 8, "depth": 2, "n_virtual_channels": 6, "lr": 3e-3, "batch_size": 16, "k": 1, "precision": "float32",
    "random_state": 0, "verbose": 0,
}  # fmt: skip


class SmallNet(nn.Sequential):
    def __init__(self, n_chans, n_outputs):
        super().__init__(nn.Conv1d(n_chans, 4, 3, padding=1), nn.Dropout(0.3), nn.Conv1d(4, n_outputs, 1))


@pytest.fixture(scope="module")
def data():
    return make_planted_windows()


@pytest.fixture(scope="module")
def encoder(data):
    return BrainEncoder(**SMALL).partial_fit(*data)


def assert_equal_weights(one, other):
    ours, theirs = one.net_.state(), other.net_.state()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    "params",
    [
        {"subject_dropout": 0.2, "channel_dropout": 0.1},
        {"weight_averaging": 0.9, "loss": "siglip", "weight_decay": 0.1, "speech_embedding_dim": 5},
        {"module": SmallNet, "hidden": 320, "depth": 10, "n_virtual_channels": 270},
    ],
    ids=["paper", "averaged deep mel", "module"],
)
def test_partial_fit_equals_fit_on_same_rows(data, params):
    whole = BrainEncoder(**{**SMALL, **params}, validation=None, max_epochs=3).fit(*data)
    parts = BrainEncoder(**{**SMALL, **params})
    for call in range(3):
        parts = (pickle.loads(pickle.dumps(parts)) if call == 2 else parts).partial_fit(*data)
    assert_equal_weights(parts, whole)
    assert parts.history_[:, "train_loss"] == whole.history_[:, "train_loss"]
    assert parts.digest() == whole.digest()


def test_partial_fit_announces_one_pass(data, caplog, monkeypatch):
    monkeypatch.setattr(_time_estimate, "MEASURED", 0.0)
    monkeypatch.setattr(_time_estimate, "LONG", 0.0)
    with caplog.at_level("INFO", "sk_b2s"):
        BrainEncoder(**SMALL).partial_fit(*data)
    assert "for max_epochs=1." in caplog.text


def test_partial_fit_adds_subjects(data):
    X, y = make_planted_windows(32, subjects=("c",), seed=1)
    params = {**SMALL, "weight_averaging": 0.9}
    encoder = BrainEncoder(**params).partial_fit(*data)
    before = {name: value.clone() for name, value in encoder.net_.state().items()}
    encoder.partial_fit(X, y)
    assert encoder.subjects_.tolist() == ["a", "b", "c"]
    layers = encoder.net_.state()["subject_layer.matrices"]
    assert layers.shape[0] == encoder.architecture_["n_subjects"] == 3
    distance = (layers[2] - before["subject_layer.matrices"].mean(0)).abs().max()
    assert 0 < distance < 0.1
    assert encoder.transform(X).shape == y.shape
    assert len(encoder.segments_) == 96
    encoder.partial_fit(*data)
    assert len(encoder.segments_) == 96  # known ones
    assert np.isfinite(encoder.transform(data[0])).all()


def test_warm_start_sorts_added_subjects(data):
    X, y = make_planted_windows(32, subjects=("0",), seed=1)
    encoder = BrainEncoder(**SMALL).partial_fit(*data).partial_fit(X, y)
    before = encoder.net_.state()["subject_layer.matrices"].clone()
    encoder.set_params(warm_start=True, lr=1e-9, max_epochs=1, validation=None)
    encoder.fit(concat_windows([data[0], X]), np.concatenate([data[1], y]))
    assert encoder.subjects_.tolist() == ["0", "a", "b"]
    torch.testing.assert_close(
        encoder.net_.state()["subject_layer.matrices"], before[[2, 0, 1]], atol=1e-6, rtol=0
    )


def test_partial_fit_without_layers_adds_subjects(data, tmp_path):
    X, y = make_planted_windows(32, subjects=("c",), seed=1)
    own = {"module": SmallNet, "hidden": 320, "depth": 10, "n_virtual_channels": 270}
    for params in ({"subject_layer": None}, own):
        encoder = BrainEncoder(**{**SMALL, **params}).partial_fit(*data).partial_fit(X, y)
        assert encoder.subjects_.tolist() == ["a", "b", "c"]
        trusted = {"SmallNet": SmallNet}
        save(encoder, tmp_path / "encoder.safetensors", trusted=trusted)
        copied = load(tmp_path / "encoder.safetensors", trusted=trusted)
        np.testing.assert_array_equal(copied.transform(X), encoder.transform(X))


def test_partial_fit_continues_after_fit_and_load(data, tmp_path):
    fitted = BrainEncoder(**SMALL, max_epochs=2).fit(*data)
    save(fitted, tmp_path / "encoder.safetensors")
    loaded = load(tmp_path / "encoder.safetensors").partial_fit(*data)
    assert_equal_weights(loaded, fitted.partial_fit(*data))
    assert len(loaded.history_) == 3
    loaded.set_params(lr=1e-9, batch_size=64)
    weights = {name: value.clone() for name, value in loaded.net_.state().items()}
    loaded.partial_fit(*data)
    changed = [
        name
        for name, value in loaded.net_.module_.named_parameters()
        if not torch.allclose(value, weights[name], atol=1e-7)
    ]
    assert not changed
    assert len(loaded.history_[-1, "batches"]) == 1


def test_partial_fit_keeps_frozen_layers(data):
    X, y = data
    trunk = {name: value for name, value in SMALL.items() if name != "k"}
    masked = MaskedEncoder(**trunk, max_epochs=1, mask_time=0.03).fit(X)
    encoder = BrainEncoder(**SMALL, max_epochs=1, init=masked, freeze=True).partial_fit(X, y)
    start = masked.net_.state()
    for current in (encoder.partial_fit(X, y), copy.deepcopy(encoder).fit(X, y).partial_fit(X, y)):
        state = current.net_.state()
        kept = [name for name in state if name in start and not name.startswith(("head", "last", "loss"))]
        assert all(torch.equal(state[name], start[name]) for name in kept)
    state = encoder.set_params(freeze=False).partial_fit(X, y).net_.state()
    assert not all(torch.equal(state[name], start[name]) for name in kept)
    thawed = {name: state[name].clone() for name in kept}
    state = encoder.set_params(freeze=True).partial_fit(X, y).net_.state()
    assert all(torch.equal(state[name], thawed[name]) for name in kept)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda X, y: (X._replace(sfreq=50), y), "Resample X"),
        (lambda X, y: (X._replace(n_times=6), y), "windows of 6 samples"),
        (lambda X, y: (X, y[:, :2]), "2 features x 12 frames"),
        (lambda X, y: (X, y[..., :6]), "4 features x 6 frames"),
        (lambda X, y: (X, y[..., 0]), "1 frames|dimensions"),
        (lambda X, y: (X[:0], y[:0]), "no windows|minimum of 1"),
        (lambda X, y: (X[:5], y), "inconsistent"),
    ],
    ids=["rate", "samples", "features", "frames", "vectors", "empty", "rows"],
)
def test_partial_fit_refuses_other_data(encoder, data, change, text):
    before = encoder.digest()
    with pytest.raises(ValueError, match=text):
        encoder.partial_fit(*change(*data))
    assert encoder.digest() == before


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"hidden": 16}, "hidden=16 was set after a fit with hidden=8, which partial_fit cannot change"),
        ({"checkpoint": "here"}, "checkpoint=None"),
        ({"distributed": True}, "distributed=False"),
        ({"unseen_subject": "nearest"}, "nearest"),
    ],
)
def test_partial_fit_refuses_parameters(encoder, data, params, text):
    with pytest.raises(ValueError, match=text):
        copy.deepcopy(encoder).set_params(**params).partial_fit(*data)


def test_partial_fit_begins_again_after_failure(data):
    X, y = data
    lost = np.asarray(X)
    lost[0, 0, 0] = np.nan
    encoder, lost = (
        BrainEncoder(**SMALL, spatial_attention=False),
        Windows.from_array(lost, sfreq=100, rows=X.rows),
    )
    with pytest.raises(FloatingPointError):
        encoder.partial_fit(lost, y)
    with pytest.raises(NotFittedError):
        encoder.transform(X)
    encoder.partial_fit(X, y)
    assert_equal_weights(encoder, clone(encoder).partial_fit(X, y))
    with pytest.raises(ValueError, match="2 distinct segments in each call"):
        encoder.partial_fit(X[:1], y[:1])
    with pytest.raises(FloatingPointError):
        encoder.partial_fit(lost, y)
    with pytest.raises(ValueError, match="weights are NaN"):
        encoder.partial_fit(X, y)


def test_partial_fit_interrupted_can_be_saved(data, tmp_path):
    class Stop(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    encoder = BrainEncoder(**SMALL, callbacks=[Stop()])
    with pytest.raises(KeyboardInterrupt):
        encoder.partial_fit(*data)
    save(encoder.set_params(callbacks=None), tmp_path / "encoder.safetensors")
    assert load(tmp_path / "encoder.safetensors").shared_response_ is not None


def test_partial_fit_refuses_adapted_encoder(encoder, data):
    adapted = encoder.adapt(*make_planted_windows(32, subjects=("c",), seed=1), method="layer", max_epochs=1)
    with pytest.raises(ValueError, match="before adapt"):
        adapted.partial_fit(*data)


def test_partial_fit_channels_must_match(data):
    X, y = data
    encoder = BrainEncoder(**SMALL, spatial_attention=False).partial_fit(X, y)
    with pytest.raises(ValueError, match="X has 4 channels"):
        encoder.partial_fit(make_planted_windows(n_channels=4)[0], y)
    assert clone(encoder).partial_fit(np.asarray(X), y).subjects_.tolist() == [""]

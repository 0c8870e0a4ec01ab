"""Tests of BrainEncoder with networks of the user."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from sk_b2s import BrainEncoder, Windows, load, save
from sk_b2s.streaming._latency import find_look_ahead_latency

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = {
    "lr": 3e-3, "batch_size": 32, "max_epochs": 6, "validation": None, "k": 1, "precision": "float32",
    "random_state": 0, "verbose": 0,
}  # fmt: skip


class ShallowNet(nn.Module):
    """Temporal and spatial filters, power and mean; one output per frame."""

    def __init__(self, n_chans, n_outputs, n_times, sfreq=100.0, n_filters=8, drop_prob=0.1):
        super().__init__()
        self.temporal = nn.Conv2d(1, n_filters, (1, 5), padding="same")
        self.spatial = nn.Conv2d(n_filters, n_filters, (n_chans, 1), bias=False)
        self.norm = nn.BatchNorm2d(n_filters)
        self.drop = nn.Dropout(drop_prob)
        self.last = nn.Conv1d(n_filters, n_outputs, 1)
        self.sfreq = sfreq

    def forward(self, x):
        filtered = self.spatial(self.temporal(x.view(len(x), 1, *x.shape[1:])))
        return self.last(self.drop(self.norm(filtered)).squeeze(2))


class SeparableNet(nn.Module):
    """Depthwise filters, pooling and one linear layer, as classifiers end."""

    def __init__(self, n_chans, n_outputs, n_times, n_filters=4):
        super().__init__()
        self.filters = nn.Sequential(
            nn.Conv2d(1, n_filters, (1, 5), padding="same", bias=False),
            nn.BatchNorm2d(n_filters),
            nn.Conv2d(n_filters, 2 * n_filters, (n_chans, 1), groups=n_filters, bias=False),
            nn.ELU(),
            nn.AvgPool2d((1, 2)),
            nn.Flatten(),
        )
        self.last = nn.LazyLinear(n_outputs)

    def forward(self, x):
        return self.last(self.filters(x[:, None]))


class SubjectNet(nn.Module):
    """Gain of each subject, and a map of channels that reads positions."""

    def __init__(self, n_channels, n_outputs, n_subjects, n_frames):
        super().__init__()
        self.gain = nn.Embedding(n_subjects + 1, n_channels)
        self.map = nn.Conv1d(n_channels + 2, n_outputs, 1)
        self.pool = nn.AdaptiveAvgPool1d(n_frames)

    def forward(self, x, subject, positions):
        assert subject.min() >= -1
        x = x * self.gain(subject + 1)[:, :, None]
        place = positions.mean(1)[:, :, None].expand(-1, -1, x.shape[2])
        return self.pool(self.map(torch.cat([x, place], 1)))


def planted(n=96, n_channels=6, n_features=4, n_times=24, n_frames=24):
    """Brain that is a fixed mixture of the speech, and noise."""
    rng = np.random.default_rng(0)
    speech = rng.standard_normal((n, n_features, n_frames)).astype("f4")
    mixing = rng.standard_normal((n_channels, n_features))
    brain = np.einsum("cf,nft->nct", mixing, np.repeat(speech, n_times // n_frames, axis=2))
    return (brain + 0.1 * rng.standard_normal(brain.shape)).astype("f4"), speech


def make_windows(brain, subject):
    rows = pd.DataFrame({"subject": subject, "recording": subject})
    positions = np.random.default_rng(1).uniform(size=(brain.shape[1], 2))
    return Windows.from_array(brain, rows=rows, positions=positions, sfreq=100)


def weights_of(encoder):
    return {name: value.clone() for name, value in encoder.net_.state().items()}


def assert_equal_weights(one, other):
    one, other = weights_of(one), weights_of(other)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def data():
    return planted()


@pytest.fixture(scope="module")
def fitted(data):
    brain, speech = data
    encoder = BrainEncoder(**SMALL, module=ShallowNet, module__n_filters=16)
    return encoder.fit(make_windows(brain[:64], ["a"] * 64), speech[:64])


def test_module_recovers_simulated_mixture(data, fitted):
    brain, speech = data
    X = make_windows(brain[64:], ["a"] * 32)
    assert fitted.score(X, speech[64:]) > 0.8
    assert fitted.transform(X).shape == speech[64:].shape
    assert fitted.net_.module_.network.temporal.out_channels == 16
    assert fitted.net_.module_.network.sfreq == 100


@pytest.mark.parametrize("n_frames", [24, 12, 1])
def test_module_may_return_vectors(n_frames):
    brain, speech = planted(n_frames=n_frames)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 30}, module=SeparableNet).fit(brain[:64], speech[:64])
    assert encoder.net_.module_.network.last.out_features == 4 * n_frames
    assert encoder.score(brain[64:], speech[64:]) > 0.3  # chance 1 / 32


def test_module_output_at_sample_rate_is_averaged():
    brain, speech = planted(n_frames=12)
    X = Windows.from_array(brain, sfreq=100)
    y = Windows.from_array(speech, sfreq=50)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, module=ShallowNet).fit(X, y)
    module = encoder.net_.module_.eval()
    x = torch.from_numpy(brain)
    pooled = module.network(x).unflatten(2, (12, 2)).mean(3)
    torch.testing.assert_close(torch.from_numpy(encoder.transform(X)), pooled.detach())


def test_module_one_vector_is_repeated():
    net = nn.Sequential(nn.Flatten(), nn.Linear(6 * 24, 4))
    brain, speech = planted()
    out = BrainEncoder(**{**SMALL, "max_epochs": 1}, module=net).fit(brain, speech).transform(brain)
    assert out.shape == speech.shape
    assert (out == out[:, :, :1]).all()


def test_module_instance_is_copied(data):
    brain, speech = data
    net = nn.Conv1d(6, 4, 1)
    before = net.weight.clone()
    encoder = BrainEncoder(**{**SMALL, "lr": 1e-9}, module=net).fit(brain, speech)
    assert torch.equal(net.weight, before)
    torch.testing.assert_close(encoder.net_.module_.network.weight, before, atol=1e-5, rtol=0)
    shared = BrainEncoder(**{**SMALL, "max_epochs": 1}, module=lambda: net).fit(brain, speech)
    assert shared.net_.module_.network is not net


def test_module_gets_subject_and_positions(data):
    brain, speech = data
    X = make_windows(brain, ["a", "b"] * 48)
    encoder = BrainEncoder(**SMALL, module=SubjectNet).fit(X[:64], speech[:64])
    assert encoder.net_.module_.network.gain.num_embeddings == 3
    assert encoder.uses_positions
    unseen = make_windows(brain[64:], ["c"] * 32)
    assert encoder.transform(unseen).shape == speech[64:].shape
    with pytest.raises(ValueError, match="SubjectNet requires sensor positions"):
        encoder.transform(brain)
    adapted = encoder.adapt(unseen, speech[64:], "all")
    assert list(adapted.adaptations_["method"]) == ["all"]
    assert not np.array_equal(adapted.transform(unseen), encoder.transform(unseen))
    np.testing.assert_array_equal(adapted.transform(X[:64]), encoder.transform(X[:64]))


def test_module_equal_seeds_give_equal_weights(data, fitted):
    brain, speech = data
    torch.manual_seed(5)  # dropout of the network must not depend on it
    before = torch.random.get_rng_state()
    again = clone(fitted).fit(make_windows(brain[:64], ["a"] * 64), speech[:64])
    assert_equal_weights(again, fitted)
    assert torch.equal(torch.random.get_rng_state(), before)
    other = clone(fitted).set_params(random_state=1)
    other.fit(make_windows(brain[:64], ["a"] * 64), speech[:64])
    assert not torch.equal(
        weights_of(other)["network.last.weight"], weights_of(fitted)["network.last.weight"]
    )


def test_module_params_can_be_searched(data):
    brain, speech = data
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, module=ShallowNet, module__n_filters=2)
    assert encoder.get_params()["module__n_filters"] == 2
    assert "module__n_filters=2" in repr(encoder)
    assert "module__n_filters" in encoder._repr_html_()
    grid = {"module__n_filters": [2, 3], "module__drop_prob": [0.0]}
    search = GridSearchCV(
        encoder, grid, cv=2, scoring=lambda e, X, y: e.net_.module_.network.temporal.out_channels
    )
    search.fit(brain, speech)
    assert search.best_params_ == {"module__n_filters": 3, "module__drop_prob": 0.0}
    assert encoder.module__n_filters == 2
    assert clone(search.best_estimator_).module__n_filters == 3


def test_module_survives_pickle(data, fitted):
    X = make_windows(data[0], ["a"] * 96)
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.transform(X), fitted.transform(X))


def test_module_survives_save_and_load(data, fitted, tmp_path):
    brain, speech = data
    X, path = make_windows(brain, ["a"] * 96), tmp_path / "own.safetensors"
    with pytest.raises(TypeError, match="trusted="):
        save(fitted, path)
    save(fitted, path, trusted={"net": ShallowNet})
    with pytest.raises(ValueError, match=r"names 'net', which load does not know.*trusted="):
        load(path)
    loaded = load(path, trusted={"net": ShallowNet})
    assert loaded.get_params()["module__n_filters"] == 16
    np.testing.assert_array_equal(loaded.transform(X), fitted.transform(X))
    assert loaded.digest() == fitted.digest()
    with pytest.raises(ValueError, match="the weight"):
        load(path, trusted={"net": SeparableNet})
    unseen = make_windows(brain, ["b"] * 96)
    adapted = loaded.adapt(unseen, speech, "all")
    save(adapted, tmp_path / "b.safetensors", parent=path, trusted={"net": ShallowNet})
    joined = load(tmp_path / "b.safetensors", trusted={"net": ShallowNet})
    np.testing.assert_array_equal(joined.transform(unseen), adapted.transform(unseen))


@pytest.mark.parametrize("net", [nn.Conv1d(6, 4, 3, padding=1), partial(SeparableNet, n_filters=2)])
def test_module_of_any_kind_is_saved_by_name(data, net, tmp_path):
    brain, speech = data
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, module=net).fit(brain, speech)
    save(encoder, tmp_path / "own.safetensors", trusted={"net": net})
    loaded = load(tmp_path / "own.safetensors", trusted={"net": net})
    np.testing.assert_array_equal(loaded.transform(brain), encoder.transform(brain))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"module": nn.Conv1d(6, 5, 1)}, r"Conv1d must return \(2, 4, 24\).*Got \(2, 5, 24\)", id="features"),
        pytest.param({"module": nn.Conv1d(6, 4, 4)}, r"Got \(2, 4, 21\) instead.*AdaptiveAvgPool1d\(24\)", id="frames"),
        pytest.param({"module": nn.Conv1d(5, 4, 1)}, "Conv1d cannot process 2 windows of 6 channels and 24", id="channels"),
        pytest.param({"module": nn.LSTM(24, 4)}, "LSTM must return .* Got tuple instead", id="tuple"),
        pytest.param({"module": ShallowNet, "module__width": 3}, "module__width is not an argument of ShallowNet.*n_filt",
                     id="argument"),
        pytest.param({"module": nn.ReLU(), "module__n": 3}, "instance of ReLU, which cannot take module__n", id="instance"),
        pytest.param({"module__n": 3}, "module__n requires a module", id="no module"),
        pytest.param({"module": dict}, "Got the class dict", id="class"),
        pytest.param({"module": lambda: 3}, "<lambda> returned int", id="callable"),
        pytest.param({"module": nn.Flatten, "look_ahead": 0.0}, "look_ahead=0.0 .* cannot limit Flatten", id="causal"),
        pytest.param({"module": nn.Flatten, "unseen_subject": "nearest"}, "no subject layers", id="nearest"),
        pytest.param({"module": lambda sfreq: nn.ReLU()}, "<lambda> requires sfreq, which X does not have", id="sfreq"),
    ],
)  # fmt: skip
def test_module_errors_name_the_way_out(data, params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        BrainEncoder(**{**SMALL, **params}).fit(*data)


def test_module_refuses_misspelled_params():
    with pytest.raises(TypeError, match="unexpected keyword argument 'hidde_n'"):
        BrainEncoder(hidde_n=3)


def test_module_ignored_params_warn(data, fitted):
    with pytest.warns(UserWarning, match="hidden=5 has no effect with module"):
        clone(fitted).set_params(hidden=5, subject_layer=None, max_epochs=1).fit(*data)


def test_adapt_refuses_what_module_lacks(data, fitted):
    X = make_windows(data[0], ["b"] * 96)
    with pytest.raises(ValueError, match="no subject layers. Use method='all'"):
        fitted.adapt(X, data[1], "ridge")
    changed = pickle.loads(pickle.dumps(fitted)).set_params(module__n_filters=3)
    with pytest.raises(ValueError, match="module or one of its parameters was changed after fit"):
        changed.adapt(X, data[1])


def test_module_look_ahead_is_whole_window(fitted):
    assert find_look_ahead_latency(fitted, 100) == pytest.approx(0.24)

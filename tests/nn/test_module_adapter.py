"""Tests of networks of the user, written in many ways."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sk_b2s import BrainEncoder, Windows, load, save
from sk_b2s.nn import _validation

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = {
    "lr": 3e-3, "batch_size": 8, "max_epochs": 2, "validation": None, "k": 1, "precision": "float32",
    "random_state": 0, "verbose": 0,
}  # fmt: skip
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((16, 6, 12), "f4"), RNG.standard_normal((16, 4, 12), "f4")


class Net(nn.Module):
    """Normalization and one linear map, whose parts others replace."""

    def __init__(self, n_chans, n_outputs):
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(n_chans), nn.Conv1d(n_chans, n_outputs, 1)

    def forward(self, x):
        return self.last(self.norm(x))


class ComplexNet(Net):
    """Complex gain of each channel and frequency."""

    def __init__(self, n_chans, n_outputs, n_times):
        super().__init__(n_chans, n_outputs)
        self.gain = nn.Parameter(torch.ones(n_chans, n_times // 2 + 1, dtype=torch.complex64))

    def forward(self, x):
        return super().forward(torch.fft.irfft(torch.fft.rfft(x) * self.gain, n=x.shape[2]))


class NormedNet(Net):
    """Layers with parametrizations, as those of braindecode."""

    def __init__(self, n_chans, n_outputs):
        super().__init__(n_chans, n_outputs)
        nn.utils.parametrizations.weight_norm(self.last)


class RecurrentNet(nn.Module):
    """Recurrent layer, by default over the axis of windows."""

    def __init__(self, n_chans, n_outputs, batch_first=False):
        super().__init__()
        self.recurrent = nn.LSTM(n_chans, 8, batch_first=batch_first)
        self.last = nn.Linear(8, n_outputs)

    def forward(self, x):
        return self.last(self.recurrent(x.mT)[0]).mT


def change(**parts):
    """Make a Net with other methods."""
    return type("Changed", (Net,), parts)


def fit(module, **params):
    return BrainEncoder(**{**SMALL, **params}, module=module).fit(X, Y)


def weights_of(encoder):
    return {name: value.clone() for name, value in encoder.net_.state().items()}


def assert_equal_weights(one, other):
    one, other = weights_of(one), weights_of(other)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def build_wide(n_chans, width):
    return Net(n_chans, width)


REFUSED = {
    "missing argument": (build_wide, r"build_wide cannot be built with n_chans=6: TypeError.*module__width=\.\.\."),
    "constructor": (change(__init__=lambda self, n_times: {}["a"]), "Changed cannot be built with n_times=12: KeyError: 'a'"),
    "forward": (change(forward=lambda self, x: {}["a"]), r"Changed cannot process 2 windows of 6 .* KeyError: 'a'\. Its"),
    "assertion": (change(forward=lambda self, x: 1 / 0), "ZeroDivisionError"),
    "tuple": (change(forward=lambda self, x: (x, x)), r"must return one tensor. Got tuple.*self\.network\(x\)\[0\]"),
    "complex": (change(forward=lambda self, x: x[:, :4] + 1j), "must return real numbers. Got a tensor of complex64"),
    "squeezed": (change(forward=lambda self, x: Net.forward(self, x).squeeze(0)), r"for 1 windows.* Got \(4, 12\) instead"),
    "detached": (change(forward=lambda self, x: Net.forward(self, x).detach()), "does not depend on its weights"),
    "frozen": (Net(6, 4).requires_grad_(False), "no weights to train, or all have requires_grad=False"),
    "half": (Net(6, 4).half(), r"weights of float16 \(norm.weight\), and training requires float32.*float\(\)"),
    "double": (Net(6, 4).double(), "Its weights are float64. Convert them with its method float"),
    "meta": (nn.Conv1d(6, 4, 1, device="meta"), "on the meta device.*Pass its class"),
    "state": (change(get_extra_state=lambda self: {}, set_extra_state=lambda self, _: None), "extra state '_extra_state'"),
    "lazy": (nn.Sequential(nn.LazyBatchNorm1d(), nn.LazyConv1d(4, 1)), "Sequential cannot be copied.*Pass its class"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_module_refused_before_training(case):
    module, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        fit(module)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (change(forward=lambda self, x: Net.forward(self, nn.functional.dropout(x))), "scores are random"),
        (RecurrentNet, "depend on the batches and can use other windows.*batch_first=True"),
    ],
    ids=["dropout", "recurrent"],
)
def test_module_warns_of_unstable_estimates(module, message):
    with pytest.warns(UserWarning, match=message):
        fit(module, max_epochs=1)


@pytest.mark.filterwarnings("error::UserWarning")
def test_module_of_independent_windows_is_silent():
    encoder = BrainEncoder(**SMALL, module=RecurrentNet, module__batch_first=True)
    encoder.fit(X, Y)
    fit(Net, max_epochs=1)
    # As parallel sums on a GPU, whose order varies.
    fit(change(forward=lambda self, x: Net.forward(self, x + 1e-6 * torch.randn_like(x))), max_epochs=1)


def test_module_without_memory_raises_memory_error():
    def allocate(*_, **__):
        return torch.empty(10**7, 10**7)

    for part in ("__init__", "forward"):
        with pytest.raises(MemoryError, match="more memory than there is.*Reduce batch_size, the size"):
            fit(change(**{part: allocate}))


def test_module_pickled_by_former_version_is_copied():
    encoder = fit(Net, max_epochs=1)
    del encoder.net_.module_.made_by  # as in these pickles
    copied = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(copied.transform(X), encoder.transform(X))
    assert pickle.loads(b"csk_b2s.nn._validation\n_mute\n.") is _validation._mute_early_stopping


def test_module_nan_names_its_output():
    with pytest.raises(FloatingPointError, match=r"before the first step.*output of your own network"):
        fit(change(forward=lambda self, x: Net.forward(self, x) * torch.nan))


def test_module_unseen_subject_needs_a_row():
    class SubjectNet(Net):
        def __init__(self, n_chans, n_outputs, n_subjects):
            super().__init__(n_chans, n_outputs)
            self.gain = nn.Embedding(n_subjects, n_chans)

        def forward(self, x, subject):
            return super().forward(x * self.gain(subject)[:, :, None])

    encoder = fit(SubjectNet, max_epochs=1)
    unseen = Windows.from_array(X, rows=pd.DataFrame({"subject": ["new"] * 16}))
    with pytest.raises(ValueError, match=r"subject=-1.*nn.Embedding\(n_subjects \+ 1"):
        encoder.transform(unseen)


@pytest.mark.parametrize("module", [ComplexNet, NormedNet])
def test_module_weights_of_any_kind_are_stored(module, tmp_path):
    encoder = fit(module, weight_averaging=0.5, checkpoint=tmp_path)
    if module is ComplexNet:
        gain = encoder.net_.state()["network.gain"]
        assert (gain != 1).all()  # trained
    copied = pickle.loads(pickle.dumps(encoder))
    assert_equal_weights(copied, encoder)
    np.testing.assert_array_equal(copied.transform(X), encoder.transform(X))
    path = tmp_path / "encoder.safetensors"
    save(encoder, path, trusted={"net": module})
    np.testing.assert_array_equal(load(path, trusted={"net": module}).transform(X), encoder.transform(X))
    assert_equal_weights(BrainEncoder(**encoder.get_params()).fit(X, Y), encoder)


@pytest.mark.parametrize("module", [ComplexNet, NormedNet])
def test_module_weights_are_checked_in_bfloat16(module):
    encoder = fit(module, precision="bfloat16", max_epochs=1)
    assert np.isfinite(encoder.transform(X)).all()


def test_module_activation_checkpoints_run_in_bfloat16():
    def forward(self, x):
        return nn.functional.gelu(
            torch.utils.checkpoint.checkpoint(super(kind, self).forward, x, use_reentrant=False)
        )

    kind = change(forward=forward)
    assert np.isfinite(fit(kind, precision="bfloat16", max_epochs=1).transform(X)).all()


def test_module_pickle_keeps_optimizer_of_parametrized():
    one = BrainEncoder(**SMALL, module=NormedNet).partial_fit(X, Y)
    other = pickle.loads(pickle.dumps(one))
    assert_equal_weights(other.partial_fit(X, Y), one.partial_fit(X, Y))


class TiedNet(Net):
    """One matrix that two layers apply."""

    def __init__(self, n_chans, n_outputs, is_registered=True):
        super().__init__(n_chans, n_outputs)
        self.first, self.second = nn.Linear(n_chans, n_chans), nn.Linear(n_chans, n_chans)
        del self.second.weight
        self.second.weight = self.first.weight if is_registered else None

    def forward(self, x):
        x = nn.functional.linear(self.first(x.mT).tanh(), self.first.weight, self.second.bias)
        return super().forward(x.mT)


def test_module_tied_weights_are_averaged_once():
    tied, plain = (
        BrainEncoder(**SMALL, module=TiedNet, module__is_registered=value, weight_averaging=0.5).fit(X, Y)
        for value in (True, False)
    )
    np.testing.assert_array_equal(tied.transform(X), plain.transform(X))


def test_module_scripted_instance_is_trained():
    with pytest.warns(DeprecationWarning, match="deprecated"):
        net = torch.jit.trace(nn.Conv1d(6, 4, 1), torch.zeros(2, 6, 12))
    encoder = fit(net)
    assert not torch.equal(encoder.net_.state()["network.weight"], net.weight)


def test_module_checkpoint_names_unknown_values(tmp_path):
    net = Net(6, 4)
    net.log = open(tmp_path / "log", "w")  # noqa: SIM115
    with net.log, pytest.raises(ValueError, match="cannot be copied.*pickle|checkpoint cannot compare"):
        fit(net, checkpoint=tmp_path)


def test_module_lazy_weights_depend_on_the_seed():
    class LazyNet(nn.Module):
        def __init__(self, n_outputs):
            super().__init__()
            self.last = nn.LazyConv1d(n_outputs, 1)

        def forward(self, x):
            return self.last(x)

    one, same, other = (
        fit(LazyNet, lr=1e-9, max_epochs=1, random_state=seed).net_.state()["network.last.weight"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-3)

"""Reduced precision is compared with float32 before it is used."""

import copy
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sk_b2s import BrainEncoder, Windows, load, save
from sk_b2s._utils import _precision as precision
from sk_b2s._utils._devices import choose_dtype_of_device
from sk_b2s._utils._precision import Precision, compute_precision_deviation, keep_narrow_precision

N_FEATURES, N_CHANNELS, N_TIMES = 4, 6, 30


def windows(n_windows, subject, seed):
    """Return windows of a subject and the features that are mixed in them."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n_windows, N_FEATURES, N_TIMES)).astype("f4")
    mixing = np.random.default_rng(9).standard_normal((N_CHANNELS, N_FEATURES))
    noise = rng.standard_normal((n_windows, N_CHANNELS, N_TIMES))
    rows = pd.DataFrame({"subject": [subject] * n_windows, "recording": subject})
    brain = (np.einsum("cf,nft->nct", mixing, speech) + noise).astype("f4")
    return Windows.from_array(brain, rows=rows, sfreq=50.0), speech


X, Y = windows(40, "known", 0)
X_NEW, Y_NEW = windows(30, "new", 1)


def encoder_of(dtype="bfloat16", **changes):
    settings = {
        "hidden": 8, "depth": 2, "n_virtual_channels": 4, "spatial_attention": False, "max_epochs": 2, "lr": 3e-3,
        "validation": 0.2, "batch_size": 16, "random_state": 0, "verbose": 0,
    }  # fmt: skip
    return BrainEncoder(**{**settings, **changes}, precision=dtype)


class WrongGradient(torch.autograd.Function):
    """Identity whose gradient is another."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.flip(-1)


def refuse(x):
    raise RuntimeError("\"kernel\" not implemented for 'BFloat16'")


WRONG = {
    "garbage": lambda x: torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x),
    "NaN": lambda x: x * math.nan,
    "a tenth too large": lambda x: x * 1.1,
    "wrong gradient": WrongGradient.apply,
    "not implemented": refuse,
}


@pytest.fixture
def plant(monkeypatch):
    """Make a product wrong wherever its result is bfloat16."""

    def planted(how, products=("conv2d", "linear")):
        for name in products:
            right = getattr(nn.functional, name)

            def wrong(*args, _right=right, **kwargs):
                out = _right(*args, **kwargs)
                return WRONG[how](out) if out.dtype == torch.bfloat16 else out

            monkeypatch.setattr(nn.functional, name, wrong)

    return planted


@pytest.fixture
def fallbacks():
    """Collect the warnings of a fallback to float32."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def found():
            return [str(w.message) for w in caught if "float32 instead" in str(w.message)]

        yield found


def weights(encoder):
    return encoder.net_.state()


def assert_equal_state(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# --- the measure ------------------------------------------------------------------------------------


def test_deviation_is_relative_to_what_varies():
    exact = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert compute_precision_deviation(exact, exact) == 0
    assert compute_precision_deviation(2 * exact, exact) == pytest.approx(1)
    assert compute_precision_deviation(
        exact + 0.1 * exact.norm() / exact.numel() ** 0.5, exact
    ) == pytest.approx(0.1)
    centered = exact - exact.mean((0, 2), keepdim=True)
    error = 0.1 * centered
    assert (
        compute_precision_deviation(exact + 5 + error, exact + 5 - exact.mean((0, 2), keepdim=True), (0, 2))
        > 0.1
    )
    assert compute_precision_deviation(centered + 1 + error, centered + 1, (0, 2)) == pytest.approx(
        0.1, rel=1e-4
    )
    far = centered + 1e4  # hardly varies: a tenth of the norm counts
    assert compute_precision_deviation(far * 1.01, far, (0, 2)) == pytest.approx(0.1, rel=1e-3)


def test_deviation_of_nonfinite_values():
    exact = torch.tensor([1.0, math.nan, 2.0, math.inf])
    assert compute_precision_deviation(torch.tensor([1.0, 5.0, 2.0, 0.0]), exact) == 0
    assert compute_precision_deviation(torch.tensor([math.nan, 5.0, 2.0, 0.0]), exact) == math.inf
    assert compute_precision_deviation(torch.tensor([math.inf, 5.0, 2.0, 0.0]), exact) == math.inf
    assert compute_precision_deviation(exact, torch.full((4,), math.nan)) is None
    assert compute_precision_deviation(exact, torch.zeros(4)) is None


# --- narrow convolutions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "is_narrow"),
    [
        (nn.Conv1d(16, 16, 3, groups=2), True),
        (nn.Conv1d(30, 30, 3, groups=2), True),
        (nn.Conv1d(32, 32, 3, groups=2), False),
        (nn.Conv1d(64, 24, 3, groups=2), True),
        (nn.Conv1d(6, 6, 3, groups=6), True),
        (nn.Conv1d(8, 8, 3), False),
        (nn.Conv2d(8, 8, (1, 3), groups=4), True),
        (nn.ConvTranspose1d(8, 8, 3, groups=2), True),
    ],
    ids=str,
)
def test_narrow_convolutions_stay_float32(layer, is_narrow):
    network = nn.Sequential(copy.deepcopy(layer))
    assert keep_narrow_precision(network) == (set(network) if is_narrow else set())
    x = torch.randn(2, layer.in_channels, *[1] * isinstance(layer, nn.Conv2d), 20)
    with torch.no_grad():
        expected = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            found, from_low = network(x), network(x.bfloat16())
        exact = layer(x.bfloat16().float())
    assert found.dtype == from_low.dtype == (torch.float32 if is_narrow else torch.bfloat16)
    assert torch.equal(found, expected) == is_narrow
    assert torch.equal(from_low, exact) == is_narrow


# --- networks on EEG/MEG windows --------------------------------------------------------------------


@pytest.mark.parametrize("how", WRONG)
def test_fit_falls_back_from_a_wrong_kernel(plant, fallbacks, how):
    expected = encoder_of("float32").fit(X, Y)
    plant(how)
    encoder = encoder_of().fit(X, Y)
    np.testing.assert_array_equal(encoder.transform(X), expected.transform(X))
    assert encoder.score(X, Y) == expected.score(X, Y)
    assert_equal_state(weights(encoder), weights(expected))
    (message,) = fallbacks()
    assert "BrainEncoder, training: " in message
    assert "precision='float32'" in message
    assert "differ by" in message or "not finite or cannot be computed" in message
    encoder_of("float32").fit(X, Y)
    assert len(fallbacks()) == 1


@pytest.mark.parametrize("product", ["conv2d", "linear"])
def test_fit_notices_one_wrong_product(plant, fallbacks, product):
    expected = encoder_of("float32").fit(X, Y)
    plant("wrong gradient", [product])
    assert_equal_state(weights(encoder_of().fit(X, Y)), weights(expected))
    assert len(fallbacks()) == 1


@pytest.mark.parametrize("how", ["garbage", "NaN", "a tenth too large", "not implemented"])
def test_transform_falls_back_after_load(plant, fallbacks, tmp_path, how):
    fitted = encoder_of().fit(X, Y)
    assert fitted.net_.precision == torch.bfloat16
    expected = encoder_of("float32", max_epochs=1).fit(X, Y)
    expected.net_.load_state(weights(fitted))
    save(fitted, tmp_path / "fitted.safetensors")
    message = pickle.dumps(fitted)
    assert not fallbacks()
    plant(how)
    for n_fallbacks, encoder in enumerate([load(tmp_path / "fitted.safetensors"), pickle.loads(message)], 1):
        np.testing.assert_array_equal(encoder.transform(X), expected.transform(X))
        np.testing.assert_array_equal(encoder.transform(X_NEW), expected.transform(X_NEW))
        assert len(fallbacks()) == n_fallbacks
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.transform(X), expected.transform(X))
    assert len(fallbacks()) == n_fallbacks, "a fallback is kept in a pickle"


@pytest.mark.parametrize("method", ["layer", "all"])
def test_adapt_falls_back_from_a_wrong_kernel(plant, fallbacks, method):
    fitted = encoder_of().fit(X, Y)
    expected = copy.copy(fitted).set_params(precision="float32").adapt(X_NEW, Y_NEW, method)
    plant("wrong gradient")
    adapted = fitted.adapt(X_NEW, Y_NEW, method)
    np.testing.assert_array_equal(adapted.transform(X_NEW), expected.transform(X_NEW))
    assert_equal_state(weights(adapted), weights(expected))
    assert len(fallbacks()) == 1
    more = adapted.adapt(*windows(30, "another", 2), method)
    more.transform(X_NEW)
    assert len(fallbacks()) == 1, "an encoder that is adapted again keeps the fallback"


@pytest.mark.parametrize("how", ["garbage", "wrong gradient"])
def test_deep_mel_falls_back_from_a_wrong_kernel(plant, fallbacks, how):
    expected = encoder_of("float32", speech_embedding_dim=5).fit(X, Y)
    plant(how, ["conv2d"])
    encoder = encoder_of(speech_embedding_dim=5).fit(X, Y)
    assert encoder.score(X, Y) == expected.score(X, Y)
    assert_equal_state(weights(encoder), weights(expected))
    assert len(fallbacks()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"speech_embedding_dim": 5},
        {"target_dim": 5},
        {"activation": "relu", "depth": 10},
        {"loss": "mse"},
        {"hidden": 1},
        {"glu": False},
    ],
    ids=str,
)
def test_fit_uses_right_kernels_silently(fallbacks, changes):
    encoder = encoder_of(**changes).fit(X, Y)
    encoder.score(X, Y)
    encoder.adapt(X_NEW, Y_NEW, "all").transform(X_NEW)
    assert not fallbacks()
    assert encoder.net_.precision == torch.bfloat16
    assert np.abs(encoder.transform(X) - encoder_of("float32", **changes).fit(X, Y).transform(X)).max() > 0


def test_precision_compares_once_without_effect(monkeypatch):
    made, compare = [], Precision._compare
    monkeypatch.setattr(Precision, "_compare", lambda self, *a: made.append(a) or compare(self, *a))
    settings = {"speech_embedding_dim": 5, "subject_dropout": 0.5, "channel_dropout": 0.2, "max_epochs": 3}
    checked = encoder_of(**settings).fit(X, Y)
    checked.transform(X)
    assert len(made) == 3, "training, estimates and encoded speech"
    monkeypatch.setattr(Precision, "check", lambda *a, **k: None)
    unchecked = encoder_of(**settings).fit(X, Y)
    assert_equal_state(weights(checked), weights(unchecked))
    np.testing.assert_array_equal(checked.transform(X), unchecked.transform(X))


def test_precision_skips_constant_windows(monkeypatch):
    encoder = encoder_of().fit(X, Y)
    encoder = pickle.loads(pickle.dumps(encoder))
    nothing = np.full((3, N_CHANNELS, N_TIMES), math.nan, "f4")
    with pytest.raises(ValueError, match="NaN"):
        encoder.transform(nothing)
    assert not encoder.net_.guard._passed
    encoder.transform(X)
    assert encoder.net_.guard._passed == {"estimates"}


@pytest.mark.parametrize("kind", ["cpu", "mps", "xpu"])
def test_choose_dtype_of_device_per_device(monkeypatch, kind):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    expected = torch.bfloat16 if kind == "cpu" else torch.float32
    assert choose_dtype_of_device("auto", torch.device(kind)) == expected


def test_bounds_lie_between_rounding_and_error():
    assert all(0.01 < bound < 1 for bound in precision.BOUNDS.values())

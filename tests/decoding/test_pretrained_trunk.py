"""Tests of encoders that start from a MaskedEncoder."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline

from sk_b2s import BrainEncoder, MaskedEncoder, Windows, load, save
from sk_b2s.preprocessing._fingerprint import make_fingerprint

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
NETWORK = {
    "hidden": 8, "depth": 2, "n_virtual_channels": 6, "spatial_attention": False, "precision": "float32",
    "random_state": 0, "verbose": 0, "max_epochs": 1, "batch_size": 16,
}  # fmt: skip
SPEECH = np.random.default_rng(5).standard_normal((32, 3, 20)).astype("f4")


def make_windows(subjects, n_channels=5, n_times=20, **kwargs):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"subject": np.resize(subjects, 32)})
    kwargs = {"sfreq": 40, "ch_names": [f"E{i}" for i in range(n_channels)], **kwargs}
    return Windows.from_array(rng.standard_normal((32, n_channels, n_times)).cumsum(2), rows=rows, **kwargs)


@pytest.fixture(scope="module")
def masked():
    return MaskedEncoder(**{**NETWORK, "random_state": 1}).fit(make_windows(["a", "b"]))


def get_weights(encoder):
    return {name: value.numpy() for name, value in encoder.net_.module_.state_dict().items()}


def test_frozen_encoder_keeps_trunk(masked, tmp_path):
    X = make_windows(["b", "c"], n_times=30)  # windows of another length
    speech = np.resize(SPEECH, (32, 3, 30))
    encoder = BrainEncoder(**NETWORK, validation=None, init=masked, freeze=True, k=1).fit(X, speech)
    trunk, found = get_weights(masked), get_weights(encoder)
    for name, value in found.items():
        if name == "subject_layer.matrices":
            np.testing.assert_array_equal(value[0], trunk[name][1])  # of subject b
            np.testing.assert_allclose(value[1], trunk[name].mean(0), rtol=1e-6)
        elif not name.startswith(("head", "last")):
            np.testing.assert_array_equal(value, trunk[name])
    save(encoder, tmp_path / "encoder.safetensors")
    copied = load(tmp_path / "encoder.safetensors")
    np.testing.assert_array_equal(copied.transform(X), encoder.transform(X))
    np.testing.assert_array_equal(
        copied.init.transform(make_windows("a")), masked.transform(make_windows("a"))
    )


@pytest.mark.parametrize("layer", ["layer", None])
def test_adapt_keeps_frozen_trunk(layer):
    network, X = {**NETWORK, "subject_layer": layer}, make_windows(["a", "b"])
    masked = MaskedEncoder(**network).fit(X)
    encoder = BrainEncoder(**network, validation=None, init=masked, freeze=True, k=1).fit(X, SPEECH)
    new = encoder.adapt(make_windows(["c"]), SPEECH, method="all")
    trunk, found = get_weights(masked), new.subject_nets_["c"].module_.state_dict()
    found = {name: value.numpy() for name, value in found.items()}
    for name, value in get_weights(encoder).items():
        if name.startswith("subject_layer"):
            np.testing.assert_array_equal(found[name][:2], trunk[name])
            assert np.abs(found[name][2] - trunk[name].mean(0)).max() > 1e-6
        elif name.startswith(("head", "last")):
            assert not np.array_equal(found[name], value)
        else:
            np.testing.assert_array_equal(found[name], trunk[name])


def test_encoder_starts_from_init(masked):
    X = make_windows(["a"])
    fits = [
        BrainEncoder(**NETWORK, validation=None, init=init, lr=1e-9, k=1).fit(X, SPEECH)
        for init in (masked, None)
    ]
    name = "convolutions.0.conv.weight"
    np.testing.assert_allclose(get_weights(fits[0])[name], get_weights(masked)[name], atol=1e-6)
    assert np.abs(get_weights(fits[1])[name] - get_weights(masked)[name]).max() > 0.01


def test_clone_keeps_init_fitted(masked):
    encoder = BrainEncoder(**NETWORK, init=masked)
    copied = clone(encoder)
    assert copied.init is masked
    assert copied is not encoder
    assert copied.get_params(deep=False) == encoder.get_params(deep=False)


def test_init_can_be_searched_frozen(masked, tmp_path):
    X = make_windows(["a"])
    encoder = BrainEncoder(**NETWORK, validation=None, k=1)
    search = GridSearchCV(encoder, {"init": [FrozenEstimator(masked)]}, cv=KFold(2), error_score="raise")
    best = search.fit(X, SPEECH).best_estimator_
    save(best, tmp_path / "best.safetensors")
    copied = load(tmp_path / "best.safetensors")
    np.testing.assert_array_equal(copied.transform(X), best.transform(X))
    assert copied.init.recordings_ is masked.recordings_ is None
    search.set_params(param_grid={"init": [masked]})
    with pytest.raises(ValueError, match=r"init must be fitted.*FrozenEstimator\(masked\)"):
        search.fit(X, SPEECH)


def test_params_of_init_cannot_be_set(masked):
    encoder = BrainEncoder(init=masked)
    assert not [name for name in encoder.get_params() if name.startswith("init__")]
    with pytest.raises(ValueError, match="init__mask_ratio cannot be set, because init is fitted"):
        encoder.set_params(init__mask_ratio=0.3)
    assert masked.mask_ratio == 0.5


def test_fingerprint_depends_on_init(masked):
    other = clone(masked).set_params(max_epochs=2).fit(make_windows(["a", "b"], sfreq=50))
    keys = [make_fingerprint(BrainEncoder(init=init)) for init in (masked, other, clone(masked))]
    assert keys[0] != keys[2]
    assert keys[1] != keys[2]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("params", "windows", "text"),
    [
        ({"hidden": 16}, {}, r"hidden=16 \(init: 8\)"),
        ({"look_ahead": 0.1}, {}, r"look_ahead=4 \(init: None\)"),
        ({}, {"sfreq": 50}, "50 Hz, but init was fitted at 40 Hz"),
        ({}, {"n_channels": 4}, "4 channels, but init was fitted on 5"),
        ({}, {"ch_names": list("abcde")}, "channel 0 is 'a', in init 'E0'"),
        ({"init": None, "freeze": True}, {}, "freeze=True requires init"),
        ({"init": MaskedEncoder()}, {}, "init must be fitted"),
        ({"init": "masked"}, {}, "'init' parameter"),
        (
            {"init": make_pipeline(MaskedEncoder())},
            {},
            r"Got Pipeline instead. Pass its last step, init=pipeline\[-1\]",
        ),
        ({"init": Ridge()}, {}, "must be a fitted MaskedEncoder. Got Ridge instead.$"),
    ],
    ids=[
        "layers",
        "look ahead",
        "rate",
        "channels",
        "names",
        "freeze",
        "unfitted",
        "type",
        "pipeline",
        "other",
    ],
)
def test_fit_raises_for_other_init(masked, params, windows, text):
    encoder = BrainEncoder(**{**NETWORK, "validation": None, "init": masked, **params})
    with pytest.raises(ValueError, match=text):
        encoder.fit(make_windows(["a"], **windows), SPEECH)

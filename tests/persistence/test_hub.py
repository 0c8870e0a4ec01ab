"""Tests of upload to and download from a local Hugging Face hub."""

import pickle
import sys

import numpy as np
import pytest
from helpers.hub import connect_client, start_hub
from helpers.windows import make_planted_windows
from sklearn.pipeline import make_pipeline
from torch import nn

from sk_b2s import BrainEncoder, RidgeDecoder, RobustChannelScaler, load, push_to_hub
from sk_b2s._persistence._model_card import make_model_card

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def hub():
    with start_hub() as hub:
        yield hub


@pytest.fixture
def client(hub, monkeypatch, tmp_path):
    """Connect the client to the local hub, with an empty cache."""
    connect_client(monkeypatch, hub.url, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    hub.token = "hf_of_this_test"
    hub.repositories.clear()
    return hub


@pytest.fixture(scope="module")
def data():
    return make_planted_windows()


@pytest.fixture(scope="module")
def pipe(data):
    X, y = data
    return make_pipeline(RobustChannelScaler(), RidgeDecoder(k=1, lags=(0, 0))).fit(X, y)


def test_push_to_hub_and_load_keep_results(client, data, pipe):
    X, _ = data
    address = push_to_hub(pipe, "me/decoder", license_id="cc-by-4.0", description="Of a **test**.")
    repository = client.repositories["me/decoder"]
    assert repository["private"] is True
    assert address == f"hf://me/decoder@{repository['main']}"
    files = repository["commits"][repository["main"]]
    assert sorted(files) == ["README.md", "model.safetensors"]
    assert client.large  # uploaded as large files are
    for where in (address, "hf://me/decoder", "hf://me/decoder@main/model.safetensors"):
        np.testing.assert_array_equal(load(where).transform(X), pipe.transform(X))
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: sk_b2s\n")
    for line in ("license: cc-by-4.0", "Of a **test**.", "| subjects | 2 |", "| channels | 5 |", "| sampling rate | 100 Hz |",
                 "| distinct segments | 64 |", "ridgedecoder__lags=(0, 0)"):  # fmt: skip
        assert line in card.splitlines()
    assert 'load("hf://me/decoder")' in card


def test_load_from_hub_pins_the_revision(client, data, pipe):
    X, y = data
    first = push_to_hub(pipe, "me/decoder")
    other = make_pipeline(RobustChannelScaler(), RidgeDecoder(k=1, lags=(0, 0), alphas=(1e6,))).fit(X, y)
    second = push_to_hub(other, "me/decoder")
    assert first != second
    np.testing.assert_array_equal(load(first).transform(X), pipe.transform(X))
    n_requests = len(client.requests)
    load(first)
    assert len(client.requests) == n_requests  # from the cache
    np.testing.assert_array_equal(load("hf://me/decoder").transform(X), other.transform(X))


def test_push_to_hub_trusts_a_network_by_name(client, data):
    X, y = data
    net = nn.Conv1d(5, 4, 1)
    params = {
        "max_epochs": 1,
        "validation": None,
        "k": 1,
        "random_state": 0,
        "verbose": 0,
        "precision": "float32",
    }
    encoder = BrainEncoder(module=net, **params).fit(X, y)
    with pytest.raises(TypeError, match="trusted="):
        push_to_hub(encoder, "me/network")
    assert "me/network" not in client.repositories or client.repositories["me/network"]["main"] is None
    address = push_to_hub(encoder, "me/network", trusted={"net": net})
    with pytest.raises(ValueError, match="names 'net', which load does not know"):
        load(address)
    np.testing.assert_array_equal(load(address, trusted={"net": net}).transform(X), encoder.transform(X))


class Harmful:
    def __reduce__(self):
        return print, ("pickle ran",)


@pytest.mark.parametrize("name", ["model.pkl", "model.safetensors"])
def test_load_from_hub_refuses_pickles(client, name, capsys):
    files = {name: pickle.dumps(Harmful())}
    client.repositories["me/harm"] = {"commits": {"a" * 40: files}, "main": "a" * 40}
    with pytest.raises(ValueError, match="only opens safetensors files|not a safetensors file"):
        load(f"hf://me/harm@main/{name}")
    with pytest.raises(
        (FileNotFoundError, ValueError), match="has no file 'model.safetensors'|not a safetensors"
    ):
        load("hf://me/harm")
    assert "pickle ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("hf://me", ValueError, "must be 'hf://owner/name'"),
        ("hf://me/../x", ValueError, "must be 'hf://owner/name'|only opens safetensors"),
        ("hf://me/x/../y.safetensors", ValueError, "must be 'hf://owner/name'"),
        ("hf://me/none", FileNotFoundError, "me/none does not exist on the hub, or is private.*HF_TOKEN"),
        ("hf://me/decoder@v9", FileNotFoundError, "me/decoder has no revision 'v9'"),
        ("hf://me/decoder/b.safetensors", FileNotFoundError, "me/decoder has no file 'b.safetensors'"),
    ],
    ids=["owner", "dots", "dots in file", "repository", "revision", "file"],
)
def test_load_from_hub_errors_name_the_way_out(client, pipe, address, kind, message):
    push_to_hub(pipe, "me/decoder")
    with pytest.raises(kind, match=message):
        load(address)


def test_push_to_hub_errors_name_the_way_out(client, pipe):
    with pytest.raises(ValueError, match="must be 'owner/name'. Got 'decoder'"):
        push_to_hub(pipe, "decoder")
    with pytest.raises(ValueError, match="requires a fitted estimator"):
        push_to_hub(RidgeDecoder(), "me/decoder")
    client.token = "another"
    with pytest.raises(OSError, match="me/decoder cannot be written.*hf auth login"):
        push_to_hub(pipe, "me/decoder")


def test_hub_imports_its_errors(client, monkeypatch):
    import huggingface_hub

    monkeypatch.delattr(huggingface_hub, "errors", raising=False)  # as before its first import
    with pytest.raises(FileNotFoundError, match="me/none does not exist"):
        load("hf://me/none")


def test_hub_names_its_extra(monkeypatch, pipe):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: push_to_hub(pipe, "me/decoder"), lambda: load("hf://me/decoder")):
        with pytest.raises(ImportError, match=r"requires huggingface_hub.*pip install 'sk_b2s\[hub\]'"):
            call()


def test_make_model_card_omits_facts_of_machine(data):
    X, y = data
    params = {"hidden": 8, "depth": 2, "max_epochs": 1, "random_state": 0, "verbose": 0, "k": 1}
    encoder = BrainEncoder(**params, checkpoint=None, device="cpu", precision="float32").fit(X, y)
    card = make_model_card(encoder, "me/x", license_id="mit\ninjected: 1", description=None)
    assert "\ninjected" not in card
    assert "hidden=8" in card.splitlines()
    assert "device" not in card
    assert "| epochs | 1 |" in card.splitlines()
    assert "'a'" not in card  # names of subjects

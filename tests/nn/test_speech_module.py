"""Speech module that is trained with a brain module."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback

from sk_b2s import BrainEncoder, StimulusKFold, Windows, load, retrieve, run_controls, save
from sk_b2s.metrics._similarity import similarity
from sk_b2s.nn import _speech_module as deepmel
from sk_b2s.nn._data import PairDataset
from sk_b2s.nn._speech_module import SpeechModule, encode_by_speech_module

SMALL = {
    "hidden": 32, "depth": 2, "n_virtual_channels": 8, "lr": 3e-3, "batch_size": 64, "max_epochs": 8,
    "validation": None, "k": 1, "precision": "float32", "random_state": 0, "verbose": 0, "spatial_attention": False,
    "speech_embedding_dim": 8,
}  # fmt: skip


def squared(n=300, n_times=24, seed=0):
    """Windows that depend on products of features, uncorrelated with them."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n, 3, n_times))
    response = np.concatenate([speech**2 - 1, speech * np.roll(speech, 1, axis=1)], axis=1)
    mixing = np.random.default_rng(9).standard_normal((8, 6))
    brain = np.einsum("cf,nft->nct", mixing, response) + 0.3 * rng.standard_normal((n, 8, n_times))
    return brain.astype("f4"), speech.astype("f4")


@pytest.fixture(scope="module")
def fitted():
    brain, speech = squared()
    return BrainEncoder(**SMALL).fit(brain[:250], speech[:250]), brain[250:], speech[250:]


# --- the network ------------------------------------------------------------------------------------


def test_speech_module_parameters():
    count = sum(p.numel() for p in SpeechModule(120, 768).parameters())
    first, others = 3 * 120 * 320 + 3 * 320, 8 * (3 * 320**2 + 3 * 320)
    assert count == first + others + 4 * (3 * 320 * 640 + 640) + (3 * 320 * 768 + 768)


def test_speech_module_receptive_field():
    module = SpeechModule(3, 2, hidden=8).double().eval()
    Y = torch.randn(1, 3, 343, dtype=torch.float64, requires_grad=True)
    module(Y)[0, :, 171].sum().backward()
    seen = Y.grad[0].abs().sum(0).nonzero().ravel()
    assert (171 - seen.min(), seen.max() - 171) == (66, 66)  # 2 x (1 + 2 + 4 + 8 + 16) + 4


def test_last_convolution_is_linear():
    module, Y = SpeechModule(3, 5, depth=1), torch.randn(4, 3, 20)
    weight, bias = module.parameters()
    expected = torch.nn.functional.conv1d(Y, weight.squeeze(2), bias, padding=1)
    torch.testing.assert_close(module(Y), expected)


def test_speech_module_output_is_time_major():
    assert SpeechModule(3, 5, hidden=8)(torch.randn(4, 20, 3).mT).mT.is_contiguous()


def test_speech_module_segments_are_independent():
    module, Y = SpeechModule(3, 5, hidden=8).eval(), torch.randn(4, 3, 40)
    together = module(Y)
    for i in range(4):
        torch.testing.assert_close(module(Y[i : i + 1]), together[i : i + 1])


@pytest.mark.parametrize("memory", [2**30, 0])
def test_encode_by_speech_module_once(memory, monkeypatch):
    monkeypatch.setattr(deepmel, "MEMORY_BYTES", memory)
    rows = pd.DataFrame({"segment": np.arange(10)[::-1]})
    windows = Windows.from_array(np.random.default_rng(0).standard_normal((10, 3, 7)), rows=rows, sfreq=50)
    seen = []

    def double(batch):
        seen.append(len(batch))
        return 2 * batch[:, :2]

    encoded = encode_by_speech_module(windows, double, 2, batch_size=4)
    assert seen == [4, 4, 2]
    assert isinstance(encoded.signals[0].base, np.memmap) == (memory == 0)
    np.testing.assert_array_equal(np.asarray(encoded), 2 * np.asarray(windows)[:, :2])
    np.testing.assert_array_equal(np.asarray(encoded[[7, 2]]), 2 * np.asarray(windows)[[7, 2], :2])
    assert encoded.rows is rows
    assert encoded.sfreq == 50


# --- in the encoder ---------------------------------------------------------------------------------


def test_fit_learns_products_of_features(fitted):
    encoder, brain, speech = fitted
    assert encoder.score(brain, speech) > 0.9
    assert encoder.transform(brain).shape == (50, 8, 24)
    assert (encoder.n_features_out_, encoder.n_speech_features_) == (8, 3)
    train = squared()
    plain = clone(encoder).set_params(speech_embedding_dim=None).fit(train[0][:250], train[1][:250])
    assert plain.score(brain, speech) < 0.5


def test_fit_on_noise_is_at_chance(fitted):
    encoder, brain, speech = fitted
    noise = np.random.default_rng(2).standard_normal(brain.shape)
    assert encoder.score(noise, speech) < 0.1  # of 50; a binomial's 97.5 % is 0.08
    train = squared()
    rng = np.random.default_rng(3)
    trained_on_noise = clone(encoder).fit(rng.standard_normal(train[0][:250].shape), train[1][:250])
    assert trained_on_noise.score(rng.standard_normal(brain.shape), speech) < 0.1


def test_similarity_uses_encoded_candidates(fitted):
    encoder, brain, speech = fitted
    network = encoder.net_.speech_module_.eval()
    with torch.no_grad():
        encoded = network(torch.from_numpy(speech))
    expected = similarity(torch.from_numpy(encoder.transform(brain)), encoded).numpy()
    np.testing.assert_allclose(encoder.similarity(brain, candidates=speech), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(encoder.predict(brain, candidates=speech), expected.argmax(1))
    np.testing.assert_allclose(retrieve(encoder, brain, speech).scores, expected, rtol=1e-4, atol=1e-4)
    assert encoder.predict_proba(brain).shape == (50, 250)
    with pytest.raises(ValueError, match="candidates have 2 features x 24 frames, but fit was given 3 x 24"):
        encoder.predict(brain, candidates=speech[:, :2])


def test_repeated_segment_is_encoded_once(fitted):
    encoder, brain, speech = fitted
    seen = []
    hook = encoder.net_.speech_module_.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    encoder.score(np.concatenate([brain, brain]), np.concatenate([speech, speech]))
    hook.remove()
    assert sum(seen) == 50


def test_encoder_survives_pickle_and_save(fitted, tmp_path):
    encoder, brain, speech = fitted
    save(encoder, tmp_path / "encoder.safetensors")
    for again in (pickle.loads(pickle.dumps(encoder)), load(tmp_path / "encoder.safetensors")):
        np.testing.assert_array_equal(again.similarity(brain, speech), encoder.similarity(brain, speech))
        np.testing.assert_array_equal(again.predict(brain), encoder.predict(brain))


@pytest.mark.parametrize("loss", ["clip", "symmetric_clip", "siglip"])
def test_random_state_of_both_networks(loss):
    brain, speech = squared(80)
    states = []
    for seed in (0, 0, 1):
        settings = {**SMALL, "max_epochs": 2, "random_state": seed}
        states.append(BrainEncoder(**settings, loss=loss).fit(brain, speech).net_.state())
    assert any(name.startswith("speech.") for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0] if "speech." in name)


def test_best_state_of_both_networks():
    brain, speech = squared(120)
    brain = brain + 10 * np.random.default_rng(5).standard_normal(brain.shape).astype("f4")
    held = []

    class Keep(Callback):
        def on_epoch_end(self, net, **kwargs):
            held.append({name: value.clone() for name, value in net.state().items()})

    settings = {**SMALL, "max_epochs": 40, "lr": 1e-2, "validation": 0.3}
    encoder = BrainEncoder(**settings, patience=2, callbacks=[("keep", Keep())]).fit(brain, speech)
    best = int(np.argmin(encoder.history_[:, "valid_loss"]))
    assert len(encoder.history_) == best + 3 < 40
    state = encoder.net_.state()
    assert all(torch.equal(state[name], held[best][name]) for name in state)


def test_both_networks_run_in_bfloat16(fitted):
    encoder, brain, speech = fitted
    half = pickle.loads(pickle.dumps(encoder))
    half.net_.precision = torch.bfloat16
    dtypes = []
    half.net_.speech_module_.register_forward_hook(lambda module, args, out: dtypes.append(out.dtype))
    full = encoder.similarity(brain, speech)
    assert np.linalg.norm(half.similarity(brain, speech) - full) < 0.02 * np.linalg.norm(full)
    assert set(dtypes) == {torch.bfloat16}
    assert BrainEncoder(**{**SMALL, "precision": "bfloat16"}).fit(*squared(200)).score(brain, speech) > 0.5


def test_encoded_features_keep_rate():
    rng = np.random.default_rng(0)
    X = Windows.from_array(rng.standard_normal((40, 4, 25)), sfreq=120)
    y = Windows.from_array(rng.standard_normal((40, 3, 11)), sfreq=50)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}).fit(X, y)
    assert encoder.transform(X).shape == (40, 8, 11)
    flat = BrainEncoder(**{**SMALL, "max_epochs": 1}).fit(np.asarray(X), np.asarray(y)[:, :, 0])
    assert flat.transform(np.asarray(X)).shape == (40, 8)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "change", [{}, {"speech_embedding_dim": None, "target_dim": 2}], ids=["network", "map"]
)
def test_padding_does_not_count_after_encoding(change):
    brain, speech = squared(24)
    n_valid = np.where(np.arange(24) % 2, 24, 10)
    speech[:, :, 5:8] = 0  # silence, which counts
    targets = Windows.from_array(speech, sfreq=100)._replace(n_valid=n_valid)
    encoder = BrainEncoder(**{**SMALL, **change, "max_epochs": 1}).fit(
        Windows.from_array(brain, sfreq=100), targets
    )
    net = encoder.net_
    encoded = net.encode(targets).gather()
    assert not encoded[::2, :, 10:].any()
    assert encoded[1::2, :, 10:].any()
    estimates = torch.randn(24, encoder.n_features_out_, 24, generator=torch.Generator().manual_seed(0))
    pairs = PairDataset(
        encoder._make_inputs(Windows.from_array(brain, sfreq=100)),
        targets,
        np.arange(0, 24, 2),
        np.arange(24),
    )
    _, short = pairs.__getitems__(np.arange(12))

    def compute_loss(frames):
        other = estimates.clone()
        other[:, :, frames] += 1
        return net.get_loss(other[::2], short).item()

    assert compute_loss(slice(10, None)) == pytest.approx(compute_loss(slice(0)), rel=1e-6)
    assert compute_loss(slice(5, 8)) != pytest.approx(compute_loss(slice(0)), rel=1e-5)


def test_mse_with_speech_module_raises():
    brain, speech = squared(40)
    with pytest.raises(
        ValueError, match="speech_embedding_dim=8 requires a contrastive loss. With loss='mse'.*loss='clip'"
    ):
        BrainEncoder(**SMALL, loss="mse").fit(brain, speech)


def test_controls_refit_both_networks(listening, tiny_pipeline):
    X, y = listening
    pipe = tiny_pipeline(speech_embedding_dim=8, max_epochs=2, duplicates="mask")
    folds = [next(StimulusKFold(2).split(X, y))]
    controls = ["decoder", "phase_randomized", "within_recording", "envelope_only"]
    table = run_controls(pipe, X, y, cv=folds, controls=controls, n_shifts=20)
    assert set(table.index) == {*controls, "timing_only"}
    assert table["top_k"].between(0, 1).all()
    assert np.isfinite(cross_val_score(pipe, X, y, cv=folds)).all()

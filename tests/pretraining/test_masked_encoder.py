"""Tests of MaskedEncoder: learning, reproducibility, state and errors."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sk_b2s import MaskedEncoder, Windows, load, make_decoders, make_masked_encoder, save
from sk_b2s.pretraining import _masks

SMALL = {
    "hidden": 16, "depth": 2, "n_virtual_channels": 8, "lr": 3e-3, "batch_size": 32, "max_epochs": 8,
    "precision": "float32", "random_state": 0, "verbose": 0,
}  # fmt: skip


def make_windows(n=64, n_channels=6, n_times=40, seed=0, subjects=("a", "b"), sfreq=40, onset=0.0):
    """Smooth sources in several channels, of subjects with one recording."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).standard_normal((n_channels, 2))
    data = np.einsum("cs,nst->nct", mixing, rng.standard_normal((n, 2, n_times)).cumsum(2))
    subject = np.resize(subjects, n)
    rows = pd.DataFrame({
        "subject": subject, "recording": [f"{one}.fif" for one in subject], "onset": onset + np.arange(n),
        "duration": n_times / sfreq,
    })  # fmt: skip
    positions = np.random.default_rng(1).uniform(size=(n_channels, 2))
    names = [f"E{i}" for i in range(n_channels)]
    return Windows.from_array(data, rows=rows, positions=positions, sfreq=sfreq, ch_names=names)


@pytest.fixture(scope="module")
def masked():
    return MaskedEncoder(**SMALL).fit(make_windows())


def test_masked_encoder_explains_smooth_signals(masked):
    assert masked.score(make_windows(seed=1)) > 0.08
    rng = np.random.default_rng(2)
    noise = Windows.from_array(rng.standard_normal((64, 6, 40)), sfreq=40, positions=rng.uniform(size=(6, 2)))
    assert masked.score(noise) < 0.05


def test_masked_encoder_starts_at_mean_of_channels():
    X = make_windows(n=32)
    first = MaskedEncoder(**{**SMALL, "lr": 1e-9, "max_epochs": 1})
    with pytest.warns(ConvergenceWarning, match="learned nothing"):
        first.fit(X)
    estimates = first.net_.infer(first._make_inputs(X).inputs(np.arange(32)))
    assert estimates.abs().max() < 1e-5


def test_transform_returns_latent_channels(masked):
    X = make_windows(seed=1)
    latent = masked.transform(X)
    assert latent.shape == (64, 16, 40)
    assert latent.dtype == np.float32
    np.testing.assert_allclose(masked.transform(X[5:8]), latent[5:8], rtol=1e-4, atol=1e-5)


def test_loss_only_depends_on_masked_values(masked, monkeypatch):
    X = make_windows(seed=1)
    expected = masked.score(X)
    scale = _masks.scale_targets_of_masks

    def spoil(x):
        targets, varies = scale(x)
        spoiled.append(targets)
        return targets + 1e3 * (~masks[len(spoiled) - 1]), varies

    masks, spoiled, draw = [], [], _masks.draw_block_mask
    monkeypatch.setattr(_masks, "draw_block_mask", lambda *args: masks.append(draw(*args)) or masks[-1])
    masked.score(X)
    monkeypatch.setattr(_masks, "scale_targets_of_masks", spoil)
    assert masked.score(X) == pytest.approx(expected, abs=1e-6)
    assert len(spoiled) == 2


def test_masked_encoder_is_reproducible(masked):
    X = make_windows()
    again = clone(masked).fit(X)
    np.testing.assert_array_equal(again.transform(X), masked.transform(X))
    other = clone(masked).set_params(random_state=1).fit(X)
    assert np.abs(other.transform(X) - masked.transform(X)).max() > 1e-3


def test_masked_encoder_survives_pickle_and_file(masked, tmp_path):
    X = make_windows(seed=1)
    save(masked, tmp_path / "masked.safetensors")
    for copied in (pickle.loads(pickle.dumps(masked)), load(tmp_path / "masked.safetensors")):
        np.testing.assert_array_equal(copied.transform(X), masked.transform(X))
        assert copied.score(X) == masked.score(X)
        pd.testing.assert_frame_equal(copied.recordings_, masked.recordings_)
        assert list(copied.history_[:, "train_loss"]) == list(masked.history_[:, "train_loss"])


def test_load_replaces_missing_device(masked, tmp_path):
    masked = pickle.loads(pickle.dumps(masked)).set_params(device="cuda:99")
    save(masked, tmp_path / "masked.safetensors")
    with pytest.warns(UserWarning, match="set to 'auto'"):
        assert load(tmp_path / "masked.safetensors").device == "auto"


def test_partial_fit_adds_subject(masked):
    X = make_windows(subjects=("c",), seed=3)
    new = pickle.loads(pickle.dumps(masked)).set_params(max_epochs=1).partial_fit(X)
    assert new.subjects_.tolist() == ["a", "b", "c"]
    assert len(new.history_) == len(masked.history_) + 1
    assert set(new.recordings_["recording"]) == {"a.fif", "b.fif", "c.fif"}
    layers = [one.net_.module_.subject_layer.matrices.detach().numpy() for one in (masked, new)]
    assert layers[1].shape[0] == 3
    np.testing.assert_array_equal(layers[1][:2], layers[0])  # no windows of theirs
    assert np.abs(layers[1][2] - layers[0].mean(0)).max() < 0.2
    first = MaskedEncoder(**SMALL).set_params(max_epochs=1)
    np.testing.assert_array_equal(clone(first).partial_fit(X).transform(X), first.fit(X).transform(X))


def test_recordings_unite_windows(masked):
    table = masked.recordings_
    assert table.columns.tolist() == ["subject", "recording", "start", "stop"]
    assert len(table) == 64
    assert table["stop"].max() == 64.0
    assert masked.stimuli_ is None


@pytest.mark.parametrize(
    ("params", "changes", "text"),
    [
        ({}, {"sfreq": None}, "sampling rate"),
        ({"mask_time": 1.0}, {}, "shorter than a window"),
        ({"kernel_size": 2}, {}, "odd"),
        ({"mask_ratio": 1.0}, {}, "mask_ratio"),
        ({}, {"positions": None}, "sensor positions"),
    ],
    ids=["no rate", "long block", "even kernel", "ratio", "no positions"],
)
def test_fit_raises_for_invalid_input(params, changes, text):
    windows = make_windows(n=8)._replace(**changes)
    with pytest.raises(ValueError, match=text):
        MaskedEncoder(**{**SMALL, **params}).fit(windows)


def test_fit_raises_for_single_samples():
    with pytest.raises(ValueError, match="at least 2 samples"):
        MaskedEncoder(**SMALL, spatial_attention=False).fit(np.random.default_rng(0).random((8, 4)))


def test_fit_raises_for_nan_behind_mask(monkeypatch):
    X = make_windows(n=8)
    X.signals[0][20] = np.nan
    monkeypatch.setattr(
        _masks,
        "draw_block_mask",
        lambda groups, n, n_times, *_: torch.ones(*groups.shape, n_times, dtype=bool),
    )
    encoder = MaskedEncoder(**SMALL)
    with pytest.raises(FloatingPointError, match="statistics of complete windows are NaN"):
        encoder.fit(X)
    with pytest.raises(ValueError, match="X has no windows"):
        MaskedEncoder(**SMALL).fit(X[:0])
    with pytest.raises(ValueError, match="weights are NaN"):
        encoder.partial_fit(make_windows(n=8))


def test_make_masked_encoder_copies_layers():
    decoder = make_decoders("clip-mel", random_state=3)["clip-mel"].set_params(
        encoder__subject_layer="embedding"
    )
    masked = make_masked_encoder(decoder, max_epochs=2)
    assert list(masked.named_steps) == ["epochs", "scale", "align", "masked"]
    last, encoder = masked["masked"], decoder["encoder"]
    assert (last.hidden, last.subject_layer, last.random_state, last.max_epochs) == (
        encoder.hidden, "embedding", 3, 2,
    )  # fmt: skip
    with pytest.raises(TypeError, match="RidgeDecoder"):
        make_masked_encoder(make_decoders("ridge")["ridge"])


def test_masked_encoder_names_nan(masked):
    X = make_windows(n=8)
    X.signals[0][20] = np.nan
    with pytest.raises(ValueError, match=r"X has NaN or infinite values in window 0 \(1 of 8"):
        masked.transform(X)
    before = masked.transform(make_windows(n=8))
    with pytest.raises(ValueError, match="X has NaN or infinite values"):
        masked.score(X)
    np.testing.assert_array_equal(masked.transform(make_windows(n=8)), before)
    X.signals[0][:] = np.nan
    with pytest.raises(FloatingPointError, match="so X contains NaN, infinite or very large values"):
        MaskedEncoder(**SMALL).fit(X)


def test_masked_encoder_names_itself_for_channels():
    masked = MaskedEncoder(**{**SMALL, "spatial_attention": False, "max_epochs": 1}).fit(make_windows())
    with pytest.raises(
        ValueError, match=r"Only MaskedEncoder\(spatial_attention=True\) accepts other sensors"
    ):
        masked.transform(make_windows(n_channels=5))

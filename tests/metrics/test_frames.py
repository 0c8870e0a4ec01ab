"""Tests that averaged and repeated frames have equal scores and fits."""

import numpy as np
import pytest
import torch

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    MelSpectrogram,
    RobustChannelScaler,
    StimulusKFold,
    Windows,
    make_segments,
)
from sk_b2s.datasets import make_listening
from sk_b2s.metrics._frames import find_frames_of_samples, frame_weights
from sk_b2s.metrics._ranks_and_top_k import ranks
from sk_b2s.metrics._similarity import similarity

N_STEPS, SFREQ_X, SFREQ_Y = 343, 120, 50


def reference_scores(Z, Y):
    """Compute scores as in the paper, without a temperature."""
    norms = np.sqrt((Y**2).sum((1, 2), keepdims=True))
    return np.einsum("bft,oft->bo", Z, Y / (1e-8 + norms))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_similarity_equals_reference_at_paper_size(dtype):
    rng = np.random.default_rng(0)
    frames = find_frames_of_samples(N_STEPS, SFREQ_X, SFREQ_Y)
    Z = rng.standard_normal((6, 1024, N_STEPS)).astype(dtype)
    Y = rng.standard_normal((9, 1024, frames[-1] + 1)).astype(dtype)
    expected = reference_scores(Z.astype(float), Y[:, :, frames].astype(float))
    pooled = np.stack([Z[:, :, frames == frame].mean(2) for frame in range(frames[-1] + 1)], axis=2)
    weights = frame_weights(N_STEPS, SFREQ_X, SFREQ_Y)
    ours = similarity(torch.from_numpy(pooled), torch.from_numpy(Y), torch.from_numpy(weights)).numpy()
    assert np.abs(ours - expected).max() < 1e-5 * max(1, np.abs(expected).max())
    target = np.array([0, 3, 8, 8, 1, 5])
    np.testing.assert_array_equal(ranks(ours, target), ranks(expected, target))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Make MEG at 60 Hz, and features at 25 and 60 Hz."""
    root = tmp_path_factory.mktemp("two_rates")
    events = make_listening(1, 3, snr_db=0, n_channels=16, random_state=2, root=root)
    X, y = make_segments(events, tmin=-0.5, tmax=2.0)
    split = next(StimulusKFold(4).split(X, y))
    brain = RobustChannelScaler().fit_transform(Epocher(sfreq=60, lag=0.15).fit_transform(X))
    features = MelSpectrogram(n_mels=20, sfreq=25).fit(y).transform(y)
    pooled = FeatureScaler().fit(features[split[0]]).transform(features)
    return brain, pooled, repeated(pooled, brain), split


def repeated(features, brain):
    """Repeat features at the rate of the EEG/MEG."""
    data = np.asarray(features)[:, :, find_frames_of_samples(brain.shape[2], brain.sfreq, features.sfreq)]
    return Windows.from_array(data, rows=features.rows, sfreq=brain.sfreq)


def fitted(experiment, heard, seed):
    """Train for a few epochs; return losses and top-10 of held-out rows."""
    brain, _, _, (train, test) = experiment
    encoder = BrainEncoder(
        hidden=24, depth=2, n_virtual_channels=16, batch_size=64, max_epochs=4, lr=3e-3, k=10, precision="float32",
        random_state=seed, verbose=0,
    )  # fmt: skip
    encoder.fit(brain[train], heard[train])
    losses = np.array([[epoch["train_loss"], epoch["valid_loss"]] for epoch in encoder.history_])
    return losses, encoder.score(brain[test], heard[test])


@pytest.mark.slow
def test_clip_loss_of_pooled_and_repeated_frames(experiment):
    """Equal seeds give equal fits up to rounding, and similar final scores."""
    _, pooled, repeats, _ = experiment
    assert pooled.shape[2] < repeats.shape[2] == experiment[0].shape[2]
    runs = [fitted(experiment, pooled, seed) for seed in range(3)]
    losses, score = fitted(experiment, repeats, 0)
    np.testing.assert_allclose(losses[:, 0], runs[0][0][:, 0], rtol=1e-3)
    np.testing.assert_allclose(losses[:, 1], runs[0][0][:, 1], rtol=5e-2)
    scores = [its for _, its in runs]
    assert min(scores) > 0.5, "there is something to lose"
    assert abs(score - scores[0]) < np.std(scores, ddof=1)
    valid = [its[-1, 1] for its, _ in runs]
    assert abs(losses[-1, 1] - valid[0]) < np.std(valid, ddof=1)

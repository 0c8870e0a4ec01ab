"""Laws of the losses."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from sk_b2s.frames import frame_of_step, frame_weights
from sk_b2s.losses import LOSSES, clip_loss, mse_loss, retrieval_cross_entropy
from sk_b2s.metrics import similarity

WEIGHTS = np.array([3, 2, 3, 2, 2])


@pytest.fixture
def pairs():
    """Estimates and speech in float64, (n_windows, n_features, n_frames)."""
    generator = torch.Generator().manual_seed(0)
    Z, Y = torch.randn(2, 6, 4, 5, generator=generator, dtype=torch.float64)
    return Z.requires_grad_(), Y


def test_clip_loss_and_its_gradient_equal_the_formula(pairs):
    Z, Y = pairs
    loss = clip_loss(Z, Y, torch.as_tensor(WEIGHTS))
    loss.backward()

    z, y = Z.detach().numpy(), Y.numpy()
    candidates = y * WEIGHTS / (1e-8 + np.sqrt((WEIGHTS * y**2).sum((1, 2), keepdims=True)))
    scores = np.einsum("ift,oft->io", z, candidates)
    assert loss.item() == pytest.approx(-np.diag(log_softmax(scores, axis=1)).mean(), abs=1e-12)
    gradient = np.einsum("io,oft->ift", softmax(scores, axis=1) - np.eye(6), candidates) / 6
    np.testing.assert_allclose(Z.grad, gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_permuting_pairs_together_changes_nothing(pairs, name):
    Z, Y = pairs
    loss, order = LOSSES[name](WEIGHTS), torch.tensor([3, 0, 5, 1, 4, 2])
    assert loss(Z[order], Y[order]).item() == pytest.approx(loss(Z, Y).item(), abs=1e-12)
    assert loss(Z[order], Y).item() != pytest.approx(loss(Z, Y).item(), abs=1e-3)


def test_clip_loss_ignores_the_loudness_of_candidates(pairs):
    Z, Y = pairs
    scale = torch.tensor([0.1, 1, 2, 3, 50, 7.0])[:, None, None]
    assert clip_loss(Z, Y * scale).item() == pytest.approx(clip_loss(Z, Y).item(), abs=1e-6)


def test_clip_loss_of_nothing_is_log_n_and_of_loud_truth_is_none(pairs):
    _, Y = pairs
    assert clip_loss(torch.zeros_like(Y), Y).item() == pytest.approx(math.log(6))
    assert clip_loss(1e4 * Y, Y).item() == pytest.approx(0, abs=1e-6)


def test_clip_loss_of_pooled_frames_equals_that_of_repeated_features():
    frames = frame_of_step(36, 120, 50)
    generator = torch.Generator().manual_seed(1)
    steps = torch.randn(6, 4, 36, dtype=torch.float64, generator=generator)
    Y = torch.randn(6, 4, int(frames[-1]) + 1, dtype=torch.float64, generator=generator)
    means = torch.stack([steps[:, :, frames == j].mean(2) for j in range(Y.shape[2])], dim=2)
    pooled = clip_loss(means, Y, torch.as_tensor(frame_weights(36, 120, 50)))
    assert pooled.item() == pytest.approx(clip_loss(steps, Y[:, :, frames]).item(), abs=1e-12)


def test_mse_loss_equals_numpy_and_repeated_frames(pairs):
    Z, Y = pairs
    errors = (Z.detach().numpy() - Y.numpy()) ** 2
    assert mse_loss(Z, Y).item() == pytest.approx(errors.mean(), abs=1e-12)
    repeated = np.repeat(errors, WEIGHTS, axis=2).mean()
    assert mse_loss(Z, Y, WEIGHTS).item() == pytest.approx(repeated, abs=1e-12)
    assert mse_loss(Z[:, :, 0], Y[:, :, 0], [4]).item() == pytest.approx(errors[:, :, 0].mean())


def test_mse_of_pooled_frames_leaves_out_the_spread_within_a_frame():
    frames = frame_of_step(36, 120, 50)
    steps = torch.randn(6, 4, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    Y = torch.zeros(6, 4, int(frames[-1]) + 1, dtype=torch.float64)
    means = torch.stack([steps[:, :, frames == j].mean(2) for j in range(Y.shape[2])], dim=2)
    spread = (steps - means[:, :, frames]).square().mean().item()
    pooled = mse_loss(means, Y, frame_weights(36, 120, 50)).item()
    assert pooled + spread == pytest.approx(mse_loss(steps, Y[:, :, frames]).item(), abs=1e-12)


def test_retrieval_cross_entropy_is_the_clip_loss_when_each_has_its_own_candidate(pairs):
    Z, Y = pairs
    scores = similarity(Z, Y)
    shared = retrieval_cross_entropy(scores, torch.arange(6))
    assert shared.item() == pytest.approx(clip_loss(Z, Y).item(), abs=1e-15)


def test_retrieval_cross_entropy_lets_windows_share_a_candidate(pairs):
    Z, Y = pairs
    target = torch.tensor([0, 0, 1, 2, 2, 2])
    scores = similarity(Z, Y[:3])
    expected = -log_softmax(scores.detach().numpy(), axis=1)[np.arange(6), target].mean()
    assert retrieval_cross_entropy(scores, target).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_float32_under_autocast(pairs, name):
    Z, Y = (A.detach().to(torch.bfloat16) for A in pairs)
    loss = LOSSES[name](WEIGHTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = loss(Z, Y)
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(loss(Z.double(), Y.double()).item(), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_descent_recovers_the_speech(name):
    """Estimates that are free to move end up nearest to their own speech."""
    generator = torch.Generator().manual_seed(0)
    Z, Y = torch.randn(2, 8, 4, 5, generator=generator)
    Z.requires_grad_()
    optimiser = torch.optim.Adam([Z], lr=0.1)
    loss = LOSSES[name](WEIGHTS)
    for _ in range(100):
        optimiser.zero_grad()
        loss(Z, Y).backward()
        optimiser.step()
    assert torch.equal(similarity(Z, Y, WEIGHTS).argmax(1), torch.arange(8))


@pytest.mark.parametrize("name", LOSSES)
def test_weights_travel_with_the_module_but_not_in_its_state(name):
    loss = LOSSES[name](WEIGHTS)
    assert loss.to("meta").weights.is_meta
    assert not loss.state_dict()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_name_shapes_that_do_not_match(name):
    with pytest.raises(ValueError, match=r"must be pairs.*got \(3, 4, 5\) and \(2, 4, 5\)"):
        LOSSES[name]()(torch.zeros(3, 4, 5), torch.zeros(2, 4, 5))
    with pytest.raises(ValueError, match=r"each of 4 frames; got shape \(5,\)"):
        LOSSES[name](WEIGHTS)(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4))

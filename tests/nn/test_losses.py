"""Losses and their registry."""

import math
import re

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from sk_b2s import BrainEncoder, nn
from sk_b2s.metrics._frames import find_frames_of_samples, frame_weights
from sk_b2s.metrics._similarity import similarity
from sk_b2s.nn._registry import LOSSES
from sk_b2s.nn.functional import (
    DUPLICATES,
    calibrated_cross_entropy,
    clip_loss,
    cosine,
    mse_loss,
    retrieval_cross_entropy,
    siglip_loss,
    symmetric_clip_loss,
)

WEIGHTS = np.array([3, 2, 3, 2, 2])


@pytest.fixture
def pairs():
    """Estimates and speech in float64, (n_windows, n_features, n_frames)."""
    generator = torch.Generator().manual_seed(0)
    Z, Y = torch.randn(2, 6, 4, 5, generator=generator, dtype=torch.float64)
    return Z.requires_grad_(), Y


def test_clip_loss_equals_formula(pairs):
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
def test_losses_ignore_order_of_pairs(pairs, name):
    Z, Y = pairs
    loss, order = LOSSES[name].module(WEIGHTS), torch.tensor([3, 0, 5, 1, 4, 2])
    assert loss(Z[order], Y[order]).item() == pytest.approx(loss(Z, Y).item(), abs=1e-12)
    assert loss(Z[order], Y).item() != pytest.approx(loss(Z, Y).item(), abs=1e-3)


def test_clip_loss_ignores_candidate_norms(pairs):
    Z, Y = pairs
    scale = torch.tensor([0.1, 1, 2, 3, 50, 7.0])[:, None, None]
    assert clip_loss(Z, Y * scale).item() == pytest.approx(clip_loss(Z, Y).item(), abs=1e-6)


def test_clip_loss_bounds(pairs):
    _, Y = pairs
    assert clip_loss(torch.zeros_like(Y), Y).item() == pytest.approx(math.log(6))
    assert clip_loss(1e4 * Y, Y).item() == pytest.approx(0, abs=1e-6)


def test_clip_loss_of_pooled_frames():
    frames = find_frames_of_samples(36, 120, 50)
    generator = torch.Generator().manual_seed(1)
    steps = torch.randn(6, 4, 36, dtype=torch.float64, generator=generator)
    Y = torch.randn(6, 4, int(frames[-1]) + 1, dtype=torch.float64, generator=generator)
    means = torch.stack([steps[:, :, frames == j].mean(2) for j in range(Y.shape[2])], dim=2)
    pooled = clip_loss(means, Y, torch.as_tensor(frame_weights(36, 120, 50)))
    assert pooled.item() == pytest.approx(clip_loss(steps, Y[:, :, frames]).item(), abs=1e-12)


def test_mse_loss_equals_numpy(pairs):
    Z, Y = pairs
    errors = (Z.detach().numpy() - Y.numpy()) ** 2
    assert mse_loss(Z, Y).item() == pytest.approx(errors.mean(), abs=1e-12)
    repeated = np.repeat(errors, WEIGHTS, axis=2).mean()
    assert mse_loss(Z, Y, WEIGHTS).item() == pytest.approx(repeated, abs=1e-12)
    assert mse_loss(Z[:, :, 0], Y[:, :, 0], [4]).item() == pytest.approx(errors[:, :, 0].mean())


def test_mse_loss_of_pooled_frames():
    frames = find_frames_of_samples(36, 120, 50)
    steps = torch.randn(6, 4, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    Y = torch.zeros(6, 4, int(frames[-1]) + 1, dtype=torch.float64)
    means = torch.stack([steps[:, :, frames == j].mean(2) for j in range(Y.shape[2])], dim=2)
    spread = (steps - means[:, :, frames]).square().mean().item()
    pooled = mse_loss(means, Y, frame_weights(36, 120, 50)).item()
    assert pooled + spread == pytest.approx(mse_loss(steps, Y[:, :, frames]).item(), abs=1e-12)


def test_retrieval_cross_entropy_equals_clip_loss(pairs):
    Z, Y = pairs
    scores = similarity(Z, Y)
    shared = retrieval_cross_entropy(scores, torch.arange(6))
    assert shared.item() == pytest.approx(clip_loss(Z, Y).item(), abs=1e-15)


def test_retrieval_cross_entropy_of_shared_targets(pairs):
    Z, Y = pairs
    target = torch.tensor([0, 0, 1, 2, 2, 2])
    scores = similarity(Z, Y[:3])
    expected = -log_softmax(scores.detach().numpy(), axis=1)[np.arange(6), target].mean()
    assert retrieval_cross_entropy(scores, target).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_float32_under_autocast(pairs, name):
    Z, Y = (A.detach().to(torch.bfloat16) for A in pairs)
    loss = LOSSES[name].module(WEIGHTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = loss(Z, Y)
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(loss(Z.double(), Y.double()).item(), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_recover_features_by_descent(name):
    generator = torch.Generator().manual_seed(0)
    Z, Y = torch.randn(2, 8, 4, 5, generator=generator)
    Z.requires_grad_()
    optimizer = torch.optim.Adam([Z], lr=0.1)
    loss = LOSSES[name].module(WEIGHTS)
    for _ in range(100):
        optimizer.zero_grad()
        loss(Z, Y).backward()
        optimizer.step()
    assert torch.equal(similarity(Z, Y, WEIGHTS).argmax(1), torch.arange(8))


@pytest.mark.parametrize("name", LOSSES)
def test_loss_weights_are_not_in_state(name):
    loss = LOSSES[name].module(WEIGHTS)
    assert set(loss.state_dict()) == {key for key, _ in loss.named_parameters()}
    assert loss.to("meta").weights.is_meta


@pytest.mark.parametrize("name", LOSSES)
def test_losses_raise_for_shapes(name):
    with pytest.raises(
        ValueError,
        match=r"Z and Y must have the same shape \(n_windows, n_features, n_frames\),.*\(3, 4, 5\) and \(2, 4, 5\) instead\.",
    ):
        LOSSES[name].module()(torch.zeros(3, 4, 5), torch.zeros(2, 4, 5))
    with pytest.raises(
        ValueError,
        match=r"weights must have one (value|entry) for each of 4 frames\. Got shape \(5,\)",
    ):
        LOSSES[name].module(WEIGHTS)(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4))


# --- duplicate segments -----------------------------------------------------------------------------

CONTRASTIVE = {"clip": clip_loss, "symmetric_clip": symmetric_clip_loss, "siglip": siglip_loss}
TARGET = torch.tensor([0, 1, 0, 2, 0, 1])  # segment of each of six windows


def dot(z, y):
    return sum(w * z[f, j] * y[f, j] for j, w in enumerate(WEIGHTS) for f in range(len(z)))


def scored(z, y, name):
    """Logit of one window and one sound, by sums."""
    length = 1 if name == "clip" else math.sqrt(dot(z, z))
    scale, bias = {"clip": (1, 0), "symmetric_clip": (1 / 0.07, 0), "siglip": (10, -10)}[name]
    return scale * dot(z, y) / (length * math.sqrt(dot(y, y))) + bias


def by_loops(Z, Y, heard, name, duplicates):
    """Compute each loss by loops over pairs."""
    n = len(Z)
    S = [[scored(Z[i], Y[heard[j]], name) for j in range(n)] for i in range(n)]

    def right(i, j):
        return i == j or (duplicates == "positive" and heard[i] == heard[j])

    def counts(i, j):
        return i == j or duplicates != "mask" or heard[i] != heard[j]

    if name == "siglip":
        pairs = [(i, j) for i in range(n) for j in range(n) if counts(i, j)]
        return sum(math.log1p(math.exp(-S[i][j] if right(i, j) else S[i][j])) for i, j in pairs) / n

    def picking(score):
        total = 0.0
        for i in range(n):
            among = sum(math.exp(score(i, j)) for j in range(n) if counts(i, j))
            total -= math.log(sum(math.exp(score(i, j)) for j in range(n) if right(i, j)) / among)
        return total / n

    forth = picking(lambda i, j: S[i][j])
    return forth if name == "clip" else (forth + picking(lambda i, j: S[j][i])) / 2


@pytest.mark.parametrize("duplicates", DUPLICATES)
@pytest.mark.parametrize("name", CONTRASTIVE)
def test_contrastive_losses_equal_formula(pairs, name, duplicates):
    Z, Y = (A.detach() for A in pairs)
    loss = LOSSES[name].module(WEIGHTS, duplicates)(Z, Y[:3], TARGET).item()
    assert loss == pytest.approx(by_loops(Z.numpy(), Y.numpy(), TARGET.tolist(), name, duplicates), rel=1e-6)


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_duplicates_option_without_duplicates(pairs, name):
    Z, Y = pairs
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    losses = [CONTRASTIVE[name](Z, Y, WEIGHTS, duplicates=mode).item() for mode in DUPLICATES]
    losses += [CONTRASTIVE[name](Z, Y[order], WEIGHTS, order.argsort()).item()]
    assert losses == pytest.approx([losses[0]] * 4, abs=1e-12)


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_keep_counts_copies_as_candidates(pairs, name):
    Z, Y = pairs
    repeated = CONTRASTIVE[name](Z, Y[:3][TARGET])
    assert CONTRASTIVE[name](Z, Y[:3], target=TARGET).item() == pytest.approx(repeated.item(), abs=1e-12)


def test_mask_removes_columns(pairs):
    Z, Y = pairs
    scores = similarity(Z, Y).detach().numpy()
    expected = []
    for i, own in enumerate(TARGET):
        others = [scores[i, t] for j, t in enumerate(TARGET) if j != i and t != own]
        expected.append(-log_softmax([scores[i, own], *others])[0])
    assert clip_loss(Z, Y[:3], target=TARGET, duplicates="mask").item() == pytest.approx(np.mean(expected))


def test_positive_reduces_loss(pairs):
    Z, Y = pairs
    for loss in (clip_loss, symmetric_clip_loss):
        keep, mask, positive = (loss(Z, Y[:3], target=TARGET, duplicates=mode).item() for mode in DUPLICATES)
        assert positive < keep
        assert mask < keep


def test_positive_keeps_clip_gradient(pairs):
    Z, Y = pairs
    losses = [clip_loss(Z, Y[:3], target=TARGET, duplicates=mode) for mode in ("keep", "positive")]
    expected = np.log(np.bincount(TARGET)[TARGET]).mean()
    assert (losses[0] - losses[1]).item() == pytest.approx(expected)
    first, second = (torch.autograd.grad(loss, Z)[0] for loss in losses)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_duplicates_change_gradient_of_matches(name):
    Y = torch.nn.functional.normalize(torch.randn(5, 12, generator=torch.Generator().manual_seed(0)).double())
    heard = torch.tensor([0, 0, 1, 2, 3, 4])
    loss = {m: LOSSES[name].module(duplicates=m) for m in DUPLICATES}
    for m in DUPLICATES if name == "siglip" else ():
        torch.nn.init.constant_(loss[m].bias, -5.0)  # that of -10 is even between yes and no here
    loss = {m: loss[m](30 * Y[heard], Y, heard) for m in DUPLICATES}
    assert loss["keep"] > loss["mask"] + 0.1
    assert loss["keep"] > loss["positive"] + 0.1


# --- laws of the cosine losses ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["symmetric_clip", "siglip"])
def test_cosine_losses_ignore_norms(pairs, name):
    Z, Y = pairs
    scale = torch.tensor([0.1, 1, 2, 3, 50, 7.0])[:, None, None]
    expected = CONTRASTIVE[name](Z, Y, WEIGHTS).item()
    assert CONTRASTIVE[name](Z * scale, Y * scale.flip(0), WEIGHTS).item() == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize("duplicates", DUPLICATES)
def test_symmetric_clip_is_symmetric(pairs, duplicates):
    Z, Y = pairs
    forth = symmetric_clip_loss(Z, Y, WEIGHTS, duplicates=duplicates).item()
    assert symmetric_clip_loss(Y, Z, WEIGHTS, duplicates=duplicates).item() == pytest.approx(forth, abs=1e-6)


def test_cosine_ranks_like_similarity(pairs):
    Z, Y = pairs
    z, y = ((A.detach().numpy() * WEIGHTS**0.5).reshape(6, -1) for A in (Z, Y))
    expected = z @ y.T / np.outer(np.linalg.norm(z, axis=1), np.linalg.norm(y, axis=1))
    np.testing.assert_allclose(cosine(Z, Y, WEIGHTS).detach(), expected, atol=1e-7)
    assert torch.equal(cosine(Z, Y, WEIGHTS).argsort(1), similarity(Z, Y, WEIGHTS).argsort(1))


def test_siglip_minimum():
    Y = torch.tensor([[1.0, 0], [-1, 0]]).double()
    scale, bias = 7.0, 0.5
    best = siglip_loss(3 * Y, Y, scale=scale, bias=bias).item()
    assert best == pytest.approx(math.log1p(math.exp(-7.5)) + math.log1p(math.exp(-6.5)))
    for angle in np.linspace(0.1, 2 * np.pi - 0.1, 20):
        turned = Y @ torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        assert siglip_loss(turned, Y, scale=scale, bias=bias) > best


@pytest.mark.parametrize("name", CONTRASTIVE)
@pytest.mark.parametrize("duplicates", DUPLICATES)
def test_losses_finite_gradients_at_zero(pairs, name, duplicates):
    Z, Y = (A.detach().clone() for A in pairs)
    Z[4], Y[1] = 0, 0
    Z.requires_grad_(), Y.requires_grad_()
    LOSSES[name].module(WEIGHTS, duplicates)(Z, Y, torch.tensor([0, 1, 0, 2, 1, 3])).backward()
    assert Z.grad.isfinite().all()
    assert Y.grad.isfinite().all()


def test_symmetric_clip_of_equal_estimates():
    Y = torch.randn(1, 4, 5).expand(6, 4, 5)
    assert symmetric_clip_loss(Y, Y).item() == pytest.approx(math.log(6))


@pytest.mark.parametrize("name", ["symmetric_clip", "siglip"])
def test_as_compared_gives_logits(pairs, name):
    Z, Y = (A.detach() for A in pairs)
    loss = LOSSES[name].module(WEIGHTS)
    scores = similarity(loss.as_compared(Z), Y, WEIGHTS)
    torch.testing.assert_close(scores, loss.scale().detach() * cosine(Z, Y, WEIGHTS))


@pytest.mark.parametrize("name", ["symmetric_clip", "siglip"])
def test_temperature_is_limited(pairs, name):
    Z, Y = pairs
    loss = LOSSES[name].module(WEIGHTS)
    torch.nn.init.constant_(loss.log_scale, 9.0)
    loss(Z, Y).backward()
    assert loss.log_scale.exp().item() == pytest.approx(100)
    assert loss.log_scale.grad.abs() > 0, "it can come back"


# --- the cross-entropy at its best temperature ------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_calibrated_cross_entropy_is_minimum(scale):
    from scipy.optimize import minimize_scalar

    rng = np.random.default_rng(0)
    target = rng.integers(7, size=50)
    scores = rng.standard_normal((50, 7))
    scores[np.arange(50), target] += 1.0
    scores *= rng.exponential(size=(50, 1))  # windows differ in how sure they are

    def at(log_beta):
        return -log_softmax(np.exp(log_beta) * scores, axis=1)[np.arange(50), target].mean()

    found = minimize_scalar(at, bounds=(-10, 10), method="bounded", options={"xatol": 1e-9})
    loss, beta = calibrated_cross_entropy(torch.from_numpy(scale * scores), torch.from_numpy(target))
    assert loss.item() == pytest.approx(found.fun, rel=1e-7)
    assert beta.item() * scale == pytest.approx(np.exp(found.x), rel=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e20, 1e37])
def test_calibrated_cross_entropy_ignores_norms(scale):
    scores, target = torch.tensor([[8.0, 0.0], [8.0, 0.0], [8.0, 0.0]]), torch.tensor([0, 0, 1])
    loss, beta = calibrated_cross_entropy(scale * scores, target)
    assert loss.item() == pytest.approx(math.log(3) - 2 / 3 * math.log(2), rel=1e-5)  # sure by two to one
    assert 8 * scale * beta.item() == pytest.approx(math.log(2), rel=1e-3)


def test_calibrated_cross_entropy_bounds():
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.integers(9, size=40))
    noise = torch.from_numpy(rng.standard_normal((40, 9)))
    right = torch.eye(9, dtype=torch.float64)[target]
    assert calibrated_cross_entropy(noise, target)[0] <= math.log(9) + 1e-12
    for nothing in (-right, torch.zeros_like(noise)):
        loss, scale = calibrated_cross_entropy(nothing, target)
        assert (loss.item(), scale.item()) == (pytest.approx(math.log(9)), 0)
    assert calibrated_cross_entropy(right, target)[0].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_raise_for_targets(name):
    with pytest.raises(
        ValueError,
        match=r"Z and Y must have equal \(n_features, n_frames\), and target one.*5\), \(2, 4, 5\) and \(2,\) instead\.",
    ):
        LOSSES[name].module()(torch.zeros(3, 4, 5), torch.zeros(2, 4, 5), torch.tensor([0, 1]))


def test_losses_raise_for_unknown_duplicates():
    with pytest.raises(
        ValueError, match=r"duplicates must be one of \('keep', 'mask', 'positive'\)\. Got 'drop' instead\."
    ):
        clip_loss(torch.zeros(3, 4), torch.zeros(3, 4), duplicates="drop")


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_documented(name):
    assert LOSSES[name].name == name
    assert f'"{name}"' in re.search(r"\n    loss : \{(.*?)\}", BrainEncoder.__doc__)[1]
    assert LOSSES[name].module.__name__ in nn.__all__

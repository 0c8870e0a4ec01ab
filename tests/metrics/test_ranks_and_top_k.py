"""Laws of the similarity and of the ranks."""

import numpy as np
import pytest
import torch

from sk_b2s.metrics._frames import find_frames_of_samples, frame_weights
from sk_b2s.metrics._ranks_and_top_k import (
    balanced_top_k,
    chance_level,
    median_relative_rank,
    ranks,
    top_k_accuracy,
)
from sk_b2s.metrics._similarity import similarity, weighted_norms

KINDS = {"numpy": np.asarray, "torch": torch.as_tensor}


@pytest.fixture(params=KINDS)
def kind(request):
    """Turn an array into one of the kinds the metrics take."""
    return KINDS[request.param]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Similarity


def test_similarity_with_norms_and_out(kind, rng):
    Z, Y, w = rng.normal(size=(5, 4, 6)), rng.normal(size=(3, 4, 6)), rng.integers(1, 4, 6)
    expected = similarity(kind(Z), kind(Y), kind(w))
    norms = weighted_norms(kind(Y), w)
    np.testing.assert_allclose(norms, np.sqrt((w * Y**2).sum((1, 2))), rtol=1e-12)
    np.testing.assert_allclose(similarity(kind(Z), kind(Y), w, norms=norms), expected, rtol=1e-12)
    matrix = kind(np.zeros((5, 9)))
    scores = similarity(kind(Z * w), kind(Y), norms=norms, out=matrix[:, 4:7])
    np.testing.assert_allclose(matrix[:, 4:7], expected, rtol=1e-12)
    assert scores.shape == (5, 3)
    assert (matrix[:, :4] == 0).all()
    assert (matrix[:, 7:] == 0).all()
    with pytest.raises(
        ValueError, match=r"norms must have one entry for each of 3 candidates. Got shape \(2,\)"
    ):
        similarity(kind(Z), kind(Y), norms=norms[:2])
    with pytest.raises(ValueError, match="weights must have one entry for each of 6 frames"):
        weighted_norms(kind(Y), w[:5])


@pytest.mark.parametrize("memory", ["feature-major", "time-major", "mixed"])
def test_similarity_equals_the_formula(kind, rng, memory):
    Z, Y, w = rng.normal(size=(5, 4, 6)), rng.normal(size=(3, 4, 6)), rng.integers(1, 4, 6)
    expected = np.empty((5, 3))
    for i, z in enumerate(Z):
        for o, y in enumerate(Y):
            expected[i, o] = (w * z * y).sum() / (1e-8 + np.sqrt((w * y**2).sum()))
    if memory != "feature-major":
        Z = np.ascontiguousarray(Z.swapaxes(1, 2)).swapaxes(1, 2)
    if memory == "time-major":
        Y = np.ascontiguousarray(Y.swapaxes(1, 2)).swapaxes(1, 2)
    scores = similarity(kind(Z), kind(Y), kind(w))
    assert type(scores) is type(kind(Z))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)


def test_pooled_similarity_equals_the_repeated_form(kind, rng):
    frames = find_frames_of_samples(343, 120, 50)
    steps, Y = rng.normal(size=(6, 8, 343)), rng.normal(size=(9, 8, frames[-1] + 1))
    repeated = similarity(kind(steps), kind(Y[:, :, frames]))
    means = np.stack([steps[:, :, frames == j].mean(2) for j in range(frames[-1] + 1)], axis=2)
    pooled = similarity(kind(means), kind(Y), frame_weights(343, 120, 50))
    np.testing.assert_allclose(pooled, repeated, rtol=0, atol=1e-12)


def test_similarity_of_rescaled_inputs(kind, rng):
    Z, Y, w = rng.normal(size=(5, 4, 6)), rng.normal(size=(3, 4, 6)), rng.integers(1, 4, 6)
    scores = similarity(kind(Z), kind(Y), w)
    scale = np.array([0.01, 3, 400.0])[:, None, None]
    np.testing.assert_allclose(similarity(kind(Z), kind(Y * scale), w), scores, rtol=1e-5)
    np.testing.assert_allclose(similarity(kind(7 * Z), kind(Y), w), 7 * scores, rtol=1e-12)


def test_no_estimate_beats_the_candidate_itself(kind, rng):
    Y = kind(rng.normal(size=(20, 4, 6)))
    assert (similarity(Y, Y).argmax(1) == kind(np.arange(20))).all()


def test_no_frame_axis_is_one_frame(kind, rng):
    Z, Y = rng.normal(size=(5, 4)), rng.normal(size=(3, 4))
    np.testing.assert_array_equal(
        similarity(kind(Z), kind(Y)), similarity(kind(Z[:, :, None]), kind(Y[:, :, None]))
    )
    np.testing.assert_allclose(similarity(kind(Z), kind(Y), [4]), 2 * similarity(kind(Z), kind(Y)), rtol=1e-7)


def test_frames_of_no_weight_have_no_influence(kind, rng):
    Z, Y = rng.normal(size=(5, 4, 6)), rng.normal(size=(3, 4, 6))
    expected = similarity(kind(Z[:, :, 1:]), kind(Y[:, :, 1:]))
    Y[:, :, 0] = 1e3
    scores = similarity(kind(Z), kind(Y), [0, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)


def test_similarity_of_zero_candidate():
    Z = torch.randn(2, 3, 4, requires_grad=True)
    Y = torch.zeros(2, 3, 4, requires_grad=True)
    scores = similarity(Z, Y, [1, 2, 3, 1])
    assert (scores == 0).all()
    scores.sum().backward()
    assert Y.grad.isfinite().all()


def test_similarity_has_the_gradient_of_its_formula():
    generator = torch.Generator().manual_seed(0)
    Z, Y = torch.randn(2, 3, 2, 4, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda Z, Y: similarity(Z, Y, [1, 2, 3, 1]), (Z, Y))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_similarity_is_float32_at_least(dtype, rng):
    Z = torch.as_tensor(rng.integers(-3, 4, size=(5, 4, 6))).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = similarity(Z, Z)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, similarity(Z.float(), Z.float()), rtol=0, atol=0)
    assert similarity(Z.float().numpy(), Z.short().numpy()).dtype == np.float32


@pytest.mark.parametrize(
    ("Z", "Y", "weights", "match"),
    [
        ((5, 4, 6), (3, 4, 5), None, r"Got \(4, 6\) and \(4, 5\)"),
        ((5, 4, 6), (3, 4), None, "must agree"),
        ((5,), (3, 4), None, "Z must have the axes"),
        ((5, 4, 6), (3, 4, 6), [1, 2], r"each of 6 frames. Got shape \(2,\)"),
    ],
)
def test_similarity_names_shapes_that_do_not_match(kind, Z, Y, weights, match):
    with pytest.raises(ValueError, match=match):
        similarity(kind(np.ones(Z)), kind(np.ones(Y)), weights)


def test_similarity_does_not_mix_kinds():
    with pytest.raises(TypeError, match="Got Tensor and ndarray"):
        similarity(torch.ones(2, 3), np.ones((2, 3)))


# Ranks


def test_ranks_equal_a_count_by_hand(kind, rng):
    scores, target = rng.normal(size=(50, 12)).round(1), rng.integers(0, 12, 50)
    expected = [
        sum(s >= row[t] for o, s in enumerate(row) if o != t) for row, t in zip(scores, target, strict=True)
    ]
    result = ranks(kind(scores), kind(target))
    assert type(result) is type(kind(target))
    assert result.tolist() == expected


def test_ranks_are_bounded_and_invariant(kind, rng):
    scores, target = rng.normal(size=(50, 12)), rng.integers(0, 12, 50)
    result = ranks(kind(scores), kind(target))
    assert 0 <= result.min() <= result.max() <= 11
    assert ranks(kind(np.exp(3 * scores)), kind(target)).tolist() == result.tolist()
    order = rng.permutation(12)
    moved = ranks(kind(scores[:, order]), kind(np.argsort(order)[target]))
    assert moved.tolist() == result.tolist()


def test_ties_count_against(kind):
    scores = kind(np.array([[1.0, 1, 1, 1], [0, 2, 2, 1], [-np.inf, -np.inf, 0, 0]]))
    assert ranks(scores, kind(np.array([0, 1, 0]))).tolist() == [3, 1, 3]


def test_nan_raises_and_names_the_rows(kind):
    scores = np.zeros((30, 3))
    scores[4, 2] = scores[7, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN in 2 of 30 rows \(4, 7\)"):
        ranks(kind(scores), kind(np.zeros(30, dtype=int)))
    with pytest.raises(ValueError, match=r"NaN in 30 of 30 rows \(0, 1, 2, 3, 4, \.\.\.\)"):
        ranks(kind(scores + np.nan), kind(np.zeros(30, dtype=int)))


@pytest.mark.parametrize("wrong", [-1, 3])
def test_target_out_of_range_raises(kind, wrong):
    with pytest.raises(ValueError, match=r"0 to 2. It is not in rows 1"):
        ranks(kind(np.zeros((2, 3))), kind(np.array([0, wrong])))


def test_ranks_want_one_target_per_row(kind):
    with pytest.raises(ValueError, match=r"Got \(2, 3\) and \(3,\)"):
        ranks(kind(np.zeros((2, 3))), kind(np.zeros(3, dtype=int)))


# Summaries


def test_perfect_and_worst_scores(kind):
    best, worst = kind(np.zeros(5, dtype=int)), kind(np.full(5, 19))
    assert top_k_accuracy(best, 1, 20) == 1
    assert top_k_accuracy(worst, 19, 20) == 0
    assert median_relative_rank(best, 20) == 0
    assert median_relative_rank(worst, 20) == 1


def test_top_k_accuracy_equals_sklearn(rng):
    from sklearn.metrics import top_k_accuracy_score

    scores, target = rng.normal(size=(200, 15)), rng.integers(0, 15, 200)
    weight = rng.random(200)
    for k in (1, 5, 10):
        expected = top_k_accuracy_score(target, scores, k=k, labels=np.arange(15), sample_weight=weight)
        result = top_k_accuracy(ranks(scores, target), k, 15, sample_weight=weight)
        assert result == pytest.approx(expected, abs=1e-12)


def test_accuracy_never_falls_with_k(rng):
    result = ranks(rng.normal(size=(200, 15)), rng.integers(0, 15, 200))
    accuracies = [top_k_accuracy(result, k, 15) for k in range(1, 15)]
    assert accuracies == sorted(accuracies)


def test_noise_is_at_chance(rng):
    n_windows, n_candidates = 20_000, 40
    result = ranks(rng.normal(size=(n_windows, n_candidates)), np.arange(n_windows) % n_candidates)
    chance = chance_level(10, n_candidates)
    assert chance == 0.25
    deviation = np.sqrt(chance * (1 - chance) / n_windows)
    assert abs(top_k_accuracy(result, 10, n_candidates) - chance) < 4 * deviation
    assert median_relative_rank(result, n_candidates) == pytest.approx(0.5, abs=0.03)


def test_whole_weights_equal_repeated_rows(rng):
    result, weight = rng.integers(0, 20, 50), rng.integers(0, 4, 50)
    assert top_k_accuracy(result, 5, 20, weight) == pytest.approx(
        top_k_accuracy(np.repeat(result, weight), 5, 20)
    )


@pytest.mark.parametrize("k", [0, 10, 11])
def test_no_more_candidates_than_k_raises(k):
    with pytest.raises(ValueError, match=rf"k={k} and 10 candidates.*smaller k"):
        chance_level(k, 10)
    with pytest.raises(ValueError, match=rf"k={k} and 10 candidates"):
        top_k_accuracy([0, 1], k, 10)


def test_single_candidate_has_no_rank():
    with pytest.raises(ValueError, match="1 candidates"):
        median_relative_rank([0], 1)


@pytest.mark.parametrize(
    ("result", "weight", "match"),
    [
        ([], None, "at least one window"),
        ([0, 20], None, "from 0 to 20"),
        ([0, 1], [1], r"each of 2 windows .* Got shape \(1,\)"),
        ([0, 1], [0, 0], "positive sum"),
    ],
)
def test_summaries_name_what_is_wrong(result, weight, match):
    with pytest.raises(ValueError, match=match):
        top_k_accuracy(result, 5, 20, weight)


def test_balanced_top_k_is_mean_of_label_means(rng):
    result, labels = rng.integers(0, 30, 200), rng.integers(0, 12, 200) ** 2 // 12
    by_hand = np.mean([np.mean([r < 10 for r in result[labels == label]]) for label in set(labels)])
    assert balanced_top_k(result, labels, 10, 30) == pytest.approx(by_hand)
    assert balanced_top_k(result, np.arange(200), 10, 30) == pytest.approx(top_k_accuracy(result, 10, 30))

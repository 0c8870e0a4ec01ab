"""Scores in pieces are the scores in one piece, whatever fits into memory."""

import numpy as np
import pytest
import torch

from sk_b2s import Windows
from sk_b2s.decoding._candidates import make_candidate_windows
from sk_b2s.metrics._ranks_and_top_k import ranks
from sk_b2s.metrics._similarity import similarity
from sk_b2s.metrics._tiled import check_tiled_estimates, iter_tiled_scores

N_FEATURES, N_FRAMES = 6, 5
N_BYTES = 4 * N_FEATURES * N_FRAMES  # of a candidate
WEIGHTS = torch.tensor([2.0, 3, 2, 3, 1])


class Counting(Windows):
    """Windows that note what was cut, and how many at once."""

    cut: list

    def gather(self, indices=None, out=None, device=None):
        self.cut.append(np.arange(len(self))[indices])
        return super().gather(indices, out, device)


def heard(n_candidates, whole=False):
    """Overlapping candidates of two stimuli, some equal, one silent."""
    rng = np.random.default_rng(0)
    signals = [rng.integers(-3, 4, (30, N_FEATURES)).astype("f4") for _ in range(2)]
    if not whole:
        signals = [signal + rng.standard_normal(signal.shape, dtype="f4") for signal in signals]
    signals[1][10:20] = 0
    which = np.sort(rng.integers(0, 2, n_candidates))
    windows = Counting(signals, which, rng.integers(0, 30 - N_FRAMES, n_candidates), N_FRAMES, 50)
    windows.cut = []
    return windows


def estimates_of(n_windows, whole=False):
    rng, shape = np.random.default_rng(1), (n_windows, N_FEATURES, N_FRAMES)
    values = rng.integers(-3, 4, shape) if whole else rng.standard_normal(shape)
    return torch.as_tensor(values, dtype=torch.float32)


def collect(Z, targets, weights=WEIGHTS):
    """Return all scores, and the rows in which they came."""
    asked, came, parts = [], [], []

    def embed(rows):
        asked.append(rows)
        return Z[rows]

    for rows, scores in iter_tiled_scores(embed, len(Z), targets, weights):
        came.append(rows)
        parts.append(scores)
    np.testing.assert_array_equal(
        np.concatenate(asked), np.arange(len(Z)), "each is estimated once, in order"
    )
    np.testing.assert_array_equal(np.concatenate(came), np.arange(len(Z)))
    return torch.cat(parts), came


# Bytes of a chunk and of what is held, in candidates; candidates that are held are cut once.
BUDGETS = {
    "all in one": (1000, 1000), "held, in pieces": (8, 1000), "tiles": (8, 16), "uneven tiles": (7, 23),
    "one at a time": (1, 1), "less than one": (0.5, 0.5),
}  # fmt: skip


@pytest.fixture(params=BUDGETS)
def budget(request, monkeypatch):
    chunk, held = (int(N_BYTES * n) for n in BUDGETS[request.param])
    monkeypatch.setattr("sk_b2s.metrics._tiled.CHUNK_BYTES", chunk)
    monkeypatch.setattr("sk_b2s.metrics._tiled.TILE_BYTES", chunk)
    monkeypatch.setattr("sk_b2s.metrics._tiled.HELD_BYTES", held)
    return chunk, held


@pytest.mark.parametrize("weights", [None, WEIGHTS, WEIGHTS.numpy(), [2, 3, 2, 3, 1]], ids=str)
def test_iter_tiled_scores_pieces_equal_whole(budget, weights):
    targets, Z = heard(41), estimates_of(29)
    scores, _ = collect(Z, targets, weights)
    expected = similarity(Z, targets.gather(), None if weights is None else torch.as_tensor(weights).float())
    assert scores.dtype == torch.float32
    assert expected.abs().max() > 1
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


def test_iter_tiled_scores_ranks_and_ties(budget):
    """Sums of integers are exact, so that equal candidates tie."""
    targets, Z = heard(41, whole=True), estimates_of(29, whole=True)
    target = np.random.default_rng(2).integers(0, 41, 29)
    scores, _ = collect(Z, targets)
    expected = similarity(Z, targets.gather(), WEIGHTS)
    found = ranks(scores, target)
    assert torch.equal(found, ranks(expected, target))
    twins = np.unique(np.asarray(targets).reshape(41, -1), axis=0, return_inverse=True)[1].ravel()
    assert max(np.bincount(twins)) > 1, "or there are no ties"
    for row, place in enumerate(twins[target]):
        assert found[row] >= np.count_nonzero(twins == place) - 1
    silent = (np.asarray(targets) == 0).all((1, 2))
    assert silent.any()
    assert (scores[:, silent] == 0).all()


def test_iter_tiled_scores_number_of_cuts(budget):
    chunk, held = budget
    targets, Z = heard(41), estimates_of(29)
    _, came = collect(Z, targets)
    cut = np.bincount(np.concatenate(targets.cut), minlength=41)
    fits = 41 * N_BYTES <= held
    assert (cut == (1 if fits else len(came))).all()
    assert all(len(indices) * N_BYTES <= max(chunk, N_BYTES) for indices in targets.cut)
    assert all(len(rows) * N_BYTES <= max(chunk if fits else held, N_BYTES) for rows in came)
    assert all(4 * 41 * len(rows) <= max(chunk, 4 * 41) for rows in came), "scores take room, too"


def test_iter_tiled_scores_number_of_blocks(monkeypatch):
    monkeypatch.setattr("sk_b2s.metrics._tiled.HELD_BYTES", 20 * N_BYTES)
    _, came = collect(estimates_of(50), heard(21))
    assert sorted(map(len, came)) == [16, 17, 17]


def test_iter_tiled_scores_does_not_reuse_memory(monkeypatch):
    monkeypatch.setattr("sk_b2s.metrics._tiled.HELD_BYTES", 8 * N_BYTES)
    Z, targets = estimates_of(20), heard(30)
    kept = [(scores, scores.clone()) for _, scores in iter_tiled_scores(lambda rows: Z[rows], 20, targets)]
    assert len(kept) == 3
    for scores, at_once in kept:
        assert torch.equal(scores, at_once)


def test_iter_tiled_scores_needs_no_gradient():
    Z = estimates_of(4).requires_grad_()
    for _, scores in iter_tiled_scores(lambda rows: Z[rows], 4, heard(5), WEIGHTS):
        assert torch.is_grad_enabled()
        assert not scores.requires_grad


def test_iter_tiled_scores_accepts_empty_input():
    assert list(iter_tiled_scores(lambda rows: None, 0, heard(5))) == []


def test_iter_tiled_scores_rejects_other_shapes():
    Z = torch.ones(4, N_FEATURES, 1)  # would broadcast
    with pytest.raises(ValueError, match=r"Estimates of \(n_features, n_frames\) \(6, 1\).* of \(6, 5\)"):
        list(iter_tiled_scores(lambda rows: Z[rows], 4, heard(5)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_iter_tiled_scores_rejects_nan_estimates(bad, budget):
    Z = estimates_of(9)
    Z[5, 2, 3] = bad
    with pytest.raises(
        ValueError, match="the estimates of 1 windows are NaN or infinite, the first that of row 5"
    ):
        collect(Z, heard(20))
    with pytest.raises(ValueError, match="of 2 windows .* row 5"):
        check_tiled_estimates(Z[[5, 0, 5]], np.array([5, 6, 7]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_iter_tiled_scores_rejects_nan_candidates(bad, budget):
    targets = heard(20)
    targets.signals[targets.which[17]][targets.start[17] + 2, 3] = bad
    holed = np.flatnonzero(~np.isfinite(np.asarray(targets)).all((1, 2)))
    with pytest.raises(ValueError, match=f"candidates are NaN or infinite, .* of candidate {holed[0]}:"):
        collect(estimates_of(9), targets)


def test_iter_tiled_scores_accepts_large_estimates():
    check_tiled_estimates(torch.full((2, 3, 4), 3e38), np.arange(2))


def test_candidates_refuse_labels():
    with pytest.raises(ValueError, match="Got labels such as 'a'. Decoders rank segments of speech"):
        make_candidate_windows(np.array(["a", "b"]))

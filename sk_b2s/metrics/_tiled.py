"""Similarities with all candidates, computed in tiles of bounded memory."""

from __future__ import annotations

import numpy as np
import torch

from sk_b2s._utils._chunks import split_rows
from sk_b2s._utils._devices import free_bytes
from sk_b2s.metrics._similarity import similarity, weighted_norms

CHUNK_BYTES = 2**28  # of estimates that are asked for at a time, and of scores
HELD_BYTES = 2**30  # of candidates held for good, or of estimates held while candidates pass by
TILE_BYTES = 2**29  # of what passes by; 380 rows of 1,024 x 343 multiply a fifth faster than 190


def iter_scores(embed, n_windows, targets, weights=None, device=None):
    """Score windows against candidates in pieces of bounded memory.

    Every window is estimated once. Candidates that fit into ``HELD_BYTES`` (on a GPU: a quarter of its
    free memory) are cut once and held. Others pass by in tiles of ``TILE_BYTES``, once for each block
    of ``HELD_BYTES`` of estimates: a candidate of F numbers is copied for 2·a·F operations with a block
    of a windows, so that a decides how near the whole comes to the rate of matrix products.

    Parameters
    ----------
    embed : callable
        ``embed(indices) -> (len(indices), n_features, n_frames)``, the estimates of some windows.
    n_windows : int
    targets : Windows of shape (n_candidates, n_features, n_frames)
        Features of the candidates.
    weights : array-like of shape (n_frames,), default=None
        Steps in each frame.
    device : torch.device, default=None
        Where the products are made.

    Yields
    ------
    rows : ndarray of int of shape (n_rows,)
        Windows, in order.
    scores : Tensor of shape (n_rows, n_candidates)
        Their :func:`~sk_b2s.metrics.similarity` to every candidate, float32.
    """
    device = torch.device("cpu" if device is None else device)
    held_bytes = _held_bytes(device)
    n_candidates, n_bytes = len(targets), 4 * targets.shape[1] * targets.shape[2]
    candidates = _Tiles(targets, weights, device, n_candidates * n_bytes <= held_bytes)
    most = TILE_BYTES if candidates.are_held else held_bytes
    blocks = split_rows(np.arange(n_windows), min(most // n_bytes, CHUNK_BYTES // (4 * max(1, n_candidates))))
    estimates = torch.empty(max(map(len, blocks), default=0), *targets.shape[:0:-1], device=device)
    for rows in blocks:
        block = estimates[: len(rows)].transpose(1, 2)
        for part in split_rows(np.arange(len(rows)), CHUNK_BYTES // n_bytes):
            _weigh(embed(rows[part]), rows[part], weights, out=block[part[0] : part[-1] + 1])
        yield rows, candidates.compare(block)


def _held_bytes(device):
    """Bytes that may be held for long on a device."""
    return free_bytes(device) // 4 if device.type == "cuda" else HELD_BYTES


@torch.no_grad()
def _weigh(Z, rows, weights, out):
    """Check estimates and write them, weighted, where they are held."""
    if tuple(Z.shape) != tuple(out.shape):
        raise ValueError(
            f"estimates of {tuple(Z.shape[1:])} (n_features, n_frames) cannot be compared with candidates of "
            f"{tuple(out.shape[1:])}; read both with the same speech features and window."
        )
    check_estimates(Z, rows)
    if weights is None:
        out.copy_(Z)
    else:
        torch.mul(Z, torch.as_tensor(weights, dtype=out.dtype, device=Z.device), out=out)


class _Tiles:
    """Candidates, a bounded number at a time, whose norms are computed when they are first met.

    Parameters
    ----------
    targets : Windows of shape (n_candidates, n_features, n_frames)
    weights : array-like of shape (n_frames,) or None
    device : torch.device
    are_held : bool
        Whether what was cut is kept.
    """

    def __init__(self, targets, weights, device, are_held):
        self.targets, self.weights, self.device, self.are_held = targets, weights, device, are_held
        n_candidates, n_features, n_frames = targets.shape
        self.parts = split_rows(np.arange(n_candidates), TILE_BYTES // (4 * n_features * n_frames))
        self.norms = [None] * len(self.parts)
        self.held = [None] * len(self.parts)
        # A ready buffer saves the kernel's zeroing of new pages; a device has memory of its own.
        ready = not are_held and device.type == "cpu" and self.parts
        self.buffer = targets.empty(len(self.parts[0])) if ready else None

    @torch.no_grad()
    def compare(self, Z):
        """Score weighted estimates against all candidates: (n_windows, n_candidates)."""
        scores = torch.empty(len(Z), len(self.targets), device=self.device)
        for index, part in enumerate(self.parts):
            Y = self._cut(index)
            if self.norms[index] is None:
                self.norms[index] = self._measure(Y, part)
            similarity(Z, Y, norms=self.norms[index], out=scores[:, part[0] : part[-1] + 1])
        return scores

    def _measure(self, Y, part):
        """Norms of candidates, or raise where one is no number: it would be the answer to every window."""
        norms = weighted_norms(Y, self.weights)
        bad = part[(~torch.isfinite(norms)).cpu().numpy()]
        if len(bad):
            raise ValueError(
                f"the features of {len(bad)} candidates are NaN or infinite, the first those of candidate {bad[0]}: "
                f"look for NaN or huge values in y or in what speech= makes of it, or for a fit that diverged."
            )
        return norms

    def _cut(self, index):
        if self.held[index] is not None:
            return self.held[index]
        part = self.parts[index]
        buffer = None if self.buffer is None else self.buffer[: len(part)]
        Y = self.targets.gather(part, out=buffer, device=self.device)
        if self.are_held:
            self.held[index] = Y
        return Y


def check_estimates(Z, rows):
    """Raise where estimates are NaN: an answer from them would be one of the candidates all the same."""
    if torch.isfinite(Z.sum()):  # as a sum is only if all its terms are; one pass without a mask
        return
    bad = rows[(~torch.isfinite(Z.reshape(len(Z), -1)).all(1)).cpu().numpy()]
    if len(bad):
        raise ValueError(
            f"the estimates of {len(bad)} windows are NaN or infinite, the first that of row {bad[0]}: X holds NaN "
            f"there, or the decoder's weights do."
        )

"""Similarities with all candidates, computed in tiles of bounded memory."""

from __future__ import annotations

import numpy as np
import torch

from sk_b2s._utils._chunks import split_rows_into_chunks
from sk_b2s._utils._devices import get_free_device_bytes
from sk_b2s.metrics._similarity import similarity, weighted_norms

CHUNK_BYTES = 2**28  # of estimates that are computed at a time, and of scores
HELD_BYTES = 2**30  # of candidates that stay in memory, or of estimates while tiles are compared with them
TILE_BYTES = 2**29  # of a tile of candidates; 380 rows of 1,024 x 343 multiply a fifth faster than 190


def iter_tiled_scores(embed, n_windows, targets, weights=None, device=None):
    """Compute scores of windows with all candidates in bounded memory.

    Every window is estimated once. Candidates that fit into ``HELD_BYTES`` (on
    a GPU, into a quarter of its free memory) are read once and stay in memory.
    Otherwise they are read in tiles of ``TILE_BYTES``, once for each block of
    ``HELD_BYTES`` of estimates. Reading a candidate of F numbers serves 2·a·F
    operations with a block of a windows. The larger a, the nearer the speed
    comes to that of matrix products.

    Parameters
    ----------
    embed : callable
        ``embed(indices) -> (len(indices), n_features, n_frames)`` computes the
        estimates of some windows.
    n_windows : int
    targets : Windows of shape (n_candidates, n_features, n_frames)
        Features of the candidates.
    weights : array-like of shape (n_frames,), default=None
        Number of samples in each frame.
    device : torch.device, default=None
        Device of the products. If None, it is the CPU.

    Yields
    ------
    rows : ndarray of int of shape (n_rows,)
        Windows, in order.
    scores : Tensor of shape (n_rows, n_candidates)
        Their :func:`~sk_b2s.metrics.similarity` with all candidates, float32.
    """
    device = torch.device("cpu" if device is None else device)
    held_bytes = _count_tile_bytes(device)
    n_candidates, n_bytes = len(targets), 4 * targets.shape[1] * targets.shape[2]
    candidates = _CandidateTiles(targets, weights, device, n_candidates * n_bytes <= held_bytes)
    most = TILE_BYTES if candidates.are_held else held_bytes
    blocks = split_rows_into_chunks(
        np.arange(n_windows), min(most // n_bytes, CHUNK_BYTES // (4 * max(1, n_candidates)))
    )
    estimates = torch.empty(max(map(len, blocks), default=0), *targets.shape[:0:-1], device=device)
    for rows in blocks:
        block = estimates[: len(rows)].transpose(1, 2)
        for part in split_rows_into_chunks(np.arange(len(rows)), CHUNK_BYTES // n_bytes):
            _write_weighted_tile(embed(rows[part]), rows[part], weights, out=block[part[0] : part[-1] + 1])
        yield rows, candidates.compare(block)


def _count_tile_bytes(device):
    """Return the bytes that candidates or estimates may take on a device."""
    return get_free_device_bytes(device) // 4 if device.type == "cuda" else HELD_BYTES


@torch.no_grad()
def _write_weighted_tile(Z, rows, weights, out):
    """Check estimates and write them, weighted, to ``out``."""
    if tuple(Z.shape) != tuple(out.shape):
        raise ValueError(
            f"Estimates of (n_features, n_frames) {tuple(Z.shape[1:])} cannot be compared with candidates of "
            f"{tuple(out.shape[1:])}. Compute both with the same speech features and window."
        )
    check_tiled_estimates(Z, rows)
    if weights is None:
        out.copy_(Z)
    else:
        torch.mul(Z, torch.as_tensor(weights, dtype=out.dtype, device=Z.device), out=out)


class _CandidateTiles:
    """Candidates, a bounded number at a time, with their norms.

    Parameters
    ----------
    targets : Windows of shape (n_candidates, n_features, n_frames)
    weights : array-like of shape (n_frames,) or None
    device : torch.device
    are_held : bool
        Whether tiles stay in memory.
    """

    def __init__(self, targets, weights, device, are_held):
        self.targets, self.weights, self.device, self.are_held = targets, weights, device, are_held
        n_candidates, n_features, n_frames = targets.shape
        self.parts = split_rows_into_chunks(
            np.arange(n_candidates), TILE_BYTES // (4 * n_features * n_frames)
        )
        self.norms = [None] * len(self.parts)
        self.held = [None] * len(self.parts)
        # One buffer for all tiles, so that the system need not zero new pages. Devices manage their own memory.
        ready = not are_held and device.type == "cpu" and self.parts
        self.buffer = targets.empty(len(self.parts[0])) if ready else None

    @torch.no_grad()
    def compare(self, Z):
        """Score weighted estimates with all candidates."""
        scores = torch.empty(len(Z), len(self.targets), device=self.device)
        for index, part in enumerate(self.parts):
            Y = self._cut(index)
            if self.norms[index] is None:
                self.norms[index] = self._measure(Y, part)
            similarity(Z, Y, norms=self.norms[index], out=scores[:, part[0] : part[-1] + 1])
        return scores

    def _measure(self, Y, part):
        """Compute norms of candidates, which must be finite."""
        norms = weighted_norms(Y, self.weights)
        bad = part[(~torch.isfinite(norms)).cpu().numpy()]
        if len(bad):
            raise ValueError(
                f"the features of {len(bad)} candidates are NaN or infinite, the first those of candidate {bad[0]}: check y "
                f"and the output of speech= for NaN or huge values, and whether the fit diverged."
            )
        return norms

    def _cut(self, index):
        """Read a tile of candidates."""
        if self.held[index] is not None:
            return self.held[index]
        part = self.parts[index]
        buffer = None if self.buffer is None else self.buffer[: len(part)]
        Y = self.targets.gather(part, out=buffer, device=self.device)
        if self.are_held:
            self.held[index] = Y
        return Y


def check_tiled_estimates(Z, rows):
    """Raise a ValueError if estimates are not finite."""
    if torch.isfinite(Z.sum()):  # a sum is finite only if all its terms are; this needs no mask
        return
    bad = rows[(~torch.isfinite(Z.reshape(len(Z), -1)).all(1)).cpu().numpy()]
    if len(bad):
        raise ValueError(
            f"the estimates of {len(bad)} windows are NaN or infinite, the first that of row {bad[0]}. Check X and the "
            f"weights of the decoder for NaN."
        )

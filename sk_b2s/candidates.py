"""The distinct segments there are to choose from, and scores against all of them in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_consistent_length

from sk_b2s.metrics import similarity
from sk_b2s.model_selection import table_of
from sk_b2s.stimuli import stable_id
from sk_b2s.windows import Windows

__all__ = [
    "Candidates",
    "as_target_windows",
    "check_estimates",
    "check_in_step",
    "distinct_segments",
    "iter_scores",
    "row_hashes",
]

CHUNK_BYTES = 2**28  # of embeddings, and of candidates, that are held at a time


class Candidates(NamedTuple):
    """Distinct segments to choose from.

    Attributes
    ----------
    ids : ndarray of int of shape (n_candidates,)
        Their identities: the column ``segment`` of a table, else their order of appearance.
    first : ndarray of int of shape (n_candidates,)
        Row of ``y`` in which each appears first.
    target : ndarray of int of shape (n_rows,)
        Candidate of each row of ``y``.
    """

    ids: np.ndarray
    first: np.ndarray
    target: np.ndarray


def distinct_segments(y):
    """Find the distinct segments of what was heard.

    Parameters
    ----------
    y : DataFrame, Windows or ndarray of shape (n_rows, ...)
        A table (or Windows with one) is told apart by its column ``segment``, other Windows by their
        place in their signals, arrays by their values.

    Returns
    -------
    candidates : Candidates
        In order of first appearance.

    Raises
    ------
    ValueError
        If a table has no column ``segment``.
    """
    table = table_of(y)
    if table is not None and "segment" in table:
        keys = table["segment"].to_numpy()
    elif isinstance(y, pd.DataFrame):
        raise ValueError(
            f"y needs the column 'segment', as make_segments returns it; it has {list(y.columns)[:8]}."
        )
    elif isinstance(y, Windows):
        keys = y.which * (1 + max(signal.shape[0] for signal in y.signals)) + y.start
    else:
        keys = row_hashes(y)
    if pd.isna(keys).any():
        row = int(np.flatnonzero(pd.isna(keys))[0])
        raise ValueError(
            f"y row {table.index[row]!r}, column 'segment': expected the identity of a segment, got {keys[row]!r} "
            f"({np.count_nonzero(pd.isna(keys))} such rows); drop them from X and y alike."
        )
    target, distinct = pd.factorize(keys)
    first = np.unique(target, return_index=True)[1]
    ids = distinct if table is not None and "segment" in table else np.arange(len(distinct))
    return Candidates(np.asarray(ids), first, target)


def row_hashes(y):
    """Hash each row of an array by its values: (n_rows,) int64."""
    y = np.ascontiguousarray(y).reshape(len(y), -1) + 0.0  # -0 is 0
    return np.array([stable_id(row.tobytes().hex()) for row in y], dtype=np.int64)


def iter_scores(embed, n_windows, targets, weights=None, device=None):
    """Score windows against candidates in pieces of bounded memory.

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
        Their :func:`~sk_b2s.metrics.similarity` to every candidate.
    """
    n_candidates, n_features, n_frames = targets.shape
    step = max(1, CHUNK_BYTES // (4 * n_features * n_frames))
    chunks = [np.arange(i, min(i + step, n_candidates)) for i in range(0, n_candidates, step)]
    held = targets.gather(chunks[0], device=device) if len(chunks) == 1 else None
    for first in range(0, n_windows, step):
        rows = np.arange(first, min(first + step, n_windows))
        Z = embed(rows)
        check_estimates(Z, rows)
        parts = (held,) if held is not None else (targets.gather(chunk, device=device) for chunk in chunks)
        yield rows, torch.cat([similarity(Z, Y, weights) for Y in parts], dim=1)


def check_estimates(Z, rows):
    """Raise where estimates are NaN: an answer from them would be one of the candidates all the same."""
    bad = rows[(~torch.isfinite(Z.reshape(len(Z), -1)).all(1)).cpu().numpy()]
    if len(bad):
        raise ValueError(
            f"the estimates of {len(bad)} windows are NaN or infinite, the first that of row {bad[0]}: X holds NaN "
            f"there, or the decoder's weights do."
        )


def check_in_step(X, y):
    """Raise where X and y have as many rows but their tables show that the rows are not each other's."""
    check_consistent_length(X, y)
    brain, heard = table_of(X), table_of(y)
    if brain is None or heard is None or brain.index.equals(heard.index):
        return
    if set(brain.index) == set(heard.index):
        row = int(np.flatnonzero(np.asarray(brain.index) != np.asarray(heard.index))[0])
        raise ValueError(
            f"X and y are out of step: row {row} is {brain.index[row]!r} in X and {heard.index[row]!r} in y. Both "
            f"come row by row from make_segments; whatever reorders one must reorder the other."
        )


def as_target_windows(y):
    """Wrap numbers (n,), (n, n_features) or (n, n_features, n_frames) as Windows."""
    y = np.asarray(y, np.float32)
    return Windows.from_array(y.reshape(len(y), -1, y.shape[2] if y.ndim == 3 else 1))

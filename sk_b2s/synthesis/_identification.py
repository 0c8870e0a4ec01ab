"""Identification of each second of a reconstruction among true seconds."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from sk_b2s.synthesis._confidence import roll_confidence_shifts

LEAST_SHIFT = 2  # pieces, shifts of the null distribution


def identify_pieces(similarity, n_way):
    """Compute how well each piece is identified, if any piece were its own.

    Ties are broken at random, and the expectation over the order is returned.

    Parameters
    ----------
    similarity : ndarray of shape (n_pieces, n_pieces)
        Similarity of estimated pieces (rows) to true ones (columns).
    n_way : int
        Number of candidates, the target included. The other candidates are
        drawn from the recording, and the exact expectation is computed.

    Returns
    -------
    rank : ndarray of shape (n_pieces, n_pieces)
        Mean rank of the column among all columns, from 1.
    share : ndarray of shape (n_pieces, n_pieces)
        Probability that the column is the best of ``n_way`` candidates.
    """
    n = len(similarity)
    best = rankdata(-similarity, "min", axis=1).astype(int) - 1
    worst = rankdata(-similarity, "max", axis=1).astype(int) - 1
    better = np.arange(n)  # others that are more similar
    probability = np.ones(n)  # that none of them is drawn
    for drawn in range(min(n_way, n) - 1):
        probability *= np.clip(n - 1 - better - drawn, 0, None) / (n - 1 - drawn)
    total = np.insert(np.cumsum(probability), 0, 0.0)
    return (best + worst) / 2 + 1, (total[worst + 1] - total[best]) / (worst + 1 - best)


def list_identification_shifts(similarity, n_way, least_shift=LEAST_SHIFT):
    """Compute 2-way and N-way identification, and after circular shifts.

    Returns an array of shape (1 + n_shifts, 2). The first row is not shifted.
    It has one row if the recording is too short for shifts.
    """
    n = len(similarity)
    rank, share = identify_pieces(similarity, n_way)
    two_way = 1 - (rank - 1) / max(n - 1, 1)
    by_shift = np.stack([roll_confidence_shifts(values).mean(0) for values in (two_way, share)], 1)
    return np.vstack([by_shift[:1], by_shift[least_shift : n - least_shift + 1]])

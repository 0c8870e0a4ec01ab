"""Information per word in bits."""

from __future__ import annotations

import numpy as np
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information

LN2 = np.log(2)  # nats per bit
SMALLEST = 1e-9  # nats, below which an entropy is 0


def mutual_information(target, decoded):
    r"""Compute the information of decoded words about presented words.

    The estimate from counts I is far above 0 without any relation if words
    are many and windows few. Its exact expectation B for random pairings of
    the same words [1]_ is removed such that a perfect decoder has the entropy
    H of the presented words:

    .. math:: H \, \frac{I - B}{H - B}

    Parameters
    ----------
    target : array-like of shape (n_windows,)
        Presented words.
    decoded : array-like of shape (n_windows,)
        Decoded words.

    Returns
    -------
    information : dict of str to float
        ``mutual_information`` in bits per word, with a mean of 0 without a
        relation, and so below 0 by chance. ``plug_in`` is I, ``bias`` is B and
        ``entropy`` is H. ``mutual_information`` is NaN if H is B, as if each
        word was presented once.

    References
    ----------
    .. [1] Vinh, Epps, Bailey (2010). Information theoretic measures for
       clusterings comparison. Journal of Machine Learning Research 11:2837.

    Examples
    --------
    >>> found = mutual_information([0, 0, 1, 1], [1, 1, 0, 0])
    >>> round(found["mutual_information"], 6)
    1.0
    """
    target = np.unique(np.asarray(target), return_inverse=True)[1]
    decoded = np.unique(np.asarray(decoded), return_inverse=True)[1]
    if not len(target):
        return dict.fromkeys(("mutual_information", "plug_in", "bias", "entropy"), np.nan)
    counts = np.zeros((target.max() + 1, decoded.max() + 1), np.int64)
    np.add.at(counts, (target, decoded), 1)
    most, found = entropy(counts.sum(1)), mutual_info_score(None, None, contingency=counts)
    bias = expected_mutual_information(counts, len(target)) if min(counts.shape) > 1 else 0.0
    corrected = most * (found - bias) / (most - bias) if most - bias > SMALLEST else np.nan
    parts = {"mutual_information": corrected, "plug_in": found, "bias": bias, "entropy": most}
    return {name: float(value / LN2) for name, value in parts.items()}


def log_loss_gain(log_probabilities, target, log_prior):
    r"""Compute how much probabilities of words exceed the prior in bits.

    This is the mean of :math:`\log_2 p(w) - \log_2 q(w)` over windows with
    word w, probability p and prior q, the difference of two log-losses. It is
    at most the information of the windows about words, is 0 if p equals q, and
    is negative for probabilities that are too sure.

    Parameters
    ----------
    log_probabilities : array-like of shape (n_windows, n_words)
        Natural logarithm of probabilities. Rows are scaled to a sum of 1.
    target : array-like of int of shape (n_windows,)
        Presented words. Windows with -1 are left out.
    log_prior : array-like of shape (n_words,)
        Natural logarithm of the probabilities without EEG/MEG.

    Returns
    -------
    gain : float
        Bits per word, NaN without windows.

    Examples
    --------
    >>> p = np.log([[0.8, 0.2], [0.2, 0.8]])
    >>> print(round(log_loss_gain(p, [0, 1], np.log([0.5, 0.5])), 2))
    0.68
    """
    target = np.asarray(target)
    rows = np.flatnonzero(target >= 0)
    if not len(rows):
        return np.nan
    found, prior = np.asarray(log_probabilities, float)[rows], np.asarray(log_prior, float)
    own = found[np.arange(len(rows)), target[rows]] - np.logaddexp.reduce(found, axis=1)
    return float((own - prior[target[rows]] + np.logaddexp.reduce(prior)).mean() / LN2)

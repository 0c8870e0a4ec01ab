"""Averages and context over groups of windows, on matrices of scores."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from sk_b2s._utils._chunks import count_rows, slice_rows

CHUNK_BYTES = 2**27  # of float64 scores that are held beside the matrix


def slice_scores(scores):
    """Return slices of the rows of a score matrix, each of bounded memory."""
    return slice_rows(len(scores), count_rows(CHUNK_BYTES, scores.shape[1], itemsize=8))


def _membership(codes, dtype):
    """One row for each group, one column for each member, ones where it is one: (n_groups, n_members)."""
    codes = np.asarray(codes)
    ones = np.ones(len(codes), dtype)
    return csr_array((ones, (codes, np.arange(len(codes)))), shape=(codes.max() + 1, len(codes)))


def average_rows(scores, groups):
    """Mean score of the windows of each group, one new row for each.

    The similarity is linear in the estimate, so to average similarities is to answer with the mean of
    the estimates.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Similarities.
    groups : array-like of int of shape (n_windows,)
        Group of each window, from 0 to n_groups - 1, none of them empty.

    Returns
    -------
    means : ndarray of shape (n_groups, n_candidates)
        In the type of ``scores``.

    Examples
    --------
    >>> average_rows(np.array([[1.0, 0.0], [5.0, 5.0], [3.0, 2.0]]), [0, 1, 0])
    array([[2., 1.],
           [5., 5.]])
    """
    means = _membership(groups, scores.dtype) @ scores
    means /= np.bincount(groups)[:, None]
    return means


def group_context_bias(scores, candidate_group, window_group, weight=1.0):
    r"""Add to each window's scores what the other windows of its group say about the group.

    With the softmax :math:`p_{jc}` of the scores of window j over N candidates, and the candidates of
    sentence g, that window's evidence for g is how much more probable it finds a candidate of g than
    one who knows nothing:

    .. math:: \ell_{jg} = \log \frac{1}{|g|} \sum_{c \in g} p_{jc} - \log \frac{1}{N}

    The score of candidate c of sentence g(c) becomes, with G(i) the windows grouped with i,

    .. math:: s'_{ic} = s_{ic} + \frac{w}{|G(i)| - 1} \sum_{j \in G(i), j \ne i} \ell_{j,g(c)}

    By Bayes' rule :math:`w = |G(i)| - 1` would be right if scores were log-probabilities whose errors
    are independent from window to window. Neighboring windows overlap, hence the mean, and ``weight``
    as the number of independent windows it stands for. A window that says nothing (equal scores)
    adds nothing, and a long sentence is not favored for its many candidates.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Logits.
    candidate_group : array-like of int of shape (n_candidates,)
        Sentence of each candidate, from 0 to n_sentences - 1, none of them empty.
    window_group : array-like of int of shape (n_windows,)
        Windows known to belong together, from 0; -1 is alone. Which sentence it is is not known.
    weight : float, default=1.0
        How much the others count beside the window itself. 0 changes nothing.

    Returns
    -------
    biased : ndarray of shape (n_windows, n_candidates)
        A new matrix in the type of ``scores``; windows alone in their group keep theirs.

    References
    ----------
    .. [1] What are we actually decoding? arXiv:2605.24524 (the idea of Group Context Bias; the formula
       is the one above).
    """
    window_group, candidate_group = np.asarray(window_group), np.asarray(candidate_group)
    evidence = _sentence_evidence(scores, candidate_group)
    alone = window_group < 0
    group = np.where(alone, window_group.max() + 1, window_group)
    size = np.bincount(group)[group][:, None]
    others = (_membership(group, evidence.dtype) @ evidence)[group] - evidence
    others *= weight / np.maximum(size - 1, 1)
    others[alone] = 0
    biased = np.empty_like(scores)
    for rows in slice_scores(scores):
        biased[rows] = scores[rows] + others[rows][:, candidate_group]
    return biased


def _sentence_evidence(scores, candidate_group):
    """Log of mean probability within each sentence over mean probability: (n_windows, n_sentences)."""
    order = np.argsort(candidate_group, kind="stable")
    size = np.bincount(candidate_group)
    starts = np.r_[0, np.cumsum(size)[:-1]]
    evidence = np.empty((len(scores), len(size)))
    for rows in slice_scores(scores):
        log_mass = np.logaddexp.reduceat(scores[rows].astype(float)[:, order], starts, axis=1)
        everything = np.logaddexp.reduce(log_mass, axis=1, keepdims=True)
        evidence[rows] = log_mass - np.log(size) - everything + np.log(scores.shape[1])
    return evidence


def sentence_groups(rows, by="sequence"):
    """Group the windows of one sentence, heard once.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        With ``subject``, ``recording`` and ``by``; with ``onset``, ``duration`` and ``sound_onset``, in
        seconds, a sentence that is played again is a group of its own: there the sound begins anew, or
        there is a gap of a window between windows.
    by : str, default="sequence"
        Column that tells sentences apart.

    Returns
    -------
    groups : ndarray of int of shape (n_windows,)
        -1 where there is no sentence.
    """
    group = rows.groupby(["subject", "recording", by], sort=False).ngroup()  # -1 where it is missing
    if not {"onset", "duration", "sound_onset"} <= set(rows):
        return group.to_numpy()
    table = rows[["onset", "duration", "sound_onset"]].assign(group=group)
    table = table.sort_values(["group", "onset"], kind="stable")
    begins = table["group"].diff() != 0
    begins |= (table["onset"].diff() > table["duration"]) | (table["sound_onset"].diff() < 0)
    return begins.cumsum().sub(1).where(table["group"] >= 0, -1).reindex(rows.index).to_numpy()

"""Averages and context over groups of windows, on matrices of scores."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s._utils._validation import get_validated_recordings

CHUNK_BYTES = 2**27  # of float64 scores that are held in addition to the matrix


def slice_group_context_scores(scores):
    """Return slices of the rows of a score matrix, each of bounded memory."""
    return slice_rows_into_chunks(len(scores), count_chunk_rows(CHUNK_BYTES, scores.shape[1], itemsize=8))


def _make_group_membership(codes, dtype):
    """Return the indicator matrix of groups: (n_groups, n_members)."""
    codes = np.asarray(codes)
    ones = np.ones(len(codes), dtype)
    return csr_array((ones, (codes, np.arange(len(codes)))), shape=(codes.max() + 1, len(codes)))


def average_context_groups(scores, groups):
    """Average the scores of the windows of each group.

    The similarity is linear in the estimate, so the mean similarity is the
    similarity of the mean estimate.

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
    >>> scores = np.array([[1.0, 0.0], [5.0, 5.0], [3.0, 2.0]])
    >>> average_context_groups(scores, [0, 1, 0])
    array([[2., 1.],
           [5., 5.]])
    """
    means = _make_group_membership(groups, scores.dtype) @ scores
    means /= np.bincount(groups)[:, None]
    return means


def group_context_bias(scores, candidate_group, window_group, weight=1.0):
    r"""Add evidence from the other windows of a group to the scores.

    Let :math:`p_{jc}` be the softmax of the scores of window j over N
    candidates. The evidence of the window for sentence g is the log of the
    mean probability of candidates of g, relative to equal probabilities:

    .. math::

        \ell_{jg} = \log \frac{1}{|g|} \sum_{c \in g} p_{jc} - \log \frac{1}{N}

    The score of candidate c of sentence g(c) becomes, with G(i) the windows
    grouped with i,

    .. math::

        s'_{ic} = s_{ic} + \frac{w}{|G(i)| - 1}
                  \sum_{j \in G(i), j \ne i} \ell_{j,g(c)}

    By Bayes' rule :math:`w = |G(i)| - 1` would be correct if scores were
    log-probabilities with independent errors. Neighboring windows overlap, so
    the mean is used, and ``weight`` is the number of independent windows that
    it represents. A window of equal scores adds nothing, and a long sentence
    has no advantage from its many candidates.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Logits.
    candidate_group : array-like of int of shape (n_candidates,)
        Sentence of each candidate, from 0 to n_sentences - 1, none of them
        empty.
    window_group : array-like of int of shape (n_windows,)
        Group of windows known to be of one sentence, from 0, and -1 for
        windows without a group. It need not be known which sentence it is.
    weight : float, default=1.0
        Weight of the other windows relative to the window itself. If 0, scores
        do not change.

    Returns
    -------
    biased : ndarray of shape (n_windows, n_candidates)
        A new matrix in the type of ``scores``. Windows without a group keep
        their scores.

    References
    ----------
    .. [1] "What are we actually decoding?", arXiv:2605.24524, for the idea of
       a group context bias. The formula is the one above.
    """
    window_group, candidate_group = np.asarray(window_group), np.asarray(candidate_group)
    evidence = _sentence_evidence(scores, candidate_group)
    alone = window_group < 0
    group = np.where(alone, window_group.max() + 1, window_group)
    size = np.bincount(group)[group][:, None]
    others = (_make_group_membership(group, evidence.dtype) @ evidence)[group] - evidence
    others *= weight / np.maximum(size - 1, 1)
    others[alone] = 0
    biased = np.empty_like(scores)
    for rows in slice_group_context_scores(scores):
        biased[rows] = scores[rows] + others[rows][:, candidate_group]
    return biased


def causal_context_bias(
    scores,
    candidate_group,
    window_group,
    onset,
    recording,
    weight=1.0,
    decay=0.1,
    n_before=0,
    sentence_before=None,
):
    r"""Add decaying evidence from the preceding windows to the scores.

    With the evidence :math:`\ell_{jg}` of :func:`group_context_bias`, the
    score of candidate c becomes

    .. math::

        s'_{ic} = s_{ic} + w \, \frac{\sum_n \sum_{j \in P_n(i)} d_{ij}
                  \, \ell_{j,g_n(c)}}
                  {\max(1, \sum_n \sum_{j \in P_n(i)} d_{ij})}, \quad
        d_{ij} = e^{-\lambda (t_i - t_j)}

    where :math:`P_0(i)` are the windows of the group of window i that begin
    before it, :math:`P_n(i)` those of the n-th group before in the same
    recording, and :math:`g_n(c)` is the n-th sentence before that of candidate
    c in the stimulus. No window that begins later is used, so that the score
    is available at the end of a window. The denominator is at least one, so
    that evidence from long before remains weak.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Logits.
    candidate_group : array-like of int of shape (n_candidates,)
        Sentence of each candidate, from 0 to n_sentences - 1, none of them
        empty.
    window_group : array-like of int of shape (n_windows,)
        Group of windows known to be of one sentence, from 0, and -1 for
        windows without a group. Groups do not extend over recordings.
    onset : array-like of shape (n_windows,)
        Onset of each window in its recording in seconds.
    recording : array-like of shape (n_windows,)
        Label of the recording of each window.
    weight : float, default=1.0
        Weight w of the preceding windows relative to the window itself. If 0,
        scores do not change.
    decay : float, default=0.1
        Decay :math:`\lambda` per second. At 0, all preceding windows count
        equally. The default halves the evidence in 6.9 s.
    n_before : int, default=0
        Number of preceding groups that are used in addition. This requires
        that sentences follow each other as in the stimulus.
    sentence_before : array-like of int of shape (n_sentences,), default=None
        Preceding sentence of each sentence, -1 if it is not among the
        candidates, so that its windows add nothing. Required if
        ``n_before`` is above 0.

    Returns
    -------
    biased : ndarray of shape (n_windows, n_candidates)
        A new matrix in the type of ``scores``. Windows without a group, and
        the first window of a recording, keep their scores.

    Raises
    ------
    ValueError
        If ``sentence_before`` is missing, or ``decay`` is below 0.

    References
    ----------
    .. [1] Zhang and Liu, arXiv:2610.08229, for the idea of decaying evidence
       of preceding windows. The formula is the one above.
    """
    if n_before and sentence_before is None:
        raise ValueError(f"n_before={n_before} requires sentence_before, the order of the sentences.")
    if not decay >= 0:
        raise ValueError(f"decay must be at least 0 per second. Got {decay!r} instead.")
    candidate_group, window_group = np.asarray(candidate_group), np.asarray(window_group)
    onset, recording = np.asarray(onset, float), np.asarray(recording)
    evidence = _sentence_evidence(scores, candidate_group)
    evidence = np.pad(evidence, ((0, 0), (0, 1)))  # a last sentence without evidence, for index -1
    group_before = _find_groups_before(window_group, onset, recording)
    biased = np.array(scores)
    for name in np.unique(recording):
        own = np.flatnonzero((recording == name) & (window_group >= 0))
        for part in slice_rows_into_chunks(len(own), count_chunk_rows(CHUNK_BYTES, len(own), itemsize=8)):
            rows = own[part]
            lag = onset[rows, None] - onset[own]
            decayed = np.exp(-decay * np.maximum(lag, 0)) * (lag > 0)
            group, sentence = window_group[rows], np.arange(evidence.shape[1] - 1)
            bias, total = np.zeros((len(rows), len(sentence))), np.zeros(len(rows))
            for step in range(n_before + 1):
                if step:
                    group = group_before[group]
                    sentence = np.append(sentence_before, -1)[sentence]
                counted = decayed * ((group[:, None] == window_group[own]) & (group[:, None] >= 0))
                bias += (counted @ evidence[own])[:, sentence]
                total += counted.sum(1)
            bias *= weight / np.maximum(total, 1)[:, None]
            biased[rows] += bias[:, candidate_group]
    return biased


def _find_groups_before(window_group, onset, recording):
    """Return the group before each group in its recording, -1 if none.

    The last entry is that of group -1.
    """
    before = np.full(max(window_group.max(), -1) + 2, -1)
    for name in np.unique(recording):
        own = np.flatnonzero((recording == name) & (window_group >= 0))
        groups, first = np.unique(window_group[own[np.argsort(onset[own], kind="stable")]], return_index=True)
        ordered = groups[np.argsort(first)]
        before[ordered[1:]] = ordered[:-1]
    return before


def average_agreeing_groups(scores, groups, alpha):
    r"""Average the scores of groups, weighted by their agreement.

    Let :math:`z_k` be the scores of window k, standardized over candidates,
    and r the standard deviation over candidates of their mean :math:`m`. It is
    1 if all windows of the group agree, and about :math:`1 / \sqrt K` for K
    unrelated windows. The average is

    .. math:: (1 + \alpha r) \, m / r

    ``scores`` and ``groups`` are those of :func:`average_context_groups`.
    """
    scores = scores.astype(float)
    scores -= scores.mean(1, keepdims=True)
    spread = scores.std(1, keepdims=True)
    np.divide(scores, spread, out=scores, where=spread > 0)
    means = average_context_groups(scores, groups)
    agreement = means.std(1, keepdims=True)
    factor = np.divide(1 + alpha * agreement, agreement, out=np.zeros_like(agreement), where=agreement > 0)
    return means * factor


def _sentence_evidence(scores, candidate_group):
    """Compute the evidence for sentences: (n_windows, n_sentences)."""
    order = np.argsort(candidate_group, kind="stable")
    size = np.bincount(candidate_group)
    starts = np.r_[0, np.cumsum(size)[:-1]]
    evidence = np.empty((len(scores), len(size)))
    for rows in slice_group_context_scores(scores):
        log_mass = np.logaddexp.reduceat(scores[rows].astype(float)[:, order], starts, axis=1)
        everything = np.logaddexp.reduce(log_mass, axis=1, keepdims=True)
        evidence[rows] = log_mass - np.log(size) - everything + np.log(scores.shape[1])
    return evidence


def make_sentence_context_groups(rows, by="sequence"):
    """Group the windows of each presentation of a sentence.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        Has ``subject``, ``recording`` and ``by``. If it also has ``onset``,
        ``duration`` and ``sound_onset`` in seconds, each repetition of a
        sentence is a group: the stimulus restarts, or there is a gap of a
        window between windows.
    by : str, default="sequence"
        Column that identifies sentences.

    Returns
    -------
    groups : ndarray of int of shape (n_windows,)
        It is -1 where the sentence is missing.
    """
    group = rows.groupby([get_validated_recordings(rows), by], sort=False).ngroup()  # -1 where it is missing
    if not {"onset", "duration", "sound_onset"} <= set(rows):
        return group.to_numpy()
    table = rows[["onset", "duration", "sound_onset"]].assign(group=group)
    table = table.sort_values(["group", "onset"], kind="stable")
    begins = table["group"].diff() != 0
    begins |= (table["onset"].diff() > table["duration"]) | (table["sound_onset"].diff() < 0)
    return begins.cumsum().sub(1).where(table["group"] >= 0, -1).reindex(rows.index).to_numpy()

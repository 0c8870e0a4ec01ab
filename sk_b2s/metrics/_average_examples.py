"""Averages of several examples of a class."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, check_random_state

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks

CHUNK_BYTES = 2**26  # of examples that are averaged at a time


def average_examples(examples, labels, n_averaged, groups=None, random_state=None):
    r"""Average groups of examples of the same class.

    The average of n examples with independent noise has a signal-to-noise
    ratio that is :math:`\sqrt n` times higher. Examples are drawn without
    repetition, and those that are left over are not used.

    Parameters
    ----------
    examples : array-like of shape (n_examples, ...)
        Windows or features.
    labels : array-like of shape (n_examples,)
        Class of each example.
    n_averaged : int
        Number of examples of each average.
    groups : array-like of shape (n_examples,), default=None
        Examples of different groups, such as subjects, are not averaged. If
        None, there is one group.
    random_state : None, int or RandomState, default=None
        Draws the examples.

    Returns
    -------
    averages : ndarray of shape (n_averages, ...)
        Sorted by group and class.
    labels : ndarray of shape (n_averages,)
        Class of each average.
    groups : ndarray of shape (n_averages,)
        Group of each average, 0 without groups.

    Raises
    ------
    ValueError
        If ``n_averaged`` is not a positive integer, or no class has as many
        examples in a group.

    Notes
    -----
    Average training and test examples separately. An average of both has been
    seen in training. Report the number of examples with each score of
    averages, because a decoder of single examples does not have it.

    Examples
    --------
    >>> from sk_b2s.metrics import average_examples
    >>> averages, labels, _ = average_examples(
    ...     [[1.0], [3], [5], [7]], list("abaa"), 2, random_state=0
    ... )
    >>> averages.shape, labels.tolist()
    ((1, 1), ['a'])
    """
    examples, labels = np.asarray(examples), np.asarray(labels)
    groups = np.zeros(len(labels), int) if groups is None else np.asarray(groups)
    check_consistent_length(examples, labels, groups)
    index = draw_examples(labels, n_averaged, groups, random_state)
    if not len(index):
        raise ValueError(
            f"No class has {n_averaged} examples in a group. The largest has "
            f"{pd.DataFrame({'label': labels, 'group': groups}).value_counts().max()}. Use a smaller n_averaged."
        )
    return average_drawn_examples(examples, index), labels[index[:, 0]], groups[index[:, 0]]


def draw_examples(labels, n_averaged, groups=None, random_state=None):
    """Draw groups of examples of a class: (n_averages, n_averaged) rows."""
    if not isinstance(n_averaged, Integral) or n_averaged < 1:
        raise ValueError(f"n_averaged must be an integer of at least 1. Got {n_averaged!r}.")
    random, out = check_random_state(random_state), []
    code = np.unique(np.asarray(labels), return_inverse=True)[1]
    if groups is not None:
        of_group = np.unique(np.asarray(groups), return_inverse=True)[1]
        code = code + of_group * (code.max(initial=0) + 1)
    order = np.argsort(code, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
        n = len(rows) // n_averaged
        out.append(random.permutation(rows)[: n * n_averaged].reshape(n, n_averaged))
    return np.concatenate(out)


def average_drawn_examples(examples, index):
    """Average rows of examples: (n_averages, ...)."""
    if index.shape[1] == 1:
        return examples[index[:, 0]]
    out = np.empty((len(index), *examples.shape[1:]), np.result_type(examples, np.float32))
    for part in slice_rows_into_chunks(
        len(index), count_chunk_rows(CHUNK_BYTES, *index.shape[1:], *examples.shape[1:])
    ):
        out[part] = examples[index[part]].mean(1)
    return out

"""Retrieval scores and similarities of a fitted decoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sk_b2s._utils._estimators import unwrap_decoder
from sk_b2s._utils._validation import join_tables, table_of
from sk_b2s.decoding._retrieval_result import RetrievalResult
from sk_b2s.metrics._ranking import chance_level, median_relative_rank, top_k_accuracy
from sk_b2s.model_selection._exposure import warn_of_exposure
from sk_b2s.preprocessing._fingerprint import hash_rows
from sk_b2s.preprocessing._windows import Windows


def retrieval_scores(estimator, X, y):
    """Score a fitted decoder in all ways at once, by one pass over the windows.

    This is *the* scorer: give it as ``scoring=`` to :func:`~sklearn.model_selection.cross_validate`
    or, with ``refit="top_k"``, to :class:`~sklearn.model_selection.GridSearchCV`.

    Parameters
    ----------
    estimator : estimator
        A fitted decoder of the package, a Pipeline that ends in one, or a fitted search over either.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        What the brain did, as the estimator takes it.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        What was heard.

    Returns
    -------
    scores : dict of str to float
        ``top_1`` and ``top_k``, the share of windows whose segment is the best or among the ``k`` best
        (the decoder's ``k``) of the distinct segments of ``y``; ``median_relative_rank`` (0 is best,
        0.5 is chance); ``n_candidates``; ``chance``, that of ``top_k``.

    Raises
    ------
    TypeError
        If the last step is no decoder.
    ValueError
        If there are no more candidates than ``k``.

    See Also
    --------
    retrieve : Keeps the similarities themselves, for all other questions.
    """
    whole = estimator
    estimator, X = unwrap_decoder(whole, X, "retrieval_scores")
    found, n_candidates = estimator.ranks(X, y)
    warn_of_exposure(whole, estimator, y)
    return {
        "top_1": float(top_k_accuracy(found, 1, n_candidates)),
        "top_k": float(top_k_accuracy(found, estimator.k, n_candidates)),
        "median_relative_rank": float(median_relative_rank(found, n_candidates)),
        "n_candidates": n_candidates,
        "chance": float(chance_level(estimator.k, n_candidates)),
    }


def retrieve(estimator, X, y):
    """Let a fitted decoder say, of every window, how similar each distinct segment of ``y`` is to it.

    One pass: the brain is transformed once, and every further question is put to the matrix.

    Parameters
    ----------
    estimator : estimator
        A fitted decoder of the package, a Pipeline that ends in one, or a fitted search over either.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        What the brain did, as the estimator takes it.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        What was heard, row by row. Its distinct segments are the candidates.

    Returns
    -------
    answers : RetrievalResult
        Of an array ``y`` the column ``segment`` holds a hash of each row's values.

    Raises
    ------
    TypeError
        If the last step is no decoder.
    ValueError
        If X and y are out of step or do not fit the decoder.

    Warns
    -----
    StimulusLeakWarning
        If ``y`` contains sound that the decoder was fitted on.
    """
    decoder, windows = unwrap_decoder(estimator, X, "retrieve")
    found, pieces = decoder._compare(windows, y, stacklevel=4)
    warn_of_exposure(estimator, decoder, y)
    scores = np.empty((len(found.target), len(found.ids)), np.float32)
    for rows, part in pieces:
        scores[rows] = part.cpu().numpy()
    heard = find_segment_table(y)
    brain = table_of(X) if table_of(X) is not None else table_of(windows)
    return RetrievalResult(
        scores=scores,
        target=found.target,
        candidates=heard.iloc[found.first].reset_index(drop=True),
        rows=join_tables(brain, heard),
        k=decoder.k,
    )


def find_segment_table(y):
    """Table of what was heard; a row of an array is known by its values, windows without a table by nothing."""
    table = table_of(y)
    if table is None:
        known = {} if isinstance(y, Windows) else {"segment": hash_rows(y)}
        table = pd.DataFrame(known, index=range(len(y)))
    return table


def concat_results(parts):
    """Put answers about the same segments into one, such as those of the folds of left-out subjects.

    Parameters
    ----------
    parts : sequence of RetrievalResult
        With equal ``k`` and the same distinct segments, in any order.

    Returns
    -------
    answers : RetrievalResult
        All windows, part by part; candidates in the order of the first.

    Raises
    ------
    ValueError
        If there are no parts, the parts have other segments to choose from or another ``k``, so that their
        scores would not compare, or it is unknown which segments they are.
    """
    parts = list(parts)
    if not parts:
        raise ValueError("concat_results needs one part at least, got none.")
    for place, part in enumerate(parts):
        if "segment" not in part.candidates:
            raise ValueError(
                f"part {place} does not say which segments it chose from: its candidates lack the column 'segment', so "
                f"they cannot be matched with those of another part. Give y as make_segments returns it, as an array, "
                f"or as Windows whose rows have that column."
            )
    segments = pd.Index(parts[0].candidates["segment"])
    scores, target = [], []
    for place, part in enumerate(parts):
        own = pd.Index(part.candidates["segment"])
        order = own.get_indexer(segments)
        if len(own) != len(segments) or (order < 0).any() or part.k != parts[0].k:
            raise ValueError(
                f"answers can be joined if they choose from the same segments with the same k: part 0 has "
                f"{len(segments)} and k={parts[0].k}, part {place} has {len(own)}, of which {np.sum(order >= 0)} are "
                f"those, and k={part.k}."
            )
        scores.append(part.scores[:, order])
        target.append(segments.get_indexer(own)[part.target])
    return replace(
        parts[0], scores=np.concatenate(scores), target=np.concatenate(target),
        rows=pd.concat([part.rows for part in parts], ignore_index=True),
    )  # fmt: skip

"""Retrieval scores and similarities of a fitted decoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sk_b2s._utils._estimators import unwrap_decoder_of_estimator
from sk_b2s._utils._validation import get_validated_table, join_validated_tables
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.metrics._ranking import chance_level, median_relative_rank, top_k_accuracy
from sk_b2s.model_selection._exposure import warn_of_exposure
from sk_b2s.preprocessing._fingerprint import fingerprint_array_rows
from sk_b2s.preprocessing._windows import Windows


def retrieval_scores(estimator, X, y):
    """Compute all retrieval scores of a fitted decoder in one pass.

    Use it as ``scoring`` of :func:`~sklearn.model_selection.cross_validate`
    or, with ``refit="top_k"``, of
    :class:`~sklearn.model_selection.GridSearchCV`.

    Parameters
    ----------
    estimator : estimator
        Fitted decoder, a Pipeline that ends in one, or a fitted search over
        either.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows, as the estimator expects them.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Target segments, one row per window.

    Returns
    -------
    scores : dict of str to float
        ``top_1`` and ``top_k``, the fraction of windows whose target is the
        most similar or among the ``k`` most similar of the distinct segments
        of ``y``, with the ``k`` of the decoder. ``median_relative_rank``,
        where 0 is best and 0.5 is the chance level. ``n_candidates`` and
        ``chance``, the chance level of ``top_k``.

    Raises
    ------
    TypeError
        If the last step is not a decoder.
    ValueError
        If there are at most ``k`` candidates.

    See Also
    --------
    retrieve : Return the similarities, for all other scores.
    """
    whole = estimator
    estimator, X = unwrap_decoder_of_estimator(whole, X, "retrieval_scores")
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
    """Compute the similarities of all windows to all distinct segments.

    Parameters
    ----------
    estimator : estimator
        Fitted decoder, a Pipeline that ends in one, or a fitted search over
        either.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows, as the estimator expects them.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Target segments, one row per window. The distinct segments are the
        candidates.

    Returns
    -------
    result : RetrievalResult
        Similarities and tables, from which all scores are computed. For an
        array ``y``, the column ``segment`` contains a hash of each row.

    Raises
    ------
    TypeError
        If the last step is not a decoder.
    ValueError
        If X and y do not match each other or the decoder.

    Warns
    -----
    StimulusLeakWarning
        If ``y`` contains stimuli that the decoder was fitted on.
    """
    decoder, windows = unwrap_decoder_of_estimator(estimator, X, "retrieve")
    found, pieces = decoder._compare(windows, y, stacklevel=4)
    warn_of_exposure(estimator, decoder, y)
    scores = np.empty((len(found.target), len(found.ids)), np.float32)
    for rows, part in pieces:
        scores[rows] = part.cpu().numpy()
    segments = find_scoring_table(y)
    table = get_validated_table(X) if get_validated_table(X) is not None else get_validated_table(windows)
    return RetrievalResult(
        scores=scores,
        target=found.target,
        candidates=segments.iloc[found.first].reset_index(drop=True),
        rows=join_validated_tables(table, segments),
        k=decoder.k,
    )


def find_scoring_table(y):
    """Return the table of segments, for arrays a table of row hashes."""
    table = get_validated_table(y)
    if table is None:
        known = {} if isinstance(y, Windows) else {"segment": fingerprint_array_rows(y)}
        table = pd.DataFrame(known, index=range(len(y)))
    return table


def concat_results(parts):
    """Concatenate retrieval results with the same candidate segments.

    Use it to combine the folds of left-out subjects.

    Parameters
    ----------
    parts : sequence of RetrievalResult
        Results with the same ``k`` and the same distinct segments in any
        order.

    Returns
    -------
    result : RetrievalResult
        All windows, with the candidates in the order of the first part.

    Raises
    ------
    ValueError
        If ``parts`` is empty, or if the parts differ in segments or ``k``, or
        lack the column ``segment`` that identifies segments.
    """
    parts = list(parts)
    if not parts:
        raise ValueError("concat_results requires at least one part. Got an empty sequence.")
    for place, part in enumerate(parts):
        if "segment" not in part.candidates:
            raise ValueError(
                f"The candidates of part {place} lack the column 'segment', so that they cannot be matched to the "
                f"segments of the other parts. Pass y as returned by make_segments, as an array, or as Windows whose "
                f"rows have that column."
            )
    segments = pd.Index(parts[0].candidates["segment"])
    scores, target = [], []
    for place, part in enumerate(parts):
        own = pd.Index(part.candidates["segment"])
        order = own.get_indexer(segments)
        if len(own) != len(segments) or (order < 0).any() or part.k != parts[0].k:
            raise ValueError(
                f"All parts must have the same segments and the same k. Part 0 has {len(segments)} segments and "
                f"k={parts[0].k}. Part {place} has {len(own)} segments, {np.sum(order >= 0)} of them in part 0, and "
                f"k={part.k}."
            )
        scores.append(part.scores[:, order])
        target.append(segments.get_indexer(own)[part.target])
    return replace(
        parts[0], scores=np.concatenate(scores), target=np.concatenate(target),
        rows=pd.concat([part.rows for part in parts], ignore_index=True),
    )  # fmt: skip

"""Retrieval scores and similarities of a fitted decoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sk_b2s._utils._estimators import unwrap_decoder_of_estimator
from sk_b2s._utils._validation import join_validated_tables, validate_table
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult, make_row_retrieval_result
from sk_b2s.metrics._ranking import chance_level, compute_rank_scores
from sk_b2s.model_selection._exposure import warn_of_exposure
from sk_b2s.preprocessing._fingerprint import fingerprint_array_rows
from sk_b2s.preprocessing._windows._windows import Windows


def retrieval_scores(estimator, X, y, candidates_per_row=None):
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
    candidates_per_row : int, RowCandidates or array-like, default=None
        Candidates of each window, as in :func:`retrieve`. If None, the
        distinct segments of ``y``. For ``scoring=``, use
        ``functools.partial(retrieval_scores, candidates_per_row=2)``.

    Returns
    -------
    scores : dict of str to float
        ``top_1`` and ``top_k``, the fraction of windows whose target is the
        most similar or among the ``k`` most similar candidates, with the ``k``
        of the decoder (1 if windows have no more than ``k`` candidates).
        ``median_relative_rank``, where 0 is best and 0.5 is the chance level.
        ``n_candidates`` and ``chance``, the chance level of ``top_k``.

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
    found, n_candidates = estimator.ranks(X, y, candidates_per_row)
    k = estimator.k if candidates_per_row is None or estimator.k < n_candidates else 1
    warn_of_exposure(whole, estimator, y)
    return {
        **{name: float(score) for name, score in compute_rank_scores(found, k, n_candidates).items()},
        "n_candidates": n_candidates,
        "chance": float(chance_level(k, n_candidates)),
    }


def retrieve(estimator, X, y, candidates_per_row=None):
    """Compute the similarities of all windows to all distinct segments.

    With ``candidates_per_row``, each window is compared with a few candidates
    of its own only, as in the match-mismatch task.

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
    candidates_per_row : int, RowCandidates or array-like, default=None
        Candidates of each window: their number, drawn at random within the
        recording, a rule (see :class:`RowCandidates`), or an array of int of
        shape (n_windows, n_candidates) with rows of ``y``, the own row among
        them, and -1 to leave a window out. Memory is then linear in the number
        of windows. If None, all distinct segments are candidates.

    Returns
    -------
    result : RetrievalResult
        Similarities and tables, from which all scores are computed. For an
        array ``y``, the column ``segment`` contains a hash of each row. With
        ``candidates_per_row``, a :class:`RowRetrievalResult`, whose ``k`` is 1
        unless windows have more than ``k`` candidates.

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
    segments = find_table_to_retrieve(y)
    table = validate_table(X) if validate_table(X) is not None else validate_table(windows)
    rows = join_validated_tables(table, segments)
    if candidates_per_row is not None:
        found, row_scores = decoder._compare_rows(windows, y, candidates_per_row, rows, stacklevel=4)
        warn_of_exposure(estimator, decoder, y)
        return make_row_retrieval_result(row_scores, segments.iloc[found.first], rows, decoder.k)
    found, pieces = decoder._compare(windows, y, stacklevel=4)
    warn_of_exposure(estimator, decoder, y)
    scores = np.empty((len(found.target), len(found.ids)), np.float32)
    for place, part in pieces:
        scores[place] = part.cpu().numpy()
    return RetrievalResult(
        scores=scores,
        target=found.target,
        candidates=segments.iloc[found.first].reset_index(drop=True),
        rows=rows,
        k=decoder.k,
    )


def find_table_to_retrieve(y):
    """Return the table of segments, for arrays a table of row hashes."""
    table = validate_table(y)
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
        if isinstance(part, RowRetrievalResult):
            raise ValueError(
                f"Part {place} has own candidates of each window, and concat_results joins windows with the same "
                f"candidates. Score the parts separately, or use benchmark(candidates_per_row=...)."
            )
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

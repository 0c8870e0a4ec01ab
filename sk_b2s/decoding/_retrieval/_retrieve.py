"""Retrieval scores and similarities of a fitted decoder."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._estimators import unwrap_decoder_of_estimator
from sk_b2s._utils._validation import join_validated_tables, validate_table
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.decoding._retrieval._row_result import make_row_retrieval_result
from sk_b2s.model_selection._exposure import warn_of_exposure
from sk_b2s.preprocessing._fingerprint import fingerprint_array_rows
from sk_b2s.preprocessing._windows._windows import Windows


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

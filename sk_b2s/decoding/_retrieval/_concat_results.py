"""Concatenation of retrieval results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult


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

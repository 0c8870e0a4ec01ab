"""All retrieval scores of a fitted decoder."""

from __future__ import annotations

from sk_b2s._utils._estimators import unwrap_decoder_of_estimator
from sk_b2s.metrics._ranks_and_top_k import chance_level, compute_rank_scores
from sk_b2s.model_selection._exposure import warn_of_exposure


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

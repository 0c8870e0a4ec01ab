"""Fits, similarities and cost of the members of an ensemble."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from numbers import Integral
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from sk_b2s._utils._estimators import (
    find_decoder_in_estimator,
    find_innermost_estimator,
    make_estimator_fit_params,
    unwrap_innermost_estimator,
    was_estimator_interrupted,
)
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._ensemble._weights import standardize_weighted_ensemble_scores
from sk_b2s.metrics._ranks_and_top_k import ranks

STRIDE = 1000  # between the random states of the fits of a member
NO_INNER_FOLDS = {"inner_top_1": np.nan, "inner_top_k": np.nan, "inner_chance": np.nan}


@dataclass(frozen=True)
class MemberFit:
    """One fit of a member, on all rows or on an inner fold.

    ``member``, ``seed`` and ``fold`` are indices. All rows have no ``fold``.
    ``fitted`` is only stored for all rows, ``scores``, the standardized
    similarities of the held-out windows, only for a fold.
    """

    member: int
    seed: int
    fold: int | None
    fitted: Any = None
    scores: Any = None
    seconds: float = 0.0


def _find_member_seed(member):
    """Return the name of the random state of the decoder, or None."""
    decoder, prefix = find_decoder_in_estimator(member)
    return f"{prefix}random_state" if "random_state" in decoder.get_params(deep=False) else None


def count_ensemble_member_fits(member, n_seeds):
    """Return the number of fits of a member, 1 without a random state."""
    return 1 if _find_member_seed(member) is None else n_seeds


def seed_ensemble_member(member, seed):
    """Clone a member, with the random state of its decoder changed by a seed.

    A RandomState draws the first number, and None remains.
    """
    member = clone(member)
    if seed == 0 or (name := _find_member_seed(member)) is None:
        return member
    state = member.get_params()[name]
    if isinstance(state, np.random.RandomState):
        state = copy.deepcopy(state).randint(2**31 - 1)
    if isinstance(state, Integral):
        member.set_params(**{name: (int(state) + STRIDE * seed) % 2**32})
    return member


def fit_ensemble_member(fit, member, X, y, calibration, fold):
    """Fit a member on all rows, or on an inner fold (train, test).

    ``fit`` is a MemberFit with indices, which is returned completed. Raises a
    KeyboardInterrupt if the training was interrupted.
    """
    start = perf_counter()
    estimator = seed_ensemble_member(member, fit.seed)
    rows = slice(None) if fold is None else fold[0]
    params = (
        {} if calibration is None else make_estimator_fit_params(estimator, np.asarray(calibration)[rows])
    )
    own = (X, y) if fold is None else (_safe_indexing(X, rows), _safe_indexing(y, rows))
    estimator.fit(*own, **params)
    if was_estimator_interrupted(estimator):
        raise KeyboardInterrupt
    if fold is None:
        return replace(fit, fitted=estimator, seconds=perf_counter() - start)
    candidates = _safe_indexing(y, fold[1])
    candidates = _safe_indexing(candidates, find_distinct_candidates(candidates).first)
    scores = compute_ensemble_member_scores([estimator], _safe_indexing(X, fold[1]), candidates)
    return replace(fit, scores=scores, seconds=perf_counter() - start)


def compute_ensemble_member_scores(copies, X, candidates):
    """Compute standardized similarities of a member.

    ``copies`` are its fits, which are averaged, and ``candidates`` distinct
    rows of y. Returns an array of shape (n_windows, n_candidates).
    """
    total = None
    for fitted in copies:
        decoder, windows = unwrap_innermost_estimator(fitted, X)
        scores = np.array(decoder.similarity(windows, candidates), np.float32)
        scores = standardize_weighted_ensemble_scores(scores)
        total = scores if total is None else np.add(total, scores, out=total)
    return total if len(copies) == 1 else standardize_weighted_ensemble_scores(total)


def count_ensemble_member_parameters(decoder):
    """Count the fitted numbers of a decoder, NaN if they are unknown."""
    if hasattr(decoder, "net_"):
        modules = [decoder.net_.module_, getattr(decoder.net_, "speech_module_", None)]
        return sum(p.numel() for module in modules if module is not None for p in module.parameters())
    arrays = [getattr(decoder, name, None) for name in ("coef_", "intercept_", "filters_")]
    return np.nan if arrays[0] is None else sum(np.size(one) for one in arrays if one is not None)


def summarize_ensemble_members(names, weights, fits, inner, k):
    """Make the table of cost and gain of the members and of the ensemble."""
    rows = []
    for index, weight in enumerate(weights):
        own = [fit for fit in fits if fit.member == index]
        decoders = [find_innermost_estimator(fit.fitted, fitted=True)[0] for fit in own if fit.fold is None]
        rows.append({
            "weight": weight, "n_fits": len(own), "seconds": sum(fit.seconds for fit in own),
            "n_parameters": float(sum(count_ensemble_member_parameters(decoder) for decoder in decoders)),
            **_score_members_on_inner_folds([(scores[index], target) for scores, target in inner], k),
        })  # fmt: skip
    table = pd.DataFrame(rows, index=pd.Index(names, dtype=object))
    combined = [(np.tensordot(weights.astype(np.float32), scores, 1), target) for scores, target in inner]
    costs = ["n_fits", "seconds", "n_parameters"]
    table.loc["ensemble"] = {
        "weight": weights.sum(), **table[costs].sum(skipna=False), **_score_members_on_inner_folds(combined, k)
    }  # fmt: skip
    return table.astype({"n_fits": int}).rename_axis("member")


def _score_members_on_inner_folds(folds, k):
    """Return the accuracies on the held-out windows of inner folds."""
    if not folds:
        return NO_INNER_FOLDS
    found = [ranks(scores, target) for scores, target in folds]
    n_windows = np.array([len(one) for one in found])
    n_candidates = np.array([scores.shape[1] for scores, _ in folds])
    top_1, top_k = (np.concatenate([one < count for one in found]).mean() for count in (1, k))
    chance = np.average(k / n_candidates, weights=n_windows)
    is_trivial = (n_candidates <= k).any()
    return {
        "inner_top_1": top_1,
        "inner_top_k": np.nan if is_trivial else top_k,
        "inner_chance": np.nan if is_trivial else chance,
    }

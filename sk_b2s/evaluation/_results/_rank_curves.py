"""Rank curves of a results table: top-k accuracy for all k."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sk_b2s.evaluation._results._amounts import amounts_in, format_calibration_amounts
from sk_b2s.evaluation._results._details import list_guess_numbers_for_details, read_fit_details


class RankCurve(NamedTuple):
    """Top-k accuracy, mean over subjects, for numbers of guesses ``k``."""

    k: np.ndarray
    accuracy: np.ndarray
    n_candidates: int
    n_subjects: int


def select_rank_curve_fits(results, control="decoder"):
    """Select the first row of each fit with details, and read them.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Results of :func:`~sk_b2s.benchmark`.
    control : str, default="decoder"

    Returns
    -------
    fits : DataFrame
        With ``details`` as dicts, and ``label``: the estimator, followed by
        its calibration minutes if there are several.
    """
    if "details" not in results:
        return results.iloc[:0].assign(label="", details=None)
    rows = results[(results["control"] == control) & results["details"].notna()]
    label = rows["estimator"].astype(str)
    for column in amounts_in(results):
        label = label + format_calibration_amounts(rows[column])
    return rows.assign(details=[read_fit_details(text) for text in rows["details"]], label=label)


def average_rank_curves(results, control="decoder"):
    """Average the rank curves of a results table over subjects.

    Folds and seeds of a subject are weighted by their windows.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Results of :func:`~sk_b2s.benchmark`.
    control : str, default="decoder"

    Returns
    -------
    curves : dict of str to RankCurve
        By label. Fits of files from earlier versions have no curve. If fits
        differ in the number of candidates, the curve ends at the smallest.
    """
    fits, curves = select_rank_curve_fits(results, control), {}
    for label, own in fits.groupby("label", sort=False):
        ranks = [details["ranks"] for details in own["details"] if "ranks" in details]
        if not ranks:
            continue
        n_candidates = min(one["n_candidates"] for one in ranks)
        k = np.array(list_guess_numbers_for_details(n_candidates))
        hits: dict[str, np.ndarray] = {}
        for one in ranks:
            for subject, (n, *counts) in one["hits"].items():
                found = np.r_[n, np.interp(k, one["k"], counts)]
                hits[subject] = hits.get(subject, 0.0) + found
        accuracy = np.mean([own[1:] / own[0] for own in hits.values()], axis=0)
        curves[label] = RankCurve(k, accuracy, n_candidates, len(hits))
    return curves

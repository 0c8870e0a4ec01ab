"""Parts of the scores of words: subjects, hours, timing and temperature."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.decoding._retrieval._checks import check_other_retrieval_windows
from sk_b2s.decoding._retrieval._confidence_mixin import iter_confidence_mixin_folds
from sk_b2s.metrics._confidence import compute_confidence_loss
from sk_b2s.metrics._word_timing import timing_scores

SECONDS = 3600.0  # per hour
TEMPERATURES = (1e-3, 1e3)
FIGURES = [
    "mutual_information", "plug_in", "bias", "entropy", "log_loss_gain", "bits_per_presented_word",
]  # fmt: skip


def list_word_figure_rows(rows):
    """Return the (subject, positions of its windows) pairs of a table."""
    return list(rows.reset_index(drop=True).groupby("subject", sort=True, dropna=False).indices.items())


def compute_word_figure_hours(rows):
    """Compute the hours that the windows of a subject cover, NaN if unknown.

    Parts that several windows cover count once.
    """
    if not {"recording", "onset", "duration"} <= set(rows):
        return np.nan
    seconds = 0.0
    for _, own in rows.groupby(get_validated_recordings(rows)):
        start = np.sort(own["onset"].to_numpy(float))
        order = np.argsort(own["onset"].to_numpy(float), kind="stable")
        stop = np.maximum.accumulate(start + own["duration"].to_numpy(float)[order])
        seconds += (stop - np.maximum(start, np.r_[-np.inf, stop[:-1]])).clip(min=0).sum()
    return seconds / SECONDS if seconds > 0 else np.nan


def score_word_figure_timing(timed, target, k, average=True):
    """Score the classifier of timing, by default balanced by subject.

    ``timed`` are rows, words, vocabulary and training rows.
    """
    rows, words, vocabulary, train = timed
    hits = timing_scores(rows, words, vocabulary, k, train)
    if not average:
        return hits
    used = target >= 0
    return hits[used].groupby([rows["subject"][used], target[used]]).mean().groupby(level=0).mean().to_dict()


def average_word_figures(table, names, counts):
    """Average the information of subjects: one row for each of ``names``."""
    out = {}
    for name in names:
        own = table[table["row"] == name]
        means = own[FIGURES].mean()
        out[name] = {
            "mutual_information": means["mutual_information"], "sem": own["mutual_information"].sem(), "chance": 0.0,
            **means[["plug_in", "bias", "entropy"]], "log_loss_gain": means["log_loss_gain"],
            "gain_sem": own["log_loss_gain"].sem(), "bits_per_presented_word": means["bits_per_presented_word"],
            **counts, "n_subjects": len(own),
        }  # fmt: skip
    return pd.DataFrame.from_dict(out, orient="index")


def fit_word_figure_temperatures(result, reference, by, n_folds):
    """Fit the temperature of each window on other windows.

    It divides the logarithm of the ratio between probability and prior.
    Returns an array of shape (n_windows,).
    """
    if reference is not None:
        check_other_retrieval_windows(result, reference, "scale_temperature")
        if reference.vocabulary != result.vocabulary:
            raise ValueError(
                f"The 'reference' parameter of scale_temperature must have the vocabulary of this result. It has "
                f"{reference.n_words} words instead of {result.n_words}, or other ones."
            )
        return np.full(len(result.rows), _fit_temperature(reference, slice(None)))
    out = np.empty(len(result.rows))
    for own in iter_confidence_mixin_folds(result.rows, by, n_folds):
        out[own] = _fit_temperature(result, ~own)
    return out


def _fit_temperature(result, rows):
    """Fit the temperature with the least log-loss in some windows."""
    target, logs = result.target[rows], result.log_probabilities[rows]
    target, logs = target[target >= 0], logs[target >= 0]
    if not len(target):
        return TEMPERATURES[1]
    parts = np.stack([np.broadcast_to(result.log_prior, logs.shape), logs - result.log_prior])
    found = minimize_scalar(
        lambda exponent: compute_confidence_loss(np.array([1.0, np.exp(-exponent)]), [(parts, target)])[0],
        bounds=tuple(np.log(TEMPERATURES)), method="bounded",
    )  # fmt: skip
    return float(np.exp(found.x))

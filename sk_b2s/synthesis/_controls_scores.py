"""Scores of a reconstruction and its controls, with null distributions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from sk_b2s.evaluation._reconstruction._result import MEAN
from sk_b2s.synthesis._confidence import compare_confidence_seconds
from sk_b2s.synthesis._identification import LEAST_SHIFT, list_identification_shifts
from sk_b2s.synthesis._verdicts import make_synthesis_score_verdict

MEASURES = ("two_way", "n_way")
COLUMNS = [
    "control", "subject", "measure", "band", "score", "chance", "null_low", "null_mean", "null_high", "p_value", "n",
    "verdict",
]  # fmt: skip


def score_rows_of_synthesis_controls(results, specs, sfreq, n_way, seconds, n_shifts, random_state):
    """Score each control, subject, measure and band: DataFrame.

    A decoder that is trained on stimuli of another time estimates the stimulus
    of that time. Speech resembles itself at some lags by chance, more so in
    short recordings. The null of this control is wider by the score of the
    decoder times the scores of the shifted true stimulus.
    """
    n_folds = results["decoder"].rows["fold"].nunique()
    common = (sfreq, n_way, seconds, n_shifts, random_state, n_folds)
    parts = {
        name: pd.DataFrame(_score_synthesis_control(result, *common))
        for name, result in results.items()
        if name != "shifted_labels"
    }
    if "shifted_labels" in results:
        truth = replace(results["decoder"], estimate=results["decoder"].target)
        of_truth = pd.DataFrame(_score_synthesis_control(truth, *common))
        gain = ((parts["decoder"]["score"] - of_truth["chance"]) / (1 - of_truth["chance"])).clip(lower=0)
        keys = of_truth[["subject", "measure", "band"]].itertuples(index=False, name=None)
        extra = dict(zip(keys, (gain * of_truth["null_std"]).fillna(0), strict=True))
        parts["shifted_labels"] = pd.DataFrame(
            _score_synthesis_control(results["shifted_labels"], *common, extra)
        )
    scores = pd.concat([parts[name].assign(control=name) for name in results], ignore_index=True)
    scores["verdict"] = [
        make_synthesis_score_verdict(
            row["p_value"],
            row["measure"],
            specs[row["control"]].is_leak_test,
            specs[row["control"]].is_context,
        )
        for row in scores.to_dict("records")
    ]
    return scores[COLUMNS]


def _score_synthesis_control(result, sfreq, n_way, seconds, n_shifts, random_state, n_folds, extra=None):
    """Score each subject and their mean: list of dicts.

    ``extra`` is the additional standard deviation of the null of each subject,
    measure and band.
    """
    names = [MEAN, *map(str, range(result.n_bands))] if result.n_bands > 1 else [MEAN]
    curves, pieces, counts, n_distinct = [], [], [], []
    groups = _group_folds_of_synthesis(result)
    for index, row in enumerate(result.rows.to_dict("records")):
        random = check_random_state(random_state + groups[row["fold"]])
        curves.append(result.correlate_recording(index, n_shifts, random)[:, : len(names)])
        similarity = score_seconds_of_synthesis_control(result, index, sfreq, seconds)
        least = max(LEAST_SHIFT, int(np.ceil(result.window / sfreq / seconds)))
        found = (
            np.full((1, 2), np.nan)
            if similarity is None
            else list_identification_shifts(similarity, n_way, least)
        )
        n_null = len(found) - 1
        n_distinct.append(n_null)
        drawn = found[1 + random.randint(0, n_null, n_shifts)] if n_null else np.full((n_shifts, 2), np.nan)
        pieces.append(np.vstack([found[:1], drawn]))
        counts.append((0 if similarity is None else len(similarity), n_way))
    if not sum(n for n, _ in counts):
        raise ValueError(
            f"No recording has five pieces of {seconds:g} s during the stimulus, so none can be identified. Use longer "
            f"recordings or a smaller value of 'seconds'."
        )
    limit = 1 / (1 + _count_distinct(result.rows["fold"].map(groups), n_distinct))
    measures = {"r": (curves, result.rows["n_frames"], names, 0.0)}
    for column, measure in enumerate(MEASURES):
        chance = 0.5 if measure == "two_way" else 1 / min(n_way, max(n for n, _ in counts))
        values = [part[:, [column]] for part in pieces]
        measures[measure] = (values, pd.Series([n for n, _ in counts]), [MEAN], chance)
    rows = []
    for measure, (values, weights, bands, chance) in measures.items():
        by_subject = {
            subject: (
                _average_recordings_of_subject([values[i] for i in own], weights.iloc[own].to_numpy(float)),
                int(weights.iloc[own].sum()),
            )
            for subject, own in result.rows.groupby("subject", sort=False).indices.items()
        }
        mean = np.nanmean(np.stack([value for value, _ in by_subject.values()]), axis=0)
        by_subject = {**by_subject, MEAN: (mean, int(weights.sum()))}
        for subject, (value, n) in by_subject.items():
            for column, band in enumerate(bands):
                more = 0.0 if extra is None else extra.get((subject, measure, band), 0.0)
                rows.append({
                    "subject": subject, "measure": measure, "band": band, "chance": chance, "n": n,
                    **_compare_synthesis_with_null(value[:, column], n_folds, 0 if measure == "r" else limit, more),
                })  # fmt: skip
    return rows


def score_seconds_of_synthesis_control(result, index, sfreq, seconds):
    """Return the similarity of pieces, None if the recording is too short."""
    least = 2 * LEAST_SHIFT + 1
    if result.estimate[index].shape[1] < least * max(round(seconds * sfreq), 1):
        return None
    return compare_confidence_seconds(result.estimate[index], result.target[index], sfreq, seconds)


def _group_folds_of_synthesis(result):
    """Return a number for each fold, equal if the stimuli are equal.

    Subjects share the stimulus, so their shifts must be common.
    """
    first = ~result.rows["fold"].duplicated()
    stimuli = {
        fold: result.target[index].astype(np.float32).tobytes()
        for index, fold in result.rows["fold"][first].items()
    }
    return dict(zip(stimuli, pd.factorize(pd.Series(list(stimuli.values())))[0].tolist(), strict=True))


def _count_distinct(group, n_distinct):
    """Return the number of distinct sets of shifts of all folds."""
    least = pd.Series(n_distinct).groupby(group.to_numpy()).min()
    return float(np.prod(least.to_numpy(float)))


def _average_recordings_of_subject(values, weights):
    """Average recordings of a subject without those that are NaN."""
    values = np.stack(values)
    weights = weights[:, None, None] * ~np.isnan(values)
    total = weights.sum(0)
    return np.divide(
        (weights * np.nan_to_num(values)).sum(0),
        total,
        out=np.full(values.shape[1:], np.nan),
        where=total > 0,
    )


def _compare_synthesis_with_null(values, n_folds, limit, extra=0.0):
    """Compare a score, the first value, with its null distribution."""
    score, null = values[0], values[1:]
    null = null[~np.isnan(null)]
    if not len(null) or np.isnan(score):
        return {
            "score": score,
            **dict.fromkeys(("null_low", "null_mean", "null_high", "p_value", "null_std"), np.nan),
        }
    if n_folds > 1:  # folds are not independent: the covariance of two folds by chance is in both
        null = null.mean() + np.sqrt(2) * (null - null.mean())
    spread = null.std()
    if extra and spread > 1e-12:
        null = null.mean() + np.hypot(1, extra / spread) * (null - null.mean())
    p = max((1 + (null >= score - 1e-12).sum()) / (1 + len(null)), limit)
    low, high = np.quantile(null, [0.025, 0.975])
    return {
        "score": score, "null_low": low, "null_mean": null.mean(), "null_high": high, "p_value": min(p, 1.0),
        "null_std": null.std(),
    }  # fmt: skip

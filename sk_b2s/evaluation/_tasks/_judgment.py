"""Scores, nulls and leak tests of the windows of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.evaluation._controls._leak_test import LeakTestOutcome
from sk_b2s.evaluation._scores import SCORE_COLUMNS, SCORES
from sk_b2s.events._stimuli import make_stimulus_id
from sk_b2s.metrics._null import compute_null_means
from sk_b2s.metrics._ranks_and_top_k import ranks


@dataclass(frozen=True, eq=False)
class Judgment:
    """Main score of each window of a task, for its target and all others.

    Parameters
    ----------
    worth : ndarray of shape (n_windows, n_segments)
        Main score of each window if each distinct segment were its target,
        0 or 1 for accuracies.
    target : ndarray of int of shape (n_windows,)
        Column of the target segment.
    rows : DataFrame of shape (n_windows, ...)
        With ``subject, recording, onset`` and ``duration``.
    n_candidates : int
        Number of candidates of a window.
    chance : float or ndarray of shape (n_windows,)
        Chance level of the main score.
    k : int, default=1
        Number of guesses.
    types : None or array-like of shape (n_segments,), default=None
        Type of each segment, a word for example. All types have equal weight
        in the mean. If None, all windows have.
    extra : None or callable, default=None
        ``extra(windows)`` returns further columns of ``SCORES`` for some
        windows of one subject, given as ndarray of int.
    """

    worth: np.ndarray
    target: np.ndarray
    rows: pd.DataFrame
    n_candidates: int
    chance: Any
    k: int = 1
    types: Any = None
    extra: Callable[[np.ndarray], dict] | None = None

    def weigh(self, windows):
        """Return the weight of each segment in the mean of some windows."""
        if self.types is None:
            return np.ones(self.worth.shape[1])
        codes = pd.factorize(np.asarray(self.types, dtype=object))[0]
        presented = codes[self.target[windows]]
        count = np.bincount(presented, minlength=codes.max() + 1)
        weight = len(windows) / np.maximum(count, 1) / max(np.count_nonzero(count), 1)
        return np.where(count > 0, weight, 0.0)[codes]

    def own(self, windows):
        """Return the weighted score of each of some windows."""
        target = self.target[windows]
        return self.worth[windows, target] * self.weigh(windows)[target]

    def compute_chance(self, windows):
        """Return the mean chance level of some windows."""
        if np.ndim(self.chance) == 0:
            return float(self.chance)
        return float((self.chance[windows] * self.weigh(windows)[self.target[windows]]).mean())

    def make_rows(self, main_score, n_shifts=1000, random_state=0):
        """Make one row of a results table per subject and condition.

        Parameters
        ----------
        main_score : str
            Column of the main score.
        n_shifts : int, default=1000
            Circular shifts of each null.
        random_state : int, default=0
            Draws the shifts.

        Returns
        -------
        rows : list of dict
            As of ``compute_all_scores``. Scores that the task does not
            have are NaN.
        """
        table = self.rows.reset_index(drop=True)
        condition = table["condition"] if "condition" in table else pd.Series("", index=table.index)
        condition = condition.astype(object).where(condition.notna(), "")
        out = []
        for subject, of_subject in table.groupby("subject", sort=False).indices.items():
            study = table["study"].iloc[of_subject[0]] if "study" in table else ""
            for name in pd.unique(condition[of_subject]):
                chosen = (condition[of_subject] == name).to_numpy()
                windows = of_subject[chosen]
                null = _null_of_judgment(self, of_subject, chosen, n_shifts, random_state)
                low, high = np.quantile(null, [0.025, 0.975])
                chance = self.compute_chance(windows)
                row = dict.fromkeys(SCORE_COLUMNS, np.nan) | (self.extra(windows) if self.extra else {})
                row |= {main_score: float(self.own(windows).mean()), "k": self.k, "chance": chance}
                if column := SCORES[main_score].chance_column:
                    row[column] = chance
                out.append({
                    "study": study, "subject": subject, "condition": name, "pool": "all", "n_windows": len(windows),
                    "n_candidates": int(self.n_candidates), **row,
                    "null_mean": null.mean(), "null_low": low, "null_high": high,
                })  # fmt: skip
        return out

    def make_outcome(self, n_shifts=1000, random_state=None, n_left_out=0):
        """Reduce a control on one fold to the input of a verdict.

        Parameters
        ----------
        n_shifts : int, default=1000
        random_state : None or int, default=None
        n_left_out : int, default=0
            Excluded training windows.

        Returns
        -------
        outcome : LeakTestOutcome
            The main score takes the place of ``top_k``.
        """
        random = np.random.RandomState(random_state)
        recording = get_validated_recordings(self.rows)
        subject = self.rows["subject"].to_numpy()
        worth = np.empty(self.worth.shape)
        for name in pd.unique(subject):
            windows = np.flatnonzero(subject == name)
            worth[windows] = self.worth[windows] * self.weigh(windows)
        relative = ranks(self.worth, self.target) / max(self.worth.shape[1] - 1, 1)
        records = []
        for name in pd.unique(recording):
            own = np.flatnonzero(recording == name)
            target, n = self.target[own], len(own)
            null = _shift_judgment(worth[own], target, self.rows.iloc[own], n_shifts, random)
            records.append({
                "subject": subject[own[0]], "recording": name, "n": n, "top_1": float(worth[own, target].sum()),
                "top_k": float(worth[own, target].sum()), "chance": n * self.compute_chance(own), "null": n * null,
                "relative": relative[own], "n_candidates": n * int(self.n_candidates),
            })  # fmt: skip
        codes, names = pd.factorize(recording, sort=True)
        sums = np.stack([worth[codes == code].sum(0) for code in range(len(names))])
        hits = np.stack([sums[:, self.target[codes == code]].mean(1) for code in range(len(names))], axis=1)
        return LeakTestOutcome(records, [(tuple(names), hits)], n_left_out)


def _null_of_judgment(judgment, of_subject, chosen, n_shifts, random_state):
    """Compute the null of the main score of one subject, NaN if undefined."""
    if judgment.types is not None:  # shifted among each other, so that types keep their counts
        of_subject, chosen = of_subject[chosen], np.ones(chosen.sum(), bool)
    rows = judgment.rows.iloc[of_subject]
    if not {"onset", "duration"} <= set(rows) or not n_shifts:
        return np.full(max(n_shifts, 1), np.nan)
    target = judgment.target[of_subject]
    seed = make_stimulus_id(random_state, pd.factorize(target)[0].tolist(), rows["onset"].tolist()) % 2**32
    worth = judgment.worth[of_subject] * judgment.weigh(of_subject[chosen])
    return _shift_judgment(worth, target, rows, n_shifts, seed, chosen)


def _shift_judgment(worth, target, rows, n_shifts, random_state, sample_weight=None):
    """Return the means of shifted labels, NaN if recordings are too short."""
    try:
        return compute_null_means(
            worth, target, rows["recording"], rows["onset"], rows["duration"].max(), n_shifts, random_state, sample_weight
        )  # fmt: skip
    except ValueError:
        return np.full(n_shifts, np.nan)

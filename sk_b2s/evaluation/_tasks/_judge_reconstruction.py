"""Reconstructed speech features as a task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sk_b2s.evaluation._controls._leak_test import LeakTestOutcome
from sk_b2s.evaluation._reconstruction._result import MEAN, ReconstructionResult
from sk_b2s.evaluation._scores import SCORE_COLUMNS


@dataclass(frozen=True, eq=False)
class ReconstructionJudgment:
    """Correlations of reconstructed and true features of each recording."""

    result: ReconstructionResult

    def make_rows(self, main_score, n_shifts=1000, random_state=0):
        """Make one row of a results table per subject."""
        found = self.result.correlations(n_shifts, random_state)
        rows = []
        for row in found[found["band"] == MEAN].to_dict("records"):
            rows.append(
                dict.fromkeys(SCORE_COLUMNS, np.nan)
                | {
                    "study": row.get("study", ""), "subject": row["subject"], "condition": "", "pool": "all",
                    "n_windows": row["n_windows"], "n_candidates": 0, "k": 1, "chance": 0.0, main_score: row["r"],
                    "null_mean": row["null_mean"], "null_low": row["null_low"], "null_high": row["null_high"],
                }
            )  # fmt: skip
        return rows

    def make_outcome(self, n_shifts=1000, random_state=None, n_left_out=0):
        """Reduce a control on one fold to the input of a verdict.

        Recordings are weighted by their frames. They are not exchanged,
        because their durations differ.
        """
        records, random = [], np.random.RandomState(random_state)
        for index, row in enumerate(self.result.rows.to_dict("records")):
            r = self.result.correlate_recording(index, n_shifts, random)[:, 0]
            if np.isfinite(r[0]):
                n = int(row["n_frames"])
                records.append({
                    "subject": row["subject"], "recording": str(row["recording"]), "n": n, "top_1": n * r[0],
                    "top_k": n * r[0], "chance": 0.0, "null": n * r[1:], "relative": np.zeros(1), "n_candidates": 0,
                })  # fmt: skip
        return LeakTestOutcome(records, [], n_left_out, is_correlation=True)


def judge_reconstruction(result, fold):
    """Judge the mean correlation over bands.

    Parameters
    ----------
    result : ReconstructionResult
    fold : ControlFold
        Not used, present for API consistency by convention.

    Returns
    -------
    judgment : ReconstructionJudgment
    """
    return ReconstructionJudgment(result)

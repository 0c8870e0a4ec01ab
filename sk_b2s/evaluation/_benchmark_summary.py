"""Summary of a results table, shared by figures, texts and reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from sk_b2s.evaluation._controls._registry import LEAK_TESTS
from sk_b2s.evaluation._results._amounts import amounts_in, format_calibration_amounts
from sk_b2s.evaluation._results._former import read_former_leakage
from sk_b2s.evaluation._results._plan import UNKNOWN, list_missing_plan_parts, plans_that_differ
from sk_b2s.evaluation._results._summarize import summarize
from sk_b2s.evaluation._scores import (
    chance_of_score,
    get_main_score,
    is_score_correlation,
    label_of_score,
    select_main_score,
)
from sk_b2s.evaluation._statistics._comparison import compare_estimators, order_comparison_pairs
from sk_b2s.evaluation._statistics._subject_means import (
    compute_statistics_over_subjects,
    compute_subject_null_statistics,
    compute_subject_score_statistics,
    select_subject_rows_for_statistics,
)
from sk_b2s.evaluation._tasks._registry import TASKS
from sk_b2s.model_selection._leakage_report import LeakageReportVerdict

FIT = ["estimator", "control", "seed", "fold"]  # columns that identify a fit


@dataclass(frozen=True, eq=False)
class BenchmarkSummary:
    """Summary of a results table of :func:`~sk_b2s.benchmark`.

    Each attribute is computed from ``results`` when it is first read and then
    stored, so that figures, texts and a report of one table share the work.
    Pass one object to all of them: ``BenchmarkSummary.of(results)`` returns
    its argument if it already is a summary.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        All rows, failed fits included.

    Attributes
    ----------
    rows : DataFrame
        Rows that did not fail, with ``label``: the estimator, followed by the
        condition, ``k`` and calibration minutes if there are several.
    decoders : DataFrame
        The ``rows`` of the decoders themselves, among all candidates.
    failed : DataFrame
        One row per failed fit.
    table : DataFrame
        :func:`~sk_b2s.summarize` of the results, with ``label``: means,
        standard errors, chance levels, nulls and verdicts.
    scored : DataFrame
        The rows of ``table`` for decoders among all candidates, one per
        label. These are the main results.
    controls : DataFrame
        The rows of ``table`` for controls among all candidates.
    leak_tests : DataFrame
        The rows of ``controls`` that can reveal a leak.
    k : int or None
        Number of guesses of ``top_k``, None if there are several.
    score_label : str
        Label of ``top_k``, for example "top-10 accuracy".
    leaking_folds : DataFrame
        One row for each fold in which data are on both sides, with
        ``leakage``, ``leakage_verdict`` and ``leakage_sources`` of
        :func:`~sk_b2s.benchmark`.
    unfinished : list of str
        Missing parts of the plan, one text per estimator or control.
    is_plan_known : bool
        Whether the table records the plan of every estimator.
    plan_differences : str
        Plans whose scores are not comparable, "" if all are.
    """

    results: pd.DataFrame
    _means: dict = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        if "main_score" in self.results:  # of a task, in the place of top_k
            results = self.results.assign(top_k=select_main_score(self.results))
            object.__setattr__(self, "results", results)

    @classmethod
    def of(cls, results):
        """Return a summary of a results table, or ``results`` if it is one."""
        return results if isinstance(results, cls) else cls(results)

    # --- rows ---

    @cached_property
    def rows(self):
        return add_summary_labels(self.results)

    @cached_property
    def decoders(self):
        return select_subject_rows_for_statistics(self.rows)

    @cached_property
    def failed(self):
        if "error" not in self.results:
            return self.results.iloc[:0]
        failed = self.results[~_is_without_error(self.results)]
        return failed.drop_duplicates([name for name in FIT if name in failed])

    # --- means over subjects ---

    @cached_property
    def table(self):
        table = add_summary_labels(summarize(self.results))
        main = get_main_score(table)
        return table if main == "top_k" else table.assign(top_k=table[main], top_k_sem=table[f"{main}_sem"])

    @cached_property
    def scored(self):
        table = self.table
        return table[(table["control"] == "decoder") & (table["pool"] == "all")]

    @cached_property
    def controls(self):
        table = self.table
        return table[(table["control"] != "decoder") & (table["pool"] == "all")]

    @cached_property
    def leak_tests(self):
        return self.controls[self.controls["control"].isin(LEAK_TESTS)]

    @cached_property
    def k(self):
        return _find_single_k(self.rows)

    @cached_property
    def score_label(self):
        return get_summary_score_label(self.rows)

    def is_correlation(self, score="top_k"):
        """Return whether a score of this table is a correlation."""
        return is_score_correlation(self.results, score)

    @cached_property
    def task(self):
        """Entry of the task in its registry, None for other tables."""
        named = self.results["task"] if "task" in self.results else ()
        return TASKS.get(named.iloc[0]) if len(named) else None

    def label_score(self, score="top_k"):
        """Return the label of a score of this table."""
        return get_summary_score_label(self.rows, score)

    def labels_with(self, *verdicts):
        """Return the labels of decoders with any of the verdicts.

        Examples: ``labels_with(Verdict.LEAK)``,
        ``labels_with(Verdict.ABOVE_NULL)``.
        """
        return list(dict.fromkeys(self.scored.loc[self.scored["verdict"].isin(verdicts), "label"]))

    def controls_with(self, *verdicts):
        """Return the names of leak tests with any of the verdicts."""
        return list(pd.unique(self.leak_tests.loc[self.leak_tests["verdict"].isin(verdicts), "control"]))

    def means(self, score="top_k", by=("label",), decoders_only=True):
        """Average a score with its chance level and null over subjects.

        Parameters
        ----------
        score : str, default="top_k"
        by : sequence of str, default=("label",)
            Columns. Each combination gets a row.
        decoders_only : bool, default=True
            If False, the rows of controls among all candidates are included.

        Returns
        -------
        means : DataFrame
            See :func:`average_summary_scores`. It is shared and must not be
            changed.
        """
        key = score, tuple(by), decoders_only
        if key not in self._means:
            rows = self.decoders if decoders_only else _among_all_candidates(self.rows)
            self._means[key] = average_summary_scores(rows, score, by)
        return self._means[key]

    def compare(self, reference=None, score="top_k"):
        """Compare the decoders, see :func:`~sk_b2s.compare_estimators`.

        Without a reference, the better estimator of each pair is the first.
        """
        key = "compare", reference, score
        if key not in self._means:
            table = compare_estimators(self.decoders, reference, score)
            self._means[key] = order_comparison_pairs(table) if reference is None else table
        return self._means[key]

    # --- leaks and missing parts ---

    @cached_property
    def leaking_folds(self):
        results = self.results
        if "leakage" not in results:
            return results.iloc[:0]
        folds = results.dropna(subset="leakage").drop_duplicates(["fold", "leakage"])
        if "leakage_verdict" not in results:  # a table of a former version
            former = [read_former_leakage(text) for text in folds["leakage"]]
            folds = folds.assign(leakage_verdict=[verdict for verdict, _ in former])
        return folds[folds["leakage_verdict"] == LeakageReportVerdict.LEAK].drop_duplicates("fold")

    @cached_property
    def _lacking(self):
        return list_missing_plan_parts(self.results, ["estimator", "control", *amounts_in(self.results)])

    @cached_property
    def unfinished(self):
        return [text for text in self._lacking if not text.endswith(UNKNOWN)]

    @cached_property
    def is_plan_known(self):
        return len(self.unfinished) == len(self._lacking)

    @cached_property
    def plan_differences(self):
        return plans_that_differ(self.results)

    def warnings_of_decoders(self, beginning=""):
        """Return the distinct warnings of decoders that begin with a text.

        Returns
        -------
        found : dict of str to (list of str, int, int)
            For each estimator the warnings, the number of its fits with one,
            and the number of its fits.
        """
        if "warnings" not in self.results:
            return {}
        results, found = self.results, {}
        fits = results[results["control"] == "decoder"].drop_duplicates(["estimator", "seed", "fold"])
        for name, own in fits.groupby("estimator", sort=False):
            texts = own["warnings"].astype(object).fillna("").astype(str)
            lines = [
                [line for line in text.splitlines() if line.startswith(beginning) and line] for text in texts
            ]
            if distinct := list(dict.fromkeys(line for each in lines for line in each)):
                found[name] = distinct, sum(map(bool, lines)), len(own)
        return found

    def count_warnings(self):
        """Count the fits with each warning, the most frequent first."""
        fits = self.results.dropna(subset=["warnings"]).drop_duplicates(FIT)
        lines = (
            fits["warnings"]
            .astype(str)
            .map(lambda text: sorted({line for line in text.splitlines() if line}))
        )
        return lines.explode().value_counts().to_dict()


# --- parts that other tables need --------------------------------------------------------------------


def add_summary_labels(results):
    """Select rows without errors and add the column ``label``."""
    if "error" in results:
        results = results[_is_without_error(results)]
    label = results["estimator"].astype(str)
    if "condition" in results and results["condition"].nunique() > 1:
        label = label + " (" + results["condition"].astype(str).replace("", "no condition") + ")"
    if "k" in results and results["k"].nunique() > 1:
        label = label + results["k"].map(", k = {:.0f}".format)
    for column in amounts_in(results):
        label = label + format_calibration_amounts(results[column])
    return results.assign(label=label)


def average_summary_scores(results, score="top_k", by=("label",)):
    """Average a score, its chance level and its null over subjects.

    All subjects have the same weight, whatever their folds, windows and seeds,
    as in :func:`~sk_b2s.summarize`.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        With ``subject`` and the score. Optional columns: ``seed, fold,
        n_windows, n_candidates, chance, null_mean, null_low, null_high``.
    score : str, default="top_k"
        Column.
    by : sequence of str, default=("label",)
        Columns. Each combination gets a row, in order of appearance.

    Returns
    -------
    means : DataFrame
        ``score, sem, chance, null_low, null_mean, null_high, n_subjects``,
        indexed by ``by``. The null is that of ``top_k`` over subjects that
        have one, and NaN for other scores.
    """
    by = list(by)
    rows = results.assign(score=results[score], chance=chance_of_score(results, score))
    means = compute_statistics_over_subjects(
        compute_subject_score_statistics(rows, ["score", "chance"], [*dict.fromkeys([*by, "subject"])]), by
    )
    means = means.drop(columns="chance_sem").rename(columns={"score_sem": "sem"})
    null = ["null_low", "null_mean", "null_high"]
    if score != "top_k" or not set(null) <= set(rows):
        return means.assign(**dict.fromkeys(null, np.nan))
    return means.join(compute_subject_null_statistics(rows, by)[null])


def get_summary_score_label(results, score="top_k"):
    """Return the label of a score, with the ``k`` of a table if it has one."""
    spec = (
        TASKS.get(results["task"].iloc[0])
        if score == "top_k" and "task" in results and len(results)
        else None
    )
    if spec is not None:
        k = _find_single_k(results)
        return spec.label.format(k="k" if k is None else k)
    return label_of_score(score, _find_single_k(results))


def _find_single_k(results):
    found = results["k"].dropna().unique() if "k" in results else []
    return int(found[0]) if len(found) == 1 else None


def _is_without_error(results):
    return results["error"].astype(object).fillna("") == ""


def _among_all_candidates(rows):
    return rows[rows["pool"] == "all"] if "pool" in rows and (rows["pool"] == "all").any() else rows

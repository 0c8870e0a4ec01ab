"""Means and standard errors over subjects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

from sk_b2s.evaluation._reconstruction._result import FOLDS_FACTOR
from sk_b2s.evaluation._results._amounts import amounts_in
from sk_b2s.evaluation._scores import SCORES, select_main_score

OVER = ("seed", "fold", "condition")  # averaged within a subject
KINDS = ("estimator", "control", "condition", "pool")  # never averaged
PARTS = ("band", "n_averaged")  # of scores of reconstruction and classification, never averaged


def mean_and_sem(
    results, score="top_10", by=None, over=OVER, subject="subject", weight="n_windows", chance="chance"
):
    r"""Compute mean and standard error over subjects of one score.

    Let :math:`m_s` be the mean of subject s over its windows in all folds, and
    then over seeds. With S subjects,

    .. math:: m = \frac1S \sum_s m_s, \qquad
              \mathrm{s.e.m.} = \sqrt{\frac{1}{S (S - 1)} \sum_s (m_s - m)^2}.

    Folds and seeds are not independent subjects and would make the error too
    small. Unlike :meth:`~sk_b2s.RetrievalResult.summary`, which summarizes one
    similarity matrix, this function summarizes any table of scores.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        One row per score.
    score : str, default="top_10"
        Column of the scores.
    by : None or sequence of str, default=None
        Columns. Each combination gets a row. If None, "estimator", "control",
        "condition", "pool", "band" and "n_averaged", if the table has them,
        and "calibration_minutes" if there are several.
    over : sequence of str, default=("seed", "fold", "condition")
        Columns whose values are averaged within a subject. Missing ones are
        ignored.
    subject : str, default="subject"
        Column of the subjects.
    weight : None or str, default="n_windows"
        Column of the weights of the rows of a subject. If None, or if the
        table does not have it, all rows have equal weight.
    chance : str, default="chance"
        Column of the chance level, which is averaged in the same way if the
        table has it.

    Returns
    -------
    means : DataFrame
        Columns ``mean, sem, n_subjects`` and, if known, ``chance``, indexed by
        ``by``. The ``sem`` of one subject is NaN.

    Raises
    ------
    ValueError
        If a column is missing, a score is NaN, or rows are equal in all of
        ``by``, ``subject`` and ``over``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s import mean_and_sem
    >>> results = pd.DataFrame({
    ...     "subject": list("aabb"),
    ...     "fold": [0, 1, 0, 1],
    ...     "top_10": [0.5, 0.7, 0.2, 0.4],
    ... })
    >>> mean_and_sem(results).round(3).to_dict("records")
    [{'mean': 0.45, 'sem': 0.15, 'n_subjects': 2}]
    """
    if by is None:
        by = [*(column for column in (*KINDS, *PARTS) if column in results), *amounts_in(results)]
    by = [by] if isinstance(by, str) else list(by)
    columns = {"mean": compute_subject_statistics(results, score, by, over, subject, weight)}
    if chance in results:
        columns["chance"] = compute_subject_statistics(results, chance, by, over, subject, weight)
    means = pd.DataFrame(columns)
    table = compute_statistics_over_subjects(
        means if by else pd.concat({score: means}, names=["score"]), by or ["score"]
    )
    table = table.rename(columns={"mean_sem": "sem"})
    return table[["mean", "sem", "n_subjects", *(["chance"] if chance in results else [])]]


def compute_subject_statistics(
    results, score="top_10", by=(), over=OVER, subject="subject", weight="n_windows"
):
    """Average a score per subject over windows and folds, then over seeds.

    Parameters and errors are those of :func:`mean_and_sem`.

    Returns
    -------
    means : Series
        Indexed by ``by`` and ``subject``.
    """
    by = list(by)
    if missing := [column for column in [score, subject, *by] if column not in results]:
        raise ValueError(f"results lacks the columns {missing}. It has {list(results.columns)}.")
    if not len(results):
        raise ValueError("results has no rows.")
    if invalid := results.index[results[score].isna()].tolist():
        raise ValueError(
            f"{score!r} is NaN in {len(invalid)} of {len(results)} rows (the first is {invalid[0]!r}). Repeat failed "
            f"fits, remove these rows for all estimators, or use another score."
        )
    keys = list(dict.fromkeys([*by, subject, *(column for column in over if column in results)]))
    if (twice := results.duplicated(keys, keep=False)).any():
        groups = results[twice].groupby(keys, sort=False, dropna=False)
        texts = [c for c in results.columns.drop([*keys, score]) if not is_float_dtype(results[c].dtype)]
        differing = [column for column in texts if (groups[column].nunique() > 1).any()]
        raise ValueError(
            f"{twice.sum()} rows have the same {', '.join(keys)} as another row and differ in {differing}. Select one "
            f"kind of row, results[results[...] == ...], or name the column in by= or, to average it, in over=."
        )
    return compute_subject_score_statistics(results, [score], [*by, subject], weight)[score]


def compute_subject_score_statistics(results, scores, keys, weight="n_windows"):
    """Average scores over windows within each seed, then over seeds.

    All means over subjects of the package start with this function.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
    scores : list of str
        Columns.
    keys : list of str
        Columns that are not averaged, the subject included.
    weight : None or str, default="n_windows"
        Column of the weights of the rows of one seed.

    Returns
    -------
    means : DataFrame of shape (n_subjects, n_scores)
        Indexed by ``keys``, in order of appearance. NaN if the score of a row
        is NaN.
    """
    columns = [results[column] for column in keys]
    share = _compute_subject_row_weights(results, keys, weight)
    means = results[scores].mul(share, axis=0).groupby(columns, sort=False, dropna=False).sum(min_count=1)
    return means.where(results[scores].notna().groupby(columns, sort=False, dropna=False).all())


def _compute_subject_row_weights(results, keys, weight):
    """Return the weight of each row in the mean of its subject."""
    columns = [results[column] for column in keys]
    n = results[weight] if weight in results else pd.Series(1.0, index=results.index)
    seed = pd.factorize(results["seed"], use_na_sentinel=False)[0] if "seed" in results else 0
    seed = pd.Series(seed, index=results.index)
    of_seed = n / n.groupby([*columns, seed], sort=False, dropna=False).transform("sum")
    return of_seed / seed.groupby(columns, sort=False, dropna=False).transform("nunique")


def compute_statistics_over_subjects(means, by):
    """Compute mean and standard error over subjects of subject means.

    Parameters
    ----------
    means : DataFrame of shape (n_subjects, n_scores)
        Return value of :func:`compute_subject_score_statistics`.
    by : list of str
        Levels of its index. Each combination gets a row.

    Returns
    -------
    table : DataFrame of shape (n_rows, 2 * n_scores + 1)
        The scores, each followed by its ``..._sem`` (NaN for one subject), and
        ``n_subjects``. NaN if the score of a subject is NaN.
    """
    groups = means.groupby(by, sort=False, dropna=False)
    known = means.notna().groupby(by, sort=False, dropna=False).all()
    mean, sem = groups.mean().where(known), groups.sem().where(known)
    columns = {
        name: table[score] for score in means for name, table in ((score, mean), (f"{score}_sem", sem))
    }
    return pd.DataFrame(columns).assign(n_subjects=groups.size())


def compute_subject_null_statistics(results, by, weight="n_windows"):
    """Compute the null of the mean of the main score over subjects.

    Nulls of subjects and folds are independent, so the distances of their
    quantiles from their means add up like standard deviations. Nulls of seeds
    are not independent and are averaged. Folds of a subject without a null,
    because a recording is too short, are left out of the null and of the mean
    that is compared with it. Correlations of a reconstruction in several folds
    are not independent, see :func:`_is_correlation_over_folds`.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        With ``subject, fold, top_k, null_low, null_mean`` and ``null_high``.
        The column ``main_score`` names another score than ``top_k``.
    by : list of str
        Columns. Each combination gets a row.
    weight : None or str, default="n_windows"
        Column of the weights of the rows of one subject and seed.

    Returns
    -------
    table : DataFrame of shape (n_rows, 5)
        ``null_low, null_mean, null_high``, ``top_k_judged``, the mean over
        rows with a null, and ``n_without_null``, the number of folds of
        subjects without one. Indexed by ``by``. NaN if no subject has a null.
    """
    results = results.assign(top_k=select_main_score(results))
    missing, keys = results["null_high"].isna(), [*dict.fromkeys([*by, "subject"])]
    results = results if "fold" in results else results.assign(fold=0)
    known = results[~missing]
    table = compute_statistics_over_subjects(
        compute_subject_score_statistics(known, ["null_mean", "top_k"], keys, weight), by
    )
    columns = [known[column] for column in [*keys, "fold"]]
    away = known[["null_low", "null_high"]].sub(known["null_mean"], axis=0)
    away = away.mul(_compute_subject_row_weights(known, keys, weight), axis=0)
    away = away.groupby(columns, sort=False, dropna=False).sum()
    away = np.sqrt((away**2).groupby(by, sort=False, dropna=False).sum()).div(table["n_subjects"], axis=0)
    is_shared = _is_correlation_over_folds(known, by).reindex(away.index, fill_value=False)
    away = away.mul(np.where(is_shared, FOLDS_FACTOR, 1), axis=0)
    without = results[missing].drop_duplicates([*keys, "fold"]).groupby(by, sort=False, dropna=False).size()
    groups = results.groupby(by, sort=False, dropna=False).size().index
    return pd.DataFrame({
        "null_low": table["null_mean"] - away["null_low"], "null_mean": table["null_mean"],
        "null_high": table["null_mean"] + away["null_high"], "top_k_judged": table["top_k"],
    }).reindex(groups).assign(n_without_null=without.reindex(groups, fill_value=0))  # fmt: skip


def _is_correlation_over_folds(results, by):
    """Return whether folds share their chance correlations, indexed by ``by``.

    A linear decoder of noise has, in fold j, a score near the sum over the
    other folds k of the product of the chance covariances of j and k. This is
    also in the score of fold k, so each product counts twice in the mean, and
    the variance of the mean is twice that of independent folds.
    """
    main = results["main_score"] if "main_score" in results else pd.Series("top_k", index=results.index)
    is_correlation = main.map(lambda name: name in SCORES and SCORES[name].is_correlation)
    table = results.assign(is_correlation=is_correlation.astype(bool))
    groups = table.groupby(by, sort=False, dropna=False)
    return groups["is_correlation"].all() & (groups["fold"].nunique() > 1)


def select_subject_rows_for_statistics(results):
    """Select the rows of the decoders themselves, among all candidates.

    Rows are selected by ``control`` and ``pool`` if the table has them.
    """
    for column, value in (("control", "decoder"), ("pool", "all")):
        if column in results and (results[column] == value).any():
            results = results[results[column] == value]
    return results

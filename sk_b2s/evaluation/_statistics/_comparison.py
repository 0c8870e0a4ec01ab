"""Paired comparison of estimators by signed-rank tests over subjects."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sk_b2s.evaluation._results._amounts import AMOUNT, amounts_in
from sk_b2s.evaluation._results._plan import describe_plan_differences, read_plan
from sk_b2s.evaluation._statistics._subject_means import (
    OVER,
    compute_subject_statistics,
    select_subject_rows_for_statistics,
)


def compare_estimators(
    results,
    reference=None,
    score="top_10",
    over=OVER,
    estimator="estimator",
    subject="subject",
    weight="n_windows",
):
    """Compare estimators by a signed-rank test over the same subjects.

    As in the paper [1]_, seeds and folds are averaged within a subject, and
    the Wilcoxon signed-rank test is paired over subjects. The p values of all
    rows are corrected together by Holm's method [2]_.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        One row per score. If it has ``control``, only the rows of "decoder"
        are used, and if it has several values of ``pool``, only "all".
    reference : None or str or float, default=None
        Estimator, a value of the column ``estimator``, that all others are
        compared with. If None, all pairs are compared, which costs power: with
        5 estimators, 10 p values are corrected instead of 4.
    score : str, default="top_10"
        Column of the scores, higher is better.
    over : sequence of str, default=("seed", "fold", "condition")
        Columns that are averaged within a subject. Missing ones are ignored.
        All but the seeds must be the same for both estimators of a pair.
    estimator, subject : str, default="estimator", "subject"
        Columns of the estimators and subjects.
    weight : None or str, default="n_windows"
        Column of the weights of the rows of a subject. If None, or if the
        table does not have it, all rows have equal weight.

    Returns
    -------
    comparisons : DataFrame of shape (n_comparisons, ...)
        ``estimator, reference``, ``mean_difference`` of the first minus the
        second with its ``sem`` over subjects, ``n_subjects``, ``n_better``,
        ``n_worse`` and ``n_equal``, ``p`` and ``p_holm``, and ``smallest_p``,
        the smallest possible p with this number of subjects, 2 / 2**n with n =
        n_better + n_worse, and ``smallest_p_holm``, its smallest possible
        correction. If the latter is 0.05 or above, no result can be
        significant. Five subjects are never enough.

    Raises
    ------
    ValueError
        If there are fewer than two estimators, ``reference`` is not one of
        them, subjects, folds, data or the k of ``top_k`` differ between two, a
        column is missing, a score or an estimator is NaN, or rows of several
        kinds or amounts of calibration are mixed.

    See Also
    --------
    bootstrap_ci : Confidence interval of a score or difference.

    Notes
    -----
    The test is exact, also with ties, see
    :func:`~sk_b2s.evaluation._statistics._comparison.compute_comparison_p`.
    Subjects without a difference are left out, as Wilcoxon did. The null
    hypothesis is that differences are symmetric about zero in the population
    of subjects, for these stimuli. The test does not generalize to other
    stimuli.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5
    .. [2] Holm (1979). A simple sequentially rejective multiple test
       procedure. Scandinavian Journal of Statistics 6:65.
       https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s import compare_estimators
    >>> results = pd.DataFrame({
    ...     "estimator": ["clip"] * 5 + ["ridge"] * 5,
    ...     "subject": list("abcde") * 2,
    ...     "top_10": [0.5, 0.6, 0.4, 0.7, 0.8] + [0.2, 0.2, 0.1, 0.3, 0.2],
    ... })
    >>> table = compare_estimators(results, reference="ridge")
    >>> table[["n_better", "p", "smallest_p"]].to_dict("records")
    [{'n_better': 5, 'p': 0.0625, 'smallest_p': 0.0625}]
    """
    results = select_subject_rows_for_statistics(results)
    if amounts_in(results):
        amounts = sorted(results[AMOUNT].unique().tolist())
        raise ValueError(
            f"results has several amounts of calibration, {amounts} minutes. Select one, "
            f"results[results[{AMOUNT!r}] == ...]."
        )
    means = compute_subject_statistics(results, score, [estimator], over, subject, weight)
    names = list(pd.unique(results[estimator]))
    if len(names) < 2:
        raise ValueError(f"Two estimators or more are needed for a comparison. Got {names} in {estimator!r}.")
    if reference is not None and reference not in names:
        raise ValueError(f"reference must be one of the estimators {names}. Got {reference!r}.")
    if n_unnamed := int(results[estimator].isna().sum()):
        raise ValueError(
            f"The column {estimator!r} has no value in {n_unnamed} of {len(results)} rows. Name them, for example "
            f"results.fillna({{{estimator!r}: ...}}), or remove them."
        )
    with_reference = [(a, reference) for a in names if a != reference]
    pairs = combinations(names, 2) if reference is None else with_reference
    _check_equal_k(results, score, estimator)
    columns = [subject, *(column for column in over if column != "seed" and column in results)]
    places = results[columns].astype(object).where(results[columns].notna(), "")  # NaN differs from NaN
    tested = {
        name: set(own.itertuples(index=False, name=None)) for name, own in places.groupby(results[estimator])
    }
    rows = []
    for a, b in pairs:
        _check_paired_estimators(results, a, b, columns, tested, estimator)
        difference = (means[a] - means[b]).round(12)
        better, worse = int((difference > 0).sum()), int((difference < 0).sum())
        rows.append({
            "estimator": a, "reference": b, "mean_difference": difference.mean(), "sem": difference.sem(),
            "n_subjects": len(difference), "n_better": better, "n_worse": worse,
            "n_equal": len(difference) - better - worse, "p": compute_comparison_p(difference),
            "smallest_p": min(1.0, 2.0 / 2.0 ** (better + worse)),
        })  # fmt: skip
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", adjust_comparison_p_values(table["p"]))
    return table.assign(smallest_p_holm=np.minimum(1, len(table) * table["smallest_p"]))


def order_comparison_pairs(table):
    """Swap the pairs whose second estimator is better, for display."""
    swapped = table["mean_difference"] < 0
    sides = {"estimator": "reference", "reference": "estimator", "n_better": "n_worse", "n_worse": "n_better"}
    other = {name: table[name].where(~swapped, table[source]) for name, source in sides.items()}
    return table.assign(**other, mean_difference=table["mean_difference"].abs())


def describe_comparison_counts(row):
    """Describe the number of subjects in which an estimator is better.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> row = SimpleNamespace(n_better=3, n_worse=1, n_subjects=4)
    >>> describe_comparison_counts(row)
    'better in 3, worse in 1 of 4'
    """
    return f"better in {row.n_better}, worse in {row.n_worse} of {row.n_subjects}"


def _check_equal_k(results, score, estimator):
    """Raise if ``top_k`` of the estimators has different values of k."""
    if score != "top_k" or "k" not in results:
        return
    k = results.groupby(estimator)["k"].unique()
    if k.explode().nunique() > 1:
        raise ValueError(
            f"top_k has several values of k, {k.map(list).to_dict()}, which are not comparable. Score all estimators "
            f"with the same k, or use another score."
        )


def _check_paired_estimators(results, a, b, columns, tested, estimator):
    """Raise unless two estimators were scored on the same data and folds."""
    if "plan" in results:
        plans = [read_plan(results.loc[results[estimator] == n, "plan"].iloc[0]) for n in (a, b)]
        digests = [(plan or {}).get("questions") for plan in plans]
        n = min(map(len, filter(None, digests)), default=0)
        if all(digests) and digests[0][:n] != digests[1][:n]:
            raise ValueError(
                f"{a!r} and {b!r} were scored on different folds or data with the same fold numbers. Their plans "
                f"differ in {describe_plan_differences(*plans)}. Run benchmark on both with the same X, y and cv."
            )
    if only := tested[a] ^ tested[b]:
        first = dict(zip(columns, sorted(only, key=str)[0], strict=True))
        raise ValueError(
            f"{a!r} and {b!r} must be scored on the same subjects and folds, but {len(only)} of these scores exist for one of "
            f"them only, for example {first}. Finish the benchmark, or remove these rows."
        )


# --- tests -------------------------------------------------------------------------------------------


def compute_comparison_p(differences):
    r"""Compute the exact two-sided p of the Wilcoxon signed-rank test.

    Zeros are left out [1]_, and ties get their mean rank. Given the ranks
    :math:`r_i`, all signs are equally probable, so the sum :math:`W^+` of the
    ranks of positive differences has :math:`2^n` equally probable values.
    Their distribution is the convolution of n pairs (0, :math:`r_i`), and p =
    min(1, 2 min(P(:math:`\leq W^+`), P(:math:`\geq W^+`))).
    :func:`scipy.stats.wilcoxon` is equal without ties. With ties, which are
    common in accuracies over few windows, it uses a normal approximation, the
    distribution without ties, or all :math:`2^n` sums, depending on its
    ``method``.

    Parameters
    ----------
    differences : array-like of float of shape (n_subjects,)
        Differences below 1e-12 are zero, and differences that close are ties.

    Returns
    -------
    p : float
        At least 2 / 2**n for n nonzero differences. 1 if all are zero.

    References
    ----------
    .. [1] Wilcoxon (1945). Individual comparisons by ranking methods.
       Biometrics Bulletin 1:80. https://doi.org/10.2307/3001968
    """
    differences = np.round(np.asarray(differences, float), 12)
    differences = differences[differences != 0]
    ranks = np.rint(2 * rankdata(np.abs(differences))).astype(
        int
    )  # doubled, because mean ranks may end in .5
    share = np.ones(1)
    for rank in ranks:
        longer = np.zeros(len(share) + rank)
        longer[: len(share)] += share / 2
        longer[rank:] += share / 2
        share = longer
    found = ranks[differences > 0].sum()
    return float(min(1.0, 2 * min(share[: found + 1].sum(), share[found:].sum())))


def adjust_comparison_p_values(p):
    r"""Correct p values by Holm's step-down method [1]_.

    The i-th of m values in increasing order becomes :math:`\max_{j \leq i}
    \min(1, (m - j + 1) p_j)`. The values may depend on each other.

    Parameters
    ----------
    p : array-like of float of shape (n_comparisons,)

    Returns
    -------
    corrected : ndarray of shape (n_comparisons,)

    References
    ----------
    .. [1] Holm (1979). A simple sequentially rejective multiple test
       procedure. Scandinavian Journal of Statistics 6:65.
       https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> adjust_comparison_p_values([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected

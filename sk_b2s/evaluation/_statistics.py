"""Statistics over subjects: means, intervals and paired comparisons."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype
from scipy.stats import rankdata

from sk_b2s.evaluation._results._amounts import AMOUNT, amounts_in
from sk_b2s.evaluation._results._plan import describe_differences, read_plan

# --- tables of scores ------------------------------------------------------------------------------


OVER = ("seed", "fold", "condition")
KINDS = ("estimator", "control", "condition", "pool")


def subject_means(results, score="top_10", by=(), over=OVER, subject="subject", weight="n_windows"):
    """One score for each person: the mean over windows in all folds, and then over seeds.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        A row for each score.
    score : str, default="top_10"
        Column of the scores.
    by : sequence of str, default=()
        Columns that tell apart what is not to be averaged.
    over : sequence of str, default=("seed", "fold", "condition")
        Columns whose values are averaged over; those that the table lacks do not count.
    subject : str, default="subject"
        Column that tells people apart.
    weight : None or str, default="n_windows"
        Column by which rows are weighed; None, or a table without it, weighs all alike.

    Returns
    -------
    means : Series
        Indexed by ``by`` and ``subject``.

    Raises
    ------
    ValueError
        If a column is missing, a score is NaN, or rows are equal in all of ``by``, ``subject`` and
        ``over``, so that something else would be averaged over unseen.
    """
    by = list(by)
    if missing := [column for column in [score, subject, *by] if column not in results]:
        raise ValueError(f"results must have the columns {missing}, but has {list(results.columns)}.")
    if not len(results):
        raise ValueError("results has no rows.")
    if lost := results.index[results[score].isna()].tolist():
        raise ValueError(
            f"{score!r} is NaN in {len(lost)} of {len(results)} rows (the first is {lost[0]!r}): finish what failed, "
            f"leave these rows out for all estimators alike, or take another score."
        )
    keys = list(dict.fromkeys([*by, subject, *(column for column in over if column in results)]))
    if (twice := results.duplicated(keys, keep=False)).any():
        groups = results[twice].groupby(keys, sort=False, dropna=False)
        texts = [c for c in results.columns.drop([*keys, score]) if not is_float_dtype(results[c].dtype)]
        differing = [column for column in texts if (groups[column].nunique() > 1).any()]
        raise ValueError(
            f"{twice.sum()} rows share their {', '.join(keys)} with another and differ in {differing}: choose one "
            f"kind of row, results[results[...] == ...], or name the column in by= or, to average, in over=."
        )
    return subject_score_means(results, [score], [*by, subject], weight)[score]


def subject_score_means(results, scores, person, weight="n_windows"):
    """Mean of each score over a person's windows within each seed, and then over seeds: the one way it is done.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
    scores : list of str
        Columns.
    person : list of str
        Columns that tell apart whose scores these are, and of what.
    weight : None or str, default="n_windows"
        Column by which rows of one seed are weighed.

    Returns
    -------
    means : DataFrame of shape (n_people, n_scores)
        Indexed by ``person``, in order of appearance. NaN where one row's score is: half a question is not answered.
    """
    keys = [results[column] for column in person]
    share = _shares(results, person, weight)
    means = results[scores].mul(share, axis=0).groupby(keys, sort=False, dropna=False).sum(min_count=1)
    return means.where(results[scores].notna().groupby(keys, sort=False, dropna=False).all())


def _shares(results, person, weight):
    """What each row counts in the mean of its person."""
    keys = [results[column] for column in person]
    n = results[weight] if weight in results else pd.Series(1.0, index=results.index)
    seed = pd.factorize(results["seed"], use_na_sentinel=False)[0] if "seed" in results else 0
    seed = pd.Series(seed, index=results.index)
    of_seed = n / n.groupby([*keys, seed], sort=False, dropna=False).transform("sum")
    return of_seed / seed.groupby(keys, sort=False, dropna=False).transform("nunique")


def average_over_subjects(people, by):
    """Mean and standard error over people of what :func:`subject_score_means` gives.

    Parameters
    ----------
    people : DataFrame of shape (n_people, n_scores)
    by : list of str
        Levels of its index; every combination gets a row.

    Returns
    -------
    table : DataFrame of shape (n_rows, 2 * n_scores + 1)
        The scores, each followed by its ``..._sem`` (NaN of one person), and ``n_subjects``. NaN where one person's is.
    """
    groups = people.groupby(by, sort=False, dropna=False)
    known = people.notna().groupby(by, sort=False, dropna=False).all()
    mean, sem = groups.mean().where(known), groups.sem().where(known)
    columns = {
        name: table[score] for score in people for name, table in ((score, mean), (f"{score}_sem", sem))
    }
    return pd.DataFrame(columns).assign(n_subjects=groups.size())


def null_over_subjects(results, by, weight="n_windows"):
    """Null of the mean over people of ``top_k``, and the mean that is to be held against it.

    Nulls of people and folds are independent, so what their quantiles are from their means adds up as standard
    deviations do. Those of seeds are not independent, and are averaged. A person's fold without a null, because its
    recording is too short, is left out of both.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        With ``subject, fold, top_k, null_low, null_mean`` and ``null_high``.
    by : list of str
        Columns of which every combination gets a row.
    weight : None or str, default="n_windows"
        Column by which rows of one person and seed are weighed.

    Returns
    -------
    table : DataFrame of shape (n_rows, 5)
        ``null_low, null_mean, null_high``; ``top_k_judged``, the mean over what has a null; ``n_without_null``,
        people's folds that have none. Indexed by ``by``; NaN where nobody has one.
    """
    lost, person = results["null_high"].isna(), [*dict.fromkeys([*by, "subject"])]
    results = results if "fold" in results else results.assign(fold=0)
    known = results[~lost]
    table = average_over_subjects(subject_score_means(known, ["null_mean", "top_k"], person, weight), by)
    keys = [known[column] for column in [*person, "fold"]]
    away = known[["null_low", "null_high"]].sub(known["null_mean"], axis=0)
    away = away.mul(_shares(known, person, weight), axis=0).groupby(keys, sort=False, dropna=False).sum()
    away = np.sqrt((away**2).groupby(by, sort=False, dropna=False).sum()).div(table["n_subjects"], axis=0)
    without = results[lost].drop_duplicates([*person, "fold"]).groupby(by, sort=False, dropna=False).size()
    groups = results.groupby(by, sort=False, dropna=False).size().index
    return pd.DataFrame({
        "null_low": table["null_mean"] - away["null_low"], "null_mean": table["null_mean"],
        "null_high": table["null_mean"] + away["null_high"], "top_k_judged": table["top_k"],
    }).reindex(groups).assign(n_without_null=without.reindex(groups, fill_value=0))  # fmt: skip


def mean_and_sem(
    results, score="top_10", by=None, over=OVER, subject="subject", weight="n_windows", chance="chance"
):
    r"""Mean and standard error over people of one score each.

    With :math:`m_s` the mean over the windows of person s, of S, in all folds, and then over seeds,

    .. math:: m = \frac1S \sum_s m_s, \qquad
              \mathrm{s.e.m.} = \sqrt{\frac{1}{S (S - 1)} \sum_s (m_s - m)^2}.

    Folds and seeds are no further people: counted as such, they make an error small that is not. Unlike
    :meth:`~sk_b2s.RetrievalResult.summary`, which is about one similarity matrix, this is about any table of scores.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        A row for each score.
    score : str, default="top_10"
        Column of the scores.
    by : None or sequence of str, default=None
        Columns of which every combination gets a row; None takes "estimator", "control", "condition" and
        "pool", those that the table has, and "calibration_minutes" where there are several.
    over : sequence of str, default=("seed", "fold", "condition")
        Columns whose values are averaged over within a person; those that the table lacks do not count.
    subject : str, default="subject"
        Column that tells people apart.
    weight : None or str, default="n_windows"
        Column by which the rows of a person are weighed; None, or a table without it, weighs them alike.
    chance : str, default="chance"
        Column that is averaged in the same way and put beside, where there is one.

    Returns
    -------
    means : DataFrame
        Columns ``mean, sem, n_subjects`` and, where known, ``chance``, indexed by ``by``. The ``sem`` of one
        person is NaN.

    Raises
    ------
    ValueError
        If a column is missing, a score is NaN, or rows are equal in all of ``by``, ``subject`` and ``over``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s import mean_and_sem
    >>> results = pd.DataFrame({"subject": list("aabb"), "fold": [0, 1, 0, 1], "top_10": [0.5, 0.7, 0.2, 0.4]})
    >>> mean_and_sem(results).round(3).to_dict("records")
    [{'mean': 0.45, 'sem': 0.15, 'n_subjects': 2}]
    """
    if by is None:
        by = [*(column for column in KINDS if column in results), *amounts_in(results)]
    by = [by] if isinstance(by, str) else list(by)
    columns = {"mean": subject_means(results, score, by, over, subject, weight)}
    if chance in results:
        columns["chance"] = subject_means(results, chance, by, over, subject, weight)
    people = pd.DataFrame(columns)
    table = average_over_subjects(
        people if by else pd.concat({score: people}, names=["score"]), by or ["score"]
    )
    table = table.rename(columns={"mean_sem": "sem"})
    return table[["mean", "sem", "n_subjects", *(["chance"] if chance in results else [])]]


# --- estimators against each other -----------------------------------------------------------------


def signed_rank_p(differences):
    r"""Two-sided p of the Wilcoxon signed-rank test, exact also where differences tie.

    Zeros are left out [1]_ and ties share their mean rank. Given the ranks :math:`r_i`, every sign is as
    probable as its opposite, so that the sum of the ranks of positive differences, :math:`W^+`, is one of
    :math:`2^n` equally probable sums. Their distribution is the convolution of n pairs (0, :math:`r_i`), and
    p = min(1, 2 min(P(:math:`\leq W^+`), P(:math:`\geq W^+`))). :func:`scipy.stats.wilcoxon` counts the same
    where nothing ties; where something does, which of accuracies over few windows is the rule, it takes a
    normal approximation or, in some versions, the distribution without ties.

    Parameters
    ----------
    differences : array-like of float of shape (n_subjects,)
        Differences below 1e-12 are zeros, and those that close to each other ties.

    Returns
    -------
    p : float
        Never below 2 / 2**n for n differences that are not zero; 1 if all are.

    References
    ----------
    .. [1] Wilcoxon (1945). Individual comparisons by ranking methods. Biometrics Bulletin 1:80.
       https://doi.org/10.2307/3001968
    """
    differences = np.round(np.asarray(differences, float), 12)
    differences = differences[differences != 0]
    ranks = np.rint(2 * rankdata(np.abs(differences))).astype(int)  # twice, for a tie's may end in a half
    share = np.ones(1)
    for rank in ranks:
        longer = np.zeros(len(share) + rank)
        longer[: len(share)] += share / 2
        longer[rank:] += share / 2
        share = longer
    found = ranks[differences > 0].sum()
    return float(min(1.0, 2 * min(share[: found + 1].sum(), share[found:].sum())))


def holm(p):
    r"""Correct p values for their number by Holm's step-down rule [1]_.

    Of m values in rising order the i-th becomes :math:`\max_{j \leq i} \min(1, (m - j + 1) p_j)`. No assumption
    about their dependence is made.

    Parameters
    ----------
    p : array-like of float of shape (n_comparisons,)

    Returns
    -------
    corrected : ndarray of shape (n_comparisons,)

    References
    ----------
    .. [1] Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of
       Statistics 6:65. https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def compare_estimators(
    results,
    reference=None,
    score="top_10",
    over=OVER,
    estimator="estimator",
    subject="subject",
    weight="n_windows",
):
    """Compare estimators on the same people, by a signed-rank test on one difference for each.

    As in the paper [1]_: seeds and folds are averaged within a person, and the Wilcoxon signed-rank test is
    paired over people. The p values of all rows are corrected together by Holm's rule [2]_.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        A row for each score. Of those that name a ``control`` only "decoder" counts, the estimators themselves, and
        of several a ``pool`` of candidates only "all".
    reference : None or str, default=None
        Estimator that all others are compared with. None compares every pair, which costs power: of 5
        estimators 10 p values instead of 4 are corrected for.
    score : str, default="top_10"
        Column of the scores; higher is taken to be better.
    over : sequence of str, default=("seed", "fold", "condition")
        Columns that are averaged over within a person; those that the table lacks do not count. All but the
        seeds must be the same for both estimators of a pair; of seeds, some estimators have none.
    estimator, subject : str, default="estimator", "subject"
        Columns that tell estimators and people apart.
    weight : None or str, default="n_windows"
        Column by which the rows of a person are weighed; None, or a table without it, weighs them alike.

    Returns
    -------
    comparisons : DataFrame of shape (n_comparisons, ...)
        ``estimator, reference``; ``mean_difference`` of the first minus the second with its ``sem`` over
        people; ``n_subjects``, of whom ``n_better``, ``n_worse`` and ``n_equal``; ``p`` and ``p_holm``; and
        ``smallest_p``, the least that so many people can give, 2 / 2**n with n = n_better + n_worse, beside
        ``smallest_p_holm``, the least that is left of it when all rows are corrected together. Where the
        latter is 0.05 or above, no result whatever could have been significant: five people never suffice.

    Raises
    ------
    ValueError
        If there are fewer than two estimators, the reference is none of them, people, folds, data or the k of ``top_k``
        differ between two, a column is missing, a score is NaN, or rows of several kinds or amounts of calibration
        are mixed.

    See Also
    --------
    bootstrap_ci : How large the difference may be; its windows may hold differences.

    Notes
    -----
    The test is exact whatever ties: see :func:`sk_b2s.evaluation._statistics.signed_rank_p`. People whose difference is
    zero are left out of it, as Wilcoxon did. It asks whether differences lie symmetrically about zero in the
    people from whom these were drawn, on these very stimuli; it says nothing of other stimuli.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive brain recordings.
       Nature Machine Intelligence 5:1097. https://doi.org/10.1038/s42256-023-00714-5
    .. [2] Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of
       Statistics 6:65. https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s import compare_estimators
    >>> results = pd.DataFrame({
    ...     "estimator": ["clip"] * 5 + ["ridge"] * 5, "subject": list("abcde") * 2,
    ...     "top_10": [0.5, 0.6, 0.4, 0.7, 0.8] + [0.2, 0.2, 0.1, 0.3, 0.2],
    ... })
    >>> table = compare_estimators(results, reference="ridge")
    >>> table[["n_better", "p", "smallest_p"]].to_dict("records")
    [{'n_better': 5, 'p': 0.0625, 'smallest_p': 0.0625}]
    """
    results = of_decoders(results)
    if amounts_in(results):
        amounts = sorted(results[AMOUNT].unique().tolist())
        raise ValueError(
            f"results are of several amounts of calibration, {amounts} minutes: compare at one of them, "
            f"results[results[{AMOUNT!r}] == ...]."
        )
    means = subject_means(results, score, [estimator], over, subject, weight)
    names = list(pd.unique(results[estimator]))
    if len(names) < 2:
        raise ValueError(f"two estimators or more can be compared, got {names} in {estimator!r}.")
    if reference is not None and reference not in names:
        raise ValueError(f"reference={reference!r} is none of the estimators {names}.")
    pairs = [(a, reference) for a in names if a != reference] if reference else combinations(names, 2)
    if (
        score == "top_k"
        and "k" in results
        and (k := results.groupby(estimator)["k"].unique()).explode().nunique() > 1
    ):
        raise ValueError(
            f"top_k is of several k, {k.map(list).to_dict()}, and cannot be compared: score all with one k, or take "
            f"another score."
        )
    rows = []
    for a, b in pairs:
        _check_paired(results, a, b, [c for c in over if c != "seed" and c in results], estimator, subject)
        difference = (means[a] - means[b]).round(12)
        better, worse = int((difference > 0).sum()), int((difference < 0).sum())
        rows.append({
            "estimator": a, "reference": b, "mean_difference": difference.mean(), "sem": difference.sem(),
            "n_subjects": len(difference), "n_better": better, "n_worse": worse,
            "n_equal": len(difference) - better - worse, "p": signed_rank_p(difference),
            "smallest_p": min(1.0, 2.0 / 2.0 ** (better + worse)),
        })  # fmt: skip
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"]))
    return table.assign(smallest_p_holm=np.minimum(1, len(table) * table["smallest_p"]))


def of_decoders(results):
    """Rows of the estimators themselves, among all candidates.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)

    Returns
    -------
    results : DataFrame
        Where there is a column ``control`` the rows of "decoder", and where there is a ``pool`` "all" its rows.
    """
    for column, value in (("control", "decoder"), ("pool", "all")):
        if column in results and (results[column] == value).any():
            results = results[results[column] == value]
    return results


def _check_paired(results, a, b, cells, estimator, subject):
    """Raise unless two estimators were scored on the same people and folds."""
    if "plan" in results:
        plans = [read_plan(results.loc[results[estimator] == n, "plan"].iloc[0]) for n in (a, b)]
        questions = [(plan or {}).get("questions") for plan in plans]
        n = min(map(len, filter(None, questions)), default=0)
        if all(questions) and questions[0][:n] != questions[1][:n]:
            raise ValueError(
                f"{a!r} and {b!r} were scored on other folds or data, though the folds have the same numbers: their "
                f"plans differ in {describe_differences(*plans)}. Run benchmark on both with the same X, y and cv."
            )
    columns = [subject, *cells]
    seen = [
        set(results.loc[results[estimator] == n, columns].itertuples(index=False, name=None)) for n in (a, b)
    ]
    if only := seen[0] ^ seen[1]:
        first = dict(zip(columns, sorted(only, key=str)[0], strict=True))
        raise ValueError(
            f"{a!r} and {b!r} must be scored on the same people and folds to be paired, but {len(only)} are there "
            f"for one alone, such as {first}; finish the run, or leave these rows out."
        )

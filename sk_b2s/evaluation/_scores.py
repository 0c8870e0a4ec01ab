"""Registry of scores and the score table of a retrieval result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import hypergeom, rankdata

from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult
from sk_b2s.evaluation._controls._timing import MIN_SHARE, add_timing_control_columns
from sk_b2s.events._stimuli import digest_stimuli, make_stimulus_id
from sk_b2s.metrics._matched import (
    TIE,
    compute_matched_accuracy,
    compute_matched_overlap_factor,
    select_matched_strata,
)
from sk_b2s.metrics._null import compute_null_means
from sk_b2s.metrics._ranks_and_top_k import median_relative_rank
from sk_b2s.metrics._vocabulary import make_vocabulary_words

NEAR = 0.5  # s, largest distance of top_1_within_500ms
NULL_COLUMNS = ("null_mean", "null_low", "null_high")
N_PERMUTATIONS = 200  # of the null of timing_matched
CHUNK = 1024  # windows whose candidates are compared at a time


# --- the scores --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreSpec:
    """One score of a retrieval result.

    To add a score, write its ``function`` and add one entry to ``SCORES``.

    Parameters
    ----------
    name : str
        Column of score tables.
    function : callable
        ``function(result, n_candidates)`` returns the mean over the windows of
        a :class:`~sk_b2s.RetrievalResult` in pools of ``n_candidates``, NaN if
        it is undefined. With ``chance_column`` or ``share_column`` it returns
        a tuple of the score and these.
    chance : callable
        ``chance(table)`` returns the chance level of each row of a score
        table, or of one row given as a mapping. NaN if it is unknown.
    label : str
        Noun phrase for texts and figures. "{k}" is replaced by the number of
        guesses.
    chance_column : None or str, default=None
        Column of the chance level, if it is computed with the score.
    share_column : None or str, default=None
        Column of the proportion of windows that have the score, if it is
        computed with the score.
    has_null : bool, default=False
        Whether the function returns a null of its own as well: its mean,
        2.5 % quantile and 97.5 % quantile, and p. The columns are
        ``null_columns`` and ``p_column``.
    higher_is_better : bool, default=True
    task_only : bool, default=False
        Whether only a task of :func:`~sk_b2s.benchmark_task` computes it, in
        the ``extra`` of its judgment. Other tables do not have the column.
    is_correlation : bool, default=False
        Whether it is printed as a number and not as a percentage.
    """

    name: str
    function: Callable[[Any, int], Any]
    chance: Callable[[Any], Any]
    label: str
    chance_column: str | None = None
    share_column: str | None = None
    has_null: bool = False
    higher_is_better: bool = True
    task_only: bool = False
    is_correlation: bool = False

    @property
    def null_columns(self):
        """Columns of the null of the score, empty without one of its own."""
        return tuple(f"{self.name}_{name}" for name in NULL_COLUMNS) if self.has_null else ()

    @property
    def p_column(self):
        """Column of p, None without a null."""
        return f"{self.name}_p" if self.has_null else None

    @property
    def columns(self):
        """Columns of the score: its name, chance level, share and null."""
        names = self.name, self.chance_column, self.share_column, *self.null_columns, self.p_column
        return tuple(name for name in names if name)

    def compute(self, result, n_candidates):
        """Compute the columns of one row as a dict."""
        values = self.function(result, n_candidates)
        values = values if len(self.columns) > 1 else (values,)
        return dict(zip(self.columns, values, strict=True))


def _compute_hit_probability(n_candidates, size, k):
    """Return the proportion of pools in which each rank is a hit.

    Array of shape (n_candidates,).
    """
    if size <= k:
        return np.full(n_candidates, np.nan)
    return hypergeom.cdf(k - 1, n_candidates - 1, np.arange(n_candidates), size - 1)


def _make_top_score(k):
    """Make the function of top-k accuracy, None is the ``k`` of a result."""

    def accuracy(result, n_candidates):
        n_guesses = result.k if k is None else k
        return float(
            _compute_hit_probability(result.n_candidates, n_candidates, n_guesses)[result.ranks].mean()
        )

    return accuracy


def _score_median_rank(result, n_candidates):
    return median_relative_rank(result.ranks, result.n_candidates)


def _score_match_mismatch(result, n_candidates):
    """Proportion of other candidates that score below the target."""
    return float(1 - result.ranks.mean() / (result.n_candidates - 1))


def _score_near(result, n_candidates):
    """Proportion of windows whose best candidate is close to the target.

    The onsets of both are at most ``NEAR`` apart in the same stimulus. Ties
    count against the decoder.
    """
    names = result.candidates
    if len(names) != n_candidates or not {"sound", "sound_onset"} <= set(names):
        return np.nan, np.nan
    sound = pd.factorize(digest_stimuli(names["sound"]))[0]
    onset = names["sound_onset"].to_numpy(float)
    hits, chance = [], []
    for first in range(0, len(result.target), CHUNK):
        target = result.target[first : first + CHUNK]
        scores = result.scores[first : first + CHUNK]
        near = (sound[target, None] == sound) & (abs(onset[target, None] - onset) <= NEAR + 1e-9)
        best = np.where(near, scores, -np.inf).max(1), np.where(near, -np.inf, scores).max(1)
        hits.append(best[0] > best[1])
        chance.append(near.mean(1))
    return float(np.concatenate(hits).mean()), float(np.concatenate(chance).mean())


def _score_words(result, n_candidates):
    """Balanced top-10 accuracy of words, NaN with ten words or fewer."""
    if n_candidates != len(result.candidates) or "word" not in result.candidates:
        return np.nan, np.nan
    try:
        table = result.score_words(k=10, timing=False)
    except ValueError:
        return np.nan, np.nan
    return float(table.loc["balanced", "top_k"]), float(table.loc["balanced", "chance"])


def _score_word_timing(result, n_candidates):
    """Balanced top-10 accuracy of words by timing alone."""
    if n_candidates != result.n_candidates or "timing_top_10" not in result.rows:
        return np.nan, np.nan
    words = make_vocabulary_words(result.candidates["word"])[result.target]
    hits = result.rows["timing_top_10"].groupby(words).mean()
    return float(hits.mean()), float(result.rows["timing_chance"].iloc[0])


def _score_timing_matched(result, n_candidates):
    """Match-mismatch accuracy within strata of like timing, share and null."""
    if n_candidates != result.n_candidates or "stratum" not in result.candidates:
        return (np.nan,) * 6
    strata = result.candidates["stratum"].to_numpy()
    share = float(select_matched_strata(strata, result.target).mean())
    if share < MIN_SHARE:
        return (np.nan, share, *(np.nan,) * 4)
    own, null = compute_matched_accuracy(result.scores, result.target, strata, N_PERMUTATIONS)
    score, null = float(np.nanmean(own)), np.nanmean(null, axis=1)
    null = null.mean() + (null - null.mean()) * np.sqrt(_get_overlap_factor(own, result.rows))
    p = (1 + np.count_nonzero(null >= score - TIE)) / (1 + len(null))
    return score, share, null.mean(), *np.quantile(null, [0.025, 0.975]), p


def _get_overlap_factor(values, rows):
    recording = get_validated_recordings(rows.reset_index(drop=True))
    return compute_matched_overlap_factor(values, recording, rows["onset"], rows["duration"])


def _make_chance_of_column(k):
    return lambda table: k / table["n_candidates"] if "n_candidates" in table else np.nan


def _make_chance_in_column(column):
    return lambda table: table[column] if column in table else np.nan


def _score_of_task_only(result, n_candidates):
    """Return NaN, because only a task computes the score."""
    return np.nan


def _zero_chance(table):
    return 0.0


def _half_chance(table):
    return 0.5


SCORES = {
    spec.name: spec
    for spec in (
        ScoreSpec("top_1", _make_top_score(1), _make_chance_of_column(1), "top-1 accuracy"),
        ScoreSpec("top_5", _make_top_score(5), _make_chance_of_column(5), "top-5 accuracy"),
        ScoreSpec("top_10", _make_top_score(10), _make_chance_of_column(10), "top-10 accuracy"),
        ScoreSpec("top_k", _make_top_score(None), _make_chance_in_column("chance"), "top-{k} accuracy"),
        ScoreSpec("median_relative_rank", _score_median_rank, _half_chance, "median relative rank", higher_is_better=False),
        ScoreSpec(
            "top_1_within_500ms", _score_near, _make_chance_in_column("top_1_within_500ms_chance"), "best candidate within 0.5 s",
            "top_1_within_500ms_chance",
        ),
        ScoreSpec("match_mismatch", _score_match_mismatch, _half_chance, "match-mismatch accuracy"),
        ScoreSpec(
            "word_top_10", _score_words, _make_chance_in_column("word_chance"), "top-10 accuracy of words, each with equal weight",
            "word_chance",
        ),
        ScoreSpec(
            "word_top_10_timing", _score_word_timing, _make_chance_in_column("word_timing_chance"),
            "top-10 accuracy of words by timing alone, without neural data", "word_timing_chance",
        ),
        ScoreSpec(
            "timing_matched", _score_timing_matched, _half_chance, "match-mismatch accuracy among candidates of like timing",
            share_column="timing_matched_share", has_null=True,
        ),
        ScoreSpec("f1_macro", _score_of_task_only, _make_chance_of_column(1), "F1 score, mean over classes", task_only=True),
        ScoreSpec(
            "reconstruction_r", _score_of_task_only, _zero_chance, "Pearson correlation", task_only=True, is_correlation=True
        ),
    )
}  # fmt: skip
SHARE_COLUMNS = tuple(spec.share_column for spec in SCORES.values() if spec.share_column)
CHANCE_COLUMNS = ("chance", *(spec.chance_column for spec in SCORES.values() if spec.chance_column))
SCORE_COLUMNS = (
    "k", "chance", *(column for spec in SCORES.values() for column in spec.columns), *NULL_COLUMNS,
)  # fmt: skip
OPTIONAL_COLUMNS = tuple(  # left out of tables in which nothing computed them
    column
    for spec in SCORES.values()
    for column in (spec.columns if spec.task_only else (*spec.null_columns, spec.p_column))
    if column
)
VERDICT_COLUMNS = ("verdict", "leak_sources", "verdict_text")


def label_of_score(name, k=None):
    """Return the label of a score, or its name in words if it is unknown.

    Examples
    --------
    >>> label_of_score("top_k", 10), label_of_score("top_3")
    ('top-10 accuracy', 'top-3 accuracy')
    """
    if name in SCORES:
        return SCORES[name].label.format(k="k" if k is None else k)
    n = name.removeprefix("top_")
    return f"top-{n} accuracy" if n.isdigit() else name.replace("_", " ")


def get_main_score(table):
    """Return the column that a table compares with its null: str."""
    return table["main_score"].iloc[0] if "main_score" in table else "top_k"


def is_score_correlation(table, name="top_k"):
    """Return whether a score is a correlation, not a percentage.

    In a table with the column ``main_score``, or in one of its rows, ``top_k``
    is the score that this column names. The scores "r" of reconstructions and
    encoding models are correlations as well.

    Examples
    --------
    >>> is_score_correlation({"main_score": "reconstruction_r"})
    True
    >>> is_score_correlation({}, "top_1")
    False
    """
    if name == "top_k" and "main_score" in table:
        named = [one for one in np.atleast_1d(table["main_score"]) if isinstance(one, str)]
        name = named[0] if named else name
    return name == "r" or (name in SCORES and SCORES[name].is_correlation)


def chance_of_score(table, name):
    """Return the chance level of each row of a table of scores.

    Scores that are not registered take the column "chance". NaN if unknown.
    """
    chance = SCORES[name].chance if name in SCORES else _make_chance_in_column("chance")
    return pd.Series(chance(table), index=table.index, dtype=float)


def select_main_score(table):
    """Return the score of each row that is compared with chance and null.

    It is ``top_k``, or that named by the column ``main_score``.
    """
    named = table["main_score"] if "main_score" in table else pd.Series("top_k", index=table.index)
    out = table["top_k"].astype(float) if "top_k" in table else pd.Series(np.nan, index=table.index)
    for name in pd.unique(named.dropna()):
        if name != "top_k" and name in table:
            out = out.where(named != name, table[name].astype(float))
    return out


# --- one row per subject, condition and pool ---------------------------------------------------------


def compute_all_scores(result, n_candidates=50, n_shifts=1000, random_state=0):
    r"""Score each subject and condition among all candidates and in pools.

    A score among all candidates decreases with their number, which differs
    between folds. Therefore the mean over *all* pools of n candidates that
    include the target is computed as well. If r of the other N - 1 candidates
    score as high or higher, then

    .. math:: P(\text{hit}) = P(H \le k - 1), \quad
              H \sim \mathrm{Hypergeometric}(N - 1, r, n - 1)

    No pool is drawn, so all estimators have the same pools.

    Parameters
    ----------
    result : RetrievalResult
        Its rows need ``subject`` and ``recording``. ``condition, study, onset,
        duration`` are used if present.
    n_candidates : int or None, default=50
        Size of the pools. None, or fewer candidates than that, omits them.
    n_shifts : int, default=1000
        Circular shifts of each null.
    random_state : int, default=0
        Draws the shifts, equal ones for equal test rows.

    Returns
    -------
    rows : list of dict
        ``study, subject, condition, pool, n_windows, n_candidates`` and
        ``SCORE_COLUMNS``.
    """
    result, sizes = add_timing_control_columns(result), {"all": result.n_candidates}
    if n_candidates is not None and n_candidates <= result.n_candidates:
        sizes[str(n_candidates)] = n_candidates
    table = result.rows.reset_index(drop=True)
    condition = table["condition"] if "condition" in table else pd.Series("", index=table.index)
    condition = condition.astype(object).where(condition.notna(), "")
    out = []
    for subject, of_subject in table.groupby("subject", sort=False).indices.items():
        own = _take_scored_rows(result, of_subject)
        ranks = rankdata(-own.scores, method="max", axis=1).astype(np.int64) - 1
        for name in pd.unique(condition[of_subject]):
            chosen = (condition[of_subject] == name).to_numpy()
            part = _take_scored_rows(own, np.flatnonzero(chosen))
            study = table["study"].iloc[of_subject[0]] if "study" in table else ""
            for pool, size in sizes.items():
                null = _null_of_pool(own, ranks, size, chosen, n_shifts, random_state)
                out.append({
                    "study": study, "subject": subject, "condition": name, "pool": pool,
                    "n_windows": len(part.rows), "n_candidates": size, **_score_columns(part, size, null),
                })  # fmt: skip
    return out


def _take_scored_rows(result, rows):
    """Return the result of some of the windows."""
    return result.select(rows)


def _null_of_pool(own, ranks, size, chosen, n_shifts, random_state):
    """Compute the null of top-k accuracy in pools, NaN if undefined."""
    missing = np.full(max(n_shifts, 1), np.nan)
    if not {"onset", "duration"} <= set(own.rows) or not n_shifts:
        return missing
    rows = own.rows
    target = pd.factorize(own.target)[0].tolist()  # independent of the order of the columns
    seed = make_stimulus_id(random_state, target, rows["onset"].tolist()) % 2**32
    try:
        if isinstance(own, RowRetrievalResult):
            return own.draw_null(
                n_shifts, seed, chosen, _compute_hit_probability(own.n_candidates, size, own.k)
            )
        return compute_null_means(
            _compute_hit_probability(own.n_candidates, size, own.k)[ranks], own.target, rows["recording"], rows["onset"],
            rows["duration"].max(), n_shifts, seed, sample_weight=chosen,
        )  # fmt: skip
    except ValueError:  # a recording is too short to shift its labels
        return missing


def _score_columns(result, size, null):
    """Compute all scores of some windows in pools of a size, with the null."""
    low, high = np.quantile(null, [0.025, 0.975])
    row = {"k": result.k, "chance": result.k / size if size > result.k else np.nan}
    for spec in SCORES.values():
        row |= dict.fromkeys(spec.columns, np.nan) if spec.task_only else spec.compute(result, size)
    return row | {"null_mean": null.mean(), "null_low": low, "null_high": high}

"""Verdicts on scores: leak, above, at or below the null."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import pandas as pd

from sk_b2s.evaluation._controls._leak_test import TINY, is_leak_test_positive, pool_leak_test_rows
from sk_b2s.evaluation._controls._registry import CONTEXT, LEAK_TESTS, label_of_control
from sk_b2s.evaluation._scores import select_main_score
from sk_b2s.model_selection._leakage_report import unite_leakage_report_sources


class Verdict(StrEnum):
    """Values of the column ``verdict`` of score tables."""

    ABOVE_NULL = "above_null"
    AT_NULL = "at_null"
    BELOW_NULL = "below_null"
    LEAK = "leak"
    CONTEXT = "context"
    NO_NULL = "no_null"
    ERROR = "error"


TEXTS = {
    Verdict.ABOVE_NULL: "above its null",
    Verdict.AT_NULL: "at chance",
    Verdict.BELOW_NULL: "below its null",
    Verdict.LEAK: "LEAK",
    Verdict.CONTEXT: "no neural data",
    Verdict.NO_NULL: "no null",
    Verdict.ERROR: "error",
}
RIVALS = {"loudness": "envelope_only", "timing": "timing_only"}  # controls that a decoder should exceed
RIVAL_KEYS = ("task", "k", "seed", "fold", "subject", "condition", "pool", "calibration_minutes")
BELOW_MEANS = (
    "guessing does not explain such a low score, so the decoder finds information and inverts it. Usual causes are "
    "wrong labels, signs or pairs of X and y, two swapped codes of one trial, the wrong one of several triggers per "
    "stimulus, or folds whose training rows predict the opposite of their test rows"
)
OVERLAP = "overlap"  # source of a leak
OVERLAP_MEANS = "overlapping windows reveal the intervals between words"
MEANINGS = {
    Verdict.ABOVE_NULL: "The score is above the 97.5 % quantile of its null.",
    Verdict.AT_NULL: "The score is within its null.",
    Verdict.BELOW_NULL: f"{BELOW_MEANS[0].upper()}{BELOW_MEANS[1:]}.",
    Verdict.LEAK: (
        "A control without information about the stimulus is above chance, or training data were tested. The score "
        "is not evidence of decoding."
    ),
    Verdict.CONTEXT: "The score does not use neural data and describes the task.",
    Verdict.NO_NULL: "No null was requested, recordings are too short for one, or the times of windows are unknown.",
    Verdict.ERROR: "The fit failed.",
}


def describe_verdict(verdict, sources=""):
    """Return the text of a verdict.

    Parameters
    ----------
    verdict : Verdict or str
    sources : str, default=""
        What leaks, separated by commas: names of controls, or data on both
        sides of a split.

    Returns
    -------
    text : str

    Examples
    --------
    >>> describe_verdict("above_null"), describe_verdict("leak", "white_noise")
    ('above its null', 'LEAK (white noise in place of the recordings)')
    """
    text = TEXTS[Verdict(verdict)]
    names = [
        OVERLAP_MEANS if name == OVERLAP else label_of_control(name) for name in sources.split(", ") if name
    ]
    return f"{text} ({', '.join(names)})" if names else text


def add_verdict_texts(table):
    """Add the column ``verdict_text``, the verdict in words.

    Decoders that are above their null, but not above loudness alone or the
    timing of windows alone, are marked.
    """
    pairs = zip(table["verdict"], table["leak_sources"], strict=True)
    table = table.assign(verdict_text=[describe_verdict(*pair) for pair in pairs])
    if table.index.name == "control":
        own = table.reset_index()
    elif "control" in table:
        own = table.reset_index(drop=True)
    else:
        return table
    texts = list(own["verdict_text"])
    own = add_rival_scores(own).assign(score=select_main_score(own))
    for row in own[own["verdict"] == Verdict.ABOVE_NULL].itertuples():
        rivals = {f"{name} alone": getattr(row, f"{name}_alone") for name in RIVALS}
        parts = [
            f"{name} ({_shorten_in_verdict(row.score)} vs {_shorten_in_verdict(score)})"
            for name, score in rivals.items()
            if score >= row.score
        ]
        texts[row.Index] += f", not above {' or '.join(parts)}" if parts else ""
    return table.assign(verdict_text=texts)


def _shorten_in_verdict(score):
    return f"{score:.3f}".removeprefix("0")


def add_rival_scores(table):
    """Add the columns ``loudness_alone`` and ``timing_alone`` of decoders.

    They are the scores of :func:`find_rival_verdict_scores`. A control counts
    only above its null, because other scores are chance. Scores without a null
    count, as those of words by timing.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, ...)
        With ``control`` and the scores.

    Returns
    -------
    table : DataFrame of shape (n_rows, ...)
        NaN without such a control, and for controls.
    """
    above = table[~_is_at_null(table)]
    found = {
        f"{name}_alone": find_rival_verdict_scores(above, control).reindex(table.index)
        for name, control in RIVALS.items()
    }
    return table.assign(**found)


def _is_at_null(table):
    """Return which rows of rivals are not above their null."""
    if "null_high" not in table:
        return pd.Series(False, index=table.index)
    is_high = select_main_score(table).astype(float) > table["null_high"].astype(float) + TINY
    return table["control"].isin(RIVALS.values()) & table["null_high"].notna() & ~is_high


def find_rival_verdict_scores(table, control="timing_only"):
    """Return the main score of a control for each decoder.

    It is the best one of all decoders with the same task, k, fold, subject,
    seed, condition, pool and minutes of calibration.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, ...)
        With ``control`` and the scores.
    control : str, default="timing_only"
        One of ``RIVALS``.

    Returns
    -------
    scores : Series of float
        NaN if unknown, and for controls. Without a row of "timing_only", they
        are ``word_top_10_timing`` of top-10 accuracies of words.
    """
    score = select_main_score(table).astype(float)
    is_own = (table["control"] == control) & score.notna()
    of_row = _make_verdict_row_keys(table, RIVAL_KEYS)
    best = of_row.map(score[is_own].groupby(of_row[is_own]).max().to_dict().get).astype(float)
    if control == "timing_only" and {"word_top_10_timing", "k", "task"} <= set(table):
        is_same = table["task"].fillna("").ne("") & (table["k"] == 10)  # segments are not words
        is_same &= table["word_top_10"].isna() if "word_top_10" in table else True
        best = best.fillna(table["word_top_10_timing"].astype(float).where(is_same))
    return best.where(table["control"] == "decoder")


def _make_verdict_row_keys(table, names):
    """Return the values of the columns that a table has, as tuples."""
    keys = table[[name for name in names if name in table]].astype(str)
    return pd.Series(list(keys.itertuples(index=False, name=None)), table.index, dtype=object)


def control_verdicts(table, reasons=()):
    """Return the verdict and leak sources of each row of a control analysis.

    A leak test that is below its null is not a leak, because a leak cannot
    raise a score in this way. It is reported, because the folds then predict
    the opposite, or differences between recordings are decoded with the wrong
    sign. Its limit has the same false positive rate as that of a leak.

    Parameters
    ----------
    table : DataFrame of shape (n_controls, ...)
        Rows of
        :func:`~sk_b2s.evaluation._controls._leak_test.pool_leak_test_rows`,
        indexed by control.
    reasons : sequence of str, default=()
        What else leaks into the decoder, "stimulus of training" for example.

    Returns
    -------
    verdicts : DataFrame of shape (n_controls, 2)
        ``verdict`` and ``leak_sources``, "" without a leak.
    """
    verdict = decide_verdict_against_null(table)
    verdict[verdict.index.isin(CONTEXT)] = Verdict.CONTEXT.value
    leaking = [name for name in LEAK_TESTS if name in table.index and is_leak_test_positive(table.loc[name])]
    for name in LEAK_TESTS:
        if name in leaking:
            verdict[name] = Verdict.LEAK.value
        elif name in table.index and not _is_leak_inverted(verdict[name], table.loc[name]):
            verdict[name] = _judge_at_null_unless_missing(verdict[name])
    sources = pd.Series("", index=table.index, dtype=object)
    overlap = [name for name in leaking if "reveals_overlap" in table and table.loc[name, "reveals_overlap"]]
    sources[overlap] = OVERLAP
    if (leaking or reasons) and "decoder" in table.index:
        leaking = [*leaking, *[OVERLAP] * bool(overlap)]
        verdict["decoder"], sources["decoder"] = Verdict.LEAK.value, ", ".join([*leaking, *reasons])
    return pd.DataFrame({"verdict": verdict, "leak_sources": sources})


def find_overlap_verdict_leaks(outcomes, rows):
    """Return leak tests whose score is due to the overlap of windows.

    Windows that share no samples lose at least half of the excess over chance.
    A fold that is not above chance has no such windows, and counts as it is.

    Parameters
    ----------
    outcomes : dict of str to list of LeakTestOutcome
    rows : dict of str to dict
        Pooled rows, from
        :func:`~sk_b2s.evaluation._controls._leak_test.pool_leak_test_rows`.

    Returns
    -------
    names : list of str
    """
    found = []
    for name, parts in outcomes.items():
        if any(part.separate is not None for part in parts):
            separate = pool_leak_test_rows([part.separate or part for part in parts])
            if separate["top_k"] - separate["chance"] <= (rows[name]["top_k"] - rows[name]["chance"]) / 2:
                found.append(name)
    return found


def decide_verdict_against_null(table):
    """Compare each score with both sides of the null of its own row.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, ...)
        With ``top_k`` or the score that ``main_score`` names, and
        ``null_high``, the 97.5 % quantile. Without ``null_low``, the 2.5 %
        quantile, no score is below its null.

    Returns
    -------
    verdict : Series of str
        Values of :class:`Verdict`.

    Examples
    --------
    >>> table = pd.DataFrame({"top_k": [0.3, 0.1, 0.02]})
    >>> table = table.assign(null_low=0.05, null_high=0.2)
    >>> decide_verdict_against_null(table).tolist()
    ['above_null', 'at_null', 'below_null']
    """
    score, high = select_main_score(table), table["null_high"].astype(float)
    above = score > high + TINY
    below = (
        score < table["null_low"].astype(float) - TINY if "null_low" in table else np.zeros(len(table), bool)
    )
    values = [Verdict.ABOVE_NULL.value, Verdict.BELOW_NULL.value]
    verdict = np.select([above, below], values, Verdict.AT_NULL.value).astype(object)
    verdict[table["null_high"].isna()] = Verdict.NO_NULL.value
    return pd.Series(verdict, index=table.index)


def _judge_at_null_unless_missing(verdict):
    return Verdict.AT_NULL.value if verdict in (Verdict.ABOVE_NULL, Verdict.BELOW_NULL) else verdict


def _is_leak_inverted(verdict, row):
    """Return whether a control is below the limit of a leak, mirrored."""
    return verdict == Verdict.BELOW_NULL and row["top_k"] < row["inverted_below"]


# --- results tables ----------------------------------------------------------------------------------


def assign_verdicts(results, outcomes):
    """Add verdicts to the rows of a results table.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        With ``estimator, seed, control, calibration_minutes, top_k, null_low,
        null_high, n_train_overlap, leakage_sources, error``.
    outcomes : dict of tuple to list of LeakTestOutcome
        Of the leak tests, by (estimator, seed, control, minutes), one entry
        per fold. Amounts of calibration are separate, because all have the
        same test rows. Without calibration, minutes are not given.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        With ``verdict``, ``leak_sources`` and ``verdict_text``. A leak test
        gets "leak" if it is above chance over all its folds, and so does the
        decoder of its estimator and seed.
    """
    verdict = decide_verdict_against_null(results)
    verdict[results["control"].isin(CONTEXT)] = Verdict.CONTEXT.value
    of_leak_tests = results["control"].isin(LEAK_TESTS)  # tested over all folds together
    verdict[of_leak_tests] = verdict[of_leak_tests].map(_judge_at_null_unless_missing)
    sources = pd.Series("", index=results.index, dtype=object)
    keys = ["estimator", "seed", "calibration_minutes"]
    for (name, seed, minutes), rows in results.groupby(keys, sort=False, dropna=False).indices.items():
        minutes = None if pd.isna(minutes) else minutes
        found = {
            control: outcomes[name, seed, control, minutes]
            for control in LEAK_TESTS
            if (name, seed, control, minutes) in outcomes
        }
        rows = results.index[rows]
        control = results.loc[rows, "control"]
        reasons = []
        if found:
            pooled = {control: pool_leak_test_rows(parts) for control, parts in found.items()}
            overlap = find_overlap_verdict_leaks(found, pooled)
            pooled = control_verdicts(pd.DataFrame(pooled).T)["verdict"]
            reasons = list(pooled.index[pooled == Verdict.LEAK])
            overlap = [name for name in reasons if name in overlap]
            sources[rows[control.isin(overlap)]] = OVERLAP
            reasons += [OVERLAP] * bool(overlap)
            for value in (Verdict.BELOW_NULL.value, Verdict.LEAK.value):
                verdict[rows[control.isin(pooled.index[pooled == value])]] = value
        reasons += unite_leakage_report_sources(
            results.loc[rows, "leakage_sources"], results.loc[rows, "n_train_overlap"].max()
        )
        if reasons:
            decoder = rows[control == "decoder"]
            verdict[decoder], sources[decoder] = Verdict.LEAK.value, ", ".join(reasons)
    failed = results["error"] != ""
    verdict[failed], sources[failed] = Verdict.ERROR.value, ""
    return add_verdict_texts(results.assign(verdict=verdict, leak_sources=sources))

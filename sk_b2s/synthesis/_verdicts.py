"""Verdict on a reconstruction and its controls, with its sentence."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from sk_b2s.evaluation._controls._registry import LEAK_ALPHA

ALPHA = 0.025  # one side, as the null of scores


class SynthesisVerdict(StrEnum):
    """Values of the column ``verdict`` of a reconstruction with controls."""

    ABOVE_NULL = "above_null"
    AT_NULL = "at_null"
    BELOW_NULL = "below_null"
    AT_PRIOR = "at_prior"
    LEAK = "leak"
    SEEN = "seen"
    CONTEXT = "context"
    NO_NULL = "no_null"


TEXTS = {
    SynthesisVerdict.ABOVE_NULL: "The reconstruction follows the stimulus better than its circular shifts.",
    SynthesisVerdict.AT_NULL: "There is no evidence that the reconstruction follows the stimulus.",
    SynthesisVerdict.BELOW_NULL: (
        "The reconstruction is below its null, so the decoder inverts what it finds. Check labels, signs and pairs of X and y."
    ),
    SynthesisVerdict.AT_PRIOR: (
        "The reconstruction is not better than the training mean without neural data, so the times of the windows may "
        "explain it."
    ),
    SynthesisVerdict.LEAK: (
        "A control without information about the stimulus is above chance, so the sound is not evidence of decoding."
    ),
    SynthesisVerdict.SEEN: (
        "Test stimuli were in the training set, so the reconstruction may be remembered and is not evidence of decoding."
    ),
    SynthesisVerdict.CONTEXT: "The sound uses no neural data, and describes the vocoder or the training set.",
    SynthesisVerdict.NO_NULL: "There is no null, because recordings are too short or no shift was requested.",
}


def make_synthesis_score_verdict(p_value, measure, is_leak_test, is_context):
    """Return the verdict on one score of a control.

    Leaks are found by the correlation, because the null of shifted pairs is
    exact for linear scores only.
    """
    if is_context:
        return SynthesisVerdict.CONTEXT
    if not p_value == p_value:  # NaN
        return SynthesisVerdict.NO_NULL
    if is_leak_test and measure == "r":
        return SynthesisVerdict.LEAK if p_value <= LEAK_ALPHA else SynthesisVerdict.AT_NULL
    if p_value <= ALPHA:
        return SynthesisVerdict.ABOVE_NULL
    return SynthesisVerdict.BELOW_NULL if p_value >= 1 - ALPHA else SynthesisVerdict.AT_NULL


def make_synthesis_controls_verdict(scores):
    """Return the verdict on the decoder, given the scores of all controls.

    Parameters
    ----------
    scores : DataFrame of shape (n_rows, ...)
        Rows of the mean over subjects and bands, with ``control, measure,
        score, p_value`` and ``verdict``.
    """
    if (scores["verdict"] == SynthesisVerdict.LEAK).any():
        return SynthesisVerdict.LEAK
    r = scores[scores["measure"] == "r"].set_index("control")
    verdict = SynthesisVerdict(r.loc["decoder", "verdict"])
    if verdict == SynthesisVerdict.ABOVE_NULL and "prior_only" in r.index:
        prior = r.loc["prior_only"]
        if prior["p_value"] <= ALPHA and prior["score"] >= r.loc["decoder", "score"]:
            return SynthesisVerdict.AT_PRIOR
    return verdict


def describe_synthesis_verdict(verdict, scores=None):
    """Return the sentence of a verdict, with the scores of the decoder."""
    text = TEXTS[SynthesisVerdict(verdict)]
    if scores is None:
        return text
    rows = scores[scores["control"] == "decoder"].set_index("measure")
    r, two, n_way = (rows.loc[name] for name in ("r", "two_way", "n_way"))
    p_r, p_two, p_n_way = (
        f"p = {row['p_value']:.2g}" if np.isfinite(row["p_value"]) else "no null" for row in (r, two, n_way)
    )
    null = f"null up to {r['null_high']:.3f}, {p_r}" if np.isfinite(r["null_high"]) else p_r
    return (
        (
            f"{text} The correlation is {r['score']:.3f} ({null}). A piece is identified in {two['score']:.0%} of comparisons "
            f"with another one (chance 50 %, {p_two}), and in {n_way['score']:.0%} among {1 / n_way['chance']:.0f} candidates "
            f"(chance {n_way['chance']:.0%}, {p_n_way})."
        )
        .replace("%", " %")
        .replace("  %", " %")
    )

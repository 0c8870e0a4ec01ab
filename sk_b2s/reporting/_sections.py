"""Further sections of a report: retrieval results, training, curves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._estimators import find_decoder
from sk_b2s.evaluation._curves import describe_edge_maximum
from sk_b2s.evaluation._results._plan import read_plan
from sk_b2s.evaluation._statistics import mean_and_sem, subject_means
from sk_b2s.evaluation._summary import get_score_label
from sk_b2s.nn._losses import CROSS_ENTROPY
from sk_b2s.plotting._curves import STILL_FALLING, label_loss, plot_curve, plot_history
from sk_b2s.plotting._retrieval import (
    bin_ranks,
    compute_word_confusions,
    find_longest_sentence,
    plot_rank_curve,
    plot_ranks,
    plot_similarity,
    plot_words,
)
from sk_b2s.plotting._topomap import compute_attention_map, plot_attention, plot_topography
from sk_b2s.reporting._findings import pct
from sk_b2s.reporting._html import picture, tag


def make_appendix(answers, encoders, positions, curves, pictures):
    """Draw what stands beside a table of scores, each picture with its text.

    Parameters
    ----------
    answers, encoders, curves, pictures : dict
        As :func:`~sk_b2s.write_report` takes them.
    positions : array-like of shape (n_channels, 2) or None

    Yields
    ------
    made : Html
    """
    yield from _answers(answers)
    yield from _curves(curves)
    yield from _encoders(encoders, positions)
    yield from _pictures(pictures)


def made_of(results):
    """Describe how each estimator was made: parameters, features, what it chose, and on which data and machine.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        With ``estimator, control, fold, parameters, features, chosen, machine`` and ``plan``.

    Yields
    ------
    made : Html
    """
    mine = results[results["control"] == "decoder"]
    parts = []
    for name, own in mine.groupby("estimator", sort=False):
        lines = {
            heading: [str(text) for text in pd.unique(own[column].dropna()) if text]
            for heading, column in (
                ("Parameters", "parameters"),
                ("Features", "features"),
                ("Computed on", "machine"),
            )
        }
        folds = own.drop_duplicates(["fold", "seed"])
        lines["Chosen"] = [
            f"fold {row.fold}: {row.chosen}" for row in folds.itertuples() if _is_text(row.chosen)
        ]
        plan = read_plan(own["plan"].dropna().iloc[0]) if own["plan"].notna().any() else None
        if plan and "data" in plan:
            data, settings = dict(plan["data"]), plan["settings"]
            sounds = data.pop("sounds", {})
            lines["Data"] = [", ".join(f"{key} {value}" for key, value in data.items())]
            lines["Data"] += [f"{sound} {digest}" for sound, digest in sounds.items()]
            lines["Settings"] = [", ".join(f"{key} {value}" for key, value in settings.items())]
        if not any(lines.values()):
            continue
        parts.append(tag("h3", str(name)))
        parts += [
            tag("p", f"{heading}: ", tag("code", text[0]) if len(text) == 1 else tag("ul", *map(_item, text)))
            for heading, text in lines.items()
            if text
        ]
    if parts:
        yield tag("h2", "What was run")
        yield tag("details", tag("summary", "Parameters, features, data and machine of each decoder"), *parts)


def _item(text):
    return tag("li", tag("code", text))


def _is_text(value):
    return isinstance(value, str) and bool(value)


def _answers(answers):
    if not answers:
        return
    yield tag("h2", "Answers")
    ax = None
    for name, one in answers.items():
        ax = plot_rank_curve(one, label=name, ax=ax)
    said = "; ".join(
        f"{name}: top-1 {pct(one.top_k(1))}, top-{one.k} {pct(one.top_k())} (chance {pct(one.chance)})"
        for name, one in answers.items()
    )
    yield picture(ax.figure, f"Top-k accuracy over all k. {said}.", "Accuracy at every number of guesses.")
    for name, one in answers.items():
        yield tag("h3", name)
        edges, share, chance = bin_ranks(one.ranks, one.n_candidates)
        alt = (
            f"Histogram of ranks of {name}: {pct(share[0])} of windows in the best {edges[1]} of {one.n_candidates} "
            f"ranks, chance {pct(chance[0])}; median relative rank {one.median_relative_rank():.2f}, chance 0.50."
        )
        yield tag(
            "div",
            picture(plot_ranks(one).figure, alt),
            *_sentence(name, one),
            *_words(name, one),
            class_="pair",
        )


def _sentence(name, one):
    rows = find_longest_sentence(one)[0][:24]
    columns = pd.unique(one.target[rows])
    if len(columns) < 2:
        return
    right = (columns[one.scores[rows][:, columns].argmax(1)] == one.target[rows]).sum()
    alt = (
        f"Similarities of {name} in one sentence: in {right} of {len(rows)} windows the segment heard is the most "
        f"similar of the sentence's {len(columns)}; {len(rows) / len(columns):.1f} are expected by chance."
    )
    yield picture(plot_similarity(one, rows).figure, alt, "The longest sentence of one person.", fixed=True)


def _words(name, one):
    try:
        found = compute_word_confusions(one)
    except ValueError:  # no words
        return
    own = pd.Series(np.diag(found), index=found.index)
    alt = (
        f"Confusions of the {len(own)} words heard most, {name}: on hearing it each becomes "
        + ", ".join(f"{word} {times:.2f}" for word, times in own.items())
        + " times as probable as on average; 1 is chance."
    )
    yield picture(plot_words(one).figure, alt, "White is chance.", fixed=True)


def _curves(curves):
    for heading, curve in curves.items():
        if {"channel", "x", "y", "r"} <= set(curve):
            yield from _head(heading, curve)
            continue
        ax = plot_curve(curve)
        if "value" in curve:  # the table does not know what of
            ax.set_xlabel(heading)
        score = "accuracy" if "accuracy" in curve else "top_k"
        bars = ax.containers[0]
        x = [tick.get_text() for tick in ax.get_xticklabels()]
        said = ", ".join(
            f"{at}: {pct(mean)}" for at, mean in zip(x, bars[0].get_ydata(orig=False), strict=True)
        )
        chance = f" Chance {pct(curve['chance'].mean())}." if "chance" in curve else ""
        end = (
            describe_edge_maximum(subject_means(curve, score, ["value"]).unstack("subject"))
            if "value" in curve
            else ""
        )
        yield tag("h2", heading)
        alt = f"{get_score_label(curve, score)} by {ax.get_xlabel()}, mean over people. {said}.{chance}"
        yield picture(ax.figure, f"{alt} {end}".strip(), end or None)


def _head(heading, topography):
    """Correlations of a forward model, mean over people."""
    means = topography.groupby("channel", sort=False)[["x", "y"]].first()
    for name in ("r", "null_high"):  # a channel may be constant, and a recording too short for a null
        known = topography.dropna(subset=[name])
        means[name] = mean_and_sem(known, name, "channel")["mean"] if len(known) else np.nan
    null = means["null_high"].mean()
    said = f", null up to {null:.3f} for a channel and person" if np.isfinite(null) else ""
    n = topography["subject"].nunique()
    alt = (
        f"Correlation r of the brain with what a forward model predicts of it, on the head, mean of "
        f"{n} {'person' if n == 1 else 'people'}: {means['r'].min():.3f} to {means['r'].max():.3f}, highest at "
        f"{means['r'].idxmax()}; chance is 0{said}."
    )
    yield tag("h2", heading)
    ax = plot_topography(means["r"], means[["x", "y"]], "r (chance is 0)")
    yield picture(ax.figure, alt, f"Chance is 0{said}.", fixed=True)


def _encoders(encoders, positions):
    if not encoders:
        return
    yield tag("h2", "Training")
    for name, encoder in encoders.items():
        decoder, _ = find_decoder(encoder, fitted=True)
        history = getattr(decoder, "history_", None)
        parts = []
        if history:
            loss = label_loss(decoder.loss)
            said = f"training {loss} {history[0, 'train_loss']:.2f} to {history[-1, 'train_loss']:.2f}"
            if "valid_loss" in history[0]:
                losses = history[:, "valid_loss"]
                said += (
                    f"; validation {CROSS_ENTROPY} {losses[0]:.2f}, at best {min(losses):.2f}, chance "
                    f"{np.log(history[-1, 'valid_candidates']):.2f}"
                )
                said += STILL_FALLING if np.argmin(losses) == len(losses) - 1 else ""
            parts.append(picture(plot_history(decoder).figure, f"{name}, {len(history)} epochs: {said}."))
        if positions is not None and getattr(decoder, "spatial_attention", False):
            values = compute_attention_map(decoder, positions)
            x, y = np.asarray(positions)[np.nanargmax(values)]
            where = f"{'left' if x < 0.45 else 'right' if x > 0.55 else 'middle'}, " + (
                "front" if y > 0.55 else "back" if y < 0.45 else "center"
            )
            alt = (
                f"Attention of {name} over the head: {np.nanmin(values):.2f} to {np.nanmax(values):.2f} times even, "
                f"highest {where}."
            )
            parts.append(picture(plot_attention(decoder, positions).figure, alt, fixed=True))
        yield tag("h3", name)
        yield tag("div", *parts, class_="pair")


def _pictures(pictures):
    for heading, (one, alt) in pictures.items():
        yield tag("h2", heading)
        yield picture(getattr(one, "figure", None) or one, alt, fixed=True)

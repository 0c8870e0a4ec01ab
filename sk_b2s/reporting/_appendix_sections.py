"""Optional sections of the report: parameters, retrieval results, curves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._estimators import find_decoder_in_estimator
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult
from sk_b2s.evaluation._benchmark_summary import get_summary_score_label
from sk_b2s.evaluation._curves import describe_learning_curve_edge
from sk_b2s.evaluation._results._plan import read_plan
from sk_b2s.evaluation._results._topography import compute_attention_topography
from sk_b2s.evaluation._statistics._subject_means import compute_subject_statistics, mean_and_sem
from sk_b2s.nn._registry import CROSS_ENTROPY
from sk_b2s.plotting._curves import STILL_FALLING, label_loss_curve, plot_curve, plot_history, plot_rank_curve
from sk_b2s.plotting._retrieval import (
    bin_retrieval_ranks,
    find_longest_retrieval_sentence,
    plot_ranks,
    plot_similarity,
)
from sk_b2s.plotting._topomap import plot_attention, plot_topography
from sk_b2s.plotting._words import compute_plotted_word_confusions, plot_words
from sk_b2s.reporting._findings import format_finding_count, format_finding_share
from sk_b2s.reporting._html import (
    make_html_details,
    make_html_figure,
    make_html_heading,
    make_html_items,
    make_html_paragraph,
    pair_html_blocks,
)


def make_appendix_section(results_by_decoder, encoders, positions, curves, figures):
    """Make the blocks of all optional arguments of `write_report`."""
    yield from _show_retrieval(results_by_decoder)
    yield from _show_curves(curves)
    yield from _show_training(encoders, positions)
    for title, (drawn, alt) in figures.items():
        yield make_html_heading(title)
        yield make_html_figure(getattr(drawn, "figure", None) or drawn, alt, fixed=True)


# --- parameters ------------------------------------------------------------------------------------


def show_parameters_in_appendix_section(results):
    """Show parameters, features, data and machine of each decoder."""
    mine = results[results["control"] == "decoder"]
    blocks = []
    for name, own in mine.groupby("estimator", sort=False):
        facts = {title: texts for title, texts in _collect_parameters(own).items() if texts}
        if facts:
            blocks.append(make_html_heading(str(name), 3))
        for title, texts in facts.items():
            if len(texts) == 1:
                blocks.append(make_html_paragraph(f"{title}: ", code=texts[0]))
            else:
                blocks += [make_html_paragraph(f"{title}:"), make_html_items(texts, code=True)]
    if blocks:
        yield make_html_heading("Parameters and data")
        yield make_html_details("Parameters, features, data and machine of each decoder", *blocks)


def _collect_parameters(own):
    """Collect texts on how one decoder was fitted, by title."""
    titles = {"Parameters": "parameters", "Features": "features", "Machine": "machine"}
    facts = {
        title: [str(text) for text in pd.unique(own[column].dropna()) if text]
        for title, column in titles.items()
    }
    facts["Chosen by search"] = [
        f"fold {row.fold}: {row.chosen}"
        for row in own.drop_duplicates(["fold", "seed"]).itertuples()
        if isinstance(row.chosen, str) and row.chosen
    ]
    plan = read_plan(own["plan"].dropna().iloc[0]) if own["plan"].notna().any() else None
    if plan and "data" in plan:
        data = dict(plan["data"])
        stimuli = data.pop("sounds", {})
        facts["Data"] = [", ".join(f"{key} {value}" for key, value in data.items())]
        facts["Data"] += [f"{stimulus} {digest}" for stimulus, digest in stimuli.items()]
        facts["Settings"] = [", ".join(f"{key} {value}" for key, value in plan["settings"].items())]
    return facts


# --- retrieval results -----------------------------------------------------------------------------


def _show_retrieval(results_by_decoder):
    """Show rank curves, and ranks, sentence and words of each decoder."""
    if not results_by_decoder:
        return
    yield make_html_heading("Retrieval results")
    ax = None
    for name, result in results_by_decoder.items():
        ax = plot_rank_curve(result, label=name, ax=ax)
    text = "; ".join(
        f"{name}: top-1 {format_finding_share(result.top_k(1))}, top-{result.k} {format_finding_share(result.top_k())} "
        f"(chance {format_finding_share(result.chance)})"
        for name, result in results_by_decoder.items()
    )
    yield make_html_figure(
        ax.figure, f"Top-k accuracy for all k. {text}.", "Accuracy for each number of guesses."
    )
    for name, result in results_by_decoder.items():
        yield make_html_heading(name, 3)
        parts = [_show_ranks(name, result)]
        if not isinstance(result, RowRetrievalResult):  # whose windows have candidates of their own
            parts += [*_show_sentence(name, result), *_show_words(name, result)]
        yield pair_html_blocks(*parts)


def _show_ranks(name, result):
    edges, share, chance = bin_retrieval_ranks(result.ranks, result.n_candidates)
    alt = (
        f"Histogram of ranks of {name}: {format_finding_share(share[0])} of windows in the best {edges[1]} of "
        f"{result.n_candidates} ranks, chance {format_finding_share(chance[0])}; median relative rank "
        f"{result.median_relative_rank():.2f}, chance 0.50."
    )
    return make_html_figure(plot_ranks(result).figure, alt)


def _show_sentence(name, result):
    rows = find_longest_retrieval_sentence(result)[0][:24]
    columns = pd.unique(result.target[rows])
    if len(columns) < 2:
        return
    correct = (columns[result.scores[rows][:, columns].argmax(1)] == result.target[rows]).sum()
    alt = (
        f"Similarities of {name} in one sentence. In {correct} of {len(rows)} windows the target segment is the most "
        f"similar of the {len(columns)} segments of the sentence; {len(rows) / len(columns):.1f} are expected by chance."
    )
    caption = "The sentence with most segments presented to one subject."
    yield make_html_figure(plot_similarity(result, rows).figure, alt, caption, fixed=True)


def _show_words(name, result):
    try:
        found = compute_plotted_word_confusions(result)
    except ValueError:  # without words
        return
    factors = pd.Series(np.diag(found), index=found.index)
    alt = (
        f"Confusions of the {len(factors)} most frequent words, {name}. Probability of each word in windows of this "
        f"word, relative to its mean (1 is chance): "
        + ", ".join(f"{word} {factor:.2f}" for word, factor in factors.items())
        + "."
    )
    yield make_html_figure(plot_words(result).figure, alt, "White is chance.", fixed=True)


# --- curves ----------------------------------------------------------------------------------------


def _show_curves(curves):
    for title, curve in curves.items():
        yield make_html_heading(title)
        if {"channel", "x", "y", "r"} <= set(curve):
            yield _show_topography(curve)
            continue
        ax = plot_curve(curve)
        note = ""
        score = "accuracy" if "accuracy" in curve else "top_k"
        if "value" in curve:  # the table does not name the parameter
            ax.set_xlabel(title)
            note = describe_learning_curve_edge(
                compute_subject_statistics(curve, score, ["value"]).unstack("subject")
            )
        ticks = [tick.get_text() for tick in ax.get_xticklabels()]
        means = ax.containers[0][0].get_ydata(orig=False)
        text = ", ".join(f"{x}: {format_finding_share(mean)}" for x, mean in zip(ticks, means, strict=True))
        chance = f" Chance {format_finding_share(curve['chance'].mean())}." if "chance" in curve else ""
        alt = f"{get_summary_score_label(curve, score)} by {ax.get_xlabel()}, mean over subjects. {text}.{chance}"
        yield make_html_figure(ax.figure, f"{alt} {note}".strip(), note or None)


def _show_topography(table):
    """Show correlations of a forward model on the head, mean over subjects."""
    means = table.groupby("channel", sort=False)[["x", "y"]].first()
    for name in ("r", "null_high"):  # NaN for constant channels and recordings too short for a null
        known = table.dropna(subset=[name])
        means[name] = mean_and_sem(known, name, "channel")["mean"] if len(known) else np.nan
    null = means["null_high"].mean()
    text = f", null up to {null:.3f} for one channel and subject" if np.isfinite(null) else ""
    alt = (
        f"Correlation r of the recordings with the prediction of a forward model, on the head, mean of "
        f"{format_finding_count(table['subject'].nunique(), 'subject')}: {means['r'].min():.3f} to {means['r'].max():.3f}, "
        f"highest at {means['r'].idxmax()}; chance is 0{text}."
    )
    ax = plot_topography(means["r"], means[["x", "y"]], "r (chance is 0)")
    return make_html_figure(ax.figure, alt, f"Chance is 0{text}.", fixed=True)


# --- training --------------------------------------------------------------------------------------


def _show_training(encoders, positions):
    if not encoders:
        return
    yield make_html_heading("Training")
    for name, encoder in encoders.items():
        decoder, _ = find_decoder_in_estimator(encoder, fitted=True)
        blocks = []
        if history := getattr(decoder, "history_", None):
            text = f"{name}, {format_finding_count(len(history), 'epoch')}: {_describe_history(decoder, history)}."
            blocks.append(make_html_figure(plot_history(decoder).figure, text))
        if positions is not None and getattr(decoder, "uses_positions", False) and decoder.module is None:
            text = f"Attention of {name} on the head: {_describe_attention(decoder, positions)}."
            blocks.append(make_html_figure(plot_attention(decoder, positions).figure, text, fixed=True))
        yield make_html_heading(name, 3)
        yield pair_html_blocks(*blocks)


def _describe_history(decoder, history):
    loss = label_loss_curve(decoder.loss)
    text = f"training {loss} {history[0, 'train_loss']:.2f} to {history[-1, 'train_loss']:.2f}"
    if "valid_loss" in history[0]:
        losses = history[:, "valid_loss"]
        text += (
            f"; validation {CROSS_ENTROPY} {losses[0]:.2f}, best {min(losses):.2f}, chance "
            f"{np.log(history[-1, 'valid_candidates']):.2f}"
        )
        text += STILL_FALLING if np.argmin(losses) == len(losses) - 1 else ""
    return text


def _describe_attention(decoder, positions):
    values = compute_attention_topography(decoder, positions)
    x, y = np.asarray(positions)[np.nanargmax(values)]
    side = "left" if x < 0.45 else "right" if x > 0.55 else "middle"
    place = "front" if y > 0.55 else "back" if y < 0.45 else "center"
    return f"{np.nanmin(values):.2f} to {np.nanmax(values):.2f} relative to uniform attention, highest {side}, {place}"

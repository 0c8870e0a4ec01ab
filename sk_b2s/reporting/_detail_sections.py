"""Sections of a report on ranks, guesses, training and topographies."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._text import make_all_text_visible
from sk_b2s.evaluation._results._rank_curves import average_rank_curves, select_rank_curve_fits
from sk_b2s.nn._registry import CROSS_ENTROPY
from sk_b2s.plotting._curves import draw_training_curves, label_loss_curve, plot_rank_curve
from sk_b2s.plotting._topomap import plot_topography
from sk_b2s.reporting._findings import format_finding_count, format_finding_share
from sk_b2s.reporting._html import (
    group_html_blocks,
    make_html_audio_element,
    make_html_figure,
    make_html_heading,
    make_html_paragraph,
    pair_html_blocks,
)

SHOWN_K = (1, 5, 10, 50)  # numbers of guesses in texts
ENVELOPE = "envelope_only"
TRAINING = (
    "Training curves: one line for each fit. A validation loss below the dashed line is better than chance. A validation "
    "loss that increases while the training loss decreases shows that the network learns windows by heart."
)
MAPS = (
    "Maps of sensors: the head from above, nose up, of the first fold. The attention of a network is the weight of a sensor "
    "relative to equal weights. It does not measure importance. The pattern of a linear decoder (Haufe et al., 2014) is the "
    "size of the activity that follows the decoded features, relative to its mean over sensors. That of a likelihood decoder is "
    "the size of the estimated response. If few windows are decoded, all of them are noise. Members of an ensemble have maps "
    "of their own. After CovarianceAlignment, maps are of the aligned channels."
)


# --- ranks -----------------------------------------------------------------------------------------


def make_rank_curve_section(results):
    """Make the block of top-k accuracy for all k, None without ranks."""
    curves = average_rank_curves(results)
    if not curves:
        return None
    ax = plot_rank_curve(results)
    for label, curve in average_rank_curves(results, ENVELOPE).items():
        if label in curves:
            color = ax.get_legend_handles_labels()
            line = next(line for line, name in zip(*color, strict=True) if name == label)
            ax.plot(
                curve.k,
                curve.accuracy,
                color=line.get_color(),
                linestyle=":",
                label=f"{label}, envelope only",
            )
    _refresh_legend(ax)
    text = "; ".join(
        f"{label}: " + ", ".join(
            f"top-{k} {format_finding_share(np.interp(k, curve.k, curve.accuracy))} (chance {format_finding_share(k / curve.n_candidates)})"
            for k in SHOWN_K if k < curve.n_candidates
        )
        for label, curve in curves.items()
    )  # fmt: skip
    figure = make_html_figure(
        ax.figure, f"Top-k accuracy for all k, mean over subjects. {text}.",
        "Accuracy for each number of guesses, mean over subjects. A decoder without information follows the dashed line.",
    )  # fmt: skip
    return group_html_blocks(make_html_heading("How many guesses are needed"), figure)


def _refresh_legend(ax):
    from sk_b2s.plotting._style import place_style_legend

    place_style_legend(ax)


# --- training --------------------------------------------------------------------------------------


def list_training_sections(results):
    """List the blocks of training curves, one for each network."""
    fits = select_rank_curve_fits(results)
    blocks = []
    for label, own in fits.groupby("label", sort=False):
        histories = [details["history"] for details in own["details"] if "history" in details]
        if not histories:
            continue
        ax = draw_training_curves(histories)
        first, last = (np.mean([one["train_loss"][at] for one in histories]) for at in (0, -1))
        alt = (
            f"Training of {label}, {format_finding_count(len(histories), 'fit')}: training "
            f"{label_loss_curve(histories[0]['loss'])} {first:.2f} to {last:.2f}"
        )
        valid = [one for one in histories if "valid_loss" in one]
        if valid:
            best = np.mean([min(one["valid_loss"]) for one in valid])
            chance = np.mean([np.log(one["valid_candidates"]) for one in valid if "valid_candidates" in one])
            alt += f"; best validation {CROSS_ENTROPY} {best:.2f}, chance {chance:.2f}"
        figure = make_html_figure(ax.figure, f"{alt}.")
        blocks.append(group_html_blocks(make_html_heading(f"Training of {label}"), figure))
    return blocks


# --- topographies ----------------------------------------------------------------------------------


def list_topography_sections(results):
    """List the blocks of topographies, one for each decoder that has one."""
    fits, blocks = select_rank_curve_fits(results), []
    maps = []
    for label, own in fits.groupby("label", sort=False):
        found = next((details["topography"] for details in own["details"] if "topography" in details), [])
        for one in found if isinstance(found, list) else [found]:  # former files have a single one
            maps.append((f"{label} ({one['member']})" if one.get("member") else label, one))
    for label, found in make_all_text_visible(maps):
        values, places = np.array(found["values"]), np.column_stack([found["x"], found["y"]])
        try:
            ax = plot_topography(values, places, found["label"], diverging=False)
        except ValueError:  # sensors at fewer than four places
            continue
        x, y = places[values.argmax()]
        side = "left" if x < 0.45 else "right" if x > 0.55 else "middle"
        place = "front" if y > 0.55 else "back" if y < 0.45 else "center"
        alt = f"{found['label']} of {label} on the head: {values.min():.2f} to {values.max():.2f}, highest {side}, {place}."
        figure = make_html_figure(ax.figure, alt, fixed=True)
        blocks.append(group_html_blocks(make_html_heading(f"Sensors of {label}"), figure))
    return blocks


# --- guesses ---------------------------------------------------------------------------------------


def show_guesses_detail_section(results, clips):
    """Show what was presented and what each decoder selected, with audio.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
    clips : StimulusClips
    """
    fits = select_rank_curve_fits(results)
    found = {}
    for row in fits.itertuples():
        if row.details.get("guesses"):
            found.setdefault(row.label, make_all_text_visible(row.details["guesses"]))
    if not found:
        return
    windows: dict[tuple, dict] = {}
    for label, guesses in found.items():
        for guess in guesses:
            key = guess.get("subject", ""), guess.get("onset"), str(guess["target"])
            windows.setdefault(key, {})[label] = guess
    cards = [_make_guess_card(key, own, clips) for key, own in sorted(windows.items(), key=_get_guess_time)]
    first = next(iter(found.values()))[0]
    text = (
        f"Windows evenly spaced in the first fold, chosen without regard to scores. For each decoder: the rank of the presented "
        f"segment among {first['n_candidates']} candidates (1 is best), and the most similar candidate with its probability."
    )
    if not first["is_calibrated"]:
        text += " Probabilities are not calibrated."
    yield make_html_heading("What was presented and what was decoded")
    yield make_html_paragraph(text)
    yield {"kind": "guesses", "cards": cards}
    if clips.is_full:
        yield make_html_paragraph("Further audio is left out to limit the size of the page.")


def _get_guess_time(item):
    (subject, onset, _), _ = item
    return subject, -1.0 if onset is None else onset


def _make_guess_card(key, own, clips):
    """Make the card of one window with the guesses of all decoders."""
    subject, onset, _ = key
    target = next(iter(own.values()))["target"]
    place = [f"subject {subject}"] * bool(subject) + ([] if onset is None else [f"{onset:.1f} s"])
    return {
        "title": ", ".join(place) or "window", "text": _get_guess_text(target), "player": _make_guess_player(target, clips, "presented"),
        "guesses": [
            {
                "label": label, "is_correct": guess["rank"] == 1, "text": _get_guess_text(guess["guess"]),
                "rank": f"presented: rank {guess['rank']:.0f}",
                "probability": f"probability\N{NO-BREAK SPACE}{format_finding_share(guess['probability'])}",
                "player": None if guess["rank"] == 1 else _make_guess_player(guess["guess"], clips, f"guess of {label}"),
            }
            for label, guess in own.items()
        ],
    }  # fmt: skip


def _get_guess_text(stimulus):
    """Return the text of a stimulus, or where it is in its file."""
    if text := stimulus.get("text") or stimulus.get("word"):
        return text
    if {"sound", "start"} <= set(stimulus):
        return f"{stimulus['sound']}, {stimulus['start']:.1f} s"
    return f"segment {stimulus.get('segment', '')}"


def _make_guess_player(stimulus, clips, label):
    clip = clips.cut(stimulus)
    return (
        None
        if clip is None
        else make_html_audio_element(clip[0], f"{label}: {_get_guess_text(stimulus)}", "", clip[1])
    )


def pair_detail_sections(results):
    """Make the blocks of training curves and topographies in two columns."""
    training, maps = list_training_sections(results), list_topography_sections(results)
    if not training and not maps:
        return []
    texts = [TRAINING] * bool(training) + [MAPS] * bool(maps)
    paragraphs, blocks = list(map(make_html_paragraph, texts)), [*training, *maps]
    if len(blocks) % 2:  # fill the other column
        blocks.append(group_html_blocks(make_html_heading("How to read these figures"), *paragraphs))
        return [pair_html_blocks(*blocks)]
    return [pair_html_blocks(*blocks), pair_html_blocks(*map(group_html_blocks, paragraphs))]


def select_detail_for_sections(results, name):
    """Return a detail of the first fit that has it, or None."""
    for details in select_rank_curve_fits(results)["details"] if "details" in results else ():
        if name in details:
            return make_all_text_visible(details[name])
    return None

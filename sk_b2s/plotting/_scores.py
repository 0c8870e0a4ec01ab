"""Figures of score tables: subjects, decoders, controls and curves."""

from __future__ import annotations

from textwrap import fill

import numpy as np
import pandas as pd

from sk_b2s._utils._text import with_visible_text
from sk_b2s.decoding._retrieval_result import RetrievalResult
from sk_b2s.evaluation._controls._verdicts import BELOW, LEAKS
from sk_b2s.evaluation._curves import highest_at_end
from sk_b2s.evaluation._results._amounts import amounts_in, format_minutes
from sk_b2s.evaluation._statistics import (
    average_over_subjects,
    compare_estimators,
    mean_and_sem,
    null_over_subjects,
    of_decoders,
    subject_means,
    subject_score_means,
)
from sk_b2s.plotting._style import COLORS, MUTED, axes_of, chance_line, colors, percent, spread, tidy

HALVES = ("median_relative_rank", "match_mismatch", "accuracy")  # whose chance is a half
UNITS = {
    "minutes": "minutes of training for each person",
    "n_subjects": "people in training",
    "length": "seconds of a decision",
}


# --- numbers that are drawn ------------------------------------------------------------------------


def named_score(results, score="top_k"):
    """Name a score for people.

    Parameters
    ----------
    results : DataFrame
        Whose ``k`` tells which k a ``top_k`` is of.
    score : str, default="top_k"

    Returns
    -------
    name : str

    Examples
    --------
    >>> named_score(pd.DataFrame({"k": [10, 10]}))
    'top-10 accuracy'
    """
    k = results["k"].dropna().unique() if "k" in results else []
    names = {
        "top_k": f"top-{int(k[0])} accuracy" if len(k) == 1 else "top-k accuracy",
        "near": "best guess within 0.5 s", "word_top_10": "top-10 accuracy of words, each counting once",
        "median_relative_rank": "median relative rank", "match_mismatch": "match against mismatch",
    }  # fmt: skip
    n = score.removeprefix("top_")
    return names.get(score, f"top-{n} accuracy" if n.isdigit() else score.replace("_", " "))


def labeled(results):
    """Rows that did not fail, with ``label``: the estimator, and condition, k and calibration where there are several.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)

    Returns
    -------
    rows : DataFrame
    """
    if "error" in results:
        results = results[results["error"].astype(object).fillna("") == ""]
    label = results["estimator"].astype(str)
    if "condition" in results and results["condition"].nunique() > 1:
        label = label + ", " + results["condition"].astype(str).replace("", "no condition")
    if "k" in results and results["k"].nunique() > 1:
        label = label + results["k"].map(", k = {:.0f}".format)
    for column in amounts_in(results):
        label = label + format_minutes(results[column])
    return results.assign(label=label)


def scores_over(results, score="top_k", by=("label",)):
    r"""Mean over people of a score, its chance and its null, as :func:`~sk_b2s.summarize` counts them.

    A person counts once, whatever its folds, windows and seeds.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        With ``subject`` and the score; ``seed, fold, n_windows, n_candidates, chance, null_mean, null_low`` and
        ``null_high`` where they are.
    score : str, default="top_k"
        Column.
    by : sequence of str, default=("label",)
        Columns of which every combination gets a row, in order of appearance.

    Returns
    -------
    table : DataFrame
        ``score, sem, chance, null_low, null_mean, null_high, n_subjects``, indexed by ``by``; the null is of
        ``top_k``, of those who have one, and NaN for other scores.
    """
    by = list(by)
    rows = results.assign(score=results[score], chance=_chance(results, score))
    table = average_over_subjects(
        subject_score_means(rows, ["score", "chance"], [*dict.fromkeys([*by, "subject"])]), by
    )
    table = table.drop(columns="chance_sem").rename(columns={"score_sem": "sem"})
    null = ["null_low", "null_mean", "null_high"]
    if score != "top_k" or not set(null) <= set(rows):
        return table.assign(**dict.fromkeys(null, np.nan))
    return table.join(null_over_subjects(rows, by)[null])


def _chance(rows, score):
    """Chance of each row's score; NaN where it is not known."""
    if score in HALVES:
        return pd.Series(0.5, index=rows.index)
    column = {"near": "near_chance", "word_top_10": "word_chance"}.get(score, "chance")
    k = score.removeprefix("top_")
    if k.isdigit() and "n_candidates" in rows:
        return int(k) / rows["n_candidates"]
    return rows[column] if column in rows else pd.Series(np.nan, index=rows.index)


def _null_of(ax, place, low, high, half, across=False):
    """Shade what a null spans at some places."""
    for at, bottom, top in zip(place, low, high, strict=True):
        if np.isfinite(top):
            draw = ax.fill_betweenx if across else ax.fill_between
            draw([at - half, at + half], bottom, top,
                 color=MUTED, alpha=0.28, linewidth=0, zorder=1)  # fmt: skip


def _chances(ax, place, chance, half):
    """Draw chance: a line where it is the same for all, or a piece at each place."""
    known = np.asarray(chance, float)
    if len(known) and np.isfinite(known).all() and np.ptp(known) < 1e-9:
        return chance_line(ax, known[0])
    ax.hlines(known, np.subtract(place, half), np.add(place, half), color=MUTED, linestyle=(0, (3, 2)), linewidth=1.4,
              zorder=1.5, label=f"chance {100 * np.nanmin(known):.1f} to {100 * np.nanmax(known):.1f} %")  # fmt: skip


def _legend(ax, null=True, **options):
    """List what is drawn, with the null's shade if there is one."""
    from matplotlib.patches import Patch

    handles, names = ax.get_legend_handles_labels()
    if null:
        handles.append(Patch(color=MUTED, alpha=0.28, linewidth=0))
        names.append("95 % of the null")
    ax.legend(handles, names, frameon=False, **options)


# --- people ----------------------------------------------------------------------------------------


@with_visible_text
def plot_scores(scores, chance=None, ax=None, score="top_k"):
    """Plot the accuracy of each subject under each decoder, with chance.

    Parameters
    ----------
    scores : DataFrame or dict of str to RetrievalResult
        The table of :func:`~sk_b2s.benchmark` (a row for each score, with ``estimator`` and ``subject``); or
        accuracies between 0 and 1, one row for each subject, one column for each decoder; or what each decoder
        answered, with equal ``k`` and as many candidates.
    chance : float, default=None
        Accuracy of guessing, drawn as a line; answers and tables of a benchmark know theirs.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.
    score : str, default="top_k"
        Column of a benchmark's table.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A point for each subject, a line between the points of one subject, mean and standard error
        over subjects. Of a benchmark's table also the null of the mean, shaded between its 2.5 and 97.5 % quantiles.

    Raises
    ------
    ValueError
        If chance is not given with a table of numbers, or differs between the answers.
    """
    null, name = None, "accuracy"
    if isinstance(scores, dict):
        levels = {answers.chance for answers in scores.values()}
        if len(levels) > 1:
            raise ValueError(f"the answers must have one chance level to be compared, got {sorted(levels)}.")
        chance = levels.pop() if chance is None else chance
        ks = {answers.k for answers in scores.values() if isinstance(answers, RetrievalResult)}
        name = f"top-{ks.pop()} accuracy" if len(ks) == 1 else name
        scores = pd.DataFrame({label: answers.by_subject()["top_k"] for label, answers in scores.items()})
    elif {"estimator", "subject"} <= set(scores):
        rows = labeled(of_decoders(scores))
        null, name = scores_over(rows, score), named_score(rows, score)
        chance = null["chance"].to_numpy() if chance is None else chance
        scores = scores_over(rows, score, ["label", "subject"])["score"].unstack("label")[list(null.index)]
    if chance is None:
        raise ValueError("chance must be given with a table of numbers: chance_level(k, n_candidates).")
    ax = axes_of(ax, figsize=(max(6.4, 1.6 * scores.shape[1]), 4.8))
    place = np.arange(scores.shape[1])
    if null is not None:
        _null_of(ax, place, null["null_low"], null["null_high"], 0.3)
    _chances(ax, place, np.broadcast_to(chance, len(place)), 0.3)
    ax.plot(place, scores.to_numpy().T, color=MUTED, alpha=0.35, linewidth=0.8, zorder=1.6)
    for x, (decoder, color) in zip(place, colors(scores).items(), strict=True):
        values = scores[decoder].to_numpy(float)
        ax.scatter(np.full(len(values), x), values, s=26, color=color, alpha=0.65, linewidth=0, zorder=2)
        if len(values) > 1:
            ax.errorbar(x + 0.14, np.nanmean(values), pd.Series(values).sem(), fmt="D", markersize=6, color=color,
                        capsize=4, linewidth=1.8, zorder=3)  # fmt: skip
    ax.set(
        xticks=place, xticklabels=[fill(str(label), 18) for label in scores], xlim=(-0.5, len(place) - 0.5),
        ylim=(0, None), ylabel=name,
        title=f"One point per subject (n = {len(scores)}), mean ± s.e.m.",
    )  # fmt: skip
    percent(ax.yaxis)
    tidy(ax)
    _legend(ax, null is not None and null["null_high"].notna().any())
    return ax


@with_visible_text
def plot_subjects(results, score="top_k", ax=None):
    """Plot the accuracy of each subject beside the chance and the null that are this subject's own.

    A point above its shade is above the null of that person: 95 % of what the same decoder scores on labels that
    were moved in time. Folds and seeds of a person are averaged.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Of :func:`~sk_b2s.benchmark`. Of those that name a ``control`` only "decoder" counts, and of several a
        ``pool`` of candidates only "all".
    score : str, default="top_k"
        Column. Nulls are of ``top_k``; others are drawn without.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
    """
    rows = labeled(of_decoders(results))
    table = scores_over(rows, score, ["label", "subject"])
    people, labels = list(pd.unique(rows["subject"])), list(pd.unique(rows["label"]))
    ax = axes_of(ax, figsize=(max(6.0, 1.5 + len(people) * (0.3 + 0.12 * len(labels))), 4.2))
    places, chances = [], []
    width = min(0.22, 0.7 / len(labels))
    for (label, color), shift in zip(colors(labels).items(), spread(len(labels), 0.7), strict=True):
        own = table.loc[label].reindex(people)
        place = np.arange(len(people)) + shift
        _null_of(ax, place, own["null_low"], own["null_high"], 0.4 * width)
        ax.scatter(place, own["score"], s=42, color=color, linewidth=0, label=label, zorder=3)
        places += list(place)
        chances += list(own["chance"])
    _chances(ax, places, chances, 0.5 * width)
    ax.set(
        xticks=range(len(people)), xticklabels=people, xlim=(-0.6, len(people) - 0.4), ylabel=named_score(rows, score),
        ylim=(0, None), xlabel="subject",
    )  # fmt: skip
    if max(len(str(name)) for name in people) * len(people) > 70:
        ax.tick_params(axis="x", labelrotation=90)
    percent(ax.yaxis)
    tidy(ax)
    _legend(ax, table["null_high"].notna().any(), loc="upper left", bbox_to_anchor=(1, 1))
    return ax


# --- decoders and controls -------------------------------------------------------------------------


@with_visible_text
def plot_comparison(results, reference=None, score="top_k", ax=None):
    """Plot the difference between estimators for each person, with the signed-rank test over people.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Of :func:`~sk_b2s.benchmark`, or any table that :func:`~sk_b2s.compare_estimators` takes.
    reference : None or str, default=None
        Estimator that all others are compared with; None compares every pair.
    score : str, default="top_k"
        Column; higher is taken to be better.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A row for each comparison, first on top: a point for each person, mean ± s.e.m., and p corrected by Holm's
        rule beside the smallest that so many people can give. Zero, what estimators that are alike differ by, is
        dashed.
    """
    rows = of_decoders(results)
    table = compare_estimators(rows, reference, score)
    means = subject_means(rows, score, ["estimator"])
    ax = axes_of(ax, figsize=(7.5, 1.2 + 0.75 * len(table)))
    place = np.arange(len(table))
    ax.axvline(0, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.4, zorder=1)
    for at, row in zip(place, table.itertuples(), strict=True):
        difference = (means[row.estimator] - means[row.reference]).to_numpy()
        ax.scatter(
            difference, at + spread(len(difference), 0.2), s=22, color=COLORS[0], alpha=0.55, linewidth=0
        )
        ax.errorbar(row.mean_difference, at + 0.28, xerr=row.sem, fmt="D", markersize=6, color=COLORS[1], capsize=4,
                    linewidth=1.8, zorder=3)  # fmt: skip
        said = f"p = {row.p_holm:.2g} (least possible {row.smallest_p_holm:.2g})"
        said += f"\nbetter in {row.n_better} of {row.n_subjects}"
        ax.annotate(said, (1.02, at), xycoords=("axes fraction", "data"), va="center", fontsize="small")
    ax.set(
        yticks=place, yticklabels=[f"{row.estimator} − {row.reference}" for row in table.itertuples()],
        ylim=(len(table) - 0.4, -0.6), xlabel=f"difference in {named_score(rows, score)}, one point per person",
    )  # fmt: skip
    percent(ax.xaxis)
    tidy(ax, "x")
    return ax


@with_visible_text
def plot_controls(results, ax=None):
    """Plot what controls score beside the decoders, with chance and null of each.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Of :func:`~sk_b2s.benchmark`, with ``control, verdict`` and ``top_k``.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A row for each control. Those at whose score a leak would show are named "must be at chance", those that
        leak or are below their null are marked.
    """
    rows = labeled(results)
    if "pool" in rows and (rows["pool"] == "all").any():
        rows = rows[rows["pool"] == "all"]
    table = scores_over(rows, "top_k", ["control", "label"])
    names, labels = list(pd.unique(rows["control"])), list(pd.unique(rows["label"]))
    height = min(0.22, 0.7 / len(labels))
    ax = axes_of(ax, figsize=(7.5, 1.3 + len(names) * (0.3 + 0.16 * len(labels))))
    for (label, color), shift in zip(colors(labels).items(), spread(len(labels), 0.7), strict=True):
        known = [name for name in names if (name, label) in table.index]
        own = table.loc[[(name, label) for name in known]]
        place = np.array([names.index(name) for name in known]) + shift
        _null_of(ax, place, own["null_low"], own["null_high"], 0.42 * height, across=True)
        ax.vlines(own["chance"], place - 0.5 * height, place + 0.5 * height, color=MUTED, linewidth=2,
                  label="chance" if shift == spread(len(labels), 0.7)[0] else "_chance")  # fmt: skip
        ax.errorbar(own["score"], place, xerr=own["sem"], fmt="o", markersize=6, color=color, capsize=3,
                    label=label, zorder=3)  # fmt: skip
        verdict = rows[rows["label"] == label].groupby("control")["verdict"].first()
        for name, at, x in zip(known, place, own["score"] + own["sem"].fillna(0), strict=True):
            said = str(verdict[name])
            if mark := "LEAK" if said.startswith("LEAK") else BELOW * (said == BELOW):
                ax.annotate(
                    mark, (x, at), xytext=(8, 0), textcoords="offset points", va="center", weight="bold"
                )
    ticks = [f"{name}\n(must be at chance)" if name in LEAKS else name for name in names]
    ax.set(yticks=range(len(names)), yticklabels=ticks, ylim=(len(names) - 0.4, -0.6), xlim=(0, None),
           xlabel=f"{named_score(rows)}, mean ± s.e.m. over people")  # fmt: skip
    percent(ax.xaxis)
    tidy(ax, "x")
    _legend(ax, table["null_high"].notna().any(), loc="upper left", bbox_to_anchor=(1, 1))
    return ax


# --- what a score depends on -----------------------------------------------------------------------


@with_visible_text
def plot_curve(curve, x=None, score=None, label=None, ax=None):
    """Plot a score over minutes or people of training, lag, band, sensors, or length of a decision.

    Parameters
    ----------
    curve : DataFrame of shape (n_rows, ...)
        Of :func:`~sk_b2s.retrieval_learning_curve`, :func:`~sk_b2s.retrieval_validation_curve` or :func:`~sk_b2s.attention_decision_accuracy`.
    x : str, default=None
        Column of the abscissa: "value", "length", "minutes" or "n_subjects", whichever there is by default.
    score : str, default=None
        Column: "top_k", or "accuracy" of decisions by default.
    label : str, default=None
        Name of the curve, where several share the axes.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default. A further curve on the same axes takes the next color.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A thin line for each person, mean ± s.e.m., and chance. Numbers that are all positive and many times each
        other are on a logarithmic axis; names stand side by side. What a "value" is of, ``ax.set_xlabel`` says.
        The title says where the highest mean is at the first or last of three numbers or more.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    several = "minutes" in curve and (curve["minutes"].nunique() > 1 or curve["n_subjects"].nunique() == 1)
    guess = [name for name in ("value", "length") if name in curve] + ["minutes" if several else "n_subjects"]
    x = guess[0] if x is None else x
    score = ("accuracy" if "accuracy" in curve else "top_k") if score is None else score
    if missing := [name for name in (x, score, "subject") if name not in curve]:
        raise ValueError(f"curve must have the columns {missing}, but has {list(curve.columns)}.")
    curve = curve.assign(chance=_chance(curve, score))
    weight = "n_windows" if score != "accuracy" else "n_decisions"
    people = subject_means(curve, score, [x], weight=weight).unstack("subject").sort_index()
    means = mean_and_sem(curve, score, x, weight=weight).reindex(people.index)
    if not (is_number := pd.api.types.is_numeric_dtype(curve[x])):
        people, means = (table.reindex(pd.unique(curve[x])) for table in (people, means))
    new, ax = ax is None or not ax.has_data(), axes_of(ax)
    place = people.index.to_numpy(float) if is_number else np.arange(len(people))
    color = COLORS[len(ax.containers) % len(COLORS)]
    ax.plot(place, people.to_numpy(), color=color, alpha=0.25, linewidth=0.9)
    ax.errorbar(place, means["mean"], means["sem"], fmt="o-" if is_number else "D", color=color, markersize=6,
                linewidth=1.8, capsize=3, label=label, zorder=3)  # fmt: skip
    if new and means["chance"].notna().all():
        ax.plot(
            place,
            means["chance"],
            color=MUTED,
            linestyle=(0, (4, 3)),
            linewidth=1.4,
            zorder=1.5,
            label="chance",
        )
    if is_number and (place > 0).all() and place.max() > 3 * place.min():
        ax.set_xscale("log")
        ax.minorticks_off()
    ax.set_xticks(place, [f"{at:.3g}" for at in place] if is_number else list(people.index))
    title, note = f"mean ± s.e.m. of {people.shape[1]} people", highest_at_end(people) if x == "value" else ""
    ax.set(xlabel=UNITS.get(x, x), ylabel=named_score(curve, score), ylim=(0, None),
           title=fill(f"{title}. {note}", 60) if note else title)  # fmt: skip
    percent(ax.yaxis)
    tidy(ax)
    ax.legend(frameon=False)
    return ax

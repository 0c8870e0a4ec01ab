"""Summary figures of the tables in ``benchmarks/README.md``."""

import re

import numpy as np
from _figure_registry import FAINT, ROOT, draws

from sk_b2s.plotting._style import COLORS, style_axes

README = ROOT / "benchmarks" / "README.md"


def read_tables(script):
    """Read the tables of a section, each as a list of dicts of text."""
    section = README.read_text(encoding="utf-8").split(f"\n## `{script}`\n")[1].split("\n## ")[0]
    tables = []
    for block in re.findall(r"(?:^\|.*\|\n)+", section + "\n", re.M):
        rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in block.splitlines()]
        head = [
            f"{name or 'column'} {rows[0][:place].count(name) or ''}".strip()
            for place, name in enumerate(rows[0])
        ]
        tables.append([dict(zip(head, row, strict=False)) for row in rows[2:]])
    return tables


def to_numbers(text):
    """Return the numbers of a cell, for example mean and standard error."""
    return [float(number) for number in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", text.replace(",", ""))]


def draw_groups(ax, groups, labels, values, errors=None):
    """Draw bars of several labels in each group."""
    width = 0.8 / len(labels)
    for place, label in enumerate(labels):
        at = np.arange(len(groups)) + (place - (len(labels) - 1) / 2) * width
        wrong = None if errors is None else errors[:, place]
        ax.bar(
            at,
            values[:, place],
            0.9 * width,
            yerr=wrong,
            color=COLORS[place],
            label=label,
            error_kw={"ecolor": FAINT},
        )
    ax.set_xticks(range(len(groups)), groups)
    style_axes(ax)


@draws("measured_simulated", height=3.2)
def draw_simulated(ax, results):
    """Draw top-10 accuracy of simulated subjects by decoder."""
    table, groups, found, state = read_tables("bench_listening.py")[1], [], {}, ""
    for row in table:
        state = row["column"] or state
        if row["artifacts"]:
            groups.append(f"{state}\nartifacts {row['artifacts']}")
        name = row["decoder"].split(",")[0]
        found[groups[-1], name] = to_numbers(row["top-10"])[:2]
    labels = ["ridge", "network", "likelihood", "oracle"]
    cells = np.array([[found[group, label] for label in labels] for group in groups])
    draw_groups(ax, groups, labels, cells[..., 0], cells[..., 1])
    ax.axhline(0.0093, color=FAINT, linestyle="--", linewidth=1, label="chance")
    ax.set_ylabel("top-10 accuracy, 1,079 candidates")
    ax.legend(ncols=3, fontsize=9, loc="upper right")
    ax.set(ylim=(0, 1.22), yticks=np.arange(0, 1.1, 0.2))


@draws("measured_eeg", height=3.2)
def draw_eeg(ax, results):
    """Draw the accuracy on real EEG, single windows and averages."""
    tables = read_tables("bench_dtu.py")
    table = next(rows for rows in tables if "parameters" in rows[0])
    cells = np.array(
        [
            [to_numbers(row[column])[:2] for row in table]
            for column in ("correct, %", "ten repeats averaged, %")
        ]
    )
    labels = [row["decoder"] for row in table]
    draw_groups(ax, ["single windows", "ten repeats averaged"], labels, cells[..., 0], cells[..., 1])
    ax.axhline(12.5, color=FAINT, linestyle="--", linewidth=1)
    ax.text(1.5, 12.5, "chance", color=FAINT, va="center", fontsize=9)
    ax.set_ylabel("correct among eight (%)")
    ax.legend(loc="upper left", fontsize=9)


@draws("measured_tasks", height=3.6)
def draw_tasks(ax, results):
    """Draw score, chance level and score of timing alone of the tasks."""
    rows, name = [], ""
    for row in read_tables("bench_tasks.py")[0]:
        name = row["task"] or name
        if row["subjects"] == "known" and row["timing only"] and row["decoder"] == "ridge":
            rows.append(
                (
                    name,
                    *(to_numbers(row[column])[0] for column in ("score ± s.e.m.", "chance", "timing only")),
                )
            )
    at = np.arange(len(rows))[::-1]
    _, scores, chances, timings = map(np.array, zip(*rows, strict=True))
    ax.hlines(at, 0, 1, color=FAINT, alpha=0.25, linewidth=0.8)
    ax.plot(chances, at, "|", color=FAINT, markersize=14, markeredgewidth=2, label="chance")
    ax.plot(scores, at, "o", color=COLORS[0], label="ridge")
    ax.plot(timings, at, "D", color=COLORS[1], markersize=5, label="timing alone, without MEG")
    ax.set_yticks(at, [row[0] for row in rows])
    ax.set_xlabel("score")
    ax.set_xlim(-0.02, 1)
    style_axes(ax, grid="x")
    ax.legend(
        loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3, fontsize=9, columnspacing=1, handletextpad=0.3
    )


@draws("measured_training", height=2.6)
def draw_training(ax, results):
    """Draw the rate of training and its limit."""
    table = read_tables("bench_training.py")[0]
    for place, row in enumerate(table):
        at = len(table) - place
        limit, rate = (to_numbers(row[column])[0] for column in ("limit windows/s", "windows/s"))
        ax.barh(at, limit, 0.7, color=FAINT, alpha=0.3)
        ax.barh(at, rate, 0.7, color=COLORS["sk_b2s" not in row["training"]])
        ax.text(
            rate - 0.4,
            at,
            f"{row['share of limit'].replace('%', ' %')}",
            ha="right",
            va="center",
            color="white",
            fontsize=9,
        )
    labels = [f"{row['training'].split(',')[0]}, {row['precision']}" for row in table]
    ax.set_yticks(range(len(table), 0, -1), labels)
    ax.set_xlabel("windows per second (gray: limit)")
    style_axes(ax, grid="x")


@draws("measured_scaling", height=2.8)
def draw_scaling(ax, results):
    """Draw processor seconds and memory by the number of subjects."""
    table = read_tables("bench_scaling.py")[0]
    subjects = [to_numbers(row["subjects"])[0] for row in table]
    for place, column in enumerate(("preparing (s)", "an epoch (s)", "scoring (s)")):
        values = [to_numbers(row[column])[0] for row in table]
        ax.plot(subjects, values, "o-", color=COLORS[place], label=column.removesuffix(" (s)"), markersize=4)
    ax.set_xticks(subjects)
    ax.set_xlabel("subjects with four minutes each")
    ax.set_ylabel("processor seconds")
    style_axes(ax)
    ax.legend()


@draws("measured_streaming", height=3.2)
def draw_streaming(ax, results):
    """Draw the accuracy of live decoders by the seconds of evidence."""
    rows = [row for row in read_tables("bench_streaming.py")[0] if row["column"] == "eeg"]
    seconds = ["3 s", "5 s", "10 s", "20 s"]
    kinds = {("live", "0.16"): "-", ("offline", "whole"): "--", ("shifted", "0.16"): ":"}
    for place, decoder in enumerate(("ridge", "likelihood")):
        for (kind, ahead), line in kinds.items():
            row = next(
                row for row in rows
                if (row["decoder"], row["look-ahead"], row["column 1"]) == (decoder, ahead, kind)
            )  # fmt: skip
            values = [to_numbers(row[column])[0] for column in seconds]
            ax.plot(
                [3, 5, 10, 20],
                values,
                line,
                color=COLORS[place],
                marker="o",
                markersize=3,
                label=f"{decoder}, {kind}",
            )
    ax.axhline(0.25, color=FAINT, linewidth=0.8)
    ax.text(28.8, 0.235, "chance", fontsize=8, color=FAINT, ha="right", va="top")
    ax.set_xlabel("seconds of evidence")
    ax.set_ylabel("accuracy, four passages")
    ax.set_ylim(0, 1)
    ax.set_xlim(2, 29)
    ax.set_xticks([3, 5, 10, 20])
    style_axes(ax)
    ax.legend(fontsize=8, loc="center right")


@draws("measured_sound", height=2.8)
def draw_sound(ax, results):
    """Draw the correlation of reconstructed spectrograms."""
    table = [row for row in read_tables("bench_sound.py")[0] if row["averaged"] == "none"]
    groups = list(dict.fromkeys(row["recordings"] for row in table))
    labels = ["ridge", "likelihood"]
    cells = {(row["recordings"], row["decoder"]): to_numbers(row["r"])[0] for row in table}
    draw_groups(ax, groups, labels, np.array([[cells[group, label] for label in labels] for group in groups]))
    ax.set_ylabel("r of 20 mel bands")
    ax.legend()


@draws("shared_machines", height=3.0)
def draw_shared_machines(ax, results):
    """Draw the rate of training by the way in which threads wait."""
    table = [row for row in read_tables("bench_shared_machine.py")[0] if row["network"] == "small"]
    columns = ["no other load", "with five to six busy processes"]
    at = np.arange(len(table))[::-1]
    for place, column in enumerate(columns):
        values = [to_numbers(row[column])[0] for row in table]
        ax.barh(at + 0.2 - 0.4 * place, values, 0.36, color=COLORS[place], label=column)
    ax.set_yticks(at, [row["environment"] for row in table], fontsize=9)
    ax.set_xlabel("windows per second, small network")
    style_axes(ax, grid="x")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=9)

"""Progress lines of a benchmark: the scores of a task and the time left.

Each line is a result that stays in a log, which a bar of tqdm would not.
"""

from __future__ import annotations

from textwrap import shorten

import numpy as np

from sk_b2s.evaluation._results._amounts import format_calibration_amounts


def format_progress(line):
    """Format the result of a finished task in one line."""
    common, cost = line["common"], line["cost"]
    name = (
        common["estimator"]
        if common["control"] == "decoder"
        else f"{common['estimator']} · {common['control']}"
    )
    minutes = format_calibration_amounts([line["about"].get("calibration_minutes", np.nan)])[0]
    prefix = f"{name}{minutes}, seed {common['seed']}, fold {common['fold']}: "
    if line["error"]:
        return f"{prefix}FAILED, {shorten(line['error'], 300)}"
    rows = [row for row in line["rows"] if row["pool"] == "all"]
    n = sum(row["n_windows"] for row in rows)
    main = line["about"].get("main_score") or "top_k"
    score, chance = (sum(row["n_windows"] * row[name] for row in rows) / n for name in (main, "chance"))
    called = f"top-{rows[0]['k']}" if main == "top_k" else main
    seconds = cost["seconds_fit"] + cost["seconds_score"]
    warned = f", warned: {shorten(cost['warnings'], 160)}" if cost["warnings"] else ""
    return f"{prefix}{called} {score:.3f} (chance {chance:.3f}), {seconds:.1f} s{warned}"


def format_progress_time_left(seconds):
    """Format the estimated time left, "" after the last task."""
    if not seconds:
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"; about {seconds / size:.0f} {unit} left"
    return f"; about {max(1, round(seconds))} s left"

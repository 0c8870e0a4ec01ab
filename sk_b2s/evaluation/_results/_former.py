"""Former names of columns and controls in results files and tables."""

from __future__ import annotations

from sk_b2s.evaluation._controls._registry import FORMER_NAMES

FORMER_COLUMNS = {
    "near": "top_1_within_500ms",
    "near_chance": "top_1_within_500ms_chance",
    "n_heard": "n_train_overlap",
    "own_minutes": "calibration_minutes_used",
    "unlabelled": "transductive_steps",
}


def upgrade_former_line(line):
    """Rename former columns and controls of a line in place."""
    if isinstance(common := line.get("common"), dict):
        common["control"] = _new_name(common.get("control"))
    rows = line["rows"] if isinstance(line.get("rows"), list) else []
    for part in [line.get("about"), *rows]:
        for former in FORMER_COLUMNS.keys() & (part if isinstance(part, dict) else {}):
            part[FORMER_COLUMNS[former]] = part.pop(former)
    plan = line.get("plan")
    work = plan.get("work") if isinstance(plan, dict) else None
    for name, controls in work.items() if isinstance(work, dict) else ():
        if isinstance(controls, dict):
            work[name] = {_new_name(control): value for control, value in controls.items()}


def refuse_former_columns(results):
    """Raise a ValueError if a table has columns of an earlier version."""
    if found := [name for name in FORMER_COLUMNS if name in results]:
        new = {name: FORMER_COLUMNS[name] for name in found}
        raise ValueError(
            f"results has the columns {found} of an earlier version of sk_b2s. Read its file again with read_results, "
            f"which renames columns, controls and verdicts. The new names are {new}."
        )


def _new_name(control):
    return FORMER_NAMES.get(control, control) if isinstance(control, str) else control

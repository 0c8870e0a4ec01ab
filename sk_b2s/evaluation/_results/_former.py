"""Former columns and controls of results files and tables."""

from __future__ import annotations

from sk_b2s.evaluation._controls._registry import FORMER_NAMES
from sk_b2s.model_selection._leakage_copies import OTHERS
from sk_b2s.model_selection._leakage_report import (
    LEAK_SOURCES,
    TEXTS,
    LeakageReportVerdict,
    unite_leakage_report_sources,
)

FORMER_COLUMNS = {
    "near": "top_1_within_500ms",
    "near_chance": "top_1_within_500ms_chance",
    "n_heard": "n_train_overlap",
    "own_minutes": "calibration_minutes_used",
    "unlabelled": "transductive_steps",
}
FORMER_SOURCES = {
    "contain sound of training": "sound of training",
    "contain a recording of training": "sound of training",
    "segments are": "segments of training",
    "share samples": "samples of training",
    "the text of": "text of training",
    OTHERS: "recordings of training",
}  # words of the text of a leak, and its source


def upgrade_former_line(line):
    """Rename former columns and controls of a line in place.

    The verdict on the leakage of a fold, formerly only a text, is added.
    """
    if isinstance(common := line.get("common"), dict):
        common["control"] = _rename_former_value(common.get("control"))
    rows = line["rows"] if isinstance(line.get("rows"), list) else []
    for part in [line.get("about"), *rows]:
        for former in FORMER_COLUMNS.keys() & (part if isinstance(part, dict) else {}):
            part[FORMER_COLUMNS[former]] = part.pop(former)
    about = line.get("about")
    if isinstance(about, dict) and isinstance(about.get("leakage"), str) and "leakage_verdict" not in about:
        about["leakage_verdict"], about["leakage_sources"] = read_former_leakage(about["leakage"])
    plan = line.get("plan")
    work = plan.get("work") if isinstance(plan, dict) else None
    for name, controls in work.items() if isinstance(work, dict) else ():
        if isinstance(controls, dict):
            work[name] = {_rename_former_value(control): value for control, value in controls.items()}


def refuse_former_columns(results):
    """Raise a ValueError if a table has columns of an earlier version."""
    if found := [name for name in FORMER_COLUMNS if name in results]:
        new = {name: FORMER_COLUMNS[name] for name in found}
        raise ValueError(
            f"results has the columns {found} of an earlier version of sk_b2s. Read its file again with read_results, "
            f"which renames columns, controls and verdicts. The new names are {new}."
        )


def read_former_leakage(text):
    """Return the verdict and the leak sources that a text stands for.

    Parameters
    ----------
    text : str
        The column ``leakage`` of a file without ``leakage_verdict``.

    Returns
    -------
    verdict : str
        Value of ``LeakageReportVerdict``.
    sources : str
        As in :func:`~sk_b2s.check_leakage`.

    Examples
    --------
    >>> read_former_leakage("LEAK: 4 segments are on both sides")
    ('leak', 'segments of training')
    """
    verdicts = [verdict for verdict, label in TEXTS.items() if text.startswith(label)]
    verdict = verdicts[0] if verdicts else LeakageReportVerdict.NOT_CHECKED
    if verdict != LeakageReportVerdict.LEAK:
        return verdict.value, ""
    named = [source for words, source in FORMER_SOURCES.items() if words in text]
    return verdict.value, ", ".join(unite_leakage_report_sources(named or LEAK_SOURCES[:1]))


def _rename_former_value(control):
    return FORMER_NAMES.get(control, control) if isinstance(control, str) else control

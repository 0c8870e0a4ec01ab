"""Validation of the lines of a results file."""

from __future__ import annotations

import base64
import math
import zlib
from numbers import Integral, Real

import numpy as np

from sk_b2s.evaluation._controls._leak_test import LeakTestOutcome
from sk_b2s.evaluation._results._former import upgrade_former_line
from sk_b2s.evaluation._scores import OPTIONAL_COLUMNS, SCORE_COLUMNS, SCORES
from sk_b2s.model_selection._leakage_report import LeakageReportVerdict

MAX_BYTES = 2**26, 64  # of the arrays of a line, and per character of it
NAME = object  # text or number, as in tables of users
TEXTS, AMOUNTS = ("cv", "leakage", "leakage_verdict", "leakage_sources", "transductive_steps", "task", "main_score"), (
    "n_train_overlap", "train_seconds", "calibration_minutes", "calibration_minutes_used",
    "n_without_candidates",
)  # fmt: skip


def pack_result_line_array(array):
    """Convert an array to a dict of its shape and compressed values."""
    content = base64.b64encode(zlib.compress(np.ascontiguousarray(array, "<f8").tobytes())).decode()
    return {"shape": array.shape, "f8": content}


def unpack_result_line_array(item):
    """Convert the dict of :func:`pack_result_line_array` to an array.

    At most the size of its shape is decompressed. Raises a ValueError if the
    values are more or fewer.
    """
    size = _get_max_line_value(item)
    content = zlib.decompressobj().decompress(base64.b64decode(item["f8"]), size + 1)
    if len(content) != size:
        raise ValueError(f"an array of shape {item['shape']} does not have {size} bytes.")
    return np.frombuffer(content, "<f8").reshape(item["shape"])


def _get_max_line_value(item):
    shape = item["shape"]
    if not all(_is_line_value(Integral, n) and n >= 0 for n in shape):
        raise ValueError(f"an array has the shape {str(shape)[:40]}.")
    return 8 * math.prod(shape)


def _is_line_value(kind, value):
    """Return whether a value has a type, is not a bool and not too large."""
    if kind is NAME:
        return isinstance(value, str) or value is None or _is_line_value(Real, value)
    if kind in (str, dict):
        return isinstance(value, kind)
    if not isinstance(value, kind) or isinstance(value, bool):
        return False
    return abs(value) < 2**63 if kind is Integral else not abs(value) > 1e300 or math.isinf(value)


def find_line_problem(line):
    """Return why a line is not a result of :func:`~sk_b2s.benchmark`.

    Former names of columns and controls are renamed in place first.

    Parameters
    ----------
    line : dict
        Parsed from JSON.

    Returns
    -------
    problem : str or None
        None if the line is valid.
    """
    upgrade_former_line(line)
    try:
        for name, kinds in LINE.items():
            if name not in line:
                return f"it has no {name!r}"
            if not isinstance(line[name], kinds):
                return f"its {name!r} is a {type(line[name]).__name__}"
        return (
            _find_line_problem("common", line["common"], COMMON)
            or _find_line_problem("cost", line["cost"], COSTS)
            or _find_line_problem("about", line["about"], {}, ABOUT)
            or _find_problem_of_choices(line["about"])
            or _find_problem_of_rows(line["rows"], bool(line["error"]))
            or _find_problem_of_outcome(line["outcome"])
            or _find_line_problem(
                "line", line, {"made": dict} if "made" in line else {}, {"plan": dict, "details": dict}
            )
        )
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, zlib.error) as error:
        return f"{type(error).__name__}: {error}"[:200]


LINE = {
    "key": str, "common": dict, "about": dict, "cost": dict, "rows": list, "outcome": (dict, type(None)), "error": str,
}  # fmt: skip
COMMON = {"estimator": str, "control": str, "seed": Integral, "fold": Integral, "n_train": Integral}
COSTS = {
    **dict.fromkeys(("seconds_fit", "seconds_score", "peak_memory_mb", "written"), Real), "versions": str, "warnings": str,
}  # fmt: skip
ABOUT = {"place": Integral, **dict.fromkeys(TEXTS, str), **dict.fromkeys(AMOUNTS, Real)}
ROW = {**dict.fromkeys(("study", "subject", "condition"), NAME), "pool": str, "n_windows": Integral}
SCORED = {
    **{name: Real for name in SCORE_COLUMNS if name not in OPTIONAL_COLUMNS}, "k": Integral, "n_candidates": Integral,
}  # fmt: skip
OF_TASK = dict.fromkeys(OPTIONAL_COLUMNS, Real)
RECORD = {
    **dict.fromkeys(("subject", "recording"), NAME),
    **dict.fromkeys(("n", "top_1", "top_k", "chance", "n_candidates"), Real),
}


def _find_line_problem(where, found, needed, optional=None):
    """Return the problem of the values of a dict, or None.

    Optional values may be missing or None.
    """
    if not isinstance(found, dict):
        return f"its {where} have no names, got {str(found)[:40]!r}"
    for name, kind in needed.items():
        if name not in found or not (
            isinstance(found[name], kind) if kind is dict else _is_line_value(kind, found[name])
        ):
            return f"its {where} have no {name!r} of type {kind.__name__}, got {str(found.get(name))[:40]!r}"
    for name, kind in (optional or {}).items():
        value = found.get(name)
        if value is not None and not _is_line_value(kind, value):
            return f"its {where} have {name!r} = {str(value)[:40]!r}"
    return None


def _find_problem_of_choices(about):
    """Return the problem of the main score or the leak verdict, or None."""
    for column, known in (("main_score", SCORES), ("leakage_verdict", list(LeakageReportVerdict))):
        if (name := about.get(column)) is not None and name not in known:
            return f"its {column} {name[:40]!r} is unknown"
    return None


def _find_problem_of_rows(rows, failed):
    """Return the problem of the rows, which have no scores if a fit failed."""
    if not rows:
        return "it has no rows"
    problems = (
        _find_line_problem("rows", row, ROW if failed else {**ROW, **SCORED}, OF_TASK) for row in rows
    )
    problem = next(filter(None, problems), None)
    if problem is None and not any(row["pool"] == "all" and row["n_windows"] > 0 for row in rows):
        return "it has no row of all candidates"
    return problem


def _find_problem_of_outcome(outcome):
    """Return the problem of the arrays of a control, or None."""
    if outcome is None:
        return None
    if outcome.get("separate") is not None:
        if "separate" in outcome["separate"]:
            return "its separate windows have separate windows"
        if problem := _find_problem_of_outcome(outcome["separate"]):
            return problem
    arrays = [record[name] for record in outcome["records"] for name in ("null", "relative")]
    arrays += [hits for _, hits in outcome["across"]]
    n_characters = sum(len(item["f8"]) for item in arrays)
    if sum(map(_get_max_line_value, arrays)) > MAX_BYTES[0] + MAX_BYTES[1] * n_characters:
        return f"its arrays would have {sum(map(_get_max_line_value, arrays)) / 1e6:.0f} MB"
    for item in arrays:
        unpack_result_line_array(item)
    lengths = {tuple(record["null"]["shape"]) for record in outcome["records"]}
    for names, hits in outcome["across"]:
        if not all(isinstance(name, str) for name in names) or tuple(hits["shape"]) != (
            len(names),
            len(names),
        ):
            return "its hits across recordings are not square"
    if len(lengths) != 1 or not all(len(record["relative"]["shape"]) == 1 for record in outcome["records"]):
        return "its nulls are not of one length"
    problems = (_find_line_problem("records", record, RECORD) for record in outcome["records"])
    return _find_line_problem("outcome", outcome, {"n_left_out": Integral}) or next(
        filter(None, problems), None
    )


def format_result_line_outcome(outcome):
    """Convert a LeakTestOutcome to a dict for JSON."""
    records = [
        {
            key: pack_result_line_array(value) if isinstance(value, np.ndarray) else value
            for key, value in record.items()
        }
        for record in outcome.records
    ]
    across = [[list(names), pack_result_line_array(hits)] for names, hits in outcome.across]
    line = {"records": records, "across": across, "n_left_out": outcome.n_left_out}
    if outcome.is_correlation:
        line["is_correlation"] = True
    if outcome.separate is not None:
        line["separate"] = format_result_line_outcome(outcome.separate)
    return line


def parse_result_line_outcome(outcome):
    """Convert a dict of a line to a LeakTestOutcome."""
    arrays = ("null", "relative")
    records = [
        {key: unpack_result_line_array(value) if key in arrays else value for key, value in record.items()}
        for record in outcome["records"]
    ]
    across = [(tuple(names), unpack_result_line_array(hits)) for names, hits in outcome["across"]]
    separate = outcome.get("separate")
    separate = None if separate is None else parse_result_line_outcome(separate)
    is_correlation = outcome.get("is_correlation") is True
    return LeakTestOutcome(
        records, across, outcome["n_left_out"], separate=separate, is_correlation=is_correlation
    )

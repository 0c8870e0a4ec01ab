"""Sections of a report on its origin: methods, command, parameters, table."""

from __future__ import annotations

import pandas as pd

from sk_b2s._utils._versions import get_versions
from sk_b2s.evaluation._results._plan import read_plan
from sk_b2s.reporting._appendix_sections import show_parameters_in_appendix_section
from sk_b2s.reporting._detail_sections import select_detail_for_sections
from sk_b2s.reporting._html import (
    group_html_blocks,
    make_html_download,
    make_html_heading,
    make_html_items,
    make_html_paragraph,
    pair_html_blocks,
)
from sk_b2s.reporting._methods import generate_methods_text

LONG = (
    "plan",
    "details",
    "parameters",
    "features",
    "machine",
    "key",
    "warnings",
    "leakage",
)  # not in the table
MAX_CSV = 2_000_000  # characters


def show_provenance(results, cv):
    """Show methods text, command, table, parameters and versions."""
    methods = [
        make_html_heading("Methods text"),
        {
            "kind": "quote",
            "texts": generate_methods_text(results.dropna(axis=1, how="all"), cv).split("\n\n"),
        },
    ]
    yield pair_html_blocks(group_html_blocks(*methods), group_html_blocks(*_show_provenance_origin(results)))
    yield from show_parameters_in_appendix_section(results)


def _show_provenance_origin(results):
    """Show the command, the table of results and the versions."""
    yield make_html_heading("How to repeat it")
    if command := select_detail_for_sections(results, "command"):
        yield make_html_paragraph("Results were made by this command:")
        yield {"kind": "code", "words": command.split(" ")}  # lines do not end within an option
    elif call := _write_call(results):
        yield make_html_paragraph("Results were made by this call, with the parameters below:")
        yield {"kind": "code", "text": call}
    else:
        yield make_html_paragraph("The results do not contain the call that made them.")
    text = results.drop(columns=[name for name in LONG if name in results]).to_csv(index=False)
    if len(text) <= MAX_CSV:
        label = (
            f"Download the table of scores, {len(results)} rows (CSV, {max(1, round(len(text) / 1000))} kB)"
        )
        yield make_html_download(text, "scores.csv", label)
    versions = [str(text) for text in pd.unique(results["versions"].dropna()) if text]
    own = get_versions()
    yield make_html_paragraph("Versions of the results, then of this page:")
    yield make_html_items([*versions, f"report: sk_b2s {own.get('sk_b2s', '')}"], code=True)


def _write_call(results):
    """Write the call of benchmark from its plan, "" without one."""
    plans = [read_plan(text) for text in pd.unique(results["plan"].dropna())]
    plan = next((plan for plan in plans if plan and "work" in plan), None)
    if plan is None:
        return ""
    settings = plan["settings"]
    names, seeds = list(plan["work"]), sorted({int(seed) for seed in results["seed"].dropna()})
    arguments = [f"{{{', '.join(f'{name!r}: ...' for name in names)}}}", "X", "y"]
    cv = plan["cv"].partition(" (")[0] or None
    arguments += [f"cv={cv}"] * (cv is not None) + [f"seeds={seeds}"]
    arguments += [
        f"{name}={settings[name]!r}" for name in ("k", "n_candidates", "n_shifts") if name in settings
    ]
    return f"benchmark({', '.join(arguments)})"

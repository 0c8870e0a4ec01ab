"""Rows of a benchmark that outlive it: one JSON object a line, appended as soon as it is there."""

import json
from pathlib import Path


def name_of(key):
    """Spell out what a row depends on, the same whatever the order: str."""
    return json.dumps(key, sort_keys=True)


def read_rows(path):
    """Rows by the spelling of their ``key``; empty where the file is not there yet."""
    path = Path(path)
    lines = path.read_text().splitlines() if path.exists() else []
    return {name_of(row["key"]): row for row in map(json.loads, lines)}


def append_row(path, key, **values):
    """Write one row at the end, and return it."""
    row = {"key": key, **values}
    with Path(path).open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row

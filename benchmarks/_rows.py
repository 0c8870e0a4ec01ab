"""Append rows of a benchmark to a JSON Lines file as soon as they exist."""

import json
from pathlib import Path


def name_of(key):
    """Format the settings of a row as text, independent of their order."""
    return json.dumps(key, sort_keys=True)


def read_rows(path):
    """Read rows by the text of their ``key``, none if the file is missing."""
    path = Path(path)
    lines = path.read_text().splitlines() if path.exists() else []
    return {name_of(row["key"]): row for row in map(json.loads, lines)}


def append_row(path, key, **values):
    """Append a row to the file and return it."""
    row = {"key": key, **values}
    with Path(path).open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row

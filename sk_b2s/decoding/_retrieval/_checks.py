"""Checks of the tables of retrieval results."""

from __future__ import annotations

import pandas as pd


def check_retrieval_columns(columns, table, purpose):
    """Raise if a table lacks columns."""
    if missing := [column for column in columns if column not in table]:
        raise ValueError(
            f"{purpose}, but columns {missing} are missing. Pass X and y as returned by make_segments, or Windows "
            f"with these columns in rows."
        )


def count_windows_for_retrieval_checks(rows, table):
    """Count the windows of a table that another one contains."""
    keys = [name for name in ("subject", "recording", "onset") if name in rows]
    if "study" in rows and "study" in table:
        keys = ["study", *keys]
        rows, table = (one.assign(study=one["study"].astype(object).fillna("")) for one in (rows, table))
    if "onset" not in keys or not set(keys) <= set(table):
        return 0
    own, other = (pd.MultiIndex.from_frame(one[keys]) for one in (rows, table))
    return int(own.isin(other).sum())


def check_other_retrieval_windows(result, reference, owner):
    """Raise if a reference contains windows of this result."""
    n_shared = (
        len(result.rows)
        if reference is result
        else count_windows_for_retrieval_checks(result.rows, reference.rows)
    )
    if n_shared:
        raise ValueError(
            f"The 'reference' parameter of {owner} must contain other windows than those that are scored. It contains "
            f"{n_shared} of {len(result.rows)}. Use results.select(...) of other stimuli, such as training blocks."
        )

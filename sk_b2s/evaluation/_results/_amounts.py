"""Calibration minutes in results tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

AMOUNT = "calibration_minutes"  # column of results


def amounts_in(results):
    """Return the column of calibration minutes if it has several values.

    Scores are never averaged over amounts of calibration.

    Returns
    -------
    columns : list of str
        ``["calibration_minutes"]`` or an empty list.
    """
    return [AMOUNT] if AMOUNT in results and results[AMOUNT].nunique(dropna=False) > 1 else []


def select_amount(results):
    """Select the rows of the first amount of calibration if there are several.

    All amounts have the same test windows.
    """
    return results[results[AMOUNT] == results[AMOUNT].iloc[0]] if amounts_in(results) else results


def format_calibration_amounts(amounts):
    """Format calibration minutes as suffixes of labels.

    Parameters
    ----------
    amounts : array-like of float
        Minutes. Infinity is all, NaN is without calibration.

    Returns
    -------
    suffixes : list of str

    Examples
    --------
    >>> format_calibration_amounts([0.5, np.inf, np.nan])
    [', 0.5 min', ', all minutes', '']
    """
    names = {np.inf: ", all minutes"}
    return ["" if pd.isna(minutes) else names.get(minutes, f", {minutes:g} min") for minutes in amounts]

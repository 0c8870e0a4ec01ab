"""Calibration minutes in results tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

AMOUNT = "calibration_minutes"  # column of results


# --- in tables of results ------------------------------------------------------------------------------


def amounts_in(results):
    """Name the column of amounts of calibration where there are several, which are never averaged over.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)

    Returns
    -------
    columns : list of str
        ``["calibration_minutes"]`` or nothing.
    """
    return [AMOUNT] if AMOUNT in results and results[AMOUNT].nunique(dropna=False) > 1 else []


def select_amount(results):
    """Rows of one amount of calibration, where there are several that were asked the same.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)

    Returns
    -------
    results : DataFrame
        Of the first amount that there is.
    """
    return results[results[AMOUNT] == results[AMOUNT].iloc[0]] if amounts_in(results) else results


def format_minutes(amounts):
    """Say amounts of calibration, to stand behind the name of an estimator.

    Parameters
    ----------
    amounts : array-like of float
        Minutes; infinity is all, NaN none asked for.

    Returns
    -------
    said : list of str

    Examples
    --------
    >>> format_minutes([0.5, np.inf, np.nan])
    [', 0.5 min', ', all minutes', '']
    """
    names = {np.inf: ", all minutes"}
    return ["" if pd.isna(minutes) else names.get(minutes, f", {minutes:g} min") for minutes in amounts]

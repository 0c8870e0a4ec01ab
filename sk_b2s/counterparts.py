"""Counterparts of an experiment: the same decoder on noise, on other features, on sound moved in time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn import get_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import has_fit_parameter

from sk_b2s.candidates import distinct_segments
from sk_b2s.epocher import Epocher
from sk_b2s.model_selection import GUARD, table_of
from sk_b2s.preprocessing import FeatureScaler
from sk_b2s.stimuli import digests
from sk_b2s.tables import recordings_of
from sk_b2s.windows import Windows

__all__ = [
    "calibration_params",
    "clear_of_brain",
    "decoder_of",
    "in_the_place_of",
    "moved",
    "shift_pairs",
    "with_noise",
    "with_speech",
]

LEAST_SHIFT = 10.0  # s, of sound against brain

# --- taking an estimator apart ---------------------------------------------------------------------


def decoder_of(estimator):
    """Find the decoder at the end of a pipeline, or within a search or calibration.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    decoder : estimator
    prefix : str
        What stands before its parameters' names in ``set_params``: "encoder__", say.

    Raises
    ------
    TypeError
        If the last step is no decoder.
    """
    prefix = ""
    while True:
        if isinstance(estimator, Pipeline):
            prefix, estimator = f"{prefix}{estimator.steps[-1][0]}__", estimator.steps[-1][1]
        elif hasattr(getattr(estimator, "estimator", None), "fit"):
            prefix, estimator = f"{prefix}estimator__", estimator.estimator
        elif hasattr(estimator, "ranks"):
            return estimator, prefix
        else:
            raise TypeError(
                f"a decoder is needed, such as BrainEncoder or RidgeDecoder, or a Pipeline or search that ends in one; "
                f"got {type(estimator).__name__}."
            )


def calibration_params(estimator, calibration):
    """Parameters of ``fit`` that tell an estimator which training rows are of whom it will be asked about.

    Parameters
    ----------
    estimator : estimator
        One whose ``fit`` takes ``calibration``, or a Pipeline or search that ends in one; others get nothing.
    calibration : ndarray of bool of shape (n_windows,)

    Returns
    -------
    params : dict
    """
    prefix = ""
    while not has_fit_parameter(estimator, "calibration"):
        if isinstance(estimator, Pipeline):
            prefix, estimator = f"{prefix}{estimator.steps[-1][0]}__", estimator.steps[-1][1]
        elif hasattr(getattr(estimator, "estimator", None), "fit"):
            estimator = estimator.estimator
        else:
            return {}
    routed = get_config()["enable_metadata_routing"]
    return {"calibration" if routed else f"{prefix}calibration": calibration}


def with_noise(estimator, noise):
    """Insert a step right after the Epocher of a pipeline, within a search too.

    Parameters
    ----------
    estimator : estimator
        Not changed.
    noise : SurrogateBrain

    Returns
    -------
    estimator : estimator
        A clone with one more step.

    Raises
    ------
    ValueError
        If there is no Epocher.
    """
    estimator = clone(estimator)
    if not _insert(estimator, noise):
        raise ValueError(
            "X is a table, and surrogate input takes the place of the recordings right after an Epocher, but the "
            f"estimator has none: {type(estimator).__name__}. Give X as Windows, or put an Epocher into the Pipeline."
        )
    return estimator


def _insert(estimator, noise):
    if isinstance(estimator, Pipeline):
        for place, (_, step) in enumerate(estimator.steps):
            if isinstance(step, Epocher):
                estimator.steps.insert(place + 1, ("surrogate_brain", noise))
                return True
            if _insert(step, noise):
                return True
        return False
    inner = getattr(estimator, "estimator", None)
    return inner is not None and _insert(inner, noise)


def with_speech(estimator, speech):
    """Give the decoder of a pipeline or search other speech features.

    Parameters
    ----------
    estimator : estimator
        Not changed.
    speech : estimator

    Returns
    -------
    estimator : estimator
        A clone; what a search would have tried for the features it had is left out of its grid.
    """
    estimator = clone(estimator)
    name = decoder_of(estimator)[1] + "speech"
    for grid in ("param_grid", "param_distributions"):
        if hasattr(estimator, grid):
            inner = name.removeprefix("estimator__")
            given = getattr(estimator, grid)
            grids = [given] if isinstance(given, dict) else given
            kept = [
                {key: value for key, value in g.items() if key != inner and not key.startswith(f"{inner}__")}
                for g in grids
            ]
            estimator.set_params(**{grid: kept[0] if isinstance(given, dict) else kept})
    return estimator.set_params(**{name: speech})


def in_the_place_of(speech, feature):
    """Chain a feature and a scaler, at the rate and with the memory of the features that a decoder has.

    Parameters
    ----------
    speech : estimator
        What the decoder has.
    feature : estimator
        What is to stand there; it is changed.

    Returns
    -------
    speech : Pipeline
    """
    for name, value in speech.get_params().items():
        last = name.rsplit("__", 1)[-1]
        if last in ("sfreq", "memory") and value is not None:
            feature.set_params(**{last: value})
    return make_pipeline(feature, FeatureScaler())


# --- moving what was heard against what the brain did -----------------------------------------------


def shift_pairs(rows, y, random_state=None, least=LEAST_SHIFT):
    """Move what was heard circularly along each recording, so that no window keeps sound of its own.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        ``recording, onset, duration`` of each window, and ``subject`` where there are several.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        What was heard.
    random_state : None, int or RandomState, default=None
        Draws one shift for each recording, in windows, among those that move every window by ``least``
        seconds or more, in the recording and where it is the same sound in the sound.
    least : float, default=10
        In seconds; at least a window in any case.

    Returns
    -------
    order : ndarray of int of shape (n_windows,)
        The row of ``y`` that window i gets.

    Raises
    ------
    ValueError
        If a recording is too short, or repeats its sound so often that there is no such shift.
    """
    random = check_random_state(random_state)
    onset, recording = rows["onset"].to_numpy(float), recordings_of(rows)
    least = max(least, float(rows["duration"].max()))
    segment, table = distinct_segments(y).target, table_of(y)
    has_sound = table is not None and {"sound", "sound_onset"} <= set(table.columns)
    sound = pd.factorize(digests(table["sound"]))[0] if has_sound else segment
    place = table["sound_onset"].to_numpy(float) if has_sound else np.zeros(len(rows))
    order = np.arange(len(rows))
    for name in pd.unique(recording):
        own = np.flatnonzero(recording == name)
        own = own[np.argsort(onset[own], kind="stable")]
        t, heard, at = onset[own], sound[own], place[own]
        possible = []
        for shift in range(1, len(own)):
            far = abs(np.roll(t, -shift) - t) >= least
            other = (np.roll(heard, -shift) != heard) | (abs(np.roll(at, -shift) - at) >= least)
            if (far & other).all() and (np.roll(segment[own], -shift) != segment[own]).all():
                possible.append(shift)
        if not possible:
            raise ValueError(
                f"shifted pairing: the {len(own)} windows of recording {rows['recording'].iloc[own[0]]!r} cannot be "
                f"moved by {least:g} s or more without meeting their own sound again: it is too short or repeats "
                f"itself. Leave 'shifted pairing' out of controls, or take longer recordings."
            )
        order[own] = np.roll(own, -random.choice(possible))
    return order


def moved(y, order):
    """Put the rows of y in another order, under the old index, which says whose they are now.

    Parameters
    ----------
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
    order : ndarray of int of shape (n_windows,)

    Returns
    -------
    y : as given
    """
    other = _safe_indexing(y, order)
    if isinstance(y, Windows) and y.rows is not None:
        other.rows = other.rows.set_axis(y.rows.index)
    return other.set_axis(y.index) if isinstance(y, pd.DataFrame) else other


def clear_of_brain(rows, train, test, guard=GUARD):
    """Keep the training rows whose brain window stays clear of all test windows of its recording.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        ``recording, onset, duration`` of each window, and ``subject`` where there are several.
    train, test : ndarray of int
        Rows.
    guard : float, default=1.0
        Seconds of the recording that must lie between.

    Returns
    -------
    train : ndarray of int
        The rows kept.
    """
    onset, recording = rows["onset"].to_numpy(float), recordings_of(rows)
    reach = float(rows["duration"].max()) + guard
    near = np.zeros(len(train), bool)
    for name in pd.unique(recording[test]):
        at = np.sort(onset[test[recording[test] == name]])
        mine = np.flatnonzero(recording[train] == name)
        t = onset[train[mine]]
        after = np.searchsorted(at, t)
        gap = np.minimum(abs(at[np.minimum(after, len(at) - 1)] - t), abs(at[np.maximum(after - 1, 0)] - t))
        near[mine] = gap < reach - 1e-9
    return train[~near]

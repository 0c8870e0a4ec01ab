"""Inputs of control analyses: noise, other features, shifted pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import _safe_indexing, check_random_state

from sk_b2s._utils._estimators import iter_nested_estimators, list_decoders_in_estimator
from sk_b2s._utils._validation import PERMUTED, get_validated_recordings, validate_table
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.events._intervals import GAP
from sk_b2s.events._stimuli import digest_stimuli
from sk_b2s.preprocessing._epocher._epocher import Epocher
from sk_b2s.preprocessing._scalers import FeatureScaler
from sk_b2s.preprocessing._windows._windows import Windows

MIN_SHIFT = 10.0  # s, of the stimulus against the recording


def make_control_noise_inputs(estimator, noise):
    """Return a clone with a step right after each Epocher.

    Parameters
    ----------
    estimator : estimator
        A Pipeline, a search over one, or an ensemble of them.
    noise : SurrogateRecordings

    Returns
    -------
    estimator : estimator

    Raises
    ------
    ValueError
        If the estimator has no Epocher.
    """
    estimator = clone(estimator)
    if not _insert_control_noise(estimator, noise):
        raise ValueError(
            f"X is a table, so surrogate recordings are inserted right after an Epocher, but {type(estimator).__name__} "
            f"has no Epocher. Pass X as Windows, or add an Epocher to the Pipeline."
        )
    return estimator


def _insert_control_noise(estimator, noise):
    """Insert a step in place, and return whether there is an Epocher."""
    has_epocher = False
    for part in list(iter_nested_estimators(estimator)):
        steps = part.steps if isinstance(part, Pipeline) else []
        if places := [place for place, (_, step) in enumerate(steps) if isinstance(step, Epocher)]:
            steps.insert(places[0] + 1, ("surrogate_recordings", clone(noise)))
            has_epocher = True
    return has_epocher


def make_control_speech_inputs(estimator, speech):
    """Return a clone with other speech features.

    Parameters
    ----------
    estimator : estimator
        A decoder, or a Pipeline or search that ends in one.
    speech : estimator

    Returns
    -------
    estimator : estimator
        Values that a search would try for the former features are removed from
        its grid.
    """
    estimator = clone(estimator)
    names = [f"{prefix}speech" for _, prefix in list_decoders_in_estimator(estimator)]
    for grid in ("param_grid", "param_distributions"):
        if hasattr(estimator, grid):
            inner = tuple(name.removeprefix("estimator__") for name in names)
            nested = tuple(f"{name}__" for name in inner)
            given = getattr(estimator, grid)
            grids = [given] if isinstance(given, dict) else given
            kept = [
                {key: value for key, value in g.items() if key not in inner and not key.startswith(nested)}
                for g in grids
            ]
            estimator.set_params(**{grid: kept[0] if isinstance(given, dict) else kept})
    return estimator.set_params(**{name: clone(speech) for name in names})


def make_control_input_features(speech, feature):
    """Make a pipeline of a feature and a scaler in place of other features.

    Parameters
    ----------
    speech : estimator
        Features of the decoder, whose ``sfreq`` and ``memory`` are used.
    feature : estimator
        Replacement. Modified in place.

    Returns
    -------
    speech : Pipeline
    """
    for name, value in speech.get_params().items():
        last = name.rsplit("__", 1)[-1]
        if last in ("sfreq", "memory") and value is not None:
            feature.set_params(**{last: value})
    return make_pipeline(feature, FeatureScaler())


# --- shifted pairs -----------------------------------------------------------------------------------


def shift_control_inputs(rows, y, random_state=None, min_shift=MIN_SHIFT):
    """Shift stimuli circularly within each recording.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        ``recording, onset, duration`` of each window, and ``subject`` if there
        are several.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimuli of the windows.
    random_state : None, int or RandomState, default=None
        Draws one shift per recording, in windows, among those that shift every
        window by at least ``min_shift`` in the recording, and in the stimulus
        if it is the same one.
    min_shift : float, default=10
        Seconds, at least the duration of a window.

    Returns
    -------
    order : ndarray of int of shape (n_windows,)
        Row of ``y`` for each window.

    Raises
    ------
    ValueError
        If no shift of a recording is possible.
    """
    random = check_random_state(random_state)
    onset, recording = rows["onset"].to_numpy(float), get_validated_recordings(rows)
    min_shift = max(min_shift, float(rows["duration"].max()))
    segment, table = find_distinct_candidates(y).target, validate_table(y)
    has_sound = table is not None and {"sound", "sound_onset"} <= set(table.columns)
    sound = pd.factorize(digest_stimuli(table["sound"]))[0] if has_sound else segment
    place = table["sound_onset"].to_numpy(float) if has_sound else np.zeros(len(rows))
    order = np.arange(len(rows))
    for name in pd.unique(recording):
        own = np.flatnonzero(recording == name)
        own = own[np.argsort(onset[own], kind="stable")]
        times, own_sound, at = onset[own], sound[own], place[own]
        possible = []
        for shift in range(1, len(own)):
            far = abs(np.roll(times, -shift) - times) >= min_shift
            other = (np.roll(own_sound, -shift) != own_sound) | (abs(np.roll(at, -shift) - at) >= min_shift)
            if (far & other).all() and (np.roll(segment[own], -shift) != segment[own]).all():
                possible.append(shift)
        if not possible:
            raise ValueError(
                f"Control 'shifted_labels': no circular shift of recording {rows['recording'].iloc[own[0]]!r} by "
                f"{min_shift:g} s or more pairs all its {len(own)} windows with other stimuli, because it is too short or "
                f"repeats its stimuli. Remove 'shifted_labels' from controls, or use longer recordings."
            )
        order[own] = np.roll(own, -random.choice(possible))
    return order


def permute_control_inputs(y, order):
    """Return the rows of y in another order under the same index.

    They are marked, so that they are not rejected as out of step with X.
    """
    other = _safe_indexing(y, order)
    if isinstance(y, Windows) and y.rows is not None:
        other.rows = other.rows.set_axis(y.rows.index)
        other.rows.attrs[PERMUTED] = True
    elif isinstance(y, pd.DataFrame):
        other = other.set_axis(y.index)
        other.attrs[PERMUTED] = True
    return other


def exclude_shared_control_inputs(rows, train, test, gap=GAP):
    """Exclude training windows close to a test window of their recording.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        ``recording, onset, duration`` of each window, and ``subject`` if there
        are several.
    train, test : ndarray of int
        Rows.
    gap : float, default=1.0
        Minimum seconds of the recording between training and test windows.

    Returns
    -------
    train : ndarray of int
        The remaining rows.
    """
    onset, recording = rows["onset"].to_numpy(float), get_validated_recordings(rows)
    reach = float(rows["duration"].max()) + gap
    near = np.zeros(len(train), bool)
    for name in pd.unique(recording[test]):
        at = np.sort(onset[test[recording[test] == name]])
        own = np.flatnonzero(recording[train] == name)
        times = onset[train[own]]
        after = np.searchsorted(at, times)
        following, preceding = at[np.minimum(after, len(at) - 1)], at[np.maximum(after - 1, 0)]
        near[own] = np.minimum(abs(following - times), abs(preceding - times)) < reach - 1e-9
    return train[~near]

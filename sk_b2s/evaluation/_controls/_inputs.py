"""Inputs of control analyses: noise, other features, shifted pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import _safe_indexing, check_random_state

from sk_b2s._utils._estimators import find_decoder, iter_parts
from sk_b2s._utils._validation import recordings_of, table_of
from sk_b2s.decoding._candidates import find_distinct_segments
from sk_b2s.events._intervals import GAP
from sk_b2s.events._stimuli import digest_stimuli
from sk_b2s.preprocessing._epocher import Epocher
from sk_b2s.preprocessing._scalers import FeatureScaler
from sk_b2s.preprocessing._windows import Windows

LEAST_SHIFT = 10.0  # s, of sound against brain


def with_noise(estimator, noise):
    """Insert a step right after the Epocher of a pipeline, within a search too.

    Parameters
    ----------
    estimator : estimator
        Not changed.
    noise : SurrogateRecordings

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
    if not _insert_after_epocher(estimator, noise):
        raise ValueError(
            "X is a table, and surrogate input takes the place of the recordings right after an Epocher, but the "
            f"estimator has none: {type(estimator).__name__}. Give X as Windows, or put an Epocher into the Pipeline."
        )
    return estimator


def _insert_after_epocher(estimator, noise):
    """Insert a step after the first Epocher of an unfitted estimator, in place, and return whether there is one."""
    for part in iter_parts(estimator):
        for place, (_, step) in enumerate(part.steps if isinstance(part, Pipeline) else ()):
            if isinstance(step, Epocher):
                part.steps.insert(place + 1, ("surrogate_brain", noise))
                return True
    return False


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
    name = find_decoder(estimator)[1] + "speech"
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


def replacement_features(speech, feature):
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
    segment, table = find_distinct_segments(y).target, table_of(y)
    has_sound = table is not None and {"sound", "sound_onset"} <= set(table.columns)
    sound = pd.factorize(digest_stimuli(table["sound"]))[0] if has_sound else segment
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
                f"itself. Leave 'shifted_labels' out of controls, or take longer recordings."
            )
        order[own] = np.roll(own, -random.choice(possible))
    return order


def reorder_rows(y, order):
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


def exclude_shared_samples(rows, train, test, gap=GAP):
    """Keep the training rows whose brain window stays clear of all test windows of its recording.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        ``recording, onset, duration`` of each window, and ``subject`` where there are several.
    train, test : ndarray of int
        Rows.
    gap : float, default=1.0
        Seconds of the recording that must lie between.

    Returns
    -------
    train : ndarray of int
        The rows kept.
    """
    onset, recording = rows["onset"].to_numpy(float), recordings_of(rows)
    reach = float(rows["duration"].max()) + gap
    near = np.zeros(len(train), bool)
    for name in pd.unique(recording[test]):
        at = np.sort(onset[test[recording[test] == name]])
        mine = np.flatnonzero(recording[train] == name)
        t = onset[train[mine]]
        after = np.searchsorted(at, t)
        gap = np.minimum(abs(at[np.minimum(after, len(at) - 1)] - t), abs(at[np.maximum(after - 1, 0)] - t))
        near[mine] = gap < reach - 1e-9
    return train[~near]

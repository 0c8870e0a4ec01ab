"""Trials of eelbrain."""

from __future__ import annotations

import numpy as np


def convert_eelbrain_trials(responses, predictors):
    """Convert NDVars: parameters of Windows.from_trials."""
    for name, trials in (("responses", responses), ("predictors", predictors)):
        _check_ndvars(trials, name)
    is_one = hasattr(responses, "get_data")
    if is_one:  # predictors as in boosting()
        parts = [predictors] if hasattr(predictors, "get_data") else list(predictors)
        has_case = _has_ndvar_dimension(responses, "case")
        for part in parts:
            if _has_ndvar_dimension(part, "case") != has_case:
                raise ValueError(
                    "responses and predictors must both have the dimension case, or neither of them."
                )
        responses = _split_ndvar_cases(responses)
        parts = [_split_ndvar_cases(part) for part in parts]
        trials = [list(trial) for trial in zip(*parts, strict=False)]
        if any(len(part) != len(responses) for part in parts):
            raise ValueError(
                f"responses and predictors must have the same cases. Got {len(responses)} and {[len(p) for p in parts]}."
            )
    else:
        responses = list(responses)
        trials = [[part] if hasattr(part, "get_data") else list(part) for part in predictors]
        if len(trials) != len(responses):
            raise ValueError(
                f"predictors must have one NDVar or list of NDVar for each of {len(responses)} responses. Got "
                f"{len(trials)}."
            )
    pairs = [
        _convert_ndvar_trial(index, *pair) for index, pair in enumerate(zip(responses, trials, strict=True))
    ]
    sensor = responses[0].sensor
    found = {
        "responses": [response for response, _ in pairs], "stimuli": [stimulus for _, stimulus in pairs],
        "sfreq": 1 / float(responses[0].time.tstep), "ch_names": [str(name) for name in sensor.names],
    }  # fmt: skip
    if (positions := _project_ndvar_sensors(sensor)) is not None:
        found["positions"] = positions
    return found


def _check_ndvars(trials, name):
    """Raise if an entry is not an NDVar or a list of them."""
    if hasattr(trials, "get_data"):
        return
    if not isinstance(trials, (list, tuple)):
        raise TypeError(
            f"{name} must be a NDVar of eelbrain or a list of them. Got {type(trials).__name__}. For arrays, use "
            f"Windows.from_trials(responses, stimuli, sfreq)."
        )
    for part in trials:
        _check_ndvars(part, name)


def _has_ndvar_dimension(part, name):
    """Return whether an NDVar has a dimension."""
    return part.has_case if name == "case" else part.has_dim(name)


def _split_ndvar_cases(part):
    """Return the cases of an NDVar, or a list of one."""
    return [part[index] for index in range(len(part))] if part.has_case else [part]


def _convert_ndvar_trial(index, response, predictors):
    """Return response and features of a trial, cut to their common times."""
    for name, part, needed in [
        ("responses", response, ("time", "sensor")),
        *(("predictors", p, ("time",)) for p in predictors),
    ]:
        if missing := [dim for dim in needed if not part.has_dim(dim)]:
            raise ValueError(
                f"Trial {index} of {name} must have the dimension {missing[0]}. Got {part.dimnames}."
            )
    step = float(response.time.tstep)
    parts = [response, *predictors]
    if wrong := [float(part.time.tstep) for part in predictors if abs(part.time.tstep / step - 1) > 1e-6]:
        raise ValueError(
            f"Trial {index} has a response at {1 / step:g} Hz and a predictor at {1 / wrong[0]:g} Hz. Use "
            f"eelbrain.resample()."
        )
    start = max(float(part.time.tmin) for part in parts)
    first = [round((start - float(part.time.tmin)) / step) for part in parts]
    n_times = min(len(part.time) - n for part, n in zip(parts, first, strict=True))
    if n_times < 1:
        raise ValueError(f"Trial {index} has a response and predictors without a common time.")
    arrays = []
    for part, begin in zip(parts, first, strict=True):
        others = [name for name in part.dimnames if name != "time"]
        data = np.asarray(part.get_data(("time", *others)))
        arrays.append(data.reshape(len(data), -1)[begin : begin + n_times])
    return arrays[0], np.concatenate(arrays[1:], axis=1)


def _project_ndvar_sensors(sensor):
    """Return positions of sensors on the unit square, None if unknown."""
    locations = getattr(sensor, "locs", None)
    if locations is None or not np.isfinite(locations).all():
        return None
    import mne

    from sk_b2s.io._sensors import project_montage

    names = [str(name) for name in sensor.names]
    places = dict(zip(names, np.asarray(locations, float), strict=True))
    return project_montage(mne.channels.make_dig_montage(places, coord_frame="head"), names)

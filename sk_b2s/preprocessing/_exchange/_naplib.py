"""Trials of naplib."""

from __future__ import annotations

from numbers import Real

import numpy as np


def convert_naplib_trials(data, response, stimulus, sfreq):
    """Convert a naplib.Data: parameters of Windows.from_trials."""
    fields = [stimulus] if isinstance(stimulus, str) else list(stimulus)
    trials = [data[index] for index in range(len(data))]
    if not trials or not fields:
        raise ValueError(
            f"data must have one trial or more, and stimulus one field or more. Got {len(trials)} trials and {fields}."
        )
    rates = [
        sfreq if isinstance(sfreq, Real) else _get_naplib_field(trial, sfreq, i)
        for i, trial in enumerate(trials)
    ]
    rates = [float(np.ravel(rate)[0]) for rate in rates]
    if len(set(rates)) > 1:
        raise ValueError(f"All trials must have the same sampling rate. Got {sorted(set(rates))} Hz.")
    stimuli = []
    for index, trial in enumerate(trials):
        parts = [np.asarray(_get_naplib_field(trial, field, index)) for field in fields]
        parts = [part[:, None] if part.ndim == 1 else part for part in parts]
        if len({len(part) for part in parts}) > 1:
            raise ValueError(
                f"Trial {index} has stimulus fields of unequal length: "
                f"{', '.join(f'{field} {len(part)}' for field, part in zip(fields, parts, strict=True))}."
            )
        stimuli.append(np.concatenate(parts, axis=1))
    responses = [np.asarray(_get_naplib_field(trial, response, index)) for index, trial in enumerate(trials)]
    return {"responses": responses, "stimuli": stimuli, "sfreq": rates[0]}


def _get_naplib_field(trial, field, index):
    """Return a field of a trial."""
    try:
        return trial[field]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        if not hasattr(trial, "keys"):
            raise TypeError(
                f"data must be a naplib.Data or a list of dicts. Trial {index} is a {type(trial).__name__}. For arrays, "
                f"use Windows.from_trials(responses, stimuli, sfreq)."
            ) from error
        known = sorted(map(str, trial))
        raise ValueError(f"Trial {index} of data has no field {field!r}. It has {known}.") from error

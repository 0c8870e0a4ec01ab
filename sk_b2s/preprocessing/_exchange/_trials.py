"""Windows of trials: arrays of responses and of stimulus features."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np
import pandas as pd

from sk_b2s.events._stimuli import StimulusArray
from sk_b2s.preprocessing._segments import make_segments
from sk_b2s.preprocessing._windows._signals import make_signal_time_major

LOST = 0.05  # share of samples in remainders of trials that is reported
TOLERANCE = 0.02  # relative difference of two durations by rounding


def cut_trials(
    responses, stimuli, sfreq, *, stimulus_sfreq, seconds, block, subject, channels_first, ch_names=None
):
    """Cut trials into windows, see :meth:`Windows.from_trials`.

    Returns signals, signal and first sample of each window, number of samples
    of a window, X and y.
    """
    rates = sfreq, sfreq if stimulus_sfreq is None else stimulus_sfreq
    for name, value in zip(("sfreq", "stimulus_sfreq", "seconds"), (*rates, seconds), strict=True):
        if not (isinstance(value, Real) and 0 < value < np.inf):
            raise ValueError(f"{name} must be a finite number above 0. Got {value!r}.")
    if not (n_times := round(seconds * sfreq)):
        raise ValueError(f"seconds={seconds:g} is less than a sample at {sfreq:g} Hz. Use longer windows.")
    responses, stimuli = (
        _list_trials(trials, name, channels_first)
        for name, trials in {"responses": responses, "stimuli": stimuli}.items()
    )
    if len(responses) != len(stimuli):
        raise ValueError(
            f"responses and stimuli must have the same number of trials. Got {len(responses)} and {len(stimuli)}."
        )
    most = max(map(len, responses)) if ch_names is None else len(ch_names)
    for index, pair in enumerate(zip(responses, stimuli, strict=True)):
        _check_trial(index, *pair, *rates, most)
    for name, trials in {"responses": responses, "stimuli": stimuli}.items():
        widths = [trial.shape[1] for trial in trials]
        if len(set(widths)) > 1:
            odd = next(i for i, width in enumerate(widths) if width != widths[0])
            what = "channels" if name == "responses" else "features"
            raise ValueError(
                f"All trials of {name} must have the same number of {what}. Got {widths[0]} in trial 0 and "
                f"{widths[odd]} in trial {odd}."
            )
    if ch_names is None:  # which name the channels of responses
        _warn_exchanged_trials(responses, stimuli)
    events = _make_events_of_trials(responses, stimuli, rates, subject)
    seconds = n_times / sfreq
    if (longest := events["duration"].max()) < seconds:
        raise ValueError(
            f"seconds={seconds:g} is longer than all trials. The longest has {longest:.3f} s. Use shorter windows."
        )
    tmax = seconds - 0.5 / max(rates)  # as features have the frames from 0 to tmax
    X, y = make_segments(events, seconds, tmin=0.0, tmax=tmax, margin=0.0, block=block)
    which = pd.Index(events["recording"]).get_indexer(X["recording"])
    start = np.round(X["onset"].to_numpy(float) * sfreq).astype(np.int64)
    _warn_lost_trial_time(events["recording"], [len(trial) for trial in responses], which, n_times, sfreq)
    return [make_signal_time_major(trial) for trial in responses], which, start, n_times, X, y


def _list_trials(trials, name, channels_first):
    """Return a list of arrays of shape (n_times, n_columns)."""
    is_one = isinstance(trials, np.ndarray) and trials.dtype != object and trials.ndim <= 2
    trials = [np.asarray(trial) for trial in ([trials] if is_one else trials)]
    if not trials:
        raise ValueError(f"{name} must have one trial or more. Got none.")
    found = []
    for index, trial in enumerate(trials):
        if trial.ndim not in (1, 2) or not trial.size or not np.issubdtype(trial.dtype, np.number):
            raise ValueError(
                f"Each trial of {name} must be a numeric array with two axes, times and columns. Got shape {trial.shape} "
                f"and type {trial.dtype} in trial {index}."
            )
        trial = trial[:, None] if trial.ndim == 1 else trial.T if channels_first else trial
        if not np.isfinite(trial).all():
            raise ValueError(
                f"Trial {index} of {name} has {np.count_nonzero(~np.isfinite(trial))} NaN or infinite values. "
                f"Interpolate them or leave the trial out."
            )
        found.append(trial)
    return found


def _check_trial(index, response, stimulus, sfreq, stimulus_sfreq, most):
    """Raise if the axes of a trial seem exchanged or its lengths differ.

    A response that has more than ``most`` channels, and more of them than
    times, seems exchanged.
    """
    is_wide = response.shape[1] > max(len(response), most)
    seconds = len(response) / sfreq, len(stimulus) / stimulus_sfreq
    if abs(seconds[0] - seconds[1]) <= max(TOLERANCE * max(seconds), 1 / min(sfreq, stimulus_sfreq)):
        if not is_wide:
            return
        reason = f"has more channels ({response.shape[1]}) than times ({len(response)})"
    else:
        reason = (
            f"has a response of {len(response)} times ({seconds[0]:.3f} s) and a stimulus of {len(stimulus)} times "
            f"({seconds[1]:.3f} s)"
        )
    turned = [a.shape[1] / rate for a, rate in ((response, sfreq), (stimulus, stimulus_sfreq))]
    is_turned = is_wide or abs(turned[0] - seconds[1]) < TOLERANCE * seconds[1]
    hint = "Cut the longer one, or set sfreq and stimulus_sfreq to the rates of the arrays."
    if is_turned:
        hint = (
            "The axes seem to be exchanged. Set channels_first=True for (channels, times), False for (times, channels), "
            "or pass ch_names=... if trials are that short."
        )
    elif abs(turned[1] - seconds[0]) < TOLERANCE * seconds[0]:
        hint = "The axes of the stimulus alone seem to be exchanged. Transpose the stimuli."
    raise ValueError(f"Trial {index} {reason}. {hint}")


def _make_events_of_trials(responses, stimuli, rates, subject):
    """Make an events table with one stimulus per trial."""
    subjects = [str(name) for name in ([subject] * len(responses) if np.ndim(subject) == 0 else subject)]
    if len(subjects) != len(responses):
        raise ValueError(
            f"subject must be one name, or one for each of {len(responses)} trials. Got {len(subjects)} names."
        )
    rows = []
    for index, (name, response, stimulus) in enumerate(zip(subjects, responses, stimuli, strict=True)):
        seconds = min(len(response) / rates[0], len(stimulus) / rates[1])
        sound = StimulusArray(stimulus, rates[1], name=f"trial {index}")
        rows.append(
            {
                "type": "sound", "subject": name, "recording": f"trial {index}", "onset": 0.0, "sound": sound,
                "sound_onset": 0.0, "duration": seconds, "recording_duration": seconds + 1.0,  # the stimulus limits the windows
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _warn_exchanged_trials(responses, stimuli):
    """Warn if responses look like stimuli and stimuli like responses."""
    n_channels, n_features = responses[0].shape[1], stimuli[0].shape[1]
    lowest = [min(trial.min() for trial in trials) for trials in (responses, stimuli)]
    if lowest[0] >= 0 > lowest[1]:
        reason = "responses have no negative value, unlike the stimuli"
    elif n_channels == 1 < n_features:
        reason = f"responses have one channel and stimuli {n_features} features"
    else:
        return
    warnings.warn(
        f"Windows.from_trials(responses, stimuli, sfreq): the {reason}. If they are exchanged, as in the order of "
        f"mTRFtrain(stim, resp), exchange them. Otherwise, pass ch_names=... to silence this warning.",
        stacklevel=4,
    )


def _warn_lost_trial_time(names, lengths, which, n_times, sfreq):
    """Warn if windows leave out much of the trials."""
    lost = np.array(lengths) - n_times * np.bincount(which, minlength=len(lengths))
    if lost.sum() > LOST * sum(lengths):
        most = int(np.argmax(lost))
        warnings.warn(
            f"Windows.from_trials left out {lost.sum() / sfreq:.1f} of {sum(lengths) / sfreq:.1f} s, the remainders of "
            f"trials after windows of {n_times / sfreq:g} s (most in {names[most]}: {lost[most] / sfreq:.1f} s). Use "
            f"shorter windows.",
            stacklevel=4,
        )

"""Schedule of a simulated recording: onsets of stimuli, and its events."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.datasets.simulated._ground_truth import make_ground_truth_rng
from sk_b2s.datasets.simulated._sources import FEATURE_RATE

SILENCE = (3.5, 6.0)  # s, between stimuli and at both ends of a recording
IGNORED_DELAY = 1.0  # s from the attended to the ignored talker


def plan_recording_schedule(seed, sounds, features, parameters):
    """Return the events, the schedule and the duration (s) of a recording."""
    own = _assign_stimuli_to_runs(sounds, parameters["runs"])[seed[-1]]
    lengths = np.array([sounds[i]["duration"].iloc[0] for i in own])
    own_onsets, seconds = _draw_schedule(make_ground_truth_rng(seed, "schedule"), lengths)
    onsets = np.full(len(sounds), np.nan)
    onsets[own] = own_onsets
    attended = "attended" if "ignored" in parameters["artifacts"] else "single"
    events = [_place_scheduled_events(sounds[i], onsets[i], attended) for i in own]
    schedule = {"onsets": onsets}
    if "ignored" in parameters["artifacts"]:
        schedule["ignored"], schedule["ignored_onsets"], ignored = _plan_ignored_stream(
            own, onsets, sounds, features
        )
        events += ignored
    events = pd.concat(events).sort_values("onset", kind="stable")
    first = (events["trial_type"] == "word") & (events["word_index"] == 0) & (events["stream"] == attended)
    schedule["sentences"] = events.loc[first, "onset"].to_numpy()
    return events, schedule, seconds


def _assign_stimuli_to_runs(sounds, n_runs):
    """Assign stimuli to runs by speaker, as arrays of indices."""
    voices, names = pd.factorize(pd.Index([rows["speaker"].iloc[0] for rows in sounds]))
    if n_runs > len(names):
        return np.array_split(np.argsort(voices, kind="stable"), n_runs)
    return [np.flatnonzero(voices * n_runs // len(names) == run) for run in range(n_runs)]


def _draw_schedule(rng, lengths):
    """Draw onsets of the stimuli, and the duration of the recording (s)."""
    order = rng.permutation(len(lengths))
    gaps = rng.uniform(*SILENCE, len(lengths) + 1)
    onsets = np.empty(len(lengths))
    onsets[order] = np.cumsum(gaps[:-1]) + np.cumsum(lengths[order]) - lengths[order]
    return onsets.round(4), lengths.sum() + gaps.sum()


def _place_scheduled_events(rows, onset, stream):
    """Place a stimulus in a recording, as rows of a BIDS events file."""
    first = ["onset", "duration", "trial_type", "stim_file"]
    columns = first + [name for name in rows if name not in (*first, "type", "sound")]
    return rows.assign(onset=onset + rows["sound_onset"], trial_type=rows["type"])[columns].assign(
        stream=stream
    )


def _plan_ignored_stream(own, onsets, sounds, features):
    """Return features, onsets and events of an ignored talker.

    Each attended stimulus is paired with the next one of another speaker.
    """
    speakers = [rows["speaker"].iloc[0] for rows in sounds]
    played, events = [], []
    for i in own:
        other = next(
            j % len(sounds) for j in range(i + 1, i + len(sounds)) if speakers[j % len(sounds)] != speakers[i]
        )
        rows = sounds[other]
        stop = min(rows["duration"].iloc[0], sounds[i]["duration"].iloc[0] - IGNORED_DELAY)
        rows = rows[(rows["type"] == "sound") | (rows["sound_onset"] + rows["duration"] <= stop)]
        rows = rows.assign(duration=rows["duration"].where(rows["type"] != "sound", stop))
        events.append(_place_scheduled_events(rows, onsets[i] + IGNORED_DELAY, "ignored"))
        played.append(
            {name: values[:, : round(stop * FEATURE_RATE)] for name, values in features[other].items()}
        )
    return played, onsets[own] + IGNORED_DELAY, events

"""Simulated listening experiment with real speech and simulated EEG/MEG.

People listen to the chapters of *Alice in Wonderland* that ship with the package (spoken by CMU Flite's
free voices; text and speech free to use, see ``data/speech/README.md``). Their auditory cortices follow
the sound's onsets and its envelope, the classes of its phones and the beginnings of its words, with the delays
known from the literature [1]_ [2]_; a spherical head carries that to the sensors, and ongoing brain activity,
alpha and sensor noise bury it as deep as real recordings do. Blinks, jumping sensors, a head that moves
between sessions and other artifacts are switches.

The signal-to-noise ratio is frozen where a plain linear decoder reconstructs the envelope about as
well as it does from real recordings; ``benchmarks/calibrate_listening.py`` prints the table. How much of a
subject's response carries over to another one rests on spreads of anatomy and latency that were chosen,
for MEG without a published anchor.

References
----------
.. [1] Crosse, Zuk, Di Liberto, Nidiffer, Molholm, Lalor (2021). Linear modeling of neurophysiological
   responses to speech and other continuous stimuli. Frontiers in Neuroscience 15:705621.
   https://doi.org/10.3389/fnins.2021.705621
.. [2] Thwaites, Nimmo-Smith, Fonteneau, Patterson, Buttery, Marslen-Wilson (2015). Tracking cortical
   entrainment in neural activity. Frontiers in Computational Neuroscience 9:5.
   https://doi.org/10.3389/fncom.2015.00005
"""

import hashlib
import json
import os
import shutil
import uuid
from numbers import Integral, Real
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pooch
import soundfile as sf

from sk_b2s.datasets.simulated._artifacts import check_artifacts
from sk_b2s.datasets.simulated._ground_truth import (
    RecordingTruth,
    SubjectTruth,
    make_rng,
    read_truth,
    write_truth,
)
from sk_b2s.datasets.simulated._head import EEG_CAPS, make_sensors
from sk_b2s.datasets.simulated._recording import simulate_recording
from sk_b2s.datasets.simulated._sources import FEATURE_RATE, draw_listener, sound_features
from sk_b2s.datasets.simulated._speech import load_speech

VERSION = 3  # of the simulation; a folder written by another one is not reused
# What differs between the two: sensors and mean signal-to-noise ratio.
MODALITIES = {"meg": {"n_channels": 208, "snr_db": -18.0}, "eeg": {"n_channels": 128, "snr_db": -22.0}}
# What BIDS asks of each.
ABOUT = {
    "meg": {"DewarPosition": "upright", "DigitizedLandmarks": False, "DigitizedHeadPoints": False},
    "eeg": {"EEGReference": "average"},
}
CHANNELS = {"meg": {"type": "MEGGRADAXIAL", "units": "T"}, "eeg": {"type": "EEG", "units": "V"}}
COLUMNS = """study subject session task run recording type onset duration sound sound_onset text sequence
word_index condition speaker language stream recording_duration""".split()
SILENCE = (3.5, 6.0)  # s, between sounds and at both ends of a recording
BESIDE = 1.0  # s after which an ignored talker begins


def make_listening(
    n_subjects=4,
    minutes=10.0,
    *,
    modality="meg",
    snr_db=None,
    sessions=1,
    runs=1,
    artifacts=True,
    n_channels=None,
    sfreq=128.0,
    random_state=0,
    root=None,
    return_truth=False,
):
    """Simulate people who listen to speech, and write their recordings as FIF files.

    A recording is ``patterns.T @ sources + noise + artifacts``. Each source is a feature of the sound convolved
    with a kernel: the rise of its eight-band Mel envelope (power to the 0.3), that envelope itself, a pulse
    at each phone, weighed by the phone's class (which a Mel spectrum does not hold), and a pulse at each word.
    They lie in and beside the auditory cortex of both hemispheres. Noise is 1/f^1.2 in power, from 150 dipoles
    all over the head, with alpha in the back and white noise in the sensors. Subjects differ in where the
    sources lie (6 mm s.d.) and point (0.25 rad), in latencies (12 ms) and weights (20 %) of the kernels, in band
    and phone weights, noise, and signal-to-noise ratio (3 dB).

    Responses add up linearly, which suits linear decoders: what beats them here need not beat them on real
    recordings, nor the reverse.

    In each session everybody hears the same sounds once, in an order of their own, 3.5 to 6 s apart. The files
    lie in a folder laid out after BIDS, written once: a further call with equal parameters reuses it.

    Parameters
    ----------
    n_subjects : int, default=4
        The first subjects are the same however many there are.
    minutes : float, default=10.0
        Speech heard by everyone in each session, see :func:`load_speech`; None is all of it.
    modality : "meg" or "eeg", default="meg"
        208 axial gradiometers in a spherical helmet, or a BioSemi cap of 128 with average reference.
    snr_db : float, default=None
        Mean over subjects of the signal-to-noise ratio (:class:`SubjectTruth`). None is -18 for MEG
        and -22 for EEG, where single subjects are as hard to decode as real ones; 10 and more make
        a test quick, and easier than any real data; -inf is no response at all.
    sessions : int, default=1
        How often everything is heard, each time with the head at another place and another gain if those
        artifacts are on.
    runs : int, default=1
        Recordings of each session, among which the sounds are dealt by voice: the same sounds in the same run
        for everybody.
    artifacts : bool or list of str, default=True
        What spoils the recordings. True is what all real ones have, "blinks", "jumps", "bursts", "shift",
        "gain", "attention", "line", "drift", "clock" and "jitter"; False is nothing; a list names them. By name
        alone come two traps, "fingerprint" (brain noise that tells recordings apart) and "earphones" (the sound
        leaks into the sensors), and "ignored", a second talker whom nobody listens to. Each is drawn by itself:
        people, noise and the other artifacts stay as they were drawn when one is turned on or off.
        ``sk_b2s.datasets.ARTIFACTS`` says what each does.
    n_channels : int, default=None
        Fewer sensors, evenly spread: any number from 4 to 208 for MEG; 16, 32, 64 or 128 for EEG.
    sfreq : float, default=128.0
        Rate of the recordings in Hz, 50 to 1000.
    random_state : int, default=0
        Seed. The global state is neither read nor changed.
    root : path-like, default=None
        Where the experiment's folder is made. None is the environment variable ``SK_B2S_CACHE`` or, without
        it, the user's cache folder.
    return_truth : bool, default=False
        Return the truth as well; :func:`oracle_scores` decodes with it.

    Returns
    -------
    events : DataFrame
        The events table of all recordings: ``study``, ``subject``, ``session``, ``task``, ``run``,
        ``recording`` (path), ``type`` ("sound", "word" or "phoneme"), ``onset`` and ``duration`` (s, in the
        recording), ``sound`` (path), ``sound_onset`` (s, in the sound), ``text``, ``sequence``,
        ``word_index``, ``condition``, ``speaker``, ``language``, ``stream`` ("single", or "attended" and
        "ignored") and ``recording_duration`` (s).
    truth : dict of str to SubjectTruth
        By subject; only if ``return_truth``.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sk_b2s.datasets import make_listening
    >>> with TemporaryDirectory() as root:
    ...     events = make_listening(n_subjects=2, minutes=1, n_channels=16, root=root)
    >>> events.groupby("subject")["type"].value_counts().tolist()
    [890, 270, 1, 890, 270, 1]
    """
    parameters = _check_parameters(
        n_subjects=n_subjects, minutes=minutes, modality=modality, snr_db=snr_db, sessions=sessions, runs=runs,
        artifacts=artifacts, n_channels=n_channels, sfreq=sfreq, random_state=random_state,
    )  # fmt: skip
    root = Path(root or os.environ.get("SK_B2S_CACHE") or pooch.os_cache("sk_b2s")).absolute()
    key = json.dumps(parameters, sort_keys=True)
    folder = root / f"listening-{modality}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    if not _is_complete(folder, parameters):
        _write_aside(folder, load_speech(minutes), parameters)
    stems = {i: list(_stems(folder, i, parameters).values()) for i in range(n_subjects)}
    events = pd.concat(
        [_read_events(folder, stem, modality) for i in stems for stem in stems[i]], ignore_index=True
    )
    if not return_truth:
        return events
    return events, {f"{i + 1:02d}": _read_truth(folder, i, stems[i], modality) for i in stems}


def _is_count(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, Real) and np.isfinite(value)


def _check_parameters(minutes, modality, snr_db, artifacts, n_channels, **others):
    """Check the parameters and fill in the defaults; the result is the folder's key."""
    speech = load_speech(minutes)
    if modality not in MODALITIES:
        raise ValueError(f"modality must be one of {list(MODALITIES)}, got {modality!r}.")
    default = MODALITIES[modality]
    snr_db = default["snr_db"] if snr_db is None else snr_db
    n_channels = default["n_channels"] if n_channels is None else n_channels
    allowed = EEG_CAPS if modality == "eeg" else range(4, default["n_channels"] + 1)
    n_sounds = int((speech["type"] == "sound").sum())
    n_subjects, sessions, runs, sfreq, random_state = (
        others[name] for name in ("n_subjects", "sessions", "runs", "sfreq", "random_state")
    )
    for name, value, valid, expected in [
        ("n_subjects", n_subjects, _is_count(n_subjects) and n_subjects > 0, "an integer above 0"),
        ("sessions", sessions, _is_count(sessions) and sessions > 0, "an integer above 0"),
        ("runs", runs, _is_count(runs) and 0 < runs <= n_sounds,
         f"an integer from 1 to {n_sounds}, the sounds there are in minutes={minutes}"),
        ("snr_db", snr_db, _is_number(snr_db) or snr_db == -np.inf, "a number of decibels"),
        ("n_channels", n_channels, n_channels in allowed, _spell(allowed)),
        ("sfreq", sfreq, _is_number(sfreq) and 50 <= sfreq <= 1000, "a rate from 50 to 1000 Hz"),
        ("random_state", random_state, _is_count(random_state) and random_state >= 0,
         "an integer of 0 or more, which names the folder to reuse"),
    ]:  # fmt: skip
        if not valid:
            raise ValueError(f"{name} must be {expected}; got {value!r} (modality={modality!r}).")
    names = check_artifacts(artifacts)
    if "ignored" in names and speech.loc[speech["type"] == "sound", "speaker"].nunique() < 2:
        raise ValueError(
            f"artifacts={artifacts!r}: an ignored talker needs sounds in two voices, and minutes={minutes} takes but "
            f"one; give more minutes."
        )
    return {
        "version": VERSION, "modality": modality, "n_subjects": int(n_subjects), "sessions": int(sessions),
        "runs": int(runs), "artifacts": names, "snr_db": float(snr_db), "n_channels": int(n_channels),
        "sfreq": float(sfreq), "minutes": minutes and float(minutes), "random_state": int(random_state),
    }  # fmt: skip


def _spell(allowed):
    if isinstance(allowed, range):
        return f"an integer from {allowed.start} to {allowed.stop - 1}"
    return f"one of {list(allowed)}"


# --- the folder --------------------------------------------------------------------------------


def _stems(folder, index, parameters):
    """Begin the names of a subject's recordings: {(session, run): path without suffix}."""
    stems = {}
    for session in range(parameters["sessions"]):
        for run in range(parameters["runs"]):
            ses = f"ses-{session + 1:02d}" if parameters["sessions"] > 1 else ""
            part = f"run-{run + 1:02d}" if parameters["runs"] > 1 else ""
            name = "_".join(filter(None, [f"sub-{index + 1:02d}", ses, "task-listening", part]))
            stems[session, run] = folder / f"sub-{index + 1:02d}" / ses / parameters["modality"] / name
    return stems


def _is_complete(folder, parameters):
    """Tell whether the folder was finished, for these parameters, and nothing has been taken out since."""
    try:
        description = json.loads((folder / "dataset_description.json").read_text())
    except (OSError, ValueError):
        return False
    return description.get("Parameters") == parameters and all(
        (folder / name).is_file() for name in description.get("Files", [None])
    )


def _write_aside(folder, speech, parameters):
    """Write under a temporary name and rename, so that a folder of the right name is a whole one."""
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        _write_all(aside, speech, parameters)
        if not _is_complete(folder, parameters):  # another process may have finished it meanwhile
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_all(folder, speech, parameters):
    names = _write_stimuli(folder / "stimuli", speech[speech["type"] == "sound"])
    sounds = [rows for _, rows in speech.groupby("sound", sort=False)]
    features = [sound_features(rows["sound"].iloc[0], rows["duration"].iloc[0], rows) for rows in sounds]
    sounds = [rows.assign(stim_file=name) for rows, name in zip(sounds, names, strict=True)]
    sensors = make_sensors(parameters["modality"], parameters["n_channels"], parameters["sfreq"])
    for index in range(parameters["n_subjects"]):
        _write_subject(folder, index, sensors, sounds, features, parameters)
    people = [f"sub-{index + 1:02d}" for index in range(parameters["n_subjects"])]
    pd.DataFrame({"participant_id": people}).to_csv(folder / "participants.tsv", sep="\t", index=False)
    (folder / "README").write_text(
        "Simulated listening, see sk_b2s.datasets.make_listening. Nobody was recorded.\n"
    )
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    description = {
        "Name": "Simulated listening", "BIDSVersion": "1.10.0", "DatasetType": "raw",
        "GeneratedBy": [{"Name": "sk_b2s.datasets.make_listening"}], "Parameters": parameters, "Files": files,
    }  # fmt: skip
    (folder / "dataset_description.json").write_text(json.dumps(description, indent=1))


def _write_stimuli(folder, sounds):
    """Copy what was heard; a sound that was stopped becomes a file of that length. Return the names."""
    folder.mkdir(parents=True)
    names = []
    for path, stop in zip(map(Path, sounds["sound"]), sounds["duration"], strict=True):
        whole = sf.info(path)
        if stop >= whole.duration:
            names.append(path.name)
            shutil.copyfile(path, folder / path.name)
        else:
            names.append(f"{path.stem}-first{round(stop * 1000)}ms.flac")
            samples, rate = sf.read(path, frames=round(stop * whole.samplerate))
            sf.write(folder / names[-1], samples, rate)
    return names


def _write_subject(folder, index, sensors, sounds, features, parameters):
    """Write all recordings of one subject, with their tables and their truth."""
    seed, modality, sfreq = [parameters["random_state"], index], parameters["modality"], parameters["sfreq"]
    listener = draw_listener(make_rng(seed, "listener"), parameters["snr_db"])
    truth = SubjectTruth(*listener[:5])
    write_truth(_truth_file(folder, f"sub-{index + 1:02d}"), truth)
    scale = None
    for (session, run), stem in _stems(folder, index, parameters).items():
        stem.parent.mkdir(parents=True, exist_ok=True)
        own_seed = [*seed, session, run]
        events, schedule, seconds = _plan(own_seed, sounds, features, parameters)
        n_times = int(np.ceil(seconds * sfreq))
        data, truth, scale = simulate_recording(
            own_seed, listener, sensors, modality, parameters["artifacts"], features, schedule, n_times, scale
        )
        raw = mne.io.RawArray(data, sensors[0].copy(), verbose="ERROR")
        raw.save(f"{stem}_{modality}.fif", fmt="single", verbose="ERROR")
        write_truth(_truth_file(folder, stem.name), truth)
        about = {
            "TaskName": "listening", "SamplingFrequency": sfreq, "RecordingDuration": n_times / sfreq,
            "PowerLineFrequency": 50, "SoftwareFilters": "n/a", **ABOUT[modality],
        }  # fmt: skip
        Path(f"{stem}_{modality}.json").write_text(json.dumps(about, indent=1))
        channels = {"name": raw.ch_names, **CHANNELS[modality], "status": "good"}
        pd.DataFrame(channels).to_csv(f"{stem}_channels.tsv", sep="\t", index=False)
        events.to_csv(f"{stem}_events.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.4f")


def _truth_file(folder, name):
    return folder / "derivatives" / "truth" / f"{name}.npz"


# --- who hears what, and when ------------------------------------------------------------------


def _plan(seed, sounds, features, parameters):
    """Plan one recording: its events table, the schedule for the simulation, and its length in s."""
    mine = _deal(sounds, parameters["runs"])[seed[-1]]
    lengths = np.array([sounds[i]["duration"].iloc[0] for i in mine])
    placed, seconds = _draw_schedule(make_rng(seed, "schedule"), lengths)
    onsets = np.full(len(sounds), np.nan)
    onsets[mine] = placed
    attended = "attended" if "ignored" in parameters["artifacts"] else "single"
    events = [_place(sounds[i], onsets[i], attended) for i in mine]
    schedule = {"onsets": onsets}
    if "ignored" in parameters["artifacts"]:
        schedule["ignored"], schedule["ignored_onsets"], beside = _plan_ignored(
            mine, onsets, sounds, features
        )
        events += beside
    events = pd.concat(events).sort_values("onset", kind="stable")
    first = (events["trial_type"] == "word") & (events["word_index"] == 0) & (events["stream"] == attended)
    schedule["sentences"] = events.loc[first, "onset"].to_numpy()
    return events, schedule, seconds


def _deal(sounds, n_runs):
    """Deal sounds to runs, voice by voice: list of ndarrays of int."""
    voices, names = pd.factorize(pd.Index([rows["speaker"].iloc[0] for rows in sounds]))
    if n_runs > len(names):
        return np.array_split(np.argsort(voices, kind="stable"), n_runs)
    return [np.flatnonzero(voices * n_runs // len(names) == run) for run in range(n_runs)]


def _draw_schedule(rng, lengths):
    """Draw when each sound begins, and how long the recording is, in s."""
    order = rng.permutation(len(lengths))
    gaps = rng.uniform(*SILENCE, len(lengths) + 1)
    onsets = np.empty(len(lengths))
    onsets[order] = np.cumsum(gaps[:-1]) + np.cumsum(lengths[order]) - lengths[order]
    return onsets.round(4), lengths.sum() + gaps.sum()


def _place(rows, onset, stream):
    """Place a sound in a recording, in the columns of a BIDS events file."""
    first = ["onset", "duration", "trial_type", "stim_file"]
    columns = first + [name for name in rows if name not in (*first, "type", "sound")]
    return rows.assign(onset=onset + rows["sound_onset"], trial_type=rows["type"])[columns].assign(
        stream=stream
    )


def _plan_ignored(mine, onsets, sounds, features):
    """Beside each sound play the next one of another voice, as long as it lasts: features, onsets and events."""
    speakers = [rows["speaker"].iloc[0] for rows in sounds]
    played, events = [], []
    for i in mine:
        other = next(
            j % len(sounds) for j in range(i + 1, i + len(sounds)) if speakers[j % len(sounds)] != speakers[i]
        )
        rows = sounds[other]
        stop = min(rows["duration"].iloc[0], sounds[i]["duration"].iloc[0] - BESIDE)
        rows = rows[(rows["type"] == "sound") | (rows["sound_onset"] + rows["duration"] <= stop)]
        rows = rows.assign(duration=rows["duration"].where(rows["type"] != "sound", stop))
        events.append(_place(rows, onsets[i] + BESIDE, "ignored"))
        played.append(
            {name: values[:, : round(stop * FEATURE_RATE)] for name, values in features[other].items()}
        )
    return played, onsets[mine] + BESIDE, events


# --- reading it back ---------------------------------------------------------------------------


def _read_events(folder, stem, modality):
    events = pd.read_csv(f"{stem}_events.tsv", sep="\t", keep_default_na=False, na_values=["n/a"])
    events = events.rename(columns={"trial_type": "type", "stim_file": "sound"})
    events["sound"] = [str(folder / "stimuli" / name) for name in events["sound"]]
    entities = dict(part.split("-") for part in stem.name.split("_"))
    events = events.assign(condition="story", study="simulated", subject=entities["sub"], task="listening")
    events = events.assign(session=entities.get("ses", ""), run=entities.get("run", ""))
    events["recording"] = f"{stem}_{modality}.fif"
    about = json.loads(Path(f"{stem}_{modality}.json").read_text())
    return events.assign(recording_duration=about["RecordingDuration"])[COLUMNS]


def _read_truth(folder, index, stems, modality):
    truth = read_truth(_truth_file(folder, f"sub-{index + 1:02d}"), SubjectTruth)
    for stem in stems:
        path = _truth_file(folder, stem.name)
        truth.recordings[f"{stem}_{modality}.fif"] = read_truth(path, RecordingTruth)
    return truth

"""A simulated listening experiment: real speech sound, made-up brains, and the truth about them.

People listen to the chapters of *Alice in Wonderland* that ship with the package (spoken by CMU Flite's
free voices; text and speech free to use, see ``data/speech/README.md``). Their auditory cortices follow
the sound's onsets and its envelope with the delays known from the literature [1]_ [2]_, a spherical head
carries that to the sensors, and ongoing brain activity, alpha and sensor noise bury it as deep as
real recordings do.

The signal-to-noise ratio is frozen where a plain linear decoder reconstructs the envelope about as
well as it does from real recordings. How much of a subject's response carries over to another one
rests on spreads of anatomy and latency that were chosen, for MEG without a published anchor.

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
from dataclasses import asdict
from numbers import Integral, Real
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pooch
import soundfile as sf

from sk_b2s.datasets.listener import (
    EEG_CAPS,
    MODALITIES,
    ListenerTruth,
    draw_listener,
    make_sensors,
    simulate_recording,
    sound_features,
)
from sk_b2s.datasets.spoken import load_speech

__all__ = ["make_listening"]

VERSION = 1  # of the simulation; a folder written by another one is not reused
COLUMNS = """study subject session task run recording type onset duration sound sound_onset text sequence
word_index condition speaker language stream recording_duration""".split()
SILENCE = (3.5, 6.0)  # s, between sounds and at both ends of a recording


def make_listening(
    n_subjects=4,
    minutes=10.0,
    *,
    modality="meg",
    snr_db=None,
    n_channels=None,
    sfreq=128.0,
    random_state=0,
    root=None,
    return_truth=False,
):
    """Simulate people who listen to speech, and write their recordings as FIF files.

    The recording of one subject is ``patterns.T @ sources + noise``. Each of two sources, in and
    beside the auditory cortex of both hemispheres, is a feature of the sound convolved with a
    kernel: the rise of its eight-band Mel envelope (power to the 0.3), or that envelope itself. Noise is
    1/f^1.2 in power, from 150 dipoles all over the head, with alpha in the back and white noise in the
    sensors. Subjects differ in where the sources lie (9 mm s.d.) and point (0.4 rad), in latencies
    (25 ms) and weights (30 %) of the kernels, in band weights, noise, and signal-to-noise ratio (3 dB).
    A response linear in the compressed envelope suits linear decoders: what beats them here need
    not beat them on real recordings, nor the reverse.

    Everybody hears the same sounds once, in an order of their own, 3.5 to 6 s apart. The files lie in a
    folder laid out after BIDS, written once: a further call with equal parameters reuses it.

    Parameters
    ----------
    n_subjects : int, default=4
        The first subjects are the same however many there are.
    minutes : float, default=10.0
        Speech heard by everyone, see :func:`load_speech`; None is all of it, 23 minutes.
    modality : "meg" or "eeg", default="meg"
        208 axial gradiometers in a spherical helmet, or a BioSemi cap of 128 with average reference.
    snr_db : float, default=None
        Mean over subjects of the signal-to-noise ratio (:class:`ListenerTruth`). None is -18 for MEG
        and -22 for EEG, where single subjects are as hard to decode as real ones; 10 and more make
        a test quick, and easier than any real data.
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
        Return the truth as well.

    Returns
    -------
    events : DataFrame
        The events table of all recordings: ``study``, ``subject``, ``session``, ``task``, ``run``,
        ``recording`` (path), ``type`` ("sound", "word" or "phoneme"), ``onset`` and ``duration`` (s, in the
        recording), ``sound`` (path), ``sound_onset`` (s, in the sound), ``text``, ``sequence``,
        ``word_index``, ``condition``, ``speaker``, ``language``, ``stream`` and ``recording_duration``
        (s).
    truth : dict of str to ListenerTruth
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
    parameters = _check_parameters(n_subjects, minutes, modality, snr_db, n_channels, sfreq, random_state)
    root = Path(root or os.environ.get("SK_B2S_CACHE") or pooch.os_cache("sk_b2s")).absolute()
    key = json.dumps(parameters, sort_keys=True)
    folder = root / f"listening-{modality}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    speech = load_speech(minutes)
    if not _is_complete(folder, parameters):
        _write_aside(folder, speech, parameters)
    subjects = [f"{i + 1:02d}" for i in range(n_subjects)]
    events = pd.concat([_read_events(folder, s, modality) for s in subjects], ignore_index=True)
    if not return_truth:
        return events
    return events, {subject: _read_truth(folder, subject) for subject in subjects}


def _is_number(value):
    return isinstance(value, Real) and np.isfinite(value)


def _check_parameters(n_subjects, minutes, modality, snr_db, n_channels, sfreq, random_state):
    """Check the parameters and fill in the defaults; the result is the folder's key."""
    load_speech(minutes)
    if modality not in MODALITIES:
        raise ValueError(f"modality must be one of {list(MODALITIES)}, got {modality!r}.")
    default = MODALITIES[modality]
    snr_db = default["snr_db"] if snr_db is None else snr_db
    n_channels = default["n_channels"] if n_channels is None else n_channels
    allowed = EEG_CAPS if modality == "eeg" else range(4, default["n_channels"] + 1)
    for name, value, valid, expected in [
        ("n_subjects", n_subjects, isinstance(n_subjects, Integral) and n_subjects > 0, "an integer above 0"),
        ("snr_db", snr_db, _is_number(snr_db), "a number of decibels"),
        ("n_channels", n_channels, n_channels in allowed, _spell(allowed)),
        ("sfreq", sfreq, _is_number(sfreq) and 50 <= sfreq <= 1000, "a rate from 50 to 1000 Hz"),
        ("random_state", random_state, isinstance(random_state, Integral) and random_state >= 0,
         "an integer of 0 or more, which names the folder to reuse"),
    ]:  # fmt: skip
        if not valid:
            raise ValueError(f"{name} must be {expected}; got {value!r} (modality={modality!r}).")
    return {
        "version": VERSION, "modality": modality, "n_subjects": int(n_subjects),
        "snr_db": float(snr_db), "n_channels": int(n_channels), "sfreq": float(sfreq),
        "minutes": minutes and float(minutes), "random_state": int(random_state),
    }  # fmt: skip


def _spell(allowed):
    if isinstance(allowed, range):
        return f"an integer from {allowed.start} to {allowed.stop - 1}"
    return f"one of {list(allowed)}"


def _paths(folder, subject, modality):
    stem = folder / f"sub-{subject}" / modality / f"sub-{subject}_task-listening"
    names = [f"{stem}_{modality}.fif", f"{stem}_{modality}.json", f"{stem}_events.tsv"]
    return *map(Path, names), folder / "derivatives" / "truth" / f"sub-{subject}.npz"


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
    sounds = speech[speech["type"] == "sound"]
    names = _write_stimuli(folder / "stimuli", sounds)
    features = [sound_features(*row) for row in zip(sounds["sound"], sounds["duration"], strict=True)]
    speech = speech.assign(stim_file=speech["sound"].map(dict(zip(sounds["sound"], names, strict=True))))
    seeds = np.random.SeedSequence(parameters["random_state"]).spawn(parameters["n_subjects"])
    sensors = make_sensors(parameters["modality"], parameters["n_channels"], parameters["sfreq"])
    for i, seed in enumerate(seeds):
        paths = _paths(folder, f"{i + 1:02d}", parameters["modality"])
        _write_subject(paths, np.random.default_rng(seed), sensors, speech, features, parameters)
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


def _write_subject(paths, rng, sensors, speech, features, parameters):
    recording, sidecar, table, truth_file = paths
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    sfreq, noise_level = parameters["sfreq"], MODALITIES[parameters["modality"]]["noise"]
    listener = draw_listener(rng, parameters["snr_db"])
    onsets, seconds = _draw_schedule(rng, speech)
    n_times = int(np.ceil(seconds * sfreq))
    data, truth = simulate_recording(rng, listener, sensors, features, onsets, n_times, noise_level)
    raw = mne.io.RawArray(data, sensors[0].copy(), verbose="ERROR")
    raw.save(recording, fmt="single", verbose="ERROR")
    np.savez(truth_file, **asdict(truth))
    about = {"TaskName": "listening", "SamplingFrequency": sfreq, "RecordingDuration": n_times / sfreq}
    sidecar.write_text(json.dumps(about, indent=1))
    _events(speech, onsets).to_csv(table, sep="\t", index=False, na_rep="n/a", float_format="%.4f")


def _draw_schedule(rng, speech):
    """Draw when each sound of ``speech`` begins, and how long the recording is, in s."""
    lengths = speech.loc[speech["type"] == "sound", "duration"].to_numpy()
    order = rng.permutation(len(lengths))
    gaps = rng.uniform(*SILENCE, len(lengths) + 1)
    onsets = np.empty(len(lengths))
    onsets[order] = np.cumsum(gaps[:-1]) + np.cumsum(lengths[order]) - lengths[order]
    return onsets.round(4), lengths.sum() + gaps.sum()


def _events(speech, onsets):
    """Place the speech in a recording, in the columns of a BIDS events file, sorted by onset."""
    begin = onsets[np.cumsum(speech["type"] == "sound") - 1]
    first = ["onset", "duration", "trial_type", "stim_file"]
    columns = first + [name for name in speech if name not in (*first, "type", "sound")]
    events = speech.assign(onset=begin + speech["sound_onset"], trial_type=speech["type"])
    return events[columns].sort_values("onset", kind="stable")


def _read_events(folder, subject, modality):
    recording, sidecar, table, _ = _paths(folder, subject, modality)
    events = pd.read_csv(table, sep="\t", keep_default_na=False, na_values=["n/a"])
    events = events.rename(columns={"trial_type": "type", "stim_file": "sound"})
    events["sound"] = [str(folder / "stimuli" / name) for name in events["sound"]]
    events = events.assign(condition="story", stream="single", study="simulated", subject=subject)
    events = events.assign(session="", task="listening", run="", recording=str(recording))
    events["recording_duration"] = json.loads(sidecar.read_text())["RecordingDuration"]
    return events[COLUMNS]


def _read_truth(folder, subject):
    with np.load(folder / "derivatives" / "truth" / f"sub-{subject}.npz") as file:
        truth = ListenerTruth(**{name: file[name] for name in file.files})
    truth.snr_db = float(truth.snr_db)
    return truth

"""Simulated listening experiment with real speech and simulated EEG/MEG.

Subjects listen to the chapters of *Alice in Wonderland* in the package (spoken
by the free voices of CMU Flite, text and speech free to use, see
``data/speech/README.md``). Auditory sources respond to acoustic onsets, to the
envelope, to phonetic classes and to word onsets, at latencies of the
literature [1]_ [2]_. A spherical head model projects them to the sensors.
Brain noise, alpha and sensor noise have the level of real recordings. Blinks,
sensor jumps, head movements between sessions and other artifacts are optional.

The signal-to-noise ratio is set so that a linear decoder reconstructs the
envelope about as well as from real recordings.
``benchmarks/calibrate_listening.py`` prints the table. How well responses
generalize across subjects depends on the assumed variability of anatomy and
latency, for which MEG has no published reference.

References
----------
.. [1] Crosse, Zuk, Di Liberto, Nidiffer, Molholm, Lalor (2021). Linear
   modeling of neurophysiological responses to speech and other continuous
   stimuli. Frontiers in Neuroscience 15:705621.
   https://doi.org/10.3389/fnins.2021.705621
.. [2] Thwaites, Nimmo-Smith, Fonteneau, Patterson, Buttery, Marslen-Wilson
   (2015). Tracking cortical entrainment in neural activity. Frontiers in
   Computational Neuroscience 9:5. https://doi.org/10.3389/fncom.2015.00005
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf

from sk_b2s._utils._logging import iterate_with_logged_progress
from sk_b2s.datasets.simulated._artifacts import check_artifact_names
from sk_b2s.datasets.simulated._folder import (
    find_simulation_folder_truth,
    locate_simulation_folder,
    name_simulation_folder_files,
    read_simulation_folder_events,
    read_simulation_folder_truth,
    write_simulation_folder,
    write_simulation_folder_recording,
)
from sk_b2s.datasets.simulated._ground_truth import SubjectTruth, make_ground_truth_rng, write_ground_truth
from sk_b2s.datasets.simulated._head import make_sensors_on_head
from sk_b2s.datasets.simulated._parameters import check_simulation_parameters, is_parameter_count
from sk_b2s.datasets.simulated._recording import simulate_recording
from sk_b2s.datasets.simulated._schedule import plan_recording_schedule
from sk_b2s.datasets.simulated._sources import (
    SOURCES,
    compute_source_features,
    draw_subject_sources,
)
from sk_b2s.datasets.simulated._speech import load_speech

VERSION = 4  # of files and simulation; folders of other versions are not reused
# Default number of sensors and mean signal-to-noise ratio.
MODALITIES = {"meg": {"n_channels": 208, "snr_db": -18.0}, "eeg": {"n_channels": 128, "snr_db": -22.0}}
COLUMNS = """study subject session task run recording type onset duration sound sound_onset text sequence
word_index condition speaker language stream recording_duration""".split()


def make_listening(
    n_subjects=4,
    minutes=10.0,
    *,
    modality="meg",
    snr_db=None,
    sessions=1,
    runs=1,
    artifacts=True,
    responses=None,
    n_channels=None,
    sfreq=128.0,
    random_state=0,
    root=None,
    return_truth=False,
    verbose=None,
):
    """Simulate subjects who listen to speech, and write their recordings.

    A recording is ``patterns.T @ sources + noise + artifacts``. Each source is
    a feature of the stimulus convolved with a kernel: acoustic onsets in eight
    mel bands, the envelope in these bands (power 0.3), a pulse at each phone
    with the weight of its class (which a mel spectrum does not contain), and a
    pulse at each word. Sources lie in and near the auditory cortex of both
    hemispheres. Noise has a power spectrum of 1/f^1.2, from 150 dipoles in the
    whole brain, with posterior alpha and white sensor noise. Subjects differ
    in position (6 mm s.d.) and orientation (0.25 rad) of the sources, in
    latencies (12 ms) and amplitudes (20 %) of the kernels, in weights of bands
    and phones, in noise, and in the signal-to-noise ratio (3 dB).

    Responses are linear, which favors linear decoders. A better decoder of the
    simulation is not necessarily better on real recordings.

    In each session all subjects listen to the same stimuli once, in a
    different order, with 3.5 to 6 s of silence between them. FIF files are
    written to a BIDS folder, which further calls with equal parameters reuse.

    Parameters
    ----------
    n_subjects : int, default=4
        Number of subjects. The first subjects do not depend on it.
    minutes : float, default=10.0
        Duration of speech in each session, see :func:`load_speech`. If None,
        use all of it.
    modality : {"meg", "eeg"}, default="meg"
        208 axial gradiometers in a spherical helmet, or a BioSemi cap of 128
        channels with average reference.
    snr_db : float, default=None
        Mean signal-to-noise ratio over subjects, see :class:`SubjectTruth`. If
        None, -18 for MEG and -22 for EEG, where decoding is as difficult as in
        real recordings. Values of 10 or more make a test fast, and decoding
        easier than in any real data. With -inf, recordings have noise only.
    sessions : int, default=1
        Number of presentations of all stimuli, each with another head position
        and gain if these artifacts are selected.
    runs : int, default=1
        Number of recordings in each session. Stimuli are assigned to runs by
        speaker, equally for all subjects.
    artifacts : bool or list of str, default=True
        Artifacts of the recordings. If True, all usual ones: "blinks",
        "jumps", "bursts", "shift", "gain", "attention", "line", "drift",
        "clock" and "jitter". If False, none. A list selects names, which
        include two traps for decoders, "fingerprint" (brain noise that
        identifies recordings) and "earphones" (a stimulus artifact), and
        "ignored" (an ignored second talker). Each artifact is drawn
        independently of subjects, noise and other artifacts.
        ``sk_b2s.datasets.ARTIFACTS`` describes each.
    responses : list of str, default=None
        Sources that respond to the stimuli: "onset", "envelope", "phonetic"
        and "word". The others are silent. ``snr_db`` is that of the remaining
        response. If None, all respond. With ``["phonetic", "word"]`` and a
        decoder of a mel spectrum, for example, the features of the response
        are not those of the decoder.
    n_channels : int, default=None
        Number of sensors: 4 to 208 for MEG, and 16, 32, 64 or 128 for EEG. If
        None, the largest number.
    sfreq : float, default=128.0
        Sampling rate of the recordings in Hz, 50 to 1000.
    random_state : int, default=0
        Seed. The global random state is not used.
    root : path-like, default=None
        Parent of the folder of the experiment. If None, the environment
        variable ``SK_B2S_CACHE``, else the cache folder of the user.
    return_truth : bool, default=False
        If True, also return the ground truth, for :func:`oracle_scores`.
    verbose : bool, str, int or None, default=None
        Level of messages and progress, see :func:`~sk_b2s.set_log_level`. If
        None, the level that it has set.

    Returns
    -------
    events : DataFrame
        Events table of all recordings, with the columns ``study``,
        ``subject``, ``session``, ``task``, ``run``, ``recording`` (path),
        ``type`` ("sound", "word" or "phoneme"), ``onset`` and ``duration`` (s,
        in the recording), ``sound`` (path), ``sound_onset`` (s, in the audio),
        ``text``, ``sequence``, ``word_index``, ``condition``, ``speaker``,
        ``language``, ``stream`` ("single", or "attended" and "ignored") and
        ``recording_duration`` (s).
    truth : dict of str to SubjectTruth
        Ground truth of each subject, only if ``return_truth``.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sk_b2s.datasets import make_listening
    >>> with TemporaryDirectory() as root:
    ...     events = make_listening(2, minutes=1, n_channels=16, root=root)
    >>> events.groupby("subject")["type"].value_counts().tolist()
    [890, 270, 1, 890, 270, 1]
    """
    parameters = _check_listening_parameters(
        n_subjects=n_subjects, minutes=minutes, modality=modality, snr_db=snr_db, sessions=sessions, runs=runs,
        artifacts=artifacts, responses=responses, n_channels=n_channels, sfreq=sfreq, random_state=random_state,
    )  # fmt: skip
    folder = locate_simulation_folder(root, "listening", parameters)
    write_simulation_folder(
        folder,
        parameters,
        lambda temporary: _write_listening(temporary, load_speech(minutes), parameters, verbose),
        "make_listening",
    )
    stems = {
        i: list(name_simulation_folder_files(folder, i, parameters, "listening").values())
        for i in range(n_subjects)
    }
    events = pd.concat(
        [_read_listening_events(folder, stem, modality) for i in stems for stem in stems[i]],
        ignore_index=True,
    )
    if not return_truth:
        return events
    return events, {
        f"{i + 1:02d}": read_simulation_folder_truth(folder, i, stems[i], modality) for i in stems
    }


def _check_listening_parameters(minutes, modality, snr_db, artifacts, responses, n_channels, runs, **others):
    """Check the parameters and fill in defaults, which identify the folder."""
    speech = load_speech(minutes)
    default = MODALITIES.get(modality, {}) if isinstance(modality, str) else {}
    snr_db = default.get("snr_db") if snr_db is None else snr_db
    n_channels = default.get("n_channels") if n_channels is None else n_channels
    given = {"modality": modality, "snr_db": snr_db, "n_channels": n_channels, "runs": runs, **others}
    n_sounds = int((speech["type"] == "sound").sum())
    expected = f"an integer from 1 to {n_sounds}, the number of audio files in minutes={minutes}"
    check_simulation_parameters(
        "make_listening", given, {name: values["n_channels"] for name, values in MODALITIES.items()},
        [("runs", is_parameter_count(runs) and runs <= n_sounds, expected)],
    )  # fmt: skip
    names = check_artifact_names(artifacts)
    if "ignored" in names and speech.loc[speech["type"] == "sound", "speaker"].nunique() < 2:
        raise ValueError(
            f"artifacts={artifacts!r}: an ignored talker requires two speakers, but minutes={minutes} has only one. Use "
            f"more minutes."
        )
    return {
        "version": VERSION, "modality": modality, "n_subjects": int(others["n_subjects"]),
        "sessions": int(others["sessions"]), "runs": int(runs), "artifacts": names, "snr_db": float(snr_db),
        "n_channels": int(n_channels), "sfreq": float(others["sfreq"]), "minutes": minutes and float(minutes),
        "random_state": int(others["random_state"]), **_check_listening_responses(responses),
    }  # fmt: skip


def _check_listening_responses(responses):
    """Return the parameter of responses, none if all sources respond."""
    if responses is None:
        return {}
    names = [] if isinstance(responses, str) else list(responses)
    if not names or not set(names) <= set(SOURCES):
        raise ValueError(
            f"The 'responses' parameter of make_listening must be a list of {list(SOURCES)}, or None for all of them. Got "
            f"{responses!r} instead."
        )
    chosen = [name for name in SOURCES if name in names]
    return {} if chosen == list(SOURCES) else {"responses": chosen}


# --- folder ------------------------------------------------------------------------------------


def _write_listening(folder, speech, parameters, verbose=None):
    names = _write_listening_stimuli(folder / "stimuli", speech[speech["type"] == "sound"])
    sounds = [rows for _, rows in speech.groupby("sound", sort=False)]
    features = [
        compute_source_features(rows["sound"].iloc[0], rows["duration"].iloc[0], rows) for rows in sounds
    ]
    sounds = [rows.assign(stim_file=name) for rows, name in zip(sounds, names, strict=True)]
    sensors = make_sensors_on_head(parameters["modality"], parameters["n_channels"], parameters["sfreq"])
    for index in iterate_with_logged_progress(
        range(parameters["n_subjects"]), "simulated subjects", verbose=verbose
    ):
        _write_listening_subject(folder, index, sensors, sounds, features, parameters)


def _write_listening_stimuli(folder, sounds):
    """Copy or shorten the audio files, and return their names."""
    folder.mkdir(parents=True)
    names = []
    for path, stop in zip(map(Path, sounds["sound"]), sounds["duration"], strict=True):
        info = sf.info(path)
        if stop >= info.duration:
            names.append(path.name)
            shutil.copyfile(path, folder / path.name)
        else:
            names.append(f"{path.stem}-first{round(stop * 1000)}ms.flac")
            samples, rate = sf.read(path, frames=round(stop * info.samplerate))
            sf.write(folder / names[-1], samples, rate)
    return names


def _write_listening_subject(folder, index, sensors, sounds, features, parameters):
    """Write the recordings of a subject, with tables and ground truth."""
    seed, modality, sfreq = [parameters["random_state"], index], parameters["modality"], parameters["sfreq"]
    subject = draw_subject_sources(make_ground_truth_rng(seed, "listener"), parameters["snr_db"])
    responses = parameters.get("responses", SOURCES)
    subject = subject._replace(weights={name: w * (name in responses) for name, w in subject.weights.items()})
    truth = SubjectTruth(*subject[:5])
    write_ground_truth(find_simulation_folder_truth(folder, f"sub-{index + 1:02d}"), truth)
    scale = None
    for (session, run), stem in name_simulation_folder_files(folder, index, parameters, "listening").items():
        stem.parent.mkdir(parents=True, exist_ok=True)
        recording_seed = [*seed, session, run]
        events, schedule, seconds = plan_recording_schedule(recording_seed, sounds, features, parameters)
        n_times = int(np.ceil(seconds * sfreq))
        data, truth, scale = simulate_recording(
            recording_seed,
            subject,
            sensors,
            modality,
            parameters["artifacts"],
            features,
            schedule,
            n_times,
            scale,
        )
        write_ground_truth(find_simulation_folder_truth(folder, stem.name), truth)
        write_simulation_folder_recording(stem, data, sensors[0], modality, "listening", events)


# --- reading -----------------------------------------------------------------------------------


def _read_listening_events(folder, stem, modality):
    events = read_simulation_folder_events(stem, modality).rename(columns={"stim_file": "sound"})
    paths = {name: str(folder / "stimuli" / name) for name in events["sound"].unique()}
    events["sound"] = events["sound"].map(paths)
    return events.assign(condition="story")[COLUMNS]

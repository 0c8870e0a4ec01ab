"""Folders of simulated experiments, in BIDS layout."""

import hashlib
import json
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

import mne
import pandas as pd
import pooch

from sk_b2s.datasets.simulated._ground_truth import RecordingTruth, SubjectTruth, read_ground_truth

# Fields that BIDS requires.
SIDECAR_FIELDS = {
    "meg": {"DewarPosition": "upright", "DigitizedLandmarks": False, "DigitizedHeadPoints": False},
    "eeg": {"EEGReference": "average"},
}
CHANNELS = {"meg": {"type": "MEGGRADAXIAL", "units": "T"}, "eeg": {"type": "EEG", "units": "V"}}


def locate_simulation_folder(root, task, parameters):
    """Return the folder of an experiment of these parameters."""
    root = Path(root or os.environ.get("SK_B2S_CACHE") or pooch.os_cache("sk_b2s")).absolute()
    key = json.dumps(parameters, sort_keys=True)
    return root / f"{task}-{parameters['modality']}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def name_simulation_folder_files(folder, index, parameters, task):
    """Return the paths of recordings without suffix, by (session, run)."""
    stems, runs = {}, parameters.get("runs", 1)
    for session in range(parameters["sessions"]):
        for run in range(runs):
            ses = f"ses-{session + 1:02d}" if parameters["sessions"] > 1 else ""
            part = f"run-{run + 1:02d}" if runs > 1 else ""
            name = "_".join(filter(None, [f"sub-{index + 1:02d}", ses, f"task-{task}", part]))
            stems[session, run] = folder / f"sub-{index + 1:02d}" / ses / parameters["modality"] / name
    return stems


def is_simulation_complete(folder, parameters):
    """Return whether the folder has these parameters and all its files."""
    try:
        description = json.loads((folder / "dataset_description.json").read_text())
    except (OSError, ValueError):
        return False
    return description.get("Parameters") == parameters and all(
        (folder / name).is_file() for name in description.get("Files", [None])
    )


def write_simulation_folder(folder, parameters, write, owner):
    """Write to a temporary folder and rename it when it is complete.

    Parameters
    ----------
    folder : Path
        Folder of the experiment.
    parameters : dict
        Parameters that identify it.
    write : callable
        ``write(folder)`` writes stimuli and recordings.
    owner : str
        Name of the public function, such as "make_listening".
    """
    if is_simulation_complete(folder, parameters):
        return
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        write(temporary)
        _write_simulated_description(temporary, parameters, owner)
        _move_simulation_folder(temporary, folder, parameters)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_simulation_folder(temporary, folder, parameters):
    """Rename a folder, unless another process was first.

    A complete folder is never removed, because its files may be in use.
    """
    while not is_simulation_complete(folder, parameters):
        try:
            temporary.rename(folder)
        except OSError:  # the folder exists
            if not folder.exists():
                raise
            old = temporary.with_name(f"{temporary.name}-old")
            with suppress(FileNotFoundError):  # another process has moved it
                folder.rename(old)
            if is_simulation_complete(old, parameters):  # completed since it was checked
                with suppress(OSError):
                    old.rename(folder)
            shutil.rmtree(old, ignore_errors=True)


def _write_simulated_description(folder, parameters, owner):
    kind = owner.removeprefix("make_")
    subjects = [f"sub-{index + 1:02d}" for index in range(parameters["n_subjects"])]
    pd.DataFrame({"participant_id": subjects}).to_csv(folder / "participants.tsv", sep="\t", index=False)
    (folder / "README").write_text(
        f"Simulated {kind} experiment without real recordings, see sk_b2s.datasets.{owner}.\n"
    )
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    description = {
        "Name": f"Simulated {kind}", "BIDSVersion": "1.10.0", "DatasetType": "raw",
        "GeneratedBy": [{"Name": f"sk_b2s.datasets.{owner}"}], "Parameters": parameters, "Files": files,
    }  # fmt: skip
    (folder / "dataset_description.json").write_text(json.dumps(description, indent=1))


def write_simulation_folder_recording(stem, data, info, modality, task, events):
    """Write a recording with its sidecar files.

    Parameters
    ----------
    stem : Path
        Path without suffix.
    data : ndarray of shape (n_channels, n_times)
        Recording in T or V.
    info : Info
        Sensors.
    modality, task : str
        "meg" or "eeg", and the task.
    events : DataFrame
        Rows of the BIDS events file.
    """
    raw = mne.io.RawArray(data, info.copy(), verbose="ERROR")
    raw.save(f"{stem}_{modality}.fif", fmt="single", verbose="ERROR")
    sidecar = {
        "TaskName": task, "SamplingFrequency": info["sfreq"],
        "RecordingDuration": data.shape[1] / info["sfreq"], "PowerLineFrequency": 50, "SoftwareFilters": "n/a",
        **SIDECAR_FIELDS[modality],
    }  # fmt: skip
    Path(f"{stem}_{modality}.json").write_text(json.dumps(sidecar, indent=1))
    channels = {"name": raw.ch_names, **CHANNELS[modality], "status": "good"}
    pd.DataFrame(channels).to_csv(f"{stem}_channels.tsv", sep="\t", index=False)
    events.to_csv(f"{stem}_events.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.4f")


def find_simulation_folder_truth(folder, name):
    """Return the path of the ground truth of a subject or recording."""
    return folder / "derivatives" / "truth" / f"{name}.npz"


def read_simulation_folder_events(stem, modality):
    """Read the events of a recording with the columns of its path."""
    events = pd.read_csv(f"{stem}_events.tsv", sep="\t", keep_default_na=False, na_values=["n/a"])
    entities = dict(part.split("-") for part in stem.name.split("_"))
    sidecar = json.loads(Path(f"{stem}_{modality}.json").read_text())
    return events.rename(columns={"trial_type": "type"}).assign(
        study="simulated", subject=entities["sub"], task=entities["task"], session=entities.get("ses", ""),
        run=entities.get("run", ""), recording=f"{stem}_{modality}.fif",
        recording_duration=sidecar["RecordingDuration"],
    )  # fmt: skip


def read_simulation_folder_truth(folder, index, stems, modality):
    """Read the ground truth of a subject and its recordings."""
    truth = read_ground_truth(find_simulation_folder_truth(folder, f"sub-{index + 1:02d}"), SubjectTruth)
    for stem in stems:
        path = find_simulation_folder_truth(folder, stem.name)
        truth.recordings[f"{stem}_{modality}.fif"] = read_ground_truth(path, RecordingTruth)
    return truth

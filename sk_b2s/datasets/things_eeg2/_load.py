"""THINGS-EEG2 (Gifford et al., 2022): EEG of 10 participants who view images.

Each participant viewed 16,540 training images of 1,654 concepts (4 times each)
and 200 test images of 200 other concepts (80 times each), one every 0.2 s, in
four sessions with 63 EEG channels.

Citation
    Gifford, Dwivedi, Roig, Cichy (2022). A large and rich EEG dataset for
    modeling human visual object recognition. NeuroImage 264:119754.
    https://doi.org/10.1016/j.neuroimage.2022.119754
License
    See the pages of the source. The images are those of THINGS, which may be
    used for research only.
Source
    OSF, https://osf.io/3jk45: raw recordings (crxs4), preprocessed trials
    (anp5v), and images with ``image_metadata.npy`` (y63gw).
Size
    Raw recordings have about 20 GB for each participant, unpacked.
Manual steps
    None with :func:`~sk_b2s.datasets.fetch_things_eeg2`.
"""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from sk_b2s._utils._caching import cache_folder, digest_cached_content
from sk_b2s.datasets._archives import unpack_archive
from sk_b2s.datasets._download import (
    check_download_subjects,
    describe_manual_download,
    download,
    strip_download_subjects,
)
from sk_b2s.datasets._listings import read_osf_listing
from sk_b2s.datasets._study import check_study_root, require_study_file, select_study_names
from sk_b2s.datasets.things_eeg2._npy_dictionary import read_npy_dictionary
from sk_b2s.events._images import ImageStimulus

STUDY = "things_eeg2"
HINT = "Download it with sk_b2s.datasets.fetch_things_eeg2, or from https://osf.io/3jk45."
OSF = "https://api.osf.io/v2/nodes"
NODES = {"raw": "crxs4", "preprocessed": "anp5v"}
IMAGES = "y63gw"
METADATA = "image_metadata.npy"
PARTS = {"training": "train", "test": "test"}  # and their name in the metadata
TARGET = 99999  # code of the images of the task of the participants
DURATION = 0.1  # s
RAW = re.compile(r"raw_eeg_(training|test)\.npy")
RAW_KEYS = ("raw_eeg_data", "ch_names", "ch_types", "sfreq")
TRIAL_KEYS = ("preprocessed_eeg_data", "ch_names", "times")


def load_things_eeg2(root, subjects=None, sessions=None, parts=None):
    """Load the events of the raw edition of THINGS-EEG2.

    Parameters
    ----------
    root : path-like
        Folder with ``sub-01/ses-01/raw_eeg_training.npy`` and
        ``raw_eeg_test.npy``, also in a folder ``raw_data``, and with
        ``image_metadata.npy``, also in a folder ``image_set``.
    subjects : str or sequence of str, default=None
        Subjects, "01" to "10". If None, load all that exist.
    sessions : str or sequence of str, default=None
        Sessions, "01" to "04". If None, load all that exist.
    parts : str or sequence of str, default=None
        "training" and "test". If None, load both.

    Returns
    -------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`, with one row for each
        image. ``image`` is the name of the file without suffix, ``category``
        the concept of THINGS, and ``partition`` is "training" or "test".
        Targets of the task of the participants are omitted.

    Raises
    ------
    FileNotFoundError
        If no recording, or ``image_metadata.npy``, exists.
    ValueError
        If a file has another layout, or if a requested subject, session or
        part does not exist.

    See Also
    --------
    load_things_eeg2_trials : The preprocessed edition.
    fetch_things_eeg2 : Download the study.

    Notes
    -----
    The published files hold a pickled dictionary, which can run any code when
    it is loaded. Here only arrays and plain data are read, and other objects
    are refused. Each recording is converted once to a FIF file in the cache
    folder (``SK_B2S_CACHE``). Its values are taken as volts, as in the code of
    the authors. An onset is the sample where the channel "stim" becomes the
    number of an image.

    Layout and names are those of the published preprocessing code. They were
    not compared with the recordings themselves.

    References
    ----------
    .. [1] Gifford, Dwivedi, Roig, Cichy (2022). A large and rich EEG dataset
       for modeling human visual object recognition. NeuroImage 264:119754.
       https://doi.org/10.1016/j.neuroimage.2022.119754
    """
    root = check_study_root(root, STUDY, HINT)
    found = [
        {"path": path, "subject": path.parts[-3][4:], "session": path.parts[-2][4:], "part": match[1]}
        for path in sorted(root.glob("**/sub-*/ses-*/raw_eeg_*.npy"))
        if (match := RAW.fullmatch(path.name))
    ]
    if not found:
        raise FileNotFoundError(f"{STUDY}: {str(root)!r} has no sub-*/ses-*/raw_eeg_training.npy. {HINT}")
    for name, requested in (("subjects", subjects), ("sessions", sessions), ("parts", parts)):
        available = sorted({row[name[:-1]] for row in found})
        selected = select_study_names(name, requested, available, STUDY)
        found = [row for row in found if row[name[:-1]] in selected]
    images = _read_things_images(root)
    return pd.concat([_load_things_recording(row, images) for row in found], ignore_index=True).assign(
        study=STUDY
    )


def load_things_eeg2_trials(root, subject, part="training"):
    """Load the preprocessed edition of THINGS-EEG2.

    Parameters
    ----------
    root : path-like
        Folder with ``sub-01/preprocessed_eeg_training.npy``, also in another
        folder, and with ``image_metadata.npy``.
    subject : str
        Subject, "01" to "10".
    part : {"training", "test"}, default="training"
        Which images.

    Returns
    -------
    X : Windows of shape (n_trials, n_channels, n_times)
        Trials, from ``times[0]`` to ``times[-1]`` of the file. ``rows`` has
        ``subject`` and ``session``.
    y : DataFrame of shape (n_trials, n_columns)
        Segments as those of :func:`~sk_b2s.make_segments`, with ``image``,
        ``category``, ``repetition`` and ``partition``.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If a file has another layout, or the subject or part does not exist.

    See Also
    --------
    load_things_eeg2 : The raw edition.

    Notes
    -----
    In this edition trials are sorted by image, and sessions are not separate.
    The order and time of presentation are lost, so the controls
    "shifted_labels", "phase_randomized" and "recording_order" of
    :func:`~sk_b2s.run_controls` cannot run. Use the raw edition to check a
    result. The authors whitened the trials with the covariance of all training
    trials of a session.
    """
    from sk_b2s.preprocessing._images import describe_image_segments
    from sk_b2s.preprocessing._windows._windows import Windows  # imports torch

    root = check_study_root(root, STUDY, HINT)
    if part not in PARTS:
        raise ValueError(f"{STUDY}: 'part' must be one of {list(PARTS)}. Got {part!r} instead.")
    name = f"preprocessed_eeg_{part}.npy"
    paths = {path.parts[-2][4:]: path for path in sorted(root.glob(f"**/sub-*/{name}"))}
    if not paths:
        raise FileNotFoundError(f"{STUDY}: {str(root)!r} has no sub-*/{name}. {HINT}")
    (selected,) = select_study_names("subject", [str(subject)], sorted(paths), STUDY)
    content = read_npy_dictionary(paths[selected], TRIAL_KEYS, STUDY)
    data, times = np.asarray(content["preprocessed_eeg_data"]), np.asarray(content["times"], float)
    images = _read_things_images(root)[part]
    expected = (len(images), None, len(content["ch_names"]), len(times))
    if data.ndim != 4 or any(
        size not in (None, found) for size, found in zip(expected, data.shape, strict=True)
    ):
        raise ValueError(
            f"{STUDY}: preprocessed_eeg_data of {str(paths[selected])!r} must have the shape (n_images, "
            f"n_repetitions, n_channels, n_times), here {expected}. Got {data.shape} instead."
        )
    n_repetitions = data.shape[1]
    trials = images.loc[np.repeat(images.index, n_repetitions)].reset_index(drop=True)
    sfreq = (len(times) - 1) / (times[-1] - times[0])
    y = trials.assign(
        repetition=np.tile(np.arange(n_repetitions), len(images)), partition=part, subject=selected,
        sound=trials["image"].map(ImageStimulus), sound_onset=times[0], duration=len(times) / sfreq,
    )  # fmt: skip
    y = describe_image_segments(y, times[0]).drop(columns=["digest", "subject"])
    X = Windows.from_array(
        data.reshape(-1, *data.shape[2:]).astype(np.float32),
        rows=pd.DataFrame({"subject": selected, "session": ""}, index=y.index), sfreq=sfreq,
    )  # fmt: skip
    return X, y


def _read_things_images(root):
    """Return image and category of each condition (from 1), by part."""
    paths = sorted(root.glob(f"**/{METADATA}"))
    path = require_study_file(
        paths[0] if paths else root / METADATA, STUDY, f"{HINT} It is part of the images."
    )
    names = [(part, f"{name}_img_files", f"{name}_img_concepts") for part, name in PARTS.items()]
    content = read_npy_dictionary(path, [key for _, *keys in names for key in keys], STUDY)
    images = {}
    for part, files, concepts in names:
        # Concepts of THINGS have the same numbers in both parts.
        category = [str(one) for one in content.get(f"{concepts}_THINGS", content[concepts])]
        image = [Path(str(one)).stem for one in content[files]]
        if len(category) != len(image):
            raise ValueError(
                f"{STUDY}: {str(path)!r} has {len(image)} {files} and {len(category)} concepts. Download it again."
            )
        images[part] = pd.DataFrame({"image": image, "category": category}, index=range(1, len(image) + 1))
    return images


def _load_things_recording(row, images):
    """Return the events of one recording, and convert it if necessary."""
    path = require_study_file(row["path"], STUDY, HINT)
    folder = cache_folder() / STUDY
    stem = f"sub-{row['subject']}_ses-{row['session']}_{row['part']}-{digest_cached_content(path)[:12]}"
    recording, table = folder / f"{stem}_raw.fif", folder / f"{stem}_events.csv"
    if not (recording.is_file() and table.is_file()):
        _convert_things_recording(path, recording, table)
    events = pd.read_csv(table)
    of_image = images[row["part"]]
    if (unknown := ~events["code"].isin(of_image.index)).any():
        raise ValueError(
            f"{STUDY}: {str(path)!r} has the image number {events['code'][unknown].iloc[0]}, but {METADATA} has "
            f"1 to {len(of_image)} for {row['part']}. Check that both files belong to the same edition."
        )
    return events[["onset", "recording_duration"]].assign(
        type="image", duration=DURATION, image=of_image["image"].loc[events["code"]].to_numpy(),
        category=of_image["category"].loc[events["code"]].to_numpy(), partition=row["part"],
        subject=row["subject"], session=row["session"], recording=str(recording),
    )  # fmt: skip


def _convert_things_recording(path, recording, table):
    """Write a recording as FIF, and its image numbers as a table."""
    content = read_npy_dictionary(path, RAW_KEYS, STUDY)
    data, sfreq = np.asarray(content["raw_eeg_data"]), float(content["sfreq"])
    names, kinds = ([str(one) for one in content[key]] for key in ("ch_names", "ch_types"))
    is_stim = np.array([kind == "stim" for kind in kinds])
    if data.ndim != 2 or not len(data) == len(names) == len(kinds) or is_stim.sum() != 1:
        raise ValueError(
            f"{STUDY}: {str(path)!r} must have raw_eeg_data of shape (n_channels, n_times) with one 'stim' channel. Got "
            f"shape {data.shape}, {len(names)} ch_names and {int(is_stim.sum())} 'stim' channels."
        )
    code = np.round(data[is_stim][0]).astype(int)
    onset = np.flatnonzero((code != 0) & (code != np.r_[0, code[:-1]]))
    onset = onset[code[onset] != TARGET]
    info = mne.create_info(list(np.array(names)[~is_stim]), sfreq, list(np.array(kinds)[~is_stim]))
    raw = mne.io.RawArray(data[~is_stim].astype(np.float32), info, verbose="ERROR")
    raw.set_montage("standard_1005", on_missing="ignore", verbose="ERROR")
    recording.parent.mkdir(parents=True, exist_ok=True)
    part = recording.with_name(f".{recording.name.removesuffix('_raw.fif')}.part_raw.fif")
    raw.save(part, fmt="single", overwrite=True, verbose="ERROR")
    part.replace(recording)
    part = table.with_name(f".{table.name}.part")
    pd.DataFrame({
        "code": code[onset], "onset": onset / sfreq, "recording_duration": data.shape[1] / sfreq,
    }).to_csv(part, index=False)  # fmt: skip
    part.replace(table)  # an interrupted conversion is repeated


# --- download ----------------------------------------------------------------------------------------


def fetch_things_eeg2(root, subjects=None, edition="raw", progress=True):
    """Download THINGS-EEG2 from OSF, and unpack it.

    Parameters
    ----------
    root : path-like
        Folder of the study. Complete files are not downloaded again, and
        partial downloads are resumed.
    subjects : str or sequence of str, default=None
        Subjects, "01" to "10". If None, download all.
    edition : {"raw", "preprocessed"}, default="raw"
        Recordings for :func:`load_things_eeg2`, or trials for
        :func:`load_things_eeg2_trials`. ``image_metadata.npy`` is always
        downloaded, and the images are not.
    progress : bool, default=True
        Show a progress bar for each file.

    Returns
    -------
    root : Path
        Folder for the loaders.

    Raises
    ------
    ConnectionError, PermissionError, ValueError, OSError
        As in :func:`fetch_gwilliams2022`.
    """
    if edition not in NODES:
        raise ValueError(f"{STUDY}: 'edition' must be one of {list(NODES)}. Got {edition!r} instead.")
    requested = strip_download_subjects(subjects)
    manual = describe_manual_download(f"https://osf.io/{NODES[edition]}", root)
    files = _list_files(NODES[edition], manual)
    archives = {
        Path(file.path).stem.removeprefix("sub-"): file for file in files if _is_things_archive(file.path)
    }
    check_download_subjects(requested, set(archives))
    wanted = [file for name, file in archives.items() if requested is None or name in requested]
    if not wanted:
        raise ValueError(f"{STUDY}: OSF lists no files sub-*.zip. {manual}")
    manual = describe_manual_download(f"https://osf.io/{IMAGES}", root)
    wanted += [file for file in _list_files(IMAGES, manual) if Path(file.path).name == METADATA]
    root = download(wanted, root, progress)
    for file in wanted:
        if _is_things_archive(file.path):
            unpack_archive(
                Path(root) / file.path, Path(root), lambda name: name if name.endswith(".npy") else None
            )
    return root


def _list_files(node, manual):
    return read_osf_listing(f"{OSF}/{node}/files/osfstorage/?page[size]=100", None, manual)


def _is_things_archive(path):
    return re.fullmatch(r"sub-\d+\.zip", Path(path).name) is not None

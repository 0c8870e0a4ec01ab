"""SparrKULee (Accou et al., 2024): EEG of 85 participants.

Participants listened to audiobooks and podcasts in Dutch for 90 to 150
minutes, with 64 EEG channels. The auditory EEG challenges of ICASSP 2023 and
2024 used this study.

Citation
    Accou, Bollens, Gillis, Verheijen, Van hamme, Francart (2024). SparrKULee:
    A speech-evoked auditory response repository from KU Leuven, containing the
    EEG of 85 participants. Data 9:94. https://doi.org/10.3390/data9080094
License
    CC BY-NC 4.0: commercial use is not allowed.
Source
    KU Leuven RDR, https://doi.org/10.48804/K3VSND (until April 2026), and
    https://homes.esat.kuleuven.be/~spchdata/corpora/auditory_eeg_data, which
    is mounted with rclone (since April 2026).
Size
    136 GB in total. Preprocessed EEG at 64 Hz has about 0.2 GB for each
    participant, and the raw recordings 1.5 GB.
Manual steps
    None for the preprocessed files of RDR with
    :func:`~sk_b2s.datasets.fetch_accou2024`. Files of five participants are
    restricted: write to sparrkulee@kuleuven.be. The files of the challenges
    (``split_data``) require registration at
    https://exporl.github.io/auditory-eeg-challenge-2024.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from functools import lru_cache

import numpy as np
import pandas as pd
import soundfile

from sk_b2s._utils._caching import cache_folder, digest_cached_content
from sk_b2s.datasets._download import (
    check_download_subjects,
    describe_manual_download,
    download,
    strip_download_subjects,
)
from sk_b2s.datasets._listings import read_dataverse_listing
from sk_b2s.datasets._study import (
    check_study_root,
    combine_study_tables,
    require_study_file,
    select_study_names,
    warn_of_missing_study_parts,
)
from sk_b2s.events._stimuli import StimulusArray, stimulus_duration

STUDY = "accou2024"
RDR, DOI = "https://rdr.kuleuven.be", "doi:10.48804/K3VSND"
MOUNT = "https://homes.esat.kuleuven.be/~spchdata/corpora/auditory_eeg_data"
CHALLENGE = "https://exporl.github.io/auditory-eeg-challenge-2024"
MAIL = "sparrkulee@kuleuven.be"
HINT = f"Download it with sk_b2s.datasets.fetch_accou2024, or mount the data set with rclone ({MOUNT})."
SPLIT_HINT = (
    f"The files of the challenges require registration at {CHALLENGE}. Save them in derivatives/split_data."
)
SFREQ = 64.0  # Hz of EEG and features
FEATURES = ("envelope", "mel")
PARTS = {"train": "train", "val": "validation", "test": "test"}
EEG = re.compile(
    r"sub-(?P<subject>\d+)_ses-(?P<session>[A-Za-z0-9]+)_task-(?P<task>[A-Za-z0-9]+)_run-(?P<run>\d+)"
    r"_desc-preproc-audio-(?P<name>.+)_eeg\.npy"
)
SPLIT = re.compile(r"(?P<part>train|val|test)_-_sub-(?P<subject>\d+)_-_(?P<name>.+)_-_eeg\.npy")
# Recordings without enough triggers, as listed in the README of the data set.
UNALIGNED = {
    ("006", "shortstories01", "06"),
    ("017", "shortstories01", "03"),
    ("048", "varyingStories05", "04"),
}
MIN_CORRELATION = 0.99  # of the features of two subjects that are one stimulus
MAX_DIFFERENCE = 10.0  # s between the durations of EEG and stimulus without a warning


def load_accou2024(
    root, subjects=None, sessions=None, data="preprocessed", stimuli="envelope", need_recordings=True
):  # fmt: skip
    """Load the events of SparrKULee, or the files of the challenges.

    Parameters
    ----------
    root : path-like
        Folder with ``derivatives``, or the folder ``derivatives`` itself.
    subjects : str or sequence of str, default=None
        Subjects, "001" to "085". If None, load all that exist.
    sessions : str or sequence of str, default=None
        Sessions, such as "shortstories01" or "varyingStories01". If None, load
        all that exist. It must be None for ``data="split"``, whose files have
        no session.
    data : {"preprocessed", "split"}, default="preprocessed"
        "preprocessed" are whole recordings at 64 Hz
        (``preprocessed_eeg``). "split" are the files of the challenges
        (``split_data``), in parts of 80, 10 and 10 % of each recording.
    stimuli : {"envelope", "mel", "audio"}, default="envelope"
        Stimuli: the published features at 64 Hz as
        :class:`~sk_b2s.StimulusArray`, or the audio of ``stimuli/eeg``, which
        is converted to WAV files in the cache folder (``SK_B2S_CACHE``). Audio
        is not available for ``data="split"``.
    need_recordings : bool, default=True
        If False, also load recordings that are placeholders of git-annex.

    Returns
    -------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`, with one stimulus for
        each recording and no words. Additional columns are ``task``, ``run``
        and ``language`` for whole recordings, and ``partition`` ("train",
        "validation" or "test") and ``language`` for parts.

    Raises
    ------
    FileNotFoundError
        If no recording exists. The message describes how to get them.
    ValueError
        If a file has another layout, or if a requested subject or session does
        not exist.

    Warns
    -----
    UserWarning
        If recordings are omitted because their stimulus is missing or could
        not be aligned, or if EEG and stimulus differ in duration.

    See Also
    --------
    fetch_accou2024 : Download the preprocessed files.

    Notes
    -----
    The first sample of preprocessed EEG is the onset of its stimulus. Both
    end at the shorter duration. Use ``PrecomputedFeatures`` for the features,
    and windows without words: ``make_segments(events, anchor=1.0, tmin=0,
    tmax=5)`` for match-mismatch with windows of 5 s.

    The parts of the challenges were cut to the shorter of EEG and stimulus and
    normalized for each recording. Files of two subjects whose features
    correlate by more than .99 are one stimulus here, so that splits by
    stimulus remain possible.

    Layout and names are those of the published preprocessing code. They were
    not compared with the recordings themselves. Raw recordings (``.bdf.gz``)
    must be unpacked. Their stimuli are aligned by triggers, with
    :func:`~sk_b2s.events_from_raw`.

    References
    ----------
    .. [1] Accou et al. (2024). SparrKULee: A speech-evoked auditory response
       repository from KU Leuven, containing the EEG of 85 participants. Data
       9:94. https://doi.org/10.3390/data9080094
    """
    root = check_study_root(root, STUDY, HINT)
    if data not in ("preprocessed", "split"):
        raise ValueError(f"{STUDY}: 'data' must be 'preprocessed' or 'split'. Got {data!r} instead.")
    allowed = FEATURES if data == "split" else (*FEATURES, "audio")
    if stimuli not in allowed:
        raise ValueError(
            f"{STUDY}: 'stimuli' must be one of {allowed} with data={data!r}. Got {stimuli!r} instead."
        )
    if data == "split" and sessions is not None:
        raise ValueError(f"{STUDY}: 'sessions' must be None with data='split'. Got {sessions!r} instead.")
    derivatives = root if root.name == "derivatives" else root / "derivatives"
    found = (
        _find_sparrkulee_parts(derivatives) if data == "split" else _find_sparrkulee_recordings(derivatives)
    )
    if not found:
        raise FileNotFoundError(
            f"{STUDY}: {str(derivatives)!r} has no split_data/train_-_sub-*_-_*_-_eeg.npy. {SPLIT_HINT}"
            if data == "split"
            else f"{STUDY}: {str(derivatives)!r} has no preprocessed_eeg/sub-*/ses-*/sub-*_desc-preproc-audio-*_eeg.npy. "
            f"{HINT}"
        )
    for name, requested in (("subjects", subjects), ("sessions", sessions)):
        field = name[:-1]
        if requested is not None:
            available = sorted({row[field] for row in found})
            selected = select_study_names(name, requested, available, STUDY)
            found = [row for row in found if row[field] in selected]
    tables, missing, differing = [], [], []
    arrays: dict = {}
    for row in found:
        path = row.pop("path")
        if need_recordings:
            require_study_file(path, STUDY, HINT)
        try:
            sound = _find_sparrkulee_stimulus(derivatives, path, row, stimuli, arrays)
        except FileNotFoundError as error:
            missing.append((path.name, error))
            continue
        duration = stimulus_duration(sound)
        if path.is_file() and (eeg := _read_sparrkulee_duration(path)) is not None:
            if abs(eeg - duration) > MAX_DIFFERENCE:
                differing.append(f"{path.name} ({eeg:.1f} s, and {duration:.1f} s of its stimulus)")
            duration = min(duration, eeg)
        row.pop("name"), row.pop("part", None)
        tables.append(pd.DataFrame([{
            "type": "sound", "onset": 0.0, "duration": duration, "sound": sound, "sound_onset": 0.0, **row,
            "recording": str(path), "language": "nl",
        }]))  # fmt: skip
    if missing and not tables:
        raise missing[0][1]
    warn_of_missing_study_parts(
        STUDY, "recordings whose stimulus is missing are omitted", [n for n, _ in missing]
    )
    warn_of_missing_study_parts(
        STUDY, "EEG and stimulus differ in duration, and the shorter is used, in", differing
    )
    return combine_study_tables(tables, STUDY, need_recordings)


def _find_sparrkulee_recordings(derivatives):
    """Find whole recordings, without those that could not be aligned."""
    found, unaligned = [], []
    for path in sorted((derivatives / "preprocessed_eeg").glob("**/sub-*_eeg.npy")):
        if not (match := EEG.fullmatch(path.name)):
            continue
        if (match["subject"], match["session"], match["run"]) in UNALIGNED:
            unaligned.append(path.name)
            continue
        found.append({**match.groupdict(), "path": path})
    warn_of_missing_study_parts(STUDY, "recordings without enough triggers are omitted", unaligned)
    return found


def _find_sparrkulee_parts(derivatives):
    """Find the parts of recordings of the challenges."""
    found = []
    for path in sorted((derivatives / "split_data").glob("*_-_eeg.npy")):
        if match := SPLIT.fullmatch(path.name):
            found.append({**match.groupdict(), "partition": PARTS[match["part"]], "path": path})
    return found


# --- stimuli -----------------------------------------------------------------------------------------


def _find_sparrkulee_stimulus(derivatives, path, row, stimuli, arrays):
    """Return the stimulus of a recording, equal for all subjects."""
    if "part" in row:
        file = require_study_file(
            path.with_name(path.name.replace("_-_eeg.npy", f"_-_{stimuli}.npy")), STUDY, SPLIT_HINT
        )
        name = f"{row['name']} ({row['partition']})"
        return _share_equal_features(
            arrays, name, StimulusArray(_read_sparrkulee_features(file), SFREQ, name)
        )
    if stimuli == "audio":
        audio = derivatives.parent / "stimuli/eeg" / f"{row['name']}.npz.gz"
        return convert_accou2024_audio(
            require_study_file(audio, STUDY, f"{HINT} Some stimuli are restricted: {MAIL}.")
        )
    if row["name"] not in arrays:
        folder = derivatives / "preprocessed_stimuli"
        files = [folder / f"{row['name']}{middle}{stimuli}.npy" for middle in ("_-_", "_")]
        file = next((file for file in files if file.exists()), files[-1])
        file = require_study_file(file, STUDY, f"Its name may also be {files[0].name!r}. {HINT}")
        arrays[row["name"]] = StimulusArray(_read_sparrkulee_features(file), SFREQ, row["name"])
    return arrays[row["name"]]


def _share_equal_features(arrays, name, array):
    """Return an earlier array with the same features, or the array."""
    for other in arrays.setdefault(name, []):
        size = min(len(array.data), len(other.data))
        first, second = array.data[:size].ravel(), other.data[:size].ravel()
        if array.data.shape[1] == other.data.shape[1] and np.corrcoef(first, second)[0, 1] > MIN_CORRELATION:
            return other
    arrays[name].append(array)
    return array


def _read_sparrkulee_features(path):
    """Read features at 64 Hz, (n_times, n_features)."""
    try:
        data = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{STUDY}: {str(path)!r} cannot be read: {error}. It is probably truncated. Download it again."
        ) from error
    data = data[:, None] if data.ndim == 1 else data
    if data.ndim != 2 or not np.issubdtype(data.dtype, np.floating) or len(data) < 2:
        raise ValueError(
            f"{STUDY}: {str(path)!r} must have the shape (n_times, n_features). Got {data.dtype} {data.shape} instead."
        )
    data = data.T if data.shape[0] < data.shape[1] else data
    if not np.isfinite(data).all():
        raise ValueError(
            f"{STUDY}: {str(path)!r} has {np.count_nonzero(~np.isfinite(data))} NaN or infinite values. Download it again."
        )
    return data


@lru_cache(maxsize=4096)
def _read_sparrkulee_duration(path):
    """Read the duration (s) of EEG from the header, None if unreadable."""
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except (ValueError, OSError, EOFError):
        return None  # reported with the recording when it is read
    return max(shape) / SFREQ


def convert_accou2024_audio(path):
    """Convert a stimulus to a WAV file in the cache folder.

    Parameters
    ----------
    path : Path
        File ``.npz.gz`` with the arrays ``audio`` and ``fs`` (Hz).

    Returns
    -------
    path : str
        WAV file, whose name includes a digest of the content.
    """
    target = cache_folder() / STUDY / f"{path.name.split('.')[0]}-{digest_cached_content(path)[:12]}.wav"
    if target.is_file():
        return str(target)
    try:
        with gzip.open(path) as packed, np.load(io.BytesIO(packed.read()), allow_pickle=False) as content:
            audio, rate = np.asarray(content["audio"], float).squeeze(), int(content["fs"])
    except (OSError, EOFError, KeyError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{STUDY}: {str(path)!r} must be a compressed archive with 'audio' and 'fs': {type(error).__name__}: {error}. "
            f"It is probably truncated. Download it again."
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part.wav")
    soundfile.write(part, audio, rate, subtype="FLOAT")
    part.replace(target)
    return str(target)


# --- download ----------------------------------------------------------------------------------------


def fetch_accou2024(root, subjects=None, audio=False, progress=True):
    """Download the preprocessed files of SparrKULee from KU Leuven RDR.

    They have about 0.2 GB for each subject. The license is CC BY-NC 4.0, which
    does not allow commercial use.

    Parameters
    ----------
    root : path-like
        Folder of the study. Complete files are not downloaded again, and
        partial downloads are resumed.
    subjects : str or sequence of str, default=None
        Subjects, "001" to "085". If None, download all. Features of the
        stimuli are always downloaded.
    audio : bool, default=False
        If True, also download the audio of the stimuli.
    progress : bool, default=True
        Show a progress bar for each file.

    Returns
    -------
    root : Path
        Folder for :func:`load_accou2024`.

    Raises
    ------
    ConnectionError, PermissionError, ValueError, OSError
        As in :func:`fetch_gwilliams2022`. The message has the address of the
        server that replaced RDR in April 2026.

    Warns
    -----
    UserWarning
        If requested files are restricted.

    Notes
    -----
    In April 2026 the data set moved to a server that is mounted with rclone.
    RDR still has version 3.1. If it does not respond, mount the new server
    and pass the mounted folder to :func:`load_accou2024`.
    """
    requested = strip_download_subjects(subjects)
    manual = (
        f"{describe_manual_download(f'{RDR}/dataset.xhtml?persistentId={DOI}', root)} The data set has moved to {MOUNT}, "
        f"which describes how to mount it with rclone. Pass the mounted folder to load_accou2024."
    )
    files, restricted = read_dataverse_listing(RDR, DOI, manual)
    available = {_find_sparrkulee_subject(file.path) for file in files} | {
        _find_sparrkulee_subject(path) for path in restricted
    }
    check_download_subjects(requested, available - {None})
    wanted = [file for file in files if _is_sparrkulee_file_wanted(file.path, requested, audio)]
    refused = [path for path in restricted if _is_sparrkulee_file_wanted(path, requested, audio)]
    warn_of_missing_study_parts(
        STUDY, f"files are restricted and were not downloaded (write to {MAIL})", refused
    )
    if not wanted:
        raise ValueError(f"{STUDY}: {RDR} lists no preprocessed files of the requested subjects. {manual}")
    return download(wanted, root, progress)


def _find_sparrkulee_subject(path):
    """Return the subject of a path, None for a common file."""
    match = re.search(r"(?:^|/)sub-(\d+)", path)
    return match and match[1]


def _is_sparrkulee_file_wanted(path, requested, audio):
    """Return whether a file is needed for the requested subjects."""
    if path.startswith("stimuli/eeg/"):
        name = path.rpartition("/")[2]
        return audio and name.endswith(".npz.gz") and not name.startswith(("t_", "noise_"))
    if not path.startswith("derivatives/") or not path.endswith(".npy"):
        return False
    subject = _find_sparrkulee_subject(path)
    return subject is None or requested is None or subject in requested

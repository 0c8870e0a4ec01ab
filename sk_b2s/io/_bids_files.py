"""Recordings of a BIDS folder, with warnings about ignored files."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

from sk_b2s._utils._text import shorten_list
from sk_b2s.io._bids_events import FORMATS, VERSIONS
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.io._recording_files import list_recording_files_of_header
from sk_b2s.io._sidecars import parse_sidecar_entities, read_sidecar_tsv

DATATYPES = ("eeg", "meg")
PAIR = re.compile(r"[a-zA-Z]+-[a-zA-Z0-9+]+")
# Formats of recordings that are not supported.
OTHER_FORMATS = {
    ".cnt",
    ".gdf",
    ".mff",
    ".xdf",
    ".nwb",
    ".kdf",
    ".mhd",
    ".gz",
    ".egi",
    ".eeglab",
    ".lay",
    ".nedf",
    ".ahdr",
}
# Folders of other kinds of data.
OTHER_DATA = {"anat", "func", "dwi", "fmap", "perf", "pet", "beh", "micr", "nirs", "motion", "ieeg", "mrs"}
# Suffixes that MNE, MNE-BIDS-Pipeline and BIDS give to other files.
NOT_RECORDING = re.compile(
    r".*[-_](epo|ave|evk|cov|trans|fwd|inv|ica|proj|src|sol|eve|annot|bem|head|stc|markers|headshape|events|channels|"
    r"electrodes|report|beh|physio|stim|scores|components|noise|acq-(calibration|crosstalk)_meg)",
    re.IGNORECASE,
)
LATER_PART = re.compile(r"(.*)-\d+$")  # a later part of a split FIF, as MNE and Neuromag name it
MAX_NAMED = 20  # maximum number of files in a message


def find_bids_files(base, wanted, datatype=None):
    """Find the recordings of a BIDS folder.

    Parameters
    ----------
    base : Path
        Folder that holds the ``sub-*`` folders.
    wanted : dict
        Labels of "task", "sub", "ses", "run", "proc" and "desc". None selects
        all.
    datatype : "eeg" or "meg", default=None
        If None, both.

    Returns
    -------
    recordings : dict of Path to list of Path
        First part of each recording, and all its parts.

    Raises
    ------
    FileNotFoundError
        If the first or a middle part of a split recording is missing.
    ValueError
        If no recording or several versions of one are found.

    Warns
    -----
    UserWarning
        With the ignored recordings and the reasons, and with subjects that
        have no recording.
    """
    kinds = DATATYPES if datatype is None else (datatype,)
    if not set(kinds) <= set(DATATYPES):
        raise ValueError(f"The 'datatype' parameter must be 'eeg', 'meg' or None. Got {datatype!r} instead.")
    found = _find_named_bids_files(base, kinds)
    ignored = _find_ignored_bids_files(base, found, kinds, wanted)
    chosen = {path: entities for path, entities in found.items() if _is_bids_file_wanted(entities, wanted)}
    if not chosen:
        raise ValueError(_describe_no_bids_file(base, found, wanted, kinds, ignored))
    for key, labels in wanted.items():
        missing = (
            set()
            if labels is None
            else strip_bids_file_keys(labels, key) - {e.get(key, "") for e in chosen.values()}
        )
        if missing:
            raise ValueError(
                _describe_no_bids_file(base, found, {**wanted, key: sorted(missing)}, kinds, ignored)
            )
    if ignored:
        warnings.warn(
            f"read_bids ignored {len(ignored)} files in a format of recordings. "
            f"{_format_ignored_bids_files(base, ignored)} Rename them to "
            "sub-<label>/[ses-<label>/]eeg/sub-<label>_[ses-<label>_]task-<label>_[run-<index>_]eeg, or move "
            "them out of the folder.",
            stacklevel=3,
        )
    _warn_missing_bids_subjects(base, found, wanted, ignored)
    return _group_bids_parts(chosen)


def strip_bids_file_keys(labels, key):
    """Return the labels of a parameter without their key, as a set of str."""
    labels = [labels] if isinstance(labels, (str, int)) else list(labels)
    return {str(name).removeprefix(f"{key}-") for name in labels}


def _find_named_bids_files(base, kinds):
    """Return all recordings with a valid BIDS name as {path: entities}."""
    found: dict = {}
    for kind in kinds:
        for path in sorted([*base.glob(f"sub-*/{kind}/*"), *base.glob(f"sub-*/ses-*/{kind}/*")]):
            entities = parse_sidecar_entities(path)
            if not {"sub", "task"} <= set(entities) or path.name.startswith("."):
                continue
            suffix, what = path.suffix.lower(), entities["suffix"]
            is_named = suffix in FORMATS and (what == kind or (what, suffix) == ("raw", ".fif"))
            is_4d = what == "meg" and path.suffix == "" and path.is_dir()
            if not (is_named or is_4d):
                continue
            folder = path.relative_to(base).parts[0].removeprefix("sub-")
            if entities["sub"] != folder:
                raise ValueError(
                    f"{str(path.relative_to(base))!r} belongs to subject {entities['sub']!r} by its name, but to "
                    f"{folder!r} by its folder. Rename or move it."
                )
            found[path] = entities
    return found


def _group_bids_parts(chosen):
    """Return the parts of each recording, and refuse several versions."""
    groups: dict = {}
    for path, entities in chosen.items():
        versions = {key: entities.pop(key, None) for key in VERSIONS}
        group = groups.setdefault((path.parent, *entities.items()), {})
        key = (versions["proc"], versions["desc"], versions["rec"], versions["suffix"], path.suffix)
        group.setdefault(key, []).append((versions["split"], path))
    recordings = {}
    for group in groups.values():
        group = {key: parts for key, parts in group.items() if key[-1] != ".mat"} or group
        if len(group) > 1:
            names = [parts[0][1].name for parts in group.values()]
            raise ValueError(
                f"A recording has several versions: {names}. Choose one with proc= or desc= ('' for none), or keep "
                "one in the folder."
            )
        (parts,) = group.values()
        parts = _order_bids_parts(parts)
        recordings[parts[0]] = parts
    _check_bids_samples(recordings)
    _check_bids_run_numbers(recordings, groups)
    return recordings


def _check_bids_run_numbers(recordings, groups):
    """Raise if two runs have one number, as BIDS counts run-1 and run-01."""
    first: dict = {}
    for key, path in zip(groups, recordings, strict=True):
        plain = (key[0], *((name, value.lstrip("0") if name == "run" else value) for name, value in key[1:]))
        if (other := first.setdefault(plain, path)) != path:
            raise ValueError(
                f"{other.name!r} and {path.name!r} have the same run number. Rename one of them, or move it out of "
                "the folder."
            )


def _check_bids_samples(recordings):
    """Raise if two headers name the same file of samples."""
    owner: dict = {}
    for path in recordings:
        samples = list_recording_files_of_header(path).get("DataFile")
        if samples is not None and (other := owner.setdefault(samples.resolve(), path)) != path:
            raise ValueError(
                f"{path.name!r} and {other.name!r} both name DataFile={samples.name}, so that one recording would "
                "be read twice. Correct the line DataFile= in the copied header."
            )


def _order_bids_parts(parts):
    """Return the parts of a recording in order. Raise if one is missing."""
    numbers = [split for split, _ in parts]
    if not all(number is not None and number.isdigit() for number in numbers):
        return [path for _, path in parts]
    parts = sorted(parts, key=lambda part: int(part[0]))
    first, last = (int(parts[at][0]) for at in (0, -1))
    missing = sorted({*range(min(first, 1), last + 1)} - {int(number) for number in numbers})
    if missing:
        split, path = parts[0]
        name = path.name.replace(f"split-{split}", f"split-{missing[0]:0{len(split)}d}")
        raise FileNotFoundError(
            f"{str(path.parent / name)!r} is missing, but another part of the recording, {path.name!r}, exists. "
            "Onsets count from the start of the first part. Fetch the file, or exclude the recording with "
            "subjects=, sessions= or runs=."
        )
    return [path for _, path in parts]


def check_bids_file_chains(recordings):
    """Raise if split files do not link to each other, as FIF parts must."""
    for path, parts in recordings.items():
        if len(parts) > 1 and (named := len(read_raw(path).filenames)) != len(parts):
            raise ValueError(
                f"{path.name!r} and {len(parts) - 1} further files are named as parts of one recording (split-), "
                f"but the first file links to {named - 1} others. Join them with "
                "mne.concatenate_raws([...]).save(...), or rename them as runs."
            )


def _is_bids_file_wanted(entities, wanted):
    """Return whether the entities match the selected labels."""
    for key, labels in wanted.items():
        if labels is None:
            if key == "task" and entities["task"] in ("noise", "rest"):
                return False
        elif entities.get(key, "") not in strip_bids_file_keys(labels, key):
            return False
    return entities["sub"] != "emptyroom"


def _describe_no_bids_file(base, found, wanted, kinds, ignored):
    """Return the error message for a selection without recordings."""
    selection = ", ".join(f"{key}={value!r}" for key, value in wanted.items() if value is not None)
    more = f" {_format_ignored_bids_files(base, ignored)}" if ignored else ""
    if not found:
        nested = sorted(path.parent.name for path in base.glob("*/sub-*") if path.is_dir())[:1]
        hint = f" Is root the folder {nested[0]!r} in it?" if nested else suggest_parent_of_subjects(base)
        return (
            f"{str(base)!r} has no recordings sub-*/[ses-*/]{'|'.join(kinds)}/sub-*_task-*. Supported formats: "
            f"{', '.join(sorted(FORMATS))}.{hint}{more}"
        )
    labels = {key: sorted({e[key] for e in found.values() if key in e}) for key in wanted}
    available = "; ".join(f"{key}: {', '.join(names[:12])}" for key, names in labels.items() if names)
    return (
        f"{str(base)!r} has {len(found)} recordings, but none with {selection}. Available: {available}.{more}"
    )


def suggest_parent_of_subjects(path):
    """Return a hint if the path is a subject folder or within one."""
    for part in [*reversed(path.parents), path]:
        if part.name.startswith("sub-") and part.parent.is_dir():
            return f" Is root the folder {str(part.parent)!r}?"
    return ""


# --- ignored files -------------------------------------------------------------------


def _format_ignored_bids_files(base, ignored):
    """Return the ignored files with their reasons as text."""
    texts = [f"{str(path.relative_to(base))!r}: {why}" for path, why in list(ignored.items())[:MAX_NAMED]]
    more = f"; and {len(ignored) - MAX_NAMED} more" if len(ignored) > MAX_NAMED else ""
    return f"Ignored: {'; '.join(texts)}{more}."


def _find_ignored_bids_files(base, found, kinds, wanted):
    """Find ignored files in a format of recordings, as {path: reason}."""
    ignored = {}
    for path in _iter_subject_files(base, wanted):
        if path not in found and (why := _find_reason_to_ignore_bids_file(path, base, found, kinds)):
            ignored[path] = why
    return ignored


def _iter_subject_files(base, wanted):
    """Iterate over files in a format of recordings in subject folders."""
    subjects = None if wanted.get("sub") is None else strip_bids_file_keys(wanted["sub"], "sub")
    for top in sorted(base.iterdir()):
        label = re.sub(r"^sub(ject)?[-_ ]?", "", top.name, flags=re.IGNORECASE)
        is_subject = top.name.lower().startswith("sub") and top.is_dir() and label != "emptyroom"
        if not is_subject or top.resolve() in (base.resolve(), *base.resolve().parents):
            continue
        if subjects is not None and label not in subjects:
            continue
        for folder, folders, files in os.walk(top):
            as_files = [name for name in folders if Path(name).suffix.lower() in (".ds", ".mff")]
            folders[:] = [n for n in folders if n not in as_files and n not in OTHER_DATA and n[0] != "."]
            for name in sorted([*files, *as_files]):
                if name[0] != "." and Path(name).suffix.lower() in FORMATS | OTHER_FORMATS:
                    yield Path(folder, name)


def _find_reason_to_ignore_bids_file(path, base, found, kinds):
    """Return why a file is ignored, "" if it need not be reported."""
    *folders, name = path.relative_to(base).parts
    ending = path.suffix.lower()
    stem = name[: -len(ending)]
    if ending == ".fif" and (part := LATER_PART.fullmatch(stem)):
        first = path.with_name(f"{part[1]}{path.suffix}")
        if first in found or NOT_RECORDING.fullmatch(part[1]):
            return ""
        if re.search(r"(eeg|meg|raw|raw_t?sss)$", part[1], re.IGNORECASE) and not first.exists():
            return f"it is a later part of {first.name!r}, which is missing"
    if NOT_RECORDING.fullmatch(stem):
        return ""
    if not re.fullmatch(r"sub-[a-zA-Z0-9+]+", folders[0]):
        return f"its folder {folders[0]!r} is not named sub-<label>, with a label of letters and digits"
    kind = folders[-1]
    is_placed = len(folders) == 2 or (len(folders) == 3 and folders[1].startswith("ses-"))
    if not is_placed or kind not in DATATYPES:
        return "it is not in sub-<label>/[ses-<label>/]eeg or meg"
    if kind not in kinds:
        return ""
    if ending in OTHER_FORMATS:
        is_named = stem.split(".")[0].endswith(("_eeg", "_meg", "_raw"))
        return f"the format {ending} is not supported, convert it to FIF" if is_named else ""
    return _find_bids_name_fault(stem, kind)


def _find_bids_name_fault(stem, kind):
    """Return which part of a name does not follow BIDS."""
    *pairs, suffix = stem.split("_")
    for pair in [*pairs, *([suffix] if "-" in suffix else [])]:
        if not PAIR.fullmatch(pair):
            return f"{pair!r} in its name is not a key and a label of letters and digits"
    keys = [pair.partition("-")[0] for pair in pairs]
    for key in ("sub", "task"):
        if key not in keys:
            close = [other for other in keys if other.lower() == key]
            return f"its name has no {key}-<label>" + (f", but {close[0]!r}" if close else "")
    return f"its name ends in {suffix!r} instead of {kind!r}"


def _warn_missing_bids_subjects(base, found, wanted, ignored):
    """Warn about subjects without a recording."""
    if wanted.get("sub") is not None:
        return
    taken = {path.relative_to(base).parts[0] for path in [*found, *ignored]}
    folders = {path.name for path in base.glob("sub-*") if path.is_dir()} - {"sub-emptyroom"}
    with_events = {path.relative_to(base).parts[0] for path in base.glob("sub-*/*eg/*_events.tsv")}
    with_events |= {path.relative_to(base).parts[0] for path in base.glob("sub-*/ses-*/*eg/*_events.tsv")}
    listed = _read_participants(base / "participants.tsv")
    inside = {base.resolve(), *base.resolve().parents}
    folders = {name for name in folders if (base / name).resolve() not in inside}
    groups = {
        "with events but without a recording": (with_events & folders) - taken,
        "with a folder but without a recording": folders - taken - with_events,
        "in participants.tsv but without a folder": listed - folders - taken,
    }
    for what, missing in groups.items():
        if missing:
            names = shorten_list(sorted(name.removeprefix("sub-") for name in missing), 30)
            warnings.warn(f"read_bids found {len(missing)} subjects {what}: {names}.", stacklevel=4)


def _read_participants(path):
    """Return the folders in participants.tsv, none if it cannot be read."""
    try:
        names = set(read_sidecar_tsv(path).get("participant_id", [])) if path.is_file() else set()
    except (ValueError, OSError):
        return set()
    names = {name if name.startswith("sub-") else f"sub-{name}" for name in names if isinstance(name, str)}
    return names - {"sub-emptyroom"}

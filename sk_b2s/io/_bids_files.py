"""Recordings of a BIDS folder, and warnings for files not read."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

from sk_b2s._utils._text import shorten_list
from sk_b2s.io._bids_events import FORMATS, VERSIONS
from sk_b2s.io._file_parts import parts_of
from sk_b2s.io._raw._open import read_raw
from sk_b2s.io._sidecars import entities_of, read_tsv

KINDS = ("eeg", "meg")
PAIR = re.compile(r"[a-zA-Z]+-[a-zA-Z0-9+]+")
# Formats of recordings that are not read from BIDS folders.
OTHERS = {
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
# Folders of data that are neither EEG nor MEG.
OTHER_DATA = {"anat", "func", "dwi", "fmap", "perf", "pet", "beh", "micr", "nirs", "motion", "ieeg", "mrs"}
# How names end that MNE, its pipeline, or BIDS give to what is no recording.
NO_RECORDING = re.compile(
    r".*[-_](epo|ave|evk|cov|trans|fwd|inv|ica|proj|src|sol|eve|annot|bem|head|stc|markers|headshape|events|channels|"
    r"electrodes|report|beh|physio|stim|scores|components|noise|acq-(calibration|crosstalk)_meg)",
    re.IGNORECASE,
)
PART = re.compile(r"(.*)-\d+$")  # a later part of a split FIF, as MNE and Neuromag name it
NAMED = 20  # files that a message names, at most


def find_recordings(base, wanted, datatype=None):
    """Find the recordings that were asked for.

    Parameters
    ----------
    base : Path
        The folder with the ``sub-*``.
    wanted : dict
        Values asked for of "task", "sub", "ses", "run", "proc" and "desc"; None takes all.
    datatype : "eeg" or "meg", default=None
        None takes both.

    Returns
    -------
    recordings : dict of Path to list of Path
        The first part of each recording, and all its parts.

    Raises
    ------
    FileNotFoundError
        If the first or a middle part of a split recording is missing.
    ValueError
        If nothing or several versions of a recording are found.

    Warns
    -----
    UserWarning
        Naming the files in the format of a recording that are not taken, and why, and subjects without a recording.
    """
    kinds = KINDS if datatype is None else (datatype,)
    if not set(kinds) <= set(KINDS):
        raise ValueError(f"datatype must be 'eeg', 'meg' or None, got {datatype!r}.")
    found = _found(base, kinds)
    passed = _passed_over(base, found, kinds, wanted)
    chosen = {path: entities for path, entities in found.items() if _is_wanted(entities, wanted)}
    if not chosen:
        raise ValueError(_nothing_found(base, found, wanted, kinds, passed))
    for key, asked in wanted.items():
        lost = set() if asked is None else names_of(asked, key) - {e.get(key, "") for e in chosen.values()}
        if lost:
            raise ValueError(_nothing_found(base, found, {**wanted, key: sorted(lost)}, kinds, passed))
    if passed:
        warnings.warn(
            f"read_bids passed over {len(passed)} files in the format of a recording. {_listed(base, passed)} Rename "
            f"them after BIDS, sub-<label>/[ses-<label>/]eeg/sub-<label>_[ses-<label>_]task-<label>_[run-<index>_]eeg, "
            f"or move them out of the folder.",
            stacklevel=3,
        )
    _warn_of_subjects(base, found, wanted, passed)
    return _grouped(chosen)


def names_of(asked, key):
    """Labels that a parameter names, without their key: set of str."""
    names = [asked] if isinstance(asked, (str, int)) else list(asked)
    return {str(name).removeprefix(f"{key}-") for name in names}


def _found(base, kinds):
    """All recordings whose names can be read: {path: entities}."""
    found: dict = {}
    for kind in kinds:
        for path in sorted([*base.glob(f"sub-*/{kind}/*"), *base.glob(f"sub-*/ses-*/{kind}/*")]):
            entities = entities_of(path)
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
                    f"{str(path.relative_to(base))!r} is of subject {entities['sub']!r} by its name and of {folder!r} "
                    f"by its folder. Rename or move it."
                )
            found[path] = entities
    return found


def _grouped(chosen):
    """Put the parts of each recording together, and refuse several versions of one."""
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
                f"one recording has several versions, {names}; choose by proc= or desc= ('' for none), or leave one in "
                f"the folder."
            )
        (parts,) = group.values()
        parts = _whole(parts)
        recordings[parts[0]] = parts
    _check_samples(recordings)
    _check_numbers(recordings, groups)
    return recordings


def _check_numbers(recordings, groups):
    """Raise where two recordings differ in zeros before a number alone, run-1 and run-01: BIDS counts them as one."""
    first: dict = {}
    for key, path in zip(groups, recordings, strict=True):
        plain = (key[0], *((name, value.lstrip("0") if name == "run" else value) for name, value in key[1:]))
        if (other := first.setdefault(plain, path)) != path:
            raise ValueError(
                f"{other.name!r} and {path.name!r} are of one run by their numbers. Rename one of them, or move "
                f"it out of the folder."
            )


def _check_samples(recordings):
    """Raise where the headers of two recordings name one file of samples, as headers do that were copied."""
    owner: dict = {}
    for path in recordings:
        samples = parts_of(path).get("DataFile")
        if samples is not None and (other := owner.setdefault(samples.resolve(), path)) != path:
            raise ValueError(
                f"{path.name!r} and {other.name!r} both name DataFile={samples.name}: one recording would be two. "
                f"Correct the line DataFile= in the header that was copied."
            )


def _whole(parts):
    """Sort the parts of a recording by their number, and raise if one before the last is missing."""
    numbers = [split for split, _ in parts]
    if not all(number is not None and number.isdigit() for number in numbers):
        return [path for _, path in parts]
    parts = sorted(parts, key=lambda part: int(part[0]))
    first, last = (int(parts[at][0]) for at in (0, -1))
    lost = sorted({*range(min(first, 1), last + 1)} - {int(number) for number in numbers})
    if lost:
        split, path = parts[0]
        name = path.name.replace(f"split-{split}", f"split-{lost[0]:0{len(split)}d}")
        raise FileNotFoundError(
            f"{str(path.parent / name)!r} is missing, a part of the recording of which {path.name!r} is there. Events "
            f"count from the beginning of the first part. Fetch it, or leave the recording out by subjects=, sessions= "
            f"or runs=."
        )
    return [path for _, path in parts]


def check_chains(recordings):
    """Raise where files named as parts of one recording are not: a FIF names the next."""
    for path, parts in recordings.items():
        if len(parts) > 1 and (named := len(read_raw(path).filenames)) != len(parts):
            raise ValueError(
                f"{path.name!r} and {len(parts) - 1} further files are named as the parts of one recording (split-), "
                f"but the first leads to {named - 1} others. Join them, mne.concatenate_raws([...]).save(...), or name "
                f"them as runs."
            )


def _is_wanted(entities, wanted):
    for key, asked in wanted.items():
        if asked is None:
            if key == "task" and entities["task"] in ("noise", "rest"):
                return False
        elif entities.get(key, "") not in names_of(asked, key):
            return False
    return entities["sub"] != "emptyroom"


def _nothing_found(base, found, wanted, kinds, passed):
    asked = ", ".join(f"{key}={value!r}" for key, value in wanted.items() if value is not None)
    more = f" {_listed(base, passed)}" if passed else ""
    if not found:
        nested = sorted(path.parent.name for path in base.glob("*/sub-*") if path.is_dir())[:1]
        hint = f" Is root the folder {nested[0]!r} in it?" if nested else ""
        return (
            f"{str(base)!r} has no recordings sub-*/[ses-*/]{'|'.join(kinds)}/sub-*_task-*; formats looked for: "
            f"{', '.join(sorted(FORMATS))}.{hint}{more}"
        )
    there = {key: sorted({e[key] for e in found.values() if key in e}) for key in wanted}
    there = "; ".join(f"{key}: {', '.join(names[:12])}" for key, names in there.items() if names)
    return f"{str(base)!r} has {len(found)} recordings but none with {asked}. There are {there}.{more}"


# --- what is passed over --------------------------------------------------------------------------------


def _listed(base, passed):
    texts = [f"{str(path.relative_to(base))!r}: {why}" for path, why in list(passed.items())[:NAMED]]
    more = f"; and {len(passed) - NAMED} more" if len(passed) > NAMED else ""
    return f"Not taken are {'; '.join(texts)}{more}."


def _passed_over(base, found, kinds, wanted):
    """Find the files in the format of a recording that are not taken: {path: why}."""
    passed = {}
    for path in _files_of_subjects(base, wanted):
        if path not in found and (why := _why_not(path, base, found, kinds)):
            passed[path] = why
    return passed


def _files_of_subjects(base, wanted):
    """Files and folders in the format of a recording in everything that may be the folder of a subject asked for."""
    asked = None if wanted.get("sub") is None else names_of(wanted["sub"], "sub")
    for top in sorted(base.iterdir()):
        label = re.sub(r"^sub(ject)?[-_ ]?", "", top.name, flags=re.IGNORECASE)
        is_subject = top.name.lower().startswith("sub") and top.is_dir() and label != "emptyroom"
        if not is_subject or top.resolve() in (base.resolve(), *base.resolve().parents):
            continue
        if asked is not None and label not in asked:
            continue
        for folder, folders, files in os.walk(top):
            as_files = [name for name in folders if Path(name).suffix.lower() in (".ds", ".mff")]
            folders[:] = [n for n in folders if n not in as_files and n not in OTHER_DATA and n[0] != "."]
            for name in sorted([*files, *as_files]):
                if name[0] != "." and Path(name).suffix.lower() in FORMATS | OTHERS:
                    yield Path(folder, name)


def _why_not(path, base, found, kinds):
    """Say why a file is not taken, "" if it is no recording by its name or not asked for."""
    *folders, name = path.relative_to(base).parts
    ending = path.suffix.lower()
    stem = name[: -len(ending)]
    if ending == ".fif" and (part := PART.fullmatch(stem)):
        first = path.with_name(f"{part[1]}{path.suffix}")
        if first in found or NO_RECORDING.fullmatch(part[1]):
            return ""
        if re.search(r"(eeg|meg|raw|raw_t?sss)$", part[1], re.IGNORECASE) and not first.exists():
            return f"a later part of {first.name!r}, which is missing"
    if NO_RECORDING.fullmatch(stem):
        return ""
    if not re.fullmatch(r"sub-[a-zA-Z0-9+]+", folders[0]):
        return f"its folder {folders[0]!r} is not named sub-<label>, of letters and digits"
    kind = folders[-1]
    is_placed = len(folders) == 2 or (len(folders) == 3 and folders[1].startswith("ses-"))
    if not is_placed or kind not in KINDS:
        return "it is not in sub-<label>/[ses-<label>/]eeg or meg"
    if kind not in kinds:
        return ""
    if ending in OTHERS:
        is_named = stem.split(".")[0].endswith(("_eeg", "_meg", "_raw"))
        return f"the format {ending} is not read, convert it to FIF" if is_named else ""
    return _why_name(stem, kind)


def _why_name(stem, kind):
    """Say what is not as BIDS has it in the name of a recording."""
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


def _warn_of_subjects(base, found, wanted, passed):
    """Warn of subjects without a recording: with events, with a folder alone, or in participants.tsv alone."""
    if wanted.get("sub") is not None:
        return
    taken = {path.relative_to(base).parts[0] for path in [*found, *passed]}
    folders = {path.name for path in base.glob("sub-*") if path.is_dir()} - {"sub-emptyroom"}
    told = {path.relative_to(base).parts[0] for path in base.glob("sub-*/*eg/*_events.tsv")}
    told |= {path.relative_to(base).parts[0] for path in base.glob("sub-*/ses-*/*eg/*_events.tsv")}
    listed = _participants(base / "participants.tsv")
    inside = {base.resolve(), *base.resolve().parents}
    folders = {name for name in folders if (base / name).resolve() not in inside}
    groups = {
        "who have events and no recording": (told & folders) - taken,
        "who have a folder and no recording": folders - taken - told,
        "who are in participants.tsv and have no folder": listed - folders - taken,
    }
    for what, lost in groups.items():
        if lost:
            names = shorten_list(sorted(name.removeprefix("sub-") for name in lost), 30)
            warnings.warn(f"read_bids left out {len(lost)} people {what}: {names}.", stacklevel=4)


def _participants(path):
    """Folders of the subjects that a table lists, {} if it cannot be read, as nothing else depends on it."""
    try:
        names = set(read_tsv(path).get("participant_id", [])) if path.is_file() else set()
    except (ValueError, OSError):
        return set()
    names = {name if name.startswith("sub-") else f"sub-{name}" for name in names if isinstance(name, str)}
    return names - {"sub-emptyroom"}

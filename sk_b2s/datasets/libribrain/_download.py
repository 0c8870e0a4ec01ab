"""Download of LibriBrain100 from Hugging Face."""

from __future__ import annotations

from pathlib import PurePosixPath

from sk_b2s.datasets._download import (
    check_download_subjects,
    describe_manual_download,
    download,
    strip_download_subjects,
)
from sk_b2s.datasets._listings import read_hugging_face_listing
from sk_b2s.datasets.libribrain._holdout import FOLDER
from sk_b2s.datasets.libribrain._load import NAME

HUGGING_FACE = "https://huggingface.co"
REPOSITORIES = ("pnpl/LibriBrain", "pnpl/LibriBrain2")
HOLDOUT = "pnpl/LibriBrain-Competition-2026"
COMMON = ("metadata/sensor_xyz.json", "metadata/channels.tsv")


def fetch_libribrain100(
    root, subjects=None, tasks=None, sessions=None, holdout=False, progress=True
):  # fmt: skip
    """Download LibriBrain100 from Hugging Face.

    The data set has about 120 GB: 1.1 GB for each hour of MEG, which is 0.8 GB
    for each of the subjects 1 to 32. The license is CC BY-NC 4.0, which does
    not allow commercial use.

    Parameters
    ----------
    root : path-like
        Folder of the data set. Complete files are not downloaded again, and
        partial downloads are resumed.
    subjects, tasks, sessions : str or sequence of str, default=None
        Parts as in :func:`load_libribrain100`. If None, download all.
    holdout : bool, default=False
        If True, download only the hold-out of the competition, for
        :func:`load_libribrain100_holdout`. Its ``subjects`` are "0" to "39",
        and ``tasks`` and ``sessions`` must be None.
    progress : bool, default=True
        Show a progress bar for each file.

    Returns
    -------
    root : Path
        Folder for :func:`load_libribrain100`.

    Raises
    ------
    ConnectionError, PermissionError, ValueError, OSError
        As in :func:`fetch_gwilliams2022`.

    Notes
    -----
    Serialized recordings (HDF5), tables, and sensor positions are downloaded.
    Raw FIF files, which need MaxFilter, and audio files are not.
    """
    if holdout and (tasks is not None or sessions is not None):
        raise ValueError("fetch_libribrain100: 'tasks' and 'sessions' must be None with holdout=True.")
    wanted = {
        "subject": strip_download_subjects(subjects),
        "task": strip_download_subjects(tasks),
        "session": None if sessions is None else {one.removeprefix("ses-") for one in strip_download_subjects(sessions)},
    }  # fmt: skip
    found: dict = {field: set() for field in wanted}
    files = {}
    for repository in (HOLDOUT,) if holdout else REPOSITORIES:
        manual = describe_manual_download(f"{HUGGING_FACE}/datasets/{repository}/tree/main", root)
        for file in read_hugging_face_listing(HUGGING_FACE, repository, manual):
            parts = _describe_libribrain_file(file.path, holdout)
            if parts is None:
                continue
            for field, value in parts.items():
                found[field].add(value)
            if all(wanted[field] is None or value in wanted[field] for field, value in parts.items()):
                files.setdefault(file.path, file)
    for field, requested in wanted.items():
        if not (holdout and field != "subject"):
            _check_libribrain_parts(field, requested, found[field])
    return download(list(files.values()), root, progress)


def _describe_libribrain_file(path, holdout):
    """Return the parts that a file belongs to, None if it is not needed."""
    place = PurePosixPath(path)
    if holdout:
        number = place.name.removeprefix("subj")[:2]
        is_part = place.parts[0] == FOLDER and place.suffix == ".npz" and number.isdecimal()
        return {"subject": str(int(number))} if is_part else None
    if path in COMMON:
        return {}
    match = NAME.fullmatch(place.name)
    return match and {field: match[field] for field in ("subject", "task", "session")}


def _check_libribrain_parts(field, requested, available):
    """Raise if the server does not have a requested part."""
    if field == "subject":
        check_download_subjects(requested, available)
    elif requested is not None and (missing := requested - available):
        raise ValueError(
            f"{field}s contains {sorted(missing)}, which the server does not have. Available are "
            f"{', '.join(sorted(available, key=lambda one: (len(one), one)))}."
        )

"""Fetching the studies: what the server of each holds, which of it is wanted, and what has to be unpacked."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from urllib.parse import quote

from sk_b2s.datasets.downloading import Remote, ask, check_room, download

__all__ = ["fetch_brennan2019", "fetch_broderick2019", "fetch_gwilliams2022", "fetch_schoffelen2019"]

OSF = "https://api.osf.io/v2/nodes"
MASC_NODES = ("ag3kj", "h2tzn", "u5327", "dr4wy")
DEEP_BLUE = "https://deepblue.lib.umich.edu/data"
ALICE_WORK = "bg257f92t"
DRYAD = "https://datadryad.org"
BRODERICK_DOI = "doi:10.5061/dryad.070jc"
BRODERICK_OPENNEURO = ("ds004408", "1.0.8")
BRODERICK_SUBJECT = 1.1e9  # bytes of one person's recordings at OpenNeuro, a little more than they have
HASHES = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}


def fetch_gwilliams2022(root, subjects=None, progress=True):
    """Fetch MEG-MASC from OSF, file by file: 106.6 GB, or about 4 GB a person. CC0.

    Parameters
    ----------
    root : path-like
        Folder to put it into. What is there already, and whole, is not fetched again; what was cut off goes
        on where it stopped.
    subjects : str or sequence of str, default=None
        "01" to "27"; None takes everybody. Sounds and texts come always.
    progress : bool, default=True
        Show a bar for each file.

    Returns
    -------
    root : Path
        For :func:`load_gwilliams2022`.

    Raises
    ------
    ConnectionError
        If the server does not answer, or the connection dropped for good; what came is kept, to be resumed.
    PermissionError
        If the server refuses.
    ValueError
        If a file does not have the server's checksum, or a subject is not there.
    OSError
        If the disk has not enough room.

    Notes
    -----
    Sizes and SHA-256 checksums are those that OSF names for each file.
    """
    wanted = _names(subjects)
    files = []
    for node in MASC_NODES:
        files += _osf_files(f"{OSF}/{node}/files/osfstorage/?page[size]=100", wanted)
    _check_found("subjects", wanted, {_person(file.path) for file in files})
    first: dict = {}
    for file in files:  # each part of a data set has a description of its own
        first.setdefault(file.path, file)
    return download(list(first.values()), root, progress)


def _names(subjects):
    """Names of people without "sub-", None for everybody."""
    if subjects is None:
        return None
    subjects = [subjects] if isinstance(subjects, (str, int)) else subjects
    return {str(subject).removeprefix("sub-") for subject in subjects}


def _person(path):
    """Name of the person whose file it is, None for what belongs to all."""
    first = Path(path).parts[0]
    return first.removeprefix("sub-") if first.startswith("sub-") else None


def _check_found(name, wanted, there):
    if wanted is not None and (missing := wanted - there):
        known = sorted(one for one in there if one is not None)
        raise ValueError(
            f"{name} names {sorted(missing)}, which the server does not have; it has {', '.join(known)}."
        )


def _osf_files(url, wanted):
    """List the files of a folder at OSF and of those below it, but for people who were not asked for."""
    files = []
    while url:
        page = ask(url, "data", "links")
        for entry in page["data"]:
            said = entry["attributes"]
            path = said["materialized_path"].strip("/")
            if wanted is not None and _person(path) not in {None, *wanted}:
                continue
            if said["kind"] == "folder":
                files += _osf_files(entry["relationships"]["files"]["links"]["related"]["href"], wanted)
            else:
                checksum = (said.get("extra") or {}).get("hashes", {}).get("sha256")
                files.append(
                    Remote(path, entry["links"]["download"], said["size"], checksum and f"sha256:{checksum}")
                )
        url = page["links"].get("next")
    return files


def fetch_brennan2019(root, subjects=None, progress=True):
    """Fetch Brennan & Hale's Alice from Deep Blue Data, and unpack it. CC BY 4.0.

    Parameters
    ----------
    root : path-like
        Folder to put it into; see :func:`fetch_gwilliams2022`.
    subjects : str or sequence of str, default=None
        "S01" to "S49"; None takes the recordings of everybody. Trials, sounds and words come always.
    progress : bool, default=True
        Show a bar for each file.

    Returns
    -------
    root : Path
        For :func:`load_brennan2019`.

    Raises
    ------
    ConnectionError, PermissionError, ValueError, OSError
        As :func:`fetch_gwilliams2022`.
    """
    wanted = _names(subjects)
    said = ask(f"{DEEP_BLUE}/concern/data_sets/{ALICE_WORK}.json", "file_sets")["file_sets"]
    files = [_deep_blue_file(entry) for entry in said]
    recordings = {Path(f.path).stem for f in files if f.path.startswith("S") and f.path.endswith(".mat")}
    _check_found("subjects", wanted, recordings)
    if wanted is not None:
        files = [f for f in files if Path(f.path).stem not in recordings - wanted]
    root = download(files, root, progress)
    for archive in ("audio", "proc"):
        if (root / f"{archive}.zip").is_file():
            _unpack(root / f"{archive}.zip", root, archive)
    return root


def _deep_blue_file(entry):
    name, checksum = (_first(entry.get(key)) for key in ("title", "original_checksum"))
    size = _first(entry.get("file_size"))
    return Remote(
        str(name), f"{DEEP_BLUE}/downloads/{entry['id']}", int(size) if size else None, _hash(checksum)
    )


def _first(value):
    return (value[0] if value else None) if isinstance(value, list) else value


def _hash(digest, kind=None):
    """Write a digest as pooch does; its length tells what it is."""
    if not digest:
        return None
    kind = kind or HASHES.get(len(digest))
    return f"{kind.replace('-', '').lower()}:{digest}" if kind else None


def _unpack(archive, root, folder):
    """Unpack a zip into its folder, whether or not it holds the folder itself."""
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            parts = Path(name).parts
            if name.endswith("/") or "__MACOSX" in parts or ".." in parts or Path(name).name.startswith("."):
                continue
            target = root / folder / Path(name).name
            if not target.is_file() or target.stat().st_size != packed.getinfo(name).file_size:
                target.parent.mkdir(exist_ok=True)
                with packed.open(name) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)


def fetch_broderick2019(root, subjects=None, edition="openneuro", progress=True):
    """Fetch "The Old Man and the Sea": from OpenNeuro, ds004408, about 1 GB a person; or from Dryad. CC0.

    Parameters
    ----------
    root : path-like
        Folder to put it into; what is there and whole is not fetched again.
    subjects : str or sequence of str, default=None
        "001" to "019"; None takes everybody. Sounds and their words come always. Dryad packs everybody into
        one archive.
    edition : {"openneuro", "dryad"}, default="openneuro"
    progress : bool, default=True
        Show a bar for each file (OpenNeuro's client always does).

    Returns
    -------
    root : Path
        For :func:`load_broderick2019`.

    Raises
    ------
    ImportError
        If openneuro-py is not installed.
    ConnectionError, PermissionError, ValueError, OSError
        As :func:`fetch_gwilliams2022`.
    """
    wanted, root = _names(subjects), Path(root)
    if edition == "dryad":
        if wanted is not None:
            raise ValueError(
                "fetch_broderick2019: Dryad packs everybody into one archive; leave subjects=None, or take the "
                "edition 'openneuro'."
            )
        return _fetch_dryad(root, progress)
    if edition != "openneuro":
        raise ValueError(f"edition must be 'openneuro' or 'dryad', got {edition!r}.")
    known = {f"{number:03d}" for number in range(1, 20)}
    _check_found("subjects", wanted, known)
    try:
        import openneuro
    except ImportError as error:
        raise ImportError(
            "fetch_broderick2019 needs openneuro-py; install it by `pip install 'sk_b2s[fetch]'` or `pip install "
            "openneuro-py`."
        ) from error
    wanted = sorted(known if wanted is None else wanted)
    missing = [one for one in wanted if not (root / f"sub-{one}").is_dir()]
    check_room(root, len(missing) * BRODERICK_SUBJECT)
    dataset, tag = BRODERICK_OPENNEURO
    include = [*(f"sub-{one}" for one in wanted), "stimuli"]
    openneuro.download(dataset=dataset, tag=tag, target_dir=root, include=include, max_concurrent_downloads=1)
    return root


def _fetch_dryad(root, progress):
    """Fetch the archive of natural speech from Dryad and unpack it, and the zips in it."""
    versions = ask(f"{DRYAD}/api/v2/datasets/{quote(BRODERICK_DOI, safe='')}/versions", "_embedded")
    version = versions["_embedded"]["stash:versions"][-1]["_links"]["self"]["href"]
    url, files = f"{DRYAD}{version}/files?per_page=100", []
    while url:
        page = ask(url, "_embedded", "_links")
        for entry in page["_embedded"]["stash:files"]:
            links = entry["_links"]
            link = (links.get("stash:download") or links.get("stash:file-download"))["href"]
            checksum = _hash(entry.get("digest"), entry.get("digestType"))
            files.append(Remote(entry["path"], f"{DRYAD}{link}", entry.get("size"), checksum))
        further = page["_links"].get("next", {}).get("href")
        url = f"{DRYAD}{further}" if further else None
    natural = [file for file in files if _is_natural(file.path)]
    root = download(natural or files, root, progress)
    unpacked: set = set()
    while archives := sorted(path for path in root.glob("*.zip") if path not in unpacked):
        for archive in archives:
            unpacked.add(archive)
            with zipfile.ZipFile(archive) as packed:
                inner = [name for name in packed.namelist() if not name.endswith(".zip") or _is_natural(name)]
                packed.extractall(root, inner)
    return root


def _is_natural(path):
    """Tell whether a file of Dryad's is of natural speech, played forwards."""
    name = Path(path).name.lower().replace("_", " ")
    return name.startswith("natural speech") and "reverse" not in name


def fetch_schoffelen2019(root, subjects=None, progress=True):
    """Say how to come by MOUS, which is for registered users only.

    Parameters
    ----------
    root : path-like
        Folder to put it into.
    subjects : str or sequence of str, default=None
        "A2002" ... "A2125".
    progress : bool, default=True
        Not used.

    Raises
    ------
    PermissionError
        Always, with the steps.
    """
    people = "<subject>" if subjects is None else sorted(_names(subjects))[0]
    raise PermissionError(
        "MOUS (schoffelen2019) is not public: its use is agreed to in person. 1. Log in at https://data.ru.nl with an "
        "account of your institution, or ORCID. 2. Ask for collection DSC_3011020.09_236 (doi:10.34973/37n0-yc51) and "
        "accept its terms. 3. The collection's page shows your user name and password for WebDAV. 4. In "
        f"{str(root)!r}, run\n    wget -r -nH --cut-dirs=3 -c --user=... --ask-password "
        f"https://webdav.data.ru.nl/dccn/DSC_3011020.09_236_v1/sub-{people}/meg/\nand the same for sourcedata/meg_task "
        "and stimuli. 5. Align the words (WebMAUS) as load_schoffelen2019 describes. Then load_schoffelen2019 reads it."
    )

"""Download of the published data sets."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import quote

from sk_b2s.datasets._archives import unpack
from sk_b2s.datasets._download import check_room, download
from sk_b2s.datasets._listings import deep_blue_files, dryad_files, osf_files, person_of

OSF = "https://api.osf.io/v2/nodes"
MASC_NODES = ("ag3kj", "h2tzn", "u5327", "dr4wy")
DEEP_BLUE = "https://deepblue.lib.umich.edu/data"
ALICE_WORK = "bg257f92t"
DRYAD = "https://datadryad.org"
BRODERICK_DOI = "doi:10.5061/dryad.070jc"
BRODERICK_OPENNEURO = ("ds004408", "1.0.8")
BRODERICK_SUBJECT = 1.1e9  # bytes of one person's recordings at OpenNeuro, a little more than they have
MOST_NESTED = 2  # zips within zips


def fetch_gwilliams2022(root, subjects=None, progress=True):
    """Fetch MEG-MASC from OSF, file by file: 106.6 GB, or about 4 GB a person. CC0.

    Parameters
    ----------
    root : path-like
        Folder to put it into. What is there already, and whole, is not fetched again; what was cut off goes
        on where it stopped.
    subjects : str or sequence of str, default=None
        "01" to "27"; None takes all participants. Sounds and texts always come.
    progress : bool, default=True
        Show a bar for each file.

    Returns
    -------
    root : Path
        For :func:`load_gwilliams2022`.

    Raises
    ------
    ConnectionError
        If the server or a proxy does not answer, or the connection dropped for good; what came is kept, to be resumed.
    PermissionError
        If the server or a proxy refuses.
    ValueError
        If a file does not have the server's checksum, its list cannot be used, or a subject is not there.
    OSError
        If the disk has not enough room.

    Notes
    -----
    Sizes and SHA-256 checksums are those that OSF names for each file.
    """
    wanted = _names(subjects)
    files = []
    for node in MASC_NODES:
        manual = _by_hand(f"https://osf.io/{node}", root)
        files += osf_files(f"{OSF}/{node}/files/osfstorage/?page[size]=100", wanted, manual)
    _check_found("subjects", wanted, {person_of(file.path) for file in files})
    first: dict = {}
    for file in files:  # each part of a data set has a description of its own
        first.setdefault(file.path, file)
    return download(list(first.values()), root, progress)


def _by_hand(page, root):
    """What can be done without this package, for messages."""
    return f"Open {page} in a browser, and save its files into {str(root)!r} under the names that they have there."


def _names(subjects):
    """Names of participants without "sub-", None for all."""
    if subjects is None:
        return None
    subjects = [subjects] if isinstance(subjects, (str, int)) else subjects
    return {str(subject).removeprefix("sub-") for subject in subjects}


def _check_found(name, wanted, there):
    if wanted is not None and (missing := wanted - there):
        known = sorted(one for one in there if one is not None)
        raise ValueError(
            f"{name} names {sorted(missing)}, which the server does not have; it has {', '.join(known)}."
        )


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
    files = deep_blue_files(
        DEEP_BLUE, ALICE_WORK, _by_hand(f"{DEEP_BLUE}/concern/data_sets/{ALICE_WORK}", root)
    )
    recordings = {Path(f.path).stem for f in files if f.path.startswith("S") and f.path.endswith(".mat")}
    _check_found("subjects", wanted, recordings)
    if wanted is not None:
        files = [f for f in files if Path(f.path).stem not in recordings - wanted]
    root = download(files, root, progress)
    sources = {file.path: file.url for file in files}
    for folder in ("audio", "proc"):
        if (archive := root / f"{folder}.zip").is_file():
            unpack(
                archive, root, lambda name, folder=folder: _into(folder, name), sources.get(archive.name, "")
            )
    return root


def _into(folder, name):
    """Place of a member in a folder, whether or not the archive holds the folder itself."""
    path = PurePosixPath(name)
    return None if "__MACOSX" in path.parts or path.name.startswith(".") else f"{folder}/{path.name}"


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
                "fetch_broderick2019: Dryad packs everybody into one archive; leave subjects=None, or take "
                "the edition 'openneuro'."
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
            "fetch_broderick2019 needs openneuro-py; install it by `pip install 'sk_b2s[fetch]'` or `pip "
            "install openneuro-py`."
        ) from error
    wanted = sorted(known if wanted is None else wanted)
    missing = [one for one in wanted if not (root / f"sub-{one}").is_dir()]
    check_room(root, len(missing) * BRODERICK_SUBJECT)
    dataset, tag = BRODERICK_OPENNEURO
    include = [*(f"sub-{one}" for one in wanted), "stimuli"]
    page = f"https://openneuro.org/datasets/{dataset}/versions/{tag}"
    try:
        openneuro.download(
            dataset=dataset, tag=tag, target_dir=root, include=include, max_concurrent_downloads=1
        )
    except Exception as error:  # openneuro-py raises those of several libraries
        raise ConnectionError(
            f"openneuro-py could not fetch {dataset}, version {tag}: {type(error).__name__}: "
            f"{str(error)[:300]}. What came is kept; run it again to go on. {_by_hand(page, root)}"
        ) from error
    return root


def _fetch_dryad(root, progress):
    """Fetch the archive of natural speech from Dryad and unpack it, and the zips in it."""
    page = f"{DRYAD}/dataset/{BRODERICK_DOI}"
    files = dryad_files(DRYAD, quote(BRODERICK_DOI, safe=""), _by_hand(page, root))
    natural = [file for file in files if _is_natural(file.path)]
    root = download(natural or files, root, progress)
    ahead = [(root / file.path, file.url, 0) for file in natural or files if file.path.endswith(".zip")]
    while ahead:
        archive, url, depth = ahead.pop(0)
        inner = unpack(archive, root, _wanted_of_dryad, url)
        if depth < MOST_NESTED:
            ahead += [(path, f"{url}, {archive.name}", depth + 1) for path in inner if path.suffix == ".zip"]
    return root


def _wanted_of_dryad(name):
    """Place of a member of Dryad's archive, None for the archives of other experiments."""
    return None if name.endswith(".zip") and not _is_natural(name) else name


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
        "MOUS (schoffelen2019) is not public: its use is agreed to in person. 1. Log in at "
        "https://data.ru.nl with an account of your institution, or ORCID. 2. Ask for collection "
        "DSC_3011020.09_236 (doi:10.34973/37n0-yc51) and accept its terms. 3. The collection's page shows "
        f"your user name and password for WebDAV. 4. In {str(root)!r}, run\n    wget -r -nH --cut-dirs=3 -c "
        f"--user=... --ask-password "
        f"https://webdav.data.ru.nl/dccn/DSC_3011020.09_236_v1/sub-{people}/meg/\nand the same for "
        f"sourcedata/meg_task and stimuli. 5. Align the words (WebMAUS) as load_schoffelen2019 describes. "
        f"Then load_schoffelen2019 reads it."
    )

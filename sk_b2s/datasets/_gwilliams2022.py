"""MEG-MASC (Gwilliams et al., 2022): MEG of 27 participants and four stories.

Participants listened to the stories twice, in a KIT system with 208 channels.

Citation
    Gwilliams, Flick, Marantz, Pylkkänen, Poeppel, King (2023). Introducing
    MEG-MASC, a high-quality magneto-encephalography dataset for evaluating
    natural speech processing. Scientific Data 10:862.
    https://doi.org/10.1038/s41597-023-02752-5
License
    CC0.
Source
    OSF, in four parts of one folder: ag3kj, h2tzn, u5327 and dr4wy
    (https://osf.io/ag3kj). NEMAR has a copy, nm000229.
Size
    106.6 GB, 196 recordings, 57.3 hours. 22 participants have two sessions of
    four stories, five (03, 12, 16, 20 and 21) have one. English from a
    synthesizer with three voices, with word lists and pseudo-words between the
    sentences.
Manual steps
    None. Use :func:`~sk_b2s.datasets.fetch_gwilliams2022`, or merge the four
    parts into one folder.
"""

from __future__ import annotations

import ast
import re
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import shorten_list
from sk_b2s.datasets._download import (
    check_download_subjects,
    describe_manual_download,
    download,
    strip_download_subjects,
)
from sk_b2s.datasets._listings import get_listing_subject, read_osf_listing
from sk_b2s.datasets._study import (
    check_study_root,
    combine_study_tables,
    read_study_duration,
    read_study_tsv,
    require_study_file,
    select_study_names,
    warn_of_missing_study_parts,
)

STUDY = "gwilliams2022"
SESSIONS = ["0", "1"]
N_ROWS = {"0": 3134, "1": 6622, "2": 11597, "3": 17999}  # of a complete table, by story
STORIES = {"0": "lw1", "1": "cable_spool_fort", "2": "easy_money", "3": "the_black_willow"}
HINT = "Download it with sk_b2s.datasets.fetch_gwilliams2022, or merge the four OSF nodes of MEG-MASC into one folder."
OSF = "https://api.osf.io/v2/nodes"
OSF_NODES = ("ag3kj", "h2tzn", "u5327", "dr4wy")
SUFFIXES = (".con", ".sqd", ".fif")
KEYS = (
    "kind", "start", "sound", "word", "phoneme", "sequence_id", "condition", "word_index", "speech_rate",
    "voice",
)  # fmt: skip
OPTIONAL = ("phoneme", "condition", "speech_rate", "voice")  # keys that may be missing
ONE_SESSION = ("03", "12", "16", "20", "21")
SOUND = re.compile(r"([^/\\]+_\d+)(?:\.0)?\.wav$")
MAX_ERROR = 0.005  # s between the onset of a word and the one computed from its stimulus


def load_gwilliams2022(root, subjects=None, sessions=None, tasks=None, need_recordings=True, audio_delay=0.0):
    """Load the events of MEG-MASC.

    Tables of both editions are supported: OSF has a Python literal in
    ``trial_type``, and NEMAR has a column for each of its keys.

    Parameters
    ----------
    root : path-like
        Folder with ``participants.tsv``, ``stimuli``, ``sub-01`` ...
    subjects, sessions, tasks : str or sequence of str, default=None
        Subjects ("01" to "27"), sessions ("0" and "1") and stories ("0" to
        "3"). If None, load all that exist.
    need_recordings : bool, default=True
        If False, also load tables whose recording was not downloaded. The
        duration of such a recording is read from its ``meg.json``. Without
        this file, it ends 10 s after the last event.
    audio_delay : float or dict, default=0.0
        Delay in seconds of the audio relative to the tables, for all
        recordings or, as in :func:`~sk_b2s.read_bids`, by the beginning of
        their names.

    Returns
    -------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`. ``sequence`` is
        "story/number of the sentence", equal for all subjects and sessions.
        ``word_index`` counts the words of a sentence from 0. Forced alignment
        lost the first word of one in eight sentences. ``condition`` is
        "sentence", "word_list" or "pseudo_words". ``text`` of a phoneme is its
        ARPAbet symbol and position, such as "t_B". Additional columns are
        ``task``, ``story``, ``speaker``, ``speech_rate`` (words per minute)
        and ``language``.

    Raises
    ------
    FileNotFoundError
        If a folder, recording, audio file or table does not exist.
    ValueError
        If a table is invalid or shorter than that of another subject, or if a
        requested subject, session or task does not exist.

    Warns
    -----
    UserWarning
        If a table is shorter than in the published data, if a subject lacks a
        requested story, or if the edition lacks an optional column.

    See Also
    --------
    fetch_gwilliams2022 : Download the study.

    Notes
    -----
    Onsets need no correction. They equal the onset of the audio plus the time
    in the audio, up to 2 µs. The file ``meg.json`` of some copies calls tasks
    "session-relative", but they are fixed labels of the stories. The power
    line frequency in Abu Dhabi is 50 Hz.

    References
    ----------
    .. [1] Gwilliams et al. (2023). Introducing MEG-MASC, a high-quality
       magneto-encephalography dataset for evaluating natural speech
       processing. Scientific Data 10:862.
       https://doi.org/10.1038/s41597-023-02752-5
    """
    root = check_study_root(root, STUDY, HINT)
    available = sorted(path.name.removeprefix("sub-") for path in root.glob("sub-*") if path.is_dir())
    tables, missing = [], []
    for subject in select_study_names("subjects", subjects, available, STUDY):
        found = list(_iter_masc_tables(root / f"sub-{subject}", subject, sessions, tasks, need_recordings))
        missing += _find_missing_masc_stories(found, subject, sessions, tasks)
        tables += found
    if not tables:
        raise FileNotFoundError(
            f"{STUDY}: {str(root)!r} has no requested table sub-*/ses-*/meg/*_events.tsv. {HINT}"
        )
    events = combine_study_tables(tables, STUDY, need_recordings, audio_delay)
    for name, requested, column in (("tasks", tasks, "task"), ("sessions", sessions, "session")):
        select_study_names(name, requested, sorted(events[column].unique()), STUDY)
    _check_row_counts(events)
    warn_of_missing_study_parts(STUDY, "neither recording nor table exists for", missing)
    words = events[events["type"] == "word"]
    empty = [
        name for name in ("condition", "speech_rate", "speaker") if words[name].isna().all() and len(words)
    ]
    empty += [] if (events["type"] == "phoneme").any() else ["rows of phonemes"]
    warn_of_missing_study_parts(STUDY, "the tables of this edition and the events lack", empty)
    return events


def _find_missing_masc_stories(tables, subject, sessions, tasks):
    """List requested stories of a subject that do not exist."""
    published = SESSIONS[:1] if subject in ONE_SESSION else SESSIONS
    requested = (
        published
        if sessions is None
        else [one for one in select_study_names("sessions", sessions, SESSIONS, STUDY) if one in published]
    )
    found = {(table["session"].iloc[0], table["task"].iloc[0]) for table in tables}
    wanted = [
        (session, task)
        for session in requested
        for task in select_study_names("tasks", tasks, list(STORIES), STUDY)
    ]
    return [
        f"sub-{subject} ses-{session} task-{task}" for session, task in wanted if (session, task) not in found
    ]


def _check_row_counts(events):
    """Warn or raise if tables of a story have fewer rows than others."""
    counts = events.groupby(["recording", "task"], sort=False).size().reset_index(name="rows")
    if (short := counts[counts["rows"] < counts["task"].map(N_ROWS)]).size:
        each = [
            f"{name!r} {rows} of {N_ROWS[task]}"
            for name, task, rows in short[["recording", "task", "rows"]].values
        ]
        warnings.warn(
            f"{STUDY}: {len(short)} tables have fewer rows than in the published data, {shorten_list(each, 30)}. Check that "
            f"the files are complete.",
            stacklevel=3,
        )
    most = counts.groupby("task")["rows"].transform("max")
    if (short := counts[counts["rows"] < most]).size:
        first = short.iloc[0]
        raise ValueError(
            f"{STUDY}: the table of {first['recording']!r} has {first['rows']} rows, but tables of other subjects for "
            f"task {first['task']} have {most[short.index[0]]} ({len(short)} such tables). The file is incomplete. "
            f"{HINT}"
        )


def _iter_masc_tables(folder, subject, sessions, tasks, need_recordings):
    existing = sorted(path.name.removeprefix("ses-") for path in folder.glob("ses-*") if path.is_dir())
    requested = existing if sessions is None else select_study_names("sessions", sessions, SESSIONS, STUDY)
    wanted = [session for session in requested if session in existing]  # five subjects have one session
    for session in wanted:
        for task in select_study_names("tasks", tasks, list(STORIES), STUDY):
            stem = folder / f"ses-{session}" / "meg" / f"sub-{subject}_ses-{session}_task-{task}"
            recording = _find_masc_recording(stem)
            table = Path(f"{stem}_events.tsv")
            if recording.exists() or table.exists() or table.is_symlink():
                require_study_file(table, STUDY, HINT)
                if need_recordings:
                    require_study_file(
                        recording, STUDY, f"{HINT} To load only the tables, pass need_recordings=False."
                    )
                yield _read_masc_recording(table, recording, folder.parent, subject, session, task)


def _find_masc_recording(stem):
    """Return the path of a recording in the first existing format."""
    paths = [Path(f"{stem}_meg{suffix}") for suffix in SUFFIXES]
    return next((path for path in paths if path.exists()), paths[0])


def _read_masc_recording(path, recording, root, subject, session, task):
    """Read one table of events."""
    table = read_study_tsv(path, STUDY, ["onset", "duration"])
    if "kind" not in table:
        table = _expand_masc_literals(read_study_tsv(path, STUDY, ["trial_type"]), path)
    if missing := [key for key in KEYS if key not in table and key not in OPTIONAL]:
        raise ValueError(f"{STUDY}: {str(path)!r} lacks the columns {missing}. It has {list(table)}.")
    table = table.assign(**{key: None for key in OPTIONAL if key not in table})
    story = STORIES[task]
    is_spoken = table["kind"] != "sound"
    events = pd.DataFrame({
        "subject": subject, "session": session, "task": task, "recording": str(recording),
        "type": table["kind"], "onset": table["onset"], "duration": table["duration"],
        "sound": _find_masc_audio(table["sound"], root, path), "sound_onset":
            table["start"].where(is_spoken, 0.0).astype(float),
        "text": table["word"].where(table["kind"] == "word", table["phoneme"]).astype(object),
        "sequence": _name_masc_sentences(table["sequence_id"], story), "word_index": table["word_index"].astype(float),
        "condition": table["condition"].astype(object), "story": story,
        "speaker": table["voice"].astype(object),
        "speech_rate": table["speech_rate"].astype(float), "language": "en",
    })  # fmt: skip
    _check_masc_onsets(events, path)
    sidecar = Path(str(path).replace("_events.tsv", "_meg.json"))
    if sidecar.is_file():
        events["recording_duration"] = read_study_duration(sidecar, STUDY)
    return events


def _expand_masc_literals(table, path):
    """Expand the literals of ``trial_type`` into columns."""
    if "start" in table and table["trial_type"].isin(["sound", "word", "phoneme"]).all():
        return table.rename(columns={"trial_type": "kind"})  # name of the column in BIDS
    codes, literals = pd.factorize(table["trial_type"])
    rows = []
    for index, literal in enumerate(literals):
        try:
            rows.append(_read_masc_literal(literal))
        except (ValueError, SyntaxError, AttributeError, RecursionError):
            row = int(np.flatnonzero(codes == index)[0])
            raise ValueError(
                f"{STUDY}: {str(path)!r}, row {row}, column 'trial_type': expected a dictionary with 'kind'. Got "
                f"{literal!r} instead."
            ) from None
    columns = pd.DataFrame(rows, columns=KEYS).iloc[codes].reset_index(drop=True)
    return table.drop(columns="trial_type").join(columns)


@lru_cache(maxsize=2**17)
def _read_masc_literal(text):
    """Parse a literal once, as recordings of a story share it."""
    values = ast.literal_eval(text)
    if "kind" not in values:
        raise ValueError(text)
    return tuple(values.get(key) for key in KEYS)


def _find_masc_audio(names, root, path):
    """Find audio files, which tables spell in capitals and with ".0"."""
    codes, distinct = pd.factorize(names)
    found = []
    for name in distinct:
        match = SOUND.search(str(name))
        if not match:
            raise ValueError(
                f"{STUDY}: {str(path)!r}, column 'sound': expected 'stimuli/audio/<story>_<number>.wav'. Got "
                f"{name!r} instead."
            )
        found.append(
            str(require_study_file(root / "stimuli" / "audio" / f"{match[1].lower()}.wav", STUDY, HINT))
        )
    if (codes < 0).any():
        raise ValueError(
            f"{STUDY}: {str(path)!r}, row {np.flatnonzero(codes < 0)[0]} has no value of 'sound'."
        )
    return np.array(found, object)[codes]


def _name_masc_sentences(numbers, story):
    """Name the sentences of a story by its number, equal for all subjects."""
    codes, distinct = pd.factorize(numbers)
    names = [f"{story}/{int(number)}" for number in distinct]
    return np.array([*names, None], object)[codes]  # code -1 is a missing number


def _check_masc_onsets(events, path):
    """Raise if onsets differ from those computed from the audio."""
    sounds = events[events["type"] == "sound"].drop_duplicates("sound").set_index("sound")["onset"]
    error = events["onset"] - events["sound"].map(sounds) - events["sound_onset"]
    wrong = ~(error.abs() <= MAX_ERROR).to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        problem = "the audio has no row" if np.isnan(error[row]) else f"it differs by {error[row]:+.3f} s"
        raise ValueError(
            f"{STUDY}: {str(path)!r}, row {row}: expected the onset of {Path(events['sound'][row]).name!r} plus "
            f"{events['sound_onset'][row]:.3f} s, but {problem} ({int(wrong.sum())} such rows). Download the table "
            f"again."
        )


# --- download ----------------------------------------------------------------------------------------


def fetch_gwilliams2022(root, subjects=None, progress=True):
    """Download MEG-MASC from OSF.

    The study has 106.6 GB, about 4 GB for each subject. The license is CC0.

    Parameters
    ----------
    root : path-like
        Folder of the study. Complete files are not downloaded again, and
        partial downloads are resumed.
    subjects : str or sequence of str, default=None
        Subjects, "01" to "27". If None, download all. Audio and texts are
        always downloaded.
    progress : bool, default=True
        Show a progress bar for each file.

    Returns
    -------
    root : Path
        Folder for :func:`load_gwilliams2022`.

    Raises
    ------
    ConnectionError
        If the server or a proxy does not respond, or if the connection is lost
        repeatedly. The bytes received are kept, and the next call resumes.
    PermissionError
        If the server or a proxy refuses access.
    ValueError
        If a file does not match the checksum of the server, if the list of
        files is invalid, or if a subject does not exist.
    OSError
        If the disk is full.

    Notes
    -----
    Sizes and SHA-256 checksums are those listed by OSF.
    """
    requested = strip_download_subjects(subjects)
    files = []
    for node in OSF_NODES:
        manual = describe_manual_download(f"https://osf.io/{node}", root)
        files += read_osf_listing(f"{OSF}/{node}/files/osfstorage/?page[size]=100", requested, manual)
    check_download_subjects(requested, {get_listing_subject(file.path) for file in files})
    first: dict = {}
    for file in files:  # each node has its own description of the data set
        first.setdefault(file.path, file)
    return download(list(first.values()), root, progress)

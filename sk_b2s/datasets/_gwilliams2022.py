"""MEG-MASC: 27 people listen to four stories, twice, in a 208-channel KIT system.

Citation
    Gwilliams, Flick, Marantz, Pylkkänen, Poeppel, King (2023). Introducing MEG-MASC, a high-quality
    magneto-encephalography dataset for evaluating natural speech processing. Scientific Data 10:862.
    https://doi.org/10.1038/s41597-023-02752-5
License
    CC0.
Where
    OSF, in four parts that make one folder: ag3kj, h2tzn, u5327 and dr4wy (https://osf.io/ag3kj). A copy is at
    NEMAR, nm000229.
Size
    106.6 GB, 196 recordings, 57.3 hours: 22 people in two sessions of four stories, five (03, 12, 16, 20 and
    21) in one. English from a synthesizer, three voices; word lists and pseudo-words between the sentences.
By hand
    Nothing: :func:`~sk_b2s.datasets.fetch_gwilliams2022`, or merge the four parts into one folder.
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
from sk_b2s.datasets._common import choose, finish, need, read_tsv, seconds_of, study_root, warn_of_missing

STUDY = "gwilliams2022"
SESSIONS = ["0", "1"]
ROWS = {"0": 3134, "1": 6622, "2": 11597, "3": 17999}  # of every table of a story
STORIES = {"0": "lw1", "1": "cable_spool_fort", "2": "easy_money", "3": "the_black_willow"}
HINT = (
    "Fetch it by sk_b2s.datasets.fetch_gwilliams2022, or put the four OSF nodes of MEG-MASC into one folder."
)
SUFFIXES = (".con", ".sqd", ".fif")
KEYS = (
    "kind", "start", "sound", "word", "phoneme", "sequence_id", "condition", "word_index", "speech_rate",
    "voice",
)  # fmt: skip
OPTIONAL = ("phoneme", "condition", "speech_rate", "voice")  # keys that an edition may lack
ONE_SESSION = ("03", "12", "16", "20", "21")
SOUND = re.compile(r"([^/\\]+_\d+)(?:\.0)?\.wav$")
APART = 0.005  # s by which a word may stand from where its sound says it is


def load_gwilliams2022(root, subjects=None, sessions=None, tasks=None, need_recordings=True, audio_delay=0.0):
    """Read the events of MEG-MASC.

    Both written forms of its tables are read: that of OSF, a Python literal in ``trial_type``, and that of
    NEMAR, a column for each of its keys.

    Parameters
    ----------
    root : path-like
        Folder with ``participants.tsv``, ``stimuli`` and ``sub-01`` ...
    subjects, sessions, tasks : str or sequence of str, default=None
        Which to take ("01" to "27"; "0" and "1"; "0" to "3", the stories); None takes all that are there.
    need_recordings : bool, default=True
        False also reads tables whose recording was not fetched, to plan or to count; unless its
        ``meg.json`` says otherwise, it is taken to last 10 s after the last event.
    audio_delay : float or dict, default=0.0
        Seconds by which sound reached the ear later than the tables say, for all or, as in
        :func:`~sk_b2s.read_bids`, by the beginning of the recording's name.

    Returns
    -------
    events : DataFrame
        An events table (:func:`~sk_b2s.check_events`). ``sequence`` is "story/number of the sentence", the
        same for all people and sessions; ``word_index`` counts the words of a sentence from 0 (forced
        alignment lost the first in one of eight sentences); ``condition`` is "sentence", "word_list" or
        "pseudo_words"; ``text`` of a phoneme is its ARPAbet symbol and place, such as "t_B"; further
        columns are ``task``, ``story``, ``speaker``, ``speech_rate`` (words/min) and ``language``.

    Raises
    ------
    FileNotFoundError
        If a folder, recording, sound or table is not there.
    ValueError
        If a table is malformed or shorter than another person's, or who or what was asked for is not there.

    Warns
    -----
    UserWarning
        If tables have fewer rows than those of their story have, a participant lacks a story that was asked for, or
        this edition lacks a column that is not needed.

    Notes
    -----
    Onsets need no correction: they are those of the sound files plus the time in them, to 2 µs. The file
    ``meg.json`` of some copies calls tasks "session-relative"; they are fixed labels of the stories.
    The power line in Abu Dhabi is at 50 Hz.

    References
    ----------
    .. [1] Gwilliams et al. (2023). Introducing MEG-MASC, a high-quality magneto-encephalography dataset for
       evaluating natural speech processing. Scientific Data 10:862.
       https://doi.org/10.1038/s41597-023-02752-5
    """
    root = study_root(root, STUDY, HINT)
    people = sorted(path.name.removeprefix("sub-") for path in root.glob("sub-*") if path.is_dir())
    tables, missing = [], []
    for subject in choose("subjects", subjects, people, STUDY):
        found = list(_tables_of(root / f"sub-{subject}", subject, sessions, tasks, need_recordings))
        missing += _missing_of(found, subject, sessions, tasks)
        tables += found
    if not tables:
        raise FileNotFoundError(
            f"{STUDY}: {str(root)!r} has no table sub-*/ses-*/meg/*_events.tsv that was asked for. {HINT}"
        )
    events = finish(tables, STUDY, need_recordings, audio_delay)
    for name, asked, column in (("tasks", tasks, "task"), ("sessions", sessions, "session")):
        choose(name, asked, sorted(events[column].unique()), STUDY)
    _check_alike(events)
    warn_of_missing(STUDY, "neither recording nor table is there of", missing)
    spoken = events[events["type"] == "word"]
    empty = [
        name for name in ("condition", "speech_rate", "speaker") if spoken[name].isna().all() and len(spoken)
    ]
    empty += [] if (events["type"] == "phoneme").any() else ["the rows of phonemes"]
    warn_of_missing(STUDY, "the tables of this edition do not have, and the events neither", empty)
    return events


def _missing_of(tables, subject, sessions, tasks):
    """Name the stories that a participant heard, by session, and of which nothing is there."""
    came = SESSIONS[:1] if subject in ONE_SESSION else SESSIONS
    asked = (
        came
        if sessions is None
        else [one for one in choose("sessions", sessions, SESSIONS, STUDY) if one in came]
    )
    there = {(table["session"].iloc[0], table["task"].iloc[0]) for table in tables}
    wanted = [(session, task) for session in asked for task in choose("tasks", tasks, list(STORIES), STUDY)]
    return [
        f"sub-{subject} ses-{session} task-{task}" for session, task in wanted if (session, task) not in there
    ]


def _check_alike(events):
    """Raise where one person's table of a story has fewer rows than another's: all heard the same."""
    counts = events.groupby(["recording", "task"], sort=False).size().reset_index(name="rows")
    if (short := counts[counts["rows"] < counts["task"].map(ROWS)]).size:
        each = [
            f"{name!r} {rows} of {ROWS[task]}"
            for name, task, rows in short[["recording", "task", "rows"]].values
        ]
        warnings.warn(
            f"{STUDY}: {len(short)} tables have fewer rows than that of their story, {shorten_list(each, 30)}; were they "
            "cut off?",
            stacklevel=3,
        )
    most = counts.groupby("task")["rows"].transform("max")
    if (short := counts[counts["rows"] < most]).size:
        first = short.iloc[0]
        raise ValueError(
            f"{STUDY}: the table of {first['recording']!r} has {first['rows']} rows, those of other people "
            f"who heard task {first['task']} {most[short.index[0]]} ({len(short)} such tables); it was cut "
            f"off."
        )


def _tables_of(folder, subject, sessions, tasks, need_recordings):
    there = sorted(path.name.removeprefix("ses-") for path in folder.glob("ses-*") if path.is_dir())
    asked = there if sessions is None else choose("sessions", sessions, SESSIONS, STUDY)
    wanted = [session for session in asked if session in there]  # five came once
    for session in wanted:
        for task in choose("tasks", tasks, list(STORIES), STUDY):
            stem = folder / f"ses-{session}" / "meg" / f"sub-{subject}_ses-{session}_task-{task}"
            recording = _recording(stem)
            table = Path(f"{stem}_events.tsv")
            if recording.exists() or table.exists() or table.is_symlink():
                need(table, STUDY, HINT)
                if need_recordings:
                    need(recording, STUDY, f"{HINT} To read the tables only, pass need_recordings=False.")
                yield _read_recording(table, recording, folder.parent, subject, session, task)


def _recording(stem):
    """Path of a recording, in whichever format; the original one if none is there."""
    paths = [Path(f"{stem}_meg{suffix}") for suffix in SUFFIXES]
    return next((path for path in paths if path.exists()), paths[0])


def _read_recording(path, recording, root, subject, session, task):
    """Read one table of events."""
    table = read_tsv(path, STUDY, ["onset", "duration"])
    if "kind" not in table:
        table = _spread(read_tsv(path, STUDY, ["trial_type"]), path)
    if missing := [key for key in KEYS if key not in table and key not in OPTIONAL]:
        raise ValueError(f"{STUDY}: {str(path)!r} lacks the columns {missing}; it has {list(table)}.")
    table = table.assign(**{key: None for key in OPTIONAL if key not in table})
    story = STORIES[task]
    spoken = table["kind"] != "sound"
    events = pd.DataFrame({
        "subject": subject, "session": session, "task": task, "recording": str(recording),
        "type": table["kind"], "onset": table["onset"], "duration": table["duration"],
        "sound": _sounds(table["sound"], root, path), "sound_onset":
            table["start"].where(spoken, 0.0).astype(float),
        "text": table["word"].where(table["kind"] == "word", table["phoneme"]).astype(object),
        "sequence": _names(table["sequence_id"], story), "word_index": table["word_index"].astype(float),
        "condition": table["condition"].astype(object), "story": story,
        "speaker": table["voice"].astype(object),
        "speech_rate": table["speech_rate"].astype(float), "language": "en",
    })  # fmt: skip
    _check_places(events, path)
    said = Path(str(path).replace("_events.tsv", "_meg.json"))
    if said.is_file():
        events["recording_duration"] = seconds_of(said, STUDY)
    return events


def _spread(table, path):
    """Give the literals of ``trial_type`` columns of their own."""
    if "start" in table and table["trial_type"].isin(["sound", "word", "phoneme"]).all():
        return table.rename(columns={"trial_type": "kind"})  # as BIDS names it
    codes, literals = pd.factorize(table["trial_type"])
    rows = []
    for index, literal in enumerate(literals):
        try:
            rows.append(_read_literal(literal))
        except (ValueError, SyntaxError, AttributeError, RecursionError):
            row = int(np.flatnonzero(codes == index)[0])
            raise ValueError(
                f"{STUDY}: {str(path)!r}, row {row}, column 'trial_type': expected a dictionary with 'kind', "
                f"got {literal!r}."
            ) from None
    columns = pd.DataFrame(rows, columns=KEYS).iloc[codes].reset_index(drop=True)
    return table.drop(columns="trial_type").join(columns)


@lru_cache(maxsize=2**17)
def _read_literal(text):
    """Read one literal; people who heard the same story have the same, so each is read once."""
    values = ast.literal_eval(text)
    if "kind" not in values:
        raise ValueError(text)
    return tuple(values.get(key) for key in KEYS)


def _sounds(names, root, path):
    """Paths of the sounds: the tables write capitals, and ".0" before the ending in rows of sounds."""
    codes, distinct = pd.factorize(names)
    found = []
    for name in distinct:
        match = SOUND.search(str(name))
        if not match:
            raise ValueError(
                f"{STUDY}: {str(path)!r}, column 'sound': expected 'stimuli/audio/<story>_<number>.wav', got "
                f"{name!r}."
            )
        found.append(str(need(root / "stimuli" / "audio" / f"{match[1].lower()}.wav", STUDY, HINT)))
    if (codes < 0).any():
        raise ValueError(f"{STUDY}: {str(path)!r}, row {np.flatnonzero(codes < 0)[0]} names no sound.")
    return np.array(found, object)[codes]


def _names(numbers, story):
    """Name the sentences of a story: the number is one for all who heard it."""
    codes, distinct = pd.factorize(numbers)
    names = [f"{story}/{int(number)}" for number in distinct]
    return np.array([*names, None], object)[codes]  # -1 where there is none


def _check_places(events, path):
    """Raise where a word stands elsewhere than its sound and its time in it say."""
    sounds = events[events["type"] == "sound"].drop_duplicates("sound").set_index("sound")["onset"]
    begun = events["sound"].map(sounds)
    off = events["onset"] - begun - events["sound_onset"]
    wrong = ~(off.abs() <= APART).to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        came = "has no row of its sound" if np.isnan(off[row]) else f"is {off[row]:+.3f} s from there"
        raise ValueError(
            f"{STUDY}: {str(path)!r}, row {row}: expected the onset to be that of the sound "
            f"{Path(events['sound'][row]).name!r} plus {events['sound_onset'][row]:.3f} s, but the row "
            f"{came} ({int(wrong.sum())} such rows)."
        )

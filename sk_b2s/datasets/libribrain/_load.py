"""LibriBrain100: MEG of 33 participants who listened to audiobooks.

Participant 0 listened for about 80 hours to nine books of Sherlock Holmes,
TIMIT, MOCHA-TIMIT and 30 podcasts, participants 1 to 32 for about 44 minutes
to two chapters of the first book, with 306 MEG sensors.

Citation
    Özdogan et al. (2025). LibriBrain: Over 50 hours of within-subject MEG to
    improve speech decoding methods at scale. https://arxiv.org/abs/2506.02098.
    LibriBrain100 is described by Mantegna et al. (2026).
License
    CC BY-NC 4.0: commercial use is not allowed.
Source
    Hugging Face, https://huggingface.co/datasets/pnpl/LibriBrain (participant
    0, Sherlock1 to Sherlock7) and
    https://huggingface.co/datasets/pnpl/LibriBrain2 (all others). The
    hold-out of the PNPL competition 2026 is in
    https://huggingface.co/datasets/pnpl/LibriBrain-Competition-2026.
Size
    1.1 GB for each hour: about 90 GB for participant 0 (0.4 GB for a session
    of 20 minutes), and 0.8 GB for each other participant.
Manual steps
    None with :func:`~sk_b2s.datasets.fetch_libribrain100`. Reading the
    recordings requires h5py (``pip install 'sk_b2s[hdf5]'``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sk_b2s.datasets._study import (
    check_study_root,
    combine_study_tables,
    read_study_tsv,
    require_study_file,
    select_study_names,
    warn_of_missing_study_parts,
)
from sk_b2s.events._stimuli import StimulusArray
from sk_b2s.io._raw._recordings import read_recording_duration_and_bads

STUDY = "libribrain100"
HINT = "Download it with sk_b2s.datasets.fetch_libribrain100."
REPOSITORIES = ("LibriBrain", "LibriBrain2")  # folders that root may contain
PREPROCESSING = "bads+headpos+sss+notch+bp+ds"
NAME = re.compile(
    r"sub-(?P<subject>\d+)_ses-(?P<session>\d+)_task-(?P<task>[A-Za-z0-9]+)_run-(?P<run>\d+)"
    r"(?:_proc-(?P<proc>[^_]+))?(?:_desc-(?P<desc>[A-Za-z0-9]+))?_(?P<suffix>meg\.h5|events\.tsv)"
)
COLUMNS = ("kind", "segment", "timemeg", "duration", "sentenceidx", "wordidx")
KINDS = ("word", "phoneme", "silence")
POSITION = r"_[BIES]$"  # of a phoneme in its word: begin, inside, end or single
NOT_PHONEMES = ("oov_S", "sil", "spn_S")  # unknown words and silences
PARTITIONS = ("train", "validation", "test")
# Sessions of each task that are not training data. TIMIT is split by speakers and MOCHA-TIMIT by sentences.
HELD_OUT = {
    "Sherlock1": {"11": "validation", "12": "test"},
    "TheMoth": {"29": "validation", "30": "test"},
    "Podcasts": {"29": "validation", "30": "test"},
}
WITHOUT_PARTITION = ("TIMIT", "MOCHATIMIT")
RATE = 100.0  # Hz of the stimuli
FEATURES = ("speech", "word", "phoneme")
MIN_MATCHED = 0.9  # share of the rows of a table that the table of another subject must have
MAX_SHIFT = 0.1  # s between the time of a row and the one expected from the table of another subject


class LibriBrainRun(NamedTuple):
    """One run of a subject."""

    subject: str
    session: str
    task: str
    run: str
    table: Path
    recording: Path
    desc: str  # part of the session that a recording of the competition contains, "" for all


def load_libribrain100(
    root, subjects=None, tasks=None, sessions=None, partition=None, need_recordings=True
):  # fmt: skip
    """Load the events of LibriBrain100.

    Parameters
    ----------
    root : path-like
        Folder of the books and corpora, ``Sherlock1/derivatives/events``,
        ``Sherlock1/derivatives/serialised`` ..., or a folder with
        ``LibriBrain`` and ``LibriBrain2``, which contain them.
    subjects : str or sequence of str, default=None
        Subjects, "0" to "32". If None, load all that exist.
    tasks : str or sequence of str, default=None
        Books and corpora, "Sherlock1" to "Sherlock9", "TIMIT", "MOCHATIMIT"
        and "TheMoth". If None, load all that exist.
    sessions : str or sequence of str, default=None
        Sessions, "1", "2", ... If None, load all that exist.
    partition : {None, "train", "validation", "test"}, default=None
        Part of the published split. If None, load all parts.
    need_recordings : bool, default=True
        If False, also load tables whose recording was not downloaded. Such a
        recording ends 10 s after the last event.

    Returns
    -------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`. ``sequence`` is
        "task/session/number of the sentence" and ``word_index`` counts its
        words from 0, both equal for all subjects. ``text`` of a phoneme is
        its ARPAbet symbol without its position ("ae" for "ae_B"), one of 39.
        ``sound`` is a :class:`~sk_b2s.StimulusArray` at 100 Hz with three
        features: speech (0 or 1), onsets of words and onsets of phonemes.
        Additional columns are ``task``, ``run``, ``partition`` (also in ``y``
        of :func:`~sk_b2s.make_segments`) and ``language``.

    Raises
    ------
    FileNotFoundError
        If a recording or table does not exist.
    ValueError
        If a table is invalid, if tables of one session have other rows, or if
        a requested subject, task or session does not exist.

    Warns
    -----
    UserWarning
        If rows are omitted, or if times of two subjects do not agree.

    See Also
    --------
    fetch_libribrain100 : Download the data set.
    load_libribrain100_holdout : Load windows of the competition.

    Notes
    -----
    The stimuli are arrays because the published tables have no documented
    time in the audio files. ``PrecomputedFeatures`` cuts windows of them. The
    stimulus of a session is that of its first table. Other subjects have the
    same rows, which are found by the numbers of sentence and word.

    The published split assigns sessions 11 and 12 of Sherlock1 to validation
    and test, and stories 29 and 30 of TheMoth. TIMIT is split by speaker and
    MOCHA-TIMIT by sentence, which the names of files do not show, so that
    their ``partition`` is missing. Recordings of the competition
    (``serialised_competition``) contain the first part of a session. Rows
    after their end are omitted.

    The layout of files, tables and recordings is that of the library pnpl,
    version 0.2. It was not compared with the recordings themselves.

    References
    ----------
    .. [1] Özdogan et al. (2025). LibriBrain: Over 50 hours of within-subject
       MEG to improve speech decoding methods at scale.
       https://arxiv.org/abs/2506.02098
    """
    root = check_study_root(root, STUDY, HINT)
    if partition not in (None, *PARTITIONS):
        raise ValueError(
            f"{STUDY}: 'partition' must be None or one of {PARTITIONS}. Got {partition!r} instead."
        )
    runs = _find_libribrain_runs(root)
    for name, requested in (("subjects", subjects), ("tasks", tasks), ("sessions", sessions)):
        field = name[:-1]
        available = sorted({getattr(run, field) for run in runs}, key=lambda one: (len(one), one))
        selected = select_study_names(name, requested, available, STUDY)
        runs = [run for run in runs if getattr(run, field) in selected]
    runs = [run for run in runs if partition in (None, get_libribrain_partition(run.task, run.session))]
    if not runs:
        raise FileNotFoundError(f"{STUDY}: {str(root)!r} has no run of the requested parts. {HINT}")
    references: dict[tuple[str, str], _LibriBrainSession] = {}
    tables = []
    for run in runs:
        require_study_file(run.table, STUDY, HINT)
        if need_recordings:
            require_study_file(
                run.recording, STUDY, f"{HINT} To load only the tables, pass need_recordings=False."
            )
        rows = _read_libribrain_table(run)
        key = run.task, run.session
        if key not in references:
            references[key] = _LibriBrainSession(rows, f"{run.task}/{run.session}", run.table)
        tables.append(_cut_libribrain_events(references[key].place(rows, run), run))
    return combine_study_tables(tables, STUDY, need_recordings)


def get_libribrain_partition(task, session):
    """Return the published part of a session, None if it has several."""
    if task in WITHOUT_PARTITION:
        return None
    return HELD_OUT.get(task, {}).get(session, "train")


def _find_libribrain_runs(root):
    """Find the tables and recordings of all runs, in order."""
    folders = [folder for folder in (root, *(root / name for name in REPOSITORIES)) if folder.is_dir()]
    tables: dict[tuple, Path] = {}
    recordings: dict[tuple, list] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/derivatives/*/sub-*")):
            if not (match := NAME.fullmatch(path.name)):
                continue
            key = tuple(match[field] for field in ("subject", "session", "task", "run"))
            if match["suffix"] == "events.tsv":
                tables[key] = path
            else:
                recordings.setdefault(key, []).append(path)
    if not tables and not recordings:
        raise FileNotFoundError(
            f"{STUDY}: {str(root)!r} has no <task>/derivatives/events/sub-*_events.tsv and no "
            f"<task>/derivatives/serialised/sub-*_meg.h5. {HINT}"
        )
    runs, ignored = [], []
    for key in sorted(
        tables.keys() | recordings.keys(),
        key=lambda key: [(len(one), one) for one in (key[0], key[2], key[1], key[3])],
    ):
        subject, session, task, run = key
        stem = f"sub-{subject}_ses-{session}_task-{task}_run-{run}"
        found = sorted(recordings.get(key, ()), key=_rank_libribrain_recordings)
        ignored += [path.name for path in found[1:]]
        near = (tables[key] if key in tables else found[0]).parents[1]
        path = found[0] if found else near / f"serialised/{stem}_proc-{PREPROCESSING}_meg.h5"
        table = tables.get(key, near / f"events/{stem}_events.tsv")
        runs.append(LibriBrainRun(*key, table, path, NAME.fullmatch(path.name)["desc"] or ""))
    warn_of_missing_study_parts(STUDY, "further recordings of the same runs are ignored", ignored)
    return runs


def _rank_libribrain_recordings(path):
    """Rank the recordings of a run: whole and with published filters first."""
    match = NAME.fullmatch(path.name)
    return match["desc"] is not None, match["proc"] != PREPROCESSING, str(path)


# --- tables ------------------------------------------------------------------------------------------


def _read_libribrain_table(run):
    """Read the words, phonemes and silences of a run.

    Columns are ``kind``, ``text``, ``onset``, ``duration``, the numbers
    ``sentence`` and ``word``, and ``order``, the position among the rows of
    the same kind, sentence and word.
    """
    table = read_study_tsv(run.table, STUDY, COLUMNS)
    table = table[list(COLUMNS)].replace(r"^\s*$", np.nan, regex=True)
    if unknown := sorted(set(table["kind"].dropna().astype(str)) - set(KINDS)):
        raise ValueError(
            f"{STUDY}: {str(run.table)!r}, column 'kind': expected {', '.join(KINDS)}. Got {unknown} instead."
        )
    numbers = {}
    for column in ("timemeg", "duration", "sentenceidx", "wordidx"):
        numbers[column] = pd.to_numeric(table[column], errors="coerce")
        wrong = numbers[column].isna() & table[column].notna()
        if wrong.any():
            row = int(wrong.idxmax())
            raise ValueError(
                f"{STUDY}: {str(run.table)!r}, line {row + 2}, column {column!r}: expected a number. Got "
                f"{table[column][row]!r} instead."
            )
    rows = pd.DataFrame({
        "kind": table["kind"], "text": table["segment"].astype(object).map(lambda text: str(text).strip()),
        "onset": numbers["timemeg"], "duration": numbers["duration"], "sentence": numbers["sentenceidx"],
        "word": numbers["wordidx"],
    })  # fmt: skip
    is_timed = rows["onset"].notna() & rows["duration"].notna() & rows["kind"].notna()
    is_named = (rows["kind"] == "silence") | table["segment"].notna()
    used = (rows["kind"] != "phoneme") | ~rows["text"].isin(NOT_PHONEMES)
    warn_of_missing_study_parts(
        STUDY, "rows without a time or text are omitted from", [f"{run.table.name} ({n} rows)"] if (n := int((~(is_timed & is_named) & used).sum())) else []
    )  # fmt: skip
    rows = rows[is_timed & is_named & used]
    plain = rows["text"].str.replace(POSITION, "", regex=True)
    rows["text"] = rows["text"].where(rows["kind"] != "phoneme", plain)
    if not (rows["kind"] == "word").any():
        raise ValueError(f"{STUDY}: {str(run.table)!r} has no words. Check that the file is complete. {HINT}")
    if (early := rows["onset"] < 0).any():
        raise ValueError(
            f"{STUDY}: {str(run.table)!r}, line {rows.index[early][0] + 2}, column 'timemeg': expected a time of at "
            f"least 0 s. Got {rows['onset'][early].iloc[0]:g} instead."
        )
    rows = rows.sort_values("onset", kind="stable", ignore_index=True)
    keys = ["kind", "sentence", "word"]
    return rows.assign(order=rows.groupby(keys, dropna=False).cumcount())


class _LibriBrainSession:
    """Rows and stimulus of a session, which all subjects share."""

    def __init__(self, rows, name, path):
        self.rows, self.name, self.path = rows, name, path
        self.begin = rows["onset"].min()
        words = rows[rows["kind"] == "word"]
        first = words.groupby("sentence", dropna=False).cumcount().astype(float)
        rows["word_index"] = self._index_words(words.assign(word_index=first))
        self.stimulus = StimulusArray(self._make_features(), RATE, name, FEATURES)

    def _index_words(self, words):
        """Return the position in its sentence of each word and phoneme."""
        index = words.drop_duplicates(["sentence", "word"]).set_index(["sentence", "word"])["word_index"]
        keys = pd.MultiIndex.from_frame(self.rows[["sentence", "word"]])
        found = index.reindex(keys).to_numpy(copy=True)
        found[words.index] = words["word_index"]
        return np.where(self.rows["kind"] == "silence", np.nan, found)

    def _make_features(self):
        """Make speech, word onsets and phoneme onsets, (n_times, 3)."""
        start = (self.rows["onset"] - self.begin).to_numpy()
        stop = start + self.rows["duration"].to_numpy()
        data = np.zeros((int(np.ceil(stop.max() * RATE)) + 1, 3), np.float32)
        kinds = self.rows["kind"].to_numpy()
        # Tables of Sherlock list all silences, and those of other corpora none.
        spoken = kinds != "silence"
        for one, other in zip(start[spoken], stop[spoken], strict=True):
            data[round(one * RATE) : round(other * RATE), 0] = 1
        for one, other in zip(start[~spoken], stop[~spoken], strict=True):
            data[round(one * RATE) : round(other * RATE), 0] = 0
        for column, kind in ((1, "word"), (2, "phoneme")):
            data[np.round(start[kinds == kind] * RATE).astype(int), column] = 1
        return data

    def place(self, rows, run):
        """Return the events of a run, with their times in the stimulus."""
        keys = ["kind", "sentence", "word", "order"]
        own = self.rows.assign(sound_onset=self.rows["onset"] - self.begin)
        own = own[[*keys, "text", "word_index", "sound_onset"]].drop_duplicates(keys)
        merged = rows[[*keys, "text", "onset", "duration"]].merge(own, "left", keys, suffixes=("", "_first"))
        same = merged["sound_onset"].notna() & (merged["text"] == merged["text_first"])
        same |= merged["sound_onset"].notna() & (merged["kind"] == "silence")
        if (share := same.mean()) < MIN_MATCHED:
            row = merged[~same].iloc[0]
            raise ValueError(
                f"{STUDY}: {str(run.table)!r} has other rows than {self.path.name!r}, the first table of this session: "
                f"{share:.0%} agree, and the first that does not is the {row['kind']} {row['text']!r} at {row['onset']:.3f} s. "
                f"Check that both belong to the same edition."
            )
        warn_of_missing_study_parts(
            STUDY, f"rows that {self.path.name} does not have are omitted from", [f"{run.table.name} ({n} rows)"] if (n := int((~same).sum())) else []
        )  # fmt: skip
        merged = merged[same & (merged["kind"] != "silence")]
        offset = float((merged["onset"] - merged["sound_onset"]).median())
        error = merged["onset"] - merged["sound_onset"] - offset
        if error.abs().max() > MAX_SHIFT:
            worst = merged.loc[error.abs().idxmax()]
            warn_of_missing_study_parts(
                STUDY, f"times in tables of one session differ by more than {MAX_SHIFT * 1000:g} ms, in", [
                    f"{run.table.name} (up to {1000 * error[worst.name]:+.0f} ms, at {worst['text']!r}, {worst['onset']:.3f} s)"
                ],
            )  # fmt: skip
        sound = pd.DataFrame([{
            "type": "sound", "onset": offset, "duration": self.stimulus.duration, "sound_onset": 0.0,
        }])  # fmt: skip
        sequence = merged["sentence"].map(
            lambda number: None if np.isnan(number) else f"{self.name}/{int(number)}"
        )
        merged = merged.assign(type=merged["kind"], sequence=sequence)
        columns = ["type", "onset", "duration", "text", "sequence", "word_index", "sound_onset"]
        return pd.concat([sound, merged[columns]], ignore_index=True).assign(
            sound=self.stimulus, subject=run.subject, session=run.session, task=run.task, run=run.run,
            recording=str(run.recording), partition=get_libribrain_partition(run.task, run.session), language="en",
        )  # fmt: skip


def _cut_libribrain_events(events, run):
    """Omit rows after the end of a recording of a part of its session."""
    if not run.desc or not run.recording.exists():
        return events
    end, _ = read_recording_duration_and_bads(str(run.recording))
    is_inside = (events["type"] == "sound") | (events["onset"] + events["duration"] <= end)
    events = events[is_inside].reset_index(drop=True)
    sound = events["type"] == "sound"
    events.loc[sound, "duration"] = np.minimum(events["duration"], end - events["onset"])[sound]
    return events.assign(partition="train" if run.desc == "firsthalf" else events["partition"])

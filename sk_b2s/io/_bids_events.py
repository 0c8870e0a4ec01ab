"""Events tables from BIDS events.tsv files."""

from __future__ import annotations

import difflib
import glob
import os
import re
import warnings
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd
import soundfile

from sk_b2s._utils._text import format_suggestion_text, make_suggestion_text, shorten_list, shorten_text
from sk_b2s.events._audio._track_files import is_audio_file
from sk_b2s.events._check_events import EVENT_TYPES, is_event_type
from sk_b2s.events._images import OTHER_TYPES, ImageStimulus, find_image, is_image_name
from sk_b2s.io._annex import check_annex_fetched
from sk_b2s.io._raw._gaps import IS_GAP
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.io._sidecars import (
    convert_sidecar_numbers,
    find_sidecar,
    parse_sidecar_entities,
    read_sidecar_tsv,
)

# Common names of each column of the events table. The first one with a value is used.
COLUMNS = {
    "onset": ["onset"], "duration": ["duration"], "type": ["trial_type", "type", "kind"],
    "text": ["text", "word", "phoneme", "phone"], "sound": ["sound", "stim_file"],
    "sound_onset": ["sound_onset"], "sequence": ["sequence", "sequence_id", "sentence", "sentence_id"],
    "word_index": ["word_index"], "condition": ["condition"], "stream": ["stream"], "speaker": ["speaker"],
    "language": ["language"], "drift_ppm": ["drift_ppm"], "image": ["image"], "category": [],
    "repetition": [],
}  # fmt: skip
TAG_COLUMNS = {
    "sound": "sound",
    "word": "text",
    "phoneme": "text",
    "image": "image",
}  # of "the" in "word/the"
TYPES = {
    "sound": "sound", "audio": "sound", "wav": "sound", "word": "word", "words": "word",
    "phoneme": "phoneme", "phonemes": "phoneme", "phone": "phoneme", "phones": "phoneme", "image": "image",
    "images": "image",
}  # fmt: skip
FORMATS = {".fif", ".vhdr", ".edf", ".bdf", ".set", ".con", ".sqd", ".ds", ".mat"}
VERSIONS = ("proc", "desc", "rec", "split", "suffix")  # entities of versions and parts of one recording
NUMBERS = ("onset", "duration", "sound_onset", "word_index", "drift_ppm")
BAD = re.compile(r"bad(?![a-z])")  # "bad" and "BAD_blink", but not "badge"


class BidsEventTables:
    """Reader of ``events.tsv`` files.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    base : Path
        Folder of the recordings: ``root`` or a folder of derivatives.
    stimuli_dir : Path
        Folder of the audio files.
    stimuli, columns, types
        As for :func:`~sk_b2s.read_bids`.
    """

    def __init__(self, root, base, stimuli_dir, stimuli=None, columns=None, types=None):
        self.root, self.base, self.stimuli_dir = root, base, stimuli_dir
        _check_bids_stimuli(stimuli, root)
        self.template = stimuli if isinstance(stimuli, str) else None
        named = stimuli.items() if isinstance(stimuli, dict) else ()
        self.files = {str(name): file for name, file in named}
        self.rename = stimuli if callable(stimuli) else None
        self.get_type = types if callable(types) else None
        self.types = {**TYPES, **({} if callable(types) else _check_bids_types(types))}
        self.columns = _check_bids_columns(columns, None if callable(types) else set(self.types.values()))
        self.left_out: Counter = Counter()
        self.untyped = 0  # rows without a type, a stimulus or a word
        self.found: dict = {}
        self.outside: list = []
        self.others: set = set()  # columns without a meaning here
        self.identified: set = set()  # columns of identifiers

    def read(self, recordings):
        """Read the events of all recordings.

        Parameters
        ----------
        recordings : list of Path

        Returns
        -------
        events : DataFrame
            Rows labeled with their file and line.

        Raises
        ------
        FileNotFoundError
            If a recording has no events.tsv file, or an audio file is missing.
        ValueError
            If a table lacks a column, or no row is a stimulus, word or
            phoneme.
        """
        parts = [self._read_one(recording) for recording in recordings]
        empty = [path.name for path, part in zip(recordings, parts, strict=True) if not len(part)]
        counts = ", ".join(f"{count} of {value!r}" for value, count in self.left_out.most_common(8))
        if not any(len(part) for part in parts):
            raise ValueError(
                f"No row of the events.tsv files in {str(self.root)!r} has a known type (sound, image, word or phoneme). "
                f"Found {counts or 'no rows'}. Map the values with types={{'...': 'word'}}, where the pattern '...*' "
                f"stands for several values, or name the column of types with columns={{'type': '...'}}."
            )
        if counts:
            warnings.warn(
                f"read_bids dropped rows of unknown type: {counts}. Map them with types={{'...': 'word'}}, or to "
                "None to drop them without this warning.",
                stacklevel=3,
            )
        if self.untyped:
            warnings.warn(
                f"read_bids dropped {self.untyped} rows without a stimulus or a word, because their tables have no column "
                f"of types. Name it with columns={{'type': '...'}}, or pass types={{'n/a': None}} to silence this warning.",
                stacklevel=3,
            )
        if empty:
            warnings.warn(
                f"read_bids dropped {len(empty)} of {len(recordings)} recordings, because their tables have no row "
                f"of known type: {shorten_list(empty, 30)}.",
                stacklevel=3,
            )
        if self.outside:
            warnings.warn(
                f"read_bids uses {len(self.outside)} audio files outside of the data set, because its tables name "
                f"them by absolute paths: {shorten_list(map(shorten_text, self.outside))}. If they are correct, pass "
                f"stimuli={{name: path}} to silence this warning.",
                stacklevel=3,
            )
        events = pd.concat([part for part in parts if len(part)])
        for column in (
            self.others & set(events) - self.identified
        ):  # of all tables at once, so that types do not differ
            events[column] = convert_sidecar_numbers(events[column])
        return events

    def _read_one(self, recording):
        entities = parse_sidecar_entities(recording)
        path = self._find_events_file(recording)
        if path is None:
            rows = self._make_stimulus_row(recording, entities)
        else:
            check_annex_fetched([path], self.root)
            rows = self._map_rows(path, read_sidecar_tsv(path))
        who = {"subject": entities["sub"], "session": entities.get("ses", ""), "recording": str(recording)}
        return rows.assign(**who, task=entities["task"], run=entities.get("run", ""))

    def _find_events_file(self, recording):
        for base in dict.fromkeys((self.base, self.root)):
            twin = base / Path(recording).relative_to(self.base)
            if path := find_sidecar(twin, "events.tsv", base):
                if base != self.base:
                    _check_bids_events_uncropped(recording, twin)
                return path
        return None

    def _make_stimulus_row(self, recording, entities):
        """Return the row of a recording that plays one stimulus."""
        if self.template is None:
            raise FileNotFoundError(
                f"{recording.name!r} has no events.tsv file in {str(self.root)!r}. If such recordings play one "
                f"audio file from their start, name it by entities with stimuli='audio{{run}}.wav'."
            )
        try:
            name = self.template.format(**entities)
        except KeyError as error:
            raise ValueError(
                f"stimuli={self.template!r} names the entity {error}, which {recording.name!r} does not have. Its "
                f"entities are {list(entities)}."
            ) from error
        rows = pd.DataFrame(
            {"type": ["sound"], "onset": 0.0, "duration": 0.0, "sound": self._find_audio(name, recording)}
        )
        return rows.set_axis([recording.name])

    def _map_rows(self, path, table):
        """Map one events.tsv table to columns of the events table."""
        table.index = pd.Index([f"{path.name}, line {row + 2}" for row in range(len(table))])
        rows, used = pd.DataFrame(index=table.index), set()
        for ours, usual in {**dict.fromkeys(self.columns, ()), **COLUMNS}.items():
            theirs = self._find_columns(ours, usual, path, table)
            used |= set(theirs)
            if theirs:
                values = table[theirs[0]]
                for column in theirs[1:]:
                    values = values.where(values.notna(), table[column])
                rows[ours] = values.astype(object)
        if "onset" not in rows:
            commas = " It is separated by commas, but BIDS tables must be separated by tabs."
            raise ValueError(
                f"{str(path)!r} has no column 'onset'. It has "
                f"{list(table.columns)}.{commas if table.shape[1] == 1 and ',' in table.columns[0] else ''} If the "
                f"column has another name, pass columns={{'onset': '...'}}."
            )
        if "duration" not in rows:
            rows["duration"] = np.nan
        values = rows.get("type")
        rows["type"] = self._map_types(rows)
        rows = rows[rows["type"].notna()]
        self._check_own_types(rows, values, table, path)
        if values is not None and (rows["type"].isin(TAG_COLUMNS) & values.str.contains("/")).any():
            used -= set(self._find_columns("type", COLUMNS["type"], path, table))  # tags are copied
        for column in set(NUMBERS) & set(rows):
            rows[column] = _parse_bids_numbers(rows[column], column)
        others = [c for c in table if c not in used and c not in rows]
        self.others |= {name for name in others if not COLUMNS.get(name)}
        rows = rows.join(table.loc[rows.index, others])
        rows["duration"] = rows["duration"].fillna(0.0)
        if "sequence" in rows:
            rows["sequence"] = _format_bids_names(rows["sequence"])
        if "sound" not in rows:
            rows["sound"] = None
        self._name_images(rows)
        nameless = rows.index[(rows["type"] == "sound") & rows["sound"].isna()]
        if len(nameless):
            raise ValueError(
                f"{nameless[0]}: a row of type sound must name its audio file ({len(nameless)} rows do not). The "
                f"table has the columns {list(table.columns)}. Name the column with columns={{'sound': '...'}}, or the files "
                f"by values of the type with stimuli={{'...': 'story.wav'}}."
            )
        rows["sound"] = [
            None if pd.isna(name) else self._find_audio(name, label)
            for label, name in zip(rows.index, rows["sound"], strict=True)
        ]
        return rows

    def _check_own_types(self, rows, values, table, path):
        """Raise if a type is not known, and not a column of identifiers."""
        for kind in rows["type"].unique():
            if not is_event_type(kind, {*rows, *table}):
                hint = make_suggestion_text(kind, EVENT_TYPES, cutoff=0.4)
                value = "n/a" if pd.isna(value := values[rows["type"] == kind].iloc[0]) else value
                given = (
                    f"types={{{value!r}: {kind!r}}}"
                    if self.get_type is None
                    else f"types({value!r}) returned {kind!r}"
                )
                raise ValueError(
                    f"{given}: expected one of {', '.join(EVENT_TYPES)}{hint}, or the name of a column with the "
                    f"identifiers of other stimuli. {str(path)!r} has {list(table.columns)}. Name that column with "
                    f"columns={{{kind!r}: '...'}}."
                )

    def _name_images(self, rows):
        """Move images from the column of audio files to that of their type."""
        for kind in rows["type"].unique():
            if kind in OTHER_TYPES:
                continue
            own = rows.index[rows["type"] == kind]
            names = rows.loc[own, kind] if kind in rows else pd.Series(None, index=own, dtype=object)
            pairs = list(zip(names.astype(object), rows.loc[own, "sound"], strict=True))
            found = {pair: self._find_image(*pair, kind) for pair in dict.fromkeys(pairs)}
            rows[kind] = pd.Series([found[pair] for pair in pairs], own, dtype=object).reindex(rows.index)
            rows.loc[own, "sound"] = None
            self.identified.add(kind)

    def _find_image(self, name, file, kind):
        """Return the image of an identifier, a file or both."""
        folders = [self.stimuli_dir, self.root]
        name, file = (None if pd.isna(one) else find_image(one, folders, kind) for one in (name, file))
        if isinstance(name, str) and isinstance(file, ImageStimulus):
            return ImageStimulus(name, file.path, kind)
        return file if name is None else name

    def _find_columns(self, ours, usual, path, table):
        if ours not in self.columns:
            return [column for column in usual if column in table]
        theirs = [self.columns[ours]] if isinstance(self.columns[ours], str) else list(self.columns[ours])
        if missing := [column for column in theirs if column not in table]:
            hint = make_suggestion_text(missing[0], table.columns)
            raise ValueError(
                f"columns={{{ours!r}: {self.columns[ours]!r}}}: {str(path)!r} has no column {missing[0]!r}{hint}. "
                f"It has {list(table.columns)}."
            )
        return theirs

    def _map_types(self, rows):
        """Return the event type of each row, None for rows to drop."""
        if "type" not in rows:
            guess = pd.Series(None, index=rows.index, dtype=object)
            if "sound" in rows:
                guess[rows["sound"].notna()] = "sound"
                guess[rows["sound"].map(is_image_name)] = "image"
            if "image" in rows:
                guess[rows["image"].notna()] = "image"
            if "text" in rows:
                guess[rows["text"].notna()] = "word"
            if len(left := guess.index[guess.isna()]):
                is_known, kind, _ = self._find_type(np.nan)
                guess[left] = kind
                self.untyped += 0 if is_known else len(left)
            return guess
        kinds = pd.Series(None, index=rows.index, dtype=object)
        for value, same in rows.groupby("type", sort=False, dropna=False).groups.items():
            plain = str(value).lower()
            is_known, kind, tag = self._find_type(value)
            if value in self.files:
                rows.loc[same, "sound"], kinds[same] = value, "sound"
            elif is_known:
                kinds[same] = kind
                if tag and kind in TAG_COLUMNS:
                    _fill_bids_column(rows, TAG_COLUMNS[kind], same, tag)
            elif IS_GAP.fullmatch(plain.strip()):
                kinds[same] = "bad"
                rows.loc[same, "text"] = "boundary"
            elif BAD.match(plain):
                kinds[same] = "bad"
            else:
                self.left_out["n/a" if pd.isna(value) else value] += len(same)
        return kinds

    def _find_type(self, value):
        """Return whether a value is known, its type, and the rest of a tag.

        Tags of MNE and MNE-BIDS are a type and a name: "word/the". A callable
        determines the type of all values.
        """
        text = "n/a" if pd.isna(value) else str(value)
        first, _, rest = ("", "", "") if text == "n/a" else (part.strip() for part in text.partition("/"))
        if self.get_type is not None:
            kind = self.get_type(text)
            _check_bids_type(kind, f"types({text!r}) returned {kind!r}")
            return True, kind, rest
        for name in (text, text.lower()):
            if name in self.types:
                return True, self.types[name], ""
        for pattern, kind in self.types.items():
            if any(sign in pattern for sign in "*?[") and fnmatchcase(text, pattern):
                if re.fullmatch(r"[^*?\[]*[ :=]\*", pattern):  # a tag with another separator
                    return True, kind, text[len(pattern) - 1 :].strip()
                return True, kind, rest
        for name in (first, first.lower()):
            if rest and name in self.types:
                return True, self.types[name], rest
        return False, None, ""

    def _find_audio(self, name, where):
        """Return the audio file of a name, None for the current stimulus."""
        if name in self.found:
            return self.found[name]
        given, name = name, self.rename(name) if self.rename else self.files.get(str(name), name)
        if name is None:
            self.found[given] = None
            return None
        is_own = self.rename is not None or str(given) in self.files  # may be outside of the data set
        places = [Path(name)] if Path(name).is_absolute() else [self.stimuli_dir / name, self.root / name]
        inside = [path for path in places if is_own or self._is_inside(path) or Path(name).is_absolute()]
        base = PureWindowsPath(name).name  # after slashes and backslashes
        for path in [*inside, self.stimuli_dir / base]:
            if is_audio_file(path) or os.path.islink(path):
                self.found[given] = str(path)
                self.outside += [] if is_own or self._is_inside(path) else [str(path)]
                return str(path)
        stems = [path for path in inside if path.parent.is_dir() for path in _list_audio_of_stem(path)]
        if len(set(stems)) == 1:
            self.found[given] = str(stems[0])
            return str(stems[0])
        if not inside:
            raise ValueError(
                f"{where}: the audio file {shorten_text(name)} is outside of the data set {str(self.root)!r}, at "
                f"{shorten_text(os.path.normpath(places[0]))}. If it is correct, pass stimuli={{{shorten_text(given)}: "
                f"'...'}} or its folder as stimuli_dir=..."
            )
        available = [path.name for path in self.stimuli_dir.glob("*") if path.is_file()]
        close = [
            one for one in available if one.lower() == Path(name).name.lower() or Path(one).stem == str(name)
        ]
        close = close or difflib.get_close_matches(Path(name).name[:200], available, n=1, cutoff=0.8)
        raise FileNotFoundError(
            f"{where}: the audio file {shorten_text(name)} does not exist{format_suggestion_text(close)}. Searched: "
            f"{', '.join(shorten_text(path) for path in places)}. {self._describe_elsewhere(base)}Pass the folder of the "
            f"audio files as stimuli_dir=..., or the name of the file as stimuli={{{shorten_text(given)}: '...'}}. For words of "
            "the stimulus that is playing, map the name to None."
        )

    def _describe_elsewhere(self, name):
        """Describe the folder of the data set that has an audio file."""
        folders = [path for path in self.root.glob("*") if path.is_dir() and not path.name.startswith("sub-")]
        for folder in folders:
            for path in sorted(folder.rglob(f"{glob.escape(name[:200])}*")):
                if name in (path.name, path.stem) and is_audio_file(path):
                    return f"The folder {str(path.parent.relative_to(self.root))!r} has {path.name!r}. "
        return ""

    def _is_inside(self, path):
        """Return whether a path is in the folders of the data set."""
        path = Path(os.path.normpath(path))
        return any(
            path.is_relative_to(os.path.normpath(folder))
            for folder in (self.root, self.stimuli_dir, self.base)
        )


def _check_bids_stimuli(stimuli, root):
    """Raise if stimuli is the folder of the audio files, or another type."""
    is_path = isinstance(stimuli, os.PathLike) or (
        isinstance(stimuli, str) and (root / stimuli).is_dir() and stimuli != ""
    )
    if is_path:
        raise ValueError(
            f"The 'stimuli' parameter maps names to audio files. Got the folder {str(stimuli)!r}. Pass the folder of the "
            f"audio files as stimuli_dir={str(stimuli)!r}."
        )
    if not (stimuli is None or callable(stimuli) or isinstance(stimuli, (str, dict))):
        raise TypeError(
            f"The 'stimuli' parameter must be a dict of names and audio files, a function, a str or None. Got "
            f"{type(stimuli).__name__}."
        )


def _check_bids_events_uncropped(recording, twin):
    """Raise if a derivative differs in length from its recording."""
    wanted = {key: value for key, value in parse_sidecar_entities(twin).items() if key not in VERSIONS}
    for path in sorted(twin.parent.glob(f"sub-{wanted['sub']}_*")):
        entities = parse_sidecar_entities(path)
        is_twin = {key: value for key, value in entities.items() if key not in ("split", "suffix")} == wanted
        if not (is_twin and entities["suffix"] == twin.parent.name and path.suffix.lower() in FORMATS):
            continue
        seconds = [
            (raw := read_raw(one)).n_times / raw.info["sfreq"] for one in (recording, path) if one.exists()
        ]
        if len(seconds) == 2 and abs(seconds[0] - seconds[1]) > 0.5:
            raise ValueError(
                f"{str(recording)!r} lasts {seconds[0]:.1f} s, but {path.name!r}, which its events belong to, lasts "
                f"{seconds[1]:.1f} s. If it was cropped, its onsets differ. Save an events.tsv file next to it."
            )
        return


def _check_bids_columns(columns, types=None):
    """Return the columns as a dict, checked.

    ``types`` are the types that the user names, all if None.
    """
    columns = dict(columns or {})
    for key in columns:
        if key not in COLUMNS and types is not None and key not in types:
            hint = make_suggestion_text(key, COLUMNS)
            raise ValueError(
                f"columns={columns!r}: {key!r}{hint} is not a column of the events table. The columns are "
                f"{list(COLUMNS)}."
            )
    return columns


def _check_bids_types(types):
    """Return the types with str keys, checked."""
    types = {str(value): kind for value, kind in (types or {}).items()}
    for value, kind in types.items():
        _check_bids_type(kind, f"types={{{value!r}: {kind!r}}}")
    return types


def _check_bids_type(kind, where):
    if kind is not None and not (isinstance(kind, str) and kind.isidentifier()):
        raise ValueError(
            f"{where}: expected one of {', '.join(EVENT_TYPES)}, the name of a column of other stimuli, or None, got "
            f"{kind!r}."
        )


def _fill_bids_column(rows, column, labels, value):
    """Set the missing values of some rows."""
    if column not in rows:
        rows[column] = None
    rows.loc[labels, column] = rows.loc[labels, column].where(rows.loc[labels, column].notna(), value)


def _list_audio_of_stem(path):
    """List the audio files whose names without suffix are those of a path."""
    files = sorted(path.parent.glob(f"{glob.escape(path.name)}.*"))
    return [one for one in files if one.suffix[1:].upper() in soundfile.available_formats()]


def _parse_bids_numbers(texts, column):
    """Return a column as numbers, or raise with its first invalid row."""
    numbers = pd.to_numeric(texts, errors="coerce").astype(float)
    wrong = numbers.isna() & texts.notna() & (texts != "")
    if wrong.any():
        raise ValueError(
            f"{texts.index[wrong][0]}, column {column!r}: expected a number, got {texts[wrong].iloc[0]!r}"
            f"{f' ({wrong.sum() - 1} more such rows)' if wrong.sum() > 1 else ''}."
        )
    return numbers


def _format_bids_names(texts):
    """Write whole numbers one way: "1.0" becomes "1"."""
    numbers = pd.to_numeric(texts, errors="coerce")
    if (numbers.isna() & texts.notna()).any():
        return texts
    whole = numbers.notna() & (numbers == numbers.round())
    return texts.astype(object).mask(whole, numbers.where(whole, 0).astype(int).astype(str))

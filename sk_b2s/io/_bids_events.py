"""BIDS events.tsv files mapped to the events table."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import format_suggestion, shorten_list, shorten_text, suggest_name
from sk_b2s.events._audio._files import is_file
from sk_b2s.events._table import EVENT_TYPES
from sk_b2s.io._annex import check_fetched
from sk_b2s.io._raw._gaps import IS_GAP
from sk_b2s.io._raw._open import read_raw
from sk_b2s.io._sidecars import entities_of, find_sidecar, read_tsv

# Where a column of the events table is looked for if the caller names none; the first that holds a value counts.
COLUMNS = {
    "onset": ["onset"], "duration": ["duration"], "type": ["trial_type", "type", "kind"],
    "text": ["text", "word", "phoneme", "phone"], "sound": ["sound", "stim_file"],
    "sound_onset": ["sound_onset"], "sequence": ["sequence", "sequence_id", "sentence", "sentence_id"],
    "word_index": ["word_index"], "condition": ["condition"], "stream": ["stream"], "speaker": ["speaker"],
    "language": ["language"], "drift_ppm": ["drift_ppm"],
}  # fmt: skip
TYPES = {
    "sound": "sound", "audio": "sound", "wav": "sound", "word": "word", "words": "word",
    "phoneme": "phoneme", "phonemes": "phoneme", "phone": "phoneme", "phones": "phoneme",
}  # fmt: skip
FORMATS = {".fif", ".vhdr", ".edf", ".bdf", ".set", ".con", ".sqd", ".ds", ".mat"}
VERSIONS = ("proc", "desc", "rec", "split", "suffix")  # what tells apart versions and parts of one recording
NUMBERS = ("onset", "duration", "sound_onset", "word_index", "drift_ppm")
BAD = re.compile(r"bad(?![a-z])")  # "bad", "BAD_blink", and no "badge"


class EventTables:
    """Read the ``events.tsv`` of recordings into rows of an events table.

    Parameters
    ----------
    root : Path
        The data set.
    base : Path
        Where the recordings are: ``root``, or a folder of derivatives.
    stimuli : Path
        Folder of the sounds.
    sounds, columns, types
        As for :func:`~sk_b2s.read_bids`.
    """

    def __init__(self, root, base, stimuli, sounds=None, columns=None, types=None):
        self.root, self.base, self.stimuli = root, base, stimuli
        self.template = sounds if isinstance(sounds, str) else None
        named = sounds.items() if isinstance(sounds, dict) else ()
        self.sounds = {str(name): file for name, file in named}
        self.rename = sounds if callable(sounds) else None
        self.asked = _check_columns(columns)
        self.types = {**TYPES, **_check_types(types)}
        self.left_out: Counter = Counter()
        self.found: dict = {}
        self.outside: list = []

    def read(self, recordings):
        """Read the events of all recordings.

        Parameters
        ----------
        recordings : list of Path

        Returns
        -------
        events : DataFrame
            Rows labeled by their file and line.

        Raises
        ------
        FileNotFoundError
            If a recording has no events.tsv, or a sound is not there.
        ValueError
            If a table lacks a column, or no row of any recording is a sound, word or phoneme.
        """
        parts = [self._read_one(recording) for recording in recordings]
        silent = [path.name for path, part in zip(recordings, parts, strict=True) if not len(part)]
        counts = ", ".join(f"{count} of {value!r}" for value, count in self.left_out.most_common(8))
        if not any(len(part) for part in parts):
            raise ValueError(
                f"no row of any events.tsv in {str(self.root)!r} is known as a sound, word or phoneme; there are "
                f"{counts or 'no rows'}. Say which is which: types={{'...': 'word'}}, or columns={{'type': '...'}}."
            )
        if counts:
            warnings.warn(
                f"read_bids left out rows whose type is not known: {counts}. Name it by types={{'...': 'word'}}, or "
                f"None to leave it out without this warning.",
                stacklevel=3,
            )
        if silent:
            warnings.warn(
                f"read_bids left out {len(silent)} of {len(recordings)} recordings, whose tables have no row that is "
                f"known: {shorten_list(silent, 30)}.",
                stacklevel=3,
            )
        if self.outside:
            warnings.warn(
                f"read_bids takes {len(self.outside)} sounds from outside of the data set, as its tables name them by "
                f"absolute paths: {shorten_list(map(shorten_text, self.outside))}. If they are the right files, name them by "
                f"sounds={{name: path}}, which silences this warning.",
                stacklevel=3,
            )
        return pd.concat([part for part in parts if len(part)])

    def _read_one(self, recording):
        entities = entities_of(recording)
        path = self._events_file(recording)
        if path is None:
            rows = self._one_sound(recording, entities)
        else:
            check_fetched([path], self.root)
            rows = self._rows(path, read_tsv(path))
        who = {"subject": entities["sub"], "session": entities.get("ses", ""), "recording": str(recording)}
        return rows.assign(**who, task=entities["task"], run=entities.get("run", ""))

    def _events_file(self, recording):
        for base in dict.fromkeys((self.base, self.root)):
            twin = base / Path(recording).relative_to(self.base)
            if path := find_sidecar(twin, "events.tsv", base):
                if base != self.base:
                    _check_uncropped(recording, twin)
                return path
        return None

    def _one_sound(self, recording, entities):
        """What a recording without events.tsv plays from its start."""
        if self.template is None:
            raise FileNotFoundError(
                f"{recording.name!r} has no events.tsv in {str(self.root)!r}. If such a recording plays one sound "
                f"from its start, name it by its entities: sounds='audio{{run}}.wav'."
            )
        try:
            name = self.template.format(**entities)
        except KeyError as error:
            raise ValueError(
                f"sounds={self.template!r}: {recording.name!r} has no entity {error}; it has {list(entities)}."
            ) from error
        rows = pd.DataFrame(
            {"type": ["sound"], "onset": 0.0, "duration": 0.0, "sound": self._file(name, recording)}
        )
        return rows.set_axis([recording.name])

    def _rows(self, path, table):
        """Put one events.tsv into our words."""
        table.index = pd.Index([f"{path.name}, line {row + 2}" for row in range(len(table))])
        rows, used = pd.DataFrame(index=table.index), set()
        for ours, usual in COLUMNS.items():
            theirs = self._columns_of(ours, usual, path, table)
            used |= set(theirs)
            if theirs:
                values = table[theirs[0]]
                for column in theirs[1:]:
                    values = values.where(values.notna(), table[column])
                rows[ours] = values.astype(object)
        if "onset" not in rows:
            commas = ", with commas between them: fields of BIDS are separated by tabs"
            raise ValueError(
                f"{str(path)!r} has no column 'onset'; it has {list(table.columns)}"
                f"{commas if table.shape[1] == 1 and ',' in table.columns[0] else ''}. If it is called otherwise, say "
                f"so: columns={{'onset': '...'}}."
            )
        if "duration" not in rows:
            rows["duration"] = np.nan
        rows["type"] = self._types_of(rows)
        rows = rows[rows["type"].notna()]
        for column in set(NUMBERS) & set(rows):
            rows[column] = _seconds(rows[column], column)
        others = table.loc[rows.index, [c for c in table if c not in used and c not in rows]].apply(
            _as_numbers
        )
        rows = rows.join(others)
        rows["duration"] = rows["duration"].fillna(0.0)
        if "sequence" in rows:
            rows["sequence"] = _as_names(rows["sequence"])
        if "sound" not in rows:
            rows["sound"] = None
        nameless = rows.index[(rows["type"] == "sound") & rows["sound"].isna()]
        if len(nameless):
            raise ValueError(
                f"{nameless[0]}: a sound without the name of its file ({len(nameless)} such rows); the table has the "
                f"columns {list(table.columns)}. Say which holds it: columns={{'sound': '...'}}."
            )
        rows["sound"] = [
            None if pd.isna(name) else self._file(name, label)
            for label, name in zip(rows.index, rows["sound"], strict=True)
        ]
        return rows

    def _columns_of(self, ours, usual, path, table):
        if ours not in self.asked:
            return [column for column in usual if column in table]
        theirs = [self.asked[ours]] if isinstance(self.asked[ours], str) else list(self.asked[ours])
        if missing := [column for column in theirs if column not in table]:
            hint = suggest_name(missing[0], table.columns)
            raise ValueError(
                f"columns={{{ours!r}: {self.asked[ours]!r}}}: {str(path)!r} has no column {missing[0]!r}{hint}; it has "
                f"{list(table.columns)}."
            )
        return theirs

    def _types_of(self, rows):
        """Our type of each row, None where it is left out; a name of a sound is that sound."""
        if "type" not in rows:
            guess = pd.Series(None, index=rows.index, dtype=object)
            if "sound" in rows:
                guess[rows["sound"].notna()] = "sound"
            if "text" in rows:
                guess[rows["text"].notna()] = "word"
            return guess
        kinds = pd.Series(None, index=rows.index, dtype=object)
        for value, same in rows.groupby("type", sort=False, dropna=False).groups.items():
            plain = str(value).lower()
            if value in self.sounds:
                rows.loc[same, "sound"], kinds[same] = value, "sound"
            elif value in self.types or plain in self.types:
                kinds[same] = self.types.get(value, self.types.get(plain))
            elif IS_GAP.fullmatch(plain.strip()):
                kinds[same] = "bad"
                rows.loc[same, "text"] = "boundary"
            elif BAD.match(plain):
                kinds[same] = "bad"
            else:
                self.left_out["n/a" if pd.isna(value) else value] += len(same)
        return kinds

    def _file(self, name, where):
        """The audio file that a name means, None for the sound that is playing."""
        if name in self.found:
            return self.found[name]
        asked, name = name, self.rename(name) if self.rename else self.sounds.get(str(name), name)
        if name is None:
            self.found[asked] = None
            return None
        is_own = self.rename is not None or str(asked) in self.sounds  # which may lead anywhere
        places = [Path(name)] if Path(name).is_absolute() else [self.stimuli / name, self.root / name]
        inside = [path for path in places if is_own or self._is_inside(path) or Path(name).is_absolute()]
        for path in [*inside, self.stimuli / Path(name).name]:
            if is_file(path) or os.path.islink(path):
                self.found[asked] = str(path)
                self.outside += [] if is_own or self._is_inside(path) else [str(path)]
                return str(path)
        if not inside:
            raise ValueError(
                f"{where}: the sound {shorten_text(name)} is outside of the data set {str(self.root)!r}, at "
                f"{shorten_text(os.path.normpath(places[0]))}. If it is the right file, name it by "
                f"sounds={{{shorten_text(asked)}: '...'}}, or give its folder by stimuli=..."
            )
        there = [path.name for path in self.stimuli.glob("*") if path.is_file()]
        close = [
            one for one in there if one.lower() == Path(name).name.lower() or Path(one).stem == str(name)
        ]
        close = close or difflib.get_close_matches(Path(name).name[:200], there, n=1, cutoff=0.8)
        raise FileNotFoundError(
            f"{where}: the sound {shorten_text(name)} is not there{format_suggestion(close)}; looked for "
            f"{', '.join(shorten_text(path) for path in places)}. Where sounds are elsewhere, give stimuli=...; "
            f"where files have other names, sounds={{{shorten_text(asked)}: '...'}}, or None there for words of the "
            f"sound that is playing."
        )

    def _is_inside(self, path):
        """Tell whether a path that a table names stays in the data set or the folder of its sounds."""
        path = Path(os.path.normpath(path))
        return any(
            path.is_relative_to(os.path.normpath(folder)) for folder in (self.root, self.stimuli, self.base)
        )


def _check_uncropped(recording, twin):
    """Raise where a derivative is not as long as the recording whose events it takes."""
    wanted = {key: value for key, value in entities_of(twin).items() if key not in VERSIONS}
    for path in sorted(twin.parent.glob(f"sub-{wanted['sub']}_*")):
        entities = entities_of(path)
        alike = {key: value for key, value in entities.items() if key not in ("split", "suffix")} == wanted
        if not (alike and entities["suffix"] == twin.parent.name and path.suffix.lower() in FORMATS):
            continue
        seconds = [
            (raw := read_raw(one)).n_times / raw.info["sfreq"] for one in (recording, path) if one.exists()
        ]
        if len(seconds) == 2 and abs(seconds[0] - seconds[1]) > 0.5:
            raise ValueError(
                f"{str(recording)!r} lasts {seconds[0]:.1f} s, but {path.name!r}, whose events it takes, "
                f"{seconds[1]:.1f} s. If it was cropped its events are elsewhere: give it an events.tsv of its own."
            )
        return


def _check_columns(columns):
    columns = dict(columns or {})
    for key in columns:
        if key not in COLUMNS:
            hint = suggest_name(key, COLUMNS)
            raise ValueError(
                f"columns={columns!r}: {key!r}{hint} is none of {list(COLUMNS)}, the columns of ours."
            )
    return columns


def _check_types(types):
    types = {str(value): kind for value, kind in (types or {}).items()}
    for value, kind in types.items():
        if kind is not None and kind not in EVENT_TYPES:
            raise ValueError(
                f"types={{{value!r}: {kind!r}}}: {kind!r} is none of {', '.join(EVENT_TYPES)}, None."
            )
    return types


def _seconds(texts, column):
    numbers = pd.to_numeric(texts, errors="coerce").astype(float)
    wrong = numbers.isna() & texts.notna() & (texts != "")
    if wrong.any():
        raise ValueError(
            f"{texts.index[wrong][0]}, column {column!r}: expected a number, got {texts[wrong].iloc[0]!r}"
            f"{f' ({wrong.sum() - 1} more such rows)' if wrong.sum() > 1 else ''}."
        )
    return numbers


def _as_numbers(texts):
    """A carried column as numbers where all it holds are such."""
    numbers = pd.to_numeric(texts, errors="coerce")
    return numbers if (numbers.notna() | texts.isna()).all() and numbers.notna().any() else texts


def _as_names(texts):
    """Names that are whole numbers in one way: "1.0", as programs write them beside "n/a", is "1"."""
    numbers = pd.to_numeric(texts, errors="coerce")
    if (numbers.isna() & texts.notna()).any():
        return texts
    whole = numbers.notna() & (numbers == numbers.round())
    return texts.astype(object).mask(whole, numbers.where(whole, 0).astype(int).astype(str))

"""Tables of events as laboratories write them, put into our words."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s.events import EVENT_TYPES
from sk_b2s.raw_formats import read_raw
from sk_b2s.sidecars import entities_of, find_sidecar, read_tsv
from sk_b2s.stimuli import plain_text
from sk_b2s.textgrids import find_textgrid, say_silent, speak_sounds

__all__ = [
    "EventTables",
    "add_textgrids",
    "check_fetched",
    "delay_events",
    "fill_sentences",
    "part_sequences",
]

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
VERSIONS = ("proc", "desc", "rec", "split", "suffix")
NUMBERS = ("onset", "duration", "sound_onset", "word_index", "drift_ppm")
BAD = re.compile(r"bad(?![a-z])")  # "bad", "BAD_blink", and no "badge"
# git-annex's stand-ins for content that has not been fetched: a link, or a small file with a key in it.
POINTER = re.compile(rb"(/annex/objects/|(\.\./)*\.git/annex/objects/)")


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
        self.asked = _check_keys("columns", columns, COLUMNS)
        self.types = {**TYPES, **_check_types(types)}
        self.left_out: Counter = Counter()
        self.found: dict = {}

    def read(self, recordings):
        """Read the events of all recordings.

        Parameters
        ----------
        recordings : list of Path

        Returns
        -------
        events : DataFrame
            Rows labelled by their file and line.

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
                f"known: {', '.join(silent[:5])}{', ...' * (len(silent) > 5)}.",
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
            close = difflib.get_close_matches(missing[0], table.columns, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
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
        places = [Path(name)] if Path(name).is_absolute() else [self.stimuli / name, self.root / name]
        places += [self.stimuli / Path(name).name]
        for path in places:
            if path.is_file() or path.is_symlink():
                self.found[asked] = str(path)
                return str(path)
        there = [path.name for path in self.stimuli.glob("*") if path.is_file()]
        close = [
            one for one in there if one.lower() == Path(name).name.lower() or Path(one).stem == str(name)
        ]
        close = close or difflib.get_close_matches(Path(name).name, there, n=1, cutoff=0.8)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise FileNotFoundError(
            f"{where}: the sound {str(name)!r} is not there{hint}; looked for "
            f"{', '.join(map(repr, map(str, places)))}. Where sounds are elsewhere, give stimuli=...; where files have "
            f"other names, sounds={{{asked!r}: '...'}}, or None there for words of the sound that is playing."
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


def _check_keys(name, given, allowed):
    given = dict(given or {})
    for key in given:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(
                f"{name}={given!r}: {key!r}{hint} is none of {list(allowed)}, the columns of ours."
            )
    return given


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


# --- what tables of all kinds are given ------------------------------------------------------------


def add_textgrids(events, folder=None, root=None, tiers=None, sentence_gap=0.4):
    """Add the words and phonemes of TextGrids to the streams of recordings that have sounds and no words.

    Parameters
    ----------
    events : DataFrame
        With ``recording, type, onset, duration, sound``.
    folder : path-like, default=None
        Where the TextGrids are; None is beside their sounds.
    root : path-like, default=None
        The data set, for the message where a file has not been fetched.
    tiers, sentence_gap
        As for :func:`~sk_b2s.textgrids.textgrid_events`.

    Returns
    -------
    events : DataFrame

    Raises
    ------
    FileNotFoundError
        If a ``folder`` is given and holds none of them.
    """
    key = events["recording"]
    if "stream" in events:
        key = key + "\n" + events["stream"].fillna("single").astype(str)
    silent = ~key.isin(key[events["type"] == "word"])
    played = events[silent & (events["type"] == "sound") & events["sound"].notna()]
    found = {
        sound: find_textgrid(sound, folder) for sound in played["sound"].unique() if isinstance(sound, str)
    }
    found = {sound: path for sound, path in found.items() if path is not None}
    if folder is not None and len(played) and not found:
        raise FileNotFoundError(
            f"textgrids={str(folder)!r} holds no TextGrid named as a sound, {Path(played['sound'].iloc[0]).stem}."
            f"TextGrid for example."
        )
    check_fetched(found.values(), root)
    say_silent([sound for sound in played["sound"].unique() if sound not in found], len(found))
    words = speak_sounds(played, found, tiers, sentence_gap)
    return pd.concat([events, words]) if len(words) else events


def fill_sentences(events, sentence_gap=0.4):
    """Tell the sentences of recordings whose words name none.

    With a ``word_index`` a sentence begins where it does not rise, without where nobody speaks for
    ``sentence_gap`` seconds; it is named by its text. Words that name their sentence and not their place
    in it are counted. A word without a duration lasts until the next one begins; of recordings in which no
    word has any, and none an index, sentences are not told.

    Parameters
    ----------
    events : DataFrame
        With ``recording, type, onset, duration, text``.
    sentence_gap : float, default=0.4
        Seconds.

    Returns
    -------
    events : DataFrame
        With ``sequence`` and ``word_index``.

    Warns
    -----
    UserWarning
        If sentences cannot be told.
    """
    labels, events, untold = events.index, events.reset_index(drop=True), []
    for column, empty in [("text", None), ("sequence", None), ("word_index", np.nan), ("stream", "single")]:
        if column not in events:
            events[column] = pd.Series(empty, index=events.index, dtype=float if empty is np.nan else object)
    events["stream"] = events["stream"].where(events["stream"].notna(), "single")
    for (recording, _), words in events[events["type"] == "word"].groupby(
        ["recording", "stream"], sort=False
    ):
        words = words.sort_values("onset", kind="stable")
        if words["sequence"].notna().any():
            if words["word_index"].isna().all():
                runs = (words["sequence"] != words["sequence"].shift()).cumsum()
                events.loc[words.index, "word_index"] = words.groupby(runs).cumcount().astype(float)
            continue
        place, lasts = words["word_index"].to_numpy(float), words["duration"].to_numpy(float)
        if np.isnan(place).all():
            if len(words) > 1 and not (lasts > 0).any():
                untold.append(recording)
                continue
            onset = words["onset"].to_numpy(float)
            ends = np.where(lasts[:-1] > 0, onset[:-1] + lasts[:-1], onset[1:])
            new = onset[1:] - ends >= sentence_gap - 1e-9
        else:
            new = ~(place[1:] > place[:-1])
        sentence = np.r_[0, np.cumsum(new)]
        of_sentence = words.groupby(sentence)["text"]
        events.loc[words.index, "sequence"] = of_sentence.transform(plain_text).astype(object)
        if np.isnan(place).all():
            events.loc[words.index, "word_index"] = of_sentence.cumcount().astype(float)
    if untold:
        warnings.warn(
            f"{len(untold)} recordings, the first {str(untold[0])!r}, have words without a duration, a sentence or a "
            f"place in it, so where sentences begin cannot be told; columns={{'duration': ...}}, 'sequence' or "
            f"'word_index' says where these are.",
            stacklevel=3,
        )
    return events.set_axis(labels)


def part_sequences(events, stimuli):
    """Put the sound before the number of a sentence, and before a name that means other words in another sound.

    Tables that number their sentences often begin anew with each run. The name of a sentence is to be one for all who
    heard it, and for no other sentence, whatever else is read with it; so a number is always that of its sound.

    Parameters
    ----------
    events : DataFrame
        Checked, with ``recording, type, onset, text, sequence`` and the path of the ``sound``.
    stimuli : path-like
        Folder of the sounds; their names are those in it.

    Returns
    -------
    events : DataFrame
    """
    words = events[(events["type"] == "word") & events["sequence"].notna()]
    said = words.groupby(["sequence", "sound", "recording", "stream"], sort=False)["text"].agg(plain_text)
    whole = said.str.len().groupby(level=[0, 1], sort=False).idxmax()  # somebody's recording may be cut
    texts = said[whole].groupby(level="sequence").nunique()
    clash = [name for name, n_texts in texts.items() if n_texts > 1 or name.removeprefix("-").isdigit()]
    sounds = events["sound"].dropna().unique()
    names = {sound: str(Path(os.path.relpath(sound, stimuli)).with_suffix("")) for sound in sounds}
    prefixed = events["sound"].map(names) + "/" + events["sequence"]
    return events.assign(sequence=events["sequence"].mask(events["sequence"].isin(clash), prefixed))


def delay_events(events, audio_delay):
    """Move what was heard later by the time the sound took to the ear.

    Parameters
    ----------
    events : DataFrame
        With ``recording, type, onset``.
    audio_delay : float or dict of str to float
        Seconds, or seconds for each recording by the beginning of its file's name ("sub-01",
        "sub-01_ses-02"); the longest that fits counts, 0 where none does.

    Returns
    -------
    events : DataFrame
        A copy.

    Raises
    ------
    ValueError
        If a delay is no finite number, or an entry fits no recording.
    """
    table = audio_delay if isinstance(audio_delay, dict) else {"": audio_delay}
    for name, delay in table.items():
        if not (isinstance(delay, (int, float, np.number)) and np.isfinite(delay)):
            raise ValueError(f"audio_delay must be seconds, or a dict of seconds; got {audio_delay!r}.")
        if abs(delay) > 5:
            raise ValueError(
                f"audio_delay is in seconds, got {delay!r} for {name!r}: were milliseconds meant?"
            )
    delays, fits = {}, set()
    for recording in events["recording"].unique():
        stem = Path(recording).name.split(".")[0]
        names = [name for name in table if f"{stem}_".startswith(f"{name}_") or name in ("", stem)]
        fits |= set(names)
        delays[recording] = table[max(names, key=len)] if names else 0.0
    if lost := sorted(set(table) - fits):
        raise ValueError(f"audio_delay has an entry {lost[0]!r} that no recording's name begins with.")
    moved = events["onset"] + events["recording"].map(delays).astype(float)
    return events.assign(onset=events["onset"].where(events["type"] == "bad", moved))


def check_fetched(paths, root):
    """Raise if files are stand-ins of git-annex whose content is elsewhere.

    Parameters
    ----------
    paths : sequence of path-like
    root : path-like
        The data set, which the command is for.

    Raises
    ------
    FileNotFoundError
        Naming the first such file, their number, and the command that fetches them.
    """
    lost = []
    for path in map(Path, paths):
        files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{_escape(path.stem)}.*")
        lost += [file for file in sorted({path, *files}) if _is_pointer(file)]
    if lost:
        place = os.path.relpath(lost[0], root)
        raise FileNotFoundError(
            f"{place!r} in {str(root)!r} is a link of git-annex whose content has not been fetched"
            f"{f' ({len(lost) - 1} more such files)' if len(lost) > 1 else ''}. Fetch it by\n"
            f"    datalad get -d {root} {place}\nor, in that folder, by\n    git annex get {place}\n"
            f"and the others likewise (a folder fetches all in it), or read what is there by subjects=[...]."
        )


def _escape(stem):
    return re.sub(r"([\[\]*?])", r"[\1]", stem)


def _is_pointer(path):
    if path.is_symlink():
        return not path.exists() and "annex" in os.readlink(path)
    if not path.is_file() or path.stat().st_size > 32768:
        return False
    with path.open("rb") as file:
        return POINTER.match(file.read(200)) is not None

"""Praat TextGrids of forced alignments as rows of an events table."""

from __future__ import annotations

import codecs
import re
import warnings
from bisect import bisect_right
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import make_plain_text, shorten_list
from sk_b2s.events._sentences import number_sentences
from sk_b2s.events._silence import is_silence
from sk_b2s.events._stimuli import StimulusArray, stimulus_name
from sk_b2s.io._annex import check_annex_fetched
from sk_b2s.io._recording_files import check_regular_recording_file
from sk_b2s.io._textgrid_checks import check_textgrid_is_whole, check_tiers

# Common names of tiers, in lower case. MFA adds the name of the speaker ("anna - words").
TIERS = {
    "word": ("words", "word", "ort-mau", "ort"),
    "phoneme": ("phones", "phone", "phonemes", "phoneme", "mau"),
    "sentence": (),
}
MAX_OVERRUN = 0.1  # s by which entries may end after their tier
MAX_NAMED = 30  # maximum number of audio files in a warning
MAX_TOKEN = 200  # maximum number of characters of a token in a message
TOLERANCE = 1e-4  # s by which intervals may overlap
# praatio is not used: it reads some truncated files without an error, drops the sign of negative times,
# and names neither the line nor the entry of a fault.
# Praat parses both syntaxes by one rule: it reads quoted texts, free-standing numbers and flags, and skips
# the rest ("xmin =", "intervals [3]:").
TOKEN = re.compile(
    r"""(?P<text>"(?:[^"]|"")*")|(?P<flag><exists>|<absent>)|(?P<comment>(?<!\S)!.*)"""
    r"""|(?P<number>(?<!\S)[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\S))|(?P<quote>")|[^\s"]+"""
)


def read_textgrid(path, encoding=None):
    """Read the tiers of a Praat TextGrid in the long or short text format.

    Parameters
    ----------
    path : path-like
        File written by Praat, MFA, Prosodylab or MAUS.
    encoding : str, default=None
        Text encoding, such as "latin-1" or "mac-roman" for old files. If None,
        UTF-16 or UTF-8, detected from the first bytes.

    Returns
    -------
    tiers : dict of str to DataFrame
        Intervals or points of each tier, with ``onset`` and ``duration`` in
        seconds (0 for points) and ``text``, which is empty in silences. A
        second tier of the same name is called "name (2)".

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not a valid TextGrid, with the line: it cannot be
        decoded, is truncated or contradicts itself, or has negative or
        infinite times.

    See Also
    --------
    textgrid_events : Its words and phonemes as rows of an events table.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sk_b2s import read_textgrid
    >>> short = '''File type = "ooTextFile"
    ... Object class = "TextGrid"
    ...
    ... 0 1.5 <exists> 1
    ... "IntervalTier" "words" 0 1.5 2
    ... 0 0.5 "once"
    ... 0.5 1.5 "upon" '''
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "story.TextGrid")
    ...     _ = path.write_text(short)
    ...     read_textgrid(path)["words"]
       onset  duration  text
    0    0.0       0.5  once
    1    0.5       1.0  upon
    """
    path = Path(path)
    tokens = _TextGridTokens(_decode_textgrid(path, encoding), path)
    tokens.expect(("ooTextFile", "ooTextFile short"))
    tokens.expect(("TextGrid",))
    tokens.take("number", "the start of the TextGrid")
    tokens.take("number", "the end of the TextGrid")
    tiers: dict[str, pd.DataFrame] = {}
    if tokens.take("flag", "<exists> or <absent>") == "<exists>":
        for index in range(tokens.count("the number of tiers")):
            name, tier = _parse_textgrid_tier(tokens, index + 1)
            same = sum(name == other or other.startswith(f"{name} (") for other in tiers)
            tiers[f"{name} ({same + 1})" if same else name] = tier
    tokens.finish()
    return tiers


def _decode_textgrid(path, encoding):
    """Read a file as text, with UTF-16 and UTF-8 detected."""
    check_regular_recording_file(path, "TextGrid")
    data = path.read_bytes()
    if data.startswith(b"ooBinaryFile"):
        raise ValueError(
            f"{str(path)!r} is a binary TextGrid. In Praat, save it with 'Save as text file...'."
        )
    if encoding is None:
        marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = "utf-16" if data.startswith(marks) else "utf-8-sig"
        if b"\0" in data[:2] and encoding != "utf-16":  # Latin letters without a mark
            encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{str(path)!r}, line {line}: invalid {encoding.upper().removesuffix('-SIG')} byte {data[error.start]:#04x}. Pass the "
            "encoding of the file, such as encoding='latin-1' or 'mac-roman' for old files."
        ) from error


class _TextGridTokens:
    """Texts, numbers and flags of a file in order, with their lines."""

    def __init__(self, text, path):
        self.path = path
        self.breaks = [match.start() for match in re.finditer("\n", text)]
        self.end = len(text)
        self.found = [m for m in TOKEN.finditer(text) if m.lastgroup not in (None, "comment")]
        self.place = 0

    def fail(self, expected, got, start):
        """Raise with the line, the expected and the actual token."""
        line = bisect_right(self.breaks, max(start - 1, 0)) + 1
        expected, got = (
            text if len(text) <= MAX_TOKEN else f"{text[:MAX_TOKEN]}..." for text in (expected, got)
        )
        raise ValueError(f"{str(self.path)!r}, line {line}: expected {expected}, got {got}.")

    def take(self, kind, expected):
        """Return the next token, a "text", "number" or "flag"."""
        if self.place == len(self.found):
            self.fail(f"{expected} (a {kind})", "the end of the file: it is truncated", self.end)
        match = self.found[self.place]
        if match.lastgroup != kind:
            got = "a quote that is not closed" if match.lastgroup == "quote" else match.group()
            self.fail(f"{expected} (a {kind})", got, match.start())
        self.place += 1
        if kind == "text":
            return match.group()[1:-1].replace('""', '"').strip()
        if kind == "number" and not np.isfinite(float(match.group())):
            self.fail(f"{expected} (a finite number)", match.group(), match.start())
        return float(match.group()) if kind == "number" else match.group()

    def expect(self, allowed):
        """Skip one of the words with which a TextGrid begins."""
        match = self.found[self.place] if self.place < len(self.found) else None
        if match is None or match.group()[1:-1] not in allowed:
            got = match.group() if match else "nothing"
            start = match.start() if match else self.end
            self.fail(f'"{allowed[0]}" at the start of a TextGrid', got, start)
        self.place += 1

    def count(self, expected):
        """Return the next token as a count of entries."""
        number = self.take("number", expected)
        if number < 0 or number != int(number):
            self.fail(f"{expected} (a whole number)", f"{number:g}", self.found[self.place - 1].start())
        return int(number)

    def finish(self):
        """Raise if tokens remain after the last entry."""
        if self.place < len(self.found):
            match = self.found[self.place]
            self.fail("the end of the file after the last announced entry", match.group(), match.start())


def _parse_textgrid_tier(tokens, index):
    """Return the name of the next tier and its intervals or points."""
    kind = tokens.take("text", f"the class of tier {index}")
    if kind not in ("IntervalTier", "TextTier"):
        tokens.fail(
            f"'IntervalTier' or 'TextTier' as the class of tier {index}",
            repr(kind),
            tokens.found[tokens.place - 1].start(),
        )
    name = tokens.take("text", f"the name of tier {index}")
    tokens.take("number", f"the start of tier {name!r}")
    stop = tokens.take("number", f"the end of tier {name!r}")
    rows, last = [], -np.inf
    for row in range(1, tokens.count(f"the number of entries in tier {name!r}") + 1):
        what = f"{'interval' if kind == 'IntervalTier' else 'point'} {row} of tier {name!r}"
        begin = tokens.take("number", f"the time of {what}")
        at = tokens.found[tokens.place - 1].start()
        if begin < -TOLERANCE:
            tokens.fail(f"{what} to begin at 0 s or later", f"{begin:g} s", at)
        if begin < last - TOLERANCE:
            tokens.fail(
                f"{what} to begin at {last:g} s, the end of the previous one, or later", f"{begin:g} s", at
            )
        last = tokens.take("number", f"the end of {what}") if kind == "IntervalTier" else begin
        if last < begin:
            tokens.fail(f"{what}, which begins at {begin:g} s, to end later", f"{last:g} s", at)
        if last > stop + MAX_OVERRUN:
            tokens.fail(f"{what} to end by {stop:g} s, the end of its tier", f"{last:g} s", at)
        rows.append((begin, last - begin, tokens.take("text", f"the text of {what}")))
    tier = pd.DataFrame(rows, columns=["onset", "duration", "text"])
    tier = tier.astype({"onset": float, "duration": float, "text": object})
    tier.attrs["stop"] = stop
    return name, tier


def textgrid_events(path, tiers=None, sentence_gap=0.4, encoding=None):
    """Read the words and phonemes of a TextGrid as rows of an events table.

    Silences ("", "sp", "sil", "<p:>" and similar labels) are dropped. A
    phoneme belongs to the word in which it begins.

    Parameters
    ----------
    path : path-like
        A TextGrid.
    tiers : dict of str to str, default=None
        Name of the tier of each ``"word"``, ``"phoneme"`` and ``"sentence"``.
        A type with the name None is not read. Words and phonemes that are not
        in the dict are found by common names ("words", "phones", "ORT-MAU",
        "MAU", "anna - words"). A tier of words is required.
    sentence_gap : float, default=0.4
        Silence in seconds that separates two sentences, in files without a
        tier of sentences. Otherwise each interval of that tier is a sentence.
    encoding : str, default=None
        See :func:`read_textgrid`.

    Returns
    -------
    rows : DataFrame of shape (n_words + n_phonemes, 6)
        ``type`` ("word" or "phoneme"), ``sound_onset`` and ``duration`` (in
        seconds, in the audio file), ``text``, ``sequence`` (plain text of the
        sentence) and ``word_index`` (from 0 in each sentence), sorted by
        ``sound_onset``. A word precedes its first phoneme.

    Raises
    ------
    ValueError
        If the file is invalid (:func:`read_textgrid`) or lacks a tier.

    Warns
    -----
    UserWarning
        If the tiers do not look like an alignment: no words, words of more
        than 10 s or all of equal duration, or fewer phonemes than words.
    """
    path = Path(path)
    names = _find_textgrid_tiers(path, found := read_textgrid(path, encoding), tiers)
    words = _select_textgrid_speech(found[names["word"]], are_words=True)
    phonemes = _select_textgrid_speech(found[names["phoneme"]]) if "phoneme" in names else None
    check_tiers(path, words, phonemes, found[names["word"]], found.get(names.get("phoneme")))
    if "sentence" in names:
        starts = found[names["sentence"]]
        starts = starts.loc[~is_silence(starts["text"], are_words=True), "onset"].to_numpy()
        sentence = np.searchsorted(starts, words["onset"].to_numpy() + TOLERANCE, side="right")
    else:
        sentence = number_sentences(words["onset"], words["onset"] + words["duration"], sentence_gap)
    by_sentence = words.groupby(sentence)["text"]
    words["sequence"] = by_sentence.transform(make_plain_text).astype(object)
    words["word_index"] = by_sentence.cumcount().astype(float)
    rows = [words.assign(type="word")]
    if "phoneme" in names:
        rows.append(_assign_words_to_textgrid_phonemes(phonemes, words).assign(type="phoneme"))
    rows = pd.concat(rows, ignore_index=True).rename(columns={"onset": "sound_onset"})
    rows = rows.sort_values("sound_onset", kind="stable", ignore_index=True)
    rows = rows[["type", "sound_onset", "duration", "text", "sequence", "word_index"]]
    rows.attrs["stop"] = found[names["word"]].attrs["stop"]
    return rows


def find_textgrid(sound, folder=None):
    """Return the TextGrid of an audio file, or None."""
    sound = Path(sound)
    for place in filter(None, [folder, sound.parent]):
        for suffix in (".TextGrid", ".textgrid", ".Textgrid"):
            path = Path(place) / (sound.stem + suffix)
            if path.exists() or path.is_symlink():
                return path
    return None


def expand_textgrids(sounds, textgrid_of, tiers=None, sentence_gap=0.4):
    """Place the words and phonemes of TextGrids at their stimulus onsets.

    Parameters
    ----------
    sounds : DataFrame of shape (n_stimuli, ...)
        Rows of an events table: ``sound``, ``onset``, and if known
        ``sound_onset``, ``duration`` and ``drift_ppm``. Other columns are
        copied to the words.
    textgrid_of : dict of str to Path
        TextGrid of each audio file that has one.
    tiers, sentence_gap
        As for :func:`textgrid_events`.

    Returns
    -------
    rows : DataFrame of shape (n_words + n_phonemes, ...)
        Words and phonemes that begin while their stimulus plays.

    Raises
    ------
    ValueError
        If an audio file is shorter than the words of its TextGrid.
    """
    spoken = {path: textgrid_events(path, tiers, sentence_gap) for path in set(textgrid_of.values())}
    for sound, path in textgrid_of.items():
        check_textgrid_is_whole(sound, spoken[path], path)
    played = sounds[sounds["sound"].map(str).isin(list(textgrid_of))]
    return place_textgrid_rows(played, [spoken[textgrid_of[str(sound)]] for sound in played["sound"]])


def place_textgrid_rows(sounds, rows_of):
    """Place words and phonemes of stimuli at the stimulus onsets.

    Parameters
    ----------
    sounds : DataFrame of shape (n_stimuli, ...)
        See :func:`expand_textgrids`.
    rows_of : list of DataFrame
        Rows of each stimulus, with ``sound_onset`` in seconds.

    Returns
    -------
    rows : DataFrame of shape (n_words + n_phonemes, ...)
        Those that begin while their stimulus plays.
    """
    parts = []
    for (_, played), rows in zip(sounds.iterrows(), rows_of, strict=True):
        begun = played.get("sound_onset", 0.0)
        begun = 0.0 if pd.isna(begun) else begun
        lasts = played["duration"] if played.get("duration", 0.0) > 0 else np.inf
        rows = rows[(rows["sound_onset"] >= begun - TOLERANCE) & (rows["sound_onset"] < begun + lasts)]
        drift = played.get("drift_ppm", 0.0)
        rate = 1 + (0.0 if pd.isna(drift) else drift) * 1e-6
        onset = played["onset"] + (rows["sound_onset"] - begun) * rate
        passed = {name: played[name] for name in played.index if name not in rows and name != "onset"}
        parts.append(rows.assign(onset=onset, **passed))
    return pd.concat(parts, ignore_index=True) if parts else sounds.iloc[:0]


def warn_missing_textgrids(sounds, n_found):
    """Warn about audio files without a TextGrid if others have one."""
    if len(sounds) and n_found:
        names = [stimulus_name(sound) for sound in sounds]
        warnings.warn(
            f"{len(sounds)} of {len(sounds) + n_found} audio files have no TextGrid and therefore no words: "
            f"{shorten_list(names, MAX_NAMED)}.",
            stacklevel=4,
        )


def _find_textgrid_tiers(path, found, tiers):
    """Return the name of the tier of each event type in the file."""
    if unknown := set(tiers or {}) - set(TIERS):
        raise ValueError(f"tiers={tiers!r}: {sorted(unknown)} must be event types, {list(TIERS)}.")
    names = {}
    for kind, usual in TIERS.items():
        if tiers is not None and kind in tiers:
            if tiers[kind] is None:
                continue
            if tiers[kind] not in found:
                raise ValueError(
                    f"tiers={tiers!r}: {str(path)!r} has no tier {tiers[kind]!r}. It has {list(found)}."
                )
            names[kind] = tiers[kind]
            continue
        fits = [name for name in found if name.split(" - ")[-1].strip().lower() in usual]
        if len(fits) > 1:
            raise ValueError(
                f"{str(path)!r} has several tiers of {kind}s: {fits}. Choose one with tiers={{{kind!r}: "
                f"{fits[0]!r}}}."
            )
        if fits:
            names[kind] = fits[0]
    if "word" not in names:
        raise ValueError(
            f"{str(path)!r} has no tier with a common name for words. It has {list(found)}. Name the tier with "
            f"tiers={{'word': ..., 'phoneme': ...}}."
        )
    return names


def _select_textgrid_speech(tier, are_words=False):
    """Return the entries of a tier that are not silence."""
    return tier[~is_silence(tier["text"], are_words)].reset_index(drop=True)


def _assign_words_to_textgrid_phonemes(phonemes, words):
    """Add the sentence and index of the word in which phonemes begin."""
    begin = phonemes["onset"].to_numpy() + TOLERANCE
    at = np.searchsorted(words["onset"].to_numpy(), begin, side="right") - 1
    ends = (words["onset"] + words["duration"]).to_numpy()
    inside = at >= 0
    inside[inside] = begin[inside] < ends[at[inside]] + 2 * TOLERANCE
    columns = words[["sequence", "word_index"]].reindex(np.where(inside, at, -1)).reset_index(drop=True)
    return phonemes.join(columns)


def add_textgrids(events, folder=None, root=None, tiers=None, sentence_gap=0.4):
    """Add words and phonemes of TextGrids to recordings without words.

    Parameters
    ----------
    events : DataFrame
        Events table, not necessarily complete.
    folder : path-like, default=None
        Folder of the TextGrids. If None, the folder of each audio file.
    root : path-like, default=None
        Folder of the data set, for messages.
    tiers, sentence_gap
        As for :func:`~sk_b2s.io._textgrid.textgrid_events`.

    Returns
    -------
    events : DataFrame
    """
    key = events["recording"]
    if "stream" in events:
        key = key + "\n" + events["stream"].fillna("single").astype(str)
    has_no_words = ~key.isin(key[events["type"] == "word"])
    played = events[has_no_words & (events["type"] == "sound") & events["sound"].notna()]
    found = {
        str(sound): find_textgrid(sound, folder)
        for sound in played["sound"].unique()
        if not isinstance(sound, StimulusArray)
    }
    found = {sound: path for sound, path in found.items() if path is not None}
    if folder is not None and len(played) and not found:
        raise FileNotFoundError(
            f"textgrids={str(folder)!r} holds no TextGrid with the name of an audio file, such as "
            f"{Path(played['sound'].iloc[0]).stem}.TextGrid."
        )
    check_annex_fetched(found.values(), root)
    warn_missing_textgrids(
        [sound for sound in played["sound"].unique() if str(sound) not in found], len(found)
    )
    words = expand_textgrids(played, found, tiers, sentence_gap)
    return pd.concat([events, words]) if len(words) else events

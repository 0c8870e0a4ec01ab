"""Praat TextGrids of forced alignments as rows of an events table."""

from __future__ import annotations

import codecs
import re
import warnings
from bisect import bisect_right
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import plain_text, shorten_list
from sk_b2s.events._sentences import number_sentences
from sk_b2s.events._silence import is_silence
from sk_b2s.events._stimuli import StimulusArray, stimulus_name
from sk_b2s.io._annex import check_fetched
from sk_b2s.io._file_parts import check_regular
from sk_b2s.io._textgrid_checks import check_tiers, check_whole

# Names of tiers in common use, in lower case; MFA puts the speaker's before them ("anna - words").
TIERS = {
    "word": ("words", "word", "ort-mau", "ort"),
    "phoneme": ("phones", "phone", "phonemes", "phoneme", "mau"),
    "sentence": (),
}
OVER = 0.1  # s by which entries may end after their tier
NAMED = 30  # sounds that a warning names, at most
MOST = 200  # characters of a token in a message
TOLERANCE = 1e-4  # s by which aligners' intervals may overlap
# Praat reads both syntaxes by one rule: texts in quotes, numbers and flags that stand free, and all else
# is there for people ("xmin =", "intervals [3]:").
TOKEN = re.compile(
    r"""(?P<text>"(?:[^"]|"")*")|(?P<flag><exists>|<absent>)|(?P<comment>(?<!\S)!.*)"""
    r"""|(?P<number>(?<!\S)[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\S))|(?P<quote>")|[^\s"]+"""
)


def read_textgrid(path, encoding=None):
    """Read the tiers of a TextGrid in Praat's long or short text syntax.

    Parameters
    ----------
    path : path-like
        A file that Praat, MFA, Prosodylab or MAUS wrote.
    encoding : str, default=None
        None is UTF-16 or UTF-8, as the file begins. Old files may need "latin-1" or "mac-roman".

    Returns
    -------
    tiers : dict of str to DataFrame
        For the name of each tier its intervals in their order, with ``onset`` and ``duration`` (s; points
        last 0 s) and ``text``, empty where nobody speaks. A second tier of one name is called "name (2)".

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no TextGrid, cannot be decoded, is cut off or contradicts itself, or has times before 0 or
        that are infinite, with the line.

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
    tokens = _Tokens(_decode(path, encoding), path)
    tokens.expect(("ooTextFile", "ooTextFile short"))
    tokens.expect(("TextGrid",))
    tokens.take("number", "where the TextGrid begins")
    tokens.take("number", "where the TextGrid ends")
    tiers: dict[str, pd.DataFrame] = {}
    if tokens.take("flag", "<exists> or <absent>") == "<exists>":
        for index in range(tokens.count("the number of tiers")):
            name, tier = _tier(tokens, index + 1)
            same = sum(name == other or other.startswith(f"{name} (") for other in tiers)
            tiers[f"{name} ({same + 1})" if same else name] = tier
    tokens.finish()
    return tiers


def _decode(path, encoding):
    """Read a file as text, telling UTF-16 and UTF-8 by their first bytes."""
    check_regular(path, "TextGrid")
    data = path.read_bytes()
    if data.startswith(b"ooBinaryFile"):
        raise ValueError(f"{str(path)!r} is a binary TextGrid; in Praat, save it by 'Save as text file...'.")
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
            f"{str(path)!r}, line {line}: byte {data[error.start]:#04x} is none of {encoding.upper()}; name the "
            f"file's encoding, encoding='latin-1' or 'mac-roman' for old files."
        ) from error


class _Tokens:
    """The texts, numbers and flags of a file one after the other, each with its line."""

    def __init__(self, text, path):
        self.path = path
        self.breaks = [match.start() for match in re.finditer("\n", text)]
        self.end = len(text)
        self.found = [m for m in TOKEN.finditer(text) if m.lastgroup not in (None, "comment")]
        self.place = 0

    def fail(self, expected, got, start):
        line = bisect_right(self.breaks, max(start - 1, 0)) + 1
        expected, got = (text if len(text) <= MOST else f"{text[:MOST]}..." for text in (expected, got))
        raise ValueError(f"{str(self.path)!r}, line {line}: expected {expected}, got {got}.")

    def take(self, kind, expected):
        """Return the next token, which must be of a kind: "text", "number" or "flag"."""
        if self.place == len(self.found):
            self.fail(f"{expected} (a {kind})", "the end of the file: it was cut off", self.end)
        match = self.found[self.place]
        if match.lastgroup != kind:
            got = "a quote that is never closed" if match.lastgroup == "quote" else match.group()
            self.fail(f"{expected} (a {kind})", got, match.start())
        self.place += 1
        if kind == "text":
            return match.group()[1:-1].replace('""', '"').strip()
        if kind == "number" and not np.isfinite(float(match.group())):
            self.fail(f"{expected} (a finite number)", match.group(), match.start())
        return float(match.group()) if kind == "number" else match.group()

    def expect(self, allowed):
        """Pass one of the words with which every TextGrid begins."""
        match = self.found[self.place] if self.place < len(self.found) else None
        if match is None or match.group()[1:-1] not in allowed:
            got = match.group() if match else "nothing"
            start = match.start() if match else self.end
            self.fail(f'"{allowed[0]}", as every TextGrid begins', got, start)
        self.place += 1

    def count(self, expected):
        number = self.take("number", expected)
        if number < 0 or number != int(number):
            self.fail(f"{expected} (a whole number)", f"{number:g}", self.found[self.place - 1].start())
        return int(number)

    def finish(self):
        if self.place < len(self.found):
            match = self.found[self.place]
            self.fail("the end of the file, after all it announced", match.group(), match.start())


def _tier(tokens, index):
    """Read one tier: its name and its intervals or points."""
    kind = tokens.take("text", f"the class of tier {index}")
    if kind not in ("IntervalTier", "TextTier"):
        tokens.fail(
            f"'IntervalTier' or 'TextTier' as the class of tier {index}",
            repr(kind),
            tokens.found[tokens.place - 1].start(),
        )
    name = tokens.take("text", f"the name of tier {index}")
    tokens.take("number", f"where tier {name!r} begins")
    stop = tokens.take("number", f"where tier {name!r} ends")
    rows, last = [], -np.inf
    for row in range(1, tokens.count(f"the number of entries in tier {name!r}") + 1):
        what = f"{'interval' if kind == 'IntervalTier' else 'point'} {row} of tier {name!r}"
        begin = tokens.take("number", f"the time of {what}")
        at = tokens.found[tokens.place - 1].start()
        if begin < -TOLERANCE:
            tokens.fail(f"{what} to begin at 0 s, where its sound begins, or later", f"{begin:g} s", at)
        if begin < last - TOLERANCE:
            tokens.fail(
                f"{what} to begin at {last:g} s, where the one before ends, or later", f"{begin:g} s", at
            )
        last = tokens.take("number", f"the end of {what}") if kind == "IntervalTier" else begin
        if last < begin:
            tokens.fail(f"{what}, which begins at {begin:g} s, to end later", f"{last:g} s", at)
        if last > stop + OVER:
            tokens.fail(f"{what} to end by {stop:g} s, where its tier ends", f"{last:g} s", at)
        rows.append((begin, last - begin, tokens.take("text", f"the text of {what}")))
    tier = pd.DataFrame(rows, columns=["onset", "duration", "text"])
    tier = tier.astype({"onset": float, "duration": float, "text": object})
    tier.attrs["stop"] = stop
    return name, tier


def textgrid_events(path, tiers=None, sentence_gap=0.4, encoding=None):
    """Read the words and phonemes of a TextGrid as rows of an events table.

    Silences ("", "sp", "sil", "<p:>" and the like) are no rows. A phoneme is of the word in which it
    begins.

    Parameters
    ----------
    path : path-like
        A TextGrid.
    tiers : dict of str to str, default=None
        Which tier holds each ``"word"``, ``"phoneme"`` and ``"sentence"``. None, and a type that is not
        named, look for common names ("words", "phones", "ORT-MAU", "MAU", "anna - words"); None as a name
        leaves the type out. There must be words; sentences are never looked for.
    sentence_gap : float, default=0.4
        Seconds of silence after which a new sentence begins, where no tier tells sentences. A new one
        begins at each interval of that tier.
    encoding : str, default=None
        See :func:`read_textgrid`.

    Returns
    -------
    rows : DataFrame of shape (n_words + n_phonemes, 6)
        ``type`` ("word" or "phoneme"), ``sound_onset`` and ``duration`` (s, in the sound), ``text``,
        ``sequence`` (the plain text of the sentence, equal wherever it is said) and ``word_index`` (from 0
        in its sentence), sorted by ``sound_onset``; a word stands before its first phoneme.

    Raises
    ------
    ValueError
        If the file is malformed (:func:`read_textgrid`) or has no such tier.

    Warns
    -----
    UserWarning
        If the tiers do not look like an alignment: no words, words of more than 10 s or all of one length, fewer
        phonemes than words.
    """
    path = Path(path)
    names = _find_tiers(path, found := read_textgrid(path, encoding), tiers)
    words = _spoken(found[names["word"]])
    phonemes = _spoken(found[names["phoneme"]]) if "phoneme" in names else None
    check_tiers(path, words, phonemes, found[names["word"]], found.get(names.get("phoneme")))
    if "sentence" in names:
        starts = found[names["sentence"]]
        starts = starts.loc[~is_silence(starts["text"]), "onset"].to_numpy()
        sentence = np.searchsorted(starts, words["onset"].to_numpy() + TOLERANCE, side="right")
    else:
        sentence = number_sentences(words["onset"], words["onset"] + words["duration"], sentence_gap)
    by_sentence = words.groupby(sentence)["text"]
    words["sequence"] = by_sentence.transform(plain_text).astype(object)
    words["word_index"] = by_sentence.cumcount().astype(float)
    rows = [words.assign(type="word")]
    if "phoneme" in names:
        rows.append(_of_words(phonemes, words).assign(type="phoneme"))
    rows = pd.concat(rows, ignore_index=True).rename(columns={"onset": "sound_onset"})
    rows = rows.sort_values("sound_onset", kind="stable", ignore_index=True)
    rows = rows[["type", "sound_onset", "duration", "text", "sequence", "word_index"]]
    rows.attrs["stop"] = found[names["word"]].attrs["stop"]
    return rows


def find_textgrid(sound, folder=None):
    """Find the TextGrid of a sound: the file of its stem in a folder or beside it, None if there is none.

    Parameters
    ----------
    sound : path-like
        An audio file.
    folder : path-like, default=None
        Where to look before the sound's own folder.

    Returns
    -------
    path : Path or None
    """
    sound = Path(sound)
    for place in filter(None, [folder, sound.parent]):
        for suffix in (".TextGrid", ".textgrid", ".Textgrid"):
            path = Path(place) / (sound.stem + suffix)
            if path.exists() or path.is_symlink():
                return path
    return None


def expand_textgrids(sounds, textgrid_of, tiers=None, sentence_gap=0.4):
    """Lay the words and phonemes of TextGrids where their sounds were played.

    Parameters
    ----------
    sounds : DataFrame of shape (n_sounds, ...)
        Rows of an events table: ``sound, onset``, and if known ``sound_onset``, ``duration`` and
        ``drift_ppm``; all columns but these are passed on to the words.
    textgrid_of : dict of str to Path
        The TextGrid of each sound that has one.
    tiers, sentence_gap
        As for :func:`textgrid_events`.

    Returns
    -------
    rows : DataFrame of shape (n_words + n_phonemes, ...)
        Words and phonemes that begin while their sound plays.

    Raises
    ------
    ValueError
        If a sound's file is shorter than the words of its TextGrid.
    """
    spoken = {path: textgrid_events(path, tiers, sentence_gap) for path in set(textgrid_of.values())}
    for sound, path in textgrid_of.items():
        check_whole(sound, spoken[path], path)
    parts = []
    for _, played in sounds[sounds["sound"].map(str).isin(list(textgrid_of))].iterrows():
        rows = spoken[textgrid_of[str(played["sound"])]]
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
    """Warn of sounds without a TextGrid where others have one.

    Parameters
    ----------
    sounds : sequence of str or StimulusArray
        Those without.
    n_found : int
        Number of those with one.
    """
    if len(sounds) and n_found:
        names = [stimulus_name(sound) for sound in sounds]
        warnings.warn(
            f"{len(sounds)} of {len(sounds) + n_found} sounds have no TextGrid, and no words: "
            f"{shorten_list(names, NAMED)}.",
            stacklevel=4,
        )


def _find_tiers(path, found, tiers):
    """Name the tier of each type of event that the file has."""
    if unknown := set(tiers or {}) - set(TIERS):
        raise ValueError(f"tiers={tiers!r}: {sorted(unknown)} are none of {list(TIERS)}.")
    names = {}
    for kind, usual in TIERS.items():
        if tiers is not None and kind in tiers:
            if tiers[kind] is None:
                continue
            if tiers[kind] not in found:
                raise ValueError(
                    f"tiers={tiers!r}: {str(path)!r} has no tier {tiers[kind]!r}; it has {list(found)}."
                )
            names[kind] = tiers[kind]
            continue
        fits = [name for name in found if name.split(" - ")[-1].strip().lower() in usual]
        if len(fits) > 1:
            raise ValueError(
                f"{str(path)!r} has several tiers of {kind}s, {fits}; choose by tiers={{{kind!r}: {fits[0]!r}}}."
            )
        if fits:
            names[kind] = fits[0]
    if "word" not in names:
        raise ValueError(
            f"{str(path)!r}: none of its tiers {list(found)} is known to hold words; name it by "
            f"tiers={{'word': ..., 'phoneme': ...}}."
        )
    return names


def _spoken(tier):
    """The entries of a tier in which somebody speaks."""
    return tier[~is_silence(tier["text"])].reset_index(drop=True)


def _of_words(phonemes, words):
    """Give phonemes the sentence and place of the word in which they begin."""
    begin = phonemes["onset"].to_numpy() + TOLERANCE
    at = np.searchsorted(words["onset"].to_numpy(), begin, side="right") - 1
    ends = (words["onset"] + words["duration"]).to_numpy()
    inside = at >= 0
    inside[inside] = begin[inside] < ends[at[inside]] + 2 * TOLERANCE
    columns = words[["sequence", "word_index"]].reindex(np.where(inside, at, -1)).reset_index(drop=True)
    return phonemes.join(columns)


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
        As for :func:`~sk_b2s.io._textgrid.textgrid_events`.

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
        str(sound): find_textgrid(sound, folder)
        for sound in played["sound"].unique()
        if not isinstance(sound, StimulusArray)
    }
    found = {sound: path for sound, path in found.items() if path is not None}
    if folder is not None and len(played) and not found:
        raise FileNotFoundError(
            f"textgrids={str(folder)!r} holds no TextGrid named as a sound, {Path(played['sound'].iloc[0]).stem}."
            f"TextGrid for example."
        )
    check_fetched(found.values(), root)
    warn_missing_textgrids(
        [sound for sound in played["sound"].unique() if str(sound) not in found], len(found)
    )
    words = expand_textgrids(played, found, tiers, sentence_gap)
    return pd.concat([events, words]) if len(words) else events

"""Words of a transcript and their pronunciations in ARPAbet phonemes."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from sk_b2s._utils._text import shorten_list, shorten_text

PHONEMES = frozenset(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)
MOST_NAMED = 20  # words in a message
APOSTROPHES = str.maketrans("‘’ʼ`", "''''")
SIBILANTS, VOICELESS = {"S", "Z", "SH", "ZH", "CH", "JH"}, {"P", "T", "K", "F", "TH"}
# Common sounds of English spellings, the longest first. They are rough, but alignment tolerates wrong phonemes.
SPELLINGS = {
    "tion": "SH AH N", "sion": "ZH AH N", "ough": "AO", "augh": "AO", "eigh": "EY", "igh": "AY", "tch": "CH",
    "dge": "JH", "sch": "SH", "ing": "IH NG", "ture": "CH ER", "our": "ER", "ous": "AH S", "ch": "CH", "sh": "SH",
    "th": "TH", "ph": "F", "wh": "W", "ck": "K", "ng": "NG", "qu": "K W", "gh": "", "kn": "N", "wr": "R", "ee": "IY",
    "ea": "IY", "oo": "UW", "ou": "AW", "ow": "OW", "oa": "OW", "oi": "OY", "oy": "OY", "ai": "EY", "ay": "EY",
    "au": "AO", "aw": "AO", "ei": "IY", "ie": "IY", "ew": "UW", "ue": "UW", "er": "ER", "ir": "ER", "ur": "ER",
    "ar": "AA R", "or": "AO R", "ce": "S", "ci": "S IH", "cy": "S IY", "a": "AE", "b": "B", "c": "K", "d": "D",
    "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA",
    "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
    "'": "",
}  # fmt: skip
LONGEST = max(map(len, SPELLINGS))


class PronouncedWord(NamedTuple):
    """Word of a transcript with the names of its parts in a dictionary."""

    text: str
    parts: tuple


def split_into_pronounced_words(text):
    """Split a transcript into words without surrounding punctuation.

    Parameters
    ----------
    text : str or sequence of str
        Transcript, or its words.

    Returns
    -------
    words : list of str
    """
    if not isinstance(text, str):
        text = list(text)
        if wrong := [word for word in text if not isinstance(word, str)]:
            raise ValueError(
                f"text must be a string or a sequence of strings. Got {shorten_text(wrong[0])} in it."
            )
        text = " ".join(text)
    words = re.split(r"\s+|--+|[–—…]", text.translate(APOSTROPHES))
    words = [re.sub(r"^[^\w']+|[^\w']+$", "", word.replace("_", "")) for word in words]
    return [word for word in words if re.search(r"\w", word)]


def find_pronunciations(words, is_known, pronunciations=None, unknown="error"):
    """Find each word in a dictionary or make its pronunciation.

    Parameters
    ----------
    words : list of str
        Output of :func:`split_into_pronounced_words`.
    is_known : callable
        Returns the phonemes of a word in lower case, None if it is unknown.
    pronunciations : dict of str to str, default=None
        Phonemes of words, see :func:`~sk_b2s.align_words`.
    unknown : {"error", "guess"}, default="error"
        What to do with unknown words.

    Returns
    -------
    tokens : list of Token
    added : dict of str to str
        Phonemes of names in ``tokens`` that the dictionary lacks.
    """
    given = {
        _fold_pronounced_word(word): _check_pronunciation(word, value)
        for word, value in (pronunciations or {}).items()
    }
    added, found, missing = {}, {}, []

    def find_part(part):
        """Return the name of a part of a word, or None."""
        if part in given:
            phonemes = given[part]
        elif part and is_known(part):
            return part
        elif part != (bare := part.strip("'")):
            return find_part(bare)
        elif (phonemes := _inflect_pronunciation(part, is_known)) is None:
            if unknown != "guess" or (phonemes := _guess_pronunciation(part)) is None:
                return None
        added[name := f"{part}#"] = phonemes  # not the name of a word in the dictionary
        return name

    for word in dict.fromkeys(words):
        folded = _fold_pronounced_word(word)
        is_whole = folded in given or not re.search(r"[^\w']", folded) or is_known(folded)
        names = tuple(map(find_part, [folded] if is_whole else re.findall(r"[\w']+", folded)))
        if None in names:
            missing.append(word)
        found[word] = names
    if missing:
        _raise_unknown_pronunciation(missing, unknown)
    return [PronouncedWord(word, found[word]) for word in words], added


def _fold_pronounced_word(word):
    """Convert a word to lower case without accents."""
    word = unicodedata.normalize("NFKD", str(word).translate(APOSTROPHES).lower())
    return "".join(c for c in word if c.isprintable() and not unicodedata.combining(c))


def _check_pronunciation(word, value):
    """Return phonemes without the digits of stress."""
    phonemes = re.sub(r"(?<=[A-Z])[012]\b", "", value.upper()).split() if isinstance(value, str) else []
    if not phonemes or not PHONEMES.issuperset(phonemes):
        raise ValueError(
            f"pronunciations[{word!r}] must be ARPAbet phonemes separated by spaces, such as 'AE1 L AH0 S' for Alice. "
            f"Got {value!r} instead. The phonemes are {' '.join(sorted(PHONEMES))}."
        )
    return " ".join(phonemes)


def _inflect_pronunciation(word, is_known):
    """Derive the phonemes of a possessive or plural from its stem."""
    stem = re.sub(r"'?s$", "", word)
    phonemes = is_known(stem) if stem != word and stem else None
    if phonemes is None:
        return None
    last = phonemes.split()[-1]
    return f"{phonemes} {'IH Z' if last in SIBILANTS else 'S' if last in VOICELESS else 'Z'}"


def _guess_pronunciation(word):
    """Guess phonemes from the spelling, or return None."""
    letters = re.sub(r"(?<=[^aeiouy])e$", "", re.sub(r"([b-df-hj-np-tv-z])\1", r"\1", word))
    place, phonemes = 0, []
    while place < len(letters):
        for length in range(min(LONGEST, len(letters) - place), 0, -1):
            if (sounds := SPELLINGS.get(letters[place : place + length])) is not None:
                phonemes += sounds.split()
                place += length
                break
        else:
            return None
    return " ".join(phonemes) or None


def _raise_unknown_pronunciation(missing, unknown):
    """Raise an error that names words without a pronunciation."""
    example = next((word for word in missing if word.isalpha()), missing[0])
    guess = "" if unknown == "guess" else " or pass unknown='guess' to derive them from the spelling"
    raise ValueError(
        f"text has {len(missing)} words that are not in the dictionary: {shorten_list(map(repr, missing), MOST_NAMED)}. "
        f"Write numbers and abbreviations as they are spoken. For other words pass pronunciations, such as "
        f"pronunciations={{{example!r}: {_guess_pronunciation(_fold_pronounced_word(example)) or 'AH'!r}}}{guess}."
    )

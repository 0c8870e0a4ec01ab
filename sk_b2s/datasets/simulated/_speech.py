"""Synthetic speech in the package: four chapters of Alice in Wonderland.

Text and speech are free to use; ``data/speech/README.md`` tells where they come from.
"""

from functools import lru_cache
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf

COLUMNS = "type sound sound_onset duration text sequence word_index speaker language".split()
SPEECH = Path(__file__).parent / "data" / "speech"


def load_speech(minutes=None):
    """List the speech that ships with the package: its sounds, words and phones.

    Parameters
    ----------
    minutes : float, default=None
        Take sounds from the first one on until so many minutes are reached; the last sound stops at the
        first sentence's end after that. None takes all, 45 minutes.

    Returns
    -------
    speech : DataFrame
        A row per sound, word and phoneme, in order: ``type``, ``sound`` (path), ``sound_onset`` and
        ``duration`` (s, in the sound), ``text`` and ``sequence`` (the sentence's id; both missing for
        sounds), ``word_index`` (NaN for sounds), ``speaker``, ``language``. The duration of a sound is
        what is taken of it.

    Raises
    ------
    ValueError
        If ``minutes`` is not positive, or more than there is.

    Examples
    --------
    >>> from sk_b2s.datasets import load_speech
    >>> speech = load_speech(minutes=1)
    >>> speech.loc[speech["type"] == "word", "text"].head(4).tolist()
    ["alice's", 'adventures', 'in', 'wonderland']
    """
    words, phones, lengths = _read_tables()
    available = sum(lengths.values()) / 60
    if minutes is not None and not (isinstance(minutes, Real) and 0 < minutes <= available):
        raise ValueError(
            f"minutes must be a number above 0 and at most {available:.1f}, the minutes of speech the "
            f"package ships, or None; got {minutes!r}."
        )
    left = np.inf if minutes is None else minutes * 60
    parts = []
    for name, length in lengths.items():
        if left <= 0:
            break
        spoken = words[words["sound"] == name]
        stop = length if left >= length else _sentence_end(spoken, left, length)
        left -= stop
        sound = pd.DataFrame(
            {"sound": [name], "onset": 0.0, "duration": stop, "speaker": spoken["speaker"].iloc[0]}
        )
        heard = [sound.assign(type="sound"), spoken.assign(type="word")]
        heard.append(phones[phones["sound"] == name].assign(type="phoneme", speaker=sound["speaker"][0]))
        part = pd.concat(heard, ignore_index=True)
        parts.append(part[part["onset"] < stop].sort_values("onset", kind="stable"))
    speech = pd.concat(parts, ignore_index=True).rename(columns={"onset": "sound_onset"})
    speech["sound"] = [str(SPEECH / name) for name in speech["sound"]]
    speech["language"] = "en"
    return speech[COLUMNS]


@lru_cache(maxsize=1)
def _read_tables():
    tables = [
        pd.read_csv(SPEECH / f, sep="\t", keep_default_na=False) for f in ("words.tsv", "phones.tsv.gz")
    ]
    lengths = {name: sf.info(SPEECH / name).duration for name in tables[0]["sound"].unique()}
    return *tables, lengths


def _sentence_end(words, seconds, length):
    """Find the middle of the first pause between sentences after ``seconds``."""
    begins = words.loc[words["word_index"] == 0, "onset"].to_numpy()[1:]
    ends = (words["onset"] + words["duration"]).shift()[words["word_index"] == 0].to_numpy()[1:]
    pauses = (begins + ends) / 2
    later = pauses[pauses >= seconds]
    return float(round(later[0], 3)) if len(later) else length

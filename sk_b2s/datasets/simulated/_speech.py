"""Synthetic speech of the package, four chapters of Alice in Wonderland.

Text and speech are free to use. ``data/speech/README.md`` lists their sources.
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
    """Load the audio files, words and phonemes of the speech in the package.

    Parameters
    ----------
    minutes : float, default=None
        Duration to load, from the first audio file. The last file stops at the
        end of a sentence. If None, load all, 45 minutes.

    Returns
    -------
    speech : DataFrame
        One row per audio file, word and phoneme, in order, with the columns
        ``type``, ``sound`` (path), ``sound_onset`` and ``duration`` (s, in the
        audio), ``text`` and ``sequence`` (sentence), both missing for audio
        files, ``word_index`` (NaN for audio files), ``speaker`` and
        ``language``. The duration of the last audio file may be reduced.

    Raises
    ------
    ValueError
        If ``minutes`` is not positive, or exceeds the available duration.

    Examples
    --------
    >>> from sk_b2s.datasets import load_speech
    >>> speech = load_speech(minutes=1)
    >>> speech.loc[speech["type"] == "word", "text"].head(4).tolist()
    ["alice's", 'adventures', 'in', 'wonderland']
    """
    available = sum(_read_speech_tables()[-1].values()) / 60
    if minutes is not None and not (isinstance(minutes, Real) and 0 < minutes <= available):
        raise ValueError(
            f"'minutes' must be None, or a number above 0 and at most {available:.1f}, the minutes of speech in the "
            f"package. Got {minutes!r} instead."
        )
    return _cut_speech(minutes).copy()


@lru_cache(maxsize=8)
def _cut_speech(minutes):
    """Build the table of the first minutes, see :func:`load_speech`."""
    words, phones, lengths = _read_speech_tables()
    left = np.inf if minutes is None else minutes * 60
    parts = []
    for name, length in lengths.items():
        if left <= 0:
            break
        spoken = words[words["sound"] == name]
        stop = length if left >= length else _find_sentence_end(spoken, left, length)
        left -= stop
        sound = pd.DataFrame(
            {"sound": [name], "onset": 0.0, "duration": stop, "speaker": spoken["speaker"].iloc[0]}
        )
        rows = [sound.assign(type="sound"), spoken.assign(type="word")]
        rows.append(phones[phones["sound"] == name].assign(type="phoneme", speaker=sound["speaker"][0]))
        part = pd.concat(rows, ignore_index=True)
        parts.append(part[part["onset"] < stop].sort_values("onset", kind="stable"))
    speech = pd.concat(parts, ignore_index=True).rename(columns={"onset": "sound_onset"})
    speech["sound"] = [str(SPEECH / name) for name in speech["sound"]]
    speech["language"] = "en"
    return speech[COLUMNS]


@lru_cache(maxsize=1)
def _read_speech_tables():
    tables = [
        pd.read_csv(SPEECH / f, sep="\t", keep_default_na=False) for f in ("words.tsv", "phones.tsv.gz")
    ]
    lengths = {name: sf.info(SPEECH / name).duration for name in tables[0]["sound"].unique()}
    return *tables, lengths


def _find_sentence_end(words, seconds, length):
    """Find the first silence between sentences after ``seconds``."""
    begins = words.loc[words["word_index"] == 0, "onset"].to_numpy()[1:]
    ends = (words["onset"] + words["duration"]).shift()[words["word_index"] == 0].to_numpy()[1:]
    middles = (begins + ends) / 2
    later = middles[middles >= seconds]
    return float(round(later[0], 3)) if len(later) else length

"""Alice in Wonderland, chapter one: 49 people listen for 12 minutes, with 60 channels of EEG.

Citation
    Brennan & Hale (2019). Hierarchical structure guides rapid linguistic predictions during naturalistic
    listening. PLOS ONE 14:e0207741. https://doi.org/10.1371/journal.pone.0207741
License
    CC BY 4.0.
Where
    Deep Blue Data, https://doi.org/10.7302/Z29C6VNH (MATLAB, 56 files: bg257f92t); the same recordings as
    BrainVision files: bn999738r, by Globus.
Size
    About 9 GB of ``S01.mat`` ... ``S49.mat``, with ``audio.zip``, ``proc.zip``, ``AliceChapterOne-EEG.csv``.
By hand
    ``proc.zip`` and ``audio.zip`` must be unpacked in the folder; :func:`~sk_b2s.datasets.fetch_brennan2019`
    does it.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat

from sk_b2s.datasets._common import as_on_disk, choose, finish, need, study_root, warn_of_missing
from sk_b2s.events._stimuli import stimulus_duration
from sk_b2s.events._table_times import check_last_word
from sk_b2s.io._textgrid import textgrid_events

STUDY = "brennan2019"
HINT = "Fetch it by sk_b2s.datasets.fetch_brennan2019."
SFREQ = 500.0
BEFORE = 150  # samples by which a trial begins before its word; the trials' third column says so
PUBLISHED_SHIFT = -0.298  # s; the published code took the trial's first sample for the word's, counted from 1
LOW_SCORES = ("S07", "S09", "S23", "S24", "S27", "S30", "S32", "S43")
ALL = tuple(f"S{number:02d}" for number in [*range(1, 28), 30, 32, *range(34, 46), 48])  # with trials
LATE = ("S24", "S26", "S27", "S30", "S32", "S34", "S35", "S36")  # recorded from the second sound on
SUBJECTS = {
    "authors": tuple(name for name in ALL if name not in (*LOW_SCORES, "S02")),
    "reference": tuple(name for name in ALL if name not in (*LATE, "S02")),
    "all": ALL,
}
FURTHER = {
    "Order": "order",
    "LogFreq": "log_freq",
    "SndPower": "snd_power",
    "IsLexical": "is_lexical",
    "NGRAM": "ngram",
    "RNN": "rnn",
    "CFG": "cfg",
}  # fmt: skip ; columns of the csv that are not needed
SLACK = 0.3  # s by which two sounds may follow each other faster or slower than the first lasts


def load_brennan2019(
    root, subjects="authors", onset_shift=0.0, textgrids=None, need_recordings=True
):  # fmt: skip
    """Read the events of Brennan & Hale's Alice.

    Parameters
    ----------
    root : path-like
        Folder with ``S01.mat`` ... (or ``S01.vhdr`` ...), ``proc``, ``audio`` and
        ``AliceChapterOne-EEG.csv``.
    subjects : {"authors", "reference", "all"} or sequence of str, default="authors"
        "authors" are the 33 whom the study's authors analyzed, whose files say so; "reference" the 33 of the
        published decoding code, which keeps four who understood little (S07, S09, S23, S43) and leaves out
        four whose recording begins after the first sound (S26, S34, S35, S36); "all" the 42 with trials. Or
        names such as "S01".
    onset_shift : float, default=0.0
        Seconds added to the onset of everything. Trials begin 150 samples before their word; the published
        code took that for the word, which ``onset_shift=-0.298`` repeats.
    textgrids : path-like, default=None
        Folder of ``DownTheRabbitHoleFinal_SoundFile1.TextGrid`` ...; with it the events have phonemes.
    need_recordings : bool, default=True
        False also reads the trials of people whose recording was not fetched, to plan or to count; it is
        taken to last 10 s after the last event.

    Returns
    -------
    events : DataFrame
        An events table (:func:`~sk_b2s.check_events`). ``sequence`` is "alice/number of the sentence", the
        same for all people; ``word_index`` counts from 0; further columns are those of the study's csv:
        ``order, log_freq, snd_power, is_lexical, ngram, rnn, cfg``.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If trials do not fit the words, or who was asked for is not there.

    Notes
    -----
    A trial gives its word's time in the recording and in the sound, so each gives the time at which the
    sound began. Those of one sound agree to 2 ms, the rounding to samples; their median is the onset
    of the sound.

    In the trials of eight people whose recording begins after the first sound, the second sound is
    labeled as the first and has its words, and so on. The intervals between the sounds tell: here every
    sound gets its own words, at its onset plus their time in it.

    References
    ----------
    .. [1] Brennan & Hale (2019). Hierarchical structure guides rapid linguistic predictions during
       naturalistic listening. PLOS ONE 14:e0207741. https://doi.org/10.1371/journal.pone.0207741
    """
    root = study_root(root, STUDY, HINT)
    folder = _unpacked(root, "proc", "S*.mat")
    people = sorted(
        path.stem.upper() for path in folder.iterdir() if re.fullmatch(r"(?i)s\d+\.mat", path.name)
    )
    if isinstance(subjects, str) and subjects in SUBJECTS:
        subjects = SUBJECTS[subjects]
    spoken, lengths = _words(root, textgrids)
    tables = []
    for subject in choose("subjects", subjects, people, STUDY):
        recording = _recording(root, subject)
        if need_recordings:
            need(recording, STUDY, f"{HINT} To read the trials only, pass need_recordings=False.")
        trials = _trials(folder / f"{subject}.mat")
        begun = _begun(trials, lengths, folder / f"{subject}.mat")
        table = _events(spoken, trials, begun, onset_shift, folder / f"{subject}.mat")
        tables.append(table.assign(subject=subject, recording=str(recording)))
    return finish(tables, STUDY, need_recordings)


def _unpacked(root, name, pattern):
    """Folder of an archive, also where unpacking has put it into another of its name: Path."""
    folder = need(root / name, STUDY, f"Unpack {name}.zip into it. {HINT}")
    inner = as_on_disk(folder / name)
    return inner if inner.is_dir() and not any(folder.glob(pattern)) else folder


def _recording(root, subject):
    """Path of a recording: of the BrainVision edition, or of the MATLAB one, which is taken if none is there."""
    paths = [as_on_disk(root / f"{subject}{suffix}") for suffix in (".vhdr", ".mat")]
    return next((path for path in paths if path.exists()), root / f"{subject}.mat")


def _words(root, textgrids):
    """Everything heard, by sound and time in it, and the seconds of each sound."""
    path = need(root / "AliceChapterOne-EEG.csv", STUDY, HINT)
    table = pd.read_csv(path, keep_default_na=False, encoding="utf-8-sig")
    wanted = ["Word", "Segment", "onset", "offset", "Position", "Sentence"]
    known = {name.casefold(): name for name in (*wanted, *FURTHER)}
    table = table.rename(columns=lambda name: known.get(name.strip().casefold(), name))
    if missing := [column for column in wanted if column not in table]:
        raise ValueError(f"{STUDY}: {str(path)!r} lacks the columns {missing}; it has {list(table)}.")
    for column in set(wanted) - {"Word"}:
        wrong = pd.to_numeric(table[column], errors="coerce").isna()
        if wrong.any():
            row = int(wrong.idxmax())
            raise ValueError(
                f"{STUDY}: {str(path)!r}, line {row + 2}, column {column!r}: expected a number, got "
                f"{table[column][row]!r}; was the file cut off, or written with decimal commas?"
            )
        table[column] = pd.to_numeric(table[column])
    audio = _unpacked(root, "audio", "*.wav")
    sounds = {
        number: str(
            need(
                audio / f"DownTheRabbitHoleFinal_SoundFile{number}.wav",
                STUDY,
                f"Unpack audio.zip into it. {HINT}",
            )
        )
        for number in sorted(table["Segment"].unique())
    }
    words = pd.DataFrame({
        "type": "word", "number": table["Segment"], "sound": table["Segment"].map(sounds),
        "sound_onset": table["onset"], "duration": table["offset"] - table["onset"], "text": table["Word"],
        "sequence": table["Sentence"].map("alice/{}".format), "word_index": table["Position"] - 1.0,
    })  # fmt: skip
    lacking = [name for name in FURTHER if name not in table]
    warn_of_missing(STUDY, f"{path.name} of this edition does not have, and the events neither", lacking)
    words = words.join(table[[name for name in FURTHER if name in table]].rename(columns=FURTHER))
    lengths = {number: stimulus_duration(sound) for number, sound in sounds.items()}
    for number, of_sound in words.groupby("number"):
        check_last_word(sounds[number], of_sound["sound_onset"].max(), STUDY)
    heard = pd.DataFrame({"type": "sound", "number": list(sounds), "sound": list(sounds.values()),
                          "sound_onset": 0.0, "duration": list(lengths.values())})  # fmt: skip
    parts = [heard, words]
    if textgrids is not None:
        parts += [_phonemes(textgrids, number, sounds[number], words) for number in sounds]
    return pd.concat(parts, ignore_index=True).assign(language="en"), lengths


def _phonemes(folder, number, sound, words):
    """Phonemes of one sound, each of the word of the csv in which it begins."""
    path = need(
        Path(folder) / f"DownTheRabbitHoleFinal_SoundFile{number}.TextGrid",
        STUDY,
        "Phonemes are read of all sounds or of none, by textgrids=None.",
    )
    rows = textgrid_events(path)
    rows = rows[rows["type"] == "phoneme"].drop(columns=["sequence", "word_index"])
    words = words[words["number"] == number].sort_values("sound_onset")
    at = np.searchsorted(words["sound_onset"].to_numpy(), rows["sound_onset"].to_numpy() + 1e-3, side="right")
    named = words[["sequence", "word_index"]].iloc[np.maximum(at - 1, 0)].set_axis(rows.index)
    return rows.assign(number=number, sound=sound).join(named)


def _trials(path):
    """Trials of a recording: ``label`` of the sound, ``onset`` in the recording and ``tmin`` in the sound (s)."""
    path = need(path, STUDY, HINT)
    try:
        proc = loadmat(path, squeeze_me=True, simplify_cells=True)["proc"]
        trials, names = np.atleast_2d(proc["trl"]), [str(name) for name in np.atleast_1d(proc["varnames"])]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{STUDY}: {str(path)!r}: expected a struct 'proc' with 'trl' and 'varnames', but it lacks {error}."
        ) from error
    except Exception as error:  # scipy fails on broken bytes in every possible way
        raise ValueError(
            f"{STUDY}: {str(path)!r} cannot be read: {type(error).__name__}: {error}. Is it whole, and of a MATLAB "
            f"version below 7.3?"
        ) from error
    names = names[: trials.shape[1] - 3]  # S02 names three more
    if not {"segment", "tmin"} <= set(names):
        raise ValueError(
            f"{STUDY}: {str(path)!r}: expected begin, end, offset and then 'segment' and 'tmin' among the columns of "
            f"'trl'; got {names} after the first three."
        )
    if (trials[:, 2] != -BEFORE).any():
        raise ValueError(
            f"{STUDY}: {str(path)!r}: trials are to begin {BEFORE} samples before their word, got an offset of "
            f"{trials[trials[:, 2] != -BEFORE, 2][0]:g}."
        )
    label, tmin = (trials[:, 3 + names.index(name)] for name in ("segment", "tmin"))
    onset = (trials[:, 0] - 1 + BEFORE) / SFREQ  # samples are counted from 1
    return pd.DataFrame({"label": label.astype(int), "onset": onset, "tmin": tmin})


def _begun(trials, lengths, path):
    """When each sound began in a recording: {number of the sound: s}."""
    begun = (trials["onset"] - trials["tmin"]).groupby(trials["label"])
    if (spread := begun.max() - begun.min()).max() > 0.01:
        raise ValueError(
            f"{STUDY}: {str(path)!r}: the trials of sound {spread.idxmax()} place its beginning "
            f"{spread.max():.3f} s apart; words and trials do not belong together."
        )
    return _identify(begun.median(), lengths, path)


def _identify(begun, lengths, path):
    """Tell by the intervals between them which sounds these are."""
    numbers, intervals = np.array(sorted(lengths)), np.diff(begun.to_numpy())
    seconds = np.array([lengths[number] for number in numbers])
    off = []
    for first in range(len(numbers) - len(begun) + 1):
        expected = seconds[first : first + len(intervals)]
        off.append(np.abs(intervals - expected).max(initial=0.0))
    if not off or min(off) > SLACK:
        best = f", {min(off):.3f} s off at best" if off else ""
        raise ValueError(
            f"{STUDY}: {str(path)!r}: its {len(begun)} sounds do not follow each other as the {len(numbers)} audio "
            f"files last{best} ({SLACK} s allowed)."
        )
    first = int(np.argmin(off))
    return dict(zip(numbers[first : first + len(begun)], begun, strict=True))


def _events(spoken, trials, begun, shift, path):
    """Everything heard in one recording: at its trial, or after the onset of its sound where it has none."""
    events = spoken[spoken["number"].isin(list(begun))]
    onset = events["number"].map(begun) + events["sound_onset"]
    words = events.index[events["type"] == "word"]
    if len(trials) == len(words) and begun.keys() == set(trials["label"]):
        off = np.abs(trials["tmin"].to_numpy() - events.loc[words, "sound_onset"])
        if (wrong := (off > 1e-3).to_numpy()).any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"{STUDY}: {str(path)!r} and AliceChapterOne-EEG.csv contradict each other: word {first + 1}, "
                f"{events['text'][words[first]]!r}, is {off.iloc[first]:.3f} s elsewhere in its sound; are they of one "
                f"version?"
            )
        onset[words] = trials["onset"].to_numpy()
    return events.drop(columns="number").assign(onset=onset + shift)

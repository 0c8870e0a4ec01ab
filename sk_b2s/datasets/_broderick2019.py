"""The Old Man and the Sea: 19 people listen for an hour, with 128 channels of EEG.

Citation
    Broderick, Anderson, Di Liberto, Crosse, Lalor (2018). Electrophysiological correlates of semantic
    dissimilarity reflect the comprehension of natural, narrative speech. Current Biology 28:803.
    https://doi.org/10.1016/j.cub.2018.01.080. Part of the people are those of Di Liberto, O'Sullivan, Lalor (2015).
    Low-frequency cortical entrainment to speech reflects phoneme-level processing. Current Biology 25:2457.
    https://doi.org/10.1016/j.cub.2015.08.030
License
    CC0, both editions.
Where
    OpenNeuro ds004408 (https://doi.org/10.18112/openneuro.ds004408.v1.0.8; BIDS, 512 Hz, with the sounds and their
    words), the edition read by default; Dryad, https://doi.org/10.5061/dryad.070jc ("Natural Speech", MATLAB, 128 Hz,
    without the sounds), which the paper used.
Size
    19 people in 20 runs of about three minutes; 19 GB at OpenNeuro.
By hand
    Nothing for OpenNeuro: :func:`~sk_b2s.datasets.fetch_broderick2019`. Dryad's edition also needs the sounds
    and their words, of OpenNeuro's ``stimuli`` or your own.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._placeholders import is_placeholder
from sk_b2s._utils._text import plain_text
from sk_b2s.datasets._common import (
    as_on_disk,
    choose,
    finish,
    need,
    read_json,
    seconds_of,
    study_root,
    warn_of_missing,
)
from sk_b2s.datasets._matching import match_sequences
from sk_b2s.events._sentences import number_sentences
from sk_b2s.events._stimuli import stimulus_duration
from sk_b2s.io._sidecars import find_sidecar
from sk_b2s.io._textgrid import textgrid_events

STUDY = "broderick2019"
HINT = "Fetch it by sk_b2s.datasets.fetch_broderick2019."
RUNS = tuple(f"{run:02d}" for run in range(1, 21))
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z])")
FORMATS = (".vhdr", ".set", ".bdf", ".edf", ".fif")  # of recordings, the published one first
NAME = re.compile(
    r"sub-([a-zA-Z0-9]+)(?:_ses-[a-zA-Z0-9]+)?_task-listening_run-(\d+)"
    r"(_channels\.tsv|_eeg\.json|_eeg\.(?:vhdr|set|bdf|edf|fif))"
)
MATCHED = 0.8  # share of a run's words that must be in its text


def load_broderick2019(
    root,
    subjects=None,
    runs=None,
    edition="openneuro",
    stimuli=None,
    texts=None,
    sentence_gap=0.4,
    need_recordings=True,
    audio_delay=0.0,
):
    """Read the events of "The Old Man and the Sea".

    Parameters
    ----------
    root : path-like
        Folder of OpenNeuro's ds004408, with ``sub-001`` ...; or that of Dryad, with ``Natural Speech``, or the latter,
        with ``EEG``.
    subjects : str or sequence of str, default=None
        "001" to "019", of either edition; None takes everybody there is.
    runs : str or sequence of str, default=None
        "01" to "20"; None takes all there are.
    edition : {"openneuro", "dryad"}, default="openneuro"
    stimuli : path-like, default=None
        Folder of ``audio01.wav`` (or ``audio1.wav``) ... and, for each, ``audio01.TextGrid`` or Gentle's
        ``align1.json``. None is ``stimuli`` in ``root``; Dryad has none.
    texts : path-like, default=None
        Folder of the text of each run (``oldman_run1.txt`` or ``01.txt`` ...). With it, sentences are
        those of the text; its words are matched with those heard by edit distance. None begins a new sentence
        after a pause.
    sentence_gap : float, default=0.4
        Seconds of silence after which a sentence begins, without ``texts``.
    need_recordings : bool, default=True
        False also lists runs whose recording was not fetched, to plan or to count; at OpenNeuro their length
        is that of ``eeg.json``.
    audio_delay : float or dict, default=0.0
        Seconds by which sound reached the ear later than the tables say, for all or, as in
        :func:`~sk_b2s.read_bids`, by the beginning of the recording's name.

    Returns
    -------
    events : DataFrame
        An events table (:func:`~sk_b2s.check_events`). ``sequence`` is "run/number of the sentence", the
        same for all people; further columns are ``run`` and ``language``.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If a file is malformed, or who or what was asked for is not there.

    Notes
    -----
    Sound and recording of a run begin together. The published decoding code read Dryad's edition with words
    that Gentle aligned, which are not public; near 170 s of run 15 that alignment is off.

    Both editions are recorded against no reference: take ``Epocher(reference="average")``, or for Dryad's the
    mastoids, ``["M1", "M2"]``. OpenNeuro's does not say where the electrodes are: ``montage="biosemi128"`` does.
    Its bad channels are marked, and read with the recording.

    References
    ----------
    .. [1] Broderick et al. (2018). Electrophysiological correlates of semantic dissimilarity reflect the
       comprehension of natural, narrative speech. Current Biology 28:803.
       https://doi.org/10.1016/j.cub.2018.01.080
    """
    root = study_root(root, STUDY, HINT)
    if edition not in ("openneuro", "dryad"):
        raise ValueError(f"{STUDY}: edition must be 'openneuro' or 'dryad', got {edition!r}.")
    if stimuli is None and edition == "dryad":
        raise ValueError(
            f"{STUDY}: Dryad's edition has no sounds; give stimuli=, such as the folder 'stimuli' of "
            f"ds004408."
        )
    stimuli = Path(root / "stimuli" if stimuli is None else stimuli)
    there = find_openneuro(root) if edition == "openneuro" else _dryad(root)
    people = sorted({subject for subject, _ in there})
    heard: dict[str, pd.DataFrame] = {}
    tables, missing = [], []
    for subject in choose("subjects", subjects, people, STUDY):
        for run in choose("runs", runs, sorted({run for _, run in there}), STUDY):
            if (subject, run) not in there:
                missing.append(f"sub-{subject} run-{run}")
                continue
            recording, about = there[subject, run]
            if need_recordings:
                need(recording, STUDY, f"{HINT} To read the tables only, pass need_recordings=False.")
            if run not in heard:
                heard[run] = _heard(stimuli, run, texts, sentence_gap)
            tables.append(
                heard[run].assign(subject=subject, run=run, recording=str(recording), language="en", **about)
            )
    if not tables:
        raise FileNotFoundError(f"{STUDY}: {str(root)!r} has no run that was asked for. {HINT}")
    warn_of_missing(STUDY, "no recording is there of runs that others have or that were asked for", missing)
    return finish(tables, STUDY, need_recordings, audio_delay)


def find_openneuro(root):
    """Recordings of the BIDS edition: {(subject, run): (path, what the tables beside it say)}."""
    found: dict = {}
    others = []
    for path in sorted(root.glob("sub-*/**/eeg/sub-*_*")):
        if not (match := NAME.fullmatch(path.name)):
            others += [path.name] if path.suffix in FORMATS else []
            continue
        stem = Path(str(path).removesuffix(match[3]))
        key = match[1], f"{int(match[2]):02d}"
        recording = next((p for suffix in FORMATS if (p := Path(f"{stem}_eeg{suffix}")).exists()), None)
        if key in found and found[key][0].parent != stem.parent:
            raise ValueError(
                f"{STUDY}: sub-{key[0]} has run {key[1]} twice, {found[key][0]} and {path}; keep one."
            )
        seconds = seconds_of(f"{stem}_eeg.json", STUDY)
        about = {} if np.isnan(seconds) else {"recording_duration": seconds}
        found[key] = recording or Path(f"{stem}_eeg.vhdr"), about
    if not found:
        named = f" There are recordings of other names: {', '.join(others[:3])}." if others else ""
        raise FileNotFoundError(
            f"{STUDY}: {str(root)!r} has no sub-*/eeg/sub-*_task-listening_run-*_eeg.vhdr or "
            f"..._channels.tsv.{named} {HINT} Dryad's files need edition='dryad'."
        )
    warn_of_missing(STUDY, "recordings of other names are not read", others)
    unmarked = [path.name for path, _ in found.values() if not _has_channels(path)]
    warn_of_missing(STUDY, "no channels.tsv says which channels are bad in", unmarked)
    return found


def _has_channels(recording):
    """Tell whether there is a table of channels, which may lie in an outer folder: bool."""
    return find_sidecar(recording, "channels.tsv", root=recording.parents[2]) is not None


def _dryad(root):
    """Recordings of the MATLAB edition: {(subject, run): (path, {})}."""
    folders = [folder for folder in (root / "Natural Speech/EEG", root / "EEG", root) if folder.is_dir()]
    found: dict = {}
    for path in sorted(folders[0].glob("[Ss]ubject*/[Ss]ubject*_[Rr]un*.mat")):
        if match := re.fullmatch(r"Subject(\d+)_Run(\d+)", path.stem, re.IGNORECASE):
            found[f"{int(match[1]):03d}", f"{int(match[2]):02d}"] = path, {}
    if not found:
        raise FileNotFoundError(
            f"{STUDY}: {str(root)!r} has no 'Natural Speech/EEG/Subject1/Subject1_Run1.mat' ... (nor "
            f"'EEG/Subject1' ...; Dryad's other folders are of other experiments). {HINT} OpenNeuro's files "
            f"need edition='openneuro'."
        )
    return found


def _heard(stimuli, run, texts, sentence_gap):
    """What is heard in a run, beginning with its recording."""
    number = int(run)
    wav = _either(stimuli, f"audio{run}.wav", f"audio{number}.wav")
    grid = as_on_disk(stimuli / wav.with_suffix(".TextGrid").name)
    if grid.exists() or is_placeholder(grid):
        rows = textgrid_events(need(grid, STUDY, HINT), sentence_gap=sentence_gap)
    else:
        rows = _gentle(
            _either(stimuli, wav.with_suffix(".TextGrid").name, f"align{run}.json", f"align{number}.json"),
            sentence_gap,
        )
    if texts is not None:
        text = _either(Path(texts), f"oldman_run{number}.txt", f"oldman_run{run}.txt", f"{run}.txt")
        rows = _sentences(rows, text)
    else:
        rows["sequence"] = _numbered(rows)
    rows["sequence"] = run + "/" + rows["sequence"].astype(str)
    sound = pd.DataFrame([{"type": "sound", "sound_onset": 0.0, "duration": stimulus_duration(str(wav))}])
    rows = pd.concat([sound, rows], ignore_index=True)
    return rows.assign(sound=str(wav), onset=rows["sound_onset"], condition="sentence")


def _either(folder, *names):
    """The file of the first name there is."""
    found = [path for name in names if (path := as_on_disk(folder / name)).exists()]
    return need(found[0] if found else folder / names[0], STUDY, f"It may also be {names[-1]!r}. {HINT}")


def _numbered(rows):
    """Number the sentences of a run: a short one may be said again with other words around it."""
    words = rows[rows["type"] == "word"]
    number = pd.Series((words["word_index"] == 0).cumsum() - 1, words.index)
    return number.reindex(rows.index).ffill().fillna(0).astype(int)


def _gentle(path, sentence_gap):
    """Words and phonemes that Gentle aligned, as rows of a TextGrid's events."""
    words, phonemes = [], []
    entries = read_json(path, STUDY).get("words")
    if not isinstance(entries, list):
        raise ValueError(f"{STUDY}: {str(path)!r} lacks the list 'words' of Gentle.")
    for entry in entries:
        if entry["case"] != "success":
            continue
        words.append((entry["start"], entry["end"] - entry["start"], entry["word"]))
        begin = entry["start"]
        for phone in entry["phones"]:
            phonemes.append((begin, phone["duration"], phone["phone"], len(words) - 1))
            begin += phone["duration"]
    if not words:
        raise ValueError(f"{STUDY}: {str(path)!r}: Gentle aligned no word of it.")
    words = pd.DataFrame(words, columns=["sound_onset", "duration", "text"])
    stop = words["sound_onset"] + words["duration"]
    sentence = number_sentences(words["sound_onset"], stop, sentence_gap)
    words["word_index"] = words.groupby(sentence).cumcount().astype(float)
    phonemes = pd.DataFrame(phonemes, columns=["sound_onset", "duration", "text", "word"])
    phonemes["word_index"] = words["word_index"].to_numpy()[phonemes.pop("word")]
    rows = pd.concat([words.assign(type="word"), phonemes.assign(type="phoneme")])
    return rows.sort_values("sound_onset", kind="stable", ignore_index=True)


def _sentences(rows, path):
    """Take the sentences of the text: words heard that are not in it belong to the sentence before."""
    sentences = SENTENCE_END.split(path.read_text(encoding="utf-8").strip())
    written = [(plain_text([w]), n) for n, s in enumerate(sentences) for w in s.split() if plain_text([w])]
    words = rows[rows["type"] == "word"]
    pairs = match_sequences(words["text"].map(lambda text: plain_text([text])), [word for word, _ in written])
    if len(pairs) < MATCHED * len(words):
        raise ValueError(
            f"{STUDY}: only {len(pairs)} of {len(words)} words heard are in {str(path)!r}; is it the text of "
            f"this run?"
        )
    number = pd.Series(np.nan, words.index)
    number.iloc[pairs[:, 0]] = [written[place][1] for place in pairs[:, 1]]
    number = number.ffill().bfill().astype(int)
    index = number.groupby(number).cumcount().astype(float)
    placed = pd.DataFrame({"sequence": number, "word_index": index}).reindex(rows.index).ffill().bfill()
    return rows.assign(sequence=placed["sequence"].astype(int), word_index=placed["word_index"])

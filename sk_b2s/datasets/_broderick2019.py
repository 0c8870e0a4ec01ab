"""The Old Man and the Sea (Broderick et al., 2018): EEG of 19 participants.

Participants listened for an hour, with 128 EEG channels.

Citation
    Broderick, Anderson, Di Liberto, Crosse, Lalor (2018). Electrophysiological
    correlates of semantic dissimilarity reflect the comprehension of natural,
    narrative speech. Current Biology 28:803.
    https://doi.org/10.1016/j.cub.2018.01.080. Some of the participants are
    those of Di Liberto, O'Sullivan, Lalor (2015). Low-frequency cortical
    entrainment to speech reflects phoneme-level processing. Current Biology
    25:2457. https://doi.org/10.1016/j.cub.2015.08.030
License
    CC0, both editions.
Source
    OpenNeuro ds004408 (https://doi.org/10.18112/openneuro.ds004408.v1.0.8,
    BIDS, 512 Hz, with audio and words) is the default. The paper used the
    edition of Dryad (https://doi.org/10.5061/dryad.070jc, "Natural Speech",
    MATLAB, 128 Hz, without audio).
Size
    19 participants in 20 runs of about three minutes. 19 GB at OpenNeuro.
Manual steps
    None for OpenNeuro with :func:`~sk_b2s.datasets.fetch_broderick2019`. The
    edition of Dryad also needs audio and words, for example the folder
    ``stimuli`` of OpenNeuro.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from sk_b2s._utils._placeholders import is_placeholder
from sk_b2s._utils._text import make_plain_text
from sk_b2s.datasets._archives import unpack_archive
from sk_b2s.datasets._download import (
    check_download_subjects,
    describe_manual_download,
    download,
    download_openneuro,
    strip_download_subjects,
)
from sk_b2s.datasets._listings import read_dryad_listing
from sk_b2s.datasets._sequence_matching import match_sequences
from sk_b2s.datasets._study import (
    check_study_root,
    combine_study_tables,
    find_study_file_on_disk,
    read_study_duration,
    read_study_json,
    require_study_file,
    select_study_names,
    warn_of_missing_study_parts,
)
from sk_b2s.events._sentences import number_sentences
from sk_b2s.events._stimuli import stimulus_duration
from sk_b2s.io._sidecars import find_sidecar
from sk_b2s.io._textgrid import textgrid_events

STUDY = "broderick2019"
HINT = "Download it with sk_b2s.datasets.fetch_broderick2019."
DRYAD = "https://datadryad.org"
DRYAD_DOI = "doi:10.5061/dryad.070jc"
OPENNEURO = ("ds004408", "1.0.8")  # data set and version
SUBJECT_BYTES = 1.1e9  # of a subject at OpenNeuro, a little more than the true size
MAX_NESTED_ZIPS = 2
RUNS = tuple(f"{run:02d}" for run in range(1, 21))
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z])")
FORMATS = (".vhdr", ".set", ".bdf", ".edf", ".fif")  # of recordings, the published format first
NAME = re.compile(
    r"sub-([a-zA-Z0-9]+)(?:_ses-[a-zA-Z0-9]+)?_task-listening_run-(\d+)"
    r"(_channels\.tsv|_eeg\.json|_eeg\.(?:vhdr|set|bdf|edf|fif))"
)
MIN_MATCHED = 0.8  # share of the words of a run that must be in its text


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
    """Load the events of The Old Man and the Sea (Broderick et al., 2018).

    Parameters
    ----------
    root : path-like
        Folder of OpenNeuro ds004408 with ``sub-001`` ..., or of Dryad with
        ``Natural Speech``, or the latter folder with ``EEG``.
    subjects : str or sequence of str, default=None
        Subjects, "001" to "019" in both editions. If None, load all that
        exist.
    runs : str or sequence of str, default=None
        Runs, "01" to "20". If None, load all that exist.
    edition : {"openneuro", "dryad"}, default="openneuro"
        Edition in ``root``.
    stimuli : path-like, default=None
        Folder of ``audio01.wav`` (or ``audio1.wav``) ... and, for each,
        ``audio01.TextGrid`` or ``align1.json`` of Gentle. If None, the folder
        ``stimuli`` in ``root``, which the edition of Dryad does not have.
    texts : path-like, default=None
        Folder of the text of each run (``oldman_run1.txt`` or ``01.txt`` ...).
        Sentences are those of the text, whose words are matched with the
        aligned words by edit distance. If None, a silence begins a new
        sentence.
    sentence_gap : float, default=0.4
        Duration of silence in seconds that begins a sentence, without
        ``texts``.
    need_recordings : bool, default=True
        If False, also load runs whose recording was not downloaded. The
        duration of such a recording is read from its ``eeg.json`` (OpenNeuro).
    audio_delay : float or dict, default=0.0
        Delay in seconds of the audio relative to the tables, for all
        recordings or, as in :func:`~sk_b2s.read_bids`, by the beginning of
        their names.

    Returns
    -------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`. ``sequence`` is
        "run/number of the sentence", equal for all subjects. Additional
        columns are ``run`` and ``language``.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If a file is invalid, or if a requested subject or run does not exist.

    See Also
    --------
    fetch_broderick2019 : Download the study.

    Notes
    -----
    Audio and recording of a run begin at the same time. The published decoding
    code used the edition of Dryad with words aligned by Gentle, which are not
    public. That alignment is wrong near 170 s of run 15.

    Both editions have no reference. Use ``Epocher(reference="average")``, or
    for Dryad the mastoids, ``["M1", "M2"]``. The edition of OpenNeuro lacks
    electrode positions, so use ``montage="biosemi128"``. Its bad channels are
    marked, and read with the recording.

    References
    ----------
    .. [1] Broderick et al. (2018). Electrophysiological correlates of semantic
       dissimilarity reflect the comprehension of natural, narrative speech.
       Current Biology 28:803. https://doi.org/10.1016/j.cub.2018.01.080
    """
    root = check_study_root(root, STUDY, HINT)
    if edition not in ("openneuro", "dryad"):
        raise ValueError(f"{STUDY}: 'edition' must be 'openneuro' or 'dryad'. Got {edition!r} instead.")
    if stimuli is None and edition == "dryad":
        raise ValueError(
            f"{STUDY}: the edition of Dryad has no audio. Pass 'stimuli', for example the folder 'stimuli' of OpenNeuro "
            f"ds004408."
        )
    stimuli = Path(root / "stimuli" if stimuli is None else stimuli)
    found = find_broderick2019_openneuro(root) if edition == "openneuro" else _find_dryad(root)
    available = sorted({subject for subject, _ in found})
    stimuli_by_run: dict[str, pd.DataFrame] = {}
    tables, missing = [], []
    for subject in select_study_names("subjects", subjects, available, STUDY):
        for run in select_study_names("runs", runs, sorted({run for _, run in found}), STUDY):
            if (subject, run) not in found:
                missing.append(f"sub-{subject} run-{run}")
                continue
            recording, columns = found[subject, run]
            if need_recordings:
                require_study_file(
                    recording, STUDY, f"{HINT} To load only the tables, pass need_recordings=False."
                )
            if run not in stimuli_by_run:
                stimuli_by_run[run] = _read_natural_speech_stimulus(stimuli, run, texts, sentence_gap)
            columns = {
                "subject": subject,
                "run": run,
                "recording": str(recording),
                "language": "en",
                **columns,
            }
            tables.append(stimuli_by_run[run].assign(**columns))
    if not tables:
        raise FileNotFoundError(f"{STUDY}: {str(root)!r} has no requested run. {HINT}")
    warn_of_missing_study_parts(
        STUDY, "no recording exists for runs that were requested or that other subjects have", missing
    )
    return combine_study_tables(tables, STUDY, need_recordings, audio_delay)


def find_broderick2019_openneuro(root):
    """Find BIDS recordings as {(subject, run): (path, columns)}."""
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
                f"{STUDY}: sub-{key[0]} has run {key[1]} twice, {found[key][0]} and {path}. Keep one."
            )
        seconds = read_study_duration(f"{stem}_eeg.json", STUDY)
        columns = {} if np.isnan(seconds) else {"recording_duration": seconds}
        found[key] = recording or Path(f"{stem}_eeg.vhdr"), columns
    if not found:
        named = f" It has recordings with other names: {', '.join(others[:3])}." if others else ""
        raise FileNotFoundError(
            f"{STUDY}: {str(root)!r} has no sub-*/eeg/sub-*_task-listening_run-*_eeg.vhdr or "
            f"..._channels.tsv.{named} {HINT} For files of Dryad, pass edition='dryad'."
        )
    warn_of_missing_study_parts(STUDY, "recordings with other names are ignored", others)
    unmarked = [path.name for path, _ in found.values() if not _has_channel_table(path)]
    warn_of_missing_study_parts(STUDY, "no channels.tsv lists bad channels of", unmarked)
    return found


def _has_channel_table(recording):
    """Return whether a channel table exists, possibly in an outer folder."""
    return find_sidecar(recording, "channels.tsv", root=recording.parents[2]) is not None


def _find_dryad(root):
    """Find recordings of the MATLAB edition, {(subject, run): (path, {})}."""
    folders = [folder for folder in (root / "Natural Speech/EEG", root / "EEG", root) if folder.is_dir()]
    found: dict = {}
    for path in sorted(folders[0].glob("[Ss]ubject*/[Ss]ubject*_[Rr]un*.mat")):
        if match := re.fullmatch(r"Subject(\d+)_Run(\d+)", path.stem, re.IGNORECASE):
            found[f"{int(match[1]):03d}", f"{int(match[2]):02d}"] = path, {}
    if not found:
        raise FileNotFoundError(
            f"{STUDY}: {str(root)!r} has no 'Natural Speech/EEG/Subject1/Subject1_Run1.mat' ... (nor "
            f"'EEG/Subject1' ...). Other folders of Dryad contain other experiments. {HINT} For files of OpenNeuro, "
            f"pass edition='openneuro'."
        )
    return found


def _read_natural_speech_stimulus(stimuli, run, texts, sentence_gap):
    """Read audio, words and phonemes of a run."""
    number = int(run)
    wav = _find_natural_speech_file(stimuli, f"audio{run}.wav", f"audio{number}.wav")
    grid = find_study_file_on_disk(stimuli / wav.with_suffix(".TextGrid").name)
    if grid.exists() or is_placeholder(grid):
        rows = textgrid_events(require_study_file(grid, STUDY, HINT), sentence_gap=sentence_gap)
    else:
        rows = _read_gentle(
            _find_natural_speech_file(
                stimuli, wav.with_suffix(".TextGrid").name, f"align{run}.json", f"align{number}.json"
            ),
            sentence_gap,
        )
    if texts is not None:
        text = _find_natural_speech_file(
            Path(texts), f"oldman_run{number}.txt", f"oldman_run{run}.txt", f"{run}.txt"
        )
        rows = _assign_dryad_sentences(rows, text)
    else:
        rows["sequence"] = _number_natural_speech_sentences(rows)
    rows["sequence"] = run + "/" + rows["sequence"].astype(str)
    sound = pd.DataFrame([{"type": "sound", "sound_onset": 0.0, "duration": stimulus_duration(str(wav))}])
    rows = pd.concat([sound, rows], ignore_index=True)
    return rows.assign(sound=str(wav), onset=rows["sound_onset"], condition="sentence")


def _find_natural_speech_file(folder, *names):
    """Return the first existing file of several names."""
    found = [path for name in names if (path := find_study_file_on_disk(folder / name)).exists()]
    return require_study_file(
        found[0] if found else folder / names[0], STUDY, f"Its name may also be {names[-1]!r}. {HINT}"
    )


def _number_natural_speech_sentences(rows):
    """Number the sentences of a run in order. A sentence may be repeated."""
    words = rows[rows["type"] == "word"]
    number = pd.Series((words["word_index"] == 0).cumsum() - 1, words.index)
    return number.reindex(rows.index).ffill().fillna(0).astype(int)


def _read_gentle(path, sentence_gap):
    """Read words and phonemes aligned by Gentle as TextGrid events."""
    words, phonemes = [], []
    entries = read_study_json(path, STUDY).get("words")
    if not isinstance(entries, list):
        raise ValueError(
            f"{STUDY}: {str(path)!r} lacks the list 'words' of Gentle. Check that the file is complete."
        )
    for entry in entries:
        if entry["case"] != "success":
            continue
        words.append((entry["start"], entry["end"] - entry["start"], entry["word"]))
        begin = entry["start"]
        for phone in entry["phones"]:
            phonemes.append((begin, phone["duration"], phone["phone"], len(words) - 1))
            begin += phone["duration"]
    if not words:
        raise ValueError(
            f"{STUDY}: {str(path)!r} has no aligned words. Check the text and audio passed to Gentle."
        )
    words = pd.DataFrame(words, columns=["sound_onset", "duration", "text"])
    stop = words["sound_onset"] + words["duration"]
    sentence = number_sentences(words["sound_onset"], stop, sentence_gap)
    words["word_index"] = words.groupby(sentence).cumcount().astype(float)
    phonemes = pd.DataFrame(phonemes, columns=["sound_onset", "duration", "text", "word"])
    phonemes["word_index"] = words["word_index"].to_numpy()[phonemes.pop("word")]
    rows = pd.concat([words.assign(type="word"), phonemes.assign(type="phoneme")])
    return rows.sort_values("sound_onset", kind="stable", ignore_index=True)


def _assign_dryad_sentences(rows, path):
    """Assign words to the sentences of a text.

    An unmatched word belongs to the sentence of the previous word.
    """
    sentences = SENTENCE_END.split(path.read_text(encoding="utf-8").strip())
    written = [
        (make_plain_text([w]), n) for n, s in enumerate(sentences) for w in s.split() if make_plain_text([w])
    ]
    words = rows[rows["type"] == "word"]
    pairs = match_sequences(
        words["text"].map(lambda text: make_plain_text([text])), [word for word, _ in written]
    )
    if len(pairs) < MIN_MATCHED * len(words):
        raise ValueError(
            f"{STUDY}: only {len(pairs)} of {len(words)} aligned words are in {str(path)!r}. Check that it is the text "
            f"of this run."
        )
    number = pd.Series(np.nan, words.index)
    number.iloc[pairs[:, 0]] = [written[place][1] for place in pairs[:, 1]]
    number = number.ffill().bfill().astype(int)
    index = number.groupby(number).cumcount().astype(float)
    placed = pd.DataFrame({"sequence": number, "word_index": index}).reindex(rows.index).ffill().bfill()
    return rows.assign(sequence=placed["sequence"].astype(int), word_index=placed["word_index"])


# --- download ----------------------------------------------------------------------------------------


def fetch_broderick2019(root, subjects=None, edition="openneuro", progress=True):
    """Download The Old Man and the Sea from OpenNeuro or Dryad.

    OpenNeuro ds004408 has about 1 GB for each subject. The license is CC0.

    Parameters
    ----------
    root : path-like
        Folder of the study. Complete files are not downloaded again.
    subjects : str or sequence of str, default=None
        Subjects, "001" to "019". If None, download all. Audio and words are
        always downloaded. Dryad has a single archive of all subjects.
    edition : {"openneuro", "dryad"}, default="openneuro"
        Edition to download.
    progress : bool, default=True
        Show a progress bar for each file. The client of OpenNeuro always does.

    Returns
    -------
    root : Path
        Folder for :func:`load_broderick2019`.

    Raises
    ------
    ImportError
        If openneuro-py is not installed.
    ConnectionError, PermissionError, ValueError, OSError
        As in :func:`fetch_gwilliams2022`.
    """
    requested, root = strip_download_subjects(subjects), Path(root)
    if edition == "dryad":
        if requested is not None:
            raise ValueError(
                "fetch_broderick2019: Dryad has a single archive of all subjects. Pass subjects=None, or use the "
                "edition 'openneuro'."
            )
        return _fetch_dryad(root, progress)
    if edition != "openneuro":
        raise ValueError(f"'edition' must be 'openneuro' or 'dryad'. Got {edition!r} instead.")
    available = {f"{number:03d}" for number in range(1, 20)}
    check_download_subjects(requested, available)
    names = sorted(available if requested is None else requested)
    include = [*(f"sub-{name}" for name in names), "stimuli"]
    n_missing = sum(not (root / f"sub-{name}").is_dir() for name in names)
    return download_openneuro(*OPENNEURO, root, include, n_missing * SUBJECT_BYTES, STUDY)


def _fetch_dryad(root, progress):
    """Download natural speech from Dryad, and unpack nested archives."""
    manual = describe_manual_download(f"{DRYAD}/dataset/{DRYAD_DOI}", root)
    files = read_dryad_listing(DRYAD, quote(DRYAD_DOI, safe=""), manual)
    files = [file for file in files if _is_natural_speech(file.path)] or files
    root = download(files, root, progress)
    pending = [(root / file.path, file.url, 0) for file in files if file.path.endswith(".zip")]
    while pending:
        archive, url, depth = pending.pop(0)
        inner = unpack_archive(archive, root, _choose_dryad_path, url)
        if depth < MAX_NESTED_ZIPS:
            source = f"{url}, {archive.name}"
            pending += [(path, source, depth + 1) for path in inner if path.suffix == ".zip"]
    return root


def _choose_dryad_path(name):
    """Return the path of a member, None for archives of other experiments."""
    return None if name.endswith(".zip") and not _is_natural_speech(name) else name


def _is_natural_speech(path):
    """Return whether a file of Dryad contains forward natural speech."""
    name = Path(path).name.lower().replace("_", " ")
    return name.startswith("natural speech") and "reverse" not in name

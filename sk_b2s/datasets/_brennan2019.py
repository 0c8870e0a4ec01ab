"""Alice in Wonderland (Brennan & Hale, 2019): EEG of 49 participants.

Participants listened to chapter one for 12 minutes, with 60 EEG channels.

Citation
    Brennan & Hale (2019). Hierarchical structure guides rapid linguistic
    predictions during naturalistic listening. PLOS ONE 14:e0207741.
    https://doi.org/10.1371/journal.pone.0207741
License
    CC BY 4.0.
Source
    Deep Blue Data, https://doi.org/10.7302/Z29C6VNH (MATLAB, 56 files:
    bg257f92t), and a deposit of 2023 with the same recordings as BrainVision
    files, https://doi.org/10.7302/746w-g237 (bn999738r). NEMAR has the latter
    in BIDS, nm000180, https://doi.org/10.82901/nemar.nm000180.
Size
    About 9 GB of ``S01.mat`` ... ``S49.mat``, or 4 GB of BrainVision files,
    with ``audio.zip``, ``proc.zip`` and ``AliceChapterOne-EEG.csv``.
Manual steps
    None. :func:`~sk_b2s.datasets.fetch_brennan2019` also unpacks ``proc.zip``
    and ``audio.zip`` in the folder. NEMAR's copy is downloaded at
    https://nemar.org.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from scipy.io import loadmat

from sk_b2s.datasets._archives import unpack_archive
from sk_b2s.datasets._download import (
    check_download_subjects,
    describe_manual_download,
    download,
    strip_download_subjects,
)
from sk_b2s.datasets._listings import read_deep_blue_listing
from sk_b2s.datasets._sequence_matching import match_nearest_time
from sk_b2s.datasets._study import (
    check_study_root,
    combine_study_tables,
    find_study_file_on_disk,
    read_study_tsv,
    require_study_file,
    select_study_names,
    warn_of_missing_study_parts,
)
from sk_b2s.events._stimuli import stimulus_duration
from sk_b2s.events._table_times import check_table_times_of_last_word
from sk_b2s.io._textgrid import textgrid_events

STUDY = "brennan2019"
HINT = "Download it with sk_b2s.datasets.fetch_brennan2019."
DEEP_BLUE = "https://deepblue.lib.umich.edu/data"
DEEP_BLUE_WORKS = {"matlab": "bg257f92t", "brainvision": "bn999738r"}  # of each edition
RECORDING = re.compile(r"(S\d+)\.(?:mat|vhdr|vmrk|eeg)")
SFREQ = 500.0
N_BEFORE = 150  # samples from the begin of a trial to its word, as in the third column of the trials
PUBLISHED_SHIFT = -0.298  # s; the published code uses the first sample of a trial, counted from 1
LOW_SCORES = ("S07", "S09", "S23", "S24", "S27", "S30", "S32", "S43")
ALL = tuple(f"S{number:02d}" for number in [*range(1, 28), 30, 32, *range(34, 46), 48])  # with trials
LATE_START = (
    "S24",
    "S26",
    "S27",
    "S30",
    "S32",
    "S34",
    "S35",
    "S36",
)  # recorded from the second audio file on
SUBJECTS = {
    "authors": tuple(name for name in ALL if name not in (*LOW_SCORES, "S02")),
    "reference": tuple(name for name in ALL if name not in (*LATE_START, "S02")),
    "all": ALL,
}
OPTIONAL_COLUMNS = {
    "Order": "order",
    "LogFreq": "log_freq",
    "SndPower": "snd_power",
    "IsLexical": "is_lexical",
    "NGRAM": "ngram",
    "RNN": "rnn",
    "CFG": "cfg",
}  # fmt: skip
MAX_TABLE_ERROR = 0.005  # s; tables of NEMAR are one sample late
MIN_TABLE = 0.9  # share of the words of such a table that must be at trials
MAX_INTERVAL_ERROR = 0.3  # s, difference between the interval of two audio files and the first duration


def load_brennan2019(
    root, subjects="authors", onset_shift=0.0, textgrids=None, need_recordings=True
):  # fmt: skip
    """Load the events of Alice in Wonderland (Brennan & Hale, 2019).

    Parameters
    ----------
    root : path-like
        Folder with ``S01.mat`` ... (or ``S01.vhdr`` ...), ``proc``, ``audio``
        and ``AliceChapterOne-EEG.csv``. Or folder of NEMAR nm000180, with
        ``sub-001`` ..., ``stimuli`` and ``sourcedata``.
    subjects : {"authors", "reference", "all"} or sequence of str, \
            default="authors"
        "authors" are the 33 subjects in the analysis of the study. "reference"
        are the 33 subjects of the published decoding code, which includes four
        with low comprehension scores (S07, S09, S23, S43) and excludes four
        whose recording begins after the first audio file (S26, S34, S35, S36).
        "all" are the 42 subjects with trials. Otherwise, labels such as "S01".
    onset_shift : float, default=0.0
        Seconds added to all onsets. Trials begin 150 samples before their
        word. The published code takes the begin of the trial for the onset of
        the word, which ``onset_shift=-0.298`` reproduces.
    textgrids : path-like, default=None
        Folder of ``DownTheRabbitHoleFinal_SoundFile1.TextGrid`` ..., to load
        phonemes. If None, there are no phonemes.
    need_recordings : bool, default=True
        If False, also load trials of subjects whose recording was not
        downloaded. Such a recording ends 10 s after the last event.

    Returns
    -------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`. ``sequence`` is
        "alice/number of the sentence", equal for all subjects. ``word_index``
        counts from 0. Additional columns from the csv file are ``order``,
        ``log_freq``, ``snd_power``, ``is_lexical``, ``ngram``, ``rnn`` and
        ``cfg``.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If trials do not match the words, or if a subject does not exist.

    Warns
    -----
    UserWarning
        If the folder of NEMAR lacks recordings of a set of subjects. It has 45
        of 49.

    See Also
    --------
    fetch_brennan2019 : Download the study.

    Notes
    -----
    A trial has the time of its word in the recording and in the audio, and
    thereby the onset of the audio. These onsets agree up to 2 ms, the duration
    of a sample. Their median is the onset of the audio.

    In the trials of eight subjects whose recording begins after the first
    audio file, the second file is labeled as the first one and has its words,
    and so on. This loader identifies audio files by the intervals between
    them, and assigns each its own words, at its onset plus their time in the
    audio.

    The tables ``events.tsv`` of NEMAR repeat the error in these subjects, and
    their onsets are one sample late. They are used only to check that trials
    and recording belong to the same subject.

    References
    ----------
    .. [1] Brennan & Hale (2019). Hierarchical structure guides rapid
       linguistic predictions during naturalistic listening. PLOS ONE
       14:e0207741. https://doi.org/10.1371/journal.pone.0207741
    """
    root = check_study_root(root, STUDY, HINT)
    is_bids = find_study_file_on_disk(root / "sourcedata/AliceChapterOne-EEG.csv").exists()
    source = root / "sourcedata" if is_bids else root
    folder = _find_unpacked(source, "proc", "S*.mat")
    available = sorted(
        path.stem.upper() for path in folder.iterdir() if re.fullmatch(r"(?i)s\d+\.mat", path.name)
    )
    is_set = isinstance(subjects, str) and subjects in SUBJECTS
    if is_set:
        subjects = SUBJECTS[subjects]
    audio = root / "stimuli" if is_bids else _find_unpacked(root, "audio", "*.wav")
    stimuli, durations = _read_alice_stimuli(source, audio, textgrids)
    tables, missing = [], []
    for subject in select_study_names("subjects", subjects, available, STUDY):
        recording = _find_alice_recording(root, subject, is_bids)
        if need_recordings and is_bids and is_set and not recording.exists():
            missing.append(recording.name)
            continue
        if need_recordings:
            require_study_file(
                recording, STUDY, f"{HINT} To load only the trials, pass need_recordings=False."
            )
        trials = _read_alice_trials(folder / f"{subject}.mat")
        if is_bids:
            _check_alice_table(recording, trials)
        onsets = _find_audio_onsets(trials, durations, folder / f"{subject}.mat")
        table = _place_alice_events(stimuli, trials, onsets, onset_shift, folder / f"{subject}.mat")
        tables.append(table.assign(subject=subject, recording=str(recording)))
    if not tables:
        raise FileNotFoundError(
            f"{STUDY}: {str(root)!r} has no recording of {', '.join(missing[:3])} ... {HINT}"
        )
    warn_of_missing_study_parts(STUDY, "this edition lacks the recordings", missing)
    return combine_study_tables(tables, STUDY, need_recordings)


def _find_unpacked(root, name, pattern):
    """Return the folder of an archive, or its inner folder of that name."""
    folder = require_study_file(root / name, STUDY, f"Unpack {name}.zip into it. {HINT}")
    inner = find_study_file_on_disk(folder / name)
    return inner if inner.is_dir() and not any(folder.glob(pattern)) else folder


def _find_alice_recording(root, subject, is_bids):
    """Return the path of a recording in BrainVision or MATLAB format."""
    if is_bids:
        name = f"sub-{int(subject[1:]):03d}"
        return root / name / f"eeg/{name}_task-alicelistening_eeg.vhdr"
    paths = [find_study_file_on_disk(root / f"{subject}{suffix}") for suffix in (".vhdr", ".mat")]
    return next((path for path in paths if path.exists()), root / f"{subject}.mat")


def _check_alice_table(recording, trials):
    """Check that a table of NEMAR has the onsets of the trials."""
    path = recording.with_name(recording.name.replace("_eeg.vhdr", "_events.tsv"))
    if not path.exists():
        return
    table = read_study_tsv(path, STUDY, ["onset", "trial_type"])
    onset = (
        pd.to_numeric(table.loc[table["trial_type"] == "word", "onset"], errors="coerce").dropna().to_numpy()
    )
    expected = np.sort(trials["onset"].to_numpy())
    near = np.abs(expected[match_nearest_time(onset, expected)] - onset) < MAX_TABLE_ERROR
    if len(onset) == 0 or near.mean() < MIN_TABLE:
        raise ValueError(
            f"{STUDY}: {str(path)!r}: {near.sum()} of {len(onset)} words are at one of {len(expected)} trials of this "
            f"subject ({MIN_TABLE:.0%} are required). Check that sourcedata/proc and the recording have the same version."
        )


def _read_alice_stimuli(root, audio, textgrids):
    """Read the events in each audio file, and the durations of the files."""
    path = require_study_file(root / "AliceChapterOne-EEG.csv", STUDY, HINT)
    table = pd.read_csv(path, keep_default_na=False, encoding="utf-8-sig")
    required = ["Word", "Segment", "onset", "offset", "Position", "Sentence"]
    known = {name.casefold(): name for name in (*required, *OPTIONAL_COLUMNS)}
    table = table.rename(columns=lambda name: known.get(name.strip().casefold(), name))
    if missing := [column for column in required if column not in table]:
        raise ValueError(f"{STUDY}: {str(path)!r} lacks the columns {missing}. It has {list(table)}.")
    for column in set(required) - {"Word"}:
        wrong = pd.to_numeric(table[column], errors="coerce").isna()
        if wrong.any():
            row = int(wrong.idxmax())
            raise ValueError(
                f"{STUDY}: {str(path)!r}, line {row + 2}, column {column!r}: expected a number. Got "
                f"{table[column][row]!r} instead. Check that the file is complete and has no decimal commas."
            )
        table[column] = pd.to_numeric(table[column])
    sounds = {
        number: str(
            require_study_file(
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
    missing = [name for name in OPTIONAL_COLUMNS if name not in table]
    warn_of_missing_study_parts(STUDY, f"{path.name} of this edition and the events lack", missing)
    optional = [name for name in OPTIONAL_COLUMNS if name in table]
    words = words.join(table[optional].rename(columns=OPTIONAL_COLUMNS))
    for number, onset in words.groupby("number")["sound_onset"].max().items():
        check_table_times_of_last_word(sounds[number], onset, STUDY)
    durations = {number: stimulus_duration(sound) for number, sound in sounds.items()}
    audio_rows = pd.DataFrame({"type": "sound", "number": list(sounds), "sound": list(sounds.values()),
                          "sound_onset": 0.0, "duration": list(durations.values())})  # fmt: skip
    parts = [audio_rows, words]
    if textgrids is not None:
        parts += [_read_alice_phonemes(textgrids, number, sounds[number], words) for number in sounds]
    return pd.concat(parts, ignore_index=True).assign(language="en"), durations


def _read_alice_phonemes(folder, number, sound, words):
    """Read the phonemes of an audio file, with the word of each."""
    path = require_study_file(
        Path(folder) / f"DownTheRabbitHoleFinal_SoundFile{number}.TextGrid",
        STUDY,
        "Provide a TextGrid for every audio file, or omit phonemes with textgrids=None.",
    )
    rows = textgrid_events(path)
    rows = rows[rows["type"] == "phoneme"].drop(columns=["sequence", "word_index"])
    words = words[words["number"] == number].sort_values("sound_onset")
    after = np.searchsorted(
        words["sound_onset"].to_numpy(), rows["sound_onset"].to_numpy() + 1e-3, side="right"
    )
    word = words[["sequence", "word_index"]].iloc[np.maximum(after - 1, 0)].set_axis(rows.index)
    return rows.assign(number=number, sound=sound).join(word)


def _read_alice_trials(path):
    """Read the trials of a recording.

    Columns are ``label`` of the audio file, and the ``onset`` of the word in
    the recording and ``tmin`` in the audio file (s).
    """
    path = require_study_file(path, STUDY, HINT)
    try:
        proc = loadmat(path, squeeze_me=True, simplify_cells=True)["proc"]
        trials, names = np.atleast_2d(proc["trl"]), [str(name) for name in np.atleast_1d(proc["varnames"])]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{STUDY}: {str(path)!r}: expected a struct 'proc' with 'trl' and 'varnames', but it lacks {error}. {HINT}"
        ) from error
    except Exception as error:  # scipy raises many types of errors for invalid bytes
        raise ValueError(
            f"{STUDY}: {str(path)!r} cannot be read: {type(error).__name__}: {error}. Check that it is complete, and "
            f"of a MATLAB version below 7.3."
        ) from error
    names = names[: trials.shape[1] - 3]  # S02 lists three more
    if not {"segment", "tmin"} <= set(names):
        raise ValueError(
            f"{STUDY}: {str(path)!r}: the columns of 'trl' must be begin, end, offset, and include 'segment' and 'tmin'. "
            f"Got {names} after the first three."
        )
    if (trials[:, 2] != -N_BEFORE).any():
        raise ValueError(
            f"{STUDY}: {str(path)!r}: trials must begin {N_BEFORE} samples before their word. Got an offset of "
            f"{trials[trials[:, 2] != -N_BEFORE, 2][0]:g} instead."
        )
    label, tmin = (trials[:, 3 + names.index(name)] for name in ("segment", "tmin"))
    onset = (trials[:, 0] - 1 + N_BEFORE) / SFREQ  # samples are counted from 1
    return pd.DataFrame({"label": label.astype(int), "onset": onset, "tmin": tmin})


def _find_audio_onsets(trials, durations, path):
    """Find the onset (s) in the recording of each audio file."""
    onsets = (trials["onset"] - trials["tmin"]).groupby(trials["label"])
    if (spread := onsets.max() - onsets.min()).max() > 0.01:
        raise ValueError(
            f"{STUDY}: {str(path)!r}: the onset of audio file {spread.idxmax()} differs by {spread.max():.3f} s between "
            f"trials. Check that words and trials belong to the same edition."
        )
    return _identify_alice_audio(onsets.median(), durations, path)


def _identify_alice_audio(onsets, durations, path):
    """Identify audio files by the intervals between their onsets."""
    numbers, intervals = np.array(sorted(durations)), np.diff(onsets.to_numpy())
    seconds = np.array([durations[number] for number in numbers])
    errors = []
    for first in range(len(numbers) - len(onsets) + 1):
        expected = seconds[first : first + len(intervals)]
        errors.append(np.abs(intervals - expected).max(initial=0.0))
    if not errors or min(errors) > MAX_INTERVAL_ERROR:
        best = f", with a smallest error of {min(errors):.3f} s" if errors else ""
        raise ValueError(
            f"{STUDY}: {str(path)!r}: the intervals of {len(onsets)} audio onsets do not match the durations of "
            f"{len(numbers)} audio files{best} ({MAX_INTERVAL_ERROR} s is allowed). Check that all files are complete."
        )
    first = int(np.argmin(errors))
    return dict(zip(numbers[first : first + len(onsets)], onsets, strict=True))


def _place_alice_events(stimuli, trials, onsets, shift, path):
    """Place events at their trials, or after the onset of their audio."""
    events = stimuli[stimuli["number"].isin(list(onsets))]
    onset = events["number"].map(onsets) + events["sound_onset"]
    words = events.index[events["type"] == "word"]
    if len(trials) == len(words) and onsets.keys() == set(trials["label"]):
        error = np.abs(trials["tmin"].to_numpy() - events.loc[words, "sound_onset"])
        if (wrong := (error > 1e-3).to_numpy()).any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"{STUDY}: {str(path)!r} and AliceChapterOne-EEG.csv contradict each other: the onset of word "
                f"{first + 1}, {events['text'][words[first]]!r}, differs by {error.iloc[first]:.3f} s. Check that both "
                f"belong to the same edition."
            )
        onset[words] = trials["onset"].to_numpy()
    return events.drop(columns="number").assign(onset=onset + shift)


# --- download ----------------------------------------------------------------------------------------


def fetch_brennan2019(root, subjects=None, progress=True, edition="matlab"):
    """Download Alice in Wonderland from Deep Blue Data, and unpack it.

    The study has about 9 GB, or 4 GB as BrainVision files. The license is CC
    BY 4.0.

    Parameters
    ----------
    root : path-like
        Folder of the study. Complete files are not downloaded again, and
        partial downloads are resumed.
    subjects : str or sequence of str, default=None
        Subjects whose recordings are downloaded, "S01" to "S49". If None,
        download all. Trials, audio and words are always downloaded.
    progress : bool, default=True
        Show a progress bar for each file.
    edition : {"matlab", "brainvision"}, default="matlab"
        Deposit to download: the first one, or that of 2023 with BrainVision
        files. Both have the same recordings, and the loader uses BrainVision
        files if a folder has both.

    Returns
    -------
    root : Path
        Folder for :func:`load_brennan2019`.

    Raises
    ------
    ConnectionError, PermissionError, ValueError, OSError
        As in :func:`fetch_gwilliams2022`.
    """
    if edition not in DEEP_BLUE_WORKS:
        raise ValueError(f"'edition' must be 'matlab' or 'brainvision'. Got {edition!r} instead.")
    work, requested = DEEP_BLUE_WORKS[edition], strip_download_subjects(subjects)
    manual = describe_manual_download(f"{DEEP_BLUE}/concern/data_sets/{work}", root)
    if edition == "brainvision":
        manual += " The page also offers a transfer with Globus."
    files = read_deep_blue_listing(DEEP_BLUE, work, manual)
    subject_of = {file: match[1] for file in files if (match := RECORDING.fullmatch(file.path))}
    check_download_subjects(requested, set(subject_of.values()))
    if requested is not None:
        files = [file for file in files if subject_of.get(file) in (None, *requested)]
    root = download(files, root, progress)
    sources = {file.path: file.url for file in files}
    for folder in ("audio", "proc"):
        if (archive := root / f"{folder}.zip").is_file():
            unpack_archive(archive, root, partial(_choose_alice_path, folder), sources.get(archive.name, ""))
    return root


def _choose_alice_path(folder, name):
    """Return the path of a member, whose name may include the folder."""
    path = PurePosixPath(name)
    return None if "__MACOSX" in path.parts or path.name.startswith(".") else f"{folder}/{path.name}"

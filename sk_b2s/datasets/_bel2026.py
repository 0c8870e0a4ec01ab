"""Le Petit Prince (Bel et al., 2026): MEG of 58 participants in French.

Participants listened to the whole audiobook in nine runs of about ten minutes,
in a system with 306 channels and internal active shielding, at 1000 Hz.

Citation
    Bel, Bonnaire, King, Pallier (2026). Data set of OpenNeuro.
    https://doi.org/10.18112/openneuro.ds007523.v1.0.1. Decoded by d'Ascoli et
    al. (2025). Towards decoding individual words from non-invasive brain
    recordings. Nature Communications 16:10521.
    https://doi.org/10.1038/s41467-025-65499-0
License
    CC0.
Source
    OpenNeuro ds007523, version 1.0.1, BIDS.
Size
    58 participants, 522 recordings of about eleven minutes. 8 GB for each
    participant.
Manual steps
    None with :func:`~sk_b2s.datasets.fetch_bel2026`.
"""

from __future__ import annotations

import re
import warnings
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._caching import CachedFromFile
from sk_b2s._utils._text import make_plain_text, shorten_list
from sk_b2s.datasets._download import check_download_subjects, download_openneuro, strip_download_subjects
from sk_b2s.datasets._sequence_matching import match_nearest_time, match_sequence_times, match_sequences
from sk_b2s.datasets._study import (
    check_study_root,
    combine_study_tables,
    read_study_duration,
    read_study_tsv,
    require_study_file,
    select_study_names,
    warn_of_missing_study_parts,
)
from sk_b2s.events._silence import is_silence
from sk_b2s.events._stimuli import stimulus_duration
from sk_b2s.io._raw._identity import digest_recording_identity
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.io._textgrid import TIERS, read_textgrid

STUDY = "bel2026"
HINT = "Download it with sk_b2s.datasets.fetch_bel2026."
OPENNEURO = ("ds007523", "1.0.1")  # data set and version
SUBJECT_BYTES = 8.5e9
N_SUBJECTS = 58
CHAPTERS = ("1-3", "4-6", "7-9", "10-12", "13-14", "15-19", "20-22", "23-25", "26-27")  # of each run
RUNS = tuple(f"{run:02d}" for run in range(1, len(CHAPTERS) + 1))
BAD_RUNS = {("21", "08"), *(("23", f"{run:02d}") for run in range(1, 5))}
NAME = re.compile(r"sub-([a-zA-Z0-9]+)_ses-01_task-listen_run-(\d+)_(?:events\.tsv|meg\.fif)")
TRIGGER = "STI008"  # returns to 0 when a word begins
EXPECTED = 0.01  # s between a word of the table and its trigger in most runs
TOLERANCES = (EXPECTED, 0.03, 0.05, 0.1, 0.2)  # s, the smallest with few unmatched words is used
MAX_UNMATCHED = 5  # words without a trigger in most runs
MIN_MATCHED = 0.9  # share of words that must have a trigger, or be in the text
SHIFTS = np.arange(-0.2, 0.2025, 0.005)  # s between table and triggers that are tried
MAX_RESIDUAL = 0.05  # s, median distance of words from their times in the audio


def load_bel2026(
    root,
    subjects=None,
    runs=None,
    bad_runs="drop",
    phonemes=True,
    memory=None,
    return_report=False,
    need_recordings=True,
    audio_delay=0.0,
):
    """Load the events of Le Petit Prince (Bel et al., 2026).

    The tables contain the onsets of words in a recording, and the trigger
    channel STI008 marks the same words. Each word is matched with the nearest
    trigger, whose time is used. Tables agree with triggers within 10 ms in
    most runs, and within 200 ms in 17 runs.

    Parameters
    ----------
    root : path-like
        Folder of OpenNeuro ds007523, with ``sub-01`` ... and ``sourcedata``.
    subjects : str or sequence of str, default=None
        Subjects, "01" to "58". If None, load all that exist.
    runs : str or sequence of str, default=None
        Runs, "01" to "09". If None, load all that exist.
    bad_runs : {"drop", "keep"}, default="drop"
        Whether to omit runs that the published analyses omitted: run 08 of
        subject 21, and runs 01 to 04 of subject 23.
    phonemes : bool or str, default=True
        Whether to read phonemes from the TextGrids, or the name of their tier.
        If True, the tier has a common name, such as "phones" or "MAU".
    memory : None, str or joblib.Memory, default=None
        Cache folder for the triggers, as every recording is read to find them.
        If None, nothing is cached. The folder contains pickle files, which can
        run code when they are read. Use a folder that only you can write to.
    return_report : bool, default=False
        If True, also return how well tables and triggers agree.
    need_recordings : bool, default=True
        If False, also load runs whose recording was not downloaded. Their
        onsets are those of the tables, on an unknown clock.
    audio_delay : float or dict, default=0.0
        Delay in seconds of the audio relative to the triggers, for all
        recordings or, as in :func:`~sk_b2s.read_bids`, by the beginning of
        their names.

    Returns
    -------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`. ``sequence`` is
        "run/number of the sentence", equal for all subjects. Additional
        columns are ``run`` and ``language``.
    report : DataFrame of shape (n_recordings, 9)
        Agreement of table and recording, only if ``return_report``. Columns
        are ``subject``, ``run``, ``n_words`` in the table, ``n_triggers``,
        ``n_matched`` words, ``n_text`` of them in the text, ``shift`` and
        ``largest`` (ms), the median and maximum deviation of triggers from the
        table, and ``residual`` (ms), the maximum deviation of words from the
        audio. Values of a missing recording are NaN.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If a file is invalid, if a requested subject or run does not exist, or
        if fewer than 90 % of the words of a run match its triggers or its
        text.

    Warns
    -----
    UserWarning
        If runs are missing or omitted, or if words are more than 10 ms from
        their triggers. The runs are named.

    See Also
    --------
    fetch_bel2026 : Download the study.

    Notes
    -----
    Recordings were acquired with MaxShield and were not processed. Suppress
    interference with :func:`mne.preprocessing.maxwell_filter` and the files
    for calibration and crosstalk of each subject, and save the result under
    the same name in a copy of the folder. Without it, MEG channels cannot be
    interpolated (``bads="interpolate"``).

    The zero of the published tables could not be confirmed. It is either the
    start of acquisition or the first sample, and the one that agrees with the
    triggers is used for each run. A constant shift of up to 200 ms is allowed
    too, and reported.

    References
    ----------
    .. [1] Bel et al. (2026). Data set ds007523 of OpenNeuro.
       https://doi.org/10.18112/openneuro.ds007523.v1.0.1
    .. [2] d'Ascoli et al. (2025). Towards decoding individual words from
       non-invasive brain recordings. Nature Communications 16:10521.
       https://doi.org/10.1038/s41467-025-65499-0
    """
    root = check_study_root(root, STUDY, HINT)
    if bad_runs not in ("drop", "keep"):
        raise ValueError(f"{STUDY}: 'bad_runs' must be 'drop' or 'keep'. Got {bad_runs!r} instead.")
    found = _find_bel_runs(root)
    texts: dict[str, tuple] = {}
    tables, report, missing, omitted = [], [], [], []
    for subject in select_study_names("subjects", subjects, sorted({key[0] for key in found}), STUDY):
        for run in select_study_names("runs", runs, sorted({key[1] for key in found}), STUDY):
            name = f"sub-{subject} run-{run}"
            if (subject, run) not in found:
                missing.append(name)
                continue
            if bad_runs == "drop" and (subject, run) in BAD_RUNS:
                omitted.append(name)
                continue
            stem = found[subject, run]
            recording = Path(f"{stem}_meg.fif")
            if need_recordings:
                advice = f"{HINT} To load only the tables, pass need_recordings=False."
                recording = require_study_file(recording, STUDY, advice)
            if run not in texts:
                texts[run] = _read_bel_text(root, run, phonemes)
            words, agreement = _read_bel_words(Path(f"{stem}_events.tsv"), recording, memory)
            rows, agreement["n_text"], agreement["residual"] = _place_bel_text(words, *texts[run], name)
            seconds = read_study_duration(f"{stem}_meg.json", STUDY)
            if not np.isnan(seconds):
                rows["recording_duration"] = seconds
            columns = {"subject": subject, "run": run, "recording": str(recording), "language": "fr"}
            tables.append(rows.assign(**columns, condition="story"))
            report.append({"subject": subject, "run": run, **agreement})
    if not tables:
        raise FileNotFoundError(f"{STUDY}: {str(root)!r} has no requested run that is not omitted. {HINT}")
    warn_of_missing_study_parts(STUDY, "no table exists for runs that were requested or that other subjects have", missing)  # fmt: skip
    warn_of_missing_study_parts(STUDY, "runs known to be bad are omitted (keep them with bad_runs='keep')", omitted)  # fmt: skip
    report = pd.DataFrame(report)
    _warn_of_deviations(report)
    events = combine_study_tables(tables, STUDY, need_recordings, audio_delay)
    columns = [
        "subject",
        "run",
        "n_words",
        "n_triggers",
        "n_matched",
        "n_text",
        "shift",
        "largest",
        "residual",
    ]
    return (events, report[columns]) if return_report else events


def _find_bel_runs(root):
    """Find {(subject, run): path without its last part}."""
    found: dict = {}
    for path in sorted(root.glob("sub-*/ses-01/meg/sub-*_task-listen_*")):
        if match := NAME.fullmatch(path.name):
            found[match[1], f"{int(match[2]):02d}"] = path.with_name(path.name.rpartition("_")[0])
    if not found:
        raise FileNotFoundError(
            f"{STUDY}: {str(root)!r} has no sub-*/ses-01/meg/sub-*_ses-01_task-listen_run-*_events.tsv. {HINT}"
        )
    if unknown := sorted({run for _, run in found} - set(RUNS)):
        raise ValueError(f"{STUDY}: {str(root)!r} has the runs {unknown}. Expected {RUNS[0]} to {RUNS[-1]}.")
    return found


# --- text and audio ----------------------------------------------------------------------------------


def _read_bel_text(root, run, phonemes):
    """Read the audio, words and phonemes of a run."""
    folder, chapters = root / "sourcedata", CHAPTERS[int(run) - 1]
    sound = require_study_file(folder / f"stimuli/audio/ch{chapters}.wav", STUDY, HINT)
    path = require_study_file(folder / f"task-listen_run-{run}_extra_info.tsv", STUDY, HINT)
    content = path.read_text(encoding="utf-8-sig")
    separator = "\t" if "\t" in content.partition("\n")[0] else ","  # version 1.0.1 has commas
    try:
        table = pd.read_csv(StringIO(content), sep=separator, keep_default_na=False)
        missing = [name for name in ("onset", "duration", "word", "sequence_id") if name not in table]
        if missing:
            raise ValueError(f"it lacks the columns {missing} and has {list(table)}")
        words = pd.DataFrame({
            "sound_onset": table["onset"].astype(float),
            "text": table["word"].astype(str).str.strip(),
            "sequence": run + "/" + table["sequence_id"].astype(float).astype(int).astype(str),
        })  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{STUDY}: {str(path)!r} is not a table of words: {error}.") from error
    words = words[words["text"] != ""].sort_values("sound_onset", kind="stable", ignore_index=True)
    words["word_index"] = words.groupby("sequence").cumcount().astype(float)
    spoken = None
    if phonemes is not False:
        grid = folder / f"stimuli/phonemes/ch{chapters}.TextGrid"
        advice = f"{HINT} Without phonemes, pass phonemes=False."
        spoken = _read_bel_phonemes(require_study_file(grid, STUDY, advice), phonemes)
    return sound, words, spoken


def _read_bel_phonemes(path, phonemes):
    """Read the tier of phonemes of a TextGrid."""
    tiers = read_textgrid(path)
    fits = [
        name
        for name in tiers
        if (name == phonemes if phonemes is not True else name.split(" - ")[-1].strip().lower() in TIERS["phoneme"])
    ]  # fmt: skip
    if len(fits) != 1:
        raise ValueError(
            f"{STUDY}: {str(path)!r} must have one tier of phonemes. It has the tiers {list(tiers)}. Pass the name of "
            f"the tier as 'phonemes', or phonemes=False. Got {phonemes!r}."
        )
    tier = tiers[fits[0]].rename(columns={"onset": "sound_onset"})
    return tier[~is_silence(tier["text"])].reset_index(drop=True)


# --- recordings --------------------------------------------------------------------------------------


def _read_bel_words(path, recording, memory):
    """Read the words of a run, at the times of their triggers."""
    path = require_study_file(path, STUDY, HINT)
    table = read_study_tsv(path, STUDY, ["onset", "duration", "trial_type", "stimulus"])
    kind = table["trial_type"].astype(str)
    is_word = (kind == "Word") & table["stimulus"].fillna("").astype(str).str.strip().ne("")
    words = pd.DataFrame(
        {
            "onset": pd.to_numeric(table["onset"], "coerce"),
            "duration": pd.to_numeric(table["duration"], "coerce"),
            "text": table["stimulus"].astype(str).str.strip(),
        }
    )[is_word]
    if (unknown := words[["onset", "duration"]].isna().any(axis=1)).any():
        raise ValueError(
            f"{STUDY}: {str(path)!r}, row {unknown.idxmax() + 2}: onset and duration must be seconds. Got "
            f"{table.loc[unknown.idxmax(), ['onset', 'duration']].tolist()} instead."
        )
    if words.empty:
        raise ValueError(
            f"{STUDY}: {str(path)!r} has no row with the trial_type 'Word'. It has {sorted(set(kind))[:8]}."
        )
    words = words.sort_values("onset", kind="stable", ignore_index=True)
    agreement: dict = {"n_words": len(words)}
    if not recording.exists():
        unknown = dict.fromkeys(("n_triggers", "n_matched", "shift", "largest"), np.nan)
        return words, {**agreement, **unknown}
    triggers, first_time = CachedFromFile(
        _find_bel_triggers, str(recording), digest_recording_identity, memory
    )()
    words["onset"], matched = _match_bel_triggers(words["onset"].to_numpy(), triggers, first_time, recording)
    return words, {**agreement, **matched}


def _find_bel_triggers(path, stamp):
    """Find the times (s) of STI008 returning to 0, and the first time."""
    raw = read_raw(path)
    if TRIGGER not in raw.ch_names:
        channels = [name for name in raw.ch_names if name.startswith("STI")]
        raise ValueError(
            f"{STUDY}: {path!r} has no trigger channel {TRIGGER}. It has {', '.join(channels) or 'none'}. Check that the "
            f"file is an original of OpenNeuro."
        )
    is_on = raw.get_data(picks=[TRIGGER], verbose="ERROR")[0] != 0
    return (np.flatnonzero(is_on[:-1] & ~is_on[1:]) + 1) / raw.info["sfreq"], float(raw.first_time)


def _match_bel_triggers(onset, triggers, first_time, recording):
    """Return onsets in the recording, and the agreement with triggers.

    Words without a trigger are shifted as their neighbors.
    """
    expected, pairs = onset, np.empty((0, 2), int)
    if len(triggers):
        clock, shift = max(
            ((clock, shift) for clock in dict.fromkeys((first_time, 0.0)) for shift in SHIFTS),
            key=lambda one: (_count_near(onset - one[0] + one[1], triggers), -abs(one[1])),
        )
        expected = onset - clock
        for within in TOLERANCES:
            pairs = match_sequence_times(expected + shift, triggers, within)
            if within == EXPECTED and len(pairs):
                shift = np.median(triggers[pairs[:, 1]] - expected[pairs[:, 0]])
                pairs = match_sequence_times(expected + shift, triggers, within)
            if len(pairs) >= len(onset) - MAX_UNMATCHED:
                break
    if len(pairs) < MIN_MATCHED * len(onset):
        raise ValueError(
            f"{STUDY}: only {len(pairs)} of {len(onset)} words of the table are within {TOLERANCES[-1] * 1000:g} ms of one "
            f"of {len(triggers)} triggers of {str(recording)!r} ({MIN_MATCHED:.0%} are required). Check that both "
            f"belong together and that the recording is complete, or omit the run with 'runs'."
        )
    deviation = triggers[pairs[:, 1]] - expected[pairs[:, 0]]
    times = expected + np.interp(np.arange(len(onset)), pairs[:, 0], deviation)
    times[pairs[:, 0]] = triggers[pairs[:, 1]]
    return times, {
        "n_triggers": len(triggers),
        "n_matched": len(pairs),
        "shift": np.median(deviation) * 1000,
        "largest": np.abs(deviation).max() * 1000,
    }


def _count_near(expected, triggers):
    """Count words within 10 ms of a trigger."""
    return int((np.abs(triggers[match_nearest_time(expected, triggers)] - expected) <= EXPECTED).sum())


def _place_bel_text(words, sound, text, phonemes, name):
    """Combine words of a recording with their times in the audio.

    Returns the rows, the number of words that are in the text, and their
    largest distance from the audio (ms).
    """
    plain = [[make_plain_text([word]) for word in table["text"]] for table in (words, text)]
    pairs = match_sequences(*plain)
    if len(pairs) < MIN_MATCHED * len(words):
        raise ValueError(
            f"{STUDY}: {name}: only {len(pairs)} of {len(words)} words of the table are in its text ({MIN_MATCHED:.0%} are "
            f"required). Check that table and sourcedata have the same version."
        )
    spoken = words.iloc[pairs[:, 0]].reset_index(drop=True).assign(type="word")
    columns = ["sound_onset", "sequence", "word_index"]
    spoken[columns] = text.iloc[pairs[:, 1]].reset_index(drop=True)[columns]
    begins = (spoken["onset"] - spoken["sound_onset"]).to_numpy()
    begin = np.median(begins)
    if (middle := np.median(np.abs(begins - begin))) > MAX_RESIDUAL:
        raise ValueError(
            f"{STUDY}: {name}: half of the words are {middle * 1000:.0f} ms or more from their time in the audio "
            f"({MAX_RESIDUAL * 1000:g} ms are allowed). Check that table and sourcedata have the same version."
        )
    duration = stimulus_duration(str(sound))
    heard = {"type": "sound", "onset": begin, "sound_onset": 0.0, "duration": duration, "text": None}
    rows = [pd.DataFrame([heard]), spoken]
    if phonemes is not None:
        at = np.searchsorted(spoken["sound_onset"], phonemes["sound_onset"] + EXPECTED, side="right") - 1
        within = (
            phonemes["sound_onset"].to_numpy() < (spoken["sound_onset"] + spoken["duration"]).to_numpy()[at]
        )
        inside = (at >= 0) & within
        said = phonemes[inside].reset_index(drop=True).assign(type="phoneme")
        said[["sequence", "word_index"]] = spoken.iloc[at[inside]].reset_index(drop=True)[
            ["sequence", "word_index"]
        ]
        rows.append(said.assign(onset=said["sound_onset"] + begins[at[inside]]))
    rows = pd.concat(rows, ignore_index=True).sort_values("sound_onset", kind="stable", ignore_index=True)
    return rows.assign(sound=str(sound)), len(pairs), np.abs(begins - begin).max() * 1000


def _warn_of_deviations(report):
    """Warn of runs whose tables do not agree with triggers or text."""
    each = []
    for row in report.itertuples(index=False):
        notes = []
        if row.largest > EXPECTED * 1000:
            notes.append(f"up to {row.largest:.0f} ms, {row.shift:+.0f} ms in the middle")
        if row.n_words - row.n_matched > MAX_UNMATCHED:
            notes.append(f"{row.n_words - row.n_matched:.0f} of {row.n_words} words have no trigger")
        if row.n_words > row.n_text:
            notes.append(f"{row.n_words - row.n_text} words are not in the text and are omitted")
        each += [f"sub-{row.subject} run-{row.run} ({', '.join(notes)})"] if notes else []
    if each:
        warnings.warn(
            f"{STUDY}: words of the table are more than {EXPECTED * 1000:g} ms from their triggers, or do not match, in "
            f"{len(each)} of {len(report)} runs: {shorten_list(each, 20)}. The time of the trigger is used.",
            stacklevel=3,
        )


# --- download ----------------------------------------------------------------------------------------


def fetch_bel2026(root, subjects=None):
    """Download Le Petit Prince from OpenNeuro, ds007523.

    Each subject has about 8 GB, and all have 478 GB. The license is CC0.

    Parameters
    ----------
    root : path-like
        Folder of the study. Complete files are not downloaded again.
    subjects : str or sequence of str, default=None
        Subjects, "01" to "58". If None, download all. Audio and text are
        always downloaded, MRI never.

    Returns
    -------
    root : Path
        Folder for :func:`load_bel2026`.

    Raises
    ------
    ImportError
        If openneuro-py is not installed.
    ConnectionError, ValueError, OSError
        As in :func:`fetch_gwilliams2022`.
    """
    requested, root = strip_download_subjects(subjects), Path(root)
    available = {f"{number:02d}" for number in range(1, N_SUBJECTS + 1)}
    check_download_subjects(requested, available)
    names = sorted(available if requested is None else requested)
    include = [f"sub-{name}/ses-01/meg" for name in names]
    include += ["sourcedata/stimuli", *(f"sourcedata/task-listen_run-{run}_extra_info.tsv" for run in RUNS)]
    n_missing = sum(not (root / folder).is_dir() for folder in include[: len(names)])
    return download_openneuro(*OPENNEURO, root, include, n_missing * SUBJECT_BYTES, STUDY)

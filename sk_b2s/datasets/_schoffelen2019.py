"""MOUS (Schoffelen et al., 2019): MEG of 102 participants listening in Dutch.

Participants listened to sentences and word lists, in a CTF system with 275
channels. 102 other participants read them.

Citation
    Schoffelen, Oostenveld, Lam, Uddén, Hultén, Hagoort (2019). A 204-subject
    multimodal neuroimaging dataset to study language processing. Scientific
    Data 6:17. https://doi.org/10.1038/s41597-019-0020-y
License
    Data use agreement of Radboud University, for registered users.
Source
    https://data.ru.nl, collection DSC_3011020.09_236, version 1
    (https://doi.org/10.34973/37n0-yc51).
Size
    The loader reads 96 participants who listened, 81 hours in the paper. One
    stimulus is a sentence or a word list.
Manual steps
    Download (see the notes of :func:`load_schoffelen2019`) and word alignment.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from scipy.stats import theilslopes

from sk_b2s._utils._caching import CachedFromFile
from sk_b2s._utils._text import make_plain_text, shorten_list
from sk_b2s.datasets._sequence_matching import match_nearest_time, match_sequence_times, match_sequences
from sk_b2s.datasets._study import (
    check_study_root,
    combine_study_tables,
    require_study_file,
    select_study_names,
    warn_of_missing_study_parts,
)
from sk_b2s.io._clocks._clock_fit import MAX_DRIFT
from sk_b2s.io._raw._identity import digest_recording_identity
from sk_b2s.io._raw._recordings import open_recording
from sk_b2s.io._textgrid import textgrid_events

STUDY = "schoffelen2019"
# The study cannot be downloaded without an account, so errors list the steps.
HINT = (
    "MOUS is available to registered users only:\n"
    "1. Log in at https://data.ru.nl with an account of your institution, or with ORCID.\n"
    "2. Request collection DSC_3011020.09_236 (doi:10.34973/37n0-yc51) and accept its terms.\n"
    "3. The page of the collection shows your user name and password for WebDAV.\n"
    "4. In the folder of the study, run\n"
    "    wget -r -nH --cut-dirs=3 -c --user=... --ask-password "
    "https://webdav.data.ru.nl/dccn/DSC_3011020.09_236_v1/sub-<subject>/meg/\n"
    "   and the same for sourcedata/meg_task and stimuli.\n"
    "5. Align the words with WebMAUS, as described in the notes of load_schoffelen2019."
)
INCOMPLETE = ("A2011", "A2036", "A2062", "A2063", "A2076", "A2084")  # two runs, or an incomplete run
SFREQ = 1200.0
FIXATION, CONTEXT = 20, 10  # trigger codes
COLUMNS = ["Subject", "Trial", "Event Type", "Code", "Time"]
LOG_UNIT = 1e-4  # s
CONDITIONS = {"ZINNEN": "sentence", "WOORDEN": "word_list"}
SOUND = re.compile(r"Start File (\d+)\.wav", re.IGNORECASE)
KEY_LENGTH = 45  # letters that identify a sentence, as some trials lost their last word
MIN_TRIGGERS = 40  # matched triggers
TOLERANCE = 0.02  # s between a trigger and its expected time
MAX_LOST = 12  # triggers lost at the beginning of log or recording
MAX_START_DELAY = 1.0  # s from the row with the file name to the row with its onset
MIN_MATCHED = 0.8  # share of the triggers of the log that must be in the recording


def load_schoffelen2019(
    root, subjects=None, textgrids=None, memory=None, return_report=False, audio_delay=0.0
):
    """Load the events of the auditory part of MOUS.

    The log of the presentation software contains the times of stimuli, on the
    clock of its computer. Fixations and the contexts that begin a block also
    sent triggers (20 and 10) to the recording. Both sequences are aligned by
    edit distance, which gives the relation of the clocks. If many triggers are
    lost in a row, the fewest edits are ambiguous, and the offset that matches
    most triggers is used. Each trigger of the log is then matched with the
    nearest one of its kind in the recording. It gives the time of all rows of
    the log up to the next trigger.

    Parameters
    ----------
    root : path-like
        Folder with ``sub-A2002`` ..., ``sourcedata/meg_task``, ``stimuli`` and
        ``derivatives/phonemes``.
    subjects : str or sequence of str, default=None
        Subjects, "A2002" to "A2125". If None, load all that exist, except for
        the six with two runs or an incomplete run. Subjects "V..." read the
        sentences and are not supported.
    textgrids : path-like, default=None
        Folder of the TextGrids of the stimuli. If None,
        ``derivatives/phonemes`` in ``root``.
    memory : None, str or joblib.Memory, default=None
        Cache folder for the triggers, as every recording is read to find them.
        If None, nothing is cached. The folder contains pickle files, which can
        run code when they are read. Use a folder that only you can write to.
    return_report : bool, default=False
        If True, also return how well log and recording agree.
    audio_delay : float or dict, default=0.0
        Delay in seconds of the audio relative to the tables, for all
        recordings or, as in :func:`~sk_b2s.read_bids`, by the beginning of
        their names.

    Returns
    -------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`. ``sequence`` is the
        number of the audio file, which contains one sentence or word list.
        ``condition`` is "sentence" or "word_list". Additional columns are
        ``sequence_uid`` (the line of ``stimuli.txt``, which defines the
        published split) and ``language``.
    report : DataFrame of shape (n_recordings, 10)
        Agreement of log and recording, only if ``return_report``. Columns are
        ``subject``, ``n_log``, ``n_triggers``, ``n_matched``, ``offset`` (s)
        and ``drift_ppm`` of the clocks, ``residual`` and ``largest`` (ms), the
        median and maximum deviation of matched triggers from the line,
        ``n_sounds`` in the log, and ``n_left_out`` of them that began while
        the recording had no triggers.

    Raises
    ------
    FileNotFoundError
        If a file does not exist. The message describes how to get the study.
    ValueError
        If a log is invalid, or if log and recording disagree: fewer than 40
        triggers or 80 % of the log match within 20 ms, or the clocks differ by
        more than 2000 ppm.

    Warns
    -----
    UserWarning
        If stimuli are omitted.

    Notes
    -----
    The study cannot be downloaded automatically, because each user must agree
    to its terms:

    1. Log in at https://data.ru.nl with an account of your institution, or
       with ORCID.
    2. Request collection DSC_3011020.09_236 and accept its terms.
    3. The page of the collection shows your user name and password for WebDAV.
       Download ``sub-<subject>/meg``, ``sourcedata/meg_task`` and ``stimuli``
       of https://webdav.data.ru.nl/dccn/DSC_3011020.09_236_v1, for example
       with ``wget -r -nH --cut-dirs=3 -c --user=... --ask-password``.
    4. Align the words, as the collection has audio and text only. WebMAUS
       (https://clarin.phonetik.uni-muenchen.de/BASWebServices) aligns
       ``stimuli/audio_files/EQ_Ramp_Int2_Int1LPF001.wav`` ... with their lines
       of ``stimuli/stimuli.txt``. Save its TextGrids, named as the audio
       files, in ``derivatives/phonemes``.

    Each subject listened to the sentences in a different order, so blocks must
    not be merged for the published split:
    ``make_segments(block=PaperBlocks(min_duration=0))``. Like the published
    code, the default assumes no delay of the audio.

    References
    ----------
    .. [1] Schoffelen et al. (2019). A 204-subject multimodal neuroimaging
       dataset to study language processing. Scientific Data 6:17.
       https://doi.org/10.1038/s41597-019-0020-y
    """
    root = check_study_root(root, STUDY, HINT)
    available = sorted(path.name.removeprefix("sub-") for path in root.glob("sub-A*") if path.is_dir())
    if subjects is None:
        subjects = [subject for subject in available if subject not in INCOMPLETE]
        if not subjects:
            raise FileNotFoundError(f"{STUDY}: {str(root)!r} has no folders sub-A2002 ... {HINT}")
    elif any(str(one).removeprefix("sub-").startswith("V") for one in np.atleast_1d(subjects)):
        raise ValueError(
            f"{STUDY}: subjects={subjects!r}: subjects V... read the sentences. Use subjects A2002 to A2125, who "
            f"listened."
        )
    folder = root / "derivatives/phonemes" if textgrids is None else Path(textgrids)
    sentences = _read_mous_sentences(root)
    stimuli: dict[int, pd.DataFrame] = {}
    tables, report = [], []
    for subject in select_study_names("subjects", subjects, available, STUDY):
        recording = _find_mous_recording(root / f"sub-{subject}")
        log = _read_mous_log(_find_mous_log(root, subject))
        triggers = CachedFromFile(_find_mous_triggers, str(recording), digest_recording_identity, memory)()
        log["onset"], agreement = _align_mous_log(log, *triggers, recording)
        n_sounds = int(log["number"].notna().sum())
        n_left_out = int((log["number"].notna() & log["onset"].isna()).sum())
        report.append({"subject": subject, **agreement, "n_sounds": n_sounds, "n_left_out": n_left_out})
        for number in set(log["number"].dropna()) - set(stimuli):
            stimuli[number] = _read_mous_stimulus(root, folder, int(number), sentences)
        played = log[log["number"].notna() & log["onset"].notna()]
        rows = [
            stimuli[number].assign(onset=stimuli[number]["sound_onset"] + onset, condition=condition)
            for number, onset, condition in played[["number", "onset", "condition"]].itertuples(index=False)
        ]
        if not rows:
            raise ValueError(
                f"{STUDY}: the log of {subject} has no stimulus within its recording. Check that log and recording belong together."
            )
        tables.append(pd.concat(rows).assign(subject=subject, recording=str(recording), language="nl"))
    report = pd.DataFrame(report)
    if (incomplete := report[report["n_left_out"] > 0]).size:
        each = [
            f"{subject} ({n} of {total})"
            for subject, n, total in incomplete[["subject", "n_left_out", "n_sounds"]].values
        ]
        warnings.warn(
            f"{STUDY}: omitted {incomplete['n_left_out'].sum()} of {incomplete['n_sounds'].sum()} stimuli of "
            f"{len(incomplete)} subjects, {shorten_list(each, 30)}, because they began before the first or after the last "
            f"trigger of the recording.",
            stacklevel=2,
        )
    events = combine_study_tables(tables, STUDY, True, audio_delay)
    return (events, report) if return_report else events


# --- files -------------------------------------------------------------------------------------------


def _find_mous_recording(folder):
    found = [
        path
        for path in sorted(folder.glob("meg/*.ds"))
        if "rest" not in path.name and "visual" not in path.name
    ]
    if not found:
        raise FileNotFoundError(f"{STUDY}: {str(folder / 'meg')!r} has no *_task-auditory_meg.ds. {HINT}")
    warn_of_missing_study_parts(STUDY, f"of several recordings of {folder.name}, {found[-1].name} is used, not", [
        path.name for path in found[:-1]
    ])  # fmt: skip
    return found[-1]


def _find_mous_log(root, subject):
    found = sorted((root / "sourcedata/meg_task").glob(f"*MEG-MOUS-Aud*{subject}.log"))
    if not found:
        raise FileNotFoundError(
            f"{STUDY}: {str(root / 'sourcedata/meg_task')!r} has no *MEG-MOUS-Aud*{subject}.log. {HINT}"
        )
    return require_study_file(found[-1], STUDY, HINT)


def _read_mous_sentences(root):
    """Read the text of every stimulus, by its first letters."""
    path = require_study_file(root / "stimuli/stimuli.txt", STUDY, HINT)
    sentences = {}
    for number, line in enumerate(_read_mous_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        match = re.match(r"\s*\d+\s+(\S.*)", line)
        if not match:
            raise ValueError(
                f"{STUDY}: {str(path)!r}, line {number}: expected a number and a text. Got {line!r} instead."
            )
        sentences[_make_mous_sentence_key(match[1].split())] = match[1].strip()
    return sentences


def _read_mous_text(path):
    """Read a text in UTF-8, or in Latin-1, which some copies use."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _make_mous_sentence_key(words):
    return make_plain_text(words)[:KEY_LENGTH]


def _read_mous_stimulus(root, folder, number, sentences):
    """Read the audio of a sentence, its words and phonemes."""
    name = f"EQ_Ramp_Int2_Int1LPF{number:03d}"
    sound = require_study_file(root / "stimuli/audio_files" / f"{name}.wav", STUDY, HINT)
    advice = "Align the audio with WebMAUS, as described in the notes of load_schoffelen2019."
    rows = textgrid_events(
        require_study_file(folder / f"{name}.TextGrid", STUDY, advice), sentence_gap=np.inf
    )
    words = rows.loc[rows["type"] == "word", "text"]
    text = sentences.get(_make_mous_sentence_key(words))
    if text is None:  # a trial that lost its last word
        key = _make_mous_sentence_key(words)
        text = next((value for other, value in sentences.items() if key and other.startswith(key)), None)
    if text is None:
        raise ValueError(
            f"{STUDY}: the words of {name}.TextGrid, {' '.join(words)!r}, are not in stimuli/stimuli.txt. Check "
            f"that both belong to the same stimulus."
        )
    audio = pd.DataFrame([{"type": "sound", "sound_onset": 0.0, "duration": 0.0}])
    rows = pd.concat([audio, rows], ignore_index=True)
    return rows.assign(sound=str(sound), sequence=str(number), sequence_uid=text)


# --- the log -------------------------------------------------------------------------------------------


def _read_mous_log(path):
    """Read the log of Presentation.

    Columns are ``time`` (s), ``trigger``, ``number`` of the audio file that
    begins, and ``condition``.
    """
    text = _read_mous_text(path).replace("\r\n", "\n").replace(".\n", ".")
    parts = text.split("Scenario -")
    lines = parts[min(1, len(parts) - 1)].split("\n")  # a log may contain its content twice
    head = next((place for place, line in enumerate(lines) if "Uncertainty" in line), None)
    columns = lines[head].split("\t") if head is not None else []
    if missing := [column for column in COLUMNS if column not in columns]:
        raise ValueError(
            f"{STUDY}: {str(path)!r} has no table with the columns {missing}. Check that it is a log of Presentation."
        )
    rows: list = []
    for line in lines[head + 1 :]:
        if line.strip():
            rows.append((line.split("\t") + [""] * len(columns))[: len(columns)])
        elif rows:
            break
    table = pd.DataFrame(rows, columns=[f"{name} {place}" for place, name in enumerate(columns)])
    table.columns = [*columns[:5], *table.columns[5:]]
    time = pd.to_numeric(table["Time"], errors="coerce")
    if time.isna().all():
        raise ValueError(
            f"{STUDY}: {str(path)!r}: the column 'Time' has no numbers. Check that the file is complete."
        )
    table, time = table[time.notna()].reset_index(drop=True), time.dropna().to_numpy() * LOG_UNIT
    code = table["Code"].astype(str)
    kind = code.map(lambda text: next((name for key, name in CONDITIONS.items() if key in text), None))
    trigger = np.where(kind.notna(), CONTEXT, np.where(code.str.contains("FIX"), FIXATION, 0))
    return pd.DataFrame({
        "time": time, "trigger": trigger, "number": _find_mous_sounds(code, time, path), "condition": kind.ffill(),
    })  # fmt: skip


def _find_mous_sounds(code, time, path):
    """Find the number of the audio file that begins at each row.

    An onset row follows the row with the name of its file.
    """
    named = code.str.extract(SOUND)[0].astype(float)
    onsets = np.flatnonzero(code.str.contains("onset", case=False))
    number = pd.Series(np.nan, code.index)
    for row in np.flatnonzero(named.notna()):
        onset = onsets[np.searchsorted(onsets, row)] if len(onsets) and onsets[-1] > row else None
        if onset is None or time[onset] - time[row] > MAX_START_DELAY:
            raise ValueError(
                f"{STUDY}: {str(path)!r}, row {row + 1}: expected 'Audio onset' within {MAX_START_DELAY:g} s after "
                f"{code[row]!r}. Got {code.get(row + 1, 'the end of the log')!r} instead."
            )
        number[onset] = named[row]
    return number


# --- log and recording ---------------------------------------------------------------------------------


def _find_mous_triggers(path, stamp):
    """Find the times (s) and codes of the triggers in a recording."""
    raw = open_recording(path)
    if raw.info["sfreq"] != SFREQ:
        raise ValueError(
            f"{STUDY}: {path!r} must have a sampling rate of {SFREQ:g} Hz. Got {raw.info['sfreq']:g} Hz instead."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = mne.find_events(raw, shortest_event=1, verbose="ERROR")
    found = found[np.isin(found[:, 2], (FIXATION, CONTEXT))]
    return (found[:, 0] - raw.first_samp) / SFREQ, found[:, 2]


def _align_mous_log(log, times, codes, recording):
    """Return the times of the log in the recording, and the agreement.

    Times are NaN outside of the triggers of the recording.
    """
    sent = log[log["trigger"] != 0]
    pairs = match_sequences(sent["trigger"], codes)
    if len(pairs) < MIN_TRIGGERS:
        raise ValueError(
            f"{STUDY}: log and recording {recording.name!r} share only {len(pairs)} triggers in order ({MIN_TRIGGERS} "
            f"are required, {len(sent)} in the log, {len(times)} in the recording). Check that they belong together."
        )
    logged = sent["time"].to_numpy()
    lines = [
        theilslopes(times[pairs[:, 1]], logged[pairs[:, 0]])[:2],
        (1.0, _find_common_offset(sent, codes, times)),
    ]
    (rate, offset), pairs = max(
        (_fit_mous_clock_line(line, sent, codes, times) for line in lines), key=lambda one: len(one[1])
    )
    residual = np.abs(times[pairs[:, 1]] - offset - rate * logged[pairs[:, 0]]) * 1000
    agreement = {
        "n_log": len(sent), "n_triggers": len(times), "n_matched": len(pairs), "offset": offset,
        "drift_ppm": (rate - 1) * 1e6, "residual": np.median(residual) if len(pairs) else np.nan,
        "largest": residual.max(initial=0.0),
    }  # fmt: skip
    if abs(rate - 1) > MAX_DRIFT:
        raise ValueError(
            f"{STUDY}: the shared triggers imply that the clocks of log and recording {recording.name!r} differ by "
            f"{agreement['drift_ppm']:.0f} ppm. Real clocks differ by less than 100 ppm, and {MAX_DRIFT * 1e6:g} ppm are "
            f"allowed. Check that they belong together."
        )
    if len(pairs) < max(MIN_TRIGGERS, MIN_MATCHED * len(sent)):
        raise ValueError(
            f"{STUDY}: log and recording {recording.name!r} disagree: of {len(sent)} triggers in the log {len(pairs)} "
            f"are within {TOLERANCE * 1000:g} ms of one of {len(times)} in the recording (offset {offset:.3f} s, drift "
            f"{agreement['drift_ppm']:.1f} ppm). Check that the recording was not paused, and that both belong to the "
            f"same subject."
        )
    matched = sent.index[pairs[:, 0]]
    offsets = pd.Series(times[pairs[:, 1]] - logged[pairs[:, 0]], matched).reindex(log.index).ffill()
    onset = log["time"] + offsets
    beyond = (log.index > matched[-1]) & (log["trigger"] != 0)  # triggers after the end of the recording
    last = log.index[beyond].min() if beyond.any() else len(log)
    return onset.where((log.index < last) & (onset >= 0)), agreement


def _find_common_offset(sent, codes, times):
    """Find the offset of most matches, for a drift below 200 ppm."""
    logged, kind = sent["time"].to_numpy(), sent["trigger"].to_numpy()
    offset, most = 0.0, -1
    for i, j in np.argwhere(kind[:, None] == codes[None, :]):
        if min(i, j) >= MAX_LOST:
            continue
        expected = logged + times[j] - logged[i]
        near = np.zeros(len(logged), bool)
        for code in (FIXATION, CONTEXT):
            own = times[codes == code]
            if len(own) == 0:
                continue
            distance = abs(own[match_nearest_time(expected, own)] - expected)
            near |= (kind == code) & (distance <= TOLERANCE + 200e-6 * abs(logged - logged[i]))
        if near.sum() > most:
            offset, most = times[j] - logged[i], near.sum()
    return float(offset)


def _fit_mous_clock_line(line, sent, codes, times):
    """Pair nearby triggers and fit a line through them, repeatedly."""
    (rate, offset), logged = line, sent["time"].to_numpy()
    for within in (10 * TOLERANCE, TOLERANCE, TOLERANCE):
        expected = offset + rate * logged
        pairs = np.concatenate(
            [_pair_mous_triggers(code, sent, codes, expected, times, within) for code in (FIXATION, CONTEXT)]
        )
        pairs = pairs[np.argsort(pairs[:, 0])]
        if len(pairs) < 2:
            break
        rate, offset = theilslopes(times[pairs[:, 1]], logged[pairs[:, 0]])[:2]
    return (rate, offset), pairs


def _pair_mous_triggers(code, sent, codes, expected, times, within):
    """Pair nearby triggers of one kind."""
    first, second = np.flatnonzero(sent["trigger"] == code), np.flatnonzero(codes == code)
    pairs = match_sequence_times(expected[first], times[second], within)
    return np.column_stack([first[pairs[:, 0]], second[pairs[:, 1]]])

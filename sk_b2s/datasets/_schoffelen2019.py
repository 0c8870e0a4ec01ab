"""MOUS: 102 people listen to sentences and word lists (and 102 others read them), in a 275-channel CTF system.

Citation
    Schoffelen, Oostenveld, Lam, Uddén, Hultén, Hagoort (2019). A 204-subject multimodal neuroimaging dataset to
    study language processing. Scientific Data 6:17. https://doi.org/10.1038/s41597-019-0020-y
License
    Data use agreement of Radboud University, for registered users.
Where
    https://data.ru.nl, collection DSC_3011020.09_236, version 1 (https://doi.org/10.34973/37n0-yc51).
Size
    96 listeners are read here, 81 hours in the paper. Dutch, a sentence or list of words at a time.
By hand
    Registration (:func:`~sk_b2s.datasets.fetch_schoffelen2019` says how), and the words' times: the collection has
    the sounds and their text. WebMAUS (https://clarin.phonetik.uni-muenchen.de/BASWebServices) aligns
    ``stimuli/audio_files/EQ_Ramp_Int2_Int1LPF001.wav`` ... with their lines of ``stimuli/stimuli.txt``; put its
    TextGrids, named as the sounds, into ``derivatives/phonemes``.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from scipy.stats import theilslopes

from sk_b2s._utils._caching import FromFile
from sk_b2s._utils._text import plain_text, shorten_list
from sk_b2s.datasets._common import choose, finish, need, study_root, warn_of_missing
from sk_b2s.datasets._matching import match_sequences, match_times
from sk_b2s.io._clocks._clock_fit import FASTEST
from sk_b2s.io._raw._identity import recording_stamp
from sk_b2s.io._raw._recordings import open_raw
from sk_b2s.io._textgrid import textgrid_events

STUDY = "schoffelen2019"
HINT = "sk_b2s.datasets.fetch_schoffelen2019 says how to come by it."
INCOMPLETE = ("A2011", "A2036", "A2062", "A2063", "A2076", "A2084")  # two runs, or part of one
SFREQ = 1200.0
FIXATION, CONTEXT = 20, 10  # trigger codes
COLUMNS = ["Subject", "Trial", "Event Type", "Code", "Time"]
TICK = 1e-4  # s, the unit of the logs
KINDS = {"ZINNEN": "sentence", "WOORDEN": "word_list"}
SOUND = re.compile(r"Start File (\d+)\.wav", re.IGNORECASE)
KEY = 45  # letters that tell a sentence; some trials lost their last word
LEAST = 40  # matched triggers
WITHIN = 0.02  # s between a trigger and where the log says it is
FIRST = 12  # triggers of either, one of which both have
SOON = 1.0  # s from the row that names a file to the row of its onset
MATCHED = 0.8  # share of the log's triggers that must be in the recording


def load_schoffelen2019(
    root, subjects=None, textgrids=None, memory=None, return_report=False, audio_delay=0.0
):
    """Read the events of the listeners of MOUS.

    The presentation's log says what was played when, on the clock of its computer. Fixations and the contexts
    that begin a block also sent triggers (20 and 10) to the recording. The two sequences are matched by edit
    distance, which gives the clocks' relation; where many triggers are lost at once the fewest edits are ambiguous,
    and the offset at which most triggers meet is the better one. Then each trigger of the log is matched with the
    nearest of its kind in the recording, and everything after it, up to the next, takes its time from it.

    Parameters
    ----------
    root : path-like
        Folder with ``sub-A2002`` ..., ``sourcedata/meg_task``, ``stimuli`` and ``derivatives/phonemes``.
    subjects : str or sequence of str, default=None
        "A2002" to "A2125"; None takes all there are but the six with two runs or part of one. Those named "V..."
        read, and are not decoded here.
    textgrids : path-like, default=None
        Folder of the TextGrids of the sounds; None is ``derivatives/phonemes`` in ``root``.
    memory : None, str or joblib.Memory, default=None
        Where to keep the triggers: finding them reads every recording once.
        The folder holds pickle, which runs code when it is read. Use one that only you can write.
    return_report : bool, default=False
        Return how log and recording agree as well.
    audio_delay : float or dict, default=0.0
        Seconds by which sound reached the ear later than the tables say, for all or, as in
        :func:`~sk_b2s.read_bids`, by the beginning of the recording's name.

    Returns
    -------
    events : DataFrame
        An events table (:func:`~sk_b2s.check_events`). ``sequence`` is the number of the sound, each of one
        sentence or list; ``condition`` is "sentence" or "word_list"; further columns are ``sequence_uid`` (the
        line of ``stimuli.txt``, by which the published split is drawn) and ``language``.
    report : DataFrame of shape (n_recordings, ...)
        With ``return_report``: ``subject, n_log, n_triggers, n_matched``; ``offset`` (s) and ``drift_ppm`` of the
        clocks; ``residual`` and ``largest`` (ms), median and maximum over matched triggers of the distance from
        the line; ``n_sounds`` and ``n_left_out``, the sounds of the log and those of them that began while the
        recording had no triggers.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If a log is malformed, or log and recording disagree: fewer than 40 or 80 % of the log's triggers are found
        within 20 ms of where it says, or the clocks are more than 2000 ppm apart.

    Warns
    -----
    UserWarning
        If sounds are left out.

    Notes
    -----
    Every person heard the sentences in an order of their own, so blocks must not be merged for the published
    split: ``make_segments(block=PaperBlocks(min_duration=0))``. The published code takes no delay of the sound
    into account, nor does this.

    References
    ----------
    .. [1] Schoffelen et al. (2019). A 204-subject multimodal neuroimaging dataset to study language processing.
       Scientific Data 6:17. https://doi.org/10.1038/s41597-019-0020-y
    """
    root = study_root(root, STUDY, HINT)
    people = sorted(path.name.removeprefix("sub-") for path in root.glob("sub-A*") if path.is_dir())
    if subjects is None:
        subjects = [person for person in people if person not in INCOMPLETE]
        if not subjects:
            raise FileNotFoundError(f"{STUDY}: {str(root)!r} has no folder sub-A2002 ... {HINT}")
    elif any(str(one).removeprefix("sub-").startswith("V") for one in np.atleast_1d(subjects)):
        raise ValueError(f"{STUDY}: subjects={subjects!r}: those named V read; listeners are A2002 to A2125.")
    folder = root / "derivatives/phonemes" if textgrids is None else Path(textgrids)
    sentences = _sentences(root)
    spoken: dict[int, pd.DataFrame] = {}
    tables, report = [], []
    for subject in choose("subjects", subjects, people, STUDY):
        recording = _recording(root / f"sub-{subject}")
        log = _read_log(_log_of(root, subject))
        triggers = FromFile(_find_triggers, str(recording), recording_stamp, memory)()
        log["onset"], said = _on_the_recordings_clock(log, *triggers, recording)
        n_sounds = int(log["number"].notna().sum())
        n_left_out = int((log["number"].notna() & log["onset"].isna()).sum())
        report.append({"subject": subject, **said, "n_sounds": n_sounds, "n_left_out": n_left_out})
        for number in set(log["number"].dropna()) - set(spoken):
            spoken[number] = _heard(root, folder, int(number), sentences)
        played = log[log["number"].notna() & log["onset"].notna()]
        rows = [
            spoken[number].assign(onset=spoken[number]["sound_onset"] + onset, condition=condition)
            for number, onset, condition in played[["number", "onset", "condition"]].itertuples(index=False)
        ]
        if not rows:
            raise ValueError(f"{STUDY}: the log of {subject} has no sound within its recording.")
        tables.append(pd.concat(rows).assign(subject=subject, recording=str(recording), language="nl"))
    report = pd.DataFrame(report)
    if (some := report[report["n_left_out"] > 0]).size:
        each = [
            f"{who} ({n} of {total})" for who, n, total in some[["subject", "n_left_out", "n_sounds"]].values
        ]
        warnings.warn(
            f"{STUDY}: left out {some['n_left_out'].sum()} of {some['n_sounds'].sum()} sounds of {len(some)} people, "
            f"{shorten_list(each, 30)}, that began before the recording's first trigger or after its last.",
            stacklevel=2,
        )
    events = finish(tables, STUDY, True, audio_delay)
    return (events, report) if return_report else events


# --- what there is -------------------------------------------------------------------------------------


def _recording(folder):
    there = sorted(folder.glob("meg/*.ds"))
    found = [path for path in there if "rest" not in path.name and "visual" not in path.name]
    if not found:
        raise FileNotFoundError(f"{STUDY}: {str(folder / 'meg')!r} has no *_task-auditory_meg.ds. {HINT}")
    warn_of_missing(STUDY, f"of several recordings of {folder.name}, {found[-1].name} is read, not", [
        path.name for path in found[:-1]
    ])  # fmt: skip
    return found[-1]


def _log_of(root, subject):
    found = sorted((root / "sourcedata/meg_task").glob(f"*MEG-MOUS-Aud*{subject}.log"))
    if not found:
        raise FileNotFoundError(
            f"{STUDY}: {str(root / 'sourcedata/meg_task')!r} has no *MEG-MOUS-Aud*{subject}.log. {HINT}"
        )
    return need(found[-1], STUDY, HINT)


def _sentences(root):
    """The text of every stimulus by its first letters: dict."""
    path = need(root / "stimuli/stimuli.txt", STUDY, HINT)
    sentences = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        match = re.match(r"\s*\d+\s+(\S.*)", line)
        if not match:
            raise ValueError(
                f"{STUDY}: {str(path)!r}, line {number}: expected a number and a text, got {line!r}."
            )
        sentences[_key(match[1].split())] = match[1].strip()
    return sentences


def _text(path):
    """Read a text in UTF-8, or in Latin-1 as in some copies."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _key(words):
    return plain_text(words)[:KEY]


def _heard(root, folder, number, sentences):
    """The sound of one sentence, its words and phonemes."""
    name = f"EQ_Ramp_Int2_Int1LPF{number:03d}"
    sound = need(root / "stimuli/audio_files" / f"{name}.wav", STUDY, HINT)
    advice = "Align the sounds with WebMAUS, as the docstring of sk_b2s.datasets._schoffelen2019 says."
    rows = textgrid_events(need(folder / f"{name}.TextGrid", STUDY, advice), sentence_gap=np.inf)
    words = rows.loc[rows["type"] == "word", "text"]
    text = sentences.get(_key(words))
    if text is None:  # a trial that lost its last word
        said = plain_text(words)
        text = next((value for key, value in sentences.items() if said and key.startswith(said[:KEY])), None)
    if text is None:
        raise ValueError(
            f"{STUDY}: the words of {name}.TextGrid, {' '.join(words)!r}, are no line of stimuli/stimuli.txt."
        )
    heard = pd.DataFrame([{"type": "sound", "sound_onset": 0.0, "duration": 0.0}])
    rows = pd.concat([heard, rows], ignore_index=True)
    return rows.assign(sound=str(sound), sequence=str(number), sequence_uid=text)


# --- the log -------------------------------------------------------------------------------------------


def _read_log(path):
    """Read what Presentation logged: ``time`` (s), ``trigger`` it sent, ``number`` of the sound, ``condition``."""
    text = _text(path).replace("\r\n", "\n").replace(".\n", ".")
    parts = text.split("Scenario -")
    lines = parts[min(1, len(parts) - 1)].split("\n")  # a log may hold itself twice
    head = next((place for place, line in enumerate(lines) if "Uncertainty" in line), None)
    columns = lines[head].split("\t") if head is not None else []
    if missing := [column for column in COLUMNS if column not in columns]:
        raise ValueError(
            f"{STUDY}: {str(path)!r} has no table with the columns {missing}; is it a log of Presentation?"
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
        raise ValueError(f"{STUDY}: {str(path)!r}: the column 'Time' holds no numbers.")
    table, time = table[time.notna()].reset_index(drop=True), time.dropna().to_numpy() * TICK
    code = table["Code"].astype(str)
    kind = code.map(lambda text: next((name for key, name in KINDS.items() if key in text), None))
    trigger = np.where(kind.notna(), CONTEXT, np.where(code.str.contains("FIX"), FIXATION, 0))
    return pd.DataFrame({
        "time": time, "trigger": trigger, "number": _sounds_of(code, time, path), "condition": kind.ffill(),
    })  # fmt: skip


def _sounds_of(code, time, path):
    """Number of the sound that begins at each row: the next row of an onset after the one that names its file."""
    named = code.str.extract(SOUND)[0].astype(float)
    begins = np.flatnonzero(code.str.contains("onset", case=False))
    number = pd.Series(np.nan, code.index)
    for row in np.flatnonzero(named.notna()):
        at = begins[np.searchsorted(begins, row)] if len(begins) and begins[-1] > row else None
        if at is None or time[at] - time[row] > SOON:
            raise ValueError(
                f"{STUDY}: {str(path)!r}, row {row + 1}: expected 'Audio onset' within {SOON:g} s after "
                f"{code[row]!r}, got {code.get(row + 1, 'the end of the log')!r}."
            )
        number[at] = named[row]
    return number


# --- log and recording ---------------------------------------------------------------------------------


def _find_triggers(path, stamp):
    """Times in seconds and codes of the triggers in a recording."""
    raw = open_raw(path)
    if raw.info["sfreq"] != SFREQ:
        raise ValueError(f"{STUDY}: {path!r} was to be sampled at {SFREQ:g} Hz, got {raw.info['sfreq']:g}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = mne.find_events(raw, shortest_event=1, verbose="ERROR")
    found = found[np.isin(found[:, 2], (FIXATION, CONTEXT))]
    return (found[:, 0] - raw.first_samp) / SFREQ, found[:, 2]


def _on_the_recordings_clock(log, times, codes, recording):
    """Time of every row of the log in the recording, NaN where there is none, and how well the two agree."""
    sent = log[log["trigger"] != 0]
    pairs = match_sequences(sent["trigger"], codes)
    if len(pairs) < LEAST:
        raise ValueError(
            f"{STUDY}: log and recording {recording.name!r} share only {len(pairs)} triggers in order ({LEAST} are "
            f"needed; {len(sent)} in the log, {len(times)} in the recording); do they belong together?"
        )
    logged = sent["time"].to_numpy()
    lines = [theilslopes(times[pairs[:, 1]], logged[pairs[:, 0]])[:2], (1.0, _commonest(sent, codes, times))]
    (rate, offset), pairs = max(
        (_follow(line, sent, codes, times) for line in lines), key=lambda one: len(one[1])
    )
    residual = np.abs(times[pairs[:, 1]] - offset - rate * logged[pairs[:, 0]]) * 1000
    said = {
        "n_log": len(sent), "n_triggers": len(times), "n_matched": len(pairs), "offset": offset,
        "drift_ppm": (rate - 1) * 1e6, "residual": np.median(residual) if len(pairs) else np.nan,
        "largest": residual.max(initial=0.0),
    }  # fmt: skip
    if abs(rate - 1) > FASTEST:
        raise ValueError(
            f"{STUDY}: by the triggers that they share, the clocks of the log and of recording {recording.name!r} are "
            f"{said['drift_ppm']:.0f} ppm apart, real ones less than 100 (and {FASTEST * 1e6:g} are allowed); do they "
            f"belong together?"
        )
    if len(pairs) < max(LEAST, MATCHED * len(sent)):
        raise ValueError(
            f"{STUDY}: log and recording {recording.name!r} disagree: of {len(sent)} triggers in the log {len(pairs)} "
            f"are within {WITHIN * 1000:g} ms of one of {len(times)} in the recording (offset {offset:.3f} s, drift "
            f"{said['drift_ppm']:.1f} ppm); was the recording paused, or is the log another's?"
        )
    matched = sent.index[pairs[:, 0]]
    moved = pd.Series(times[pairs[:, 1]] - logged[pairs[:, 0]], matched).reindex(log.index).ffill()
    onset = log["time"] + moved
    beyond = (log.index > matched[-1]) & (log["trigger"] != 0)  # a trigger that the recording no longer has
    last = log.index[beyond].min() if beyond.any() else len(log)
    return onset.where((log.index < last) & (onset >= 0)), said


def _commonest(sent, codes, times):
    """The offset at which most triggers of the log meet one of their kind, if the clocks agree to 200 ppm."""
    logged, kind = sent["time"].to_numpy(), sent["trigger"].to_numpy()
    offset, most = 0.0, -1
    for i, j in np.argwhere(kind[:, None] == codes[None, :]):
        if min(i, j) >= FIRST:
            continue
        expected = logged + times[j] - logged[i]
        near = np.zeros(len(logged), bool)
        for code in (FIXATION, CONTEXT):
            own = times[codes == code]
            right = np.clip(np.searchsorted(own, expected), 1, max(len(own) - 1, 1)) % max(len(own), 1)
            apart = (
                np.minimum(abs(own[right] - expected), abs(own[right - 1] - expected)) if len(own) else np.inf
            )
            near |= (kind == code) & (apart <= WITHIN + 200e-6 * abs(logged - logged[i]))
        if near.sum() > most:
            offset, most = times[j] - logged[i], near.sum()
    return float(offset)


def _follow(line, sent, codes, times):
    """Pair the triggers that are near each other on one clock, and fit the line through them anew, twice."""
    (rate, offset), logged = line, sent["time"].to_numpy()
    for within in (10 * WITHIN, WITHIN, WITHIN):
        expected = offset + rate * logged
        pairs = np.concatenate(
            [_pairs_of(code, sent, codes, expected, times, within) for code in (FIXATION, CONTEXT)]
        )
        pairs = pairs[np.argsort(pairs[:, 0])]
        if len(pairs) < 2:
            break
        rate, offset = theilslopes(times[pairs[:, 1]], logged[pairs[:, 0]])[:2]
    return (rate, offset), pairs


def _pairs_of(code, sent, codes, expected, times, within):
    """Pair the triggers of one kind that are near each other on one clock."""
    first, second = np.flatnonzero(sent["trigger"] == code), np.flatnonzero(codes == code)
    pairs = match_times(expected[first], times[second], within)
    return np.column_stack([first[pairs[:, 0]], second[pairs[:, 1]]])

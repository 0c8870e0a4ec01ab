"""Events table of one recording from triggers or annotations."""

from __future__ import annotations

import os
import re
from numbers import Integral
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from sk_b2s._utils._units import guess_unit
from sk_b2s.events._audio._files import AudioTrack, is_file
from sk_b2s.events._sentences import delay_events, fill_sentences
from sk_b2s.events._stimuli import StimulusArray, stimulus_duration, stimulus_name
from sk_b2s.events._table import check_events
from sk_b2s.io._clocks._audio_alignment import align_to_audio, find_stimulus
from sk_b2s.io._clocks._clock_fit import FASTEST
from sk_b2s.io._clocks._sync_marks import fit_sync
from sk_b2s.io._raw._binary_headers import record_times
from sk_b2s.io._raw._recordings import open_raw
from sk_b2s.io._textgrid import expand_textgrids, find_textgrid, warn_missing_textgrids

KEPT = (StimulusArray, AudioTrack)  # sounds that are not paths
SETTLED = 0.003  # s within which all bits of a code have risen or fallen
BRIEF = 0.1  # s of a mark on a code that is held
HEARD = 0.3  # correlation from which a sound without a trigger counts as found


def events_from_raw(
    raw,
    sounds,
    *,
    textgrid=None,
    sync=None,
    audio=None,
    stim_channel=None,
    tiers=None,
    sentence_gap=0.4,
    audio_delay=0.0,
    subject=None,
    **columns,
):
    """Make the events table of one recording from its triggers and its sounds.

    Parameters
    ----------
    raw : path-like or mne.io.Raw
        A recording in a file that MNE reads.
    sounds : dict, list or DataFrame
        What was played. ``{1: "a.wav"}``: the sound of each trigger, an int of a trigger channel or of an
        annotation that ends in it ("Stimulus/S  1"), or a str, the description of an annotation; a list is
        of the sounds of that trigger one after the other; ``{1: {"attended": "a.wav", "ignored":
        "b.wav"}}`` are two talkers at once. A list of sounds, in the order in which they were played, is
        found in the ``audio`` channel without triggers. A DataFrame has ``onset`` (s) and ``sound``.
    textgrid : path-like, dict or False, default=None
        Words and phonemes of the sounds: a folder, the file of the one sound, or ``{"a.wav":
        "a.TextGrid"}``. None looks beside each sound, False takes none.
    sync : dict, default=None
        Triggers that come while a sound plays, and at which times of it: ``{99: 1.0}``, every second;
        ``{99: [0.5, 7.2]}``; ``{2: "end"}``; ``{8: "word"}``, at each word of its TextGrid. To them and the first
        trigger are fitted the onset of each sound and the drift of the clocks.
    audio : str or list of str, default=None
        Channel that recorded the sound; onsets and drift are taken from it, see :func:`align_to_audio`.
    stim_channel : str, default=None
        Trigger channel; None is that which MNE takes.
    tiers, sentence_gap
        As for :func:`read_bids`.
    audio_delay : float, default=0.0
        Seconds by which the sound reached the ear later than the trigger, or the audio channel, says.
    subject : str, default=None
        None is the one the file names, or else the file's stem.
    **columns
        Further columns of the events table, equal in all rows: ``session="2"``, ``study="pilot"``.

    Returns
    -------
    events : DataFrame
        The events table, as :func:`check_events` returns it. With ``sync`` or ``audio`` sounds tell
        ``drift_ppm`` and ``residual_ms``.

    Raises
    ------
    ValueError
        If a trigger does not occur, or not as often as its sounds, or again before its sound ends; if a
        sound is not heard; if marks are more than 20 ms off a line.

    See Also
    --------
    read_bids : Many recordings in a folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import mne, numpy as np, soundfile
    >>> from sk_b2s import events_from_raw
    >>> with TemporaryDirectory() as folder:
    ...     wav, fif = Path(folder, "story.wav"), Path(folder, "anna_raw.fif")
    ...     soundfile.write(wav, np.zeros(20_000), 1000)
    ...     raw = mne.io.RawArray(np.zeros((1, 3000)), mne.create_info(["Cz"], 100, "eeg"), verbose="ERROR")
    ...     _ = raw.set_annotations(mne.Annotations([4.0], [0.0], ["story starts"]))
    ...     raw.save(fif, verbose="ERROR")
    ...     events_from_raw(fif, {"story starts": wav})[["subject", "type", "onset", "duration"]]
    [...]
      subject   type  onset  duration
    0    anna  sound    4.0      20.0
    """
    path, raw = _open(raw)
    played = _played(raw, path, sounds, audio, stim_channel)
    played = played.assign(type="sound", recording=path, subject=subject or _who(raw, path), **columns)
    played["sound_onset"] = played.get("sound_onset", pd.Series(0.0, index=played.index)).fillna(0.0)
    if "duration" not in played:
        played["duration"] = played["sound"].map(stimulus_duration) - played["sound_onset"]
    found = _textgrids_of(played["sound"], textgrid)
    if sync:
        triggers = read_triggers(raw, list(sync), stim_channel)
        fit_sync(played, triggers, path, sync, raw.info["sfreq"], found, tiers)
    words = expand_textgrids(played, found, tiers, sentence_gap)
    events = fill_sentences(pd.concat([played, words], ignore_index=True), sentence_gap)
    if audio is not None:
        events = align_to_audio(events, audio)
    return check_events(delay_events(events, audio_delay))


def _open(raw):
    """The path of a recording and the Raw: the events table holds paths."""
    if isinstance(raw, mne.io.BaseRaw):
        files = [str(file) for file in raw.filenames if file]
        if not files:
            raise ValueError(
                "raw is in memory alone, and events name the file of a recording: raw.save(...) first."
            )
        whole = open_raw(files[0])
        if (raw.first_samp, raw.n_times) != (whole.first_samp, whole.n_times):
            raise ValueError(
                f"raw has {raw.n_times} samples from {raw.first_samp} on, but its file {files[0]!r}, which events "
                f"name, {whole.n_times} from {whole.first_samp} on: it was cut or joined. raw.save(...) and give what "
                "was saved."
            )
        is_edf = Path(files[0]).suffix.lower() in (".edf", ".bdf")
        if is_edf and record_times(files[0])[0] is not None:
            raw = whole  # MNE's annotations of discontinuous files are not at their samples
        return os.path.abspath(files[0]), raw
    return os.path.abspath(raw), open_raw(raw)


def _who(raw, path):
    named = (raw.info.get("subject_info") or {}).get("his_id")
    return named or re.sub(r"_(raw|eeg|meg)$", "", Path(path).name.split(".")[0])


def _played(raw, path, sounds, audio, stim_channel):
    """Which sounds begin when: ``onset, sound, stream``."""
    if isinstance(sounds, pd.DataFrame):
        if missing := {"onset", "sound"} - set(sounds.columns):
            raise ValueError(f"sounds lacks the columns {sorted(missing)}; it has {list(sounds.columns)}.")
        if sounds.empty:
            raise ValueError("sounds names no sound: the DataFrame has no rows.")
        played = sounds.reset_index(drop=True)
        played["onset"] = _check_onsets(played["onset"], raw, path)
        return played.assign(sound=[s if isinstance(s, KEPT) else str(s) for s in played["sound"]])
    if isinstance(sounds, dict):
        if not sounds:
            raise ValueError("sounds={} names no sound: {trigger: 'sound.wav'}.")
        triggers = read_triggers(raw, list(sounds), stim_channel)
        parts = [_of_trigger(key, value, triggers[key], path) for key, value in sounds.items()]
        return pd.concat(parts, ignore_index=True).sort_values("onset", ignore_index=True)
    if audio is None:
        raise ValueError(
            "sounds without triggers are found in a recorded audio channel: name it by audio='...', or give "
            "sounds={trigger: 'sound.wav'}, or a DataFrame of 'onset' and 'sound'."
        )
    sounds = [sounds] if isinstance(sounds, (str, Path)) else list(sounds)
    if not sounds:
        raise ValueError("sounds=[] names no sound. Give their files in the order in which they were played.")
    return _find_all(raw, path, sounds, audio)


def _check_onsets(onsets, raw, path):
    """Return onsets as numbers; raise where one is none, or a sound begins after the recording has ended."""
    lasts = raw.n_times / raw.info["sfreq"]
    times = pd.to_numeric(onsets, errors="coerce")
    if (wrong := times.isna()).any():
        raise ValueError(
            f"sounds row {wrong.idxmax()!r}, column 'onset': expected seconds from the first sample, got "
            f"{onsets[wrong.idxmax()]!r}."
        )
    late = times >= lasts
    if late.any():
        raise ValueError(
            f"sounds row {late.idxmax()!r}, column 'onset': {path!r} lasts {lasts:.1f} s, and the sound begins at "
            f"{onsets[late.idxmax()]} s ({int(late.sum())} of {len(late)} rows begin after its end). Onsets are "
            f"seconds from the first sample.{guess_unit(times.max(), lasts, raw.info['sfreq'], raw.first_time)}"
        )
    return times.astype(float)


def _of_trigger(key, value, times, path):
    """The sounds that one trigger began."""
    if isinstance(value, (list, tuple)):
        if len(value) != len(times):
            raise ValueError(
                f"trigger {key!r} comes {len(times)} times in {path!r} but sounds names {len(value)} sounds for it. "
                f"If some are false, give a DataFrame of 'onset' and 'sound' instead."
            )
        each = list(value)
    else:
        each = [value] * len(times)
    rows = []
    for time, sound in zip(times, each, strict=True):
        streams = sound if isinstance(sound, dict) else {"single": sound}
        for stream, one in streams.items():
            one = one if isinstance(one, KEPT) else os.path.abspath(one)
            if not isinstance(one, StimulusArray) and not is_file(one):
                raise FileNotFoundError(f"sounds={{{key!r}: ...}}: {one!r} is not a file.")
            rows.append((time, one, stream))
    played = pd.DataFrame(rows, columns=["onset", "sound", "stream"])
    for _, same in played.groupby("stream"):
        lasts = same["sound"].map(stimulus_duration).to_numpy()[:-1]
        gap = np.diff(same["onset"])
        if (early := gap < lasts * (1 - FASTEST) - 0.05).any():
            at = int(np.flatnonzero(early)[0])
            raise ValueError(
                f"trigger {key!r} comes at {same['onset'].iloc[at]:.3f} s and again {gap[at]:.3f} s later in {path!r}, "
                f"while its sound of {lasts[at]:.1f} s plays. If it is sent twice, or marks moments of the sound, give "
                f"a DataFrame of 'onset' and 'sound', or name those triggers by sync=."
            )
    return played


def read_triggers(raw, keys, stim_channel=None):
    """Find when triggers and annotations come, in seconds from the first sample.

    Parameters
    ----------
    raw : mne.io.Raw
    keys : list of int or str
        Numbers of triggers, or descriptions of annotations.
    stim_channel : str, default=None
        Trigger channel; None is that which MNE takes. Without one, numbers are looked for in annotations:
        "7", "S  7", "Stimulus/S  7".

    Returns
    -------
    times : dict of int or str to ndarray
        Rising times of each key, in seconds.

    Raises
    ------
    ValueError
        If a key does not come, with those that do.
    """
    start = np.array([annotation["onset"] for annotation in raw.annotations], float)
    start -= raw.first_time  # MNE counts from the start of acquisition
    names = np.array([annotation["description"] for annotation in raw.annotations], dtype=object)
    numbers = np.array([_number(name) for name in names])
    pulses = np.empty((0, 2))
    if stim_channel is not None or len(mne.pick_types(raw.info, meg=False, stim=True)):
        pulses = _pulses(raw, stim_channel)
    times = {}
    for key in keys:
        if isinstance(key, Integral):
            times[key] = pulses[pulses[:, 1] == key, 0] if len(pulses) else start[numbers == key]
        else:
            times[key] = start[names == str(key)]
        if len(times[key]) == 0:
            there = pd.Series([*pulses[:, 1].astype(int).tolist(), *names], dtype=object).value_counts()
            there = ", ".join(f"{name!r} ({count} times)" for name, count in there.head(12).items())
            hint = ""
            if isinstance(key, str) and key.strip().isdigit() and (pulses[:, 1] == int(key)).any():
                hint = f" A str is the description of an annotation: write {int(key)} without quotes."
            raise ValueError(
                f"trigger {key!r} does not come in the recording; there are {there or 'no triggers'}.{hint}"
            )
        times[key] = np.sort(times[key])
    return times


def mark_times(raw):
    """List when any trigger or annotation comes, in seconds from the first sample.

    Parameters
    ----------
    raw : mne.io.Raw

    Returns
    -------
    times : ndarray of shape (n_marks,)
        Rising. Annotations of bad stretches and gaps are no marks.
    """
    times = [
        note["onset"] - raw.first_time
        for note in raw.annotations
        if not re.match(r"bad|edge", note["description"], re.IGNORECASE)
    ]
    if len(mne.pick_types(raw.info, meg=False, stim=True)):
        times.extend(_pulses(raw, None)[:, 0])
    return np.sort(np.array(times, float))


def _pulses(raw, stim_channel):
    """When which code came, in seconds and codes: (n_pulses, 2).

    Boxes that hold a code until the next one send falling codes, too. Bits may rise and fall one after the other,
    however, and what stands for a moment between two codes is none; nor does a code begin anew that stood before and
    after a brief higher one, as bits of two sources in one channel make it.
    """
    sfreq = raw.info["sfreq"]
    # 16 bits carry codes; BioSemi keeps its own state in those above.
    steps = mne.find_events(
        raw, stim_channel, "step", consecutive=True, shortest_event=1, mask=0xFFFF, mask_type="and",
        initial_event=True, verbose="ERROR",
    )  # fmt: skip
    came, held, after = [], 0, np.append(steps[1:, 0], raw.last_samp + 1)[: len(steps)]
    for (at, before, code), until in zip(steps, after, strict=True):
        passing = until - at <= max(2, SETTLED * sfreq)
        if code == 0:
            held = 0
        elif passing and until <= raw.last_samp and (code < before or _next_code(steps, until)):
            continue  # bits on their way up or down
        else:
            if code != held or before == 0:
                came.append(((at - raw.first_samp) / sfreq, code))
            held = held if code > before > 0 and until - at <= BRIEF * sfreq else code
    return np.array(came, float).reshape(-1, 2)


def _next_code(steps, sample):
    """The code that the trigger channel takes at a sample."""
    return steps[np.searchsorted(steps[:, 0], sample), 2]


def _number(name):
    """The number of an annotation that stands for a trigger, -1 for others."""
    match = re.fullmatch(r"(?:Stimulus/|Trigger/)?S?\s*#?(\d+)", name.strip())  # "R  1" is a response
    return int(match[1]) if match else -1


def _find_all(raw, path, sounds, audio):
    """Find sounds one after the other in the audio channel."""
    names = [audio] if isinstance(audio, str) else list(audio)
    name = next((name for name in names if name in raw.ch_names), None)
    if name is None:
        raise ValueError(
            f"audio={audio!r}: {path!r} has no such channel; it has {', '.join(raw.ch_names[:12])}, ..."
        )
    data, sfreq = raw.get_data(picks=[name])[0], float(raw.info["sfreq"])
    rows, after = [], 0.0
    for sound in sounds:
        onset, likeness = find_stimulus(data, sfreq, sound, start=after)
        if not likeness >= HEARD:
            raise ValueError(
                f"{path!r}, channel {name!r}: {stimulus_name(sound)!r} is not heard after {after:.1f} s (correlation of "
                f"the envelopes {max(likeness, 0):.2f}). Are the sounds in the order in which they were played?"
            )
        rows.append((onset, sound if isinstance(sound, KEPT) else os.path.abspath(sound), "single"))
        after = onset + stimulus_duration(sound) * (1 - FASTEST) - 0.5
    return pd.DataFrame(rows, columns=["onset", "sound", "stream"])


def _textgrids_of(sounds, textgrid):
    """The TextGrid of each sound that has one."""
    files = list(dict.fromkeys(str(sound) for sound in sounds if not isinstance(sound, StimulusArray)))
    if textgrid is False:
        return {}
    if isinstance(textgrid, dict):
        given = {os.path.abspath(sound): Path(path) for sound, path in textgrid.items()}
        if lost := sorted(set(given) - set(files)):
            raise ValueError(f"textgrid names {lost[0]!r}, which is none of sounds: {files}.")
        found = given
    elif textgrid is not None and not Path(textgrid).is_dir():
        if len(files) != 1:
            raise ValueError(
                f"textgrid={str(textgrid)!r} is one file for {len(files)} sounds; give a folder or a dict."
            )
        found = {files[0]: Path(textgrid)}
    else:
        found = {sound: find_textgrid(sound, textgrid) for sound in files}
        found = {sound: path for sound, path in found.items() if path is not None}
        if textgrid is not None and files and not found:
            raise FileNotFoundError(
                f"textgrid={str(textgrid)!r} holds no TextGrid named as a sound, {Path(files[0]).stem}.TextGrid for "
                "example."
            )
    for path in found.values():
        if not path.is_file():
            raise FileNotFoundError(f"textgrid: {str(path)!r} is not a file.")
    warn_missing_textgrids([sound for sound in files if sound not in found], len(found))
    return found

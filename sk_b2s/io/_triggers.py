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
from sk_b2s.events._audio._track_files import AudioTrack, is_audio_file
from sk_b2s.events._check_events import check_events
from sk_b2s.events._images import ImageStimulus, is_image_name, make_image
from sk_b2s.events._sentences import fill_sentences
from sk_b2s.events._stimuli import StimulusArray, stimulus_duration, stimulus_name
from sk_b2s.events._table_times import delay_table_times
from sk_b2s.io._clocks._audio_alignment import align_to_audio, find_stimulus_by_audio_alignment
from sk_b2s.io._clocks._clock_fit import MAX_DRIFT
from sk_b2s.io._clocks._sync_marks import fit_sync
from sk_b2s.io._raw._binary_headers import read_binary_record_times
from sk_b2s.io._raw._recordings import open_recording
from sk_b2s.io._textgrid import expand_textgrids, find_textgrid, warn_missing_textgrids

KEPT = (StimulusArray, AudioTrack, ImageStimulus)  # stimuli that are not paths
SETTLING_TIME = 0.003  # s, maximum time in which all bits of a code rise or fall
MAX_OVERLAY = 0.1  # s, maximum duration of a higher code on top of a held one
MIN_CORRELATION = 0.3  # of the envelopes of a stimulus that was found without a trigger


def events_from_raw(
    raw,
    stimuli,
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
    """Make the events table of one recording from triggers or audio.

    Parameters
    ----------
    raw : path-like or mne.io.Raw
        Recording in a file that MNE reads.
    stimuli : dict, list or DataFrame
        Presented audio files. A dict maps triggers to files: ``{1: "a.wav"}``.
        An int is a code of the trigger channel, or the number at the end of an
        annotation ("Stimulus/S  1"). A str is the description of an
        annotation. A list of files has one file for each occurrence of the
        trigger. ``{1: {"attended": "a.wav", "ignored": "b.wav"}}`` are two
        concurrent talkers. A list of files, in the order of presentation, is
        located in the ``audio`` channel without triggers. A DataFrame has the
        columns ``onset`` (in seconds) and ``sound``, or ``image``, and others,
        such as ``category``. Images are their files or
        :class:`ImageStimulus`, ``{1: ImageStimulus("dog")}``.
    textgrid : path-like, dict or False, default=None
        TextGrids with the words and phonemes: a folder, the file of the only
        stimulus, or ``{"a.wav": "a.TextGrid"}``. If None, the folder of each
        audio file is searched. If False, no TextGrid is read.
    sync : dict, default=None
        Triggers during a stimulus, with their times in it: ``{99: 1.0}``
        (every second), ``{99: [0.5, 7.2]}``, ``{2: "end"}``, or ``{8:
        "word"}`` (at each word of its TextGrid). The onset of each stimulus
        and the clock drift are fitted to them and to the first trigger.
    audio : str or list of str, default=None
        Channel that recorded the audio. Onsets and drift are estimated from
        it, see :func:`align_to_audio`.
    stim_channel : str, default=None
        Trigger channel. If None, the one that MNE selects.
    tiers, sentence_gap
        As for :func:`read_bids`.
    audio_delay : float, default=0.0
        Delay in seconds from the trigger, or the audio channel, to the ear.
    subject : str, default=None
        Name of the subject. If None, the name in the file, or else the stem of
        the file name.
    **columns
        Further columns with one value for all rows, such as ``session="2"``.

    Returns
    -------
    events : DataFrame
        Events table in the format of :func:`check_events`. With ``sync`` or
        ``audio``, stimuli have the columns ``drift_ppm`` and ``residual_ms``.

    Raises
    ------
    ValueError
        If a trigger is missing, its number differs from that of its stimuli,
        or it recurs before its stimulus ends. If a stimulus is not found in
        the audio channel, or marks are more than 20 ms off the fitted line.

    See Also
    --------
    read_bids : Read the events of all recordings in a BIDS folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import mne, numpy as np, soundfile
    >>> from sk_b2s import events_from_raw
    >>> columns = ["subject", "type", "onset", "duration"]
    >>> with TemporaryDirectory() as folder:
    ...     wav, fif = Path(folder, "story.wav"), Path(folder, "anna_raw.fif")
    ...     soundfile.write(wav, np.zeros(20_000), 1000)
    ...     info = mne.create_info(["Cz"], 100, "eeg")
    ...     raw = mne.io.RawArray(np.zeros((1, 3000)), info, verbose="ERROR")
    ...     notes = mne.Annotations([4.0], [0.0], ["story starts"])
    ...     _ = raw.set_annotations(notes).save(fif, verbose="ERROR")
    ...     events_from_raw(fif, {"story starts": wav})[columns]
      subject   type  onset  duration
    0    anna  sound    4.0      20.0
    """
    path, raw = _open_trigger_file(raw)
    played = _list_triggered_stimuli(raw, path, stimuli, audio, stim_channel)
    kinds = [sound.kind if isinstance(sound, ImageStimulus) else "sound" for sound in played["sound"]]
    played = played.assign(
        type=kinds, recording=path, subject=subject or _get_trigger_subject_name(raw, path), **columns
    )
    played["sound_onset"] = played.get("sound_onset", pd.Series(0.0, index=played.index)).fillna(0.0)
    if "duration" not in played:
        played["duration"] = played["sound"].map(stimulus_duration) - played["sound_onset"]
    is_image = played["type"] != "sound"
    if is_image.any() and (sync or audio is not None):
        raise ValueError("sync and audio require stimuli with audio. Leave them out for images.")
    for kind in played.loc[is_image, "type"].unique():  # columns of identifiers
        played[kind] = played["sound"].where(played["type"] == kind)
    found = _find_textgrids_of_triggers(played.loc[~is_image, "sound"], textgrid)
    if sync:
        triggers = read_triggers(raw, list(sync), stim_channel)
        fit_sync(played, triggers, path, sync, raw.info["sfreq"], found, tiers)
    words = expand_textgrids(played, found, tiers, sentence_gap)
    events = fill_sentences(pd.concat([played, words], ignore_index=True), sentence_gap)
    if audio is not None:
        events = align_to_audio(events, audio)
    return check_events(delay_table_times(events, audio_delay))


def _open_trigger_file(raw):
    """Return the path of a recording and its Raw."""
    if isinstance(raw, mne.io.BaseRaw):
        files = [str(file) for file in raw.filenames if file]
        if not files:
            raise ValueError(
                "The 'raw' parameter must be a recording in a file, because the events table holds its path. Save "
                "it with raw.save(...) first."
            )
        whole = open_recording(files[0])
        if (raw.first_samp, raw.n_times) != (whole.first_samp, whole.n_times):
            raise ValueError(
                f"raw has {raw.n_times} samples from sample {raw.first_samp}, but its file {files[0]!r}, which the "
                f"events table names, has {whole.n_times} samples from sample {whole.first_samp}: it was cropped or "
                "concatenated. Save it with raw.save(...) and pass the new file."
            )
        is_edf = Path(files[0]).suffix.lower() in (".edf", ".bdf")
        if is_edf and read_binary_record_times(files[0])[0] is not None:
            raw = whole  # MNE's annotations of discontinuous files are not aligned with the samples
        return os.path.abspath(files[0]), raw
    return os.path.abspath(raw), open_recording(raw)


def _get_trigger_subject_name(raw, path):
    """Return the subject's name in the file, or else its stem."""
    named = (raw.info.get("subject_info") or {}).get("his_id")
    return named or re.sub(r"_(raw|eeg|meg)$", "", Path(path).name.split(".")[0])


def _list_triggered_stimuli(raw, path, stimuli, audio, stim_channel):
    """Return the onset, file and stream of each presented stimulus."""
    if isinstance(stimuli, pd.DataFrame):
        if "sound" not in stimuli and "image" in stimuli:
            stimuli = stimuli.assign(sound=[make_image(image, "image") for image in stimuli["image"]])
        if missing := {"onset", "sound"} - set(stimuli.columns):
            raise ValueError(
                f"The DataFrame 'stimuli' must have the columns 'onset' and 'sound'. It lacks {sorted(missing)} and "
                f"has {list(stimuli.columns)}."
            )
        if stimuli.empty:
            raise ValueError("The 'stimuli' parameter names no audio file: the DataFrame has no rows.")
        played = stimuli.reset_index(drop=True)
        played["onset"] = _check_trigger_onsets(played["onset"], raw, path)
        return played.assign(
            sound=[
                _convert_image_file(s) if isinstance(s, KEPT) or is_image_name(s) else str(s)
                for s in played["sound"]
            ]
        )
    if isinstance(stimuli, dict):
        if not stimuli:
            raise ValueError("The 'stimuli' parameter names no audio file. Pass {trigger: 'story.wav'}.")
        triggers = read_triggers(raw, list(stimuli), stim_channel)
        parts = [_list_trigger_stimuli(key, value, triggers[key], path) for key, value in stimuli.items()]
        return pd.concat(parts, ignore_index=True).sort_values("onset", ignore_index=True)
    if audio is None:
        raise ValueError(
            "Audio files without triggers can only be located in a recorded audio channel. Name it with "
            "audio='...', or pass stimuli={trigger: 'story.wav'} or a DataFrame with 'onset' and 'sound'."
        )
    stimuli = [stimuli] if isinstance(stimuli, (str, Path)) else list(stimuli)
    if not stimuli:
        raise ValueError(
            "The 'stimuli' parameter names no audio file. Pass the files in the order of presentation."
        )
    return _locate_trigger_stimuli(raw, path, stimuli, audio)


def _check_trigger_onsets(onsets, raw, path):
    """Return onsets as numbers, or raise with the first invalid row."""
    lasts = raw.n_times / raw.info["sfreq"]
    times = pd.to_numeric(onsets, errors="coerce")
    if (wrong := times.isna()).any():
        raise ValueError(
            f"stimuli row {wrong.idxmax()!r}, column 'onset': expected seconds from the first sample, got "
            f"{onsets[wrong.idxmax()]!r}."
        )
    late = times >= lasts
    if late.any():
        raise ValueError(
            f"stimuli row {late.idxmax()!r}, column 'onset': {path!r} lasts {lasts:.1f} s, but the onset is "
            f"{onsets[late.idxmax()]} s ({int(late.sum())} of {len(late)} onsets are after the end). Onsets are "
            f"seconds from the first sample.{guess_unit(times.max(), lasts, raw.info['sfreq'], raw.first_time)}"
        )
    return times.astype(float)


def _list_trigger_stimuli(key, value, times, path):
    """Return the stimuli that one trigger started."""
    if isinstance(value, (list, tuple)):
        if len(value) != len(times):
            raise ValueError(
                f"trigger {key!r} occurs {len(times)} times in {path!r}, but stimuli names {len(value)} files for "
                "it. If some triggers are spurious, pass a DataFrame with 'onset' and 'sound' instead."
            )
        each = list(value)
    else:
        each = [value] * len(times)
    rows = []
    for time, sound in zip(times, each, strict=True):
        streams = sound if isinstance(sound, dict) else {"single": sound}
        for stream, one in streams.items():
            one = _convert_image_file(one)
            one = one if isinstance(one, KEPT) else os.path.abspath(one)
            file = one.path if isinstance(one, ImageStimulus) else one
            if file and not isinstance(one, StimulusArray) and not is_audio_file(file):
                raise FileNotFoundError(
                    f"stimuli={{{key!r}: ...}}: {file!r} is not an existing file. Correct the path."
                )
            rows.append((time, one, stream))
    played = pd.DataFrame(rows, columns=["onset", "sound", "stream"])
    for _, same in played.groupby("stream"):
        lasts = same["sound"].map(stimulus_duration).to_numpy()[:-1]
        gap = np.diff(same["onset"])
        if (early := gap < lasts * (1 - MAX_DRIFT) - 0.05).any():
            at = int(np.flatnonzero(early)[0])
            raise ValueError(
                f"trigger {key!r} occurs at {same['onset'].iloc[at]:.3f} s and again {gap[at]:.3f} s later in "
                f"{path!r}, while its stimulus of {lasts[at]:.1f} s is playing. If it is sent twice, or marks "
                "moments in the stimulus, pass a DataFrame with 'onset' and 'sound', or name these triggers in "
                "sync=."
            )
    return played


def _convert_image_file(stimulus):
    """Convert an image file to an ImageStimulus. Return others as they are."""
    return make_image(Path(os.path.abspath(stimulus)), "image") if is_image_name(stimulus) else stimulus


def read_triggers(raw, keys, stim_channel=None):
    """Find the times of triggers and annotations.

    Parameters
    ----------
    raw : mne.io.Raw
    keys : list of int or str
        Trigger codes, or descriptions of annotations.
    stim_channel : str, default=None
        Trigger channel. If None, the one that MNE selects. In a recording
        without one, codes are searched in annotations: "7", "S  7",
        "Stimulus/S 7".

    Returns
    -------
    times : dict of int or str to ndarray
        Sorted times of each key, in seconds from the first sample.

    Raises
    ------
    ValueError
        If a key does not occur, with the keys that do.
    """
    start = np.array([annotation["onset"] for annotation in raw.annotations], float)
    start -= raw.first_time  # MNE counts from the start of acquisition
    names = np.array([annotation["description"] for annotation in raw.annotations], dtype=object)
    numbers = np.array([_parse_trigger_number(name) for name in names])
    pulses = np.empty((0, 2))
    if stim_channel is not None or len(mne.pick_types(raw.info, meg=False, stim=True)):
        pulses = _read_trigger_pulses(raw, stim_channel)
    times = {}
    for key in keys:
        if isinstance(key, Integral):
            times[key] = pulses[pulses[:, 1] == key, 0] if len(pulses) else start[numbers == key]
        else:
            times[key] = start[names == str(key)]
        if len(times[key]) == 0:
            found = pd.Series([*pulses[:, 1].astype(int).tolist(), *names], dtype=object).value_counts()
            found = ", ".join(f"{name!r} ({count} times)" for name, count in found.head(12).items())
            hint = ""
            if isinstance(key, str) and key.strip().isdigit() and (pulses[:, 1] == int(key)).any():
                hint = f" A str is the description of an annotation. For the trigger code, write {int(key)} without quotes."
            raise ValueError(
                f"trigger {key!r} does not occur in the recording, which has {found or 'no triggers'}.{hint}"
            )
        times[key] = np.sort(times[key])
    return times


def read_trigger_times(raw):
    """Return the sorted times of all triggers and annotations in seconds.

    Annotations of bad segments and gaps are not included.
    """
    times = [
        note["onset"] - raw.first_time
        for note in raw.annotations
        if not re.match(r"bad|edge", note["description"], re.IGNORECASE)
    ]
    if len(mne.pick_types(raw.info, meg=False, stim=True)):
        times.extend(_read_trigger_pulses(raw, None)[:, 0])
    return np.sort(np.array(times, float))


def _read_trigger_pulses(raw, stim_channel):
    """Return the time and code of each pulse, with shape (n_pulses, 2).

    Devices that hold a code until the next one also send falling codes. Bits
    may change one after the other, so that a brief state between two codes is
    not a code. A code that was held before and after a brief higher code does
    not start again, as happens when two devices share a channel.
    """
    sfreq = raw.info["sfreq"]
    # The lower 16 bits are codes. BioSemi writes its status into the bits above.
    steps = mne.find_events(
        raw, stim_channel, "step", consecutive=True, shortest_event=1, mask=0xFFFF, mask_type="and",
        initial_event=True, verbose="ERROR",
    )  # fmt: skip
    pulses, held, after = [], 0, np.append(steps[1:, 0], raw.last_samp + 1)[: len(steps)]
    for (at, before, code), until in zip(steps, after, strict=True):
        passing = until - at <= max(2, SETTLING_TIME * sfreq)
        if code == 0:
            held = 0
        elif passing and until <= raw.last_samp and (code < before or _find_next_trigger_code(steps, until)):
            continue  # bits are still changing
        else:
            if code != held or before == 0:
                pulses.append(((at - raw.first_samp) / sfreq, code))
            held = held if code > before > 0 and until - at <= MAX_OVERLAY * sfreq else code
    return np.array(pulses, float).reshape(-1, 2)


def _find_next_trigger_code(steps, sample):
    """Return the code of the trigger channel at a sample."""
    return steps[np.searchsorted(steps[:, 0], sample), 2]


def _parse_trigger_number(name):
    """Return the trigger code of an annotation, -1 if it has none."""
    match = re.fullmatch(r"(?:Stimulus/|Trigger/)?S?\s*#?(\d+)", name.strip())  # "R  1" is a response
    return int(match[1]) if match else -1


def _locate_trigger_stimuli(raw, path, stimuli, audio):
    """Locate stimuli one after the other in the audio channel."""
    names = [audio] if isinstance(audio, str) else list(audio)
    name = next((name for name in names if name in raw.ch_names), None)
    if name is None:
        raise ValueError(
            f"audio={audio!r}: {path!r} has no such channel. It has {', '.join(raw.ch_names[:12])}, ..."
        )
    data, sfreq = raw.get_data(picks=[name])[0], float(raw.info["sfreq"])
    rows, after = [], 0.0
    for sound in stimuli:
        onset, correlation = find_stimulus_by_audio_alignment(data, sfreq, sound, start=after)
        if not correlation >= MIN_CORRELATION:
            raise ValueError(
                f"{path!r}, channel {name!r}: {stimulus_name(sound)!r} was not found after {after:.1f} s "
                f"(correlation of the envelopes {max(correlation, 0):.2f}). Pass the files in the order of "
                "presentation."
            )
        rows.append((onset, sound if isinstance(sound, KEPT) else os.path.abspath(sound), "single"))
        after = onset + stimulus_duration(sound) * (1 - MAX_DRIFT) - 0.5
    return pd.DataFrame(rows, columns=["onset", "sound", "stream"])


def _find_textgrids_of_triggers(sounds, textgrid):
    """Return the TextGrid of each stimulus that has one."""
    files = list(dict.fromkeys(str(sound) for sound in sounds if not isinstance(sound, StimulusArray)))
    if textgrid is False:
        return {}
    if isinstance(textgrid, dict):
        given = {os.path.abspath(sound): Path(path) for sound, path in textgrid.items()}
        if missing := sorted(set(given) - set(files)):
            raise ValueError(f"textgrid names {missing[0]!r}, which is not a file of stimuli: {files}.")
        found = given
    elif textgrid is not None and not Path(textgrid).is_dir():
        if len(files) != 1:
            raise ValueError(
                f"textgrid={str(textgrid)!r} is one file, but there are {len(files)} audio files. Pass a folder or "
                "a dict."
            )
        found = {files[0]: Path(textgrid)}
    else:
        found = {sound: find_textgrid(sound, textgrid) for sound in files}
        found = {sound: path for sound, path in found.items() if path is not None}
        if textgrid is not None and files and not found:
            raise FileNotFoundError(
                f"textgrid={str(textgrid)!r} holds no TextGrid with the name of an audio file, such as "
                f"{Path(files[0]).stem}.TextGrid."
            )
    for path in found.values():
        if not path.is_file():
            raise FileNotFoundError(
                f"textgrid: {str(path)!r} is not an existing file. Correct the path, or pass textgrid=False."
            )
    warn_missing_textgrids([sound for sound in files if sound not in found], len(found))
    return found

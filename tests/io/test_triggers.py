"""Tests for events tables from triggers and annotations."""

import mne
import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.recorded_warnings import record_warnings
from helpers.sync_recordings import (
    PPM,
    RATE,
    make_pulses,
    make_syllables,
    play_both,
    write_planted,
    write_raw,
)

from sk_b2s import events_from_raw
from sk_b2s.io._clocks._audio_alignment import find_stimulus_by_audio_alignment
from sk_b2s.io._triggers import read_triggers

TEXTGRID = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n0 60 <exists> 1 "IntervalTier" "words" 0 60 2\n'
)


TEXTGRID += '1 1.5 "once" 40 41 "upon"\n'


def test_events_from_raw_reads_triggers(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, make_pulses([4, 75], 140, [1, 2]))
    events = events_from_raw(path, {1: wavs[0], 2: wavs[1]}, audio_delay=0.02, session="2")
    assert events[["subject", "session", "type"]].values.tolist() == [["anna", "2", "sound"]] * 2
    np.testing.assert_allclose(events["onset"], [4.02, 75.02])
    assert events["duration"].tolist() == [60, 60]
    (tmp_path / "a.TextGrid").write_text(TEXTGRID)
    for given in (tmp_path, {wavs[0]: tmp_path / "a.TextGrid"}):
        words = events_from_raw(path, {1: wavs[0], 2: wavs[1]}, textgrid=given).query("type == 'word'")
        np.testing.assert_allclose(words["onset"], [5, 44])
        assert words["text"].tolist() == ["once", "upon"]
    one = events_from_raw(
        mne.io.read_raw(path, verbose="ERROR"), {1: wavs[0]}, textgrid=tmp_path / "a.TextGrid"
    )
    assert one["type"].tolist() == ["sound", "word", "word"]
    table = pd.DataFrame({"onset": [4.0, 75.0], "sound": wavs, "condition": ["quiet", "loud"]})
    assert events_from_raw(path, table)["condition"].tolist() == ["quiet", "loud"]


@pytest.mark.parametrize("keys", [("Stimulus/S  1", "Stimulus/S  2"), (1, 2)])
def test_events_from_raw_reads_annotations(tmp_path, wavs, keys):
    marks = ([4.0, 75.0, 3.0], [0, 0, 0], ["Stimulus/S  1", "Stimulus/S  2", "BAD"])
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, annotations=marks)
    np.testing.assert_allclose(
        events_from_raw(path, dict(zip(keys, wavs, strict=True)))["onset"], [4, 75], atol=2e-3
    )


def test_read_triggers_finds_held_codes(tmp_path):
    """BioSemi and EGI devices hold codes. Falling bits are not codes."""
    stim = np.zeros(140 * RATE)
    for start, stop, code in [(5, 20, 12), (20, 50, 5), (50, 100, 12), (110, 111, 12), (120, 130, 5)]:
        stim[start * RATE : stop * RATE] = code
    stim[111 * RATE] = 4  # remaining bit of 12 for one sample
    raw = mne.io.read_raw(
        write_raw(tmp_path / "x_raw.fif", {"Cz": np.zeros(len(stim))}, stim), verbose="ERROR"
    )
    times = read_triggers(raw, [5, 12])
    assert times[5].tolist() == [20, 120]
    assert times[12].tolist() == [5, 50, 110]
    with pytest.raises(ValueError, match="trigger 4 does not occur"):
        read_triggers(raw, [4])


def test_read_triggers_ignores_settling_bits(tmp_path):
    stim = np.zeros(140 * RATE)
    stim[: 2 * RATE] = 3  # trigger that starts the recording
    stim[5 * RATE : 5 * RATE + 5], stim[5 * RATE] = 5, 1  # 5 = 4 | 1, bit 1 one sample earlier
    stim[10 * RATE : 60 * RATE] = 12
    for mark in (20, 30):
        stim[mark * RATE : mark * RATE + 10] = 13  # mark of another device on the held code
    stim[70 * RATE : 70 * RATE + 5] = 1
    raw = mne.io.read_raw(
        write_raw(tmp_path / "x_raw.fif", {"Cz": np.zeros(len(stim))}, stim), verbose="ERROR"
    )
    times = read_triggers(raw, [1, 3, 5, 12, 13])
    assert {key: at.round(3).tolist() for key, at in times.items()} == {
        1: [70], 3: [0], 5: [5.002], 12: [10], 13: [20, 30]
    }  # fmt: skip


def test_events_from_raw_ignores_responses(tmp_path, wavs):
    marks = ([4.0, 30.0], [0, 0], ["S  1", "R  1"])
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, annotations=marks)
    np.testing.assert_allclose(events_from_raw(path, {1: wavs[0]})["onset"], [4.0], atol=2e-3)


def test_events_from_raw_refuses_cropped_raw(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, make_pulses([24], 140))
    raw = mne.io.read_raw(path, verbose="ERROR").crop(10)
    with pytest.raises(
        ValueError,
        match=r"raw has 65000 samples from sample 5700, but its file .* 70000 samples from sample 700",
    ):
        events_from_raw(raw, {1: wavs[0]})
    both = mne.concatenate_raws([mne.io.read_raw(path, verbose="ERROR") for _ in range(2)], verbose="ERROR")
    with pytest.raises(ValueError, match="it was cropped or concatenated"):
        events_from_raw(both, {1: wavs[0]})


def test_events_from_raw_names_missing_textgrids(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, make_pulses([4], 140))
    with pytest.raises(
        FileNotFoundError, match=r"holds no TextGrid with the name of an audio file, such as a\.TextGrid"
    ):
        events_from_raw(path, {1: wavs[0]}, textgrid=tmp_path)


def test_events_from_raw_locates_stimuli(tmp_path, wavs):
    channel = play_both(wavs)
    onset, correlation = find_stimulus_by_audio_alignment(channel, RATE, wavs[1])
    assert abs(onset - 75) < 0.02
    assert correlation > 0.8
    assert (
        find_stimulus_by_audio_alignment(np.random.default_rng(4).standard_normal(70_000), RATE, wavs[1])[1]
        < 0.3
    )
    path = write_planted(tmp_path, wavs, channel)["recording"][0]
    events = events_from_raw(path, wavs, audio="MISC 001")
    np.testing.assert_allclose(events["onset"], [4.0, 75.0], atol=0.002)
    np.testing.assert_allclose(events["drift_ppm"], PPM, atol=25)
    with pytest.raises(ValueError, match=r"'a\.wav' was not found after 1[0-9]+\.\d s .*in the order"):
        events_from_raw(path, wavs[::-1], audio="MISC 001")
    with pytest.raises(ValueError, match="without triggers can only be located in a recorded audio channel"):
        events_from_raw(path, wavs)


def test_events_from_raw_names_short_audio(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, make_pulses([4], 140))
    (tmp_path / "a.TextGrid").write_text(TEXTGRID.replace("40 41", "55 56"))
    short = tmp_path / "short.wav"
    soundfile.write(short, make_syllables(50.0), 4000)
    with pytest.raises(
        ValueError,
        match=r"short\.wav' has 50\.000 s, but its last word begins at 55\.000 s in .*a\.Text",
    ):
        events_from_raw(path, {1: short}, textgrid={short: tmp_path / "a.TextGrid"})


def test_events_from_raw_reads_lists_and_streams(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, make_pulses([4, 75], 140))
    assert events_from_raw(path, {1: wavs})["sound"].tolist() == wavs
    two = events_from_raw(path, {1: {"attended": wavs[0], "ignored": wavs[1]}})
    assert two.groupby("stream")["onset"].apply(list).to_dict() == {"attended": [4, 75], "ignored": [4, 75]}


def test_events_from_raw_refuses_late_onsets(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)})
    table = pd.DataFrame({"onset": [4.0, 75_000.0], "sound": wavs})
    with pytest.raises(ValueError, match=r"row 1, column 'onset'.* lasts 140\.0 s, but the onset is 75000"):
        events_from_raw(path, table)


@pytest.mark.parametrize(
    ("sounds", "options", "message"),
    [
        (
            lambda w: {7: w[0]},
            {},
            r"trigger 7 does not occur in the recording, which has 1 \(2 times\), 3 \(1 times\)",
        ),
        (lambda w: {"story": w[0]}, {}, "trigger 'story' does not occur"),
        (lambda w: {1: [w[0]]}, {}, "trigger 1 occurs 2 times .* names 1 files"),
        (
            lambda w: {1: w[0]},
            {},
            r"trigger 1 occurs at 4\.000 s and again 21\.000 s later .*of 60\.0 s is playing",
        ),
        (lambda w: {3: w[0]}, {"sync": {1: 30.0}}, "only 0 of these triggers .* in the 1 stimuli"),
        (
            lambda w: {3: w[0]},
            {"sync": {1: "middle"}},
            "expected seconds above 0.04, a list of times, 'end' or 'word'",
        ),
        (lambda w: {3: w[0]}, {"sync": {1: "word"}}, "'a.wav' has no TextGrid"),
        (lambda w: {3: w[0]}, {"textgrid": {"c.wav": "c.TextGrid"}}, "is not a file of stimuli"),
        (lambda w: {3: w[0]}, {"audio": "AUD"}, "has no such channel"),
        (lambda w: {}, {}, "names no audio file"),
        (lambda w: pd.DataFrame({"sound": w}), {}, r"must have the columns .* lacks \['onset'\]"),
    ],
)
def test_events_from_raw_names_contradictions(tmp_path, wavs, sounds, options, message):
    path = write_raw(
        tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, make_pulses([4, 25, 70], 140, [1, 1, 3])
    )
    with pytest.raises(ValueError, match=message):
        events_from_raw(path, sounds(wavs), **options)


def test_events_from_raw_names_missing_files(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, make_pulses([4], 140))
    with pytest.raises(FileNotFoundError, match="'.*none.wav' is not an existing file"):
        events_from_raw(path, {1: "none.wav"})
    raw = mne.io.RawArray(np.zeros((1, 100)), mne.create_info(1, 100, "eeg"), verbose="ERROR")
    with pytest.raises(ValueError, match="must be a recording in a file"):
        events_from_raw(raw, {1: wavs[0]})


def test_read_triggers_reads_real_recordings(data_folder):
    raw = mne.io.read_raw(data_folder / "formats/brainvision/test.vhdr", verbose="ERROR")
    # The marker file has Mk2=Stimulus,S253,487 and Mk8=Stimulus,S253,4936, counted from 1.
    np.testing.assert_allclose(read_triggers(raw, [253])[253], np.array([486, 4935]) / raw.info["sfreq"])
    named = read_triggers(raw, ["Stimulus/S253"])["Stimulus/S253"]
    np.testing.assert_allclose(named, np.array([486, 4935]) / raw.info["sfreq"])
    raw = mne.io.read_raw(data_folder / "formats/test.bdf", verbose="ERROR")
    found = mne.find_events(raw, shortest_event=1, mask=0xFFFF, mask_type="and", verbose="ERROR")
    code = int(found[0, 2])
    expected = found[found[:, 2] == code, 0] / raw.info["sfreq"]
    np.testing.assert_allclose(read_triggers(raw, [code])[code], expected)


def test_read_triggers_names_empty_channel(tmp_path):
    info = mne.create_info(["Cz", "STI"], 100, ["eeg", "stim"])
    raw = mne.io.RawArray(np.zeros((2, 500)), info, verbose="ERROR")
    with pytest.raises(ValueError, match="trigger 1 does not occur in the recording, which has no triggers"):
        read_triggers(raw, [1])
    raw.set_annotations(mne.Annotations([2.0], [0.0], ["Stimulus/S  1"]))
    assert read_triggers(raw, [1])[1].tolist() == [2.0]


@pytest.mark.parametrize(
    "sounds", [[], {}, pd.DataFrame({"onset": [], "sound": []})], ids=["list", "dict", "table"]
)
def test_events_from_raw_refuses_no_stimuli(sounds, folder):
    with pytest.raises(ValueError, match="names no audio file"):
        events_from_raw(folder.recording, sounds, audio="A1" if isinstance(sounds, list) else None)


def test_events_from_raw_names_silent_channel(tmp_path, folder):
    info = mne.create_info(["Cz", "Audio"], 1000, ["eeg", "misc"])
    mne.io.RawArray(np.zeros((2, 40_000)), info, verbose="ERROR").save(
        tmp_path / "a_raw.fif", verbose="ERROR"
    )
    with pytest.raises(ValueError, match=r"channel 'Audio'"):
        record_warnings(events_from_raw, tmp_path / "a_raw.fif", [str(folder.wav)], audio="Audio")


RNG = np.random.default_rng(0)


def write_recording_with_audio(folder, marks):
    """Save two minutes with trigger codes, and an audio file of 100 s."""
    data = np.zeros((2, 120 * 100))
    data[0] = 1e-6 * RNG.standard_normal(data.shape[1])
    for time, code in marks:
        data[1, round(time * 100) : round(time * 100) + 3] = code
    raw = mne.io.RawArray(data, mne.create_info(["Cz", "STI"], 100, ["eeg", "stim"]), verbose="ERROR")
    raw.save(folder / "p_raw.fif", verbose="ERROR")
    soundfile.write(folder / "s.wav", 0.1 * RNG.standard_normal(100_000), 1000)
    return folder / "p_raw.fif", str(folder / "s.wav")


MARKS = [(8.0 + second, 99) for second in range(10, 100, 10)]


@pytest.mark.filterwarnings("ignore:.*triggers are missing at")
def test_events_from_raw_warns_wrong_first_trigger(tmp_path):
    path, sound = write_recording_with_audio(
        tmp_path, [(8.0, 1), *((time + 0.07, code) for time, code in MARKS)]
    )
    with pytest.warns(UserWarning, match=r"first trigger of 1 of 1 stimuli .* 's.wav' by \+0\.070 s"):
        events = events_from_raw(path, {1: sound}, sync={99: 10.0}, textgrid=False)
    assert events["onset"].iloc[0] == pytest.approx(8.07, abs=0.005)


@pytest.mark.parametrize(
    ("sounds", "sync", "match"),
    [
        ({"1": None}, None, "write 1 without quotes"),
        (
            {1: None},
            {99: 10_000.0},
            "None of the times lies in a stimulus. The longest one ends at 100.000 s",
        ),
        ({1: None}, {99: [10_000.0, 20_000.0]}, "Are times in milliseconds"),
        ({1: None}, {99: []}, "None of the times lies"),
        (
            {"onset": ["8,0"], "sound": None},
            None,
            "stimuli row 0, column 'onset': expected seconds .* got '8,0'",
        ),
        ({"onset": [8000.0], "sound": None}, None, "Are times in samples of 100 Hz"),
    ],
)
def test_events_from_raw_suggests_other_units(tmp_path, sounds, sync, match):
    path, sound = write_recording_with_audio(tmp_path, [(8.0, 1), *MARKS])
    sounds = {key: sound if value is None else value for key, value in sounds.items()}
    sounds = pd.DataFrame(sounds) if "onset" in sounds else sounds
    with pytest.raises(ValueError, match=match):
        events_from_raw(path, sounds, sync=sync, textgrid=False)

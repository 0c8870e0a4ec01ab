"""Planted delays and drifts are recovered from triggers and from a recorded sound, and bad ones refused."""

import warnings

import mne
import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.signal import decimate

from sk_b2s import StimulusArray, align_to_audio, concurrent_stream, events_from_raw, make_segments
from sk_b2s.io._clocks._audio_alignment import find_stimulus
from sk_b2s.io._clocks._clock_fit import check_fit, fit_clock, follow_marks
from sk_b2s.io._triggers import read_triggers

RATE = 500  # Hz, of the recordings
PPM = 80.0
SECONDS = 60.0


def talk(seconds=SECONDS, rate=4000, seed=0):
    """Noise that waxes and wanes as syllables do."""
    rng = np.random.default_rng(seed)
    knots = rng.gamma(1.0, 1.0, round(seconds * 6) + 2)
    loud = np.interp(np.arange(round(seconds * rate)) / rate * 6, np.arange(len(knots)), knots)
    return 0.1 * loud * rng.standard_normal(len(loud))


@pytest.fixture(scope="module")
def wavs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wavs")
    paths = [folder / f"{name}.wav" for name in "ab"]
    for seed, path in enumerate(paths):
        soundfile.write(path, talk(seed=seed), 4000, subtype="FLOAT")
    return [str(path) for path in paths]


def recorded(samples, onset, ppm, seconds, kind="waveform", rate=4000):
    """What a channel at 500 Hz holds of a sound that another clock plays."""
    low = decimate(samples if kind == "waveform" else np.abs(samples), rate // RATE, ftype="fir")
    at = (np.arange(round(seconds * RATE)) / RATE - onset) / (1 + ppm * 1e-6)
    return np.interp(at, np.arange(len(low)) / RATE, low, left=0, right=0)


def write_raw(path, channels, stim=None, annotations=None, first_samp=700):
    names, kinds = list(channels), ["misc" if name.startswith("MISC") else "eeg" for name in channels]
    data = list(channels.values())
    if stim is not None:
        names, kinds, data = [*names, "STI 014"], [*kinds, "stim"], [*data, stim]
    info = mne.create_info(names, RATE, kinds)
    raw = mne.io.RawArray(np.array(data), info, first_samp=first_samp, verbose="ERROR")
    if annotations is not None:
        raw.set_annotations(mne.Annotations(*annotations))
    raw.save(path, fmt="double", overwrite=True, verbose="ERROR")
    return path


def pulses(times, seconds, codes=1):
    """A trigger channel whose pulses of 10 ms begin at the samples nearest to some times."""
    stim = np.zeros(round(seconds * RATE))
    for time, code in zip(times, np.broadcast_to(codes, len(times)), strict=True):
        stim[round(time * RATE) : round(time * RATE) + 5] = code
    return stim


# --- the line --------------------------------------------------------------------------------------


def test_one_drift_and_each_onset_in_spite_of_a_quarter_of_false_marks():
    rng = np.random.default_rng(0)
    which = np.repeat([0, 1, 2], 100)
    onsets = np.array([3.0, 410.0, 900.0])
    s = np.tile(np.arange(100) * 3.0, 3)
    r = onsets[which] + s * (1 + PPM * 1e-6) + 0.001 * rng.standard_normal(300)
    false = rng.random(300) < 0.25
    r[false] += rng.uniform(-2, 2, false.sum())
    fit = fit_clock(which, s, r)
    np.testing.assert_allclose(fit.onsets, onsets, atol=1e-3)
    assert abs(fit.drift * 1e6 - PPM) < 3
    assert 0.0007 < fit.residual < 0.0015
    assert not fit.used[false & (np.abs(r - onsets[which] - s) > 0.1)].any()
    assert fit.used[~false].mean() > 0.95


def test_the_line_is_that_of_least_squares_where_all_marks_count():
    rng = np.random.default_rng(1)
    s = np.arange(50.0)
    r = 2 + s * 1.00004 + 1e-4 * rng.standard_normal(50)
    slope, onset = np.polyfit(s, r, 1)
    fit = fit_clock(np.zeros(50, int), s, r)
    np.testing.assert_allclose([fit.onsets[0], 1 + fit.drift], [onset, slope], rtol=1e-9)


def test_one_mark_for_each_sound_tells_no_drift():
    fit = fit_clock([0, 1], [0.0, 0.0], [3.0, 90.0])
    assert fit.drift == 0
    assert fit.onsets.tolist() == [3.0, 90.0]


def test_marks_are_followed_past_those_lost_and_those_too_many():
    expected = np.arange(0, 3600, 1.0)
    observed = 10 + expected * (1 + 100e-6)  # 0.36 s off in the end, more than the tolerance
    lost = np.delete(observed, np.arange(5, 3600, 7))
    s, r = follow_marks(expected, np.sort(np.r_[lost, lost[::50] + 0.4]), onset=10.0)
    np.testing.assert_allclose(r, 10 + s * (1 + 100e-6))
    assert len(s) == len(lost)


# --- clocks that bend --------------------------------------------------------------------------------


def bent(s, ppm, start=180.0, stop=420.0):
    """Marks of a clock that is 30 ppm off and faster by ppm in between."""
    rate = 1 + 30e-6
    return 8 + rate * s + ppm * 1e-6 * (np.clip(s, start, stop) - start)


@pytest.mark.parametrize("ppm", [200, 300, 400, 600])
@pytest.mark.parametrize("step", [1.0, 10.0, 30.0])
def test_check_fit_names_changes_of_rate(ppm, step):
    s = np.arange(0, 600, step)
    r = bent(s, ppm) + 1e-3 * np.random.default_rng(ppm).standard_normal(len(s))
    with pytest.warns(UserWarning, match="its rate changes by") as said:
        check_fit(fit := fit_clock(np.zeros(len(s), int), s, r), "recording 'a'")
    assert [bend.kind for bend in fit.bends] == ["rate", "rate"]
    np.testing.assert_allclose([bend.time for bend in fit.bends], [188, 428], atol=2 + step)
    np.testing.assert_allclose([bend.size * 1e6 for bend in fit.bends], [ppm, -ppm], rtol=0.2)
    worst = np.abs(fit.onsets[0] + (1 + fit.drift) * s - bent(s, ppm)).max()
    assert fit.worst == pytest.approx(worst, abs=4e-3)
    assert f"up to {fit.worst * 1e3:.0f} ms wrong" in str(said[-1].message)


@pytest.mark.parametrize("jitter", [0.0, 1e-3])
def test_check_fit_doubts_a_fast_clock_with_a_residual(jitter):
    s = np.arange(0, 600, 10.0)
    r = 8 + s * (1 + 372e-6) + jitter * np.random.default_rng(0).standard_normal(60)
    with pytest.warns(UserWarning, match=r"\+37[0-9] ppm apart .* real ones less than 100"):
        check_fit(fit := fit_clock(np.zeros(60, int), s, r), "recording 'a'")
    assert fit.residual == pytest.approx(jitter, rel=0.3, abs=1e-9)


def test_check_fit_is_silent_about_straight_clocks():
    """Jitter, samples, lost marks and several sounds in 120 draws, of clocks that are up to 100 ppm apart."""
    rng = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in range(120):
            s = np.arange(0, 600, rng.choice([5.0, 10.0, 30.0]))
            s = np.delete(s, rng.choice(len(s), len(s) // 8, replace=False))
            which = np.searchsorted([0, 200, 400][: 1 + draw % 3], s, side="right") - 1
            r = 8 + 20 * which + s * (1 + rng.uniform(-1e-4, 1e-4)) + 1e-3 * rng.standard_normal(len(s))
            step = [0.0, 1 / 500, 1 / 128][draw % 3]
            r = np.round(r / step) * step if step else r
            check_fit(fit_clock(which, s, r, resolution=step), "recording 'a'")


def test_check_fit_names_a_jump_within_a_sound():
    s = np.arange(0, 600, 10.0)
    r = 8 + s + 0.015 * (s > 300) + 1e-3 * np.random.default_rng(0).standard_normal(60)
    with pytest.warns(UserWarning, match=r"at 31\d\.\d s it jumps by \+1[456]\.\d ms"):
        check_fit(fit_clock(np.zeros(60, int), s, r), "recording 'a'")


def test_check_fit_sees_a_bend_at_the_end():
    """A line through most marks calls the last ones false."""
    s = np.arange(0, 600, 5.0)
    r = bent(s, 600, 540, 600) + 1e-3 * np.random.default_rng(0).standard_normal(len(s))
    fit = fit_clock(np.zeros(len(s), int), s, r)
    assert fit.used.mean() < 0.95
    with pytest.warns(UserWarning, match=r"at 5[45]\d\.\d s its rate changes by \+[567]\d\d ppm"):
        check_fit(fit, "recording 'a'")


def test_check_fit_counts_ignored_marks():
    s = np.arange(0, 600, 10.0)
    r = 8 + s + 1e-3 * np.random.default_rng(0).standard_normal(60)
    r[::6] += np.random.default_rng(1).uniform(0.1, 1, 10)
    with pytest.warns(UserWarning, match="10 of 60 marks are off the line and were ignored"):
        check_fit(fit_clock(np.zeros(60, int), s, r), "recording 'a'")
    with pytest.warns(UserWarning, match="1 of 3 marks are off the line"):
        check_fit(fit_clock(np.zeros(3, int), [0.0, 300.0, 600.0], [8.0, 308.03, 608.0]), "recording 'a'")


@pytest.mark.parametrize(
    ("which", "s", "r", "message"),
    [
        ([], [], [], "one mark at least"),
        ([0, 0], [0.0, 1.0], [0.0], "one value for each mark"),
        ([0, 0], [0.0, np.nan], [0.0, 1.0], "Mark 1 is not"),
        ([0, 2], [0.0, 0.0], [0.0, 1.0], r"without gaps. Got \[0, 2\]"),
    ],
)
def test_fit_clock_refuses_marks_without_a_line(which, s, r, message):
    with pytest.raises(ValueError, match=message):
        fit_clock(which, s, r)


def test_fit_clock_takes_equal_marks_as_one():
    fit = fit_clock([0, 0, 0], [5.0, 5.0, 5.0], [9.0, 9.0, 9.001])
    assert fit.drift == 0
    assert fit.onsets[0] == pytest.approx(4.0, abs=1e-3)


def test_follow_marks_allows_more_drift_over_more_time():
    """Marks each ten minutes at 500 ppm: 0.3 s from one to the next."""
    expected = np.arange(600.0, 3601.0, 600.0)
    s, r = follow_marks(expected, 10 + expected * (1 + 500e-6), onset=10.0)
    np.testing.assert_allclose(r - s - 10, 500e-6 * expected)
    assert len(follow_marks(expected, 10 + expected * 1.01, onset=10.0)[0]) == 0


def test_follow_marks_does_not_give_one_trigger_to_two_marks():
    expected = np.arange(0.08, 4.0, 0.08)
    s, r = follow_marks(expected, np.delete(expected, [10, 25]), onset=0.0)
    np.testing.assert_allclose(r, s)
    assert len(s) == len(expected) - 2


# --- a recorded sound --------------------------------------------------------------------------------


def planted(tmp_path, wavs, channel, error=0.35):
    """A recording of both sounds and its events, whose onsets are wrong."""
    seconds = 2 * SECONDS + 20
    data = {"Cz": np.zeros(round(seconds * RATE)), "MISC 001": channel}
    path = write_raw(tmp_path / "planted_raw.fif", data)
    return pd.DataFrame({
        "subject": "01", "recording": str(path), "type": ["sound", "word", "sound", "word"],
        "onset": np.array([4.0, 54.0, 75.0, 76.0]) + error, "duration": [0, 0.5, 0, 0.5],
        "sound": [wavs[0], wavs[0], wavs[1], wavs[1]], "sound_onset": [0.0, 50.0, 0.0, 1.0],
        "text": [None, "late", None, "early"],
    })  # fmt: skip


def both(wavs, ppm=PPM, kind="waveform", seconds=2 * SECONDS + 20):
    return sum(
        recorded(soundfile.read(wav)[0], onset, ppm, seconds, kind)
        for wav, onset in zip(wavs, (4.0, 75.0), strict=True)
    )


@pytest.mark.parametrize("kind", ["waveform", "envelope", "noisy and inverted"])
def test_a_recorded_sound_tells_onset_and_drift(tmp_path, wavs, kind):
    channel = both(wavs, kind=kind.split()[0] if kind in ("waveform", "envelope") else "waveform")
    if kind.startswith("noisy"):
        channel = 5 - 3 * channel + channel.std() * np.random.default_rng(2).standard_normal(len(channel))
    events = align_to_audio(planted(tmp_path, wavs, channel), ["AUD", "MISC 001"], audio_delay=0.01)
    sounds = events[events["type"] == "sound"]
    np.testing.assert_allclose(sounds["onset"], [4.01, 75.01], atol=0.002)
    np.testing.assert_allclose(sounds["drift_ppm"], PPM, atol=25)
    assert (sounds["residual_ms"] < 3).all()
    words = events[events["type"] == "word"]
    np.testing.assert_allclose(words["onset"], [54.01 + 50 * PPM * 1e-6, 76.01 + PPM * 1e-6], atol=0.002)
    assert words["sound_onset"].tolist() == [50.0, 1.0]


def test_align_to_audio_names_a_bend(tmp_path):
    """Two minutes of sound whose second half a clock plays 400 ppm slower."""
    wav = tmp_path / "long.wav"
    samples = talk(180.0, seed=7)
    soundfile.write(wav, samples, 4000, subtype="FLOAT")
    t = np.arange(200 * RATE) / RATE - 4.0
    low = decimate(samples, 4000 // RATE, ftype="fir")
    at = np.where(t > 90, 90 + (t - 90) / (1 + 600e-6), t)
    channel = np.interp(at, np.arange(len(low)) / RATE, low, left=0, right=0)
    path = write_raw(tmp_path / "b_raw.fif", {"Cz": np.zeros(len(t)), "MISC 001": channel})
    events = pd.DataFrame({
        "subject": "1", "recording": str(path), "type": "sound", "onset": [4.3], "duration": 0.0, "sound": str(wav),
    })  # fmt: skip
    with pytest.warns(UserWarning, match=r"at (8|9|10)\d\.\d s its rate changes by \+[567]\d\d ppm"):
        align_to_audio(events, "MISC 001")


def test_align_to_audio_follows_a_clock_beyond_the_search(tmp_path):
    """At 1900 ppm the end of five minutes is 0.57 s late, and 0.3 s are searched."""
    wav = tmp_path / "long.wav"
    samples = talk(300.0, seed=8)
    soundfile.write(wav, samples, 4000, subtype="FLOAT")
    path = write_raw(
        tmp_path / "b_raw.fif", {"Cz": np.zeros(310 * RATE), "MISC 001": recorded(samples, 4.0, 1900, 310)}
    )
    events = pd.DataFrame({
        "subject": "1", "recording": str(path), "type": "sound", "onset": [4.1], "duration": 0.0, "sound": str(wav),
    })  # fmt: skip
    with pytest.warns(UserWarning, match=r"\+1(89|90)\d ppm apart"):
        aligned = align_to_audio(events, "MISC 001", search=0.3)
    np.testing.assert_allclose(aligned["onset"], 4.0, atol=0.002)
    with pytest.raises(ValueError, match="is not heard within 0.3 s"):
        align_to_audio(events.assign(onset=5.2), "MISC 001", search=0.3)


def test_windows_of_a_grid_follow_the_drift(tmp_path, wavs):
    events = planted(tmp_path, wavs, np.zeros(round(140 * RATE)), error=0.0)
    events["drift_ppm"] = np.where(events["type"] == "sound", 500.0, np.nan)
    X, y = make_segments(events, anchor=5.0, tmin=0.0, tmax=3.0)
    first = np.where(y["sound"] == wavs[0], 4.0, 75.0)
    np.testing.assert_allclose(X["onset"], first + y["sound_onset"] * 1.0005)
    assert "drift_ppm" not in y
    X, y = make_segments(events.assign(drift_ppm=np.nan), anchor=5.0, tmin=0.0, tmax=3.0)
    np.testing.assert_allclose(X["onset"], first + y["sound_onset"])


@pytest.mark.parametrize(
    ("channel", "name", "message"),
    [
        (
            lambda w: np.random.default_rng(3).standard_normal(70_000),
            "MISC 001",
            r"'a\.wav' is not heard within 1 s",
        ),
        (lambda w: both(w[::-1]), "MISC 001", "is not heard within 1 s of 4.35 s .*Is it another sound"),
        (lambda w: both(w, ppm=5000), "MISC 001", "real clocks|off a straight line|not heard"),
        (both, "AUD", r"has none of them; its channels besides the sensors are \['MISC 001'\]"),
    ],
)
def test_a_channel_that_cannot_be_is_refused(tmp_path, wavs, channel, name, message):
    events = planted(tmp_path, wavs, channel(wavs))
    with pytest.raises(ValueError, match=message):
        align_to_audio(events, name)


def test_a_sound_cut_and_restarted_is_off_the_line(tmp_path, wavs):
    samples, _ = soundfile.read(wavs[0])
    late = recorded(samples, 4.0, 0, 140) * (np.arange(70_000) < 34 * RATE)
    late += recorded(samples, 4.2, 0, 140) * (np.arange(70_000) >= 34 * RATE)  # the player stalls for 0.2 s
    channel = late + recorded(soundfile.read(wavs[1])[0], 75.0, 0, 140)
    with pytest.raises(ValueError, match=r"off a straight line .*was a sound interrupted\?"):
        align_to_audio(planted(tmp_path, wavs, channel).iloc[:2], "MISC 001")


def test_a_sound_is_found_without_any_trigger(tmp_path, wavs):
    channel = both(wavs)
    onset, likeness = find_stimulus(channel, RATE, wavs[1])
    assert abs(onset - 75) < 0.02
    assert likeness > 0.8
    assert find_stimulus(np.random.default_rng(4).standard_normal(70_000), RATE, wavs[1])[1] < 0.3
    path = planted(tmp_path, wavs, channel)["recording"][0]
    events = events_from_raw(path, wavs, audio="MISC 001")
    np.testing.assert_allclose(events["onset"], [4.0, 75.0], atol=0.002)
    np.testing.assert_allclose(events["drift_ppm"], PPM, atol=25)
    with pytest.raises(ValueError, match=r"'a\.wav' is not heard after 1[0-9]+\.\d s .*in the order"):
        events_from_raw(path, wavs[::-1], audio="MISC 001")
    with pytest.raises(ValueError, match="sounds without triggers are found in a recorded audio channel"):
        events_from_raw(path, wavs)


# --- triggers ----------------------------------------------------------------------------------------


TEXTGRID = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n0 60 <exists> 1 "IntervalTier" "words" 0 60 2\n'
)
TEXTGRID += '1 1.5 "once" 40 41 "upon"\n'


def test_triggers_begin_sounds(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, pulses([4, 75], 140, [1, 2]))
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
def test_annotations_begin_sounds_wherever_the_recording_was_cut(tmp_path, wavs, keys):
    marks = ([4.0, 75.0, 3.0], [0, 0, 0], ["Stimulus/S  1", "Stimulus/S  2", "BAD"])
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, annotations=marks)
    np.testing.assert_allclose(
        events_from_raw(path, dict(zip(keys, wavs, strict=True)))["onset"], [4, 75], atol=2e-3
    )


def test_codes_that_are_held_until_the_next_one_are_seen(tmp_path):
    """As boxes of BioSemi and EGI send them; bits that fall one after the other are no codes."""
    stim = np.zeros(140 * RATE)
    for start, stop, code in [(5, 20, 12), (20, 50, 5), (50, 100, 12), (110, 111, 12), (120, 130, 5)]:
        stim[start * RATE : stop * RATE] = code
    stim[111 * RATE] = 4  # what is left of 12 for a sample
    raw = mne.io.read_raw(
        write_raw(tmp_path / "x_raw.fif", {"Cz": np.zeros(len(stim))}, stim), verbose="ERROR"
    )
    times = read_triggers(raw, [5, 12])
    assert times[5].tolist() == [20, 120]
    assert times[12].tolist() == [5, 50, 110]
    with pytest.raises(ValueError, match="trigger 4 does not come"):
        read_triggers(raw, [4])


def test_bits_that_do_not_change_at_once_and_marks_on_a_held_code(tmp_path):
    stim = np.zeros(140 * RATE)
    stim[: 2 * RATE] = 3  # the trigger that started the recorder
    stim[5 * RATE : 5 * RATE + 5], stim[5 * RATE] = 5, 1  # 5 = 4 | 1, the one a sample earlier
    stim[10 * RATE : 60 * RATE] = 12
    for mark in (20, 30):
        stim[mark * RATE : mark * RATE + 10] = 13  # a mark of another source, on the code that is held
    stim[70 * RATE : 70 * RATE + 5] = 1
    raw = mne.io.read_raw(
        write_raw(tmp_path / "x_raw.fif", {"Cz": np.zeros(len(stim))}, stim), verbose="ERROR"
    )
    times = read_triggers(raw, [1, 3, 5, 12, 13])
    assert {key: at.round(3).tolist() for key, at in times.items()} == {
        1: [70], 3: [0], 5: [5.002], 12: [10], 13: [20, 30]
    }  # fmt: skip


def test_a_response_is_no_stimulus(tmp_path, wavs):
    marks = ([4.0, 30.0], [0, 0], ["S  1", "R  1"])
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, annotations=marks)
    np.testing.assert_allclose(events_from_raw(path, {1: wavs[0]})["onset"], [4.0], atol=2e-3)


def test_a_raw_that_was_cut_is_not_its_file(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, pulses([24], 140))
    raw = mne.io.read_raw(path, verbose="ERROR").crop(10)
    with pytest.raises(
        ValueError, match=r"raw has 65000 samples from 5700 on, but its file .* 70000 from 700 on"
    ):
        events_from_raw(raw, {1: wavs[0]})
    both = mne.concatenate_raws([mne.io.read_raw(path, verbose="ERROR") for _ in range(2)], verbose="ERROR")
    with pytest.raises(ValueError, match="it was cut or joined"):
        events_from_raw(both, {1: wavs[0]})


def test_a_folder_without_textgrids_is_told(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, pulses([4], 140))
    with pytest.raises(FileNotFoundError, match=r"holds no TextGrid named as a sound, a\.TextGrid"):
        events_from_raw(path, {1: wavs[0]}, textgrid=tmp_path)


def test_what_two_marks_say_cannot_be_checked(tmp_path, wavs):
    fit = fit_clock([0, 0], [0.0, 60.0], [4.0, 64.02])
    assert np.isnan(fit.residual)
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, pulses([4, 64.02], 140, [1, 9]))
    with pytest.warns(UserWarning, match=r"its marks say that the clocks are \+333 ppm apart.* too few"):
        events = events_from_raw(path, {1: wavs[0]}, sync={9: "end"})
    assert events["residual_ms"].isna().all()


@pytest.mark.filterwarnings("ignore:recording .* not heard")
def test_short_sounds_are_moved_as_the_long_ones_or_refused(tmp_path):
    """What half a second of an envelope is like is found anywhere."""
    seconds = [12.0, 0.5, 12.0, 0.6, 12.0, 0.8]
    paths = [str(tmp_path / f"s{i}.wav") for i in range(6)]
    for i, (path, lasts) in enumerate(zip(paths, seconds, strict=True)):
        soundfile.write(path, talk(lasts, seed=20 + i), 4000, subtype="FLOAT")
    onsets = np.array([5.0, 25.0, 30.0, 50.0, 55.0, 75.0])
    channel = sum(recorded(soundfile.read(p)[0], t, 0, 90) for p, t in zip(paths, onsets, strict=True))
    path = write_raw(tmp_path / "x_raw.fif", {"MISC 001": channel, "Cz": np.zeros(len(channel))})
    table = pd.DataFrame({
        "subject": "1", "recording": str(path), "type": "sound", "onset": onsets - 0.3, "duration": 0.0, "sound": paths,
    })  # fmt: skip
    swapped = table.assign(sound=[paths[i] for i in (0, 3, 2, 1, 4, 5)])
    for events in (table, swapped):
        with pytest.warns(UserWarning, match=r"3 of 6 sounds are too short .* moved by \+300 ms, as the 3"):
            aligned = align_to_audio(events, "MISC 001")
        np.testing.assert_allclose(aligned["onset"], onsets, atol=0.004)
    with pytest.raises(ValueError, match=r"'s1\.wav' is not heard .*\(3 such sounds\)\. Is it another sound"):
        align_to_audio(table.iloc[[1, 3, 5]].assign(onset=onsets[[1, 3, 5]] - [0.1, 0.3, 0.5]), "MISC 001")
    other = str(tmp_path / "other.wav")
    soundfile.write(other, talk(12.0, seed=40), 4000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"'other\.wav' is not heard"):
        align_to_audio(table.assign(sound=[other, *paths[1:]]), "MISC 001")


def test_many_short_sounds_are_found_by_agreeing(tmp_path):
    paths, onsets = [str(tmp_path / f"s{i}.wav") for i in range(12)], 3.0 + 4.0 * np.arange(12)
    for i, path in enumerate(paths):
        soundfile.write(path, talk(0.7, seed=60 + i), 4000, subtype="FLOAT")
    channel = sum(recorded(soundfile.read(p)[0], t, 0, 60) for p, t in zip(paths, onsets, strict=True))
    path = write_raw(tmp_path / "x_raw.fif", {"MISC 001": channel, "Cz": np.zeros(len(channel))})
    table = pd.DataFrame({
        "subject": "1", "recording": str(path), "type": "sound", "onset": onsets - 0.3, "duration": 0.0, "sound": paths,
    })  # fmt: skip
    np.testing.assert_allclose(align_to_audio(table, "MISC 001")["onset"], onsets, atol=0.004)


def test_a_sound_played_twice_is_found_the_first_time(tmp_path, wavs):
    samples = soundfile.read(wavs[1])[0]
    noise = 0.2 * samples.std() * np.random.default_rng(0).standard_normal(RATE * 200)
    channel = recorded(0.95 * samples, 5.3, 0, 200) + recorded(samples, 100.0, 0, 200) + noise
    assert abs(find_stimulus(channel, RATE, wavs[1])[0] - 5.3) < 0.02


def test_a_sound_shorter_than_its_words_is_named(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, pulses([4], 140))
    (tmp_path / "a.TextGrid").write_text(TEXTGRID.replace("40 41", "55 56"))
    short = tmp_path / "short.wav"
    soundfile.write(short, talk(50.0), 4000)
    with pytest.raises(
        ValueError, match=r"short\.wav' has 50\.000 s, but its last word begins at 55\.000 s in .*a\.Text"
    ):
        events_from_raw(path, {1: short}, textgrid={short: tmp_path / "a.TextGrid"})


def test_one_trigger_for_many_sounds_and_two_talkers(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, pulses([4, 75], 140))
    assert events_from_raw(path, {1: wavs})["sound"].tolist() == wavs
    two = events_from_raw(path, {1: {"attended": wavs[0], "ignored": wavs[1]}})
    assert two.groupby("stream")["onset"].apply(list).to_dict() == {"attended": [4, 75], "ignored": [4, 75]}


@pytest.mark.parametrize("sync", [{9: 1.0}, {9: list(np.arange(1.0, 60))}, {9: "end"}])
@pytest.mark.parametrize("lost", [0, 3])
def test_further_triggers_tell_the_drift(tmp_path, wavs, sync, lost):
    ends = [*np.arange(1.0, 60), 60.0] if sync[9] != "end" else [60.0]
    times, codes = [], []
    for onset in (4.0, 75.0):
        kept = ends[lost:] if len(ends) > 1 else ends
        times += [onset, *(onset + np.array(kept) * (1 + 300e-6))]
        codes += [1, *[9] * len(kept)]
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, pulses(times, 140, codes))
    events = events_from_raw(path, {1: wavs}, sync=sync)
    np.testing.assert_allclose(events["onset"], [4, 75], atol=0.002)
    np.testing.assert_allclose(events["drift_ppm"], 300, atol=50 if sync[9] == "end" else 15)
    assert (events["residual_ms"] < 2).all()


def test_events_from_raw_counts_lost_sync_triggers(tmp_path, wavs):
    times = [4.0, *(4.0 + np.arange(1.0, 60)), 75.0]  # none in the second sound
    codes = [1, *[9] * 59, 1]
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, pulses(times, 140, codes))
    with pytest.warns(UserWarning, match=r"59 of 118 such triggers are not where .* none in 'b\.wav'"):
        events_from_raw(path, {1: wavs}, sync={9: 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        events_from_raw(path, {1: wavs})


def test_events_from_raw_refuses_onsets_after_the_end(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)})
    table = pd.DataFrame({"onset": [4.0, 75_000.0], "sound": wavs})
    with pytest.raises(
        ValueError, match=r"row 1, column 'onset'.* lasts 140\.0 s, and the sound begins at 75000"
    ):
        events_from_raw(path, table)


@pytest.mark.parametrize(
    ("sounds", "options", "message"),
    [
        (
            lambda w: {7: w[0]},
            {},
            r"trigger 7 does not come in the recording; there are 1 \(2 times\), 3 \(1 times\)",
        ),
        (lambda w: {"story": w[0]}, {}, "trigger 'story' does not come"),
        (lambda w: {1: [w[0]]}, {}, "trigger 1 comes 2 times .* names 1 sounds"),
        (
            lambda w: {1: w[0]},
            {},
            r"trigger 1 comes at 4\.000 s and again 21\.000 s later .*of 60\.0 s plays",
        ),
        (lambda w: {3: w[0]}, {"sync": {1: 30.0}}, "only 0 such triggers come in 1 sounds"),
        (
            lambda w: {3: w[0]},
            {"sync": {1: "middle"}},
            "expected seconds above 0.04, a list of times, 'end' or 'word'",
        ),
        (lambda w: {3: w[0]}, {"sync": {1: "word"}}, "'a.wav' has no TextGrid"),
        (lambda w: {3: w[0]}, {"textgrid": {"c.wav": "c.TextGrid"}}, "is none of sounds"),
        (lambda w: {3: w[0]}, {"audio": "AUD"}, "has none of them"),
        (lambda w: {}, {}, "names no sound"),
        (lambda w: pd.DataFrame({"sound": w}), {}, r"lacks the columns \['onset'\]"),
    ],
)
def test_triggers_and_sounds_that_disagree(tmp_path, wavs, sounds, options, message):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, pulses([4, 25, 70], 140, [1, 1, 3]))
    with pytest.raises(ValueError, match=message):
        events_from_raw(path, sounds(wavs), **options)


def test_a_missing_file_and_a_recording_in_memory(tmp_path, wavs):
    path = write_raw(tmp_path / "anna_raw.fif", {"Cz": np.zeros(70_000)}, pulses([4], 140))
    with pytest.raises(FileNotFoundError, match="'.*none.wav' is not a file"):
        events_from_raw(path, {1: "none.wav"})
    raw = mne.io.RawArray(np.zeros((1, 100)), mne.create_info(1, 100, "eeg"), verbose="ERROR")
    with pytest.raises(ValueError, match="raw is in memory alone"):
        events_from_raw(raw, {1: wavs[0]})


def test_triggers_of_real_recordings(data_folder):
    raw = mne.io.read_raw(data_folder / "formats/brainvision/test.vhdr", verbose="ERROR")
    # The marker file says Mk2=Stimulus,S253,487 and Mk8=Stimulus,S253,4936, counted from 1.
    np.testing.assert_allclose(read_triggers(raw, [253])[253], np.array([486, 4935]) / raw.info["sfreq"])
    named = read_triggers(raw, ["Stimulus/S253"])["Stimulus/S253"]
    np.testing.assert_allclose(named, np.array([486, 4935]) / raw.info["sfreq"])
    raw = mne.io.read_raw(data_folder / "formats/test.bdf", verbose="ERROR")
    found = mne.find_events(raw, shortest_event=1, mask=0xFFFF, mask_type="and", verbose="ERROR")
    code = int(found[0, 2])
    expected = found[found[:, 2] == code, 0] / raw.info["sfreq"]
    np.testing.assert_allclose(read_triggers(raw, [code])[code], expected)


# --- two talkers -------------------------------------------------------------------------------------


def test_the_talker_beside_runs_by_the_same_clock():
    attended, ignored = (StimulusArray(np.full(64 * 40, level), sfreq=64) for level in (0.0, 1.0))
    events = pd.DataFrame({
        "subject": "01", "recording": "a.fif", "recording_duration": 60.0, "type": "sound",
        "onset": [5.0, 7.5], "duration": [0, 20.0], "sound": [attended, ignored], "sound_onset": [0.0, 3.0],
        "stream": ["attended", "ignored"], "drift_ppm": [0.0, 1000.0],
    })  # fmt: skip
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3, stream="attended")
    other = concurrent_stream(X, y, events)
    beside = other["sound"].notna()
    assert (beside == ((X["onset"] >= 7.5) & (X["onset"] + 3 <= 27.52))).all()
    np.testing.assert_allclose(other["sound_onset"][beside], 3 + (X["onset"][beside] - 7.5) / 1.001)


def test_what_other_talkers_say_is_kept_beside():
    """Each window of the table has the columns that the table of that talker has."""
    talkers = {name: StimulusArray(np.full(64 * 40, level), 64, name) for level, name in enumerate("abc")}
    events = pd.DataFrame({
        "subject": ["01"] * 3 + ["02"] * 2, "recording": ["1.fif"] * 3 + ["2.fif"] * 2, "recording_duration": 60.0,
        "type": "sound", "onset": [5.0, 7.5, 20.0, 5.0, 5.2], "duration": [0, 20.0, 12.0, 0, 0],
        "sound": [talkers[name] for name in "abcab"], "sound_onset": [0.0, 3.0, 1.0, 0.0, 0.0],
        "stream": ["attended", "ignored", "radio", "attended", "ignored"],
    })  # fmt: skip
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3, stream="attended")
    alone = make_segments(events[events["stream"] == "attended"], anchor=1.0, tmin=0, tmax=3)[1]
    pd.testing.assert_frame_equal(y[alone.columns], alone)
    for stream in ("ignored", "radio"):
        other = concurrent_stream(X, y, events, stream)
        for column in ("sound", "sound_onset", "segment"):
            pd.testing.assert_series_equal(y[f"{stream}_{column}"], other[column], check_names=False)
    radio = (X["recording"] == "1.fif") & (X["onset"] >= 20) & (X["onset"] + 3 <= 32)
    assert (y["radio_sound"].notna() == radio).all()
    assert (y.loc[~radio, "radio_segment"] == -1).all()
    np.testing.assert_allclose(y.loc[radio, "radio_sound_onset"], X.loc[radio, "onset"] - 19)
    assert not y["radio_segment"].isin(y["segment"]).any()
    assert "ignored_sound" not in make_segments(events, anchor=1.0, tmin=0, tmax=3)[1]

"""Tables of unlucky users: wrong units, sounds that lose their windows, absurd alignments and marks that disagree."""

import warnings

import mne
import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.raw_files import spoken_words, write_textgrid

from sk_b2s import StimulusArray, check_events, events_from_raw, make_segments
from sk_b2s.io._clocks._clock_fit import check_fit, fit_clock
from sk_b2s.io._textgrid import textgrid_events

RNG = np.random.default_rng(0)
STORY, OTHER = (StimulusArray(RNG.standard_normal((64 * 30, 1)), sfreq=64, name=name) for name in ("a", "b"))


def listening(streams=("single",)):
    """Two people who hear two sounds of 30 s, with a word in each second."""
    rows = []
    for who in ("01", "02"):
        common = {"subject": who, "recording": f"{who}.fif", "recording_duration": 90.0}
        for onset, sound in ((5.0, STORY), (45.0, OTHER)):
            for stream in streams:
                rows.append({**common, "type": "sound", "onset": onset, "duration": 30.0, "sound": sound,
                             "stream": stream})  # fmt: skip
            for second in range(1, 27):
                rows.append({**common, "type": "word", "onset": onset + second, "duration": 0.4, "sound": sound,
                             "text": f"w{second}", "stream": streams[0]})  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("anchor", ["word", 0.5])
def test_a_sound_that_one_person_loses_is_named_with_the_recording(anchor):
    events = listening()
    bad = {"subject": "02", "recording": "02.fif", "type": "bad", "onset": 40.0, "duration": 45.0}
    with pytest.warns(UserWarning, match=r"No window is left of the sounds 'b' in '02.fif'\."):
        make_segments(pd.concat([events, pd.DataFrame([bad])]), anchor=anchor)


def test_a_sound_whose_words_one_table_lacks_is_named():
    events = listening()
    lost = (events["subject"] == "02") & (events["type"] == "word") & (events["sound"] == OTHER)
    with pytest.warns(UserWarning, match=r"'b' in '02.fif'"):
        make_segments(events[~lost])


def test_streams_without_words_are_no_loss():
    events = listening(("attended",))
    ignored = events[events["type"] == "sound"].assign(stream="ignored", sound=[OTHER, STORY] * 2)
    extra = StimulusArray(RNG.standard_normal((64 * 5, 1)), sfreq=64, name="c")
    ignored = pd.concat([ignored, ignored.iloc[:1].assign(onset=80.0, duration=5.0, sound=extra)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_segments(pd.concat([events, ignored]))
        make_segments(pd.concat([events, ignored]), stream="attended")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda e: e.assign(recording_duration="90 s"), "column .recording_duration.: expected a number, got .90 s."),
        (lambda e: e.assign(recording_duration=-5.0), "expected seconds above 0, or none, got -5.0"),
        (lambda e: e.assign(drift_ppm=np.inf), "'drift_ppm': expected parts per million, 20000 at most"),
        (lambda e: e.assign(onset=pd.Timestamp("2020-01-01") + pd.to_timedelta(e["onset"], unit="s")),
         "'onset': expected a number of seconds and no date"),
        (lambda e: e.assign(sound_onset=e["onset"].where(e["type"] == "word")), "equal to the column 'onset'"),
        (lambda e: e.assign(sound_onset=1000 * (e["onset"] % 40 - 5).where(e["type"] == "word")), "in milliseconds"),
        (lambda e: e.assign(duration=e["duration"].where(e["type"] == "sound", 400.0)), "in milliseconds"),
    ],
)  # fmt: skip
def test_wrong_units_are_named(change, match):
    with pytest.raises(ValueError, match=match):
        check_events(change(listening()))


def test_timedeltas_are_seconds():
    events = listening()
    times = {name: pd.to_timedelta(events[name], unit="s") for name in ("onset", "duration")}
    found = check_events(events.assign(**times))
    np.testing.assert_allclose(found[["onset", "duration"]], check_events(events)[["onset", "duration"]])


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"margin": np.inf}, "margin must be a number of seconds of 0 or more, got inf"),
        ({"anchor": np.inf}, "anchor must be a number of seconds"),
        ({"tmin": -np.inf}, "tmin and tmax must be finite seconds"),
        ({"anchor": 500}, "multiple of 500 s. anchor is in seconds"),
        ({"tmin": -500, "tmax": 2350}, "a window lasts 2850.000 s, tmin and tmax are in seconds"),
    ],
)
def test_windows_in_other_units_are_refused(parameters, match):
    with pytest.raises(ValueError, match=match):
        make_segments(listening(), **parameters)


WORDS = spoken_words(60, 3)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([(onset, lasts / 6, text) for onset, lasts, text in WORDS], r"last 0.042 s or less"),
        ([(onset, lasts, "the") for onset, lasts, _ in WORDS], "words are 'the'"),
        ([(onset, lasts, "a whole sentence") for onset, lasts, _ in WORDS], "are several words,"),
        (
            [(word[0], 0.06, ("AH0", "T", "IY1")[i % 3]) for i, word in enumerate(WORDS)],
            "phonemes of ARPAbet",
        ),
        ([word for word in WORDS if word[0] > 40], "no word is between 0.0 and 40"),
        ([word for word in WORDS if word[0] < 20], "no word is between .* and 60.0 s of 60.0 s"),
    ],
)
def test_absurd_alignments_are_named(tmp_path, words, match):
    write_textgrid(tmp_path / "s.TextGrid", words, 60.0)
    with pytest.warns(UserWarning, match=match):
        textgrid_events(tmp_path / "s.TextGrid")


@pytest.mark.parametrize(
    "words",
    [WORDS, WORDS[:5], [(1 + 2 * index, 0.4, f"digit{index % 9}") for index in range(25)],
     [(onset, lasts, "I A T".split()[i % 3] + "lf" * (i % 2)) for i, (onset, lasts, _) in enumerate(WORDS)]],
)  # fmt: skip
def test_usual_alignments_are_silent(tmp_path, words):
    write_textgrid(tmp_path / "s.TextGrid", words, 60.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        textgrid_events(tmp_path / "s.TextGrid")


def test_marks_that_scatter_widely_are_doubted():
    s = np.arange(0, 600, 10.0)
    late = 8 + s + 0.03 * (np.arange(60) % 2)  # every second one comes 30 ms late
    with pytest.warns(UserWarning, match=r"scatter by 15\.. ms"):
        check_fit(fit_clock(np.zeros(60, int), s, late), "p.fif")
    screen = 8 + s + np.random.default_rng(0).uniform(0, 1 / 60, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_fit(fit_clock(np.zeros(60, int), s, screen), "p.fif")
    with pytest.raises(ValueError, match="in milliseconds"):
        check_fit(fit_clock(np.zeros(60, int), s, 1000 * (8 + s)), "p.fif")


def recording(folder, marks):
    """Save two minutes with codes in a trigger channel, and the sound of 100 s that they are of."""
    data = np.zeros((2, 120 * 100))
    data[0] = 1e-6 * RNG.standard_normal(data.shape[1])
    for time, code in marks:
        data[1, round(time * 100) : round(time * 100) + 3] = code
    raw = mne.io.RawArray(data, mne.create_info(["Cz", "STI"], 100, ["eeg", "stim"]), verbose="ERROR")
    raw.save(folder / "p_raw.fif", verbose="ERROR")
    soundfile.write(folder / "s.wav", 0.1 * RNG.standard_normal(100_000), 1000)
    return folder / "p_raw.fif", str(folder / "s.wav")


MARKS = [(8.0 + second, 99) for second in range(10, 100, 10)]


@pytest.mark.filterwarnings("ignore:.*such triggers are not where")
def test_a_first_trigger_that_disagrees_with_the_others_is_named(tmp_path):
    path, sound = recording(tmp_path, [(8.0, 1), *((time + 0.07, code) for time, code in MARKS)])
    with pytest.warns(UserWarning, match=r"first trigger of 1 of 1 sounds .* 's.wav' by \+0\.070 s"):
        events = events_from_raw(path, {1: sound}, sync={99: 10.0}, textgrid=False)
    assert events["onset"].iloc[0] == pytest.approx(8.07, abs=0.005)


@pytest.mark.parametrize(
    ("sounds", "sync", "match"),
    [
        ({"1": None}, None, "write 1 without quotes"),
        (
            {1: None},
            {99: 10_000.0},
            "None of its times lies within a sound, of which the longest ends at 100.000 s",
        ),
        ({1: None}, {99: [10_000.0, 20_000.0]}, "Are times in milliseconds"),
        ({1: None}, {99: []}, "None of its times lies"),
        (
            {"onset": ["8,0"], "sound": None},
            None,
            "sounds row 0, column 'onset': expected seconds .* got '8,0'",
        ),
        ({"onset": [8000.0], "sound": None}, None, "Are times in samples of 100 Hz"),
    ],
)
def test_triggers_and_onsets_in_other_units_are_named(tmp_path, sounds, sync, match):
    path, sound = recording(tmp_path, [(8.0, 1), *MARKS])
    sounds = {key: sound if value is None else value for key, value in sounds.items()}
    sounds = pd.DataFrame(sounds) if "onset" in sounds else sounds
    with pytest.raises(ValueError, match=match):
        events_from_raw(path, sounds, sync=sync, textgrid=False)

"""Test the checks of events tables."""

import numpy as np
import pandas as pd
import pytest
from helpers.event_tables import make_two_stimuli, make_two_subjects

from sk_b2s import StimulusArray, check_events, make_segments
from sk_b2s.events._stimuli import make_stimulus_id


@pytest.fixture
def events():
    return make_two_subjects()


def test_check_events_rejects_words_after_the_end():
    story = StimulusArray(np.zeros(64 * 20), 64, "story")
    events = pd.DataFrame({
        "subject": "1", "recording": "1.fif", "type": ["sound", "word", "word"], "onset": [2.0, 6.9, 15.0],
        "duration": [5.0, 0.3, 0.3], "sound": [story, None, None], "text": [None, "a", "b"],
    })  # fmt: skip
    with pytest.raises(
        ValueError,
        match=r"row 2, column 'sound': .*'story', has ended at 7\.000 s.*row of a stimulus missing",
    ):
        check_events(events)
    assert check_events(events[:2])["sound_onset"].tolist() == [0.0, 4.9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.drop(columns="onset"), r"lacks the column \['onset'\]"),
        (
            lambda e: e.assign(duration=e["duration"].where(e.index != 7, -0.3)),
            r"row 7, column 'duration'.*-0\.3",
        ),
        (
            lambda e: e.assign(onset=e["onset"].where(e.index != 5)),
            r"row 5, column 'onset': expected a time",
        ),
        (
            lambda e: e.assign(type=e["type"].where(e.index != 3, "wrod")),
            r"row 3, column 'type'.*did you mean 'word'",
        ),
        (
            lambda e: e.assign(sound=e["sound"].where(e.index != 0, "no.wav")),
            r"row 0, column 'sound': .*existing file",
        ),
        (
            lambda e: e.assign(duration=e["duration"].where(e.index != 9, "long")),
            r"row 9, column 'duration'.*'long'",
        ),
        (
            lambda e: e.assign(onset=e["onset"].where(e.index != 100, 60.0)),
            r"row 100, column 'onset': the stimulus 'b'",
        ),
        (
            lambda e: e.assign(sound_onset=np.where(e.index == 4, 130.0, np.nan)),
            "row 4, column 'sound_onset'.*within",
        ),
        (
            lambda e: e[e["type"] == "word"],
            "row 1, column 'sound': expected a stimulus, given or playing",
        ),
        (
            lambda e: e.assign(duration=e["duration"].where(e.index != 7, np.inf)),
            "row 7, column 'duration'.*inf",
        ),
        (
            lambda e: e.assign(sound_onset=np.where(e.index == 4, 30.0, np.nan)),
            "row 4, column 'sound_onset'.*follows from the onsets",
        ),
        (
            lambda e: e.assign(subject=e["subject"].where(e.index != 6)),
            "row 6, column 'subject': expected the name",
        ),
        (lambda e: e.assign(recording=e["recording"].where(e.index != 6)), "row 6, column 'recording'.*path"),
        (
            lambda e: e.assign(subject=e["subject"].where(e.index != 6, "2")),
            "row 6, column 'subject': expected one",
        ),
        (
            lambda e: e.assign(study=e.index // 9),
            "row 9, column 'study': expected one study for each subject",
        ),
        (
            lambda e: pd.concat([e, e[7:8]], ignore_index=True),
            "row 400, column 'onset': expected each event once",
        ),
        (lambda e: e.iloc[:0], "at least one row"),
        (lambda e: e.to_numpy(), "must be a pandas DataFrame"),
    ],
    ids=[
        "column", "negative", "nan", "type", "file", "text", "overlap", "beyond", "no stimulus", "infinite", "contradiction",
        "no subject", "no recording", "two subjects", "two studies", "twice", "empty", "array",
    ],
)  # fmt: skip
def test_check_events_names_row_and_column(events, change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make_segments(change(events))


def test_make_stimulus_id_has_its_recorded_value():
    assert make_stimulus_id("word", "x", 1) == 1311013341488434
    assert make_stimulus_id("word", "x", 1) < 2**52


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda e: e.assign(recording_duration="90 s"), "column .recording_duration.: expected a number. Got .90 s."),
        (lambda e: e.assign(recording_duration=-5.0), "expected a positive number of seconds. Got -5.0"),
        (lambda e: e.assign(drift_ppm=np.inf), "'drift_ppm': expected at most 20000 parts per million"),
        (lambda e: e.assign(onset=pd.Timestamp("2020-01-01") + pd.to_timedelta(e["onset"], unit="s")),
         "'onset': expected a number of seconds instead of a date"),
        (lambda e: e.assign(sound_onset=e["onset"].where(e["type"] == "word")), "equal to the column 'onset'"),
        (lambda e: e.assign(sound_onset=1000 * (e["onset"] % 40 - 5).where(e["type"] == "word")), "in milliseconds"),
        (lambda e: e.assign(duration=e["duration"].where(e["type"] == "sound", 400.0)), "in milliseconds"),
    ],
)  # fmt: skip
def test_check_events_suggests_other_units(change, match):
    with pytest.raises(ValueError, match=match):
        check_events(change(make_two_stimuli()))


def test_check_events_converts_timedeltas():
    events = make_two_stimuli()
    times = {name: pd.to_timedelta(events[name], unit="s") for name in ("onset", "duration")}
    found = check_events(events.assign(**times))
    np.testing.assert_allclose(found[["onset", "duration"]], check_events(events)[["onset", "duration"]])

"""Tests of windows on a grid over whole recordings."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s import StimulusArray, make_grid_segments, make_segments
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.model_selection._pretraining import describe_pretraining_rows

STORY = StimulusArray(np.random.default_rng(0).standard_normal(64 * 20), sfreq=64, name="story")


@pytest.fixture(scope="module")
def events():
    rows = [
        {"type": "sound", "onset": 5.0, "duration": 0.0, "sound": STORY, "subject": name, "recording": f"{name}.fif",
         "recording_duration": length}
        for name, length in (("a", 40.0), ("b", 30.0))
    ]  # fmt: skip
    bad = {"type": "bad", "onset": 30.0, "duration": 2.0, "subject": "a", "recording": "a.fif",
           "recording_duration": 40.0}  # fmt: skip
    return pd.DataFrame([*rows, bad])


def test_make_grid_segments_covers_recordings(events):
    X = make_grid_segments(events, duration=3.0, margin=0.5)
    own = X[X["recording"] == "a.fif"]
    assert own["onset"].tolist() == [*np.arange(0.5, 26.6, 3.0), 32.5, 35.5]
    assert X.loc[X["recording"] == "b.fif", "onset"].tolist() == [*np.arange(0.5, 26.6, 3.0)]
    assert (X["duration"] == 3.0).all()
    labeled, _ = make_segments(events, anchor=1.0, tmin=0, tmax=3)
    columns = ["subject", "heard_start", "heard_stop"]
    assert (
        X[columns].drop_duplicates().to_numpy().tolist()
        == labeled[columns].drop_duplicates().to_numpy().tolist()
    )


def test_make_grid_segments_names_stimuli(events):
    X = make_grid_segments(events, duration=3.0, subjects="b")
    assert set(X["subject"]) == {"b"}
    inside = X["sound"].notna()
    assert X.loc[inside, "onset"].tolist() == [*np.arange(3.5, 24.6, 3.0)]
    np.testing.assert_allclose(X.loc[inside, "sound_onset"], X.loc[inside, "onset"] - 5.0)
    assert X.loc[inside, "sound"].iloc[0] is STORY


def test_make_grid_segments_includes_bad_stretch(events):
    X = make_grid_segments(events, duration=3.0, step=1.0, subjects=["a"], reject_by_annotation=False)
    assert ((X["onset"] < 32) & (X["onset"] + 3 > 30)).any()


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"duration": 0}, "duration must be"),
        ({"step": -1.0}, "step must be"),
        ({"subjects": "x"}, "Known subjects are 'a', 'b'"),
        ({"duration": 60.0}, "longest one has 40.000 s"),
    ],
)
def test_make_grid_segments_raises(events, params, text):
    with pytest.raises(ValueError, match=text):
        make_grid_segments(events, **params)


def test_make_grid_segments_lists_images():
    shown = pd.DataFrame({
        "type": "image", "onset": [1.0, 2.0, 3.0, 7.0], "duration": 0.1, "image": ["a", "b", "a", "c"],
        "subject": "x", "recording": "x.fif", "recording_duration": 14.0,
    })  # fmt: skip
    X = make_grid_segments(shown, duration=3.0)
    assert [[image.name for image in images] for images in X["images"]] == [["a", "b"], [], ["c"], []]
    assert X["sound"].isna().all()
    recordings, stimuli = describe_pretraining_rows(X)
    assert len(recordings) == 1
    own = shown.assign(recording="y.fif", subject="y", image=["a", "d", "e", "c"])
    _, y = make_segments(own, anchor="image", tmin=-0.1, tmax=0.7)
    seen = StimulusIntervals.from_spans(
        stimuli["stimulus"].to_numpy(object), stimuli["start"].to_numpy(), stimuli["stop"].to_numpy()
    )
    assert seen.touches(y).tolist() == [True, False, False, True]

"""Description of events and segments in text and HTML."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from helpers.pages import EVIL

from sk_b2s import ImageStimulus
from sk_b2s.events import describe_events


def make_events(n_recordings=2, n_words=3, name="story.wav"):
    """Make a table of one stimulus and some words in each recording."""
    rows = []
    for number in range(n_recordings):
        common = {"subject": f"S{number % 2}", "recording": f"folder/{number}.fif"}
        rows.append(common | {"type": "sound", "onset": 1.0, "duration": 120.0, "sound": name})
        rows += [common | {"type": "word", "onset": 2.0 + at, "duration": 0.5} for at in range(n_words)]
    return pd.DataFrame(rows)


def test_describe_events_counts_rows():
    found = describe_events(make_events())
    assert found.table["recording"].tolist() == ["0.fif", "1.fif"]
    assert found.table[["sound", "word"]].to_numpy().tolist() == [[1, 3], [1, 3]]
    np.testing.assert_allclose(found.table["minutes"], 2)
    assert repr(found).startswith("2 recordings of 2 subjects, 4.0 min: 2 sounds, 6 words\n")


def test_describe_events_without_an_onset():
    events = make_events(1)
    events.loc[1, "onset"] = np.nan
    found = describe_events(events)
    assert found.table[["minutes", "word"]].to_numpy().tolist() == [[2.0, 3]]
    assert "nan" not in found._repr_html_()


def test_describe_events_counts_overlaps_once():
    segments = pd.DataFrame({"subject": "a", "recording": "r", "onset": [0.0, 1.5, 30.0], "duration": 3.0})
    found = describe_events(segments)
    assert found.table["segment"].tolist() == [3]
    assert "stimuli" not in repr(found), "a column without a value"
    assert found.table["minutes"].iloc[0] == pytest.approx(7.5 / 60)


@pytest.mark.parametrize("n_words", [3, 5000])
def test_describe_events_draws_strips(n_words):
    name = EVIL.replace("/", "|")
    page = ElementTree.fromstring(describe_events(make_events(n_words=n_words, name=name))._repr_html_())
    assert len(page.findall(".//svg")) == 2
    assert not page.findall(".//script")
    assert page.find(".//title").text == name
    bars = page.findall(".//rect")
    assert len(bars) == 2 * 4 if n_words == 3 else len(bars) < 500
    assert all(float(bar.get("x")) + float(bar.get("width")) <= 640 for bar in bars[:4])


@pytest.mark.parametrize("n_words", [2, 500], ids=["bars", "covered"])
def test_describe_events_draws_negative_onsets(n_words):
    events = make_events(1, n_words)
    events["onset"] -= 31.0
    page = describe_events(events)._repr_html_()
    bars = [float(bar.split('"')[0]) for bar in page.split('<rect x="')[1:]]
    assert min(bars) == 80.0  # left end of the axis
    assert max(bars) < 618.0
    assert ">-30.0 s<" in page if n_words == 2 else ">-0.5 min<" in page


def test_describe_events_limits_recordings():
    found = describe_events(make_events(n_recordings=40))
    assert found._repr_html_().count("<svg") == 12
    assert "28 more" in found._repr_html_()
    assert "28 more" in repr(found)


def test_describe_events_accepts_images():
    events = pd.DataFrame({
        "subject": "a", "recording": "r", "type": "image", "onset": [0.0, 1.0], "duration": [0.5, np.nan],
        "image": ["cat", ImageStimulus("dog")],
    })  # fmt: skip
    assert describe_events(events).table["stimuli"].tolist() == ["cat, dog"]


def test_describe_events_refuses_other_tables():
    with pytest.raises(TypeError, match="must be a DataFrame. Got list"):
        describe_events([1])
    with pytest.raises(ValueError, match=r"must have the columns \['duration'\]"):
        describe_events(make_events().drop(columns="duration"))
    with pytest.raises(ValueError, match="at least one row"):
        describe_events(make_events().iloc[:0])


def test_describe_events_fits_into_80_columns():
    found = describe_events(make_events(name=f"{'very_' * 12}long.wav"))
    found.table["recording"] = f"sub-01{'_ses-1' * 12}_meg.fif"
    lines = repr(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert "_meg.fif" in lines[2]
    assert lines[2].endswith("…")

"""Test labels of silence, wherever tables or TextGrids hold them."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sk_b2s import EventFeatures, StimulusArray
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.events._silence import SILENCE_LABELS, WORDS, is_silence
from sk_b2s.io._textgrid import textgrid_events
from sk_b2s.model_selection._calibration_sentences import _count_phonemes_of_sentences

STORY = StimulusArray(np.zeros(64), sfreq=32, name="story")
LABELS = sorted(SILENCE_LABELS)


def phonemes_with(label):
    """Events of one phoneme and one silence."""
    return pd.DataFrame(
        {"type": "phoneme", "sound": STORY, "sound_onset": [0.1, 0.5], "duration": 0.2, "text": ["B", label]}
    )


def test_is_silence_ignores_case_and_spaces():
    assert is_silence(pd.Series([*LABELS, "SIL", " sp ", None, np.nan])).all()
    assert not is_silence(pd.Series(["silence", "spa", "B", "a"])).any()
    assert not is_silence(pd.Series(["Nan", "pau"]), are_words=True).any()


@pytest.mark.parametrize("label", LABELS)
def test_textgrid_events_drops_silence(tmp_path, label):
    path = tmp_path / "story.TextGrid"
    path.write_text(
        f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0 2 <exists> 2\n'
        f'"IntervalTier" "words" 0 2 2\n0 1 "be"\n1 2 "{label}"\n'
        f'"IntervalTier" "phones" 0 2 3\n0 0.5 "B"\n0.5 1 "IY1"\n1 2 "{label.upper()}"\n'
    )
    words = ["be", label] if label in WORDS else ["be"]
    events = textgrid_events(path)
    assert events.loc[events["type"] == "word", "text"].tolist() == words
    assert events.loc[events["type"] == "phoneme", "text"].tolist() == ["B", "IY1"]


@pytest.mark.parametrize("label", LABELS)
def test_event_features_do_not_warn_of_silence(label):
    y = pd.DataFrame({"sound": [STORY], "sound_onset": 0.0, "duration": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EventFeatures(phonemes_with(label), classes={"plosive": "b"}, sfreq=10).fit(y)


@pytest.mark.parametrize("label", LABELS)
def test_count_phonemes_ignores_silence(label):
    y = pd.DataFrame({"sound": [STORY], "sound_onset": 0.0, "duration": 1.0})
    counts = _count_phonemes_of_sentences([StimulusIntervals.from_table(y)], phonemes_with(label))
    assert counts.tolist() == [[1.0]]

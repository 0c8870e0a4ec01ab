"""Clips of stimuli: only the files of the benchmark, of limited size."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.score_tables import make_plan_with_sounds

from sk_b2s.events._stimuli import get_stimulus_digest
from sk_b2s.reporting import _clips
from sk_b2s.reporting._clips import StimulusClips

CLIP = {"sound": "a.wav", "start": 0.5, "duration": 1.0}


@pytest.fixture
def folder(tmp_path):
    """Write two files: one of the benchmark, and one of equal name."""
    rng = np.random.default_rng(0)
    for name in ("right", "wrong"):
        (tmp_path / name / "deep").mkdir(parents=True)
        soundfile.write(tmp_path / name / "deep" / "a.wav", 0.1 * rng.standard_normal(32000), 8000)
    return tmp_path


def make_results(folder):
    """Make results whose plan has the digest of a file."""
    digest = get_stimulus_digest(str(folder / "right" / "deep" / "a.wav"))
    return pd.DataFrame({"study": ["x"], "plan": [json.dumps(make_plan_with_sounds({"a.wav": digest[:16]}))]})


def test_cut_uses_file_of_equal_content(folder):
    results = make_results(folder)
    content, kind = StimulusClips(results, [folder / "wrong", folder / "right"]).cut(CLIP)
    assert kind in ("audio/mpeg", "audio/wav")
    assert 1000 < len(content) < 33_000
    assert StimulusClips(results, folder / "wrong").cut(CLIP) is None
    assert StimulusClips(results).cut(CLIP) is None


@pytest.mark.parametrize("wrong", [
    {"sound": "../right/deep/a.wav"}, {"sound": "none.wav"}, {"sound": ""}, {"start": 99.0}, {"duration": 0.0},
], ids=["path", "unknown", "empty", "after the end", "no duration"])  # fmt: skip
def test_cut_returns_none_without_audio(folder, wrong):
    assert StimulusClips(make_results(folder), folder).cut({**CLIP, **wrong}) is None


def test_clips_have_limited_size(folder, monkeypatch):
    monkeypatch.setattr(_clips, "MAX_BYTES", 100)
    clips = StimulusClips(make_results(folder), folder)
    first = clips.cut(CLIP)
    assert first is clips.cut(CLIP)
    assert clips.cut({**CLIP, "start": 1.0}) is None
    assert clips.is_full


def test_clips_require_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="'stimuli' parameter must name folders"):
        StimulusClips(pd.DataFrame({"study": ["x"]}), tmp_path / "none")

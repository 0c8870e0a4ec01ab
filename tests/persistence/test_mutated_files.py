"""Tests that load is safe and fast for randomly changed files."""

import sys

import numpy as np
import pandas as pd
import pytest
from helpers import fuzz_load
from helpers.processes import run_in_processes
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    PrecomputedFeatures,
    RobustChannelScaler,
    StimulusArray,
    Windows,
    save,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounds its own memory by /proc")


def everything(path):
    """Save a pipeline with nested estimators and an adapted encoder."""
    rng, n = np.random.default_rng(0), 60
    sounds = [StimulusArray(rng.standard_normal((200, 3)), 20, name) for name in "ab"]
    y = pd.DataFrame({
        "sound": [sounds[i % 2] for i in range(n)], "sound_onset": np.arange(n) // 2 * 0.25, "duration": 0.45,
        "segment": np.arange(n), "text": [f"word {i % 7}" for i in range(n)],
        "place": pd.Categorical(["left", "right"] * (n // 2)), "number": pd.array([1, None, 3] * (n // 3), "Int64"),
    })  # fmt: skip
    people = np.repeat(["1", "2", "new"], n // 3)
    rows = pd.DataFrame({"subject": people, "recording": people})
    X = Windows.from_array(
        rng.standard_normal((n, 4, 20)).astype("f4"), rows=rows, sfreq=40, ch_names=list("abcd")
    )
    encoder = BrainEncoder(
        make_pipeline(PrecomputedFeatures(), FeatureScaler()), hidden=4, depth=1, n_virtual_channels=3, k=2, verbose=0,
        spatial_attention=False, max_epochs=1, validation=None, precision="float32", unseen_subject="nearest",
        random_state=np.random.RandomState(0),
    )  # fmt: skip
    encoder.fit(X[:40], y[:40])
    pipe = make_pipeline(Epocher(sfreq=40), RobustChannelScaler().fit(X))
    save(make_pipeline(*pipe, encoder.adapt(X[40:], y[40:], method="ridge")), path)


@pytest.mark.parametrize("seed", [0])
def test_load_survives_random_changes(seed, tmp_path):
    everything(tmp_path / "whole.safetensors")
    (outcome,) = run_in_processes(
        fuzz_load.load_changed_files, [tmp_path / "whole.safetensors"], [seed], [80]
    )
    assert outcome["tried"] == 280
    assert outcome["wrong"] == []

"""Fixtures of live decoding: one recording and fitted pipelines."""

import pytest
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    LikelihoodDecoder,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
)
from sk_b2s.io._raw._read_raw import read_raw


def make_decoder(kind, memory, look_ahead=0):
    speech = make_pipeline(MelSpectrogram(n_mels=4, sfreq=32, memory=memory), FeatureScaler())
    if kind == "ridge":
        return RidgeDecoder(speech=speech, lags=(-0.1, 0.2), k=5)
    if kind == "likelihood":
        return LikelihoodDecoder(speech=speech, lags=(-0.1, 0.2), k=5)
    parameters = {"hidden": 8, "depth": 2, "max_epochs": 1, "validation": None, "spatial_attention": False}
    return BrainEncoder(speech=speech, **parameters, k=5, look_ahead=look_ahead, random_state=0, verbose=0)


@pytest.fixture(scope="session")
def stream(listening_events):
    """Recording of one subject, with its first sound and another one."""
    sounds = listening_events[listening_events["type"] == "sound"]
    mine = sounds[sounds["recording"] == sounds["recording"].iloc[0]].sort_values("onset")
    heard = mine.iloc[0]
    other = next(sound for sound in sounds["sound"] if str(sound) != str(heard["sound"]))
    data = read_raw(heard["recording"]).get_data()
    onset = heard["onset"] - heard["sound_onset"]
    return heard, {"heard": heard["sound"], "other": other}, data, onset


@pytest.fixture(scope="session")
def fitted(listening, tmp_path_factory):
    """Make and fit pipelines that run on a stream."""
    memory, kept = str(tmp_path_factory.mktemp("cache")), {}
    X, y = listening

    def make(kind="ridge", calibration=8.0, look_ahead=0, **changes):
        key = kind, calibration, look_ahead, *changes.items()
        if key not in kept:
            epocher = Epocher(
                **{"sfreq": 32, "lag": 0.1, "l_freq": 0.5, "h_freq": 12, "causal": True, **changes}
            )
            steps = [] if calibration is None else [RobustChannelScaler(calibration=calibration)]
            kept[key] = make_pipeline(epocher, *steps, make_decoder(kind, memory, look_ahead)).fit(X, y)
        return kept[key]

    return make

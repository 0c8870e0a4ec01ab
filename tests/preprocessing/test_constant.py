"""Recordings and channels that are constant are named, whatever steps a pipeline has."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sk_b2s import BrainEncoder, CovarianceAlignment, ForwardTRF, RidgeDecoder, RobustChannelScaler, Windows


def windows(flat=(), n_windows=40):
    """Two recordings; ``flat`` names pairs (recording, channel) that are constant, None all channels."""
    rng = np.random.default_rng(0)
    which = np.arange(n_windows) % 2
    data = rng.standard_normal((n_windows, 4, 20))
    for recording, channel in flat:
        data[which == recording, slice(None) if channel is None else channel] = 3.0
    rows = pd.DataFrame({"recording": [f"{i}.fif" for i in which], "subject": [f"0{i}" for i in which]})
    return Windows.from_array(data, rows=rows, sfreq=20), rng.standard_normal((n_windows, 2, 20))


DECODERS = {
    "ridge": RidgeDecoder(k=1, alphas=(1.0,)),
    "trf": ForwardTRF(alphas=(1.0,)),
    "encoder": BrainEncoder(
        hidden=4, depth=1, n_virtual_channels=4, spatial_attention=False, max_epochs=1, validation=None, verbose=0,
        random_state=0, k=1,
    ),
}  # fmt: skip
STEPS = {"none": None, "scaler": RobustChannelScaler(), "recentring": CovarianceAlignment()}


def said_of(call):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        call()
    return [str(w.message) for w in said if "constant" in str(w.message)]


def through(step, X):
    return X if step is None else step.fit(X).transform(X)


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_dead_recording_is_named_once(step, decoder):
    X, y = windows([(1, None)])
    (said,) = said_of(lambda: decoder.fit(through(step, X), y))
    assert "all 4 channels of recording '1.fif' (subject '01') are constant" in said


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
def test_dead_channel_is_named_and_healthy_ones_are_not(decoder):
    (said,) = said_of(lambda: decoder.fit(*windows([(0, 2)])))
    assert "1 constant channel in recording '0.fif' (subject '00'): 2" in said
    assert not said_of(lambda: decoder.fit(*windows()))


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
def test_nothing_but_dead_recordings_is_refused(decoder):
    X, y = windows([(0, None), (1, None)])
    with (
        pytest.warns(UserWarning, match="all 4 channels"),
        pytest.raises(ValueError, match="nothing to learn from"),
    ):
        decoder.fit(X, y)
    with (
        pytest.warns(UserWarning, match="all 4 channels"),
        pytest.raises(ValueError, match="nothing to learn from"),
    ):
        decoder.fit(np.zeros((40, 4, 20)), y)


def test_dead_recording_is_named_when_it_is_scored():
    X, y = windows()
    ridge = RidgeDecoder(k=1, alphas=(1.0,)).fit(X, y)
    dead, _ = windows([(1, None)])
    (said,) = said_of(lambda: ridge.transform(dead))
    assert "recording '1.fif'" in said


def test_recording_without_positions_is_named():
    X, _ = windows([(1, None)])
    X = X._replace(positions=np.full((1, 4, 2), np.nan))  # no montage
    (said,) = said_of(lambda: RobustChannelScaler().fit(X).transform(X))
    assert "all 4 channels of recording '1.fif'" in said


def test_forward_score_names_subjects_without_channels():
    X, y = windows()
    trf = ForwardTRF(alphas=(1.0,)).fit(X, y)
    dead, _ = windows([(1, None)])
    with pytest.warns(UserWarning, match="constant") as caught:
        score = trf.score(dead, y)
    assert "mean over 1 of 2 subjects: all channels of '01'" in str(caught[-1].message)
    assert score == pytest.approx(trf.score(dead[::2], y[::2]))
    both, _ = windows([(0, None), (1, None)])
    with pytest.warns(UserWarning, match="constant"), pytest.raises(ValueError, match="nothing to score"):
        trf.score(both, y)

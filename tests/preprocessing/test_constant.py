"""Test checks for constant channels and recordings."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sk_b2s import BrainEncoder, CovarianceAlignment, ForwardTRF, RidgeDecoder, RobustChannelScaler, Windows


def make_windows(constant=(), n_windows=40):
    """Make two recordings with constant (recording, channel), None for all."""
    rng = np.random.default_rng(0)
    which = np.arange(n_windows) % 2
    data = rng.standard_normal((n_windows, 4, 20))
    for recording, channel in constant:
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


def collect_warnings(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(w.message) for w in caught if "constant" in str(w.message)]


def apply_step(step, X):
    return X if step is None else step.fit(X).transform(X)


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_constant_recording_warns_once(step, decoder):
    X, y = make_windows([(1, None)])
    (message,) = collect_warnings(lambda: decoder.fit(apply_step(step, X), y))
    assert "All 4 channels of recording '1.fif' (subject '01') are constant" in message


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
def test_only_constant_channels_warn(decoder):
    (message,) = collect_warnings(lambda: decoder.fit(*make_windows([(0, 2)])))
    assert "1 constant channel in recording '0.fif' (subject '00'): 2" in message
    assert not collect_warnings(lambda: decoder.fit(*make_windows()))


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
def test_fit_rejects_constant_recordings(decoder):
    X, y = make_windows([(0, None), (1, None)])
    with (
        pytest.warns(UserWarning, match="All 4 channels"),
        pytest.raises(ValueError, match="every channel of every recording in X is constant"),
    ):
        decoder.fit(X, y)
    with (
        pytest.warns(UserWarning, match="All 4 channels"),
        pytest.raises(ValueError, match="every channel of every recording in X is constant"),
    ):
        decoder.fit(np.zeros((40, 4, 20)), y)


def test_transform_warns_of_constant_recording():
    X, y = make_windows()
    ridge = RidgeDecoder(k=1, alphas=(1.0,)).fit(X, y)
    constant, _ = make_windows([(1, None)])
    (message,) = collect_warnings(lambda: ridge.transform(constant))
    assert "recording '1.fif'" in message


def test_constant_recording_without_positions_warns():
    X, _ = make_windows([(1, None)])
    X = X._replace(positions=np.full((1, 4, 2), np.nan))  # no montage
    (message,) = collect_warnings(lambda: RobustChannelScaler().fit(X).transform(X))
    assert "All 4 channels of recording '1.fif'" in message


def test_forward_trf_score_excludes_constant_subjects():
    X, y = make_windows()
    trf = ForwardTRF(alphas=(1.0,)).fit(X, y)
    constant, _ = make_windows([(1, None)])
    with pytest.warns(UserWarning, match="constant") as caught:
        score = trf.score(constant, y)
    assert "mean over 1 of 2 subjects. All channels of '01'" in str(caught[-1].message)
    assert score == pytest.approx(trf.score(constant[::2], y[::2]))
    both, _ = make_windows([(0, None), (1, None)])
    with pytest.warns(UserWarning, match="constant"), pytest.raises(ValueError, match="score is undefined"):
        trf.score(both, y)

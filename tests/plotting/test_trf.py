"""Tests of figures of temporal response functions."""

import mne
import numpy as np
import pandas as pd
import pytest
from helpers.trf import simulate_group, simulate_two_sets

from sk_b2s import FeatureScaler, ForwardTRF, Windows
from sk_b2s.plotting import plot_trf, plot_trf_features, plot_trf_joint


@pytest.fixture(scope="module")
def trf():
    """Channel "b" of both subjects follows the stimulus after 0.2 s."""
    rng = np.random.default_rng(0)
    speech, eeg = rng.standard_normal((40, 1, 30)), rng.standard_normal((40, 3, 30))
    eeg[:, 1, 2:] += 3 * speech[:, 0, :-2]
    rows = {"subject": np.repeat(["anna", "ben"], 20)}
    place = np.array([[0.2, 0.5], [0.5, 0.5], [0.8, 0.5]])
    X = Windows.from_array(eeg, pd.DataFrame(rows), place, sfreq=10, ch_names=["a", "b", "c"])
    return ForwardTRF(lags=(-0.1, 0.4), alphas=(1e-3,)).fit(X, speech)


def test_plot_trf_draws_channels_and_names_largest(trf):
    ax = plot_trf(trf, scale=2.0, unit="µV")
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["b"].get_ydata(), 2 * trf.coef_[:, :, 0, 1].mean(0), rtol=1e-6)
    assert len(ax.lines) == 3 + 2
    assert ax.get_ylabel() == "weight (µV)"
    ax = plot_trf(trf, subject="ben", channels=["c", 0])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["global field power", "c", "a"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), trf.coef_[1, :, 0, 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": ["Cz"]}, "channels of fit, a, b, c... Got 'Cz'"),
        ({"subject": "eva"}, r"one of \['anna', 'ben'\], the subjects of fit. Got 'eva'"),
        ({"feature": 1}, "integer from 0 to 0. Got 1"),
    ],
)
def test_plot_trf_rejects_unknown_names(trf, options, message):
    with pytest.raises(ValueError, match=message):
        plot_trf(trf, **options)


def test_plot_trf_requires_linear_model():
    with pytest.raises(
        TypeError, match="fitted ForwardTRF or RidgeDecoder, or a Pipeline.*Got FeatureScaler"
    ):
        plot_trf(FeatureScaler())


def test_trf_as_evoked_response(trf):
    evoked = trf.to_evoked(subject="anna")
    assert (evoked.ch_names, evoked.comment) == (["a", "b", "c"], "anna")
    np.testing.assert_allclose(evoked.times, trf.lags_)
    np.testing.assert_allclose(evoked.data, trf.coef_[0, :, 0].T)
    assert evoked.get_peak(tmin=0)[0] == "b"
    info = evoked.copy().rename_channels({"a": "d"}).info
    with pytest.raises(ValueError, match="channels of fit in their order"):
        trf.to_evoked(info=info)
    other = evoked.info.copy()
    with other._unlock():
        other["sfreq"] = 500.0
    assert trf.to_evoked(info=other).times[-1] == pytest.approx(0.4)
    np.testing.assert_array_equal(trf.positions_[:, 0], [0.2, 0.5, 0.8])


def test_trf_as_evoked_has_channels_of_recording(trf, tmp_path):
    info = mne.create_info(["c", "x", "b", "a"], 500.0, "mag")
    for place, channel in enumerate(info["chs"]):
        channel["loc"][:3] = place, 0.1, 0.2
    mne.io.RawArray(np.zeros((4, 1000)), info, verbose="ERROR").save(
        tmp_path / "one_meg.fif", verbose="ERROR"
    )
    evoked = trf.to_evoked(info=tmp_path / "one_meg.fif")
    assert evoked.ch_names == ["a", "b", "c"]
    assert evoked.get_channel_types() == ["mag"] * 3
    np.testing.assert_allclose([channel["loc"][0] for channel in evoked.info["chs"]], [3, 2, 0])
    np.testing.assert_allclose(evoked.times, trf.lags_)
    mne.io.RawArray(np.zeros((1, 9)), mne.create_info(["a"], 9.0, "eeg"), verbose="ERROR").save(
        tmp_path / "two_eeg.fif", verbose="ERROR"
    )
    with pytest.raises(ValueError, match="lacks the channels .'b', 'c'."):
        trf.to_evoked(info=str(tmp_path / "two_eeg.fif"))


def test_plot_trf_features_has_panels_of_sets():
    eeg, speech = simulate_two_sets(n_channels=2)
    trf = ForwardTRF(lags=(0, 0.4), alphas=(0.1,), sfreq=10, bands={"envelope": 1, "bands": 8}).fit(
        eeg, speech
    )
    axes = plot_trf_features(trf)
    assert [ax.get_title() for ax in axes] == ["envelope", "bands"]
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), trf.coef_[0, :, 0, 1])
    image = axes[1].collections[0].get_array()
    np.testing.assert_allclose(np.ravel(image), trf.coef_[0, :, 1:].std(2).T.ravel())
    one, two = plot_trf_features(trf, ["envelope", "bands 7"], axes=plot_trf_features(trf))
    assert one.get_ylim() == two.get_ylim()
    assert two.get_legend() is None
    two = plot_trf_features(trf, ["bands"], channels=[0])[0]
    np.testing.assert_allclose(np.ravel(two.collections[0].get_array()), trf.coef_[0, :, 1:, 0].T.ravel())
    with pytest.raises(ValueError, match="integer from 0 to 8, or one of .*Got 'pitch'"):
        plot_trf_features(trf, ["pitch"])
    with pytest.raises(ValueError, match="one entry for each of 2 features. Got 3"):
        plot_trf_features(trf, axes=[None] * 3)


def test_plot_trf_joint_maps_peaks():
    X, speech = simulate_group()
    trf = ForwardTRF(lags=(-0.2, 0.5), alphas=(0.1,)).fit(X, speech)
    axes = plot_trf_joint(trf)
    titles = [ax.get_title() for ax in axes[1:]]
    (bar,) = set(axes[0].figure.axes) - set(axes)
    low, high = bar.get_ylim()
    assert -low == high == pytest.approx(abs(trf.coef_.mean(0)).max(), rel=0.5), "the color bar of all maps"
    assert 1 <= len(titles) <= 3
    assert "0.2 s" in titles
    assert all(float(title[:-2]) >= 0 for title in titles)
    assert [ax.get_title() for ax in plot_trf_joint(trf, lags=[0.21], subject="s1")[1:]] == ["0.2 s"]
    with pytest.raises(ValueError, match=r"lags must be from -0.2 to 0.5 s. Got \[0.9\]"):
        plot_trf_joint(trf, lags=[0.9])
    trf.positions_ = None
    with pytest.raises(ValueError, match="requires positions of sensors"):
        plot_trf_joint(trf)

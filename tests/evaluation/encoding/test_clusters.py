"""Tests of the cluster permutation test of temporal response functions."""

import numpy as np
import pandas as pd
import pytest
from helpers.trf import simulate_group
from scipy.sparse import coo_array

from sk_b2s import ForwardTRF, TRFClusters, Windows, trf_cluster_test
from sk_b2s.io._sensors import project_sensors
from sk_b2s.plotting import plot_trf


def fit_group():
    return ForwardTRF(lags=(-0.2, 0.5), alphas=(0.1,)).fit(*simulate_group())


@pytest.fixture(scope="module")
def trf():
    return fit_group()


def test_trf_cluster_test_finds_simulated_response(trf):
    found = trf_cluster_test(trf, n_permutations=200)
    assert isinstance(found, TRFClusters)
    assert (found.n_subjects, found.feature) == (8, "speech")
    n_clusters = len(found.table)
    assert repr(found) == f"TRFClusters('speech', 8 subjects, {n_clusters} clusters, 1 with p <= 0.05)"
    best = found.table.iloc[0]
    assert best["p"] <= 0.02
    assert best["start"] <= 0.2 <= best["stop"]
    assert best["peak_lag"] == pytest.approx(0.2)
    assert best["peak_channel"] == "Fz"
    assert {"Fz", "Cz"} <= set(best["channels"].split())
    mask = found.find_significant()
    assert mask.shape == (8, 5)
    assert mask[4, :2].all()
    assert mask[:, 2:].sum() == 0
    assert abs(found.t[4, 0]) > found.threshold
    again = trf_cluster_test(trf, n_permutations=200)
    pd.testing.assert_frame_equal(again.table, found.table)
    assert len(found.null) == 128  # all distinct sign flips of eight subjects


def test_trf_cluster_test_equals_mne(trf):
    from mne.stats import spatio_temporal_cluster_1samp_test

    neighbors = np.eye(5)
    neighbors[[0, 1], [1, 0]] = 1  # of the first two channels only
    found = trf_cluster_test(trf, tmin=0.0, tmax=0.4, threshold=2.0, adjacency=neighbors)
    assert found.lags[[0, -1]] == pytest.approx([0.0, 0.4])
    t, clusters, p, null = spatio_temporal_cluster_1samp_test(
        trf.coef_[:, 2:7, 0].astype(float),
        threshold=2.0,
        adjacency=coo_array(neighbors),
        seed=0,
        verbose="ERROR",
    )
    np.testing.assert_allclose(found.t, t)
    assert len(clusters) == len(found.table) > 1
    np.testing.assert_allclose(found.table["p"], np.sort(p))
    np.testing.assert_allclose(np.sort(found.null), np.sort(null))
    for (lags, channels), value in zip(clusters, p, strict=True):
        mask = np.zeros((5, 5), bool)
        mask[lags, channels] = True
        same = (found.masks == mask).all((1, 2))
        assert found.table["p"][same].tolist() == [value]
        assert found.table["sum_t"][same].tolist() == pytest.approx([t[mask].sum()])


def test_trf_cluster_test_of_difference(trf):
    with pytest.warns(RuntimeWarning, match="No clusters found"):
        none = trf_cluster_test(trf, other=trf)
    assert len(none.table) == 0
    assert none.find_significant().shape == (8, 5)
    assert not none.find_significant().any()
    weaker = fit_group()
    weaker.coef_ = weaker.coef_ * np.linspace(0.2, 0.6, 8)[:, None, None, None]
    assert trf_cluster_test(trf, other=weaker).table["p"].iloc[0] < 0.05
    positive = trf_cluster_test(trf, tail=1).table
    assert (positive["sum_t"] > 0).all()


def test_trf_cluster_test_in_figure(trf):
    found = trf_cluster_test(trf)
    ax = plot_trf(trf, clusters=found)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "clusters with p ≤ 0.05" in labels
    bar = next(line for line in ax.lines if line.get_label() == "clusters with p ≤ 0.05")
    np.testing.assert_allclose(bar.get_xdata(), [0.15, 0.25])  # one lag


def test_trf_of_group_leaves_out_masked_channel():
    X, y = simulate_group(8)
    eeg, rows, place = np.asarray(X), X.rows, X.positions[0]
    eeg[(rows["subject"] == "s0").to_numpy(), 0] = 0.0
    rows = rows.assign(recording=rows["subject"])
    layout = np.repeat(place[None], 2, axis=0)
    layout[0, 0] = np.nan
    windows = Windows.from_array(eeg, rows, place, sfreq=10.0, ch_names=["Fz", "Cz", "T7", "T8", "Oz"])
    windows = windows._replace(positions=layout, layout=np.minimum(np.arange(8), 1))
    trf = ForwardTRF(lags=(-0.2, 0.5), alphas=(0.1,)).fit(windows, y)
    np.testing.assert_array_equal(trf.positions_, place)  # of the second recording
    expected = trf.coef_[1:, :, 0, 0].mean(0)
    evoked = trf.to_evoked()
    np.testing.assert_allclose(evoked.data[0], expected, rtol=1e-5)
    np.testing.assert_allclose(project_sensors(evoked.info, evoked.ch_names), place, atol=1e-6)
    with pytest.warns(UserWarning, match=r"1 of 8 subjects have masked .* \(s0: Fz\)"):
        trf_cluster_test(trf, n_permutations=50)


def test_trf_cluster_test_rejects_bad_input(trf):
    X, y = simulate_group()
    one = ForwardTRF(lags=(0, 0.2), alphas=(0.1,), per_subject=False).fit(X, y)
    with pytest.raises(ValueError, match=r"two subjects or more. Got 1 model\(s\) with per_subject=False"):
        trf_cluster_test(one)
    with pytest.raises(ValueError, match=r"tmin=2 and tmax=None leave no lags. The model has -0.2 to 0.5 s"):
        trf_cluster_test(trf, tmin=2)
    with pytest.raises(ValueError, match="threshold is an absolute t value, above 0 for each tail. Got -2"):
        trf_cluster_test(trf, tail=-1, threshold=-2.0)
    with pytest.raises(ValueError, match=r"adjacency must have the shape \(5, 5\)"):
        trf_cluster_test(trf, adjacency=np.eye(3))
    fewer = ForwardTRF(lags=(-0.2, 0.5), alphas=(0.1,)).fit(X[:40], y[:40])
    with pytest.warns(UserWarning, match="smallest possible p value with 4 subjects is 0.125"):
        trf_cluster_test(fewer)
    with pytest.raises(ValueError, match="other must have the subjects, lags, channels and features of trf"):
        trf_cluster_test(trf, other=fewer)
    with pytest.raises(TypeError, match="fitted ForwardTRF or RidgeDecoder. Got Windows"):
        trf_cluster_test(Windows.from_array(np.zeros((1, 1, 2))))

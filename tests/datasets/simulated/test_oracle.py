"""Tests of the oracle scores."""

import numpy as np
import pandas as pd
import pytest
from helpers.simulated import get_single
from scipy.fft import rfft, rfftfreq

from sk_b2s import make_segments
from sk_b2s.datasets import SubjectTruth, make_listening, oracle_scores
from sk_b2s.datasets.simulated._oracle import project_oracle_recording, weight_oracle_sources
from sk_b2s.metrics._ranks_and_top_k import ranks


@pytest.mark.parametrize("modality", ["meg", "eeg"])
def test_project_oracle_recording_equals_inversion(make, modality):
    """Compare with inverse noise covariances at single frequencies."""
    data, truth = get_single(make(False, modality=modality))
    data = data[:, :12800].astype(np.float32)
    sources = truth.expected[:, 2560:15360]
    projected = project_oracle_recording(data, truth.patterns, truth.noise, 128.0)
    gram = weight_oracle_sources(sources, truth.patterns, truth.noise, 128.0)
    frequency = rfftfreq(12800, 1 / 128)
    for hertz in (0.5, 3.0, 10.0, 31.0):
        bin_ = np.argmin(np.abs(frequency - hertz))
        weights = truth.patterns @ np.linalg.inv(truth.noise.covariance(hertz))
        np.testing.assert_allclose(
            rfft(projected)[:, bin_], weights @ rfft(data)[:, bin_], rtol=2e-2, atol=1e-2
        )
        expected = weights @ truth.patterns.T @ rfft(sources)[:, bin_]
        np.testing.assert_allclose(rfft(gram)[:, bin_], expected, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize(("snr_db", "low", "high"), [(-5, 0.8, 1.0), (-np.inf, 0.0, 0.12)])
def test_oracle_scores_of_high_and_no_snr(tmp_path, snr_db, low, high):
    events, truth = make_listening(2, 2, n_channels=64, snr_db=snr_db, root=tmp_path, return_truth=True)
    X, y = make_segments(events)
    found = ranks(oracle_scores(truth, X, y), pd.factorize(y["segment"])[0])
    assert low <= np.mean(found < 10) <= high


def test_oracle_scores_across_runs(tmp_path):
    """Candidates of both recordings are ranked in each of them."""
    events, truth = make_listening(1, 4, n_channels=32, snr_db=0, runs=2, root=tmp_path, return_truth=True)
    X, y = make_segments(events)
    assert y.groupby(X["recording"])["segment"].nunique().max() < y["segment"].nunique()
    scores, target = oracle_scores(truth, X, y), pd.factorize(y["segment"])[0]
    assert np.mean(ranks(scores, target) < 10) > 0.8
    order = np.random.default_rng(0).permutation(len(X))  # rows in another order
    again = oracle_scores(truth, X.iloc[order], y.iloc[order])
    columns = pd.Index(pd.unique(y["segment"].iloc[order])).get_indexer(pd.unique(y["segment"]))
    np.testing.assert_allclose(again[:, columns], scores[order], rtol=1e-4, atol=1e-3 * np.abs(scores).max())


def test_oracle_scores_rejects_unknown(make):
    _, truths, events = make("ignored", minutes=4, n_channels=4)
    truth = {"01": SubjectTruth(0.0, None, {}, {}, {}, truths)}
    X, y = make_segments(events)
    with pytest.raises(ValueError, match="rows of stream 'ignored'.*stream='attended'"):
        oracle_scores(truth, X, y)
    X, y = make_segments(events, stream="attended")
    assert np.isfinite(oracle_scores(truth, X, y)).all()
    with pytest.raises(ValueError, match="'truth' has no recording"):
        oracle_scores({}, X, y)
    other = X.assign(recording=["elsewhere.fif"] * 5 + X["recording"].tolist()[5:])
    truth["02"] = SubjectTruth(0.0, None, {}, {}, {}, {"elsewhere.fif": None})
    with pytest.raises(ValueError, match="was not presented to the subject of"):
        oracle_scores(truth, other, y)

"""Tests of simulated subjects and of the features they respond to."""

import numpy as np
import pytest
import soundfile

from sk_b2s.datasets.simulated._sources import compute_source_features, draw_subject_sources


def test_compute_source_features_has_no_delay(tmp_path):
    """A tone from 0.5 to 0.8 s has its onset at 0.5 s."""
    times = np.arange(16000) / 16000
    soundfile.write(
        tmp_path / "tone.wav", 0.3 * np.sin(2e3 * np.pi * times) * ((times > 0.5) & (times < 0.8)), 16000
    )
    features = compute_source_features(tmp_path / "tone.wav", 1.0)
    rise, envelope = (features[name].sum(axis=0) for name in ("onset", "envelope"))
    assert np.argmax(rise) / 250 == pytest.approx(0.5, abs=0.009)
    assert max(rise[:118].max(), rise[132:190].max()) < 0.05 * rise.max()
    assert envelope[130:195].min() > 10 * envelope[:118].max()


def test_draw_subject_sources_variability():
    subjects = [draw_subject_sources(np.random.default_rng(seed), -18.0) for seed in range(300)]
    snr = np.array([subject.snr_db for subject in subjects])
    assert snr.mean() == pytest.approx(-18, abs=0.6)
    assert snr.std() == pytest.approx(3, abs=0.4)
    latencies = np.array([subject.latencies["onset"] for subject in subjects])
    np.testing.assert_allclose(latencies.mean(axis=0), [0.050, 0.100, 0.190], atol=0.006)
    np.testing.assert_allclose(latencies.std(axis=0), 0.012, atol=0.002)
    positions = np.array([subject.positions[:8] for subject in subjects])
    np.testing.assert_allclose(positions.std(axis=0), 0.006, atol=0.001)
    assert (
        np.linalg.norm([subject.positions for subject in subjects], axis=2).max() < 0.0855
    )  # inside the source volume

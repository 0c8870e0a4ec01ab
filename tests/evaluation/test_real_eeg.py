"""Decoding of real EEG."""

import importlib.util

import numpy as np
import pytest
from helpers import ROOT
from threadpoolctl import threadpool_limits

from sk_b2s.events._intervals import StimulusIntervals

PAGE = ROOT / "examples" / "plot_3_real_eeg.py"


@pytest.fixture(scope="module")
def page():
    """The example as a module: its functions, without its figures."""
    spec = importlib.util.spec_from_file_location("plot_3_real_eeg", PAGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recordings(page, data_folder):
    """EEG of eight participants and the envelope of the stimulus."""
    if not (data_folder / "eeg_dtu").is_dir():
        pytest.skip("the real EEG is absent: no eeg_dtu in the development data")
    with threadpool_limits(1):  # as the page does: its matrices are small
        yield page.load_subjects(data_folder / "eeg_dtu")


def test_null_mean_of_real_eeg(page):
    scores = np.random.default_rng(0).standard_normal((3, 10, 2, 8, 8)) + np.eye(8)
    table = page.summary(scores)
    np.testing.assert_allclose(table["null"], (100 - table["mean"]) / 7)
    assert page.accuracies(np.broadcast_to(np.eye(8), (3, 10, 2, 8, 8))).tolist() == [[1.0] * 3] * 2
    assert page.accuracies(np.zeros((3, 10, 2, 8, 8))).tolist() == [[0.0] * 3] * 2  # ties count against


def test_halves_of_real_eeg_are_separate(page, recordings):
    people, envelope = recordings
    people = {"S1": people["S1"]}
    (X, y), (_, y_test) = (page.cut(people, envelope, half, 0.5, "first") for half in ("first", "second"))
    assert not StimulusIntervals.from_table(y_test.rows).touches(y.rows, gap=1.49).any()
    other, changed = people["S1"].copy(), envelope.copy()
    other[:, int(25.5 * page.SFREQ) :] = 7
    changed[int(25.5 * page.SFREQ) :] = 7
    X_same, y_same = page.cut({"S1": other}, changed, "first", 0.5, "first")
    np.testing.assert_array_equal(np.asarray(X_same), np.asarray(X))
    np.testing.assert_array_equal(np.asarray(y_same), np.asarray(y))


@pytest.mark.slow
def test_ridge_decodes_real_eeg(page, recordings):
    """Another ridge had 24.5 ± 2.3 and 55.5 ± 9.4 % on these data."""
    table = page.summary(page.similarities("ridge", *recordings))
    single, averaged = table.loc["single"], table.loc["averaged"]
    assert 20 < single["mean"] < 29
    assert 40 < averaged["mean"] < 70
    assert (table["mean"] > table["null 97.5 %"] + table["s.e.m."]).all()


@pytest.mark.slow
def test_ridge_is_at_chance_on_shifted_eeg(page, recordings):
    people, envelope = recordings
    few = {name: people[name] for name in list(people)[:4]}
    table = page.summary(page.similarities("ridge", few, np.roll(envelope, 21 * page.SFREQ)))
    assert (table["mean"] < table["null 97.5 %"]).all()
    assert abs(table.loc["single", "mean"] - 12.5) < 3


@pytest.mark.slow
def test_encoder_decodes_real_eeg(page, recordings):
    people, envelope = recordings
    few = {name: people[name] for name in list(people)[:3]}
    table = page.summary(page.similarities("encoder", few, envelope))
    assert (table["mean"] > table["null 97.5 %"] + table["s.e.m."]).all()

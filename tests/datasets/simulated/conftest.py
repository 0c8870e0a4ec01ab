"""Fixtures of simulated experiments."""

from functools import cache

import mne
import pytest
from helpers.simulated import PARAMETERS

from sk_b2s.datasets import make_listening

SMALL = {"n_subjects": 1, "minutes": 2, "n_channels": 16}


@pytest.fixture(scope="session")
def make(tmp_path_factory):
    """Simulate a subject once, and return data, truth and events."""
    root = tmp_path_factory.mktemp("artifacts")

    @cache
    def make(artifacts, **changes):
        events, truth = make_listening(**(SMALL | changes), artifacts=artifacts, root=root, return_truth=True)
        data = {
            path: mne.io.read_raw(path, verbose="ERROR").get_data() for path in events["recording"].unique()
        }
        return data, truth["01"].recordings, events

    return make


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("listening")


@pytest.fixture(scope="session")
def small_experiment(root):
    """Events and truth of two subjects with a high signal-to-noise ratio."""
    return make_listening(**PARAMETERS, snr_db=30, root=root, return_truth=True)

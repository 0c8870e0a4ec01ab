"""Simulated listening experiment as a registered data set."""

from __future__ import annotations

from functools import partial

from sk_b2s._utils._caching import cache_folder
from sk_b2s.datasets._registry import Dataset
from sk_b2s.datasets.simulated._experiment import make_listening
from sk_b2s.datasets.simulated._oracle import oracle_scores


def load_listening(
    n_subjects=4, minutes=10.0, modality="meg", snr=None, sessions=1, artifacts=True, data_seed=0
):
    """Simulate a listening experiment, with an oracle."""
    events, truth = make_listening(
        n_subjects, minutes, modality=modality, snr_db=snr, sessions=sessions, artifacts=artifacts,
        random_state=data_seed, root=cache_folder(), return_truth=True,
    )  # fmt: skip
    return Dataset(events, partial(oracle_scores, truth))

"""Masked values that a linear estimate explains, the ceiling of pretraining.

``python benchmarks/bench_masked_ceiling.py`` simulates the subjects of
``bench_pretraining.py`` (random_state=0, used for development) and computes
the best linear estimates of masked values from their space-time covariance,
within 0.24 s. They know the masks, which the network does not. ``--real``
adds participants 1 to 8 of the real EEG in the folder of
``SK_B2S_TEST_DATA``. Columns:

- ``own times``: from the unmasked samples of the same sensor,
- ``other sensors``: from the unmasked sensors at the same time,
- ``both``: from all unmasked samples within reach,
- ``16 channels``: upper limit of "both" for a network with 16 virtual
  channels, the share of the 16 largest components of the estimates.

The covariance is that of the first two thirds of the same recording, or the
mean of two other subjects. Estimates are scored on the last third.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from _machine import machine, markdown
from bench_pretraining import Experiment
from scipy.linalg import cho_factor, cho_solve

from sk_b2s.preprocessing._covariance_alignment import compute_covariance_alignment_whitener
from sk_b2s.pretraining._masks import draw_block_mask, group_sensors_for_masks

REACH = 12  # samples before and after a masked value
N_VIRTUAL = 16  # channels of the network of size "laptop"
SHRINKAGE = 0.02  # of the space-time covariance
MASKS = ((2, 5), (8, 2), (8, 50))  # groups of sensors, samples of a block


def compute_lagged_covariance(signals):
    """Compute E[x_a(t) x_b(t + lag)]: (lags, n_channels, n_channels)."""
    found = []
    for x in signals:
        n = len(x) - 2 * REACH
        found.append([x[:n].T @ x[lag : n + lag] / n for lag in range(2 * REACH + 1)])
    return np.mean(found, axis=0)


def select_covariance(lagged, channels, times, other_channels, other_times):
    """Select the covariance of two sets of values of a window."""
    lag = other_times[None] - times[:, None]
    later = lagged[np.abs(lag), channels[:, None], other_channels[None]]
    earlier = lagged[np.abs(lag), other_channels[None], channels[:, None]]
    return np.where(lag >= 0, later, earlier)


class Estimates:
    """Linear estimates of values in the middle of windows of a signal."""

    def __init__(self, lagged, signal, random, n_windows=1500):
        self.lagged, self.signal = lagged, signal
        self.at = random.randint(REACH, len(signal) - REACH - 1, n_windows)

    def estimate(self, channels, times, targets):
        """Estimate targets from known values: (n_windows, n_targets)."""
        if not len(channels):
            return np.zeros((len(self.at), len(targets)))
        known = select_covariance(self.lagged, channels, times, channels, times)
        known[np.diag_indices(len(known))] += SHRINKAGE * np.diag(self.lagged[0]).mean()
        middle = np.full(len(targets), REACH)
        weights = cho_solve(
            cho_factor(known), select_covariance(self.lagged, channels, times, targets, middle)
        )
        return self.signal[self.at[:, None] + times - REACH, channels] @ weights


def measure_ceiling(training, test, positions, n_groups, n_block, ratio=0.5, n_masks=8):
    """Compute the explained variance of masked values by their sources."""
    random = np.random.RandomState(0)
    n_channels = test.shape[1]
    linear = Estimates(compute_lagged_covariance(training), test, random)
    components = np.zeros((n_channels, n_channels))
    left = {"own times": [], "other sensors": [], "both": []}
    for _ in range(n_masks):
        groups = group_sensors_for_masks(positions, n_channels, n_groups, random)
        mask = draw_block_mask(groups[None], n_groups, 150, n_block, ratio, random)[0].numpy()
        inside = np.flatnonzero(mask[:, REACH:-REACH].any(0))
        window = mask[:, (first := random.choice(inside)) : first + 2 * REACH + 1]
        targets = np.flatnonzero(window[:, REACH])
        values = test[linear.at][:, targets]
        channels, times = np.nonzero(~window)
        now = times == REACH
        guesses = {
            "own times": np.concatenate(
                [linear.estimate(channels[channels == one], times[channels == one], np.array([one])) for one in targets],
                axis=1,
            ),
            "other sensors": linear.estimate(channels[now], times[now], targets),
            "both": linear.estimate(channels, times, targets),
        }  # fmt: skip
        for name, guess in guesses.items():
            left[name].extend(((values - guess) ** 2).mean(0) / (values**2).mean(0))
        components[np.ix_(targets, targets)] += guesses["both"].T @ guesses["both"]
    out = {name: 1 - np.mean(shares) for name, shares in left.items()}
    sizes = np.linalg.eigvalsh(components)[::-1]
    return {**out, f"{N_VIRTUAL} channels": out["both"] * sizes[:N_VIRTUAL].sum() / sizes.sum()}


def load_real(aligned):
    """Load the real EEG of eight participants, and sensor positions."""
    import mne

    from sk_b2s.io._sensors import project_sensors

    montage = mne.channels.make_standard_montage("biosemi64")
    info = mne.create_info(montage.ch_names, 64, "eeg").set_montage(montage)
    signals = []
    for number in range(1, 9):
        with np.load(Path(os.environ["SK_B2S_TEST_DATA"]) / "eeg_dtu" / f"DTU_S{number}.npz") as file:
            x = (file["eeg_int16"] * file["eeg_scale"]).reshape(-1, 64)
        x = np.clip((x - np.median(x, 0)) * 1.349 / np.subtract(*np.percentile(x, [75, 25], axis=0)), -20, 20)
        x = x @ compute_covariance_alignment_whitener(np.cov(x.T)) if aligned else x
        signals.append(np.asarray(x, np.float32))
    return signals, project_sensors(info, montage.ch_names)


def load_simulated(modality, aligned, folder):
    """Simulate EEG or MEG, and return scaled signals and positions."""
    data = {"n_subjects": 8, "minutes": 30.0, "random_state": 0, "modality": modality}
    X = Experiment(data, 3, 2, 400, folder, aligned=aligned).X
    return X.signals, X.positions[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modality", choices=["meg", "eeg"], nargs="*", default=["meg", "eeg"])
    parser.add_argument("--real", action="store_true", help="add the real EEG")
    parser.add_argument("--folder", type=Path, default=Path("bench_pretraining"), help="recordings (5 GB)")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    lines = []
    for name in [*given.modality, *["real EEG"] * given.real]:
        for aligned in (True, False):
            signals, positions = (
                load_real(aligned) if name == "real EEG" else load_simulated(name, aligned, given.folder)
            )
            signals = [(signals[i] - signals[i].mean(0)) / signals[i].std(0) for i in (0, 5, 6)]
            n = len(signals[0]) * 2 // 3
            for source, training in (("same", [signals[0][:n]]), ("others", signals[1:])):
                for n_groups, n_block in MASKS if source == "same" else MASKS[:1]:
                    found = measure_ceiling(training, signals[0][n:], positions, n_groups, n_block)
                    lines.append([name, "yes" if aligned else "no", source, n_groups, n_block,
                                  *(f"{value:.3f}" for value in found.values())])  # fmt: skip
                    print(lines[-1], flush=True)
    columns = ["recording", "aligned", "covariance of", "groups", "samples of a block", *found]
    print("\n" + markdown(columns, lines) + f"\n\n{machine()}")

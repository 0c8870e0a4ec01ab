"""Masked pretraining before a decoder of real EEG.

``SK_B2S_TEST_DATA=folder python benchmarks/bench_pretraining_real.py`` reads
``eeg_dtu`` like ``examples/plot_3_real_eeg.py``, with its network, windows
and split of the story. The network is trained on 1, 3 or 6 repeats of half of
the story of four participants, 1.6 to 9.6 minutes together, and scored on the
other half (k=1 of eight segments, all ten repeats). MaskedEncoder is fitted on
the other four participants without labels, and only on the half of the story
that is also used for training. Both halves are tested in turn, and both
groups of participants are labeled in turn. The starts are those of
``bench_pretraining.py``, and ``longer``: random weights, with the steps of
pretraining added to those of training. Participants 1 to 8 were used for
development.
"""

import argparse
import warnings
from copy import deepcopy
from itertools import product

import numpy as np
import pandas as pd
from _machine import machine, markdown
from bench_dtu import load_page, load_subjects
from bench_pretraining import STARTS, ShuffledTimes, count_epochs, describe

from sk_b2s import make_masked_encoder
from sk_b2s.metrics._ranks_and_top_k import ranks

REPEATS = (1, 3, 6)
HALVES = (("second", "first"), ("first", "second"))  # training and test
GROUPS = ((1, 2, 3, 4), (5, 6, 7, 8))  # each labeled in turn, the other one unlabeled
ALL_STARTS = (STARTS[0], "longer", *STARTS[1:])


def cut_windows(page, numbers, half, step, whiten):
    """Cut windows of EEG and envelope of some participants."""
    subjects, envelope = load_subjects(page, numbers)
    return page.cut(subjects, envelope, half, step, whiten)


def make_encoders(page, labeled, others, train, test, seed, n_steps, lr):
    """Fit the masked encoders, and compute what they explain."""
    windows, _ = cut_windows(page, others, train, 0.5, train)
    held, _ = cut_windows(page, labeled, test, page.SECONDS, train)
    out, explained = {"scratch": None, "longer": None}, {}
    blank = make_masked_encoder(page.make_decoder("encoder"), verbose=0, lr=lr, random_state=seed)
    blank.set_params(max_epochs=count_epochs(windows, blank, n_steps))
    out["others"] = deepcopy(blank).fit(windows)
    own, _ = cut_windows(page, labeled, train, 0.5, train)
    out["own"] = deepcopy(out["others"]).set_params(max_epochs=count_epochs(own, blank, n_steps // 2))
    out["own"].partial_fit(own)
    out["shuffled"] = deepcopy(blank).fit(windows.then(ShuffledTimes(seed)))
    for start in STARTS[1:]:
        explained[start] = out[start].score(held)
    return out, explained


def score_start(page, labeled, masked, n_repeats, train, test, seed, n_steps):
    """Train on some repeats, and score each participant."""
    X, y = cut_windows(page, labeled, train, 0.25, train)
    repeat = X.rows["recording"].str.split("/").str[1].astype(int).to_numpy()
    rows = np.flatnonzero(repeat < n_repeats)
    encoder = page.make_decoder("encoder").set_params(random_state=seed, init=masked)
    encoder.set_params(max_epochs=count_epochs(rows, encoder, n_steps)).fit(X[rows], y[rows])
    X_test, y_test = cut_windows(page, labeled, test, page.SECONDS, train)
    matrix = encoder.similarity(X_test, y_test).reshape(len(labeled), -1, 8)
    target = np.tile(np.arange(8), matrix.shape[1] // 8)
    return {number: np.mean(ranks(one, target) == 0) for number, one in zip(labeled, matrix, strict=True)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, nargs="*", default=list(REPEATS), help="of the story")
    parser.add_argument("--steps", type=int, default=300, help="of a decoder")
    parser.add_argument("--pretraining-steps", type=int, default=400, help="half for continued pretraining")
    parser.add_argument("--lr", type=float, default=1e-3, help="of pretraining")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of the networks")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # shuffled windows have nothing to learn
    page, rows, seen = load_page(), [], []
    cases = list(product(given.seeds, (GROUPS, GROUPS[::-1]), HALVES))
    for seed, (labeled, others), (train, test) in cases:
        encoders, explained = make_encoders(
            page, labeled, others, train, test, seed, given.pretraining_steps, given.lr
        )
        seen.append(explained)
        print(f"seed {seed}, {labeled}, test on the {test} half, explained variance: {explained}", flush=True)
        for n_repeats, (start, masked) in product(given.repeats, encoders.items()):
            n_steps = given.steps + given.pretraining_steps * (start == "longer")
            found = score_start(page, labeled, masked, n_repeats, train, test, seed, n_steps)
            rows += [
                {"repeats": n_repeats, "start": start, "seed": seed, "test": test, "subject": number, "top_1": share}
                for number, share in found.items()
            ]  # fmt: skip
            print(f"  {n_repeats} repeats, {start}: {np.mean(list(found.values())):.3f}", flush=True)
    lines = []
    for n_repeats, part in pd.DataFrame(rows).groupby("repeats"):
        scores = part.pivot_table(index=["subject", "seed"], columns="start", values="top_1")
        minutes = f"{24 * len(GROUPS[0]) * n_repeats / 60:.1f}"
        lines.append([minutes, *(describe(scores, start) for start in ALL_STARTS)])
    print("\n" + markdown(["labeled minutes, together", *ALL_STARTS], lines))
    mean = pd.DataFrame(seen).mean().round(3).to_dict()
    print(f"\nexplained variance of masked values of the labeled participants: {mean}\n\n{machine()}")

"""Masked pretraining before training with few labeled minutes.

``python benchmarks/bench_pretraining.py`` simulates subjects of three groups:
*labeled* subjects, *unseen* subjects, and *others*. An encoder of size
"laptop" is trained on 1 to 25 labeled minutes of each labeled subject, and
scored on held-out stimuli of the labeled and of the unseen subjects. It starts
from

- ``scratch``: random weights,
- ``others``: a MaskedEncoder fitted on all recordings of the others,
- ``own``: the same, continued on the recordings of the labeled and the unseen
  subjects, without labels and without the test stimuli,
- ``shuffled``: a MaskedEncoder fitted on the others, whose windows have their
  samples in random order. Anything that it gains is not temporal structure.

All encoders take the same number of steps for all amounts of labels. Each line
of ``pretraining.jsonl`` is one fit, written as soon as it exists, and is not
computed again. ``--table`` prints the existing rows, with paired differences
to ``scratch``. ``--memory`` prints memory and time of longer windows. The
subjects are those of ``--seed``, of which 0 was used for development.
"""

import argparse
import time
import warnings
from copy import deepcopy
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _machine import machine, markdown, peak_mib, reset_peak
from _rows import append_row, name_of, read_rows
from scipy.stats import ttest_1samp
from sklearn.base import clone
from skorch.callbacks import Callback

from sk_b2s import (
    MaskedEncoder,
    StimulusKFold,
    Windows,
    make_decoders,
    make_grid_segments,
    make_masked_encoder,
    make_segments,
)
from sk_b2s.datasets import make_listening
from sk_b2s.datasets.simulated._experiment import VERSION
from sk_b2s.events._intervals import StimulusIntervals

MINUTES = (5, 25, 1, 10, 2, 20)  # the most telling first; 5 minutes of 30 are held out
STARTS = ("scratch", "others", "own", "shuffled")
PRETRAINING = {"lr": 1e-3, "last": "zero", "attention": "fixed"}  # part of the key of all rows but scratch
LENGTHS = (3, 6, 12, 24, 48)  # s, of windows of --memory
WINDOW = {"tmin": -0.5, "tmax": 2.5}


class ShuffledTimes:
    """Step of Windows that permutes the samples of each window."""

    def __init__(self, seed):
        self.random = np.random.RandomState(seed)

    def __call__(self, batch, which):
        """Return a batch with permuted samples."""
        order = torch.from_numpy(self.random.rand(len(batch), batch.shape[2]).argsort(1))
        return batch.gather(2, order[:, None].expand(-1, batch.shape[1], -1))


class FixedAttention(Callback):
    """Leave spatial attention as drawn, in both stages of pretraining.

    Pretrained attention selects a few sensors, and decoders score lower.
    """

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Exclude spatial attention from training."""
        net.module_.spatial_attention.requires_grad_(False)


def apply_steps(windows):
    """Apply the steps of windows to their whole signals, once."""
    signals = []
    for index, signal in enumerate(windows.signals):
        whole = windows._replace(which=[index], start=[0], n_times=signal.shape[0], rows=None)
        signals.append(np.ascontiguousarray(whole.gather()[0].T.numpy()))
    return windows._replace(signals=signals, steps=())


class Experiment:
    """Windows of one simulated experiment."""

    def __init__(self, data, n_labeled, n_unseen, n_steps, root, aligned=True):
        self.n_steps, self.memory = n_steps, root / "cache"
        events = make_listening(**data, artifacts=False, root=root)
        X, self.y = make_segments(events, **WINDOW)
        grid = make_grid_segments(events, duration=3.0, step=1.5)
        self.decoder = make_decoders("clip-mel", memory=self.memory)["clip-mel"]
        self.decoder.set_params(epochs__baseline=None, encoder__validation=None, encoder__patience=1)
        if not aligned:
            self.decoder.set_params(align="passthrough")
        prepare = self.decoder[:-1].fit(X)
        self.X = apply_steps(prepare.transform(X))
        self.grid = self._place(grid)
        names = np.unique(X["subject"])
        groups = np.split(names, [n_labeled, n_labeled + n_unseen])
        self.labeled, self.unseen, self.others = (set(group) for group in groups)
        train, test = next(StimulusKFold(6).split(X, self.y))
        self.train = train[X["subject"].iloc[train].isin(self.labeled)]
        self.test = test[X["subject"].iloc[test].isin(self.labeled | self.unseen)]
        self.masked, self.explained = {}, {}

    def _place(self, grid):
        """Make Windows of a grid on the prepared signals."""
        index = self.X.rows["recording"].groupby(self.X.which).first()
        which = pd.Index(index).get_indexer(grid["recording"])
        start = np.round(grid["onset"].to_numpy() * self.X.sfreq).astype(int) + round(0.15 * self.X.sfreq)
        n_times = round(3.0 * self.X.sfreq)
        return self.X._replace(which=which, start=start, n_times=n_times, rows=grid)

    def select_grid(self, subjects, without_test=False):
        """Return windows of a grid, optionally without test stimuli."""
        rows = self.grid.rows
        keep = rows["subject"].isin(subjects).to_numpy(copy=True)
        if without_test:
            tested = [
                self.X.rows.iloc[self.test][name].to_numpy() for name in ("recording", "onset", "duration")
            ]
            tested = StimulusIntervals.from_spans(tested[0], tested[1], tested[1] + tested[2])
            begin = rows["onset"].to_numpy()
            keep &= ~tested.overlap_spans(rows["recording"].to_numpy(), begin, begin + 3.0)
        return self.grid[np.flatnonzero(keep)]

    def get_masked(self, start, seed, **params):
        """Fit a MaskedEncoder once."""
        if (start, seed) in self.masked:
            return self.masked[start, seed]
        masked = make_masked_encoder(
            self.decoder["encoder"], verbose=0, lr=PRETRAINING["lr"], callbacks=[FixedAttention()], random_state=seed,
            **params,
        )  # fmt: skip
        if start == "own":
            windows = self.select_grid(self.labeled | self.unseen, without_test=True)
            masked = deepcopy(self.get_masked("others", seed, **params)).set_params(
                max_epochs=count_epochs(windows, masked, self.n_steps // 2)
            )
            masked.partial_fit(windows)
        else:
            windows = self.select_grid(self.others)
            windows = windows.then(ShuffledTimes(seed)) if start == "shuffled" else windows
            masked.set_params(max_epochs=count_epochs(windows, masked, self.n_steps)).fit(windows)
        self.masked[start, seed] = masked
        explained = masked.score(self.select_grid(self.unseen)[::12])
        self.explained[start, seed] = round(float(explained), 4)
        print(
            f"  {start}, seed {seed}: loss {masked.history_[-1]['train_loss']:.3f}, unseen subjects {explained:.3f}",
            flush=True,
        )
        return masked

    def select_minutes(self, minutes):
        """Return training rows of the first minutes of stimuli."""
        y = self.y.iloc[self.train]
        length = (y["block_stop"] - y["block_start"]).groupby(y["block"]).first()
        order = np.random.RandomState(0).permutation(len(length))
        used = length.index[order[length.to_numpy()[order].cumsum() <= 60 * minutes + 10]]
        return self.train[y["block"].isin(used).to_numpy()]

    def score(self, start, minutes, seed, freeze=False):
        """Train on some minutes, and score both groups of subjects."""
        rows = self.select_minutes(minutes)
        encoder = clone(self.decoder["encoder"]).set_params(random_state=seed, verbose=0, freeze=freeze)
        encoder.set_params(max_epochs=count_epochs(rows, encoder, self.n_steps))
        if start != "scratch":
            encoder.set_params(init=self.get_masked(start, seed))
        began = time.perf_counter()
        encoder.fit(self.X[rows], self.y.iloc[rows])
        seconds = time.perf_counter() - began
        subjects = {}
        for subject in sorted(self.labeled | self.unseen):
            own = self.test[(self.X.rows["subject"].iloc[self.test] == subject).to_numpy()]
            ranks, n_candidates = encoder.ranks(self.X[own], self.y.iloc[own])
            subjects[subject] = {
                "known": subject in self.labeled, "top_1": round(float(np.mean(ranks < 1)), 5),
                "top_k": round(float(np.mean(ranks < 10)), 5), "chance": round(10 / n_candidates, 5),
            }  # fmt: skip
        seen = self.y.iloc[rows].drop_duplicates("block")
        labeled = float((seen["block_stop"] - seen["block_start"]).sum() / 60)
        return {
            "subjects": subjects, "seconds": round(seconds, 1), "labeled_minutes": round(labeled, 2),
            "explained": self.explained.get((start, seed)),
        }  # fmt: skip


def count_epochs(rows, encoder, n_steps):
    """Return the number of epochs of about ``n_steps`` steps."""
    return max(1, round(n_steps / -(-len(rows) // encoder.batch_size)))


def list_jobs(seeds, minutes, starts):
    """List (start, minutes, seed), the most telling rows first."""
    for seed in seeds:
        yield from ((start, amount, seed) for amount in minutes for start in starts)


def run(experiments, jobs, given):
    """Compute missing rows."""
    path = given.folder / "pretraining.jsonl"
    done = read_rows(path)
    sizes = {"n_labeled": given.labeled, "n_unseen": given.unseen, "n_steps": given.steps}
    made = {}
    for data, (start, minutes, seed) in order_jobs(experiments, jobs):
        key = {**data, **sizes, "simulation": VERSION, "start": start, "minutes_labeled": minutes, "seed": seed,
               "freeze": given.freeze}  # fmt: skip
        if start != "scratch":
            key["pretraining"] = PRETRAINING
        if name_of(key) in done:
            continue
        name = data["modality"]
        if name not in made:
            made[name] = Experiment(data, **sizes, root=given.folder)
        values = made[name].score(start, minutes, seed, given.freeze)
        done[name_of(key)] = append_row(path, key, **values, machine=machine())
        means = pd.DataFrame(values["subjects"]).T.groupby("known")["top_k"].mean()
        print(
            f"{name}, {start}, {minutes} min, seed {seed}: top-10 known {means[True]:.3f}, unseen {means[False]:.3f}, "
            f"{values['seconds']} s", flush=True,
        )  # fmt: skip
    return done


def order_jobs(experiments, jobs):
    """Yield pairs of experiment and job, seed by seed."""
    jobs = list(jobs)
    for seed in dict.fromkeys(job[2] for job in jobs):
        yield from ((data, job) for data in experiments for job in jobs if job[2] == seed)


def report(done, data, given):
    """Print scores and paired differences to scratch of one experiment."""
    rows = [
        {"start": row["key"]["start"], "minutes": row["key"]["minutes_labeled"], "seed": row["key"]["seed"],
         "subject": subject, "explained": row.get("explained"), **values}
        for row in done.values() if all(row["key"].get(name) == value for name, value in data.items())
        and row["key"]["freeze"] == given.freeze and row["key"]["n_steps"] == given.steps
        and (row["key"]["start"] == "scratch" or row["key"].get("pretraining") == PRETRAINING)
        for subject, values in row["subjects"].items()
    ]  # fmt: skip
    if not rows:
        return
    table = pd.DataFrame(rows)
    explained = table.dropna(subset="explained").groupby("start")["explained"].mean().round(3).to_dict()
    print(
        f"\n{data['modality'].upper()}, explained variance of masked values of unseen subjects: {explained}"
    )
    starts = table.groupby(["minutes", "seed"])["start"].transform("nunique")
    table = table[starts == starts.max()]  # seeds with all starts, so that means are comparable
    for known, part in table.groupby("known", sort=False):
        print(
            f"\n**{data['modality'].upper()}, {'labeled' if known else 'unseen'} subjects "
            f"({part['subject'].nunique()}), top-10, chance {part['chance'].mean():.4f}"
            f"{', frozen' if given.freeze else ''}**\n"
        )
        lines = []
        for minutes in sorted(part["minutes"].unique()):
            own = part[part["minutes"] == minutes]
            scores = own.pivot_table(index=["subject", "seed"], columns="start", values="top_k")
            line = {"minutes": minutes, "seeds": own["seed"].nunique()}
            for start in STARTS:
                line[start] = describe(scores, start) if start in scores else ""
            lines.append(line)
        print(markdown(list(lines[0]), [line.values() for line in lines]))


def describe(scores, start):
    """Format mean, s.e.m. over subjects and paired difference to scratch."""
    by_subject = scores[start].dropna().groupby("subject").mean()
    text = f"{by_subject.mean():.3f} ± {by_subject.sem():.3f}"
    if start == "scratch" or "scratch" not in scores:
        return text
    pairs = (scores[start] - scores["scratch"]).dropna().groupby("subject").mean()
    if len(pairs) < 2:
        return text
    p = ttest_1samp(pairs, 0).pvalue if pairs.std() > 0 else np.nan
    return f"{text} ({pairs.mean():+.3f} ± {pairs.sem():.3f}, {(pairs > 0).sum()} of {len(pairs)} subjects, p = {p:.3f})"


def measure_memory(seconds, n_windows):
    """Measure one step in this process: MiB above the windows, and CPU s."""
    X = Windows.from_array(
        torch.randn(n_windows, 208, 120 * seconds).numpy(), sfreq=120, positions=torch.rand(208, 2).numpy()
    )
    masked = MaskedEncoder(hidden=64, n_virtual_channels=64, batch_size=n_windows, max_epochs=1, verbose=0)
    before, began = reset_peak(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noise has nothing to learn
        masked.fit(X)
    return peak_mib() - before, time.process_time() - began


def report_memory():
    """Print memory and time by the length of windows, each in a process."""
    lines = []
    with get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for seconds in LENGTHS:
            lines.append([seconds])
            for n_windows in (LENGTHS[-1] // seconds, 2):
                mib, spent = pool.apply(measure_memory, (seconds, n_windows))
                lines[-1] += [n_windows, f"{mib:.0f}", f"{spent:.1f}"]
            print(lines[-1], flush=True)
    print("\n" + markdown(["s", *2 * ["windows in a batch", "MiB", "CPU s of a step"]], lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modality", choices=["meg", "eeg"], nargs="*", default=["meg", "eeg"])
    parser.add_argument(
        "--minutes", type=int, nargs="*", default=list(MINUTES), help="labeled, of each subject"
    )
    parser.add_argument("--starts", nargs="*", choices=STARTS, default=list(STARTS))
    parser.add_argument("--labeled", type=int, default=3, help="subjects")
    parser.add_argument("--unseen", type=int, default=2, help="subjects")
    parser.add_argument("--others", type=int, default=3, help="subjects")
    parser.add_argument("--recorded", type=float, default=30.0, help="minutes of speech")
    parser.add_argument("--steps", type=int, default=400, help="of each fit, half for continued pretraining")
    parser.add_argument("--freeze", action="store_true", help="train only the last layer")
    parser.add_argument(
        "--seed", type=int, default=100, help="of the simulated subjects; 0 was used for development"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of the networks")
    parser.add_argument(
        "--folder", type=Path, default=Path("bench_pretraining"), help="recordings and rows (5 GB)"
    )
    parser.add_argument("--table", action="store_true", help="only print existing rows")
    parser.add_argument(
        "--memory", action="store_true", help="only print memory and time by length of windows"
    )
    given = parser.parse_args()
    if given.memory:
        report_memory()
        raise SystemExit
    given.folder.mkdir(exist_ok=True, parents=True)
    size = {
        "n_subjects": given.labeled + given.unseen + given.others, "minutes": given.recorded, "random_state": given.seed,
    }  # fmt: skip
    experiments = [{**size, "modality": modality} for modality in given.modality]
    if not given.table:
        run(experiments, list(list_jobs(given.seeds, given.minutes, given.starts)), given)
    done = read_rows(given.folder / "pretraining.jsonl")
    for data in experiments:
        report(done, data, given)
    print(f"\n{machine()}")

"""Score, null and controls of each task, for known and unseen subjects.

``python benchmarks/bench_tasks.py`` prints one row per task, decoder and kind
of subject, on simulated subjects that nothing was tuned on. "known" is the
first of two stimulus folds, with controls. "unseen" leaves out each subject
and the same half of the stimuli. Decoders of features only are scored on the
tasks that need estimates of features.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from _machine import machine, markdown

from sk_b2s import LeaveOneSubjectOut, StimulusKFold, benchmark_task, make_decoders, make_segments, summarize
from sk_b2s.datasets import make_listening
from sk_b2s.evaluation._tasks._registry import TASKS

FEATURES_ONLY = ("word_types", "phoneme", "speech", "reconstruction")  # estimates of features are compared
CONTROLS = ["phase_randomized", "shifted_labels"]


def run_task(task, decoders, data, path, n_jobs):
    """Run a task for known subjects with controls, and for unseen subjects."""
    spec = TASKS[task]
    controls = [name for name in CONTROLS if spec.controls is None or name in spec.controls]
    folds = {
        "known": list(StimulusKFold(2).split(*data))[:1],
        "unseen": list(LeaveOneSubjectOut(2).split(*data))[::2],  # the first half of the stimuli
    }
    for kind, cv in folds.items():
        start = time.perf_counter()
        results = benchmark_task(
            task, decoders, data, cv=cv, path=path / f"{task}_{kind}.jsonl",
            controls=controls if kind == "known" else False, n_jobs=n_jobs, verbose=0,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        for error in results.loc[results["error"] != "", "error"].unique():
            print(f"{task}, {kind}: {error}")
        yield from list_rows(summarize(results), task, kind, seconds / len(decoders))


def list_rows(table, task, kind, seconds):
    """List one row per decoder of a summary, with its controls."""
    main = table["main_score"].iloc[0]
    table = table[table["pool"] == "all"].set_index("control")
    for name, own in table.groupby("estimator", sort=False):
        row = own.loc["decoder"]
        controls = {
            control: own.loc[control, main] if control in own.index else np.nan
            for control in [*CONTROLS, "timing_only"]
        }
        yield {
            "task": task, "decoder": name, "subjects": kind, "score": row[main], "s.e.m.": row[f"{main}_sem"],
            "chance": row["chance"], "null to": row["null_high"], "of": row["n_candidates"], "windows": row["n_windows"],
            **controls, "verdict": row["verdict_text"], "s": seconds,
        }  # fmt: skip


def main():
    """Simulate, run all tasks and print their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--modality", default="meg")
    parser.add_argument("--seed", type=int, default=100, help="of the simulation")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--decoders", nargs="*", default=["ridge", "likelihood"])
    parser.add_argument("--out", type=Path, default=Path("bench_tasks"), help="results and caches")
    parser.add_argument("--n-jobs", type=int)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    args.out.mkdir(parents=True, exist_ok=True)
    events = make_listening(
        args.subjects,
        args.minutes,
        modality=args.modality,
        random_state=args.seed,
        root=args.out / "listening",
    )
    decoders = make_decoders(args.decoders, memory=str(args.out / "cache"))
    rows = []
    for task in args.tasks:
        own = {name: decoders[name] for name in decoders if name == "ridge" or task not in FEATURES_ONLY}
        X, y = make_segments(events, **TASKS[task].rows)
        data = X, y.drop(columns="condition", errors="ignore")
        rows += run_task(task, own, data, args.out, args.n_jobs)
        print(pd.DataFrame(rows[-len(own) * 2 :]).round(3).to_string(index=False), flush=True)
    print(machine())
    print(
        f"{args.subjects} subjects, {args.minutes:g} minutes each, {args.modality}, random_state={args.seed}"
    )
    table = pd.DataFrame(rows).round(3)
    print(markdown(list(table), table.to_numpy().tolist()))


if __name__ == "__main__":
    main()

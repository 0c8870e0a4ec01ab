"""Tasks of a benchmark: one decoder or control on one fold."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone

from sk_b2s._utils._estimators import iter_parts
from sk_b2s._utils._monitoring import capture_warnings, peak_memory_mb, reset_peak_memory
from sk_b2s._utils._text import visible
from sk_b2s._utils._validation import table_of
from sk_b2s._utils._versions import get_versions
from sk_b2s.evaluation._controls._fold_task import FoldTask
from sk_b2s.evaluation._controls._registry import CONTROLS, LEAK_TESTS
from sk_b2s.evaluation._controls._run import outcome_of
from sk_b2s.evaluation._results._lines import outcome_to_dict
from sk_b2s.evaluation._results._progress import format_progress, format_time_left
from sk_b2s.evaluation._results._provenance import (
    chosen_by,
    data_digests,
    features_of,
    machine_of,
    parameters_of,
)
from sk_b2s.evaluation._scores import score_rows
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.model_selection._leakage import check_leakage, leaks_in
from sk_b2s.preprocessing._covariance_alignment import CovarianceAlignment
from sk_b2s.preprocessing._fingerprint import describe, digest_code, digest_rows, key_of
from sk_b2s.preprocessing._overlaps import NEEDED
from sk_b2s.preprocessing._scalers import RobustChannelScaler
from sk_b2s.preprocessing._windows import Windows

BY_RECORDING = (RobustChannelScaler, CovarianceAlignment)  # take statistics of each recording from itself


@dataclass
class BenchmarkTask:
    """One decoder, or one control of it, on one fold: what is to be done, without the data."""

    name: str
    estimator: Any
    seed: int
    fold: int
    control: str
    key: str
    train: np.ndarray
    test: np.ndarray
    draw: int
    oracle: Any
    about: dict
    settings: dict
    plan: dict | None = None
    made: dict = field(default_factory=dict)

    def task(self, X, y, rows):
        """Put the data to what is to be done with it."""
        return FoldTask(
            self.estimator, X, y, rows, self.train, self.test, self.draw, self.oracle, k=self.settings["k"]
        )

    def common(self, n_left_out):
        """What all rows of the cell say alike."""
        return {
            "estimator": self.name, "seed": self.seed, "fold": self.fold, "control": self.control,
            "n_train": len(self.train) - n_left_out,
        }  # fmt: skip


# --- laid out ----------------------------------------------------------------------------------------


def lay_out(named, data, cv, folds, seeds, controls, oracle, settings, only=(None, None)):
    """Lay out the pieces of work, folds outermost so that early results are of all estimators.

    Parameters
    ----------
    named : list of (str, estimator)
    data : tuple of X, y and rows
        What the brain did, what was heard, and the table of both.
    cv : splitter or iterable
        What made the folds.
    folds : list of (train, test)
        Rows of each fold.
    seeds : list of int
    controls : dict of str to list of str
        Names of the controls of each estimator there is, in the order they were given.
    oracle : None or callable
        What answers the control of that name.
    settings : dict
        ``k, n_candidates, n_shifts``.
    only : tuple of (None or str, None or int), default=(None, None)
        The estimator and the fold that is to be done; the plan has all of them.

    Yields
    ------
    cell : Cell
    """
    X, y, rows = data
    brain, heard, here, truth = digest_rows(X), digest_rows(y), digest_code(), describe(oracle)
    questions = [key_of(brain[train], heard[train], brain[test], heard[test]) for train, test in folds]
    chosen = {fold: pair for fold, pair in enumerate(folds) if only[1] in (None, fold)}
    about = _about(cv, X, y, chosen)
    plan = {
        "cv": _how(cv) or "", "questions": [question[:8] for question in questions],
        **_tested(rows["subject"], folds), "minutes": getattr(cv, "amounts", None),
        "work": {
            name: {control: (seeds, len(folds)) for control in ["decoder", *controls[name]]} for name, _ in named
        },
        "settings": settings | {"code": here}, "data": data_digests(brain, heard, y),
    }  # fmt: skip
    named = [(name, estimator) for name, estimator in named if only[0] in (None, name)]
    made = {(name, seed): _made(estimator, seed, y) for name, estimator in named for seed in seeds}
    for fold, (train, test) in chosen.items():
        question = questions[fold]
        for seed in seeds:
            draw = int(key_of(question, seed)[:7], 16)  # noise is the same for all estimators
            for name, estimator in named:
                seeded = _seeded(estimator, seed)
                for control in ["decoder", *controls[name]]:
                    asked = (oracle, truth) if control == "oracle" else (None, None)
                    key = key_of(name, fold, question, seed, seeded, control, asked[1], settings, here)
                    yield BenchmarkTask(
                        name, seeded, seed, fold, control, key, train, test, draw, asked[0],
                        about[fold] | {"place": list(controls).index(name)}, settings, plan, made[name, seed]
                    )  # fmt: skip


def _tested(subject, folds):
    """Subjects that each fold tests, as places in the list of all of them."""
    codes, names = pd.factorize(subject.to_numpy(), sort=True)
    return {
        "subjects": [str(name) for name in names],
        "tests": [pd.unique(codes[test]).tolist() for _, test in folds],
    }


def _made(estimator, seed, y):
    """What is known of an estimator before it is fitted."""
    return {
        "parameters": parameters_of(_seeded(estimator, seed)), "features": features_of(estimator, y),
        "digest": key_of(_seeded(estimator, 0))[:16],
    }  # fmt: skip


def _seeded(estimator, seed):
    """Clone an estimator and seed all that is random in it."""
    estimator = clone(estimator)
    names = [name for name in estimator.get_params() if name.rsplit("__", 1)[-1] == "random_state"]
    estimator.set_params(**dict.fromkeys(names, int(seed)))  # a FrozenEstimator returns None
    return estimator


def _about(cv, X, y, folds):
    """What is known of each fold before anything is fitted: how it was made, and what is on both sides."""
    amounts = getattr(cv, "amounts", None) or [None]
    about = {fold: {"cv": _how(cv), "calibration_minutes": amounts[fold % len(amounts)]} for fold in folds}
    table = table_of(y)
    found = check_leakage(X, y, list(folds.values())).set_axis(list(folds))
    for fold, row in found.iterrows():
        about[fold] |= {
            "leakage": row["verdict"],
            "calibration_minutes_used": row.get("calibration_minutes_used"),
        }
        if pd.notna(row["leaking"]) and table is not None and set(NEEDED) <= set(table):
            about[fold] |= {
                "n_train_overlap": round(row["leaking"] * row["n_test"]),
                "train_seconds": StimulusIntervals.from_table(table.iloc[folds[fold][0]]).seconds,
            }  # fmt: skip
    return about


def _how(cv):
    """Say how folds were made, for a sentence of one's methods; None where rows were given."""
    if not hasattr(cv, "split"):
        return None
    call = type(cv).__name__ if type(cv).__repr__ is object.__repr__ else repr(cv)
    call, _, guarantee = call.partition("  # ")
    return " ".join((f"{call} ({guarantee})" if guarantee else call).split())


# --- done --------------------------------------------------------------------------------------------


def run_all(cells, data, ledger=None, n_jobs=None, verbose=0):
    """Do what has not been done yet.

    Parameters
    ----------
    cells : list of Cell
    data : tuple of X, y and rows
        As for :func:`lay_out`.
    ledger : None or JsonLinesFile, default=None
        Where lines are kept, and shared with other processes.
    n_jobs : int or None, default=None
        Cells at once, by joblib.
    verbose : int, default=0
        Above 0 a line is printed for each that is done.

    Returns
    -------
    lines : list of dict
        Of all cells in their order: those that are there, and those that are now computed.
    """
    start, wait = ledger.size() if ledger else 0, 0.5
    wanted = {cell.key for cell in cells}
    kept = [line for line in ledger.lines() if not line["error"]] if ledger else []
    lines = {line["key"]: line for line in kept if line["key"] in wanted}
    open_cells = [cell for cell in cells if cell.key not in lines]
    say = _Progress(cells, len(open_cells)) if verbose else lambda *_: None
    while open_cells:
        waiting = []
        parallel = joblib.Parallel(n_jobs, return_as="generator_unordered")
        for index, line in parallel(
            joblib.delayed(_run_cell)(index, cell, *data, ledger, start)
            for index, cell in enumerate(open_cells)
        ):
            if line is None:
                waiting.append(open_cells[index])
                continue
            lines[line["key"]] = line
            say(line, len(lines))
        if waiting:  # if the other process is killed, they are ours
            if verbose and wait == 0.5:
                print(f"{len(waiting)} of the fits are done by another process; waiting", flush=True)
            time.sleep(wait)
            wait = 0.5 if len(waiting) < len(open_cells) else min(2 * wait, 30)
        open_cells = waiting
    return [lines[cell.key] | {"plan": cell.plan} for cell in cells]  # also of what another plan has done


class _Progress:
    """A line for each piece of work that is done, for a screen and a log alike."""

    def __init__(self, cells, n_open):
        self.n, self.before, self.began = len(cells), len(cells) - n_open, time.monotonic()
        n_folds, n_named = len({cell.fold for cell in cells}), len({cell.name for cell in cells})
        of = f"{n_named} estimator{'s' * (n_named > 1)}"
        if any(cell.control != "decoder" for cell in cells):
            of += f" and {'their' if n_named > 1 else 'its'} controls"
        done = f", {self.before} of which are done already" if self.before else ""
        print(
            f"{self.n} fit{'s' * (self.n > 1)}{done}: {of} on {n_folds} fold{'s' * (n_folds > 1)}", flush=True
        )

    def __call__(self, line, done):
        seconds = (time.monotonic() - self.began) / (done - self.before) * (self.n - done)
        print(visible(f"[{done}/{self.n}] {format_progress(line)}{format_time_left(seconds)}"), flush=True)


def _run_cell(index, cell, X, y, rows, ledger, start):
    """Do one piece of work and write it down: its index and line, or None if another process is at it."""
    if ledger is None:
        return index, _line(cell, cell.task(X, y, rows)) | {"key": cell.key}
    with ledger.claim(cell.key) as claim:
        if claim is None:
            return index, None
        done = [line for line in claim.found(start) if not line["error"]]
        if not done:
            done = [_line(cell, cell.task(X, y, rows))]
            claim.write(done[0])
        return index, done[0] | {"key": cell.key, "plan": cell.plan}


def _line(cell, task):
    """Fit and score: a line of results, or of an error."""
    outcome, error, trace = None, "", ""
    reset_peak_memory()
    with capture_warnings() as heard:
        try:
            (answers,) = CONTROLS[cell.control].factory(task)
            scores = score_rows(answers, cell.settings["n_candidates"], cell.settings["n_shifts"], cell.seed)
            if cell.control in LEAK_TESTS:
                outcome = outcome_to_dict(
                    outcome_of([answers], cell.settings["n_shifts"], task.seed, task.n_left_out)
                )
        except Exception as caught:  # one fold must not end the others; the row shows it
            error, trace = f"{type(caught).__name__}: {caught}", traceback.format_exc()
            subjects = task.rows["subject"].iloc[task.test].value_counts(sort=False)
            scores = [
                {"subject": subject, "condition": "", "study": "", "pool": "all", "n_windows": int(n)}
                for subject, n in subjects.items()
            ]
    if cell.control != "decoder":  # a control that learns nothing is as it should be
        heard = [line for line in heard if not line.startswith("ConvergenceWarning")]
    cost = {
        "seconds_fit": task.seconds_fit, "seconds_score": task.seconds_score, "peak_memory_mb": peak_memory_mb(),
        "versions": " ".join(f"{name} {number}" for name, number in get_versions().items()),
        "warnings": "\n".join(heard), "written": time.time(), "machine": machine_of(task.estimator),
    }  # fmt: skip
    made = cell.made | {"chosen": "" if task.fitted is None or error else chosen_by(task.fitted)}
    about = cell.about | {"transductive_steps": _unlabelled(task)}
    if cell.control == "decoder" and not error:
        about |= _heard(task, about)
    return {
        "common": cell.common(task.n_left_out), "about": about, "cost": cost, "rows": scores,
        "outcome": outcome, "error": error, "trace": trace, "plan": cell.plan, "made": made,
    }  # fmt: skip


def _heard(task, about):
    """What the fitted estimator was trained on, beyond what the fold's training rows say."""
    found = task.exposure()
    n, known = int(found.rows.sum()), about.get("n_train_overlap")
    if not n or (known is not None and n <= known):
        return {}
    by_rows = str(about.get("leakage"))
    if leaks_in([by_rows]):  # the training rows explain it
        return {"n_train_overlap": n}
    return {
        "n_train_overlap": n,
        "leakage": f"LEAK: {n} of {len(found.rows)} test windows contain stimuli that the fitted estimator was trained "
        f"on ({', '.join(found.where)}), outside the training rows of the fold; by rows: {by_rows}",
    }


def _unlabelled(task):
    """Say what of an estimator, as fitted, saw the recordings that are tested, without what was heard in them."""
    subject, saw = task.rows["subject"].to_numpy(), []
    met = np.isin(subject[task.test], subject[task.train]).all()
    for step in iter_parts(task.estimator if task.fitted is None else task.fitted):
        met = met and getattr(step, "method", None) != "none"
        if isinstance(step, BY_RECORDING) and (table_of(task.X) is not None or isinstance(task.X, Windows)):
            saw.append(type(step).__name__)
        if getattr(step, "unseen_subject", None) == "nearest" and not met:
            saw.append("unseen_subject='nearest'")
    return ", ".join(dict.fromkeys(saw))

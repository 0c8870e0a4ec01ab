"""Tasks of a benchmark: one decoder or control on one fold."""

from __future__ import annotations

import time
import traceback
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone

from sk_b2s._utils._estimators import iter_nested_estimators
from sk_b2s._utils._monitoring import monitor_warnings, peak_memory_mb, reset_monitored_peak_memory
from sk_b2s._utils._text import make_text_visible
from sk_b2s._utils._validation import validate_table
from sk_b2s._utils._versions import get_versions
from sk_b2s.decoding._retrieval._retrieve import retrieve
from sk_b2s.decoding._retrieval._row_candidates import RowCandidates
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult
from sk_b2s.evaluation._controls._fold import ControlFold
from sk_b2s.evaluation._controls._registry import CONTROLS, LEAK_TESTS
from sk_b2s.evaluation._controls._run import run_control_outcome
from sk_b2s.evaluation._results._details import (
    describe_fit_details,
    describe_window_seconds,
    measure_hours_for_details,
)
from sk_b2s.evaluation._results._lines import format_result_line_outcome
from sk_b2s.evaluation._results._progress import format_progress, format_progress_time_left
from sk_b2s.evaluation._results._provenance import (
    describe_choice_provenance,
    describe_feature_provenance,
    describe_machine_provenance,
    describe_parameter_provenance,
    digest_data_provenance,
)
from sk_b2s.evaluation._scores import compute_all_scores
from sk_b2s.evaluation._tasks._registry import TASKS
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.model_selection._leakage import check_leakage
from sk_b2s.model_selection._leakage_report import LEAK_SOURCES, LeakageReportVerdict
from sk_b2s.model_selection._pretraining import find_pretraining_exposure
from sk_b2s.preprocessing._covariance_alignment import CovarianceAlignment
from sk_b2s.preprocessing._fingerprint import (
    describe_for_fingerprint,
    fingerprint_rows,
    make_code_fingerprint,
    make_fingerprint,
)
from sk_b2s.preprocessing._overlap_line import NEEDED
from sk_b2s.preprocessing._scalers import RobustChannelScaler
from sk_b2s.preprocessing._windows._windows import Windows

BY_RECORDING = (RobustChannelScaler, CovarianceAlignment)  # compute statistics of each recording from itself


@dataclass
class BenchmarkFit:
    """One decoder or control on one fold, without the data."""

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
    note: dict = field(default_factory=dict)

    def with_data(self, X, y, rows):
        """Return a ControlFold with the data."""
        rule = self.settings.get("candidates_per_row")
        how = {"retrieve": TASKS[self.settings["task"]].retrieve} if "task" in self.settings else {}
        return ControlFold(
            self.estimator, X, y, rows, self.train, self.test, self.draw, self.oracle, k=self.settings["k"],
            candidates_per_row=None if rule is None else RowCandidates(**rule), **how,
        )  # fmt: skip

    def common(self, n_left_out):
        """Return the columns that all rows of the task share."""
        return {
            "estimator": self.name, "seed": self.seed, "fold": self.fold, "control": self.control,
            "n_train": len(self.train) - n_left_out,
        }  # fmt: skip


# --- plan --------------------------------------------------------------------------------------------


def iter_fits(named, data, cv, folds, seeds, controls, oracle, settings, only=(None, None), note=None):
    """Plan the tasks fold by fold, so that early results have all estimators.

    Parameters
    ----------
    named : list of (str, estimator)
    data : tuple of X, y and rows
        EEG/MEG windows, stimuli, and the table of both.
    cv : splitter or iterable
        Origin of the folds.
    folds : list of (train, test)
        Rows of each fold.
    seeds : list of int
    controls : dict of str to list of str
        Names of the controls of each estimator, in the order of the
        estimators.
    oracle : None or callable
    settings : dict
        ``k, n_candidates, n_shifts``, and of a task ``task`` and its options.
    only : tuple of (None or str, None or int), default=(None, None)
        Estimator and fold to run. The plan contains all of them.
    note : None or dict, default=None
        Details of all fits for the report, such as the command.

    Yields
    ------
    task : BenchmarkFit
    """
    X, y, rows = data
    windows, stimuli, here, truth = (
        fingerprint_rows(X),
        fingerprint_rows(y),
        make_code_fingerprint(),
        describe_for_fingerprint(oracle),
    )
    digests = [
        make_fingerprint(windows[train], stimuli[train], windows[test], stimuli[test])
        for train, test in folds
    ]
    chosen = {fold: pair for fold, pair in enumerate(folds) if only[1] in (None, fold)}
    about = _describe_folds(cv, X, y, chosen)
    if "task" in settings:
        task = {"task": settings["task"], "main_score": TASKS[settings["task"]].main_score}
        about = {fold: row | task for fold, row in about.items()}
    plan = {
        "cv": _describe_splitter(cv) or "", "questions": [digest[:8] for digest in digests],
        **_index_subjects_of_folds(rows["subject"], folds), "minutes": getattr(cv, "amounts", None),
        "work": {
            name: {control: (seeds, len(folds)) for control in ["decoder", *controls[name]]} for name, _ in named
        },
        "settings": settings | {"code": here}, "data": digest_data_provenance(windows, stimuli, y),
    }  # fmt: skip
    named = [(name, estimator) for name, estimator in named if only[0] in (None, name)]
    note, hours = dict(note or {}), measure_hours_for_details(rows)
    note |= {} if hours is None else {"hours": hours}
    note |= {} if (seconds := describe_window_seconds(rows)) is None else {"window_seconds": seconds}
    made = {
        (name, seed): _describe_estimator(estimator, seed, y) for name, estimator in named for seed in seeds
    }
    for fold, (train, test) in chosen.items():
        digest = digests[fold]
        for seed in seeds:
            draw = int(make_fingerprint(digest, seed)[:7], 16)  # equal noise for all estimators
            for name, estimator in named:
                seeded = _clone_with_seed(estimator, seed)
                for control in ["decoder", *controls[name]]:
                    own_oracle = (oracle, truth) if control == "oracle" else (None, None)
                    key = make_fingerprint(
                        name, fold, digest, seed, seeded, control, own_oracle[1], settings, here
                    )
                    yield BenchmarkFit(
                        name, seeded, seed, fold, control, key, train, test, draw, own_oracle[0],
                        about[fold] | {"place": list(controls).index(name)}, settings, plan, made[name, seed], note
                    )  # fmt: skip


def _index_subjects_of_folds(subject, folds):
    """List the subjects and the indices of those that each fold tests."""
    codes, names = pd.factorize(subject.to_numpy(), sort=True)
    return {
        "subjects": [str(name) for name in names],
        "tests": [pd.unique(codes[test]).tolist() for _, test in folds],
    }


def _describe_estimator(estimator, seed, y):
    """Describe an estimator before it is fitted."""
    return {
        "parameters": describe_parameter_provenance(_clone_with_seed(estimator, seed)), "features": describe_feature_provenance(estimator, y),
        "digest": make_fingerprint(_clone_with_seed(estimator, 0))[:16],
    }  # fmt: skip


def _clone_with_seed(estimator, seed):
    """Clone an estimator and set all its random states."""
    estimator = clone(estimator)
    names = [name for name in estimator.get_params() if name.rsplit("__", 1)[-1] == "random_state"]
    estimator.set_params(**dict.fromkeys(names, int(seed)))  # FrozenEstimator.set_params returns None
    return estimator


def _describe_folds(cv, X, y, folds):
    """Describe the origin of each fold and the data on both of its sides."""
    amounts = getattr(cv, "amounts", None) or [None]
    how = _describe_splitter(cv)
    about = {fold: {"cv": how, "calibration_minutes": amounts[fold % len(amounts)]} for fold in folds}
    table = validate_table(y)
    found = check_leakage(X, y, list(folds.values())).set_axis(list(folds))
    for fold, row in found.iterrows():
        about[fold] |= {
            "leakage": row["verdict_text"],
            "leakage_verdict": row["verdict"],
            "leakage_sources": row["leak_sources"],
            "calibration_minutes_used": row.get("calibration_minutes_used"),
        }
        if pd.notna(row["leaking"]) and table is not None and set(NEEDED) <= set(table):
            about[fold] |= {
                "n_train_overlap": round(row["leaking"] * row["n_test"]),
                "train_seconds": StimulusIntervals.from_table(table.iloc[folds[fold][0]]).seconds,
            }
    return about


def _describe_splitter(cv):
    """Describe a splitter for a methods section, None for given rows."""
    if not hasattr(cv, "split"):
        return None
    call = type(cv).__name__ if type(cv).__repr__ is object.__repr__ else repr(cv)
    call, _, guarantee = call.partition("  # ")
    return " ".join((f"{call} ({guarantee})" if guarantee else call).split())


# --- run ---------------------------------------------------------------------------------------------


def run_fits(tasks, data, file=None, n_jobs=None, verbose=0):
    """Run the tasks that are not in a results file yet.

    Parameters
    ----------
    tasks : list of BenchmarkFit
    data : tuple of X, y and rows
        As for :func:`iter_fits`.
    file : None or JsonLinesFile, default=None
        Results file, shared with other processes.
    n_jobs : int or None, default=None
    verbose : int, default=0
        If above 0, one line is printed per finished task.

    Returns
    -------
    lines : list of dict
        Of all tasks in their order, those of the file included.
    """
    wanted, wait = {task.key for task in tasks}, 0.5
    stored, start = file.read() if file else ([], 0)
    lines = {line["key"]: line for line in stored if not line["error"] and line["key"] in wanted}
    remaining = [task for task in tasks if task.key not in lines]
    report = _FitProgressLines(tasks, len(remaining)) if verbose else lambda *_: None
    while remaining:
        waiting = []
        parallel = joblib.Parallel(n_jobs, return_as="generator_unordered")
        for index, line in parallel(
            joblib.delayed(_run_fit)(index, task, *data, file, start) for index, task in enumerate(remaining)
        ):
            if line is None:
                waiting.append(remaining[index])
                continue
            lines[line["key"]] = line
            report(line, len(lines))
        if waiting:  # tasks of another process, which run here if it is interrupted
            if verbose and wait == 0.5:
                print(f"{len(waiting)} fits run in another process, waiting for them", flush=True)
            time.sleep(wait)
            wait = 0.5 if len(waiting) < len(remaining) else min(2 * wait, 30)
        remaining = waiting
    return [lines[task.key] | {"plan": task.plan} for task in tasks]  # lines of other plans included


class _FitProgressLines:
    """Printed lines, one per finished task.

    Lines and not a progress bar, because each has the score of a fit, and
    because the output of cluster jobs is a log file.
    """

    def __init__(self, tasks, n_remaining):
        self.n, self.before, self.began = len(tasks), len(tasks) - n_remaining, time.monotonic()
        n_folds, n_named = len({task.fold for task in tasks}), len({task.name for task in tasks})
        of = f"{n_named} estimator{'s' * (n_named > 1)}"
        if any(task.control != "decoder" for task in tasks):
            of += f" and {'their' if n_named > 1 else 'its'} controls"
        done = f", {self.before} of them finished before" if self.before else ""
        print(
            f"{self.n} fit{'s' * (self.n > 1)}{done}: {of} on {n_folds} fold{'s' * (n_folds > 1)}", flush=True
        )

    def __call__(self, line, done):
        seconds = (time.monotonic() - self.began) / (done - self.before) * (self.n - done)
        print(
            make_text_visible(
                f"[{done}/{self.n}] {format_progress(line)}{format_progress_time_left(seconds)}"
            ),
            flush=True,
        )


def _run_fit(index, task, X, y, rows, file, start):
    """Run one task and store its line, None if another process runs it."""
    if file is None:
        return index, _make_results_line(task, task.with_data(X, y, rows)) | {"key": task.key}
    with file.claim(task.key) as claim:
        if claim is None:
            return index, None
        done = [line for line in claim.found(start) if not line["error"]]
        if not done:
            done = [_make_results_line(task, task.with_data(X, y, rows))]
            claim.write(done[0])
        return index, done[0] | {"key": task.key, "plan": task.plan}


def _score_fit(task, fold, result):
    """Return the rows of a result, and the outcome of a leak test or None."""
    settings, n_shifts, judge = task.settings, task.settings["n_shifts"], _get_judge_of_task(task.settings)
    if judge is None:
        result = fold.add_timing_control_columns(result)
        rows = compute_all_scores(result, settings["n_candidates"], n_shifts, task.seed)
    else:
        rows = judge(result, fold).make_rows(TASKS[settings["task"]].main_score, n_shifts, task.seed)
    if task.control not in LEAK_TESTS:
        return rows, None
    outcome = _make_leak_outcome(judge, result, fold, n_shifts, CONTROLS[task.control].is_permuted)
    if fold.separate is not None:
        outcome.separate = _make_leak_outcome(judge, fold.separate, fold, n_shifts)
    return rows, format_result_line_outcome(outcome)


def _get_judge_of_task(settings):
    """Return the judge of a task, None if it ranks segments."""
    spec = TASKS[settings["task"]] if "task" in settings else None
    if spec is None or spec.judge is None:
        return None
    return partial(spec.judge, **{name: settings[name] for name in spec.options})


def _make_leak_outcome(judge, result, fold, n_shifts, is_permuted=False):
    """Reduce the result of a leak test to the input of a verdict."""
    arguments = n_shifts, fold.seed, fold.n_left_out
    if judge is None:
        return run_control_outcome([result], *arguments, is_permuted=is_permuted)
    return judge(result, fold).make_outcome(*arguments)


def fits_rank_segments(settings):
    """Return whether the task of a benchmark ranks candidate segments."""
    return "task" not in settings or TASKS[settings["task"]].retrieve is retrieve


def _make_results_line(task, fold):
    """Fit and score one task: a line with results, or with an error."""
    outcome, error, trace, details = None, "", "", {}
    reset_monitored_peak_memory()
    with monitor_warnings() as caught:
        try:
            (result,) = CONTROLS[task.control].factory(fold)
            rows, outcome = _score_fit(task, fold, result)
            details = _describe_details(task, fold, result)
        except Exception as exception:  # stored in the line, so that other folds continue
            error, trace = f"{type(exception).__name__}: {exception}", traceback.format_exc()
            subjects = fold.rows["subject"].iloc[fold.test].value_counts(sort=False)
            rows = [
                {"subject": subject, "condition": "", "study": "", "pool": "all", "n_windows": int(n)}
                for subject, n in subjects.items()
            ]
    if task.control != "decoder":  # a control without information does not converge
        caught = [line for line in caught if not line.startswith("ConvergenceWarning")]
    cost = {
        "seconds_fit": fold.seconds_fit, "seconds_score": fold.seconds_score, "peak_memory_mb": peak_memory_mb(),
        "versions": " ".join(f"{name} {number}" for name, number in get_versions().items()),
        "warnings": "\n".join(caught), "written": time.time(), "machine": describe_machine_provenance(fold.estimator),
    }  # fmt: skip
    made = task.made | {
        "chosen": "" if fold.fitted is None or error else describe_choice_provenance(fold.fitted)
    }
    about = task.about | {"transductive_steps": _list_transductive_steps(fold)}
    if not error and isinstance(result, RowRetrievalResult):
        about["n_without_candidates"] = result.n_left_out
    if task.control == "decoder" and not error:
        about |= _find_train_overlap(fold, about)
    return {
        "common": task.common(fold.n_left_out), "about": about, "cost": cost, "rows": rows,
        "outcome": outcome, "error": error, "trace": trace, "plan": task.plan, "made": made,
        "details": details,
    }  # fmt: skip


def _describe_details(task, fold, result):
    """Describe a fit for the report, or warn, because its scores are valid."""
    try:
        is_decoder = task.control == "decoder"
        return describe_fit_details(fold, result, task.note, is_decoder, is_decoder and task.fold == 0)
    except Exception as exception:
        warnings.warn(
            f"The report lacks details of this fit: {type(exception).__name__}: {exception}", stacklevel=2
        )
        return dict(task.note)


def _find_train_overlap(fold, about):
    """Find test stimuli that a fitted estimator was trained on anywhere."""
    found = fold.exposure()
    n, known = int(found.rows.sum()), about.get("n_train_overlap")
    if not n or (known is not None and n <= known):
        return {}
    if about.get("leakage_verdict") == LeakageReportVerdict.LEAK:  # explained by the training rows
        return {"n_train_overlap": n}
    return {
        "n_train_overlap": n,
        "leakage_verdict": LeakageReportVerdict.LEAK.value,
        "leakage_sources": LEAK_SOURCES[0],
        "leakage": f"LEAK: {n} of {len(found.rows)} test windows contain stimuli that the fitted estimator was trained "
        f"on ({', '.join(found.where)}), outside the training rows of the fold; by rows: {about.get('leakage')}",
    }


def _list_transductive_steps(fold):
    """List steps that saw the test recordings without their labels."""
    subject, steps = fold.rows["subject"].to_numpy(), []
    estimator = fold.estimator if fold.fitted is None else fold.fitted
    is_known = np.isin(subject[fold.test], subject[fold.train]).all()
    for step in iter_nested_estimators(estimator):
        is_known = is_known and getattr(step, "method", None) != "none"
        if isinstance(step, BY_RECORDING) and (
            validate_table(fold.X) is not None or isinstance(fold.X, Windows)
        ):
            steps.append(type(step).__name__)
        if getattr(step, "unseen_subject", None) == "nearest" and not is_known:
            steps.append("unseen_subject='nearest'")
    steps += _list_pretraining_of_fit(fold, estimator, subject)
    return ", ".join(dict.fromkeys(steps))


def _list_pretraining_of_fit(fold, estimator, subject):
    """List what pretraining without labels has seen of the test."""
    seen = find_pretraining_exposure(estimator, fold.X, fold.y)
    if seen is None:
        return []
    unseen_subject = ~np.isin(subject[fold.test], subject[fold.train])
    masks = {
        "test windows": seen.windows[fold.test],
        "unseen subjects": seen.subjects[fold.test] & unseen_subject,
        "test stimuli": seen.stimuli[fold.test],
    }
    names = [name for name, mask in masks.items() if mask.any()]
    if seen.unknown[fold.test].any() and "test windows" not in names:
        names.append("unknown recordings")
    return [f"MaskedEncoder ({name})" for name in names]

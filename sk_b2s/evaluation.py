"""Many decoders on many folds in one table, written as it grows: what a kill interrupts it takes up again."""

from __future__ import annotations

import numbers
import time
import traceback
import warnings
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.pipeline import Pipeline

from sk_b2s.asking import joined, table_of_heard
from sk_b2s.candidates import check_in_step, distinct_segments
from sk_b2s.controls import CONTROLS, Task, brain_rows, outcome_of, wanted_controls
from sk_b2s.counterparts import decoder_of, shift_pairs, with_noise
from sk_b2s.leakage import NEEDED, check_leakage
from sk_b2s.leave_one_out import LeaveOneSubjectOut
from sk_b2s.ledger import Ledger, code_digest, describe, key_of, row_digests
from sk_b2s.model_selection import folds_of, table_of
from sk_b2s.persistence import versions_here
from sk_b2s.preprocessing import RobustChannelScaler
from sk_b2s.recentring import CovarianceRecentring
from sk_b2s.results import packed, table_of_lines, time_left, told
from sk_b2s.scorecard import score_rows
from sk_b2s.stimuli import SoundIntervals
from sk_b2s.surrogates import SurrogateBrain
from sk_b2s.tables import is_segment_table
from sk_b2s.verdicts import LEAKS
from sk_b2s.watching import overheard, peak_mb, reset_peak
from sk_b2s.windows import Windows

__all__ = ["BESIDE", "benchmark"]

BY_RECORDING = (RobustChannelScaler, CovarianceRecentring)  # take statistics of each recording from itself
BESIDE = ("surrogate", "shifted pairing", "silence only", "acoustics only", "oracle")  # controls=True


@dataclass
class _Cell:
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

    def task(self, X, y, rows):
        """Put the data to what is to be done with it."""
        return Task(
            self.estimator, X, y, rows, self.train, self.test, self.draw, self.oracle, k=self.settings["k"]
        )

    def common(self, n_left_out):
        """What all rows of the cell say alike."""
        return {
            "estimator": self.name, "seed": self.seed, "fold": self.fold, "control": self.control,
            "n_train": len(self.train) - n_left_out,
        }  # fmt: skip


def benchmark(
    estimators,
    X,
    y,
    cv=None,
    path=None,
    seeds=(0,),
    controls=True,
    oracle=None,
    only=None,
    k=10,
    n_candidates=50,
    n_shifts=1000,
    n_jobs=None,
    verbose=1,
):
    """Fit and score decoders on all folds, each beside its controls, into one table that survives a kill.

    Parameters
    ----------
    estimators : dict of str to estimator, list of (str, estimator), or estimator
        Decoders of the package, Pipelines that end in one, or searches over either. They are cloned.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        What the brain did. Controls need its ``recording``, ``onset`` and ``duration``.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        What was heard.
    cv : None, splitter or iterable of (train, test), default=None
        ``LeaveOneSubjectOut()`` by default.
    path : None, str or Path, default=None
        File of results, a line of JSON for each decoder or control and fold as soon as it is done. Work that it
        holds is not done again: same name, parameters, seed, rows of X and y, settings and code of this package.
        Several processes may write to one file at once and share the work; on several machines it must lie on
        a disk that all of them see. None keeps nothing.
    seeds : sequence of int, default=(0,)
        Each is given to every parameter of an estimator that is named ``random_state``, whatever it was, in
        pipelines and searches too, and draws noise, shifts and nulls.
    controls : bool or sequence of str, default=True
        True takes those of "surrogate", "shifted pairing", "silence only", "acoustics only" and "oracle" that
        apply; see :func:`~sk_b2s.run_controls` for these and others. Each fitted one costs a fit for each fold.
    oracle : None or callable, default=None
        As in :func:`~sk_b2s.run_controls`.
    only : None, int or (str, int), default=None
        A fold, or an estimator's name and a fold, to be run alone, as in an array of jobs: ``read_results``
        joins their files.
    k : int, default=10
        Null and verdict are those of top-k, whatever the ``k`` of the decoders.
    n_candidates : int or None, default=50
        Size of the pools beside all candidates, the same in every fold; None leaves them out.
    n_shifts : int, default=1000
        Shifts of which each null is made.
    n_jobs : int or None, default=None
        Fits at once, by joblib: ``joblib.parallel_config`` chooses where. On a cluster of dask's, Windows that
        hold their samples should be sent once: ``parallel_config("dask", scatter=[X])``.
    verbose : int, default=1
        Above 0 a line is printed for whatever is done, with the count of it and the time that is left.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        A row for each ``estimator``, ``control`` ("decoder" is the estimator itself), ``seed``, ``fold``,
        ``subject``, ``condition`` and ``pool`` ("all" candidates or "50"), with ``n_train, n_windows,
        n_candidates``; ``top_1, top_5, top_10, top_k``, ``k`` and ``chance`` of ``top_k``;
        ``median_relative_rank`` (chance 0.5) and ``match_mismatch``, how often the right candidate beats
        another (0.5); ``near`` and ``near_chance``, how often the best candidate begins within 0.5 s of the right
        one; ``word_top_10`` and ``word_chance``, each word counting once; ``null_mean, null_low, null_high``,
        mean, 2.5 and 97.5 % quantile of the null of ``top_k``; ``verdict``; of the fold ``cv`` and its guarantee,
        ``train_seconds`` of distinct sound, ``n_heard``, windows tested that contain sound of training,
        ``leakage``, the verdict of :func:`~sk_b2s.check_leakage`, ``calibration_minutes`` that ``cv`` was asked for
        (infinity is all, NaN where it asks for none) and ``own_minutes``, those recorded from who is tested that are
        in training; ``unlabelled``, which parts of the estimator saw the recordings that are tested, without
        labels; ``seconds_fit, seconds_score, peak_mb`` (memory
        of the process), ``versions, warnings`` (of fit and score, one a line) and ``written``, when; ``error``,
        empty unless the fit failed: others go on, and another run tries it again; and ``key``, by which equal
        work is known.

    Raises
    ------
    TypeError
        If an estimator is none that retrieves.
    ValueError
        If names are not unique, there are no folds, X and y are out of step, a control does not apply, or a fold
        has too few candidates.

    Warns
    -----
    FitFailedWarning
        If something failed.
    UserWarning
        If fits gave warnings, or a recording is too short for a control.

    See Also
    --------
    summarise : Means over subjects.
    read_results : The table of a file, or of several.
    audit : The same table for similarities that were made elsewhere.

    Notes
    -----
    Estimators whose ``fit`` takes ``calibration``, as that of :class:`~sk_b2s.CalibratedDecoder`, in pipelines and
    searches too, are given the mask of training rows whose subject is tested.

    Scores in pools are means over all pools of that size, see :func:`~sk_b2s.scorecard.score_rows`. A leak is
    looked for over all folds of an estimator and seed that there are, as :func:`~sk_b2s.run_controls` does;
    until all are done a verdict may change. ``memory, n_jobs`` and ``verbose`` are no parameters that count.
    Recordings are known by file name, size and samples of their bytes, wherever they are kept. Of estimators of your
    own, written in no installed package, the code of their methods counts, not that of functions they call.

    Equal seeds give equal tables if fits have equal numbers of threads; workers of ``n_jobs`` have fewer than
    this process, and a network that sums in another order learns other weights.
    """
    named, seeds = _named(estimators), _seeds(seeds)
    check_in_step(X, y)
    cv = LeaveOneSubjectOut() if cv is None else cv
    folds = folds_of(cv, X, y)
    _check_folds(folds, distinct_segments(y).target, k, n_candidates)
    rows = joined(table_of(X), table_of_heard(y))
    chosen = {name: _controls_of(name, one, controls, X, y, oracle) for name, one in named}
    settings = {"k": k, "n_candidates": n_candidates, "n_shifts": n_shifts}
    name_only, fold_only = _only(only, named, folds)
    named = [(name, one) for name, one in named if name_only in (None, name)]
    folds = {fold: pair for fold, pair in enumerate(folds) if fold_only in (None, fold)}
    cells = list(_cells(named, X, y, folds, _about(cv, X, y, folds), seeds, chosen, oracle, settings))
    lines = _run_all(cells, (X, y, rows), None if path is None else Ledger(path), n_jobs, verbose)
    _warn_of("failed", "error", [line["error"] for line in lines], FitFailedWarning)
    _warn_of("gave warnings", "warnings", [line["cost"]["warnings"] for line in lines], UserWarning)
    return table_of_lines(lines)


def _warn_of(what, column, texts, category):
    """Say that some fits failed or warned, whichever process they ran in."""
    said = list(filter(None, texts))
    if said:
        warnings.warn(
            f"{len(said)} of {len(texts)} fits {what}; see the column {column!r}. The first: {said[0]}",
            category,
            stacklevel=3,
        )


# --- what is to be done ------------------------------------------------------------------------------


def _named(estimators):
    """Pairs of name and estimator, checked."""
    if hasattr(estimators, "fit"):
        estimators = {type(decoder_of(estimators)[0]).__name__: estimators}
    named = list(estimators.items() if isinstance(estimators, dict) else estimators)
    if not named:
        raise ValueError("estimators is empty; give {'ridge': RidgeDecoder(...)}, for example.")
    for pair in named:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeError(f"estimators must be a dict or pairs of a name and an estimator, got {pair!r}.")
        decoder_of(pair[1])
    names = pd.Index([name for name, _ in named])
    if not names.is_unique:
        raise ValueError(
            f"the name {names[names.duplicated()][0]!r} stands for several estimators; give each a name of its own."
        )
    return named


def _check_folds(folds, segment, k, n_candidates):
    """Raise where a fold has too few candidates, before anything is fitted."""
    if not folds:
        raise ValueError("cv has no folds; give a splitter such as StimulusKFold(5), or pairs (train, test).")
    counts = [len(np.unique(segment[test])) for _, test in folds]
    least, fold = min(counts), int(np.argmin(counts))
    if least <= k:
        raise ValueError(
            f"fold {fold} has {least} distinct segments to choose from, and k={k} of them are no question; use a "
            f"smaller k or fewer folds."
        )
    if n_candidates is not None and not k < n_candidates <= least:
        raise ValueError(
            f"n_candidates={n_candidates} must be more than k={k} and at most {least}, the number of distinct segments "
            f"in fold {fold}; None scores among all candidates only."
        )


def _controls_of(name, estimator, controls, X, y, oracle):
    """Names of the controls of one estimator, after a look whether they can be run at all."""
    if controls is False or controls is None:
        return []
    wanted = wanted_controls(None if controls is True else controls, decoder_of(estimator)[0], y, oracle)
    if {"decoder", "within recording"} & set(() if controls is True else wanted):
        raise ValueError(
            "controls: the decoder itself is always run, and 'within recording' is for run_controls."
        )
    wanted = [control for control in wanted if controls is not True or control in BESIDE]
    if not wanted:
        return []
    try:
        rows = brain_rows(X)
    except ValueError as error:
        raise ValueError(f"{error} Or set controls=False.") from None
    if {"surrogate", "white noise"} & set(wanted) and is_segment_table(X):
        with_noise(estimator, SurrogateBrain())
    if "shifted pairing" in wanted:
        try:
            shift_pairs(rows, y, 0)
        except ValueError as error:
            if controls is not True:
                raise
            warnings.warn(f"{name} has no such control. {error}", stacklevel=3)
            wanted.remove("shifted pairing")
    return wanted


def _seeds(seeds):
    """Distinct integers."""
    seeds = [seeds] if isinstance(seeds, numbers.Integral) else list(seeds)
    wrong = [seed for seed in seeds if not isinstance(seed, numbers.Integral)]
    if wrong or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be integers, each once, such as (0, 1, 2); got {seeds}.")
    return [int(seed) for seed in seeds]


def _only(only, named, folds):
    """Name and fold that are to be run alone; None stands for all."""
    name, fold = only if isinstance(only, tuple) else (None, only)
    if fold is not None and fold not in range(len(folds)):
        raise ValueError(f"only={only!r}: there are folds 0 to {len(folds) - 1}.")
    if name is not None and name not in dict(named):
        raise ValueError(f"only={only!r}: estimators are {[name for name, _ in named]}.")
    return name, fold


def _about(cv, X, y, folds):
    """What is known of each fold before anything is fitted: how it was made, and what is on both sides."""
    amounts = getattr(cv, "amounts", None) or [None]
    about = {fold: {"cv": _how(cv), "calibration_minutes": amounts[fold % len(amounts)]} for fold in folds}
    table = table_of(y)
    if table is None or not set(NEEDED) <= set(table):
        return about
    found = check_leakage(X, y, list(folds.values())).set_axis(list(folds))
    for fold, row in found.iterrows():
        about[fold] |= {
            "leakage": row["verdict"], "n_heard": round(row["leaking"] * row["n_test"]),
            "train_seconds": SoundIntervals.from_table(table.iloc[folds[fold][0]]).seconds,
            "own_minutes": row.get("own_minutes"),
        }  # fmt: skip
    return about


def _unlabelled(estimator, X, met):
    """Say what of an estimator sees the recordings that are tested, without what was heard in them."""
    saw = []
    for step in _steps(estimator):
        met = met and getattr(step, "method", None) != "none"
        if isinstance(step, BY_RECORDING) and (table_of(X) is not None or isinstance(X, Windows)):
            saw.append(type(step).__name__)
        if getattr(step, "unknown_subject", None) == "nearest" and not met:
            saw.append("unknown_subject='nearest'")
    return ", ".join(dict.fromkeys(saw))


def _steps(estimator):
    """An estimator and all that it is made of, outermost first."""
    yield estimator
    inner = [getattr(estimator, "estimator", None)]
    for step in [one for _, one in estimator.steps] if isinstance(estimator, Pipeline) else inner:
        if hasattr(step, "fit"):
            yield from _steps(step)


def _how(cv):
    """Say how folds were made, for a sentence of one's methods; None where rows were given."""
    if not hasattr(cv, "split"):
        return None
    call = type(cv).__name__ if type(cv).__repr__ is object.__repr__ else repr(cv)
    call, _, guarantee = call.partition("  # ")
    return " ".join((f"{call} ({guarantee})" if guarantee else call).split())


def _cells(named, X, y, folds, about, seeds, controls, oracle, settings):
    """Pieces of work, folds outermost so that early results are of all estimators."""
    brain, heard, here, truth = row_digests(X), row_digests(y), code_digest(), describe(oracle)
    subject = joined(table_of(X), table_of_heard(y))["subject"].to_numpy()
    for fold, (train, test) in folds.items():
        question = key_of(brain[train], heard[train], brain[test], heard[test])
        for seed in seeds:
            draw = int(key_of(question, seed)[:7], 16)  # noise is the same for all estimators
            for name, estimator in named:
                seeded = _seeded(estimator, seed)
                saw = _unlabelled(estimator, X, np.isin(subject[test], subject[train]).all())
                for control in ["decoder", *controls[name]]:
                    asked = (oracle, truth) if control == "oracle" else (None, None)
                    key = key_of(name, fold, question, seed, seeded, control, asked[1], settings, here)
                    yield _Cell(
                        name, seeded, seed, fold, control, key, train, test, draw, asked[0],
                        about[fold] | {"unlabelled": saw, "place": list(controls).index(name)}, settings
                    )  # fmt: skip


def _seeded(estimator, seed):
    """Clone an estimator and seed all that is random in it."""
    estimator = clone(estimator)
    names = [name for name in estimator.get_params() if name.rsplit("__", 1)[-1] == "random_state"]
    return estimator.set_params(**dict.fromkeys(names, int(seed)))


# --- doing it ----------------------------------------------------------------------------------------


def _run_all(cells, data, ledger, n_jobs, verbose):
    """Lines of all cells: those that are there, and those that are now computed."""
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
    return [lines[cell.key] for cell in cells]


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
        print(f"[{done}/{self.n}] {told(line)}{time_left(seconds)}", flush=True)


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
        return index, done[0] | {"key": cell.key}


def _line(cell, task):
    """Fit and score: a line of results, or of an error."""
    outcome, error, trace = None, "", ""
    reset_peak()
    with overheard() as heard:
        try:
            (answers,) = CONTROLS[cell.control](task)
            scores = score_rows(answers, cell.settings["n_candidates"], cell.settings["n_shifts"], cell.seed)
            if cell.control in LEAKS:
                outcome = packed(outcome_of([answers], cell.settings["n_shifts"], task.seed, task.n_left_out))
        except Exception as caught:  # one fold must not end the others; the row shows it
            error, trace = f"{type(caught).__name__}: {caught}", traceback.format_exc()
            subjects = task.rows["subject"].iloc[task.test].value_counts(sort=False)
            scores = [
                {"subject": subject, "condition": "", "study": "", "pool": "all", "n_windows": int(n)}
                for subject, n in subjects.items()
            ]
    cost = {
        "seconds_fit": task.seconds_fit, "seconds_score": task.seconds_score, "peak_mb": peak_mb(),
        "versions": " ".join(f"{name} {number}" for name, number in versions_here().items()),
        "warnings": "\n".join(heard), "written": time.time(),
    }  # fmt: skip
    return {
        "common": cell.common(task.n_left_out), "about": cell.about, "cost": cost, "rows": scores,
        "outcome": outcome, "error": error, "trace": trace,
    }  # fmt: skip

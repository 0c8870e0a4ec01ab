"""Many decoders on many folds in one table, written as it grows: what a kill interrupts it takes up again."""

from __future__ import annotations

import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning

from sk_b2s.asking import joined, table_of_heard
from sk_b2s.candidates import check_in_step, distinct_segments
from sk_b2s.controls import CONTROLS, Task, brain_rows, folds_of, outcome_of, wanted_controls
from sk_b2s.counterparts import decoder_of, shift_pairs, with_noise
from sk_b2s.leave_one_out import LeaveOneSubjectOut
from sk_b2s.ledger import Ledger, code_digest, key_of, row_digests
from sk_b2s.model_selection import table_of
from sk_b2s.persistence import versions_here
from sk_b2s.results import packed, table_of_lines, told
from sk_b2s.scorecard import score_rows
from sk_b2s.stimuli import SoundIntervals
from sk_b2s.surrogates import SurrogateBrain
from sk_b2s.tables import is_segment_table
from sk_b2s.verdicts import LEAKS

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["BESIDE", "benchmark"]

BESIDE = ("surrogate", "shifted pairing", "silence only", "acoustics only", "oracle")  # controls=True


@dataclass
class _Cell:
    """One decoder, or one control of it, on one fold."""

    estimator: str
    seed: int
    fold: int
    control: str
    key: str
    n_heard: float
    task: Task
    settings: dict

    def common(self):
        """What all rows of the cell say alike."""
        return {
            "estimator": self.estimator, "seed": self.seed, "fold": self.fold, "control": self.control,
            "n_heard": self.n_heard, "n_train": len(self.task.train),
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
        holds is not done again: same name, parameters, seed, rows of X and y, settings and code. Several processes
        may write to one file at once and share the work. None keeps nothing.
    seeds : sequence of int, default=(0,)
        Each is given to every parameter of an estimator that is named ``random_state``, and draws noise,
        shifts and nulls.
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
        Fits at once, by joblib: ``parallel_config`` chooses where.
    verbose : int, default=1
        Above 0 a line is printed for whatever is done.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        A row for each ``estimator``, ``control`` ("decoder" is the estimator itself), ``seed``, ``fold``,
        ``subject``, ``condition`` and ``pool`` ("all" candidates or "50"), with ``n_train, n_windows,
        n_candidates``; ``top_1, top_5, top_10, top_k``, ``k`` and ``chance`` of ``top_k``;
        ``median_relative_rank`` (chance 0.5) and ``match_mismatch``, how often the right candidate beats
        another (0.5); ``near`` and ``near_chance``, how often the best candidate begins within 0.5 s of the right
        one; ``word_top_10`` and ``word_chance``, each word counting once; ``null_mean, null_low, null_high``,
        mean, 2.5 and 97.5 % quantile of the null of ``top_k``; ``verdict``; ``n_heard``, windows tested that
        contain sound of training; ``seconds_fit, seconds_score, peak_mb`` (memory of the process), ``versions``;
        and ``error``, empty unless the fit failed: others go on, and another run tries it again.

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

    See Also
    --------
    summarise : Means over subjects.
    read_results : The table of a file, or of several.
    audit : The same table for similarities that were made elsewhere.

    Notes
    -----
    Scores in pools are means over all pools of that size, see :func:`~sk_b2s.scorecard.score_rows`. A leak is
    looked for over all folds of an estimator and seed that there are, as :func:`~sk_b2s.run_controls` does;
    until all are done a verdict may change. ``memory, n_jobs`` and ``verbose`` are no parameters that count.
    A recording that is replaced by another of the same name and size is taken for the old one.
    """
    named = _named(estimators)
    check_in_step(X, y)
    folds = folds_of(LeaveOneSubjectOut() if cv is None else cv, X, y)
    _check_folds(folds, distinct_segments(y).target, k, n_candidates)
    rows = joined(table_of(X), table_of_heard(y))
    chosen = {name: _controls_of(name, one, controls, X, y, oracle) for name, one in named}
    settings = {"k": k, "n_candidates": n_candidates, "n_shifts": n_shifts}
    cells = list(_cells(named, X, y, rows, folds, seeds, chosen, oracle, settings, only))
    ledger = None if path is None else Ledger(path)
    lines = {line["key"]: line for line in ledger.lines() if not line["error"]} if ledger else {}
    lines = _run_all(cells, lines, ledger, n_jobs, verbose)
    failed = [line for line in lines if line["error"]]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(lines)} fits failed; see the column 'error'. The first: {failed[0]['error']}",
            FitFailedWarning,
            stacklevel=2,
        )
    return table_of_lines(lines)


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


def _cells(named, X, y, rows, folds, seeds, controls, oracle, settings, only):
    """Pieces of work, folds outermost so that early results are of all estimators."""
    name_only, fold_only = only if isinstance(only, tuple) else (None, only)
    if fold_only is not None and not 0 <= fold_only < len(folds):
        raise ValueError(f"only={only!r}: there are folds 0 to {len(folds) - 1}.")
    if name_only is not None and name_only not in dict(named):
        raise ValueError(f"only={only!r}: estimators are {[name for name, _ in named]}.")
    brain, heard, here = row_digests(X), row_digests(y), code_digest()
    for fold, (train, test) in enumerate(folds):
        if fold_only not in (None, fold):
            continue
        question = key_of(brain[train], heard[train], brain[test], heard[test])
        n_heard = _n_heard(y, train, test)
        for seed in seeds:
            draw = int(key_of(question, seed)[:7], 16)  # noise is the same for all estimators
            for name, estimator in named:
                if name_only not in (None, name):
                    continue
                seeded = _seeded(estimator, seed)
                for control in ["decoder", *controls[name]]:
                    asked = oracle if control == "oracle" else None
                    key = key_of(name, fold, question, seed, seeded, control, asked, settings, here)
                    task = Task(seeded, X, y, rows, train, test, draw, asked, k=settings["k"])
                    yield _Cell(name, int(seed), fold, control, key, n_heard, task, settings)


def _seeded(estimator, seed):
    """Clone an estimator and seed all that is random in it."""
    estimator = clone(estimator)
    names = [name for name in estimator.get_params() if name.rsplit("__", 1)[-1] == "random_state"]
    return estimator.set_params(**dict.fromkeys(names, int(seed)))


def _n_heard(y, train, test):
    """Number of windows tested that contain sound of training, NaN where that is not known."""
    table = table_of(y)
    if table is None or not {"sound", "sound_onset", "duration"} <= set(table):
        return np.nan
    return float(SoundIntervals.from_table(table.iloc[train]).touches(table.iloc[test]).sum())


# --- doing it ----------------------------------------------------------------------------------------


def _run_all(cells, lines, ledger, n_jobs, verbose):
    """Lines of all cells: those that are there, and those that are now computed."""
    start = ledger.size() if ledger else 0
    open_cells = [cell for cell in cells if cell.key not in lines]
    if verbose and len(open_cells) < len(cells):
        print(f"{len(cells) - len(open_cells)} of {len(cells)} are done already", flush=True)
    while open_cells:
        waiting = []
        parallel = joblib.Parallel(n_jobs, return_as="generator_unordered")
        for index, line in parallel(
            joblib.delayed(_run_cell)(index, cell, ledger, start) for index, cell in enumerate(open_cells)
        ):
            if line is None:
                waiting.append(open_cells[index])
                continue
            lines[line["key"]] = line
            if verbose:
                done = sum(cell.key in lines for cell in cells)
                print(f"[{done}/{len(cells)}] {told(line)}", flush=True)
        open_cells = waiting
        if open_cells:
            time.sleep(0.5)  # another process is at them; if it is killed, they are ours
    return [lines[cell.key] for cell in cells]


def _run_cell(index, cell, ledger, start):
    """Do one piece of work and write it down: its index and line, or None if another process is at it."""
    if ledger is None:
        return index, _line(cell) | {"key": cell.key}
    with ledger.claim(cell.key) as claim:
        if claim is None:
            return index, None
        done = [line for line in claim.found(start) if not line["error"]]
        if not done:
            done = [_line(cell)]
            claim.write(done[0])
        return index, done[0] | {"key": cell.key}


def _line(cell):
    """Fit and score: a line of results, or of an error."""
    task, outcome, error, trace = cell.task, None, "", ""
    _reset_peak()
    try:
        (answers,) = CONTROLS[cell.control](task)
        scores = score_rows(answers, cell.settings["n_candidates"], cell.settings["n_shifts"], cell.seed)
        if cell.control in LEAKS:
            outcome = packed(outcome_of([answers], cell.settings["n_shifts"], task.seed, task.n_left_out))
    except Exception as caught:  # one fold must not end the others; the row shows it
        error, trace = f"{type(caught).__name__}: {caught}", traceback.format_exc()
        rows = task.rows.iloc[task.test]
        scores = [
            {"subject": subject, "condition": "", "study": "", "pool": "all", "n_windows": int(n)}
            for subject, n in rows["subject"].value_counts(sort=False).items()
        ]
    common = cell.common()
    common["n_train"] -= task.n_left_out
    cost = {
        "seconds_fit": task.seconds_fit, "seconds_score": task.seconds_score, "peak_mb": _peak_mb(),
        "versions": " ".join(f"{name} {number}" for name, number in versions_here().items()),
        "written": time.time(),
    }  # fmt: skip
    return {
        "common": common,
        "cost": cost,
        "rows": scores,
        "outcome": outcome,
        "error": error,
        "trace": trace,
    }


def _reset_peak():
    """Forget the peak of the work before, where the system lets us (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb():
    """Peak of the memory of this process in MB (of all its life, where it cannot be reset); NaN if unknown."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return np.nan if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

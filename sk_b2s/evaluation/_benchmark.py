"""Benchmark of several decoders on several folds in one table."""

from __future__ import annotations

import numbers
import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import FitFailedWarning

from sk_b2s._utils._estimators import find_decoder
from sk_b2s._utils._json_lines import JsonLinesFile
from sk_b2s._utils._validation import check_in_step, is_segment_table, join_tables, table_of
from sk_b2s.decoding._candidates import find_distinct_segments
from sk_b2s.decoding._scoring import find_segment_table
from sk_b2s.evaluation._controls._inputs import shift_pairs, with_noise
from sk_b2s.evaluation._controls._registry import CONTROLS
from sk_b2s.evaluation._controls._run import sample_rows, select_controls
from sk_b2s.evaluation._controls._surrogates import SurrogateRecordings
from sk_b2s.evaluation._results._lines import find_problem
from sk_b2s.evaluation._results._table import table_of_lines
from sk_b2s.evaluation._tasks import lay_out, run_all
from sk_b2s.model_selection._leave_one_out import LeaveOneSubjectOut
from sk_b2s.model_selection._split import folds_of


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
        True takes those of "phase_randomized", "shifted_labels", "silence_truth", "envelope_only" and "oracle" that
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
        another (0.5); ``top_1_within_500ms`` and ``top_1_within_500ms_chance``, how often the best candidate begins within 0.5 s of the right
        one; ``word_top_10`` and ``word_chance``, each word counting once; ``null_mean, null_low, null_high``,
        mean, 2.5 and 97.5 % quantile of the null of ``top_k``; ``verdict``; of the fold ``cv`` and its guarantee,
        ``train_seconds`` of distinct sound, ``n_train_overlap``, windows tested that contain sound of training,
        ``leakage``, the verdict of :func:`~sk_b2s.check_leakage`, ``calibration_minutes`` that ``cv`` was asked for
        (infinity is all, NaN where it asks for none) and ``calibration_minutes_used``, those recorded from who is tested that are
        in training; ``transductive_steps``, which parts of the fitted estimator saw the recordings that are tested, without
        labels; ``seconds_fit, seconds_score, peak_memory_mb`` (memory
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
    summarize : Means over subjects.
    read_results : The table of a file, or of several.
    audit : The same table for similarities that were made elsewhere.

    Notes
    -----
    Estimators whose ``fit`` takes ``calibration``, as that of :class:`~sk_b2s.CalibratedDecoder`, in pipelines and
    searches too, are given the mask of training rows whose subject is tested.

    Scores in pools are means over all pools of that size, see :func:`~sk_b2s.evaluation._scores.score_rows`. A leak is
    looked for over all folds of an estimator and seed that there are, as :func:`~sk_b2s.run_controls` does;
    until all are done a verdict may change. ``memory, n_jobs`` and ``verbose`` are no parameters that count.
    Recordings are known by file name, size and samples of their bytes, wherever they are kept. Of estimators of your
    own, written in no installed package, the code of their methods counts, not that of functions they call.

    The null and the controls are made of similarities and do not see how these came about. A choice of epoch, seed,
    parameter or estimator by the test is not seen: the best of 60 decoders of noise is above its null. Neither is state
    that an estimator of one's own keeps from fold to fold, nor preprocessing that was fitted on test windows before
    the folds were made.

    Equal seeds give equal tables if fits have equal numbers of threads; workers of ``n_jobs`` have fewer than
    this process, and a network that sums in another order learns other weights.
    """
    named, seeds = _named(estimators), _seeds(seeds)
    check_in_step(X, y)
    cv = LeaveOneSubjectOut() if cv is None else cv
    folds = folds_of(cv, X, y)
    _check_folds(folds, find_distinct_segments(y).target, k, n_candidates)
    data = X, y, join_tables(table_of(X), find_segment_table(y))
    chosen = {name: _controls_of(name, one, controls, X, y, oracle) for name, one in named}
    settings = {"k": k, "n_candidates": n_candidates, "n_shifts": n_shifts}
    name_only, fold_only = _only(only, named, folds)
    only = name_only, fold_only
    cells = list(lay_out(named, data, cv, folds, seeds, chosen, oracle, settings, only))
    lines = run_all(cells, data, None if path is None else JsonLinesFile(path, find_problem), n_jobs, verbose)
    _warn_of("failed", "error", lines, [line["error"] for line in lines], FitFailedWarning)
    _warn_of("gave warnings", "warnings", lines, [line["cost"]["warnings"] for line in lines], UserWarning)
    return table_of_lines(lines)


def _warn_of(what, column, lines, texts, category):
    """Say that some fits failed or warned, and which, whichever process they ran in."""
    said = [(line["common"], text) for line, text in zip(lines, texts, strict=True) if text]
    if said:
        which: dict[str, list] = {}
        for common, _ in said:
            name = common["estimator"] + f" ({common['control']})" * (common["control"] != "decoder")
            which.setdefault(name, []).append(common["fold"])
        named = "; ".join(
            f"{name}, fold {', '.join(map(str, dict.fromkeys(of)))}" for name, of in which.items()
        )
        warnings.warn(
            f"{len(said)} of {len(texts)} fits {what}; see the column {column!r} ({named}). The first: {said[0][1]}",
            category,
            stacklevel=3,
        )


# --- what it is given ---------------------------------------------------------------------------------


def _named(estimators):
    """Pairs of name and estimator, checked."""
    if hasattr(estimators, "fit"):
        estimators = {type(find_decoder(estimators)[0]).__name__: estimators}
    named = list(estimators.items() if isinstance(estimators, dict) else estimators)
    if not named:
        raise ValueError("estimators is empty; give {'ridge': RidgeDecoder(...)}, for example.")
    for pair in named:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeError(f"estimators must be a dict or pairs of a name and an estimator, got {pair!r}.")
        find_decoder(pair[1])
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
    wanted = select_controls(None if controls is True else controls, find_decoder(estimator)[0], y, oracle)
    if {"decoder", "within_recording"} & set(() if controls is True else wanted):
        raise ValueError(
            "controls: the decoder itself is always run, and 'within_recording' is for run_controls."
        )
    wanted = [control for control in wanted if controls is not True or CONTROLS[control].in_benchmark]
    if not wanted:
        return []
    try:
        rows = sample_rows(X)
    except ValueError as error:
        raise ValueError(f"{error} Or set controls=False.") from None
    if {"phase_randomized", "white_noise"} & set(wanted) and is_segment_table(X):
        with_noise(estimator, SurrogateRecordings())
    if "shifted_labels" in wanted:
        try:
            shift_pairs(rows, y, 0)
        except ValueError as error:
            if controls is not True:
                raise
            warnings.warn(f"{name} has no such control. {error}", stacklevel=3)
            wanted.remove("shifted_labels")
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

"""Benchmark of several decoders on several folds in one table."""

from __future__ import annotations

import numbers
import warnings
from dataclasses import asdict

import numpy as np
import pandas as pd
from sklearn.exceptions import FitFailedWarning

from sk_b2s._utils._estimators import find_decoder_in_estimator
from sk_b2s._utils._json_lines import JsonLinesFile
from sk_b2s._utils._validation import (
    is_validated_table,
    join_validated_tables,
    validate_count,
    validate_rows_in_step,
    validate_table,
)
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._retrieval._retrieve import find_table_to_retrieve
from sk_b2s.decoding._retrieval._row_candidates import check_row_candidate_columns, check_row_candidate_number
from sk_b2s.evaluation._controls._inputs import make_control_noise_inputs, shift_control_inputs
from sk_b2s.evaluation._controls._registry import CONTROLS, LEAK_TESTS
from sk_b2s.evaluation._controls._run import (
    choose_run_controls,
    list_permanent_run_controls,
    run_control_rows,
)
from sk_b2s.evaluation._controls._surrogates import SurrogateRecordings
from sk_b2s.evaluation._controls._timing import add_timing_loudness, has_timing_of_rows
from sk_b2s.evaluation._results._fits import fits_rank_segments, iter_fits, run_fits
from sk_b2s.evaluation._results._lines import find_line_problem
from sk_b2s.evaluation._results._table import make_results_table
from sk_b2s.model_selection._leave_one_out import LeaveOneSubjectOut
from sk_b2s.model_selection._split import list_split_folds


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
    candidates_per_row=None,
):
    """Fit and score decoders and their controls on all folds in one table.

    Parameters
    ----------
    estimators : dict, list of (str, estimator), or estimator
        Decoders of the package by name, Pipelines that end in one, or searches
        over either. They are cloned.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows. Controls need ``recording``, ``onset`` and
        ``duration``.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimulus segments or features, one row per window.
    cv : None, splitter or iterable of (train, test), default=None
        If None, ``LeaveOneSubjectOut()``.
    path : None, str or Path, default=None
        Results file. One line of JSON is appended per decoder or control and
        fold when it is finished. Fits that are in the file are not repeated:
        same name, parameters, seed, rows of X and y, settings and code of this
        package. Several processes can share one file and divide the work. On
        several machines it must be on a shared disk. If None, nothing is
        stored.
    seeds : sequence of int, default=(0,)
        Each seed is set for every parameter named ``random_state`` of an
        estimator, its pipelines and searches, and draws noise, shifts and
        nulls.
    controls : bool or sequence of str, default=True
        If True, those of "phase_randomized", "shifted_labels",
        "silence_truth", "envelope_only" and "oracle" that apply. See
        :func:`~sk_b2s.run_controls` for these and others. Each control that is
        fitted costs one fit per fold. "timing_only" is not fitted and always
        runs for windows at words or of unequal duration, also if False.
    oracle : None or callable, default=None
        As in :func:`~sk_b2s.run_controls`.
    only : None, int or (str, int), default=None
        A fold, or the name of an estimator and a fold, to run alone, for job
        arrays. ``read_results`` joins their files.
    k : int, default=10
        Number of guesses of ``top_k``, its null and its verdict, whatever the
        ``k`` of the decoders.
    n_candidates : int or None, default=50
        Size of the candidate pools that are scored in addition to all
        candidates, the same in every fold. If None, pools are omitted.
    n_shifts : int, default=1000
        Number of circular shifts of each null.
    n_jobs : int or None, default=None
        Number of fits run in parallel by joblib, with the backend of
        ``joblib.parallel_config``. On a dask cluster, send Windows in memory
        once with ``parallel_config("dask", scatter=[X])``.
    verbose : int, default=1
        If above 0, one line is printed per finished fit, with the score, the
        number of fits and the estimated time left.
    candidates_per_row : None, int or RowCandidates, default=None
        Candidates of each test window, as in :func:`~sk_b2s.retrieve`, for
        example 2 for match-mismatch. ``k`` must be smaller, and candidate
        pools are omitted unless ``n_candidates`` is smaller. Windows without
        enough candidates are left out, see ``n_without_candidates``. If None,
        all test segments are candidates.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        One row per ``estimator``, ``control`` ("decoder" is the estimator
        itself), ``seed``, ``fold``, ``subject``, ``condition`` and ``pool``
        ("all" candidates or "50"):

        - ``n_train, n_windows, n_candidates``.
        - ``top_1, top_5, top_10, top_k``, ``k`` and ``chance`` of ``top_k``.
        - ``median_relative_rank`` (chance level 0.5).
        - ``top_1_within_500ms`` and its chance level
          ``top_1_within_500ms_chance``: how often the best candidate begins
          within 0.5 s of the target in the same stimulus.
        - ``match_mismatch``: how often the target scores above another
          candidate (chance level 0.5).
        - ``word_top_10`` and ``word_chance``: mean over words.
          ``word_top_10_timing`` and ``word_timing_chance``: the same of a
          classifier of intervals, durations and positions of words, fitted on
          the training rows, without neural data.
        - ``timing_matched``: how often the target scores above another
          candidate of like duration, interval to the next onset and loudness
          (chance level 0.5), and ``timing_matched_share``, the proportion of
          windows with six such candidates. NaN if it is below 10 %. The
          columns ``timing_matched_null_mean, timing_matched_null_low,
          timing_matched_null_high`` and ``timing_matched_p`` are those of 200
          permutations among windows of like timing, widened because windows
          overlap.
        - ``null_mean, null_low, null_high``: mean, 2.5 and 97.5 % quantile of
          the null of ``top_k``.
        - ``verdict``, ``leak_sources`` and ``verdict_text``, as in
          :func:`~sk_b2s.run_controls`. "error" if the fit failed.
        - Of the fold ``cv`` with its guarantee, ``leakage_verdict``,
          ``leakage_sources`` and ``leakage`` (``verdict``, ``leak_sources``
          and ``verdict_text`` of :func:`~sk_b2s.check_leakage`),
          ``n_train_overlap`` (test windows that contain stimuli of training),
          ``train_seconds`` of distinct stimuli, ``calibration_minutes``
          (requested from ``cv``, infinity is all, NaN without calibration) and
          ``calibration_minutes_used`` (recorded from the test subject in
          training).
        - ``transductive_steps``: steps of the fitted estimator that saw the
          test recordings without their labels. "MaskedEncoder (test
          windows)" is an ``init`` that has seen test windows, "(unseen
          subjects)" other recordings of unseen subjects, and "(test
          stimuli)" recordings with test stimuli. "(unknown recordings)" means
          that recording, onset or duration of windows is missing.
        - ``n_without_candidates``: test windows of the fold that are left out
          because they have too few ``candidates_per_row``.
        - ``parameters, features`` and ``chosen`` hyperparameters.
        - ``seconds_fit, seconds_score, peak_memory_mb`` (of the process),
          ``versions, machine, warnings`` (of fit and score, one per line) and
          ``written`` (time).
        - ``error``: "" unless the fit failed. Other fits continue, and the
          next run repeats it.
        - ``key``: identifies equal fits. ``plan``: all folds and fits.
          ``details``: JSON text in the first row of a fit, with counts of
          ranks, training curves and guesses for :func:`~sk_b2s.write_report`.

    Raises
    ------
    TypeError
        If an estimator is not a decoder.
    ValueError
        If names are not unique, ``cv`` has no folds, X and y differ in length,
        a control does not apply, or a fold has too few candidates.

    Warns
    -----
    FitFailedWarning
        If a fit failed.
    UserWarning
        If fits gave warnings, or a recording is too short for a control.

    See Also
    --------
    summarize : Means over subjects.
    read_results : The table of one or several files.
    score_similarities : The same table for precomputed similarities.

    Notes
    -----
    Estimators whose ``fit`` takes ``calibration``, such as
    :class:`~sk_b2s.CalibratedDecoder`, also in pipelines and searches, get the
    mask of the training rows whose subject is tested.

    Scores in pools are means over all pools of that size. Leak tests use all
    finished folds of an estimator and seed, as in
    :func:`~sk_b2s.run_controls`, so verdicts may change until all folds are
    finished. The parameters ``memory``, ``n_jobs`` and ``verbose`` are ignored
    when fits are compared. Recordings are identified by file name, size and
    samples of their bytes, not by their path. Of custom estimators outside
    installed packages, the code of their methods is compared, not that of the
    functions they call.

    Nulls and controls are computed from similarities. They do not detect the
    choice of an epoch, seed, parameter or estimator on the test data: the best
    of 60 decoders of noise is above its null. They do not detect state that a
    custom estimator keeps between folds, or preprocessing that was fitted on
    test windows before the folds were made.

    Equal seeds give equal tables if fits use equal numbers of threads. Workers
    of ``n_jobs`` have fewer threads than the main process, and a network that
    sums in another order learns other weights.
    """
    settings = {"k": k, "n_candidates": n_candidates, "n_shifts": n_shifts}
    settings["candidates_per_row"] = candidates_per_row
    return run_benchmark(
        estimators, (X, y), cv, path, seeds, controls, oracle, only, settings, n_jobs, verbose, stacklevel=4
    )


def run_benchmark(
    estimators, data, cv, path, seeds, controls, oracle, only, settings, n_jobs, verbose,
    among=None, always=(), stacklevel=3, note=None,
):  # fmt: skip
    """Fit and score decoders and controls of :func:`benchmark` or of a task.

    Parameters
    ----------
    estimators, cv, path, seeds, controls, oracle, only, n_jobs, verbose
        As in :func:`benchmark`.
    data : tuple of X and y
    settings : dict
        ``k, n_candidates, n_shifts``, and of a task ``task`` and its options.
    among : None or tuple of str, default=None
        Controls of ``controls=True``. If None, those of the registry.
    always : tuple of str, default=()
        Controls that run with any value of ``controls``.
    stacklevel : int, default=3
        Of warnings.
    note : None or dict, default=None
        Details of all fits for the report, such as the command.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
    """
    X, y = data
    validate_count("n_shifts", settings["n_shifts"], least=0)
    validate_count("k", settings["k"], least=1)
    named, seeds = _name_benchmark_estimators(estimators), _check_benchmark_seeds(seeds)
    validate_rows_in_step(X, y)
    cv = LeaveOneSubjectOut() if cv is None else cv
    folds = list_split_folds(cv, X, y)
    rule = check_row_candidate_number(settings.get("candidates_per_row"))
    if rule is None:
        settings = {name: value for name, value in settings.items() if name != "candidates_per_row"}
        in_all = settings["k"], settings["n_candidates"]
    else:
        n_candidates = _check_candidate_rule(rule, settings["k"], settings["n_candidates"])
        settings = settings | {"n_candidates": n_candidates, "candidates_per_row": asdict(rule)}
        in_all = 1, None
    _check_benchmark_folds(folds, find_distinct_candidates(y).target, *in_all)
    rows = join_validated_tables(validate_table(X), find_table_to_retrieve(y))
    check_row_candidate_columns(rule, rows)
    rows = add_timing_loudness(rows) if has_timing_of_rows(rows) else rows
    data, chosen = (X, y, rows), {}
    for name, one in named:
        found = _choose_benchmark_controls(name, one, controls, X, y, oracle, rows)
        permanent = list_permanent_run_controls(rows)
        if controls is True and among is not None:
            found = [control for control in found if control in [*among, *permanent]]
        if not fits_rank_segments(settings):
            found = [control for control in found if control not in permanent or control in (among or ())]
        timeless = "onset" not in rows
        always = [control for control in always if not (CONTROLS[control].needs == "timing" and timeless)]
        chosen[name] = [*found, *(control for control in always if control not in found)]
    if not settings["n_shifts"] and (
        tests := sorted({*LEAK_TESTS} & {one for own in chosen.values() for one in own})
    ):
        raise ValueError(
            f"n_shifts must be 1 or more for the controls {tests}. Got 0. Pass controls=False without a null."
        )
    only = _check_benchmark_selection(only, named, folds)
    tasks = list(iter_fits(named, data, cv, folds, seeds, chosen, oracle, settings, only, note))
    lines = run_fits(
        tasks, data, None if path is None else JsonLinesFile(path, find_line_problem), n_jobs, verbose
    )
    errors, texts = [line["error"] for line in lines], [line["cost"]["warnings"] for line in lines]
    _warn_of_benchmark_fits("failed", "error", lines, errors, FitFailedWarning, stacklevel)
    _warn_of_benchmark_fits("gave warnings", "warnings", lines, texts, UserWarning, stacklevel)
    return make_results_table(lines)


def _warn_of_benchmark_fits(what, column, lines, texts, category, stacklevel):
    """Warn of fits with an error or a warning, from any process."""
    found = [(line["common"], text) for line, text in zip(lines, texts, strict=True) if text]
    if not found:
        return
    folds: dict[str, list] = {}
    for common, _ in found:
        name = common["estimator"] + f" ({common['control']})" * (common["control"] != "decoder")
        folds.setdefault(name, []).append(common["fold"])
    named = "; ".join(f"{name}, fold {', '.join(map(str, dict.fromkeys(of)))}" for name, of in folds.items())
    warnings.warn(
        f"{len(found)} of {len(texts)} fits {what}. See the column {column!r} ({named}). The first: {found[0][1]}",
        category,
        stacklevel=stacklevel,
    )


# --- input -------------------------------------------------------------------------------------------


def _name_benchmark_estimators(estimators):
    """Return checked pairs of name and estimator."""
    if hasattr(estimators, "fit"):
        estimators = {type(find_decoder_in_estimator(estimators)[0]).__name__: estimators}
    named = list(estimators.items() if isinstance(estimators, dict) else estimators)
    if not named:
        raise ValueError("estimators is empty. Pass for example {'ridge': RidgeDecoder(...)}.")
    for pair in named:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeError(f"estimators must be a dict or pairs of a name and an estimator. Got {pair!r}.")
        find_decoder_in_estimator(pair[1])
    names = pd.Index([name for name, _ in named])
    if not names.is_unique:
        raise ValueError(
            f"estimators has the name {names[names.duplicated()][0]!r} more than once. Use unique names."
        )
    return named


def _check_benchmark_folds(folds, segment, k, n_candidates):
    """Raise if a fold has too few candidates, before anything is fitted."""
    if not folds:
        raise ValueError("cv has no folds. Use a splitter such as StimulusKFold(5), or pairs (train, test).")
    counts = [len(np.unique(segment[test])) for _, test in folds]
    smallest, fold = min(counts), int(np.argmin(counts))
    if smallest <= k:
        raise ValueError(
            f"Fold {fold} has only {smallest} distinct segments, so top-{k} accuracy is always 1. Use a smaller k or "
            f"fewer folds."
        )
    if n_candidates is not None and not k < n_candidates <= smallest:
        raise ValueError(
            f"n_candidates must be above k={k} and at most {smallest}, the number of distinct segments in fold {fold}. "
            f"Got {n_candidates}. Use None to score among all candidates only."
        )


def _check_candidate_rule(rule, k, n_candidates):
    """Return the size of pools of own candidates, None for all of them."""
    if not 1 <= k < rule.n_candidates:
        raise ValueError(
            f"Each window has {rule.n_candidates} candidates, so top-{k} accuracy is always 1. Use k=1 or more "
            f"candidates_per_row."
        )
    return n_candidates if n_candidates is not None and k < n_candidates < rule.n_candidates else None


def _choose_benchmark_controls(name, estimator, controls, X, y, oracle, rows):
    """Return the controls of one estimator, or raise if one cannot run."""
    if controls is False or controls is None:
        return list_permanent_run_controls(rows)
    chosen = choose_run_controls(
        None if controls is True else controls, find_decoder_in_estimator(estimator)[0], y, oracle, rows
    )
    if {"decoder", "within_recording", "timing_matched"} & set(() if controls is True else chosen):
        raise ValueError(
            "controls: 'decoder' always runs, 'timing_matched' is a score of all rows, and 'within_recording' is only "
            "available in run_controls. Remove them."
        )
    chosen = [control for control in chosen if controls is not True or CONTROLS[control].in_benchmark]
    if not chosen:
        return []
    try:
        rows = run_control_rows(X)
    except ValueError as error:
        raise ValueError(f"{error} Or set controls=False.") from None
    if {"phase_randomized", "white_noise"} & set(chosen) and is_validated_table(X):
        make_control_noise_inputs(estimator, SurrogateRecordings())
    if "shifted_labels" in chosen:
        try:
            shift_control_inputs(rows, y, 0)
        except ValueError as error:
            if controls is not True:
                raise
            warnings.warn(f"The control 'shifted_labels' of {name} is left out. {error}", stacklevel=3)
            chosen.remove("shifted_labels")
    return chosen


def _check_benchmark_seeds(seeds):
    """Return distinct integers."""
    seeds = [seeds] if isinstance(seeds, numbers.Integral) else list(seeds)
    wrong = [seed for seed in seeds if not isinstance(seed, numbers.Integral)]
    if wrong or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be distinct integers, for example (0, 1, 2). Got {seeds}.")
    return [int(seed) for seed in seeds]


def _check_benchmark_selection(only, named, folds):
    """Return the name and the fold to run alone, None for all."""
    name, fold = only if isinstance(only, tuple) else (None, only)
    if fold is not None and fold not in range(len(folds)):
        raise ValueError(f"only={only!r}: the folds are 0 to {len(folds) - 1}.")
    if name is not None and name not in dict(named):
        raise ValueError(f"only={only!r}: the estimators are {[name for name, _ in named]}.")
    return name, fold

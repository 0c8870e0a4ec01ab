"""Benchmark of decoders on a task: its rows, scores and controls."""

from __future__ import annotations

import inspect
from numbers import Real

import pandas as pd

from sk_b2s._utils._text import fill_docstring_list, make_suggestion_text
from sk_b2s._utils._validation import validate_count
from sk_b2s.decoding._presets import make_decoders
from sk_b2s.evaluation._benchmark import run_benchmark
from sk_b2s.evaluation._tasks._registry import TASKS, find_task
from sk_b2s.preprocessing._segments import make_segments


def benchmark_task(
    task,
    estimators,
    data,
    cv=None,
    path=None,
    seeds=(0,),
    controls=True,
    oracle=None,
    only=None,
    rows=None,
    options=None,
    n_shifts=1000,
    n_jobs=None,
    verbose=1,
):
    """Fit and score decoders on a published task, with its controls.

    A task is one question of the field, for example "Which word was
    presented?". It determines the rows, candidates, scores, chance level,
    folds and controls, so that one call makes a table of results.

    Parameters
    ----------
    task : str
        {tasks}
    estimators : dict, list of (str, estimator), estimator, or list of str
        As in :func:`~sk_b2s.benchmark`, or names of
        :func:`~sk_b2s.make_decoders`.
    data : DataFrame, or tuple of X and y
        Events table, from which the rows of the task are made, or EEG/MEG
        windows and stimulus segments as in :func:`~sk_b2s.benchmark`.
    cv : None, splitter or iterable of (train, test), default=None
        If None, the splitter of the task.
    path : None, str or Path, default=None
        Results file, as in :func:`~sk_b2s.benchmark`. Several tasks can share
        a file.
    seeds : sequence of int, default=(0,)
        As in :func:`~sk_b2s.benchmark`.
    controls : bool or sequence of str, default=True
        If True, the controls of the task that apply. If False, only those
        that explain a score without neural data, such as "timing_only" of
        words.
    oracle : None or callable, default=None
        As in :func:`~sk_b2s.run_controls`.
    only : None, int or (str, int), default=None
        As in :func:`~sk_b2s.benchmark`.
    rows : None or dict, default=None
        Parameters of :func:`~sk_b2s.make_segments` that replace those of the
        task. They require an events table.
    options : None or dict, default=None
        Options that replace those of the task, see above.
    n_shifts : int, default=1000
        Number of circular shifts of each null.
    n_jobs : int or None, default=None
        Number of fits run in parallel by joblib.
    verbose : int, default=1
        If above 0, one line is printed per finished fit.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        As :func:`~sk_b2s.benchmark`, with the columns ``task`` and
        ``main_score``, the name of the score that ``chance``, the null and
        the verdict belong to. Scores that a task does not have are NaN. Read
        it with :func:`~sk_b2s.summarize`,
        :func:`~sk_b2s.generate_methods_text` and
        :func:`~sk_b2s.write_report`.

    Raises
    ------
    TypeError
        If an estimator is not a decoder.
    ValueError
        If the task or an option is unknown, or the data are not sufficient
        for the task.

    See Also
    --------
    benchmark : Any rows and folds, with the scores of segments.
    summarize : Means over subjects.

    Examples
    --------
    >>> from sk_b2s import benchmark_task
    >>> from sk_b2s.datasets import make_listening
    >>> events = make_listening(n_subjects=2, minutes=4)  # doctest: +SKIP
    >>> results = benchmark_task("word", ["ridge"], events)  # doctest: +SKIP
    """
    spec = find_task(task)
    options = complete_benchmark_task_options(spec, options)
    validate_count("n_shifts", n_shifts, least=0)
    _check_row_parameters(rows)
    described = None
    if isinstance(data, pd.DataFrame):
        described = describe_benchmark_task_rows({**spec.rows, **(rows or {})})
    return run_benchmark_task(
        spec, _make_task_estimators(estimators), _make_task_rows(data, spec, rows), cv, path, seeds, controls, oracle, only,
        options, n_shifts, n_jobs, verbose, described, stacklevel=5,
    )  # fmt: skip


def run_benchmark_task(
    spec, estimators, data, cv, path, seeds, controls, oracle, only, options, n_shifts, n_jobs, verbose=1, rows=None,
    stacklevel=4, note=None,
):  # fmt: skip
    """Fit and score decoders on the rows of a task.

    Parameters
    ----------
    spec : TaskSpec
    estimators, cv, path, seeds, controls, oracle, only : object
        As in :func:`benchmark_task`.
    n_shifts, n_jobs, verbose : int
        As in :func:`benchmark_task`.
    data : tuple of X and y
    options : dict
        Return value of :func:`complete_benchmark_task_options`.
    rows : None or str, default=None
        Description of the rows for the methods text, None if it is unknown.
    stacklevel : int, default=4
        Of warnings.
    note : None or dict, default=None
        Details of all fits for the report, such as the command.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
    """
    settings = {"k": 1, "n_candidates": None, **options, "n_shifts": n_shifts, "task": spec.name}
    if rows is not None:
        settings["rows"] = rows
    return run_benchmark(
        estimators, _drop_condition(*data), spec.make_splitter() if cv is None else cv, path, seeds, controls, oracle,
        only, settings, n_jobs, verbose, spec.controls, spec.always, stacklevel=stacklevel,
        note=note,
    )  # fmt: skip


def complete_benchmark_task_options(spec, options):
    """Return the checked options of a task, with its defaults.

    Parameters
    ----------
    spec : TaskSpec
    options : None or dict

    Returns
    -------
    options : dict

    Raises
    ------
    ValueError
        If an option is unknown, or a number is not a positive integer.
    """
    options = {**spec.options, **(options or {})}
    if unknown := sorted(map(str, options.keys() - spec.options.keys())):
        raise ValueError(
            f"The 'options' parameter of benchmark_task has the unknown keys {unknown}"
            f"{make_suggestion_text(unknown[0], spec.options)}. Task {spec.name!r} has the options {list(spec.options)}."
        )
    for name in ("k", "n_words", "n_windows"):
        if name in options:
            validate_count(f"Option {name!r} of task {spec.name!r}", options[name], least=1)
    return options


def _check_row_parameters(rows):
    """Raise if ``make_segments`` has no such parameters."""
    known = list(inspect.signature(make_segments).parameters)[1:]
    if unknown := sorted(map(str, set(rows or ()) - set(known))):
        raise ValueError(
            f"The 'rows' parameter of benchmark_task has the unknown keys {unknown}{make_suggestion_text(unknown[0], known)}. "
            f"make_segments has {known}."
        )


def _make_task_estimators(estimators):
    """Make the presets if estimators are names."""
    names = [estimators] if isinstance(estimators, str) else estimators
    return (
        make_decoders(names) if all(isinstance(name, str) for name in _make_task_list(names)) else estimators
    )


def _make_task_list(names):
    return names if isinstance(names, (list, tuple)) and len(names) else [None]


def _make_task_rows(data, spec, rows):
    """Return X and y, made from an events table or given."""
    if isinstance(data, pd.DataFrame):
        return make_segments(data, **{**spec.rows, **(rows or {})})
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise TypeError(
            f"The 'data' parameter of benchmark_task must be an events table or a tuple of X and y. Got "
            f"{type(data).__name__} instead."
        )
    if rows is not None:
        raise ValueError(
            "The 'rows' parameter of benchmark_task requires an events table as 'data'. Pass rows to make_segments."
        )
    return tuple(data)


def _drop_condition(X, y):
    """Drop the condition if it is known only for windows at words."""
    is_partial = isinstance(y, pd.DataFrame) and "condition" in y and y["condition"].isna().any()
    return X, y.drop(columns="condition") if is_partial else y


def describe_benchmark_task_rows(rows):
    """Describe the windows of :func:`~sk_b2s.make_segments` as a noun phrase.

    Examples
    --------
    >>> rows = {"anchor": "word", "tmin": -0.5, "tmax": 2.5}
    >>> describe_benchmark_task_rows(rows)
    'windows from -0.5 to 2.5 s around the onset of each word'
    >>> rows = {"anchor": 1.0, "tmin": 0, "tmax": 5, "block": 10}
    >>> describe_benchmark_task_rows(rows)
    'windows of 5 s at steps of 1 s (block=10)'
    """
    rows = {"anchor": "word", "tmin": -0.5, "tmax": 2.35, **rows}
    anchor, tmin, tmax = (rows.pop(name) for name in ("anchor", "tmin", "tmax"))
    further = ", ".join(f"{name}={value!r}" for name, value in rows.items())
    if not isinstance(anchor, str):
        text = f"windows of {tmax - tmin:g} s at steps of {anchor:g} s"
    elif anchor == "sentence":
        lengths = (
            f"from {tmin:g} to {tmax:g} s of each sentence" if isinstance(tmax, Real) else "of each sentence"
        )
        text = f"windows {lengths}"
    else:
        text = f"windows from {tmin:g} to {tmax:g} s around the onset of each {anchor}"
    return f"{text} ({further})" if further else text


def _list_task_entries():
    """Yield the text of each entry of the registry."""
    for spec in TASKS.values():
        named = ", ".join(f"``{name}={value!r}``" for name, value in spec.options.items())
        candidates = f" Candidates: {spec.candidates}." if spec.candidates else ""
        yield f'"{spec.name}": {spec.question}{candidates} Options: {named or "none"}.'


fill_docstring_list(benchmark_task, "{tasks}", _list_task_entries())

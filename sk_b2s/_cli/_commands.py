"""Commands of ``sk-b2s`` and what they print."""

from __future__ import annotations

import ast
import difflib
import shlex
import sys
import textwrap
from pathlib import Path

import pandas as pd

from sk_b2s._utils._caching import cache_folder
from sk_b2s._utils._text import visible
from sk_b2s.datasets._registry import load_dataset
from sk_b2s.decoding._presets import make_decoders
from sk_b2s.evaluation._benchmark import benchmark
from sk_b2s.evaluation._controls._verdicts import BELOW, BELOW_MEANS
from sk_b2s.evaluation._results._amounts import amounts_in, format_minutes
from sk_b2s.evaluation._results._plan import UNKNOWN
from sk_b2s.evaluation._results._table import read_results, summarize
from sk_b2s.events._paper_blocks import PaperBlocks
from sk_b2s.features._base import SpeechFeatures
from sk_b2s.model_selection._hashed import HashedBlockSplit
from sk_b2s.model_selection._leakage import check_leakage
from sk_b2s.model_selection._leakage_report import format_leakage
from sk_b2s.model_selection._leave_one_out import LeaveOneSessionOut, LeaveOneStudyOut, LeaveOneSubjectOut
from sk_b2s.model_selection._split import StimulusKFold
from sk_b2s.preprocessing._segments import make_segments
from sk_b2s.reporting._methods import generate_methods_text
from sk_b2s.reporting._report import write_report

# Name -> splitter, and what it calls its number of folds.
SPLITTERS = {
    "loso": (LeaveOneSubjectOut, "stimulus_folds"),
    "stimulus": (StimulusKFold, "n_splits"),
    "session": (LeaveOneSessionOut, "stimulus_folds"),
    "study": (LeaveOneStudyOut, "stimulus_folds"),
    "hashed": (HashedBlockSplit, None),
}
WIDTH = 110  # of paragraphs
EXPERIMENT_OPTIONS = (
    "people",
    "minutes",
    "kind",
    "snr",
    "sessions",
    "artifacts",
    "data_seed",
    "root",
    "subjects",
    "task",
)


# --- the commands ------------------------------------------------------------------------------------


def run_benchmark(args):
    """Fit and score decoders on the folds of an experiment; 1 if a fit failed."""
    results = _benchmark(args)
    print(f"a page to look at: sk-b2s report {shlex.quote(args.out)}")
    return _status(results)


def _benchmark(args):
    """Do what is asked for, print its summary, and return the table."""
    cv = make_splitter(args.cv, args.folds, args.gap)
    memory = None if args.cache == "none" else args.cache or cache_folder() / "computed"
    estimators = make_decoders(
        args.estimator or ["ridge", "clip-mel"], args.size, memory, args.wav2vec2, verbose=int(args.verbose)
    )
    apply_settings(estimators, args.set)
    experiment, X, y = _segments(args)
    n_folds = _say_what(args, X, y, cv)
    if args.fold is not None and not 0 <= args.fold < n_folds:
        raise ValueError(f"--fold {args.fold}: folds are counted from 0 to {n_folds - 1}.")
    _look_ahead(estimators)
    out = Path(args.out)
    print(visible(f"results go to {out}\n"), flush=True)
    results = benchmark(
        estimators, X, y, cv, path=out, seeds=args.seeds, controls=args.controls, oracle=experiment.oracle,
        only=args.fold, k=args.k, n_candidates=args.pool, n_shifts=args.shifts, n_jobs=args.jobs,
    )  # fmt: skip
    print(visible(f"\n{format_scores(summarize(results))}\n\nresults: {out}"))
    return results


def _look_ahead(estimators):
    """Raise now, rather than in each fit, where speech features cannot be had."""
    for estimator in estimators.values():
        for part in estimator.get_params().values():
            if isinstance(part, SpeechFeatures):
                part._check_rate()


def _status(results):
    return int((results["error"] != "").any())


def run_demo(args):
    """Run a benchmark of few minutes, and write its page beside its results."""
    print(f"$ {args.command}", flush=True)
    results = _benchmark(args)  # the file may hold those of another demo as well
    _write_page(results, Path(args.out).with_name("report.html"), "Which of these segments was heard?")
    return _status(results)


def run_folds(args):
    """Print the folds of a splitter, their sizes, and what training and test have in common."""
    cv = make_splitter(args.cv, args.folds, args.gap)
    _, X, y = _segments(args)
    _say_what(args, X, y, cv)
    table = cv.summary(X, y).rename_axis("fold").round(1)
    leakage = check_leakage(X, y, cv)
    tested = [", ".join(map(str, pd.unique(X["subject"].iloc[test]))) for _, test in cv.split(X, y)]
    table["people tested"] = [text if len(text) < 30 else f"{text[:26]} ..." for text in tested]
    print(visible(f"\n{table.to_string()}\n\n{_filled(format_leakage(leakage))}"))
    return int(leakage["verdict"].str.startswith("LEAK").any())


def run_report(args):
    """Print the summary of one or more files of results, and write it down as a page, and as a table if asked."""
    results = read_results(args.results, args.conflicts)
    summary = summarize(results)
    print(visible(format_scores(summary)))
    print(f"\n{_filled(generate_methods_text(results))}\n")
    if args.csv:
        Path(args.csv).parent.mkdir(parents=True, exist_ok=True)
        results.to_csv(args.csv, index=False)
        print(f"table of {len(results)} rows: {args.csv}")
    if args.page != "none":
        _write_page(results, args.page, args.title)
    return _status(results)


# --- what they are made of ---------------------------------------------------------------------------


def make_splitter(name, folds=None, gap=None):
    """Make a splitter by its name.

    Parameters
    ----------
    name : str
        Of ``SPLITTERS``.
    folds : int, "none" or None, default=None
        Folds of the sound; None is the splitter's default, and "none" leaves the sound in training.
    gap : float or None, default=None
        Seconds of sound between training and test; None is the splitter's default.

    Returns
    -------
    cv : splitter

    Raises
    ------
    ValueError
        If the splitter has no such parameter.
    """
    kind, counts = SPLITTERS[name]
    given = {}
    if gap is not None:
        given["gap"] = gap
    if folds is not None:
        given[str(counts)] = None if folds == "none" else folds
    if given and counts is None:
        raise ValueError(f"--cv {name} makes one fold, the published one; --folds and --gap are for others.")
    if folds == "none" and counts == "n_splits":
        raise ValueError(f"--cv {name} divides the sound and nothing else; --folds none is for others.")
    return kind(**given)


def _write_page(results, path, title=None):
    try:
        print(visible(f"page to look at: {write_report(results, path, title)}"))
    except ModuleNotFoundError as error:
        raise ImportError(
            f"a page needs {error.name}: pip install 'sk_b2s[plot]', or give --page none."
        ) from error


def _segments(args):
    """Load the experiment and cut it: experiment, X and y."""
    options = {name: getattr(args, name) for name in EXPERIMENT_OPTIONS if hasattr(args, name)}
    if len(args.anchor) > 1 and args.cv != "hashed":
        raise ValueError("several anchors are for --cv hashed, which trains on a grid and tests at words.")
    experiment = load_dataset(args.dataset, **options)
    block = PaperBlocks() if args.cv == "hashed" else args.block
    window = {"tmin": args.tmin, "tmax": args.tmax, "margin": args.margin, "stream": args.stream}
    parts = [make_segments(experiment.events, anchor, block=block, **window) for anchor in args.anchor]
    X, y = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    return experiment, X, y


def _say_what(args, X, y, cv):
    people, n_folds = X["subject"].nunique(), cv.get_n_splits(X, y)
    said = (
        f"{args.dataset}: {len(X):,} windows of {people} {'person' if people == 1 else 'people'}, "
        f"{y['segment'].nunique():,} distinct segments\n"
        f"{n_folds} fold{'s' * (n_folds > 1)}: {cv.guarantee}"
    )
    print(visible(said), flush=True)
    return n_folds


# --- parameters by name ------------------------------------------------------------------------------


def apply_settings(estimators, settings):
    """Set parameters of pipelines, each in all that have it or in the one that is named.

    Parameters
    ----------
    estimators : dict of str to Pipeline
        They are changed.
    settings : sequence of str
        ``"encoder__hidden=64"`` or ``"clip-mel:encoder__hidden=64"``. A value is a literal of Python, or else
        a text; nothing is run.

    Raises
    ------
    ValueError
        If a setting is none, nobody has the parameter, or its value is not allowed.
    """
    for setting in settings:
        name, parameter, value = _parsed(setting, estimators)
        asked = estimators if name is None else {name: estimators[name]}
        having = [one for one in asked.values() if parameter in one.get_params()]
        if not having:
            known = sorted({key for one in asked.values() for key in one.get_params()})
            close = difflib.get_close_matches(parameter, known, n=3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"--set {setting}: {', '.join(asked)} has no parameter {parameter!r}{hint}")
        for estimator in having:
            estimator.set_params(**{parameter: value})
    for estimator in estimators.values():
        for part in estimator.get_params().values():
            if hasattr(part, "_parameter_constraints") and hasattr(part, "_validate_params"):
                part._validate_params()  # now rather than in the first fold


def _parsed(setting, estimators):
    """Split a setting: name of the estimator or None, parameter, value."""
    target, equals, text = setting.partition("=")
    name, colon, parameter = target.rpartition(":")
    if not equals or not parameter:
        raise ValueError(f"--set {setting}: write PARAMETER=VALUE, such as encoder__hidden=64.")
    if colon and name not in estimators:
        raise ValueError(
            f"--set {setting}: {name!r} is none of the estimators asked for: {', '.join(estimators)}."
        )
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if not text or text[0] in "([{'\"":
            raise ValueError(f"--set {setting}: {text!r} is no value of Python's.") from None
        value = text
    return name or None, parameter, value


# --- what is printed ---------------------------------------------------------------------------------


def format_scores(summary):
    """Lay out means over people as text, a line for each estimator and control.

    Parameters
    ----------
    summary : DataFrame of shape (n_summaries, ...)
        Of :func:`~sk_b2s.summarize`.

    Returns
    -------
    text : str
        Top-1 and top-k with their standard errors over people, chance and the 97.5 % quantile of the null of
        top-k, and top-k in pools of equal size where there are any.
    """
    columns = ["estimator", "control", "condition", *amounts_in(summary)]
    whole = summary[summary["pool"] == "all"].set_index(columns, drop=False)
    k = "/".join(str(int(k)) for k in pd.unique(whole["k"]))
    lines = pd.DataFrame(index=whole.index)
    lines["estimator"] = whole["estimator"].where(whole["control"] == "decoder", "")
    lines["control"] = whole["control"].where(whole["control"] != "decoder", "")
    if whole["condition"].nunique() > 1:
        lines["condition"] = whole["condition"]
    for column in amounts_in(summary):
        lines["calibration"] = [said.removeprefix(", ") for said in format_minutes(whole[column])]
    lines["top-1"] = whole["top_1"].map("{:.3f}".format)
    lines[f"top-{k} ± s.e.m."] = [
        _with_error(*pair) for pair in zip(whole["top_k"], whole["top_k_sem"], strict=True)
    ]
    lines["chance"] = whole["chance"].map("{:.3f}".format)
    is_low = (whole["verdict"] == BELOW).any()
    if is_low:
        lines["null from"] = whole["null_low"].map("{:.3f}".format).replace("nan", "-")
    lines["null to"] = whole["null_high"].map("{:.3f}".format).replace("nan", "-")
    lines["of"] = whole["n_candidates"].map("{:,.0f}".format)
    for pool, rows in summary[summary["pool"] != "all"].groupby("pool", sort=False):
        scores = rows.set_index(columns)["top_k"].reindex(lines.index)
        lines[f"top-{k} of {pool}"] = scores.map("{:.3f}".format).replace("nan", "-")
    lines["verdict"] = whole["verdict"] + whole["n_failed"].map(lambda n: f", {n} failed" if n else "")
    lines["verdict"] += whole["n_without_null"].map(lambda n: f", {n} without null" if n else "")
    first = whole.iloc[0]
    n_seeds = f", {first['n_seeds']} seeds" if first["n_seeds"] > 1 else ""
    n = whole["n_subjects"].max()
    lacks = "".join(f"\n{_filled(text)}" for text in _unfinished(whole))
    inverted = f"\n{_filled(f'{BELOW}: {BELOW_MEANS}.')}" if is_low else ""
    return (
        f"{_aligned(lines)}\n\nMeans over {n} {'person' if n == 1 else 'people'} in {whole['n_folds'].max()} "
        f'fold{"s" * bool(whole["n_folds"].max() > 1)}{n_seeds}. "null to": the 97.5 % quantile of the null of top-{k}.'
        f"{inverted}{lacks}"
    )


def _unfinished(whole):
    """Lines that say what is missing of each estimator's plan."""
    of_decoder = set(
        whole.loc[whole["control"] == "decoder", ["estimator", "missing"]].itertuples(index=False, name=None)
    )
    for row in whole.drop_duplicates(["estimator", "control", "missing"]).to_dict("records"):
        is_said = row["control"] != "decoder" and (row["estimator"], row["missing"]) in of_decoder
        if row["missing"] and not is_said:
            name = row["estimator"] + f" ({row['control']})" * (row["control"] != "decoder")
            yield (
                f"Not complete, {name}: {row['missing']}."
                if row["missing"] != UNKNOWN
                else f"{name}: {UNKNOWN}."
            )


def _filled(text):
    return textwrap.fill(text, WIDTH)


def _with_error(mean, sem):
    return f"{mean:.3f}" if pd.isna(sem) else f"{mean:.3f} ± {sem:.3f}"


def _aligned(table):
    """Lay out a table of texts, words to the left and numbers to the right."""
    columns = []
    for name, values in table.items():
        width = max(len(str(name)), *(len(value) for value in values))
        left = name in ("estimator", "control", "condition", "verdict")
        columns.append([f"{text:<{width}}" if left else f"{text:>{width}}" for text in [str(name), *values]])
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def format_warning(message, category, filename, lineno, file=None, line=None):
    """Print a warning in one line, without the place in the code that it comes from."""
    print(visible(f"sk-b2s: note: {' '.join(str(message).split())}"), file=sys.stderr, flush=True)

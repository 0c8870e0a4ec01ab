"""Commands of ``sk-b2s`` and their printed output."""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd

from sk_b2s._cli._settings import apply_settings
from sk_b2s._cli._task_options import (
    complete_task_options_of_windows,
    find_task_of_options,
    make_task_options,
)
from sk_b2s._utils._caching import cache_folder
from sk_b2s._utils._text import join_text_items, make_text_visible
from sk_b2s._utils._validation import validate_count
from sk_b2s.datasets._registry import load_dataset
from sk_b2s.decoding._presets import XLSR, make_decoders
from sk_b2s.evaluation._benchmark import run_benchmark
from sk_b2s.evaluation._results._summarize import summarize
from sk_b2s.evaluation._results._table import read_results
from sk_b2s.evaluation._tasks._benchmark_task import (
    describe_benchmark_task_rows,
    run_benchmark_task,
)
from sk_b2s.events._paper_blocks import PaperBlocks
from sk_b2s.features._speech_features import SpeechFeatures
from sk_b2s.model_selection._leakage import check_leakage
from sk_b2s.model_selection._leakage_report import LeakageReportVerdict, format_leakage
from sk_b2s.model_selection._registry import SPLITTERS
from sk_b2s.preprocessing._segments import make_segments
from sk_b2s.reporting._methods import generate_methods_text
from sk_b2s.reporting._report import write_report
from sk_b2s.reporting._scores_text import format_scores, wrap_scores_text

DATASET_OPTIONS = (
    "n_subjects", "minutes", "modality", "snr", "sessions", "artifacts", "data_seed", "root", "subjects", "task",
    "types", "columns", "stimuli", "stimuli_dir", "derivatives", "proc", "desc",
)  # fmt: skip


# --- commands --------------------------------------------------------------------------------------


def run_benchmark_command(args):
    """Fit and score decoders on all folds. Return 1 if a fit failed."""
    results = _run_folds(args)
    print(make_text_visible(f"write an HTML report: sk-b2s report {shlex.quote(args.out)}"))
    return _get_exit_status(results)


def _run_folds(args):
    """Run a benchmark, print its summary, and return its results."""
    validate_count("--shifts", args.shifts, least=0)
    spec = find_task_of_options(args)
    given = {} if args.k is None else {"k": args.k}
    given |= {"n_candidates": args.pool} if hasattr(args, "pool") else {}
    options = make_task_options(spec, args.option, given)
    check_command_arguments(args)
    cv = _make_splitter(args, spec)
    memory = None if args.cache == "none" else args.cache or cache_folder() / "computed"
    estimators = make_decoders(
        args.estimator or ["ridge", "clip-mel"],
        args.size,
        memory,
        args.wav2vec2 or XLSR,
        verbose=int(args.verbose),
    )
    apply_settings(estimators, args.set)
    dataset, X, y = _load_command_windows(args)
    n_folds = _print_plan(args, X, y, cv)
    if args.fold is not None and not 0 <= args.fold < n_folds:
        raise ValueError(f"--fold must be between 0 and {n_folds - 1}. Got {args.fold} instead.")
    _check_features(estimators)
    out = Path(args.out)
    print(make_text_visible(f"results file: {out}\n"), flush=True)
    common = {
        "cv": cv, "path": out, "seeds": args.seeds, "controls": args.controls, "oracle": dataset.oracle,
        "only": args.fold, "n_jobs": args.n_jobs,
        "note": {"command": hide_command_home_folder(args.shown_command)},
    }  # fmt: skip
    if spec is None:
        k, n_candidates = 10 if args.k is None else args.k, getattr(args, "pool", 50)
        settings = {"k": k, "n_candidates": n_candidates, "n_shifts": args.shifts}
        results = run_benchmark(estimators, (X, y), settings=settings, verbose=1, **common)
    else:
        rows = describe_benchmark_task_rows(_list_window_options(args))
        results = run_benchmark_task(
            spec, estimators, (X, y), options=options, n_shifts=args.shifts, rows=rows, **common
        )
    print(make_text_visible(f"\n{format_scores(summarize(results))}\n\nresults: {out}"))
    return results


def hide_command_home_folder(text):
    """Replace the home folder of a command by "~"."""
    return text.replace(str(Path.home()), "~")


def _check_features(estimators):
    """Raise before any fit if speech features are not available."""
    for estimator in estimators.values():
        for part in estimator.get_params().values():
            if isinstance(part, SpeechFeatures):
                part._check_rate()


def _get_exit_status(results):
    return int((results["error"] != "").any())


def run_demo_command(args):
    """Run a short benchmark, and write its report next to its results."""
    print(f"$ {args.shown_command}", flush=True)
    results = _run_folds(args)  # only of this command: the file may hold results of other demos
    _write_page(results, Path(args.out).with_name("report.html"), "Decoding of simulated listening")
    return _get_exit_status(results)


def run_folds_command(args):
    """Print folds, their sizes, and what training and test sets share."""
    complete_task_options_of_windows(args)
    cv = _make_splitter(args)
    _, X, y = _load_command_windows(args)
    _print_plan(args, X, y, cv)
    table = cv.summary(X, y).rename_axis("fold").round(1)
    leakage = check_leakage(X, y, cv)
    tested = [", ".join(map(str, pd.unique(X["subject"].iloc[test]))) for _, test in cv.split(X, y)]
    table["test subjects"] = [text if len(text) < 30 else f"{text[:26]} ..." for text in tested]
    columns = (
        "n_left_out: windows in neither set. train_seconds, test_seconds: duration of distinct stimuli in s."
    )
    print(
        make_text_visible(f"\n{table.to_string()}\n\n{columns}\n{wrap_scores_text(format_leakage(leakage))}")
    )
    if (leakage["verdict"] == LeakageReportVerdict.LEAK).any():
        return 1
    print(make_text_visible(f"fit decoders on these folds: {args.shown_command}"))
    return 0


def run_report_command(args):
    """Print a summary of results files, and write a report and a table."""
    if args.page == "none" and args.stimuli_dir is not None:
        raise ValueError("--stimuli-dir requires an HTML report. Remove --stimuli-dir, or --page none.")
    if args.page == "none" and args.title is not None:
        raise ValueError("--title requires an HTML report. Remove --title, or --page none.")
    results = read_results(args.results, args.conflicts)
    print(make_text_visible(format_scores(summarize(results))))
    paragraphs = map(wrap_scores_text, generate_methods_text(results).split("\n\n"))
    print("\n" + "\n\n".join(paragraphs) + "\n")
    if args.csv:
        Path(args.csv).parent.mkdir(parents=True, exist_ok=True)
        results.drop(columns="details").to_csv(args.csv, index=False)
        print(f"table of {len(results)} rows: {args.csv}")
    if args.page != "none":
        _write_page(results, args.page, args.title, args.stimuli_dir)
    return _get_exit_status(results)


# --- data, splitter, report ------------------------------------------------------------------------


def make_splitter_of_command(name, folds=None, gap=None):
    """Make a splitter by its name.

    Parameters
    ----------
    name : str
        Key of ``SPLITTERS``.
    folds : int, "none" or None, default=None
        Number of stimulus folds. If "none", all stimuli stay in the training
        set. If None, the default of the splitter.
    gap : float or None, default=None
        Seconds of stimulus between training and test set. If None, the
        default of the splitter.

    Returns
    -------
    cv : splitter

    Raises
    ------
    ValueError
        If the splitter has no such parameter.
    """
    spec, params = SPLITTERS[name], {}
    if gap is not None:
        params["gap"] = gap
    if folds is not None:
        params[str(spec.folds_parameter)] = None if folds == "none" else folds
    if params and spec.folds_parameter is None:
        raise ValueError(f"--cv {name} makes the one published fold. Remove --folds and --gap.")
    if folds == "none" and spec.folds_parameter == "n_splits":
        raise ValueError(f"--cv {name} must split the stimuli. Remove --folds none, or use another --cv.")
    return spec.load()(**params)


def _list_window_options(args):
    """Return the parameters of windows, without those that are defaults."""
    anchor = args.anchor[0] if len(args.anchor) == 1 else join_text_items(list(map(str, args.anchor)), "and")
    defaults = {"margin": 0.5, "block": 20.0, "stream": None}
    others = {name: getattr(args, name) for name, value in defaults.items() if getattr(args, name) != value}
    return {"anchor": anchor, "tmin": args.tmin, "tmax": args.tmax, **others}


def check_command_arguments(args):
    """Raise if an option was given that nothing uses."""
    if args.wav2vec2 is not None and "clip-wav2vec2" not in (args.estimator or []):
        raise ValueError(
            "--wav2vec2 requires --estimator clip-wav2vec2. Add this decoder, or remove --wav2vec2."
        )
    if args.cache not in (None, "none") and Path(args.cache).is_file():
        raise ValueError(f"--cache must be a folder, or none. Got the file {args.cache!r} instead.")


def _get_given_options(args, *names):
    """Return the options that were given, as a dict."""
    return {name: getattr(args, name) for name in names if hasattr(args, name)}


def _make_splitter(args, spec=None):
    """Make the splitter of the options, or the default one of a task."""
    if spec is not None and args.cv is None and args.folds is None and args.gap is None:
        return spec.make_splitter()
    if spec is not None and args.cv is None:
        names = {splitter.load(): name for name, splitter in SPLITTERS.items()}
        args.cv = names[spec.make_splitter]
    args.cv = args.cv or "loso"
    return make_splitter_of_command(args.cv, args.folds, args.gap)


def _write_page(results, path, title=None, stimuli=None):
    try:
        print(make_text_visible(f"HTML report: {write_report(results, path, title, stimuli=stimuli)}"))
    except ModuleNotFoundError as error:
        raise ImportError(
            f"The HTML report requires {error.name}. Install it by pip install 'sk_b2s[plot]', or use --page none."
        ) from error


def _load_command_windows(args):
    """Load a data set and cut its windows: Dataset, X and y."""
    options = _get_given_options(args, *DATASET_OPTIONS)
    if len(args.anchor) > 1 and args.cv != "hashed":
        raise ValueError(
            "Several anchors require --cv hashed, which trains on a regular grid and tests at word onsets. "
            "Use one --anchor, or --cv hashed."
        )
    block = PaperBlocks() if args.cv == "hashed" else args.block
    window = {"tmin": args.tmin, "tmax": args.tmax, "margin": args.margin, "stream": args.stream}
    try:
        dataset = load_dataset(args.dataset, **options)
        parts = [make_segments(dataset.events, anchor, block=block, **window) for anchor in args.anchor]
    except ValueError as error:
        if (
            str(error).startswith("events ")
            and Path(args.dataset).exists()
            and args.dataset not in str(error)
        ):
            raise ValueError(f"{args.dataset}: {error}") from error
        raise
    X, y = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    return dataset, X, y


def _print_plan(args, X, y, cv):
    """Print the size of the data, and return the number of folds."""
    n_subjects, n_folds = X["subject"].nunique(), cv.get_n_splits(X, y)
    text = (
        f"{args.dataset}: {len(X):,} windows of {n_subjects} subject{'s' * (n_subjects != 1)}, "
        f"{y['segment'].nunique():,} distinct segments\n"
        f"{n_folds} fold{'s' * (n_folds > 1)}: {cv.guarantee}"
    )
    print(make_text_visible(text), flush=True)
    return n_folds

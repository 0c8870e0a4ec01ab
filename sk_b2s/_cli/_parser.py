"""Command line of ``sk-b2s`` and ``python -m sk_b2s``."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import shutil
import signal
import sys
import traceback
import warnings
from contextlib import contextmanager

from sk_b2s._cli._commands import SPLITTERS, format_warning, run_benchmark, run_demo, run_folds, run_report
from sk_b2s._cli._waiting import restart_with_passive_waiting
from sk_b2s._utils._text import visible
from sk_b2s._utils._versions import get_versions
from sk_b2s.datasets._registry import DATASETS
from sk_b2s.decoding._presets import PRESETS, SIZES, XLSR

MISTAKES = (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError)
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it
DEBUG = "SK_B2S_DEBUG"
TRAINING = {"benchmark", "demo"}  # commands
DEMO = {
    "dataset": "listening", "people": 4, "minutes": 10.0, "kind": "meg", "snr": -12.0, "tmax": 2.5,
    "cv": "stimulus", "fold": 0,
    "out": "demo_output/results.jsonl",
}  # fmt: skip


class Interrupted(BaseException):
    """Ctrl-C. Not KeyboardInterrupt, at which skorch ends the training and goes on as if it were whole."""


def run():
    """Run the command of this process; those that train wait passively for their threads."""
    if TRAINING & set(sys.argv[1:2]):
        restart_with_passive_waiting(sys.argv[1:])
    return main()


def main(argv=None):
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, default=None
        Its arguments, by default those of the process.

    Returns
    -------
    status : int
        0, 1 after a mistake of the user's or if a fit failed, 130 after Ctrl-C. Wrong usage leaves by
        ``SystemExit(2)``, as argparse does.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    args = make_parser().parse_args(argv)
    if args.run is run_demo:
        args.command = _demo_command(args, argv[1:])
    _behave_in_a_log()
    try:
        with _interruptible(), warnings.catch_warnings():
            warnings.showwarning = format_warning
            return args.run(args)
    except (Interrupted, KeyboardInterrupt):
        goes_on = f"; what is done is in {args.out}, and the same command goes on from there" * hasattr(
            args, "out"
        )
        print(f"\nsk-b2s: interrupted{goes_on}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MISTAKES as error:
        if args.debug or os.environ.get(DEBUG, "0") not in ("", "0"):
            traceback.print_exc()
        else:
            print(
                visible(f"sk-b2s: error: {' '.join(str(error).split()) or type(error).__name__}"),
                file=sys.stderr,
            )
        return 1


def _behave_in_a_log():
    """Write each line when it is there, in letters that the log can hold, and without bars that overwrite it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="replace")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def _interruptible():
    """Let Ctrl-C raise what no library takes for its own."""

    def stop(number, frame):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends it at once
        raise Interrupted

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# --- what can be said --------------------------------------------------------------------------------


def make_parser():
    """Make the parser of all commands.

    Returns
    -------
    parser : argparse.ArgumentParser
    """
    parser = _Parser(
        prog="sk-b2s",
        description="Read heard speech from the brain: which of these segments did this person hear?",
        epilog=(
            "examples:\n"
            "  sk-b2s demo                                        four simulated listeners, in some minutes\n"
            "  sk-b2s folds listening --folds 2                   what would be trained and tested on\n"
            "  sk-b2s benchmark listening --people 8 --folds 2 --estimator ridge,clip-mel --jobs 2\n"
            "  sk-b2s report results.jsonl                        the table, and a page to look at\n\n"
            "exit status: 0, 1 if something was wrong or a fit failed, 2 for wrong usage, 130 after Ctrl-C.\n"
            "sk-b2s COMMAND --help tells the rest."
        ),
    )
    parser.add_argument("--version", action="version", version=_versions())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_demo(commands)
    _add_benchmark(commands)
    _add_folds(commands)
    _add_report(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose help keeps its lines, and that guesses no options."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **kwargs)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help in two columns, the first of which holds most options."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=30, width=min(110, shutil.get_terminal_size().columns - 2))


def _versions():
    versions = get_versions()
    others = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "sklearn", "mne"))
    return f"sk-b2s {versions['sk_b2s']} ({others})"


def _add_demo(commands):
    parser = commands.add_parser(
        "demo",
        usage="sk-b2s demo [options]",
        help="decode four simulated listeners and write a page about it",
        description=(
            "Write the recordings of four simulated people who listen to ten minutes of a story, decode them by ridge\n"
            "regression and by the contrastive network, and write a page of their scores and controls. This is\n\n"
            f"  {_demo_command()}\n\nwith a page beside the results, and takes the same options."
        ),
    )
    _add_options(parser)
    for action in parser._actions:
        if action.dest in DEMO:
            about = re.sub(r"(^|[ (]+)default: .*", "", str(action.help))
            action.help = f"{about} (default: {_plain(DEMO[action.dest])})".lstrip()
    parser.set_defaults(run=run_demo, **DEMO)


def _demo_command(args=None, argv=()):
    """Say the benchmark that a demo is: its own options but for those that were given, and those."""
    own = {name: value for name, value in DEMO.items() if name != "dataset"}
    if args is not None:
        own = {name: value for name, value in own.items() if getattr(args, name) == value}
    told = [f"--{name} {_plain(value)}" for name, value in own.items()]
    return " ".join(["sk-b2s benchmark", DEMO["dataset"], *told, *map(shlex.quote, argv)])


def _plain(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def _add_benchmark(commands):
    parser = commands.add_parser(
        "benchmark",
        usage="sk-b2s benchmark DATASET [options]",
        help="fit and score decoders on all folds, beside their controls",
        description=(
            "Fit and score decoders on all folds of an experiment, each beside its controls. Every result is written\n"
            "as soon as it is there: a command that was killed goes on where it was if it is given again, and several\n"
            "may share a file and the work.\n\n" + _told_datasets()
        ),
        epilog=(
            _told_decoders() + "\n\nexamples:\n"
            "  sk-b2s benchmark listening --kind eeg --people 8 --minutes 20 --cv loso --folds 2\n"
            "  sk-b2s benchmark study/events.tsv --cv stimulus --estimator ridge,clip-deepmel --seeds 0,1,2\n"
            "  sk-b2s benchmark study/ --size paper --estimator clip-wav2vec2 --wav2vec2 models/xlsr-53\n"
            "  sk-b2s benchmark listening --set encoder__hidden=128 --set clip-mel:encoder__loss=siglip\n\n"
            "an array of jobs, a fold each, whose files `sk-b2s report results/` joins:\n"
            "  sk-b2s benchmark study/ --cv loso --fold $SLURM_ARRAY_TASK_ID --out results/$SLURM_ARRAY_TASK_ID.jsonl"
        ),
    )
    parser.add_argument("dataset", metavar="DATASET", help="name of an experiment, or a table of events")
    _add_options(parser)
    parser.set_defaults(run=run_benchmark)


def _add_folds(commands):
    parser = commands.add_parser(
        "folds",
        usage="sk-b2s folds DATASET [options]",
        help="show the folds of a splitter, and what training and test have in common",
        description=(
            "Show the folds that a benchmark would have, their sizes, and what training and test have in common.\n"
            "Nothing is fitted; the exit status is 1 if test sound is in training.\n\n" + _told_datasets()
        ),
        epilog="example:\n  sk-b2s folds listening --people 8 --cv loso --folds 2",
    )
    parser.add_argument("dataset", metavar="DATASET", help="name of an experiment, or a table of events")
    _add_experiment(parser)
    _add_split(parser)
    _add_debug(parser)
    parser.set_defaults(run=run_folds)


def _add_report(commands):
    parser = commands.add_parser(
        "report",
        help="sum up results and write a page to look at",
        description=(
            "Sum up the results of one benchmark, or of several jobs: the scores, a paragraph for one's methods, and\n"
            "a page of pictures that opens offline."
        ),
        epilog=(
            "examples:\n"
            "  sk-b2s report listening.jsonl\n"
            "  sk-b2s report job-0.jsonl job-1.jsonl --csv scores.csv\n"
            "  sk-b2s report results/"
        ),
    )
    parser.add_argument("results", metavar="RESULTS", nargs="+", help="files, or folders of *.jsonl")
    parser.add_argument(
        "--page", metavar="FILE", default="report.html", help="or none (default: report.html)"
    )
    parser.add_argument("--title", help="of the page")
    parser.add_argument("--csv", metavar="FILE", help="write the whole table there, a row for each score")
    parser.add_argument(
        "--conflicts", choices=["raise", "last"], default="raise",
        help="where results disagree because something was changed under the same name: stop, or take the last",
    )  # fmt: skip
    _add_debug(parser)
    parser.set_defaults(run=run_report)


# --- options -----------------------------------------------------------------------------------------


def _add_options(parser):
    """Add the options of a benchmark."""
    _add_experiment(parser)
    _add_split(parser)
    group = parser.add_argument_group("decoders")
    group.add_argument(
        "--estimator", metavar="NAME", action="extend", type=_names(PRESETS),
        help=f"{', '.join(PRESETS)}; several by commas or by repeating it (default: ridge,clip-mel)",
    )  # fmt: skip
    group.add_argument(
        "--size",
        choices=list(SIZES),
        default="small",
        help="rates and widths, for a laptop or as published (default: small)",
    )
    group.add_argument(
        "--wav2vec2",
        metavar="NAME_OR_FOLDER",
        default=XLSR,
        help=f"network of clip-wav2vec2 (default: {XLSR})",
    )
    group.add_argument(
        "--set", metavar="[NAME:]PARAMETER=VALUE", action="append", default=[],
        help="a parameter of a pipeline, of all that have it or of one: encoder__lr=1e-4, epochs__lag=0.2",
    )  # fmt: skip
    group.add_argument(
        "--seeds", metavar="I", type=_integers, default=[0], help="random seeds, 0,1,2 say (default: 0)"
    )
    group = parser.add_argument_group("scores")
    group.add_argument("--k", type=int, default=10, help="null and verdict are those of top-k (default: 10)")
    group.add_argument(
        "--pool", metavar="N", type=_count_or_none, default=50,
        help="candidates of the pools scored beside all candidates, or none (default: 50)",
    )  # fmt: skip
    group.add_argument(
        "--shifts", metavar="N", type=int, default=1000, help="of which a null is made (default: 1000)"
    )
    group.add_argument(
        "--controls", metavar="NAMES", type=_all_or_none, default=True,
        help="all, none, or names by commas, such as 'surrogate,shifted pairing' (default: all)",
    )  # fmt: skip
    group = parser.add_argument_group("running")
    group.add_argument(
        "--out", metavar="FILE", default="results.jsonl", help="file of results (default: results.jsonl)"
    )
    group.add_argument("--jobs", metavar="N", type=int, help="fits at once (default: 1)")
    group.add_argument(
        "--cache", metavar="FOLDER",
        help="for processed recordings and features of sounds, or none (default: $SK_B2S_CACHE or the user's cache)",
    )  # fmt: skip
    group.add_argument("--verbose", action="store_true", help="a line for each epoch of a network")
    _add_debug(group)


def _add_experiment(parser):
    group = parser.add_argument_group("the simulated experiment 'listening'")
    missing = {"default": argparse.SUPPRESS}
    group.add_argument("--people", metavar="N", type=int, help="how many listen (default: 4)", **missing)
    group.add_argument(
        "--minutes", metavar="M", type=_float_or_all, help="of speech, or all (default: 10)", **missing
    )
    group.add_argument("--kind", choices=["meg", "eeg"], help="of sensors (default: meg)", **missing)
    group.add_argument(
        "--snr", metavar="DB", type=float, help="default: that of real recordings, -18 or -22", **missing
    )
    group.add_argument(
        "--sessions", metavar="N", type=int, help="how often all is heard (default: 1)", **missing
    )
    group.add_argument(
        "--artifacts",
        metavar="NAMES",
        type=_all_or_none,
        help="all, none, or names (default: all)",
        **missing,
    )
    group.add_argument("--data-seed", metavar="I", type=int, help="of the simulation (default: 0)", **missing)
    group = parser.add_argument_group("a study of the paper, or a BIDS folder")
    group.add_argument("--root", metavar="FOLDER", help="where the study's files are", **missing)
    group.add_argument("--task", metavar="NAME", help="of a BIDS folder with several", **missing)
    group.add_argument(
        "--subjects",
        metavar="NAMES",
        type=lambda text: text.split(","),
        help="such as 01,02 (default: all)",
        **missing,
    )
    group = parser.add_argument_group("segments")
    group.add_argument(
        "--anchor", metavar="WHERE", type=_anchors, default=["word"],
        help="a window at each word, or each so many seconds of sound; 0.5,word with --cv hashed (default: word)",
    )  # fmt: skip
    group.add_argument(
        "--tmin", metavar="S", type=float, default=-0.5, help="start of a window (default: -0.5)"
    )
    group.add_argument("--tmax", metavar="S", type=float, default=2.35, help="its end (default: 2.35)")
    group.add_argument(
        "--margin", metavar="S", type=float, default=0.5, help="kept from a recording's ends (default: 0.5)"
    )
    group.add_argument(
        "--block", metavar="S", type=float, default=20.0, help="least sound split as one (default: 20)"
    )
    group.add_argument("--stream", metavar="NAME", help="take only this one of several talkers")


def _add_split(parser):
    group = parser.add_argument_group("folds")
    group.add_argument(
        "--cv", choices=list(SPLITTERS), default="loso",
        help="leave out people and sound (loso), sound, sessions or studies, or the published split (default: loso)",
    )  # fmt: skip
    group.add_argument(
        "--folds", metavar="N", type=_folds, help="of the sound, or none: the sound stays in training"
    )
    group.add_argument(
        "--gap", metavar="S", type=float, help="of sound between training and test (default: 1)"
    )
    if parser.prog.split()[-1] != "folds":
        group.add_argument("--fold", metavar="I", type=int, help="run this one alone, counted from 0")


def _add_debug(parser):
    parser.add_argument(
        "--debug", action="store_true", help=f"show where an error comes from; so does {DEBUG}=1"
    )


# --- texts to values ---------------------------------------------------------------------------------


def _names(known):
    def names(text):
        for name in (found := text.split(",")):
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"
                raise argparse.ArgumentTypeError(f"there is no {name!r}: {hint}")
        return found

    return names


def _integers(text):
    return [int(part) for part in text.split(",")]


def _anchors(text):
    return [part if part == "word" else float(part) for part in text.split(",")]


def _folds(text):
    return text if text == "none" else int(text)


def _count_or_none(text):
    return None if text == "none" else int(text)


def _float_or_all(text):
    return None if text == "all" else float(text)


def _all_or_none(text):
    return {"all": True, "none": False}.get(text) if text in ("all", "none") else text.split(",")


# --- texts of the help -------------------------------------------------------------------------------


def _told_datasets():
    lines = [f"  {name:<12} {(load.__doc__ or '').splitlines()[0]}" for name, load in DATASETS.items()]
    return "\n".join([
        "DATASET is one of", *lines,
        "  FILE, FOLDER a table of events (.tsv, .csv, .json), or the folder that holds it as events.tsv; its columns",
        "               are those of sk_b2s.check_events, with paths of recordings and sounds relative to it.",
    ])  # fmt: skip


def _told_decoders():
    return "\n".join(["decoders:", *(f"  {name:<14} {recipe.summary}" for name, recipe in PRESETS.items())])

"""Argument parser and entry point of ``sk-b2s`` and ``python -m sk_b2s``.

Nothing heavy is imported here: help, version and usage errors need neither
torch nor MNE. The commands are imported when one runs.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import signal
import sys
import textwrap
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

from sk_b2s._cli._options import (
    DEBUG,
    add_data_options,
    add_dataset_option,
    add_debug_option,
    add_listen_options,
    add_live_options,
    add_options,
    add_split_options,
    list_datasets_in_cli_options,
    list_decoders_in_cli_options,
    list_tasks_in_cli_options,
)  # fmt: skip

USER_ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError)
INTERRUPTED = 130  # exit status after Ctrl-C in a shell: 128 + SIGINT
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
WAIT_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # if the user has set one, it is kept
TRAINING = {"benchmark", "demo"}  # commands that train
DEMO = {
    "dataset": "listening", "n_subjects": 4, "minutes": 10.0, "modality": "meg", "snr": -12.0, "tmax": 2.5,
    "cv": "stimulus", "fold": 0, "estimator": ["ridge", "likelihood", "clip-mel", "ensemble"],
    "controls": ["phase_randomized", "oracle"], "n_jobs": 2, "out": "demo_output/results.jsonl",
}  # fmt: skip


class CommandInterrupted(BaseException):
    """Ctrl-C. Skorch catches KeyboardInterrupt and keeps a partial network."""


# --- entry point -----------------------------------------------------------------------------------


def run():
    """Run the command of this process, training with passive waiting."""
    if TRAINING & set(sys.argv[1:2]):
        restart_cli_with_passive_waiting(sys.argv[1:])
    return main()


def restart_cli_with_passive_waiting(argv):
    """Replace this process by one whose OpenMP threads sleep while they wait.

    OpenMP reads its policy once, when torch loads it, which is before any
    module of this package can set it. The process keeps its id, files and
    arguments. Nothing happens outside Linux, where torch has another OpenMP,
    if the user has set a policy, or if the process is not the command line.

    Parameters
    ----------
    argv : sequence of str
        Arguments of the command line, the last ones of the process.
    """
    argv = list(argv)
    before = sys.orig_argv[: len(sys.orig_argv) - len(argv)]
    is_program = sys.orig_argv[len(before) :] == argv and (
        before[-2:] == ["-m", "sk_b2s"] or (len(before) > 1 and Path(before[-1]).name == "sk-b2s")
    )
    if sys.platform != "linux" or not is_program or any(name in os.environ for name in WAIT_SETTINGS):
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **PASSIVE})


def main(argv=None):
    """Parse arguments and run a command.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments. If None, those of the process.

    Returns
    -------
    status : int
        0, 1 after an error or if a fit failed, 130 after Ctrl-C. Usage errors
        raise ``SystemExit(2)``, as in argparse.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    args = make_parser().parse_args(argv)
    if args.command == "demo":
        args.estimator = args.estimator or DEMO["estimator"]  # names of the user would be added to a default
        if args.tmax is None and args.question is None:  # a task has windows of its own
            args.tmax = DEMO["tmax"]
        args.shown_command = _format_demo_command(args, argv[1:])
    _configure_streams()
    try:
        with _interruptible(), warnings.catch_warnings():
            commands = importlib.import_module("sk_b2s._cli._commands")
            warnings.showwarning = commands.print_command_warning
            if args.command in ("live", "listen"):
                commands = importlib.import_module(f"sk_b2s._cli._{args.command}")
            return getattr(commands, f"run_{args.command}_command")(args)
    except (CommandInterrupted, KeyboardInterrupt):
        hint = f". Finished results are in {args.out}. Run the same command to continue." * hasattr(
            args, "out"
        )
        print(f"\nsk-b2s: interrupted{hint}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has closed it, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except USER_ERRORS as error:
        if args.debug or os.environ.get(DEBUG, "0") not in ("", "0"):
            traceback.print_exc()
        else:
            _print_error(error)
        return 1


def _print_error(error):
    """Print an error in one line."""
    from sk_b2s._utils._text import make_text_visible

    text = " ".join(str(error).split()) or type(error).__name__
    print(make_text_visible(f"sk-b2s: error: {text}"), file=sys.stderr)


def _configure_streams():
    """Write whole lines that any encoding can hold, without progress bars."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="replace")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def _interruptible():
    """Raise `CommandInterrupted` on Ctrl-C, which no library catches."""

    def stop(number, frame):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the process at once
        raise CommandInterrupted

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# --- commands --------------------------------------------------------------------------------------


def make_parser():
    """Make the argument parser of all commands."""
    parser = _Parser(
        prog="sk-b2s",
        description="Decode from EEG or MEG which segment of speech was presented.",
        epilog=(
            "examples:\n"
            "  sk-b2s demo                          four simulated subjects, in a few minutes\n"
            "  sk-b2s folds listening --folds 2     show training and test sets without fitting\n"
            "  sk-b2s benchmark listening --n-subjects 8 --folds 2 --estimator ridge,clip-mel --n-jobs 2\n"
            "  sk-b2s report results.jsonl          the score table and an HTML report\n\n"
            "exit status: 0, 1 after an error or if a fit failed, 2 for wrong usage, 130 after Ctrl-C.\n"
            "Run 'sk-b2s COMMAND --help' for details."
        ),
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show versions and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_demo(commands)
    _add_benchmark(commands)
    _add_folds(commands)
    _add_report(commands)
    _add_live(commands)
    _add_listen(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """Parser without abbreviations. ``listing`` makes a text for the help."""

    def __init__(self, *, listing=None, **kwargs):
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **kwargs)
        self.listing = listing

    def format_help(self):
        if self.listing is not None:
            self.description, self.listing = f"{self.description}\n\n{self.listing()}", None
        return super().format_help()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help in two columns, wide enough for most options."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=30, width=min(110, shutil.get_terminal_size().columns - 2))


class _ShowVersion(argparse.Action):
    """Print versions of installed packages without importing them."""

    def __call__(self, parser, namespace, values, option_string=None):
        others = {name: importlib.metadata.version(name) for name in ("torch", "scikit-learn", "mne")}
        texts = [
            f"{name} {version}" for name, version in {"python": platform.python_version(), **others}.items()
        ]
        print(f"sk-b2s {importlib.import_module('sk_b2s').__version__} ({', '.join(texts)})")
        parser.exit()


def _add_demo(commands):
    parser = commands.add_parser(
        "demo",
        usage="sk-b2s demo [options]",
        help="decode four simulated subjects and write a report",
        description=(
            "Simulate recordings of four subjects who listen to ten minutes of a story, decode them by ridge\n"
            "regression, likelihood, network and ensemble, and write a report of scores and controls. This runs\n\n"
            f"{_wrap_command(_format_demo_command())}\n\nand writes the report next to the results. Options are the same."
        ),
    )
    add_options(parser)
    for action in parser._actions:
        if action.dest in DEMO:
            text = re.sub(r"(^|[ (]+)default: .*", "", str(action.help))
            action.help = f"{text} (default: {_format_value(DEMO[action.dest])})".lstrip()
    parser.set_defaults(command="demo", **{**DEMO, "estimator": None, "tmax": None})


def _format_demo_command(args=None, argv=()):
    """Format the benchmark command of a demo: its defaults, then options."""
    defaults = {name: value for name, value in DEMO.items() if name != "dataset"}
    if args is not None:
        defaults = {name: value for name, value in defaults.items() if getattr(args, name) == value}
    options = [f"--{name.replace('_', '-')} {_format_value(value)}" for name, value in defaults.items()]
    return " ".join(["sk-b2s benchmark", DEMO["dataset"], *options, *map(shlex.quote, argv)])


def _wrap_command(text):
    """Break a command into lines of the help that can be pasted."""
    lines = textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
    return " \\\n".join(f"  {line}" for line in lines)


def _format_value(value):
    if isinstance(value, list):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _add_benchmark(commands):
    parser = commands.add_parser(
        "benchmark",
        usage="sk-b2s benchmark DATASET [options]",
        help="fit and score decoders and their controls on all folds",
        description=(
            "Fit and score decoders and their controls on all folds of a data set. Each result is written as soon\n"
            "as it is computed. After an interruption, run the same command to continue. Several processes may\n"
            "write to the same file and share the work."
        ),
        listing=list_tasks_in_cli_options,
        epilog=(
            list_decoders_in_cli_options() + "\n\nexamples:\n"
            "  sk-b2s benchmark listening --modality eeg --n-subjects 8 --minutes 20 --cv loso --folds 2\n"
            "  sk-b2s benchmark study/events.tsv --question word --option n_words=100\n"
            "  sk-b2s benchmark study/events.tsv --cv stimulus --estimator ridge,clip-deepmel --seeds 0,1,2\n"
            "  sk-b2s benchmark study/ --size paper --estimator clip-wav2vec2 --wav2vec2 models/xlsr-53\n"
            "  sk-b2s benchmark listening --set encoder__hidden=128 --set clip-mel:encoder__loss=siglip\n\n"
            "one fold per job of a job array; 'sk-b2s report results/' joins the files:\n"
            "  sk-b2s benchmark study/ --cv loso --fold $SLURM_ARRAY_TASK_ID --out results/$SLURM_ARRAY_TASK_ID.jsonl"
        ),
    )
    add_dataset_option(parser)
    add_options(parser)
    parser.set_defaults(command="benchmark")


def _add_folds(commands):
    parser = commands.add_parser(
        "folds",
        usage="sk-b2s folds DATASET [options]",
        help="show the folds of a splitter and check them for leakage",
        description=(
            "Show the folds of a benchmark, their sizes, and what training and test sets share. Nothing is fitted.\n"
            "The exit status is 1 if test stimuli are also in the training set."
        ),
        listing=list_datasets_in_cli_options,
        epilog="example:\n  sk-b2s folds listening --n-subjects 8 --cv loso --folds 2",
    )
    add_dataset_option(parser)
    add_data_options(parser)
    add_split_options(parser)
    add_debug_option(parser)
    parser.set_defaults(command="folds")


def _add_report(commands):
    parser = commands.add_parser(
        "report",
        help="summarize results and write an HTML report",
        description=(
            "Summarize the results of one benchmark or of several jobs: print the scores and a paragraph for a\n"
            "methods section, and write an HTML report with figures, which opens offline."
        ),
        epilog=(
            "examples:\n"
            "  sk-b2s report listening.jsonl\n"
            "  sk-b2s report job-0.jsonl job-1.jsonl --csv scores.csv\n"
            "  sk-b2s report results/"
        ),
    )
    parser.add_argument("results", metavar="RESULTS", nargs="+", help="files, or folders with *.jsonl files")
    parser.add_argument(
        "--page", metavar="FILE", default="report.html", help="HTML file, or none (default: report.html)"
    )
    parser.add_argument("--title", help="title of the HTML report")
    parser.add_argument("--csv", metavar="FILE", help="also write all scores to this CSV file")
    parser.add_argument(
        "--conflicts", choices=["raise", "last"], default="raise",
        help="if files hold different results of the same fit: stop, or take the last (default: raise)",
    )  # fmt: skip
    add_debug_option(parser)
    parser.set_defaults(command="report")


def _add_live(commands):
    parser = commands.add_parser(
        "live",
        usage="sk-b2s live --model FILE --candidates NAME=SOUND ... (--stream NAME | --replay RECORDING) [options]",
        help="decode a stream or a replayed recording while it runs",
        description=(
            "Decode which candidate is presented from an LSL stream or a replayed recording. Probabilities are\n"
            "shown in the terminal and on a page of this machine, and written to a file."
        ),
        epilog=(
            "examples:\n"
            "  sk-b2s live --model causal.safetensors --candidates a=a.wav b=b.wav --stream EEG --onset 10\n"
            "  sk-b2s live --model causal.safetensors --candidates a=a.wav b=b.wav --replay raw.fif --no-lsl --truth a"
        ),
    )
    add_live_options(parser)
    parser.set_defaults(command="live")


def _add_listen(commands):
    parser = commands.add_parser(
        "listen",
        usage="sk-b2s listen RECORDING --model FILE [options]",
        help="write audio and a page of speech reconstructed from a recording",
        description=(
            "Reconstruct the speech of a recording, and write audio and an HTML page with players. If the stimulus\n"
            "is known, the page has scores, controls and a verdict. Audio alone is not evidence of decoding."
        ),
        epilog=(
            "examples:\n"
            "  sk-b2s listen raw.fif --model reconstructor.safetensors\n"
            "  sk-b2s listen raw.fif --model reconstructor.safetensors --sound story.wav --onset 12.5"
        ),
    )
    add_listen_options(parser)
    parser.set_defaults(command="listen")

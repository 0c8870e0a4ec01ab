"""Argument parser of ``sk-b2s`` and ``python -m sk_b2s``.

Nothing heavy is imported here: help, version and usage errors need neither
torch nor MNE. The commands are imported when one runs.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import platform
import re
import shlex
import shutil
import textwrap

from sk_b2s._cli._options import (
    add_data_options,
    add_dataset_option,
    add_debug_option,
    add_live_options,
    add_options,
    add_reconstruction_options,
    add_split_options,
    list_datasets_in_cli_options,
    list_decoders_in_cli_options,
    list_questions_in_cli_options,
)  # fmt: skip

DEMO = {
    "dataset": "listening", "n_subjects": 4, "minutes": 10.0, "modality": "meg", "snr": -12.0, "tmax": 2.5,
    "cv": "stimulus", "fold": 0, "estimator": ["ridge", "likelihood", "clip-mel", "ensemble"],
    "controls": ["phase_randomized", "oracle"], "n_jobs": 2, "out": "demo_output/results.jsonl",
}  # fmt: skip


def make_parser():
    """Make the argument parser of all commands."""
    parser = _CommandParser(
        prog="sk-b2s",
        description="Decode from EEG or MEG which segment of speech was presented.",
        epilog=(
            "examples:\n"
            "  sk-b2s demo                          four simulated subjects, in a few minutes\n"
            "  sk-b2s folds listening --folds 2     show training and test sets without fitting\n"
            "  sk-b2s benchmark listening --n-subjects 8 --folds 2 --estimator ridge,clip-mel --n-jobs 2\n"
            "  sk-b2s benchmark BIDS_FOLDER --task story --folds 2 --estimator ridge\n"
            "  sk-b2s report results.jsonl          the score table and an HTML report\n\n"
            "exit status: 0, 1 after an error or if a fit failed, 2 for wrong usage, 130 after Ctrl-C.\n"
            "Run 'sk-b2s COMMAND --help' for details."
        ),
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show versions and exit")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_CommandParser
    )
    _add_demo(commands)
    _add_benchmark(commands)
    _add_folds(commands)
    _add_report(commands)
    _add_live(commands)
    _add_listen(commands)
    return parser


class _CommandParser(argparse.ArgumentParser):
    """Parser without abbreviations. ``listing`` makes a text for the help."""

    def __init__(self, *, listing=None, **kwargs):
        super().__init__(formatter_class=_HelpFormatter, allow_abbrev=False, **kwargs)
        self.listing = listing

    def format_help(self):
        if self.listing is not None:
            self.description, self.listing = f"{self.description}\n\n{self.listing()}", None
        return super().format_help()


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
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
            f"{_wrap_command(format_demo_command_of_parser())}\n\nand writes the report next to the results. Options are the same."
        ),
    )
    add_options(parser)
    for action in parser._actions:
        if action.dest in DEMO:
            text = re.sub(r"(^|[ (]+)default: .*", "", str(action.help))
            action.help = f"{text} (default: {_format_option_value(DEMO[action.dest])})".lstrip()
    parser.set_defaults(command="demo", **{**DEMO, "estimator": None, "tmax": None})


def format_demo_command_of_parser(args=None, argv=()):
    """Format the benchmark command of a demo: its defaults, then options."""
    defaults = {name: value for name, value in DEMO.items() if name != "dataset"}
    if args is not None:
        defaults = {name: value for name, value in defaults.items() if getattr(args, name) == value}
    options = [
        f"--{name.replace('_', '-')} {_format_option_value(value)}" for name, value in defaults.items()
    ]
    return " ".join(["sk-b2s benchmark", DEMO["dataset"], *options, *map(shlex.quote, argv)])


def _wrap_command(text):
    """Break a command into lines of the help that can be pasted."""
    lines = textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
    return " \\\n".join(f"  {line}" for line in lines)


def _format_option_value(value):
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
        listing=list_questions_in_cli_options,
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
    parser.add_argument(
        "--stimuli-dir", metavar="FOLDER", action="append",
        help="folder with the audio files of the stimuli, to embed short clips; may be repeated",
    )  # fmt: skip
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
        usage="sk-b2s live --model FILE --candidates NAME=FILE ... (--stream NAME | --replay RECORDING) [options]",
        help="decode a stream or a replayed recording while it runs",
        description=(
            "Decode which candidate is presented from an LSL stream or a replayed recording. Probabilities are\n"
            "shown in the terminal and on a page of this machine, and written to a file."
        ),
        epilog=(
            "Fit and save a pipeline with Epocher(causal=True) in Python: sk_b2s.save(pipeline, 'causal.safetensors').\n"
            "See the chapter 'Decoding while the recording runs' of the guide.\n\n"
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
            "Fit and save a SpeechReconstructor in Python: sk_b2s.save(reconstructor, 'reconstructor.safetensors').\n"
            "See the chapter 'Audio from EEG/MEG' of the guide.\n\n"
            "examples:\n"
            "  sk-b2s listen raw.fif --model reconstructor.safetensors\n"
            "  sk-b2s listen raw.fif --model reconstructor.safetensors --sound story.wav --onset 12.5"
        ),
    )
    add_reconstruction_options(parser)
    parser.set_defaults(command="listen")

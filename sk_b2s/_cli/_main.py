"""Entry point of ``sk-b2s`` and ``python -m sk_b2s``.

Nothing heavy is imported here: help, version and usage errors need neither
torch nor MNE. The commands are imported when one runs.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import signal
import sys
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

from sk_b2s._cli._options import DEBUG
from sk_b2s._cli._parser import DEMO, format_demo_command_of_parser, make_parser
from sk_b2s._utils._text import make_text_visible
from sk_b2s.model_selection._registry import SPLITTERS

USER_ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError)
INTERRUPTED = 130  # exit status after Ctrl-C in a shell: 128 + SIGINT
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
WAIT_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # if the user has set one, it is kept
OTHER_NAMES = {  # of parameters in Python, by option
    "folds": ("stimulus_folds", "n_splits"), "shifts": ("n_shifts",), "pool": ("n_candidates",), "fold": ("only",),
    "estimator": ("estimators",), "option": ("options",),
}  # fmt: skip
IN_PYTHON = {"Pass controls=False": "Use --controls none", "Use None to score": "Use --pool none to score"}
TRAINING = {"benchmark", "demo"}  # commands that train


class MainInterrupted(BaseException):
    """Ctrl-C. Skorch catches KeyboardInterrupt and keeps a partial network."""


def run():
    """Run the command of this process, training with passive waiting."""
    if TRAINING & set(sys.argv[1:2]):
        restart_main_with_passive_waiting(sys.argv[1:])
    return main()


def restart_main_with_passive_waiting(argv):
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
        args.shown_command = format_demo_command_of_parser(args, argv[1:])
    elif args.command == "benchmark":
        args.shown_command = shlex.join(["sk-b2s", *argv])
    elif args.command == "folds":
        args.shown_command = shlex.join(["sk-b2s", "benchmark", *argv[1:]])
    _configure_streams()
    try:
        with _raise_on_interrupt(), warnings.catch_warnings():
            commands = importlib.import_module("sk_b2s._cli._commands")
            warnings.showwarning = print_main_warning
            if args.command in ("live", "listen"):
                commands = importlib.import_module(f"sk_b2s._cli._{args.command}")
            return getattr(commands, f"run_{args.command}_command")(args)
    except (MainInterrupted, KeyboardInterrupt):
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
            _print_error(error, args, argv)
        return 1


def _print_error(error, args, argv):
    """Print an error in one line, with the options it is about."""
    text = " ".join(str(error).split()) or type(error).__name__
    for python, option in IN_PYTHON.items():
        text = text.replace(python, option)
    flags = [flag for flag in find_flags_of_error(text, args, argv) if flag not in text]
    start = f"argument {', '.join(flags)}: " if flags else ""
    splitters = [
        f" {spec.class_name} is --cv {name}."
        for name, spec in SPLITTERS.items()
        if hasattr(args, "cv")
        and re.search(rf"\b{spec.class_name}\b(?!\()", text)
        and name != (args.cv or "loso")
    ]
    print(make_text_visible(f"sk-b2s: error: {start}{text}{''.join(splitters)}"), file=sys.stderr)


def find_flags_of_error(text, args, argv):
    """Return the options whose Python parameters or values an error names.

    Options that were not given are only found by names with an underscore,
    such as ``n_subjects``, and in advice such as "a smaller k".

    Parameters
    ----------
    text : str
        Message of the error.
    args : argparse.Namespace
        Parsed arguments, whose names are those of the options.
    argv : sequence of str

    Returns
    -------
    flags : list of str
    """
    given = {part.partition("=")[0] for part in argv if part.startswith("--")}
    text = re.sub(r"\bIt has only [^.]*\.", "", text)  # lists names that the error is not about
    flags = []
    for option, value in vars(args).items():
        flag = "--" + option.replace("_", "-")
        names, values = [option, *OTHER_NAMES.get(option, ())], value if isinstance(value, list) else [value]
        values = [one for one in values if isinstance(one, str)]
        if option == "set":
            names = [re.split("__|:", one.partition("=")[0])[-1] for one in values]
        is_named = any(re.search(_make_name_pattern(name, flag in given), text) for name in names)
        has_value = any(
            re.search(rf"['/]{re.escape(one)}'", text) or (re.search(r"[./]", one) and one in text)
            for one in values
        )
        if is_named or (flag in given and has_value):
            flags.append(flag)
    return flags


def _make_name_pattern(name, is_given):
    """Return the pattern of a parameter in the message of an error."""
    if "_" in name:
        return rf"(?<![\w-]){name}(?!\w)"
    advice = rf"(?:smaller|fewer|shorter) {name}\b"
    return rf"{advice}|(?<![\w-])('{name}'|{name}(?=:|=| must| and \w+ must))" if is_given else advice


def _configure_streams():
    """Write whole lines that any encoding can hold, without progress bars."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="replace")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def _raise_on_interrupt():
    """Raise `MainInterrupted` on Ctrl-C, which no library catches."""

    def stop(number, frame):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the process at once
        raise MainInterrupted

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def print_main_warning(message, category, filename, lineno, file=None, line=None):
    """Print a warning in one line, without its place in the code."""
    print(
        make_text_visible(f"sk-b2s: warning: {' '.join(str(message).split())}"), file=sys.stderr, flush=True
    )

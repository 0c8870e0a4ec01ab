"""Options of a task and of its windows on the command line."""

from __future__ import annotations

import ast

from sk_b2s.evaluation._tasks._benchmark_task import complete_benchmark_task_options
from sk_b2s.evaluation._tasks._registry import PAPER_WINDOW, find_task

FLAGS = {"k": "--k", "n_candidates": "--pool"}  # by the option of a task


def find_task_of_options(args):
    """Return the task of ``--question`` or None, and set its windows."""
    if args.question is None:
        if args.option:
            raise ValueError("--option requires --question. Add a task, or remove --option.")
        complete_task_options_of_windows(args)
        return None
    spec = find_task(args.question)
    anchor = spec.rows["anchor"]
    is_fixed = anchor == "word" and spec.judge is not None or anchor in ("sentence", "phoneme")
    if is_fixed and args.anchor not in (None, [anchor]):
        given = ",".join(map(str, args.anchor))
        raise ValueError(
            f"--anchor {given}: task {spec.name!r} requires windows at each {anchor}. Remove --anchor, or use another task."
        )
    complete_task_options_of_windows(args, spec.rows)
    return spec


def complete_task_options_of_windows(args, rows=PAPER_WINDOW):
    """Set the options of windows that were not given.

    Parameters
    ----------
    args : Namespace
        Modified in place.
    rows : dict, default=PAPER_WINDOW
        ``anchor, tmin`` and ``tmax``.
    """
    if args.cv == "hashed" and args.block is not None:
        raise ValueError(
            "--cv hashed has the blocks of the published split. Remove --block, or use another --cv."
        )
    for name, value in {**rows, "anchor": [rows["anchor"]], "margin": 0.5, "block": 20.0}.items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)


def parse_task_option(text):
    """Split ``--option`` into name and value."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"--option must be NAME=VALUE, for example n_words=20. Got {text} instead.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError(
            f"--option {text}: the value must be a number or None. Got {value!r} instead."
        ) from None


def make_task_options(spec, texts, given=None):
    """Make the checked options of a task, None without a task.

    Parameters
    ----------
    spec : None or TaskSpec
    texts : sequence of str
        Values of ``--option``.
    given : None or dict, default=None
        Values of ``--k`` and ``--pool`` by the option that they set, if they
        were given.

    Returns
    -------
    options : None or dict
    """
    if spec is None:
        return None
    options = dict(parse_task_option(text) for text in texts)
    for parameter, value in (given or {}).items():
        name = FLAGS[parameter]
        if parameter not in spec.options:
            raise ValueError(f"{name}: task {spec.name!r} has no option {parameter!r}. Remove {name}.")
        if options.setdefault(parameter, value) != value:
            raise ValueError(
                f"{name} {value} contradicts --option {parameter}={options[parameter]}. Remove one of them."
            )
    return complete_benchmark_task_options(spec, options)

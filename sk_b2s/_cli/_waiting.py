"""Passive waiting of OpenMP threads on shared processors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

POLICY = {"OMP_WAIT_POLICY": "PASSIVE"}
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # any of them is a decision of the user's


def restart_with_passive_waiting(argv):
    """Replace this process by one whose threads sleep while they wait, unless the user has chosen a policy.

    OpenMP reads the policy once, when torch loads it, which is before any module of this package can set it. The
    process keeps its id, its files and its arguments. Nothing is done outside of Linux, where torch has another OpenMP,
    or in a process that was not started as the command line.

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
    if sys.platform != "linux" or not is_program or any(name in os.environ for name in CHOICES):
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **POLICY})

"""Processes of tests, copies of this one where the system can fork."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def run_in_processes(function, *arguments, timeout=1200):
    """Call a function with each item at once, each in a process of its own.

    ``timeout`` ends a test that hangs, on the slowest machine.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    with ProcessPoolExecutor(len(arguments[0]), mp_context=context) as pool:
        return list(pool.map(function, *arguments, timeout=timeout))

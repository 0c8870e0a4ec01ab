"""Functions of scikit-learn that a call comes from.

They let errors name the way out where scikit-learn has no other hook.
"""

from __future__ import annotations

import sys

DEPTH = 20  # frames between a function of scikit-learn and the object that it calls


def find_caller(module, function):
    """Return the local variables of a calling function, None without one.

    ``module`` and ``function`` are the names of the function. Only the next
    frames are searched, which costs microseconds.
    """
    frame = sys._getframe(1)
    for _ in range(DEPTH):
        if (frame := frame.f_back) is None:
            return None
        if frame.f_code.co_name == function and frame.f_globals.get("__name__") == module:
            return frame.f_locals
    return None

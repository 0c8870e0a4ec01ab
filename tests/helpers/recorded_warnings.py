"""Warnings of a call as text."""

import warnings


def record_warnings(function, *arguments, **keywords):
    """Return the value of a call and the text of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = function(*arguments, **keywords)
    return value, "\n".join(str(warning.message) for warning in caught)

"""Text of messages: visible, joined, shortened and suggested names.

numpy and pandas are imported in functions, because the command line reads
names without them.
"""

from __future__ import annotations

import difflib
import json
import re
import textwrap
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from pathlib import PurePath

# Control characters except tab and line break, direction overrides and isolates, lone surrogates, noncharacters.
HIDDEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
PUNCTUATION = re.compile(r"[^\w']+")


def make_text_visible(text):
    r"""Replace invisible characters, and those that change the text direction.

    NUL becomes "␀" and so on, others an escape such as "\u202e". The result
    can be encoded as UTF-8.

    Examples
    --------
    >>> make_text_visible("a\0b\x1b[31m"), make_text_visible("a\u202eb")
    ('a␀b␛[31m', 'a\\u202eb')
    """
    text = text.replace("\r\n", "\n")
    return HIDDEN.sub(_show_hidden_character, text) if HIDDEN.search(text) else str(text)


def _show_hidden_character(match):
    code = ord(match[0])
    return (
        chr(0x2400 + code) if code < 0x20 else "\N{SYMBOL FOR DELETE}" if code == 0x7F else f"\\u{code:04x}"
    )


def make_all_text_visible(thing):
    """Make all text of a table, dict, list or dataclass visible, in a copy."""
    import pandas as pd

    if type(thing) is str:
        return make_text_visible(thing)
    if isinstance(thing, (pd.Series, pd.Index)):
        return thing.map(_visible_text) if _has_hidden(thing) else thing
    if isinstance(thing, pd.DataFrame):
        changed = {
            name: make_all_text_visible(column) for name, column in thing.items() if _has_hidden(column)
        }
        if "plan" in thing and changed:  # JSON, which escapes names itself
            changed["plan"] = thing["plan"].map(_visible_plan)
        thing = thing.assign(**changed) if changed else thing
        return thing.set_axis(make_all_text_visible(thing.index)) if _has_hidden(thing.index) else thing
    if type(thing) is dict:
        return {make_all_text_visible(key): make_all_text_visible(value) for key, value in thing.items()}
    if type(thing) in (list, tuple):
        return type(thing)(map(make_all_text_visible, thing))
    if is_dataclass(thing) and not isinstance(thing, type):
        changed = {
            field.name: make_all_text_visible(getattr(thing, field.name))
            for field in fields(thing)
            if field.init
        }
        changed = {name: value for name, value in changed.items() if value is not getattr(thing, name)}
        return replace(thing, **changed) if changed else thing
    return thing


def _visible_plan(text):
    return (
        json.dumps(make_all_text_visible(json.loads(text)), sort_keys=True)
        if isinstance(text, str) and text
        else text
    )


def _visible_text(value):
    return make_text_visible(value) if type(value) is str else value


def _has_hidden(column):
    """Return whether a column or index has invisible characters."""
    import pandas as pd

    if isinstance(column, pd.MultiIndex) or pd.api.types.is_numeric_dtype(column.dtype):
        return False
    values = column.categories if isinstance(column, pd.CategoricalIndex) else column
    return any(HIDDEN.search(value) is not None for value in set(map(_get_plan_text, values)))


def _get_plan_text(value):
    return value if type(value) is str else ""


def with_visible_text(function):
    """Decorate a function so that all text in its arguments is visible."""

    @wraps(function)
    def decorated(*args, **kwargs):
        return function(
            *map(make_all_text_visible, args),
            **{name: make_all_text_visible(value) for name, value in kwargs.items()},
        )

    return decorated


def make_plain_text(words):
    """Join lower-case words without punctuation, for comparison."""
    import pandas as pd

    return " ".join(make_plain_word(word) for word in words if pd.notna(word)).strip()


def make_plain_word(word):
    """Return a word in lower case without punctuation."""
    return PUNCTUATION.sub("", str(word).lower())


def shorten_list(names, most=8):
    """Join the first of many names with commas and count the rest."""
    names = list(map(str, names))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def shorten_text(value, length=200):
    """Represent a value, without its middle if it is longer than ``length``.

    Examples
    --------
    >>> shorten_text("a" * 50, length=20)
    "'aaaaaaaaa...aaaa' (50 characters)"
    """
    text = repr(str(value)) if isinstance(value, (str, PurePath)) else repr(value)
    if len(text) <= length:
        return text
    return f"{text[: length // 2]}...{text[-length // 4 :]} ({len(str(value)):,} characters)"


def join_text_items(words, last="and"):
    """Join distinct words into an English list.

    Examples
    --------
    >>> join_text_items(["sounds", "sentences", "segments"], "or")
    'sounds, sentences or segments'
    """
    words = list(dict.fromkeys(map(str, words)))
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def format_percent_text(share, decimals=1, clip=False):
    """Write a share as a percentage.

    If ``clip`` is True, shares between 0 and 1 are not rounded to 0 % or 100
    %.

    Examples
    --------
    >>> format_percent_text(0.1234), format_percent_text(0.001, 0, clip=True)
    ('12.3 %', '1 %')
    """
    percent = 100 * share
    if clip and share not in (0, 1):
        percent = min(max(percent, 10.0**-decimals), 100 - 10.0**-decimals)
    return f"{percent:.{decimals}f} %"


def unwrap_scalar_for_text(value):
    """Convert a numpy scalar to a Python scalar."""
    import numpy as np

    return value.item() if isinstance(value, np.generic) else value


def make_suggestion_text(name, known, n=1, cutoff=0.6):
    """Return a hint with the known names most similar to ``name``, or "".

    Examples
    --------
    >>> make_suggestion_text("rigde", ["ridge", "clip"])
    " (did you mean 'ridge'?)"
    """
    return format_suggestion_text(
        difflib.get_close_matches(str(name), list(map(str, known)), n=n, cutoff=cutoff)
    )


def format_suggestion_text(names):
    """Return a hint that suggests names, or "" for an empty list."""
    return f" (did you mean {join_text_items(map(repr, names), 'or')}?)" if names else ""


def fill_docstring_list(function, placeholder, entries):
    """Replace a placeholder in a docstring by a list of the registry.

    Without docstrings (``python -OO``), nothing happens.
    """
    before, found, after = (function.__doc__ or "").partition(placeholder)
    if found:
        indent = before[before.rindex("\n") + 1 :]
        lines = [
            line
            for entry in entries
            for line in textwrap.wrap(f"- {entry}", 79 - len(indent), subsequent_indent="  ")
        ]
        function.__doc__ = before + f"\n{indent}".join(lines) + after

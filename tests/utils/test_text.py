"""Join, shorten and suggest names in messages, and show hidden characters."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.hidden import NAMES

from sk_b2s._utils._text import (
    HIDDEN,
    fill_docstring_list,
    format_percent_text,
    join_text_items,
    make_all_text_visible,
    make_suggestion_text,
    make_text_visible,
    shorten_list,
    shorten_text,
    unwrap_scalar_for_text,
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c", "b"], "a, b and c")],
)
def test_join_text_items(words, expected):
    assert join_text_items(words) == expected


def test_shorten_list_counts_rest():
    assert shorten_list("abc", 2) == "a, b and 1 more"
    assert shorten_list(range(2), 2) == "0, 1"


@pytest.mark.parametrize("value", ["a" * 500, Path("b" * 500)], ids=["text", "path"])
def test_shorten_text_keeps_both_ends(value):
    text = shorten_text(value, 80)
    assert text.startswith(f"'{str(value)[:30]}")
    assert text.endswith("' (500 characters)")
    assert len(text) < 110


def test_shorten_text_of_short_values():
    assert shorten_text("a\n") == r"'a\n'"
    assert shorten_text(Path("a")) == "'a'"
    assert shorten_text(3) == "3"


@pytest.mark.parametrize(
    ("share", "expected"), [(0, "0 %"), (1, "100 %"), (1e-4, "1 %"), (0.9999, "99 %"), (0.254, "25 %")]
)
def test_format_percent_text_clips(share, expected):
    assert format_percent_text(share, 0, clip=True) == expected


def test_format_percent_text_rounds():
    assert format_percent_text(1e-4) == "0.0 %"
    assert format_percent_text(0.12345) == "12.3 %"


def test_suggest_name():
    assert make_suggestion_text("ridg", ["ridge", "clip"]) == " (did you mean 'ridge'?)"
    assert make_suggestion_text("zzz", ["ridge", "clip"]) == ""
    assert "'ab' or 'ac'" in make_suggestion_text("aa", ["ab", "ac"], n=2, cutoff=0.4).replace(
        "'ac' or 'ab'", "'ab' or 'ac'"
    )


def test_unwrap_scalar_for_text():
    assert repr(unwrap_scalar_for_text(np.int64(3))) == "3"
    assert unwrap_scalar_for_text("a") == "a"


# --- hidden characters -----------------------------------------------------------------------------


def test_visible_keeps_other_text_and_is_unique():
    for text in (
        "ridge",
        "Jörg's α, 2 % of\n3\t4",
        NAMES["emoji"],
        NAMES["Hebrew"],
        NAMES["stacked accents"],
        "\u200f\u200d",
    ):
        assert make_text_visible(text) == text
    hidden = [chr(code) for code in range(0x110000) if HIDDEN.match(chr(code))]
    assert len({make_text_visible(letter) for letter in hidden}) == len(hidden) > 2000
    make_text_visible("".join(hidden)).encode()


def test_make_all_text_visible_copies_only_changes():
    table = pd.DataFrame({"a": ["x", "y"], "b": [1.0, np.nan]})
    assert make_all_text_visible(table) is table
    changed = make_all_text_visible({"k\0": [table.assign(a=["x\0", None])]})
    assert list(changed) == ["k␀"]
    assert changed["k␀"][0]["a"].tolist()[0] == "x␀"
    assert table["a"].tolist() == ["x", "y"]


def test_make_all_text_visible_changes_names_in_plans():
    table = pd.DataFrame({"subject": ["a\x1b"], "plan": [json.dumps({"subjects": ["a\x1b"]})]})
    changed = make_all_text_visible(table)
    assert json.loads(changed["plan"][0])["subjects"] == changed["subject"].tolist() == ["a␛"]


def test_fill_docstring_list_wraps_entries():
    def function():
        """Load.

        Names:

        {names}
        """

    fill_docstring_list(function, "{names}", ["short", "word " * 20])
    lines = function.__doc__.splitlines()
    assert lines[4] == "        - short"
    assert lines[5].startswith("        - word")
    assert lines[6].startswith("          word")
    assert max(map(len, lines)) <= 79
    assert "{names}" not in function.__doc__
    function.__doc__ = None  # python -OO
    fill_docstring_list(function, "{names}", ["short"])
    assert function.__doc__ is None

"""Names of any characters, in every place of a report, of figures, of the methods paragraph and of the terminal."""

import json
import re

import numpy as np
import pandas as pd
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pytest.importorskip("matplotlib.pyplot")

from helpers.pages import EVIL, Reader  # noqa: E402
from helpers.score_tables import make_curve, make_retrieval_result, make_score_table  # noqa: E402

from sk_b2s import generate_methods_text, plotting, write_report  # noqa: E402
from sk_b2s._utils._text import HIDDEN, visible, visible_in  # noqa: E402
from sk_b2s.reporting._html import page, picture, tag  # noqa: E402

NAMES = {
    "lone surrogate": "a\ud800b",
    "two surrogates": "\udc80\udcff",
    "NUL": "a\0b",
    "escape": "a\x1b[31mb\x07",
    "all controls": "".join(map(chr, [*range(9), *range(11, 32), *range(127, 160)])),
    "override": "a\u202eb",
    "isolates": "\u2066a\u2067b\u2068c",
    "pop": "a\u202cb\u2069",
    "noncharacters": "a\ufffeb\uffff",
    "Hebrew": "\u05d0\u05d1\u05d2",
    "Arabic digits": "\u0661\u0662",
    "emoji": "\U0001f469\u200d\U0001f52c",
    "stacked accents": "a" + 40 * "\u0301",
    "long": 5000 * "a",
    "markup": EVIL,
    "closing": "</title></style></svg><img src=x onerror=alert(1)>]]><!--",
    "empty": "",
}


ALL = "".join(text for name, text in NAMES.items() if name != "long")
SLOW = ("lone surrogate", "override", "long")  # alone; what is in all of them together is shown by ALL


@pytest.mark.parametrize("text", [
    pytest.param(ALL, id="all"), *(pytest.param(NAMES[name], marks=pytest.mark.slow, id=name) for name in SLOW),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Glyph", "ignore:.*layout", "ignore:.*(plan|complete)")
def test_write_report_takes_any_text_in_any_place(text, tmp_path):
    """Two pages for each text: the table's columns all at once, and all that is given beside it."""
    shown = visible(text)
    results = make_score_table(("ridge", text))
    columns = {column: text for column in ("study", "condition", "warnings", "versions", "cv", "leakage")}
    results = results.assign(**columns, subject=results["subject"].map(lambda subject: f"{subject}{text}"))
    results["control"] = results["control"].replace("phase_randomized", text)
    results.loc[(results["estimator"] == "ridge") & (results["fold"] == 1), "error"] = f"ValueError: {text}"
    answers = make_retrieval_result()
    given = {
        "title": text,
        "cv": text,
        "answers": {text: answers},
        "curves": {text: make_curve("value", [0.0, 0.1])},
    }
    for number, more in enumerate(({}, given)):
        table = results if not number else make_score_table(("ridge",))
        whole = write_report(table, tmp_path / f"{number}.html", **more).read_bytes().decode("utf-8")
        assert not HIDDEN.search(whole)
        read = Reader(whole)
        assert not {"script", "img", "iframe", "object"} & {found for found, _ in read.elements}
        assert not any(key.startswith("on") for _, found in read.elements for key in found)
        assert re.sub(r"\s+", " ", shown).strip() in read.text


def test_names_that_run_from_right_to_left_are_isolated(tmp_path):
    results = make_score_table((NAMES["Hebrew"],))
    read = Reader(
        write_report(results, tmp_path / "r.html", title=NAMES["Hebrew"]).read_text(encoding="utf-8")
    )
    assert set(read.within["bdi"]) == {NAMES["Hebrew"]}
    assert "unicode-bidi: isolate" in read.within["style"][0]
    assert NAMES["Hebrew"] not in read.within["h1"] if "h1" in read.within else True


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:.*layout")
def test_figures_show_any_name():
    text = "".join(NAMES[name] for name in ("lone surrogate", "NUL", "escape", "override", "isolates"))
    results = make_score_table(("ridge", text))
    results["subject"] = results["subject"].map(lambda subject: f"{subject}{text}")
    for draw in (
        plotting.plot_scores,
        plotting.plot_subjects,
        plotting.plot_controls,
        plotting.plot_comparison,
    ):
        figure = draw(results).figure
        figure.canvas.draw()
        shown = " ".join(found.get_text() for found in figure.findobj(matplotlib.text.Text)).replace("\n", "")
        assert visible(text) in shown
        assert not HIDDEN.search(shown)
    plotting.plot_rank_curve(make_retrieval_result(), label=text).figure.canvas.draw()
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("name", NAMES)
def test_methods_paragraph_takes_any_name(name):
    text = NAMES[name] or "x"
    said = generate_methods_text(make_score_table((text,)).assign(study=text, versions=text), cv=text)
    said.encode()
    assert visible(text) in said
    assert not HIDDEN.search(said)


def test_a_figure_that_cannot_be_drawn_is_named():
    figure = matplotlib.figure.Figure()
    figure.subplots().set_title("a\udc80")
    with pytest.raises(ValueError, match="figure of 'My picture' holds text that cannot be drawn"):
        picture(figure, "My picture")


@pytest.mark.parametrize("name", NAMES)
def test_elements_show_any_text(name):
    text = NAMES[name]
    whole = page(text, tag("p", text, title=text))
    whole.encode()
    assert not HIDDEN.search(whole)
    read = Reader(whole)
    assert read.all("p")[0]["title"] == visible(text)
    assert len(read.elements) == 10


def test_visible_keeps_honest_text_and_tells_names_apart():
    for text in (
        "ridge",
        "Jörg's α, 2 % of\n3\t4",
        NAMES["emoji"],
        NAMES["Hebrew"],
        NAMES["stacked accents"],
        "\u200f\u200d",
    ):
        assert visible(text) == text
    hidden = [chr(code) for code in range(0x110000) if HIDDEN.match(chr(code))]
    assert len({visible(letter) for letter in hidden}) == len(hidden) > 2000
    visible("".join(hidden)).encode()


def test_visible_in_copies_only_what_it_changes():
    table = pd.DataFrame({"a": ["x", "y"], "b": [1.0, np.nan]})
    assert visible_in(table) is table
    changed = visible_in({"k\0": [table.assign(a=["x\0", None])]})
    assert list(changed) == ["k␀"]
    assert changed["k␀"][0]["a"].tolist()[0] == "x␀"
    assert table["a"].tolist() == ["x", "y"]


def test_visible_in_changes_names_in_plans_as_in_their_table():
    table = pd.DataFrame({"subject": ["a\x1b"], "plan": [json.dumps({"subjects": ["a\x1b"]})]})
    changed = visible_in(table)
    assert json.loads(changed["plan"][0])["subjects"] == changed["subject"].tolist() == ["a␛"]

"""Blocks and figures of the page: texts are escaped and visible."""

import re
import warnings

import matplotlib
import pytest
from helpers.hidden import NAMES
from helpers.pages import Reader

from sk_b2s._utils._text import HIDDEN, make_text_visible
from sk_b2s.plotting._style import COLORS, MUTED
from sk_b2s.reporting._html import (
    INK,
    make_html_audio_element,
    make_html_badge,
    make_html_cell,
    make_html_details,
    make_html_download,
    make_html_figure,
    make_html_heading,
    make_html_items,
    make_html_paragraph,
    make_html_table,
    pair_html_blocks,
    render_html_page,
    style_html_figures,
)  # fmt: skip


def make_blocks(text):
    """Make one block of each kind with a text in all places."""
    mark = make_html_badge(text, "bad")
    card = dict.fromkeys(("label", "number", "bar_text", "score", "chance", "details"), text) | {
        "badge": mark,
        "link": None,
    }
    player = make_html_audio_element(b"", text, text)
    guess = {
        "label": text,
        "is_correct": False,
        "rank": text,
        "probability": text,
        "text": text,
        "player": player,
    }
    return [
        make_html_heading(text), make_html_paragraph(text, badge=mark, code=text), make_html_items([text]), make_html_items([text], code=True),
        make_html_table([text, text], [[text, make_html_cell(text, text, mark)], [text, make_html_cell(text, is_code=True)]], text),
        make_html_details(text, make_html_paragraph(text)), pair_html_blocks(make_html_heading(text, 3)), {"kind": "quote", "texts": [text]},
        {"kind": "terms", "terms": {text: text}}, {"kind": "cards", "cards": [card]},
        {"kind": "statement", "label": text, "style": "bad", "text": text, "notes": [text], "texts": [text],
         "code": False},
        {"kind": "guesses", "cards": [{"title": text, "text": text, "player": player, "guesses": [guess]}]},
        {"kind": "code", "text": text}, {"kind": "code", "words": [text]}, {"kind": "banner", "text": text, "note": text}, make_html_download(text, "a.csv", text),
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_render_page_escapes_any_text(name):
    text = NAMES[name]
    page = render_html_page(text, text, make_blocks(text))
    page.encode()
    assert not HIDDEN.search(page)
    read, plain = Reader(page), Reader(render_html_page("x", "x", make_blocks("x")))
    read.elements = [element for element in read.elements if element[0] != "bdi"]
    assert [name for name, _ in read.elements] == [name for name, _ in plain.elements] or not text
    assert read.all("section")[0]["aria-label"] == make_text_visible(text)
    assert re.sub(r"\s+", " ", make_text_visible(text)).strip() in read.text


def test_render_page_isolates_right_to_left_names():
    text = NAMES["Hebrew"]
    read = Reader(render_html_page(text, "x", make_blocks(text)))
    assert set(read.within["bdi"]) == {text}
    assert text not in read.within.get("h1", []), "in bdi only"
    assert "unicode-bidi: isolate" in read.within["style"][0]


def test_table_aligns_words_and_numbers():
    block = make_html_table(
        ["a", "b"], [["<i>", make_html_cell("1.5", "2")], ["x", make_html_cell("3")]], "c"
    )
    assert block["styles"] == [False, False]
    assert make_html_table(["a", "b"], [["x", make_html_cell("1.5", "chance 2")]], "c")["styles"] == [
        False,
        True,
    ]
    assert "&lt;i&gt;" in render_html_page("t", "f", [block])


def make_line(color="#0072b2", label=""):
    """Draw a line in a color."""
    drawn = matplotlib.figure.Figure()
    drawn.subplots().plot([0, 1], color=color)
    drawn.axes[0].set_title(label)
    return drawn


def test_figure_colors_follow_the_page():
    page = render_html_page("t", "f", [make_html_figure(make_line(), "0 to 1")])
    style = Reader(page).within["style"][0]
    for color in (INK, MUTED, *COLORS):
        for kind in ("fill", "stroke"):
            rule = rf'figure:not\(\.fixed\) svg \[style\*="{kind}: {color}"\] {{ {kind}: var\(--\w+\) !important }}'
            assert re.search(rule, style)
    svg = page[page.index("<svg") :]
    assert f"stroke: {COLORS[0]}" in svg, "as the rule expects it"
    assert '<figure class="fixed">' in render_html_page(
        "t", "f", [make_html_figure(make_line(), "0 to 1", fixed=True)]
    )


def test_style_html_figures_draws_text_in_ink():
    before = dict(matplotlib.rcParams), matplotlib.pyplot.get_fignums()
    with style_html_figures():
        ax = matplotlib.pyplot.subplots()[1]
        ax.set_title("$a$")
        svg = make_html_figure(ax.figure, "a title")["svg"]
    assert f"fill: {INK}" in svg
    assert "$a$" in svg, "no mathematics in names"
    assert (dict(matplotlib.rcParams), matplotlib.pyplot.get_fignums()) == before


def test_figure_ids_are_unique_in_a_page():
    blocks = [make_html_figure(make_line(color), "0 to 1") for color in ("#0072b2", "#d55e00")]
    read = Reader(render_html_page("t", "f", blocks))
    assert len(read.ids) == len(set(read.ids)) > 20
    links = [value for _, found in read.elements for name, value in found.items() if name == "xlink:href"]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(read.ids)
    clips = re.findall(r"url\(#(.*?)\)", " ".join(str(found) for _, found in read.elements))
    assert clips
    assert set(clips) <= set(read.ids)


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("text", ['id="x" url(#y)', "a\0b\x1b\u202ec", "<script>", "a\ufffeb"])
def test_figure_keeps_text_of_labels(text):
    with style_html_figures():
        page = render_html_page("t", "f", [make_html_figure(make_line(label=text), f"Alt {text}")])
    assert not HIDDEN.search(page)
    read = Reader(page)
    assert make_text_visible(text) in "".join(read.words)
    assert read.all("svg")[0]["aria-label"] == f"Alt {make_text_visible(text)}"


def test_figure_has_letters_of_other_fonts():
    with warnings.catch_warnings(), style_html_figures():
        figure = matplotlib.figure.Figure()
        figure.subplots().set_title("\u8a9e")
        with warnings.catch_warnings(record=True) as caught:
            svg = make_html_figure(figure, "A title.")["svg"]
    assert not caught
    assert "\u8a9e" in svg


def test_figure_requires_text():
    with pytest.raises(ValueError, match="alternative text"):
        make_html_figure(matplotlib.figure.Figure(), " ")


def test_figure_with_invalid_label_is_named():
    drawn = matplotlib.figure.Figure()
    drawn.subplots().set_title("a\udc80")
    with pytest.raises(ValueError, match="figure 'My figure' has text that cannot be drawn"):
        make_html_figure(drawn, "My figure")

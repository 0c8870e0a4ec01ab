"""Blocks of the HTML report, figures as SVG, and the page from its template.

A block is a dict with a ``kind``, which ``templates/report.html.j2`` renders.
Texts are escaped by the template.
"""

from __future__ import annotations

import io
import re
import warnings
from base64 import b64encode
from contextlib import contextmanager
from functools import cache
from unicodedata import bidirectional
from xml.dom import minidom
from zlib import crc32

from markupsafe import Markup, escape

from sk_b2s._utils._text import make_text_visible
from sk_b2s.reporting._templates import load_report_template

INK = "#1c2127"  # color of text in figures, which report.css replaces by that of the page
TEXT_COLORS = (
    "text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color",
)  # fmt: skip


# --- blocks ----------------------------------------------------------------------------------------


def make_html_heading(text, level=2):
    """Make a heading."""
    return {"kind": "heading", "text": text, "level": level}


def make_html_paragraph(text, badge=None, code=None):
    """Make a paragraph, with a badge before or code after its text."""
    return {"kind": "text", "text": text, "badge": badge, "code": code}


def make_html_badge(text, style):
    """Make a badge of style "good", "bad" or "neutral"."""
    return {"text": text, "style": style}


def make_html_cell(text="", small="", badge=None, is_code=False, link=None, anchor=None):
    """Make a table cell with a small text and a badge below.

    ``link`` is the identifier of the part of the page that the text links to,
    and ``anchor`` that of the cell.
    """
    return {"text": text, "small": small, "badge": badge, "is_code": is_code, "link": link, "anchor": anchor}


def make_html_table(columns, rows, caption, is_number=False, is_tall=False):
    """Make a table. The first cell of a row is its header.

    Parameters
    ----------
    columns : sequence of str
    rows : list of list of (str or cell)
    caption : str
    is_number : bool, default=False
        Whether all columns but the first are aligned to the right. If False,
        columns whose first value has words are aligned to the left.
    is_tall : bool, default=False
        Whether the height is limited, and rows scroll.
    """
    first = rows[0] if rows else columns
    styles = [
        _has_words_in_cell(value if isinstance(value, str) else _get_html_text(value)) for value in first
    ]
    if is_number:
        styles = [True, *[False] * (len(columns) - 1)]
    return {
        "kind": "table", "columns": columns, "rows": rows, "caption": caption, "styles": styles, "is_tall": is_tall,
    }  # fmt: skip


def make_html_items(texts, code=False):
    """Make a list of texts."""
    return {"kind": "items", "texts": list(texts), "code": code}


def make_html_details(summary, *blocks):
    """Make blocks that are hidden until the summary is clicked."""
    return {"kind": "details", "summary": summary, "blocks": blocks}


def pair_html_blocks(*blocks):
    """Make blocks in two columns, if the page is wide enough."""
    return {"kind": "pair", "blocks": blocks}


def group_html_blocks(*blocks):
    """Make blocks that stay in one column of a pair."""
    return {"kind": "group", "blocks": blocks}


def make_html_audio_element(content, label, caption, media_type="audio/wav"):
    """Make a player of audio that is embedded in the page.

    Parameters
    ----------
    content : bytes
        Audio file.
    label : str
        Text for screen readers.
    caption : str
    media_type : str, default="audio/wav"
    """
    source = f"data:{media_type};base64,{b64encode(content).decode()}"
    return {"kind": "player", "source": source, "label": label, "caption": caption}


def make_html_download(content, name, text):
    """Make a link that saves a text file that is embedded in the page.

    Parameters
    ----------
    content : str
    name : str
        File name.
    text : str
        Text of the link.
    """
    source = f"data:text/csv;charset=utf-8;base64,{b64encode(make_text_visible(content).encode()).decode()}"
    return {"kind": "download", "source": source, "name": name, "text": text}


def make_html_id(*names):
    """Make an identifier of a part of the page from any names.

    Examples
    --------
    >>> make_html_id("folds", "ridge").startswith("folds-")
    True
    """
    return f"{names[0]}-{crc32(repr(names[1:]).encode('utf-8', 'backslashreplace')):x}"


def _get_html_text(value):
    return f"{value['text']} {value['small']} {value['badge']['text'] if value['badge'] else ''}"


def _has_words_in_cell(text):
    """Return whether a text has words, which are aligned to the left."""
    return re.search(r"[^\W\d_]{2}", text) is not None


# --- figures ---------------------------------------------------------------------------------------


@contextmanager
def style_html_figures():
    """Draw figures in the style of the page, and close them at the end."""
    import matplotlib
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({
            **dict.fromkeys(TEXT_COLORS, INK), "text.parse_math": False, "axes.unicode_minus": True,
            "axes.titlesize": 11, "font.size": 11, "figure.figsize": (5.2, 4.0), "svg.fonttype": "none", "svg.hashsalt": "sk_b2s", "axes.facecolor": "none",
            "figure.facecolor": "none",
        })  # fmt: skip
        before = set(plt.get_fignums())
        try:
            with plt.ioff(), warnings.catch_warnings():
                # The page is drawn by the fonts of the reader, who may have what is missing here.
                warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
                yield
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def make_html_figure(drawn, alt, caption=None, fixed=False, wide=False):
    """Make a block of a matplotlib figure as SVG.

    Parameters
    ----------
    drawn : matplotlib.figure.Figure
    alt : str
        Alternative text that describes the figure.
    caption : str, default=None
    fixed : bool, default=False
        Whether colors are kept on a white background, as images need it. If
        False, they follow the colors of the page.
    wide : bool, default=False
        Whether the figure may be as wide as the page.
    """
    if not str(alt).strip():
        raise ValueError(
            "Each figure must have an alternative text. Got an empty text instead. Describe the figure in a sentence."
        )
    return {
        "kind": "figure",
        "svg": _draw_svg(drawn, make_text_visible(str(alt))),
        "caption": caption,
        "fixed": fixed,
        "wide": wide,
    }


def _draw_svg(drawn, alt):
    """Draw a figure as SVG markup with ids of its own."""
    text = io.StringIO()
    try:
        drawn.savefig(
            text, format="svg", bbox_inches="tight",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )  # fmt: skip
    except (TypeError, UnicodeError) as error:
        raise ValueError(
            f"The figure {alt[:80]!r} has text that cannot be drawn, for example half of a character from a damaged "
            f"file name ({error}). Correct its labels."
        ) from error
    source = make_text_visible(text.getvalue())
    svg = minidom.parseString(source).documentElement
    _prefix_svg_ids(svg, f"p{crc32((source + alt).encode()):x}-")
    svg.setAttribute("role", "img")
    svg.setAttribute("aria-label", alt)
    return Markup(svg.toxml())


def _prefix_svg_ids(svg, prefix):
    """Add a prefix to all ids of an SVG element and to their references."""
    for element in [svg, *svg.getElementsByTagName("*")]:
        for name, value in list(element.attributes.items()):
            if name == "id":
                element.setAttribute(name, prefix + value)
            elif name == "xlink:href" and value.startswith("#"):
                element.setAttribute(name, f"#{prefix}{value[1:]}")
            elif "url(#" in value:
                element.setAttribute(name, value.replace("url(#", f"url(#{prefix}"))


# --- page ------------------------------------------------------------------------------------------


def render_html_page(title, facts, blocks):
    """Render the page from its template.

    Parameters
    ----------
    title : str
    facts : str
        Line below the title.
    blocks : list of dict

    Returns
    -------
    text : str
    """
    return _load_page_template().render(title=title, facts=facts, blocks=blocks)


@cache
def _load_page_template():
    """Compile the template once for all pages of a process."""
    return load_report_template(
        "report.html.j2", {"isolate": isolate_html_name}, autoescape=True, finalize=_show_hidden_characters,
        keep_trailing_newline=True,
    )  # fmt: skip


def _show_hidden_characters(value):
    """Replace hidden characters of a text that is not markup."""
    return make_text_visible(value) if type(value) is str else value


def isolate_html_name(text):
    """Isolate a name with right-to-left letters from the text around it."""
    text = make_text_visible(str(text))
    is_isolated = any(bidirectional(letter) in ("R", "AL", "AN") for letter in text)
    return Markup("<bdi>{}</bdi>").format(text) if is_isolated else escape(text)

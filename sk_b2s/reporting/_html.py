"""HTML elements, figures and page of a report."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from html import escape
from unicodedata import bidirectional
from zlib import crc32

from sk_b2s._utils._text import visible
from sk_b2s.plotting._style import COLORS, MUTED

INK = "#1c2127"  # of text in pictures; replaced by what the reader's page is written in
VOID = ("br", "meta")
STYLE = """
:root { color-scheme: light dark; --font: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  --paper: #fdfdfc; --card: #f4f4f1; --line: #dcdcd6; --ink: #1c2127; --soft: #565d66; --muted: #808080;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #e69f00; --c5: #56b4e9;
  --good: #00674a; --good-bg: #e3f3ec; --bad: #a32a00; --bad-bg: #fdeae2; --so: #565d66; --so-bg: #ecece8; }
@media screen and (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --card: #1d2226; --line: #343b41; --ink: #e8eaec; --soft: #a9b1b9; --muted: #8b9299;
  --c0: #4aa8e0; --c1: #ff8a3d; --c2: #35c79a; --c3: #e29cc4; --c4: #f2b632; --c5: #8fd0f5;
  --good: #5fd3a9; --good-bg: #11302a; --bad: #ff9d70; --bad-bg: #3c1d10; --so: #b3bac1; --so-bg: #2a3035; } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 var(--font) }
main { max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line) }
p { max-width: 46rem; margin: .5rem 0 }
.facts, figcaption, caption, .small { color: var(--soft); font-size: .9rem }
.verdict { border-left: .4rem solid; border-radius: .4rem; padding: 1rem 1.25rem; margin: 1.5rem 0 }
.verdict strong { display: block; font-size: 1.3rem; line-height: 1.35 }
.verdict p, .verdict li { color: var(--ink); max-width: none; overflow-wrap: anywhere }
.verdict ul { margin: .4rem 0 0; padding-left: 1.1rem }
.good { color: var(--good); background: var(--good-bg) } .bad { color: var(--bad); background: var(--bad-bg) }
.so { color: var(--so); background: var(--so-bg) }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; margin: 1.5rem 0 }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.1rem }
.card h3 { margin: 0; font-size: 1rem; overflow-wrap: anywhere } .card .number { font-size: 2.2rem; line-height: 1.25 }
.badge { display: inline-block; border-radius: 1rem; padding: .05rem .65rem; font-size: .82rem; font-weight: 600;
  white-space: nowrap }
.scroll { overflow-x: auto; margin: .8rem 0 }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
caption { text-align: left; padding-bottom: .4rem }
th, td { padding: .35rem .75rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th { font-weight: 600; vertical-align: bottom } thead th { border-bottom: 2px solid var(--line) }
th:first-child, .text { text-align: left } td.text { white-space: normal; min-width: 9rem; overflow-wrap: anywhere }
tbody th { vertical-align: top; white-space: normal; min-width: 7rem; max-width: 14rem; overflow-wrap: anywhere }
 td { vertical-align: top } td small { display: block; color: var(--soft) }
.bar { position: relative; height: .6rem; margin: .5rem 0 .3rem; background: var(--so-bg); border-radius: .3rem }
.bar * { position: absolute; top: 0; bottom: 0 } .bar .score { left: 0; background: var(--c0); border-radius: .3rem }
.bar .chance { top: -.2rem; bottom: -.2rem; border-left: 2px dashed var(--ink) }
figure { margin: 1.2rem 0; overflow-x: auto }
figure svg { display: block; max-width: 100%; min-width: 30rem; height: auto }
figure.fixed { color: #1c2127; --ink: #1c2127; --muted: #808080 }
figure.fixed svg { background: #fff; border-radius: .5rem }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 0 1.5rem }
.pair figure svg { min-width: min(26rem, 100%) }
blockquote { margin: .8rem 0; padding: 1rem 1.25rem; background: var(--card); border-radius: .6rem; max-width: 50rem;
  -webkit-user-select: all; user-select: all; overflow-wrap: anywhere }
details { margin: .8rem 0 } summary { cursor: pointer; font-weight: 600 }
dt { font-weight: 600; margin-top: .6rem } dd { margin: 0 0 0 1.2rem; max-width: 46rem }
code { font: .88rem/1.45 ui-monospace, SFMono-Regular, Menlo, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere }
h1, h3, li, p, td, th, dd, code, small, strong, span, summary, caption, figcaption, svg text { unicode-bidi: isolate }
a { color: var(--c0) } :focus-visible { outline: 2px solid var(--c0); outline-offset: 2px }
@media print { main { max-width: none; padding: 0 } h2 { break-after: avoid }
  figure, .card, tr, .verdict { break-inside: avoid } figure svg { min-width: 0 } .scroll, figure { overflow: visible }
  .verdict, .badge, .card, blockquote { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""


class Html(str):
    """Text that is HTML already; all other text is escaped by :func:`tag`."""


def tag(element, /, *content, **attributes):
    """Make an element.

    Parameters
    ----------
    element : str
        Its name.
    *content : Html or object
        Whatever is no Html is escaped; None is left out.
    **attributes : object
        Escaped. ``class_`` is class, ``aria_label`` is aria-label; None is left out.

    Returns
    -------
    made : Html

    Examples
    --------
    >>> tag("p", "a < b", tag("br"), class_="small")
    '<p class="small">a &lt; b<br></p>'
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(visible(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in VOID:
        return Html(f"<{element}{words}>")
    inner = "".join(
        part if isinstance(part, Html) else escape(visible(str(part))) for part in content if part is not None
    )
    return Html(f"<{element}{words}>{inner}</{element}>")


def table(columns, rows, caption):
    """Make a table whose first column names the rows.

    Parameters
    ----------
    columns : sequence of str
    rows : sequence of sequence of str or Html
    caption : str

    Returns
    -------
    made : Html
        Wide ones scroll by themselves.
    """
    kinds = [_kind(cell) for cell in (rows[0] if rows else columns)]
    head = (tag("th", name, scope="col", class_=kind) for name, kind in zip(columns, kinds, strict=True))
    body = [
        tag(
            "tr",
            tag("th", isolated(row[0]), scope="row"),
            *(tag("td", isolated(cell), class_=_kind(cell)) for cell in row[1:]),
        )
        for row in rows
    ]
    inner = tag("table", tag("caption", caption), tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def isolated(text):
    """Keep the direction of a name from changing the text around it.

    Parameters
    ----------
    text : str or Html

    Returns
    -------
    made : Html
        In ``<bdi>`` unless it is Html already, or has no letter that runs from right to left.
    """
    if isinstance(text, Html) or not any(bidirectional(letter) in ("R", "AL", "AN") for letter in str(text)):
        return text
    return tag("bdi", text)


def _kind(cell):
    """Tell words, which are set to the left, from numbers."""
    return "text" if re.search(r"[^\W\d_]{2}", re.sub(r"<.*?>", "", str(cell))) else None


# --- pictures --------------------------------------------------------------------------------------


@contextmanager
def drawing():
    """Draw for a page: plain text, no mathematics in names, in colors that follow the reader's."""
    import matplotlib
    import matplotlib.pyplot as plt

    names = (
        "text.color",
        "axes.labelcolor",
        "axes.edgecolor",
        "axes.titlecolor",
        "xtick.color",
        "ytick.color",
    )
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({
            **dict.fromkeys(names, INK), "text.parse_math": False, "axes.unicode_minus": True, "axes.titlesize": 11,
            "svg.fonttype": "none", "svg.hashsalt": "sk_b2s", "axes.facecolor": "none", "figure.facecolor": "none",
        })  # fmt: skip
        before = set(plt.get_fignums())
        try:
            with plt.ioff():
                yield
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def picture(figure, alt, caption=None, fixed=False):
    """Put a figure of matplotlib into the page as SVG.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    alt : str
        What it shows, in words and numbers, for those who do not see it.
    caption : str, default=None
    fixed : bool, default=False
        Whether colors are those of the figure on white paper, as an image needs them, or follow the page's.

    Returns
    -------
    made : Html

    Raises
    ------
    ValueError
        If the alternative text is empty.
    """
    if not str(alt).strip():
        raise ValueError("every picture needs an alternative text that says what it shows, got an empty one.")
    text = io.StringIO()
    blank = {"Date": None, "Creator": None, "Format": None, "Type": None}
    try:
        figure.savefig(text, format="svg", bbox_inches="tight", metadata=blank)
    except (TypeError, UnicodeError) as error:
        raise ValueError(
            f"the figure of {visible(str(alt))[:80]!r} holds text that cannot be drawn, such as half a character from "
            f"a damaged file name ({error}): correct its labels."
        ) from error
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    name = f"p{crc32(svg.encode()):x}"
    svg = re.sub(r'\bid="', f'id="{name}-', svg)  # ids of several pictures share a page
    svg = re.sub(r'(url\(#|href="#)', rf"\1{name}-", svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*?sans-serif", "var(--font)", svg)
    colors = {INK: "--ink", MUTED: "--muted"} | {color: f"--c{i}" for i, color in enumerate(COLORS)}
    for color, variable in colors.items() if not fixed else ():
        svg = re.sub(rf"{color}(?=[;\"])", f"var({variable})", svg, flags=re.IGNORECASE)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(visible(str(alt)))}" ', 1)
    caption = tag("figcaption", caption) if caption else None
    return tag("figure", Html(svg), caption, class_="fixed" if fixed else None)


# --- the page --------------------------------------------------------------------------------------


def page(title, *body):
    """Make one page that loads nothing and runs nothing.

    Parameters
    ----------
    title : str
    *body : Html

    Returns
    -------
    text : str
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = tag(
        "head", tag("meta", charset="utf-8"), tag("title", title),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy), tag("style", Html(STYLE)),
    )  # fmt: skip
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', *body)), lang='en')}\n"

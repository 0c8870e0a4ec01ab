"""Formulas as MathML, which browsers show without a script or a network."""

import re

from docutils import nodes
from docutils.utils.math import latex2mathml


def convert(tex, as_block=False):
    """Convert a formula, without the sizes of brackets, which stretch."""
    tex = re.sub(r"\\[Bb]igg?[lmr]?(?![a-zA-Z])", "", tex)
    tex = re.sub(
        r"(\\(?:hat|bar|tilde)\s*(?:\{\w+\}|\\?\w+?))(?=_)", r"\1{}", tex
    )  # the index is not below the accent
    return latex2mathml.tex2mathml(tex, as_block=as_block)


def visit_inline_math(writer, node):
    """Write a formula within a line."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def visit_displayed_math(writer, node):
    """Write a formula on a line of its own."""
    writer.body.append('<div class="formula">')
    for part in node.astext().split("\n\n"):
        writer.body.append(convert(part, as_block=True))
    writer.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline_math, None), (visit_displayed_math, None))
    return {"parallel_read_safe": True}

"""Registry, colors and style of the figures of the documentation."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INK, FAINT, PAPER = "#1f2328", "#6b7280", "#ffffff"
DARK = {INK: "#d8dee6", FAINT: "#9aa4b2", PAPER: "#14181e"}
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "sk_b2s", "font.size": 10, "axes.titlesize": 10,
    "font.family": "sans-serif", "figure.dpi": 100, "savefig.dpi": 40, "figure.facecolor": PAPER,
    "axes.facecolor": "none", "savefig.facecolor": PAPER, "legend.frameon": False, "path.simplify_threshold": 1.0,
    **dict.fromkeys(
        ["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "axes.titlecolor"], INK
    ),
}  # fmt: skip
FIGURES = {}


def draws(name, width=4.8, height=3.0, rows=1):
    """Register a function that draws on axes, or on the figure if rows=0."""

    def register(function):
        FIGURES[name] = (function, width, height, rows)
        return function

    return register

"""Small figures in HTML representations, without matplotlib."""

from __future__ import annotations

import html

import numpy as np

WIDTH, HEIGHT, EDGE = 320, 150, 22  # pixels
MAX_POINTS = 200  # of a line
STRIP_WIDTH, STRIP_LEFT, STRIP_HEIGHT, MAX_BARS = 640, 80, 20, 200  # pixels, and bars of a strip
NARROWEST = 480  # pixels, below which strips scroll


def draw_svg_lines(lines, labels, is_dashed=(), height=HEIGHT, show_range=True):
    """Draw lines in one pair of axes, in the color of the text around.

    Parameters
    ----------
    lines : list of (x, y)
        Arrays of equal length. NaN are left out.
    labels : (str, str)
        Of the axes.
    is_dashed : sequence of bool
        For each line. The others are solid.
    height : int
        Height in pixels.
    show_range : bool, default=True
        Whether the range of y is written behind its label.

    Returns
    -------
    svg : str

    Examples
    --------
    >>> svg = draw_svg_lines([([0, 1], [0, 1])], ("k", "accuracy"))
    >>> svg.count("<polyline")
    1
    """
    lines = [tuple(np.asarray(values, float) for values in line) for line in lines]
    limits = [_find_svg_limits([line[axis] for line in lines]) for axis in range(2)]
    parts = []
    for index, (x, y) in enumerate(lines):
        chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).round().astype(int))
        at = np.column_stack([
            EDGE + (WIDTH - 2 * EDGE) * (x[chosen] - limits[0][0]) / (limits[0][1] - limits[0][0]),
            height - EDGE - (height - 2 * EDGE) * (y[chosen] - limits[1][0]) / (limits[1][1] - limits[1][0]),
        ])  # fmt: skip
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in at[np.isfinite(at).all(1)])
        dash = ' stroke-dasharray="4 3" opacity="0.6"' if index < len(is_dashed) and is_dashed[index] else ""
        parts.append(f'<polyline fill="none" stroke="currentColor"{dash} points="{points}"/>')
    low, high = limits[0]
    y_range = f", {limits[1][0]:.2g} to {limits[1][1]:.2g}" if show_range else ""
    parts += [
        f'<path fill="none" stroke="currentColor" opacity="0.4" d="M{EDGE} {EDGE}V{height - EDGE}H{WIDTH - EDGE}"/>',
        _write_svg_text(EDGE, height - 7, f"{low:.4g}"),
        _write_svg_text(WIDTH - EDGE, height - 7, f"{high:.4g}", "end"),
        _write_svg_text(WIDTH / 2, height - 7, labels[0], "middle"),
        _write_svg_text(EDGE, EDGE - 8, f"{labels[1]}{y_range}"),
    ]
    return (
        f'<svg role="img" aria-label="{html.escape(labels[1])}" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}">{"".join(parts)}</svg>'
    )


def draw_svg_dots(places, size=HEIGHT):
    """Draw dots in the unit square, (n, 2), y upwards. NaN are left out."""
    places = np.asarray(places, float)
    dots = "".join(
        f'<circle cx="{size * x:.1f}" cy="{size * (1 - y):.1f}" r="2" fill="currentColor"/>'
        for x, y in places[np.isfinite(places).all(1)]
    )
    return (
        f'<svg role="img" aria-label="sensors" width="{size}" height="{size}" viewBox="0 0 {size} {size}">'
        f'<circle cx="{size / 2}" cy="{size / 2}" r="{size / 2 - 1}" fill="none" stroke="currentColor" opacity="0.4"/>'
        f"{dots}</svg>"
    )


def draw_svg_strips(strips, stop, start=0.0):
    """Draw a strip of bars for each kind of event, on one axis of time.

    Parameters
    ----------
    strips : list of (label, onsets, durations, texts)
        Seconds. ``texts`` are shown when the mouse is over a bar, or None.
        Many bars are drawn as the share of time that they cover.
    stop : float
        End of the axis in seconds.
    start : float, default=0.0
        Start of the axis, negative for onsets before the recording.

    Returns
    -------
    svg : str

    Examples
    --------
    >>> svg = draw_svg_strips([("word", [0.0, 1.0], [0.5, 0.5], None)], 2)
    >>> svg.count("<rect")
    2
    """
    length = max(float(stop) - start, 1e-9)
    scale, parts = (STRIP_WIDTH - STRIP_LEFT - EDGE) / length, []
    for place, (label, onsets, durations, texts) in enumerate(strips):
        top = 4 + STRIP_HEIGHT * place
        parts.append(_write_svg_text(STRIP_LEFT - 6, top + 11, label[:14], "end"))
        bars = zip(onsets, durations, np.full(len(onsets), 0.55), texts or [""] * len(onsets), strict=True)
        if len(onsets) > MAX_BARS:
            bars = _cover_bins(np.asarray(onsets, float) - start, np.asarray(durations, float), length)
            bars = [(start + onset, *rest) for onset, *rest in bars]
        for index, (onset, duration, opacity, text) in enumerate(bars):
            title = f"<title>{html.escape(text)}</title>" if text else ""
            shade = opacity - 0.2 * (index % 2) if texts else opacity  # neighbors differ
            parts.append(
                f'<rect x="{STRIP_LEFT + scale * (onset - start):.1f}" y="{top}" width="{max(scale * duration, 1):.1f}" height="14" '
                f'fill="currentColor" opacity="{shade:.2f}">{title}</rect>'
            )
    height = 4 + STRIP_HEIGHT * len(strips) + 18
    unit, factor = ("min", 60) if stop >= 120 else ("s", 1)
    parts += [
        _write_svg_text(STRIP_LEFT, height - 5, f"{start / factor:.1f} {unit}" if start else "0"),
        _write_svg_text(STRIP_WIDTH - EDGE, height - 5, f"{stop / factor:.1f} {unit}", "end"),
    ]
    labels = ", ".join(f"{len(onsets)} {label}" for label, onsets, _, _ in strips)
    return (
        f'<div style="overflow-x: auto"><svg role="img" aria-label="{html.escape(labels)}" '
        f'style="max-width: 100%; min-width: {NARROWEST}px; height: auto" width="{STRIP_WIDTH}" '
        f'height="{height}" viewBox="0 0 {STRIP_WIDTH} {height}">{"".join(parts)}</svg></div>'
    )


def _cover_bins(onsets, durations, stop):
    """Return bars of equal length, with the covered share as opacity."""
    edges = np.linspace(0, max(stop, 1e-9), MAX_BARS + 1)
    width = edges[1]
    first = np.clip(onsets / width, 0, MAX_BARS)
    last = np.clip((onsets + durations) / width, 0, MAX_BARS)
    covered = np.zeros(MAX_BARS)
    for start, end in zip(first, last, strict=True):
        bins = np.arange(int(start), min(int(np.ceil(end)), MAX_BARS))
        covered[bins] += np.minimum(end, bins + 1) - np.maximum(start, bins)
    return [
        (edge, width, 0.1 + 0.6 * min(share, 1), "")
        for edge, share in zip(edges[:-1], covered, strict=True)
        if share > 0
    ]


def _find_svg_limits(parts):
    """Return the finite range of values, widened if it is a point."""
    values = np.concatenate(parts) if parts else np.zeros(0)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _write_svg_text(x, y, text, anchor="start"):
    return f'<text x="{x:g}" y="{y:g}" font-size="11" fill="currentColor" text-anchor="{anchor}">{html.escape(text)}</text>'

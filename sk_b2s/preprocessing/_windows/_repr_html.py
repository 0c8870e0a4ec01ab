"""Representation of windows in notebooks."""

from __future__ import annotations

import html

import numpy as np

from sk_b2s._utils._svg import draw_svg_dots, draw_svg_lines
from sk_b2s.preprocessing._windows._signals import is_signal_loaded

SHOWN = 8  # channels


def draw_windows_html(windows):
    """Draw the first window and the sensors."""
    parts = [f"<p><code>{html.escape(repr(windows))}</code></p>"]
    if len(windows) and is_signal_loaded(windows.signals[windows.which[0]]):
        window = windows[0][:SHOWN]
        spread = np.nanmax(np.ptp(window, axis=1), initial=0.0) or 1.0
        time = np.arange(window.shape[1]) / (windows.sfreq or 1)
        known = np.isfinite(window)
        center = np.where(known, window, 0).sum(1) / np.maximum(known.sum(1), 1)
        lines = [(time, line - center[place] - spread * place) for place, line in enumerate(window)]
        unit = "samples" if windows.sfreq is None else "s"
        names = list(map(str, (windows.ch_names or range(windows.shape[1]))[:SHOWN]))
        channels = f"{names[0]} (top) to {names[-1]}" if len(names) > 1 else "".join(names)
        parts.append(draw_svg_lines(lines, (unit, f"first window, {channels}"), height=200, show_range=False))
    else:
        parts.append("<p>Signals are read when they are needed.</p>")
    if windows.positions is not None and np.isfinite(windows.positions[0]).any():
        parts.append(f"<p>Sensors, front at the top:</p>{draw_svg_dots(windows.positions[0])}")
    return f"<div>{''.join(parts)}</div>"

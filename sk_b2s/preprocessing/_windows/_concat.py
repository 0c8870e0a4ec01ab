"""Concatenation of windows of the same kind."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.preprocessing._fingerprint import make_fingerprint
from sk_b2s.preprocessing._windows._windows import Windows


def concat_windows(windows):
    """Concatenate windows of the same kind.

    Signals are shared and not copied. If the windows are those of tables of
    segments, it is simpler to concatenate the tables before
    :class:`~sk_b2s.Epocher`.

    Parameters
    ----------
    windows : sequence of Windows
        Windows with equal channels, sampling rate, number of samples and
        steps, such as those of several calls of
        :meth:`Windows.from_array`. Sensor layouts may differ.

    Returns
    -------
    windows : Windows
        All windows in the order of the arguments, with ``rows`` indexed from
        0. ``is_continuous`` is False if it is False for one of them.

    Raises
    ------
    TypeError
        If an entry is not Windows.
    ValueError
        If ``windows`` is empty, entries differ, only some have ``rows``, or a
        step has different values for each signal, unless all entries are
        subsets of the same windows.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s import Windows, concat_windows
    >>> one, two = (Windows.from_array(np.ones((n, 4, 50)), sfreq=100)
    ...             for n in (3, 2))
    >>> concat_windows([one, two])
    Windows(5 windows x 4 channels x 50 times, 100 Hz, 2 signals)
    """
    windows = [windows] if isinstance(windows, Windows) else list(windows)
    _check_windows_of_same_kind(windows)
    first, is_shared = windows[0], _are_subsets_of_windows(windows)
    signals, extents, layouts, which, places = [], [], [], [], {}
    n_layouts = np.cumsum([0, *(1 if part.positions is None else len(part.positions) for part in windows)])
    for part, shift in zip(windows, n_layouts, strict=False):
        index = np.empty(len(part.signals), np.int64)
        for place, signal in enumerate(part.signals):
            extent = (0, signal.shape[0]) if part.extent is None else tuple(map(int, part.extent[place]))
            layout = int(part.layout[place] + shift)
            if part.positions is first.positions:
                layout = int(part.layout[place])
            key = place if is_shared else (id(signal), extent, layout)
            if key not in places:
                places[key] = len(signals)
                signals.append(signal)
                extents.append(extent)
                layouts.append(layout)
            index[place] = places[key]
        which.append(index[part.which])
    return Windows(
        signals,
        np.concatenate(which),
        np.concatenate([part.start for part in windows]),
        first.n_read,
        first.sfreq,
        rows=None if first.rows is None else pd.concat([part.rows for part in windows], ignore_index=True),
        positions=_stack_positions_of_windows(windows),
        layout=layouts,
        ch_names=first.ch_names,
        extent=None if all(part.extent is None for part in windows) else np.array(extents),
        steps=first.steps,
        n_valid=None if all(part.n_valid is None for part in windows) else _join_valid_samples(windows),
        is_continuous=all(part.is_continuous for part in windows),
    )


def _check_windows_of_same_kind(windows):
    """Raise unless all windows can be concatenated."""
    if not windows:
        raise ValueError("windows must contain at least one entry. Got none.")
    for place, part in enumerate(windows):
        if not isinstance(part, Windows):
            raise TypeError(
                f"windows[{place}] must be Windows. Got {type(part).__name__}. Use Windows.from_array for arrays."
            )
    first = windows[0]
    kinds = [_describe_kind_of_windows(part) for part in windows]
    for place, kind in enumerate(kinds):
        for name, value in kind.items():
            if value != kinds[0][name]:
                raise ValueError(
                    f"All windows must have the same {name}. Got {_shorten_window_value(value)} in windows[{place}] and "
                    f"{_shorten_window_value(kinds[0][name])} in windows[0]. Concatenate the tables of segments before Epocher, or the windows "
                    f"before steps that change them."
                )
    for step in first.steps:
        if getattr(step, "is_per_signal", False) and not _are_subsets_of_windows(windows):
            raise ValueError(
                f"A step of the windows ({type(step).__name__}) has other values for each recording, so they cannot be "
                f"concatenated. Concatenate the windows before the scaler."
            )
    if any(
        make_fingerprint(*_describe_steps_of_windows(part))
        != make_fingerprint(*_describe_steps_of_windows(first))
        for part in windows[1:]
    ):
        raise ValueError(
            "All windows must have the same steps, such as baselines. A scaler of recordings has other values for each "
            "recording. Concatenate the windows before the scaler."
        )


def _are_subsets_of_windows(windows):
    """Return whether all have the same signals, in the same order."""
    first = windows[0]
    return all(
        list(map(id, part.signals)) == list(map(id, first.signals))
        and part.positions is first.positions
        and np.array_equal(part.layout, first.layout)
        and (part.extent is first.extent or np.array_equal(part.extent, first.extent))
        for part in windows
    )


def _describe_kind_of_windows(part):
    """Return what must be equal in windows, by name."""
    return {
        "number of channels": part.n_channels_read,
        "channel names": part.ch_names,
        "sampling rate": part.sfreq,
        "number of samples": part.n_read,
        "number of steps": len(part.steps),
        "kind of rows (None or a table)": type(part.rows).__name__,
    }


def _describe_steps_of_windows(part):
    return [[type(step), vars(step) if hasattr(step, "__dict__") else step] for step in part.steps]


def _shorten_window_value(value):
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _stack_positions_of_windows(windows):
    """Return the layouts of all windows, NaN for those without positions."""
    first = windows[0].positions
    if all(part.positions is first for part in windows):
        return first
    unknown = np.full((1, windows[0].n_channels_read, 2), np.nan)
    return np.concatenate([unknown if part.positions is None else part.positions for part in windows])


def _join_valid_samples(windows):
    """Return the number of valid samples of each window."""
    return np.concatenate([
        np.full(len(part), part.n_times) if part.n_valid is None else part.n_valid for part in windows
    ])  # fmt: skip

"""What is where in a table of events or segments, as text and in HTML."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._svg import draw_svg_strips
from sk_b2s.events._images import OTHER_TYPES
from sk_b2s.events._stimuli import stimulus_name

SHOWN = 12  # recordings
TEXT_WIDTH, SHORTEST = 80, 16  # characters of the table, and of a shortened column
SEGMENTS = "segment"  # type of the rows of a table of segments
NEEDED = ("subject", "recording", "onset", "duration")


def describe_events(table):
    """Describe what is where in the recordings of a table.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, ...)
        Events table, or ``X`` of :func:`~sk_b2s.make_segments`, with
        ``subject, recording, onset`` and ``duration``. Rows without the column
        ``type`` are segments. Rows without an onset are counted, but have no
        place.

    Returns
    -------
    description : EventsDescription
        In a notebook, a strip for each recording with its stimuli, words and
        segments. As text, a line for each recording.

    Raises
    ------
    TypeError
        If ``table`` is not a DataFrame.
    ValueError
        If a column is missing, or the table is empty.

    See Also
    --------
    check_events : Check an events table, and fill in optional columns.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s.events import describe_events
    >>> events = pd.DataFrame({
    ...     "subject": "S1", "recording": "S1.fif", "type": ["sound", "word"],
    ...     "onset": [1.0, 2.5], "duration": [60.0, 0.3],
    ...     "sound": ["story.wav", None],
    ... })
    >>> describe_events(events)
    1 recording of 1 subject, 1.0 min: 1 sound, 1 word
    subject recording  minutes  sound  word   stimuli
         S1    S1.fif      1.0      1     1 story.wav
    """
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            f"The 'table' parameter of describe_events must be a DataFrame. Got {type(table).__name__}."
        )
    if missing := [name for name in NEEDED if name not in table]:
        raise ValueError(
            f"The 'table' parameter of describe_events must have the columns {missing}. Got {list(table.columns)}. "
            f"Pass events, or X of make_segments."
        )
    if not len(table):
        raise ValueError("The 'table' parameter of describe_events must have at least one row.")
    return EventsDescription(table)


class EventsDescription:
    """Description of a table of events, see :func:`describe_events`.

    Parameters
    ----------
    events : DataFrame of shape (n_rows, ...)

    Attributes
    ----------
    table : DataFrame of shape (n_recordings, ...)
        ``subject, recording``, ``minutes`` that are covered by rows, the
        number of rows of each type, and ``stimuli``.
    """

    def __init__(self, events):
        self._events = events
        self.table = pd.DataFrame([
            _describe_recording(subject, recording, own)
            for (subject, recording), own in self._iter_recordings()
        ])  # fmt: skip
        counts = [name for name in self.table if name not in ("subject", "recording", "minutes", "stimuli")]
        self.table[counts] = self.table[counts].fillna(0).astype(int)
        self.table = self.table[["subject", "recording", "minutes", *counts, "stimuli"]]

    def _iter_recordings(self):
        events = self._events
        names = events["recording"].map(str)
        return events.groupby([events["subject"].map(str), names], sort=False)

    def _summarize(self):
        table = self.table
        counts = table.drop(columns=["subject", "recording", "minutes", "stimuli"]).sum()
        parts = ", ".join(_format_event_count(n, name) for name, n in counts.items())
        n_subjects = table["subject"].nunique()
        return f"{_format_event_count(len(table), 'recording')} of {_format_event_count(n_subjects, 'subject')}, {table['minutes'].sum():.1f} min: {parts}"

    def __repr__(self):
        shown = self.table.head(SHOWN).assign(minutes=self.table["minutes"].map("{:.1f}".format))
        shown = shown if shown["stimuli"].any() else shown.drop(columns="stimuli")
        more = len(self.table) - len(shown)
        lines = [self._summarize(), _format_table(shown), *[f"... and {more} more"] * (more > 0)]
        return "\n".join(lines)

    def _repr_html_(self):
        parts = [f"<p>{html.escape(self._summarize())}</p>"]
        recordings = list(self._iter_recordings())[:SHOWN]
        stops = [float((own["onset"] + own["duration"].fillna(0)).max()) for _, own in recordings]
        stop = np.nan_to_num(stops).max()
        start = min(0.0, np.nan_to_num([own["onset"].min() for _, own in recordings]).min())
        for row, (_, own) in zip(self.table.itertuples(), recordings, strict=False):
            title = f"{row.subject}, {row.recording}" + (f": {row.stimuli}" if row.stimuli else "")
            parts.append(
                f"<p>{html.escape(title)}</p>{draw_svg_strips(_make_timeline_strips(own), stop, start)}"
            )
        if more := len(self.table) - len(recordings):
            parts.append(f"<p>and {more} more</p>")
        return f"<div>{''.join(parts)}</div>"


def _format_table(table):
    """Format a table as text, with long stimuli and recordings shortened."""
    text = table.to_string(index=False)
    for name in ("stimuli", "recording"):
        excess = max(map(len, text.splitlines())) - TEXT_WIDTH
        if name in table and excess > 0:
            width = max(table[name].str.len().max() - excess, SHORTEST)
            table = table.assign(**{name: [_shorten(value, width, name) for value in table[name]]})
            text = table.to_string(index=False)
    return text


def _shorten(text, width, name):
    """Shorten a text at its end, that of a recording in its middle."""
    if len(text) <= width:
        return text
    n_last = (width - 1) // 2 if name == "recording" else 0
    return f"{text[: width - 1 - n_last]}…{text[len(text) - n_last :]}"


def _format_event_count(n, noun):
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _get_event_types(own):
    """Return the type of each row, segments without a column of types."""
    return own["type"].map(str) if "type" in own else pd.Series(SEGMENTS, index=own.index)


def _describe_recording(subject, recording, own):
    """Describe one recording as a dict."""
    placed, types = own[own["onset"].notna()], _get_event_types(own)
    start = placed["onset"].to_numpy(float)
    stop = start + placed["duration"].fillna(0).to_numpy(float)
    order = np.argsort(start, kind="stable")
    last = np.maximum.accumulate(stop[order])
    before = np.r_[-np.inf, last[:-1]]
    seconds = np.sum(last - np.maximum(np.minimum(before, last), start[order]))
    named = own["sound"].dropna() if "sound" in own else pd.Series(dtype=object)
    for kind in dict.fromkeys(types):
        if not len(named) and kind not in OTHER_TYPES and kind in own:
            named = own[kind].dropna()
    names = list(dict.fromkeys(stimulus_name(one) for one in named))
    stimuli = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return {
        "subject": subject, "recording": Path(recording).name, "minutes": seconds / 60,
        **types.value_counts(sort=False), "stimuli": stimuli,
    }  # fmt: skip


def _make_timeline_strips(own):
    """Make the strip of each type: label, onsets, durations and names."""
    own = own[own["onset"].notna()]
    types = _get_event_types(own)
    strips = []
    for name in dict.fromkeys(types):
        part = own[types == name]
        texts = None
        if name == "sound" or name not in (*OTHER_TYPES, SEGMENTS):
            column = name if name in part else "sound"
            texts = (
                [stimulus_name(one) if pd.notna(one) else "" for one in part[column]]
                if column in part
                else None
            )
        strips.append(
            (name, part["onset"].to_numpy(float), part["duration"].fillna(0).to_numpy(float), texts)
        )
    return strips

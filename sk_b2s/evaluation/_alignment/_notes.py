"""Verdicts and notes of an alignment check."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from sk_b2s.decoding._stimulus_artifacts import LEAK
from sk_b2s.events._stimuli import format_stimulus_names
from sk_b2s.metrics._lag_curve import ZERO_LAG

BEFORE = (-0.4, -0.1)  # s, lags without a response
MIN_SECONDS = 30.0  # s of stimulus that a verdict needs
SECOND_PEAK = 0.15  # of the largest value, minimum height of a second peak
LONGER = 1.25  # longest stimuli that one is compared with, as a multiple of its duration
CLEAR = 1e-6  # p of a clear response
PEAK = 6.0  # s.d. of the null, minimum height of a peak


DRIFT = 0.1  # s, minimum difference between offsets of parts for a drift
SCATTER = 0.05  # s, largest distance of parts from a line, or a fifth of the drift
SUBJECT_SD, SESSION_SD = 0.016, 0.004  # s, of offsets between subjects, and between sessions of a subject
ERROR_FACTOR = 3.0  # standard error of an offset with a response, relative to that in noise
OUTLIER = 2.5  # s.d., minimum distance of an outlier
MIN_SUBJECTS = 5  # for a comparison between subjects
MIN_RECORDINGS = 3  # of a subject, for a comparison between them


class AlignmentNoteVerdict(StrEnum):
    """Values of the column ``verdict`` of an alignment check."""

    ALIGNED = "aligned"
    OFF = "off"
    CANNOT_TELL = "cannot_tell"


def make_alignment_notes(recording, max_offset, tolerance, level):
    """Convert the numbers of a recording and its parts to verdicts and notes.

    Parameters
    ----------
    recording : list of dict
        The recording, then its parts.
    max_offset, tolerance, level : float
        As in :func:`~sk_b2s.check_alignment`.

    Returns
    -------
    rows : list of dict
    """
    rows = [_judge_alignment_part(part, max_offset, tolerance, level) for part in recording]
    parts = [row for row in rows[1:] if np.isfinite(row["offset"])]
    if rows[0]["verdict"] != AlignmentNoteVerdict.CANNOT_TELL or len(parts) >= 3:
        _compare_alignment_parts(rows[0], parts, tolerance)
    return rows


def _judge_alignment_part(part, max_offset, tolerance, level):
    """Convert the numbers of a part to a verdict and notes."""
    lags, curve = part.pop("lags"), part["curve"]
    singles, error, silent = part.pop("singles", []), part.pop("error", None), part.pop("silent", [])
    rest, rest_p, leak, edge = (part.pop(name) for name in ("rest", "rest_p", "leak", "edge"))
    wide, wide_p, holders = part.pop("wide"), part.pop("wide_p"), part.pop("holders", [])
    offset, seen = part["offset"], part["p"] <= level
    usual = _find_usual_offset(singles, level)
    moved = list(_iter_odd_stimuli(singles, usual, tolerance, level))
    leak = max([leak, *(one[4] for one in singles if abs(one[1] - usual) <= tolerance)], key=np.nan_to_num)
    early = curve[(lags >= BEFORE[0]) & (lags <= BEFORE[1])].max()
    notes = (
        [f"{format_stimulus_names(silent)} {'is' if len(silent) == 1 else 'are'} silent"] if silent else []
    )
    notes += [f"channel {name!r} contains the stimulus: its envelope at 0 ms has correlation {likeness:.2f}. Exclude "
              "it with picks, or set its type to 'misc'" for name, likeness in holders]  # fmt: skip
    if error is not None:
        notes.append(f"cannot be checked: {error}")
    elif part["heard"] < MIN_SECONDS:
        notes.append(f"only {part['heard']:.0f} s of stimulus")
    elif leak > LEAK:
        notes.append("isolated peak at 0 ms: an artifact of earphones or cables")
        outside = np.abs(lags) > ZERO_LAG  # noise next to a high peak scales with it
        later = (curve - curve[::-1])[outside].max() > SECOND_PEAK * curve.max()
        offset, seen = rest, seen and rest_p <= level and later
        notes += [] if seen else ["no other response"]
    elif (edge or not seen) and wide_p <= level / 10:
        offset, seen = wide, True
        notes.append(f"response beyond max_offset, ±{max_offset:g} s")
    elif edge and seen:
        offset, seen = np.nan, False
        notes.append(f"largest at or beyond the edge of max_offset, ±{max_offset:g} s")
    verdict = _make_alignment_verdict(offset if seen else np.nan, tolerance)
    if verdict["verdict"] == AlignmentNoteVerdict.ALIGNED and early > max(PEAK, SECOND_PEAK * curve.max()):
        notes.append(
            "response before the stimulus: smear of a zero-phase filter, or an early copy of the stimulus"
        )
    elif verdict["verdict"] == AlignmentNoteVerdict.OFF:
        word = "later" if offset > 0 else "earlier"
        notes.append(f"the response is {abs(offset):.2f} s {word} than in the table")
    curve = part.pop("curve")
    offset = offset if seen else np.nan
    return {**part, **verdict, "offset": offset, "note": "; ".join([*notes, *moved]), "curve": curve}


def _make_alignment_verdict(offset, tolerance):
    """Return the verdict on an offset and its text: dict."""
    if np.isnan(offset):
        verdict, text = AlignmentNoteVerdict.CANNOT_TELL, "cannot tell"
    elif abs(offset) <= tolerance:
        verdict, text = AlignmentNoteVerdict.ALIGNED, "aligned"
    else:
        verdict, text = AlignmentNoteVerdict.OFF, f"off by {offset:+.2f} s"
    return {"verdict": verdict.value, "verdict_text": text}


def _compare_alignment_parts(whole, parts, tolerance):
    """Note a drift, or parts that differ, in place.

    The offset of the recording is set to the range of its parts.
    """
    if len(parts) < 2:
        return
    offsets = np.array([part["offset"] for part in parts])
    middle = np.array([(part["start"] + part["stop"]) / 2 for part in parts])
    low, high, note = offsets.min(), offsets.max(), ""
    slope, start = np.polyfit(middle, offsets, 1)
    change = abs(slope) * np.ptp(middle)
    error = np.abs(offsets - start - slope * middle).max()
    if len(parts) >= 3 and change >= DRIFT and error <= max(SCATTER, change / 5):
        note = f"drifts by {slope * 1e6:+.0f} ppm ({slope * 60:+.2f} s per minute): check both sampling rates"
        note += " and the clock correction"
    elif high - low > tolerance:
        first, last = parts[int(np.argmin(offsets))], parts[int(np.argmax(offsets))]
        note = f"offsets of its parts differ, from {low:+.2f} s ({first['start']:.0f} to {first['stop']:.0f} s) to {high:+.2f} s "
        note += f"({last['start']:.0f} to {last['stop']:.0f} s)"
    if note and not low <= whole["offset"] <= high:
        offset = float(np.median(offsets))
        texts = [
            text for text in whole["note"].split("; ") if text and not text.startswith("the response is")
        ]
        whole.update(_make_alignment_verdict(offset, tolerance), offset=offset, note="; ".join(texts))
    whole["note"] = "; ".join(filter(None, [whole["note"], note]))


def _find_usual_offset(singles, level):
    """Return the offset closest to all stimuli, 0 without a response."""
    offsets = np.array([one[1] for one in singles if one[2] <= level / len(singles)])
    away = np.abs(offsets[:, None] - offsets).sum(0)  # of two different stimuli, the one closer to 0
    return offsets[np.lexsort([np.abs(offsets), away.round(6)])[0]] if len(offsets) else 0.0


def _iter_odd_stimuli(singles, usual, tolerance, level):
    """Yield notes on stimuli with another offset, or without a response."""
    level = level / max(len(singles), 1)
    seen = [one for one in singles if one[2] <= level]
    for name, at, *_ in seen:
        if abs(at - usual) > tolerance:
            yield f"{name!r} is {at - usual:+.2f} s from the others"
    lost = []
    for name, _, p, heard, _ in singles:
        alike = [
            other[2] for other in seen if other[3] <= LONGER * heard
        ]  # a short stimulus has less evidence
        if not p <= level and len(alike) > 1 and np.median(alike) <= CLEAR:
            lost.append(name)
    if lost and len(seen) > len(singles) / 2:
        several = f"{', '.join(map(repr, lost[:3]))}{', ...' * (len(lost) > 3)}"
        yield f"no response to {several}, but to {len(seen)} of {len(singles)} stimuli: check the stimulus and its onset"


def compare_alignment_notes(found):
    """Compare recordings with each other and sort the columns.

    Parameters
    ----------
    found : DataFrame
        Rows of :func:`make_alignment_notes`.

    Returns
    -------
    found : DataFrame
        With notes on recordings without a response if most have one, and on
        those whose offset differs from the other subjects or from the other
        recordings of their subject.
    """
    for row, text in _iter_offset_outliers(found):
        found.at[row, "note"] = "; ".join(filter(None, [found.at[row, "note"], text]))
    whole = found[found["part"] == 0]
    n_seen = int((whole["verdict"] != AlignmentNoteVerdict.CANNOT_TELL).sum())
    if 2 * n_seen > len(whole):
        has_reason = found["note"].str.startswith(("cannot be checked", "only "))
        lost = (found["part"] == 0) & (found["verdict"] == AlignmentNoteVerdict.CANNOT_TELL) & ~has_reason
        text = (
            f"no response, but {n_seen} of {len(whole)} recordings have one: check the stimulus and its onset"
        )
        found.loc[lost, "note"] = [f"{note}; {text}".removeprefix("; ") for note in found.loc[lost, "note"]]
    last = ["verdict", "verdict_text", "offset", "p", "note", "curve"]
    return found[[*(name for name in found if name not in last), *last]]


def _iter_offset_outliers(found):
    """Yield rows of recordings with an outlying offset, with a note."""
    whole = found[(found["part"] == 0) & found["offset"].notna()]
    error = ERROR_FACTOR * whole["offset_error"].fillna(0.0)
    of_subjects = whole.groupby(["study", "subject"], dropna=False)["offset"].transform("median")
    first = ~whole.duplicated(["study", "subject"])
    outliers = _find_alignment_outliers(
        of_subjects[first].to_numpy(), error[first].to_numpy(), SUBJECT_SD, MIN_SUBJECTS
    )
    subjects = whole.loc[first, ["study", "subject"]].assign(by=outliers)
    for row, by in whole[["study", "subject"]].merge(subjects, "left").set_axis(whole.index)["by"].items():
        if np.isfinite(by):
            yield (
                row,
                f"subject {found.at[row, 'subject']!r} is {by:+.3f} s from the other subjects: check the onsets",
            )
    for _, rows in whole.groupby(["study", "subject"], dropna=False):
        outliers = _find_alignment_outliers(
            rows["offset"].to_numpy(), error[rows.index].to_numpy(), SESSION_SD, MIN_RECORDINGS
        )
        for row, by in zip(rows.index, outliers, strict=True):
            if np.isfinite(by):
                name = found.at[row, "session"] or found.at[row, "recording"]
                yield (
                    row,
                    (
                        f"recording {name!r} of subject {found.at[row, 'subject']!r} is {by:+.3f} s from the subject's "
                        "others: check the onsets"
                    ),
                )


def _find_alignment_outliers(offsets, errors, spread, enough):
    """Return the distance of outliers from the mean of the densest half.

    Array of shape (n,), NaN for offsets that are not outliers.
    """
    if len(offsets) < enough:
        return np.full(len(offsets), np.nan)
    order, half = np.sort(offsets), len(offsets) // 2 + 1
    first = int(np.argmin(order[half - 1 :] - order[: len(order) - half + 1]))
    away = offsets - order[first : first + half].mean()
    named = np.abs(away) > OUTLIER * np.hypot(spread, errors)
    return np.where(named & (named.sum() <= len(offsets) / 3), away, np.nan)

"""Verdicts and notes of an alignment check."""

from __future__ import annotations

import numpy as np

from sk_b2s.decoding._stimulus_artifacts import LEAK
from sk_b2s.events._audio._checks import format_names
from sk_b2s.metrics._lag_curve import ZERO_LAG

BEFORE = (-0.4, -0.1)  # s in which nothing answers that hears
LEAST_HEARD = 30.0  # s of sound, without which nothing is said
SHARE = 0.15  # of the largest value, that a second peak needs
LONGER = 1.25  # times as long as a sound are those that it is compared with, at most
CLEAR = 1e-6  # p of a response whose absence from another sound says something
PEAK = 6.0  # s.d. of the null by which a part of the curve counts as seen


DRIFT = 0.1  # s by which offsets of parts must differ to be called a drift
SCATTER = 0.05  # s around a line, and a fifth of the whole drift, up to which parts are on it
PEOPLE, SESSIONS = 0.016, 0.004  # s.d. of offsets of different subjects, and of sessions of one (s)
UNSURE = 3.0  # times its standard error in noise is that of an offset beside a response
APART = 2.5  # s.d. from the others at which a recording is named
ENOUGH = 5  # subjects that are compared with each other
SEVERAL = 3  # recordings of one subject that are


def judge(recording, max_offset, tolerance, level):
    """Put the numbers of a recording and its parts into verdicts and notes.

    Parameters
    ----------
    recording : list of dict
        The whole recording, then its parts.
    max_offset, tolerance, level : float
        As of :func:`~sk_b2s.check_alignment`.

    Returns
    -------
    rows : list of dict
    """
    rows = [_judge(part, max_offset, tolerance, level) for part in recording]
    parts = [row for row in rows[1:] if np.isfinite(row["offset"])]
    if rows[0]["verdict"] != "cannot tell" or len(parts) >= 3:
        _judge_parts(rows[0], parts, tolerance)
    return rows


def _judge(part, max_offset, tolerance, level):
    """Put a part's numbers into words."""
    lags, curve = part.pop("lags"), part["curve"]
    singles, error, silent = part.pop("singles", []), part.pop("error", None), part.pop("silent", [])
    rest, rest_p, leak, edge = (part.pop(name) for name in ("rest", "rest_p", "leak", "edge"))
    wide, wide_p, holders = part.pop("wide"), part.pop("wide_p"), part.pop("holders", [])
    offset, seen = part["offset"], part["p"] <= level
    usual = _usual_offset(singles, level)
    moved = list(_odd_sounds(singles, usual, tolerance, level))
    leak = max([leak, *(one[4] for one in singles if abs(one[1] - usual) <= tolerance)], key=np.nan_to_num)
    early = curve[(lags >= BEFORE[0]) & (lags <= BEFORE[1])].max()
    notes = [f"{format_names(silent)} {'is' if len(silent) == 1 else 'are'} silent"] if silent else []
    notes += [f"channel {name!r} holds the sound: its envelope is in it at 0 ms (correlation {likeness:.2f}). Leave it "
              "out by picks, or set its type to 'misc'" for name, likeness in holders]  # fmt: skip
    if error is not None:
        notes.append(f"cannot be looked at: {error}")
    elif part["heard"] < LEAST_HEARD:
        notes.append(f"only {part['heard']:.0f} s of sound")
    elif leak > LEAK:
        notes.append("isolated peak at 0 ms: earphones or cables, not a brain")
        beside = np.abs(lags) > ZERO_LAG  # an echo of chance beside a tall peak grows with it
        later = (curve - curve[::-1])[beside].max() > SHARE * curve.max()
        offset, seen = rest, seen and rest_p <= level and later
        notes += [] if seen else ["nothing else is seen"]
    elif (edge or not seen) and wide_p <= level / 10:
        offset, seen = wide, True
        notes.append(f"a response is seen beyond the ±{max_offset:g} s that were searched (max_offset)")
    elif edge and seen:
        offset, seen = np.nan, False
        notes.append(
            f"largest at or beyond the edge of the ±{max_offset:g} s that were searched (max_offset)"
        )
    verdict = _verdict(offset if seen else np.nan, tolerance)
    if verdict == "aligned" and early > max(PEAK, SHARE * curve.max()):
        notes.append("response before the sound: smear of a zero-phase filter, or an early copy of the sound")
    elif verdict.startswith("off"):
        word = "later" if offset > 0 else "earlier"
        notes.append(f"the brain answers {abs(offset):.2f} s {word} than the table says")
    curve = part.pop("curve")
    offset = offset if seen else np.nan
    return {**part, "verdict": verdict, "offset": offset, "note": "; ".join([*notes, *moved]), "curve": curve}


def _verdict(offset, tolerance):
    if np.isnan(offset):
        return "cannot tell"
    return "aligned" if abs(offset) <= tolerance else f"off by {offset:+.2f} s"


def _judge_parts(whole, parts, tolerance):
    """Name a drift, or parts that differ, in place; the whole is at no offset outside of those of its parts."""
    if len(parts) < 2:
        return
    offsets = np.array([part["offset"] for part in parts])
    middle = np.array([(part["start"] + part["stop"]) / 2 for part in parts])
    low, high, note = offsets.min(), offsets.max(), ""
    slope, start = np.polyfit(middle, offsets, 1)
    change = abs(slope) * np.ptp(middle)
    error = np.abs(offsets - start - slope * middle).max()
    if len(parts) >= 3 and change >= DRIFT and error <= max(SCATTER, change / 5):
        note = (
            f"drifts by {slope * 1e6:+.0f} ppm ({slope * 60:+.2f} s a minute): are both sampling rates right"
        )
        note += ", or was the clock's drift not corrected?"
    elif high - low > tolerance:
        first, last = parts[int(np.argmin(offsets))], parts[int(np.argmax(offsets))]
        note = f"its parts differ, from {low:+.2f} s ({first['start']:.0f} to {first['stop']:.0f} s) to {high:+.2f} s "
        note += f"({last['start']:.0f} to {last['stop']:.0f} s)"
    if note and not low <= whole["offset"] <= high:
        offset = float(np.median(offsets))
        said = [
            text for text in whole["note"].split("; ") if text and not text.startswith("the brain answers")
        ]
        whole.update(offset=offset, verdict=_verdict(offset, tolerance), note="; ".join(said))
    whole["note"] = "; ".join(filter(None, [whole["note"], note]))


def _usual_offset(singles, level):
    """Offset of the sound from which the others differ least, 0 where none shows a response."""
    offsets = np.array([one[1] for one in singles if one[2] <= level / len(singles)])
    away = np.abs(offsets[:, None] - offsets).sum(0)  # of two sounds that differ the one nearer to 0 is right
    return offsets[np.lexsort([np.abs(offsets), away.round(6)])[0]] if len(offsets) else 0.0


def _odd_sounds(singles, usual, tolerance, level):
    """Yield notes on sounds that are elsewhere than most, or nowhere where the others are seen."""
    level = level / max(len(singles), 1)
    seen = [one for one in singles if one[2] <= level]
    for name, at, *_ in seen:
        if abs(at - usual) > tolerance:
            yield f"{name!r} is {at - usual:+.2f} s from the others"
    lost = []
    for name, _, p, heard, _ in singles:
        alike = [other[2] for other in seen if other[3] <= LONGER * heard]  # a short sound shows less
        if not p <= level and len(alike) > 1 and np.median(alike) <= CLEAR:
            lost.append(name)
    if lost and len(seen) > len(singles) / 2:
        several = f"{', '.join(map(repr, lost[:3]))}{', ...' * (len(lost) > 3)}"
        yield f"no response to {several}, where {len(seen)} of {len(singles)} show one: another sound, or far off?"


def compare(found):
    """Compare recordings with each other and order the columns.

    Parameters
    ----------
    found : DataFrame
        Rows of :func:`judge`.

    Returns
    -------
    found : DataFrame
        With notes on recordings that show nothing where most show a response, or whose response is elsewhere than
        those of the other subjects or of the other recordings of their subject.
    """
    for row, text in _elsewhere(found):
        found.at[row, "note"] = "; ".join(filter(None, [found.at[row, "note"], text]))
    whole = found[found["part"] == 0]
    n_seen = int((whole["verdict"] != "cannot tell").sum())
    if 2 * n_seen > len(whole):
        told = found["note"].str.startswith(("cannot be looked at", "only "))
        lost = (found["part"] == 0) & (found["verdict"] == "cannot tell") & ~told
        text = (
            f"no response, where {n_seen} of {len(whole)} recordings show one: the wrong sound, or far off?"
        )
        found.loc[lost, "note"] = [f"{note}; {text}".removeprefix("; ") for note in found.loc[lost, "note"]]
    columns = [name for name in found if name not in ("verdict", "offset", "p", "note", "curve")]
    return found[[*columns, "verdict", "offset", "p", "note", "curve"]]


def _elsewhere(found):
    """Yield rows of whole recordings whose offset is apart from the others, with what to say of them."""
    whole = found[(found["part"] == 0) & found["offset"].notna()]
    error = UNSURE * whole["offset_error"].fillna(0.0)
    of_people = whole.groupby(["study", "subject"], dropna=False)["offset"].transform("median")
    first = ~whole.duplicated(["study", "subject"])
    apart = _apart(of_people[first].to_numpy(), error[first].to_numpy(), PEOPLE, ENOUGH)
    people = whole.loc[first, ["study", "subject"]].assign(by=apart)
    for row, by in whole[["study", "subject"]].merge(people, "left").set_axis(whole.index)["by"].items():
        if np.isfinite(by):
            yield (
                row,
                f"subject {found.at[row, 'subject']!r} is {by:+.3f} s from the other subjects: are onsets late?",
            )
    for _, rows in whole.groupby(["study", "subject"], dropna=False):
        apart = _apart(rows["offset"].to_numpy(), error[rows.index].to_numpy(), SESSIONS, SEVERAL)
        for row, by in zip(rows.index, apart, strict=True):
            if np.isfinite(by):
                name = found.at[row, "session"] or found.at[row, "recording"]
                yield (
                    row,
                    (
                        f"recording {name!r} of subject {found.at[row, 'subject']!r} is {by:+.3f} s from the subject's "
                        "others: are onsets late?"
                    ),
                )


def _apart(offsets, errors, spread, enough):
    """Distance of each offset from the mean of the closest half, NaN where it is usual: ndarray of shape (n,)."""
    if len(offsets) < enough:
        return np.full(len(offsets), np.nan)
    order, half = np.sort(offsets), len(offsets) // 2 + 1
    first = int(np.argmin(order[half - 1 :] - order[: len(order) - half + 1]))
    away = offsets - order[first : first + half].mean()
    named = np.abs(away) > APART * np.hypot(spread, errors)
    return np.where(named & (named.sum() <= len(offsets) / 3), away, np.nan)

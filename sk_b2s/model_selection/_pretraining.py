"""Recordings and stimuli that pretraining without labels has seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from sk_b2s._utils._estimators import iter_nested_estimators
from sk_b2s._utils._text import format_percent_text
from sk_b2s._utils._validation import validate_seconds, validate_table
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.model_selection._leakage_copies import find_leakage_recording_copies
from sk_b2s.preprocessing._overlap_line import NEEDED

TIMES = {"recording", "onset", "duration"}
COLUMNS = ("pretrained_windows", "pretrained_subjects", "pretrained_stimuli")  # of check_leakage


class PretrainingExposure(NamedTuple):
    """Masks of rows by what pretraining has seen."""

    windows: np.ndarray  # samples of the window
    subjects: np.ndarray  # any recording of the subject
    stimuli: np.ndarray  # the stimulus, in recordings of any subject
    unknown: np.ndarray  # no recordings and times to compare, of a subject that may be in pretraining


def describe_pretraining_rows(X):
    """Return tables of the seen recordings and stimuli, None if unknown."""
    table = validate_table(X)
    recordings = stimuli = None
    if table is not None and set(table) >= TIMES:
        start = validate_seconds(table, "onset", "X")
        stop = start + validate_seconds(table, "duration", "X")
        subject = (
            table["subject"].astype(str).to_numpy(object) if "subject" in table else np.full(len(table), "")
        )
        names = pd.DataFrame(
            {"subject": subject, "recording": table["recording"].astype(str).to_numpy(object)}
        )
        code = names.groupby(["subject", "recording"], sort=False).ngroup()
        spans = _tabulate_pretraining_intervals(
            StimulusIntervals.from_spans(code.to_numpy(object), start, stop), "code"
        )
        named = names.groupby(code).first().reindex(spans.pop("code")).reset_index(drop=True)
        recordings = pd.concat([named, spans], axis=1)
    if table is not None and set(NEEDED) <= set(table):
        heard = table.loc[table["sound"].notna(), list(NEEDED)]
        if "images" in table:  # of which a window can have several
            seen = pd.unique(table["images"].explode().dropna())
            heard = pd.concat([heard, pd.DataFrame({"sound": seen, "sound_onset": 0.0, "duration": 0.1})])
        if len(heard):
            stimuli = _tabulate_pretraining_intervals(StimulusIntervals.from_table(heard), "stimulus")
    return recordings, stimuli


def unite_pretraining_rows(one, other):
    """Return the union of two pairs of tables of seen recordings, stimuli.

    Recordings are unknown if those of one pair are unknown.
    """
    (first, heard), (second, other_heard) = one, other
    recordings = None if first is None or second is None else _unite_pretraining_tables([first, second])
    known = [table for table in (heard, other_heard) if table is not None]
    return recordings, _unite_pretraining_tables(known) if known else None


def _unite_pretraining_tables(tables):
    return pd.concat(tables, ignore_index=True).drop_duplicates(ignore_index=True)


def _tabulate_pretraining_intervals(intervals, name):
    """Return intervals as a table with the columns name, start and stop."""
    spans = intervals.intervals
    return pd.DataFrame({
        name: np.repeat(np.array(list(spans), object), [len(one) for one in spans.values()]),
        "start": np.concatenate([one[:, 0] for one in spans.values()]),
        "stop": np.concatenate([one[:, 1] for one in spans.values()]),
    })  # fmt: skip


def _restore_pretraining_intervals(table, name):
    """Convert a table of `_tabulate_pretraining_intervals` to intervals."""
    key = table[name].to_numpy(object)
    return StimulusIntervals.from_spans(key, table["start"].to_numpy(float), table["stop"].to_numpy(float))


def find_pretraining_exposure(estimator, X, y):
    """Find rows that pretraining of a part of an estimator has seen.

    Parameters
    ----------
    estimator : estimator
        The attribute ``init`` of all estimators in it is read, also in the
        grid of a search, and those that are fitted masked encoders themselves.
    X, y : DataFrame or Windows of shape (n_rows, ...), or array
        EEG/MEG windows and stimulus segments.

    Returns
    -------
    exposure : PretrainingExposure or None
        None if nothing is pretrained.
    """
    found = None
    for init in _iter_pretrained_encoders(estimator):
        one = _find_exposure_of_encoder(init, validate_table(X), validate_table(y), len(X))
        found = one if found is None else PretrainingExposure(*map(np.logical_or, found, one))
    return found


def _iter_pretrained_encoders(estimator):
    """Yield the fitted masked encoders in an estimator."""
    for step in iter_nested_estimators(estimator):
        possible = [step, getattr(step, "init", None)]
        if not hasattr(step, "best_estimator_"):  # which is nested, too
            grids = getattr(step, "param_grid", None) or getattr(step, "param_distributions", None) or []
            for grid in [grids] if isinstance(grids, dict) else grids:
                possible += [
                    one for values in grid.values() if isinstance(values, (list, tuple)) for one in values
                ]
        yield from (one for one in possible if hasattr(one, "recordings_"))


def _find_exposure_of_encoder(init, brain, heard, n_rows):
    """Compare the rows of two tables with one pretrained encoder."""
    windows, subjects, stimuli = (np.zeros(n_rows, bool) for _ in range(3))
    is_unknown = init.recordings_ is None or brain is None or not set(brain) >= TIMES
    unknown = np.full(n_rows, is_unknown)
    if brain is not None:
        named = set(map(str, getattr(init, "subjects_", ())))
        known = set() if init.recordings_ is None else set(init.recordings_["subject"])
        known |= named - {""}
        if "subject" in brain:
            subjects = brain["subject"].astype(str).isin(known).to_numpy()
            unknown &= subjects | ("" in named) | (brain["subject"].astype(str) == "").to_numpy()
        if not is_unknown:
            start = validate_seconds(brain, "onset", "X")
            stop = start + validate_seconds(brain, "duration", "X")
            names = brain["recording"].astype(str).to_numpy(object)
            names = _rename_copies_of_recordings(names, subjects, init.recordings_["recording"])
            windows = _restore_pretraining_intervals(init.recordings_, "recording").overlap_spans(
                names, start, stop
            )
            if "subject" in brain:  # recordings of several subjects may have one name
                windows &= subjects
    if heard is not None and set(NEEDED) <= set(heard) and init.stimuli_ is not None:
        stimuli = _restore_pretraining_intervals(init.stimuli_, "stimulus").touches(heard)
    return PretrainingExposure(windows, subjects, stimuli, unknown)


def _rename_copies_of_recordings(names, subjects, seen):
    """Replace other paths of seen recordings by the path that was seen.

    Only recordings of seen subjects are read.
    """
    other = subjects & ~np.isin(names, seen.to_numpy(object))
    if not other.any():
        return names
    first = find_leakage_recording_copies([*pd.unique(seen), *pd.unique(names[other])])
    return np.array(
        [first.get(name, name) if is_other else name for name, is_other in zip(names, other, strict=True)],
        object,
    )


def compare_pretraining(exposure, train, test, subject):
    """Return what pretraining has seen of a fold: dict of ``COLUMNS``.

    ``subject`` is the code of the subject of each row, None if unknown. The
    fraction of windows is NaN if it is unknown.
    """
    unseen = test.copy()
    if subject is not None:
        unseen &= ~np.isin(subject, subject[train])
    n_subjects = int((exposure.subjects & unseen).any()) if subject is None else (
        len(np.unique(subject[exposure.subjects & unseen]))
    )  # fmt: skip
    shares = [float(mask[test].mean()) for mask in (exposure.windows, exposure.stimuli)]
    if exposure.unknown[test].any() and not shares[0]:
        shares[0] = np.nan
    return dict(zip(COLUMNS, (shares[0], n_subjects, shares[1]), strict=True))


def list_pretraining_texts(fold):
    """Return texts on what pretraining has seen of a fold: list of str."""
    windows, subjects, stimuli = (fold.get(name, 0) for name in COLUMNS)
    texts = []
    if np.isnan(windows):
        texts.append(
            "which recordings pretraining without labels has seen is unknown, because its windows or X have no "
            "recording, onset and duration"
        )
    elif windows:
        texts.append(
            f"pretraining without labels has seen {format_percent_text(windows, 0, clip=True)} of the test windows"
        )
    if subjects and not windows > 0:
        texts.append(
            f"pretraining without labels has seen {'' if np.isnan(windows) else 'other '}recordings of "
            f"{subjects:.0f} unseen subjects"
        )
    if stimuli and not windows > 0:
        texts.append(
            f"pretraining without labels has seen recordings with the stimuli of "
            f"{format_percent_text(stimuli, 0, clip=True)} of the test windows"
        )
    return texts

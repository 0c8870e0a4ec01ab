"""Recordings and stimuli that pretraining without labels has seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from sk_b2s._utils._estimators import iter_nested_estimators
from sk_b2s._utils._text import format_percent_text
from sk_b2s._utils._validation import validate_seconds, validate_table
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.preprocessing._overlap_line import NEEDED

TIMES = {"recording", "onset", "duration"}
COLUMNS = ("pretrained_windows", "pretrained_subjects", "pretrained_stimuli")  # of check_leakage


class PretrainingExposure(NamedTuple):
    """Masks of rows by what pretraining has seen."""

    windows: np.ndarray  # samples of the window
    subjects: np.ndarray  # any recording of the subject
    stimuli: np.ndarray  # the stimulus, in recordings of any subject


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
        spans = _tabulate(StimulusIntervals.from_spans(code.to_numpy(object), start, stop), "code")
        named = names.groupby(code).first().reindex(spans.pop("code")).reset_index(drop=True)
        recordings = pd.concat([named, spans], axis=1)
    if table is not None and set(NEEDED) <= set(table):
        heard = table[table["sound"].notna()]
        if len(heard):
            stimuli = _tabulate(StimulusIntervals.from_table(heard), "stimulus")
    return recordings, stimuli


def unite_pretraining_rows(one, other):
    """Return the union of two pairs of tables of seen recordings, stimuli."""
    return tuple(
        pd.concat([first, second], ignore_index=True).drop_duplicates(ignore_index=True)
        if first is not None and second is not None else (second if first is None else first)
        for first, second in zip(one, other, strict=True)
    )  # fmt: skip


def _tabulate(intervals, name):
    """Return intervals as a table with the columns name, start and stop."""
    spans = intervals.intervals
    return pd.DataFrame({
        name: np.repeat(np.array(list(spans), object), [len(one) for one in spans.values()]),
        "start": np.concatenate([one[:, 0] for one in spans.values()]),
        "stop": np.concatenate([one[:, 1] for one in spans.values()]),
    })  # fmt: skip


def _restore(table, name):
    """Return a table of :func:`_tabulate` as intervals."""
    key = table[name].to_numpy(object)
    return StimulusIntervals.from_spans(key, table["start"].to_numpy(float), table["stop"].to_numpy(float))


def find_pretraining_exposure(estimator, X, y):
    """Find rows that pretraining of a part of an estimator has seen.

    Parameters
    ----------
    estimator : estimator
        The attribute ``init`` of all estimators in it is read, and those that
        are fitted masked encoders themselves.
    X, y : DataFrame or Windows of shape (n_rows, ...), or array
        EEG/MEG windows and stimulus segments.

    Returns
    -------
    exposure : PretrainingExposure or None
        None if nothing is pretrained.
    """
    found = None
    for step in iter_nested_estimators(estimator):
        init = step if hasattr(step, "recordings_") else getattr(step, "init", None)
        if not hasattr(init, "recordings_"):
            continue
        one = _find_exposure(init, validate_table(X), validate_table(y), len(X))
        found = one if found is None else PretrainingExposure(*map(np.logical_or, found, one))
    return found


def _find_exposure(init, brain, heard, n_rows):
    """Compare the rows of two tables with one pretrained encoder."""
    windows, subjects, stimuli = (np.zeros(n_rows, bool) for _ in range(3))
    if brain is not None and init.recordings_ is not None:
        if "subject" in brain:
            subjects = brain["subject"].astype(str).isin(init.recordings_["subject"]).to_numpy()
        if set(brain) >= TIMES:
            start = validate_seconds(brain, "onset", "X")
            stop = start + validate_seconds(brain, "duration", "X")
            names = brain["recording"].astype(str).to_numpy(object)
            windows = _restore(init.recordings_, "recording").overlap_spans(names, start, stop)
            if "subject" in brain:  # recordings of several subjects may have one name
                windows &= subjects
    if heard is not None and set(NEEDED) <= set(heard) and init.stimuli_ is not None:
        stimuli = _restore(init.stimuli_, "stimulus").touches(heard)
    return PretrainingExposure(windows, subjects, stimuli)


def compare_pretraining(exposure, train, test, subject):
    """Return what pretraining has seen of a fold: dict of ``COLUMNS``.

    ``subject`` is the code of the subject of each row, None if unknown.
    """
    unseen = test.copy()
    if subject is not None:
        unseen &= ~np.isin(subject, subject[train])
    n_subjects = int((exposure.subjects & unseen).any()) if subject is None else (
        len(np.unique(subject[exposure.subjects & unseen]))
    )  # fmt: skip
    shares = [float(mask[test].mean()) for mask in (exposure.windows, exposure.stimuli)]
    return dict(zip(COLUMNS, (shares[0], n_subjects, shares[1]), strict=True))


def list_pretraining_texts(fold):
    """Return texts on what pretraining has seen of a fold: list of str."""
    windows, subjects, stimuli = (fold.get(name, 0) for name in COLUMNS)
    texts = []
    if windows:
        texts.append(
            f"pretraining without labels has seen {format_percent_text(windows, 0, clip=True)} of the test windows"
        )
    elif subjects:
        texts.append(
            f"pretraining without labels has seen other recordings of {subjects:.0f} unseen subjects"
        )
    if stimuli and not windows:
        texts.append(
            f"pretraining without labels has seen recordings with the stimuli of "
            f"{format_percent_text(stimuli, 0, clip=True)} of the test windows"
        )
    return texts

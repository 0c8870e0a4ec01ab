"""Leakage between training and test rows of any split."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import check_cv

from sk_b2s._utils._validation import validate_seconds, validate_table
from sk_b2s.events._audio._copies import StimulusCopies, find_audio_copies_in_rows
from sk_b2s.events._images import ImageStimulus, name_image_kind
from sk_b2s.events._intervals import GAP, StimulusIntervals, sum_recorded_intervals
from sk_b2s.events._stimuli import identify_stimuli
from sk_b2s.model_selection._leakage_copies import LeakageCopies, find_leakage_copy_columns
from sk_b2s.model_selection._leakage_report import make_leakage_verdict
from sk_b2s.model_selection._pretraining import compare_pretraining, find_pretraining_exposure
from sk_b2s.preprocessing._overlap_line import (
    EXACT,
    HEARD,
    NEEDED,
    OverlapLine,
    make_overlap_line,
    make_overlap_line_of_windows,
    make_overlap_line_table,
)

SEEN = {
    "recordings": ["recording"],
    "sessions": ["subject", "session"],
    "subjects": ["subject"],
    "studies": ["study"],
}  # fmt: skip ; columns of X


def check_leakage(X, y, cv=None, groups=None, gap=GAP, estimator=None):
    """Report what training and test set of each fold share, for any splitter.

    Windows of neighboring words overlap by seconds, so folds of rows or of
    sentences test stimuli of the training set, and the score measures memory.
    The function compares the stimuli themselves and does not rely on the
    splitter.

    Parameters
    ----------
    X : DataFrame or Windows of shape (n_rows, ...), or array
        EEG/MEG windows. ``recording``, ``session``, ``subject`` and ``study``
        are compared if present, and recorded seconds if there are
        ``recording``, ``onset`` and ``duration``.
    y : DataFrame or Windows of shape (n_rows, ...)
        Stimulus segments with ``sound``, ``sound_onset`` and ``duration``.
        ``block``, ``sequence`` and ``segment`` are compared if present.
        Without stimuli, the verdict is based on the samples of ``X``. In an
        array of features over time, equal rows are one segment.
    cv : int, splitter or iterable of (train, test), default=None
        As in :func:`~sklearn.model_selection.cross_val_score`. A number makes
        folds of consecutive rows, None makes five of them. Rows are indices or
        masks.
    groups : array-like of shape (n_rows,), default=None
        Groups for the splitter.
    gap : float, default=1.0
        Seconds between training and test stimuli below which the verdict is a
        caution.
    estimator : estimator, default=None
        Estimator to be scored. If it starts from a fitted
        :class:`~sk_b2s.MaskedEncoder` (``init``), its recordings and stimuli
        are compared with the test windows.

    Returns
    -------
    table : DataFrame of shape (n_folds, ...)
        One row per fold:

        * ``n_train``, ``n_test``: numbers of rows.
        * ``leaking``: fraction of test windows that contain the stimulus of a
          training window.
        * ``copied``: fraction of test windows that contain a recording of
          training in a part that two audio files share, by acoustic
          fingerprint. The column exists if there are such files. A complete
          copy of a file, in another format, level or rate, is the same
          stimulus in all columns.
        * ``shared_seconds``: seconds of stimuli in both training and test
          windows.
        * ``nearest``: seconds between the nearest training and test windows of
          one stimulus. It is 0 if they overlap, and infinite if no stimulus
          has windows on both sides.
        * ``brain_seconds``: seconds of recordings on both sides. Without
          shared stimuli these are silences between stimuli, or concurrent
          talkers. ``brain_share`` is their fraction of the tested seconds.
          ``brain_leaking`` is the fraction of test windows that share samples
          with a training window. ``brain_nearest`` is the seconds between the
          nearest windows of a recording. For :class:`~sk_b2s.Windows` without
          rows they are computed from samples. Plain arrays have no such
          columns.
        * ``calibration_minutes_used``: training minutes recorded from tested
          subjects. ``test_period_minutes``: those of them that end after the
          test of their recording begins. Calibration has none of the latter.
        * ``sounds``, ``blocks``, ``sentences``, ``segments``, ``recordings``,
          ``sessions``, ``subjects``, ``studies``: how many have rows on both
          sides. Stimuli are compared by content, sessions by subject and
          session. Sessions and studies are counted if there are several.
        * ``copies``: text on recordings with the same content and different
          paths on both sides. Such copies count as one recording in the other
          columns. Files are compared if they exist and have equal duration.
        * ``pretrained_windows``: fraction of test windows that pretraining
          without labels has seen, NaN if that is unknown, because recording,
          onset or duration are missing. ``pretrained_subjects``: number of
          unseen subjects with a recording that it has seen.
          ``pretrained_stimuli``: fraction of test windows whose stimulus was
          presented in recordings that it has seen. These columns exist if
          ``estimator`` has a pretrained part.
        * ``retold``: number of blocks with the same text on both sides in
          different stimuli, such as another voice.
        * ``concepts``: number of concepts with different images on both
          sides, and ``stimulus_kind``: "image", or "stimulus" for events of
          another type. These columns exist if all stimuli are
          :class:`~sk_b2s.ImageStimulus`.
        * ``verdict``: "leak" if stimuli, segments or texts of the test are in
          training, or if a recording of a tested subject is in training under
          another subject's name. "caution" if training stimuli are nearer than
          ``gap``, if most tested seconds are in training with other stimuli,
          or if pretraining without labels has seen test windows, unseen
          subjects, test stimuli or unknown recordings, and otherwise
          "no_leak". If ``y`` has no stimuli, "leak" if test windows share
          samples of their recording with training windows, "caution" if they
          are nearer than ``gap``, and "not_checked" if ``X`` has no times of
          its windows.
        * ``leak_sources``: what leaks, separated by commas: "sound of
          training" (also images), "segments of training", "samples of
          training", "text of training", "concepts of training" or "recordings
          of training". "" without a leak.
        * ``verdict_text``: the verdict in words.

    Raises
    ------
    ValueError
        If X and y differ in length, or a fold has no rows on a side.

    Warns
    -----
    UserWarning
        If different sound files hold the same recording. It names them.

    See Also
    --------
    format_leakage : The table in one paragraph.

    Examples
    --------
    Random folds of overlapping windows, and folds of stimuli:

    >>> import numpy as np, pandas as pd
    >>> from sklearn.model_selection import KFold
    >>> from sk_b2s import StimulusArray, StimulusKFold
    >>> from sk_b2s import check_leakage, make_segments
    >>> story = StimulusArray(np.zeros(64 * 120), sfreq=64, name="story")
    >>> events = pd.DataFrame({
    ...     "type": ["sound"], "onset": 2.0, "duration": 0.0,
    ...     "sound": [story], "subject": "01", "recording": "a.fif",
    ...     "recording_duration": 130.0,
    ... })
    >>> X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3)
    >>> table = check_leakage(X, y, KFold(2, shuffle=True, random_state=0))
    >>> print(table["verdict"][0], "from", table["leak_sources"][0])
    leak from sound of training
    >>> print(table["verdict_text"][0])
    LEAK: 98 % of the test windows contain sound of training, 92 s of it;
    subjects and recordings are on both sides
    >>> table = check_leakage(X, y, StimulusKFold(2))
    >>> print(table["verdict_text"][0])
    no leak: no sound, sentence or segment is on both sides; the nearest
    training sound is 1.0 s away; subjects and recordings are on both sides
    """
    if len(X) != len(y):
        raise ValueError(f"X and y must have the same rows. Got {len(X)} rows in X and {len(y)} in y.")
    heard = make_overlap_line_table(X, y)
    copies = StimulusCopies(heard["sound"] if "sound" in heard else ())
    copies.warn("It counts as one sound here.", stacklevel=3)
    rows = _LeakageRows(X, y, copies.mark(heard), copies)
    pretrained = None if estimator is None else find_pretraining_exposure(estimator, X, y)
    folds = []
    for index, (train, test) in enumerate(_split_for_leakage(check_cv(cv), X, y, groups, copies)):
        sides = [
            _make_leakage_mask(side, len(heard), name, index)
            for name, side in (("training", train), ("test", test))
        ]
        fold = rows.compare(*sides)
        if pretrained is not None:
            fold |= compare_pretraining(pretrained, *sides, rows.names.get("subjects"))
        folds.append({**fold, **make_leakage_verdict(fold, gap)})
    return pd.DataFrame(folds).rename_axis("fold")


def _split_for_leakage(cv, X, y, groups, copies):
    """Return the folds of a splitter, ignoring copies if it raises."""
    try:
        return list(cv.split(X, y, groups))
    except ValueError as error:
        apart = copies.separate(validate_table(y))
        if apart is None or not isinstance(y, pd.DataFrame):
            raise
        try:
            folds = list(cv.split(X, apart, groups))
        except ValueError:
            raise error from None
        warnings.warn(
            f"The splitter raised: {error} The table is of the folds it makes if files with the same recording are "
            f"different stimuli.",
            stacklevel=4,
        )
        return folds


class _LeakageRows:
    """Rows of X and y as numbers, compared fold by fold in linear time."""

    def __init__(self, X, y, heard, copies):
        brain, sound, shift = validate_table(X), None, 0.0
        if "sound" in heard:
            key, shift = identify_stimuli(heard)
            sound = pd.factorize(key)[0]
        self.sound = make_overlap_line(heard, sound, shift, y)
        self.shared = copies.partial if set(NEEDED) <= set(heard) else []
        self.heard = heard[[column for column in NEEDED if column in heard]]
        distinct = list(heard["sound"].unique()) if "sound" in heard else []
        is_image = bool(distinct) and all(isinstance(one, ImageStimulus) for one in distinct)
        self.kind = name_image_kind(distinct) if is_image else None
        self.names = {} if sound is None else {"sounds": sound}
        self.names |= {name: pd.factorize(heard[c])[0] for name, c in HEARD.items() if c in heard}
        self.brain = None if brain is not None and "recording" in brain else make_overlap_line_of_windows(X)
        self.times = self.copies = None
        if brain is not None:
            if "recording" in brain:
                self.copies = LeakageCopies(brain)
                brain = brain.assign(recording=self.copies.same)
            self.names |= {
                name: brain.groupby(columns, sort=False, dropna=False).ngroup().to_numpy()
                for name, columns in SEEN.items()
                if set(columns) <= set(brain)
            }
            self._drop_redundant()
            if {"recording", "onset", "duration"} <= set(brain):
                times = validate_seconds(brain, "onset", "X"), validate_seconds(brain, "duration", "X")
                self.brain = OverlapLine(self.names["recordings"], *times)
                self.times = brain[["recording", "onset", "duration"]].reset_index(drop=True)
        sound = np.zeros(len(heard), int) if sound is None else sound
        block = self.names.get("blocks", sound)
        self.pairs, pair = np.unique(np.column_stack([block, sound]), axis=0, return_inverse=True)
        self.pair = np.where(block >= 0, pair, -1)

    def _drop_redundant(self):
        """Remove a single study, and sessions if each subject has one."""
        if not self.names.get("studies", np.ones(1)).any():
            del self.names["studies"]
        sessions, subjects = (self.names.get(name, np.zeros(1)) for name in ("sessions", "subjects"))
        if "sessions" in self.names and sessions.max() == subjects.max():
            del self.names["sessions"]

    def compare(self, train, test):
        """Return what two masks of rows have in common: dict."""
        row = {"n_train": int(train.sum()), "n_test": int(test.sum())}
        row |= dict.fromkeys(("leaking", "shared_seconds", "nearest"), np.nan)
        if self.sound is not None:
            distance, overlap = self.sound.nearest(train, test)
            row["leaking"], row["nearest"] = float(np.mean(overlap)), float(distance.min())
            row["shared_seconds"] = self.sound.shared(train, test) if overlap.any() else 0.0
        if self.brain is not None:
            row |= self._samples(train, test)
        if self.times is not None:
            row |= self._own(train, test)
        if self.shared:
            row["copied"] = self._copied(train, test)
        for name, code in self.names.items():
            row[name] = int(
                np.sum(find_leakage_copy_columns(code, train) & find_leakage_copy_columns(code, test))
            )
        if self.copies is not None:
            row["copies"] = self.copies.between(train, test)
        n_retold = self._retold(train, test)
        if self.kind is None:
            return {**row, "retold": n_retold}
        return {**row, "retold": 0, "concepts": n_retold, "stimulus_kind": self.kind}

    def _copied(self, train, test):
        """Return the fraction of test windows with copies of training."""
        heard = StimulusIntervals.from_table(self.heard[train])
        return float(find_audio_copies_in_rows(heard, self.shared, self.heard[test]).mean())

    def _samples(self, train, test):
        """Return the samples of recordings on both sides: dict."""
        distance, overlap = self.brain.nearest(train, test)
        shared = self.brain.shared(train, test)
        tested = np.subtract(*self.brain.spans(test)[::-1]).sum()
        return {
            "brain_seconds": shared, "brain_leaking": float(np.mean(overlap)),
            "brain_share": shared / tested if tested else 0.0, "brain_nearest": float(distance.min()),
        }  # fmt: skip

    def _own(self, train, test):
        """Return training minutes of tested subjects: dict."""
        subject = self.names.get("subjects", np.zeros(len(train), int))
        own = np.flatnonzero(train & np.isin(subject, subject[test]))
        recording = self.names["recordings"]
        begin = self.times["onset"][test].groupby(recording[test]).min().reindex(recording[own]).to_numpy()
        mine = self.times.iloc[own]
        later = (mine["onset"] + mine["duration"]).to_numpy() > begin + EXACT
        return {
            name: sum_recorded_intervals(rows) / 60
            for name, rows in (("calibration_minutes_used", mine), ("test_period_minutes", mine[later]))
        }

    def _retold(self, train, test):
        """Count blocks that have rows on both sides in different stimuli."""
        # The stimuli of a block are equal on both sides only if there is one on each side, and the same.
        here, there = find_leakage_copy_columns(self.pair, train), find_leakage_copy_columns(self.pair, test)
        block, n_blocks = self.pairs[:, 0], self.pairs[:, 0].max() + 1
        n_here, n_there, n_same = (
            np.bincount(block[side], minlength=n_blocks) for side in (here, there, here & there)
        )
        return int(np.sum(n_here * n_there > n_same))


def _make_leakage_mask(rows, n_rows, name, fold):
    """Return rows, given as indices or mask, as a mask."""
    rows = np.asarray(rows)
    mask = np.zeros(n_rows, bool)
    if rows.size:
        try:
            mask[rows] = True
        except IndexError as error:
            raise ValueError(
                f"Fold {fold} of cv: the {name} rows must be integers from 0 to {n_rows - 1}, or a mask of {n_rows} rows. "
                f"Got {error}. Check that cv was made for this X."
            ) from error
    if not mask.any():
        raise ValueError(f"Fold {fold} of cv must have {name} rows, got none.")
    return mask

"""Leakage between training and test rows of any split."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import check_cv

from sk_b2s._utils._validation import seconds_of, table_of
from sk_b2s.events._audio._copies import StimulusCopies, find_copied_windows
from sk_b2s.events._intervals import GAP, StimulusIntervals, recorded_seconds
from sk_b2s.events._stimuli import identify_stimuli
from sk_b2s.model_selection._leakage_copies import OTHERS, RecordingCopies, present_columns
from sk_b2s.model_selection._leakage_report import SAMPLES, verdict_of
from sk_b2s.preprocessing._overlaps import (
    EXACT,
    HEARD,
    NEEDED,
    TimeLine,
    make_line,
    make_line_of_windows,
    make_stimulus_table,
)

SEEN = {
    "recordings": ["recording"],
    "sessions": ["subject", "session"],
    "subjects": ["subject"],
    "studies": ["study"],
}  # fmt: skip ; columns of X


def check_leakage(X, y, cv=None, groups=None, gap=GAP):
    """Tell what each fold of a split has on both sides, for any splitter.

    Windows of neighboring words overlap by seconds, so folds of rows, or of sentences, test on sound that
    was in training; the score then says what a model remembers. This counts it, in the sound itself: the
    splitter's word is not taken for it.

    Parameters
    ----------
    X : DataFrame or Windows of shape (n_rows, ...), or array
        What the brain did; ``recording``, ``session``, ``subject`` and ``study`` are counted where it has
        them, and the brain's own seconds where it has ``recording``, ``onset`` and ``duration``.
    y : DataFrame or Windows of shape (n_rows, ...)
        What was heard: ``sound``, ``sound_onset`` and ``duration``; ``block``, ``sequence`` and ``segment``
        are counted where it has them. Without them the verdict is that of the samples of ``X``, and of an array of
        features over time equal rows count as one segment.
    cv : int, splitter or iterable of (train, test), default=None
        As in :func:`~sklearn.model_selection.cross_val_score`: a number is that of consecutive folds of
        rows, None is five of them; any splitter; rows as indices or masks.
    groups : array-like of shape (n_rows,), default=None
        For the splitter.
    gap : float, default=1.0
        Seconds between training and test sound below which the verdict is a caution.

    Returns
    -------
    table : DataFrame of shape (n_folds, ...)
        One row per fold:

        * ``n_train, n_test``: rows.
        * ``leaking``: share of the test windows that contain sound of a training window.
        * ``copied``: share of the test windows that contain a recording of training in a part that two files share
          (known by its acoustic fingerprint), if there are such files. A file that is a copy as a whole, in another
          format, level or rate, counts as the same sound in everything else.
        * ``shared_seconds``: seconds of sound in training windows and test windows both.
        * ``nearest``: seconds between the nearest training and test windows of one sound, the gap that
          really is; 0 if they overlap, infinite if no sound has windows on both sides.
        * ``brain_seconds``: seconds of recording on both sides. Without shared sound these are the pauses
          between sounds, or talkers who speak at the same time. ``brain_share`` is their share of the tested seconds,
          ``brain_leaking`` the share of test windows that share samples with a training window, ``brain_nearest``
          the seconds between the nearest windows of one recording. Of :class:`~sk_b2s.Windows` without rows these are
          counted in the samples that they read; of plain arrays they are not there.
        * ``calibration_minutes_used``: minutes of training recorded from people who are tested, and ``test_period_minutes``, those
          of them that were not over when the test of their recording began. Calibration of a new listener has none.
        * ``sounds, blocks, sentences, segments, recordings, sessions, subjects, studies``: how many of them
          have rows on both sides. Sounds are known by their recording, whatever its file, sessions by subject and
          session. Studies and sessions are there if there are several (of one person).
        * ``copies``: recordings with the same content under several paths on both sides, in words. Such copies count as
          one recording above. Files are compared where they exist and last equally long.
        * ``retold``: how many blocks are on both sides in different sounds: another voice says the same.
        * ``verdict``: all that in words. It begins with "LEAK" if test sound, a segment or its text was in
          training, or if a recording of a tested subject is in training under the name of another subject, with
          "CAUTION" if it was not but training sound is nearer than ``gap``, and with
          "no leak" otherwise. Where ``y`` does not have the sound it is "LEAK" if test windows share samples of their
          recording with training windows, "CAUTION" if they are nearer than ``gap``, and "not checked" where
          ``X`` does not have the times of its windows either.

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
    Random folds of overlapping windows, and folds of sound:

    >>> import numpy as np, pandas as pd
    >>> from sklearn.model_selection import KFold
    >>> from sk_b2s import StimulusArray, StimulusKFold, check_leakage, make_segments
    >>> story = StimulusArray(np.zeros(64 * 120), sfreq=64, name="story")
    >>> events = pd.DataFrame({"type": ["sound"], "onset": 2.0, "duration": 0.0, "sound": [story],
    ...                        "subject": "01", "recording": "a.fif", "recording_duration": 130.0})
    >>> X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3)
    >>> table = check_leakage(X, y, KFold(2, shuffle=True, random_state=0))
    >>> print(table["verdict"][0])
    LEAK: 98 % of the test windows contain sound of training, 92 s of it; subjects and
    recordings are on both sides
    >>> table = check_leakage(X, y, StimulusKFold(2))
    >>> print(table["verdict"][0])
    no leak: no sound, sentence or segment is on both sides; the nearest training sound is 1.0 s away; subjects and
    recordings are on both sides
    """
    if len(X) != len(y):
        raise ValueError(f"X has {len(X)} rows and y has {len(y)}; they must be the same segments.")
    heard = make_stimulus_table(X, y)
    copies = StimulusCopies(heard["sound"] if "sound" in heard else ())
    copies.warn("It counts as one sound here.", stacklevel=3)
    rows = _Rows(X, y, copies.mark(heard), copies)
    folds = []
    for index, (train, test) in enumerate(_split(check_cv(cv), X, y, groups, copies)):
        sides = [_mask(side, len(heard), name, index) for name, side in (("training", train), ("test", test))]
        fold = rows.compare(*sides)
        folds.append({**fold, "verdict": verdict_of(fold, gap)})
    return pd.DataFrame(folds).rename_axis("fold")


def _split(cv, X, y, groups, copies):
    """Folds of a splitter, of rows that it refuses for their copies as if those were different sounds."""
    try:
        return list(cv.split(X, y, groups))
    except ValueError as error:
        apart = copies.separate(table_of(y))
        if apart is None or not isinstance(y, pd.DataFrame):
            raise
        try:
            folds = list(cv.split(X, apart, groups))
        except ValueError:
            raise error from None
        warnings.warn(
            f"cv refuses these rows: {error} What follows is of the folds it would make if files with the same "
            f"recording were different sounds.",
            stacklevel=4,
        )
        return folds


def leaks_in(verdicts, n_heard=0):
    """Name what is on both sides of folds, for the brackets of a verdict.

    Parameters
    ----------
    verdicts : sequence of str
        Of :func:`check_leakage`; what is NaN is not known.
    n_heard : int, default=0
        Windows tested that contain sound of training.

    Returns
    -------
    reasons : list of str
        Of "sound of training", "text of training", "segments of training", "recordings of training" and "samples of
        training".

    Examples
    --------
    >>> leaks_in(["no leak: ...", "LEAK: 100 % of the test windows share samples of their recording ..."])
    ['samples of training']
    """
    said = [str(text) for text in verdicts if str(text).startswith("LEAK")]
    reasons = ["sound of training"] * bool(n_heard > 0)
    others = [text for text in said if SAMPLES not in text or "segments are" in text]
    if others and not reasons:
        kinds = {"the text of": "text of training", "segments are": "segments of training"}
        kinds |= {OTHERS: "recordings of training", "": "sound of training"}
        reasons = [kind for words, kind in kinds.items() if any(words in text for text in others)][:1]
    if any(SAMPLES in text for text in said):
        reasons.append("samples of training")
    return reasons


class _Rows:
    """The rows of two tables as numbers, to be compared fold by fold in linear time."""

    def __init__(self, X, y, heard, copies):
        brain, sound, shift = table_of(X), None, 0.0
        if "sound" in heard:
            key, shift = identify_stimuli(heard)
            sound = pd.factorize(key)[0]
        self.sound = make_line(heard, sound, shift, y)
        self.shared = copies.partial if set(NEEDED) <= set(heard) else []
        self.heard = heard[[column for column in NEEDED if column in heard]]
        self.names = {} if sound is None else {"sounds": sound}
        self.names |= {name: pd.factorize(heard[c])[0] for name, c in HEARD.items() if c in heard}
        self.brain = None if brain is not None and "recording" in brain else make_line_of_windows(X)
        self.times = self.copies = None
        if brain is not None:
            if "recording" in brain:
                self.copies = RecordingCopies(brain)
                brain = brain.assign(recording=self.copies.same)
            self.names |= {
                name: brain.groupby(columns, sort=False, dropna=False).ngroup().to_numpy()
                for name, columns in SEEN.items()
                if set(columns) <= set(brain)
            }
            self._drop_what_tells_nothing()
            if {"recording", "onset", "duration"} <= set(brain):
                times = seconds_of(brain, "onset", "X"), seconds_of(brain, "duration", "X")
                self.brain = TimeLine(self.names["recordings"], *times)
                self.times = brain[["recording", "onset", "duration"]].reset_index(drop=True)
        sound = np.zeros(len(heard), int) if sound is None else sound
        block = self.names.get("blocks", sound)
        self.pairs, pair = np.unique(np.column_stack([block, sound]), axis=0, return_inverse=True)
        self.pair = np.where(block >= 0, pair, -1)

    def _drop_what_tells_nothing(self):
        """One study is on both sides of any split, and one session of each person is that person."""
        if not self.names.get("studies", np.ones(1)).any():
            del self.names["studies"]
        sessions, subjects = (self.names.get(name, np.zeros(1)) for name in ("sessions", "subjects"))
        if "sessions" in self.names and sessions.max() == subjects.max():
            del self.names["sessions"]

    def compare(self, train, test):
        """What two masks of rows have in common: dict."""
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
            row[name] = int(np.sum(present_columns(code, train) & present_columns(code, test)))
        if self.copies is not None:
            row["copies"] = self.copies.between(train, test)
        return {**row, "retold": self._retold(train, test)}

    def _copied(self, train, test):
        """Share of the test windows that hold a recording of training, in a part that two files share."""
        heard = StimulusIntervals.from_table(self.heard[train])
        return float(find_copied_windows(heard, self.shared, self.heard[test]).mean())

    def _samples(self, train, test):
        """What samples of recordings are on both sides."""
        distance, overlap = self.brain.nearest(train, test)
        shared = self.brain.shared(train, test)
        tested = np.subtract(*self.brain.spans(test)[::-1]).sum()
        return {
            "brain_seconds": shared, "brain_leaking": float(np.mean(overlap)),
            "brain_share": shared / tested if tested else 0.0, "brain_nearest": float(distance.min()),
        }  # fmt: skip

    def _own(self, train, test):
        """Minutes of training of people who are tested, and those of them from the test on."""
        subject = self.names.get("subjects", np.zeros(len(train), int))
        own = np.flatnonzero(train & np.isin(subject, subject[test]))
        recording = self.names["recordings"]
        begin = self.times["onset"][test].groupby(recording[test]).min().reindex(recording[own]).to_numpy()
        mine = self.times.iloc[own]
        later = (mine["onset"] + mine["duration"]).to_numpy() > begin + EXACT
        return {
            name: recorded_seconds(rows) / 60
            for name, rows in (("calibration_minutes_used", mine), ("test_period_minutes", mine[later]))
        }

    def _retold(self, train, test):
        """Count blocks that have rows on both sides in different sounds.

        Of a block's sounds in training and in the test, all pairs are of one sound only if there is one on
        each side, and the same.
        """
        here, there = present_columns(self.pair, train), present_columns(self.pair, test)
        block, n_blocks = self.pairs[:, 0], self.pairs[:, 0].max() + 1
        n_here, n_there, n_same = (
            np.bincount(block[side], minlength=n_blocks) for side in (here, there, here & there)
        )
        return int(np.sum(n_here * n_there > n_same))


def _mask(rows, n_rows, name, fold):
    """Rows of one side, given as indices or a mask, as a mask."""
    rows = np.asarray(rows)
    mask = np.zeros(n_rows, bool)
    if rows.size:
        try:
            mask[rows] = True
        except IndexError as error:
            raise ValueError(
                f"fold {fold} of cv: the {name} rows must be integers from 0 to {n_rows - 1}, or a mask of {n_rows} "
                f"rows, for X has {n_rows}; got {error}. Was cv made for another table?"
            ) from error
    if not mask.any():
        raise ValueError(f"fold {fold} of cv has no {name} rows; give folds with rows on both sides.")
    return mask

"""Splitters that hold out a subject, a session or a study."""

from __future__ import annotations

import re
from collections.abc import Iterable
from numbers import Real

import numpy as np
import pandas as pd

from sk_b2s._utils._text import join_text_items, unwrap_scalar_for_text
from sk_b2s._utils._validation import get_validated_groups, validate_count, validate_table
from sk_b2s.events._intervals import GAP
from sk_b2s.model_selection._calibration import CalibrationSplit
from sk_b2s.model_selection._split import StimulusSplitter, assign_blocks_to_split_folds


class LeaveOneOut(StimulusSplitter):
    """Base class of splitters that hold out groups and their stimuli.

    A subclass sets the column of X with the group, and the advice of the error
    if there is only one group. It may override :meth:`_groups`.
    """

    _column: str
    _advice: str

    def __init__(self, stimulus_folds=5, gap=GAP, random_state=None):
        self.stimulus_folds = stimulus_folds
        self.gap = gap
        self.random_state = random_state

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds, groups times stimulus folds.

        Parameters
        ----------
        X : DataFrame or Windows of shape (n_rows, ...)
            EEG/MEG windows with the column of the groups.
        y : Ignored
            Not used, present for API consistency by convention.
        groups : array-like of shape (n_rows,), default=None
            Labels to split by. If None, those of the table.

        Returns
        -------
        n_splits : int
        """
        if X is None and groups is None:
            raise ValueError(
                f"{type(self).__name__} requires X with the column {self._column!r}, or groups, to count its folds."
            )
        return len(self._groups(X, groups)[1]) * (self.stimulus_folds or 1)

    def _apart(self):
        return [self._column] if self.stimulus_folds is None else [self._column, "stimulus"]

    def _shared(self):
        return "; its stimulus may be" if self.stimulus_folds is None else ""

    def _calibration(self, X, y):
        """Return the CalibrationSplit of the held-out group, or None."""
        return None

    def _groups(self, X, groups):
        """Return groups of rows, group names, and training groups or None."""
        codes, labels = pd.factorize(get_validated_groups(X, self._column, groups, type(self).__name__, "X"))
        return codes, [f"{self._column} {unwrap_scalar_for_text(label)!r}" for label in labels], None

    def _check(self):
        super()._check()
        if self.stimulus_folds is not None:
            validate_count("stimulus_folds", self.stimulus_folds, least=1)

    def _folds(self, X, y, groups):
        self._check()
        group, names, together = self._groups(X, groups)
        if len(names) < 2:
            raise ValueError(
                f"{type(self).__name__} requires 2 {_make_group_plural(self._column)} or more, got {', '.join(names)}. "
                f"{self._advice}"
            )
        if self.stimulus_folds is None:
            block = np.arange(len(group))  # stimuli may be shared
        else:
            owner = f"{type(self).__name__}(stimulus_folds=...)"
            block = pd.factorize(get_validated_groups(y, "block", None, owner, "y"))[0]
        size, calibration = np.bincount(block), self._calibration(X, y)
        for code, name in enumerate(names):
            rows = np.flatnonzero(group == code)
            others = group != code
            if together is not None:
                others &= together == together[rows[0]]
            tested = rows if calibration is None else calibration.select_test(rows, name)
            for index, test in enumerate(self._tests(tested, block, size, name)):
                train = np.flatnonzero(others & ~np.isin(block, block[test]))
                if len(train) == 0:
                    raise ValueError(self._nothing_left(name, index))
                for own in (
                    [[]] if calibration is None else calibration.select_calibration(rows, tested, test, name)
                ):
                    yield np.concatenate([train, own]).astype(int), test

    def _tests(self, rows, block, size, name):
        """Assign the stimuli of one group to folds: list of rows.

        Blocks are sorted by their size in the whole table, so that groups with
        the same stimuli have the same folds.
        """
        if self.stimulus_folds is None:
            return [rows]
        own, of_row = np.unique(block[rows], return_inverse=True)
        if len(own) < self.stimulus_folds:
            raise ValueError(
                f"{name} has {len(own)} stimulus blocks, fewer than stimulus_folds={self.stimulus_folds}. Use fewer "
                f"folds, or make_segments(block=...) with shorter blocks."
            )
        fold = assign_blocks_to_split_folds(size[own], self.stimulus_folds, self.random_state)[of_row]
        return [rows[fold == index] for index in range(self.stimulus_folds)]

    def _nothing_left(self, name, index):
        return (
            f"{self._call()}: no training row is left for {name}, stimulus fold {index}. All stimuli of the other "
            f"{_make_group_plural(self._column)} are in that fold. Use more than stimulus_folds={self.stimulus_folds}."
        )

    def _clear(self, y, train, test):
        return train if self.stimulus_folds is None else super()._clear(y, train, test)


class LeaveOneSubjectOut(LeaveOneOut):
    """Leave-one-subject-out cross-validation that also holds out stimuli.

    Each subject is held out in turn. With ``stimulus_folds=k`` the stimuli are
    divided into k folds as well, so there are n_subjects * k folds. In each, a
    model trained on the *other* subjects and the *other* stimuli is tested on
    one subject. If only the subject is held out, a decoder may recognize
    stimuli of the training set, which is an easier problem.

    With ``calibration_minutes`` the held-out subject is split in time. Its
    last part, ``test_size``, is tested, and the first minutes before it are
    added to the training set, after the rows of the other subjects.

    Parameters
    ----------
    stimulus_folds : int or None, default=5
        Stimulus folds of each subject, of the tested part if there is
        calibration. If 1, all tested stimuli are held out at once. This suits
        subjects with different stimuli. It also suits calibration, where it
        fits one decoder for each subject, without the tested stimuli. If None,
        stimuli may be shared by training and test set.
    gap : float, default=1.0
        Least distance in seconds between a training window and held-out
        stimuli, and in the recording between calibration and tested part.
    random_state : None, int or RandomState, default=None
        Seed of the assignment of blocks to folds. If None, blocks are assigned
        by size alone, which is deterministic.
    calibration_minutes : None, float or sequence of float, default=None
        Recorded minutes of the held-out subject that are added to the training
        set, the first ones that hold no stimulus of the test. Minutes count
        distinct time that windows cover. 0 adds none, ``numpy.inf`` all before
        the tested part. A sequence makes one fold for each amount, with the
        same test rows and the same rows of other subjects, and smaller amounts
        are part of larger ones. If None, all rows of the subject are tested.
    test_size : float, default=0.5
        Fraction of recorded time that is tested, from the beginning of a block
        to the end. Used only with ``calibration_minutes``. Recordings are
        ordered by session, run and name, with numbers in them by value.

    Raises
    ------
    ValueError
        From ``split``, if labels or times are missing, no training row is
        left, or a subject has fewer minutes before the tested part than
        requested.

    Notes
    -----
    ``groups`` of :meth:`split` replace the column ``subject`` of X.

    An amount is exact up to one window. Calibration may repeat sentences of
    the training set, but never stimuli of the test set, including other
    recordings of the same text.

    Examples
    --------
    >>> LeaveOneSubjectOut()
    LeaveOneSubjectOut(gap=1.0, random_state=None, stimulus_folds=5)  # neither
    the subject nor the stimulus of a test row is in training, with a gap of
    1.0
    s
    >>> LeaveOneSubjectOut(stimulus_folds=None).guarantee
    'the subject of a test row is not in training; its stimulus may be'
    >>> LeaveOneSubjectOut(1, calibration_minutes=[0, 2, np.inf]).guarantee
    'of the subject of a test row only minutes before the tested part are in
    training (0, 2 or all of them), with a gap of 1.0 s; its stimulus is not,
    with a gap of 1.0 s'
    """

    _column = "subject"
    _advice = "Use more subjects, or split the stimuli of one subject with StimulusKFold."

    def __init__(self, stimulus_folds=5, gap=GAP, random_state=None, calibration_minutes=None, test_size=0.5):
        super().__init__(stimulus_folds, gap, random_state)
        self.calibration_minutes = calibration_minutes
        self.test_size = test_size

    @property
    def amounts(self):
        """Calibration minutes of consecutive folds: list of float."""
        minutes = self.calibration_minutes
        if isinstance(minutes, np.ndarray):
            return np.atleast_1d(minutes).tolist()
        return [] if minutes is None else list(minutes) if isinstance(minutes, Iterable) else [minutes]

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        It is the number of subjects times stimulus folds times amounts of
        calibration.

        Parameters
        ----------
        X : DataFrame or Windows of shape (n_rows, ...)
            EEG/MEG windows with ``subject``.
        y : Ignored
            Not used, present for API consistency by convention.
        groups : array-like of shape (n_rows,), default=None
            Subjects. If None, those of the table.

        Returns
        -------
        n_splits : int
        """
        return super().get_n_splits(X, y, groups) * max(1, len(self.amounts))

    def _call(self):
        call = " ".join(super()._call().split())
        if self.calibration_minutes is None:
            call = re.sub(r"(calibration_minutes=None, |, test_size=[^,)]*)", "", call)
        return re.sub(r"\binf\b", "float('inf')", call)

    @property
    def guarantee(self):
        """Sentence on what training and test set never share: str."""
        if not any(self.amounts):
            return super().guarantee
        amounts = join_text_items(
            ("all" if amount == np.inf else f"{amount:g}" for amount in self.amounts), "or"
        )
        gap = f", with a gap of {self.gap} s" if self.gap else ""
        stimulus = "may be, of other subjects" if self.stimulus_folds is None else f"is not{gap}"
        return (
            f"of the subject of a test row only minutes before the tested part are in training ({amounts} of them)"
            f"{gap}; its stimulus {stimulus}"
        )

    def _check(self):
        super()._check()
        wrong = [m for m in self.amounts if isinstance(m, bool) or not (isinstance(m, Real) and m >= 0)]
        wrong = wrong or len(set(self.amounts)) < len(self.amounts)
        if self.calibration_minutes is not None and (wrong or not self.amounts):
            raise ValueError(
                f"calibration_minutes must be a number of minutes, 0 or more, distinct ones in a sequence, numpy.inf "
                f"for all, or None. Got {self.calibration_minutes!r} instead."
            )
        if not (isinstance(self.test_size, Real) and 0 < self.test_size < 1):
            raise ValueError(f"test_size must be a number between 0 and 1. Got {self.test_size!r} instead.")

    def _calibration(self, X, y):
        if self.calibration_minutes is None:
            return None
        return CalibrationSplit(X, y, self.amounts, self.test_size, self.gap)


class LeaveOneSessionOut(LeaveOneOut):
    """Leave-one-session-out cross-validation that also holds out stimuli.

    It tests a decoder on another day, when sensor positions, gains and noise
    have changed. Each session of each subject is held out in turn, with
    ``stimulus_folds`` folds of its stimuli. The model is trained on other
    sessions of the same subject and on other stimuli. Sessions of two subjects
    are distinct, also if their labels are equal.

    Parameters
    ----------
    stimulus_folds : int or None, default=5
        Stimulus folds of each session. Use 2 or more if sessions repeat
        stimuli, as in MEG-MASC, so that other stimuli are left for training.
        Use 1 if each session has its own stimuli. It holds out the session in
        one fold, and stimuli it shares with others are excluded from training.
        If None, stimuli may be shared by training and test set.
    gap : float, default=1.0
        Least distance in seconds between a training window and held-out
        stimuli.
    random_state : None, int or RandomState, default=None
        Seed of the assignment of blocks to folds. If None, blocks are assigned
        by size alone, which is deterministic.
    within_subject : bool, default=True
        If True, train only on other sessions of the same subject. If False,
        also on all sessions of other subjects, without the held-out stimuli.

    Raises
    ------
    ValueError
        From ``split``, if a subject has only one session, labels are missing,
        or no training row is left.

    Notes
    -----
    ``groups`` of :meth:`split` replace the column ``session`` of X. Subjects
    are read from its column ``subject``, if there is one.

    Examples
    --------
    >>> LeaveOneSessionOut(stimulus_folds=2).guarantee
    'neither the session nor the stimulus of a test row is in training, with a
    gap of 1.0 s; other sessions of its subject are, and no other subject'
    """

    _column = "session"
    _advice = "Set the column 'session' of events, or split the stimuli of one session with StimulusKFold."

    def __init__(self, stimulus_folds=5, gap=GAP, random_state=None, within_subject=True):
        super().__init__(stimulus_folds, gap, random_state)
        self.within_subject = within_subject

    def _shared(self):
        others = "no other subject" if self.within_subject else "other subjects"
        return f"{super()._shared()}; other sessions of its subject are, and {others}"

    def _groups(self, X, groups):
        sessions = get_validated_groups(X, "session", groups, type(self).__name__, "X")
        table = validate_table(X)
        known = table is not None and "subject" in table
        subjects = (
            get_validated_groups(X, "subject", None, type(self).__name__, "X")
            if known
            else np.zeros(len(sessions))
        )
        pairs = pd.DataFrame({"subject": subjects, "session": sessions})
        by_pair = pairs.groupby(["subject", "session"], sort=False)
        names = [
            f"session {unwrap_scalar_for_text(session)!r}"
            + f" of subject {unwrap_scalar_for_text(subject)!r}" * known
            for subject, session in pairs.drop_duplicates().itertuples(index=False)
        ]
        together = pd.factorize(subjects)[0] if self.within_subject else None
        return by_pair.ngroup().to_numpy(), names, together

    def _folds(self, X, y, groups):
        group, table = self._groups(X, groups)[0], validate_table(X)
        if table is not None and "subject" in table:
            sessions = pd.Series(group).groupby(table["subject"].to_numpy(), sort=False).nunique()
            if len(single := sessions.index[sessions < 2]):
                keep = "keep = X.groupby('subject')['session'].transform('nunique') > 1."
                way_out = self._advice if len(single) == len(sessions) else f"Exclude such subjects: {keep}"
                raise ValueError(
                    f"LeaveOneSessionOut requires 2 or more sessions of each subject, but subject "
                    f"{unwrap_scalar_for_text(single[0])!r} has one ({len(single)} of {len(sessions)} subjects). {way_out}"
                )
        yield from super()._folds(X, y, groups)


class LeaveOneStudyOut(LeaveOneOut):
    """Leave-one-study-out cross-validation that also holds out stimuli.

    It tests a decoder on other subjects, in another laboratory, and mostly on
    other stimuli. The decoder must accept the windows of all studies. Use
    common sensors, or a decoder that reads sensor positions.

    Parameters
    ----------
    stimulus_folds : int or None, default=1
        Stimulus folds of each study. If 1, all stimuli of the study are held
        out at once. This suits studies with their own stimuli, and stimuli
        that two studies share, such as an audiobook, are excluded from
        training. Use 2 or more if all studies have the same stimuli. If None,
        stimuli may be shared by training and test set.
    gap : float, default=1.0
        Least distance in seconds between a training window and held-out
        stimuli.
    random_state : None, int or RandomState, default=None
        Seed of the assignment of blocks to folds. If None, blocks are assigned
        by size alone, which is deterministic.

    Notes
    -----
    ``groups`` of :meth:`split` replace the column ``study`` of X. One call of
    ``make_segments`` on the events of all studies unites blocks with the same
    text. Tables of several calls share stimuli and blocks of equal text, but
    not single sentences.

    Examples
    --------
    >>> LeaveOneStudyOut().guarantee
    'neither the study nor the stimulus of a test row is in training, with a
    gap
    of 1.0 s'
    """

    _column = "study"
    _advice = (
        "Join the events of several studies before make_segments, with their names in the column 'study', or hold "
        "out subjects with LeaveOneSubjectOut."
    )

    def __init__(self, stimulus_folds=1, gap=GAP, random_state=None):
        super().__init__(stimulus_folds, gap, random_state)


def _make_group_plural(noun):
    return "studies" if noun == "study" else f"{noun}s"

"""Splitters that hold out a subject, a session or a study."""

from __future__ import annotations

import re
from collections.abc import Iterable
from numbers import Real

import numpy as np
import pandas as pd

from sk_b2s._utils._text import join_words, unwrap_scalar
from sk_b2s._utils._validation import check_count, labels_of, table_of
from sk_b2s.events._intervals import GAP
from sk_b2s.model_selection._calibration import CalibrationSplit
from sk_b2s.model_selection._split import StimulusSplitter, assign_to_folds


class LeaveOneOut(StimulusSplitter):
    """Hold out one group of recordings after the other, times folds of the sound that it heard.

    A splitter of this kind names the column of X that it leaves out by and what to do where there is but
    one group; :meth:`_groups` may say more finely which rows are a group, and whose rows it learns from.
    """

    _column: str
    _advice: str

    def __init__(self, stimulus_folds=5, gap=GAP, random_state=None):
        self.stimulus_folds = stimulus_folds
        self.gap = gap
        self.random_state = random_state

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds: groups that are left out, times folds of sound.

        Parameters
        ----------
        X : DataFrame or Windows of shape (n_rows, ...)
            What the brain did, with the column that is split by.
        y : Ignored
            Here for scikit-learn's sake.
        groups : array-like of shape (n_rows,), default=None
            Labels to split by instead.

        Returns
        -------
        n_splits : int
        """
        if X is None and groups is None:
            raise ValueError(
                f"{type(self).__name__} needs X (with its column {self._column!r}) or groups to count its folds."
            )
        return len(self._groups(X, groups)[1]) * (self.stimulus_folds or 1)

    def _apart(self):
        return [self._column] if self.stimulus_folds is None else [self._column, "sound"]

    def _shared(self):
        return "; its sound may be" if self.stimulus_folds is None else ""

    def _calibration(self, X, y):
        """Which rows of a group are learnt from before the rest of it is tested; None where none are."""
        return None

    def _groups(self, X, groups):
        """Which group each row is of, what messages call them, and the rows that learn together (or None)."""
        codes, labels = pd.factorize(labels_of(X, self._column, groups, type(self).__name__, "X"))
        return codes, [f"{self._column} {unwrap_scalar(label)!r}" for label in labels], None

    def _check(self):
        super()._check()
        if self.stimulus_folds is not None:
            check_count("stimulus_folds", self.stimulus_folds, least=1)

    def _folds(self, X, y, groups):
        self._check()
        group, names, together = self._groups(X, groups)
        if len(names) < 2:
            raise ValueError(
                f"{type(self).__name__} needs 2 {_plural(self._column)} or more, got {', '.join(names)}: {self._advice}"
            )
        if self.stimulus_folds is None:
            block = np.arange(len(group))  # nothing to hold apart
        else:
            owner = f"{type(self).__name__}(stimulus_folds=...)"
            block = pd.factorize(labels_of(y, "block", None, owner, "y"))[0]
        size, calibration = np.bincount(block), self._calibration(X, y)
        for code, name in enumerate(names):
            rows = np.flatnonzero(group == code)
            others = group != code
            if together is not None:
                others &= together == together[rows[0]]
            tested = rows if calibration is None else calibration.tested(rows, name)
            for index, test in enumerate(self._tests(tested, block, size, name)):
                train = np.flatnonzero(others & ~np.isin(block, block[test]))
                if len(train) == 0:
                    raise ValueError(self._nothing_left(name, index))
                for own in [[]] if calibration is None else calibration.drawn(rows, tested, test, name):
                    yield np.concatenate([train, own]).astype(int), test

    def _tests(self, rows, block, size, name):
        """Deal the sound of one group to folds, by the size that its blocks have in the whole table.

        So all groups that heard the same are dealt the same, and one that heard something else is dealt
        its own sound evenly.
        """
        if self.stimulus_folds is None:
            return [rows]
        heard, of_row = np.unique(block[rows], return_inverse=True)
        if len(heard) < self.stimulus_folds:
            raise ValueError(
                f"{name} heard {len(heard)} blocks of sound, too few for stimulus_folds={self.stimulus_folds}: use "
                f"fewer folds, or make_segments(block=...) with shorter blocks."
            )
        fold = assign_to_folds(size[heard], self.stimulus_folds, self.random_state)[of_row]
        return [rows[fold == index] for index in range(self.stimulus_folds)]

    def _nothing_left(self, name, index):
        return (
            f"{self._call()}: nothing is left to learn from where {name} is tested, fold {index} of sound: all the "
            f"other {_plural(self._column)} heard is in that fold. Deal the sound to more folds than "
            f"stimulus_folds={self.stimulus_folds}."
        )

    def _clear(self, y, train, test):
        return train if self.stimulus_folds is None else super()._clear(y, train, test)


class LeaveOneSubjectOut(LeaveOneOut):
    """Test on a person and on sound that were both not in training.

    Each subject is left out in turn; with ``stimulus_folds=k`` the sound is dealt to k folds as well
    and each is tested on that subject alone, by a model trained on the *other* subjects and the
    *other* sound: n_subjects · k folds. Leaving out only the subject lets a decoder recognize sounds
    it was trained on, which is a different and easier question.

    With ``calibration_minutes`` it asks what a new listener gains from a few minutes of their own: of the
    subject that is left out the last ``test_size`` is tested, and the first minutes before it follow the
    rows of the other subjects in training.

    Parameters
    ----------
    stimulus_folds : int or None, default=5
        Folds of sound for each subject, of the tested part where there is calibration. 1 holds out at once all
        that is tested: for people who heard different things, or with calibration, where it costs one base
        decoder for each person and the others' training the sound of the tested part. None leaves the sound in
        training on purpose.
    gap : float, default=1.0
        Seconds of sound between a training window and held-out sound; and of the recording between calibration and
        the tested part.
    random_state : None, int or RandomState, default=None
        Deals the blocks differently; None deals them by size alone, always the same way.
    calibration_minutes : None, float or sequence of float, default=None
        Minutes of recording (distinct time that windows cover) of the left-out subject, the first that were recorded
        and hold no sound of the test; 0 is none, ``numpy.inf`` all before the tested part. Of a sequence
        there is a fold for each amount, one after the other, with the same test rows and the same rows of other
        people: smaller amounts are part of larger ones. None tests all that a subject heard, without calibration.
    test_size : float, default=0.5
        Share of a subject's recorded time that is tested, the last of it, from the beginning of a block on; used
        with ``calibration_minutes`` alone. Recordings follow one another by session, run and name, numbers in them
        by size.

    Raises
    ------
    ValueError
        From ``split``: if labels or times are missing, nothing is left to train on, or somebody has fewer minutes
        before the tested part than are asked for, or none where all are.

    Notes
    -----
    ``groups`` given to :meth:`split` are the subjects, instead of the column ``subject`` of X.

    An amount is exact to a window: the next one would exceed it. Calibration may repeat sentences that others
    heard in training, never sound that is tested, whoever says it.

    Examples
    --------
    >>> LeaveOneSubjectOut()
    LeaveOneSubjectOut(gap=1.0, random_state=None, stimulus_folds=5)  # neither the subject nor the sound of a test
    row is in training, with 1.0 s of sound between
    >>> LeaveOneSubjectOut(stimulus_folds=None).guarantee
    'the subject of a test row is not in training; its sound may be'
    >>> LeaveOneSubjectOut(stimulus_folds=1, calibration_minutes=[0, 2, np.inf]).guarantee
    'of the subject of a test row only minutes before the tested part are in training (0, 2 or all of them), with 1.0 s
    of recording between; its sound is not, with 1.0 s of sound between'
    """

    _column = "subject"
    _advice = "give more people, or split one person's sound with StimulusKFold."

    def __init__(self, stimulus_folds=5, gap=GAP, random_state=None, calibration_minutes=None, test_size=0.5):
        super().__init__(stimulus_folds, gap, random_state)
        self.calibration_minutes = calibration_minutes
        self.test_size = test_size

    @property
    def amounts(self):
        """Minutes of calibration of the folds, in turn: list of float, empty without calibration."""
        asked = self.calibration_minutes
        if isinstance(asked, np.ndarray):
            return np.atleast_1d(asked).tolist()
        return [] if asked is None else list(asked) if isinstance(asked, Iterable) else [asked]

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds: subjects times folds of sound times amounts of calibration.

        Parameters
        ----------
        X : DataFrame or Windows of shape (n_rows, ...)
            What the brain did, with ``subject``.
        y : Ignored
            Here for scikit-learn's sake.
        groups : array-like of shape (n_rows,), default=None
            Subjects to split by instead.

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
        """What is held apart, in words that fit into a sentence of one's methods."""
        if not any(self.amounts):
            return super().guarantee
        said = ["all" if amount == np.inf else f"{amount:g}" for amount in self.amounts]
        said = join_words(said, "or")
        between = f", with {self.gap} s of recording between" if self.gap else ""
        sound = f"not, with {self.gap} s of sound between" if self.gap else "not"
        return (
            f"of the subject of a test row only minutes before the tested part are in training ({said} of them){between}; "
            f"its sound {'may be, heard by others' if self.stimulus_folds is None else f'is {sound}'}"
        )

    def _check(self):
        super()._check()
        wrong = [m for m in self.amounts if isinstance(m, bool) or not (isinstance(m, Real) and m >= 0)]
        wrong = wrong or len(set(self.amounts)) < len(self.amounts)
        if self.calibration_minutes is not None and (wrong or not self.amounts):
            raise ValueError(
                f"calibration_minutes must be a number of minutes of 0 or more, several of them, each once, numpy.inf "
                f"for all, or None; got {self.calibration_minutes!r}."
            )
        if not (isinstance(self.test_size, Real) and 0 < self.test_size < 1):
            raise ValueError(f"test_size must be a number between 0 and 1, got {self.test_size!r}.")

    def _calibration(self, X, y):
        if self.calibration_minutes is None:
            return None
        return CalibrationSplit(X, y, self.amounts, self.test_size, self.gap)


class LeaveOneSessionOut(LeaveOneOut):
    """Test on a session of a person, by a model trained on that person's other sessions and other sound.

    The question of whoever records the same person again another day: the cap sits differently, gains and
    noise have changed. Each session of each subject is left out in turn, times ``stimulus_folds`` folds of
    its sound. A session is known by subject and session: session "1" of another person is another session.

    Parameters
    ----------
    stimulus_folds : int or None, default=5
        Folds of the session's sound. Where sessions repeat the same sounds, as in MEG-MASC, it takes 2 or more;
        otherwise the answers would be in training. Where every session has sound of its own, 1 is enough: it
        holds out the session in one fold, and what it may share with others all the same. None leaves the
        sound in training on purpose.
    gap : float, default=1.0
        Seconds of sound between a training window and held-out sound.
    random_state : None, int or RandomState, default=None
        Deals the blocks differently; None deals them by size alone, always the same way.
    within_subject : bool, default=True
        Train on the person's own other sessions alone. False adds all sessions of all the others, for decoders
        that learn from many people; the sound is held apart all the same.

    Raises
    ------
    ValueError
        From ``split``: if somebody has but one session, labels are missing, or nothing is left to train on.

    Notes
    -----
    ``groups`` given to :meth:`split` are the sessions, instead of the column ``session`` of X; the people are
    those of its column ``subject``, where it has one.

    Examples
    --------
    >>> LeaveOneSessionOut(stimulus_folds=2).guarantee
    'neither the session nor the sound of a test row is in training, with 1.0 s of sound between; its subject is, in
    other sessions, and nobody else'
    """

    _column = "session"
    _advice = "name them in the events' column 'session', or split the sound of one with StimulusKFold."

    def __init__(self, stimulus_folds=5, gap=GAP, random_state=None, within_subject=True):
        super().__init__(stimulus_folds, gap, random_state)
        self.within_subject = within_subject

    def _shared(self):
        others = "nobody else" if self.within_subject else "so are other people"
        return f"{super()._shared()}; its subject is, in other sessions, and {others}"

    def _groups(self, X, groups):
        sessions = labels_of(X, "session", groups, type(self).__name__, "X")
        table = table_of(X)
        known = table is not None and "subject" in table
        people = labels_of(X, "subject", None, type(self).__name__, "X") if known else np.zeros(len(sessions))
        pairs = pd.DataFrame({"subject": people, "session": sessions})
        by_pair = pairs.groupby(["subject", "session"], sort=False)
        names = [
            f"session {unwrap_scalar(session)!r}" + f" of subject {unwrap_scalar(subject)!r}" * known
            for subject, session in pairs.drop_duplicates().itertuples(index=False)
        ]
        together = pd.factorize(people)[0] if self.within_subject else None
        return by_pair.ngroup().to_numpy(), names, together

    def _folds(self, X, y, groups):
        group, table = self._groups(X, groups)[0], table_of(X)
        if table is not None and "subject" in table:
            sessions = pd.Series(group).groupby(table["subject"].to_numpy(), sort=False).nunique()
            if len(single := sessions.index[sessions < 2]):
                keep = "keep = X.groupby('subject')['session'].transform('nunique') > 1."
                way_out = self._advice if len(single) == len(sessions) else f"leave such people out: {keep}"
                raise ValueError(
                    f"LeaveOneSessionOut needs 2 sessions or more of everybody, but subject {unwrap_scalar(single[0])!r} has "
                    f"one ({len(single)} of {len(sessions)} people have): {way_out}"
                )
        yield from super()._folds(X, y, groups)


class LeaveOneStudyOut(LeaveOneOut):
    """Test on a study by a model trained on the other studies.

    The hardest of the questions: other people, another laboratory, mostly other sound. The decoder has to
    take windows of all studies, so their sensors must have been brought to common ones, or their positions
    be known to it.

    Parameters
    ----------
    stimulus_folds : int or None, default=1
        Folds of the study's sound. 1 holds out all that it heard at once, which is right where studies have
        sounds of their own: what two studies share, the same audiobook say, is not trained on. Where all
        heard the same, 2 or more leave some of it to train on. None leaves shared sound in training.
    gap : float, default=1.0
        Seconds of sound between a training window and held-out sound.
    random_state : None, int or RandomState, default=None
        Deals the blocks differently; None deals them by size alone, always the same way.

    Notes
    -----
    ``groups`` given to :meth:`split` are the studies, instead of the column ``study`` of X. One call of
    ``make_segments`` on the events of all studies unites blocks that say the same; tables made by several
    calls and joined know equal sounds and blocks of equal text, but not a sentence that they share.

    Examples
    --------
    >>> LeaveOneStudyOut().guarantee
    'neither the study nor the sound of a test row is in training, with 1.0 s of sound between'
    """

    _column = "study"
    _advice = (
        "join the events of several before make_segments, each with its name in the column 'study', or leave out "
        "people with LeaveOneSubjectOut."
    )

    def __init__(self, stimulus_folds=1, gap=GAP, random_state=None):
        super().__init__(stimulus_folds, gap, random_state)


def _plural(noun):
    return "studies" if noun == "study" else f"{noun}s"

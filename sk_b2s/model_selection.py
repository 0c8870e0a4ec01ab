"""Splits that cannot fool: no stimulus on both sides, and a guard of silence for the model between."""

from __future__ import annotations

import logging
import numbers

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples

from sk_b2s.stimuli import SoundIntervals

__all__ = [
    "GUARD",
    "LeaveOneSubjectOut",
    "StimulusKFold",
    "StimulusLeakWarning",
    "stimulus_train_test",
]

logger = logging.getLogger("sk_b2s")
GUARD = 1.0  # s


class StimulusLeakWarning(UserWarning):
    """A score was asked for on sound that the estimator was fitted on."""


def table_of(data):
    """Return the table that rides with ``data``: itself, the rows of Windows, or None."""
    data = getattr(data, "rows", data)
    return data if isinstance(data, pd.DataFrame) else None


def _labels(data, column, groups, owner, side):
    """Read one label per row from ``groups`` or else from the table."""
    if groups is not None:
        return np.asarray(groups)
    table = table_of(data)
    if table is None or column not in table:
        raise ValueError(
            f"{owner} needs the column {column!r} in {side} (as make_segments returns it) or groups=, one label "
            f"per row; got {type(data).__name__} without it."
        )
    return table[column].to_numpy()


def assign_folds(blocks, n_splits, random_state=None):
    """Deal blocks to folds of nearly equal numbers of rows.

    The largest block goes first, always to the fold with the fewest rows; with ``random_state`` the
    blocks are shuffled before, so that ties fall differently.

    Parameters
    ----------
    blocks : array-like of shape (n_rows,)
        Block of each row.
    n_splits : int
        Number of folds.
    random_state : None, int or RandomState, default=None

    Returns
    -------
    fold : ndarray of int of shape (n_rows,)

    Raises
    ------
    ValueError
        If there are fewer blocks than folds.
    """
    codes, distinct = pd.factorize(np.asarray(blocks))
    if len(distinct) < n_splits:
        raise ValueError(
            f"n_splits={n_splits} folds need at least as many blocks of sound, got {len(distinct)}: use fewer "
            f"folds, more sound, or make_segments(block=...) with shorter blocks."
        )
    counts = np.bincount(codes)
    order = np.arange(len(counts))
    if random_state is not None:
        order = check_random_state(random_state).permutation(order)
    order = order[np.argsort(-counts[order], kind="stable")]
    load, fold = np.zeros(n_splits), np.empty(len(counts), int)
    for block in order:
        fold[block] = np.argmin(load)
        load[fold[block]] += counts[block]
    return fold[codes]


def clear_of(y, train, test, guard=GUARD):
    """Keep the rows of ``train`` that share no sound, guard included, with ``test``.

    Parameters
    ----------
    y : DataFrame or other
        The table of what was heard. Anything that is not a table of segments is taken to be held
        apart by its groups alone.
    train, test : ndarray of int
        Rows.
    guard : float, default=1.0
        Seconds of sound that must lie between a training window and held-out sound: the test
        windows and their whole blocks.

    Returns
    -------
    train : ndarray of int
        The rows kept.
    """
    table = table_of(y)
    if table is None or "sound_onset" not in table:
        return train
    held_out = SoundIntervals.from_table(table.iloc[test], blocks=True)
    return train[~held_out.touches(table.iloc[train], guard)]


def stimulus_train_test(y, test_size=0.1, guard=GUARD, random_state=None, groups=None):
    """Split rows once so that no stimulus is on both sides.

    Parameters
    ----------
    y : DataFrame of shape (n_rows, ...)
        The table of what was heard, with ``block``; anything else needs ``groups``.
    test_size : float, default=0.1
        Share of the rows that is held out: blocks are drawn at random until it is reached.
    guard : float, default=1.0
        Seconds of sound between a training window and held-out sound.
    random_state : None, int or RandomState, default=None
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row, instead of ``y["block"]``.

    Returns
    -------
    train, test : ndarray of int
        Rows; those within ``guard`` of the held-out sound are in neither.

    Raises
    ------
    ValueError
        If there is but one block or nothing is left to train on.
    """
    codes, distinct = pd.factorize(_labels(y, "block", groups, "stimulus_train_test", "y"))
    if len(distinct) < 2:
        raise ValueError(
            f"holding out {test_size:.0%} of the stimuli needs 2 blocks of sound or more, got {len(distinct)}; "
            f"give more sound, shorter blocks (make_segments(block=...)), or fit with validation=None."
        )
    order = check_random_state(random_state).permutation(len(distinct))
    share = np.cumsum(np.bincount(codes)[order]) / len(codes)
    n_test = min(np.searchsorted(share, test_size) + 1, len(distinct) - 1)
    held = np.isin(codes, order[:n_test])
    test = np.flatnonzero(held)
    train = clear_of(y, np.flatnonzero(~held), test, guard)
    if len(train) == 0:
        raise ValueError(
            f"no training row is left {guard:g} s away from the held-out sound; give more sound, or fit with "
            f"validation=None."
        )
    return train, test


class _StimulusSplitter(BaseCrossValidator):
    """Common to the splitters: guard, counting, and groups that sklearn's routing may pass."""

    __metadata_request__split = {"groups": True}

    def split(self, X, y=None, groups=None):
        """Yield the rows of each fold.

        Parameters
        ----------
        X : DataFrame or Windows of shape (n_rows, ...)
            What the brain did, with ``subject`` where it is split by.
        y : DataFrame of shape (n_rows, ...)
            What was heard, with ``block``, ``sound``, ``sound_onset`` and ``duration``.
        groups : array-like of shape (n_rows,), default=None
            Labels to split by instead of the table's.

        Yields
        ------
        train, test : ndarray of int
            Rows. Training rows that come within ``guard`` seconds of held-out sound are left out.

        Raises
        ------
        ValueError
            If labels are missing or a fold has no training rows.
        """
        for index, (train, test) in enumerate(self._folds(X, y, groups)):
            kept = self._clear(y, train, test)
            logger.info(
                "%s fold %d: %d training rows, %d left out for held-out sound, %d test rows",
                type(self).__name__, index, len(kept), len(train) - len(kept), len(test),
            )  # fmt: skip
            if len(kept) == 0:
                raise ValueError(f"{self!r}, fold {index}: all {len(train)} training rows {self._reason()}")
            yield kept, test

    def summary(self, X, y, groups=None):
        """Count what each fold holds.

        Parameters
        ----------
        X, y, groups
            As in :meth:`split`.

        Returns
        -------
        table : DataFrame of shape (n_folds, ...)
            ``n_train, n_test, n_left_out`` rows, the last being those of other sound and subjects
            that only the guard keeps from training, and ``train_seconds, test_seconds`` of distinct
            sound where ``y`` is a table of segments.
        """
        rows = []
        for train, test in self._folds(X, y, groups):
            kept = self._clear(y, train, test)
            row = {"n_train": len(kept), "n_test": len(test), "n_left_out": len(train) - len(kept)}
            if (table := table_of(y)) is not None and "sound_onset" in table:
                row["train_seconds"] = SoundIntervals.from_table(table.iloc[kept]).seconds
                row["test_seconds"] = SoundIntervals.from_table(table.iloc[test]).seconds
            rows.append(row)
        return pd.DataFrame(rows)

    def _clear(self, y, train, test):
        """Rows of ``train`` that may be trained on."""
        return clear_of(y, train, test, self.guard)

    def _reason(self):
        """Say why rows are left out of training, and what to do if all are."""
        return (
            f"come within {self.guard:g} s of held-out sound. Use more sound, fewer folds or a smaller guard."
        )

    def _check(self):
        if not (isinstance(self.guard, numbers.Real) and self.guard >= 0):
            raise ValueError(f"guard must be a number of seconds of 0 or more, got {self.guard!r}.")


def _check_n_splits(name, value):
    if not (isinstance(value, numbers.Integral) and value >= 2):
        raise ValueError(f"{name} must be an integer of 2 or more, got {value!r}.")


class StimulusKFold(_StimulusSplitter):
    """K folds of sound: every block of sound is tested once, by a model that never heard it.

    Unlike :class:`~sklearn.model_selection.GroupKFold` on sentences, training rows whose window
    reaches within ``guard`` seconds of held-out sound are left out, because a window of three
    seconds contains its neighbours.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds.
    guard : float, default=1.0
        Seconds of sound between a training window and held-out sound.
    random_state : None, int or RandomState, default=None
        Deals the blocks differently; None deals them by size alone, always the same way.

    Examples
    --------
    >>> StimulusKFold(3)
    StimulusKFold(guard=1.0, n_splits=3, random_state=None)
    """

    def __init__(self, n_splits=5, guard=GUARD, random_state=None):
        self.n_splits = n_splits
        self.guard = guard
        self.random_state = random_state

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits

    def _folds(self, X, y, groups):
        self._check()
        _check_n_splits("n_splits", self.n_splits)
        blocks = _labels(y, "block", groups, "StimulusKFold", "y")
        fold = assign_folds(blocks, self.n_splits, self.random_state)
        for index in range(self.n_splits):
            yield np.flatnonzero(fold != index), np.flatnonzero(fold == index)


class LeaveOneSubjectOut(_StimulusSplitter):
    """Test on a person and on sound that were both not in training.

    Each subject is left out in turn; with ``stimulus_folds=k`` the sound is dealt to k folds as well
    and each is tested on that subject alone, by a model trained on the *other* subjects and the
    *other* sound: n_subjects · k folds. Leaving out only the subject lets a decoder recognise sounds
    it was trained on, which is a different and easier question.

    Parameters
    ----------
    stimulus_folds : int or None, default=5
        Folds of sound for each subject. None leaves the sound in training on purpose.
    guard : float, default=1.0
        Seconds of sound between a training window and held-out sound.
    random_state : None, int or RandomState, default=None
        Deals the blocks differently; None deals them by size alone, always the same way.

    Notes
    -----
    ``groups`` given to :meth:`split` are the subjects, instead of the column ``subject`` of X.
    """

    def __init__(self, stimulus_folds=5, guard=GUARD, random_state=None):
        self.stimulus_folds = stimulus_folds
        self.guard = guard
        self.random_state = random_state

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds: subjects times folds of sound.

        Parameters
        ----------
        X : DataFrame or Windows of shape (n_rows, ...)
            What the brain did, with its column ``subject``.
        y : Ignored
            Here for scikit-learn's sake.
        groups : array-like of shape (n_rows,), default=None
            Subject of each row instead.

        Returns
        -------
        n_splits : int
        """
        if X is None and groups is None:
            raise ValueError(
                "LeaveOneSubjectOut needs X (with its column 'subject') or groups to count its folds."
            )
        subjects = _labels(X, "subject", groups, "LeaveOneSubjectOut", "X")
        return len(pd.unique(subjects)) * (self.stimulus_folds or 1)

    def _folds(self, X, y, groups):
        self._check()
        subjects = _labels(X, "subject", groups, "LeaveOneSubjectOut", "X")
        if len(pd.unique(subjects)) < 2:
            raise ValueError(f"LeaveOneSubjectOut needs 2 subjects or more, got {list(pd.unique(subjects))}.")
        if self.stimulus_folds is None:
            fold = np.zeros(_num_samples(X), int)
        else:
            _check_n_splits("stimulus_folds", self.stimulus_folds)
            blocks = _labels(y, "block", None, "LeaveOneSubjectOut(stimulus_folds=...)", "y")
            fold = assign_folds(blocks, self.stimulus_folds, self.random_state)
        for subject in pd.unique(subjects):
            left_out = subjects == subject
            for index in pd.unique(np.sort(fold)):
                train = ~left_out if self.stimulus_folds is None else ~left_out & (fold != index)
                if not (left_out & (fold == index)).any():
                    raise ValueError(
                        f"subject {subject!r} heard none of the sound of fold {index}: use fewer than "
                        f"stimulus_folds={self.stimulus_folds}, or make_segments(block=...) with shorter blocks."
                    )
                yield np.flatnonzero(train), np.flatnonzero(left_out & (fold == index))

    def _clear(self, y, train, test):
        return train if self.stimulus_folds is None else super()._clear(y, train, test)

"""Cross-validation splitters that keep each stimulus on one side."""

from __future__ import annotations

import logging
import numbers
import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

from sk_b2s._utils._text import shorten_list
from sk_b2s._utils._validation import check_count, labels_of, table_of
from sk_b2s.events._audio._copies import find_windows_of_copies
from sk_b2s.events._intervals import GAP, StimulusIntervals
from sk_b2s.events._stimuli import stimulus_name

logger = logging.getLogger("sk_b2s")


class StimulusLeakWarning(UserWarning):
    """A score was asked for on sound that the estimator was fitted on."""


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
    return assign_to_folds(np.bincount(codes), n_splits, random_state)[codes]


def assign_to_folds(counts, n_splits, random_state=None):
    """Deal blocks of those numbers of rows to folds: the fold of each, as :func:`assign_folds` does."""
    order = np.arange(len(counts))
    if random_state is not None:
        order = check_random_state(random_state).permutation(order)
    order = order[np.argsort(-counts[order], kind="stable")]
    load, fold = np.zeros(n_splits), np.empty(len(counts), int)
    for block in order:
        fold[block] = np.argmin(load)
        load[fold[block]] += counts[block]
    return fold


def exclude_overlap(y, train, test, gap=GAP):
    """Keep the rows of ``train`` that share no sound, gap included, with ``test``.

    Parameters
    ----------
    y : DataFrame, Windows or other
        The table of what was heard. Windows without one are kept apart by the samples they read;
        anything else is taken to be held apart by its groups alone.
    train, test : ndarray of int
        Rows.
    gap : float, default=1.0
        Seconds of sound that must lie between a training window and held-out sound: the test
        windows and their whole blocks.

    Returns
    -------
    train : ndarray of int
        The rows kept.
    """
    table = table_of(y)
    if table is None or "sound_onset" not in table:
        return train[~y.overlaps(train, test)] if hasattr(y, "overlaps") else train
    held_out = StimulusIntervals.from_table(table.iloc[test], blocks=True)
    return train[~held_out.touches(table.iloc[train], gap)]


def folds_of(cv, X, y):
    """Row numbers of training and test in each fold, whatever says them.

    Parameters
    ----------
    cv : splitter or iterable of (train, test)
        Rows as indices or masks.
    X, y : DataFrame, Windows or array-like of shape (n_rows, ...)
        What is split.

    Returns
    -------
    folds : list of (ndarray of int, ndarray of int)

    Raises
    ------
    TypeError
        If ``cv`` is a number, which would split rows that overlap, or nothing of the kind.
    """
    if isinstance(cv, numbers.Integral):
        raise TypeError(f"cv={cv} would split rows, and windows overlap: write cv=StimulusKFold({cv}).")
    if not (hasattr(cv, "split") or hasattr(cv, "__iter__")):
        raise TypeError(
            f"cv must be a splitter, such as StimulusKFold(5), or pairs (train, test); got {cv!r}."
        )
    every = np.arange(len(X))  # rows may be given as masks
    pairs = cv.split(X, y) if hasattr(cv, "split") else cv
    return [(every[np.asarray(train)], every[np.asarray(test)]) for train, test in pairs]


def warn_of_seen_stimuli(learnt, heard, owner, stacklevel=3):
    """Say so if a score is asked for on sound of ``fit``.

    Parameters
    ----------
    learnt : StimulusIntervals
        Sound of ``fit``.
    heard : DataFrame of shape (n_rows, ...)
        The table of what is scored.
    owner : str
        What the warning calls the estimator.
    stacklevel : int, default=3
        As of :func:`warnings.warn`, counted from here.

    Warns
    -----
    StimulusLeakWarning
        If they share sound.
    """
    leaking = learnt.touches(heard)
    leaking |= find_windows_of_copies(learnt, heard)
    names = sorted({stimulus_name(sound) for sound in pd.unique(heard["sound"][leaking].astype(object))})
    warn_of_leak(leaking, names, owner, stacklevel + 1)


def warn_of_leak(leaking, names, owner, stacklevel=3):
    """Warn of rows that an estimator was fitted on, if there are any.

    Parameters
    ----------
    leaking : ndarray of bool of shape (n_rows,)
    names : list of str
        Of the sounds they hold.
    owner : str
        What the warning calls the estimator.
    stacklevel : int, default=3
        As of :func:`warnings.warn`, counted from here.

    Warns
    -----
    StimulusLeakWarning
    """
    if leaking.any():
        warnings.warn(
            f"{np.count_nonzero(leaking)} of {len(leaking)} windows scored contain sound this {owner} was fitted on "
            f"({shorten_list(names, 5)}): the score says how well it remembers, not how well it decodes. Split by "
            f"blocks of sound: cv=StimulusKFold() or LeaveOneSubjectOut().",
            StimulusLeakWarning,
            stacklevel=stacklevel,
        )


def stimulus_train_test(y, test_size=0.1, gap=GAP, random_state=None, groups=None):
    """Split rows once so that no stimulus is on both sides.

    Parameters
    ----------
    y : DataFrame of shape (n_rows, ...)
        The table of what was heard, with ``block``; anything else needs ``groups``.
    test_size : float, default=0.1
        Share of the rows that is held out: blocks are drawn at random until it is reached.
    gap : float, default=1.0
        Seconds of sound between a training window and held-out sound.
    random_state : None, int or RandomState, default=None
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row, instead of ``y["block"]``.

    Returns
    -------
    train, test : ndarray of int
        Rows; those within ``gap`` of the held-out sound are in neither.

    Raises
    ------
    ValueError
        If there is but one block or nothing is left to train on.
    """
    codes, distinct = pd.factorize(labels_of(y, "block", groups, "stimulus_train_test", "y"))
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
    train = exclude_overlap(y, np.flatnonzero(~held), test, gap)
    if len(train) == 0:
        raise ValueError(
            f"no training row is left {gap:g} s away from the held-out sound; give more sound, or fit with "
            f"validation=None."
        )
    return train, test


class StimulusSplitter(BaseCrossValidator):
    """Common to the splitters: gap, counting, the guarantee, and groups that sklearn's routing may pass.

    Each yields the rows of its folds from ``_folds`` and names what they hold apart in ``_apart``.
    """

    __metadata_request__split = {"groups": True}

    def __repr__(self):
        return f"{self._call()}  # {self.guarantee}"  # a comment: what is shown can still be run

    def _call(self):
        """The call that makes this splitter, for messages: str."""
        return super().__repr__()

    @property
    def guarantee(self):
        """What is held apart, in words that fit into a sentence of one's methods."""
        nouns = self._apart()
        named = f"the {nouns[0]}" if len(nouns) == 1 else f"neither the {nouns[0]} nor the {nouns[1]}"
        verb = "is not" if len(nouns) == 1 else "is"
        text = f"{named} of a test row {verb} in training"
        if "sound" in nouns and self.gap:
            text += f", with {self.gap} s of sound between"
        return text + self._shared()

    def _shared(self):
        """Say what training and test may have in common."""
        return ""

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
            Rows. Training rows that come within ``gap`` seconds of held-out sound are left out.

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
                raise ValueError(
                    f"{self._call()}, fold {index}: all {len(train)} training rows {self._reason()}"
                )
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
            that only the gap keeps from training, and ``train_seconds, test_seconds`` of distinct
            sound where ``y`` is a table of segments.
        """
        rows = []
        for train, test in self._folds(X, y, groups):
            kept = self._clear(y, train, test)
            row = {"n_train": len(kept), "n_test": len(test), "n_left_out": len(train) - len(kept)}
            if (table := table_of(y)) is not None and "sound_onset" in table:
                row["train_seconds"] = StimulusIntervals.from_table(table.iloc[kept]).seconds
                row["test_seconds"] = StimulusIntervals.from_table(table.iloc[test]).seconds
            rows.append(row)
        return pd.DataFrame(rows)

    def _clear(self, y, train, test):
        """Rows of ``train`` that may be trained on."""
        return exclude_overlap(y, train, test, self.gap)

    def _reason(self):
        """Say why rows are left out of training, and what to do if all are."""
        return f"come within {self.gap:g} s of held-out sound. Use more sound, fewer folds or a smaller gap."

    def _check(self):
        if not (isinstance(self.gap, numbers.Real) and self.gap >= 0):
            raise ValueError(f"gap must be a number of seconds of 0 or more, got {self.gap!r}.")


class StimulusKFold(StimulusSplitter):
    """K folds of sound: every block of sound is tested once, by a model that never heard it.

    Unlike :class:`~sklearn.model_selection.GroupKFold` on sentences, training rows whose window
    reaches within ``gap`` seconds of held-out sound are left out, because a window of three
    seconds contains its neighbors.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds.
    gap : float, default=1.0
        Seconds of sound between a training window and held-out sound.
    random_state : None, int or RandomState, default=None
        Deals the blocks differently; None deals them by size alone, always the same way.

    Examples
    --------
    >>> StimulusKFold(3)
    StimulusKFold(gap=1.0, n_splits=3, random_state=None)  # the sound of a test row is not in training, with
    1.0 s of sound between; its subject may be
    """

    def __init__(self, n_splits=5, gap=GAP, random_state=None):
        self.n_splits = n_splits
        self.gap = gap
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

    def _apart(self):
        return ["sound"]

    def _shared(self):
        return "; its subject may be"

    def _folds(self, X, y, groups):
        self._check()
        check_count("n_splits", self.n_splits)
        blocks = labels_of(y, "block", groups, "StimulusKFold", "y")
        fold = assign_folds(blocks, self.n_splits, self.random_state)
        for index in range(self.n_splits):
            yield np.flatnonzero(fold != index), np.flatnonzero(fold == index)

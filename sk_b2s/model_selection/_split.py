"""Cross-validation splitters that keep each stimulus on one side."""

from __future__ import annotations

import numbers

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

from sk_b2s._utils._logging import logger
from sk_b2s._utils._validation import get_validated_groups, validate_count, validate_table
from sk_b2s.events._intervals import GAP, StimulusIntervals


def assign_rows_to_split_folds(blocks, n_splits, random_state=None):
    """Assign whole blocks to folds of nearly equal size: fold of each row.

    The largest block is assigned first, to the fold with the fewest rows. With
    ``random_state`` blocks are shuffled before, which changes the order of
    ties.
    """
    codes, distinct = pd.factorize(np.asarray(blocks))
    if len(distinct) < n_splits:
        raise ValueError(
            f"n_splits={n_splits} must not be larger than the number of stimulus blocks, got {len(distinct)} blocks. "
            f"Use fewer folds, more stimuli, or block=... of make_segments or Windows.from_trials with shorter blocks."
        )
    return assign_blocks_to_split_folds(np.bincount(codes), n_splits, random_state)[codes]


def assign_blocks_to_split_folds(counts, n_splits, random_state=None):
    """Return the fold of each block, given their numbers of rows."""
    order = np.arange(len(counts))
    if random_state is not None:
        order = check_random_state(random_state).permutation(order)
    order = order[np.argsort(-counts[order], kind="stable")]
    load, fold = np.zeros(n_splits), np.empty(len(counts), int)
    for block in order:
        fold[block] = np.argmin(load)
        load[fold[block]] += counts[block]
    return fold


def exclude_split_overlap(y, train, test, gap=GAP):
    """Return rows of ``train`` at least ``gap`` s from stimuli of ``test``.

    Blocks of test rows are held out as a whole.
    Windows without a table are compared by the samples that they read. For any
    other ``y`` all rows are returned, because only groups are known.
    """
    table = validate_table(y)
    if table is None or "sound_onset" not in table:
        return train[~y.overlaps(train, test)] if hasattr(y, "overlaps") else train
    held_out = StimulusIntervals.from_table(table.iloc[test], blocks=True)
    return train[~held_out.touches(table.iloc[train], gap)]


def iter_inner_split_folds(y, segments, rows, n_splits):
    """Split rows into at most ``n_splits`` folds without a shared stimulus.

    Folds are stimulus blocks with a gap if ``y`` has a table with blocks, else
    contiguous runs of the distinct ``segments`` of all rows. Folds whose
    training rows are all within the gap are left out. Yields (train, test).
    """
    table = validate_table(y)
    has_blocks = table is not None and "block" in table
    labels = table["block"].to_numpy()[rows] if has_blocks else segments[rows]
    codes, distinct = pd.factorize(labels)
    n_folds = min(n_splits, len(distinct))
    fold = assign_rows_to_split_folds(codes, n_folds) if has_blocks else codes * n_folds // len(distinct)
    for index in range(n_folds):
        test = rows[fold == index]
        train = exclude_split_overlap(y, rows[fold != index], test)
        if len(train):
            yield train, test


def list_split_folds(cv, X, y, groups=None):
    """Return the rows of each fold as indices: list of (train, test).

    ``cv`` is a splitter, or pairs of indices or masks. A number of folds
    raises a TypeError, because it would split overlapping windows. ``groups``
    of the rows are passed to a splitter.
    """
    if isinstance(cv, numbers.Integral):
        raise TypeError(f"cv={cv} would split overlapping windows. Use cv=StimulusKFold({cv}).")
    if not (hasattr(cv, "split") or hasattr(cv, "__iter__")):
        raise TypeError(
            f"cv must be a splitter, such as StimulusKFold(5), or pairs (train, test). Got {cv!r} instead."
        )
    every = np.arange(len(X))  # rows may be given as masks
    options = {} if groups is None else {"groups": groups}
    pairs = cv.split(X, y, **options) if hasattr(cv, "split") else cv
    return [(every[np.asarray(train)], every[np.asarray(test)]) for train, test in pairs]


def stimulus_train_test(y, test_size=0.1, gap=GAP, random_state=None, groups=None):
    """Split rows once so that no stimulus is on both sides.

    Parameters
    ----------
    y : DataFrame of shape (n_rows, ...)
        Stimulus segments with ``block``. Other types need ``groups``.
    test_size : float, default=0.1
        Fraction of rows to hold out. Blocks are drawn at random until it is
        reached.
    gap : float, default=1.0
        Least distance in seconds between a training window and held-out
        stimuli.
    random_state : None, int or RandomState, default=None
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row. If None, ``y["block"]``.

    Returns
    -------
    train, test : ndarray of int
        Rows. Those within ``gap`` of held-out stimuli are in neither.

    Raises
    ------
    ValueError
        If there is only one block or no training row is left.
    """
    codes, distinct = pd.factorize(get_validated_groups(y, "block", groups, "stimulus_train_test", "y"))
    if len(distinct) < 2:
        raise ValueError(
            f"Holding out {test_size:.0%} of the stimuli requires 2 or more blocks, got {len(distinct)}. Use more "
            f"stimuli, shorter blocks (block= in make_segments or Windows.from_trials), or fit with validation=None."
        )
    order = check_random_state(random_state).permutation(len(distinct))
    share = np.cumsum(np.bincount(codes)[order]) / len(codes)
    n_test = min(np.searchsorted(share, test_size) + 1, len(distinct) - 1)
    held = np.isin(codes, order[:n_test])
    test = np.flatnonzero(held)
    train = exclude_split_overlap(y, np.flatnonzero(~held), test, gap)
    if len(train) == 0:
        raise ValueError(
            f"No training row is {gap:g} s or more away from the held-out stimuli. Use more stimuli, or fit with "
            f"validation=None."
        )
    return train, test


class StimulusSplitter(BaseCrossValidator):
    """Base class of splitters: gap, summary and guarantee.

    A subclass yields the rows of its folds from ``_folds`` and returns the
    nouns that no fold has on both sides from ``_apart``.
    """

    __metadata_request__split = {"groups": True}

    @property
    def shuffle(self):
        """Whether folds are drawn, so that two splits may differ."""
        return getattr(self, "random_state", None) is not None

    def __repr__(self):
        return f"{self._call()}  # {self.guarantee}"  # the guarantee is a comment, so that the text is valid code

    def _call(self):
        """Return the call that makes this splitter."""
        return super().__repr__()

    @property
    def guarantee(self):
        """Sentence on what training and test set never share: str."""
        nouns = self._apart()
        named = f"the {nouns[0]}" if len(nouns) == 1 else f"neither the {nouns[0]} nor the {nouns[1]}"
        verb = "is not" if len(nouns) == 1 else "is"
        text = f"{named} of a test row {verb} in training"
        if "stimulus" in nouns and self.gap:
            text += f", with a gap of {self.gap} s"
        return text + self._shared()

    def _shared(self):
        """Return the end of the guarantee: what may be shared."""
        return ""

    def split(self, X, y=None, groups=None):
        """Yield the rows of each fold.

        Parameters
        ----------
        X : DataFrame or Windows of shape (n_rows, ...)
            EEG/MEG windows with the columns that the splitter uses, such as
            ``subject``.
        y : DataFrame of shape (n_rows, ...)
            Stimulus segments with ``block``, ``sound``, ``sound_onset`` and
            ``duration``.
        groups : array-like of shape (n_rows,), default=None
            Labels to split by. If None, those of the table.

        Yields
        ------
        train, test : ndarray of int
            Rows. Training rows within ``gap`` seconds of held-out stimuli are
            excluded.

        Raises
        ------
        ValueError
            If labels are missing or a fold has no training rows.
        """
        for index, (train, test) in enumerate(self._folds(X, y, groups)):
            kept = self._clear(y, train, test)
            logger.info(
                "%s fold %d: %d training rows, %d excluded near held-out stimuli, %d test rows",
                type(self).__name__, index, len(kept), len(train) - len(kept), len(test),
            )  # fmt: skip
            if len(kept) == 0:
                raise ValueError(
                    f"{self._call()}, fold {index}: all {len(train)} training rows {self._reason()}"
                )
            yield kept, test

    def summary(self, X, y, groups=None):
        """Count the rows and seconds of each fold.

        Parameters
        ----------
        X, y, groups
            As in :meth:`split`.

        Returns
        -------
        table : DataFrame of shape (n_folds, ...)
            ``n_train``, ``n_test`` and ``n_left_out`` rows, the last excluded
            from training because of the gap. If ``y`` is a table of segments,
            also ``train_seconds`` and ``test_seconds`` of distinct stimuli.
        """
        rows = []
        for train, test in self._folds(X, y, groups):
            kept = self._clear(y, train, test)
            row = {"n_train": len(kept), "n_test": len(test), "n_left_out": len(train) - len(kept)}
            if (table := validate_table(y)) is not None and "sound_onset" in table:
                row["train_seconds"] = StimulusIntervals.from_table(table.iloc[kept]).seconds
                row["test_seconds"] = StimulusIntervals.from_table(table.iloc[test]).seconds
            rows.append(row)
        return pd.DataFrame(rows)

    def _clear(self, y, train, test):
        """Return the rows of ``train`` that the gap does not exclude."""
        return exclude_split_overlap(y, train, test, self.gap)

    def _reason(self):
        """Return why training rows are excluded, and the way out."""
        return (
            f"are within {self.gap:g} s of held-out stimuli. Use more stimuli, fewer folds or a smaller gap."
        )

    def _check(self):
        if not (isinstance(self.gap, numbers.Real) and self.gap >= 0):
            raise ValueError(f"gap must be a number of seconds, 0 or more. Got {self.gap!r} instead.")


class StimulusKFold(StimulusSplitter):
    """K-fold cross-validation over blocks of stimuli.

    Each block is tested once, by a model that was not trained on it. Unlike
    :class:`~sklearn.model_selection.GroupKFold` on sentences, training windows
    within ``gap`` seconds of held-out stimuli are excluded, because a window
    of three seconds overlaps its neighbors.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds.
    gap : float, default=1.0
        Least distance in seconds between a training window and held-out
        stimuli.
    random_state : None, int or RandomState, default=None
        Seed of the assignment of blocks to folds. If None, blocks are assigned
        by size alone, which is deterministic.

    Examples
    --------
    >>> StimulusKFold(3)
    StimulusKFold(gap=1.0, n_splits=3, random_state=None)  # the stimulus of a
    test row is not in training, with a gap of 1.0 s; its subject may be
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
            Not used, present for API consistency by convention.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits

    def _apart(self):
        return ["stimulus"]

    def _shared(self):
        return "; its subject may be"

    def _folds(self, X, y, groups):
        self._check()
        validate_count("n_splits", self.n_splits)
        blocks = get_validated_groups(y, "block", groups, "StimulusKFold", "y")
        fold = assign_rows_to_split_folds(blocks, self.n_splits, self.random_state)
        for index in range(self.n_splits):
            yield np.flatnonzero(fold != index), np.flatnonzero(fold == index)

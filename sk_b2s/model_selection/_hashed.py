"""Published split of the paper, by a hash of each block's text."""

from __future__ import annotations

import hashlib
import numbers
import random

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import validate_table
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.model_selection._split import StimulusSplitter

PARTS = ("test", "valid", "train")  # in the order of the published code
TRAINED = {"test": ("train", "valid"), "valid": ("train",)}  # training parts for each held-out part


def hash_to_uniform(text, salt=12):
    """Return a uniform number in [0, 1) that depends only on a text.

    It is the first number of Python's Mersenne twister with the seed
    ``int(sha256(text)) + salt``.

    Examples
    --------
    >>> hash_to_uniform("ceci est"), hash_to_uniform("un test")
    (0.8149709067146149, 0.017616799174733133)
    """
    return random.Random(int(hashlib.sha256(text.encode()).hexdigest(), 16) + salt).random()


class HashedBlockSplit(StimulusSplitter):
    """Published train, validation and test split by a hash of block texts.

    A block belongs to the test set if the number that its text is hashed to is
    below ``test_size``. It belongs to the validation set if the number is
    below ``test_size + valid_size``, and otherwise to the training set. The
    split is the same for all subjects and sessions. Rows count if their
    window, and the lag after it, is inside the block
    (:class:`~sk_b2s.PaperBlocks`). Other rows are in no part. If ``y`` has
    windows of both anchors, those of a grid are for training and validation,
    and those at word onsets for the test.

    Use it to replicate published results. :class:`StimulusKFold` and
    :class:`LeaveOneSubjectOut` are better for new results:

    * They test every word. Here most of the stimuli are not tested, and never
      the first 0.5 s and the last 2.5 s of a block (a quarter of the words of
      MEG-MASC). The sizes of the parts vary by chance.
    * They leave a gap between training and test stimuli.
    * They also hold out stimuli that were presented in different orders.
      Here the joining of sentences depends on the order. If blocks differ
      between subjects, a stimulus can be in both training and test set.
      :meth:`summary` counts such rows, and ``score`` of an encoder warns.
    * A few test segments here have the same text as a training segment.

    Parameters
    ----------
    part : "test" or "valid", default="test"
        Part that is held out. If "test", the training set has the training
        *and* validation parts, because
        ``validation=HashedBlockSplit("valid")`` of the encoder holds out the
        latter. If "valid", the training set has only the training part, and
        test rows are not used.
    test_size, valid_size : float, default=0.2, 0.1
        Expected fraction of the blocks in each part.
    salt : int, default=12
        Seed. Another value makes another split of the same sizes.

    Raises
    ------
    ValueError
        From ``split``, if a parameter is invalid, y has no blocks of the
        paper, or a part has no rows.

    Notes
    -----
    There is one fold. ``groups`` of :meth:`split` are the block texts of the
    rows. They replace the column ``block_text`` of y, and no other column of y
    is required.

    In the published code, the grid of training windows is relative to the
    recording, so each subject has other windows. In ``make_segments`` it is
    relative to the stimulus, so windows are equal for all subjects. Blocks,
    parts and test windows are the published ones, except windows that extend
    into a second stimulus, which :func:`make_segments` excludes. Of the 190
    published test segments of Brennan's study 183 remain, of MEG-MASC all.

    In a search with ``cv=HashedBlockSplit("valid")`` an encoder cannot
    validate on the same blocks. Set its ``validation`` to another splitter.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    The paper's protocol, with ``events`` of a study::

        segments = [
            make_segments(events, anchor=a, margin=0.15, block=PaperBlocks())
            for a in (0.5, "word")
        ]
        X, y = (pd.concat(t, ignore_index=True) for t in zip(*segments))
        speech = make_pipeline(Wav2Vec2Features(), FeatureScaler())
        pipe = Pipeline([
            ("epochs", Epocher(sfreq=120, lag=0.15, baseline=(0, 0.5))),
            ("scale", RobustChannelScaler(clip=20)),
            ("encoder", BrainEncoder(
                speech=speech, validation=HashedBlockSplit("valid")
            )),
        ])
        cross_val_score(pipe, X, y, cv=HashedBlockSplit("test"))  # one fold

    >>> split = HashedBlockSplit()
    >>> split
    HashedBlockSplit(part='test', salt=12, test_size=0.2, valid_size=0.1)  #
    the block of a test row, identified by its text, is not in training,
    without a gap; its subject may be
    >>> split.assign(None, groups=["ceci est", "un test"]).tolist()
    ['train', 'test']
    """

    def __init__(self, part="test", test_size=0.2, valid_size=0.1, salt=12):
        self.part = part
        self.test_size = test_size
        self.valid_size = valid_size
        self.salt = salt

    @property
    def guarantee(self):
        """Sentence on what training and test set never share: str."""
        return "the block of a test row, identified by its text, is not in training, without a gap; its subject may be"

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds, 1.

        Parameters
        ----------
        X, y, groups : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        n_splits : int
        """
        return 1

    def assign(self, y, groups=None):
        """Return the part of each row.

        Parameters
        ----------
        y : DataFrame or Windows of shape (n_rows, ...), or None
            Stimulus segments, as ``make_segments(block=PaperBlocks())``
            returns it.
        groups : array-like of shape (n_rows,), default=None
            Block text of each row. If None, that of y.

        Returns
        -------
        part : ndarray of str of shape (n_rows,)
            "train", "valid", "test", or "" for rows in no part. Their window
            is not inside the block, or has the other anchor.
        """
        part, wanted = self._parts_of_blocks(y, groups)
        return np.where(wanted & _find_windows_inside_blocks(y, np.arange(len(part))), part, "")

    def summary(self, X, y, groups=None):
        """Count the rows and seconds of training and test set.

        Parameters
        ----------
        X, y, groups
            As in :meth:`split`.

        Returns
        -------
        table : DataFrame of shape (1, ...)
            ``n_train``, ``n_test`` and ``n_left_out``, training rows whose
            window is not inside the block. ``train_seconds`` and
            ``test_seconds`` of distinct stimuli. ``n_test_left_out``, held-out
            rows whose window is not inside the block. ``n_shared``, test rows
            with stimuli of training rows, above 0 if blocks differ between
            subjects.
        """
        part, wanted = self._parts_of_blocks(y, groups)
        held_out = np.flatnonzero((part == self.part) & wanted)
        counts = {"n_test_left_out": np.count_nonzero(~_find_windows_inside_blocks(y, held_out))}
        if (table := validate_table(y)) is not None and "sound_onset" in table:
            ((train, test),) = self.split(X, y, groups)
            trained = StimulusIntervals.from_table(table.iloc[train])
            counts["n_shared"] = np.count_nonzero(trained.touches(table.iloc[test]))
        return super().summary(X, y, groups).assign(**counts)

    def _folds(self, X, y, groups):
        part, wanted = self._parts_of_blocks(y, groups)
        train = np.flatnonzero(wanted & np.isin(part, TRAINED[self.part]))
        test = np.flatnonzero(wanted & (part == self.part))
        test = test[_find_windows_inside_blocks(y, test)]
        for purpose, rows in [("train on", train), ("hold out", test)]:
            if len(rows) == 0:
                raise ValueError(self._too_few(purpose, part, self._texts(y, groups)))
        yield train, test

    def _parts_of_blocks(self, y, groups):
        """Return the part of each row's block, and whether the anchor fits."""
        self._check()
        text = np.asarray(self._texts(y, groups), object)
        codes, names = pd.factorize(text)
        if (codes < 0).any():
            raise ValueError(
                f"HashedBlockSplit requires a block text in each row, but row {np.flatnonzero(codes < 0)[0]} has none."
            )
        draws = np.array([hash_to_uniform(str(name), self.salt) for name in names])
        bounds = np.cumsum([self.test_size, self.valid_size])
        part = np.array(PARTS)[np.searchsorted(bounds, draws, side="right")][codes]
        table = validate_table(y)
        if table is None or "anchor" not in table or table["anchor"].nunique() < 2:
            return part, np.ones(len(part), bool)
        return part, (table["anchor"].to_numpy() == "word") == (part == "test")

    def _texts(self, y, groups):
        if groups is not None:
            return groups
        table = validate_table(y)
        if table is None or "block_text" not in table:
            raise ValueError(
                f"HashedBlockSplit requires the column 'block_text' in y, as make_segments(block=PaperBlocks()) "
                f"returns it, or the block texts as groups. Got {type(y).__name__} without it."
            )
        return table["block_text"]

    def _clear(self, y, train, test):
        return train[_find_windows_inside_blocks(y, train)]

    def _reason(self):
        return "extend beyond their stimulus block. Use more stimuli or shorter windows."

    def _too_few(self, purpose, part, texts):
        blocks = pd.DataFrame({"part": part, "text": np.asarray(texts, object)}).drop_duplicates()
        counts = ", ".join(f"{(blocks['part'] == name).sum()} for {name}" for name in PARTS)
        return (
            f"{self._call()} has no row to {purpose}. Of {len(blocks)} blocks, {counts}. Each part must have a block with "
            f"windows inside it. Use more stimuli, other sizes, or StimulusKFold, which has folds of equal size."
        )

    def _check(self):
        if self.part not in TRAINED:
            raise ValueError(f"part must be 'test' or 'valid'. Got {self.part!r} instead.")
        for name in ("test_size", "valid_size"):
            value = getattr(self, name)
            if not (isinstance(value, numbers.Real) and 0 <= value < 1):
                raise ValueError(f"{name} must be a number from 0 to below 1. Got {value!r} instead.")
        if self.test_size + self.valid_size >= 1:
            raise ValueError(
                f"test_size + valid_size must be below 1, so that blocks are left for training. Got {self.test_size} + "
                f"{self.valid_size} instead."
            )
        if not isinstance(self.salt, numbers.Integral):
            raise ValueError(f"salt must be an integer. Got {self.salt!r} instead.")


def _find_windows_inside_blocks(y, rows):
    """Return whether the windows of ``rows`` are inside their blocks."""
    table = validate_table(y)
    if table is None or "block_inside" not in table:
        return np.ones(len(rows), bool)
    return table["block_inside"].to_numpy(bool)[rows]

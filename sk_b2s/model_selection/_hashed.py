"""The split of the paper: parts assigned by a hash of the text."""

from __future__ import annotations

import hashlib
import numbers
import random

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import table_of
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.model_selection._split import StimulusSplitter

PARTS = ("test", "valid", "train")  # in the order of the published code
TRAINED = {"test": ("train", "valid"), "valid": ("train",)}  # on what, where that part is held out


def hashed_uniform(text, salt=12):
    """Draw a number that depends on a text alone, everywhere and for ever.

    The first number of Python's Mersenne twister seeded with ``int(sha256(text)) + salt``.

    Parameters
    ----------
    text : str
        The name of a block.
    salt : int, default=12
        The seed of the published split.

    Returns
    -------
    u : float
        Uniform in [0, 1).

    Examples
    --------
    >>> hashed_uniform("ceci est"), hashed_uniform("un test")
    (0.8149709067146149, 0.017616799174733133)
    """
    return random.Random(int(hashlib.sha256(text.encode()).hexdigest(), 16) + salt).random()


class HashedBlockSplit(StimulusSplitter):
    """The published split: train, valid and test drawn block by block from a hash of the text.

    With u of :func:`hashed_uniform` of a block's text, the block is for test if ``u < test_size``, for
    validation if ``u < test_size + valid_size``, and for training otherwise: the same for every subject
    and session, whatever else is in the table. Rows count whose window, and the lag after it, lies inside
    its block (:class:`~sk_b2s.PaperBlocks`); the others are in no part. Where ``y`` holds windows of
    both anchors, those of a grid are for training and validation, and those at words for the test.

    It is for replication. :class:`StimulusKFold` and :class:`LeaveOneSubjectOut` say more. They test every
    word, while here most of the sound is not tested at all, the first 0.5 s and the last 2.5 s of a block
    never (a quarter of the words of MEG-MASC), and parts are of the size that chance gives them. They keep
    a gap of sound between the parts, and stay honest where two people hear sounds in another order: the
    joining of sentences depends on it, and where blocks differ between people, the same sound can be on
    both sides here (:meth:`summary` counts it, an encoder's ``score`` warns). A few test segments also
    share their text with one of training.

    Parameters
    ----------
    part : "test" or "valid", default="test"
        What is held out. Without "test", training has what is for training *and* validation, because the
        encoder's own ``validation=HashedBlockSplit("valid")`` takes the latter out of it; without
        "valid", it has what is for training alone, and the test rows are on neither side.
    test_size, valid_size : float, default=0.2, 0.1
        Share of the blocks for each, on average.
    salt : int, default=12
        Another gives another split of the same sizes.

    Raises
    ------
    ValueError
        From ``split``: if a parameter is wrong, y has no published blocks, or a part has no rows.

    Notes
    -----
    It makes one split. ``groups`` given to :meth:`split` are the texts of the rows' blocks, instead of the
    column ``block_text`` of y; nothing else of y is needed then.

    In the published code the grid of training windows lies in the time of the recording, so that each
    person has windows of their own; that of ``make_segments`` lies in the time of the sound, so that
    windows are the same for everybody. Blocks, parts and test windows are the published ones, but for windows
    that reach into a second sound, which :func:`make_segments` leaves out: of the 190 published test segments of
    Brennan's study 183 are left, of MEG-MASC all.

    In a search with ``cv=HashedBlockSplit("valid")`` an encoder cannot watch the same blocks once more: give it
    another ``validation``.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive brain recordings.
       Nature Machine Intelligence 5:1097. https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    The paper's protocol, with ``events`` of a study::

        segments = [make_segments(events, anchor=a, margin=0.15, block=PaperBlocks()) for a in (0.5, "word")]
        X, y = (pd.concat(tables, ignore_index=True) for tables in zip(*segments))
        pipe = Pipeline([
            ("epochs", Epocher(sfreq=120, lag=0.15, baseline=(0, 0.5))),
            ("scale", RobustChannelScaler(clip=20)),
            ("encoder", BrainEncoder(speech=make_pipeline(Wav2Vec2Features(), FeatureScaler()),
                                     validation=HashedBlockSplit("valid"))),
        ])
        cross_val_score(pipe, X, y, cv=HashedBlockSplit("test"))      # one fold

    >>> split = HashedBlockSplit()
    >>> split
    HashedBlockSplit(part='test', salt=12, test_size=0.2, valid_size=0.1)  # the block of a test row, known by its
    text, is not in training, with no gap of sound between; its subject may be
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
        """What is held apart, in words that fit into a sentence of one's methods."""
        return (
            "the block of a test row, known by its text, is not in training, with no gap of sound between; "
            "its subject may be"
        )

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds, which is one.

        Parameters
        ----------
        X, y, groups : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        n_splits : int
        """
        return 1

    def assign(self, y, groups=None):
        """Tell the part of each row.

        Parameters
        ----------
        y : DataFrame or Windows of shape (n_rows, ...), or None
            What was heard, as ``make_segments(block=PaperBlocks())`` returns it.
        groups : array-like of shape (n_rows,), default=None
            Text of each row's block instead.

        Returns
        -------
        part : ndarray of str of shape (n_rows,)
            "train", "valid", "test", or "" for rows of none: their window is not inside its block, or
            laid at the other anchor than those of the part.
        """
        part, wanted = self._parts_of_blocks(y, groups)
        return np.where(wanted & _inside(y, np.arange(len(part))), part, "")

    def summary(self, X, y, groups=None):
        """Count what each side holds.

        Parameters
        ----------
        X, y, groups
            As in :meth:`split`.

        Returns
        -------
        table : DataFrame of shape (1, ...)
            ``n_train, n_test, n_left_out``, the last being training rows whose window is not inside its
            block, ``train_seconds, test_seconds`` of distinct sound, ``n_test_left_out``, the held-out rows
            whose window is not, and ``n_shared``, the test rows that contain sound of training rows: more
            than 0 where blocks differ between people.
        """
        part, wanted = self._parts_of_blocks(y, groups)
        held_out = np.flatnonzero((part == self.part) & wanted)
        counts = {"n_test_left_out": np.count_nonzero(~_inside(y, held_out))}
        if (table := table_of(y)) is not None and "sound_onset" in table:
            ((train, test),) = self.split(X, y, groups)
            heard = StimulusIntervals.from_table(table.iloc[train])
            counts["n_shared"] = np.count_nonzero(heard.touches(table.iloc[test]))
        return super().summary(X, y, groups).assign(**counts)

    def _folds(self, X, y, groups):
        part, wanted = self._parts_of_blocks(y, groups)
        train = np.flatnonzero(wanted & np.isin(part, TRAINED[self.part]))
        test = np.flatnonzero(wanted & (part == self.part))
        test = test[_inside(y, test)]
        for purpose, rows in [("train on", train), ("hold out", test)]:
            if len(rows) == 0:
                raise ValueError(self._too_few(purpose, part, self._texts(y, groups)))
        yield train, test

    def _parts_of_blocks(self, y, groups):
        """Part of the block of each row, and whether its anchor is that of the part."""
        self._check()
        text = np.asarray(self._texts(y, groups), object)
        codes, names = pd.factorize(text)
        if (codes < 0).any():
            raise ValueError(
                f"HashedBlockSplit: row {np.flatnonzero(codes < 0)[0]} has no text of its block."
            )
        draws = np.array([hashed_uniform(str(name), self.salt) for name in names])
        bounds = np.cumsum([self.test_size, self.valid_size])
        part = np.array(PARTS)[np.searchsorted(bounds, draws, side="right")][codes]
        table = table_of(y)
        if table is None or "anchor" not in table or table["anchor"].nunique() < 2:
            return part, np.ones(len(part), bool)
        return part, (table["anchor"].to_numpy() == "word") == (part == "test")

    def _texts(self, y, groups):
        if groups is not None:
            return groups
        table = table_of(y)
        if table is None or "block_text" not in table:
            raise ValueError(
                f"HashedBlockSplit needs the column 'block_text' in y, as make_segments(block=PaperBlocks()) "
                f"returns it, or groups=, the text of each row's block; got {type(y).__name__} without it."
            )
        return table["block_text"]

    def _clear(self, y, train, test):
        return train[_inside(y, train)]

    def _reason(self):
        return "reach beyond their block of sound. Use more sound or a shorter window."

    def _too_few(self, purpose, part, texts):
        blocks = pd.DataFrame({"part": part, "text": np.asarray(texts, object)}).drop_duplicates()
        counts = ", ".join(f"{(blocks['part'] == name).sum()} for {name}" for name in PARTS)
        return (
            f"{self._call()} leaves no row to {purpose}: of {len(blocks)} blocks {counts}. Each part needs a block "
            f"with windows inside it: give more sound, other sizes, or use StimulusKFold, which deals blocks evenly."
        )

    def _check(self):
        if self.part not in TRAINED:
            raise ValueError(f"part must be 'test' or 'valid', got {self.part!r}.")
        for name in ("test_size", "valid_size"):
            value = getattr(self, name)
            if not (isinstance(value, numbers.Real) and 0 <= value < 1):
                raise ValueError(f"{name} must be a share from 0 to 1, got {value!r}.")
        if self.test_size + self.valid_size >= 1:
            raise ValueError(
                f"test_size + valid_size must be below 1, to leave blocks to train on; got {self.test_size} + "
                f"{self.valid_size}."
            )
        if not isinstance(self.salt, numbers.Integral):
            raise ValueError(f"salt must be an integer, got {self.salt!r}.")


def _inside(y, rows):
    """Tell of ``rows`` whether their windows are inside their blocks; without a table that says so they are."""
    table = table_of(y)
    if table is None or "block_inside" not in table:
        return np.ones(len(rows), bool)
    return table["block_inside"].to_numpy(bool)[rows]

"""Which of these segments was heard? What every decoder that estimates speech features can answer."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from sk_b2s.frames import match_frames
from sk_b2s.metrics import ranks, similarity, top_k_accuracy
from sk_b2s.model_selection import StimulusLeakWarning, table_of
from sk_b2s.stimuli import SoundIntervals, sound_name, stable_id
from sk_b2s.windows import Windows

__all__ = ["Candidates", "RetrievalMixin", "iter_scores"]

CHUNK_BYTES = 2**28  # of embeddings, and of candidates, that are held at a time


class Candidates(NamedTuple):
    """Distinct segments to choose from.

    Attributes
    ----------
    ids : ndarray of int of shape (n_candidates,)
        Their identities: the column ``segment`` of a table, else their order of appearance.
    first : ndarray of int of shape (n_candidates,)
        Row of ``y`` in which each appears first.
    target : ndarray of int of shape (n_rows,)
        Candidate of each row of ``y``.
    """

    ids: np.ndarray
    first: np.ndarray
    target: np.ndarray


def distinct_segments(y):
    """Find the distinct segments of what was heard.

    Parameters
    ----------
    y : DataFrame, Windows or ndarray of shape (n_rows, ...)
        A table (or Windows with one) is told apart by its column ``segment``, other Windows by their
        place in their signals, arrays by their values.

    Returns
    -------
    candidates : Candidates
        In order of first appearance.

    Raises
    ------
    ValueError
        If a table has no column ``segment``.
    """
    table = table_of(y)
    if table is not None and "segment" in table:
        keys = table["segment"].to_numpy()
    elif isinstance(y, pd.DataFrame):
        raise ValueError(
            f"y needs the column 'segment', as make_segments returns it; it has {list(y.columns)[:8]}."
        )
    elif isinstance(y, Windows):
        keys = y.which * (1 + max(signal.shape[0] for signal in y.signals)) + y.start
    else:
        keys = row_hashes(y)
    if pd.isna(keys).any():
        row = int(np.flatnonzero(pd.isna(keys))[0])
        raise ValueError(
            f"y row {table.index[row]!r}, column 'segment': expected the identity of a segment, got {keys[row]!r} "
            f"({np.count_nonzero(pd.isna(keys))} such rows); drop them from X and y alike."
        )
    target, distinct = pd.factorize(keys)
    first = np.unique(target, return_index=True)[1]
    ids = distinct if table is not None and "segment" in table else np.arange(len(distinct))
    return Candidates(np.asarray(ids), first, target)


def row_hashes(y):
    """Hash each row of an array by its values: (n_rows,) int64."""
    y = np.ascontiguousarray(y).reshape(len(y), -1) + 0.0  # -0 is 0
    return np.array([stable_id(row.tobytes().hex()) for row in y], dtype=np.int64)


def iter_scores(embed, n_windows, targets, weights=None, device=None):
    """Score windows against candidates in pieces of bounded memory.

    Parameters
    ----------
    embed : callable
        ``embed(indices) -> (len(indices), n_features, n_frames)``, the estimates of some windows.
    n_windows : int
    targets : Windows of shape (n_candidates, n_features, n_frames)
        Features of the candidates.
    weights : array-like of shape (n_frames,), default=None
        Steps in each frame.
    device : torch.device, default=None
        Where the products are made.

    Yields
    ------
    rows : ndarray of int of shape (n_rows,)
        Windows, in order.
    scores : Tensor of shape (n_rows, n_candidates)
        Their :func:`~sk_b2s.metrics.similarity` to every candidate.
    """
    n_candidates, n_features, n_frames = targets.shape
    step = max(1, CHUNK_BYTES // (4 * n_features * n_frames))
    chunks = [np.arange(i, min(i + step, n_candidates)) for i in range(0, n_candidates, step)]
    held = targets.gather(chunks[0], device=device) if len(chunks) == 1 else None
    for first in range(0, n_windows, step):
        rows = np.arange(first, min(first + step, n_windows))
        Z = embed(rows)
        check_estimates(Z, rows)
        parts = (held,) if held is not None else (targets.gather(chunk, device=device) for chunk in chunks)
        yield rows, torch.cat([similarity(Z, Y, weights) for Y in parts], dim=1)


def check_estimates(Z, rows):
    """Raise where estimates are NaN: an answer from them would be one of the candidates all the same."""
    bad = rows[(~torch.isfinite(Z.reshape(len(Z), -1)).all(1)).cpu().numpy()]
    if len(bad):
        raise ValueError(
            f"the estimates of {len(bad)} windows are NaN or infinite, the first that of row {bad[0]}: X holds NaN "
            f"there, or the decoder's weights do."
        )


def check_in_step(X, y):
    """Raise where X and y have as many rows but their tables show that the rows are not each other's."""
    check_consistent_length(X, y)
    brain, heard = table_of(X), table_of(y)
    if brain is None or heard is None or brain.index.equals(heard.index):
        return
    if set(brain.index) == set(heard.index):
        row = int(np.flatnonzero(np.asarray(brain.index) != np.asarray(heard.index))[0])
        raise ValueError(
            f"X and y are out of step: row {row} is {brain.index[row]!r} in X and {heard.index[row]!r} in y. Both "
            f"come row by row from make_segments; whatever reorders one must reorder the other."
        )


def as_target_windows(y):
    """Wrap numbers (n,), (n, n_features) or (n, n_features, n_frames) as Windows."""
    y = np.asarray(y, np.float32)
    return Windows.from_array(y.reshape(len(y), -1, y.shape[2] if y.ndim == 3 else 1))


class RetrievalMixin:
    """Similarity, prediction and score of a decoder that estimates speech features.

    A decoder calls ``_check_windows``, ``_check_y``, ``_learn_segments``, ``_learn_speech`` and
    ``_learn_frames`` in ``fit``, has the parameters ``speech`` and ``k``, and provides ``_brain(X)``,
    which validates windows and returns ``embed(indices)``, a function to Tensors of shape
    (len(indices), n_features, n_frames), and their number.

    Every method that takes ``candidates`` takes what ``y`` may be in ``fit``: a table of segments, of
    which the distinct ones count, or Windows or an array of features. By default they are the
    segments of ``fit``.
    """

    __metadata_request__predict = {"candidates": True}
    __metadata_request__predict_proba = {"candidates": True}
    __metadata_request__score = {"sample_weight": True}

    # --- what the brain did ------------------------------------------------------------------------

    def _check_windows(self, X, reset=False, any_channels=False):
        """Validate windows: Windows, or an array made so, whose channels and times are those of fit."""
        if not isinstance(X, Windows):
            X = validate_data(self, X, reset=reset, allow_nd=True, dtype=np.float32)
            X = Windows.from_array(X if X.ndim == 3 else X[:, :, None])
        elif reset:
            self.n_features_in_ = X.shape[1]
        if reset:
            self.sfreq_in_, self.ch_names_in_ = X.sfreq, X.ch_names
            return X
        self._check_as_in_fit(X, any_channels)
        return X

    def _check_as_in_fit(self, X, any_channels):
        """Raise where windows differ from those of fit in rate, length or channels."""
        if None not in (X.sfreq, self.sfreq_in_) and not np.isclose(X.sfreq, self.sfreq_in_):
            raise ValueError(
                f"X has windows at {X.sfreq:g} Hz, but fit saw {self.sfreq_in_:g} Hz; resample to that."
            )
        if X.shape[2] != self.n_times_in_:
            raise ValueError(
                f"X has windows of {X.shape[2]} steps, but fit saw {self.n_times_in_}; cut them with the same "
                f"tmin, tmax and sfreq."
            )
        if any_channels:
            return
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} channels, but {type(self).__name__} was fitted on {self.n_features_in_} and "
                f"knows them by their place; only a BrainEncoder(spatial_attention=True) takes other sensors."
            )
        if None not in (X.ch_names, self.ch_names_in_) and X.ch_names != self.ch_names_in_:
            pairs = zip(X.ch_names, self.ch_names_in_, strict=True)
            place, (came, known) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
            raise ValueError(
                f"X has the channels of fit in another order or under other names (channel {place} is {came!r}, in fit "
                f"{known!r}), but {type(self).__name__} knows them by their place: use one fitted Epocher for both."
            )

    def _learn_frames(self, X, y, targets):
        """Note the shapes of windows, and return the frame of each step of the brain."""
        frames = match_frames(X, targets)
        self.n_times_in_, self.n_features_out_ = X.shape[2], targets.shape[1]
        self.frame_weights_ = np.bincount(frames, minlength=targets.shape[2])
        self._flat_targets = isinstance(y, np.ndarray) and y.ndim < 3
        return frames

    def _device(self):
        return torch.device("cpu")

    # --- what was heard ----------------------------------------------------------------------------

    def _check_y(self, y):
        """Validate what was heard: a table for ``speech``, else Windows or numbers."""
        owner = type(self).__name__
        if y is None:
            raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
        if self.speech is not None:
            if table_of(y) is None:
                raise ValueError(
                    f"{owner}(speech={type(self.speech).__name__}(...)) computes features itself and needs y to be the "
                    f"table of what was heard (from make_segments), got {type(y).__name__}; for features that "
                    f"are computed already set speech=None."
                )
            return table_of(y)
        if isinstance(y, Windows):
            return y
        if isinstance(y, pd.DataFrame) and "segment" in y:
            raise ValueError(
                f"y is a table of what was heard, but {owner}(speech=None) expects numbers: set "
                f"speech=make_pipeline(MelSpectrogram(), FeatureScaler()), for example."
            )
        return check_array(y, ensure_2d=False, allow_nd=True, dtype=np.float32, input_name="y")

    def _learn_segments(self, y):
        """Note the distinct segments, the default candidates, and the sound of ``fit``."""
        candidates = distinct_segments(y)
        if len(candidates.ids) < 2:
            raise ValueError(
                f"{type(self).__name__} learns to tell segments apart and needs 2 distinct ones or more in y, got "
                f"1 ({len(candidates.target)} rows: 1 sample, or one repeated)."
            )
        if isinstance(y, pd.DataFrame):
            self.segments_ = y.iloc[candidates.first].reset_index(drop=True)
        else:
            self.segments_ = y[candidates.first]
        table = table_of(y)
        has_sound = table is not None and "sound_onset" in table
        self.sound_intervals_ = SoundIntervals.from_table(table) if has_sound else None
        return candidates

    def _learn_speech(self, y, train):
        """Fit ``speech`` on the training rows, and return everybody's features."""
        self.speech_ = None if self.speech is None else clone(self.speech).fit(y.iloc[train])
        return self._targets(y)

    def _targets(self, y):
        """Features of what was heard: Windows (n_rows, n_features, n_frames)."""
        if self.speech_ is None:
            return y if isinstance(y, Windows) else as_target_windows(y)
        targets = self.speech_.transform(y)
        return targets if isinstance(targets, Windows) else as_target_windows(targets)

    def _check_target_shape(self, targets):
        expected = (self.n_features_out_, len(self.frame_weights_))
        if targets.shape[1:] != expected:
            raise ValueError(
                f"candidates have {targets.shape[1]} features x {targets.shape[2]} frames, but fit saw "
                f"{expected[0]} x {expected[1]}; cut them with the same window and features."
            )

    def _candidates(self, candidates):
        """Identities and features of the candidates."""
        y = self.segments_ if candidates is None else self._check_y(candidates)
        found = distinct_segments(y)
        y = y.iloc[found.first] if isinstance(y, pd.DataFrame) else y[found.first]
        targets = self._targets(y)
        self._check_target_shape(targets)
        return found, targets

    # --- answers -----------------------------------------------------------------------------------

    def transform(self, X):
        """Estimate the speech features of windows.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            What the brain did.

        Returns
        -------
        embeddings : ndarray of shape (n_windows, n_features, n_frames)
            float32; without the last axis where ``y`` had none in ``fit``.
        """
        check_is_fitted(self)
        embed, n_windows = self._brain(X)
        out = np.empty((n_windows, self.n_features_out_, len(self.frame_weights_)), np.float32)
        step = max(1, CHUNK_BYTES // (4 * out[0].size)) if n_windows else 1
        for first in range(0, n_windows, step):
            rows = np.arange(first, min(first + step, n_windows))
            estimates = embed(rows)
            check_estimates(estimates, rows)
            out[rows] = estimates.cpu().numpy()
        return out[:, :, 0] if self._flat_targets else out

    def _scores(self, X, candidates):
        embed, n_windows = self._brain(X)
        weights = torch.as_tensor(self.frame_weights_, dtype=torch.float32, device=self._device())
        return iter_scores(embed, n_windows, candidates, weights, self._device())

    def similarity(self, X, candidates=None):
        """Compare windows with candidates, the score of the paper's loss.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            What the brain did.
        candidates : DataFrame, Windows or array-like, default=None
            What may have been heard; the segments of ``fit`` by default.

        Returns
        -------
        scores : ndarray of shape (n_windows, n_candidates)
            Columns are the distinct candidates in order of first appearance.
        """
        check_is_fitted(self)
        _, targets = self._candidates(candidates)
        parts = [scores.cpu().numpy() for _, scores in self._scores(X, targets)]
        return np.concatenate(parts) if parts else np.empty((0, len(targets)), np.float32)

    def predict(self, X, candidates=None):
        """Name the candidate most like each window.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            What the brain did.
        candidates : DataFrame, Windows or array-like, default=None
            What may have been heard; the segments of ``fit`` by default.

        Returns
        -------
        segment : ndarray of int of shape (n_windows,)
            The column ``segment`` of the best candidate, or its place among the distinct candidates
            where they are numbers.
        """
        check_is_fitted(self)
        found, targets = self._candidates(candidates)
        best = [scores.argmax(1).cpu().numpy() for _, scores in self._scores(X, targets)]
        return found.ids[np.concatenate(best)] if best else found.ids[:0]

    def predict_proba(self, X, candidates=None):
        """Probability of each candidate: the softmax of the similarities, as in the paper.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            What the brain did.
        candidates : DataFrame, Windows or array-like, default=None
            What may have been heard; the segments of ``fit`` by default.

        Returns
        -------
        probabilities : ndarray of shape (n_windows, n_candidates)
            Rows sum to one; columns as in :meth:`similarity`.
        """
        scores = torch.from_numpy(self.similarity(X, candidates))
        return torch.softmax(scores.double(), dim=1).numpy()

    def ranks(self, X, y):
        """Rank what was heard among the distinct segments of ``y``.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            What the brain did.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            What was heard, row by row.

        Returns
        -------
        ranks : ndarray of int of shape (n_windows,)
            How many other candidates score as high or higher; 0 is best.
        n_candidates : int

        Warns
        -----
        StimulusLeakWarning
            If ``y`` contains sound of ``fit``.
        """
        check_is_fitted(self)
        y = self._check_y(y)
        check_in_step(X, y)
        found, targets = self._candidates(y)
        self._warn_of_leak(y)
        out = np.empty(len(found.target), np.int64)
        for rows, scores in self._scores(X, targets):
            out[rows] = ranks(scores.cpu().numpy(), found.target[rows])
        return out, len(found.ids)

    def score(self, X, y, sample_weight=None):
        """Top-k accuracy: how often the segment heard is among the ``k`` best of the distinct ones of y.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            What the brain did.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            What was heard, row by row.
        sample_weight : array-like of shape (n_windows,), default=None
            Weight of each window in the mean; all alike by default.

        Returns
        -------
        accuracy : float
            Between 0 and 1; chance is k / n_candidates. Use
            :func:`~sk_b2s.metrics.retrieval_scores` to have both.

        Raises
        ------
        ValueError
            If there are no more candidates than ``k``, or a score is NaN.

        Warns
        -----
        StimulusLeakWarning
            If ``y`` contains sound of ``fit``.
        """
        found, n_candidates = self.ranks(X, y)
        return float(top_k_accuracy(found, self.k, n_candidates, sample_weight))

    # --- honesty -----------------------------------------------------------------------------------

    def _warn_of_leak(self, y):
        """Say so if a score is asked for on sound of ``fit``."""
        if self.sound_intervals_ is not None and table_of(y) is not None:
            table = table_of(y)
            leaking = self.sound_intervals_.touches(table)
            names = sorted({sound_name(s) for s in pd.unique(table["sound"][leaking].astype(object))})
        elif isinstance(y, np.ndarray) and isinstance(self.segments_, np.ndarray):
            leaking = np.isin(row_hashes(y), row_hashes(self.segments_))
            names = ["equal rows of y"]
        else:
            return
        if leaking.any():
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            warnings.warn(
                f"{np.count_nonzero(leaking)} of {len(leaking)} windows scored contain sound this "
                f"{type(self).__name__} was fitted on ({', '.join(names[:5])}{more}): the score says how well it "
                f"remembers, not how well it decodes. Split by blocks of sound: cv=StimulusKFold() or "
                f"LeaveOneSubjectOut().",
                StimulusLeakWarning,
                stacklevel=4,
            )

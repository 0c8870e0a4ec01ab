"""Methods of all decoders that retrieve segments."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from sk_b2s._utils._chunks import count_rows, slice_rows
from sk_b2s._utils._validation import check_in_step, recordings_of, seconds_of, table_of
from sk_b2s.decoding._candidates import check_targets_vary, find_distinct_segments, make_target_windows
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.features._activity import SpeechActivity
from sk_b2s.metrics._frames import match_frames
from sk_b2s.metrics._ranking import ranks, top_k_accuracy
from sk_b2s.metrics._tiled import CHUNK_BYTES, check_estimates, iter_scores
from sk_b2s.model_selection._split import warn_of_leak, warn_of_seen_stimuli
from sk_b2s.preprocessing._constant import check_not_constant, warn_of_constant
from sk_b2s.preprocessing._fingerprint import hash_rows
from sk_b2s.preprocessing._windows import Windows, check_equal_shapes, subjects_of


def _plain_name(subject):
    """Spelling of a subject without what tables add on their way: "01", "1" and "1.0" are one."""
    return subject.removesuffix(".0").lstrip("0")


class RetrievalMixin:
    """Similarity, prediction and score of a decoder that estimates speech features.

    A decoder calls ``_check_windows``, ``_check_y``, ``_fit_segments``, ``_fit_stimulus_intervals``, ``_fit_speech`` and
    ``_fit_frames`` in ``fit``, has the parameters ``speech``, ``k`` and ``unseen_subject``, and
    provides ``_brain(X)``, which validates windows and returns ``embed(indices)``, a function to
    Tensors of shape (len(indices), n_features, n_frames), and their number.

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
            X = validate_data(self, check_equal_shapes(X), reset=reset, allow_nd=True, dtype=np.float32)
            X = Windows.from_array(X if X.ndim == 3 else X[:, :, None])
        elif reset:
            self.n_features_in_ = X.shape[1]
        if reset:
            check_not_constant(X, type(self).__name__, stacklevel=5)
            self.sfreq_in_, self.ch_names_in_ = X.sfreq, X.ch_names
            return X
        self._check_matches_fit(X, any_channels)
        warn_of_constant(X, stacklevel=5)
        return X

    def _check_matches_fit(self, X, any_channels):
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

    def _fit_frames(self, X, y, targets):
        """Note the shapes of windows, and return the frame of each step of the brain."""
        frames = match_frames(X, targets)
        self.n_times_in_, self.n_speech_features_ = X.shape[2], targets.shape[1]
        self.n_features_out_ = self.n_speech_features_
        self.frame_weights_ = np.bincount(frames, minlength=targets.shape[2])
        self._flat_targets = isinstance(y, np.ndarray) and y.ndim < 3
        return frames

    def _get_subject_index(self, X, in_fit=False):
        """Index of each window's subject among ``subjects_``, -1 for a stranger, who may be held out in fit."""
        subjects = subjects_of(X)
        index = pd.Index(self.subjects_).get_indexer(subjects)
        if in_fit:
            return index
        strangers = sorted(set(subjects[index < 0]))
        self._warn_misspelled_subjects(strangers)
        if self.unseen_subject == "error" and strangers:
            more = (
                ", fit with 'nearest' to use the layer of whoever is most like them, or let adapt learn them from "
                "minutes of what they heard"
            ) * hasattr(self, "adapt")
            raise ValueError(
                f"X has subjects that were not in fit: {strangers}; known are {list(self.subjects_)}. Set "
                f"unseen_subject='average' to use the mean over those{more}."
            )
        return index

    def _warn_misspelled_subjects(self, strangers):
        """Say so if a stranger's name is that of somebody known but for zeros."""
        known = {_plain_name(subject): subject for subject in self.subjects_}
        if misspelt := [subject for subject in strangers if _plain_name(subject) in known]:
            warnings.warn(
                f"subject {misspelt[0]!r} was not in fit, but {known[_plain_name(misspelt[0])]!r} was: if they are "
                f"one, spell them alike.",
                stacklevel=3,
            )

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
        return check_array(
            check_equal_shapes(y, "y"), ensure_2d=False, allow_nd=True, dtype=np.float32, input_name="y"
        )

    def _fit_segments(self, y):
        """Note the distinct segments, the default candidates."""
        candidates = find_distinct_segments(y)
        if len(candidates.ids) < 2:
            raise ValueError(
                f"{type(self).__name__} learns to tell segments apart and needs 2 distinct ones or more in y, got "
                f"1 ({len(candidates.target)} rows: 1 sample, or one repeated)."
            )
        if isinstance(y, pd.DataFrame):
            self.segments_ = y.iloc[candidates.first].reset_index(drop=True)
        else:
            self.segments_ = y[candidates.first]
        return candidates

    def _fit_stimulus_intervals(self, y, rows=slice(None)):
        """Note the sound of the rows that ``fit`` used, if only to stop by."""
        table = table_of(y)
        has_sound = table is not None and "sound_onset" in table
        self.stimulus_intervals_ = StimulusIntervals.from_table(table.iloc[rows]) if has_sound else None

    def _fit_recording_intervals(self, X):
        """Record which parts of which recordings were in ``fit``, for the warning of :meth:`predict`."""
        spans = _spans_of(X)
        self.recording_intervals_ = None if spans is None else StimulusIntervals.from_spans(*spans)

    def _warn_default_candidates(self, X):
        """Warn if windows that were not in ``fit`` are compared with the segments of ``fit`` by default."""
        spans, known = _spans_of(X), getattr(self, "recording_intervals_", None)
        if spans is None or known is None:
            return
        is_new = ~known.overlap_spans(*spans)
        if is_new.any():
            warnings.warn(
                f"{is_new.sum()} of {len(is_new)} windows were not in fit, but are compared with the "
                f"{len(self.segments_)} segments of fit, the default candidates: if they heard other segments, every "
                f"prediction is wrong, and so are scorers that call predict, such as scoring='accuracy'. Pass "
                f"candidates=y, use score or scoring=retrieval_scores, or pass candidates=decoder.segments_ to silence "
                f"this.",
                stacklevel=3,
            )

    def _fit_speech(self, y, train):
        """Fit ``speech`` on the training rows, and return everybody's features."""
        self.speech_ = None if self.speech is None else clone(self.speech).fit(y.iloc[train])
        targets = self._targets(y)
        steps = [step for _, step in getattr(self.speech_, "steps", [("", self.speech_)])]
        if not any(isinstance(step, SpeechActivity) for step in steps):  # a talker may make no pause
            check_targets_vary(targets, train, type(self).__name__)
        return targets

    def _targets(self, y):
        """Features of what was heard: Windows (n_rows, n_features, n_frames)."""
        if self.speech_ is None:
            return y if isinstance(y, Windows) else make_target_windows(y)
        targets = self.speech_.transform(y)
        return targets if isinstance(targets, Windows) else make_target_windows(targets)

    def _check_targets_shape(self, targets):
        expected = (self.n_speech_features_, len(self.frame_weights_))
        if targets.shape[1:] != expected:
            raise ValueError(
                f"candidates have {targets.shape[1]} features x {targets.shape[2]} frames, but fit saw "
                f"{expected[0]} x {expected[1]}; cut them with the same window and features."
            )

    def _candidates(self, candidates):
        """Identities and features of the candidates."""
        y = self.segments_ if candidates is None else self._check_y(candidates)
        found = find_distinct_segments(y)
        y = y.iloc[found.first] if isinstance(y, pd.DataFrame) else y[found.first]
        targets = self._targets(y)
        self._check_targets_shape(targets)
        return found, self._as_compared(targets)

    def _as_compared(self, targets):
        """Features of candidates as estimates are compared with them; a decoder may encode them."""
        return targets

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
        for part in slice_rows(n_windows, count_rows(CHUNK_BYTES, *out.shape[1:])):
            rows = np.arange(part.start, part.stop)
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

        Warns
        -----
        UserWarning
            If ``candidates`` is None and windows of recordings that were not in ``fit`` are compared with the segments
            of ``fit``.
        """
        check_is_fitted(self)
        if candidates is None:
            self._warn_default_candidates(X)
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
        check_is_fitted(self)
        if candidates is None:
            self._warn_default_candidates(X)
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
        found, scores = self._compare(X, y)
        out = np.empty(len(found.target), np.int64)
        for rows, part in scores:
            out[rows] = ranks(part.cpu().numpy(), found.target[rows])
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
            :func:`~sk_b2s.decoding.retrieval_scores` to have both.

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

    def _compare(self, X, y, stacklevel=5):
        """Candidates of what was heard, and an iterator over pieces (rows, scores) of the similarities to them."""
        check_is_fitted(self)
        y = self._check_y(y)
        check_in_step(X, y)
        found, targets = self._candidates(y)
        self._warn_of_leak(y, stacklevel)
        return found, self._scores(X, targets)

    # --- honesty -----------------------------------------------------------------------------------

    def _warn_of_leak(self, y, stacklevel):
        """Say so if a score is asked for on sound of ``fit``."""
        owner = type(self).__name__
        if self.stimulus_intervals_ is not None and table_of(y) is not None:
            warn_of_seen_stimuli(self.stimulus_intervals_, table_of(y), owner, stacklevel + 1)
        elif isinstance(y, np.ndarray):
            heard = [hash_rows(self.segments_)] if isinstance(self.segments_, np.ndarray) else []
            heard.append(getattr(self, "adaptation_rows_", np.int64([])))  # since fit
            leaking = np.isin(hash_rows(y), np.concatenate(heard))
            warn_of_leak(leaking, ["equal rows of y"], owner, stacklevel + 1)


def _spans_of(X):
    """Recording, start and stop of each window, None where unknown."""
    table = table_of(X)
    if table is None or not {"recording", "onset", "duration"} <= set(table):
        return None
    start = seconds_of(table, "onset", "X")
    return recordings_of(table), start, start + seconds_of(table, "duration", "X")

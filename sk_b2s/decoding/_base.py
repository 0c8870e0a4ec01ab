"""Retrieval methods that all decoders share."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s._utils._validation import (
    get_validated_recordings,
    get_validated_table,
    join_validated_tables,
    validate_rows_in_step,
    validate_seconds,
)
from sk_b2s.decoding._candidates import (
    check_candidates_vary,
    find_distinct_candidates,
    make_candidate_windows,
)
from sk_b2s.decoding._retrieval._row_candidates import (
    locate_candidate_stimuli,
    make_candidate_sets,
    warn_of_unequal_candidates,
)
from sk_b2s.decoding._retrieval._row_scores import score_row_candidates
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.features._activity import SpeechActivity
from sk_b2s.metrics._frames import match_frames
from sk_b2s.metrics._ranking import ranks, top_k_accuracy
from sk_b2s.metrics._tiled import CHUNK_BYTES, check_tiled_estimates, iter_tiled_scores
from sk_b2s.model_selection._split import warn_of_seen_split_stimuli, warn_of_split_leak
from sk_b2s.preprocessing._constant import check_not_constant, warn_of_constant
from sk_b2s.preprocessing._fingerprint import fingerprint_array_rows
from sk_b2s.preprocessing._windows import (
    Windows,
    check_windows_equal_lengths,
    check_windows_equal_shapes,
    get_subjects_of_windows,
)


def _plain_name(subject):
    """Strip what files add to a subject: "01", "1" and "1.0" are equal."""
    return subject.removesuffix(".0").lstrip("0")


class RetrievalMixin:
    """Similarity, prediction and score of decoders of speech features.

    A decoder calls ``_check_windows``, ``_check_y``, ``_fit_segments``,
    ``_fit_stimulus_intervals``, ``_fit_speech`` and ``_fit_frames`` in ``fit``
    and has the parameters ``speech``, ``k`` and ``unseen_subject``. Its method
    ``_make_embedder(X)`` checks windows and returns their number and a
    function ``embed(indices)``, which returns Tensors of shape (len(indices),
    n_features, n_frames).

    ``candidates`` of all methods have the types of ``y`` in ``fit``: a table
    of segments, Windows or an array of features. Only distinct segments count.
    The default candidates are the segments of ``fit``.
    """

    __metadata_request__predict = {"candidates": True}
    __metadata_request__predict_proba = {"candidates": True}
    __metadata_request__score = {"sample_weight": True, "candidates_per_row": True}

    # --- X: EEG/MEG windows ------------------------------------------------------------------------

    accepts_unequal_lengths = False  # of windows, whose padding must not count

    def _check_windows(self, X, reset=False, any_channels=False):
        """Check windows, or make Windows of an array."""
        if not self.accepts_unequal_lengths:
            check_windows_equal_lengths(X, type(self).__name__)
        if not isinstance(X, Windows):
            X = validate_data(
                self, check_windows_equal_shapes(X), reset=reset, allow_nd=True, dtype=np.float32
            )
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
        """Raise if the rate, length or channels of windows differ from fit."""
        if None not in (X.sfreq, self.sfreq_in_) and not np.isclose(X.sfreq, self.sfreq_in_):
            raise ValueError(
                f"X has windows at {X.sfreq:g} Hz, but fit was given {self.sfreq_in_:g} Hz. Resample X to that rate."
            )
        if X.shape[2] != self.n_times_in_:
            raise ValueError(
                f"X has windows of {X.shape[2]} samples, but fit was given {self.n_times_in_}. Use the same tmin, tmax "
                f"and sfreq."
            )
        if any_channels:
            return
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} channels, but {type(self).__name__} was fitted on {self.n_features_in_} and "
                f"identifies them by their order. Only BrainEncoder(spatial_attention=True) accepts other sensors."
            )
        if None not in (X.ch_names, self.ch_names_in_) and X.ch_names != self.ch_names_in_:
            pairs = zip(X.ch_names, self.ch_names_in_, strict=True)
            place, (came, known) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
            raise ValueError(
                f"X has other channels than fit, or another order (channel {place} is {came!r}, in fit {known!r}), but "
                f"{type(self).__name__} identifies channels by their order. Use one fitted Epocher for both."
            )

    def _fit_frames(self, X, y, targets):
        """Set the shapes of windows, and return the frame of each sample."""
        frames = match_frames(X, targets)
        self.n_times_in_, self.n_speech_features_ = X.shape[2], targets.shape[1]
        self.n_features_out_ = self.n_speech_features_
        self.frame_weights_ = np.bincount(frames, minlength=targets.shape[2])
        self._flat_targets = isinstance(y, np.ndarray) and y.ndim < 3
        return frames

    def _get_subject_index(self, X, in_fit=False):
        """Return the subject index of each window, -1 for unseen subjects."""
        subjects = get_subjects_of_windows(X)
        index = pd.Index(self.subjects_).get_indexer(subjects)
        if in_fit:
            return index
        unseen = sorted(set(subjects[index < 0]))
        self._warn_misspelled_subjects(unseen)
        if self.unseen_subject == "error" and unseen:
            more = (
                ", set unseen_subject='nearest' before fitting, or call adapt with calibration data"
            ) * hasattr(self, "adapt")
            raise ValueError(
                f"X has subjects that were not in fit: {unseen}. Subjects in fit: {list(self.subjects_)}. Set "
                f"unseen_subject='average' to use the mean over subjects{more}."
            )
        return index

    def _warn_misspelled_subjects(self, unseen):
        """Warn if an unseen subject equals a training subject up to zeros."""
        known = {_plain_name(subject): subject for subject in self.subjects_}
        if misspelled := [subject for subject in unseen if _plain_name(subject) in known]:
            warnings.warn(
                f"Subject {misspelled[0]!r} was not in fit, but {known[_plain_name(misspelled[0])]!r} was. If they are "
                f"the same subject, use the same name.",
                stacklevel=3,
            )

    def _device(self):
        return torch.device("cpu")

    # --- y: stimuli --------------------------------------------------------------------------------

    def _check_y(self, y):
        """Check targets: a table for ``speech``, else Windows or an array."""
        owner = type(self).__name__
        if y is None:
            raise ValueError(f"{owner} requires y to be passed, but the target y is {y}.")
        if self.speech is not None:
            if get_validated_table(y) is None:
                raise ValueError(
                    f"{owner}(speech={type(self.speech).__name__}(...)) computes features and requires y to be the "
                    f"table of segments returned by make_segments. Got {type(y).__name__}. If y contains features, set "
                    f"speech=None."
                )
            return get_validated_table(y)
        if isinstance(y, Windows):
            return y
        if isinstance(y, pd.DataFrame) and "segment" in y:
            raise ValueError(
                f"y is a table of segments, but {owner}(speech=None) expects features. Set for example "
                f"speech=make_pipeline(MelSpectrogram(), FeatureScaler())."
            )
        return check_array(
            check_windows_equal_shapes(y, "y"),
            ensure_2d=False,
            allow_nd=True,
            dtype=np.float32,
            input_name="y",
        )

    def _fit_segments(self, y):
        """Set the distinct segments, the default candidates."""
        candidates = find_distinct_candidates(y)
        if len(candidates.ids) < 2:
            raise ValueError(
                f"{type(self).__name__} requires at least 2 distinct segments in y. Got 1 "
                f"({len(candidates.target)} rows: 1 sample, or one repeated)."
            )
        if isinstance(y, pd.DataFrame):
            self.segments_ = y.iloc[candidates.first].reset_index(drop=True)
        else:
            self.segments_ = y[candidates.first]
        return candidates

    def _fit_stimulus_intervals(self, y, rows=slice(None)):
        """Set the stimulus intervals of training and validation rows."""
        table = get_validated_table(y)
        has_sound = table is not None and "sound_onset" in table
        self.stimulus_intervals_ = StimulusIntervals.from_table(table.iloc[rows]) if has_sound else None

    def _fit_recording_intervals(self, X):
        """Set the intervals of recordings, for the warning of ``predict``."""
        spans = _spans_of(X)
        self.recording_intervals_ = None if spans is None else StimulusIntervals.from_spans(*spans)

    def _warn_default_candidates(self, X):
        """Warn if new recordings are compared with the segments of fit."""
        spans, known = _spans_of(X), getattr(self, "recording_intervals_", None)
        if spans is None or known is None:
            return
        is_new = ~known.overlap_spans(*spans)
        if is_new.any():
            warnings.warn(
                f"{is_new.sum()} of {len(is_new)} windows were not in fit, but are compared with the "
                f"{len(self.segments_)} segments of fit, the default candidates. If other segments were presented, all "
                f"predictions are wrong, and so are scorers that call predict, such as scoring='accuracy'. Pass "
                f"candidates=y, or use score or scoring=retrieval_scores. Pass candidates=decoder.segments_ to silence "
                f"this warning.",
                stacklevel=3,
            )

    def _fit_speech(self, y, train):
        """Fit ``speech`` on the training rows, and return all features."""
        self.speech_ = None if self.speech is None else clone(self.speech).fit(y.iloc[train])
        targets = self._targets(y)
        steps = [step for _, step in getattr(self.speech_, "steps", [("", self.speech_)])]
        if not any(isinstance(step, SpeechActivity) for step in steps):  # speech may have no silence
            check_candidates_vary(targets, train, type(self).__name__)
        return targets

    def _targets(self, y):
        """Compute target features: Windows (n_rows, n_features, n_frames)."""
        if self.speech_ is None:
            return y if isinstance(y, Windows) else make_candidate_windows(y)
        targets = self.speech_.transform(y)
        return targets if isinstance(targets, Windows) else make_candidate_windows(targets)

    def _check_targets_shape(self, targets):
        expected = (self.n_speech_features_, len(self.frame_weights_))
        if targets.shape[1:] != expected:
            raise ValueError(
                f"candidates have {targets.shape[1]} features x {targets.shape[2]} frames, but fit was given "
                f"{expected[0]} x {expected[1]}. Use the same window and features."
            )

    def _candidates(self, candidates):
        """Return the identities and the features of the candidates."""
        y = self.segments_ if candidates is None else self._check_y(candidates)
        found = find_distinct_candidates(y)
        y = y.iloc[found.first] if isinstance(y, pd.DataFrame) else y[found.first]
        targets = self._targets(y)
        self._check_targets_shape(targets)
        return found, self._embed_targets(targets)

    def _embed_targets(self, targets):
        """Return targets for the comparison. Subclasses may embed them."""
        return targets

    # --- predictions -------------------------------------------------------------------------------

    def transform(self, X):
        """Estimate the speech features of windows.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.

        Returns
        -------
        embeddings : ndarray of shape (n_windows, n_features, n_frames)
            Estimates, float32. Without the last axis if ``y`` had no frames in
            ``fit``.
        """
        check_is_fitted(self)
        embed, n_windows = self._make_embedder(X)
        out = np.empty((n_windows, self.n_features_out_, len(self.frame_weights_)), np.float32)
        for part in slice_rows_into_chunks(n_windows, count_chunk_rows(CHUNK_BYTES, *out.shape[1:])):
            rows = np.arange(part.start, part.stop)
            estimates = embed(rows)
            check_tiled_estimates(estimates, rows)
            out[rows] = estimates.cpu().numpy()
        return out[:, :, 0] if self._flat_targets else out

    def _scores(self, X, candidates):
        embed, n_windows = self._make_embedder(X)
        weights = torch.as_tensor(self.frame_weights_, dtype=torch.float32, device=self._device())
        return iter_tiled_scores(embed, n_windows, candidates, weights, self._device())

    def _score_targets(self, X, targets):
        """Iterate over (rows, scores) of windows with target features."""
        return self._scores(X, self._embed_targets(targets))

    def similarity(self, X, candidates=None):
        """Compute the similarity between windows and candidate segments.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.
        candidates : DataFrame, Windows or array-like, default=None
            Candidate segments. If None, use the segments of ``fit``.

        Returns
        -------
        scores : ndarray of shape (n_windows, n_candidates)
            Similarities. Columns are the distinct candidates in order of first
            appearance.
        """
        check_is_fitted(self)
        _, targets = self._candidates(candidates)
        parts = [scores.cpu().numpy() for _, scores in self._scores(X, targets)]
        return np.concatenate(parts) if parts else np.empty((0, len(targets)), np.float32)

    def predict(self, X, candidates=None):
        """Predict the most similar candidate of each window.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.
        candidates : DataFrame, Windows or array-like, default=None
            Candidate segments. If None, use the segments of ``fit``.

        Returns
        -------
        segment : ndarray of int of shape (n_windows,)
            Column ``segment`` of the most similar candidate. For arrays, its
            index among the distinct candidates.

        Warns
        -----
        UserWarning
            If X has recordings that were not in ``fit``, and no ``candidates``
            are passed.
        """
        check_is_fitted(self)
        if candidates is None:
            self._warn_default_candidates(X)
        found, targets = self._candidates(candidates)
        best = [scores.argmax(1).cpu().numpy() for _, scores in self._scores(X, targets)]
        return found.ids[np.concatenate(best)] if best else found.ids[:0]

    def predict_proba(self, X, candidates=None):
        """Compute the probability of each candidate for each window.

        Probabilities are the softmax of the similarities.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.
        candidates : DataFrame, Windows or array-like, default=None
            Candidate segments. If None, use the segments of ``fit``.

        Returns
        -------
        probabilities : ndarray of shape (n_windows, n_candidates)
            Rows sum to 1. Columns are those of :meth:`similarity`.

        Warns
        -----
        UserWarning
            If X has recordings that were not in ``fit``, and no ``candidates``
            are passed.
        """
        check_is_fitted(self)
        if candidates is None:
            self._warn_default_candidates(X)
        scores = torch.from_numpy(self.similarity(X, candidates))
        return torch.softmax(scores.double(), dim=1).numpy()

    def ranks(self, X, y, candidates_per_row=None):
        """Compute the rank of each target among the segments of ``y``.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            Target segments, one row per window.
        candidates_per_row : int, RowCandidates or array-like, default=None
            Candidates of each window, as in
            :func:`~sk_b2s.decoding.retrieve`. If None, the distinct segments
            of ``y``.

        Returns
        -------
        ranks : ndarray of int of shape (n_windows,)
            Number of other candidates that are at least as similar. 0 is best.
            Windows without enough candidates per row are left out.
        n_candidates : int
            Number of distinct segments of ``y``, or of candidates per row.

        Warns
        -----
        StimulusLeakWarning
            If ``y`` contains stimuli of ``fit``.
        """
        if candidates_per_row is not None:
            _, found = self._compare_rows(X, y, candidates_per_row)
            return ranks(found.scores, found.sets.target), found.scores.shape[1]
        found, scores = self._compare(X, y)
        out = np.empty(len(found.target), np.int64)
        for rows, part in scores:
            out[rows] = ranks(part.cpu().numpy(), found.target[rows])
        return out, len(found.ids)

    def score(self, X, y, sample_weight=None, candidates_per_row=None):
        """Compute the top-k accuracy among the distinct segments of ``y``.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            Target segments, one row per window.
        sample_weight : array-like of shape (n_windows,), default=None
            Weight of each window. If None, all weights are equal.
        candidates_per_row : int, RowCandidates or array-like, default=None
            Candidates of each window, as in
            :func:`~sk_b2s.decoding.retrieve`. If None, the distinct segments
            of ``y``.

        Returns
        -------
        accuracy : float
            Fraction of windows whose target is among the ``k`` most similar
            candidates. The chance level is k / n_candidates, which
            :func:`~sk_b2s.decoding.retrieval_scores` returns as well. With
            ``candidates_per_row``, k is 1 unless there are more than ``k``.

        Raises
        ------
        ValueError
            If there are at most ``k`` candidates, or a similarity is NaN.

        Warns
        -----
        StimulusLeakWarning
            If ``y`` contains stimuli of ``fit``.
        """
        if candidates_per_row is not None:
            _, found = self._compare_rows(X, y, candidates_per_row)
            n_candidates = found.scores.shape[1]
            weight = None if sample_weight is None else np.asarray(sample_weight)[found.sets.kept]
            k = self.k if self.k < n_candidates else 1
            return float(top_k_accuracy(ranks(found.scores, found.sets.target), k, n_candidates, weight))
        found, n_candidates = self.ranks(X, y)
        return float(top_k_accuracy(found, self.k, n_candidates, sample_weight))

    def _compare(self, X, y, stacklevel=5):
        """Return the candidates, and an iterator of (rows, scores)."""
        check_is_fitted(self)
        y = self._check_y(y)
        validate_rows_in_step(X, y)
        found, targets = self._candidates(y)
        self._warn_of_leak(y, stacklevel)
        warn_of_unequal_candidates(y, stacklevel=stacklevel)
        return found, self._scores(X, targets)

    def _compare_rows(self, X, y, candidates_per_row, rows=None, stacklevel=5):
        """Return the distinct segments, and similarities: RowScores.

        ``rows`` is the joined table of X and y, by default that of X and y.
        """
        check_is_fitted(self)
        y = self._check_y(y)
        validate_rows_in_step(X, y)
        if rows is None:
            of_y = get_validated_table(y)
            of_y = pd.DataFrame(index=range(len(y))) if of_y is None else of_y
            rows = join_validated_tables(get_validated_table(X), of_y)
        found, targets = self._candidates(y)
        self._warn_of_leak(y, stacklevel)
        line = locate_candidate_stimuli(y, get_validated_table(y))
        sets = make_candidate_sets(candidates_per_row, found, rows, line)
        warn_of_unequal_candidates(y, found.first[sets.columns], stacklevel)

        def score(indices, columns):
            parts = self._scores(_safe_indexing(X, indices), _safe_indexing(targets, columns))
            return np.concatenate([part.cpu().numpy() for _, part in parts])

        return found, score_row_candidates(score, sets, found, rows, line)

    # --- leakage -----------------------------------------------------------------------------------

    def _warn_of_leak(self, y, stacklevel):
        """Warn if targets contain stimuli of ``fit``."""
        owner = type(self).__name__
        if self.stimulus_intervals_ is not None and get_validated_table(y) is not None:
            warn_of_seen_split_stimuli(
                self.stimulus_intervals_, get_validated_table(y), owner, stacklevel + 1
            )
        elif isinstance(y, np.ndarray):
            known = [fingerprint_array_rows(self.segments_)] if isinstance(self.segments_, np.ndarray) else []
            known.append(getattr(self, "adaptation_rows_", np.int64([])))  # since fit
            leaking = np.isin(fingerprint_array_rows(y), np.concatenate(known))
            warn_of_split_leak(leaking, ["equal rows of y"], owner, stacklevel + 1)

    def _check_new_subjects(self, subjects, kind="decoder"):
        """Raise unless all subjects are new and have a name."""
        known = sorted(set(subjects) & set(self.subjects_))
        if known == [""]:
            raise ValueError(
                f"X does not name its subject, and the {kind} was fitted on an unnamed subject. Name the new subject "
                "with Windows.from_array(X, rows=pd.DataFrame({'subject': ['new'] * len(X)}))."
            )
        if known:
            raise ValueError(
                f"X has subjects that the {kind} was fitted on: {known}. adapt is for new subjects. Rename them to "
                f"learn them again, or fit again with all rows."
            )

    def _add_calibration_stimuli(self, y):
        """Add the calibration stimuli to those that scores warn about."""
        table = get_validated_table(y)
        if isinstance(y, np.ndarray):
            self.adaptation_rows_ = np.union1d(
                getattr(self, "adaptation_rows_", np.int64([])), fingerprint_array_rows(y)
            )
        if self.stimulus_intervals_ is not None and table is not None and "sound_onset" in table:
            self.stimulus_intervals_ = self.stimulus_intervals_ | StimulusIntervals.from_table(table)


def count_stimulus_minutes(y, rows, default=np.nan):
    """Return the minutes of distinct stimuli, ``default`` if unknown."""
    table = get_validated_table(y)
    if table is None or not {"sound", "sound_onset", "duration"} <= set(table):
        return default
    return StimulusIntervals.from_table(table.iloc[rows]).seconds / 60


def _spans_of(X):
    """Return recording, start and stop of each window, None if unknown."""
    table = get_validated_table(X)
    if table is None or not {"recording", "onset", "duration"} <= set(table):
        return None
    start = validate_seconds(table, "onset", "X")
    return get_validated_recordings(table), start, start + validate_seconds(table, "duration", "X")

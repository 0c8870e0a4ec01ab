"""Mixins of decoders: retrieval, estimates and their names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s._utils._validation import (
    join_validated_tables,
    validate_rows_in_step,
    validate_table,
)
from sk_b2s.decoding._candidates import (
    find_distinct_candidates,
)
from sk_b2s.decoding._inputs import DecoderInputsMixin
from sk_b2s.decoding._retrieval._row_candidates import (
    locate_row_candidate_stimuli,
    make_row_candidate_sets,
    warn_of_unequal_row_candidates,
)
from sk_b2s.decoding._retrieval._row_scores import compute_row_scores
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.metrics._ranks_and_top_k import ranks, top_k_accuracy
from sk_b2s.metrics._tiled import CHUNK_BYTES, check_tiled_estimates, iter_tiled_scores
from sk_b2s.model_selection._leak_warning import warn_of_leak_in_rows, warn_of_stimulus_leak
from sk_b2s.preprocessing._base import TableOutputMixin, make_base_feature_names
from sk_b2s.preprocessing._fingerprint import fingerprint_array_rows


class RetrievalMixin(DecoderInputsMixin):
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

    def _device(self):
        return torch.device("cpu")

    # --- candidates --------------------------------------------------------------------------------

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
        warn_of_unequal_row_candidates(y, stacklevel=stacklevel)
        return found, self._scores(X, targets)

    def _compare_rows(self, X, y, candidates_per_row, rows=None, stacklevel=5):
        """Return the distinct segments, and similarities: RowScores.

        ``rows`` is the joined table of X and y, by default that of X and y.
        """
        check_is_fitted(self)
        y = self._check_y(y)
        validate_rows_in_step(X, y)
        if rows is None:
            of_y = validate_table(y)
            of_y = pd.DataFrame(index=range(len(y))) if of_y is None else of_y
            rows = join_validated_tables(validate_table(X), of_y)
        found, targets = self._candidates(y)
        self._warn_of_leak(y, stacklevel)
        line = locate_row_candidate_stimuli(y, validate_table(y))
        sets = make_row_candidate_sets(candidates_per_row, found, rows, line)
        warn_of_unequal_row_candidates(y, found.first[sets.columns], stacklevel)

        def score(indices, columns):
            parts = self._scores(_safe_indexing(X, indices), _safe_indexing(targets, columns))
            return np.concatenate([part.cpu().numpy() for _, part in parts])

        return found, compute_row_scores(score, sets, found, rows, line)

    # --- leakage -----------------------------------------------------------------------------------

    def _warn_of_leak(self, y, stacklevel):
        """Warn if targets contain stimuli of ``fit``."""
        owner = type(self).__name__
        if self.stimulus_intervals_ is not None and validate_table(y) is not None:
            warn_of_stimulus_leak(self.stimulus_intervals_, validate_table(y), owner, stacklevel + 1)
        elif isinstance(y, np.ndarray):
            known = [fingerprint_array_rows(self.segments_)] if isinstance(self.segments_, np.ndarray) else []
            known.append(getattr(self, "adaptation_rows_", np.int64([])))  # since fit
            leaking = np.isin(fingerprint_array_rows(y), np.concatenate(known))
            warn_of_leak_in_rows(leaking, ["equal rows of y"], owner, stacklevel + 1)

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
        table = validate_table(y)
        if isinstance(y, np.ndarray):
            self.adaptation_rows_ = np.union1d(
                getattr(self, "adaptation_rows_", np.int64([])), fingerprint_array_rows(y)
            )
        if self.stimulus_intervals_ is not None and table is not None and "sound_onset" in table:
            self.stimulus_intervals_ = self.stimulus_intervals_ | StimulusIntervals.from_table(table)


class EstimatesMixin(TableOutputMixin):
    """Names of the speech features that ``transform`` estimates."""

    def get_feature_names_out(self, input_features=None):
        """Return the names of the estimated speech features.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used, present for API consistency by convention.

        Returns
        -------
        names : ndarray of str of shape (n_features,)
            Those of ``speech``, or names such as "ridgedecoder0" if the
            features are given or learned.
        """
        check_is_fitted(self)
        is_known = self.n_features_out_ == self.n_speech_features_
        if is_known and hasattr(self.speech_, "get_feature_names_out"):
            return self.speech_.get_feature_names_out()
        return make_base_feature_names(self, self.n_features_out_)

"""Checks of later calls of partial_fit, and the union of their stimuli."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing

from sk_b2s._utils._validation import validate_rows_in_step
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._inputs import find_spans_of_windows
from sk_b2s.decoding._stimulus_artifacts import warn_stimulus_artifact_channels
from sk_b2s.metrics._frames import find_frames_of_windows
from sk_b2s.preprocessing._windows._concat import concat_windows
from sk_b2s.preprocessing._windows._windows import Windows


class PartialFitInputsMixin:
    """Inputs of ``partial_fit`` of a decoder with ``RetrievalMixin``."""

    def _check_partial_inputs(self, X, y, is_first):
        """Check X and y, and return y and targets.

        The first call sets the attributes that later windows are compared
        with. ``_unite_inputs`` returns them for a later call.
        """
        y = self._check_y(y)
        validate_rows_in_step(X, y)
        if not len(X):
            raise ValueError("X has no windows. partial_fit requires at least one.")
        if is_first:
            self._fit_segments(y)
            self._fit_stimulus_intervals(y)
            self._fit_recording_intervals(X)
            targets = self._fit_speech(y, np.arange(len(y)))
            warn_stimulus_artifact_channels(X, y, targets)
            return y, targets
        targets = self._targets(y)
        self._check_partial_targets(X, targets)
        self._check_sums_as_fitted(X, targets)
        self._check_segments(y)
        self._check_distinct(find_distinct_candidates(y).ids)
        self._check_new_recordings(X, y, targets)
        return y, targets

    def _check_new_recordings(self, X, y, targets):
        """Check stimuli and channels of recordings of a later call."""
        spans = find_spans_of_windows(X)
        if spans is None or self.recording_intervals_ is None:
            return
        if len(new := np.flatnonzero(~self.recording_intervals_.overlap_spans(*spans))):
            if self.speech_ is not None:
                self._check_targets_vary(targets, new)
            warn_stimulus_artifact_channels(X[new], _safe_indexing(y, new), targets[new])

    def _check_distinct(self, segments):
        """Raise if there are too few distinct segments to learn from."""

    def _unite_inputs(self, X, y):
        """Return the segments and intervals of all calls, by attribute."""
        new = copy.copy(self)
        new._fit_stimulus_intervals(y)
        new._fit_recording_intervals(X)
        former, heard = self.recording_intervals_, new.recording_intervals_
        stimuli = [one.stimulus_intervals_ for one in (self, new) if one.stimulus_intervals_ is not None]
        return {
            "segments_": self._unite_segments(y),
            "stimulus_intervals_": stimuli[0] | stimuli[-1] if stimuli else None,
            "recording_intervals_": None
            if former is None or heard is None
            else former | heard,  # None: unknown
        }

    def _check_sums_as_fitted(self, X, targets):
        """Raise if parameters of the sums changed between calls."""

    def _check_partial_targets(self, X, targets):
        """Raise unless features and frames are those of the first call."""
        expected = self.n_speech_features_, len(self.frame_weights_)
        frames = find_frames_of_windows(X, targets)
        counts = np.bincount(frames, minlength=targets.shape[2])
        if targets.shape[1:] != expected or not np.array_equal(counts, self.frame_weights_):
            raise ValueError(
                f"y has {targets.shape[1]} features x {targets.shape[2]} frames, but the first call of partial_fit was given "
                f"{expected[0]} x {expected[1]} at its rate. Use the same windows and features."
            )

    def _check_segments(self, y):
        """Raise unless y has the type of former calls."""
        kinds = (pd.DataFrame, Windows, np.ndarray)
        former, came = (
            next(kind.__name__ for kind in kinds if isinstance(one, kind)) for one in (self.segments_, y)
        )
        if former != came or np.ndim(self.segments_) != np.ndim(y):
            raise ValueError(
                f"y must have the type and the number of dimensions of the first call of partial_fit, {former}. Got {came}."
            )

    def _unite_segments(self, y):
        """Return the distinct segments of all calls."""
        former, is_table = self.segments_, isinstance(y, pd.DataFrame)
        join = concat_windows if isinstance(y, Windows) else np.concatenate
        both = pd.concat([former, y], ignore_index=True) if is_table else join([former, y])
        first = find_distinct_candidates(both).first
        if len(first) == len(former):  # without the signals of y
            return former
        return both.iloc[first].reset_index(drop=True) if is_table else both[first]

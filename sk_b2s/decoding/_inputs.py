"""Windows and stimuli that decoders are given in ``fit`` and afterwards."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_array, validate_data

from sk_b2s._utils._callers import find_caller
from sk_b2s._utils._estimators import DocLinkMixin, clone_estimator_speech
from sk_b2s._utils._validation import (
    get_validated_recordings,
    is_validated_text,
    validate_seconds,
    validate_table,
)
from sk_b2s.decoding._candidates import (
    check_candidates_vary,
    find_distinct_candidates,
    make_candidate_windows,
)
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.features._activity import SpeechActivity
from sk_b2s.metrics._frames import find_frames_of_windows
from sk_b2s.preprocessing._constant import check_not_constant, warn_of_constant
from sk_b2s.preprocessing._windows._checks import (
    check_window_subjects,
    check_windows_equal_lengths,
    check_windows_equal_shapes,
)
from sk_b2s.preprocessing._windows._windows import Windows

LABELS_ADVICE = (
    "Decoders rank segments of the stimulus and do not classify. To classify labels, use cross_val_classification, or "
    "mne.decoding.Vectorizer() and a classifier of scikit-learn after Epocher."
)

VALUES_ADVICE = (
    "Pass the DataFrame. Meta-estimators of scikit-learn for classification, and cross_val_predict("
    "method='predict_proba'), convert it. Use EnsembleDecoder, and retrieve in each fold, instead. "
)


def _normalize_subject_name(subject):
    """Strip what files add to a subject: "01", "1" and "1.0" are equal."""
    return subject.removesuffix(".0").lstrip("0")


class DecoderInputsMixin(DocLinkMixin):
    """Checks of the windows, targets and subjects of a decoder.

    ``fit`` calls ``_check_windows``, ``_check_y``, ``_fit_segments``,
    ``_fit_stimulus_intervals``, ``_fit_recording_intervals``, ``_fit_speech``
    and ``_fit_frames``. They set the fitted attributes with which later
    windows and targets are compared.
    """

    # --- X: EEG/MEG windows ------------------------------------------------------------------------

    accepts_unequal_lengths = False  # of windows, whose padding must not count

    def _check_windows(self, X, reset=False, any_channels=False):
        """Check windows, or make Windows of an array."""
        if not self.accepts_unequal_lengths:
            check_windows_equal_lengths(X, type(self).__name__)
        if not isinstance(X, Windows):
            if isinstance(X, pd.DataFrame) and {"recording", "onset"} <= set(X):
                raise ValueError(
                    f"X is a table of segments, but {type(self).__name__} requires their EEG/MEG windows. Put Epocher "
                    f"before it, as make_pipeline(Epocher(...), RobustChannelScaler(clip=20), ...), or pass the output of "
                    f"a fitted Epocher."
                )
            X = validate_data(
                self, check_windows_equal_shapes(X), reset=reset, allow_nd=True, dtype=np.float32
            )
            X = Windows.from_array(X if X.ndim == 3 else X[:, :, None])
        elif reset:
            self.n_features_in_ = X.shape[1]
        if 0 in X.shape[1:]:
            raise ValueError(
                f"X must have at least one channel and one sample in a window. Got X of shape {X.shape}."
            )
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
            owner = type(self).__name__ if hasattr(self, "spatial_attention") else "BrainEncoder"
            raise ValueError(
                f"X has {X.shape[1]} channels, but {type(self).__name__} was fitted on {self.n_features_in_} and "
                f"identifies them by their order. Only {owner}(spatial_attention=True) accepts other sensors."
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
        frames = find_frames_of_windows(X, targets)
        self.n_times_in_, self.n_speech_features_ = X.shape[2], targets.shape[1]
        self.n_features_out_ = self.n_speech_features_
        self.frame_weights_ = np.bincount(frames, minlength=targets.shape[2])
        self._flat_targets = isinstance(y, np.ndarray) and y.ndim < 3
        return frames

    def _get_subject_index(self, X, in_fit=False):
        """Return the subject index of each window, -1 for unseen subjects."""
        subjects = check_window_subjects(X)
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
        known = {_normalize_subject_name(subject): subject for subject in self.subjects_}
        if misspelled := [subject for subject in unseen if _normalize_subject_name(subject) in known]:
            warnings.warn(
                f"Subject {misspelled[0]!r} was not in fit, but {known[_normalize_subject_name(misspelled[0])]!r} was. If they are "
                f"the same subject, use the same name.",
                stacklevel=3,
            )

    # --- y: stimuli --------------------------------------------------------------------------------

    def _check_y(self, y):
        """Check targets: a table for ``speech``, else Windows or an array."""
        owner = type(self).__name__
        if y is None:
            raise ValueError(f"{owner} requires y to be passed, but the target y is {y}.")
        if self.speech is not None:
            if validate_table(y) is None:
                is_values = getattr(y, "ndim", 1) == 2 and getattr(y, "dtype", np.dtype(float)).kind == "O"
                labels = f"{LABELS_ADVICE} " * (getattr(y, "ndim", 1) == 1) + VALUES_ADVICE * is_values
                raise ValueError(
                    f"{owner}(speech={type(self.speech).__name__}(...)) computes features and requires y to be the "
                    f"table of segments returned by make_segments. Got {type(y).__name__}. {labels}If y contains "
                    f"features, set speech=None."
                )
            return validate_table(y)
        if isinstance(y, Windows):
            return y
        if isinstance(y, pd.DataFrame) and "segment" in y:
            raise ValueError(
                f"y is a table of segments, but {owner}(speech=None) expects features. Set for example "
                f"speech=make_pipeline(MelSpectrogram(), FeatureScaler())."
            )
        if is_validated_text(y):
            raise ValueError(f"{owner}(speech=None) expects features in y. Got text. {LABELS_ADVICE}")
        return check_array(
            check_windows_equal_shapes(y, "y"),
            ensure_2d=False,
            allow_nd=True,
            dtype=np.float32,
            input_name="y",
        )

    def _count_required_segments(self):
        """Return the minimum number of distinct segments of ``fit``."""
        return 2

    def _fit_segments(self, y):
        """Set the distinct segments, the default candidates."""
        candidates = find_distinct_candidates(y)
        if len(candidates.ids) < self._count_required_segments():
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
        table = validate_table(y)
        has_sound = table is not None and "sound_onset" in table
        self.stimulus_intervals_ = StimulusIntervals.from_table(table.iloc[rows]) if has_sound else None

    def _fit_recording_intervals(self, X):
        """Set the intervals of recordings, for the warning of ``predict``."""
        spans = find_spans_of_windows(X)
        self.recording_intervals_ = None if spans is None else StimulusIntervals.from_spans(*spans)

    def _warn_default_candidates(self, X):
        """Warn if new recordings are compared with the segments of fit.

        Raise if a score of scikit-learn is to compare them with a table.
        """
        if isinstance(self.segments_, pd.DataFrame):
            self._refuse_label_score()
        spans, known = find_spans_of_windows(X), getattr(self, "recording_intervals_", None)
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

    def _refuse_label_score(self):
        """Raise if a score of labels is computed from predictions."""
        scorer = (find_caller("sklearn.metrics._scorer", "_score") or {}).get("self")
        metric = getattr(scorer, "_score_func", None)
        if getattr(metric, "__module__", "").startswith("sklearn."):
            raise ValueError(
                f"{type(self).__name__} ranks segments instead of classes, so {metric.__name__} cannot compare its "
                f"predictions with the table y. Omit scoring, which is then the top-{self.k} accuracy, or use "
                f"scoring=retrieval_scores, which also returns the top-1 accuracy and the chance level."
            )

    def _fit_speech(self, y, train):
        """Fit ``speech`` on the training rows, and return all features."""
        self.speech_ = None if self.speech is None else clone_estimator_speech(self.speech).fit(y.iloc[train])
        targets = self._targets(y)
        self._check_targets_vary(targets, train)
        return targets

    def _check_targets_vary(self, targets, rows):
        """Raise if all features of all stimuli of some rows are constant."""
        steps = [step for _, step in getattr(self.speech_, "steps", [("", self.speech_)])]
        if not any(isinstance(step, SpeechActivity) for step in steps):  # speech may have no silence
            check_candidates_vary(targets, rows, type(self).__name__)

    def _targets(self, y):
        """Compute target features: Windows (n_rows, n_features, n_frames)."""
        if self.speech_ is None:
            return y if isinstance(y, Windows) else make_candidate_windows(y)
        targets = self.speech_.transform(y)
        return targets if isinstance(targets, Windows) else make_candidate_windows(targets)


def count_input_minutes(y, rows, default=np.nan):
    """Return the minutes of distinct stimuli, ``default`` if unknown."""
    table = validate_table(y)
    if table is None or not {"sound", "sound_onset", "duration"} <= set(table):
        return default
    return StimulusIntervals.from_table(table.iloc[rows]).seconds / 60


def find_spans_of_windows(X):
    """Return recording, start and stop of each window, None if unknown."""
    table = validate_table(X)
    if table is None or not {"recording", "onset", "duration"} <= set(table):
        return None
    start = validate_seconds(table, "onset", "X")
    return get_validated_recordings(table), start, start + validate_seconds(table, "duration", "X")

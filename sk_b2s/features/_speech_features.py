"""Base class of speech features."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Real
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._caching import get_cache_code
from sk_b2s._utils._validation import get_validated_sample_counts, get_validated_window_length
from sk_b2s.events._audio._checks import check_audio_is_silent, check_audio_level
from sk_b2s.events._audio._facts import measure_audio_facts
from sk_b2s.events._audio._selection import select_audio_tracks, warn_of_audio_selection
from sk_b2s.events._images import ImageStimulus
from sk_b2s.events._stimuli import (
    StimulusArray,
    digest_stimuli,
    format_stimulus_names,
    get_stimulus_digest,
    stimulus_duration,
)
from sk_b2s.features._read_audio import AUDIO_SFREQ, PADDING_STEP, pad_features_of_read_audio
from sk_b2s.features._read_audio import CODE as AUDIO_CODE
from sk_b2s.preprocessing._base import TableOutputMixin, make_base_feature_names
from sk_b2s.preprocessing._windows._signals import Signal
from sk_b2s.preprocessing._windows._windows import Windows

CODE = AUDIO_CODE + get_cache_code(__file__)  # digest of the code of all features


class SpeechFeatures(TableOutputMixin, BaseEstimator):
    """Base class that cuts windows from features of each distinct stimulus.

    Each distinct stimulus is computed once and padded with silence.
    """

    _parameter_constraints: dict = {
        "sfreq": [Interval(Real, 0, None, closed="neither")],
        "memory": [str, Path, joblib.Memory, None],
    }
    _silence = 0.0
    _reads_audio = True  # whether features are computed from audio files

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the parameters. Nothing is learned from the data.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, n_columns)
            Stimulus table, the ``y`` of :func:`~sk_b2s.make_segments`, with
            the columns ``sound``, ``sound_onset`` and ``duration`` (seconds).
        y : None
            Not used, present for API consistency by convention.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        _check_speech_table(X, type(self).__name__)
        self._check_rate()
        self.n_features_out_ = self._count_features(X["sound"])
        return self

    def transform(self, X):
        """Cut windows from the features of the stimuli.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, n_columns)
            Stimulus table.

        Returns
        -------
        windows : Windows of shape (n_segments, n_features, n_frames)
            Lazy windows of ``floor(duration · sfreq) + 1`` frames, with
            silence beyond the ends of a stimulus. They hold one signal for
            each distinct stimulus, regardless of the number of subjects.

        Warns
        -----
        UserWarning
            If the features of a stimulus are constant, if the tracks of an
            audio file differ and none is selected in the column
            ``sound_channel``, or if samples are far beyond full scale. The
            message names the file.
        """
        self._check_fitted_table(X)
        X = X.assign(sound=select_audio_tracks(X)) if "sound_channel" in X else X
        if (n_features := self._count_features(X["sound"])) != self.n_features_out_:
            raise ValueError(
                f"The stimuli have {n_features} features, but those passed to fit had {self.n_features_out_}. "
                f"Fit {type(self).__name__} again."
            )
        codes, _ = pd.factorize(digest_stimuli(X["sound"]))
        sounds = X["sound"].iloc[np.unique(codes, return_index=True)[1]]
        self._check_content(list(sounds))
        n_frames = get_validated_window_length(X, self._find_rate(sounds))
        sfreq = self._find_rate(sounds)
        # A window reaches at most its own length beyond a stimulus.
        reach = PADDING_STEP * np.ceil(n_frames / sfreq / PADDING_STEP)
        pad = int(round(reach * sfreq))
        parts = self._find_intervals(X, codes, sounds)
        signals = [self._make_signal(sound, pad, part) for sound, part in zip(sounds, parts, strict=True)]
        extent = np.array([(pad, signal.shape[0] - pad) for signal in signals])
        start = np.round(X["sound_onset"].to_numpy(float) * sfreq).astype(np.int64) + pad
        self._check_inside(X, start, n_frames, np.array([s.shape[0] for s in signals])[codes], reach)
        n_valid = get_validated_sample_counts(X, sfreq)
        return Windows(signals, codes, start, n_frames, sfreq, rows=X, extent=extent, n_valid=n_valid)

    def get_feature_names_out(self, input_features=None):
        """Return the names of features.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used, present for API consistency by convention.

        Returns
        -------
        names : ndarray of str of shape (n_features,)
            Names of the second axis of the windows.
        """
        check_is_fitted(self, "n_features_out_")
        names = self._list_feature_names()
        return (
            make_base_feature_names(self, self.n_features_out_) if names is None else np.array(names, object)
        )

    def _list_feature_names(self):
        """Return the names of features, None for the name of the class."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # tables of stimuli
        return tags

    def _check_fitted_table(self, X):
        """Raise if the transformer is not fitted or X is not a table."""
        check_is_fitted(self, "n_features_out_")
        _check_speech_table(X, type(self).__name__)

    def _check_content(self, sounds):
        """Warn of constant features, differing tracks or extreme levels."""
        if self._reads_audio:
            for sound in sounds:
                if isinstance(sound, ImageStimulus):
                    check_speech_features_audio_file(sound, type(self).__name__)
                if not isinstance(sound, StimulusArray):
                    measure_audio_facts(sound, self.memory)  # same cache as the features
        if empty := self._find_constant(sounds):
            warnings.warn(
                f"{self._describe_constant(empty)}. All windows of such a stimulus are identical, which lowers every "
                f"score. Remove its rows, or correct the file.",
                stacklevel=4,
            )
        if self._reads_audio and not any(isinstance(sound, StimulusArray) for sound in sounds):
            warn_of_audio_selection(sounds, stacklevel=4)
            check_audio_level(sounds, stacklevel=4)

    def _find_constant(self, sounds):
        """Return the stimuli whose features are constant."""
        stored = [isinstance(sound, StimulusArray) for sound in sounds]
        if self._reads_audio and any(stored):
            return []  # an error is raised when they are read
        return [sound for sound in sounds if check_audio_is_silent(sound)]

    def _describe_constant(self, sounds):
        """Describe stimuli with constant features for a warning."""
        kind = "silent or constant" if self._reads_audio else "constant in all features"
        cancel = self._reads_audio and any(measure_audio_facts(sound).n_tracks > 1 for sound in sounds)
        fix = " (or the tracks cancel each other: select one in the column 'sound_channel')" * cancel
        return f"{format_stimulus_names(sounds)} {'is' if len(sounds) == 1 else 'are'} {kind} from beginning to end{fix}"

    def _find_intervals(self, X, codes, sounds):
        """Return the intervals of each stimulus to compute, or None."""
        return [None] * len(sounds)

    def _count_frames(self, sound):
        return int(np.ceil(round(stimulus_duration(sound) * self._find_rate([sound]), 6)))

    def _make_signal(self, sound, pad, part):
        length = self._count_frames(sound) + 2 * pad
        compute = partial(pad_features_of_read_audio, self._compute_features(sound), pad, self._silence)
        return Signal(partial(adjust_speech_features_length, compute, length), (length, self.n_features_out_))

    def _find_rate(self, sounds):
        return float(self.sfreq)

    def _check_rate(self):
        if AUDIO_SFREQ % self.sfreq:
            raise ValueError(
                f"The 'sfreq' parameter of {type(self).__name__} must divide {AUDIO_SFREQ} Hz, so that frames begin "
                f"at samples. Got {self.sfreq!r} instead. Use for example 20, 25, 32, 40, 50, 64, 80, 100 or 125."
            )

    @staticmethod
    def _check_inside(X, start, n_frames, length, reach):
        beyond = (start < 0) | (start + n_frames > length)
        if beyond.any():
            row = np.flatnonzero(beyond)[0]
            raise ValueError(
                f"y row {X.index.tolist()[row]!r}: the window at sound_onset={X['sound_onset'].iloc[row]} s extends "
                f"more than {reach:g} s beyond its stimulus {X['sound'].iloc[row]!r} ({beyond.sum()} such rows). "
                f"Correct sound_onset, or remove these rows."
            )


def adjust_speech_features_length(signal, n_frames):
    """Cut frames or repeat the last one, as rounding can differ by a frame."""
    signal = signal() if callable(signal) else signal
    if len(signal) < n_frames:
        signal = np.pad(signal, ((0, n_frames - len(signal)), (0, 0)), mode="edge")
    return np.ascontiguousarray(signal[:n_frames])


def _check_speech_table(X, owner):
    needed = ["sound", "sound_onset", "duration"]
    if not isinstance(X, pd.DataFrame) or (missing := [c for c in needed if c not in X]):
        found = f"a DataFrame without {missing}" if isinstance(X, pd.DataFrame) else type(X).__name__
        raise ValueError(
            f"{owner} requires a stimulus table with the columns {', '.join(needed)}, the y of make_segments. "
            f"Got {found} instead."
        )


def check_speech_features_audio_file(sound, owner):
    if isinstance(sound, ImageStimulus):
        raise ValueError(
            f"{owner} requires audio files. Got the {sound.kind} {sound.name!r}. Use PrecomputedFeatures(features=...)."
        )
    if isinstance(sound, StimulusArray):
        raise ValueError(
            f"{owner} requires audio files, but {sound!r} holds precomputed features. Use PrecomputedFeatures()."
        )


def make_speech_features_stamp(path, code):
    """Return the cache key of an audio file, digests of content and code."""
    return (get_stimulus_digest(path), *code)

"""Base class of speech features: from stimulus segments to windows."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Real
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._caching import code_of
from sk_b2s._utils._validation import window_length
from sk_b2s.events._audio._checks import (
    is_silent,
    named,
    select_tracks,
    stimulus_facts,
    warn_of_level,
    warn_of_tracks,
)
from sk_b2s.events._stimuli import StimulusArray, digests, stimulus_digest, stimulus_duration
from sk_b2s.features._audio import AUDIO_SFREQ, SILENCE, pad_with_silence
from sk_b2s.features._audio import CODE as AUDIO_CODE
from sk_b2s.preprocessing._signals import Signal
from sk_b2s.preprocessing._windows import Windows

CODE = AUDIO_CODE + code_of(__file__)  # of what all features run


class SpeechFeatures(TransformerMixin, BaseEstimator):
    """Common to the features: each distinct sound once, silence around it, windows on it."""

    _parameter_constraints: dict = {
        "sfreq": [Interval(Real, 0, None, closed="neither")],
        "memory": [str, Path, joblib.Memory, None],
    }
    _silence = 0.0
    _reads_audio = True  # whether features are computed from audio files

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the parameters; nothing is learnt.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, ...)
            The table of what was heard: ``sound``, ``sound_onset`` and ``duration``.
        y : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        self : object
        """
        _check_table(X, type(self).__name__)
        self._check_rate()
        self.n_features_out_ = self._n_features(X["sound"])
        return self

    def transform(self, X):
        """Lay windows on the features of the sounds.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, ...)
            The table of what was heard.

        Returns
        -------
        windows : Windows of shape (n_segments, n_features, n_frames)
            ``floor(duration · sfreq) + 1`` frames each; silence beyond the ends of a sound. One
            signal for each distinct sound, however many people heard it.

        Warns
        -----
        UserWarning
            If features of a sound are constant from beginning to end, tracks of a file differ and none is
            chosen (column ``sound_channel``), or samples are far beyond full scale. Each names the file.
        """
        check_is_fitted(self, "n_features_out_")
        _check_table(X, type(self).__name__)
        X = X.assign(sound=select_tracks(X)) if "sound_channel" in X else X
        if (n_features := self._n_features(X["sound"])) != self.n_features_out_:
            raise ValueError(
                f"the sounds have {n_features} features, those of fit had {self.n_features_out_}."
            )
        codes, _ = pd.factorize(digests(X["sound"]))
        sounds = X["sound"].iloc[np.unique(codes, return_index=True)[1]]
        self._check_content(list(sounds))
        n_frames = window_length(X, self._rate(sounds))
        sfreq = self._rate(sounds)
        reach = SILENCE * np.ceil(n_frames / sfreq / SILENCE)  # no window reaches further than itself
        pad = int(round(reach * sfreq))
        parts = self._parts(X, codes, sounds)
        signals = [self._signal(sound, pad, part) for sound, part in zip(sounds, parts, strict=True)]
        extent = np.array([(pad, signal.shape[0] - pad) for signal in signals])
        start = np.round(X["sound_onset"].to_numpy(float) * sfreq).astype(np.int64) + pad
        self._check_inside(X, start, n_frames, np.array([s.shape[0] for s in signals])[codes], reach)
        return Windows(signals, codes, start, n_frames, sfreq, rows=X, extent=extent)

    def _check_content(self, sounds):
        """Warn of sounds without content, of tracks that differ and of absurd levels."""
        if self._reads_audio:
            for sound in sounds:
                if not isinstance(sound, StimulusArray):
                    stimulus_facts(sound, self.memory)  # kept where the features are kept
        if empty := self._without_content(sounds):
            warnings.warn(
                f"{self._emptiness(empty)}. Windows of such a sound cannot be told apart and lower every score: "
                f"leave its rows out, or give the right file.",
                stacklevel=4,
            )
        if self._reads_audio and not any(isinstance(sound, StimulusArray) for sound in sounds):
            warn_of_tracks(sounds, stacklevel=4)
            warn_of_level(sounds, stacklevel=4)

    def _without_content(self, sounds):
        """Return the sounds whose features are constant."""
        stored = [isinstance(sound, StimulusArray) for sound in sounds]
        if self._reads_audio and any(stored):
            return []  # refused where they are read
        return [sound for sound in sounds if is_silent(sound)]

    def _emptiness(self, sounds):
        """Name sounds whose features are constant, in a sentence."""
        kind = "silent or constant" if self._reads_audio else "constant in all features"
        cancel = self._reads_audio and any(stimulus_facts(sound).n_tracks > 1 for sound in sounds)
        way_out = " (or their tracks cancel each other: choose one in the column 'sound_channel')" * cancel
        return f"{named(sounds)} {'is' if len(sounds) == 1 else 'are'} {kind} from beginning to end{way_out}"

    def _parts(self, X, codes, sounds):
        """Say of each sound in which stretches it is computed; None is the whole in one."""
        return [None] * len(sounds)

    def _n_frames(self, sound):
        return int(np.ceil(round(stimulus_duration(sound) * self._rate([sound]), 6)))

    def _signal(self, sound, pad, part):
        length = self._n_frames(sound) + 2 * pad
        recipe = partial(pad_with_silence, self._features(sound), pad, self._silence)
        return Signal(partial(fitted_length, recipe, length), (length, self.n_features_out_))

    def _rate(self, sounds):
        return float(self.sfreq)

    def _check_rate(self):
        if AUDIO_SFREQ % self.sfreq:
            raise ValueError(
                f"sfreq must divide {AUDIO_SFREQ} Hz so that frames fall on samples (20, 25, 32, 40, 50, 64, 80, "
                f"100, 125 do), got {self.sfreq!r}."
            )

    @staticmethod
    def _check_inside(X, start, n_frames, length, reach):
        beyond = (start < 0) | (start + n_frames > length)
        if beyond.any():
            row = np.flatnonzero(beyond)[0]
            raise ValueError(
                f"y row {X.index.tolist()[row]!r}: the window at sound_onset={X['sound_onset'].iloc[row]} s reaches "
                f"more than {reach:g} s off its sound {X['sound'].iloc[row]!r} ({beyond.sum()} such rows)."
            )


def fitted_length(recipe, n_frames):
    """Cut or repeat the last frame where decoding and rounding differ by a frame."""
    signal = recipe() if callable(recipe) else recipe
    if len(signal) < n_frames:
        signal = np.pad(signal, ((0, n_frames - len(signal)), (0, 0)), mode="edge")
    return np.ascontiguousarray(signal[:n_frames])


def _check_table(X, owner):
    needed = ["sound", "sound_onset", "duration"]
    if not isinstance(X, pd.DataFrame) or (missing := [c for c in needed if c not in X]):
        came = f"a table without {missing}" if isinstance(X, pd.DataFrame) else type(X).__name__
        raise ValueError(
            f"{owner} needs the table of what was heard (the y of make_segments, with {', '.join(needed)}), "
            f"got {came}."
        )


def check_is_file(sound, owner):
    if isinstance(sound, StimulusArray):
        raise ValueError(
            f"{owner} needs audio files, but {sound!r} holds features already: use PrecomputedFeatures()."
        )


def sound_stamp(path, code):
    """Return what the features of a sound file are kept under: digest of its content and code."""
    return (stimulus_digest(path), *code)

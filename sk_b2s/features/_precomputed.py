"""Precomputed features of stimuli."""

from __future__ import annotations

from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils._param_validation import Interval

from sk_b2s._utils._caching import digest_cached_content
from sk_b2s.events._images import ImageStimulus
from sk_b2s.events._stimuli import StimulusArray, stimulus_name
from sk_b2s.features._speech_features import SpeechFeatures
from sk_b2s.features._vectors import read_feature_vectors


class PrecomputedFeatures(SpeechFeatures):
    """Use features that were computed before, over time or one vector each.

    Without ``features``, windows are cut from the features that the table
    holds as :class:`~sk_b2s.StimulusArray`, at their sampling rate. With
    ``features``, each stimulus has one vector, such as the embedding of an
    image.

    Parameters
    ----------
    features : str, Path, DataFrame or None, default=None
        Vectors of stimuli: a table indexed by the names of the stimuli, or a
        file ending in ".npz", ".safetensors" or ".parquet". The files have
        ``features`` of shape (n_stimuli, n_features) and ``names`` (in the
        metadata of safetensors as JSON), or one array per stimulus. A parquet
        file has the column ``name`` and one column per feature, and requires
        pyarrow. The name of an :class:`~sk_b2s.ImageStimulus` is its ``name``,
        that of an audio file is its file name. If None, the table must hold
        :class:`~sk_b2s.StimulusArray`.
    sfreq : float or None, default=None
        Sampling rate in Hz of ``features``. If given, each vector becomes a
        pulse at the onset of its stimulus, for models of features over time
        such as :class:`~sk_b2s.ForwardTRF`. If None, vectors have no time.
    columns : sequence of int, default=None
        Indices of the features to use, for example for
        :func:`~sk_b2s.compare_feature_sets`. If None, all.

    Attributes
    ----------
    n_features_out_ : int
        Number of features, equal in all stimuli.

    Notes
    -----
    Frames beyond the ends of a stimulus are 0. ``transform`` with vectors
    returns an array of shape (n_segments, n_features). A column of ones in
    ``features`` makes the response that all stimuli share a feature of its
    own, which a model of pulses needs.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s import ImageStimulus, PrecomputedFeatures
    >>> vectors = pd.DataFrame([[1.0, 0.0], [0.0, 1.0]], index=["cat", "dog"])
    >>> y = pd.DataFrame({"sound": [ImageStimulus("dog")],
    ...                   "sound_onset": 0.0, "duration": 1.0})
    >>> PrecomputedFeatures(vectors).fit_transform(y).tolist()
    [[0.0, 1.0]]
    """

    _parameter_constraints: dict = {
        "features": [str, Path, pd.DataFrame, None],
        "sfreq": [Interval(Real, 0, None, closed="neither"), None],
        "columns": ["array-like", None],
    }
    _reads_audio = False
    features = sfreq = columns = None  # of subclasses with other parameters

    def __init__(self, features=None, sfreq=None, columns=None):
        self.features = features
        self.sfreq = sfreq
        self.columns = columns

    def transform(self, X):
        """Return windows of stored features, or the vector of each stimulus.

        Parameters
        ----------
        X : DataFrame of shape (n_segments, n_columns)
            Stimulus table.

        Returns
        -------
        windows : Windows of shape (n_segments, n_features, n_frames)
            Or an array of shape (n_segments, n_features) with ``features``,
            and (n_segments, n_features, n_frames) with ``sfreq`` as well.

        Raises
        ------
        ValueError
            If a stimulus has no features.
        """
        if self.features is None:
            if self.sfreq is not None:
                raise ValueError(
                    f"PrecomputedFeatures(sfreq={self.sfreq:g}) requires features=, one vector per stimulus. The rate of a "
                    f"StimulusArray is its own. Set sfreq=None."
                )
            return super().transform(X)
        self._check_fitted_table(X)
        vectors = read_feature_vectors(self.features)
        if (n_features := self._count_columns(vectors.shape[1])) != self.n_features_out_:
            raise ValueError(
                f"The vectors have {n_features} features, but had {self.n_features_out_} in fit. Fit "
                f"PrecomputedFeatures again."
            )
        found = self._select_columns(vectors.to_numpy())[_find_precomputed_vectors(vectors, X["sound"])]
        return found if self.sfreq is None else _make_feature_pulses(found, X, self.sfreq)

    def _describe_fitted(self):
        """Describe the content of a file for a fingerprint, None without."""
        is_file = isinstance(self.features, (str, Path)) and Path(self.features).is_file()
        return digest_cached_content(self.features) if is_file else None

    def _count_features(self, sounds):
        if self.features is not None:
            vectors = read_feature_vectors(self.features)
            _find_precomputed_vectors(vectors, sounds)
            return self._count_columns(vectors.shape[1])
        distinct = pd.unique(sounds)
        for sound in distinct:
            if isinstance(sound, ImageStimulus):
                raise ValueError(
                    f"PrecomputedFeatures requires the parameter 'features' for stimuli such as the {sound.kind} "
                    f"{sound.name!r}. Set it to a table or file with one vector per {sound.kind}."
                )
            if not isinstance(sound, StimulusArray):
                raise ValueError(
                    f"PrecomputedFeatures requires stimuli of type StimulusArray. Got {sound!r} instead. Use another "
                    f"speech feature, such as MelSpectrogram, for audio files."
                )
        widths = {sound.data.shape[1] for sound in distinct}
        if len(widths) > 1:
            raise ValueError(
                f"All stimuli must have the same number of features. Got {sorted(widths)} instead."
            )
        return self._count_columns(widths.pop())

    def _count_columns(self, n_features):
        """Return the number of selected features of a number of features."""
        if self.columns is None:
            return n_features
        columns = np.asarray(self.columns)
        is_valid = columns.ndim == 1 and columns.size and columns.dtype.kind in "iu"
        if not is_valid or columns.min() < 0 or columns.max() >= n_features:
            raise ValueError(
                f"The 'columns' parameter of PrecomputedFeatures must be indices from 0 to {n_features - 1}, of the "
                f"{n_features} features. Got {self.columns!r} instead."
            )
        return len(columns)

    def _select_columns(self, data):
        """Return the selected features of an array (n_rows, n_features)."""
        return data if self.columns is None else data[:, np.asarray(self.columns)]

    def _list_feature_names(self):
        if not isinstance(self.features, pd.DataFrame):
            return None
        names = list(map(str, self.features))
        return names if self.columns is None else [names[index] for index in self.columns]

    def _find_rate(self, sounds):
        rates = {sound.sfreq for sound in sounds}
        if len(rates) > 1:
            raise ValueError(f"All stimuli must have the same sampling rate. Got {sorted(rates)} Hz instead.")
        return rates.pop()

    def _check_rate(self):
        pass

    def _compute_features(self, sound):
        return self._select_columns(sound.data)


def _make_feature_pulses(vectors, X, sfreq):
    """Place vectors at onsets, (n_windows, n_features, n_frames)."""
    if (X["duration"] != X["duration"].iloc[0]).any():
        raise ValueError(
            "PrecomputedFeatures(sfreq=...) requires windows of equal duration. Got durations from "
            f"{X['duration'].min():g} to {X['duration'].max():g} s."
        )
    n_frames = max(1, round(X["duration"].iloc[0] * sfreq))
    frame = np.round(-X["sound_onset"].to_numpy(float) * sfreq).astype(int)
    pulses = np.zeros((*vectors.shape, n_frames), np.float32)
    inside = np.flatnonzero((frame >= 0) & (frame < n_frames))
    pulses[inside, :, frame[inside]] = vectors[inside]
    return pulses


def _find_precomputed_vectors(vectors, sounds):
    """Return the row of ``vectors`` for each stimulus, or raise."""
    codes, distinct = pd.factorize(sounds)
    rows = vectors.index.get_indexer([stimulus_name(sound) for sound in distinct])
    if (missing := rows < 0).any():
        name = stimulus_name(distinct[int(np.argmax(missing))])
        raise ValueError(
            f"The 'features' of PrecomputedFeatures lack a vector of {name!r} ({missing.sum()} of {len(rows)} stimuli). "
            f"They have for example {list(vectors.index[:3])}. Names must be equal."
        )
    return rows[codes]

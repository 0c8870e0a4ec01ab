"""Reconstructor of the mel spectrogram and audio of continuous speech."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, _clone_parametrized, _fit_context, clone
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._estimators import (
    DocLinkMixin,
    find_decoder_in_estimator,
    find_innermost_estimator,
    iter_estimator_levels,
    list_estimators_inside,
    make_estimator_fit_params,
    unwrap_decoder_of_estimator,
)
from sk_b2s._utils._validation import validate_rows_in_step, validate_table
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._likelihood._decoder import LikelihoodDecoder
from sk_b2s.evaluation._reconstruction._feature_prior import FeaturePrior
from sk_b2s.evaluation._reconstruction._reconstruct import (
    check_reconstruction_estimates,
    reconstruct_recordings,
)
from sk_b2s.evaluation._reconstruction._result import MEAN
from sk_b2s.features._read_audio import AUDIO_SFREQ
from sk_b2s.model_selection._exposure import warn_of_exposure
from sk_b2s.synthesis._averages import AVERAGES, average_reconstruction
from sk_b2s.synthesis._confidence import make_confidence_fade
from sk_b2s.synthesis._overlap_add import find_overlap_add_table, overlap_add_recording
from sk_b2s.synthesis._targets import choose_reconstruction_target, compute_reconstruction_targets
from sk_b2s.synthesis._vocoder import check_vocoder_mel, mel_to_audio
from sk_b2s.synthesis._wav_files import write_wav

MOST_SEGMENTS = 500  # training segments from which the statistics of bands are computed
TINY = 1e-6


class SpeechReconstructor(DocLinkMixin, BaseEstimator):
    """Reconstruct the mel spectrogram of speech, and make it audible.

    A decoder estimates speech features of windows of EEG/MEG. Overlapping
    windows are averaged to continuous recordings, and a vocoder synthesizes
    audio. Neither a language model nor a model of phonemes is used, so no word
    is invented.

    Parameters
    ----------
    decoder : estimator
        Decoder of the package, or a Pipeline that ends in one. It is cloned.
        If its ``speech`` has a step :class:`~sk_b2s.MelSpectrogram`, the
        result has these bands. For other features of audio, bands of a mel
        spectrogram are estimated from them by linear regression. With
        ``speech=None``, ``y`` must contain log mel spectra.
    method : {"regression", "retrieval"}, default="regression"
        With "regression", ``transform`` of the decoder estimates the features.
        With "retrieval", the estimate of a window is the mean of the features
        of all candidates, weighted by their probability. Any decoder can be
        used, and the default candidates are the training segments.
    vocoder : {"griffinlim"} or callable, default="griffinlim"
        ``vocoder(mel, mel_sfreq)`` returns audio at 16 kHz, of shape
        (n_samples,), as :func:`mel_to_audio`. A fitted
        :class:`~sk_b2s.SpeakerVoice` makes the sound of this voice. It is not
        cloned.
    target : {"auto", "mel", "features"}, default="auto"
        What is reconstructed and passed to the vocoder. "mel" are log mel
        spectra. "features" are the pretrained features of the step
        :class:`~sk_b2s.Wav2Vec2Features` in ``speech`` of the decoder, for
        vocoders that take them. In this case, "bands" and ``mel`` are these
        features everywhere. "auto" is "features" if the vocoder is a
        SpeakerVoice of the same model and layers, which are matched more
        accurately than mel spectra. Otherwise it is "mel".

    Attributes
    ----------
    decoder_ : estimator
        Fitted decoder.
    target_ : {"mel", "features"}
        What is reconstructed.
    sfreq_ : float
        Frames per second, 50 if the decoder was fitted on arrays.
    mel_mean_, mel_std_ : ndarray of shape (n_mels,)
        Mean and standard deviation of the log mel spectra in training.
    mel_map_ : ndarray of shape (n_features + 1, n_mels)
        Linear map of the features of the decoder to log mel spectra. The last
        row is the intercept.

    See Also
    --------
    sk_b2s.reconstruct : Features of a decoder, without audio.

    Notes
    -----
    Audio of a vocoder is not evidence. Word error rates and opinion scores of
    audio behind a trained vocoder or language model score that model. Report
    ``score`` with its null distribution, and audio of a reconstructor that was
    fitted on :class:`~sk_b2s.SurrogateRecordings`.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s import RidgeDecoder
    >>> X = np.random.default_rng(0).standard_normal((24, 4, 50))
    >>> reconstructor = SpeechReconstructor(RidgeDecoder(sfreq=50))
    >>> reconstructor = reconstructor.fit(X, X[:, :3])
    >>> mel = reconstructor.predict(X)[0]
    >>> mel.shape, reconstructor.to_audio(mel).shape
    ((1200, 3), (384000,))
    """

    _parameter_constraints = {
        "decoder": [HasMethods(["fit"])],
        "method": [StrOptions({"regression", "retrieval"})],
        "vocoder": [StrOptions({"griffinlim"}), callable],
        "target": [StrOptions({"auto", "mel", "features"})],
    }

    def __init__(self, decoder, method="regression", vocoder="griffinlim", target="auto"):
        self.decoder = decoder
        self.method = method
        self.vocoder = vocoder
        self.target = target

    def __sklearn_clone__(self):
        """Clone the decoder, and share the vocoder, which is fitted before."""
        clone_of_self = _clone_parametrized(self)
        clone_of_self.vocoder = self.vocoder
        return clone_of_self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # windows of recordings
        return tags

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, calibration=None):
        """Fit the decoder, and the statistics of the mel bands.

        Parameters
        ----------
        X : DataFrame, Windows or array-like of shape (n_windows, ...)
            EEG/MEG windows, as the decoder expects them.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            Stimulus segments, or log mel spectra.
        calibration : array-like of bool of shape (n_windows,), default=None
            Rows of a new subject, for :class:`~sk_b2s.CalibratedDecoder`.
            Other decoders do not use it.

        Returns
        -------
        self : SpeechReconstructor

        Raises
        ------
        TypeError
            If ``method`` is "regression", and the decoder does not estimate
            features, such as :class:`~sk_b2s.EnsembleDecoder`.
        ValueError
            If X and y do not match, if ``y`` has no audio, or if ``vocoder``
            and ``target`` do not match.
        """
        decoder, _ = find_decoder_in_estimator(self.decoder)
        is_estimate = hasattr(decoder, "transform") and not list_estimators_inside(decoder)
        if self.method == "regression" and not is_estimate:
            raise TypeError(
                f"{type(decoder).__name__} does not estimate speech features. Use SpeechReconstructor(decoder, "
                f"method='retrieval'), or one of its members."
            )
        self.target_ = choose_reconstruction_target(self.target, self.decoder, self.vocoder)
        parameters = {} if calibration is None else make_estimator_fit_params(self.decoder, calibration)
        self.decoder_ = clone(self.decoder).fit(X, y, **parameters)
        if self.method == "regression":
            check_reconstruction_estimates(find_innermost_estimator(self.decoder_, fitted=True)[0])
        segments = self._select_segments(y)
        features, mel = self._compute_features(segments), self._compute_mel(segments)
        self.sfreq_ = 50.0 if mel.sfreq is None else float(mel.sfreq)
        mel = _flatten_frames_of_windows(mel)
        self.mel_mean_, self.mel_std_ = mel.mean(0), mel.std(0)
        if (self.mel_std_ < TINY).all():
            raise ValueError(
                "The mel spectra of y are constant, so the training stimuli are silent or their files are empty. Check the "
                "column 'sound' of y."
            )
        if features is None:  # candidates are averaged as mel spectra
            self.mel_map_ = np.vstack([np.eye(mel.shape[1]), np.zeros(mel.shape[1])])
        else:
            flat = _flatten_frames_of_windows(features)
            if len(flat) != len(mel):
                raise ValueError(
                    f"The features of the decoder must have the rate of the reconstruction, {self.sfreq_:g} Hz. Got {len(flat)} "
                    f"frames instead of {len(mel)}. Change 'sfreq' of the speech features."
                )
            design = np.c_[flat, np.ones(len(flat))]
            self.mel_map_ = np.linalg.lstsq(design, mel, rcond=None)[0]
        return self

    def predict(self, X, candidates=None):
        """Estimate the log mel spectra of each recording.

        Parameters
        ----------
        X : DataFrame, Windows or array-like of shape (n_windows, ...)
            EEG/MEG windows. They may overlap, and need not be at words.
            Windows of an array are consecutive.
        candidates : DataFrame, Windows or array-like, default=None
            Candidate segments of ``method="retrieval"``. If None, the segments
            of ``fit``.

        Returns
        -------
        mel : list of ndarray of shape (n_frames, n_mels)
            One per recording, in order of appearance, see
            :meth:`list_recordings`. Frames without a window are NaN.
        """
        return self._add_windows(X, candidates)[0]

    def list_recordings(self, X):
        """List the recordings of ``predict``.

        Parameters
        ----------
        X : DataFrame, Windows or array-like of shape (n_windows, ...)
            EEG/MEG windows.

        Returns
        -------
        rows : DataFrame of shape (n_recordings, ...)
            ``study`` (if known), ``subject``, ``recording``, ``onset`` of the
            first frame in the recording (s) and ``n_windows``.
        """
        return self._add_windows(X)[1]

    def reconstruct(self, X, y, average=None):
        """Estimate the log mel spectra of stimuli, next to the true ones.

        Parameters
        ----------
        X : DataFrame, Windows or array-like of shape (n_windows, ...)
            EEG/MEG windows.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            Stimulus segments, or log mel spectra.
        average : {None, "subjects", "repeats"}, default=None
            If "subjects", the estimates of all recordings are averaged at
            equal times of the stimulus, after their bands are standardized. If
            "repeats", those of each subject. If None, single recordings.

        Returns
        -------
        result : ReconstructionResult
            Estimate and target of each recording, in time of the stimulus. An
            average has one recording, with the frames of all stimuli.

        Raises
        ------
        ValueError
            If no window is during a stimulus, or all stimuli are silent.
        """
        if average is not None and average not in AVERAGES:
            raise ValueError(
                f"The 'average' parameter must be None or one of {list(AVERAGES)}. Got {average!r}."
            )
        check_is_fitted(self)
        decoder, windows = unwrap_decoder_of_estimator(self.decoder_, X, "SpeechReconstructor")
        validate_rows_in_step(X, y)
        targets = self._compute_mel(y)
        warn_of_exposure(self.decoder_, self, y)  # the decoder does not warn itself
        estimates = _LogMelEstimates(self, decoder, self._get_weights(targets))
        result = reconstruct_recordings(estimates, windows, targets, find_overlap_add_table(X, windows))
        if all((target.std(1) < TINY).all() for target in result.target):
            raise ValueError(
                "The mel spectra of y are constant, so the stimuli are silent or their files are empty. Check the column "
                "'sound' of y."
            )
        return result if average is None else average_reconstruction(result, average)

    def score(self, X, y, average=None):
        """Compute the mean correlation of the bands.

        Parameters
        ----------
        X : DataFrame, Windows or array-like of shape (n_windows, ...)
            EEG/MEG windows.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            Stimulus segments, or log mel spectra.
        average : {None, "subjects", "repeats"}, default=None
            Recordings that are averaged before, see :meth:`reconstruct`.

        Returns
        -------
        r : float
            Pearson correlation over the frames of a recording, averaged over
            bands, recordings and subjects, as in the auditory EEG challenge.
            The chance level is 0.
        """
        scores = self.reconstruct(X, y, average).correlations(n_shifts=0)
        return float(scores.loc[scores["band"] == MEAN, "r"].mean())

    def to_audio(self, mel, sfreq=16000, confidence=None, threshold=0.95, match_level=True):
        """Synthesize audio of one recording.

        Parameters
        ----------
        mel : array-like of shape (n_frames, n_mels)
            Log mel spectra. NaN is silent.
        sfreq : int, default=16000
            Sampling rate of the audio in Hz.
        confidence : array-like of shape (n_seconds,), default=None
            Confidence of each second, see :func:`compute_confidence`. If
            None, the audio is not faded.
        threshold : float, default=0.95
            Seconds of less confidence, or NaN, fade to silence.
        match_level : bool, default=True
            If True, the bands are scaled to mean and standard deviation of
            training, because regression shrinks estimates to the mean. This
            does not change correlations. Bands that are constant are kept.

        Returns
        -------
        audio : ndarray of shape (n_samples,)
            float32 from -1 to 1.

        Raises
        ------
        ValueError
            If ``mel`` has other bands than in ``fit``, or the vocoder returns
            no audio.
        """
        check_is_fitted(self)
        mel = check_vocoder_mel(mel)
        if mel.shape[1] != len(self.mel_mean_):
            raise ValueError(
                f"The 'mel' parameter must have {len(self.mel_mean_)} bands, as in fit. Got {mel.shape[1]} instead."
            )
        mel = self._match_level(mel) if match_level else mel
        if self.vocoder == "griffinlim":
            if self.target_ == "features":
                raise ValueError(
                    "The vocoder 'griffinlim' takes mel spectra, and this reconstructor estimates pretrained features. Use a "
                    "SpeakerVoice, or fit it with target='mel'."
                )
            audio = mel_to_audio(mel, self.sfreq_, sfreq)
        else:
            audio = _call_vocoder(self.vocoder, mel, self.sfreq_, sfreq)
        return (
            audio
            if confidence is None
            else audio * make_confidence_fade(confidence, threshold, len(audio), sfreq)
        )

    @property
    def metadata(self):
        """Metadata for WAV files, with the consent of a speaker's voice."""
        of_voice = getattr(self.vocoder, "metadata", None)
        voice = {} if of_voice is None else dict(of_voice)
        name = self.vocoder if isinstance(self.vocoder, str) else type(self.vocoder).__name__
        return {"synthetic": True, "source": "estimated from EEG/MEG", "vocoder": name, **voice}

    def write(self, path, audio, sfreq=16000):
        """Write audio to a WAV file with its metadata.

        Parameters
        ----------
        path : str, Path or file object
            WAV file. An existing file is replaced.
        audio : array-like of shape (n_samples,)
            Output of :meth:`to_audio`.
        sfreq : int, default=16000
            Sampling rate of the audio in Hz.
        """
        write_wav(path, audio, sfreq, self.metadata)

    # --- parts -------------------------------------------------------------------------------------

    def _add_windows(self, X, candidates=None):
        """Return the estimates and rows of all recordings."""
        check_is_fitted(self)
        if not len(X):
            raise ValueError(
                "X must have at least one window. Got none. Check that the recordings have stimuli, or use windows on a regular "
                "grid."
            )
        decoder, windows = unwrap_decoder_of_estimator(self.decoder_, X, "SpeechReconstructor")
        estimates = self._estimate(decoder, windows, candidates)
        return overlap_add_recording(
            estimates, self._get_weights(estimates), find_overlap_add_table(X, windows), self.sfreq_
        )

    def _get_weights(self, targets):
        """Return the weight of each frame of a window."""
        *_, decoder = iter_estimator_levels(self.decoder_)
        weights = getattr(decoder, "frame_weights_", None)
        return np.ones(targets.shape[2]) if weights is None else np.asarray(weights, float)

    def _estimate(self, decoder, windows, candidates=None):
        """Estimate log mel windows: (n_windows, n_mels, n_frames)."""
        if self.method == "retrieval":
            segments = decoder.segments_ if candidates is None else candidates
            probability = decoder.predict_proba(windows, segments)
            first = find_distinct_candidates(segments).first
            segments = segments.iloc[first] if isinstance(segments, pd.DataFrame) else segments[first]
            mel = self._compute_mel(segments).gather(np.arange(len(first))).cpu().numpy()
            return np.tensordot(probability, mel, axes=1)
        check_reconstruction_estimates(decoder)
        estimates = decoder.transform(windows)
        estimates = estimates.reshape(*estimates.shape[:2], -1)
        if isinstance(decoder, LikelihoodDecoder):
            estimates = FeaturePrior(decoder._targets(decoder.segments_)).apply(estimates)
        return self._map_to_mel(estimates)

    def _map_to_mel(self, features):
        """Map feature windows to log mel windows: (n, n_mels, n_frames)."""
        weights, intercept = self.mel_map_[:-1], self.mel_map_[-1]
        return np.einsum("nft,fm->nmt", features, weights) + intercept[:, None]

    def _select_segments(self, y):
        """Return a sample of the distinct segments of y."""
        first = find_distinct_candidates(y).first
        rows = first[np.unique(np.linspace(0, len(first) - 1, MOST_SEGMENTS).round().astype(int))]
        return y.iloc[rows] if isinstance(y, pd.DataFrame) else y[rows]

    def _compute_features(self, y):
        """Compute the features of the decoder, None if it has several."""
        *_, decoder = iter_estimator_levels(self.decoder_)
        if self.method == "retrieval" or not hasattr(decoder, "_targets"):
            return None
        return decoder._targets(validate_table(y) if decoder.speech is not None else y)

    def _compute_mel(self, y):
        """Compute the true windows of segments, by default log mel spectra."""
        return compute_reconstruction_targets(self.decoder_, y, self.target_)

    def _match_level(self, mel):
        """Scale bands to mean and standard deviation of training."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # bands without a frame
            mean, std = np.nanmean(mel, 0), np.nanstd(mel, 0)
        scaled = (mel - mean) / np.where(std > TINY, std, 1) * self.mel_std_ + self.mel_mean_
        return np.where(std > TINY, scaled, mel)


class _LogMelEstimates:
    """Log mel estimates with the interface of a decoder."""

    def __init__(self, reconstructor, decoder, weights):
        self._reconstructor, self._decoder, self.frame_weights_ = reconstructor, decoder, weights

    def transform(self, windows):
        return self._reconstructor._estimate(self._decoder, windows)


def _flatten_frames_of_windows(windows):
    """Return all frames of windows: (n_windows * n_frames, n_features)."""
    values = windows.gather(np.arange(len(windows))).cpu().numpy().astype(float)
    return values.transpose(0, 2, 1).reshape(-1, values.shape[1])


def _call_vocoder(vocoder, mel, mel_sfreq, sfreq):
    """Call a vocoder of the user, and check and resample its audio.

    Frames that are NaN get the mean of the others, and are silent.
    """
    from scipy.signal import resample_poly

    is_known = np.isfinite(mel).all(1)
    if not is_known.any():
        return np.zeros(round(len(mel) / mel_sfreq * sfreq), np.float32)
    audio = np.asarray(vocoder(np.where(is_known[:, None], mel, mel[is_known].mean(0)), mel_sfreq), float)
    if audio.ndim != 1 or not len(audio) or not np.isfinite(audio).all():
        raise ValueError(
            f"The 'vocoder' parameter must return finite audio of shape (n_samples,) at 16 kHz. Got an array of shape "
            f"{audio.shape} instead."
        )
    frame = np.minimum(np.arange(len(audio)) * mel_sfreq / AUDIO_SFREQ, len(mel) - 1).astype(int)
    audio = audio * is_known[frame]
    audio = audio if sfreq == AUDIO_SFREQ else resample_poly(audio, int(sfreq), AUDIO_SFREQ)
    return (audio / max(1.0, abs(audio).max())).astype(np.float32)

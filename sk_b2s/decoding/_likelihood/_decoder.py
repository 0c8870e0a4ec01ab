"""Decoder by likelihood: a forward model of the responses to candidates."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s.decoding._likelihood._adaptation import MODEL, LikelihoodAdaptationMixin
from sk_b2s.decoding._likelihood._fitting import BATCH_BYTES, LikelihoodFittingMixin
from sk_b2s.decoding._likelihood._noise import whiten_noise
from sk_b2s.decoding._likelihood._response import lag_response_features
from sk_b2s.decoding._likelihood._selection import LikelihoodSelectionMixin
from sk_b2s.decoding._mixins import EstimatesMixin
from sk_b2s.decoding._ridge_base import RidgeDecodingMixin
from sk_b2s.metrics._tiled import CHUNK_BYTES, check_tiled_estimates

SMALLEST_SHARE = 1e-3  # of the mean energy, below which candidates are not scaled to it


class LikelihoodDecoder(
    LikelihoodAdaptationMixin,
    LikelihoodFittingMixin,
    LikelihoodSelectionMixin,
    RidgeDecodingMixin,
    EstimatesMixin,
    BaseEstimator,
):
    r"""Rank candidates by the likelihood of the EEG/MEG that they would evoke.

    A forward temporal response function predicts EEG/MEG from the speech
    features of each candidate [1]_, and the noise determines how probable the
    difference is:

    .. math:: x(j) = \sum_l H_l \, (y(j - l) - m) + n(j)

    with frames j and lags l. Each subject has its own responses H and its own
    noise n, which is modeled by spatial filters and an autoregressive process
    that all channels share. In contrast to :class:`RidgeDecoder`, the model
    does not estimate speech features, so it needs as many responses as there
    are independent sources of them, not as there are features.

    The similarity of a window x to a candidate c is the difference between its
    log-likelihood with and without the response, in nats:

    .. math:: g \, \langle x_w, p_c \rangle - g^2 |p_c|^2 / 2

    with the whitened window :math:`x_w`, the whitened prediction :math:`p_c`
    and the gain g, multiplied by a factor that calibrates probabilities on
    held-out rows. :meth:`predict_proba` is the posterior probability for equal
    prior probabilities. Similarities of repetitions, subjects and successive
    windows add up, as by ``RetrievalResult.average(total=True)``.

    Parameters
    ----------
    speech : estimator or None, default=None
        Transformer from the table of stimulus segments to speech features,
        fitted on the training rows only. If None, ``y`` must contain the
        features. Features should have similar scales, as by
        :class:`~sk_b2s.FeatureScaler`. Onsets in addition to a spectrogram,
        combined by :class:`~sk_b2s.SpeechFeatureUnion`, are recommended.
    lags : (float, float), default=(0.0, 0.5)
        First and last lag of EEG/MEG after the stimulus in seconds, rounded to
        frames. Lags add to ``Epocher(lag=...)``, as in :class:`RidgeDecoder`.
    n_components : int or None, default=40
        Number of principal components of the features that responses are
        estimated to, if there are more features. None uses all features.
        Memory grows with the square and time with the cube of components times
        lags.
    rank : int or "auto", default="auto"
        Number of spatial patterns per subject. "auto" selects up to 8 in
        cross-validation.
    order : int or "auto", default="auto"
        Order of the autoregressive process. "auto" selects it for each subject
        by the Bayesian information criterion. 0 assumes white noise.
    clip : float or None, default=2.0
        Largest root mean square over the spatially whitened channels of a
        frame, relative to the median. Frames with more are scaled down. None
        has no limit.
    normalize : bool or "auto", default="auto"
        Whether predictions of all candidates of a subject are scaled to equal
        norm, which suits responses that grow less than the features. "auto"
        selects it by the probability of the target segments in
        cross-validation.
    max_iter : int, default=10
        Largest number of iterations of the expectation-maximization algorithm
        that estimates the prior of responses from all subjects. The number is
        selected in cross-validation. With 1, each subject has a ridge
        regression of its own with a fixed regularization parameter.
    cv : int or splitter, default=3
        Cross-validation that selects the rank and the number of iterations. An
        int is the number of folds. Folds are stimulus blocks as in
        :class:`RidgeDecoder`, and equal for all subjects. A splitter must have
        a method ``split(X, y)`` and is given rows of ``y`` of all subjects.
    sfreq : float or None, default=None
        Sampling rate of arrays in Hz, which converts lags to frames.
        ``Windows`` provide it.
    k : int, default=10
        Number of candidates that count as a hit in :meth:`score`.
    unseen_subject : {"average", "error"}, default="average"
        Prediction for subjects that are not in the training data. "average"
        uses the mean over subjects of responses and of noise covariances.
        "error" raises. With minutes of calibration data, :meth:`adapt` is
        better.
    context : bool, default=False
        Whether candidates include the features of their stimulus before and
        after the segment, as far as lags reach. They evoke responses within
        the window, of which it uses no more EEG/MEG. If False, and in arrays,
        these features have their mean value. ``fit`` estimates the same
        responses.

    Attributes
    ----------
    coef_ : ndarray of shape (n_models, n_lags, n_inputs, rank)
        Responses of the spatial patterns of each subject of ``subjects_`` to
        the inputs, which are the features or their components. The last model
        is the average over subjects.
    filters_ : ndarray of shape (n_models, n_channels, rank)
        Filters from spatially whitened channels to patterns.
    spatial_patterns_ : ndarray of shape (n_models, rank, n_channels)
        Patterns: responses of the channels are ``coef_ @ spatial_patterns_``.
        Decoders that former versions saved do not have it.
    mean_ : ndarray of shape (n_models, n_channels)
        Channel means.
    unmix_ : ndarray of shape (n_models, n_channels, n_channels)
        Filters that decorrelate the channels, in columns.
    limit_ : ndarray of shape (n_models,)
        Largest root mean square over their outputs.
    time_filter_ : ndarray of shape (n_models, n_frames, n_frames)
        Filters that decorrelate the frames of a window.
    order_ : ndarray of int of shape (n_subjects,)
        Orders of the autoregressive process.
    speech_mean_ : ndarray of shape (n_features,)
        Training means m of the features.
    speech_components_ : ndarray of shape (n_features, n_inputs)
        Principal components of the features, or the identity.
    prior_columns_ : ndarray of shape (n_columns, n_columns)
        Prior covariance of responses over lags and inputs, n_columns =
        n_lags * n_inputs.
    prior_channels_ : ndarray of shape (n_channels, n_channels)
        Prior covariance over channels.
    n_iter_, rank_ : int
        Selected number of iterations and rank.
    gain_ : float
        Gain g, estimated on held-out rows.
    energy_ : ndarray of shape (n_models,)
        Mean of :math:`|p_c|^2` over training windows, the norm of normalized
        predictions.
    normalize_ : bool
        Whether predictions are normalized.
    scale_ : float
        Factor of the log-likelihood that calibrates probabilities on held-out
        rows. It is below 1 if frames of the whitened noise are not
        independent.
    cv_scores_ : ndarray of shape (max_iter, n_ranks)
        Log-likelihood of held-out rows at the best gain, in nats, for each
        number of iterations and rank. NaN without selection.
    lags_ : ndarray of shape (n_lags,)
        Lags in seconds.
    lag_frames_ : ndarray of int of shape (n_lags,)
        Lags in frames of the speech features.
    subjects_ : ndarray of shape (n_subjects,)
        Sorted training subjects, and those added by :meth:`adapt`.
    segments_ : DataFrame, Windows or ndarray
        Distinct segments of ``fit``, the default candidates of
        :meth:`predict`.
    speech_ : estimator or None
        Fitted ``speech``.
    frame_weights_ : ndarray of shape (n_frames,)
        Number of EEG/MEG samples in each frame, which are averaged.
    recording_intervals_ : StimulusIntervals or None
        Intervals of the recordings in ``fit``. :meth:`predict` without
        candidates warns about other intervals.
    stimulus_intervals_ : StimulusIntervals or None
        Intervals of the stimuli in ``fit``. :meth:`score` warns if it is
        given the same stimuli.
    n_features_in_, n_features_out_, n_times_in_ : int
        Number of channels, of speech features and of samples in a window.

    Raises
    ------
    ValueError
        If X and y do not match, a sampling rate or stimulus blocks are
        missing, or a value is NaN.

    Warns
    -----
    ConvergenceWarning
        If the response of a subject does not predict held-out EEG/MEG. The
        message names the subjects.
    UserWarning
        If a channel of X contains the audio signal.

    See Also
    --------
    ForwardTRF : Response of each channel, for interpretation.
    RidgeDecoder : Estimate speech features from EEG/MEG.
    BrainEncoder : Convolutional decoder with the same methods.

    Notes
    -----
    The prior of a response, of shape (n_columns, n_channels), is normal with
    mean 0 and the covariance :math:`K \otimes Q`, the former over lags and
    features, the latter over channels before whitening. Both are estimated by
    maximizing the likelihood over all subjects [2]_. Subjects share the
    features, lags and sensors that respond, but patterns and latencies are
    their own. With a single subject, the prior
    regularizes directions that no channel responds to. A prior mean over
    subjects gained nothing more in simulations.

    Only windows that are needed to cover the recordings are used in ``fit``,
    and only frames with all lags inside of the window. In prediction, features
    before the window have their mean value unless ``context=True``, and all
    frames are used.

    References
    ----------
    .. [1] Lalor, Foxe (2010). Neural responses to uninterrupted natural speech
       can be extracted with precise temporal resolution. European Journal of
       Neuroscience 31:189. https://doi.org/10.1111/j.1460-9568.2009.07055.x
    .. [2] Dutilleul (1999). The MLE algorithm for the matrix normal
       distribution. Journal of Statistical Computation and Simulation 64:105.
       https://doi.org/10.1080/00949659908811970

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.decoding import LikelihoodDecoder
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal((60, 1, 30)).astype("float32")
    >>> eeg = np.roll(np.repeat(speech, 4, axis=1), 2, axis=2)  # 0.2 s
    >>> eeg += rng.standard_normal(eeg.shape).astype("float32")
    >>> decoder = LikelihoodDecoder(lags=(0, 0.3), sfreq=10, k=1)
    >>> decoder = decoder.fit(eeg[:50], speech[:50])
    >>> float(decoder.lags_[abs(decoder.coef_[0]).sum((1, 2)).argmax()])
    0.2
    >>> decoder.score(eeg[50:], speech[50:])
    1.0
    """

    _parameter_constraints = {
        "speech": [HasMethods(["fit", "transform"]), None],
        "lags": ["array-like"],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "rank": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "order": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "clip": [Interval(Real, 0, None, closed="neither"), None],
        "normalize": ["boolean", StrOptions({"auto"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"])],
        "sfreq": [Interval(Real, 0, None, closed="neither"), None],
        "k": [Interval(Integral, 1, None, closed="left")],
        "unseen_subject": [StrOptions({"average", "error"})],
        "context": ["boolean"],
    }

    def __init__(
        self,
        speech=None,
        lags=(0.0, 0.5),
        n_components=40,
        rank="auto",
        order="auto",
        clip=2.0,
        normalize="auto",
        max_iter=10,
        cv=3,
        sfreq=None,
        k=10,
        unseen_subject="average",
        context=False,
    ):
        self.speech = speech
        self.lags = lags
        self.n_components = n_components
        self.rank = rank
        self.order = order
        self.clip = clip
        self.normalize = normalize
        self.max_iter = max_iter
        self.cv = cv
        self.sfreq = sfreq
        self.k = k
        self.unseen_subject = unseen_subject
        self.context = context

    # --- hooks of RetrievalMixin -------------------------------------------------------------------

    def _model(self, index):
        """Return the arrays of a model, the average for -1."""
        return [getattr(self, name)[index] for name in MODEL if hasattr(self, name)]

    def _components(self, X, rows, model):
        """Whiten and filter windows: (n_rows, n_frames, rank)."""
        mean, unmix, limit, time_filter, filters, *_ = model
        return whiten_noise(self._pool(X.gather(rows)), mean, unmix, float(limit), time_filter, filters)

    def _make_embedder(self, X):
        X = self._check_windows(X)
        model = self._get_subject_index(X)

        def embed(indices):
            out = torch.empty(len(indices), self.n_features_out_, len(self.frame_weights_))
            for index in np.unique(model[indices]):
                mine = np.flatnonzero(model[indices] == index)
                one = self._model(index)
                out[mine] = self._match(self._components(X, indices[mine], one), one)
            return out

        return embed, len(model)

    def _match(self, components, model):
        """Filter components by the response, reversed in time."""
        time_filter, coef = (torch.as_tensor(part).float() for part in (model[3], model[5]))
        back = lag_response_features(time_filter.T @ components, -self.lag_frames_[::-1])
        weights = coef.flip(0).permute(0, 2, 1).flatten(0, 1)  # (n_lags * rank, n_inputs)
        components = torch.from_numpy(self.speech_components_).float()
        return (back @ weights @ components.T).transpose(1, 2)

    def _predict_components(self, targets, model):
        """Predict the components that candidates evoke.

        Returns a Tensor of shape (n_candidates, n_frames * rank).
        """
        time_filter, coef = (torch.as_tensor(part).float() for part in (model[3], model[5]))
        n_frames = len(self.frame_weights_)
        out = torch.empty(len(targets), n_frames * coef.shape[2])
        rows = np.arange(len(targets))
        width = n_frames * max(coef.shape[0] * coef.shape[1], self.n_speech_features_)
        for piece in slice_rows_into_chunks(len(targets), count_chunk_rows(BATCH_BYTES, width)):
            predicted = self._lag_candidates(targets, rows[piece]) @ coef.flatten(0, 1)
            out[piece] = (time_filter @ predicted).flatten(1)
        return out

    def _lag_candidates(self, targets, rows):
        """Lag the features of candidates: (n_rows, n_frames, n_columns)."""
        if not self.context:
            return self._lagged(targets.gather(rows))
        before, after = max(int(self.lag_frames_[-1]), 0), max(-int(self.lag_frames_[0]), 0)
        n_excess = targets.shape[2] - len(self.frame_weights_)
        mean = torch.from_numpy(self.speech_mean_).float()
        return self._lagged(targets.gather_context(rows, before, after - n_excess, mean), before, after)

    def _scores(self, X, candidates):
        X = self._check_windows(X)
        return self._iter_scores(X, self._get_subject_index(X), candidates)

    def _iter_scores(self, X, model, candidates):
        """Yield rows and their log-likelihood ratios with all candidates."""
        predicted = {index: self._predict_candidates(candidates, index) for index in np.unique(model)}
        width = max(len(candidates), len(self.frame_weights_) * self.n_features_in_)
        for piece in slice_rows_into_chunks(len(X), count_chunk_rows(CHUNK_BYTES, width)):
            rows = np.arange(piece.start, piece.stop)
            scores = torch.empty(len(rows), len(candidates))
            for index in np.unique(model[rows]):
                mine = np.flatnonzero(model[rows] == index)
                found = self._components(X, rows[mine], self._model(index)).flatten(1)
                check_tiled_estimates(found, rows[mine])
                evoked, norms = predicted[index]
                scores[mine] = found @ evoked.T - norms
            yield rows, scores

    def _predict_candidates(self, candidates, index):
        """Return scaled predictions, and half their squared norms."""
        model = self._model(index)
        evoked = self._predict_components(candidates, model)
        squares = evoked.square().sum(1)
        if len(bad := torch.nonzero(~torch.isfinite(squares))[:, 0]):
            raise ValueError(
                f"The features of {len(bad)} candidates are NaN or infinite, the first those of candidate {int(bad[0])}. "
                f"Check y and the output of speech."
            )
        gain = self._gains(squares, float(model[-1]), self.normalize_)
        return self.scale_ * gain[:, None] * evoked, self.scale_ * gain.square() * squares / 2

    def _gains(self, squares, energy, normalize):
        """Return the gain of each candidate, of shape (n_candidates,)."""
        if not normalize:
            return torch.full_like(squares, self.gain_)
        return self.gain_ * (energy / squares.clamp(min=SMALLEST_SHARE * energy)).sqrt()

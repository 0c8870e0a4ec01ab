"""Decoder by likelihood: a forward model of the responses to candidates."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s._utils._validation import validate_rows_in_step
from sk_b2s.decoding._base import RetrievalMixin
from sk_b2s.decoding._likelihood._adaptation import MODEL, LikelihoodAdaptationMixin
from sk_b2s.decoding._likelihood._noise import average_noise, fit_noise, whiten
from sk_b2s.decoding._likelihood._response import (
    ResponseMoments,
    cut_rank,
    iter_responses,
    lag_features,
    score_ranks,
    sum_response_moments,
)
from sk_b2s.decoding._ridge_base import (
    RidgeMixin,
    check_ridge_lags,
    check_ridge_rate,
    check_ridge_values,
    iter_ridge_splits,
    sum_ridge_frames,
)
from sk_b2s.decoding._stimulus_artifacts import warn_stimulus_artifact_channels
from sk_b2s.metrics._tiled import CHUNK_BYTES, check_tiled_estimates
from sk_b2s.preprocessing._windows import get_subjects_of_windows

NOISE_BYTES = 2**27  # of the frames that the noise of a subject is estimated from
BATCH_BYTES = 2**26  # of lagged features
MOST_RANK = 8  # that "auto" selects from
TOLERANCE = 0.01  # of the log-likelihood, within which the least rank is taken
MOST_HELDOUT = 200  # windows of a subject and fold that calibrate
SCALES = (0.01, 10.0)  # of log-likelihoods
SMALLEST_SHARE = 1e-3  # of the mean energy, below which candidates are not scaled to it
LEAST_GAIN = 1e-3  # keeps the order of candidates without a relation
DEFLATE = 0.5  # of the number of frames, because whitened frames are not completely independent


class LikelihoodDecoder(
    LikelihoodAdaptationMixin, RidgeMixin, RetrievalMixin, TransformerMixin, BaseEstimator
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

    Attributes
    ----------
    coef_ : ndarray of shape (n_models, n_lags, n_inputs, rank)
        Responses of the spatial patterns of each subject of ``subjects_`` to
        the inputs, which are the features or their components. The last model
        is the average over subjects.
    filters_ : ndarray of shape (n_models, n_channels, rank)
        Filters from spatially whitened channels to patterns.
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
    before the window have their mean value, and all frames are used.

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

    # --- fitting -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Fit the noise and the response of each subject.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows. ``Windows`` provide subjects and their sampling
            rate. An array has one unnamed subject and the rate ``sfreq``.
        y : DataFrame, Windows or array-like of shape \
(n_windows[, n_features[, n_frames]])
            Stimulus segments for ``speech``, or features without ``speech``.
            One row per window.

        Returns
        -------
        self : LikelihoodDecoder
            The fitted decoder.
        """
        for name in ("adaptations_", "adaptation_rows_"):  # of an earlier fit
            vars(self).pop(name, None)
        X = self._check_windows(X, reset=True)
        y = self._check_y(y)
        validate_rows_in_step(X, y)
        check_ridge_lags(self.lags)
        check_ridge_rate(self.sfreq, X)
        segments = self._fit_segments(y).target
        self._fit_stimulus_intervals(y)
        self._fit_recording_intervals(X)
        targets = self._fit_speech(y, np.arange(len(y)))
        warn_stimulus_artifact_channels(X, y, targets)
        self._frames = self._fit_frames(X, y, targets)
        self._fit_lags(X, targets)
        self._fit_models(X, targets, y, segments)
        return self

    def _fit_models(self, X, targets, y, segments):
        """Fit the noise and the response of each subject."""
        subjects = get_subjects_of_windows(X)
        self.subjects_ = np.unique(subjects)
        used = self._select_cover(X)
        self._fit_inputs(targets, used)
        rows = [used[subjects[used] == name] for name in self.subjects_]
        noise = [self._fit_noise(X, part) for part in rows]
        folds = [self._make_folds(y, segments, part) for part in rows]
        n_folds = min(map(len, folds))
        parts = [self._sum_moments(X, targets, *one) for one in zip(rows, noise, folds, strict=True)]
        filters = [one.filters for one in noise]
        heldout = self._select(parts, noise, n_folds)
        self._calibrate(X, targets, segments, folds, heldout)
        every = [part[0] for part in parts]
        *_, (responses, prior) = iter_responses(every, filters, self.n_iter_)
        self.prior_columns_, self.prior_channels_ = prior.columns, prior.channels
        models = [
            self._make_model(*cut_rank(response, moments, self.rank_), moments, one)
            for response, moments, one in zip(responses, every, noise, strict=True)
        ]
        models.append(self._average_models(responses, every, noise))
        for name, values in zip(MODEL, zip(*models, strict=True), strict=True):
            setattr(self, name, np.stack(values).astype(np.float32))
        self.order_ = np.array([one.order for one in noise])

    def _average_models(self, responses, moments, noise):
        """Return the model of an unseen subject."""
        average = average_noise(noise)
        back = [np.linalg.pinv(one.filters) for one in noise]
        response = np.mean([one @ two for one, two in zip(responses, back, strict=True)], axis=0)
        moments = sum(moments[1:], start=moments[0])
        cut = cut_rank(response @ average.filters, moments, self.rank_)
        return self._make_model(*cut, moments, average)

    def _select_cover(self, X):
        """Select windows whose inner frames cover those of all windows."""
        return select_cover(X, self._inner_frames() / len(self.frame_weights_))

    def _inner_frames(self):
        """Return the number of frames with all lags inside of the window."""
        start, stop = self._inner_range()
        return stop - start

    def _inner_range(self):
        """Return the frames with all lags, at least half of the window."""
        n_frames = len(self.frame_weights_)
        start, stop = max(int(self.lag_frames_[-1]), 0), n_frames + min(int(self.lag_frames_[0]), 0)
        return (start, stop) if stop - start >= n_frames / 2 else (0, n_frames)

    def _fit_inputs(self, targets, rows):
        """Set the mean and the principal components of the features."""
        n_features, total, square = targets.shape[1], 0.0, 0.0
        reduce = self.n_components is not None and self.n_components < n_features
        for piece in slice_rows_into_chunks(len(rows), count_chunk_rows(BATCH_BYTES, *targets.shape[1:])):
            features = targets.gather(rows[piece]).transpose(1, 2).flatten(0, 1).double()
            total = total + features.mean(0) * len(rows[piece]) / len(rows)
            if reduce:
                square = square + features.mT @ features / (len(rows) * targets.shape[2])
        check_ridge_values(y=total)
        self.speech_mean_, self.speech_components_ = total.numpy(), np.eye(n_features)
        if reduce:
            vectors = torch.linalg.eigh(square - torch.outer(total, total)).eigenvectors
            self.speech_components_ = vectors[:, -self.n_components :].flip(1).numpy()

    def _fit_noise(self, X, rows):
        """Estimate the noise of a subject from evenly spaced windows."""
        most = max(2, NOISE_BYTES // (4 * self.n_features_in_ * len(self.frame_weights_)))
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
        frames = self._pool(X.gather(rows))
        check_ridge_values(X=frames.mean((0, 1)))
        return fit_noise(frames, self.order, self.clip)

    def _pool(self, batch):
        """Average the samples of each frame, 0 without samples.

        (n_windows, n_channels, n_times) -> (n_windows, n_frames, n_channels)
        """
        weights = torch.from_numpy(self.frame_weights_).to(batch)[:, None]
        return sum_ridge_frames(batch, torch.from_numpy(self._frames), len(weights)) / weights.clamp(min=1)

    def _make_folds(self, y, segments, rows):
        """Split the rows of a subject: list of (train, test)."""
        if self.rank != "auto" and self.max_iter == 1:
            return []
        return list(iter_ridge_splits(y, segments, rows, self.cv))

    def _sum_moments(self, X, targets, rows, noise, folds):
        """Sum moments of all rows, and of both parts of each fold."""
        roles = np.stack(
            [np.ones(len(rows), bool), *(np.isin(rows, part) for fold in folds for part in fold)]
        )
        kinds, code = np.unique(roles, axis=1, return_inverse=True)
        code = code.ravel()
        shape = len(self.lag_frames_) * self.speech_components_.shape[1], self.n_features_in_
        sums = []
        for kind in range(kinds.shape[1]):
            batches = self._whitened_batches(X, targets, rows[code == kind], noise)
            sums.append(sum_response_moments(batches, *shape))
        share = DEFLATE * self._distinct_share(X, rows)
        nothing = ResponseMoments(0.0, np.zeros((shape[0], shape[0])), np.zeros(shape))
        return [
            sum((one for one, has in zip(sums, role, strict=True) if has), start=nothing).scaled(share)
            for role in kinds
        ]

    def _distinct_share(self, X, rows):
        """Return the share of inner frames that are distinct."""
        share = self._inner_frames() / len(self.frame_weights_)
        stops, total = {}, 0.0
        order = np.lexsort((X.start[rows], X.which[rows]))
        for row in rows[order]:
            start, length = X.start[row], share * X.n_read
            stop = stops.get(X.which[row], -np.inf)
            total += min(length, start + length - stop)
            stops[X.which[row]] = max(stop, start + length)
        return total / (len(rows) * share * X.n_read)

    def _whitened_batches(self, X, targets, rows, noise):
        """Yield lagged features and channels of inner frames, whitened."""
        n_frames = len(self.frame_weights_)
        inner, time_filter = slice(*self._inner_range()), noise.make_time_filter(n_frames)
        rows = rows[np.argsort(X.which[rows], kind="stable")]
        width = n_frames * max(
            len(self.lag_frames_) * self.speech_components_.shape[1], self.n_speech_features_
        )
        for piece in slice_rows_into_chunks(len(rows), count_chunk_rows(BATCH_BYTES, width)):
            frames = self._pool(X.gather(rows[piece]))
            x = whiten(frames, noise.mean, noise.unmix, noise.limit, time_filter, noise.remix)
            z = time_filter @ self._lagged(targets.gather(rows[piece]))
            yield z[:, inner], x[:, inner]

    def _lagged(self, features):
        """Center, project and lag: (n_windows, n_frames, n_columns)."""
        mean, components = (
            torch.from_numpy(one).to(features) for one in (self.speech_mean_, self.speech_components_)
        )
        features = features[..., : len(self.frame_weights_)].transpose(1, 2) - mean
        return lag_features(features @ components, self.lag_frames_)

    def _select(self, parts, noise, n_folds):
        """Select the number of iterations and the rank on held-out rows.

        Returns models of each fold and subject.
        """
        most = min(MOST_RANK, *parts[0][0].cross.shape) if self.rank == "auto" else self.rank
        scores, cuts = np.zeros((self.max_iter, len(parts), 2, most)), []
        for fold in range(n_folds):
            train, test = ([part[1 + 2 * fold + side] for part in parts] for side in (0, 1))
            path = []
            for index, (found, _) in enumerate(
                iter_responses(train, [one.filters for one in noise], self.max_iter)
            ):
                path.append([cut_rank(*one, most) for one in zip(found, train, strict=True)])
                scores[index] += [score_ranks(*one, other) for one, other in zip(path[-1], test, strict=True)]
            cuts.append((path, train))
        self.n_iter_, self.rank_, self.gain_ = self.max_iter, most, 1.0
        self.cv_scores_ = np.full((self.max_iter, most), np.nan)
        if not n_folds:
            return []
        products, squares = scores[:, :, 0], np.maximum(scores[:, :, 1], 1e-30)
        self.cv_scores_ = (np.maximum(products, 0) ** 2 / squares / 2).sum(1)
        allowed = self.cv_scores_ if self.rank == "auto" else self.cv_scores_[:, -1:]
        best = find_best_settings(allowed)
        self.n_iter_ = int(best[0]) + 1
        self.rank_ = int(best[1]) + 1 if self.rank == "auto" else self.rank
        place = best[0], slice(None), self.rank_ - 1
        self.gain_ = float(max(products[place].sum() / squares[place].sum(), LEAST_GAIN))
        self._warn_of_nothing(products[place] <= 0)
        return [
            [
                self._make_model(cut[:, : self.rank_], directions[:, : self.rank_], *one)
                for (cut, directions), *one in zip(path[best[0]], train, noise, strict=True)
            ]
            for path, train in cuts
        ]

    def _calibrate(self, X, targets, segments, folds, heldout):
        """Select the normalization and the scale of the log-likelihood."""
        self.normalize_, self.scale_ = self.normalize is True, 1.0
        found = [
            part
            for fold, models in enumerate(heldout)
            for part in self._compare_heldout(X, targets, segments, [one[fold][1] for one in folds], models)
        ]
        if not found:
            return
        tried = [False, True] if self.normalize == "auto" else [self.normalize]
        best = [find_scale([self._log_likelihoods(*one, normalize) for one in found]) for normalize in tried]
        place = int(np.argmin([cost for _, cost in best]))
        self.normalize_, self.scale_ = tried[place], best[place][0]

    def _compare_heldout(self, X, targets, segments, rows, models):
        """Yield products, norms, energies and targets of held-out windows."""
        names, first = np.unique(segments[np.concatenate(rows)], return_index=True)
        candidates = targets[np.concatenate(rows)[first]]
        if len(names) < 2:
            return
        for part, model in zip(rows, models, strict=True):
            part = part[np.unique(np.linspace(0, len(part) - 1, min(len(part), MOST_HELDOUT)).astype(int))]
            evoked = self._predict_components(candidates, model)
            products = self._components(X, part, model).flatten(1) @ evoked.T
            yield products, evoked.square().sum(1), float(model[-1]), np.searchsorted(names, segments[part])

    def _log_likelihoods(self, products, squares, energy, target, normalize):
        """Return log-likelihoods of held-out windows, and their targets."""
        gain = self._gains(squares, energy, normalize)
        return products * gain - gain.square() * squares / 2, target

    def _gains(self, squares, energy, normalize):
        """Return the gain of each candidate, of shape (n_candidates,)."""
        if not normalize:
            return torch.full_like(squares, self.gain_)
        return self.gain_ * (energy / squares.clamp(min=SMALLEST_SHARE * energy)).sqrt()

    def _warn_of_nothing(self, is_nothing):
        """Warn about subjects whose response predicts no held-out EEG/MEG."""
        if not is_nothing.any():
            return
        names = ", ".join(repr(str(name)) for name in self.subjects_[is_nothing])
        warnings.warn(
            f"Cross-validation found no relation between X and y for {is_nothing.sum()} of {len(is_nothing)} subjects "
            f"({names}), so similarities are guesses. Check that X and y match and vary, or use more data.",
            ConvergenceWarning,
            stacklevel=5,
        )

    def _make_model(self, cut, directions, moments, noise):
        """Return the arrays of a model, in the order of ``MODEL``."""
        n_frames = len(self.frame_weights_)
        coef = cut.reshape(len(self.lag_frames_), self.speech_components_.shape[1], -1)
        energy = n_frames * np.einsum("ij,ij->", cut, moments.gram @ cut) / max(moments.n, 1e-30)
        filters, time_filter = noise.remix @ directions, noise.make_time_filter(n_frames)
        return noise.mean, noise.unmix, noise.limit, time_filter, filters, coef, energy

    # --- hooks of RetrievalMixin -------------------------------------------------------------------

    def _model(self, index):
        """Return the arrays of a model, the average for -1."""
        return [getattr(self, name)[index] for name in MODEL]

    def _components(self, X, rows, model):
        """Whiten and filter windows: (n_rows, n_frames, rank)."""
        mean, unmix, limit, time_filter, filters, *_ = model
        return whiten(self._pool(X.gather(rows)), mean, unmix, float(limit), time_filter, filters)

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
        back = lag_features(time_filter.T @ components, -self.lag_frames_[::-1])
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
            predicted = self._lagged(targets.gather(rows[piece])) @ coef.flatten(0, 1)
            out[piece] = (time_filter @ predicted).flatten(1)
        return out

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # the output is always float32
        return tags


def find_scale(parts):
    """Find the factor of log-likelihoods with the most probable targets.

    ``parts`` are pairs of log-likelihoods (n_windows, n_candidates) and
    targets. Returns the factor and the mean negative log-probability.
    """

    def cost(exponent):
        total = sum(
            float(
                torch.nn.functional.cross_entropy(
                    np.exp(exponent) * scores, torch.as_tensor(target), reduction="sum"
                )
            )
            for scores, target in parts
        )
        return total / sum(len(target) for _, target in parts)

    found = minimize_scalar(cost, bounds=np.log(SCALES), method="bounded")
    return float(np.exp(found.x)), found.fun


def find_best_settings(scores):
    """Return the row and column of the least rank that is as good as any.

    Of the rows, the numbers of iterations, the best for this rank is taken.
    """
    column = int(np.argmax(scores.max(0) >= (1 - TOLERANCE) * scores.max()))
    return int(np.argmax(scores[:, column])), column


def select_cover(windows, share):
    """Select windows whose inner parts cover those of all.

    ``share`` is the share of a window that is inside.
    """
    order = np.lexsort((windows.start, windows.which))
    length, keep, signal, last, candidate = share * windows.n_read, [], -1, 0, None
    for row in order:
        start = windows.start[row]
        if windows.which[row] != signal:
            if candidate is not None:
                keep.append(candidate)
            signal, last, candidate = windows.which[row], start, None
            keep.append(row)
            continue
        if start > last + length:
            if candidate is not None:
                keep.append(candidate)
                last = windows.start[candidate]
            if start > last + length:
                keep.append(row)
                last, candidate = start, None
                continue
        if start > last:
            candidate = row
    if candidate is not None:
        keep.append(candidate)
    return np.sort(np.asarray(keep, dtype=np.int64))

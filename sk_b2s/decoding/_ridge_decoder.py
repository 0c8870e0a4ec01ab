"""Backward temporal response function fitted by ridge regression."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from sk_b2s._utils._validation import check_in_step
from sk_b2s.decoding._base import RetrievalMixin
from sk_b2s.decoding._ridge_cv import (
    ALPHAS,
    check_alphas,
    check_finite,
    check_lags,
    check_rate,
    fit_subjects,
    get_frame_rate,
    select_alpha,
    slice_windows,
    warn_alpha_choice,
)
from sk_b2s.decoding._ridge_solver import compute_lagged_moments
from sk_b2s.decoding._stimulus_artifacts import warn_audio_channels
from sk_b2s.preprocessing._windows import subjects_of


class RidgeDecoder(RetrievalMixin, TransformerMixin, BaseEstimator):
    r"""Estimate speech features by a linear map of the brain in the half second after them.

    The backward temporal response function of the auditory field [1]_ [2]_:

    .. math:: \hat y_f(j) = b_f + \sum_{l, c} B_{lcf} \, (x_c(j + l) - m_c)

    where :math:`x_c(j)` is the mean of channel c over the steps of the brain in frame j of the speech
    features and :math:`m_c` its mean over training. Beyond the end of its window the brain is taken to
    be at that mean. Unlike :class:`~sk_b2s.BrainEncoder` it is linear, has a closed form, learns each
    subject alone, and minimizes a squared error instead of telling segments apart.

    Parameters
    ----------
    speech : estimator or None, default=None
        Turns the table of what was heard into features, such as
        ``make_pipeline(MelSpectrogram(), FeatureScaler())``; fitted on the training rows alone. None if
        ``y`` is numbers or Windows already.
    lags : (float, float), default=(0.0, 0.5)
        Earliest and latest brain used for a frame, in seconds after it *within the windows as cut*,
        rounded to frames. It adds to ``Epocher(lag=...)``: at a lag of 0.15 s there, the default reads
        the brain from 0.15 to 0.65 s after the sound. Lags may be negative; those that no frame of the
        window has are left out. Where ``y`` is one vector for a window there is one frame, the mean of
        the window, and no lag but 0.
    alphas : tuple of float, default=(1e-6, 1e-5, ..., 1e3)
        Strengths tried, in units of the mean eigenvalue of the lagged brain's covariance, so that they
        mean the same for any unit of ``X`` and any number of windows. A single one is used as it is. Of three or more,
        strengths beyond both ends are scored as well, and a warning names the subjects for whom they are better.
    cv : int, default=3
        Folds of the training sound on which the strength is chosen: whole blocks with the gap of
        :class:`~sk_b2s.StimulusKFold` where ``y`` is, or carries, a table with blocks. Otherwise
        contiguous runs of distinct segments, in order of appearance: nothing is known of time there,
        and windows that overlap across the border of two runs are on both sides. Fewer blocks or
        segments make as many folds as they are.
    per_subject : bool, default=True
        Fit each subject alone. False pools all subjects in one model, which suits a new listener, and
        subjects with too little data of their own.
    n_components : int or None, default=None
        Principal components of the channels, per model, that the regression sees; None is all
        channels, and so is a number as high as theirs. Time and memory grow with the cube and the
        square of components times lags: hundreds of sensors need it, and 48 lose little of what a
        linear decoder can use.
    sfreq : float or None, default=None
        Rate of plain arrays in Hz, by which lags in seconds become frames. Windows know theirs.
    k : int, default=10
        ``score`` is top-k accuracy.
    unseen_subject : {"average", "error"}, default="average"
        What is done for a subject who was not in training: use the mean over subjects of coefficients,
        intercepts and channel means, or raise.

    Attributes
    ----------
    coef_ : ndarray of shape (n_models, n_lags, n_channels, n_features)
        B, in the units of channels and features, whether or not components were used; one model for
        each of ``subjects_``, or one for all.
    intercept_ : ndarray of shape (n_models, n_features)
        b.
    mean_ : ndarray of shape (n_models, n_channels)
        m.
    alpha_ : ndarray of shape (n_models,)
        Strength chosen.
    cv_scores_ : ndarray of shape (n_models, n_alphas)
        Correlation of estimate and truth, mean over features and inner folds, by which it was chosen; NaN
        where there was no choice. A correlation, because it changes smoothly where a top-k accuracy of
        a few segments jumps, and follows from sums over frames alone.
    lags_ : ndarray of shape (n_lags,)
        Lags in seconds; 0 where there is one frame.
    lag_frames_ : ndarray of int of shape (n_lags,)
        Lags in frames of the speech features.
    subjects_ : ndarray of shape (n_subjects,)
        Subjects of training, sorted.
    segments_ : DataFrame, Windows or ndarray
        The distinct segments of ``fit``, the default candidates.
    speech_ : estimator or None
        The fitted ``speech``.
    frame_weights_ : ndarray of shape (n_frames,)
        Steps of the brain in each frame. They weigh the frames in a score, not in the regression.
    recording_intervals_ : StimulusIntervals or None
        Parts of recordings in ``fit``, for the warning of ``predict`` without candidates.
    stimulus_intervals_ : StimulusIntervals or None
        Sound of ``fit``, for the warning when it is scored.
    n_features_in_, n_features_out_, n_times_in_ : int
        Channels, speech features, and steps of a window.

    Raises
    ------
    ValueError
        If X and y do not fit together, a rate or block is missing, or a value is NaN.

    Warns
    -----
    ConvergenceWarning
        If no strength has an inner correlation above 0, or one beyond the ends of ``alphas`` has one that is higher
        by more than 5 % in every inner fold. Both name the subjects.
    UserWarning
        If a channel of X holds the sound.

    Notes
    -----
    A correlation does not see the scale of an estimate, so a strength may be chosen that makes it longer or shorter
    than least squares would (four times as long, or a ninth, in simulations). No rank sees it either: the similarity
    of a window is linear in its estimate, so that a factor changes no order of candidates, and no top-k accuracy, null
    or verdict. It is seen where windows or models are added up, in ``unseen_subject="average"``, averages over people
    and probabilities. There the length of least squares is no better: of 5 simulated people at -15 dB (20 mel bands)
    top-10 was 55 % of averaged answers and 4.7 % of new listeners, and 53 and 4.3 % of estimates that were rescaled on
    the inner folds. Strengths chosen by the squared error itself were a hundred times higher or
    more and halved the accuracy, 9 % instead of 17 % of single windows.

    References
    ----------
    .. [1] Crosse, Di Liberto, Bednar, Lalor (2016). The multivariate temporal response function (mTRF)
       toolbox. Frontiers in Human Neuroscience 10:604. https://doi.org/10.3389/fnhum.2016.00604
    .. [2] Défossez et al. (2023). Decoding speech perception from non-invasive brain recordings.
       Nature Machine Intelligence 5:1097. https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal((40, 1, 30)).astype("f4")
    >>> brain = np.roll(np.repeat(speech, 4, axis=1), 2, axis=2)  # follows by two steps
    >>> brain += rng.standard_normal(brain.shape).astype("f4")
    >>> ridge = RidgeDecoder(lags=(0, 0.3), sfreq=10, k=1).fit(brain[:30], speech[:30])
    >>> float(ridge.lags_[abs(ridge.coef_).sum((0, 2, 3)).argmax()])
    0.2
    >>> ridge.score(brain[30:], speech[30:])
    1.0
    """

    _parameter_constraints = {
        "speech": [HasMethods(["fit", "transform"]), None],
        "lags": ["array-like"],
        "alphas": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"])],
        "per_subject": ["boolean"],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "sfreq": [Interval(Real, 0, None, closed="neither"), None],
        "k": [Interval(Integral, 1, None, closed="left")],
        "unseen_subject": [StrOptions({"average", "error"})],
    }

    def __init__(
        self,
        speech=None,
        lags=(0.0, 0.5),
        alphas=ALPHAS,
        cv=3,
        per_subject=True,
        n_components=None,
        sfreq=None,
        k=10,
        unseen_subject="average",
    ):
        self.speech = speech
        self.lags = lags
        self.alphas = alphas
        self.cv = cv
        self.per_subject = per_subject
        self.n_components = n_components
        self.sfreq = sfreq
        self.k = k
        self.unseen_subject = unseen_subject

    # --- fitting -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Fit the regression of each subject, or of all.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            What the brain did. Windows carry subjects and their rate; a plain array is one unnamed
            subject at the rate ``sfreq``.
        y : DataFrame, Windows or array-like of shape (n_windows[, n_features[, n_frames]])
            What was heard: the table of segments for ``speech``, else features.

        Returns
        -------
        self : RidgeDecoder
        """
        X = self._check_windows(X, reset=True)
        y = self._check_y(y)
        check_in_step(X, y)
        self._check_parameters(X)
        segments = self._fit_segments(y).target
        self._fit_stimulus_intervals(y)
        self._fit_recording_intervals(X)
        targets = self._fit_speech(y, np.arange(len(y)))
        warn_audio_channels(X, y, targets)
        self._frames = self._fit_frames(X, y, targets)
        self._fit_lags(X, targets)
        fit = partial(self._fit_model, X, targets, y, segments)
        self.subjects_, self.coef_, self.intercept_, self.mean_, *chosen = fit_subjects(
            fit, subjects_of(X), self.per_subject
        )
        self.alpha_, self.cv_scores_, beyond = chosen
        warn_alpha_choice(self, beyond)
        return self

    def _check_parameters(self, X):
        check_alphas(self.alphas)
        check_lags(self.lags)
        check_rate(self.sfreq, X)

    def _fit_lags(self, X, targets):
        """Turn lags in seconds into frames that occur in a window."""
        n_frames = targets.shape[2]
        if n_frames == 1:
            self.lag_frames_, self.lags_ = np.zeros(1, int), np.zeros(1)
            return
        rate = get_frame_rate(X, targets, self)
        first, last = np.round(check_lags(self.lags) * rate).astype(int)
        first, last = max(first, 1 - n_frames), min(last, n_frames - 1)
        if first > last:
            raise ValueError(
                f"lags={self.lags!r} lie outside the window of {n_frames / rate:.3f} s: no frame has brain so late."
            )
        self.lag_frames_ = np.arange(first, last + 1)
        self.lags_ = self.lag_frames_ / rate

    def _fit_model(self, X, targets, y, segments, rows):
        """Fit one model: coefficients, intercept, channel means, strength, inner scores."""
        mean, components, offset = self._centre(X, targets, rows)
        shape = len(self.lag_frames_), components.shape[1], self.n_features_out_

        def moments(rows):
            batches = (
                (brain @ components, speech - offset)
                for brain, speech in self._batches(X, targets, rows, mean)
            )
            return compute_lagged_moments(batches, self.lag_frames_, *shape[1:])

        everything, coef, *chosen = select_alpha(moments, rows, y, segments, self.alphas, self.cv)
        intercept = offset.numpy() + (everything.y - everything.x @ coef) / everything.n
        coef = components.numpy() @ coef.reshape(shape)
        return *(a.astype(np.float32) for a in (coef, intercept, mean.numpy())), *chosen

    def _centre(self, X, targets, rows):
        """Mean and components of the channels, and mean of the features: float64 Tensors."""
        n_channels = X.shape[1]
        reduce = self.n_components is not None and self.n_components < n_channels
        x_sum, y_sum = torch.zeros(n_channels).double(), torch.zeros(self.n_features_out_).double()
        products = torch.zeros(n_channels, n_channels).double()
        for brain, speech in self._batches(X, targets, rows, torch.zeros(n_channels)):
            flat = brain.reshape(-1, n_channels)
            x_sum += flat.sum(0)
            y_sum += speech.sum((0, 1))
            if reduce:
                products += flat.T @ flat
        n_frames = np.count_nonzero(self.frame_weights_) * len(rows)
        mean, offset = x_sum / n_frames, y_sum / (len(self.frame_weights_) * len(rows))
        check_finite(X=mean, y=offset)
        if not reduce:
            return mean, torch.eye(n_channels).double(), offset
        covariance = products / n_frames - torch.outer(mean, mean)
        return mean, torch.linalg.eigh(covariance).eigenvectors[:, -self.n_components :], offset

    # --- windows, pooled to the frames of the speech features --------------------------------------

    def _batches(self, X, targets, rows, mean):
        """Yield (brain, speech) of some rows, time-major float64, a bounded number at a time."""
        rows = rows[np.argsort(X.which[rows], kind="stable")]  # gathered without a detour
        for part in slice_windows(len(rows), X, targets):
            brain = self._pool(X.gather(rows[part]).double(), mean)
            yield brain, targets.gather(rows[part]).double().transpose(1, 2)

    def _pool(self, batch, mean):
        """Center channels and take the mean of each frame's steps; a frame without a step is at the mean.

        (n_windows, n_channels, n_times) -> (n_windows, n_frames, n_channels)
        """
        batch = batch.transpose(1, 2)
        weights = torch.from_numpy(self.frame_weights_).to(batch)[:, None]
        sums = batch.new_zeros(len(batch), len(weights), batch.shape[2])
        sums.index_add_(1, torch.from_numpy(self._frames), batch)
        return (sums - weights * mean) / weights.clamp(min=1)

    # --- what RetrievalMixin asks for --------------------------------------------------------------

    def _make_embedder(self, X):
        X = self._check_windows(X)
        model = self._get_subject_index(X)
        if not self.per_subject:
            model = np.zeros_like(model)
        models = [
            tuple(torch.from_numpy(a) for a in (self.coef_[i], self.intercept_[i], self.mean_[i]))
            for i in range(len(self.coef_))
        ]
        models.append(tuple(torch.stack(part).mean(0) for part in zip(*models, strict=True)))

        def embed(indices):
            out = torch.empty(len(indices), self.n_features_out_, len(self.frame_weights_))
            for part in slice_windows(len(indices), X, out):
                rows = indices[part]
                batch, of_rows = X.gather(rows), model[rows]
                for index in np.unique(of_rows):
                    mine = np.flatnonzero(of_rows == index)
                    out[part][mine] = self._estimate(batch[mine], *models[index])
            return out

        return embed, len(X)

    def _estimate(self, batch, coef, intercept, mean):
        """Apply one model: (n_windows, n_channels, n_times) -> (n_windows, n_features, n_frames)."""
        brain = self._pool(batch, mean).transpose(1, 2)
        reach = -int(self.lag_frames_[0]), int(self.lag_frames_[-1])
        padded = torch.nn.functional.pad(brain, reach)
        return torch.nn.functional.conv1d(padded, coef.permute(2, 1, 0), intercept)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # float32 comes out whatever went in
        tags.target_tags.required = True
        return tags

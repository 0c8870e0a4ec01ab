"""Backward temporal response function fitted by ridge regression."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from sk_b2s.decoding._incremental._ridge import PartialFitRidgeMixin
from sk_b2s.decoding._mixins import EstimatesMixin
from sk_b2s.decoding._ridge_base import (
    ALPHAS,
    RidgeDecodingMixin,
    check_ridge_alphas,
    check_ridge_values,
    slice_ridge_windows,
)
from sk_b2s.decoding._ridge_solver import compute_ridge_moments, solve_ridge_patterns, sum_ridge_frames
from sk_b2s.decoding._trf._context import find_adjoining_spans, find_context_frames, read_context_frames
from sk_b2s.decoding._trf._weights import TRFWeightsMixin
from sk_b2s.preprocessing._windows._checks import check_windows_equal_lengths


class RidgeDecoder(TRFWeightsMixin, PartialFitRidgeMixin, RidgeDecodingMixin, EstimatesMixin, BaseEstimator):
    r"""Backward temporal response function fitted by ridge regression.

    The model estimates each speech feature from lagged EEG/MEG channels
    [1]_ [2]_:

    .. math:: \hat y_f(j) = b_f + \sum_{l, c} B_{lcf} \, (x_c(j + l) - m_c)

    where :math:`x_c(j)` is the mean of channel c over the samples in frame j
    of the speech features, and :math:`m_c` is its training mean, which
    replaces samples beyond the ends of the window unless ``context=True``.

    In contrast to :class:`BrainEncoder`, the model is linear, is fitted in
    closed form with one model per subject by default, and minimizes a squared
    error instead of a contrastive loss.

    Parameters
    ----------
    speech : estimator or None, default=None
        Transformer from the table of stimulus segments to speech features, for
        example ``make_pipeline(MelSpectrogram(), FeatureScaler())``, fitted on
        the training rows only. If None, ``y`` must contain the features.
    lags : (float, float), default=(0.0, 0.5)
        First and last lag of EEG/MEG after the stimulus in seconds, rounded to
        frames. Lags add to ``Epocher(lag=...)``. With a lag of 0.15 s there,
        the default uses EEG/MEG from 0.15 to 0.65 s after the stimulus. Lags
        may be negative, and must be shorter than the window. If ``y`` has one
        vector per window, the window is one frame and the only lag is 0.
    alphas : tuple of float, default=(1e-6, 1e-5, ..., 1e3)
        Candidate regularization parameters, in units of the mean eigenvalue of
        the covariance of the lagged channels, so that they do not depend on
        the unit of X or the number of windows. A single value is used without
        selection. For three or more, values beyond both ends are also scored,
        and a warning names the subjects with better scores there.
    cv : int or splitter, default=3
        Cross-validation that selects ``alpha_`` by the mean correlation over
        features. An int is the number of folds. Folds are stimulus blocks with
        the gap of :class:`StimulusKFold` if ``y`` has a table with blocks.
        Otherwise they are contiguous runs of distinct segments in order of
        appearance, so that overlapping windows can be on both sides of a
        border. There are fewer folds if there are fewer blocks or segments. A
        splitter must have a method ``split(X, y)`` and is given the rows of
        ``y`` of each model.
    per_subject : bool, default=True
        If True, fit one model per subject. If False, fit one model to all
        subjects, which suits unseen subjects and small amounts of data.
    n_components : int or None, default=None
        Number of principal components of the channels that each model uses. If
        None, or not below the number of channels, use all channels. Memory
        grows with the square and time with the cube of components times lags.
        With hundreds of sensors, 48 components lose little of the linearly
        decodable information.
    sfreq : float or None, default=None
        Sampling rate of arrays in Hz, which converts lags to frames.
        ``Windows`` provide it.
    k : int, default=10
        Number of candidates that count as a hit in :meth:`score`.
    unseen_subject : {"average", "error"}, default="average"
        Prediction for subjects that are not in the training data. "average"
        uses the mean over subjects of coefficients, intercepts and channel
        means. "error" raises.
    context : bool, default=False
        Whether lags read EEG/MEG beyond the ends of a window. With True,
        ``fit`` reads the samples of windows of X that adjoin a window, and no
        others, so that test windows, gaps and bad stretches stay excluded.
        Predictions read the recording up to ``lags`` beyond each end, which
        stays clear of bad stretches if ``margin`` of :func:`make_segments` is
        at least as long as the largest lag plus that of the Epocher. Weights
        and correlations then do not depend on the length of windows and equal
        those of the mTRF-Toolbox on whole trials. A retrieval then uses more
        EEG/MEG than the duration of its windows. Arrays have no samples beyond
        a window. Windows must have equal lengths, and a
        :class:`StreamingDecoder` needs False.

    Attributes
    ----------
    coef_ : ndarray of shape (n_models, n_lags, n_channels, n_features)
        Coefficients B, in the units of channels and features. One model for
        each of ``subjects_``, or one for all.
    patterns_ : ndarray of shape (n_models, n_lags, n_channels, n_features)
        Patterns [3]_, the covariance of lagged channels with the estimates
        times the inverse covariance of the features. Their unit is that of
        channels per unit of features. Unlike coefficients, they show where and
        when a channel follows speech. Their amplitude decreases with
        ``alpha_``. With ``n_components``, they are those of the components.
    intercept_ : ndarray of shape (n_models, n_features)
        Intercepts b.
    mean_ : ndarray of shape (n_models, n_channels)
        Training means m of the channels.
    alpha_ : ndarray of shape (n_models,)
        Selected regularization parameters.
    cv_scores_ : ndarray of shape (n_models, n_alphas)
        Mean correlation over features and folds for each of ``alphas``. NaN
        without selection.
    lags_ : ndarray of shape (n_lags,)
        Lags in seconds.
    lag_frames_ : ndarray of int of shape (n_lags,)
        Lags in frames of the speech features.
    subjects_ : ndarray of shape (n_subjects,)
        Sorted training subjects.
    segments_ : DataFrame, Windows or ndarray
        Distinct segments of ``fit``, the default candidates of
        :meth:`predict`.
    speech_ : estimator or None
        Fitted ``speech``.
    frame_weights_ : ndarray of shape (n_frames,)
        Number of EEG/MEG samples in each frame. Similarities are weighted by
        it, the regression is not.
    recording_intervals_ : StimulusIntervals or None
        Intervals of the recordings in ``fit``. :meth:`predict` without
        candidates warns about other intervals.
    stimulus_intervals_ : StimulusIntervals or None
        Intervals of the stimuli in ``fit``. :meth:`score` warns if it is
        given the same stimuli.
    n_features_in_, n_features_out_, n_times_in_ : int
        Number of channels, of speech features and of samples in a window.
    ch_names_ : tuple of str or None
        Names of channels, if X has them.
    moments_ : dict of str to IncrementalMoments
        Sums of each model, by subject. Only after :meth:`partial_fit`.
    positions_ : ndarray of shape (n_channels, 2) or None
        Sensor positions on the unit square, each in the first recording that
        has it.

    Raises
    ------
    ValueError
        If X and y do not match, a sampling rate or stimulus blocks are
        missing, or a value is NaN.

    Warns
    -----
    ConvergenceWarning
        If no correlation in cross-validation is above 0, or if a value beyond
        the ends of ``alphas`` is better by more than 5 % in every fold. The
        message names the subjects.
    UserWarning
        If a channel of X contains the audio signal.

    See Also
    --------
    BrainEncoder : Convolutional decoder with the same methods.
    ForwardTRF : Predict EEG/MEG from speech features.
    sk_b2s.cross_val_reconstruction : Correlation with the true features.

    Notes
    -----
    ``alpha_`` is selected by a correlation because it changes smoothly,
    whereas the top-k accuracy of a few segments does not. Correlations do not
    depend on the amplitude of the estimate, which can thus differ from that of
    least squares, by factors between 1/9 and 4 in simulations. Ranks do not
    depend on it either, because similarities are linear in the estimate. The
    amplitude matters for probabilities and for averages over windows, subjects
    or models. In simulations with 5 subjects at -15 dB and 20 mel bands,
    top-10 accuracy was 55 % for averages over subjects and 4.7 % for unseen
    subjects, compared with 53 % and 4.3 % for estimates scaled to least
    squares in cross-validation. Selection by the squared error gave values of
    ``alpha_`` at least a hundred times higher and an accuracy of 9 % instead
    of 17 %.

    :func:`~sk_b2s.plotting.plot_trf` draws ``patterns_``, and
    ``mne.decoding.get_coef(pipeline, "patterns_")`` returns them. After a
    :class:`RobustChannelScaler` that was fitted on an array, they are in the
    units of the sensors if multiplied by ``scaler.scale_[:, None]``. Do not
    use ``get_coef(..., inverse_transform=True)``, which also adds the center
    of each channel, as for any scaler that has one.

    References
    ----------
    .. [1] Crosse, Di Liberto, Bednar, Lalor (2016). The multivariate temporal
       response function (mTRF) toolbox. Frontiers in Human Neuroscience
       10:604. https://doi.org/10.3389/fnhum.2016.00604
    .. [2] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5
    .. [3] Haufe, Meinecke, Görgen et al. (2014). On the interpretation of
       weight vectors of linear models in multivariate neuroimaging. NeuroImage
       87:96. https://doi.org/10.1016/j.neuroimage.2013.10.067

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.decoding import RidgeDecoder
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal((40, 1, 30)).astype("float32")
    >>> eeg = np.roll(np.repeat(speech, 4, axis=1), 2, axis=2)  # 0.2 s
    >>> eeg += rng.standard_normal(eeg.shape).astype("float32")
    >>> ridge = RidgeDecoder(lags=(0, 0.3), sfreq=10, k=1)
    >>> ridge = ridge.fit(eeg[:30], speech[:30])
    >>> float(ridge.lags_[abs(ridge.coef_).sum((0, 2, 3)).argmax()])
    0.2
    >>> ridge.score(eeg[30:], speech[30:])
    1.0
    """

    accepts_unequal_lengths = True  # zeros in X and y do not change the products
    _parameter_constraints = {
        **RidgeDecodingMixin._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "k": [Interval(Integral, 1, None, closed="left")],
        "unseen_subject": [StrOptions({"average", "error"})],
        "context": ["boolean"],
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
        context=False,
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
        self.context = context

    # --- fitting -----------------------------------------------------------------------------------

    def _check_windows(self, X, reset=False, any_channels=False):
        if self.context if reset else self._has_context():
            check_windows_equal_lengths(X, "RidgeDecoder(context=True)")
        return super()._check_windows(X, reset, any_channels)

    def _check_parameters(self, X):
        check_ridge_alphas(self.alphas)
        super()._check_parameters(X)

    def _count_required_segments(self):
        return 1 if len(self.alphas) == 1 else 2  # one stimulus suffices for a reconstruction

    def _fit_lags(self, X, targets):
        super()._fit_lags(X, targets)
        vars(self).pop("_context_frames", None)  # of an earlier fit
        if self.context:
            self._context_frames = find_context_frames(X, targets, self.lag_frames_)

    def _has_context(self):
        """Return whether the models were fitted with ``context=True``."""
        return hasattr(self, "_context_frames")

    def _fit_model(self, X, targets, y, segments, rows):
        """Fit one model: coefficients, intercept, means, alpha, scores."""
        mean, components, offset, cov_yy = self._compute_means(X, targets, rows)
        shape = len(self.lag_frames_), components.shape[1], self.n_features_out_
        spans = find_adjoining_spans(X) if self.context else None

        def read(rows):
            if self.context:
                eeg = read_context_frames(X, rows, self._context_frames, self._frames, mean, spans)
                return eeg @ components
            eeg = X.gather(rows)  # projected in float32, the type of X
            eeg = eeg if shape[1] == X.shape[1] else (eeg.mT @ components.float()).mT
            return self._pool(eeg.double(), mean @ components)

        def moments(rows):
            batches = (
                (read(part), targets.gather(part).transpose(1, 2).double() - offset)
                for part in self._iter_rows(X, targets, rows)
            )
            return compute_ridge_moments(batches, self.lag_frames_, *shape[1:], has_context=self.context)

        everything, coef, intercept, *chosen = self._regress(moments, rows, y, segments, offset)
        patterns = solve_ridge_patterns(coef, everything.centered()[0], cov_yy)
        coef, patterns = (components.numpy() @ part.reshape(shape) for part in (coef, patterns))
        arrays = (part.astype(np.float32) for part in (coef, intercept, mean.numpy()))
        return *arrays, *chosen, patterns.astype(np.float32)

    def _compute_means(self, X, targets, rows):
        """Return means, components, and mean and covariance of features."""
        n_channels = X.shape[1]
        reduce = self.n_components is not None and self.n_components < n_channels
        x_sum, y_sum = torch.zeros(n_channels).double(), torch.zeros(self.n_features_out_).double()
        yy = torch.zeros(len(y_sum), len(y_sum)).double()
        products, shift, used = torch.zeros(n_channels, n_channels).double(), None, self.frame_weights_ > 0
        for eeg, speech in self._iter_batches(X, targets, rows):
            flat = self._pool(eeg, torch.zeros(n_channels))[:, used].reshape(-1, n_channels)
            x_sum += flat.sum(0, dtype=torch.float64)
            y_sum += speech.sum((0, 1), dtype=torch.float64)
            speech = speech.reshape(-1, len(y_sum)).double()
            yy += speech.T @ speech
            if reduce:
                shift = flat.mean(0) if shift is None else shift
                flat = flat - shift  # for centered channels, float32 is precise enough
                products += flat.T @ flat
        mean = x_sum / (np.count_nonzero(used) * len(rows))
        offset = y_sum / (len(used) * len(rows))
        check_ridge_values(X=mean, y=offset)
        cov_yy = (yy / (len(used) * len(rows)) - torch.outer(offset, offset)).numpy()
        if not reduce:
            return mean, torch.eye(n_channels).double(), offset, cov_yy
        covariance = products / (np.count_nonzero(used) * len(rows)) - torch.outer(mean - shift, mean - shift)
        return mean, torch.linalg.eigh(covariance).eigenvectors[:, -self.n_components :], offset, cov_yy

    def _pool(self, batch, mean):
        """Center channels and average each frame, 0 without samples.

        (n_windows, n_channels, n_times) -> (n_windows, n_frames, n_channels)
        """
        if np.array_equal(self._frames, np.arange(len(self.frame_weights_))):
            return batch.transpose(1, 2) - mean
        weights = torch.from_numpy(self.frame_weights_).to(batch)[:, None]
        sums = sum_ridge_frames(batch, torch.from_numpy(self._frames), len(weights))
        return (sums - weights * mean) / weights.clamp(min=1)

    # --- hooks of RetrievalMixin -------------------------------------------------------------------

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
        reach, context = (-int(self.lag_frames_[0]), int(self.lag_frames_[-1])), self._has_context()

        def embed(indices):
            out = torch.empty(len(indices), self.n_features_out_, len(self.frame_weights_))
            for part in slice_ridge_windows(len(indices), X, out):
                rows = indices[part]
                batch, of_rows = None if context else X.gather(rows), model[rows]
                for index in np.unique(of_rows):
                    mine = np.flatnonzero(of_rows == index)
                    coef, intercept, mean = models[index]
                    if context:
                        eeg = read_context_frames(X, rows[mine], self._context_frames, self._frames, mean).mT
                    else:
                        eeg = torch.nn.functional.pad(self._pool(batch[mine], mean).mT, reach)
                    out[part][mine] = torch.nn.functional.conv1d(eeg, coef.permute(2, 1, 0), intercept)
            return out

        return embed, len(X)

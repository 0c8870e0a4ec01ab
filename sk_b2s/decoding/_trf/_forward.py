"""Forward temporal response function fitted by ridge regression."""

from __future__ import annotations

import warnings
from numbers import Integral

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted

from sk_b2s._utils._estimators import clone_estimator_speech
from sk_b2s._utils._validation import is_validated_text, validate_rows_in_step, validate_table
from sk_b2s.decoding._candidates import (
    check_candidates_vary,
    find_distinct_candidates,
    make_candidate_windows,
)
from sk_b2s.decoding._incremental._forward import PartialFitForwardMixin
from sk_b2s.decoding._ridge_base import (
    ALPHAS,
    RidgeMixin,
    check_ridge_alphas,
    check_ridge_rate,
    check_ridge_values,
    get_ridge_frame_rate,
    select_ridge_lags,
)
from sk_b2s.decoding._ridge_solver import (
    compute_ridge_moments,
    correlate_ridge_channels,
    standardize_for_ridge_solver,
    sum_ridge_frames,
)
from sk_b2s.decoding._stimulus_artifacts import warn_stimulus_artifact_channels
from sk_b2s.decoding._trf._bands import make_bands_of_features, make_ridge_bands
from sk_b2s.decoding._trf._null import correlate_trf_shifts
from sk_b2s.decoding._trf._weights import TRFWeightsMixin
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.metrics._frames import find_frames_of_windows
from sk_b2s.model_selection._leak_warning import warn_of_stimulus_leak
from sk_b2s.preprocessing._constant import check_not_constant, warn_of_constant
from sk_b2s.preprocessing._windows._checks import (
    check_window_subjects,
    check_windows_equal_lengths,
    check_windows_equal_shapes,
    find_window_positions,
)
from sk_b2s.preprocessing._windows._windows import Windows


class ForwardTRF(TRFWeightsMixin, PartialFitForwardMixin, RidgeMixin, BaseEstimator):
    r"""Forward temporal response function fitted by ridge regression.

    The model predicts each EEG/MEG channel from lagged speech features
    [1]_ [2]_:

    .. math:: \hat x_c(j) = b_c + \sum_{l, f} W_{lfc} \, (y_f(j - l) - m_f)

    where :math:`x_c(j)` is the mean of channel c over the samples in frame j
    of the speech features, and :math:`m_f` is the training mean of feature f.
    Features before the beginning and after the end of a window are those of
    the stimulus, so that the weights do not depend on the length of windows.
    Beyond the ends of a stimulus they are those of silence. If windows have no
    context, as in arrays, they are :math:`m_f`.

    The weights show where and when a channel follows speech. The weights of
    :class:`RidgeDecoder`, in contrast, also remove noise and cannot be
    interpreted in this way [3]_. This class does not rank segments. Its score
    is the correlation of each channel with its prediction, see
    :func:`~sk_b2s.cross_val_encoding`.

    Parameters
    ----------
    speech : estimator or None, default=None
        Transformer from the table of stimulus segments to speech features, for
        example ``make_pipeline(Envelope(), FeatureScaler())``, fitted on the
        training rows only. If None, ``y`` must contain the features. Features
        should have equal scales, because they share one regularization
        parameter.
    lags : (float, float), default=(-0.1, 0.5)
        First and last lag of EEG/MEG after the stimulus in seconds, rounded to
        frames. Lags add to ``Epocher(lag=...)``, which should be 0. Weights at
        negative lags should be small. They show the effect of sampling error,
        filters and the autocorrelation of the stimulus.
    alphas : tuple of float, default=(1e-6, 1e-5, ..., 1e3)
        Candidate regularization parameters, in units of the mean eigenvalue of
        the covariance of the lagged features. A single value is used without
        selection. For three or more, values beyond both ends are also scored,
        and a warning names the subjects with better scores there.
    cv : int or splitter, default=3
        Cross-validation that selects ``alpha_`` by the mean correlation over
        channels. An int is the number of folds: stimulus blocks with a gap if
        ``y`` has a table with blocks, as in :class:`RidgeDecoder`. A splitter
        must have a method ``split(X, y)`` and is given the rows of ``y`` of
        each model.
    per_subject : bool, default=True
        If True, fit one model per subject. If False, fit one model to all.
    sfreq : float or None, default=None
        Sampling rate of arrays in Hz, which converts lags to frames.
        ``Windows`` provide it.
    bands : None, "union", dict or sequence of int, default=None
        Feature sets with separate regularization parameters (banded ridge
        regression [4]_). "union" uses the transformers of a
        :class:`~sk_b2s.SpeechFeatureUnion` in ``speech``. A sequence has the
        number of features of each set, and a dict maps names to them. If
        None, all features share one parameter. With ``bands``, ``alphas`` can
        also be rows of one value per set, which are the only candidates.
    n_ratios : int, default=20
        Number of ratios between the regularization parameters of sets, each of
        which is tried with each of ``alphas``. The first one is equal for all
        sets, the next ones leave out single sets, and the others are spread
        evenly over four decades. Each needs an eigendecomposition per fold.
        Only used with ``bands``.

    Attributes
    ----------
    coef_ : ndarray of shape (n_models, n_lags, n_features, n_channels)
        Weights W, in the units of channels and features. One model for each of
        ``subjects_``, or one for all.
    intercept_ : ndarray of shape (n_models, n_channels)
        Intercepts b.
    mean_ : ndarray of shape (n_models, n_features)
        Training means m of the features.
    alpha_ : ndarray of shape (n_models,)
        Selected regularization parameters, with ``bands`` the geometric mean
        over sets.
    band_alphas_ : ndarray of shape (n_models, n_bands)
        Selected regularization parameters of the sets. Only with ``bands``.
    cv_scores_ : ndarray of shape (n_models, n_alphas)
        Mean correlation over channels and folds for each of ``alphas``, with
        ``bands`` that of the best ratio. NaN without selection.
    moments_ : dict of str to IncrementalMoments
        Sums of each model, by subject. Only after :meth:`partial_fit`.
    feature_sets_ : dict of str to (int, int)
        First feature of each set, and the one after its last.
    lags_ : ndarray of shape (n_lags,)
        Lags in seconds.
    subjects_ : ndarray of shape (n_subjects,)
        Sorted training subjects.
    speech_ : estimator or None
        Fitted ``speech``.
    stimulus_intervals_ : StimulusIntervals or None
        Intervals of the stimuli in ``fit``. Scores on them raise a warning.
    n_features_in_, n_features_out_ : int
        Number of channels and of speech features.
    ch_names_ : tuple of str or None
        Names of channels, if X has them.
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
    RidgeDecoder : Predict speech features from EEG/MEG.

    References
    ----------
    .. [1] Lalor, Foxe (2010). Neural responses to uninterrupted natural speech
       can be extracted with precise temporal resolution. European Journal of
       Neuroscience 31:189. https://doi.org/10.1111/j.1460-9568.2009.07055.x
    .. [2] Crosse, Di Liberto, Bednar, Lalor (2016). The multivariate temporal
       response function (mTRF) toolbox. Frontiers in Human Neuroscience
       10:604. https://doi.org/10.3389/fnhum.2016.00604
    .. [3] Haufe, Meinecke, Görgen et al. (2014). On the interpretation of
       weight vectors of linear models in multivariate neuroimaging. NeuroImage
       87:96. https://doi.org/10.1016/j.neuroimage.2013.10.067
    .. [4] Dupré la Tour, Eickenberg, Nunez-Elizalde, Gallant (2022).
       Feature-space selection with banded ridge regression. NeuroImage
       264:119728. https://doi.org/10.1016/j.neuroimage.2022.119728

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.decoding import ForwardTRF
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal((40, 1, 30))
    >>> eeg = rng.standard_normal((40, 2, 30))
    >>> eeg[:, :1] += np.roll(speech, 2, axis=2)  # a lag of 0.2 s
    >>> trf = ForwardTRF(lags=(0, 0.3), sfreq=10).fit(eeg[:30], speech[:30])
    >>> float(trf.lags_[abs(trf.coef_[0, :, 0, 0]).argmax()])
    0.2
    >>> float(trf.correlations(eeg[30:], speech[30:])["r"].round(1)[0])
    0.6
    """

    _parameter_constraints = {
        **RidgeMixin._parameter_constraints,
        "bands": [StrOptions({"union"}), dict, "array-like", None],
        "n_ratios": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self, speech=None, lags=(-0.1, 0.5), alphas=ALPHAS, cv=3, per_subject=True, sfreq=None, bands=None, n_ratios=20
    ):  # fmt: skip
        self.speech = speech
        self.lags = lags
        self.alphas = alphas
        self.cv = cv
        self.per_subject = per_subject
        self.sfreq = sfreq
        self.bands = bands
        self.n_ratios = n_ratios

    # --- fitting -----------------------------------------------------------------------------------

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # pairs of windows
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Fit one model per subject, or one for all.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels, n_times)
            EEG/MEG windows. ``Windows`` provide subjects and their sampling
            rate. An array has one unnamed subject and the rate ``sfreq``.
        y : DataFrame, Windows or array-like of shape \
(n_windows, n_features, n_frames)
            Stimulus segments for ``speech``, or features without ``speech``.

        Returns
        -------
        self : ForwardTRF
            The fitted model.
        """
        X = self._check_inputs(X, y)
        targets = self._fit_inputs(X, y)
        warn_stimulus_artifact_channels(X, y, targets)
        segments = find_distinct_candidates(validate_table(y) if isinstance(y, pd.DataFrame) else y).target
        vars(self).pop("band_alphas_", None)  # of an earlier fit
        self._fit_models(X, targets, y, segments)
        if self.bands is not None:
            self.band_alphas_, self.alpha_ = self.alpha_, np.exp(np.log(self.alpha_).mean(1))
        return self

    def _check_inputs(self, X, y):
        """Check parameters, X and y, and return X as Windows."""
        X = _make_trf_windows(X)
        validate_rows_in_step(X, y)
        check_not_constant(X, type(self).__name__, stacklevel=4)
        if self.bands is None:
            check_ridge_alphas(self.alphas)
        return X

    def _fit_inputs(self, X, y):
        """Fit features, intervals and frames, and return the targets."""
        table = validate_table(y)
        if self.speech is not None and table is None:
            raise ValueError(
                f"ForwardTRF(speech={type(self.speech).__name__}(...)) computes features and requires y to be the table of "
                f"segments returned by make_segments. Got {type(y).__name__}. If y contains features, set speech=None."
            )
        self.speech_ = None if self.speech is None else clone_estimator_speech(self.speech).fit(table)
        self.stimulus_intervals_ = self._find_stimulus_intervals(y)
        targets = self._targets(y)
        check_candidates_vary(targets, np.arange(len(targets)), "ForwardTRF")
        self.n_features_in_, self.n_features_out_ = X.shape[1], targets.shape[1]
        self.feature_sets_ = make_bands_of_features(self.bands, self.speech_, self.n_features_out_)
        self._fit_frames(X, targets)
        return targets

    def _find_stimulus_intervals(self, y):
        """Return the intervals of the stimuli, None if unknown."""
        table = validate_table(y)
        has_sound = table is not None and {"sound", "sound_onset", "duration"} <= set(table)
        return StimulusIntervals.from_table(table) if has_sound else None

    def _targets(self, y):
        """Compute the features of targets: Windows."""
        if self.speech_ is None:
            if isinstance(y, pd.DataFrame):
                raise ValueError(
                    "y is a table, but ForwardTRF(speech=None) expects features. Set for example "
                    "speech=make_pipeline(Envelope(), FeatureScaler())."
                )
            return y if isinstance(y, Windows) else make_candidate_windows(_check_trf_numbers(y, "y"))
        targets = self.speech_.transform(validate_table(y))
        return targets if isinstance(targets, Windows) else make_candidate_windows(targets)

    def _fit_frames(self, X, targets):
        """Set the frame of each sample, and the lags in frames."""
        frames = find_frames_of_windows(X, targets)
        self._shape = X.shape[2], targets.shape[2]
        self._frames, self._weights = torch.from_numpy(frames), torch.from_numpy(np.bincount(frames))
        check_ridge_rate(self.sfreq, X)
        n_frames, rate = len(self._weights), get_ridge_frame_rate(X, targets, self)
        self._lags = select_ridge_lags(self.lags, rate, None if targets.is_continuous else n_frames)
        self.lags_ = self._lags / rate

    def _fit_model(self, X, targets, y, segments, rows):
        """Fit one model: coefficients, intercept, means, alpha, scores."""
        mean, offset = self._means(X, targets, rows)
        shape = len(self._lags), self.n_features_out_, self.n_features_in_

        def moments(rows):
            batches = (
                (speech - mean, eeg - offset)
                for eeg, speech in self._iter_context_batches(X, targets, rows, mean)
            )
            return compute_ridge_moments(batches, -self._lags[::-1], *shape[1:], has_context=True)

        bands = None
        if self.bands is not None:
            bands = make_ridge_bands(self.feature_sets_, self.alphas, self.n_ratios)
        _, coef, intercept, *chosen = self._regress(moments, rows, y, segments, offset, bands)
        coef = coef.reshape(shape)[::-1]  # from the first lag to the last
        return *(a.astype(np.float32) for a in (coef, intercept, mean.numpy())), *chosen

    def _means(self, X, targets, rows):
        """Compute the means of features and channels: float64 Tensors."""
        sums = [torch.zeros(n).double() for n in (self.n_features_out_, self.n_features_in_)]
        for eeg, speech in self._iter_batches(X, targets, rows):
            sums[0] += speech[:, : len(self._weights)].double().sum((0, 1))
            sums[1] += self._pool(eeg.double()).sum((0, 1))
        means = [total / (len(rows) * len(self._weights)) for total in sums]
        check_ridge_values(y=means[0], X=means[1])
        return means

    def _iter_context_batches(self, X, targets, rows, mean):
        """Yield batches of EEG/MEG frames, and of features with context."""
        for piece in self._iter_rows(X, targets, rows):
            speech = self._gather(targets, piece, mean).transpose(1, 2)
            check_ridge_values(y=speech.sum((0, 1)))  # lags read frames beyond windows, too
            yield self._pool(X.gather(piece).double()), speech

    def _gather(self, targets, rows, mean):
        """Read the features of windows and of the frames that lags read."""
        n_excess = targets.shape[2] - len(self._weights)
        return targets.gather_context(rows, int(self._lags[-1]), -int(self._lags[0]) - n_excess, mean)

    def _pool(self, batch):
        """Average the samples of each frame, see :func:`sum_ridge_frames`."""
        return sum_ridge_frames(batch, self._frames, len(self._weights)) / self._weights[:, None]

    # --- prediction --------------------------------------------------------------------------------

    def predict(self, y, subjects=None):
        """Predict EEG/MEG from speech.

        Parameters
        ----------
        y : DataFrame, Windows or array-like of shape \
(n_windows, n_features, n_frames)
            Stimulus segments or features.
        subjects : None or array-like of shape (n_windows,), default=None
            Subject of each window. The mean over models is used for subjects
            that were not in training. If None, use it for all windows.

        Returns
        -------
        eeg : ndarray of shape (n_windows, n_channels, n_frames)
            Predicted channels at the rate of the speech features, float32.
            Their amplitude depends on the selected ``alpha_``.
        """
        check_is_fitted(self)
        targets = self._targets(y)
        if targets.shape[1:] != (self.n_features_out_, self._shape[1]):
            raise ValueError(
                f"y has {targets.shape[1]} features x {targets.shape[2]} frames, but fit was given {self.n_features_out_} x "
                f"{self._shape[1]}."
            )
        named = np.full(len(targets), None) if subjects is None else np.asarray(subjects).astype(str)
        if named.shape != (len(targets),):
            raise ValueError(
                f"subjects must have one name for each of {len(targets)} windows. Got the shape {named.shape}."
            )
        model = (
            pd.Index(self.subjects_).get_indexer(named) if self.per_subject else np.zeros(len(targets), int)
        )
        out = np.empty((len(targets), self.n_features_in_, len(self._weights)), np.float32)
        for index in np.unique(model):
            rows = np.flatnonzero(model == index)
            out[rows] = self._estimate(targets, rows, index)
        return out

    def _estimate(self, targets, rows, index):
        """Apply one model to some windows, or the mean model if index is -1.

        Returns a Tensor of shape (n_rows, n_channels, n_frames).
        """
        coef, intercept, mean = (
            torch.from_numpy(a.mean(0) if index < 0 else a[index])
            for a in (self.coef_, self.intercept_, self.mean_)
        )
        # Tap k of a window that begins `last` frames earlier is the feature (last - k) frames before.
        centered = self._gather(targets, rows, mean) - mean[:, None]
        return torch.nn.functional.conv1d(centered, coef.flip(0).permute(2, 1, 0), intercept)

    def correlations(self, X, y, n_shifts=0, random_state=0):
        r"""Correlate each channel with its prediction.

        Correlations are computed over all frames of the windows of a subject.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels, n_times)
            EEG/MEG windows, with stimuli that were not in ``fit``.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            Stimulus segments or features.
        n_shifts : int, default=0
            Number of circular shifts for a null distribution. Predictions are
            shifted within each recording by a number of windows, more than one
            window. With fewer than 10 such shifts, the null also includes the
            true order, so that ``null_high`` can equal ``r``. Use shorter
            windows then.
        random_state : None, int or RandomState, default=0
            Seed of the shifts.

        Returns
        -------
        topography : DataFrame of shape (n_subjects * n_channels, ...)
            ``subject`` and ``channel`` (a number if unnamed). ``x`` and ``y``,
            the position on the unit square, NaN if unknown. ``r``, Pearson's
            correlation, NaN for constant channels. ``null_low``, ``null_mean``
            and ``null_high``, the 2.5 % quantile, mean and 97.5 % quantile of
            the null, NaN without shifts and if a recording is too short or
            unknown. A channel below ``null_low`` is predicted with the wrong
            sign. ``n_windows``, where overlapping windows count separately.

        Warns
        -----
        StimulusLeakWarning
            If ``y`` contains stimuli of ``fit``.
        """
        X = _make_trf_windows(X)
        validate_rows_in_step(X, y)
        warn_of_constant(X)
        if X.shape[1:] != (self.n_features_in_, self._shape[0]):
            raise ValueError(
                f"X has {X.shape[1]} channels x {X.shape[2]} samples, but fit was given {self.n_features_in_} x "
                f"{self._shape[0]}."
            )
        if self.stimulus_intervals_ is not None and validate_table(y) is not None:
            warn_of_stimulus_leak(self.stimulus_intervals_, validate_table(y), type(self).__name__)
        subjects, random, parts = check_window_subjects(X), check_random_state(random_state), []
        for name in pd.unique(subjects):
            rows = np.flatnonzero(subjects == name)
            predicted = standardize_for_ridge_solver(self.predict(_safe_indexing(y, rows), subjects[rows]))
            eeg = standardize_for_ridge_solver(self._pool(X.gather(rows)).transpose(1, 2).numpy())
            null = correlate_trf_shifts(predicted, eeg, X, y, rows, n_shifts, random)
            place = find_window_positions(X[rows])
            place = np.full((X.shape[1], 2), np.nan) if place is None else place
            parts.append(
                pd.DataFrame({
                    "subject": name, "channel": X.ch_names or range(X.shape[1]), "x": place[:, 0], "y": place[:, 1],
                    "r": correlate_ridge_channels(predicted, eeg), "null_low": np.quantile(null, 0.025, axis=0),
                    "null_mean": null.mean(0), "null_high": np.quantile(null, 0.975, axis=0), "n_windows": len(rows),
                })
            )  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    def score(self, X, y):
        """Compute the mean correlation over channels and then over subjects.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels, n_times)
            EEG/MEG windows.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            Stimulus segments or features.

        Returns
        -------
        r : float
            Mean over the subjects with a channel that is not constant.

        Raises
        ------
        ValueError
            If all channels of all subjects are constant.

        Warns
        -----
        StimulusLeakWarning
            If ``y`` contains stimuli of ``fit``.
        UserWarning
            If all channels of a subject are constant, in X or in the
            prediction.
        """
        of_subject = self.correlations(X, y).groupby("subject", sort=False)["r"].mean()
        without = of_subject.index[of_subject.isna()].tolist()
        if len(without) == len(of_subject):
            raise ValueError(
                "The score is undefined, because all channels of all subjects or their predictions are constant. Check "
                "the files of X."
            )
        if without:
            warnings.warn(
                f"The score is the mean over {len(of_subject) - len(without)} of {len(of_subject)} subjects. All "
                f"channels of {', '.join(map(repr, without))}, or their predictions, are constant.",
                stacklevel=2,
            )
        return float(of_subject.mean())


# --- arrays ----------------------------------------------------------------------------------------


def _check_trf_numbers(data, name):
    data = check_windows_equal_shapes(data, name)
    if is_validated_text(data):
        raise ValueError(
            f"{name} must have numbers. Got text. ForwardTRF predicts EEG/MEG from features of the stimulus."
        )
    data = check_array(data, ensure_2d=False, allow_nd=True, dtype=np.float32, input_name=name)
    if data.ndim != 3:
        raise ValueError(
            f"{name} must have the shape (n_windows, channels or features, times). Got {data.shape} instead. For trials of "
            f"times and channels, use X, y = Windows.from_trials(responses, stimuli, sfreq)."
        )
    return data


def _make_trf_windows(X):
    if isinstance(X, pd.DataFrame):
        raise TypeError(
            "X must be windows, but is a table. Put an Epocher before ForwardTRF, or were X and y exchanged?"
        )
    check_windows_equal_lengths(X, "ForwardTRF")
    return X if isinstance(X, Windows) else Windows.from_array(_check_trf_numbers(X, "X"))

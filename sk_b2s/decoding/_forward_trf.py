"""Forward temporal response function: EEG/MEG predicted from speech."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, _fit_context, clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_array, check_is_fitted

from sk_b2s._utils._validation import check_in_step, table_of
from sk_b2s.decoding._candidates import check_targets_vary, find_distinct_segments, make_target_windows
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
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.metrics._frames import match_frames
from sk_b2s.metrics._null import possible_shifts
from sk_b2s.model_selection._split import warn_of_seen_stimuli
from sk_b2s.preprocessing._constant import check_not_constant, warn_of_constant
from sk_b2s.preprocessing._windows import Windows, check_equal_shapes, subjects_of


class ForwardTRF(BaseEstimator):
    r"""Predict every channel of the brain by a linear map of the speech before it.

    The forward temporal response function of the auditory field [1]_ [2]_:

    .. math:: \hat x_c(j) = b_c + \sum_{l, f} W_{lfc} \, (y_f(j - l) - m_f)

    where :math:`x_c(j)` is the mean of channel c over the steps of the brain in frame j of the speech features,
    and :math:`m_f` the mean of feature f over training, at which features are taken to be before their window
    begins. :class:`~sk_b2s.RidgeDecoder` goes the other way: its weights undo the noise of all channels
    together and say nothing of where a response is; these do [3]_. It cannot name a segment; it says how much of
    each channel follows speech, as a correlation (:func:`~sk_b2s.cross_val_encoding`).

    Parameters
    ----------
    speech : estimator or None, default=None
        Turns the table of what was heard into features, such as ``make_pipeline(Envelope(), FeatureScaler())``;
        fitted on the training rows alone. None if ``y`` is numbers or Windows already. Features should have one
        scale, for they share one strength.
    lags : (float, float), default=(-0.1, 0.5)
        Earliest and latest brain that a frame may act on, in seconds after it, rounded to frames. It adds to
        ``Epocher(lag=...)``, which is best left at 0. Weights before 0 s should be small: they show what chance,
        filters and the sound's own regularity make.
    alphas : tuple of float, default=(1e-6, 1e-5, ..., 1e3)
        Strengths tried, in units of the mean eigenvalue of the lagged features' covariance. A single one is
        used as it is. Of three or more, strengths beyond both ends are scored as well, and a warning names the
        subjects for whom they are better.
    cv : int, default=3
        Folds of the training sound on which the strength is chosen, by the mean correlation over channels: whole
        blocks where the table has them, as in :class:`~sk_b2s.RidgeDecoder`. A correlation does not see how long
        predictions are, nor does any score of this class; ``predict`` is as long as the strength makes it.
    per_subject : bool, default=True
        Fit each subject alone. False pools all.
    sfreq : float or None, default=None
        Rate of plain arrays in Hz, by which lags in seconds become frames. Windows know theirs.

    Attributes
    ----------
    coef_ : ndarray of shape (n_models, n_lags, n_features, n_channels)
        W, in the units of channels and features; one model for each of ``subjects_``, or one for all.
    intercept_ : ndarray of shape (n_models, n_channels)
        b.
    mean_ : ndarray of shape (n_models, n_features)
        m.
    alpha_ : ndarray of shape (n_models,)
        Strength chosen.
    cv_scores_ : ndarray of shape (n_models, n_alphas)
        Correlation, mean over channels and inner folds, by which it was chosen; NaN where there was no choice.
    lags_ : ndarray of shape (n_lags,)
        Lags in seconds.
    subjects_ : ndarray of shape (n_subjects,)
        Subjects of training, sorted.
    speech_ : estimator or None
        The fitted ``speech``.
    stimulus_intervals_ : StimulusIntervals or None
        Sound of ``fit``, for the warning when it is scored.
    n_features_in_, n_features_out_ : int
        Channels, and speech features.

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

    References
    ----------
    .. [1] Lalor, Foxe (2010). Neural responses to uninterrupted natural speech can be extracted with precise
       temporal resolution. European Journal of Neuroscience 31:189. https://doi.org/10.1111/j.1460-9568.2009.07055.x
    .. [2] Crosse, Di Liberto, Bednar, Lalor (2016). The multivariate temporal response function (mTRF)
       toolbox. Frontiers in Human Neuroscience 10:604. https://doi.org/10.3389/fnhum.2016.00604
    .. [3] Haufe, Meinecke, Görgen et al. (2014). On the interpretation of weight vectors of linear models in
       multivariate neuroimaging. NeuroImage 87:96. https://doi.org/10.1016/j.neuroimage.2013.10.067

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal((40, 1, 30))
    >>> brain = rng.standard_normal((40, 2, 30))
    >>> brain[:, :1] += np.roll(speech, 2, axis=2)  # one channel follows by two steps
    >>> trf = ForwardTRF(lags=(0, 0.3), sfreq=10).fit(brain[:30], speech[:30])
    >>> float(trf.lags_[abs(trf.coef_[0, :, 0, 0]).argmax()])
    0.2
    >>> float(trf.correlations(brain[30:], speech[30:])["r"].round(1)[0])
    0.6
    """

    _parameter_constraints = {
        "speech": [HasMethods(["fit", "transform"]), None],
        "lags": ["array-like"],
        "alphas": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"])],
        "per_subject": ["boolean"],
        "sfreq": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(self, speech=None, lags=(-0.1, 0.5), alphas=ALPHAS, cv=3, per_subject=True, sfreq=None):
        self.speech = speech
        self.lags = lags
        self.alphas = alphas
        self.cv = cv
        self.per_subject = per_subject
        self.sfreq = sfreq

    # --- fitting -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Fit the regression of each subject, or of all.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels, n_times)
            What the brain did. Windows carry subjects and their rate; a plain array is one unnamed
            subject at the rate ``sfreq``.
        y : DataFrame, Windows or array-like of shape (n_windows, n_features, n_frames)
            What was heard: the table of segments for ``speech``, else features.

        Returns
        -------
        self : ForwardTRF
        """
        X = _as_windows(X)
        check_in_step(X, y)
        check_not_constant(X, type(self).__name__)
        check_alphas(self.alphas)
        self.speech_ = None if self.speech is None else clone(self.speech).fit(table_of(y))
        table = table_of(y)
        has_sound = table is not None and {"sound", "sound_onset", "duration"} <= set(table)
        self.stimulus_intervals_ = StimulusIntervals.from_table(table) if has_sound else None
        targets = self._targets(y)
        check_targets_vary(targets, np.arange(len(targets)), "ForwardTRF")
        self.n_features_in_, self.n_features_out_ = X.shape[1], targets.shape[1]
        self._fit_frames(X, targets)
        warn_audio_channels(X, y, targets)
        segments = find_distinct_segments(table_of(y) if isinstance(y, pd.DataFrame) else y).target
        fit = partial(self._fit_model, X, targets, y, segments)
        self.subjects_, self.coef_, self.intercept_, self.mean_, *chosen = fit_subjects(
            fit, subjects_of(X), self.per_subject
        )
        self.alpha_, self.cv_scores_, beyond = chosen
        warn_alpha_choice(self, beyond)
        return self

    def _targets(self, y):
        """Features of what was heard: Windows."""
        if self.speech_ is None:
            if isinstance(y, pd.DataFrame):
                raise ValueError(
                    "y is a table, but ForwardTRF(speech=None) expects features: set speech=make_pipeline(Envelope(), "
                    "FeatureScaler()), for example."
                )
            return y if isinstance(y, Windows) else make_target_windows(_numbers(y, "y"))
        targets = self.speech_.transform(table_of(y))
        return targets if isinstance(targets, Windows) else make_target_windows(targets)

    def _fit_frames(self, X, targets):
        """Note the frame of each step, and turn lags in seconds into frames that occur in a window."""
        frames = match_frames(X, targets)
        self._shape = X.shape[2], targets.shape[2]
        self._frames, self._weights = torch.from_numpy(frames), torch.from_numpy(np.bincount(frames))
        check_rate(self.sfreq, X)
        n_frames, rate = len(self._weights), get_frame_rate(X, targets, self)
        first, last = np.round(check_lags(self.lags) * rate).astype(int)
        if first >= n_frames or last <= -n_frames:
            raise ValueError(
                f"lags={self.lags!r} lie outside the window of {n_frames / rate:.3f} s. Use smaller lags or longer "
                f"windows."
            )
        self._lags = np.arange(max(first, 1 - n_frames), min(last, n_frames - 1) + 1)
        self.lags_ = self._lags / rate

    def _fit_model(self, X, targets, y, segments, rows):
        """Fit one model: coefficients, intercept, feature means, strength, inner scores."""
        mean, offset = self._means(X, targets, rows)
        shape = len(self._lags), self.n_features_out_, self.n_features_in_

        def moments(rows):
            batches = ((speech - mean, brain - offset) for brain, speech in self._batches(X, targets, rows))
            return compute_lagged_moments(batches, -self._lags[::-1], *shape[1:])

        everything, coef, *chosen = select_alpha(moments, rows, y, segments, self.alphas, self.cv)
        intercept = offset.numpy() + (everything.y - everything.x @ coef) / everything.n
        coef = coef.reshape(shape)[::-1]  # of rising lags of the brain after the sound
        return *(a.astype(np.float32) for a in (coef, intercept, mean.numpy())), *chosen

    def _means(self, X, targets, rows):
        """Means of features and channels over frames: float64 Tensors."""
        sums = [torch.zeros(n).double() for n in (self.n_features_out_, self.n_features_in_)]
        for brain, speech in self._batches(X, targets, rows):
            sums[0] += speech.sum((0, 1))
            sums[1] += brain.sum((0, 1))
        means = [total / (len(rows) * len(self._weights)) for total in sums]
        check_finite(y=means[0], X=means[1])
        return means

    def _batches(self, X, targets, rows):
        """Yield (brain, speech) of some rows, (n, n_frames, ...) float64, a bounded number at a time."""
        rows = rows[np.argsort(X.which[rows], kind="stable")]  # gathered without a detour
        for piece in slice_windows(len(rows), X, targets):
            part = rows[piece]
            speech = targets.gather(part).double().transpose(1, 2)
            yield self._pool(X.gather(part).double()), speech[:, : len(self._weights)]

    def _pool(self, batch):
        """Mean of each frame's steps: (n_windows, n_channels, n_times) -> (n_windows, n_frames, n_channels)."""
        sums = batch.new_zeros(len(batch), len(self._weights), batch.shape[1])
        return sums.index_add_(1, self._frames, batch.transpose(1, 2)) / self._weights[:, None]

    # --- prediction --------------------------------------------------------------------------------

    def predict(self, y, subjects=None):
        """Predict the brain of what was heard.

        Parameters
        ----------
        y : DataFrame, Windows or array-like of shape (n_windows, n_features, n_frames)
            What was heard.
        subjects : None or array-like of shape (n_windows,), default=None
            Whose brain. The mean over the models stands for those who were not in training, and for None.

        Returns
        -------
        brain : ndarray of shape (n_windows, n_channels, n_frames)
            At the rate of the speech features, float32.
        """
        check_is_fitted(self)
        targets = self._targets(y)
        if targets.shape[1:] != (self.n_features_out_, self._shape[1]):
            raise ValueError(
                f"y has {targets.shape[1]} features x {targets.shape[2]} frames, but fit saw {self.n_features_out_} x "
                f"{self._shape[1]}."
            )
        named = np.full(len(targets), None) if subjects is None else np.asarray(subjects).astype(str)
        model = (
            pd.Index(self.subjects_).get_indexer(named) if self.per_subject else np.zeros(len(targets), int)
        )
        out = np.empty((len(targets), self.n_features_in_, len(self._weights)), np.float32)
        for index in np.unique(model):
            rows = np.flatnonzero(model == index)
            out[rows] = self._estimate(targets.gather(rows), index)
        return out

    def _estimate(self, speech, index):
        """Apply one model, -1 their mean: (n, n_features, n_frames) -> (n, n_channels, n_frames)."""
        coef, intercept, mean = (
            torch.from_numpy(a.mean(0) if index < 0 else a[index])
            for a in (self.coef_, self.intercept_, self.mean_)
        )
        centered = speech[..., : len(self._weights)] - mean[:, None]
        # Tap k of a window that begins `last` frames earlier is the feature (last - k) frames before.
        padded = torch.nn.functional.pad(centered, (int(self._lags[-1]), -int(self._lags[0])))
        return torch.nn.functional.conv1d(padded, coef.flip(0).permute(2, 1, 0), intercept)

    def correlations(self, X, y, n_shifts=0, random_state=0):
        r"""Correlate prediction and brain, channel by channel, over all frames of each subject's windows.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels, n_times)
            What the brain did, on sound that was not in ``fit``.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            What was heard.
        n_shifts : int, default=0
            Shifts of a null: predictions are moved along each recording, by more than a window, and correlated
            anew.
        random_state : None, int or RandomState, default=0
            Draws shifts.

        Returns
        -------
        topography : DataFrame of shape (n_subjects * n_channels, ...)
            ``subject, channel`` (name, or number where unnamed), ``x, y`` (place on the unit square, NaN where
            unknown), ``r`` (Pearson's, NaN where a channel is constant), ``null_low, null_mean, null_high`` (mean,
            2.5 and 97.5 % quantile of the null, below which a channel is predicted with the wrong sign; NaN without
            shifts, and where a recording is too short or unknown) and ``n_windows``. Windows that overlap count as
            often as they are there.

        Warns
        -----
        StimulusLeakWarning
            If ``y`` contains sound of ``fit``.
        """
        X = _as_windows(X)
        check_in_step(X, y)
        warn_of_constant(X)
        if X.shape[1:] != (self.n_features_in_, self._shape[0]):
            raise ValueError(
                f"X has {X.shape[1]} channels x {X.shape[2]} steps, but fit saw {self.n_features_in_} x "
                f"{self._shape[0]}."
            )
        if self.stimulus_intervals_ is not None and table_of(y) is not None:
            warn_of_seen_stimuli(self.stimulus_intervals_, table_of(y), type(self).__name__)
        subjects, random, parts = subjects_of(X), check_random_state(random_state), []
        for name in pd.unique(subjects):
            rows = np.flatnonzero(subjects == name)
            predicted = _standardised(self.predict(_safe_indexing(y, rows), subjects[rows]))
            brain = _standardised(self._pool(X.gather(rows)).transpose(1, 2).numpy())
            null = _shifted(predicted, brain, X, y, rows, n_shifts, random)
            place = np.full((X.shape[1], 2), np.nan)
            if X.positions is not None:
                place = X.positions[X.layout[X.which[rows[0]]]]
            parts.append(
                pd.DataFrame({
                    "subject": name, "channel": X.ch_names or range(X.shape[1]), "x": place[:, 0], "y": place[:, 1],
                    "r": _products(predicted, brain), "null_low": np.quantile(null, 0.025, axis=0),
                    "null_mean": null.mean(0), "null_high": np.quantile(null, 0.975, axis=0), "n_windows": len(rows),
                })
            )  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    def score(self, X, y):
        """Mean correlation of prediction and brain, over channels and then over people.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels, n_times)
            What the brain did.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            What was heard.

        Returns
        -------
        r : float
            Over the subjects with a channel that varies.

        Raises
        ------
        ValueError
            If no subject has a channel that varies.

        Warns
        -----
        StimulusLeakWarning
            If ``y`` contains sound of ``fit``.
        UserWarning
            If a subject has no channel that varies, in the recording or in the prediction.
        """
        of_subject = self.correlations(X, y).groupby("subject", sort=False)["r"].mean()
        without = of_subject.index[of_subject.isna()].tolist()
        if len(without) == len(of_subject):
            raise ValueError(
                "X holds nothing to score: for every subject, all channels or their predictions are constant. Check "
                "the files that X was read from."
            )
        if without:
            warnings.warn(
                f"the score is the mean over {len(of_subject) - len(without)} of {len(of_subject)} subjects: all "
                f"channels of {', '.join(map(repr, without))}, or their predictions, are constant.",
                stacklevel=2,
            )
        return float(of_subject.mean())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags


# --- arrays ----------------------------------------------------------------------------------------


def _numbers(data, name):
    data = check_equal_shapes(data, name)
    data = check_array(data, ensure_2d=False, allow_nd=True, dtype=np.float32, input_name=name)
    if data.ndim != 3:
        raise ValueError(
            f"{name} must have the shape (n_windows, channels or features, times), got {data.shape}."
        )
    return data


def _as_windows(X):
    return X if isinstance(X, Windows) else Windows.from_array(_numbers(X, "X"))


def _standardised(signal):
    """Each channel with mean 0 and mean square 1 over windows and frames; a constant one is NaN."""
    signal = signal - signal.mean((0, 2), keepdims=True, dtype=float)
    scale = np.sqrt(np.square(signal).mean((0, 2), keepdims=True))
    return signal / np.where(scale > 0, scale, np.nan)


def _products(one, other):
    """Mean product of two standardized signals, channel by channel."""
    return np.einsum("nct,nct->c", one, other) / (one.shape[0] * one.shape[2])


def _shifted(predicted, brain, X, y, rows, n_shifts, random):
    """Correlations after predictions were moved along their recordings: (n_shifts or 1, n_channels)."""
    table = X.rows.iloc[rows] if X.rows is not None else pd.DataFrame()
    nothing = np.full((1, X.shape[1]), np.nan)
    if not n_shifts or not {"recording", "onset", "duration"} <= set(table):
        return nothing
    labels = find_distinct_segments(_safe_indexing(y, rows)).target
    onset, recording = table["onset"].to_numpy(float), table["recording"].to_numpy(dtype=object)
    total = np.zeros((n_shifts, X.shape[1]))
    for name in pd.unique(recording):
        own = np.flatnonzero(recording == name)
        own = own[np.argsort(onset[own], kind="stable")]
        try:
            possible = possible_shifts(name, labels[own], onset[own], table["duration"].max())
        except ValueError:  # too short a recording has no null, but its correlation
            return nothing
        for index, shift in enumerate(random.choice(possible, size=n_shifts)):
            total[index] += len(own) * _products(np.roll(predicted[own], shift, axis=0), brain[own])
    return total / len(rows)

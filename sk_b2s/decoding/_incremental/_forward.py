"""Forward models on the second moments of several calls."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils.metaestimators import available_if

from sk_b2s.decoding._incremental._models import PartialFitModelsMixin
from sk_b2s.decoding._incremental._moments import IncrementalMoments
from sk_b2s.decoding._ridge_base import (
    check_ridge_rate,
    check_ridge_values,
    get_ridge_frame_rate,
    select_ridge_lags,
)
from sk_b2s.decoding._ridge_solver import compute_ridge_moments, iter_ridge_path
from sk_b2s.decoding._stimulus_artifacts import warn_stimulus_artifact_channels
from sk_b2s.decoding._trf._bands import make_bands_of_features, make_ridge_bands
from sk_b2s.decoding._trf._weights import set_trf_channels
from sk_b2s.metrics._frames import find_frames_of_windows
from sk_b2s.preprocessing._windows._checks import find_window_positions

MODEL = ("coef_", "intercept_", "mean_", "alpha_", "cv_scores_")
OUTSIDE = float(np.finfo(np.float32).max)  # of features where a stimulus has no frames
ROUNDING = 1e-14  # variance of a channel without signal, relative to its squared mean


def _can_fit_partially(trf):
    """Raise an AttributeError unless the moments determine the model."""
    n_alphas = len(trf.alphas)
    has_ratios = trf.bands is not None and n_alphas and np.ndim(trf.alphas[0]) == 0 and trf.n_ratios > 1
    if n_alphas > 1 or has_ratios:
        found = f"{n_alphas} alphas" + f" with {trf.n_ratios} ratios" * bool(has_ratios)
        way_out = "one value" if trf.bands is None else "one row with a value for each feature set"
        raise AttributeError(
            f"partial_fit requires a single regularization, because the selection among {found} compares all windows in "
            f"cross-validation. Set alphas to {way_out}, for example that of a fit to the first windows."
        )
    return True


class PartialFitForwardMixin(PartialFitModelsMixin):
    """Method ``partial_fit`` of a forward temporal response function."""

    @available_if(_can_fit_partially)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y):
        """Add windows to those of former calls, and fit the models again.

        The sums of the products of lagged features and channels are kept, not
        the windows. Several calls equal one :meth:`fit` to all their windows
        up to rounding, if ``y`` contains the features or ``speech`` has
        nothing to fit. Otherwise ``speech`` is fitted in the first call only.
        It is available for a single value in ``alphas``, or with ``bands`` for
        one row of a value per set.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels, n_times)
            EEG/MEG windows, as in :meth:`fit`. Channels, length and sampling
            rate must be those of the first call. New subjects get a model.
        y : DataFrame, Windows or array-like of shape \
(n_windows, n_features, n_frames)
            Stimulus segments or features, as in :meth:`fit`.

        Returns
        -------
        self : ForwardTRF
            The fitted model. ``stimulus_intervals_`` covers the stimuli of all
            calls.

        Raises
        ------
        ValueError
            If X or y does not match the first call, or the model was fitted by
            :meth:`fit`, which does not keep the sums.

        Notes
        -----
        The sums are stored in ``moments_`` and saved. They need 8 bytes times
        the square of lags times features for each model, 7 MB for 16 features
        and 61 lags.

        Examples
        --------
        >>> import numpy as np
        >>> from sk_b2s.decoding import ForwardTRF
        >>> rng = np.random.default_rng(0)
        >>> speech, eeg = rng.standard_normal((2, 40, 1, 30))
        >>> trf = ForwardTRF(lags=(0, 0.2), alphas=(0.1,), sfreq=10)
        >>> parts = trf.partial_fit(eeg[:20], speech[:20])
        >>> coef = parts.partial_fit(eeg[20:], speech[20:]).coef_
        >>> np.allclose(coef, trf.fit(eeg, speech).coef_, atol=1e-6)
        True
        """
        is_first, sets = self._is_first_call(), getattr(self, "feature_sets_", None)
        X = self._check_inputs(X, y)
        if not len(X):
            raise ValueError("X has no windows. partial_fit requires at least one.")
        if is_first:
            targets = self._fit_inputs(X, y)
            self._get_penalty()  # may raise
        else:
            targets = self._targets(y)
            self._check_as_fitted(X, targets)
        warn_stimulus_artifact_channels(X, y, targets)
        intervals = self._find_stimulus_intervals(y)
        self.feature_sets_ = make_bands_of_features(self.bands, self.speech_, self.n_features_out_)
        try:
            self._add_moments(X, targets, keeps=self.feature_sets_ == sets)
        except BaseException:
            self.feature_sets_ = sets  # of the models that are kept
            raise
        if self.bands is None:
            vars(self).pop("band_alphas_", None)
        if is_first:
            set_trf_channels(self, X)
            return self
        known = [one for one in (self.stimulus_intervals_, intervals) if one is not None]
        self.stimulus_intervals_ = known[0] | known[-1] if known else None
        place = find_window_positions(X) if self.positions_ is not None else None
        if place is not None and place.shape == self.positions_.shape:  # of channels that were bad before
            self.positions_ = np.where(np.isfinite(self.positions_), self.positions_, place)
        return self

    def _check_as_fitted(self, X, targets):
        """Raise unless windows and parameters are those of the first call."""
        came, expected = (
            (X.shape[1:], targets.shape[1:]),
            (
                (self.n_features_in_, self._shape[0]),
                (self.n_features_out_, self._shape[1]),
            ),
        )
        if came != expected or not np.array_equal(find_frames_of_windows(X, targets), self._frames):
            raise ValueError(
                f"X has {came[0][0]} channels x {came[0][1]} samples and y {came[1][0]} features x {came[1][1]} frames, but "
                f"the first call of partial_fit was given {expected[0][0]} x {expected[0][1]} and {expected[1][0]} x "
                f"{expected[1][1]} at their rates. Use the same windows and features."
            )
        if None not in (X.ch_names, self.ch_names_) and tuple(X.ch_names) != tuple(self.ch_names_):
            raise ValueError(
                f"X must have the channels of the first call of partial_fit in their order, {list(self.ch_names_)[:3]}... "
                f"Got {list(X.ch_names)[:3]}..."
            )
        check_ridge_rate(self.sfreq, X)
        rate, n_frames = get_ridge_frame_rate(X, targets, self), len(self._weights)
        lags = select_ridge_lags(self.lags, rate, None if targets.is_continuous else n_frames)
        if not np.array_equal(lags, self._lags) or not np.allclose(lags / rate, self.lags_):
            raise ValueError(
                f"lags={self.lags!r}, sfreq={self.sfreq!r} or the rate of X differs from the former calls of partial_fit, "
                f"whose lags are {self.lags_[0]:.3g} to {self.lags_[-1]:.3g} s. Restore it, or clone the ForwardTRF."
            )
        self._check_models_as_fitted()

    def _get_model_attributes(self):
        return MODEL if self.bands is None else (*MODEL, "band_alphas_")

    def _get_penalty(self):
        """Return the name and the value of the regularization."""
        if self.bands is None:
            return "alpha_", float(self.alphas[0])
        found = make_ridge_bands(self.feature_sets_, self.alphas, self.n_ratios)
        return "band_alphas_", found.alphas[0] * found.ratios[0]

    def _sum_moments(self, X, targets, rows, former):
        """Return the sums of rows, with those of former calls."""
        n_frames = len(self._weights)
        if former is None:
            reference = self._means(X, targets, rows)[0]
        else:
            reference = torch.from_numpy(former.reference)
        x, yy = torch.zeros_like(reference), torch.zeros(self.n_features_in_, self.n_features_in_).double()
        fill = torch.full_like(reference, OUTSIDE)

        def iter_batches():
            for piece in self._iter_rows(X, targets, rows):
                eeg = self._pool(X.gather(piece).double())
                within = targets.gather(piece)[..., :n_frames].double()
                x.add_(within.sum((0, 2)) - len(piece) * n_frames * reference)
                yy.addmm_(eeg.flatten(0, 1).T, eeg.flatten(0, 1))
                speech = self._gather(targets, piece, fill).transpose(1, 2)
                inside = (speech != OUTSIDE).any(2, keepdim=True)
                speech = torch.where(inside, speech - reference, torch.zeros_like(reference))
                check_ridge_values(y=speech.sum((0, 1)))
                yield torch.cat([speech, inside.double()], 2), eeg

        n_columns = self.n_features_out_ + 1
        sums = compute_ridge_moments(
            iter_batches(), -self._lags[::-1], n_columns, self.n_features_in_, has_context=True
        )
        part = IncrementalMoments.from_sums(sums, sums.n, reference, x, yy)
        check_ridge_values(y=torch.from_numpy(part.mean), X=torch.from_numpy(part.offset))
        return part if former is None else part.add(former)

    def _solve_moments(self, sums):
        """Fit one model: the values of its attributes."""
        everything, (_, penalty) = sums.center(), self._get_penalty()
        columns = None
        if self.bands is not None:
            bands = make_ridge_bands(self.feature_sets_, self.alphas, self.n_ratios)
            columns, alpha = bands.expand(len(self._lags))[0], bands.alphas[0]
        else:
            alpha = penalty
        cov_xx, cov_xy, _ = everything.centered()
        coef = next(iter_ridge_path(cov_xx, cov_xy, [alpha], columns))
        coef[:, np.diag(sums.feature_covariance) <= ROUNDING * sums.offset**2] = 0  # as in fit
        intercept = sums.offset - everything.x @ coef / everything.n
        coef = coef.reshape(len(self._lags), self.n_features_out_, self.n_features_in_)[::-1]
        arrays = [part.astype(np.float32) for part in (coef, intercept, sums.mean)]
        if columns is None:
            return *arrays, alpha, np.full(1, np.nan)
        return *arrays, np.exp(np.log(penalty).mean()), np.full(1, np.nan), penalty

"""Ridge regression on the second moments of several calls."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils.metaestimators import available_if

from sk_b2s.decoding._incremental._inputs import PartialFitInputsMixin
from sk_b2s.decoding._incremental._models import PartialFitModelsMixin
from sk_b2s.decoding._incremental._moments import IncrementalMoments
from sk_b2s.decoding._ridge_base import check_ridge_values, get_ridge_frame_rate, select_ridge_lags
from sk_b2s.decoding._ridge_solver import compute_ridge_moments, iter_ridge_path, solve_ridge_patterns
from sk_b2s.decoding._trf._weights import set_trf_channels

MODEL = ("coef_", "intercept_", "mean_", "alpha_", "cv_scores_", "patterns_")


def _can_fit_partially(decoder):
    """Raise an AttributeError unless the moments determine the model."""
    if len(decoder.alphas) > 1:
        raise AttributeError(
            f"partial_fit requires a single alpha, because the selection among {len(decoder.alphas)} alphas compares all "
            f"windows in cross-validation. Set alphas to one value, for example the median of alpha_ after a fit."
        )
    if decoder.n_components is not None:
        raise AttributeError(
            f"partial_fit requires n_components=None, because components depend on all windows. Got "
            f"n_components={decoder.n_components}."
        )
    if decoder.context:
        raise AttributeError(
            "partial_fit requires context=False, because windows that adjoin each other can be in different calls. Got "
            "context=True."
        )
    return True


class PartialFitRidgeMixin(PartialFitModelsMixin, PartialFitInputsMixin):
    """Method ``partial_fit`` of a backward ridge regression."""

    @available_if(_can_fit_partially)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y):
        """Add windows to those of former calls, and fit the models again.

        The sums of the products of lagged channels and features are kept, not
        the windows. Several calls equal one :meth:`fit` to all their windows
        up to rounding, if ``y`` contains the features or ``speech`` has
        nothing to fit. Otherwise ``speech`` is fitted in the first call only.
        It is available for a single value in ``alphas``, ``n_components=None``
        and ``context=False``.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows, as in :meth:`fit`. Channels, length and sampling
            rate must be those of the first call. New subjects get a model.
        y : DataFrame, Windows or array-like of shape \
(n_windows[, n_features[, n_frames]])
            Stimulus segments or features, as in :meth:`fit`.

        Returns
        -------
        self : RidgeDecoder
            The fitted decoder. ``segments_``, ``stimulus_intervals_`` and
            ``recording_intervals_`` cover the windows of all calls.

        Raises
        ------
        ValueError
            If X or y does not match the first call, or the decoder was fitted
            by :meth:`fit`, which does not keep the sums.

        Notes
        -----
        The sums are stored in ``moments_`` and saved. They need 8 bytes times
        the square of lags times channels for each model, 22 MB for 64 channels
        and 26 lags.

        Examples
        --------
        >>> import numpy as np
        >>> from sk_b2s.decoding import RidgeDecoder
        >>> rng = np.random.default_rng(0)
        >>> speech = rng.standard_normal((40, 1, 30)).astype("float32")
        >>> eeg = np.repeat(speech, 4, axis=1)
        >>> eeg += rng.standard_normal(eeg.shape).astype("float32")
        >>> ridge = RidgeDecoder(lags=(0, 0.3), alphas=(0.1,), sfreq=10, k=1)
        >>> parts = ridge.partial_fit(eeg[:20], speech[:20])
        >>> coef = parts.partial_fit(eeg[20:], speech[20:]).coef_
        >>> np.allclose(coef, ridge.fit(eeg, speech).coef_, atol=1e-6)
        True
        """
        is_first = self._is_first_call()
        X = self._check_windows(X, reset=is_first)
        self._check_parameters(X)
        y, targets = self._check_partial_inputs(X, y, is_first)
        if is_first:
            self._frames = self._fit_frames(X, y, targets)
            self._fit_lags(X, targets)
        united = {} if is_first else self._unite_inputs(X, y)
        self._add_moments(X, targets)
        vars(self).update(united)  # after all that may raise
        if is_first:
            set_trf_channels(self, X)
        return self

    def _check_sums_as_fitted(self, X, targets):
        """Raise if a parameter that determines the sums was changed."""
        if len(self.lag_frames_) > 1 or targets.shape[2] > 1:
            rate = get_ridge_frame_rate(X, targets, self)
            if not np.array_equal(select_ridge_lags(self.lags, rate, targets.shape[2]), self.lag_frames_):
                raise ValueError(
                    f"lags={self.lags!r} or sfreq={self.sfreq!r} differs from the former calls of partial_fit, whose lags are "
                    f"{self.lags_[0]:.3g} to {self.lags_[-1]:.3g} s. Restore the parameter, or clone the decoder."
                )
        self._check_models_as_fitted()

    def _get_model_attributes(self):
        return MODEL

    def _get_penalty(self):
        """Return the name and the value of the regularization."""
        return "alpha_", float(self.alphas[0])

    def _sum_moments(self, X, targets, rows, former):
        """Return the sums of rows, with those of former calls."""
        n_channels, used = X.shape[1], self.frame_weights_ > 0
        n_used = np.count_nonzero(used) * len(rows)
        reference = torch.zeros(n_channels).double() if former is None else torch.from_numpy(former.reference)
        if former is None:
            for eeg, _ in self._iter_batches(X, targets, rows):
                pooled = self._pool(eeg, torch.zeros(n_channels))[:, used]
                reference += pooled.sum((0, 1), dtype=torch.float64) / n_used
        center = torch.cat([reference, torch.zeros(1)])
        x, yy = (
            torch.zeros(n_channels).double(),
            torch.zeros(self.n_features_out_, self.n_features_out_).double(),
        )

        def iter_batches():
            for eeg, speech in self._iter_batches(X, targets, rows):
                inside = eeg.new_ones(len(eeg), 1, eeg.shape[2])
                pooled, speech = self._pool(torch.cat([eeg, inside], 1).double(), center), speech.double()
                x.add_(pooled[:, used, :-1].sum((0, 1)))
                yy.addmm_(speech.flatten(0, 1).T, speech.flatten(0, 1))
                yield pooled, speech

        sums = compute_ridge_moments(iter_batches(), self.lag_frames_, n_channels + 1, self.n_features_out_)
        part = IncrementalMoments.from_sums(sums, n_used, reference, x, yy)
        check_ridge_values(X=torch.from_numpy(part.mean), y=torch.from_numpy(part.offset))
        return part if former is None else part.add(former)

    def _solve_moments(self, sums):
        """Fit one model: the values of ``MODEL``."""
        everything, alpha = sums.center(), float(self.alphas[0])
        cov_xx, cov_xy, _ = everything.centered()
        coef = next(iter_ridge_path(cov_xx, cov_xy, [alpha]))
        intercept = sums.offset - everything.x @ coef / everything.n
        patterns = solve_ridge_patterns(coef, cov_xx, sums.feature_covariance)
        shape = len(self.lag_frames_), self.n_features_in_, self.n_features_out_
        arrays = (coef.reshape(shape), intercept, sums.mean)
        return (
            *(part.astype(np.float32) for part in arrays),
            alpha,
            np.full(1, np.nan),
            patterns.reshape(shape).astype(np.float32),
        )

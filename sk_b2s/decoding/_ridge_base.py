"""Code that the ridge estimators of both directions share."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval

from sk_b2s.decoding._ridge_cv import (
    check_lags,
    fit_subjects,
    select_alpha,
    slice_windows,
    warn_alpha_choice,
)
from sk_b2s.preprocessing._windows import subjects_of


class RidgeMixin:
    """Parameters, batches and models of ridge regression on lagged windows.

    An estimator has the parameters ``alphas``, ``cv`` and ``per_subject``, and
    a method ``_fit_model`` that fits one model to some rows.
    """

    _parameter_constraints = {
        "speech": [HasMethods(["fit", "transform"]), None],
        "lags": ["array-like"],
        "alphas": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"])],
        "per_subject": ["boolean"],
        "sfreq": [Interval(Real, 0, None, closed="neither"), None],
    }

    def _fit_models(self, X, targets, y, segments):
        """Fit one model per subject, or one for all, and warn about alphas."""
        fit = partial(self._fit_model, X, targets, y, segments)
        self.subjects_, self.coef_, self.intercept_, self.mean_, *chosen = fit_subjects(
            fit, subjects_of(X), self.per_subject
        )
        self.alpha_, self.cv_scores_, beyond = chosen
        warn_alpha_choice(self, beyond, stacklevel=5)

    def _regress(self, moments, rows, y, segments, offset):
        """Select alpha and regress: coefficients, intercept, alpha, scores."""
        everything, coef, *chosen = select_alpha(moments, rows, y, segments, self.alphas, self.cv)
        intercept = offset.numpy() + (everything.y - everything.x @ coef) / everything.n
        return coef, intercept, *chosen

    def _iter_batches(self, X, targets, rows):
        """Yield float64 batches (X, targets), the latter time-major."""
        rows = rows[np.argsort(X.which[rows], kind="stable")]  # neighbors in memory
        for piece in slice_windows(len(rows), X, targets):
            part = rows[piece]
            yield X.gather(part).double(), targets.gather(part).double().transpose(1, 2)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags


def sum_frames(batch, frames, n_frames):
    """Sum the samples of each frame.

    (n_windows, n_channels, n_times) -> (n_windows, n_frames, n_channels)
    """
    sums = batch.new_zeros(len(batch), n_frames, batch.shape[1])
    return sums.index_add_(1, frames, batch.transpose(1, 2))


def select_lags(lags, rate, n_frames):
    """Return the lags in frames that occur in a window: ndarray of int."""
    first, last = np.round(check_lags(lags) * rate).astype(int)
    if first >= n_frames or last <= -n_frames:
        raise ValueError(
            f"lags={lags!r} lie outside the window of {n_frames / rate:.3f} s. Use smaller lags or longer windows."
        )
    return np.arange(max(first, 1 - n_frames), min(last, n_frames - 1) + 1)

"""Adapt a decoder by likelihood to new subjects, in closed form."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._validation import validate_rows_in_step
from sk_b2s.decoding._inputs import count_input_minutes
from sk_b2s.decoding._likelihood._response import ResponsePrior, cut_response_rank
from sk_b2s.preprocessing._windows._checks import check_window_subjects

METHODS = ("auto", "ridge")
MODEL = (
    "mean_",
    "unmix_",
    "limit_",
    "time_filter_",
    "filters_",
    "coef_",
    "spatial_patterns_",
    "energy_",
)  # of all models


class LikelihoodAdaptationMixin:
    """Adaptation of a fitted decoder to new subjects."""

    def adapt(self, X, y, method="auto"):
        """Adapt to new subjects with labeled calibration data.

        The noise of a subject is estimated from the calibration data, and the
        response in closed form with the prior learned in ``fit``. This decoder
        is not changed. The returned decoder gives the same results to the bit
        for all other subjects.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows of the new subjects. An array has one unnamed
            subject. If ``fit`` was also given an array, pass
            ``Windows.from_array(X, rows=pd.DataFrame({"subject": ...}))``.
        y : DataFrame, Windows or array-like of shape \
(n_windows[, n_features[, n_frames]])
            Stimulus segments or features, one row per window.
        method : {"auto", "ridge"}, default="auto"
            Both are the closed form. The parameter exists for
            :class:`CalibratedDecoder`.

        Returns
        -------
        decoder : LikelihoodDecoder
            Decoder with the new subjects at the end of ``subjects_``. Its
            attribute ``adaptations_`` is a DataFrame with the columns
            ``subject``, ``method``, ``minutes`` (of distinct stimuli, NaN if
            unknown) and ``n_windows``. Scores on the calibration stimuli raise
            the same warning as scores on training stimuli.

        Raises
        ------
        ValueError
            If a subject of X is in ``subjects_`` or has no name, X and y do
            not match the decoder, are empty or contain NaN, or ``method`` is
            unknown.

        Warns
        -----
        UserWarning
            If the name of a new subject is similar to that of a known subject.

        See Also
        --------
        CalibratedDecoder : Compare amounts of calibration across folds.
        """
        check_is_fitted(self)
        if method not in METHODS:
            raise ValueError(
                f"method of {type(self).__name__}.adapt must be one of {METHODS}. Got {method!r} instead. The other "
                f"methods train networks."
            )
        X = self._check_windows(X)
        if not len(X):
            raise ValueError("X has no windows. Pass windows of at least one new subject.")
        y = self._check_y(y)
        validate_rows_in_step(X, y)
        subjects = check_window_subjects(X)
        self._check_new_subjects(pd.unique(subjects))
        self._warn_misspelled_subjects(pd.unique(subjects))
        targets = self._targets(y)
        self._check_targets_shape(targets)
        new, notes = copy.copy(self), []
        for subject in pd.unique(subjects):
            rows = np.flatnonzero(subjects == subject)
            new._add_subject(subject, *self._adapt_to(X, targets, rows))
            notes.append({
                "subject": subject, "method": "ridge", "minutes": count_input_minutes(y, rows),
                "n_windows": len(rows),
            })  # fmt: skip
        known = getattr(self, "adaptations_", None)
        new.adaptations_ = pd.concat(
            [*([] if known is None else [known]), pd.DataFrame(notes)], ignore_index=True
        )
        new._add_calibration_stimuli(y)
        return new

    def _adapt_to(self, X, targets, rows):
        """Return the arrays of the model of a new subject, and its order."""
        rows = rows[self._select_cover(X[rows])]
        noise = self._fit_noise(X, rows)
        (moments,) = self._sum_moments(X, targets, rows, noise, [])
        response, _ = ResponsePrior(self.prior_columns_, self.prior_channels_).estimate(
            moments, noise.filters
        )
        if not np.isfinite(response).all():
            raise ValueError(
                "y contains NaN or infinite values. Remove these rows from X and y, or fix the input files."
            )
        return self._make_model(
            *cut_response_rank(response, moments, self.rank_), moments, noise
        ), noise.order

    def _add_subject(self, subject, model, order):
        """Insert the model of a new subject before the average."""
        for name, value in zip(MODEL, model, strict=True):
            if (arrays := getattr(self, name, None)) is None:  # spatial_patterns_ of a former file
                continue
            added = np.asarray(value, np.float32)[None]
            setattr(self, name, np.concatenate([arrays[:-1], added, arrays[-1:]]))
        self.subjects_ = np.append(self.subjects_, subject)
        self.order_ = np.append(self.order_, order)

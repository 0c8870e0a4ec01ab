"""Models of ridge regression that are fitted to sums of several calls."""

from __future__ import annotations

import numpy as np

from sk_b2s.preprocessing._windows._checks import check_window_subjects

EVERYBODY = ""  # name of the model of all subjects


class PartialFitModelsMixin:
    """Sums and models of several calls of ``partial_fit``.

    An estimator has the parameter ``per_subject`` and the methods
    ``_get_penalty`` (name and value of the regularization of each model),
    ``_get_model_attributes``, ``_sum_moments(X, targets, rows, former)`` and
    ``_solve_moments(sums)``, which returns the values of these attributes.
    """

    def _is_first_call(self):
        """Return whether this is the first call, or raise after ``fit``."""
        is_first = not hasattr(self, "coef_")
        if not is_first and not hasattr(self, "moments_"):
            raise ValueError(
                f"partial_fit cannot continue after fit, which does not keep the sums that it needs. Use partial_fit from the "
                f"first call, or clone the {type(self).__name__}."
            )
        return is_first

    def _check_models_as_fitted(self):
        """Raise if ``per_subject`` was changed."""
        if list(self.moments_) != (list(self.subjects_) if self.per_subject else [EVERYBODY]):
            raise ValueError(
                f"per_subject={self.per_subject} differs from the former calls of partial_fit. Restore the parameter, or "
                f"clone the {type(self).__name__}."
            )

    def _add_moments(self, X, targets, keeps=True):
        """Add the sums of windows, and fit the models again.

        If ``keeps`` is True, models of equal sums and regularization are kept.
        Nothing is changed if this raises.
        """
        subjects = check_window_subjects(X)
        former, models = getattr(self, "moments_", {}), {}
        names, (penalty_name, penalty) = self._get_model_attributes(), self._get_penalty()
        for index, name in enumerate(former if keeps and hasattr(self, penalty_name) else ()):
            if np.array_equal(getattr(self, penalty_name)[index], penalty):
                models[name] = [getattr(self, key)[index] for key in names]
        parts = {
            name: self._sum_moments(X, targets, np.flatnonzero(subjects == name), former.get(name))
            for name in (np.unique(subjects) if self.per_subject else ())
        } or {EVERYBODY: self._sum_moments(X, targets, np.arange(len(X)), former.get(EVERYBODY))}
        moments = {**former, **parts}
        moments = {name: moments[name] for name in sorted(moments)}
        for name, sums in moments.items():
            if name in parts or name not in models:
                models[name] = self._solve_moments(sums)
        of_models = [models[name] for name in moments]
        self.moments_ = moments
        self.subjects_ = np.unique([*(self.subjects_ if former else ()), *subjects]).astype(object)
        for key, values in zip(names, zip(*of_models, strict=True), strict=True):
            setattr(self, key, np.stack(values))

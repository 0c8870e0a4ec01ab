"""Select the rank, the iterations and the calibration on held-out rows."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning

from sk_b2s.decoding._likelihood._response import (
    compare_response_ranks,
    cut_response_rank,
    iter_brain_responses,
)
from sk_b2s.decoding._ridge_base import iter_ridge_splits

MOST_RANK = 8  # that "auto" selects from
TOLERANCE = 0.01  # of the log-likelihood, within which the least rank is taken
MOST_HELDOUT = 200  # windows of a subject and fold that calibrate
SCALES = (0.01, 10.0)  # of log-likelihoods
LEAST_GAIN = 1e-3  # keeps the order of candidates without a relation


class LikelihoodSelectionMixin:
    """Cross-validation of a decoder by likelihood."""

    def _make_folds(self, y, segments, rows):
        """Split the rows of a subject: list of (train, test)."""
        if self.rank != "auto" and self.max_iter == 1:
            return []
        return list(iter_ridge_splits(y, segments, rows, self.cv))

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
                iter_brain_responses(train, [one.filters for one in noise], self.max_iter)
            ):
                path.append([cut_response_rank(*one, most) for one in zip(found, train, strict=True)])
                scores[index] += [
                    compare_response_ranks(*one, other) for one, other in zip(path[-1], test, strict=True)
                ]
            cuts.append((path, train))
        self.n_iter_, self.rank_, self.gain_ = self.max_iter, most, 1.0
        self.cv_scores_ = np.full((self.max_iter, most), np.nan)
        if not n_folds:
            return []
        products, squares = scores[:, :, 0], np.maximum(scores[:, :, 1], 1e-30)
        self.cv_scores_ = (np.maximum(products, 0) ** 2 / squares / 2).sum(1)
        allowed = self.cv_scores_ if self.rank == "auto" else self.cv_scores_[:, -1:]
        best = find_likelihood_selection(allowed)
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
        best = [
            find_selection_scale([self._log_likelihoods(*one, normalize) for one in found])
            for normalize in tried
        ]
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


def find_selection_scale(parts):
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


def find_likelihood_selection(scores):
    """Return the row and column of the least rank that is as good as any.

    Of the rows, the numbers of iterations, the best for this rank is taken.
    """
    column = int(np.argmax(scores.max(0) >= (1 - TOLERANCE) * scores.max()))
    return int(np.argmax(scores[:, column])), column

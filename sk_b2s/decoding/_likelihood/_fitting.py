"""Fit the noise and the response of each subject."""

from __future__ import annotations

import numpy as np
import torch

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s.decoding._likelihood._adaptation import MODEL
from sk_b2s.decoding._likelihood._noise import average_noise, fit_noise, whiten_noise
from sk_b2s.decoding._likelihood._response import (
    ResponseMoments,
    cut_response_rank,
    iter_brain_responses,
    lag_response_features,
    sum_response_moments,
)
from sk_b2s.decoding._ridge_base import check_ridge_values
from sk_b2s.decoding._ridge_solver import sum_ridge_frames
from sk_b2s.preprocessing._windows._checks import check_window_subjects

NOISE_BYTES = 2**27  # of the frames that the noise of a subject is estimated from
BATCH_BYTES = 2**26  # of lagged features
DEFLATE = 0.5  # of the number of frames, because whitened frames are not completely independent


class LikelihoodFittingMixin:
    """Inputs, noise, moments and models of a decoder by likelihood."""

    def _fit_models(self, X, targets, y, segments):
        """Fit the noise and the response of each subject."""
        for name in ("adaptations_", "adaptation_rows_"):  # of an earlier fit
            vars(self).pop(name, None)
        subjects = check_window_subjects(X)
        self.subjects_ = np.unique(subjects)
        used = self._select_cover(X)
        self._fit_inputs(targets, used)
        rows = [used[subjects[used] == name] for name in self.subjects_]
        noise = [self._fit_noise(X, part) for part in rows]
        folds = [self._make_folds(y, segments, part) for part in rows]
        n_folds = min(map(len, folds))
        parts = [self._sum_moments(X, targets, *one) for one in zip(rows, noise, folds, strict=True)]
        filters = [one.filters for one in noise]
        heldout = self._select(parts, noise, n_folds)
        self._calibrate(X, targets, segments, folds, heldout)
        every = [part[0] for part in parts]
        *_, (responses, prior) = iter_brain_responses(every, filters, self.n_iter_)
        self.prior_columns_, self.prior_channels_ = prior.columns, prior.channels
        models = [
            self._make_model(*cut_response_rank(response, moments, self.rank_), moments, one)
            for response, moments, one in zip(responses, every, noise, strict=True)
        ]
        models.append(self._average_models(responses, every, noise))
        for name, values in zip(MODEL, zip(*models, strict=True), strict=True):
            setattr(self, name, np.stack(values).astype(np.float32))
        self.order_ = np.array([one.order for one in noise])

    def _average_models(self, responses, moments, noise):
        """Return the model of an unseen subject."""
        average = average_noise(noise)
        back = [np.linalg.pinv(one.filters) for one in noise]
        response = np.mean([one @ two for one, two in zip(responses, back, strict=True)], axis=0)
        moments = sum(moments[1:], start=moments[0])
        cut = cut_response_rank(response @ average.filters, moments, self.rank_)
        return self._make_model(*cut, moments, average)

    def _select_cover(self, X):
        """Select windows whose inner frames cover those of all windows."""
        return select_likelihood_fitting_cover(X, self._inner_frames() / len(self.frame_weights_))

    def _inner_frames(self):
        """Return the number of frames with all lags inside of the window."""
        start, stop = self._inner_range()
        return stop - start

    def _inner_range(self):
        """Return the frames with all lags, at least half of the window."""
        n_frames = len(self.frame_weights_)
        start, stop = max(int(self.lag_frames_[-1]), 0), n_frames + min(int(self.lag_frames_[0]), 0)
        return (start, stop) if stop - start >= n_frames / 2 else (0, n_frames)

    def _fit_inputs(self, targets, rows):
        """Set the mean and the principal components of the features."""
        n_features, total, square = targets.shape[1], 0.0, 0.0
        reduce = self.n_components is not None and self.n_components < n_features
        for piece in slice_rows_into_chunks(len(rows), count_chunk_rows(BATCH_BYTES, *targets.shape[1:])):
            features = targets.gather(rows[piece]).transpose(1, 2).flatten(0, 1).double()
            total = total + features.mean(0) * len(rows[piece]) / len(rows)
            if reduce:
                square = square + features.mT @ features / (len(rows) * targets.shape[2])
        check_ridge_values(y=total)
        self.speech_mean_, self.speech_components_ = total.numpy(), np.eye(n_features)
        if reduce:
            vectors = torch.linalg.eigh(square - torch.outer(total, total)).eigenvectors
            self.speech_components_ = vectors[:, -self.n_components :].flip(1).numpy()

    def _fit_noise(self, X, rows):
        """Estimate the noise of a subject from evenly spaced windows."""
        most = max(2, NOISE_BYTES // (4 * self.n_features_in_ * len(self.frame_weights_)))
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
        frames = self._pool(X.gather(rows))
        check_ridge_values(X=frames.mean((0, 1)))
        return fit_noise(frames, self.order, self.clip)

    def _pool(self, batch):
        """Average the samples of each frame, 0 without samples.

        (n_windows, n_channels, n_times) -> (n_windows, n_frames, n_channels)
        """
        weights = torch.from_numpy(self.frame_weights_).to(batch)[:, None]
        return sum_ridge_frames(batch, torch.from_numpy(self._frames), len(weights)) / weights.clamp(min=1)

    def _sum_moments(self, X, targets, rows, noise, folds):
        """Sum moments of all rows, and of both parts of each fold."""
        roles = np.stack(
            [np.ones(len(rows), bool), *(np.isin(rows, part) for fold in folds for part in fold)]
        )
        kinds, code = np.unique(roles, axis=1, return_inverse=True)
        code = code.ravel()
        shape = len(self.lag_frames_) * self.speech_components_.shape[1], self.n_features_in_
        sums = []
        for kind in range(kinds.shape[1]):
            batches = self._whitened_batches(X, targets, rows[code == kind], noise)
            sums.append(sum_response_moments(batches, *shape))
        share = DEFLATE * self._distinct_share(X, rows)
        nothing = ResponseMoments(0.0, np.zeros((shape[0], shape[0])), np.zeros(shape))
        return [
            sum((one for one, has in zip(sums, role, strict=True) if has), start=nothing).scaled(share)
            for role in kinds
        ]

    def _distinct_share(self, X, rows):
        """Return the share of inner frames that are distinct."""
        share = self._inner_frames() / len(self.frame_weights_)
        stops, total = {}, 0.0
        order = np.lexsort((X.start[rows], X.which[rows]))
        for row in rows[order]:
            start, length = X.start[row], share * X.n_read
            stop = stops.get(X.which[row], -np.inf)
            total += min(length, start + length - stop)
            stops[X.which[row]] = max(stop, start + length)
        return total / (len(rows) * share * X.n_read)

    def _whitened_batches(self, X, targets, rows, noise):
        """Yield lagged features and channels of inner frames, whitened."""
        n_frames = len(self.frame_weights_)
        inner, time_filter = slice(*self._inner_range()), noise.make_time_filter(n_frames)
        rows = rows[np.argsort(X.which[rows], kind="stable")]
        width = n_frames * max(
            len(self.lag_frames_) * self.speech_components_.shape[1], self.n_speech_features_
        )
        for piece in slice_rows_into_chunks(len(rows), count_chunk_rows(BATCH_BYTES, width)):
            frames = self._pool(X.gather(rows[piece]))
            x = whiten_noise(frames, noise.mean, noise.unmix, noise.limit, time_filter, noise.remix)
            z = time_filter @ self._lagged(targets.gather(rows[piece]))
            yield z[:, inner], x[:, inner]

    def _lagged(self, features, before=0, after=0):
        """Center, project and lag: (n_windows, n_frames, n_columns).

        ``features`` have further frames ``before`` and ``after`` the window.
        """
        mean, components = (
            torch.from_numpy(one).to(features) for one in (self.speech_mean_, self.speech_components_)
        )
        n_frames = len(self.frame_weights_)
        features = features[..., : before + n_frames + after].transpose(1, 2) - mean
        return lag_response_features(features @ components, self.lag_frames_)[:, before : before + n_frames]

    def _make_model(self, cut, directions, moments, noise):
        """Return the arrays of a model, in the order of ``MODEL``."""
        n_frames = len(self.frame_weights_)
        coef = cut.reshape(len(self.lag_frames_), self.speech_components_.shape[1], -1)
        energy = n_frames * np.einsum("ij,ij->", cut, moments.gram @ cut) / max(moments.n, 1e-30)
        filters, time_filter = noise.remix @ directions, noise.make_time_filter(n_frames)
        patterns = directions.T @ np.linalg.pinv(noise.remix) @ np.linalg.pinv(noise.unmix)
        return noise.mean, noise.unmix, noise.limit, time_filter, filters, coef, patterns, energy


def select_likelihood_fitting_cover(windows, share):
    """Select windows whose inner parts cover those of all.

    ``share`` is the share of a window that is inside.
    """
    order = np.lexsort((windows.start, windows.which))
    length, keep, signal, last, candidate = share * windows.n_read, [], -1, 0, None
    for row in order:
        start = windows.start[row]
        if windows.which[row] != signal:
            if candidate is not None:
                keep.append(candidate)
            signal, last, candidate = windows.which[row], start, None
            keep.append(row)
            continue
        if start > last + length:
            if candidate is not None:
                keep.append(candidate)
                last = windows.start[candidate]
            if start > last + length:
                keep.append(row)
                last, candidate = start, None
                continue
        if start > last:
            candidate = row
    if candidate is not None:
        keep.append(candidate)
    return np.sort(np.asarray(keep, dtype=np.int64))

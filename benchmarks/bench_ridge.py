"""Time of fitting RidgeDecoder, compared with one product per lag and part.

``python benchmarks/bench_ridge.py`` fits windows of white noise of one subject
that overlap as windows at words do. The former algorithm read all windows
once for the sums over all rows and again for each fold and its gap, pooled all
channels in float64 before the projection, and took a product for each lag.
Both select ``alpha_`` in the same folds. The ratio of processor times and the
largest difference of coefficients are printed.
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from _machine import machine, markdown

from sk_b2s import RidgeDecoder, Windows
from sk_b2s.decoding import _ridge_base
from sk_b2s.decoding._ridge_solver import RidgeMoments, sum_ridge_frames

SFREQ, SECONDS, N_FEATURES, WORDS_PER_SECOND, BLOCK = 50, 3, 20, 3, 30.0


def make_data(minutes, n_channels, seed=0):
    """Make windows at the words of one recording, their table and features."""
    rng = np.random.default_rng(seed)
    n_times = int(minutes * 60 * SFREQ)
    n_windows = int(minutes * 60 * WORDS_PER_SECOND)
    start = np.sort(rng.integers(0, n_times - SECONDS * SFREQ, n_windows))
    speech = rng.standard_normal((n_times, N_FEATURES)).astype("f4")
    signal = rng.standard_normal((n_times, n_channels)).astype("f4")
    signal[10:, :N_FEATURES] += 0.3 * speech[:-10]
    which = np.zeros(n_windows, int)
    rows = pd.DataFrame({"subject": ["01"] * n_windows})
    X, y = (
        Windows([part], which, start, SECONDS * SFREQ, SFREQ, rows=rows if part is signal else None)
        for part in (signal, speech)
    )
    return X, y


class Blocks:
    """Folds of contiguous thirds, separated by a gap."""

    def split(self, X, y):
        """Yield rows of training and test."""
        for test in np.array_split(np.arange(len(X)), 3):
            rows = np.arange(len(X))
            yield np.flatnonzero((rows < test[0] - 20) | (rows > test[-1] + 20)), test


class FormerRidge(RidgeDecoder):
    """Ridge regression by the former algorithm."""

    def _fit_model(self, X, targets, y, segments, rows):
        mean, components, offset = self._former_means(X, targets, rows)
        shape = len(self.lag_frames_), components.shape[1], self.n_features_out_

        def moments(rows):
            batches = (
                (self._former_pool(eeg, mean) @ components, speech - offset)
                for eeg, speech in self._float64_batches(X, targets, rows)
            )
            return sum_by_lag(batches, self.lag_frames_, *shape[1:])

        def sum_parts(moments, rows, folds):
            parts = [
                (moments(test), moments(np.setdiff1d(rows, np.concatenate([train, test]))))
                for train, test in folds
            ]
            return moments(rows), *zip(*parts, strict=True)

        current, _ridge_base._sum_fold_moments = _ridge_base._sum_fold_moments, sum_parts
        try:
            coef, intercept, *chosen = self._regress(moments, rows, y, segments, offset)
        finally:
            _ridge_base._sum_fold_moments = current
        coef = components.numpy() @ coef.reshape(shape)
        return *(a.astype(np.float32) for a in (coef, intercept, mean.numpy())), *chosen

    def _float64_batches(self, X, targets, rows):
        for eeg, speech in self._iter_batches(X, targets, rows):
            yield eeg.double(), speech.double()

    def _former_means(self, X, targets, rows):
        n_channels = X.shape[1]
        x_sum, y_sum = torch.zeros(n_channels).double(), torch.zeros(self.n_features_out_).double()
        products = torch.zeros(n_channels, n_channels).double()
        for eeg, speech in self._float64_batches(X, targets, rows):
            flat = self._former_pool(eeg, torch.zeros(n_channels)).reshape(-1, n_channels)
            x_sum += flat.sum(0)
            y_sum += speech.sum((0, 1))
            products += flat.T @ flat
        n_frames = len(self.frame_weights_) * len(rows)
        mean, offset = x_sum / n_frames, y_sum / n_frames
        covariance = products / n_frames - torch.outer(mean, mean)
        return mean, torch.linalg.eigh(covariance).eigenvectors[:, -self.n_components :], offset

    def _former_pool(self, batch, mean):
        weights = torch.from_numpy(self.frame_weights_).to(batch)[:, None]
        sums = sum_ridge_frames(batch, torch.from_numpy(self._frames), len(weights))
        return (sums - weights * mean) / weights.clamp(min=1)


def sum_by_lag(batches, lags, n_channels, n_features):
    """Sum moments with one product per lag and all ends of windows."""
    n_lags, reach = len(lags), (-int(lags[0]), int(lags[-1]))
    x_sum, xy = np.zeros((n_lags, n_channels)), np.zeros((n_lags, n_channels, n_features))
    top, ends = np.zeros((n_channels, n_lags, n_channels)), np.zeros(((n_lags - 1) * n_channels,) * 2)
    y_sum, yy, n = np.zeros(n_features), np.zeros(n_features), 0
    for x, y in batches:
        n_windows, n_frames = x.shape[:2]
        padded = torch.nn.functional.pad(x, (0, 0, *reach))
        y = y.reshape(-1, n_features)
        leading = padded[:, :n_frames].reshape(-1, n_channels)
        for lag in range(n_lags):
            shifted = padded[:, lag : lag + n_frames].reshape(-1, n_channels)
            top[:, lag] += (leading.T @ shifted).numpy()
            xy[lag] += (shifted.T @ y).numpy()
            x_sum[lag] += shifted.sum(0).numpy()
        leaving = padded[:, : n_lags - 1].reshape(n_windows, -1)
        entering = padded[:, n_frames : n_frames + n_lags - 1].reshape(n_windows, -1)
        ends += (entering.T @ entering - leaving.T @ leaving).numpy()
        y_sum += y.sum(0).numpy()
        yy += y.square().sum(0).numpy()
        n += len(y)
    ends = ends.reshape(n_lags - 1, n_channels, n_lags - 1, n_channels)
    xx = np.empty((n_lags, n_channels, n_lags, n_channels))
    xx[0], xx[:, :, 0] = top, top.transpose(1, 2, 0)
    for lag in range(1, n_lags):
        xx[lag, :, 1:] = xx[lag - 1, :, :-1] + ends[lag - 1]
    n_columns = n_lags * n_channels
    xx, xy = xx.reshape(n_columns, n_columns), xy.reshape(n_columns, n_features)
    return RidgeMoments(n, x_sum.ravel(), y_sum, xx, xy, yy)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="*", default=[2, 8, 24])
    parser.add_argument("--channels", type=int, default=208)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for minutes in given.minutes:
        X, y = make_data(minutes, given.channels)
        settings = {"lags": (-0.15, 0.35), "n_components": 48, "cv": Blocks()}
        seconds, fitted = {}, {}
        for kind in (RidgeDecoder, FormerRidge):
            began = time.process_time()
            fitted[kind] = kind(**settings).fit(X, y)
            seconds[kind] = time.process_time() - began
        now, former = fitted.values()
        difference = np.abs(now.coef_ - former.coef_).max() / np.abs(former.coef_).max()
        lines.append([
            f"{minutes:g}", len(X), f"{seconds[FormerRidge]:.1f}", f"{seconds[RidgeDecoder]:.1f}",
            f"{seconds[FormerRidge] / seconds[RidgeDecoder]:.1f}", f"{difference:.0e}",
        ])  # fmt: skip
    columns = ["minutes", "windows", "former, CPU s", "now, CPU s", "ratio", "relative difference of coef_"]
    print(markdown(columns, lines))
    print(f"\n{machine()}")

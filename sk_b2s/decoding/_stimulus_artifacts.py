"""Detection of the audio signal in EEG/MEG channels."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from sk_b2s._utils._validation import validate_table
from sk_b2s.metrics._lag_curve import compute_lag_curve_weights

LEAK = 6.0  # s.d. of the null. Simulations without leak reach 4.8, weak leaks begin at 7
AT_ONCE = 0.016  # s, a peak within this lag of 0 is not a neural response
WIDTH = 0.4  # s around a lag in which the response is modeled
SAMPLES = 8.0  # number of independent samples of a response within that time
FAR = 2.5  # s, lags without a response
EARLIER = (-0.2, -0.06)  # s, where a response that was shifted to 0 s begins
HOLDS = 0.3  # correlation with the envelope from which a channel may contain the audio signal
IN_WINDOWS = 0.5  # the same in windows, where the lag is unknown
WINDOWS = 100  # number of windows to check
ABOVE = 4.0  # factor above the median of channels
HOLD_SOUND = "Channels of X that hold the sound"  # beginning of the warning


def score_stimulus_artifact(eeg, audio, sfreq, is_playing):
    r"""Score a component that follows the audio without delay.

    The score is in standard deviations of its null.

    A leak is an impulse at 0 s in the temporal response function, with a
    pattern :math:`w = W(0)` over channels that the response around it does not
    have. Let :math:`k` be the impulse response of the estimator,
    :math:`R(\tau) = W(\tau)
    - k(\tau) w` the rest and :math:`\Sigma` the covariance at far lags. The
    filter :math:`v = (\Sigma + R^T R / n)^{-1} w` passes the leak and
    suppresses noise and response. It is computed in one half of the recording
    and applied to the other, so that it does not depend on the noise there.
    Without a leak, the score is standard normal up to the response at 0 s.

    Parameters
    ----------
    eeg : ndarray of shape (n_times, n_channels)
        Whitened channels.
    audio : ndarray of shape (n_times,)
    sfreq : float
        Sampling rate in Hz.
    is_playing : ndarray of bool of shape (n_times,)
        Where audio was played.

    Returns
    -------
    score : float
        NaN if the recording is too short. 0 if the time before 0 s has a
        similar component, which is then a response with a wrong onset in the
        table.
    """
    middle = int(np.searchsorted(np.cumsum(is_playing), is_playing.sum() / 2))
    parts = [slice(0, middle), slice(middle, len(audio))]
    if not eeg.shape[1] or any(len(audio[p]) < 4 * FAR * sfreq or not np.ptp(audio[p]) for p in parts):
        return np.nan
    halves = [_compute_artifact_responses(eeg[part], audio[part], sfreq) for part in parts]
    score = _score_artifact_lag(halves, 0, sfreq)
    if score > LEAK:
        first, last = (round(lag * sfreq) for lag in EARLIER)
        score *= max(_score_artifact_lag(halves, lag, sfreq) for lag in range(first, last + 1)) <= score / 2
    return float(score)


def _compute_artifact_responses(eeg, audio, sfreq):
    """Return response functions near 0 s and far, and the impulse response."""
    n_times = next_fast_len(len(audio), real=True)
    weight = compute_lag_curve_weights(audio, sfreq, n_times)
    near = np.arange(-2 * round(WIDTH * sfreq), 2 * round(WIDTH * sfreq) + 1)
    first = round(FAR * sfreq)
    far = np.unique(np.linspace(first, n_times - first, 2000).astype(int))
    weights = np.empty((len(near) + len(far), eeg.shape[1]))
    for channel, course in enumerate(eeg.T):
        weights[:, channel] = irfft(rfft(course, n_times) * weight, n_times)[np.r_[near, far]]
    impulse = irfft(rfft(audio, n_times) * weight, n_times)[near]
    return weights[: len(near)], weights[len(near) :], impulse / impulse.max()


def _score_artifact_lag(halves, lag, sfreq):
    """Score the component at a lag with the filter of the other half."""
    width, scores = round(WIDTH * sfreq), []
    middle = 2 * width
    around = slice(middle + lag - width, middle + lag + width + 1)
    for (near, far, impulse), (other, other_far, _) in (halves, halves[::-1]):
        pattern = near[middle + lag]
        rest = near[around] - np.outer(impulse[width : 3 * width + 1], pattern)
        noise = np.cov(far.T, ddof=1).reshape(len(pattern), -1)
        noise = noise + 1e-3 * np.trace(noise) / len(noise) * np.eye(len(noise))
        pass_leak = np.linalg.solve(noise + rest.T @ rest / SAMPLES, pattern)
        spread = (other_far @ pass_leak).std()
        scores.append(other[middle + lag] @ pass_leak / spread if spread > 0 else 0.0)
    return sum(scores) / np.sqrt(2)


def find_stimulus_artifact_channels(signal, envelope, sfreq):
    """Find channels whose correlation with the envelope peaks at 0 s.

    The peak must be within 16 ms of 0 s.

    Parameters
    ----------
    signal : ndarray of shape (n_times, n_channels)
    envelope : ndarray of shape (n_times,)
        Envelope of the audio, in the frequency band of the signal.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    found : list of (int, float)
        Channel and correlation, if the correlation is at least 0.3 and four
        times the median over channels.
    """
    n_times = next_fast_len(2 * len(envelope), real=True)
    power = np.linalg.norm(envelope)
    spread = signal.std(0) * np.sqrt(len(signal))
    if not power or not (spread > 0).any():
        return []
    spectrum, reach = np.conj(rfft(envelope, n_times)), round(WIDTH * sfreq)
    lags = np.arange(-reach, reach + 1)
    correlation = np.zeros((len(lags), signal.shape[1]))
    for channel in np.flatnonzero(spread > 0):
        course = signal[:, channel] - signal[:, channel].mean(dtype=float)
        product = irfft(rfft(course, n_times) * spectrum, n_times)[lags]
        correlation[:, channel] = np.abs(product) / (power * spread[channel])
    most, at = correlation.max(0), np.abs(lags[correlation.argmax(0)]) / sfreq
    usual = float(np.median(most[spread > 0]))
    found = np.flatnonzero((at <= AT_ONCE + 1e-9) & (most >= max(HOLDS, ABOVE * usual)))
    return [(int(channel), float(most[channel])) for channel in found]


def warn_stimulus_artifact_channels(X, y, targets):
    """Warn about channels that contain the audio signal.

    Parameters
    ----------
    X : Windows of shape (n_windows, n_channels, n_times)
        Checked only if they have a column ``recording``.
    y : DataFrame, Windows or array-like
        Segments, checked only if they have a column ``sound``.
    targets : Windows of shape (n_windows, n_features, n_frames)
        Features of the stimuli, averaged for the correlation.

    Warns
    -----
    UserWarning
        If the correlation of a channel with the mean feature is at least 0.5
        at a lag of at most 0.4 s, and four times the median over channels.
    """
    n_times, n_frames = X.shape[2], targets.shape[2]
    table = validate_table(y)
    of_recordings = X.sfreq is not None and X.rows is not None and "recording" in X.rows
    if not of_recordings or table is None or "sound" not in table or n_frames < 8 or X.shape[1] < 4:
        return
    rows = np.unique(np.linspace(0, len(X) - 1, WINDOWS).astype(int))
    eeg = np.asarray(X[rows], float)
    course = np.asarray(targets[rows], float).mean(1)
    at = np.linspace(0, n_frames - 1, n_times)
    audio = np.stack([np.interp(at, np.arange(n_frames), one) for one in course])
    eeg, audio = (data - data.mean(-1, keepdims=True) for data in (eeg, audio))
    reach = min(round(WIDTH * X.sfreq), n_times // 2)
    best = np.zeros(eeg.shape[1])
    for lag in range(-reach, reach + 1):
        later = eeg[:, :, max(lag, 0) : n_times + min(lag, 0)]
        earlier = audio[:, max(-lag, 0) : n_times - max(lag, 0)]
        size = np.sqrt((later**2).sum((0, 2)) * (earlier**2).sum())
        product = np.abs(np.einsum("nct,nt->c", later, earlier))
        best = np.maximum(best, np.divide(product, size, out=np.zeros_like(size), where=size > 0))
    found = np.flatnonzero(best >= max(IN_WINDOWS, ABOVE * float(np.median(best))))
    if len(found):
        names = ", ".join(f"{channel} (correlation {best[channel]:.2f})" for channel in found[:8])
        warnings.warn(
            f"{HOLD_SOUND}, counted from 0: {names}. Scores from them are not neural. Exclude them with "
            f"Epocher(picks=...), or set their type to 'misc'.",
            stacklevel=4,
        )

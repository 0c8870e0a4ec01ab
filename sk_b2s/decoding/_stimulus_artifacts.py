"""Copies of the audio signal in EEG/MEG channels."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from sk_b2s._utils._validation import table_of
from sk_b2s.metrics._lag_curve import lag_weights

LEAK = 6.0  # s.d. of its null; clean simulations reach 4.8, earphones of 0.2 noise s.d. begin at 7
AT_ONCE = 0.016  # s; a peak within it of 0 is no brain's
WIDTH = 0.4  # s around a lag in which the response is modeled
SAMPLES = 8.0  # independent ones of a response within that time
FAR = 2.5  # s beyond which nothing answers
EARLIER = (-0.2, -0.06)  # s, where a response that was moved to 0 s has its beginning
HOLDS = 0.3  # correlation with the envelope from which a channel may hold the sound
IN_WINDOWS = 0.5  # the same in windows, where the lag is not known
WINDOWS = 100  # that are looked at
ABOVE = 4.0  # times what most channels have
HOLD_SOUND = "Channels of X that hold the sound"  # how the warning begins


def compute_leak_score(brain, sound, sfreq, heard):
    r"""Score a component that follows the sound at 0 s with no delay, in s.d. of its null.

    A leak is an impulse at 0 s in the temporal response function, with a pattern :math:`w = W(0)` over channels
    that the response around it does not have. With :math:`k` the impulse response of the estimator, :math:`R(\tau) =
    W(\tau) - k(\tau) w` the rest and :math:`\Sigma` the covariance at far lags, :math:`v = (\Sigma + R^T R / n)^{-1}
    w` is the filter that passes the leak and suppresses noise and response. It is computed in one half of the
    recording and applied to the other, so that noise has no part in its choice. Without a leak the score is standard
    normal but for what the response has at 0 s by itself.

    Parameters
    ----------
    brain : ndarray of shape (n_times, n_channels)
        Of equal power in all directions.
    sound : ndarray of shape (n_times,)
    sfreq : float
        Hz.
    heard : ndarray of bool of shape (n_times,)
        Where sound was played.

    Returns
    -------
    score : float
        NaN where the recording is too short. 0 where the time before 0 s has such a component as well, so that it is
        a response which the table puts too early.
    """
    middle = int(np.searchsorted(np.cumsum(heard), heard.sum() / 2))
    parts = [slice(0, middle), slice(middle, len(sound))]
    if not brain.shape[1] or any(len(sound[p]) < 4 * FAR * sfreq or not np.ptp(sound[p]) for p in parts):
        return np.nan
    halves = [_responses(brain[part], sound[part], sfreq) for part in parts]
    score = _score(halves, 0, sfreq)
    if score > LEAK:
        first, last = (round(lag * sfreq) for lag in EARLIER)
        score *= max(_score(halves, lag, sfreq) for lag in range(first, last + 1)) <= score / 2
    return float(score)


def _responses(brain, sound, sfreq):
    """Temporal response functions near 0 s and at far lags, and the estimator's impulse response near 0 s."""
    n_times = next_fast_len(len(sound), real=True)
    weight = lag_weights(sound, sfreq, n_times)
    near = np.arange(-2 * round(WIDTH * sfreq), 2 * round(WIDTH * sfreq) + 1)
    first = round(FAR * sfreq)
    far = np.unique(np.linspace(first, n_times - first, 2000).astype(int))
    weights = np.empty((len(near) + len(far), brain.shape[1]))
    for channel, course in enumerate(brain.T):
        weights[:, channel] = irfft(rfft(course, n_times) * weight, n_times)[np.r_[near, far]]
    impulse = irfft(rfft(sound, n_times) * weight, n_times)[near]
    return weights[: len(near)], weights[len(near) :], impulse / impulse.max()


def _score(halves, lag, sfreq):
    """Score of a component at a lag, by the filter of either half in the other."""
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


def find_audio_channels(signal, sound, sfreq):
    """Find channels that hold the sound: their correlation with the envelope is largest within 16 ms of 0 s.

    Parameters
    ----------
    signal : ndarray of shape (n_times, n_channels)
    sound : ndarray of shape (n_times,)
        Envelope, in the band of the signal.
    sfreq : float
        Hz.

    Returns
    -------
    found : list of (int, float)
        Channel and correlation, of channels whose correlation is 0.3 or more and four times that of most.
    """
    n_times = next_fast_len(2 * len(sound), real=True)
    power = np.linalg.norm(sound)
    spread = signal.std(0) * np.sqrt(len(signal))
    if not power or not (spread > 0).any():
        return []
    spectrum, reach = np.conj(rfft(sound, n_times)), round(WIDTH * sfreq)
    lags = np.arange(-reach, reach + 1)
    likeness = np.zeros((len(lags), signal.shape[1]))
    for channel in np.flatnonzero(spread > 0):
        course = signal[:, channel] - signal[:, channel].mean(dtype=float)
        product = irfft(rfft(course, n_times) * spectrum, n_times)[lags]
        likeness[:, channel] = np.abs(product) / (power * spread[channel])
    most, at = likeness.max(0), np.abs(lags[likeness.argmax(0)]) / sfreq
    usual = float(np.median(most[spread > 0]))
    found = np.flatnonzero((at <= AT_ONCE + 1e-9) & (most >= max(HOLDS, ABOVE * usual)))
    return [(int(channel), float(most[channel])) for channel in found]


def warn_audio_channels(X, y, targets):
    """Warn of channels that hold the sound, which no sensor of a brain does.

    Parameters
    ----------
    X : Windows of shape (n_windows, n_channels, n_times)
        Nothing is done where they are not of recordings.
    y : DataFrame, Windows or array-like
        Segments. Nothing is done where they name no sound.
    targets : Windows of shape (n_windows, n_features, n_frames)
        Features of the sound, whose mean is looked for.

    Warns
    -----
    UserWarning
        If the correlation of a channel with the mean feature is 0.5 or more, at a lag of 0.4 s or less, and four times
        that of most channels.
    """
    n_times, n_frames = X.shape[2], targets.shape[2]
    table = table_of(y)
    of_recordings = X.sfreq is not None and X.rows is not None and "recording" in X.rows
    if not of_recordings or table is None or "sound" not in table or n_frames < 8 or X.shape[1] < 4:
        return
    rows = np.unique(np.linspace(0, len(X) - 1, WINDOWS).astype(int))
    brain = np.asarray(X[rows], float)
    course = np.asarray(targets[rows], float).mean(1)
    at = np.linspace(0, n_frames - 1, n_times)
    sound = np.stack([np.interp(at, np.arange(n_frames), one) for one in course])
    brain, sound = (data - data.mean(-1, keepdims=True) for data in (brain, sound))
    reach = min(round(WIDTH * X.sfreq), n_times // 2)
    best = np.zeros(brain.shape[1])
    for lag in range(-reach, reach + 1):
        later = brain[:, :, max(lag, 0) : n_times + min(lag, 0)]
        heard = sound[:, max(-lag, 0) : n_times - max(lag, 0)]
        size = np.sqrt((later**2).sum((0, 2)) * (heard**2).sum())
        product = np.abs(np.einsum("nct,nt->c", later, heard))
        best = np.maximum(best, np.divide(product, size, out=np.zeros_like(size), where=size > 0))
    found = np.flatnonzero(best >= max(IN_WINDOWS, ABOVE * float(np.median(best))))
    if len(found):
        names = ", ".join(f"{channel} (correlation {best[channel]:.2f})" for channel in found[:8])
        warnings.warn(
            f"{HOLD_SOUND}, counted from 0: {names}. A score from them is none of a brain. "
            "Leave them out by Epocher(picks=...), or set their type to 'misc'.",
            stacklevel=4,
        )

"""What is decodable at all: the matched filter of someone who knows how the recordings were made."""

import mne
import numpy as np
import pandas as pd
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from sk_b2s.datasets.noise import ALPHA_BAND, inside

__all__ = ["oracle_scores"]


def oracle_scores(truth, X, y, lag=0.15):
    r"""Score windows against the distinct segments of y with the truth about the simulation.

    With the expected response :math:`s_c` of a listener's sources to candidate c, their patterns P and the
    noise covariance :math:`\Sigma(f)` at each frequency, the score is the log-likelihood

    .. math:: \langle P^T \Sigma^{-1} x,\, s_c \rangle
              - \tfrac12 \langle P^T \Sigma^{-1} P s_c,\, s_c \rangle

    over the window, up to a constant: no decoder of the same stretch of brain beats it on average, but for what the
    filter sees beyond the window's edges. It knows kernels, anatomy and noise of every recording, and takes
    blinks, jumps and whatever else was added off; it does not know attention, jitter, the clock's error and
    the ignored talker.

    Parameters
    ----------
    truth : dict of str to ListenerTruth
        From ``make_listening(return_truth=True)``.
    X, y : DataFrame of shape (n_windows, ...)
        From :func:`~sk_b2s.make_segments`. Each candidate must have been heard in each recording.
    lag : float, default=0.15
        Seconds by which the brain is read later than the sound, as in ``Epocher(lag=...)``.

    Returns
    -------
    scores : ndarray of shape (n_windows, n_candidates)
        float32; columns are the distinct segments of ``y`` in order of first appearance.

    Raises
    ------
    ValueError
        If a recording has no truth, or a candidate was not heard in it.
    """
    segments, distinct = pd.factorize(y["segment"])
    scores = np.empty((len(X), len(distinct)), np.float32)
    planted = {path: of for listener in truth.values() for path, of in listener.recordings.items()}
    recordings = X["recording"].to_numpy(dtype=object)
    for path in pd.unique(recordings):
        rows = np.flatnonzero(recordings == path)
        if path not in planted:
            raise ValueError(f"truth has no recording {path!r}; it has {list(planted)[:3]} ...")
        begin = np.full(len(distinct), np.nan)
        begin[segments[rows][::-1]] = X["onset"].to_numpy()[rows][::-1]  # where it was heard first
        if np.isnan(begin).any():
            missing = int(np.flatnonzero(np.isnan(begin))[0])
            raise ValueError(
                f"candidate {distinct[missing]} was not heard in recording {path!r}, so its response there is not "
                f"known ({np.isnan(begin).sum()} such candidates); score recordings with other sounds apart."
            )
        scores[rows] = _score_recording(path, planted[path], X.iloc[rows], begin, lag)
    return scores


def _score_recording(path, planted, X, begin, lag):
    raw = mne.io.read_raw(path, verbose="ERROR")
    sfreq = raw.info["sfreq"]
    data = raw.get_data().astype(np.float32) - planted.artefacts()
    seen, gram = whiten(data, planted.patterns, planted.noise, planted.expected, sfreq)
    n_times = round(X["duration"].iloc[0] * sfreq)

    def cut(courses, onsets):
        first = np.round((np.asarray(onsets) + lag) * sfreq).astype(int)
        padded = np.pad(courses, ((0, 0), (0, n_times)))
        return padded[:, first[:, None] + np.arange(n_times)].transpose(1, 0, 2).reshape(len(first), -1)

    responses = cut(planted.expected, begin)
    energy = np.einsum("ct,ct->c", responses, cut(gram, begin))
    return cut(seen, X["onset"]) @ responses.T - energy / 2


def whiten(data, patterns, noise, sources, sfreq):
    r"""Reduce a recording to what its sources' responses are compared with.

    Parameters
    ----------
    data : ndarray of shape (n_channels, n_times)
    patterns : ndarray of shape (n_courses, n_channels)
    noise : NoiseModel
    sources : ndarray of shape (n_courses, n_times)
    sfreq : float

    Returns
    -------
    seen : ndarray of shape (n_courses, n_times)
        :math:`P^T \Sigma^{-1} x`, at each frequency.
    gram : ndarray of shape (n_courses, n_times)
        :math:`P^T \Sigma^{-1} P s`.

    Notes
    -----
    Brain and sensor noise have common eigenvectors :math:`U` at all frequencies (all sensors are equally noisy), so
    that one rotation of the channels makes :math:`\Sigma` diagonal but for alpha, whose few dipoles
    enter by Woodbury's identity in their own band.
    """
    n_times = data.shape[1]
    n_fft = next_fast_len(n_times, real=True)
    frequencies = rfftfreq(n_fft, 1 / sfreq)
    shape = noise.shapes(frequencies)[0] ** 2
    values, vectors = np.linalg.eigh(noise.brain @ noise.brain.T)
    white = noise.sensor_sd[0] ** 2
    rotated, alpha = patterns @ vectors, vectors.T @ noise.alpha
    band = np.flatnonzero(inside(frequencies, ALPHA_BAND))
    n_courses, n_alpha = len(patterns), alpha.shape[1]
    seen = np.zeros((n_courses, len(frequencies)), complex)
    gram = np.zeros((n_courses, n_courses, len(frequencies)))
    hidden = np.zeros((n_alpha, len(band)), complex)  # A^T D^-1 x
    across = np.zeros((n_courses, n_alpha, len(band)))  # P^T D^-1 A
    inner = np.tile(np.eye(n_alpha)[:, :, None], len(band))  # 1 + A^T D^-1 A
    for i, (value, vector) in enumerate(zip(values, vectors.T, strict=True)):
        weight = 1 / (max(value, 0) * shape + white)
        spectrum = rfft(vector.astype(np.float32) @ data, n_fft) * weight
        seen += np.outer(rotated[:, i], spectrum)
        gram += np.multiply.outer(np.outer(rotated[:, i], rotated[:, i]), weight)
        hidden += np.outer(alpha[i], spectrum[band])
        across += np.multiply.outer(np.outer(rotated[:, i], alpha[i]), weight[band])
        inner += np.multiply.outer(np.outer(alpha[i], alpha[i]), weight[band])
    correct = np.linalg.solve(
        inner.transpose(2, 0, 1), across.transpose(2, 1, 0)
    )  # (n_band, n_alpha, n_courses)
    seen[:, band] -= np.einsum("bac,ab->cb", correct, hidden)
    gram[:, :, band] -= np.einsum("cab,bad->cdb", across, correct)
    through = np.einsum("cdf,df->cf", gram, rfft(sources, n_fft))
    return tuple(irfft(spectra, n_fft)[:, :n_times].astype(np.float32) for spectra in (seen, through))

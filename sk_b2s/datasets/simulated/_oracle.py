"""Oracle scores: the matched filter that knows the simulation."""

import mne
import numpy as np
import pandas as pd
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from sk_b2s.datasets.simulated._noise import ALPHA_BAND, inside


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
    truth : dict of str to SubjectTruth
        From ``make_listening(return_truth=True)``.
    X, y : DataFrame of shape (n_windows, ...)
        From :func:`~sk_b2s.make_segments`. Each listener must have heard each candidate, in any recording.
    lag : float, default=0.15
        Seconds by which the brain is read later than the sound, as in ``Epocher(lag=...)``.

    Returns
    -------
    scores : ndarray of shape (n_windows, n_candidates)
        float32; columns are the distinct segments of ``y`` in order of first appearance.

    Raises
    ------
    ValueError
        If a recording has no truth, a candidate was never heard by a listener, or ``y`` has rows of the
        ignored talker, whose response the oracle takes for noise.
    """
    if "stream" in y and (y["stream"] == "ignored").any():
        raise ValueError(
            f"y has {(y['stream'] == 'ignored').sum()} rows of stream 'ignored', and the oracle knows the response to "
            f"the talker who is attended: use make_segments(stream='attended')."
        )
    segments, distinct = pd.factorize(y["segment"])
    scores = np.empty((len(X), len(distinct)), np.float32)
    recordings = X["recording"].to_numpy(dtype=object)
    planted = {path: listener for listener in truth.values() for path in listener.recordings}
    if unknown := [path for path in pd.unique(recordings) if path not in planted]:
        raise ValueError(f"truth has no recording {unknown[0]!r}; it has {list(planted)[:3]} ...")
    everything = pd.DataFrame({"recording": recordings, "segment": segments, "onset": X["onset"].to_numpy()})
    for path in pd.unique(recordings):
        of_listener = planted[path].recordings
        heard = everything[everything["recording"].isin(of_listener)]
        # Where a candidate is taken from: this recording if it was heard there, else another of this listener.
        heard = heard.iloc[np.argsort(heard["recording"].to_numpy() != path, kind="stable")]
        heard = heard.drop_duplicates("segment").set_index("segment").reindex(range(len(distinct)))
        if heard["onset"].isna().any():
            missing = int(np.flatnonzero(heard["onset"].isna())[0])
            raise ValueError(
                f"candidate {distinct[missing]} was never heard by the listener of {path!r}, so its response is not "
                f"known ({heard['onset'].isna().sum()} such candidates); score people who heard other sounds apart."
            )
        rows = np.flatnonzero(recordings == path)
        scores[rows] = _score_recording(path, of_listener, X.iloc[rows], heard, lag)
    return scores


def _score_recording(path, of_listener, X, heard, lag):
    """Score the windows of one recording; ``heard`` says where each candidate was heard."""
    planted = of_listener[path]
    raw = mne.io.read_raw(path, verbose="ERROR")
    sfreq, n_times = raw.info["sfreq"], round(X["duration"].iloc[0] * raw.info["sfreq"])
    data = raw.get_data().astype(np.float32) - planted.artifacts()
    places = list(pd.unique(heard["recording"]))
    lengths = [of_listener[place].expected.shape[1] + n_times for place in places]
    expected = [np.pad(of_listener[place].expected, ((0, 0), (0, n_times))) for place in places]
    expected = np.concatenate(expected, axis=1)
    begins = dict(zip(places, np.cumsum([0, *lengths[:-1]]), strict=True))
    first = heard["recording"].map(begins).to_numpy() + _samples(heard["onset"], lag, sfreq)

    def cut(courses, first):
        return courses[:, first[:, None] + np.arange(n_times)].transpose(1, 0, 2).reshape(len(first), -1)

    responses = cut(expected, first)
    through = weight_sources(expected, planted.patterns, planted.noise, sfreq)
    energy = np.einsum("ct,ct->c", responses, cut(through, first))
    seen = np.pad(project_recording(data, planted.patterns, planted.noise, sfreq), ((0, 0), (0, n_times)))
    return cut(seen, _samples(X["onset"], lag, sfreq)) @ responses.T - energy / 2


def _samples(onset, lag, sfreq):
    return np.round((np.asarray(onset, float) + lag) * sfreq).astype(int)


class _Precision:
    r"""The inverse of the noise covariance at each frequency, between patterns and a rotated recording.

    Brain and sensor noise have common eigenvectors at all frequencies (all sensors are equally noisy), so one
    rotation of the channels makes :math:`\Sigma` diagonal, D, but for alpha, whose few dipoles A enter by Woodbury's
    identity, :math:`D^{-1} - D^{-1} A (1 + A^T D^{-1} A)^{-1} A^T D^{-1}`, in their own band.
    """

    def __init__(self, patterns, noise, frequencies):
        values, self.vectors = np.linalg.eigh(noise.brain @ noise.brain.T)
        self.values, self.white = np.maximum(values, 0), noise.sensor_sd[0] ** 2
        self.shape = noise.shapes(frequencies)[0] ** 2
        self.patterns, self.alpha = patterns @ self.vectors, self.vectors.T @ noise.alpha
        self.band = np.flatnonzero(inside(frequencies, ALPHA_BAND))
        weight = 1 / (np.multiply.outer(self.values, self.shape[self.band]) + self.white)
        self.across = np.einsum("ci,ia,if->fca", self.patterns, self.alpha, weight, optimize=True)
        inner = np.einsum("ia,ib,if->fab", self.alpha, self.alpha, weight, optimize=True)
        correct = np.linalg.solve(np.eye(len(inner[0])) + inner, self.across.transpose(0, 2, 1))
        self.correct = correct.transpose(0, 2, 1)  # (n_band, n_courses, n_alpha)

    def weights(self):
        """Yield, of each rotated channel, its index and the inverse of its diagonal: (n_frequencies,)."""
        for i, value in enumerate(self.values):
            yield i, 1 / (value * self.shape + self.white)


def project_recording(data, patterns, noise, sfreq):
    r"""Reduce a recording to what the responses of its sources are compared with.

    Parameters
    ----------
    data : ndarray of shape (n_channels, n_times)
    patterns : ndarray of shape (n_courses, n_channels)
    noise : NoiseModel
    sfreq : float

    Returns
    -------
    seen : ndarray of shape (n_courses, n_times)
        :math:`P^T \Sigma^{-1} x`, at each frequency; float32.
    """
    n_fft = next_fast_len(data.shape[1], real=True)
    precision = _Precision(patterns, noise, rfftfreq(n_fft, 1 / sfreq))
    seen = np.zeros((len(patterns), len(precision.shape)), complex)
    hidden = np.zeros((len(precision.band), precision.alpha.shape[1]), complex)
    for i, weight in precision.weights():
        spectrum = rfft(precision.vectors[:, i].astype(np.float32) @ data, n_fft) * weight
        seen += np.outer(precision.patterns[:, i], spectrum)
        hidden += np.outer(spectrum[precision.band], precision.alpha[i])
    seen[:, precision.band] -= np.einsum("fca,fa->cf", precision.correct, hidden)
    return irfft(seen, n_fft)[:, : data.shape[1]].astype(np.float32)


def weight_sources(sources, patterns, noise, sfreq):
    r"""Weigh courses by how well the sensors see them.

    Parameters
    ----------
    sources : ndarray of shape (n_courses, n_times)
    patterns : ndarray of shape (n_courses, n_channels)
    noise : NoiseModel
    sfreq : float

    Returns
    -------
    through : ndarray of shape (n_courses, n_times)
        :math:`P^T \Sigma^{-1} P s`, at each frequency; float32.
    """
    n_fft = next_fast_len(sources.shape[1], real=True)
    precision = _Precision(patterns, noise, rfftfreq(n_fft, 1 / sfreq))
    gram = np.zeros((len(patterns), len(patterns), len(precision.shape)))
    for i, weight in precision.weights():
        column = precision.patterns[:, i]
        gram += np.multiply.outer(np.outer(column, column), weight)
    gram[:, :, precision.band] -= np.einsum("fca,fda->cdf", precision.correct, precision.across)
    through = np.einsum("cdf,df->cf", gram, rfft(sources, n_fft))
    return irfft(through, n_fft)[:, : sources.shape[1]].astype(np.float32)

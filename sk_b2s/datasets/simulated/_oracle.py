"""Oracle scores of a matched filter that uses the ground truth."""

import mne
import numpy as np
import pandas as pd
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from sk_b2s.datasets.simulated._noise import ALPHA_BAND, is_inside_noise_band
from sk_b2s.datasets.simulated._sources import FEATURE_RATE


def oracle_scores(truth, X, y, lag=0.15):
    r"""Score windows and the distinct segments of y with the ground truth.

    With the expected response :math:`s_c` of the sources of a subject to
    candidate c, their patterns P and the noise covariance :math:`\Sigma(f)` at
    each frequency, the score is the log-likelihood

    .. math:: \langle P^T \Sigma^{-1} x,\, s_c \rangle
              - \tfrac12 \langle P^T \Sigma^{-1} P s_c,\, s_c \rangle

    over the window, up to a constant. No decoder of the same windows is better
    on average, except that the filter uses data beyond the edges of the
    window. The oracle uses kernels, anatomy and noise of every recording, and
    subtracts added artifacts. It does not use attention, jitter, clock error
    and the ignored talker.

    For images, :math:`s_c` is the expected response to image c alone. The
    other responses in the window, and the drift of the common response, are
    subtracted with the truth. No decoder of single windows has this knowledge.

    Parameters
    ----------
    truth : dict of str to SubjectTruth
        Ground truth of ``make_listening(return_truth=True)`` or
        ``make_viewing(return_truth=True)``.
    X, y : DataFrame of shape (n_windows, n_columns)
        Tables of :func:`~sk_b2s.make_segments`. Each candidate must have been
        presented to each subject, in any recording, unless it is an image.
    lag : float, default=0.15
        Delay in seconds of the EEG/MEG windows relative to the stimulus, as in
        ``Epocher(lag=...)``.

    Returns
    -------
    scores : ndarray of shape (n_windows, n_candidates)
        Scores as float32. Columns are the distinct segments of ``y`` in order
        of first appearance.

    Raises
    ------
    ValueError
        If a recording has no ground truth, if a candidate was not presented to
        a subject, or if ``y`` has rows of the ignored talker, whose response
        is noise for the oracle.
    """
    if "stream" in y and (y["stream"] == "ignored").any():
        raise ValueError(
            f"y has {(y['stream'] == 'ignored').sum()} rows of stream 'ignored', but the oracle has the response to the "
            f"attended talker only. Use make_segments(stream='attended')."
        )
    segments, distinct = pd.factorize(y["segment"])
    scores = np.empty((len(X), len(distinct)), np.float32)
    recordings = X["recording"].to_numpy(dtype=object)
    subjects = {path: subject for subject in truth.values() for path in subject.recordings}
    if unknown := [path for path in pd.unique(recordings) if path not in subjects]:
        raise ValueError(
            f"'truth' has no recording {unknown[0]!r}, only {list(subjects)[:3]} ... Pass the truth of the same experiment."
        )
    presented = pd.DataFrame({"recording": recordings, "segment": segments, "onset": X["onset"].to_numpy()})
    for path in pd.unique(recordings):
        truths = subjects[path].recordings
        if subjects[path].responses:
            rows = np.flatnonzero(recordings == path)
            images = y["sound"].iloc[np.unique(segments, return_index=True)[1]]
            scores[rows] = _score_images_with_oracle(
                path, subjects[path], X.iloc[rows], y["sound_onset"].iloc[0], images, segments[rows], lag
            )
            continue
        found = presented[presented["recording"].isin(truths)]
        # Take a candidate from this recording if possible, else from another one of the subject.
        found = found.iloc[np.argsort(found["recording"].to_numpy() != path, kind="stable")]
        found = found.drop_duplicates("segment").set_index("segment").reindex(range(len(distinct)))
        if found["onset"].isna().any():
            missing = int(np.flatnonzero(found["onset"].isna())[0])
            raise ValueError(
                f"Candidate {distinct[missing]} was not presented to the subject of {path!r}, so its response is unknown "
                f"({found['onset'].isna().sum()} such candidates). Score subjects with different stimuli separately."
            )
        rows = np.flatnonzero(recordings == path)
        scores[rows] = _score_recording_with_oracle(path, truths, X.iloc[rows], found, lag)
    return scores


def _score_recording_with_oracle(path, truths, X, presented, lag):
    """Score the windows of a recording."""
    truth = truths[path]
    data, sfreq, n_times = _read_recording_for_oracle(path, truth, X)
    paths = list(pd.unique(presented["recording"]))
    lengths = [truths[other].expected.shape[1] + n_times for other in paths]
    expected = [np.pad(truths[other].expected, ((0, 0), (0, n_times))) for other in paths]
    expected = np.concatenate(expected, axis=1)
    begins = dict(zip(paths, np.cumsum([0, *lengths[:-1]]), strict=True))
    first = presented["recording"].map(begins).to_numpy() + _to_samples(presented["onset"], lag, sfreq)
    responses = _cut_oracle_courses(expected, first, n_times)
    weighted = weight_oracle_sources(expected, truth.patterns, truth.noise, sfreq)
    energy = np.einsum("ct,ct->c", responses, _cut_oracle_courses(weighted, first, n_times))
    projected = np.pad(
        project_oracle_recording(data, truth.patterns, truth.noise, sfreq), ((0, 0), (0, n_times))
    )
    return (
        _cut_oracle_courses(projected, _to_samples(X["onset"], lag, sfreq), n_times) @ responses.T
        - energy / 2
    )


def _score_images_with_oracle(path, subject, X, tmin, images, target, lag):
    """Score the windows of a recording of images."""
    truth = subject.recordings[path]
    data, sfreq, n_times = _read_recording_for_oracle(path, truth, X)
    if unknown := [image.name for image in images if getattr(image, "name", image) not in subject.responses]:
        raise ValueError(
            f"'truth' has no response to the image {unknown[0]!r}. Pass the truth of the same experiment."
        )
    data -= truth.patterns.T.astype(np.float32) @ truth.sources
    times = tmin + lag + np.arange(n_times) / sfreq
    # The response of each candidate, with zeros in between, as filters extend beyond the window.
    courses = [
        [
            np.interp(times, np.arange(len(row)) / FEATURE_RATE, row, left=0, right=0)
            for row in subject.responses[image.name]
        ]
        for image in images
    ]
    padded = np.pad(np.array(courses, np.float32), ((0, 0), (0, 0), (n_times, n_times)))
    first = n_times + padded.shape[2] * np.arange(len(images))
    padded = padded.transpose(1, 0, 2).reshape(padded.shape[1], -1)
    responses = _cut_oracle_courses(padded, first, n_times)
    weighted = _cut_oracle_courses(
        weight_oracle_sources(padded, truth.patterns, truth.noise, sfreq), first, n_times
    )
    projected = np.pad(
        project_oracle_recording(data, truth.patterns, truth.noise, sfreq), ((0, 0), (n_times, n_times))
    )
    noise = _cut_oracle_courses(projected, n_times + _to_samples(X["onset"], lag, sfreq), n_times)
    return (noise + weighted[target]) @ responses.T - np.einsum("ct,ct->c", responses, weighted) / 2


def _read_recording_for_oracle(path, truth, X):
    """Return a recording without artifacts, its rate and window length."""
    raw = mne.io.read_raw(path, verbose="ERROR")
    sfreq = raw.info["sfreq"]
    return (
        raw.get_data().astype(np.float32) - truth.artifacts(), sfreq, round(X["duration"].iloc[0] * sfreq),
    )  # fmt: skip


def _cut_oracle_courses(courses, first, n_times):
    """Cut windows from courses, (n_windows, n_courses * n_times)."""
    return courses[:, first[:, None] + np.arange(n_times)].transpose(1, 0, 2).reshape(len(first), -1)


def _to_samples(onset, lag, sfreq):
    return np.round((np.asarray(onset, float) + lag) * sfreq).astype(int)


class _NoisePrecision:
    r"""Inverse of the noise covariance at each frequency, in rotated channels.

    Brain and sensor noise have the same eigenvectors at all frequencies, as
    all sensors have equal noise. One rotation of the channels thus makes their
    :math:`\Sigma` diagonal, D. The few alpha dipoles A are included by
    Woodbury's identity, :math:`D^{-1} - D^{-1} A (1 + A^T D^{-1} A)^{-1} A^T
    D^{-1}`, in their band.
    """

    def __init__(self, patterns, noise, frequencies):
        values, self.vectors = np.linalg.eigh(noise.brain @ noise.brain.T)
        self.values, self.white = np.maximum(values, 0), noise.sensor_sd[0] ** 2
        self.shape = noise.spectra(frequencies)[0] ** 2
        self.patterns, self.alpha = patterns @ self.vectors, self.vectors.T @ noise.alpha
        self.band = np.flatnonzero(is_inside_noise_band(frequencies, ALPHA_BAND))
        weight = 1 / (np.multiply.outer(self.values, self.shape[self.band]) + self.white)
        self.across = np.einsum("ci,ia,if->fca", self.patterns, self.alpha, weight, optimize=True)
        inner = np.einsum("ia,ib,if->fab", self.alpha, self.alpha, weight, optimize=True)
        correct = np.linalg.solve(np.eye(len(inner[0])) + inner, self.across.transpose(0, 2, 1))
        self.correct = correct.transpose(0, 2, 1)  # (n_band, n_courses, n_alpha)

    def iter_weights(self):
        """Iterate over rotated channels and their inverse diagonals."""
        for i, value in enumerate(self.values):
            yield i, 1 / (value * self.shape + self.white)


def project_oracle_recording(data, patterns, noise, sfreq):
    r"""Project a recording on its sources.

    Parameters
    ----------
    data : ndarray of shape (n_channels, n_times)
        Recording without added artifacts.
    patterns : ndarray of shape (n_courses, n_channels)
        Sensor patterns of the sources.
    noise : SimulatedNoiseModel
        Noise of the recording.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    projected : ndarray of shape (n_courses, n_times)
        :math:`P^T \Sigma^{-1} x` at each frequency, as float32.
    """
    n_fft = next_fast_len(data.shape[1], real=True)
    precision = _NoisePrecision(patterns, noise, rfftfreq(n_fft, 1 / sfreq))
    projected = np.zeros((len(patterns), len(precision.shape)), complex)
    alpha = np.zeros((len(precision.band), precision.alpha.shape[1]), complex)
    for i, weight in precision.iter_weights():
        spectrum = rfft(precision.vectors[:, i].astype(np.float32) @ data, n_fft) * weight
        projected += np.outer(precision.patterns[:, i], spectrum)
        alpha += np.outer(spectrum[precision.band], precision.alpha[i])
    projected[:, precision.band] -= np.einsum("fca,fa->cf", precision.correct, alpha)
    return irfft(projected, n_fft)[:, : data.shape[1]].astype(np.float32)


def weight_oracle_sources(sources, patterns, noise, sfreq):
    r"""Weight time courses by the signal-to-noise ratio at the sensors.

    Parameters
    ----------
    sources : ndarray of shape (n_courses, n_times)
        Time courses of the sources.
    patterns : ndarray of shape (n_courses, n_channels)
        Sensor patterns of the sources.
    noise : SimulatedNoiseModel
        Noise of the recording.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    weighted : ndarray of shape (n_courses, n_times)
        :math:`P^T \Sigma^{-1} P s` at each frequency, as float32.
    """
    n_fft = next_fast_len(sources.shape[1], real=True)
    precision = _NoisePrecision(patterns, noise, rfftfreq(n_fft, 1 / sfreq))
    gram = np.zeros((len(patterns), len(patterns), len(precision.shape)))
    for i, weight in precision.iter_weights():
        column = precision.patterns[:, i]
        gram += np.multiply.outer(np.outer(column, column), weight)
    gram[:, :, precision.band] -= np.einsum("fca,fda->cdf", precision.correct, precision.across)
    weighted = np.einsum("cdf,df->cf", gram, rfft(sources, n_fft))
    return irfft(weighted, n_fft)[:, : sources.shape[1]].astype(np.float32)

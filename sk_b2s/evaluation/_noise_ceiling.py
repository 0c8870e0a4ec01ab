"""Noise ceilings: split-half reliability, inter-subject correlation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from sk_b2s._utils._chunks import count_chunk_rows, split_groups_into_chunks
from sk_b2s.metrics._group_context import average_context_groups
from sk_b2s.preprocessing._windows._checks import check_window_subjects
from sk_b2s.preprocessing._windows._windows import Windows

CHUNK_BYTES = 2**26  # of windows in memory


def split_half_reliability(windows, segments, subjects=None, n_splits=20, random_state=0):
    r"""Compute the reliability of each channel over repeated stimuli.

    Of every segment that a subject was presented twice or more, h randomly
    drawn repetitions are averaged, and h others, where 2 h or 2 h + 1 is the
    smallest number of repetitions of any segment. Let r be the correlation of
    both halves over times and segments, averaged over ``n_splits`` draws. By
    the Spearman-Brown formula [1]_ [2]_ the reliability of a single
    presentation is

    .. math:: \rho = \frac{r}{h - (h - 1) r},

    the proportion of its variance that is repeated. A model that predicts this
    part without error has the correlation :math:`\sqrt\rho` with a single
    presentation, the noise ceiling [3]_.

    Parameters
    ----------
    windows : Windows or array-like of shape (n_windows, n_channels, n_times)
        EEG/MEG windows, with the preprocessing of the model.
    segments : array-like of shape (n_windows,)
        Segment of each window, ``y["segment"]``.
    subjects : None or array-like of shape (n_windows,), default=None
        Subject of each window. If None, those of the rows of Windows, or one
        subject.
    n_splits : int, default=20
        Number of random halves.
    random_state : None, int or RandomState, default=0
        Draws the halves.

    Returns
    -------
    reliability : DataFrame of shape (n_subjects * n_channels, ...)
        ``subject, channel`` (name or number), ``n_segments`` that were
        repeated, ``n_repeats`` (2 h), ``r``, ``reliability`` (of one
        presentation, it may be negative by chance) and ``ceiling``, its square
        root, 0 if it is negative. NaN for constant channels.

    Raises
    ------
    ValueError
        If lengths differ, a segment or subject is missing, or a subject has no
        repeated segment.

    See Also
    --------
    intersubject_correlation : Noise ceiling without repetitions.

    Notes
    -----
    Repeated activity is not only a response to speech. Artifacts of the
    experiment and blinks at the same time are repeated as well. Differences
    between presentations, such as attention, count as noise. The ceiling
    applies to correlations in single channels, of a forward model for example.
    A decoder combines channels and times and has no such simple bound.

    References
    ----------
    .. [1] Spearman (1910). Correlation calculated from faulty data. British
       Journal of Psychology 3:271.
       https://doi.org/10.1111/j.2044-8295.1910.tb00206.x
    .. [2] Brown (1910). Some experimental results in the correlation of mental
       abilities. British Journal of Psychology 3:296.
       https://doi.org/10.1111/j.2044-8295.1910.tb00207.x
    .. [3] Schoppe, Harper, Willmore, King, Schnupp (2016). Measuring the
       performance of neural models. Frontiers in Computational Neuroscience
       10:10. https://doi.org/10.3389/fncom.2016.00010
    """
    windows, segments, subjects = _check_noise_ceiling_input(windows, segments, subjects)
    random, parts = check_random_state(random_state), []
    for subject in pd.unique(subjects):
        own = np.flatnonzero(subjects == subject)
        codes, _ = pd.factorize(segments[own])
        count = np.bincount(codes)
        if count.max() < 2:
            raise ValueError(
                f"Subject {subject!r} has no repetition of its {len(count)} segments, so its reliability is undefined. Use "
                f"intersubject_correlation, or remove this subject."
            )
        half = count[count > 1].min() // 2
        moments = np.zeros((n_splits, 6, windows.shape[1]))
        for rows in _split_into_chunks(windows, own, codes, np.flatnonzero(count > 1)):
            batch, segment = _load_noise_ceiling_windows(windows, rows), pd.factorize(segments[rows])[0]
            for of_split in moments:
                of_split += _sum_noise_ceiling_moments(
                    *_average_noise_ceiling_halves(batch, segment, half, random)
                )
        r = _correlate_noise_ceiling_moments(moments.swapaxes(0, 1)).mean(0)
        reliability = r / (half - (half - 1) * r)
        parts.append(
            pd.DataFrame({
                "subject": subject, "channel": _list_noise_ceiling_channels(windows), "n_segments": np.sum(count > 1),
                "n_repeats": 2 * half, "r": r, "reliability": reliability,
                "ceiling": np.sqrt(np.maximum(reliability, 0)),
            })
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def intersubject_correlation(windows, segments, subjects=None):
    r"""Correlate each subject with the mean of the others.

    For channel c, over the times of all segments that subject s shares with
    other subjects,

    .. math:: \mathrm{isc}_{sc} = \mathrm{corr}
              \Big(x_{sc}, \frac{1}{N - 1} \sum_{q \ne s} x_{qc}\Big), \\
              \mathrm{upper}_{sc} = \mathrm{corr}
              \Big(x_{sc}, \frac{1}{N} \sum_q x_{qc}\Big),

    the leave-one-out inter-subject correlation [1]_ [2]_ and its optimistic
    counterpart with the subject itself in the mean. The noise ceiling [3]_ of
    models of the common response lies between the two, and both approach it
    with many subjects. Repeated windows of a segment are averaged first.

    Parameters
    ----------
    windows : Windows or array-like of shape (n_windows, n_channels, n_times)
        EEG/MEG windows, with the preprocessing of the model.
    segments : array-like of shape (n_windows,)
        Segment of each window, ``y["segment"]``, equal for all subjects.
    subjects : None or array-like of shape (n_windows,), default=None
        Subject of each window. If None, those of the rows of Windows.

    Returns
    -------
    isc : DataFrame of shape (n_subjects * n_channels, ...)
        ``subject, channel`` (name or number), ``n_segments`` in common with
        others, ``n_others`` (mean over these segments), ``isc`` and ``upper``.
        NaN for constant channels.

    Raises
    ------
    ValueError
        If lengths differ, a segment or subject is missing, or a subject has no
        segment in common with others.

    See Also
    --------
    split_half_reliability : Noise ceiling of one subject with repetitions.

    Notes
    -----
    Channels must be comparable between subjects. This holds roughly for EEG
    caps, and for MEG only with equal head positions. Subjects differ in
    anatomy, so a model fitted per subject may exceed ``upper``. Correlated
    component analysis (Dmochowski et al. 2012,
    https://doi.org/10.3389/fnhum.2012.00112) finds the projections of channels
    that subjects have most in common. Pass its components as channels, learned
    on other segments.

    References
    ----------
    .. [1] Hasson, Nir, Levy, Fuhrmann, Malach (2004). Intersubject
       synchronization of cortical activity during natural vision. Science
       303:1634. https://doi.org/10.1126/science.1089506
    .. [2] Nastase, Gazzola, Hasson, Keysers (2019). Measuring shared responses
       across subjects using intersubject correlation. Social Cognitive and
       Affective Neuroscience 14:667. https://doi.org/10.1093/scan/nsz037
    .. [3] Nili, Wingfield, Walther, Su, Marslen-Wilson, Kriegeskorte (2014). A
       toolbox for representational similarity analysis. PLoS Computational
       Biology 10:e1003553. https://doi.org/10.1371/journal.pcbi.1003553
    """
    windows, segments, subjects = _check_noise_ceiling_input(windows, segments, subjects)
    subject, names = pd.factorize(subjects)
    codes, _ = pd.factorize(segments)
    presented = np.zeros((len(names), codes.max() + 1), bool)
    presented[subject, codes] = True
    common = presented & (presented.sum(0) > 1)
    if alone := [str(name) for name, own in zip(names, common, strict=True) if not own.any()]:
        raise ValueError(
            f"Subjects {sorted(alone)} have no segment in common with other subjects. Remove them."
        )
    moments = np.zeros((len(names), 2, 6, windows.shape[1]))
    for rows in _split_into_chunks(
        windows, np.arange(len(codes)), codes, np.flatnonzero(presented.sum(0) > 1)
    ):
        cell, cells = pd.factorize(pd.MultiIndex.from_arrays([subject[rows], codes[rows]]))
        means = _average_repeated_windows(
            _load_noise_ceiling_windows(windows, rows), cell
        )  # (n_cells, n_channels, n_times)
        of_subject, of_segment = (cells.get_level_values(level).to_numpy() for level in (0, 1))
        of_segment = pd.factorize(of_segment)[0]
        n = np.bincount(of_segment)[of_segment][:, None, None]
        all_subjects = _average_repeated_windows(means, of_segment)[of_segment]
        others = (n * all_subjects - means) / (n - 1)
        for index in np.unique(of_subject):
            own = of_subject == index
            moments[index, 0] += _sum_noise_ceiling_moments(means[own], others[own])
            moments[index, 1] += _sum_noise_ceiling_moments(means[own], all_subjects[own])
    isc, upper = _correlate_noise_ceiling_moments(moments.transpose(2, 1, 0, 3))
    n_others = [(presented[:, own].sum(0) - 1).mean() for own in common]
    n_channels = windows.shape[1]
    return pd.DataFrame({
        "subject": np.repeat(names, n_channels), "channel": np.tile(_list_noise_ceiling_channels(windows), len(names)),
        "n_segments": np.repeat(common.sum(1), n_channels), "n_others": np.repeat(n_others, n_channels),
        "isc": isc.ravel(), "upper": upper.ravel(),
    })  # fmt: skip


def _check_noise_ceiling_input(windows, segments, subjects):
    """Check windows, segments and subjects, and return them as arrays."""
    windows = windows if isinstance(windows, Windows) else np.asarray(windows)
    if subjects is None:
        subjects = (
            check_window_subjects(windows) if isinstance(windows, Windows) else np.full(len(windows), "")
        )
    labels = tuple(np.asarray(column, dtype=object) for column in (segments, subjects))
    if len(windows.shape) != 3 or any(column.shape != (len(windows),) for column in labels):
        raise ValueError(
            f"windows must have shape (n_windows, n_channels, n_times), with one segment and subject each. Got "
            f"{tuple(windows.shape)}, {len(labels[0])} segments and {len(labels[1])} subjects."
        )
    for name, column in zip(("segments", "subjects"), labels, strict=True):
        if (missing := np.flatnonzero(pd.isna(column))).size:
            raise ValueError(
                f"{name}: NaN or None in {len(missing)} of {len(column)} windows, the first of them "
                f"{missing[:5].tolist()}. Remove them from windows, segments and subjects."
            )
    return windows, *labels


def _list_noise_ceiling_channels(windows):
    """Return the names of the channels, or their numbers."""
    names = getattr(windows, "ch_names", None)
    return np.arange(windows.shape[1]) if names is None else np.array(names, dtype=object)


def _load_noise_ceiling_windows(windows, rows):
    """Return some windows as a float64 array."""
    batch = windows.gather(rows).numpy() if isinstance(windows, Windows) else windows[rows]
    return np.asarray(batch, dtype=np.float64)


def _split_into_chunks(windows, rows, codes, wanted):
    """Split the rows of some segments, so that a segment is in one chunk."""
    is_wanted = np.isin(codes, wanted)
    most = count_chunk_rows(CHUNK_BYTES, *windows.shape[1:], itemsize=8)
    return split_groups_into_chunks(rows[is_wanted], codes[is_wanted], most)


def _average_repeated_windows(batch, groups):
    """Average the windows of each group."""
    means = average_context_groups(batch.reshape(len(batch), -1), groups)
    return means.reshape(-1, *batch.shape[1:])


def _average_noise_ceiling_halves(batch, segment, half, random):
    """Average two random halves of the windows of each segment."""
    order = random.permutation(len(batch))
    order = order[np.argsort(segment[order], kind="stable")]
    place = np.arange(len(batch)) - np.searchsorted(segment[order], segment[order])
    drawn = (order[place < half], order[(place >= half) & (place < 2 * half)])
    return tuple(_average_repeated_windows(batch[rows], segment[rows]) for rows in drawn)


def _sum_noise_ceiling_moments(a, b):
    """Compute number, sums and products over windows and times.

    Array of shape (6, n_channels).
    """
    sums = (a, b, a * a, b * b, a * b)
    return np.stack([np.full(a.shape[1], a.shape[0] * a.shape[2]), *(part.sum((0, 2)) for part in sums)])


def _correlate_noise_ceiling_moments(moments):
    """Compute correlations from moments, NaN for constant channels."""
    n, a, b, aa, bb, ab = moments
    variances = (aa - a * a / n) * (bb - b * b / n)
    constant = variances <= 1e-20 * aa * bb
    return np.where(constant, np.nan, (ab - a * b / n) / np.sqrt(np.where(constant, 1, variances)))

"""Noise ceilings: split-half reliability, inter-subject correlation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from sk_b2s._utils._chunks import count_rows
from sk_b2s.metrics._group_context import average_rows
from sk_b2s.preprocessing._windows import Windows, subjects_of

CHUNK_BYTES = 2**26  # of windows that are held at a time


def split_half_reliability(windows, segments, subjects=None, n_splits=20, random_state=0):
    r"""Reliability of each channel over repeats of the same sound, and the ceiling it sets.

    Of every segment that a person heard two times or more, h repeats drawn at random are averaged and h
    others, with 2 h or 2 h + 1 the least number of repeats of any. The halves correlate, over times and
    segments, with r, mean over ``n_splits`` draws. By the formula of Spearman and Brown [1]_ [2]_ a single
    presentation has the reliability

    .. math:: \rho = \frac{r}{h - (h - 1) r},

    the share of its variance that comes back. A model that predicts this part without error correlates with a
    single presentation by :math:`\sqrt\rho`, the noise ceiling [3]_.

    Parameters
    ----------
    windows : Windows or array-like of shape (n_windows, n_channels, n_times)
        What the brain did, cut and scaled as the decoder sees it.
    segments : array-like of shape (n_windows,)
        What was heard: ``y["segment"]``.
    subjects : None or array-like of shape (n_windows,), default=None
        Person of each window; None takes those of the Windows' rows, or one.
    n_splits : int, default=20
        How many times repeats are drawn.
    random_state : None, int or RandomState, default=0
        Draws them.

    Returns
    -------
    reliability : DataFrame of shape (n_subjects * n_channels, ...)
        ``subject, channel`` (name or number), ``n_segments`` that were repeated, ``n_repeats`` (2 h), ``r``,
        ``reliability`` (of one presentation; by chance it may be below 0) and ``ceiling``, its root, 0 where
        it is below 0. NaN where a channel is constant.

    Raises
    ------
    ValueError
        If lengths differ, a segment or subject is missing, or somebody heard no segment twice.

    See Also
    --------
    intersubject_correlation : Where nothing is played twice to anybody.

    Notes
    -----
    What comes back is not only speech: the experiment's own artifacts and blinks at the same moment do so too. What
    differs between presentations, such as attention, counts as noise though it be brain. The ceiling is one
    of a correlation (of a forward model, say), in single channels; a decoder joins channels and times and has
    no such simple bound.

    References
    ----------
    .. [1] Spearman (1910). Correlation calculated from faulty data. British Journal of Psychology 3:271.
       https://doi.org/10.1111/j.2044-8295.1910.tb00206.x
    .. [2] Brown (1910). Some experimental results in the correlation of mental abilities. British Journal of
       Psychology 3:296. https://doi.org/10.1111/j.2044-8295.1910.tb00207.x
    .. [3] Schoppe, Harper, Willmore, King, Schnupp (2016). Measuring the performance of neural models. Frontiers in
       Computational Neuroscience 10:10. https://doi.org/10.3389/fncom.2016.00010
    """
    windows, segments, subjects = _checked(windows, segments, subjects)
    random, parts = check_random_state(random_state), []
    for subject in pd.unique(subjects):
        own = np.flatnonzero(subjects == subject)
        codes, _ = pd.factorize(segments[own])
        count = np.bincount(codes)
        if count.max() < 2:
            raise ValueError(
                f"subject {subject!r} heard none of {len(count)} segments twice, so nothing is known of what "
                f"comes back; take intersubject_correlation, or leave this person out."
            )
        half = count[count > 1].min() // 2
        moments = np.zeros((n_splits, 6, windows.shape[1]))
        for rows in _chunks(windows, own, codes, np.flatnonzero(count > 1)):
            batch, segment = _take(windows, rows), pd.factorize(segments[rows])[0]
            for of_split in moments:
                of_split += _moments(*_halves(batch, segment, half, random))
        r = _pearson(moments.swapaxes(0, 1)).mean(0)
        reliability = r / (half - (half - 1) * r)
        parts.append(
            pd.DataFrame({
                "subject": subject, "channel": _channels(windows), "n_segments": np.sum(count > 1),
                "n_repeats": 2 * half, "r": r, "reliability": reliability,
                "ceiling": np.sqrt(np.maximum(reliability, 0)),
            })
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def intersubject_correlation(windows, segments, subjects=None):
    r"""Correlate each person's brain with the mean of the others' who heard the same.

    For channel c, over the times of all segments that the person s and somebody else heard,

    .. math:: \mathrm{isc}_{sc} = \mathrm{corr}\Big(x_{sc}, \frac{1}{N - 1} \sum_{q \ne s} x_{qc}\Big), \qquad
              \mathrm{upper}_{sc} = \mathrm{corr}\Big(x_{sc}, \frac{1}{N} \sum_q x_{qc}\Big),

    the leave-one-out inter-subject correlation [1]_ [2]_ and, with the person's own recording in the mean, its
    optimistic counterpart. Between the two lies the noise ceiling [3]_ of models that predict what people have
    in common; both approach it as people become many. A person's windows of one segment are averaged first.

    Parameters
    ----------
    windows : Windows or array-like of shape (n_windows, n_channels, n_times)
        What the brain did, cut and scaled as the decoder sees it.
    segments : array-like of shape (n_windows,)
        What was heard: ``y["segment"]``, the same for everybody who heard it.
    subjects : None or array-like of shape (n_windows,), default=None
        Person of each window; None takes those of the Windows' rows.

    Returns
    -------
    isc : DataFrame of shape (n_subjects * n_channels, ...)
        ``subject, channel`` (name or number), ``n_segments`` in common with somebody, ``n_others`` (mean over
        these segments), ``isc`` and ``upper``. NaN where a channel is constant.

    Raises
    ------
    ValueError
        If lengths differ, a segment or subject is missing, or a person heard nothing that somebody else heard.

    See Also
    --------
    split_half_reliability : The ceiling of one person, where sound is repeated.

    Notes
    -----
    It supposes that a channel means the same in everybody: true of caps, roughly; of MEG only where heads lie alike.
    People differ in anatomy, so that a model which learns each person may exceed ``upper``. Correlated component
    analysis (Dmochowski et al. 2012, https://doi.org/10.3389/fnhum.2012.00112) finds the projections of channels that
    people have in common most; give its components as channels, learnt on other segments.

    References
    ----------
    .. [1] Hasson, Nir, Levy, Fuhrmann, Malach (2004). Intersubject synchronization of cortical activity during natural
       vision. Science 303:1634. https://doi.org/10.1126/science.1089506
    .. [2] Nastase, Gazzola, Hasson, Keysers (2019). Measuring shared responses across subjects using intersubject
       correlation. Social Cognitive and Affective Neuroscience 14:667. https://doi.org/10.1093/scan/nsz037
    .. [3] Nili, Wingfield, Walther, Su, Marslen-Wilson, Kriegeskorte (2014). A toolbox for representational similarity
       analysis. PLoS Computational Biology 10:e1003553. https://doi.org/10.1371/journal.pcbi.1003553
    """
    windows, segments, subjects = _checked(windows, segments, subjects)
    person, names = pd.factorize(subjects)
    codes, _ = pd.factorize(segments)
    heard = np.zeros((len(names), codes.max() + 1), bool)
    heard[person, codes] = True
    common = heard & (heard.sum(0) > 1)
    if alone := [str(name) for name, own in zip(names, common, strict=True) if not own.any()]:
        raise ValueError(
            f"subjects {sorted(alone)} heard no segment that anybody else heard; leave them out."
        )
    moments = np.zeros((len(names), 2, 6, windows.shape[1]))
    for rows in _chunks(windows, np.arange(len(codes)), codes, np.flatnonzero(heard.sum(0) > 1)):
        cell, cells = pd.factorize(pd.MultiIndex.from_arrays([person[rows], codes[rows]]))
        means = _averaged(_take(windows, rows), cell)  # (n_cells, n_channels, n_times)
        who, what = (cells.get_level_values(level).to_numpy() for level in (0, 1))
        what = pd.factorize(what)[0]
        n = np.bincount(what)[what][:, None, None]
        everybody = _averaged(means, what)[what]
        others = (n * everybody - means) / (n - 1)
        for index in np.unique(who):
            own = who == index
            moments[index, 0] += _moments(means[own], others[own])
            moments[index, 1] += _moments(means[own], everybody[own])
    isc, upper = _pearson(moments.transpose(2, 1, 0, 3))
    n_others = [(heard[:, own].sum(0) - 1).mean() for own in common]
    n_channels = windows.shape[1]
    return pd.DataFrame({
        "subject": np.repeat(names, n_channels), "channel": np.tile(_channels(windows), len(names)),
        "n_segments": np.repeat(common.sum(1), n_channels), "n_others": np.repeat(n_others, n_channels),
        "isc": isc.ravel(), "upper": upper.ravel(),
    })  # fmt: skip


def _checked(windows, segments, subjects):
    """Windows as such or as an array, and segment and person of each."""
    windows = windows if isinstance(windows, Windows) else np.asarray(windows)
    if subjects is None:
        subjects = subjects_of(windows) if isinstance(windows, Windows) else np.full(len(windows), "")
    labels = tuple(np.asarray(column, dtype=object) for column in (segments, subjects))
    if len(windows.shape) != 3 or any(column.shape != (len(windows),) for column in labels):
        raise ValueError(
            f"windows must be (n_windows, n_channels, n_times), with a segment and a subject each; got "
            f"{tuple(windows.shape)}, {len(labels[0])} segments and {len(labels[1])} subjects."
        )
    for name, column in zip(("segments", "subjects"), labels, strict=True):
        if (lost := np.flatnonzero(pd.isna(column))).size:
            raise ValueError(
                f"{name}: NaN or None in {len(lost)} of {len(column)} windows, the first of them {lost[:5].tolist()}; "
                f"who heard what must be known: leave them out of windows, segments and subjects."
            )
    return windows, *labels


def _channels(windows):
    """Names of the channels, or their numbers."""
    names = getattr(windows, "ch_names", None)
    return np.arange(windows.shape[1]) if names is None else np.array(names, dtype=object)


def _take(windows, rows):
    """Some windows, float64: (n_rows, n_channels, n_times)."""
    batch = windows.gather(rows).numpy() if isinstance(windows, Windows) else windows[rows]
    return np.asarray(batch, dtype=np.float64)


def _chunks(windows, rows, codes, wanted):
    """Rows of the segments that are wanted, a bounded number of windows and whole segments at a time."""
    most = count_rows(CHUNK_BYTES, *windows.shape[1:], itemsize=8)
    order = np.argsort(codes, kind="stable")
    order = order[np.isin(codes[order], wanted)]
    begins = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    chunk = np.repeat(begins // most, np.diff(np.r_[begins, len(order)]))
    return [rows[order[chunk == index]] for index in np.unique(chunk)]


def _averaged(batch, groups):
    """Mean window of each group."""
    means = average_rows(batch.reshape(len(batch), -1), groups)
    return means.reshape(-1, *batch.shape[1:])


def _halves(batch, segment, half, random):
    """Means of ``half`` windows of each segment drawn at random, and of ``half`` others."""
    order = random.permutation(len(batch))
    order = order[np.argsort(segment[order], kind="stable")]
    place = np.arange(len(batch)) - np.searchsorted(segment[order], segment[order])
    drawn = (order[place < half], order[(place >= half) & (place < 2 * half)])
    return tuple(_averaged(batch[rows], segment[rows]) for rows in drawn)


def _moments(a, b):
    """Number, sums and sums of products over windows and times: (6, n_channels)."""
    sums = (a, b, a * a, b * b, a * b)
    return np.stack([np.full(a.shape[1], a.shape[0] * a.shape[2]), *(part.sum((0, 2)) for part in sums)])


def _pearson(moments):
    """Correlation from :func:`_moments`, NaN where something is constant: (6, ...) -> (...)."""
    n, a, b, aa, bb, ab = moments
    variances = (aa - a * a / n) * (bb - b * b / n)
    constant = variances <= 1e-20 * aa * bb
    return np.where(constant, np.nan, (ab - a * b / n) / np.sqrt(np.where(constant, 1, variances)))

"""Cluster permutation test of temporal response functions over subjects."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.spatial import Delaunay, QhullError
from sklearn.utils import check_random_state

from sk_b2s._utils._estimators import find_innermost_estimator
from sk_b2s._utils._text import shorten_list
from sk_b2s._utils._validation import validate_count
from sk_b2s.decoding._trf._weights import (
    TRFWeightsMixin,
    find_trf_channels_in_use,
    list_trf_feature_names,
    select_trf_weights,
)


@dataclass(frozen=True, repr=False)
class TRFClusters:
    """Clusters of lags and channels with a response of all subjects.

    :func:`trf_cluster_test` returns it.

    Parameters
    ----------
    table : DataFrame of shape (n_clusters, ...)
        One row per cluster, sorted by ``p``. ``start`` and ``stop`` are its
        first and last lag in seconds, ``n_channels`` and ``channels`` those
        with a lag in the cluster. ``peak_lag``, ``peak_channel`` and
        ``peak_t`` are those of the largest absolute t value, ``sum_t`` is the
        statistic, and ``p`` is corrected for all lags and channels.
    masks : ndarray of bool of shape (n_clusters, n_lags, n_channels)
        Lags and channels of each cluster, in the order of ``table``.
    t : ndarray of shape (n_lags, n_channels)
        t values over subjects.
    null : ndarray of shape (n_permutations,)
        Largest absolute statistic of each permutation.
    lags : ndarray of shape (n_lags,)
        Lags in seconds.
    ch_names : tuple of str
        Names of channels.
    feature : str
        Name of the feature.
    n_subjects : int
        Number of subjects.
    threshold : float
        Absolute t value above which lags and channels form clusters.
    """

    table: pd.DataFrame
    masks: np.ndarray
    t: np.ndarray
    null: np.ndarray
    lags: np.ndarray
    ch_names: tuple
    feature: str
    n_subjects: int
    threshold: float

    def __repr__(self):
        n_found = int((self.table["p"] <= 0.05).sum())
        return (
            f"TRFClusters({self.feature!r}, {self.n_subjects} subjects, {len(self.table)} clusters, {n_found} with "
            f"p <= 0.05)"
        )

    def find_significant(self, alpha=0.05):
        """Return lags and channels of significant clusters.

        Parameters
        ----------
        alpha : float, default=0.05
            Largest p value.

        Returns
        -------
        mask : ndarray of bool of shape (n_lags, n_channels)
            Also the ``mask`` of ``plot_image`` of MNE.
        """
        return self.masks[(self.table["p"] <= alpha).to_numpy()].any(0)


def trf_cluster_test(
    trf, feature=0, other=None, *, tmin=None, tmax=None, threshold=None, n_permutations=1024, tail=0,
    adjacency=None, random_state=0, n_jobs=None,
):  # fmt: skip
    """Test weights over subjects by a cluster permutation test of MNE.

    The null hypothesis is that the weights of subjects, or their differences
    between two models, have random signs at all lags and channels [1]_.

    Parameters
    ----------
    trf : ForwardTRF, RidgeDecoder or Pipeline that ends in one
        Fitted with ``per_subject=True``, or the mean over folds by
        :func:`~sk_b2s.average_trfs`.
    feature : int or str, default=0
        Index or name of the speech feature.
    other : estimator, default=None
        Model of another condition of the same subjects, whose weights are
        subtracted. If None, weights are compared with 0.
    tmin, tmax : float, default=None
        First and last lag in seconds. If None, all lags.
    threshold : float, default=None
        Absolute t value above which lags and channels form clusters. If None,
        that of p = 0.05.
    n_permutations : int, default=1024
        Number of random sign flips of subjects. If there are fewer distinct
        ones, all are used.
    tail : {-1, 0, 1}, default=0
        If 1 or -1, only positive or negative weights form clusters.
    adjacency : sparse array of shape (n_channels, n_channels), default=None
        Neighbors, as returned by ``mne.channels.find_ch_adjacency``. If None,
        neighbors in a triangulation of the positions of the sensors. Without
        positions, clusters extend over lags of one channel only.
    random_state : None, int or RandomState, default=0
        Seed of the permutations.
    n_jobs : int or None, default=None
        Number of processes.

    Returns
    -------
    clusters : TRFClusters
        Table of clusters. :func:`~sk_b2s.plotting.plot_trf` marks them with
        ``clusters=``.

    Raises
    ------
    ValueError
        If there are fewer than two subjects, no lags, or the models do not
        match.

    Warns
    -----
    UserWarning
        If there are too few subjects for p values of at most 0.05, or a
        channel is masked in a subject, whose weights of 0 count as no
        response.
    RuntimeWarning
        By MNE, if no cluster is found.

    Notes
    -----
    With n subjects there are 2^(n - 1) distinct sign flips in a two-sided
    test, so that fewer than six subjects cannot have p values below 0.05. A
    significant cluster does not show the lag of the onset of a response.

    References
    ----------
    .. [1] Maris, Oostenveld (2007). Nonparametric statistical testing of EEG-
       and MEG-data. Journal of Neuroscience Methods 164:177.
       https://doi.org/10.1016/j.jneumeth.2007.03.024
    """
    import mne
    from mne.stats import combine_adjacency, permutation_cluster_1samp_test
    from scipy.stats import t as student

    validate_count("n_permutations", n_permutations)
    if threshold is not None and not threshold > 0:
        raise ValueError(f"threshold is an absolute t value, above 0 for each tail. Got {threshold!r}.")
    found = _find_trf_for_clusters(trf)
    weights = _stack_trf_weights(found, feature)
    if other is not None:
        weights = weights - _match_trf_weights(found, _find_trf_for_clusters(other), feature)
    _warn_of_masked_channels([found] if other is None else [found, _find_trf_for_clusters(other)])
    keep = _select_cluster_lags(found.lags_, tmin, tmax)
    weights, lags = weights[:, keep], found.lags_[keep]
    n_subjects, n_lags, n_channels = weights.shape
    if (least := 0.5 ** (n_subjects - (tail == 0))) > 0.05:
        warnings.warn(
            f"The smallest possible p value with {n_subjects} subjects is {least:.3g}, so that no cluster can be "
            f"significant. Use more subjects.",
            stacklevel=2,
        )
    if threshold is None:
        threshold = float(student.isf(0.05 / (2 if tail == 0 else 1), n_subjects - 1))
    neighbors = _find_cluster_neighbors(found.positions_, n_channels) if adjacency is None else adjacency
    if neighbors.shape != (n_channels, n_channels):
        raise ValueError(
            f"adjacency must have the shape {(n_channels, n_channels)} for the channels of fit. Got {neighbors.shape}."
        )
    with mne.use_log_level("WARNING"):
        t, masks, p, null = permutation_cluster_1samp_test(
            weights.astype(float), threshold=-threshold if tail < 0 else threshold, n_permutations=n_permutations, tail=tail,
            adjacency=combine_adjacency(n_lags, neighbors), n_jobs=n_jobs, out_type="mask",
            seed=check_random_state(random_state),
        )  # fmt: skip
    masks = np.array(masks, bool).reshape(-1, n_lags, n_channels)
    order = np.argsort(p, kind="stable")
    names = tuple(str(name) for name in found.ch_names_ or range(n_channels))
    rows = [_describe_cluster(masks[i], t, p[i], lags, names) for i in order]
    columns = "start stop n_channels channels peak_lag peak_channel peak_t sum_t p".split()
    index = feature if isinstance(feature, str) else list_trf_feature_names(found)[feature]
    return TRFClusters(
        pd.DataFrame(rows, columns=columns), masks[order], t, np.asarray(null), lags, names, index, n_subjects, threshold
    )  # fmt: skip


def _find_trf_for_clusters(estimator):
    """Return the fitted model with one set of weights per subject."""
    found = find_innermost_estimator(estimator, fitted=True)[0]
    if not isinstance(found, TRFWeightsMixin):
        raise TypeError(
            f"trf_cluster_test requires a fitted ForwardTRF or RidgeDecoder. Got {type(found).__name__}."
        )
    n_subjects = len(found.coef_)
    if not found.per_subject or n_subjects < 2:
        raise ValueError(
            f"trf_cluster_test requires weights of two subjects or more. Got {n_subjects} model(s) with "
            f"per_subject={found.per_subject}. Fit one model with per_subject=True to the windows of all subjects."
        )
    return found


def _stack_trf_weights(trf, feature):
    """Return weights of all subjects: (n_subjects, n_lags, n_channels)."""
    return np.stack([select_trf_weights(trf, feature, name) for name in trf.subjects_])


def _match_trf_weights(trf, other, feature):
    """Return weights of another model of the same subjects."""
    is_equal = trf.coef_.shape[1:] == other.coef_.shape[1:] and np.allclose(trf.lags_, other.lags_)
    if not (is_equal and np.array_equal(trf.subjects_, other.subjects_) and trf.ch_names_ == other.ch_names_):
        raise ValueError(
            f"other must have the subjects, lags, channels and features of trf. Got subjects {other.subjects_.tolist()} "
            f"and weights of shape {other.coef_.shape[1:]} instead of {trf.subjects_.tolist()} and "
            f"{trf.coef_.shape[1:]}."
        )
    return _stack_trf_weights(other, feature)


def _warn_of_masked_channels(models):
    """Warn about subjects with channels without weights."""
    lost = ~np.all([find_trf_channels_in_use(one) for one in models], axis=0)
    if not lost.any():
        return
    names = models[0].ch_names_ or range(lost.shape[1])
    shown = "; ".join(
        f"{models[0].subjects_[i]}: {shorten_list([str(names[c]) for c in np.flatnonzero(lost[i])])}"
        for i in np.flatnonzero(lost.any(1))[:8]
    )
    warnings.warn(
        f"{lost.any(1).sum()} of {len(lost)} subjects have masked or constant channels, whose weights of 0 count as no "
        f"response ({shown}). Use Epocher(bads='interpolate'), or leave these channels out for all with picks=.",
        stacklevel=3,
    )


def _select_cluster_lags(lags, tmin, tmax):
    """Return the mask of lags between two lags, which are included."""
    rounding = 1e-9
    keep = (lags >= (-np.inf if tmin is None else tmin - rounding)) & (
        lags <= (np.inf if tmax is None else tmax + rounding)
    )
    if not keep.any():
        raise ValueError(
            f"tmin={tmin} and tmax={tmax} leave no lags. The model has {lags[0]:g} to {lags[-1]:g} s."
        )
    return keep


def _find_cluster_neighbors(positions, n_channels):
    """Return neighbors in a triangulation of positions, of none without."""
    pairs = np.zeros((0, 2), int)
    if positions is not None:
        known = np.flatnonzero(np.isfinite(positions).all(1))
        try:
            triangles = known[Delaunay(positions[known]).simplices]
            pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
        except (QhullError, ValueError):  # fewer than three places, or on one line
            pass
    row, column = np.concatenate([pairs, pairs[:, ::-1], np.tile(np.arange(n_channels), (2, 1)).T]).T
    found = coo_array((np.ones(len(row)), (row, column)), (n_channels, n_channels)).tocsr()
    return (found > 0).astype(float).tocoo()


def _describe_cluster(mask, t, p, lags, names):
    """Return the row of a cluster."""
    at = np.flatnonzero(mask.any(1))
    channels = np.flatnonzero(mask.any(0))
    peak = np.unravel_index(np.where(mask, abs(t), -1).argmax(), t.shape)
    return (
        lags[at[0]], lags[at[-1]], len(channels), " ".join(names[i] for i in channels), lags[peak[0]], names[peak[1]],
        t[peak], t[mask].sum(), float(p),
    )  # fmt: skip

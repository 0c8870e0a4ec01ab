"""Order and time of presentation as a control, against block designs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_random_state

from sk_b2s._utils._estimators import find_estimator_speech
from sk_b2s._utils._validation import get_validated_recordings, validate_table
from sk_b2s.decoding._candidates import find_distinct_candidates

SCALES = (0.5, 4.0, 32.0)  # trials, over which vectors of neighbors are averaged
COLUMNS = {"subject", "recording", "onset", "segment", "sound"}


def has_order_trials(rows):
    """Return whether windows are trials, each of a whole stimulus.

    True if no stimulus has several segments. Neighboring segments of
    continuous speech are similar in any design, so their order reveals them.
    """
    if not COLUMNS <= set(rows) or rows["sound"].isna().any():
        return False
    sound = pd.factorize(rows["sound"])[0]
    return bool(sound.max() > 0 and rows["segment"].groupby(sound).nunique().max() == 1)


def rank_by_order(train, test, vectors, candidates, random_state=0):
    r"""Compute similarities of windows and candidates from their order alone.

    The vector of a window is predicted from training windows i at a distance
    of :math:`d_i` trials in the same recording,

    .. math:: \hat z = \sum_i e^{-d_i / s} z_i / \sum_i e^{-d_i / s}

    for each scale s of ``SCALES``, and again from windows at the same position
    of other recordings. The similarity is the sum of the cosines of these
    predictions with the candidate. Equal similarities are separated at random.

    Parameters
    ----------
    train, test : DataFrame of shape (n_windows, ...)
        ``recording, position`` of each window, the position in trials.
    vectors : ndarray of shape (n_train, n_features)
        Vector of the stimulus of each training window.
    candidates : ndarray of shape (n_candidates, n_features)
        Vector of each candidate.
    random_state : None, int or RandomState, default=0

    Returns
    -------
    scores : ndarray of shape (n_test, n_candidates)
    """
    mean, sd = vectors.mean(0), vectors.std(0)
    sd[sd == 0] = 1
    vectors, candidates = (vectors - mean) / sd, _normalize_order_vectors((candidates - mean) / sd)
    scores = 1e-7 * check_random_state(random_state).random_sample((len(test), len(candidates)))
    places = np.arange(1 + max(int(rows["position"].max()) for rows in (train, test)))
    total = _sum_order_by_position(train, vectors, len(places))
    for name in pd.unique(test["recording"]):
        own = np.flatnonzero(test["recording"] == name)
        is_same = (train["recording"] == name).to_numpy()
        same = _sum_order_by_position(train[is_same], vectors[is_same], len(places))
        distance = np.abs(test["position"].to_numpy()[own, None] - places)
        for sums in (same, total - same):
            known = np.flatnonzero(sums[:, -1])
            if not len(known):
                continue
            apart = distance[:, known] - distance[:, known].min(1, keepdims=True)  # weights do not vanish
            for scale in SCALES:
                weighted = np.exp(-apart / scale) @ sums[known]
                scores[own] += _normalize_order_vectors(weighted[:, :-1] / weighted[:, -1:]) @ candidates.T
    return scores


def _sum_order_by_position(rows, vectors, n_places):
    """Sum vectors at each position, with their number as the last column."""
    sums = np.zeros((n_places, vectors.shape[1] + 1))
    np.add.at(sums, rows["position"].to_numpy(int), np.column_stack([vectors, np.ones(len(vectors))]))
    return sums


def rank_fold_by_order(task):
    """Compute similarities of the test rows of a fold from order alone."""
    rows = task.rows.assign(recording=get_validated_recordings(task.rows))
    rows = rows.assign(position=rows.groupby("recording")["onset"].rank(method="first").astype(int))
    y_train, y_test = (_safe_indexing(task.y, part) for part in (task.train, task.test))
    speech = find_estimator_speech(task.estimator)
    speech = None if speech is None else clone(speech)
    vectors, of_train = _make_order_vectors(speech, y_train, is_fitted=False)
    candidates, _ = _make_order_vectors(speech, y_test, is_fitted=True)
    return rank_by_order(
        rows.iloc[task.train], rows.iloc[task.test], vectors[of_train], candidates, task.seed
    )


def _make_order_vectors(speech, y, is_fitted):
    """Return a vector of each distinct stimulus, and that of each row."""
    found = find_distinct_candidates(y)
    distinct = _safe_indexing(y, found.first)
    if speech is not None:
        table = validate_table(distinct)
        distinct = speech.transform(table) if is_fitted else speech.fit(table).transform(table)
    return np.asarray(distinct, dtype=float).reshape(len(found.first), -1), found.target


def _normalize_order_vectors(vectors):
    """Scale rows to length 1, and leave rows of zeros."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)

"""Auditory attention decoding with two talkers."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from sk_b2s.decoding._scoring import retrieve
from sk_b2s.evaluation._curves import attention_decision_accuracy
from sk_b2s.events._streams import concurrent_stream
from sk_b2s.model_selection._split import folds_of


def attention_decoding_scores(
    estimator, X, y, cv, events, lengths=(1, 2, 5, 10, 20, 30), stream="ignored", n_jobs=None
):
    """How often a decoder trained on the talker attended to tells that talker from the other, by length of a decision.

    Of every held-out window it compares what it reads from the brain with what either talker said meanwhile, and
    sums the similarities over decisions: see :func:`~sk_b2s.attention_decision_accuracy`. Training reads what was
    attended to, and nothing of what played beside it.

    Parameters
    ----------
    estimator : estimator
        A decoder with ``speech``, or a Pipeline that ends in one. It is cloned.
    X : DataFrame of shape (n_windows, ...)
        What the brain did.
    y : DataFrame of shape (n_windows, ...)
        What was attended to: ``make_segments(events, stream="attended", ...)``.
    cv : splitter or iterable of (train, test)
        Folds by sound.
    events : DataFrame
        The events table, with the other talker's sounds.
    lengths : sequence of float, default=(1, 2, 5, 10, 20, 30)
        Seconds of a decision. None may be shorter than a window: windows of one second need
        ``make_segments(tmin=0, tmax=1)``.
    stream : str, default="ignored"
        The other talker's.
    n_jobs : int or None, default=None
        Folds at once.

    Returns
    -------
    scores : DataFrame of shape (n_lengths * n_folds * n_subjects, ...)
        ``fold, length, subject, accuracy, n_decisions`` and ``chance``, 0.5. Means: ``mean_and_sem(scores,
        "accuracy", by="length", weight="n_decisions")``.

    Raises
    ------
    ValueError
        If there is no such talker, or windows are longer than a decision.

    Warns
    -----
    StimulusLeakWarning
        If sound that is ignored in a test was attended to in training.

    Notes
    -----
    Folds hold out what is attended to. Where stories change roles, from recording to recording or from person to
    person, the sound ignored in a test may have been attended to in training, and a decoder that remembers sound is
    then no fair judge between one it knows and one it does not; which way it errs is not known beforehand. Folds of
    whole stories together with those that played beside them, given as ``cv``, keep both out.

    Accuracy has two sides: one that stays below 0.5 means that the decoder follows the other talker, as it does if the
    streams of the events table are swapped.

    If a talker is always of one voice or on one side, a decoder may know the talker and not the attention: let both
    be attended to in turn. Decisions are counted in held-out stretches of sound, which may be far apart in a
    recording; one is made of the windows that lie in it, however few, and long ones are few.
    """
    other = concurrent_stream(X, y, events, stream)
    folds = folds_of(cv, X, y)
    parts = joblib.Parallel(n_jobs)(
        joblib.delayed(_decide)(estimator, X, y, other, train, test, lengths) for train, test in folds
    )
    return pd.concat([part.assign(fold=fold) for fold, part in enumerate(parts)], ignore_index=True)


def _decide(estimator, X, y, other, train, test, lengths):
    """Decisions of one fold."""
    test = np.asarray(test)
    test = test[other["sound_onset"].notna().to_numpy()[test]]
    if not len(test):
        raise ValueError("no held-out window lies in a sound of the other talker as a whole.")
    estimator = clone(estimator).fit(_safe_indexing(X, train), _safe_indexing(y, train))
    own = [retrieve(estimator, X.iloc[test], heard.iloc[test]) for heard in (y, other)]
    attended, ignored = (answers.scores[np.arange(len(test)), answers.target] for answers in own)
    return attention_decision_accuracy(attended, ignored, X.iloc[test], lengths)

"""Auditory attention decoding with two talkers."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd

from sk_b2s._utils._logging import run_in_parallel_with_logging
from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.decoding._retrieval._retrieve import retrieve
from sk_b2s.evaluation._fit_score import fit_fold
from sk_b2s.events._concurrent_streams import concurrent_stream
from sk_b2s.model_selection._split import list_split_folds

ROUNDING = 1e-6  # s


def attention_decoding_scores(
    estimator, X, y, cv, events, lengths=(1, 2, 5, 10, 20, 30), stream="ignored", n_jobs=None
):
    """Score how often a decoder identifies the attended of two talkers.

    The decoder is trained on the attended talker. In each held-out window its
    estimate is compared with the speech of both talkers, and the similarities
    are summed over decisions, see :func:`~sk_b2s.attention_decision_accuracy`.
    The other talker is not used in training.

    Parameters
    ----------
    estimator : estimator
        A decoder with ``speech``, or a Pipeline that ends in one. It is
        cloned.
    X : DataFrame of shape (n_windows, ...)
        EEG/MEG windows.
    y : DataFrame of shape (n_windows, ...)
        Attended stimulus: ``make_segments(events, stream="attended", ...)``.
    cv : splitter or iterable of (train, test)
        Folds by stimulus.
    events : DataFrame
        Events table with the stimuli of the other talker.
    lengths : sequence of float, default=(1, 2, 5, 10, 20, 30)
        Durations of a decision in seconds, none shorter than a window.
        Windows of one second need ``make_segments(tmin=0, tmax=1)``.
    stream : str, default="ignored"
        Stream of the other talker.
    n_jobs : int or None, default=None
        Number of folds run in parallel.

    Returns
    -------
    scores : DataFrame of shape (n_lengths * n_folds * n_subjects, ...)
        ``fold, length, subject, accuracy, n_decisions`` and ``chance``, 0.5.
        Means: ``mean_and_sem(scores, "accuracy", by="length",
        weight="n_decisions")``.

    Raises
    ------
    ValueError
        If the stream does not exist, or a window is longer than a decision.

    Warns
    -----
    StimulusLeakWarning
        If a stimulus that is ignored in the test rows was attended in
        training.

    Notes
    -----
    Folds hold out the attended stimulus. If stories change roles between
    recordings or subjects, the stimulus ignored in the test rows may have been
    attended in training. A decoder that remembers stimuli is then biased in an
    unknown direction. Folds of whole stories together with their concurrent
    stories, passed as ``cv``, hold out both.

    An accuracy below 0.5 means that the decoder follows the other talker, for
    example because the streams of the events table are swapped.

    If a talker always has the same voice or side, a decoder may identify the
    talker instead of the attention. Let subjects attend to both in turn.
    Decisions are counted in held-out stretches of the stimulus, which may be
    far apart in a recording. A decision consists of all windows in it, however
    few, and there are few long decisions.
    """
    other = concurrent_stream(X, y, events, stream)
    folds = list_split_folds(cv, X, y)
    parts = run_in_parallel_with_logging(
        (
            joblib.delayed(_score_attention_fold)(estimator, X, y, other, train, test, lengths)
            for train, test in folds
        ),
        "folds",
        n_jobs,
    )
    return pd.concat([part.assign(fold=fold) for fold, part in enumerate(parts)], ignore_index=True)


def _score_attention_fold(estimator, X, y, other, train, test, lengths):
    """Compute the accuracy of decisions of one fold."""
    test = np.asarray(test)
    test = test[other["sound_onset"].notna().to_numpy()[test]]
    if not len(test):
        raise ValueError(
            "No held-out window lies completely within a stimulus of the other talker. Use shorter windows or fewer folds."
        )
    estimator = fit_fold(estimator, X, y, train, test)
    results = [retrieve(estimator, X.iloc[test], stimuli.iloc[test]) for stimuli in (y, other)]
    attended, ignored = (result.scores[np.arange(len(test)), result.target] for result in results)
    return attention_decision_accuracy(attended, ignored, X.iloc[test], lengths)


def attention_decision_accuracy(attended, ignored, rows, lengths=(1, 2, 5, 10, 20, 30)):
    r"""Compute the accuracy of attention decisions by their duration.

    Let :math:`a_i` and :math:`b_i` be the similarities of window i to the
    attended and the ignored speech at that time. A decision of L seconds is
    correct if

    .. math:: \sum_{i \in L} a_i - b_i > 0

    over the windows within it [1]_. Decisions follow one another without
    overlap from the first window of a recording. A decision without a window
    is not counted. A tie is wrong.

    Parameters
    ----------
    attended, ignored : array-like of shape (n_windows,)
        Similarities of each window to both talkers.
    rows : DataFrame of shape (n_windows, ...)
        ``subject, recording, onset`` and ``duration`` (s) of each window.
    lengths : sequence of float, default=(1, 2, 5, 10, 20, 30)
        Durations of a decision in seconds, none shorter than a window.

    Returns
    -------
    scores : DataFrame of shape (n_lengths * n_subjects, ...)
        ``length, subject, accuracy, n_decisions`` and ``chance``, 0.5. Means:
        ``mean_and_sem(scores, "accuracy", by="length", weight=None)``.

    Raises
    ------
    ValueError
        If lengths differ, a column is missing, a similarity is NaN, or a
        window is longer than a decision.

    References
    ----------
    .. [1] O'Sullivan, Power, Mesgarani et al. (2015). Attentional selection in
       a cocktail party environment can be decoded from single-trial EEG.
       Cerebral Cortex 25:1697. https://doi.org/10.1093/cercor/bht355
    """
    difference = np.asarray(attended, float) - np.asarray(ignored, float)
    if missing := [name for name in ("subject", "recording", "onset", "duration") if name not in rows]:
        raise ValueError(f"rows lacks the columns {missing}.")
    if difference.shape != (len(rows),) or np.isnan(difference).any():
        raise ValueError(
            f"attended and ignored must have one number without NaN for each of {len(rows)} rows. Got shape "
            f"{difference.shape} with {np.isnan(difference).sum()} NaN."
        )
    if min(lengths) < rows["duration"].max() - ROUNDING:
        raise ValueError(
            f"A decision of {min(lengths):g} s is shorter than a window of {rows['duration'].max():g} s. Use longer "
            f"decisions, or make_segments(tmin=..., tmax=...) with shorter windows."
        )
    table = rows[["subject"]].reset_index(drop=True)
    table = table.assign(recording=get_validated_recordings(rows), difference=difference)
    onset = rows["onset"].reset_index(drop=True)
    since = onset - onset.groupby([table["subject"], table["recording"]]).transform("min")
    out = []
    for length in lengths:
        index = np.floor((since + ROUNDING) / length)
        inside = since + rows["duration"].to_numpy() <= (index + 1) * length + ROUNDING
        keys = [table["subject"], table["recording"], index.rename("decision")]
        total = table["difference"].where(inside).groupby(keys, sort=False).sum(min_count=1).dropna()
        correct = (total > 0).groupby("subject", sort=False).agg(["mean", "size"])
        out.append(
            pd.DataFrame({
                "length": length, "subject": correct.index, "accuracy": correct["mean"].to_numpy(),
                "n_decisions": correct["size"].to_numpy(), "chance": 0.5,
            })
        )  # fmt: skip
    return pd.concat(out, ignore_index=True)

"""Reconstruction of speech features by decoders, and its scores."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._estimators import unwrap_decoder_of_estimator
from sk_b2s._utils._validation import (
    get_validated_recordings,
    validate_count,
    validate_rows_in_step,
    validate_table,
)
from sk_b2s.decoding._likelihood._decoder import LikelihoodDecoder
from sk_b2s.evaluation._fit_score import fit_and_score_folds, fit_fold
from sk_b2s.evaluation._reconstruction._feature_prior import FeaturePrior
from sk_b2s.evaluation._reconstruction._result import (
    MEAN,
    ReconstructionResult,
    describe_reconstruction_result_recordings,
)
from sk_b2s.metrics._reconstruction import overlap_add
from sk_b2s.model_selection._exposure import warn_of_exposure
from sk_b2s.model_selection._split import list_split_folds
from sk_b2s.preprocessing._windows._checks import check_window_subjects
from sk_b2s.preprocessing._windows._windows import Windows

SAME = 0.25  # s; windows of one presentation of a stimulus agree in its start by this


def reconstruct(estimator, X, y):
    """Reconstruct the continuous speech features of each recording.

    The estimates of overlapping windows are averaged, so that each frame
    appears once. Frames before and after the stimulus are left out, because
    their features are padding.

    Parameters
    ----------
    estimator : estimator
        Fitted decoder that estimates speech features, a Pipeline that ends in
        one, or a fitted search over either. :class:`~sk_b2s.RidgeDecoder`, and
        :class:`~sk_b2s.BrainEncoder` without ``target_dim`` and speech module,
        estimate features. :class:`~sk_b2s.LikelihoodDecoder` predicts EEG/MEG,
        and the posterior mean of the features is computed, see Notes.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows, as the estimator expects them.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimulus segments or features, one row per window.

    Returns
    -------
    result : ReconstructionResult
        Estimate and target of each recording.

    Raises
    ------
    TypeError
        If the last step is not a decoder, or does not estimate features.
    ValueError
        If X and y do not match, or the decoder estimates an embedding that was
        learned from the features.

    Warns
    -----
    StimulusLeakWarning
        If ``y`` contains stimuli that the decoder was fitted on.
    UserWarning
        If the decoder was fitted with a contrastive loss.

    See Also
    --------
    reconstruction_scorer : Mean correlation, for ``scoring``.
    cross_val_reconstruction : Correlations of subjects and bands.

    Notes
    -----
    With a contrastive loss, the estimates of :class:`~sk_b2s.BrainEncoder`
    distinguish segments and need not resemble them. Use ``loss="mse"`` for a
    reconstruction.

    ``transform`` of a :class:`~sk_b2s.LikelihoodDecoder` is a matched filter.
    It is multiplied by the covariance of the training features over bands and
    frames, which gives the posterior mean of the features for weak responses.
    Its amplitude is arbitrary.
    """
    decoder, windows = unwrap_decoder_of_estimator(estimator, X, "reconstruct")
    check_is_fitted(decoder)
    check_reconstruction_estimates(decoder)
    y = decoder._check_y(y)
    validate_rows_in_step(X, y)
    targets = decoder._targets(y)
    decoder._check_targets_shape(targets)
    decoder._warn_of_leak(y, stacklevel=3)
    warn_of_exposure(estimator, decoder, y)
    table = validate_table(X)
    table = table if table is not None else validate_table(windows)
    return reconstruct_recordings(decoder, windows, targets, table)


def check_reconstruction_estimates(decoder):
    """Raise unless ``transform`` returns estimates of the features."""
    name = type(decoder).__name__
    if not hasattr(decoder, "transform"):
        raise TypeError(
            f"{name} does not estimate speech features, so nothing can be reconstructed. Use a RidgeDecoder or a "
            f"BrainEncoder, for example one of the members of an ensemble."
        )
    if getattr(decoder, "speech_architecture_", None) is not None:
        raise ValueError(
            f"{name} estimates {decoder.n_features_out_} dimensions of an embedding that it learned from the "
            f"{decoder.n_speech_features_} speech features, not the features. Fit it with target_dim=None and "
            f"speech_embedding_dim=None, or use RidgeDecoder."
        )
    if getattr(decoder, "loss", "mse") != "mse":
        warnings.warn(
            f"{name} was fitted with loss={decoder.loss!r}, which identifies segments. Its estimates need not resemble "
            f"the features. Fit it with loss='mse' for a reconstruction.",
            stacklevel=3,
        )


def reconstruct_recordings(decoder, windows, targets, table):
    """Average the windows of each recording: ReconstructionResult."""
    subject = (
        check_window_subjects(windows) if isinstance(windows, Windows) else np.full(len(windows), "", object)
    )
    known = (
        {}
        if table is None
        else {name: table[name].to_numpy() for name in ("recording", "study") if name in table}
    )
    recording = known.get("recording", np.full(len(windows), "", object))
    keys = pd.DataFrame({"subject": subject, "recording": recording})
    if "study" in known:
        keys["study"] = known["study"]
    groups = keys.groupby(get_validated_recordings(keys), sort=False)
    is_forward = isinstance(decoder, LikelihoodDecoder)
    prior = FeaturePrior(decoder._targets(decoder.segments_)) if is_forward else None
    estimate, target, place, parts = [], [], [], []
    for rows in groups.indices.values():
        one, true, where = _reconstruct_recording(decoder, prior, windows, targets, table, np.sort(rows))
        if not len(where):
            continue
        estimate.append(one)
        target.append(true)
        place.append(where)
        parts.append({
            "study": known["study"][rows[0]] if "study" in known else None, "subject": subject[rows[0]],
            "recording": recording[rows[0]], "n_windows": len(rows), "n_frames": len(where),
        })  # fmt: skip
    if not parts:
        raise ValueError(
            "No window of X has a frame during its stimulus. Check sound_onset and duration of y, and the rate of the "
            "speech features."
        )
    return ReconstructionResult(
        estimate,
        target,
        describe_reconstruction_result_recordings(parts),
        window=targets.shape[2],
        sfreq=targets.sfreq,
        place=place,
    )


def _reconstruct_recording(decoder, prior, windows, targets, table, rows):
    """Reconstruct one recording: estimate, target and stimulus frames."""
    estimate = decoder.transform(windows[rows])
    estimate = estimate.reshape(*estimate.shape[:2], -1)
    estimate = estimate if prior is None else prior.apply(estimate)
    weights = np.asarray(decoder.frame_weights_, float)
    which, start, onset = targets.which[rows], targets.start[rows], _find_reconstruction_onsets(table, rows)
    step = 1 + max(signal.shape[0] for signal in targets.signals)
    parts = []
    for own in _group_reconstructed_presentations(which, start, onset, targets.sfreq):
        found, coverage = overlap_add(estimate[own], start[own], weights)
        true, _ = overlap_add(targets.gather(rows[own]).cpu().numpy(), start[own], weights)
        frames = start[own].min() + np.arange(len(coverage))
        signal = which[own[0]]
        inside = coverage > 0
        if targets.extent is not None:
            inside &= (frames >= targets.extent[signal][0]) & (frames < targets.extent[signal][1])
        first = onset[own].min() if onset is not None else len(parts)
        parts.append((first, found[:, inside], true[:, inside], (signal * step + frames)[inside]))
    parts.sort(key=lambda part: part[0])
    return (
        np.concatenate([part[1] for part in parts], axis=1),
        np.concatenate([part[2] for part in parts], axis=1),
        np.concatenate([part[3] for part in parts]),
    )


def _find_reconstruction_onsets(table, rows):
    """Return the start of each window in its recording, None if unknown."""
    if table is None or "onset" not in table:
        return None
    return table["onset"].to_numpy(float)[rows]


def _group_reconstructed_presentations(which, start, onset, sfreq):
    """Split windows by presentation of a stimulus: list of row arrays.

    A stimulus that is presented again has windows at the same frames.
    """
    table = pd.DataFrame({"which": which, "start": start})
    if onset is None or sfreq is None:
        table["number"] = table.groupby(["which", "start"]).cumcount()
    else:
        table["begin"] = onset - start / sfreq
        table = table.sort_values(["which", "begin"], kind="stable")
        table["number"] = (table.groupby("which")["begin"].diff() > SAME).cumsum()
    groups = table.groupby(["which", "number"], sort=False)
    return [np.sort(part.index.to_numpy()) for _, part in groups]


def reconstruction_scorer(estimator, X, y):
    """Compute the mean correlation of reconstructed and true features.

    Use it as ``scoring`` of :func:`~sklearn.model_selection.cross_val_score`
    or :class:`~sklearn.model_selection.GridSearchCV`. The correlations over
    the frames of each recording are averaged over bands, then over the
    recordings of a subject, and then over subjects.

    Parameters
    ----------
    estimator : estimator
        Fitted decoder that estimates speech features, see
        :func:`reconstruct`.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimulus segments or features.

    Returns
    -------
    r : float
        Mean Pearson correlation. The chance level is 0.

    Raises
    ------
    TypeError, ValueError
        Those of :func:`reconstruct`.

    See Also
    --------
    sk_b2s.retrieval_scores : Scores of retrieval.
    """
    scores = reconstruct(estimator, X, y).correlations(n_shifts=0)
    return float(scores.loc[scores["band"] == MEAN, "r"].mean())


def cross_val_reconstruction(
    estimator, X, y, cv, n_shifts=1000, random_state=0, n_jobs=None, *, groups=None, return_estimator=False
):
    r"""Correlate held-out speech features with their reconstruction.

    Parameters
    ----------
    estimator : estimator
        Decoder that estimates speech features, see :func:`reconstruct`, or a
        Pipeline or search that ends in one. It is cloned and fitted in each
        fold.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimulus segments or features, one row per window.
    cv : splitter or iterable of (train, test)
        Folds by stimulus, for example ``StimulusKFold(5)``.
    n_shifts : int, default=1000
        Number of circular shifts of each null.
    random_state : int, default=0
        Draws the shifts.
    n_jobs : int or None, default=None
        Number of folds run in parallel.
    groups : array-like of shape (n_windows,), default=None
        Group of each row, passed to the splitter.
    return_estimator : bool, default=False
        Whether to also return the fitted estimators.

    Returns
    -------
    scores : DataFrame of shape (n_folds * n_subjects * (n_bands + 1), ...)
        ``fold``, the columns of
        :meth:`~sk_b2s.ReconstructionResult.correlations`, and ``n_train``, the
        number of training windows. Means over subjects: ``mean_and_sem(scores,
        "r", by="band")``.
    estimators : list of estimator
        The fitted estimator of each fold. Only with ``return_estimator``.

    Raises
    ------
    TypeError
        If the estimator does not estimate features, or ``cv`` is a number,
        which would split overlapping windows.

    Notes
    -----
    The mean over bands, recordings and subjects is the score of the regression
    task of the auditory EEG challenge [1]_, which gives all recordings equal
    weight. There, models decode with the features at 64 Hz. Features that are
    band-pass filtered or have a lower rate have other correlations, so that
    values are comparable only with equal preprocessing of the stimulus.

    References
    ----------
    .. [1] Monesi, Bollens, Accou et al. (2024). Auditory EEG decoding
       challenge for ICASSP 2023. IEEE Open Journal of Signal Processing 5:652.
       https://doi.org/10.1109/OJSP.2024.3376296
    """
    validate_count("n_shifts", n_shifts, least=0)
    return fit_and_score_folds(
        _score_reconstruction_fold,
        estimator,
        X,
        y,
        list_split_folds(cv, X, y, groups),
        n_shifts,
        random_state,
        n_jobs=n_jobs,
        return_estimator=return_estimator,
    )


def _score_reconstruction_fold(estimator, X, y, train, test, n_shifts, random_state):
    """Return the correlations of one fold, and the fitted estimator."""
    estimator = fit_fold(estimator, X, y, train, test)
    result = reconstruct(estimator, _safe_indexing(X, test), _safe_indexing(y, test))
    return result.correlations(n_shifts, random_state).assign(n_train=len(train)), estimator

"""Reconstruction next to the same sound without neural information."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from sk_b2s._utils._estimators import unwrap_decoder_of_estimator
from sk_b2s._utils._logging import iterate_with_logged_progress
from sk_b2s._utils._validation import is_validated_table, validate_count, validate_table
from sk_b2s.evaluation._controls._inputs import (
    make_control_noise_inputs,
    permute_control_inputs,
    shift_control_inputs,
)
from sk_b2s.evaluation._controls._run import run_control_rows
from sk_b2s.evaluation._controls._surrogates import SurrogateRecordings
from sk_b2s.evaluation._fit_score import fit_fold
from sk_b2s.evaluation._reconstruction._reconstruct import reconstruct_recordings
from sk_b2s.evaluation._reconstruction._result import ReconstructionResult
from sk_b2s.model_selection._exposure import find_exposure
from sk_b2s.model_selection._split import list_split_folds
from sk_b2s.synthesis._controls_result import make_controls_result
from sk_b2s.synthesis._reconstructor import SpeechReconstructor
from sk_b2s.synthesis._stimulus_audio import join_stimulus_audio, list_stimulus_audio


@dataclass(frozen=True)
class SynthesisControl:
    """One control of a reconstruction.

    ``run(fold)`` returns a ReconstructionResult of a SynthesisControlFold.
    """

    name: str
    run: Callable
    label: str
    meaning: str
    is_leak_test: bool = False
    is_context: bool = False


@dataclass
class SynthesisControlFold:
    """One fold: a reconstructor, its data, and the fitted reconstructor."""

    reconstructor: SpeechReconstructor
    X: object
    y: object
    train: np.ndarray
    test: np.ndarray
    seed: int
    fitted: SpeechReconstructor | None = None

    def get(self, side, data):
        """Return the training or test rows of X or y."""
        return _safe_indexing(data, getattr(self, side))

    def has_seen_stimuli(self):
        """Return whether test stimuli were in the training set."""
        return bool(find_exposure(self.fitted.decoder_, self.get("test", self.y)).where)

    def list_stimuli(self):
        """List the audio files of the test stimuli, None without files."""
        return list_stimulus_audio(self.fitted._compute_mel(self.get("test", self.y)))

    def reconstruct_given(self, estimate):
        """Make a result of windows that are not decoded.

        ``estimate(y)`` returns log mel windows (n, n_mels, n_frames) as
        Windows, or one of them that is repeated.
        """
        y, X = self.get("test", self.y), self.get("test", self.X)
        model = self.fitted
        targets = model._compute_mel(y)
        table = validate_table(X)
        if table is None:
            table = validate_table(unwrap_decoder_of_estimator(model.decoder_, X, "controls")[1])
        given = estimate(y, targets)
        windows = (
            targets._replace(rows=table) if isinstance(given, np.ndarray) else given._replace(rows=table)
        )
        source = _GivenWindows(model, given, targets, model._get_weights(targets))
        return reconstruct_recordings(source, windows, targets, table)


class _GivenWindows:
    """Windows that are not decoded, with the interface of a decoder."""

    def __init__(self, model, given, targets, weights):
        self._model, self._given, self.frame_weights_ = model, given, weights

    def transform(self, windows):
        if isinstance(self._given, np.ndarray):
            return np.repeat(self._given[None], len(windows), axis=0)
        features = windows.gather(np.arange(len(windows))).cpu().numpy().astype(float)
        return self._model._map_to_mel(features)


def _run_decoder(fold):
    """Fit and reconstruct the test rows."""
    fold.fitted = fit_fold(fold.reconstructor, fold.X, fold.y, fold.train, fold.test)
    return fold.fitted.reconstruct(fold.get("test", fold.X), fold.get("test", fold.y))


def _run_true_features(fold):
    """Use the true features of the decoder in place of estimates."""

    def compute(y, targets):
        features = fold.fitted._compute_features(y)
        return targets if features is None else features

    return fold.reconstruct_given(compute)


def _run_surrogate(fold):
    """Refit on recordings with the same spectra and covariance."""
    noise = SurrogateRecordings(random_state=fold.seed)
    model, X = clone(fold.reconstructor), fold.X
    if is_validated_table(X):
        model.set_params(decoder=make_control_noise_inputs(model.decoder, noise))
    else:
        X = noise.fit_transform(X)
    model = fit_fold(model, X, fold.y, fold.train, fold.test)
    return model.reconstruct(fold.get("test", X), fold.get("test", fold.y))


def _run_shifted(fold):
    """Refit on training recordings paired with stimuli of another time."""
    rows = run_control_rows(fold.get("train", fold.X))
    order = np.arange(len(fold.X))
    order[fold.train] = fold.train[shift_control_inputs(rows, fold.get("train", fold.y), fold.seed)]
    model = fit_fold(fold.reconstructor, fold.X, permute_control_inputs(fold.y, order), fold.train, fold.test)
    return model.reconstruct(fold.get("test", fold.X), fold.get("test", fold.y))


def _run_prior(fold):
    """Repeat the mean training window."""
    segments = fold.fitted._select_segments(fold.get("train", fold.y))
    windows = fold.fitted._compute_mel(segments)
    mean = windows.gather(np.arange(len(windows))).cpu().numpy().astype(float).mean(0)
    return fold.reconstruct_given(lambda y, targets: mean)


SYNTHESIS_CONTROLS = {
    spec.name: spec
    for spec in (
        SynthesisControl("decoder", _run_decoder, "EEG/MEG", "Estimated from the recordings."),
        SynthesisControl(
            "true_features", _run_true_features, "true features",
            "The true speech features through the same vocoder, the upper bound. No neural data are used.", is_context=True,
        ),
        SynthesisControl(
            "phase_randomized", _run_surrogate, "surrogate recordings",
            "The same decoder, refitted on recordings of equal spectrum without a response. Must be at chance.", True,
        ),
        SynthesisControl(
            "shifted_labels", _run_shifted, "shifted pairs",
            "The same decoder, refitted on recordings paired with stimuli of another time. Must be at chance.", True,
        ),
        SynthesisControl(
            "prior_only", _run_prior, "training mean",
            "The mean training window at the times of the test windows. No neural data are used.", is_context=True,
        ),
    )
}  # fmt: skip


def reconstruct_with_controls(
    reconstructor, X, y, cv, controls=None, n_way=10, seconds=1.0, n_shifts=1000, random_state=0
):
    r"""Reconstruct held-out speech, next to controls without neural data.

    Each control is an estimate of the same test stimuli through the same
    reconstructor and vocoder. "decoder" is the estimate itself.
    "true_features" replaces it by the true features, "phase_randomized"
    refits the decoder on :class:`~sk_b2s.SurrogateRecordings`,
    "shifted_labels" refits it on training recordings paired with stimuli of
    another time, and "prior_only" is the mean training window.

    Parameters
    ----------
    reconstructor : SpeechReconstructor
        It is cloned and fitted in each fold.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows, with ``recording``, ``onset`` and ``duration``.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimulus segments, or log mel spectra.
    cv : splitter or iterable of (train, test)
        Folds by stimulus, for example ``StimulusKFold(2)``.
    controls : list of str, default=None
        Names of controls. "decoder" is always included. If None, all.
    n_way : int, default=10
        Number of candidates of N-way identification.
    seconds : float, default=1.0
        Duration of the pieces that are identified.
    n_shifts : int, default=1000
        Number of circular shifts of the null distributions.
    random_state : int, default=0
        Draws surrogates and shifts.

    Returns
    -------
    result : ReconstructionControls
        Scores, verdict, and audio of each control.

    Raises
    ------
    ValueError
        If X has no times, a control is unknown, or recordings are too short
        for shifts or identification.

    See Also
    --------
    sk_b2s.run_controls : Controls of retrieval.
    sk_b2s.reporting.write_reconstruction_report : HTML page with audio.

    Notes
    -----
    The stimuli of "shifted_labels" are shifted within the training rows of a
    recording, by at least 10 s, and the test rows keep their own. Speech
    resembles itself at some lags by chance, so this null is wider by the score
    of the decoder times the scores of the shifted true stimulus.
    """
    if not isinstance(reconstructor, SpeechReconstructor):
        raise TypeError(
            f"The 'reconstructor' parameter must be a SpeechReconstructor. Got {type(reconstructor).__name__} instead. Use "
            f"SpeechReconstructor(decoder)."
        )
    validate_count("n_way", n_way, least=2)
    validate_count("n_shifts", n_shifts, least=1)
    names = _check_synthesis_control_names(controls)
    run_control_rows(X)
    parts: dict[str, list] = {name: [] for name in names}
    models, stimuli, is_seen = [], [], False
    folds = [
        SynthesisControlFold(reconstructor, X, y, train, test, random_state + number)
        for number, (train, test) in enumerate(list_split_folds(cv, X, y))
    ]
    runs = [(fold, name) for fold in folds for name in names]  # the decoder is first
    for fold, name in iterate_with_logged_progress(runs, "decoders and controls"):
        parts[name].append(SYNTHESIS_CONTROLS[name].run(fold))
    for fold in folds:
        models.append(fold.fitted)
        stimuli.append(fold.list_stimuli())
        is_seen |= fold.has_seen_stimuli()
    results = {name: join_folds_of_synthesis_controls(found) for name, found in parts.items()}
    stimuli = join_stimulus_audio(stimuli, find_synthesis_control_step(parts["decoder"]))
    return make_controls_result(
        results, models, SYNTHESIS_CONTROLS, n_way, seconds, n_shifts, random_state, is_seen, stimuli
    )


def _check_synthesis_control_names(controls):
    """Return the names of controls, the decoder first."""
    if isinstance(controls, str):
        raise TypeError(f"controls must be a list of names. Got the text {controls!r}. Use [{controls!r}].")
    names = list(SYNTHESIS_CONTROLS if controls is None else controls)
    for name in names:
        if name not in SYNTHESIS_CONTROLS:
            raise ValueError(f"controls: {name!r} is not one of {list(SYNTHESIS_CONTROLS)}.")
    return list(dict.fromkeys(["decoder", *names]))


def find_synthesis_control_step(results):
    """Return the interval between the places of folds."""
    return 1 + max((int(place.max()) for result in results for place in result.place), default=0)


def join_folds_of_synthesis_controls(results):
    """Join the recordings of several folds, with a column ``fold``."""
    first = results[0]
    step = find_synthesis_control_step(results)
    return ReconstructionResult(
        [part for result in results for part in result.estimate],
        [part for result in results for part in result.target],
        pd.concat([result.rows.assign(fold=fold) for fold, result in enumerate(results)], ignore_index=True),
        first.window,
        first.sfreq,
        [place + fold * step for fold, result in enumerate(results) for place in result.place],
    )

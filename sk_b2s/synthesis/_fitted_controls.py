"""Controls of a fitted reconstructor, without the data of its fit."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
from sklearn.pipeline import Pipeline

from sk_b2s.evaluation._controls._surrogates import SurrogateRecordings
from sk_b2s.preprocessing._epocher._epocher import Epocher
from sk_b2s.synthesis._controls import (
    SYNTHESIS_CONTROLS,
    SynthesisControlFold,
    join_folds_of_synthesis_controls,
)
from sk_b2s.synthesis._controls_result import make_controls_result

MEANINGS = {
    "phase_randomized": "The same fitted decoder on a recording of equal spectrum without a response. Must be at chance.",
    "prior_only": "The mean of the training spectra. No neural data are used.",
}
SPECS = {
    name: replace(spec, meaning=MEANINGS.get(name, spec.meaning))
    for name, spec in SYNTHESIS_CONTROLS.items()
    if name != "shifted_labels"  # requires the training data
}


def compare_fitted_with_controls(model, X, y, n_way=10, n_shifts=1000, random_state=0):
    """Score a fitted reconstructor and its controls: ReconstructionControls.

    Nothing is refitted. The surrogate recording is decoded by the same
    coefficients, so a leak of the training set cannot be detected.
    """
    fold = SynthesisControlFold(model, X, y, np.arange(0), np.arange(len(X)), random_state, model)
    mean = np.repeat(model.mel_mean_[:, None], model._compute_mel(y).shape[2], axis=1)
    results = {
        "decoder": model.reconstruct(X, y),
        "true_features": SYNTHESIS_CONTROLS["true_features"].run(fold),
        "phase_randomized": insert_fitted_surrogate(model, X, random_state).reconstruct(X, y),
        "prior_only": fold.reconstruct_given(lambda y, targets: mean),
    }
    results = {name: join_folds_of_synthesis_controls([result]) for name, result in results.items()}
    return make_controls_result(
        results,
        [model],
        SPECS,
        n_way,
        1.0,
        n_shifts,
        random_state,
        fold.has_seen_stimuli(),
        fold.list_stimuli(),
    )


def insert_fitted_surrogate(model, X, random_state=0):
    """Copy a fitted reconstructor that decodes surrogate recordings."""
    pipeline = model.decoder_
    if not isinstance(pipeline, Pipeline) or not isinstance(pipeline.steps[0][1], Epocher):
        raise TypeError(
            f"The decoder must be a Pipeline that begins with an Epocher, so that recordings can be replaced by surrogates. "
            f"Got {type(pipeline).__name__} instead."
        )
    first = pipeline.steps[0]
    noise = SurrogateRecordings(random_state=random_state).fit(first[1].transform(X))
    copied = copy.copy(model)
    copied.decoder_ = copy.copy(pipeline)
    copied.decoder_.steps = [first, ("surrogate_recordings", noise), *pipeline.steps[1:]]
    return copied

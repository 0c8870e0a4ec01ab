"""Registry of the controls of :func:`~sk_b2s.run_controls`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from sk_b2s._utils._estimators import find_estimator_speech, iter_nested_estimators
from sk_b2s._utils._validation import is_validated_table, validate_table
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._retrieval._result import RetrievalResult, split_retrieval_result_pools
from sk_b2s.evaluation._controls._inputs import (
    exclude_shared_control_inputs,
    make_control_input_features,
    make_control_noise_inputs,
    make_control_speech_inputs,
    permute_control_inputs,
    shift_control_inputs,
)
from sk_b2s.evaluation._controls._order import rank_fold_by_order
from sk_b2s.evaluation._controls._surrogates import SurrogateRecordings
from sk_b2s.evaluation._controls._timing import (
    has_timing_of_overlap,
    is_timing_above_chance,
    rank_fold_by_timing,
)
from sk_b2s.features._acoustic_spectra import Envelope
from sk_b2s.features._activity import SpeechActivity
from sk_b2s.preprocessing._windows._windows import Windows

LEAK_ALPHA = (
    0.025 / 3
)  # probability that one leak test is marked by chance, 2.5 % for three and 3.3 % for four


@dataclass(frozen=True)
class ControlSpec:
    """One control of :func:`~sk_b2s.run_controls`.

    To add a control, write its ``factory`` and add one entry to ``CONTROLS``.

    Parameters
    ----------
    name : str
        Identifier in ``controls=`` and in the column ``control``.
    factory : callable
        ``factory(task)`` returns a list of
        :class:`~sk_b2s.RetrievalResult`, each with its own candidates, from a
        :class:`~sk_b2s.evaluation._controls._fold.ControlFold`.
    label : str
        Noun phrase for texts and figures.
    meaning : str
        Sentence that explains what its score shows.
    leak_alpha : None or float, default=None
        Probability that the control is marked as a leak by chance. None if a
        score above chance does not reveal a leak.
    leak_meaning : str, default=""
        What a score above chance reveals.
    is_context : bool, default=False
        Whether no neural data are used, so that the score gets no verdict.
    is_fitted : bool, default=True
        Whether it fits an estimator. Others run first, because they are fast.
    needs : {None, "audio", "oracle", "timing", "trials"}, default=None
        What it requires: audio files and a decoder with ``speech``,
        ``oracle=``, windows at words or sentences, or windows that are trials
        of whole stimuli, such as images.
    in_benchmark : bool, default=True
        Whether ``benchmark(controls=True)`` runs it.
    is_always : bool, default=False
        Whether it runs wherever it applies, also if it is not requested.
    is_stratified : bool, default=False
        Whether windows are ranked, and labels permuted, within strata of like
        timing.
    is_permuted : bool, default=False
        Whether the null permutes labels within recordings. Otherwise, it
        shifts them circularly.
    former_name : None or str, default=None
        Name in results files of earlier versions.
    """

    name: str
    factory: Callable[[Any], list]
    label: str
    meaning: str
    leak_alpha: float | None = None
    leak_meaning: str = ""
    is_context: bool = False
    is_fitted: bool = True
    needs: str | None = None
    in_benchmark: bool = True
    is_always: bool = False
    is_stratified: bool = False
    is_permuted: bool = False
    former_name: str | None = None


# --- factories ---------------------------------------------------------------------------------------


def _run_decoder(task):
    """Fit and score the decoder itself."""
    return [task.decoded]


def _run_noise(task, kind):
    noise = SurrogateRecordings(kind, random_state=task.seed)
    is_table = is_validated_table(task.X)
    if is_table:
        result = task.refit(make_control_noise_inputs(task.estimator, noise))
    else:
        result = task.refit(X=noise.fit_transform(task.X))
    if (
        isinstance(result, RetrievalResult)
        and is_timing_above_chance(result)
        and has_timing_of_overlap(result.rows)
    ):
        task.separate = _score_separate_windows(task, noise, is_table)
    return [result]


def _score_separate_windows(task, noise, is_table):
    """Retrieve from surrogate windows that share no samples, without a fit."""
    X = _safe_indexing(task.X, task.test)
    if not is_table:
        if not isinstance(X, Windows):
            return None
        X = noise.set_params(overlap=False).transform(X)
    steps = [step for step in iter_nested_estimators(task.fitted) if isinstance(step, SurrogateRecordings)]
    for step in steps:
        step.overlap = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the same rows were given before
        y = _safe_indexing(task.y, task.test)
        own = {} if task.candidates_per_row is None else {"candidates_per_row": task.candidates_per_row}
        result = task.retrieve(task.fitted, X, y, **own)
    for step in steps:
        step.overlap = True
    return task.with_rows(result, task.test)


def _run_phase_randomized(task):
    """Refit on recordings with the same spectra and covariance."""
    return _run_noise(task, "phase")


def _run_white_noise(task):
    """Refit on noise that shares nothing with the recordings."""
    return _run_noise(task, "white")


def _run_shifted_labels(task):
    """Refit with stimuli circularly shifted within each recording."""
    order = shift_control_inputs(task.rows, task.y, task.seed)
    # Stimuli keep their side of the split: "train" or "test" is shifted with them.
    side = np.zeros(len(order), int)
    side[task.train], side[task.test] = 1, 2
    train, test = np.flatnonzero(side[order] == 1), np.flatnonzero(side[order] == 2)
    kept = exclude_shared_control_inputs(task.rows, train, test)
    task.n_left_out = len(train) - len(kept)
    if not len(kept):
        raise ValueError(
            "Control 'shifted_labels': after the shift, every training window is too close to a test window of its "
            "recording. Use longer recordings or longer blocks."
        )
    return [task.refit(y=permute_control_inputs(task.y, order), train=kept, test=test)]


def _run_within_recording(task):
    """Retrieve among the candidates of the same recording only."""
    return split_retrieval_result_pools(task.decoded)


def _run_timing_only(task):
    """Rank candidates by the times of windows, without neural data."""
    if make := getattr(task.retrieve, "of_timing", None):  # classes in place of segments
        return [make(*(_safe_indexing(data, task.test) for data in (task.X, task.y)))]
    return [task.result_of_scores(rank_fold_by_timing(task))]


def _run_recording_order(task):
    """Rank candidates by the stimuli that were presented close in time."""
    return [task.result_of_scores(rank_fold_by_order(task))]


def _run_timing_matched(task):
    """Retrieve among candidates of like timing and loudness only."""
    return [task.add_timing_control_columns(task.decoded)]


def _run_silence_truth(task):
    """Retrieve by the true speech and silence mask of each window."""
    speech = find_estimator_speech(task.estimator)
    stimuli = _safe_indexing(task.y, task.test)
    feature = make_control_input_features(speech, SpeechActivity()).steps[0][1].set_params(sfreq=50)
    mask = np.asarray(feature.fit_transform(validate_table(stimuli)))[:, 0]
    own = mask[find_distinct_candidates(stimuli).first]
    # Minus the number of frames in which two masks differ, as integers, so that equal masks tie.
    return [task.result_of_scores(mask @ own.T + (1 - mask) @ (1 - own).T - mask.shape[1])]


def _run_silence_decoded(task):
    """Refit with the speech and silence mask as the only feature."""
    return _run_other_feature(task, SpeechActivity())


def _run_envelope_only(task):
    """Refit with the envelope as the only feature."""
    return _run_other_feature(task, Envelope())


def _run_other_feature(task, feature):
    speech = make_control_input_features(find_estimator_speech(task.estimator), feature)
    return [task.refit(make_control_speech_inputs(task.estimator, speech))]


def _run_oracle(task):
    """Score the result or similarities of the user's oracle."""
    result = task.oracle(*(_table_or_data(_safe_indexing(data, task.test)) for data in (task.X, task.y)))
    if isinstance(result, RetrievalResult) and task.candidates_per_row is None:
        return [task.with_rows(result, task.test)]
    result = result.scores if isinstance(result, RetrievalResult) else result
    return [task.result_of_scores(result)]


def _table_or_data(data):
    table = validate_table(data)
    return data if table is None else table


# --- the registry ------------------------------------------------------------------------------------

CONTROLS = {
    spec.name: spec
    for spec in (
        ControlSpec(
            "decoder", _run_decoder, "the decoder itself", "The decoder itself.", in_benchmark=False,
        ),
        ControlSpec(
            "phase_randomized", _run_phase_randomized, "phase-randomized recordings",
            "Recordings of equal spectrum without a response. Must be at chance.",
            LEAK_ALPHA, "recordings without a response were decoded, so differences between recordings are enough",
            former_name="surrogate",
        ),
        ControlSpec(
            "white_noise", _run_white_noise, "white noise in place of the recordings",
            "White noise in place of the recordings. Must be at chance.",
            LEAK_ALPHA, "noise was decoded, so the tables or the folds reveal the target",
            in_benchmark=False, former_name="white noise",
        ),
        ControlSpec(
            "shifted_labels", _run_shifted_labels, "recordings paired with stimuli of another time",
            "Recordings paired with stimuli of another time. Must be at chance.",
            LEAK_ALPHA, "stimuli of another time were decoded, so the score does not depend on the presented stimulus",
            former_name="shifted pairing",
        ),
        ControlSpec(
            "recording_order", _run_recording_order, "order and time of presentation",
            "Order and time of presentation, without neural data. Must be at chance.",
            LEAK_ALPHA, "the time of a window predicts its stimulus, because like stimuli were presented in blocks or "
            "in the same order, so slow drifts of the recording are enough",
            is_fitted=False, needs="trials", is_always=True, is_permuted=True,
        ),
        ControlSpec(
            "within_recording", _run_within_recording, "candidates of the same recording only",
            "Candidates of the same recording only, where differences between recordings do not help.",
            in_benchmark=False, former_name="within recording",
        ),
        ControlSpec(
            "timing_only", _run_timing_only, "timing of the windows, without neural data",
            "Intervals, durations and positions of words or sentences, without neural data. A score that is not above "
            "it may come from rhythm alone.",
            is_context=True, is_fitted=False, needs="timing", is_always=True,
        ),
        ControlSpec(
            "timing_matched", _run_timing_matched, "candidates of like timing and loudness only",
            "Candidates of like duration, interval to the next onset and loudness only, where timing does not help.",
            needs="timing", in_benchmark=False, is_stratified=True,
        ),
        ControlSpec(
            "silence_truth", _run_silence_truth, "true speech and silence in place of decoded features",
            "Speech and silence of the stimulus, compared with the truth. No neural data are used.",
            is_context=True, is_fitted=False, needs="audio", former_name="silence only",
        ),
        ControlSpec(
            "silence_decoded", _run_silence_decoded, "speech and silence in place of the speech features",
            "Speech and silence, decoded. Shows how much of the score they explain.",
            needs="audio", in_benchmark=False, former_name="silence from the brain",
        ),
        ControlSpec(
            "envelope_only", _run_envelope_only, "the envelope in place of the speech features",
            "The envelope, decoded. Shows how much of the score loudness explains.",
            needs="audio", former_name="acoustics only",
        ),
        ControlSpec(
            "oracle", _run_oracle, "an oracle that has the simulated truth",
            "Score with the simulated truth, the upper bound.",
            is_context=True, is_fitted=False, needs="oracle",
        ),
    )
}  # fmt: skip
LEAK_TESTS = tuple(name for name, spec in CONTROLS.items() if spec.leak_alpha is not None)
CONTEXT = tuple(name for name, spec in CONTROLS.items() if spec.is_context)
FORMER_NAMES = {spec.former_name: name for name, spec in CONTROLS.items() if spec.former_name}


def find_control(name):
    """Return the entry of a control, or raise a ValueError with a hint."""
    if name in CONTROLS:
        return CONTROLS[name]
    hint = f" Did you mean {FORMER_NAMES[name]!r}?" if name in FORMER_NAMES else ""
    raise ValueError(f"controls: {name!r} is not one of {list(CONTROLS)}.{hint}")


def label_of_control(name):
    """Return the label of a control, or the name itself if it is unknown."""
    return CONTROLS[name].label if name in CONTROLS else str(name)

"""Registry of the tasks of :func:`~sk_b2s.benchmark_task`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sk_b2s._utils._text import make_suggestion_text
from sk_b2s.decoding._retrieval._retrieve import retrieve
from sk_b2s.decoding._retrieval._row_candidates import RowCandidates
from sk_b2s.evaluation._reconstruction._reconstruct import reconstruct
from sk_b2s.evaluation._tasks._judge_reconstruction import judge_reconstruction
from sk_b2s.evaluation._tasks._judge_words_and_speech import (
    JudgedSpeechRows,
    judge_phonemes,
    judge_speech,
    judge_word_types,
    judge_words,
)
from sk_b2s.evaluation._tasks._names import TASK_QUESTIONS
from sk_b2s.model_selection._leave_one_out import LeaveOneSubjectOut
from sk_b2s.model_selection._split import StimulusKFold

PAPER_WINDOW = {"anchor": "word", "tmin": -0.5, "tmax": 2.35}
WORDS = "the most frequent words of the training set"


@dataclass(frozen=True)
class TaskSpec:
    """One task: a published question with its rows, scores and controls.

    To add a task, write ``judge`` and add one entry to ``TASKS``.

    Parameters
    ----------
    name : str
        Identifier in :func:`~sk_b2s.benchmark_task`.
    question : str
        The question in one sentence.
    rows : dict
        Parameters of :func:`~sk_b2s.make_segments`.
    candidates : str
        Noun phrase, what the target of a window is compared with.
    chance : str
        Noun phrase, the chance level of the main score.
    label : str
        Noun phrase, the main score. "{k}" is replaced by the number of
        guesses.
    compared : str, default="similarities"
        Plural noun phrase, what scores, null and controls are computed from.
    shifted : str, default="labels"
        Plural noun phrase, what the null shifts in time.
    averaged : str, default="windows"
        Plural noun phrase, what a score is averaged over.
    judge : None or callable
        ``judge(result, fold, **options)`` returns a
        :class:`~sk_b2s.evaluation._tasks._judgment.Judgment`, or another
        object with its methods ``make_rows`` and ``make_outcome``, from the
        result of ``retrieve`` and its
        :class:`~sk_b2s.evaluation._controls._fold.ControlFold`. If None,
        the scores of segments.
    main_score : str, default="top_k"
        Column that is compared with chance level and null.
    options : dict, default={}
        Parameters of ``judge`` and their defaults.
    retrieve : callable, default=retrieve
        ``retrieve(estimator, X, y)`` applies a fitted estimator to the test
        rows. It returns a :class:`~sk_b2s.RetrievalResult`, or another object
        for ``judge``.
    controls : None or tuple of str, default=None
        Controls of ``controls=True``. If None, those of
        :func:`~sk_b2s.benchmark`.
    always : tuple of str, default=()
        Controls that run with any value of ``controls``.
    make_splitter : callable, default=StimulusKFold
        Makes the default splitter.
    source : str, default=""
        Publication of the question.
    published : str, default=""
        Published score with its data set and chance level.
    """

    name: str
    question: str
    rows: Mapping[str, Any]
    candidates: str
    chance: str
    label: str
    compared: str = "similarities"
    shifted: str = "labels"
    averaged: str = "windows"
    judge: Callable | None = None
    main_score: str = "top_k"
    options: Mapping[str, Any] = field(default_factory=dict)
    retrieve: Callable = retrieve
    controls: tuple[str, ...] | None = None
    always: tuple[str, ...] = ()
    make_splitter: Callable = StimulusKFold
    source: str = ""
    published: str = ""


TASKS = {
    spec.name: spec
    for spec in (
        TaskSpec(
            "segment",
            question=TASK_QUESTIONS["segment"],
            rows=PAPER_WINDOW,
            candidates="the distinct segments of the test set",
            chance="k divided by the number of segments",
            label="top-{k} accuracy of segments",
            options={"k": 10, "n_candidates": None},
            source="Défossez et al. (2023), Nature Machine Intelligence 5:1097",
            published="top-10 accuracy .707 (MEG-MASC), .257 of 190 segments (Brennan & Hale)",
        ),
        TaskSpec(
            "match_mismatch",
            question=TASK_QUESTIONS["match_mismatch"],
            rows={"anchor": 1.0, "tmin": 0.0, "tmax": 3.0},
            candidates="the segment and an impostor of the same recording, one second before or after it",
            chance="one half",
            label="match-mismatch accuracy",
            options={"k": 1, "candidates_per_row": RowCandidates(2, "balanced")},
            make_splitter=LeaveOneSubjectOut,
            source="the auditory EEG challenge of 2023",
            published="accuracy .77 (baseline), .821 (winner), 64-channel EEG, chance .50",
        ),
        TaskSpec(
            "match_mismatch_5",
            question=TASK_QUESTIONS["match_mismatch_5"],
            rows={"anchor": 1.0, "tmin": 0.0, "tmax": 5.0},
            candidates="the segment and four segments of the same recording",
            chance="one fifth",
            label="match-mismatch accuracy among five",
            options={"k": 1, "candidates_per_row": RowCandidates(5, "random", gap=0.0)},
            make_splitter=LeaveOneSubjectOut,
            source="the auditory EEG challenge of 2024",
            published="accuracy .628 (winner), 20 unseen subjects, 64-channel EEG, chance .20",
        ),
        TaskSpec(
            "sentence",
            question=TASK_QUESTIONS["sentence"],
            rows={"anchor": "sentence", "tmin": 0.0, "tmax": 2.0},
            candidates="the beginnings of the distinct sentences of the test set, all of equal length",
            chance="k divided by the number of candidates",
            label="top-{k} accuracy of sentences",
            options={"k": 1, "n_candidates": None, "candidates_per_row": None},
            source="arXiv:2605.24524, for the leak by unequal lengths",
        ),
        TaskSpec(
            "word",
            question=TASK_QUESTIONS["word"],
            rows=PAPER_WINDOW,
            candidates=f"{WORDS}, each with the mean probability of its test segments",
            chance="k divided by the number of words",
            label="top-{k} accuracy of words, each with equal weight",
            compared="probabilities of words",
            shifted="words",
            averaged="words, each with equal weight,",
            judge=judge_words,
            options={"n_words": 50, "k": 10},
            source="d'Ascoli et al. (2025), Nature Communications",
            published="top-10 accuracy .732 of 50 words (LibriBrain100, one subject, chance .20)",
        ),
        TaskSpec(
            "word_types",
            question=TASK_QUESTIONS["word_types"],
            rows=PAPER_WINDOW,
            candidates=f"{WORDS}, each with the mean features of its training segments",
            chance="k divided by the number of words",
            label="top-{k} accuracy of words, each with equal weight",
            compared="probabilities of words",
            shifted="words",
            averaged="words, each with equal weight,",
            judge=judge_word_types,
            options={"n_words": 50, "k": 10},
            retrieve=JudgedSpeechRows,
            controls=("phase_randomized", "shifted_labels", "timing_only"),
            source="d'Ascoli et al. (2025), Nature Communications",
            published="top-10 accuracy .732 of 50 words (LibriBrain100, one subject, chance .20)",
        ),
        TaskSpec(
            "phoneme",
            question=TASK_QUESTIONS["phoneme"],
            rows={"anchor": "phoneme", "tmin": 0.0, "tmax": 0.6},
            candidates="the phonemes with ten or more test windows, each with the mean features of its training segments",
            chance="one divided by the number of phonemes",
            label="balanced accuracy of phonemes",
            compared="similarities to the mean features of phonemes",
            shifted="phonemes",
            averaged="phonemes, each with equal weight,",
            judge=judge_phonemes,
            options={"n_windows": 10},
            retrieve=JudgedSpeechRows,
            controls=("phase_randomized", "shifted_labels", "timing_only"),
            always=("timing_only",),
            source="the PNPL competition of 2025, https://arxiv.org/abs/2506.10165",
            published="F1 score .736 of averages of 100 windows, 39 phonemes (LibriBrain, one subject, chance .026)",
        ),
        TaskSpec(
            "speech",
            question=TASK_QUESTIONS["speech"],
            rows={"anchor": 0.5, "tmin": -0.5, "tmax": 0.5},
            candidates="speech and silence at the center of the window, each with its mean features in training",
            chance="one half",
            label="balanced accuracy of speech and silence",
            compared="similarities to the mean features of speech and silence",
            shifted="labels of speech and silence",
            averaged="two classes, each with equal weight,",
            judge=judge_speech,
            retrieve=JudgedSpeechRows,
            controls=("phase_randomized", "shifted_labels", "timing_only"),
            always=("timing_only",),
            source="the PNPL competition of 2025, https://arxiv.org/abs/2506.10165",
            published="F1 score .956 (LibriBrain, one subject)",
        ),
        TaskSpec(
            "reconstruction",
            question=TASK_QUESTIONS["reconstruction"],
            rows={"anchor": 1.0, "tmin": 0.0, "tmax": 3.0},
            candidates="",
            chance="zero",
            label="Pearson correlation over time, mean over bands",
            compared="estimated and true features",
            shifted="estimated features relative to the true features",
            averaged="recordings, weighted by their duration,",
            judge=judge_reconstruction,
            main_score="reconstruction_r",
            retrieve=reconstruct,
            controls=("phase_randomized",),
            source="the auditory EEG challenge of 2023",
            published="r .176 (envelope, Scientific Reports 15:28744)",
        ),
    )
}


def find_task(name):
    """Return the entry of a task, or raise a ValueError with a hint."""
    if name in TASKS:
        return TASKS[name]
    raise ValueError(
        f"The 'task' parameter of benchmark_task must be one of {list(TASKS)}. Got {name!r} instead."
        f"{make_suggestion_text(str(name), TASKS)}"
    )

"""Registry of the tasks of :func:`~sk_b2s.benchmark_task`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sk_b2s._utils._text import suggest_name
from sk_b2s.decoding._retrieval._scoring import retrieve
from sk_b2s.evaluation._questions._words import judge_words
from sk_b2s.model_selection._split import StimulusKFold

PAPER_WINDOW = {"anchor": "word", "tmin": -0.5, "tmax": 2.35}
NOTHING: Mapping = MappingProxyType({})


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
    judge : None or callable
        ``judge(result, fold, **options)`` returns a
        :class:`~sk_b2s.evaluation._questions._judgment.Judgment`, or another
        object with its methods ``make_rows`` and ``make_outcome``, from the
        result of ``retrieve`` and its
        :class:`~sk_b2s.evaluation._controls._fold_task.FoldTask`. If None,
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
            question="Which segment of speech was presented?",
            rows=PAPER_WINDOW,
            candidates="the distinct segments of the test set",
            chance="k divided by the number of segments",
            label="top-{k} accuracy of segments",
            options={"k": 10, "n_candidates": None},
            source="Défossez et al. (2023), Nature Machine Intelligence 5:1097",
            published="top-10 accuracy .707 (MEG-MASC), .257 of 190 segments (Brennan & Hale)",
        ),
        TaskSpec(
            "word",
            question="Which word was presented?",
            rows=PAPER_WINDOW,
            candidates="the distinct words of the test set, each with the summed probability of its segments",
            chance="the mean over words of the score at equal probabilities of all segments",
            label="top-{k} accuracy of words, each with equal weight",
            judge=judge_words,
            options={"k": 10},
            source="d'Ascoli et al. (2025), Nature Communications",
            published="balanced top-10 accuracy .732 of 50 words (LibriBrain100, reference of its benchmark, chance .20)",
        ),
    )
}


def find_task(name):
    """Return the entry of a task, or raise a ValueError with a hint."""
    if name in TASKS:
        return TASKS[name]
    raise ValueError(
        f"The 'task' parameter of benchmark_task must be one of {list(TASKS)}. Got {name!r} instead."
        f"{suggest_name(str(name), TASKS)}"
    )

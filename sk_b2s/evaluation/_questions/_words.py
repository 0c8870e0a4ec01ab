"""Words as candidates of a task."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.evaluation._questions._judgment import Judgment
from sk_b2s.metrics._null import mark_null_hits
from sk_b2s.metrics._ranking import balanced_top_k, ranks
from sk_b2s.metrics._words import compute_flat_word_hits, word_probabilities


def judge_words(result, fold, k=10):
    """Judge whether each word is among the ``k`` most probable words.

    Parameters
    ----------
    result : RetrievalResult
        Candidates have the column ``word``.
    fold : FoldTask or None
        Its training rows fit the classifier of timing alone.
    k : int, default=10
        Number of guesses.

    Returns
    -------
    judgment : Judgment
        Of the windows whose target has a word.
    """
    words = result.candidates["word"].to_numpy(object) if "word" in result.candidates else np.empty(0, object)
    code, vocabulary = pd.factorize(words)
    own = np.flatnonzero(code[result.target] >= 0) if len(vocabulary) else np.empty(0, int)
    if len(vocabulary) <= k:
        raise ValueError(
            f"The test set has {len(vocabulary)} distinct words, so top-{k} accuracy of words is always 1 or undefined. "
            f"Use make_segments(anchor='word'), fewer folds, or options={{'k': ...}}."
        )
    probability, _ = word_probabilities(result.scores[own], words)
    target, rows = result.target[own], result.rows.iloc[own].reset_index(drop=True)
    chance = pd.Series(words, dtype=object).map(compute_flat_word_hits(words, k)).to_numpy(float)
    known = np.flatnonzero(code >= 0)
    place = np.full(len(code), -1)
    place[known] = np.arange(len(known))

    timed = None if fold is None else fold.add_timing_columns(result).rows
    has_timing = timed is not None and "timing_top_10" in timed

    def extra(windows):
        found = ranks(probability[windows], code[target[windows]])
        named = vocabulary[code[target[windows]]]
        scores = {
            f"top_{n}": float(balanced_top_k(found, named, n, len(vocabulary)))
            for n in (1, 5, 10)
            if n < len(vocabulary)
        }
        if has_timing:
            part = timed.iloc[own[windows]]
            scores["word_top_10_timing"] = float(part["timing_top_10"].groupby(named).mean().mean())
            scores["word_timing_chance"] = float(part["timing_chance"].iloc[0])
        return scores

    return Judgment(
        worth=mark_null_hits(probability, k)[:, code[known]].astype(np.float32), target=place[target], rows=rows,
        n_candidates=len(vocabulary), chance=chance[target], k=k, types=words[known], extra=extra,
    )  # fmt: skip

"""Retrieval results of words by Zipf's law."""

import numpy as np
import pandas as pd

from sk_b2s import RetrievalResult

N_WORDS, N = 12, 240


def make_word_retrieval(evidence=0.0, seed=0, n_subjects=2, frequent=True, wordless=0):
    """Make similarities of Zipf words at even intervals, with evidence."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, N_WORDS + 1) if frequent else np.ones(N_WORDS)
    drawn = np.r_[np.arange(N_WORDS), rng.choice(N_WORDS, N - N_WORDS, p=p / p.sum())]
    words = np.array([f"w{code}" for code in rng.permutation(drawn)], object)
    words[:wordless] = None
    onset = np.tile(np.arange(N) * 0.5, n_subjects)
    candidates = pd.DataFrame({"word": words, "segment": np.arange(N)})
    target = np.tile(np.arange(N), n_subjects)
    subject = np.repeat([f"s{i}" for i in range(n_subjects)], N)
    rows = pd.DataFrame({
        "subject": subject, "recording": subject, "onset": onset, "duration": 1.5, "segment": target,
        "sequence": target // 24, "word": words[target],
    })  # fmt: skip
    scores = rng.normal(size=(len(target), N)).astype(np.float32)
    scores[np.arange(len(target)), target] += evidence
    return RetrievalResult(scores, target, candidates, rows, 3)

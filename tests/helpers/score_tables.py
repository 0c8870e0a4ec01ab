"""Score tables, curves and retrieval results, as evaluation returns them."""

import json

import numpy as np
import pandas as pd

from sk_b2s.decoding._retrieval._result import RetrievalResult  # noqa: E402
from sk_b2s.evaluation._controls._verdicts import add_verdict_texts
from sk_b2s.evaluation._results._table import COLUMNS  # noqa: E402


def make_score_table(estimators=("ridge", "encoder"), subjects="abcd", leak=None, seed=0):
    """Make benchmark results: two folds, seeds and pools, and a control."""
    rng, rows = np.random.default_rng(seed), []
    for at, name in enumerate(estimators):
        for control in ("decoder", "phase_randomized"):
            for (fold, s), who in [((f, s), who) for f in (0, 1) for s in (0, 1) for who in subjects]:
                for pool, chance in (("all", 0.1), ("50", 0.2)):
                    score = chance + (0.2 + 0.1 * at) * (control == "decoder") + 0.05 * rng.random()
                    rows.append(
                        dict.fromkeys(COLUMNS, 0.0)
                        | {
                            "study": "planted", "estimator": name, "control": control, "seed": s, "fold": fold,
                            "subject": who, "condition": "", "pool": pool, "n_train": 500.0,
                            "n_windows": int(rng.integers(50, 150)), "n_candidates": int(10 / chance), "k": 10,
                            "chance": chance, "top_1": score / 4, "top_5": score / 2, "top_10": score, "top_k": score,
                            "median_relative_rank": 0.3, "match_mismatch": 0.7, "null_mean": chance + 0.001,
                            "null_low": chance - 0.05, "null_high": chance + 0.06, "peak_memory_mb": 100.0,
                            "verdict": "above_null" if control == "decoder" else "at_null", "leak_sources": "",
                            "versions": "sk_b2s 0.1.0 torch 2.4", "error": "", "key": "",
                            "details": None, "cv": "StimulusKFold(2)", "leakage": np.nan, "warnings": "",
                        }
                    )  # fmt: skip
    table = pd.DataFrame(rows)
    if leak is not None:
        mine = table["estimator"] == leak
        table.loc[mine, "verdict"] = "leak"
        table.loc[mine & (table["control"] == "decoder"), "leak_sources"] = "phase_randomized"
    return add_verdict_texts(table)


def make_retrieval_result(n_words=6, repeats=5, subjects="ab", seed=0, gain=2.0):
    """Make a retrieval result of one sentence, presented several times."""
    rng = np.random.default_rng(seed)
    n = n_words * repeats
    candidates = pd.DataFrame({
        "segment": np.arange(n), "word": [f"w{i % n_words}" for i in range(n)],
        "sequence": np.arange(n) // n_words,
    })  # fmt: skip
    target = np.tile(np.arange(n), len(subjects))
    rows = candidates.iloc[target].reset_index(drop=True)
    rows = rows.assign(subject=np.repeat(list(subjects), n), recording=np.repeat(list(subjects), n),
                       onset=np.tile(3.0 * np.arange(n), len(subjects)), duration=3.0)  # fmt: skip
    scores = rng.normal(size=(len(target), n))
    scores[np.arange(len(target)), target] += gain
    return RetrievalResult(scores.astype(np.float32), target, candidates, rows, k=5)


def make_plan_with_sounds(sounds):
    """Make a plan of one fold whose data has digests of stimuli."""
    return {
        "cv": "StimulusKFold(n_splits=1) (no stimulus is shared)", "questions": ["q"], "subjects": ["a"], "tests": [[0]], "minutes": None,
        "work": {"ridge": {"decoder": [[0], 1]}}, "settings": {"k": 10, "n_shifts": 5}, "data": {"sounds": sounds},
    }  # fmt: skip


def make_details(text="she saw maps", seed=0):
    """Make the details of a fit, with a text in all its places."""
    rng = np.random.default_rng(seed)
    n, k = 40, [1, 5, 10, 100]
    hits = {name: [n, *np.sort(rng.integers(1, n, 3)).tolist(), n] for name in ("a", "b")}
    stimulus = {"text": text, "sound": text, "start": 1.0, "duration": 2.0}
    guess = {"subject": text, "onset": 80.0, "rank": 3, "n_candidates": 100, "probability": 0.1,
             "target_probability": 0.05, "is_calibrated": True, "target": stimulus, "guess": stimulus}  # fmt: skip
    places = rng.uniform(0.2, 0.8, (3, 12)).round(3).tolist()
    return {
        "command": f"sk-b2s benchmark {text}", "hours": 1.5, "ranks": {"n_candidates": 100, "k": k, "hits": hits},
        "guesses": [guess, {**guess, "onset": 90.0, "rank": 1}],
        "history": {"loss": "clip", "epoch": [1, 2, 3], "train_loss": [3.0, 2.0, 1.0], "valid_loss": [3.0, 2.5, 2.6],
                    "valid_candidates": 20},
        "topography": [
            {"label": text, "neutral": 1.0, "values": places[0], "x": places[1], "y": places[2], **member}
            for member in ({}, {"member": "inner"})
        ],
        "window_seconds": [0.3, 0.5, 2.0],
        "training": [{"loss": "clip", "lr": 1e-3, "weight_decay": 0.0, "batch_size": 64, "max_epochs": 14, "patience": 5,
                      "validation": 0.1, "epochs": 3}],
        "selection": [{"name": text, "tried": [0.1, 1.0, 10.0], "chosen": [0.1, 1.0], "n_folds": 3}],
        "recordings": {"n_channels": 12, "n_positions": 12, "sfreq": 50.0, "l_freq": 1.0, "h_freq": 15.0, "lag": 0.15,
                       "reference": "average", "notch": [50.0]},
    }  # fmt: skip


def add_details(results, text="she saw maps"):
    """Add the details of each fit to a table of scores."""
    is_first = ~results.duplicated(["estimator", "control", "seed", "fold"])
    own = json.dumps(make_details(text))
    ranks = json.dumps({"ranks": make_details(text)["ranks"]})
    details = pd.Series(
        np.where(results["control"] == "decoder", own, ranks), index=results.index, dtype=object
    )
    return results.assign(details=details.where(is_first, None))


# --- curves ------------------------------------------------------------------------------------------


def make_curve(column, values):
    """Make a learning or validation curve of three subjects."""
    return pd.DataFrame([
        {column: value, "minutes": np.nan, "n_subjects": 3, "fold": 0, "subject": who, "n_windows": 10 + i, "k": 5,
         "n_candidates": 50, "chance": 0.1, "top_k": 0.2 + 0.1 * at + 0.01 * i} | ({column: value})
        for at, value in enumerate(values) for i, who in enumerate("abc")
    ])  # fmt: skip


# --- comparisons -------------------------------------------------------------------------------------


def make_results(scores, names=("a", "b"), n_folds=3, n_seeds=2, seed=0):
    """Make a table with mean ``scores[e, s]`` of estimator e, subject s."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, own in zip(names, np.asarray(scores), strict=True):
        for subject, score in enumerate(own):
            noise = rng.normal(size=(n_folds, n_seeds))
            noise -= noise.mean()
            rows += [
                {"estimator": name, "subject": f"s{subject}", "fold": f, "seed": r, "top_10": score + noise[f, r]}
                for f in range(n_folds) for r in range(n_seeds)
            ]  # fmt: skip
    return pd.DataFrame(rows).assign(chance=0.1)

"""Words by timing alone: real tables without recordings, and a joint decoder.

The tables of the real studies are needed: ``--data`` is a folder with
``meg_masc`` and ``brennan2019``. Recordings and audio files are not needed.
Words are the 50 most frequent ones of each study, and the score is balanced
top-10 accuracy (chance .20). ``--joint`` scores a planted decoder that reads
the overlaps of windows, on recordings without a response.

    python benchmarks/bench_word_timing.py --data ../shared/data
    python benchmarks/bench_word_timing.py --joint
"""

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from _machine import machine, markdown
from sklearn.base import clone

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.decoders import ridge
from helpers.joint_decoder import (
    make_joint_decoder,
    make_silent_brains,
    make_slow_responses,
    randomize_windows,
)
from helpers.studies import brennan_folder, masc_folder

from sk_b2s import (
    StimulusKFold,
    SurrogateRecordings,
    benchmark,
    make_segments,
    run_controls,
    summarize,
)
from sk_b2s.datasets import load_brennan2019, load_gwilliams2022
from sk_b2s.evaluation._controls._timing import describe_timing_of_rows, rank_by_timing
from sk_b2s.metrics import timing_scores
from sk_b2s.metrics._matched import find_matched_strata, select_matched_strata
from sk_b2s.metrics._vocabulary import make_vocabulary_words

K, N_WORDS = 10, 50
KINDS = {
    "intervals": ("onsets", []),
    "and durations": ("all", ["sequence", "word_index"]),
    "and positions": ("all", []),
}  # features, and columns that are removed


def load_rows(name, folder, root):
    """Return the words of one subject as rows, and seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "gwilliams2022":
            events = load_gwilliams2022(masc_folder(folder, root), subjects="04", need_recordings=False)
        else:
            events = load_brennan2019(
                brennan_folder(folder, root, ["S01"]), subjects="S01", need_recordings=False
            )
        X, y = make_segments(events, margin=0.0)
    rows = X.join(y[[column for column in y if column not in X]])
    return rows.assign(word=make_vocabulary_words(rows["word"]))


def score_rows(rows):
    """Yield the balanced score of each set of features."""
    # A word once: sessions and repetitions have the same timing.
    known = rows.drop_duplicates(["sound", "sound_onset"])
    vocabulary = known["word"].value_counts().index[:N_WORDS].tolist()
    for kind, (features, without) in KINDS.items():
        table = known.drop(columns=without)
        start = time.perf_counter()
        hits = timing_scores(table, table["word"], vocabulary, K, features=features)
        of_words = hits.groupby(table["word"]).mean()
        yield {
            "features": kind, "words": int(hits.notna().sum()), "balanced top-10": of_words.mean(),
            "s.e.m. over words": of_words.sem(), "plain top-10": hits.mean(), "seconds": time.perf_counter() - start,
        }  # fmt: skip


def rank_segments(rows):
    """Return the scores of ``timing_only`` in the first fifth of the words."""
    known = rows.drop_duplicates(["sound", "sound_onset"]).reset_index(drop=True)
    n = len(known) // 5
    test, target = known.iloc[:n], np.arange(n)
    start = time.perf_counter()
    scores = rank_by_timing(test, target, test, known.iloc[n:])
    seconds = time.perf_counter() - start
    rank = (scores >= scores[target, target][:, None]).sum(1) - 1
    return {
        "segments": n, "top-1": (rank < 1).mean(), "top-10": (rank < K).mean(), "chance": K / n, "seconds": seconds,
    }  # fmt: skip


def describe_strata(rows):
    """Yield the size of strata of like duration and interval."""
    known = rows.drop_duplicates(["sound", "sound_onset"]).reset_index(drop=True)
    for part, share in (("all words", 1), ("a fifth", 5)):
        own = known.iloc[: len(known) // share]
        strata = find_matched_strata(describe_timing_of_rows(own, np.arange(len(own)), len(own)))
        size = pd.Series(strata).map(pd.Series(strata).value_counts())
        usable = select_matched_strata(strata, np.arange(len(own)))
        yield {
            "test set": part, "candidates": len(own), "median stratum": size.median(),
            "windows with 6 candidates": usable.mean(),
        }  # fmt: skip


def show(rows):
    """Print rows as a table."""
    table = pd.DataFrame(rows).round(3)
    print(markdown(list(table), table.to_numpy().tolist()))


def show_tables(folder):
    """Print timing alone of the tables of real studies."""
    found, segments, strata = [], [], []
    for name in ("gwilliams2022", "brennan2019"):
        with tempfile.TemporaryDirectory() as root:
            rows = load_rows(name, folder, Path(root))
        found += [{"study": name, **row} for row in score_rows(rows)]
        segments.append({"study": name, **rank_segments(rows)})
        strata += [{"study": name, **row} for row in describe_strata(rows)]
    show(found)
    show(segments)
    show(strata)


def score_randomized(seed):
    """Return top-10 accuracies on recordings and windows of random phase."""
    found = {}
    for name, (X, y), decoder in (
        ("joint", make_silent_brains(n=200, seed=seed), make_joint_decoder()),
        ("slow response", make_slow_responses(n=200, seed=seed), ridge(k=10, alphas=(1.0,))),
    ):
        train, test = next(StimulusKFold(2).split(X, y))
        inputs = {
            "as recorded": X, "recordings randomized": SurrogateRecordings().fit_transform(X),
            "windows randomized": randomize_windows(X),
        }  # fmt: skip
        for kind, data in inputs.items():
            fitted = clone(decoder).fit(data[train], y.iloc[train])
            found[f"{name}, {kind}"] = fitted.score(data[test], y.iloc[test])
        found[f"{name}, chance"] = 10 / y["segment"].iloc[test].nunique()
    return found


def show_joint(seeds):
    """Print what each control finds about the planted joint decoder."""
    parts, verdicts, words, scrambled = [], {}, [], []
    for seed in seeds:
        X, y = make_silent_brains(n=200, seed=seed)
        cv, decoder = StimulusKFold(2), make_joint_decoder()
        table = run_controls(decoder, X, y, cv, n_shifts=200, random_state=seed)
        for name, row in table.iterrows():
            verdicts.setdefault(name, []).append(row["verdict_text"])
        parts.append(table[["top_k", "chance"]].astype(float))
        results = benchmark(decoder, X, y, cv, controls=False, n_candidates=None, n_shifts=0, verbose=0)
        scrambled.append(score_randomized(seed))
        words.append(summarize(results).set_index("control").loc["decoder"])
    scores = pd.concat(parts)
    rows = []
    for name, own in scores.groupby(level=0, sort=False):
        mean, sem = own["top_k"].mean(), own["top_k"].sem()
        texts = pd.Series(verdicts[name]).value_counts()
        rows.append({
            "control": name, "top-10": mean, "s.e.m. over seeds": sem, "chance": own["chance"].mean(),
            "verdict": "; ".join(f"{n} x {text}" for text, n in texts.items()),
        })  # fmt: skip
    show(rows)
    print(pd.DataFrame(scrambled).mean().round(3).to_dict())
    columns = ["word_top_10", "word_top_10_timing", "word_timing_chance", "timing_matched"]
    print(pd.DataFrame(words)[columns].astype(float).mean().round(3).to_dict())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--joint", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102, 103, 104])
    args = parser.parse_args()
    print(machine())
    if args.data:
        show_tables(args.data)
    if args.joint:
        show_joint(args.seeds)

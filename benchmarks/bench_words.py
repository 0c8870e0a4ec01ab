"""Words of a fixed vocabulary on the simulated experiment.

``python benchmarks/bench_words.py --seed 100`` fits a preset to some subjects
on four fifths of the speech, and scores the words of the rest: by the summed
probabilities of test segments (tokens), with the prior of the candidates or
equal priors, and by one template per word made of training segments (types).
The vocabulary is the most frequent words of the training rows. Each table
contains the chance level and the score of the onsets of words alone.
``--noise`` replaces the similarities by random numbers. Settings were selected
on ``--seed 0``, so report another one.
"""

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s import StimulusKFold, make_decoders, make_segments, retrieve, retrieve_words
from sk_b2s.datasets import make_listening

TEMPLATES = ("features", "estimates")


def make_results(args):
    """Yield name and word result of each way to score words, and the cost."""
    events = make_listening(
        args.subjects, args.minutes, n_channels=args.channels, random_state=args.seed, root=args.folder
    )
    X, y = make_segments(events, tmin=-0.5, tmax=2.5)
    train, test = next(StimulusKFold(5).split(X, y))
    X_train, y_train, X_test, y_test = X.iloc[train], y.iloc[train], X.iloc[test], y.iloc[test]
    began = time.perf_counter()
    decoder = make_decoders(args.preset, memory=args.folder / "cache", random_state=0)[args.preset]
    decoder.fit(X_train, y_train)
    print(f"{args.preset}: fit {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    result = retrieve(decoder, X_test, y_test)
    print(f"retrieve {time.perf_counter() - began:.1f} s")
    print(result.summary(n_shifts=0).round(3).to_frame(args.preset).T.to_string(), "\n")
    rng = np.random.default_rng(args.seed)
    if args.noise:
        result = replace(result, scores=rng.standard_normal(result.scores.shape).astype(np.float32))
    table = X_train.join(y_train["word"])
    for prior in ("candidates", "equal"):
        yield f"tokens, prior {prior!r}", lambda prior=prior: result.to_words(args.vocabulary, table, prior)
    for templates in TEMPLATES if not args.noise else ():
        yield (
            f"types, {templates}",
            lambda templates=templates: retrieve_words(
                decoder, X_test, y_test, X_train, y_train, args.vocabulary, templates
            ),
        )


def report(name, words):
    """Print the scores of one way to score words."""
    by = "block" if words.rows["block"].nunique() > 1 else "sequence"
    scaled = words.scale_temperature(by=by)
    table = pd.concat({f"top-{k}": words.score(k) for k in (1, 10)})
    print(table.drop(columns=["k", "n_wordless"]).round(3).to_string())
    print(scaled.information().drop(columns=["n_wordless", "n_outside"]).round(3).to_string())
    spotted = words.spot_keywords()
    columns = [
        "auprc", "sem", "auprc_chance", "timing_auprc", "false_alarms_per_hour", "false_alarms_chance",
        "timing_false_alarms", "recall", "n_targets", "n_windows", "hours",
    ]  # fmt: skip
    print(spotted.loc[[*spotted.index[:3], "mean"], columns].round(3).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    parser.add_argument("--preset", default="likelihood")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=50)
    parser.add_argument("--noise", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name, make in make_results(args):
        began = time.perf_counter()
        words = make()
        print(f"\n{name}: {time.perf_counter() - began:.1f} s, missing {list(words.missing)}")
        report(name, words)

"""Decoders of images in random order and in blocks, on the simulation.

``python benchmarks/bench_viewing.py`` simulates the same images in a random
order and with the categories in blocks, splits them by concept and by plain
K-fold, and prints top-k accuracies of single trials and of averages over
repetitions, and what the control "recording_order" reveals. The settings were
selected on ``--seed 0``, so report another one.
"""

import argparse
import time
import warnings

import pandas as pd
from _machine import machine, markdown
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline

from sk_b2s import (
    BrainEncoder,
    EnsembleDecoder,
    Epocher,
    ForwardTRF,
    LikelihoodDecoder,
    PrecomputedFeatures,
    RidgeDecoder,
    RobustChannelScaler,
    RowCandidates,
    StimulusKFold,
    StimulusLeakWarning,
    make_segments,
    retrieve,
    run_controls,
)
from sk_b2s.datasets import make_viewing

K, WAYS = 5, (2, 50, 200)


def make_image_decoders(vectors, epochs, seed):
    """Return the decoders by name, with the baseline of their windows."""
    speech = PrecomputedFeatures(vectors)
    ridge = RidgeDecoder(speech=speech, k=K)
    likelihood = LikelihoodDecoder(speech=speech, k=K)
    encoder = BrainEncoder(
        speech=speech, hidden=32, depth=2, n_virtual_channels=16, glu=False, head=False, lr=1e-3, batch_size=64,
        max_epochs=epochs, patience=5, k=K, random_state=seed, verbose=0,
    )  # fmt: skip
    ensemble = EnsembleDecoder([("ridge", ridge), ("likelihood", likelihood)], k=K)
    baseline = (0, 0.1)
    return {
        "Ridge, no baseline": (ridge, None), "Ridge": (ridge, baseline), "Likelihood": (likelihood, baseline),
        "BrainEncoder, small": (encoder, baseline), "Ensemble": (ensemble, baseline),
    }  # fmt: skip


def make_pipeline_of(decoder, baseline):
    """Return the pipeline of a decoder."""
    steps = [
        ("epochs", Epocher(sfreq=64, lag=0, baseline=baseline, memory="cache")),
        ("scale", RobustChannelScaler(clip=20)),
    ]
    return Pipeline([*steps, ("decoder", decoder)])


def score_rows(order, seed, epochs, n_subjects, n_concepts):
    """Yield the rows of one order."""
    events, vectors = make_viewing(
        n_subjects,
        n_concepts,
        repetitions=2,
        n_channels=32,
        order=order,
        artifacts=["drift"],
        snr_db=10,
        random_state=seed,
    )
    X, y = make_segments(events, anchor="image", tmin=-0.1, tmax=0.7)
    splits = {"by concept": StimulusKFold(2), "plain K-fold": KFold(2, shuffle=True, random_state=0)}
    for split, cv in splits.items():
        folds = list(cv.split(X, y))
        for name, (decoder, baseline) in make_image_decoders(vectors, epochs, seed).items():
            start, pipeline = time.time(), make_pipeline_of(decoder, baseline)
            table = run_controls(
                pipeline, X, y, cv=folds[:1], controls=["decoder", "recording_order"], n_shifts=300, k=K
            )
            train, test = folds[0]
            fitted = pipeline.fit(X.iloc[train], y.iloc[train])
            result = retrieve(fitted, X.iloc[test], y.iloc[test])
            row = {
                "order": order, "split": split, "decoder": name, "candidates": result.n_candidates,
                "top-1": result.top_k(1), "top-5": result.top_k(5), "chance top-5": 5 / result.n_candidates,
                "top-5, averaged": result.average("repeat").top_k(5),
                "recording_order": table.loc["recording_order", "top_k"], "verdict": table.loc["decoder", "verdict_text"],
                "seconds": time.time() - start,
            }  # fmt: skip
            if split == "by concept":
                for n in (n for n in WAYS if n < result.n_candidates - 10):
                    found = retrieve(
                        fitted, X.iloc[test], y.iloc[test], candidates_per_row=RowCandidates(n, gap=0.0)
                    )
                    row |= {f"{n}-way top-1": found.top_k(1)} | (
                        {f"{n}-way top-5": found.top_k(5)} if n > 5 else {}
                    )
            print(pd.Series(row).to_dict(), flush=True)
            yield row
        if split == "by concept":
            yield {"order": order, "split": split, **score_encoding(X, y, vectors, *folds[0])}


def score_encoding(X, y, vectors, train, test):
    """Return the mean correlation of a forward model of all channels."""
    speech = PrecomputedFeatures(vectors.assign(constant=1.0), sfreq=64)
    model = make_pipeline_of(ForwardTRF(speech=speech, lags=(0, 0.55)), (0, 0.1))
    fitted = model.fit(X.iloc[train], y.iloc[train])
    return {"decoder": "ForwardTRF (correlation)", "top-1": fitted.score(X.iloc[test], y.iloc[test])}


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--subjects", type=int, default=2)
    parser.add_argument("--concepts", type=int, default=100)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", StimulusLeakWarning)
    rows = [
        row
        for order in ("random", "block")
        for row in score_rows(order, arguments.seed, arguments.epochs, arguments.subjects, arguments.concepts)
    ]
    table = pd.DataFrame(rows)
    print(machine())
    is_way = [name for name in table if "-way" in name]
    wide = table[["order", "decoder", *is_way]][table[is_way].notna().any(axis=1)]
    for part in (table.drop(columns=is_way), wide):
        print(markdown(list(part), part.round(3).fillna("").to_numpy().tolist()))


if __name__ == "__main__":
    main()

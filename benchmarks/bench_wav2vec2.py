"""Speed, memory and precision of wav2vec 2.0 at the size of XLSR-53.

Run as ``python benchmarks/bench_wav2vec2.py [--quick]``. Weights are random,
because time does not depend on them. Each row is a process of its own with its
own peak memory. The error is that of the mean of the requested layers,
relative to its deviation from the mean over frames.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from _machine import best_seconds, machine, markdown, peak_mib, reset_peak

from sk_b2s.features import _checkpoints as checkpoints
from sk_b2s.features import _inference as inference

LARGE = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True,
}  # fmt: skip
LAYERS = (14, 15, 16, 17, 18)
STEPS = {  # precision, and whether the network is optimized
    "transformers, all layers": ("float32", False),
    "left at the highest layer wanted": ("float32", False),
    "convolutions as products, in the cache": ("float32", True),
    "bfloat16 by autocast, nothing else but the layer left at": ("bfloat16", False),
    "bfloat16 and all of the above, sums in float32": ("bfloat16", True),
}


def save_network(folder):
    """Save a network of random weights in the format of the hub."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**LARGE)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)


def by_transformers(network, inputs):
    """Run all layers and average them, without the package."""
    with torch.inference_mode():
        states = network.encoder(inputs, output_hidden_states=True).hidden_states
    return torch.stack([states[i] for i in LAYERS]).mean(0)[0].numpy()


def load(step, folder):
    """Load a network with some of the optimizations."""
    precision, is_lean = STEPS[step]
    lean = inference.optimize_for_inference if is_lean else lambda encoder, layers, dtype: encoder
    with mock.patch.object(checkpoints, "optimize_for_inference", lean):
        return checkpoints.load_speech_checkpoint(folder, device="cpu", precision=precision)


def measure(step, folder, seconds, n_threads, repeats):
    """Print seconds and peak memory of one block, and save the features."""
    torch.set_num_threads(n_threads)
    before = reset_peak()
    network = load(step, folder)
    audio = np.random.default_rng(0).standard_normal(round(16000 * seconds)).astype(np.float32)
    inputs = network.prepare_inputs(audio)
    ask = by_transformers if step == "transformers, all layers" else type(network).average_layers
    arguments = (network, inputs) if ask is by_transformers else (network, inputs, LAYERS)
    features = ask(*arguments)  # not counted
    taken = best_seconds(lambda: ask(*arguments), repeats)
    np.save(Path(folder) / f"{list(STEPS).index(step)}.npy", features)
    print(json.dumps([taken, peak_mib() - before]))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--block", type=float, default=20.0, help="seconds that go through the network together"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="blocks of 5 s, once")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seconds, repeats = (5.0, 1) if arguments.quick else (arguments.block, arguments.repeats)
    if arguments.step:
        measure(arguments.step, arguments.folder, seconds, arguments.threads, repeats)
        return
    torch.set_num_threads(arguments.threads)
    print(
        f"{machine()}\nblocks of {seconds:g} s, {LARGE['num_hidden_layers']} layers, hidden states {LAYERS}\n"
    )
    rows, first, expected = [], None, None
    with tempfile.TemporaryDirectory() as folder:
        save_network(folder)
        for index, (step, (precision, _)) in enumerate(STEPS.items()):
            command = [sys.executable, __file__, "--step", step, "--folder", folder, "--block", str(seconds),
                       "--threads", str(arguments.threads), "--repeats", str(repeats)]  # fmt: skip
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            taken, peak = json.loads(answer.splitlines()[-1])
            features = np.load(Path(folder) / f"{index}.npy")
            first, expected = first or taken, features if expected is None else expected
            error = np.linalg.norm(features - expected) / np.linalg.norm(expected - expected.mean(0))
            correlation = np.corrcoef(features.ravel(), expected.ravel())[0, 1]
            rows.append(
                [step, precision, f"{60 / seconds * taken:.1f}", f"{first / taken:.2f}", f"{error:.1e}",
                 f"{correlation:.6f}", f"{peak:,.0f}"]
            )  # fmt: skip
    columns = [
        "way",
        "precision",
        "s per minute",
        "times faster",
        "relative error",
        "correlation",
        "MiB at peak",
    ]
    print(markdown(columns, rows))


if __name__ == "__main__":
    main()

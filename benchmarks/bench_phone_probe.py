"""Linear phone classification from speech networks and mel features.

Run as ``python benchmarks/bench_phone_probe.py``. A multinomial logistic
regression classifies the phone of single frames (50 Hz, without silences, 40
phones) from 40 log mel bands, of the frame alone and with its neighbors, and
from each hidden state of Whisper tiny.en, the model of the package.
``--model FOLDER`` adds a wav2vec 2.0 and the same network with random weights.
The regression is trained on audio files 1 to 15. Regularization and the best
layer are selected on files 16 to 18, and the printed accuracies are those of
files 19 to 24. No text is in two files. "same voices" trains and tests on all
three voices. "new voice" trains on two and tests on the third, averaged over
the three.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoFeatureExtractor, AutoModel

from sk_b2s import MelSpectrogram, Wav2Vec2Features
from sk_b2s.datasets import load_speech

SFREQ = 16000
WHISPER = "whisper-tiny.en"
WHISPER_LAYERS = (0, 1, 2, 3, 4, "auto")
CHUNK = 15.0  # s of audio per call of the network
CONTEXT = 7  # neighbors on either side: 0.3 s in all
CS = (1e-3, 1e-1)
TRAIN, VALIDATION, TEST = range(0, 15), range(15, 18), range(18, 24)
EVERY = 4  # step between training frames


def phone_at(phones, times):
    """Return the phone at each of ``times`` (s), "" in a silence."""
    index = np.searchsorted(phones["sound_onset"], times, side="right") - 1
    ends = (phones["sound_onset"] + phones["duration"]).to_numpy()
    inside = (index >= 0) & (times < ends[index])
    return np.where(inside, phones["text"].to_numpy(str)[index], "")


def mel_frames(path, seconds):
    """Compute log mel features, (n_frames, 40), and frame times (s)."""
    table = pd.DataFrame({"sound": [path], "sound_onset": 0.0, "duration": seconds})
    frames = np.asarray(MelSpectrogram(n_mels=40).fit_transform(table))[0].T
    return [frames], (np.arange(len(frames)) + 0.5) / 50


def whisper_frames(path, seconds, memory):
    """Compute the hidden states of Whisper tiny.en and frame times (s)."""
    table = pd.DataFrame({"sound": [path], "sound_onset": 0.0, "duration": seconds})
    found = [
        np.asarray(Wav2Vec2Features(WHISPER, layers=i, memory=memory).fit_transform(table))[0].T
        for i in WHISPER_LAYERS
    ]
    return found, np.arange(len(found[0])) / 50


def stacked(frames, reach=CONTEXT):
    """Stack each frame with its neighbors."""
    padded = np.pad(frames, ((reach, reach), (0, 0)), mode="edge")
    return np.concatenate([padded[i : i + len(frames)] for i in range(2 * reach + 1)], axis=1)


@torch.inference_mode()
def net_frames(path, seconds, net, extractor):
    """Compute convolutional features, hidden states and frame times."""
    audio, _ = soundfile.read(path, dtype="float32")
    audio = extractor(audio, sampling_rate=SFREQ, return_tensors="pt").input_values[0]
    stride = int(np.prod(net.config.conv_stride))
    reach = 1 + sum(
        (kernel - 1) * int(np.prod(net.config.conv_stride[:i]))
        for i, kernel in enumerate(net.config.conv_kernel)
    )
    layers, times = [], []
    for start in range(0, len(audio) - SFREQ, round(CHUNK * SFREQ)):
        out = net(audio[None, start : start + round(CHUNK * SFREQ)], output_hidden_states=True)
        layers.append([out.extract_features[0].numpy(), *(h[0].numpy() for h in out.hidden_states)])
        times.append((start + reach / 2 + stride * np.arange(len(layers[-1][0]))) / SFREQ)
    return [np.concatenate(layer) for layer in zip(*layers, strict=True)], np.concatenate(times)


def random_twin(net, seed=0):
    """Make the same network with random weights of transformers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModel.from_config(net.config).eval()


def collect(nets):
    """Collect features, phones and speakers of all audio files."""

    def name_of(kind, i):
        states = WHISPER_LAYERS if kind == WHISPER else range(len(layers))
        return f"{kind} {states[i]}" if len(layers) > 1 else kind

    speech = load_speech()
    sounds = speech[speech["type"] == "sound"]
    kinds = {"mel": mel_frames} | nets
    features, labels = {}, {}
    for path, seconds in zip(sounds["sound"], sounds["duration"], strict=True):
        phones = speech[(speech["sound"] == path) & (speech["type"] == "phoneme")]
        for kind, compute in kinds.items():
            layers, times = compute(path, seconds)
            phone = phone_at(phones, times)
            for i, layer in enumerate(layers):
                name = name_of(kind, i)
                features.setdefault(name, []).append(layer[phone != ""])
                labels.setdefault(name, []).append(phone[phone != ""])
            if kind == "mel":
                alike = (layers[0] - layers[0].mean(0)) / layers[0].std(0)
                variants = {"mel, context": stacked(layers[0]), "mel, each sound standardized": alike}
                variants["mel, standardized, context"] = stacked(alike)
                for name, frames in variants.items():
                    features.setdefault(name, []).append(frames[phone != ""])
                    labels.setdefault(name, []).append(labels["mel"][-1])
    return features, labels, sounds["speaker"].tolist()


def probe(features, labels, train, validation, test):
    """Return validation and test accuracy of the best regression."""

    def take(of, sounds, every=1):
        return np.concatenate([of[i][::every] for i in sounds])

    best = (-1.0, -1.0)
    for C in CS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=80))
            model.fit(take(features, train, EVERY), take(labels, train, EVERY))
        scores = [model.score(take(features, part), take(labels, part)) for part in (validation, test)]
        best = max(best, tuple(scores))
    return best


def same_and_new_voice(features, labels, speakers):
    """Return accuracies with the same voices and with a new voice."""
    same = probe(features, labels, TRAIN, VALIDATION, TEST)
    new = []
    for voice in sorted(set(speakers)):
        own = [i for i, speaker in enumerate(speakers) if speaker == voice]
        parts = [
            [i for i in TRAIN if i not in own],
            *([i for i in p if i in own] for p in (VALIDATION, TEST)),
        ]
        new.append(probe(features, labels, *parts))
    return *same, *np.mean(new, axis=0)


def main(folders, memory=None):
    """Print the table."""
    nets = {folder.name: AutoModel.from_pretrained(folder).eval() for folder in folders}
    extractor = AutoFeatureExtractor.from_pretrained(folders[0]) if folders else None
    if folders:
        nets["random"] = random_twin(next(iter(nets.values())))
    features, labels, speakers = collect(
        {WHISPER: partial(whisper_frames, memory=memory)}
        | {name: partial(net_frames, net=net, extractor=extractor) for name, net in nets.items()}
    )
    print("accuracy of single frames, %                same voices          new voice")
    print("features                     dimensions   validation   test   validation   test")
    for name, frames in features.items():
        row = same_and_new_voice(frames, labels[name], speakers)
        scores = "  ".join(f"{100 * score:9.1f}" for score in row)
        print(f"{name:28s} {frames[0].shape[1]:10d}  {scores}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", type=Path, nargs="*", default=[], help="folders of wav2vec 2.0 as transformers saves it"
    )
    parser.add_argument("--memory", type=Path, help="cache folder of the features")
    args = parser.parse_args()
    main(args.model, args.memory)

"""A small example of every exported estimator, with data to fit it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from sk_b2s import (
    AcousticOnsets,
    BrainEncoder,
    CalibratedDecoder,
    CovarianceAlignment,
    EnsembleDecoder,
    Envelope,
    Epocher,
    EventFeatures,
    FeaturePCA,
    FeatureScaler,
    ForwardTRF,
    LikelihoodDecoder,
    MaskedEncoder,
    MelSpectrogram,
    PrecomputedFeatures,
    RidgeDecoder,
    RobustChannelScaler,
    SpeakerVoice,
    SpeechActivity,
    SpeechFeatureUnion,
    SpeechReconstructor,
    StimulusArray,
    SurrogateRecordings,
    Wav2Vec2Features,
    Windows,
)

RATE = 16000  # Hz, of audio files
NETWORK = {
    "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8,
    "conv_dim": (4,) * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
ENCODER = {
    "hidden": 8, "depth": 2, "n_virtual_channels": 8, "max_epochs": 2, "k": 1, "spatial_attention": False,
    "precision": "float32", "random_state": 0, "verbose": 0,
}  # fmt: skip
MASKED = {name: value for name, value in ENCODER.items() if name != "k"}
PHONES = pd.DataFrame({
    "type": "word", "sound": "story.wav", "sound_onset": [0.1, 0.6, 1.2], "duration": 0.1, "text": list("aba"),
})  # fmt: skip


def draw(*shape, seed=0):
    """Draw float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def make_table(sounds, n_rows=12):
    """Table of segments of half a second."""
    return pd.DataFrame({
        "sound": [sounds[i % len(sounds)] for i in range(n_rows)],
        "sound_onset": np.arange(n_rows) // len(sounds) * 0.2, "duration": 0.5, "segment": np.arange(n_rows),
    })  # fmt: skip


def write_audio(folder):
    """Write two audio files of two seconds, and return their table."""
    paths = [str(Path(folder) / f"{name}.wav") for name in ("story", "song")]
    for seed, path in enumerate(paths):
        soundfile.write(path, 0.1 * draw(2 * RATE, seed=seed), RATE)
    return make_table(paths)


def write_network(folder):
    """Write a small random wav2vec 2.0 network, and return its folder."""
    import transformers

    folder = str(Path(folder) / "network")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**NETWORK)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def _on_arrays(estimator, y=None):
    return lambda folder: (estimator, (draw(24, 4, 20),) if y is None else (draw(24, 4, 20), y))


def _on_windows(folder):
    return MaskedEncoder(**MASKED), (Windows.from_array(draw(24, 4, 20).cumsum(2), sfreq=40),)


def _on_audio(make):
    return lambda folder: (make(folder), (write_audio(folder),))


def _on_features(folder):
    return PrecomputedFeatures(), (
        make_table([StimulusArray(draw(60, 3, seed=i), 20, name) for i, name in enumerate("ab")]),
    )


def _on_events(folder):
    y = write_audio(folder)
    return EventFeatures(PHONES.assign(sound=y["sound"][0]), "word", sfreq=25), (y,)


def _on_speech(folder):
    noise = [draw(2 * RATE, seed=seed) * np.sin(np.arange(2 * RATE) / 4000) ** 2 / 9 for seed in range(2)]
    voice = SpeakerVoice(write_network(folder), layers=1, n_iter=2)
    return voice, ([(one, RATE) for one in noise], "Ada agreed to tests")


TARGETS = draw(24, 3, 10, seed=1)


@dataclass
class Example:
    """An estimator: instances for scikit-learn, and one with data."""

    instances: list  # as scikit-learn checks them
    make: object  # (folder) -> estimator and the arguments of its fit
    takes_arrays: bool = True  # (n_rows, n_columns)


EXAMPLES = {
    "AcousticOnsets": Example([AcousticOnsets()], _on_audio(lambda _: AcousticOnsets(sfreq=25, n_bands=2)), False),
    "BrainEncoder": Example([BrainEncoder(**ENCODER), BrainEncoder()], _on_arrays(BrainEncoder(**ENCODER), TARGETS)),
    "CalibratedDecoder": Example(
        [CalibratedDecoder(RidgeDecoder(k=1), "none")],
        _on_arrays(CalibratedDecoder(RidgeDecoder(sfreq=10, k=2), "none"), TARGETS),
    ),
    "CovarianceAlignment": Example(
        [CovarianceAlignment(), CovarianceAlignment("riemannian")], _on_arrays(CovarianceAlignment())
    ),
    "EnsembleDecoder": Example(
        [EnsembleDecoder([("one", RidgeDecoder(k=1)), ("two", RidgeDecoder(alphas=(1.0,)))], k=1, weights="equal")],
        _on_arrays(
            EnsembleDecoder([("a", RidgeDecoder(sfreq=10)), ("b", RidgeDecoder(sfreq=10, alphas=(1e3,)))], k=2), TARGETS
        ),
    ),
    "Envelope": Example([Envelope()], _on_audio(lambda _: Envelope(sfreq=25)), False),
    "Epocher": Example([Epocher()], _on_arrays(Epocher())),
    "EventFeatures": Example([EventFeatures(PHONES, "word")], _on_events, False),
    "FeaturePCA": Example([FeaturePCA(2), FeaturePCA(whiten=True)], _on_arrays(FeaturePCA(2))),
    "FeatureScaler": Example(
        [FeatureScaler(), FeatureScaler(per_feature=False)], _on_arrays(FeatureScaler(per_feature=False))
    ),
    "ForwardTRF": Example([ForwardTRF()], _on_arrays(ForwardTRF(sfreq=10), draw(24, 3, 20, seed=1)), False),
    "LikelihoodDecoder": Example(
        [LikelihoodDecoder(k=1)], _on_arrays(LikelihoodDecoder(sfreq=10, k=2), TARGETS)
    ),
    "MaskedEncoder": Example([MaskedEncoder(**MASKED)], _on_windows, False),
    "MelSpectrogram": Example(
        [MelSpectrogram()], _on_audio(lambda _: MelSpectrogram(n_mels=4, sfreq=25)), False
    ),
    "PrecomputedFeatures": Example([PrecomputedFeatures()], _on_features, False),
    "RidgeDecoder": Example([RidgeDecoder(k=1)], _on_arrays(RidgeDecoder(sfreq=10, k=2), TARGETS)),
    "RobustChannelScaler": Example([RobustChannelScaler()], _on_arrays(RobustChannelScaler())),
    "SpeakerVoice": Example([SpeakerVoice()], _on_speech, False),
    "SpeechActivity": Example([SpeechActivity()], _on_audio(lambda _: SpeechActivity(sfreq=25)), False),
    "SpeechFeatureUnion": Example(
        [SpeechFeatureUnion([("envelope", Envelope())])],
        _on_audio(lambda _: SpeechFeatureUnion([("a", Envelope(sfreq=25)), ("b", AcousticOnsets(sfreq=25))])),
        False,
    ),
    "SpeechReconstructor": Example(
        [SpeechReconstructor(RidgeDecoder(k=1))],
        _on_arrays(SpeechReconstructor(RidgeDecoder(sfreq=10, k=2)), TARGETS), False,
    ),
    "SurrogateRecordings": Example(
        [SurrogateRecordings(), SurrogateRecordings("white")], _on_arrays(SurrogateRecordings())
    ),
    "Wav2Vec2Features": Example(
        [Wav2Vec2Features()],
        _on_audio(lambda folder: Wav2Vec2Features(write_network(folder), layers=1, precision="float32")),
        False,
    ),
}  # fmt: skip

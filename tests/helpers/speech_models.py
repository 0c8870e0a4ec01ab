"""Small random speech models and audio, and their hidden states."""

from functools import partial

import numpy as np
import pandas as pd
import torch

from sk_b2s import Wav2Vec2Features

RATE, N_LAYERS = 16000, 3


SPEECH = {
    "hidden_size": 16, "num_hidden_layers": N_LAYERS, "num_attention_heads": 2, "intermediate_size": 24,
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "layerdrop": 0.9,
}  # fmt: skip


STABLE = {**SPEECH, "do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}


MEL = {
    "d_model": 16, "encoder_layers": N_LAYERS, "encoder_attention_heads": 2, "encoder_ffn_dim": 24,
    "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24, "num_mel_bins": 20,
    "max_source_positions": 100, "max_target_positions": 8, "vocab_size": 30, "pad_token_id": 1,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3,
}  # fmt: skip


KINDS = {
    "wav2vec2": ("Wav2Vec2", SPEECH),
    "wav2vec2, stable norm": ("Wav2Vec2", STABLE),
    "hubert": ("Hubert", SPEECH),
    "hubert, stable norm": ("Hubert", STABLE),
    "wavlm": ("WavLM", SPEECH),
    "wavlm, stable norm": ("WavLM", STABLE),
    "data2vec": ("Data2VecAudio", {**SPEECH, "num_conv_pos_embeddings": 3}),
    "conformer": ("Wav2Vec2Conformer", {**STABLE, "conv_depthwise_kernel_size": 5}),
    "whisper": ("Whisper", MEL),
}


float32_features = partial(Wav2Vec2Features, precision="float32")


def make_audio(seconds, seed=0):
    """Return noise with varying level at 16 kHz."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * RATE)
    return (0.1 + 0.1 * rng.standard_normal(n_samples) * (1.2 + np.sin(np.arange(n_samples) / 3000))).astype(
        "f4"
    )


def make_table(sounds, onsets, duration=0.5, edges=None):
    """Return a stimulus table, with blocks between ``edges`` if given."""
    y = pd.DataFrame({"sound": sounds, "sound_onset": onsets, "duration": duration})
    if edges is not None:
        edges = np.asarray(edges, float)
        at = np.clip(np.searchsorted(edges, y["sound_onset"], side="right") - 1, 0, len(edges) - 2)
        y["block_start"], y["block_stop"] = edges[at], edges[at + 1]
        y["block_before"] = edges[np.maximum(at - 1, 0)]
        y["block_after"] = edges[np.minimum(at + 2, len(edges) - 1)]
    return y


def compute_with_transformers(folder, audio):
    """Return all hidden states of audio, (n_layers + 1, n_frames, 16)."""
    from transformers import AutoFeatureExtractor, AutoModel

    extractor, network = (
        AutoFeatureExtractor.from_pretrained(folder),
        AutoModel.from_pretrained(folder).eval(),
    )
    inputs = extractor(audio, sampling_rate=RATE, return_tensors="pt")[extractor.model_input_names[0]]
    network = network.get_encoder() if network.config.is_encoder_decoder else network
    with torch.no_grad():
        return np.stack([s[0].numpy() for s in network(inputs, output_hidden_states=True).hidden_states])


def compute_all_frames(features, path, seconds):
    """Return all frames of an audio file, (n_frames, n_features)."""
    return features.fit_transform(make_table([path], [0.0], seconds - 0.02))[0].T

"""Pretrain a small wav2vec 2.0 on the speech of the package.

Run ``python tools/pretrain_wav2vec2.py --folder OUT`` (with ``transformers``
installed, some 15 minutes on one core). The network is
``transformers.Wav2Vec2ForPreTraining``. It distinguishes the quantized
features of masked frames from those of other masked frames of the same crop
(contrastive loss), and uses all codewords (diversity loss). It is trained on
all 45 minutes of audio, without phones, words or EEG/MEG.
``AutoModel.from_pretrained`` reads OUT.

The convolutions compute a log mel spectrum and are not trained. When they are
trained, they lose information about phones.

The package does not contain these weights, because their features are not
better than mel bands: see ``benchmarks/bench_phone_probe.py`` and
``benchmarks/README.md``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

SPEECH = Path(__file__).parents[1] / "sk_b2s" / "datasets" / "data" / "speech"
SFREQ = 16000
N_BANDS = 32
THRESHOLDS = (
    0.0,
    0.4,
    1.2,
    4.0,
    12.0,
)  # thresholds of a band's amplitude, with a root mean square of GAIN over a crop
GAIN = 30.0
PRINT_EVERY = 50


def make_config(width=128, depth=4):
    """Configure three convolutions and a transformer.

    The convolutions have 400 samples in width and 320 in step, as in every
    wav2vec 2.0.
    """
    return Wav2Vec2Config(
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=width // 32, intermediate_size=4 * width,
        conv_dim=(3 * N_BANDS, len(THRESHOLDS) * N_BANDS, 3 * N_BANDS),
        conv_kernel=(240, 5, 1), conv_stride=(40, 8, 1), conv_bias=True,
        feat_extract_norm="group", do_stable_layer_norm=True, num_conv_pos_embeddings=31,
        num_conv_pos_embedding_groups=16, hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
        feat_proj_dropout=0.0, feat_quantizer_dropout=0.0, final_dropout=0.0, layerdrop=0.0, apply_spec_augment=False,
        mask_time_prob=0.5, mask_time_length=6, num_codevector_groups=2, num_codevectors_per_group=160,
        codevector_dim=128, proj_codevector_dim=64, num_negatives=50, contrastive_logits_temperature=0.1,
        diversity_loss_weight=2.0,
    )  # fmt: skip


@torch.no_grad()
def begin_as_filter_bank(net):
    """Set the convolutions to a log mel spectrum.

    The first convolution has Gabor filters on the mel scale in three phases,
    each normalized over the crop by the group norm that follows. Rectified and
    averaged by the second convolution, they are amplitudes a of bands. The
    second has a copy of each band above each of several thresholds, whose
    weighted sum (third) is near log(a): above threshold k its slope is one
    over threshold k + 1.
    """
    first, second, third = (layer.conv for layer in net.wav2vec2.feature_extractor.conv_layers)
    n_taps, n_averaged = first.weight.shape[-1], second.weight.shape[-1]
    edges = 700 * (10 ** (np.linspace(60, 2595 * np.log10(1 + 7600 / 700), N_BANDS + 2) / 2595) - 1)
    times = (np.arange(n_taps) - (n_taps - 1) / 2) / SFREQ
    window = torch.as_tensor(np.hanning(n_averaged + 2)[1:-1], dtype=torch.float32)
    slopes = np.diff(1 / np.array([*THRESHOLDS[1:], 3 * THRESHOLDS[-1]]), prepend=0.0)
    second.weight.mul_(0.01)
    third.weight.mul_(0.01)
    second.bias.zero_()
    third.bias.zero_()
    for band in range(N_BANDS):
        width = max(edges[band + 2] - edges[band], 200.0) / 2
        shape = np.exp(-0.5 * (times * np.pi * width / 1.2) ** 2) * np.hanning(n_taps + 2)[1:-1]
        for phase in range(3):
            wave = shape * np.cos(2 * np.pi * (edges[band + 1] * times + phase / 3)) / np.linalg.norm(shape)
            first.weight[3 * band + phase, 0] = torch.as_tensor(wave, dtype=torch.float32)
        for k, threshold in enumerate(THRESHOLDS):
            channel = band * len(THRESHOLDS) + k
            second.weight[channel, 3 * band : 3 * band + 3] += window / window.sum() / 3
            second.bias[channel] = -threshold if k else 0.0
            for copy, sign in enumerate((1, -1, 1)):
                third.weight[3 * band + copy, channel, 0] += sign * slopes[k]
    third.bias[:] = torch.tensor([-2.0, 2.0, -3.5]).repeat(N_BANDS)  # above, below, and far above the middle
    first.bias.zero_()
    net.wav2vec2.feature_extractor.conv_layers[0].layer_norm.weight.fill_(GAIN)


def read_speech():
    """Read all audio files, float32 at 16 kHz."""
    return [soundfile.read(path, dtype="float32")[0] for path in sorted(SPEECH.glob("alice-*.ogg"))]


def draw_crops(rng, sounds, n_crops, n_samples):
    """Draw crops of random speed, spectral tilt and noise."""
    crops = np.empty((n_crops, n_samples), np.float32)
    for crop in crops:
        sound, speed = sounds[rng.integers(len(sounds))], np.exp(rng.uniform(-0.2, 0.2))
        start = rng.uniform(0, len(sound) - 2 - n_samples * speed)
        times = start + speed * np.arange(n_samples)
        whole = times.astype(np.int64)
        part = (times - whole).astype(np.float32)
        crop[:] = (1 - part) * sound[whole] + part * sound[whole + 1]
        crop[1:] -= rng.uniform(-0.4, 0.4) * crop[:-1]
        noise = 10 ** (-rng.uniform(20, 50) / 20) * crop.std()
        crop += noise * rng.standard_normal(n_samples, dtype=np.float32)
    crops -= crops.mean(1, keepdims=True)
    return torch.from_numpy(crops / (crops.std(1, keepdims=True) + 1e-7))


def draw_masks(net, n_crops, n_samples):
    """Draw masked frames and the negatives of each."""
    shape = (n_crops, int(net._get_feat_extract_output_lengths(n_samples)))
    config = net.config
    hidden = _compute_mask_indices(shape, config.mask_time_prob, config.mask_time_length, min_masks=2)
    negatives = _sample_negative_indices(shape, config.num_negatives, mask_time_indices=hidden)
    return torch.from_numpy(hidden), torch.from_numpy(negatives)


def train(net, sounds, steps, lr, n_crops, seconds, seed):
    """Train for a number of steps and print the losses."""
    rng = np.random.default_rng(seed)
    np.random.seed(seed)  # noqa: NPY002 - transformers draws masks and negatives from the global state
    net.freeze_feature_encoder()
    learning = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / (0.1 * steps + 1), max(0.02, (1 - i / (steps + 1)) / 0.9))
    )
    begun, sums = time.perf_counter(), np.zeros(2)
    net.train()
    for step in range(1, steps + 1):
        net.set_gumbel_temperature(max(2.0 * 0.125 ** (step / steps), 0.5))
        audio = draw_crops(rng, sounds, n_crops, round(seconds * SFREQ))
        hidden, negatives = draw_masks(net, *audio.shape)
        out = net(audio, mask_time_indices=hidden, sampled_negative_indices=negatives)
        (out.loss / hidden.sum()).backward()
        torch.nn.utils.clip_grad_norm_(learning, 5.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        sums += [
            float(out.contrastive_loss.detach() / hidden.sum()),
            float(out.codevector_perplexity.detach()),
        ]
        if step % PRINT_EVERY == 0:
            contrastive, perplexity = sums / PRINT_EVERY
            elapsed = time.perf_counter() - begun
            print(
                f"{step:6d} {elapsed:6.0f} s  contrastive {contrastive:.3f}  perplexity {perplexity:5.1f}",
                flush=True,
            )
            sums[:] = 0


def save(net, folder):
    """Save the network without pretraining parts, in half precision."""
    encoder = net.wav2vec2
    state = {name: value.half() for name, value in encoder.state_dict().items()}
    encoder.save_pretrained(folder, state_dict=state)
    Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=SFREQ, do_normalize=True).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where to write the net")
    parser.add_argument("--steps", type=int, default=2000, help="0 writes the net as it begins")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--crops", type=int, default=8, help="crops in a batch")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a crop")
    parser.add_argument("--seed", type=int, default=1865)
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    net = Wav2Vec2ForPreTraining(make_config())
    begin_as_filter_bank(net)
    train(net, read_speech(), a.steps, a.lr, a.crops, a.seconds, a.seed)
    save(net, a.folder)

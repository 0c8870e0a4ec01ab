"""Frames, spatial attention, subject layers and BrainModule."""

import copy
import runpy
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import ROOT
from torch import nn

from sk_b2s.metrics._frames import find_frames_of_samples, frame_weights
from sk_b2s.nn._brain_module import ACTIVATIONS, BrainModule, ConvBlock, distribute_brain_module_look_ahead
from sk_b2s.nn._channel_mixing import (
    SUBJECT_LAYERS,
    SpatialAttention,
    SubjectEmbedding,
    SubjectLayer,
    embed_channel_mixing_positions,
    mix_channels,
)

SMALL = dict(n_times=12, hidden=6, depth=3, n_virtual_channels=5)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def batch(n_windows=6, n_channels=4, n_times=12, n_layouts=2, n_subjects=3):
    """Return x, time-major in memory, subject, layout and positions."""
    x = torch.randn(n_windows, n_times, n_channels).mT
    subject = torch.arange(n_windows) % n_subjects
    layout = torch.arange(n_windows) % n_layouts
    return x, subject, layout, torch.rand(n_layouts, n_channels, 2)


def n_parameters(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


# Frames


@pytest.mark.parametrize(
    ("sfreq_x", "sfreq_y"), [(120, 50), (120, 49), (64, 64), (100, Fraction(200, 3)), (120, 125)]
)
def test_find_frames_of_samples_is_exact(sfreq_x, sfreq_y):
    exact = [i * Fraction(sfreq_y) // Fraction(sfreq_x) for i in range(5000)]
    assert find_frames_of_samples(5000, float(sfreq_x), float(sfreq_y)).tolist() == exact


@pytest.mark.parametrize("rate", [0.1, 1 / 3, 125 / 7, 44100 / 512])
def test_find_frames_of_samples_of_equal_rates(rate):
    np.testing.assert_array_equal(find_frames_of_samples(10_000, 3 * rate, 3 * rate), np.arange(10_000))
    np.testing.assert_array_equal(frame_weights(10_000, 3 * rate, rate)[:-1], 3)


def test_find_frames_of_samples_of_one_frame():
    assert frame_weights(343, 343, 1).tolist() == [343]


def test_frame_weights_of_paper_window():
    weights = frame_weights(343, 120, 50)
    assert len(weights) == 143
    assert weights.sum() == 343
    assert set(weights[:-1]) == {2, 3}


def test_frame_weights_of_empty_frames():
    weights = frame_weights(121, 120, 125)
    assert weights.sum() == 121
    assert (weights == 0).sum() == len(weights) - 121 == 5


@pytest.mark.parametrize("arguments", [(0, 120, 50), (10, 0, 50), (10, 120, np.nan)])
def test_frame_of_step_requires_positive_numbers(arguments):
    with pytest.raises(ValueError, match="must be positive and finite"):
        find_frames_of_samples(*arguments)


# Spatial attention


def test_fourier_positions_equal_formula():
    positions = np.random.default_rng(0).random((7, 2))
    x, y = (positions + 0.2).T
    along_x, along_y = np.repeat(np.arange(32), 32), np.tile(np.arange(32), 32)
    phases = 2 * np.pi * (np.outer(x, along_x) + np.outer(y, along_y)) / 1.4
    expected = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
    np.testing.assert_allclose(embed_channel_mixing_positions(torch.tensor(positions)), expected, atol=1e-12)


@pytest.mark.parametrize("dim", [0, 7, 2047, 1024])
def test_fourier_positions_require_twice_a_square(dim):
    with pytest.raises(ValueError, match="dim must be twice a square"):
        embed_channel_mixing_positions(torch.rand(3, 2), dim)


def test_attention_equals_formula():
    attention = SpatialAttention(5, dim=32).double().eval()
    x, _, layout, positions = batch()
    x, positions = x.double(), positions.double()
    heads = attention.heads.detach().numpy()
    output = attention(x, layout, positions).detach().numpy()
    for window, which, got in zip(x.numpy(), layout, output, strict=True):
        scores = np.exp(heads @ embed_channel_mixing_positions(positions[which], 32).numpy().T)
        weights = scores / scores.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(got, weights @ window, rtol=0, atol=1e-12)


def test_attention_of_two_layouts():
    attention = SpatialAttention(5).eval()
    x, _, layout, positions = batch()
    together = attention(x, layout, positions)
    for which in (0, 1):
        mine = layout == which
        alone = attention(x[mine], torch.zeros_like(layout[mine]), positions[[which]])
        torch.testing.assert_close(together[mine], alone)


@pytest.mark.parametrize("training", [True, False])
def test_attention_ignores_unknown_positions(training):
    attention = SpatialAttention(5).train(training)
    x, _, layout, positions = batch(n_channels=6)
    positions[:, 2] = torch.nan
    positions[1, 4, 0] = torch.nan
    others = [0, 1, 3, 4, 5]
    changed = x.clone()
    changed[:, 2] = 1e6
    changed[layout == 1, 4] = -1e6

    outputs = []
    for signals in (x, changed):
        attention.generator = torch.Generator().manual_seed(0)
        outputs.append(attention(signals, layout, positions))
    torch.testing.assert_close(outputs[0], outputs[1])
    outputs[0].sum().backward()
    assert attention.heads.grad.isfinite().all()

    if not training:
        fewer = attention(x[:, others], layout, positions[:, others])
        torch.testing.assert_close(outputs[0], fewer)


def test_attention_of_any_channels():
    attention = SpatialAttention(5).eval()
    x, _, layout, positions = batch(n_channels=9)
    order = torch.randperm(9)
    torch.testing.assert_close(
        attention(x, layout, positions), attention(x[:, order], layout, positions[:, order])
    )
    assert attention(x[:, :2], layout, positions[:, :2]).shape == (6, 5, 12)


def test_spatial_dropout_drops_disc():
    attention = SpatialAttention(3, dropout=0.2, dim=32)
    attention.generator = torch.Generator().manual_seed(0)
    spread, one_place = torch.rand(60, 2), torch.full((60, 2), 0.5)
    positions = torch.stack([spread, one_place])
    was_dropped = torch.zeros(60, dtype=bool)
    for _ in range(300):
        weights = attention.weights(positions)
        assert weights.isfinite().all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))
        dropped = (weights[0] == 0).all(0)
        assert torch.equal((weights[0] == 0).any(0), dropped)
        assert torch.cdist(spread[dropped], spread[dropped]).le(0.4).all()
        was_dropped |= dropped
        assert (weights[1] > 0).all()
    assert was_dropped.all()


def test_spatial_dropout_uses_own_generator():
    x, _, layout, positions = batch(n_channels=30)
    attention = SpatialAttention(3, dropout=0.5, dim=32)
    state = torch.get_rng_state()
    outputs = []
    for seed in (1, 1, 2):
        attention.generator = torch.Generator().manual_seed(seed)
        outputs.append(attention(x, layout, positions))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    copied = copy.deepcopy(attention)
    assert torch.equal(copied(x, layout, positions), attention(x, layout, positions))


def test_spatial_dropout_off():
    x, _, layout, positions = batch(n_channels=30)
    attention = SpatialAttention(3, dropout=0.9, dim=32).eval()
    quiet = copy.deepcopy(attention).train()
    quiet.dropout = 0
    expected = attention(x, layout, positions)
    assert torch.equal(attention(x, layout, positions), expected)
    assert torch.equal(quiet(x, layout, positions), expected)


def test_attention_without_positions_raises():
    attention = SpatialAttention(3, dim=32)
    x, _, layout, positions = batch()
    positions[1] = torch.nan
    with pytest.raises(ValueError, match=r"montage=.*spatial_attention=False"):
        attention(x, layout, positions)
    assert attention(x, torch.zeros_like(layout), positions).isfinite().all()


@pytest.mark.parametrize(
    ("layout", "n_channels", "match"),
    [
        (2, 4, r"layout must be from 0 to 1 in this module\. Got values from 2 to 2 instead\."),
        (0, 3, "positions"),
    ],
)
def test_attention_raises_for_wrong_shapes(layout, n_channels, match):
    x, _, _, positions = batch(n_channels=4)
    with pytest.raises(ValueError, match=match):
        SpatialAttention(3)(x[:, :n_channels], torch.full((6,), layout), positions)


# Subjects


def test_subject_layer_equals_products():
    layer = SubjectLayer(4, 3).double()
    x, subject, *_ = batch()
    x, subject = x.double(), torch.tensor([2, 0, 0, 1, 2, 0])
    expected = torch.einsum("nit,nij->njt", x, layer.matrices[subject])
    torch.testing.assert_close(layer(x, subject), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", SUBJECT_LAYERS)
def test_unseen_subject_uses_mean(kind):
    layer = SUBJECT_LAYERS[kind](4, 3)
    x, *_ = batch(n_windows=4)
    output = layer(x, torch.tensor([1, -1, 2, -1]))
    everybody = torch.stack([layer(x, torch.full((4,), s)) for s in range(3)])
    torch.testing.assert_close(output[[1, 3]], everybody.mean(0)[[1, 3]])
    torch.testing.assert_close(output[[0, 2]], torch.stack([everybody[1, 0], everybody[2, 2]]))


@pytest.mark.parametrize("kind", SUBJECT_LAYERS)
def test_subject_layer_gradient_of_batch_subjects(kind):
    layer = SUBJECT_LAYERS[kind](4, 3)
    layer(batch()[0], torch.tensor([0, 2, 2, 0, 0, 2])).square().sum().backward()
    (parameter,) = layer.parameters()
    moved = parameter.grad.flatten(1).abs().sum(1) > 0
    assert moved.tolist() == [True, False, True]


@pytest.mark.parametrize("kind", SUBJECT_LAYERS)
def test_subject_dropout_only_in_training(kind):
    module = BrainModule(
        4, 2, 3, **SMALL, subject_layer=kind, subject_dropout=0.4, spatial_dropout=0, spatial_attention=False
    )
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()  # what one window gives must not depend on the others
    nn.init.normal_(next(module.subject_layer.parameters()))
    x, subject, *_ = batch(n_windows=600)
    module.draw_from(torch.Generator().manual_seed(0))
    drawn = module(x, subject)
    known, unknown = module.eval()(x, subject), module(x, torch.full_like(subject, -1))
    as_known, as_unknown = ((drawn - one).abs().amax((1, 2)) < 1e-5 for one in (known, unknown))
    assert (as_known ^ as_unknown).all()
    assert 0.35 < as_unknown.float().mean() < 0.45


def test_subject_dropout_uses_own_generator():
    module = BrainModule(4, 2, 3, **SMALL, subject_dropout=0.5)
    nn.init.normal_(module.subject_layer.matrices)
    inputs = batch()

    def outputs(seed):
        module.draw_from(torch.Generator().manual_seed(seed))
        state = torch.get_rng_state()
        out = module(*inputs)
        assert torch.equal(state, torch.get_rng_state())
        return out

    torch.testing.assert_close(outputs(0), outputs(0), rtol=0, atol=0)
    assert (outputs(0) - outputs(2)).abs().max() > 1e-4


@pytest.mark.parametrize("kind", SUBJECT_LAYERS)
@pytest.mark.parametrize("subject", [-2, 3])
def test_subject_layer_raises_out_of_range(kind, subject):
    with pytest.raises(ValueError, match=rf"subject must be from -1 to 2 .* from {subject}"):
        SUBJECT_LAYERS[kind](4, 3)(batch(1)[0], torch.tensor([subject]))


def test_subject_embedding_adds_a_constant_in_time():
    embedding = SubjectEmbedding(4, 3)
    x, subject, *_ = batch()
    added = embedding(x, subject) - x
    torch.testing.assert_close(added, embedding.vectors[subject][:, :, None].expand_as(added))


# Convolutions


@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 1), (3, 16), (5, 2), (4, 2)])
def test_conv_block_keeps_length(kernel_size, dilation):
    block = ConvBlock(4, 6, kernel_size, dilation, glu=True)
    assert block(torch.randn(2, 4, 12)).shape == (2, 6, 12)


@pytest.mark.parametrize("subject_layer", [*SUBJECT_LAYERS, None])
@pytest.mark.parametrize("initial_linear", [True, False])
@pytest.mark.parametrize("spatial_attention", [True, False])
def test_mix_channels_equals_layers(spatial_attention, initial_linear, subject_layer):
    parts = dict(
        spatial_attention=spatial_attention, initial_linear=initial_linear, subject_layer=subject_layer
    )
    module = BrainModule(4, 2, 3, **parts, **SMALL).double().eval()
    x, subject, layout, positions = batch(n_windows=9)
    x, subject = x.double().requires_grad_(), subject - 1
    expected = x if not spatial_attention else module.spatial_attention(x, layout, positions)
    if initial_linear:
        expected = module.initial_linear(expected.mT).mT
    if subject_layer:
        expected = module.subject_layer(expected, subject)
    got = module._mix_channels(x, subject, layout, positions)
    torch.testing.assert_close(got, expected)
    weights = [x, *(p for name, p in module.named_parameters() if name.split(".")[0] in parts)]
    torch.testing.assert_close(
        torch.autograd.grad(got.square().sum(), weights),
        torch.autograd.grad(expected.square().sum(), weights),
    )


def test_conv_block_residual_of_equal_widths():
    x = torch.randn(2, 4, 12)
    with_skip, without = ConvBlock(4, 4).eval(), ConvBlock(4, 4, skip=False).eval()
    without.load_state_dict(with_skip.state_dict())
    torch.testing.assert_close(with_skip(x) - without(x), x)
    assert not ConvBlock(4, 6).skip


def test_conv_block_trains_on_one_sample():
    block = ConvBlock(4, 4)
    x = torch.randn(1, 4, 1)
    torch.testing.assert_close(block(x), copy.deepcopy(block).eval()(x))
    assert block.norm.num_batches_tracked == 0
    block(torch.randn(2, 4, 1))
    assert block.norm.num_batches_tracked == 1


# The whole network

PAPER_COUNTS = [
    (208, 27, 1024, 9_565_054),
    (273, 96, 1024, 14_595_154),
    (128, 19, 1024, 8_981_854),
    (60, 33, 1024, 10_002_454),
    (208, 27, 120, 8_985_590),
]


@pytest.mark.parametrize(("n_channels", "n_subjects", "n_outputs", "expected"), PAPER_COUNTS)
def test_brain_module_parameters_of_paper(n_channels, n_subjects, n_outputs, expected):
    with torch.device("meta"):
        module = BrainModule(n_channels, n_outputs, n_subjects, n_times=343)
    assert n_parameters(module) == expected


def test_benchmark_counts_operations():
    machine = runpy.run_path(str(ROOT / "benchmarks" / "_machine.py"))
    multiplications = []
    with torch.device("meta"):
        module = BrainModule(208, 1024, 27, n_times=343)

    def count(layer, given, out):
        weights = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.in_features
        multiplications.append(out.numel() * weights)

    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for layer in layers:
        layer.register_forward_hook(count)
    h = module.convolutions(torch.empty(1, 270, 343, device="meta"))
    module.last(module.head(h.mT))
    mixing = 343 * (208 * 270 + 2 * 270**2)
    assert sum(multiplications) + mixing == machine["training_operations"]() / 6
    assert sum(multiplications) + mixing == 2_455_235_160


def test_brain_module_parameters_of_parts():
    with torch.device("meta"):
        module = BrainModule(208, 1024, 27, n_times=343)
    assert n_parameters(module.spatial_attention) == 552_960
    assert n_parameters(module.initial_linear) == 73_170
    assert n_parameters(module.subject_layer) == 1_968_300
    assert n_parameters(module.convolutions) == 6_108_800
    assert n_parameters(module.head) + n_parameters(module.last) == 861_824


# With V virtual channels, H hidden, C channels, S subjects, F outputs and blocks 0, 1, 2 (gated after 1).
C, V, H, S, F = 4, 5, 6, 3, 7
FULL = V * 2048 + (V * V + V) + S * V * V + (3 * V * H + 2 * (3 * H * H) + 3 * 3 * H)
FULL += (6 * H * H + 2 * H) + (2 * H * H + 2 * H) + (2 * H * F + F)
ABLATIONS = {
    "spatial_attention=False": (dict(spatial_attention=False), -V * 2048 + (C - V) * V),
    "spatial_dropout=0": (dict(spatial_dropout=0), 0),
    "initial_linear=False": (dict(initial_linear=False), -(V * V + V)),
    "neither": (
        dict(spatial_attention=False, initial_linear=False),
        -V * 2048 - (V * V + V) + S * (C * C - V * V) + 3 * (C - V) * H,
    ),
    "subject_layer='embedding'": (dict(subject_layer="embedding"), S * (V - V * V)),
    "subject_layer=None": (dict(subject_layer=None), -S * V * V),
    "glu=False": (dict(glu=False), -(6 * H * H + 2 * H)),
    "skip=False": (dict(skip=False), 0),
    "head=False": (dict(head=False), -(2 * H * H + 2 * H) - H * F),
    "activation='relu'": (dict(activation="relu"), 0),
    "depth=1": (dict(depth=1), -2 * (3 * H * H + 3 * H) - (6 * H * H + 2 * H)),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_brain_module_ablations(name):
    parameters, difference = ABLATIONS[name]
    full = BrainModule(C, F, S, **SMALL)
    module = BrainModule(C, F, S, **(SMALL | parameters))
    assert n_parameters(full) == FULL
    assert n_parameters(module) - FULL == difference

    output = module(*batch(n_channels=C, n_subjects=S))
    assert output.shape == (6, F, 12)
    output.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_brain_module_receptive_field():
    module = BrainModule(3, 4, 1, n_times=343, hidden=8, n_virtual_channels=5).double().eval()
    x, subject, layout, positions = batch(1, 3, 343, 1, 1)
    x, positions = x.double(), positions.double()
    changed = x.clone()
    changed[:, :, 171] += 1e3
    with torch.no_grad():
        before = module(x, subject, layout, positions)
        after = module(changed, subject, layout, positions)
    moved = (before - after).abs().amax((0, 1)).nonzero().ravel()
    assert (moved.min(), moved.max(), len(moved)) == (171 - 67, 171 + 67, 135)


@pytest.mark.parametrize("look_ahead", [0, 1, 7, 40, 66, 67, 90])
def test_brain_module_reads_only_look_ahead(look_ahead):
    parameters = {"n_times": 343, "hidden": 8, "n_virtual_channels": 5, "look_ahead": look_ahead}
    module = BrainModule(3, 4, 1, **parameters).double().eval()
    x, subject, layout, positions = batch(1, 3, 343, 1, 1)
    x, positions = x.double(), positions.double()
    changed = x.clone()
    changed[:, :, 171] += 1e3
    with torch.no_grad():
        before = module(x, subject, layout, positions)
        after = module(changed, subject, layout, positions)
    moved = (before - after).abs().amax((0, 1)).nonzero().ravel()
    first = 171 - min(look_ahead, 67)
    assert (moved.min(), moved.max(), len(moved)) == (first, first + 134, 135)


def test_distribute_look_ahead_gives_all():
    for look_ahead in range(20):
        given = distribute_brain_module_look_ahead(look_ahead, 5, 3, True)
        assert look_ahead >= 33 or sum(map(sum, given)) == look_ahead
    assert distribute_brain_module_look_ahead(33, 5, 3, True) == [None] * 5


@pytest.mark.parametrize("head", [True, False])
def test_pooling_commutes_with_last_layer(head):
    frames = find_frames_of_samples(48, 120, 50)
    parameters = SMALL | dict(n_times=48, head=head)
    pooled = BrainModule(4, 7, 3, pooling=frames, **parameters).double().eval()
    plain = BrainModule(4, 7, 3, **parameters).double().eval()
    plain.load_state_dict(pooled.state_dict())
    x, subject, layout, positions = batch(n_times=48)
    arguments = x.double(), subject, layout, positions.double()
    steps = plain(*arguments).detach().numpy()
    expected = np.stack([steps[:, :, frames == j].mean(2) for j in range(frames[-1] + 1)], axis=2)
    np.testing.assert_allclose(pooled(*arguments).detach(), expected, rtol=0, atol=1e-12)


def test_brain_module_of_empty_frames():
    frames = find_frames_of_samples(121, 120, 125)
    module = BrainModule(4, 7, 3, pooling=frames, **(SMALL | dict(n_times=121)))
    output = module(*batch(n_times=121))
    empty = torch.as_tensor(frame_weights(121, 120, 125) == 0)
    assert output.isfinite().all()
    assert torch.equal(output[:, :, empty], module.last.bias[:, None].expand(6, 7, 5))


def test_brain_module_output_is_time_major():
    module = BrainModule(4, 7, 3, pooling=find_frames_of_samples(12, 120, 50), **SMALL)
    assert module(*batch()).mT.is_contiguous()


def test_brain_module_windows_are_independent():
    module = BrainModule(4, 7, 3, **SMALL).eval()
    x, subject, layout, positions = batch()
    together = module(x, subject, layout, positions)
    for i in range(len(x)):
        one = slice(i, i + 1)
        torch.testing.assert_close(module(x[one], subject[one], layout[one], positions), together[one])


@pytest.mark.parametrize("n_windows", [1, 2])
def test_brain_module_trains_on_one_sample(n_windows):
    parameters = dict(n_times=1, hidden=2, n_virtual_channels=3, spatial_attention=False)
    module = BrainModule(1, 1, 1, pooling=[0], **parameters)
    output = module(torch.randn(n_windows, 1, 1), torch.zeros(n_windows, dtype=torch.int64))
    assert output.shape == (n_windows, 1, 1)
    output.sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_brain_module_seed_is_local():
    states = []
    before = torch.get_rng_state()
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            states.append(BrainModule(4, 7, 3, **SMALL).state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_brain_module_loads_other_pooling():
    pooled = BrainModule(4, 7, 3, pooling=find_frames_of_samples(12, 120, 50), **SMALL)
    BrainModule(4, 7, 3, **SMALL).load_state_dict(pooled.state_dict())


def test_brain_module_trains_under_autocast():
    module = BrainModule(4, 7, 3, pooling=find_frames_of_samples(12, 120, 50), **SMALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = module(*batch())
    assert output.dtype == torch.bfloat16
    output.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        (dict(activation="tanh"), r"activation must be one of \['gelu', 'relu'\]\. Got 'tanh' instead\."),
        (
            dict(subject_layer="lair"),
            r"subject_layer must be one of \['layer', 'embedding', None\]\. Got 'lair' instead\.",
        ),
        (
            dict(pooling=[0, 0, 1]),
            r"pooling must have the frame of each of n_times=12 samples, as.*returns\. Got shape \(3,\) instead\.",
        ),
    ],
)
def test_brain_module_raises_for_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        BrainModule(4, 7, 3, **SMALL, **parameters)


def test_brain_module_raises_for_inputs():
    x, subject, layout, positions = batch()
    attentive = BrainModule(4, 7, 3, **SMALL)
    with pytest.raises(ValueError, match="montage="):
        attentive(x, subject)
    with pytest.raises(ValueError, match=r"Windows must have n_times=12 samples\. Got 11 instead\."):
        attentive(x[:, :, 1:], subject, layout, positions)
    with pytest.raises(ValueError, match="n_channels=4 channels, as in training. Got 3"):
        BrainModule(4, 7, 3, **SMALL, spatial_attention=False)(x[:, 1:], subject)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_head_uses_activation(activation):
    module = BrainModule(4, 7, 3, **SMALL, activation=activation)
    kinds = {type(m) for m in module.modules() if isinstance(m, tuple(ACTIVATIONS.values()))}
    assert kinds == {ACTIVATIONS[activation]}


# Fewer copies


def mixed(x, matrices, which, offsets):
    """Return each window times the matrix of its kind, by definition."""
    return torch.stack([
        matrices[kind] @ window + offsets[kind][:, None]
        for kind, window in zip(which.tolist(), x, strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize("which", [[0, 0, 1, 1, 1, 2], [2, 0, 2, 1, 1, 0], [0] * 6, [1] * 6], ids=str)
@pytest.mark.parametrize("is_time_major", [True, False])
def test_mix_equals_definition(which, is_time_major):
    which = torch.tensor(which)
    x = torch.randn(6, 7, 4).double().mT if is_time_major else torch.randn(6, 4, 7).double()
    parts = [x, torch.randn(3, 5, 4).double(), torch.randn(3, 5).double()]
    parts = [part.requires_grad_() for part in parts]
    found, expected = (f(parts[0], parts[1], which, parts[2]) for f in (mix_channels, mixed))
    torch.testing.assert_close(found, expected)
    weights = torch.randn(6, 5, 7).double()
    for one, other in zip(
        *(torch.autograd.grad(out, parts, weights) for out in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(
        mix_channels(parts[0], parts[1], which), mixed(*parts[:2], which, torch.zeros(3, 5))
    )
    assert found.mT.is_contiguous()


def test_mix_precision_of_autocast():
    x, matrices, which = (
        torch.randn(6, 7, 4).mT,
        torch.randn(3, 5, 4, requires_grad=True),
        torch.arange(6) // 2,
    )
    offsets = torch.randn(3, 5, requires_grad=True)
    exact = mix_channels(x, matrices, which, offsets)
    with torch.autocast("cpu", torch.bfloat16):
        reduced = mix_channels(x, matrices, which, offsets)
    assert (exact.dtype, reduced.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(reduced.float(), exact, rtol=0.02, atol=0.05)
    gradients = torch.autograd.grad(reduced.float().sum(), [matrices, offsets])
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    for one, other in zip(gradients, torch.autograd.grad(exact.sum(), [matrices, offsets]), strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_conv_block_adds_input_after_activation(activation, training):
    block = ConvBlock(4, 4, dilation=2, activation=activation).double().train(training)
    x = torch.randn(3, 4, 9).double().requires_grad_()
    kept = x.detach().clone()
    found = block(x)
    image = x.unsqueeze(2)
    expected = (block.activation(block.norm(block.conv(image))) + image).squeeze(2)
    torch.testing.assert_close(found, expected)
    leaves = [x, *block.parameters()]
    weights = torch.randn(3, 4, 9).double()
    for one, other in zip(
        *(torch.autograd.grad(out, leaves, weights) for out in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other)
    assert torch.equal(x, kept), "the input itself is not added to"


def test_attention_embeds_positions_once(monkeypatch):
    from sk_b2s.nn import _channel_mixing as channels

    embedded = []
    monkeypatch.setattr(
        channels,
        "embed_channel_mixing_positions",
        lambda p, dim: embedded.append(p) or embed_channel_mixing_positions(p, dim),
    )
    attention = SpatialAttention(5, dim=32).eval()
    positions, used = torch.rand(3, 4, 2), torch.tensor([0, 2])
    expected = attention.weights(positions.clone())
    embedded.clear()
    for _ in range(2):
        torch.testing.assert_close(attention.weights(positions), expected)
        torch.testing.assert_close(attention.weights(positions, used), expected[used])
    assert len(embedded) == 1
    copied = copy.deepcopy(attention)
    torch.testing.assert_close(copied.weights(positions), expected)
    assert len(embedded) == 2, "a copy holds nothing"
    positions[0, 1] = 0.5  # in place
    assert not torch.equal(attention.weights(positions)[0], expected[0])
    other = torch.rand(3, 4, 2)
    torch.testing.assert_close(attention.weights(other), SpatialAttention.weights(copied, other))
    with torch.autocast("cpu", torch.bfloat16):
        assert attention.weights(other).dtype == torch.bfloat16
        assert torch.equal(attention.weights(other), copied.weights(other.clone()))
    assert torch.equal(attention.weights(other), copied.weights(other.clone()))
    with torch.inference_mode():
        attention.weights(torch.rand(3, 4, 2))
    attention.weights(other).sum().backward()
    attention.weights(torch.rand(3, 4, 2).requires_grad_()).sum().backward()
    attention.weights(torch.rand(3, 4, 2)).sum().backward()

"""Tests of BrainEncoder: recovery, reproducibility and errors."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EarlyStopping

from sk_b2s import (
    BrainEncoder,
    PrecomputedFeatures,
    RobustChannelScaler,
    StimulusArray,
    StimulusLeakWarning,
    Windows,
    load,
    save,
)
from sk_b2s.decoding._encoder_network import ARCHITECTURE
from sk_b2s.metrics._similarity import similarity
from sk_b2s.nn import _net as training
from sk_b2s.nn._brain_module import BrainModule
from sk_b2s.nn._data import BalancedBatchSampler
from sk_b2s.nn._registry import LOSSES
from sk_b2s.nn.functional import DUPLICATES, calibrated_cross_entropy

SMALL = {
    "hidden": 16, "depth": 2, "n_virtual_channels": 8, "lr": 3e-3, "batch_size": 32, "max_epochs": 6,
    "validation": None, "k": 1, "precision": "float32", "random_state": 0, "verbose": 0,
}  # fmt: skip


def planted(n=96, n_channels=6, n_features=4, n_times=24, seed=0, noise=0.1):
    """Brain that is a fixed mixture of the speech, and noise."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n, n_features, n_times)).astype("f4")
    mixing = rng.standard_normal((n_channels, n_features)).astype("f4")
    brain = np.einsum("cf,nft->nct", mixing, speech) + noise * rng.standard_normal((n, n_channels, n_times))
    return brain.astype("f4"), speech


def with_rows(brain, subject, **others):
    """Windows with subjects and sensors on a grid."""
    rows = pd.DataFrame({"subject": subject, "recording": subject})
    positions = np.random.default_rng(1).uniform(size=(brain.shape[1], 2))
    return Windows.from_array(brain, rows=rows, positions=positions, **others)


def test_encoder_recovers_simulated_mixture():
    brain, speech = planted()
    encoder = BrainEncoder(**SMALL, spatial_attention=False).fit(brain[:64], speech[:64])
    assert encoder.score(brain[64:], speech[64:]) > 0.9
    assert encoder.transform(brain[64:]).shape == speech[64:].shape
    noise = np.random.default_rng(2).standard_normal(brain[64:].shape)
    assert encoder.score(noise, speech[64:]) < 0.2


def test_encoder_learns_from_positions():
    brain, speech = planted()
    X = with_rows(brain, ["a"] * 96)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 20}).fit(X[:64], speech[:64])
    assert encoder.score(X[64:], speech[64:]) > 0.5


def test_subject_layer_separates_subjects():
    """The second subject has the opposite sign, so the subject matters."""
    brain, speech = planted(n=192, seed=4)
    sign = np.where(np.arange(192) % 2, 1, -1).astype("f4")
    X = with_rows(brain * sign[:, None, None], np.where(sign > 0, "a", "b"))
    score = {}
    for layer in ("layer", None):
        encoder = BrainEncoder(**{**SMALL, "max_epochs": 12}, subject_layer=layer, spatial_attention=False)
        score[layer] = encoder.fit(X[:128], speech[:128]).score(X[128:], speech[128:])
    assert score["layer"] > 0.9
    assert score[None] < 0.5


@pytest.mark.parametrize("loss", LOSSES)
def test_encoder_learns_with_every_loss(loss):
    brain, speech = planted(n=128)
    encoder = BrainEncoder(
        **{**SMALL, "max_epochs": 15, "validation": 0.2}, loss=loss, spatial_attention=False
    )
    assert encoder.fit(brain[:96], speech[:96]).score(brain[96:], speech[96:]) > 0.8
    assert encoder.history_[-1, "valid_loss"] < 0.7 * np.log(encoder.history_[-1, "valid_candidates"])


def test_target_dim_compares_linear_map():
    """Only two of 20 features have a response, and the others are louder."""
    brain, speech = planted(n=200, n_features=2)
    rng = np.random.default_rng(3)
    speech = np.concatenate([speech, 3 * rng.standard_normal((200, 18, 24)).astype("f4")], axis=1)
    settings = {**SMALL, "max_epochs": 12, "spatial_attention": False}
    encoder = BrainEncoder(**settings, target_dim=2).fit(brain[:150], speech[:150])
    assert encoder.score(brain[150:], speech[150:]) > 0.9
    assert encoder.transform(brain[150:]).shape == (50, 2, 24)
    assert (encoder.n_features_out_, encoder.n_speech_features_) == (2, 20)
    weight, bias = (encoder.net_.state()[f"speech.last.{name}"].numpy() for name in ("weight", "bias"))
    mapped = np.einsum("of,nft->not", weight[:, :, 0, 0], speech[150:]) + bias[:, None]
    expected = similarity(*map(torch.from_numpy, (encoder.transform(brain[150:]), mapped)))
    np.testing.assert_allclose(encoder.similarity(brain[150:], speech[150:]), expected, rtol=1e-4, atol=1e-3)


def test_weight_decay_of_matrices_only():
    brain, speech = planted(n=40)
    settings = {**SMALL, "max_epochs": 1, "loss": "siglip", "target_dim": 3, "weight_decay": 0.1}
    net = BrainEncoder(**settings).fit(with_rows(brain, ["a", "b"] * 20), speech).net_
    names = {id(value): name for name, value in net.get_all_learnable_params()}
    decayed = {
        names[id(value)]
        for group in net.optimizer_.param_groups
        if group["weight_decay"]
        for value in group["params"]
    }
    blocks = {f"convolutions.{place}" for place in ("0.conv.weight", "1.conv.weight", "1.gate.weight")}
    linear = {"initial_linear.weight", "head.0.weight", "last.weight", "spatial_attention.heads"}
    assert decayed == blocks | linear
    assert type(net.optimizer_) is torch.optim.AdamW
    assert sum(len(group["params"]) for group in net.optimizer_.param_groups) == len(names)


def test_lag_jitter_is_rounded_to_samples():
    brain, speech = planted(n=40)
    X, settings = Windows.from_array(brain, sfreq=50), {**SMALL, "max_epochs": 1, "spatial_attention": False}
    encoder = BrainEncoder(**settings, lag_jitter=0.05).fit(X, speech)
    assert encoder.net_.module_.augmentation.max_shift == 2
    for seconds in (0.005, 0.5):
        with pytest.raises(
            ValueError, match="lag_jitter must be at least half a sample.*0.01 and 0.48 seconds"
        ):
            BrainEncoder(**settings, lag_jitter=seconds).fit(X, speech)


@pytest.mark.filterwarnings("ignore:the training loss")
def test_look_ahead_limits_later_samples(tmp_path):
    brain, speech = planted(n=40)
    settings = {**SMALL, "max_epochs": 1, "spatial_attention": False}
    moved = {}
    for look_ahead in (0, 0.05, None):
        X = Windows.from_array(brain, sfreq=50)
        encoder = BrainEncoder(**settings, look_ahead=look_ahead).fit(X, speech)
        save(encoder, tmp_path / "encoder.safetensors")
        encoder = load(tmp_path / "encoder.safetensors")
        changed = brain.copy()
        changed[:, :, 12:] += 1
        difference = encoder.transform(Windows.from_array(changed, sfreq=50)) - encoder.transform(X)
        moved[look_ahead] = np.flatnonzero(abs(difference).max((0, 1)) > 1e-4).min()
    assert (moved[0], moved[0.05]) == (12, 10)
    assert moved[None] < 10


@pytest.mark.parametrize("duplicates", DUPLICATES)
def test_duplicates_use_segment_identity(duplicates):
    """The loss of a batch equals the function on all windows."""
    brain, speech = planted(n=48)
    speech[24:] = speech[:24]
    encoder = BrainEncoder(
        **{**SMALL, "max_epochs": 1, "batch_size": 48}, duplicates=duplicates, spatial_attention=False
    )
    seen = {}

    class Look(Callback):
        def on_batch_end(self, net, batch, y_pred, loss, **kwargs):
            seen.update(Z=y_pred.detach(), heard=batch[1], loss=loss.item())

    encoder.set_params(callbacks=[("look", Look())]).fit(brain, speech)
    heard, target = seen["heard"]
    assert len(heard) == 24, "nobody's sound is repeated"
    expected = LOSSES["clip"].module(duplicates=duplicates)(seen["Z"], heard, target)
    assert seen["loss"] == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_array_equal(heard[target].numpy(), speech)


@pytest.mark.parametrize("loss", ["symmetric_clip", "siglip"])
def test_learned_temperature_belongs_to_fit(loss):
    """The temperature is learned, restored, pickled and used as a scale."""
    brain, speech = planted(n=60, noise=3.0)
    held = []

    class Keep(Callback):
        def on_epoch_end(self, net, **kwargs):
            held.append(net.criterion_.log_scale.item())

    encoder = BrainEncoder(**{**SMALL, "max_epochs": 60, "validation": 0.3, "lr": 1e-2}, patience=3, loss=loss,
                           spatial_attention=False, callbacks=[("keep", Keep())]).fit(brain, speech)  # fmt: skip
    best = int(np.argmin(encoder.history_[:, "valid_loss"]))
    assert len(set(held)) == len(held) > best + 1
    assert encoder.net_.criterion_.log_scale.item() == held[best]
    lengths = np.linalg.norm(encoder.transform(brain).reshape(60, -1), axis=1)
    np.testing.assert_allclose(lengths, np.exp(held[best]), rtol=1e-5)
    encoder.callbacks = None  # a class of this function does not pickle
    encoder.net_.callbacks = encoder.net_.callbacks_ = None
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.predict_proba(brain), encoder.predict_proba(brain))


def test_validation_subset_is_evenly_spread(monkeypatch):
    brain, speech = planted(n=50, noise=2.0)
    monkeypatch.setattr(training, "HELD_BYTES", 4 * 20 * 20 // 4)
    monkeypatch.setattr("sk_b2s.metrics._tiled.CHUNK_BYTES", 7 * 4 * 4 * 24)  # seven windows at a time
    split = FixedSplit((np.arange(30), np.arange(30, 50)))
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 2, "validation": split}, spatial_attention=False)
    scores = encoder.fit(brain, speech).similarity(brain[30:], speech[30:])
    expected, _ = calibrated_cross_entropy(torch.from_numpy(scores[::4]), torch.arange(20)[::4])
    whole, _ = calibrated_cross_entropy(torch.from_numpy(scores), torch.arange(20))
    losses = encoder.history_[:, "valid_loss"]
    assert min(losses) == pytest.approx(expected.item(), rel=1e-4)
    assert min(losses) != pytest.approx(whole.item(), rel=1e-2)


class FixedSplit:
    """A splitter that yields given rows, and records its arguments."""

    def __init__(self, *splits):
        self.splits = splits

    def split(self, X, y=None):
        self.asked = X, y
        yield from self.splits


def test_validation_accepts_splitter():
    brain, speech = planted(n=60)
    X = with_rows(brain, ["a"] * 60)
    splitter = FixedSplit((np.arange(30), np.arange(40, 55)))
    encoder = BrainEncoder(**{**SMALL, "validation": splitter}).fit(X, speech)
    assert splitter.asked[0] is X.rows
    assert splitter.asked[1] is speech
    assert encoder.history_[-1, "valid_candidates"] == 15
    assert sum(encoder.history_[-1, "batches", :, "train_batch_size"]) == 30


def test_validation_accepts_masks():
    brain, speech = planted(n=60)
    train = np.arange(60) < 30
    fits = [
        BrainEncoder(**{**SMALL, "validation": FixedSplit(split)}, spatial_attention=False).fit(brain, speech)
        for split in [(train, ~train), (np.arange(30), np.arange(30, 60))]
    ]
    np.testing.assert_array_equal(*(encoder.transform(brain) for encoder in fits))


def test_fit_records_only_used_stimuli():
    brain, speech = planted(n=60)
    sound = StimulusArray(np.zeros(6400), sfreq=64)
    table = pd.DataFrame({"segment": range(60), "sound": sound, "sound_onset": range(60), "duration": 1.0})
    heard = Windows.from_array(speech, rows=table)
    splitter = FixedSplit((np.arange(30), np.arange(40, 55)))
    encoder = BrainEncoder(**{**SMALL, "validation": splitter}, spatial_attention=False).fit(brain, heard)
    assert encoder.stimulus_intervals_.seconds == 45
    assert not encoder.stimulus_intervals_.touches(table.iloc[30:40]).any()


def test_validation_separates_overlapping_windows():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((200, 4)).astype("f4")
    start = np.arange(0, 180, 4)
    heard = Windows([signal], np.zeros(len(start)), start, 10, None)
    brain = rng.standard_normal((len(start), 6, 10)).astype("f4")
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1, "validation": 0.2}, spatial_attention=False)
    train, valid = encoder._split(brain, heard, np.arange(len(start)), np.random.RandomState(0))
    assert len(valid) == 9
    assert len(train) < len(start) - 9
    assert abs(start[train][:, None] - start[valid]).min() >= 10
    encoder.fit(brain, heard)
    assert sum(encoder.history_[-1, "batches", :, "train_batch_size"]) == len(train)


def test_fit_equal_rates_without_pooling():
    brain, speech = planted(n=40)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, spatial_attention=False)
    assert encoder.fit(brain, speech).net_.module_.members is None
    assert encoder.fit(brain, speech[:, :, ::2]).net_.module_.members is not None


@pytest.mark.parametrize("unknown", ["average", "error"])
def test_validation_only_subjects_are_unseen(unknown):
    brain, speech = planted(n=60)
    X = with_rows(brain, ["a"] * 20 + ["b"] * 20 + ["c"] * 20)
    splitter = FixedSplit((np.arange(20), np.arange(20, 40)))  # nothing is done with c
    encoder = BrainEncoder(
        **{**SMALL, "validation": splitter}, spatial_attention=False, unseen_subject=unknown
    )
    encoder.fit(X, speech)
    assert list(encoder.subjects_) == ["a"]
    assert len(encoder.net_.module_.subject_layer.matrices) == 1
    if unknown == "error":
        with pytest.raises(ValueError, match=r"not in fit: \['b', 'c'\]"):
            encoder.transform(X)
    else:
        as_a = encoder.transform(with_rows(brain, ["a"] * 60))
        np.testing.assert_allclose(encoder.transform(X), as_a, rtol=1e-4, atol=1e-5)


def test_validation_rows_are_not_trained():
    brain, speech = planted(n=60)
    X = with_rows(brain, ["a"] * 60)
    splitter = FixedSplit((np.arange(30), np.array([40])))  # a single segment cannot be watched
    encoder = BrainEncoder(**{**SMALL, "validation": splitter})
    with pytest.warns(UserWarning, match="single segment"):
        encoder.fit(X, speech)
    assert sum(encoder.history_[-1, "batches", :, "train_batch_size"]) == 30


@pytest.mark.parametrize("epoch", [1, 2])
def test_fit_keeps_best_state_on_interruption(epoch):
    brain, speech = planted(n=60)

    class Interrupt(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if training and len(net.history) == epoch:
                raise KeyboardInterrupt

    encoder = BrainEncoder(**{**SMALL, "validation": 0.3}, spatial_attention=False, callbacks=[Interrupt()])
    kept = "last" if epoch == 1 else "best"  # the first epoch was not validated
    with pytest.warns(ConvergenceWarning, match=f"has its {kept} weights until then"):
        encoder.fit(brain, speech)
    assert len(encoder.history_) == epoch
    assert encoder.interrupted_
    assert np.isfinite(encoder.transform(brain)).all()
    assert not encoder.set_params(callbacks=None).fit(brain, speech).interrupted_


@pytest.mark.parametrize("callbacks", [None, [EarlyStopping("train_loss", patience=1, threshold=10.0)]])
def test_early_stopping_is_not_interruption(callbacks):
    brain, speech = planted(n=60, noise=20.0)
    validation = 0.3 if callbacks is None else None
    encoder = BrainEncoder(
        **{**SMALL, "max_epochs": 60, "lr": 1e-2, "validation": validation}, patience=2, spatial_attention=False,
        callbacks=callbacks,
    )  # fmt: skip
    assert not encoder.fit(brain, speech).interrupted_
    assert len(encoder.history_) < 60


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([], "must yield one split.*It yields 0"),
        ([(np.arange(9), np.arange(9, 20))] * 2, "must yield one split.*It yields 2"),
        ([(np.arange(9), np.arange(5, 20))], "It yields 9 and 15 rows, 4 of them in both"),
        ([(np.arange(0), np.arange(5, 20))], "must yield disjoint training and validation"),
    ],
)
def test_validation_rejects_useless_splitter(splits, message):
    brain, speech = planted(n=40)
    with pytest.raises(ValueError, match=f"validation=<.*{message}"):
        BrainEncoder(**{**SMALL, "validation": FixedSplit(*splits)}, spatial_attention=False).fit(
            brain, speech
        )


@pytest.mark.parametrize("loss", LOSSES)
def test_fit_is_reproducible(loss):
    brain, speech = planted()
    X = with_rows(brain, ["a", "b"] * 48)
    weights = []
    for seed in (0, 0, 1):
        torch.rand(seed + 1)  # the global generator is neither used nor moved
        before = torch.get_rng_state()
        encoder = BrainEncoder(**{**SMALL, "random_state": seed, "validation": 0.2}, loss=loss).fit(X, speech)
        assert torch.equal(before, torch.get_rng_state())
        weights.append(encoder.net_.state())
    first, again, other = weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_early_stopping_restores_best_state():
    brain, speech = planted(n=60, noise=3.0)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 60, "validation": 0.3, "lr": 1e-2}, patience=3,
                           spatial_attention=False).fit(brain, speech)  # fmt: skip
    losses = encoder.history_[:, "valid_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 60, "it stopped three epochs after the best"
    assert "valid_top1" in encoder.history_[0]
    held = []

    class Keep(Callback):
        def on_epoch_end(self, net, **kwargs):
            held.append({k: v.clone() for k, v in net.module_.state_dict().items()})

    again = BrainEncoder(**{**SMALL, "max_epochs": 60, "validation": 0.3, "lr": 1e-2}, patience=3,
                         spatial_attention=False, callbacks=[("keep", Keep())]).fit(brain, speech)  # fmt: skip
    state = again.net_.module_.state_dict()
    assert all(torch.equal(state[name], held[best][name]) for name in state)


def test_validation_loss_uses_distinct_segments():
    from sk_b2s.model_selection._split import stimulus_train_test

    brain, speech = planted(n=40)
    speech[20:] = speech[:20]  # every segment occurs twice
    brain[20:] = planted(n=40, seed=5)[0][20:]
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1, "validation": 0.3}, spatial_attention=False)
    encoder.fit(brain, speech)
    stimulus = np.tile(np.arange(20), 2)
    _, valid = stimulus_train_test(speech, 0.3, random_state=np.random.RandomState(0), groups=stimulus)
    distinct = np.unique(stimulus[valid])
    logp = np.log(encoder.predict_proba(brain[valid], candidates=speech[distinct]))
    expected = -logp[np.arange(len(valid)), np.searchsorted(distinct, stimulus[valid])].mean()
    assert encoder.history_[-1, "valid_cross_entropy"] == pytest.approx(expected, rel=1e-4)
    scores = encoder.similarity(brain[valid], candidates=speech[distinct]).astype(float)
    own = np.arange(len(valid)), np.searchsorted(distinct, stimulus[valid])
    least = min(-log_softmax(scale * scores, axis=1)[own].mean() for scale in np.linspace(0, 20, 2001))
    assert encoder.history_[-1, "valid_loss"] == pytest.approx(least, rel=1e-4)


def test_batches_are_balanced_and_complete():
    for n, size in [(10, 3), (256, 256), (257, 256), (7, 100)]:
        batches = list(BalancedBatchSampler(n, size, np.random.RandomState(0)))
        sizes = [len(batch) for batch in batches]
        assert len(batches) == -(-n // size)
        assert max(sizes) - min(sizes) <= 1
        assert sorted(np.concatenate(batches)) == list(range(n))


def test_fit_drops_optimizer_state():
    brain, speech = planted(n=40)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, spatial_attention=False).fit(brain, speech)
    assert len(encoder.net_.optimizer_.state) == 0


def test_unseen_subject_average_and_error():
    brain, speech = planted()
    X = with_rows(brain, ["a", "b"] * 48)
    encoder = BrainEncoder(**SMALL, spatial_attention=False).fit(X, speech)
    stranger = with_rows(brain, ["z"] * 96)
    module = encoder.net_.module_
    mean = module.subject_layer.matrices.mean(0, keepdim=True)
    expected = encoder.transform(stranger)
    module.subject_layer.matrices.data[:] = mean
    np.testing.assert_allclose(encoder.transform(X), expected, rtol=1e-4, atol=1e-5)
    encoder.set_params(unseen_subject="error")
    with pytest.raises(
        ValueError, match=r"not in fit: \['z'\]. Subjects in fit: \['a', 'b'\].*unseen_subject='average'"
    ):
        encoder.transform(stranger)


# --- the paper's numbers, and what its Table 4 takes away --------------------------------------------


def paper_module(n_channels=208, n_subjects=27, n_outputs=1024, **changes):
    """The network of an encoder with its defaults, at the paper's window."""
    encoder = BrainEncoder(**changes)
    parameters = {name: getattr(encoder, name) for name in ARCHITECTURE}
    return BrainModule(n_channels, n_outputs, n_subjects, n_times=343, **parameters)


@pytest.mark.parametrize(
    ("n_channels", "n_subjects", "n_outputs", "n_parameters"),
    [
        (208, 27, 1024, 9_565_054),
        (273, 96, 1024, 14_595_154),
        (128, 19, 1024, 8_981_854),
        (60, 33, 1024, 10_002_454),
        (208, 27, 120, 8_985_590),
    ],
)
def test_encoder_defaults_match_paper(n_channels, n_subjects, n_outputs, n_parameters):
    with torch.device("meta"):
        module = paper_module(n_channels, n_subjects, n_outputs)
    assert sum(p.numel() for p in module.parameters()) == n_parameters


def test_encoder_receptive_field():
    module = paper_module(4, 1, 3, spatial_attention=False, hidden=16).double().eval()
    x = torch.randn(1, 4, 343, dtype=torch.float64, requires_grad=True)
    module(x, torch.zeros(1, dtype=torch.int64))[0, :, 171].sum().backward()
    seen = x.grad[0].abs().sum(0).nonzero().ravel()
    assert (len(seen), seen.min(), seen.max()) == (135, 171 - 67, 171 + 67)


ABLATIONS = [
    {"spatial_attention": False}, {"spatial_dropout": 0.0}, {"initial_linear": False}, {"subject_layer": None},
    {"subject_layer": "embedding"}, {"glu": False}, {"skip": False}, {"head": False}, {"activation": "relu"},
    {"channel_dropout": 0.1, "time_dropout": 0.1}, {"weight_decay": 0.1, "target_dim": 3},
    {"weight_averaging": 0.9},
]  # fmt: skip


@pytest.mark.parametrize("change", ABLATIONS, ids=str)
def test_encoder_ablations_are_arguments(change):
    brain, speech = planted(n=40)
    X = with_rows(brain, ["a", "b"] * 20)
    encoder = BrainEncoder(**{**SMALL, "depth": 3, "max_epochs": 2}, **change).fit(X, speech)
    assert encoder.history_[-1, "train_loss"] < encoder.history_[0, "train_loss"]
    assert np.isfinite(encoder.transform(X)).all()


def test_scaler_clipping_is_argument():
    """Without it one jumping sensor reaches the network as it is."""
    brain, speech = planted(n=40)
    brain[3, 0] += 1e4
    for clip in (20, None):
        pipe = make_pipeline(RobustChannelScaler(clip=clip), BrainEncoder(**SMALL, spatial_attention=False))
        pipe.fit(brain, speech)
        assert (np.abs(np.asarray(pipe[0].transform(brain))).max() > 20) == (clip is None)
        assert np.isfinite(pipe.transform(brain)).all()


def test_fit_accepts_two_rates():
    brain, speech = planted(n_times=25)
    X = Windows.from_array(brain, sfreq=120)
    slow = speech[..., :11].copy()  # 24 / 120 s = 0.2 s, at 50 Hz 11 frames
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, spatial_attention=False)
    encoder.fit(X, Windows.from_array(slow, sfreq=50))
    assert encoder.frame_weights_.tolist() == [3, 2, 3, 2, 2, 3, 2, 3, 2, 2, 1]
    with pytest.raises(ValueError, match=r"X has 25 samples at 120 Hz \(0.200 s\).* y has 11"):
        encoder.fit(X, Windows.from_array(slow, sfreq=25))


def test_bfloat16_estimates_are_similar():
    brain, speech = planted()
    encoder = BrainEncoder(**SMALL, spatial_attention=False).fit(brain[:64], speech[:64])
    full = encoder.transform(brain[64:])
    encoder.net_.precision = torch.bfloat16
    half = encoder.transform(brain[64:])
    assert np.linalg.norm(full - half) / np.linalg.norm(full) < 0.02
    assert half.dtype == np.float32


def test_score_warns_about_equal_rows():
    brain, speech = planted()
    encoder = BrainEncoder(**SMALL, spatial_attention=False).fit(brain, speech)
    with pytest.warns(StimulusLeakWarning, match="40 of 40 scored windows"):
        encoder.score(brain[:40], speech[:40])


def test_encoder_accepts_windows_with_table():
    rng = np.random.default_rng(0)
    story = StimulusArray(rng.standard_normal((64 * 60, 2)), 64, "story")
    onset = np.arange(0, 57, 1.0)
    y = pd.DataFrame({
        "sound": [story] * 57, "sound_onset": onset, "duration": 2.0, "segment": np.arange(57),
        "block": (onset // 20).astype(int),
    })  # fmt: skip
    targets = np.stack([story.data[int(64 * t) : int(64 * t) + 129].T for t in onset])
    brain = np.repeat(targets, 2, axis=1) + 0.1 * rng.standard_normal((57, 4, 129))
    X = Windows.from_array(brain.astype("f4"), sfreq=64)
    encoder = BrainEncoder(**SMALL, speech=PrecomputedFeatures(), spatial_attention=False).fit(X[:38], y[:38])
    assert encoder.score(X[40:], y[40:]) == 1.0
    np.testing.assert_array_equal(encoder.predict(X[40:], candidates=y[40:]), y["segment"][40:])


def test_verbose_prints_plain_progress(capsys):
    brain, speech = planted(n=60)
    settings = {**SMALL, "max_epochs": 3, "validation": 0.3, "verbose": 1}
    BrainEncoder(**settings, spatial_attention=False).fit(brain, speech)
    header, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert header.split() == ["epoch", "train_loss", "valid_candidates", "valid_cross_entropy", "valid_loss",
                              "valid_top1", "dur"]  # fmt: skip
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert "\x1b" not in "".join(lines)
    BrainEncoder(**{**settings, "verbose": 0}, spatial_attention=False).fit(brain, speech)
    assert capsys.readouterr().out == ""


def test_validation_of_single_segment_warns():
    brain, speech = planted(n=40)
    speech[20:] = speech[:1]  # half of the windows are one segment
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 2, "validation": 0.02}, spatial_attention=False)
    with pytest.warns(UserWarning, match="single segment.*runs for max_epochs=2 without validation"):
        encoder.fit(brain, speech)
    assert "valid_loss" not in encoder.history_[0]
    assert len(encoder.history_) == 2


def test_frame_without_samples_has_no_weight():
    brain, speech = planted(n=40, n_times=183)
    X = Windows.from_array(brain, sfreq=64)  # 182 / 64 s; 58 frames at 20 Hz, of which the steps reach 57
    Y = Windows.from_array(speech[..., :58], sfreq=20)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, spatial_attention=False).fit(X, Y)
    assert encoder.frame_weights_[-2:].tolist() == [3, 0]
    changed = np.asarray(Y).copy()
    changed[..., -1] = 99
    np.testing.assert_array_equal(
        encoder.similarity(X, Y), encoder.similarity(X, Windows.from_array(changed, sfreq=20))
    )


def test_fit_rejects_mismatched_rows():
    brain, _ = planted(n=40)
    X = Windows.from_array(brain, rows=pd.DataFrame({"subject": ["a"] * 40}))
    rng = np.random.default_rng(0)
    heard = pd.DataFrame({"segment": range(40)}).sample(frac=1, random_state=0)
    y = Windows.from_array(rng.standard_normal((40, 2, 24)), rows=heard)
    with pytest.raises(ValueError, match="X and y are out of step: row 0 is"):
        BrainEncoder(**SMALL, spatial_attention=False).fit(X, y)


def test_fit_rejects_missing_segment():
    brain, _ = planted(n=40)
    heard = pd.DataFrame({"segment": np.r_[np.nan, np.arange(39)]})
    y = Windows.from_array(np.ones((40, 2, 24)), rows=heard)
    with pytest.raises(ValueError, match="y, row 0, column 'segment' must identify a segment"):
        BrainEncoder(**SMALL, spatial_attention=False).fit(brain, y)


def test_predict_rejects_nan():
    brain, speech = planted(n=40)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, spatial_attention=False).fit(brain, speech)
    holed = brain.copy()
    holed[3, 0, 0] = np.nan
    X = Windows.from_array(holed)
    for answer in (encoder.transform, encoder.predict, encoder.predict_proba, encoder.similarity):
        with pytest.raises(
            ValueError, match="estimates of 1 windows are NaN or infinite, the first that of row 3"
        ):
            answer(X)
    holed = speech.copy()
    holed[7, 0, 0] = np.nan  # as the first of equals, argmax would return it for every window
    with pytest.raises(ValueError, match="features of 1 candidates are NaN or infinite, the first .* 7:"):
        encoder.predict(brain, Windows.from_array(holed))


def test_predict_rejects_other_channel_order():
    brain, speech = planted(n=40)
    X = Windows.from_array(brain, ch_names=list("abcdef"), sfreq=100)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, spatial_attention=False).fit(X, speech)
    with pytest.raises(ValueError, match="channel 0 is 'f', in fit 'a'"):
        encoder.transform(Windows.from_array(brain[:, ::-1], ch_names=list("fedcba"), sfreq=100))
    with pytest.raises(ValueError, match="windows at 1000 Hz, but fit was given 100 Hz"):
        encoder.transform(Windows.from_array(brain, sfreq=1000))


def test_predict_warns_about_similar_names():
    brain, speech = planted(n=40)
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}).fit(with_rows(brain, [1, 2] * 20), speech)
    with pytest.warns(UserWarning, match="Subject '01' was not in fit, but '1' was"):
        encoder.transform(with_rows(brain, ["01"] * 40))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"device": "foo"}, "device='foo' is not available"),
    ],
)
def test_fit_rejects_unavailable_device(changes, message):
    brain, speech = planted(n=40)
    with pytest.raises(ValueError, match=message):
        BrainEncoder(**{**SMALL, **changes}, spatial_attention=False).fit(brain, speech)


# --- bad input, each with its message ---------------------------------------------------------------


def bad_inputs():
    brain, speech = planted(n=40)
    diverging = brain.copy()
    diverging[0] *= 1e30
    array = {"spatial_attention": False}
    yield "unequal", array, brain, speech[:-1], "inconsistent numbers of samples"
    yield "no positions", {}, brain, speech, r"Epocher\(montage=...\).*spatial_attention=False"
    yield (
        "one segment",
        array,
        brain,
        np.repeat(speech[:1], 40, 0),
        "requires at least 2 distinct segments in y. Got 1",
    )
    yield "faster speech", array, brain[..., :5], speech, "24 frames for 5 samples.*Raise Epocher"
    yield (
        "no table",
        {**array, "speech": PrecomputedFeatures()},
        brain,
        speech,
        "requires y to be the table of segments",
    )
    values = np.full((40, 2), "a", object)
    yield (
        "values",
        {**array, "speech": PrecomputedFeatures()},
        brain,
        values,
        "Pass the DataFrame.*EnsembleDecoder",
    )
    yield (
        "table",
        array,
        brain,
        pd.DataFrame({"segment": range(40)}),
        "expects features. Set for example speech=",
    )
    yield "nan", array, np.where(brain > 3, np.nan, brain), speech, "NaN"
    yield (
        "text",
        {**array, "validation": "valid"},
        brain,
        speech,
        "validation must be a fraction.*Got 'valid'",
    )
    yield "no samples", array, brain[..., :0], speech, r"at least one channel and one sample.*\(40, 6, 0\)"
    yield "no channels", array, brain[:, :0], speech, r"at least one channel and one sample"
    yield "no y", array, brain, None, "requires y to be passed"
    yield "typo", {**array, "loss": "clop"}, brain, speech, "'loss' parameter of BrainEncoder must be"
    yield (
        "no rows",
        {**array, "validation": 0.5},
        brain,
        np.repeat(speech[:2], 20, 0)[:1],
        "1 sample|inconsistent",
    )


@pytest.mark.parametrize(("changes", "X", "y", "message"), [pytest.param(*c, id=i) for i, *c in bad_inputs()])
def test_fit_rejects_bad_input(changes, X, y, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        BrainEncoder(**{**SMALL, **changes}).fit(X, y)


def test_fit_raises_on_divergence():
    brain, speech = planted(n=64)
    with pytest.raises(
        FloatingPointError, match=r"training loss is .* in epoch \d+, so the fit diverged. Reduce lr="
    ):
        BrainEncoder(**{**SMALL, "lr": 1e18, "max_epochs": 50}, spatial_attention=False).fit(brain, speech)


def test_score_rejects_too_few_candidates():
    brain, speech = planted(n=40)
    encoder = BrainEncoder(**{**SMALL, "k": 10}, spatial_attention=False).fit(brain[:30], speech[:30])
    with pytest.raises(ValueError, match="k"):
        encoder.score(brain[30:], speech[30:])


def test_predict_rejects_other_shapes():
    brain, speech = planted(n=40)
    encoder = BrainEncoder(**SMALL, spatial_attention=False).fit(Windows.from_array(brain), speech)
    with pytest.raises(ValueError, match="windows of 20 samples, but fit was given 24"):
        encoder.transform(Windows.from_array(brain[..., :20]))
    with pytest.raises(ValueError, match="X has 5 channels, but BrainEncoder was fitted on 6"):
        encoder.transform(Windows.from_array(brain[:, :5]))
    with pytest.raises(ValueError, match="candidates have 3 features x 24 frames, but fit was given 4 x 24"):
        encoder.predict(brain, candidates=speech[:, :3])


def test_brain_encoder_documents_every_loss():
    for name in LOSSES:
        assert f'- "{name}" is ' in BrainEncoder.__doc__

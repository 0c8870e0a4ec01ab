"""Tests of interrupted training that continues from a file."""

import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.windows import make_planted_windows
from sklearn.base import clone
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    LoadInitState,
    LRScheduler,
)
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from sk_b2s import BrainEncoder, StimulusLeakWarning, load, save
from sk_b2s.metrics import ranks, similarity

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = {
    "hidden": 8, "depth": 2, "n_virtual_channels": 6, "lr": 3e-3, "batch_size": 16, "max_epochs": 5, "k": 1,
    "precision": "float32", "random_state": 0, "verbose": 0,
}  # fmt: skip


class StopAt(Callback):
    """Raise or end the process in an epoch, and count epochs."""

    changes_training = False

    def __init__(self, epoch, how="raise"):
        self.epoch, self.how, self.n_epochs = epoch, how, 0

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            if self.how == "signal":
                os.kill(os.getpid(), signal.SIGKILL)
            raise InterruptedError

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs += 1


class DropoutNet(nn.Sequential):
    def __init__(self, n_chans, n_outputs):
        super().__init__(
            nn.Conv1d(n_chans, 8, 3, padding=1), nn.Dropout(0.3), nn.GELU(), nn.Conv1d(8, n_outputs, 1)
        )


def assert_equal_fits(one, other):
    ours, theirs = one.net_.state(), other.net_.state()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert one.history_[:, "train_loss"] == other.history_[:, "train_loss"]
    assert one.digest() == other.digest()


@pytest.fixture(scope="module")
def data():
    return make_planted_windows()


VARIANTS = {
    "paper": {"subject_dropout": 0.2, "channel_dropout": 0.1},
    "averaged deep mel": {
        "weight_averaging": 0.9, "loss": "siglip", "weight_decay": 0.1, "speech_embedding_dim": 5,
    },
    "bfloat16 without validation": {"precision": "bfloat16", "validation": None},
    "patience": {"lr": 0.1, "patience": 2, "max_epochs": 20},
    "module": {"module": DropoutNet, "time_dropout": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_checkpoint_resumes_with_equal_weights(data, variant, tmp_path):
    params = {**SMALL, **VARIANTS[variant]}
    if "module" in params:
        params = {
            name: value
            for name, value in params.items()
            if name not in ("hidden", "depth", "n_virtual_channels")
        }
    whole = BrainEncoder(**params).fit(*data)
    encoder = BrainEncoder(**params, checkpoint=tmp_path, callbacks=[StopAt(3)])
    epochs = len(whole.history_)
    with pytest.raises(InterruptedError):
        encoder.fit(*data)
    counter = StopAt(0)
    encoder.set_params(callbacks=[counter]).fit(*data)
    assert_equal_fits(encoder, whole)
    assert counter.n_epochs == epochs - (
        2 if variant != "patience" else 3
    )  # it stops before callbacks of the user
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
    assert "training_checkpoint" not in dict(encoder.net_.callbacks_)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process is forked and ended")
def test_checkpoint_survives_the_end_of_a_process(data, tmp_path):
    whole = BrainEncoder(**SMALL).fit(*data)
    encoder = BrainEncoder(**SMALL, checkpoint=tmp_path)
    process = os.fork()
    if process == 0:
        try:
            clone(encoder).set_params(callbacks=[StopAt(4, "signal")]).fit(*data)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
    counter = StopAt(0)
    assert_equal_fits(encoder.set_params(callbacks=[counter]).fit(*data), whole)
    assert counter.n_epochs == 2


def test_checkpoint_restores_learning_rate(data, tmp_path):
    def callbacks(epoch):
        return [LRScheduler(policy=CosineAnnealingLR, T_max=5), StopAt(epoch)]

    whole = BrainEncoder(**SMALL, callbacks=callbacks(0)).fit(*data)
    encoder = BrainEncoder(**SMALL, checkpoint=tmp_path, callbacks=callbacks(4))
    with pytest.raises(InterruptedError):
        encoder.fit(*data)
    assert_equal_fits(encoder.set_params(callbacks=callbacks(0)).fit(*data), whole)


def test_checkpoint_of_complete_fit_is_read(data, tmp_path):
    encoder = BrainEncoder(**SMALL, checkpoint=tmp_path).fit(*data)
    counter = StopAt(0)
    again = clone(encoder).set_params(callbacks=[counter]).fit(*data)
    assert counter.n_epochs == 0
    assert_equal_fits(again, encoder)
    np.testing.assert_array_equal(again.transform(data[0]), encoder.transform(data[0]))


def test_checkpoint_is_used_by_equal_fits_only(data, tmp_path):
    X, y = data
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, checkpoint=tmp_path).fit(X, y)
    changes = [{"lr": 1e-3}, {"random_state": 1}, {"max_epochs": 2}]
    for change in changes:
        clone(encoder).set_params(**change).fit(X, y)
    clone(encoder).fit(X[1:], y[1:])
    other = y.copy()
    other[0, 0, 0] += 1
    clone(encoder).fit(X, other)
    clone(encoder).set_params(callbacks=[GradientNormClipping(0.1)]).fit(X, y)
    assert len(list(tmp_path.iterdir())) == 1 + len(changes) + 3
    clone(encoder).set_params(k=2, verbose=0, callbacks=[StopAt(0)]).fit(X, y)
    assert len(list(tmp_path.iterdir())) == 1 + len(changes) + 3


class ScaleGradients(Callback):
    """Multiply gradients, a callback of the user that changes training."""

    def __init__(self, factor=1.0, log=None):
        self.factor, self.log = factor, log
        self.n_calls = 0

    def on_grad_computed(self, net, **kwargs):
        self.n_calls += 1
        for weight in net.module_.parameters():
            weight.grad *= self.factor


def test_checkpoint_compares_own_callbacks(data, tmp_path):
    def fit(*callbacks):
        return clone(encoder).set_params(callbacks=list(callbacks)).fit(*data)

    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, checkpoint=tmp_path)
    fit(ScaleGradients())
    changed = fit(ScaleGradients(0.0))
    assert len(list(tmp_path.iterdir())) == 2
    whole = BrainEncoder(**{**SMALL, "max_epochs": 1}, callbacks=[ScaleGradients(0.0)]).fit(*data)
    assert_equal_fits(changed, whole)
    again = ScaleGradients(0.0)
    assert_equal_fits(fit(("scale", again)), changed)
    assert again.n_calls == 0  # read
    with pytest.raises(ValueError, match="cannot compare the parameter 'log' of the callback ScaleGradients"):
        fit(ScaleGradients(log=open(os.devnull)))  # noqa: SIM115
    with pytest.raises(ValueError, match="'checkpoint' of the callback LoadInitState"):
        fit(LoadInitState(Checkpoint()))
    n_files = len(list(tmp_path.iterdir()))
    fit(GradientNormClipping)  # skorch makes an instance
    assert len(list(tmp_path.iterdir())) == n_files + 1
    fit(ScaleGradients)
    assert len(list(tmp_path.iterdir())) == n_files + 1
    logging = ScaleGradients(log=data[0])
    logging.changes_training = False
    fit(logging)


def test_checkpoint_errors_name_the_way_out(data, tmp_path):
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, checkpoint=tmp_path / "here")
    with pytest.raises(ValueError, match="checkpoint requires an integer random_state"):
        clone(encoder).set_params(random_state=None).fit(*data)
    encoder.fit(*data)
    (path,) = (tmp_path / "here").iterdir()
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"is damaged.*Delete the file"):
        encoder.fit(*data)
    save_other = BrainEncoder(**{**SMALL, "max_epochs": 1, "hidden": 9}, checkpoint=tmp_path / "other").fit(
        *data
    )
    (other,) = (tmp_path / "other").iterdir()
    path.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match=r"does not fit this encoder.*Delete the file"):
        encoder.fit(*data)
    with pytest.raises(ValueError, match="checkpoint must be a folder"):
        save_other.set_params(checkpoint=other).fit(*data)
    with pytest.raises(OSError, match="The folder checkpoint=.* cannot be made"):
        save_other.set_params(checkpoint=tmp_path / ("x" * 300)).fit(*data)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="is a folder or device, and checkpoint needs this name"):
        encoder.fit(*data)


def test_checkpoint_that_cannot_be_written_is_named(data, tmp_path, monkeypatch):
    encoder = BrainEncoder(**SMALL, checkpoint=tmp_path)
    complete = clone(encoder).set_params(random_state=1).fit(*data)

    class RemoveFolder(Callback):
        changes_training = False

        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                shutil.rmtree(tmp_path / "removed")

    removed = clone(encoder).set_params(checkpoint=tmp_path / "removed", callbacks=[RemoveFolder()])
    with pytest.raises(
        OSError, match=r"cannot be written after epoch 2: .*Is the disk full\? Then fit again"
    ):
        removed.fit(*data)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="a folder in which files cannot be written"):
        encoder.fit(*data)
    assert_equal_fits(clone(complete).fit(*data), complete)  # is only read


def test_checkpoint_folder_is_not_saved(data, tmp_path):
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, checkpoint=tmp_path / "here").fit(*data)
    save(encoder, tmp_path / "encoder.safetensors")
    assert load(tmp_path / "encoder.safetensors").checkpoint is None


def test_warm_start_continues_from_fitted_weights(data):
    X, y = data
    encoder = BrainEncoder(**{**SMALL, "validation": None}, warm_start=True).fit(X, y)
    first = encoder.history_[0, "train_loss"]
    before = encoder.net_.state()["last.weight"].clone()
    encoder.set_params(lr=1e-9, max_epochs=1).fit(X, y)
    torch.testing.assert_close(encoder.net_.state()["last.weight"], before, atol=1e-6, rtol=0)
    assert encoder.history_[0, "train_loss"] < first
    encoder.set_params(warm_start=False).fit(X, y)
    assert not torch.allclose(encoder.net_.state()["last.weight"], before, atol=1e-3)


def test_warm_start_compares_with_previous_fits(data):
    X, y = data
    encoder = BrainEncoder(**{**SMALL, "max_epochs": 1}, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="requires the network of the previous fit, but the weight"):
        clone(encoder).fit(X, y).set_params(hidden=9).fit(X, y)
    with pytest.warns(StimulusLeakWarning, match="20 of 20 scored windows"):
        encoder.fit(X[20:], y[20:]).score(X[:20], y[:20])
    rows = X.rows.assign(subject="z")
    with pytest.raises(ValueError, match=r"continues with the subjects \['a', 'b'\], but X has \['z'\]"):
        encoder.fit(
            type(X)(X.signals, X.which, X.start, X.n_times, X.sfreq, rows=rows, positions=X.positions), y
        )


def test_skorch_checkpoint_stores_the_best_epoch(data, tmp_path):
    encoder = BrainEncoder(**SMALL, callbacks=[Checkpoint(dirname=tmp_path, f_pickle=None)]).fit(*data)
    losses = encoder.history_[:, "valid_loss"]
    best = encoder.history_[:, "valid_loss_best"]
    assert best == [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]
    stored = torch.load(tmp_path / "params.pt", weights_only=True)
    assert stored.keys() == encoder.net_.module_.state_dict().keys()


def test_skorch_scoring_reads_validation_pairs(data):
    def score_top1(net, pairs, _):
        segments, target = pairs.distinct()
        scores = similarity(net.embed(pairs.brain, pairs.rows).numpy(), np.asarray(segments))
        return (ranks(scores, target) < 1).mean()

    scoring = EpochScoring(score_top1, name="top1", use_caching=False)
    history = BrainEncoder(**SMALL, callbacks=[scoring]).fit(*data).history_
    assert history[:, "top1"] == history[:, "valid_top1"]


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([EarlyStopping("valid_loss")], "A callback reads .*valid_loss.*has the columns epoch, .*train_loss.*validation=0.1"),
        ([Freezer("*")], "because a callback set requires_grad=False for all"),
        ([SimpleNamespace(on_train_begin=print)], "callbacks must contain skorch callbacks"),
    ],
    ids=["no validation", "all frozen", "no callback"],
)  # fmt: skip
def test_skorch_callback_errors_name_the_way_out(data, callbacks, message):
    with pytest.raises(ValueError, match=message):
        BrainEncoder(**{**SMALL, "validation": None}, callbacks=callbacks).fit(*data)

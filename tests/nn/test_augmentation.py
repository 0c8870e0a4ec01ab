"""Random changes of windows in training."""

import pytest
import torch

from sk_b2s.nn._augmentation import WindowAugmentation

X = 1 + torch.rand(500, 5, 20, generator=torch.Generator().manual_seed(0))


def augmented(x=X, seed=0, **settings):
    module = WindowAugmentation(**settings)
    module.generator = torch.Generator().manual_seed(seed)
    return module(x)


def test_augmentation_is_off_by_default():
    module = WindowAugmentation()
    module.generator = torch.Generator().manual_seed(0)
    state = module.generator.get_state()
    assert module(X) is X
    assert torch.equal(state, module.generator.get_state())
    assert WindowAugmentation(0.5, 0.5, 3).eval()(X) is X


def test_channel_dropout_fraction_and_scale():
    out = augmented(channel_dropout=0.4)
    lost = out == 0
    assert torch.equal(lost.all(2), lost.any(2))
    assert 0.37 < lost.float().mean() < 0.43
    assert not torch.equal(lost[0], lost[1])
    torch.testing.assert_close(out[~lost], X[~lost] / 0.6)


def test_time_dropout_is_one_stretch():
    lost = augmented(time_dropout=0.3) == 0
    assert torch.equal(lost.all(1), lost.any(1))
    lost = lost[:, 0]
    assert (lost.sum(1) == 6).all()
    assert ((lost ^ lost.roll(1, 1)).sum(1) == 2).all()
    assert (0.22 < lost.float().mean(0)).all()
    assert (lost.float().mean(0) < 0.38).all()


def test_shift_covers_both_directions():
    out, found = augmented(max_shift=2), set()
    for before, after in zip(X, out, strict=True):
        ways = {
            2: torch.nn.functional.pad(before[:, :-2], (2, 0)), 1: torch.nn.functional.pad(before[:, :-1], (1, 0)),
            0: before, -1: torch.nn.functional.pad(before[:, 1:], (0, 1)),
            -2: torch.nn.functional.pad(before[:, 2:], (0, 2)),
        }  # fmt: skip
        (shift,) = (n for n, shifted in ways.items() if torch.equal(after, shifted))
        found.add(shift)
    assert found == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize(
    "settings", [{"channel_dropout": 0.5}, {"time_dropout": 0.5}, {"max_shift": 4}], ids=str
)
def test_augmentation_uses_own_generator(settings):
    before, unchanged = torch.get_rng_state(), X.clone()
    assert torch.equal(augmented(**settings), augmented(**settings))
    assert not torch.equal(augmented(**settings), augmented(seed=1, **settings))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(X, unchanged)
    assert augmented(X.mT.contiguous().mT, **settings).mT.is_contiguous()

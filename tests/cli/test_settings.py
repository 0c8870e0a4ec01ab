"""Test parameters of estimators by name."""

from sk_b2s._cli._settings import apply_settings
from sk_b2s.decoding._presets import make_decoders


def test_apply_settings_to_all_or_one():
    found = make_decoders(["ridge", "clip-mel", "regression"])
    apply_settings(found, ["encoder__hidden=32", "clip-mel:encoder__loss=siglip", "epochs__lag=0.1"])
    assert {name: one["epochs"].lag for name, one in found.items()} == dict.fromkeys(found, 0.1)
    assert [found[name]["encoder"].hidden for name in ("clip-mel", "regression")] == [32, 32]
    assert [found[name]["encoder"].loss for name in ("clip-mel", "regression")] == ["siglip", "mse"]

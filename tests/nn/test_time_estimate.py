"""Tests of the announced duration of a fit."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.estimators import ENCODER

from sk_b2s import BrainEncoder
from sk_b2s._utils import _logging
from sk_b2s.nn import _time_estimate
from sk_b2s.nn._time_estimate import describe_time_estimate
from sk_b2s.nn._validation import ValidationEarlyStop


@pytest.mark.parametrize(
    ("epoch", "patience", "max_epochs", "message"),
    [
        (0.2, 10, 200, None),
        (182.0, 10, 200, "trains 3 min per epoch .*takes 33 min .early stopping after 11 epochs. to 10 h for max_epochs=200"),
        (182.0, None, 200, "takes 10 h for max_epochs=200"),
        (182.0, 10, 5, "takes 15 min for max_epochs=5"),
    ],
    ids=["short", "early", "whole", "few"],
)  # fmt: skip
def test_describe_duration(epoch, patience, max_epochs, message):
    callbacks = [] if patience is None else [("early", ValidationEarlyStop(patience))]
    net = SimpleNamespace(max_epochs=max_epochs, callbacks_=callbacks, device="cpu")
    found = describe_time_estimate(epoch, net)
    assert found is None if message is None else re.search(message, found)


@pytest.mark.parametrize("batch_size", [8, 64], ids=["batches", "batch"])
def test_long_fit_is_announced_once(monkeypatch, capsys, batch_size):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((32, 4, 20)), rng.standard_normal((32, 3, 10))
    parameters = {**ENCODER, "batch_size": batch_size, "validation": None, "verbose": 1}
    BrainEncoder(**parameters).fit(X, Y)
    assert "per epoch" not in capsys.readouterr().out
    monkeypatch.setattr(_logging, "has_root_logging_handlers", lambda: False)
    monkeypatch.setattr(_time_estimate, "LONG", 0.0)
    BrainEncoder(**parameters).fit(X, Y)
    assert capsys.readouterr().out.count("per epoch") == 1
    BrainEncoder(**{**parameters, "verbose": 0}).fit(X, Y)
    assert "per epoch" not in capsys.readouterr().out

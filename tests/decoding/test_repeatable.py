"""Tests that equal seeds give equal results, whatever the thread timing."""

import json
import os
import subprocess
import sys

import pytest
import torch
from helpers import repeatable
from torch.utils._python_dispatch import TorchDispatchMode

from sk_b2s.nn.functional import select

UNORDERED = ("scatter_add", "scatter_reduce", "index_reduce", "embedding_dense_backward", "put_", "histc")


class Unordered(TorchDispatchMode):
    """Record operations whose results may depend on thread timing."""

    def __init__(self):
        super().__init__()
        self.found, self.n_operations = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n_operations += 1
        name = func._schema.name.removeprefix("aten::")
        accumulates = (args[3:4] or [(kwargs or {}).get("accumulate", False)])[0]
        if name in UNORDERED or (name.removeprefix("_").startswith("index_put") and accumulates):
            self.found.add(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_detect_unordered_sums():
    weights = torch.zeros(3, 2, requires_grad=True)
    with Unordered() as seen:
        weights[torch.tensor([0, 0, 2])].sum().backward()
    assert seen.found


@pytest.mark.parametrize("dim", [0, 1])
def test_select_equals_indexing(dim):
    index, source = torch.tensor([2, 0, 2, 2]), torch.randn(3, 3, 4, dtype=torch.float64, requires_grad=True)
    plain = source[index] if dim == 0 else source[:, index]
    assert torch.equal(select(source, index, dim), plain)
    weights = torch.randn_like(plain)
    gradients = [
        torch.autograd.grad(selected, source, weights)[0] for selected in (select(source, index, dim), plain)
    ]
    torch.testing.assert_close(*gradients)
    assert torch.autograd.gradgradcheck(lambda source: select(source, index, dim) ** 2, (source,))


def test_gradient_of_select_repeats(two_threads):
    gradient, index = torch.randn(40, 64, 64), torch.zeros(40, dtype=torch.int64)
    found = set()
    for _ in range(20):
        source = torch.zeros(1, 64, 64, requires_grad=True)
        select(source, index).backward(gradient)
        found.add(source.grad.numpy().tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("name", repeatable.FITS)
def test_fit_uses_no_unordered_sum(name):
    with Unordered() as seen:
        repeatable.encoder(name, depth=1, hidden=4).similarity(repeatable.data()[0])
    assert seen.n_operations > 100
    assert not seen.found


def test_adapt_uses_no_unordered_sum():
    new, encoder = repeatable.data(2, first=50), repeatable.encoder(depth=1, hidden=4)
    with Unordered() as seen:
        for method in repeatable.METHODS:
            encoder.adapt(*new, method, max_epochs=1)
    assert seen.n_operations > 100
    assert not seen.found


@pytest.mark.slow
def test_fits_repeat_among_processes(two_threads):
    """The deterministic flag changes nothing, so all operations are."""
    command = [sys.executable, repeatable.__file__, "2", "deterministic"]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    found = repeatable.all_results()
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert found == json.loads(out.splitlines()[-1])
    assert set(found) > {*repeatable.REPEATED, *(f"adapt {method}" for method in repeatable.METHODS)}

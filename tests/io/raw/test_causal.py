"""Causal filters: chunks, no look-ahead and delays."""

import numpy as np
import pytest

from sk_b2s.io._raw._causal import CausalChain

RATES = [(1000, 120), (250, 120), (100, 120), (512, 50), (64, 64)]


def chain_of(sfreq_in, sfreq_out):
    return CausalChain(sfreq_in, sfreq_out, 0.5, 20, (50,) if sfreq_in > 100 else ())


def in_chunks(chain, signal, sizes):
    at, state, parts = 0, None, []
    for size in sizes:
        part, state = chain(signal[:, at : at + size], state)
        parts.append(part)
        at += size
    return np.hstack(parts)


@pytest.fixture(scope="module")
def signal():
    return np.random.default_rng(0).normal(size=(3, 2000)) + 1e3


@pytest.mark.parametrize("rates", RATES)
def test_causal_chain_is_equal_in_chunks(rates, signal):
    chain, random = chain_of(*rates), np.random.default_rng(1)
    whole, state = chain(signal)
    assert whole.shape == (3, -(-2000 * rates[1] // rates[0]))
    assert state.n_read == 2000
    irregular = random.integers(0, 60, 40).tolist()
    for sizes in ([1] * 2000, [80] * 25, [*irregular, 2000 - sum(irregular)]):
        np.testing.assert_allclose(in_chunks(chain, signal, sizes), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rates", RATES)
def test_causal_chain_does_not_look_ahead(rates, signal):
    chain, changed = chain_of(*rates), signal.copy()
    changed[:, 1001:] += 100
    before = np.arange(-(-2000 * rates[1] // rates[0])) / rates[1] < 1001 / rates[0]
    difference = abs(chain(changed)[0] - chain(signal)[0])
    assert difference[:, before].max() == 0
    assert difference[:, ~before].max() > 1


@pytest.mark.parametrize("rates", RATES)
def test_causal_chain_states_its_delay(rates):
    chain, frequency = chain_of(*rates), 6.0
    times = np.arange(6 * rates[0]) / rates[0]
    packet = np.exp(-((times - 3) ** 2) / 0.32) * np.cos(2 * np.pi * frequency * (times - 3))
    energy = chain(packet[None])[0][0] ** 2
    center = (np.arange(len(energy)) * energy).sum() / energy.sum() / rates[1]
    assert center - 3 == pytest.approx(chain.delay(frequency)[0], abs=0.004)


def test_causal_chain_has_no_transient_of_an_offset():
    chain = CausalChain(250, 120, None, 20)
    assert chain(np.full((1, 500), 1e3))[0] == pytest.approx(1e3)
    assert abs(CausalChain(250, 120, 0.5, 20)(np.full((1, 500), 1e3))[0]).max() < 1e-9


def test_causal_chain_keeps_band_and_removes_others():
    times = np.arange(10000) / 1000
    gains = []
    for frequency in (8, 50, 90):
        out = CausalChain(1000, 120, 0.5, 30, (50,))(np.sin(2 * np.pi * frequency * times)[None])[0][0, 600:]
        gains.append(np.sqrt(2) * out.std())
    assert gains == pytest.approx([1, 0, 0], abs=0.01)

"""Tests of the shared response and of filters to it."""

import numpy as np
import pytest
import torch

from sk_b2s.decoding._shared_response import fit_shared_response

N_FEATURES, N_CHANNELS, N_FRAMES, SFREQ = 5, 12, 60, 20


def smooth(rng, *shape):
    """Signals that go on from frame to frame, along the last axis."""
    noise = rng.standard_normal((*shape[:-1], shape[-1] + 8))
    return np.apply_along_axis(lambda x: np.convolve(x, np.hanning(9), "valid"), -1, noise)


class People:
    """Subjects with patterns around a common one, and a lag of two frames."""

    def __init__(self, spread=0.5, n_people=5, level=1.0):
        self.rng = np.random.default_rng(0)
        self.pattern = self.rng.standard_normal((N_CHANNELS, 2))
        self.patterns = self.pattern + spread * self.rng.standard_normal((n_people, N_CHANNELS, 2))
        self.mixing = self.rng.standard_normal((2, N_FEATURES))
        self.unmixing = [np.linalg.pinv(pattern) for pattern in self.patterns]  # the layers they would have
        self.shared = self.rng.standard_normal((N_CHANNELS, 2))
        self.level = level

    def hear(self, pattern, n_windows):
        """Features, evoked latents and channels of some windows."""
        features = smooth(self.rng, n_windows, N_FEATURES, N_FRAMES + 2)
        latents = self.mixing @ features
        read = pattern @ latents[:, :, :-2] + self.level * smooth(self.rng, n_windows, N_CHANNELS, N_FRAMES)
        return features[:, :, 2:], latents[:, :, :-2], read

    def batches(self, n_windows=40):
        """Windows of all subjects, as fit_shared_response takes them."""
        held = []
        for person, (pattern, unmixing) in enumerate(zip(self.patterns, self.unmixing, strict=True)):
            features, _, read = self.hear(pattern, n_windows)
            channels = self.shared @ unmixing @ read
            held.append((*tensors(features, channels, read), torch.full((n_windows,), person)))
        return lambda: iter(held)


def tensors(*arrays):
    return tuple(torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float32) for array in arrays)


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


def recovery(people, response, layer, pattern):
    """Correlate the output of a layer with the evoked shared channels."""
    _, latents, read = people.hear(pattern, 40)
    return correlation(layer.numpy().T @ read, people.shared @ latents)


def test_shared_response_lags_and_latents():
    people = People(level=0.1)
    response = fit_shared_response(people.batches(), 5, SFREQ)
    assert response.lags[0] <= 2 <= response.lags[-1]
    assert response.latents.shape == (len(response.lags) * N_FEATURES, response.shared.shape[1])
    # two latents evoke nearly all; they span what the shared channels follow
    power = (response.shared**2).sum(0)
    assert power[:2].sum() > 0.98 * power.sum()
    found = response.shared[:, :2]
    inside = found @ np.linalg.lstsq(found, people.shared, rcond=None)[0]
    np.testing.assert_allclose(inside, people.shared, atol=0.05 * abs(people.shared).max())


def test_layer_maps_to_shared_response():
    people = People(level=4.0)
    response = fit_shared_response(people.batches(120), 5, SFREQ)
    stranger = people.pattern + people.rng.standard_normal((N_CHANNELS, 2))
    features, _, read = people.hear(stranger, 60)
    own = response.layer([tensors(features, read)])
    none = response.layer([tensors(features, read)], share=0.0)
    of_another = torch.as_tensor((people.shared @ people.unmixing[0]).T)
    scores = [recovery(people, response, layer, stranger) for layer in (own, none, of_another)]
    assert scores[0] > scores[1] + 0.03
    assert scores[0] > scores[2] + 0.1


def test_layer_improves_with_duration():
    people = People(level=3.0)
    response = fit_shared_response(people.batches(120), 5, SFREQ)
    stranger = people.pattern + people.rng.standard_normal((N_CHANNELS, 2))
    parts = [people.hear(stranger, n) for n in (2, 20, 200)]
    layers = [response.layer([tensors(part[0], part[2])]) for part in parts]
    scores = [recovery(people, response, layer, stranger) for layer in layers]
    assert scores[0] < scores[1] < scores[2]


def test_layer_without_data_is_mean_pattern():
    people = People()
    response = fit_shared_response(people.batches(), 5, SFREQ)
    features, _, read = people.hear(people.pattern, 10)
    layer = response.layer([tensors(features, read)], share=0.0)
    inside = read[:, :, max(0, response.lags[-1]) : N_FRAMES + min(0, response.lags[0])]
    inside = (inside - inside.mean(2, keepdims=True)).transpose(1, 0, 2).reshape(N_CHANNELS, -1)
    covariance = inside @ inside.T / inside.shape[1]
    covariance += 0.3 * np.trace(covariance) / N_CHANNELS * np.eye(N_CHANNELS)
    filters = np.linalg.solve(covariance, response.pattern)
    gain = response.pattern.T @ filters
    gain += 2.0 * np.trace(gain) / len(gain) * np.eye(len(gain))
    np.testing.assert_allclose(
        layer, filters @ np.linalg.solve(gain, response.shared.T), rtol=2e-3, atol=1e-4
    )


def test_layer_ignores_batches():
    people = People()
    response = fit_shared_response(people.batches(), 5, SFREQ)
    parts = tensors(*people.hear(people.pattern, 30)[::2])
    halves = [tuple(part[rows] for part in parts) for rows in (slice(0, 7), slice(7, 30))]
    torch.testing.assert_close(response.layer([parts]), response.layer(halves), rtol=1e-4, atol=1e-5)


def test_spread_weakens_mean_pattern():
    spread = [fit_shared_response(People(spread=s).batches(), 5, SFREQ).spread[:2].mean() for s in (0.2, 1.0)]
    assert spread[0] < spread[1]


def test_spread_is_above_sampling_error():
    n_windows = 40
    people = People(spread=0.0, level=3.0)
    held = list(people.batches(n_windows)())
    response = fit_shared_response(lambda: iter(held), 5, SFREQ)
    inside = slice(max(0, response.lags[-1]), N_FRAMES + min(0, response.lags[0]))
    read = torch.cat([part[2] for part in held])[:, :, inside].double()
    power = (read - read.mean(2, keepdim=True)).square().mean().item()
    luck = response.noise * power / (n_windows * read.shape[2])  # in the pattern of a whole recording
    assert (response.spread > luck).all()


def test_noise_accounts_for_autocorrelation():
    """Independent frames carry more information than correlated ones."""
    response = fit_shared_response(People(level=5.0).batches(100), 5, SFREQ)
    assert response.noise[0] > 2.0  # of white noise and white speech it were 1


@pytest.mark.parametrize("nothing", [0, 1])
def test_shared_response_needs_varying_data(nothing):
    held = [list(part) for part in People().batches()()]
    for part in held:
        part[nothing] = torch.ones_like(part[nothing])
    assert fit_shared_response(lambda: (tuple(part) for part in held), 5, SFREQ) is None


def test_shared_response_needs_several_frames():
    """Of what goes on within windows, which is what patterns are made of."""
    held = [(*(part[:, :, :1] for part in parts[:3]), parts[3]) for parts in People().batches()()]
    assert fit_shared_response(lambda: iter(held), 5) is None


def test_layer_ignores_constant_window():
    people = People()
    response = fit_shared_response(people.batches(), 5, SFREQ)
    features, _, read = people.hear(people.pattern, 1)
    assert torch.isfinite(response.layer([tensors(features, np.zeros_like(read))])).all()
    assert torch.isfinite(response.layer([tensors(np.zeros_like(features), np.zeros_like(read))])).all()

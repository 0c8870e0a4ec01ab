"""Moving average of weights: its values, and the state of a trained net."""

import numpy as np
import torch
from skorch.callbacks import Callback

from sk_b2s import BrainEncoder
from sk_b2s.nn._averaging import WeightAverage


class Recorder(Callback):
    """Store the weights of the last layer after each step."""

    def on_train_begin(self, net, **kwargs):
        self.steps = []

    def on_batch_end(self, net, training, **kwargs):
        if training:
            self.steps.append(net.module_.last.weight.detach().clone())


def test_weight_average_swap_returns_weights():
    weights, average = [torch.zeros(2)], WeightAverage(0.9)
    for value in (1.0, 2.0):
        average.update([weights[0].fill_(value)])
    average.swap(weights)
    torch.testing.assert_close(weights[0], torch.full((2,), 1.75))
    average.swap(weights)
    torch.testing.assert_close(weights[0], torch.full((2,), 2.0))


def test_encoder_averages_weights_of_all_steps():
    rng = np.random.default_rng(0)
    brain = rng.standard_normal((24, 5, 12)).astype("f4")
    speech = brain[:, :3]
    recorder = Recorder()
    encoder = BrainEncoder(
        hidden=4, depth=1, n_virtual_channels=4, spatial_attention=False, glu=False, head=False, batch_size=6, lr=0.03,
        max_epochs=3, validation=None, weight_averaging=0.5, callbacks=[recorder], random_state=0, verbose=0,
    )  # fmt: skip
    encoder.fit(brain, speech)
    mean = recorder.steps[0]
    for n, weights in enumerate(recorder.steps, 1):
        decay = min(0.5, (1 + n) / (10 + n))
        mean = decay * mean + (1 - decay) * weights
    found = encoder.net_.module_.last.weight.detach()
    torch.testing.assert_close(found, mean)
    assert not torch.allclose(found, recorder.steps[-1], atol=1e-4)

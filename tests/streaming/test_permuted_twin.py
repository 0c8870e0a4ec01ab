"""Tests of the twin with permuted channels."""

import numpy as np
import pytest

from sk_b2s import StreamingDecoder
from sk_b2s.streaming._permuted_twin import PermutedTwin

SFREQ, TMAX = 64, 3.0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_permuted_twin_has_all_parameters(fitted, stream):
    heard, candidates, data, onset = stream
    options = {
        "history": 25.0,
        "max_gap": 0.5,
        "max_age": 5.0,
        "evidence": "leaky",
        "time_constant": 3.0,
        "temperature": 2.0,
    }
    decoder = StreamingDecoder(
        fitted(), candidates, SFREQ, TMAX, step=0.25, subject=heard["subject"], **options
    )
    twin = PermutedTwin(decoder, onset)
    assert {name: getattr(twin._decoder, name) for name in options} == options
    times = np.arange(20 * SFREQ) / SFREQ
    received = (times < 12.0) | (times > 12.3)  # a gap that is interpolated
    predictions = decoder.start(onset).push(data[:, : len(times)][:, received], times[received])
    twin.push(data[:, : len(times)][:, received], times[received])
    assert len(predictions) > 10
    assert len(twin.best) == len(predictions)

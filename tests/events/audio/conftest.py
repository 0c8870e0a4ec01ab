"""Fixtures of the tests of audio files."""

import warnings

import pytest
import soundfile
from helpers.audio_files import RATE

from sk_b2s.datasets.simulated._speech import SPEECH


@pytest.fixture(scope="session")
def talks():
    """Forty seconds of three stories, by two voices."""
    names = ["alice-01.ogg", "alice-02.ogg", "alice-03.ogg"]
    return [soundfile.read(SPEECH / name, dtype="float32", frames=40 * RATE)[0] for name in names]


@pytest.fixture
def silent_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield

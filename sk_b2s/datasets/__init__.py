"""Studies of listening to speech, one per module, and one that is simulated."""

from sk_b2s.datasets.artefacts import ARTEFACTS
from sk_b2s.datasets.brennan2019 import load_brennan2019
from sk_b2s.datasets.broderick2019 import load_broderick2019
from sk_b2s.datasets.fetching import (
    fetch_brennan2019,
    fetch_broderick2019,
    fetch_gwilliams2022,
    fetch_schoffelen2019,
)
from sk_b2s.datasets.gwilliams2022 import load_gwilliams2022
from sk_b2s.datasets.oracle import oracle_scores
from sk_b2s.datasets.schoffelen2019 import load_schoffelen2019
from sk_b2s.datasets.simulated import make_listening
from sk_b2s.datasets.spoken import load_speech
from sk_b2s.datasets.truth import ListenerTruth, RecordingTruth

__all__ = [
    "ARTEFACTS",
    "ListenerTruth",
    "RecordingTruth",
    "fetch_brennan2019",
    "fetch_broderick2019",
    "fetch_gwilliams2022",
    "fetch_schoffelen2019",
    "load_brennan2019",
    "load_broderick2019",
    "load_gwilliams2022",
    "load_schoffelen2019",
    "load_speech",
    "make_listening",
    "oracle_scores",
]

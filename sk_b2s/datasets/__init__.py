"""Studies of listening to speech, one per module, and one that is simulated."""

from sk_b2s.datasets.artefacts import ARTEFACTS
from sk_b2s.datasets.oracle import oracle_scores
from sk_b2s.datasets.simulated import make_listening
from sk_b2s.datasets.spoken import load_speech
from sk_b2s.datasets.truth import ListenerTruth, RecordingTruth

__all__ = ["ARTEFACTS", "ListenerTruth", "RecordingTruth", "load_speech", "make_listening", "oracle_scores"]

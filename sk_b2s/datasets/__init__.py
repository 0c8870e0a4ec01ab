"""Studies of listening to speech, one per module, and one that is simulated."""

from sk_b2s.datasets.listener import ListenerTruth
from sk_b2s.datasets.simulated import make_listening
from sk_b2s.datasets.spoken import load_speech

__all__ = ["ListenerTruth", "load_speech", "make_listening"]

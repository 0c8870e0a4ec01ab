"""Reading heard speech from the brain, the scikit-learn way."""

from sk_b2s.events import check_events, make_segments
from sk_b2s.model_selection import LeaveOneSubjectOut, StimulusKFold, StimulusLeakWarning
from sk_b2s.stimuli import SoundArray, SoundIntervals

__version__ = "0.1.0"

__all__ = [
    "LeaveOneSubjectOut",
    "SoundArray",
    "SoundIntervals",
    "StimulusKFold",
    "StimulusLeakWarning",
    "check_events",
    "make_segments",
]

"""Events tables with words of known times."""

import numpy as np
import pandas as pd

from sk_b2s import StimulusArray

STORY, OTHER = (
    StimulusArray(np.random.default_rng(seed).standard_normal((64 * 30, 1)), sfreq=64, name=name)
    for seed, name in enumerate("ab")
)


def make_two_subjects():
    """Make events of two subjects, two stimuli in opposite order and words."""
    rng = np.random.default_rng(0)
    sounds = {name: StimulusArray(rng.standard_normal(6400), 64, name) for name in "ab"}  # 100 s each
    rows = []
    for subject, order in [("1", "ab"), ("2", "ba")]:
        for place, name in enumerate(order):
            begin = 3.0 + 110 * place
            recording = {"subject": subject, "recording": f"{subject}.fif", "recording_duration": 240.0}
            rows.append(
                {**recording, "type": "sound", "onset": begin, "duration": 0.0, "sound": sounds[name]}
            )
            for i in range(99):
                rows.append({
                    **recording, "type": "word", "onset": begin + i + 0.2, "duration": 0.9, "text": f"{name}{i}",
                    "sequence": f"{name}/{i // 6}", "word_index": i % 6, "speaker": "s",
                })  # fmt: skip
    return pd.DataFrame(rows)


def make_two_stimuli(streams=("single",)):
    """Make events of two subjects and two stimuli with a word per second."""
    rows = []
    for subject in ("01", "02"):
        common = {"subject": subject, "recording": f"{subject}.fif", "recording_duration": 90.0}
        for onset, sound in ((5.0, STORY), (45.0, OTHER)):
            for stream in streams:
                rows.append({**common, "type": "sound", "onset": onset, "duration": 30.0, "sound": sound,
                             "stream": stream})  # fmt: skip
            for second in range(1, 27):
                rows.append({**common, "type": "word", "onset": onset + second, "duration": 0.4, "sound": sound,
                             "text": f"w{second}", "stream": streams[0]})  # fmt: skip
    return pd.DataFrame(rows)

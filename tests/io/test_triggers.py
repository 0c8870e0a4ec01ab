"""Test checks of triggers and onsets."""

import mne
import numpy as np
import pandas as pd
import pytest
import soundfile

from sk_b2s import events_from_raw

RNG = np.random.default_rng(0)


def recording(folder, marks):
    """Save two minutes with trigger codes, and an audio file of 100 s."""
    data = np.zeros((2, 120 * 100))
    data[0] = 1e-6 * RNG.standard_normal(data.shape[1])
    for time, code in marks:
        data[1, round(time * 100) : round(time * 100) + 3] = code
    raw = mne.io.RawArray(data, mne.create_info(["Cz", "STI"], 100, ["eeg", "stim"]), verbose="ERROR")
    raw.save(folder / "p_raw.fif", verbose="ERROR")
    soundfile.write(folder / "s.wav", 0.1 * RNG.standard_normal(100_000), 1000)
    return folder / "p_raw.fif", str(folder / "s.wav")


MARKS = [(8.0 + second, 99) for second in range(10, 100, 10)]


@pytest.mark.filterwarnings("ignore:.*such triggers are not where")
def test_events_from_raw_warns_of_wrong_first_trigger(tmp_path):
    path, sound = recording(tmp_path, [(8.0, 1), *((time + 0.07, code) for time, code in MARKS)])
    with pytest.warns(UserWarning, match=r"first trigger of 1 of 1 sounds .* 's.wav' by \+0\.070 s"):
        events = events_from_raw(path, {1: sound}, sync={99: 10.0}, textgrid=False)
    assert events["onset"].iloc[0] == pytest.approx(8.07, abs=0.005)


@pytest.mark.parametrize(
    ("sounds", "sync", "match"),
    [
        ({"1": None}, None, "write 1 without quotes"),
        (
            {1: None},
            {99: 10_000.0},
            "None of its times lies within a sound, of which the longest ends at 100.000 s",
        ),
        ({1: None}, {99: [10_000.0, 20_000.0]}, "Are times in milliseconds"),
        ({1: None}, {99: []}, "None of its times lies"),
        (
            {"onset": ["8,0"], "sound": None},
            None,
            "sounds row 0, column 'onset': expected seconds .* got '8,0'",
        ),
        ({"onset": [8000.0], "sound": None}, None, "Are times in samples of 100 Hz"),
    ],
)
def test_events_from_raw_suggests_other_units(tmp_path, sounds, sync, match):
    path, sound = recording(tmp_path, [(8.0, 1), *MARKS])
    sounds = {key: sound if value is None else value for key, value in sounds.items()}
    sounds = pd.DataFrame(sounds) if "onset" in sounds else sounds
    with pytest.raises(ValueError, match=match):
        events_from_raw(path, sounds, sync=sync, textgrid=False)

"""Candidates of a stream that begin at different times."""

import numpy as np
import pytest
import soundfile

from sk_b2s import StimulusArray, StreamingDecoder
from sk_b2s.streaming._candidates import StreamingCandidateSounds

SFREQ, TMAX = 64, 3.0


def test_candidates_with_delay_equal_shifted_onset(fitted, stream):
    heard, candidates, data, onset = stream
    data = data[:, : 30 * SFREQ]
    arguments = {"sfreq": SFREQ, "duration": TMAX, "step": 0.25, "subject": heard["subject"]}
    pipeline = fitted(calibration=None)
    onset = round(onset * 32) / 32
    plain = StreamingDecoder(pipeline, candidates, **arguments).start(onset).push(data)
    early = {name: (sound, 2.0) for name, sound in candidates.items()}
    delayed = StreamingDecoder(pipeline, early, **arguments).start(onset - 2).push(data)
    np.testing.assert_allclose(delayed["heard"], plain["heard"], atol=1e-9)
    np.testing.assert_allclose(delayed["time"], plain["time"])
    np.testing.assert_allclose(delayed["stimulus_time"], plain["stimulus_time"] + 2)


def test_candidates_predict_only_while_all_play(fitted, stream):
    heard, candidates, data, onset = stream
    sounds = {
        "heard": candidates["heard"],
        "later": (candidates["heard"], -6.0),
        "other": (candidates["other"], 8),
    }
    decoder = StreamingDecoder(
        fitted("likelihood"), sounds, SFREQ, TMAX, 0.25, subject=heard["subject"], temperature=20.0
    )
    table = decoder.start(onset).push(data[:, : 26 * SFREQ])
    assert table["stimulus_time"].iloc[0] == pytest.approx(8 + TMAX, abs=0.3)
    assert table["best"].iloc[-1] == "heard"


def test_candidates_find_common_time(stream):
    heard, candidates, _, _ = stream
    common = StreamingCandidateSounds({"a": (heard["sound"], 1.5), "b": (heard["sound"], -2)}, TMAX)
    assert common.start == 1.5
    rows = common.make_rows([0.0, 4.0])
    assert rows["sound_onset"].tolist() == [-1.5, 2.0, 2.5, 6.0]
    first, last = common.find_steps(0.0, 32, 8)
    assert first == 6
    assert (last - 1) * 0.25 + TMAX <= common.stop < last * 0.25 + TMAX


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda sound: (sound,), r"must be a sound or \(sound, delay\)"),
        (lambda sound: (sound, np.nan), r"must be a sound or \(sound, delay\)"),
        (lambda sound: (sound, "1"), r"must be a sound or \(sound, delay\)"),
        (lambda sound: (sound, 1e4), "The last begins 10000.000 s and the first ends .* s after"),
    ],
    ids=["short", "nan", "text", "apart"],
)
def test_candidates_check_delays(stream, value, message):
    sound = stream[0]["sound"]
    with pytest.raises(ValueError, match=message):
        StreamingCandidateSounds({"a": sound, "b": value(sound)}, TMAX)


@pytest.mark.parametrize("onset", [1.0, 1.02], ids=["grid", "between"])
def test_candidates_of_one_window_have_a_prediction(fitted, stream, tmp_path, onset):
    heard, candidates, data, _ = stream
    sounds = {}
    for name, sound in candidates.items():
        rate = soundfile.info(sound).samplerate
        soundfile.write(tmp_path / f"{name}.wav", soundfile.read(sound, stop=int(TMAX * rate))[0], rate)
        sounds[name] = tmp_path / f"{name}.wav"
    arguments = fitted(calibration=None), sounds, SFREQ, TMAX, 0.25
    decoder = StreamingDecoder(*arguments, subject=heard["subject"]).start(onset)
    assert len(decoder.push(data[:, : 6 * SFREQ])) == 1


def test_candidates_without_a_step_raise():
    sounds = {"a": StimulusArray(np.zeros(320), 100), "b": (StimulusArray(np.zeros(320), 100), 0.1)}
    with pytest.raises(ValueError, match="play for 3.100 s, and no window of 3 s at a step of 0.25 s"):
        StreamingCandidateSounds(sounds, TMAX).find_steps(0.0, 32, 8)

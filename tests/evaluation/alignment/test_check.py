"""Check of the alignment between recordings and stimulus onsets."""

import re

import matplotlib
import mne
import numpy as np
import pandas as pd
import pytest
from scipy.signal import butter, sosfiltfilt

from sk_b2s import StimulusArray, check_alignment
from sk_b2s.datasets import make_listening
from sk_b2s.evaluation._alignment._notes import compare_alignment_notes
from sk_b2s.metrics._lag_curve import compute_lag_curve, find_lag_curve_offset, whiten_for_lag_curve
from sk_b2s.plotting import plot_alignment

SFREQ = 64


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return str(tmp_path_factory.mktemp("memory"))


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """Two subjects, three minutes, high signal-to-noise ratio."""
    root = tmp_path_factory.mktemp("listening")
    return make_listening(
        2, 3, modality="eeg", n_channels=32, snr_db=-8, artifacts=["blinks"], sfreq=64, root=root
    )


def sounds_of(events):
    return events[events["type"] == "sound"].copy()


# --- what is planted is found ----------------------------------------------------------------------


def test_check_alignment_confirms_alignment(events, memory):
    found = check_alignment(sounds_of(events), minutes=10, memory=memory)
    assert found["verdict"].tolist() == ["aligned", "aligned"]
    assert (found["offset"].abs() < 0.07).all()
    assert (found["p"] < 1e-4).all()
    assert found["note"].tolist() == ["", ""]


def test_check_alignment_uses_drift_of_table(tmp_path):
    """The recording runs 1500 ppm slower, 0.36 s after four minutes."""
    brain, sound = planted([0.12], strength=1.0)
    at = np.arange(len(sound))
    late = np.stack([np.interp(at / (1 + 1500e-6), at, channel) for channel in brain.T], axis=1)
    events = recorded(tmp_path, late, sound)
    found = check_alignment(events.assign(drift_ppm=1500.0), minutes=1, max_offset=0.5)
    assert found["verdict"].tolist() == ["aligned"] * 5
    assert found.loc[found["part"] > 0, "offset"].abs().max() < 0.05
    unknown = check_alignment(events, minutes=1, max_offset=0.5)
    assert unknown["offset"].iloc[4] > 0.2
    assert "off by +0.3" in unknown["verdict_text"].iloc[4]


@pytest.mark.parametrize("shift", [-0.3, 0.3, 1.0])
def test_check_alignment_finds_shift(events, memory, shift):
    moved = sounds_of(events)
    moved["onset"] -= shift  # the table is early, so the response is late
    found = check_alignment(moved, minutes=10, memory=memory)
    np.testing.assert_allclose(found["offset"], shift, atol=0.07)
    for row in found.itertuples():
        assert row.verdict_text == f"off by {row.offset:+.2f} s"
        assert ("later" if shift > 0 else "earlier") in row.note


def test_check_alignment_rejects_wrong_stimulus(events, memory):
    """Subject 02 has another stimulus in the table."""
    wrong = sounds_of(events)
    mine = wrong["subject"] == "02"
    backwards = {}
    for path in wrong["sound"].unique():
        length = wrong.loc[wrong["sound"] == path, "duration"].iloc[0]
        rng = np.random.default_rng(0)
        course = np.abs(np.convolve(rng.standard_normal(int(50 * length)), np.ones(8) / 8, "same"))[:, None]
        backwards[path] = StimulusArray(course, 50, name="another")
    wrong["sound"] = wrong["sound"].astype(object)
    wrong.loc[mine, "sound"] = wrong.loc[mine, "sound"].map(backwards)
    found = check_alignment(wrong, minutes=10, memory=memory).set_index("subject")
    assert found.loc["01", "verdict"] == "aligned"
    assert found.loc["02", "verdict"] == "cannot_tell"
    assert np.isnan(found.loc["02", "offset"])


# --- arrays with a truth of their own ----------------------------------------------------------------


def planted(delays, seed=0, minutes=4, n_channels=8, strength=0.3):
    """Simulate smooth noise and recordings that repeat it with delays."""
    rng = np.random.default_rng(seed)
    n_times = int(60 * minutes * SFREQ)
    sos = butter(2, [1, 12], "band", fs=SFREQ, output="sos")
    sound = sosfiltfilt(sos, rng.standard_normal(n_times))
    brain = sosfiltfilt(sos, rng.standard_normal((n_times, n_channels)), axis=0)
    for delay in delays:
        copy = np.roll(sound, round(delay * SFREQ))
        brain += strength * np.outer(copy, rng.standard_normal(n_channels))
    return brain, sound


def test_lag_curve_equals_ridge_regression():
    """Compare with the weights of the lagged matrix, for one channel."""
    brain, sound = planted([0.15], n_channels=1, strength=2, minutes=2)
    lags, power = compute_lag_curve(brain, sound, SFREQ)
    near = np.abs(lags) <= 0.5
    lagged = np.stack([np.roll(sound, k) for k in np.round(lags[near] * SFREQ).astype(int)], axis=1)
    gram = lagged.T @ lagged / len(sound)
    inside = np.fft.rfftfreq(len(sound), 1 / SFREQ)
    band = ((inside > 1) & (inside < 12)).mean()
    ridge = np.var(sound) / band * np.eye(len(gram))
    weights = np.linalg.solve(gram + ridge, lagged.T @ brain[:, 0] / len(sound))
    assert np.corrcoef(weights**2, power[near])[0, 1] > 0.98
    assert lags[np.argmax(power)] == pytest.approx(0.15, abs=1 / SFREQ)


def test_lag_curve_shifts_with_stimulus():
    brain, sound = planted([0.12])
    lags, power = compute_lag_curve(brain, sound, SFREQ)
    _, moved = compute_lag_curve(brain, np.roll(sound, 19), SFREQ)
    np.testing.assert_allclose(np.roll(moved, 19), power, rtol=1e-2, atol=1e-3 * power.max())


def test_lag_curve_is_invariant_to_mixing():
    brain, sound = planted([0.12])
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0]
    _, power = compute_lag_curve(whiten_for_lag_curve(brain), sound, SFREQ)
    _, scaled = compute_lag_curve(whiten_for_lag_curve(1e-13 * brain), sound, SFREQ)
    np.testing.assert_allclose(scaled, power, atol=1e-4 * power.max())
    _, turned = compute_lag_curve(whiten_for_lag_curve(brain) @ turn, sound, SFREQ)
    np.testing.assert_allclose(turned, power, atol=1e-4 * power.max())
    white = whiten_for_lag_curve(np.c_[brain, np.zeros(len(brain))])
    assert white.shape == brain.shape
    np.testing.assert_allclose(np.cov(white.T), np.eye(8), atol=0.05)


@pytest.mark.parametrize("delay", [-0.5, 0.0, 0.12, 0.6])
def test_response_offset_subtracts_latency(delay):
    brain, sound = planted([delay])
    found = find_lag_curve_offset(*compute_lag_curve(brain, sound, SFREQ), max_offset=1.5)
    assert found["p"] < 1e-6
    assert found["offset"] == pytest.approx(delay - 0.12, abs=0.05)


def test_response_offset_false_positive_rate():
    """The p values of sixty recordings of noise are uniform."""
    p = [
        find_lag_curve_offset(*compute_lag_curve(*planted([], seed=seed), SFREQ), max_offset=1.5)["p"]
        for seed in range(60)
    ]
    assert np.mean(np.array(p) <= 0.01) <= 0.05
    assert 0.3 < np.mean(p) < 0.7


# --- traps -------------------------------------------------------------------------------------------


def recorded(tmp_path, brain, sound):
    """An events table of arrays, as a file."""
    info = mne.create_info(brain.shape[1], SFREQ, "eeg")
    path = tmp_path / "x_raw.fif"
    mne.io.RawArray(1e-5 * brain.T, info, verbose="ERROR").save(path, overwrite=True, verbose="ERROR")
    array = StimulusArray(sound[:, None] - sound.min(), SFREQ, name="noise")
    return pd.DataFrame({
        "subject": ["01"], "recording": str(path), "type": "sound", "onset": 0.0, "duration": len(sound) / SFREQ,
        "sound": [array],
    })  # fmt: skip


def test_check_alignment_finds_artifact(tmp_path):
    found = check_alignment(recorded(tmp_path, *planted([0.0])), minutes=10)
    assert found["verdict"].tolist() == ["cannot_tell"]
    assert "isolated peak at 0 ms: an artifact of earphones" in found["note"][0]


def test_check_alignment_finds_artifact_and_response(tmp_path):
    found = check_alignment(recorded(tmp_path, *planted([0.0, 0.14, 0.17])), minutes=10)
    assert found["verdict"].tolist() == ["aligned"]
    assert found["note"][0].startswith("isolated peak at 0 ms")


def test_check_alignment_finds_simulated_earphones(tmp_path):
    events = make_listening(
        1, 3, modality="eeg", n_channels=32, snr_db=-np.inf, artifacts=["earphones"], sfreq=64, root=tmp_path
    )
    found = check_alignment(sounds_of(events), minutes=10)
    assert found["verdict"].tolist() == ["cannot_tell"]
    assert "earphones" in found["note"][0]


def test_check_alignment_notes_early_response(tmp_path):
    found = check_alignment(recorded(tmp_path, *planted([0.12, 0.12, -0.2])), minutes=10)
    assert found["verdict"].tolist() == ["aligned"]
    assert "before the stimulus" in found["note"][0]


def test_check_alignment_needs_enough_stimulus(tmp_path):
    brain, sound = planted([0.12], strength=3)
    events = recorded(tmp_path, brain, sound).assign(duration=20.0)
    found = check_alignment(events, minutes=1)
    assert set(found["verdict"]) == {"cannot_tell"}
    assert found["note"].tolist() == ["only 20 s of stimulus"] * 2 + ["only 0 s of stimulus"] * 3
    assert {len(curve) for curve in found["curve"]} == {len(found.attrs["lags"])}


# --- drifts, edges, other recordings -----------------------------------------------------------------


def test_check_alignment_notes_drift(tmp_path):
    """The recording runs 2000 ppm slower, 0.48 s after four minutes."""
    brain, sound = planted([0.12], strength=1.0)
    at = np.arange(len(sound))
    late = np.stack([np.interp(at / (1 + 2000e-6), at, channel) for channel in brain.T], axis=1)
    found = check_alignment(recorded(tmp_path, late, sound), minutes=1, max_offset=0.8)
    note, parts = found["note"][0], found.loc[found["part"] > 0, "offset"]
    assert note.count("drifts by +") == 1
    assert float(note.split("drifts by +")[1].split(" ppm")[0]) == pytest.approx(2000, abs=150)
    assert "(+0.12 s per minute)" in note
    assert parts.min() <= found["offset"][0] <= parts.max()


def test_check_alignment_notes_different_parts(tmp_path):
    (brain, sound), (late, _) = planted([0.12]), planted([0.52])
    brain[len(brain) // 2 :] = late[len(brain) // 2 :]
    found = check_alignment(recorded(tmp_path, brain, sound), minutes=2, max_offset=0.8)
    assert "offsets of its parts differ, from " in found["note"][0]
    assert re.search(r"to \+0\.(39|4\d)", found["note"][0])


@pytest.mark.parametrize("late", [0.9, 20.0, -15.0])
def test_check_alignment_searches_beyond_max_offset(tmp_path, late):
    found = check_alignment(
        recorded(tmp_path, *planted([0.12 + late], strength=1.0)), minutes=10, max_offset=0.8
    )
    assert found["offset"][0] == pytest.approx(late, abs=0.05)
    assert found["verdict_text"][0] == f"off by {found['offset'][0]:+.2f} s"
    assert "beyond max_offset, ±0.8 s" in found["note"][0]


def test_response_offset_interpolates(tmp_path):
    """A third of a sample is 5 ms."""
    brain, sound = planted([0.12], strength=2.0)
    at = np.arange(len(sound))
    third = np.stack([np.interp(at - 1 / 3, at, channel) for channel in brain.T], axis=1)
    first, moved = (
        find_lag_curve_offset(*compute_lag_curve(b, sound, SFREQ), max_offset=1.0) for b in (brain, third)
    )
    assert moved["offset"] - first["offset"] == pytest.approx(1 / 3 / SFREQ, abs=2e-3)
    assert first["offset_error"] < 5e-3


def of_offsets(offsets, subjects, errors=0.001):
    return pd.DataFrame({
        "study": "", "subject": subjects, "session": [str(i) for i in range(len(offsets))], "recording": "a.fif",
        "part": 0, "verdict": "aligned", "verdict_text": "aligned", "offset": offsets, "offset_error": errors, "p": 0.0, "note": "", "curve": 0,
    })  # fmt: skip


def test_compare_notes_outlying_subjects():
    usual = [-0.014, 0.017, 0.006, 0.021, -0.034, -0.018, 0.004, -0.017]  # of eight simulated subjects
    subjects = [f"{i:02d}" for i in range(1, 9)]
    assert compare_alignment_notes(of_offsets(usual, subjects))["note"].eq("").all()
    late = np.array(usual) + 0.06 * (np.arange(8) < 2)
    note = compare_alignment_notes(of_offsets(late, subjects))["note"]
    assert (note != "").tolist() == [True] * 2 + [False] * 6
    assert note[1].startswith("subject '02' is +0.07")
    assert compare_alignment_notes(of_offsets(late, subjects, errors=0.02))["note"].eq("").all(), (
        "what is unsure is not named"
    )


def test_compare_notes_outlying_sessions():
    usual = np.array([-0.014, -0.015, -0.014, -0.018])
    assert compare_alignment_notes(of_offsets(usual, "01"))["note"].eq("").all()
    note = compare_alignment_notes(of_offsets(usual + 0.024 * (np.arange(4) == 2), "01"))["note"]
    assert note[2].startswith("recording '2' of subject '01' is +0.02")
    assert (note != "").sum() == 1


def test_check_alignment_finds_shift_despite_artifact(tmp_path):
    brain, sound = planted([0.0, 0.14, 0.17], minutes=8, strength=0.7)
    events = recorded(tmp_path, brain, sound)
    pieces = np.split(sound[:, None] - sound.min(), 4)
    sounds = [StimulusArray(piece, SFREQ, name=f"s{i}") for i, piece in enumerate(pieces)]
    onsets = [0.0, 120.2, 240.0, 360.0]
    rows = [
        events.assign(onset=at, duration=119.5, sound=[one]) for at, one in zip(onsets, sounds, strict=True)
    ]
    note = check_alignment(pd.concat(rows, ignore_index=True), minutes=10, max_offset=0.8)["note"][0]
    assert "isolated peak at 0 ms" in note
    assert "'s1' is -0.2" in note or "'s1' is -0.1" in note


# --- tables, figures, errors --------------------------------------------------------------------------


def test_check_alignment_locates_shift(tmp_path):
    (brain, sound), (late, _) = planted([0.12]), planted([0.52])
    brain[len(brain) // 2 :] = late[len(brain) // 2 :]
    found = check_alignment(recorded(tmp_path, brain, sound), minutes=2, max_offset=0.8).set_index("part")
    assert found.loc[1, "offset"] == pytest.approx(0, abs=0.05)
    assert found.loc[2, "offset"] == pytest.approx(0.4, abs=0.05)
    assert found.loc[[1, 2], ["start", "stop"]].to_numpy().tolist() == [[0, 120], [120, 240]]


@pytest.fixture
def eight_sounds(tmp_path):
    """One recording of eight sounds of a minute each."""
    brain, sound = planted([0.12], minutes=8, strength=0.7)
    events = recorded(tmp_path, brain, sound)
    pieces = np.split(sound[:, None] - sound.min(), 8)
    rows = [events.assign(onset=60.0 * i, duration=60.0, sound=[StimulusArray(piece, SFREQ, name=f"s{i}")])
            for i, piece in enumerate(pieces)]  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def test_check_alignment_notes_shifted_stimulus(eight_sounds):
    found = check_alignment(eight_sounds, minutes=5, max_offset=0.8)
    assert found["verdict"].tolist() == ["aligned"] * 3
    assert found["note"].tolist() == [""] * 3
    early = eight_sounds.assign(onset=eight_sounds["onset"] - 0.4 * (eight_sounds.index == 2), duration=59.5)
    early.loc[[4, 6], "sound"] = early.loc[[6, 4], "sound"].to_numpy()
    found = check_alignment(early.drop(index=6), minutes=5, max_offset=0.8)
    assert found["verdict"].tolist() == ["aligned"] * 3, "most of each part is right"
    note = found["note"][0]
    assert note.startswith("'s2' is +0.")
    assert float(note[8:13]) == pytest.approx(0.4, abs=0.06)
    assert "no response to 's6', but to 6 of 7 stimuli" in note
    by_sound = check_alignment(early.drop(index=6), minutes=None, max_offset=0.8).set_index("sound")
    assert by_sound.index.tolist() == ["", "s0", "s1", "s2", "s3", "s6", "s5", "s7"]
    assert by_sound.loc["s2", "offset"] == pytest.approx(0.4, abs=0.06)
    assert by_sound["verdict"].tolist() == [
        "aligned", "aligned", "aligned", "off", "aligned", "cannot_tell", "aligned", "aligned"
    ]  # fmt: skip


def test_check_alignment_ignores_short_stimulus(eight_sounds):
    """Half a minute has less evidence than a minute."""
    table = eight_sounds.assign(duration=59.5)
    table.loc[4, ["sound", "duration"]] = [table["sound"][6], 31.0]
    found = check_alignment(table.drop(index=6), minutes=5, max_offset=0.8)
    assert found["note"][0] == ""
    table.loc[4, "duration"] = 59.5
    assert "no response to 's6'" in check_alignment(table.drop(index=6), minutes=5, max_offset=0.8)["note"][0]


def test_check_alignment_keeps_unreadable_recording(tmp_path):
    good = recorded(tmp_path, *planted([0.12]))
    (tmp_path / "broken_raw.fif").write_bytes(b"no recording")
    broken = good.assign(recording=str(tmp_path / "broken_raw.fif"), subject="02", recording_duration=240.0)
    found = check_alignment(pd.concat([good, broken], ignore_index=True), minutes=10).set_index("subject")
    assert found["verdict"].to_dict() == {"01": "aligned", "02": "cannot_tell"}
    assert "cannot be checked: recording" in found.loc["02", "note"]
    with pytest.raises(ValueError, match="cannot be opened"):
        check_alignment(broken, minutes=10)


def test_compare_notes_missing_response(tmp_path):
    tables = []
    for i, delays in enumerate([[0.12], [0.12], []]):
        folder = tmp_path / str(i)
        folder.mkdir()
        tables.append(recorded(folder, *planted(delays, seed=i)).assign(subject=f"{i:02d}"))
    found = check_alignment(pd.concat(tables, ignore_index=True), minutes=10)
    assert found["verdict"].tolist() == ["aligned", "aligned", "cannot_tell"]
    assert (
        found["note"].tolist()[2]
        == "no response, but 2 of 3 recordings have one: check the stimulus and its onset"
    )


def test_plot_alignment_shows_all_recordings(tmp_path, events, memory):
    matplotlib.use("agg")
    found = check_alignment(sounds_of(events), minutes=1, max_offset=0.5, memory=memory)
    ax = plot_alignment(found)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert sorted(names) == ["01: aligned", "02: aligned"]
    assert ax.get_title() == "2 of 2 recordings aligned"
    one = found[found["subject"] == "01"]
    ax = plot_alignment(one)
    assert len(ax.get_yticks()) == len(one) > 2
    with pytest.raises(ValueError, match="must be the table returned by check_alignment"):
        plot_alignment(pd.DataFrame({"part": [0]}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minutes": 0}, "minutes must be a number above 0. Got 0"),
        ({"level": 1.0}, "level must be a number above 0 and below 1. Got 1.0"),
        ({"l_freq": 20.0}, "l_freq=20.0 must be below h_freq"),
        ({"stream": "ignored"}, "no row of type 'sound' in stream 'ignored'"),
        ({"minutes": 1.0, "max_offset": 10}, "max_offset=10 s leaves no shifts for the null"),
    ],
)
def test_check_alignment_refuses_invalid_parameters(events, memory, options, message):
    with pytest.raises(ValueError, match=message):
        check_alignment(sounds_of(events), memory=memory, **options)

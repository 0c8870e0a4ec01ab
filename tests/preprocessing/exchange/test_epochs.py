"""Tests of windows as Epochs of MNE, and of montages of windows."""

import mne
import numpy as np
import pandas as pd
import pytest

from sk_b2s import Epocher, Windows
from sk_b2s.datasets import make_listening
from sk_b2s.io._sensors import project_sensors
from sk_b2s.preprocessing import make_segments

DATA = np.random.default_rng(0).standard_normal((4, 3, 10)).astype(np.float32)
NAMES = ["Cz", "Pz", "Oz"]


def make_windows(**changes):
    return Windows.from_array(DATA, **{"sfreq": 50, "ch_names": NAMES, "montage": "biosemi64", **changes})


def test_to_epochs_keeps_samples_positions_and_rows():
    rows = pd.DataFrame({"subject": list("aabb"), "onset": [0.0, 1.0, 0.0, 1.0]}, index=[3, 5, 7, 9])
    windows = make_windows(rows=rows)
    epochs = windows[1:].to_epochs(tmin=-0.1)
    np.testing.assert_allclose(epochs.get_data(), DATA[1:])
    np.testing.assert_allclose(project_sensors(epochs.info, NAMES), windows.positions[0], atol=1e-9)
    assert (epochs.ch_names, epochs.info["sfreq"], epochs.times[0]) == (NAMES, 50.0, -0.1)
    assert len(epochs["subject == 'b'"]) == 2
    again = Epocher().fit_transform(epochs)
    np.testing.assert_allclose(again.positions, windows.positions, atol=1e-9)
    assert again.rows["onset"].tolist() == [1.0, 0.0, 1.0]


def test_to_epochs_leaves_unknown_positions():
    positions = np.array([[0.5, 0.5], [np.nan, np.nan], [0.5, 0.2]])
    epochs = make_windows(montage=None, positions=positions).to_epochs()
    np.testing.assert_allclose(project_sensors(epochs.info, NAMES), positions, atol=1e-9)
    assert make_windows(montage=None, ch_names=None).to_epochs().ch_names == ["0", "1", "2"]


def test_to_epochs_marks_masked_channels_as_bad():
    info = mne.create_info(NAMES, 50.0, "eeg")
    info["bads"] = ["Pz"]
    epochs = mne.EpochsArray(DATA, info, verbose="ERROR")
    assert Epocher().fit_transform(epochs).to_epochs().info["bads"] == ["Pz"]
    assert make_windows().to_epochs().info["bads"] == []


def test_to_epochs_finds_positions_of_all_recordings():
    layouts = np.repeat(make_windows().positions, 2, axis=0)
    layouts[0, 1] = np.nan  # bad in the first recording
    rows = pd.DataFrame({"recording": list("aabb")})
    windows = make_windows(rows=rows)._replace(positions=layouts, layout=[0, 1])
    info = windows.to_epochs().info
    np.testing.assert_allclose(project_sensors(info, NAMES), layouts[1], atol=1e-9)


def test_to_epochs_reads_sensors_of_meg(tmp_path):
    events = make_listening(1, 1, n_channels=16, root=tmp_path)
    X, y = make_segments(events, anchor=5.0)
    windows = Epocher(sfreq=20).fit_transform(X)
    epochs = windows.to_epochs(metadata=X.join(y[["sound_onset"]]))
    assert set(epochs.get_channel_types()) == {"mag"}
    np.testing.assert_allclose(project_sensors(epochs.info, epochs.ch_names), windows.positions[0])
    assert "sound_onset" in epochs.metadata


def test_to_epochs_takes_channels_of_info():
    info = mne.create_info(["a", "b", "c"], 1000.0, "grad")
    epochs = make_windows().to_epochs(info)
    assert (epochs.ch_names, epochs.info["sfreq"]) == (["a", "b", "c"], 50.0)
    assert info["sfreq"] == 1000.0


@pytest.mark.parametrize(
    ("windows", "arguments", "message"),
    [
        ({"sfreq": None}, {}, "requires the sampling rate"),
        ({}, {"info": mne.create_info(2, 50.0)}, "must have the 3 channels of the windows. Got 2"),
        ({}, {"info": mne.create_info(NAMES[::-1], 50.0)}, "order of the windows, .*Cz.* Got .*Oz"),
        ({}, {"metadata": pd.DataFrame({"a": [1]})}, "Got 1 rows for 4 windows"),
    ],
    ids=["rate", "info", "order", "metadata"],
)
def test_to_epochs_names_what_does_not_match(windows, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_windows(**windows).to_epochs(**arguments)


def test_from_array_montage_positions_match_epochs():
    info = mne.create_info(NAMES, 50.0, "eeg")
    epochs = mne.EpochsArray(DATA, info.set_montage("biosemi64"), verbose="ERROR")
    np.testing.assert_allclose(make_windows().positions, Epocher().fit_transform(epochs).positions)
    np.testing.assert_allclose(make_windows(ch_names=["cz", "PZ", "oz"]).positions, make_windows().positions)


def test_from_array_montage_names_unknown_channels():
    with pytest.warns(UserWarning, match="no position for 1 of 3 channels: here"):
        windows = make_windows(ch_names=["Cz", "here", "Oz"])
    assert np.isnan(windows.positions[0]).all(1).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="none of the channels: a, b, c"):
        make_windows(ch_names=list("abc"))
    with pytest.raises(ValueError, match="names of channels must differ. Cz are there more than once"):
        make_windows(ch_names=["Cz", "Pz", "Cz"])
    with pytest.raises(ValueError, match="montage= requires ch_names="):
        make_windows(ch_names=None)


def test_from_trials_takes_montage():
    stimulus = np.arange(200.0)
    response = np.random.default_rng(0).standard_normal((200, 3))
    X, _ = Windows.from_trials([response], [stimulus], 20, ch_names=NAMES, montage="biosemi64")
    np.testing.assert_allclose(X.positions, make_windows().positions)


def test_epocher_refuses_to_filter_windows():
    with pytest.raises(ValueError, match=r"Epocher\(h_freq=8\) applies to recordings"):
        Epocher(sfreq=50, h_freq=8).fit(make_windows())

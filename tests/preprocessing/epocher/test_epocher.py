"""Test windows of recordings against MNE."""

import os
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context

import joblib
import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sk_b2s import Epocher, StimulusArray, Windows, make_segments
from sk_b2s._utils._caching import cached
from sk_b2s.io._raw._processing import resample_in_processing

CHANNELS = ["Fp1", "Fp2", "F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "Oz", "M1"]
DURATION = 1.0
RECORDINGS = {  # name: (rate, channels, bad channels)
    "one": (250.0, CHANNELS, []),
    "two": (200.0, CHANNELS[::-1], ["Fz"]),
    "three": (500.0, [c for c in CHANNELS if c not in ("Cz", "P4")], []),
}


def write_recording(path, sfreq, names, bads=(), seed=0, seconds=30, scale=1e-5):
    rng = np.random.default_rng(seed)
    data = scale * np.cumsum(rng.standard_normal((len(names), int(seconds * sfreq))), axis=1) / np.sqrt(sfreq)
    raw = mne.io.RawArray(data, mne.create_info(list(names), sfreq, "eeg"), verbose="ERROR")
    raw.set_montage("easycap-M1", on_missing="ignore", verbose="ERROR")
    raw.info["bads"] = list(bads)
    raw.save(path, overwrite=True, fmt="double", verbose="ERROR")
    return str(path)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Shuffled rows of three recordings with another index."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = []
    for seed, (name, (sfreq, names, bads)) in enumerate(RECORDINGS.items()):
        path = write_recording(folder / f"{name}_raw.fif", sfreq, names, bads, seed)
        for onset in np.random.default_rng(seed).uniform(1.0, 27.0, 12):
            rows.append({"recording": path, "subject": name, "onset": onset, "duration": DURATION})
    X = pd.DataFrame(rows).assign(heard_start=1.0, heard_stop=28.5)
    return X.sample(frac=1, random_state=0).set_index(np.arange(500, 536))


@pytest.fixture(scope="module")
def expected(table):
    """Cut windows with mne.Epochs, with zeros for missing channels."""

    def cut(sfreq=120.0, lag=0.15, baseline=(0, 0.5)):
        whole = np.zeros((len(table), len(CHANNELS), int(DURATION * sfreq + 1e-6) + 1))
        for path, rows in table.reset_index().groupby("recording"):
            raw = mne.io.read_raw(path, preload=True, verbose="ERROR")
            data = np.zeros((len(CHANNELS), 0))
            low = resample_in_processing(raw.get_data(), raw.info["sfreq"], sfreq)
            data = np.zeros((len(CHANNELS), low.shape[1]))
            for name, channel in zip(raw.ch_names, low, strict=True):
                data[CHANNELS.index(name)] = 0 if name in raw.info["bads"] else channel
            resampled = mne.io.RawArray(data, mne.create_info(CHANNELS, sfreq, "eeg"), verbose="ERROR")
            start = np.round(rows["onset"].to_numpy() * sfreq).astype(int)
            order = np.argsort(start)
            events = np.column_stack([start, 0 * start, 0 * start + 1])[order]
            epochs = mne.Epochs(
                resampled, events, tmin=min(lag, 0), tmax=max(DURATION, 0.5) + max(lag, 0), baseline=baseline,
                preload=True, verbose="ERROR", event_repeated="error",
            )  # fmt: skip
            first = round((lag - epochs.tmin) * sfreq)
            whole[rows.index[order]] = epochs.get_data()[..., first : first + whole.shape[2]]
        return whole

    return cut


def equal(windows, expected, rtol=1e-5):
    np.testing.assert_allclose(np.asarray(windows), expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"lag": 0.0},
        {"lag": 0.3, "baseline": None},
        {"lag": -0.2, "baseline": (0, 0.25)},
        {"baseline": (0.1, 0.4), "sfreq": 100.0},
        {"sfreq": 64.0, "lag": 0.7},
    ],
)
def test_epocher_equals_mne_epochs(table, expected, parameters):
    epocher = Epocher(**{"sfreq": 120.0, **parameters}).fit(table)
    order = [CHANNELS.index(name) for name in epocher.ch_names_]
    windows = epocher.transform(table)
    assert windows.shape[0] == len(table)
    equal(windows, expected(**parameters)[:, order])


def test_baseline_is_before_lag_and_includes_its_stop(tmp_path):
    """A step at 10.5 s affects only the last sample of the baseline."""
    raw = mne.io.RawArray(np.r_[np.zeros(1050), np.ones(1450)][None], mne.create_info(["Cz"], 100.0, "eeg"))
    raw.save(tmp_path / "step_raw.fif", verbose="ERROR")
    X = pd.DataFrame({"recording": [str(tmp_path / "step_raw.fif")], "onset": 10.0, "duration": 2.0})
    window = np.asarray(Epocher(sfreq=100, lag=0.3, baseline=(0, 0.5)).fit_transform(X))[0, 0]
    assert window.shape == (201,)
    mean = 1 / 51
    np.testing.assert_allclose(window, np.r_[np.full(20, -mean), np.full(181, 1 - mean)], rtol=1e-5)


def test_lag_shifts_windows(table):
    plain, late = (np.asarray(Epocher(baseline=None, lag=lag).fit_transform(table)) for lag in (0, 0.25))
    np.testing.assert_array_equal(late[..., :-30], plain[..., 30:])


def test_epocher_uses_the_union_of_channels(table):
    epocher = Epocher(baseline=None).fit(table)
    assert set(epocher.ch_names_) == set(CHANNELS)
    windows = epocher.transform(table)
    assert windows.ch_names == epocher.ch_names_
    for name, (_, names, bads) in RECORDINGS.items():
        mine = np.flatnonzero(table["subject"] == name)
        batch = np.asarray(windows[mine])
        positions = windows.positions[windows.layout[windows.which[mine[0]]]]
        for index, channel in enumerate(epocher.ch_names_):
            absent = channel not in names or channel in bads
            assert (batch[:, index] == 0).all() == absent
            assert np.isnan(positions[index]).all() == (absent or channel == "M1"), "no montage places M1"


def test_picks_select_channels(table):
    windows = Epocher(picks=["Fz", "Oz", "C3"], bads="interpolate").fit_transform(
        table[table["subject"] != "two"]
    )
    assert windows.ch_names == ("Fz", "Oz", "C3")
    assert len(windows.positions) == 1
    with pytest.raises(ValueError, match="'three_raw.fif' does not have"):
        Epocher(picks=["Fz", "Cz"]).fit(table)


# --- the same, whatever way it is read ---------------------------------------------------------------


def test_memory_and_n_jobs_do_not_change_windows(table, tmp_path):
    plain = np.asarray(Epocher().fit_transform(table))
    memory = joblib.Memory(tmp_path / "two", verbose=0)
    for parameters in [
        {"memory": str(tmp_path / "one")},
        {"memory": str(tmp_path / "one")},
        {"memory": tmp_path / "one", "n_jobs": 2},
        {"memory": memory},
        {"n_jobs": 2},
        {"memory": str(tmp_path / "three"), "n_jobs": -1},
    ]:
        windows = Epocher(**parameters).fit_transform(table)
        np.testing.assert_array_equal(np.asarray(windows), plain)


def test_cached_signals_are_memory_mapped(table, tmp_path):
    X = table[table["subject"] == "one"]
    epocher = Epocher(memory=str(tmp_path)).fit(X)
    before = np.asarray(epocher.transform(X))
    windows = epocher.transform(X)
    assert isinstance(windows.signals[0].load(), np.ndarray)
    base = windows.signals[0].load()
    while not isinstance(base, np.memmap):
        base = base.base
    message = pickle.dumps(windows)
    assert len(message) < 10_000
    np.testing.assert_array_equal(np.asarray(pickle.loads(message)), before)
    windows.then(lambda batch, which: batch.fill_(0)).gather()
    np.testing.assert_array_equal(np.asarray(epocher.transform(X)), before, "the cache is never written into")


def _windows_in_a_process(folder, X):
    return np.asarray(Epocher(memory=folder).fit_transform(X))


@pytest.mark.slow
def test_processes_share_one_cache(table, tmp_path):
    plain = np.asarray(Epocher().fit_transform(table))
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    context.set_forkserver_preload(["sk_b2s.preprocessing._epocher._epocher"])  # imported once
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(_windows_in_a_process, str(tmp_path / str(i // 2)), table) for i in range(8)]
        for future in futures:
            np.testing.assert_array_equal(future.result(), plain)


def double(raw):
    return raw.load_data().apply_function(lambda x: 2 * x)


CHANGES = {
    "sfreq": 100.0,
    "picks": ["Fz", "C3", "Oz", "Cz"],
    "montage": "biosemi64",
    "reference": ["M1"],
    "l_freq": 1.0,
    "h_freq": 20.0,
    "notch": [50.0],
    "raw_hook": double,
    "bads": "interpolate",
    "causal": True,
}
BASE = {"l_freq": 2.0, "h_freq": 30.0}


@pytest.fixture
def one(table):
    return table[table["subject"] == "one"]


@pytest.mark.parametrize("name", [*CHANGES, "average", "phase"])
def test_parameters_change_signal_and_cache_key(table, tmp_path, name, monkeypatch):
    """A parameter that is not in the key would return wrong signals."""
    monkeypatch.setattr("sk_b2s.preprocessing._epocher._epocher.GAP", 99.0)  # tails are tested elsewhere
    change = {"average": {"reference": "average"}, "phase": {"phase": "minimum"}}.get(name) or {
        name: CHANGES[name]
    }
    memory = {"memory": str(tmp_path)}
    one = table[table["subject"] == ("two" if name == "bads" else "one")]
    plain = Epocher(**BASE, **memory).fit_transform(one)
    before = np.asarray(plain)
    changed = Epocher(**{**BASE, **change}, **memory).fit_transform(one)
    after = np.asarray(changed)
    fresh = Epocher(**{**BASE, **change}).fit_transform(one)
    np.testing.assert_array_equal(np.asarray(fresh), after)
    if name == "montage":
        assert not np.array_equal(changed.positions, plain.positions, equal_nan=True)
    else:
        assert after.shape != before.shape or not np.allclose(after, before, rtol=1e-3, atol=0)
    np.testing.assert_array_equal(np.asarray(Epocher(**BASE, **memory).fit_transform(one)), before)


def test_causal_windows_ignore_later_samples(tmp_path):
    """The windows of a file that ends right after them are the same."""
    rows = pd.DataFrame({"recording": str(tmp_path / "r_raw.fif"), "onset": [2.0, 5.65], "duration": 2.0})
    windows = []
    for seconds in (20, 8):
        data = np.random.default_rng(0).normal(scale=1e-5, size=(3, 20 * 250))[:, : seconds * 250]
        raw = mne.io.RawArray(data, mne.create_info(3, 250, "eeg"), verbose="ERROR")
        raw.save(rows["recording"][0], overwrite=True, verbose="ERROR")
        made = {
            causal: Epocher(lag=0.3, l_freq=1, h_freq=30, phase="minimum", causal=causal).fit_transform(rows)
            for causal in (True, False)
        }
        windows.append({causal: np.asarray(made[causal])[:, :, -60:] for causal in made})
    np.testing.assert_array_equal(windows[0][True], windows[1][True])
    assert abs(windows[0][False] - windows[1][False])[1].max() > 1e-8


def test_cache_hit_does_not_read(one, tmp_path):
    memory = joblib.Memory(tmp_path, mmap_mode="c", verbose=0)
    np.asarray(Epocher(memory=memory).fit_transform(one))
    outputs = list(tmp_path.rglob("output.pkl"))
    assert len(outputs) == 2, "one header and one signal"
    written = [file.stat().st_mtime_ns for file in outputs]
    for lag in (0.0, 0.3):
        np.asarray(Epocher(memory=memory, lag=lag, baseline=None).fit_transform(one[3:7]))
    assert [file.stat().st_mtime_ns for file in tmp_path.rglob("output.pkl")] == written


@pytest.mark.parametrize("with_memory", [True, False])
def test_changed_file_is_read_again(tmp_path, with_memory):
    memory = str(tmp_path / "cache") if with_memory else None
    path = write_recording(tmp_path / "a_raw.fif", 200.0, CHANNELS[:3], seed=0)
    X = pd.DataFrame({"recording": [path] * 2, "onset": [2.0, 3.0], "duration": 1.0})
    before = Epocher(memory=memory).fit_transform(X)
    values = np.asarray(before)
    write_recording(path, 200.0, CHANNELS[1:4], seed=1)  # as many bytes
    os.utime(path, ns=(1, 1))
    after = Epocher(memory=memory).fit_transform(X)
    assert after.ch_names == tuple(CHANNELS[1:4])
    assert not np.allclose(np.asarray(after), values)


# --- errors and warnings -----------------------------------------------------------------------------


def test_lag_beyond_recording_names_the_row(one):
    X = one.copy()
    X.iloc[5, X.columns.get_loc("onset")] = 28.9
    label = X.index[5]
    with pytest.raises(
        ValueError, match=rf"lag=0\.15 .* 1 windows read beyond .* row {label} .* 28\.900 s of 30\.000"
    ):
        Epocher().fit_transform(X)
    assert Epocher(lag=0.05).fit_transform(X).shape[0] == len(X)
    X.iloc[5, X.columns.get_loc("onset")] = 0.1
    with pytest.raises(ValueError, match=r"make_segments\(margin=\.\.\.\)"):
        Epocher(lag=-0.15).fit_transform(X)


def test_segments_fit_all_lags_within_margin(one):
    events = pd.DataFrame([
        {"subject": "1", "recording": one["recording"].iloc[0], "type": "sound", "onset": 0.0, "duration": 30.0}
    ])  # fmt: skip
    events["sound"] = [StimulusArray(np.random.default_rng(0).standard_normal(64 * 30), 64)]
    with pytest.warns(UserWarning, match="leave the recording"):
        X, _ = make_segments(events, anchor=0.5, tmin=0, tmax=2, margin=0.5)
    assert X["onset"].min() == 0.5
    for lag in (-0.5, 0.5):
        assert np.asarray(Epocher(lag=lag).fit_transform(X)).shape == (len(X), 13, 241)


@pytest.mark.parametrize(
    ("change", "parameters", "error", "message"),
    [
        ({"duration": [1.0] * 11 + [1.5]}, {}, ValueError, r"one duration, got \[.*1\.0.*1\.5"),
        ({"recording": "nowhere.fif"}, {}, FileNotFoundError, "'nowhere.fif' does not exist"),
        ({}, {"baseline": (0.5, 0)}, ValueError, r"baseline must be \(start, stop\)"),
        ({}, {"baseline": (0, None)}, ValueError, r"baseline must be \(start, stop\)"),
        ({}, {"sfreq": 300}, ValueError, r"sfreq=300 Hz must not exceed the 250 Hz"),
        ({}, {"sfreq": -1}, ValueError, "'sfreq' parameter of Epocher"),
        ({}, {"phase": "linear"}, ValueError, "'phase' parameter of Epocher"),
        ({}, {"reference": "mean"}, ValueError, "'reference' parameter of Epocher"),
        ({}, {"picks": ["Nz"]}, ValueError, r"picks=\('Nz',\)"),
    ],
)
def test_epocher_checks_input(one, change, parameters, error, message):
    with pytest.raises(error, match=message):
        Epocher(**parameters).fit_transform(one.assign(**change))


def test_nan_is_named_when_windows_are_read(tmp_path):
    data = np.zeros((2, 3000))
    data[1, 2000] = np.nan
    mne.io.RawArray(data, mne.create_info(["Cz", "Pz"], 100.0, "eeg"), verbose="ERROR").save(
        tmp_path / "n_raw.fif"
    )
    X = pd.DataFrame({"recording": [str(tmp_path / "n_raw.fif")], "onset": 1.0, "duration": 1.0})
    windows = Epocher(sfreq=100).fit_transform(X)
    with pytest.raises(ValueError, match=r"channel 'Pz' at 20\.000 s"):
        np.asarray(windows)


def test_long_filters_warn(one):
    with pytest.warns(
        UserWarning, match=r"extends 16\.5 s to both sides, beyond the default gap of 1 s .*gap=17 or more"
    ):
        Epocher(l_freq=0.1).fit(one)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Epocher(l_freq=0.1, phase="minimum").fit(one)
        Epocher(h_freq=40.0).fit(one)
        Epocher(notch=50.0).fit(one)


def test_transform_warns_of_unknown_channels(table, tmp_path):
    three = table[table["subject"] == "three"]
    epocher = Epocher().fit(three)
    with pytest.warns(UserWarning, match=r"has 2 channels that no recording in fit had\. .*(Cz, P4|P4, Cz)"):
        windows = epocher.transform(table[table["subject"] == "one"])
    assert windows.ch_names == epocher.ch_names_
    reference = Epocher(picks=list(epocher.ch_names_)).fit_transform(table[table["subject"] == "one"])
    np.testing.assert_array_equal(np.asarray(windows), np.asarray(reference))
    other = write_recording(tmp_path / "o_raw.fif", 200.0, ["O1", "O2"])
    with pytest.raises(ValueError, match=r"has none of the channels seen in fit .* but O1, O2"):
        epocher.transform(three.assign(recording=other))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.asarray(Epocher().fit(table).transform(three)).shape[1] == 13, (
            "fewer channels are no surprise"
        )


# --- doors -------------------------------------------------------------------------------------------


def test_windows_and_arrays_are_unchanged():
    data = np.random.default_rng(0).standard_normal((6, 3, 10))
    windows = Windows.from_array(data)
    assert Epocher().fit_transform(windows) is windows
    np.testing.assert_array_equal(Epocher().fit_transform(data), data)


def test_mne_epochs_are_converted():
    info = mne.create_info([*CHANNELS[:3], "EXG1", "STI"], 100.0, ["eeg"] * 4 + ["stim"])
    info.set_montage("easycap-M1", on_missing="ignore")
    data = np.random.default_rng(0).standard_normal((6, 5, 10))
    rows = pd.DataFrame({"subject": list("112233"), "word": list("abcdef")})
    epochs = mne.EpochsArray(data, info, metadata=rows, verbose="ERROR")
    windows = Epocher().fit_transform(epochs)
    assert windows.ch_names == tuple(CHANNELS[:3]), "EXG and triggers are left out"
    np.testing.assert_array_equal(np.asarray(windows), data[:, :3].astype(np.float32))
    assert windows.sfreq == 100.0
    assert windows.rows["subject"].tolist() == list("112233")
    assert np.isfinite(windows.positions).all()


@pytest.fixture
def epochs():
    names = [*CHANNELS[:6], "EXG1"]
    info = mne.create_info(names, 100.0, "eeg")
    info["bads"] = ["F3"]
    data = np.random.default_rng(0).standard_normal((5, 7, 20))
    return mne.EpochsArray(data, info, verbose="ERROR")


def test_epochs_use_picks_montage_and_bads(epochs):
    data = epochs.get_data().astype(np.float32)
    windows = Epocher(picks=["Fz", "F3", "EXG1"], montage="easycap-M1").fit_transform(epochs)
    assert windows.ch_names == ("Fz", "F3", "EXG1")
    np.testing.assert_array_equal(np.asarray(windows)[:, [0, 2]], data[:, [3, 6]])
    assert (np.asarray(windows)[:, 1] == 0).all()
    assert np.isfinite(windows.positions[0]).all(1).tolist() == [True, False, False]
    assert epochs.get_montage() is None
    mended = Epocher(montage="easycap-M1", bads="interpolate").fit_transform(epochs)
    by_mne = epochs.copy().drop_channels("EXG1").set_montage("easycap-M1")
    by_mne.interpolate_bads(origin=(0, 0, 0.04), verbose="ERROR")
    equal(mended, by_mne.get_data(), rtol=1e-3)
    assert np.isfinite(mended.positions).all()


def test_epochs_have_the_channel_order_of_fit(epochs, one):
    epocher = Epocher(picks="eeg").fit(epochs)
    assert epocher.ch_names_ == tuple(CHANNELS[:6])
    turned = epochs.copy().reorder_channels(epochs.ch_names[::-1])
    whole = np.asarray(epocher.transform(epochs))
    np.testing.assert_array_equal(np.asarray(epocher.transform(turned)), whole)
    with pytest.raises(ValueError, match="Epochs lack 2 channels seen in fit: Fp2, C3"):
        epocher.transform(epochs.copy().drop_channels(["Fp2", "C3"]))
    by_table = Epocher(picks=["Fz", "Fp1"]).fit(one)
    np.testing.assert_array_equal(np.asarray(by_table.transform(epochs)), whole[:, [3, 0]])


def test_transform_rejects_tables_after_arrays(epochs, one):
    data = np.zeros((4, 13, 10))
    for fitted in (data, Windows.from_array(data)):
        for X, name in [(one, "a table of segments"), (epochs, "mne.Epochs")]:
            epocher = Epocher().fit(one).fit(fitted)
            with pytest.raises(ValueError, match=f"was fitted on arrays or Windows.* transform {name}"):
                epocher.transform(X)
    epocher = Epocher().fit(one)
    assert epocher.transform(data) is data
    with pytest.raises(ValueError, match=r"of 13 channels\. .* Got \(4, 3, 10\)"):
        epocher.transform(data[:, :3])


def test_missing_columns_are_named(one):
    numbers = pd.DataFrame(np.random.default_rng(0).standard_normal((5, 3)), columns=list("abc"))
    np.testing.assert_array_equal(Epocher().fit_transform(numbers), numbers)
    y = one.rename(columns={"onset": "sound_onset", "recording": "sound"})
    for use in (Epocher().fit, Epocher().fit(one).transform, Epocher().fit(numbers).transform):
        with pytest.raises(ValueError, match=r"columns \['onset'\] are missing\.$"):
            use(one.drop(columns="onset"))
        with pytest.raises(ValueError, match=r"\['recording', 'onset'\] are missing\. .*X and y swapped\?"):
            use(y)


@pytest.mark.parametrize("column", ["onset", "duration"])
@pytest.mark.parametrize("value", [np.nan, np.inf, "soon"])
def test_row_without_a_time_is_named(one, column, value):
    X = one.astype({column: object})
    X.iloc[4, X.columns.get_loc(column)] = value
    with pytest.raises(
        ValueError, match=rf"'{column}' must hold .* row {X.index[4]} holds '?{value}'? \(1 such"
    ):
        Epocher().fit(X)
    with pytest.raises(ValueError, match=rf"'{column}' must hold .* row {X.index[4]} holds"):
        Epocher().fit(one).transform(X)


def test_empty_table_raises(one):
    with pytest.raises(ValueError, match="has no rows"):
        Epocher().fit(one[:0])
    with pytest.raises(ValueError, match="has no rows"):
        Epocher().fit(one).transform(one[:0])


def test_memory_requires_an_importable_hook(one, tmp_path):
    def within(raw):
        return raw

    for hook in (within, lambda raw: raw):
        assert Epocher(raw_hook=hook).fit_transform(one).shape[0] == len(one)
        with pytest.raises(ValueError, match=r"raw_hook must be an importable function .*Got <function"):
            Epocher(raw_hook=hook, memory=str(tmp_path)).fit(one)


def test_changed_montage_is_read_again(one, tmp_path):
    place = mne.channels.make_standard_montage("easycap-M1").get_positions()["ch_pos"]
    before, file = [], tmp_path / "cap.sfp"
    for turn in (1, -1):
        file.write_text("\n".join(f"{n} {turn * x} {y} {z}" for n, (x, y, z) in place.items()))
        for memory in (None, str(tmp_path / "cache")):
            before.append(Epocher(montage=file, memory=memory).fit_transform(one).positions[0])
    np.testing.assert_array_equal(before[0], before[1])
    np.testing.assert_array_equal(before[2], before[3])
    np.testing.assert_allclose(before[0][:12, 0], 1 - before[2][:12, 0], atol=1e-9)


def test_cache_depends_on_the_reader(one, tmp_path, monkeypatch):
    for code in ("one", "one", "two"):
        epocher = Epocher(memory=str(tmp_path))
        processing = epocher._make_processing()._replace(code=code)
        monkeypatch.setattr(epocher, "_make_processing", lambda processing=processing: processing)
        np.asarray(epocher.fit_transform(one))
    assert len(list(tmp_path.rglob("output.pkl"))) == 4, "a header and a signal of each"


# --- the table is only a table -------------------------------------------------------------------------

TABLES = {
    "shuffled": lambda X: X.sample(frac=1, random_state=3),
    "a subset": lambda X: X.iloc[4:20:3],
    "one row": lambda X: X.iloc[[7]],
    "a string index": lambda X: X.set_index(np.array([f"r{i}" for i in range(len(X))])),
    "a doubled index": lambda X: X.set_index(np.zeros(len(X), int)),
    "extra columns": lambda X: X.assign(note="x", onset_of_word=3.0, list=[[1]] * len(X)),
    "columns in another order": lambda X: X[X.columns[::-1]],
    "categories": lambda X: X.assign(recording=X["recording"].astype("category")),
}


@pytest.mark.parametrize("name", TABLES)
def test_windows_depend_only_on_their_rows(table, name, tmp_path):
    X = table.assign(row=np.arange(len(table)))
    epocher = Epocher().fit(X)
    whole = np.asarray(epocher.transform(X))
    changed = TABLES[name](X)
    windows = epocher.transform(changed)
    np.testing.assert_array_equal(np.asarray(windows), whole[changed["row"]])
    pd.testing.assert_frame_equal(windows.rows, changed)
    sub = changed.iloc[::2]
    np.testing.assert_array_equal(np.asarray(windows[::2]), np.asarray(epocher.transform(sub)))


def test_epocher_clone_and_pickle(table):
    epocher = Epocher(lag=0.2, picks=["Fz", "Oz"], reference=["C3"]).fit(table)
    whole = np.asarray(epocher.transform(table))
    copy = clone(epocher)
    assert copy.get_params() == epocher.get_params()
    assert not hasattr(copy, "ch_names_")
    np.testing.assert_array_equal(np.asarray(copy.fit_transform(table)), whole)
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(epocher)).transform(table)), whole)


def test_cached_without_memory_is_the_function():
    assert cached(double, None) is double


def test_epocher_refuses_what_it_would_ignore(table):
    windows = Epocher(sfreq=64).fit_transform(table)
    unchanged = Windows.from_array(np.asarray(windows[:3]), sfreq=64)
    assert Epocher().fit_transform(unchanged) is unchanged
    for fit in (lambda e, x: e.fit(x), lambda e, x: e.fit(table).transform(x)):
        with pytest.raises(ValueError, match=r"Epocher\(sfreq=32\) cannot resample Windows at 64 Hz"):
            fit(Epocher(sfreq=32), unchanged)
    for X in (unchanged, np.asarray(unchanged)):
        with pytest.raises(ValueError, match="cannot add positions to windows"):
            Epocher(montage="biosemi64").fit(X)
    placed = Windows.from_array(np.zeros((2, 1, 9)), sfreq=64, ch_names=["Cz"], montage="biosemi64")
    assert Epocher(montage="biosemi32").fit_transform(placed) is placed
    with pytest.raises(ValueError, match=r"montage='biosemi65' is not .*\(did you mean 'biosemi64'\?\)"):
        Epocher(montage="biosemi65").fit(placed)
    raw = mne.io.RawArray(np.zeros((3, 100)), mne.create_info(3, 100.0, "eeg"), verbose="ERROR")
    with pytest.raises(TypeError, match="Got a Raw, which has no segments.*events_from_raw"):
        Epocher().fit(raw)

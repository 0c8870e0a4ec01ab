"""Sources of streamed samples, with LSL streams on this machine."""

import itertools
import os
import subprocess
import sys
import textwrap

import mne
import numpy as np
import pytest

from sk_b2s import make_stream_source
from sk_b2s.streaming._outlet import LOOPBACK
from sk_b2s.streaming._sources import _base, _sources

NAMES = ["Fz", "C3", "Cz", "C4"]
LSL_TEST = """
    import sys, time
    import numpy as np
    import pylsl
    from mne_lsl.lsl import StreamInlet, resolve_streams
    from mne_lsl.stream import StreamLSL
    from sk_b2s import make_stream_source
    from sk_b2s.streaming._sources import _lsl

    name = sys.argv[1]
    patience = _lsl.TIMEOUT = 300  # s, which only a failure needs
    data = np.random.default_rng(0).normal(size=(300, 4)) * 20
    def make_info(unit, label):
        info = pylsl.StreamInfo(label, "EEG", 4, 250, "double64", label)
        info.set_channel_labels(["Fz", "C3", "Cz", "C4"])
        info.set_channel_types("eeg")
        if unit:
            info.set_channel_units(unit)
        return info
    outlet = pylsl.StreamOutlet(make_info("microvolts", name))
    silent = pylsl.StreamOutlet(make_info(None, name + "-silent"))
    picks = ["Cz", "Fz"]
    inlet = pylsl.StreamInlet(pylsl.resolve_byprop("name", name, timeout=patience)[0])
    threaded = StreamLSL(5, name=name).connect(acquisition_delay=0.005, timeout=patience)
    manual = StreamLSL(5, name=name).connect(acquisition_delay=None, timeout=patience)
    sources = {
        "pylsl": make_stream_source(inlet, picks), "threaded": make_stream_source(threaded, picks),
        "manual": make_stream_source(manual, picks), "name": make_stream_source(name, picks),
    }
    for kind in ("pylsl", "threaded"):
        before = pylsl.local_clock()
        now, after = sources[kind].now(), pylsl.local_clock()
        assert before - 0.5 < now < after + 0.5, kind  # the offset of equal clocks is measured
    stamps = pylsl.local_clock() + np.arange(300) / 250
    while not outlet.have_consumers():
        time.sleep(0.01)
    got = {kind: [] for kind in sources}
    for first in range(0, 300, 30):
        for row in range(first, first + 30):
            outlet.push_sample(data[row].tolist(), float(stamps[row]))
        time.sleep(0.02)
        for kind, source in sources.items():
            got[kind].append(source.read())
    until = time.monotonic() + patience
    for kind, source in sources.items():
        while sum(len(part[1]) for part in got[kind]) < 300 and time.monotonic() < until:
            time.sleep(0.01)
            got[kind].append(source.read())
    for kind, source in sources.items():
        got[kind].append(source.read())  # nothing comes twice
        samples = np.concatenate([part[0] for part in got[kind]], axis=1)
        times = np.concatenate([part[1] for part in got[kind]])
        assert (source.sfreq, source.ch_names) == (250, picks), kind
        np.testing.assert_allclose(samples, data[:, [2, 0]].T * 1e-6, rtol=1e-12, err_msg=kind)
        np.testing.assert_allclose(times, stamps, atol=1e-9, err_msg=kind)
    try:
        make_stream_source(name + "-silent", picks)
    except ValueError as error:
        assert "states the unit None" in str(error)
    else:
        raise RuntimeError("a stream without a unit was accepted")
    with make_stream_source(name + "-silent", picks, unit="uV") as source:
        assert source.read()[0].shape == (2, 0)
    assert source.read() is None
    for source in sources.values():
        source.close()
        assert source.read() is None
    threaded.disconnect(), manual.disconnect()
    del source, sources, inlet, outlet, silent
    print("passed")
"""


def make_raw(n_times=500):
    data = np.random.default_rng(0).normal(size=(4, n_times)) * 1e-5
    return mne.io.RawArray(data, mne.create_info(NAMES, 100, "eeg"), verbose="ERROR"), data


def test_make_stream_source_reads_a_raw():
    raw, data = make_raw()
    source = make_stream_source(raw, ["Cz", "Fz"], chunk=0.3)
    samples, times = zip(*source, strict=True)
    np.testing.assert_array_equal(np.concatenate(samples, axis=1), data[[2, 0]])
    np.testing.assert_allclose(np.concatenate(times), raw.times)
    assert samples[0].shape == (2, 30)
    assert source.now() is None
    assert "2 channels, 100 Hz" in repr(source)


def test_make_stream_source_paces_a_raw(monkeypatch):
    now = itertools.count(50.0, 2**-10)  # a second has 1024 readings of the clock
    monkeypatch.setattr(_sources, "perf_counter", now.__next__)
    monkeypatch.setattr(_base, "sleep", lambda seconds: None)
    raw, data = make_raw(50)
    source = make_stream_source(raw, pace=2)
    assert [source.read()[0].shape[1] for _ in range(10)] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    samples, times = zip(*source, strict=True)
    assert {len(part) for part in times} == {1}
    np.testing.assert_allclose(np.concatenate(times), raw.times[1:])
    assert source.now() == pytest.approx(0.5, abs=0.01)
    assert source.arrival() is None, "twice as fast as samples arrive"
    assert make_stream_source(raw).arrival() is None
    source = make_stream_source(raw, pace=1)
    assert source.read() is not None
    assert source.now() <= source.arrival() <= source.now()


def test_make_stream_source_reads_an_iterator():
    raw, data = make_raw()
    chunks = ((data[:, k : k + 7], raw.times[k : k + 7]) for k in range(0, 500, 7))
    with make_stream_source(chunks, NAMES, sfreq=100, unit="mV") as source:
        samples = np.concatenate([part for part, _ in source], axis=1)
    np.testing.assert_allclose(samples, data * 1e-3)


@pytest.mark.parametrize(
    ("stream", "parameters", "error", "message"),
    [
        (make_raw()[0], {"ch_names": ["Oz", "Cz"]}, ValueError, "does not have 1 of 2 channels: .'Oz'."),
        (make_raw()[0], {"pace": 0}, ValueError, "pace must be a positive number"),
        (make_raw()[0], {"unit": "m"}, ValueError, "unit must be one of V, mV"),
        (3, {}, TypeError, "stream must be a StreamLSL.*Got int"),
        ([], {"ch_names": NAMES}, ValueError, "Pass ch_names=... and sfreq"),
    ],
    ids=["channel", "pace", "unit", "kind", "rate"],
)
def test_make_stream_source_checks_its_input(stream, parameters, error, message):
    with pytest.raises(error, match=message):
        make_stream_source(stream, **parameters)


def test_iterator_source_checks_chunks():
    options = {"ch_names": NAMES, "sfreq": 100}
    with pytest.raises(ValueError, match="must yield .samples, timestamps.. Got int"):
        make_stream_source([1], **options).read()
    with pytest.raises(ValueError, match=r"shape \(n_channels=4, n_times\)"):
        make_stream_source([(np.ones((4, 3)), np.ones(2))], **options).read()


@pytest.mark.slow
def test_lsl_sources_receive_each_sample_once(tmp_path):
    pytest.importorskip("mne_lsl", reason="requires the extra live", exc_type=Exception)
    pytest.importorskip("pylsl", reason="requires the extra live", exc_type=Exception)
    (tmp_path / "lsl.cfg").write_text(LOOPBACK)
    environment = {**os.environ, "LSLAPICFG": str(tmp_path / "lsl.cfg"), "MNE_LSL_LOG_LEVEL": "ERROR"}
    script = textwrap.dedent(LSL_TEST)
    done = subprocess.run(
        [sys.executable, "-c", script, f"test-{os.getpid()}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert "passed" in done.stdout, done.stdout + done.stderr


def test_make_stream_source_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mne_lsl.lsl", None)
    with pytest.raises(ImportError, match=r"sk_b2s\[live\]"):
        make_stream_source("some stream")

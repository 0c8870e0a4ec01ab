"""Caches identify files by their content."""

import os
import pickle
from functools import partial
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import soundfile

from sk_b2s import Epocher, MelSpectrogram
from sk_b2s._utils import _caching as caching
from sk_b2s._utils._caching import CachedFromFile, digest_cached_content, get_cached_file_state
from sk_b2s.events._stimuli import get_stimulus_stamp, stimulus_duration
from sk_b2s.preprocessing._fingerprint import fingerprint_rows, make_fingerprint

CALLS = []


def count_bytes(path, stamp, scale):
    CALLS.append(path)
    with open(path, "rb") as file:
        return scale * np.float32(sum(file.read()))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one two three")
    return path


def rewrite(path, content):
    """Write other bytes of the same size, and put the date back."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_digest_cached_content_ignores_path_and_date(file, tmp_path):
    (tmp_path / "b.wav").write_bytes(file.read_bytes())
    os.utime(tmp_path / "b.wav", (1, 1))
    assert digest_cached_content(file) == digest_cached_content(tmp_path / "b.wav")


def test_digest_cached_content_sees_same_size_and_date(file):
    seen = {digest_cached_content(file)}
    for content in (b"one two thref", b"one two threg", b"one two threh"):  # within one tick of a clock
        rewrite(file, content)
        seen.add(digest_cached_content(file))
    assert len(seen) == 4


@pytest.mark.parametrize("whole_seconds", [False, True])
def test_content_digest_reads_a_settled_file_once(file, monkeypatch, whole_seconds):
    now = file.stat().st_ctime_ns // 10**9 * 10**9 if whole_seconds else file.stat().st_ctime_ns
    real = os.stat

    def stat(path, *args, **kwargs):
        found = real(path, *args, **kwargs)
        fields = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
        return type("stat", (), fields | {"st_ctime_ns": now, "st_mtime_ns": now})

    monkeypatch.setattr(caching.os, "stat", stat)
    limit = caching.SETTLED_COARSE if whole_seconds else caching.SETTLED
    for later, settled in ((limit / 2, False), (limit * 2, True)):
        monkeypatch.setattr(caching.time, "time", lambda later=later: now / 1e9 + later)
        assert (get_cached_file_state(file) == get_cached_file_state(file)) == settled
        before = digest_cached_content(file)
        with open(file, "r+b") as opened:
            opened.write(b"ONE" if later < limit else b"One")
        assert (digest_cached_content(file) == before) == settled


def test_content_digest_refuses_devices_and_folders(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match="must be a regular file"):
            digest_cached_content(path)
    with pytest.raises(FileNotFoundError):
        digest_cached_content(tmp_path / "absent")


def test_from_file_caches_one_entry_per_content(file, tmp_path):
    CALLS.clear()
    (tmp_path / "b.bin").write_bytes(file.read_bytes())
    made = [
        CachedFromFile(count_bytes, str(path), digest_cached_content, tmp_path / "cache", scale=2)
        for path in (file, tmp_path / "b.bin", file)
    ]
    assert len({float(one()) for one in made}) == 1
    assert [str(file)] == CALLS
    rewrite(file, b"one two thref")
    changed = CachedFromFile(count_bytes, str(file), digest_cached_content, tmp_path / "cache", scale=2)
    assert changed() == made[0]() + 2
    assert make_fingerprint(changed) != make_fingerprint(made[0]) == make_fingerprint(made[1])


def test_from_file_refuses_changed_file(file, tmp_path):
    late = CachedFromFile(count_bytes, str(file), digest_cached_content, tmp_path / "cache", scale=1)
    late = pickle.loads(pickle.dumps(late))
    first = file.read_bytes()
    rewrite(file, b"one two thref")
    with pytest.raises(ValueError, match=r"a\.bin' has changed since .* Transform the table again"):
        late()
    file.write_bytes(first)
    os.utime(file)
    assert late() == sum(first), "touched, not changed"


def test_from_file_without_memory_digests_for_key(file, tmp_path):
    (copy := tmp_path / "copy.bin").write_bytes(file.read_bytes())
    one, other = (
        CachedFromFile(count_bytes, str(path), digest_cached_content, scale=1) for path in (file, copy)
    )
    assert one.stamp is None
    assert make_fingerprint(partial(one, 3)) == make_fingerprint(partial(other, 3))
    kept = CachedFromFile(count_bytes, str(file), digest_cached_content, tmp_path / "cache", scale=1)
    assert make_fingerprint(kept) == make_fingerprint(one), "a cache is no part of a result"


def read_bytes(path, stamp, scale):
    CALLS.append(path)
    return np.frombuffer(Path(path).read_bytes(), np.uint8).astype(float) * scale


def test_from_file_keeps_results_in_memory(file, tmp_path):
    CALLS.clear()
    (copy := tmp_path / "copy.bin").write_bytes(file.read_bytes())
    made = [
        CachedFromFile(read_bytes, str(path), digest_cached_content, is_kept=True, scale=2.5)
        for path in (file, copy)
    ]
    first = made[0]()
    assert made[1]() is made[0]() is first
    assert [str(file)] == CALLS
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
    rewrite(file, b"one two thref")
    assert made[0]()[-1] == first[-1] + 2.5
    assert (
        CachedFromFile(read_bytes, str(copy), digest_cached_content, is_kept=True, scale=5)()[0]
        == 2 * first[0]
    )
    assert len(CALLS) == 3


def test_results_in_memory_drop_the_oldest():
    results = caching.CacheInMemory(100)
    for key in "abc":
        results.add(key, np.zeros(5))
        results.get("a")
    results.add("large", np.zeros(7))
    assert [key for key in ("a", "b", "c", "large") if results.get(key) is not None] == ["a", "c"]
    assert results.n_bytes == 80
    results.clear()
    assert results.get("a") is None
    assert results.n_bytes == 0


# --- of the package ------------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path):
    """Return X and y of two copies of a recording and an audio file."""
    found = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        path = str(tmp_path / folder / f"{folder}_raw.fif")
        data = 1e-5 * np.random.default_rng(0).standard_normal((3, 1600))
        raw = mne.io.RawArray(data, mne.create_info(["Fz", "Cz", "Pz"], 200.0, "eeg"), verbose="ERROR")
        raw.save(path, verbose="ERROR")
        sound = tmp_path / folder / "a.wav"
        soundfile.write(sound, np.random.default_rng(0).uniform(-0.1, 0.1, 16000 * 4), 16000)
        X = pd.DataFrame({"recording": [path] * 2, "onset": [2.0, 3.0], "duration": 1.0})
        y = pd.DataFrame({"sound": [str(sound)] * 2, "sound_onset": [0.0, 1.0], "duration": 1.0})
        found.append((X, y))
    os.utime(found[1][0]["recording"][0], (1, 1))
    return found


def entries(memory):
    return sorted(str(path) for path in memory.rglob("output.pkl"))


def test_epocher_copies_share_cache_entry(tables, tmp_path):
    memory = tmp_path / "cache"
    values, before = [], []
    for X, y in tables:
        windows = Epocher(sfreq=50, lag=0, baseline=None, memory=str(memory)).fit_transform(X)
        features = MelSpectrogram(n_mels=4, sfreq=50, memory=str(memory)).fit_transform(y)
        values.append((np.asarray(windows), np.asarray(features)))
        before.append(entries(memory))
        assert (
            fingerprint_rows(windows)
            == fingerprint_rows(Epocher(sfreq=50, lag=0, baseline=None).fit_transform(X))
        ).all()
    assert before[0] == before[1]
    functions = [Path(entry).parents[1].name for entry in before[0]]
    assert {"read_recording_header", "read_recording_signal", "compute_mel_spectrogram"} <= set(functions)
    assert len(set(functions)) == len(functions), "one entry of each"
    for one, other in zip(*values, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (fingerprint_rows(tables[0][0]) == fingerprint_rows(tables[1][0])).all()


def test_row_digests_survive_csv(tables, tmp_path):
    X = tables[0][0].assign(session="", run="", place=1.5)
    X.to_csv(tmp_path / "X.csv", index=False)  # empty texts are read as NaN
    np.testing.assert_array_equal(
        fingerprint_rows(pd.read_csv(tmp_path / "X.csv", dtype={"subject": str})), fingerprint_rows(X)
    )
    assert (fingerprint_rows(X.assign(place=np.nan)) != fingerprint_rows(X)).all()


def test_get_stimulus_stamp_depends_on_content_alone(tables):
    one, other = (y["sound"][0] for _, y in tables)
    before, state = get_stimulus_stamp(one), os.stat(one)
    assert get_stimulus_stamp(other) == before
    with open(one, "r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x55\x55")
    os.utime(one, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert get_stimulus_stamp(one) != before


def test_make_fingerprint_windows_ignores_path(tables):
    digests = [
        fingerprint_rows(
            Epocher(sfreq=50, lag=0, baseline=None, raw_hook=None).fit_transform(X)._replace(rows=None)
        )
        for X, _ in tables
    ]
    np.testing.assert_array_equal(*digests)


def louder(raw):
    return raw.load_data().apply_function(lambda data: 2 * data)


def test_epocher_hook_is_cached_by_its_code(tables, tmp_path):
    memory = tmp_path / "cache"
    settings = {"sfreq": 50, "lag": 0, "baseline": None, "memory": str(memory)}
    plain = np.asarray(Epocher(**settings).fit_transform(tables[0][0]))
    for X, _ in tables:
        hooked = np.asarray(Epocher(**settings, raw_hook=louder).fit_transform(X))
        np.testing.assert_allclose(hooked, 2 * plain, rtol=1e-5)
    assert len(entries(memory)) == 6
    code, louder.__code__ = louder.__code__, (lambda raw: raw).__code__
    try:
        edited = np.asarray(Epocher(**settings, raw_hook=louder).fit_transform(tables[0][0]))
    finally:
        louder.__code__ = code
    np.testing.assert_array_equal(edited, plain)


def test_features_read_changed_file_of_same_size(tables):
    path = tables[0][1]["sound"][0]
    before, state = stimulus_duration(path), os.stat(path)
    with open(path, "r+b") as file:  # the header has twice the rate
        file.seek(24)
        file.write((32000).to_bytes(4, "little"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert stimulus_duration(path) == before / 2


def test_workers_use_digest_of_parent(tables, tmp_path, monkeypatch):
    windows = Epocher(sfreq=50, lag=0, baseline=None, memory=str(tmp_path / "cache")).fit_transform(
        tables[0][0]
    )
    whole, sent = np.asarray(windows), pickle.dumps(windows)
    monkeypatch.setattr("sk_b2s.io._raw._identity.digest_cached_content", None)
    np.testing.assert_array_equal(np.asarray(pickle.loads(sent)), whole)

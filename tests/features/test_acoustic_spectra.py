"""Tests of spectral and precomputed features and of their base class."""

import os
import pickle
import shutil

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.signal
from helpers.sounds import RATE, filters_by_hand, frame_by_hand, table, write
from sklearn.base import clone

from sk_b2s import (
    AcousticOnsets,
    Envelope,
    ImageStimulus,
    MelSpectrogram,
    PrecomputedFeatures,
    StimulusArray,
)
from sk_b2s.features import _acoustic_spectra as speech_module
from sk_b2s.features._acoustic_spectra import compute_power_spectrogram, make_mel_filters


@pytest.fixture
def noise(tmp_path):
    """Audio file of 4.1 s of noise with varying level, and its samples."""
    rng = np.random.default_rng(0)
    audio = (
        0.1 * rng.standard_normal(int(4.1 * RATE)) * (1 + np.sin(np.arange(int(4.1 * RATE)) / 9000))
    ).astype("f4")
    return write(tmp_path / "noise.wav", audio), audio


@pytest.mark.parametrize(("n_fft", "n_mels"), [(512, 120), (512, 28), (1024, 40)])
def test_make_mel_filters_equals_htk_triangles(n_fft, n_mels):
    np.testing.assert_allclose(make_mel_filters(n_fft, n_mels), filters_by_hand(n_fft, n_mels), atol=1e-5)


@pytest.mark.parametrize("sfreq", [50.0, 100.0, 20.0])
@pytest.mark.parametrize("n_fft", [512, 1024])
def test_compute_power_spectrogram_centers_frames(noise, sfreq, n_fft):
    _, audio = noise
    power = compute_power_spectrogram(audio, sfreq, n_fft)
    assert power.shape == (n_fft // 2 + 1, np.ceil(4.1 * sfreq))
    for index in (0, 1, 37, power.shape[1] - 1):
        expected = frame_by_hand(audio, index, sfreq, n_fft)
        np.testing.assert_allclose(power[:, index], expected, rtol=1e-3, atol=1e-4 * expected.max())


@pytest.mark.parametrize("sfreq", [50, 125, 32])
def test_mel_spectrogram_equals_scipy(noise, sfreq):
    path, audio = noise
    X = table([path], [1.0])
    window = MelSpectrogram(n_mels=20, sfreq=sfreq).fit_transform(X)[0]
    assert window.shape == (20, 2 * sfreq + 1)
    z = (audio - audio.mean()) / audio.std()
    hop = RATE // sfreq
    begin = sfreq * hop + hop // 2 - 256  # first frame, at 1 s
    _, _, spectrum = scipy.signal.stft(
        z[begin:], window="hann", nperseg=512, noverlap=512 - hop, boundary=None, padded=False
    )  # scaled by the sum of the window
    hann = scipy.signal.windows.hann(512, sym=False)
    power = np.abs(spectrum[:, : 2 * sfreq + 1]) ** 2 * hann.sum() ** 2 / (hann**2).sum()
    expected = np.log10(filters_by_hand(512, 20) @ power + 1e-5)
    np.testing.assert_allclose(window, expected, atol=2e-3)


def test_mel_spectrogram_ignores_level_and_offset(noise, tmp_path):
    path, audio = noise
    quiet = write(tmp_path / "quiet.wav", 0.01 * audio + 0.2)
    loud, soft = (np.asarray(MelSpectrogram().fit_transform(table([p], [1.0]))) for p in (path, quiet))
    np.testing.assert_allclose(loud, soft, atol=0.01)


@pytest.mark.parametrize("features", [MelSpectrogram(n_mels=40), Envelope()])
@pytest.mark.parametrize("sfreq", [50, 100])
@pytest.mark.parametrize("at", [0.035, 1.015, 2.995])
def test_transform_places_tone_burst_in_its_frame(tmp_path, features, sfreq, at):
    times = np.arange(3 * RATE) / RATE
    audio = np.where(np.abs(times - at) < 0.005, np.sin(2 * np.pi * 2000 * times), 0)
    path = write(tmp_path / "burst.wav", audio)
    window = clone(features).set_params(sfreq=sfreq).fit_transform(table([path], [0.0], 3.0))[0]
    assert window.sum(0).argmax() == int(at * sfreq)
    if len(window) > 1:
        centers = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42)[1:-1] / 2595) - 1)
        assert window[:, int(at * sfreq)].argmax() == np.abs(centers - 2000).argmin()


def test_envelope_follows_level(tmp_path):
    rng = np.random.default_rng(1)
    slow = scipy.signal.sosfiltfilt(
        scipy.signal.butter(2, 4, fs=RATE, output="sos"), rng.standard_normal(20 * RATE)
    )
    loudness = 1 + slow / np.abs(slow).max()
    path = write(tmp_path / "am.wav", 0.1 * loudness * rng.standard_normal(20 * RATE))
    envelope = Envelope(sfreq=50).fit_transform(table([path], [0.0], 19.98))[0]
    middles = ((np.arange(1000) + 0.5) * RATE / 50).astype(int)
    assert np.corrcoef(envelope[0], loudness[middles])[0, 1] > 0.9
    shifted = np.corrcoef(envelope[0], np.roll(loudness[middles], 100))[0, 1]
    assert abs(shifted) < 0.5


def test_envelope_compresses_band_amplitudes(noise, tmp_path):
    path, audio = noise
    envelope = Envelope(n_bands=12, exponent=0.6).fit_transform(table([path], [1.0]))[0]
    amplitude = np.sqrt([filters_by_hand(512, 12) @ frame_by_hand(audio, j, 50, 512) for j in range(50, 151)])
    np.testing.assert_allclose(envelope[0], (amplitude**0.6).mean(1), rtol=1e-3)
    louder = Envelope(n_bands=12).fit_transform(table([write(tmp_path / "l.wav", 4 * audio)], [1.0]))[0]
    np.testing.assert_allclose(louder, 4**0.6 * envelope, rtol=1e-4)


@pytest.fixture
def late_noise(tmp_path):
    """Audio file of 3 s with noise in the second second, and its samples."""
    audio = np.zeros(3 * RATE)
    audio[RATE : 2 * RATE] = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    return write(tmp_path / "noise.wav", audio), audio


def test_acoustic_onsets_equal_band_increases(late_noise):
    path, audio = late_noise
    onsets = np.asarray(AcousticOnsets(sfreq=50, n_bands=4).fit_transform(table([path], [0.9], 0.5)))[0]
    power = np.stack([frame_by_hand(audio, 44 + i, 50, 512) for i in range(27)], axis=1)
    bands = (filters_by_hand(512, 4) @ power) ** 0.3
    np.testing.assert_allclose(onsets, np.maximum(np.diff(bands, axis=1), 0), rtol=1e-3, atol=1e-5)
    assert (onsets[:, :4] == 0).all()
    assert onsets.sum(0).argmax() in (5, 6), "at 1 s"


# --- silence and edges ---

SILENT = {"mel": (MelSpectrogram(n_mels=10), -5.0), "envelope": (Envelope(), 0.0)}


@pytest.mark.parametrize("name", SILENT)
def test_transform_pads_both_ends_with_silence(tmp_path, name):
    features, silence = SILENT[name]
    rng = np.random.default_rng(0)
    path = write(tmp_path / "short.wav", 0.1 * rng.standard_normal(RATE))  # 1 s
    inside = clone(features).fit_transform(table([path], [0.0], 0.98))[0]  # all 50 frames
    assert inside.shape[1] == 50
    window = clone(features).fit_transform(table([path], [-1.2], 4.0))[0]
    assert window.shape[1] == 201
    np.testing.assert_array_equal(window[:, 60:110], inside)
    np.testing.assert_array_equal(window[:, :60], np.float32(silence))
    np.testing.assert_array_equal(window[:, 110:], np.float32(silence))


@pytest.mark.parametrize("name", SILENT)
def test_transform_silence_equals_padding(tmp_path, name):
    features, silence = SILENT[name]
    audio = np.zeros(3 * RATE)
    audio[: RATE // 2] = np.random.default_rng(0).standard_normal(RATE // 2)
    audio -= audio[RATE:].mean()
    path = write(tmp_path / "half.wav", 0.1 * audio)
    silent = write(tmp_path / "silent.wav", np.zeros(2 * RATE))
    windows = clone(features).fit_transform(table([silent, path], [0.3, 4.0], 1.0))
    np.testing.assert_allclose(np.asarray(windows), silence, atol=1e-6)


@pytest.mark.parametrize("onset", [-5.2, 7.5, 60.0])
def test_transform_rejects_distant_window(noise, onset):
    with pytest.raises(
        ValueError, match=rf"y row 1: the window at sound_onset={onset} s extends more than 5 s beyond"
    ):
        MelSpectrogram().fit_transform(table([noise[0]] * 2, [0.0, onset]))


# --- one signal for each distinct stimulus ---


def test_transform_computes_distinct_sounds_once(noise, tmp_path):
    path, audio = noise
    copied = shutil.copy(path, tmp_path / "copied.wav")
    other = write(tmp_path / "other.wav", audio[::-1])
    windows = MelSpectrogram(n_mels=8).fit_transform(table([path, other, copied, path], [0.0, 0.5, 1.0, 1.0]))
    assert len(windows.signals) == 2
    assert windows.which.tolist() == [0, 1, 0, 0]
    np.testing.assert_array_equal(windows[2], windows[3])
    alone = MelSpectrogram(n_mels=8).fit_transform(table([other], [0.5]))
    np.testing.assert_array_equal(alone[0], windows[1])


@pytest.mark.parametrize("features", [MelSpectrogram(n_mels=8), Envelope()])
def test_transform_reads_cached_features(noise, tmp_path, features, monkeypatch):
    path, audio = noise
    memory = joblib.Memory(tmp_path / "cache", verbose=0, mmap_mode="c")
    features = clone(features).set_params(memory=memory)
    plain = np.asarray(clone(features).set_params(memory=None).fit_transform(table([path], [0.0])))
    read, calls = speech_module.read_audio_for_features, []
    monkeypatch.setattr(
        speech_module, "read_audio_for_features", lambda path: calls.append(path) or read(path)
    )
    for rows in ([0.0], [0.0, 1.0], [2.0]):
        before = len(calls)
        windows = clone(features).fit_transform(table([path] * len(rows), rows))
        assert len(calls) == before, "audio is read when windows are gathered"
        np.asarray(windows)
    assert calls == [path]
    np.testing.assert_array_equal(np.asarray(clone(features).fit_transform(table([path], [0.0]))), plain)
    np.asarray(clone(features).set_params(sfreq=100).fit_transform(table([path], [0.0])))
    assert calls == [path] * 2, "another rate is another cache entry"
    write(path, audio[::-1])
    os.utime(path, ns=(1, 1))
    changed = np.asarray(clone(features).fit_transform(table([path], [0.0])))
    assert calls == [path] * 3
    assert not np.allclose(changed, plain)


def test_transform_reads_other_rates_and_stereo(noise, tmp_path):
    path, _ = noise
    times = np.arange(3 * 44100) / 44100
    tone = 0.3 * np.sin(2 * np.pi * 1000 * times)
    high = write(tmp_path / "high.wav", np.stack([tone, tone], axis=1), 44100)
    low = write(tmp_path / "low.wav", 0.3 * np.sin(2 * np.pi * 1000 * np.arange(3 * RATE) / RATE))
    one, two = MelSpectrogram(n_mels=20).fit_transform(table([high, low], [0.5, 0.5]))
    assert one.argmax(0).tolist() == two.argmax(0).tolist()
    np.testing.assert_allclose(one.max(0), two.max(0), atol=0.01)


def test_transform_of_real_speech(data_folder):
    sounds = sorted(str(p) for p in (data_folder / "speech").rglob("*") if p.suffix in (".wav", ".flac"))[:3]
    assert len(sounds) == 3
    for features in (MelSpectrogram(), Envelope(sfreq=64)):
        windows = features.fit_transform(table(sounds, 0.2, 1.5))
        assert np.isfinite(np.asarray(windows)).all()
        assert (np.asarray(windows).std(axis=(1, 2)) > 0).all()


# --- precomputed features ---


def test_precomputed_features_cut_stored_arrays():
    rng = np.random.default_rng(0)
    data = [rng.standard_normal((640, 3)), rng.standard_normal((400, 3))]
    sounds = [StimulusArray(d, 64, f"s{i}") for i, d in enumerate(data)]
    windows = PrecomputedFeatures().fit_transform(table([*sounds, sounds[0]], [1.0, -0.5, 9.5], 1.0))
    assert windows.shape == (3, 3, 65)
    assert len(windows.signals) == 2
    assert windows.sfreq == 64
    np.testing.assert_array_equal(windows[0], data[0][64:129].T.astype("f4"))
    np.testing.assert_array_equal(windows[1], np.pad(data[1], ((32, 0), (0, 0)))[:65].T.astype("f4"))
    np.testing.assert_array_equal(windows[2], np.pad(data[0][608:], ((0, 33), (0, 0))).T.astype("f4"))
    again = StimulusArray(data[0], 64, "another name")
    assert len(PrecomputedFeatures().fit_transform(table([sounds[0], again], [0.0, 0.0])).signals) == 1


# --- errors ---

STORED = StimulusArray(np.zeros((640, 2)), 64, "stored")
WRONG = {
    "rate": (MelSpectrogram(sfreq=120), {}, "'sfreq' parameter of MelSpectrogram must divide 16000 Hz, .* Got 120"),
    "rate, envelope": (Envelope(sfreq=64.5), {}, "'sfreq' parameter of Envelope must divide 16000 Hz"),
    "bands": (MelSpectrogram(n_mels=0), {}, "'n_mels' parameter of MelSpectrogram"),
    "durations": (MelSpectrogram(), {"duration": [1.0, 2.0]}, "all rows must have one duration"),
    "stored for mel": (MelSpectrogram(), {"sound": STORED}, r"requires audio files, but StimulusArray\('stored'.*Use Precomputed"),
    "stored for envelope": (Envelope(), {"sound": STORED}, "Envelope requires audio files"),
    "file for stored": (PrecomputedFeatures(), {}, "requires stimuli of type StimulusArray. Got '.*noise.wav'"),
    "two rates": (
        PrecomputedFeatures(), {"sound": [STORED, StimulusArray(np.zeros((640, 2)), 32)]}, r"sampling rate. Got \[32.0, 64.0\]",
    ),
    "two widths": (
        PrecomputedFeatures(), {"sound": [STORED, StimulusArray(np.zeros((640, 3)), 64)]}, r"number of features. Got \[2, 3\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_fit_transform_describes_invalid_input(noise, name):
    features, change, message = WRONG[name]
    X = table([noise[0]] * 2, [0.0, 1.0])
    for column, value in change.items():
        X[column] = value if isinstance(value, list) else [value] * 2
    with pytest.raises(ValueError, match=message):
        features.fit_transform(X)


@pytest.mark.parametrize("features", [MelSpectrogram(), Envelope(), PrecomputedFeatures()])
def test_fit_rejects_other_tables(features):
    with pytest.raises(ValueError, match=r"requires a stimulus table .* Got ndarray"):
        features.fit(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"Got a DataFrame without \['sound', 'sound_onset'\]"):
        features.fit(pd.DataFrame({"recording": ["a"], "onset": 0.0, "duration": 1.0}))


def test_transform_rejects_other_number_of_features():
    features = PrecomputedFeatures().fit(table([STORED], [0.0]))
    with pytest.raises(ValueError, match="The stimuli have 3 features, but those passed to fit had 2"):
        features.transform(table([StimulusArray(np.zeros((640, 3)), 64)], [0.0]))


def test_transform_rejects_text_file(tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("not audio")
    with pytest.raises(ValueError, match="text.wav' is not an audio file that soundfile can read"):
        MelSpectrogram().fit_transform(table([str(path)], [0.0]))


# --- rows, order and index of the table ---

TABLES = {
    "shuffled": lambda y: y.sample(frac=1, random_state=3),
    "subset": lambda y: y.iloc[1:9:3],
    "single row": lambda y: y.iloc[[5]],
    "string index": lambda y: y.set_index(np.array([f"r{i}" for i in range(len(y))])),
    "duplicated index": lambda y: y.set_index(np.zeros(len(y), int)),
    "extra columns": lambda y: y.assign(note="x", onset=3.0),
}


@pytest.mark.parametrize("features", [MelSpectrogram(n_mels=8), Envelope()])
@pytest.mark.parametrize("name", TABLES)
def test_transform_depends_on_rows_only(noise, tmp_path, features, name):
    path, audio = noise
    other = write(tmp_path / "other.wav", audio[::-1])
    y = table([path, other] * 6, np.linspace(-1, 3, 12)).assign(row=np.arange(12))
    fitted = clone(features).fit(y)
    whole = np.asarray(fitted.transform(y))
    changed = TABLES[name](y)
    windows = fitted.transform(changed)
    np.testing.assert_array_equal(np.asarray(windows), whole[changed["row"]])
    pd.testing.assert_frame_equal(windows.rows, changed)
    np.testing.assert_array_equal(np.asarray(clone(features).fit_transform(changed)), np.asarray(windows))
    message = pickle.dumps(windows)
    assert len(message) < 8000
    np.testing.assert_array_equal(np.asarray(pickle.loads(message)), np.asarray(windows))
    np.testing.assert_array_equal(
        np.asarray(pickle.loads(pickle.dumps(fitted)).transform(changed)), np.asarray(windows)
    )


def test_precomputed_features_selects_columns():
    sound = StimulusArray(np.arange(300.0).reshape(100, 3), 10)
    y = table([sound], [2.0], 1.0)
    everything = PrecomputedFeatures().fit_transform(y)[0]
    features = PrecomputedFeatures(columns=[2, 0]).fit(y)
    assert features.n_features_out_ == 2
    np.testing.assert_array_equal(features.transform(y)[0], everything[[2, 0]])
    vectors = pd.DataFrame([[1.0, 2.0, 3.0]], index=["a"], columns=["x", "y", "z"])
    rows = pd.DataFrame({"sound": [ImageStimulus("a")], "sound_onset": 0.0, "duration": 1.0})
    found = PrecomputedFeatures(vectors, columns=[1]).fit(rows)
    assert found.transform(rows).tolist() == [[2.0]]
    assert found.get_feature_names_out().tolist() == ["y"]
    with pytest.raises(ValueError, match="indices from 0 to 2, of the 3 features. Got \\[3\\]"):
        PrecomputedFeatures(columns=[3]).fit(y)

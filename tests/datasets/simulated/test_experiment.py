"""The shipped speech is timed right, and a simulated listener holds exactly what was planted."""

import json
import re
from pathlib import Path

import mne
import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfiltfilt, stft

from sk_b2s import check_events
from sk_b2s.datasets import load_speech, make_listening
from sk_b2s.datasets.simulated import _experiment as simulated
from sk_b2s.datasets.simulated import _head as head
from sk_b2s.datasets.simulated import _sources as listener_module

TINY = {"n_subjects": 2, "minutes": 1, "n_channels": 16, "artifacts": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("listening")


@pytest.fixture(scope="module")
def tiny(root):
    """Two listeners whose responses stand well above the noise, and their truth."""
    return make_listening(**TINY, snr_db=30, root=root, return_truth=True)


def recording(events, subject):
    return mne.io.read_raw(events.loc[events["subject"] == subject, "recording"].iloc[0], verbose="ERROR")


def stamps(root):
    return {path: path.stat().st_mtime_ns for path in Path(root).rglob("*") if path.is_file()}


# ---- the speech


def test_words_are_loud_and_pauses_are_not():
    speech = load_speech()
    for path, rows in speech[speech["type"] == "word"].groupby("sound"):
        samples, rate = soundfile.read(path)
        power = np.convolve(samples**2, np.ones(80) / 80, "same")
        spoken = np.zeros(len(samples), bool)
        for onset, duration in zip(rows["sound_onset"], rows["duration"], strict=True):
            spoken[round(onset * rate) : round((onset + duration) * rate)] = True

        def contrast(shift, power=power, spoken=spoken, rate=rate):
            mask = np.roll(spoken, round(shift * rate))
            return 10 * np.log10(power[mask].mean() / power[~mask].mean())

        shifts = np.arange(-0.1, 0.101, 0.01)
        best = shifts[np.argmax([contrast(shift) for shift in shifts])]
        assert contrast(0) > 20, path
        assert abs(best) < 0.015, path


def test_phones_tile_their_words():
    speech = load_speech()
    spoken = speech[speech["type"] != "sound"].assign(stop=lambda t: t["sound_onset"] + t["duration"])
    spans = spoken.groupby(["type", "sequence", "word_index"]).agg(
        begin=("sound_onset", "min"), stop=("stop", "max"), seconds=("duration", "sum")
    )
    words, phones = spans.loc["word"], spans.loc["phoneme"]
    assert words.index.equals(phones.index)
    np.testing.assert_allclose(words, phones, atol=2e-3)


def test_sentence_and_text_name_each_other():
    words = load_speech().query("type == 'word'")
    texts = words.groupby(["sound", "sequence"])["text"].agg(" ".join).reset_index()
    assert texts["text"].is_unique
    assert texts["sequence"].is_unique
    assert words.groupby("sound")["speaker"].nunique().eq(1).all()
    assert words["speaker"].nunique() == 3


@pytest.mark.parametrize("minutes", [0.2, 1, 5])
def test_speech_stops_at_a_sentence_end(minutes):
    speech, everything = load_speech(minutes), load_speech()
    sounds = speech[speech["type"] == "sound"]
    assert minutes * 60 <= sounds["duration"].sum() < minutes * 60 + 40
    last = sounds.iloc[-1]
    words = everything[(everything["type"] == "word") & (everything["sound"] == last["sound"])]
    heard = words["sound_onset"] < last["duration"]
    assert not set(words.loc[heard, "sequence"]) & set(words.loc[~heard, "sequence"])
    assert (words.loc[heard, "sound_onset"] + words.loc[heard, "duration"]).max() < last["duration"]
    assert heard.sum() == (speech["type"].eq("word") & speech["sound"].eq(last["sound"])).sum()


@pytest.mark.parametrize("minutes", [0, -1, 46, np.nan, "ten"])
def test_more_or_less_speech_than_there_is(minutes):
    with pytest.raises(
        ValueError, match=r"minutes must be .* at most 45\.4.* got " + re.escape(repr(minutes))
    ):
        load_speech(minutes)


# ---- the experiment


def test_events_are_a_valid_table_equal_in_sound_time(tiny):
    events, _ = tiny
    checked = check_events(events)
    assert len(checked) == len(events)
    columns = ["type", "sound", "sound_onset", "duration", "text", "sequence", "word_index", "speaker"]
    one, two = (
        events[events["subject"] == s]
        .sort_values(["sound", "sound_onset", "type"])[columns]
        .reset_index(drop=True)
        for s in ("01", "02")
    )
    assert one.equals(two)
    for _, rows in events.groupby("recording"):
        assert rows["onset"].is_monotonic_increasing
        assert (rows["onset"] + rows["duration"]).max() + 3 < rows["recording_duration"].iloc[0]


def test_order_is_each_subjects_own_and_sounds_keep_apart(root):
    events = make_listening(n_subjects=3, minutes=6, n_channels=4, root=root)
    sounds = events[events["type"] == "sound"]
    orders = sounds.groupby("subject")["sound"].agg(tuple)
    assert orders.nunique() > 1
    assert orders.map(lambda order: tuple(sorted(order))).nunique() == 1
    for _, rows in sounds.groupby("subject"):
        gaps = rows["onset"].to_numpy()[1:] - (rows["onset"] + rows["duration"]).to_numpy()[:-1]
        assert gaps.min() >= 3.49
        assert gaps.max() <= 6.01
    words = events[events["type"] == "word"]
    begun = words.merge(
        sounds[["subject", "sound", "onset"]], on=["subject", "sound"], suffixes=("", "_begun")
    )
    np.testing.assert_allclose(begun["onset"], begun["onset_begun"] + begun["sound_onset"], atol=2e-4)


def test_stimuli_are_what_was_heard(tiny):
    events, _ = tiny
    heard, shipped = events[events["type"] == "sound"].iloc[0], load_speech(1).iloc[0]
    samples, rate = soundfile.read(heard["sound"])
    assert len(samples) == round(heard["duration"] * rate)
    whole, _ = soundfile.read(shipped["sound"])
    np.testing.assert_allclose(samples, whole[: len(samples)], atol=2**-15)


@pytest.mark.parametrize(("modality", "kind", "typical"), [("meg", "mag", 200e-15), ("eeg", "eeg", 10e-6)])
def test_recordings_have_units_types_and_positions(root, modality, kind, typical):
    events = make_listening(**TINY, modality=modality, root=root)
    raw = recording(events, "01").load_data(verbose="ERROR")
    assert raw.get_channel_types(unique=True) == [kind]
    assert raw.duration == pytest.approx(events["recording_duration"].iloc[0], abs=1e-6)
    assert typical / 3 < raw.filter(0.5, 20, verbose="ERROR").get_data().std() < typical * 3
    places = np.array([channel["loc"][:3] for channel in raw.info["chs"]])
    distances = np.linalg.norm(places[:, None] - places, axis=2)[np.triu_indices(16, 1)]
    assert distances.min() > 0.02
    radius = np.linalg.norm(places - [0, 0, 0.04], axis=1)
    np.testing.assert_allclose(radius, {"meg": 0.115, "eeg": 0.095}[modality], atol=1e-3)


def test_a_source_in_the_right_ear_shows_on_the_right():
    """A radial-tangential pair by hand: a sensor right above a tangential dipole sees nothing, beside it most."""
    info, sphere = head.make_sensors("meg", 208, 128.0)
    place, upward = np.array([[0.06, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0]])
    field = head.lead_field(info, sphere, place, upward)[:, 0]
    sensors = np.array([channel["loc"][:3] for channel in info["chs"]]) - [0, 0, 0.04]
    assert (sensors[np.abs(field) > np.abs(field).max() / 2, 0] > 0.05).all()
    # the field of an upward current at the right goes in at one side of it and out at the other
    assert sensors[np.argmax(field), 1] * sensors[np.argmin(field), 1] < 0
    outward = head.lead_field(info, sphere, place, np.array([[1.0, 0.0, 0.0]]))[:, 0]
    assert np.abs(outward).max() < 1e-6 * np.abs(field).max()


# ---- what was planted


def test_features_have_no_delay(tmp_path):
    """A tone from 0.5 to 0.8 s rises at 0.5 s; its end, a click in other bands, is left aside."""
    times = np.arange(16000) / 16000
    soundfile.write(
        tmp_path / "tone.wav", 0.3 * np.sin(2e3 * np.pi * times) * ((times > 0.5) & (times < 0.8)), 16000
    )
    features = listener_module.sound_features(tmp_path / "tone.wav", 1.0)
    rise, envelope = (features[name].sum(axis=0) for name in ("onset", "envelope"))
    assert np.argmax(rise) / 250 == pytest.approx(0.5, abs=0.009)
    assert max(rise[:118].max(), rise[132:190].max()) < 0.05 * rise.max()
    assert envelope[130:195].min() > 10 * envelope[:118].max()


def onsets_and_envelope(path, weights):
    """Weighted band onsets and envelopes at 128 Hz, by other code than the simulation's: (2, n_frames)."""
    samples, rate = soundfile.read(path)
    frequencies, _, bins = stft(samples, rate, nperseg=400, noverlap=400 - rate // 128)
    mel = 2595 * np.log10(1 + frequencies / 700)
    band = np.minimum((8 * mel / mel[-1]).astype(int), 7)
    bands = np.array([(np.abs(bins[band == b]) ** 2).sum(axis=0) for b in range(8)]) ** 0.3
    return weights[0] @ np.maximum(np.gradient(bands, axis=1), 0), weights[1] @ bands


@pytest.mark.parametrize("subject", ["01", "02"])
def test_planted_latencies_come_back(tiny, subject):
    """Deconvolve the sensors, projected on the planted patterns, by features computed otherwise."""
    events, truth = tiny
    truth = truth[subject]
    raw = recording(events, subject)
    planted = truth.recordings[events.loc[events["subject"] == subject, "recording"].iloc[0]]
    found = np.linalg.pinv(planted.patterns.T) @ raw.get_data()
    sound = events[(events["subject"] == subject) & (events["type"] == "sound")].iloc[0]
    sfreq, begin = raw.info["sfreq"], round(sound["onset"] * raw.info["sfreq"])
    weights = [truth.weights[name][0] for name in ("onset", "envelope")]
    features = onsets_and_envelope(sound["sound"], weights)
    kernels = [truth.kernels[name] for name in ("onset", "envelope")]
    for feature, response, kernel in zip(features, found[:2], kernels, strict=True):
        n_lags = round(0.4 * sfreq)
        lagged = np.array([np.roll(np.pad(feature, (0, n_lags)), lag) for lag in range(n_lags)])
        heard = response[begin : begin + lagged.shape[1]]
        gram = lagged @ lagged.T
        estimate = np.linalg.solve(gram + 1e-3 * np.trace(gram) / n_lags * np.eye(n_lags), lagged @ heard)
        planted = np.interp(np.arange(n_lags) / sfreq, truth.lags, kernel)
        match = [np.corrcoef(np.roll(planted, shift), estimate)[0, 1] for shift in range(-12, 13)]
        assert abs(np.argmax(match) - 12) <= 1  # sample, 8 ms
        assert max(match) > 0.95


@pytest.mark.parametrize("modality", ["meg", "eeg"])
def test_signal_to_noise_is_as_asked_at_the_best_channel(root, modality):
    events, truth = make_listening(**TINY, modality=modality, root=root, return_truth=True)
    for subject, listener in truth.items():
        raw = recording(events, subject)
        (planted,) = listener.recordings.values()
        evoked = planted.patterns.T @ planted.sources
        noise = raw.get_data() - evoked
        band = butter(4, (0.5, 20), "bandpass", fs=raw.info["sfreq"], output="sos")
        sound = events[(events["subject"] == subject) & (events["type"] == "sound")].iloc[0]
        heard = np.abs(raw.times - sound["onset"] - sound["duration"] / 2) < sound["duration"] / 2
        ratio = sosfiltfilt(band, evoked)[:, heard].std(axis=1) / sosfiltfilt(band, noise).std(axis=1)
        assert 20 * np.log10(ratio.max()) == pytest.approx(listener.snr_db, abs=0.5)


def test_subjects_differ_as_said():
    people = [listener_module.draw_listener(np.random.default_rng(seed), -18.0) for seed in range(300)]
    snr = np.array([person.snr_db for person in people])
    assert snr.mean() == pytest.approx(-18, abs=0.6)
    assert snr.std() == pytest.approx(3, abs=0.4)
    latencies = np.array([person.latencies["onset"] for person in people])
    np.testing.assert_allclose(latencies.mean(axis=0), [0.050, 0.100, 0.190], atol=0.006)
    np.testing.assert_allclose(latencies.std(axis=0), 0.012, atol=0.002)
    positions = np.array([person.positions[:8] for person in people])
    np.testing.assert_allclose(positions.std(axis=0), 0.006, atol=0.001)
    assert np.linalg.norm([person.positions for person in people], axis=2).max() < 0.0855  # inside the skull


def test_noise_is_pink_with_alpha(root):
    events, truth = make_listening(**TINY, modality="eeg", root=root, return_truth=True)
    raw = recording(events, "01")
    (planted,) = truth["01"].recordings.values()
    noise = raw.get_data() - planted.patterns.T @ planted.sources
    power = np.mean(np.abs(np.fft.rfft(noise)) ** 2, axis=0)
    frequency = np.fft.rfftfreq(noise.shape[1], 1 / 128)

    def level(low, high):
        return np.mean(power[(frequency > low) & (frequency < high)])

    assert level(9, 11) > 3 * level(13, 15)
    assert 2**0.8 < level(0.75, 1.5) / level(1.5, 3) < 2**1.6  # 1/f^1.2 over an octave


# ---- reproducibility and the folder


def test_equal_seeds_are_equal_people_however_many(root, tmp_path):
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    alone, truth = make_listening(**(TINY | {"n_subjects": 1}), snr_db=30, root=tmp_path, return_truth=True)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    both, _ = make_listening(**TINY, snr_db=30, root=root, return_truth=True)
    np.testing.assert_array_equal(recording(alone, "01").get_data(), recording(both, "01").get_data())
    paths = ["recording", "sound"]
    assert alone.drop(columns=paths).equals(both[both["subject"] == "01"].drop(columns=paths))
    other, others_truth = make_listening(
        **(TINY | {"n_subjects": 1}), snr_db=30, root=tmp_path, random_state=1, return_truth=True
    )
    assert other["recording"].iloc[0] != alone["recording"].iloc[0]
    assert not np.allclose(truth["01"].latencies["onset"], others_truth["01"].latencies["onset"])


def test_equal_parameters_reuse_the_files_and_give_the_same(root, tiny):
    before = stamps(root)
    events, truth = make_listening(**TINY, snr_db=30.0, root=root, return_truth=True)
    assert stamps(root) == before
    assert events.equals(tiny[0])
    for path, planted in truth["02"].recordings.items():
        np.testing.assert_array_equal(planted.sources, tiny[1]["02"].recordings[path].sources)


@pytest.mark.parametrize("lost", ["dataset_description.json", "sub-02/meg/sub-02_task-listening_meg.fif"])
def test_a_half_written_folder_is_made_anew(tmp_path, lost):
    arguments = TINY | {"minutes": 0.2, "root": tmp_path}
    folder = Path(make_listening(**arguments)["recording"].iloc[0]).parents[2]
    before = recording(make_listening(**arguments), "01").get_data()
    (folder / lost).unlink()
    events = make_listening(**arguments)
    assert (folder / lost).is_file()
    np.testing.assert_array_equal(recording(events, "01").get_data(), before)


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    arguments = TINY | {"minutes": 0.2, "root": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr(simulated, "_draw_schedule", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_listening(**arguments)
    assert not list(tmp_path.iterdir())
    assert len(make_listening(**arguments))


def test_cache_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SK_B2S_CACHE", str(tmp_path / "cache"))
    events = make_listening(n_subjects=1, minutes=0.1, n_channels=4)
    assert Path(events["recording"].iloc[0]).is_relative_to(tmp_path / "cache")
    description = next((tmp_path / "cache").glob("*/dataset_description.json"))
    assert json.loads(description.read_text())["Parameters"]["n_channels"] == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"modality": "fnirs"}, r"modality must be one of \['meg', 'eeg'\], got 'fnirs'"),
        ({"minutes": 60}, r"minutes must be a number above 0 and at most 45\.4"),
        ({"n_subjects": 0}, r"n_subjects must be an integer above 0; got 0"),
        ({"n_channels": 306}, r"n_channels must be an integer from 4 to 208; got 306"),
        ({"n_channels": 20, "modality": "eeg"}, r"n_channels must be one of \[16, 32, 64, 128\]; got 20"),
        ({"snr_db": np.inf}, r"snr_db must be a number of decibels; got inf"),
        ({"sfreq": 10}, r"sfreq must be a rate from 50 to 1000 Hz; got 10"),
        ({"random_state": None}, r"random_state must be an integer of 0 or more.*got None"),
    ],
)
def test_errors_name_the_parameter_and_the_way_out(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        make_listening(**wrong, root=tmp_path)
    assert not list(tmp_path.iterdir())

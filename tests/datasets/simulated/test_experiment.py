"""Tests of the simulated listening experiment."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.simulated import PARAMETERS, list_times, read_recording

from sk_b2s import check_events, make_segments
from sk_b2s.datasets import load_speech, make_listening
from sk_b2s.datasets.simulated import _experiment as experiment
from sk_b2s.datasets.simulated import _folder


def test_make_listening_returns_valid_events(small_experiment):
    events, _ = small_experiment
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


def test_make_listening_order_and_gaps(root):
    events = make_listening(n_subjects=3, minutes=6, n_channels=4, sfreq=50, root=root)
    sounds = events[events["type"] == "sound"]
    orders = sounds.groupby("subject")["sound"].agg(tuple)
    assert orders.nunique() > 1
    assert orders.map(lambda order: tuple(sorted(order))).nunique() == 1
    for _, rows in sounds.groupby("subject"):
        gaps = rows["onset"].to_numpy()[1:] - (rows["onset"] + rows["duration"]).to_numpy()[:-1]
        assert gaps.min() >= 3.49
        assert gaps.max() <= 6.01
    words = events[events["type"] == "word"]
    merged = words.merge(
        sounds[["subject", "sound", "onset"]], on=["subject", "sound"], suffixes=("", "_sound")
    )
    np.testing.assert_allclose(merged["onset"], merged["onset_sound"] + merged["sound_onset"], atol=2e-4)


def test_make_listening_writes_stimuli(small_experiment):
    events, _ = small_experiment
    presented, packaged = events[events["type"] == "sound"].iloc[0], load_speech(1).iloc[0]
    samples, rate = soundfile.read(presented["sound"])
    assert len(samples) == round(presented["duration"] * rate)
    whole, _ = soundfile.read(packaged["sound"])
    np.testing.assert_allclose(samples, whole[: len(samples)], atol=2**-15)


@pytest.mark.parametrize(("modality", "kind", "typical"), [("meg", "mag", 200e-15), ("eeg", "eeg", 10e-6)])
def test_make_listening_channels_and_units(root, modality, kind, typical):
    events = make_listening(**PARAMETERS, modality=modality, root=root)
    raw = read_recording(events, "01").load_data(verbose="ERROR")
    assert raw.get_channel_types(unique=True) == [kind]
    assert raw.duration == pytest.approx(events["recording_duration"].iloc[0], abs=1e-6)
    assert typical / 3 < raw.filter(0.5, 20, verbose="ERROR").get_data().std() < typical * 3
    places = np.array([channel["loc"][:3] for channel in raw.info["chs"]])
    distances = np.linalg.norm(places[:, None] - places, axis=2)[np.triu_indices(16, 1)]
    assert distances.min() > 0.02
    radius = np.linalg.norm(places - [0, 0, 0.04], axis=1)
    np.testing.assert_allclose(radius, {"meg": 0.115, "eeg": 0.095}[modality], atol=1e-3)


def test_runs_by_speaker_and_sessions_repeat(root):
    events = make_listening(n_subjects=2, minutes=6, n_channels=4, sfreq=50, sessions=2, runs=3, root=root)
    sounds = events[events["type"] == "sound"]
    assert sounds.groupby("run")["speaker"].nunique().eq(1).all()
    assigned = sounds.groupby(["subject", "session", "run"])["sound"].agg(lambda s: tuple(sorted(s)))
    assert assigned.groupby("run").nunique().eq(1).all()
    assert (
        sounds.groupby(["subject", "session"])["sound"]
        .nunique()
        .eq(len(load_speech(6)["sound"].unique()))
        .all()
    )
    assert sounds["recording"].nunique() == 12
    assert events.groupby("recording")["onset"].apply(lambda o: o.is_monotonic_increasing).all()


def test_ignored_talker_stream(make):
    _, truths, events = make("ignored", minutes=4, n_channels=4)
    check_events(events)
    sounds = events[events["type"] == "sound"].sort_values("onset")
    attended, ignored = (
        sounds[sounds["stream"] == s].reset_index(drop=True) for s in ("attended", "ignored")
    )
    assert len(attended) == len(ignored) == 3
    assert (attended["speaker"] != ignored["speaker"]).all()
    assert (ignored["onset"] - attended["onset"]).round(3).eq(1.0).all()
    assert (ignored["onset"] + ignored["duration"] <= attended["onset"] + attended["duration"] + 1e-3).all()
    (truth,) = truths.values()
    _, plain, _ = make(False, minutes=4, n_channels=4)
    (plain,) = plain.values()
    np.testing.assert_allclose(truth.expected, plain.expected, atol=1e-5)
    extra = truth.sources - truth.expected
    assert 0.3 < extra.std() / truth.expected.std() < 0.5
    _, y = make_segments(events, stream="ignored")
    assert set(y["stream"]) == {"ignored"}


def test_responses_silence_other_sources(make):
    (words,) = make(False, responses=("word",), minutes=0.2, n_channels=4)[1].values()
    assert (words.sources != 0).any(1).tolist() == [False] * 4 + [True]
    assert words.noise.brain.any()
    everything = ("word", "onset", "phonetic", "envelope")
    assert (
        experiment._check_listening_responses(everything) == experiment._check_listening_responses(None) == {}
    )


def test_make_listening_is_reproducible(root, tmp_path):
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    alone, truth = make_listening(
        **(PARAMETERS | {"n_subjects": 1}), snr_db=30, root=tmp_path, return_truth=True
    )
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    both, _ = make_listening(**PARAMETERS, snr_db=30, root=root, return_truth=True)
    np.testing.assert_array_equal(
        read_recording(alone, "01").get_data(), read_recording(both, "01").get_data()
    )
    paths = ["recording", "sound"]
    assert alone.drop(columns=paths).equals(both[both["subject"] == "01"].drop(columns=paths))
    other, others_truth = make_listening(
        **(PARAMETERS | {"n_subjects": 1}), snr_db=30, root=tmp_path, random_state=1, return_truth=True
    )
    assert other["recording"].iloc[0] != alone["recording"].iloc[0]
    assert not np.allclose(truth["01"].latencies["onset"], others_truth["01"].latencies["onset"])


def test_make_listening_reuses_folder(root, small_experiment):
    before = list_times(root)
    events, truth = make_listening(**PARAMETERS, snr_db=30.0, root=root, return_truth=True)
    assert list_times(root) == before
    assert events.equals(small_experiment[0])
    for path, expected in truth["02"].recordings.items():
        np.testing.assert_array_equal(expected.sources, small_experiment[1]["02"].recordings[path].sources)


@pytest.mark.parametrize("missing", ["dataset_description.json", "sub-02/meg/sub-02_task-listening_meg.fif"])
def test_make_listening_completes_folder(tmp_path, missing):
    arguments = PARAMETERS | {"minutes": 0.2, "root": tmp_path}
    folder = Path(make_listening(**arguments)["recording"].iloc[0]).parents[2]
    before = read_recording(make_listening(**arguments), "01").get_data()
    (folder / missing).unlink()
    events = make_listening(**arguments)
    assert (folder / missing).is_file()
    np.testing.assert_array_equal(read_recording(events, "01").get_data(), before)


def test_make_listening_interrupted(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    arguments = PARAMETERS | {"minutes": 0.2, "root": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "plan_recording_schedule", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_listening(**arguments)
    assert not list(tmp_path.iterdir())
    assert len(make_listening(**arguments))


@pytest.mark.parametrize("exists", [False, True], ids=["new", "incomplete"])
def test_write_folder_keeps_that_of_another_process(tmp_path, monkeypatch, exists):
    """The other one completes it after this one has looked."""
    parameters, target = {"n_subjects": 1}, tmp_path / "listening"
    if exists:
        target.mkdir()
        (target / "rest").write_text("of an older version")

    def write_of(name):
        def write(folder):
            folder.mkdir()
            (folder / "recording").write_text(name)

        return write

    look, n_looks = _folder.is_simulation_complete, [0]

    def look_before_the_other(folder, known):
        found = look(folder, known)
        n_looks[0] += 1
        if n_looks[0] == 2:
            _folder.write_simulation_folder(target, parameters, write_of("first"), "make_listening")
        return found

    monkeypatch.setattr(_folder, "is_simulation_complete", look_before_the_other)
    _folder.write_simulation_folder(target, parameters, write_of("second"), "make_listening")
    assert (target / "recording").read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_make_listening_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SK_B2S_CACHE", str(tmp_path / "cache"))
    events = make_listening(n_subjects=1, minutes=0.1, n_channels=4)
    assert Path(events["recording"].iloc[0]).is_relative_to(tmp_path / "cache")
    description = next((tmp_path / "cache").glob("*/dataset_description.json"))
    assert json.loads(description.read_text())["Parameters"]["n_channels"] == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"modality": "fnirs"},
            r"'modality' parameter of make_listening must be one of \['meg', 'eeg'\]. Got 'fnirs'",
        ),
        ({"minutes": 60}, r"'minutes' must be None, or a number above 0 and at most 45\.4"),
        ({"n_subjects": 0}, r"'n_subjects' parameter .* an integer above 0 .* Got 0"),
        ({"n_channels": 306}, r"'n_channels' parameter .* an integer from 4 to 208 .* Got 306"),
        (
            {"n_channels": 20, "modality": "eeg"},
            r"'n_channels' parameter .* one of \[16, 32, 64, 128\] .* Got 20",
        ),
        ({"snr_db": np.inf}, r"'snr_db' parameter .* a number of decibels .* Got inf"),
        ({"sfreq": 10}, r"'sfreq' parameter .* a rate from 50 to 1000 Hz .* Got 10"),
        ({"responses": ["pitch"]}, r"'responses' parameter .* list of \['onset', .* Got \['pitch'\]"),
        ({"responses": "word"}, r"'responses' parameter .* Got 'word'"),
        ({"random_state": None}, r"'random_state' parameter .* an integer of 0 or more.*Got None"),
    ],
)
def test_make_listening_rejects_parameters(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        make_listening(**wrong, root=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sessions": 0}, "'sessions' parameter of make_listening must be an integer above 0 .* Got 0"),
        ({"runs": 9}, "'runs' parameter .* from 1 to 2, the number of audio files in minutes=2 .* Got 9"),
        ({"artifacts": "ignored", "minutes": 1}, "an ignored talker requires two speakers"),
    ],
)
def test_make_listening_rejects_sessions_and_runs(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        make_listening(**({"n_subjects": 1, "minutes": 2, "n_channels": 16} | wrong), root=tmp_path)

"""Command listen: audio, page and errors."""

import re

import numpy as np
import pytest
import soundfile
from helpers.pages import Reader
from sklearn.pipeline import make_pipeline

from sk_b2s import Epocher, FeatureScaler, MelSpectrogram, RidgeDecoder, SpeechReconstructor, save
from sk_b2s._cli._main import main
from sk_b2s.synthesis import read_wav_metadata


@pytest.fixture(scope="module")
def arguments(listening, listening_events, tmp_path_factory):
    """Options of a saved reconstructor, a recording and its stimulus."""
    X, y = listening
    speech = make_pipeline(MelSpectrogram(n_mels=4, sfreq=20), FeatureScaler())
    decoder = make_pipeline(Epocher(sfreq=20, lag=0, l_freq=0.5, h_freq=8), RidgeDecoder(speech=speech, k=5))
    folder = tmp_path_factory.mktemp("model")
    other = y["sound"] != y["sound"].iloc[0]
    train = other if other.any() else y["sound_onset"] > 60
    save(SpeechReconstructor(decoder).fit(X[train], y[train]), folder / "model.safetensors")
    save(decoder.fit(X[train], y[train]), folder / "decoder.safetensors")
    rows = listening_events[listening_events["type"] == "sound"]
    row = rows[(rows["recording"] == X["recording"].iloc[0]) & (rows["sound"] == y["sound"].iloc[0])].iloc[0]
    audio, rate = soundfile.read(row["sound"], stop=int(40 * soundfile.info(row["sound"]).samplerate))
    soundfile.write(folder / "silence.wav", np.zeros(16000 * 30), 16000)
    soundfile.write(folder / "sound.wav", np.c_[audio, audio], rate)
    soundfile.write(folder / "short.wav", audio[: rate // 4], rate)
    soundfile.write(folder / "seconds.wav", audio[: 4 * rate], rate)
    (folder / "text.wav").write_text("no sound")
    return {
        "folder": folder, "recording": str(row["recording"]), "--subject": str(row["subject"]),
        "--onset": str(row["onset"] - row["sound_onset"]), "--model": str(folder / "model.safetensors"),
        "--sound": str(folder / "sound.wav"), "--shifts": "50", "--duration": "2",
    }  # fmt: skip


def run(arguments, tmp_path, **changes):
    """Run the command, with None for an option that is left out."""
    options = {
        **arguments,
        "--output": str(tmp_path / "a.wav"),
        "--page": str(tmp_path / "a.html"),
        **changes,
    }
    options.pop("folder")
    recording = options.pop("recording")
    words = [word for name, value in options.items() if value is not None for word in (name, value) if word]
    return main(["listen", recording, *words])


def test_listen_scores_known_stimulus(arguments, tmp_path, capsys):
    assert run(arguments, tmp_path, **{"--no-stimulus": ""}) == 0
    assert "correlation is" in capsys.readouterr().out
    audio, rate = soundfile.read(tmp_path / "a.wav")
    assert (len(audio), rate) == (32000, 16000)
    assert read_wav_metadata(tmp_path / "a.wav")["synthetic"]
    page = Reader((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert len(page.all("audio")) == 5


def test_listen_has_no_verdict_without_stimulus(arguments, tmp_path, capsys):
    assert run(arguments, tmp_path, **{"--sound": None, "--onset": None, "--start": "2"}) == 0
    assert "There is no score" in capsys.readouterr().out
    page = Reader((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert len(page.all("audio")) == 3
    assert "There is no verdict" in page.text
    assert len(soundfile.read(tmp_path / "a.wav")[0]) == 32000


def test_listen_reports_an_unseen_subject(arguments, tmp_path, capsys):
    for subject, is_reported in ((arguments["--subject"], False), ("x", True), (None, True)):
        assert run(arguments, tmp_path, **{"--subject": subject, "--duration": "0"}) == 1
        assert ("is not in the model" in capsys.readouterr().out) == is_reported


def test_listen_states_the_duration(arguments, tmp_path, capsys):
    options = {"--sound": None, "--onset": None, "--start": "900", "--step": "8"}
    assert run(arguments, tmp_path, **options) == 1
    seconds = float(re.search(r"below the ([0-9.]+) s", capsys.readouterr().err)[1])
    assert seconds > 10
    assert run(arguments, tmp_path, **{**options, "--start": "2", "--duration": "8"}) == 0  # with gaps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recording": "none.fif"}, "'none.fif' does not exist"),
        ({"--model": "decoder.safetensors"}, "must contain a fitted SpeechReconstructor"),
        ({"--sound": "none.wav"}, "--sound: the file"),
        ({"--sound": None}, "--onset requires --sound"),
        ({"--sound": "silence.wav"}, "silent"),
        ({"--sound": "short.wav"}, "--sound"),
        ({"--sound": "seconds.wav"}, "--sound"),
        ({"--sound": "text.wav"}, "--sound"),
        ({"--start": "900"}, "--start"),
        ({"--start": "nan"}, "--start"),
        ({"--shifts": "-3"}, "--shifts"),
        ({"--duration": "0"}, "--duration"),
        ({"--onset": "9000"}, "window"),
    ],
    ids=[
        "recording",
        "model",
        "sound",
        "onset",
        "silence",
        "short",
        "seconds",
        "text",
        "start",
        "nan",
        "shifts",
        "duration",
        "late",
    ],
)
def test_listen_names_the_wrong_option(arguments, tmp_path, capsys, changes, message):
    changes = {
        name: str(arguments["folder"] / value) if (arguments["folder"] / str(value)).exists() else value
        for name, value in changes.items()
    }
    assert run(arguments, tmp_path, **changes) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.wav").exists()

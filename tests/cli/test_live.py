"""Command live: same predictions as the library, view and errors."""

import contextlib
import io
import os
from functools import partial
from types import SimpleNamespace

import mne
import numpy as np
import pytest
from helpers.processes import run_in_processes
from sklearn.pipeline import make_pipeline

from sk_b2s import Epocher, FeatureScaler, LikelihoodDecoder, MelSpectrogram, StreamingDecoder, load, save
from sk_b2s._cli import _live
from sk_b2s._cli._live import (
    LimitedLiveSource,
    LiveTerminalView,
    iter_live_replay,
    parse_live_candidates,
    read_live_sensor_positions,
    warm_up_live,
)
from sk_b2s._cli._main import main
from sk_b2s._cli._parser import make_parser
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.streaming import read_live_predictions
from sk_b2s.streaming._sources import _lsl


@pytest.fixture(scope="module")
def arguments(listening, listening_events, tmp_path_factory):
    """Options of a saved causal pipeline, a recording and two sounds."""
    X, y = listening
    speech = make_pipeline(MelSpectrogram(n_mels=4, sfreq=32), FeatureScaler())
    epocher = Epocher(sfreq=32, lag=0.1, l_freq=0.5, h_freq=12, causal=True)
    pipeline = make_pipeline(epocher, LikelihoodDecoder(speech=speech, lags=(-0.1, 0.2), k=5)).fit(X, y)
    path = tmp_path_factory.mktemp("model") / "causal.safetensors"
    save(pipeline, path)
    sounds = listening_events[listening_events["type"] == "sound"]
    heard = sounds[sounds["recording"] == sounds["recording"].iloc[0]].sort_values("onset").iloc[0]
    other = next(sound for sound in sounds["sound"] if str(sound) != str(heard["sound"]))
    return {
        "--model": str(path), "--candidates": [f"heard={heard['sound']}", f"other={other}"],
        "--replay": str(heard["recording"]), "--onset": str(heard["onset"] - heard["sound_onset"]),
        "--subject": str(heard["subject"]), "--step": "0.5",
    }  # fmt: skip


def make_argv(arguments, *options):
    words = []
    for name, value in arguments.items():
        words += [name, *([value] if isinstance(value, str) else value)] if value else []
    return ["live", *words, *options]


def test_live_equals_the_decoder(arguments, tmp_path, capsys):
    path = tmp_path / "live.jsonl"
    argv = make_argv(
        arguments, "--no-lsl", "--twin", "--truth", "heard", "--output", str(path), "--port", "0"
    )
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert "page: http://127.0.0.1:" in printed
    assert "end of stream:" in printed
    assert "accuracy of the twin" in printed
    assert "Predictions come from about" in printed
    assert "accuracy" in printed
    found = read_live_predictions(path)
    candidates = parse_live_candidates(arguments["--candidates"])
    raw, pipeline = read_raw(arguments["--replay"]), load(arguments["--model"])
    duration = 3.0
    decoder = StreamingDecoder(
        pipeline, candidates, raw.info["sfreq"], duration, 0.5, subject=arguments["--subject"]
    )
    expected = decoder.start(float(arguments["--onset"])).push(raw.get_data(pipeline[0].ch_names_))
    assert len(found) == len(expected) > 20
    columns = ["time", "stimulus_time", "age", "probability", "heard", "other"]
    np.testing.assert_allclose(found[columns], expected[columns], atol=1e-5)
    assert found["best"].iloc[-1] == "heard"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"--candidates": ["a", "b"]}, [], "must be NAME=FILE"),
        ({"--candidates": ["a=none.wav"]}, [], "'none.wav' does not exist"),
        ({"--candidates": ["a=none.wav@x"]}, [], "after @ must be a number of seconds. Got 'x'"),
        ({}, ["--truth", "third"], "--truth must be one of the candidates heard, other"),
        ({"--model": "none.safetensors"}, [], "none.safetensors"),
        ({"--replay": "none.fif"}, [], "--replay: the recording 'none.fif' does not exist"),
        ({"--subject": []}, [], "--subject is required. The model was fitted to"),
        ({"--onset": "9999"}, [], "--onset must be within the recording"),
        ({}, ["--time-constant", "10"], "--time-constant requires --evidence leaky"),
        ({}, ["--port", "8642"], "--port and --no-page contradict each other"),
        ({}, ["--trigger-code", "3"], "--trigger-code requires --trigger"),
        ({}, ["--tmin", "-0.1"], "--tmin requires candidates that are images"),
        ({"--onset": []}, ["--audio", "AUX"], "It lacks ['AUX']"),
    ],
    ids=[
        "name",
        "sound",
        "delay",
        "truth",
        "model",
        "replay",
        "subject",
        "onset",
        "time constant",
        "port",
        "code",
        "tmin",
        "channel",
    ],
)
def test_live_names_the_wrong_option(arguments, change, options, message, capsys, tmp_path):
    output = tmp_path / "live.jsonl"
    argv = make_argv({**arguments, **change}, "--no-lsl", "--no-page", "--output", str(output), *options)
    assert main(argv) == 1
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_live_page_states_the_error(arguments, tmp_path, monkeypatch, capsys):
    reasons = []
    page = SimpleNamespace(url="", show=None, show_status=None, close=reasons.append)
    monkeypatch.setattr(_live, "make_cli_live_page", lambda *_: page)
    monkeypatch.setattr(_live, "warm_up_live", lambda *_: None)
    path = tmp_path / "folder"
    path.mkdir()
    assert main(make_argv(arguments, "--no-lsl", "--output", str(path))) == 1
    assert "folder" in capsys.readouterr().err
    assert reasons == ["ValueError"]


def test_live_requires_one_source(arguments, capsys):
    with pytest.raises(SystemExit):
        main(make_argv(arguments, "--stream", "EEG"))
    assert "not allowed with" in capsys.readouterr().err


def test_live_finds_onset_in_channel(arguments, tmp_path, capsys):
    onset = float(arguments["--onset"])
    raw = read_raw(arguments["--replay"]).copy().crop(0, onset + 9).load_data()
    channel = np.zeros((1, len(raw.times)))
    channel[0, [0, round(onset * raw.info["sfreq"])]] = 9, 4
    info = mne.create_info(["STI"], raw.info["sfreq"], "stim")
    raw.add_channels([mne.io.RawArray(channel, info, verbose="error")], force_update_info=True)
    raw.save(tmp_path / "sti_raw.fif", verbose="error")
    changed = {**arguments, "--replay": str(tmp_path / "sti_raw.fif"), "--step": "1"}
    quiet = ["--no-lsl", "--no-page", "--output"]
    argv = make_argv(changed, *quiet, str(tmp_path / "known.jsonl"))
    assert main(argv) == 0
    changed |= {"--onset": [], "--trigger": "STI", "--trigger-code": "4"}
    argv = make_argv(changed, *quiet, str(tmp_path / "found.jsonl"))
    assert main(argv) == 0
    assert "after an onset in the channel STI" in capsys.readouterr().out
    found, known = (read_live_predictions(tmp_path / f"{name}.jsonl") for name in ("found", "known"))
    assert set(found["trial"]) == {0}
    assert len(found) == len(known) > 3
    np.testing.assert_allclose(found["heard"], known["heard"], atol=1e-5)


def test_live_finds_onset_of_audio(arguments):
    args = make_parser().parse_args(make_argv({**arguments, "--onset": [], "--audio": "AUX"}))
    finder = _live.make_cli_live_onset(args, parse_live_candidates(args.candidates), 100.0)
    assert repr(finder) == "AudioOnset(['heard', 'other'], sfreq=100, duration=5)"


def test_live_restores_trigger_codes():
    source = SimpleNamespace(_factors=np.array([[1e-6], [1e-6]]))
    assert _live.get_live_trigger_factor(source) == 1e-6
    assert _live.get_live_trigger_factor(object()) == 1
    chunks = LimitedLiveSource([(np.array([[3.0], [4e-6]]), None)], 1, 10, trigger_factor=1e-6)
    np.testing.assert_allclose(next(iter(chunks))[0], [[3], [4]])


@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "log"])
def test_terminal_view_shows_safe_lines(is_terminal):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    view = LiveTerminalView(["a"], stream=stream)
    line = {"probabilities": {"a\x1b[31m\nb": 0.7, "c": 0.3}, "stimulus_time": 3, "age": 0.1}
    for now in np.arange(0, 12, 0.1):
        view.show({**line, "time": now})
        view.show_status(now, 2)
    for now in np.arange(12, 30, 0.1):
        view.show_status(now, 2)  # no new predictions
    assert f"age {now - 11.9 + 0.1:.2f} s" in view.format_line(now, 2)
    view.close()
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "lost 2" in text
    assert text.count("\n") == (1 if is_terminal else 4)
    assert ("\r" in text) == is_terminal


@pytest.mark.parametrize(
    ("n_sent", "patience", "sizes"), [(5, np.inf, [3, 2]), (9, 0.0, [3])], ids=["all", "lost"]
)
def test_replay_ends_after_its_last_samples(n_sent, patience, sizes):
    """Samples that come late are waited for, however long."""
    outlet = SimpleNamespace(is_done=True, n_sent=n_sent)
    reads = [np.zeros((2, n)) for n in (3, *[0] * 20, 2, 0, 1)]
    source = SimpleNamespace(read=lambda: (reads.pop(0), np.zeros(0)))
    assert [read[0].shape[1] for read in iter_live_replay(outlet, source, patience)] == sizes


@pytest.mark.parametrize("baseline", [None, (-0.2, 0)], ids=["none", "before"])
def test_warm_up_live_predicts_and_leaves_the_decoder(arguments, monkeypatch, baseline):
    candidates, pipeline = parse_live_candidates(arguments["--candidates"]), load(arguments["--model"])
    pipeline[0].set_params(baseline=baseline)
    decoder = StreamingDecoder(pipeline, candidates, 128.0, 3.0, 0.5, subject=arguments["--subject"])
    scored, score = [], type(decoder.parts.decoder)._score_targets
    monkeypatch.setattr(
        type(decoder.parts.decoder), "_score_targets", lambda *args: scored.append(1) or score(*args)
    )
    warm_up_live(decoder, 3.0 + decoder.latency_["total"])
    assert scored
    assert (decoder.n_samples_, decoder.onset) == (0, None)


def test_limited_source_ends_after_the_sounds():
    chunks = [(np.zeros((2, 3)), None)] * 5
    assert len(list(LimitedLiveSource(chunks, 0.8, 10))) == 3
    source = SimpleNamespace(arrival=lambda: 7.0)
    assert LimitedLiveSource(source, 1, 10).arrival() == 7.0


def test_read_live_positions_needs_a_recording(arguments):
    epocher, decoder = load(arguments["--model"])[0], SimpleNamespace(uses_positions=True)
    args = SimpleNamespace(positions=None, replay=None, subject=arguments["--subject"])
    assert read_live_sensor_positions(args, epocher, SimpleNamespace(), 3.0) is None
    with pytest.raises(ValueError, match="--positions is required"):
        read_live_sensor_positions(args, epocher, decoder, 3.0)
    args.replay = arguments["--replay"]
    positions = read_live_sensor_positions(args, epocher, decoder, 3.0)
    assert positions.shape == (len(epocher.ch_names_), 2)
    assert np.isfinite(positions).all()


def run_with_lsl(argv):
    """Run the command in a process that ends with liblsl: status and text.

    The stream is found, and samples are not too old, however slow the machine.
    """
    os.environ["MNE_LSL_LOG_LEVEL"] = "ERROR"
    _lsl.TIMEOUT = 300.0
    _live.StreamingDecoder = partial(StreamingDecoder, max_age=1e6)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        return main(argv), printed.getvalue()


@pytest.mark.slow
def test_live_through_lsl_equals_the_decoder(arguments, tmp_path):
    pytest.importorskip("mne_lsl", reason="requires the extra live", exc_type=Exception)
    path = tmp_path / "live.jsonl"
    argv = make_argv(arguments, "--no-page", "--speed", "20", "--output", str(path))
    ((status, printed),) = run_in_processes(run_with_lsl, [argv])
    assert status == 0
    assert "end of stream" in printed
    direct = tmp_path / "direct.jsonl"
    assert main(make_argv(arguments, "--no-lsl", "--no-page", "--output", str(direct))) == 0
    found, expected = read_live_predictions(path), read_live_predictions(direct)
    assert (found["n_lost"] == 0).all()
    np.testing.assert_allclose(
        found[["time", "heard", "other"]], expected[["time", "heard", "other"]], atol=1e-5
    )

"""File of live predictions and its scores."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.hidden import ALL_NAMES

from sk_b2s.streaming import decode_live, read_live_predictions, score_live_predictions
from sk_b2s.streaming._live_predictions import LivePredictionWriter
from sk_b2s.streaming._onsets import LostOnsetError
from sk_b2s.streaming._regularizer import StreamRegularizer

NAMES = ["a", ALL_NAMES.encode("utf-8", "replace").decode()]


class CountingDecoder:
    """Decoder that predicts once a second, with a probability by trial."""

    sfreq, duration, step, evidence, time_constant, temperature, subject, bads = (
        4,
        1.0,
        1.0,
        "sum",
        1.0,
        1.0,
        None,
        (),
    )

    def __init__(self, best=("a", NAMES[1])):
        self.candidates, self.best = {name: f"{i}.wav" for i, name in enumerate(NAMES)}, best
        self.latency_ = pd.Series({"step": 1.0, "computation": np.nan})

    def reset(self):
        self.trial, self.regularizer = -1, StreamRegularizer(self.sfreq, ["C3", "Cz"])

    n_samples_ = property(lambda self: self.regularizer.n_grid)
    sample_counts_ = property(lambda self: self.regularizer.counts)
    faults_ = property(lambda self: self.regularizer.make_faults())

    def start(self, onset):
        self.onset, self.trial = onset, self.trial + 1

    def push(self, samples, timestamps, arrived):
        list(self.regularizer.push(samples, timestamps, arrived))
        now = self.n_samples_ / self.sfreq - self.onset
        p = 0.75 if self.best[self.trial] == "a" else 0.25
        row = [now + self.onset, now, 0.1, self.best[self.trial], 0.75, p, 1 - p]
        columns = ["time", "stimulus_time", "age", "best", "probability", *NAMES]
        return pd.DataFrame([row] if now > 0 else [], columns=columns)


def make_chunks(seconds):
    return [(np.arange(8.0).reshape(2, 4), (np.arange(4) + 4 * i) / 4) for i in range(seconds)]


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "new" / "live.jsonl"
    counts = decode_live(CountingDecoder(), make_chunks(10), [1, 6], path, {"model": "m"})
    return path, counts


def test_read_returns_what_was_decoded(written):
    path, counts = written
    table = read_live_predictions(path)
    assert len(table) == counts["n_predictions"] == 9
    assert table["trial"].tolist() == [0] * 5 + [1] * 4
    assert table["stimulus_time"].tolist() == [1, 2, 3, 4, 5, 1, 2, 3, 4]
    assert table[NAMES[1]].tolist() == [0.25] * 5 + [0.75] * 4
    (header,), (end,) = table.attrs["headers"].values(), table.attrs["ends"].values()
    assert header["model"] == "m"
    assert header["latency"] == {"step": 1.0}
    assert (end["n_samples"], end["reason"]) == (40, "end of stream")


def test_read_skips_damaged_and_foreign_lines(written):
    path, _ = written
    whole = read_live_predictions(path)
    lines = [line for line in path.read_text().split("\n") if line]
    no_best, infinite = (json.loads(lines[-2]) for _ in range(2))
    del no_best["best"]
    infinite["age"] = float("inf")
    foreign = ['{"key": "0", "type": "prediction"}', '{"key": 3}', "[1]", "text", "[" * 10**5]
    bad = [json.dumps(no_best), json.dumps(infinite), *foreign]
    path.write_text("\n".join([*bad, *lines[:-1], lines[-1][:30]]))
    with pytest.warns(UserWarning, match="8 invalid lines were skipped"):
        table = read_live_predictions(path)
    pd.testing.assert_frame_equal(table, whole)
    writer = LivePredictionWriter(path, {"candidates": ["a"]})  # after the truncated line
    writer.close()
    with pytest.warns(UserWarning, match="8 invalid"):
        assert len(read_live_predictions(path).attrs["headers"]) == 2


def test_read_raises_on_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_live_predictions(tmp_path / "none")
    (tmp_path / "x").write_text("")
    with pytest.raises(ValueError, match="no header"):
        read_live_predictions(tmp_path / "x")
    with pytest.raises(ValueError, match="regular file"):
        read_live_predictions(tmp_path)


def test_decode_live_records_interruption(tmp_path):
    def chunks():
        yield from make_chunks(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_live(CountingDecoder(), chunks(), 0, tmp_path / "a")
    table = read_live_predictions(tmp_path / "a")
    assert len(table) == 3
    assert next(iter(table.attrs["ends"].values()))["reason"] == "interrupted"
    with pytest.raises(ValueError, match="increasing numbers"):
        decode_live(CountingDecoder(), [], [2, 1])
    decoder = CountingDecoder()
    decoder.candidates["time"] = "time.wav"
    with pytest.raises(ValueError, match="'time'. are names of columns"):
        decode_live(decoder, [])


def test_score_by_seconds_of_evidence(written):
    table = read_live_predictions(written[0])
    scores = score_live_predictions(table, NAMES, bin_width=3)
    assert scores["accuracy"].tolist() == [1, 1]
    assert scores["accuracy_shifted"].tolist() == [0, 0]
    assert scores["probability"].tolist() == [0.75, 0.75]
    assert scores["n_trials"].tolist() == [2, 2]
    assert scores["n_predictions"].tolist() == [4, 5]
    assert scores["chance"].tolist() == [0.5, 0.5]
    one = score_live_predictions(table, "a", bin_width=3)
    assert one["accuracy"].tolist() == [0.5, 0.5]
    switched = pd.DataFrame({"stimulus_time": [0, 2.5], "candidate": ["a", NAMES[1]]})
    by_time = score_live_predictions(table[table["trial"] == 0], switched, bin_width=3)
    assert by_time["accuracy"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ("c", "are not candidates"),
        (["a"], "Got none for the trials .1."),
        (pd.DataFrame({"x": [1]}), "must have the columns"),
        (pd.DataFrame({"stimulus_time": [2], "candidate": ["a"]}), "must begin before"),
    ],
    ids=["name", "trial", "columns", "late"],
)
def test_score_checks_the_truth(written, truth, message):
    with pytest.raises(ValueError, match=message):
        score_live_predictions(read_live_predictions(written[0]), truth)


def test_decode_live_continues_after_lost_samples(tmp_path):
    stamps = np.arange(100) / 10.0
    stamps[30:] += 1.0  # 10 samples are lost in the first trial
    chunks = [(np.ones((2, 10)) * stamps[i : i + 10], stamps[i : i + 10]) for i in range(0, 100, 10)]
    decoder, started = CountingDecoder(), []
    start, decoder.sfreq = decoder.start, 10
    decoder.start = lambda onset: (started.append(onset), start(onset))
    with pytest.warns(UserWarning, match=r"10 samples .1.000 s. were lost at 3.000 s"):
        counts = decode_live(decoder, chunks, [0, 8], tmp_path / "a")
    assert (counts["n_lost"], counts["n_samples"], counts["faults"]) == (10, 100, {"gap": 1})
    assert counts["samples"]["used"] == 100
    assert started == [0, 8]
    table = read_live_predictions(tmp_path / "a")
    assert (table.loc[table["trial"] == 1, "n_lost"] == 10).all()
    assert table.loc[table["trial"] == 1, "time"].min() == pytest.approx(8, abs=1)
    (end,) = table.attrs["ends"].values()
    assert end["samples"] == counts["samples"]


def test_decode_live_skips_trials_that_begin_in_gaps():
    decoder = CountingDecoder()

    def start(onset):
        if onset == 2:
            raise LostOnsetError
        decoder.onset = onset

    decoder.start = start
    with pytest.warns(UserWarning, match="trial of onset=2 s has no predictions"):
        decode_live(decoder, make_chunks(4), [0, 2])


def test_decode_live_has_each_trial_of_a_chunk():
    lines, started = [], []
    decoder = CountingDecoder()
    start = decoder.start
    decoder.start = lambda onset: (started.append(onset), start(onset))
    decoder.best = ("a", NAMES[1], "a")

    class Chunks(list):  # a source that states the arrival is not divided by steps
        def arrival(self):
            return 100.0

    samples, stamps = np.arange(80.0).reshape(2, 40), np.arange(40) / 4
    decode_live(decoder, Chunks([(samples, stamps)]), [0, 3, 6], callbacks=[lines.append])
    assert started == [0, 3, 6]
    assert [line["trial"] for line in lines] == [0, 1, 2]
    assert [line["time"] for line in lines] == [3, 6, 10]

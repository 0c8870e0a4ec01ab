"""Commands: same results as the library, reports, logs, interruption."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.bids_folders import Folder

from sk_b2s import StimulusKFold, benchmark, generate_methods_text, make_segments, read_results, summarize
from sk_b2s._cli._commands import _make_splitter, make_splitter_of_command
from sk_b2s._cli._main import WAIT_SETTINGS, main
from sk_b2s._cli._parser import DEMO, make_parser
from sk_b2s._cli._task_options import find_task_of_options, make_task_options
from sk_b2s.datasets import make_listening
from sk_b2s.decoding._presets import make_decoders
from sk_b2s.evaluation._results._table import COST
from sk_b2s.evaluation._tasks._registry import find_task
from sk_b2s.model_selection._registry import SPLITTERS
from sk_b2s.reporting import _html

DATA = "listening --n-subjects 2 --minutes 1 --modality eeg --snr 10 --artifacts none --block 6".split()
SMALL = [*DATA, *"--cv stimulus --folds 2 --estimator ridge --shifts 20 --k 3 --pool 20".split()]
FAST = {"ridge__n_components": 6, "ridge__lags": (0.0, 0.2), "ridge__alphas": (1.0,)}
SETTINGS = [word for name, value in FAST.items() for word in ("--set", f"{name}={value}")]
SETTINGS += ["--tmax", "1"]  # short windows
SMALL += SETTINGS
BARE = [*SMALL, "--controls", "none"]
NETWORK = "--estimator clip-mel --set encoder__hidden=16 --set encoder__depth=2 --set encoder__validation=None".split()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Results file of all folds, without controls."""
    path = tmp_path_factory.mktemp("whole") / "results.jsonl"
    assert main(["benchmark", *BARE, "--out", str(path)]) == 0
    return path


@pytest.fixture
def empty_figures(monkeypatch):
    """Leave out the drawing, which the tests of the report cover."""
    monkeypatch.setattr(_html, "_draw_svg", lambda drawn, alt: "")


def assert_same_results(a, b):
    """Compare two results tables, except for cost and details."""
    left_out = [*COST, "details"]
    pd.testing.assert_frame_equal(a.drop(columns=left_out), b.drop(columns=left_out))


# --- data ------------------------------------------------------------------------------------------


def test_folds_reads_bids_folder_by_options(tmp_path, capsys):
    folder = Folder(tmp_path / "study")
    words = "".join(f"{2 + onset}\t0.4\tnoun_{onset}\tn/a\tw{onset}\n" for onset in range(1, 19))
    folder.write_table(
        f"onset\tduration\ttrial_type\tstim_file\tvalue\n2\t0\tplay\tA\tn/a\n{words}9\t0\tkey\tn/a\tn/a\n"
    )
    command = ["folds", str(folder.root), "--cv", "stimulus", "--folds", "2", "--tmax", "1", "--block", "5"]
    options = "--task story --types play=sound noun_*=word --types key=none --columns text=value --stimuli A=story.wav"
    assert main([*command, *options.split()]) == 0
    assert f"{folder.root}: 18 windows of 1 subject" in capsys.readouterr().out


# --- benchmark -------------------------------------------------------------------------------------


def test_benchmark_equals_library(done):
    events = make_listening(2, 1, modality="eeg", snr_db=10, artifacts=False, root=os.environ["SK_B2S_CACHE"])
    X, y = make_segments(events, tmax=1, block=6)
    settings = {"k": 3, "n_candidates": 20, "n_shifts": 20, "controls": False, "verbose": 0}
    estimators = make_decoders("ridge")
    estimators["ridge"].set_params(**FAST)
    expected = benchmark(estimators, X, y, StimulusKFold(2), **settings)
    found = read_results(done)
    assert found["top_1"].mean() > 0.2, "the data has a response to decode"
    assert_same_results(found.drop(columns="key"), expected.drop(columns="key"))


def test_benchmark_question_makes_rows_of_the_task(tmp_path, capsys):
    path = str(tmp_path / "results.jsonl")
    options = "--question match_mismatch --cv stimulus --folds 3 --fold 0 --shifts 20 --controls none".split()
    arguments = [*DATA, "--estimator", "ridge", *SETTINGS, *options, "--out", path]
    assert main(["benchmark", *arguments]) == 0
    results = read_results(path)
    assert results["task"].eq("match_mismatch").all()
    assert results["n_candidates"].eq(2).all()
    assert "Rows were windows of 1 s at steps of 1 s (block=6.0)." in generate_methods_text(results)
    printed = capsys.readouterr().out
    (header,) = [line for line in printed.splitlines() if line.startswith("estimator")]
    assert header.count("match-mismatch accuracy") == 1
    assert "top-1" not in header
    assert main(["benchmark", *arguments, "--option", "n_words"]) == 1
    assert "--option must be NAME=VALUE" in capsys.readouterr().err


def test_benchmark_passes_k_to_task():
    options = make_task_options(find_task("word"), ["n_words=20"], {"k": 5})
    assert options == {"n_words": 20, "k": 5}
    assert make_task_options(find_task("word"), [])["k"] == 10
    assert make_task_options(find_task("segment"), [], {"n_candidates": 50})["n_candidates"] == 50


def test_benchmark_distinguishes_given_windows():
    """Values equal to the defaults are kept, others come from the task."""
    command = ["benchmark", "x", "--question", "match_mismatch"]
    rows = find_task("match_mismatch").rows
    for given, expected in (([], rows), (["--tmin", "-0.5", "--tmax", "2.35"], {"tmin": -0.5, "tmax": 2.35})):
        args = make_parser().parse_args([*command, *given])
        find_task_of_options(args)
        assert {"tmin": args.tmin, "tmax": args.tmax} == {name: expected[name] for name in ("tmin", "tmax")}
        assert args.anchor == [1.0]
    args = make_parser().parse_args([*command, "--anchor", "word"])
    find_task_of_options(args)
    assert args.anchor == ["word"]


def test_benchmark_keeps_splitter_of_task():
    """The number of folds does not change the kind of splitter."""
    args = make_parser().parse_args(["benchmark", "x", "--question", "word", "--folds", "3"])
    cv = _make_splitter(args, find_task_of_options(args))
    assert isinstance(cv, StimulusKFold)
    assert cv.n_splits == 3


def test_benchmark_accepts_few_sensors(tmp_path):
    make_listening(
        2, 1, modality="eeg", n_channels=16, snr_db=10, artifacts=False, root=tmp_path
    ).to_csv(tmp_path / "events.csv", index=False)  # fmt: skip
    options = [*BARE[len(DATA) :], "--block", "6"]
    assert (
        main(["benchmark", str(tmp_path), *options, "--fold", "0", "--out", str(tmp_path / "r.jsonl")]) == 0
    )


def test_benchmark_skips_finished_fits(done, capsys):
    before = done.read_bytes()
    assert main(["benchmark", *BARE, "--out", str(done)]) == 0
    assert done.read_bytes() == before
    assert "4 fits, 4 of them finished before" in capsys.readouterr().out


def test_benchmark_of_single_folds_joins_to_all(done, tmp_path):
    for fold in range(2):
        assert main(["benchmark", *BARE, "--fold", str(fold), "--out", str(tmp_path / f"{fold}.jsonl")]) == 0
    assert_same_results(read_results(tmp_path), read_results(done))


def test_benchmark_checks_features_before_fits(tmp_path, capsys):
    out = tmp_path / "r.jsonl"
    argv = ["benchmark", *DATA, "--estimator", "clip-wav2vec2", "--wav2vec2", "./nowhere", "--out", str(out)]
    assert main(argv) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not out.exists()


def test_benchmark_runs_controls(tmp_path, capsys):
    out = ["--out", str(tmp_path / "r.jsonl")]
    controls = ["--controls", "phase_randomized,silence_truth", "--fold", "0"]
    assert main(["benchmark", *SMALL, *controls, *out]) == 0
    printed = capsys.readouterr().out
    assert "phase_randomized" in printed
    assert "silence_truth" in printed
    assert main(["benchmark", *BARE, "--fold", "0", *out, "--set", "ridge__n_components=4"]) == 0
    assert main(["report", *out[1:], "--page", "none"]) == 1
    assert "different parameters" in capsys.readouterr().err
    assert main(["report", *out[1:], "--page", "none", "--conflicts", "last"]) == 0


def test_benchmark_has_status_1_if_fit_fails(tmp_path, capsys):
    argv = [*BARE, *NETWORK, "--set", "encoder__max_epochs=1", "--set", "encoder__speech_embedding_dim=4"]
    out = ["--fold", "0", "--out", str(tmp_path / "r.jsonl"), "--set", "encoder__loss=mse"]
    assert main(["benchmark", *argv, *out]) == 1
    printed = capsys.readouterr()
    assert "1 of 4 fits failed" in printed.err
    assert "ridge" in printed.out.split("results file: ")[1]


# --- report and folds ------------------------------------------------------------------------------


def test_report_makes_folders_prints_summary(done, tmp_path, capsys):
    page, table = tmp_path / "pages" / "all.html", tmp_path / "tables" / "all.csv"
    assert main(["report", str(done), "--csv", str(table), "--page", str(page)]) == 0
    printed = capsys.readouterr().out
    results = read_results(done)
    summary = summarize(results[results["control"] == "decoder"]).set_index("pool")
    for text in (
        f"{summary.top_k['all']:.3f} ± {summary.top_k_sem['all']:.3f}",
        f"{summary.top_k['20']:.3f}",
    ):
        assert text in printed
    assert summary["verdict_text"]["all"] in printed
    assert "<html" in page.read_text()
    np.testing.assert_allclose(pd.read_csv(table)["top_k"], results["top_k"])


def test_folds_reports_leakage(capsys):
    assert main(["folds", *DATA, "--cv", "stimulus", "--folds", "3"]) == 0
    assert "no leak" in capsys.readouterr().out
    assert main(["folds", *DATA, "--folds", "none"]) == 1
    assert "LEAK: 100 %" in capsys.readouterr().out.replace("\n", " ")


def test_folds_accepts_published_split(capsys):
    assert main(["folds", *DATA[:-2], "--cv", "hashed", "--anchor", "0.5,word"]) == 0
    printed = capsys.readouterr().out
    assert "1 fold" in printed
    assert printed.splitlines()[-1].startswith("fit decoders on these folds: sk-b2s benchmark listening --")


@pytest.mark.parametrize("name", ["gwilliams2022", "schoffelen2019", "broderick2019", "brennan2019"])
def test_folds_requires_root_of_study(name, capsys):
    assert main(["folds", name]) == 1
    assert "--root" in (error := capsys.readouterr().err)
    assert f"load_{name}" in error


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", '{"a": 1}'), ("b.json", "["), ("c.csv", ""), ("d.tsv", "a\tb\n1\t2\n")]
)
def test_folds_names_invalid_file(name, content, tmp_path, capsys):
    (tmp_path / name).write_text(content)
    assert main(["folds", str(tmp_path / name)]) == 1
    assert name in capsys.readouterr().err


# --- splitters and settings ------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPLITTERS)
def test_make_splitter_of_command_uses_defaults(name):
    folds_parameter, default = SPLITTERS[name].folds_parameter, SPLITTERS[name].load()()
    assert type(make_splitter_of_command(name)) is type(default)
    assert vars(make_splitter_of_command(name)) == vars(default)
    if folds_parameter:
        changed = vars(make_splitter_of_command(name, 3, 0.5))
        assert (changed[folds_parameter], changed["gap"]) == (3, 0.5)


def test_main_runs_no_code_of_settings(tmp_path, capsys):
    trap = tmp_path / "ran"
    setting = f"ridge__k=__import__('pathlib').Path({str(trap)!r}).touch()"
    assert main(["benchmark", *SMALL, "--set", setting]) == 1
    assert "The 'k' parameter" in capsys.readouterr().err
    assert not trap.exists()


# --- as a process ----------------------------------------------------------------------------------


def start(*argv, **kwargs):
    """Start the command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sk_b2s", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, encoding="utf-8", **kwargs,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to interrupt")
def test_process_interrupted_keeps_no_result(tmp_path):
    """Until then, its log is plain, whatever the encoding."""
    unset = {name: value for name, value in os.environ.items() if name not in WAIT_SETTINGS}
    argv = ["benchmark", *BARE, *NETWORK, "--fold", "0", "--verbose", "--set", "encoder__max_epochs=100000"]
    process = start(*argv, cwd=tmp_path, env={**unset, "PYTHONIOENCODING": "ascii"})
    out = ""
    for line in process.stdout:
        out += line
        if line.split()[:1] == ["4"] and "fits" not in line:  # the fourth epoch
            break
    environment = Path(f"/proc/{process.pid}/environ")
    assert not environment.exists() or b"OMP_WAIT_POLICY=PASSIVE" in environment.read_bytes()
    os.killpg(process.pid, signal.SIGINT)
    rest, err = process.communicate(timeout=1200)
    assert process.returncode == 130
    assert "interrupted. Finished results are in" in err
    assert "Traceback" not in err
    assert "[1/4]" in out
    assert not set("\r\x1b") & set(out + rest + err)
    assert set(read_results(tmp_path / "results.jsonl")["estimator"]) == {"ridge"}


def test_process_has_status_0(tmp_path):
    process = start("report", "--help", cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=1200)
    assert (process.returncode, err) == (0, "")
    assert "results" in out


@pytest.mark.slow
def test_demo_writes_report_of_its_command(tmp_path, monkeypatch, empty_figures):
    monkeypatch.chdir(tmp_path)
    options = [*DATA[1:], *"--estimator ridge --shifts 20 --k 3 --pool 20 --folds 2 --n-jobs 1".split()]
    options += SETTINGS
    assert main(["demo", *options, "--set", "ridge__n_components=8"]) == 0
    folder = (tmp_path / DEMO["out"]).parent
    assert set(read_results(folder / "results.jsonl")["control"]) >= {"decoder", "phase_randomized", "oracle"}
    page = (folder / "report.html").read_text()
    assert "<html" in page
    assert main(["demo", *options, "--set", "ridge__n_components=2", "--controls", "none"]) == 0
    assert (folder / "report.html").read_text() != page
    # The file now holds both. The page shows only results of its own command.
    assert main(["demo", *options, "--set", "ridge__n_components=8"]) == 0
    assert (folder / "report.html").read_text() == page

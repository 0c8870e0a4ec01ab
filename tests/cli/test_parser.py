"""The command line says what the library says, and behaves: statuses, one-line errors, logs, Ctrl-C."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sk_b2s import StimulusKFold, benchmark, make_segments, read_results, retrieve, summarize
from sk_b2s._cli._commands import SPLITTERS, apply_settings, make_splitter
from sk_b2s._cli._parser import DEMO, main, make_parser
from sk_b2s._cli._waiting import CHOICES
from sk_b2s.datasets import make_listening
from sk_b2s.datasets._registry import load_dataset
from sk_b2s.decoding._presets import PRESETS, make_decoders
from sk_b2s.evaluation._results._table import COST

DATA = "listening --people 2 --minutes 1 --kind eeg --snr 10 --artifacts none --block 6".split()
SMALL = [*DATA, *"--cv stimulus --folds 3 --estimator ridge --shifts 20 --k 3 --pool 20".split()]
BARE = [*SMALL, "--controls", "none"]
NETWORK = "--estimator clip-mel --set encoder__hidden=16 --set encoder__depth=2 --set encoder__validation=None".split()


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of this module's own, also for its subprocesses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SK_B2S_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """File of results of all folds, without controls."""
    path = tmp_path_factory.mktemp("whole") / "results.jsonl"
    assert main(["benchmark", *BARE, "--out", str(path)]) == 0
    return path


def same(a, b):
    """Compare two tables of results but for what they cost."""
    pd.testing.assert_frame_equal(a.drop(columns=list(COST)), b.drop(columns=list(COST)))


# --- help and mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["demo"], ["benchmark"], ["folds"], ["report"]])
def test_help_has_an_example_that_can_be_parsed(command, capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main([*command, "--help"])
    text = capsys.readouterr().out
    assert any(line.strip().startswith("sk-b2s ") for line in text.splitlines())
    if command == ["benchmark"]:
        assert all(name in text for name in [*PRESETS, *SPLITTERS, "listening"])


def test_the_demo_tells_its_own_defaults_and_the_command_that_it_is(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit, match="^0$"):
        main(["demo", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for said in ("(default: stimulus)", "(default: -12)", "(default: 2.5)", "counted from 0 (default: 0)",
                 "(default: demo_output/results.jsonl)"):  # fmt: skip
        assert said in text
    assert "default: loso" not in text
    monkeypatch.chdir(tmp_path)
    assert (
        main(["demo", "--people", "1", "--minutes", "1", "--fold", "99", "--set", "scale__clip=[1, 2]"]) == 1
    )
    command = capsys.readouterr().out.splitlines()[0].removeprefix("$ sk-b2s ")
    args = vars(make_parser().parse_args(shlex.split(command)))
    assert (args["people"], args["minutes"], args["fold"], args["snr"]) == (1, 1.0, 99, -12.0)
    assert args["set"] == ["scale__clip=[1, 2]"]


def test_features_that_cannot_be_had_are_told_before_anything_is_fitted(tmp_path, capsys):
    out = tmp_path / "r.jsonl"
    argv = ["benchmark", *DATA, "--estimator", "clip-wav2vec2", "--wav2vec2", "./nowhere", "--out", str(out)]
    assert main(argv) == 1
    assert "there is no such folder" in capsys.readouterr().err
    assert not out.exists()


def test_version(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("sk-b2s 0.")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "required"),
        (["benchmark"], "DATASET"),
        (["benchmark", "listening", "--estimator", "ridge,clip-mle"], "did you mean 'clip-mel'?"),
        (["benchmark", "listening", "--people", "many"], "--people"),
        (["benchmark", "listening", "--peo", "3"], "--peo"),
    ],
)
def test_wrong_usage_is_status_2(argv, said, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        main(argv)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["benchmark", "listning"], "did you mean 'listening'?"),
        (["folds", __file__], "no table of events"),
        (["folds", str(Path(__file__).parent)], "must hold one table of events"),
        (["benchmark", *SMALL, "--set", "ridge__alpha=(1.0,)"], "did you mean ridge__alphas"),
        (["benchmark", *SMALL, "--set", "ridge__k=0"], "The 'k' parameter of RidgeDecoder must be"),
        (["benchmark", *SMALL, "--set", "ridge__alphas=(1.0"], "no value of Python's"),
        (["benchmark", *SMALL, "--set", "clip:ridge__k=3"], "none of the estimators asked for: ridge"),
        (["benchmark", *SMALL, "--set", "ridge__k"], "PARAMETER=VALUE"),
        (["benchmark", "listening", "--cv", "hashed", "--folds", "3"], "--cv hashed"),
        (["benchmark", "listening", "--cv", "stimulus", "--folds", "none"], "--cv stimulus"),
        (["benchmark", "listening", "--anchor", "0.5,word"], "--cv hashed"),
        (["benchmark", "listening", "--minutes", "-3"], "minutes"),
        (["benchmark", *BARE, "--fold", "3"], "counted from 0 to 2"),
        (["report", "nowhere.jsonl"], "no file of results 'nowhere.jsonl'"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(argv, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "note:" not in line]
    assert line.startswith("sk-b2s: error: ")
    assert said in line


@pytest.mark.parametrize("way", ["option", "environment"])
def test_debug_shows_where(way, capsys, monkeypatch):
    monkeypatch.setenv("SK_B2S_DEBUG", "1" if way == "environment" else "0")
    assert main(["report", "nowhere.jsonl", *["--debug"] * (way == "option")]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_value_is_never_run(tmp_path, capsys):
    trap = tmp_path / "ran"
    setting = f"ridge__k=__import__('pathlib').Path({str(trap)!r}).touch()"
    assert main(["benchmark", *SMALL, "--set", setting]) == 1
    assert "The 'k' parameter" in capsys.readouterr().err
    assert not trap.exists()


# --- the same as the library -------------------------------------------------------------------------


def test_it_is_the_librarys_benchmark(done):
    events = make_listening(2, 1, modality="eeg", snr_db=10, artifacts=False, root=os.environ["SK_B2S_CACHE"])
    X, y = make_segments(events, block=6)
    settings = {"k": 3, "n_candidates": 20, "n_shifts": 20, "controls": False, "verbose": 0}
    by_hand = benchmark(make_decoders("ridge"), X, y, StimulusKFold(3), **settings)
    found = read_results(done)
    assert found["top_1"].mean() > 0.2  # there is something to agree on
    same(found.drop(columns="key"), by_hand.drop(columns="key"))


def test_the_ridge_reads_caps_of_few_sensors(tmp_path):
    make_listening(
        2, 1, modality="eeg", n_channels=16, snr_db=10, artifacts=False, root=tmp_path
    ).to_csv(tmp_path / "events.csv", index=False)  # fmt: skip
    asked = [*BARE[len(DATA) :], "--block", "6"]
    assert main(["benchmark", str(tmp_path), *asked, "--fold", "0", "--out", str(tmp_path / "r.jsonl")]) == 0


def test_a_second_time_nothing_is_done(done, capsys):
    before = done.read_bytes()
    assert main(["benchmark", *BARE, "--out", str(done)]) == 0
    assert done.read_bytes() == before
    assert "3 fits, 3 of which are done already" in capsys.readouterr().out


def test_a_report_makes_the_folders_it_writes_to(done, tmp_path):
    page, table = tmp_path / "pages" / "all.html", tmp_path / "tables" / "all.csv"
    assert main(["report", str(done), "--page", str(page), "--csv", str(table)]) == 0
    assert page.exists()
    assert len(pd.read_csv(table)) == len(read_results(done))


def test_folds_run_alone_join_to_the_whole(done, tmp_path):
    for fold in range(3):
        assert main(["benchmark", *BARE, "--fold", str(fold), "--out", str(tmp_path / f"{fold}.jsonl")]) == 0
    same(read_results(tmp_path), read_results(done))


def test_report_says_what_summarize_says(done, tmp_path, capsys):
    table = tmp_path / "scores.csv"
    assert main(["report", str(done), "--csv", str(table), "--page", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr().out
    results = read_results(done)
    summary = summarize(results).set_index("pool")
    for text in (
        f"{summary.top_k['all']:.3f} ± {summary.top_k_sem['all']:.3f}",
        f"{summary.top_k['20']:.3f}",
    ):
        assert text in said
    assert summary["verdict"]["all"] in said
    assert "<html" in (tmp_path / "page.html").read_text()
    np.testing.assert_allclose(pd.read_csv(table)["top_k"], results["top_k"])


def test_controls_stand_beside_and_changed_results_are_told(tmp_path, capsys):
    out = ["--out", str(tmp_path / "r.jsonl")]
    controls = ["--controls", "surrogate,silence only", "--fold", "0"]
    assert main(["benchmark", *SMALL, *controls, *out]) == 0
    said = capsys.readouterr().out
    assert "surrogate" in said
    assert "silence only" in said
    assert main(["benchmark", *SMALL, *controls, *out, "--set", "ridge__n_components=4"]) == 0
    assert main(["report", *out[1:], "--page", "none"]) == 1
    assert "was done twice, with other parameters" in capsys.readouterr().err
    assert main(["report", *out[1:], "--page", "none", "--conflicts", "last"]) == 0


def test_a_failed_fit_is_status_1_and_the_others_are_shown(tmp_path, capsys):
    argv = [*BARE, *NETWORK, "--set", "encoder__max_epochs=1", "--set", "encoder__speech_embedding_dim=4"]
    out = ["--fold", "0", "--out", str(tmp_path / "r.jsonl"), "--set", "encoder__loss=mse"]
    assert main(["benchmark", *argv, *out]) == 1
    told = capsys.readouterr()
    assert "1 of 2 fits failed" in told.err
    assert "ridge" in told.out.split("results go to")[1]


def test_folds_shows_what_is_on_both_sides(capsys):
    assert main(["folds", *DATA, "--cv", "stimulus", "--folds", "3"]) == 0
    assert "no leak" in capsys.readouterr().out
    assert main(["folds", *DATA, "--folds", "none"]) == 1
    assert "LEAK: 100 %" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize("name", SPLITTERS)
def test_splitters_have_their_defaults_and_take_what_they_have(name):
    kind, counts = SPLITTERS[name]
    assert vars(make_splitter(name)) == vars(kind())
    if counts:
        changed = vars(make_splitter(name, 3, 0.5))
        assert (changed[counts], changed["gap"]) == (3, 0.5)


def test_the_published_protocol(capsys):
    assert main(["folds", *DATA[:-2], "--cv", "hashed", "--anchor", "0.5,word"]) == 0
    assert "1 fold" in capsys.readouterr().out


# --- recipes -----------------------------------------------------------------------------------------


def test_settings_go_to_all_that_have_them_or_to_one():
    found = make_decoders(["ridge", "clip-mel", "regression"])
    apply_settings(found, ["encoder__hidden=32", "clip-mel:encoder__loss=siglip", "epochs__lag=0.1"])
    assert {name: one["epochs"].lag for name, one in found.items()} == dict.fromkeys(found, 0.1)
    assert [found[name]["encoder"].hidden for name in ("clip-mel", "regression")] == [32, 32]
    assert [found[name]["encoder"].loss for name in ("clip-mel", "regression")] == ["siglip", "mse"]


@pytest.mark.parametrize("name", ["regression", "clip-mel", "clip-deepmel"])
def test_networks_learn_and_answer(name, listening):
    X, y = listening
    train, test = next(StimulusKFold(3).split(X, y))
    found = make_decoders(name)
    apply_settings(found, [s for s in NETWORK if "=" in s] + ["encoder__max_epochs=1", "epochs__sfreq=32.0"])
    pipe = found[name].fit(X.iloc[train], y.iloc[train])
    answers = retrieve(pipe, X.iloc[test], y.iloc[test])
    assert answers.scores.shape == (len(test), y["segment"].iloc[test].nunique())


def test_the_size_of_the_paper_is_the_default_of_the_classes():
    from sk_b2s import BrainEncoder, Epocher, MelSpectrogram

    pipe = make_decoders("clip-mel", size="paper")["clip-mel"]
    skipped = {"speech", "verbose"}
    ours, theirs = pipe["encoder"].get_params(deep=False), BrainEncoder().get_params()
    assert {k: v for k, v in ours.items() if k not in skipped} == {
        k: v for k, v in theirs.items() if k not in skipped
    }
    assert pipe["epochs"].get_params() == Epocher().get_params()
    assert pipe["encoder"].speech[0].get_params() == MelSpectrogram().get_params()


def test_an_unknown_recipe_is_told():
    with pytest.raises(ValueError, match="did you mean 'ridge'"):
        make_decoders("rigde")
    with pytest.raises(ValueError, match="size must be one of"):
        make_decoders("ridge", size="huge")


# --- tables of events --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tsv", ".csv.gz", ".json"])
def test_a_table_of_events_is_read_as_it_was(suffix, tmp_path):
    events = make_listening(2, 1, modality="eeg", snr_db=10, artifacts=False, root=os.environ["SK_B2S_CACHE"])
    events.loc[events.index[events["type"] == "word"][0], "text"] = "null"  # a word like any other
    relative = events.assign(
        recording=[os.path.relpath(path, tmp_path) for path in events["recording"]],
        sound=[os.path.relpath(path, tmp_path) for path in events["sound"]],
    )
    if suffix == ".json":
        relative.to_json(tmp_path / "events.json", orient="records")
    else:
        relative.to_csv(
            tmp_path / f"events{suffix}", sep="\t" if suffix == ".tsv" else ",", index=False, na_rep="n/a"
        )
    found = load_dataset(tmp_path).events
    for mine, right in zip(make_segments(found, block=6), make_segments(events, block=6), strict=True):
        for column in right.columns[(right != "").any()]:
            ours, theirs = mine[column], right[column]
            if column in ("recording", "sound"):
                ours, theirs = ours.map(os.path.realpath), theirs.map(os.path.realpath)
            assert (ours.isna() == theirs.isna()).all()
            assert ours.dropna().tolist() == theirs.dropna().tolist(), column


def test_only_experiments_have_options(tmp_path):
    (tmp_path / "events.csv").write_text("subject,onset\n01,1\n")
    with pytest.raises(ValueError, match="has no option 'people'"):
        load_dataset(tmp_path, people=3)
    with pytest.raises(ValueError, match=r"has no option 'persons'; it has only people, minutes"):
        load_dataset("listening", persons=3)


def test_a_bids_folder_is_known_by_its_description(listening):
    X, _ = listening
    parents = Path(X["recording"].iloc[0]).parents
    folder = next(path for path in parents if (path / "dataset_description.json").is_file())
    events = load_dataset(folder, subjects=["01"]).events
    assert set(events["subject"]) == {"01"}
    mine, _ = make_segments(events, anchor=1.0, tmin=0, tmax=3, block=8)
    np.testing.assert_allclose(mine["onset"], X.loc[X["subject"] == "01", "onset"], atol=1e-3)
    with pytest.raises(ValueError, match="has no option 'people'; it has only task, subjects"):
        load_dataset(folder, people=2)


@pytest.mark.parametrize("name", ["gwilliams2022", "schoffelen2019", "broderick2019", "brennan2019"])
def test_a_study_asks_for_its_folder(name, tmp_path, capsys):
    assert main(["folds", name]) == 1
    assert f"give --root, the folder that load_{name} reads" in capsys.readouterr().err
    with pytest.raises((ValueError, FileNotFoundError), match=str(tmp_path)):
        load_dataset(name, root=tmp_path)


@pytest.mark.parametrize(("name", "content"), [("a.json", '{"a": 1}'), ("b.json", "["), ("c.csv", "")])
def test_a_file_that_is_no_table_is_named(name, content, tmp_path, capsys):
    (tmp_path / name).write_text(content)
    assert main(["folds", str(tmp_path / name)]) == 1
    assert name in capsys.readouterr().err


# --- as a process ------------------------------------------------------------------------------------


def start(*argv, **kwargs):
    """Start the command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sk_b2s", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, encoding="utf-8", **kwargs,
    )  # fmt: skip


@pytest.mark.slow
def test_a_log_has_lines_and_a_mistake_no_traceback(tmp_path, done):
    narrow = {**os.environ, "PYTHONIOENCODING": "ascii"}  # a log that cannot hold every letter
    process = start(
        "benchmark",
        *BARE,
        *NETWORK,
        "--set",
        "encoder__max_epochs=1",
        "--verbose",
        "--fold",
        "0",
        cwd=tmp_path,
        env=narrow,
    )
    out, err = process.communicate(timeout=1200)
    assert process.returncode == 0, err
    assert not set("\r\x1b") & set(out + err)
    assert "[2/2]" in out
    assert (tmp_path / "results.jsonl").exists()
    assert start("report", "nowhere.jsonl").wait(timeout=1200) == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no process groups to interrupt")
def test_an_interrupted_training_leaves_no_result(tmp_path):
    out = tmp_path / "r.jsonl"
    argv = ["benchmark", *BARE, *NETWORK, "--fold", "0", "--out", str(out), "--verbose"]
    unset = {name: value for name, value in os.environ.items() if name not in CHOICES}
    process = start(*argv, "--set", "encoder__max_epochs=100000", env=unset)
    for line in process.stdout:
        if line.split()[:1] == ["4"]:  # an epoch, where "2" and "3" begin other lines
            break
    environment = Path(f"/proc/{process.pid}/environ")
    assert not environment.exists() or b"OMP_WAIT_POLICY=PASSIVE" in environment.read_bytes()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=1200)
    assert process.returncode == 130
    assert "interrupted; what is done is in" in err
    assert "Traceback" not in err
    assert set(read_results(out)["estimator"]) == {"ridge"}


@pytest.mark.slow
def test_the_demo_is_a_benchmark_with_its_controls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*DATA[1:], *"--estimator ridge --shifts 20 --k 3 --pool 20 --folds 3".split()]
    assert main(["demo", *options, "--set", "ridge__n_components=8"]) == 0
    folder = (tmp_path / DEMO["out"]).parent
    assert set(read_results(folder / "results.jsonl")["control"]) >= {"decoder", "surrogate", "oracle"}
    page = (folder / "report.html").read_text()
    assert "<html" in page
    assert main(["demo", *options, "--set", "ridge__n_components=2"]) == 0
    assert (folder / "report.html").read_text() != page
    # The file now holds both; the page is of the one that was asked for, though it was done first.
    assert main(["demo", *options, "--set", "ridge__n_components=8"]) == 0
    assert (folder / "report.html").read_text() == page

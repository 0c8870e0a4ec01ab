"""Command line parser: help, usage errors, statuses, passive waiting."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sk_b2s._cli._main import main
from sk_b2s._cli._parser import make_parser
from sk_b2s.decoding._presets import PRESETS
from sk_b2s.model_selection._registry import SPLITTERS

DATA = "listening --n-subjects 2 --minutes 1 --modality eeg --snr 10 --artifacts none --block 6".split()
SMALL = [*DATA, *"--cv stimulus --folds 3 --estimator ridge --shifts 20 --k 3 --pool 20".split()]
BARE = [*SMALL, "--controls", "none"]
WORD = ["nowhere", "--question", "word"]  # options are checked before the data set is read

# --- help and usage errors -------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["demo"], ["benchmark"], ["folds"], ["report"]])
def test_help_has_example(command, capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main([*command, "--help"])
    text = capsys.readouterr().out
    assert any(line.strip().startswith("sk-b2s ") for line in text.splitlines())
    if command == ["benchmark"]:
        assert all(name in text for name in [*PRESETS, *SPLITTERS, "listening"])


@pytest.mark.parametrize("command", ["demo", "benchmark", "folds", "report"])
def test_help_examples_are_valid(command, capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main([command, "--help"])
    text = capsys.readouterr().out
    examples = [line.strip() for line in text[text.index("options:") :].splitlines()]
    for example in [line for line in examples if line.startswith("sk-b2s ") and "$" not in line]:
        assert make_parser().parse_args(shlex.split(example)[1:]).command == command


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["--version"],
        ["benchmark", "--help"],
        ["benchmark", "x", "--cv", "y"],
        ["benchmark", "x", "--estimator", "y"],
    ],
)
def test_parser_loads_no_heavy_library(argv):
    code = (
        "import sys\nfrom sk_b2s._cli._main import main\n"
        f"try:\n    main({argv!r})\nexcept SystemExit as stop:\n    print('status', stop.code)\n"
        "print('modules', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    *_, status, modules = done.stdout.splitlines()
    assert status == f"status {0 if argv[-1].startswith('-') else 2}"
    heavy = {"torch", "mne", "transformers", "sklearn", "scipy", "pandas", "numpy", "matplotlib", "librosa"}
    assert not heavy & set(modules.split())


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("sk-b2s 0.")


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "required"),
        (["benchmark"], "DATASET"),
        (["benchmark", "listening", "--estimator", "ridge,clip-mle"], "did you mean 'clip-mel'?"),
        (["benchmark", "listening", "--n-subjects", "many"], "--n-subjects"),
        (["benchmark", "listening", "--question", "wrod"], "did you mean 'word'?"),
        (["benchmark", "listening", "--n-sub", "3"], "--n-sub"),
        (["benchmark", "x", "--types", "a"], "argument --types: expected VALUE=TYPE, got 'a'"),
    ],
    ids=[
        "no command",
        "no data set",
        "unknown estimator",
        "not a number",
        "unknown task",
        "abbreviated",
        "pair",
    ],
)
def test_usage_error_has_status_2(argv, text, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        main(argv)
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["benchmark", "listning"], "did you mean 'listening'?"),
        (["folds", __file__], __file__),
        (["folds", str(Path(__file__).parent)], str(Path(__file__).parent)),
        (["benchmark", *SMALL, "--set", "ridge__alpha=(1.0,)"], "did you mean 'ridge__alphas'"),
        (["benchmark", *SMALL, "--set", "ridge__k=0"], "The 'k' parameter of RidgeDecoder must be"),
        (["benchmark", *SMALL, "--set", "ridge__alphas=(1.0"], "must be a Python literal"),
        (["benchmark", *SMALL, "--set", "clip:ridge__k=3"], "must be one of ridge. Got 'clip'"),
        (["benchmark", *SMALL, "--set", "ridge__k"], "PARAMETER=VALUE"),
        (["benchmark", "listening", "--cv", "hashed", "--folds", "3"], "--cv hashed"),
        (["benchmark", "listening", "--cv", "stimulus", "--folds", "none"], "--cv stimulus"),
        (["benchmark", "listening", "--anchor", "0.5,word"], "--cv hashed"),
        (["benchmark", "listening", "--minutes", "-3"], "minutes"),
        (["benchmark", *BARE, "--fold", "3"], "--fold must be between 0 and 2"),
        (["benchmark", "listening", "--shifts", "-3"], "--shifts must be an integer of 0 or more"),
        (["benchmark", *WORD, "--option", "n_words=abc"], "the value must be a number or None. Got 'abc'"),
        (["benchmark", *WORD, "--option", "n_word=5"], "did you mean 'n_words'"),
        (["benchmark", *WORD, "--k", "5", "--option", "k=3"], "--k 5 contradicts --option k=3"),
        (["benchmark", "nowhere", "--question", "speech", "--k", "5"], "no option 'k'"),
        (
            ["benchmark", *WORD, "--pool", "50"],
            "--pool: task 'word' has no option 'n_candidates'. Remove --pool",
        ),
        (["benchmark", *WORD, "--anchor", "1"], "task 'word' requires windows at each word"),
        (["benchmark", "nowhere", "--wav2vec2", "x"], "--wav2vec2 requires --estimator clip-wav2vec2"),
        (["benchmark", "nowhere", "--cache", __file__], "--cache must be a folder"),
        (["folds", "nowhere", "--cv", "hashed", "--block", "20"], "Remove --block"),
        (["report", "nowhere.jsonl", "--page", "none", "--title", "x"], "--title requires an HTML report"),
        (["report", "nowhere.jsonl"], "'nowhere.jsonl'"),
    ],
)
def test_error_is_one_line_with_status_1(argv, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning:" not in line]
    assert line.startswith("sk-b2s: error: ")
    assert text in line


@pytest.mark.parametrize("way", ["option", "environment"])
def test_debug_shows_traceback(way, capsys, monkeypatch):
    monkeypatch.setenv("SK_B2S_DEBUG", "1" if way == "environment" else "0")
    assert main(["report", "nowhere.jsonl", *["--debug"] * (way == "option")]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_demo_shows_defaults_and_its_command(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit, match="^0$"):
        main(["demo", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for expected in ("(default: stimulus)", "(default: -12)", "(default: 2.5)", "counted from 0 (default: 0)",
                     "(default: demo_output/results.jsonl)"):  # fmt: skip
        assert expected in text
    assert "default: loso" not in text
    monkeypatch.chdir(tmp_path)
    options = ["--n-subjects", "1", "--minutes", "1", "--fold", "99"]
    options += ["--set", "scale__clip=[1, 2]"]
    assert main(["demo", *options]) == 1
    command = capsys.readouterr().out.splitlines()[0].removeprefix("$ sk-b2s ")
    args = vars(make_parser().parse_args(shlex.split(command)))
    assert (args["n_subjects"], args["minutes"], args["fold"], args["snr"]) == (1, 1.0, 99, -12.0)
    assert args["set"] == ["scale__clip=[1, 2]"]
    assert args["estimator"] == ["ridge", "likelihood", "clip-mel", "ensemble"]

"""The house keeps its order: who may import whom, what is documented, what may be written where."""

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from numpydoc.validate import validate

import sk_b2s
import sk_b2s.datasets
import sk_b2s.plotting

PACKAGE = Path(sk_b2s.__file__).parent
ROOT = PACKAGE.parent
ORDER = [
    "texts", "caching", "units", "devices", "precision", "fingerprints", "headers", "columns",
    "audio", "sound_facts", "stimuli", "sounds", "copies", "annex", "file_parts", "textgrid_checks", "textgrids",
    "sensors",
    "matlab_files", "binary_headers", "recording_headers", "raw_formats",
    "channel_names", "sidecars", "gaps", "identity",
    "filter_checks", "recordings",
    "events", "studies", "completing", "event_tables", "bids_files", "bids",
    "bends", "clock_fits", "clocks", "sync_marks", "triggers",
    "continuity", "fitting", "beside", "blocks", "united_blocks", "segments",
    "model_selection", "tables", "minutes", "leave_one_out", "published",
    "signals", "windows", "constant", "overlaps", "leakage", "ledger", "feeding",
    "epocher", "preprocessing", "recentring", "surrogates", "speech",
    "lag_curves", "leaks", "alignment_notes", "alignment", "activity", "features",
    "calibration", "inference", "checkpoints", "pretrained",
    "datasets", "frames",
    "selecting", "channels", "modules", "deepmel",
    "metrics", "nulls", "evidence", "word_timing", "words", "loss_functions", "losses",
    "candidates", "exposure", "retrieval", "answers", "asking", "plans", "statistics", "verdicts", "resampling",
    "ceilings", "methods", "curves",
    "attention", "training", "fit_checks", "response", "strangers", "adaptation", "keeping", "encoder", "ridge",
    "strength_checks", "strengths", "linear", "forward", "predictions", "spaces", "counterparts", "provenance",
    "calibrated",
    "tags", "states", "writer", "reader", "persistence",
    "controls", "watching", "scorecard", "lines", "results", "cells", "evaluation", "auditing",
    "palette", "alignment_plots", "score_plots", "adaptation_plots", "answer_plots", "topographies", "plotting",
    "page", "findings", "appendix", "report", "recipes", "experiments", "commands", "waiting", "__main__",
]  # fmt: skip


def imported(path):
    """Rooms of the package that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.startswith("sk_b2s."):
                yield name.split(".")[1]
            elif name == "sk_b2s":
                yield "__init__"


def rooms():
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "__init__.py":
            yield path, path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize(("path", "room"), list(rooms()), ids=lambda p: getattr(p, "name", p))
def test_modules_import_only_from_above(path, room):
    assert room in ORDER, f"{room} has no place in the order"
    for other in imported(path):
        assert other == room == "datasets" or ORDER.index(other) < ORDER.index(room), (
            f"{room} imports {other}"
        )


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [(room, "mne") for room in ("channels", "modules", "losses", "metrics", "training")]
    + [(room, "torch") for room in ("sensors", "raw_formats", "identity", "recordings")]
    + [
        (room, "torch")
        for room in (
            "stimuli",
            "events",
            "blocks",
            "united_blocks",
            "segments",
            "model_selection",
            "published",
        )
    ]
    + [(room, "torch") for room in ("minutes", "leave_one_out", "leakage")],
)
def test_torch_knows_nothing_of_files_and_readers_nothing_of_torch(room, forbidden):
    tree = ast.parse((PACKAGE / f"{room}.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name and name.split(".")[0] == forbidden for name in names)


def public():
    """Every name a user meets: the flat ones and their methods."""
    for package in (sk_b2s, sk_b2s.datasets, sk_b2s.plotting):
        for name in package.__all__:
            thing = getattr(package, name)
            if isinstance(thing, dict):  # choices, documented where they are read
                continue
            if not dataclasses.is_dataclass(thing):  # its attributes are its parameters
                yield f"{thing.__module__}.{name}"
            if inspect.isclass(thing):
                for owner in [c for c in thing.__mro__ if c.__module__.startswith("sk_b2s")]:
                    for method, value in vars(owner).items():
                        if not method.startswith("_") and inspect.isfunction(value):
                            yield f"{owner.__module__}.{owner.__name__}.{method}"


@pytest.mark.parametrize("name", sorted(set(public())))
def test_public_names_are_documented(name):
    asked = {"GL08", "PR01", "PR02", "PR03", "PR07", "SS03"}
    found = [(code, text) for code, text in validate(name)["errors"] if code in asked]
    assert not found


def test_flat_names_are_all_there():
    assert sk_b2s.__all__ == sorted(sk_b2s.__all__)
    assert all(hasattr(sk_b2s, name) for name in sk_b2s.__all__)


def test_importing_the_package_draws_no_window_and_sets_no_seed():
    code = (
        "import torch, numpy as np, sys; torch.manual_seed(3); np.random.seed(3); before = np.random.get_state()[1];"
        "import sk_b2s; assert torch.initial_seed() == 3; assert (np.random.get_state()[1] == before).all();"
        "assert 'matplotlib' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_no_path_of_a_machine_is_written_down():
    for path in [
        *PACKAGE.rglob("*.py"),
        *ROOT.glob("*.md"),
        *ROOT.glob("examples/*.py"),
        *ROOT.glob("benchmarks/*"),
    ]:
        if path.is_file() and path.suffix in {".py", ".md"}:
            assert not re.search(r"/(root|home|work)/\w+", path.read_text()), path


def test_whatever_make_installs_has_a_pin_that_make_keeps():
    """`make constraints` writes down what its environment holds, so each extra must be in it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {
        line.split("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *sum(extras.values(), [])]:
        assert re.split(r"[\[><=~ ]", requirement)[0].lower() in pins, requirement
    makefile = (ROOT / "Makefile").read_text()
    asked = re.search(r"^constraints:(.*)$", makefile, re.MULTILINE)[1]
    installed = re.search(r'"\.\[(.*?)\]"', makefile)[1].split(",")
    assert all(extra in installed or f"$(VENV)/.{extra}" in asked.split() for extra in extras)

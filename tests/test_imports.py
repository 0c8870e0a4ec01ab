"""Tests of imports, of the package tree and of public names."""

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import tomllib
import types
from functools import cache
from graphlib import TopologicalSorter

import pytest
from helpers import ROOT
from numpydoc.validate import validate

import sk_b2s

PACKAGE = ROOT / "sk_b2s"
ORDER = [
    "_utils", "metrics", "events", "io", "preprocessing", "model_selection", "features", "datasets", "nn", "decoding",
    "pretraining", "evaluation", "synthesis", "streaming", "plotting", "reporting", "_persistence", "_cli",
]  # fmt: skip
MOST_PACKAGES = 15  # public ones, one per step of the flow
MOST_FILES = 17  # of a folder, besides __init__.py
MOST_LINES = 450  # of a file, besides docstrings


def module_of(path):
    """Dotted name of a file of the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def parse(path):
    return ast.parse(path.read_text())


@cache
def imported(path):
    """List modules that a file imports."""
    return list_imports(ast.walk(parse(path)))


def list_imports(nodes):
    found = []
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in MODULES else node.module for name in names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def subpackage(module):
    return module.split(".")[1] if module.startswith("sk_b2s.") else None


def test_subpackages_import_only_earlier_ones():
    modules = [name for name in MODULES if name.count(".") > 1]
    assert len(modules) > 300
    wrong = [
        f"{module} imports {other}"
        for module in modules
        for other in imported(MODULES[module])
        if other == "sk_b2s"  # the whole package
        or (subpackage(other) and ORDER.index(subpackage(other)) > ORDER.index(subpackage(module)))
    ]
    assert not wrong


def test_modules_import_each_other_without_cycles():
    graph = {
        name: {other for other in imported(path) if other in MODULES and other != name}
        for name, path in MODULES.items()
        if path.name != "__init__.py"
    }
    TopologicalSorter(graph).prepare()  # raises CycleError with the modules of the cycle


def test_modules_import_no_private_name_of_another():
    """Names with an underscore are those of modules, or of one file."""
    statement = re.compile(r"^ *from (sk_b2s[\w.]*) import (\([^)]*\)|.*)", re.M)
    wrong = [
        f"{module} imports {other}.{name}"
        for module, path in MODULES.items()
        for other, names in statement.findall(path.read_text(encoding="utf-8"))
        for name in re.findall(r"(?<!as )\b_\w+", names)
        if f"{other}.{name}" not in MODULES
    ]
    assert not wrong


def test_modules_import_matplotlib_in_functions():
    """Sub-packages import lazily, so importing one does not show this."""
    heavy = {"matplotlib", "IPython", "transformers"}
    found = {
        name: found
        for name, path in MODULES.items()
        if (found := [top for top in list_imports(parse(path).body) if top.split(".")[0] in heavy])
    }
    assert not found


def test_docstrings_refer_to_existing_functions():
    """Sphinx checks only the docstrings of public names."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    existing = set(re.findall(r"^ *(?:def|class) (\w+)", "\n".join(texts.values()), re.M))
    wrong = [
        f"{module}: {name}"
        for module, text in texts.items()
        for name in re.findall(r":(?:func|class|meth):`~?\.?(\w+)`", text)
        if name not in existing
    ]
    assert not wrong


def test_tree_has_few_entries_everywhere():
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries == {*ORDER, "__init__.py", "__main__.py"}
    assert sum(not name.startswith("_") for name in ORDER) <= MOST_PACKAGES
    for folder in {path.parent for path in MODULES.values()} - {PACKAGE}:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MOST_FILES, folder
        assert all(path.name.startswith("_") or path.name == "functional.py" for path in files), folder


SEED = "import torch, numpy as np; torch.manual_seed(3); np.random.seed(3); before = np.random.get_state()[1]"


@pytest.mark.parametrize(
    "chain",
    [
        [
            ("import sk_b2s", {"torch", "mne", "pandas", "scipy", "sklearn", "matplotlib", "transformers"}),
            ("from sk_b2s.events import check_events, StimulusArray", {"torch", "mne", "transformers"}),
            ("from sk_b2s import StimulusKFold, LeaveOneSubjectOut, HashedBlockSplit", {"torch", "mne"}),
            ("from sk_b2s.datasets import load_gwilliams2022, make_listening", {"torch", "transformers"}),
            ("from sk_b2s import read_bids, read_events, events_from_raw", {"torch", "transformers"}),
        ],
        [
            (f"{SEED}; import sk_b2s", {"mne", "transformers", "matplotlib"}),
            ("from sk_b2s.metrics import similarity, ranks, circular_shift_null", {"mne", "transformers"}),
            ("from sk_b2s.nn import BrainModule, ClipLoss", {"mne", "transformers", "matplotlib"}),
            ("assert torch.initial_seed() == 3; assert (np.random.get_state()[1] == before).all()", {"mne"}),
        ],
    ],
    ids=["without torch", "without mne, with equal random states"],
)
def test_import_loads_no_heavy_library(chain):
    """The imports of a chain share one process, and each one is checked."""
    code = "\n".join(["import sys", *(f"{statement}; print(*sys.modules)" for statement, _ in chain)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    for (statement, absent), loaded in zip(chain, done.stdout.splitlines(), strict=True):
        assert not absent & set(loaded.split()), statement


def public():
    """Names of all public classes, their methods and functions.

    Torch modules are documented by ``Shape:`` lines instead, as in torch.
    """
    names = [name for name in ORDER if not name.startswith("_") and name != "nn"]
    for package in [sk_b2s, *(getattr(sk_b2s, name) for name in names)]:
        for name in package.__all__:
            thing = getattr(package, name)
            if isinstance(
                thing, dict | tuple | types.ModuleType
            ):  # registries, documented where they are read
                continue
            if not dataclasses.is_dataclass(thing):  # its attributes are its parameters
                yield f"{thing.__module__}.{name}"
            if inspect.isclass(thing):
                for owner in [c for c in thing.__mro__ if c.__module__.startswith("sk_b2s")]:
                    for method, value in vars(owner).items():
                        if not method.startswith("_") and inspect.isfunction(value):
                            yield f"{owner.__module__}.{owner.__name__}.{method}"


def test_public_names_are_documented():
    names, checked = sorted(set(public())), {"GL08", "PR01", "PR02", "PR03", "PR07", "SS03"}
    assert len(names) > 300
    found = {
        name: [(code, text) for code, text in validate(name)["errors"] if code in checked] for name in names
    }
    assert not {name: errors for name, errors in found.items() if errors}


def test_flat_names_exist():
    assert sk_b2s.__all__ == sorted(sk_b2s.__all__)
    assert all(hasattr(sk_b2s, name) for name in sk_b2s.__all__)


def test_files_hold_no_path_of_a_machine():
    for path in [
        *PACKAGE.rglob("*.py"),
        *ROOT.glob("*.md"),
        *ROOT.glob("examples/*.py"),
        *ROOT.glob("benchmarks/*"),
    ]:
        if path.is_file() and path.suffix in {".py", ".md"}:
            assert not re.search(r"/(root|home|work)/\w+", path.read_text()), path


def test_constraints_pin_all_requirements():
    """The environment of ``make constraints`` must hold each extra."""
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
    prerequisites = re.search(r"^constraints:(.*)$", makefile, re.MULTILINE)[1]
    installed = re.search(r'"\.\[(.*?)\]"', makefile)[1].split(",")
    assert all(extra in installed or f"$(VENV)/.{extra}" in prerequisites.split() for extra in extras)


def count_lines(path):
    """Count the lines of a file that are not part of a docstring."""
    text = path.read_text()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    parts = [
        node.body[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, documented) and ast.get_docstring(node)
    ]
    return len(text.splitlines()) - sum(part.end_lineno - part.lineno + 1 for part in parts)


def test_files_have_at_most_450_lines_of_code():
    lines = {name: count_lines(path) for name, path in MODULES.items()}
    assert not {name: n for name, n in lines.items() if n > MOST_LINES}

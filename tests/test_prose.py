"""Tests of the prose of the project: words, spelling, lengths of lines."""

import ast
import subprocess
import sys

import pytest
from helpers import ROOT

sys.path.insert(0, str(ROOT / "tools"))
from prose import files_of, find_avoided, find_long_lines, parse_file  # noqa: E402

GENERATED = ("docs/_build", "docs/generated", "docs/auto_examples")
FOLDERS = ("sk_b2s", "tests", "examples", "benchmarks", "tools", "docs")
WIDTH, LONGEST_NAME = 79, 50


def written():
    """Texts that are not generated."""
    paths = files_of([*(ROOT / name for name in FOLDERS), *ROOT.glob("*.md")])
    return [path for path in paths if not any(ROOT / name in path.parents for name in GENERATED)]


def documented(path):
    """List the docstrings of a file: (name, line, docstring)."""
    for node in parse_file(path)[1]:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (
            text := ast.get_docstring(node)
        ):
            yield getattr(node, "name", path.stem), node.body[0].lineno, text


@pytest.fixture(scope="module")
def findings():
    """Findings of all rules. Each file is parsed once."""
    found = {"words": [], "lines": [], "sentences": [], "names": []}
    for path in written():
        name = path.relative_to(ROOT)
        found["words"] += [f"{name}:{line}: {word}" for line, word in find_avoided(path)]
        if path.suffix != ".py":
            continue
        found["lines"] += [f"{name}:{line}" for line, _ in find_long_lines(path)]
        if name.parts[0] == "examples":  # sphinx-gallery reads the first docstring as a page
            continue
        for owner, line, text in documented(path):
            first, *rest = text.splitlines()
            if len(first) > WIDTH or not first.endswith(".") or (rest and rest[0]):
                found["sentences"].append(f"{name}:{line}: {owner}: {first}")
        if path.name.startswith("test_"):
            tests = [node for node in parse_file(path)[1] if isinstance(node, ast.FunctionDef)]
            found["names"] += [
                f"{name}:{node.lineno}: {node.name}"
                for node in tests
                if node.name.startswith("test_") and len(node.name) > LONGEST_NAME
            ]
    return found


@pytest.mark.parametrize("rule", ["words", "lines", "sentences", "names"])
def test_files_follow_the_rules(findings, rule):
    """No avoided words, short lines, one first sentence, short names."""
    assert not findings[rule], "\n".join(findings[rule])


def test_spelling_is_american():
    command = [sys.executable, "-m", "codespell_lib", "--builtin", "clear,rare,en-GB_to_en-US", "-q", "3"]
    done = subprocess.run(
        [*command, "--skip", ",".join(GENERATED), *FOLDERS, *(path.name for path in ROOT.glob("*.md"))],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f():\n    '''Return what the brain did.'''", ["what the brain did"]),
        ("raise ValueError('X is none of the people')", ["is none", "people"]),
        ("x = 1  # nobody knows", ["nobody", "knows"]),
        ("def test_a_person_answers(): pass", ["answers", "person"]),
        ("def f():\n    '''Read ``people`` and `heard_rows_` of a subject.'''", []),
        ("people = 'somebody'", []),
    ],
    ids=["docstring", "error", "comment", "test name", "code", "value"],
)
def test_find_avoided_reads_text_only(text, words, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(text)
    assert sorted(word for _, word in find_avoided(path)) == sorted(words)

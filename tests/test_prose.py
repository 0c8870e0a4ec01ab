"""Tests of the prose of the project: words, spelling, lengths of lines."""

import ast
import subprocess
import sys

import pytest
from helpers import ROOT

sys.path.insert(0, str(ROOT / "tools"))
from prose import files_of, find_avoided, find_long_lines, parse_file  # noqa: E402

FOLDERS = ("sk_b2s", "tests", "examples", "benchmarks", "tools", "docs")
WIDTH, LONGEST_NAME = 79, 50


def written():
    """Texts that are not generated."""
    paths = files_of([*(ROOT / name for name in FOLDERS), *ROOT.glob("*.md")])
    generated = (ROOT / "docs" / "_build", ROOT / "docs" / "generated", ROOT / "docs" / "auto_examples")
    return [path for path in paths if not any(folder in path.parents for folder in generated)]


def documented(path):
    """List the docstrings of a file: (name, line, docstring)."""
    for node in parse_file(path)[1]:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (
            text := ast.get_docstring(node)
        ):
            yield getattr(node, "name", path.stem), node.body[0].lineno, text


def test_files_hold_no_avoided_words():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word}" for path in written() for line, word in find_avoided(path)
    ]
    assert not found, "\n".join(found)


def test_docstring_lines_are_short():
    paths = files_of([ROOT / "sk_b2s", ROOT / "tests", ROOT / "tools"])
    found = [f"{path.relative_to(ROOT)}:{line}" for path in paths for line, _ in find_long_lines(path)]
    assert not found, "\n".join(found)


def test_docstrings_begin_with_one_sentence():
    found = []
    for path in files_of([ROOT / "sk_b2s", ROOT / "tests", ROOT / "tools"]):
        for name, line, text in documented(path) if path.suffix == ".py" else ():
            first, *rest = text.splitlines()
            if len(first) > WIDTH or not first.endswith(".") or (rest and rest[0]):
                found.append(f"{path.relative_to(ROOT)}:{line}: {name}: {first}")
    assert not found, "\n".join(found)


def test_test_names_are_short():
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in parse_file(path)[1]:
            if (
                isinstance(node, ast.FunctionDef)
                and node.name.startswith("test_")
                and len(node.name) > LONGEST_NAME
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert not found, "\n".join(found)


def test_spelling_is_american():
    command = [sys.executable, "-m", "codespell_lib", "--builtin", "clear,rare,en-GB_to_en-US", "-q", "3"]
    done = subprocess.run(
        [*command, *FOLDERS, *(path.name for path in ROOT.glob("*.md"))],
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

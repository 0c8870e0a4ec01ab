"""Measure how easy the package is to find one's way in.

Run as ``python tools/measure_package.py [ROOT]``, where ROOT is a checkout, by
default the one of this file. It prints the entries of each folder, lines, the
time of an import, docstring lines over 79 characters, avoided words, and how
many test names and first lines of docstrings break the rules of
CONTRIBUTING.md. More times of imports are in benchmarks/bench_import.py.
"""

import ast
import subprocess
import sys
import time
from pathlib import Path

from prose import FOLDERS, files_of, find_avoided, find_long_lines

MOST_TEST_NAME = 50
N_IMPORTS = 5


def count_entries(package):
    """Number of Python files and folders in each folder of the package."""
    folders = [package, *sorted(path for path in package.rglob("*") if path.is_dir())]
    for folder in folders:
        entries = [
            path
            for path in folder.iterdir()
            if path.suffix == ".py"
            or (path.is_dir() and path.name != "__pycache__" and any(path.rglob("*.py")))
        ]
        if entries:
            yield folder, len([path for path in entries if not path.name.startswith("__")])


def first_lines(path):
    """First lines of all docstrings of a file."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, documented) and (text := ast.get_docstring(node)):
            yield text.splitlines()[0]


def test_names(path):
    """Names of the test functions of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name


def measure_import(root, code):
    """Least seconds of a new process with a statement, beyond an empty one."""
    least = {}
    for statement in ("pass", code):
        seconds = []
        for _ in range(N_IMPORTS):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True, cwd=root)
            seconds.append(time.perf_counter() - begin)
        least[statement] = min(seconds)
    return least[code] - least["pass"]


def main(root):
    """Print all measures of a checkout."""
    package, tests = root / "sk_b2s", root / "tests"
    files = sorted(package.rglob("*.py"))
    lines = [len(path.read_text().splitlines()) for path in files]
    entries = dict(count_entries(package))
    print(f"entries at the top level: {entries.pop(package)}")
    for folder, n in entries.items():
        print(f"  {folder.relative_to(package)}: {n}")
    print(f"files: {len(files)}, lines: {sum(lines)}, longest: {max(lines)}")
    print(f"import sk_b2s: {measure_import(root, 'import sk_b2s'):.2f} s")
    texts = [path for name in FOLDERS for path in files_of([root / name])]
    long = sum(len(find_long_lines(path)) for path in texts)
    firsts = [line for path in files for line in first_lines(path)]
    bad_firsts = [line for line in firsts if len(line) > 79 or not line.endswith(".")]
    print(f"docstring lines over 79 characters: {long}")
    print(f"first docstring lines over 79 characters or without a period: {len(bad_firsts)} of {len(firsts)}")
    for name in FOLDERS:
        print(f"avoided words in {name}: {sum(len(find_avoided(path)) for path in files_of([root / name]))}")
    names = [name for path in sorted(tests.rglob("test_*.py")) for name in test_names(path)]
    print(
        f"test names over {MOST_TEST_NAME} characters: {sum(len(n) > MOST_TEST_NAME for n in names)} of {len(names)}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])

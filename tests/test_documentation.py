"""The pages: what they show runs and prints what they say, what they name exists, and all of them are found."""

import contextlib
import io
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import sk_b2s
import sk_b2s.datasets
import sk_b2s.plotting

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MADE = ("_build", "auto_examples", "generated")  # by sphinx
PAGES = sorted(
    path
    for path in [*DOCS.rglob("*.md"), *DOCS.rglob("*.rst")]
    if not {*MADE, "_templates"} & set(path.relative_to(DOCS).parts) and path.parent.name != "_templates"
    if path.name != "sg_execution_times.rst"
)
BLOCK = re.compile(
    r"(?:^<!-- not run:(?P<reason>.*?)-->\n+)?^```python\n(?P<code>.*?)^```\n(?:\n+```text\n(?P<printed>.*?)^```)?",
    re.M | re.S,
)
WORD = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?|[^\s\d]+|\d+")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def blocks_of(path):
    """Blocks of code of a page: the line they begin at, the code, what it prints, and why it is not run."""
    text = path.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text[: found.start("code")].count("\n")
        yield line, found["code"], found["printed"], found["reason"]


SLOW = {"from_mne.md", "controls.md", "decoders.md", "scores.md", "benchmarks.md"}
WITH_CODE = [
    pytest.param(path, marks=[pytest.mark.slow] if path.name in SLOW else [], id=name_of(path))
    for path in PAGES
    if any(reason is None for *_, reason in blocks_of(path))
]


def differs(printed, expected):
    """Tell how what was printed differs from what the page says, up to 0.05 or 5 % in numbers with a point.

    Blanks do not count, and "..." stands for anything.
    """
    pattern = [WORD.findall(part) for part in expected.split("...")]
    words, at = WORD.findall(printed), 0
    for i, part in enumerate(pattern):
        places = range(at, len(words) - len(part) + 1) if i else [0]
        if i == len(pattern) - 1 and (part or i == 0):
            places = [len(words) - len(part)]
        start = next((p for p in places if p >= at and alike(words[p : p + len(part)], part)), None)
        if start is None or (i == 0 and start):
            return f"the page says\n{expected}\nbut there came\n{printed}"
        at = start + len(part)
    return ""


def alike(words, expected):
    if len(words) != len(expected):
        return False
    for came, said in zip(words, expected, strict=True):
        if "." in said[1:] and re.fullmatch(r"-?\d+\.\d+(e[-+]\d+)?", said):
            if not re.fullmatch(r"-?\d+\.?\d*(e[-+]\d+)?", came):
                return False
            if not np.isclose(float(came), float(said), rtol=0.05, atol=0.05):
                return False
        elif came != said:
            return False
    return True


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("a  0.62\n", "a 0.6", True),
        ("a  0.72\n", "a 0.6", False),
        ("180 rows", "181 rows", False),
        ("one two three", "one ... three", True),
        ("one two four", "one ... three", False),
        ("one two", "one", False),
        ("zero one", "one ...", False),
        ("one -0.5 x", "... -0.48 x", True),
        ("", "something", False),
    ],
)
def test_what_is_printed_is_compared_up_to_small_differences(printed, expected, same):
    assert (differs(printed, expected) == "") is same


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """Folder in which all pages find the experiment that the first has written."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("path", WITH_CODE)
def test_what_a_page_shows_runs(path, shared_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("SK_B2S_CACHE", str(shared_cache))
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    names = {"__name__": "page"}
    for line, code, expected, reason in blocks_of(path):
        if reason is not None:
            assert len(reason.split()) > 1, f"{name_of(path)}, line {line}: why is it not run?"
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + code, str(path), "exec"), names)
        if expected is not None:
            assert not (wrong := differs(printed.getvalue(), expected)), (
                f"{name_of(path)}, line {line}: {wrong}"
            )


# --- names and links ---------------------------------------------------------------------------------


def listed():
    """Names on the reference page, by module."""
    module, names = None, []
    for line in (DOCS / "api.rst").read_text().splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.fullmatch(r"   (\w+)", line):
            names.append((module, found[1]))
    return names


@pytest.mark.parametrize(
    "package", [sk_b2s, sk_b2s.datasets, sk_b2s.plotting], ids=lambda package: package.__name__
)
def test_the_reference_has_every_public_name_once(package):
    assert sorted(name for module, name in listed() if module == package.__name__) == sorted(
        set(package.__all__) - (set() if package is sk_b2s else set(sk_b2s.__all__))
    )


@pytest.mark.parametrize(("module", "name"), listed())
def test_the_reference_names_what_exists(module, name):
    package = __import__(module, fromlist=[name])
    assert getattr(package, name) is not None


def trees():
    """Entries of all tables of contents, as paths of pages without their suffix."""
    for path in PAGES:
        for found in re.finditer(r"^```\{toctree\}\n(.*?)^```", path.read_text(), re.M | re.S):
            for line in found[1].splitlines():
                if line and not line.startswith(":"):
                    entry = re.sub(r".*<(.*)>", r"\1", line.strip())
                    yield (path.parent / entry).relative_to(DOCS).as_posix()


def test_every_page_is_in_one_table_of_contents():
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES} - {"index"}
    assert sorted(trees()) == sorted(pages | {"auto_examples/index"})


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md", ROOT / "CHANGES.md"], ids=name_of)
def test_local_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        if found := re.search(
            r"auto_examples/(plot_\w+|index)\.rst$", target
        ):  # which the site is built with
            assert found[1] == "index" or (ROOT / "examples" / f"{found[1]}.py").is_file(), target
        else:
            assert (path.parent / target).exists(), f"{name_of(path)} links to {target}"


def test_every_example_has_its_page_and_its_line_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    examples = sorted((ROOT / "examples").glob("plot_*.py"))
    assert examples
    assert all(f"(examples/{path.name})" in readme for path in examples)

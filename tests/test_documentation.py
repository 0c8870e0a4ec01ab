"""Tests of the documentation pages, their code, names and links."""

import contextlib
import importlib
import inspect
import io
import pickle
import re
from pathlib import Path
from xml.dom import minidom

import matplotlib
import numpy as np
import pytest

import sk_b2s
from sk_b2s.datasets._registry import DATASETS
from sk_b2s.decoding._presets import PRESETS
from sk_b2s.evaluation._controls._registry import CONTROLS
from sk_b2s.evaluation._scores import SCORES
from sk_b2s.evaluation._tasks._registry import TASKS
from sk_b2s.model_selection._registry import SPLITTERS
from sk_b2s.nn._registry import LOSSES

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
INCLUDED = re.compile(r"^```\{include\} (\w+\.txt)\n```\n", re.M)
WORD = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?|[^\s\d]+|\d+")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def blocks_of(path):
    """Yield line, code, printed text and reason not to run of each block."""
    text = path.read_text(encoding="utf-8")
    text = INCLUDED.sub(lambda found: (path.parent / found[1]).read_text(encoding="utf-8"), text)
    for found in BLOCK.finditer(text):
        line = text[: found.start("code")].count("\n")
        yield line, found["code"], found["printed"], found["reason"]


SLOW = {"from_mne.md", "controls.md", "decoding.md", "deep_learning.md", "retrieval.md", "benchmarks.md"}
WITH_CODE = [
    pytest.param(path, marks=[pytest.mark.slow] if path.name in SLOW else [], id=name_of(path))
    for path in PAGES
    if any(reason is None for *_, reason in blocks_of(path))
]


def differs(printed, expected):
    """Describe how printed text differs from a page.

    Decimal numbers may differ by 0.05 or 5 %. White space is ignored, and
    "..." matches anything.
    """
    pattern = [WORD.findall(part) for part in expected.split("...")]
    words, at = WORD.findall(printed), 0
    for i, part in enumerate(pattern):
        places = range(at, len(words) - len(part) + 1) if i else [0]
        if i == len(pattern) - 1 and (part or i == 0):
            places = [len(words) - len(part)]
        start = next((p for p in places if p >= at and is_close(words[p : p + len(part)], part)), None)
        if start is None or (i == 0 and start):
            return f"The page shows\n{expected}\nbut the code printed\n{printed}"
        at = start + len(part)
    return ""


def is_close(words, expected):
    if len(words) != len(expected):
        return False
    for printed, shown in zip(words, expected, strict=True):
        if "." in shown[1:] and re.fullmatch(r"-?\d+\.\d+(e[-+]\d+)?", shown):
            if not re.fullmatch(r"-?\d+\.?\d*(e[-+]\d+)?", printed):
                return False
            if not np.isclose(float(printed), float(shown), rtol=0.05, atol=0.05):
                return False
        elif printed != shown:
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
def test_differs_allows_small_differences(printed, expected, same):
    assert (differs(printed, expected) == "") is same


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """Cache folder with the simulated experiment, shared by all pages."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def shared_segments():
    """Segment equal events once, as many pages begin with the same ones."""
    known = {}

    def make_segments_once(events, **parameters):
        key = pickle.dumps((events, parameters))
        if key not in known:
            known[key] = make_segments(events, **parameters)
        return tuple(table.copy() for table in known[key])

    make_segments = sk_b2s.make_segments
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sk_b2s, "make_segments", make_segments_once)
        yield


@pytest.mark.parametrize("path", WITH_CODE)
def test_page_code_runs_and_prints_its_output(path, shared_cache, shared_segments, tmp_path, monkeypatch):
    monkeypatch.setenv("SK_B2S_CACHE", str(shared_cache))
    (shared_cache / "pages").mkdir(exist_ok=True)
    with contextlib.suppress(OSError):  # Windows may not allow links; pages are then slower
        (tmp_path / "cache").symlink_to(shared_cache / "pages", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    names = {"__name__": "page"}
    for line, code, expected, reason in blocks_of(path):
        if reason is not None:
            assert len(reason.split()) > 1, f"{name_of(path)}, line {line}: give the reason"
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
    """List (module, name) of all names on the API pages."""
    names = []
    for path in sorted((DOCS / "api").glob("*.rst")):
        module = None
        for line in path.read_text().splitlines():
            if found := re.match(r"\.\. currentmodule:: (\S+)", line):
                module = found[1]
            elif (found := re.fullmatch(r"   (\w+)", line)) and path.stem != "index":
                names.append((module, found[1]))
    return names


@pytest.mark.parametrize("package", sk_b2s._SUBPACKAGES)
def test_api_page_lists_public_names_once(package):
    module = importlib.import_module(f"sk_b2s.{package}")
    public = [name for name in module.__all__ if not inspect.ismodule(getattr(module, name))]
    assert sorted(name for where, name in listed() if where == module.__name__) == sorted(public)


def test_api_pages_list_every_flat_name():
    assert set(sk_b2s.__all__) <= {name for _, name in listed()}


def test_api_pages_list_existing_names():
    assert listed()
    missing = [
        (module, name)
        for module, name in listed()
        if getattr(importlib.import_module(module), name, None) is None
    ]
    assert not missing


def test_api_index_lists_the_subpackages():
    entries = [entry.removeprefix("api/") for entry in trees() if entry.startswith("api/")]
    pages = [entry for entry in entries if entry not in ("index", "persistence")]
    assert sorted(pages) == sorted(sk_b2s._SUBPACKAGES)


def trees():
    """Yield the entries of all tables of contents, as paths without suffix."""
    markdown, rst = r"^```\{toctree\}\n(.*?)^```", r"^\.\. toctree::\n((?:   .*\n|\n)*)"
    for path in PAGES:
        for found in re.finditer(rst if path.suffix == ".rst" else markdown, path.read_text(), re.M | re.S):
            for line in map(str.strip, found[1].splitlines()):
                if line and not line.startswith(":"):
                    entry = re.sub(r".*<(.*)>", r"\1", line)
                    yield (path.parent / entry).relative_to(DOCS).as_posix()


def test_every_page_is_in_one_table_of_contents():
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES} - {"index"}
    assert sorted(trees()) == sorted(pages | {"auto_examples/index"})


@pytest.mark.parametrize("path", [*PAGES, *ROOT.glob("*.md")], ids=name_of)
def test_local_links_exist(path):
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


# --- figures: drawn by tools/draw_figures.py ------------------------------------------------------------

FIGURES = DOCS / "_static" / "figures"


@pytest.mark.parametrize("path", sorted((DOCS / "guide").glob("*.md")), ids=name_of)
def test_guide_chapter_shows_a_figure(path):
    assert re.search(
        r"^!\[.{20,}\]\(\.\./_static/figures/\w+\.svg\)$", path.read_text(encoding="utf-8"), re.M
    )


@pytest.mark.parametrize("name", sk_b2s.plotting.__all__)
def test_plotting_function_has_a_figure(name):
    assert (FIGURES / f"{name}.svg").is_file(), f"draw it: python tools/draw_figures.py {name}"


def test_figures_are_small_and_follow_color_scheme():
    for path in FIGURES.glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert len(text) < 40_000, path.name
        assert not re.search(r"matrix\(\d+\.\d ", text), f"{path.name}: images are not scaled to a tenth"
        assert "prefers-color-scheme: dark" in text, path.name
        assert minidom.parseString(text).documentElement.tagName == "svg"


def test_measured_pages_include_each_section_once():
    readme = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "measured").glob("*.md"))
    included = re.findall(r'^:start-after: "(## `\S+`)"$', pages, re.M)
    assert sorted(included) == sorted(re.findall(r"^## `\S+`$", readme, re.M)), "list it in docs/measured/"


def test_readme_lists_every_example():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    examples = sorted((ROOT / "examples").glob("plot_*.py"))
    assert examples
    assert all(f"(examples/{path.name})" in readme for path in examples)


# --- registries --------------------------------------------------------------------------------------


def registered():
    """List (chapter, name that it must contain) of all registries."""
    features = [name for name in sk_b2s.features.__all__ if name != "SpeechFeatures"]
    chapters = {
        "decoding.md": [f'"{name}"' for name in LOSSES],
        "retrieval.md": list(SCORES),
        "controls.md": [name for name in CONTROLS if name != "decoder"],
        "model_selection.md": [spec.class_name for spec in SPLITTERS.values()],
        "features.md": features,
        "datasets.md": [name for name in DATASETS if name != "listening"],
        "command_line.md": list(PRESETS),
        "tasks.md": [f"| `{name}` | {spec.question} |" for name, spec in TASKS.items()],
    }
    return [(chapter, name) for chapter, names in chapters.items() for name in names]


@pytest.mark.parametrize(("chapter", "name"), registered())
def test_guide_names_every_registry_entry(chapter, name):
    assert name in (DOCS / "guide" / chapter).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "name"),
    [("loss", "LOSSES"), ("score", "SCORES"), ("control", "CONTROLS"), ("splitter", "SPLITTERS"),
     ("dataset", "DATASETS"), ("preset", "PRESETS"), ("task", "TASKS")],
)  # fmt: skip
def test_contributing_page_names_its_registry(page, name):
    text = (DOCS / "contributing" / f"{page}.md").read_text(encoding="utf-8")
    file = re.search(rf"`{name}` in `(sk_b2s/\S+\.py)`", text)
    assert file, "name the registry and its file"
    assert re.search(rf"^{name}\b", (ROOT / file[1]).read_text(encoding="utf-8"), re.M)

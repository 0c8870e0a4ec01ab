"""Validation of the lines of a results file."""

import base64
import json
import os
import re
import zlib

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import FAST, ONE, people, same

from sk_b2s import StimulusKFold, benchmark, read_results, summarize
from sk_b2s._utils._json_lines import JsonLinesFile
from sk_b2s.evaluation._results._former import FORMER_COLUMNS
from sk_b2s.evaluation._results._lines import (
    find_line_problem,
    pack_result_line_array,
    unpack_result_line_array,
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A small run with controls: arguments, table and lines of its file."""
    X, y = people(n_recordings=4, n=40, together=2)
    arguments = {"estimators": {"one": ONE}, "X": X, "y": y, "cv": StimulusKFold(2), "controls": ["phase_randomized"], "k": 5,
                 "n_candidates": None, **FAST}  # fmt: skip
    path = tmp_path_factory.mktemp("results") / "r.jsonl"
    results = benchmark(path=path, **arguments)
    return arguments, results, path.read_bytes().split(b"\n")


def bomb(line):
    line = json.loads(line)
    zeros = base64.b64encode(zlib.compress(bytes(300_000_000), 1)).decode()
    line["outcome"]["records"][0]["relative"] = {"shape": [37_500_000], "f8": zeros}
    return json.dumps(line).encode()


DAMAGE = {
    "Latin-1": lambda line: line.replace(b'"one"', b'"\xf6ne"'),
    "NUL": lambda line: b"\0" + line,
    "NUL inside": lambda line: line[:100] + b"\0" + line[101:],
    "cut": lambda line: line[:200],
    "first half lost": lambda line: line[len(line) // 2 :],
    "nested": lambda line: b"[" * 3000,
    "nested deeper": lambda line: b'{"a":' * 100_000,
    "digits": lambda line: line.replace(b'"seed": 0', b'"seed": ' + b"9" * 5000),
    "large": lambda line: line.replace(b'"seed": 0', b'"seed": ' + b"9" * 400),
    "key alone": lambda line: b'{"key": 1}',
    "foreign": lambda line: b'{"key": "a"}',
    "no key": lambda line: b'{"results": []}',
    "a list": lambda line: b"[1, 2]",
    "bomb": bomb,
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.filterwarnings("ignore:.*(is not complete|the plan of)")
def test_benchmark_repeats_damaged_lines(kind, done, tmp_path):
    arguments, results, lines = done
    path, full = tmp_path / "r.jsonl", [n for n, line in enumerate(lines) if line]
    place = next(n for n in full if b'"records"' in lines[n])
    damaged = [*lines[:place], DAMAGE[kind](lines[place]), *lines[place + 1 :]]
    path.write_bytes(b"\n".join(damaged))
    shown = rf"r\.jsonl': an invalid line was skipped, line {place + 1} .*{len(full) - 1} lines were read"
    with pytest.warns(UserWarning, match=shown):
        assert len(read_results(path)) < len(results)
    with pytest.warns(UserWarning, match=rf"line {place + 1} "):
        same(benchmark(path=path, **arguments), results)
    with pytest.warns(UserWarning, match=rf"line {place + 1} .*{len(full)} lines were read"):
        same(read_results(path), results)


def test_read_results_warns_once_of_damaged_lines(done, tmp_path, recwarn):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\n".join([*done[2], *[b"junk"] * 30]))
    read_results(path)
    said = [str(warning.message) for warning in recwarn if "skipped" in str(warning.message)]
    assert len(said) == 1
    assert "30 invalid lines" in said[0]
    assert "and 20 more" in said[0]


@pytest.mark.parametrize("change", [lambda whole: b"\xef\xbb\xbf" + whole, lambda whole: whole.replace(b"\n", b"\r\n"),
                                    lambda whole: whole + whole, lambda whole: whole.rstrip()])  # fmt: skip
def test_read_results_accepts_harmless_changes(change, done, tmp_path, recwarn):
    path = tmp_path / "r.jsonl"
    path.write_bytes(change(b"\n".join(done[2])))
    same(read_results(path), done[1])
    assert not [warning for warning in recwarn if "skipped" in str(warning.message)]


def places(tree):
    """Every place in a JSON text, as (holder, key)."""
    pairs = (
        list(tree.items()) if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    )
    for key, value in pairs:
        yield tree, key
        yield from places(value)


@pytest.mark.filterwarnings("ignore")
def test_find_line_problem_of_changed_types(done, tmp_path):
    """A line is skipped or read, and errors are ValueErrors with the file."""
    _, _, lines = done
    path, rng = tmp_path / "r.jsonl", np.random.default_rng(0)
    place = next(n for n, line in enumerate(lines) if b'"records"' in line)
    whole = json.loads(lines[place])
    n_places, junk = (
        len(list(places(whole))),
        [None, -1, "junk", [], {}, 10**30, float("nan"), [[1]], {"a": 1}, True],
    )
    for index in rng.choice(n_places, 40, replace=False):
        line = json.loads(lines[place])
        holder, key = list(places(line))[index]
        holder[key] = junk[index % len(junk)]
        path.write_bytes(b"\n".join([*lines[:place], json.dumps(line).encode(), *lines[place + 1 :]]))
        try:
            read_results(path)
        except ValueError as error:
            assert "r.jsonl" in str(error) or "done twice" in str(error) or "plan" in str(error)  # noqa: PT017


def test_find_line_problem_accepts_own_lines(done):
    for line in filter(None, done[2]):
        assert find_line_problem(json.loads(line)) is None


@pytest.mark.parametrize("column", ["main_score", "leakage_verdict"])
def test_find_line_problem_of_unknown_choice(done, column):
    line = json.loads(next(filter(None, done[2])))
    line["about"][column] = "junk"
    assert find_line_problem(line) == f"its {column} 'junk' is unknown"


@pytest.mark.parametrize("shape", [[3], [2, 3], [0], []])
def test_unpack_result_line_array_inverts_pack_array(shape):
    array = np.random.default_rng(0).standard_normal(shape)
    item = json.loads(json.dumps(pack_result_line_array(array)))
    np.testing.assert_array_equal(unpack_result_line_array(item), array)
    for wrong in ([4], [-1], [1.5], ["3"], [10**12]):
        with pytest.raises(ValueError, match="an array"):
            unpack_result_line_array({**item, "shape": wrong})


posix = pytest.mark.skipif(os.name != "posix", reason="needs FIFOs and devices")


@pytest.mark.parametrize("kind", ["folder", pytest.param("fifo", marks=posix), pytest.param("/dev/full", marks=posix),
                                  pytest.param("/dev/zero", marks=posix)])  # fmt: skip
def test_read_results_refuses_special_files(kind, done, tmp_path):
    path = tmp_path / "r.jsonl" if kind[0] != "/" else kind
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    shown = "must be a regular file, but is .* Pass a path"
    with pytest.raises(ValueError, match=f"{path}.*{shown}"):
        benchmark(path=path, **done[0])
    with pytest.raises(ValueError, match="no results" if kind == "folder" else f"{path}.*{shown}"):
        read_results(path)


@posix
@pytest.mark.parametrize("most", [0, 100])
def test_benchmark_names_file_on_full_disk(most, tmp_path):
    resource = pytest.importorskip("resource")
    ledger, before = JsonLinesFile(tmp_path / "r.jsonl"), resource.getrlimit(resource.RLIMIT_FSIZE)
    with ledger.claim("a" * 32) as claim:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
        try:
            with pytest.raises(OSError, match=r"(too large|only 100 of).*Free some space.*r\.jsonl"):
                claim.write({"value": "x" * 500})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_read_results_renames_former_names(tmp_path):
    X, y = people(n_recordings=2, n=40, together=2)
    arguments = {"cv": StimulusKFold(2), "controls": ["phase_randomized"], "n_candidates": 30, **FAST}
    path = tmp_path / "new.jsonl"
    expected = benchmark({"one": ONE}, X, y, path=path, **arguments)
    former = path.read_text().replace("phase_randomized", "surrogate")
    for old, new in FORMER_COLUMNS.items():
        former = former.replace(f'"{new}":', f'"{old}":')
    former = re.sub(r'"leakage_(verdict|sources)":\s*"[^"]*",\s*', "", former)
    (tmp_path / "former.jsonl").write_text(former)
    assert set(expected["leakage_verdict"]) == {"no_leak"}
    assert '"surrogate"' in former
    assert "leakage_" not in former
    assert '"near"' in former
    same(read_results(tmp_path / "former.jsonl"), expected)


def test_summarize_refuses_former_columns():
    with pytest.raises(ValueError, match=r"'near'.*earlier version.*read_results.*'top_1_within_500ms'"):
        summarize(pd.DataFrame({"near": [0.5], "estimator": "one"}))

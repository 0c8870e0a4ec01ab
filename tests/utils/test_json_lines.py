"""Append-only JSON Lines files."""

import os
import warnings

import numpy as np
import pytest
from helpers.processes import run_in_processes

from sk_b2s._utils._json_lines import JsonLinesFile


def test_claim_writes_after_truncated_line(tmp_path):
    ledger = JsonLinesFile(tmp_path / "folder" / "r.jsonl")
    assert ledger.lines() == []
    with ledger.claim("a" * 32) as claim:
        claim.write({"value": np.float32(0.5)})
    with open(ledger.path, "ab") as file:
        file.write(b'\n{"key": "b", "val')
    with ledger.claim("b" * 32) as claim:
        assert claim.found() == []
        claim.write({"value": float("nan")})
        assert np.isnan(claim.found()[0]["value"])
    assert [line["key"][0] for line in ledger.lines()] == ["a", "b"]


def test_found_includes_line_that_was_being_written(tmp_path):
    ledger = JsonLinesFile(tmp_path / "r.jsonl")
    for key in ("a" * 32, "b" * 32):
        with ledger.claim(key) as claim:
            claim.write({"value": "x" * 20})
    whole = ledger.path.read_bytes()
    for written in range(len(whole)):
        ledger.path.write_bytes(whole[:written])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lines, start = ledger.read()
        ledger.path.write_bytes(whole)
        with ledger.claim("b" * 32) as claim:
            later = claim.found(start)
        assert [line["key"][0] for line in lines + later].count("b") >= 1


def write_long_lines(path):
    for number in range(20):
        with JsonLinesFile(path).claim(f"{number:032x}") as claim:
            claim.write({"value": "x" * 3_000_000})


def read_until_complete(path):
    lines = []
    while len(lines) < 20:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            lines = JsonLinesFile(path).lines()
    return len(lines)


@pytest.mark.skipif(os.name != "posix", reason="needs locks of parts of files")
def test_lines_waits_for_line_that_is_being_written(tmp_path):
    path = tmp_path / "r.jsonl"
    assert run_in_processes(call, [write_long_lines, read_until_complete], [path, path]) == [None, 20]


def call(function, path):
    return function(path)

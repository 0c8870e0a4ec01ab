"""Append-only JSON Lines files."""

import numpy as np

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

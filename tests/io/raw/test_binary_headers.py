"""Tests for EDF, BDF and FIF headers."""

import struct

import pytest
from helpers.raw_files import write_edf
from helpers.read_files import make_signal

from sk_b2s.io._raw._binary_headers import (
    find_binary_header_breaks,
    read_binary_fif_header,
    read_binary_record_times,
    read_edf_header,
)


@pytest.mark.parametrize("place", [184, 236, 244, 252])
def test_read_edf_header_of_broken_file(place, tmp_path):
    path = tmp_path / "p.edf"
    write_edf(path, make_signal(3, 500), 50, range(0, 20, 2))
    content = bytearray(path.read_bytes())
    content[place : place + 4] = b"x,y "
    path.write_bytes(content)
    assert read_edf_header(path) is None
    assert read_binary_record_times(path) == (None, None)
    assert find_binary_header_breaks(path) == []


def test_read_binary_fif_header_stops(tmp_path):
    path = tmp_path / "a.fif"
    tag = struct.pack(">iiii", 1, 3, 0, 16)
    path.write_bytes(tag + struct.pack(">iiii", 2, 3, 0, 16))  # the second tag links to itself
    assert read_binary_fif_header(path) is None
    path.write_bytes(struct.pack(">iiii", 118, 10, 2**31 - 1, 0))
    assert read_binary_fif_header(path) is None

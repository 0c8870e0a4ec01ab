"""Tests of file names and sizes from servers."""

import pytest
from helpers.servers import download_file, make_file

from sk_b2s.datasets._file_names import check_file_name, check_file_name_size

OUTSIDE = ["../x", "a/../../x", "/etc/x", "\\x", "C:x", "c:/x", "C:\\x", "\\\\server\\share\\x", "//server/share/x",
           "..", "a\\..\\..\\x", "\\\\?\\C:\\x"]  # fmt: skip


UNUSABLE = ["", ".", "./x", "a//b", "a/", "a/./b", "x\0y", "x\ny", "x\x1b[2J", "CON", "nul.txt", "a/COM1.mat", "aux ",
            "LPT¹", "a/ b", "a./b", "... ", "x:y", "a\\b", "x*", "x" * 300, "x/" * 600 + "x",
            "\ud800", None, 5,
            ["a"]]  # fmt: skip


USABLE = ["sub-01/ses-0/meg/one.con", "stimuli/audio/lw1_0.wav", "Natural Speech/EEG/Subject1/Subject1_Run1.mat",
          "ÄÖ.wav", "doi_10.5061_dryad.070jc.zip", "console.txt", "COM10", ".bidsignore", "a..b",
          "x" * 200]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE + UNUSABLE, ids=lambda name: ascii(name)[:20])
def test_check_file_name_rejects_unsafe_names(name, impatient_server, tmp_path):
    outside = "a file outside the folder of the study" if name in OUTSIDE else "which "
    with pytest.raises(ValueError, match=f"contains .*{outside}.*Nothing was downloaded"):
        download_file(make_file(impatient_server, path=name), tmp_path / "study")
    assert not (tmp_path / "study").exists()
    assert impatient_server.requests == []


@pytest.mark.parametrize("name", USABLE)
def test_check_file_name_accepts_names(name):
    assert "/".join(check_file_name(name, "the server")) == name


@pytest.mark.parametrize(
    "size", [-5, -1, 1.5, float("nan"), float("inf"), True, "abc", "-5", "1e5", [], {}, "9" * 30]
)
def test_check_file_name_size_rejects_invalid_sizes(impatient_server, tmp_path, size):
    with pytest.raises(
        ValueError, match=r"lists the size .* for 'a/f\.bin', but a number of bytes is required"
    ):
        download_file(make_file(impatient_server, size=size), tmp_path / "study")
    assert impatient_server.requests == []


def test_check_file_name_size_accepts_sizes():
    assert [check_file_name_size(size, "f", "s") for size in (0, 12, "12", 12.0, None, "")] == [
        0,
        12,
        12,
        12,
        None,
        None,
    ]

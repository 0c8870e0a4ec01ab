"""Tests for git-annex placeholders and the errors about them."""

import pytest

from sk_b2s import read_bids
from sk_b2s._utils._placeholders import is_placeholder
from sk_b2s.datasets._study import require_study_file
from sk_b2s.io._annex import check_annex_content, check_annex_fetched

KEY = "annex/objects/kp/4k/SHA256E-s31--61.wav/SHA256E-s31--61.wav"
POINTERS = {
    "unlocked": "/annex/objects/SHA256E-s31--61.wav\n",
    "link-as-text": f"../../.git/{KEY}",
    "link-as-text-short": f".git/{KEY}",
    "submodule": f"../.git/modules/stimuli/{KEY}",
    "absolute": f"/home/anna/data set/.git/{KEY}",
    "windows": rf"..\..\.git\{KEY}".replace("/", "\\"),
    "windows-absolute": rf"C:\data\.git\{KEY}".replace("/", "\\"),
    "padded": "/annex/objects/SHA256E-s31--61.wav\n" + "\n" * 20_000,
}
CONTENTS = {
    "empty": "",
    "prose": "See .git/annex/objects/ for the content.\n",
    "second-line": "onset\tduration\n/annex/objects/SHA256E-s31--61.wav\n",
    "table": f"./a.wav\t../.git/{KEY}\n",
    "large": "/annex/objects/SHA256E-s31--61.wav\n" + "\n" * 40_000,
}


@pytest.mark.parametrize("text", POINTERS.values(), ids=POINTERS)
def test_is_placeholder_finds_pointer_files(tmp_path, text):
    (tmp_path / "a.wav").write_text(text)
    assert is_placeholder(tmp_path / "a.wav")


@pytest.mark.parametrize("text", CONTENTS.values(), ids=CONTENTS)
def test_is_placeholder_ignores_other_files(tmp_path, text):
    (tmp_path / "a.wav").write_text(text)
    assert not is_placeholder(tmp_path / "a.wav")
    assert not is_placeholder(tmp_path)
    assert not is_placeholder(tmp_path / "absent.wav")


@pytest.mark.parametrize("target", [f"../.git/{KEY}", "/nowhere/a.wav"], ids=["annex", "other"])
def test_is_placeholder_finds_broken_links(tmp_path, target):
    link = tmp_path / "a.wav"
    link.symlink_to(target)
    assert is_placeholder(link)
    link.unlink()
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    link.symlink_to(tmp_path / "b.wav")
    assert not is_placeholder(link)


def test_check_annex_content_names_link_loops(tmp_path):
    (tmp_path / "a.wav").symlink_to(tmp_path / "b.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    assert not is_placeholder(tmp_path / "a.wav")
    with pytest.raises(OSError, match="sound '.*a.wav' is a link that leads back to itself"):
        check_annex_content(tmp_path / "a.wav", "sound")


@pytest.mark.parametrize("text", [*POINTERS.values(), None], ids=[*POINTERS, "link"])
def test_all_readers_refuse_the_same_placeholders(tmp_path, text):
    path = tmp_path / "a.vhdr"
    path.write_text(text) if text else path.symlink_to(f"../.git/{KEY}")
    with pytest.raises(FileNotFoundError, match=r"(?s)not been fetched.*git annex get a\.vhdr"):
        check_annex_fetched([path.with_suffix(".eeg")], tmp_path)  # a file of the same stem
    with pytest.raises(FileNotFoundError, match=r"recording '.*not been fetched.*git annex get 'a\.vhdr'"):
        check_annex_content(path)
    with pytest.raises(FileNotFoundError, match=r"masc: .*not been fetched.*git annex get 'a\.vhdr'"):
        require_study_file(path, "masc", "")


def test_check_annex_fetched_counts_files_in_folders(tmp_path):
    for name in ("a.meg4", "a.res4", "b [1].wav"):
        (tmp_path / "a.ds").mkdir(exist_ok=True)
        (tmp_path / "a.ds" / name).write_text(POINTERS["unlocked"])
    with pytest.raises(
        FileNotFoundError, match=r"(?s)a\.meg4.*\(2 more such files\).*datalad get -d .* a\.ds"
    ):
        check_annex_fetched([tmp_path / "a.ds"], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"b \[1\]\.wav"):
        check_annex_fetched([tmp_path / "a.ds/b [1].txt"], tmp_path)
    check_annex_fetched([tmp_path / "absent.wav"], tmp_path)


def test_read_bids_refuses_placeholder_events(tmp_path):
    stem = tmp_path / "sub-01/eeg/sub-01_task-a_"
    stem.parent.mkdir(parents=True)
    stem.with_name(stem.name + "eeg.edf").write_bytes(b"0")
    stem.with_name(stem.name + "events.tsv").symlink_to(f"../../.git/{KEY}")
    with pytest.raises(FileNotFoundError, match=r"datalad get -d .* sub-01/eeg/sub-01_task-a_events\.tsv"):
        read_bids(tmp_path)

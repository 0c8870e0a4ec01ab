"""Tests of the warning of a cache folder that other users can write."""

import os
import warnings

import joblib
import pytest

from sk_b2s._utils import _caching as caching
from sk_b2s._utils._caching import cached

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")


def double(x):
    return 2 * x


@pytest.fixture(autouse=True)
def forget():
    caching._warn_of_others.cache_clear()


def warnings_of(memory):
    """Return the warnings of a cached function that is called twice."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            assert cached(double, memory)(2) == 4
    return [str(warning.message) for warning in caught if "the cache folder" in str(warning.message)]


@pytest.mark.parametrize("as_memory", [str, lambda path: path, lambda path: joblib.Memory(path, verbose=0)])
@pytest.mark.parametrize(("where", "mode"), [(".", 0o777), (".", 0o1777), ("..", 0o777), ("joblib", 0o777)])
def test_cached_warns_of_folder_others_can_write(where, mode, as_memory, tmp_path):
    folder = tmp_path / "above" / "cache"
    (folder / "joblib").mkdir(parents=True)
    open_one = (folder / where).resolve()
    open_one.chmod(mode)
    (found,) = warnings_of(as_memory(folder))
    assert (
        f"the cache folder {str(folder)!r} is not safe: {str(open_one)!r} can be written by all users"
        in found
    )


def test_cached_accepts_own_folder(tmp_path):
    (tmp_path / "sticky").mkdir(mode=0o700)
    (tmp_path / "sticky").chmod(0o1777)  # such as /tmp
    for folder in (tmp_path / "new", tmp_path / "sticky" / "cache"):
        folder.mkdir(mode=0o755)
        assert warnings_of(folder) == []
    assert warnings_of(tmp_path / "not" / "there" / "yet") == []
    assert warnings_of(None) == []
    assert warnings_of(joblib.Memory(None, verbose=0)) == []


def test_cached_follows_links(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (found,) = warnings_of(tmp_path / "link")
    assert f"{str(tmp_path / 'real')!r} can be written" in found


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to give a folder away")
def test_cached_warns_of_folder_of_other_user(tmp_path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 0)
    assert "belongs to another user (uid 12345)" in warnings_of(tmp_path / "theirs")[0]
    (tmp_path / "shared").mkdir()
    os.chown(tmp_path / "shared", 0, 12345)
    (tmp_path / "shared").chmod(0o775)
    assert "can be written by the group 12345 (mode 775)" in warnings_of(tmp_path / "shared")[0]

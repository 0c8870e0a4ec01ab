"""A cache folder that others can write is warned of once, and one's own is not."""

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


def said(memory):
    """Warnings of a cached function that is called twice."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            assert cached(double, memory)(2) == 4
    return [str(warning.message) for warning in caught if "the cache folder" in str(warning.message)]


@pytest.mark.parametrize("as_memory", [str, lambda path: path, lambda path: joblib.Memory(path, verbose=0)])
@pytest.mark.parametrize(("where", "mode"), [(".", 0o777), (".", 0o1777), ("..", 0o777), ("joblib", 0o777)])
def test_a_folder_that_others_can_write_is_named_once(where, mode, as_memory, tmp_path):
    folder = tmp_path / "above" / "cache"
    (folder / "joblib").mkdir(parents=True)
    open_one = (folder / where).resolve()
    open_one.chmod(mode)
    (found,) = said(as_memory(folder))
    assert (
        f"the cache folder {str(folder)!r} is not safe: {str(open_one)!r} can be written by everybody"
        in found
    )


def test_a_folder_of_ones_own_is_silent(tmp_path):
    (tmp_path / "sticky").mkdir(mode=0o700)
    (tmp_path / "sticky").chmod(0o1777)  # such as /tmp
    for folder in (tmp_path / "new", tmp_path / "sticky" / "cache"):
        folder.mkdir(mode=0o755)
        assert said(folder) == []
    assert said(tmp_path / "not" / "there" / "yet") == []
    assert said(None) == []
    assert said(joblib.Memory(None, verbose=0)) == []


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (found,) = said(tmp_path / "link")
    assert f"{str(tmp_path / 'real')!r} can be written" in found


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_folder_of_another_user_or_group_is_named(tmp_path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 0)
    assert "belongs to another user (uid 12345)" in said(tmp_path / "theirs")[0]
    (tmp_path / "shared").mkdir()
    os.chown(tmp_path / "shared", 0, 12345)
    (tmp_path / "shared").chmod(0o775)
    assert "can be written by the group 12345 (mode 775)" in said(tmp_path / "shared")[0]

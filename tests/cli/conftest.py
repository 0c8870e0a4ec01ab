"""Cache of all tests of the command line."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Use one new cache for all tests and their subprocesses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SK_B2S_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield

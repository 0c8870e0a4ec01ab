"""Fixtures of local servers, and of warnings."""

import shutil
import warnings

import pytest
from helpers.servers import Server

from sk_b2s.datasets import _download as downloading


@pytest.fixture(autouse=True)
def free_disk(monkeypatch, tmp_path):
    """Disk that is large enough for every study, on any machine."""
    usage = shutil.disk_usage(tmp_path)._replace(free=10**14)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


@pytest.fixture
def server(monkeypatch):
    """Local server, with short waits between attempts."""
    monkeypatch.setattr(downloading, "WAIT", 0.01)
    server = Server()
    yield server
    server.close()


@pytest.fixture
def impatient_server(server, monkeypatch):
    """Local server, with two attempts."""
    monkeypatch.setattr(downloading, "ATTEMPTS", 2)
    return server


@pytest.fixture
def no_other_warnings():
    """Turn unexpected warnings into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield

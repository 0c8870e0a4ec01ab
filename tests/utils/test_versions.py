"""Tests of versions and of the system information."""

import io
import platform
from types import SimpleNamespace

import pytest
import torch

import sk_b2s
from sk_b2s._utils import _estimators, _versions
from sk_b2s._utils._versions import get_versions, show_versions


def test_get_versions_of_deciding_libraries():
    versions = get_versions()
    assert versions["sk_b2s"] == sk_b2s.__version__
    assert versions["torch"] == str(torch.__version__)
    assert versions["python"] == platform.python_version()
    assert set(versions) == {"sk_b2s", "sklearn", "skorch", "torch", "numpy", "pandas", "mne", "python"}


def test_show_versions_names_system_and_libraries(capsys, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    show_versions()
    printed = capsys.readouterr().out
    rows = dict(line.split(maxsplit=1) for line in printed.splitlines() if line)
    assert rows["Python"].startswith(platform.python_version())
    assert rows["torch"] == str(torch.__version__)
    assert rows["sk_b2s"] == sk_b2s.__version__
    assert "OMP_WAIT_POLICY=PASSIVE" in rows["Environment"]
    assert "device" in rows["Default"]
    file = io.StringIO()
    show_versions(file)
    assert file.getvalue() == printed


def test_show_versions_names_absent_libraries(capsys, monkeypatch):
    monkeypatch.setattr(_versions, "requires", lambda name: ["numpy>=1", "absent>=2; extra == 'plot'"])
    show_versions()
    assert "not installed (optional)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        (["Source, https://code.invalid", "Documentation, https://docs.invalid/stable/"], "https://docs.invalid/stable"),
        (["Source, https://code.invalid"], ""),
        (None, ""),
    ],
    ids=["given", "other", "none"],
)  # fmt: skip
def test_find_documentation_url_reads_metadata(monkeypatch, entries, url):
    monkeypatch.setattr(_estimators, "metadata", lambda name: SimpleNamespace(get_all=lambda key: entries))
    assert _estimators.find_documentation_url.__wrapped__() == url

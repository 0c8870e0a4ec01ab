"""Tests that a wheel contains every sub-package and every data file."""

import importlib.util
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def check_wheel():
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / "tools" / "check_wheel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def packaged_data():
    """Find the data files that pyproject.toml adds to the wheel."""
    for package, patterns in CONFIG["tool"]["setuptools"]["package-data"].items():
        for pattern in patterns:
            for path in (ROOT / package.replace(".", "/")).glob(pattern):
                if path.is_file():
                    yield path.relative_to(ROOT).as_posix()


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in (ROOT / "sk_b2s").rglob("*.py")}
    assert len(folders) > 12
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_package_data_covers_every_data_file(check_wheel):
    data = {name for name in check_wheel.find_package_files() if not name.endswith((".py", ".pyc"))}
    assert data
    assert sorted(data - set(packaged_data())) == []


def test_compare_wheel_names_missing_and_unexpected(check_wheel, tmp_path, capsys):
    (tmp_path / "sk_b2s" / "data").mkdir(parents=True)
    for name in ("sk_b2s/__init__.py", "sk_b2s/data/words.tsv"):
        (tmp_path / name).touch()
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        for name in ("sk_b2s/__init__.py", "sk_b2s/old.py", "sk_b2s-0.1.dist-info/METADATA"):
            archive.writestr(name, "")
    missing, unexpected = check_wheel.compare_wheel(tmp_path / "a.whl", tmp_path)
    assert missing == ["sk_b2s/data/words.tsv"]
    assert unexpected == ["sk_b2s/old.py"]
    assert check_wheel.main([str(tmp_path / "a.whl")]) == 1
    assert "unexpected: sk_b2s/old.py" in capsys.readouterr().out

"""Check that a wheel contains every sub-package and every data file.

Run as ``python tools/check_wheel.py dist/sk_b2s-0.1.0-py3-none-any.whl``.
The exit status is 1 if a file is missing or unexpected.
"""

import argparse
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def find_package_files(root=ROOT):
    """Find the files that a wheel of the package must contain."""
    package = Path(root) / "sk_b2s"
    found = {p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    return {p.relative_to(root).as_posix() for p in found if not p.name.startswith(".")}


def compare_wheel(wheel, root=ROOT):
    """Compare a wheel with the source tree.

    Returns
    -------
    missing, unexpected : list of str
        Files of one side only, without the metadata of the wheel.
    """
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = find_package_files(root)
    return sorted(expected - packed), sorted(packed - expected)


def main(arguments=None):
    """Print missing and unexpected files and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    missing, unexpected = compare_wheel(parser.parse_args(arguments).wheel)
    for kind, names in {"missing": missing, "unexpected": unexpected}.items():
        for name in names:
            print(f"{kind}: {name}")
    print(f"{len(missing)} missing and {len(unexpected)} unexpected files")
    return int(bool(missing or unexpected))


if __name__ == "__main__":
    sys.exit(main())

"""Check what is in an sdist and a wheel: check_dist.py FOLDER (with one of each).

Asserts that the sdist has every file of the repository, the wheel the package and nothing else,
and that their metadata are valid.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from packaging.metadata import Metadata


def repository() -> set[str]:
    """List the files that are in the repository."""
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603  # ours
    return set(filter(None, done.stdout.split("\0")))


def check_sdist(path: Path, files: set[str]) -> None:
    """Compare an sdist with the repository."""
    with tarfile.open(path) as sdist:
        names = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    assert names == files | {"PKG-INFO"}, names ^ (files | {"PKG-INFO"})


def check_wheel(path: Path, files: set[str]) -> None:
    """Compare a wheel with the package in the repository, and look at its metadata."""
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        [info] = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        metadata = Metadata.from_email(wheel.read(f"{info}/METADATA"), validate=True)
        license_text = wheel.read(f"{info}/licenses/LICENSE").decode()
    package = {name for name in names if not name.startswith(f"{info}/")}
    expected = {name for name in files if name.startswith("trioauth/")} | {"pytest_trioauth.py"}
    assert package == expected, package ^ expected
    assert "trioauth/py.typed" in package, "type checkers would not look at it"
    assert license_text == Path("LICENSE").read_text("utf-8")
    assert metadata.license_expression == "MIT"
    assert metadata.description == Path("README.md").read_text("utf-8")
    assert metadata.description_content_type == "text/markdown"
    assert metadata.requires_python is not None
    # Each Python that is claimed is one that may be had, and the oldest that may be is claimed.
    prefix = "Programming Language :: Python :: 3."
    claimed = [
        f"3.{each.removeprefix(prefix)}" for each in metadata.classifiers or [] if prefix in each
    ]
    assert list(metadata.requires_python.filter(claimed)) == claimed
    assert str(metadata.requires_python) == f">={claimed[0]}"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    tracked = repository()
    check_sdist(next(folder.glob("*.tar.gz")), tracked)
    check_wheel(next(folder.glob("*.whl")), tracked)

"""The oldest versions that programs may have: `make test-oldest` tries those of pyproject.toml."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from .scripts import ROOT, script


def test_everything_that_programs_need_has_an_oldest_version() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    constraints: list[str] = script("oldest").oldest(tomllib.loads(pyproject)["project"])
    assert {"attrs", "filelock", "h11", "httpx", "httpx2", "trio"} <= {
        line.partition("==")[0] for line in constraints
    }


@pytest.mark.parametrize(
    ("requirement", "constraint"),
    [
        ("trio>=0.31", ["trio==0.31"]),
        ("httpx >=0.27,<1", ["httpx==0.27"]),
        ("a.b-c[d, e]>=1.2.3; python_version < '3.12'", ["a.b-c==1.2.3"]),
        ("me[other]", []),
    ],
)
def test_the_oldest_version_is_the_lower_bound(requirement: str, constraint: list[str]) -> None:
    project: dict[str, Any] = {"name": "me", "dependencies": []}
    project["optional-dependencies"] = {"extra": [requirement]}
    assert script("oldest").oldest(project) == constraint


@pytest.mark.parametrize("requirement", ["trio", "trio<2", "trio==0.31"])
def test_a_requirement_without_a_lower_bound_is_none_to_test(requirement: str) -> None:
    with pytest.raises(ValueError, match="no lower bound"):
        script("oldest").oldest({"name": "me", "dependencies": [requirement]})

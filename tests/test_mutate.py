"""The tool that breaks the package on purpose: what it runs, and what it need not find."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

import pytest

from .scripts import ROOT

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("mutate")


def test_every_mutant_that_is_listed_as_equivalent_is_one_that_is_made(mutate: ModuleType) -> None:
    for file, known in mutate._equivalent().items():
        path = ROOT / "trioauth" / f"{file}.py"
        made = {mutant.name for mutant in mutate.mutants(path.read_text("utf-8"), str(path))}
        assert set(known) <= made


def test_the_page_has_a_row_for_each_module_that_is_mutated(mutate: ModuleType) -> None:
    page = (ROOT / "docs" / "mutation.md").read_text("utf-8")
    assert re.findall(r"^\| `(.*)\.py`", page, re.MULTILINE) == mutate.FILES


def test_a_module_without_functions_is_tried_with_the_tests_of_those_that_import_it(
    mutate: ModuleType,
) -> None:
    path = ROOT / "trioauth" / "_codes.py"
    mutant = next(mutate.mutants(path.read_text("utf-8"), str(path)))
    baseline = mutate.Baseline(
        seconds={"tests/a.py::near": 0.1, "tests/a.py::slow": 2, "tests/b.py::far": 0.1},
        touched={
            "oauth/answers": {1: {"tests/a.py::near"}},
            "stores/_file": {1: {"tests/b.py::far"}},
        },
    )
    assert baseline.relevant("_codes", mutant) == ["tests/a.py::near"]


@pytest.mark.parametrize(
    ("module", "ours"),
    [("benchmarks.__main__", True), ("tests", True), ("mutants", True), ("httpx", False)],
)
def test_what_may_import_the_package_is_not_imported_before_the_mutants(
    mutate: ModuleType, module: str, *, ours: bool
) -> None:
    assert mutate._is_ours(module) == ours

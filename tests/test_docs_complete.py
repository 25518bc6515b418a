"""The documentation leaves nothing out: every public name, coroutine and error is in it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import trioauth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

MODULES: list[ModuleType] = [
    trioauth,
    *(
        importlib.import_module(f"trioauth.{found.name}")
        for found in pkgutil.iter_modules(trioauth.__path__)
        if not found.name.startswith("_")
    ),
]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def table_rows(text: str) -> list[list[str]]:
    """The cells of all rows of all tables of a page."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


# --- the reference --------------------------------------------------------------------------------


def documented() -> Iterator[str]:
    """The full names that the pages of the reference describe."""
    for file in (DOCS / "reference").glob("*.md"):
        text = file.read_text(encoding="utf-8")
        for names in re.findall(r"<!-- (?:reference|by hand): ([\w. ]+) -->", text):
            # Of a method, its class is what has to be there.
            yield from (name for name in names.split() if not re.search(r"\.[A-Z]\w+\.", name))


def found_at(name: str) -> Any:
    """The object that a full name stands for."""
    module, _, last = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), last)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    names = set(documented())
    objects = [found_at(name) for name in names]
    missing = [
        name
        for name in getattr(module, "__all__", [])
        if f"{module.__name__}.{name}" not in names
        # Some are to be had from two modules.
        and not any(getattr(module, name) is known for known in objects)
    ]
    assert missing == []


def test_every_public_module_says_what_is_public() -> None:
    assert [module.__name__ for module in MODULES if not hasattr(module, "__all__")] == []


# --- cancellation.md ------------------------------------------------------------------------------


def is_async(function: object) -> bool:
    """Whether it is async, or returns something that is, and says so in its docstring."""
    inner = inspect.unwrap(function) if callable(function) else function
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        return True
    return inspect.isfunction(inner) and "Cancellation:\n" in (inner.__doc__ or "")


def public_coroutines() -> dict[str, Any]:
    """All async functions and methods of public names, async context managers included."""
    found: dict[str, Any] = {}
    for module in MODULES:
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            members = vars(value).items() if inspect.isclass(value) else ()
            for method, function in members:
                if is_async(function) and (method == "__call__" or not method.startswith("_")):
                    # By the name it was given, of those it has.
                    found[f"{value.__name__}.{method}"] = function
            if inspect.isroutine(value) and is_async(value):
                found[name] = value
    return found


# Stands for all the methods that the session borrows from httpx.
BORROWED = "Session.get"


def cancellation_rows() -> dict[str, list[str]]:
    calls = [row for row in table_rows(page("cancellation.md")) if row[0].startswith("`")]
    return {row[0].split("`")[1]: row for row in calls}


def test_every_public_coroutine_is_in_the_cancellation_table_and_nothing_else() -> None:
    assert set(cancellation_rows()) == public_coroutines().keys() | {BORROWED}


@pytest.mark.parametrize("name", public_coroutines())
def test_the_cancellation_table_says_what_the_docstring_says(name: str) -> None:
    docstring = inspect.getdoc(public_coroutines()[name]) or ""
    paragraph = " ".join(docstring.partition("Cancellation:\n")[2].split())
    assert paragraph, f"{name} does not say what happens when it is cancelled"
    [promise] = re.findall(r"\*\*(.+?)\*\*", cancellation_rows()[name][2])
    assert paragraph.startswith(promise)


def test_every_row_of_the_cancellation_table_has_a_test() -> None:
    # What programs write themselves, and what tests it.
    others = ("Grant.", "TokenStore.", "ClientAuthentication.", "check_")
    untested = [name for name, row in cancellation_rows().items() if "[^" not in row[-1]]
    assert all(name.startswith(others) for name in untested), untested


def test_every_test_that_the_cancellation_table_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", page("cancellation.md")))
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")]
    existing = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}
    assert len(named) > 20
    assert named - existing == set()


# --- errors.md ------------------------------------------------------------------------------------

ERRORS = {
    name: value
    for name in trioauth.__all__
    if inspect.isclass(value := getattr(trioauth, name)) and issubclass(value, trioauth.Error)
}


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    tree = page("errors.md").partition("```text\n")[2].partition("```")[0]
    parents: list[str] = []
    drawn: dict[str, str] = {}
    for line in tree.splitlines():
        branch, name = re.findall(r"^([│├└─ ]*)(\w+)", line)[0]
        depth = len(branch) // 4
        parents[depth:] = [name]
        drawn[name] = parents[depth - 1] if depth else "Exception"
    assert drawn == {name: value.__bases__[0].__name__ for name, value in ERRORS.items()}


def test_every_error_says_what_to_do() -> None:
    rows = {row[0].strip("`"): row for row in table_rows(page("errors.md"))}
    for name in ERRORS.keys() - {"Error"}:
        assert len(rows[name]) == 4, name
        assert all(rows[name]), name

"""The house: what the folders of the package import, and how long files and functions are.

Read from the code, with imports for type checkers included: a circle of types is a circle, too.
What a folder may import is what its docstring says, in the line that begins with "Imports from:".
"""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import trioauth

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(trioauth.__file__).parent
ROOT = PACKAGE.parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"

LONGEST_FILE = 400
LONGEST_BODY = 40

# The modules beside the folders, by what they are called in "Imports from:".
FLOORS = {
    "the base": (
        "_version _secrets _raising _outcomes _errors _codes _identity _tokens _origins "
        "_challenge events"
    ).split(),
    "the session": (
        "_session _arguments _block _opening _members _following _sessions _opening_many _signals"
    ).split(),
    "the doors": "grants providers timeline opentelemetry".split(),
}


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}
FOLDERS = sorted(name for name, file in FILES.items() if file.name == "__init__.py")


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imports_of(module: str, source: ast.AST) -> set[str]:
    """The modules of the package that a module imports, wherever in it, for whatever reason."""
    parent = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = parent.split(".")[: len(parent.split(".")) + 1 - node.level]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            found |= {
                full if (full := f"{base}.{alias.name}") in FILES else base for alias in node.names
            }
    return found & FILES.keys()


GRAPH = {module: imports_of(module, tree_of(module)) for module in FILES}


def floor_of(module: str) -> str:
    """The folder a module is in, or what the modules beside the folders are called."""
    within = module.removeprefix("trioauth").lstrip(".")
    for floor, modules in FLOORS.items():
        if within in modules:
            return floor
    folders = [folder for folder in FOLDERS if f"{module}.".startswith(f"{folder}.")]
    return max(folders, key=len).removeprefix("trioauth").lstrip(".")


def allowed_in(folder: str) -> set[str]:
    docstring = ast.get_docstring(tree_of(f"trioauth.{folder}")) or ""
    [line] = re.findall(r"^Imports from: (.+?)\.$", docstring, re.MULTILINE | re.DOTALL)
    named = {name.strip("`") for name in re.split(r",\s+", line)}
    return {name.replace("/", ".") for name in named}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines from the first statement to the last; the docstring is none."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def functions() -> Iterator[tuple[str, int]]:
    for module in FILES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}.{node.name}", body_lines(node)


def test_no_modules_import_each_other_in_a_circle_not_even_for_types() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as exc:
        pytest.fail(" imports ".join(reversed(exc.args[1])))


ROOMS = [folder.removeprefix("trioauth.") for folder in FOLDERS if folder != "trioauth"]
# A folder in a folder that is a part of it, and has no rule of its own.
ROOMS.remove("cli._demo")


@pytest.mark.parametrize("room", ROOMS)
def test_a_folder_imports_what_its_map_allows_and_nothing_else(room: str) -> None:
    inside = {m for m in FILES if floor_of(m).removesuffix("._demo") == room}
    used = {floor_of(other) for module in inside for other in GRAPH[module]}
    allowed = allowed_in(room)
    assert used - allowed - {room, f"{room}._demo"} == set(), "not allowed by its map"
    assert allowed - used == set(), "allowed by its map, and not used"


def test_the_base_imports_nothing_but_itself() -> None:
    used = {other for name in FLOORS["the base"] for other in GRAPH[f"trioauth.{name}"]}
    assert {floor_of(other) for other in used} == {"the base"}


@pytest.mark.parametrize("floor", FLOORS)
def test_no_file_beside_the_folders_is_missing_from_the_map(floor: str) -> None:
    beside = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert beside == {name for names in FLOORS.values() for name in names}
    docstring = trioauth.__doc__ or ""
    places = [docstring.index(f"``{name}``") for name in FLOORS[floor]]
    assert places == sorted(places), "in the order in which the map has them"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_map_of_a_folder_names_each_of_its_modules(folder: str) -> None:
    docstring = ast.get_docstring(tree_of(folder)) or ""
    modules = {name.rpartition(".")[2] for name in FILES if name.rpartition(".")[0] == folder} - {
        "__main__"
    }
    named = set(re.findall(r"``(\w+)``", docstring)) | {"__main__"}
    assert {name for name in modules if name not in named} == set()


@pytest.mark.parametrize(
    "folder", ["_core", "_http", "_network", "_profiles", "oauth", "watch", "cli"]
)
def test_the_map_of_an_inner_folder_imports_nothing(folder: str) -> None:
    assert imports_of(f"trioauth.{folder}", tree_of(f"trioauth.{folder}")) == set()


def defined_in(file: str) -> set[str]:
    """The functions, classes and methods of a file, methods with their class."""
    found: set[str] = set()
    for node in ast.parse((PACKAGE / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = [each for each in node.body if hasattr(each, "name")]
            found |= {f"{node.name}.{each.name}" for each in inner}
    return found


def test_the_walks_in_contributing_name_functions_that_are_where_they_say() -> None:
    page = CONTRIBUTING.read_text(encoding="utf-8")
    walks = page.partition("## How a request goes")[2].partition("## What may import")[0]
    # "`A.b` in `x.py`", and "`A.b` and `A.c` in `x.py`".
    steps = re.findall(r"((?:`[\w.]+`(?: and |,)?\s?)+)\s*in\s+`([\w/]+\.py)`", walks)
    named = [(name, file) for names, file in steps for name in re.findall(r"`([\w.]+)`", names)]
    assert len(named) > 30
    assert [each for each in named if each[0] not in defined_in(each[1])] == []


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    lengths = {name: len(file.read_text("utf-8").splitlines()) for name, file in FILES.items()}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {name: lines for name, lines in functions() if lines > LONGEST_BODY}
    assert not long

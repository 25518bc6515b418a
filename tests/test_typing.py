"""What `make check` has type checkers read in tests/typing is the whole of the public API."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import trioauth

TYPING = Path(__file__).parent / "typing"


def names_in(path: Path) -> set[str]:
    """The names that a program uses, bare or as an attribute."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    bare = {node.id for node in nodes if isinstance(node, ast.Name)}
    return bare | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_every_public_name_is_shown_to_the_type_checkers() -> None:
    assert set(trioauth.__all__) - names_in(TYPING / "api.py") == set()


def test_every_public_method_of_a_session_is_shown_to_the_type_checkers() -> None:
    methods = {name for name in dir(trioauth.Session) if not name.startswith("_")}
    assert methods - names_in(TYPING / "api.py") == set()


def test_each_mistake_is_one_for_mypy_and_for_pyright() -> None:
    # A comment for one checker alone would say that the others accept the mistake.
    lines = (TYPING / "mistakes.py").read_text("utf-8").splitlines()
    marked = [line for line in lines if "ignore[" in line]
    assert len(marked) > 30
    for line in marked:
        assert re.search(r"# type: ignore\[[\w, -]+\]  # pyright: ignore\[\w+", line), line

"""The script that writes docs/reference: what becomes of a docstring and of names."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "write_reference.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("write_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def page(script: Any) -> Path:
    [found] = [page for page in script.PAGES if page.name == "session.md"]
    return Path(found)


def test_the_sections_of_a_docstring_become_lists_and_paragraphs(script: Any, page: Path) -> None:
    doc = """Wait.

Like this::

    await wait()

    await wait(2)

Args:
  seconds: How long,
      at least.

Cancellation:
  Safe.

Raises:
  ValueError: Less than 0.
"""
    assert script.docstring(doc, script.Index(), page, "trioauth.Session") == (
        "Wait.\n\nLike this:\n\n```python\nawait wait()\n\nawait wait(2)\n```\n\n"
        "**Args**\n\n- `seconds`: How long, at least.\n\n**Cancellation:** Safe.\n\n"
        "**Raises**\n\n- `ValueError`: Less than 0."
    )


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("token", "[`token`](#sessiontoken)"),
        ("Session.log_out", "[`Session.log_out`](#sessionlog_out)"),
        ("Tokens", "[`Tokens`](tokens.md#tokens)"),
        ("RefreshPolicy.early", "[`RefreshPolicy.early`](tokens.md#refreshpolicy)"),
        ("events.NotSaved", "[`events.NotSaved`](events.md#notsaved)"),
        ("trio.current_time", "`trio.current_time`"),
    ],
)
def test_a_name_leads_to_where_it_is_described(
    script: Any, page: Path, name: str, link: str
) -> None:
    index = script.Index()
    assert script.inline(f"`{name}`", index, page, "trioauth.Session") == link
    assert index.unknown == set()


def test_a_name_that_does_not_exist_is_an_error(script: Any, page: Path) -> None:
    index = script.Index()
    script.inline("`Session.refrehs`", index, page, "trioauth.Session")
    assert index.unknown == {"session.md: `Session.refrehs`, in trioauth.Session"}


def test_a_page_that_is_made_anew_has_each_description_once(
    script: Any, page: Path, tmp_path: Path
) -> None:
    index = script.Index()
    again = tmp_path / "session.md"
    again.write_text(script.written(page, index), encoding="utf-8")
    assert script.written(again, index).count("## `Session`\n") == 1


def test_two_columns_a_table_and_terms_become_markdown(script: Any) -> None:
    assert script.listed("``a``  one\n``bc`` two") == "``a``  one\n``bc`` two"
    assert script.listed("``a``   one\n``bc``  two") == "- ``a``: one\n- ``bc``: two"
    assert script.listed("``a``\n    One\n    thing.") == "- ``a``: One thing."
    table = "===  ===\nab   c\n===  ==="
    assert script.listed(table) == "| | |\n| --- | --- |\n| ab | c |"

"""What the pages of the documentation show is run: each block of Python, by itself.

A block may use ``trio``, ``trioauth``, ``httpx`` and ``httpx2``, and ``await`` as it likes: it runs
inside a session called ``session``, which is logged in at ``server``, an `AuthServer` in memory.
It answers at every host, for clients of httpx and of httpx2, so that the URLs in a block can be
those of any example; a block may put another server in its place. A block with ``trio.run(...)``
in it runs by itself, without ``session``. Functions named ``test_*`` in a block are called, too,
with what their parameters name.

What the block does not show stands in comments around it, which the page does not show either::

    <!-- before
    tokens = server.log_in()
    -->
    ```python
    await session.log_in(tokens)
    ```
    <!-- after
    assert session.generation == 1
    -->

``<!-- not run: REASON -->`` in front of a block that can't be run says why. Whole programs are
files in docs/examples, and their tests are in tests/examples. The README's blocks are run by
test_readme.py.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import httpx2
import pytest
import trio

import trioauth
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
# What looks like code in the reference is signatures, and examples from docstrings.
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "reference")
LANGUAGES = {"python", "console", "text", "javascript", "toml", "ini", "json", "http", "mermaid"}

_FENCE = re.compile(r"^ *`{3,}(?:\{code-block\} )?(?P<language>[^\s`]+)", re.MULTILINE)
_BLOCK = re.compile(
    r"(?:^<!-- (?:before\n(?P<before>(?:(?!-->).)*)|not run: (?P<reason>(?:(?!-->).)+))-->\s*)?"
    r"^```(?:python|\{code-block\} python\n(?::[^\n]*\n)*)\n(?P<code>.*?)^```$"
    r"(?:\s*^<!-- after\n(?P<after>.*?)-->)?",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen
class Block:
    """One block of a page, with the code around it that the page does not show."""

    page: Path
    line: int
    code: str
    """In the lines where it stands in the page, for tracebacks; other lines are empty."""
    not_run: str | None = None
    """Why not, if so."""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        code, at = "", 0
        for part in ("before", "code", "after"):
            if found[part] is not None:
                start, end = found.span(part)
                code += "\n" * text.count("\n", at, start) + text[start:end]
                at = end
        line = text.count("\n", 0, found.start("code")) + 1
        yield Block(page=page, line=line, code=code, not_run=found["reason"])


BLOCKS = [block for page in PAGES for block in blocks(page)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_of_a_page_runs(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block.not_run:
        return
    monkeypatch.chdir(tmp_path)
    server = AuthServer()
    names: dict[str, Any] = {
        "trio": trio,
        "trioauth": trioauth,
        "httpx": httpx,
        "httpx2": httpx2,
        "server": server,
        "__name__": "__main__",
    }
    for library in (httpx, httpx2):
        monkeypatch.setattr(library.AsyncHTTPTransport, "handle_async_request", ask_server(names))
    code = compile(block.code, str(block.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)
    if "trio.run(" in block.code:
        assert not code.co_flags & inspect.CO_COROUTINE, "await or trio.run(), not both"
        exec(code, names)
    else:
        trio.run(run, code, names)


async def run(code: Any, names: dict[str, Any]) -> None:
    server: AuthServer = names["server"]
    grant = trioauth.RefreshTokenGrant("https://id.example.com/oauth/token", client_id="client")
    async with trioauth.open_session(
        grant, tokens=server.log_in(), base_url="https://api.example.com"
    ) as session:
        names["session"] = session
        with trio.fail_after(10):
            coroutine = eval(code, names)
            if code.co_flags & inspect.CO_COROUTINE:
                await coroutine
            for name, test in list(names.items()):
                if name.startswith("test_"):
                    wanted = inspect.signature(test).parameters
                    await test(*(names[parameter] for parameter in wanted))


def ask_server(names: dict[str, Any]) -> Any:
    """Answer requests of either library by what is called ``server`` by then."""

    async def handle_async_request(transport: object, request: Any) -> Any:
        server: AuthServer = names["server"]
        of_httpx2 = isinstance(transport, httpx2.AsyncHTTPTransport)
        way: Any = server.transport2() if of_httpx2 else server.transport()
        return await way.handle_async_request(request)

    return handle_async_request


def test_every_block_of_python_is_found() -> None:
    for page in PAGES:
        languages = [found["language"] for found in _FENCE.finditer(page.read_text("utf-8"))]
        unknown = {name for name in languages if not name.startswith("{")} - LANGUAGES
        assert not unknown, f"{page.name} has a block in {unknown}; is it Python?"
        assert languages.count("python") == len(list(blocks(page))), page.name


def test_nearly_every_block_is_run() -> None:
    left_out = [block for block in BLOCKS if block.not_run]
    assert len(left_out) <= 4, left_out


@pytest.mark.parametrize("name", ["python", "py", "python3"])
def test_a_block_that_would_escape_is_noticed(name: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"- in a list:\n\n  ```{name}\n  1 / 0\n  ```\n", encoding="utf-8")
    [found] = _FENCE.finditer(page.read_text("utf-8"))
    assert found["language"] == name
    assert list(blocks(page)) == []


def test_hidden_code_runs_around_a_block_and_tracebacks_show_the_lines_of_the_page(
    tmp_path: Path,
) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text.\n\n<!-- before\nnumber = 6\n-->\n\n```python\nnumber *= 7\n```\n\n"
        "<!-- after\nraise OSError\n-->\n",
        encoding="utf-8",
    )
    [block] = blocks(page)
    assert str(block) == "page.md:8"
    names: dict[str, Any] = {}
    with pytest.raises(OSError) as caught:
        exec(compile(block.code, str(page), "exec"), names)
    assert names["number"] == 42
    assert caught.traceback[-1].lineno + 1 == 12


def test_a_block_that_is_not_run_says_why(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: no server -->\n```python\n1 / 0\n```\n", encoding="utf-8")
    [block] = blocks(page)
    assert block.not_run == "no server "

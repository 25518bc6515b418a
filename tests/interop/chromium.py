"""Chromium without a window, told what to do over a pipe, in the way of its developer tools.

With ``--remote-debugging-pipe`` it reads messages from file descriptor 3 and writes to 4, each a
JSON object that ends with a null byte: so neither a port nor a WebSocket is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, final

import attrs
import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

HOW_TO_GET_IT = "chromium is not here; on Debian: apt-get install chromium, as root"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
# It may be the first start on a machine that is busy with other tests.
_PATIENCE = 60
_POLL = 0.03
_STOP_TIMEOUT = 10
_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
)


def find_chromium() -> str:
    """Return where it is; where it isn't the test is left out, or fails in CI."""
    for name in _NAMES:
        if (path := shutil.which(name)) is not None:
            return path
    if os.environ.get("CI") == "true" and sys.platform == "linux":
        pytest.fail(HOW_TO_GET_IT)
    pytest.skip(HOW_TO_GET_IT)


@final
@attrs.define(eq=False)
class Page:
    """A tab, and what a person does in it."""

    _browser: _Connection
    _session: str

    async def open(self, url: str) -> None:
        """Enter an address."""
        # What comes of it shows on the page: an error of the network is none of the protocol.
        await self._call("Page.navigate", url=url)

    async def of_another_person(self) -> Page:
        """Open a page for another person. It shares no cookie with this one."""
        context = await self._browser.call("Target.createBrowserContext")
        return await _open_page(self._browser, browserContextId=context["browserContextId"])

    async def cookie(self, name: str) -> str:
        """Return a cookie that goes to the address of the page."""
        answer = await self._call("Network.getCookies")
        [value] = [each["value"] for each in answer["cookies"] if each["name"] == name]
        return str(value)

    async def type(self, selector: str, text: str) -> None:
        """Click into a field, and type."""
        await self.click(selector)
        await self._call("Input.insertText", text=text)

    async def click(self, selector: str) -> None:
        """Wait until there is such an element, and click on its middle with the mouse."""
        where = await self._wait(
            f"""(() => {{
                const found = document.querySelector({json.dumps(selector)});
                if (!found || document.readyState !== "complete") return null;
                found.scrollIntoView();
                const box = found.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self._call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=where[0],
                y=where[1],
                button="left",
                clickCount=1,
            )

    async def read(self, *words: str) -> str:
        """Wait until the page says this, and return all that it says."""
        text = "document.body.innerText"
        wanted = " && ".join(f"{text}.includes({json.dumps(word)})" for word in words)
        found = await self._wait(f"({wanted}) ? {text} : null")
        return str(found)

    async def address(self, start: str) -> str:
        """Wait until the address begins like this, and return it: of a page with an error, too."""
        with trio.fail_after(_PATIENCE):
            while True:
                with contextlib.suppress(ProtocolError):  # A page was just being left.
                    history = await self._call("Page.getNavigationHistory")
                    url: str = history["entries"][history["currentIndex"]]["url"]
                    if url.startswith(start):
                        return url
                await trio.sleep(_POLL)

    async def _wait(self, expression: str) -> Any:
        """Wait until an expression of JavaScript is true there, and return it."""
        with trio.fail_after(_PATIENCE):
            while True:
                with contextlib.suppress(ProtocolError):  # A page was just being left.
                    answer = await self._call(
                        "Runtime.evaluate", expression=expression, returnByValue=True
                    )
                    if value := answer["result"].get("value"):
                        return value
                await trio.sleep(_POLL)

    async def _call(self, method: str, **params: object) -> dict[str, Any]:
        return await self._browser.call(method, self._session, **params)


class ProtocolError(Exception):
    """The browser says that it can't do that."""


@final
@attrs.define(eq=False)
class _Connection:
    """The pipe: calls, and their answers by number. What the browser says unasked is dropped."""

    sending: trio.lowlevel.FdStream
    receiving: trio.lowlevel.FdStream
    _waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = attrs.field(factory=dict)
    _number: int = 0

    async def call(
        self, method: str, session: str | None = None, **params: object
    ) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message: dict[str, object] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._waiting[number] = send
        try:
            with trio.CancelScope(shield=True):  # A half message would end all.
                await self.sending.send_all(json.dumps(message).encode() + b"\0")
            answer = await receive.receive()
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            raise ProtocolError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def listen(self) -> None:
        async for message in self._messages():
            if (waiting := self._waiting.get(message.get("id", 0))) is not None:
                waiting.send_nowait(message)
        # It has gone: calls must not wait for ever.
        for waiting in self._waiting.values():
            waiting.close()

    async def _messages(self) -> AsyncIterator[dict[str, Any]]:
        rest = b""
        async for chunk in self.receiving:
            *whole, rest = (rest + chunk).split(b"\0")
            for each in whole:
                yield json.loads(each)


async def _open_page(browser: _Connection, **options: str) -> Page:
    with trio.fail_after(_PATIENCE):
        target = await browser.call("Target.createTarget", url="about:blank", **options)
        attached = await browser.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
    return Page(browser, attached["sessionId"])


@contextlib.asynccontextmanager
async def run_chromium(folder: Path, *, hosts: str = "") -> AsyncGenerator[Page]:
    """Run one with nothing in it, and give its first page.

    Args:
      folder: Where it may keep what it keeps.
      hosts: Where a name leads, such as ``"MAP localhost [::1]"``. All others lead nowhere, so
          that nothing on a page is fetched from elsewhere.
    """
    rules = ", ".join(filter(None, [hosts, "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE ::1"]))
    command = [
        find_chromium(),
        *_OPTIONS,
        # As root it does not start with one.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        f"--user-data-dir={folder}",
        f"--host-resolver-rules={rules}",
        "about:blank",
    ]
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    shell = f'exec 3<&{to_read} 4>&{from_write}; exec "$@"'
    try:
        process = await trio.lowlevel.open_process(
            ["bash", "-c", shell, "bash", *command],
            pass_fds=(to_read, from_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    finally:
        os.close(to_read)
        os.close(from_write)
    connection = _Connection(trio.lowlevel.FdStream(to_write), trio.lowlevel.FdStream(from_read))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.listen)
            yield await _open_page(connection)
            with trio.move_on_after(_STOP_TIMEOUT):
                await connection.call("Browser.close")
                await process.wait()
            nursery.cancel_scope.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await connection.sending.aclose()
            await connection.receiving.aclose()

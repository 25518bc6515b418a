"""The story of the shop, its tests, and the checks: docs/howto/testing.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from trioauth import Answer, Tokens
from trioauth.testing import GrantAnswers, check_grant, check_store, every_checkpoint

from . import EXAMPLES, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trio.testing import MockClock

    from trioauth.testing import AuthServer

PAGE = (EXAMPLES.parent / "howto" / "testing.md").read_text(encoding="utf-8")
PATIENCE = "test_a_customer_who_loses_patience_does_not_log_us_out"
ANYWHERE = "test_a_checkout_that_is_cancelled_anywhere_does_not_log_us_out"
FIFTY = "test_fifty_customers_cause_one_refresh"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of its own, with all the files that the page shows."""
    shutil.copytree(EXAMPLES / "testing", tmp_path, dirs_exist_ok=True)
    return tmp_path


def run_tests(folder: Path, *arguments: str, trio_mode: bool = True) -> tuple[set[str], str]:
    """Run pytest there as a project would; return which tests failed, and what was written."""
    mode = f"[pytest]\ntrio_mode = {trio_mode}\nfilterwarnings = error\n"
    (folder / "pytest.ini").write_text(mode)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return set(re.findall(r"^FAILED \S+::(\w+)", done.stdout, re.MULTILINE)), done.stdout


def written_as(folder: Path, name: str, change: Callable[[str], str]) -> None:
    before = (folder / name).read_text(encoding="utf-8")
    after = change(before)
    assert after != before, "the page tells of a mistake that can't be made any more"
    (folder / name).write_text(after, encoding="utf-8")


def says(sentence: str) -> bool:
    """Whether the page shows a sentence, whichever way its lines are broken."""
    return " ".join(sentence.split()) in " ".join(PAGE.split())


@pytest.mark.slow
def test_the_shop_passes_its_tests(folder: Path) -> None:
    (folder / "test_shop_on_anyio.py").unlink()
    failed, written = run_tests(folder)
    assert failed == set(), written
    assert re.search(r"\b11 passed", written), written


@pytest.mark.slow
def test_the_shop_passes_its_tests_under_anyio(folder: Path) -> None:
    failed, written = run_tests(folder, "test_shop_on_anyio.py", trio_mode=False)
    assert failed == set(), written
    assert re.search(r"\b1 passed", written), written


@pytest.mark.slow
def test_the_shop_with_a_lock_fails_those_that_cancel(folder: Path) -> None:
    shutil.copy(folder / "shop_with_a_lock.py", folder / "shop.py")
    failed, written = run_tests(folder, "test_shop.py")
    assert failed == {PATIENCE, ANYWHERE}, written
    error = (
        "HTTPStatusError: Client error '400 Bad Request' for url 'https://server.test/oauth/token'"
    )
    for line in (error, f"FAILED test_shop.py::{PATIENCE}"):
        assert line in written
        assert says(line)
    assert re.search(
        r"every_checkpoint: seed 0, .*, called by checkout \(shop.py:\d+\), called by buy_socks_",
        written,
    )


@pytest.mark.slow
def test_the_shop_without_a_lock_fails_that_of_the_fifty(folder: Path) -> None:
    def without_lock(text: str) -> str:
        return text.replace("async with self.lock:", "if True:").replace(
            "if self.access_token == used:", "if True:"
        )

    shutil.copy(folder / "shop_with_a_lock.py", folder / "shop.py")
    written_as(folder, "shop.py", without_lock)
    failed, written = run_tests(folder, "test_shop.py")
    assert FIFTY in failed, written
    assert "test_orders_go_on_when_the_hour_of_a_token_is_over" not in failed


async def test_the_ledger_says_what_happened_to_the_shop_with_a_lock(
    auth_server: AuthServer, virtual_clock: MockClock
) -> None:
    names = vars(load("testing/shop_with_a_lock"))
    tests = (EXAMPLES / "testing" / "test_shop.py").read_text(encoding="utf-8")
    exec(tests.replace("from shop import checkout, open_shop\n", ""), names)
    async with names["open_shop_on"](auth_server) as shop:
        with pytest.raises(httpx.HTTPStatusError):
            await names[PATIENCE](shop, auth_server, virtual_clock)
    assert [each.outcome for each in auth_server.ledger.presented] == ["rotated", "reused"]


@pytest.mark.parametrize("program", ["shop", "shop_with_a_lock"])
def test_as_many_cancellations_break_a_shop_as_the_page_says(program: str) -> None:
    names = vars(load(f"testing/{program}"))
    tests = (EXAMPLES / "testing" / "test_shop.py").read_text(encoding="utf-8")
    exec(tests.replace("from shop import checkout, open_shop\n", ""), names)
    found = every_checkpoint(names["buy_socks_then_shoes"], keep_going=True)
    assert bool(found.failures) == (program == "shop_with_a_lock")
    # How many checkpoints there are is httpx's affair.
    assert says(str(found)) or httpx.__version__ != "0.28.1"


async def test_a_store_that_does_not_compare_is_told_what_the_page_says(
    folder: Path, autojump_clock: MockClock
) -> None:
    def hasty(text: str) -> str:
        return re.sub(
            r"        stored = await self.load.*?stored, not \{expected\}\"\)\n",
            "        await trio.lowlevel.checkpoint()\n",
            text,
            flags=re.DOTALL,
        )

    written_as(folder, "settings_store.py", hasty)
    names: dict[str, Any] = {"__name__": "settings_store"}
    exec((folder / "settings_store.py").read_text(), names)
    settings = names["Settings"]()
    with pytest.raises(AssertionError) as info:
        await check_store(lambda: names["SettingsStore"](settings))
    assert says(f"AssertionError: {info.value}")


async def test_a_grant_that_counts_in_milliseconds_is_told_what_the_page_says(
    folder: Path, autojump_clock: MockClock
) -> None:
    written_as(folder, "key_grant.py", lambda text: text.replace(" / 1000", ""))
    names: dict[str, Any] = {"__name__": "key_grant"}
    exec((folder / "key_grant.py").read_text(), names)
    answers: dict[str, Any] = {"__name__": "test_key_grant"}
    exec(
        (folder / "test_key_grant.py").read_text().replace("from key_grant import renew\n", ""),
        answers,
    )
    with pytest.raises(AssertionError) as info:
        await check_grant(names["renew"], answers=answers["OURS"])
    assert says(f"AssertionError: {info.value}")


async def test_the_store_of_the_page_on_your_own_server_keeps_its_promises(
    virtual_clock: MockClock,
) -> None:
    text: str | None = None

    async def read() -> str | None:
        await trio.lowlevel.checkpoint()
        return text

    async def write(new: str) -> None:
        nonlocal text
        await trio.lowlevel.checkpoint()
        text = new

    store = load("text_store").TextStore(read, write)
    await check_store(lambda: store)


async def test_the_grant_of_the_page_on_your_own_server_keeps_its_promises(
    virtual_clock: MockClock,
) -> None:
    def granted(tokens: Tokens) -> Answer | None:
        if tokens.refresh_token is None or tokens.expires_in is None:
            return None
        body = {"key": tokens.access_token, "session": tokens.refresh_token}
        return Answer(200, body=json.dumps({**body, "minutes": tokens.expires_in / 60}).encode())

    refused = [Answer(401), Answer(403), Answer(410, body=b"$refresh_token")]
    answers = GrantAnswers(granted=granted, refused=refused, misconfigured=[])
    await check_grant(load("own_grant").renew, answers=answers)

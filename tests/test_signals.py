"""cancel_on_sigterm: a process that is told to stop in mid-refresh loses no login.

This file is also what the child processes run: see the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trioauth
from trioauth import FileStore, Tokens, cancel_on_sigterm
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(trioauth.__file__).parents[1])}


@pytest.fixture(autouse=True)
def safety_net() -> Generator[list[int], None, None]:
    """A handler of the program's own, so that a mistake here does not end the tests."""
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    yield caught
    signal.signal(signal.SIGTERM, before)


def tell_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


# --- a process --------------------------------------------------------------------------------


async def stopped_in_mid_refresh(path: Path, kind: str) -> tuple[AuthServer, Tokens, int]:
    """Tell a process to stop: the server, the first tokens, and the status it ended with."""
    server, run = AuthServer(), partial(trio.run_process, env=ENVIRONMENT, check=False)
    command = [sys.executable, __file__, kind, str(path)]
    async with server.serve(), trio.open_nursery() as nursery:
        grant, store, first = server.grant(), FileStore(path), server.log_in()
        async with trioauth.open_session(grant, store=store, base_url=server.url) as session:
            await session.log_in(first)
        server.delay(0.5)
        child = await nursery.start(
            partial(run, [*command, server.token_url, server.url], stdout=subprocess.PIPE)
        )
        with trio.fail_after(30):
            said = b""
            while not said.endswith(b"\n"):
                said += await child.stdout.receive_some()
            assert said == b"refreshing\n"
            while server.ledger.in_flight == 0:  # noqa: ASYNC110  # no event tells of it
                await trio.sleep(0.01)
            child.terminate()
            status = await child.wait()
    return server, first, status


async def test_p08_a_process_that_is_told_to_stop_in_mid_refresh_stores_the_rotated_token(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tokens.json"
    server, first, status = await stopped_in_mid_refresh(path, "careful")
    record = await FileStore(path).load()
    assert record is not None
    assert record.tokens is not None
    assert record.tokens.refresh_token != first.refresh_token
    assert record.unanswered == 0
    assert server.ledger.refreshes == 1
    # The program goes on after the block, and ends as it likes.
    assert status == 0


async def test_without_the_helper_it_dies_at_once_and_the_rotated_token_is_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tokens.json"
    server, first, status = await stopped_in_mid_refresh(path, "careless")
    record = await FileStore(path).load()
    assert record is not None
    assert record.tokens is not None
    assert record.tokens.refresh_token == first.refresh_token
    assert server.ledger.refreshes == 1
    assert status == -signal.SIGTERM


# --- blocks -------------------------------------------------------------------------------------


async def test_block_is_cancelled_and_the_program_goes_on_after_it() -> None:
    with trio.fail_after(5), cancel_on_sigterm() as scope:
        tell_to_stop()
        await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_block_is_cancelled_while_trio_has_nothing_to_do() -> None:
    teller = threading.Timer(0.05, tell_to_stop)
    teller.start()
    with trio.fail_after(5), cancel_on_sigterm() as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
    teller.join()


async def test_exception_of_the_block_comes_out_as_itself() -> None:
    with pytest.raises(KeyError), cancel_on_sigterm():
        raise KeyError
    with cancel_on_sigterm() as scope:
        await trio.lowlevel.checkpoint()
    assert not scope.cancel_called


async def test_nested_blocks_are_all_cancelled_and_a_second_signal_changes_nothing() -> None:
    with trio.fail_after(5), cancel_on_sigterm() as outer:
        with cancel_on_sigterm() as inner:
            tell_to_stop()
            tell_to_stop()
            await trio.sleep_forever()
    assert outer.cancelled_caught
    assert inner.cancel_called


async def test_blocks_of_several_tasks_are_all_cancelled() -> None:
    cancelled: list[bool] = []

    async def hold() -> None:
        with cancel_on_sigterm() as scope:
            await trio.sleep_forever()
        cancelled.append(scope.cancelled_caught)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(hold)
            await trio.testing.wait_all_tasks_blocked()
            tell_to_stop()
    assert cancelled == [True, True, True]


async def test_block_is_cancelled_by_trios_next_step_and_not_in_the_handler() -> None:
    # The handler may be called between any two bytecodes of trio's own.
    with trio.fail_after(5), cancel_on_sigterm() as scope:
        tell_to_stop()
        assert not scope.cancel_called
        await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_blocks_of_two_tasks_may_be_left_in_any_order(
    autojump_clock: trio.testing.MockClock, safety_net: list[int]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    cancelled: list[str] = []

    async def hold(name: str, seconds: float) -> None:
        with cancel_on_sigterm() as scope:
            await trio.sleep(seconds)
        if scope.cancelled_caught:
            cancelled.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, "first", 1)
        await trio.sleep(0.5)
        nursery.start_soon(hold, "second", 2)
        await trio.sleep(1)
        tell_to_stop()
    assert cancelled == ["second"]
    assert trio.current_time() == 1.5
    assert safety_net == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


async def test_handler_that_was_there_before_is_called_too_and_put_back(
    safety_net: list[int],
) -> None:
    with trio.fail_after(5), cancel_on_sigterm():
        tell_to_stop()
        await trio.sleep_forever()
    assert safety_net == [signal.SIGTERM]
    tell_to_stop()
    assert safety_net == [signal.SIGTERM, signal.SIGTERM]


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
async def test_what_was_there_before_may_be_no_function(before: Any) -> None:
    signal.signal(signal.SIGTERM, before)
    with trio.fail_after(5), cancel_on_sigterm() as scope:
        tell_to_stop()
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert signal.getsignal(signal.SIGTERM) is before


async def test_handler_that_python_did_not_install_becomes_the_default_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install = signal.signal

    def hide(number: int, handler: Any) -> Any:
        install(number, handler)

    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", hide)
        with cancel_on_sigterm():
            pass
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_outside_the_main_thread_it_says_where_it_works() -> None:
    problems: list[BaseException] = []

    async def main() -> None:
        with cancel_on_sigterm():
            raise AssertionError("never")

    def run() -> None:
        try:
            trio.run(main)
        except RuntimeError as exc:
            problems.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "works in the main thread only" in str(problems[0])


def test_outside_a_run_of_trio_it_is_an_error_that_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError), cancel_on_sigterm():
        pass
    assert signal.getsignal(signal.SIGTERM) is before


# --- what the children do ---------------------------------------------------------------------


async def refresh(path: str, token_url: str, url: str) -> None:
    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    async with trioauth.open_session(grant, store=FileStore(path), base_url=url) as session:
        print("refreshing", flush=True)
        await session.refresh()
        raise AssertionError("it was not told to stop in time")


async def careful(*arguments: str) -> None:
    with cancel_on_sigterm():
        await refresh(*arguments)


if __name__ == "__main__":
    jobs: dict[str, Callable[..., Awaitable[None]]] = {"careful": careful, "careless": refresh}
    trio.run(jobs[sys.argv[1]], *sys.argv[2:])

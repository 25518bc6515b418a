"""A prompt beside the waiting: who ends whom, and what comes out."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trioauth import Invitation
from trioauth.oauth.logins.steps import with_prompt

INVITATION = Invitation(
    kind="device", url="https://id.test/", expires_at=0, client_id="notes", where="id.test"
)


async def fails(_: Invitation, /) -> str | None:
    raise OSError("no window")


async def stays(_: Invitation, /) -> str | None:
    await trio.sleep_forever()
    raise AssertionError


async def test_a_prompt_that_fails_when_the_answer_is_here_does_not_end_the_log_in() -> None:
    async def wait() -> str:
        await trio.testing.wait_all_tasks_blocked()
        return "tokens"

    found = await with_prompt(fails, INVITATION, wait, pasted=print, undecided=lambda: False)
    assert found == "tokens"


async def test_a_prompt_that_fails_before_ends_it() -> None:
    with trio.fail_after(5), pytest.raises(OSError, match="no window"):
        await with_prompt(
            fails, INVITATION, trio.sleep_forever, pasted=print, undecided=lambda: True
        )


async def test_what_a_log_in_has_brought_is_not_lost_to_a_cancellation_that_comes_then() -> None:
    with trio.CancelScope() as scope:

        async def wait() -> str:
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            return "tokens"

        found = await with_prompt(stays, INVITATION, wait, pasted=print, undecided=lambda: True)
        assert found == "tokens"
    assert not scope.cancelled_caught


async def test_a_prompt_that_does_not_end_at_once_is_waited_for() -> None:
    ended: list[str] = []

    async def slow(_: Invitation, /) -> str | None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            ended.append("prompt")
        raise AssertionError

    await with_prompt(
        slow,
        INVITATION,
        trio.testing.wait_all_tasks_blocked,
        pasted=print,
        undecided=lambda: True,
    )
    assert ended == ["prompt"]

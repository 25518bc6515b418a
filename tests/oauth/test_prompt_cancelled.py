"""What ended a log-in is raised, however its prompt takes being cancelled."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from trioauth import Invitation, LoginDeclinedError, Prompt
from trioauth.oauth.logins.steps import with_prompt

INVITATION = Invitation(
    kind="device", url="https://id.test", expires_at=0, client_id="c", where="id.test"
)


async def two_tasks(_: Invitation) -> str | None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(trio.sleep_forever)
    return None


async def breaks_when_cancelled(_: Invitation) -> str | None:
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("the prompt is broken")


@pytest.mark.parametrize("prompt", [two_tasks, breaks_when_cancelled])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), LoginDeclinedError("access_denied")])
async def test_what_ended_a_log_in_is_not_hidden_by_its_prompt(
    prompt: Prompt,
    error: BaseException,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def wait() -> None:
        await trio.sleep(1)
        raise error

    with pytest.raises(type(error)) as caught:
        await with_prompt(prompt, INVITATION, wait, pasted=lambda _: None, undecided=lambda: True)
    assert caught.value is error


@pytest.mark.parametrize("prompt", [two_tasks, breaks_when_cancelled])
async def test_a_log_in_that_ended_well_is_not_spoilt_by_its_prompt(
    prompt: Prompt, autojump_clock: trio.testing.MockClock
) -> None:
    async def wait() -> str:
        await trio.sleep(1)
        return "tokens"

    ended = await with_prompt(
        prompt, INVITATION, wait, pasted=lambda _: None, undecided=lambda: True
    )
    assert ended == "tokens"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()])
async def test_what_a_prompt_failed_with_is_not_hidden_by_the_end_of_the_waiting(
    error: BaseException, autojump_clock: trio.testing.MockClock
) -> None:
    async def fail(_: Invitation) -> str | None:
        await trio.sleep(1)
        raise error

    with pytest.raises(type(error)) as caught:
        await with_prompt(
            fail, INVITATION, partial(two_tasks, INVITATION), pasted=print, undecided=lambda: True
        )
    assert caught.value is error


async def test_a_cancelled_log_in_is_cancelled_whatever_its_prompt_is_made_of(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.move_on_after(1) as scope:
        await with_prompt(
            two_tasks, INVITATION, trio.sleep_forever, pasted=lambda _: None, undecided=lambda: True
        )
    assert scope.cancelled_caught

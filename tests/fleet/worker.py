"""A worker of the fleet: its tasks ask the API for one key after the other, until SIGTERM."""

from __future__ import annotations

import json
import random
import signal
import sys
import traceback
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

import trioauth
from trioauth import LoggedOutError, RefreshTokenGrant, RefreshUnavailableError, StoreError

from .notes import Note, NotingGrant, NotingStores, Token, write_note
from .stores import Kind, open_store, policy_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

# So many keys get half of the requests, so that processes meet at them.
_BUSY_KEYS = 8
# Seconds until a session that no task uses is dropped: soon, so that many are opened anew.
_IDLE = 1.0


@final
@attrs.frozen
class Options:
    """What a worker is told."""

    kind: Kind
    place: str
    url: str
    token_url: str
    keys: int
    lease: float
    tasks: int
    pause: float
    """Seconds that a task rests, on average."""
    seed: int


@asynccontextmanager
async def sessions_by_key(
    options: Options,
) -> AsyncGenerator[Callable[[str], AbstractAsyncContextManager[trioauth.Session]], None]:
    """Give a function that uses the session of a key in a block."""
    grant = NotingGrant(RefreshTokenGrant(options.token_url, client_id="client"), write_note)
    policy = policy_for(options.kind, options.lease)
    more: dict[str, Any] = {"base_url": options.url, "policy": policy}
    async with open_store(options.kind, options.place, options.lease) as store:
        noting = NotingStores(store, write_note)
        if options.kind == "file":
            async with trioauth.open_session(grant, store=noting.at("0"), **more) as session:
                yield lambda _: _as_it_is(session)
        else:
            opened = trioauth.open_sessions(grant, store=noting, idle=_IDLE, **more)
            async with opened as sessions:
                yield sessions.use


@asynccontextmanager
async def _as_it_is(session: trioauth.Session) -> AsyncGenerator[trioauth.Session, None]:
    yield session


async def ask(use: Any, options: Options, number: int) -> None:
    """Ask the API again and again."""
    chance = random.Random(f"{options.seed} {number}")
    seen: dict[str, Token] = {}
    while True:
        few = options.keys > _BUSY_KEYS and chance.random() < 0.5
        key = str(chance.randrange(_BUSY_KEYS if few else options.keys))
        try:
            async with use(key) as session:
                response = await session.get(f"/{key}")
        except LoggedOutError:
            write_note(Note("lost", key))
        except (RefreshUnavailableError, StoreError):
            write_note(Note("unavailable", key))
        else:
            if response.status_code == 200:
                answer = response.json()
                token = Token(answer["login"], answer["generation"])
                if seen.get(key) != token:
                    seen[key] = token
                    write_note(Note("got", key, token))
            else:
                write_note(Note("denied", key))
        await trio.sleep(chance.uniform(0, 2 * options.pause))


def _tasks(nurseries: list[trio.Nursery]) -> Iterator[trio.lowlevel.Task]:
    for nursery in nurseries:
        for task in nursery.child_tasks:
            yield task
            yield from _tasks(task.child_nurseries)


def say_where(*_: object) -> None:
    """Write to standard error where each task is: why does this process not end?"""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    for task in _tasks(root.child_nurseries):
        stack = traceback.StackSummary.extract(task.iter_await_frames())
        print(f"{task.name}\n{''.join(stack.format())}", file=sys.stderr, flush=True)


async def main(options: Options) -> None:
    """Work until SIGTERM."""
    token = trio.lowlevel.current_trio_token()
    signal.signal(signal.SIGUSR1, lambda *_: token.run_sync_soon(say_where))
    with trioauth.cancel_on_sigterm():
        async with sessions_by_key(options) as use, trio.open_nursery() as nursery:
            write_note(Note("ready"))
            for number in range(options.tasks):
                nursery.start_soon(ask, use, options, number)


if __name__ == "__main__":
    trio.run(partial(main, Options(**json.loads(sys.argv[1]))))

"""Log-ins and log-outs by key, the halves of a log-in, events and words; how a key is shown."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import trio

from tests.fakes import FakeStore
from tests.oauth.people import client_of
from tests.oauth.test_halves import brought_back
from trioauth import Begun, LoggedOutError, StoreError, Tokens, events, open_sessions
from trioauth._core.key import Key
from trioauth.testing import AuthServer, Victim, every_checkpoint

from .world import KeyedFakeStore, KeyedGrant, access_token, many, record_of, tokens_of

pytestmark = pytest.mark.usefixtures("autojump_clock")

ANN = Key.of("ann").shown


async def test_a_log_in_by_key_is_kept_and_a_log_out_ends_it_for_all_who_use_the_key() -> None:
    grant, store = KeyedGrant(), KeyedFakeStore()
    async with many(grant, store=store) as sessions:
        with pytest.raises(LoggedOutError):
            await access_token(sessions, "cat")
        await sessions.log_in("cat", tokens_of("cat", 5))
        assert await access_token(sessions, "cat") == "access-cat-5"
        async with sessions.use("cat") as session:
            await sessions.log_out("cat")
            assert not session.logged_in
        record = store.of("cat").record
        assert record is not None
        assert (record.tokens, record.ended) == (None, "asked")
        await sessions.log_out("cat")  # there is none
    assert grant.revoked == ["refresh-cat-5"]


async def test_a_log_out_need_not_revoke() -> None:
    grant = KeyedGrant()
    async with many(grant) as sessions:
        await sessions.log_out("ann", revoke=False)
    assert grant.revoked == []


async def test_a_web_log_in_has_its_two_halves_by_key() -> None:
    callback = "https://app.test/callback"
    server = AuthServer(scope="notes", redirect_uris=[callback])
    client, seen = client_of(server), dict[str, int]()
    async with open_sessions(client, base_url=server.url, transport=server.transport()) as sessions:
        for key in "ann", "bob":
            server.approve(key)
            begun = await client.begin(sessions.back_channel, redirect_uri=callback)
            kept = begun.to_text()
            # Another request of the browser, when the person comes back.
            address = await brought_back(server, begun)
            await sessions.log_in(key, client.finish(Begun.from_text(kept), address))
        for key in "ann", "bob":
            async with sessions.use(key) as session:
                seen[key] = (await session.get("/notes")).json()["login"]
    assert seen == {"ann": 1, "bob": 2}
    server.check()


async def test_events_say_whose_they_are_and_their_lines_show_a_hash() -> None:
    told: list[Any] = []
    async with many(observers=[told.append]) as sessions:
        for key in "ann", "bob":
            async with sessions.use(key) as session:
                await session.refresh()
    kinds = [type(event) for event in told if event.key == "ann"]
    assert kinds == [type(event) for event in told if event.key == "bob"]
    assert kinds[:2] == [events.LoggedIn, events.RefreshStarted]
    assert str(told[0]) == f"{ANN}: logged in: generation 1"
    assert ANN.startswith("key …")
    assert "ann" not in ANN
    for event in told:
        if event.key == "ann":
            assert "'ann'" not in repr(event)
            assert f"shown_key={ANN!r}" in repr(event)


async def test_events_of_a_session_by_itself_have_no_key_and_show_none() -> None:
    event = events.LoggedIn(time=1.0, generation=2)
    assert event.key == event.shown_key == ""
    assert repr(event) == "LoggedIn(time=1.0, generation=2)"
    assert str(event) == "logged in: generation 2"


async def test_a_key_is_shown_as_the_program_says(caplog: pytest.LogCaptureFixture) -> None:
    store = KeyedFakeStore.with_logins("ann")
    async with many(store=store, show_key=lambda key: f"user {key[0]}") as sessions:
        async with sessions.use("ann") as session:
            await session.refresh()
            assert "Key:          user a" in session.explain()
        store.of("bob").fail_load = StoreError("broken")
        with pytest.raises(StoreError, match="the session of user b can't be opened: broken"):
            await access_token(sessions, "bob")
    assert any(line.startswith("user a: refresh 1 landed") for line in caplog.messages)


async def test_a_function_that_shows_a_key_as_no_text_is_one_clear_error() -> None:
    show: Any = len
    async with many(show_key=show) as sessions:
        with pytest.raises(TypeError, match="show_key must return a str, not int"):
            await access_token(sessions, "ann")
        assert sessions.statistics().in_memory == 0


async def test_a_personal_key_is_in_no_log_line_no_repr_and_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    key = "ann@example.com"
    store = KeyedFakeStore({key: FakeStore(record_of("ann"))})
    said: list[str] = []
    async with many(
        KeyedGrant(script=[OSError("down")] * 9),
        store=store,
        observers=[lambda e: said.append(repr(e))],
    ) as sessions:
        async with sessions.use(key) as session:
            with pytest.raises(Exception, match="no new token") as info:
                await session.refresh()
            said += [repr(info.value), session.explain(), repr(session), repr(session.state)]
        said += [
            repr(sessions),
            repr(sessions.statistics()),
            repr(sessions._members.table[key].key),
        ]
    assert key not in "\n".join([*said, *caplog.messages])


async def test_explain_says_whose_session_it_is() -> None:
    async with many() as sessions, sessions.use("ann") as session:
        assert session.explain().splitlines()[1] == f"Key:          {ANN}"


async def test_a_log_in_by_a_function_asks_once_for_tasks_that_log_the_same_key_in() -> None:
    asked = []

    async def obtain(_: object) -> Tokens:
        asked.append(True)
        await trio.sleep(3)
        return tokens_of("cat", 9)

    async with many(idle=1) as sessions:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(sessions.log_in, "cat", obtain)
        assert len(asked) == 1
        assert await access_token(sessions, "cat") == "access-cat-9"


async def test_a_cancelled_log_in_keeps_no_session_in_memory() -> None:
    async def never(_: object) -> NoReturn:
        await trio.sleep_forever()

    async with many(idle=1) as sessions:
        with trio.move_on_after(1):
            await sessions.log_in("cat", never)
        await trio.sleep(3)
        assert sessions.statistics().in_memory == 0


def test_cancelling_a_log_in_or_a_log_out_by_key_anywhere_leaves_the_old_login_or_the_new() -> None:
    async def scenario(victim: Victim) -> None:
        store = KeyedFakeStore.with_logins("ann")
        store.of("ann").latency = 0.1
        async with many(store=store, idle=5) as sessions:

            async def change() -> None:
                await sessions.log_in("ann", tokens_of("ann", 7))
                await sessions.log_out("ann")

            await victim(change)
            await trio.sleep(20)
            assert sessions.statistics().in_memory == 0
            record = store.of("ann").record
            assert record is not None
            assert record.tokens in (None, record_of("ann").tokens, tokens_of("ann", 7))
            async with sessions.use("ann") as session:
                assert session.logged_in == (record.tokens is not None)

    every_checkpoint(scenario, seeds=[0])

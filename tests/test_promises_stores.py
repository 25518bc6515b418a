"""Promises about a store: whose a record is (P15), and that late tokens are kept (P20)."""

from __future__ import annotations

import attrs
import pytest
import trio

import trioauth
from trioauth import RefreshPolicy, StoreError

from .fakes import FakeGrant, FakeStore, OwnedGrant, ShieldedGrant, first_tokens
from .sessions import opened

pytestmark = pytest.mark.usefixtures("autojump_clock")


OURS = "https://id.test/token notes"
THEIRS = "https://elsewhere.test/token mail"


async def test_p15_a_record_that_another_client_puts_there_meanwhile_is_not_used_either() -> None:
    store, grant = FakeStore(), OwnedGrant()
    async with opened(grant, store=store) as session:
        assert store.record is not None
        theirs = attrs.evolve(store.record, generation=7, login="another", owner=THEIRS)
        store.record = theirs
        with pytest.raises(trioauth.RefreshUnavailableError) as caught:
            await session.refresh()
        assert isinstance(caught.value.__cause__, StoreError)
        assert session.logged_in
        await session.log_out()
    assert store.record is theirs
    assert grant.presented == []


async def test_p15_a_grant_without_an_owner_takes_any_record_and_keeps_its_owner() -> None:
    store = FakeStore()
    async with opened(OwnedGrant(), store=store):
        pass
    async with opened(FakeGrant(), store=store, tokens=None) as session:
        await session.refresh()
    assert store.record is not None
    assert store.record.owner == OURS


async def test_p20_waiters_of_a_grant_that_can_not_be_cancelled_are_told_at_the_deadline() -> None:
    store, grant = FakeStore(), ShieldedGrant(latency=8)
    async with opened(
        grant, store=store, tokens=first_tokens(0), policy=RefreshPolicy(timeout=1)
    ) as session:
        with pytest.raises(trioauth.RefreshUnavailableError):
            await session.token()
        assert trio.current_time() == pytest.approx(1)
        await trio.sleep(8)
        # What came late is the newest refresh token: it was saved, and is used.
        assert session.token_nowait() == "access-1"
    assert store.tokens is not None
    assert store.tokens.refresh_token == "refresh-1"
    assert grant.spent_twice == []

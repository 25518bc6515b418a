"""What the OpenID Foundation's conformance suite asks of a client; the table is `conformance`.

The suite passes a client that makes no further call after a bad answer. Here the error is looked
at, too, and the claim that it names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioauth
from tests.scripts import script
from trioauth import (
    ClientSecretBasic,
    ClientSecretPost,
    GrantRefusedError,
    Identity,
    IdentityError,
    LoggedIn,
    LoggedOutError,
    OAuthClient,
    Session,
)
from trioauth.testing import AuthServer, Persona

from .by_code import ByCode
from .conformance import ELSEWHERE, ROWS, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio.testing import MockClock

pytest.importorskip("joserfc")

TESTS = Path(__file__).parents[1]

list_conformance = script("list_conformance")


def server_of(row: Row) -> AuthServer:
    # ES256 by default: an RSA key takes long to make.
    persona = Persona(**{"signing_alg": "ES256", **row.persona})
    if "rs256" in row.module:
        persona = Persona(**{**row.persona, "signing_alg": "RS256"})
    server = AuthServer(persona=persona, client_secret=row.client.get("secret"))
    server.approve("ann", email="ann@example.com")
    return server


def client_of(row: Row, server: AuthServer) -> OAuthClient:
    kinds: dict[str, Any] = {"basic": ClientSecretBasic, "post": ClientSecretPost}
    auth = kinds[row.client["auth"]](row.client["secret"]) if row.client else None
    return OAuthClient(server.client_id, issuer=server.issuer, auth=auth, scope="openid notes")


def error_of(row: Row) -> type[Exception]:
    error: type[Exception] = getattr(trioauth, row.error or "")
    return error


def named(error: BaseException) -> str | None:
    """What an error names: a claim, or a member of the metadata."""
    found: str | None = getattr(error, "claim", getattr(error, "member", None))
    return found


async def works(server: AuthServer, session: Session) -> None:
    """The person is known, and the tokens are good."""
    assert isinstance(session.state, LoggedIn)
    identity = session.state.identity
    assert identity is not None
    assert (identity.iss, identity.sub) == (server.issuer, "ann")
    userinfo = await session.get(server.endpoint("userinfo"))
    assert userinfo.json() == {"sub": "ann", "email": "ann@example.com"}
    assert (await session.get("/notes")).status_code == 200
    server.check()


ROWS_BY_ID = {f"{row.part} {row.module} ({row.does})".replace("/", " "): row for row in ROWS}
AT_LOG_IN = {name: row for name, row in ROWS_BY_ID.items() if row.when == "log-in"}
AT_REFRESH = {name: row for name, row in ROWS_BY_ID.items() if row.when == "refresh"}


@pytest.mark.parametrize("row", AT_LOG_IN.values(), ids=AT_LOG_IN)
async def test_p28_at_a_log_in_what_is_wrong_is_named_and_nothing_else_is_asked(row: Row) -> None:
    server = server_of(row)
    server.lie(**row.lies)
    client = client_of(row, server)
    async with server.open_session(client, logged_in=False) as session:
        log_in = ByCode(server, client, row.asks)
        if row.error is None:
            await session.log_in(log_in)
            await works(server, session)
            return
        with pytest.raises(error_of(row)) as caught:
            await session.log_in(log_in)
        assert named(caught.value) == row.claim
        assert not session.logged_in
        with pytest.raises(LoggedOutError):
            await session.get("/notes")
        expected = {"metadata"} if row.error == "MetadataError" else {"authorize", "token", "jwks"}
        assert set(server.ledger.calls) - {"metadata"} <= expected
        assert server.ledger.calls["token"] == ("token" in expected)
        assert server.ledger.requests_seen == []


@pytest.mark.parametrize("row", AT_REFRESH.values(), ids=AT_REFRESH)
async def test_p28_after_a_refresh_what_is_wrong_is_named_and_the_new_tokens_are_not_used(
    row: Row, autojump_clock: MockClock
) -> None:
    server = server_of(row)
    client = client_of(row, server)
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(ByCode(server, client, row.asks))
        before = session.state
        server.lie(**row.lies)
        if row.error is None:
            await session.refresh()
            assert session.generation == 2
            await works(server, session)
            assert isinstance(session.state, LoggedIn)
            assert session.state.identity is not None
            server.recover()
            await session.refresh()
            return
        with pytest.raises(LoggedOutError if row.ends else IdentityError) as caught:
            await session.refresh()
        assert server.ledger.calls["token"] == 2
        if row.ends:
            refusal = caught.value.__cause__
            assert isinstance(refusal, GrantRefusedError)
            assert isinstance(refusal.__cause__, IdentityError)
            assert refusal.__cause__.claim == row.claim
            with pytest.raises(LoggedOutError):
                await session.get("/notes")
            assert server.ledger.requests_seen == []
            return
        assert named(caught.value) == row.claim
        assert isinstance(session.state, LoggedIn)
        assert isinstance(before, LoggedIn)
        assert session.state.identity == before.identity
        assert (await session.get("/notes")).status_code == 200
        assert [seen.generation for seen in server.ledger.requests_seen] == [1]
        # The refresh token of the answer is the newest, and the login goes on with it.
        server.recover()
        await trio.sleep(60)
        await session.refresh()
        await works(server, session)
        assert server.ledger.reused == 0


# --- what needs a test of its own -----------------------------------------------------------------


def opened(server: AuthServer) -> tuple[OAuthClient, ByCode]:
    server.approve("ann", email="ann@example.com")
    client = OAuthClient("client", issuer=server.issuer, scope="openid notes")
    return client, ByCode(server, client)


async def test_the_keys_are_fetched_where_the_metadata_say_and_before_userinfo() -> None:
    places = {**Persona().endpoints, "jwks": "/keys/7f3a"}
    server = AuthServer(persona=Persona(signing_alg="ES256", endpoints=places))
    client, log_in = opened(server)
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(log_in)
        assert server.ledger.calls["jwks"] == 1
        assert server.ledger.calls["userinfo"] == 0
        await works(server, session)


async def test_new_keys_are_fetched_when_an_id_token_names_them() -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    client, log_in = opened(server)
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(log_in)
        await session.log_in(log_in)
        assert server.ledger.calls["jwks"] == 1
        server.rotate_keys()
        await session.log_in(log_in)
        assert server.ledger.calls["jwks"] == 2
        await works(server, session)
        await session.refresh()
        assert server.ledger.calls["jwks"] == 2


async def test_without_a_kid_new_keys_are_fetched_when_no_old_one_has_signed() -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    client, log_in = opened(server)
    server.lie(id_token_header={"kid": None})
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(log_in)
        server.rotate_keys()
        await session.log_in(log_in)
        assert server.ledger.calls["jwks"] == 2
        await works(server, session)
        server.lie(signature=lambda signature: bytes(len(signature)))
        with pytest.raises(IdentityError) as caught:
            await session.log_in(log_in)
        assert caught.value.claim == "signature"
        # Not again within a minute.
        assert server.ledger.calls["jwks"] == 2


async def test_of_two_changes_of_keys_within_a_minute_both_are_seen(
    autojump_clock: MockClock,
) -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    client, log_in = opened(server)
    async with server.open_session(client, logged_in=False) as session:
        for jwks in (1, 2, 3):
            await session.log_in(log_in)
            assert server.ledger.calls["jwks"] == jwks
            server.rotate_keys()
        await works(server, session)


async def test_the_keys_are_fetched_again_once_a_minute_for_each_kid(
    autojump_clock: MockClock,
) -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    client, log_in = opened(server)
    async with server.open_session(client, logged_in=False) as session:
        server.lie(jwks={"keys": []})
        for jwks in (1, 2, 2, 2):
            # The first time they have only just been fetched.
            with pytest.raises(IdentityError) as caught:
                await session.log_in(log_in)
            assert caught.value.claim == "kid"
            assert server.ledger.calls["jwks"] == jwks
        await trio.sleep(60)
        server.recover()
        await session.log_in(log_in)
        assert server.ledger.calls["jwks"] == 3
        await works(server, session)


async def test_ten_times_a_minute_is_all_that_keys_are_fetched(autojump_clock: MockClock) -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    client, log_in = opened(server)
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(log_in)
        server.lie(jwks={"keys": []})
        for number in range(15):
            server.rotate_keys()
            with pytest.raises(IdentityError):
                await session.log_in(log_in)
            assert server.ledger.calls["jwks"] == 1 + min(number + 1, 10)


# --- userinfo -------------------------------------------------------------------------------------


async def said_of_ann(server: AuthServer, session: Session) -> Mapping[str, object]:
    assert isinstance(session.state, LoggedIn)
    assert session.state.identity is not None
    answer = await session.get(server.endpoint("userinfo"))
    return session.state.identity.check_userinfo(answer.json())


async def test_userinfo_of_the_person_is_taken() -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    client, log_in = opened(server)
    server.approve("ann", email="ann@example.com")
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(log_in)
        assert await said_of_ann(server, session) == {"sub": "ann", "email": "ann@example.com"}


@pytest.mark.parametrize("sub", ["anninvalid", "", None, ["ann"]])
async def test_userinfo_of_another_person_is_refused(sub: Any) -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    client, log_in = opened(server)
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(log_in)
        server.lie(userinfo={"sub": sub})
        with pytest.raises(IdentityError) as caught:
            await said_of_ann(server, session)
        assert caught.value.claim == "sub"
        assert "ann" not in str(caught.value)
        # The login is good: nothing was wrong with the ID token.
        assert session.logged_in


@pytest.mark.parametrize("claims", [None, [], "ann", [{"sub": "ann"}]])
def test_userinfo_that_is_no_object_is_refused(claims: object) -> None:
    with pytest.raises(IdentityError, match="not about the person"):
        Identity({"iss": "https://id.test", "sub": "ann"}).check_userinfo(claims)


# --- the page -------------------------------------------------------------------------------------


def test_every_test_that_the_table_names_exists() -> None:
    sources = [file.read_text(encoding="utf-8") for file in (TESTS / "oauth").glob("test_*.py")]
    existing = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}
    assert {name for row in ELSEWHERE for name in row.tests} - existing == set()


def test_each_row_has_a_name_of_its_own() -> None:
    assert len(ROWS_BY_ID) == len(ROWS)
    assert all(
        (row.error is None) == (row.claim is None) or "no ID token" in row.does for row in ROWS
    )


def test_the_page_says_what_the_table_says() -> None:
    assert list_conformance.PAGE.read_text(encoding="utf-8") == list_conformance.page()


def test_a_stale_page_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(list_conformance, "PAGE", tmp_path / "page.md")
    assert list_conformance.main(["--check"]) == 1
    assert "is stale" in capsys.readouterr().err
    assert list_conformance.main([]) == 0
    assert list_conformance.main(["--check"]) == 0

"""A web application logs in at an API of which it knows the address alone, in two halves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from trioauth import (
    Begun,
    GrantMisconfiguredError,
    LoginDeclinedError,
    LoginError,
    OAuthClient,
    StoreError,
)
from trioauth.oauth.kept import Kept
from trioauth.testing import AuthServer

from .people import brought_back
from .stage import API, EXACT, MCP, Stage, stage_of

if TYPE_CHECKING:
    from pathlib import Path

    from trioauth import ResourceClient, Session

CALLBACK = "https://app.test/callback"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return stage_of(tmp_path)


def web(stage: Stage, **options: Any) -> ResourceClient:
    return stage.client(**{"redirect_uri": CALLBACK, **options})


async def begun_by(stage: Stage, client: ResourceClient, **options: Any) -> Begun:
    async with stage.open(client) as session:
        return await client.begin(session.back_channel, **options)


async def finished(stage: Stage, session: Session, client: ResourceClient, begun: Begun) -> None:
    await session.log_in(client.finish(begun, await brought_back(stage.auth, begun)))


async def test_a_web_application_logs_in_and_refreshes_after_a_restart(stage: Stage) -> None:
    text = (await begun_by(stage, web(stage))).to_text()
    # Another request, in another process.
    client = web(stage)
    async with stage.open(client) as session:
        await finished(stage, session, client, Begun.from_text(text))
        assert (await session.get("/mcp")).status_code == 200
    stage.auth.expire()
    async with stage.open(web(stage)) as session:
        assert (await session.get("/mcp")).status_code == 200
    assert stage.auth.ledger.refreshes == 1
    assert stage.kept["login"]["resource"] == [API]
    stage.auth.check()


async def test_it_registers_itself_once_and_with_the_address_of_the_application(
    stage: Stage,
) -> None:
    for _ in range(2):
        client = web(stage)
        begun = await begun_by(stage, client)
        async with stage.open(client) as session:
            await finished(stage, session, client, begun)
    assert stage.client_id == "registered-1"
    assert stage.kept["client"]["awaited"] is False
    registered = stage.auth._exchange.site.clients.find(stage.client_id)
    assert registered is not None
    assert list(registered.redirect_uris) == [CALLBACK]


async def test_an_address_that_is_said_when_it_begins_is_the_one_that_is_registered(
    stage: Stage,
) -> None:
    client = stage.client(ports=[20001])
    begun = await begun_by(stage, client, redirect_uri=CALLBACK)
    assert begun.redirect_uri == CALLBACK
    async with stage.open(client) as session:
        await finished(stage, session, client, begun)
    assert stage.kept["login"]["redirect_uri"] == CALLBACK
    stage.auth.check()


async def test_two_that_are_begun_can_both_be_finished(stage: Stage) -> None:
    # A server that has forgotten a client shows that to the person alone: the second registers.
    client = web(stage)
    begun = [await begun_by(stage, client) for _ in range(2)]
    async with stage.open(client) as session:
        for each in begun:
            await finished(stage, session, client, each)
            await session.refresh()
    assert stage.kept["client"]["client"]["client_id"] == "registered-2"
    stage.auth.check()


async def test_a_client_that_was_forgotten_is_registered_again_before_the_person_sees_it(
    stage: Stage,
) -> None:
    client = web(stage)
    begun = await begun_by(stage, client)
    async with stage.open(client) as session:
        await finished(stage, session, client, begun)
        stage.auth.forget_clients()
        await finished(stage, session, client, await client.begin(session.back_channel))
        assert (await session.get("/mcp")).status_code == 200
    assert stage.client_id == "registered-2"


async def test_a_server_that_gives_a_secret_gets_it_in_both_halves(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    stage.auth.lie(metadata={"token_endpoint_auth_methods_supported": ["client_secret_basic"]})
    client = web(stage)
    begun = await begun_by(stage, client)
    assert "cs-canary" in begun.to_text()
    assert "cs-canary" not in repr(begun)
    async with stage.open(client) as session:
        await finished(stage, session, client, begun)
        await session.refresh()
    stage.auth.check()


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("error=access_denied&state={}&iss=https://server.test", LoginDeclinedError),
        ("error=server_error&state={}&iss=https://server.test", LoginError),
        ("code=c&state=wrong", LoginError),
    ],
)
async def test_p25_another_callback_is_an_error_and_no_login(
    stage: Stage, query: str, error: type[LoginError]
) -> None:
    client = web(stage)
    begun = await begun_by(stage, client)
    finish = client.finish(begun, f"{CALLBACK}?{query.format(begun.state)}")
    async with stage.open(client) as session:
        with pytest.raises(error) as caught:
            await session.log_in(finish)
        assert not session.logged_in
    assert type(caught.value) is error
    assert stage.auth.ledger.calls["token"] == 0
    assert stage.kept["login"] is None
    # Who declines has seen the client, so the server knows it.
    assert stage.kept["client"]["awaited"] is (error is LoginError)


async def test_what_another_client_has_begun_is_refused(stage: Stage) -> None:
    client = web(stage)
    begun = await begun_by(stage, client)
    for other in (
        stage.client(f"{API}/other"),
        OAuthClient("registered-1", issuer=stage.auth.issuer),
    ):
        with pytest.raises(ValueError, match="this log-in was begun by"):
            other.finish(begun, CALLBACK)
    with pytest.raises(ValueError, match="this log-in was begun by"):
        client.finish(attrs.evolve(begun, binding=""), CALLBACK)
    with pytest.raises(ValueError, match="this log-in was begun by"):
        client.finish(attrs.evolve(begun, binding=Kept().to_text()), CALLBACK)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "redirect_uri must be an address of your web application"),
        ({"redirect_uri": "http://localhost/callback"}, "has no port"),
        ({"redirect_uri": "/callback"}, "must be an absolute URI"),
        ({"redirect_uri": CALLBACK, "parameters": {"state": "s"}}, "must not have 'state'"),
    ],
)
async def test_what_can_not_be_asked_for_is_said_before_anything_is_sent(
    stage: Stage, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        await begun_by(stage, stage.client(), **options)
    assert sum(stage.auth.ledger.calls.values()) == 0
    assert not (stage.folder / "client.json").exists()


async def test_p23_a_file_that_can_not_be_read_is_known_before_the_person_is_sent_away(
    stage: Stage,
) -> None:
    (stage.folder / "client.json").write_text("[]", "utf-8")
    with pytest.raises(StoreError, match="left as it is"):
        await begun_by(stage, web(stage))


async def test_the_published_address_of_a_web_application_is_its_document(stage: Stage) -> None:
    place = "https://app.test/client.json"
    client = web(stage, metadata_url=place)
    document = client.document()
    assert document["redirect_uris"] == [CALLBACK]
    assert document["application_type"] == "web"
    stage.auth.publish_client(document)
    begun = await begun_by(stage, client)
    async with stage.open(client) as session:
        await finished(stage, session, client, begun)
    assert json.loads(begun.binding)["login"]["client"]["client_id"] == place
    stage.auth.check()


async def test_a_client_that_was_made_by_hand_needs_no_file(tmp_path: Path) -> None:
    auth = AuthServer(
        persona=attrs.evolve(MCP, redirects=EXACT.redirects),
        client_id="by-hand",
        redirect_uris=[CALLBACK],
        scope="notes",
    )
    auth.approve()
    stage = Stage(tmp_path, auth)
    options: dict[str, Any] = {"client_id": "by-hand", "issuer": auth.issuer, "keep": None}
    begun = await begun_by(stage, web(stage, **options), parameters={"login_hint": "ann"})
    client = web(stage, **options)
    async with stage.open(client) as session:
        await finished(stage, session, client, begun)
    async with stage.open(web(stage, **options)) as session:
        await session.refresh()
    assert not (tmp_path / "client.json").exists()


async def test_a_server_that_refuses_the_new_client_too_is_not_asked_again(stage: Stage) -> None:
    client = web(stage)
    begun = await begun_by(stage, client)
    async with stage.open(client) as session:
        await finished(stage, session, client, begun)
    stage.auth.fail(401, error="invalid_client", times=None, at="par")
    with pytest.raises(GrantMisconfiguredError, match="invalid_client"):
        await begun_by(stage, client)
    assert stage.kept["client"]["client"]["client_id"] == "registered-2"
    assert stage.client_id == "registered-1"

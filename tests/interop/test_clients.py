"""Programs, services and devices at a certified server: proofs, metadata, keys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
import pytest
import trio
from joserfc.jwk import ECKey, OKPKey, RSAKey

import trioauth
from trioauth import OAuthClient, Tokens

from .chromium import run_chromium
from .people import (
    DEVICE,
    RENEWABLE,
    SCOPE,
    Asked,
    agree,
    both_see,
    decline,
    desktop,
    go_through,
    invited,
    log_in,
    open_session,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trioauth.oauth.logins.prompt import Invitation

    from .provider import Provider

# One server for all of them.
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.xdist_group("node")]

ODD = "another:odd id"
# Every character that some client library forgets to encode, and long enough for HS256.
SECRET = "p%a s+s:w/&=? and so on, for thirty-two bytes"  # noqa: S105  # of a test


# The metadata of a client, and how it proves who it is.
Way: TypeAlias = tuple[dict[str, object], Any]


def by_secret(
    method: str, make: type[trioauth.ClientSecretBasic | trioauth.ClientSecretPost]
) -> Way:
    metadata: dict[str, object] = {"token_endpoint_auth_method": method, "client_secret": SECRET}
    return metadata, make(SECRET)


def by_key(key: RSAKey | ECKey | OKPKey, algorithm: str) -> Way:
    public = {**key.as_dict(private=False), "kid": "the one", "alg": algorithm, "use": "sig"}
    metadata: dict[str, object] = {
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": algorithm,
        "jwks": {"keys": [public]},
    }
    return metadata, trioauth.PrivateKeyJWT(key, algorithm=algorithm, kid="the one")


def by_signer() -> Way:
    """Let something else sign: here the function that would have been used anyway."""
    metadata, auth = by_key(ECKey.generate_key("P-256"), "ES256")

    async def sign(data: bytes) -> bytes:
        signature: bytes = await auth._sign(data)
        return signature

    return metadata, trioauth.PrivateKeyJWT(sign=sign, algorithm="ES256", kid="the one")


WAYS: dict[str, Callable[[], Way]] = {
    "basic": lambda: by_secret("client_secret_basic", trioauth.ClientSecretBasic),
    "post": lambda: by_secret("client_secret_post", trioauth.ClientSecretPost),
    "secret, HS256": lambda: (
        {
            "token_endpoint_auth_method": "client_secret_jwt",
            "token_endpoint_auth_signing_alg": "HS256",
            "client_secret": SECRET,
        },
        trioauth.ClientSecretJWT(SECRET),
    ),
    "RS256": lambda: by_key(RSAKey.generate_key(2048), "RS256"),
    "PS256": lambda: by_key(RSAKey.generate_key(2048), "PS256"),
    "ES256": lambda: by_key(ECKey.generate_key("P-256"), "ES256"),
    "EdDSA": lambda: by_key(OKPKey.generate_key("Ed25519"), "EdDSA"),
    "own signer": by_signer,
}


@pytest.mark.parametrize("way", WAYS)
async def test_client_proves_who_it_is_to_refresh_and_to_revoke(
    way: str, provider: Provider
) -> None:
    metadata, auth = WAYS[way]()
    await provider.configure(access_token_ttl=600)
    await provider.register(ODD, **metadata)
    client = OAuthClient(ODD, issuer=provider.issuer, auth=auth)
    tokens = Tokens.from_response(await provider.log_in(ODD))
    async with open_session(client, provider, tokens=tokens) as session:
        # Twice, since the server takes each assertion only once.
        for generation in (2, 3):
            await provider.expire()
            await both_see(session, provider, generation)
        await session.log_out(revoke=True)
    ledger = await provider.ledger()
    assert ledger["token_requests"] == {"refresh_token": {"success": 2, "error": 0}}
    assert ledger["revocation_requests"] >= 1
    assert ledger["events"]["grant.revoked"] == 1
    assert "revocation.error" not in ledger["events"]
    assert ledger["routes"]["discovery"] == 1


@pytest.mark.parametrize("form", ["openid", "oauth"])
@pytest.mark.parametrize("where", ["issuer", "tenant"])
@pytest.mark.parametrize("way", ["basic", "ES256"])
async def test_service_finds_its_server_and_gets_tokens(
    way: str, where: str, form: str, provider: Provider
) -> None:
    metadata, auth = WAYS[way]()
    await provider.configure(access_token_ttl=600, metadata=form)
    await provider.register(
        "a service",
        grant_types=["client_credentials"],
        response_types=[],
        redirect_uris=[],
        **metadata,
    )
    client = OAuthClient("a service", issuer=getattr(provider, where), auth=auth)
    async with open_session(client.credentials(), provider) as session:
        await both_see(session, provider, 1)
        await provider.expire()
        await both_see(session, provider, 2)
    ledger = await provider.ledger()
    assert ledger["token_requests"] == {"client_credentials": {"success": 2, "error": 0}}
    assert ledger["routes"]["discovery"] == 1


async def test_client_with_another_key_is_told_that_its_settings_are_wrong(
    provider: Provider,
) -> None:
    metadata, _ = WAYS["ES256"]()
    _, auth = WAYS["ES256"]()
    await provider.configure(access_token_ttl=600)
    await provider.register(ODD, **metadata)
    client = OAuthClient(ODD, issuer=provider.issuer, auth=auth)
    tokens = Tokens.from_response(await provider.log_in(ODD))
    async with open_session(client, provider, tokens=tokens) as session:
        await provider.expire()
        with pytest.raises(trioauth.GrantMisconfiguredError, match="invalid_client"):
            await session.get("me")
        # The login is kept: it isn't the tokens that were refused.
        assert isinstance(session.state, trioauth.LoggedIn)
    assert (await provider.ledger())["reuse"] == 0


async def test_program_with_a_key_pushes_its_request(provider: Provider, tmp_path: Path) -> None:
    metadata, auth = WAYS["ES256"]()
    await provider.configure(access_token_ttl=600)
    await provider.register(
        "with a key",
        application_type="native",
        redirect_uris=["http://127.0.0.1/callback"],
        **metadata,
    )
    client = OAuthClient(
        "with a key", issuer=provider.tenant, auth=auth, scope=SCOPE, parameters=RENEWABLE
    )
    asked = Asked.new()
    async with run_chromium(tmp_path) as page, open_session(client, provider) as session:
        await log_in(session, asked, client.browser(prompt=asked), partial(go_through, page))
        await both_see(session, provider, 1)
        await provider.expire()
        await both_see(session, provider, 2)
    ledger = await provider.ledger()
    # Three proofs, each once: the server would have refused a second time.
    assert ledger["routes"]["pushed_authorization_request"] == 1
    assert ledger["routes"]["token"] == 2
    assert ledger["errors"] == {}


@pytest.mark.parametrize("typed", [False, True], ids=["opened", "typed"])
async def test_device_logs_in_when_a_person_has_agreed(
    typed: bool, provider: Provider, tmp_path: Path
) -> None:
    client = await desktop(provider)
    asked = Asked.new()
    async with run_chromium(tmp_path) as page, open_session(client, provider) as session:

        async def person(invitation: Invitation) -> None:
            assert invitation.user_code is not None
            assert invitation.complete_url is not None
            if typed:
                await page.open(invitation.url)
                await page.type("input[name=user_code]", invitation.user_code)
                await page.click("button[form='op.deviceInputForm']")
            else:
                await page.open(invitation.complete_url)
            await page.read("Confirm Device", invitation.user_code)
            await page.click("button[form='op.deviceConfirmForm'][autofocus]")
            await agree(page)
            await page.read("Sign-in Success")

        await log_in(session, asked, client.device(prompt=asked), person)
        await both_see(session, provider, 1)
        await provider.expire()
        await both_see(session, provider, 2)
        await session.log_out(revoke=True)
    ledger = await provider.ledger()
    assert ledger["token_requests"][DEVICE]["success"] == 1
    assert set(ledger["errors"]) <= {"authorization_pending"}
    assert ledger["events"]["grant.revoked"] == 1


async def test_device_is_told_that_a_person_declined(provider: Provider, tmp_path: Path) -> None:
    client = await desktop(provider)
    asked = Asked.new()
    async with run_chromium(tmp_path) as page, open_session(client, provider) as session:

        async def person(invitation: Invitation) -> None:
            await page.open(str(invitation.complete_url))
            await page.click("button[form='op.deviceConfirmForm'][autofocus]")
            await decline(page)
            await page.read("The Sign-in request was interrupted")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(invited, asked, person)
            with pytest.raises(trioauth.LoginDeclinedError):
                await session.log_in(client.device(prompt=asked))
        assert isinstance(session.state, trioauth.LoggedOut)
    assert (await provider.ledger())["token_requests"][DEVICE]["success"] == 0


async def test_people_log_in_before_and_after_the_server_has_a_new_key(
    provider: Provider, tmp_path: Path
) -> None:
    client = await desktop(provider)
    asked = Asked.new()
    async with run_chromium(tmp_path) as page, open_session(client, provider) as session:
        await log_in(session, asked, client.browser(prompt=asked), partial(go_through, page))
        before = await key_ids(provider)
        await provider.rotate_keys()
        after = await key_ids(provider)
        assert after[1:] == before
        # What a refresh brings is signed with the new key; what was issued before is still good.
        await both_see(session, provider, 1)
        await provider.expire()
        await both_see(session, provider, 2)

        await log_in(session, asked, client.browser(prompt=asked), partial(go_through, page))
        await both_see(session, provider, 1)
    assert (await provider.ledger())["errors"] == {}


async def key_ids(provider: Provider) -> list[str]:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        keys = (await http.get(f"{provider.issuer}/jwks")).json()["keys"]
    return [key["kid"] for key in keys]

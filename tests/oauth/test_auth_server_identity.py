"""AuthServer says who has logged in: ID tokens, keys, userinfo, and every lie about them."""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trioauth.testing import AuthServer, Persona

from .program import Program, claims_of, open_program

if TYPE_CHECKING:
    from trio.testing import MockClock

pytest.importorskip("joserfc")


def header_of(token: str) -> dict[str, Any]:
    part = token.split(".", maxsplit=1)[0]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return header


async def keys_of(program: Program) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = (await program.get(program.server.endpoint("jwks"))).json()["keys"]
    return keys


async def is_signed(program: Program, token: str) -> bool:
    """Verify with joserfc, by the key that the header names."""
    from joserfc import jws
    from joserfc.errors import BadSignatureError
    from joserfc.jwk import import_key

    header = header_of(token)
    [key] = [each for each in await keys_of(program) if each["kid"] == header["kid"]]
    try:
        jws.deserialize_compact(token, import_key(key), algorithms=[header["alg"]])
    except BadSignatureError:
        return False
    return True


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "Ed25519"])
async def test_an_id_token_says_who_it_is_and_is_signed(alg: str) -> None:
    server = AuthServer(persona=Persona(signing_alg=alg), client_id="notes")
    server.approve("ann", email="ann@example.com")
    program = open_program(server)
    token = (await program.log_in(acr_values="gold silver"))["id_token"]
    claims = claims_of(token)
    assert await is_signed(program, token)
    assert abs(claims.pop("iat") - time.time()) < 60
    assert abs(claims.pop("exp") - time.time() - 300) < 60
    assert claims == {
        "iss": server.issuer,
        "sub": "ann",
        "aud": "notes",
        "email": "ann@example.com",
        "nonce": program.nonce,
        "acr": "gold",
    }
    assert header_of(token)["alg"] == alg
    server.check()


async def test_auth_time_is_when_the_person_was_there_and_only_if_it_is_asked_for(
    autojump_clock: MockClock,
) -> None:
    server = AuthServer()
    server.approve()
    program = open_program(server)
    tokens = await program.log_in(max_age="100")
    await trio.sleep(50)
    form = {
        "grant_type": "refresh_token",
        "client_id": "client",
        "refresh_token": tokens["refresh_token"],
    }
    refreshed = (await program.token(form)).json()
    first, second = claims_of(tokens["id_token"]), claims_of(refreshed["id_token"])
    assert abs(first["iat"] - first["auth_time"]) <= 1
    # OpenID Connect Core 12.2, though on the virtual clock fifty seconds have passed.
    assert second["auth_time"] == first["auth_time"]
    assert second["nonce"] == program.nonce


@pytest.mark.parametrize(
    ("lie", "claim", "expected"),
    [
        ({"iss": lambda iss: iss + "1"}, "iss", "https://server.test1"),
        ({"aud": ["client", "another"]}, "aud", ["client", "another"]),
        ({"exp": lambda exp: exp - 1000}, "exp", None),
        ({"nonce": None}, "nonce", "gone"),
        ({"sub": None}, "sub", "gone"),
        ({"azp": "another"}, "azp", "another"),
    ],
)
async def test_an_id_token_lies_as_ordered_and_is_signed_all_the_same(
    lie: dict[str, Any], claim: str, expected: object
) -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    server.approve()
    server.lie(id_token=lie)
    program = open_program(server)
    token = (await program.log_in())["id_token"]
    claims = claims_of(token)
    assert await is_signed(program, token)
    if expected is None:
        assert claims["exp"] < time.time()
    else:
        assert claims.get(claim, "gone") == expected
    server.recover()
    assert claims_of((await program.log_in())["id_token"])["aud"] == "client"


async def test_the_signature_and_the_header_lie_as_ordered() -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"), client_secret="s" * 32)
    server.approve()
    program = open_program(server)

    async def token() -> str:
        callback = await program.callback()
        form = program.code_form(callback["code"], client_secret="s" * 32)
        text: str = (await program.token(form)).json()["id_token"]
        return text

    server.lie(signature=lambda signature: bytes(byte ^ 255 for byte in signature))
    assert not await is_signed(program, await token())
    server.recover()
    server.lie(id_token_header={"alg": "none", "kid": None})
    unsigned = await token()
    assert unsigned.endswith(".")
    assert header_of(unsigned) == {"alg": "none", "typ": "JWT"}
    server.recover()
    # By a key that is public, though its algorithm is not the one of the metadata.
    server.lie(id_token_header={"alg": "RS256", "kid": "RS256-0"})
    assert await is_signed(program, await token())
    assert {key["alg"] for key in await keys_of(program)} == {"ES256", "RS256"}
    server.recover()
    server.lie(id_token_header={"alg": "HS256", "kid": None})
    assert header_of(await token())["alg"] == "HS256"
    assert len(await keys_of(program)) == 2


async def test_new_keys_have_new_ids_and_the_old_ones_are_gone() -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    server.approve()
    program = open_program(server)
    old = await keys_of(program)
    server.rotate_keys()
    [new] = await keys_of(program)
    assert new["kid"] != old[0]["kid"]
    assert new["x"] != old[0]["x"]
    assert "d" not in new
    assert await is_signed(program, (await program.log_in())["id_token"])


async def test_unusable_keys_are_added_by_a_lie() -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    odd = {"kty": "unheard-of", "kid": "1"}
    server.lie(jwks={"keys": lambda keys: [odd, *keys]})
    assert (await keys_of(open_program(server)))[0] == odd


async def test_userinfo_is_for_tokens_of_a_login_with_openid() -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    server.approve("ann", email="ann@example.com")
    program = open_program(server)
    url = server.endpoint("userinfo")
    token = (await program.log_in())["access_token"]
    answer = await program.get(url, token)
    assert answer.json() == {"sub": "ann", "email": "ann@example.com"}
    server.lie(userinfo={"sub": lambda sub: sub + "invalid"})
    assert (await program.get(url, token)).json()["sub"] == "anninvalid"
    assert (await program.get(url)).status_code == 401
    assert (await program.get(url, "never issued")).status_code == 401
    plain = (await program.log_in(scope="notes"))["access_token"]
    assert (await program.get(url, plain)).status_code == 403
    assert (await program.get(url, server.log_in().access_token)).status_code == 403
    server.check()
    await program.http.post(url, content=f"access_token={token}")
    await program.get(f"{url}?access_token={token}", token)
    await program.get(f"/notes?access_token={token}&code=7", token)
    server.expire()
    assert (await program.get(url, token)).status_code == 401
    assert server.complaints == [
        "userinfo: the access token must be in the Authorization header",
        "userinfo: access_token is in the URL; it must be in the body or a header",
        "the API: access_token is in the URL; it must be in the body or a header",
    ]


async def test_a_program_that_sent_no_nonce_gets_none() -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    server.approve()
    token = (await open_program(server).log_in(nonce=None))["id_token"]
    assert "nonce" not in claims_of(token)
    server.check()


async def test_without_joserfc_an_id_token_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from trioauth.testing import _keys

    _keys._private.cache_clear()
    monkeypatch.setitem(sys.modules, "joserfc", None)
    server = AuthServer(persona=Persona(signing_alg="ES256"))
    with pytest.raises(ImportError, match=r"trioauth\[jose\]"):
        await open_program(server).get(server.endpoint("jwks"))

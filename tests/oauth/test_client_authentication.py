"""How a client proves who it is: what goes over the wire, and what does not (RFC 6749 2.3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import pickle
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import pytest
import trio
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from tests.canary import SECRET as SECRET_OF_TESTS
from tests.test_tokens import CANARY, shown
from trioauth import (
    AuthorizationServer,
    ClientSecretBasic,
    ClientSecretJWT,
    ClientSecretPost,
    GrantMisconfiguredError,
    OAuthClient,
    PrivateKeyJWT,
    RefreshUnavailableError,
    TokenRequest,
    Tokens,
)

from .world import GOOD, ISSUER, TOKEN_URL, World, decoded, form_of, frames

if TYPE_CHECKING:
    import httpx

SECRET = "cs-canary: 50% + é".replace("é", "e")
OLD = Tokens("at-canary-1", "rt-canary-1")
SERVER = AuthorizationServer(issuer=ISSUER, token_endpoint=TOKEN_URL)
PLAIN = {"grant_type", "refresh_token"}
PROOFS = {"client_secret", "client_assertion", "client_assertion_type"}

EC = ECKey.generate_key("P-256", {"kid": "k1"})
KEYS: list[tuple[Any, str]] = [
    (RSAKey.generate_key(2048), "RS256"),
    (RSAKey.generate_key(2048, {"alg": "PS256"}), "PS256"),
    (EC, "ES256"),
    (ECKey.generate_key("P-384"), "ES384"),
    (ECKey.generate_key("P-521"), "ES512"),
    (OKPKey.generate_key("Ed25519"), "EdDSA"),
]


async def sent(auth: Any, server: AuthorizationServer = SERVER, times: int = 1) -> httpx.Request:
    """What a client with this authentication sends when it refreshes, the last time."""
    world = World({TOKEN_URL: GOOD})
    client = OAuthClient("notes app", server=server, auth=auth)
    channel = world.open()
    for _ in range(times):
        await client(OLD, channel)
    return world.requests[-1]


# --- exactly one proof --------------------------------------------------------------------------


async def test_a_public_client_says_its_id_and_proves_nothing() -> None:
    request = await sent(None)
    assert form_of(request)["client_id"] == ["notes app"]
    assert form_of(request).keys() == PLAIN | {"client_id"}
    assert "Authorization" not in request.headers


async def test_basic_is_form_encoded_before_it_is_base64() -> None:
    request = await sent(ClientSecretBasic(SECRET))
    scheme, _, value = request.headers["Authorization"].partition(" ")
    pair = base64.b64decode(value).decode()
    # RFC 6749 2.3.1: exactly one colon, and each half form-encoded.
    assert scheme == "Basic"
    assert pair == "notes+app:cs-canary%3A+50%25+%2B+e"
    assert [unquote_plus(half) for half in pair.split(":")] == ["notes app", SECRET]
    assert form_of(request).keys() == PLAIN


async def test_post_has_the_secret_among_the_parameters_and_no_header() -> None:
    request = await sent(ClientSecretPost(SECRET))
    assert form_of(request)["client_secret"] == [SECRET]
    assert form_of(request)["client_id"] == ["notes app"]
    assert form_of(request).keys() == PLAIN | {"client_id", "client_secret"}
    assert "Authorization" not in request.headers


ASSERTED = PLAIN | {"client_id", "client_assertion", "client_assertion_type"}


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_client_secret_jwt_is_signed_with_the_secret_which_stays_here(algorithm: Any) -> None:
    secret = "cs-canary" * 8
    request = await sent(ClientSecretJWT(secret, algorithm))
    form = form_of(request)
    assert form.keys() == ASSERTED
    assert secret.encode() not in request.content
    [assertion] = form["client_assertion"]
    content, _, signature = assertion.rpartition(".")
    digest = hmac.new(secret.encode(), content.encode(), getattr(hashlib, f"sha{algorithm[2:]}"))
    assert base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode() == signature
    verified = jwt.decode(assertion, OctKey.import_key(secret), algorithms=[algorithm])
    assert verified.claims["iss"] == "notes app"


@pytest.mark.parametrize(("key", "algorithm"), KEYS, ids=[name for _, name in KEYS])
async def test_private_key_jwt_is_what_its_public_key_verifies(key: Any, algorithm: str) -> None:
    began = int(time.time())
    form = form_of(await sent(PrivateKeyJWT(key, kid="2026-11")))
    assert form.keys() == ASSERTED
    assert form["client_assertion_type"] == [
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    ]
    [assertion] = form["client_assertion"]
    public = type(key).import_key(key.as_dict(private=False))
    accepted = "Ed25519" if algorithm == "EdDSA" else algorithm
    if algorithm == "EdDSA":
        # The same signature under its old name, of which joserfc warns.
        with pytest.warns(match="EdDSA is deprecated"):
            token = jwt.decode(assertion, public, algorithms=["EdDSA"])
    else:
        token = jwt.decode(assertion, public, algorithms=[accepted])
    assert token.header == {"alg": algorithm, "kid": "2026-11", "typ": "JWT"}
    claims = token.claims
    assert claims.keys() == {"iss", "sub", "aud", "jti", "iat", "exp"}
    assert claims["iss"] == claims["sub"] == "notes app"
    # One plain string, the issuer.
    assert claims["aud"] == ISSUER
    assert began <= claims["iat"] <= int(time.time())
    assert claims["exp"] == claims["iat"] + 60


async def test_p27_each_attempt_has_an_assertion_of_its_own() -> None:
    for auth in (ClientSecretJWT(SECRET * 3), PrivateKeyJWT(EC)):
        world = World({TOKEN_URL: GOOD})
        client = OAuthClient("notes", server=SERVER, auth=auth)
        channel = world.open()
        for _ in range(3):
            await client(OLD, channel)
        assertions = [form["client_assertion"][0] for form in world.forms]
        identifiers = {decoded(each.split(".")[1])["jti"] for each in assertions}
        assert len(identifiers) == 3
        assert all(len(each) >= 22 for each in identifiers)


async def test_without_an_issuer_an_assertion_is_for_the_token_endpoint() -> None:
    server = AuthorizationServer(token_endpoint=TOKEN_URL)
    [assertion] = form_of(await sent(PrivateKeyJWT(EC), server))["client_assertion"]
    assert decoded(assertion.split(".")[1])["aud"] == TOKEN_URL


# --- private keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "algorithm"), KEYS, ids=[name for _, name in KEYS])
def test_a_key_may_be_pem_a_jwk_or_one_of_joserfc(key: Any, algorithm: str) -> None:
    pem = key.as_pem(private=True)
    # The PEM of a key knows no "alg".
    by_kind = "RS256" if algorithm == "PS256" else algorithm
    assert PrivateKeyJWT(key).algorithm == algorithm
    assert PrivateKeyJWT(key.as_dict(private=True)).algorithm == algorithm
    assert PrivateKeyJWT(pem).algorithm == PrivateKeyJWT(pem.decode()).algorithm == by_kind


def test_what_is_said_goes_before_what_the_key_says() -> None:
    key = RSAKey.generate_key(2048, {"kid": "old"})
    auth = PrivateKeyJWT(key, algorithm="RS512", kid="new")
    assert (auth.algorithm, auth.kid) == ("RS512", "new")
    assert PrivateKeyJWT(key).kid == "old"
    assert PrivateKeyJWT(key.as_pem(private=True)).kid is None
    assert repr(auth) == "PrivateKeyJWT(algorithm='RS512', kid='new')"


@pytest.mark.parametrize(
    "key",
    [
        "",
        b"key-canary",
        "-----BEGIN PRIVATE KEY-----\nkey-canary\n-----END PRIVATE KEY-----",
        {"kty": "EC", "d": "key-canary"},
        {"key-canary": 1},
        7,
        EC.as_dict(private=False),
        EC.as_pem(private=False),
        OctKey.generate_key(256),
    ],
    ids=range(9),
)
def test_what_is_no_private_key_is_refused_and_not_quoted(key: Any) -> None:
    with pytest.raises(ValueError, match="^key must be a private key") as caught:
        PrivateKeyJWT(key)
    assert "key-canary" not in shown(caught.value)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384", "RS256", "XX"])
def test_a_key_that_does_not_fit_the_algorithm_is_refused(algorithm: str) -> None:
    with pytest.raises(ValueError, match=f"can't sign with the algorithm '{algorithm}'"):
        PrivateKeyJWT(EC, algorithm=algorithm)


def test_there_is_a_key_or_something_that_signs() -> None:
    async def sign(data: bytes) -> bytes:
        raise AssertionError

    with pytest.raises(TypeError, match="one of the two only"):
        PrivateKeyJWT()
    with pytest.raises(TypeError, match="one of the two only"):
        PrivateKeyJWT(EC, sign=sign, algorithm="ES256")
    for algorithm in (None, "none"):
        with pytest.raises(TypeError, match="needs algorithm="):
            PrivateKeyJWT(sign=sign, algorithm=algorithm)


async def test_something_else_may_sign_and_is_asked_each_time() -> None:
    from joserfc.jws import JWSRegistry

    asked: list[bytes] = []

    async def sign(data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        asked.append(data)
        return JWSRegistry.algorithms["ES256"].sign(data, EC)

    auth = PrivateKeyJWT(sign=sign, algorithm="ES256", kid="hsm")
    [assertion] = form_of(await sent(auth, times=2))["client_assertion"]
    token = jwt.decode(assertion, EC, algorithms=["ES256"])
    assert token.header["kid"] == "hsm"
    assert len(set(asked)) == 2


async def test_a_signature_that_fails_sends_nothing_and_loses_nothing() -> None:
    async def broken(data: bytes) -> bytes:
        raise ConnectionError(CANARY)

    async def text(data: bytes) -> Any:
        return "signature"

    for sign, said in [(broken, "ConnectionError"), (text, "TypeError")]:
        world = World({TOKEN_URL: GOOD})
        auth = PrivateKeyJWT(sign=sign, algorithm="ES256")
        client = OAuthClient("notes", server=SERVER, auth=auth)
        with pytest.raises(RefreshUnavailableError, match=said) as caught:
            await client(OLD, world.open())
        assert caught.value.safe_to_repeat
        assert "nothing was sent" in str(caught.value)
        assert CANARY not in str(caught.value)
        assert not SECRET_OF_TESTS.search("".join(frames(caught.value)))
        assert world.requests == []


def test_without_joserfc_it_says_what_to_install_and_a_signer_of_ones_own_works() -> None:
    program = """
import sys
sys.modules["joserfc"] = None
import trioauth
async def sign(data): ...
trioauth.PrivateKeyJWT(sign=sign, algorithm="ES256")
trioauth.ClientSecretJWT("secret")
try:
    trioauth.PrivateKeyJWT("key")
except ModuleNotFoundError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "trioauth[jose]" in done.stdout


# --- one of the program's own ---------------------------------------------------------------------


async def test_an_async_function_of_the_program_may_add_the_proof() -> None:
    asked: list[tuple[str, str, str]] = []

    async def auth(request: TokenRequest, client_id: str, audience: str) -> TokenRequest:
        asked.append((request.url, client_id, audience))
        return TokenRequest(request.url, request.data, headers={"X-Proof": "cs-canary"})

    request = await sent(auth)
    assert request.headers["X-Proof"] == "cs-canary"
    assert asked == [(TOKEN_URL, "notes app", ISSUER)]


async def test_a_proof_of_the_program_that_is_no_request_is_named() -> None:
    async def nothing(request: TokenRequest, client_id: str, audience: str) -> Any:
        return None

    with pytest.raises(GrantMisconfiguredError, match="must return a TokenRequest, not a NoneType"):
        await sent(nothing)


async def test_a_proof_of_the_program_that_is_not_async_is_unavailable_and_sends_nothing() -> None:
    def synchronous(request: TokenRequest, client_id: str, audience: str) -> Any:
        return request

    with pytest.raises(RefreshUnavailableError, match="is it async") as caught:
        await sent(synchronous)
    assert caught.value.safe_to_repeat


async def test_what_the_program_knows_of_its_server_is_raised_as_it_is() -> None:
    async def unknown(request: TokenRequest, client_id: str, audience: str) -> Any:
        raise GrantMisconfiguredError("no_key", "the key was withdrawn")

    async def later(request: TokenRequest, client_id: str, audience: str) -> Any:
        raise RefreshUnavailableError("the key service is busy", retry_after=9)

    with pytest.raises(GrantMisconfiguredError, match="withdrawn"):
        await sent(unknown)
    with pytest.raises(RefreshUnavailableError, match="key service is busy") as caught:
        await sent(later)
    # The session counts a refresh token as spent, unless it is told better.
    assert (caught.value.safe_to_repeat, caught.value.retry_after) == (True, 9)


# --- values, and what they hide -------------------------------------------------------------------

HIDING = [ClientSecretBasic(SECRET), ClientSecretPost(SECRET), ClientSecretJWT(SECRET)]


@pytest.mark.parametrize("auth", [*HIDING, PrivateKeyJWT(EC)], ids=lambda auth: type(auth).__name__)
def test_p17_a_proof_shows_no_secret_and_can_not_be_pickled(auth: Any) -> None:
    assert "canary" not in repr(auth)
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(auth)


def test_proofs_with_the_same_secret_are_equal() -> None:
    assert ClientSecretBasic("a") == ClientSecretBasic("a") != ClientSecretBasic("b")
    others: list[object] = [ClientSecretPost("a"), ClientSecretJWT("a")]
    assert ClientSecretBasic("a") not in others


@pytest.mark.parametrize("kind", [ClientSecretBasic, ClientSecretPost, ClientSecretJWT])
@pytest.mark.parametrize(
    ("secret", "error"), [("", ValueError), ("cs-canary\n", ValueError), (None, TypeError)]
)
def test_a_secret_is_a_printable_text(kind: Any, secret: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="^client_secret") as caught:
        kind(secret)
    assert "canary" not in shown(caught.value)


def test_an_algorithm_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="algorithm"):
        ClientSecretJWT(SECRET, "HS1")  # type: ignore[arg-type]


@pytest.mark.parametrize("auth", [*HIDING, PrivateKeyJWT(EC)], ids=lambda auth: type(auth).__name__)
async def test_nothing_is_sent_if_a_proof_is_cancelled(auth: Any) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await auth(TokenRequest(TOKEN_URL, {}), "notes", ISSUER)
    assert scope.cancelled_caught

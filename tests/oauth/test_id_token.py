"""ID tokens: what they must say (pure). What a server may say wrong is in `test_conformance`."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from trioauth import Identity, IdentityError
from trioauth.oauth.id_token import ALGORITHMS, Expected, IDToken, judge, parse

ISSUER = "https://id.example.com"
NOW = 1_800_000_000.0
CLAIMS = {
    "iss": ISSUER,
    "sub": "sub-of-ann",
    "aud": "notes",
    "iat": NOW,
    "exp": NOW + 300,
    "nonce": "nonce-canary",
}
EXPECTED = Expected(issuer=ISSUER, client_id="notes", nonce="nonce-canary")


def encoded(part: object) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(header: object, claims: object = CLAIMS) -> str:
    return f"{encoded(header)}.{encoded(claims)}.c2lnbmF0dXJl"


def judged(
    changes: dict[str, Any], expected: Expected = EXPECTED, now: float = NOW
) -> Identity | IdentityError:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not ...}
    return judge(IDToken("ES256", None, claims, b"", b""), expected, now=now)


def refused(
    changes: dict[str, Any], expected: Expected = EXPECTED, now: float = NOW
) -> tuple[str | None, str]:
    """The claim that is named, and the words."""
    found = judged(changes, expected, now)
    assert isinstance(found, IdentityError)
    assert "sub-of-" not in str(found)
    assert "canary" not in str(found)
    return found.claim, str(found)


@pytest.mark.parametrize("alg", ["ES256", "Ed25519", "EdDSA"])
@pytest.mark.parametrize("advertised", [(), ("EdDSA", "ES256"), ("Ed25519", "ES256")])
def test_an_id_token_is_read_and_hides_what_it_says(alg: str, advertised: tuple[str, ...]) -> None:
    text = token({"alg": alg, "kid": "7"})
    found = parse(text, Expected(issuer=ISSUER, client_id="notes", algorithms=advertised))
    assert isinstance(found, IDToken)
    assert (found.alg, found.kid, found.claims) == (alg.replace("Ed25519", "EdDSA"), "7", CLAIMS)
    assert found.signed.decode() + ".c2lnbmF0dXJl" == text
    assert found.signature == b"signature"
    assert repr(found) == f"IDToken(alg={found.alg!r}, kid='7')"
    assert "canary" not in repr(EXPECTED)


@pytest.mark.parametrize(
    ("text", "claim", "says"),
    [
        (7, None, "three parts"),
        ("", None, "three parts"),
        ("a.b", None, "three parts"),
        ("a.b.c.d", None, "three parts"),
        ("YQ.YQ.Y Q", None, "three parts"),
        ("YQ.YQ.YQ==", None, "three parts"),
        ("YQ.YQ.YWJjY", None, "three parts"),
        ("YQ.YQ.é", None, "three parts"),
        ("YQ.YQ.YQ.YQ.YQ", None, "encrypted"),
        ("YQ.YQ.YQ", None, "a part of it can't be read: not JSON"),
        (token([]), None, "not a JSON object but a list"),
        (token({"alg": "ES256"}, b'{"iss": "a", "iss": "b"}'), None, "a member occurs twice"),
        (token({"alg": "ES256", "crit": ["b64"], "b64": False}), "crit", "crit"),
        (token({}), "alg", "its alg is none at all; let the server sign"),
        (token({"alg": "none"}), "alg", "its alg is 'none'; let the server sign"),
        (token({"alg": "NONE"}), "alg", "its alg is 'NONE'"),
        (token({"alg": "HS256"}), "alg", "its alg is 'HS256'"),
        (token({"alg": ["ES256"]}), "alg", "none at all"),
        (token({"alg": "ES384"}), "alg", "'ES384', and the server advertises ES256, HS256"),
        (token({"alg": "ES256", "kid": 7}), "kid", "not a string"),
    ],
)
def test_what_is_no_id_token_or_signed_otherwise_is_refused(
    text: object, claim: str | None, says: str
) -> None:
    expected = Expected(issuer=ISSUER, client_id="notes", algorithms=("ES256", "HS256"))
    found = parse(text, expected)
    assert isinstance(found, IdentityError)
    assert says in str(found)
    assert str(found).startswith("the ID token was refused: ")
    assert found.claim == claim


def test_no_algorithm_is_taken_that_needs_a_secret_or_nothing() -> None:
    assert all(not alg.startswith("HS") and alg.lower() != "none" for alg in ALGORITHMS)


def test_what_holds_is_an_identity_with_all_claims() -> None:
    assert judged({"name": "Ann"}) == Identity({**CLAIMS, "name": "Ann"})


@pytest.mark.parametrize(
    ("changes", "claim", "says"),
    [
        ({"iss": ISSUER + "/"}, "iss", f"its iss is '{ISSUER}/', not '{ISSUER}' (compared"),
        ({"iss": 7}, "iss", "it has no iss that can be read"),
        ({"iss": "a\nb"}, "iss", "'a b'"),
        ({"aud": []}, "aud", "it has no aud"),
        ({"aud": ["notes", 7]}, "aud", "its aud is 'notes', and this client is 'notes'"),
        ({"aud": {"notes": 1}}, "aud", "it has no aud"),
        ({"aud": ["x", "y"]}, "aud", "its aud is 'x', 'y', and this client is 'notes'"),
        ({"azp": 7}, "azp", "no azp that can be read"),
        ({"sub": ""}, "sub", "sub is missing"),
        ({"sub": 7}, "sub", "sub is missing"),
        ({"exp": "soon"}, "exp", "exp is missing, or no number"),
        ({"exp": True}, "exp", "no number"),
        ({"exp": float("nan")}, "exp", "no number"),
        ({"exp": 10**400}, "exp", "no number"),
        ({"exp": -(10**400)}, "exp", "no number"),
        ({"iat": float("inf")}, "iat", "no number"),
        ({"iat": NOW + 61}, "iat", "it will be issued in 61 seconds; is the clock right?"),
        ({"iat": NOW - 86_401, "exp": NOW + 1}, "iat", "it was issued 86401 seconds ago"),
        ({"nbf": NOW + 61}, "nbf", "not valid yet"),
        ({"nbf": "now"}, "nbf", "not valid yet"),
        ({"nonce": 7}, "nonce", "may belong to another log-in"),
        ({"nonce": "\ud800"}, "nonce", "another log-in"),
        ({"x": float("nan")}, None, "numbers that JSON does not have"),
    ],
)
def test_what_does_not_hold_is_named(changes: dict[str, Any], claim: str | None, says: str) -> None:
    found, words = refused(changes)
    assert found == claim
    assert says in words


def test_clocks_may_differ_by_a_minute() -> None:
    assert isinstance(judged({}, now=NOW - 60), Identity)
    assert refused({}, now=NOW - 60.5)[0] == "iat"
    assert isinstance(judged({}, now=NOW + 359.5), Identity)
    assert refused({}, now=NOW + 360)[0] == "exp"
    assert isinstance(judged({"nbf": NOW + 60}), Identity)
    assert isinstance(judged({"iat": NOW - 86_400}), Identity)
    asked = Expected(issuer=ISSUER, client_id="notes", max_age=100)
    assert isinstance(judged({"auth_time": NOW - 160}, asked), Identity)
    assert refused({"auth_time": NOW - 161}, asked) == (
        "auth_time",
        "the ID token was refused: the person was there 161 seconds ago, and max_age was 100",
    )


def test_one_of_the_acr_that_were_asked_for_will_do() -> None:
    asked = Expected(issuer=ISSUER, client_id="notes", acr=("gold", "silver"))
    assert isinstance(judged({"acr": "silver"}, asked), Identity)
    assert refused({"acr": ["gold"]}, asked)[1].endswith("and asked for was 'gold' or 'silver'")


def test_the_tenant_of_entra_takes_its_place_in_the_issuer() -> None:
    tenant = "9188040d-6c67-4c5b-b112-36a304b66dad"
    start = "https://login.microsoftonline.com/"
    expected = Expected(issuer=start + "{tenantid}/v2.0", client_id="notes")
    good = {"iss": f"{start}{tenant}/v2.0", "tid": tenant}
    assert isinstance(judged(good, expected), Identity)
    assert refused({**good, "tid": "elsewhere"}, expected)[0] == "tid"
    assert refused({**good, "tid": ...}, expected)[0] == "tid"
    assert refused({**good, "tid": tenant.replace("9", "8")}, expected)[0] == "iss"


REFRESHED = Expected(issuer=ISSUER, client_id="notes", previous=Identity(CLAIMS))


def test_after_a_refresh_what_may_be_left_out_is_still_known() -> None:
    previous = Identity({**CLAIMS, "auth_time": 7, "name": "Ann"})
    expected = Expected(issuer=ISSUER, client_id="notes", previous=previous)
    found = judged({"nonce": ..., "email": "ann@example.com"}, expected)
    assert isinstance(found, Identity)
    # The name may have been taken back.
    assert found.claims == {**CLAIMS, "auth_time": 7, "email": "ann@example.com"}
    assert judged({}, REFRESHED) == Identity(CLAIMS)
    assert isinstance(judged({"auth_time": 8}, REFRESHED), Identity)
    assert refused({"auth_time": 8}, expected)[0] == "auth_time"


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"sub": "sub-of-bob"}, "sub"),
        ({"iss": "https://else.example.com"}, "iss"),
        ({"iss": "https://else.example.com", "sub": "sub-of-bob", "exp": 0}, "iss"),
    ],
)
def test_another_person_is_known_as_such_whatever_else_is_wrong(
    changes: dict[str, Any], claim: str
) -> None:
    found = judged(changes, REFRESHED)
    assert isinstance(found, IdentityError)
    assert found._names_another
    assert found.claim == claim
    assert "sub-of" not in str(found)


@pytest.mark.parametrize(
    ("changes", "claim"),
    [({"sub": ""}, "sub"), ({"sub": 7}, "sub"), ({"iss": ...}, "iss"), ({"aud": "x"}, "aud")],
)
def test_a_token_that_names_no_person_does_not_name_another_one(
    changes: dict[str, Any], claim: str
) -> None:
    found = judged(changes, REFRESHED)
    assert isinstance(found, IdentityError)
    assert not found._names_another
    assert found.claim == claim


def test_an_identity_of_the_programs_own_making_is_compared_as_far_as_it_goes() -> None:
    previous = Identity({"iss": ISSUER, "sub": "sub-of-ann"})
    expected = Expected(issuer=ISSUER, client_id="notes", previous=previous)
    assert isinstance(judged({"nonce": ...}, expected), Identity)


RSA = {"kty": "RSA", "n": 342 * "n", "e": "AQAB"}
EC = {"kty": "EC", "crv": "P-256"}
OKP = {"kty": "OKP", "crv": "Ed25519"}


@pytest.mark.parametrize(
    ("alg", "kid", "key", "fits"),
    [
        ("RS256", None, RSA, True),
        ("RS256", None, {**RSA, "n": 341 * "n"}, False),
        ("RS256", None, {**RSA, "n": None}, False),
        ("RS256", None, {**RSA, "alg": "PS256"}, False),
        ("RS256", None, {**RSA, "alg": 7}, False),
        ("PS256", None, {**RSA, "alg": "PS256", "use": "sig", "key_ops": ["verify"]}, True),
        ("ES256", None, EC, True),
        ("ES256", None, {**EC, "crv": "P-384"}, False),
        ("ES384", None, {**EC, "crv": "P-384"}, True),
        ("ES256", None, {**EC, "use": "enc"}, False),
        ("ES256", None, {**EC, "key_ops": ["deriveKey"]}, False),
        ("ES256", None, {**EC, "key_ops": "verify"}, True),
        ("ES256", None, {**EC, "kid": "1"}, True),
        ("ES256", "1", {**EC, "kid": "1"}, True),
        ("ES256", "1", {**EC, "kid": 1}, False),
        ("ES256", "1", EC, False),
        ("ES256", None, RSA, False),
        ("EdDSA", None, {**OKP, "alg": "Ed25519"}, True),
        ("EdDSA", None, {**OKP, "alg": "EdDSA"}, True),
        ("EdDSA", None, {**OKP, "crv": "X25519"}, False),
        ("EdDSA", None, {**OKP, "crv": "Ed448"}, False),
    ],
)
def test_a_key_fits_by_its_kind_its_use_and_its_name(
    alg: str, kid: str | None, key: dict[str, Any], fits: bool
) -> None:
    pytest.importorskip("joserfc")
    from trioauth.oauth.jwks import fitting

    read = IDToken(alg, kid, {}, b"", b"")
    assert fitting([key], read) == ([key] if fits else [])

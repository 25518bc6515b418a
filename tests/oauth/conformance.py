"""What the OpenID Foundation's conformance suite asks of a client, as a table.

The rows are named as its modules; what they ask is told in our own words. `test_conformance` runs
them, and ``scripts/list_conformance.py`` makes ``docs/conformance.md`` of them.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

# Public keys that are printed in the standards: RFC 7515 A.2 and A.3, RFC 8037 A.1. The server
# does not sign with them.
_RSA: Final = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0"
    "Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5r"
    "exMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvU"
    "K-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
_EC: Final = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
_OKP: Final = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
ODD_KEYS: Final = (
    {"kty": "unheard-of", "kid": "odd"},
    {**_EC, "crv": "secp256k1"},
    {**_RSA, "use": "enc"},
    {**_RSA, "key_ops": ["encrypt"]},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    {"kty": "RSA", "n": "?" * 400, "e": 7},
    {"kty": "oct", "k": "c2VjcmV0"},
    "no key at all",
)


def _without_kids(*more: object) -> Any:
    def keys(true: list[dict[str, Any]]) -> list[object]:
        bare = [{name: each[name] for name in each if name != "kid"} for each in true]
        return [*more, *bare]

    return {"keys": keys}


def _decoys(true: list[dict[str, Any]]) -> list[object]:
    """Put other keys before the true one, by the same name."""
    kid = true[0]["kid"]
    return [{**key, "kid": kid} for key in (_EC, _OKP, {**_RSA, "alg": "PS256"})] + list(true)


def _plus(text: str) -> Any:
    return lambda value: value + text


def _less(seconds: float) -> Any:
    return lambda value: value - seconds


Part = Literal["1a", "1b", "1c", "1d", "1e", "1g"]

PARTS: Final[dict[Part, str]] = {
    "1a": "oidcc-client-basic-certification-test-plan",
    "1b": "oidcc-client-config-certification-test-plan",
    "1c": "oidcc-client-refreshtoken-test-plan, and what OpenID Connect Core 12.2 says besides",
    "1d": "oidcc-client-test-plan, with the code flow",
    "1e": "fapi2-security-profile-final-client-test-plan, what it asks about ID tokens",
    "1g": "What a client must accept, from all plans",
}


class Row(NamedTuple):
    """One module, or one thing that a module asks."""

    part: Part
    module: str
    does: str
    """What the server does."""
    lies: dict[str, Any] = {}  # noqa: RUF012  # never changed
    """What the server says instead of the truth (`AuthServer.lie`)."""
    when: Literal["log-in", "refresh"] = "log-in"
    """From when on it does so."""
    error: str | None = None
    """What is raised; None if it must be accepted."""
    claim: str | None = None
    """What the error names."""
    ends: bool = False
    """The login is over then."""
    persona: dict[str, Any] = {}  # noqa: RUF012  # never changed
    client: dict[str, Any] = {}  # noqa: RUF012  # never changed
    """Options of the client; ``secret`` is a client secret that both know."""
    asks: dict[str, str] = {}  # noqa: RUF012  # never changed
    """Parameters of the authorization request."""


class Elsewhere(NamedTuple):
    """What a test of its own is needed for."""

    part: Part
    module: str
    does: str
    tests: tuple[str, ...]


class LeftOut(NamedTuple):
    """What is not tested."""

    part: Part
    module: str
    why: str


def _refused(
    part: Part, module: str, does: str, claim: str | None, lies: dict[str, Any], **more: Any
) -> Row:
    return Row(part, module, does, lies, error="IdentityError", claim=claim, **more)


def _refused_later(module: str, does: str, claim: str, lies: dict[str, Any], **more: Any) -> Row:
    return _refused("1c", module, does, claim, lies, when="refresh", **more)


_BREAK: Final = {"signature": lambda signature: bytes(byte ^ 255 for byte in signature)}
_SECRET: Final = "s" * 40

ROWS: Final = (
    # --- 1a ---------------------------------------------------------------------------------------
    Row(
        "1a",
        "oidcc-client-test",
        "no expires_in, no iss in the callback, no PKCE metadata, an issuer that ends in a slash",
        {"token": {"expires_in": None}, "metadata": {"code_challenge_methods_supported": None}},
        persona={"callback_iss": False, "issuer_path": "/"},
    ),
    _refused("1a", "invalid-iss", "another iss", "iss", {"id_token": {"iss": _plus("1")}}),
    _refused("1a", "missing-sub", "no sub", "sub", {"id_token": {"sub": None}}),
    _refused("1a", "invalid-aud", "another aud", "aud", {"id_token": {"aud": _plus("1")}}),
    _refused("1a", "missing-iat", "no iat", "iat", {"id_token": {"iat": None}}),
    Row(
        "1a",
        "kid-absent-single-jwks",
        "no kid, and one key among others that fits",
        {
            "id_token_header": {"kid": None},
            "jwks": _without_kids(_EC, _OKP, *ODD_KEYS, {**_EC, "use": "enc"}),
        },
    ),
    Row(
        "1a",
        "kid-absent-multiple-jwks",
        "no kid, and several keys that fit: each is tried",
        {"id_token_header": {"kid": None}, "jwks": _without_kids(_RSA, _EC, _OKP)},
    ),
    Row("1a", "idtoken-sig-rs256", "RS256", persona={"signing_alg": "RS256"}),
    _refused(
        "1a",
        "idtoken-sig-none",
        "alg none",
        "alg",
        {"id_token_header": {"alg": "none", "kid": None}},
    ),
    _refused("1a", "invalid-sig-rs256", "a broken signature", "signature", _BREAK),
    _refused("1a", "nonce-invalid", "another nonce", "nonce", {"id_token": {"nonce": _plus("1")}}),
    Row("1a", "scope-userinfo-claims", "says more of the person at userinfo alone"),
    Row(
        "1a",
        "client-secret-basic",
        "takes nothing but Basic",
        client={"secret": _SECRET, "auth": "basic"},
    ),
    # --- 1b ---------------------------------------------------------------------------------------
    Row(
        "1b",
        "discovery-openid-config",
        "has metadata",
        persona={"well_known": ("openid-configuration",)},
    ),
    Row(
        "1b",
        "discovery-issuer-mismatch",
        "another issuer in its metadata",
        {"metadata": {"issuer": _plus("/else")}},
        error="MetadataError",
        claim="issuer",
    ),
    # --- 1c ---------------------------------------------------------------------------------------
    Row(
        "1c",
        "refresh-token",
        "a new refresh token, and a new ID token with the nonce",
        when="refresh",
    ),
    _refused_later(
        "refresh-token-invalid-issuer",
        "another iss after a refresh",
        "iss",
        {"id_token": {"iss": _plus("1")}},
        ends=True,
    ),
    _refused_later(
        "refresh-token-invalid-sub",
        "another sub after a refresh",
        "sub",
        {"id_token": {"sub": _plus("1")}},
        ends=True,
    ),
    _refused_later("ours: aud", "another aud", "aud", {"id_token": {"aud": "another"}}),
    _refused_later(
        "ours: aud, fewer",
        "an aud that was there before is missing",
        "aud",
        {"id_token": {"aud": "client"}},
        persona={"lies": {"id_token": {"aud": ["client", "api"], "azp": "client"}}},
    ),
    _refused_later(
        "ours: iat", "an iat before that of the log-in", "iat", {"id_token": {"iat": _less(30)}}
    ),
    _refused_later(
        "ours: auth_time",
        "another auth_time",
        "auth_time",
        {"id_token": {"auth_time": _less(7)}},
        asks={"max_age": "600"},
    ),
    _refused_later(
        "ours: azp", "an azp where there was none", "azp", {"id_token": {"azp": "client"}}
    ),
    _refused_later("ours: nonce", "another nonce", "nonce", {"id_token": {"nonce": "another"}}),
    _refused_later("ours: signature", "a broken signature after a refresh", "signature", _BREAK),
    _refused_later("ours: sub, none", "no sub after a refresh", "sub", {"id_token": {"sub": None}}),
    Row(
        "1c",
        "ours: no ID token",
        "no ID token after a refresh",
        {"token": {"id_token": None}},
        when="refresh",
    ),
    Row(
        "1c",
        "ours: no nonce",
        "no nonce after a refresh",
        {"id_token": {"nonce": None}},
        when="refresh",
    ),
    Row(
        "1c",
        "ours: no refresh token",
        "no refresh token after a refresh: the old one stays",
        {"token": {"refresh_token": None}},
        persona={"rotate": False},
        when="refresh",
    ),
    # --- 1d ---------------------------------------------------------------------------------------
    _refused("1d", "missing-aud", "no aud", "aud", {"id_token": {"aud": None}}),
    Row("1d", "userinfo-bearer-header", "takes the token in the header only"),
    _refused(
        "1d",
        "invalid-sig-es256",
        "a broken signature by ES256",
        "signature",
        _BREAK,
        persona={"signing_alg": "ES256"},
    ),
    _refused(
        "1d",
        "invalid-sig-hs256",
        "a broken signature by HS256, which is never taken",
        "alg",
        {
            **_BREAK,
            "id_token_header": {"alg": "HS256", "kid": None},
            "metadata": {"id_token_signing_alg_values_supported": ["HS256"]},
        },
        client={"secret": _SECRET, "auth": "post"},
    ),
    # --- 1e ---------------------------------------------------------------------------------------
    _refused("1e", "invalid-missing-iss", "no iss", "iss", {"id_token": {"iss": None}}),
    _refused(
        "1e",
        "invalid-secondary-aud",
        "aud is us and another, without azp",
        "aud",
        {"id_token": {"aud": ["client", "another"]}},
    ),
    Row("1e", "valid-aud-as-array", "aud is a list of one", {"id_token": {"aud": ["client"]}}),
    _refused("1e", "invalid-null-alg", "alg none", "alg", {"id_token_header": {"alg": "none"}}),
    _refused(
        "1e",
        "invalid-alternate-alg",
        "a good RS256, and PS256 is what it advertises",
        "alg",
        {"id_token_header": {"alg": "RS256", "kid": "RS256-0"}},
        persona={"signing_alg": "PS256"},
    ),
    _refused(
        "1e",
        "invalid-expired-exp",
        "expired 360 seconds ago",
        "exp",
        {"id_token": {"exp": _less(660)}},
    ),
    _refused("1e", "invalid-missing-exp", "no exp", "exp", {"id_token": {"exp": None}}),
    _refused("1e", "invalid-missing-nonce", "no nonce", "nonce", {"id_token": {"nonce": None}}),
    _refused(
        "1e",
        "ours: iat, a week",
        "issued a week ago (a module of FAPI 1)",
        "iat",
        {"id_token": {"iat": _less(604_800)}},
    ),
    _refused(
        "1e", "ours: no ID token", "no ID token at a log-in", None, {"token": {"id_token": None}}
    ),
    # --- 1g ---------------------------------------------------------------------------------------
    Row(
        "1g", "2: issuer", "an issuer with a path and a slash", persona={"issuer_path": "/tenant/"}
    ),
    Row(
        "1g",
        "3: odd keys",
        "keys that can't be used here",
        {"jwks": {"keys": lambda keys: [*ODD_KEYS, *keys]}},
    ),
    Row(
        "1g",
        "3: odd keys, RS256",
        "no kid, and keys that can't be used here",
        {"id_token_header": {"kid": None}, "jwks": _without_kids(*ODD_KEYS)},
        persona={"signing_alg": "RS256"},
    ),
    Row(
        "1g",
        "3: decoys",
        "several keys of the same kid: alg and kty choose",
        {"jwks": {"keys": _decoys}},
    ),
    *(
        Row("1g", f"4: {alg}", f"signs with {alg}", persona={"signing_alg": alg})
        for alg in ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
    ),
    Row("1g", "6: azp", "azp is us", {"id_token": {"azp": "client"}}),
    Row(
        "1g",
        "6: azp, several aud",
        "aud is us and another, and azp is us",
        {"id_token": {"aud": ["client", "api"], "azp": "client"}},
    ),
    _refused("1g", "6: azp, another", "azp is another", "azp", {"id_token": {"azp": "another"}}),
    Row(
        "1g",
        "7: no expires_in, no scope",
        "what may be missing is",
        {"token": {"expires_in": None, "scope": None}},
    ),
    Row(
        "1g",
        "7: more members",
        "unknown members",
        {"token": {"x": [1]}, "id_token": {"x": {"y": 1}}, "metadata": {"x": 1}},
    ),
    Row("1g", "7: token_type", "bEARER", {"token": {"token_type": "bEARER"}}),
    Row("1g", "13: max_age", "auth_time, because max_age was sent", asks={"max_age": "600"}),
    _refused(
        "1g",
        "13: no auth_time",
        "no auth_time, though max_age was sent",
        "auth_time",
        {"id_token": {"auth_time": None}},
        asks={"max_age": "600"},
    ),
    _refused(
        "1g",
        "13: old auth_time",
        "the person was there too long ago",
        "auth_time",
        {"id_token": {"auth_time": _less(700)}},
        asks={"max_age": "600"},
    ),
    Row("1g", "13: acr", "one of the acr that were asked for", asks={"acr_values": "gold silver"}),
    _refused(
        "1g",
        "13: another acr",
        "another acr than those asked for",
        "acr",
        {"id_token": {"acr": "tin"}},
        asks={"acr_values": "gold silver"},
    ),
    _refused(
        "1g",
        "13: no acr",
        "no acr, though one was asked for",
        "acr",
        {"id_token": {"acr": None}},
        asks={"acr_values": "gold"},
    ),
)

ELSEWHERE: Final = (
    Elsewhere(
        "1a",
        "userinfo-invalid-sub",
        "another sub at userinfo, and none; `Identity.check_userinfo` looks at it",
        ("test_userinfo_of_another_person_is_refused",),
    ),
    Elsewhere(
        "1b",
        "discovery-jwks-uri-keys",
        "its keys are at another address each time",
        ("test_the_keys_are_fetched_where_the_metadata_say_and_before_userinfo",),
    ),
    Elsewhere(
        "1b",
        "signing-key-rotation-just-before-signing",
        "new keys after they were fetched",
        ("test_new_keys_are_fetched_when_an_id_token_names_them",),
    ),
    Elsewhere(
        "1b",
        "signing-key-rotation",
        "new keys between two log-ins",
        ("test_new_keys_are_fetched_when_an_id_token_names_them",),
    ),
    Elsewhere(
        "1d",
        "dynamic-registration",
        "knows no client before it registers",
        ("test_a_program_registers_once_and_logs_in_again_and_again",),
    ),
    Elsewhere(
        "1g",
        "1: client authentication",
        "each way but those with certificates",
        (
            "test_a_public_client_says_its_id_and_proves_nothing",
            "test_basic_is_form_encoded_before_it_is_base64",
            "test_post_has_the_secret_among_the_parameters_and_no_header",
            "test_client_secret_jwt_is_signed_with_the_secret_which_stays_here",
            "test_private_key_jwt_is_what_its_public_key_verifies",
        ),
    ),
    Elsewhere(
        "1g",
        "5: kid",
        "an unknown kid, again and again",
        (
            "test_the_keys_are_fetched_again_once_a_minute_for_each_kid",
            "test_of_two_changes_of_keys_within_a_minute_both_are_seen",
            "test_without_a_kid_new_keys_are_fetched_when_no_old_one_has_signed",
            "test_ten_times_a_minute_is_all_that_keys_are_fetched",
        ),
    ),
    Elsewhere(
        "1g",
        "11: callback",
        "a callback with another state, path or iss",
        (
            "test_p25_another_callback_is_an_error_and_nothing_is_sent",
            "test_a_missing_iss_is_an_error_only_where_the_server_promised_one",
        ),
    ),
    Elsewhere(
        "1g",
        "12: userinfo",
        "JSON that is about the person",
        ("test_userinfo_of_the_person_is_taken",),
    ),
    Elsewhere(
        "1g",
        "15: registration",
        "a client_secret without client_secret_expires_at, which is taken",
        ("test_a_secret_whose_end_is_not_said_has_none",),
    ),
)

LEFT_OUT: Final = (
    LeftOut("1d", "userinfo-signed", "a signed userinfo answer is not asked for"),
    LeftOut("1d", "mtls-endpoint-aliases", "needs a client with a certificate"),
    LeftOut("1d", "request-uri-signed-rs256, -none", "needs a public address of the client"),
    LeftOut("1d", "discovery-webfinger-acct, -url", "a program knows its issuer"),
    LeftOut("1g", "8, 9, 10, 14: DPoP and mTLS", "sender-constrained tokens are not here yet"),
)

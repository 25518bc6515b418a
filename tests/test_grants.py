"""The grants: what they send, and what they make of the answers (RFC 6749, 7009)."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import attrs
import httpx
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from trioauth._errors import (
    GrantError,
    GrantMisconfiguredError,
    GrantRefusedError,
    RefreshUnavailableError,
    TokenResponseError,
)
from trioauth._tokens import Tokens
from trioauth.grants import BearerRefreshGrant, ClientCredentialsGrant, RefreshTokenGrant
from trioauth.oauth.answers import read_answer, read_retry_after
from trioauth.oauth.channel import Answer, TokenEndpoint, TokenRequest

from .test_tokens import CANARY, chain, shown

URL = "https://id.example.com/token"
REVOKE = "https://id.example.com/revoke"
GOOD = {"access_token": "at2", "token_type": "bearer", "refresh_token": "rt2", "expires_in": 60}
OLD = Tokens("at1", "rt1", scope="read")

REFUSED, MISCONFIGURED = GrantRefusedError, GrantMisconfiguredError
UNAVAILABLE = RefreshUnavailableError

refresh_grant = RefreshTokenGrant(URL, client_id="notes")
bearer_grant = BearerRefreshGrant("https://app.example.com/auth/refresh")


def answer(status: int, body: object = b"", **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, httpx.Headers({k.replace("_", "-"): v for k, v in headers.items()}), raw)


def error(code: str, **more: object) -> dict[str, object]:
    return {"error": code, **more}


def form(request: TokenRequest) -> Mapping[str, str]:
    assert request.data is not None
    return {name: value for name, value in request.data.items() if isinstance(value, str)}


def outcome(read: Callable[[], Tokens]) -> Tokens | Exception:
    try:
        return read()
    except Exception as exc:
        return exc


# --- Reading answers ------------------------------------------------------------------------

HTML = b"<html>Sign in to the WiFi</html>"

BARE: list[object] = [b"", HTML, {}, [], {"message": "no"}, {"error": 1}]

# Status, body; the class; the code of a refusal, or whether it is safe to repeat.
ANSWERS: list[tuple[int, object, type[Exception], object]] = [
    # 2xx: JSON without tokens, or with bad ones, says nothing about the login,
    (200, {"access_token": "a t", "token_type": "Bearer"}, UNAVAILABLE, False),
    (200, b'{"access_token":"a","access_token":"b","token_type":"Bearer"}', UNAVAILABLE, False),
    (200, b'{"error":"invalid_grant","error":"server_error"}', UNAVAILABLE, False),
    (200, {"error": {"code": 7}}, UNAVAILABLE, False),
    (200, {"error": ""}, UNAVAILABLE, False),
    (200, error("odd"), UNAVAILABLE, False),
    (200, {"access_token": "at", "token_type": "mac"}, MISCONFIGURED, "unusable_token_type"),
    # unless it says what it is,
    (200, b'{"error":"invalid_grant","a":1,"a":2}', REFUSED, "invalid_grant"),
    (200, error("incorrect_client_credentials"), MISCONFIGURED, "incorrect_client_credentials"),
    (200, error("temporarily_unavailable"), UNAVAILABLE, True),
    (200, error("server_error"), UNAVAILABLE, False),
    # and what isn't JSON is not from the server.
    (200, b"", UNAVAILABLE, False),
    (204, b"", UNAVAILABLE, False),
    (200, HTML, UNAVAILABLE, False),
    (200, b'{"access_token": "at', UNAVAILABLE, False),
    # The code decides, whatever the status.
    *(
        (status, error(code), kind, code)
        for status in (200, 400, 401, 403, 429, 500, 503)
        for code, kind in [
            ("invalid_grant", REFUSED),
            ("bad_refresh_token", REFUSED),
            ("bad_token", REFUSED),
            ("invalid_refresh_token", REFUSED),
            ("token_expired", REFUSED),
            ("account_inactive", REFUSED),
            ("token_revoked", REFUSED),
            ("interaction_required", REFUSED),
            ("login_required", REFUSED),
            ("consent_required", REFUSED),
            ("account_selection_required", REFUSED),
            ("invalid_client", MISCONFIGURED),
            ("unauthorized_client", MISCONFIGURED),
            ("unsupported_grant_type", MISCONFIGURED),
            ("invalid_scope", MISCONFIGURED),
            ("invalid_request", MISCONFIGURED),
            ("invalid_target", MISCONFIGURED),
            ("incorrect_client_credentials", MISCONFIGURED),
            ("bad_client_secret", MISCONFIGURED),
            ("invalid_client_id", MISCONFIGURED),
        ]
    ),
    (400, error("temporarily_unavailable"), UNAVAILABLE, True),
    (400, error("server_error"), UNAVAILABLE, False),
    (500, error("server_error"), UNAVAILABLE, False),
    (400, error("use_dpop_nonce"), UNAVAILABLE, True),
    (403, error("access_denied"), UNAVAILABLE, True),
    (502, error("whatever"), UNAVAILABLE, False),
    # Without a code the status decides.
    (429, b"", UNAVAILABLE, True),
    (429, HTML, UNAVAILABLE, True),
    (503, b"", UNAVAILABLE, True),
    (503, HTML, UNAVAILABLE, True),
    (500, b"", UNAVAILABLE, False),
    (502, HTML, UNAVAILABLE, False),
    (504, {}, UNAVAILABLE, False),
    *(
        (status, body, UNAVAILABLE, False)
        for status in (400, 401, 403, 404, 405, 418)
        for body in BARE
    ),
    *((status, HTML, UNAVAILABLE, False) for status in (301, 302, 303, 307, 308)),
]


@pytest.mark.parametrize(("status", "body", "kind", "detail"), ANSWERS)
def test_what_an_answer_means(
    status: int, body: object, kind: type[Exception], detail: object
) -> None:
    got = outcome(lambda: refresh_grant.read(answer(status, body), OLD))
    assert type(got) is kind
    if isinstance(got, GrantError):
        assert got.error == detail
    else:
        assert isinstance(got, RefreshUnavailableError)
        assert got.safe_to_repeat is detail
        assert f"status {status}" in str(got)


@pytest.mark.parametrize("status", [200, 201, 299])
def test_valid_tokens_are_tokens(status: int) -> None:
    assert refresh_grant.read(answer(status, GOOD), OLD) == Tokens("at2", "rt2", 60, "", "bearer")


def test_an_answer_can_be_read_without_the_tokens_before() -> None:
    with pytest.raises(GrantRefusedError, match="^invalid_grant"):
        refresh_grant.read(answer(400, error("invalid_grant")), None)
    with pytest.raises(GrantRefusedError, match="^refused"):
        bearer_grant.read(answer(401), None)


@pytest.mark.parametrize("status", [100, 300, 400, 500])
def test_tokens_in_an_answer_that_is_no_success_are_not_used(status: int) -> None:
    with pytest.raises(RefreshUnavailableError):
        refresh_grant.read(answer(status, GOOD), OLD)


def test_an_answer_without_tokens_is_told_with_what_was_wrong_with_it() -> None:
    with pytest.raises(UNAVAILABLE, match="no tokens: there is no access_token in it") as caught:
        refresh_grant.read(answer(200, {}), OLD)
    assert isinstance(caught.value.__cause__, TokenResponseError)


def test_a_refusal_says_what_the_server_says() -> None:
    body = error("invalid_grant", error_description="Token\r\nwas revoked")
    with pytest.raises(GrantRefusedError, match="^invalid_grant: Token  was revoked$"):
        refresh_grant.read(answer(400, body), OLD)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (302, b"", "a redirect, which is never followed"),
        (200, HTML, "not JSON"),
        (404, b"", "without an error code; is the URL right"),
        (405, HTML, "without an error code; is the URL right"),
        (404, error("odd"), r"\(odd; if that ends a login, name it in refusals=\)"),
        (500, b"", r"without an error code\)"),
        (400, error("odd", error_description="so\nodd"), r"\(odd: so odd; if that ends"),
        (400, b"", r"without an error code; .* set bare_status_refuses=True\)"),
        (403, HTML, r"without an error code; .* set bare_status_refuses=True\)"),
        (200, error("server_error"), r"\(server_error\)"),
    ],
)
def test_unavailable_says_why(status: int, body: object, says: str) -> None:
    with pytest.raises(RefreshUnavailableError, match=says):
        refresh_grant.read(answer(status, body), OLD)


# --- Servers that say no with a bare status -------------------------------------------------

bare_grant = attrs.evolve(refresh_grant, bare_status_refuses=True)


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("body", [b"", HTML, {}, error("odd")])
def test_a_bare_status_refuses_where_that_is_set(status: int, body: object) -> None:
    with pytest.raises(GrantRefusedError) as caught:
        bare_grant.read(answer(status, body), OLD)
    assert caught.value.error == ("odd" if body == error("odd") else "refused")
    assert caught.value.description == f"status {status}"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"", UNAVAILABLE),
        (429, b"", UNAVAILABLE),
        (500, b"", UNAVAILABLE),
        (302, b"", UNAVAILABLE),
        (401, error("invalid_client"), MISCONFIGURED),
        (400, error("temporarily_unavailable"), UNAVAILABLE),
        (400, error("server_error"), UNAVAILABLE),
    ],
)
def test_nothing_else_refuses_with_it(status: int, body: object, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        bare_grant.read(answer(status, body), OLD)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("invalid_client", "; check client_id, and the secret or the key that proves it"),
        (
            "incorrect_client_credentials",
            "; check client_id, and the secret or the key that proves it",
        ),
        ("bad_client_secret", "; check client_id, and the secret or the key that proves it"),
        ("invalid_client_id", "; check client_id, and the secret or the key that proves it"),
        ("unauthorized_client", "; the server's settings do not allow this client to do that"),
        ("unsupported_grant_type", "; the server's settings do not allow this grant"),
        ("invalid_scope", "; check scope"),
        ("invalid_request", ""),
    ],
)
def test_a_code_without_a_description_is_told_with_what_to_mend(code: str, advice: str) -> None:
    with pytest.raises(GrantMisconfiguredError, match=f"^{code}: status 401{advice}$"):
        bare_grant.read(answer(401, error(code)), OLD)
    with pytest.raises(GrantMisconfiguredError, match=f"^{code}: in its own words$"):
        bare_grant.read(answer(401, error(code, error_description="in its own words")), OLD)


# --- Retry-After ----------------------------------------------------------------------------

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:51:37 GMT"


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("0", "", 0),
        ("120", "", 120),
        (" 7 ", "", 7),
        ("1000000000", "", 1e9),
        ("9" * 5000, "", None),
        (LATER, DATE, 120),
        ("Sunday, 06-Nov-94 08:51:37 GMT", DATE, 120),
        ("Sun Nov  6 08:51:37 1994", DATE, None),  # Without a zone: whose clock?
        (DATE, DATE, 0),
        (DATE, LATER, None),
        (LATER, "", None),
        (LATER, "yesterday", None),
        ("Sun, 06 Nov 1994 08:51:37 -0000", DATE, None),
        ("Sun, 99 Nov 1994 08:51:37 GMT", DATE, None),
        # They overflow.
        ("Sun, 06 Nov 99999999999999999999 08:51:37 GMT", DATE, None),
        ("Sun, 06 Nov 1994 08:51:37 +99999999999999999999", DATE, None),
        (LATER, "Sun, 06 Nov 99999999999999999999 08:51:37 GMT", None),
        ("-5", "", None),
        ("1.5", "", None),
        ("٣", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_retry_after(value: str, date: str, seconds: float | None) -> None:
    headers = httpx.Headers([(b"Retry-After", value.encode()), (b"Date", date.encode())])
    assert read_retry_after(headers) == seconds


@given(st.text(), st.text() | st.just(DATE))
@example("Mon, 01 Jan 0001 00:00:00 +2359", DATE)
@example("Mon, 01 Jan 9999 23:59:59 -2359", DATE)
@example("Mon, 01 Jan 1 00:00:00 +99999999999", DATE)
def test_any_retry_after_is_seconds_or_none(value: str, date: str) -> None:
    raw = [
        (b"Retry-After", value.encode(errors="replace")),
        (b"Date", date.encode(errors="replace")),
    ]
    seconds = read_retry_after(httpx.Headers(raw))
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("status", "code"), [(429, ""), (503, ""), (400, "temporarily_unavailable")]
)
def test_a_busy_server_is_asked_again_when_it_says(status: int, code: str) -> None:
    with pytest.raises(RefreshUnavailableError) as caught:
        refresh_grant.read(answer(status, error(code), Retry_After="17"), OLD)
    assert caught.value.retry_after == 17


async def test_a_date_to_retry_at_counts_from_the_receipt_if_the_server_has_no_clock() -> None:
    def busy(request: httpx.Request) -> httpx.Response:
        later = formatdate(time.time() + 100, usegmt=True)
        return httpx.Response(503, headers={"Retry-After": later})

    with pytest.raises(RefreshUnavailableError) as caught:
        await refresh_grant(OLD, endpoint_of(busy))
    assert caught.value.retry_after is not None
    assert 90 <= caught.value.retry_after <= 101


# --- Any answer -----------------------------------------------------------------------------

BODIES = st.binary() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("at"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*GOOD, "error", "error_description"]), inner)
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


@given(st.integers(100, 599), BODIES)
@example(200, b"[" * 100_000)
@example(400, b'{"error": "\\ud800\\u0000", "error_description": "\\ud800"}')
def test_any_answer_is_tokens_or_one_of_three_errors(status: int, body: bytes) -> None:
    for grant in (refresh_grant, bare_grant, bearer_grant):
        got = outcome(lambda grant=grant: grant.read(answer(status, body), OLD))  # type: ignore[misc]
        assert type(got) in (Tokens, REFUSED, MISCONFIGURED, UNAVAILABLE)
        assert isinstance(got, Exception) or 200 <= status < 300
        assert str(got).isprintable()


# --- Secrets --------------------------------------------------------------------------------

SECRETIVE = RefreshTokenGrant(
    URL, client_id="id", client_secret=f"{CANARY} s/ecret", extra={"audience": "api"}
)
SECRET_TOKENS = Tokens(f"at-{CANARY}", f"rt/{CANARY}")


def test_a_grant_hides_its_secrets() -> None:
    grants = [
        SECRETIVE,
        ClientCredentialsGrant(URL, client_id="id", client_secret=CANARY, extra={"a": CANARY}),
        BearerRefreshGrant(URL, headers={"X-Key": CANARY}, json={"a": CANARY}),
        SECRETIVE._client,
    ]
    assert CANARY not in repr(grants)


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("code", ["invalid_grant", "odd", CANARY])
def test_what_a_server_echoes_does_not_show(status: int, code: str) -> None:
    request = SECRETIVE.request(SECRET_TOKENS)
    sent = httpx.Request("POST", URL, data=dict(form(request))).content.decode()
    echo = f"{sent} {dict(form(request))} {request.headers} {SECRET_TOKENS.access_token} s/ecret"
    if code == CANARY:
        code = f"no-{SECRET_TOKENS.refresh_token}"
    body = error(code, error_description=echo)
    got = outcome(lambda: SECRETIVE.read(answer(status, body), SECRET_TOKENS))
    assert isinstance(got, Exception)
    text = shown(got)
    assert CANARY not in text
    assert "[redacted]" in text


def test_an_echo_of_the_encoded_credentials_does_not_show() -> None:
    credentials = SECRETIVE.request(SECRET_TOKENS).headers["Authorization"]
    body = error("invalid_client", error_description=f"Unknown: {credentials}")
    with pytest.raises(GrantMisconfiguredError) as caught:
        SECRETIVE.read(answer(401, body), SECRET_TOKENS)
    assert caught.value.description == "Unknown: Basic [redacted]"


def test_a_known_code_is_read_though_a_short_secret_is_a_part_of_it() -> None:
    with pytest.raises(GrantMisconfiguredError, match="^unsupported_grant_type"):
        refresh_grant.read(answer(400, error("unsupported_grant_type")), Tokens("a", "rt"))


@given(BODIES)
def test_no_error_carries_the_body_along(body: bytes) -> None:
    got = outcome(lambda: refresh_grant.read(answer(200, CANARY.encode() + body), OLD))
    assert isinstance(got, RefreshUnavailableError)
    assert list(chain(got)) == [got]


# --- RefreshTokenGrant ----------------------------------------------------------------------


def test_a_refresh_is_a_form_with_the_refresh_token() -> None:
    request = refresh_grant.request(OLD)
    assert request.url == URL
    assert request.headers == {}
    assert form(request) == {
        "grant_type": "refresh_token",
        "refresh_token": "rt1",
        "client_id": "notes",
    }


def test_scope_and_extra_parameters_are_sent_if_given() -> None:
    grant = RefreshTokenGrant(URL, client_id="n", scope="a b", extra={"resource": "https://r"})
    assert form(grant.request(OLD)) == {
        "grant_type": "refresh_token",
        "refresh_token": "rt1",
        "client_id": "n",
        "scope": "a b",
        "resource": "https://r",
    }


def test_a_scope_that_the_answer_leaves_out_is_the_one_asked_for() -> None:
    grant = attrs.evolve(refresh_grant, scope="a b")
    assert grant.read(answer(200, GOOD), OLD).scope == {"a", "b"}
    assert grant.read(answer(200, {**GOOD, "scope": "a"}), OLD).scope == {"a"}
    # None was asked for: the session knows what was granted before.
    assert refresh_grant.read(answer(200, GOOD), OLD).scope == frozenset()


def test_a_secret_goes_into_the_header_encoded_as_in_a_form() -> None:
    grant = RefreshTokenGrant(URL, client_id="odd:id é", client_secret="p%a s+s:w/&=?")
    request = grant.request(OLD)
    scheme, credentials = request.headers["Authorization"].split()
    assert scheme == "Basic"
    pair = base64.b64decode(credentials).decode("ascii").split(":")
    assert [unquote_plus(part) for part in pair] == ["odd:id é", "p%a s+s:w/&=?"]
    # One method, not two (RFC 6749 2.3).
    assert not {"client_id", "client_secret"} & form(request).keys()


def test_a_secret_goes_into_the_form_if_so_set() -> None:
    grant = RefreshTokenGrant(
        URL, client_id="id", client_secret="cs", client_auth="client_secret_post"
    )
    request = grant.request(OLD)
    assert request.headers == {}
    assert form(request)["client_id"] == "id"
    assert form(request)["client_secret"] == "cs"


@pytest.mark.parametrize("tokens", [None, Tokens("at")])
@pytest.mark.parametrize("grant", [refresh_grant, bearer_grant])
async def test_without_a_refresh_token_it_refuses_and_sends_nothing(
    grant: RefreshTokenGrant | BearerRefreshGrant, tokens: Tokens | None
) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise AssertionError("sent")

    with pytest.raises(GrantRefusedError, match="no_refresh_token: .* log in again"):
        await grant(tokens, endpoint_of(fail))


@pytest.mark.parametrize(
    ("arguments", "kind", "names"),
    [
        ({"token_endpoint": "http://id.example.com/"}, ValueError, "token_endpoint"),
        ({"token_endpoint": "https://u:p@id.example.com/"}, ValueError, "token_endpoint"),
        ({"token_endpoint": None}, TypeError, "token_endpoint"),
        ({"revocation_endpoint": "http://id.example.com/"}, ValueError, "revocation_endpoint"),
        ({"client_id": ""}, ValueError, "client_id"),
        ({"client_id": None}, TypeError, "client_id"),
        ({"client_secret": ""}, ValueError, "client_secret"),
        ({"client_secret": f"{CANARY}\n"}, ValueError, "client_secret must be printable"),
        ({"client_secret": f"{CANARY}\ud800"}, ValueError, "client_secret"),
        ({"client_secret": CANARY.encode()}, TypeError, "client_secret"),
        ({"client_auth": "private_key_jwt"}, ValueError, "client_auth"),
        ({"client_auth": "client_secret_basic"}, ValueError, "needs a client_secret"),
        ({"client_auth": "client_secret_post"}, ValueError, "needs a client_secret"),
        ({"client_auth": "none", "client_secret": CANARY}, ValueError, "client_auth"),
        ({"scope": ["a"]}, TypeError, '^scope must be a str .*"read write", not a list$'),
        ({"extra": {"scope": "a"}}, ValueError, "extra must not have 'scope'"),
        ({"extra": {"refresh_token": CANARY}}, ValueError, "extra"),
        ({"extra": {"client_assertion": CANARY}}, ValueError, "extra"),
        ({"extra": {"a": 1}}, TypeError, "extra"),
        ({"extra": {1: "a"}}, TypeError, "extra"),
        ({"extra": "a=b"}, TypeError, "extra"),
        ({"extra": None}, TypeError, "extra"),
        ({"bare_status_refuses": 1}, TypeError, "bare_status_refuses"),
    ],
)
def test_a_bad_parameter_is_refused_by_its_name(
    arguments: dict[str, Any], kind: type[Exception], names: str
) -> None:
    with pytest.raises(kind, match=names) as caught:
        RefreshTokenGrant(**{"token_endpoint": URL, "client_id": "notes", **arguments})
    assert CANARY not in shown(caught.value)


def test_a_grant_does_not_change_with_what_it_was_made_of() -> None:
    extra = {"a": "1"}
    grant = RefreshTokenGrant(URL, client_id="n", extra=extra)
    extra["grant_type"] = "password"
    assert form(grant.request(OLD))["grant_type"] == "refresh_token"


OF_THE_PROTOCOL = {
    *("client_id", "client_secret", "client_assertion", "client_assertion_type"),
    *("grant_type", "refresh_token", "scope"),
}


@pytest.mark.slow
@given(
    st.text(min_size=1).filter(str.isprintable),
    st.none() | st.text(min_size=1).filter(str.isprintable),
    st.dictionaries(st.text(), st.text(st.characters(codec="utf-8"))),
    st.text(),
)
def test_no_parameter_is_ever_sent_twice(
    client_id: str, client_secret: str | None, extra: dict[str, str], scope: str
) -> None:
    try:
        grant = RefreshTokenGrant(
            URL, client_id=client_id, client_secret=client_secret, extra=extra, scope=scope
        )
    except ValueError:
        assert extra.keys() & OF_THE_PROTOCOL
        return
    data = form(grant.request(OLD))
    assert data["grant_type"] == "refresh_token"
    assert data.items() >= extra.items()
    assert ("client_id" in data) != ("Authorization" in grant.request(OLD).headers)


def test_what_a_session_asks_of_the_grants() -> None:
    told = [
        (grant.needs_refresh_token, grant.unattended)
        for grant in (RefreshTokenGrant, BearerRefreshGrant, ClientCredentialsGrant)
    ]
    assert told == [(True, False), (True, False), (False, True)]


# --- ClientCredentialsGrant -----------------------------------------------------------------

own_grant = ClientCredentialsGrant(URL, client_id="svc", client_secret="cs")


@pytest.mark.parametrize("tokens", [None, OLD])
def test_client_credentials_are_sent_whatever_the_previous_tokens(tokens: Tokens | None) -> None:
    request = own_grant.request(tokens)
    assert form(request) == {"grant_type": "client_credentials"}
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"svc:cs").decode()


def test_client_credentials_can_go_into_the_form_with_scope_and_more() -> None:
    grant = attrs.evolve(
        own_grant, client_auth="client_secret_post", scope="a b", extra={"audience": "x"}
    )
    request = grant.request()
    assert request.headers == {}
    assert form(request) == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "audience": "x",
        "client_id": "svc",
        "client_secret": "cs",
    }


def test_a_refresh_token_for_client_credentials_is_ignored() -> None:
    grant = attrs.evolve(own_grant, scope="a b")
    assert grant.read(answer(200, GOOD)) == Tokens("at2", None, 60, "a b", "bearer")
    with pytest.raises(GrantMisconfiguredError):
        grant.read(answer(401, error("invalid_client")), OLD)


@pytest.mark.parametrize(
    ("arguments", "kind", "names"),
    [
        ({"token_endpoint": "http://id.example.com/"}, ValueError, "token_endpoint"),
        ({"client_secret": None}, ValueError, "needs a client_secret"),
        ({"client_auth": "none"}, ValueError, "client_auth"),
        ({"client_auth": "tls"}, ValueError, "client_auth"),
        ({"extra": {"grant_type": "password"}}, ValueError, "extra"),
        ({"revocation_endpoint": "nowhere"}, ValueError, "revocation_endpoint"),
    ],
)
def test_bad_client_credentials_are_refused(
    arguments: dict[str, Any], kind: type[Exception], names: str
) -> None:
    with pytest.raises(kind, match=names):
        ClientCredentialsGrant(
            **{"token_endpoint": URL, "client_id": "svc", "client_secret": "cs", **arguments}
        )


# --- BearerRefreshGrant ---------------------------------------------------------------------


def test_the_refresh_token_goes_as_a_bearer() -> None:
    grant = BearerRefreshGrant(URL, headers={"X-Key": "k"}, json={"device": 1})
    request = grant.request(OLD)
    assert request.url == URL
    assert request.data is None
    assert request.json == {"device": 1}
    assert request.headers == {"X-Key": "k", "Authorization": "Bearer rt1"}


def test_tokens_are_found_by_their_names() -> None:
    body = {"accessToken": "at2", "refreshToken": "rt2", "expiresIn": "60"}
    assert bearer_grant.read(answer(200, body), OLD) == Tokens("at2", "rt2", 60)
    assert bearer_grant.read(answer(200, {"accessToken": "at2"}), OLD) == Tokens("at2")
    nulls = {"accessToken": "at2", "refreshToken": None, "expiresIn": None, "tokenType": None}
    assert bearer_grant.read(answer(200, nulls), OLD) == Tokens("at2")


def test_tokens_are_found_deep_inside() -> None:
    grant = BearerRefreshGrant(
        URL,
        access_token="data.tokens.access",
        refresh_token="data.tokens.refresh",
        expires_in="data.ttl",
        token_type="type",
    )
    body = {"data": {"tokens": {"access": "at2", "refresh": "rt2"}, "ttl": 5}, "type": "bearer"}
    assert grant.read(answer(200, body), OLD) == Tokens("at2", "rt2", 5, token_type="bearer")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {}, REFUSED),
        (200, {"data": 1}, REFUSED),
        (200, {"data": {"at": 5}}, REFUSED),
        (200, {"data": {"at": "a", "type": "mac"}}, MISCONFIGURED),
        (200, None, REFUSED),
        *((status, body, REFUSED) for status in (400, 401, 403) for body in BARE),
        # What a code means in OAuth means nothing here.
        (401, error("temporarily_unavailable"), REFUSED),
        (401, error("invalid_client"), REFUSED),
        (500, error("invalid_grant"), UNAVAILABLE),
        (200, HTML, UNAVAILABLE),
        (204, b"", UNAVAILABLE),
        (302, b"", UNAVAILABLE),
        (404, b"", UNAVAILABLE),
        (429, b"", UNAVAILABLE),
        (500, b"", UNAVAILABLE),
        (503, b"", UNAVAILABLE),
    ],
)
def test_what_an_answer_means_without_oauth(
    status: int, body: object, kind: type[Exception]
) -> None:
    grant = BearerRefreshGrant(URL, access_token="data.at", token_type="data.type")
    assert type(outcome(lambda: grant.read(answer(status, body), OLD))) is kind


def test_a_refusal_without_oauth_says_what_is_missing_or_the_status() -> None:
    with pytest.raises(GrantRefusedError, match="^invalid_response: there is no accessToken in it"):
        bearer_grant.read(answer(200, {}), OLD)
    with pytest.raises(GrantRefusedError, match="^refused: status 401$"):
        bearer_grant.read(answer(401), OLD)
    with pytest.raises(GrantRefusedError, match="^Unauthorized: status 401$"):
        bearer_grant.read(answer(401, error("Unauthorized")), OLD)


def test_an_echo_of_the_bearer_or_a_header_does_not_show() -> None:
    grant = BearerRefreshGrant(URL, headers={"X-Key": f"key-{CANARY}"})
    body = error(f"rt/{CANARY}", error_description=f"key-{CANARY} at-{CANARY}")
    for status in (401, 500):
        got = outcome(lambda s=status: grant.read(answer(s, body), SECRET_TOKENS))  # type: ignore[misc]
        assert isinstance(got, Exception)
        assert CANARY not in shown(got)


@pytest.mark.parametrize(
    ("arguments", "kind", "names"),
    [
        ({"url": "http://app.example.com/"}, ValueError, "^url"),
        ({"logout_url": "http://app.example.com/"}, ValueError, "^logout_url"),
        ({"access_token": ""}, ValueError, "^access_token"),
        ({"access_token": "a..b"}, ValueError, "^access_token must be names with dots"),
        ({"refresh_token": ".a"}, ValueError, "^refresh_token"),
        ({"expires_in": 60}, TypeError, "^expires_in"),
        ({"token_type": None}, TypeError, "^token_type"),
        ({"headers": "a: b"}, TypeError, "^headers"),
        ({"headers": {"a": 1}}, TypeError, "^headers"),
        ({"headers": {"a b": "c"}}, ValueError, "^headers has a malformed name"),
        ({"headers": {"authorization": CANARY}}, ValueError, "^headers must not have"),
        ({"headers": {"a": f"{CANARY}\r\nb: c"}}, ValueError, "^headers: the value of 'a'"),
        ({"headers": {"a": f"{CANARY}é"}}, ValueError, "^headers: the value of 'a'"),
    ],
)
def test_a_bad_bearer_grant_is_refused(
    arguments: dict[str, Any], kind: type[Exception], names: str
) -> None:
    with pytest.raises(kind, match=names) as caught:
        BearerRefreshGrant(**{"url": URL, **arguments})
    assert CANARY not in shown(caught.value)


# --- Over an endpoint -----------------------------------------------------------------------


class FakeServer:
    """Answers from a list, and remembers what it was sent and when."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(trio.current_time())
        return self.answers.pop(0)

    @property
    def forms(self) -> list[dict[str, list[str]]]:
        return [parse_qs(request.content.decode()) for request in self.requests]


def endpoint_of(answering: Any) -> TokenEndpoint:
    return TokenEndpoint(lambda: httpx.AsyncClient(transport=httpx.MockTransport(answering)))


async def test_a_call_sends_the_request_and_reads_the_answer() -> None:
    server = FakeServer(
        httpx.Response(200, json=GOOD),
        httpx.Response(200, json=GOOD),
        httpx.Response(200, json={"accessToken": "at3"}),
        httpx.Response(400, json={"error": "invalid_grant"}),
    )
    endpoint = endpoint_of(server)
    assert (await refresh_grant(OLD, endpoint)).refresh_token == "rt2"
    assert (await own_grant(None, endpoint)).refresh_token is None
    assert await bearer_grant(OLD, endpoint) == Tokens("at3")
    with pytest.raises(GrantRefusedError):
        await refresh_grant(OLD, endpoint)
    assert server.forms[0]["refresh_token"] == ["rt1"]
    assert server.forms[1]["grant_type"] == ["client_credentials"]
    assert server.requests[2].headers["Authorization"] == "Bearer rt1"


# --- Revocation -----------------------------------------------------------------------------

revoking = attrs.evolve(refresh_grant, revocation_endpoint=REVOKE)
own_revoking = attrs.evolve(own_grant, revocation_endpoint=REVOKE)
leaving = attrs.evolve(bearer_grant, logout_url="https://app.example.com/logout")


@pytest.mark.parametrize("grant", [refresh_grant, own_grant, bearer_grant])
async def test_without_a_url_nothing_is_revoked(grant: Any) -> None:
    server = FakeServer()
    assert await grant.revoke(OLD, endpoint_of(server)) is False
    assert server.requests == []


async def test_without_a_refresh_token_there_is_nothing_to_leave_with() -> None:
    server = FakeServer()
    assert await leaving.revoke(Tokens("at"), endpoint_of(server)) is False
    assert server.requests == []


@pytest.mark.parametrize(
    ("tokens", "token", "hint"),
    [(OLD, "rt1", "refresh_token"), (Tokens("at1"), "at1", "access_token")],
)
async def test_the_refresh_token_is_revoked_or_else_the_access_token(
    tokens: Tokens, token: str, hint: str
) -> None:
    server = FakeServer(httpx.Response(200))
    assert await revoking.revoke(tokens, endpoint_of(server)) is True
    assert str(server.requests[0].url) == REVOKE
    assert server.forms == [{"token": [token], "token_type_hint": [hint], "client_id": ["notes"]}]


async def test_the_client_proves_itself_when_revoking_too() -> None:
    server = FakeServer(httpx.Response(200))
    assert await own_revoking.revoke(Tokens("at1"), endpoint_of(server)) is True
    assert server.requests[0].headers["Authorization"].startswith("Basic ")


async def test_logging_out_takes_the_refresh_token_as_a_bearer() -> None:
    server = FakeServer(httpx.Response(204))
    assert await leaving.revoke(OLD, endpoint_of(server)) is True
    assert str(server.requests[0].url) == "https://app.example.com/logout"
    assert server.requests[0].headers["Authorization"] == "Bearer rt1"


@pytest.mark.parametrize(
    ("wanted", "waited"), [({}, 1), ({"Retry-After": "0"}, 0), ({"Retry-After": "60"}, 2)]
)
async def test_a_busy_server_is_asked_to_revoke_once_more(
    wanted: dict[str, str], waited: float, autojump_clock: MockClock
) -> None:
    server = FakeServer(httpx.Response(503, headers=wanted), httpx.Response(200))
    assert await revoking.revoke(OLD, endpoint_of(server)) is True
    assert server.times[1] - server.times[0] == waited


async def test_a_server_that_stays_busy_is_left_alone(autojump_clock: MockClock) -> None:
    server = FakeServer(httpx.Response(503), httpx.Response(503), httpx.Response(200))
    with pytest.raises(RefreshUnavailableError, match="status 503"):
        await revoking.revoke(OLD, endpoint_of(server))
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (httpx.Response(400, json=error("unsupported_token_type")), UNAVAILABLE),
        (httpx.Response(401, json=error("invalid_client")), MISCONFIGURED),
        (httpx.Response(302), UNAVAILABLE),
        (httpx.Response(500), UNAVAILABLE),
    ],
)
async def test_a_revocation_that_failed_says_so(
    response: httpx.Response, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        await revoking.revoke(OLD, endpoint_of(FakeServer(response)))


async def test_an_echo_when_revoking_does_not_show() -> None:
    grant = attrs.evolve(revoking, client_secret=f"cs{CANARY}")
    body = error("odd", error_description=f"rt/{CANARY} at-{CANARY} cs{CANARY}")
    with pytest.raises(RefreshUnavailableError) as caught:
        await grant.revoke(SECRET_TOKENS, endpoint_of(FakeServer(httpx.Response(400, json=body))))
    assert CANARY not in shown(caught.value)


def test_reading_without_any_setting_is_that_of_oauth() -> None:
    assert read_answer(answer(200, GOOD)).access_token == "at2"

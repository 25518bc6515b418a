"""The authorization code flow with PKCE: what is sent, and which callbacks count."""

from __future__ import annotations

import pickle
from urllib.parse import parse_qsl, urlencode, urlsplit

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioauth._errors import LoginDeclinedError, LoginError
from trioauth.oauth.logins.authorization import (
    Attempt,
    Callback,
    Code,
    Expected,
    Refusal,
    Stray,
    authorization_parameters,
    authorization_url,
    exchange_form,
    read_callback,
    read_parameters,
    read_pasted,
    refusal_error,
    stray_error,
)

STATE, CODE = "cs-canary-state", "at-canary-code"
ISSUER = "https://id.test"
REDIRECT = "http://127.0.0.1:8400/callback"
EXPECTED = Expected("/callback", STATE, ISSUER)
PROMISED = attrs.evolve(EXPECTED, iss_promised=True)
# RFC 7636, Appendix B
ATTEMPT = Attempt(
    verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", state=STATE, nonce="cs-canary-nonce"
)


def test_the_challenge_is_the_s256_of_the_verifier() -> None:
    assert ATTEMPT.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_each_attempt_is_new_and_of_characters_that_every_server_takes() -> None:
    attempts = [Attempt.new() for _ in range(100)]
    drawn = {value for each in attempts for value in attrs.astuple(each)}
    assert len(drawn) == 300
    for value in drawn:
        assert len(value) == 43
        assert set(value) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
        )


def test_the_parameters_come_in_order_and_resource_once_each() -> None:
    parameters = authorization_parameters(
        ATTEMPT,
        client_id="notes",
        redirect_uri=REDIRECT,
        scope="openid notes",
        resource=["https://a.test", "https://b.test"],
        parameters={"prompt": "consent", "audience": "api"},
        form_post=True,
    )
    assert parameters == (
        ("response_type", "code"),
        ("client_id", "notes"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid notes"),
        ("resource", "https://a.test"),
        ("resource", "https://b.test"),
        ("state", STATE),
        ("code_challenge", ATTEMPT.challenge),
        ("code_challenge_method", "S256"),
        ("nonce", "cs-canary-nonce"),
        ("response_mode", "form_post"),
        ("prompt", "consent"),
        ("audience", "api"),
    )


@pytest.mark.parametrize("scope", [None, "notes", "openidish"])
def test_a_nonce_is_sent_only_where_an_id_token_comes_back(scope: str | None) -> None:
    sent = dict(
        authorization_parameters(ATTEMPT, client_id="notes", redirect_uri=REDIRECT, scope=scope)
    )
    assert "nonce" not in sent
    assert "response_mode" not in sent
    assert sent.get("scope") == scope


@pytest.mark.parametrize("name", ["state", "redirect_uri", "resource", "code_challenge", "nonce"])
def test_a_program_may_not_say_what_the_protocol_says(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}'"):
        authorization_parameters(
            ATTEMPT, client_id="notes", redirect_uri=REDIRECT, parameters={name: "x", "a": "b"}
        )


def test_the_endpoints_own_query_is_kept_but_not_what_we_say() -> None:
    endpoint = "https://id.test/authorize?p=sign%20in&state=theirs&empty=#part"
    url = authorization_url(endpoint, [("state", STATE), ("scope", "a b&c")])
    assert parse_qsl(urlsplit(url).query, keep_blank_values=True) == [
        ("p", "sign in"),
        ("empty", ""),
        ("state", STATE),
        ("scope", "a b&c"),
    ]
    assert url.startswith("https://id.test/authorize?")
    assert "#" not in url


def test_the_form_has_the_verifier_and_the_same_redirect_uri() -> None:
    assert exchange_form(Code(CODE), ATTEMPT, redirect_uri=REDIRECT) == (
        ("grant_type", "authorization_code"),
        ("code", CODE),
        ("redirect_uri", REDIRECT),
        ("code_verifier", ATTEMPT.verifier),
    )


def query(**parameters: str) -> str:
    return urlencode({"code": CODE, "state": STATE} | parameters)


GOOD = query(iss=ISSUER)
JUDGED: list[tuple[str, Expected, Callback | str]] = [
    (GOOD, EXPECTED, Code(CODE)),
    (GOOD, PROMISED, Code(CODE)),
    (query(), EXPECTED, Code(CODE)),
    (query(session_state="x", scope="a"), EXPECTED, Code(CODE)),
    (query(unknown="1") + "&unknown=2", EXPECTED, Code(CODE)),
    (query(iss="https://any.test"), attrs.evolve(EXPECTED, issuer=None), Code(CODE)),
    (query(), PROMISED, "iss"),
    (query(iss=ISSUER + "/"), EXPECTED, "iss"),
    (query(iss=ISSUER.upper()), EXPECTED, "iss"),
    (query(iss=""), EXPECTED, "iss"),
    (f"error=access_denied&state={STATE}", EXPECTED, Refusal("access_denied")),
    (f"error=access_denied&state={STATE}", PROMISED, "iss"),
    (f"error=x&error_description=&state={STATE}", EXPECTED, Refusal("x", "")),
    (f"error=x&error_description=a%0Ab&state={STATE}", EXPECTED, Refusal("x", "a b")),
    ("error=access_denied&state=other", EXPECTED, "state"),
    ("error=access_denied", EXPECTED, "state"),
    (query(state="cs-canary-statE"), EXPECTED, "state"),
    (query(state=STATE + "x"), EXPECTED, "state"),
    (query(state=""), EXPECTED, "state"),
    (query(state="\N{SNOWMAN}"), EXPECTED, "state"),
    (f"code={CODE}", EXPECTED, "state"),
    ("", EXPECTED, "state"),
    (query() + f"&state={STATE}", EXPECTED, "query"),
    (query() + "&code=other", EXPECTED, "query"),
    (query(iss=ISSUER) + f"&iss={ISSUER}", EXPECTED, "query"),
    (query() + "&a=b" * 60, EXPECTED, "query"),
    (query() + "&x=%ff", EXPECTED, "query"),
    (query(error="access_denied"), EXPECTED, "code"),
    (f"state={STATE}", EXPECTED, "code"),
    (f"state={STATE}&error=", EXPECTED, "code"),
    (query(code=""), EXPECTED, "code"),
    (query(code="a\nb"), EXPECTED, "code"),
    (query(code="\N{SNOWMAN}"), EXPECTED, "code"),
]


@pytest.mark.parametrize(("text", "expected", "verdict"), JUDGED)
def test_p25_a_callback_is_judged(text: str, expected: Expected, verdict: Callback | str) -> None:
    found = read_parameters(text, expected)
    assert (found.what if isinstance(found, Stray) else found) == verdict
    assert read_callback(f"/callback?{text}", expected) == found
    assert read_callback(f"{REDIRECT}?{text}#part", expected) == found


@pytest.mark.parametrize(
    "target",
    ["/", "/Callback", "/callback/", "/callback/..", "//callback", "/x/callback", "/%63allback"]
    + ["http://127.0.0.1/other", "http://[/callback", "callback", "*", ""],
)
def test_p25_only_the_very_path_of_the_redirect_uri_counts(target: str) -> None:
    found = read_callback(f"{target}?{GOOD}", EXPECTED)
    assert isinstance(found, Stray)
    assert found.what == "path"


def test_a_stray_callback_does_not_show_its_code_or_our_state() -> None:
    found = read_parameters(query(iss=f"https://x.test/{STATE}/{CODE}"), EXPECTED)
    assert isinstance(found, Stray)
    assert STATE not in found.why
    assert CODE not in found.why
    assert ISSUER in found.why
    error = stray_error(found)
    assert type(error) is LoginError
    assert error.code == "invalid_iss"
    assert "not the callback expected" in str(error)


def test_a_refusal_does_not_show_our_state_and_a_decline_is_an_error_of_its_own() -> None:
    found = read_parameters(
        urlencode({"error": f"e {STATE}", "error_description": STATE, "state": STATE}), EXPECTED
    )
    assert isinstance(found, Refusal)
    assert STATE not in repr(found)
    assert type(refusal_error(found)) is LoginError
    for code in ("access_denied", "authorization_declined"):
        error = refusal_error(Refusal(code, "the person said no"))
        assert type(error) is LoginDeclinedError
        assert (error.code, error.description) == (code, "the person said no")


PASTED: list[tuple[str, Expected, Callback | str]] = [
    (f"{REDIRECT}?{GOOD}", EXPECTED, Code(CODE)),
    (f"  {REDIRECT}?{GOOD}\r\n", EXPECTED, Code(CODE)),
    (f"{REDIRECT}?code={CODE}&st\n ate={STATE}", EXPECTED, Code(CODE)),
    (f"HTTP://localhost:1/callback?{GOOD}", EXPECTED, Code(CODE)),
    (f"http://127.0.0.1:8400/other?{GOOD}", EXPECTED, "path"),
    (GOOD, EXPECTED, Code(CODE)),
    (f"?{GOOD}", EXPECTED, Code(CODE)),
    (f"/callback?{GOOD}", EXPECTED, Code(CODE)),
    (query(state="other"), EXPECTED, "state"),
    (f"error=access_denied&state={STATE}", EXPECTED, Refusal("access_denied")),
    (f" {CODE} \n", EXPECTED, Code(CODE)),
    ("4/0AX=decode==", EXPECTED, Code("4/0AX=decode==")),
    (CODE, PROMISED, "iss"),
    ("", EXPECTED, "code"),
    ("\N{SNOWMAN}", EXPECTED, "code"),
]


@pytest.mark.parametrize(("text", "expected", "verdict"), PASTED)
def test_what_a_person_pastes_is_judged(
    text: str, expected: Expected, verdict: Callback | str
) -> None:
    found = read_pasted(text, expected)
    assert (found.what if isinstance(found, Stray) else found) == verdict


@given(st.text(), st.text())
def test_p25_nothing_without_the_state_ends_a_login_and_nothing_raises(
    target: str, text: str
) -> None:
    assert isinstance(read_callback(target, EXPECTED), Stray)
    assert isinstance(read_parameters(text, EXPECTED), Stray)
    assert isinstance(read_callback(f"/callback?{text}", EXPECTED), Stray)
    assert isinstance(read_pasted(text, EXPECTED), Code | Stray)


@given(st.text(st.characters(), min_size=1))
def test_a_state_that_can_not_be_encoded_is_another_state(state: str) -> None:
    assert isinstance(read_parameters(f"code=x&state={state}\ud800", EXPECTED), Stray)


def test_no_value_shows_its_secrets_or_can_be_pickled() -> None:
    for value in (ATTEMPT, EXPECTED, Code(CODE)):
        assert "canary" not in repr(value)
        assert ATTEMPT.verifier not in repr(value)
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(value)

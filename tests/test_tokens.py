"""Tokens: strict with programs, careful with servers, silent about secrets."""

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trioauth._errors import GrantError, GrantMisconfiguredError, TokenResponseError, printable
from trioauth._tokens import NotJSONError, Tokens, read_json_object

CANARY = "canary-5ecret"


def chain(error: BaseException) -> Iterator[BaseException]:
    """Everything that goes along with an exception."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is not None and found not in seen:
            seen.append(found)
            waiting += [found.__cause__, found.__context__]
    yield from seen


def shown(error: BaseException) -> str:
    """All that can be read of it; a JSONDecodeError has a ``doc``, a UnicodeError an ``object``."""
    return " ".join(
        repr(
            (str(one), one, one.args, vars(one), getattr(one, "doc", 0), getattr(one, "object", 0))
        )
        for one in chain(error)
    )


# --- What a program passes in ---------------------------------------------------------------


def test_scope_is_taken_as_on_the_wire_or_in_pieces() -> None:
    assert Tokens("at", scope="read  write").scope == frozenset({"read", "write"})
    assert Tokens("at", scope=["read"]).scope == frozenset({"read"})
    assert Tokens("at").scope == frozenset()


def test_no_secret_shows_in_the_repr() -> None:
    text = repr(Tokens(CANARY, CANARY + "-too", 60, "read"))
    assert CANARY not in text
    assert "60" in text
    assert "read" in text


def test_tokens_are_values() -> None:
    assert Tokens("at", "rt") == Tokens("at", "rt")
    assert len({Tokens("at"), Tokens("at")}) == 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Tokens("at").access_token = "other"  # type: ignore[misc]


# --- What a server sent ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "value", "lifetime"),
    [
        ("expires_in", 3600, 3600),
        ("expires_in", 0.5, 0.5),
        ("expires_in", "3600", 3600),
        ("expires_in", 0, None),
        ("expires_in", -5, None),
        ("expires_in", True, None),
        ("expires_in", "soon", None),
        ("expires_in", "٣", None),
        ("expires_in", "9" * 5000, None),
        ("expires_in", 10**400, None),
        ("expires_in", float("inf"), None),
        ("expires_in", float("nan"), None),
        ("expires_in", [60], None),
        ("expires_in", None, None),
        ("unknown", 1, None),
    ],
)
def test_an_odd_lifetime_means_unknown(member: str, value: object, lifetime: float | None) -> None:
    response = {"access_token": "at", "token_type": "bearer", member: value}
    assert Tokens.from_response(response).expires_in == lifetime


def test_an_odd_scope_means_that_the_server_did_not_say() -> None:
    response = {"access_token": "at", "token_type": "bearer"}
    assert Tokens.from_response({**response, "scope": ["read"]}).scope == frozenset()
    assert Tokens.from_response({**response, "scope": 'a"b read'}).scope == frozenset({"read"})


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_empty_refresh_token_is_none(nothing: object) -> None:
    response = {"access_token": "at", "token_type": "BEARER", "refresh_token": nothing}
    assert Tokens.from_response(response) == Tokens("at", token_type="BEARER")


@pytest.mark.parametrize(
    ("response", "says"),
    [
        ({"token_type": "Bearer"}, "no access_token"),
        ({"access_token": "", "token_type": "Bearer"}, "no access_token"),
        ({"access_token": [CANARY], "token_type": "Bearer"}, "access_token must be a str"),
        ({"access_token": f"{CANARY}\r\n", "token_type": "Bearer"}, "access_token must be visible"),
        (
            {"access_token": "at", "refresh_token": f"{CANARY}é", "token_type": "Bearer"},
            "refresh_token must be visible",
        ),
        ([CANARY], "not a JSON object but a list"),
        (None, "not a JSON object but a NoneType"),
    ],
)
def test_an_answer_without_valid_tokens_says_what_is_wrong_but_not_the_value(
    response: Any, says: str
) -> None:
    with pytest.raises(TokenResponseError, match=says) as caught:
        Tokens.from_response(response)
    assert CANARY not in shown(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
# More often a valid value than chance would have it.
MEMBERS = {
    "access_token": JSON | st.just("at") | st.text(min_size=1),
    "token_type": JSON | st.sampled_from(["Bearer", "bearer", "mac"]),
    "refresh_token": JSON | st.just("rt"),
    "expires_in": JSON | st.text("0123456789"),
    "scope": JSON | st.just("read write"),
}


@given(st.fixed_dictionaries({}, optional=MEMBERS) | JSON)
@example({"access_token": "at", "token_type": "Bearer", "expires_in": 1e308 * 10})
@example({"access_token": "\ud800", "token_type": "Bearer"})
def test_any_answer_is_valid_tokens_or_an_error(response: Any) -> None:
    try:
        tokens = Tokens.from_response(response)
    except (TokenResponseError, GrantMisconfiguredError) as exc:
        told = str(exc)
    else:
        # What is read would pass as a program's own, too.
        assert attrs.evolve(tokens) == tokens
        assert tokens.access_token == response["access_token"]
        told = repr(tokens)
    assert told.isprintable()


def test_what_an_answer_leaves_out_is_carried_over() -> None:
    before = Tokens("at1", "rt1", 60, "read")
    assert Tokens("at2").carry_over(before) == Tokens("at2", "rt1", scope="read")
    assert Tokens("at2", "rt2", scope="a").carry_over(before) == Tokens("at2", "rt2", scope="a")
    assert Tokens("at2").carry_over(None) == Tokens("at2")


# --- JSON -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>" + CANARY.encode(),
        b'{"access_token": "' + CANARY.encode(),
        b'{"access_token": "' + CANARY.encode() + b'"} trailing',
        b'{"access_token": "' + CANARY.encode() + b'\xff"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        '{"access_token": "at"}'.encode("utf-16"),
        b"9" * 5000,
    ],
    ids=range(9),
)
def test_what_is_not_json_is_said_to_be_so_and_not_quoted(body: bytes) -> None:
    with pytest.raises(NotJSONError, match="^not JSON$") as caught:
        read_json_object(body)
    # Not even as the context: a JSONDecodeError has the whole document, a UnicodeError its bytes.
    assert list(chain(caught.value)) == [caught.value]
    assert CANARY not in shown(caught.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('["%s"]', "not a JSON object but a list"),
        ('"%s"', "not a JSON object but a str"),
        ("null", "not a JSON object but a NoneType"),
        ('{"access_token": "%s", "access_token": "b"}', "occurs twice"),
        ('{"access_token": "%s", "access\\u005ftoken": "b"}', "occurs twice"),
        ('{"deep": [{"a": "%s", "a": 1}]}', "occurs twice"),
    ],
)
def test_json_that_is_no_clear_object_is_refused(body: str, says: str) -> None:
    with pytest.raises(TokenResponseError, match=says) as caught:
        read_json_object(body.replace("%s", CANARY).encode())
    assert not isinstance(caught.value, NotJSONError)
    assert CANARY not in shown(caught.value)


@given(st.dictionaries(st.text(), JSON))
def test_an_object_is_read_as_it_is(value: dict[str, object]) -> None:
    text = json.dumps(value)
    assert json.dumps(read_json_object(text.encode())) == text
    assert json.dumps(read_json_object(b"\xef\xbb\xbf" + text.encode())) == text


@given(st.binary())
def test_any_bytes_are_an_object_or_a_token_response_error(body: bytes) -> None:
    caught: TokenResponseError | None = None
    try:
        assert isinstance(read_json_object(body), dict)
    except TokenResponseError as exc:
        caught = exc
    assert caught is None or list(chain(caught)) == [caught]


# --- Texts of servers -----------------------------------------------------------------------


def test_a_text_is_made_printable_and_loses_its_secrets() -> None:
    assert printable("a\r\nb\x1b[31m\u2028c\ud800d") == "a  b [31m c d"
    assert printable("x" * 500) == "x" * 200 + "..."
    assert printable("no abc here", secrets=("", "abc")) == "no [redacted] here"


def test_a_secret_that_is_a_part_of_another_leaves_nothing_of_the_other() -> None:
    assert printable("got abcdef", secrets=("abc", "abcdef")) == "got [redacted]"


def test_a_secret_that_is_cut_off_is_not_shown_in_part() -> None:
    text = printable("x" * 190 + CANARY, secrets=(CANARY,))
    assert CANARY[:5] not in text


def test_an_error_of_the_server_is_shown_with_its_description() -> None:
    assert str(GrantError("invalid_grant")) == "invalid_grant"
    assert str(GrantError("invalid_grant", "it\nis over")) == "invalid_grant: it is over"

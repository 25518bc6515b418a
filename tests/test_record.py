"""Record: what it accepts, and its form as text."""

from __future__ import annotations

import json
import pickle
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioauth import LogoutReason
from trioauth._identity import Identity
from trioauth._tokens import Tokens
from trioauth.stores._contract import Record

SECRET = "s3cr3t-canary"

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
SAFE = VISIBLE.replace('"', "").replace("\\", "")

lifetimes = st.none() | st.floats(0, allow_nan=False, allow_infinity=False) | st.integers(0, 10**12)
identities = st.builds(
    lambda sub, more: Identity({**more, "iss": "https://id.example.com", "sub": sub}),
    st.text(st.characters(), min_size=1),
    st.dictionaries(st.text(), st.none() | st.booleans() | st.text() | st.lists(st.integers())),
)
token_values = st.builds(
    Tokens,
    access_token=st.text(SAFE, min_size=1),
    refresh_token=st.none() | st.text(VISIBLE, min_size=1),
    expires_in=lifetimes,
    scope=st.frozensets(st.text(SAFE, min_size=1)),
    token_type=st.sampled_from(["Bearer", "bearer", "BEARER"]),
    identity=st.none() | identities,
)
times = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers()
record_values = st.builds(
    Record,
    generation=st.integers(1, 2**63 - 1),
    tokens=st.none() | token_values,
    login=st.text(st.characters()),
    expires_at_unix=times,
    owner=st.text(st.characters()),
    ended=st.none() | st.sampled_from(get_args(LogoutReason)),
    ended_at_unix=times,
    unanswered=st.integers(0),
    quiet_until_unix=times,
)
MEMBERS = [
    *("generation", "login", "expires_at_unix", "tokens", "format", "version"),
    *("owner", "ended", "ended_at_unix", "unanswered", "quiet_until_unix", "identity"),
]
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def text_with(**changes: object) -> str:
    """The text of a record, with some members changed."""
    record = Record(3, Tokens(SECRET, SECRET, 60.0), login="me", expires_at_unix=1e9)
    return json.dumps(json.loads(record.to_text()) | changes)


def text_with_tokens(**changes: object) -> str:
    return text_with(tokens=json.loads(text_with())["tokens"] | changes)


def refusal(text: str | bytes) -> str:
    """Why a text is no record; it must not say what the text was, nor lead there."""
    with pytest.raises(ValueError) as caught:
        Record.from_text(text)
    assert caught.type is ValueError
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in str(caught.value)
    return str(caught.value)


def read_or_refuse(text: str) -> None:
    try:
        record = Record.from_text(text)
    except ValueError:
        record = None
    if record is None:
        refusal(text)
    else:
        assert Record.from_text(record.to_text()) == record


@given(record_values)
def test_what_was_written_is_read_back(record: Record) -> None:
    assert Record.from_text(record.to_text()) == record
    assert Record.from_text(record.to_text().encode()) == record


@given(record_values)
def test_text_is_ascii_json_without_nan(record: Record) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert record.to_text().isascii()
    json.loads(record.to_text(), parse_constant=refuse)


@pytest.mark.slow
@given(record_values, st.data())
def test_truncated_text_is_refused(record: Record, data: st.DataObject) -> None:
    text = record.to_text()
    assert "damaged" in refusal(text[: data.draw(st.integers(0, len(text) - 1))])


@given(st.binary() | st.text())
def test_any_other_text_is_refused(text: str | bytes) -> None:
    refusal(text)


@pytest.mark.slow
@given(st.dictionaries(st.text(), json_values))
def test_any_other_object_is_refused(value: Any) -> None:
    assert "something else" in refusal(json.dumps(value))


@pytest.mark.slow
@pytest.mark.parametrize("member", MEMBERS)
@given(value=json_values)
def test_any_value_of_any_member_is_read_or_refused(member: str, value: Any) -> None:
    text = text_with(**{member: value})
    read_or_refuse(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "member", ["access_token", "refresh_token", "expires_in", "scope", "token_type", "other"]
)
@given(value=json_values)
def test_any_value_of_any_member_of_the_tokens_is_read_or_refused(member: str, value: Any) -> None:
    text = text_with_tokens(**{member: value})
    read_or_refuse(text)


@pytest.mark.parametrize(
    "text",
    [
        text_with(generation=0),
        text_with(generation=True),
        text_with(generation=1.0),
        text_with(generation=2**63),
        text_with(login=None),
        text_with(expires_at_unix="soon"),
        text_with(expires_at_unix=True),
        text_with(expires_at_unix=10**400),
        text_with(expires_at_unix=float("nan")),
        text_with(expires_at_unix=float("-inf")),
        text_with(owner=None),
        text_with(owner=[SECRET]),
        text_with(ended="because"),
        text_with(ended=""),
        text_with(ended={SECRET: "asked"}),
        text_with(ended_at_unix="yesterday"),
        text_with(ended_at_unix=float("inf")),
        text_with(unanswered=-1),
        text_with(unanswered=1.0),
        text_with(unanswered=True),
        text_with(unanswered=None),
        text_with(quiet_until_unix=True),
        text_with(quiet_until_unix=float("nan")),
        text_with(tokens=SECRET),
        text_with(tokens=[SECRET]),
        text_with(tokens={}),
        text_with_tokens(access_token=f"{SECRET}\n"),
        text_with_tokens(expires_in=-1),
        text_with_tokens(expires_in=10**400),
        text_with_tokens(scope=[[SECRET]]),
        text_with_tokens(**{SECRET: 1}),
        '{"format": "trioauth tokens", "version": 1}',
        text_with()[:-1],
        text_with() + SECRET,
        text_with(login="\udcff").replace("\\udcff", "\udcff"),
        f'["{SECRET}"]',
        f'{{"{SECRET}": 1, "{SECRET}": 2}}',
        "[" * 100_000,
        "",
        b"\xff\xfe",
    ],
)
def test_damaged_text_is_refused_without_quoting_it(text: str | bytes) -> None:
    assert refusal(text).startswith("not a token record: damaged")


def test_text_of_something_else_is_refused_as_such() -> None:
    assert "written by something else" in refusal(text_with(format="oauth cache"))


def test_text_of_a_newer_version_is_refused_as_such() -> None:
    assert "newer" in refusal(text_with(version=2))


def test_several_scopes_and_the_last_generation_there_can_be_are_read_back() -> None:
    record = Record(2**63 - 1, Tokens("access", scope="read write"))
    assert Record.from_text(record.to_text()) == record


def test_byte_order_mark_does_no_harm() -> None:
    assert Record.from_text(b"\xef\xbb\xbf" + text_with().encode()).generation == 3


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("generation", 0, ValueError),
        ("generation", 2**63, ValueError),
        ("generation", True, TypeError),
        ("generation", "1", TypeError),
        ("generation", 1.0, TypeError),
        ("tokens", SECRET, TypeError),
        ("login", None, TypeError),
        ("login", b"me", TypeError),
        ("expires_at_unix", float("nan"), ValueError),
        ("expires_at_unix", float("inf"), ValueError),
        ("expires_at_unix", 10**400, ValueError),
        ("expires_at_unix", True, TypeError),
        ("expires_at_unix", "1", TypeError),
        ("owner", None, TypeError),
        ("owner", b"me", TypeError),
        ("ended", SECRET, ValueError),
        ("ended", [SECRET], ValueError),
        ("ended_at_unix", float("nan"), ValueError),
        ("ended_at_unix", "1", TypeError),
        ("unanswered", -1, ValueError),
        ("unanswered", True, ValueError),
        ("unanswered", 1.5, ValueError),
        ("quiet_until_unix", float("inf"), ValueError),
        ("quiet_until_unix", False, TypeError),
    ],
)
def test_what_could_not_be_read_back_is_no_record(
    name: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"^{name} must be ") as caught:
        attrs.evolve(Record(1), **{name: value})
    assert SECRET not in str(caught.value)


def test_repr_hides_the_tokens() -> None:
    assert SECRET not in repr(Record(1, Tokens(SECRET, SECRET)))


def test_record_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match="use to_text"):
        pickle.dumps(Record(1))


def test_what_is_not_said_of_a_record_is_unknown_and_all_but_the_tokens_is_named() -> None:
    record = Record(1)
    assert (record.tokens, record.login, record.expires_at_unix) == (None, "", None)
    assert (record.owner, record.ended, record.ended_at_unix) == ("", None, None)
    assert (record.unanswered, record.quiet_until_unix) == (0, None)
    for extra in (("login",), ("login", 1.0)):
        with pytest.raises(TypeError, match="positional"):
            Record(1, None, *extra)  # type: ignore[call-arg, misc, unused-ignore]


# --- version 0.1.0 ----------------------------------------------------------------------------

# As it wrote it.
OF_0_1_0 = """{
 "format": "trioauth tokens",
 "version": 1,
 "generation": 3,
 "login": "me",
 "expires_at_unix": 1000000000.0,
 "tokens": {
  "access_token": "access",
  "refresh_token": "refresh",
  "expires_in": 60.0,
  "scope": "read write",
  "token_type": "Bearer"
 }
}"""


def read_as_0_1_0(text: str) -> Record:
    """What its `from_text` did: it read these members, and looked at no others."""
    data = json.loads(text)
    assert data["format"] == "trioauth tokens"
    assert data["version"] == 1
    return Record(
        data["generation"],
        None if data["tokens"] is None else Tokens(**data["tokens"]),
        login=data["login"],
        expires_at_unix=data["expires_at_unix"],
    )


def test_what_version_0_1_0_wrote_is_read() -> None:
    assert Record.from_text(OF_0_1_0) == Record(
        3, Tokens("access", "refresh", 60.0, "read write"), login="me", expires_at_unix=1e9
    )


@given(record_values)
def test_what_is_written_now_is_read_by_version_0_1_0(record: Record) -> None:
    tokens = record.tokens
    assert read_as_0_1_0(record.to_text()) == Record(
        record.generation,
        None if tokens is None else attrs.evolve(tokens, identity=None),
        login=record.login,
        expires_at_unix=record.expires_at_unix,
    )

"""Identity: a value that says who has logged in, and shows it only when it is asked."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
import trio

from tests.fakes import FakeGrant
from trioauth import Identity, LoggedIn, MemoryStore, Record, Tokens, open_session

CLAIMS = {"iss": "https://id.example.com", "sub": "sub-of-ann", "groups": ["a", "b"], "age": 7}


def test_an_identity_is_a_value() -> None:
    claims: dict[str, Any] = copy.deepcopy(CLAIMS)
    identity = Identity(claims)
    claims["sub"] = "bob"
    claims["groups"].append("c")
    assert (identity.iss, identity.sub) == ("https://id.example.com", "sub-of-ann")
    assert identity.claims == CLAIMS
    with pytest.raises(TypeError):
        identity.claims["sub"] = "bob"  # type: ignore[index]
    same = Identity(CLAIMS)
    assert (same, hash(same)) == (identity, hash(identity))
    assert Identity({**CLAIMS, "age": 8}) != identity
    assert copy.copy(identity) is copy.deepcopy(identity) is identity
    assert pickle.loads(pickle.dumps(identity)) == identity


def test_what_is_said_of_a_person_is_in_no_repr() -> None:
    identity = Identity(CLAIMS)
    assert repr(identity) == "<trioauth.Identity with age, groups, iss, sub>"
    tokens = Tokens("at", identity=identity)
    for shown in (tokens, Record(1, tokens), LoggedIn(1, identity=identity)):
        assert "ann" not in repr(shown)


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({}, ValueError),
        ({"iss": "https://id.example.com"}, ValueError),
        ({"iss": "", "sub": "x"}, ValueError),
        ({"iss": "https://id.example.com", "sub": 7}, ValueError),
        ({**CLAIMS, "x": float("nan")}, ValueError),
        ({**CLAIMS, "x": b"x"}, TypeError),
        ({**CLAIMS, "x": {1, 2}}, TypeError),
        (None, TypeError),
    ],
)
def test_an_identity_without_a_name_or_that_could_not_be_kept_is_refused(
    claims: Any, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        Identity(claims)
    assert "ann" not in str(caught.value)


def test_tokens_take_an_identity_and_nothing_else_for_it() -> None:
    with pytest.raises(TypeError, match="^identity must be an Identity or None, not dict"):
        Tokens("at", identity=CLAIMS)  # type: ignore[arg-type]


def test_an_answer_without_one_means_that_it_did_not_change() -> None:
    before, other = Tokens("at", identity=Identity(CLAIMS)), Identity({**CLAIMS, "age": 8})
    assert Tokens("at2").carry_over(before).identity == before.identity
    assert Tokens("at2", identity=other).carry_over(before).identity == other


def test_a_record_keeps_it_beside_the_tokens_where_older_versions_do_not_look() -> None:
    record = Record(1, Tokens("at", identity=Identity(CLAIMS)))
    members = json.loads(record.to_text())
    assert members["identity"] == CLAIMS
    assert "identity" not in members["tokens"]
    assert Record.from_text(record.to_text()) == record


@pytest.mark.parametrize("identity", [{}, {"iss": "x"}, [], "ann", 7])
def test_a_damaged_identity_is_a_damaged_record(identity: object) -> None:
    members = json.loads(Record(1, Tokens("at")).to_text())
    with pytest.raises(ValueError, match="damaged"):
        Record.from_text(json.dumps({**members, "identity": identity}))


def test_a_record_of_an_older_version_has_none() -> None:
    members = json.loads(Record(1, Tokens("at")).to_text())
    del members["identity"]
    assert Record.from_text(json.dumps(members)) == Record(1, Tokens("at"))


async def test_the_state_says_who_it_is_and_the_next_session_knows_it_from_the_store() -> None:
    store, identity = MemoryStore(), Identity(CLAIMS)
    tokens = Tokens("at", "rt", 3600, identity=identity)
    async with open_session(FakeGrant(), store=store, base_url="https://a.test") as session:
        await session.log_in(tokens)
        assert isinstance(session.state, LoggedIn)
        assert session.state.identity is identity
    async with open_session(FakeGrant(), store=store, base_url="https://a.test") as session:
        assert isinstance(session.state, LoggedIn)
        assert session.state.identity == identity
        await session.refresh()
        assert isinstance(session.state, LoggedIn)
        assert session.state.identity == identity
        await session.log_out()
        assert not hasattr(session.state, "identity")
    await trio.lowlevel.checkpoint()

"""What an answer of the authorization server means: only a known refusal ends a login (P14)."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio

from trioauth import (
    BearerRefreshGrant,
    ClientCredentialsGrant,
    GrantMisconfiguredError,
    GrantRefusedError,
    LoggedIn,
    LoggedOutError,
    RefreshPolicy,
    RefreshTokenGrant,
    RefreshUnavailableError,
    TokenResponseError,
    Tokens,
    open_session,
)
from trioauth._codes import ADVICE, OAUTH_CODES
from trioauth.oauth.channel import Answer

from .test_tokens import CANARY, chain, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from trio.testing import MockClock

    from trioauth import Error

URL = "https://id.example.com/token"
OLD = Tokens(f"at-{CANARY}", f"rt-{CANARY}")
NEW = f"new-{CANARY}"

oauth = RefreshTokenGrant(URL, client_id="notes", client_secret=f"cs-{CANARY}")
bearer = BearerRefreshGrant(
    URL, access_token="access_token", refresh_token="refresh_token", token_type="token_type"
)
own = ClientCredentialsGrant(URL, client_id="notes", client_secret=f"cs-{CANARY}")
coded = attrs.evolve(bearer, bare_status_refuses=False, refusals={"reason.code": ["over", 17]})


def answer(body: object, status: int = 200) -> Answer:
    return Answer(status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def failure(grant: Any, body: object, status: int = 200) -> Error:
    """Let a grant read an answer; return what it raises, after a look for secrets in it."""
    with pytest.raises(
        (GrantRefusedError, GrantMisconfiguredError, RefreshUnavailableError)
    ) as caught:
        grant.read(answer(body, status), OLD)
    assert CANARY not in shown(caught.value)
    assert CANARY not in " ".join(variables(caught.value.__traceback__))
    return caught.value


def variables(step: TracebackType | None) -> Iterator[str]:
    """What a crash reporter shows of the frames of the package."""
    while step is not None:
        if "trioauth" in step.tb_frame.f_globals["__name__"].split("."):
            yield repr(step.tb_frame.f_locals)
        step = step.tb_next


# --- refused, or not ------------------------------------------------------------------------

SAYS_NEITHER: list[object] = [
    {"message": "down for maintenance"},
    None,
    [],
    "no",
    {"ok": False, "error": "ratelimited"},
    {"ok": True},
    {"error": None},
    {"error": ["invalid_grant"]},
    {"error": {"code": "invalid_grant"}},
    {"error": "INVALID_GRANT"},
    {"message": "invalid_grant"},
    {"access_token": None, "token_type": "Bearer"},
]


@pytest.mark.parametrize("body", SAYS_NEITHER)
@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 500])
def test_p14_json_without_tokens_and_without_a_known_refusal_is_unavailable(
    body: object, status: int
) -> None:
    for grant in (oauth, own, coded):
        error = failure(grant, body, status)
        assert isinstance(error, RefreshUnavailableError)
        # An unknown code with a 4xx has been read, and nothing was done.
        assert error.safe_to_repeat == (status in {400, 401, 403, 404} and _has_code(body))


def _has_code(body: object) -> bool:
    return isinstance(body, dict) and isinstance(body.get("error"), str)


def test_tokens_count_whatever_is_beside_them() -> None:
    body = {"access_token": "at", "error": "invalid_grant", "errcode": 0}
    assert oauth.read(answer(body), OLD) == Tokens("at")


def test_all_advice_is_about_a_known_code() -> None:
    assert ADVICE.keys() <= OAUTH_CODES.keys()


async def test_p14_maintenance_in_json_ends_no_login(autojump_clock: MockClock) -> None:
    bodies: list[object] = [*SAYS_NEITHER[:3], {"access_token": "at", "refresh_token": "rt"}]

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.host == "api.test":
            return httpx.Response(200)
        return httpx.Response(200, json=bodies.pop(0))

    async with open_session(
        oauth,
        tokens=Tokens("access-0", "refresh-0", 3600),
        base_url="https://api.test",
        transport=httpx.MockTransport(serve),
        policy=RefreshPolicy(attempts=1),
    ) as session:
        while len(bodies) > 1:
            with pytest.raises(RefreshUnavailableError):
                await session.refresh()
            assert isinstance(session.state, LoggedIn)
            assert (await session.get("/")).status_code == 200
            await trio.sleep(600)
        await session.refresh()
        assert session.generation == 2


# --- codes of the server's own --------------------------------------------------------------

REFUSALS: Mapping[str, Any] = {
    "error": ["token_gone"],
    "status": ("BAD_REFRESH_TOKEN",),
    "errcode": [40030, "42002"],
    "reason.code": {17},
}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": "token_gone"}, "token_gone"),
        ({"status": "BAD_REFRESH_TOKEN", "message": "no"}, "BAD_REFRESH_TOKEN"),
        ({"errcode": 40030}, "40030"),
        ({"errcode": "40030"}, "40030"),
        ({"errcode": 42002}, "42002"),
        ({"reason": {"code": 17}}, "17"),
        # Before the known ones.
        ({"errcode": 40030, "error": "temporarily_unavailable"}, "40030"),
        ({"errcode": 40030, "error": "invalid_client"}, "40030"),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_grant_takes_codes_of_the_servers_own_also_in_another_member(
    body: object, code: str, status: int
) -> None:
    for grant in (oauth, bearer):
        error = failure(attrs.evolve(grant, refusals=REFUSALS), body, status)
        assert isinstance(error, GrantRefusedError)
        assert error.error == code


@pytest.mark.parametrize(
    "body",
    [
        {"errcode": 1},
        {"errcode": True},
        {"errcode": [40030]},
        {"errcode": None},
        {"reason": 17},
        {"reason": {"code": {}}},
        {"error": "BAD_REFRESH_TOKEN"},
        [40030],
    ],
)
def test_other_codes_refuse_nothing(body: object) -> None:
    grants = (
        attrs.evolve(oauth, refusals=REFUSALS),
        attrs.evolve(bearer, refusals=REFUSALS, bare_status_refuses=False),
    )
    for grant in grants:
        assert isinstance(failure(grant, body), RefreshUnavailableError)


@pytest.mark.parametrize(
    "refusals",
    [
        None,
        ["error"],
        "error",
        {"error": "token_gone"},
        {"error": 7},
        {"error": [True]},
        {"error": [None]},
        {1: ["a"]},
    ],
)
def test_refusals_that_are_none_are_a_type_error(refusals: Any) -> None:
    for make in (
        lambda: RefreshTokenGrant(URL, client_id="notes", refusals=refusals),
        lambda: BearerRefreshGrant(URL, refusals=refusals),
    ):
        with pytest.raises(TypeError, match="^refusals must map names to lists of codes"):
            make()


@pytest.mark.parametrize("status", [200, 400, 401, 403])
def test_a_bearer_refresh_grant_says_no_by_status_and_without_tokens_unless_told_otherwise(
    status: int,
) -> None:
    body = {"message": "no"}
    assert isinstance(failure(bearer, body, status), GrantRefusedError)
    assert isinstance(failure(coded, body, status), RefreshUnavailableError)
    assert isinstance(failure(coded, {"reason": {"code": "over"}}, status), GrantRefusedError)
    with pytest.raises(TypeError, match="bare_status_refuses"):
        BearerRefreshGrant(URL, bare_status_refuses=1)  # type: ignore[arg-type]


def test_a_message_names_the_setting_that_would_make_it_a_refusal() -> None:
    for grant in (oauth, coded):
        assert "set bare_status_refuses=True" in str(failure(grant, b"", 400))
        assert "name it in refusals=" in str(failure(grant, {"error": "odd"}))
    # Client credentials have no such settings, and these are no refusals.
    assert "set " not in str(failure(own, b"", 400))
    assert "name it" not in str(failure(own, {"error": "odd"}))
    assert "set " not in str(failure(oauth, b"", 500))
    assert "name it" not in str(failure(oauth, {"error": "server_error"}))


# --- token types ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token_type", "read"),
    [
        ("Bearer", "Bearer"),
        ("BEARER", "BEARER"),
        ("bearer ", "Bearer"),
        (" Bearer\n", "Bearer"),
        ("BearerToken", "Bearer"),
        ("bot", "Bearer"),
        ("user", "Bearer"),
        ("", "Bearer"),
        (None, "Bearer"),
        (7, "Bearer"),
        (["mac"], "Bearer"),
    ],
)
def test_a_token_type_that_is_missing_or_oddly_spelled_is_bearer(
    token_type: object, read: str
) -> None:
    assert Tokens.from_response({"access_token": "at"}) == Tokens("at")
    body = {"access_token": "at", "refresh_token": "rt", "token_type": token_type}
    assert oauth.read(answer(body), OLD) == Tokens("at", "rt", token_type=read)
    assert bearer.read(answer(body), OLD) == Tokens("at", "rt", token_type=read)


@pytest.mark.parametrize(
    ("token_type", "says"),
    [
        ("mac", '"mac"'),
        ("DPoP", '"DPoP"'),
        ("N_A", '"N_A"'),
        (" pop", '"pop"'),
        ("odd", "another type"),
        (CANARY, "another type"),
    ],
)
def test_a_token_type_that_cannot_be_used_is_misconfigured_and_loses_nothing(
    token_type: str, says: str
) -> None:
    body = {"access_token": f"at2-{CANARY}", "refresh_token": NEW, "token_type": token_type}
    for grant in (oauth, bearer):
        error = failure(grant, body)
        assert isinstance(error, GrantMisconfiguredError)
        assert error.error == "unusable_token_type"
        assert says in str(error)
        assert error._rotated == NEW
        # Not an equal copy of itself.
        assert error.__cause__ is None
    assert failure(own, body)._rotated is None


# --- a new refresh token --------------------------------------------------------------------

AT = f"at2-{CANARY}"
USELESS: list[object] = [
    {"refresh_token": NEW},
    {"refresh_token": NEW, "access_token": ""},
    {"refresh_token": NEW, "access_token": 5},
    {"refresh_token": NEW, "access_token": f"{AT}\n"},
    f'{{"access_token": "{AT}", "refresh_token": "{NEW}", "scope": "a", "scope": "b"}}'.encode(),
    f'{{"access_token": "{AT}", "access_token": "b", "refresh_token": "{NEW}"}}'.encode(),
    f'{{"access_token": "{AT}", "refresh_token": "{NEW}", "x": [{{"y": 1, "y": 2}}]}}'.encode(),
]


@pytest.mark.parametrize("body", USELESS)
def test_p7_a_new_refresh_token_in_an_answer_of_no_other_use_goes_along_with_the_error(
    body: object,
) -> None:
    for grant in (oauth, bearer, coded):
        error = failure(grant, body)
        assert isinstance(error, RefreshUnavailableError)
        assert error._rotated == NEW
    assert failure(own, body)._rotated is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"refresh_token": OLD.refresh_token}, 200),
        ({"refresh_token": f"{NEW} é"}, 200),
        ({"refresh_token": ""}, 200),
        ({"refresh_token": [NEW]}, 200),
        ({"refresh_token": None}, 200),
        # A word about the one that was sent.
        ({"refresh_token": "expired", "error": "odd"}, 200),
        ({"refresh_token": "expired", "message": "odd"}, 400),
        ({"refresh_token": "expired"}, 500),
        (b'{"refresh_token": "one", "refresh_token": "two"}', 200),
        (b'{"refresh_token": "one", ', 200),
    ],
)
def test_what_is_no_new_refresh_token_does_not_go_along(body: object, status: int) -> None:
    assert failure(oauth, body, status)._rotated is None
    assert failure(bearer, body, status)._rotated is None


def test_a_hidden_refresh_token_shows_nowhere_and_survives_a_copy_only() -> None:
    error = failure(oauth, USELESS[0])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again._rotated) == (str(error), None)
    assert copy.copy(error)._rotated == copy.deepcopy(error)._rotated == NEW
    for each in (error, again, copy.copy(error)):
        assert CANARY not in f"{each} {each!r} {each.args} {vars(each)} {each.__dict__}"
    assert CANARY.encode() not in pickle.dumps(error)


def test_a_grant_of_ones_own_hands_over_a_new_refresh_token() -> None:
    error = RefreshUnavailableError("it can't be used", rotated=NEW)
    assert error._rotated == NEW
    assert CANARY not in shown(error)
    for none in (None, "", "a b", 5):
        assert RefreshUnavailableError("no", rotated=none)._rotated is None  # type: ignore[arg-type]
    with pytest.raises(TokenResponseError) as caught:
        Tokens.from_response({"refresh_token": NEW})
    assert caught.value._rotated == NEW


# --- Tokens.from_response -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_grant", GrantRefusedError),
        ("bad_refresh_token", GrantRefusedError),
        ("invalid_client", GrantMisconfiguredError),
        ("temporarily_unavailable", RefreshUnavailableError),
        ("server_error", RefreshUnavailableError),
        ("odd", TokenResponseError),
    ],
)
def test_an_error_in_a_response_is_raised_as_what_it_is(code: str, kind: type[Error]) -> None:
    body = {"error": code, "error_description": f"not\nwith rt-{CANARY}"}
    with pytest.raises(kind) as bare:
        Tokens.from_response(body)
    assert type(bare.value) is kind
    # It is not known what was sent, so it could be in there.
    assert (code in str(bare.value)) == (code != "odd")
    assert "not" not in str(bare.value)
    with pytest.raises(kind) as told:
        Tokens.from_response(body, secrets=[f"rt-{CANARY}"])
    assert str(told.value).endswith(f"{code}: not with [redacted]")
    with pytest.raises(kind, match=f"{code}$"):
        Tokens.from_response({"error": code}, secrets=[])
    for error in (bare.value, told.value):
        assert list(chain(error)) == [error]
        assert CANARY not in shown(error)
        assert CANARY not in " ".join(variables(error.__traceback__))


def test_an_error_that_is_safe_to_repeat_says_so() -> None:
    with pytest.raises(RefreshUnavailableError) as caught:
        Tokens.from_response({"error": "temporarily_unavailable"})
    assert caught.value.safe_to_repeat
    with pytest.raises(RefreshUnavailableError) as caught:
        Tokens.from_response({"error": "server_error"})
    assert not caught.value.safe_to_repeat


async def test_a_grant_that_reads_with_from_response_needs_no_more(
    autojump_clock: MockClock,
) -> None:
    bodies: list[dict[str, object]] = [{"error": "server_error"}, {"error": "invalid_grant"}]

    async def renew(tokens: Tokens | None, endpoint: object) -> Tokens:
        await trio.lowlevel.checkpoint()
        return Tokens.from_response(bodies.pop(0))

    async with open_session(
        renew,
        tokens=Tokens("access-0", "refresh-0", 3600),
        base_url="https://api.test",
        policy=RefreshPolicy(attempts=1),
    ) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.refresh()
        await trio.sleep(600)
        with pytest.raises(LoggedOutError) as caught:
            await session.refresh()
        assert str(caught.value.__cause__).startswith("invalid_grant: an answer")


# --- whose tokens ---------------------------------------------------------------------------


def test_a_grant_says_whose_tokens_it_renews_without_the_query_of_its_url() -> None:
    url = f"{URL}?key={CANARY}"
    assert attrs.evolve(oauth, token_endpoint=url).owner == f"{URL} notes"
    assert attrs.evolve(own, token_endpoint=url).owner == f"{URL} notes"
    assert attrs.evolve(bearer, url=url).owner == URL


@pytest.mark.parametrize("grant", [RefreshTokenGrant, ClientCredentialsGrant, BearerRefreshGrant])
def test_help_says_what_each_parameter_of_a_grant_is_for(grant: type[Any]) -> None:
    arguments = (inspect.getdoc(grant) or "").partition("Args:\n")[2].partition("Raises:\n")[0]
    for field in attrs.fields(grant):
        assert not field.init or f"\n  {field.name}: " in f"\n{arguments}", field.name

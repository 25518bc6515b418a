"""Bad input: an error at the earliest moment, that names the parameter and never the secret."""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

import trioauth
from trioauth import (
    BearerRefreshGrant,
    ClientCredentialsGrant,
    FileStore,
    GrantRefusedError,
    LoggedOutError,
    Record,
    RefreshPolicy,
    RefreshTokenGrant,
    RefreshUnavailableError,
    StoreError,
    TokenEndpoint,
    TokenRequest,
    TokenResponseError,
    Tokens,
    open_session,
)

from .both import API, LIBRARIES
from .fakes import FakeGrant, FakeStore, first_tokens
from .sessions import opened

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def fails_to_open(*arguments: Any, **options: Any) -> Exception:
    """Open a session; return the error. The block must not be reached."""
    with pytest.raises(Exception) as info:  # looked at by the caller
        async with open_session(*arguments, **options):
            raise AssertionError("it does not open")
    error: Exception = info.value
    assert "canary" not in f"{error}{error!r}{error.__cause__!r}"
    assert "s3cret" not in f"{error}{error!r}{error.__cause__!r}"
    return error


# --- Tokens --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (-1, ValueError),
        (-0.001, ValueError),
        (math.inf, ValueError),
        (-math.inf, ValueError),
        (math.nan, ValueError),
        ("3600", TypeError),
        (True, TypeError),
        (b"1", TypeError),
        ([], TypeError),
        (1j, TypeError),
        (10**400, ValueError),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_lifetime_that_makes_no_sense(value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^expires_in must be .*seconds"):
        Tokens("access", "refresh", value)


@pytest.mark.parametrize("value", [0, 0.5, 3600, 1e12, None])
def test_a_lifetime_that_makes_sense(value: Any) -> None:
    assert Tokens("access", "refresh", value).expires_in == value


BAD_TOKENS = [
    "",
    " at-canary",
    "at-canary ",
    "at-canary\n",
    "at-canary\r\nX-Evil: 1",
    "at-canary\x00",
    "at-canary\x1b[2J",
    "at-canary\x7f",
    "at-canary\xa0",
    "at-canary-é",
    "at-canary-\u202e",
    "at\tcanary",
]


@pytest.mark.parametrize("parameter", ["access_token", "refresh_token"])
@pytest.mark.parametrize("value", BAD_TOKENS, ids=ascii)
def test_a_token_with_characters_that_do_not_travel(parameter: str, value: str) -> None:
    arguments: Any = {"access_token": "fine", parameter: value}
    with pytest.raises(ValueError, match=rf"^{parameter} must be visible ASCII.*pass") as info:
        Tokens(**arguments)
    assert "canary" not in str(info.value)


@pytest.mark.parametrize("parameter", ["access_token", "refresh_token"])
@pytest.mark.parametrize("value", [b"at-canary", 5, ["at-canary"], {"at-canary": 1}], ids=repr)
def test_a_token_that_is_no_string(parameter: str, value: Any) -> None:
    arguments: Any = {"access_token": "fine", parameter: value}
    with pytest.raises(TypeError, match=rf"^{parameter} must be a str, not \w+$") as info:
        Tokens(**arguments)
    assert "canary" not in str(info.value)


def test_an_access_token_has_to_be_there() -> None:
    nothing: Any = None
    with pytest.raises(TypeError, match="access_token must be a str, not NoneType"):
        Tokens(nothing)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"token_type": "mac"}, ValueError, "token_type must be 'Bearer'"),
        ({"token_type": None}, TypeError, "token_type must be a str"),
        ({"scope": ["read", 5]}, TypeError, "scope must hold strings"),
        ({"scope": 'a"b'}, ValueError, "scope has a value"),
        ({"scope": ["two words"]}, ValueError, "scope has a value"),
    ],
)
def test_the_rest_of_tokens(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Tokens("access", **arguments)


@pytest.mark.parametrize(
    "parameter", ["early", "leeway", "timeout", "backoff", "cooldown", "close_grace"]
)
@pytest.mark.parametrize(
    ("value", "kind"),
    [(-1, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("5", TypeError)],
    ids=repr,
)
def test_a_policy_that_makes_no_sense(parameter: str, value: Any, kind: type[Exception]) -> None:
    arguments: dict[str, Any] = {parameter: value}
    with pytest.raises(kind, match=f"^{parameter} must be .*seconds"):
        RefreshPolicy(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"max_futile": 0},
        {"max_futile": True},
        {"when_unavailable": "panic"},
    ],
    ids=repr,
)
def test_the_rest_of_a_policy(arguments: dict[str, Any]) -> None:
    [name] = arguments
    with pytest.raises(ValueError, match=name):
        RefreshPolicy(**arguments)


# --- URLs ----------------------------------------------------------------------------------

BAD_ENDPOINTS = [
    "http://id.example.com/token",
    "http://10.0.0.1/token",
    "http://localhost.example.com/token",
    "ftp://id.example.com/token",
    "id.example.com/token",
    "",
    "https://me:s3cret@id.example.com/token",
    "https://id.example.com/token#fragment",
]

GRANTS: dict[str, Callable[[str], object]] = {
    "RefreshTokenGrant": lambda url: RefreshTokenGrant(url, client_id="me"),
    "ClientCredentialsGrant": lambda url: ClientCredentialsGrant(
        url, client_id="me", client_secret="s3cret"
    ),
    "BearerRefreshGrant": BearerRefreshGrant,
    "TokenRequest": TokenRequest,
}


@pytest.mark.parametrize("make", GRANTS.values(), ids=GRANTS)
@pytest.mark.parametrize("url", BAD_ENDPOINTS)
def test_a_token_endpoint_that_secrets_may_not_be_sent_to(
    make: Callable[[str], object], url: str
) -> None:
    with pytest.raises(ValueError, match=r"(endpoint|url)") as info:
        make(url)
    assert "s3cret" not in f"{info.value}{info.value.__cause__!r}"


async def test_a_session_without_origins_says_what_to_pass() -> None:
    error = await fails_to_open(FakeGrant(), tokens=first_tokens())
    assert isinstance(error, ValueError)
    assert "base_url=" in str(error)
    assert "origins=" in str(error)


# --- arguments of open_session -------------------------------------------------------------


@pytest.mark.parametrize("grant", [None, 5, "grant", first_tokens(), RefreshTokenGrant], ids=repr)
async def test_a_grant_that_is_none(grant: Any) -> None:
    error = await fails_to_open(grant, base_url=API)
    assert isinstance(error, TypeError)
    assert "grant must be" in str(error)


@pytest.mark.parametrize(
    "tokens",
    ["at-canary", {"access_token": "at-canary"}, Record(1, None)],
    ids=["str", "dict", "Record"],
)
async def test_tokens_that_are_none(tokens: Any) -> None:
    error = await fails_to_open(FakeGrant(), tokens=tokens, base_url=API)
    assert isinstance(error, TypeError)
    assert "tokens must be trioauth.Tokens" in str(error)
    # What an answer has to go through.
    assert ("Tokens.from_response(...)" in str(error)) == isinstance(tokens, dict)


async def test_auth_is_not_an_option() -> None:
    error = await fails_to_open(FakeGrant(), base_url=API, auth=("me", "s3cret"))
    assert isinstance(error, TypeError)
    assert "auth=" in str(error)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"store": "tokens.json"}, "store"),
        # With a name of its own: an address in it would differ from process to process.
        pytest.param({"store": object()}, "store", id="an object-store"),
        ({"store": FileStore}, "store must be a TokenStore, .*, not the class FileStore"),
        ({"policy": 5}, "policy"),
        ({"policy": {"early": 5}}, "policy"),
        ({"observers": [5]}, "observers"),
        ({"observers": print}, "observers"),
        ({"is_rejected": True}, "is_rejected"),
        ({"timeuot": 5}, "timeuot"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value),
)
async def test_an_argument_of_the_wrong_kind_is_named_when_the_session_opens(
    options: dict[str, Any], name: str
) -> None:
    error = await fails_to_open(FakeGrant(), tokens=first_tokens(), base_url=API, **options)
    assert isinstance(error, TypeError)
    assert re.search(name, str(error))


def test_a_session_has_no_constructor_and_says_what_to_use() -> None:
    session: Any = trioauth.Session
    for arguments in ((), (FakeGrant(),)):
        with pytest.raises(TypeError, match=r"async with open_session\(\.\.\.\)"):
            session(*arguments)


async def test_what_is_attached_has_to_be_an_asynchronous_client() -> None:
    async with opened() as session:
        for client in (None, "client", object(), httpx.AsyncClient, session):
            nothing: Any = client
            with pytest.raises(TypeError, match=r"httpx\.AsyncClient.*httpx2\.AsyncClient"):
                session.attach(nothing)
        for library in LIBRARIES:
            with library.Client() as synchronous:
                with pytest.raises(TypeError, match="synchronous"):
                    session.attach(synchronous)
        assert session.token_nowait() == "access-0"


@pytest.mark.parametrize("valid_for", [math.nan, "60", True, None], ids=repr)
async def test_token_for_a_time_that_makes_no_sense(valid_for: Any) -> None:
    async with opened() as session:
        with pytest.raises((TypeError, ValueError), match="^valid_for must be .*seconds"):
            await session.token(valid_for)


# --- grants, stores, and what obtains tokens -----------------------------------------------


@pytest.mark.parametrize(
    "answer", [None, "at-canary-1", {"access_token": "at-canary-1"}, ("at-canary-1", "rt-canary-1")]
)
async def test_a_grant_that_returns_something_else_than_tokens(answer: Any) -> None:
    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Any:
        return answer

    async with opened(grant, tokens=first_tokens(70)) as session:
        async with session.open_nursery():
            session.reject(1)
            with pytest.raises(RefreshUnavailableError, match=r"must return trioauth\.Tokens") as i:
                await session.token()
            assert isinstance(i.value.__cause__, TokenResponseError)
            assert type(answer).__name__ in str(i.value.__cause__)
            assert session.generation == 1


async def test_a_grant_that_is_no_async_function() -> None:
    def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Any:
        return first_tokens()

    careless: Any = grant
    async with opened(careless) as session:
        with pytest.raises(RefreshUnavailableError) as info:
            await session.refresh()
        assert isinstance(info.value.__cause__, TypeError)
        assert session.token_nowait() == "access-0"


async def test_log_in_with_a_function_that_is_not_async_or_was_called_already_says_so() -> None:
    async def human(endpoint: TokenEndpoint) -> Tokens:
        return first_tokens()

    def hasty(endpoint: TokenEndpoint) -> Any:
        return first_tokens()

    async with open_session(FakeGrant(), base_url=API) as session:
        with pytest.raises(TypeError, match="must be async; it returned a Tokens at once"):
            await session.log_in(hasty)
        called: Any = human(TokenEndpoint(httpx.AsyncClient))
        with pytest.raises(TypeError, match="not a coroutine; pass the function itself"):
            await session.log_in(called)
        called.close()
        await session.log_in(human)
        assert session.generation == 1


def test_a_session_on_asyncio_says_that_it_needs_trio() -> None:
    async def main() -> None:
        async with open_session(FakeGrant(), base_url=API):
            raise AssertionError("it does not open")

    with pytest.raises(RuntimeError, match=r"trio\.run.*%load_ext trioauth\.notebook"):
        asyncio.run(main())


@pytest.mark.parametrize("tokens", ["at-canary-1", 5, {"access_token": "at-canary-1"}])
async def test_log_in_with_something_else_than_tokens(tokens: Any) -> None:
    async def obtain(endpoint: TokenEndpoint) -> Any:
        return tokens

    async with opened() as session:
        async with session.open_nursery():
            for wrong in (tokens, obtain):
                with pytest.raises(TypeError, match=r"tokens must be|must return") as info:
                    await session.log_in(wrong)
                assert "trioauth.Tokens" in str(info.value)
                assert "canary" not in str(info.value)
                assert ("Tokens.from_response(...)" in str(info.value)) == isinstance(tokens, dict)
            with pytest.raises(TypeError, match="log_in.* needs tokens="):
                await session.log_in()
            assert session.token_nowait() == "access-0"


@pytest.mark.parametrize("with_tokens", [True, False])
async def test_a_store_that_can_not_be_read_stops_the_opening(with_tokens: bool) -> None:
    store = FakeStore(fail_load=StoreError("tokens.json is damaged", path="tokens.json"))
    error = await fails_to_open(
        FakeGrant(), store=store, base_url=API, tokens=first_tokens() if with_tokens else None
    )
    assert isinstance(error, StoreError)
    assert error.path == "tokens.json"
    # Nothing was overwritten.
    assert store.saved == []


# --- extras --------------------------------------------------------------------------------


def run_without(module: str, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program as if a module were not installed."""
    blocked = f"import sys\nsys.modules[{module!r}] = None\n"
    return subprocess.run(
        [sys.executable, "-c", blocked + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_hypercorn_serving_says_what_to_install() -> None:
    done = run_without(
        "hypercorn",
        """
        import trio
        from trioauth.testing import AuthServer
        async def main():
            async with AuthServer().serve():
                pass
        trio.run(main)
        """,
    )
    assert done.returncode == 1
    assert (
        'ImportError: AuthServer.serve() needs hypercorn: pip install "trioauth[testing]"'
        in (done.stderr.strip().splitlines()[-1])
    )


@pytest.mark.parametrize("module", ["hypercorn", "rich"])
def test_without_an_extra_the_demo_says_what_to_install(module: str) -> None:
    done = run_without(
        module,
        """
        import runpy
        sys.argv = ["trioauth", "demo"]
        runpy.run_module("trioauth", run_name="__main__")
        """,
    )
    assert done.returncode == 2
    assert 'pip install "trioauth[testing]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("depth", [1, 2])
async def test_an_error_from_a_nursery_of_the_grants_own_counts_as_itself(depth: int) -> None:
    async def refuse(depth: int) -> None:
        if depth == 0:
            raise GrantRefusedError("invalid_grant")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse, depth - 1)
            nursery.start_soon(trio.sleep, 1)

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        await refuse(depth)
        raise AssertionError

    async with opened(grant, tokens=first_tokens(0)) as session:
        with pytest.raises(LoggedOutError) as info:
            await session.token()
        assert isinstance(info.value.__cause__, GrantRefusedError)

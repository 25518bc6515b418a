"""The pytest plugin of trioauth: an authorization server, a session on it, and a virtual clock.

pytest loads this module on each run on a machine where trioauth is installed, for projects that
have nothing to do with it, too. So it is a module of its own, outside the package, and imports
nothing but pytest before a fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from trio.testing import MockClock

    from trioauth import Session
    from trioauth.testing import AuthServer

_NOT_TRIO = (
    "auth_session needs trio: install pytest-trio, or let anyio's plugin use trio, with a fixture"
    " anyio_backend that returns 'trio'"
)
_NO_PLUGIN_RUNS_IT = (
    "auth_session is for async tests that a plugin runs on trio, and no plugin runs this one: set"
    " trio_mode = true in pytest's configuration (pytest-trio), or mark the test with"
    " pytest.mark.trio or pytest.mark.anyio; a test that is not async calls trio.run and"
    " auth_server.open_session() itself"
)
_CLOCK_IS_NO_ARGUMENT = (
    "virtual_clock has no effect: pytest-trio looks for a clock among the arguments of the test"
    " itself, so name it there, too"
)
_CLOCK_IS_NO_OPTION = (
    "virtual_clock has no effect: anyio's plugin starts trio with the options that anyio_backend"
    " names. Put this fixture into the module, or into conftest.py:\n\n"
    "@pytest.fixture\n"
    "def anyio_backend(virtual_clock):\n"
    '    return "trio", {"clock": virtual_clock}\n'
)


@pytest.fixture
def auth_server() -> Iterator[AuthServer]:
    """An authorization server and an API, in memory; trioauth.testing.AuthServer says more.

    For a server with other settings, define a fixture of this name that returns it. auth_session
    then uses that server.
    After the test it fails for what a program did wrong when it logged in
    (`AuthServer.complaints`).
    """
    from trioauth.testing import AuthServer

    server = AuthServer()
    yield server
    server.check()


@pytest.fixture
async def auth_session(auth_server: AuthServer) -> AsyncGenerator[Session, None]:
    """An open trioauth.Session on auth_server, logged in; closed after the test.

    For async tests on trio, under pytest-trio or under anyio's plugin.
    """
    import trio

    if not trio.lowlevel.in_trio_run():
        pytest.fail(_NOT_TRIO, pytrace=False)
    async with auth_server.open_session() as session:
        yield session


@pytest.fixture
def virtual_clock() -> MockClock:
    """A clock on which an hour passes in no time: trio.testing.MockClock, autojumping.

    Whenever all tasks wait, it jumps to the next moment at which something happens;
    ``virtual_clock.jump(3600)`` lets an hour pass at once. With pytest-trio, name it among the
    arguments of the test. With anyio's plugin, define this once for a module or in conftest.py::

        @pytest.fixture
        def anyio_backend(virtual_clock):
            return "trio", {"clock": virtual_clock}

    It does not see threads and sockets: it jumps while tasks wait for them.
    """
    from trio.testing import MockClock

    return MockClock(autojump_threshold=0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail with a clear message if no plugin would run the fixture auth_session."""
    if not isinstance(item, pytest.Function):
        return
    definitions = item._fixtureinfo.name2fixturedefs.get("auth_session", [])
    is_ours = any(definition.func.__module__ == __name__ for definition in definitions[-1:])
    if is_ours and not any(map(item.get_closest_marker, ("trio", "anyio", "asyncio"))):
        pytest.fail(_NO_PLUGIN_RUNS_IT, pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Fail if the virtual clock would be ignored: the test could wait for an hour."""
    funcargs: dict[str, Any] = pyfuncitem.funcargs
    if "virtual_clock" not in funcargs:
        return
    if "anyio_backend" in funcargs:
        backend: Any = funcargs["anyio_backend"]
        clock: object = None if isinstance(backend, str) else backend[1].get("clock")
        if clock is not funcargs["virtual_clock"]:
            pytest.fail(_CLOCK_IS_NO_OPTION, pytrace=False)
        return
    arguments = pyfuncitem._fixtureinfo.argnames
    if pyfuncitem.get_closest_marker("trio") is not None and "virtual_clock" not in arguments:
        pytest.fail(_CLOCK_IS_NO_ARGUMENT, pytrace=False)

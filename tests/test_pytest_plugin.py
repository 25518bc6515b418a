"""The pytest plugin, as projects meet it: each test runs pytest on a test module of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PYTEST_TRIO = """
import pytest, trio
pytestmark = pytest.mark.trio
"""
ANYIO = """
import pytest, trio
pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend(virtual_clock):
    return "trio", {"clock": virtual_clock}
"""
ANYIO_WITHOUT_CLOCK = """
import pytest, trio
pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "trio"
"""
# Without the other plugin, as in a project that does not have it.
ONLY_PYTEST_TRIO = ("-p", "no:anyio")
ONLY_ANYIO = ("-p", "no:trio")
UNDER_EITHER = pytest.mark.parametrize(
    ("head", "options"),
    [
        pytest.param(PYTEST_TRIO, ONLY_PYTEST_TRIO, id="pytest-trio"),
        pytest.param("import pytest, trio", ("-o", "trio_mode=true"), id="trio_mode beside anyio"),
        pytest.param(ANYIO, ONLY_ANYIO, id="anyio"),
        pytest.param(ANYIO, (), id="anyio beside pytest-trio"),
    ],
)


def run_pytest(folder: Path, module: str, *options: str) -> str:
    """Run pytest in a folder, warnings being errors, and return what it wrote."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (folder / "test_it.py").write_text(module)
    # No hypothesis: it takes half a second to load, and has nothing to do with it.
    command = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *options]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def outcome_of(written: str) -> str:
    return re.sub(r" in [\d.]+s.*", "", written.strip().splitlines()[-1].strip("= "))


@pytest.mark.slow
@UNDER_EITHER
def test_an_hour_passes_in_no_time(tmp_path: Path, head: str, options: tuple[str, ...]) -> None:
    module = f"""{head}
async def test_the_hour_of_a_token(auth_session, auth_server, virtual_clock):
    assert (await auth_session.get("/me")).json()["generation"] == 1
    await trio.sleep(3600)
    assert (await auth_session.get("/me")).json()["generation"] == 2
    virtual_clock.jump(3600)
    assert (await auth_session.get("/me")).json()["generation"] == 3
    assert trio.current_time() == 7200
    assert auth_server.ledger.refreshes == 2

async def test_the_next_test_has_a_server_a_session_and_a_clock_of_its_own(
    virtual_clock, auth_server, auth_session
):
    assert trio.current_time() == 0
    assert auth_server.ledger.refreshes == 0
    auth_server.expire()
    assert (await auth_session.get("/me")).json()["login"] == 1

async def test_the_session_is_logged_out_with_the_server(auth_session, auth_server, virtual_clock):
    auth_server.revoke()
    async with auth_session.open_nursery() as nursery:
        await auth_session.get("/me")

async def test_a_cancelled_task_leaves_the_session_alone(auth_session, auth_server, virtual_clock):
    auth_server.expire()
    auth_server.delay(5)
    with trio.move_on_after(1) as impatience:
        await auth_session.get("/me")
    assert impatience.cancelled_caught
    await trio.sleep(5)
    assert (await auth_session.get("/me")).status_code == 200
    assert auth_server.ledger.reused == 0

class TestAServerOfTheProjectsOwn:
    @pytest.fixture
    def auth_server(self):
        from trioauth.testing import AuthServer
        return AuthServer(lifetime=60, client_secret="hush")

    async def test_it_takes_the_place_of_the_fixture(self, auth_session, virtual_clock):
        virtual_clock.jump(60)
        assert (await auth_session.get("/me")).json()["generation"] == 2
"""
    written = run_pytest(tmp_path, module, *options)
    assert outcome_of(written) == "1 failed, 4 passed", written
    assert "LoggedOutError" in written


@pytest.mark.slow
@UNDER_EITHER
def test_what_a_program_did_wrong_at_the_server_fails_its_test(
    tmp_path: Path, head: str, options: tuple[str, ...]
) -> None:
    module = f"""
{head}
import httpx

async def test_a_log_in_without_pkce(auth_server):
    async with httpx.AsyncClient(transport=auth_server.transport()) as http:
        query = {{"client_id": "client", "redirect_uri": "http://127.0.0.1/", "state": "s"}}
        await http.get(auth_server.endpoint("authorize"), params=query)

async def test_one_that_is_wrong_on_purpose(auth_server):
    await test_a_log_in_without_pkce(auth_server)
    auth_server.complaints.clear()
"""
    written = run_pytest(tmp_path, module, *options)
    assert outcome_of(written) == "2 passed, 1 error", written
    assert "the server complains:\n" in written
    assert "authorize: response_type must be code" in written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "options"),
    [
        pytest.param("import trio", ("-o", "trio_mode=true"), id="pytest-trio"),
        pytest.param(ANYIO_WITHOUT_CLOCK, ONLY_ANYIO, id="anyio"),
    ],
)
def test_without_a_clock_the_fixtures_work_all_the_same(
    tmp_path: Path, head: str, options: tuple[str, ...]
) -> None:
    module = f"""{head}
async def test_refresh(auth_session, auth_server):
    auth_server.expire()
    assert (await auth_session.get("/me")).json()["generation"] == 2

def test_a_test_that_is_not_async_has_the_server(auth_server):
    assert auth_server.log_in().expires_in == 3600

def test_a_test_that_runs_trio_itself_has_the_clock(auth_server, virtual_clock):
    async def main():
        async with auth_server.open_session() as session:
            await trio.sleep(3600)
            assert (await session.get("/me")).json()["generation"] == 2
    trio.run(main, clock=virtual_clock)
"""
    written = run_pytest(tmp_path, module, *options)
    assert outcome_of(written) == "3 passed", written


@pytest.mark.slow
def test_a_clock_that_pytest_trio_would_not_see_is_a_failure(tmp_path: Path) -> None:
    module = f"""{PYTEST_TRIO}
@pytest.mark.usefixtures("virtual_clock")
async def test_a_long_time():
    await trio.sleep(3600)
"""
    written = run_pytest(tmp_path, module, *ONLY_PYTEST_TRIO)
    assert outcome_of(written) == "1 failed", written
    assert "virtual_clock has no effect" in written
    assert "among the arguments of the test" in written


@pytest.mark.slow
def test_a_clock_that_anyio_would_not_see_is_a_failure(tmp_path: Path) -> None:
    module = """
import pytest, trio
pytestmark = pytest.mark.anyio

@pytest.mark.parametrize("anyio_backend", ["trio", ("trio", {}), ("trio", {"clock": None})])
async def test_a_long_time(anyio_backend, virtual_clock):
    await trio.sleep(3600)
"""
    written = run_pytest(tmp_path, module, *ONLY_ANYIO)
    assert outcome_of(written) == "3 failed", written
    assert "virtual_clock has no effect" in written
    # What it says to put there is what these tests put there.
    assert ANYIO.partition("\n\n")[2] in written


@pytest.mark.slow
def test_what_anyio_runs_on_asyncio_is_told_to_use_trio(tmp_path: Path) -> None:
    module = """
import pytest
pytestmark = pytest.mark.anyio
async def test_it(auth_session):
    raise AssertionError
"""
    written = run_pytest(tmp_path, module, *ONLY_ANYIO)
    assert outcome_of(written) == "1 failed, 1 error", written
    assert "auth_session needs trio" in written


@pytest.mark.slow
def test_a_session_that_no_plugin_would_open_says_what_to_set(tmp_path: Path) -> None:
    module = """
'>>> 2 + 2\\n4'

import pytest

async def test_it(auth_session):
    raise AssertionError

def test_that_is_not_async(auth_session):
    raise AssertionError

@pytest.mark.usefixtures("auth_session")
class TestOnes:
    @pytest.fixture
    def auth_session(self):
        return "a session of its own"

    def test_it(self, auth_session):
        assert auth_session == "a session of its own"
"""
    for options in (ONLY_PYTEST_TRIO, ONLY_ANYIO, ()):
        # A doctest is no function, and none of ours.
        written = run_pytest(tmp_path, module, "--doctest-modules", *options)
        assert outcome_of(written) == "2 passed, 2 errors", written
        assert "set trio_mode = true" in written
        assert "AssertionError" not in written


@pytest.mark.slow
def test_the_fixtures_are_listed_with_what_they_are(tmp_path: Path) -> None:
    written = run_pytest(tmp_path, "", "--fixtures")
    for line in (
        r"auth_server -- .*: An authorization server and an API, in memory",
        r"auth_session -- .*: An open trioauth.Session on auth_server",
        r"virtual_clock -- .*: A clock on which an hour passes in no time",
    ):
        assert re.search(line.replace(": ", r"\s+"), written), written


def test_a_run_that_uses_none_of_it_imports_none_of_it(tmp_path: Path) -> None:
    module = """
import sys

def test_nothing_was_imported():
    assert "pytest_trioauth" in sys.modules
    assert not {"trioauth", "trio", "httpx", "httpx2", "attrs"} & sys.modules.keys()
"""
    written = run_pytest(tmp_path, module, "-p", "no:trio", "-p", "no:anyio")
    assert outcome_of(written) == "1 passed", written


def test_the_plugin_itself_imports_pytest_alone() -> None:
    program = """
        import sys, pytest
        before = set(sys.modules)
        import pytest_trioauth
        print(*sorted(set(sys.modules) - before))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["pytest_trioauth"]

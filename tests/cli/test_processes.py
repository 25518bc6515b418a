"""The command line as processes: many at once, interrupted, and as other programs call it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio
import trustme

from tests.canary import SECRET
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.slow]

# As the program that a test starts is: with the shell's own Control-C.
_GROUP: dict[str, Any] = {} if sys.platform == "win32" else {"process_group": 0}


@attrs.frozen
class Machine:
    """A machine on which commands are run, and the server that they ask."""

    server: AuthServer
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        # No browser, whatever there is where the tests run.
        kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        return {**kept, "TRIOAUTH_HOME": str(self.home), "BROWSER": ""}

    async def run(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        with trio.fail_after(60):
            done = await trio.run_process(
                [sys.executable, "-m", "trioauth", *argv],
                stdin=stdin.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=self.environment,
            )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert not SECRET.search(err), "P29"
        return subprocess.CompletedProcess(argv, done.returncode, out, err)

    @property
    def who(self) -> Sequence[str]:
        return ["--issuer", self.server.issuer, "--client-id", "client"]

    async def take(self, *, expires_in: float = 3600) -> None:
        tokens = self.server.log_in()
        answer = {"access_token": tokens.access_token, "refresh_token": tokens.refresh_token}
        stdin = json.dumps({**answer, "expires_in": expires_in})
        done = await self.run("login", "notes", *self.who, "--with-token", stdin=stdin)
        assert done.returncode == 0, done.stderr

    def files(self) -> list[str]:
        found = [path for path in self.home.rglob("*") if path.is_file()]
        return sorted(path.name for path in found if path.suffix != ".lock")


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    server = AuthServer(scope="notes")
    async with server.serve():
        yield Machine(server, tmp_path / "home")
    server.check()


async def test_p1_eight_processes_with_an_expired_token_refresh_once(machine: Machine) -> None:
    await machine.take(expires_in=0.001)
    # Long enough for all of them to have begun.
    machine.server.delay(1)
    tokens = list[str]()

    async def print_token() -> None:
        done = await machine.run("token", "notes")
        assert (done.returncode, done.stderr) == (0, "")
        tokens.append(done.stdout)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(print_token)
    assert len(tokens) == 8
    assert len(set(tokens)) == 1
    assert machine.server.ledger.refreshes == 1


@attrs.define
class Running:
    """A command that runs."""

    process: trio.Process
    err: str = ""

    async def wait_said(self, pattern: str) -> re.Match[str]:
        """Wait until it has said something on stderr."""
        assert self.process.stderr is not None
        while (match := re.search(pattern, self.err)) is None:
            data = await self.process.stderr.receive_some()
            assert data, f"it ended, and did not say {pattern}: {self.err}"
            self.err += data.decode()
        return match

    async def read_all(self) -> None:
        """Wait until it says nothing more."""
        assert self.process.stderr is not None
        async for data in self.process.stderr:
            self.err += data.decode()


async def begin(machine: Machine, nursery: trio.Nursery, *argv: str) -> Running:
    start = partial(
        trio.run_process,
        [sys.executable, "-m", "trioauth", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
        env=machine.environment,
        **_GROUP,
    )
    return Running(await nursery.start(start))


@pytest.mark.skipif(sys.platform == "win32", reason="Control-C goes to the whole console")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("way", ["--browser", "--device"])
async def test_p24_control_c_ends_a_log_in_and_nothing_is_left(
    way: str, signum: int, code: int, machine: Machine
) -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            login = await begin(machine, nursery, "login", "notes", *machine.who, way)
            await login.wait_said("http://")
            login.process.send_signal(signum)
            await login.read_all()
            assert await login.process.wait() == code, login.err
    assert "Traceback" not in login.err
    assert machine.files() == []
    assert (await machine.run("token", "notes")).returncode == 3


async def test_a_person_logs_in_with_a_browser(machine: Machine) -> None:
    machine.server.approve()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            login = await begin(machine, nursery, "login", "notes", *machine.who, "--browser")
            said = await login.wait_said(r"(http://\S+)")
            async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as browser:
                page = await browser.get(said[1])
            assert page.status_code == 200
            await login.wait_said("notes: logged in at http://127.0.0.1")
            assert await login.process.wait() == 0
    token = await machine.run("token", "notes", "--format", "header")
    name, _, value = token.stdout.strip().partition(": ")
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{machine.server.url}/notes", headers={name: value})
    assert answer.status_code == 200


async def test_a_person_logs_in_with_a_code(machine: Machine) -> None:
    machine.server.lie(device={"interval": 0.05})
    machine.server.approve()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            login = await begin(machine, nursery, "login", "notes", *machine.who, "--device")
            said = await login.wait_said(r"(http://\S+)\s+and enter the code (\S+)")
            async with httpx.AsyncClient(trust_env=False) as browser:
                page = await browser.get(said[1], params={"user_code": said[2]})
            assert page.status_code == 200
            await login.wait_said("notes: logged in at http://127.0.0.1")
            await login.read_all()
            assert await login.process.wait() == 0
    assert (await machine.run("token", "notes")).returncode == 0


async def test_p29_no_command_shows_a_token_but_token_however_much_it_tells(
    machine: Machine,
) -> None:
    await machine.take()
    for argv in (["status"], ["status", "--json", "--check"], ["profiles"], ["profiles", "--json"],
                 ["profiles", "--show", "notes"], ["token", "notes", "--refresh"],
                 ["logout", "notes"], ["status"]):  # fmt: skip
        done = await machine.run("--verbose", *argv)
        assert argv[0] == "token" or not SECRET.search(done.stdout)
        assert done.returncode == (3 if argv == ["status"] and "logged out" in done.stderr else 0)


@pytest.mark.parametrize("more", [[], ["--httpx2"]])
async def test_the_demo_with_a_profile_spends_one_refresh_and_revokes_nothing(
    more: list[str], machine: Machine
) -> None:
    await machine.take()
    machine.server.delay(0.2)
    api = f"{machine.server.url}/notes"
    done = await machine.run(
        "demo", "--profile", "notes", "--api", api, "--seconds", "2", "--tasks", "10", *more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not SECRET.search(done.stdout), "P29"
    assert "BROKEN" not in done.stdout
    ledger = machine.server.ledger
    assert [each.outcome for each in ledger.presented] == ["rotated"]
    assert (ledger.refreshes, ledger.revocations) == (1, 0)
    assert (await machine.run("token", "notes")).returncode == 0
    assert ledger.refreshes == 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")
async def test_p8_a_demo_that_is_told_to_stop_keeps_the_login(machine: Machine) -> None:
    await machine.take(expires_in=0.001)
    machine.server.delay(1)
    api = f"{machine.server.url}/notes"
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            argv = ["demo", "--profile", "notes", "--api", api]
            demo = await begin(machine, nursery, *argv)
            while machine.server.ledger.in_flight == 0:  # noqa: ASYNC110  # the server's count
                await trio.sleep(0.01)
            demo.process.terminate()
            await demo.read_all()
            assert await demo.process.wait() == 143, demo.err
    assert (await machine.run("token", "notes")).returncode == 0
    assert machine.server.ledger.refreshes == 1
    assert machine.server.ledger.reused == 0


async def test_a_reader_that_has_gone_is_no_traceback(machine: Machine) -> None:
    await machine.take()
    if sys.platform == "win32":
        pytest.skip("no such pipes")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = await trio.run_process(
            [sys.executable, "-m", "trioauth", "token", "notes"],
            stdout=writer,
            capture_stderr=True,
            check=False,
            env=machine.environment,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


async def test_kubectl_takes_the_token(machine: Machine, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        assert os.environ.get("CI") != "true", "kubectl is missing: make interop installs it"
        pytest.skip("there is no kubectl: make interop installs it")
    await machine.take()
    ca, seen = trustme.CA(), list[bytes]()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        seen.append(request)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    # kubectl sends no token over plain http.
    serve = partial(trio.serve_ssl_over_tcp, answer, 0, tls, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(serve)
        url = f"https://127.0.0.1:{listener.transport_listener.socket.getsockname()[1]}"
        file = tmp_path / "kubeconfig"
        authority = base64.b64encode(ca.cert_pem.bytes()).decode()
        file.write_text(json.dumps(kubeconfig(url, authority)))
        command = ["kubectl", "--kubeconfig", str(file), "get", "--raw", "/notes"]
        with trio.fail_after(60):
            done = await trio.run_process(
                command, capture_stdout=True, capture_stderr=True, check=False,
                env=machine.environment,
            )  # fmt: skip
        nursery.cancel_scope.cancel()
    assert (done.returncode, done.stdout) == (0, b"{}"), done.stderr
    token = (await machine.run("token", "notes")).stdout.strip()
    assert f"Authorization: Bearer {token}\r\n".encode() in seen[0]


def kubeconfig(url: str, authority: str) -> dict[str, Any]:
    user = {
        "exec": {
            # That of Debian is 1.20, which knows no other.
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": sys.executable,
            "args": ["-m", "trioauth", "token", "notes", "--format", "exec-credential"],
            "interactiveMode": "Never",
        }
    }
    cluster = {"server": url, "certificate-authority-data": authority}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": cluster}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "users": [{"name": "it", "user": user}],
    }

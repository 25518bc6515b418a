"""Real Redis servers for tests: each on a free port, with a folder of its own, ended by its id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SERVER = shutil.which("redis-server")
PATIENCE = 30.0


def require_redis() -> str:
    """Skip the test where there is no redis-server. In CI that is a failure."""
    if SERVER is None:
        if os.environ.get("CI") == "true":
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed (make servers installs it)")
    return SERVER


def free_port() -> int:
    """Return a port that no server listens on, and whose Cluster port is free, too."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                if port < 50000:
                    other.bind(("127.0.0.1", port + 10000))
                    return port
            except OSError:
                continue


@attrs.define(eq=False)
class RedisServer:
    """A server that a test may stop, start again, freeze and talk to."""

    folder: Path
    port: int = attrs.field(factory=free_port)
    options: list[str] = attrs.field(factory=list)
    """Lines of its configuration."""
    sentinel: bool = False
    password: str | None = None
    """What `cli` logs in with."""
    tls_ca: str | None = None
    wait_until: str = "PONG"
    """How its first answer begins."""
    environment: dict[str, str] = attrs.field(factory=dict[str, str])
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / f"{self.port}.conf"
        if not config.exists():
            standard = [f"dir {self.folder}", "bind 127.0.0.1", "daemonize no"]
            if not any(line.startswith("port ") for line in self.options):
                standard.append(f"port {self.port}")
            if not self.sentinel:
                standard += ['save ""', "appendonly no", "repl-diskless-sync-delay 0"]
            config.write_text("\n".join([*standard, *self.options]) + "\n")
        command = [require_redis(), str(config)] + (["--sentinel"] if self.sentinel else [])
        with (self.folder / f"{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command, stdout=log, stderr=log, env=os.environ | self.environment
            )
        self.wait_for(self.answers, "an answer")

    def answers(self) -> bool:
        return self.cli("PING", check=False).startswith((self.wait_until, "NOAUTH"))

    def wait_for(self, true: object, what: str) -> None:
        """Wait until a function says True. Real time: another process has to do it."""
        assert callable(true)
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, f"no {what} from redis-server in {PATIENCE} seconds"
            time.sleep(0.02)

    def cli(self, *arguments: str, check: bool = True) -> str:
        """Run redis-cli; return what it prints."""
        command = ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), "-e", "--no-auth-warning"]
        if self.password is not None:
            command += ["-a", self.password]
        if self.tls_ca is not None:
            command += ["--tls", "--cacert", self.tls_ca]
        done = subprocess.run(  # noqa: S603
            [*command, *arguments], capture_output=True, check=False, timeout=PATIENCE
        )
        said = (done.stdout + done.stderr).decode(errors="backslashreplace").strip()
        assert not check or done.returncode == 0, said
        return said

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop it as SIGSTOP does: connections stay open, nothing is answered."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it at once; nothing is saved."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def flush(self) -> None:
        self.cli("FLUSHALL")


@contextmanager
def redis_server(folder: Path, *options: str, **more: object) -> Generator[RedisServer, None, None]:
    """Run a server while the block runs."""
    server = RedisServer(folder, options=list(options), **more)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.stop()

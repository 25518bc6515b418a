"""Hosts: network namespaces, each with a link of its own to this one, which can be cut.

Needs root, and iproute2.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, final

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

_numbers = itertools.count()


@final
@attrs.frozen
class Host:
    """A network namespace."""

    name: str
    link: str
    """The end of its link that is here."""
    address: str
    """Of that end: where a server listens, so that the host can reach it."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command, to run it on this host."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Cut the link: nothing arrives any more, on either side, and no connection is closed."""
        _ip("link", "set", self.link, "down")

    def heal(self) -> None:
        """Mend the link."""
        _ip("link", "set", self.link, "up")


class _Impossible(Exception):
    """No namespace can be made here."""


@contextmanager
def hosts(count: int) -> Generator[list[Host], None, None]:
    """Make so many hosts; they are gone when the block is left.

    Where that can't be done, the test is skipped. It fails in CI, if it runs as root there.
    """
    with ExitStack() as stack:
        try:
            made = [stack.enter_context(_host(next(_numbers))) for _ in range(count)]
        except _Impossible as exc:
            if os.environ.get("CI") == "true" and os.geteuid() == 0:
                pytest.fail(f"no network namespaces: {exc}")
            pytest.skip(f"no network namespaces (they need root, and iproute2): {exc}")
        yield made


@contextmanager
def _host(number: int) -> Generator[Host, None, None]:
    # Other processes may do the same: names and addresses are by the id of this one.
    pid = os.getpid()
    name = f"trioauth-{pid}-{number}"
    here, there = f"ta{pid % 2**20:x}h{number}", f"ta{pid % 2**20:x}n{number}"
    network = f"10.{208 + number % 16}.{pid // 64 % 256}"
    first = pid % 64 * 4
    host = Host(name, here, f"{network}.{first + 1}")
    try:
        _ip("netns", "add", name)
    except (OSError, _Impossible) as exc:
        raise _Impossible(str(exc)) from None
    try:
        _ip("link", "add", here, "type", "veth", "peer", "name", there)
        _ip("link", "set", there, "netns", name)
        _ip("addr", "add", f"{host.address}/30", "dev", here)
        _ip("link", "set", here, "up")
        _ip("-n", name, "addr", "add", f"{network}.{first + 2}/30", "dev", there)
        _ip("-n", name, "link", "set", there, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield host
    finally:
        # With the namespace, its end of the link goes, and with that the other end.
        _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    program = shutil.which("ip")
    if program is None:
        raise _Impossible("the program ip is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise _Impossible(f"ip {' '.join(arguments)}: {done.stderr.strip()}")

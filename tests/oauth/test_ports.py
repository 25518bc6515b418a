"""The port of the redirect: which one, on which addresses, and what is said if there is none."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from trioauth._errors import LoginError
from trioauth.oauth.logins import ports
from trioauth.oauth.logins.ports import Redirect, bind

if TYPE_CHECKING:
    from collections.abc import Callable

HAS_V6 = os.path.exists("/proc/net/if_inet6") and socket.has_ipv6  # noqa: PTH110


def taken_port() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken


def number_of(taken: socket.socket) -> int:
    number: int = taken.getsockname()[1]
    return number


@pytest.mark.parametrize(
    ("uri", "path", "with_port"),
    [
        ("http://127.0.0.1/callback", "/callback", "http://127.0.0.1:8400/callback"),
        ("http://127.0.0.1:8400/callback?a=b", "/callback", "http://127.0.0.1:8400/callback?a=b"),
        ("http://localhost", "/", "http://localhost:8400"),
        ("http://localhost:/", "/", "http://localhost:8400/"),
        ("http://cli.localhost/x", "/x", "http://cli.localhost:8400/x"),
        ("http://[::1]/x", "/x", "http://[::1]:8400/x"),
        ("http://[::1]:8400/x", "/x", "http://[::1]:8400/x"),
    ],
)
def test_the_port_is_put_into_the_uri_and_nothing_else_is_changed(
    uri: str, path: str, with_port: str
) -> None:
    redirect = Redirect.read(uri)
    assert redirect.path == path
    assert redirect.at(8400) == with_port
    assert redirect.ports == ((8400,) if ":8400" in uri else ())


@pytest.mark.parametrize(
    "uri",
    [
        "https://127.0.0.1/callback",
        "http://0.0.0.0/callback",
        "http://example.com/callback",
        "http://notlocalhost/callback",
        "http://127.0.0.1.example.com/",
        "http://me@127.0.0.1/",
        "http://127.0.0.1/#part",
        "http:///callback",
        "myapp:/callback",
    ],
)
def test_only_loopback_is_listened_on(uri: str) -> None:
    with pytest.raises(ValueError, match="redirect_uri must be http://127.0.0.1"):
        Redirect.read(uri)


def test_a_uri_that_can_not_be_read_is_a_clear_error() -> None:
    for uri in ("http://[/", "http://127.0.0.1:99999/"):
        with pytest.raises(ValueError, match="can't be read"):
            Redirect.read(uri)


def test_ports_are_said_once() -> None:
    assert Redirect.read("http://localhost/x", ports=[1, 2]).ports == (1, 2)
    with pytest.raises(ValueError, match="has a port already"):
        Redirect.read("http://localhost:8400/x", ports=[1])


def test_p24_a_port_is_free_again_when_the_block_ends() -> None:
    with pytest.raises(KeyError), bind(Redirect.read("http://127.0.0.1/x")) as port:
        assert port.redirect_uri == f"http://127.0.0.1:{port.number}/x"
        socket.create_connection(("127.0.0.1", port.number)).close()
        raise KeyError
    port.close()
    with socket.socket() as attempt:
        assert attempt.connect_ex(("127.0.0.1", port.number)) == errno.ECONNREFUSED


@pytest.mark.skipif(not HAS_V6, reason="needs IPv6")
def test_localhost_listens_on_both_families_on_the_same_number() -> None:
    with bind(Redirect.read("http://localhost/x")) as port:
        assert len(port.sockets) == 2
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port.number)).close()
    with bind(Redirect.read("http://[::1]/x")) as port:
        socket.create_connection(("::1", port.number)).close()


def test_a_free_port_of_one_family_that_is_taken_in_the_other_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picked: list[int] = []

    def listen_at(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            picked.append(port)
            if len(picked) < 3:
                raise OSError(errno.EADDRINUSE, "taken")
            family, address, port = socket.AF_INET, "127.0.0.1", 0
        return listen(family, address, port)

    listen = ports._listen_at
    monkeypatch.setattr(ports, "_listen_at", listen_at)
    with bind(Redirect.read("http://localhost/x")) as port:
        assert len(picked) == 3
        assert port.number == picked[-1]


def fail_with(
    code: int, *, only: socket.AddressFamily | None = None
) -> Callable[..., socket.socket]:
    listen = ports._listen_at

    def listen_at(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
        if only is None or family == only:
            raise OSError(code, "whatever it says")
        return listen(family, address, port)

    return listen_at


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_listens_on_the_other_family(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(ports, "_listen_at", fail_with(code, only=socket.AF_INET6))
    with bind(Redirect.read("http://localhost/x")) as port:
        assert len(port.sockets) == 1
    with pytest.raises(LoginError):
        bind(Redirect.read("http://[::1]/x"))


def test_the_next_port_of_the_list_is_tried_and_at_last_all_are_named() -> None:
    with taken_port() as first, taken_port() as second, taken_port() as third:
        numbers = [number_of(each) for each in (first, second, third)]
        third.close()
        with bind(Redirect.read("http://127.0.0.1/x", ports=numbers)) as port:
            assert port.number == numbers[2]
        with pytest.raises(LoginError) as info:
            bind(Redirect.read("http://127.0.0.1/x", ports=numbers[:2]))
    assert info.value.code == "no_port"
    for number in numbers[:2]:
        assert f"{number} (Address already in use)" in str(info.value)
    assert info.value.__cause__ is None
    assert info.value.__context__ is None


@pytest.mark.parametrize("code", [errno.EADDRINUSE, errno.EACCES, 10013])
def test_a_reserved_port_counts_as_taken(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    listen, tried = ports._listen_at, list[int]()

    def listen_at(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
        tried.append(port)
        if len(tried) == 1:
            raise OSError(code, "no")
        return listen(family, address, 0)

    monkeypatch.setattr(ports, "_listen_at", listen_at)
    bind(Redirect.read("http://127.0.0.1/x", ports=[1, 2])).close()
    assert tried == [1, 2]


def test_an_error_that_another_port_would_have_too_ends_the_trying(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "_listen_at", fail_with(errno.EMFILE))
    with pytest.raises(LoginError, match="Too many open files") as info:
        bind(Redirect.read("http://127.0.0.1/x", ports=[1, 2]))
    assert "2 (" not in str(info.value)
    with pytest.raises(LoginError, match="can't listen on a free port of 127.0.0.1: Too many"):
        bind(Redirect.read("http://127.0.0.1/x"))


def test_on_windows_it_is_said_where_reserved_ports_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "_listen_at", fail_with(errno.EACCES))
    monkeypatch.setattr(ports, "_ON_WINDOWS", True)
    with pytest.raises(LoginError, match="netsh int ipv4 show excludedportrange"):
        bind(Redirect.read("http://127.0.0.1/x", ports=[8400]))


def test_on_windows_another_program_can_not_bind_the_same_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The number of an option that this system has, too, and that does no harm.
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, raising=False)
    monkeypatch.setattr(ports, "_ON_WINDOWS", True)
    with bind(Redirect.read("http://127.0.0.1/x")) as port:
        listening = port.sockets[0]
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_a_port_that_can_not_be_listened_on_leaves_no_socket_open() -> None:
    # A socket that is left open is a ResourceWarning, and with it the test fails.
    with taken_port() as taken, pytest.raises(LoginError):
        bind(Redirect.read(f"http://127.0.0.1:{number_of(taken)}/x"))

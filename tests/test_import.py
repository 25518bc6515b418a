"""What `import trioauth` loads, and what it does not."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own, warnings being errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def loaded_by(program: str) -> set[str]:
    # Where click is installed, httpx loads it, and rich, for a command line of its own.
    without_click = "import sys\nsys.modules['click'] = None"
    done = run(f"{without_click}\n{program}\nprint(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


HEAVY = {"filelock", "hypercorn", "rich", "httpx2", "h2", "keyring", "redis", "pytest", "IPython"}
HEAVY |= {"opentelemetry", "joserfc", "cryptography", "platformdirs", "segno"}


def test_import_loads_no_battery_and_no_extra() -> None:
    loaded = loaded_by("import trioauth")
    assert {"trioauth", "trio", "httpx", "attrs"} <= loaded
    assert loaded & HEAVY <= loaded_by("import trio, httpx")
    parts = (
        "grants",
        "oauth.grants",
        "stores._cipher",
        "stores._disk",
        "stores._encrypted",
        "stores._entry",
        "stores._file",
        "stores._keyring",
        "stores._memory",
        "stores._place",
        "testing",
        "timeline",
        "watch._timeline",
        "notebook",
        "__main__",
        "cli",
        "_http.auth_httpx2",
        "opentelemetry",
        "watch._opentelemetry",
        "_core.explain",
        "_signals",
        "_profiles",
        "providers",
        "oauth.client",
        "oauth.provider",
        "oauth.offline",
        "oauth.metadata",
        "oauth.discovery",
        "oauth.authentication",
        "oauth.keys",
    )
    assert {
        name for part in parts for name in loaded if name.startswith(f"trioauth.{part}")
    } == set()


def test_a_session_in_memory_loads_no_filelock() -> None:
    program = """
import trio, trioauth
async def grant(tokens, endpoint): ...
async def main():
    async with trioauth.open_session(grant, base_url="https://api.test"):
        pass
trio.run(main)
"""
    assert loaded_by(program) & HEAVY <= loaded_by("import trio, httpx")


def test_the_lazy_names_are_found_and_dir_lists_them() -> None:
    done = run(
        """
        import trioauth
        assert "FileStore" in dir(trioauth) and "open_session" in dir(trioauth)
        assert trioauth.FileStore.__name__ == "FileStore"
        assert trioauth.MemoryStore.__name__ == "MemoryStore"
        assert trioauth.grants.RefreshTokenGrant is trioauth.RefreshTokenGrant
        assert trioauth.OAuthClient.__name__ == "OAuthClient"
        assert trioauth.providers.google().name == "google"
        from trioauth import FileStore, MemoryStore
        for name in trioauth.__all__:
            assert getattr(trioauth, name) is not None, name
        try:
            trioauth.no_such_name
        except AttributeError as exc:
            assert "trioauth" in str(exc) and "no_such_name" in str(exc)
        else:
            raise AssertionError
        """
    )
    assert done.returncode == 0, done.stderr


def test_a_client_loads_nothing_of_joserfc_before_a_key_is_used() -> None:
    loaded = loaded_by(
        "import trioauth\n"
        "auth = trioauth.ClientSecretBasic('s')\n"
        "trioauth.OAuthClient('notes', issuer='https://id.test', auth=auth)"
    )
    assert loaded & HEAVY <= loaded_by("import trio, httpx")


def test_star_import_brings_the_public_names() -> None:
    done = run("from trioauth import *; print(open_session, FileStore, Tokens)")
    assert done.returncode == 0, done.stderr


def test_exceptions_are_named_by_where_they_are_caught_from() -> None:
    done = run(
        """
        import trioauth
        for name in dir(trioauth):
            value = getattr(trioauth, name)
            if isinstance(value, type) and issubclass(value, BaseException):
                assert value.__module__ == "trioauth", name
                assert issubclass(value, trioauth.Error), name
        """
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("order", ["httpx2, trioauth", "trioauth, httpx2"])
def test_httpx2_may_be_imported_before_or_after(order: str) -> None:
    done = run(
        f"""
        import {order}, trio
        async def grant(tokens, endpoint): ...
        async def main():
            async with trioauth.open_session(grant, origins=["https://api.test"]) as session:
                async with httpx2.AsyncClient() as client:
                    assert session.attach(client) is client
                    assert isinstance(client.auth, httpx2.Auth)
        trio.run(main)
        """
    )
    assert done.returncode == 0, done.stderr


def test_everything_works_without_httpx2_installed() -> None:
    done = run(
        """
        import sys
        sys.modules["httpx2"] = None
        import httpx, trio, trioauth
        async def grant(tokens, endpoint): ...
        async def main():
            async with trioauth.open_session(grant, origins=["https://api.test"]) as session:
                async with httpx.AsyncClient() as client:
                    assert session.attach(client) is client
                try:
                    session.attach(object())
                except TypeError as exc:
                    assert "httpx2.AsyncClient" in str(exc)
                else:
                    raise AssertionError
        trio.run(main)
        """
    )
    assert done.returncode == 0, done.stderr

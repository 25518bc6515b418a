"""KeyringStore over a real keyring: gnome-keyring, the Secret Service of Debian's desktop.

Each test has a D-Bus session and a home folder of its own. In it this file runs as a program that
starts the keyring and plays one of the scenarios: see the end.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioauth
from trioauth import KeyringStore, Record, RefreshUnavailableError, StoreError, Tokens
from trioauth.testing import check_store

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.slow

NEEDED = ("gnome-keyring-daemon", "dbus-run-session")
HOW_TO_GET_IT = "gnome-keyring is not here; on Debian, install the packages gnome-keyring and dbus"
ROUNDS, INCREMENTS = 8, 4

# A bus that starts nothing by itself, but for the window that asks for the password of a keyring:
# there, a program that never answers.
BUS = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <servicedir>{folder}</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
WINDOW = "[D-BUS Service]\nName=org.gnome.keyring.SystemPrompter\nExec={program} {seconds}\n"


async def play(
    scenario: str,
    home: Path,
    *,
    window: str = "/bin/false",
    bus: bool = True,
    module: str = "tests.test_secret_service",
) -> str:
    """Run this file, or another, in a D-Bus session of its own; return what it printed."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        assert os.environ.get("CI") != "true", HOW_TO_GET_IT
        pytest.skip(HOW_TO_GET_IT)
    folder = home / "bus"
    folder.mkdir()
    words = WINDOW.format(program=shutil.which(window), seconds=5)
    (folder / "window.service").write_text(words)
    (folder / "bus.conf").write_text(BUS.format(folder=folder))
    (home / "run").mkdir(mode=0o700)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "DBUS_"))}
    environment |= {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "PYTHONPATH": str(Path(trioauth.__file__).parents[1]),
    }
    around = ["dbus-run-session", f"--config-file={folder / 'bus.conf'}", "--"] if bus else []
    command = [*around, sys.executable, "-m", module, scenario]
    # Not pipes: what the bus has started would keep them open after the end.
    with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
        with trio.fail_after(300):
            done = await trio.run_process(
                command,
                env=environment,
                cwd=Path(__file__).parents[1],
                stdout=output,
                stderr=errors,
                check=False,
            )
    assert done.returncode == 0, (folder / "errors").read_text()
    return (folder / "output").read_text()


async def test_keyring_store_keeps_its_promises_in_a_real_keyring(tmp_path: Path) -> None:
    assert await play("check", tmp_path) == "keyring.backends.SecretService\npassed\n"
    # The entry is the keyring's: the home folder has it only encrypted.
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".keyring" for path in files)
    assert not any(b"check-store" in path.read_bytes() for path in files)


async def test_processes_that_share_an_entry_lose_no_update(tmp_path: Path) -> None:
    assert await play("share", tmp_path) == f"generation {3 * INCREMENTS}\n"


async def test_a_keyring_that_stays_locked_is_one_clear_error(tmp_path: Path) -> None:
    said = await play("locked", tmp_path)
    assert said.count("it is locked, and was not unlocked; unlock it and try again") == 3
    assert said.endswith("unlocked: generation 1\n")


async def test_a_person_who_does_not_unlock_the_keyring_is_not_waited_for_without_end(
    tmp_path: Path,
) -> None:
    said = await play("ignored", tmp_path, window="sleep")
    assert "did not answer within 0.5 seconds: the keyring may be locked" in said
    assert said.endswith("the session goes on with access-0\n")


async def test_where_there_is_no_keyring_it_says_so_and_keeps_nothing(tmp_path: Path) -> None:
    said = await play("none", tmp_path, bus=False)
    assert (
        "keyring found no backend that keeps secrets (only keyring.backends.fail.Keyring)" in said
    )
    assert [path.name for path in tmp_path.rglob("*keyring*") if path.is_file()] == []


async def test_a_keyring_that_is_killed_in_mid_save_has_the_old_record_or_the_new_or_is_refused(
    tmp_path: Path,
) -> None:
    said = await play("killed", tmp_path)
    # Rarely gnome-keyring itself has half an entry afterwards: no record, and never a wrong one.
    assert said.count("old or new") + said.count("half an entry") == ROUNDS
    assert said.count("half an entry") == said.count("is left as it is: not a token record")
    assert "old or new" in said
    assert "StoreError" in said, "no kill has hit a save"


# --- what runs in the D-Bus session -----------------------------------------------------------


@contextmanager
def keyring_daemon() -> Generator[subprocess.Popen[bytes], None, None]:
    """Run the keyring, unlocked with a password that makes it at first."""
    command = ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as daemon:
        assert daemon.stdin is not None
        daemon.stdin.write(b"a password")
        daemon.stdin.close()
        try:
            wait_for_daemon()
            yield daemon
        finally:
            daemon.kill()
            daemon.wait()


def default_keyring() -> Any:
    import secretstorage

    return secretstorage.get_default_collection(secretstorage.dbus_init())


def wait_for_daemon() -> None:
    import secretstorage

    end = time.monotonic() + 20
    while True:
        with suppress(secretstorage.SecretStorageException):
            if not default_keyring().is_locked():
                return
        assert time.monotonic() < end, "the keyring did not start"
        time.sleep(0.01)


def store(timeout: float = 60) -> KeyringStore:
    return KeyringStore(username="me", timeout=timeout)


def numbered(number: int) -> Record:
    return Record(number, Tokens(f"access-{number}" + "x" * 2_000, f"refresh-{number}"))


async def increment() -> None:
    for _ in range(INCREMENTS):
        async with (one := store()).lock():
            record = await one.load()
            before = 0 if record is None else record.generation
            await one.save(numbered(before + 1), expected=before)


async def check() -> None:
    with keyring_daemon():
        await check_store(store)
        import keyring

        print(type(keyring.get_keyring()).__module__)
        print("passed")


async def share() -> None:
    with keyring_daemon():
        command = [sys.executable, "-m", "tests.test_secret_service", "increment"]
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.run_process, command)
        record = await store().load()
        print("generation", record and record.generation)


async def locked() -> None:
    with keyring_daemon():
        one = store()
        async with one.lock():
            await one.save(numbered(1), expected=0)
        default_keyring().lock()
        for method in (one.load, one.probe, lambda: one.save(numbered(2), expected=1)):
            try:
                async with one.lock():
                    await method()
            except StoreError as exc:
                print(exc)
    with keyring_daemon():
        record = await one.load()
        print("unlocked: generation", record and record.generation)


async def ignored() -> None:
    with keyring_daemon():
        from .fakes import FakeGrant, first_tokens

        grant = FakeGrant()
        one = store(timeout=0.5)
        async with trioauth.open_session(
            grant, store=one, tokens=first_tokens(), base_url="https://api.test"
        ) as session:
            default_keyring().lock()
            try:
                await session.refresh()
            except RefreshUnavailableError as exc:
                print(exc.__cause__)
            assert grant.presented == []
            print("the session goes on with", await session.token())


async def none() -> None:
    one = store()
    for method in (one.load, one.probe):
        try:
            async with one.lock():
                await method()
        except StoreError as exc:
            print(exc)


async def killed() -> None:
    chance, last = random.Random(4), 0
    for _ in range(ROUNDS):
        with keyring_daemon() as daemon:
            try:
                record = await store().load()
            except StoreError as exc:
                import keyring  # only in this process, after its D-Bus session is there

                print("half an entry:", exc)
                keyring.delete_password("trioauth/me", "me")
                last = 0
                continue
            found = 0 if record is None else record.generation
            assert found in (last, last + 1), (found, last)
            assert record == (numbered(found) if found else None)
            last = found
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kill_soon, daemon, chance.uniform(0, 0.1))
                try:
                    while True:
                        one = store()
                        async with one.lock():
                            await one.save(numbered(last + 1), expected=last)
                        last += 1
                except StoreError as exc:
                    print("StoreError", exc)
        print("old or new")


async def kill_soon(daemon: subprocess.Popen[bytes], pause: float) -> None:
    await trio.sleep(pause)
    daemon.send_signal(signal.SIGKILL)


if __name__ == "__main__":
    trio.run(globals()[sys.argv[1]])

"""FileStore: what a save takes, and a refresh among processes that share one file."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import trio

import trioauth

from ._measure import Spread, wall
from ._server import ROOT, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ._report import Report

_SAVES = 50
_PROCESSES, _FEW_PROCESSES = 8, 4
_REFRESH = 100
"""Milliseconds that the token endpoint takes."""
_BEGIN, _END = "/trioauth-benchmark-begin", "/trioauth-benchmark-end"
_CALL = re.compile(r"^\d+\s+(?:<\.\.\. )?(\w+)(\(| resumed)")


def run(report: Report) -> None:
    """Measure it."""
    with TemporaryDirectory() as folder:
        _save(report, Path(folder))
        trio.run(_refresh, report, Path(folder))
        _shared(report, Path(folder))


# --- a save --------------------------------------------------------------------------------


def _save(report: Report, folder: Path) -> None:
    seconds = trio.run(_timed_saves, folder / "saves.json", report.rounds(_SAVES))
    report.add("store", "FileStore", "a save", Spread.of(seconds).scaled(1e3), unit="ms")
    plain = [_plain_write(folder / "plain") for _ in seconds]
    what = "the least: write, fsync, rename, fsync"
    report.add("store", "plain files", what, Spread.of(plain).scaled(1e3), unit="ms")
    if shutil.which("strace") is None:
        report.cannot("store", "FileStore", "system calls: strace is not installed")
        return
    try:
        calls = _system_calls(folder)
    except subprocess.CalledProcessError:
        # Some containers forbid it.
        report.cannot("store", "FileStore", "system calls: strace may not trace here")
        return
    syncs = calls["fsync"] + calls["fdatasync"]
    report.count("store", "FileStore", "fsyncs in a save", syncs, aim=2)
    files = sum(count for name, count in calls.items() if name not in _NOT_FILES)
    note = ", ".join(
        f"{count} {name}" for name, count in calls.most_common() if name not in _NOT_FILES
    )
    report.add("store", "FileStore", "system calls on files in a save", files, note=note)
    report.add("store", "FileStore", "system calls in a save, threads included", calls.total())


_NOT_FILES = {
    "futex", "mmap", "munmap", "mprotect", "brk", "madvise", "clone", "clone3", "set_robust_list",
    "rt_sigprocmask", "gettid", "sched_yield", "rseq", "epoll_wait", "epoll_ctl", "poll", "prctl",
    "sendto", "recvfrom", "getrandom", "clock_gettime", "getpid", "exit", "clock_nanosleep",
}  # fmt: skip


async def _timed_saves(path: Path, times: int) -> list[float]:
    store, seconds = trioauth.FileStore(path), []
    async with store.lock():
        for number in range(times):
            started = wall()
            await store.save(_record(number + 1), expected=number)
            seconds.append(wall() - started)
    return seconds


def _record(
    generation: int, *, tokens: int | None = None, expires_in: float = 3600
) -> trioauth.Record:
    number = generation if tokens is None else tokens
    return trioauth.Record(
        generation,
        trioauth.Tokens(f"access-{number}", f"refresh-{number}", 3600),
        login="benchmark",
        expires_at_unix=time.time() + expires_in,
    )


def _plain_write(path: Path) -> float:
    """Do with nothing but system calls what a safe save can't do without."""
    started = wall()
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, b"x" * 300)
    os.fsync(fd)
    os.close(fd)
    Path(f"{path}.new").replace(path)
    fd = os.open(path.parent, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return wall() - started


def _system_calls(folder: Path) -> Counter[str]:
    """Count the system calls of one save, all threads included, between two marks."""
    log = folder / "strace.log"
    program = [sys.executable, "-m", "benchmarks.file_store", "save", str(folder / "traced.json")]
    subprocess.run(  # noqa: S603
        ["strace", "-f", "-o", str(log), *program],  # noqa: S607
        check=True,
        cwd=ROOT,
    )
    calls: Counter[str] = Counter()
    counting = False
    for line in log.read_text(errors="replace").splitlines():
        if _END in line:
            break
        found = _CALL.match(line)
        # A call that another thread interrupted is in the log twice.
        if counting and found and found[2] == "(":
            calls[found[1]] += 1
        counting = counting or _BEGIN in line
    return calls


async def _traced_save(path: str) -> None:
    store = trioauth.FileStore(path)
    async with store.lock():
        await store.save(_record(1), expected=0)
        for mark in (_BEGIN, _END):
            with contextlib.suppress(FileNotFoundError):
                os.stat(mark)  # noqa: PTH116  # one system call, and nothing else
            if mark == _BEGIN:
                await store.save(_record(2), expected=1)


# --- what a refresh does with it -----------------------------------------------------------


@attrs.define
class _Counting:
    """A store that counts."""

    store: Any
    calls: Counter[str] = attrs.field(factory=Counter)

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        self.calls["lock"] += 1
        async with self.store.lock():
            yield

    async def load(self) -> trioauth.Record | None:
        self.calls["load"] += 1
        record: trioauth.Record | None = await self.store.load()
        return record

    async def save(self, record: trioauth.Record, *, expected: int) -> None:
        self.calls["save"] += 1
        await self.store.save(record, expected=expected)


async def _refresh(report: Report, folder: Path) -> None:
    async def grant(*_: object) -> trioauth.Tokens:
        return trioauth.Tokens("access", "refresh", 3600)

    store = _Counting(trioauth.FileStore(folder / "counted.json"))
    tokens = trioauth.Tokens("access-0", "refresh-0", 3600)
    async with trioauth.open_session(
        grant, tokens=tokens, store=store, origins=["https://api.test"]
    ) as session:
        store.calls.clear()
        await session.refresh()
    for call in ("lock", "load", "save"):
        report.count("store", "FileStore", f"{call}s in a refresh", store.calls[call], aim=1)


# --- shared --------------------------------------------------------------------------------


_ANSWERS = {"new": "", "the same": "?same=1"}
"""What the server answers: tokens of another name each time, or a longer life for the old ones."""


def _shared(report: Report, folder: Path) -> None:
    processes = _FEW_PROCESSES if report.effort == "count" else _PROCESSES
    for tokens, query in _ANSWERS.items():
        waits: list[float] = []
        most = 0
        with serving() as url:
            for number in range(report.rounds(10)):
                path = folder / f"{tokens}-{number}.json"
                trio.run(_prepare, path)
                before = _refreshes(url)
                waits.append(max(_race(url, path, query, processes)))
                most = max(most, _refreshes(url) - before)
        # Taken down, not asserted: what comes after this is measured, whatever it is.
        what = f"refreshes among {processes} processes, {tokens} tokens"
        report.count("store", "FileStore", what, most, aim=1)
        what = f"longest wait of {processes} processes, {tokens} tokens after {_REFRESH} ms"
        report.add("store", "FileStore", what, Spread.of(waits).scaled(1e3), unit="ms")


def _refreshes(url: str) -> int:
    return int(httpx.get(f"{url}/refreshes").text)


async def _prepare(path: Path) -> None:
    """Save tokens that have expired, and that the server would call the same: its number 0."""
    store = trioauth.FileStore(path)
    async with store.lock():
        await store.save(_record(1, tokens=0, expires_in=-1), expected=0)


def _race(url: str, path: Path, query: str, processes: int) -> list[float]:
    """Let processes that are all ready ask for a token at once; return how long each waited."""
    command = [sys.executable, "-m", "benchmarks.file_store", "share", str(path), url, query]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
                )
            )
            for _ in range(processes)
        ]
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        return [float(child.stdout.readline()) for child in children if child.stdout is not None]


async def _share(path: str, url: str, query: str) -> None:
    grant = trioauth.RefreshTokenGrant(f"{url}/token/{_REFRESH}{query}", client_id="client")
    async with trioauth.open_session(
        grant, store=trioauth.FileStore(path), base_url=url
    ) as session:
        _tell("ready")
        await trio.to_thread.run_sync(sys.stdin.readline)
        started = wall()
        await session.token()
        _tell(str(wall() - started))


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # The processes that this file starts.
    match sys.argv[1:]:
        case ["save", path]:
            trio.run(_traced_save, path)
        case ["share", path, url, query]:
            trio.run(_share, path, url, query)
        case _:
            sys.exit("started by `python -m benchmarks file_store`")

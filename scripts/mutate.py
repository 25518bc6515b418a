"""Break the package in many small ways, and see whether the tests notice.

python scripts/mutate.py                     all files
python scripts/mutate.py _core/state          some
python scripts/mutate.py --sample 50         at most so many mutants of each file
python scripts/mutate.py --only "Vault.news" mutants with this in their name, and what killed them
python scripts/mutate.py --again             those that survived the last time
python scripts/mutate.py --known             those listed as equivalent, too
python scripts/mutate.py --write             put the result into docs/mutation.md

How it works: the tests are collected once and run once, to learn which of them touch which line.
Then each mutant gets a fork of that process, in which the code of one function is exchanged, and
runs the tests that touch it until one fails or hangs. A mutant outside of functions gets a
process that imports the mutated module instead, which takes longer.

A mutant that no test can tell from the original is listed with the reason in
scripts/equivalent_mutants.toml. Any other survivor makes this exit with 1.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import pickle
import random
import re
import resource
import signal
import sys
import time
import tomllib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Literal

import coverage
import pytest
from mutants import Mutant, mutants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "trioauth"
PAGE = ROOT / "docs" / "mutation.md"
KEPT = ROOT / ".pytest_cache" / "mutation_baseline"
FATES = ROOT / ".pytest_cache" / "mutation_fates.json"
EQUIVALENT = ROOT / "scripts" / "equivalent_mutants.toml"

# fmt: off
FILES = [
    "_core/login_state", "_core/state", "_core/retry", "_core/flight", "_http/evidence",
    "_tokens", "_origins", "_challenge", "_core/clock", "_secrets", "_codes",
    "stores/_contract", "_core/machine", "_core/vault", "_core/records", "_core/renewal",
    "_core/logins", "_core/flights", "_core/timers", "_core/source", "_core/asking", "_session",
    "_opening", "_http/signing", "_http/attach", "_http/auth", "_http/belonging", "_http/limiter",
    "_http/client", "_http/refusal", "_network/pools", "_network/lookups",
    "_network/connecting", "oauth/channel",
    "_signals", "oauth/answers", "oauth/grants/bearer_refresh_grant", "oauth/by_secret",
    "oauth/fields",
    "oauth/grants/client_credentials_grant", "oauth/grants/refresh_token_grant",
    "oauth/revocation",
    "stores/_cipher", "stores/_disk", "stores/_encrypted", "stores/_entry", "stores/_file",
    "stores/_hold", "stores/_workers", "stores/_keyring", "stores/_memory", "stores/_mounts",
    "stores/_pin", "stores/_place",
]

# Whatever starts processes (they would not be mutated), opens sockets, takes long, or presses
# Control-C in threads: on a busy machine that may come late, and end the process.
LEFT_OUT = [
    "interop", "simulation", "test_cancel_everywhere.py", "test_demo.py", "test_import.py",
    "test_notebook.py", "test_notebook_kernel.py", "test_readme.py", "test_store_processes.py",
    "test_timeline.py",
]
# fmt: on
CONTROLS = {"the code as it is, in place": True, "the code as it is, imported": False}
# This one must not survive: it would if mutated modules were not imported at all.
BROKEN = "a module that can't be imported"
NOT_SO = 3  # the exit code of a process that can't try a mutant in this way
LONGEST_TEST = 1.0
# So many files of tests are measured in one process.
FILES_AT_ONCE = 6
# A test that takes so many times as long as it should, and so many seconds at least, hangs.
HANGS_AFTER = (10, 3.0)
MOST_MEMORY = 4 << 30

Fate = Literal["killed", "hung", "survived", "untouched"]
ALIVE = ("survived", "untouched")
fork: Any = multiprocessing.get_context("fork")


@dataclass
class Baseline:
    """What is known of the tests on the code as it is."""

    seconds: dict[str, float] = field(default_factory=dict)
    touched: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    """The tests that touch a line, by file and line."""
    modules: list[str] = field(default_factory=list)
    """What is imported that is not ours."""

    def forget(self, files: Iterable[str]) -> None:
        """Forget the tests of some files."""
        gone = {name for name in self.seconds if name.partition("::")[0] in set(files)}
        self.seconds = {name: took for name, took in self.seconds.items() if name not in gone}
        for lines in self.touched.values():
            for names in lines.values():
                names.difference_update(gone)

    def callers(self, file: str, mutant: Mutant) -> set[str]:
        """Return the tests that run the lines of a mutant, if it is in a function."""
        lines = self.touched.get(file, {}) if mutant.in_function else {}
        return {test for line in mutant.lines for test in lines.get(line, ())}

    def relevant(self, file: str, mutant: Mutant) -> list[str]:
        """Return the tests that could notice a mutant, the quickest first."""
        lines = self.touched.get(file, {})
        found = self.callers(file, mutant)
        if not found:
            # What a class looks like, a test may see without running any line of it. A module
            # without functions is seen through the modules that import it.
            beside = [lines] if lines else [self.touched.get(each, {}) for each in importers(file)]
            near = {
                test.partition("::")[0]
                for touched in beside
                for tests in touched.values()
                for test in tests
            }
            found = {test for test in self.seconds if test.partition("::")[0] in near}
            found -= {test for test in found if self.seconds[test] >= LONGEST_TEST}
        return sorted(found, key=self.seconds.__getitem__)


def importers(file: str) -> list[str]:
    """Return the modules of the package that import from one of it."""
    line = re.compile(rf"^\s*from \S*\b{file.rpartition('/')[2]} import ", re.MULTILINE)
    return [_name(str(path)) for path in PACKAGE.rglob("*.py") if line.search(path.read_text())]


# --- inside pytest ----------------------------------------------------------------------------


class Loop:
    """A pytest plugin that runs what it is given instead of the tests it has collected."""

    def __init__(self, run: Callable[[dict[str, Any]], None]) -> None:
        self.run = run

    def pytest_runtestloop(self, session: Any) -> bool:
        """Take over."""
        self.run({item.nodeid: item for item in session.items if not _litters(item)})
        return True


def _litters(item: Any) -> bool:
    # What a test leaves to the garbage collector may be blamed on another test.
    return any("Unraisable" in str(mark.args) for mark in item.iter_markers("filterwarnings"))


def collect(files: Iterable[str], run: Callable[[dict[str, Any]], None]) -> None:
    """Have pytest collect tests, and hand them over."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    ignored = [f"--ignore=tests/{each}" for each in LEFT_OUT]
    # Hypothesis finds what it finds with the same examples each time.
    plain = ["-m", "not slow", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--no-header", "-q"]
    expected = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    # Coverage warns of a file of tests that runs nothing of the package.
    expected += ["-W", "ignore::coverage.exceptions.CoverageWarning"]
    pytest.main([*files, *ignored, *plain, *expected], plugins=[Loop(run)])


def run_one(item: Any) -> tuple[bool, float]:
    """Run a test; return whether it passed, and the seconds it took."""
    from _pytest.runner import runtestprotocol

    item.session._setupstate.teardown_exact(None)
    start = time.perf_counter()
    reports = runtestprotocol(item, nextitem=None, log=False)
    return not any(report.failed for report in reports), time.perf_counter() - start


def measure(baseline: Baseline, files: list[str], pipe: Any) -> None:
    """Run the tests of some files once, and send the baseline."""

    def run(items: dict[str, Any]) -> None:
        cover = coverage.Coverage(data_file=None, config_file=False, include=[f"{PACKAGE}/*"])
        cover.start()
        failed = []
        for name, item in items.items():
            cover.switch_context(name)
            passed, baseline.seconds[name] = run_one(item)
            failed += [] if passed else [name]
        cover.stop()
        data = cover.get_data()
        for path in data.measured_files():
            lines = baseline.touched.setdefault(_name(path), {})
            for line, names in data.contexts_by_lineno(path).items():
                quick = {n for n in names if n and baseline.seconds[n] < LONGEST_TEST}
                lines[line] = lines.get(line, set()) | quick - set(failed)
        # Otherwise a mutant would seem to be killed by a test that fails anyway.
        for name in failed:
            del baseline.seconds[name]
        ours = ("trioauth", "tests", "conftest", "_pytest", "pytest", "__")
        others = {name for name in sys.modules if not name.startswith(ours)}
        baseline.modules = sorted(others.union(baseline.modules))
        pipe.send((baseline, failed))

    collect(files, run)


def batched(files: list[str], size: int) -> Iterator[list[str]]:
    """Cut a list into lists of this size."""
    for start in range(0, len(files), size):
        yield files[start : start + size]


def current_baseline() -> Baseline:
    """Measure what has changed since the last time."""
    baseline, then = Baseline(), 0.0
    if KEPT.exists():
        baseline, then = pickle.loads(KEPT.read_bytes()), KEPT.stat().st_mtime  # noqa: S301  # ours
    if any(path.stat().st_mtime > then for path in PACKAGE.rglob("*.py")):
        baseline, then = Baseline(), 0.0
    measured = {name.partition("::")[0] for name in baseline.seconds}
    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").glob("test_*.py"))
        if path.name not in LEFT_OUT
        and (path.stat().st_mtime > then or str(path.relative_to(ROOT)) not in measured)
    ]
    baseline.forget(files)
    # A process for every few files. If one ends too early, each of its files gets one of its own.
    waiting = list(batched(files, FILES_AT_ONCE))
    while waiting:
        some = waiting.pop(0)
        ours, theirs = fork.Pipe(duplex=False)
        process = started(partial(measure, baseline, some, theirs))
        theirs.close()
        try:
            baseline, failed = ours.recv()
        except EOFError:
            waiting += batched(some, 1) if len(some) > 1 else []
            print(f"ended before its tests did: the process of {' '.join(some)}", flush=True)
            continue
        finally:
            process.join()
        if failed:
            print(f"failing on the code as it is, and left out: {failed}")
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_bytes(pickle.dumps(baseline))
    return baseline


def try_tests(
    items: dict[str, Any], tests: list[str], baseline: Baseline, left: float, pipe: Any
) -> None:
    """Run tests until one fails or the time is up; send the one that failed, or None."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process
    for name in tests:
        if left < 0:
            break
        if name not in items:
            continue  # Its name has an address in it, which is another one each time.
        usual = baseline.seconds[name]
        left -= usual
        pipe.send(name)
        signal.setitimer(signal.ITIMER_REAL, max(HANGS_AFTER[0] * usual, HANGS_AFTER[1]))
        try:
            passed, _ = run_one(items[name])
        except BaseException:  # noqa: ASYNC103, BLE001  # a test that ends pytest has noticed something
            passed = False
        if not passed:
            os._exit(1)
    os._exit(0)


# --- what a mutant is put into ----------------------------------------------------------------


def _name(path: str) -> str:
    """Return how FILES calls a file: two folders may have files of one name."""
    return Path(path).relative_to(PACKAGE).with_suffix("").as_posix()


def exchange(path: Path, mutated: CodeType) -> bool:
    """Give the living functions of a file the code they have in a mutant; return whether it went.

    Not with one that uses other variables of the function around it than before.
    """
    different = 0
    codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(mutated)}
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename == str(path):
            code = each.__code__
            new = codes.get((code.co_qualname, code.co_firstlineno), code)
            if new != code:
                if new.co_freevars != code.co_freevars:
                    return False
                each.__code__ = new
                different += 1
    return different > 0


def _codes(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


class Importer:
    """Serves one module of the package mutated."""

    def __init__(self, path: Path, code: CodeType) -> None:
        self.path, self.code = path, code

    def find_spec(self, name: str, *_: object) -> Any:
        """Say how to load it."""
        parts = self.path.relative_to(PACKAGE).with_suffix("").parts
        if name != ".".join(("trioauth", *parts)):
            return None
        code = self.code

        class Loader(importlib.machinery.SourceFileLoader):
            def get_code(self, _: str) -> CodeType:
                return code

        loader = Loader(name, str(self.path))
        return importlib.util.spec_from_file_location(name, self.path, loader=loader)


# --- the course of a run ----------------------------------------------------------------------


@dataclass
class Run:
    """The mutants of a file, and what became of them."""

    baseline: Baseline
    seconds: float
    kills: Counter[str] = field(default_factory=Counter)
    last: str = ""

    def fate(self, file: str, mutant: Mutant, start: Callable[[list[str], Any], Any]) -> Fate:
        """Find out what becomes of a mutant."""
        tests = self.baseline.relevant(file, mutant)
        # Tests that have killed a mutant before are run first.
        tests.sort(key=lambda test: (-self.kills[test], self.baseline.seconds[test]))
        ours, theirs = fork.Pipe(duplex=False)
        process = start(tests, theirs)
        theirs.close()
        self.last = ""
        with suppress(EOFError):
            while True:
                self.last = ours.recv()
        process.join()
        if process.exitcode == 0:
            return "survived"
        if process.exitcode == NOT_SO:
            return "untouched"
        self.kills[self.last] += 1
        return "hung" if process.exitcode == -signal.SIGALRM else "killed"

    def in_functions(
        self, work: list[tuple[str, Mutant]], items: dict[str, Any], pipe: Any
    ) -> None:
        """Try mutants in forks of a process that has collected the tests."""
        for file, mutant in work:
            path = PACKAGE / f"{file}.py"

            def start(tests: list[str], sender: Any) -> Any:
                def child() -> None:
                    # Both are called at once.
                    if not exchange(path, mutant.compile()) and mutant.name not in CONTROLS:  # noqa: B023
                        os._exit(NOT_SO)
                    try_tests(items, tests, self.baseline, self.seconds, sender)

                return started(child)

            called = self.baseline.callers(file, mutant)
            fate: Fate = self.fate(file, mutant, start) if called else "untouched"
            pipe.send((file, mutant.name, fate, self.last))

    def outside(self, file: str, mutant: Mutant) -> Fate:
        """Try a mutant in a process that has imported nothing of ours."""
        # Few files first: to collect all of them takes longer than to run their tests.
        for most in (20, 9999):

            def start(tests: list[str], sender: Any, most: int = most) -> Any:
                def child() -> None:
                    sender.send("(import)")
                    importer: Any = Importer(PACKAGE / f"{file}.py", mutant.compile())
                    sys.meta_path.insert(0, importer)

                    def run(items: dict[str, Any]) -> None:
                        try_tests(items, tests, self.baseline, self.seconds, sender)

                    collect(sorted({test.partition("::")[0] for test in tests[:most]}), run)
                    os._exit(1)  # It does not come to the tests: it can't even be imported.

                return started(child)

            fate = self.fate(file, mutant, start)
            if fate != "survived":
                break
        return fate


def started(run: Callable[[], None]) -> Any:
    """Run something in a fork of this process."""
    process = fork.Process(target=run, daemon=False)
    process.start()
    return process


def results(
    work: list[tuple[str, Mutant]], baseline: Baseline, seconds: float
) -> Iterator[tuple[str, str, Fate, str]]:
    """Try all mutants, and say of each what became of it and by which test."""
    run = Run(baseline, seconds)
    ours, theirs = fork.Pipe(duplex=False)
    inner = [(file, mutant) for file, mutant in work if mutant.in_function]

    def warm() -> None:
        collect(["tests"], lambda items: run.in_functions(inner, items, theirs))

    process = started(warm)
    theirs.close()
    done = set()
    with suppress(EOFError):
        while True:
            file, name, fate, test = ours.recv()
            # What no test calls may have been called by an import.
            if fate != "untouched":
                done.add((file, name))
                yield file, name, fate, test
    process.join()
    for file, mutant in work:
        if (file, mutant.name) not in done:
            yield file, mutant.name, run.outside(file, mutant), run.last


def main() -> int:
    """Try the mutants that were asked for; return 1 if one survives that is not known."""
    options = _options()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    baseline = current_baseline()
    for name in baseline.modules:
        if not _is_ours(name):
            with suppress(Exception):
                importlib.import_module(name)
    if "trioauth" in sys.modules:
        return _broken("what was imported beforehand imports the package, so no mutant would be")

    fates: dict[str, dict[str, Fate]] = json.loads(FATES.read_text()) if FATES.exists() else {}
    wanted, known = options.files or FILES, _equivalent()
    work = list(_controls(wanted[0]))
    for file in wanted:
        tried = fates.setdefault(file, {})
        work += [(file, mutant) for mutant in _chosen(file, tried, known.get(file, {}), options)]
    missing = len(work)
    try:
        for file, name, fate, test in results(work, baseline, options.seconds):
            missing -= 1
            if name == BROKEN and fate != "killed":
                return _broken(f"no test fails on {name}")
            if name in CONTROLS and fate != "survived":
                return _broken(f"{test} fails on {name}")
            if name in (BROKEN, *CONTROLS):
                continue
            fates[file][name] = fate
            _tell(file, name, fate, test, known=name in known.get(file, {}), all_=options.only)
    finally:
        FATES.write_text(json.dumps(fates))
    if missing:
        return _broken(f"{missing} mutants have not been tried")
    rows = {file: _row(file, fates[file], known.get(file, {})) for file in wanted}
    print(*rows.values(), sep="\n")
    if options.write:
        _write(rows)
    alive = {(f, name) for f in wanted for name, fate in fates[f].items() if fate in ALIVE}
    return 1 if any(name not in known.get(file, {}) for file, name in alive) else 0


def _is_ours(module: str) -> bool:
    """Say whether a module is of this repository: its tests and tools may import the package."""
    top = module.partition(".")[0]
    return any(
        (folder / each).exists()
        for folder in (ROOT, ROOT / "scripts")
        for each in (top, f"{top}.py")
    )


def _equivalent() -> dict[str, dict[str, str]]:
    """Read which mutants need not be killed, and why."""
    listed: dict[str, dict[str, list[str]]] = tomllib.loads(EQUIVALENT.read_text())
    return {
        file: {name: reason for reason, names in reasons.items() for name in names}
        for file, reasons in listed.items()
    }


def _chosen(
    file: str, fates: dict[str, Fate], known: dict[str, str], options: argparse.Namespace
) -> list[Mutant]:
    """Make the mutants of a file that were asked for."""
    path = PACKAGE / f"{file}.py"
    everything = list(mutants(path.read_text(), str(path)))
    names = {mutant.name for mutant in everything}
    for name in [name for name in fates if name not in names]:
        del fates[name]
    found = [mutant for mutant in everything if options.only in mutant.name]
    if options.again:
        found = [mutant for mutant in found if fates.get(mutant.name) in ALIVE]
    elif options.sample and len(found) > options.sample:
        found = random.Random(file).sample(found, options.sample)  # noqa: S311
    if options.known:
        return found
    # Those that are known to survive cost the most time.
    fates.update({mutant.name: "survived" for mutant in found if mutant.name in known})
    return [mutant for mutant in found if mutant.name not in known]


def _tell(file: str, name: str, fate: Fate, test: str, *, known: bool, all_: bool) -> None:
    if fate in ALIVE and not known:
        print(f"{fate}: {file} {name}", flush=True)
    elif fate not in ALIVE and known:
        print(f"not equivalent, {test} notices: {file} {name}", flush=True)
    elif all_:
        print(f"{fate}: {file} {name} ({test})", flush=True)


def _controls(file: str) -> Iterator[tuple[str, Mutant]]:
    """Make "mutants" of which we know what must become of them."""
    path = PACKAGE / f"{file}.py"
    same = partial(compile, path.read_text(), str(path), "exec")
    for name, in_function in CONTROLS.items():
        yield file, Mutant(name, same, in_function, range(9999))
    broken = partial(compile, "raise ImportError", str(path), "exec")
    yield file, Mutant(BROKEN, broken, in_function=False, lines=range(0))


def _broken(why: str) -> int:
    print(f"this says nothing about the tests: {why}", file=sys.stderr)
    return 2


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", help="module names, such as _state")
    parser.add_argument("--sample", type=int, default=0, help="at most so many mutants of a file")
    parser.add_argument("--again", action="store_true", help="only survivors of the last time")
    parser.add_argument("--known", action="store_true", help="try those listed as equivalent, too")
    parser.add_argument("--only", default="", help="mutants with this in their name")
    parser.add_argument("--write", action="store_true", help="put the result into docs/mutation.md")
    parser.add_argument(
        "--seconds", type=float, default=20, help="of tests to try on each mutant at most"
    )
    return parser.parse_args()


def _row(file: str, fates: dict[str, Fate], known: dict[str, str]) -> str:
    alive = [name for name, fate in fates.items() if fate in ALIVE]
    equivalent = sum(name in known for name in alive)
    path = PACKAGE / f"{file}.py"
    there = sum(1 for _ in mutants(path.read_text(), str(path)))
    tried, killed = len(fates), len(fates) - len(alive)
    score = 100 * killed / max(1, tried - equivalent)
    survived = len(alive) - equivalent
    counts = f"{there} | {tried} | {killed} | {survived} | {equivalent}"
    return f"| `{file}.py` | {counts} | {score:.1f} % |"


def _write(rows: dict[str, str]) -> None:
    """Replace the rows of the files that were tried."""
    page = PAGE.read_text()
    for file, row in rows.items():
        page = re.sub(rf"^\| `{file}\.py` .*$", lambda _, row=row: row, page, flags=re.MULTILINE)
    PAGE.write_text(page)


if __name__ == "__main__":
    sys.exit(main())

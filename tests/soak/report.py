"""What the soak found out: the figures, the promises and bounds, and whether they were kept. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, final

import attrs

from trioauth._demo_report import Check

from .measures import Sample, growth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Megabytes. What the interpreter and the HTTP libraries need to settle; a leak passes it in time.
MOST_MEMORY = 16.0
# A task that is cancelled leaves at once, if the event loop is not busy with something else.
SLOWEST_EXIT = 2.0
# Trio keeps the threads that it has used for ten seconds: one for each store, and a few left behind.
MOST_THREADS = 12
# Tokens are renewed at three quarters of their life; a storm would be many times that.
_MOST_ROTATIONS = 2.0

# What there may be no more of than before when all is closed, and no more of in the end than soon
# after the start.
KEPT = (
    "trioauth.Session",
    "trioauth.Keeper",
    "trioauth.Flight",
    "trioauth.Generation",
    "trioauth.Login",
    "httpx.Response",
    "httpx2.Response",
)


@final
@attrs.frozen(kw_only=True)
class Report:
    """What was counted and measured."""

    seconds: float
    lifetime: float
    logins: int
    """Logins that there may be at the same time: those of the shared store and of the other."""
    samples: Sequence[Sample]
    """One before anything was opened; some while it ran; one when all was closed."""
    server: Counter[str]
    clients: Counter[str]
    problems: Counter[str]
    most_attempts: int
    slowest_exit: float

    @property
    def tasks_left(self) -> int:
        """Tasks that are there now and were not before."""
        return self.samples[-1].tasks - self.samples[0].tasks

    @property
    def files_left(self) -> int:
        """File descriptors that are open now and were not before."""
        return self.samples[-1].files - self.samples[0].files

    @property
    def objects_left(self) -> Counter[str]:
        """Objects that are there now and were not before."""
        left = self.samples[-1].objects - self.samples[0].objects
        return Counter({name: left[name] for name in KEPT if left[name]})

    @property
    def memory_growth(self) -> float:
        """Megabytes."""
        return growth(self.samples[1:-1], lambda sample: sample.memory)

    @property
    def object_growth(self) -> Counter[str]:
        """By how much there are more, the last objects of a login that just began aside."""
        running = self.samples[1:-1]
        grown: Counter[str] = Counter()
        for name in KEPT:
            number = growth(running, lambda sample, name=name: sample.objects[name])  # type: ignore[misc]
            grown[name] = max(round(number), 0)
        return +grown

    def checks(self) -> Iterator[Check]:
        """Say of each promise and bound whether it was kept."""
        server, clients, seconds = self.server, self.clients, self.seconds
        orders = server["order: expire"] + server["order: revoke"] + server["order: refuse_all"]
        rotations = self.logins * (_MOST_ROTATIONS * seconds / self.lifetime + 3 * orders)
        rotations += server["logins"] + server["revocations"]
        refused = server["refused"] + server["reused"]
        running = self.samples[1:-1]
        peak = max(sample.threads for sample in running) - self.samples[0].threads
        most_objects = max(self.object_growth.values(), default=0)
        did = min(clients["requests"], server["rotations"], server["unauthorized"])
        yield Check("it ran", "requests, rotations and 401s happened", did > 0)
        yield Check("P1", f"no storm: at most {rotations:.0f} rotations", server["rotations"] <= rotations)
        yield Check("P4", "no request was sent more than twice", self.most_attempts <= 2)
        yield Check(
            "P5",
            "a spent refresh token was presented only to find out the fate of a lost answer",
            server["unexcused"] == 0,
        )
        yield Check(
            "P6", f"a cancelled task left within {SLOWEST_EXIT:g} s", self.slowest_exit <= SLOWEST_EXIT
        )
        yield Check("P7", "nobody used a generation before it was saved", clients["unsaved"] == 0)
        yield Check("P8", "no task was left", self.tasks_left == 0)
        yield Check(
            "P14",
            "a login ended because somebody said so, never for an outage",
            clients["logged out: unavailable"] == 0
            and (clients["logged out: refused"] == 0 or refused > 0),
        )
        yield Check("P20", "no task saw anything unforeseen, or waited for ever", not self.problems)
        yield Check(
            "memory", f"grew by less than {MOST_MEMORY:g} MB", self.memory_growth < MOST_MEMORY
        )
        yield Check("files", "none was left open", self.files_left <= 0)
        yield Check("threads", f"at most {MOST_THREADS} at any time", peak <= MOST_THREADS)
        yield Check("objects", "none was left when all was closed", not self.objects_left)
        yield Check("objects", "their number is steady", most_objects <= self._most_objects)

    @property
    def _most_objects(self) -> int:
        # Each request in the air has a response, and there are as many as there are tasks.
        return 50 + max(sample.tasks for sample in self.samples)

    def lines(self) -> Iterator[str]:
        """Give the report, line by line."""
        first, last = self.samples[1], self.samples[-2]
        yield f"{self.seconds:.0f} seconds, tokens of {self.lifetime:g} s"
        yield "the clients:  " + in_words(self.clients)
        yield "the server:   " + in_words(self.server)
        yield f"most attempts {self.most_attempts}, slowest exit {self.slowest_exit:.2f} s"
        yield (
            f"memory {first.memory:.1f} MB at the start, {last.memory:.1f} MB at the end;"
            f" from the first third to the last {self.memory_growth:+.1f} MB"
        )
        yield (
            f"files {first.files} .. {last.files}, left {self.files_left};"
            f" threads {first.threads} .. {last.threads}, left"
            f" {self.samples[-1].threads - self.samples[0].threads}; tasks left {self.tasks_left}"
        )
        yield "objects at the start: " + in_words(_kept(first))
        yield "objects at the end:   " + in_words(_kept(last))
        yield "objects left: " + in_words(self.objects_left)
        for text, times in self.problems.items():
            yield f"PROBLEM, {times} times: {text}"
        for check in self.checks():
            yield f"{'kept  ' if check.kept else 'BROKEN'} {check.promise:8} {check.sentence}"

    @property
    def broken(self) -> list[str]:
        """The promises and bounds that were not kept, by name."""
        return [check.promise for check in self.checks() if not check.kept]


def in_words(count: Counter[str]) -> str:
    """Say what was counted."""
    return ", ".join(f"{name} {number}" for name, number in sorted(count.items())) or "none"


def _kept(sample: Sample) -> Counter[str]:
    return Counter({name: sample.objects[name] for name in KEPT})


def total(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up what the members counted."""
    clients: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    for each in facts:
        clients.update(each["count"])
        problems.update(each["problems"])
    return {
        "clients": +clients,
        "problems": problems,
        "most_attempts": max(each["most_attempts"] for each in facts),
        "slowest_exit": max(each["slowest_exit"] for each in facts),
    }

"""What the soak found out: the figures, and whether promises and bounds were kept. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, final

import attrs

from trioauth.cli._demo.report import Check

from .measures import Sample, growth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# Megabytes. What the interpreter and the HTTP libraries need to settle; a leak passes it in time.
MOST_MEMORY = 16.0
# A task that is cancelled leaves at once, if the event loop is not busy with something else.
SLOWEST_EXIT = 2.0
# Trio keeps a thread for ten seconds after its use: one for each store, and some left behind.
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
    stories: Sequence[str] = ()
    """What became of the refresh tokens that were presented twice without an excuse."""
    most_attempts: int
    slowest_exit: float

    @property
    def running(self) -> Sequence[Sample]:
        """The samples from while it ran."""
        return self.samples[1:-1]

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
        return growth(self.running, lambda sample: sample.memory)

    @property
    def object_growth(self) -> Counter[str]:
        """By how much there are more in the last third than in the first."""
        return +Counter({name: round(growth(self.running, _number_of(name))) for name in KEPT})

    def checks(self) -> Iterator[Check]:
        """Say of each promise and bound whether it was kept."""
        yield from self._promises()
        yield from self._bounds()

    def _promises(self) -> Iterator[Check]:
        server, clients = self.server, self.clients
        did = min(clients["requests"], server["rotations"], server["unauthorized"])
        yield Check("it ran", "there were requests, rotations and 401s", did > 0)
        most = self._most_rotations
        yield Check("P1", f"no storm: at most {most:.0f} rotations", server["rotations"] <= most)
        yield Check(
            "P4",
            "no request was sent more often than it may be",
            self.most_attempts <= 2,
        )
        yield Check(
            "P5",
            "a spent refresh token was presented only to find out the fate of a lost answer",
            server["unexcused"] == 0,
        )
        at_once = self.slowest_exit <= SLOWEST_EXIT
        yield Check("P6", f"a cancelled task left within {SLOWEST_EXIT:g} s", at_once)
        yield Check("P7", "nobody used a generation before it was saved", clients["unsaved"] == 0)
        yield Check("P8", "no task was left", self.tasks_left == 0)
        yield Check("P14", "a login ended because somebody said so", self._ended_by_somebody)
        yield Check("P20", "no task saw anything unforeseen, or waited for ever", not self.problems)

    def _bounds(self) -> Iterator[Check]:
        grown = self.memory_growth
        yield Check("memory", f"it grew by less than {MOST_MEMORY:g} MB", grown < MOST_MEMORY)
        yield Check("files", "none was left open", self.files_left <= 0)
        peak = max(sample.threads for sample in self.running) - self.samples[0].threads
        yield Check("threads", f"there were {MOST_THREADS} at most", peak <= MOST_THREADS)
        yield Check("objects", "none was left when all was closed", not self.objects_left)
        steady = max(self.object_growth.values(), default=0) <= self._most_objects
        yield Check("objects", "their number was steady", steady)

    @property
    def _most_rotations(self) -> float:
        """Return how many there may be: by the clock, for each order, and for each login."""
        orders = [self.server[f"order: {name}"] for name in ("expire", "revoke", "refuse_all")]
        by_the_clock = _MOST_ROTATIONS * self.seconds / self.lifetime
        others = self.server["logins"] + self.server["revocations"]
        return self.logins * (by_the_clock + 3 * sum(orders)) + others

    @property
    def _ended_by_somebody(self) -> bool:
        """Whether no login was given up for an outage, and each refusal was a refusal."""
        server, ended = self.server, self.clients
        refusals = server["refused"] + server["reused"]
        reasons = server["order: revoke"] + server["revocations"] + server["reused"]
        return (
            ended["logged out: unavailable"] == 0
            and ended["logged out: refused"] <= refusals
            and (refusals == 0 or reasons > 0)
        )

    @property
    def _most_objects(self) -> int:
        # Each request in the air has a response, and there are as many as there are tasks.
        return 50 + max(sample.tasks for sample in self.samples)

    def lines(self) -> Iterator[str]:
        """Give the report, line by line."""
        first, last = self.running[0], self.running[-1]
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
        yield from self.stories
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


def _number_of(name: str) -> Callable[[Sample], float]:
    return lambda sample: sample.objects[name]


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

"""The soak itself: start everything, look at it now and then, end everything, report."""

from __future__ import annotations

import random
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from trioauth import Tokens

from .measures import Sample, take_sample
from .member import Member, make_grant
from .process import helper
from .report import Report, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioauth import Grant

    from .process import Helper

# What two processors can send and answer without sweating.
_REQUESTS_A_SECOND = 120
_SHARERS_TASKS = 20
# Trio keeps a thread for ten seconds after its last use.
_THREADS_KEPT = 11.0
_SAMPLES = 60
_SHORTEST_SAMPLE, _LONGEST_SAMPLE = 0.5, 60.0
# On a machine that is busy with other things, a short soak goes on until it has seen a rotation
# and a 401, for so many seconds at most.
_PATIENCE = 20.0


@final
@attrs.frozen(kw_only=True)
class Options:
    """What the command line says, and what a test breaks."""

    seconds: float = 600.0
    tasks: int = 300
    lifetime: float = 2.0
    reuse_grace: float = 10.0
    seed: int = attrs.field(factory=lambda: random.randrange(2**32))
    make_grant: Callable[[str], Grant] = make_grant
    keep: Callable[[Any], object] = attrs.field(default=lambda _: None)


async def soak(options: Options, tell: Callable[[str], object] = print) -> Report:
    """Run it, and tell now and then how it goes.

    Cancellation:
      Safe. Everything is closed, and the helping processes are ended.
    """
    random.seed(options.seed)
    before = take_sample()
    with tempfile.TemporaryDirectory(prefix="trioauth-soak-") as folder:
        seed = options.seed
        async with helper(
            "tests.soak.server",
            lifetime=options.lifetime,
            reuse_grace=options.reuse_grace,
            seed=seed,
        ) as server:
            url = await server.hear()
            soaking = _Soaking(options, server, url, Path(folder), tell)
            async with helper(
                "tests.soak.sharer",
                url=url,
                folder=str(soaking.shared),
                tasks=_SHARERS_TASKS,
                pause=soaking.pause,
                seed=seed,
            ) as sharer:
                await soaking.run()
                facts = [member.facts() for member in soaking.members]
                facts.append(await sharer.stop())
            served = await server.stop()
    # The last of all: an idle thread of trio's is no leak.
    if options.seconds > _THREADS_KEPT:
        await trio.sleep(_THREADS_KEPT)
    samples = [before, *soaking.samples, take_sample()]
    return Report(
        seconds=options.seconds,
        lifetime=options.lifetime,
        logins=2,
        samples=samples,
        server=Counter(served["count"]),
        stories=served["stories"],
        **total(facts),
    )


@final
@attrs.define(eq=False)
class _Soaking:
    """The soak while it runs."""

    options: Options
    server: Helper
    url: str
    folder: Path
    tell: Callable[[str], object]
    samples: list[Sample] = attrs.field(factory=list[Sample], init=False)
    members: list[Member] = attrs.field(init=False)
    over: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        alone, shared = self.folder / "alone", self.shared
        self.members = [
            self._member(shared, log_in=self._log_in),
            self._member(shared, keep_fresh=True),
            self._member(alone, log_in=self._log_in, keep_fresh=True),
        ]

    @property
    def shared(self) -> Path:
        """The folder of the store that several members share."""
        return self.folder / "shared"

    @property
    def pause(self) -> float:
        """Seconds that a task rests."""
        return max((self.options.tasks + _SHARERS_TASKS) / _REQUESTS_A_SECOND, 0.2)

    def _member(self, folder: Path, **kwargs: Any) -> Member:
        return Member(
            url=self.url,
            folder=folder,
            tasks=self.options.tasks // 3,
            pause=self.pause,
            make_grant=self.options.make_grant,
            keep=self.options.keep,
            **kwargs,
        )

    async def _log_in(self) -> Tokens:
        access_token, refresh_token = await self.server.ask("log_in")
        return Tokens(access_token, refresh_token, self.options.lifetime)

    async def run(self) -> None:
        """Let the members live for as long as the options say."""
        async with trio.open_nursery() as nursery:
            for member in self.members:
                nursery.start_soon(self._run, member)
            await self._watch()
            self.over = True
            nursery.cancel_scope.cancel(reason="the soak is over")

    async def _run(self, member: Member) -> None:
        try:
            await member.live()
        except BaseException as exc:
            if not self.over:
                # A cancellation that nothing here asked for would end the soak silently.
                member.problems["".join(traceback.format_exception(exc))] += 1
            raise

    async def _watch(self) -> None:
        began, seconds = trio.current_time(), self.options.seconds
        pause = min(max(seconds / _SAMPLES, _SHORTEST_SAMPLE), _LONGEST_SAMPLE)
        served = Counter[str]()
        while (left := began + seconds - trio.current_time()) > 0 or (
            left > -_PATIENCE and not (served["rotations"] and served["unauthorized"])
        ):
            await trio.sleep(min(pause, left) if left > 0 else pause)
            self.samples.append(take_sample())
            served = Counter((await self.server.ask("tally"))["count"])
            self.tell(self._line(trio.current_time() - began, served))

    def _line(self, elapsed: float, served: Counter[str]) -> str:
        sample = self.samples[-1]
        count = sum((member.count for member in self.members), Counter[str]())
        problems = sum(sum(member.problems.values()) for member in self.members)
        return (
            f"{elapsed:6.0f} s  rotations {served['rotations']}, requests {count['requests']},"
            f" 401s {served['unauthorized']}, resent {count['resent']},"
            f" cancelled {count['cancelled']}, flights failed {count['flights failed']},"
            f" unexcused {served['unexcused']}, problems {problems},"
            f" memory {sample.memory:.1f} MB, files {sample.files}, threads {sample.threads}"
        )

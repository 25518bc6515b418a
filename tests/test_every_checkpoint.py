"""every_checkpoint itself: it finds what breaks, says where, and leaves nothing changed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trioauth.testing import AuthServer, CancelPoint, Victim, every_checkpoint
from trioauth.testing._scheduler import seeded

if TYPE_CHECKING:
    from collections.abc import Generator


async def two_steps(done: list[str] | None = None) -> str:
    await trio.sleep(1)
    if done is not None:
        done.append("first")
    await trio.lowlevel.checkpoint()
    if done is not None:
        done.append("second")
    return "result"


def test_it_cancels_once_at_each_checkpoint_in_each_phase_and_at_last_not_at_all() -> None:
    runs: list[list[str]] = []

    async def scenario(victim: Victim) -> None:
        done: list[str] = []
        result = await victim(two_steps, done)
        runs.append([*done, "cancelled" if result is None else result])
        assert victim.cancelled == (victim.cancelled_at is not None)

    exploration = every_checkpoint(scenario, seeds=[7])
    whole = ["first", "second", "result"]
    # Asleep, then woken; a sleep, and a bare checkpoint, look once more before they let go.
    assert runs == 2 * [["cancelled"], ["first", "cancelled"], whole]
    assert [(point.seed, point.phase, point.step) for point in exploration.points] == [
        (7, "asleep", 1),
        (7, "asleep", 2),
        (7, "woken", 1),
        (7, "woken", 2),
    ]
    assert exploration.failures == ()
    assert str(exploration) == "0 of 4 cancellations broke the scenario"


def test_a_task_that_has_its_result_in_hand_is_cancelled_at_the_next_checkpoint() -> None:
    runs: list[list[str]] = []

    async def wait_then_save(news: trio.Event, done: list[str]) -> None:
        await news.wait()
        done.append("got it")
        await trio.lowlevel.checkpoint()
        done.append("saved it")

    async def scenario(victim: Victim) -> None:
        done: list[str] = []
        runs.append(done)
        news = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(victim, wait_then_save, news, done)
            await trio.testing.wait_all_tasks_blocked()
            news.set()

    every_checkpoint(scenario, seeds=[0])
    assert ["got it"] in runs


def test_a_failure_says_where_the_victim_was_cancelled_and_how_it_got_there() -> None:
    async def scenario(victim: Victim) -> None:
        done: list[str] = []
        await victim(two_steps, done)
        assert done != ["first"], "half done"

    with pytest.raises(AssertionError, match="half done") as info:
        every_checkpoint(scenario)
    [note] = info.value.__notes__
    assert note.startswith("every_checkpoint: seed 0, asleep, step 2: two_steps (test_every_")

    exploration = every_checkpoint(scenario, keep_going=True)
    assert str(exploration) == "6 of 12 cancellations broke the scenario"
    assert {point.step for point, _ in exploration.failures} == {2}
    assert all("half done" in str(error) for _, error in exploration.failures)


def test_a_scenario_that_fails_without_cancellation_is_an_error_in_any_case() -> None:
    async def scenario(victim: Victim) -> None:
        await victim(two_steps)
        if not victim.cancelled:
            raise LookupError("broken anyway")

    with pytest.raises(LookupError) as info:
        every_checkpoint(scenario, keep_going=True)
    assert info.value.__notes__ == ["every_checkpoint: seed 0: without any cancellation"]


def test_a_cancelled_that_escapes_is_a_failure() -> None:
    async def scenario(victim: Victim) -> None:
        kept: list[BaseException] = []

        async def keep() -> None:
            try:
                await two_steps()
            except trio.Cancelled as exc:
                kept.append(exc)
                raise

        await victim(keep)
        if kept:
            raise kept[0]

    with pytest.raises(trio.Cancelled):
        every_checkpoint(scenario)


def test_what_ends_the_program_is_not_taken_for_a_failure() -> None:
    async def scenario(victim: Victim) -> None:
        await victim(two_steps)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        every_checkpoint(scenario, keep_going=True)


def test_a_scenario_that_hangs_is_a_failure() -> None:
    async def scenario(victim: Victim) -> None:
        await victim(two_steps)
        if victim.cancelled:
            await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError):
        every_checkpoint(scenario)


def test_a_scenario_must_call_its_victim_once() -> None:
    async def never(victim: Victim) -> None:
        await two_steps()

    with pytest.raises(RuntimeError, match="never called its victim"):
        every_checkpoint(never)

    async def twice(victim: Victim) -> None:
        await victim(two_steps)
        await victim(two_steps)

    with pytest.raises(RuntimeError, match="call its victim once"):
        every_checkpoint(twice)


def test_a_victim_that_never_ends_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trioauth.testing._checkpoints._MOST_STEPS", 20)

    async def for_ever() -> None:
        while True:  # noqa: ASYNC110  # a victim that never ends
            await trio.lowlevel.checkpoint()

    async def scenario(victim: Victim) -> None:
        await victim(for_ever)

    with pytest.raises(RuntimeError, match="20 checkpoints, and more"):
        every_checkpoint(scenario)


async def test_it_can_not_be_called_from_async_code() -> None:
    async def scenario(victim: Victim) -> None:
        await victim(two_steps)

    with pytest.raises(RuntimeError, match="synchronous test"):
        every_checkpoint(scenario)


def test_another_clock_can_be_had_for_scenarios_that_take_real_time() -> None:
    clocks: list[object] = []

    def clock() -> trio.abc.Clock:
        clocks.append(trio.testing.MockClock(rate=1000))
        return clocks[-1]  # type: ignore[return-value]

    async def scenario(victim: Victim) -> None:
        await victim(trio.to_thread.run_sync, int)

    exploration = every_checkpoint(scenario, seeds=[1], clock=clock)
    assert len(clocks) == len(exploration.points) + 2


def test_a_point_says_what_it_is() -> None:
    point = CancelPoint(3, "woken", 2, "f (g.py:1)")
    assert str(point) == "seed 3, woken, step 2: f (g.py:1)"


# --- the schedule ----------------------------------------------------------------------------


def orders(seed: int) -> list[int]:
    seen: list[int] = []

    async def note(number: int) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            seen.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(note, number)

    with seeded(seed):
        trio.run(main)
    return seen


def test_a_seed_makes_a_schedule_and_another_makes_another() -> None:
    assert orders(1) == orders(1)
    assert len({tuple(orders(seed)) for seed in range(20)}) > 10


def test_a_seed_changes_nothing_afterwards() -> None:
    run = trio._core._run
    before = random.getstate(), run._r.getstate(), run._ALLOW_DETERMINISTIC_SCHEDULING
    orders(1)
    with pytest.raises(LookupError), seeded(2):
        raise LookupError
    assert before == (random.getstate(), run._r.getstate(), run._ALLOW_DETERMINISTIC_SCHEDULING)


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    with monkeypatch.context() as patch:
        patch.delattr(trio._core._run, "_r")
        yield


@pytest.mark.usefixtures("renamed")
def test_when_trio_renames_its_seed_the_error_says_what_to_do() -> None:
    """If this test's neighbours fail: find trio's new names and put them into _scheduler.py."""
    with pytest.raises(RuntimeError, match="upgrade trioauth"), seeded(1):
        pass


def test_the_place_is_named_by_its_inner_end_and_by_its_outer_end() -> None:
    async def nest(depth: int) -> None:
        if depth:
            await nest(depth - 1)
        await trio.lowlevel.checkpoint()

    async def checkout(depth: int) -> None:
        await nest(depth)

    async def shallow(victim: Victim) -> None:
        await victim(checkout, 2)

    async def deep(victim: Victim) -> None:
        await victim(checkout, 20)

    for scenario, shown in ((shallow, 5), (deep, 7)):
        names = every_checkpoint(scenario, seeds=[0]).points[0].where.split(", called by ")
        assert len(names) == shown
        assert names[0].startswith("nest (test_every_checkpoint.py:")
        assert names[-2].startswith("checkout (test_every_checkpoint.py:")
        assert ("..." in names) == (scenario is deep)


def test_the_inside_of_the_test_server_is_no_place() -> None:
    async def scenario(victim: Victim) -> None:
        async with AuthServer().open_session() as session:
            await victim(session.get, "/me")

    points = every_checkpoint(scenario, seeds=[0]).points
    assert points
    assert not any("_exchange.py" in point.where for point in points)
    assert all("get (_client.py:" in point.where for point in points)

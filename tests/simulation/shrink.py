"""Make a failing world smaller: drop what can be dropped while it still fails the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .run import Result
    from .world import Program, Task, World

T = TypeVar("T")
W = TypeVar("W", bound="World")


def promises(world: World, play: Callable[[Any], Result]) -> set[str]:
    """Return the names of the promises that a world sees broken."""
    return {violation.partition(":")[0] for violation in play(world).violations}


def shrink(world: W, play: Callable[[Any], Result]) -> W:
    """Return a smaller world in which one of the same promises is broken.

    Every step is tried in the same order, so the same world gives the same answer.
    """
    broken = promises(world, play)
    if not broken:
        return world
    smaller = True
    while smaller:
        smaller = False
        for candidate in _simpler(world):
            if promises(candidate, play) & broken:
                world, smaller = candidate, True
                break
    return world


def _simpler(world: W) -> Iterator[W]:
    """Yield worlds that are a little simpler, the boldest first."""
    half = len(world.tasks) // 2
    if half > 1:
        yield attrs.evolve(world, tasks=world.tasks[:half])
        yield attrs.evolve(world, tasks=world.tasks[half:])
    for number in reversed(range(len(world.tasks))):
        yield attrs.evolve(world, tasks=_without(world.tasks, number))
    for number in reversed(range(len(world.troubles))):
        yield attrs.evolve(world, troubles=_without(world.troubles, number))
    used = {task.program for task in world.tasks}
    last = len(world.programs) - 1
    if last > 0 and last not in used:
        yield attrs.evolve(world, programs=world.programs[:-1])
    for number, program in enumerate(world.programs):
        if len(program.visits) > 1:
            shorter = attrs.evolve(program, visits=program.visits[1:])
            yield attrs.evolve(world, programs=_with(world.programs, number, shorter))
    for number, task in enumerate(world.tasks):
        for simpler in _simpler_tasks(task):
            yield attrs.evolve(world, tasks=_with(world.tasks, number, simpler))


def _simpler_tasks(task: Task) -> Iterator[Task]:
    if len(task.steps) > 1:
        for number in reversed(range(len(task.steps))):
            yield attrs.evolve(task, steps=_without(task.steps, number))
    for number, step in enumerate(task.steps):
        for simpler in (attrs.evolve(step, patience=None), attrs.evolve(step, after=0.0)):
            if simpler != step:
                yield attrs.evolve(task, steps=_with(task.steps, number, simpler))


def _without(items: tuple[T, ...], number: int) -> tuple[T, ...]:
    return items[:number] + items[number + 1 :]


def _with(items: tuple[T, ...], number: int, item: T) -> tuple[T, ...]:
    return (*items[:number], item, *items[number + 1 :])


def describe(world: World) -> str:
    """Say what is in a world, one thing a line."""
    lines = [
        f"seed {world.seed}, {world.horizon} s, shared={world.shared}, prefilled={world.prefilled}",
        str(world.servers),
        *(_describe_program(number, program) for number, program in enumerate(world.programs)),
        *(f"task {number}: {task}" for number, task in enumerate(world.tasks)),
        *map(str, world.troubles),
    ]
    return "\n".join(lines)


def _describe_program(number: int, program: Program) -> str:
    return f"program {number}: {program}"

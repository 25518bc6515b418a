"""Make trio's scheduling repeatable: the one place that knows private names of trio."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Generator

# Trio has no public way to seed its scheduler; Hypothesis and pytest-trio use the same two names.
_FLAG = "_ALLOW_DETERMINISTIC_SCHEDULING"
_RANDOM = "_r"


@contextmanager
def seeded(seed: int) -> Generator[None, None, None]:
    """Within the block, trio orders tasks, and the module `random` draws, as ``seed`` says.

    Outside it, both go on as if nothing had happened.

    Args:
      seed: Any integer; each gives another schedule.

    Raises:
      RuntimeError: This release of trio has no seed where it used to be.
    """
    run: Any = trio._core._run
    if not isinstance(getattr(run, _RANDOM, None), random.Random) or not hasattr(run, _FLAG):
        raise RuntimeError(
            f"trio {trio.__version__} has renamed what seeds its scheduler (trio._core._run.{_FLAG}"
            f" and .{_RANDOM}); upgrade trioauth, or use the trio that it was tested with"
        )
    scheduler: random.Random = getattr(run, _RANDOM)
    before = getattr(run, _FLAG), scheduler.getstate(), random.getstate()
    setattr(run, _FLAG, True)
    scheduler.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        setattr(run, _FLAG, before[0])
        scheduler.setstate(before[1])
        random.setstate(before[2])

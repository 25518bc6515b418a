"""Let trio's scheduler and the library's jitter follow a seed: all that is private to trio."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio._core._run

if TYPE_CHECKING:
    from collections.abc import Generator

# Trio calls the first of its two names final, but reads it at each step.
scheduler: Any = trio._core._run


@contextmanager
def seeded(seed: int) -> Generator[None, None, None]:
    """Run what is inside the way the seed says; afterwards chance is as it was."""
    allowed, order, jitter = (
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING,
        scheduler._r.getstate(),
        random.getstate(),
    )
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = allowed
        scheduler._r.setstate(order)
        random.setstate(jitter)

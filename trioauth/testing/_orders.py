"""What an endpoint was told to do wrong."""

from __future__ import annotations

import enum
import math
from collections import deque
from typing import TypeAlias, final

import attrs

from ._messages import Answer


class Mishap(enum.Enum):
    """An order that is not an answer."""

    DROP = "process the request, lose the answer"
    HANG = "never answer"


Order: TypeAlias = Answer | Mishap


@final
@attrs.define(eq=False)
class Orders:
    """Orders for the next requests, first come, first served; and those that stand."""

    delay: float = 0.0
    _next: deque[tuple[Order, float]] = attrs.field(
        factory=deque[tuple[Order, float]], init=False, repr=False
    )

    def add(self, order: Order, times: int | None) -> None:
        """Queue an order for so many requests; None: until it is cleared."""
        if times is not None and times < 1:
            raise ValueError(
                f"times must be at least 1, or None for 'until recover()', not {times}"
            )
        self._next.append((order, math.inf if times is None else times))

    def take(self) -> Order | None:
        """Return what to do with the request that just arrived; None: nothing special."""
        if not self._next:
            return None
        order, times = self._next.popleft()
        if times > 1:
            self._next.appendleft((order, times - 1))
        return order

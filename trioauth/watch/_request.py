"""Request: one request, as a program reports it to a timeline."""

from __future__ import annotations

from typing import Literal, TypeAlias, final

import attrs

RequestEnd: TypeAlias = Literal["running", "answered", "failed", "cancelled"]


@final
@attrs.define(eq=False)
class Request:
    """One request, as the program reports it."""

    label: str
    """What the picture calls it, word for word: put no secret into it."""

    task: str
    """The name of the task: the row that it is drawn in."""

    started: float
    """When it began, on trio's clock (`trio.current_time`)."""

    ended: float | None = None
    """When it ended, on trio's clock; None while it runs."""

    outcome: object = None
    """What came of it, for a person to read, such as ``response.status_code``."""

    end: RequestEnd = "running"
    """How it ended, so far."""

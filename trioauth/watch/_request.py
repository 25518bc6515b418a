"""Request: one request, as a program reports it to a timeline."""

from __future__ import annotations

from typing import Literal, TypeAlias, final

import attrs

RequestEnd: TypeAlias = Literal["running", "answered", "failed", "cancelled"]
"""How a request ended; ``"running"`` if it has not."""


@final
@attrs.define(eq=False)
class Request:
    """One request, as the program reports it."""

    label: str
    """The text for it in the picture. The picture shows it as it is, so put no secret into it."""

    task: str
    """The name of the task: the row that it is drawn in."""

    started: float
    """When it began, on trio's clock (`trio.current_time`)."""

    ended: float | None = None
    """When it ended, on trio's clock; None while it runs."""

    outcome: object = None
    """The result, for a person to read, such as ``response.status_code``."""

    end: RequestEnd = "running"
    """How it ended; ``"running"`` while it runs."""

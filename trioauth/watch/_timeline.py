"""Timeline: it records events and requests; ``_picture`` and ``_svg`` draw them."""

from __future__ import annotations

import math
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import trio

from . import _picture, _svg
from ._request import Request, RequestEnd

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator

    from trioauth.events import Event

    from ._picture import Picture

__all__ = ["Request", "RequestEnd", "Timeline"]


def _method_and_path(request: Any) -> str:
    return f"{request.method} {request.url.path}"


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more, not {value!r}")


ClientT = TypeVar("ClientT")


@final
class Timeline:
    """Record what a session and its tasks do, and draw it.

    Give it to one session as an observer, and let it watch the client if requests are to be seen,
    too::

        timeline = Timeline()
        async with trioauth.open_session(grant, ..., observers=[timeline]) as session:
            timeline.watch(session)
            await session.get("/me")
        timeline.save("timeline.svg")

    Each task is a row, by its name; where tasks of one name overlap, each has a row of its own. So
    give them names: ``nursery.start_soon(sync, session, name="sync 7")``. As the last value of a
    notebook's cell, a timeline shows itself.

    Args:
      rows: How many rows to draw at most. The picture says how many it leaves out.
      limit: How many events, and how many requests, to remember. Beyond that the oldest go, so
          that it may watch a program that runs for weeks.

    Raises:
      ValueError: A number is out of range; the message names the parameter.
    """

    def __init__(self, *, rows: int = 60, limit: int = 10_000) -> None:
        _check_count("rows", rows)
        _check_count("limit", limit)
        self._rows = rows
        self._events: deque[Event] = deque(maxlen=limit)
        self._requests: deque[Request] = deque(maxlen=limit)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self._events.append(event)

    def watch(self, client: ClientT, *, label: Callable[[Any], str] = _method_and_path) -> ClientT:
        """Report each request that a client sends from now on, and return the client.

        From being asked for to its response: with the waiting for a refresh in between, and those
        that fail or are cancelled, too. Wraps the client's method ``send``, which all others call.

        Args:
          client: An ``AsyncClient`` of httpx or httpx2; or a session, for its own client.
          label: What the picture calls a request, given the request; no secrets. By default its
              method and its path, without the query.
        """
        target: Any = getattr(client, "http", client)
        send: Any = target.send

        async def watched(request: Any, **options: Any) -> Any:
            with self.request(label(request)) as reported:
                response = await send(request, **options)
                reported.outcome = response.status_code
            return response

        # On the object, not on its class: other clients are not watched.
        target.send = watched
        return client

    @contextmanager
    def request(self, label: str) -> Generator[Request, None, None]:
        """Report what happens in the block as a request of this task.

        For what does not go through a client that is watched: a WebSocket, gRPC::

            with timeline.request("subscribe") as request:
                await connect(await session.token())
                request.outcome = "connected"

        An ``outcome`` that is a number from 400 on is drawn as a failure. Of an exception only the
        name of its class is kept.

        Args:
          label: What the picture calls it, such as ``"GET /me"``; no secrets.
        """
        task = trio.lowlevel.current_task().name
        request = Request(label, task, trio.current_time())
        self._requests.append(request)
        try:
            yield request
        except trio.Cancelled:
            request.end = "cancelled"
            raise
        except BaseException as exc:
            request.end, request.outcome = "failed", type(exc).__name__
            raise
        else:
            request.end = "answered"
        finally:
            request.ended = trio.current_time()

    def add_request(
        self, label: str, *, task: str, started: float, ended: float, outcome: object = None
    ) -> None:
        """Report a request that is over, with times of trio's clock.

        For what can't be a block, such as something that a log tells of afterwards.

        Args:
          label: What the picture calls it; no secrets.
          task: The name of its task, as in ``trio.lowlevel.current_task().name``.
          started: When it began.
          ended: When it ended.
          outcome: What came of it, for a person to read.

        Raises:
          ValueError: It ended before it began, or never.
        """
        if not (math.isfinite(started) and math.isfinite(ended) and started <= ended):
            raise ValueError(
                f"ended must be a time after started, not {ended} (and started {started})"
            )
        self._requests.append(Request(label, task, started, ended, outcome, "answered"))

    def svg(self) -> str:
        """Draw what was recorded so far, as SVG."""
        return _svg.draw(self._picture(), rows=self._rows)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture into a file. Blocks, for as long as the disk takes."""
        Path(path).write_text(self.svg(), encoding="utf-8")

    def __repr__(self) -> str:
        return f"<trioauth.timeline.Timeline: {self._picture().summary}>"

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        # IPython leaves out by itself what it did not ask for.
        del include, exclude
        return {"image/svg+xml": self.svg(), "text/plain": repr(self)}

    def _picture(self) -> Picture:
        return _picture.compose(self._events, self._requests)

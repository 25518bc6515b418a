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

    Pass it to one session as an observer. To see requests, too, let it watch the client::

        timeline = Timeline()
        async with trioauth.open_session(grant, ..., observers=[timeline]) as session:
            timeline.watch(session)
            await session.get("/me")
        timeline.save("timeline.svg")

    Pass it to `open_sessions`, and each key has a lane with its generations and refreshes; a key is
    shown as in the log.

    Each task has a row with its name; tasks of one name share a row unless they overlap. So give
    them names: ``nursery.start_soon(sync, session, name="sync 7")``. In a notebook, a timeline as
    the last value of a cell is shown as a picture.

    Args:
      rows: How many rows, and how many lanes, to draw at most, by default 60. The picture says how
          many it leaves out.
      limit: How many events, and how many requests, to remember, by default 10,000 of each. Then
          the oldest are dropped, so that a timeline can watch a program that runs for weeks.

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
        """Record an event. Not a checkpoint."""
        self._events.append(event)

    def watch(self, client: ClientT, *, label: Callable[[Any], str] = _method_and_path) -> ClientT:
        """Record each request that a client sends from now on, and return the client.

        A request is drawn from the call to its response, with the wait for a refresh in between.
        Requests that fail or are cancelled are drawn, too. Replaces the client's method ``send``,
        which all its other methods call.

        Args:
          client: An ``AsyncClient`` of httpx or httpx2; or a session, for its own client.
          label: A function that gets the request and returns the text for it in the picture,
              without secrets. By default method and path, without the query.
        """
        target: Any = getattr(client, "http", client)
        send: Any = target.send

        async def watched(request: Any, **options: Any) -> Any:
            with self.request(label(request)) as reported:
                response = await send(request, **options)
                reported.outcome = response.status_code
            return response

        # Set on the object, not on its class, so that other clients are not watched.
        target.send = watched
        return client

    @contextmanager
    def request(self, label: str) -> Generator[Request, None, None]:
        """Record the block as a request of this task.

        For what does not go through a watched client, such as a WebSocket or gRPC::

            with timeline.request("subscribe") as request:
                await connect(await session.token())
                request.outcome = "connected"

        An ``outcome`` that is a number of 400 or more is drawn as a failure. If the block raises,
        only the name of the exception's class is kept.

        Args:
          label: The text for it in the picture, such as ``"GET /me"``, without secrets.
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
        """Record a request that has ended already.

        For what can't be put into a block, such as something that is read from a log afterwards.

        Args:
          label: The text for it in the picture, without secrets.
          task: The name of its task, as in ``trio.lowlevel.current_task().name``.
          started: When it began, on trio's clock (`trio.current_time`).
          ended: When it ended, on the same clock.
          outcome: The result, for a person to read.

        Raises:
          ValueError: ``ended`` is before ``started``, or one of them is not finite.
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
        """Write the picture into a file. Not async: it blocks until the file is written."""
        Path(path).write_text(self.svg(), encoding="utf-8")

    def __repr__(self) -> str:
        return f"<trioauth.timeline.Timeline: {self._picture().summary}>"

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        # IPython drops the forms that it did not ask for.
        del include, exclude
        return {"image/svg+xml": self.svg(), "text/plain": repr(self)}

    def _picture(self) -> Picture:
        return _picture.compose(self._events, self._requests)

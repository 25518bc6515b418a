"""SIGTERM, with which systemd, Docker and Kubernetes stop a program, as a cancellation.

1. Without a handler the process ends at once. If a refresh is in the air, and the server rotates
   refresh tokens, the login is lost: the old token is spent, and the new one is not stored.
2. As a cancellation of the block, it makes a session leave as usual: the refresh gets
   ``close_grace`` seconds to land and be stored (P8).

There is one handler for all blocks that are open, in whatever order they are left. A handler that
was there before is called, too.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType
    from typing import TypeAlias

    _Handler: TypeAlias = Callable[[int, FrameType | None], object] | int


@final
@attrs.define(eq=False, repr=False)
class _Blocks:
    """The blocks that are open, each with the run of trio that it is in; and their handler."""

    _scopes: dict[trio.CancelScope, trio.lowlevel.TrioToken] = attrs.field(
        factory=dict[trio.CancelScope, trio.lowlevel.TrioToken]
    )
    _before: _Handler = signal.SIG_DFL
    """What is called too, and put back when the last block has been left."""

    def enter(self, scope: trio.CancelScope) -> None:
        self._scopes[scope] = trio.lowlevel.current_trio_token()
        if len(self._scopes) == 1:
            # None for a handler that was not installed by Python, which can't be put back.
            self._before = signal.signal(signal.SIGTERM, self._handle) or signal.SIG_DFL

    def leave(self, scope: trio.CancelScope) -> None:
        if len(self._scopes) == 1:
            signal.signal(signal.SIGTERM, self._before)
        del self._scopes[scope]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Between any two bytecodes, of trio's own perhaps: so not at once, but by trio's next step.
        for scope, token in self._scopes.items():
            token.run_sync_soon(partial(scope.cancel, reason="SIGTERM"))
        if callable(self._before):
            self._before(number, frame)


_blocks = _Blocks()


@contextmanager
def cancel_on_sigterm() -> Generator[trio.CancelScope, None, None]:
    """Cancel the block when the process is told to stop (SIGTERM), instead of dying at once.

    Put it around everything that a program does, so that sessions in it are left in good order::

        async def main():
            with trioauth.cancel_on_sigterm():
                async with trioauth.open_session(grant, store=store) as session:
                    await serve(session)

        trio.run(main)

    The block ends as that of `trio.move_on_after` does, and the program goes on after it; one that
    has nothing more to do exits with status 0, which is what systemd calls a clean stop. For
    another status look at ``cancelled_caught`` of the scope that the block gets. Blocks may be
    nested; all of them are cancelled. A second signal changes nothing.

    To leave takes up to ``close_grace`` seconds (`trioauth.RefreshPolicy`) while a refresh is in
    the air. That must be less than the time before SIGKILL follows: 10 seconds with Docker, 30 with
    Kubernetes, 90 with systemd. Windows has no such signal; there, nothing happens.

    Raises:
      RuntimeError: Not in the main thread, where Python handles signals, or not inside `trio.run`.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "cancel_on_sigterm() works in the main thread only, where Python handles signals:"
            " call it in the trio.run() of the main thread"
        )
    with trio.CancelScope() as scope:
        _blocks.enter(scope)
        try:
            yield scope
        finally:
            _blocks.leave(scope)

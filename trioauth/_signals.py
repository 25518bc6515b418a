"""SIGTERM, with which systemd, Docker and Kubernetes stop a program, as a cancellation.

1. Without a handler the process ends at once. If a refresh is in the air, and the server rotates
   refresh tokens, the login is lost: the old token is spent, and the new one is not saved.
2. With `cancel_on_sigterm` the block is cancelled, and a session in it closes as usual: the refresh
   gets ``close_grace`` seconds to land and be saved (P8).

One handler serves all open blocks, in whatever order they are left. The handler that was installed
before is called, too.
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
    """The open blocks, each with its run of trio, and the one handler for them."""

    _scopes: dict[trio.CancelScope, trio.lowlevel.TrioToken] = attrs.field(
        factory=dict[trio.CancelScope, trio.lowlevel.TrioToken]
    )
    _before: _Handler = signal.SIG_DFL
    """The handler before: it is called, too, and installed again when the last block is left."""

    def enter(self, scope: trio.CancelScope) -> None:
        self._scopes[scope] = trio.lowlevel.current_trio_token()
        if len(self._scopes) == 1:
            # signal() returns None for a handler of C code, which Python can't install again.
            self._before = signal.signal(signal.SIGTERM, self._handle) or signal.SIG_DFL

    def leave(self, scope: trio.CancelScope) -> None:
        if len(self._scopes) == 1:
            signal.signal(signal.SIGTERM, self._before)
        del self._scopes[scope]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A handler runs between any two bytecodes, perhaps of trio itself. So trio does it later.
        for scope, token in self._scopes.items():
            token.run_sync_soon(partial(scope.cancel, reason="SIGTERM"))
        if callable(self._before):
            self._before(number, frame)


_blocks = _Blocks()


@contextmanager
def cancel_on_sigterm() -> Generator[trio.CancelScope, None, None]:
    """Cancel the block when the process is told to stop (SIGTERM), instead of dying at once.

    Put it around the whole program, so that the sessions in it are closed as usual::

        async def main():
            with trioauth.cancel_on_sigterm():
                async with trioauth.open_session(grant, store=store) as session:
                    await serve(session)

        trio.run(main)

    The block ends like that of `trio.move_on_after`, and the program goes on after it. If it ends
    there, its exit status is 0, a clean stop for systemd. For another status use
    ``cancelled_caught`` of the scope that the block gets. Blocks may be nested; all are cancelled.
    A second signal changes nothing.

    If a refresh is in the air, closing a session takes up to ``close_grace`` seconds
    (`trioauth.RefreshPolicy`). That must be less than the time until SIGKILL: 10 seconds with
    Docker, 30 with Kubernetes, 90 with systemd. Windows has no SIGTERM; nothing happens there.

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

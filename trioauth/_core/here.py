"""Here: the thread and the run of trio that a session belongs to (P22)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable


@final
@attrs.frozen(eq=False, repr=False)
class Here:
    """The thread and the run of trio in which this was made. All sessions of a program share it."""

    _thread: int = attrs.field(factory=threading.get_ident, init=False)
    _run: trio.lowlevel.TrioToken = attrs.field(
        factory=trio.lowlevel.current_trio_token, init=False
    )

    def check(self, check_open: Callable[[], None]) -> None:
        """Raise `RuntimeError` in another thread, or another run of trio. Not a checkpoint.

        Args:
          check_open: Raises if the session is closed, which is the clearer error in another thread.
        """
        # The fast way, taken by each request: no other thread and no other run has this token.
        try:
            if trio.lowlevel.current_trio_token() is self._run:
                return
        except RuntimeError:
            pass  # This thread does not run trio.
        if threading.get_ident() != self._thread:
            check_open()
            raise RuntimeError(
                "this session belongs to another thread; from this one use "
                "trio.from_thread.run(session.get, ...), or run_sync for what is not async"
            )
        raise RuntimeError(
            "this session belongs to another run of trio; open one in each trio.run()"
        )

"""check_login: put a log-in of a program's own through its paces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs
import httpx
import trio

from trioauth._errors import Error, LoginError
from trioauth._tokens import Tokens

from ._conformance import at_each_checkpoint, broken, kind
from ._login_call import Left, Line, LoginCaller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from trioauth.oauth.channel import BackChannel

    from ._checkpoints import Victim
    from ._login_call import Ended


async def check_login(
    log_in: Callable[[BackChannel], Awaitable[Tokens]],
    transport: httpx.AsyncBaseTransport,
    *,
    declines: Callable[[], object] | None = None,
    secrets: Iterable[str] = (),
    patience: float = 3600.0,
) -> None:
    """Check that a log-in of your own does what `trioauth.Session.log_in` wants of one.

    ::

        async def test_our_log_in_cleans_up_after_itself(autojump_clock):
            server = AuthServer()
            server.approve()
            ours = our_log_in(prompt=server.person())
            await check_login(ours, server.transport(), declines=server.deny)

    It is async, asks by the channel it is given, returns the tokens of a new login each time, and
    comes to an end. If the server can't be reached, or answers with something else than it
    should, at whichever request, then what the log-in raises is a `trioauth.Error`. If the person
    says no, it is a `LoginError`. Cancelled anywhere, it lets cancellation pass, at once, and the
    next log-in works. Whatever happens, no task is left, no port and no connection, and no error
    shows a secret.

    It is called a hundred times or so: let the clock of the test jump. Temporary files are not
    looked for, nor, on Windows, sockets.

    Args:
      log_in: Yours. It must be good for more than one call.
      transport: The way to its server, which lets the person in. Such as `AuthServer.transport`.
      declines: Called before the last part: from then on the person says no. None: they never do.
      secrets: What else no error may show, such as a password. The check itself knows the
          parameters and answers of OAuth.
      patience: Seconds after which a call counts as one that never ends.

    Cancellation:
      Safe. The log-in is cancelled, too.

    Raises:
      AssertionError: A promise is broken; says which, and how to mend it.
    """
    caller = LoginCaller(log_in, Line(transport), tuple(secrets), patience)
    check = _Check(caller)
    await check.granted()
    await check.failures()
    await check.cancelled_while_it_waits()
    await at_each_checkpoint(check.cancelled_anywhere)
    if declines is not None:
        declines()
        await check.declined()


async def _unreachable(request: httpx.Request) -> httpx.Response:
    await trio.lowlevel.checkpoint()
    raise httpx.ConnectError("no server there", request=request)


async def _lost(request: httpx.Request) -> httpx.Response:
    await trio.lowlevel.checkpoint()
    raise httpx.ReadError("broken", request=request)


async def _down(_: httpx.Request) -> httpx.Response:
    await trio.lowlevel.checkpoint()
    return httpx.Response(503, content=b"<html>Service Unavailable</html>")


async def _captive(_: httpx.Request) -> httpx.Response:
    await trio.lowlevel.checkpoint()
    return httpx.Response(200, content=b"<html>Welcome to our hotel</html>")


async def _empty(_: httpx.Request) -> httpx.Response:
    await trio.lowlevel.checkpoint()
    return httpx.Response(200, content=b"{}")


async def _silent(_: httpx.Request) -> httpx.Response:
    # A log-in that was cancelled, and is still here then, is not going to leave.
    await trio.sleep(_LONG)
    return httpx.Response(504)


_FAULTS: Final = (
    ("its server can't be reached", _unreachable),
    ("the connection breaks", _lost),
    ("its server answers 503", _down),
    ("a page of HTML comes in place of an answer", _captive),
    ("an answer lacks what it should have", _empty),
)
# In seconds: what a cancelled log-in may take, and an answer that does not come takes.
_AT_ONCE: Final = 1.0
_LONG: Final = 1e6


@final
@attrs.define(eq=False)
class _Check:
    """The parts of the check; each relies on those before."""

    caller: LoginCaller
    requests: int = attrs.field(default=0, init=False)
    """How many it sends if nothing goes wrong."""

    async def granted(self) -> None:
        """Let it log in, twice."""
        issued: set[str] = set()
        for _ in range(2):
            self.caller.line.expect()
            ended = await self.caller.call("when all goes well")
            if ended.tokens is None:
                broken(
                    f"a log-in must return the tokens of a person who says yes, and {ended.did}:"
                    " see what it expects of the server, and whether the person is asked",
                    ended.error,
                )
            if not ended.requests:
                broken(
                    "a log-in must ask by the channel it is given, and nothing arrived there: send"
                    " with `await channel.send(TokenRequest(...))`, which has the session's proxy"
                    " and certificates, follows no redirect and shows no secret"
                )
            issued.add(ended.tokens.access_token)
            self.requests = ended.requests
        if len(issued) == 1:
            broken(
                "a log-in must get new tokens each time, and returned the same twice: the session"
                " calls it because the ones it had are of no use any more"
            )

    async def failures(self) -> None:
        """Break the line, in each way, from each of its requests on."""
        for what, fault in _FAULTS:
            for number in range(1, self.requests + 1):
                self.caller.line.expect(number, fault)
                when = f"when {what} (from request {number} on)"
                self._check_failed(await self.caller.call(when), when, number)

    def _check_failed(self, ended: Ended, when: str, number: int) -> None:
        if ended.error is None:
            if number == 1:
                broken(f"a log-in must not return tokens {when}: nothing else can have issued them")
            # What it asked for after it had its tokens may be of less importance.
            return
        if not isinstance(ended.error, Error):
            broken(
                f"a log-in must raise a trioauth.Error {when}, and raised {kind(ended.error)}: let"
                " the channel's own errors pass, and raise RefreshUnavailableError or"
                " TokenResponseError for an answer that is of no use",
                ended.error,
            )

    # --- cancelled -------------------------------------------------------------------------

    async def cancelled_while_it_waits(self) -> None:
        """Cancel it while it waits for an answer that does not come, to each of its requests."""
        for number in range(1, self.requests + 1):
            await self._cancelled_at(number)

    async def _cancelled_at(self, number: int) -> None:
        when = f"when it is cancelled (while it waits for the answer to request {number})"
        before = Left.look()
        line, channel = self.caller.line, self.caller.open_channel()
        line.expect(number, _silent)
        scope, ended = trio.CancelScope(), trio.Event()
        did: str | None = None
        problem: Exception | None = None

        async def ask() -> None:
            nonlocal did, problem
            with scope:
                try:
                    result = await self.caller.ask(channel)
                except Exception as exc:  # noqa: BLE001  # told outside the nursery
                    did, problem = f"raised {kind(exc)}", exc
                else:
                    did = f"returned {kind(result)}"
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            with trio.move_on_after(self.caller.patience):
                await line.reached.wait()
            scope.cancel(reason="check_login: while it waits for its server")
            with trio.move_on_after(_AT_ONCE):
                await ended.wait()
            late = not ended.is_set()
            nursery.cancel_scope.cancel(reason="check_login: it has not left")
        await channel.aclose()
        if late:
            broken(f"a log-in must leave at once {when}, and stayed: shield nothing in it")
        if did is not None:
            broken(
                f"a log-in must let trio.Cancelled pass, and {did} {when}: catch Exception, not"
                " BaseException, and put no `return` into a `finally`",
                problem,
            )
        before.check(when)

    async def cancelled_anywhere(self, victim: Victim) -> None:
        """Cancel it at one of its checkpoints; at none of them in the end."""
        before = Left.look()
        channel = self.caller.open_channel()
        self.caller.line.expect()
        result: object = None
        error: Exception | None = None
        try:
            result = await victim(self.caller.ask, channel)
        except Exception as exc:  # noqa: BLE001  # whatever it is
            error = exc
        await channel.aclose()
        if error is not None and victim.cancelled:
            broken(
                "a log-in must end with trio.Cancelled when it is cancelled, and raised"
                f" {kind(error)}: let it pass; whatever has to catch BaseException, must raise it"
                " again",
                error,
            )
        if not victim.cancelled and not isinstance(result, Tokens):
            broken(
                "a log-in must work after one that was cancelled, and this one did not: keep"
                " nothing between two calls",
                error,
            )
        before.check("when it is cancelled")

    # --- the person ------------------------------------------------------------------------

    async def declined(self) -> None:
        """Let the person say no."""
        self.caller.line.expect()
        ended = await self.caller.call("when the person says no")
        if not isinstance(ended.error, LoginError):
            broken(
                f"a log-in must raise LoginError when the person says no, and {ended.did}: best"
                " LoginDeclinedError, so that a program can tell it from a server that is down",
                ended.error,
            )

"""check_grant: check that a grant keeps the promises of Grant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, final

import attrs
import httpx
import trio

from trioauth._errors import (
    GrantError,
    GrantMisconfiguredError,
    GrantRefusedError,
    RefreshUnavailableError,
)
from trioauth.oauth.channel import Answer, TokenEndpoint

from ._conformance import at_each_checkpoint, broken, ends_as_cancelled, kind
from ._grant_answers import GrantAnswers
from ._grant_call import LIFETIME, Caller

if TYPE_CHECKING:
    from trioauth._tokens import Tokens
    from trioauth.oauth.grant import Grant

    from ._checkpoints import Victim
    from ._grant_call import Call, Reaction
    from ._server import AuthServer


async def check_grant(
    grant: Grant,
    *,
    answers: GrantAnswers | None = None,
    server: AuthServer | None = None,
    patience: float = 10.0,
) -> None:
    """Check that a grant of your own keeps the promises of `trioauth.Grant`.

    ::

        async def test_our_grant_keeps_the_promises_of_a_grant():
            await check_grant(OurGrant("https://id.example.com/token"), answers=ours)

    It checks these promises:

    - The grant returns what the server granted.
    - It raises `GrantRefusedError` for a refusal, `GrantMisconfiguredError` for a client that the
      server does not know, and neither of them for anything else that goes wrong. JSON with neither
      tokens nor a known refusal is no refusal, whatever its status.
    - It presents the refresh token that it is given, once in each call, and refuses without one.
    - It uses the endpoint that it is given, and lets a cancellation pass.
    - No error shows a token. Its ``owner``, if it has one, is a string.

    Nothing is sent: whatever the URL, the check itself answers. It does not suit a grant that asks
    a program or a file instead of a server.

    Args:
      grant: The grant to check.
      answers: How its server answers. None (the default): as RFC 6749 has it.
      server: A server on which to renew, too, several times in a row, if it understands the grant.
          None (the default): no server.
      patience: Seconds after which a call counts as one that never ends; by default 10.

    Cancellation:
      Safe. The grant is cancelled, too.

    Raises:
      AssertionError: A promise is broken. The message says which, and how to mend it.
    """
    caller = Caller(grant, answers or GrantAnswers(), patience)
    check = _Check(caller)
    try:
        check.owner()
        await check.granted()
        await check.without_refresh_token()
        await check.failures()
        await check.cancelled_while_it_waits()
        await at_each_checkpoint(check.cancelled_anywhere)
    finally:
        await caller.endpoint.aclose()  # noqa: ASYNC102  # in memory: it waits for nothing
    if server is not None:
        await check.renewals(server)


@final
@attrs.define(eq=False)
class _Check:
    """The parts of the check. Each relies on those before it."""

    caller: Caller
    presents: bool = attrs.field(default=False, init=False)
    """Whether the grant presents refresh tokens, as far as can be seen."""

    def owner(self) -> None:
        """Check its attribute `owner`, which says whose tokens it renews."""
        owner: object = getattr(self.caller.grant, "owner", "none")
        if not isinstance(owner, str) or not owner or not owner.isprintable():
            broken(
                "a grant's `owner` must be a printable string that is not empty, and it is of"
                f" type {kind(owner)}: name the server and the client, or leave it out"
            )

    # --- granted ---------------------------------------------------------------------------

    async def granted(self) -> None:
        """Answer with tokens, and check what the grant returns."""
        # The second call gets tokens that another session, which shares the store, has obtained.
        for given in (self.caller.make(), self.caller.make()):
            issued = self.caller.make()
            call = await self.caller.call(given, self.caller.issue(issued))
            self._check_granted(call, issued)
            if self.presents and not call.presented:
                broken(
                    "a grant must present the refresh token it is given, and presented one it"
                    " remembered: use the tokens of the argument; others who share the store may"
                    " have renewed them"
                )
            self.presents = call.presented > 0
        if getattr(self.caller.grant, "unattended", False):
            issued = self.caller.make()
            call = await self.caller.call(None, self.caller.issue(issued))
            if call.result is None:
                broken(
                    "a grant with `unattended = True` must obtain tokens when it is given none, and"
                    f" {call.did}: let it do what it does without a refresh token",
                    call.error,
                )
            self._check_granted(call, issued)
        answer = self.caller.answers.granted(self.caller.make(refresh_token=False))
        if answer is not None:
            given = self.caller.make()
            call = await self.caller.call(given, answer)
            if call.result is None or call.result.refresh_token not in {None, given.refresh_token}:
                broken(
                    "a grant must take an answer without a refresh token to mean that the old one"
                    f" stays good (RFC 6749 6), and {call.did}: return Tokens without one; the"
                    " session keeps the old",
                    call.error,
                )

    def _check_granted(self, call: Call, issued: Tokens) -> None:
        if not call.requests:
            broken(
                "a grant must ask by the endpoint it is given, and nothing arrived there: send with"
                " `await endpoint.send(TokenRequest(...))`, which follows no redirect and shows no"
                " secret",
                call.error,
            )
        if call.result is None:
            broken(
                f"a grant must return the tokens that its server granted, and {call.did}: see what"
                " it expects of the answer, or pass the answers=GrantAnswers(...) of its server",
                call.error,
            )
        if call.result.access_token != issued.access_token:
            broken("a grant must return the access token that its server sent: it returned another")
        if call.presented and call.result.refresh_token != issued.refresh_token:
            broken(
                "a grant must return the new refresh token that its server sent: the one it"
                " presented is spent, and presenting it again ends the login"
            )
        if call.result.expires_in not in {None, LIFETIME}:
            broken(
                "a grant must return a lifetime in seconds from now (expires_in), and returned"
                f" {call.result.expires_in} for {LIFETIME}: no milliseconds, and no moment in time"
            )

    async def without_refresh_token(self) -> None:
        """Have it renew tokens that can't be renewed."""
        if not self.presents or getattr(self.caller.grant, "unattended", False):
            return
        call = await self.caller.call(
            self.caller.make(refresh_token=False), self.caller.issue(self.caller.make())
        )
        if call.requests or not isinstance(call.error, GrantRefusedError):
            asked = "asked its server" if call.requests else call.did
            broken(
                f"a grant must raise GrantRefusedError if there is no refresh token, and {asked}:"
                " nothing else ends the login, and it would be tried again and again",
                call.error,
            )

    # --- not granted -----------------------------------------------------------------------

    async def failures(self) -> None:
        """Answer in each way there is but the right one."""
        for answer in self.caller.answers.refused:
            call = await self.caller.call(self.caller.make(), answer)
            if not isinstance(call.error, GrantRefusedError):
                broken(
                    f"a grant must raise GrantRefusedError when its server says no (status"
                    f" {answer.status}), and {call.did}: anything else is tried again, and the"
                    " session never learns that the login is over",
                    call.error,
                )
        for answer in self.caller.answers.misconfigured:
            call = await self.caller.call(self.caller.make(), answer)
            if not isinstance(call.error, GrantMisconfiguredError):
                broken(
                    "a grant must raise GrantMisconfiguredError when its server does not know the"
                    f" client (status {answer.status}), and {call.did}: a person must mend the"
                    " configuration, and the login is not over",
                    call.error,
                )
        for answer in self.caller.answers.unavailable:
            await self._unavailable(answer, f"status {answer.status}")
        for answer in self.caller.answers.no_tokens:
            await self._unavailable(answer, "JSON without tokens and without a known refusal")
        if (cut := _cut_short(self.caller.issue(self.caller.make()))) is not None:
            await self._unavailable(cut, "an answer that was cut short")
        await self._unavailable(
            httpx.ConnectError("no server there"), "a server that can't be reached"
        )
        call = await self._unavailable(httpx.ReadError("broken"), "a connection that breaks")
        if isinstance(call.error, RefreshUnavailableError) and call.error.safe_to_repeat:
            broken(
                "a grant must not claim safe_to_repeat when the connection breaks: the server may"
                " have used the refresh token; let the endpoint's own error pass",
                call.error,
            )

    async def _unavailable(self, reaction: Reaction, what: str) -> Call:
        call = await self.caller.call(self.caller.make(), reaction)
        if call.error is None or isinstance(call.error, GrantError):
            broken(
                f"a grant must not let {what} end or start a login, and {call.did}: raise"
                " RefreshUnavailableError, or let the error pass; GrantRefusedError is for a server"
                " that says no",
                call.error,
            )
        return call

    # --- cancelled -------------------------------------------------------------------------

    async def cancelled_while_it_waits(self) -> None:
        """Cancel it while it waits for an answer that does not come."""
        given = self.caller.make()
        self.caller.desk.expect(given, None)
        scope, ended = trio.CancelScope(), trio.Event()
        did: str | None = None
        problem: Exception | None = None

        async def ask() -> None:
            nonlocal did, problem
            with scope:
                try:
                    result = await self.caller.ask(given)
                except Exception as exc:  # noqa: BLE001  # told outside the nursery
                    did, problem = f"raised {kind(exc)}", exc
                else:
                    did = f"returned {kind(result)}"
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            with trio.move_on_after(self.caller.patience):
                await self.caller.desk.arrived.wait()
            scope.cancel(reason="check_grant: while it waits for its server")
            with trio.move_on_after(self.caller.patience):
                await ended.wait()
            late = not ended.is_set()
        if late:
            broken(
                "a grant must leave when it is cancelled, and stayed for"
                f" {self.caller.patience} seconds: shield nothing, the session gives it time enough"
            )
        if did is not None:
            broken(
                f"a grant must let trio.Cancelled pass, and {did} instead: catch Exception, not"
                " BaseException, and nothing in a `finally` that returns",
                problem,
            )

    async def cancelled_anywhere(self, victim: Victim) -> None:
        """Cancel it at one of its checkpoints."""
        given = self.caller.make()
        self.caller.desk.expect(given, self.caller.issue(self.caller.make()))
        await ends_as_cancelled("a grant", victim, lambda: self.caller.ask(given))

    # --- on a server -----------------------------------------------------------------------

    async def renewals(self, server: AuthServer) -> None:
        """Renew several times in a row, and then no more."""
        endpoint = TokenEndpoint(lambda: httpx.AsyncClient(transport=server.transport()))
        tokens = server.log_in()
        problem: Exception | None = None
        try:
            for _ in range(3):
                tokens = (await self.caller.grant(tokens, endpoint)).carry_over(tokens)
        except Exception as exc:  # noqa: BLE001  # whatever it is
            broken(
                f"a grant must renew on {server!r}, three times in a row, and raised {kind(exc)}:"
                " give it the URL and the client that this server knows (token_url, client_id)",
                exc,
            )
        server.revoke()
        try:
            await self.caller.grant(tokens, endpoint)
        except Exception as exc:  # noqa: BLE001  # whatever it is
            problem = exc
        await endpoint.aclose()
        if self.presents and not isinstance(problem, GrantRefusedError):
            broken(
                "a grant must raise GrantRefusedError when AuthServer has ended the login", problem
            )


def _cut_short(answer: Answer) -> Answer | None:
    """Cut off the end of an answer if it is JSON; in other formats the cut would not show."""
    try:
        json.loads(answer.body)
    except ValueError:
        return None
    return attrs.evolve(answer, body=answer.body[:-1])

"""Calling a grant whose server is imitated by check_grant."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeAlias, final

import attrs
import httpx
import trio

from trioauth._tokens import Tokens
from trioauth.oauth.channel import Answer, TokenEndpoint

from ._conformance import broken, kind, shows
from ._grant_answers import ECHO

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from trioauth.oauth.grant import Grant

    from ._grant_answers import GrantAnswers

MARK = "check-grant"
LIFETIME = 3600.0

Reaction: TypeAlias = Answer | Exception | None
"""What comes of a request: an answer, a broken connection, or, None, nothing at all."""


@final
@attrs.define(eq=False)
class Desk:
    """The imitated server: it notes the requests of a grant, and answers as it was told."""

    patience: float
    reaction: Reaction = attrs.field(default=None, init=False, repr=False)
    secret: str = attrs.field(default="", init=False, repr=False)
    """The refresh token that may be presented. Answers echo it, to see whether errors show it."""
    seen: list[str] = attrs.field(factory=list[str], init=False, repr=False)
    """The text of each request: URL, headers and body."""
    arrived: trio.Event = attrs.field(factory=trio.Event, init=False)

    def open_endpoint(self) -> TokenEndpoint:
        """Make an endpoint whose requests all arrive here, whatever their URL."""
        transport = httpx.MockTransport(self._handle)
        return TokenEndpoint(lambda: httpx.AsyncClient(transport=transport))

    def expect(self, given: Tokens | None, reaction: Reaction) -> None:
        """Forget the last call of the grant, and get ready for the next."""
        self.reaction = reaction
        self.secret = "" if given is None else given.refresh_token or ""
        self.seen.clear()
        self.arrived = trio.Event()

    def presents(self, text: str) -> bool:
        """Say whether a request holds the refresh token."""
        return bool(self.secret) and self.secret in text

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
        text = f"{request.url}\n{headers}\n\n{request.content.decode('utf-8', 'replace')}"
        self.seen.append(text)
        self.arrived.set()
        await trio.lowlevel.checkpoint()
        reaction = self.reaction
        if reaction is None:
            # A grant that is still here after its cancellation is not going to leave.
            await trio.sleep(2 * self.patience)
            reaction = Answer(504)
        if isinstance(reaction, Exception):
            raise reaction
        heard = self.secret.encode() if self.presents(text) else b""
        body = reaction.body.replace(ECHO, heard)
        return httpx.Response(reaction.status, headers=reaction.headers, content=body)


@final
@attrs.frozen
class Call:
    """What came of one call of the grant."""

    result: Tokens | None
    error: Exception | None
    requests: int
    presented: int
    """How many of the requests held the refresh token that the grant was given."""

    @property
    def did(self) -> str:
        """What it did, for a sentence that says what it should have done."""
        return "returned tokens" if self.error is None else f"raised {kind(self.error)}"


@final
@attrs.define(eq=False)
class Caller:
    """Calls a grant, and sees to what holds whatever comes of it."""

    grant: Grant
    answers: GrantAnswers
    patience: float
    desk: Desk = attrs.field(init=False)
    endpoint: TokenEndpoint = attrs.field(init=False)
    _made: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.desk = Desk(self.patience)
        self.endpoint = self.desk.open_endpoint()

    def make(self, *, refresh_token: bool = True) -> Tokens:
        """Make tokens that were not used before."""
        self._made += 1
        name = f"{MARK}-{self._made}"
        return Tokens(f"{name}-access", f"{name}-refresh" if refresh_token else None, LIFETIME)

    async def call(self, given: Tokens | None, reaction: Reaction) -> Call:
        """Call the grant once, and see to what holds whatever comes of it."""
        self.desk.expect(given, reaction)
        result: object = None
        error: Exception | None = None
        asking = self.ask(given)
        with trio.move_on_after(self.patience) as scope:
            try:
                result = await asking
            except Exception as exc:  # noqa: BLE001  # whatever it is, it is the news
                error = exc
        if scope.cancelled_caught:
            broken(
                f"a grant must come to an end, and this one took more than {self.patience} seconds:"
                " leave waiting and trying again to the session"
            )
        if error is not None and shows(error, (MARK,)):
            broken(
                f"a grant's error must show no token, and its {kind(error)} does (or one that it"
                " came from): quote nothing of a request or an answer, and raise it outside the"
                " `except` block of another that does",
            )
        if error is None and not isinstance(result, Tokens):
            broken(
                f"a grant must return trioauth.Tokens, and returned a {kind(result)}:"
                " Tokens.from_response() reads what a server sent"
            )
        presented = sum(map(self.desk.presents, self.desk.seen))
        if presented > 1:
            broken(
                f"a grant must present the refresh token once a call, and presented it {presented}"
                " times: the first may have spent it; leave trying again to the session, which"
                " looks into the store before"
            )
        tokens = result if isinstance(result, Tokens) else None
        return Call(tokens, error, len(self.desk.seen), presented)

    def ask(self, given: Tokens | None) -> Awaitable[object]:
        """Call the grant, which makes something to be awaited."""
        asking: object = self.grant(given, self.endpoint)
        if not inspect.isawaitable(asking):
            broken("a grant must be async, and this one is not: define it with `async def`")
        return asking

    def issue(self, tokens: Tokens) -> Answer:
        """Make the answer that grants these tokens."""
        answer = self.answers.granted(tokens)
        if answer is None:
            raise TypeError("GrantAnswers.granted must return an Answer for tokens with all parts")
        return answer

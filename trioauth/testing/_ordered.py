"""The orders that a test gives its server: what goes wrong, and what a person decides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypedDict, Unpack, cast, get_args

import attrs

from ._human import Approval, Denial
from ._lies import Lie, Topic
from ._messages import NoAnswer, in_json, whole
from ._orders import Mishap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._exchange import Exchange
    from ._persona import Endpoint


TOPICS: tuple[str, ...] = get_args(Topic)


class Told(TypedDict, total=False):
    """What can be lied about."""

    metadata: Lie
    resource: Lie
    callback: Lie
    token: Lie
    id_token: Lie
    id_token_header: Lie
    userinfo: Lie
    device: Lie
    jwks: Lie
    registration: Lie


@attrs.define(eq=False, kw_only=True, repr=False, on_setattr=attrs.setters.frozen)
class Ordered:
    """What takes orders: the half of `AuthServer` that a test talks to while it runs."""

    _exchange: Exchange = attrs.field(init=False, on_setattr=attrs.setters.NO_OP)

    # --- the person ------------------------------------------------------------------------

    def approve(self, subject: str = "ann", **claims: object) -> None:
        """Let the person say yes, to each log-in that is pending and to all later ones.

        Args:
          subject: Who they are: ``sub`` of an ID token.
          claims: What else ID tokens and userinfo say of them, such as ``email``.
        """
        self._exchange.site.human.decide(Approval(subject, claims))

    def deny(self) -> None:
        """Let the person say no, to each log-in that is pending and to all later ones."""
        self._exchange.site.human.decide(Denial())

    @property
    def complaints(self) -> list[str]:
        """What programs did wrong when they logged in, one sentence each, without secrets.

        A test that has a program do wrong on purpose looks at them and clears the list.
        """
        return self._exchange.site.complaints

    def check(self) -> None:
        """Raise if there are `complaints`; the fixture ``auth_server`` does it after each test.

        Raises:
          AssertionError: With all of them.
        """
        if self.complaints:
            raise AssertionError("the server complains:\n  " + "\n  ".join(self.complaints))

    # --- orders about tokens ---------------------------------------------------------------

    def expire(self) -> None:
        """Expire every access token, for a test of a 401 before the token's time is up."""
        self._exchange.site.book.expire_all()

    def revoke(self) -> None:
        """End every login, as an administrator would, for a test of being thrown out."""
        self._exchange.site.book.revoke_all()

    def reject_all(self, on: bool = True) -> None:  # noqa: FBT001, FBT002  # reads as a switch
        """Let the API answer 401 whatever the token, for a test that refreshes don't run wild."""
        self._exchange.api.rejects_all = on

    def api_delay(self, seconds: float) -> None:
        """Let each answer of the API take so long, for a test with many requests in the air."""
        self._exchange.api.delay = _seconds(seconds)

    def api_answer(self, path: str, json: object, status: int = 200) -> None:
        """Let the API answer with this JSON at a path, for a program that reads what it gets.

        The answer to every method from now on, if the request has a good token.

        Args:
          path: Without a query, such as ``"/orders"``.
          json: What ``json.dumps`` takes.
          status: The HTTP status.
        """
        if not path.startswith("/"):
            raise ValueError(f'path must begin with a slash, as in "/orders", not be {path!r}')
        self._exchange.api.answers[path] = in_json(status, json)

    # --- orders about the authorization server ---------------------------------------------

    def delay(self, seconds: float, *, at: Endpoint = "token") -> None:
        """Let each answer take so long, for a test of what happens during a refresh.

        The request is processed when it arrives: a client that gives up has lost the answer.
        """
        self._exchange.orders[at].delay = _seconds(seconds)

    def fail(
        self,
        status: int = 503,
        *,
        times: int | None = 1,
        at: Endpoint = "token",
        error: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with an error and process nothing, for a test of outages and of refusals.

        Args:
          status: The HTTP status.
          times: For how many requests; None: until `recover`.
          at: Which endpoint; ``token`` is any that issues or revokes tokens.
          error: An error code of RFC 6749 5.2, sent as JSON.
          body: What to send instead; without either, nothing.
          headers: Such as ``{"Retry-After": "5"}``.
        """
        if error is not None and body is not None:
            raise TypeError("error= makes a body of its own: give either error or body")
        fields = dict(headers or {})
        if error is not None:
            fields = {"Content-Type": "application/json", **fields}
            body = json.dumps({"error": error}).encode()
        self.answer(status, body or b"", fields, times=times, at=at)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        times: int | None = 1,
        at: Endpoint = "token",
    ) -> None:
        """Answer with just this and process nothing, for a test of answers that make no sense."""
        self._exchange.orders[at].add(whole(status, body, headers), times)

    def drop_answer(self, times: int | None = 1, *, at: Endpoint = "token") -> None:
        """Process the request and lose the answer: the client can't know the token is spent."""
        self._exchange.orders[at].add(Mishap.DROP, times)

    def hang(self, times: int | None = 1, *, at: Endpoint = "token") -> None:
        """Never answer, and process nothing, for a test that nothing waits for ever."""
        self._exchange.orders[at].add(Mishap.HANG, times)

    def down(self, status: int | None = 503) -> None:
        """Be down until `recover`, for a test of a long outage. Comes before all other orders.

        Args:
          status: What a proxy in front answers; None: there is no connection (in memory), or it
              is closed without an answer (on a socket).
        """
        down = NoAnswer.UNREACHABLE if status is None else whole(status, b"")
        self._exchange.down = down

    def recover(self) -> None:
        """Forget all orders about the authorization server. Who hangs already goes on hanging."""
        self._exchange.recover()

    # --- orders about log-ins --------------------------------------------------------------

    def lie(
        self,
        *,
        signature: Callable[[bytes], bytes] | None = None,
        **lies: Unpack[Told],
    ) -> None:
        """Say something else than the truth until `recover`, for a test that a program notices.

        Each argument names what is lied about, and is a mapping of members to what they are
        instead: a value; a function of the true value; or None, to leave the member out::

            auth_server.lie(id_token={"iss": lambda iss: iss + "1", "nonce": None})
            auth_server.lie(id_token_header={"alg": "none"})
            auth_server.lie(callback={"state": "another"})
            auth_server.lie(metadata={"issuer": "https://elsewhere.example"})

        Args:
          signature: What becomes of the signature of an ID token.
          lies: ``metadata``, ``resource`` (the API's metadata), ``callback``, ``token``,
              ``id_token``, ``id_token_header``, ``userinfo``, ``device``, ``jwks`` and
              ``registration``. An ID token is signed as its header says, with a key that is public.
        """
        site = self._exchange.site
        if signature is not None:
            site.lies.signature = signature
        for topic, lie in lies.items():
            if topic not in TOPICS:
                raise TypeError(f"there is no {topic!r} to lie about, only {', '.join(TOPICS)}")
            site.lies.add(cast("Topic", topic), cast("Lie", lie))

    def rotate_keys(self) -> None:
        """Sign ID tokens with new keys from now on; the old ones are no longer public."""
        self._exchange.site.keys.rotate()

    def forget_clients(self) -> None:
        """Forget every client that has registered (RFC 7591), as servers do that tidy up."""
        self._exchange.site.clients.forget()

    def publish_client(self, document: Mapping[str, object]) -> None:
        """Have a client id metadata document at hand, in place of fetching it.

        Args:
          document: With its own URL as ``client_id``.
        """
        client_id = document.get("client_id")
        if not isinstance(client_id, str):
            raise TypeError("a client id metadata document must have its URL as client_id")
        self._exchange.site.clients.documents[client_id] = document


def _seconds(seconds: float) -> float:
    if not seconds >= 0:
        raise ValueError(f"seconds must be a number of seconds, not {seconds}")
    return seconds

"""ResourceClient: a client that is told nothing but the address of an API.

What it says to whom is found out by `Newcomer`. A log-in keeps what it was made with, and a refresh
goes by that. If the server turns out to have forgotten a client that was registered, another is
registered, and the log-in begins again, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, final

import attrs

from trioauth._errors import (
    GrantMisconfiguredError,
    GrantRefusedError,
    LoginDeclinedError,
    LoginError,
)
from trioauth._secrets import Unpicklable

from .fields import owner_of
from .kept import Kept
from .registration import client_document, redirect_uris, wants_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trioauth._tokens import Tokens

    from .channel import BackChannel
    from .kept import Binding
    from .logins.halves import Begun, FinishedLogin
    from .logins.interactive import Way
    from .logins.prompt import Prompt
    from .newcomer import LogIn, Newcomer, Ready, Template

# What a server says that has forgotten a client, or its redirect URIs.
_FORGOTTEN = frozenset({"invalid_client", "invalid_redirect_uri", "unauthorized_client"})

ResultT = TypeVar("ResultT")
Make: TypeAlias = "Callable[[Template], LogIn]"


@final
@attrs.frozen
class ResourceClient(Unpicklable):
    """A client that is told an API's address alone: `OAuthClient.for_resource`.

    It is the grant that refreshes, and gives the log-ins: `OAuthClient` says more of them.
    It can't be pickled, because of its secrets.
    """

    newcomer: Newcomer
    """What the program has said."""

    needs_refresh_token: ClassVar[bool] = True
    unattended: ClassVar[bool] = False

    # --- who asks ------------------------------------------------------------------------------

    @property
    def owner(self) -> str:
        """Whose tokens these are: those of whom this program is at this API."""
        me = self.newcomer
        return owner_of(me.url, me.client_id or me.metadata_url or me.name)

    def document(self) -> dict[str, object]:
        """Return the client id metadata document to publish at ``metadata_url``, as JSON.

        Raises:
          ValueError: There is no ``metadata_url``.
        """
        me = self.newcomer
        if me.metadata_url is None:
            raise ValueError("a document lies at an address of yours: pass metadata_url=")
        uris = redirect_uris(me.template.redirect_uri, me.template.ports)
        document = client_document(uris, name=me.name, scope=me.template.scope)
        return {"client_id": me.metadata_url, **document}

    # --- refreshing, and revoking --------------------------------------------------------------

    async def __call__(self, tokens: Tokens | None, endpoint: BackChannel, /) -> Tokens:
        """Refresh, at the server that the login is from, as the client that it was made for.

        Cancellation:
          Unsafe, for a server that rotates: the new tokens may be lost.

        Raises:
          GrantRefusedError: The server said no; or it has forgotten the client that had been
              registered, and with it the login.
          GrantMisconfiguredError: The server does not accept this client; or nothing says which it
              is, because what was kept of the log-in is gone.
          RefreshUnavailableError: No usable answer.
          StoreError: What was kept can't be read.
        """
        login = await self._login(endpoint)
        try:
            return await self.newcomer.client_of(login)(tokens, endpoint)
        except GrantMisconfiguredError as exc:
            if not login.registered or exc.error != "invalid_client":
                raise
        async with self.newcomer.keep.lock():
            kept = await self.newcomer.keep.load()
            if kept.client is not None and kept.client.client == login.client:
                await self.newcomer.keep.save(Kept(None, kept.login))
        # Outside the block above: the error has all that matters of the exception.
        raise GrantRefusedError(
            "invalid_client",
            "the server has forgotten the client that was registered there; log in again, which "
            "registers another",
        )

    async def revoke(self, tokens: Tokens, endpoint: BackChannel) -> bool:
        """Revoke the tokens (RFC 7009); return False if the server has nowhere to do it.

        Cancellation:
          Unsafe. The server may or may not have revoked them.

        Raises:
          GrantError: The server did not accept the request; or nothing says which it is.
          RefreshUnavailableError: No usable answer; they may still work.
          StoreError: What was kept can't be read.
        """
        return await self.newcomer.client_of(await self._login(endpoint)).revoke(tokens, endpoint)

    async def _login(self, endpoint: BackChannel) -> Binding:
        """Return what the login was made with.

        Cancellation:
          Safe.

        Raises:
          GrantMisconfiguredError: That is not known.
        """
        me = self.newcomer
        login = (await me.keep.load()).login
        if login is not None and me.fits(login):
            return login
        client_id = me.fixed_id
        if client_id is not None:
            # The program itself says which server and which client: nothing else can come of it.
            found, server = await me.find(endpoint)
            return me.bind(found, server, client_id)
        raise GrantMisconfiguredError(
            "unknown_login",
            f"nothing says which server the login for {me.url} is from, so nothing was sent: "
            "pass keep= with the file that the log-in has written, or log in again",
        )

    # --- with a human --------------------------------------------------------------------------

    def browser(
        self,
        *,
        prompt: Prompt | None = None,
        paste: bool = False,
        parameters: Mapping[str, str] | None = None,
        patience: float = 600.0,
    ) -> ResourceLogin:
        """Return the log-in with a browser on this machine; see `OAuthClient.browser`.

        Args:
          prompt: How the person is asked; by default in the terminal or the notebook.
          paste: Whether the browser is expected to be on another machine.
          parameters: More, for this log-in.
          patience: For so many seconds the person is waited for.

        Raises:
          ValueError: As `OAuthClient.browser`.
        """
        options: dict[str, Any] = {"prompt": prompt, "paste": paste, "parameters": parameters}
        options |= {"program": self.newcomer.name, "patience": patience}
        return self._log_in_by(lambda client: client.browser(**options))

    def device(
        self, *, prompt: Prompt | None = None, parameters: Mapping[str, str] | None = None
    ) -> ResourceLogin:
        """Return the log-in by a code that is typed on any device; see `OAuthClient.device`.

        Args:
          prompt: How the person is asked; by default in the terminal or the notebook.
          parameters: More, for this log-in.

        Raises:
          ValueError: As `OAuthClient.device`.
        """
        options: dict[str, Any] = {"prompt": prompt, "parameters": parameters}
        return self._log_in_by(lambda client: client.device(program=self.newcomer.name, **options))

    def interactive(
        self,
        *,
        way: Way | None = None,
        prompt: Prompt | None = None,
        parameters: Mapping[str, str] | None = None,
        patience: float = 600.0,
    ) -> ResourceLogin:
        """Return the log-in that fits where the program runs; see `OAuthClient.interactive`.

        Args:
          way: ``"browser"``, ``"device"`` or ``"paste"``, if you know better.
          prompt: How the person is asked; by default in the terminal or the notebook.
          parameters: More, for this log-in.
          patience: For so many seconds the person is waited for, if not by device.

        Raises:
          ValueError: As `OAuthClient.interactive`.
        """
        options: dict[str, Any] = {"way": way, "prompt": prompt, "parameters": parameters}
        options |= {"program": self.newcomer.name, "patience": patience}
        return self._log_in_by(lambda client: client.interactive(**options))

    def _log_in_by(self, make: Make) -> ResourceLogin:
        make(self.newcomer.template)  # so that what is wrong with the options is said here
        return ResourceLogin(self.newcomer, make)

    async def begin(
        self,
        endpoint: BackChannel,
        *,
        redirect_uri: str | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> Begun:
        """Begin a log-in whose callback comes to a web application of yours; `finish` ends it.

        See `OAuthClient.begin`. What is found out about the API stands in what this returns, so
        that a request in another process can finish it.

        Args:
          endpoint: A way to the server.
          redirect_uri: Where the browser comes back to; by default the client's. A client that
              registers itself does so with this one.
          parameters: More, for this log-in.

        Cancellation:
          Safe. A client that was registered for it may be left at the server.

        Raises:
          ValueError: Of the parameters.
          GrantMisconfiguredError: There is no server, or no client, or what they say can't be used.
          RefreshUnavailableError: No usable answer.
          StoreError: Nothing can be kept.
        """
        from .logins.halves import FirstHalf

        me = self.newcomer
        uri = me.template.redirect_uri if redirect_uri is None else redirect_uri
        if wants_port(uri):
            raise ValueError(
                f"redirect_uri must be an address of your web application, and {uri} has no port: "
                'pass redirect_uri="https://app.example.com/callback"'
            )
        # Any: the client is an `OAuthClient`, which this file need not know.
        template: Any = me.template
        template = attrs.evolve(template, redirect_uri=uri, ports=())
        first = FirstHalf(client=template, redirect_uri=uri, parameters=parameters or {})

        async def begin(ready: Ready) -> Begun:
            client: Any = ready.client
            begun = await attrs.evolve(first, client=client)(endpoint)
            kept = Kept(login=ready.binding).to_text()
            return attrs.evolve(begun, owner=self.owner, binding=kept)

        return await _as_client(attrs.evolve(me, template=template), endpoint, begin)

    def finish(self, begun: Begun, callback_url: str) -> FinishedResourceLogin:
        """Return the log-in that `begin` began, for `Session.log_in`.

        Args:
          begun: What `begin` returned. Each once.
          callback_url: The address that the browser came back to, or its path and query.

        Raises:
          ValueError: Another client has begun it.
        """
        from .logins.halves import FinishedLogin

        login = Kept.from_text(begun.binding.encode()).login if begun.binding else None
        if login is None or begun.owner != self.owner:
            raise ValueError(f"this log-in was begun by {begun.owner}, not by {self.owner}")
        # Any: as in `begin`.
        client: Any = self.newcomer.client_of(login)
        half = FinishedLogin.read(client, attrs.evolve(begun, owner=client.owner), callback_url)
        return FinishedResourceLogin(self.newcomer, login, half)


@final
@attrs.frozen
class ResourceLogin(Unpicklable):
    """A log-in of a `ResourceClient`, for `Session.log_in`."""

    newcomer: Newcomer
    make: Make = attrs.field(repr=False)

    async def __call__(self, endpoint: BackChannel, /) -> Tokens:
        """Find out who and where, and log in.

        Cancellation:
          As that of the log-in itself. A client that was registered for it may be left at the
          server.

        Raises:
          LoginError: The log-in did not succeed.
          GrantMisconfiguredError: There is no server, or no client, or what they say can't be used.
          RefreshUnavailableError: No usable answer.
          StoreError: Nothing can be kept.
        """

        async def log_in(ready: Ready) -> Tokens:
            return await _log_in(self.newcomer, ready.binding, self.make(ready.client), endpoint)

        return await _as_client(self.newcomer, endpoint, log_in)


@final
@attrs.frozen
class FinishedResourceLogin(Unpicklable):
    """The second half of a log-in, for `Session.log_in`: `ResourceClient.finish`."""

    newcomer: Newcomer
    login: Binding
    half: FinishedLogin

    async def __call__(self, endpoint: BackChannel, /) -> Tokens:
        """Turn the code of the callback into tokens, and keep whose they are.

        Cancellation:
          Unsafe. The server may have issued tokens that are never used.

        Raises:
          LoginDeclinedError: The person said no.
          LoginError: The server did; or it is not the callback of this log-in.
          GrantMisconfiguredError: The server does not accept this client.
          RefreshUnavailableError: No usable answer.
          StoreError: Nothing can be kept.
        """
        return await _log_in(self.newcomer, self.login, self.half, endpoint)


async def _as_client(
    me: Newcomer, endpoint: BackChannel, do: Callable[[Ready], Awaitable[ResultT]]
) -> ResultT:
    """Do something as a client; if the server has forgotten that one, once more as another."""
    ready = await me.prepare(endpoint)
    try:
        return await do(ready)
    except (GrantMisconfiguredError, LoginError) as exc:
        if ready.new or not ready.binding.registered or not _is_forgotten(exc):
            raise
    return await do(await me.prepare(endpoint, anew=True))


async def _log_in(me: Newcomer, login: Binding, log_in: LogIn, endpoint: BackChannel) -> Tokens:
    declined: LoginDeclinedError
    try:
        tokens = await log_in(endpoint)
    except LoginDeclinedError as exc:
        declined = exc
    else:
        await _note(me, login, login)
        return tokens
    await _note(me, login, None)
    raise declined


async def _note(me: Newcomer, came_back: Binding, login: Binding | None) -> None:
    """Keep that a client came back from the person, and the login that it brought.

    Cancellation:
      All or nothing.

    Raises:
      StoreError: It can't be kept.
    """
    async with me.keep.lock():
        kept = await me.keep.load()
        client = kept.client
        if client is not None and client.client == came_back.client:
            client = came_back
        await me.keep.save(Kept(client, login or kept.login))


def _is_forgotten(error: GrantMisconfiguredError | LoginError) -> bool:
    """Say whether a server has forgotten a client, or where its browser comes back to."""
    code = error.code if isinstance(error, LoginError) else error.error
    about_uri = code == "invalid_request" and "redirect" in (error.description or "").lower()
    return code in _FORGOTTEN or about_uri

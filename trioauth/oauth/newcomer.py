"""Newcomer: a program that is told an API's address alone, and becomes a client of its server.

In this order, and before a person is asked for anything:

1. which authorization server the API has, and what to ask for there (``resource``), unless the
   program says so;
2. who we are there: the given ``client_id``; else the address of our own document, if the server
   takes such; else what is registered there, once, and kept;
3. that what is kept can be written.

If the server then turns out to have forgotten a client that was registered, another is registered
and the log-in begins again, once. What the server shows to the person alone (a wrong client or
redirect URI is not to be redirected, RFC 6749 4.1.2.1) is seen by the log-in not coming back: the
next one registers another client.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast, final

import attrs
import trio

from trioauth._errors import GrantMisconfiguredError, MetadataError
from trioauth._secrets import Unpicklable

from .discovery import discover
from .kept import Binding, Kept
from .logins.steps import bounded
from .registration import (
    Registration,
    choose_method,
    client_document,
    draw_ports,
    redirect_uris,
    register,
    wants_port,
)
from .resource import find_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trioauth._challenge import Challenge
    from trioauth._tokens import Tokens

    from .authentication import ClientAuthentication
    from .channel import BackChannel
    from .kept import Keep
    from .metadata import AuthorizationServer
    from .resource import ProtectedResource

_OFFLINE = "offline_access"


class LogIn(Protocol):
    """A log-in, as `Session.log_in` takes it."""

    async def __call__(self, endpoint: BackChannel, /) -> Tokens: ...  # noqa: D102  # see there


class Template(Protocol):
    """What is used of an `OAuthClient`: so that this file need not know it."""

    @property
    def client_id(self) -> str: ...  # noqa: D102  # see there, as for those below
    @property
    def scope(self) -> str: ...  # noqa: D102
    @property
    def parameters(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def redirect_uri(self) -> str: ...  # noqa: D102
    @property
    def ports(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def auth(self) -> ClientAuthentication | None: ...  # noqa: D102
    @property
    def browser(self) -> Callable[..., LogIn]: ...  # noqa: D102
    @property
    def device(self) -> Callable[..., LogIn]: ...  # noqa: D102
    @property
    def interactive(self) -> Callable[..., LogIn]: ...  # noqa: D102
    async def __call__(self, tokens: Tokens | None, endpoint: BackChannel, /) -> Tokens: ...  # noqa: D102
    async def revoke(self, tokens: Tokens, endpoint: BackChannel) -> bool: ...  # noqa: D102
    async def server_of(self, endpoint: BackChannel) -> AuthorizationServer: ...  # noqa: D102


@final
@attrs.frozen
class Ready(Unpicklable):
    """A client that may begin a log-in."""

    binding: Binding
    client: Template
    new: bool
    """Whether it has been registered just now."""


@final
@attrs.frozen(kw_only=True)
class Newcomer(Unpicklable):
    """What the program has said, and what it becomes."""

    url: str
    template: Template = attrs.field(repr=False)
    """Its options, in a client that is never used itself."""
    client_id: str | None
    metadata_url: str | None
    issuer: str | None
    server: AuthorizationServer | None
    name: str
    challenge: Challenge | None
    keep: Keep = attrs.field(eq=False)

    @property
    def fixed_id(self) -> str | None:
        """The client id that the program has named, with the server that it is for."""
        if self.issuer is None and self.server is None:
            return None
        return self.client_id or self.metadata_url

    def fits(self, login: Binding) -> bool:
        """Say whether what is kept is what the program says, where it says anything."""
        named = self._named
        return (named is None or named == login.issuer) and (
            self.client_id is None or self.client_id == login.client.client_id
        )

    @property
    def _named(self) -> str | None:
        """The issuer that the program has named."""
        return self.issuer or (None if self.server is None else self.server.issuer)

    async def find(self, endpoint: BackChannel) -> tuple[ProtectedResource, AuthorizationServer]:
        """Find out about the API and its server.

        Cancellation:
          Safe.

        Raises:
          MetadataError: There is no server, or what one of them says can't be used.
          RefreshUnavailableError: No usable answer.
        """
        find = partial(find_resource, self.url, endpoint, self.challenge)
        found = await bounded(find, "finding out about the API")
        if self.issuer is not None or self.server is not None:
            ask = partial(self.template.server_of, endpoint)
            return found, await bounded(ask, "finding out about the server")
        for issuer in found.authorization_servers[:1]:
            look = partial(_discover_named, issuer, endpoint)
            return found, await bounded(look, "finding out about the server")
        root = "/".join(self.url.split("/", 3)[:3])
        try:
            look = partial(discover, root, endpoint)
            return found, await bounded(look, "finding out about the server")
        except MetadataError as exc:
            if exc.member is not None:
                raise
        tried = f"; the API says nothing of it at {found.tried}" if found.tried else ""
        raise MetadataError(
            f"nothing says which authorization server {self.url} has, and {root} is none{tried}. "
            "If you know it, pass issuer="
        )

    def bind(
        self, found: ProtectedResource, server: AuthorizationServer, client_id: str
    ) -> Binding:
        """Say what a client of this id asks for at this server."""
        template = self.template
        scope = self._scope(found, server)
        return Binding(
            issuer=self._named if self._named or self.server else server.issuer,
            client=Registration(client_id=client_id),
            redirect_uri=template.redirect_uri,
            ports=template.ports,
            scope=scope,
            resource=() if found.resource is None else (found.resource,),
        )

    def _scope(self, found: ProtectedResource, server: AuthorizationServer) -> str:
        """Choose what to ask for; "" leaves it to the server."""
        scopes = self.template.scope.split()
        if scopes and self.challenge is not None:
            # Asked for more: what there was is not to be lost.
            scopes += found.challenged_scope
        scopes = scopes or [*(found.challenged_scope or found.scopes_supported)]
        if scopes and _OFFLINE in server.scopes_supported:
            scopes.append(_OFFLINE)
        return " ".join(dict.fromkeys(scopes))

    def client_of(self, binding: Binding, *, consent: bool = False) -> Template:
        """Return the client that is bound so; with ``consent`` for a log-in that must show it."""
        parameters = self.template.parameters
        made: Any = attrs.evolve(
            cast("Any", self.template),
            client_id=binding.client.client_id,
            issuer=binding.issuer,
            server=self.server,
            auth=binding.client.auth or self.template.auth,
            scope=binding.scope,
            resource=binding.resource,
            parameters={"prompt": "consent", **parameters} if consent else parameters,
            redirect_uri=binding.redirect_uri,
            ports=binding.ports,
        )
        return cast("Template", made)

    async def prepare(self, endpoint: BackChannel, *, anew: bool = False) -> Ready:
        """Do all that comes before a person is asked for anything.

        Cancellation:
          Safe. A client may be registered, which the next log-in uses.

        Raises:
          GrantMisconfiguredError: There is no server, or no client, or what they say can't be used.
          RefreshUnavailableError: No usable answer.
          StoreError: Nothing can be kept.
        """
        found, server = await self.find(endpoint)
        async with self.keep.lock():
            kept = await self.keep.load()
            binding, new = await self._identify(found, server, endpoint, None if anew else kept)
            await self.keep.save(Kept(attrs.evolve(binding, awaited=True), kept.login))
        # Without it, a server that lists the scope may give no refresh token (OpenID Core 11).
        consent = _OFFLINE in binding.scope.split() and _OFFLINE in server.scopes_supported
        return Ready(binding, self.client_of(binding, consent=consent), new)

    async def _identify(
        self,
        found: ProtectedResource,
        server: AuthorizationServer,
        endpoint: BackChannel,
        kept: Kept | None,
    ) -> tuple[Binding, bool]:
        """Choose who we are, and say whether that is new.

        Cancellation:
          Unsafe. A client may have been registered that is never used.

        Raises:
          GrantMisconfiguredError: There is no way to become a client.
          RefreshUnavailableError: No usable answer.
        """
        await trio.lowlevel.checkpoint()
        client_id = self.client_id
        if client_id is None and server.client_id_metadata_document_supported:
            client_id = self.metadata_url
        binding = self.bind(found, server, client_id or "")
        if client_id is not None:
            return binding, False
        old = None if kept is None else kept.client
        if old is not None and self._serves(old, binding):
            return attrs.evolve(old, scope=binding.scope, resource=binding.resource), False
        if server.registration_endpoint is None:
            raise GrantMisconfiguredError(
                "no_client_id",
                f"{server.issuer or 'the server'} registers no clients by itself: register the "
                "program there by hand, and pass client_id=",
            )
        ports = draw_ports() if wants_port(binding.redirect_uri) else ()
        binding = attrs.evolve(binding, registered=True, ports=binding.ports or ports)
        document = client_document(
            redirect_uris(binding.redirect_uri, binding.ports),
            name=self.name,
            scope=binding.scope,
            method=choose_method(server),
            device=server.device_authorization_endpoint is not None,
        )
        client = await bounded(partial(register, server, endpoint, document), "registering")
        return attrs.evolve(binding, client=client), True

    def _serves(self, old: Binding, wanted: Binding) -> bool:
        """Say whether a client that was registered before will do for what is wanted now."""
        return (
            old.registered
            and not old.awaited
            and not old.client.has_expired
            and old.issuer == wanted.issuer
            and old.redirect_uri == wanted.redirect_uri
            and (not wanted.ports or old.ports == wanted.ports)
            and set(wanted.scope.split()) <= set(old.scope.split())
        )


async def _discover_named(issuer: str, endpoint: BackChannel) -> AuthorizationServer:
    """Find out about a server that an API names, maybe with a slash too many, or too few.

    Only at the end of a bare host, where it is the same server in any case: URL types such as
    pydantic's add one there, so all servers of the MCP SDK for Python name ``https://host/``.

    Cancellation:
      Safe.

    Raises:
      MetadataError: There are no metadata, or they can't be used.
      RefreshUnavailableError: No usable answer.
    """
    other = issuer.removesuffix("/") if issuer.endswith("/") else f"{issuer}/"
    try:
        return await discover(issuer, endpoint)
    except MetadataError as exc:
        if exc.member != "issuer" or other.rstrip("/").count("/") != 2:
            raise
        problem = exc
    try:
        return await discover(other, endpoint)
    except MetadataError:
        pass  # the first one says what the API has named
    raise problem

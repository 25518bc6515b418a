"""OAuthClient: an application that is registered at an authorization server (RFC 6749 2)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, final

import attrs
import trio

from trioauth._secrets import Secrets, Unpicklable

from .answers import BARE_REFUSALS, Rules, secrets_of
from .authentication import ClientAuthentication, add_to_form
from .channel import TokenRequest
from .discovery import discover
from .fields import check_scope, check_text, copied, owner_of, to_refusals
from .form import Form, Parameters
from .grants.refresh import read_refreshed, refresh_form
from .grants.unattended import (
    ClientCredentials,
    JWTBearer,
    TokenExchange,
    check_source,
)
from .identity import identify_again, prepare
from .logging_in import LogsIn
from .metadata import AuthorizationServer
from .options import (
    check_auth,
    check_issuer_or_none,
    check_parameters,
    check_ports,
    check_resources,
    to_ports,
    to_resources,
)
from .proving import added_by, prove
from .revocation import revocation_form, send_revocation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike

    from trioauth._challenge import Challenge
    from trioauth._tokens import Tokens

    from .channel import Answer, BackChannel
    from .grants.unattended import Text
    from .logins.ports import Redirect
    from .options import ResourceOptions
    from .resource_client import ResourceClient


@final
@attrs.frozen
class OAuthClient(LogsIn, Unpicklable):
    """An application that is registered at an authorization server.

    It is itself the grant that refreshes, and gives the others. It knows no session, and does no
    I/O by itself. It can't be pickled, because of its secrets.

    Args:
      client_id: What the server knows this program as.
      issuer: What the server calls itself: its endpoints are found out when first needed, once a
          session. The address of its metadata will do, too.
      server: What is known of the server. If that includes a ``token_endpoint``, nothing else is
          found out, unless ``issuer`` is passed, too: then what is missing here is.
      auth: How the client proves who it is. None for a public client (RFC 6749 2.1).
      scope: Asked for when a person logs in, in this order, with spaces in between. With ``openid``
          in it, and the extra ``jose``, ID tokens are validated, and ``session.state.identity`` is
          who has logged in.
      resource: The APIs that the tokens are for (RFC 8707), one or several; sent with each request
          for tokens, refreshing included.
      parameters: More parameters of the server's own, sent with what begins a login, and not with
          a refresh: ``{"audience": "..."}``. None of those that the protocol owns.
      redirect_uri: Where a browser brings the person back to. Loopback without a port: any free
          one.
      ports: The ports that are registered, for a server that insists.
      bare_status_refuses: True for a server that refuses with a bare 400, 401 or 403 instead of
          ``invalid_grant``.
      refusals: Codes of the server's own that end the login; see `trioauth.RefreshTokenGrant`.

    Raises:
      ValueError: Secrets may not be sent to such a URL, or parameters contradict each other; names
          the parameter.
      TypeError: Something is not of its type; names the parameter.
    """

    client_id: str = attrs.field(validator=check_text)
    issuer: str | None = attrs.field(default=None, kw_only=True, validator=check_issuer_or_none)
    server: AuthorizationServer | None = attrs.field(
        default=None,
        kw_only=True,
        validator=attrs.validators.optional(attrs.validators.instance_of(AuthorizationServer)),
    )
    auth: ClientAuthentication | None = attrs.field(
        default=None, kw_only=True, validator=check_auth
    )
    scope: str = attrs.field(default="", kw_only=True, validator=check_scope)
    resource: tuple[str, ...] = attrs.field(
        default=(), kw_only=True, converter=to_resources, validator=check_resources
    )
    parameters: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        kw_only=True,
        converter=copied,
        validator=check_parameters,
        repr=False,
        hash=False,
    )
    redirect_uri: str = attrs.field(
        default="http://127.0.0.1/callback", kw_only=True, validator=check_text
    )
    ports: tuple[int, ...] = attrs.field(
        default=(), kw_only=True, converter=to_ports, validator=check_ports
    )
    bare_status_refuses: bool = attrs.field(
        default=False, kw_only=True, validator=attrs.validators.instance_of(bool)
    )
    refusals: Mapping[str, frozenset[str]] = attrs.field(
        factory=dict[str, "frozenset[str]"], kw_only=True, converter=to_refusals, hash=False
    )

    needs_refresh_token: ClassVar[bool] = True
    unattended: ClassVar[bool] = False

    def __attrs_post_init__(self) -> None:
        named = None if self.server is None else self.server.issuer
        if self.issuer is None and self.server is None:
            raise ValueError(
                "nothing says where the authorization server is; pass issuer= (such as "
                '"https://id.example.com") or server=AuthorizationServer(token_endpoint=..., ...)'
            )
        if self.issuer is not None and named not in {None, self.issuer}:
            raise ValueError(f"issuer is {self.issuer!r}, and that of server {named!r}: pass one")

    @staticmethod
    def for_resource(
        url: str,
        *,
        keep: str | PathLike[str] | None = None,
        name: str = "trioauth",
        challenge: Challenge | None = None,
        metadata_url: str | None = None,
        client_id: str | None = None,
        **options: Unpack[ResourceOptions],
    ) -> ResourceClient:
        """Return a client for an API of which nothing is known but its address (RFC 9728).

        A log-in asks the API which authorization server it has. There this program is who
        ``client_id`` says; or who its own document says; or registers itself (RFC 7591)::

            client = OAuthClient.for_resource("https://mcp.example.com/mcp", keep="client.json")
            async with open_session(client, store=FileStore("tokens.json"), base_url=...) as s:
                await s.log_in(client.interactive())

        Args:
          url: The API's, with the path that it is met at.
          keep: A small private file beside that of the tokens, one for each: what was registered,
              and at which server the login was made. Without it, both are forgotten when the
              program ends, and the next run logs in anew.
          name: What a person knows the program by.
          challenge: That of the API's 401, if you have it (`trioauth.challenge`): its scope is
              asked for besides ``scope``. Otherwise the API is asked.
          metadata_url: The address of this program's client id metadata document, whose content
              is `ResourceClient.document`. For a server that takes such.
          client_id: What the server knows this program as, if it was registered by hand.
          options: ``issuer``, ``server``, ``auth``, ``scope``, ``parameters``, ``redirect_uri``,
              ``ports``, as above. ``issuer`` is for an API that names none, or the wrong one;
              without ``scope``, what the API says is asked for.

        Raises:
          ValueError: As this class; names the parameter.
          TypeError: As this class; names the parameter.
        """
        from .kept import Keep
        from .newcomer import Newcomer
        from .registration import check_metadata_url
        from .resource import check_resource_url
        from .resource_client import ResourceClient

        check_resource_url(url, "url")
        if metadata_url is not None:
            check_metadata_url(metadata_url, "metadata_url")
        issuer, server = options.get("issuer"), options.get("server")
        # A client has an issuer or a server. The API's address stands in for it until both are
        # found out, and is not asked as an issuer.
        given: dict[str, Any] = {**options, "issuer": issuer or (url if server is None else None)}
        # Any: to pyright a field with a converter does not have the type that it is read as.
        template: Any = OAuthClient(client_id or metadata_url or name, **given)
        newcomer = Newcomer(
            url=url,
            template=template,
            client_id=client_id,
            metadata_url=metadata_url,
            issuer=issuer,
            server=server,
            name=name,
            challenge=challenge,
            keep=Keep(keep),
        )
        return ResourceClient(newcomer)

    # --- who asks ------------------------------------------------------------------------------

    @property
    def owner(self) -> str:
        """Whose tokens these are: the issuer, or else the token endpoint, and the client."""
        server = self.server
        by_hand = None if server is None else server.issuer or server.token_endpoint
        return owner_of(self.issuer or by_hand or "", self.client_id)

    @property
    def rules(self) -> Rules:
        """How the server says no."""
        statuses = BARE_REFUSALS if self.bare_status_refuses else ()
        return Rules(refusals=self.refusals, statuses=statuses, settings=True)

    @property
    def more(self) -> Parameters:
        """What is sent with each request that begins a login."""
        return {**self.parameters, **self.resources}

    @property
    def resources(self) -> Parameters:
        """What is sent with each request for tokens: the APIs that they are for (RFC 8707 2)."""
        return {"resource": self.resource} if self.resource else {}

    @property
    def redirect(self) -> Redirect:
        """Where on this machine a browser comes back to.

        Raises:
          ValueError: It does not come back to this machine.
        """
        from .logins.ports import Redirect

        return Redirect.read(self.redirect_uri, self.ports)

    async def server_of(self, endpoint: BackChannel) -> AuthorizationServer:
        """Return what is known of the server; found out when first needed, once a session.

        Cancellation:
          Safe. Nothing is remembered.

        Raises:
          MetadataError: The metadata of the server can't be used, or there are none.
          RefreshUnavailableError: They are not to be had now; ``safe_to_repeat``.
        """
        given = self.server
        issuer = self.issuer
        if issuer is None and given is not None and given.token_endpoint is None:
            issuer = given.issuer
        if issuer is None:
            await trio.lowlevel.checkpoint()
            assert given is not None  # noqa: S101  # there is one of the two
            return given
        found = await discover(issuer, endpoint)
        return found if given is None else given.or_else(found)

    async def ask(
        self,
        endpoint: BackChannel,
        url: str,
        form: Parameters,
        *,
        secrets: Iterable[str] = (),
    ) -> Answer:
        """Send a form to the server as this client, with a new proof that it is the client.

        Args:
          endpoint: The session's way to the server.
          url: Which of its endpoints.
          form: What to send, but for the ``client_id`` and the proof.
          secrets: What in the form must not be seen in an error, if the server echoes it. Read by
              the functions of this package, the answer hides that, and the proof.

        Cancellation:
          Unsafe. The server may or may not have acted on it.

        Raises:
          RefreshUnavailableError: There is no whole answer, or nothing could be sent.
          GrantMisconfiguredError: ``auth`` is not what it must be, or the metadata of the server.
        """
        # Hidden from here on: crash reporters send the variables of frames.
        form, secrets = Form(form), Secrets(secrets)
        request = TokenRequest(url, form)
        if self.auth is None:
            proven = add_to_form(request, client_id=self.client_id)
        else:
            audience = (await self.server_of(endpoint)).audience
            proven = await prove(request, self.auth, self.client_id, audience)
        sent = Secrets((*secrets, *added_by(request, proven), *getattr(self.auth, "secrets", ())))
        return attrs.evolve(await endpoint.send(proven), sent=sent)

    async def ask_for_tokens(
        self,
        endpoint: BackChannel,
        form: Parameters,
        *,
        secrets: Iterable[str] = (),
    ) -> Answer:
        """Send a form to the token endpoint; see `ask`.

        Cancellation:
          Unsafe. The server may or may not have acted on it.

        Raises:
          RefreshUnavailableError: There is no whole answer, or nothing could be sent.
          GrantMisconfiguredError: ``auth`` is not what it must be, or the metadata of the server.
        """
        form, secrets = Form(form), Secrets(secrets)
        server = await self.server_of(endpoint)
        return await self.ask(endpoint, server.endpoint("token_endpoint"), form, secrets=secrets)

    # --- refreshing, and revoking --------------------------------------------------------------

    async def __call__(self, tokens: Tokens | None, endpoint: BackChannel, /) -> Tokens:
        """Refresh (RFC 6749 6).

        Cancellation:
          Unsafe, for a server that rotates: the new tokens may be lost.

        Raises:
          GrantRefusedError: The server said no, or there is no refresh token; or the new tokens are
              another person's, by their ID token (OpenID Connect Core 12.2).
          GrantMisconfiguredError: The server does not accept this client, or its metadata can't be
              used.
          IdentityError: The ID token that came with the new tokens was refused.
          RefreshUnavailableError: No usable answer.
        """
        # Before anything is asked.
        form = refresh_form(tokens, more=self.resources)
        await prepare(self, endpoint, tokens)
        answer = await self.ask_for_tokens(endpoint, form)
        renewed = read_refreshed(answer, tokens, rules=self.rules)
        return await identify_again(renewed, answer, self, endpoint, tokens)

    async def revoke(self, tokens: Tokens, endpoint: BackChannel) -> bool:
        """Revoke the tokens (RFC 7009); return False if the server has nowhere to do it.

        Cancellation:
          Unsafe. The server may or may not have revoked them.

        Raises:
          GrantError: The server did not accept the request: they still work.
          RefreshUnavailableError: No usable answer; they may still work.
        """
        url = (await self.server_of(endpoint)).revocation_endpoint
        if url is None:
            return False
        # Asked anew each time: a proof is used once (P27).
        send = partial(self.ask, endpoint, url, revocation_form(tokens))
        await send_revocation(send, secrets=secrets_of(tokens))
        return True

    # --- without a human -----------------------------------------------------------------------

    def credentials(self) -> ClientCredentials:
        """Return the grant that gets tokens for the program itself (RFC 6749 4.4)."""
        return ClientCredentials(self)

    def jwt_bearer(self, assertion: Text) -> JWTBearer:
        """Return the grant that gets tokens for a JWT that says in whose name (RFC 7523 2.1).

        Args:
          assertion: The JWT; or an async function, which is asked for a new one each time.
        """
        check_source(assertion, "assertion")
        return JWTBearer(self, assertion)

    def exchange(
        self,
        subject: Text,
        subject_type: str = "access_token",
        *,
        actor: Text | None = None,
        actor_type: str | None = None,
        audience: str | Sequence[str] = (),
        requested_type: str | None = None,
    ) -> TokenExchange:
        """Return the grant that gets tokens for another token (RFC 8693).

        Args:
          subject: The token; or an async function, which is asked for it anew each time.
          subject_type: What it is: ``"access_token"``, ``"id_token"``, ``"jwt"``, ... or a URN.
          actor: The token of the one who acts for the subject; or such a function.
          actor_type: What that is; by default an access token.
          audience: By which names the server knows those who are to take the new token.
          requested_type: What the new token is to be.
        """
        check_source(subject, "subject")
        if actor is not None:
            check_source(actor, "actor")
            actor_type = actor_type or "access_token"
        names = to_resources(audience)
        return TokenExchange(self, subject, subject_type, actor, actor_type, names, requested_type)

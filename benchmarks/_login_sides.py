"""Who logs in: trioauth and its peers, each as its documentation has it.

``log_in`` is the way of a web application: it begins, gives the address to ``callbacks``, and takes
the callbacks that come of it, one after the other, until one is good. ``listen`` is that of a
program on the person's machine, which listens on a port; ``device`` that of RFC 8628.
"""

from __future__ import annotations

import math
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias
from urllib.parse import parse_qs, urlsplit

import attrs
import trio

import trioauth

from ._login_world import CALLBACK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._login_world import World

    Callbacks: TypeAlias = Callable[[str], list[str]]
    Browser: TypeAlias = Callable[[str], None]

_SECRET = "secret"  # noqa: S105  # of a test


def _members(callback: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}


def _until_taken(finish: Callable[[str], object], callbacks: list[str]) -> None:
    """Give a log-in that was begun one callback after the other, until it takes one."""
    *others, last = callbacks
    for callback in others:
        with suppress(Exception):
            finish(callback)
            return
    finish(last)


def _trusting(world: World, session: Any) -> Any:
    """Let a `requests.Session` trust the server; no setting of the environment changes that."""
    session.verify, session.trust_env = world.authority, False
    return session


class _Program(webbrowser.BaseBrowser):
    """A browser for libraries that open one with `webbrowser`."""

    def __init__(self, browser: Browser) -> None:
        super().__init__()
        self._browser = browser

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002  # the base class's
        self._browser(url)
        return True

    def register(self) -> None:
        """Be the browser of this machine."""
        webbrowser.register(f"peer-{id(self)}", None, self, preferred=True)


@attrs.frozen
class Side:
    """One library. What it has not raises `NotImplementedError`."""

    bare: bool = False
    """Whether to leave out what a program has to say for PKCE."""
    pushes: bool = False
    """Whether to push the request (RFC 9126), where the program has to call for it."""

    secret: ClassVar[str | None] = _SECRET
    """Of its client; None: a public one."""
    knows_id_tokens: ClassVar[bool] = True
    can_push: ClassVar[bool] = False
    """Whether there is something to call for it."""

    def log_in(self, world: World, callbacks: Callbacks) -> None:
        """Log in for a web application, with the callbacks that come of an address."""
        raise NotImplementedError

    def listen(self, world: World, browser: Browser, patience: float) -> None:
        """Log in with a port on the person's machine, and give up after so many seconds."""
        raise NotImplementedError

    def device(self, world: World) -> None:
        """Log in on a device without a browser (RFC 8628)."""
        raise NotImplementedError


class Ours(Side):
    """trioauth."""

    secret = None

    def log_in(self, world: World, callbacks: Callbacks) -> None:
        """Begin, and finish with a callback: the way of a web application."""

        async def main(session: trioauth.Session, client: trioauth.OAuthClient) -> None:
            begun = await client.begin(session.back_channel, redirect_uri=CALLBACK)
            *others, last = callbacks(begun.url)
            for callback in others:
                with suppress(trioauth.LoginError):
                    await session.log_in(client.finish(begun, callback))
                    return
            await session.log_in(client.finish(begun, last))

        self._run(world, main)

    def listen(self, world: World, browser: Browser, patience: float) -> None:
        """Log in by the browser, and be cancelled so many seconds after it was opened."""

        async def main(session: trioauth.Session, client: trioauth.OAuthClient) -> None:
            async def prompt(invitation: trioauth.Invitation) -> None:
                browser(invitation.url)
                scope.deadline = trio.current_time() + patience

            with trio.fail_after(math.inf) as scope:
                await session.log_in(client.browser(prompt=prompt))

        self._run(world, main)

    def device(self, world: World) -> None:
        """Show no code: the person says yes without one."""

        async def prompt(invitation: trioauth.Invitation) -> None:
            pass

        async def main(session: trioauth.Session, client: trioauth.OAuthClient) -> None:
            await session.log_in(client.device(prompt=prompt))

        self._run(world, main)

    def _run(
        self,
        world: World,
        main: Callable[[trioauth.Session, trioauth.OAuthClient], Awaitable[None]],
    ) -> None:
        async def run() -> None:
            client = trioauth.OAuthClient("notes", issuer=world.issuer, scope="openid notes")
            options: Any = {"base_url": world.url, "verify": world.trust, "trust_env": False}
            async with trioauth.open_session(client, **options) as session:
                await main(session, client)

        trio.run(run)


class Authlib(Side):
    """Authlib's client for Starlette, the one for web applications that is async."""

    def log_in(self, world: World, callbacks: Callbacks) -> None:
        """As on the page "Starlette OAuth Client" of its documentation."""
        from authlib.integrations.starlette_client import OAuth
        from starlette.requests import Request

        told = {"scope": "openid notes", "verify": world.trust, "trust_env": False}
        if not self.bare:
            told["code_challenge_method"] = "S256"
        web_session: dict[str, Any] = {}

        def request(url: str) -> Any:
            query = urlsplit(url).query.encode()
            scope = {"type": "http", "method": "GET", "path": "/callback", "headers": []}
            return Request({**scope, "query_string": query, "session": web_session})

        async def main() -> None:
            site: Any = OAuth().register(
                "site",
                client_id="notes",
                client_secret=world.secret,
                server_metadata_url=f"{world.issuer}/.well-known/openid-configuration",
                client_kwargs=told,
            )
            answer = await site.authorize_redirect(request(CALLBACK), CALLBACK)
            *others, last = callbacks(answer.headers["Location"])
            for callback in others:
                with suppress(Exception):
                    await site.authorize_access_token(request(callback))
                    return
            await site.authorize_access_token(request(last))

        trio.run(main)


class RequestsOAuth2Client(Side):
    """requests_oauth2client."""

    can_push = True

    def log_in(self, world: World, callbacks: Callbacks) -> None:
        """Begin with the metadata, as its README has it."""
        client = self._client(world)
        asked = client.authorization_request()
        url = client.pushed_authorization_request(asked).uri if self.pushes else asked.uri
        _until_taken(
            lambda callback: client.authorization_code(asked.validate_callback(callback)),
            callbacks(str(url)),
        )

    def device(self, world: World) -> None:
        """Let its polling job wait, as its README has it."""
        from requests_oauth2client import DeviceAuthorizationPollingJob

        client = self._client(world)
        job: Any = DeviceAuthorizationPollingJob(client, client.authorize_device())
        while job() is None:
            pass

    def _client(self, world: World) -> Any:
        import requests
        from requests_oauth2client import OAuth2Client

        return OAuth2Client.from_discovery_endpoint(
            issuer=world.issuer,
            client_id="notes",
            client_secret=world.secret,
            redirect_uri=CALLBACK,
            session=_trusting(world, requests.Session()),
            # Which it does not take from the metadata.
            device_authorization_endpoint=world.at("device"),
        )


class Google(Side):
    """google-auth-oauthlib."""

    def log_in(self, world: World, callbacks: Callbacks) -> None:
        """Use `Flow`, which is for web applications."""
        from google_auth_oauthlib.flow import Flow

        flow = Flow.from_client_config({"web": self._told(world)}, ["openid", "notes"])
        flow.redirect_uri = CALLBACK
        _trusting(world, flow.oauth2session)
        url, _ = flow.authorization_url()
        _until_taken(
            lambda callback: flow.fetch_token(authorization_response=callback),
            callbacks(str(url)),
        )

    def listen(self, world: World, browser: Browser, patience: float) -> None:
        """Use `InstalledAppFlow`, which is for a person's machine."""
        from google_auth_oauthlib.flow import InstalledAppFlow

        told = {"installed": self._told(world)}
        flow = InstalledAppFlow.from_client_config(told, ["openid", "notes"])
        _trusting(world, flow.oauth2session)
        _Program(browser).register()
        flow.run_local_server(port=0, timeout_seconds=patience, authorization_prompt_message=None)

    def _told(self, world: World) -> dict[str, Any]:
        # What a client-secrets file has.
        known = {"auth_uri": world.at("authorize"), "token_uri": world.at("token")}
        return {"client_id": "notes", "client_secret": world.secret, **known}


class Msal(Side):
    """MSAL."""

    secret = None

    def log_in(self, world: World, callbacks: Callbacks) -> None:
        """Use ``initiate_auth_code_flow``, which is for web applications."""
        application = self._application(world)
        flow = application.initiate_auth_code_flow(["notes"], redirect_uri=CALLBACK)
        finish = application.acquire_token_by_auth_code_flow
        _until_taken(
            lambda callback: self._check(finish(flow, _members(callback))),
            callbacks(flow["auth_uri"]),
        )

    def listen(self, world: World, browser: Browser, patience: float) -> None:
        """Use ``acquire_token_interactive``, which is for a person's machine."""
        _Program(browser).register()
        application = self._application(world)
        self._check(application.acquire_token_interactive(["notes"], timeout=patience))

    def device(self, world: World) -> None:
        """Let ``acquire_token_by_device_flow`` poll."""
        application = self._application(world)
        flow = application.initiate_device_flow(["notes"])
        self._check(application.acquire_token_by_device_flow(flow))

    def _application(self, world: World) -> Any:
        import requests
        from msal import PublicClientApplication

        session = _trusting(world, requests.Session())
        return PublicClientApplication("notes", oidc_authority=world.issuer, http_client=session)

    def _check(self, result: dict[str, Any]) -> None:
        # An error is a value there.
        if "error" in result:
            raise MsalError(result["error"])


class MsalError(Exception):
    """MSAL returned an error."""


class Mcp(Side):
    """The MCP SDK: a log-in begins with a 401 of the API, and registers the client."""

    knows_id_tokens = False

    def log_in(self, world: World, callbacks: Callbacks) -> None:
        """Make a request; the callback handler is asked once."""
        import httpx2
        from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
        from mcp.shared.auth import OAuthClientMetadata

        told = {"client_name": "notes", "redirect_uris": [CALLBACK], "application_type": "web"}
        told["token_endpoint_auth_method"] = "none"  # noqa: S105  # a word of RFC 7591
        came: list[str] = []

        async def show(url: str) -> None:
            came.extend(callbacks(url))

        async def wait() -> AuthorizationCodeResult:
            return AuthorizationCodeResult(**_members(came[0]))

        async def main() -> None:
            auth = OAuthClientProvider(
                f"{world.url}/mcp",
                OAuthClientMetadata.model_validate(told),
                _Nowhere(),
                show,
                wait,
            )
            async with httpx2.AsyncClient(auth=auth, verify=world.trust, trust_env=False) as client:
                (await client.get(f"{world.url}/mcp")).raise_for_status()

        trio.run(main)


class _Nowhere:
    """A storage of the MCP SDK that keeps nothing."""

    async def get_tokens(self) -> None:
        pass

    async def set_tokens(self, tokens: Any) -> None:
        pass

    async def get_client_info(self) -> None:
        pass

    async def set_client_info(self, client_info: Any) -> None:
        pass


SIDES: dict[str, type[Side]] = {
    "trioauth": Ours,
    "Authlib": Authlib,
    "requests_oauth2client": RequestsOAuth2Client,
    "google-auth-oauthlib": Google,
    "MSAL": Msal,
    "MCP SDK": Mcp,
}

"""How each library logs a web application in: the second table of docs/comparison.md.

    python -m benchmarks.peer_logins                print it

Needs authlib, requests_oauth2client, google-auth-oauthlib and httpx2. Each side begins a log-in as
its documentation has it, and is given a callback. What is counted is whether the code went to the
token endpoint.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ISSUER, CALLBACK = "https://id.test", "https://app.test/callback"
AUTHORIZE, TOKEN = f"{ISSUER}/authorize", f"{ISSUER}/token"
_ANSWER = b'{"access_token": "a", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r"}'
_PACKAGES = ("trioauth", "authlib", "requests_oauth2client", "google-auth-oauthlib")


@attrs.define
class Server:
    """A token endpoint that takes any code."""

    codes: int = 0

    def transport(self, library: Any) -> Any:
        """Return a way here for httpx or httpx2."""

        def handle(_: Any) -> Any:
            self.codes += 1
            return library.Response(200, content=_ANSWER)

        return library.MockTransport(handle)

    def mount(self, session: Any) -> None:
        """Lead a session of requests here."""
        import requests

        server = self

        class Adapter:
            def send(self, request: Any, **_: Any) -> Any:
                server.codes += 1
                answer: Any = requests.Response()
                answer.status_code, answer.raw, answer.request = 200, BytesIO(_ANSWER), request
                answer.headers["Content-Type"] = "application/json"
                return answer

            def close(self) -> None:
                pass

        adapter: Any = Adapter()
        session.mount("https://", adapter)


def _ours(server: Server, callback: Callable[[str], str]) -> str:
    import httpx

    import trioauth

    async def log_in() -> str:
        known = trioauth.AuthorizationServer(
            issuer=ISSUER, authorization_endpoint=AUTHORIZE, token_endpoint=TOKEN
        )
        client = trioauth.OAuthClient("notes", server=known, redirect_uri=CALLBACK)
        channel = trioauth.BackChannel(lambda: httpx.AsyncClient(transport=server.transport(httpx)))
        begun = await client.begin(channel)
        await client.finish(begun, callback(begun.url))(channel)
        return begun.url

    return trio.run(log_in)


def _authlib(server: Server, callback: Callable[[str], str]) -> str:
    import httpx2
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    async def log_in() -> str:
        options: dict[str, Any] = {"redirect_uri": CALLBACK, "transport": server.transport(httpx2)}
        async with AsyncOAuth2Client("notes", "secret", **options) as client:
            url, client.state = client.create_authorization_url(AUTHORIZE)
            await client.fetch_token(TOKEN, authorization_response=callback(url))
            return str(url)

    return trio.run(log_in)


def _requests_oauth2client(server: Server, callback: Callable[[str], str]) -> str:
    import requests
    from requests_oauth2client import OAuth2Client

    session = requests.Session()
    server.mount(session)
    client = OAuth2Client(
        token_endpoint=TOKEN,
        authorization_endpoint=AUTHORIZE,
        issuer=ISSUER,
        redirect_uri=CALLBACK,
        client_id="notes",
        client_secret="secret",  # noqa: S106  # of a test
        session=session,
    )
    request = client.authorization_request()
    client.authorization_code(request.validate_callback(callback(str(request.uri))))
    return str(request.uri)


def _google(server: Server, callback: Callable[[str], str]) -> str:
    from google_auth_oauthlib.flow import Flow

    told = {"client_id": "notes", "client_secret": "s", "auth_uri": AUTHORIZE, "token_uri": TOKEN}
    flow = Flow.from_client_config({"web": told}, scopes=["notes"], redirect_uri=CALLBACK)
    server.mount(flow.oauth2session)
    url, _ = flow.authorization_url()
    flow.fetch_token(authorization_response=callback(url))
    return str(url)


SIDES: dict[str, Callable[[Server, Callable[[str], str]], str]] = {
    "trioauth": _ours,
    "Authlib": _authlib,
    "requests_oauth2client": _requests_oauth2client,
    "google-auth-oauthlib": _google,
}


def _callback(**changes: str) -> Callable[[str], str]:
    def answer(url: str) -> str:
        state = parse_qs(urlsplit(url).query)["state"][0]
        return f"{CALLBACK}?{urlencode({'code': 'c', 'state': state, **changes})}"

    return answer


def _fate(side: str, **changes: str) -> str:
    server = Server()
    try:
        SIDES[side](server, _callback(**changes))
    except Exception as exc:  # noqa: BLE001  # that is the question
        name = type(exc).__name__
        return f"**the code is sent**, then `{name}`" if server.codes else f"`{name}`, nothing sent"
    return "**the code is sent**" if changes else "logs in"


def _pkce(side: str) -> str:
    said = parse_qs(urlsplit(SIDES[side](Server(), _callback())).query)
    return said.get("code_challenge_method", ["**no**"])[0]


QUESTIONS: dict[str, Callable[[str], str]] = {
    "The server answers as it should": _fate,
    "PKCE, unless the program says otherwise (RFC 7636)": _pkce,
    "A callback with another `state`": lambda side: _fate(side, state="another"),
    "A callback with the `iss` of another server (RFC 9207)": lambda side: _fate(
        side, iss="https://evil.test"
    ),
}


def answer(side: str, title: str) -> str:
    """Ask one side one question."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return QUESTIONS[title](side)


def table() -> Iterator[str]:
    """Give the lines of the table."""
    yield f"| a log-in in two halves | {' | '.join(SIDES)} |"
    yield f"| --- |{' --- |' * len(SIDES)}"
    for title in QUESTIONS:
        yield f"| {title} | {' | '.join(answer(side, title) for side in SIDES)} |"
    yield ""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    yield f"{versions}, Python {platform.python_version()}."


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")

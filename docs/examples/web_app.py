"""A web application that logs its users in: hypercorn --worker-class trio web_app:app"""

import hashlib
import os
import secrets
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from html import escape
from typing import TypedDict

from cryptography.fernet import Fernet, InvalidToken
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

import trioauth

TEN_MINUTES, MONTH = 600, 30 * 86400

client = trioauth.OAuthClient(
    "notes",
    issuer=os.environ["ISSUER"],
    auth=trioauth.ClientSecretBasic(os.environ["CLIENT_SECRET"]),
    scope="notes offline_access",
    redirect_uri=os.environ["APP_URL"] + "/callback",
)
# The same in all workers: Fernet.generate_key() makes one.
cipher = Fernet(os.environ["COOKIE_KEY"])


class State(TypedDict):
    sessions: trioauth.Sessions


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[State, None]:
    store = trioauth.SQLiteStore(os.environ["LOGINS"])
    # hypercorn stops its workers by an event, and sends SIGTERM to those that take longer than the
    # first: without this they would die in mid-refresh, and lose a login.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        async with trioauth.open_sessions(
            client, store=store, base_url=os.environ["API_URL"]
        ) as sessions:
            yield {"sessions": sessions}
    finally:
        signal.signal(signal.SIGTERM, before)


async def log_in(request: Request) -> Response:
    """The first half: send the browser to the server."""
    begun = await client.begin(request.state.sessions.back_channel)
    text = cipher.encrypt(begun.to_text().encode()).decode()
    return with_cookie(RedirectResponse(begun.url, 303), "begun", text, TEN_MINUTES)


async def callback(request: Request) -> Response:
    """The second half: the browser is back."""
    sessions: trioauth.Sessions = request.state.sessions
    try:
        text = cipher.decrypt(request.cookies.get("begun", ""), ttl=TEN_MINUTES)
    except InvalidToken:
        return page("This browser has begun no log-in.", 400)
    begun = trioauth.Begun.from_text(text.decode())
    visitor = secrets.token_urlsafe()  # a new one for each login
    try:
        await sessions.log_in(key_of(visitor), client.finish(begun, str(request.url)))
    except trioauth.LoginDeclinedError:
        return page("You said no.", 403)
    except trioauth.LoginError as exc:
        return page(f"The log-in failed: {exc}", 400)
    if before := request.cookies.get("visitor"):
        # Not revoked: some servers would revoke the new tokens of this person, too.
        await sessions.log_out(key_of(before), revoke=False)
    response = with_cookie(RedirectResponse("/", 303), "visitor", visitor, MONTH)
    response.delete_cookie("begun")
    return response


async def home(request: Request) -> Response:
    visitor = request.cookies.get("visitor")
    if visitor is None:
        return page("No login in this browser.")
    try:
        async with request.state.sessions.use(key_of(visitor)) as session:
            response = await session.get("/notes")
    except trioauth.LoggedOutError:
        return page("The login has ended.")
    return page(f"The API says: {response.text}", response.status_code)


async def log_out(request: Request) -> Response:
    if visitor := request.cookies.get("visitor"):
        await request.state.sessions.log_out(key_of(visitor))
    response = RedirectResponse("/", 303)
    response.delete_cookie("visitor")
    return response


def key_of(visitor: str) -> str:
    """Whose login it is. A hash: who can read the store can't make the cookie from it."""
    return "browser-" + hashlib.sha256(visitor.encode()).hexdigest()


def with_cookie(response: Response, name: str, value: str, max_age: int) -> Response:
    secure = client.redirect_uri.startswith("https:")
    # Lax: the browser sends it when the server redirects here, and not with another site's POST.
    response.set_cookie(name, value, max_age, httponly=True, samesite="lax", secure=secure)
    return response


def page(text: str, status: int = 200) -> Response:
    links = '<a href="/login">Log in</a> <form method="post" action="/logout"><button>Log out'
    # The address of the callback has the code in it: tell it to no page that a link leads to.
    headers = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return HTMLResponse(f"<p>{escape(text)}</p> {links}</button></form>", status, headers)


async def unavailable(_: Request, __: Exception) -> Response:
    return page("The server can't be reached. Try later.", 503)


app = Starlette(
    routes=[
        Route("/", home),
        Route("/login", log_in),
        Route("/callback", callback),
        Route("/logout", log_out, methods=["POST"]),
    ],
    exception_handlers={
        trioauth.RefreshUnavailableError: unavailable,
        trioauth.StoreError: unavailable,
    },
    lifespan=lifespan,
)

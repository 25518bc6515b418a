"""A web application that logs a person in: hypercorn --worker-class trio web_app:app"""

import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import escape
from typing import TypedDict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

import trioauth

MOST_BEGUN = 100

client = trioauth.OAuthClient(
    "notes",
    issuer=os.environ["ISSUER"],
    auth=trioauth.ClientSecretBasic(os.environ["CLIENT_SECRET"]),
    scope="notes offline_access",
    redirect_uri=os.environ["APP_URL"] + "/callback",
)


@dataclass
class Visitors:
    """Who is who, by the cookie of their browser. All of it stays on the server."""

    begun: dict[str, str] = field(default_factory=dict[str, str])
    """The log-ins that wait for their callback, by the cookie ``begun``: secrets, used once."""
    owner: str | None = None
    """The cookie ``owner`` of the browser whose person has logged in."""


class State(TypedDict):
    session: trioauth.Session
    visitors: Visitors


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[State, None]:
    async with trioauth.open_session(client, base_url=os.environ["API_URL"]) as session:
        yield {"session": session, "visitors": Visitors()}


async def log_in(request: Request) -> Response:
    """The first half: send the browser to the server."""
    session, visitors = request.state.session, request.state.visitors
    try:
        begun = await client.begin(session.back_channel)
    except trioauth.RefreshUnavailableError:
        return page("The server can't be reached. Try later.", 503)
    visitor = secrets.token_urlsafe()
    visitors.begun[visitor] = begun.to_text()
    if len(visitors.begun) > MOST_BEGUN:  # the oldest has been given up
        del visitors.begun[next(iter(visitors.begun))]
    return with_cookie(RedirectResponse(begun.url, 303), "begun", visitor)


async def callback(request: Request) -> Response:
    """The second half: the browser is back."""
    session, visitors = request.state.session, request.state.visitors
    text = visitors.begun.pop(request.cookies.get("begun", ""), None)
    if text is None:
        return page("This browser has begun no log-in.", 400)
    begun = trioauth.Begun.from_text(text)
    try:
        await session.log_in(client.finish(begun, str(request.url)))
    except trioauth.LoginDeclinedError:
        return page("You said no.", 403)
    except trioauth.LoginError as exc:
        return page(f"The log-in failed: {exc}", 400)
    except trioauth.RefreshUnavailableError:
        return page("The server can't be reached. Try later.", 503)
    visitors.owner = secrets.token_urlsafe()
    return with_cookie(RedirectResponse("/", 303), "owner", visitors.owner)


async def home(request: Request) -> Response:
    session = request.state.session
    if not is_owner(request):
        return page("No login in this browser.")
    try:
        response = await session.get("/notes")
    except trioauth.LoggedOutError:
        return page("The login has ended.")
    except trioauth.RefreshUnavailableError:
        return page("The server can't be reached. Try later.", 503)
    return page(f"The API says: {response.text}", response.status_code)


async def log_out(request: Request) -> Response:
    if is_owner(request):
        await request.state.session.log_out()
        request.state.visitors.owner = None
    return RedirectResponse("/", 303)


def is_owner(request: Request) -> bool:
    owner: str | None = request.state.visitors.owner
    visitor = request.cookies.get("owner", "")
    return owner is not None and secrets.compare_digest(owner.encode(), visitor.encode())


def with_cookie(response: Response, name: str, value: str) -> Response:
    secure = client.redirect_uri.startswith("https:")
    # Lax: the browser sends it when the server redirects here, and not with another site's POST.
    response.set_cookie(name, value, httponly=True, samesite="lax", secure=secure)
    return response


def page(text: str, status: int = 200) -> Response:
    links = '<a href="/login">Log in</a> <form method="post" action="/logout"><button>Log out'
    # The address of the callback has the code in it: tell it to no page that a link leads to.
    headers = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return HTMLResponse(f"<p>{escape(text)}</p> {links}</button></form>", status, headers)


app = Starlette(
    routes=[
        Route("/", home),
        Route("/login", log_in),
        Route("/callback", callback),
        Route("/logout", log_out, methods=["POST"]),
    ],
    lifespan=lifespan,
)

"""The same with Quart-Trio: hypercorn --worker-class trio quart_web_app:app"""

import hashlib
import os
import secrets
import signal
from collections.abc import AsyncGenerator
from html import escape

from cryptography.fernet import Fernet, InvalidToken
from quart import ResponseReturnValue, redirect, request
from quart_trio import QuartTrio
from werkzeug.wrappers import Response

import trioauth

TEN_MINUTES, MONTH = 600, 30 * 86400

app = QuartTrio(__name__)
client = trioauth.OAuthClient(
    "notes",
    issuer=os.environ["ISSUER"],
    auth=trioauth.ClientSecretBasic(os.environ["CLIENT_SECRET"]),
    scope="notes offline_access",
    redirect_uri=os.environ["APP_URL"] + "/callback",
)
cipher = Fernet(os.environ["COOKIE_KEY"])


@app.while_serving
async def hold_sessions() -> AsyncGenerator[None, None]:
    store = trioauth.SQLiteStore(os.environ["LOGINS"])
    # hypercorn stops its workers by an event, and sends SIGTERM to those that take longer than the
    # first: without this they would die in mid-refresh, and lose a login.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        async with trioauth.open_sessions(
            client, store=store, base_url=os.environ["API_URL"]
        ) as sessions:
            app.extensions["trioauth"] = sessions
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def all_sessions() -> trioauth.Sessions:
    sessions: trioauth.Sessions = app.extensions["trioauth"]
    return sessions


@app.get("/login")
async def log_in() -> ResponseReturnValue:
    begun = await client.begin(all_sessions().back_channel)
    text = cipher.encrypt(begun.to_text().encode()).decode()
    return with_cookie(redirect(begun.url, 303), "begun", text, TEN_MINUTES)


@app.get("/callback")
async def callback() -> ResponseReturnValue:
    try:
        text = cipher.decrypt(request.cookies.get("begun", ""), ttl=TEN_MINUTES)
    except InvalidToken:
        return page("This browser has begun no log-in.", 400)
    begun = trioauth.Begun.from_text(text.decode())
    visitor = secrets.token_urlsafe()
    try:
        await all_sessions().log_in(key_of(visitor), client.finish(begun, request.url))
    except trioauth.LoginDeclinedError:
        return page("You said no.", 403)
    except trioauth.LoginError as exc:
        return page(f"The log-in failed: {exc}", 400)
    if before := request.cookies.get("visitor"):
        await all_sessions().log_out(key_of(before), revoke=False)
    response = with_cookie(redirect("/", 303), "visitor", visitor, MONTH)
    response.delete_cookie("begun")
    return response


@app.get("/")
async def home() -> ResponseReturnValue:
    visitor = request.cookies.get("visitor")
    if visitor is None:
        return page("No login in this browser.")
    try:
        async with all_sessions().use(key_of(visitor)) as session:
            response = await session.get("/notes")
    except trioauth.LoggedOutError:
        return page("The login has ended.")
    return page(f"The API says: {response.text}", response.status_code)


@app.post("/logout")
async def log_out() -> ResponseReturnValue:
    if visitor := request.cookies.get("visitor"):
        await all_sessions().log_out(key_of(visitor))
    response = redirect("/", 303)
    response.delete_cookie("visitor")
    return response


@app.errorhandler(trioauth.RefreshUnavailableError)
@app.errorhandler(trioauth.StoreError)
async def unavailable(_: Exception) -> ResponseReturnValue:
    return page("The server can't be reached. Try later.", 503)


def key_of(visitor: str) -> str:
    return "browser-" + hashlib.sha256(visitor.encode()).hexdigest()


def with_cookie(response: Response, name: str, value: str, max_age: int) -> Response:
    secure = client.redirect_uri.startswith("https:")
    response.set_cookie(name, value, max_age, httponly=True, samesite="Lax", secure=secure)
    return response


def page(text: str, status: int = 200) -> ResponseReturnValue:
    links = '<a href="/login">Log in</a> <form method="post" action="/logout"><button>Log out'
    headers = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return f"<p>{escape(text)}</p> {links}</button></form>", status, headers

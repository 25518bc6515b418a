"""A visit to a person's own server: where, as whom, with which secrets; and may we."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any, final

import attrs
import httpx
import trio

from trioauth._origins import read_origin
from trioauth._tokens import Tokens
from trioauth.grants import RefreshTokenGrant
from trioauth.oauth.channel import check_endpoint_url
from trioauth.stores import FileStore

from .mishaps import REFRESHES
from .remedies import SECRET_VARIABLE, TOKEN_VARIABLE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from trioauth.stores._contract import Record

# Stands for an access token where there is only a refresh token yet. It is expired, so that nobody
# is ever sent it.
_NONE_YET = "none-yet"


def _without_query(url: httpx.URL) -> str:
    # There may be a secret in it.
    return str(url.copy_with(query=None))


@final
@attrs.frozen(kw_only=True)
class Visit:
    """Where to go, and as whom."""

    grant: RefreshTokenGrant
    api: httpx.URL = attrs.field(repr=_without_query)
    store: FileStore
    tokens: Tokens | None
    """What to begin with; None if the store has a login to go on from."""
    rate: float
    """Requests a second, at most."""
    log_out: bool
    """Whether to log out at the end."""

    @property
    def revoke_url(self) -> str | None:
        """Where tokens are revoked; None for nowhere."""
        return self.grant.revocation_endpoint

    @property
    def host(self) -> str:
        """The API's, for a person to read."""
        return self.api.netloc.decode("ascii")

    @property
    def origin(self) -> str:
        """The API's, to which the token may go."""
        return f"{self.api.scheme}://{self.host}"

    @property
    def path(self) -> str:
        """What to GET there, the query included."""
        return self.api.raw_path.decode("ascii")


def prepare(options: argparse.Namespace) -> Visit:
    """Find out about a visit; asks for the secrets that it does not find. Blocks.

    Raises:
      ValueError: Something is missing or makes no sense; says what to do.
      StoreError: The file with the tokens can't be read.
    """
    check_endpoint_url(options.token_url, "--token-url")
    read_origin("--api", options.api)
    if options.revoke_url is not None:
        check_endpoint_url(options.revoke_url, "--revoke-url")
    store = FileStore(options.store or default_store(options.token_url, options.client_id))
    record = trio.run(store.load)
    whose = f"of {options.client_id} at {httpx.URL(options.token_url).host}"
    secret = os.environ.get(SECRET_VARIABLE) or None
    if secret is None and options.client_auth is not None:
        secret = _ask("client secret", SECRET_VARIABLE, whose)
    grant = RefreshTokenGrant(
        options.token_url,
        client_id=options.client_id,
        client_secret=secret,
        client_auth=options.client_auth,
        scope=options.scope,
        revocation_endpoint=options.revoke_url,
    )
    tokens: Tokens | None = None
    if not _goes_on(record):
        refresh_token = os.environ.get(TOKEN_VARIABLE) or _ask(
            "refresh token", TOKEN_VARIABLE, whose
        )
        tokens = Tokens(_NONE_YET, refresh_token.strip(), expires_in=0)
    return Visit(
        grant=grant,
        api=httpx.URL(options.api),
        store=store,
        tokens=tokens,
        rate=options.rate,
        log_out=options.log_out,
    )


def default_store(token_url: str, client_id: str) -> str:
    """Name a file in the current folder; another for each server and client.

    One server's refresh token is none of another's business.
    """
    host = re.sub(r"[^a-z0-9.]+", "-", httpx.URL(token_url).netloc.decode("ascii"))
    digest = hashlib.sha256(f"{token_url}\n{client_id}".encode()).hexdigest()
    return f"trioauth-demo-{host}-{digest[:8]}.json"


def _goes_on(record: Record | None) -> bool:
    """Say whether there is a login to go on from."""
    if record is None or record.tokens is None or record.tokens.refresh_token is None:
        return False
    # One that never brought a token may have been a slip of the hand.
    return record.tokens.access_token != _NONE_YET or not os.environ.get(TOKEN_VARIABLE)


def _ask(what: str, variable: str, whose: str) -> str:
    if not sys.stdin.isatty():
        raise ValueError(
            f"it takes the {what} {whose}: put it into the environment variable {variable}, "
            "because others can read a command line"
        )
    try:
        answer = getpass.getpass(f"The {what} {whose} (it does not show): ")
    except EOFError:
        answer = ""
    if not answer.strip():
        raise ValueError(f"it takes the {what} {whose}, and none was given")
    return answer.strip()


def announce(visit: Visit, options: Any) -> Iterator[str]:
    """Say what it is going to do, line by line."""
    grant, store = visit.grant, visit.store
    total = round(visit.rate * options.seconds)
    kind = "the public client" if grant.client_secret is None else "the client"
    yield "This is going to be done, for real:"
    yield ""
    yield f"  GET   {_without_query(visit.api)}"
    yield (
        f"        by {options.tasks} tasks, for {options.seconds:g} seconds: at most"
        f" {visit.rate:g} a second, {total} in all"
    )
    yield f"  POST  {grant.token_endpoint}"
    yield (
        f"        as {kind} {grant.client_id}: about {REFRESHES} refreshes,"
        " more if tokens live only seconds"
    )
    if visit.revoke_url is not None:
        yield f"  POST  {visit.revoke_url}"
        yield "        at the end: the tokens are revoked"
    yield f"  keep  {store.path}"
    yield f"        {_STORE[visit.tokens is None]}; each new one is there before it is used"
    yield ""
    yield (
        "At the end you are logged out." if visit.log_out else "At the end you are still logged in."
    )
    yield "Ctrl-C ends it at any time, and loses nothing."


_STORE = {
    True: "the tokens: it goes on from those of the last time",
    False: "the tokens, from now on",
}


def may_go_on(*, yes: bool) -> bool:
    """Ask, if there is somebody to ask. Blocks."""
    if yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    try:
        return input("\nGo on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False

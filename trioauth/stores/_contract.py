"""What a token store is: Record, its form as text, and the protocols TokenStore and KeyedStore."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, final, get_args

import attrs
import trio

from trioauth._errors import TokenResponseError
from trioauth._identity import Identity
from trioauth._outcomes import LogoutReason
from trioauth._tokens import Tokens, read_json_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

_FORMAT = "trioauth tokens"
_VERSION = 1
# The largest signed 64-bit integer: every database has a type for it.
_LAST_GENERATION = 2**63 - 1
_LONGEST_KEY = 1024

ENCRYPTED = "encrypted: open it with trioauth.EncryptedStore and its key"
"""The owner of an encrypted record: no session takes its text for an access token."""


def _check_generation(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be a whole number, not {type(value).__name__}")
    if not 1 <= value <= _LAST_GENERATION:
        raise ValueError(f"{attribute.name} must be from 1 to 2**63 - 1")


def _check_tokens(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, Tokens):
        raise TypeError(f"{attribute.name} must be Tokens or None, not {type(value).__name__}")


def _check_text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a str, not {type(value).__name__}")


def _check_time(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number or None, not {type(value).__name__}")
    if not abs(value) <= sys.float_info.max:
        raise ValueError(f"{attribute.name} must be a finite number; pass None if it is unknown")


def _check_ended(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and value not in get_args(LogoutReason):
        raise ValueError(f"{attribute.name} must be a LogoutReason or None")


def _check_count(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{attribute.name} must be a whole number, 0 or more")


@final
@attrs.frozen
class Record:
    """What a store keeps: one generation of tokens, or a tombstone that says "logged out".

    It can't be pickled, because a pickle would show the tokens. `to_text` is the form to keep.
    `from_text` also reads records without an identity, and those from before 0.1.0, which lack the
    fields from ``owner`` on.
    """

    generation: int = attrs.field(validator=_check_generation)
    """The version that `TokenStore.save` compares; each save has a higher one."""

    tokens: Tokens | None = attrs.field(default=None, validator=_check_tokens)
    """The tokens. None (the default) says "logged out" to all sessions that share the store."""

    login: str = attrs.field(default="", kw_only=True, validator=_check_text)
    """A random name of the login. A record with another name is a new login, not a refresh."""

    expires_at_unix: float | None = attrs.field(default=None, kw_only=True, validator=_check_time)
    """When the access token expires, in seconds since 1970 on the wall clock; None if unknown."""

    owner: str = attrs.field(default="", kw_only=True, validator=_check_text)
    """Whose tokens these are: the authorization server and the client, as the grant names them
    (its ``owner``). A session whose grant names another owner neither uses nor changes the record.
    "" if the grant names none, or if the record is older than this field: any grant may use it."""

    ended: LogoutReason | None = attrs.field(default=None, kw_only=True, validator=_check_ended)
    """Why the login ended, so that the next run of the program can say it. None while the login
    lasts, or if the reason is not known."""

    ended_at_unix: float | None = attrs.field(default=None, kw_only=True, validator=_check_time)
    """When the login ended, in seconds since 1970 on the wall clock. None while it lasts, or if the
    time is not known."""

    unanswered: int = attrs.field(default=0, kw_only=True, validator=_check_count)
    """How many flights have sent this refresh token and got no answer, so that the server may have
    spent it (P5). Sessions that share the store count together. The higher the count, the longer
    the pause before the token is sent again."""

    quiet_until_unix: float | None = attrs.field(default=None, kw_only=True, validator=_check_time)
    """When that pause ends, in seconds since 1970 on the wall clock. Before that, no session that
    shares the store sends the refresh token (P5). None if there is no pause."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Record can't be pickled, a pickle would show the tokens; use to_text()")

    def to_text(self) -> str:
        """Write the record as one JSON object. It holds the secrets in the clear."""
        tokens = self.tokens
        return json.dumps(
            {
                "format": _FORMAT,
                "version": _VERSION,
                "generation": self.generation,
                "login": self.login,
                "owner": self.owner,
                "expires_at_unix": self.expires_at_unix,
                "ended": self.ended,
                "ended_at_unix": self.ended_at_unix,
                "unanswered": self.unanswered,
                "quiet_until_unix": self.quiet_until_unix,
                # Not among the tokens: those who do not know it read them all the same.
                "identity": _claims_of(tokens),
                "tokens": None
                if tokens is None
                else {
                    "access_token": tokens.access_token,
                    "refresh_token": tokens.refresh_token,
                    "expires_in": tokens.expires_in,
                    "scope": " ".join(sorted(tokens.scope)),
                    "token_type": tokens.token_type,
                },
            },
            indent=1,
        )

    @classmethod
    def from_text(cls, text: str | bytes) -> Record:
        """Read what `to_text` wrote.

        Args:
          text: The record as text, or as bytes in UTF-8.

        Raises:
          ValueError: The text is not a record, is damaged, or was written by a newer version. The
              message says which, and quotes nothing.
        """
        try:
            data: dict[str, Any] = read_json_object(
                text.encode() if isinstance(text, str) else text
            )
            if data.get("format") != _FORMAT:
                reason = "written by something else"
            elif data.get("version") != _VERSION:
                reason = "written by another version of trioauth, a newer one perhaps: upgrade"
            else:
                tokens = data["tokens"]
                return cls(
                    data["generation"],
                    _tokens_of(tokens, data.get("identity")),
                    login=data["login"],
                    expires_at_unix=data["expires_at_unix"],
                    # Records from before 0.1.0 lack these members.
                    owner=data.get("owner", ""),
                    ended=data.get("ended"),
                    ended_at_unix=data.get("ended_at_unix"),
                    unanswered=data.get("unanswered", 0),
                    quiet_until_unix=data.get("quiet_until_unix"),
                )
        except TokenResponseError as exc:
            reason = f"damaged, or written by something else ({exc})"
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
            reason = "damaged"
        # Raised outside `except`: the caught exception holds the text, and would be its
        # `__context__`.
        raise ValueError(f"not a token record: {reason}")


def _claims_of(tokens: Tokens | None) -> dict[str, object] | None:
    if tokens is None or tokens.identity is None:
        return None
    return dict(tokens.identity.claims)


def _tokens_of(tokens: dict[str, Any] | None, claims: dict[str, object] | None) -> Tokens | None:
    if tokens is None:
        return None
    return Tokens(**tokens, identity=None if claims is None else Identity(claims))


class TokenStore(Protocol):
    """Somewhere to keep tokens, perhaps shared with other processes.

    Any object with these three methods will do; there is nothing to inherit.
    `save` is always called with the lock held. `load` is called without it in two cases: when a
    session opens, and when a session without a login looks for one.

    A fourth method is optional: ``async def probe(self) -> None`` proves that `save` could write
    now, without changing what is stored; if it could not, it raises `StoreError` and says why. A
    session calls it with the lock held, before it spends a refresh token and before it asks a
    person to log in. The reason: when saving the new token fails, a server that rotates has
    forgotten the old one already. A store without this method is not asked. Cancellation: Safe.

    A fifth method is optional: ``async def changed(self) -> str | None`` waits for a hint that
    another session may have saved, and returns "" (or None). A session then looks into the store at
    once, and not only when it needs a token. Hints may be lost, doubled or wrong: the method may
    return for no reason, at once, or never, and a session calls it ten times a second at most. A
    hint that comes while no task waits is kept for the next call; if several tasks wait, each gets
    it. After a lost connection it returns None, because something may have been missed.
    Cancellation: Safe, no hint is lost.

    A sixth method is optional: ``async def delete(self, *, expected: int) -> None`` deletes the
    record if the stored one is still generation ``expected``. If another one is stored, it raises
    `StoreConflictError`; without a record it does nothing. It is called with the lock held, and
    for a login that has ended: see `SQLiteStore.forget`. Cancellation: All or nothing.
    """

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager that keeps out all other users of the store, anywhere.

        Cancellation:
          Safe. A cancelled wait for the lock leaves nothing locked.
        """
        ...

    async def load(self) -> Record | None:
        """Return the record last saved, or None if there never was one.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          StoreError: The store can't be read.
        """
        ...

    async def save(self, record: Record, *, expected: int) -> None:
        """Replace the record if the stored one is still generation ``expected`` (0: there is none).

        Cancellation:
          All or nothing. Afterwards `load` returns the old record or the new one.

        Raises:
          StoreConflictError: Another generation is stored. Nothing was written.
          StoreError: The store can't be written. Nothing was overwritten.
        """
        ...


class KeyedStore(Protocol):
    """Somewhere to keep many logins: one `TokenStore` for each key.

    Any object with this method will do; there is nothing to inherit. A keyed store is not a
    `TokenStore` itself: give `trioauth.open_session` the one of a key, ``store.at("user-17")``.

    What one key has never shows under another, and each key has a lock of its own (two keys may
    share one by chance; then they only wait for each other). No operation may cost more because
    there are more keys.

    The method ``changed`` is optional here, too, as in `TokenStore`: it returns the key whose
    record may have changed, or None if any of them may have. What comes while no task waits is
    kept, up to a bound of the store's choosing; beyond that it is one None.

    A keyed store that holds a connection is an async context manager, and has ``aclose()``.
    """

    def at(self, key: str) -> TokenStore:
        """Return the store of one login. Not a checkpoint.

        This is cheap, and may be done for each use: nothing is read or opened, and what is
        returned holds nothing that must be closed. All that are returned for one key share one
        record and one lock. ``probe`` and ``changed`` are optional in it.

        Args:
          key: Which login, such as the number of a user: 1 to 1,024 characters. Keys are compared
              character by character: case, blanks at the end, and the forms of an accent count.

        Raises:
          ValueError: The key is empty, too long, or has characters that can't be stored (a null
              character, or half of a surrogate pair).
          TypeError: The key is no str.
        """
        ...


def check_key(key: object) -> str:
    """Return a key, or raise an exception that says what is wrong with it, but not what it is.

    For each `KeyedStore.at`: what is a key is the same in all stores.

    Raises:
      ValueError: It is empty or too long, or has a character that can't be stored.
      TypeError: It is no str.
    """
    # A key may be personal, such as an e-mail address, so the messages don't quote it.
    if not isinstance(key, str):
        raise TypeError(f"key must be a str, not {type(key).__name__}")
    if not 1 <= len(key) <= _LONGEST_KEY:
        raise ValueError(
            f"key must have 1 to {_LONGEST_KEY:,} characters, and this one has {len(key):,}"
        )
    if "\0" in key:
        raise ValueError("key must have no null character in it")
    try:
        key.encode()
    except UnicodeEncodeError as exc:
        position = exc.start
    else:
        return key
    # Raised outside `except`: the caught exception holds the key.
    raise ValueError(
        f"key must be text that UTF-8 can encode; character {position} is half of a surrogate pair"
    )


def changed_of(store: object) -> Callable[[], Awaitable[str | None]] | None:
    """Return the method ``changed`` of a store, or None if it has none. Not a checkpoint."""
    changed: Callable[[], Awaitable[str | None]] | None = getattr(store, "changed", None)
    return changed


async def probe_store(store: TokenStore) -> None:
    """Call `probe` of a store, if it has one. The lock must be held.

    Cancellation:
      Safe. Nothing is changed.

    Raises:
      StoreError: The store could not save now; the message says why.
    """
    # Not a method of the protocol: then type checkers would refuse a store that lacks it.
    probe: Callable[[], Awaitable[None]] | None = getattr(store, "probe", None)
    if probe is None:
        await trio.lowlevel.checkpoint()
    else:
        await probe()

"""The keys of a server (RFC 7517): fetching them, choosing one, verifying with it.

Here joserfc is imported (the extra ``jose``).

Which keys fit (OpenID Connect Core 10.1): those of the kind and curve that ``alg`` needs, not meant
for something else by ``use``, ``key_ops`` or an ``alg`` of their own, and with the ``kid`` that the
header names, if it names one. Without a ``kid`` any that fits may be the one. RSA keys have 2048
bits at least. Keys that can't be used are ignored: a server may have some that are of no use here.

When they are fetched: once a session. Once more if the ``kid`` is not among them, because servers
change their keys (10.1.1): at most once a minute for each ``kid``, and ten times a minute in all.
By the ``kid``, not by time alone: of two changes within a minute both must be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, final

import attrs
import trio

from trioauth._errors import IdentityError, MetadataError, RefreshUnavailableError
from trioauth._tokens import decode_object

from .answers import read_retry_after
from .id_token import ALGORITHMS, IDToken, canonical, wrong

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .channel import Answer, BackChannel

try:
    from joserfc.jwk import JWKRegistry
    from joserfc.jws import JWSRegistry
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "validating an ID token needs joserfc: install trioauth[jose]", name=_missing.name
    ) from _missing

# Seconds.
_PAUSE: Final = 60.0
_MOST_PER_PAUSE: Final = 10
# The characters of the modulus of an RSA key with 2048 bits, in base64url.
_SHORTEST_MODULUS: Final = 342

_MEMBERS: Final[tuple[str, ...]] = ("kty", "crv", "x", "y", "n", "e")

Key: TypeAlias = dict[str, Any]


@final
@attrs.define(eq=False)
class _Known:
    """The keys of one server, for one session."""

    keys: tuple[Key, ...]
    missed: dict[str | None, float] = attrs.field(factory=dict["str | None", float])
    """The ``kid`` that they were fetched again for, and when, on trio's clock."""

    def may_ask(self, kid: str | None, now: float) -> bool:
        """Say whether they may be fetched again for this ``kid``."""
        self.missed = {name: at for name, at in self.missed.items() if now < at + _PAUSE}
        return kid not in self.missed and len(self.missed) < _MOST_PER_PAUSE


async def know_keys(url: str, endpoint: BackChannel) -> None:
    """Fetch the keys of a server, if they are not known yet.

    Args:
      url: Where they are (``jwks_uri``).
      endpoint: The session's way to the server.

    Cancellation:
      Safe. Nothing is remembered.

    Raises:
      MetadataError: The keys can't be read.
      RefreshUnavailableError: They are not to be had now; ``safe_to_repeat``.
    """
    if ("jwks", url) in endpoint.cache:
        await trio.lowlevel.checkpoint()
    else:
        endpoint.cache["jwks", url] = _Known(await fetch_keys(url, endpoint))


async def check_signature(token: IDToken, url: str, endpoint: BackChannel) -> IdentityError | None:
    """Say what is wrong with the signature of an ID token; None if it is good.

    Args:
      token: The ID token.
      url: Where the keys are (``jwks_uri``).
      endpoint: The session's way to the server.

    Cancellation:
      Safe. At most the keys are remembered.

    Raises:
      MetadataError: The keys can't be read.
      RefreshUnavailableError: They are not to be had now; ``safe_to_repeat``.
    """
    is_new = ("jwks", url) not in endpoint.cache
    await know_keys(url, endpoint)
    known = cast("_Known", endpoint.cache["jwks", url])
    problem = _verify(token, known.keys)
    # A key that is named and there has the last word. Without a name it may be a new one.
    may_be_new = problem is not None and (problem.claim == "kid" or token.kid is None)
    if is_new or not may_be_new or not known.may_ask(token.kid, trio.current_time()):
        return problem
    known.keys = await fetch_keys(url, endpoint)
    # Only now: had they not come, the next one would ask again.
    known.missed[token.kid] = trio.current_time()
    return _verify(token, known.keys)


def _verify(token: IDToken, keys: Iterable[Key]) -> IdentityError | None:
    candidates = fitting(keys, token)
    if any(_verifies(token, key) for key in candidates):
        return None
    if candidates:
        return wrong("signature", "its signature is not that of the server")
    return wrong("kid", f"the server has no key for it: none that fits {_described(token)}")


def _described(token: IDToken) -> str:
    return token.alg if token.kid is None else f"{token.alg} and the kid in its header"


async def fetch_keys(url: str, endpoint: BackChannel) -> tuple[Key, ...]:
    """Fetch the keys of a server.

    Cancellation:
      Safe. Nothing is remembered.

    Raises:
      MetadataError: They can't be read, or there are none.
      RefreshUnavailableError: They are not to be had now; ``safe_to_repeat``.
    """
    answer = await endpoint.fetch(url)
    if answer.status == 429 or answer.status >= 500:
        raise RefreshUnavailableError(
            f"{url} answered with status {answer.status}, so the ID token can't be validated",
            retry_after=read_retry_after(answer.headers),
            safe_to_repeat=True,
        )
    keys, problem = _read_keys(answer)
    if problem:
        raise MetadataError(
            f"the keys of the server can't be read: {url} answered with {problem}",
            member="jwks_uri",
        )
    return keys


def _read_keys(answer: Answer) -> tuple[tuple[Key, ...], str]:
    """Return the keys in an answer, and what is wrong with it; "" for nothing."""
    if not answer.is_success:
        return (), f"status {answer.status}"
    members, problem = decode_object(answer.body)
    keys = members.get("keys")
    if problem is not None or not isinstance(keys, list):
        return (), str(problem or "JSON without a list of keys")
    found = cast("list[object]", keys)
    return tuple(cast("Key", key) for key in found if isinstance(key, dict)), ""


def fitting(keys: Iterable[Key], token: IDToken) -> list[Key]:
    """Return the keys that an ID token may be signed with."""
    return [key for key in keys if _fits(key, token)]


def _fits(key: Mapping[str, Any], token: IDToken) -> bool:
    kind, curve = ALGORITHMS[token.alg]
    operations, alg = key.get("key_ops"), key.get("alg")
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("use") in (None, "sig")
        and (not isinstance(operations, list) or "verify" in operations)
        and (alg is None or (isinstance(alg, str) and canonical(alg) == token.alg))
        and (token.kid is None or key.get("kid") == token.kid)
        and (kind != "RSA" or len(str(key.get("n", ""))) >= _SHORTEST_MODULUS)
    )


def _verifies(token: IDToken, key: Key) -> bool:
    # Not all of it: joserfc would refuse a member that it does not know the value of.
    bare: Key = {name: key[name] for name in _MEMBERS if name in key}
    try:
        made: Any = JWKRegistry.import_key(bare)
        return bool(JWSRegistry.algorithms[token.alg].verify(token.signed, token.signature, made))
    except Exception:  # noqa: BLE001  # whatever a key is that can't be used
        return False

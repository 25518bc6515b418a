"""Validating ID tokens (OpenID Connect Core 3.1.3.7, 12.2): pure, but for the signature.

`parse` looks at 1 to 3, before a key is looked for; `judge` at the others, when the signature is
known to be good. The first that is wrong is named:

1. Three parts, the first two JSON objects without a member that occurs twice. Encrypted ones have
   five; no client here asks for those.
2. ``crit``: there is none, because we know no extension (RFC 7515 4.1.11).
3. ``alg``: one of `ALGORITHMS`, and one that the server advertises, if it says which.
   Never ``none``, and no ``HS256``: what a client can check it could also forge.
4. ``iss``: the server's, to the letter. (Entra's for all tenants has a place for ``tid``.)
5. ``aud`` has us in it, and no one else unless ``azp`` is us. ``azp``, if there is one, is us.
6. ``exp`` is to come, ``iat`` is past and not older than a day, ``nbf`` is past: clocks may differ
   by a minute.
7. ``nonce``: the one that we sent.
8. ``auth_time`` and ``acr``, if something was asked for about them.
9. On refresh ``iss`` and ``sub`` are those that they were, and ``aud``, ``azp``, ``auth_time`` and
   ``nonce`` fit, too; ``iat`` does not go back.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import TYPE_CHECKING, Final, cast, final

import attrs

from trioauth._errors import IdentityError, printable, seconds_of
from trioauth._identity import Identity
from trioauth._secrets import Unpicklable
from trioauth._tokens import decode_object

if TYPE_CHECKING:
    from collections.abc import Mapping

LEEWAY: Final = 60.0
"""How many seconds two clocks may differ."""

ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""What an ID token may be signed with, and the kind and curve of its keys."""

# The new name of the one algorithm that EdDSA is used for (RFC 9864).
_ALIASES: Final = {"Ed25519": "EdDSA"}
# Seconds: an ID token that we have just been given is not older.
_OLDEST: Final = 86_400.0
_TENANT: Final = "{tenantid}"
_TENANT_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@final
@attrs.frozen(kw_only=True)
class Expected(Unpicklable):
    """What an ID token must say."""

    issuer: str
    client_id: str
    algorithms: tuple[str, ...] = ()
    """Those that the server advertises; empty if it doesn't say."""
    nonce: str | None = attrs.field(default=None, repr=False)
    """The one that was sent; None if none was."""
    max_age: float | None = None
    """How many seconds ago the person may have been there at most; None if that was not asked."""
    acr: tuple[str, ...] = ()
    """How they may have shown who they are; empty if that was not asked."""
    previous: Identity | None = None
    """Who it was before a refresh."""


@final
@attrs.frozen
class IDToken(Unpicklable):
    """An ID token that was read, and whose signature is still to be verified."""

    alg: str
    kid: str | None
    claims: Mapping[str, object] = attrs.field(repr=False)
    signed: bytes = attrs.field(repr=False)
    signature: bytes = attrs.field(repr=False)


def wrong(claim: str | None, problem: str) -> IdentityError:
    """Return the error for an ID token."""
    return IdentityError(f"the ID token was refused: {problem}", claim=claim)


def canonical(alg: str) -> str:
    """Return an algorithm by the name that it has here."""
    return _ALIASES.get(alg, alg)


def parse(text: object, expected: Expected) -> IDToken | IdentityError:
    """Read an ID token, as far as that can be done without a key."""
    parts = text.split(".") if isinstance(text, str) else []
    if len(parts) == 5:
        return wrong(None, "it is encrypted; let the server only sign those for this client")
    decoded = [_decode(part) for part in parts]
    if len(parts) != 3 or None in decoded:
        return wrong(None, "it is no JWT in three parts")
    raw_header, raw_claims, signature = cast("list[bytes]", decoded)
    header, header_problem = decode_object(raw_header)
    claims, claims_problem = decode_object(raw_claims)
    if problem := header_problem or claims_problem:
        return wrong(None, f"a part of it can't be read: {problem}")
    alg, kid = header.get("alg"), header.get("kid")
    if "crit" in header:
        return wrong("crit", "its header has crit, extensions that it needs and we don't know")
    if (bad := _check_alg(alg, expected.algorithms)) is not None:
        return bad
    if kid is not None and not isinstance(kid, str):
        return wrong("kid", "the kid in its header is not a string")
    signed = cast("str", text).rpartition(".")[0].encode("ascii")
    return IDToken(canonical(cast("str", alg)), kid, claims, signed, signature)


def _decode(part: str) -> bytes | None:
    # RFC 7515 2: without padding, and nothing else in it.
    if not re.fullmatch(r"[A-Za-z0-9_-]*", part) or len(part) % 4 == 1:
        return None
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _check_alg(alg: object, advertised: tuple[str, ...]) -> IdentityError | None:
    known = isinstance(alg, str) and canonical(alg) in ALGORITHMS
    said = repr(printable(alg)) if isinstance(alg, str) else "none at all"
    if not known:
        return wrong(
            "alg",
            f"its alg is {said}; let the server sign those of this client with RS256 or ES256",
        )
    if advertised and canonical(cast("str", alg)) not in map(canonical, advertised):
        return wrong(
            "alg",
            f"its alg is {said}, and the server advertises {', '.join(map(printable, advertised))}",
        )
    return None


def judge(token: IDToken, expected: Expected, *, now: float) -> Identity | IdentityError:
    """Judge what an ID token says, whose signature is good.

    Args:
      token: The ID token.
      expected: What it must say.
      now: On the wall clock.
    """
    claims = token.claims
    problem = (
        _check_another(claims, expected.previous)
        or _check_issuer(claims, expected.issuer)
        or _check_audience(claims, expected.client_id)
        or _check_times(claims, now)
        or _check_nonce(claims, expected.nonce)
        or _check_login(claims, expected, now)
        or _check_refreshed(claims, expected.previous)
    )
    if problem is not None:
        return problem
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        return wrong("sub", "it does not say who has logged in: sub is missing")
    before: Mapping[str, object] = {} if expected.previous is None else expected.previous.claims
    # What may be left out after a refresh is still true, and the next one is compared with it.
    kept = {name: before[name] for name in ("nonce", "auth_time") if name in before}
    try:
        return Identity({**kept, **claims})
    except (TypeError, ValueError, RecursionError):
        pass
    # Out here, so that the exception, and the claims in its frames, are not the context.
    return wrong(None, "it has numbers that JSON does not have, or goes too deep")


def _check_another(claims: Mapping[str, object], previous: Identity | None) -> IdentityError | None:
    """See whether it is about another person, or of another server: not if it doesn't say."""
    if previous is None:
        return None
    named = [(claims.get(name), previous.claims[name]) for name in ("iss", "sub")]
    if all(now == before or not isinstance(now, str) or not now for now, before in named):
        return None
    if named[0][0] != previous.iss:
        error = wrong("iss", f"{_said(claims, 'iss')}, and before the refresh {previous.iss!r}")
    else:
        # Not quoted: who it is does not belong into a log.
        error = wrong("sub", "it names another person than before the refresh")
    error._names_another = True
    return error


def _check_issuer(claims: Mapping[str, object], issuer: str) -> IdentityError | None:
    if _TENANT in issuer:
        tenant = claims.get("tid")
        if not isinstance(tenant, str) or not _TENANT_ID.fullmatch(tenant):
            return wrong("tid", "it does not say which tenant it is from")
        issuer = issuer.replace(_TENANT, tenant)
    if claims.get("iss") != issuer:
        return wrong("iss", f"{_said(claims, 'iss')}, not {issuer!r} (compared to the letter)")
    return None


def _check_audience(claims: Mapping[str, object], client_id: str) -> IdentityError | None:
    aud, azp = claims.get("aud"), claims.get("azp")
    audience = _audience(aud)
    if client_id not in audience:
        return wrong("aud", f"{_said(claims, 'aud')}, and this client is {client_id!r}")
    if azp is not None and azp != client_id:
        return wrong("azp", f"{_said(claims, 'azp')}, and this client is {client_id!r}")
    if azp is None and audience != {client_id}:
        return wrong("aud", "it is for others, too, and has no azp that says it is ours")
    return None


def _audience(aud: object) -> set[object]:
    """Return whom an ID token is for; no one if that can't be read."""
    found = cast("list[object]", aud) if isinstance(aud, list) else [aud]
    return set(found) if all(isinstance(each, str) for each in found) else set()


def _check_times(claims: Mapping[str, object], now: float) -> IdentityError | None:
    for name in ("exp", "iat"):
        if _time(claims, name) is None:
            return wrong(name, f"{name} is missing, or no number")
    exp, iat = cast("float", _time(claims, "exp")), cast("float", _time(claims, "iat"))
    if now >= exp + LEEWAY:
        return wrong("exp", f"it expired {now - exp:.0f} seconds ago; is the clock right?")
    if iat > now + LEEWAY:
        return wrong("iat", f"it will be issued in {iat - now:.0f} seconds; is the clock right?")
    if iat < now - _OLDEST:
        return wrong("iat", f"it was issued {now - iat:.0f} seconds ago; is the clock right?")
    if "nbf" in claims:
        nbf = _time(claims, "nbf")
        if nbf is None or nbf > now + LEEWAY:
            return wrong("nbf", "it is not valid yet; is the clock right?")
    return None


def _time(claims: Mapping[str, object], name: str) -> float | None:
    return seconds_of(claims.get(name))


def _check_nonce(claims: Mapping[str, object], nonce: str | None) -> IdentityError | None:
    if nonce is None:
        return None
    said = claims.get("nonce")
    if not isinstance(said, str):
        return wrong("nonce", "nonce is missing, so it may belong to another log-in")
    # "surrogatepass": what can't be encoded is another nonce, not an exception.
    if not hmac.compare_digest(said.encode("utf-8", "surrogatepass"), nonce.encode()):
        return wrong("nonce", "its nonce is that of another log-in")
    return None


def _check_login(
    claims: Mapping[str, object], expected: Expected, now: float
) -> IdentityError | None:
    if expected.max_age is not None:
        since = _time(claims, "auth_time")
        if since is None:
            return wrong("auth_time", "auth_time is missing, though max_age was asked for")
        if now - since > expected.max_age + LEEWAY:
            return wrong(
                "auth_time",
                f"the person was there {now - since:.0f} seconds ago, and max_age was "
                f"{expected.max_age:g}",
            )
    if expected.acr and claims.get("acr") not in expected.acr:
        asked = " or ".join(map(repr, expected.acr))
        return wrong("acr", f"{_said(claims, 'acr')}, and asked for was {asked}")
    return None


def _check_refreshed(
    claims: Mapping[str, object], previous: Identity | None
) -> IdentityError | None:
    """Compare with the ID token before (12.2); iss and sub were compared already."""
    if previous is None:
        return None
    before = previous.claims
    if not _audience(before.get("aud")) <= _audience(claims.get("aud")):
        return wrong("aud", "it is not for all whom it was for before the refresh")
    if claims.get("azp") != before.get("azp"):
        return wrong("azp", "its azp is another than before the refresh")
    since, was_since = claims.get("auth_time"), before.get("auth_time")
    if since is not None and was_since is not None and since != was_since:
        return wrong("auth_time", "its auth_time is another than before the refresh")
    if "nonce" in claims and claims["nonce"] != before.get("nonce"):
        return wrong("nonce", "its nonce is another than that of the log-in")
    iat, was_issued = _time(claims, "iat"), _time(before, "iat")
    if iat is not None and was_issued is not None and iat < was_issued:
        return wrong("iat", "it is older than the one before the refresh")
    return None


def _said(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    texts = cast("list[object]", value) if isinstance(value, list) else [value]
    shown = [repr(printable(each)) for each in texts[:5] if isinstance(each, str)]
    return f"its {name} is {', '.join(shown)}" if shown else f"it has no {name} that can be read"

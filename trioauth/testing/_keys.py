"""Signing and verifying. The one file here that needs joserfc, and imports it when it is used."""

from __future__ import annotations

import base64
import json
import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, final

import attrs

from ._forms import read_json_object

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping


@final
@attrs.define(eq=False)
class Keys:
    """The keys of a server: one of each kind, made when it is needed first."""

    alg: str
    """How it signs, unless a lie says otherwise."""
    _round: int = attrs.field(default=0, init=False)
    _used: set[str] = attrs.field(factory=set[str], init=False)

    def rotate(self) -> None:
        """Take new keys, with new ids; the old ones are gone."""
        self._round += 1

    def lie_with(self, alg: str) -> None:
        """Have the key of this algorithm among the public ones, too."""
        self._used.add(alg)

    def public(self) -> dict[str, object]:
        """Return the public keys (RFC 7517 5)."""
        algs = sorted({self.alg, *self._used} - {"none"})
        return {"keys": [self._public(alg) for alg in algs if not alg.startswith("HS")]}

    def sign(
        self,
        header: Mapping[str, object],
        claims: Mapping[str, object],
        secret: str | None,
        spoil: Callable[[bytes], bytes] | None,
    ) -> str:
        """Return a JWT, signed as the header says; ``HS256`` takes the client's secret."""
        alg = str(header.get("alg", self.alg))
        signed = _unsigned(header, claims)
        if alg == "none":
            return signed + "."
        key = _octets(secret or "") if alg.startswith("HS") else _private(alg, self._round)
        with _quiet():
            from joserfc import jws

            text = jws.serialize_compact(
                {**header, "alg": alg}, json.dumps(claims).encode(), key, algorithms=[alg]
            )
        if spoil is None:
            return text
        start, _, signature = text.rpartition(".")
        return f"{start}.{_encode(spoil(_decode(signature)))}"

    def header(self) -> dict[str, object]:
        """Return the header of an honest JWT."""
        return {"alg": self.alg, "kid": f"{self.alg}-{self._round}", "typ": "JWT"}

    def _public(self, alg: str) -> dict[str, object]:
        jwk: dict[str, object] = dict(_private(alg, self._round).as_dict(private=False))
        return {**jwk, "kid": f"{alg}-{self._round}", "alg": alg, "use": "sig"}


def verified(
    token: str, keys: Mapping[str, Any] | None, secret: str | None
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return header and claims of a JWT that these keys, or this secret, have signed, or None."""
    header, claims = read_unverified(token) or ({}, {})
    alg = str(header.get("alg"))
    if alg in {"None", "none"}:
        return None
    if alg.startswith("HS"):
        candidates = [_octets(secret)] if secret else []
    else:
        candidates = _fitting(keys or {}, header.get("kid"))
    from joserfc import jws
    from joserfc.errors import JoseError

    for key in candidates:
        try:
            with _quiet():
                jws.deserialize_compact(token.encode(), key, algorithms=[alg])
        except (JoseError, ValueError, TypeError):
            continue
        return header, claims
    return None


def read_unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return header and claims of a JWT, signed by any key; None if it is no JWT."""
    try:
        header, claims = (read_json_object(_decode(part)) for part in token.split(".")[:2])
    except ValueError:
        return None
    return None if header is None or claims is None else (header, claims)


def _fitting(keys: Mapping[str, Any], kid: object) -> list[Any]:
    from joserfc.jwk import import_key

    return [
        import_key(each)
        for each in keys.get("keys", [keys])
        if each.get("kid") == kid or (kid is None and len(keys.get("keys", [keys])) == 1)
    ]


@contextmanager
def _quiet() -> Generator[None]:
    """Let joserfc not warn of old names and of short secrets, which others have chosen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Made once a process: an RSA key takes a tenth of a second.
@cache
def _private(alg: str, _round: int) -> Any:
    try:
        from joserfc import jwk
    except ModuleNotFoundError as exc:
        message = 'ID tokens of AuthServer need joserfc: pip install "trioauth[jose]"'
        raise ImportError(message) from exc
    with _quiet():
        if alg == "ES256":
            return jwk.ECKey.generate_key("P-256")
        if alg in {"EdDSA", "Ed25519"}:
            return jwk.OKPKey.generate_key("Ed25519")
        return jwk.RSAKey.generate_key(2048)


def _octets(secret: str) -> Any:
    from joserfc.jwk import OctKey

    with _quiet():
        return OctKey.import_key(secret.encode())


def _unsigned(header: Mapping[str, object], claims: Mapping[str, object]) -> str:
    return ".".join(_encode(json.dumps(part).encode()) for part in (header, claims))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

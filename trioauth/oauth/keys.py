"""Private keys of a client, read and used by joserfc (the extra ``jose``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

try:
    from joserfc.jwk import ECKey, JWKRegistry, OctKey, OKPKey, RSAKey
    from joserfc.jws import JWSRegistry
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "a PrivateKeyJWT with a key needs joserfc: install trioauth[jose], or pass sign=",
        name=_missing.name,
    ) from _missing

# By the curve of the key. EdDSA is the old name of Ed25519 (RFC 9864), and more servers know it.
_BY_CURVE: Final[Mapping[str, str]] = {
    "P-256": "ES256",
    "P-384": "ES384",
    "P-521": "ES512",
    "secp256k1": "ES256K",
    "Ed25519": "EdDSA",
    "Ed448": "EdDSA",
}


def signer(
    key: object, algorithm: str | None, kid: str | None
) -> tuple[str, str | None, Callable[[bytes], Awaitable[bytes]]]:
    """Make a function that signs with a key; return it after the algorithm and the ``kid``.

    Raises:
      ValueError: It is no private key, or it doesn't fit the algorithm. Does not quote it.
    """
    made = _import(key)
    if made is None or isinstance(made, OctKey) or not made.is_private:
        raise ValueError(
            "key must be a private key, as PEM (RSA, EC, Ed25519), as a JWK or as a key of "
            "joserfc; it can't be read as one (for a client secret there is ClientSecretJWT)"
        )
    known = made.as_dict(private=False)
    chosen = algorithm or known.get("alg") or _BY_CURVE.get(str(known.get("crv")), "RS256")
    chosen = str(chosen)
    method = JWSRegistry.algorithms.get(chosen)
    # An attempt, because whether a curve fits is seen only when it is used.
    if method is None or not _fits(method, made):
        raise ValueError(f"key can't sign with the algorithm {chosen!r}; pass another algorithm=")

    async def sign(data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return method.sign(data, made)

    name = kid if kid is not None else cast("str | None", known.get("kid"))
    return chosen, name, sign


def _import(key: object) -> RSAKey | ECKey | OKPKey | OctKey | None:
    if isinstance(key, RSAKey | ECKey | OKPKey | OctKey):
        return key
    kinds: tuple[str | None, ...] = (
        ("RSA", "EC", "OKP") if isinstance(key, str | bytes) else (None,)
    )
    for kind in kinds:
        try:
            return JWKRegistry.import_key(cast("Any", key), kind)
        except Exception:  # noqa: BLE001, S112  # whatever it is, it may quote the key
            continue
    return None


def _fits(method: Any, key: object) -> bool:
    try:
        method.check_key(key)
        method.sign(b"", key)
    except Exception:  # noqa: BLE001  # whatever it is, it may quote the key
        return False
    return True

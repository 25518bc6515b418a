"""How what a program passes to `OAuthClient` is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from .fields import check_not_owned, check_strings, check_text
from .metadata import check_issuer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import attrs

    from .authentication import ClientAuthentication
    from .metadata import AuthorizationServer


class ResourceOptions(TypedDict, total=False):
    """Those of `trioauth.OAuthClient` that are left to a program that names an API alone."""

    issuer: str | None
    server: AuthorizationServer | None
    auth: ClientAuthentication | None
    scope: str
    parameters: Mapping[str, str]
    redirect_uri: str
    ports: Iterable[int]
    bare_status_refuses: bool
    refusals: Mapping[str, Iterable[str | int]]


def check_issuer_or_none(_: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    """Let the name of a server pass, or None."""
    if value is not None:
        check_issuer(value, attribute.name)


def check_parameters(_: object, attribute: attrs.Attribute[Any], value: Mapping[str, str]) -> None:
    """Let parameters pass that the protocol leaves to the program."""
    check_strings(_, attribute, value)
    check_not_owned(attribute.name, value)


def check_auth(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Let a function pass, or None; a class is a value that was not made."""
    if isinstance(value, type) or (value is not None and not callable(value)):
        kind = value.__name__ if isinstance(value, type) else f"a {type(value).__name__}"
        raise TypeError(
            f"{attribute.name} must be None (a public client), ClientSecretBasic(...), "
            f"PrivateKeyJWT(...) or an async function, not {kind}"
        )


def to_resources(value: str | Iterable[str]) -> tuple[str, ...]:
    """Take one for several."""
    return (value,) if isinstance(value, str) else tuple(value)


def check_resources(_: object, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    """Let absolute URIs pass (RFC 8707 2)."""
    for each in value:
        check_text(_, attribute, each)
        if ":" not in each or "#" in each:
            raise ValueError(
                f"{attribute.name} must be absolute URIs without a fragment (RFC 8707 2)"
            )


def to_ports(value: Iterable[int]) -> tuple[int, ...]:
    """Copy the ports."""
    return tuple(value)


def check_ports(_: object, attribute: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
    """Let numbers of ports pass."""
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int) or not 0 < each < 65536:
            raise ValueError(f"{attribute.name} must be numbers from 1 to 65535")

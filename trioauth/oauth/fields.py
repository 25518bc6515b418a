"""How fields of grants and of clients are checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from .channel import check_endpoint_url

if TYPE_CHECKING:
    import attrs

# What the grants of 0.1.0 send themselves. Their ``extra`` may have all else, ``resource`` too.
_OF_GRANTS: Final = frozenset(
    {
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "client_secret",
        "grant_type",
        "refresh_token",
        "scope",
    }
)
# All that a client and its log-ins send: ``parameters`` must not have any of them.
_OWNED: Final = _OF_GRANTS | {
    "actor_token", "actor_token_type", "assertion", "code", "code_challenge",
    "code_challenge_method", "code_verifier", "device_code", "dpop_jkt", "nonce", "redirect_uri",
    "request", "request_uri", "requested_token_type", "resource", "response_mode", "response_type",
    "state", "subject_token", "subject_token_type", "token", "user_code",
}  # fmt: skip
_INSTEAD: Final = {
    "client_secret": "pass auth=ClientSecretBasic(...) or another way to prove it",
    "client_assertion": "pass auth=PrivateKeyJWT(...)",
    "scope": "pass scope=",
    "resource": "pass resource=",
    "redirect_uri": "pass redirect_uri=",
    "response_mode": "only the query is understood",
}


def check_text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Let a string pass that is not empty, and printable."""
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{attribute.name} must not be empty")
    if not value.isprintable():
        raise ValueError(
            f"{attribute.name} must be printable characters only (a line break at its end?)"
        )


def check_scope(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Let a scope pass in the form on the wire (RFC 6749 3.3)."""
    if not isinstance(value, str):
        raise TypeError(
            f"{attribute.name} must be a str with spaces in between, such as "
            f'"read write", not a {type(value).__name__}'
        )


def check_endpoint(_: object, attribute: attrs.Attribute[Any], value: str) -> None:
    """Let a URL pass that secrets may be sent to."""
    check_endpoint_url(value, attribute.name)


def copied(value: Mapping[str, str]) -> Mapping[str, str]:
    """Copy a mapping, so that it can't change afterwards; its check refuses anything else."""
    # Programs that are not type checked pass anything.
    is_mapping = isinstance(value, Mapping)  # pyright: ignore[reportUnnecessaryIsInstance]
    return dict(value) if is_mapping else value


def check_strings(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Let a mapping from strings to strings pass."""
    items = cast("dict[object, object]", value).items() if isinstance(value, dict) else [(0, 0)]
    if not all(isinstance(key, str) and isinstance(text, str) for key, text in items):
        raise TypeError(f"{attribute.name} must map strings to strings")


def check_not_owned(argument: str, parameters: Mapping[str, str]) -> None:
    """Refuse parameters that a client or its log-ins send themselves.

    Raises:
      ValueError: There is one; names the argument, the parameter, and what to pass instead.
    """
    for name in sorted(_OWNED & parameters.keys()):
        instead = _INSTEAD.get(name, "that is for the protocol to say")
        raise ValueError(f"{argument} must not have {name!r}: {instead}")


def to_refusals(value: Mapping[str, Iterable[str | int]]) -> Mapping[str, frozenset[str]]:
    """Copy what refuses, with numbers as their digits.

    Raises:
      TypeError: It is none such; names the parameter.
    """
    problem = "refusals must map names to lists of codes, such as {'errcode': [40030]}"
    # Programs that are not type checked pass anything.
    if not isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(problem)
    made: dict[str, frozenset[str]] = {}
    for name, codes in cast("Mapping[object, object]", value).items():
        # A string has parts that are strings, too.
        if not isinstance(name, str) or not isinstance(codes, Iterable) or isinstance(codes, str):
            raise TypeError(problem)
        found = list(cast("Iterable[object]", codes))
        if not all(map(_is_code, found)):
            raise TypeError(problem)
        made[name] = frozenset(map(str, found))
    return made


def _is_code(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def owner_of(url: str, client_id: str = "") -> str:
    """Name whose tokens a grant renews; without the query of the URL, which may hold a secret."""
    return f"{url.partition('?')[0]} {client_id}".rstrip()


def check_extra(_: object, attribute: attrs.Attribute[Any], value: Mapping[str, str]) -> None:
    """Let parameters pass that the protocol leaves to the program (RFC 6749 3.2: none twice)."""
    check_strings(_, attribute, value)
    for name in sorted(_OF_GRANTS & value.keys()):
        raise ValueError(f"{attribute.name} must not have {name!r}: the grant sends that itself")

"""AuthorizationServer: what is known of a server, and how it says so itself (pure).

The theory (RFC 8414, OpenID Connect Discovery 1.0), as far as it decides something here:

1. A server is named by its issuer, a URL. Its metadata lies at an address made of that. There are
   two ways to make it, and servers know the one or the other (`well_known_urls`).
2. Metadata count only if their ``issuer`` is the one that was asked for, compared as strings
   (RFC 8414 3.3): otherwise a server could speak for another.
3. Some cannot hold to 2, and are named here: Entra's addresses name a tenant by a word, and its
   metadata by its number, or by ``{tenantid}`` where one address stands for all tenants.
4. The address of the metadata may be given instead of the issuer. Then 2 is read backwards: the
   ``issuer`` in it must be one whose metadata lie there.
5. Endpoints may be on other hosts (Google's are). They must be https; plain http is for a server
   that is itself on loopback.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast, final
from urllib.parse import urlsplit

import attrs

from trioauth._errors import MetadataError, printable
from trioauth._tokens import decode_object

from .channel import check_endpoint_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WELL_KNOWN: Final = "/.well-known/"
_RFC_8414: Final = "/.well-known/oauth-authorization-server"
_OPENID: Final = "/.well-known/openid-configuration"

# Microsoft's Entra, for everybody and in its national clouds. Tenants are named by a number, a
# domain, or a word for many of them.
_ENTRA: Final = re.compile(
    r"(https://(?:login\.microsoftonline\.(?:com|us)|login\.partner\.microsoftonline\.cn)/)"
    r"([A-Za-z0-9.-]+)(/v2\.0)"
)
_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ANY_TENANT: Final = "{tenantid}"
_MANY_TENANTS: Final = frozenset({"common", "organizations"})


def check_issuer(issuer: str, name: str) -> None:
    """Let a URL pass that names a server (RFC 8414 2).

    Args:
      issuer: Must be absolute, https or loopback, without query and fragment. Or the address of
          its metadata.
      name: The parameter it was passed in.

    Raises:
      ValueError: It is not such a URL; names the parameter.
      TypeError: It is not a string; names the parameter.
    """
    check_endpoint_url(issuer, name)
    if "?" in issuer:
        raise ValueError(f"{name} must not have a query (RFC 8414 2); take it out of the URL")


def _check_issuer(_: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None:
        check_issuer(value, attribute.name)


def _check_endpoint(_: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None:
        check_endpoint_url(value, attribute.name)


def _check_aliases(_: object, attribute: attrs.Attribute[Any], value: Mapping[str, str]) -> None:
    for name, url in value.items():
        check_endpoint_url(url, f"{attribute.name}[{name!r}]")


def _to_strings(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError("several strings are wanted, such as ('S256',), and not one")
    return tuple(value)


def _to_dict(value: Mapping[str, str]) -> Mapping[str, str]:
    return dict(value)


def _endpoint() -> Any:
    return attrs.field(default=None, validator=_check_endpoint)


def _strings() -> Any:
    return attrs.field(default=(), converter=_to_strings)


@final
@attrs.frozen(kw_only=True, repr=False)
class AuthorizationServer:
    """What is known of an authorization server, by the names of RFC 8414 2.

    `trioauth.OAuthClient` finds it out from the issuer. What is given by hand goes before that, and
    is all there is to know of a server that has no metadata::

        AuthorizationServer(
            authorization_endpoint="https://github.com/login/oauth/authorize",
            token_endpoint="https://github.com/login/oauth/access_token",
        )

    It needs an ``issuer`` or a ``token_endpoint``. All URLs are https, or loopback.

    Raises:
      ValueError: There is neither, or secrets may not be sent to such a URL; names the parameter.
      TypeError: Something is not of its type.
    """

    issuer: str | None = attrs.field(default=None, validator=_check_issuer)
    """What the server calls itself, to the letter."""
    token_endpoint: str | None = _endpoint()
    authorization_endpoint: str | None = _endpoint()
    device_authorization_endpoint: str | None = _endpoint()
    pushed_authorization_request_endpoint: str | None = _endpoint()
    revocation_endpoint: str | None = _endpoint()
    userinfo_endpoint: str | None = _endpoint()
    jwks_uri: str | None = _endpoint()
    registration_endpoint: str | None = _endpoint()
    end_session_endpoint: str | None = _endpoint()
    scopes_supported: tuple[str, ...] = _strings()
    """Empty, as those below, if the server does not say."""
    code_challenge_methods_supported: tuple[str, ...] = _strings()
    token_endpoint_auth_methods_supported: tuple[str, ...] = _strings()
    id_token_signing_alg_values_supported: tuple[str, ...] = _strings()
    require_pushed_authorization_requests: bool = False
    authorization_response_iss_parameter_supported: bool = False
    client_id_metadata_document_supported: bool = False
    mtls_endpoint_aliases: Mapping[str, str] = attrs.field(
        factory=dict[str, str], converter=_to_dict, validator=_check_aliases, hash=False
    )
    """Endpoints for clients with a certificate, by the names of the usual ones (RFC 8705 5)."""

    def __attrs_post_init__(self) -> None:
        if self.issuer is None and self.token_endpoint is None:
            raise ValueError("a server needs an issuer or a token_endpoint; pass one of the two")

    def __repr__(self) -> str:
        # Of twenty members most servers have some, and a reader needs no more.
        said = {name: value for name, value in attrs.asdict(self, recurse=False).items() if value}
        return f"AuthorizationServer({', '.join(f'{k}={v!r}' for k, v in said.items())})"

    @property
    def audience(self) -> str:
        """Whom a client's assertion is for: the issuer, or else the token endpoint (RFC 7523 3)."""
        issuer = self.issuer
        if issuer is None or _ANY_TENANT in issuer:
            return self.endpoint("token_endpoint")
        return issuer

    def endpoint(self, name: str) -> str:
        """Return an endpoint that a request needs.

        Args:
          name: Of the field, such as ``"token_endpoint"``.

        Raises:
          MetadataError: There is none; names it.
        """
        url: str | None = getattr(self, name)
        if url is None:
            raise MetadataError(
                f"nothing says where the {name} of {self.issuer or self.token_endpoint} is: its "
                f"metadata name none; if it has one, pass server=AuthorizationServer({name}=...)",
                member=name,
            )
        return url

    def or_else(self, other: AuthorizationServer) -> AuthorizationServer:
        """Fill in from another what this one does not say."""
        mine = attrs.asdict(self, recurse=False)
        return attrs.evolve(other, **{name: value for name, value in mine.items() if value})


# How each member is read, by what kind of field it is.
_FIELDS: Final = attrs.fields(AuthorizationServer)
_ENDPOINTS: Final = tuple(each.name for each in _FIELDS if each.validator is _check_endpoint)
_STRINGS: Final = tuple(each.name for each in _FIELDS if each.default == ())
_FLAGS: Final = tuple(each.name for each in _FIELDS if each.default is False)


def well_known_urls(issuer: str) -> tuple[str, ...]:
    """Return where the metadata of a server may lie, in the order in which to look.

    Args:
      issuer: With or without a slash at its end (RFC 8414 3.1: it doesn't count). If it is the
          address of metadata, that alone.
    """
    if _WELL_KNOWN in issuer:
        return (issuer,)
    origin, path = _split(issuer)
    if path == "":
        return (origin + _RFC_8414, origin + _OPENID)
    urls = (origin + _RFC_8414 + path, origin + _OPENID + path, origin + path + _OPENID)
    # Some servers make the address of an issuer with a slash as it stands.
    return (*urls, origin + _RFC_8414 + path + "/") if issuer.endswith("/") else urls


def _split(issuer: str) -> tuple[str, str]:
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")


def read_metadata(body: bytes, issuer: str) -> AuthorizationServer:
    """Read the metadata of a server (RFC 8414 2 and 3.2).

    Strictly where something is at stake: the issuer and the endpoints. Kindly elsewhere: what else
    is odd counts as not said. Unknown members are ignored.

    Args:
      body: The document.
      issuer: Who was asked; or the address that it came from.

    Raises:
      MetadataError: It can't be used; names the member that is wrong.
    """
    members, problem = decode_object(body)
    if problem is not None:
        raise MetadataError(f"the metadata of {issuer} can't be used: {problem}")
    named = members.get("issuer")
    if not isinstance(named, str) or not _is_issuer(named, asked=issuer):
        said = repr(printable(named)) if isinstance(named, str) else "no issuer"
        raise MetadataError(
            f"the metadata of {issuer!r} name {said} as the issuer: they must be the same, to the "
            "letter (RFC 8414 3.3); if this is the server that you mean, pass that as issuer=",
            member="issuer",
        )
    found: dict[str, Any] = {name: _read_endpoint(members, name, issuer) for name in _ENDPOINTS}
    found |= {name: _read_strings(members.get(name)) for name in _STRINGS}
    found |= {name: members.get(name) is True for name in _FLAGS}
    aliases = _read_aliases(members.get("mtls_endpoint_aliases"), issuer)
    return AuthorizationServer(issuer=named, mtls_endpoint_aliases=aliases, **found)


def _is_issuer(named: str, *, asked: str) -> bool:
    """Say whether the issuer that metadata name is the one that was asked."""
    if _WELL_KNOWN in asked:
        # Backwards: the metadata of this one must lie where these were found.
        if not _is_url(named):
            return False
        base = asked.removesuffix(_OPENID)
        return asked in well_known_urls(named) or (base != asked and _is_tenant(named, base))
    return named == asked or _is_tenant(named, asked)


def _is_url(issuer: str) -> bool:
    try:
        check_issuer(issuer, "issuer")
    except ValueError:
        return False
    return True


def _is_tenant(named: str, asked: str) -> bool:
    """Say whether Entra may name itself so, asked by the name of a tenant and not by its number."""
    match = _ENTRA.fullmatch(asked)
    if match is None or _GUID.fullmatch(match[2]):
        return False
    start, tenant, end = match.groups()
    if tenant in _MANY_TENANTS:
        return named == start + _ANY_TENANT + end
    number = named.removeprefix(start).removesuffix(end)
    return named == start + number + end and _GUID.fullmatch(number) is not None


def _read_endpoint(members: Mapping[str, object], name: str, issuer: str) -> str | None:
    url = members.get(name)
    if url is None:
        return None
    problem = _problem(url, name, issuer)
    if problem:
        raise MetadataError(
            f"the metadata of {issuer} can't be used: {problem}; if you know a better one, pass "
            "all the endpoints as server=AuthorizationServer(...)",
            member=name,
        )
    return cast("str", url)


def _problem(url: object, name: str, issuer: str) -> str:
    """Say what is wrong with an endpoint; "" for nothing."""
    if not isinstance(url, str):
        return f"{name} is no URL but a {type(url).__name__}"
    try:
        check_endpoint_url(url, name)
    except ValueError as exc:
        return str(exc)
    if urlsplit(url).scheme == "http" and urlsplit(issuer).scheme != "http":
        return f"{name} must be https, because the issuer is"
    return ""


def _read_strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(each for each in cast("list[object]", value) if isinstance(each, str))


def _read_aliases(value: object, issuer: str) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    aliases = cast("dict[str, object]", value)
    found = {name: _read_endpoint(aliases, name, issuer) for name in _ENDPOINTS}
    return {name: url for name, url in found.items() if url is not None}

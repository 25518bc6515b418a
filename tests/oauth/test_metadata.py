"""AuthorizationServer, and reading what a server says of itself (RFC 8414)."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from trioauth import AuthorizationServer, MetadataError
from trioauth.oauth.metadata import check_issuer, read_metadata, well_known_urls

from .world import ISSUER, TOKEN_URL, metadata

ENTRA = "https://login.microsoftonline.com"
TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"


def read(asked: str = ISSUER, /, **members: Any) -> AuthorizationServer:
    return read_metadata(json.dumps(metadata(**members)).encode(), asked)


# --- where the metadata lie -------------------------------------------------------------------

AS, OIDC = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        (ISSUER, [ISSUER + AS, ISSUER + OIDC]),
        # Auth0's: the slash is the issuer's, and not the address's.
        (f"{ISSUER}/", [ISSUER + AS, ISSUER + OIDC]),
        (f"{ISSUER}:8443", [f"{ISSUER}:8443{AS}", f"{ISSUER}:8443{OIDC}"]),
        (
            f"{ISSUER}/realms/a",
            [
                f"{ISSUER}{AS}/realms/a",
                f"{ISSUER}{OIDC}/realms/a",
                f"{ISSUER}/realms/a{OIDC}",
            ],
        ),
        (
            f"{ISSUER}/one/",
            [
                f"{ISSUER}{AS}/one",
                f"{ISSUER}{OIDC}/one",
                f"{ISSUER}/one{OIDC}",
                f"{ISSUER}{AS}/one/",
            ],
        ),
        ("http://127.0.0.1:8080", [f"http://127.0.0.1:8080{AS}", f"http://127.0.0.1:8080{OIDC}"]),
        (f"{ISSUER}/one{OIDC}", [f"{ISSUER}/one{OIDC}"]),
    ],
)
def test_metadata_lie_at_the_addresses_made_of_the_issuer_in_this_order(
    issuer: str, urls: list[str]
) -> None:
    assert list(well_known_urls(issuer)) == urls


@pytest.mark.parametrize(
    "issuer",
    [
        "http://id.example.com",
        "id.example.com",
        "",
        "ftp://id.example.com",
        "https://user:pw@id.example.com",
        "https://id.example.com?tenant=1",
        "https://id.example.com#x",
        " https://id.example.com",
        "https://id.example.com\n",
    ],
)
def test_an_issuer_is_a_url_that_may_be_asked(issuer: str) -> None:
    with pytest.raises(ValueError, match="^issuer"):
        check_issuer(issuer, "issuer")
    with pytest.raises(ValueError, match="^issuer"):
        AuthorizationServer(issuer=issuer)


# --- reading --------------------------------------------------------------------------------------


def test_all_the_members_that_are_known_are_read_and_no_others() -> None:
    server = read(
        authorization_endpoint=f"{ISSUER}/authorize",
        # On another host, as Google's are.
        device_authorization_endpoint="https://device.example.net/code",
        jwks_uri=f"{ISSUER}/jwks",
        revocation_endpoint=None,
        scopes_supported=["openid", "notes"],
        code_challenge_methods_supported=["S256", 7],
        require_pushed_authorization_requests=True,
        authorization_response_iss_parameter_supported=True,
        mtls_endpoint_aliases={"token_endpoint": "https://mtls.example.com/token", "odd": 1},
        signed_metadata="x.y.z",
    )
    assert server == AuthorizationServer(
        issuer=ISSUER,
        token_endpoint=TOKEN_URL,
        authorization_endpoint=f"{ISSUER}/authorize",
        device_authorization_endpoint="https://device.example.net/code",
        jwks_uri=f"{ISSUER}/jwks",
        scopes_supported=("openid", "notes"),
        code_challenge_methods_supported=("S256",),
        require_pushed_authorization_requests=True,
        authorization_response_iss_parameter_supported=True,
        mtls_endpoint_aliases={"token_endpoint": "https://mtls.example.com/token"},
    )


def test_what_is_odd_where_nothing_is_at_stake_counts_as_not_said() -> None:
    odd: dict[str, Any] = {
        "scopes_supported": "openid",
        "code_challenge_methods_supported": {"S256": True},
        "require_pushed_authorization_requests": "true",
        "mtls_endpoint_aliases": ["x"],
    }
    assert read(**odd) == read()


@pytest.mark.parametrize(
    "named", ["https://evil.example", f"{ISSUER}/", ISSUER.upper(), "", None, 7]
)
def test_metadata_that_name_another_issuer_are_refused_and_both_are_quoted_raw(
    named: object,
) -> None:
    with pytest.raises(MetadataError) as caught:
        read(issuer=named)
    assert caught.value.member == "issuer"
    assert f"'{ISSUER}'" in str(caught.value)
    assert (repr(named) if isinstance(named, str) else "no issuer") in str(caught.value)


def test_a_slash_at_the_end_of_the_issuer_is_compared_as_well() -> None:
    slash = f"{ISSUER}/"
    body = json.dumps(metadata(slash)).encode()
    assert read_metadata(body, slash).issuer == slash
    with pytest.raises(MetadataError):
        read_metadata(body, ISSUER)


@pytest.mark.parametrize(
    ("name", "url", "says"),
    [
        ("token_endpoint", "http://id.example.com/token", "must be https"),
        # Not even to this machine, for a server that is elsewhere.
        ("token_endpoint", "http://127.0.0.1/token", "because the issuer is"),
        ("authorization_endpoint", "javascript:alert(1)", "must be absolute"),
        ("jwks_uri", "/jwks", "must be absolute"),
        ("revocation_endpoint", 7, "is no URL but a int"),
        ("registration_endpoint", "https://u:p@id.example.com/", "user name or password"),
        ("userinfo_endpoint", f"{ISSUER}/me#x", "fragment"),
    ],
)
def test_an_endpoint_that_secrets_may_not_go_to_is_refused_by_its_name(
    name: str, url: object, says: str
) -> None:
    with pytest.raises(MetadataError, match=name) as caught:
        read(**{name: url})
    assert says in str(caught.value)
    assert caught.value.member == name
    with pytest.raises(MetadataError, match=name):
        read(mtls_endpoint_aliases={name: url})


def test_a_server_on_loopback_may_name_endpoints_on_loopback() -> None:
    issuer = "http://127.0.0.1:8080"
    assert read(issuer, issuer=issuer, token_endpoint=f"{issuer}/t").token_endpoint == f"{issuer}/t"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "not JSON"),
        (b"[]", "not a JSON object but a list"),
        (b"null", "not a JSON object"),
        (b'{"issuer": "https://id.example.com", "issuer": "https://evil.example"}', "twice"),
    ],
)
def test_what_is_no_json_object_is_no_metadata(body: bytes, says: str) -> None:
    with pytest.raises(MetadataError, match=says):
        read_metadata(body, ISSUER)


# --- the named exceptions -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (f"{ENTRA}/common/v2.0", f"{ENTRA}/{{tenantid}}/v2.0"),
        (f"{ENTRA}/organizations/v2.0", f"{ENTRA}/{{tenantid}}/v2.0"),
        (f"{ENTRA}/consumers/v2.0", f"{ENTRA}/{TENANT}/v2.0"),
        (f"{ENTRA}/contoso.com/v2.0", f"{ENTRA}/{TENANT}/v2.0"),
        (f"{ENTRA}/common/v2.0{OIDC}", f"{ENTRA}/{{tenantid}}/v2.0"),
        (f"{ISSUER}{OIDC}", ISSUER),
        (f"{ISSUER}{OIDC}", f"{ISSUER}/"),
        (f"{ISSUER}/one{OIDC}", f"{ISSUER}/one"),
        (f"{ISSUER}{AS}/one", f"{ISSUER}/one"),
    ],
)
def test_entra_may_name_a_tenant_and_an_address_of_metadata_belongs_to_its_issuer(
    asked: str, named: str
) -> None:
    assert read(asked, issuer=named).issuer == named


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (f"{ENTRA}/{TENANT}/v2.0", f"{ENTRA}/{{tenantid}}/v2.0"),
        (f"{ENTRA}/{TENANT}/v2.0", f"{ENTRA}/{TENANT[::-1].replace('-', '')}/v2.0"),
        (f"{ENTRA}/{TENANT}/v2.0", f"{ENTRA}/{TENANT.replace('9', '8')}/v2.0"),
        (f"{ENTRA}/common/v2.0", f"{ENTRA}/{TENANT}/v2.0"),
        (f"{ENTRA}/contoso.com/v2.0", f"{ENTRA}/{{tenantid}}/v2.0"),
        (f"{ENTRA}/contoso.com/v2.0", f"https://evil.example/{TENANT}/v2.0"),
        (f"{ENTRA}/contoso.com/v2.0", f"{ENTRA}/{TENANT}/{TENANT}/v2.0"),
        ("https://evil.example/common/v2.0", "https://evil.example/{tenantid}/v2.0"),
        (f"{ISSUER}{OIDC}", f"{ISSUER}/one"),
        (f"{ISSUER}{OIDC}", "https://evil.example"),
        (f"{ISSUER}{OIDC}", "no url"),
        (f"{ISSUER}/one{OIDC}", ISSUER),
    ],
)
def test_no_other_server_may_speak_for_the_one_that_was_asked(asked: str, named: str) -> None:
    with pytest.raises(MetadataError) as caught:
        read(asked, issuer=named)
    assert caught.value.member == "issuer"


# --- by hand --------------------------------------------------------------------------------------


def test_a_server_needs_an_issuer_or_a_token_endpoint() -> None:
    with pytest.raises(ValueError, match="issuer or a token_endpoint"):
        AuthorizationServer(authorization_endpoint=f"{ISSUER}/authorize")


@pytest.mark.parametrize("field", ["token_endpoint", "jwks_uri", "revocation_endpoint"])
def test_an_endpoint_by_hand_must_be_one_that_secrets_may_go_to(field: str) -> None:
    arguments: dict[str, Any] = {"issuer": ISSUER, field: "http://id.example.com/x"}
    with pytest.raises(ValueError, match=f"^{field}"):
        AuthorizationServer(**arguments)
    with pytest.raises(ValueError, match=f"^mtls_endpoint_aliases\\['{field}'\\]"):
        AuthorizationServer(issuer=ISSUER, mtls_endpoint_aliases={field: "http://id.example.com"})


def test_one_string_where_several_are_wanted_is_refused() -> None:
    with pytest.raises(TypeError, match="several strings"):
        AuthorizationServer(issuer=ISSUER, scopes_supported="openid")  # type: ignore[arg-type]


def test_an_endpoint_that_is_missing_is_named_with_what_to_do() -> None:
    with pytest.raises(MetadataError, match=r"server=AuthorizationServer\(jwks_uri=") as caught:
        read().endpoint("jwks_uri")
    assert caught.value.member == "jwks_uri"
    assert read().endpoint("token_endpoint") == TOKEN_URL


def test_an_assertion_is_for_the_issuer_or_else_for_the_token_endpoint() -> None:
    assert read().audience == ISSUER
    assert AuthorizationServer(token_endpoint=TOKEN_URL).audience == TOKEN_URL
    # Entra's for all tenants is the name of no server.
    asked = f"{ENTRA}/common/v2.0"
    assert read(asked, issuer=f"{ENTRA}/{{tenantid}}/v2.0").audience == TOKEN_URL


def test_what_is_said_by_hand_goes_before_what_was_found() -> None:
    by_hand = AuthorizationServer(issuer=ISSUER, jwks_uri="https://keys.example.com/")
    found = read(jwks_uri=f"{ISSUER}/jwks", scopes_supported=["notes"])
    both = by_hand.or_else(found)
    assert (both.jwks_uri, both.token_endpoint) == ("https://keys.example.com/", TOKEN_URL)
    assert both.scopes_supported == ("notes",)


def test_a_server_shows_what_is_known_of_it_and_is_a_value() -> None:
    server = read(mtls_endpoint_aliases={"token_endpoint": "https://mtls.example.com/"})
    assert repr(read()) == f"AuthorizationServer(issuer='{ISSUER}', token_endpoint='{TOKEN_URL}')"
    assert hash(server) == hash(copy.deepcopy(server))
    assert server != read()

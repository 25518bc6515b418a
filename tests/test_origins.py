"""Where a token may go (P15)."""

from ipaddress import IPv6Address
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trioauth._errors import OriginError
from trioauth._origins import Origins, is_loopback

API = Origins.of("https://api.example.com/v1/", [])


@pytest.fixture(params=[httpx.URL, httpx2.URL], ids=["httpx", "httpx2"])
def url_class(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[httpx.AsyncClient, httpx2.AsyncClient], ids=["httpx", "httpx2"])
def client_class(request: pytest.FixtureRequest) -> Any:
    return request.param


# --- Where it may go ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "https://api.example.com/other/path?q=1#f",
        "https://api.example.com:443/",
        "HTTPS://api.example.com:443/",  # httpx keeps this port.
        "https://api.example.com:/",
        "https://API.Example.COM/",
        "https://@api.example.com/",  # No user at all; httpx sends nothing of it.
        "https://api\u3002example\u3002com/",  # Other full stops, IDNA: the same host is called.
        "https://api.example.com/@evil.com",
        "https://api.example.com?@evil.com",
        "https://api.example.com#@evil.com",
        "wss://api.example.com/socket",  # A handshake over https (RFC 6455 3).
        "WSS://api.example.com:443/socket",
    ],
)
def test_the_very_origin_may_have_the_token(url_class: Any, url: str) -> None:
    assert API.allows(url_class(url)) is True
    API.check(url_class(url))


@pytest.mark.parametrize(
    "url",
    [
        # Names that begin, end or look alike.
        "https://api.example.com.evil.com/",
        "https://evil.com/api.example.com",
        "https://evil.com/?https://api.example.com",
        "https://evil.com#api.example.com",
        "https://evilapi.example.com/",
        "https://example.com/",
        "https://a.api.example.com/",
        "https://api.example.co/",
        "https://api-example.com/",
        "https://api.example.com./",  # Another name for TLS and for cookies.
        "https://ap\u0456.example.com/",  # A Cyrillic letter.
        # User names.
        "https://api.example.com@evil.com/",
        "https://api.example.com:443@evil.com/",
        "https://api.example.com%40evil.com/",
        "https://evil.com@api.example.com/",
        "https://user:password@api.example.com/",
        "https://:@api.example.com/",
        "https://evil.com\\@api.example.com/",
        "https://api.example.com\\@evil.com/",
        "https://api.example.com\\.evil.com/",
        "https://evil.com\\.api.example.com/",
        # Encoded and other odd characters.
        "https://api%2eexample.com/",
        "https://api.example.com%2f.evil.com/",
        "https://api.example.com%00.evil.com/",
        "https://api.example.com%00/",
        "https://api.example.com%20/",
        "https://api.example.com /",
        "https:// api.example.com/",
        " https://api.example.com/",
        # Ports.
        "https://api.example.com:80443/",
        "https://api.example.com:8443/",
        "https://api.example.com:80/",
        "https://api.example.com:0/",  # httpcore connects to 443 for it.
        "https://api.example.com:-443/",
        # Schemes, and none.
        "http://api.example.com/",
        "http://api.example.com:443/",
        "ws://api.example.com/",
        "ws://api.example.com:443/",
        "wss://api.example.com:80/",
        "wss://evil.com/",
        "wss://user@api.example.com/",
        "ftp://api.example.com/",
        "//api.example.com/",
        "//evil.com/",
        "https:api.example.com",
        "https:/api.example.com",
        "https:///api.example.com",
        "/path",
        "",
    ],
)
def test_nothing_else_may_have_the_token(url_class: Any, url: str) -> None:
    assert API.allows(url_class(url)) is False
    with pytest.raises(OriginError, match="."):
        API.check(url_class(url))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com\t/",
        "https://api.example.com\n.evil.com/",
        "https://api.exa\rmple.com/",
        "https://api.example.com\x00/",
        "\thttps://api.example.com/",
        "https://api.example.com:443x/",
    ],
)
def test_what_httpx_refuses_to_parse_can_not_be_sent(url_class: Any, url: str) -> None:
    with pytest.raises((httpx.InvalidURL, httpx2.InvalidURL)):
        url_class(url)
    with pytest.raises(ValueError, match="^base_url "):
        Origins.of(url, [])


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.com/",
        "//evil.com/",
        "http://api.example.com/",
        "https://api.example.com:8443/",
        "https://user@api.example.com/",
        "https://api.example.com.evil.com/",
    ],
)
def test_a_redirect_to_another_origin_gets_no_token(url_class: Any, location: str) -> None:
    assert API.allows(url_class("https://api.example.com/v1/me").join(location)) is False


@pytest.mark.parametrize(
    "path", ["/me", "me?x=//evil.com", "//evil.com/", "/\\evil.com", "@evil.com"]
)
def test_a_path_of_a_client_stays_at_its_base_url(client_class: Any, path: str) -> None:
    client = client_class(
        base_url="https://api.example.com/v1/", transport=_no_transport(client_class)
    )
    request = client.build_request("GET", path)
    assert API.allows(request.url) is True
    assert request.headers["Host"] == "api.example.com"


def _no_transport(client_class: Any) -> Any:
    module = httpx if client_class is httpx.AsyncClient else httpx2
    return module.MockTransport(lambda _: module.Response(200))


def test_an_international_name_is_the_same_in_both_spellings(url_class: Any) -> None:
    for configured in ("https://m\xfcnchen.example", "https://xn--mnchen-3ya.example"):
        origins = Origins.of(configured, [])
        assert origins.allows(url_class("https://M\xdcNCHEN.example/"))
        assert origins.allows(url_class("https://XN--MNCHEN-3YA.example/"))
        assert not origins.allows(url_class("https://munchen.example/"))


def test_an_ipv6_address_is_the_same_in_all_spellings(url_class: Any) -> None:
    origins = Origins.of("https://[2001:DB8:0::1]:8443", [])
    assert origins == Origins.of("https://[2001:db8::1]:8443", [])
    assert origins.allows(url_class("https://[2001:db8::1]:8443/"))
    assert origins.allows(url_class("https://[2001:0DB8::0001]:8443/"))
    assert not origins.allows(url_class("https://[2001:db8::2]:8443/"))
    assert not origins.allows(url_class("https://[2001:db8::1]/"))
    assert not origins.allows(url_class("https://[2001:db8::1%25eth0]:8443/"))


def test_several_origins_each_count_as_a_whole(url_class: Any) -> None:
    origins = Origins.of("https://a.example:1/x", ["https://b.example:2", "http://localhost:3/"])
    assert origins.allowed == {
        ("https", b"a.example", 1),
        ("https", b"b.example", 2),
        ("http", b"localhost", 3),
    }
    assert origins.allows(url_class("https://b.example:2/"))
    assert origins.allows(url_class("http://localhost:3/"))
    # Never the scheme of one with the host of another.
    assert not origins.allows(url_class("https://a.example:2/"))
    assert not origins.allows(url_class("https://localhost:3/"))
    assert not origins.allows(url_class("http://b.example:2/"))


def test_the_default_port_is_that_of_the_scheme(url_class: Any) -> None:
    origins = Origins.of("", ["http://localhost", "https://localhost"])
    assert origins.allowed == {("http", b"localhost", 80), ("https", b"localhost", 443)}
    assert origins.allows(url_class("http://localhost:80/"))
    assert origins.allows(url_class("HTTP://localhost:80/"))
    assert not origins.allows(url_class("http://localhost:443/"))
    assert not origins.allows(url_class("https://localhost:80/"))


def test_origins_are_values() -> None:
    assert Origins.of("https://a.example", []) == Origins.of("", ["https://A.example:443/"])
    assert len({API, Origins.of("https://api.example.com", [])}) == 1
    assert Origins.of("", iter(["https://a.example"])).allowed == {("https", b"a.example", 443)}


# --- What it says ---------------------------------------------------------------------------


def test_the_error_names_the_origin_and_the_remedy_and_nothing_else(url_class: Any) -> None:
    with pytest.raises(OriginError) as caught:
        API.check(url_class("https://evil.com:8443/s3cret?s3cret=s3cret#s3cret"))
    assert str(caught.value) == (
        "https://evil.com:8443 is not an origin the token was given for; if it is to be trusted "
        "with the token, add it to origins=, else use a client of its own"
    )
    assert caught.value.__context__ is None


def test_the_error_about_a_web_socket_names_the_origin_as_origins_wants_it(url_class: Any) -> None:
    for scheme, origin in [("wss", "https://wss.com:8443"), ("ws", "http://localhost:8443")]:
        host = origin.partition("://")[2]
        with pytest.raises(OriginError, match=f"^{scheme}://{host} is not .* {origin} to origins="):
            API.check(url_class(f"{scheme}://{host}/"))
        Origins.of("", [origin]).check(url_class(f"{scheme}://{host}/"))


def test_the_error_does_not_show_a_password(url_class: Any) -> None:
    with pytest.raises(OriginError, match="Take them out of the URL") as caught:
        API.check(url_class("https://s3cret:s3cret@api.example.com/"))
    assert "https://api.example.com has" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_the_error_says_when_it_is_for_want_of_tls(url_class: Any) -> None:
    with pytest.raises(OriginError, match=r"^http://api\.example\.com is plain http.*origins="):
        API.check(url_class("http://api.example.com/"))
    with pytest.raises(OriginError, match=r"^ws://api\.example\.com is plain ws.*wss, .*origins="):
        API.check(url_class("ws://api.example.com/"))
    # To loopback that is not what is wrong.
    with pytest.raises(OriginError, match=r"^http://\[::1\]:80443 is not an origin .*origins="):
        API.check(url_class("http://[::1]:80443/"))


def test_the_error_of_a_relative_url_says_so(url_class: Any) -> None:
    with pytest.raises(OriginError, match="^a URL without scheme or host is not .*origins="):
        API.check(url_class("/s3cret"))
    with pytest.raises(OriginError, match="^a URL without scheme or host is not .*origins="):
        API.check(url_class("mailto:s3cret"))


def test_the_error_is_not_as_long_as_a_host_may_be(url_class: Any) -> None:
    with pytest.raises(OriginError) as caught:
        API.check(url_class(f"https://{'a' * 10_000}/"))
    assert len(str(caught.value)) < 500


# --- What a program may pass in -------------------------------------------------------------


def test_nowhere_to_go_is_refused() -> None:
    with pytest.raises(ValueError, match="pass base_url= or origins="):
        Origins.of("", [])


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("api.example.com", "absolute"),
        ("/v1", "absolute"),
        ("//api.example.com", "absolute"),
        ("https://", "absolute"),
        ("https:api.example.com", "absolute"),
        ("wss://api.example.com", "absolute"),
        ("null", "absolute"),
        (" https://api.example.com", "absolute"),
        ("*", "absolute"),
        ("https://*.example.com", "wildcard"),
        ("https://*", "wildcard"),
        ("https://api.example.com,https://b.example", "one plain host"),
        ("https://api%2eexample.com", "one plain host"),
        ("https://api.example.com\\.b", "one plain host"),
        ("https://u:s3cret@api.example.com", "user name"),
        ("https://u@api.example.com", "user name"),
        ("https://api.example.com:0", "port"),
        ("https://api.example.com:-1", "port"),
        ("https://api.example.com:65536", "port"),
        ("https://api.example.com:s3cret", "malformed"),
        ("https://[::1", "malformed|one plain host"),
        ("https://[::1%25\xe9]", "malformed"),
        ("https://300.1.1.1", "malformed"),
        ("http://api.example.com", "https"),
        ("http://127.0.0.1.evil.com", "https"),
        ("http://localhost.evil.com", "https"),
        ("http://[::ffff:127.0.0.1]", "https"),
    ],
)
def test_an_odd_url_is_refused_by_the_name_of_its_parameter(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^base_url.*({problem})") as of_base_url:
        Origins.of(url, ["https://fine.example"])
    with pytest.raises(ValueError, match=f"^origins.*({problem})") as of_origins:
        Origins.of("https://fine.example", ["https://fine.example", url])
    for caught in (of_base_url, of_origins):
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("tail", ["/v1", "/v1/", "//", "?q", "?", "/#f", "/?q=1"])
def test_only_the_base_url_may_have_a_path(tail: str) -> None:
    assert Origins.of(f"https://api.example.com{tail}", []) == API
    with pytest.raises(ValueError, match="^origins: https://api.example.com must end there"):
        Origins.of("", [f"https://api.example.com{tail}"])
    assert Origins.of("", ["https://api.example.com/"]) == API


def test_a_wrong_type_is_refused_by_the_name_of_its_parameter() -> None:
    with pytest.raises(TypeError, match="^origins must be several strings"):
        Origins.of("", "https://api.example.com")
    with pytest.raises(TypeError, match="^origins must be of type str, not int"):
        Origins.of("", [1])  # type: ignore[list-item]  # the point
    with pytest.raises(TypeError, match="^base_url must be of type str, not NoneType"):
        Origins.of(None, ["https://api.example.com"])  # type: ignore[arg-type]  # the point


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://127.255.0.9", "http://[::1]:1", "http://LOCALHOST/"]
)
def test_plain_http_is_for_loopback(url_class: Any, url: str) -> None:
    assert Origins.of(url, []).allows(url_class(url)) is True


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1"]
)
def test_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host) is True


@pytest.mark.parametrize(
    "host",
    ["", "localhost.", "localhost.evil.com", "x.localhost", "127.0.0.1.evil.com", "127.1",
     "2130706433", "0x7f.0.0.1", "0177.0.0.1", "128.0.0.1", "126.255.255.255", "0.0.0.0",
     "10.0.0.1", "::", "::2", "::1%lo", "::ffff:127.0.0.1", "[::1]", "\u0661\u0662\u0667.0.0.1",
     ":", "127.0.0.1 "],
)  # fmt: skip
def test_nothing_else_is_loopback(host: str) -> None:
    assert is_loopback(host) is False


# --- Against an oracle of its own -----------------------------------------------------------

_SCHEMES = st.sampled_from(["https", "HTTPS", "HttpS", "http", "wss", "ws", "httpss"])
_USERS = st.sampled_from(
    ["", "", "", "@", "u@", "u:p@", ":@", "api.example.com@", "api.example.com:443@"]
)
_HOSTS = st.sampled_from(
    ["api.example.com", "API.example.COM", "api.example.com.", "api%2eexample.com", "evil.com",
     "api.example.com.evil.com", "api.example.com%00", "127.0.0.1", "[::1]", "[0::1]", "[::2]",
     "\xe4pi.example.com", "api.example.com\\", "\\api.example.com", ""],
)  # fmt: skip
_PORTS = st.sampled_from(["", ":", ":443", ":0443", ":80", ":8443", ":0", ":80443"])
_TAILS = st.sampled_from(
    ["", "/", "/v1", "?a", "#a", "/@evil.com", "?u@evil.com", "//evil.com", "/:8443"]
)

TWO = Origins.of("https://api.example.com", ["http://[::1]:8443"])


@given(_SCHEMES, _USERS, _HOSTS, _PORTS, _TAILS)
@example("HTTPS", "", "api.example.com", ":443", "")
@example("http", "", "[0::1]", ":8443", "/")
def test_a_url_of_known_parts_is_allowed_if_its_parts_are(
    scheme: str, user: str, host: str, port: str, tail: str
) -> None:
    text = f"{scheme}://{user}{host}{port}{tail}"
    expected = user in ("", "@") and (
        (
            scheme.lower() in ("https", "wss")
            and host.lower() == "api.example.com"
            and port in ("", ":", ":443", ":0443")
        )
        or (scheme in ("http", "ws") and host in ("[::1]", "[0::1]") and port == ":8443")
    )
    for url in (httpx.URL(text), httpx2.URL(text)):
        assert TWO.allows(url) is expected, text


def _expected(text: str) -> bool:
    """Read a URL from left to right, by hand, as RFC 3986 3.2 has it."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return False
    authority = rest
    for end in "/?#":
        authority = authority.split(end, 1)[0]
    user, at, host_and_port = authority.rpartition("@")
    if at and user:
        return False
    if host_and_port.startswith("["):
        host, _, port = host_and_port[1:].partition("]")
        host = str(IPv6Address(host))
    else:
        host, colon, port = host_and_port.partition(":")
        port = colon + port
    number = port.removeprefix(":")
    if scheme.lower() == "https" and host.lower() == "api.example.com":
        return number == "" or int(number) == 443
    return scheme.lower() == "http" and host == "::1" and number != "" and int(number) == 8443


_PIECES = st.sampled_from(
    ["https", "http", "://", ":", "/", "//", "@", "\\", "?", "#", ".", "%2e", "%40", "%00", "%",
     " ", "*", "api.example.com", "evil.com", "api", "[::1]", "443", "8443", "0", "-", "+", "_",
     "\t", "\n"],
)  # fmt: skip
_STARTS = st.sampled_from(["", "https://", "https://api.example.com", "http://[::1]:8443"])


@given(_STARTS, st.lists(_PIECES, max_size=6).map("".join))
@example("https://", "evil.com@api.example.com")
@example("https://api.example.com", "@evil.com")
def test_a_heap_of_pieces_is_allowed_if_a_hand_reads_it_so(start: str, pieces: str) -> None:
    text = start + pieces
    for library in (httpx, httpx2):
        try:
            url = library.URL(text)
        except library.InvalidURL:
            continue
        assert TWO.allows(url) is _expected(text), text

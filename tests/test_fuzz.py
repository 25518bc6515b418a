"""What strangers send and disks hold, made up by Hypothesis: read rightly, or refused."""

from __future__ import annotations

import importlib
import json
import math
import re
import tempfile
import unicodedata
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import httpx
import httpx2
import pytest
import trio
from hypothesis import assume, example, given
from hypothesis import strategies as st

from trioauth import (
    BearerRefreshGrant,
    FileStore,
    GrantMisconfiguredError,
    GrantRefusedError,
    Record,
    RefreshPolicy,
    RefreshTokenGrant,
    RefreshUnavailableError,
    StoreError,
    Tokens,
    _challenge,
    challenges,
)
from trioauth._core.retry import (
    LONGEST_RETRY_AFTER,
    MOST_REPEATS,
    REPEAT_WITHIN,
    Attempts,
    retry_after,
)
from trioauth._errors import TokenResponseError
from trioauth._origins import Origins
from trioauth._tokens import read_json_object
from trioauth.oauth.answers import read_retry_after
from trioauth.oauth.channel import Answer

from .canary import SECRET
from .fuzzing import examples
from .test_record import record_values, token_values
from .test_tokens import JSON, shown

# --- The answer of a token endpoint ---------------------------------------------------------

URL = "https://id.example.com/token"
# Not what the canary of the suite knows: half of one, as damage may leave it, is no secret.
SENT = Tokens("hush/access", "hush/refresh")
SECRETS = ("hush/access", "hush/refresh", "hush client", "hush%2Frefresh", "hush+client")
GRANTS: list[RefreshTokenGrant | BearerRefreshGrant] = [
    RefreshTokenGrant(URL, client_id="id", client_secret="hush client"),
    RefreshTokenGrant(URL, client_id="id", client_secret="hush client", bare_status_refuses=True),
    BearerRefreshGrant(
        URL,
        access_token="access_token",
        refresh_token="refresh_token",
        headers={"X-Key": "hush client"},
    ),
]
OURS = (GrantRefusedError, GrantMisconfiguredError, RefreshUnavailableError)

# Echoes of what was sent and new secrets, in every member that might be shown.
_echoes = st.sampled_from(
    [*SECRETS, "grant_type=refresh_token&refresh_token=hush%2Frefresh", "invalid_grant",
     "server_error", "Bearer", ""]
)  # fmt: skip
_names = [
    "access_token", "refresh_token", "token_type", "expires_in", "scope", "error",
    "error_description", "error_uri",
]  # fmt: skip
_members = dict.fromkeys(_names, _echoes | JSON)
_objects = st.fixed_dictionaries({}, optional=_members).map(lambda each: json.dumps(each).encode())
_statuses = st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 429, 500, 503])


@st.composite
def damaged(draw: st.DrawFn, sound: st.SearchStrategy[bytes]) -> bytes:
    """Cut, change, double or insert something."""
    data = bytearray(draw(sound))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "flip", "double", "insert"])):
            case "cut":
                del data[at:]
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 20))]
            case _:
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
    return bytes(data)


@pytest.mark.slow
@examples(150)
@given(status=_statuses, body=_objects | damaged(_objects))
@example(400, b'{"error": "hush/refresh", "error_description": "hush client"}')
@example(200, b'{"access_token": "hush/access\\n", "token_type": "Bearer"}')
def test_whatever_a_server_answers_no_error_shows_what_was_sent_or_received(
    status: int, body: bytes
) -> None:
    for grant in GRANTS:
        try:
            # A server that makes a scope of a secret shows it, and not we.
            told = repr(
                attrs.evolve(grant.read(Answer(status, body=body), SENT), scope=frozenset())
            )
            assert 200 <= status < 300
        except OURS as exc:
            told = shown(exc)
        assert not any(secret in told for secret in SECRETS)


def as_response(tokens: Tokens) -> dict[str, object]:
    response: dict[str, object] = {
        "access_token": tokens.access_token,
        "token_type": tokens.token_type,
        "scope": " ".join(tokens.scope),
    }
    if tokens.refresh_token is not None:
        response["refresh_token"] = tokens.refresh_token
    if tokens.expires_in is not None:
        response["expires_in"] = tokens.expires_in
    return response


def _is_unknown(member: str) -> bool:
    return member not in {"access_token", "refresh_token", "expires_in", "scope", "token_type"}


@examples(100)
@given(tokens=token_values, more=st.dictionaries(st.text().filter(_is_unknown), JSON))
def test_any_tokens_are_read_as_they_were_sent(tokens: Tokens, more: dict[str, object]) -> None:
    body = json.dumps({**more, **as_response(tokens)}).encode()
    read = Tokens.from_response(read_json_object(body))
    # 0 is what some servers send for "does not expire".
    lifetime = None if not tokens.expires_in else pytest.approx(tokens.expires_in)
    assert read.access_token == tokens.access_token
    assert read.refresh_token == tokens.refresh_token
    assert read.expires_in == lifetime
    assert read.scope == tokens.scope
    # And what was read is read again.
    assert Tokens.from_response(as_response(read)) == read


@examples(100)
@given(value=JSON | st.integers() | st.floats() | st.text("0123456789.-+e ٣", max_size=20))
@example("0" * 15 + "1")
@example(10**400)
@example(True)
def test_expires_in_is_a_number_of_seconds_or_unknown(value: object) -> None:
    read = Tokens.from_response({"access_token": "a", "token_type": "Bearer", "expires_in": value})
    if isinstance(value, str) and re.fullmatch("[0-9]{1,15}", value):
        value = int(value)
    try:
        seconds = float(value) if type(value) in (int, float) else math.nan  # type: ignore[arg-type]
    except OverflowError:
        seconds = math.nan
    assert read.expires_in == (seconds if 0 < seconds < math.inf else None)


# --- Retry-After ----------------------------------------------------------------------------

_moments = st.integers(0, 4 * 10**9).map(lambda each: datetime.fromtimestamp(each, UTC))


@examples(100)
@given(seconds=st.integers(0, 10**12), pad=st.sampled_from(["", " ", "\t"]))
def test_a_delay_is_read_as_it_was_written_up_to_a_cap(seconds: int, pad: str) -> None:
    headers = httpx.Headers({"Retry-After": f"{pad}{seconds}{pad}"})
    read = read_retry_after(headers)
    assert read == (seconds if seconds < 10**10 else None)
    pause = retry_after(RefreshUnavailableError("busy", retry_after=read))
    assert 0 <= pause <= LONGEST_RETRY_AFTER
    assert pause == min(read or 0, LONGEST_RETRY_AFTER)


@examples(100)
@given(now=_moments, later=st.integers(-(10**9), 10**9))
def test_a_date_to_retry_at_counts_from_the_date_of_the_answer(now: datetime, later: int) -> None:
    until = now + timedelta(seconds=later)
    assume(until.year > 1900)
    raw = {
        "Date": format_datetime(now, usegmt=True),
        "Retry-After": format_datetime(until, usegmt=True),
    }
    assert read_retry_after(httpx.Headers(raw)) == (later if later >= 0 else None)


# --- When a token may be presented again ----------------------------------------------------

_failures = st.builds(
    RefreshUnavailableError,
    st.just("down"),
    retry_after=st.none() | st.floats(0, 1e6),
    safe_to_repeat=st.booleans(),
) | st.builds(OSError)


@examples(200)
@given(
    failures=st.lists(st.tuples(_failures, st.floats(0, 6)), min_size=1, max_size=12),
    attempts=st.integers(1, 9),
    jitter=st.floats(0, 1),
    spends=st.booleans(),
)
def test_a_token_of_unknown_fate_is_presented_twice_more_within_ten_seconds(
    failures: list[tuple[Exception, float]], attempts: int, jitter: float, spends: bool
) -> None:
    policy = RefreshPolicy(attempts=attempts, backoff=0.5)
    count, now, repeats = Attempts(policy), 0.0, 0
    spent_at: float | None = None
    for made, (failure, latency) in enumerate(failures, 1):
        asked_at, now = now, now + latency
        pause = count.pause(failure, asked_at=asked_at, now=now, jitter=jitter, spends=spends)
        safe = isinstance(failure, RefreshUnavailableError) and failure.safe_to_repeat
        if spent_at is not None:
            repeats += 1
        elif spends and not safe:
            spent_at = asked_at
        assert count.failure is failure
        due = max(0.5 * 2 ** (made - 1) * (0.5 + jitter / 2), retry_after(failure))
        late = spent_at is not None and now + due > spent_at + REPEAT_WITHIN
        if made >= attempts or repeats >= MOST_REPEATS or late:
            assert pause is None
            break
        assert pause is not None
        assert pause == pytest.approx(due)
        assert not count.too_late(now + pause)
        now += pause
    assert count.lost == (spent_at is not None)


# --- WWW-Authenticate -----------------------------------------------------------------------

# RFC 9110 5.6.2, 5.6.3 and 5.6.4
_TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_words = st.text(_TCHAR, min_size=1, max_size=8)
_ows = st.text(" \t", max_size=2)
_texts = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f").filter(
        lambda char: not 0x80 <= ord(char) < 0xA0
    ),
    max_size=12,
)
_token68s = st.builds(
    "{}{}".format,
    st.text("abcXYZ019-._~+/", min_size=1, max_size=12),
    st.sampled_from(["", "=", "=="]),
)
Meant = list[tuple[str, dict[str, str] | str | None]]


@st.composite
def quoted(draw: st.DrawFn, value: str) -> str:
    """Write a quoted string; any character may be escaped, and some must be."""
    escaped = draw(st.sets(st.integers(0, max(0, len(value) - 1))))
    inside = "".join(
        f"\\{char}" if char in '"\\' or at in escaped else char for at, char in enumerate(value)
    )
    return f'"{inside}"'


@st.composite
def header_lines(draw: st.DrawFn) -> tuple[list[str], Meant]:
    """Draw challenges, and write them in some of the ways that RFC 9110 11.6.1 leaves open."""
    meant: Meant = []
    elements: list[str] = []
    for scheme in draw(st.lists(_words, max_size=4)):
        kind = draw(st.sampled_from(["bare", "token68", "parameters"]))
        gap = draw(st.text(" ", min_size=1, max_size=2))
        if kind == "bare":
            meant.append((scheme, None))
            elements.append(scheme)
        elif kind == "token68":
            token68 = draw(_token68s)
            meant.append((scheme, token68))
            elements.append(f"{scheme}{gap}{token68}")
        else:
            names = draw(st.lists(_words, min_size=1, max_size=3, unique_by=str.lower))
            parameters: dict[str, str] = {}
            for at, name in enumerate(names):
                value = draw(_words | _texts)
                plain = bool(value) and set(value) <= set(_TCHAR) and draw(st.booleans())
                written = value if plain else draw(quoted(value))
                parameters[name.lower()] = value
                start = "" if at else f"{scheme}{gap}"
                elements.append(f"{start}{name}{draw(_ows)}={draw(_ows)}{written}")
            meant.append((scheme, parameters))
    lines = [""]
    for at, element in enumerate(elements):
        # Empty elements are allowed, and a new line is as good as a comma.
        for _ in range(draw(st.integers(0, 1))):
            lines[-1] += draw(_ows) + ","
        if at and draw(st.integers(0, 3)) == 0:
            lines.append("")
        elif at:
            lines[-1] += draw(_ows) + "," + draw(_ows)
        lines[-1] += element
    return lines, meant


@pytest.mark.slow
@examples(250)
@given(header_lines())
def test_challenges_are_read_as_they_were_written(written: tuple[list[str], Meant]) -> None:
    lines, meant = written
    raw = [(b"WWW-Authenticate", line.encode("latin-1")) for line in lines]
    for library in (httpx, httpx2):
        response: Any = library.Response(401, headers=httpx.Headers(raw, "latin-1").raw)
        response.headers.encoding = "latin-1"
        read = [
            (each.scheme, each.token68 or dict(each.parameters) or None)
            for each in challenges(response)
        ]
        assert read == meant, lines


def _repeats(pattern: Any) -> list[tuple[str, int]]:
    """Name all repeats in a parsed pattern, at any depth, with their most."""
    found: list[tuple[str, int]] = []
    for operation, argument in pattern:
        name = str(operation)
        if name.endswith("REPEAT"):
            found.append((name, int(argument[1])))
        for part in argument if isinstance(argument, tuple | list) else [argument]:
            inner = part if isinstance(part, list) else [part]
            for each in inner:
                if hasattr(each, "getwidth"):
                    found += _repeats(each)
    return found


def test_no_pattern_for_challenges_ever_goes_back() -> None:
    parser = importlib.import_module("re._parser")
    patterns = [each for each in vars(_challenge).values() if isinstance(each, re.Pattern)]
    assert len(patterns) >= 6
    repeats = [each for one in patterns for each in _repeats(parser.parse(one.pattern, one.flags))]
    assert len(repeats) > 10
    # Possessive, or at most one: then each character is looked at a bounded number of times.
    assert {name for name, most in repeats if most > 1} == {"POSSESSIVE_REPEAT"}


# --- Origins --------------------------------------------------------------------------------

KNOWN = [
    "https://api.example.com",
    "https://b\xfccher.example:8443",
    "https://192.0.2.7",
    "https://[2001:db8::7]",
    "http://localhost:8080",
    "http://127.0.0.1",
    "http://[::1]:8080",
]
_DEFAULT = {"https": 443, "http": 80}
# A WebSocket opens with a request over these (RFC 6455 3); an origin is not written so.
_HANDSHAKES = {"wss": "https", "ws": "http"}


def origin_of(text: str) -> tuple[str, str, int] | None:
    """Read a URL's origin as RFC 6454 4 and RFC 3986 3.2 have it; None if there is none to trust.

    What they leave to interpretation is none: a user, escapes in a host, what is no URL.
    """
    if re.search(r"[\x00-\x20\x7f]", text):
        return None
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    user, at, _ = parts.netloc.rpartition("@")
    if parts.scheme not in _DEFAULT or not host or (at and user):
        return None
    if re.search(r"[\\<>^`{|}%\"]|\][^:]", parts.netloc):
        return None
    if ":" in host:
        host = str(IPv6Address(host))
    elif re.fullmatch(r"[0-9]+(\.[0-9]+){3}", host):
        try:
            IPv4Address(host)
        except ValueError:
            return None
    elif not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    return parts.scheme, host, _DEFAULT[parts.scheme] if port is None else port


def server_of(text: str) -> tuple[str, str, int] | None:
    """Read the origin that a URL leads to: a WebSocket's, too."""
    for scheme, spoken in _HANDSHAKES.items():
        text = re.sub(rf"^{scheme}(?=:)", spoken, text, flags=re.IGNORECASE)
    return origin_of(text)


_hosts = st.sampled_from(
    [
        "api.example.com", "API.Example.COM", "api.example.com.", "api.example.com..",
        "api%2Eexample.com", "api%2eexample.com", "%61pi.example.com", "api.example.com%00",
        "api\u3002example\uff0ecom", "evil.com", "api.example.com.evil.com", "evil.com\\",
        "api.example.com\\.evil.com", "api.example.com\t", "api.exa\nmple.com", " api.example.com",
        "b\xfccher.example", "B\xdcCHER.example", "xn--bcher-kva.example", "bu\u0308cher.example",
        "bucher.example", "192.0.2.7", "192.0.2.07", "3221225991", "0xC0000207", "192.0.2.7.",
        "[2001:db8::7]", "[2001:DB8:0:0::7]", "[2001:db8::8]", "[::ffff:192.0.2.7]",
        "[::ffff:127.0.0.1]", "localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.2",
        "127.1", "0.0.0.0", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::1%25lo]", "", "*", "a..b",
    ]
)  # fmt: skip
_schemes = st.sampled_from(
    ["https://", "HTTPS://", "http://", "hTTp://", "wss://", "ws://", "ftp://", "https:/", "https:",
     "//", "", " https://", "https\t://", "https:\\\\", "javascript://"]
)  # fmt: skip
_users = st.sampled_from(
    ["", "", "", "", "", "@", ":@", "u@", "u:p@", "evil.com@", "api.example.com@", "%40", "@@",
     "api.example.com:443@", "api.example.com\\@"]
)  # fmt: skip
_ports = st.sampled_from(
    ["", "", "", ":", ":443", ":80", ":8080", ":8443", ":08443", ":0", ":65535", ":65536", ":-1",
     ":443x", ":\uff18\uff10", ":80:443", ": 443"]
)  # fmt: skip
_tails = st.sampled_from(
    ["", "/", "/v1?x=1#f", "?@evil.com", "#@evil.com", "/@evil.com", "\\@evil.com", "/\\evil.com",
     "//evil.com", "/\t", "/\n", "%2f@evil.com", "/..//evil.com", ";x"]
)  # fmt: skip
_urls = st.builds("{}{}{}{}{}".format, _schemes, _users, _hosts, _ports, _tails)
TRUSTED = Origins.of("", KNOWN)
TRUSTED_ORIGINS = {origin_of(url) for url in KNOWN}


@pytest.mark.slow
@examples(1000)
@given(text=_urls | damaged(_urls.map(str.encode)).map(lambda each: each.decode("latin-1")))
@example("https://api.example.com:443/")
@example("HTTPS://api.example.com:443")
@example("https://@api.example.com")
@example("https://[2001:DB8:0:0::7]/")
@example("http://api.example.com:443/")
@example("https://xn--bcher-kva.example:8443/")
@example('https://192.0.".7')
def test_a_token_goes_where_the_standards_say_it_was_meant_to_go(text: str) -> None:
    for library in (httpx, httpx2):
        try:
            url = library.URL(text)
            url.raw_host  # noqa: B018  # where some show that they are none
        except (library.InvalidURL, UnicodeError):
            continue
        meant, sent = server_of(text), server_of(str(url))
        # What is no URL by the standards, the library has made one of: then that is what counts.
        assert TRUSTED.allows(url) is ((meant or sent) in TRUSTED_ORIGINS)
        assert meant in (None, sent)


def _secure(origin: tuple[str, str, int]) -> bool:
    scheme, host, _ = origin
    if scheme == "https" or host == "localhost":
        return True
    try:
        address = IPv6Address(host) if ":" in host else IPv4Address(host)
    except ValueError:
        return False
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


@examples(300)
@given(text=_urls)
def test_what_may_be_an_origin_is_https_or_loopback(text: str) -> None:
    # An interface of this machine may be named in the address of an origin (RFC 6874).
    assume("%25lo" not in text)
    # A letter and its accent apart: browsers put them together, httpx calls it malformed.
    assume(unicodedata.is_normalized("NFC", text))
    origin, refusal = origin_of(text), ""
    try:
        origins = Origins.of(text, [])
        origin = origin or origin_of(str(httpx.URL(text)))
    except ValueError as exc:
        refusal = str(exc)
    if refusal:
        assert refusal.startswith("base_url")
        # Nothing that a browser would call it is refused but for a reason.
        plain = origin is not None and re.fullmatch(r"[a-z0-9.:-]+", origin[1])
        assert not (plain and origin is not None and _secure(origin) and 0 < origin[2] < 65536)
    else:
        assert origin is not None
        assert _secure(origin)
        scheme, host, port = origin
        assert origins.allowed == {(scheme, host.encode(), port)}


# --- A store's file -------------------------------------------------------------------------

_files = record_values.map(lambda record: record.to_text().encode())


def load(data: bytes) -> Record | StoreError | None:
    """Load a file of these bytes, which must still be these afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.json"
        path.write_bytes(data)
        try:
            return trio.run(FileStore(path).load)
        except StoreError as exc:
            told = f"{path} is left as it is: "
            return exc if (exc.path, str(exc)[: len(told)]) == (str(path), told) else None
        finally:
            assert path.read_bytes() == data
            assert [each.name for each in path.parent.iterdir()] == [path.name]


@examples(60)
@given(record=record_values)
def test_a_file_store_loads_any_record_as_it_was_saved(record: Record) -> None:
    async def main(path: Path) -> None:
        store = FileStore(path)
        async with store.lock():
            await store.save(record, expected=0)
        assert await FileStore(path).load() == record

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder) / "tokens.json")


@pytest.mark.slow
@examples(100)
@given(data=st.binary() | damaged(_files))
@example(b"")
@example(b"\0" * 4096)
def test_a_file_of_any_bytes_is_a_record_or_an_error_that_names_it(data: bytes) -> None:
    found = load(data)
    if isinstance(found, Record):
        assert Record.from_text(found.to_text()) == found
    else:
        assert isinstance(found, StoreError)
        assert not SECRET.search(shown(found))


@examples(60)
@given(record=record_values, data=st.data())
def test_a_file_cut_short_is_an_error(record: Record, data: st.DataObject) -> None:
    text = record.to_text().encode()
    assert isinstance(load(text[: data.draw(st.integers(0, len(text) - 1))]), StoreError)


def test_a_flipped_bit_never_moves_a_secret_to_where_it_may_be_seen() -> None:
    record = Record(7, Tokens("at-canary-1", "rt-canary-1", 60.0, "read"), login="me")
    text = record.to_text().encode()
    undetected = 0
    for bit in range(8 * len(text)):
        flipped = bytearray(text)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = Record.from_text(bytes(flipped))
        except ValueError as exc:
            told = shown(exc)
        else:
            told = repr(found)
            undetected += found != record
            # Never a record of another kind: only what stands in a value can change.
            assert found.tokens is not None
            assert found.tokens.refresh_token is not None
        assert not SECRET.search(told)
    # There is no checksum: what a disk makes of the characters of a token can't be told.
    assert undetected > 0


def test_an_error_of_the_reader_is_no_other_than_ours() -> None:
    for body in (b"[" * 100_000, b'{"a": 1, "a": 2}', b"\xff", b"NaN", b'"at-canary-1"', b"{}x"):
        with pytest.raises(TokenResponseError) as caught:
            read_json_object(body)
        assert not SECRET.search(shown(caught.value))

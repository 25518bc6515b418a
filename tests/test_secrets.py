"""Secrets stay out of what is said of exceptions, out of echoes, reprs and pickles (P17)."""

from __future__ import annotations

import base64
import copy
import html
import json
import pickle
import smtplib
import socket
import ssl
import urllib.error
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trioauth import (
    Answer,
    BearerRefreshGrant,
    ClientCredentialsGrant,
    GrantMisconfiguredError,
    GrantRefusedError,
    LoggedIn,
    LoggedOut,
    LoggedOutError,
    RefreshPolicy,
    RefreshTokenGrant,
    RefreshUnavailableError,
    StoreError,
    TokenRequest,
    Tokens,
    open_session,
)
from trioauth._core.retry import (
    LONGEST_RETRY_AFTER,
    Attempts,
    is_safe_to_repeat,
    retry_after,
)
from trioauth._core.state import Setback
from trioauth._errors import careful, careful_repr, system_words
from trioauth._secrets import Hidden, printable

from .test_tokens import CANARY

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

URL = "https://id.example.com/token"


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except type(error) as exc:
        return exc


# --- what is said of an exception -----------------------------------------------------------


class ForeignOSError(OSError):
    """As those of requests are: its text has the URL in it."""


class ForeignRefusal(GrantRefusedError):
    pass


class ForeignTimeout(trio.TooSlowError):
    pass


FOREIGN: list[BaseException] = [
    ForeignOSError(f"GET https://id.example.com/?token={CANARY}"),
    ForeignOSError(2, CANARY),
    urllib.error.URLError(CANARY),
    smtplib.SMTPServerDisconnected(CANARY),
    smtplib.SMTPAuthenticationError(535, CANARY.encode()),
    ForeignRefusal(CANARY),
    ForeignTimeout(CANARY),
    ValueError(CANARY),
    # The interpreter's own classes, with the text of a program.
    OSError(CANARY),
    OSError("x", CANARY),
    OSError([CANARY], CANARY),
    ConnectionError(CANARY),
    TimeoutError(CANARY),
    socket.gaierror(12345, CANARY),
    socket.gaierror(CANARY),
    ssl.SSLError(CANARY),
    ssl.SSLError(1, CANARY),
    ssl.SSLCertVerificationError(CANARY),
]


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
def test_p17_of_a_foreign_exception_only_its_class_and_line_are_said(error: BaseException) -> None:
    said = careful(raised(error))
    assert said.startswith(f"{type(error).__name__} in raised (test_secrets.py:")
    assert careful_repr(error) == f"<{type(error).__name__}>" or "in raised" in careful_repr(error)
    assert CANARY not in said + careful_repr(error) + system_words(error)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, CANARY, CANARY), "OSError: No space left on device"),
        (FileNotFoundError(2, CANARY), "FileNotFoundError: No such file or directory"),
        (ConnectionRefusedError(111, CANARY), "ConnectionRefusedError: Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, CANARY), "gaierror: Name or service not known"),
        (RefreshUnavailableError("busy"), "RefreshUnavailableError: busy"),
        (GrantRefusedError("gone", "for good"), "GrantRefusedError: gone: for good"),
        (trio.TooSlowError("no end"), "TooSlowError: no end"),
    ],
)
def test_what_the_interpreter_and_we_say_is_said(error: BaseException, said: str) -> None:
    assert careful(error) == said
    assert careful(None) == ""
    system = isinstance(error, OSError)
    assert system_words(error) == (said.partition(": ")[2] if system else "")


def test_what_tls_says_is_said() -> None:
    # As OpenSSL makes them; a program that writes such things into one means them to be seen.
    error = ssl.SSLCertVerificationError(1, CANARY)
    error.reason, error.verify_message = "CERTIFICATE_VERIFY_FAILED", "self-signed certificate"
    assert careful(error) == (
        "SSLCertVerificationError: certificate verify failed: self-signed certificate"
    )
    error.verify_message = f"{CANARY}\n"
    assert careful(error) == "SSLCertVerificationError: certificate verify failed"
    error.reason = f"{CANARY}"
    assert CANARY not in careful(error)


async def test_a_server_without_tls_is_told_in_the_words_of_tls(nursery: trio.Nursery) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 this is not TLS\r\n\r\n")

    listeners = await nursery.start(trio.serve_tcp, serve, 0)
    port = listeners[0].socket.getsockname()[1]
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get(f"https://127.0.0.1:{port}/")
    assert system_words(caught.value) in {"wrong version number", "record layer failure"}
    nursery.cancel_scope.cancel()


def test_the_systems_words_are_found_behind_others_and_in_groups() -> None:
    refused = ConnectionRefusedError(111, CANARY)
    inner = ExceptionGroup(CANARY, [ValueError(CANARY), refused])
    error = OSError(CANARY)
    error.__cause__ = inner
    outer = ValueError(CANARY)
    outer.__context__ = error
    assert system_words(outer) == "Connection refused"
    assert system_words(ValueError(CANARY)) == ""
    # A chain that bites its tail, and one without an end.
    inner.exceptions[0].__context__ = outer
    refused.errno = None
    assert system_words(outer) == ""
    last: BaseException = OSError(2, "")
    for _ in range(100):
        last, last.__context__ = ValueError(), last
    assert system_words(last) == ""


class Hostile(RefreshUnavailableError):
    """A stranger's exception that raises whatever is asked of it."""

    def __init__(self) -> None:
        pass

    def __str__(self) -> str:
        raise RuntimeError(CANARY)

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError(CANARY)

    @property  # type: ignore[misc]  # this is what a stranger may do
    def __class__(self) -> Any:
        raise RuntimeError(CANARY)

    @property
    def retry_after(self) -> float:  # type: ignore[override]
        raise RuntimeError(CANARY)

    @property
    def safe_to_repeat(self) -> bool:  # type: ignore[override]
        raise RuntimeError(CANARY)


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError(CANARY)

    __repr__ = __str__


def test_reading_a_foreign_exception_never_raises() -> None:
    hostile = Hostile()
    assert careful(hostile) == "Hostile"
    assert careful_repr(hostile) == "<Hostile>"
    assert system_words(hostile) == ""
    assert retry_after(hostile) == 0
    assert is_safe_to_repeat(hostile) is False
    with_unspeakable = RefreshUnavailableError(Unspeakable())  # type: ignore[arg-type]
    assert careful(with_unspeakable) == "RefreshUnavailableError"
    assert careful_repr(with_unspeakable) == "<RefreshUnavailableError>"
    with_unspeakable.args = ()  # The canary of the suite reads it, too.
    around = ValueError()
    around.__cause__ = hostile
    assert system_words(around) == ""


def test_whether_it_is_safe_to_repeat_is_asked_of_our_own_class_only() -> None:
    assert is_safe_to_repeat(RefreshUnavailableError("x", safe_to_repeat=True))
    assert not is_safe_to_repeat(RefreshUnavailableError("x"))
    assert not is_safe_to_repeat(ValueError())


# --- subclasses that forget to call ours ----------------------------------------------------


def forgetful(base: type[Exception]) -> Exception:
    """Make an exception that does not call the constructor of its base."""

    def init(self: object, *args: object) -> None:
        pass

    return type(f"Forgetful{base.__name__}", (base,), {"__init__": init})(CANARY)  # type: ignore[no-any-return]


def test_a_subclass_that_does_not_call_our_constructor_has_what_we_read() -> None:
    refused: Any = forgetful(GrantRefusedError)
    assert (refused.error, refused.description, str(refused)) == ("", None, "")
    refused.error, refused.description = 5, CANARY.encode()
    assert str(refused) == ""
    unavailable: Any = forgetful(RefreshUnavailableError)
    assert (unavailable.retry_after, unavailable.safe_to_repeat) == (None, False)
    assert (unavailable.retry_at, unavailable._rotated) == (None, None)
    gone: Any = forgetful(LoggedOutError)
    assert (gone.reason, gone.at_unix) == ("asked", None)
    store: Any = forgetful(StoreError)
    assert (store.path, store.key) == (None, None)


def session_of(error: Exception) -> Any:
    async def renew(tokens: Tokens | None, endpoint: object) -> Tokens:
        await trio.lowlevel.checkpoint()
        raise error

    return open_session(
        renew,
        tokens=Tokens("access-0", "refresh-0", 3600),
        base_url="https://api.test",
        policy=RefreshPolicy(when_unavailable="log_out"),
    )


@pytest.mark.parametrize(
    ("base", "reason"),
    [(GrantRefusedError, "refused"), (GrantMisconfiguredError, ""), (RefreshUnavailableError, "")],
)
async def test_a_session_survives_a_grant_that_raises_such_a_subclass(
    base: type[Exception], reason: str, autojump_clock: MockClock
) -> None:
    async with session_of(forgetful(base)) as session:
        with pytest.raises(LoggedOutError if reason else base):
            await session.refresh()
        assert isinstance(session.state, LoggedOut if reason else LoggedIn)
        assert CANARY not in f"{session.state} {session.statistics()} {session.explain()}"


async def test_p17_a_foreign_cause_of_a_log_out_shows_only_its_class_and_line(
    autojump_clock: MockClock,
) -> None:
    async with session_of(ForeignOSError(CANARY)) as session:
        session.reject(1)
        with pytest.raises(LoggedOutError):
            await session.token()
        assert session.state.reason == "unavailable"
        shown = f"{session.state!r} {session.statistics()!r} {session.explain()}"
    assert "cause=<ForeignOSError in session_of.<locals>.renew (test_secrets.py:" in shown
    assert CANARY not in shown


def test_reprs_with_an_exception_in_them_are_careful() -> None:
    attempts = Attempts(RefreshPolicy(), failure=ValueError(CANARY))
    held = [LoggedOut("refused", ValueError(CANARY)), Setback(ValueError(CANARY), 1.0), attempts]
    assert CANARY not in repr(held)
    assert repr(held).count("<ValueError>") == 3
    assert repr(LoggedOut("asked")) == "LoggedOut(reason='asked', cause=None, at_unix=None)"
    ours = LoggedOut("refused", GrantRefusedError("invalid_grant"))
    assert repr(ours).endswith("cause=GrantRefusedError('invalid_grant', None), at_unix=None)")


# --- numbers from outside -------------------------------------------------------------------


class Odd(float):
    """A number that lies, and then raises."""

    def __lt__(self, other: object) -> bool:
        raise RuntimeError

    __gt__ = __le__ = __ge__ = __lt__

    def __float__(self) -> float:
        raise RuntimeError


SECONDS: list[tuple[Any, float | None]] = [
    (0, 0),
    (7, 7),
    (1e9, 1e9),
    (float("nan"), None),
    (float("inf"), None),
    (-1, None),
    (-float("inf"), None),
    (True, None),
    (10**400, None),
    (Odd(5), None),
    (None, None),
]


@pytest.mark.parametrize(("value", "read"), SECONDS)
def test_a_retry_after_that_is_no_number_of_seconds_counts_as_none(
    value: Any, read: float | None
) -> None:
    error = RefreshUnavailableError("busy", retry_after=value, safe_to_repeat=True)
    assert error.retry_after == read
    assert error.safe_to_repeat
    # Nor does it count if it got there in another way.
    error.retry_after = value
    assert retry_after(error) == min(read or 0, LONGEST_RETRY_AFTER)


@pytest.mark.parametrize("value", ["7", b"7", [7], 7j, Unspeakable])
def test_a_retry_after_that_is_no_number_never_makes_a_task_wait(value: Any) -> None:
    with pytest.raises(TypeError, match="retry_after must be seconds"):
        RefreshUnavailableError("busy", retry_after=value)
    error = RefreshUnavailableError("busy")
    error.retry_after = value
    assert retry_after(error) == 0


# --- pickles --------------------------------------------------------------------------------

SECRETIVE: dict[str, Callable[[], object]] = {
    "RefreshTokenGrant": lambda: RefreshTokenGrant(URL, client_id="id", client_secret=CANARY),
    "ClientCredentialsGrant": lambda: ClientCredentialsGrant(
        URL, client_id="id", client_secret=CANARY
    ),
    "BearerRefreshGrant": lambda: BearerRefreshGrant(URL, headers={"X-Key": CANARY}),
    "Client": lambda: RefreshTokenGrant(URL, client_id="id", client_secret=CANARY)._client,
    "TokenRequest": lambda: TokenRequest(URL, {"refresh_token": CANARY}),
    "Answer": lambda: Answer(200, body=CANARY.encode()),
    "Tokens": lambda: Tokens(CANARY),
}


@pytest.mark.parametrize("name", SECRETIVE)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_p17_what_holds_a_secret_can_not_be_pickled_but_copied(name: str, protocol: int) -> None:
    value = SECRETIVE[name]()
    with pytest.raises(TypeError, match=f"{name}.* can't be pickled") as caught:
        pickle.dumps([value], protocol)
    assert CANARY not in str(caught.value)
    assert copy.copy(value) == copy.deepcopy([value])[0] == value
    assert CANARY not in repr(value)


def test_a_hidden_secret_is_not_in_a_pickle() -> None:
    hidden = Hidden(CANARY)
    assert repr(hidden) == "<hidden>"
    assert pickle.loads(pickle.dumps(hidden)).value is None
    assert copy.copy(hidden).value == copy.deepcopy(hidden).value == CANARY


def test_when_a_login_ended_survives_a_pickle() -> None:
    error = LoggedOutError("it is over", "refused", at_unix=1e9)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason, again.at_unix) == ("it is over", "refused", 1e9)


# --- echoes ---------------------------------------------------------------------------------

SECRET = "s3cret/To ken+&=\"<'é"


def lower(text: str) -> str:
    return text.replace("%2F", "%2f").replace("%C3", "%c3")


ECHOES: dict[str, str] = {
    "as it is": SECRET,
    "in a URL": quote(SECRET, safe=""),
    "in a URL, in small letters": lower(quote(SECRET, safe="")),
    "in a URL, in both": lower(quote(SECRET, safe="")).replace("%2f", "%2F", 1),
    "in a URL, but for the slash": quote(SECRET),
    "in a form": quote_plus(SECRET),
    "in a form, twice": quote_plus(quote_plus(SECRET)),
    "each character": "".join(f"%{byte:02x}" for byte in SECRET.encode()),
    "in HTML": html.escape(SECRET),
    "in HTML, by numbers": "".join(f"&#{ord(char)};" for char in SECRET),
    "in HTML, by hexadecimal numbers": "".join(f"&#x{ord(char):X};" for char in SECRET),
    "in a form, in HTML": html.escape(quote_plus(SECRET)),
    "in JSON": json.dumps(SECRET)[1:-1],
    "in JSON, with slashes": json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    "in JSON, by numbers": "".join(f"\\u{ord(char):04x}" for char in SECRET),
    "in capitals": SECRET.upper(),
    "cut short": SECRET[:8],
    "its end": SECRET[-8:],
    "its middle, in a form": quote_plus(SECRET[3:14]),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_p17_a_secret_that_is_echoed_encoded_or_in_part_is_not_shown(echo: str) -> None:
    text = printable(f"the token {ECHOES[echo]} is over", secrets=("", SECRET))
    assert text == ("the token [redacted] is over" if echo == "as it is" else "[redacted]")
    body = {"error": f"odd {ECHOES[echo]}", "error_description": f"no {ECHOES[echo]}"}
    grant = RefreshTokenGrant(URL, client_id="id", client_secret=SECRET)
    with pytest.raises(RefreshUnavailableError) as caught:
        grant.read(Answer(400, body=json.dumps(body).encode()), Tokens("at", "rt"))
    assert ECHOES[echo] not in str(caught.value)
    assert str(caught.value).count("[redacted]") == 2


def test_an_echo_of_what_the_secret_is_when_decoded_is_not_shown() -> None:
    assert printable("no a/b/c/d/e", secrets=("a%2Fb%2Fc%2Fd%2Fe",)) == "[redacted]"
    basic = base64.b64encode(b"id:secret").decode()
    assert printable(f"no {basic[2:]}", secrets=(basic,)) == "[redacted]"


def test_what_has_nothing_in_common_with_a_secret_is_shown_as_it_is() -> None:
    for text in ("it is 100 % over + done", "&amp; %41 \\u0041 \\/", "s3cret/ To+ken", SECRET[:7]):
        assert printable(text, secrets=(SECRET, "rt1")) == text
    # A hole that the server has made itself.
    assert printable("a\0b rt1", secrets=("rt1",)) == "a b [redacted]"


def test_a_short_secret_is_dropped_when_encoded_too() -> None:
    assert printable("no s%2fe", secrets=("s/e",)) == "[redacted]"
    assert printable("no s/e", secrets=("s/e",)) == "no [redacted]"


def test_a_text_of_a_megabyte_is_read_no_further_than_it_is_shown() -> None:
    text = printable("x" * 1_000_000 + SECRET, secrets=("y" * 4000, SECRET))
    assert text == "x" * 200 + "..."
    # What is cut in two there does not show either, if much before it is cut out.
    cut = printable("y" * 4000 + "z" * 80 + SECRET, secrets=("y" * 4000, SECRET))
    assert SECRET[:8] not in cut


@given(st.text(), st.lists(st.text(st.characters(codec="ascii"), min_size=1), max_size=3))
def test_any_text_is_made_printable_without_the_secrets(text: str, secrets: list[str]) -> None:
    shown = printable(text, secrets=tuple(secrets))
    assert shown.isprintable()
    rest = shown.replace("[redacted]", "")
    assert not any(len(secret) > 7 and secret in rest for secret in secrets)

"""WWW-Authenticate: what servers say with a 401, well or badly."""

import time
from types import ModuleType

import attrs
import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioauth._challenge import Challenge, challenge, challenges, is_rejected


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


def answer(*lines: str, status: int = 401, library: ModuleType = httpx) -> httpx.Response:
    headers = [(b"WWW-Authenticate", line.encode("latin-1")) for line in lines]
    response: httpx.Response = library.Response(status, headers=headers)
    return response


def read(*lines: str) -> list[tuple[str, dict[str, str] | str | None]]:
    """The challenges as plain values: scheme, and parameters or token68 or nothing."""
    return [
        (each.scheme, each.token68 or dict(each.parameters) or None)
        for each in challenges(answer(*lines))
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Bearer", [("Bearer", None)]),
        ('Bearer realm="api"', [("Bearer", {"realm": "api"})]),
        ("Bearer realm=api", [("Bearer", {"realm": "api"})]),
        ('bEARER ERROR="invalid_token"', [("bEARER", {"error": "invalid_token"})]),
        ('Bearer realm="a", error="b"', [("Bearer", {"realm": "a", "error": "b"})]),
        ('Bearer realm="a",error="b"', [("Bearer", {"realm": "a", "error": "b"})]),
        ('Bearer realm = "a" ,\terror\t=\tb', [("Bearer", {"realm": "a", "error": "b"})]),
        ('Bearer   realm="a"', [("Bearer", {"realm": "a"})]),
        ('Bearer realm=""', [("Bearer", {"realm": ""})]),
        ("Negotiate", [("Negotiate", None)]),
        ("Negotiate YIIB+/a-._~==", [("Negotiate", "YIIB+/a-._~==")]),
        ("Negotiate abc", [("Negotiate", "abc")]),
        ("X-Own!#$%&'*+.^_`|~ a=b", [("X-Own!#$%&'*+.^_`|~", {"a": "b"})]),
        # A token68 or a parameter: what follows the "=" decides.
        ("Some abc=", [("Some", "abc=")]),
        ("Some abc=d", [("Some", {"abc": "d"})]),
        # Several in one line (the example of RFC 9110 11.6.1).
        (
            'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
            [
                ("Basic", {"realm": "simple"}),
                ("Newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
            ],
        ),
        ("Negotiate, NTLM", [("Negotiate", None), ("NTLM", None)]),
        ("Negotiate a==, Basic realm=x", [("Negotiate", "a=="), ("Basic", {"realm": "x"})]),
        # Inside quotes nothing means anything.
        ('Basic realm="a, Bearer error=b"', [("Basic", {"realm": "a, Bearer error=b"})]),
        ('Basic realm="a=b,c=\\"d\\\\"', [("Basic", {"realm": 'a=b,c="d\\'})]),
        ('Basic realm="\\a\\,"', [("Basic", {"realm": "a,"})]),
        ('Basic realm="caf\xe9"', [("Basic", {"realm": "caf\xe9"})]),
        ('Basic a=b, c="caf\xe9"', [("Basic", {"a": "b", "c": "caf\xe9"})]),
        # Empty elements of a list (RFC 9110 5.6.1).
        (", ,Bearer , ,error=a,, ,b=c,", [("Bearer", {"error": "a", "b": "c"})]),
        ("", []),
        (",", []),
        # The first of two of one name.
        ("Bearer error=a, Error=b", [("Bearer", {"error": "a"})]),
    ],
)
def test_the_grammar_of_rfc_9110(line: str, expected: object) -> None:
    assert read(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # A parameter that can't be read is left out; it still belongs to its challenge.
        ("Bearer realm=My API, error=b", [("Bearer", {"error": "b"})]),
        ('Bearer realm="a"b, error=b', [("Bearer", {"error": "b"})]),
        ("Bearer error=b, uri=https://x/y?z", [("Bearer", {"error": "b"})]),
        ("Bearer error=b, uri=, c=d", [("Bearer", {"error": "b", "c": "d"})]),
        ('Bearer error=b, c="d', [("Bearer", {"error": "b"})]),
        ('Bearer error=b, c="d, e=f', [("Bearer", {"error": "b"})]),
        ('Bearer error=b, c="d\\', [("Bearer", {"error": "b"})]),
        ('Bearer error=b, c="d\\"', [("Bearer", {"error": "b"})]),
        # What follows something unreadable may belong to that.
        ("Bearer error=b, B@d realm=x, error=c", [("Bearer", {"error": "b"})]),
        (
            "Bearer error=b, <html>, c=d, Basic e=f",
            [("Bearer", {"error": "b"}), ("Basic", {"e": "f"})],
        ),
        # No scheme before these.
        ("error=a", []),
        ('="", "Bearer", Bearer: error=a', []),
        ("\xe9", []),
        ("Bearer some words", [("Bearer", None)]),
    ],
)
def test_of_garbage_what_can_be_read_is_read(line: str, expected: object) -> None:
    assert read(line) == expected


def test_several_lines_are_one_list() -> None:
    assert read("Basic realm=a", 'Bearer error="b"') == [
        ("Basic", {"realm": "a"}),
        ("Bearer", {"error": "b"}),
    ]
    assert read("Bearer error=a", "realm=b") == [("Bearer", {"error": "a", "realm": "b"})]


def test_a_quote_left_open_does_not_reach_the_next_line() -> None:
    assert read('Basic realm="a', "Bearer error=b") == [("Basic", None), ("Bearer", {"error": "b"})]


def test_a_response_of_either_library_will_do(library: ModuleType) -> None:
    response = answer("Basic realm=a", "Bearer error=b, c=d", library=library)
    assert challenges(response) == (
        Challenge("Basic", {"realm": "a"}),
        Challenge("Bearer", {"error": "b", "c": "d"}),
    )
    assert challenges(library.Response(401)) == ()
    assert challenge(library.Response(401)) is None


# --- The values -----------------------------------------------------------------------------


def test_a_challenge_says_what_the_standards_define() -> None:
    each = Challenge(
        "Bearer",
        {
            "Realm": "api",
            "error": "insufficient_user_authentication",
            "error_description": "log in\nagain",
            "scope": "read  write",
            "acr_values": "urn:mfa urn:pin",
            "max_age": "300",
        },
    )
    assert each.realm == "api"
    assert each.error == "insufficient_user_authentication"
    assert each.error_description == "log in again"
    assert each.scope == {"read", "write"}
    assert each.acr_values == ("urn:mfa", "urn:pin")
    assert each.max_age == 300.0


def test_a_bare_challenge_says_nothing() -> None:
    each = Challenge("Bearer")
    assert (each.realm, each.error, each.error_description) == (None, None, None)
    assert (each.scope, each.acr_values, each.max_age) == (frozenset(), (), None)
    assert dict(each.parameters) == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("007", 7.0), ("", None), ("-1", None), ("1.5", None), ("1e3", None),
     ("\u0663", None), ("\xb2", None), ("9" * 15, 999999999999999.0), ("9" * 16, None)],
)  # fmt: skip
def test_max_age_is_a_whole_number_or_nothing(text: str, seconds: float | None) -> None:
    assert Challenge("Bearer", {"max_age": text}).max_age == seconds


def test_challenges_are_values() -> None:
    one = Challenge("Bearer", {"a": "1", "b": "2"})
    same = Challenge("Bearer", {"B": "2", "A": "1"})
    assert one == same
    assert hash(one) == hash(same)
    assert len({one, same, Challenge("Bearer", {"a": "1"})}) == 2
    assert one != Challenge("Bearer", {"a": "1", "b": "3"})
    assert one != Challenge("Basic", {"a": "1", "b": "2"})
    assert Challenge("Negotiate", token68="a") != Challenge("Negotiate", token68="b")


def test_challenges_can_not_be_changed() -> None:
    source = {"a": "1"}
    each = Challenge("Bearer", source)
    source["a"] = "2"
    assert each.parameters["a"] == "1"
    with pytest.raises(TypeError):
        each.parameters["a"] = "2"  # type: ignore[index]  # the point
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        each.scheme = "Basic"  # type: ignore[misc]  # the point


def test_the_repr_shows_no_values_because_servers_quote_tokens() -> None:
    each = Challenge("Bearer", {"error": "x", "error_description": "what is s3cret"})
    assert repr(each) == (
        "Challenge(scheme='Bearer', parameters=<error, error_description>, token68=None)"
    )
    assert repr(Challenge("Negotiate", token68="s3cret")) == (
        "Challenge(scheme='Negotiate', parameters=<>, token68=<hidden>)"
    )


# --- Choosing one ---------------------------------------------------------------------------


def test_challenge_finds_its_scheme_whatever_the_case() -> None:
    response = answer("Basic realm=a, bearer realm=b, BEARER realm=c")
    assert challenge(response) == Challenge("bearer", {"realm": "b"})
    assert challenge(response, "BASIC") == Challenge("Basic", {"realm": "a"})
    assert challenge(response, "DPoP") is None


def test_challenge_prefers_the_one_that_says_what_is_wrong() -> None:
    response = answer("Bearer realm=a, Bearer error=b, Bearer error=c, Basic error=d")
    assert challenge(response) == Challenge("Bearer", {"error": "b"})


# --- Would a refresh cure it? ---------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["<<>>"],
        ["error=insufficient_scope"],  # Whose is it?
        ["Bearer"],
        ['Bearer realm="api"'],
        ['bearer error="invalid_token"'],
        ["Bearer error=expired"],
        ["Basic realm=a, Bearer error=invalid_token"],
        ["Negotiate", "Bearer"],
        ["Bearer error=insufficient_scope", "Bearer error=invalid_token"],
        ["DPoP error=invalid_token, Bearer"],
        # Servers name any scheme to a request with a Bearer token.
        ["Basic realm=a"],
        ["Negotiate", "NTLM"],
        ["DPoP error=invalid_token"],
        ["Basic error=invalid_token"],
        ['OAuth2 error="invalid_token"'],
        ["JWT realm=api"],
        ["Token"],
        ["Bearer, DPoP error=use_dpop_nonce"],  # What we send is a Bearer token.
    ],
)
def test_a_refresh_would_cure_it(lines: list[str], library: ModuleType) -> None:
    assert is_rejected(answer(*lines, library=library)) is True


@pytest.mark.parametrize(
    "lines",
    [
        ["DPoP error=use_dpop_nonce"],
        ["OAuth2 error=insufficient_scope"],
        ["Bearer error=insufficient_user_authentication, max_age=5"],
        ["BEARER ERROR=insufficient_user_authentication"],
        ["Bearer error=insufficient_scope, scope=admin"],
        ["Bearer error=invalid_request"],
        ["Bearer error=invalid_request, Basic realm=b"],
        ["Bearer realm=My API, error=insufficient_scope"],
    ],
)
def test_a_refresh_would_not_cure_it(lines: list[str], library: ModuleType) -> None:
    assert is_rejected(answer(*lines, library=library)) is False


@pytest.mark.parametrize("status", [200, 303, 400, 402, 403, 407, 500])
def test_no_status_but_401_calls_for_a_refresh(status: int) -> None:
    assert is_rejected(answer("Bearer error=invalid_token", status=status)) is False


def test_the_headers_are_not_looked_at_without_a_401() -> None:
    @attrs.frozen
    class Fine:
        status_code: int = 200

        @property
        def headers(self) -> httpx.Headers:
            raise AssertionError("looked at")

    assert is_rejected(Fine()) is False


# --- Adversaries ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    ["a", "a ", "a,", "a=", "a=b,", 'a="', 'a="b",', '"', '\\"', '"\\', "\\", '"\\"', ",", " ",
     "\t,", "= ", "a a=b,", 'Bearer a="\\"",', "a==", "@,"],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "Bearer ", 'Bearer a="', 'Bearer "\\'])
def test_a_hundred_kilobytes_are_read_in_linear_time(prefix: str, unit: str) -> None:
    text = prefix + unit * (100_000 // len(unit))
    for tail in ("", "\\", '"', "!@"):
        response = answer(text + tail)
        start = time.process_time()
        challenges(response)
        # Generous: a quadratic reading takes minutes.
        assert time.process_time() - start < 2


def test_no_more_than_64_kilobytes_are_looked_at() -> None:
    assert len(challenges(answer("a," * 50_000))) == 32_768
    assert read("a" * 65_530, "Basic", "Bearer")[1:] == [("Basic", None), ("B", None)]
    assert len(challenges(answer("a," * 33_000, "b," * 1_000))) == 32_768


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
def test_no_text_makes_it_raise(lines: list[str]) -> None:
    response = answer(*lines)
    assert all(each.scheme for each in challenges(response))
    assert isinstance(is_rejected(response), bool)


@given(
    st.lists(st.sampled_from(["Bearer", "error", "=", '"', "\\", ",", " ", "a", "@"])).map("".join)
)
def test_no_heap_of_its_own_pieces_makes_it_raise(line: str) -> None:
    assert all(each.scheme for each in challenges(answer(line)))


_words = st.text("abcXYZ019-_.~!", min_size=1)
_values = st.text(st.characters(min_codepoint=32, max_codepoint=126))


def _quote(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def _written(draw: st.DrawFn) -> tuple[str, list[tuple[str, dict[str, str] | str | None]]]:
    """A header, and what it was made from."""
    meant: list[tuple[str, dict[str, str] | str | None]] = []
    text = draw(st.sampled_from(["", ",", " , "]))
    for scheme in draw(st.lists(_words, max_size=4)):
        comma = draw(st.sampled_from([",", ", ", " ,\t", ",,"]))
        names = draw(st.dictionaries(_words.map(str.lower), _values, max_size=3))
        text += scheme
        if names:
            equals = draw(st.sampled_from(["=", " = ", "\t="]))
            text += " " + comma.join(
                f"{name}{equals}{_quote(value)}" for name, value in names.items()
            )
        text += comma
        meant.append((scheme, names or None))
    return text, meant


@pytest.mark.slow
@given(_written())
def test_what_was_written_is_what_is_read(written: tuple[str, object]) -> None:
    line, meant = written
    assert read(line) == meant


def test_no_line_beyond_64_kilobytes_is_looked_at() -> None:
    assert read("Basic".ljust(65536), "Bearer", "Bearer") == [("Basic", None)]
    assert read("Basic".ljust(65530), "Bearer", "Digest") == [("Basic", None), ("Bearer", None)]


def test_what_looks_like_a_space_is_part_of_no_challenge() -> None:
    assert read("\xa0Bearer") == []
    assert read("\x0bBearer, Basic") == [("Basic", None)]


def test_a_line_break_in_a_quoted_string_ends_neither_it_nor_the_challenge() -> None:
    assert read('Bearer realm="a\nb", x="\\\n"') == [("Bearer", {"realm": "a\nb", "x": "\n"})]
    assert read('Bearer realm="\\\n"') == [("Bearer", {"realm": "\n"})]

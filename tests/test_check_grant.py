"""check_grant: our own grants pass, and each way of breaking a grant's promises is told apart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio
import trio.testing

from trioauth import (
    Answer,
    BearerRefreshGrant,
    ClientCredentialsGrant,
    GrantMisconfiguredError,
    GrantRefusedError,
    RefreshUnavailableError,
    TokenEndpoint,
    TokenRequest,
    Tokens,
)
from trioauth.testing import AuthServer, GrantAnswers, check_grant

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("autojump_clock")

URL = "https://id.test/token"


def bearer_granted(tokens: Tokens) -> Answer:
    body = {"accessToken": tokens.access_token, "expiresIn": tokens.expires_in}
    if tokens.refresh_token is not None:
        body["refreshToken"] = tokens.refresh_token
    return Answer(200, body=json.dumps(body).encode())


BEARER = GrantAnswers(
    granted=bearer_granted,
    refused=[Answer(401), Answer(403, body=b"not with $refresh_token"), Answer(400)],
    misconfigured=[],
    # It has no other way to say no to a login.
    no_tokens=[],
)


async def good(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    """A grant that keeps its promises. What follows breaks one of them each."""
    return read(await send(tokens, endpoint))


async def send(tokens: Tokens | None, endpoint: TokenEndpoint) -> Answer:
    if tokens is None or tokens.refresh_token is None:
        raise GrantRefusedError("no_refresh_token")
    return await endpoint.send(TokenRequest(URL, data={"refresh_token": tokens.refresh_token}))


def read(answer: Answer) -> Tokens:
    body: Any = None
    try:
        body = json.loads(answer.body)
    except ValueError:
        pass
    if answer.status == 200 and body is not None:
        return Tokens.from_response(body)
    if body is not None and answer.status == 400:
        raise GrantRefusedError(body["error"])
    if body is not None and answer.status == 401:
        raise GrantMisconfiguredError(body["error"])
    raise RefreshUnavailableError(f"status {answer.status}")


# --- the grants of the library ----------------------------------------------------------------


async def test_a_grant_that_keeps_its_promises_passes() -> None:
    await check_grant(good)


@pytest.mark.parametrize("secret", [None, "cs-canary-secret"])
async def test_refresh_token_grant_passes(secret: str | None) -> None:
    server = AuthServer(client_secret=secret)
    await check_grant(server.grant(), server=server)
    # Renewed three times in a row, and refused once.
    outcomes = [each.outcome for each in server.ledger.presented]
    assert outcomes == ["rotated", "rotated", "rotated", "refused"]


async def test_client_credentials_grant_passes() -> None:
    server = AuthServer(client_secret="cs-canary-secret")
    grant = ClientCredentialsGrant(
        server.token_url, client_id="client", client_secret="cs-canary-secret"
    )
    await check_grant(grant, server=server)
    assert server.ledger.refreshes == 4


async def test_bearer_refresh_grant_passes() -> None:
    server = AuthServer()
    await check_grant(BearerRefreshGrant(server.bearer_refresh_url), answers=BEARER, server=server)
    assert server.ledger.refreshes == 3


async def test_bearer_refresh_grant_passes_with_codes_of_its_servers_own() -> None:
    grant = BearerRefreshGrant(URL, bare_status_refuses=False, refusals={"code": [17]})
    refused = [Answer(status, body=b'{"code": 17}') for status in (200, 401, 500)]
    unavailable = [Answer(401), Answer(403, body=b'{"code": 18}'), Answer(500)]
    answers = GrantAnswers(
        granted=bearer_granted, refused=refused, misconfigured=[], unavailable=unavailable
    )
    await check_grant(grant, answers=answers)


async def test_a_server_that_always_sends_a_refresh_token_is_not_asked_for_less() -> None:
    def granted(tokens: Tokens) -> Answer | None:
        return None if tokens.refresh_token is None else bearer_granted(tokens)

    async def ours(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        body = json.loads((await send(tokens, endpoint)).body)
        return Tokens(body["accessToken"], body["refreshToken"], body["expiresIn"])

    answers = GrantAnswers(
        granted=granted, refused=[], misconfigured=[], no_tokens=[], unavailable=[]
    )
    await check_grant(ours, answers=answers)


async def test_a_server_that_does_not_answer_in_json_is_not_cut_short() -> None:
    async def ours(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        answer = await send(tokens, endpoint)
        access_token, _, refresh_token = answer.body.decode().partition(" ")
        return Tokens(access_token, refresh_token or None)

    answers = GrantAnswers(
        granted=lambda tokens: Answer(
            200, body=f"{tokens.access_token} {tokens.refresh_token or ''}".strip().encode()
        ),
        refused=[],
        misconfigured=[],
        no_tokens=[],
        unavailable=[],
    )
    await check_grant(ours, answers=answers)


async def test_answers_that_can_grant_nothing_are_a_mistake() -> None:
    with pytest.raises(TypeError, match="granted must return an Answer for tokens with all parts"):
        await check_grant(good, answers=GrantAnswers(granted=lambda tokens: None))


# --- broken -----------------------------------------------------------------------------------


def is_synchronous(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return Tokens("access")


async def returns_the_answer(tokens: Tokens | None, endpoint: TokenEndpoint) -> Any:
    return json.loads((await send(tokens, endpoint)).body)


async def asks_elsewhere(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    await trio.lowlevel.checkpoint()
    return Tokens("access", "refresh")


async def expects_another_answer(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return Tokens(json.loads((await send(tokens, endpoint)).body)["jwt"])


async def returns_the_old_access_token(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    renewed = await good(tokens, endpoint)
    assert tokens is not None
    return attrs.evolve(renewed, access_token=tokens.access_token)


async def loses_the_new_refresh_token(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return attrs.evolve(await good(tokens, endpoint), refresh_token=None)


async def counts_in_milliseconds(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    renewed = await good(tokens, endpoint)
    return attrs.evolve(renewed, expires_in=1000 * (renewed.expires_in or 0))


async def requires_a_refresh_token_back(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    answer = await send(tokens, endpoint)
    if answer.status == 200:
        body = json.loads(answer.body)
        return Tokens(body["access_token"], body["refresh_token"], body["expires_in"])
    return read(answer)


async def makes_up_a_refresh_token(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    answer = await send(tokens, endpoint)
    if answer.status == 200:
        body = json.loads(answer.body)
        return Tokens(body["access_token"], str(body.get("refresh_token")), body["expires_in"])
    return read(answer)


def remembers_its_refresh_token() -> Any:
    remembered: list[Tokens] = []

    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        remembered.append(await good(remembered[-1] if remembered else tokens, endpoint))
        return remembered[-1]

    return grant


async def presents_twice(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    try:
        return await good(tokens, endpoint)
    except RefreshUnavailableError:
        return await good(tokens, endpoint)


async def presents_none(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    assert tokens is not None
    form = {"refresh_token": str(tokens.refresh_token)}
    return read(await endpoint.send(TokenRequest(URL, data=form)))


async def stumbles_without_a_refresh_token(
    tokens: Tokens | None, endpoint: TokenEndpoint
) -> Tokens:
    assert tokens is not None
    header = "Bearer " + tokens.refresh_token  # type: ignore[operator]  # that is the mistake
    return read(await endpoint.send(TokenRequest(URL, headers={"Authorization": header})))


async def takes_a_refusal_for_an_outage(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    answer = await send(tokens, endpoint)
    if answer.status == 400:
        raise RefreshUnavailableError("no")
    return read(answer)


async def takes_a_wrong_client_for_a_refusal(
    tokens: Tokens | None, endpoint: TokenEndpoint
) -> Tokens:
    answer = await send(tokens, endpoint)
    if answer.status == 401:
        raise GrantRefusedError("unauthorized")
    return read(answer)


async def takes_an_outage_for_a_refusal(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    answer = await send(tokens, endpoint)
    if answer.status >= 500:
        raise GrantRefusedError("failed")
    return read(answer)


async def takes_a_cut_answer_for_a_refusal(
    tokens: Tokens | None, endpoint: TokenEndpoint
) -> Tokens:
    answer = await send(tokens, endpoint)
    if answer.status == 200 and answer.body.startswith(b"{") and not answer.body.endswith(b"}"):
        raise GrantRefusedError("garbage")
    return read(answer)


async def takes_no_connection_for_a_refusal(
    tokens: Tokens | None, endpoint: TokenEndpoint
) -> Tokens:
    try:
        return await good(tokens, endpoint)
    except RefreshUnavailableError as exc:
        if exc.safe_to_repeat:
            raise GrantRefusedError("down") from None
        raise


async def keeps_the_old_tokens_in_an_outage(
    tokens: Tokens | None, endpoint: TokenEndpoint
) -> Tokens:
    try:
        return await good(tokens, endpoint)
    except RefreshUnavailableError:
        assert tokens is not None
        return tokens


async def claims_it_is_safe_to_repeat(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    try:
        return await good(tokens, endpoint)
    except RefreshUnavailableError:
        pass
    raise RefreshUnavailableError("later", safe_to_repeat=True)


async def quotes_the_answer(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    answer = await send(tokens, endpoint)
    if answer.status == 400:
        raise LookupError(f"refused: {answer.body!r}")
    return read(answer)


async def quotes_the_answer_in_a_context(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    answer = await send(tokens, endpoint)
    try:
        if answer.status == 400:
            raise LookupError(answer.body)
        return read(answer)
    except LookupError:
        raise GrantRefusedError("invalid_grant") from None


async def quotes_the_answer_in_a_note(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    answer = await send(tokens, endpoint)
    try:
        return read(answer)
    except GrantRefusedError as exc:
        exc.add_note(answer.body.decode())
        raise


async def returns_when_cancelled(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    assert tokens is not None
    try:
        return await good(tokens, endpoint)
    except trio.Cancelled:
        return tokens


async def raises_something_else_when_cancelled(
    tokens: Tokens | None, endpoint: TokenEndpoint
) -> Tokens:
    try:
        return await good(tokens, endpoint)
    except trio.Cancelled:
        raise RefreshUnavailableError("cancelled") from None


async def raises_something_else_when_cancelled_later(
    tokens: Tokens | None, endpoint: TokenEndpoint
) -> Tokens:
    renewed = await good(tokens, endpoint)
    try:
        await trio.lowlevel.checkpoint()
    except trio.Cancelled:
        raise RefreshUnavailableError("cancelled") from None
    return renewed


async def shields_itself(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    with trio.CancelScope(shield=True) as scope:
        renewed = await good(tokens, endpoint)
    assert not scope.cancelled_caught
    return renewed


async def never_ends(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    while True:
        try:
            return await good(tokens, endpoint)
        except RefreshUnavailableError:
            await trio.sleep(1000)


async def needs_no_human_but_does(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return await good(tokens, endpoint)


needs_no_human_but_does.unattended = True  # type: ignore[attr-defined]


async def takes_json_without_tokens_for_a_refusal(
    tokens: Tokens | None, endpoint: TokenEndpoint
) -> Tokens:
    answer = await send(tokens, endpoint)
    if answer.status == 200 and b"maintenance" in answer.body:
        raise GrantRefusedError("no_tokens")
    return read(answer)


async def takes_any_error_for_a_refusal(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    answer = await send(tokens, endpoint)
    if answer.status == 200 and b'"error"' in answer.body:
        raise GrantRefusedError(json.loads(answer.body)["error"])
    return read(answer)


async def says_whose_it_is_by_a_number(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
    return await good(tokens, endpoint)


says_whose_it_is_by_a_number.owner = 7  # type: ignore[attr-defined]


BROKEN: dict[Callable[..., Any], str] = {
    is_synchronous: "must be async",
    returns_the_answer: "must return trioauth.Tokens, and returned a dict",
    asks_elsewhere: "must ask by the endpoint it is given, and nothing arrived there",
    expects_another_answer: "must return the tokens that its server granted, and raised KeyError",
    returns_the_old_access_token: "must return the access token that its server sent",
    loses_the_new_refresh_token: "must return the new refresh token that its server sent",
    counts_in_milliseconds: "lifetime in seconds .* returned 3600000.0 for 3600.0",
    requires_a_refresh_token_back: "answer without a refresh token .* and raised KeyError",
    makes_up_a_refresh_token: "answer without a refresh token .* and returned tokens",
    remembers_its_refresh_token: "must present the refresh token it is given",
    presents_twice: "must present the refresh token once a call, and presented it 2 times",
    presents_none: "GrantRefusedError if there is no refresh token, and asked its server",
    stumbles_without_a_refresh_token: "if there is no refresh token, and raised TypeError",
    takes_a_refusal_for_an_outage: "server says no .status 400., and raised RefreshUnavailable",
    takes_a_wrong_client_for_a_refusal: "not know the client .status 401., and raised GrantRefused",
    takes_an_outage_for_a_refusal: "must not let status 503 end or start .* raised GrantRefused",
    takes_a_cut_answer_for_a_refusal: "must not let an answer that was cut short end or start",
    takes_no_connection_for_a_refusal: "must not let a server that can't be reached end or",
    keeps_the_old_tokens_in_an_outage: "must not let status 503 end or .*, and returned tokens",
    claims_it_is_safe_to_repeat: "must not claim safe_to_repeat",
    quotes_the_answer: "error must show no token, and its LookupError does",
    quotes_the_answer_in_a_context: "error must show no token, and its GrantRefusedError does",
    quotes_the_answer_in_a_note: "error must show no token, and its GrantRefusedError does",
    returns_when_cancelled: "must let trio.Cancelled pass, and returned Tokens instead",
    raises_something_else_when_cancelled: "let trio.Cancelled pass, and raised RefreshUnavailable",
    raises_something_else_when_cancelled_later: "must end with trio.Cancelled when it is cancelled",
    shields_itself: "must leave when it is cancelled, and stayed for 10.0 seconds",
    never_ends: "must come to an end, and this one took more than 10.0 seconds",
    needs_no_human_but_does: "must obtain tokens when it is given none, and raised GrantRefused",
    takes_json_without_tokens_for_a_refusal: "must not let JSON without tokens and without a known",
    takes_any_error_for_a_refusal: "must not let JSON without tokens .* raised GrantRefused",
    says_whose_it_is_by_a_number: "`owner` must be a printable string .* and it is of type int",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_grant_is_told_which_promise_it_breaks(broken: Any) -> None:
    grant = broken() if broken is remembers_its_refresh_token else broken
    with pytest.raises(AssertionError, match=f"^a grant.*{BROKEN[broken]}") as info:
        await check_grant(grant)
    sentence = str(info.value)
    assert "\n" not in sentence
    assert ":" in sentence, "it says how to mend it, too"
    assert "check-grant-" not in sentence


# --- on a server ------------------------------------------------------------------------------


def at(url: str) -> Any:
    async def grant(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        assert tokens is not None
        if tokens.refresh_token is None:
            raise GrantRefusedError("no_refresh_token")
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
        return read(await endpoint.send(TokenRequest(url, data={**form, "client_id": "client"})))

    return grant


async def test_a_grant_that_the_server_does_not_understand_is_told_so() -> None:
    server = AuthServer()
    with pytest.raises(AssertionError, match="must renew on <AuthServer .*GrantMisconfigured"):
        await check_grant(good, server=AuthServer(client_id="other"))
    with pytest.raises(AssertionError, match="must renew on <AuthServer .* three times in a row"):
        await check_grant(at(server.url), server=server)
    await check_grant(at(server.token_url), server=server)


async def test_a_grant_that_is_not_refused_by_a_server_that_refuses_is_told_so() -> None:
    server = AuthServer()
    grant = server.grant()

    async def patient(tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        try:
            return await grant(tokens, endpoint)
        except GrantRefusedError as exc:
            if exc.description is not None and "no longer" in exc.description:
                raise RefreshUnavailableError("not now") from None
            raise

    with pytest.raises(AssertionError, match="when AuthServer has ended the login"):
        await check_grant(patient, server=server)


def test_the_default_answers_are_those_of_oauth() -> None:
    answers = GrantAnswers()
    whole = answers.granted(Tokens("a", "r", 60.0))
    bare = answers.granted(Tokens("a"))
    assert whole is not None
    assert bare is not None
    assert json.loads(whole.body) == {
        "access_token": "a",
        "token_type": "Bearer",
        "expires_in": 60.0,
        "refresh_token": "r",
    }
    assert json.loads(bare.body) == {"access_token": "a", "token_type": "Bearer"}
    assert isinstance(whole.headers, httpx.Headers)
    assert [answer.status for answer in answers.unavailable] == [503, 429, 500, 502, 302, 200]

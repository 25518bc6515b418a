"""What all log-ins have in common: who asks, bounded requests, a prompt beside the waiting."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import trio

from trioauth._errors import RefreshUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from trioauth.oauth.answers import Rules
    from trioauth.oauth.channel import Answer, BackChannel
    from trioauth.oauth.form import Parameters
    from trioauth.oauth.metadata import AuthorizationServer

    from .ports import Redirect
    from .prompt import Invitation, Prompt

ResultT = TypeVar("ResultT")

# A server that takes longer than this over one request has a problem; the person is waiting.
_LONGEST_REQUEST: Final = 30.0


class LoginClient(Protocol):
    """What is used of an `OAuthClient`: so that these files need not know it."""

    @property
    def client_id(self) -> str: ...  # noqa: D102  # see there, as for those below
    @property
    def owner(self) -> str: ...  # noqa: D102
    @property
    def scope(self) -> str: ...  # noqa: D102
    @property
    def more(self) -> Parameters: ...  # noqa: D102
    @property
    def resources(self) -> Parameters: ...  # noqa: D102
    @property
    def redirect_uri(self) -> str: ...  # noqa: D102
    @property
    def redirect(self) -> Redirect: ...  # noqa: D102
    @property
    def rules(self) -> Rules: ...  # noqa: D102
    async def server_of(self, endpoint: BackChannel) -> AuthorizationServer: ...  # noqa: D102
    async def ask(  # noqa: D102
        self, endpoint: BackChannel, url: str, form: Parameters, *, secrets: Iterable[str] = ()
    ) -> Answer: ...


async def find_server(client: LoginClient, endpoint: BackChannel) -> AuthorizationServer:
    """Return what is known of the server of a client; found out if need be.

    Cancellation:
      Safe. Nothing is remembered.

    Raises:
      MetadataError: Its metadata can't be used.
      RefreshUnavailableError: They are not to be had now.
    """
    return await bounded(partial(client.server_of, endpoint), "finding out about the server")


async def bounded(ask: Callable[[], Awaitable[ResultT]], what: str) -> ResultT:
    """Ask a server something, but not for ever (P20).

    Args:
      ask: Sends the request.
      what: Which request it is, for the error.

    Cancellation:
      As that of ``ask``.

    Raises:
      RefreshUnavailableError: There was no answer in time.
      Exception: What ``ask`` raises.
    """
    with trio.move_on_after(_LONGEST_REQUEST):
        return await ask()
    raise RefreshUnavailableError(
        f"{what}: the server gave no answer within {_LONGEST_REQUEST:g} seconds"
    )


async def with_prompt(
    prompt: Prompt,
    invitation: Invitation,
    wait: Callable[[], Awaitable[ResultT]],
    *,
    pasted: Callable[[str], None],
    undecided: Callable[[], bool],
) -> ResultT:
    """Show a person an invitation, and wait until the log-in has ended.

    Args:
      prompt: Is cancelled then. If it fails before, the log-in fails with what it raised: the
          person may have seen nothing.
      invitation: What it shows.
      wait: Waits for the end.
      pasted: Takes what the person pasted.
      undecided: Says whether the person's answer is still to come. If it is here, the log-in needs
          no prompt any more, and does not end with it.

    Cancellation:
      As that of ``wait``. In any case the prompt has ended.

    Raises:
      Exception: What ``wait`` or the prompt raises, as itself.
    """
    failure: BaseException | None = None
    results: list[ResultT] = []

    async def show() -> None:
        nonlocal failure
        await trio.lowlevel.checkpoint()
        try:
            text = await prompt(invitation)
        except trio.Cancelled:
            raise
        except BaseException as exc:  # noqa: BLE001  # raised below; Control-C is one, too
            # When the log-in has ended, its result or its error must not be lost: a prompt with
            # tasks of its own raises a group when it is cancelled.
            if not nursery.cancel_scope.cancel_called and undecided():
                failure = exc
                nursery.cancel_scope.cancel(reason="trioauth: the prompt of the log-in failed")
            return
        if text is not None:
            pasted(text)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(show)
        try:
            results.append(await wait())
        except trio.Cancelled:
            raise
        except BaseException as exc:  # noqa: BLE001  # raised below
            # If the prompt has failed, this is the cancellation of a nursery in `wait`.
            failure = exc if failure is None else failure
        # From here on a cancellation must not lose what the log-in has brought.
        nursery.cancel_scope.shield = True
        nursery.cancel_scope.cancel(reason="trioauth: the log-in has ended")
    if failure is not None:
        # Outside the nursery, which would wrap it.
        raise failure
    return results[0]

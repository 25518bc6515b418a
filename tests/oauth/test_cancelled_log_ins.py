"""Each way to log in, cancelled at each checkpoint, with everything kept in files (P24)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from trioauth import Begun, FileStore, OAuthClient
from trioauth.oauth.logins import interactive
from trioauth.oauth.logins.opening import Surroundings
from trioauth.testing import AuthServer, Victim, every_checkpoint

from .people import Watched, brought_back, client_of, is_free
from .stage import MCP, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trioauth import ResourceClient, Session

# Some hundred runs each, with files.
pytestmark = pytest.mark.slow

CALLBACK = "http://127.0.0.1:8000/callback"
# Without pushed requests, so that the prompt sees the port.
SERVER = attrs.evolve(
    MCP,
    interval=0,
    redirects="exact",
    endpoints={name: at for name, at in MCP.endpoints.items() if name != "par"},
)


def stranger(stage: Stage) -> ResourceClient:
    """A client that registers itself, and keeps that in a file."""
    return stage.client()


def acquainted(stage: Stage) -> OAuthClient:
    """A client that was registered by hand."""
    return client_of(stage.auth, redirect_uri="http://127.0.0.1/callback")


@attrs.frozen
class Way:
    """How the person logs in."""

    name: str
    stage: Stage
    client: Any
    prompt: Watched

    async def __call__(self, session: Session) -> None:
        if self.name == "halves":
            begun = await self.client.begin(session.back_channel, redirect_uri=CALLBACK)
            kept = Begun.from_text(begun.to_text())
            address = await brought_back(self.stage.auth, kept)
            await session.log_in(self.client.finish(kept, address))
        else:
            log_in = getattr(self.client, self.name)(prompt=self.prompt)
            await session.log_in(log_in)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["browser", "device", "interactive", "halves"])
@pytest.mark.parametrize("make", [acquainted, stranger], ids=["given", "registered"])
def test_p24_cancelled_anywhere_no_way_to_log_in_leaves_a_port_a_task_a_file_or_half_a_login(
    make: Callable[[Stage], Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = itertools.count()
    # Not the machine that the tests run on.
    here = Surroundings(commands=(("xdg-open",),))
    monkeypatch.setattr(interactive, "look_around", lambda: here)

    async def scenario(victim: Victim) -> None:
        folder = tmp_path / str(next(runs))
        folder.mkdir()
        uris = [CALLBACK, "http://127.0.0.1/callback"]
        persona = SERVER if make is stranger else attrs.evolve(SERVER, redirects="loopback")
        auth = AuthServer(persona=persona, scope="notes", redirect_uris=uris)
        auth.approve()
        stage = Stage(folder, auth)
        prompt = Watched(auth.person())
        async with stage.open(make(stage)) as session:
            await victim(Way(name, stage, make(stage), prompt), session)
            if prompt.invitation is not None and prompt.invitation.kind != "device":
                assert is_free(prompt.port)
            assert prompt.invitation is None or victim.cancelled or session.logged_in
        # The session is closed. What is in the files is all or nothing.
        assert trio.lowlevel.current_statistics().tasks_living <= 3
        expected = {f"{kept}.json{end}" for kept in ("client", "tokens") for end in ("", ".lock")}
        with trio.fail_after(300):
            # A thread that was abandoned may be about to remove what it has tried.
            while not names_in(folder) <= expected:  # noqa: ASYNC110  # it sets no event
                await trio.sleep(0.01)
        record = await FileStore(folder / "tokens.json").load()
        logged_in = record is not None and record.tokens is not None
        assert logged_in or victim.cancelled
        client = make(stage)
        async with stage.open(client) as session:
            assert session.logged_in is logged_in
            if not logged_in:
                await session.log_in(client.browser(prompt=auth.person()))
            await session.refresh()
        auth.check()

    # Files take real time. A device is asked for once a second at most.
    rate = 10 if name == "device" else 1
    tried = every_checkpoint(scenario, seeds=[0], clock=lambda: trio.testing.MockClock(rate=rate))
    assert tried.failures == ()
    assert len(tried.points) > 20

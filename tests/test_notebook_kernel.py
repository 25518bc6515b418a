"""A real kernel: what is held lives on between cells, through an interrupt, and ends in order."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Whatever jupyter_client and zmq find deprecated in each other is theirs.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class OwnKernel(KernelSpecManager):
    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        start = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f"]
        return KernelSpec(argv=[*start, "{connection_file}"], display_name="", language="python")


class Kernel:
    """A kernel, to send cells to."""

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_spec_manager=OwnKernel())
        self.manager.start_kernel()
        self.client: Any = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def __call__(self, cell: str, *, interrupt_at: str = "") -> str:
        """Run a cell; return its status and all that it showed.

        Args:
          cell: The code.
          interrupt_at: Interrupt it as soon as it has printed this.
        """
        shown: list[str] = []

        def output(message: dict[str, Any]) -> None:
            content = message["content"]
            shown.append(content.get("text", ""))
            shown.append(content.get("data", {}).get("text/plain", ""))
            shown.append(content.get("ename", ""))
            if interrupt_at and interrupt_at in content.get("text", ""):
                self.manager.interrupt_kernel()

        reply = self.client.execute_interactive(
            textwrap.dedent(cell), output_hook=output, timeout=60
        )
        return " ".join([reply["content"]["status"], *filter(None, shown)])

    def shut_down(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    kernel = Kernel()
    yield kernel
    if kernel.manager.is_alive():
        kernel.shut_down()


@pytest.mark.slow
def test_a_session_lives_in_a_kernel_until_its_end(kernel: Kernel, tmp_path: Path) -> None:
    assert kernel("%load_ext trioauth.notebook").startswith("ok")
    assert kernel(
        f"""
        import trio, trioauth
        from trioauth.testing import AuthServer
        server = AuthServer()
        session = await hold(trioauth.open_session(
            trioauth.RefreshTokenGrant(server.token_url, client_id="client"),
            tokens=server.log_in(),
            store=trioauth.FileStore({str(tmp_path / "tokens.json")!r}),
            base_url=server.url,
            transport=server.transport(),
        ))
        nursery = await hold(trio.open_nursery())
        nursery.start_soon(trio.sleep_forever)
        """
    ).startswith("ok")
    assert kernel("(await session.get('/me')).status_code") == "ok 200"

    interrupted = kernel("print('waits'); await trio.sleep_forever()", interrupt_at="waits")
    assert interrupted.startswith("error waits")
    assert interrupted.endswith("KeyboardInterrupt")
    assert kernel("(await session.get('/me')).status_code, len(nursery.child_tasks)") == (
        "ok (200, 1)"
    )

    # The end of the kernel comes while a refresh is in the air. It lands, and is saved.
    kernel("server.delay(0.3)")
    assert kernel("with trio.move_on_after(0.05): await session.refresh()") == "ok"
    assert kernel("session.statistics().generation") == "ok 1"
    kernel.shut_down()
    assert '"generation": 2' in (tmp_path / "tokens.json").read_text("utf-8")

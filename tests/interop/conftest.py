"""The fixture `provider`: a real authorization server, with nothing in it when a test begins."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from .install import NodeMissingError, find_program, install
from .provider import Provider, run_provider

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def provider_process() -> Iterator[Provider]:
    try:
        find_program("node")
        install()
    except (NodeMissingError, subprocess.CalledProcessError) as exc:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(exc))
    with run_provider() as provider:
        yield provider


@pytest.fixture
def provider(provider_process: Provider) -> Provider:
    provider_process.reset()
    return provider_process

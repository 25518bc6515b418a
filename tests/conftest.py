"""The canary for the whole suite: no test may make the package show a secret (P17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .canary import Canary

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def canary() -> Iterator[Canary]:
    """Watch what the package shows during a test; a secret in it makes the test fail."""
    canary = Canary()
    stop = canary.listen()
    with pytest.MonkeyPatch.context() as patch:
        canary.watch(patch)
        try:
            yield canary
        finally:
            stop()
    found = canary.found()
    canary.clear()
    assert not found, f"a secret showed in {found}"

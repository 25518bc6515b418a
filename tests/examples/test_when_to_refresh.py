"""The numbers of docs/howto/when-to-refresh.md."""

from __future__ import annotations

import re

import attrs
import pytest

from trioauth import RefreshPolicy, Tokens
from trioauth._core.flight import Generation, Login

from . import EXAMPLES

PAGE = (EXAMPLES.parent / "howto" / "when-to-refresh.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("title", "lifetime"), [("one hour", 3600), ("one minute", 60), ("two seconds", 2)]
)
def test_the_page_says_when_a_token_is_early_and_stale(title: str, lifetime: float) -> None:
    generation = Generation.schedule(
        1, Login(), Tokens("token", expires_in=lifetime), asked_at=0, policy=RefreshPolicy()
    )
    early, stale = (lifetime - at for at in (generation.early_at, generation.stale_at))
    assert f"| {title} | {early:g} s left | {stale:g} s left |" in PAGE


def test_the_page_has_the_defaults_of_the_policy() -> None:
    defaults = attrs.asdict(RefreshPolicy())
    named = re.findall(r"`(\w+)` \(([\d.]+)(?: s)?\)", PAGE)
    assert len(named) == 7
    for name, value in named:
        assert defaults[name] == float(value), name

"""The variants of tests/broken are still mistakes in today's code; `make proof` tries them all."""

from __future__ import annotations

import ast

import pytest
import trio.testing

from trioauth import RefreshTokenGrant, open_session
from trioauth.testing import AuthServer

from .broken.run import broken_copy, broken_sources, test_catches, works_in_fair_weather
from .broken.variant import Edit, Variant
from .broken.variants import VARIANTS

# Functions of those names, not tests.
test_catches.__test__ = False  # type: ignore[attr-defined]


async def test_a_session_works_in_fair_weather(autojump_clock: trio.testing.MockClock) -> None:
    server = AuthServer(lifetime=600)
    grant = RefreshTokenGrant(server.token_url, client_id="client")
    async with open_session(
        grant, tokens=server.log_in(), base_url=server.url, transport=server.transport()
    ) as session:
        assert (await session.get("/notes")).json()["generation"] == 1
        await trio.sleep(599)
        assert (await session.get("/notes")).json()["generation"] == 2


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_each_variant_fits_the_code_and_is_python(variant: Variant) -> None:
    for source in broken_sources(variant).values():
        ast.parse(source)


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS) >= 15


def test_a_variant_that_the_code_has_left_behind_is_an_error_that_says_so() -> None:
    variant = Variant("stale", (Edit("auth", "no such line", ""),), "")
    with pytest.raises(LookupError, match="0 places in modules called auth .*change tests/broken"):
        broken_sources(variant)
    twice = Variant("twice", (Edit("client", "import", ""),), "")
    with pytest.raises(LookupError, match=r"[2-9]\d* places in modules called client "):
        broken_sources(twice)


@pytest.mark.slow
def test_a_variant_is_caught_by_its_test_and_the_library_as_it_is_is_not() -> None:
    """One of them, for all: the others take too long here."""
    variant = VARIANTS[5]
    with broken_copy(variant) as folder:
        assert works_in_fair_weather(folder)
        assert test_catches(variant, folder)
    harmless = Variant("harmless", (), variant.caught_by)
    with broken_copy(harmless) as folder:
        assert not test_catches(harmless, folder)

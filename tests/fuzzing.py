"""How many examples a test is worth, in the ordinary suite and in the proof."""

from __future__ import annotations

from hypothesis import settings

_ORDINARY = 100


def examples(number: int) -> settings:
    """So many in the ordinary suite, and as many times more as the profile has."""
    factor = max(1, settings.default.max_examples // _ORDINARY) if settings.default else 1
    return settings(max_examples=number * factor, deadline=None)

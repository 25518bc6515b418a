"""What a variant is, and where the tests are that catch them."""

from __future__ import annotations

import attrs

AMENDED_TESTS = "tests/test_amended_promises.py::"
CANCELLATION = "tests/test_promises_cancellation.py::"
FINDS = "tests/test_simulation_finds.py::"
INTERRUPTS = "tests/test_interrupts.py::"
LOGGED_OUT = "tests/test_promises_logged_out.py::"
MANY = "tests/many/"
MANNERS = "tests/test_promises_manners.py::"
PROVE = "tests/test_what_401s_prove.py::"
REDIS = "tests/test_redis_store.py::"
REFRESH = "tests/test_promises_refresh.py::"
STORE = "tests/test_session_store.py::"


@attrs.frozen
class Edit:
    """A place in a module of the package, and what to put there instead."""

    module: str
    """Its name without the folder and the leading underscore, so that it may move."""
    old: str
    """The text, which one place in modules of that name has."""
    new: str


@attrs.frozen
class Variant:
    """A plausible mistake."""

    name: str
    edits: tuple[Edit, ...]
    caught_by: str
    """The test whose name says what is broken."""
    unseen_because: str = ""
    """Why no simulated world can show it; empty if one of the first thousand does."""
    fleet: bool = False
    """It shows only where there are many logins or hosts: in the worlds of a fleet."""

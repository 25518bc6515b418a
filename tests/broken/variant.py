"""What a variant is, and where the tests are that catch them."""

from __future__ import annotations

import attrs

AMENDED_TESTS = "tests/test_amended_promises.py::"
CANCELLATION = "tests/test_promises_cancellation.py::"
FINDS = "tests/test_simulation_finds.py::"
LOGGED_OUT = "tests/test_promises_logged_out.py::"
MANNERS = "tests/test_promises_manners.py::"
PROVE = "tests/test_what_401s_prove.py::"
REFRESH = "tests/test_promises_refresh.py::"
STATE = "tests/test_state.py::"
STORE = "tests/test_session_store.py::"


@attrs.frozen
class Edit:
    """A place in a file of the package, and what to put there instead."""

    file: str
    old: str
    new: str


@attrs.frozen
class Variant:
    """A plausible mistake."""

    name: str
    edits: tuple[Edit, ...]
    caught_by: str
    """The test whose name says what is broken."""
    seen_by_simulation: bool = True
    """Whether a simulated world can show it, within so many worlds as are tried."""

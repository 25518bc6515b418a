"""Key: whose session it is, of the many in a program."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable


@final
@attrs.frozen
class Key:
    """Whose session it is. The key may be personal, such as an e-mail address."""

    name: str = attrs.field(repr=False)
    """As the program says it."""
    shown: str
    """As people see it: in the log, in errors, in the ``repr`` of events."""

    @classmethod
    def of(cls, name: str, show: Callable[[str], str] | None = None) -> Key:
        """Make one, shown as the program's function says, or else by the beginning of its hash.

        Raises:
          TypeError: The function returned something else than a str.
        """
        if show is None:
            return cls(name, f"key …{hashlib.sha256(name.encode()).hexdigest()[:8]}")
        shown = show(name)
        if not isinstance(shown, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
            raise TypeError(f"show_key must return a str, not {type(shown).__name__}")
        return cls(name, shown)

    def jitter(self, number: int) -> float:
        """Return a share from 0 to 1 for a generation, spread over keys and numbers.

        A hash, not a random number: the sessions of one key on several hosts agree.
        """
        digest = hashlib.sha256(f"{number} {self.name}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

"""The canary: it looks for secrets in everything the package shows (P17)."""

from __future__ import annotations

import logging
import pickle
import re
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from trioauth import Error, Record, Tokens
from trioauth._core.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

T = TypeVar("T")

# What the fakes and `trioauth.testing.AuthServer` hand out, and what tests call their own secrets:
# at-canary for an access token, as-canary for an assertion, and so on.
SECRET = re.compile(r"\b(?:[a-z]{2}|code|key)-canary|\b(?:access|refresh)-\d")


class _Handler(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@attrs.define
class Canary:
    """Remembers what was shown; `found` says where there was a secret in it."""

    records: list[logging.LogRecord] = attrs.field(factory=list)
    errors: list[BaseException] = attrs.field(factory=list)
    events: list[object] = attrs.field(factory=list)
    states: list[object] = attrs.field(factory=list)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Watch the package until the patch is undone, but for the logs: see `listen`."""
        self._spy(patch, Machine, "tell", self.events)
        self._spy(patch, Machine, "become", self.states)
        # All of our errors, raised where they may be, pass here.
        make = Error.__init__
        errors = self.errors

        def init(error: Error, *args: Any, **kwargs: Any) -> None:
            make(error, *args, **kwargs)
            errors.append(error)

        patch.setattr(Error, "__init__", init)

    def listen(self) -> Callable[[], None]:
        """Listen to all loggers; return what stops it."""
        handler, root, own = (
            _Handler(self.records),
            logging.getLogger(),
            logging.getLogger("trioauth"),
        )
        level = own.level
        root.addHandler(handler)
        own.setLevel(logging.DEBUG)

        def stop() -> None:
            root.removeHandler(handler)
            own.setLevel(level)

        return stop

    @staticmethod
    def _spy(patch: pytest.MonkeyPatch, owner: type, name: str, seen: list[object]) -> None:
        method = getattr(owner, name)

        def spy(self: object, first: object, *args: Any, **kwargs: Any) -> Any:
            seen.append(first)
            return method(self, first, *args, **kwargs)

        patch.setattr(owner, name, spy)

    def found(self) -> list[str]:
        """Say where there was a secret, without repeating it."""
        return sorted({where for where, text in self._shown() if SECRET.search(text)})

    def clear(self) -> None:
        """Forget everything."""
        for remembered in (self.records, self.errors, self.events, self.states):
            remembered.clear()

    def _shown(self) -> Iterator[tuple[str, str]]:
        done: set[int] = set()
        for record in self.records:
            # Not formatted: the lines of a traceback are those of a test, with its secrets.
            yield f"a log record of {record.name}", f"{record.getMessage()} {record.args!r}"
            if record.exc_info and record.exc_info[1] is not None:
                yield from _shown_by(record.exc_info[1], done)
        for event in self.events:
            yield f"the repr of {type(event).__name__}", repr(event)
            yield f"the pickle of {type(event).__name__}", pickled(event)
        for state in self.states:
            yield f"the repr of {type(state).__name__}", repr(state)
        for error in self.errors:
            yield from _shown_by(error, done)


def _shown_by(error: BaseException, done: set[int]) -> Iterator[tuple[str, str]]:
    """Show an exception and all that hangs on it; each once."""
    if id(error) in done:
        return
    done.add(id(error))
    where = type(error).__name__
    yield f"the text of {where}", f"{error} {error!r} {error.args!r}"
    yield f"the attributes of {where}", repr(getattr(error, "__dict__", {}))
    yield f"the notes of {where}", repr(getattr(error, "__notes__", ()))
    yield f"the pickle of {where}", pickled(error)
    for other in (error.__cause__, error.__context__):
        if other is not None:
            yield from _shown_by(other, done)
    if isinstance(error, BaseExceptionGroup):
        for other in error.exceptions:
            yield from _shown_by(other, done)


def pickled(value: object) -> str:
    """Return what can be read in a pickle; "" if there can't be one."""
    try:
        return pickle.dumps(value, protocol=0).decode("latin-1")
    except Exception:
        return ""


def shows_a_secret(value: Tokens | Record | object) -> bool:
    """Say whether a value's repr, text or pickle shows a secret."""
    return any(SECRET.search(text) for text in (repr(value), str(value), pickled(value)))

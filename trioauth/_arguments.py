"""Arguments: what is checked of what a program passes to `open_session` and `open_sessions`."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from ._core.policy import RefreshPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .events import Observer

_NOT_ASYNC = {
    "is_rejected": "is_rejected must say True or False at once; it is an async function",
    "observers": "observers must not be async: they are called, and not awaited",
}


def read_observers(observers: Iterable[Observer]) -> tuple[Observer, ...]:
    """Return the observers, or raise `TypeError` if they are one function."""
    if callable(observers):
        raise TypeError("observers must be several functions, not one: observers=[...]")
    return tuple(observers)


def check_kinds(
    grant: object, policy: object, observers: tuple[object, ...], is_rejected: object
) -> None:
    """Raise `TypeError` for an argument of the wrong kind, before anything happens."""
    if not callable(grant) or isinstance(grant, type):
        raise TypeError(f"grant must be a grant or an async function, not {kind_of(grant)}")
    if not isinstance(policy, RefreshPolicy):
        raise TypeError(f"policy must be a trioauth.RefreshPolicy, not {kind_of(policy)}")
    if not all(map(callable, observers)):
        raise TypeError("observers must be functions of one argument, the event")
    for name, function in (("is_rejected", is_rejected), *(("observers", o) for o in observers)):
        if iscoroutinefunction(function) or iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # its own, if it is an object
        ):
            raise TypeError(_NOT_ASYNC[name])
    if not callable(is_rejected):
        raise TypeError(f"is_rejected must be a function of a response, not {kind_of(is_rejected)}")


def check_store(store: object, methods: tuple[str, ...], expected: str) -> None:
    """Raise `TypeError` if a store lacks one of the methods; None is fine."""
    if isinstance(store, type) or (
        store is not None and not all(callable(getattr(store, name, None)) for name in methods)
    ):
        if not isinstance(store, type) and callable(getattr(store, "at", None)):
            raise TypeError(f"{kind_of(store)} keeps many logins: give store=store.at(key) for one")
        raise TypeError(f"store must be a {expected}, not {kind_of(store)}")


def check_options(options: Mapping[str, object], known: Iterable[str], opener: str) -> None:
    """Raise `TypeError` for an unknown option: httpx would do so only when its client is made."""
    if "auth" in options:
        raise TypeError("auth= is what the session is for; per request, auth=None sends unsigned")
    if unknown := sorted(options.keys() - set(known)):
        raise TypeError(f"{opener}() has no option {', '.join(unknown)}")


def kind_of(value: object) -> str:
    """Name the kind of a value, for an error."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"

"""Lies: what the server says instead of the truth, for a client to find out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, final

import attrs

Lie: TypeAlias = Mapping[
    str,
    Callable[[Any], object] | Sequence[object] | Mapping[str, object] | str | float | None,
]
"""Members by name and what they are instead: a value; a function of the true value; or None,
to leave the member out."""

Topic: TypeAlias = Literal[
    "metadata",
    "resource",
    "callback",
    "token",
    "id_token",
    "id_token_header",
    "userinfo",
    "device",
    "jwks",
    "registration",
]
"""What can be lied about: an answer's members, by the endpoint that gives it; ``callback`` are the
parameters that the browser brings back, ``resource`` the metadata of the API (RFC 9728)."""


def tell(truth: Mapping[str, object], lie: Lie) -> dict[str, object]:
    """Return the truth with a lie in it."""
    told = dict(truth)
    for name, instead in lie.items():
        value = instead(told.get(name)) if callable(instead) else instead
        if value is None:
            told.pop(name, None)
        else:
            told[name] = value
    return told


@final
@attrs.define(eq=False)
class Lies:
    """What is lied about: always (a persona does), and until `clear`."""

    always: Mapping[Topic, Lie] = attrs.field(factory=dict[Topic, Lie])
    signature: Callable[[bytes], bytes] | None = attrs.field(default=None, init=False)
    """What becomes of the signature of an ID token."""
    _told: dict[Topic, list[Lie]] = attrs.field(factory=dict[Topic, list[Lie]], init=False)

    def add(self, topic: Topic, lie: Lie) -> None:
        """Lie about this, besides what is lied about already."""
        self._told.setdefault(topic, []).append(lie)

    def about(self, topic: Topic, truth: Mapping[str, object]) -> dict[str, object]:
        """Return what is said."""
        told = tell(truth, self.always.get(topic, {}))
        for lie in self._told.get(topic, ()):
            told = tell(told, lie)
        return told

    def clear(self) -> None:
        """Be as honest as the persona is."""
        self.signature = None
        self._told.clear()

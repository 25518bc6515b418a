"""Form: the parameters of a request to an authorization server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, final

from trioauth._secrets import Unpicklable

Parameters: TypeAlias = Mapping[str, str | Sequence[str]]


@final
class Form(Unpicklable, dict[str, str | Sequence[str]]):
    """The parameters of a request; one with several values is sent once for each (RFC 8707 2).

    Hidden in its ``repr``: it has secrets in it, and crash reporters send the variables of the
    frames that an exception came through.
    """

    def __repr__(self) -> str:
        return "<hidden>"


def pairs_of(form: Parameters) -> Iterator[tuple[str, str]]:
    """Yield each parameter, those with several values once for each."""
    for name, value in form.items():
        for each in (value,) if isinstance(value, str) else value:
            yield name, each

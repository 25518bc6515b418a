"""Form: the parameters of a request to an authorization server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

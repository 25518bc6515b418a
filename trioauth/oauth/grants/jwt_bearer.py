"""A JWT as a grant (RFC 7523 2.1), without I/O. The answer: see `read_obtained`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def jwt_bearer_form(
    assertion: str, *, scope: str = "", more: Mapping[str, str | Sequence[str]] | None = None
) -> dict[str, str | Sequence[str]]:
    """Build the form.

    Args:
      assertion: The JWT, which says in whose name tokens are asked for.
      scope: What is asked for; "" for what the server gives by default.
      more: Parameters that are added.
    """
    form: dict[str, str | Sequence[str]] = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": assertion,
    }
    if scope:
        form["scope"] = scope
    return {**form, **(more or {})}

"""Raising an exception that came out of a nursery in a group."""

from __future__ import annotations

from typing import NoReturn


def reraise(exc: BaseException) -> NoReturn:
    """Raise an exception without making the group around it its ``__context__``."""
    context = exc.__context__
    try:
        raise exc
    finally:
        exc.__context__ = context
        # Else traceback and frame keep each other alive.
        del exc, context

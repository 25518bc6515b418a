"""All variants."""

from __future__ import annotations

from typing import Final

from . import cancellation, fleet, logged_out, one_refresh, stores

VARIANTS: Final = (
    *one_refresh.VARIANTS,
    *cancellation.VARIANTS,
    *logged_out.VARIANTS,
    *stores.VARIANTS,
    *fleet.VARIANTS,
)

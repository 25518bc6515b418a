"""Timeline: an observer that draws what happened as one picture.

The picture is SVG, and made here by hand: no plotting library is needed, a notebook shows it
as it is, and wherever the pointer rests it says what one sees.
"""

from __future__ import annotations

from .watch._timeline import Request, RequestEnd, Timeline

__all__ = ["Request", "RequestEnd", "Timeline"]

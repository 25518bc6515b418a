"""What we test with, for you to test with."""

from __future__ import annotations

from ._checkpoints import CancelPoint, Exploration, Victim, every_checkpoint
from ._ledger import Ledger, Outcome, Presented, Seen
from ._server import AuthServer

__all__ = [
    "AuthServer",
    "CancelPoint",
    "Exploration",
    "Ledger",
    "Outcome",
    "Presented",
    "Seen",
    "Victim",
    "every_checkpoint",
]

"""What we test with, for you to test with."""

from __future__ import annotations

from ._ledger import Ledger, Outcome, Presented, Seen
from ._server import AuthServer

__all__ = ["AuthServer", "Ledger", "Outcome", "Presented", "Seen"]

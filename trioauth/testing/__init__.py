"""What we test with, for you to test with.

`AuthServer`         an authorization server and an API, with faults on demand; keeps a `Ledger`
`Person`             a prompt that logs in there without a browser
`Persona`            how one authorization server differs from another
`every_checkpoint`   runs a scenario once for each place where it can be cancelled
`check_store`        tells whether a store of your own keeps the promises of one
`check_grant`        the same for a grant, whose server `GrantAnswers` imitates

And fixtures for pytest, which it finds by itself: ``auth_server``, ``auth_session``,
``virtual_clock``.
"""

from __future__ import annotations

from ._check_grant import check_grant
from ._check_store import check_store
from ._checkpoints import CancelPoint, Exploration, Victim, every_checkpoint
from ._grant_answers import GrantAnswers
from ._ledger import Ledger, Outcome, Presented, Seen
from ._lies import Lie
from ._person import Person
from ._persona import Endpoint, Persona
from ._server import AuthServer

__all__ = [
    "AuthServer",
    "CancelPoint",
    "Endpoint",
    "Exploration",
    "GrantAnswers",
    "Ledger",
    "Lie",
    "Outcome",
    "Person",
    "Persona",
    "Presented",
    "Seen",
    "Victim",
    "check_grant",
    "check_store",
    "every_checkpoint",
]

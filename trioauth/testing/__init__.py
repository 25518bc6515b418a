"""Tools to test a program, a store or a grant with; trioauth's own tests use them, too.

`AuthServer`         an authorization server and an API, with faults on demand; keeps a `Ledger`
`Person`             a prompt that logs in there without a browser
`prompting`          lets such a prompt ask where a program has none of its own
`Persona`            how one authorization server differs from another
`every_checkpoint`   runs a scenario once for each place where it can be cancelled
`check_store`        checks that a store of your own keeps the promises of `TokenStore`
`check_grant`        checks a grant of your own; `GrantAnswers` says how its server answers
`check_login`        checks an async function of your own that logs in

pytest finds three fixtures by itself: ``auth_server``, ``auth_session``, ``virtual_clock``.

A map, in reading order:

``_messages``       requests and answers of no library; ``_httpx``, ``_httpx2`` are transports
``_forms``          what stands in a request: parameters and credentials
``_ledger``         what the server saw, for tests to read
``_book``           the tokens that it has given out
``_orders``         the faults that were ordered; ``_lies`` is what it says instead of the truth
``_persona``        how a server differs; ``_personas``, ``_more_personas`` are those of providers
``_places``         which endpoint is where; ``_metadata`` says so
``_clients``        the clients that it knows; ``_authenticating`` is how they prove who they are
``_human``          the person, and what they decide; ``_person`` is their browser
``_prompting``      `prompting`
``_keys``           signing and verifying; ``_identity`` is ID tokens and userinfo
``_site``           what all endpoints share
``_asking``         reading an authorization request; ``_codes`` is what comes of it
``_devices``        log-ins on devices
``_authorization``  the token endpoint; ``_further_grants`` is what it has besides; ``_api`` the API
``_exchange``       from a request to its answer; ``_serve`` does it over real sockets
``_building``       how all of this fits together
``_ordered``        what a test orders: faults, lies, and what the person decides
``_server``         `AuthServer`
``_scheduler``      trio's order of tasks, from a seed
``_checkpoints``    `every_checkpoint`
``_conformance``    what the three checks have in common
``_check_store``    `check_store`; its parts about locks, hints, keys and deleting are
                    ``_check_lock``, ``_check_changed``, ``_check_keys`` and ``_check_delete``
``_grant_answers``  `GrantAnswers`; ``_grant_call`` calls a grant with them
``_check_grant``    `check_grant`
``_check_login``    `check_login`; ``_login_call`` calls a log-in, and counts what is left

Imports from: the base, the session, the doors, ``stores``, ``oauth``, ``oauth/logins``.
"""

from __future__ import annotations

from ._check_grant import check_grant
from ._check_login import check_login
from ._check_store import check_store
from ._checkpoints import CancelPoint, Exploration, Victim, every_checkpoint
from ._grant_answers import GrantAnswers
from ._ledger import Ledger, Outcome, Presented, Seen
from ._lies import Lie
from ._person import Person
from ._persona import Endpoint, Persona
from ._prompting import prompting
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
    "check_login",
    "check_store",
    "every_checkpoint",
    "prompting",
]

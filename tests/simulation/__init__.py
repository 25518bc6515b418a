"""A simulation of the whole library: worlds drawn from a number, and a ledger that knows better.

One seed makes one world: programs that open sessions over one store or several,
tasks that use them and are cancelled, servers that fail in every way they know,
wall clocks that jump, stores that lose what they were given. It runs on virtual
time, so a minute takes some milliseconds, and the same seed gives the same world
to the letter. The servers keep a ledger of their own, and what the library
promises (P1 to P20 in the documentation) is checked against that ledger only.

    python -m tests.simulation --seeds 0:10000 --jobs 2
    python -m tests.simulation --seed 4711 --verbose --shrink
    python -m tests.simulation --fleet --seeds 0:2000

To read it, begin with `world` (what is drawn), then `invariants` (what must hold).

==================  =============================================================
``world``           what a seed is turned into: plain, frozen values
``run``             plays a world
``actors``          what tasks do with a session
``server``          the authorization server and the API, and their faults
``wire``            the transports of httpx and httpx2 that lead to them
``store``           a token store that fails
``weather``         the wall clock, and which faults are due
``ledger``          what happened, as the servers and the observers saw it
``invariants``      the promises, checked as it happens and at the end
``shrink``          makes a failing world smaller
``fleet``           worlds of many logins on many hosts, over one store with leases
==================  =============================================================
"""

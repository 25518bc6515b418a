"""Worlds of many logins on many hosts, each an `open_sessions`, over one store with leases.

The store is a `RedisStore` whose server is simulated: it pauses for longer than a lease, fails over
and loses the last write, restarts empty, loses answers, and is cut off from one host. The servers,
the weather, the wire and the ledger are those of the other worlds. What is checked is P30 to P34.

    python -m tests.simulation --fleet --seeds 0:2000

Where a lease can't keep two hosts apart, the judge shows that it was so: it knows when the lease of
a key ended while its refresh was in the air.

==================  =============================================================
``world``           what a seed is turned into
``run``             plays a world
``guests``          what tasks do with the logins of a host
``redis``           the simulated server, and what the ledger knows of its leases
``link``            how a host reaches it
``judge``           P30 to P34, checked as it happens
==================  =============================================================
"""

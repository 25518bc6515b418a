"""Many logins on a Redis server, for programs on many hosts.

In reading order:

``store``      `RedisStore`: what is configured, opening, closing
``login``      one login in it: its lease, its record, its hints
``connected``  what an open store has: the nursery of its connections, and what follows
``route``      which server a request goes to: one, Sentinel's, or a node of a Cluster
``link``       connections, shared by all requests and made anew when lost
``listener``   the subscription to hints
``hints``      the hints that came, bounded
``scripts``    what the server runs as one step
``words``      what a server's refusals mean, and what to do (pure)
``url``        reading the URL (pure)

Imports from: the base, ``stores``.
"""

__all__: list[str] = []

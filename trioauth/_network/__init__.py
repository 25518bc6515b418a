"""The network below the clients: TLS, connection pools, proxies, names.

``options``     `ClientOptions`: the options of httpx that `open_session` takes
``pools``       clients and pools: one TLS context for all, no proxy to loopback
``connecting``  a cancelled connection takes no place in a pool
``lookups``     looks names up also while all of trio's threads are busy

Imports from: the base.
"""

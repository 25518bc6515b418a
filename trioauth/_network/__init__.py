"""The network below the clients: TLS, connection pools, proxies, names.

``options``   `ClientOptions`: what `open_session` takes for httpx
``pools``     one TLS context for all, pools made late, no proxy to loopback
``connecting``  a cancelled connection takes no place in a pool
``lookups``   names are looked up while all threads are busy, too

Imports from: the base.
"""

"""HTTP: how a request gets its token, and what a 401 means.

In reading order, as a request goes:

``client``        the session's own httpx client
``shared``        one client for the sessions of many keys
``belonging``     which login a request belongs to, and whether its token is still good
``attach``        signs a client of either library
``auth_httpx``    the auth class for httpx; ``auth_httpx2`` is the one for httpx2
``auth``          the auth flow: sign a request, and send it again after a 401
``keyed``         the same for many keys: which session signs a request
``signing``       what the flow decides
``evidence``      which refreshes have helped against 401s (pure)
``refusal``       reads a 401, within bounds
``limiter``       requests queue here for a connection

Imports from: the base, ``_network``, ``_core``.
"""

"""HTTP: how a request gets its token, and what a 401 means.

In reading order, as a request goes:

``client``        the session's own httpx client
``belonging``     which login a request belongs to
``attach``        signs a client of either library
``auth_httpx``    the end of the auth flow for httpx; ``auth_httpx2`` is the one for httpx2
``auth``          the auth flow: sign, and on a 401 once more
``signing``       what the flow decides
``evidence``      what 401s have shown about refreshing (pure)
``refusal``       reading a 401, but not without end
``limiter``       who waits for a connection

Imports from: the base, ``_network``, ``_core``.
"""

"""OAuth 2: what is said to an authorization server, and what its answers mean.

In reading order:

``_endpoint``     `TokenEndpoint`: the client for authorization servers
``_grant``        `Grant`: what obtains tokens
``_client_auth``  the client (RFC 6749 2) and how it proves who it is
``_answers``      reading an answer: tokens, or which of the errors it is
``_revocation``   telling the server that a login is over (RFC 7009)
``grants``        how tokens are obtained without a human: one file a grant
``logins``        and with one: redirects, codes to type, and what a person is shown

Imports from: the base, ``_network``.
"""

__all__: list[str] = []  # What is public is had from `trioauth` and `trioauth.grants`.

"""Grants: how tokens are obtained without a human.

Each is made of a pair without I/O, build the form and read the answer:

``refresh``             a refresh token (RFC 6749 6)
``client_credentials``  the program for itself (RFC 6749 4.4)
``jwt_bearer``          a JWT that says in whose name (RFC 7523)
``exchange``            another token (RFC 8693)

The grants for those who have a URL and no more; the others are an `OAuthClient`'s:

``refresh_token_grant``       `RefreshTokenGrant`
``client_credentials_grant``  `ClientCredentialsGrant`
``bearer_refresh_grant``      `BearerRefreshGrant`, for a server of one's own
``unattended``                those of an `OAuthClient` that need no human

Imports from: the base, ``oauth``.
"""

__all__: list[str] = []  # What is public is had from `trioauth` and `trioauth.grants`.

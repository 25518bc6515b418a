"""OAuth: clients, the servers they are registered at, and how a person logs in.

``metadata``        `AuthorizationServer`; what a server says of itself -> that (pure)
``discovery``       from an issuer to its `AuthorizationServer`
``authentication``  how a client proves who it is; ``keys`` sign with joserfc, ``proving`` adds it
``client``          `OAuthClient`; ``options`` is how its options are checked
``grants``          how tokens are obtained without a human

All of it is imported when it is first used. Its public names are to be had from `trioauth`.
"""

__all__: list[str] = []

"""OAuth: clients, the servers they are registered at, and how a person logs in.

``metadata``        `AuthorizationServer`; what a server says of itself -> that (pure)
``discovery``       from an issuer to its `AuthorizationServer`
``authentication``  how a client proves who it is
``client``          `OAuthClient`
``grants``          how tokens are obtained without a human

Imported when they are first used: this page imports nothing.
"""

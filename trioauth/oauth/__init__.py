"""OAuth 2: what is said to an authorization server, and what its answers mean.

In reading order:

``channel``         `BackChannel`: the client for authorization servers; what it sends and gets
``form``            the parameters of a request
``answers``         reading an answer: tokens, or which of the errors it is
``grant``           `Grant`: what obtains tokens
``fields``          how fields of grants and clients are checked
``by_secret``       a client (RFC 6749 2) that proves who it is with a secret, or not at all
``revocation``      telling the server that a login is over (RFC 7009)
``metadata``        `AuthorizationServer`; what a server says of itself -> that (pure)
``discovery``       from an issuer to its `AuthorizationServer`
``authentication``  how a client proves who it is; ``keys`` sign with joserfc, ``proving`` adds it
``id_token``        what an ID token must say (pure); ``jwks`` has the keys of servers, and verifies
``identity``        from an answer with an ID token to who has logged in
``client``          `OAuthClient`; ``options`` is how its options are checked
``logging_in``      the methods of it by which a person logs in
``offline``         what it takes to get a refresh token, by provider: data
``provider``        `Provider`: what is known of a server before there is a client
``providers``       those that are known: data, with its sources
``resource``        what an API says of itself (RFC 9728): which server it has
``registration``    becoming a client there (RFC 7591), or by a document of one's own
``kept``            what is remembered of that, in a small file
``newcomer``        from an API's address to an `OAuthClient`: all of that in order
``resource_client``  `ResourceClient`, which does so when a person logs in
``grants``          how tokens are obtained without a human: one file a grant
``logins``          and with one: redirects, codes to type, and what a person is shown

Imports from: the base, ``stores``, ``_network``, ``oauth/grants``, ``oauth/logins``.
"""

# What is public is had from `trioauth`, `trioauth.grants` and `trioauth.providers`.
__all__: list[str] = []

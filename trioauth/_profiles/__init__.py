"""Logins that are kept by name: what `trioauth login NAME` writes, and `open_profile` reads.

A profile says which server and client, and where the client's secret is; it holds no secret. The
tokens are elsewhere, in a `FileStore` or a `KeyringStore`.

In reading order:

``errors``    what can be wrong with a profile
``profile``   `Profile`: what is in one, and its form as TOML (pure)
``places``    the folders, and which file the tokens of a profile are in
``files``     reading and writing profiles
``client``    from a profile to an `OAuthClient`, with the secret from where it is
``keeping``   from a profile to the store of its tokens
``opening``   `open_profile`

Imports from: the base, the session, ``_core``, ``_network``, ``oauth``, ``stores``.
"""

__all__: list[str] = []

"""Grants without a human: each a pair without I/O, build the form and read the answer.

``refresh``, ``client_credentials``, ``jwt_bearer``, ``exchange``  one pair each
``revocation``  telling the server that a login is over
``unattended``  the grants of an `OAuthClient` that need no human, made of these pairs

The grants of `trioauth.grants` are made of the same pairs.
"""

"""The errors of clients and log-ins: what they say, and that they survive a pickle."""

from __future__ import annotations

import pickle

import pytest

from trioauth import (
    Error,
    GrantMisconfiguredError,
    IdentityError,
    LoginDeclinedError,
    LoginError,
    LoginTimeoutError,
    MetadataError,
)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (LoginError("server_error"), "server_error"),
        (LoginError("server_error", "try\nlater"), "server_error: try later"),
        (LoginDeclinedError("access_denied", "no"), "access_denied: no"),
        (LoginTimeoutError("expired_token"), "expired_token"),
        (IdentityError("the aud is another's", claim="aud"), "the aud is another's"),
        (MetadataError("x" * 500, member="issuer"), f"invalid_metadata: {'x' * 500}"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_says_what_happened_also_after_a_pickle(error: Error, says: str) -> None:
    again = pickle.loads(pickle.dumps(error))
    for each in (error, again):
        assert str(each) == says
        assert isinstance(each, Error)
    assert vars(again) == vars(error)


def test_metadata_that_can_not_be_used_lose_no_login() -> None:
    # A session goes on with what it has, after errors of this kind.
    assert issubclass(MetadataError, GrantMisconfiguredError)
    assert MetadataError("x").error == "invalid_metadata"
    assert IdentityError("x").claim is None
    assert LoginError("x").description is None

"""Identity: who has logged in, as a validated ID token said it (OpenID Connect Core 2)."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, cast, final

import attrs

from ._errors import IdentityError

if TYPE_CHECKING:
    from collections.abc import Mapping


def _to_claims(value: Mapping[str, object]) -> Mapping[str, object]:
    # A copy to the bottom. What JSON does not have, a store could not keep.
    copy: dict[str, object] = json.loads(json.dumps(dict(value), allow_nan=False))
    return MappingProxyType(copy)


def _check_claims(_: object, attribute: attrs.Attribute[Any], value: Mapping[str, object]) -> None:
    for name in ("iss", "sub"):
        claim = value.get(name)
        if not isinstance(claim, str) or not claim:
            raise ValueError(f"{attribute.name} must have {name!r}, a str that is not empty")


@final
@attrs.frozen(repr=False)
class Identity:
    """Who has logged in. What is said of the person does not show in its ``repr``.

    A plain value: comparable, and immutable except what is inside a claim. ``sub`` is unique
    within ``iss``, and only there.

    Raises:
      ValueError: There is no ``iss`` or ``sub`` in the claims, or they are no JSON; quotes nothing.
      TypeError: They are no JSON; quotes nothing.
    """

    claims: Mapping[str, object] = attrs.field(
        converter=_to_claims, validator=_check_claims, hash=False
    )
    """All that the ID token said: ``name``, ``email``, whatever the server puts there."""

    @property
    def iss(self) -> str:
        """Which server says it: its issuer."""
        return cast("str", self.claims["iss"])

    @property
    def sub(self) -> str:
        """Who it is, by the server's own name for the person."""
        return cast("str", self.claims["sub"])

    def check_userinfo(self, claims: object) -> Mapping[str, object]:
        """Return what a userinfo endpoint says, if it is about this person.

        A server may say more of a person there than in an ID token::

            answer = (await session.get(userinfo_endpoint)).raise_for_status()
            claims = session.state.identity.check_userinfo(answer.json())

        Args:
          claims: What came, as JSON.

        Raises:
          IdentityError: It is about another person, or doesn't say about whom (OpenID Connect Core
              5.3.2). Quotes nothing.
        """
        if isinstance(claims, dict):
            said = cast("dict[str, object]", claims)
            if said.get("sub") == self.sub:
                return said
        raise IdentityError(
            "userinfo is not about the person that the ID token names: its 'sub' is missing, or "
            "another; don't use it (OpenID Connect Core 5.3.2)",
            claim="sub",
        )

    def __repr__(self) -> str:
        return f"<trioauth.Identity with {', '.join(sorted(self.claims))}>"

    def __hash__(self) -> int:
        return hash((self.iss, self.sub))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Identity], tuple[dict[str, object]]]:
        return Identity, (dict(self.claims),)

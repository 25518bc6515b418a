"""Profile: which client of which server, by a name; and its form as TOML (pure).

There is no secret in it. ``client_secret_env``, ``client_secret_file`` and ``key_file`` say where
one is.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, Literal, cast, final, get_args

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ClientAuth = Literal[
    "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt"
]
Way = Literal["browser", "device", "paste"]
Store = Literal["file", "keyring"]

# A file name on every system, and nothing that a shell or an option parser would take for more.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Windows takes these for devices, whatever follows the first dot.
_DEVICES: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")

_HEADER: Final = """\
# A profile of trioauth, written by "trioauth login". There is no secret in it.
"""


def check_name(name: str) -> None:
    """Let a name pass that a profile can have.

    Raises:
      ValueError: It can't; says what it may consist of.
    """
    if not _NAME.fullmatch(name) or _DEVICES.fullmatch(name) or name.endswith("."):
        raise ValueError(
            f"{name!r} can't be the name of a profile: take letters, digits, '.', '_' and '-', 64 "
            "at most, a letter or digit first"
        )


def _check_name(_: object, attribute: attrs.Attribute[Any], value: str) -> None:  # noqa: ARG001  # as attrs wants it
    check_name(value)


def _check_text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value or not value.isprintable()):
        raise ValueError(f"{attribute.name} must be a printable text, and not empty")


def _check_scope(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{attribute.name} must be a printable text")


def _check_texts(_: object, attribute: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
    if not all(isinstance(each, str) and each and each.isprintable() for each in value):
        raise ValueError(f"{attribute.name} must be a list of printable texts")


def _check_ports(_: object, attribute: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
    if not all(type(each) is int and 0 < each < 65536 for each in value):
        raise ValueError(f"{attribute.name} must be a list of ports, from 1 to 65535")


def _check_parameters(
    _: object, attribute: attrs.Attribute[Any], value: Mapping[object, object]
) -> None:
    texts = [*value, *value.values()]
    if not all(isinstance(each, str) and each.isprintable() for each in texts):
        raise ValueError(f"{attribute.name} must be a table of printable texts")


def _check_auth(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and value not in get_args(ClientAuth):
        raise ValueError(f"{attribute.name} must be one of {', '.join(get_args(ClientAuth))}")


def _check_way(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and value not in get_args(Way):
        raise ValueError(f"{attribute.name} must be one of {', '.join(get_args(Way))}")


def _check_store(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in get_args(Store):
        raise ValueError(f"{attribute.name} must be one of {', '.join(get_args(Store))}")


def _to_tuple(value: object) -> tuple[Any, ...]:
    """Copy a list; what is none is left to the check, which refuses None."""
    return tuple(cast("Iterable[Any]", value)) if isinstance(value, list | tuple) else (None,)


def _to_dict(value: object) -> dict[Any, Any]:
    """Copy a table; what is none is left to the check, which refuses a key of None."""
    table: Any = value
    return dict(table) if isinstance(value, dict) else {None: None}


def _text() -> Any:
    return attrs.field(default=None, validator=_check_text)


@final
@attrs.frozen(kw_only=True)
class Profile:
    """Which client of which server. No secrets.

    Raises:
      ValueError: A setting is not what it must be; names it.
    """

    name: str = attrs.field(validator=_check_name)
    client_id: str | None = _text()
    provider: str | None = _text()
    """Which one of `trioauth.providers` it is. What is known of it is in the other settings."""
    issuer: str | None = _text()
    token_endpoint: str | None = _text()
    authorization_endpoint: str | None = _text()
    device_authorization_endpoint: str | None = _text()
    revocation_endpoint: str | None = _text()
    scope: str = attrs.field(default="", validator=_check_scope)
    resource: tuple[str, ...] = attrs.field(default=(), converter=_to_tuple, validator=_check_texts)
    account: str | None = _text()
    """Who is to log in: profiles that differ in nothing but this have logins of their own."""
    redirect_uri: str | None = _text()
    ports: tuple[int, ...] = attrs.field(default=(), converter=_to_tuple, validator=_check_ports)
    way: Way | None = attrs.field(default=None, validator=_check_way)
    """How to log in; None: what fits where the program runs."""
    store: Store = attrs.field(default="file", validator=_check_store)
    """Where the tokens are kept."""
    client_auth: ClientAuth | None = attrs.field(default=None, validator=_check_auth)
    client_secret_env: str | None = _text()
    """The environment variable that holds the client's secret."""
    client_secret_file: str | None = _text()
    key_file: str | None = _text()
    """The private key of the client, as PEM."""
    key_id: str | None = _text()
    ca_file: str | None = _text()
    """Whom to trust instead of the usual authorities, as PEM."""
    parameters: Mapping[str, str] = attrs.field(
        factory=dict[str, str], converter=_to_dict, validator=_check_parameters, hash=False
    )

    def __attrs_post_init__(self) -> None:
        if self.client_id is None:
            raise ValueError("client_id is missing")
        if self.issuer is None and self.token_endpoint is None:
            raise ValueError("issuer is missing: or else token_endpoint")
        sources = [self.client_secret_env, self.client_secret_file, self.key_file]
        if len([each for each in sources if each is not None]) > 1:
            raise ValueError(
                "client_secret_env, client_secret_file and key_file: one of them is enough"
            )
        if self.client_auth is not None and not any(sources):
            raise ValueError(f"client_auth {self.client_auth!r} needs to know where the secret is")
        if (self.key_file is not None) != (self.client_auth == "private_key_jwt"):
            raise ValueError("key_file and client_auth 'private_key_jwt' go together")

    @property
    def server(self) -> str:
        """What to call the server: its issuer, or else its token endpoint."""
        return self.issuer or str(self.token_endpoint)

    @property
    def id(self) -> str:
        """The ``client_id``, which there is."""
        return str(self.client_id)

    def to_toml(self) -> str:
        """Write the profile as TOML, without what is as by default."""
        lines, table = [_HEADER], list[str]()
        for field in attrs.fields(Profile):
            value = getattr(self, field.name)
            if field.name == "name" or not value or value == field.default:
                continue
            if field.name == "parameters":
                items = cast("dict[str, str]", value).items()
                table = [
                    "\n[parameters]\n",
                    *(f"{_to_toml(k)} = {_to_toml(v)}\n" for k, v in items),
                ]
            else:
                lines.append(f"{field.name} = {_to_toml(value)}\n")
        return "".join([*lines, *table])

    @classmethod
    def from_toml(cls, name: str, text: str) -> Profile:
        """Read what `to_toml`, or a person, wrote.

        Raises:
          ValueError: It is no TOML, or a setting is unknown or not what it must be; names it.
        """
        settings = tomllib.loads(text)
        known = {field.name for field in attrs.fields(Profile)} - {"name"}
        if unknown := sorted(settings.keys() - known):
            raise ValueError(
                f"unknown: {', '.join(map(repr, unknown))}; there are {', '.join(sorted(known))}"
            )
        return cls(name=name, **settings)


def _to_toml(value: object) -> str:
    """Write a text, a number or a list of such as TOML 1.0 wants it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_to_toml, cast('tuple[object, ...]', value)))}]"
    # JSON's strings are TOML's, but for surrogate pairs and DEL; all our texts are printable.
    return json.dumps(value, ensure_ascii=False)

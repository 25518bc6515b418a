"""What ``trioauth login`` takes, and how it becomes a profile."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import TYPE_CHECKING, Any, Final, cast, final, get_args

import attrs

from trioauth._errors import Error
from trioauth._profiles.files import NewProfile, find_profile
from trioauth._profiles.places import secret_file
from trioauth._profiles.profile import ClientAuth, Profile, Store, check_name
from trioauth._tokens import Tokens, decode_object

from .exits import EPILOG, UsageError
from .provider import add_provider, settings_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_DESCRIPTION: Final = """\
Log in as a person, and keep the login under a name. The first time say which server and which
client; after that the name is enough. With --provider, --issuer, --token-endpoint or --client-id
a profile begins anew; any other option changes just that. The profile is kept without secrets, the
tokens elsewhere: in a private file, or in the keyring of the system."""

_SECRETS: Final = f"""\
Secrets are never on the command line, where every user of the machine could see them. {EPILOG}"""

# Where one of these is said, it is about another client.
_ANEW: Final = ("provider", "issuer", "token_endpoint", "client_id")
# Each says where the client's secret is: one of them replaces all of them.
_SOURCES: Final = ("client_secret_env", "client_secret_file", "key_file")

# Of these a provider's settings have already what the command line says.
_JOINED: Final = ("scope", "parameters")

_LARGEST: Final = 100_000


def add_options(commands: Any, run: Callable[[argparse.Namespace], Awaitable[int]]) -> None:
    """Add the command, and all that it takes."""
    parser = commands.add_parser(
        "login", help="log in, and keep the login", description=_DESCRIPTION, epilog=_SECRETS
    )
    parser.add_argument("name", metavar="NAME", help="of the profile")
    _add_server(parser.add_argument_group("which server, and which client of it").add_argument)
    group = parser.add_argument_group("if it is one of those that are known: instead of --issuer")
    add_provider(group.add_argument)
    _add_secret(parser.add_argument_group("if the client has a secret").add_argument)
    group = parser.add_argument_group("how to log in", "By default what fits where it runs.")
    ways = group.add_mutually_exclusive_group()
    for way, text in (
        ("browser", "with a browser on this machine"),
        ("device", "with a code that is typed into a browser anywhere"),
        ("paste", "with a browser anywhere, whose last address is pasted here"),
    ):
        ways.add_argument(f"--{way}", dest="way", action="store_const", const=way, help=text)
    ways.add_argument("--with-token", action="store_true", help=(
        "take from stdin what a server has answered (JSON), or a bare access token"
    ))  # fmt: skip
    group.add_argument("--no-open", action="store_true", help="print the address, open no browser")
    parser.set_defaults(run=run)


def _add_server(add: Any) -> None:
    add("--issuer", metavar="URL", help="what the server calls itself; it says where the rest is")
    add("--client-id", metavar="ID", help="what it knows this program as")
    add("--scope", help='what to ask for, such as "notes offline_access"')
    add("--resource", metavar="URL", action="append", help="which API it is for; may be repeated")
    add("--parameter", metavar="NAME=VALUE", dest="parameters", type=_pair, action="append",
        help="what this server wants besides, such as audience=...")  # fmt: skip
    add("--account", metavar="WHO", help="who is to log in; profiles may differ in just that")
    add("--redirect-uri", metavar="URI", help="as registered (http://127.0.0.1/callback)")
    add("--ports", metavar="N[,N]", type=_ports, help="those registered for it (any free one)")
    add("--store", choices=get_args(Store), help="where the tokens are kept (a private file)")
    add("--ca-file", metavar="FILE", help="whom to trust, as PEM, instead of the usual authorities")
    for name in ("token", "authorization", "device-authorization", "revocation"):
        add(f"--{name}-endpoint", metavar="URL", help="if the server does not say")


def _add_secret(add: Any) -> None:
    add("--client-secret-env", metavar="VARIABLE", help="the environment variable that holds it")
    add("--client-secret-file", metavar="FILE", help="the file that holds it")
    add("--client-secret-stdin", action="store_true", help="read it now, and keep it")
    add("--key-file", metavar="FILE", help="a private key, as PEM, to sign with instead")
    add("--key-id", metavar="KID", help="by which the server knows the key")
    add("--client-auth", choices=get_args(ClientAuth), help="how to prove it (the first)")


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not {text}")
    return name, value


def _ports(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))


@final
@attrs.frozen
class Given:
    """What was read from stdin."""

    tokens: Tokens | None = None
    """If there is no access token beside a refresh token: those are to be renewed first."""
    secret: str | None = attrs.field(default=None, repr=False)
    must_renew: bool = False


def earlier(options: argparse.Namespace) -> Profile | None:
    """Return the profile of that name, unless it begins anew.

    Raises:
      UsageError: No profile can have that name.
      ProfileError: It can't be used.
    """
    try:
        check_name(options.name)
    except ValueError as exc:
        raise UsageError(str(exc)) from None
    if any(getattr(options, name) is not None for name in _ANEW):
        return None
    return find_profile(options.name)


def changed(before: Profile | None, options: argparse.Namespace, given: Given) -> NewProfile:
    """Return the profile that the command line asks for.

    Raises:
      UsageError: It does not say which server and client.
      ValueError: A setting is not what it must be; names it.
    """
    fields = {field.name for field in attrs.fields(Profile)} - {"name"}
    said = {
        name: value for name, value in vars(options).items() if name in fields and value is not None
    }
    if "parameters" in said:
        said["parameters"] = dict(cast("Sequence[tuple[str, str]]", said["parameters"]))
    if options.client_secret_stdin:
        if any(name in said for name in _SOURCES):
            raise UsageError("--client-secret-stdin: one source of the secret is enough")
        said["client_secret_file"] = str(secret_file(options.name))
    known = settings_of(options, None if before is None else before.provider)
    said |= {name: known[name] for name in known if name in _JOINED or name not in said}
    if "key_file" in said:
        said.setdefault("client_auth", "private_key_jwt")
    if before is None:
        missing = [each for each in ("issuer", "client_id") if each not in said]
        if "token_endpoint" in said:
            missing = [each for each in missing if each != "issuer"]
        if missing:
            names = " and ".join(f"--{each.replace('_', '-')}" for each in missing)
            raise UsageError(f"{options.name} is a new profile: add {names}")
        return NewProfile(Profile(name=options.name, **said), given.secret)
    old = dict.fromkeys((*_SOURCES, "client_auth", "key_id")) if said.keys() & {*_SOURCES} else {}
    return NewProfile(attrs.evolve(before, **{**old, **said}), given.secret)


def read_input(options: argparse.Namespace) -> Given:
    """Read from stdin what was promised to come from there.

    Raises:
      UsageError: It is not there, or can't be what was promised. Does not quote it.
    """
    if options.client_secret_stdin and options.with_token:
        raise UsageError("--client-secret-stdin and --with-token: there is one stdin only")
    if options.client_secret_stdin:
        return Given(secret=_read("The client's secret: "))
    if options.with_token:
        return _read_tokens(_read("The token: "))
    return Given()


def _read(prompt: str) -> str:
    """Read a secret; in a terminal it does not show."""
    try:
        text = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.read(_LARGEST)
    except (EOFError, UnicodeError):
        text = ""
    if not text.strip():
        raise UsageError(f"{prompt.rstrip(': ').lower()} should come from stdin, and nothing came")
    return text.strip()


def _read_tokens(text: str) -> Given:
    """Read what a server has answered, or a bare access token.

    Raises:
      UsageError: It is neither. Does not quote it.
    """
    answer: dict[str, object] = {"access_token": text}
    if text.startswith("{"):
        answer, problem = decode_object(text.encode())
        if problem is not None:
            raise UsageError(f"what came from stdin are no tokens: {problem}")
    alone = "refresh_token" in answer and "access_token" not in answer
    try:
        if alone:
            return Given(Tokens("none-yet", cast("str", answer["refresh_token"])), must_renew=True)
        return Given(Tokens.from_response(answer))
    except (Error, TypeError, ValueError) as exc:
        reason = str(exc)
    raise UsageError(f"what came from stdin are no tokens: {reason}")

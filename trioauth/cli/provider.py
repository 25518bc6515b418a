"""``trioauth login --provider``: what is known of a provider, as settings of a profile."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from trioauth._profiles.client import ENDPOINTS
from trioauth.oauth.providers import BY_NAME

from .exits import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from trioauth.oauth.provider import Provider

# What the functions of `trioauth.providers` take, as options. Dex wants its issuer, which is an
# option already.
_OPTIONS: Final = {
    "tenant": ("WHICH", "its number or domain"),
    "domain": ("HOST", "yours, such as dev-1.okta.com"),
    "url": ("URL", "where it is"),
    "realm": ("NAME", "which one"),
    "application": ("SLUG", "which one"),
    "pool": ("ID", "the user pool, such as eu-west-1_Example"),
    "audience": ("URL", "the API that the token is for"),
    "server": ("ID", 'the authorization server ("" for that of the organization)'),
    "host": ("HOST", "that of a national cloud"),
}


def add_provider(add: Any) -> None:
    """Add the options that name a provider, and what it needs to know."""
    add("--provider", metavar="NAME", help=f"one of {_listed()}")
    for name, (metavar, text) in _OPTIONS.items():
        takers = [each for each, make in BY_NAME.items() if name in _arguments(make)]
        add(f"--{name}", dest=f"provider_{name}", metavar=metavar,
            help=f"{text} ({', '.join(takers)})")  # fmt: skip


def settings_of(options: argparse.Namespace, known_as: str | None) -> dict[str, Any]:
    """Return what a profile gets from a provider, with what the command line says of the same.

    In this order:

    1. With ``--provider``: all that is known of it.
    2. A scope that it takes to get a refresh token joins those that are asked for; also later, when
       other scopes are asked for.
    3. A secret is sent in the form, unless the command line says how: all of them take that.

    Args:
      options: The command line.
      known_as: The provider of the profile that there was before; None for none.

    Raises:
      UsageError: There is no such provider, or it wants to know more, or less.
    """
    provider = _named(options)
    settings: dict[str, Any] = {} if provider is None else _known(provider, options)
    name = options.provider or known_as or ""
    if name not in BY_NAME:
        return settings
    if options.scope is not None or provider is not None:
        # What it takes depends on nothing that the function wants to know.
        make = BY_NAME[name]
        offline = make(**dict.fromkeys(_needed(make), "example.com")).offline
        scopes = dict.fromkeys([*(options.scope or "").split(), *offline.scope.split()])
        settings["scope"] = " ".join(scopes)
    secret = options.client_secret_env or options.client_secret_file or options.client_secret_stdin
    if secret and options.client_auth is None:
        settings["client_auth"] = "client_secret_post"
    return settings


def _named(options: argparse.Namespace) -> Provider | None:
    """Return the provider that the command line names; None if it names none.

    Raises:
      UsageError: There is no such provider, or it wants to know more, or less.
    """
    name = options.provider
    said = {each: value for each in _OPTIONS if (value := getattr(options, f"provider_{each}"))}
    if options.provider_server == "":
        said["server"] = None
    if name is None:
        if said:
            raise UsageError(f"{_written(said)}: needs --provider, too")
        return None
    make = BY_NAME.get(name)
    if make is None:
        raise UsageError(f"there is no provider {name!r}; there are {', '.join(BY_NAME)}")
    if options.issuer is not None:
        said["issuer"] = options.issuer
    if more := said.keys() - _arguments(make).keys():
        raise UsageError(f"{name} takes no {_written(more)}")
    if missing := [each for each in _needed(make) if each not in said]:
        raise UsageError(f"{name} needs {_written(missing)}")
    return make(**said)


def _known(provider: Provider, options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a provider; its ports go with its redirect URI."""
    settings: dict[str, Any] = {
        "provider": provider.name,
        "issuer": provider.issuer,
        "parameters": {
            **provider.parameters,
            **provider.offline.parameters,
            **dict(options.parameters or ()),
        },
        "redirect_uri": provider.redirect_uri,
        "ports": () if options.redirect_uri is not None else provider.ports,
    }
    if provider.server is not None:
        settings |= {name: getattr(provider.server, name) for name in ENDPOINTS}
    return {name: value for name, value in settings.items() if value is not None}


def _arguments(make: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(make).parameters


def _needed(make: Any) -> list[str]:
    arguments = _arguments(make).items()
    return [name for name, each in arguments if each.default is inspect.Parameter.empty]


def _written(names: Any) -> str:
    return " and ".join(f"--{name}" for name in sorted(names))


def _listed() -> str:
    """List the providers, each with what it needs."""
    listed = list[str]()
    for name, make in BY_NAME.items():
        needs = " ".join(f"--{each}" for each in _needed(make))
        listed.append(f"{name} ({needs})" if needs else name)
    return ", ".join(listed)

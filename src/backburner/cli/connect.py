"""Which server a command talks to, and with which key."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from backburner import profiles
from backburner.cli.configured import with_options
from backburner.cli.exits import CommandError, Exit
from backburner.cli.output import say
from backburner.cli.world import World, pass_world
from backburner.client import Client
from backburner.private_files import others_may_open

P = ParamSpec("P")
R = TypeVar("R")


#: How a command is told where its server is.
connect_options = (
    click.option("--url", metavar="URL", help="The server.  [BACKBURNER_URL, else the profile's]", show_default=False),
    click.option("--key", metavar="KEY", help="The API key.  [BACKBURNER_API_KEY, else the profile's]"),
    click.option("--profile", metavar="NAME", help="Url and key by name.  [BACKBURNER_PROFILE, else the current]"),
)


def address(world: World, url: str | None, key: str | None, named: str | None = None) -> tuple[str, str | None]:
    """Option, else environment, else profile. The profile's key goes to the profile's server only."""
    known = world.profiles(named)
    found = profiles.address(world.environ, url, key, named=named)
    if not (url and key) and others_may_open(path := known.path(known.current)):
        say(f"Warning: others can read {path}; run: chmod 600 {path}")
    if found[1] is None and (name := known.of_server(found[0])):
        say(f"Notice: no key is given; the profile {name} has one for this server: --profile {name}")
    return found


def with_client(command: Callable[Concatenate[World, Client, P], R]) -> Callable[..., R]:
    """Gives a command the options --url, --key and --profile, and the client that they and the profile make."""

    @with_options(*connect_options)
    @pass_world
    @wraps(command)
    def connected(
        world: World, /, *args: Any, url: str | None, key: str | None, profile: str | None, **options: Any
    ) -> R:
        with open_client(world, url, key, profile) as client:
            return command(world, client, *args, **options)

    return connected


def open_client(world: World, url: str | None, key: str | None, profile: str | None = None) -> Client:
    """Raises CommandError (usage) for what is no address of a server."""
    found, key = address(world, url, key, profile)
    if not found.startswith(("http://", "https://")):
        raise CommandError(f"{found!r} is not the URL of a server; it starts with http:// or https://.", Exit.USAGE)
    if key and not (key.isascii() and key.isprintable()):
        raise CommandError("The API key has characters that no key has.", Exit.USAGE)
    return Client(found, key, transport=world.transport, sleep=world.sleep, monotonic=world.monotonic)

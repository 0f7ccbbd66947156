"""Which server a command talks to, and with which key."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from backburner.cli import profile
from backburner.cli.exits import CommandError, Exit
from backburner.cli.output import say
from backburner.cli.world import World, pass_world
from backburner.client import Client

DEFAULT_URL = "http://127.0.0.1:8283"

P = ParamSpec("P")
R = TypeVar("R")


def address(world: World, url: str | None, key: str | None) -> tuple[str, str | None]:
    """Option, else environment, else profile. The profile's key goes to the profile's server only."""
    url = url or world.environ.get("BACKBURNER_URL") or None
    key = key or world.environ.get("BACKBURNER_API_KEY") or None
    if url and key:
        return url, key
    saved = profile.load(world.profile_path)
    if saved and profile.others_can_read(world.profile_path):
        say(f"Warning: others can read {world.profile_path}; run: chmod 600 {world.profile_path}")
    if saved and url in (None, saved.url):
        return saved.url, key or saved.key
    return url or DEFAULT_URL, key


def with_client(command: Callable[Concatenate[World, Client, P], R]) -> Callable[..., R]:
    """Gives a command the options --url and --key, and the client that they and the profile make."""

    @click.option("--url", metavar="URL", help="The server.  [BACKBURNER_URL, else the profile's]", show_default=False)
    @click.option("--key", metavar="KEY", help="The API key.  [BACKBURNER_API_KEY, else the profile's]")
    @pass_world
    @wraps(command)
    def connected(world: World, /, *args: Any, url: str | None, key: str | None, **options: Any) -> R:
        with open_client(world, url, key) as client:
            return command(world, client, *args, **options)

    return connected


def open_client(world: World, url: str | None, key: str | None) -> Client:
    """Raises CommandError (usage) for what is no address of a server."""
    found, key = address(world, url, key)
    if not found.startswith(("http://", "https://")):
        raise CommandError(f"{found!r} is not the URL of a server; it starts with http:// or https://.", Exit.USAGE)
    if key and not (key.isascii() and key.isprintable()):
        raise CommandError("The API key has characters that no key has.", Exit.USAGE)
    return Client(found, key, transport=world.transport, sleep=world.sleep, monotonic=world.monotonic)

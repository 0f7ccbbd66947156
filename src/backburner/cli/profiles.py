"""`backburner profiles`: the servers that commands know by name."""

from __future__ import annotations

import click

from backburner.cli.exits import CommandError, Exit
from backburner.cli.output import json_option, say, show_json, show_rows
from backburner.cli.world import World, pass_world
from backburner.profiles import Profile, Profiles

_COLUMNS = ("current", "name", "url", "file")


@click.group("profiles")
def profiles_group() -> None:
    """List servers by name, and choose the one that commands talk to."""


@profiles_group.command("list")
@json_option
@pass_world
def list_profiles(world: World, /, *, as_json: bool) -> int:
    """List profiles, without their keys."""
    known = world.profiles()
    rows = [_row(known, name) for name in known.names()]
    if as_json:
        for row in rows:
            show_json(row)
    else:
        show_rows(({**row, "current": "*" if row["current"] else ""} for row in rows), _COLUMNS)
    return Exit.OK


def _row(known: Profiles, name: str) -> dict[str, object]:
    found = known.load(name)
    url = None if found is None else found.url
    return {"name": name, "url": url, "file": str(known.path(name)), "current": name == known.current}


@profiles_group.command()
@click.argument("name")
@pass_world
def use(world: World, name: str) -> int:
    """Let commands that name no profile use NAME."""
    try:
        world.profiles().use(name)
    except OSError as error:
        raise CommandError(f"Cannot keep the choice: {error.strerror}.") from None
    say(f"Commands use the profile {name} now.")
    return Exit.OK


@profiles_group.command()
@click.argument("name")
@click.option("--url", required=True, metavar="URL", help="The server.")
@click.option("--key", required=True, metavar="KEY", help="The API key.")
@pass_world
def add(world: World, name: str, url: str, key: str) -> int:
    """Keep a server and its key as NAME, which must be free."""
    known, wanted = world.profiles(), Profile(url, key)
    if known.load(name) not in (None, wanted):
        raise CommandError(f"The profile {name} has another server or key; choose another name.", Exit.USAGE)
    try:
        say(f"Saved as the profile {known.add(wanted, name)}.")
    except OSError as error:
        raise CommandError(f"Cannot save the profile: {error.strerror}.") from None
    return Exit.OK

"""`backburner keys`: API keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any

import click

from backburner.api_keys import new_key
from backburner.cli.configured import config_option, configured, database_option, with_options
from backburner.cli.connect import connect_options, open_client, with_client
from backburner.cli.exits import CommandError, Exit
from backburner.cli.output import json_option, say, show, show_json, show_rows
from backburner.cli.world import World, pass_world
from backburner.client import Client
from backburner.clock import SystemClock
from backburner.ids import Ids
from backburner.storage import maintenance
from backburner.storage.urls import shown

SCOPES = ("read", "write", "admin")
_COLUMNS = ("id", "prefix", "scopes", "name", "user_id", "organization_id", "expires_at", "last_used_at")


@click.group("keys")
def keys_group() -> None:
    """Create, list and revoke API keys. Needs a key of scope admin, or the database itself (`create --local`)."""


@keys_group.command()
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="Repeatable.  [write]")
@click.option("--name", help="What the key is for.")
@click.option("--user", "user_id", metavar="ID", help="Whose key it is.  [the only user there is]")
@click.option("--expires-at", metavar="TIME", help="RFC 3339, for example 2027-01-31T00:00:00Z.  [never]")
@click.option("--local", is_flag=True, help="Write an admin key into the database itself, when every key is lost.")
@with_options(database_option, config_option, *connect_options)
@json_option
@pass_world
def create(
    world: World,
    /,
    *,
    local: bool,
    database_url: str | None,
    config: Path | None,
    url: str | None,
    key: str | None,
    profile: str | None,
    as_json: bool,
    **fields: Any,
) -> int:
    """Make a key. It is shown this once.

    With --local it needs no key and no server, only the database: on the server's machine, with its settings. It makes
    an admin key for the first user; old keys stay, and the audit log tells of it. A server on SQLite is stopped before.
    """
    if local:
        _refuse_with_local(fields | {"url": url, "key": key, "profile": profile})
        return _create_local(world, {"database_url": database_url}, config, name=fields["name"], as_json=as_json)
    if database_url or config:
        raise click.UsageError("--database and --config go with --local.")
    with open_client(world, url, key, profile) as client:
        return _create(client, as_json=as_json, **fields)


def _refuse_with_local(fields: Mapping[str, object]) -> None:
    """What would have no effect: the key is an admin's of the first user, without end, and no server is asked."""
    options = {"scopes": "--scope", "user_id": "--user", "expires_at": "--expires-at"}
    given = sorted(options.get(name, f"--{name}") for name, value in fields.items() if value and name != "name")
    if given:
        raise click.UsageError(f"{' and '.join(given)} cannot go with --local, which makes an admin key without end.")


def _create(client: Client, *, user_id: str | None, scopes: Sequence[str], as_json: bool, **fields: Any) -> int:
    given = {name: value for name, value in fields.items() if value is not None} | {"scopes": scopes or ("write",)}
    made = client.create_key(user_id=user_id or _only_user(client), **given)
    if as_json:
        show_json(made.raw)
        return Exit.OK
    say(f"Key {made.id} ({', '.join(made.scopes)}). This is shown once:")
    show(made.secret or "")
    return Exit.OK


def _create_local(
    world: World, given: Mapping[str, object], config: Path | None, *, name: str | None, as_json: bool
) -> int:
    url, secret = configured(world, config, given).database_url, new_key()
    made = maintenance.make_key(url, secret, name=name, ids=Ids(SystemClock(), SystemRandom()))
    if as_json:
        show_json({"id": made.id, "scopes": list(made.scopes), "name": made.name, "secret": secret})
        return Exit.OK
    say(f"Key {made.id} ({', '.join(made.scopes)}) in {shown(url)}. This is shown once:")
    show(secret)
    return Exit.OK


@keys_group.command("list")
@json_option
@with_client
def list_keys(_world: World, client: Client, as_json: bool) -> int:
    """List keys, without their secrets. With --json one object a line."""
    if as_json:
        for key in client.api_keys():
            show_json(key.raw)
    else:
        show_rows((key.raw for key in client.api_keys()), _COLUMNS)
    return Exit.OK


@keys_group.command()
@click.argument("key_ids", metavar="KEY...", nargs=-1, required=True)
@json_option
@with_client
def revoke(_world: World, client: Client, key_ids: Sequence[str], as_json: bool) -> int:
    """Make keys, named by their ids, useless for good."""
    for key_id in key_ids:
        revoked = client.revoke_key(key_id)
        if as_json:
            show_json(revoked.raw)
        else:
            say(f"Revoked {key_id}.")
    return Exit.OK


def _only_user(client: Client) -> str:
    users = list(client.users())
    if len(users) == 1:
        return users[0].id
    known = ", ".join(f"{user.id} ({user.name})" for user in users)
    raise CommandError(f"Whose key is it? Give --user with one of: {known or 'nobody'}.", Exit.USAGE)

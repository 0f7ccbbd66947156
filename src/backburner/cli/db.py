"""`backburner db`: upgrade, check, back up and restore the database."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import attrs
import click

from backburner.cli.configured import config_option, configured, database_option, with_options
from backburner.cli.exits import CommandError, Exit
from backburner.cli.output import json_option, say, show, show_json
from backburner.cli.world import World, pass_world
from backburner.clock import SystemClock
from backburner.storage import maintenance
from backburner.storage.urls import shown, sqlite_file


@click.group()
def db() -> None:
    """Upgrade, check, back up and restore the database. Works without a running server."""


def _with_database(command: Callable[..., int]) -> Callable[..., int]:
    """Gives a command the URL of the database that settings name."""

    @with_options(database_option, config_option)
    @pass_world
    @wraps(command)
    def found(world: World, /, *, database_url: str | None, config: Path | None, **options: Any) -> int:
        return command(configured(world, config, {"database_url": database_url}).database_url, **options)

    return found


@db.command()
@json_option
@_with_database
def upgrade(url: str, *, as_json: bool) -> int:
    """Bring the schema up to date. SQLite is backed up first."""
    done = maintenance.upgrade(url, now=SystemClock().now())
    return _told(url, done if done or as_json else ["The schema is up to date."], as_json)


@db.command()
@json_option
@_with_database
def check(url: str, *, as_json: bool) -> int:
    """Check schema, integrity, and what must always hold between rows; exits 1 when something does not.

    It changes nothing and may run while servers use the database. Every violation is named.
    """
    file = sqlite_file(url)
    if file and not file.exists():
        raise CommandError(f"{file} does not exist.")
    holds = True
    for finding in maintenance.check(url):
        holds = holds and finding.ok
        if as_json:
            show_json(attrs.asdict(finding))
        else:
            show(f"{'ok' if finding.ok else 'WRONG':<6} {finding.what}: {finding.detail}")
    return Exit.OK if holds else Exit.FAILED


@db.command()
@click.argument("destination", metavar="PATH")
@click.option("--force", is_flag=True, help="Replace PATH if it is there.")
@json_option
@_with_database
def backup(url: str, *, destination: str, force: bool, as_json: bool) -> int:
    """Copy a SQLite database to PATH, consistently, while a server uses it.

    The copy is checked before it gets its name, so PATH is a sound backup or is left as it was.
    """
    maintenance.backup(url, destination, may_replace=force)
    if as_json:
        show_json({"database": shown(url), "destination": destination})
    else:
        say(f"Backed up to {destination}.")
    return Exit.OK


@db.command()
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@_with_database
def restore(url: str, *, source: Path, as_json: bool) -> int:
    """Replace a SQLite database by the backup FILE, while no server uses it.

    What was there is kept beside it. Jobs that were accepted after the backup are not in it. What the backup calls
    planned may have been submitted since, so it is looked for at the provider first, and nothing is paid for twice.
    """
    return _told(url, maintenance.restore(url, source, now=SystemClock().now()), as_json)


@db.command()
@json_option
@_with_database
def restored(url: str, *, as_json: bool) -> int:
    """Say that the database was put back to an older state by other means, such as pg_restore, before a server starts.

    Planned batches are then looked for at the provider before they are submitted.
    """
    return _told(url, maintenance.restored(url, now=SystemClock().now()), as_json)


def _told(url: str, done: list[str], as_json: bool) -> int:
    if as_json:
        show_json({"database": shown(url), "done": done})
    else:
        for step in done:
            show(step)
    return Exit.OK

"""`backburner serve`: run a server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click
import structlog
import trio

from backburner import logs
from backburner.cli.banner import announce, announce_key
from backburner.cli.configured import config_option, configured, database_option, log_options, with_options
from backburner.cli.exits import Exit
from backburner.cli.world import World, pass_world
from backburner.serving import process
from backburner.setting_fields import SettingError
from backburner.settings import Settings
from backburner.storage.backups import belongs_to
from backburner.storage.urls import sqlite_file

log = structlog.get_logger()


@click.command()
@with_options(
    database_option,
    click.option("--host", metavar="ADDRESS", help="Where to listen.  [127.0.0.1]"),
    click.option("--port", metavar="PORT", help="Where to listen; 0 for any free port.  [8283]"),
    click.option(
        "--provider", metavar="NAME", help="sandbox or anthropic.  [anthropic if its key is set, else sandbox]"
    ),
    click.option("--public-url", metavar="URL", help="How others reach this server, behind a proxy."),
    click.option("--app", metavar="MODULE:NAME", help="The module with handlers and tools, and its App."),
    click.option("--standby", "sqlite_standby", is_flag=True, default=None, help="Wait while another holds the file."),
    click.option("--migrate", is_flag=True, default=None, help="Bring an old PostgreSQL schema up to date first."),
    click.option(
        "--profile", metavar="NAME", help="Where to save the first key.  [BACKBURNER_PROFILE, else a free one]"
    ),
    *log_options,
    config_option,
)
@pass_world
def serve(world: World, /, config: Path | None, profile: str | None, **overrides: Any) -> int:
    """Run a server until Ctrl-C or SIGTERM. Every setting also has an environment variable: docs/settings.md.

    The first start makes the database, an organization and an admin key, printed once and saved to a profile.
    SIGHUP opens the log file anew and reads log_level again.
    """
    settings = configured(world, config, overrides)
    _check_log_file(settings)
    _log_to(settings, level=settings.log_level)
    as_json = settings.log_format == "json"
    keeps = partial(announce_key, profiles=world.profiles(profile), as_json=as_json)
    again = partial(_read_again, settings, lambda: configured(world, config, overrides))
    told = {"on_key": keeps, "on_ready": partial(announce, as_json=as_json), "on_hangup": again}
    trio.run(partial(process.serve, settings, **told))
    return Exit.OK


def _read_again(started: Settings, load: Callable[[], Settings]) -> None:
    """Open the log file anew, take its level from the settings as they are now, and say what needs a restart."""
    try:
        found = load()
        _log_to(started, level=found.log_level)
    except SettingError as error:
        log.error("settings not read again", error=str(error))  # noqa: TRY400  # it says which, and there is no more
        return
    log.info("settings read again", log_level=found.log_level, need_restart=_need_restart(started, found))


def _need_restart(started: Settings, found: Settings) -> list[str]:
    """The names of the settings that are not as they were, but for the one that is taken over."""
    names = [field.name for field in attrs.fields(Settings) if field.name != "log_level"]
    return [name for name in names if getattr(found, name) != getattr(started, name)]


def _log_to(settings: Settings, *, level: str) -> None:
    logs.configure(level=level, log_format=settings.log_format, file=settings.log_file, app=settings.app)


def _check_log_file(settings: Settings) -> None:
    """Events that are written into a database destroy it."""
    database = sqlite_file(settings.database_url)
    if database and settings.log_file and belongs_to(database, Path(settings.log_file)):
        raise SettingError(f"Setting log_file: {settings.log_file} belongs to the database; name another file.")

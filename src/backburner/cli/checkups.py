"""The single checks of `backburner doctor`."""

from __future__ import annotations

import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from backburner import __version__
from backburner.cli.configured import configured
from backburner.cli.connect import address, open_client
from backburner.cli.remedies import remedy
from backburner.cli.world import World
from backburner.client import ApiError, ClientError
from backburner.clock import SystemClock
from backburner.errors import BackburnerError
from backburner.private_files import others_may_open
from backburner.profiles import ProfileError, Profiles
from backburner.setting_fields import SettingError
from backburner.settings import Settings
from backburner.storage import maintenance
from backburner.storage.troubles import Trouble
from backburner.storage.urls import shown, sqlite_file

_LITTLE_SPACE = 1024**3  # bytes


@attrs.frozen
class Finding:
    """`ok` is None for what is only told."""

    what: str
    ok: bool | None
    detail: str
    commands: tuple[str, ...] = ()  #: what settles it
    kind: str | None = None  #: of trouble with a batch, an account or a webhook
    subject: str | None = None  #: whose


def checkups(world: World, given: Mapping[str, Any]) -> Iterator[Finding]:
    """One finding after the other, as they are made; no check stops the next."""
    yield Finding("program", None, f"backburner {__version__}, Python {platform.python_version()}, {sys.platform}")
    try:
        settings = configured(world, given["config"], {"database_url": given["database_url"]})
        yield Finding("settings", True, f"provider {settings.provider_name}, port {settings.port}")
    except SettingError as error:
        yield Finding("settings", False, str(error))
        settings = None
    yield _profile(world.profiles(given["profile"]))
    if settings is not None:
        yield from _database(settings)
        yield from _modes(settings)
        yield _disk(settings)
    yield _server(world, given["url"], given["key"], given["profile"])


def _profile(profiles: Profiles) -> Finding:
    try:
        path = profiles.path(profiles.current)
        saved = profiles.used()
    except ProfileError as error:
        return Finding("profile", False, str(error))
    if saved is None:
        return Finding("profile", None, f"none at {path}; the first start of `backburner serve` makes one")
    if others_may_open(path):
        return Finding("profile", False, f"others can read {path}; run: chmod 600 {path}")
    return Finding("profile", True, f"{path} for {saved.url}")


def _database(settings: Settings) -> Iterator[Finding]:
    url = shown(settings.database_url)
    file = sqlite_file(settings.database_url)
    if file and not file.exists():
        yield Finding("database", None, f"{url} does not exist yet; `backburner serve` makes it")
        return
    try:
        schema = maintenance.schema_finding(settings.database_url)
        yield Finding("database", schema.ok, f"{url}: schema {schema.detail}")
        if file:
            yield Finding("database", True, f"{url}: {maintenance.integrity_finding(settings.database_url).detail}")
        found = maintenance.look_for_troubles(
            settings.database_url, now=SystemClock().now(), provider=settings.provider_name
        )
        yield from map(_trouble, found)
        if schema.ok and not found:
            yield Finding("work", True, "no batch, account or webhook needs a person; `backburner db check` counts all")
    except BackburnerError as error:
        yield Finding("database", False, f"{url}: {error}")


def _trouble(trouble: Trouble) -> Finding:
    told = remedy(trouble)
    # A webhook that was given up is over; everything else is in the way of something.
    return Finding(
        "work",
        None if trouble.kind == "failed_delivery" else False,
        told.explanation,
        told.commands,
        trouble.kind,
        trouble.subject,
    )


def _modes(settings: Settings) -> Iterator[Finding]:
    """What holds prompts and secrets is for its owner only."""
    log_file = Path(settings.log_file) if settings.log_file else None
    found = maintenance.open_to_others(settings.database_url)
    for path in [*found, *([log_file] if log_file and others_may_open(log_file) else [])]:
        yield Finding("modes", False, f"others may open {path}", (f"chmod 600 {shlex.quote(str(path))}",))


def _disk(settings: Settings) -> Finding:
    file = sqlite_file(settings.database_url)
    folder = file.absolute().parent if file else Path.cwd()
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("disk", False, f"{folder}: {error.strerror}")
    return Finding("disk", free >= _LITTLE_SPACE, f"{free / 1024**3:,.1f} GiB free at {folder}")


def _server(world: World, url: str | None, key: str | None, profile: str | None) -> Finding:
    try:
        found, key = address(world, url, key, profile)
        with open_client(world, found, key, profile) as client:
            client.ready()
            if key is None:
                return Finding("server", None, f"{found} is ready; no key to try")
            next(client.jobs(limit=1), None)
    except ApiError as error:
        return Finding("server", False, f"answered {error.status}: {error}")
    except ClientError as error:
        return Finding("server", None, f"{error} Is `backburner serve` running?")
    except BackburnerError as error:
        return Finding("server", False, str(error))
    return Finding("server", True, f"{found} is ready and knows the key")

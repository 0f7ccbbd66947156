"""The database of a server: held, opened, brought up to date, with somebody who may use it."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from backburner import signing
from backburner.api_keys import hash_key, new_key, shown_prefix
from backburner.serving.origins import Origins
from backburner.setting_fields import SettingError
from backburner.settings import Settings
from backburner.storage import accounts, idempotency, migrate
from backburner.storage.database import Database, PoolSettings, open_database, translated
from backburner.storage.file_lock import Holder, acquire, wait_for
from backburner.storage.sqlite import check_file
from backburner.storage.urls import parse_url, sqlite_file

log = structlog.get_logger()


async def hold_file(settings: Settings, origins: Origins, instance_id: str, stack: AsyncExitStack) -> None:
    """One process for one SQLite file, before anything of it is opened."""
    path = sqlite_file(settings.database_url)
    if path is None:
        return

    def me() -> Holder:
        return Holder(pid=os.getpid(), instance_id=instance_id, since=origins.clock.now())

    if settings.sqlite_standby:
        lock = await wait_for(path, me, origins.random)
    else:
        lock = acquire(path, me())
    stack.enter_context(lock)


async def make_database(settings: Settings, origins: Origins) -> Database:
    pool = PoolSettings(
        size=settings.pg_pool_size,
        overflow=settings.pg_max_overflow,
        timeout=settings.pg_pool_timeout,
        recycle=settings.pg_pool_recycle,
    )
    url = settings.database_url
    in_memory = parse_url(url).get_backend_name() == "sqlite" and sqlite_file(url) is None
    return open_database(url, random=origins.random, pool=pool, in_threads=not in_memory)


async def prepare_schema(database: Database, settings: Settings, origins: Origins) -> None:
    if database.is_sqlite and settings.database_direct_url is not None:
        raise SettingError("Setting database_direct_url: is for PostgreSQL, and database_url is not.")

    def prepare() -> list[str]:
        with translated():
            if database.is_sqlite:
                check_file(database.writing)
            return migrate.prepare(
                database.writing,
                direct_url=settings.database_direct_url,
                may_upgrade=settings.migrate,
                now=origins.clock.now(),
                sleep=_sleep,
            )

    for done in await database.offload_write(prepare):
        log.info("schema", done=done)


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251  # in a worker thread, while another instance migrates


async def bury_requests(database: Database) -> None:
    """On SQLite free the Idempotency-Keys of requests that died with an earlier process, so that a repetition need not
    wait. Elsewhere other instances may be at work on theirs; those of the dead lapse after half a minute.
    """
    if database.is_sqlite:
        await database.write(idempotency.release_all)


async def bootstrap(database: Database, settings: Settings, origins: Origins) -> str | None:
    """Make the first organization and key, or take in what the settings say. Returns a key that was made up here."""
    key = settings.bootstrap_key or new_key()
    secret = settings.webhook_secret or signing.new_secret()
    known = {"key_hash": hash_key(key), "prefix": shown_prefix(key)}
    now = origins.clock.now()
    made = await database.write(accounts.bootstrap, **known, webhook_secret=secret, now=now, ids=origins.ids)
    if not made and settings.bootstrap_key:
        await database.write(accounts.accept_key, **known, now=now, ids=origins.ids)
    if not made and settings.webhook_secret:
        await database.write(accounts.set_webhook_secret, accounts.FIRST, settings.webhook_secret, now=now)
    return key if made and not settings.bootstrap_key else None


async def refuse_open_door(database: Database, settings: Settings) -> None:
    """Without a key nobody could use the server, and whoever makes the next one had better sit before it."""
    loopback = settings.host == "localhost" or _is_loopback(settings.host)
    if not loopback and not await database.read(accounts.has_keys):
        raise SettingError(
            f"host: {settings.host} is refused while no API key exists; listen on 127.0.0.1 and create one, "
            "or set BACKBURNER_BOOTSTRAP_KEY."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@asynccontextmanager
async def asyncio_loop() -> AsyncIterator[None]:
    import trio_asyncio  # type: ignore[import-untyped]  # noqa: PLC0415  # only PostgreSQL needs it

    async with trio_asyncio.open_loop():
        yield

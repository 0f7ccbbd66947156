"""The provider of a server: the real one, a sandbox somewhere, or one inside this process."""

from __future__ import annotations

import gc
import importlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import structlog
import trio

from backburner.providers.anthropic import open_anthropic
from backburner.providers.base import Provider
from backburner.serving.origins import Origins
from backburner.settings import Settings
from backburner.storage.database import Database
from backburner.storage.urls import sqlite_file

if TYPE_CHECKING:
    from backburner.providers.sandbox.engine import Sandbox

SANDBOX = "sandbox"
AWAY = 1.0  # seconds until what the sandbox keeps is read again

log = structlog.get_logger()


OpenProvider = Callable[[], AbstractAsyncContextManager[Provider]]


def is_embedded(settings: Settings) -> bool:
    """Whether the provider is the sandbox inside this process."""
    default_url = attrs.fields(Settings).anthropic_base_url.default
    return settings.provider_name == SANDBOX and settings.anthropic_base_url == default_url


@asynccontextmanager
async def provider_for(settings: Settings, origins: Origins, database: Database) -> AsyncIterator[OpenProvider]:
    """How to open the provider; the embedded sandbox, if that is it, serves meanwhile."""
    connect = partial(open_anthropic, request_timeout=settings.llm_request_timeout_seconds, name=settings.provider_name)
    if not is_embedded(settings):
        key = settings.anthropic_api_key or secrets.token_urlsafe(8)
        yield partial(connect, api_key=key, base_url=settings.anthropic_base_url)
        return
    # Not needed with a real provider.
    from backburner.providers.sandbox.serve import serve_sandbox  # noqa: PLC0415

    engine = await trio.to_thread.run_sync(_embedded, settings, origins, database)
    with closing(engine):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_sandbox, engine, "127.0.0.1", 0)
            yield partial(
                _open_embedded, engine, partial(connect, api_key=SANDBOX, base_url=f"http://127.0.0.1:{port}")
            )
            nursery.cancel_scope.cancel()


async def preload() -> None:
    """Load the SDK, which takes a second, before a standby has to take over in two.

    Cancelled, it goes on behind the scenes: nobody who asks for a stop is to wait for it.
    """
    await trio.to_thread.run_sync(_load, abandon_on_cancel=True)


@cache
def _load() -> None:
    """Load it, and keep what is loaded by then out of later garbage collections.

    There are so many objects that each full collection would stall the loop for a tenth of a second. One before would,
    too, so what is garbage at that moment stays: some hundred objects, once in a process.
    """
    importlib.import_module("backburner.providers.anthropic_calls")
    gc.freeze()


@asynccontextmanager
async def loaded(open_provider: OpenProvider) -> AsyncIterator[Provider]:
    """The provider, opened when its SDK is loaded."""
    await preload()
    async with open_provider() as provider:
        yield provider


@asynccontextmanager
async def _open_embedded(engine: Sandbox, connect: OpenProvider) -> AsyncIterator[Provider]:
    """The provider for a term. What the sandbox of the leader before has made is read when the term begins."""
    while not await _loaded(engine):  # noqa: ASYNC110  # a database that is away rings no bell
        await trio.sleep(AWAY)
    async with connect() as provider:
        yield provider


async def _loaded(engine: Sandbox) -> bool:
    from backburner.providers.sandbox.service import in_thread  # noqa: PLC0415
    from backburner.providers.sandbox.store import StoreFailed  # noqa: PLC0415

    try:
        await engine.load(in_thread)
    except StoreFailed as error:
        log.warning("the sandbox cannot read what it keeps", error=str(error))
        return False
    return True


def _embedded(settings: Settings, origins: Origins, database: Database) -> Sandbox:
    """The sandbox inside this process. On PostgreSQL all servers' sandboxes have one store."""
    from backburner.providers.sandbox.engine import Sandbox  # noqa: PLC0415
    from backburner.providers.sandbox.faults import parse_fault  # noqa: PLC0415
    from backburner.providers.sandbox.options import SandboxOptions  # noqa: PLC0415
    from backburner.serving.sandbox_tables import TableStore  # noqa: PLC0415

    options = SandboxOptions(
        seed=settings.sandbox_seed,
        latency_seconds=settings.sandbox_latency_seconds,
        batch_seconds=(settings.sandbox_batch_seconds / 2, settings.sandbox_batch_seconds * 1.5),
        speed=settings.sandbox_speed,
        errored=settings.sandbox_errored_share,
        expired=settings.sandbox_expired_share,
        canceled=settings.sandbox_canceled_share,
    )
    engine = (
        Sandbox(clock=origins.clock, options=options, path=_sandbox_path(settings))
        if database.is_sqlite
        else Sandbox(clock=origins.clock, options=options, store=TableStore(database))
    )
    for rule in settings.sandbox_faults.split():
        engine.faults.add(parse_fault(rule))
    return engine


def _sandbox_path(settings: Settings) -> Path | None:
    path = sqlite_file(settings.database_url)
    return None if path is None else path.with_name(path.name + ".sandbox")

"""One server process, from its settings to its exit: what is opened, in which order, and closed again."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from functools import partial
from typing import TypeVar

import attrs
import structlog
import trio

from backburner.errors import StoppedShort
from backburner.http.binding import Bound, bind
from backburner.serving.app_module import load_app
from backburner.serving.database import (
    asyncio_loop,
    bootstrap,
    bury_requests,
    hold_file,
    make_database,
    prepare_schema,
    refuse_open_door,
)
from backburner.serving.front import Front
from backburner.serving.origins import Origins
from backburner.serving.provider import loaded, preload, provider_for
from backburner.serving.signals import Signals
from backburner.serving.wiring import make_system
from backburner.settings import Settings
from backburner.storage.database import Database

T = TypeVar("T")

log = structlog.get_logger()

#: Seconds that a thread may keep the interpreter while another waits for it. A query gives it up some twenty times, and
#: with Python's 5 ms each time a busy event loop made one read of 0.5 ms take 107 ms; with this it takes 9.
SWITCH_INTERVAL = 0.0005
FIRST_CAMPAIGN = 1.0  # seconds that `ready` waits to be able to say whether this instance leads


@attrs.frozen(kw_only=True)
class Ready:
    """What is known when the server answers."""

    url: str
    database: str
    provider: str
    role: str  # leader or standby
    admin_key: str | None  # only at the first start


@attrs.frozen(kw_only=True)
class _Told:
    """Who hears of the start."""

    on_ready: Callable[[Ready], None]
    on_key: Callable[[str, str], None]


def _forget(_url: str, _key: str) -> None:
    """For who reads the key off `Ready`."""


def _nothing_to_read() -> None:
    log.info("settings are not read again", reason="they came from code")


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[Ready], None],
    on_key: Callable[[str, str], None] = _forget,
    on_hangup: Callable[[], None] = _nothing_to_read,
) -> None:
    """Serve until SIGTERM or SIGINT, or the loss of the terminal, then stop in order; a second signal stops at once.
    Asked to stop before it serves, it returns without. SIGHUP calls `on_hangup`.

    `on_key` is called with url and admin key at the first start, as soon as the key exists: there is no other copy.

    Raises StoppedShort when the stop did not end in order. Before `on_ready` it may raise SettingError, CannotListen,
    StorageUnusable (AlreadyHeld too) and StorageUnavailable.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    origins = Origins()
    stop = trio.Event()
    with trio.CancelScope() as whole:
        async with trio.open_nursery() as nursery:
            signals = Signals(stop=stop, whole=whole, read_again=on_hangup)
            await nursery.start(signals.watch)
            nursery.start_soon(signals.bound_the_stop, settings.shutdown_grace_seconds)
            async with AsyncExitStack() as stack:
                await _run(settings, origins, stop, stack, _Told(on_ready=on_ready, on_key=on_key))
            nursery.cancel_scope.cancel()
    if whole.cancelled_caught:
        raise StoppedShort("The ordered stop was cut short; nothing that was answered is lost.")


@attrs.frozen(kw_only=True)
class _Opened:
    """What a server has before it does anything."""

    database: Database
    bound: Bound


async def _open(settings: Settings, origins: Origins, instance_id: str, stack: AsyncExitStack) -> _Opened:
    """In the order in which it can be refused: what is refused leaves nothing half made."""
    async with trio.open_nursery() as nursery:
        if settings.sqlite_standby:
            nursery.start_soon(preload)  # while it waits
        await hold_file(settings, origins, instance_id, stack)
    bound = stack.enter_context(closing(await bind(settings.host, settings.port)))
    database = stack.enter_context(closing(await make_database(settings, origins)))
    await prepare_schema(database, settings, origins)
    await bury_requests(database)
    return _Opened(database=database, bound=bound)


async def _unless_stopped(stop: trio.Event, work: Callable[[], Awaitable[T]]) -> T | None:
    """What `work` comes to; None when the server was asked to stop before that."""
    found = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when, stop, nursery.cancel_scope)
        found = await work()
        nursery.cancel_scope.cancel()
    return found


async def _cancel_when(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel(reason="asked to stop before it served")


async def _run(settings: Settings, origins: Origins, stop: trio.Event, stack: AsyncExitStack, told: _Told) -> None:
    app = load_app(settings.app)
    trio.to_thread.current_default_thread_limiter().total_tokens = settings.event_loop_threadpool_max_workers
    instance_id = f"{socket.gethostname()}-{os.getpid()}"
    opened = await _unless_stopped(stop, partial(_open, settings, origins, instance_id, stack))
    if opened is None:
        return
    database, url = opened.database, settings.public_url or opened.bound.address.url
    admin_key = await bootstrap(database, settings, origins)
    if admin_key is not None:
        told.on_key(url, admin_key)
    await refuse_open_door(database, settings)
    if not database.is_sqlite:
        await stack.enter_async_context(asyncio_loop())
    open_provider = await stack.enter_async_context(provider_for(settings, origins, database))
    system = make_system(
        settings, origins, database, instance_id=instance_id, open_provider=partial(loaded, open_provider), app=app
    )
    front = Front(settings=settings, origins=origins, system=system, bound=opened.bound)
    stack.enter_context(front.watch.watching())
    async with trio.open_nursery() as nursery:
        await nursery.start(system.run, front, stop)
        with trio.move_on_after(FIRST_CAMPAIGN):
            await system.leader.tried.wait()
        nursery.start_soon(preload)
        told.on_ready(
            Ready(
                url=url,
                database=settings.database_url,
                provider=settings.provider_name,
                role="leader" if system.leader.is_leader else "standby",
                admin_key=admin_key,
            )
        )

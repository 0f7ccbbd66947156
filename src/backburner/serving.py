"""One server process, from its settings to its exit: what is opened, in which order, and closed again."""

from __future__ import annotations

import gc
import importlib
import ipaddress
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random, SystemRandom

import attrs
import structlog
import trio

from backburner import __version__, signing
from backburner.actors.listener import Feed
from backburner.api_keys import hash_key, new_key, shown_prefix
from backburner.clock import Clock, SystemClock
from backburner.http.app import create_app
from backburner.http.envelope import request_ids
from backburner.http.hosting import serve_http
from backburner.http.limiter import RateLimits
from backburner.http.services import InstanceStatus, LettaDefaults, Limits, Services
from backburner.ids import Ids
from backburner.leadership import Leadership
from backburner.model import Term
from backburner.providers.anthropic import LIMITS, open_anthropic
from backburner.providers.base import Provider
from backburner.setting_fields import SettingError
from backburner.settings import Settings
from backburner.storage import accounts, fence, migrate, postgresql
from backburner.storage.database import Database, PoolSettings, open_database, parse_url, translated
from backburner.storage.file_lock import Holder, acquire, wait_for
from backburner.storage.local_leadership import LocalLeadership
from backburner.storage.quotas import Quotas
from backburner.storage.sqlite import check_file
from backburner.system import Pace, System
from backburner.webhooks.pinned import pinned_transport
from backburner.webhooks.sender import WebhookSender

log = structlog.get_logger()

SANDBOX = "sandbox"
SETTLE, SANDBOX_SETTLE = 120.0, 1.0  # seconds; the sandbox has no replicas that lag behind
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
class Origins:
    """Where time, chance and ids come from."""

    clock: Clock = attrs.field(factory=SystemClock)
    random: Random = attrs.field(factory=SystemRandom)

    @property
    def ids(self) -> Ids:
        return Ids(self.clock, self.random)


async def serve(settings: Settings, *, on_ready: Callable[[Ready], None]) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order; a second signal stops at once.

    Raises SettingError, CannotListen, StorageUnusable (AlreadyHeld too) and StorageUnavailable before `on_ready`.
    """
    origins = Origins()
    stop = trio.Event()
    with trio.CancelScope() as whole:
        async with trio.open_nursery() as nursery:
            await nursery.start(_watch_signals, stop, whole)
            nursery.start_soon(_bound_the_stop, stop, whole, settings.shutdown_grace_seconds)
            async with AsyncExitStack() as stack:
                await _run(settings, origins, stop, stack, on_ready)
            nursery.cancel_scope.cancel()


async def _watch_signals(
    stop: trio.Event, whole: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            log.info("asked to stop", signal=signal.Signals(number).name)
            if stop.is_set():
                whole.cancel(reason="second signal")
            stop.set()


async def _bound_the_stop(stop: trio.Event, whole: trio.CancelScope, grace: float) -> None:
    await stop.wait()
    await trio.sleep(grace)
    log.error("the ordered stop took too long and is cut short", grace_seconds=grace)
    whole.cancel(reason="shutdown_grace_seconds are over")


async def _run(
    settings: Settings, origins: Origins, stop: trio.Event, stack: AsyncExitStack, on_ready: Callable[[Ready], None]
) -> None:
    trio.to_thread.current_default_thread_limiter().total_tokens = settings.event_loop_threadpool_max_workers
    instance_id = f"{socket.gethostname()}-{os.getpid()}"
    await _hold_file(settings, origins, instance_id, stack)
    database = stack.enter_context(closing(await _open_database(settings, origins)))
    await _prepare(database, settings, origins)
    admin_key = await _bootstrap(database, settings, origins)
    await _refuse_open_door(database, settings)
    if not database.is_sqlite:
        await stack.enter_async_context(_asyncio_loop())
    open_provider = await stack.enter_async_context(_provider(settings, origins, database))
    system = _system(settings, origins, database, instance_id, partial(_frozen, open_provider))
    front = _Front(settings=settings, origins=origins, system=system)
    async with trio.open_nursery() as nursery:
        url = await nursery.start(system.run, front, stop)
        with trio.move_on_after(FIRST_CAMPAIGN):
            await system.leader.tried.wait()
        nursery.start_soon(_preload)
        on_ready(
            Ready(
                url=settings.public_url or url,
                database=settings.database_url,
                provider=settings.provider_name,
                role="leader" if system.leader.is_leader else "standby",
                admin_key=admin_key,
            )
        )


# --- storage -----------------------------------------------------------------------------------------------


async def _hold_file(settings: Settings, origins: Origins, instance_id: str, stack: AsyncExitStack) -> None:
    """One process for one SQLite file, before anything of it is opened."""
    path = _sqlite_path(settings)
    if path is None:
        return

    def me() -> Holder:
        return Holder(pid=os.getpid(), instance_id=instance_id, since=origins.clock.now())

    if settings.sqlite_standby:
        lock = await wait_for(path, me, origins.random)
    else:
        lock = acquire(path, me())
    stack.enter_context(lock)


def _sqlite_path(settings: Settings) -> Path | None:
    url = parse_url(settings.database_url)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


async def _open_database(settings: Settings, origins: Origins) -> Database:
    pool = PoolSettings(
        size=settings.pg_pool_size,
        overflow=settings.pg_max_overflow,
        timeout=settings.pg_pool_timeout,
        recycle=settings.pg_pool_recycle,
    )
    in_memory = parse_url(settings.database_url).get_backend_name() == "sqlite" and _sqlite_path(settings) is None
    return open_database(settings.database_url, random=origins.random, pool=pool, in_threads=not in_memory)


async def _prepare(database: Database, settings: Settings, origins: Origins) -> None:
    def prepare() -> list[str]:
        with translated():
            if database.is_sqlite:
                check_file(database.writing)
            return migrate.prepare(
                database.writing, may_upgrade=settings.migrate, now=origins.clock.now(), sleep=_sleep
            )

    for done in await database.offload_write(prepare):
        log.info("schema", done=done)


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251  # in a worker thread, while another instance migrates


async def _bootstrap(database: Database, settings: Settings, origins: Origins) -> str | None:
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


async def _refuse_open_door(database: Database, settings: Settings) -> None:
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
async def _asyncio_loop() -> AsyncIterator[None]:
    import trio_asyncio  # type: ignore[import-untyped]  # noqa: PLC0415  # only PostgreSQL needs it

    async with trio_asyncio.open_loop():
        yield


# --- provider ----------------------------------------------------------------------------------------------

OpenProvider = Callable[[], AbstractAsyncContextManager[Provider]]


@asynccontextmanager
async def _provider(settings: Settings, origins: Origins, database: Database) -> AsyncIterator[OpenProvider]:
    """How to open the provider; the embedded sandbox, if that is it, serves meanwhile."""
    connect = partial(open_anthropic, request_timeout=settings.llm_request_timeout_seconds, name=settings.provider_name)
    default_url = attrs.fields(Settings).anthropic_base_url.default
    if settings.provider_name != SANDBOX or settings.anthropic_base_url != default_url:
        key = settings.anthropic_api_key or secrets.token_urlsafe(8)
        yield partial(connect, api_key=key, base_url=settings.anthropic_base_url)
        return
    async with trio.open_nursery() as nursery:
        port = await nursery.start(_serve_sandbox, settings, origins, _sandbox_path(settings, database))
        yield partial(connect, api_key=SANDBOX, base_url=f"http://127.0.0.1:{port}")
        nursery.cancel_scope.cancel()


async def _preload() -> None:
    """Load the SDK, which takes a second, before a standby has to take over in two."""
    await trio.to_thread.run_sync(partial(importlib.import_module, "backburner.providers.anthropic_calls"))


@asynccontextmanager
async def _frozen(open_provider: OpenProvider) -> AsyncIterator[Provider]:
    """The provider, with everything that is loaded by now kept out of later garbage collections.

    The SDK alone holds so many objects that each full collection would stall the loop for a tenth of a second.
    """
    async with open_provider() as provider:
        gc.collect()
        gc.freeze()
        yield provider


def _sandbox_path(settings: Settings, database: Database) -> Path | None:
    if not database.is_sqlite:
        return Path("backburner.sandbox")
    path = _sqlite_path(settings)
    return None if path is None else path.with_name(path.name + ".sandbox")


async def _serve_sandbox(
    settings: Settings, origins: Origins, path: Path | None, *, task_status: trio.TaskStatus[int]
) -> None:
    # Not needed with a real provider.
    from backburner.providers.sandbox.engine import Sandbox  # noqa: PLC0415
    from backburner.providers.sandbox.faults import parse_fault  # noqa: PLC0415
    from backburner.providers.sandbox.options import SandboxOptions  # noqa: PLC0415
    from backburner.providers.sandbox.serve import serve_sandbox  # noqa: PLC0415

    options = SandboxOptions(
        seed=settings.sandbox_seed,
        latency_seconds=settings.sandbox_latency_seconds,
        batch_seconds=(settings.sandbox_batch_seconds / 2, settings.sandbox_batch_seconds * 1.5),
        speed=settings.sandbox_speed,
        errored=settings.sandbox_errored_share,
        expired=settings.sandbox_expired_share,
        canceled=settings.sandbox_canceled_share,
    )
    with closing(Sandbox(clock=origins.clock, options=options, path=path)) as engine:
        for rule in settings.sandbox_faults.split():
            engine.faults.add(parse_fault(rule))
        await serve_sandbox(engine, "127.0.0.1", 0, task_status=task_status)


# --- the system and its front ------------------------------------------------------------------------------


def _system(
    settings: Settings, origins: Origins, database: Database, instance_id: str, open_provider: OpenProvider
) -> System:
    sender = WebhookSender(
        transport=pinned_transport(allow_private=settings.callback_allow_private_networks),
        clock=origins.clock,
        timeout=settings.callback_timeout_seconds,
        allow_private=settings.callback_allow_private_networks,
    )
    return System(
        database=database,
        provider_name=settings.provider_name,
        open_provider=open_provider,
        leadership=_leadership(database, origins, instance_id),
        sender=sender,
        clock=origins.clock,
        random=origins.random,
        ids=origins.ids,
        pace=pace_of(settings),
        feed=_feed(database),
    )


def pace_of(settings: Settings) -> Pace:
    """The actors' numbers, from the settings."""
    settle = SANDBOX_SETTLE if settings.provider_name == SANDBOX else SETTLE
    return Pace(
        interval=settings.poll_running_llm_batches_interval_seconds,
        jitter=settings.poll_jitter_seconds,
        page_size=settings.batch_job_polling_batch_size,
        poll_concurrency=settings.poll_concurrency,
        lookback=timedelta(weeks=settings.batch_job_polling_lookback_weeks),
        lock_retry=settings.poll_lock_retry_interval_seconds,
        most_queued=settings.provider_max_queued_items,
        settle=settle if settings.submit_settle_seconds is None else settings.submit_settle_seconds,
        write_rows=settings.write_rows,
        write_bytes=settings.write_bytes,
        write_window=settings.write_window_seconds,
        callback_concurrency=settings.callback_concurrency,
        callback_timeout=settings.callback_timeout_seconds,
        drain=settings.shutdown_grace_seconds / 3,
        may_lead=settings.enable_batch_job_polling,
    )


def _leadership(database: Database, origins: Origins, instance_id: str) -> Leadership:
    def new_term_id() -> str:
        return str(origins.ids.uuid7())

    if not database.is_sqlite:
        from backburner.storage.postgres_leadership import PostgresLeadership  # noqa: PLC0415

        return PostgresLeadership(
            dsn=postgresql.conninfo(database.url), instance_id=instance_id, new_term_id=new_term_id
        )

    async def new_term() -> Term:
        return await database.write(
            fence.begin_term, term_id=new_term_id(), instance_id=instance_id, now=origins.clock.now()
        )

    async def end_term(term: Term, reason: str) -> None:
        await database.write(fence.end_term, term, now=origins.clock.now(), reason=reason)

    return LocalLeadership(new_term=new_term, end_term=end_term)


def _feed(database: Database) -> Feed | None:
    if database.is_sqlite:
        return None
    from backburner.storage.feed import NotificationFeed  # noqa: PLC0415

    return NotificationFeed(postgresql.conninfo(database.url))


@attrs.frozen(kw_only=True, eq=False)
class _Front:
    """The HTTP server."""

    settings: Settings
    origins: Origins
    system: System

    async def __call__(self, stop: trio.Event, *, task_status: trio.TaskStatus[str]) -> None:
        services = self._services(stop)
        app = create_app(services)
        async with trio.open_nursery() as nursery:
            await nursery.start(services.live.run)
            address = await nursery.start(
                partial(
                    serve_http,
                    app,
                    host=self.settings.host,
                    port=self.settings.port,
                    stop=stop,
                    graceful_timeout=self.settings.shutdown_grace_seconds / 3,
                    new_request_id=request_ids(self.origins.ids),
                )
            )
            task_status.started(address.url)

    def _services(self, stop: trio.Event) -> Services:
        settings, system = self.settings, self.system
        return Services(
            database=system.database,
            clock=self.origins.clock,
            ids=self.origins.ids,
            changes=system.changes,
            limits=Limits(
                max_request_bytes=settings.max_request_bytes,
                max_items_per_job=settings.max_items_per_job,
                max_item_bytes=LIMITS.max_item_bytes,
                chunk_items=settings.chunk_items,
                chunk_bytes=settings.chunk_bytes,
            ),
            provider=settings.provider_name,
            providers=frozenset({settings.provider_name}),
            allow_private_callbacks=settings.callback_allow_private_networks,
            public_url=settings.public_url,
            rate_limits=RateLimits(
                requests_per_second=settings.rate_limit_requests_per_second,
                burst=settings.rate_limit_burst,
                failures_per_minute=settings.auth_failures_per_minute,
            ),
            quotas=Quotas(open_jobs=settings.quota_open_jobs, items_per_day=settings.quota_items_per_day),
            letta=LettaDefaults(model=settings.letta_default_model, max_tokens=settings.letta_default_max_tokens),
            step_down=system.step_down,
            overload=lambda: "is behind with writing" if system.writer.is_behind else None,
            metrics_public=settings.metrics_public,
            registry=system.metrics.registry,
            work=system.work,
            status=self._status,
            poll_now=system.poll_now,
            ready=lambda: "the server is stopping" if stop.is_set() else None,
            stopping=stop,
            version=__version__,
        )

    def _status(self) -> InstanceStatus:
        system = self.system
        ticker = system.ticker
        return InstanceStatus(
            is_leader=system.leader.is_leader,
            refusal=system.leader.refusal,
            writer_queue=system.writer.queue,
            background_tasks=trio.lowlevel.current_statistics().tasks_living,
            polling_enabled=self.settings.enable_batch_job_polling,
            next_tick_at=None if ticker is None else ticker.next_tick_at,
        )

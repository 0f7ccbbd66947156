"""From the settings to the system and its pace."""

from __future__ import annotations

import os
from datetime import timedelta

from backburner.actors.children import ChildLimits
from backburner.actors.listener import Feed
from backburner.actors.toolbox import Toolbox
from backburner.app import App, Handler, Tool
from backburner.background import Background
from backburner.errors import WrongApp
from backburner.execution.cluster import Cluster
from backburner.execution.cluster_client import require_dask
from backburner.execution.executors import Executors
from backburner.execution.places import Places
from backburner.execution.processes import Processes
from backburner.execution.tasks import Tasks
from backburner.execution.threads import Threads
from backburner.ingestion.ingest import IngestRules
from backburner.leadership import Leadership
from backburner.model import Term
from backburner.pace import Pace
from backburner.providers.anthropic import LIMITS
from backburner.serving.origins import Origins
from backburner.serving.provider import OpenProvider, is_embedded
from backburner.settings import Settings
from backburner.storage import fence, postgresql
from backburner.storage.database import Database
from backburner.storage.local_leadership import LocalLeadership
from backburner.storage.quotas import Quotas
from backburner.storage.urls import parse_url
from backburner.system import System
from backburner.webhooks.http_tools import HttpTools
from backburner.webhooks.pinned import pinned_transport
from backburner.webhooks.sender import WebhookSender

SETTLE, EMBEDDED_SETTLE = 120.0, 1.0  # seconds; nothing is on its way for long to a sandbox inside the process


def make_system(
    settings: Settings,
    origins: Origins,
    database: Database,
    *,
    instance_id: str,
    open_provider: OpenProvider,
    app: App,
) -> System:
    allow_private = settings.callback_allow_private_networks
    transport = pinned_transport(allow_private=allow_private)
    sender = WebhookSender(
        transport=transport,
        clock=origins.clock,
        timeout=settings.callback_timeout_seconds,
        allow_private=allow_private,
        ports=settings.callback_ports,
    )
    background = background_of(settings, app, instance_id)
    toolbox = Toolbox(
        tools=app.tools,
        executors=background.executors,
        http=HttpTools(
            transport=transport, clock=origins.clock, allow_private=allow_private, ports=settings.callback_ports
        ),
        database=database,
        clock=origins.clock,
    )
    return System(
        database=database,
        provider_name=settings.provider_name,
        open_provider=open_provider,
        leadership=_leadership(database, settings.database_direct_url, origins, instance_id),
        sender=sender,
        clock=origins.clock,
        random=origins.random,
        ids=origins.ids,
        pace=pace_of(settings),
        background=background,
        run_tool=toolbox,
        feed=_feed(database, settings.database_direct_url),
    )


def pace_of(settings: Settings) -> Pace:
    """The actors' numbers, from the settings."""
    settle = EMBEDDED_SETTLE if is_embedded(settings) else SETTLE
    return Pace(
        interval=settings.poll_running_llm_batches_interval_seconds,
        jitter=settings.poll_jitter_seconds,
        page_size=settings.batch_job_polling_batch_size,
        poll_concurrency=settings.poll_concurrency,
        lookback=timedelta(weeks=settings.batch_job_polling_lookback_weeks),
        audit_kept=timedelta(days=settings.audit_retention_days),
        lock_retry=settings.poll_lock_retry_interval_seconds,
        most_queued=settings.provider_max_queued_items,
        settle=settle if settings.submit_settle_seconds is None else settings.submit_settle_seconds,
        write_rows=settings.write_rows,
        write_bytes=settings.write_bytes,
        write_window=settings.write_window_seconds,
        callback_concurrency=settings.callback_concurrency,
        callback_timeout=settings.callback_timeout_seconds,
        round_window=settings.round_window_seconds,
        tool_concurrency=settings.tool_concurrency,
        drain=settings.shutdown_grace_seconds / 3,
        chunk_bytes=settings.chunk_bytes,
        may_lead=settings.enable_batch_job_polling,
        job_lease=settings.job_lease_seconds,
        jobs_per_organization=settings.jobs_per_organization,
        file_retention=timedelta(days=settings.file_retention_days),
    )


def background_of(settings: Settings, app: App, instance_id: str) -> Background:
    """Where handlers run, by the settings."""
    drain = settings.shutdown_grace_seconds / 3
    executors = Executors(
        tasks=Tasks(places=Places(settings.job_tasks), patience=drain),
        threads=Threads(Places(settings.job_threads)),
        processes=Processes(
            Places(settings.job_processes or os.cpu_count() or 1), memory_bytes=settings.job_process_memory_bytes
        ),
        cluster=cluster_of(settings, app),
    )
    limits = ChildLimits(chunk_items=settings.chunk_items, chunk_bytes=settings.chunk_bytes)
    ingest = IngestRules(
        provider=settings.provider_name,
        providers=frozenset({settings.provider_name}),
        max_items_per_job=settings.max_items_per_job,
        max_item_bytes=LIMITS.max_item_bytes,
        folder=settings.ingest_folder,
        allow_private_callbacks=settings.callback_allow_private_networks,
        callback_ports=settings.callback_ports,
    )
    return Background(
        app=app,
        executors=executors,
        child_limits=limits,
        quotas=Quotas(
            open_jobs=settings.quota_open_jobs,
            items_per_day=settings.quota_items_per_day,
            bytes_per_day=settings.quota_bytes_per_day,
        ),
        ingest=ingest,
        instance_id=instance_id,
    )


def cluster_of(settings: Settings, app: App) -> Cluster:
    """Raises WrongApp when something is to run on a cluster and there is none, or Dask is not installed."""
    everything: list[Handler | Tool] = [*app.handlers.values(), *app.tools.values()]
    named = [one.name for one in everything if one.executor == "dask"]
    if named and settings.dask_scheduler is None:
        raise WrongApp(f'{named[0]!r} runs on a Dask cluster (executor="dask"): set dask_scheduler to its address.')
    if named:
        require_dask()
    return Cluster(address=settings.dask_scheduler, places=Places(settings.dask_jobs))


def _leadership(database: Database, direct_url: str | None, origins: Origins, instance_id: str) -> Leadership:
    def new_term_id() -> str:
        return str(origins.ids.uuid7())

    if not database.is_sqlite:
        from backburner.storage.postgres_leadership import PostgresLeadership  # noqa: PLC0415

        return PostgresLeadership(dsn=_direct(database, direct_url), instance_id=instance_id, new_term_id=new_term_id)

    async def new_term() -> Term:
        return await database.write(
            fence.begin_term, term_id=new_term_id(), instance_id=instance_id, now=origins.clock.now()
        )

    async def end_term(term: Term, reason: str) -> None:
        await database.write(fence.end_term, term, now=origins.clock.now(), reason=reason)

    return LocalLeadership(new_term=new_term, end_term=end_term)


def _feed(database: Database, direct_url: str | None) -> Feed | None:
    if database.is_sqlite:
        return None
    from backburner.storage.feed import NotificationFeed  # noqa: PLC0415

    return NotificationFeed(_direct(database, direct_url))


def _direct(database: Database, direct_url: str | None) -> str:
    """For sessions that have to be one session."""
    return postgresql.conninfo(database.url if direct_url is None else parse_url(direct_url))

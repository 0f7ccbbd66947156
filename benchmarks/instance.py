"""One instance inside this process, with a provider that only takes its time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

import attrs
import sqlalchemy as sa
import structlog
import trio

from backburner.actors.tool_caller import RunTool, no_tools
from backburner.api_keys import hash_key, new_key, shown_prefix
from backburner.background import Background
from backburner.clock import SystemClock
from backburner.errors import ProviderUnavailable
from backburner.ids import Ids
from backburner.intake import open_intake
from backburner.model import Counts, NewItem, NewJob, Term
from backburner.pace import Pace
from backburner.providers.anthropic import LIMITS
from backburner.providers.base import BatchView
from backburner.signing import new_secret
from backburner.states import BatchStatus, JobStatus, JobType
from backburner.storage import accounts, fence, migrate
from backburner.storage.database import Database, open_database
from backburner.storage.local_leadership import LocalLeadership
from backburner.storage.tables import jobs, provider_batches
from backburner.system import System
from backburner.webhooks.pinned import pinned_transport
from backburner.webhooks.sender import WebhookSender

CLOCK = SystemClock()
RANDOM = Random(1)
IDS = Ids(CLOCK, RANDOM)
VIEW = (
    b'{"id":"%s","type":"message_batch","processing_status":"in_progress","request_counts":{"processing":1,"succeeded":0,'
    b'"errored":0,"canceled":0,"expired":0},"ended_at":null,"created_at":"2026-01-01T00:00:00Z","expires_at":'
    b'"2026-01-02T00:00:00Z","archived_at":null,"cancel_initiated_at":null,"results_url":null}'
)


@attrs.frozen
class SlowProvider:
    """Every batch goes on for ever; each answer takes `latency` seconds."""

    latency: float
    lists: bool  # whether many batches can be seen in one answer
    name: str = "anthropic"
    limits: Any = LIMITS

    async def retrieve(self, provider_batch_id: str) -> BatchView:
        await trio.sleep(self.latency)
        return view_of(provider_batch_id)

    async def snapshot(self, provider_batch_ids: Collection[str]) -> dict[str, BatchView]:
        if not self.lists:
            raise ProviderUnavailable("This one cannot list.", code="listing_refused")
        await trio.sleep(self.latency)
        return {provider_batch_id: view_of(provider_batch_id) for provider_batch_id in provider_batch_ids}


def view_of(provider_batch_id: str) -> BatchView:
    return BatchView(
        provider_batch_id=provider_batch_id,
        status="in_progress",
        ended=False,
        canceling=False,
        counts=Counts(processing=1),
        created_at=CLOCK.now(),
        results_ready=False,
        results_gone=False,
        raw=VIEW % provider_batch_id.encode(),
    )


def quiet() -> None:
    """Nothing is logged in this process any more: writing it would be measured too."""
    structlog.configure(processors=[_drop])


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


def prepared(url: str, key: str | None = None) -> Database:
    """A database with a schema and a first organization, whose key is the given one or nobody's."""
    database = open_database(url, random=RANDOM)
    migrate.prepare(database.writing, may_upgrade=False, now=CLOCK.now(), sleep=lambda _: None)
    key = key or new_key()
    with database.writing.begin() as tx:
        accounts.bootstrap(
            tx,
            key_hash=hash_key(key),
            prefix=shown_prefix(key),
            webhook_secret=new_secret(),
            now=CLOCK.now(),
            ids=IDS,
        )
    return database


async def open_batches(database: Database, count: int, due: Callable[[int], datetime]) -> None:
    """A running job of that many provider batches, two hours old and looked at; `due(n)` is when to poll the n-th."""
    intake = await open_intake(database, CLOCK, IDS)
    for number in range(count):
        await intake.add(NewItem(f"item-{number}", "{}", 2))
    new = NewJob(
        id=IDS.new("job"),
        job_type=JobType.BATCH,
        organization_key=1,
        user_key=1,
        created_at=CLOCK.now(),
        provider="anthropic",
    )
    await intake.finish(new, chunk_items=1, chunk_bytes=1000)
    submitted = CLOCK.now() - timedelta(hours=2)

    def submit(tx: sa.Connection) -> None:
        tx.execute(sa.update(jobs).values(status=JobStatus.RUNNING))
        keys = list(tx.execute(sa.select(provider_batches.c.id).order_by(provider_batches.c.id)).scalars())
        by_key = sa.update(provider_batches).where(provider_batches.c.id == sa.bindparam("key"))
        changed = by_key.values(
            status=BatchStatus.SUBMITTED,
            provider_batch_id=sa.bindparam("named"),
            submitted_at=submitted,
            next_poll_at=sa.bindparam("due"),
            provider_status="in_progress",
            latest_polling_response=sa.bindparam("seen"),
        )
        rows = [
            {"key": key, "named": named, "due": due(n), "seen": (VIEW % named.encode()).decode()}
            for n, key in enumerate(keys)
            for named in [f"msgbatch_{n:024}"]
        ]
        tx.execute(changed, rows)

    await database.write(submit)


@asynccontextmanager
async def running(
    database: Database,
    provider: Any,
    pace: Pace,
    background: Background | None = None,
    run_tool: RunTool = no_tools,
) -> AsyncIterator[System]:
    """An instance at work on `database`."""

    @asynccontextmanager
    async def open_provider() -> AsyncIterator[Any]:
        yield provider

    async def new_term() -> Term:
        return await database.write(fence.begin_term, term_id=str(IDS.uuid7()), instance_id="bench", now=CLOCK.now())

    async def end_term(term: Term, reason: str) -> None:
        await database.write(fence.end_term, term, now=CLOCK.now(), reason=reason)

    def opened() -> AbstractAsyncContextManager[Any]:
        return open_provider()

    sender = WebhookSender(
        transport=pinned_transport(allow_private=True), clock=CLOCK, timeout=pace.callback_timeout, allow_private=True
    )
    system = System(
        database=database,
        provider_name=provider.name,
        open_provider=opened,
        leadership=LocalLeadership(new_term=new_term, end_term=end_term),
        sender=sender,
        clock=CLOCK,
        random=RANDOM,
        ids=IDS,
        pace=pace,
        background=background or Background(),
        run_tool=run_tool,
    )
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(system.run, _no_front, stop)
        try:
            yield system
        finally:
            stop.set()


async def _no_front(stop: trio.Event, *, task_status: trio.TaskStatus[str]) -> None:
    task_status.started("nowhere")
    await stop.wait()

"""A whole instance in one Trio run: in-memory database, simulated provider, receivers in the process, virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any, TypeVar

import attrs
import httpx2
import msgspec
import trio

from backburner.actors.tool_caller import RunTool, no_tools
from backburner.api_keys import hash_key, new_key, shown_prefix
from backburner.app import App
from backburner.background import Background
from backburner.clock import TrioClock
from backburner.execution.executors import Executors
from backburner.ids import Ids
from backburner.ingestion.ingest import IngestRules
from backburner.intake import Intake, open_intake
from backburner.model import Job, NewItem, NewJob
from backburner.pace import Pace
from backburner.providers.anthropic import open_anthropic
from backburner.providers.base import Provider
from backburner.providers.sandbox.engine import Sandbox
from backburner.providers.sandbox.options import SandboxOptions
from backburner.providers.sandbox.transport import SandboxTransport
from backburner.signing import new_secret
from backburner.states import JobType
from backburner.storage import accounts, fence, jobs, migrate
from backburner.storage.database import Database, Offload, inline, open_database
from backburner.storage.items import results_page
from backburner.storage.local_leadership import LocalLeadership
from backburner.system import System
from backburner.webhooks.sender import WebhookSender

T = TypeVar("T")

PACE = Pace(interval=60.0, jitter=0.0, settle=120.0, look=3600.0, job_lease=1800.0, holds=3600.0)


def params(text: str, **more: Any) -> str:
    """The params of a plausible request."""
    body = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}
    return msgspec.json.encode(body).decode()


@attrs.define(eq=False)
class Receiver:
    """Takes webhooks. `answers` are given first, then 200."""

    answers: list[int] = attrs.field(factory=list)
    received: list[tuple[float, dict[str, Any]]] = attrs.field(factory=list)  # (virtual second, body)

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.received.append((trio.current_time(), msgspec.json.decode(await request.aread())))
        status = self.answers.pop(0) if self.answers else 200
        return httpx2.Response(status, stream=Nothing(), request=request)


class Nothing(httpx2.AsyncByteStream):
    """An empty body, not read yet."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        return
        yield b""


@attrs.define(eq=False)
class Life:
    """What a killed instance does from then on: nothing. Whatever it still tries to reach does not answer.

    `trouble` is asked before and after each transaction and may raise.
    """

    is_over: bool = False
    trouble: Callable[[str], None] = lambda _: None

    async def goes_on(self) -> None:
        """Return at once, or never."""
        if self.is_over:
            await trio.sleep_forever()

    def offload(self, kind: str) -> Offload:
        """Runs transactions inline; `kind` is read or write."""

        async def mortal(work: Callable[[], T], /) -> T:
            await trio.lowlevel.checkpoint()
            await self.goes_on()
            self.trouble(f"before {kind}")
            result = work()
            self.trouble(f"after {kind}")
            return result

        return mortal


@attrs.define(eq=False)
class Wire(httpx2.AsyncBaseTransport):
    """The way of one instance to the outside; notes who is called when."""

    life: Life
    inner: httpx2.AsyncBaseTransport
    calls: list[tuple[float, str, str]] = attrs.field(factory=list)  # (virtual second, method, path)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await self.life.goes_on()
        self.calls.append((trio.current_time(), request.method, request.url.path))
        response = await self.inner.handle_async_request(request)
        await self.life.goes_on()
        return response


@attrs.define(kw_only=True, eq=False)
class World:
    """What outlives an instance: database, provider, receiver, clock."""

    database: Database
    sandbox: Sandbox
    clock: TrioClock
    random: Random
    ids: Ids
    receiver: Receiver = attrs.field(factory=Receiver)
    pace: Pace = PACE
    app: App = attrs.field(factory=App)  # of every instance
    calls: list[tuple[float, str, str]] = attrs.field(factory=list)  # of the provider: (virtual second, method, path)
    tamper: Callable[[Provider], Provider] = lambda provider: provider  # with what instances are given
    run_tool: RunTool = no_tools
    ingest: IngestRules = attrs.field(factory=IngestRules)

    @asynccontextmanager
    async def instance(self, life: Life | None = None) -> AsyncIterator[System]:
        """A running instance; stopped in order on leaving."""
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            system = self.system(life)
            await nursery.start(system.run, no_front, stop)
            try:
                yield system
            finally:
                stop.set()

    @asynccontextmanager
    async def doomed_instance(self, life: Life | None = None) -> AsyncIterator[System]:
        """A running instance; killed on leaving, at whatever it is then doing."""
        life = life or Life()
        async with trio.open_nursery() as nursery:
            system = self.system(life)
            await nursery.start(system.run, no_front, trio.Event())
            try:
                yield system
            finally:
                life.is_over = True
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def provider(self, life: Life) -> AsyncIterator[Provider]:
        opened = open_anthropic(
            api_key="test",
            base_url="http://sandbox.test",
            request_timeout=60.0,
            transport=Wire(life, SandboxTransport(self.sandbox), self.calls),
            offload=inline,
            name="sandbox",
        )
        async with opened as provider:
            yield self.tamper(provider)

    def system(self, life: Life | None = None) -> System:
        life = life or Life()
        database = attrs.evolve(
            self.database, offload_write=life.offload("write"), offload_read=life.offload("read"), gate=trio.Lock()
        )
        receiver = Wire(life, httpx2.MockTransport(self.receiver))
        system = System(
            database=database,
            provider_name="sandbox",
            open_provider=partial(self.provider, life),
            leadership=self.leadership(database),
            sender=WebhookSender(transport=receiver, clock=self.clock, timeout=5.0, allow_private=True),
            clock=self.clock,
            random=self.random,
            ids=self.ids,
            pace=self.pace,
            run_tool=self.run_tool,
            background=Background(app=self.app, executors=Executors(is_inline=True), ingest=self.ingest),
        )
        # A day has many heartbeats; the leader's own tests have them at their real pace.
        system.leader.heartbeat_interval, system.leader.trust = 600.0, 2000.0
        return system

    def leadership(self, database: Database) -> LocalLeadership:
        async def new_term() -> Any:
            return await database.write(
                fence.begin_term, term_id=str(self.ids.uuid7()), instance_id="test", now=self.clock.now()
            )

        async def end_term(term: Any, reason: str) -> None:
            await database.write(fence.end_term, term, now=self.clock.now(), reason=reason)

        return LocalLeadership(new_term=new_term, end_term=end_term)

    async def submit(
        self, requests: Iterable[str], *, system: System | None = None, chunk_items: int | None = None, **job: Any
    ) -> Job:
        """Make a batch job of the given params."""
        intake: Intake = await open_intake(self.database, self.clock, self.ids)
        for number, text in enumerate(requests):
            await intake.add(NewItem(f"item-{number}", text, len(text.encode())))
        new = NewJob(
            id=self.ids.new("job"),
            created_at=self.clock.now(),
            provider="sandbox",
            **{"job_type": JobType.BATCH, "organization_key": 1, "user_key": 1, **job},
        )
        made = await intake.finish(new, chunk_items=chunk_items, chunk_bytes=16 * 1024 * 1024)
        if system is not None:
            system.work()
        return made

    async def job(self, job: Job) -> Job:
        return await self.database.read(jobs.get_job, None, job.id)

    async def ended(self, system: System, job: Job) -> Job:
        """Wait for the job's end."""
        with system.changes.listening(job.id) as ear:
            while not (found := await self.job(job)).status.is_terminal:
                await ear.heard(3600)
        return found

    async def results(self, job: Job) -> list[dict[str, Any]]:
        text, _ = await self.database.read(results_page, job, statuses=(), after=-1, limit=1_000_000)
        return [msgspec.json.decode(line) for line in text.splitlines()]


async def no_front(stop: trio.Event, *, task_status: trio.TaskStatus[str]) -> None:
    task_status.started("nowhere")
    await stop.wait()


@asynccontextmanager
async def open_world(
    *, seed: int = 0, pace: Pace = PACE, options: SandboxOptions | None = None, url: str = "sqlite://"
) -> AsyncIterator[World]:
    """A fresh database with one organization, and an empty provider."""
    clock, random = TrioClock(), Random(seed)
    ids = Ids(clock, random)
    database = open_database(url, random=random, in_threads=False)
    migrate.prepare(database.writing, may_upgrade=False, now=clock.now(), sleep=never_sleep)
    key = new_key()
    await database.write(
        accounts.bootstrap,
        key_hash=hash_key(key),
        prefix=shown_prefix(key),
        webhook_secret=new_secret(),
        now=clock.now(),
        ids=ids,
    )
    sandbox = Sandbox(clock=clock, options=options or SandboxOptions(batch_seconds=(60, 60)))
    try:
        yield World(database=database, sandbox=sandbox, clock=clock, random=random, ids=ids, pace=pace)
    finally:
        sandbox.close()
        database.close()


def never_sleep(seconds: float) -> None:
    raise AssertionError(f"waited {seconds} s for a lock that nobody can hold")

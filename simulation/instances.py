"""Complete instances of the program: its actors, and its HTTP application on an inbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache, partial
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import trio
from werkzeug.routing import Map

from backburner.actors.toolbox import Toolbox, spec_of
from backburner.background import Background
from backburner.clock import TrioClock
from backburner.execution.executors import Executors
from backburner.http import create_batch, create_job, deliveries, job_lists, jobs, results, retry, update_job
from backburner.http.auth import KeyRing
from backburner.http.call import Routes
from backburner.http.door import Door
from backburner.http.envelope import EdgeApp, make_app, request_ids
from backburner.http.limiter import Limiter
from backburner.http.services import InstanceStatus, Limits, Services
from backburner.ids import Ids
from backburner.providers.anthropic import open_anthropic
from backburner.providers.base import Provider
from backburner.storage.database import inline
from backburner.system import System
from backburner.webhooks.http_tools import HttpTools
from backburner.webhooks.sender import WebhookSender
from simulation.asking import Ask
from simulation.database import database_of
from simulation.leadership import SimulatedLeadership
from simulation.lives import LIFE, Life
from simulation.network import Wire
from simulation.workers import WORKERS, Workers

if TYPE_CHECKING:
    from simulation.world import World

INBOX = 64  # requests that may wait in the backlog of a socket
PIECE_BYTES = 256  # of an upload to the provider
#: What clients call.
ROUTES = (
    ("POST", "/batches", create_batch.create_batch, "batch.create"),
    ("GET", "/batches/<job_id>/results", results.get_results, None),
    ("POST", "/batches/<job_id>/retry", retry.retry_batch, "batch.retry"),
    ("POST", "/jobs", create_job.create_job, "job.create"),
    ("GET", "/jobs", job_lists.list_jobs, None),
    ("GET", "/jobs/<job_id>", jobs.get_job, None),
    ("PATCH", "/jobs/<job_id>", update_job.update_job, "job.update"),
    ("DELETE", "/jobs/<job_id>", jobs.delete_job, "job.delete"),
    ("POST", "/jobs/<job_id>/cancel", jobs.cancel_job, "job.cancel"),
    ("GET", "/jobs/<job_id>/deliveries", deliveries.list_deliveries, None),
    ("POST", "/jobs/<job_id>/deliveries/<delivery_id>/redeliver", deliveries.redeliver, "delivery.redeliver"),
)
LIMITS = Limits(
    max_request_bytes=1_000_000, max_items_per_job=1000, max_item_bytes=100_000, chunk_items=None, chunk_bytes=1 << 24
)


@attrs.define(eq=False)
class Slot:
    """A machine on which one instance runs at a time. Its wall clock survives them."""

    index: int
    clock: TrioClock = attrs.field(factory=TrioClock)
    starts: int = 0
    current: Instance | None = None

    def jump(self, seconds: float) -> None:
        """The wall clock jumps."""
        self.clock.skew += timedelta(seconds=seconds)


@attrs.define(eq=False)
class Instance:
    """One process."""

    world: World
    slot: Slot
    life: Life
    stop: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    system: System | None = None
    _asks: trio.MemorySendChannel[Ask] = attrs.field(init=False)
    _inbox: trio.MemoryReceiveChannel[Ask] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._asks, self._inbox = trio.open_memory_channel[Ask](INBOX)

    def ask(self, ask: Ask) -> bool:
        """Hand over a request of a client; False when nobody listens."""
        if self.life.is_over or self.stop.is_set():
            return False
        try:
            self._asks.send_nowait(ask)
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        return True

    async def run(self) -> None:
        """Live until killed or stopped."""
        LIFE.set(self.life)
        WORKERS.set(Workers(self.life, self.world.witnesses))
        with self.scope:
            self.system = system = self._make_system()
            try:
                await system.run(partial(self._front, system), self.stop)
            except* Exception as errors:
                if not self.life.is_over:
                    self.world.broken("an instance never dies by itself", f"{self.life.name}: {errors!r}", errors)
        self.life.ended.set()

    async def _front(self, system: System, stop: trio.Event, *, task_status: trio.TaskStatus[str]) -> None:
        services = self._services(system)
        app = _app(services)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer_all, app, nursery)
            task_status.started("nowhere")
            await stop.wait()
            with trio.move_on_after(self.world.profile.pace.drain):
                await self._quiet()
            nursery.cancel_scope.cancel()

    _busy: int = 0
    _idle: trio.Event = attrs.field(factory=trio.Event)

    async def _quiet(self) -> None:
        while self._busy:
            self._idle = trio.Event()
            await self._idle.wait()

    async def _answer_all(self, app: EdgeApp, nursery: trio.Nursery) -> None:
        async for ask in self._inbox:
            self._busy += 1
            nursery.start_soon(self._answer, app, ask)

    async def _answer(self, app: EdgeApp, ask: Ask) -> None:
        try:
            await app(ask.scope(), ask.receive, ask.send)  # type: ignore[arg-type]
        finally:
            self._busy -= 1
            self._idle.set()
            if not self.life.is_over and not ask.done.is_set():
                ask.break_off()

    # --- wiring --------------------------------------------------------------------------------------------

    def _make_system(self) -> System:
        world, profile, clock = self.world, self.world.profile, self.slot.clock
        random = Random(f"{self.life.name} of {profile.seed}")
        ids = Ids(clock, random)
        gate = trio.Lock() if profile.single_writer else None
        database = database_of(self.life, world.store, world.chaos, world.trace, random, gate=gate, freeze=world.freeze)
        webhooks = Wire(self.life, world.network, "webhook", world.receivers)
        background = Background(app=world.app, executors=Executors(is_inline=True), instance_id=self.life.name)
        system = System(
            database=database,
            provider_name="sandbox",
            open_provider=self._provider,
            leadership=SimulatedLeadership(
                office=world.office, life=self.life, database=database, clock=clock, ids=ids
            ),
            sender=WebhookSender(transport=webhooks, clock=clock, timeout=5.0, allow_private=True),
            clock=clock,
            random=random,
            ids=ids,
            pace=attrs.evolve(profile.pace, job_lease=30.0) if world.app.handlers else profile.pace,
            background=background,
            run_tool=Toolbox(
                tools=world.app.tools,
                executors=background.executors,
                http=HttpTools(transport=webhooks, clock=clock, allow_private=True),
                database=database,
                clock=clock,
            ),
            feed=world.grapevine.feed(self.life),
        )
        world.calm_down(system)
        return system

    @asynccontextmanager
    async def _provider(self) -> AsyncIterator[Provider]:
        opened = open_anthropic(
            api_key="test",
            base_url="http://sandbox.test",
            request_timeout=self.world.profile.request_timeout,
            piece_bytes=PIECE_BYTES,
            transport=Wire(self.life, self.world.network, "provider", self.world.account),
            offload=inline,
            name="sandbox",
        )
        async with opened as provider:
            yield provider

    def _services(self, system: System) -> Services:
        return Services(
            database=system.database,
            clock=self.slot.clock,
            ids=system.ids,
            changes=system.changes,
            limits=LIMITS,
            provider="sandbox",
            providers=frozenset({"sandbox"}),
            allow_private_callbacks=True,
            public_url=None,
            step_down=system.step_down,
            overload=lambda: "is behind with writing" if system.writer.is_behind else None,
            work=system.work,
            status=_no_status,
            poll_now=system.poll_now,
            ready=lambda: None,
            stopping=self.stop,
            version="0",
            handlers=self.world.app.handlers,
            tools={name: spec_of(tool) for name, tool in self.world.app.tools.items()},
        )


def _no_status() -> InstanceStatus:
    raise AssertionError("nobody asks for the status")


@cache
def _rules() -> Map:
    """The compiled routes, one for all instances: making them takes longer than many a run."""
    app = make_app(str)
    for method, path, *_ in ROUTES:
        app.add_url_rule(f"/v1{path}", f"{method} /v1{path}", methods=[method])
    return app.url_map


@attrs.frozen
class _Views:
    """Takes routes for an application that has the rules already."""

    app: EdgeApp

    def add_url_rule(self, _path: str, endpoint: str, answer: Callable[..., Any], **_: Any) -> None:
        self.app.view_functions[endpoint] = answer


def _app(services: Services) -> EdgeApp:
    app = make_app(request_ids(services.ids))
    app.url_map = _rules()
    keys = KeyRing(services.database, services.clock, Limiter(services.clock, services.rate_limits))
    door = Door(services.clock, services.overload)
    routes = Routes(_Views(app), services, keys, door)  # type: ignore[arg-type]
    for method, path, handler, action in ROUTES:
        scope = "admin" if path.startswith("/admin") else "read" if method == "GET" else "write"
        routes.add_absolute(method, f"/v1{path}", scope, handler, action)
    return app

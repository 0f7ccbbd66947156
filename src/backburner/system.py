"""Who exists, who talks to whom, and who goes home first: every channel is opened here and every actor known."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing
from functools import partial
from random import Random
from typing import Any, Protocol

import attrs
import trio

from backburner.actors.account import AccountKeeper, TermWrites
from backburner.actors.agents import Agents
from backburner.actors.callbacks import Callbacks, Sender
from backburner.actors.delivery_queue import DeliveryQueue
from backburner.actors.denials import Denials
from backburner.actors.executor import Executor
from backburner.actors.holder import Holder
from backburner.actors.ingest import Ingest
from backburner.actors.leader import Leader
from backburner.actors.listener import Feed, Listener
from backburner.actors.loops import Bell
from backburner.actors.poller import Poller
from backburner.actors.submitter import Submitter
from backburner.actors.sweeper import Sweeper
from backburner.actors.ticker import Ticker
from backburner.actors.tool_caller import RunTool, no_tools
from backburner.actors.writer import CHANNEL_SIZE, Write, Writer, Writes
from backburner.background import Background
from backburner.changes import Changes
from backburner.clock import Clock
from backburner.commands import DeliveryAttempted
from backburner.ids import Ids
from backburner.leadership import Leadership, Mandate
from backburner.metrics import Metrics
from backburner.pace import Pace
from backburner.providers.base import Provider
from backburner.storage import facts, migrate
from backburner.storage.apply import Applied
from backburner.storage.database import Database
from backburner.storage.fence import fenced

BELLS = ("submit", "poll", "deliver", "sweep", "rounds", "tools", "execute")
STREAMS = 4  # results of that many batches are read at once


class Front(Protocol):
    """What lets work in. Reports what it is reached by, stops when `stop` is set and its last answer is given."""

    async def __call__(self, stop: trio.Event, *, task_status: trio.TaskStatus[str]) -> None: ...


@attrs.define(kw_only=True, eq=False)
class System:
    """One instance: its actors, wired."""

    database: Database
    provider_name: str
    open_provider: Callable[[], AbstractAsyncContextManager[Provider]]  # for one term
    leadership: Leadership
    sender: Sender
    clock: Clock
    random: Random
    ids: Ids
    pace: Pace
    run_tool: RunTool = no_tools  # of agents
    background: Background = attrs.field(factory=Background)
    feed: Feed | None = None  # on PostgreSQL, where there may be other instances
    changes: Changes = attrs.field(init=False)
    metrics: Metrics = attrs.field(factory=Metrics)
    leader: Leader = attrs.field(init=False)
    writer: Writer = attrs.field(init=False)
    callbacks: Callbacks = attrs.field(init=False)
    executor: Executor = attrs.field(init=False)
    ticker: Ticker | None = attrs.field(default=None, init=False)  # of the current term, if this instance leads
    _writes: Writes = attrs.field(init=False)
    _bells: dict[str, Bell] = attrs.field(factory=lambda: {name: Bell() for name in BELLS}, init=False)
    _stored: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.changes = self.database.changes
        send, receive = trio.open_memory_channel[Write](CHANNEL_SIZE)
        self._writes, self.writer = Writes(send), self._make_writer(receive)
        self.callbacks = self._make_callbacks()
        self.executor = self.background.executor(self, self._writes, self._bells["execute"])
        self.leader = Leader(
            leadership=self.leadership,
            duties=self._duties,
            objection=partial(self.database.read, migrate.outgrown),
            clock=self.clock,
            random=self.random,
            retry_interval=self.pace.lock_retry,
            drain_grace=self.pace.drain,
        )

    async def run(
        self, front: Front, stop: trio.Event, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Live until `stop` is set, then go home in order: the front door first, leadership last."""
        async with trio.open_nursery() as office:
            async with trio.open_nursery() as drains:
                await drains.start(self.writer.run)
                with closing(self._writes):
                    async with trio.open_nursery() as sources:
                        await sources.start(self.callbacks.run)
                        await sources.start(self.executor.run)
                        async with trio.open_nursery() as ears:
                            self._start_listening(ears)
                            self._start_leading(office)
                            async with trio.open_nursery() as door:
                                task_status.started(await door.start(front, stop))
                                await stop.wait()
                                self.changes.all_changed()  # requests that wait for a change answer now
                            if self.pace.may_lead:
                                await self.leader.retire()
                            ears.cancel_scope.cancel(reason="stopped")
                        self.executor.stop()
                        self.callbacks.stop()
                # Every sender is closed: the writer stores what is left and ends by itself.
            self.leader.release()

    def _start_listening(self, nursery: trio.Nursery) -> None:
        if self.feed is not None:
            listener = Listener(feed=self.feed, changes=self.changes, work=self.work, step_down=self.step_down)
            nursery.start_soon(listener.run)

    def _start_leading(self, nursery: trio.Nursery) -> None:
        if self.pace.may_lead:
            nursery.start_soon(self.leader.run)

    # --- what the front may ask ----------------------------------------------------------------------------

    def work(self) -> None:
        """There may be something to submit, to poll or to deliver."""
        for bell in self._bells.values():
            bell.ring()

    def poll_now(self) -> None:
        """Tick now."""
        self._bells["poll"].ring()

    def step_down(self, epoch: int) -> bool:
        """Give the office to somebody else, if this instance holds it in that term. Says whether it does."""
        term = self.leader.term
        return term is not None and term.epoch == epoch and self.leader.step_down()

    # --- actors --------------------------------------------------------------------------------------------

    def _make_writer(self, receive: trio.MemoryReceiveChannel[Write]) -> Writer:
        return Writer(
            database=self.database,
            inbox=receive,
            ids=self.ids,
            clock=self.clock,
            random=self.random,
            rows=self.pace.write_rows,
            size=self.pace.write_bytes,
            window=self.pace.write_window,
            on_applied=self._applied,
        )

    def _applied(self, applied: Applied) -> None:
        self._stored += applied.stored_results
        self.metrics.stored(applied.stored_results)
        self.changes.changed(applied.jobs)
        if applied.uncertain:
            self.changes.all_changed()
            self.work()
        if applied.callbacks_due:
            self._bells["deliver"].ring()
        if applied.places_freed:
            self._bells["submit"].ring()
        if applied.rounds_due:
            self._bells["rounds"].ring()

    def _make_callbacks(self) -> Callbacks:
        return Callbacks(
            store=DeliveryQueue(self.database),
            sender=self.sender,
            record=self._record_attempt,
            clock=self.clock,
            random=self.random,
            bell=self._bells["deliver"],
            attempt_seconds=self.pace.callback_timeout,
            drain_seconds=self.pace.drain,
            look_seconds=self.pace.look,
            concurrency=self.pace.callback_concurrency,
        )

    async def _record_attempt(self, attempt: DeliveryAttempted) -> None:
        self.metrics.attempted(attempt)
        await self._writes.durable(attempt)

    async def _duties(self, mandate: Mandate) -> None:
        """What only the leader does, for one term."""
        async with self.open_provider() as provider:
            keeper = self._make_keeper(mandate, provider)
            self.ticker = self._make_ticker(mandate, provider, keeper)
            try:
                async with trio.open_nursery() as term:
                    term.start_soon(self._make_submitter(mandate, provider, keeper).run)
                    term.start_soon(self._make_sweeper(mandate, provider).run)
                    term.start_soon(self._make_agents(mandate).run)
                    term.start_soon(self._make_holder(mandate, provider).run)
                    term.start_soon(self.ticker.run)
            finally:
                self.ticker = None

    def _make_keeper(self, mandate: Mandate, provider: Provider) -> AccountKeeper:
        write = TermWrites(database=self.database, mandate=mandate)
        return AccountKeeper(name=provider.name, write=write, clock=self.clock, random=self.random)

    def _make_ticker(self, mandate: Mandate, provider: Provider, keeper: AccountKeeper) -> Ticker:
        common: dict[str, Any] = {
            "provider": provider,
            "mandate": mandate,
            "clock": self.clock,
            "random": self.random,
        }
        denials = Denials(provider=provider, mandate=mandate, clock=self.clock)
        poller = Poller(
            **common,
            keeper=keeper,
            denials=denials,
            writes=self._writes,
            limiter=trio.CapacityLimiter(self.pace.poll_concurrency),
            interval=self.pace.interval,
        )
        ingest = Ingest(
            **common,
            keeper=keeper,
            denials=denials,
            database=self.database,
            writes=self._writes,
            limiter=trio.CapacityLimiter(STREAMS),
        )
        return Ticker(
            **common,
            database=self.database,
            poller=poller,
            ingest=ingest,
            bell=self._bells["poll"],
            page_size=self.pace.page_size,
            interval=self.pace.interval,
            jitter=self.pace.jitter,
            stored_results=self._take_stored,
            report=partial(self._report_cycle, mandate),
        )

    def _take_stored(self) -> int:
        stored, self._stored = self._stored, 0
        return stored

    async def _report_cycle(self, mandate: Mandate, summary: dict[str, Any]) -> None:
        self.metrics.cycle(summary)
        now = self.clock.now()
        await self.database.write(fenced, mandate.term, facts.set_fact, facts.LAST_CYCLE, summary, now=now)

    def _make_submitter(self, mandate: Mandate, provider: Provider, keeper: AccountKeeper) -> Submitter:
        return Submitter(
            keeper=keeper,
            database=self.database,
            provider=provider,
            mandate=mandate,
            clock=self.clock,
            random=self.random,
            ids=self.ids,
            bell=self._bells["submit"],
            submitted=self._bells["poll"].ring,
            ended=self.work,
            idle=self.pace.look,
            most_queued=self.pace.most_queued,
            settle=self.pace.settle,
            interval=self.pace.interval,
        )

    def _make_sweeper(self, mandate: Mandate, provider: Provider) -> Sweeper:
        return Sweeper(
            database=self.database,
            provider=provider,
            mandate=mandate,
            clock=self.clock,
            ids=self.ids,
            bell=self._bells["sweep"],
            pace=self.pace,
            ended=self.work,
        )

    def _make_holder(self, mandate: Mandate, provider: Provider) -> Holder:
        return Holder(
            database=self.database,
            provider=provider.name,
            mandate=mandate,
            clock=self.clock,
            interval=self.pace.holds,
        )

    def _make_agents(self, mandate: Mandate) -> Agents:
        return Agents.wired(
            database=self.database,
            writes=self._writes,
            mandate=mandate,
            clock=self.clock,
            ids=self.ids,
            bells=self._bells,
            run_tool=self.run_tool,
            pace=self.pace,
            ended=self.work,
        )

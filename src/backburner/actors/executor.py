"""The executor: takes background jobs from the queue and has their handlers run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import NoReturn

import attrs
import structlog
import trio

from backburner.actors.loops import Bell
from backburner.actors.runner import Runner
from backburner.actors.running import LOST, SHUTDOWN, THREAD_PATIENCE
from backburner.app import Handler
from backburner.clock import Clock
from backburner.errors import StorageUnavailable
from backburner.figures import HandlerFigures, JobFigures
from backburner.ids import Ids
from backburner.room import Room
from backburner.storage import work
from backburner.storage.database import Database
from backburner.times import later

log = structlog.get_logger()

AWAY = 1.0  # seconds between tries while the database is away
MOST_RECORDING = 1000  # ends of jobs that wait for the writer


@attrs.define(kw_only=True, eq=False)
class Executor:
    """Runs jobs of the handlers it is given, as many as there are places for.

    Runs until `stop` is called; then tasks and processes are cancelled, threads asked to end, and what is not done
    within `drain` seconds goes back to the queue. A job is claimed for `lease` seconds at a time.
    """

    handlers: Mapping[str, Handler]
    runner: Runner
    database: Database
    clock: Clock
    ids: Ids
    bell: Bell  # rung when there may be a job, one that has to end, or room for more
    instance: str
    drain: float
    look: float = 30.0  # seconds between looks at the queue when no bell rings
    lease: float = 30.0
    organization_places: int = 1000
    _taking: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _renewed_at: float = attrs.field(default=0.0, init=False)

    def stop(self) -> None:
        """Take no more jobs, and let go of those at work."""
        self._taking.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        runner = self.runner
        async with runner.executors.opened(), trio.open_nursery() as jobs:
            task_status.started()
            with self._taking:
                await self._recover_own()
                async with trio.open_nursery() as keepers:
                    keepers.start_soon(self._keep_leases)
                    await self._take(jobs)
            for running in list(runner.running.values()):
                running.end(SHUTDOWN, patience=self.drain)

    def figures(self) -> JobFigures:
        """What is at work here."""
        at, runner = self.clock.monotonic(), self.runner
        running = Counter(running.handler.name for running in runner.running.values())
        handlers = [
            HandlerFigures(
                name=name,
                executor=handler.executor,
                running=running[name],
                succeeded=runner.counts[name, "succeeded"],
                failed=runner.counts[name, "failed"],
                ended=runner.counts[name, "ended"],
                state="active" if name not in runner.breakers or runner.breakers[name].lets_in(at) else "resting",
            )
            for name, handler in sorted(self.handlers.items())
        ]
        return JobFigures(handlers=handlers, places=runner.executors.figures())

    # --- taking --------------------------------------------------------------------------------------------

    async def _recover_own(self) -> None:
        """On SQLite there is no other instance, so every claim is of a process that has died."""
        if self.database.is_sqlite:
            try:
                await self._recover(expired_before=later(self.clock.now(), 1e6))
            except StorageUnavailable as error:
                log.warning("claims not recovered", error=str(error))

    async def _recover(self, *, expired_before: datetime) -> None:
        now = self.clock.now()
        lost = await self.database.write(work.recover, now=now, ids=self.ids, expired_before=expired_before)
        if lost:
            log.warning("jobs of a lost instance taken back", jobs=len(lost), first=lost[0])

    async def _take(self, jobs: trio.Nursery) -> NoReturn:
        while True:
            try:
                pause = await self._turn(jobs)
            except StorageUnavailable as error:
                log.warning("jobs not claimed", error=str(error))
                pause = AWAY
            await self.bell.heard(pause)

    async def _turn(self, jobs: trio.Nursery) -> float:
        """Take what there is room for. Returns for how many seconds there is nothing to do."""
        if self.runner.running:
            self._heed(await self.database.read(work.stopping_of, list(self.runner.running)))
        room = self._room()
        if room.places > 0:
            now = self.clock.now()
            claimed = await self.database.write(
                work.claim,
                room,
                instance=self.instance,
                now=now,
                lease_until=later(now, self.lease),
                new_token=partial(self.ids.new, "attempt"),
            )
            for claim in claimed:
                self.runner.start(claim, self.handlers[claim.handler], jobs)
        return await self._pause()

    async def _pause(self) -> float:
        now = self.clock.now()
        due = await self.database.read(work.next_due, list(self.handlers), now=now)
        waits = [
            breaker.open_until - self.clock.monotonic()
            for breaker in self.runner.breakers.values()
            if breaker.open_until
        ]
        if due is not None:
            waits.append((due - now).total_seconds())
        return max(0.0, min([self.look, *(wait for wait in waits if wait > 0)]))

    def _room(self) -> Room:
        """What is free now. Handlers that only fail have no room."""
        at = self.clock.monotonic()
        resting = {name for name, breaker in self.runner.breakers.items() if not breaker.lets_in(at)}
        probing = {name for name, breaker in self.runner.breakers.items() if breaker.open_until is not None}
        handlers = {
            name: attrs.evolve(handler, concurrency=1) if name in probing else handler
            for name, handler in self.handlers.items()
            if name not in resting
        }
        busy = [(running.handler.name, running.claim.organization_key) for running in self.runner.running.values()]
        room = Room(executors=self._free(), handlers=handlers, organization_places=self.organization_places)
        room.add_busy(busy)
        return room

    def _free(self) -> dict[str, int]:
        used = Counter(running.handler.executor for running in self.runner.running.values())
        found: dict[str, int] = {}
        for kind in {handler.executor for handler in self.handlers.values()}:
            places = self.runner.executors.places(kind)
            found[kind] = max(0, places.total - max(places.taken, used[kind] + places.abandoned))
        return found if self.runner.recording < MOST_RECORDING else dict.fromkeys(found, 0)

    # --- keeping -------------------------------------------------------------------------------------------

    async def _keep_leases(self) -> NoReturn:
        self._renewed_at = self.clock.monotonic()
        while True:
            await trio.sleep(self.lease / 3)
            at, now = self.clock.monotonic(), self.clock.now()
            try:
                if self.runner.running:
                    tokens = list(self.runner.running)
                    until = later(now, self.lease)
                    good = await self.database.write(work.renew, tokens, now=now, lease_until=until)
                    self._heed(good, tokens)
                self._renewed_at = at
                await self._recover(expired_before=now)
            except StorageUnavailable as error:
                log.warning("claims not renewed", error=str(error))
                if self.clock.monotonic() - self._renewed_at > 0.9 * self.lease:
                    self._heed({})  # others may take them from here on

    def _heed(self, good: Mapping[str, str | None], asked: list[str] | None = None) -> None:
        """End the jobs that are to end, and those whose claim is gone."""
        for token in list(self.runner.running) if asked is None else asked:
            running = self.runner.running.get(token)
            if running is None:
                continue
            if token not in good:
                log.warning("claim lost", job=running.claim.job_id, handler=running.handler.name)
                running.end(LOST)
            elif (reason := good[token]) is not None:
                running.end(reason, patience=THREAD_PATIENCE)

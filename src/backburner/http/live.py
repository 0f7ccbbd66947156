"""The one reader behind all live streams: each changed job is read and encoded once, however many listen."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import attrs
import msgspec
import structlog
import trio

from backburner.changes import Changes, Ear
from backburner.clock import Clock
from backburner.errors import TransientError
from backburner.http.listener import Event, Listener, Mark
from backburner.http.shapes import job_json
from backburner.model import Job
from backburner.storage import live
from backburner.storage.database import Database

#: Seconds between two readings: no job is sent more often than that.
PAUSE = 0.25
#: Seconds between two checks of the listeners' keys, and for changes that nobody has announced.
CHECK_EVERY = 5.0
#: Transactions commit in another order than that of the times which they write; by no more than that.
OVERLAP = timedelta(seconds=10)
AWAY = 1.0  # seconds until the next try while the database is away
_READ = 200  # jobs in one query
_PAGE = 500  # jobs for one listener that is behind

log = structlog.get_logger()


def encoded(job: Job) -> Event:
    """The event that tells of a job."""
    mark = Mark(job.id, job.version, job.updated_at)
    data = b"id: %b\nevent: job\ndata: %b\n\n" % (mark.text.encode(), msgspec.json.encode(job_json(job)))
    return Event(mark, job.status.is_terminal, data)


@attrs.define(kw_only=True, eq=False)
class Live:
    """Tells listeners of changes. Costs nothing while there are none; with them, two small queries in five seconds."""

    database: Database
    changes: Changes
    clock: Clock
    stopping: trio.Event
    _of_job: dict[str, set[Listener]] = attrs.field(factory=dict, init=False)
    _of_organization: dict[str, set[Listener]] = attrs.field(factory=dict, init=False)
    _changed: set[str] = attrs.field(factory=set, init=False)  # ids of jobs to be read for everybody
    _asked: set[str] = attrs.field(factory=set, init=False)  # and of those to be read for their own listeners
    _to_read: Ear = attrs.field(factory=Ear, init=False)
    _to_check: Ear = attrs.field(factory=Ear, init=False)
    _told: dict[str, int] = attrs.field(factory=dict, init=False)  # organizations were told of these versions lately
    _since: dict[str, datetime] = attrs.field(factory=dict, init=False)  # organization → what is older is not looked at

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Tell the listener of what changes from here on, and of what its client has missed."""
        listener.has_room = self._to_read.wake
        group, name = self._group(listener)
        group.setdefault(name, set()).add(listener)
        if listener.job_id is not None:
            self._asked.add(listener.job_id)
        else:
            self._since.setdefault(name, self.clock.now())
        self._to_read.wake()
        if self.stopping.is_set():
            listener.end()
        try:
            yield
        finally:
            group[name].discard(listener)
            if not group[name]:
                del group[name]
                if listener.job_id is None:
                    del self._since[name]

    def _group(self, listener: Listener) -> tuple[dict[str, set[Listener]], str]:
        if listener.job_id is not None:
            return self._of_job, listener.job_id
        return self._of_organization, listener.principal.organization_id

    def _listeners(self) -> list[Listener]:
        groups = (*self._of_job.values(), *self._of_organization.values())
        return [listener for group in groups for listener in group]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until the server stops; then every stream ends."""
        try:
            with self.changes.overhearing(self._heard):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_reading)
                    nursery.start_soon(self._keep_checking)
                    task_status.started()
                    await self.stopping.wait()
                    nursery.cancel_scope.cancel(reason="stopped")
        finally:
            for listener in self._listeners():
                listener.end()

    def _heard(self, job_ids: Collection[str] | None) -> None:
        if job_ids is None:
            self._to_check.wake()
        elif wanted := self._wanted(job_ids):
            self._changed |= wanted
            self._to_read.wake()

    def _wanted(self, job_ids: Collection[str]) -> set[str]:
        return set(job_ids) if self._of_organization else self._of_job.keys() & set(job_ids)

    # --- reading ---------------------------------------------------------------------------------------------

    async def _keep_reading(self) -> None:
        while True:
            await self._to_read.heard(math.inf)
            try:
                await self._read()
            except TransientError as error:
                log.warning("live streams wait for the database", error=str(error))
                self._to_read.wake()
                await trio.sleep(AWAY)
            await trio.sleep(PAUSE)

    async def _read(self) -> None:
        changed, self._changed = self._changed, set()
        asked, self._asked = self._asked, set()
        left = changed | asked
        try:
            while left:
                some = sorted(left)[:_READ]
                self._spread(some, await self.database.read(live.jobs_named, some), changed)
                left.difference_update(some)
        finally:  # what could not be read is read later
            self._changed |= changed & left
            self._asked |= asked & left
        for listener in self._listeners():
            if listener.behind is not None and listener.is_empty:
                await self._catch_up(listener)

    def _spread(self, ids: Sequence[str], found: Sequence[Job], changed: Collection[str]) -> None:
        for deleted in {*ids} - {job.id for job in found}:
            for listener in self._of_job.get(deleted, ()):
                listener.end()
        for job in found:
            if listeners := self._concerned(job, has_changed=job.id in changed):
                event = encoded(job)
                for listener in listeners:
                    listener.offer(event)

    def _concerned(self, job: Job, *, has_changed: bool) -> list[Listener]:
        found = [*self._of_job.get(job.id, ())]
        colleagues = self._of_organization.get(job.organization_id)
        if colleagues and has_changed and self._told.get(job.id, 0) < job.version:
            self._told[job.id] = job.version
            found += colleagues
        return found

    async def _catch_up(self, listener: Listener) -> None:
        assert listener.behind is not None  # noqa: S101  # the caller asked
        page = await self.database.read(
            live.changed_after, listener.principal.organization_key, *listener.behind, limit=_PAGE
        )
        for job in page:
            if listener.lacks(job.id, job.version):
                listener.add(encoded(job))
            listener.behind = (job.updated_at, job.id)
            if listener.is_full:
                return
        if len(page) < _PAGE:
            listener.behind = None
        elif listener.is_empty:
            self._to_read.wake()

    # --- checking --------------------------------------------------------------------------------------------

    async def _keep_checking(self) -> None:
        looked_at = self.clock.now()
        while True:
            await self._to_check.heard(CHECK_EVERY)
            now = self.clock.now()
            try:
                await self._check_keys(now)
                await self._look(looked_at - OVERLAP)
                looked_at = now
            except TransientError as error:
                log.warning("live streams are not checked", error=str(error))
            await trio.sleep(PAUSE)

    async def _check_keys(self, now: datetime) -> None:
        keys = {listener.principal.key_id for listener in self._listeners()}
        usable = await self.database.read(live.usable_keys, keys, now=now) if keys else set()
        for listener in self._listeners():
            if listener.principal.key_id in keys - usable:
                listener.end()

    async def _look(self, since: datetime) -> None:
        """Find what has changed without being announced: the notifications of another instance may be lost."""
        self._asked |= await self._unheard_jobs()
        self._changed |= await self._untold_jobs(since)
        if self._asked or self._changed:
            self._to_read.wake()

    async def _unheard_jobs(self) -> set[str]:
        if not self._of_job:
            return set()
        versions = await self.database.read(live.versions_of, [*self._of_job])
        return {
            job_id
            for job_id, listeners in self._of_job.items()
            if job_id not in versions or any(listener.lacks(job_id, versions[job_id]) for listener in listeners)
        }

    async def _untold_jobs(self, since: datetime) -> set[str]:
        told_before = set(self._told)
        recent: dict[str, int] = {}
        for name, key in self._organizations():
            recent |= await self.database.read(live.versions_since, key, max(since, self._since.get(name, since)))
        for job_id in told_before - recent.keys():
            del self._told[job_id]
        return {job_id for job_id, version in recent.items() if self._told.get(job_id, 0) < version}

    def _organizations(self) -> list[tuple[str, int]]:
        groups = self._of_organization.items()
        return [(name, next(iter(group)).principal.organization_key) for name, group in groups]

"""Plain functions on a Dask cluster: each in a process there that is killed when it is cancelled, as processes here."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import attrs
import msgspec
import structlog
import trio

from backburner.errors import WorkFailed, WorkTimedOut
from backburner.execution.cluster_client import CLOSE_SECONDS, STARTED, close, connect, result, submit, teller, waker
from backburner.execution.context import Context
from backburner.execution.failures import Outcome, Raised, Returned, outcome_of
from backburner.execution.places import Places

log = structlog.get_logger()

LOOK = 0.5  # seconds between looks whether the scheduler is there


@attrs.define(kw_only=True, eq=False)
class _Run:
    """One call on the cluster. Changes on the event loop only."""

    said: Callable[[dict[str, Any]], None] | None
    started: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)
    has_begun: bool = False
    problem: WorkFailed | None = None

    def end(self) -> None:
        self.started.set()
        self.ended.set()

    def lose(self, problem: WorkFailed) -> None:
        """It comes to nothing; another attempt may."""
        if not self.ended.is_set():
            self.problem = problem
            self.end()

    def heard(self, said: Any) -> None:
        """Something came from the worker that runs it."""
        if said != STARTED:
            if self.said is not None:
                with suppress(msgspec.DecodeError):  # not of a worker of ours
                    self.said(msgspec.json.decode(said, type=tuple[str, dict[str, Any]])[1])
        elif self.has_begun:
            self.lose(WorkFailed("worker_lost", "The worker that ran it was lost, and the cluster began again."))
        else:
            self.has_begun = True
            self.started.set()


@attrs.define(eq=False)
class _Link:
    """One connection to the scheduler, and the calls that went over it."""

    client: Any = None
    problem: WorkFailed | None = None
    ready: trio.Event = attrs.field(factory=trio.Event)
    running: dict[str, _Run] = attrs.field(factory=dict)

    def heard(self, message: Any) -> None:
        """An event of the cluster."""
        if isinstance(message, Mapping) and (run := self.running.get(message.get("key", ""))):
            run.heard(message["said"])
        elif isinstance(message, Mapping) and message.get("action") == "remove-worker":
            for key in message.get("processing-tasks", ()):
                run = self.running.get(key)
                if run is not None and run.has_begun:  # others are given to another worker
                    worker = message.get("worker")
                    run.lose(WorkFailed("worker_lost", f"The worker {worker} that ran it was lost."))


@attrs.define(kw_only=True, eq=False)
class Cluster:
    """Runs functions on the cluster of a Dask scheduler, whose client lives in threads of its own.

    Connects when it is first needed, and again after the scheduler was lost. Use it inside `opened()`.
    """

    address: str | None = None  #: of the scheduler; None: there is no cluster
    places: Places = attrs.field(factory=lambda: Places(100))
    patience: float = 10.0  #: seconds for the scheduler to answer
    lost: int = attrs.field(default=0, init=False)  #: calls that were lost with their worker or scheduler
    _link: _Link | None = attrs.field(default=None, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(init=False)
    _numbers: count[int] = attrs.field(factory=lambda: count(1), init=False)

    def __attrs_post_init__(self) -> None:
        self._limiter = trio.CapacityLimiter(self.places.total)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Calls can be made inside the block."""
        async with trio.open_nursery() as self._nursery:
            try:
                yield
            finally:
                self._nursery.cancel_scope.cancel()

    async def call(
        self,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        name: str,
        memory_bytes: int | None = None,
        context: Context | None = None,
    ) -> Outcome:
        """The time counts from when a worker has begun. Raises WorkTimedOut, and WorkFailed when the function cannot go
        there or its worker or scheduler is lost.
        """
        call = _packed(function, arguments, memory_bytes, context, name)
        async with self._limiter:
            with self.places.one():
                link = await self._linked()
                run = _Run(said=None if context is None else context.said)
                key = f"{name}-{link.client.id}-{next(self._numbers)}"
                link.running[key] = run
                try:
                    return await self._run(link, run, key, call, timeout=timeout, name=name)
                finally:
                    del link.running[key]

    async def _run(self, link: _Link, run: _Run, key: str, call: bytes, *, timeout: float, name: str) -> Outcome:
        token = trio.lowlevel.current_trio_token()
        future = _got(await trio.to_thread.run_sync(submit, link.client, call, key, waker(token, run.end)))
        try:
            await run.started.wait()
            with trio.move_on_after(timeout):
                await run.ended.wait()
            if not run.ended.is_set():
                raise WorkTimedOut(f"{name} took longer than {timeout:g} s; its process was killed.")
            if run.problem is None:
                found = await trio.to_thread.run_sync(result, future)
                if isinstance(found, Returned) or link.client.status == "running":
                    return _got(found)  # type: ignore[no-any-return]
            self.lost += 1
            problem = run.problem or self._scheduler_lost()  # with which futures end too
            log.warning("call lost on the cluster", work=name, error=str(problem))
            raise problem
        finally:
            future.release()  # has the cluster stop it, without waiting for that

    # --- the connection ------------------------------------------------------------------------------------

    async def _linked(self) -> _Link:
        assert self._nursery is not None, "not opened"  # noqa: S101
        if self.address is None:
            raise WorkFailed("no_cluster", "The setting dask_scheduler names no cluster.", may_retry=False)
        link = self._link
        if link is None:
            self._link = link = _Link()
            self._nursery.start_soon(self._keep, link)
        await link.ready.wait()
        if link.problem is not None:
            raise link.problem
        return link

    async def _keep(self, link: _Link) -> None:
        """Connect, and see whether the connection lasts. A call that is cancelled meanwhile does not disturb it."""
        token = trio.lowlevel.current_trio_token()
        found = await trio.to_thread.run_sync(connect, str(self.address), self.patience, teller(token, link.heard))
        if isinstance(found, Raised):
            self._link = None
            link.problem = WorkFailed("cluster_unreachable", f"No Dask scheduler at {self.address}: {found.message}")
            link.ready.set()
            return
        link.client = found.value
        link.ready.set()
        log.info("connected to the cluster", scheduler=self.address)
        try:
            while link.client.status == "running":  # noqa: ASYNC110  # of another library, in another thread
                await trio.sleep(LOOK)
            log.warning("the cluster's scheduler is lost", scheduler=self.address)
        finally:
            self._link = None
            for run in link.running.values():
                run.lose(self._scheduler_lost())
            with trio.move_on_after(2 * CLOSE_SECONDS, shield=True):
                await trio.to_thread.run_sync(close, link.client, abandon_on_cancel=True)

    def _scheduler_lost(self) -> WorkFailed:
        return WorkFailed("scheduler_lost", f"The Dask scheduler at {self.address} was lost.")


def _packed(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    memory_bytes: int | None,
    context: Context | None,
    name: str,
) -> bytes:
    facts = None if context is None else context.facts()
    packed = outcome_of(_pickled, {"value": (function, dict(arguments), memory_bytes, facts)})
    if isinstance(packed, Raised):
        raise WorkFailed("not_picklable", f"{name} cannot be run on a cluster: {packed.message}", may_retry=False)
    return packed.value  # type: ignore[no-any-return]  # bytes


def _pickled(value: object) -> bytes:
    return pickle.dumps(value)


def _got(outcome: Outcome) -> Any:
    """What the cluster's client returned. Raises WorkFailed for what it raised."""
    if isinstance(outcome, Returned):
        return outcome.value
    raise WorkFailed("cluster_failed", f"The cluster failed: {outcome.message}", details=outcome.details)

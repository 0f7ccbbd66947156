"""The one way to run a function of the user's, wherever it is to run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any

import attrs

from backburner.execution.cluster import Cluster
from backburner.execution.context import Context
from backburner.execution.failures import Outcome, Raised
from backburner.execution.places import Places
from backburner.execution.processes import Processes
from backburner.execution.reports import Reports
from backburner.execution.tasks import Tasks
from backburner.execution.threads import Threads, inline
from backburner.figures import PlaceFigures
from backburner.signatures import CONTEXT

#: The handler or tool that the current task runs, for who finds the event loop blocked.
CURRENT_WORK: ContextVar[str | None] = ContextVar("current_work", default=None)


@attrs.define(kw_only=True, eq=False)
class Executors:
    """Runs functions as tasks, in threads, in processes and on a cluster. Use it inside `opened()`.

    With `is_inline` plain functions run on the event loop: for virtual clocks, which jump over threads and processes.
    """

    tasks: Tasks = attrs.field(factory=lambda: Tasks(places=Places(100)))
    threads: Threads = attrs.field(factory=lambda: Threads(Places(16)))
    processes: Processes = attrs.field(factory=lambda: Processes(Places(os.cpu_count() or 1)))
    cluster: Cluster = attrs.field(factory=Cluster)
    is_inline: bool = False
    reports: Reports = attrs.field(factory=Reports)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Functions can be called inside the block. Leaving it cancels tasks and waits for none of the threads."""
        if self.is_inline:
            async with self.tasks.opened():
                yield
        else:
            async with self.reports.opened(), self.processes.opened(), self.cluster.opened(), self.tasks.opened():
                yield

    def places(self, executor: str) -> Places:
        """How many functions one kind of executor takes, and has."""
        return {
            "async": self.tasks.places,
            "thread": self.threads.places,
            "process": self.processes.places,
            "dask": self.cluster.places,
        }[executor]

    def figures(self) -> dict[str, PlaceFigures]:
        """How full each kind of executor is."""
        used = ("async", "thread", "process", *(("dask",) if self.cluster.address else ()))
        kinds = {kind: self.places(kind) for kind in used}
        return {
            kind: PlaceFigures(total=places.total, taken=places.taken, abandoned=places.abandoned)
            for kind, places in kinds.items()
        }

    async def call(
        self,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        executor: str,
        timeout_seconds: float,
        name: str,
        context: Context | None = None,
        memory_bytes: int | None = None,
    ) -> Any:
        """What the function returns for the arguments, given by name; `context` goes to its parameter `ctx`.

        Raises WorkFailed for whatever it raised and WorkTimedOut after `timeout_seconds`. Cancelled, a task is
        cancelled, a process killed, here or on the cluster, a thread left to itself. `name` is for logs and messages.
        """
        mark = CURRENT_WORK.set(name)
        try:
            with ExitStack() as stack:
                common: dict[str, Any] = {"timeout": timeout_seconds, "name": name}
                if executor == "dask" and not self.is_inline:
                    outcome = await self.cluster.call(
                        function, arguments, **common, memory_bytes=memory_bytes, context=context
                    )
                else:
                    given = dict(arguments)
                    if context is not None:
                        given[CONTEXT] = self._given(context, executor, stack)
                    outcome = await self._outcome(function, given, executor, memory_bytes, **common)
        finally:
            CURRENT_WORK.reset(mark)
        if isinstance(outcome, Raised):
            raise outcome.as_error()
        return outcome.value

    def _given(self, context: Context, executor: str, stack: ExitStack) -> Any:
        if executor != "process" or self.is_inline:
            return context
        return stack.enter_context(self.reports.context(context.facts(), context.said))

    async def _outcome(
        self,
        function: Callable[..., Any],
        given: Mapping[str, Any],
        executor: str,
        memory_bytes: int | None,
        *,
        timeout: float,
        name: str,
    ) -> Outcome:
        if executor == "async":
            return await self.tasks.call(function, given, timeout=timeout, name=name)
        if self.is_inline:
            return await inline(function, given)
        if executor == "process":
            return await self.processes.call(function, given, timeout=timeout, name=name, memory_bytes=memory_bytes)
        return await self.threads.call(function, given, timeout=timeout, name=name)

"""Plain functions in worker processes: killed when cancelled, bounded in memory, replaced when they die."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import structlog
import trio
import trio_parallel  # type: ignore[import-untyped]

from backburner.errors import WorkFailed, WorkTimedOut
from backburner.execution import worker
from backburner.execution.failures import Outcome, ctrl_c_or_cancelled, raised_of, theirs_of
from backburner.execution.places import Places

log = structlog.get_logger()

IDLE_SECONDS = 300.0  # after which a worker without work ends
GRACE_SECONDS = 2.0  # for idle workers to end


@attrs.define(eq=False)
class Processes:
    """Runs functions that can be imported by name in worker processes, started when first needed and used again."""

    places: Places
    memory_bytes: int | None = None  #: of one call, where the call does not say
    died: int = attrs.field(default=0, init=False)  #: processes that ended in the middle of a call
    _workers: trio_parallel.WorkerContext | None = attrs.field(default=None, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._limiter = trio.CapacityLimiter(self.places.total)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Calls can be made inside the block."""
        async with trio_parallel.open_worker_context(
            idle_timeout=IDLE_SECONDS, init=worker.begin, retire=worker.is_outgrown, grace_period=GRACE_SECONDS
        ) as self._workers:
            yield

    async def call(
        self,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        name: str,
        memory_bytes: int | None = None,
    ) -> Outcome:
        """The time counts from when a process may start. Raises WorkTimedOut, and WorkFailed when the process died."""
        assert self._workers is not None, "not opened"  # noqa: S101
        async with self._limiter:
            with self.places.one(), trio.move_on_after(timeout):
                return await self._call(function, arguments, memory_bytes or self.memory_bytes, name)
        raise WorkTimedOut(f"{name} took longer than {timeout:g} s; its process was killed.")

    async def _call(
        self, function: Callable[..., Any], arguments: Mapping[str, Any], memory_bytes: int | None, name: str
    ) -> Outcome:
        assert self._workers is not None  # noqa: S101
        try:
            outcome: Outcome = await self._workers.run_sync(
                worker.execute,
                function,
                dict(arguments),
                memory_bytes,
                kill_on_cancel=True,
                limiter=trio.CapacityLimiter(1),  # ours has been asked
            )
            return outcome  # noqa: TRY300
        except trio_parallel.BrokenWorkerError as error:
            self.died += 1
            log.warning("worker process died", work=name, error=str(error))
            raise WorkFailed("process_died", f"The process that ran {name} died: {error}") from error
        except OSError:  # no process could be started
            raise
        except BaseException as error:
            # Errors of the function itself come as an outcome. These are of the way there and back, on which
            # classes of the user's have their say, here too.
            theirs = theirs_of(error, ctrl_c_or_cancelled)
            if theirs is None:
                raise
            message = f"{name} cannot be run in a process: {raised_of(theirs).message}"
            raise WorkFailed("not_picklable", message, may_retry=False) from error  # noqa: ASYNC104

"""The tool caller: calls that models ask for are made, none of them a second time once it has finished."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import attrs
import structlog
import trio

from backburner.actors.loops import Bell, contained, finish_within
from backburner.actors.writer import Writes
from backburner.clock import Clock
from backburner.commands import CallPlace, ToolFinished
from backburner.errors import LeadershipLost, StorageUnavailable
from backburner.leadership import Mandate
from backburner.storage import ledger
from backburner.storage.database import Database
from backburner.storage.fence import fenced
from backburner.storage.ledger import StartedCall
from backburner.tool_outcomes import ToolOutcome, failed, unknown

log = structlog.get_logger()

AWAY = 1.0  # seconds until the next try while the database is away
FINISH = 5.0  # seconds that calls under way get at shutdown, so that their outcome is known
MOST_ATTEMPTS = 3  # of an idempotent call whose instances die, before its outcome is called unknown

RunTool = Callable[[StartedCall], Awaitable[ToolOutcome]]


async def no_tools(call: StartedCall) -> ToolOutcome:
    """Where nothing is registered."""
    await trio.lowlevel.checkpoint()
    return failed(f"There is no tool {call.name!r} here.")


@attrs.frozen(kw_only=True, eq=False)
class ToolCaller:
    """Makes up to `concurrency` calls at once. Each is in the ledger as begun before it is, and as finished after.

    What was under way when an earlier instance died is made again only if the tool says that it may be; else the model
    is told that the outcome is unknown. Ends only by cancellation; raises LeadershipLost.
    """

    database: Database
    writes: Writes
    mandate: Mandate
    clock: Clock
    bell: Bell
    run_tool: RunTool
    concurrency: int
    idle: float  # seconds between looks at the database while no bell rings
    _under_way: set[CallPlace] = attrs.field(factory=set, init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with trio.open_nursery() as calls:
            is_sure = False  # of what is under way: after a failure, calls may have been begun that nobody makes
            while True:
                wait = None if is_sure else await self._patiently(partial(self._resume, calls))
                if wait is None:
                    wait = await self._patiently(partial(self._take, calls))
                is_sure = wait is None
                await self.bell.heard(self.idle if wait is None else wait)

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> float | None:
        """Do it. Returns the seconds until it should be tried again if the database is away."""
        try:
            await work()
        except StorageUnavailable as error:
            log.warning("tool calls postponed", error=str(error))
            return AWAY
        return None

    async def _resume(self, calls: trio.Nursery) -> None:
        """See to the calls that were left under way."""
        left = await self.database.read(ledger.left_started, known=frozenset(self._under_way))
        again = [call.place for call in left if _may_run_again(call)]
        if again:
            self._start(calls, await self._fenced(partial(ledger.take_on, places=again)))
        for call in left:
            if call.place not in again:
                log.warning("outcome of a tool call is unknown", tool=call.name, job=call.job_id, call=call.tool_use_id)
                await self._finish(call, unknown(call.name))

    async def _take(self, calls: trio.Nursery) -> None:
        """Begin as many calls as there are places."""
        free = self.concurrency - len(self._under_way)
        if free > 0:
            self._start(calls, await self._fenced(partial(ledger.start_calls, limit=free)))

    async def _fenced(self, begin: Callable[..., list[StartedCall]]) -> list[StartedCall]:
        term = self.mandate.term
        return await self.database.write(fenced, term, begin, epoch=term.epoch, now=self.clock.now())

    def _start(self, calls: trio.Nursery, begun: Sequence[StartedCall]) -> None:
        for call in begun:
            self._under_way.add(call.place)
            calls.start_soon(self._call, call)

    # --- one call ------------------------------------------------------------------------------------------

    async def _call(self, call: StartedCall) -> None:
        try:
            await contained(partial(finish_within, FINISH, partial(self._make, call)), partial(self._broke, call))
        finally:
            self._under_way.discard(call.place)
            self.bell.ring()

    async def _make(self, call: StartedCall) -> None:
        self.mandate.check()
        outcome = await self.run_tool(call)
        log.info("tool called", tool=call.name, job=call.job_id, call=call.tool_use_id, is_error=outcome.is_error)
        await self._finish(call, outcome)

    async def _broke(self, call: StartedCall, errors: BaseExceptionGroup[Exception]) -> None:
        if errors.subgroup(LeadershipLost) is not None:
            raise LeadershipLost("A tool call found the term over.") from errors
        log.error("tool call failed", tool=call.name, job=call.job_id, exc_info=errors)
        await self._finish(call, failed("The tool could not be called."))

    async def _finish(self, call: StartedCall, outcome: ToolOutcome) -> None:
        finished = ToolFinished(
            term=self.mandate.term,
            place=call.place,
            content=outcome.content,
            is_error=outcome.is_error,
            at=self.clock.now(),
        )
        try:
            await self.writes.durable(finished)
        except trio.ClosedResourceError:  # the instance is torn down; the next one finds the call as begun
            log.warning("outcome of a tool call not stored", tool=call.name, call=call.tool_use_id)


def _may_run_again(call: StartedCall) -> bool:
    is_idempotent = call.spec is not None and call.spec.idempotent
    return is_idempotent and call.is_wanted and call.attempt < MOST_ATTEMPTS

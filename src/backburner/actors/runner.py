"""Executing one claimed job: its handler is called, its progress passed on, its end recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import attrs
import msgspec
import structlog
import trio

from backburner.actors.loops import contained
from backburner.actors.running import STUCK, Running, ended_otherwise, ended_well, says
from backburner.actors.writer import Writes
from backburner.app import Handler
from backburner.claims import Claim
from backburner.clock import Clock
from backburner.commands import WorkCommand, WorkDeferred, WorkProgressed
from backburner.completion import DEADLINE_EXCEEDED
from backburner.errors import WorkFailed, WriteRefused
from backburner.execution.context import Children, Context
from backburner.execution.executors import Executors
from backburner.execution.failures import Raised, outcome_of
from backburner.retrying import Breaker
from backburner.times import later

log = structlog.get_logger()

PROGRESS_PAUSE = 0.25  # seconds between two words of one job
INVALID_INPUT = "invalid_input"
LARGEST_RESULT = 4 * 1024 * 1024  # bytes


@attrs.define(kw_only=True, eq=False)
class Runner:
    """Runs claimed jobs in a nursery of its caller's. Whatever a handler does costs its own job at most."""

    executors: Executors
    writes: Writes
    clock: Clock
    random: Random
    children_of: Callable[[Claim], Children]
    grace: float  # seconds for critical sections
    freed: Callable[[], None]  # there is room for another job
    running: dict[str, Running] = attrs.field(factory=dict, init=False)  #: by token
    breakers: dict[str, Breaker] = attrs.field(factory=dict, init=False)  #: of handlers that have failed
    counts: Counter[tuple[str, str]] = attrs.field(factory=Counter, init=False)  #: attempts, by handler and outcome
    recording: int = attrs.field(default=0, init=False)  #: ends that wait for the writer

    def start(self, claim: Claim, handler: Handler, jobs: trio.Nursery) -> None:
        """Begin with a job that was just claimed."""
        running = Running(claim=claim, handler=handler, said_at=self.clock.monotonic())
        running.context = self._context(running, jobs)
        self.running[claim.token] = running
        if handler.name in self.breakers:
            self.breakers[handler.name].taken()
        jobs.start_soon(self._run, running)

    def _context(self, running: Running, jobs: trio.Nursery) -> Context:
        claim, handler, now = running.claim, running.handler, self.clock.now()
        seconds = handler.timeout_seconds
        if claim.deadline_at is not None:
            left = (claim.deadline_at - now).total_seconds()
            running.scope.deadline = trio.current_time() + left
            seconds = min(seconds, left)
        return Context(
            job_id=claim.job_id,
            handler=handler.name,
            attempt=claim.attempt,
            token=claim.token,
            deadline=later(now, seconds),
            said=says(running, partial(self._note, jobs), trio.lowlevel.current_trio_token()),
            children=self.children_of(claim),
            parts=self.executors,
            grace=self.grace,
        )

    # --- the job's way -------------------------------------------------------------------------------------

    async def _run(self, running: Running) -> None:
        await contained(partial(self._execute, running), partial(self._broke, running))

    async def _execute(self, running: Running) -> None:
        try:
            command = await self._attempt(running)
        finally:
            del self.running[running.claim.token]
            self.freed()
        if command is not None:
            await self._record(running, command)

    async def _attempt(self, running: Running) -> WorkCommand | None:
        """What is to be recorded of it; None when that is nobody's business any more."""
        outcome: Any = None
        with running.scope:
            outcome = await self._outcome(running)
        now = self.clock.now()
        if isinstance(outcome, tuple):
            self._succeeded(running)
            result, size = outcome
            return ended_well(running.claim, result, size, now)
        reason = running.reason
        if outcome is None and reason is None:
            reason = DEADLINE_EXCEEDED
        self._failed(running, outcome, reason)
        return ended_otherwise(running.claim, running.handler, outcome, reason, now=now, random=self.random)

    async def _outcome(self, running: Running) -> tuple[Any, int] | WorkFailed:
        """The result and its size, or why there is none."""
        claim, handler = running.claim, running.handler
        try:
            arguments = handler.signature.arguments(claim.input)
        except msgspec.ValidationError as error:
            return WorkFailed(INVALID_INPUT, str(error), may_retry=False)
        if handler.stuck_after_seconds is None:
            return await self._called(running, arguments)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, running, handler.stuck_after_seconds)
            outcome = await self._called(running, arguments)
            nursery.cancel_scope.cancel()
        return outcome

    async def _called(self, running: Running, arguments: dict[str, Any]) -> tuple[Any, int] | WorkFailed:
        handler = running.handler
        try:
            value = await self.executors.call(
                handler.function,
                arguments,
                executor=handler.executor,
                timeout_seconds=handler.timeout_seconds,
                name=handler.name,
                context=running.context if handler.signature.takes_context else None,
                memory_bytes=handler.memory_bytes,
            )
        except WorkFailed as failure:
            return failure
        return accepted(handler, value)

    async def _watch(self, running: Running, limit: float) -> None:
        """Report a job that makes no progress; end it when as much time passes again."""
        while (left := running.said_at + limit - self.clock.monotonic()) > 0:  # noqa: ASYNC110  # the clock decides
            await trio.sleep(left)
        log.warning("job is stuck", job=running.claim.job_id, handler=running.handler.name, seconds=limit)
        self.counts[running.handler.name, "stuck"] += 1
        running.word = {**(running.word or {}), "stuck": True}
        said_at = running.said_at
        await self._send_word(running)
        await trio.sleep(limit)
        if running.said_at == said_at:
            running.end(STUCK)
        else:
            await self._watch(running, limit)

    def _succeeded(self, running: Running) -> None:
        self.counts[running.handler.name, "succeeded"] += 1
        self.breakers.pop(running.handler.name, None)

    def _failed(self, running: Running, failure: WorkFailed | None, reason: str | None) -> None:
        name = running.handler.name
        if reason is not None and reason != STUCK:
            self.counts[name, "ended"] += 1
            self._left(name)
            return
        self.counts[name, "failed"] += 1
        log.warning(
            "attempt failed",
            job=running.claim.job_id,
            handler=name,
            attempt=running.claim.attempt,
            code=reason or (failure and failure.code),
            error=str(failure or ""),
        )
        if failure is not None and not failure.may_retry:
            self._left(name)  # what another attempt cannot mend is the job's fault, not the handler's
            return
        breaker = self.breakers.setdefault(name, Breaker())
        if breaker.failed(self.clock.monotonic()):
            log.error("handler only fails and is left alone for a while", handler=name, failures=breaker.failures)

    def _left(self, name: str) -> None:
        """A job ended that says nothing about its handler. If it was to, the next one will."""
        if name in self.breakers:
            self.breakers[name].left()

    # --- what is written -----------------------------------------------------------------------------------

    def _note(self, jobs: trio.Nursery, running: Running) -> None:
        """A handler has said something."""
        running.said_at = self.clock.monotonic()
        if not running.is_reporting and running.claim.token in self.running:
            running.is_reporting = True
            jobs.start_soon(self._report, running)

    async def _report(self, running: Running) -> None:
        while running.word is not None and running.claim.token in self.running:
            await self._send_word(running)
            await trio.sleep(PROGRESS_PAUSE)
        running.is_reporting = False

    async def _send_word(self, running: Running) -> None:
        word, running.word = running.word, None
        if word is not None:
            claim, now = running.claim, self.clock.now()
            await self.writes.send(WorkProgressed(job_key=claim.job_key, token=claim.token, at=now, progress=word))

    async def _record(self, running: Running, command: WorkCommand) -> None:
        self.recording += 1
        try:
            await self._send_word(running)
            await self.writes.durable(command)
            if isinstance(command, WorkDeferred):
                self.freed()  # it is in the queue again
        except WriteRefused as refused:
            log.warning("the end of a job is refused by the database", job=running.claim.job_id, error=str(refused))
            failure = WorkFailed("result_refused", f"The database refuses the result: {refused}", may_retry=False)
            await self._record_failure(running, failure)
        finally:
            self.recording -= 1

    async def _broke(self, running: Running, errors: BaseExceptionGroup[Exception]) -> None:
        """A bug of ours, not of the handler's."""
        log.error("running a job broke", job=running.claim.job_id, handler=running.handler.name, exc_info=errors)
        self._left(running.handler.name)
        await self._record_failure(running, WorkFailed("internal_error", "The server failed to run the job."))

    async def _record_failure(self, running: Running, failure: WorkFailed) -> None:
        now = self.clock.now()
        command = ended_otherwise(running.claim, running.handler, failure, None, now=now, random=self.random)
        if command is not None:
            await self.writes.durable(command)
            self.freed()  # it may be in the queue again


def accepted(handler: Handler, value: Any) -> tuple[Any, int] | WorkFailed:
    """What a handler returned as JSON, and its size in bytes; or what is wrong with it."""
    outcome = outcome_of(handler.signature.output, {"value": value})
    if isinstance(outcome, Raised):
        return WorkFailed("invalid_output", f"The result is not what it has to be: {outcome.message}", may_retry=False)
    size = len(msgspec.json.encode(outcome.value))
    if size > LARGEST_RESULT:
        message = f"The result has {size:,} bytes; at most {LARGEST_RESULT:,} are kept."
        return WorkFailed("result_too_large", message, may_retry=False)
    return outcome.value, size

"""One job in the hands of a handler: how it is told to end, what it says, what is made of its end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

import attrs
import trio

from backburner.app import Handler
from backburner.claims import Claim
from backburner.commands import WorkCommand, WorkDeferred, WorkEnded
from backburner.completion import DEADLINE_EXCEEDED, HANDLER_ERROR, STOPPED_AS
from backburner.errors import WorkFailed
from backburner.execution.context import Context
from backburner.retrying import failure_json, next_attempt_in
from backburner.states import JobStatus
from backburner.times import later

SHUTDOWN = "shutdown"  # the server stops; the job goes back to the queue
LOST = "lost"  # the claim is no longer ours; whatever comes is nobody's business
STUCK = "stuck"  # no progress for too long
THREAD_PATIENCE = 5.0  # seconds that a thread has to notice that its job is being ended


@attrs.define(kw_only=True, eq=False)
class Running:
    """A claimed job at work."""

    claim: Claim
    handler: Handler
    context: Context = attrs.field(init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    reason: str | None = None  #: why it is being ended, if it is
    said_at: float  #: when it last said something, in monotonic seconds
    word: dict[str, Any] | None = None  #: progress that is not sent yet
    is_reporting: bool = False

    def end(self, reason: str, *, patience: float = 0.0) -> None:
        """Have it end; the first reason counts. A thread gets `patience` seconds to end by itself."""
        if self.reason is None:
            self.reason = reason
            self.context.stop()
            wait = patience if self.handler.executor == "thread" else 0.0
            self.scope.deadline = min(self.scope.deadline, trio.current_time() + wait)


def ended_well(claim: Claim, result: Any, size: int, now: datetime) -> WorkEnded:
    """The handler returned."""
    return WorkEnded(
        job_key=claim.job_key,
        token=claim.token,
        at=now,
        status=JobStatus.COMPLETED,
        reason="end_turn",
        result=result,
        size=size,
    )


def ended_otherwise(
    claim: Claim, handler: Handler, failure: WorkFailed | None, reason: str | None, *, now: datetime, random: Random
) -> WorkCommand | None:
    """What is recorded of an attempt that failed, or was ended for `reason`; None when the claim was lost."""
    if reason == LOST:
        return None
    about: dict[str, Any] = {"job_key": claim.job_key, "token": claim.token, "at": now}
    if reason == SHUTDOWN:
        return WorkDeferred(**about, available_at=now, counts=False)
    if failure is None or reason == STUCK:
        failure = _by_reason(reason, handler)
    error = failure_json(failure, claim.attempt)
    if reason in STOPPED_AS:
        return WorkEnded(**about, status=STOPPED_AS[reason], reason=reason, error=error)
    wait = next_attempt_in(handler, claim.attempt, failure, random)
    if wait is None:
        return WorkEnded(**about, status=JobStatus.FAILED, reason=HANDLER_ERROR, error=error)
    return WorkDeferred(**about, available_at=later(now, wait), counts=True, error=error)


def _by_reason(reason: str | None, handler: Handler) -> WorkFailed:
    if reason == STUCK:
        seconds = 2 * (handler.stuck_after_seconds or 0.0)
        return WorkFailed("stuck", f"There was no progress for {seconds:g} s.")
    code = reason or DEADLINE_EXCEEDED
    return WorkFailed(code, f"The job was ended while it ran: {code}.")


def says(running: Running, note: Callable[[Running], None], token: trio.lowlevel.TrioToken) -> Callable[[Any], None]:
    """What takes a handler's progress in any thread; `note` is called on the event loop, once for many words."""

    def said(word: dict[str, Any]) -> None:
        running.word = word
        token.run_sync_soon(note, running, idempotent=True)

    return said

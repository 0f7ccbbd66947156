"""What actors ask the bulk writer to make durable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import attrs
import msgspec

from backburner.model import Term, Usage
from backburner.states import DeliveryStatus, JobStatus


@attrs.frozen(kw_only=True)
class Polled:
    """A batch was looked at, or looking failed; it goes on."""

    term: Term
    batch_key: int
    provider_status: str | None
    response: bytes | None  # None: as before
    polled_at: datetime
    next_poll_at: datetime
    failures: int
    error: Any = None
    not_found_since: datetime | None = None  # None: this look was not answered with 404
    created_at: datetime | None = None  # by the provider's clock; None: as before
    cancel_sent_at: datetime | None = None
    #: Whether it was known that the job is being ended. If it came to be meanwhile, the batch is due again at once.
    knew_stopping: bool = False


@attrs.frozen(kw_only=True)
class Unchanged:
    """Batches were looked at and are as they were; each goes on."""

    term: Term
    polled_at: datetime
    due: Mapping[datetime, Sequence[int]]  # keys by `next_poll_at`: they fall due together, see `next_poll`


@attrs.frozen(kw_only=True)
class BatchEnded:
    """The provider is done with a batch; its results can be read."""

    term: Term
    batch_key: int
    provider_status: str
    response: bytes
    at: datetime
    next_poll_at: datetime  # when to start reading again if this instance dies
    created_at: datetime | None = None  # by the provider's clock; None: as before


@attrs.frozen(kw_only=True)
class BatchLost:
    """The provider does not have a batch any more, or its job does not wait for it any longer."""

    term: Term
    batch_key: int
    at: datetime


class ResultRow(msgspec.Struct, frozen=True, gc=False):
    """One item's result. A struct because a large batch makes a hundred thousand of them in a second."""

    index: int
    status: str  # an outcome's value: the driver converts members of an enumeration slowly
    result: str  # verbatim


@attrs.frozen(kw_only=True)
class ResultPage:
    """Some results of one batch."""

    term: Term
    batch_key: int
    job_key: int
    round: int
    rows: tuple[ResultRow, ...]
    counts: Mapping[str, int]  # of the rows, by status
    usage: Usage  # of the rows together
    byte_size: int
    of_agents: bool = False  # what follows from each is to be decided


@attrs.frozen(kw_only=True)
class ReadFailed:
    """A pass over the results of a batch did not complete it; there will be another."""

    term: Term
    batch_key: int
    reads: int  # whole passes so far
    failures: int  # broken passes in a row
    next_poll_at: datetime
    error: Any
    not_found_since: datetime | None = None  # None: this pass was not answered with 404


@attrs.frozen(kw_only=True)
class BatchIngested:
    """Every item of a batch has its result."""

    term: Term
    batch_key: int
    at: datetime


@attrs.frozen(kw_only=True)
class NotOurs:
    """A batch adopted after an unknown submission holds somebody else's results; the search goes on."""

    term: Term
    batch_key: int
    provider_batch_id: str
    at: datetime


class CallPlace(NamedTuple):
    """Which call of a tool, by its key in the ledger."""

    job_key: int
    item: int  # its position
    round: int
    position: int


@attrs.frozen(kw_only=True)
class ToolFinished:
    """A call of a tool came to its end, well or not."""

    term: Term
    place: CallPlace
    content: str  # JSON: what the model is given
    is_error: bool
    at: datetime


@attrs.frozen(kw_only=True)
class DeliveryAttempted:
    """One POST of a delivery and what is to become of it."""

    key: int
    number: int
    at: datetime
    status_code: int | None
    error: str | None
    duration_ms: int
    status: DeliveryStatus
    next_attempt_at: datetime | None


@attrs.frozen(kw_only=True)
class WorkProgressed:
    """How far a handler says that it is. The newest word of a claim counts."""

    job_key: int
    token: str
    at: datetime
    progress: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class WorkEnded:
    """A handler is done with a job, for good or ill. Without effect when the claim is not the current one."""

    job_key: int
    token: str
    at: datetime
    status: JobStatus
    reason: str
    result: Any = None
    error: Any = None
    size: int = 0  # bytes of the result, about


@attrs.frozen(kw_only=True)
class WorkDeferred:
    """A job goes back to the queue. Without effect when the claim is not the current one."""

    job_key: int
    token: str
    at: datetime
    available_at: datetime
    counts: bool  # whether the attempt counts; not when the server only stopped
    error: Any = None  # shown until the next attempt ends; None leaves what was shown before


LeaderCommand = (
    Polled | Unchanged | BatchEnded | BatchLost | ResultPage | ReadFailed | BatchIngested | NotOurs | ToolFinished
)
WorkCommand = WorkProgressed | WorkEnded | WorkDeferred
FreeCommand = DeliveryAttempted | WorkCommand
Command = LeaderCommand | FreeCommand


def rows_in(command: Command) -> int:
    """How many rows a command writes, about."""
    if isinstance(command, Unchanged):
        return sum([len(keys) for keys in command.due.values()])
    return len(command.rows) if isinstance(command, ResultPage) else 1


def bytes_in(command: Command) -> int:
    """How many bytes a command writes, about."""
    if isinstance(command, ToolFinished):
        return len(command.content)
    if isinstance(command, WorkEnded):
        return command.size + 200
    return command.byte_size if isinstance(command, ResultPage) else 200


def term_of(command: Command) -> Term | None:
    """The term that fences a command; None for what any instance may write."""
    return None if isinstance(command, FreeCommand) else command.term

"""The states of a job and of what it is made of, as data."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobType(StrEnum):
    BATCH = "batch"
    JOB = "job"
    RUN = "run"


class JobStatus(StrEnum):
    CREATED = "created"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


_S = JobStatus

#: From each state, where a job may go next.
TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    _S.CREATED: frozenset({_S.PENDING, _S.CANCELLED, _S.FAILED, _S.EXPIRED}),
    _S.PENDING: frozenset({_S.RUNNING, _S.CANCELLED, _S.FAILED, _S.EXPIRED}),
    _S.RUNNING: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.EXPIRED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
}

TERMINAL = frozenset(status for status, following in TRANSITIONS.items() if not following)
ACTIVE = frozenset(TRANSITIONS) - TERMINAL


def sources(to: JobStatus) -> frozenset[JobStatus]:
    """The states from which `to` may be entered: the guard of every UPDATE of a status."""
    return frozenset(status for status, following in TRANSITIONS.items() if to in following)


class ItemStatus(StrEnum):
    """What has become of one item. All but `processing` are final."""

    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    CANCELED = "canceled"
    EXPIRED = "expired"


#: The outcomes that a result can have, in the order in which counts are shown.
OUTCOMES = (ItemStatus.SUCCEEDED, ItemStatus.ERRORED, ItemStatus.CANCELED, ItemStatus.EXPIRED)


class BatchStatus(StrEnum):
    """Where a provider batch stands, seen from here."""

    PLANNED = "planned"  # not sent
    SUBMITTING = "submitting"  # the intent is recorded; the call may be under way
    UNKNOWN = "unknown"  # the call's outcome is not known; being reconciled
    QUARANTINED = "quarantined"  # cannot be reconciled; waits for `batches adopt|abandon`
    SUBMITTED = "submitted"  # the provider has it and works on it
    ENDED = "ended"  # the provider is done; its results are not all stored yet
    INGESTED = "ingested"  # every item has its result here
    CLOSED = "closed"  # ended without the provider: never sent, refused, abandoned or given up


BATCH_FINAL = frozenset({BatchStatus.INGESTED, BatchStatus.CLOSED})
#: Those that hold, or may hold, a place in the provider's queue.
BATCH_IN_FLIGHT = frozenset(
    {BatchStatus.SUBMITTING, BatchStatus.UNKNOWN, BatchStatus.QUARANTINED, BatchStatus.SUBMITTED, BatchStatus.ENDED}
)


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # attempts exhausted
    DISABLED = "disabled"  # the receiver answered 410 Gone


class ConversationState(StrEnum):
    """Where the conversation of one item of an agent job stands once its first answer is here."""

    ANSWERED = "answered"  # what follows from the newest answer is not decided yet
    TOOLS = "tools"  # tools that the answer asks for are being called
    READY = "ready"  # its next request waits to be planned
    ASKED = "asked"  # its next request is planned, or at the provider
    DONE = "done"


class ToolCallState(StrEnum):
    """What has become of one call that a model asked for."""

    REQUESTED = "requested"
    STARTED = "started"  # it may have had effects
    FINISHED = "finished"
    DROPPED = "dropped"  # the conversation ended before it was started

"""How a batch job ends, decided from what became of its items."""

from __future__ import annotations

from backburner.model import Counts
from backburner.states import JobStatus

CANCELLED_BY_USER = "cancelled_by_user"
DEADLINE_EXCEEDED = "deadline_exceeded"
LOOKBACK_EXCEEDED = "lookback_exceeded"
PROVIDER_REJECTED = "provider_rejected"
HANDLER_ERROR = "handler_error"

#: Why a job is being ended before its items are → the state in which it then ends.
STOPPED_AS = {
    CANCELLED_BY_USER: JobStatus.CANCELLED,
    DEADLINE_EXCEEDED: JobStatus.EXPIRED,
    LOOKBACK_EXCEEDED: JobStatus.EXPIRED,
}


def outcome(counts: Counts, *, stopping: str | None, rejected: bool) -> tuple[JobStatus, str]:
    """The terminal status of a job all of whose items are finished, and its stop reason.

    `rejected`: the provider refused at least one of the provider batches.
    """
    if stopping is not None:
        return STOPPED_AS[stopping], stopping
    if counts.succeeded == counts.total:
        return JobStatus.COMPLETED, "end_turn"
    if counts.succeeded:
        return JobStatus.COMPLETED, "completed_with_errors"
    return JobStatus.FAILED, PROVIDER_REJECTED if rejected else "all_items_failed"

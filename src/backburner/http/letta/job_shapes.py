"""Jobs and batches as Letta's clients know them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from backburner.model import Job
from backburner.states import JobStatus, JobType
from backburner.times import rfc3339

JsonObject = dict[str, Any]

#: Reasons that Letta knows too; it has no others.
_REASONS = {"end_turn": "end_turn", "cancelled_by_user": "cancelled", "handler_error": "error"}


def job_json(job: Job) -> JsonObject:
    """A job of any type."""
    return {
        "id": job.id,
        "user_id": job.user_id,
        "status": job_status(job),
        "created_at": rfc3339(job.created_at),
        "updated_at": rfc3339(job.updated_at),
        "completed_at": time_json(job.completed_at),
        "stop_reason": _REASONS.get(job.stop_reason or ""),
        "metadata": job.metadata,
        "job_type": job.job_type,
        "background": job.background,
        "agent_id": job.agent_id,
        "callback_url": job.callback_url,
        "callback_sent_at": time_json(job.callback_sent_at),
        "callback_status_code": job.callback_status_code,
        "callback_error": job.callback_error,
        "ttft_ns": job.ttft_ns,
        "total_duration_ns": job.total_duration_ns,
        "created_by_id": job.user_id,
        "last_updated_by_id": job.user_id,
    }


def batch_json(job: Job) -> JsonObject:
    """A batch, whose requests Letta counts as not in the background."""
    return job_json(job) | {"background": False}


def job_status(job: Job) -> str:
    """A batch runs from the start, and one that is being cancelled counts as cancelled: it will end so."""
    if job.job_type is JobType.BATCH and not job.status.is_terminal:
        return JobStatus.RUNNING if job.cancel_requested_at is None else JobStatus.CANCELLED
    return job.status


def time_json(moment: datetime | None) -> str | None:
    """With its zone, which Letta itself leaves out of some."""
    return None if moment is None else rfc3339(moment)

"""What a webhook says."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
import msgspec

from backburner.model import Counts, Job
from backburner.times import rfc3339


def event_type(job: Job) -> str:
    """The name of the event that a job in this state is: `job.completed`, `job.failed`, …"""
    return f"job.{job.status}"


def webhook_body(job: Job, at: datetime) -> bytes:
    """The JSON that is stored, signed and sent for a job that has ended; `at` is the time of the event.

    It names the job and how it went, never its results: below 20 kB with the largest metadata that is accepted.
    `request_counts` is null for a job that is not a batch.
    """
    return msgspec.json.encode(
        {
            "type": event_type(job),
            "timestamp": rfc3339(at),
            "job_id": job.id,
            "status": job.status,
            "completed_at": rfc3339(job.completed_at) if job.completed_at else None,
            "metadata": job.metadata,
            "stop_reason": job.stop_reason,
            "request_counts": _counts(job.counts),
        }
    )


def _counts(counts: Counts | None) -> dict[str, Any] | None:
    return None if counts is None else {"total": counts.total, **attrs.asdict(counts)}

"""What a webhook says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs

from backburner.model import Counts, Job
from backburner.states import JobStatus, JobType
from backburner.times import rfc3339
from backburner.webhook_payload import event_type, webhook_body

ENDED = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
FIELDS: dict[str, Any] = dict.fromkeys((field.name for field in attrs.fields(Job)), None)
FIELDS |= {
    "key": 1,
    "id": "job-1",
    "job_type": JobType.BATCH,
    "status": JobStatus.COMPLETED,
    "stop_reason": "end_turn",
    "metadata": {"run": "nightly", "größe": [1, None]},
    "completed_at": ENDED,
    "counts": Counts(succeeded=2, errored=1),
}
BATCH = Job(**FIELDS)


def test_the_body_of_a_batch():
    body = webhook_body(BATCH, ENDED + timedelta(seconds=1))
    assert json.loads(body) == {
        "type": "job.completed",
        "timestamp": "2026-03-01T12:00:01.000005Z",
        "job_id": "job-1",
        "status": "completed",
        "completed_at": "2026-03-01T12:00:00.000005Z",
        "metadata": {"run": "nightly", "größe": [1, None]},
        "stop_reason": "end_turn",
        "request_counts": {"total": 3, "processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0},
    }


def test_other_jobs_have_no_counts():
    job = attrs.evolve(BATCH, job_type=JobType.JOB, status=JobStatus.FAILED, counts=None)
    body = json.loads(webhook_body(job, ENDED))
    assert (body["type"], body["request_counts"]) == ("job.failed", None)
    assert event_type(job) == "job.failed"


def test_the_body_stays_thin_with_the_largest_metadata():
    job = attrs.evolve(BATCH, metadata={"text": "ä" * (8 * 1024 - 8)})
    assert len(webhook_body(job, ENDED)) < 20_000


def test_times_are_utc_with_six_digits_whatever_their_zone():
    elsewhere = datetime(2026, 3, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(elsewhere) == "2026-02-28T23:00:00.000000Z"

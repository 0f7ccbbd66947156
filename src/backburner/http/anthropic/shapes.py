"""Jobs as Anthropic's clients expect message batches."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from backburner.http.anthropic.ids import batch_id_of
from backburner.http.services import Services
from backburner.model import Counts, Job
from backburner.times import rfc3339

BASE = "/anthropic"
BATCHES = "/v1/messages/batches"
LIFETIME = timedelta(hours=24)  # after which a batch's unfinished requests expire there; only told


def batch_json(job: Job, root: str) -> dict[str, Any]:
    """The batch; `root` goes before the path of its results. Members without a value are null, not left out."""
    counts = job.counts or Counts()
    if not job.status.is_terminal:
        counts = Counts(processing=counts.total)  # as documented: nothing moves until the whole batch has ended
    batch_id, ended = batch_id_of(job.id), job.completed_at
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": processing_status(job),
        "request_counts": attrs.asdict(counts),
        "created_at": rfc3339(job.created_at),
        "expires_at": rfc3339(job.created_at + LIFETIME),
        "ended_at": None if ended is None else rfc3339(ended),
        "cancel_initiated_at": None if job.cancel_requested_at is None else rfc3339(job.cancel_requested_at),
        "archived_at": None,
        "results_url": None if ended is None else f"{root}{BATCHES}/{batch_id}/results",
    }


def processing_status(job: Job) -> str:
    """`in_progress`, `canceling` or `ended`."""
    if job.status.is_terminal:
        return "ended"
    return "in_progress" if job.cancel_requested_at is None else "canceling"


def root_of(services: Services) -> str:
    """What stands before `/v1/…` in an address of results: our public URL, else nothing.

    The clients put their own base URL before a path without a host. A base made of the request's Host header would
    lack the scheme that a client used towards a proxy, and the client would send its key in clear.
    """
    return services.public_url.rstrip("/") + BASE if services.public_url else ""

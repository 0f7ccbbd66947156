"""The JSON that the server answers with, as far as this client reads it; more keys may be there."""

from __future__ import annotations

from typing import Any, TypedDict


class Counts(TypedDict):
    total: int
    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class Job(TypedDict):
    id: str
    job_type: str
    status: str
    stop_reason: str | None
    created_at: str
    completed_at: str | None
    retry_of: str | None
    metadata: dict[str, Any]
    callback_url: str | None
    callback_sent_at: str | None
    callback_status_code: int | None
    callback_error: str | None
    request_counts: Counts | None
    usage: dict[str, int] | None
    provider_batches: dict[str, Any] | None


class Page(TypedDict):
    data: list[dict[str, Any]]
    has_more: bool
    first_id: str | None
    last_id: str | None


#: The states in which a job stays.
TERMINAL = frozenset({"completed", "failed", "cancelled", "expired"})

"""What answers about jobs look like; `shapes` makes them, a test holds the two together."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from backburner.holds import HoldCode
from backburner.states import BatchStatus, DeliveryStatus, ItemStatus, JobStatus, JobType

T = TypeVar("T")

Time = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339, UTC.")]


class Listed(msgspec.Struct, Generic[T]):
    """A page of a list."""

    data: list[T]
    has_more: bool
    first_id: str | None
    last_id: str | None


class RequestCounts(msgspec.Struct):
    """How many items stand where; `total` is the sum of the others."""

    total: int
    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class TokenUsage(msgspec.Struct):
    """Tokens that the provider bills."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int


class BatchTotals(msgspec.Struct):
    """How many provider batches there are, how many have ended, how many have all their results here."""

    total: int
    ended: int
    ingested: int


class Hold(msgspec.Struct):
    """Why a job waits, when that takes more than a minute: null while it does not, and when it has ended."""

    code: HoldCode
    since: Time
    message: str


class Job(msgspec.Struct):
    """What a user submits, watches, cancels and is called back for.

    `request_counts`, `usage` and `provider_batches` are null for jobs that are no batches.
    """

    id: str
    object: Literal["job"]
    job_type: JobType
    status: JobStatus
    stop_reason: str | None
    background: bool
    created_at: Time
    updated_at: Time
    started_at: Time | None
    completed_at: Time | None
    cancel_requested_at: Time | None
    deadline_at: Time | None
    user_id: str
    organization_id: str
    agent_id: str | None
    agent: dict[str, Any] | None
    handler: str | None
    priority: int
    retry_of: str | None
    metadata: dict[str, Any]
    request_config: dict[str, Any]
    input: Any
    result: Any
    error: Any
    hold: Hold | None
    callback_url: str | None
    callback_sent_at: Time | None
    callback_status_code: int | None
    callback_error: str | None
    ttft_ns: int | None
    total_duration_ns: int | None
    request_counts: RequestCounts | None
    usage: TokenUsage | None
    provider_batches: BatchTotals | None


class ProviderBatch(msgspec.Struct):
    """One batch at the provider: a range of one job's items in one round."""

    id: str
    object: Literal["provider_batch"]
    provider: str
    provider_batch_id: str | None
    round: int
    status: BatchStatus
    provider_status: str | None
    item_count: int
    request_counts: RequestCounts
    created_at: Time
    submitted_at: Time | None
    last_polled_at: Time | None
    next_poll_at: Time | None
    ended_at: Time | None
    ingested_at: Time | None
    not_found_since: Time | None
    error: Any
    create_response: Any
    latest_polling_response: Any


class BatchTotalsAndData(BatchTotals):
    """The same, and the provider batches themselves."""

    data: list[ProviderBatch]


class Batch(Job):
    """A job of type batch, with its provider batches."""

    provider_batches: BatchTotalsAndData


class JobList(Listed[Job]):
    """A page of jobs."""


class DryRun(msgspec.Struct):
    """A batch that was checked and not kept."""

    object: Literal["dry_run"]
    valid: bool
    provider: str
    request_counts: RequestCounts


class Item(msgspec.Struct):
    """One LLM request of a batch job."""

    id: str
    object: Literal["item"]
    index: int
    custom_id: str
    status: ItemStatus
    round: int
    provider_batch_id: str | None
    agent_id: str | None
    usage: TokenUsage | None
    error: Any


class ItemList(Listed[Item]):
    """A page of items."""


class DeliveryAttempt(msgspec.Struct):
    """One POST of a webhook."""

    number: int
    at: Time
    status_code: int | None
    error: str | None
    duration_ms: int


class Delivery(msgspec.Struct):
    """One webhook owed for one event."""

    id: str
    object: Literal["delivery"]
    job_id: str
    type: str
    url: str
    status: DeliveryStatus
    created_at: Time
    next_attempt_at: Time | None
    attempts: list[DeliveryAttempt]


class DeliveryList(Listed[Delivery]):
    """A page of deliveries."""


class FaultyLine(msgspec.Struct):
    """One line of a batch that is refused: `index` in a JSON body, `line` in an NDJSON one."""

    message: str
    param: str | UnsetType | None = UNSET
    custom_id: str | UnsetType | None = UNSET
    index: int | UnsetType = UNSET
    line: int | UnsetType = UNSET


class ErrorBody(msgspec.Struct):
    """Why a request was not done."""

    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "conflict_error",
        "request_too_large",
        "rate_limit_error",
        "api_error",
        "unavailable_error",
    ]
    code: str
    message: str
    param: str | UnsetType = UNSET
    details: list[FaultyLine] | UnsetType = UNSET


class Error(msgspec.Struct):
    """The one shape of every error."""

    type: Literal["error"]
    error: ErrorBody
    request_id: str

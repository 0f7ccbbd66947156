"""What the server answers, as records. Each keeps the JSON that it was made of; fields of older servers may be None."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import attrs
import msgspec

T = TypeVar("T")

#: The states in which a job stays.
TERMINAL = frozenset({"completed", "failed", "cancelled", "expired"})


@attrs.frozen(kw_only=True)
class Counts:
    """How many items stand where."""

    total: int = 0
    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def finished(self) -> int:
        return self.total - self.processing

    @property
    def failed(self) -> int:
        """Items that ended, but not well."""
        return self.errored + self.canceled + self.expired


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens that the provider bills."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


@attrs.frozen(kw_only=True)
class Hold:
    """Why a job waits: for what `code` says, since when, and what can be said of it."""

    code: str
    since: datetime | None = None
    message: str = ""


@attrs.frozen(kw_only=True)
class Job:
    """A batch, a run or a background job as it was when the server answered."""

    id: str
    status: str
    job_type: str = "batch"
    stop_reason: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    deadline_at: datetime | None = None
    organization_id: str | None = None
    user_id: str | None = None
    agent_id: str | None = None
    handler: str | None = None
    priority: int = 0
    retry_of: str | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)
    input: Any = None
    result: Any = None
    error: Any = None
    hold: Hold | None = None  #: why it waits, when that takes more than a minute
    callback_url: str | None = None
    callback_sent_at: datetime | None = None
    callback_status_code: int | None = None
    callback_error: str | None = None
    request_counts: Counts | None = None  #: None: not a batch
    usage: Usage | None = None
    provider_batches: dict[str, Any] | None = None
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def counts(self) -> Counts:
        """The counts; all zero for what is not a batch."""
        return self.request_counts or Counts()


@attrs.frozen(kw_only=True)
class Item:
    """One request of a batch."""

    id: str
    index: int = 0
    custom_id: str = ""
    status: str = "processing"
    round: int = 1
    provider_batch_id: str | None = None
    agent_id: str | None = None
    usage: Usage | None = None
    error: Any = None
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Attempt:
    """One POST of a webhook."""

    number: int
    at: datetime
    status_code: int | None = None
    error: str | None = None
    duration_ms: int = 0


@attrs.frozen(kw_only=True)
class Delivery:
    """One webhook owed for one event."""

    id: str
    type: str
    url: str
    status: str
    next_attempt_at: datetime | None = None
    attempts: Sequence[Attempt] = ()
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Event:
    """A job as it was when it changed. `id` resumes the stream behind it."""

    id: str
    job: Job


@attrs.frozen
class Result:
    """One line of a batch's results. `line` has the provider's bytes."""

    custom_id: str
    result: dict[str, Any]
    line: bytes = attrs.field(repr=False)

    @property
    def status(self) -> str:
        """succeeded, errored, canceled or expired."""
        return str(self.result["type"])

    @property
    def text(self) -> str:
        """The text that the model wrote; empty for what did not succeed."""
        content = self.result.get("message", {}).get("content") or ()
        return "".join(block["text"] for block in content if block.get("type") == "text")


def record(kind: type[T]) -> Callable[[Any], T]:
    """Makes records of `kind` from decoded JSON; unknown members are kept in `raw` only."""

    def make(value: Any) -> T:
        return msgspec.convert({**value, "raw": value}, kind)

    return make


def result_of(line: bytes) -> Result:
    """One line of NDJSON. Providers may send strings that are no proper Unicode; they are read as they are."""
    value: Mapping[str, Any] = json.loads(line)
    return Result(value["custom_id"], value["result"], line)

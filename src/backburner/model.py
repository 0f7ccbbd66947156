"""The things this program is about, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
import msgspec

from backburner.division import WHOLE, Division
from backburner.holds import Hold
from backburner.states import BatchStatus, DeliveryStatus, ItemStatus, JobStatus, JobType


@attrs.frozen(kw_only=True)
class Counts:
    """How many items stand where. Their sum is the number of items, always."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired

    @property
    def finished(self) -> int:
        return self.total - self.processing


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens that the provider bills. A struct because a large batch makes a hundred thousand of them in a second."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_creation_input_tokens=self.cache_creation_input_tokens + other.cache_creation_input_tokens,
            cache_read_input_tokens=self.cache_read_input_tokens + other.cache_read_input_tokens,
        )


@attrs.frozen(kw_only=True)
class BatchTotals:
    """How many provider batches a job has, how many of them the provider has ended, how many are final here."""

    total: int
    ended: int
    ingested: int


@attrs.frozen(kw_only=True)
class Job:
    """The unit a user submits, watches, cancels and is called back for."""

    key: int  #: joins tables; never shown
    id: str
    job_type: JobType
    status: JobStatus
    stop_reason: str | None
    #: Why the job is being ended while work is in flight: becomes `stop_reason` when that has come home.
    stopping: str | None
    background: bool
    provider: str | None
    organization_id: str
    user_id: str
    agent_id: str | None
    agent: dict[str, Any] | None  #: what each item's conversation may do; None: one round
    handler: str | None
    priority: int
    retry_of: str | None
    metadata: dict[str, Any]
    request_config: dict[str, Any]
    input: Any
    result: Any
    error: Any
    hold: Hold | None  #: why it waits, when that takes more than a minute
    callback_url: str | None
    callback_sent_at: datetime | None
    callback_status_code: int | None
    callback_error: str | None
    ttft_ns: int | None
    total_duration_ns: int | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    cancel_requested_at: datetime | None
    deadline_at: datetime | None
    counts: Counts | None
    usage: Usage | None
    batches: BatchTotals | None
    version: int  #: grows with every change; the ETag


@attrs.frozen(kw_only=True)
class Item:
    """One LLM request of a batch job."""

    index: int  #: position in the job, from 0
    custom_id: str
    agent_id: str | None
    status: ItemStatus
    round: int
    provider_batch_id: str | None  #: our id of it
    usage: Usage | None
    error: Any  #: the provider's error object of an errored item, decoded


@attrs.frozen(kw_only=True)
class ProviderBatch:
    """One batch at the provider: items of one job in one round. In the first round they are a range."""

    key: int
    id: str
    job_key: int
    job_id: str
    organization_key: int
    provider: str
    round: int
    status: BatchStatus
    first_index: int
    last_index: int  #: inclusive
    item_count: int
    byte_size: int
    nonce: str
    attempt: int
    provider_batch_id: str | None
    provider_status: str | None
    counts: Counts
    #: How items without a result of their own ended, once the batch is closed.
    fill: ItemStatus | None
    poll_failures: int  #: in a row
    reads: int  #: whole passes over the results that did not complete the batch
    cancel_sent_at: datetime | None
    created_at: datetime
    intent_at: datetime | None
    submitted_at: datetime | None
    last_polled_at: datetime | None
    next_poll_at: datetime | None
    ended_at: datetime | None
    ingested_at: datetime | None
    provider_created_at: datetime | None  #: by its own clock
    not_found_since: datetime | None  #: since when the provider answers nothing but 404
    error: Any
    create_response: bytes | None
    latest_polling_response: bytes | None
    #: Why the job is being ended, if it is: the provider has to be told.
    job_stopping: str | None
    #: Whether its items are agents: answers are followed by tools and further rounds.
    of_agents: bool = False
    #: What the job's creator asked to be sent along, such as a workspace. Every call about the batch needs it.
    options: Mapping[str, str] = attrs.field(factory=dict)
    division: Division = WHOLE

    @property
    def is_recognised(self) -> bool:
        """Whether the provider's batch is certainly this one: it was named to us, or its results carry our nonce.

        One that was found in a listing, or that a person has named, may be somebody else's.
        """
        return self.create_response is not None or self.counts.finished > 0


@attrs.frozen(kw_only=True)
class Term:
    """One period of office of one leader. Every leader write carries it."""

    epoch: int
    term_id: str
    instance_id: str


@attrs.frozen(kw_only=True)
class Attempt:
    """One POST of a delivery."""

    number: int  #: from 1
    at: datetime
    status_code: int | None  #: None when there was no answer
    error: str | None  #: None exactly for a 2xx answer
    duration_ms: int


@attrs.frozen(kw_only=True)
class Delivery:
    """One webhook owed for one event."""

    id: str
    job_id: str
    type: str
    url: str
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None
    attempts: tuple[Attempt, ...]


@attrs.frozen(kw_only=True)
class DueDelivery:
    """A delivery that this instance has claimed and must now attempt."""

    key: int
    id: str  #: the `webhook-id`, the same on every attempt
    organization_key: int
    url: str
    receiver: str  #: `host:port` of the URL, from `egress.receiver_of`, stored when the delivery is made
    body: bytes  #: sent and signed as it is
    number: int  #: of the attempt to be made, from 1
    scheduled: int  #: of those, how many count against the schedule (a redelivery by hand does not)
    secrets: tuple[str, ...]  #: `whsec_…`, newest first; each makes a signature


@attrs.frozen(kw_only=True)
class Principal:
    """Who is asking: the key, its user and organization, and what it may do."""

    key_id: str
    user_id: str
    user_key: int
    organization_id: str
    organization_key: int
    scopes: frozenset[str]
    is_operator: bool  #: belongs to the first organization; admin routes reach across organizations for it

    def may(self, scope: str) -> bool:
        """`admin` includes `write` includes `read`."""
        return bool(self.scopes & IMPLIED_BY[scope])


IMPLIED_BY: Mapping[str, frozenset[str]] = {
    "read": frozenset({"read", "write", "admin"}),
    "write": frozenset({"write", "admin"}),
    "admin": frozenset({"admin"}),
}


@attrs.frozen(kw_only=True)
class NewJob:
    """A job about to be made."""

    id: str
    job_type: JobType
    organization_key: int
    user_key: int
    created_at: datetime
    provider: str | None = None
    provider_options: Mapping[str, str] = attrs.field(factory=dict)
    metadata: dict[str, Any] = attrs.field(factory=dict)
    request_config: dict[str, Any] = attrs.field(factory=dict)
    callback_url: str | None = None
    priority: int = 0
    deadline_at: datetime | None = None
    agent_id: str | None = None
    agent: dict[str, Any] | None = None
    handler: str | None = None
    input: Any = None
    background: bool = True
    retry_of: str | None = None
    requests_of: int | None = None  #: the key of the job whose requests are shared; None: its own

    @property
    def is_work(self) -> bool:
        """Whether this server has something to do for it; any other job is moved by its owner, from outside."""
        return self.job_type is not JobType.JOB or self.handler is not None or self.deadline_at is not None


@attrs.frozen
class NewItem:
    """An item about to be staged. `params` is the user's JSON, verbatim."""

    custom_id: str
    params: str
    size: int  #: bytes of params
    agent_id: str | None = None


@attrs.frozen
class SharedItem:
    """An item of a retry: its request is another job's."""

    custom_id: str
    request_index: int
    size: int  #: bytes of params
    agent_id: str | None = None


@attrs.frozen
class PlannedBatch:
    """A provider batch about to be made."""

    id: str
    nonce: str
    first: int
    last: int  #: inclusive
    byte_size: int
    members: int | None = None  #: of a later round: how many of the range it holds

    @property
    def items(self) -> int:
        return self.last - self.first + 1 if self.members is None else self.members

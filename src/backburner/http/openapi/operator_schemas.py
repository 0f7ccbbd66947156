"""What answers about keys, users and the server itself look like."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from backburner.figures import HandlerFigures, PlaceFigures, ProcessFigures
from backburner.http.openapi.job_schemas import Listed, ProviderBatch, Time

Scope = Literal["read", "write", "admin"]


class Key(msgspec.Struct):
    """An API key, without its secret."""

    id: str
    object: Literal["key"]
    prefix: str
    scopes: list[Scope]
    user_id: str
    organization_id: str
    name: str | None
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None


class KeyWithSecret(Key):
    """A new API key; the secret is shown this once, not in the replay of an `Idempotency-Key`."""

    secret: str | UnsetType = UNSET


class KeyList(Listed[Key]):
    """A page of keys."""


class User(msgspec.Struct):
    """Whose keys there can be."""

    id: str
    object: Literal["user"]
    organization_id: str
    name: str
    created_at: Time


class UserList(Listed[User]):
    """A page of users."""


class Organization(msgspec.Struct):
    """Who shares jobs, keys and webhooks."""

    id: str
    object: Literal["organization"]
    name: str
    created_at: Time


class OrganizationList(Listed[Organization]):
    """A page of organizations."""


class AuditEntry(msgspec.Struct):
    """One thing that was done: by whom, to what, from where."""

    id: str
    object: Literal["audit_entry"]
    at: Time
    organization_id: str
    user_id: str | None
    key_id: str | None
    action: str
    object_type: str
    object_id: str
    address: str | None
    request_id: str | None
    detail: Any


class AuditList(Listed[AuditEntry]):
    """A page of the audit log."""


class WebhookSecret(msgspec.Struct):
    """What signs the organization's webhooks; the replay of an `Idempotency-Key` is without it."""

    secret: str | UnsetType = UNSET


class Leader(msgspec.Struct):
    """Who submits and polls."""

    instance_id: str
    epoch: int
    acquired_at: Time


class ProviderState(msgspec.Struct):
    """Whether submissions go to a provider, and why not."""

    name: str
    state: str
    reason: str | None
    retry_at: Time | None


class QueueStatus(msgspec.Struct):
    """The queue of background jobs, of all instances."""

    waiting: int
    claimed: int
    oldest_at: Time | None


class SchedulerStatus(msgspec.Struct):
    """The server as an operator sees it."""

    is_leader: bool
    leader: Leader | None
    refusal: str | None
    polling_enabled: bool
    last_cycle: dict[str, Any] | None
    next_tick_at: Time | None
    open_provider_batches: int
    open_provider_batches_by_status: dict[str, int]
    oldest_next_poll_at: Time | None
    background_tasks: int
    writer_queue: int
    deliveries_pending: int
    providers: list[ProviderState]
    queue: QueueStatus
    handlers: list[HandlerFigures]
    places: dict[str, PlaceFigures]
    process: ProcessFigures | None
    warnings: list[str]


class UnresolvedBatch(ProviderBatch):
    """A provider batch with what an operator needs to find it again at the provider."""

    job_id: str
    nonce: str
    attempt: int
    intent_at: Time | None


class UnresolvedBatchList(Listed[UnresolvedBatch]):
    """A page of them."""


class AbandonedBatch(msgspec.Struct):
    """A provider batch that was given up, and the job that ended with it, if one did."""

    id: str
    object: Literal["provider_batch"]
    status: Literal["closed"]
    ended_job_id: str | None


class DecidedBatches(msgspec.Struct):
    """What was decided about a provider's batches, and about how many of them."""

    object: Literal["provider"]
    name: str
    batches: int
    moved_to: str | None
    ended_job_ids: list[str]
    has_more: bool


class Health(msgspec.Struct):
    """The process is up, or ready."""

    status: Literal["ok", "ready"]
    version: str
    warnings: list[str] = []

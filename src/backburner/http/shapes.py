"""Records as JSON: the one place that knows what the outside calls things."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from backburner.model import Attempt, Counts, Delivery, Item, Job, ProviderBatch, Usage
from backburner.storage.accounts import ApiKey, User
from backburner.storage.overview import Overview
from backburner.times import rfc3339

if TYPE_CHECKING:  # the services' live streams send these shapes
    from backburner.http.services import InstanceStatus

JsonObject = dict[str, Any]


def job_json(job: Job) -> JsonObject:
    return {
        "id": job.id,
        "object": "job",
        "job_type": job.job_type,
        "status": job.status,
        "stop_reason": job.stop_reason,
        "background": job.background,
        "created_at": rfc3339(job.created_at),
        "updated_at": rfc3339(job.updated_at),
        "started_at": _time(job.started_at),
        "completed_at": _time(job.completed_at),
        "cancel_requested_at": _time(job.cancel_requested_at),
        "deadline_at": _time(job.deadline_at),
        "user_id": job.user_id,
        "organization_id": job.organization_id,
        "agent_id": job.agent_id,
        "agent": job.agent,
        "handler": job.handler,
        "priority": job.priority,
        "retry_of": job.retry_of,
        "metadata": job.metadata,
        "request_config": job.request_config,
        "input": job.input,
        "result": job.result,
        "error": job.error,
        "hold": None if job.hold is None else job.hold.as_json(),
        "callback_url": job.callback_url,
        "callback_sent_at": _time(job.callback_sent_at),
        "callback_status_code": job.callback_status_code,
        "callback_error": job.callback_error,
        "ttft_ns": job.ttft_ns,
        "total_duration_ns": job.total_duration_ns,
        "request_counts": None if job.counts is None else counts_json(job.counts),
        "usage": _usage(job.usage),
        "provider_batches": None if job.batches is None else attrs.asdict(job.batches),
    }


def batch_json(job: Job, batches: list[ProviderBatch]) -> JsonObject:
    """A batch job with its provider batches."""
    shown = job_json(job)
    shown["provider_batches"]["data"] = [provider_batch_json(batch) for batch in batches]
    return shown


def provider_batch_json(batch: ProviderBatch) -> JsonObject:
    return {
        "id": batch.id,
        "object": "provider_batch",
        "provider": batch.provider,
        "provider_batch_id": batch.provider_batch_id,
        "round": batch.round,
        "status": batch.status,
        "provider_status": batch.provider_status,
        "item_count": batch.item_count,
        "request_counts": counts_json(batch.counts),
        "created_at": rfc3339(batch.created_at),
        "submitted_at": _time(batch.submitted_at),
        "last_polled_at": _time(batch.last_polled_at),
        "next_poll_at": _time(batch.next_poll_at),
        "ended_at": _time(batch.ended_at),
        "ingested_at": _time(batch.ingested_at),
        "not_found_since": _time(batch.not_found_since),
        "error": batch.error,
        "create_response": _verbatim(batch.create_response),
        "latest_polling_response": _verbatim(batch.latest_polling_response),
    }


def unresolved_json(batch: ProviderBatch) -> JsonObject:
    """A provider batch with what a person needs to decide on it."""
    return provider_batch_json(batch) | {
        "job_id": batch.job_id,
        "nonce": batch.nonce,
        "attempt": batch.attempt,
        "intent_at": _time(batch.intent_at),
    }


def item_json(job: Job, item: Item) -> JsonObject:
    return {
        "id": item_id(job, item.index),
        "object": "item",
        "index": item.index,
        "custom_id": item.custom_id,
        "status": item.status,
        "round": item.round,
        "provider_batch_id": item.provider_batch_id,
        "agent_id": item.agent_id,
        "usage": _usage(item.usage),
        "error": item.error,
    }


def item_id(job: Job, index: int) -> str:
    """Items have no id of their own: it is made of the job's and the position."""
    return f"item-{job.id.removeprefix('job-')}-{index}"


def delivery_json(delivery: Delivery) -> JsonObject:
    return {
        "id": delivery.id,
        "object": "delivery",
        "job_id": delivery.job_id,
        "type": delivery.type,
        "url": delivery.url,
        "status": delivery.status,
        "created_at": rfc3339(delivery.created_at),
        "next_attempt_at": _time(delivery.next_attempt_at),
        "attempts": [_attempt(attempt) for attempt in delivery.attempts],
    }


def _attempt(attempt: Attempt) -> JsonObject:
    return attrs.asdict(attempt) | {"at": rfc3339(attempt.at)}


def key_json(key: ApiKey) -> JsonObject:
    shown = {**attrs.asdict(key), "object": "key"}
    times = {name: _time(getattr(key, name)) for name in ("created_at", "expires_at", "last_used_at")}
    return shown | times


def user_json(user: User) -> JsonObject:
    return {**attrs.asdict(user), "object": "user", "created_at": rfc3339(user.created_at)}


def scheduler_json(instance: InstanceStatus, found: Overview, available: Iterable[str]) -> JsonObject:
    """The server as an operator sees it. A provider that was not used yet shows as active."""
    states = {name: {"name": name, "state": "active", "reason": None, "retry_at": None} for name in sorted(available)}
    states |= {state.name: attrs.asdict(state) | {"retry_at": _time(state.retry_at)} for state in found.providers}
    return {
        "is_leader": instance.is_leader,
        "leader": _leader(found.leader),
        "refusal": instance.refusal,
        "polling_enabled": instance.polling_enabled and found.polling,
        "last_cycle": found.last_cycle,
        "next_tick_at": _time(instance.next_tick_at),
        "open_provider_batches": sum(found.open_batches.values()),
        "open_provider_batches_by_status": dict(found.open_batches),
        "oldest_next_poll_at": _time(found.oldest_next_poll_at),
        "background_tasks": instance.background_tasks,
        "writer_queue": instance.writer_queue,
        "deliveries_pending": found.deliveries_pending,
        "providers": list(states.values()),
    }


def _leader(leader: tuple[str, int, datetime] | None) -> JsonObject | None:
    if leader is None:
        return None
    instance_id, epoch, acquired_at = leader
    return {"instance_id": instance_id, "epoch": epoch, "acquired_at": rfc3339(acquired_at)}


def counts_json(counts: Counts) -> JsonObject:
    return {"total": counts.total, **attrs.asdict(counts)}


def _usage(usage: Usage | None) -> JsonObject | None:
    return None if usage is None else msgspec.structs.asdict(usage)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _verbatim(text: bytes | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text)

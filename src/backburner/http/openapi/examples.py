"""One plausible object of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from backburner.http.openapi import file_schemas as of_files
from backburner.http.openapi import job_schemas as of_jobs
from backburner.http.openapi import operator_schemas as of_operators
from backburner.http.openapi import run_schemas as of_runs

_UUID = "01920000-0000-7000-8000-000000000000"
_AT = "2026-01-31T12:00:00Z"

_COUNTS = {"total": 3, "processing": 1, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0}
_USAGE = {"input_tokens": 30, "output_tokens": 60, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}

_JOB = {
    "id": f"job-{_UUID}",
    "object": "job",
    "job_type": "batch",
    "status": "running",
    "stop_reason": None,
    "background": True,
    "created_at": _AT,
    "updated_at": _AT,
    "started_at": _AT,
    "completed_at": None,
    "cancel_requested_at": None,
    "deadline_at": None,
    "user_id": f"user-{_UUID}",
    "organization_id": f"org-{_UUID}",
    "agent_id": None,
    "agent": None,
    "handler": None,
    "priority": 0,
    "retry_of": None,
    "metadata": {"project": "novels"},
    "request_config": {},
    "input": None,
    "result": None,
    "error": None,
    "hold": None,
    "callback_url": "https://example.com/hooks",
    "callback_sent_at": None,
    "callback_status_code": None,
    "callback_error": None,
    "ttft_ns": None,
    "total_duration_ns": None,
    "request_counts": _COUNTS,
    "usage": _USAGE,
    "provider_batches": {"total": 1, "ended": 0, "ingested": 0},
}
_PROVIDER_BATCH = {
    "id": f"batch-{_UUID}",
    "object": "provider_batch",
    "provider": "anthropic",
    "provider_batch_id": "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d",
    "round": 1,
    "status": "submitted",
    "provider_status": "in_progress",
    "item_count": 3,
    "request_counts": _COUNTS,
    "created_at": _AT,
    "submitted_at": _AT,
    "last_polled_at": _AT,
    "next_poll_at": _AT,
    "ended_at": None,
    "ingested_at": None,
    "not_found_since": None,
    "error": None,
    "create_response": None,
    "latest_polling_response": None,
}
_ITEM = {
    "id": f"item-{_UUID}-0",
    "object": "item",
    "index": 0,
    "custom_id": "chapter-1",
    "status": "succeeded",
    "round": 1,
    "provider_batch_id": f"batch-{_UUID}",
    "agent_id": None,
    "usage": _USAGE,
    "error": None,
}
_DELIVERY = {
    "id": f"delivery-{_UUID}",
    "object": "delivery",
    "job_id": f"job-{_UUID}",
    "type": "job.completed",
    "url": "https://example.com/hooks",
    "status": "delivered",
    "created_at": _AT,
    "next_attempt_at": None,
    "attempts": [{"number": 1, "at": _AT, "status_code": 200, "error": None, "duration_ms": 84}],
}
_RUN = {
    "id": f"run-{_UUID}-0",
    "object": "run",
    "job_id": f"job-{_UUID}",
    "item_id": f"item-{_UUID}-0",
    "agent_id": None,
    "status": "completed",
    "stop_reason": "end_turn",
    "rounds": 1,
    "usage": _USAGE,
    "created_at": _AT,
    "completed_at": _AT,
    "metadata": {},
}
_STEP: dict[str, Any] = {
    "id": f"step-{_UUID}-0-1",
    "object": "step",
    "job_id": f"job-{_UUID}",
    "item_id": f"item-{_UUID}-0",
    "run_id": f"run-{_UUID}-0",
    "custom_id": "chapter-1",
    "agent_id": None,
    "round": 1,
    "status": "succeeded",
    "stop_reason": "end_turn",
    "model": "claude-haiku-4-5",
    "usage": _USAGE,
    "cost_usd": None,
    "tool_calls": [],
    "created_at": _AT,
    "completed_at": _AT,
}
_MESSAGE = {
    "id": f"message-{_UUID}-0-1-1",
    "object": "message",
    "job_id": f"job-{_UUID}",
    "item_id": f"item-{_UUID}-0",
    "step_id": f"step-{_UUID}-0-1",
    "round": 1,
    "role": "assistant",
    "content": [{"type": "text", "text": "Chapter 1 introduces …"}],
    "created_at": _AT,
}
_KEY = {
    "id": f"key-{_UUID}",
    "object": "key",
    "prefix": "bb_Qm7xT2pK",
    "scopes": ["read", "write"],
    "user_id": f"user-{_UUID}",
    "organization_id": f"org-{_UUID}",
    "name": "nightly",
    "created_at": _AT,
    "expires_at": None,
    "last_used_at": _AT,
}
_USER = {
    "id": f"user-{_UUID}",
    "object": "user",
    "organization_id": f"org-{_UUID}",
    "name": "ada",
    "created_at": _AT,
}
_ORGANIZATION = {"id": f"org-{_UUID}", "object": "organization", "name": "acme", "created_at": _AT}
_AUDIT_ENTRY = {
    "id": f"audit-{_UUID}",
    "object": "audit_entry",
    "at": _AT,
    "organization_id": f"org-{_UUID}",
    "user_id": f"user-{_UUID}",
    "key_id": f"key-{_UUID}",
    "action": "job.cancel",
    "object_type": "job",
    "object_id": f"job-{_UUID}",
    "address": "192.0.2.7",
    "request_id": "req_0192aa3bd4c07c5e9f0a1b2c3d4e5f60",
    "detail": None,
}
_SCHEDULER = {
    "is_leader": True,
    "leader": {"instance_id": "web-1:4711", "epoch": 7, "acquired_at": _AT},
    "refusal": None,
    "polling_enabled": True,
    "last_cycle": {"total_batches": 1, "running_count": 1, "completed_count": 0},
    "next_tick_at": _AT,
    "open_provider_batches": 1,
    "open_provider_batches_by_status": {"submitted": 1},
    "oldest_next_poll_at": _AT,
    "background_tasks": 0,
    "writer_queue": 0,
    "deliveries_pending": 0,
    "providers": [{"name": "anthropic", "state": "active", "reason": None, "retry_at": None}],
    "queue": {"waiting": 3, "claimed": 2, "oldest_at": _AT},
    "handlers": [
        {
            "name": "resize",
            "executor": "thread",
            "running": 2,
            "succeeded": 40,
            "failed": 1,
            "ended": 0,
            "state": "active",
        }
    ],
    "places": {"thread": {"total": 16, "taken": 2, "abandoned": 0}},
    "process": {
        "loop_lag_seconds": 0.012,
        "loop_blocked": 0,
        "loop_blocked_by": None,
        "cpu_share": 0.2,
        "memory_bytes": 120_000_000,
    },
    "warnings": [],
}
_UNRESOLVED = {
    **_PROVIDER_BATCH,
    "provider_batch_id": None,
    "status": "unknown",
    "job_id": f"job-{_UUID}",
    "nonce": "k3v9q2",
    "attempt": 1,
    "intent_at": _AT,
}

_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_PART = {"number": 1, "bytes": 4_194_304, "sha256": _SHA256}
_FILE = {
    "id": f"file-{_UUID}",
    "object": "file",
    "name": "requests.jsonl",
    "status": "uploading",
    "bytes": 4_194_304,
    "expected_bytes": 5_000_000,
    "sha256": None,
    "parts": {"total": 1},
    "user_id": f"user-{_UUID}",
    "organization_id": f"org-{_UUID}",
    "created_at": _AT,
    "updated_at": _AT,
    "completed_at": None,
    "expires_at": _AT,
}

EXAMPLES: Mapping[Any, Any] = {
    of_files.File: _FILE,
    of_files.FileWithParts: {**_FILE, "parts": {"total": 1, "data": [_PART]}},
    of_files.Part: _PART,
    of_jobs.Job: _JOB,
    of_jobs.Batch: {**_JOB, "provider_batches": {**_JOB["provider_batches"], "data": [_PROVIDER_BATCH]}},  # type: ignore[dict-item]
    of_jobs.DryRun: {"object": "dry_run", "valid": True, "provider": "anthropic", "request_counts": _COUNTS},
    of_jobs.Item: _ITEM,
    of_jobs.Delivery: _DELIVERY,
    of_runs.Run: _RUN,
    of_runs.Step: _STEP,
    of_runs.Message: _MESSAGE,
    of_operators.Key: _KEY,
    of_operators.KeyWithSecret: {**_KEY, "secret": "bb_Qm7xT2pK_…"},
    of_operators.User: _USER,
    of_operators.Organization: _ORGANIZATION,
    of_operators.AuditEntry: _AUDIT_ENTRY,
    of_operators.WebhookSecret: {"secret": "whsec_…"},
    of_operators.SchedulerStatus: _SCHEDULER,
    of_operators.UnresolvedBatch: _UNRESOLVED,
    of_operators.AbandonedBatch: {
        "id": f"batch-{_UUID}", "object": "provider_batch", "status": "closed", "ended_job_id": f"job-{_UUID}",
    },
    of_operators.DecidedBatches: {
        "object": "provider", "name": "sandbox", "batches": 3, "moved_to": "anthropic", "ended_job_ids": [],
        "has_more": False,
    },
    of_operators.Health: {"status": "ok", "version": "0.1.0", "warnings": []},
}  # fmt: skip


def example_of(type_: Any) -> Any:
    """An example of a type; of a list, one with one element. None when there is none."""
    element = _element_of(type_)
    if element is None:
        return EXAMPLES.get(type_) if isinstance(type_, type) else None
    one = EXAMPLES.get(element)
    return None if one is None else {"data": [one], "has_more": False, "first_id": one["id"], "last_id": one["id"]}


def _element_of(type_: Any) -> Any:
    """What a list is a list of; None for what is no list."""
    if not (isinstance(type_, type) and issubclass(type_, of_jobs.Listed)):
        return None
    fields = {field.name: field.type for field in msgspec.structs.fields(type_)}
    return fields["data"].__args__[0]

"""Words that many operations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backburner.files import MAX_PARTS
from backburner.http.conversation_ids import PATTERNS, UUID

ABOUT = """\
A durable, self-hosted server for LLM work that can wait.

The routes below `/v1` also answer under `/api`. Every route answers `HEAD` where it answers `GET`, and `OPTIONS`.
Unknown query parameters and unknown fields are refused with 422. Times are RFC 3339 in UTC; durations carry their unit
in their name. Every answer has a `request-id`. Errors have one shape; their codes are listed in `docs/api.md`.

The surfaces under `/anthropic` and `/letta` keep the contracts of those APIs, which their owners document."""

TAGS: Mapping[str, str] = {
    "Batches": "Many LLM requests at once, at the provider's batch price.",
    "Jobs": "What was submitted: watch, cancel, delete.",
    "Runs": "What became of single requests: conversations, steps, messages.",
    "Files": "What `ingest_file` makes batches of, uploaded in parts.",
    "Events": "Changes as they happen.",
    "Webhooks": "Calling back, and proving that it was us.",
    "Operations": "For who runs the server.",
    "Accounts": "Organizations, users and keys.",
    "Health": "For probes and dashboards.",
}

_EXAMPLE = "01920000-0000-7000-8000-000000000000"


def _part(kind: str, about: str, *, ending: str = "") -> Mapping[str, Any]:
    pattern = PATTERNS.get(kind, UUID)
    schema = {"type": "string", "pattern": f"^{kind}-{pattern}$"}
    return {"description": about, "schema": schema, "example": f"{kind}-{_EXAMPLE}{ending}"}


PATH_PARTS: Mapping[str, Mapping[str, Any]] = {
    "job_id": _part("job", "The job's id."),
    "delivery_id": _part("delivery", "The delivery's id."),
    "key_id": _part("key", "The key's id."),
    "batch_id": _part("batch", "The provider batch's id, as the job shows it."),
    "run_id": _part("run", "The run's id.", ending="-0"),
    "step_id": _part("step", "The step's id.", ending="-0-1"),
    "file_id": _part("file", "The file's id."),
    "provider": {
        "description": "The name of a provider that is not configured.",
        "schema": {"type": "string", "minLength": 1},
        "example": "sandbox",
    },
    "number": {
        "description": "Which part, from 1.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PARTS},
        "example": 1,
    },
}

IDEMPOTENCY_KEY: Mapping[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes a repeat safe: the same key with the same request gets the stored answer, for 72 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}

REPLAYED: Mapping[str, Any] = {
    "idempotent-replayed": {
        "description": "`true`: this is the stored answer to an earlier request with the same `Idempotency-Key`.",
        "schema": {"type": "string"},
    }
}

#: What query parameters mean, wherever they stand.
PARAMETERS: Mapping[str, str] = {
    "limit": "How many, at most.",
    "after": "An id of the list, of results a `custom_id`: what comes behind it in the chosen order.",
    "before": "An id of the list: what comes before it, nearest to it.",
    "order": "By time of creation, for items by position: `desc` is newest first.",
    "status": "Only these; may be given several times.",
    "active": "Only jobs that have not ended.",
    "job_type": "Only jobs of this type.",
    "agent_id": "Only those of this agent.",
    "created_after": "Only what was created after this time.",
    "created_before": "Only what was created before this time.",
    "metadata.": "Only jobs whose metadata has this text, number or boolean under this key; may be given for several.",
    "organization_id": "Only those of this organization.",
    "user_id": "Only those of this user.",
    "custom_id": "Only the item with this id.",
    "wait": "Seconds to hold the answer, at most: until the job changes, or what `until` says.",
    "until": "What `wait` waits for: the job's next change, or its end.",
    "dry_run": "Check everything and keep nothing.",
    "provider": "Who runs the batch. NDJSON only.",
    "metadata": "A JSON object of at most 16 KB. NDJSON only.",
    "request_config": "A JSON object that shapes what messages are shown. NDJSON only.",
    "callback_url": "Where the webhook goes. NDJSON only.",
    "priority": "Higher goes first. NDJSON only.",
    "deadline_seconds": "When the job expires, counted from now. NDJSON only.",
    "chunk_items": "Items in one provider batch, at most. NDJSON only.",
    "agent": "A JSON object: every request is then the beginning of an agent's conversation. NDJSON only.",
    "action": "Only what was done so.",
    "object_id": "Only what was done to this object.",
    "key_id": "Only what was done with this key.",
    "item": "Only those of the item with this custom id.",
    "sha256": "What the bytes must have; nothing is stored when they do not.",
}

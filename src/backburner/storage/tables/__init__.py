"""The schema. Integer keys join; public ids are what the outside sees."""

from __future__ import annotations

from backburner.storage.tables.agent import conversations, is_to_make, is_unfinished, tool_calls, turns
from backburner.storage.tables.batch import is_open, is_undecided, provider_batches, results, step_feedback
from backburner.storage.tables.calls import audit_log, idempotency_keys
from backburner.storage.tables.delivery import attempts, deliveries, is_owed
from backburner.storage.tables.job import CONDEMNED, is_active, items, job_metadata, jobs, loose_keys, requests
from backburner.storage.tables.parts import metadata
from backburner.storage.tables.people import api_keys, organizations, quota_use, users, webhook_secrets
from backburner.storage.tables.queue import children, work
from backburner.storage.tables.sandbox import sandbox_batches, sandbox_pages
from backburner.storage.tables.server import leader_epoch, leader_heartbeat, leader_history, providers, server_facts
from backburner.storage.tables.upload import file_parts, files

__all__ = [
    "CONDEMNED",
    "api_keys",
    "attempts",
    "audit_log",
    "children",
    "conversations",
    "deliveries",
    "file_parts",
    "files",
    "idempotency_keys",
    "is_active",
    "is_open",
    "is_owed",
    "is_to_make",
    "is_undecided",
    "is_unfinished",
    "items",
    "job_metadata",
    "jobs",
    "leader_epoch",
    "leader_heartbeat",
    "leader_history",
    "loose_keys",
    "metadata",
    "organizations",
    "provider_batches",
    "providers",
    "quota_use",
    "requests",
    "results",
    "sandbox_batches",
    "sandbox_pages",
    "server_facts",
    "step_feedback",
    "tool_calls",
    "turns",
    "users",
    "webhook_secrets",
    "work",
]

"""Rows become the domain's records here."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backburner.division import Division
from backburner.holds import Hold
from backburner.model import BatchTotals, Counts, Job, ProviderBatch, Usage
from backburner.states import BATCH_FINAL, OUTCOMES
from backburner.storage.tables import jobs, organizations, provider_batches, users

JOB_COLUMNS = (jobs, organizations.c.public_id.label("organization"), users.c.public_id.label("user"))
JOB_SOURCE = jobs.join(organizations, organizations.c.id == jobs.c.organization_id).join(
    users, users.c.id == jobs.c.user_id
)
BATCH_COLUMNS = (
    provider_batches,
    jobs.c.public_id.label("job_public_id"),
    jobs.c.stopping,
    jobs.c.agent.is_not(None).label("of_agents"),
    jobs.c.provider_options,
)
BATCH_SOURCE = provider_batches.join(jobs, jobs.c.id == provider_batches.c.job_id)


def select_jobs() -> sa.Select[Any]:
    """Every column that `job_of` needs."""
    return sa.select(*JOB_COLUMNS).select_from(JOB_SOURCE)


def select_batches() -> sa.Select[Any]:
    """Every column that `batch_of` needs."""
    return sa.select(*BATCH_COLUMNS).select_from(BATCH_SOURCE)


def counts_of(row: Any, total: int) -> Counts:
    """Counts of a row that has a column for each outcome; what has none yet is processing."""
    done = {outcome.value: getattr(row, outcome.value) for outcome in OUTCOMES}
    return Counts(processing=total - sum(done.values()), **done)


def usage_of(row: Any) -> Usage:
    """The four token counters of a row."""
    return Usage(
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cache_creation_input_tokens=row.cache_creation_input_tokens,
        cache_read_input_tokens=row.cache_read_input_tokens,
    )


_JOB_FIELDS = (
    "job_type", "status", "stop_reason", "stopping", "background", "provider", "agent_id", "agent", "handler",
    "priority", "retry_of", "metadata", "request_config", "input", "result", "error", "callback_url",
    "callback_sent_at", "callback_status_code", "callback_error", "ttft_ns", "total_duration_ns", "created_at",
    "updated_at", "started_at", "completed_at", "cancel_requested_at", "deadline_at", "version",
)  # fmt: skip

_BATCH_FIELDS = (
    "provider", "round", "status", "item_count", "byte_size", "nonce", "attempt", "provider_batch_id",
    "provider_status", "fill", "poll_failures", "reads", "cancel_sent_at", "created_at", "intent_at", "submitted_at",
    "last_polled_at", "next_poll_at", "ended_at", "ingested_at", "error", "provider_created_at", "not_found_since",
)  # fmt: skip


def job_of(row: Any) -> Job:
    """A job from a row of `select_jobs`."""
    is_batch = row.items_total is not None
    return Job(
        key=row.id,
        id=row.public_id,
        organization_id=row.organization,
        user_id=row.user,
        counts=counts_of(row, row.items_total) if is_batch else None,
        usage=usage_of(row) if is_batch else None,
        batches=BatchTotals(total=row.batches_total, ended=row.batches_ended, ingested=row.batches_final)
        if is_batch
        else None,
        hold=None if row.status.is_terminal else Hold.of_json(row.hold),
        **{name: getattr(row, name) for name in _JOB_FIELDS},
    )


def batch_of(row: Any) -> ProviderBatch:
    """A provider batch from a row of `select_batches`."""
    return ProviderBatch(
        key=row.id,
        id=row.public_id,
        job_key=row.job_id,
        job_id=row.job_public_id,
        organization_key=row.organization_id,
        first_index=row.first_idx,
        last_index=row.last_idx,
        counts=batch_counts(row),
        create_response=_bytes(row.create_response),
        latest_polling_response=_bytes(row.latest_polling_response),
        job_stopping=row.stopping,
        of_agents=row.of_agents,
        division=Division.of(row.division),
        options=row.provider_options or {},
        **{name: getattr(row, name) for name in _BATCH_FIELDS},
    )


def batch_counts(row: Any) -> Counts:
    """Counts of a provider batch, what a closed one's remaining items became included."""
    counts = counts_of(row, row.item_count)
    if row.fill is None or row.status not in BATCH_FINAL:
        return counts
    done = {outcome.value: getattr(counts, outcome.value) for outcome in OUTCOMES}
    done[row.fill.value] += counts.processing
    return Counts(**done)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()

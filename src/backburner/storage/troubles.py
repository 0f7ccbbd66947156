"""What needs a person, or will if it goes on: found by looking at a database, without a server."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.states import BatchStatus, DeliveryStatus
from backburner.storage.absent import absent_providers
from backburner.storage.batches import POLLED
from backburner.storage.facts import is_polling, provider_states
from backburner.storage.statements import sorting
from backburner.storage.tables import deliveries, is_open, is_owed, is_undecided, jobs, provider_batches

LATE = timedelta(minutes=10)  # past due for that long: nobody is at work
DENIED = timedelta(minutes=2)  # answered with 404 for that long; just after `create` replicas lag behind
SOUGHT = timedelta(minutes=15)  # looked for at the provider for that long
FAILED_LATELY = timedelta(days=7)
NAMED = 20  # of each kind


@attrs.frozen(kw_only=True)
class Trouble:
    """One thing. `kind` says which; the facts are public ids and what is known of them."""

    kind: str
    subject: str
    facts: dict[str, Any] = attrs.field(factory=dict)


def troubles(tx: sa.Connection, *, now: datetime, configured: Collection[str] | None = None) -> list[Trouble]:
    """Everything that is found, up to NAMED of each kind, the most serious first.

    `configured`: the providers that there are; None when that is not known.
    """
    return [
        *_accounts(tx, configured),
        *_switched_off(tx),
        *([] if configured is None else _absent(tx, configured)),
        *_forgotten(tx),
        *_undecided(tx, now),
        *_denied(tx, now),
        *_overdue(tx, now),
        *_late_deliveries(tx, now),
        *_failed_deliveries(tx, now),
    ]


def _accounts(tx: sa.Connection, configured: Collection[str] | None) -> Iterator[Trouble]:
    """With a provider that is not configured any more nothing is tried, whatever its account was like."""
    for found in provider_states(tx):
        if found.state == "paused" and (configured is None or found.name in configured):
            facts = {"reason": found.reason, "retry_at": found.retry_at}
            yield Trouble(kind="paused_account", subject=found.name, facts=facts)


def _switched_off(tx: sa.Connection) -> Iterator[Trouble]:
    if not is_polling(tx):
        yield Trouble(kind="polling_paused", subject="polling")


def _absent(tx: sa.Connection, configured: Collection[str]) -> Iterator[Trouble]:
    for name, batches in absent_providers(tx, configured).items():
        facts = {"batches": batches, "configured": sorted(configured)}
        yield Trouble(kind="absent_provider", subject=name, facts=facts)


def _batches(tx: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Iterator[Any]:
    found = (
        sa.select(provider_batches, jobs.c.public_id.label("job"))
        .join(jobs, jobs.c.id == provider_batches.c.job_id)
        .where(*conditions)
    )
    yield from tx.execute(found.order_by(sorting(provider_batches.c.id)).limit(NAMED))


def _forgotten(tx: sa.Connection) -> Iterator[Trouble]:
    for row in _batches(tx, is_open(), provider_batches.c.next_poll_at.is_(None)):
        yield Trouble(kind="forgotten_batch", subject=row.public_id, facts={"job": row.job, "status": row.status.value})


def _undecided(tx: sa.Connection, now: datetime) -> Iterator[Trouble]:
    quarantined = provider_batches.c.status == BatchStatus.QUARANTINED
    sought = sa.and_(provider_batches.c.status == BatchStatus.UNKNOWN, provider_batches.c.intent_at <= now - SOUGHT)
    for row in _batches(tx, is_undecided(), sa.or_(quarantined, sought)):
        candidates = row.error.get("candidates") if isinstance(row.error, dict) else None
        facts = {
            "job": row.job,
            "nonce": row.nonce,
            "items": row.item_count,
            "since": row.intent_at,
            "candidates": candidates if isinstance(candidates, list) else [],
        }
        kind = "quarantined_batch" if row.status is BatchStatus.QUARANTINED else "unknown_batch"
        yield Trouble(kind=kind, subject=row.public_id, facts=facts)


def _denied(tx: sa.Connection, now: datetime) -> Iterator[Trouble]:
    at_provider = provider_batches.c.status.in_(POLLED)
    for row in _batches(tx, is_open(), at_provider, provider_batches.c.not_found_since <= now - DENIED):
        facts = {"job": row.job, "theirs": row.provider_batch_id, "since": row.not_found_since, "items": row.item_count}
        yield Trouble(kind="denied_batch", subject=row.public_id, facts=facts)


def _overdue(tx: sa.Connection, now: datetime) -> Iterator[Trouble]:
    """What is planned may wait for its turn; what is at the provider is always looked at."""
    watched = provider_batches.c.status.in_([*POLLED, BatchStatus.SUBMITTING, BatchStatus.UNKNOWN])
    for row in _batches(tx, is_open(), watched, provider_batches.c.next_poll_at <= now - LATE):
        facts = {"job": row.job, "status": row.status.value, "due": row.next_poll_at, "error": row.error}
        yield Trouble(kind="overdue_batch", subject=row.public_id, facts=facts)


def _owed(tx: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Iterator[Any]:
    found = (
        sa.select(deliveries, jobs.c.public_id.label("job"))
        .join(jobs, jobs.c.id == deliveries.c.job_id)
        .where(*conditions)
    )
    yield from tx.execute(found.order_by(sorting(deliveries.c.id).desc()).limit(NAMED))


def _late_deliveries(tx: sa.Connection, now: datetime) -> Iterator[Trouble]:
    for row in _owed(tx, is_owed(), deliveries.c.next_attempt_at <= now - LATE):
        facts = {"job": row.job, "due": row.next_attempt_at, "attempts": row.number}
        yield Trouble(kind="late_delivery", subject=row.public_id, facts=facts)


def _failed_deliveries(tx: sa.Connection, now: datetime) -> Iterator[Trouble]:
    given_up = deliveries.c.status.in_([DeliveryStatus.FAILED, DeliveryStatus.DISABLED])
    for row in _owed(tx, given_up, deliveries.c.created_at > now - FAILED_LATELY):
        facts = {"job": row.job, "status": row.status.value, "attempts": row.number}
        yield Trouble(kind="failed_delivery", subject=row.public_id, facts=facts)

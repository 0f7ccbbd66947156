"""What could be submitted next, and how much waits at the provider already."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backburner.states import BATCH_IN_FLIGHT, BatchStatus
from backburner.storage.tables import is_open, is_undecided, jobs, provider_batches
from backburner.submission import HELD_BACK, Candidate


def submittable(tx: sa.Connection, *, now: datetime) -> list[Candidate]:
    """Of each organization the planned batch that is to go first: of the most urgent job, oldest first.

    None of a size of which one has lately come to be looked for at the provider (`holds_back`): of two equal batches
    with unknown outcomes, one could be taken for the other. What waits for a person holds up nothing.
    """
    rows = tx.execute(_SUBMITTABLE, {"now": now, "since": now - HELD_BACK, "until": now + HELD_BACK})
    return [
        Candidate(
            key=row.id,
            organization_key=row.organization_id,
            provider=row.provider,
            item_count=row.item_count,
        )
        for row in rows
    ]


def _submittable() -> sa.Select[Any]:
    other = provider_batches.alias("other")
    sought = sa.select(other.c.id).where(
        is_undecided(other),
        other.c.status == BatchStatus.UNKNOWN,
        other.c.provider == provider_batches.c.provider,
        other.c.item_count == provider_batches.c.item_count,
        other.c.intent_at.between(sa.bindparam("since"), sa.bindparam("until")),
    )
    rank = sa.func.row_number().over(
        partition_by=(provider_batches.c.provider, provider_batches.c.organization_id),
        order_by=(jobs.c.priority.desc(), provider_batches.c.id),
    )
    waiting = (
        sa.select(
            provider_batches.c.id,
            provider_batches.c.organization_id,
            provider_batches.c.provider,
            provider_batches.c.item_count,
            rank.label("rank"),
        )
        .select_from(provider_batches.join(jobs, jobs.c.id == provider_batches.c.job_id))
        .where(
            is_open(),
            provider_batches.c.status == BatchStatus.PLANNED,
            provider_batches.c.next_poll_at <= sa.bindparam("now"),
            sa.not_(sought.exists()),
        )
        .subquery()
    )
    return sa.select(waiting).where(waiting.c.rank == 1).order_by(waiting.c.id)


_SUBMITTABLE = _submittable()


def queued_items(tx: sa.Connection, provider: str) -> Mapping[int, int]:
    """How many items each organization has, or may have, waiting at a provider.

    What waits for a person does not count: it may be there for weeks, or never have been there.
    """
    return {int(organization): int(count) for organization, count in tx.execute(_QUEUED, {"provider_name": provider})}


_QUEUED = (
    sa.select(provider_batches.c.organization_id, sa.func.sum(provider_batches.c.item_count))
    .where(
        is_open(),
        provider_batches.c.provider == sa.bindparam("provider_name"),
        provider_batches.c.status.in_(sorted(BATCH_IN_FLIGHT - {BatchStatus.ENDED, BatchStatus.QUARANTINED})),
    )
    .group_by(provider_batches.c.organization_id)
)

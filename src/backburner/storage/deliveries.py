"""Webhooks owed, claimed, attempted: the outbox."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backburner.commands import DeliveryAttempted
from backburner.errors import NotFound
from backburner.model import Attempt, Delivery, DueDelivery
from backburner.states import DeliveryStatus
from backburner.storage.accounts import signing_secrets
from backburner.storage.bulk import insert_many
from backburner.storage.notifications import announce_work
from backburner.storage.results import job_ids_of
from backburner.storage.tables import attempts, deliveries, is_owed, jobs


def claim_deliveries(
    tx: sa.Connection,
    *,
    now: datetime,
    lease_until: datetime,
    limit: int,
    busy_receivers: Collection[str] = (),
    busy_organizations: Collection[int] = (),
) -> list[DueDelivery]:
    """Claim up to `limit` due deliveries until `lease_until`; what is not recorded by then is due again."""
    busy = {"receivers": sorted(busy_receivers), "organizations": sorted(busy_organizations)}
    rows = list(tx.execute(_DUE, {"now": now, "most": limit, **busy}))
    if not rows:
        return []
    claimed = [row.id for row in rows]
    tx.execute(sa.update(deliveries).where(deliveries.c.id.in_(claimed)).values(next_attempt_at=lease_until))
    secrets = {key: signing_secrets(tx, key, now=now) for key in {row.organization_id for row in rows}}
    return [_due_delivery(row, secrets[row.organization_id]) for row in rows]


def _due_delivery(row: Any, secrets: tuple[str, ...]) -> DueDelivery:
    return DueDelivery(
        key=row.id,
        id=row.public_id,
        organization_key=row.organization_id,
        url=row.url,
        receiver=row.receiver,
        body=row.body.encode(),
        number=row.number + 1,
        scheduled=row.scheduled + (0 if row.by_hand else 1),
        secrets=secrets,
    )


def next_delivery_at(
    tx: sa.Connection, *, busy_receivers: Collection[str] = (), busy_organizations: Collection[int] = ()
) -> datetime | None:
    """When the next delivery is due that could be made now."""
    busy = {"receivers": sorted(busy_receivers), "organizations": sorted(busy_organizations)}
    return tx.execute(_NEXT, busy).scalar()


_COULD_BE_MADE = (
    is_owed(),
    deliveries.c.receiver.not_in(sa.bindparam("receivers", expanding=True)),
    deliveries.c.organization_id.not_in(sa.bindparam("organizations", expanding=True)),
)
_NEXT = sa.select(sa.func.min(deliveries.c.next_attempt_at)).where(*_COULD_BE_MADE)
_DUE = (
    sa.select(deliveries)
    .where(*_COULD_BE_MADE, deliveries.c.next_attempt_at <= sa.bindparam("now"))
    .order_by(deliveries.c.next_attempt_at, deliveries.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)


def record_attempts(tx: sa.Connection, made: Sequence[DeliveryAttempted]) -> list[str]:
    """Record attempts; one that another instance has recorded meanwhile is dropped. Returns the jobs' ids."""
    job_keys = _jobs_waiting_for(tx, made)
    counting = [attempt for attempt in made if attempt.key in job_keys]
    if counting:
        tx.execute(_ADVANCE, [_advanced(attempt) for attempt in counting])
        tx.execute(_SHOW, [_shown(attempt, job_keys[attempt.key]) for attempt in counting])
    columns = ("delivery_id", "number", "status_code", "error", "duration_ms")
    rows = [(a.key, a.number, a.status_code, a.error, a.duration_ms) for a in made]
    times = [a.at for a in made]
    at = attempts.c.at.type.bind_processor(tx.dialect)
    stamped = [(*row, at(time) if at else time) for row, time in zip(rows, times, strict=True)]
    insert_many(tx, attempts, (*columns, "at"), stamped)
    return job_ids_of(tx, job_keys.values())


def _jobs_waiting_for(tx: sa.Connection, made: Sequence[DeliveryAttempted]) -> dict[int, int]:
    """Keys of the deliveries for which these are the next attempts → keys of their jobs."""
    pending = sa.select(deliveries.c.id, deliveries.c.number, deliveries.c.job_id).where(
        deliveries.c.id.in_([attempt.key for attempt in made]), deliveries.c.status == DeliveryStatus.PENDING
    )
    numbers = {attempt.key: attempt.number for attempt in made}
    rows = tx.execute(pending.order_by(deliveries.c.id).with_for_update())
    return {row.id: row.job_id for row in rows if row.number == numbers[row.id] - 1}


_ADVANCE = (
    sa.update(deliveries)
    .where(deliveries.c.id == sa.bindparam("key"))
    .values(
        number=sa.bindparam("made"),
        scheduled=deliveries.c.scheduled + sa.case((deliveries.c.by_hand, 0), else_=1),
        by_hand=False,
        status=sa.bindparam("outcome"),
        next_attempt_at=sa.bindparam("due"),
    )
)


def _advanced(attempt: DeliveryAttempted) -> dict[str, object]:
    return {
        "key": attempt.key,
        "made": attempt.number,
        "outcome": attempt.status,
        "due": attempt.next_attempt_at,
    }


_SHOW = (
    sa.update(jobs)
    .where(jobs.c.id == sa.bindparam("key"))
    .values(
        callback_sent_at=sa.bindparam("at"),
        callback_status_code=sa.bindparam("answer"),
        callback_error=sa.bindparam("problem"),
        version=jobs.c.version + 1,
    )
)


def _shown(attempt: DeliveryAttempted, job_key: int) -> dict[str, object]:
    return {"key": job_key, "at": attempt.at, "answer": attempt.status_code, "problem": attempt.error}


def deliveries_of(tx: sa.Connection, job_key: int) -> list[Delivery]:
    """A job's deliveries with all their attempts, oldest first."""
    rows = list(tx.execute(sa.select(deliveries).where(deliveries.c.job_id == job_key).order_by(deliveries.c.id)))
    made: dict[int, list[Attempt]] = defaultdict(list)
    logged = sa.select(attempts).where(attempts.c.delivery_id.in_([row.id for row in rows]))
    for row in tx.execute(logged.order_by(attempts.c.delivery_id, attempts.c.number)):
        made[row.delivery_id].append(
            Attempt(
                number=row.number,
                at=row.at,
                status_code=row.status_code,
                error=row.error,
                duration_ms=row.duration_ms,
            )
        )
    return [_delivery(tx, row, tuple(made[row.id])) for row in rows]


def _delivery(tx: sa.Connection, row: Any, made: tuple[Attempt, ...]) -> Delivery:
    job_id = tx.execute(sa.select(jobs.c.public_id).where(jobs.c.id == row.job_id)).scalar_one()
    return Delivery(
        id=row.public_id,
        job_id=job_id,
        type=row.type,
        url=row.url,
        status=row.status,
        created_at=row.created_at,
        next_attempt_at=row.next_attempt_at if row.status is DeliveryStatus.PENDING else None,
        attempts=made,
    )


def redeliver(tx: sa.Connection, job_key: int, public_id: str, *, now: datetime) -> Delivery:
    """Have a delivery made again, now, whatever came of it before. Raises NotFound."""
    updated = tx.execute(
        sa.update(deliveries)
        .where(deliveries.c.job_id == job_key, deliveries.c.public_id == public_id)
        .values(status=DeliveryStatus.PENDING, by_hand=True, next_attempt_at=now)
    )
    if updated.rowcount == 0:
        raise NotFound("delivery", public_id)
    announce_work(tx)
    return next(delivery for delivery in deliveries_of(tx, job_key) if delivery.id == public_id)


_PENDING = sa.select(sa.func.count()).select_from(deliveries).where(is_owed())


def pending_deliveries(tx: sa.Connection) -> int:
    """How many deliveries are still owed."""
    return tx.execute(_PENDING).scalar_one()

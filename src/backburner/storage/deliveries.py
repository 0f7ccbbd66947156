"""Webhooks owed, claimed, attempted: the outbox."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
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
    """Record attempts; one that another instance has recorded meanwhile is dropped. Returns the jobs' ids.

    What is settled by that goes at once if its job has been deleted.
    """
    found = _deliveries_locked(tx, made)
    counting = [attempt for attempt in made if _is_next(attempt, found)]
    if counting:
        tx.execute(_ADVANCE, [_advanced(attempt) for attempt in counting])
        # It waits for whoever deletes the job now, so that the job is there after this until we are done, or is not.
        tx.execute(_SHOW, [_shown(attempt, found[attempt.key].job_id) for attempt in counting])
    job_ids = _job_ids(tx, {row.job_id for row in found.values()})
    left = _without_deleted(tx, found, job_ids)
    at = attempts.c.at.type.bind_processor(tx.dialect) or _as_it_is
    columns = ("delivery_id", "number", "status_code", "error", "duration_ms", "at")
    rows = [(a.key, a.number, a.status_code, a.error, a.duration_ms, at(a.at)) for a in made if a.key in left]
    insert_many(tx, attempts, columns, rows)
    changed = {found[attempt.key].job_id for attempt in counting}
    return [public_id for key, public_id in sorted(job_ids.items()) if key in changed]


def _as_it_is(value: datetime) -> datetime:
    return value


def _deliveries_locked(tx: sa.Connection, made: Sequence[DeliveryAttempted]) -> dict[int, Any]:
    """By key, those that are still there."""
    keys = [attempt.key for attempt in made]
    found = sa.select(deliveries.c.id, deliveries.c.number, deliveries.c.status, deliveries.c.job_id)
    rows = tx.execute(found.where(deliveries.c.id.in_(keys)).order_by(deliveries.c.id).with_for_update())
    return {row.id: row for row in rows}


def _is_next(attempt: DeliveryAttempted, found: Mapping[int, Any]) -> bool:
    row = found.get(attempt.key)
    return row is not None and row.status is DeliveryStatus.PENDING and row.number == attempt.number - 1


def _job_ids(tx: sa.Connection, keys: Collection[int]) -> dict[int, str]:
    """By key, of those that exist."""
    rows = tx.execute(sa.select(jobs.c.id, jobs.c.public_id).where(jobs.c.id.in_(sorted(keys))))
    return {row.id: row.public_id for row in rows}


def _without_deleted(tx: sa.Connection, found: Mapping[int, Any], job_ids: Mapping[int, str]) -> Collection[int]:
    """Keys of the deliveries that are left once those have gone that are settled and whose job is deleted."""
    deleted = {row.job_id for row in found.values()} - job_ids.keys()
    if not deleted:
        return found.keys()
    delete_settled(tx, deleted)
    return set(tx.execute(sa.select(deliveries.c.id).where(deliveries.c.id.in_(sorted(found)))).scalars())


def delete_settled(tx: sa.Connection, job_keys: Collection[int]) -> None:
    """Delete the deliveries of deleted jobs, with their attempts, that are no longer owed; the rest is still made.

    Their bodies hold the jobs' metadata. The caller has locked the jobs, or knows that they are gone.
    """
    over = deliveries.c.status != DeliveryStatus.PENDING
    tx.execute(sa.delete(deliveries).where(deliveries.c.job_id.in_(sorted(job_keys)), over))


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

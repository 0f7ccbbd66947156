"""Making a job out of many items: short invisible transactions, then one that makes the job appear."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from backburner.errors import Conflict
from backburner.model import Job, NewItem, NewJob, PlannedBatch, SharedItem
from backburner.states import BatchStatus, JobStatus, JobType
from backburner.storage.bulk import insert_many
from backburner.storage.job_metadata import add_sought
from backburner.storage.jobs import get_job
from backburner.storage.notifications import announce_jobs, announce_work
from backburner.storage.quotas import UNLIMITED, Quotas, take_room
from backburner.storage.statements import bound
from backburner.storage.tables import (
    CONDEMNED,
    conversations,
    items,
    jobs,
    loose_keys,
    provider_batches,
    requests,
    results,
    tool_calls,
    turns,
)

ITEM_COLUMNS = ("job_id", "idx", "custom_id", "request_idx", "size", "agent_id")
LOOKUP = 500  # custom ids in one query

_DRAWN = sa.insert(loose_keys).returning(loose_keys.c.id)
_TAKEN = sa.delete(loose_keys).where(
    loose_keys.c.id == bound("taken", loose_keys.c.id), loose_keys.c.touched_at > CONDEMNED
)


def draw_key(tx: sa.Connection, *, now: datetime) -> int:
    """The key of a job to be. Until `make_job` nothing that is staged under it can be seen."""
    key: int = tx.execute(_DRAWN, {"touched_at": now}).scalar_one()
    return key


def stage_items(
    tx: sa.Connection, key: int, first: int, new: Sequence[NewItem], *, now: datetime
) -> list[tuple[int, int]]:
    """Stage items and their requests at the positions from `first` on.

    Returns the duplicates, in order: (position, position of the item that has the same custom id already).
    """
    rows = [(key, first + n, item.custom_id, first + n, item.size, item.agent_id) for n, item in enumerate(new)]
    inserted = insert_many(tx, items, ITEM_COLUMNS, rows)
    insert_many(
        tx, requests, ("job_id", "idx", "params"), [(key, first + n, item.params) for n, item in enumerate(new)]
    )
    _touch(tx, key, now)
    return [] if inserted == len(new) else _duplicates(tx, key, first, [item.custom_id for item in new])


def stage_shared_items(tx: sa.Connection, key: int, first: int, shared: Sequence[SharedItem], *, now: datetime) -> None:
    """Stage items whose requests are another job's. Their custom ids are known to be unique."""
    insert_many(
        tx,
        items,
        ITEM_COLUMNS,
        [
            (key, first + n, item.custom_id, item.request_index, item.size, item.agent_id)
            for n, item in enumerate(shared)
        ],
    )
    _touch(tx, key, now)


def _touch(tx: sa.Connection, key: int, now: datetime) -> None:
    mine = loose_keys.c.id == key, loose_keys.c.touched_at > CONDEMNED
    if tx.execute(sa.update(loose_keys).where(*mine).values(touched_at=now)).rowcount == 0:
        raise _swept()


def _swept() -> Conflict:
    return Conflict("upload_expired", "The upload took so long that its first part was swept; send it again.")


def _duplicates(tx: sa.Connection, key: int, first: int, custom_ids: Sequence[str]) -> list[tuple[int, int]]:
    known: dict[str, int] = {}
    for start in range(0, len(custom_ids), LOOKUP):
        found = sa.select(items.c.custom_id, items.c.idx).where(
            items.c.job_id == key, items.c.custom_id.in_(custom_ids[start : start + LOOKUP])
        )
        known.update({row.custom_id: row.idx for row in tx.execute(found)})
    positions = ((first + n, known[custom_id]) for n, custom_id in enumerate(custom_ids))
    return [(position, earlier) for position, earlier in positions if position != earlier]


def drop_key(tx: sa.Connection, key: int) -> None:
    """Leave what was staged under `key` to the sweeper, at once."""
    tx.execute(sa.update(loose_keys).where(loose_keys.c.id == key).values(touched_at=CONDEMNED))


def make_job(
    tx: sa.Connection,
    key: int,
    new: NewJob,
    planned: Sequence[PlannedBatch] = (),
    *,
    now: datetime,
    quotas: Quotas = UNLIMITED,
) -> Job:
    """Make the job appear, with its provider batches planned. Returns it.

    Raises Conflict when its items were swept meanwhile or the job that it retries was deleted, and as `take_room`.
    """
    items_total = sum(batch.items for batch in planned)
    take_room(tx, quotas, new.organization_key, items=items_total, size=_size(new, planned), now=now)
    if tx.execute(_TAKEN, {"taken": key}).rowcount == 0:
        raise _swept()
    _hold_shared_requests(tx, new)
    tx.execute(sa.insert(jobs), _job_row(key, new, planned))
    if planned:
        tx.execute(sa.insert(provider_batches), [_planned_row(key, new, batch, now) for batch in planned])
    add_sought(tx, key, new.id, new.organization_key, new.metadata)
    if new.is_work:
        announce_work(tx)
    announce_jobs(tx, [new.id])
    return get_job(tx, new.organization_key, new.id)


def _size(new: NewJob, planned: Sequence[PlannedBatch]) -> int:
    """Bytes of what the job brings: its requests, or its input."""
    if planned:
        return sum(batch.byte_size for batch in planned)
    return 0 if new.input is None else len(msgspec.json.encode(new.input))


def _job_row(key: int, new: NewJob, planned: Sequence[PlannedBatch]) -> dict[str, object]:
    is_batch = new.job_type is not JobType.JOB
    return {
        "id": key,
        "public_id": new.id,
        "organization_id": new.organization_key,
        "user_id": new.user_key,
        "job_type": new.job_type,
        "status": JobStatus.PENDING if is_batch or new.handler else JobStatus.CREATED,
        "background": new.background,
        "agent_id": new.agent_id,
        "agent": new.agent,
        "handler": new.handler,
        "priority": new.priority,
        "retry_of": new.retry_of,
        "requests_of": (new.requests_of or key) if is_batch else None,
        "provider": new.provider,
        "provider_options": dict(new.provider_options),
        "metadata": new.metadata,
        "request_config": new.request_config,
        "input": new.input,
        "callback_url": new.callback_url,
        "deadline_at": new.deadline_at,
        "created_at": new.created_at,
        "updated_at": new.created_at,
        "items_total": sum(batch.items for batch in planned) if is_batch else None,
        "batches_total": len(planned),
    }


def _hold_shared_requests(tx: sa.Connection, new: NewJob) -> None:
    """The requests that a retry shares stay as long as some job uses them: one that does is kept until this commits."""
    if new.requests_of is None:
        return
    if new.retry_of is not None:  # or some of its items may have been swept before they were copied
        retried = sa.select(jobs.c.id).where(jobs.c.public_id == new.retry_of).with_for_update(read=True)
        if tx.execute(retried).first() is None:
            raise _deleted()
    user = sa.select(jobs.c.id).where(jobs.c.requests_of == new.requests_of).limit(1).with_for_update(read=True)
    if tx.execute(user).first() is None:
        raise _deleted()


def _deleted() -> Conflict:
    return Conflict("job_deleted", "The job to be retried was deleted meanwhile.")


def _planned_row(key: int, new: NewJob, batch: PlannedBatch, now: datetime) -> dict[str, object]:
    return {
        "public_id": batch.id,
        "job_id": key,
        "organization_id": new.organization_key,
        "provider": new.provider,
        "round": 1,
        "status": BatchStatus.PLANNED,
        "first_idx": batch.first,
        "last_idx": batch.last,
        "item_count": batch.items,
        "byte_size": batch.byte_size,
        "nonce": batch.nonce,
        "created_at": now,
        "next_poll_at": now,
    }


def loose_key_before(tx: sa.Connection, before: datetime) -> int | None:
    """A key that has not been touched since `before`, the one that has waited longest."""
    return tx.execute(_LOOSE, {"before": before}).scalar()


_LOOSE = (
    sa.select(loose_keys.c.id)
    .where(loose_keys.c.touched_at < sa.bindparam("before"))
    .order_by(loose_keys.c.touched_at)
    .limit(1)
)


def sweep_key(tx: sa.Connection, key: int, *, most: int, before: datetime, now: datetime) -> int:
    """Delete up to `most` rows of a loose key, the key itself last. Returns how many rows went; 0: the key is done.

    A key that was touched since `before`, or has become a job, is left alone. Requests that a retry still uses stay;
    the key is then looked at again later.
    """
    stale = loose_keys.c.id == key, loose_keys.c.touched_at < before
    # Before the first row goes, so that whoever stages under this key is told, instead of losing rows that it counts.
    if tx.execute(sa.update(loose_keys).where(*stale).values(touched_at=CONDEMNED)).rowcount == 0:
        return 0
    for table in (items, results, conversations, turns, tool_calls):
        gone = _delete_some(tx, table, key, most)
        if gone:
            return gone
    if tx.execute(sa.select(jobs.c.id).where(jobs.c.requests_of == key).limit(1)).first() is not None:
        tx.execute(sa.update(loose_keys).where(loose_keys.c.id == key).values(touched_at=now))
        return 0
    gone = _delete_some(tx, requests, key, most)
    if not gone:
        tx.execute(sa.delete(loose_keys).where(loose_keys.c.id == key))
    return gone


def _delete_some(tx: sa.Connection, table: sa.Table, key: int, most: int) -> int:
    some = sa.select(table.c.idx).where(table.c.job_id == key).order_by(table.c.idx).limit(most)
    bounds = tx.execute(sa.select(sa.func.max(some.subquery().c.idx))).scalar()
    if bounds is None:
        return 0
    gone: int = tx.execute(sa.delete(table).where(table.c.job_id == key, table.c.idx <= bounds)).rowcount
    return gone

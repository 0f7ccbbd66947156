"""Clients that repeat a request by themselves, without a key that would say so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import msgspec
import sqlalchemy as sa

from backburner.model import Job, NewJob, PlannedBatch
from backburner.storage import staging
from backburner.storage.audit import Already
from backburner.storage.quotas import UNLIMITED, Quotas
from backburner.storage.rows import job_of, select_jobs
from backburner.storage.tables import idempotency_keys as table
from backburner.storage.tables import jobs
from backburner.storage.upsert import insert_new

#: No path has a `#`, so that no key that a caller chooses can be meant.
ROUTE = "POST /anthropic/v1/messages/batches#body"
#: A client waits ten minutes for an answer before it asks again, and then has to send the body.
WINDOW = timedelta(minutes=15)


@attrs.frozen(kw_only=True)
class Attempt:
    """One request to make a job, which may be the repetition of another."""

    caller: str  #: the API key's public id
    body_hash: str
    number: int  #: 0: the client's first attempt
    began: datetime
    route: str = ROUTE


class _Note(msgspec.Struct):
    """What is kept of an attempt that made a job."""

    attempt: int


def make_job_once(
    tx: sa.Connection,
    attempt: Attempt,
    key: int,
    new: NewJob,
    planned: Sequence[PlannedBatch],
    *,
    now: datetime,
    quotas: Quotas = UNLIMITED,
) -> Job | Already[Job]:
    """As `staging.make_job`; but returns the job that another attempt at the same has made, if there is one."""
    values = {
        "caller": attempt.caller,
        "route": attempt.route,
        "key": attempt.body_hash,
        "body_hash": attempt.body_hash,
        "job_id": key,
        "status": 200,
        "response": msgspec.json.encode(_Note(attempt.number)).decode(),
        "created_at": now,
    }
    if insert_new(tx, table, values, unique=("caller", "route", "key")) is None:
        mine = (table.c.caller == attempt.caller, table.c.route == attempt.route, table.c.key == attempt.body_hash)
        row = tx.execute(sa.select(table).where(*mine).with_for_update()).first()
        made = _made(tx, attempt, row, now)
        if made is not None:
            staging.drop_key(tx, key)
            return Already(made)
        tx.execute(sa.update(table).where(*mine).values(**values))
    return staging.make_job(tx, key, new, planned, now=now, quotas=quotas)


def _made(tx: sa.Connection, attempt: Attempt, row: sa.Row[Any] | None, now: datetime) -> Job | None:
    if row is None or now - row.created_at > WINDOW:
        return None
    # The first attempt may also be overtaken, by a repetition that began while it was still at work.
    overtaken = row.created_at >= attempt.began and msgspec.json.decode(row.response, type=_Note).attempt > 0
    if attempt.number == 0 and not overtaken:
        return None
    found = tx.execute(select_jobs().where(jobs.c.id == row.job_id)).first()
    return None if found is None else job_of(found)

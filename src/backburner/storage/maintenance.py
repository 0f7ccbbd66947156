"""What an operator does to a database by hand. Blocking, without a server, and safe beside a running one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.errors import Invalid, StorageUnusable
from backburner.states import BATCH_FINAL, TERMINAL, BatchStatus
from backburner.storage import migrate, sqlite
from backburner.storage.database import Database, open_database, parse_url, translated
from backburner.storage.file_lock import Holder, acquire
from backburner.storage.migrations import HEAD
from backburner.storage.tables import deliveries, items, jobs, loose_keys, provider_batches, results


@attrs.frozen
class Finding:
    """One thing that was checked."""

    what: str
    ok: bool
    detail: str


def upgrade(url: str, *, now: datetime) -> list[str]:
    """Bring the schema up to date; returns what was done. SQLite is backed up first.

    Raises AlreadyHeld while a server has the SQLite file.
    """
    with _held(url, now), _database(url) as database:
        return migrate.prepare(database.writing, may_upgrade=True, now=now, sleep=_sleep)


@contextmanager
def _held(url: str, now: datetime) -> Iterator[None]:
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        yield
        return
    with acquire(Path(parsed.database), Holder(pid=os.getpid(), instance_id="db upgrade", since=now)):
        yield


def backup(url: str, destination: str) -> None:
    """Copy a SQLite database, consistently, also while a server uses it. Raises Invalid for PostgreSQL."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise Invalid("PostgreSQL is backed up with its own tools, such as pg_dump.", param="database_url")
    source = Path(parsed.database)
    if not source.exists():
        raise StorageUnusable(f"{source} does not exist.")
    sqlite.back_up(source, Path(destination))


def check(url: str) -> list[Finding]:
    """Check schema, integrity and what must always hold between rows. Reads everything: slow on a large database."""
    with _database(url) as database, database.reading.connect() as tx:
        schema = migrate.schema_of(tx)
        findings = [Finding("schema", schema is migrate.Schema.CURRENT, f"{schema.value}; this program knows {HEAD}")]
        if schema is not migrate.Schema.CURRENT:
            return findings
        if database.is_sqlite:
            verdict = str(tx.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one())
            findings.append(Finding("integrity", verdict == "ok", verdict))
        return findings + [_rule(tx, what, query) for what, query in RULES]


def _rule(tx: sa.Connection, what: str, violations: Callable[[], sa.Select[Any]]) -> Finding:
    broken = list(tx.execute(violations().limit(5)).scalars())
    return Finding(what, not broken, "holds" if not broken else "violated by " + ", ".join(map(str, broken)))


def _terminal_without_end() -> sa.Select[Any]:
    is_terminal = jobs.c.status.in_(list(TERMINAL))
    return sa.select(jobs.c.public_id).where(is_terminal != jobs.c.completed_at.is_not(None))


def _unfinished_terminal() -> sa.Select[Any]:
    done = jobs.c.succeeded + jobs.c.errored + jobs.c.canceled + jobs.c.expired
    return sa.select(jobs.c.public_id).where(jobs.c.status.in_(list(TERMINAL)), done != jobs.c.items_total)


def _miscounted_results() -> sa.Select[Any]:
    stored = sa.select(sa.func.count()).where(results.c.batch_id == provider_batches.c.id).scalar_subquery()
    counted = (
        provider_batches.c.succeeded
        + provider_batches.c.errored
        + provider_batches.c.canceled
        + provider_batches.c.expired
    )
    return sa.select(provider_batches.c.public_id).where(stored != counted)


def _incomplete_ingested() -> sa.Select[Any]:
    counted = (
        provider_batches.c.succeeded
        + provider_batches.c.errored
        + provider_batches.c.canceled
        + provider_batches.c.expired
    )
    return sa.select(provider_batches.c.public_id).where(
        provider_batches.c.status == BatchStatus.INGESTED, counted != provider_batches.c.item_count
    )


def _forgotten_batches() -> sa.Select[Any]:
    return sa.select(provider_batches.c.public_id).where(
        provider_batches.c.status.not_in(list(BATCH_FINAL)), provider_batches.c.next_poll_at.is_(None)
    )


def _miscounted_items() -> sa.Select[Any]:
    there = sa.select(sa.func.count()).where(items.c.job_id == jobs.c.id).scalar_subquery()
    return sa.select(jobs.c.public_id).where(jobs.c.items_total.is_not(None), there != jobs.c.items_total)


def _undelivered() -> sa.Select[Any]:
    owed = sa.select(deliveries.c.id).where(deliveries.c.job_id == jobs.c.id).exists()
    return sa.select(jobs.c.public_id).where(
        jobs.c.status.in_(list(TERMINAL)), jobs.c.callback_url.is_not(None), sa.not_(owed)
    )


def _orphans() -> sa.Select[Any]:
    known = sa.union_all(sa.select(jobs.c.id), sa.select(loose_keys.c.id)).subquery()
    return (
        sa.select(sa.cast(results.c.job_id, sa.Text)).where(results.c.job_id.not_in(sa.select(known.c.id))).distinct()
    )


#: What must hold, and a query for what violates it.
RULES: tuple[tuple[str, Callable[[], sa.Select[Any]]], ...] = (
    ("a job has an end exactly when it is terminal", _terminal_without_end),
    ("a terminal batch job has an outcome for every item", _unfinished_terminal),
    ("a job has as many items as it says", _miscounted_items),
    ("a provider batch counts its stored results", _miscounted_results),
    ("an ingested provider batch has a result for every item", _incomplete_ingested),
    ("every open provider batch has a time for its next look", _forgotten_batches),
    ("every terminal job with a callback has its delivery", _undelivered),
    ("every result belongs to a job", _orphans),
)


@contextmanager
def _database(url: str) -> Iterator[Database]:
    database = open_database(url, random=Random(), in_threads=False)  # noqa: S311  # only for waits between retries
    try:
        with translated():
            yield database
    finally:
        database.close()


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251  # a command waits for another instance's migration

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
from backburner.storage import migrate, recount, sqlite
from backburner.storage.database import Database, open_database, parse_url, translated
from backburner.storage.file_lock import Holder, acquire
from backburner.storage.migrations import HEAD
from backburner.storage.rules import RULES

NAMED = 20  # violations of one rule that are told
JOBS_AT_ONCE = 100


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


def check(url: str) -> Iterator[Finding]:
    """Check schema, integrity and what must always hold between rows, also while servers use the database.

    Changes nothing. Each finding is of one moment. Reads everything, so it is slow on a large database; memory does
    not grow with it.
    """
    with _database(url) as database:
        with _snapshot(database) as tx:
            schema = migrate.schema_of(tx)
        yield Finding("schema", schema is migrate.Schema.CURRENT, f"{schema.value}; this program knows {HEAD}")
        if schema is not migrate.Schema.CURRENT:
            return
        if database.is_sqlite:
            with _snapshot(database) as tx:
                verdict = str(tx.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one())
            yield Finding("integrity", verdict == "ok", verdict)
        for what, query in RULES:
            with _snapshot(database) as tx:
                yield _rule(tx, what, query)
        yield _recounted(database)


def _rule(tx: sa.Connection, what: str, violations: Callable[[], sa.Select[Any]]) -> Finding:
    return _finding(what, [str(broken) for broken in tx.execute(violations().limit(NAMED + 1)).scalars()])


def _recounted(database: Database) -> Finding:
    """Each job in a snapshot of its own: a long one would keep SQLite from folding in its WAL."""
    problems: list[str] = []
    last = ""
    while len(problems) <= NAMED:
        with _snapshot(database) as tx:
            page = recount.jobs_after(tx, last, JOBS_AT_ONCE)
        if not page:
            break
        for key, last in page:  # noqa: B007  # the last one counts
            with _snapshot(database) as tx:
                problems += recount.recount(tx, key)
    return _finding("counts, usage and batches of every job add up", problems)


def _finding(what: str, broken: list[str]) -> Finding:
    more = ["…"] if len(broken) > NAMED else []
    return Finding(what, not broken, "holds" if not broken else "violated by " + ", ".join(broken[:NAMED] + more))


@contextmanager
def _snapshot(database: Database) -> Iterator[sa.Connection]:
    """One moment, to look at only."""
    with database.reading.connect() as tx:
        if database.is_sqlite:
            yield tx
        else:
            yield tx.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


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

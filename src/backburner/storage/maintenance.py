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

from backburner.api_keys import hash_key, shown_prefix
from backburner.clock import SystemClock
from backburner.errors import Invalid, StorageUnusable
from backburner.ids import Ids
from backburner.private_files import free_name, others_may_open, private_draft
from backburner.storage import backups, doubt, fitness, migrate, recount, sqlite
from backburner.storage.accounts import ApiKey
from backburner.storage.database import Database, open_database, translated
from backburner.storage.file_lock import Holder, acquire, lock_path
from backburner.storage.local_keys import make_local_key
from backburner.storage.migrations import HEAD
from backburner.storage.rules import RULES
from backburner.storage.troubles import Trouble, troubles
from backburner.storage.urls import sqlite_file

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
def _held(url: str, now: datetime, purpose: str = "db upgrade") -> Iterator[None]:
    file = _file(url)
    if file is None:
        yield
        return
    with acquire(file, Holder(pid=os.getpid(), instance_id=purpose, since=now)):
        yield


def _file(url: str) -> Path | None:
    """The file of a SQLite database; None for PostgreSQL and for one in memory."""
    file = sqlite_file(url)
    # SQLite follows links before it names the files beside its own.
    return None if file is None else file.resolve()


def backup(url: str, destination: str, *, may_replace: bool = False) -> None:
    """Copy a SQLite database, consistently, also while a server uses it; the copy is checked before it appears.

    Raises Invalid for PostgreSQL and for a destination that belongs to a database or exists (without `may_replace`),
    StorageUnusable for a damaged database, AlreadyHeld for a destination that another server uses.
    """
    source = _file(url)
    if source is None:
        raise Invalid("PostgreSQL is backed up with its own tools, such as pg_dump.", param="database_url")
    if not source.exists():
        raise StorageUnusable(f"{source} does not exist.")
    backups.refuse_own(source, Path(destination))  # before its lock is asked for, which a server may have
    with _file_errors(f"Cannot back up to {destination}"), _unused(Path(destination)):
        backups.back_up(source, Path(destination), may_replace=may_replace)


@contextmanager
def _unused(target: Path) -> Iterator[None]:
    """Hold the lock of a file that has been the database of a server, so that none uses it meanwhile."""
    if not target.is_file() or not lock_path(target).exists():
        yield
        return
    with acquire(target, Holder(pid=os.getpid(), instance_id="db backup", since=SystemClock().now())):
        yield


def restore(url: str, source: Path, *, now: datetime) -> list[str]:
    """Replace a SQLite database by a backup; returns what was done. What was there is kept beside it.

    Every batch that the backup calls planned is looked for at the provider before it is submitted. Raises AlreadyHeld
    while a server has the file, StorageUnusable for what is no sound backup, Invalid for PostgreSQL.
    """
    target = _file(url)
    if target is None:
        raise Invalid(
            "PostgreSQL is restored with its own tools; run `backburner db restored` after that.", param="database_url"
        )
    if backups.belongs_to(target, source):
        raise Invalid(f"{source} belongs to the database {target} itself; name a backup of it.", param="FILE")
    found = backups.contents(source)
    with _held(url, now, "db restore"), _file_errors(f"Cannot restore {target}"):
        draft = private_draft(target)
        try:
            backups.back_up(source, draft, may_replace=True)
            done = _made_ready(draft, now)
            done += _replaced(target, now)
            backups.put_back(draft, target)
        finally:
            for side in backups.SIDES:
                draft.with_name(draft.name + side).unlink(missing_ok=True)
    return [*done, f"restored {target} from {source}: {found}"]


def make_key(url: str, secret: str, *, name: str | None, ids: Ids) -> ApiKey:
    """Make `secret` an admin key, without asking for one; the ones that are there stay.

    Raises AlreadyHeld while a server has the SQLite file, StorageUnusable for a database that no server has used.
    """
    file = _file(url)
    if file is not None and not file.exists():
        raise StorageUnusable(f"{file} does not exist.")
    with _held(url, ids.clock.now(), "keys create"), _database(url) as database, database.writing.begin() as tx:
        if migrate.schema_of(tx) is not migrate.Schema.CURRENT:
            raise StorageUnusable(
                f"The database's schema is {migrate.schema_of(tx).value}; run `backburner db upgrade`."
            )
        hashed = {"key_hash": hash_key(secret), "prefix": shown_prefix(secret)}
        return make_local_key(tx, **hashed, name=name, ids=ids)


def _made_ready(draft: Path, now: datetime) -> list[str]:
    with _database(f"sqlite:///{draft}") as database:
        done = migrate.prepare(database.writing, may_upgrade=True, now=now, sleep=_sleep, keep_copy=False)
        with database.writing.begin() as tx:
            return done + _doubted(doubt.doubt_submissions(tx, now=now))


def _replaced(target: Path, now: datetime) -> list[str]:
    if not target.exists():
        return []
    try:
        was = str(backups.contents(target))
    except StorageUnusable as error:
        was = str(error)
    kept = free_name(target.with_name(f"{target.name}.replaced-{now:%Y%m%dT%H%M%SZ}"))
    backups.set_aside(target, kept)
    return [f"replaced {target} ({was}); it is kept as {kept}"]


def restored(url: str, *, now: datetime) -> list[str]:
    """Say that a database was put back to an older state by other means; returns what was done.

    Raises AlreadyHeld while a server has the SQLite file, StorageUnusable while an instance leads on PostgreSQL.
    """
    with _held(url, now, "db restored"), _database(url) as database, database.writing.begin() as tx:
        if not database.is_sqlite:
            _require_no_leader(tx)
        return _doubted(doubt.doubt_submissions(tx, now=now))


def _require_no_leader(tx: sa.Connection) -> None:
    from backburner.storage.leader_session import lock_key  # noqa: PLC0415  # it loads PostgreSQL's driver

    schema = tx.execute(sa.text("SELECT current_schema()")).scalar_one()
    free = tx.execute(sa.text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": lock_key(schema)}).scalar_one()
    if not free:
        raise StorageUnusable("An instance leads on this database; stop every instance first.")


def _doubted(number: int) -> list[str]:
    return [f"{number:,} provider batches that were planned are looked for at the provider before they are submitted"]


@contextmanager
def _file_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnusable(f"{what}: {error.strerror}.") from error
    except sqlite.Error as error:
        raise StorageUnusable(f"{what}: {error}.") from error


def check(url: str) -> Iterator[Finding]:
    """Check schema, integrity and what must always hold between rows, also while servers use the database.

    Changes nothing. Each finding is of one moment. Reads everything, so it is slow on a large database; memory does
    not grow with it.
    """
    with _database(url) as database:
        with _snapshot(database) as tx:
            schema = _schema(tx)
        yield schema
        if not schema.ok:
            return
        if database.is_sqlite:
            with _snapshot(database) as tx:
                verdict = str(tx.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one())
            yield Finding("integrity", verdict == "ok", verdict)
        for what, query in RULES:
            with _snapshot(database) as tx:
                yield _rule(tx, what, query)
        yield _recounted(database)


def look_for_troubles(url: str, *, now: datetime, provider: str) -> list[Trouble]:
    """What needs a person, as the database shows it, where this provider is configured. Changes nothing; quick."""
    with _database(url) as database, _snapshot(database) as tx:
        if migrate.schema_of(tx) is not migrate.Schema.CURRENT:
            return []
        return troubles(tx, now=now, configured=[provider])


def open_to_others(url: str) -> list[Path]:
    """The files of a SQLite database, and of the sandbox beside it, that others than their owner may open."""
    file = _file(url)
    return [] if file is None else [path for path in backups.files_of(file) if others_may_open(path)]


def schema_finding(url: str) -> Finding:
    """Whether this program can use the database."""
    with _database(url) as database, _snapshot(database) as tx:
        return _schema(tx)


def integrity_finding(url: str) -> Finding:
    """Whether a SQLite file is damaged, as far as a server that starts would notice. Quick. Raises StorageUnusable."""
    with _database(url) as database:
        if sqlite.check_file(database.reading):
            return Finding("integrity", True, "sound")
        return Finding("integrity", True, "too large to be checked here; `backburner db check` does")


def _schema(tx: sa.Connection) -> Finding:
    fitness.require_usable(tx)
    found = migrate.schema_of(tx)
    reason = migrate.refusal(found, migrate.revision_of(tx))
    return Finding("schema", found is migrate.Schema.CURRENT, reason or f"{found.value}; this program knows {HEAD}")


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
    random = Random()  # noqa: S311  # only for waits between retries
    database = open_database(url, random=random, in_threads=False, operating=True)
    try:
        with translated():
            yield database
    finally:
        database.close()


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251  # a command waits for another instance's migration

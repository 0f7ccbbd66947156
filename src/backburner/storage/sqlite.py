"""What is particular to SQLite: how it is opened, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from backburner.errors import StorageReadOnly, StorageUnavailable, StorageUnusable, WriteRefused
from backburner.private_files import make_private
from backburner.storage.fitness import OURS, REVISIONS

Error = sqlite3.Error

READERS = 4  # connections; more only queue for the interpreter
OLDEST = (3, 38, 0)  # RETURNING, STRICT-free upserts and partial indexes as they are used here
#: Rows in one statement. The driver lets go of the interpreter for each statement, and wins it back from a busy
#: Trio thread only after 5 ms: row by row, a thousand rows could take five seconds. Few sizes, so that each is
#: prepared once; 500 rows of 6 columns stay far below the 32,766 parameters that a statement may have.
ROWS_AT_ONCE = (500, 50, 5, 1)
CHECK_AT_START = 64 * 1024 * 1024  # bytes; a larger file is checked by `db check`, not at every start

_PRIMARY = 0xFF  # the part of an extended result code that names its family
_NO_WRITES = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})

#: In WAL mode NORMAL may lose the last commits when the power fails, and what was answered with 2xx must not be lost.
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA busy_timeout=5000",
    "PRAGMA foreign_keys=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA wal_autocheckpoint=1000",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA temp_store=MEMORY",
)


def engines(url: sa.URL) -> tuple[sa.Engine, sa.Engine]:
    """One engine that writes, with a single connection, and one that only reads.

    A single connection writes and checkpoints because SQLite before 3.51.3 can lose commits when two of them
    reset the WAL at the same moment (sqlite.org/wal.html#walresetbug).
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise StorageUnusable(f"SQLite {sqlite3.sqlite_version} is too old; 3.38 or newer is needed.")
    if not url.database or url.database == ":memory:":
        engine = _engine(url, "BEGIN IMMEDIATE", poolclass=StaticPool)
        return engine, engine
    writing = _engine(url, "BEGIN IMMEDIATE", pool_size=1, max_overflow=0)
    reading = _engine(url, "BEGIN", pool_size=READERS, max_overflow=0, read_only=True)
    return writing, reading


def _engine(url: sa.URL, begin: str, *, read_only: bool = False, **pool: Any) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"check_same_thread": False}, hide_parameters=True, **pool)

    @sa.event.listens_for(engine, "do_connect")
    def make_file(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        # SQLite would make it for everybody to read; the files that it makes beside it get the same mode.
        if arguments and arguments[0] != ":memory:" and not options.get("uri"):
            with suppress(OSError):  # SQLite says what is wrong
                make_private(Path(arguments[0]))

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver begins lazily and as a reader; a reader that turns writer after another write fails at once,
        # whatever the busy timeout. So transactions begin here, and those that write begin as writers.
        connection.isolation_level = None
        _require_own(connection)  # before anything of the file is changed
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if read_only:
            connection.execute("PRAGMA query_only=ON")

    @sa.event.listens_for(engine, "begin")
    def begin_transaction(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _require_own(connection: sqlite3.Connection) -> None:
    """Raise StorageUnusable for a file with tables of another program."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    others = sorted(tables - {REVISIONS, "sqlite_sequence"})
    if others and OURS not in tables:
        file = connection.execute("PRAGMA database_list").fetchone()[2]
        raise StorageUnusable(f"{file} is another program's database: it has a table {others[0]} and no {OURS}.")


def check_file(engine: sa.Engine) -> bool:
    """Raise StorageUnusable when a small database is damaged; False for a large one, which is left to `db check`."""
    with engine.connect() as tx:
        size = (
            tx.exec_driver_sql("PRAGMA page_count").scalar_one() * tx.exec_driver_sql("PRAGMA page_size").scalar_one()
        )
        if size > CHECK_AT_START:
            return False
        verdict = tx.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if verdict != "ok":
        raise StorageUnusable(f"The database is damaged ({verdict}); restore a backup.")
    return True


def insert_many(tx: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
    """Insert the rows that are not there yet; return how many were."""
    inserted = done = 0
    for size in ROWS_AT_ONCE:
        statement = _insertion(table.name, tuple(columns), size)
        while len(rows) - done >= size:
            values = tuple(chain.from_iterable(rows[done : done + size]))
            inserted += tx.exec_driver_sql(statement, values).rowcount
            done += size
    return inserted


@cache
def _insertion(table: str, columns: tuple[str, ...], rows: int) -> str:
    marks = "(" + ", ".join("?" * len(columns)) + ")"
    return f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES {', '.join([marks] * rows)}"  # noqa: S608  # own names


def translate(error: sa.exc.DBAPIError) -> Exception:
    """The domain's error for a database error, or the error itself where it is a bug."""
    text = str(error.orig)
    if "malformed" in text or "not a database" in text:
        return StorageUnusable(f"The database is damaged: {text}. Restore a backup.")
    if getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY in _NO_WRITES:
        return StorageReadOnly(f"SQLite: {text}")
    if isinstance(error.orig, sqlite3.OperationalError):
        return StorageUnavailable(f"SQLite: {text}")
    if isinstance(error.orig, sqlite3.IntegrityError | sqlite3.DataError):
        return WriteRefused(f"SQLite: {text}")
    return error

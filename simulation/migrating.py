"""A migration that is cut off anywhere is done by the next start."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from itertools import count
from random import Random

import sqlalchemy as sa

from backburner.clock import SystemClock
from backburner.storage import migrate
from backburner.storage.database import Database, open_database

AT_A_TIME = 50  # steps, which here are instructions of SQLite's machine; all migrations together take some 14,000


def length() -> int:
    """How many instructions all migrations take together."""
    database = _new()
    taken = count(1)
    total = 0

    def tick() -> int:
        nonlocal total
        total = next(taken)
        return 0

    _raw(database).set_progress_handler(tick, 1)
    _prepare(database)
    database.close()
    return total


def cut_off_at(instructions: int) -> str:
    """What is wrong after a cut at that place (0: none) and another start; empty when nothing is."""
    database, done = _new(), count(1)
    # Once: the rollback goes through.
    _raw(database).set_progress_handler(lambda: next(done) == instructions, 1)
    with suppress(sa.exc.OperationalError):
        _prepare(database)
    _raw(database).set_progress_handler(None, 0)
    if (taken := next(done) - 1) < instructions:
        database.close()
        return f"nothing was cut off, it took only {taken} instructions"
    _prepare(database)
    with database.writing.connect() as tx:
        schema = migrate.schema_of(tx)
    database.close()
    return "" if schema is migrate.Schema.CURRENT else f"the schema is {schema}"


def _new() -> Database:
    return open_database("sqlite://", random=Random(0), in_threads=False)


def _prepare(database: Database) -> None:
    migrate.prepare(database.writing, may_upgrade=False, now=SystemClock().now(), sleep=lambda _: None)


def _raw(database: Database) -> sqlite3.Connection:
    pooled = database.writing.raw_connection()
    connection = pooled.driver_connection
    pooled.close()
    assert isinstance(connection, sqlite3.Connection)
    return connection

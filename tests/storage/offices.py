"""Offices on a real PostgreSQL, and looks at its locks, for tests of leadership."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import trio
import trio_asyncio  # type: ignore[import-untyped]

from backburner.model import Term
from backburner.storage.postgres_leadership import PostgresLeadership

SCHEMA = """
CREATE TABLE leader_epoch (name text PRIMARY KEY, epoch bigint NOT NULL, term_id text NOT NULL,
    instance_id text NOT NULL, backend_pid int, acquired_at timestamptz NOT NULL);
CREATE TABLE leader_heartbeat (name text PRIMARY KEY, epoch bigint, renewed_at timestamptz);
CREATE TABLE leader_history (epoch bigint, term_id text, instance_id text, acquired_at timestamptz,
    ended_at timestamptz, reason text);
INSERT INTO leader_epoch VALUES ('default', 0, '', '', NULL, now());
INSERT INTO leader_heartbeat VALUES ('default', 0, now());
"""


@asynccontextmanager
async def offices(dsn: str, *names: str, **settings: float) -> AsyncIterator[list[PostgresLeadership]]:
    numbers = itertools.count(1)
    made = [
        PostgresLeadership(dsn=dsn, instance_id=name, new_term_id=lambda: f"term-{next(numbers)}", **settings)
        for name in names
    ]
    async with trio_asyncio.open_loop():
        try:
            yield made
        finally:
            for office in made:
                office._hang_up()


def advisory_locks(admin: psycopg.Connection) -> int:
    return len(admin.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'").fetchall())


async def won(office: PostgresLeadership) -> Term:
    term = await office.campaign()
    assert term is not None
    return term


def pid_of(office: PostgresLeadership) -> int:
    assert office._line is not None
    return office._line.pgconn.backend_pid


async def freed(admin: psycopg.Connection) -> None:
    """Return when the server has freed every advisory lock; it does so when it notices that a client is gone."""
    with trio.fail_after(5):
        while advisory_locks(admin):  # noqa: ASYNC110 - only asking tells
            await trio.sleep(0.005)

"""What a reader on PostgreSQL costs: one statement, one round trip."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import psycopg
import pytest
import sqlalchemy as sa
from tests.storage.both import Stock

from backburner.storage import items
from backburner.storage.database import Database, open_database

IDLE = psycopg.pq.TransactionStatus.IDLE


@pytest.fixture
def database(engine: sa.Engine) -> Iterator[Database]:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite's readers have a snapshot")
    database = open_database(engine.url.render_as_string(hide_password=False), random=Random(0), in_threads=False)
    yield database
    database.close()


def _status(tx: sa.Connection) -> psycopg.pq.TransactionStatus:
    tx.execute(sa.text("SELECT 1"))
    connection = tx.connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection.info.transaction_status


async def test_a_reader_has_no_transaction_and_a_writer_on_the_same_connection_has_one(database: Database):
    assert await database.read(_status) is IDLE
    assert await database.write(_status) is not IDLE
    assert await database.read(_status) is IDLE


async def test_a_reader_streams_results_all_the_same(database: Database):
    job = await database.write(lambda tx: Stock(tx).job(items=3))
    assert await database.read(items.results_page, job, statuses=(), after=-1, limit=2) == (b"", 1)
    assert await database.read(_status) is IDLE
